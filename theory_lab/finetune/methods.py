"""The methods: which blocks of a language model move, and by what."""

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from theory_lab import _checks
from theory_lab._typing import Array, Label, Params
from theory_lab.models import perturb
from theory_lab.models.perturb import ORDERS, Differences, Loss, Order, Step, fo_step, hybrid_step, zo_step
from theory_lab.oracles.base import Cost

LearningRate: TypeAlias = float | Callable[[Any], Any] | optax.GradientTransformation
LARGEST = float(jnp.finfo(jnp.bfloat16).max)  # a finite number in every type that parameters have


class Moves(NamedTuple):
    """The label of the block that moves by values of the loss, and of the one that moves by its gradient."""

    zeroth: Label | None
    first: Label | None


METHODS = {
    "FO-FT": Moves(None, "base"),
    "ZO-FT": Moves("base", None),
    "FO-PEFT": Moves(None, "peft"),
    "ZO-PEFT": Moves("peft", None),
    "Hybrid-PEFT": Moves("base", "peft"),
}


@dataclass(frozen=True)
class Method:
    """How a model is fine-tuned, whatever the model; build it with `method`.

    Attributes:
        name: one of `METHODS`.
        learning_rate: of the zeroth-order block, a number or a schedule; 0 where there is none.
        optimizer: of the first-order block; None where there is none.
        differences: how slopes are measured; None where none are.
        order: of the two blocks of a hybrid step.
        described: the arguments it was built from, in words; learning rates that are functions by their kind alone.
    """

    name: str
    learning_rate: float | Callable[[Any], Any]
    optimizer: optax.GradientTransformation | None
    differences: Differences | None
    order: Order
    described: str

    @property
    def moves(self) -> Moves:
        return METHODS[self.name]

    @property
    def blocks(self) -> tuple[Label, ...]:
        """The labels of the parameters that it needs, whether they move or not."""
        return ("base", "peft") if self.name.endswith("PEFT") else ("base",)

    @property
    def cost(self) -> Cost:
        """Of one step, in passes of the batch through the model: forward and backward."""
        if self.differences is None:
            return Cost(1, 1)
        q, sided = self.differences.directions, self.differences.sided
        if self.optimizer is None:
            return Cost(q + 1 if sided == 1 else 2 * q, 0)
        again = self.order == "adapter_first" and sided == 1  # the clean value at the point that the adapter has reached
        return Cost(1 + q * sided + again, 1)

    def step(self, loss: Loss) -> Step:
        """The compiled step ``(params, state, batch, key, learning_rate)``; what it is given of the first two is gone."""
        zeroth, first = self.moves
        if zeroth is not None and first is not None and self.differences is not None:
            return hybrid_step(loss, self.differences, self.optimizer, zeroth=zeroth, first=first, order=self.order)
        if zeroth is not None and self.differences is not None:
            return zo_step(loss, self.differences, label=zeroth)
        return fo_step(loss, self.optimizer, label=self.blocks[-1])

    def start(self, params: Params) -> optax.OptState:
        """The state of the first-order optimizer at these parameters."""
        first = self.moves.first
        return () if first is None or self.optimizer is None else self.optimizer.init(params[first])

    def rate(self, step: int) -> float:
        """The learning rate of the zeroth-order block at a step, counted from 0."""
        return float(self.learning_rate(step)) if callable(self.learning_rate) else self.learning_rate

    def fingerprint(self, params: Params, steps: int) -> str:
        """What tells learning rates and optimizer from others, functions too.

        Of the rates at 64 steps, and of the program of the optimizer's update with its numbers.
        """
        rates = [self.rate(int(step)) for step in np.unique(np.linspace(0, steps, 64, dtype=int))]
        total = hashlib.sha256(repr(rates).encode())
        rule, first = self.optimizer, self.moves.first
        if rule is not None and first is not None:
            update = lambda like: rule.update(like, rule.init(like), like)
            program = jax.make_jaxpr(update)(jax.eval_shape(lambda: params[first]))
            total.update(re.sub(" at 0x[0-9a-f]+", "", str(program)).encode())
            for number in program.consts:
                total.update(np.asarray(number).tobytes())
        return total.hexdigest()[:16]


def method(
    name: str,
    learning_rates: Mapping[Label, LearningRate],
    *,
    differences: Differences | None = None,
    order: Order = "simultaneous",
) -> Method:
    """One of the paper's five methods, for LoRA, prefix and prompt alike.

        FO-FT        base by gradients
        ZO-FT        base by values of the loss
        FO-PEFT      adapter by gradients, the base frozen
        ZO-PEFT      adapter by values of the loss, the base frozen
        Hybrid-PEFT  adapter by gradients and base by values of the loss, in one step

    Args:
        name: which.
        learning_rates: of every block that moves, per step: a number (plain SGD) or a schedule, a function of the number of
            steps done. For a first-order block also any optax transformation: `optax.adam(1e-3)`; a zeroth-order block is
            updated in place, by SGD.
        differences: how slopes are measured, as `theory_lab.models.perturb.differences` makes; None is
            ``differences(1e-3)``. Only where a block moves by values.
        order: of Hybrid-PEFT: "simultaneous", or "adapter_first", where the base moves at the point the adapter reached.

    Raises:
        ValueError: another name, labels other than of the blocks that move, a learning rate that is negative, not finite in
            bfloat16 or of another kind, differences or an order that the method has no use for.

    Example:
        >>> method("Hybrid-PEFT", {"base": 1e-6, "peft": optax.adam(1e-3)}).cost
        Cost(values=2, gradients=1)

    Reference:
        Ma, Yu, Huang: New Hybrid Fine-Tuning Paradigm for LLMs, 2026, Algorithm 1. Malladi et al.: Fine-Tuning Language
        Models with Just Forward Passes, 2023 (ZO-FT, ZO-PEFT).
    """
    zeroth, first = METHODS[_checks.choice("name", name, METHODS)]
    moving = [label for label in (zeroth, first) if label is not None]
    _checks.same_labels("learning_rates", _checks.labelled("learning_rates", learning_rates), moving, f"what {name} moves")
    how, order = _how(name, zeroth, differences), _ordered(name, order)
    words = ", ".join(f"{label}: {_word(learning_rates[label])}" for label in moving)
    return Method(
        name,
        0.0 if zeroth is None else _rate(zeroth, learning_rates[zeroth]),
        None if first is None else _optimizer(first, learning_rates[first]),
        how,
        order,
        f"{name}({words}; {'no differences' if how is None else how}; {order})",
    )


def standard_rates(name: str) -> dict[Label, float]:
    """The learning rates of the blocks that a method moves, where none are given."""
    moves = METHODS[name]
    rates = {"base": 1e-6 if moves.zeroth == "base" else 1e-4, "peft": 1e-3}
    return {label: rate for label, rate in rates.items() if label in moves}


def refuse_lost(method: Method, params: Params) -> None:
    """Refuse a radius that rounding swallows: along a direction, whose entries are about 1, a usual weight stays as it is.

    Args:
        method: as `method` makes.
        params: the block that it moves by differences, at least.

    Raises:
        ValueError: a radius below half the spacing of numbers at the block's root mean square.

    Example:
        >>> tiny = method("ZO-FT", {"base": 1e-6}, differences=perturb.differences(1e-30))
        >>> refuse_lost(tiny, {"base": jnp.ones(3, jnp.float32)})
        Traceback (most recent call last):
        ...
        ValueError: radius must be at least 5.96e-08, half the spacing of float32 at the base's weights, got 1e-30
    """
    label = method.moves.zeroth
    if method.differences is None or label is None:
        return
    leaves = jax.tree.leaves(params[label])
    mean_square = float(_squares(leaves)) / sum(leaf.size for leaf in leaves)
    kind = jnp.result_type(*leaves)
    if not 0 < mean_square < math.inf:  # all weights 0, or some not finite
        return
    least = float(jnp.finfo(kind).eps) * 2.0 ** math.floor(math.log2(mean_square) / 2) / 2
    if method.differences.radius < least:
        rule = f"at least {least:.3g}, half the spacing of {kind} at the {label}'s weights"
        raise _checks.refuse("radius", rule, method.differences.radius)


@jax.jit
def _squares(leaves: list[Array]) -> Array:
    return sum((jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in leaves), jnp.zeros(()))


def _how(name: str, zeroth: Label | None, given: Differences | None) -> Differences | None:
    if zeroth is None and given is not None:
        raise _checks.refuse("differences", f"left out for {name}, which takes no differences", given)
    if given is not None:
        _checks.instance("differences", given, Differences, "as theory_lab.models.perturb.differences makes")
    return perturb.differences(1e-3) if zeroth is not None and given is None else given


def _ordered(name: str, order: Order) -> Order:
    _checks.choice("order", order, ORDERS)
    if name != "Hybrid-PEFT" and order != "simultaneous":
        raise _checks.refuse("order", f"left out for {name}, which moves one block", order)
    return order


def _rate(label: Label, given: Any) -> float | Callable[[Any], Any]:
    name = f"learning_rates[{label!r}]"
    if isinstance(given, optax.GradientTransformation):
        raise _checks.refuse(name, "a number or a schedule, for a block that is updated in place", type(given).__name__)
    if not callable(given):
        return _checks.nonnegative(name, given, reach=LARGEST)
    try:
        _checks.nonnegative(f"{name} at step 0", given(0), reach=LARGEST)
    except TypeError:
        raise _checks.refuse(name, "a number or a schedule", given) from None
    return given


def _optimizer(label: Label, given: Any) -> optax.GradientTransformation:
    return given if isinstance(given, optax.GradientTransformation) else optax.sgd(_rate(label, given))


def _word(given: Any) -> str:
    if isinstance(given, optax.GradientTransformation):
        return "an optax transformation"
    return "a schedule" if callable(given) else repr(float(given))
