"""Fine-tuning as advice sees it: the blocks that a method moves, from where a run starts, on some of the examples."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks
from theory_lab._trees import record
from theory_lab._typing import Array, Key, Label, Params
from theory_lab.constants import Constants
from theory_lab.finetune.encoding import Sequences
from theory_lab.finetune.problem import FineTune
from theory_lab.problems.base import Problem
from theory_lab.run.loop import START


@record(data=("whole", "start", "constants", "optimum"))
class Moving(Problem):
    """f_i as a function of the blocks that move; build it with `moving`.

    Attributes:
        n: the number of examples.
        whole: the problem that it is a part of.
        start: where all its blocks start; those that do not move stay there.
        labels: of those that move.
    """

    n: int
    whole: FineTune
    start: Params
    labels: tuple[Label, ...]
    constants: Constants
    optimum: Params | None

    @property
    def at_once(self) -> int:
        """As the whole problem has it."""
        return self.whole.at_once

    def init(self, key: Key) -> Params:
        """The start of the run, whatever the key."""
        return {label: self.start[label] for label in self.labels}

    def component(self, params: Params, index: Array) -> Array:
        return _component(self.whole, {**self.start, **params}, index)


@jax.jit
def _component(whole: FineTune, params: Params, index: Array) -> Array:
    """Compiled, because values and gradients are also asked for outside of programs."""
    return whole.component(params, index)


def moving(problem: FineTune, labels: Sequence[Label], key: Key, *, examples: int | None = None) -> Moving:
    """The problem of the blocks that move, at float32 or wider.

    Args:
        problem: as `fine_tune` makes.
        labels: the blocks that move; the others stay where they start.
        key: of the run: the adapter starts where `train` starts it.
        examples: use so many of them, the first; None is all.

    Raises:
        ValueError: no labels or others than the problem's, fewer than one example or more than there are.

    Example:
        >>> import jax
        >>> from theory_lab.finetune import bases, language
        >>> from theory_lab.finetune.encoding import encode
        >>> from theory_lab.finetune.problem import fine_tune
        >>> from theory_lab.models import lora
        >>> model = bases.base_model("random-opt", jax.random.key(0))
        >>> task = language.task("sentiment", jax.random.key(1), train=8, dev=2, test=2)
        >>> problem = fine_tune(model.config, model.base, encode(task.train, model.tokenizer), lora(rank=1))
        >>> moving(problem, ["peft"], jax.random.key(2), examples=4).n
        4
    """
    _checks.instance("problem", problem, FineTune, "a FineTune, as fine_tune makes")
    _checks.key("key", key)
    start = problem.init(jax.random.fold_in(key, START))
    chosen = tuple(sorted(labels))
    if not chosen or not set(chosen) <= set(start):
        raise _checks.refuse("labels", f"some of {sorted(start)}", list(labels))
    n = problem.n if examples is None else _checks.count("examples", examples)
    if n > problem.n:
        raise _checks.refuse("examples", f"at most the number there are, {problem.n}", examples)
    few = _unpadded(problem.sequences[:n])
    whole = FineTune(n, few, problem.config, None, problem.adapter, None, problem.remat, Constants(), None)
    return Moving(n, whole, jax.tree.map(_wide, start), chosen, Constants(), None)


def _unpadded(sequences: Sequences) -> Sequences:
    """Without the first and last columns in which no sequence has a token: padding costs as much as tokens do."""
    used = np.flatnonzero(np.any(sequences.present, axis=0))
    return sequences[:, used[0] : used[-1] + 1]


def _wide(leaf: Any) -> Array:
    """At least float32: curvature is measured in the parameters' own precision."""
    return jnp.asarray(leaf, jnp.promote_types(leaf.dtype, jnp.float32))
