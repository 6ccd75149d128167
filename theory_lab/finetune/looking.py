"""A look at a run between two steps: a row of its history, the best parameters kept, a checkpoint."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import devices
from theory_lab._typing import Array, Params
from theory_lab.finetune.encoding import Questions
from theory_lab.finetune.methods import Method
from theory_lab.finetune.problem import FineTune
from theory_lab.finetune.resuming import Checkpoints
from theory_lab.finetune.state import State, moving


@dataclass(frozen=True)
class Look:
    """How one looks.

    Attributes:
        problem, method: of the run.
        per_epoch: steps.
        dev: questions to choose the best parameters by; without any, the last ones that are finite are the best.
        checkpoints: None keeps the best parameters in memory.
    """

    problem: FineTune
    method: Method
    per_epoch: int
    dev: Questions | None
    checkpoints: Checkpoints | None

    def __call__(self, state: State, before: int) -> State:
        """The state with one more row, for the steps since number ``before``."""
        row = self._row(state, before)
        diverged = state.diverged_at
        if diverged is None and not self._sound(state, row):
            diverged = state.step
        better = not state.rows or (diverged is None and (self.dev is None or _better(row, state)))
        state = replace(state, rows=(*state.rows, row), diverged_at=diverged)
        if better:
            state = replace(state, best_step=state.step, best=self._best(state))
        if self.checkpoints is not None:
            self.checkpoints.save(state, better=better)
        return state

    def _row(self, state: State, before: int) -> dict[str, float]:
        accuracy, loss = self._on_dev(state)
        since = state.losses[before:]
        return {
            "step": state.step, "epoch": state.step / self.per_epoch, "loss": float(np.mean(since)) if since else math.nan,
            "dev_accuracy": accuracy, "dev_loss": loss, "forwards": state.step * self.method.cost.values,
            "backwards": state.step * self.method.cost.gradients, "tokens": state.tokens,
        }  # fmt: skip

    def _sound(self, state: State, row: Mapping[str, float]) -> bool:
        """Whether training can go on: by dev's loss, or without dev by the parameters, whose loss no step has told yet."""
        if self.dev is not None:
            return math.isfinite(row["dev_loss"])
        return bool(_finite(moving(self.method, state.params)))

    def _on_dev(self, state: State) -> tuple[float, float]:
        """The share of right answers, and the mean of -log p of the right options."""
        if self.dev is None:
            return math.nan, math.nan
        answers = self.problem.answers(state.params, self.dev)
        right = answers.scores[np.arange(len(self.dev)), self.dev.labels]
        return float(np.mean(answers.correct)), float(-np.mean(right))

    def _best(self, state: State) -> Params | None:
        """A copy, since the next step takes the memory; nothing where it goes to disk."""
        return None if self.checkpoints is not None else devices.fetch(moving(self.method, state.params))


@jax.jit
def _finite(params: Params) -> Array:
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]))


def _better(row: Mapping[str, float], state: State) -> bool:
    """Than the best row so far."""
    best = next(old for old in state.rows if old["step"] == state.best_step)
    return (row["dev_accuracy"], -row["dev_loss"]) > (best["dev_accuracy"], -best["dev_loss"])
