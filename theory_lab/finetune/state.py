"""Where a run of fine-tuning stands between two steps, and where it begins."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from theory_lab import _checks, devices
from theory_lab._typing import Key, Params
from theory_lab.finetune.methods import Method
from theory_lab.finetune.problem import FineTune
from theory_lab.models.sharding import Shard, place
from theory_lab.run.loop import START


@dataclass(frozen=True)
class State:
    """All that the rest of a run depends on; what is no array is JSON.

    Attributes:
        params, optimizer: of the next step.
        best: the moving blocks at the best look, copied to the host; None where they are kept on disk.
        losses: of every batch before its step.
        rows: one per look; see `Trained`.
        tokens, seconds: spent so far.
        best_step, diverged_at: as in `Trained`.
    """

    params: Params
    optimizer: optax.OptState
    best: Params | None = None
    losses: tuple[float, ...] = ()
    rows: tuple[Mapping[str, float], ...] = ()
    tokens: int = 0
    seconds: float = 0.0
    best_step: int = 0
    diverged_at: int | None = None

    @property
    def step(self) -> int:
        return len(self.losses)


def beginning(
    problem: FineTune, method: Method, key: Key, params: Params | None, mesh: Mesh | None = None, shard: Shard = "data"
) -> State:
    """Before the first step: at these parameters, or at a copy of the problem's own; on that mesh, if there is one.

    Raises:
        ValueError: parameters unlike the problem's, an optimizer that needs more than gradients and parameters.
    """
    own = lambda: problem.init(jax.random.fold_in(key, START))
    if params is None:
        params = jax.tree.map(jnp.copy, own())
    else:
        _check_alike(params, jax.eval_shape(own))
    if mesh is not None and devices.mesh_of(params) != mesh:
        params = place(params, mesh, shard)
    if method.moves.first is not None:
        _checks.update("the optimizer", method.optimizer, params[method.moves.first])
    start = method.start(params)
    if mesh is not None:  # zeros like the parameters lie beside them; a count of steps lies on one device
        start = jax.tree.map(lambda a: a if devices.mesh_of(a) else devices.everywhere(a, mesh), start)
    return State(dict(params), start)


def moving(method: Method, params: Params) -> Params:
    """The blocks that the method moves."""
    return {label: params[label] for label in method.moves if label is not None}


def _check_alike(params: Params, like: Params) -> None:
    _checks.same_labels("params", _checks.labelled("params", params), like, "the problem")
    describe = lambda block: jax.tree.map(lambda a: (jnp.shape(a), str(a.dtype)), block)
    for label in like:
        if describe(params[label]) != describe(like[label]):
            raise _checks.refuse(f"params[{label!r}]", "of the problem's shapes and types", describe(params[label]))
