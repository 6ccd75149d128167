"""The hybrid estimate: for every block an oracle of its own, all at the same point, the clean value shared."""

from collections.abc import Mapping
from functools import partial

import jax

from theory_lab import _checks
from theory_lab._trees import record
from theory_lab._typing import Array, Block, Component, Key, Label, Params
from theory_lab.oracles.base import Cost, Draw, Estimate, Oracle, scalar
from theory_lab.oracles.first_order import FirstOrder


@record(data=("members",))
class Hybrid(Oracle):
    r"""One oracle per block, simultaneously at the same point.

    .. math:: \hat g = (\hat g_x, \nabla_y f(x, y)), \qquad \hat g_x \ \text{from values of}\ f(\cdot, y)\ \text{alone}

    All first-order blocks share one reverse pass, and its forward pass is the clean value of the one-sided blocks: with
    one direction a step costs two evaluations and one gradient.

    Args:
        members: the oracle of every block, by label; exactly the labels of the parameters.

    Raises:
        ValueError: members that are not oracles, or (when called) labels that differ from the parameters'.

    Example:
        >>> from theory_lab.oracles import TwoPoint
        >>> oracle = Hybrid({"x": TwoPoint(1e-3), "y": FirstOrder()})
        >>> oracle.cost({"x": jax.numpy.zeros(3), "y": jax.numpy.zeros(2)})
        Cost(values=2, gradients=1)

    Reference:
        Ma, Yu, Huang: New Hybrid Fine-Tuning Paradigm for LLMs, 2026, Algorithm 1.
    """

    members: Mapping[Label, Oracle]

    def __init__(self, members: Mapping[Label, Oracle]) -> None:
        for label, member in _checks.labelled("members", members).items():
            if not isinstance(member, Oracle) or isinstance(member, Hybrid):
                raise _checks.refuse(f"members[{label!r}]", "FirstOrder(), TwoPoint(...) or another block oracle", member)
        object.__setattr__(self, "members", dict(members))

    def draw(self, key: Key, params: Params, count: int) -> Draw:
        _, others = self._split(params)
        keys = [jax.random.fold_in(key, i) for i in range(len(others))] if len(others) > 1 else [key]
        return {label: self.members[label].draw(k, params[label], count) for k, label in zip(keys, others, strict=False)}

    def estimate(self, fn: Component, params: Params, draw: Draw, *, value: Array | None = None) -> Estimate:
        first, others = self._split(params)
        gradient: dict[Label, Block] = {}
        if first:
            value, gradient = jax.value_and_grad(lambda part: scalar(fn({**params, **part})))(
                {label: params[label] for label in first}
            )
        elif value is None and any(self.members[label].needs_value for label in others):
            value = scalar(fn(params))
        for label in others:
            estimate = self.members[label].estimate(
                partial(_within, fn, params, label), params[label], draw[label], value=value
            )
            gradient[label] = estimate.gradient
        return Estimate(estimate.value if value is None else value, gradient)

    def cost(self, params: Params) -> Cost:
        first, others = self._split(params)
        costs = [self.members[label].cost(params[label]) for label in others]
        saved = [1 if self.members[label].needs_value else 0 for label in others]
        clean = 1 if first or any(saved) else 0
        return Cost(
            values=clean + sum(c.values for c in costs) - sum(saved),
            gradients=(1 if first else 0) + sum(c.gradients for c in costs),
        )

    @property
    def needs_value(self) -> bool:
        members = self.members.values()
        return not any(isinstance(m, FirstOrder) for m in members) and any(m.needs_value for m in members)

    def _split(self, params: Params) -> tuple[list[Label], list[Label]]:
        """The labels of the first-order blocks and of the others, each sorted."""
        _checks.same_labels("the oracle's members", self.members, _checks.labelled("params", params))
        first = sorted(label for label in params if isinstance(self.members[label], FirstOrder))
        return first, sorted(label for label in params if label not in first)


def _within(fn: Component, params: Params, label: Label, block: Block) -> Array:
    """fn as a function of one block, the others held."""
    return fn({**params, label: block})
