"""A theorem: what it assumes, the step sizes it asks for and the number it promises.

A theorem sees `Constants` and a `Budget`, never a trace. A constant that is None is unknown: the theorem says so in words
and promises nothing; it never reads None as zero.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from theory_lab import _checks
from theory_lab._typing import Label
from theory_lab.constants import Constants

Kind = Literal["exact", "upper bound", "lower bound", "measured conjecture", "exponents only"]
Pair = tuple[float, float]  # (x, y): the zeroth-order block, then the first-order block
StepSizes = Mapping[Label, float]

KINDS = ("exact", "upper bound", "lower bound", "measured conjecture", "exponents only")
BLOCKS = ("x", "y")
PER_BLOCK = ("smoothness", "growth", "dispersion", "trace", "initial_distance_sq")


@dataclass(frozen=True)
class Budget:
    """What a run spends, and what is known of its start; None means unknown.

    Attributes:
        n: components per epoch (minibatches, if a step sees a minibatch).
        epochs: passes over the components; n * epochs component steps.
        directions: q, directions that the two-point estimator averages per step.
        radius: of the finite differences; 0 means exact directional derivatives.
        dimension: d of the zeroth-order block.
        initial_gap: f(z_0) - f*.
        initial_distance_sq: per block ||z_0 - z*||^2 to the minimiser that the theorem compares with.
        convex_components: whether every component is convex.
        failure_probability: delta of the statements that hold with probability 1 - delta.

    Raises:
        ValueError: a count below 1, a negative radius, gap or distance, or a probability outside (0, 1).
    """

    n: int
    epochs: int
    directions: int = 1
    radius: float = 0.0
    dimension: int | None = None
    initial_gap: float | None = None
    initial_distance_sq: Mapping[Label, float] | None = None
    convex_components: bool | None = None
    failure_probability: float | None = None

    def __post_init__(self) -> None:
        for name in ("n", "epochs", "directions"):
            _checks.count(name, getattr(self, name))
        object.__setattr__(self, "radius", _checks.nonnegative("radius", self.radius))
        if self.dimension is not None:
            _checks.count("dimension", self.dimension)
        if self.initial_gap is not None:
            object.__setattr__(self, "initial_gap", _checks.nonnegative("initial_gap", self.initial_gap))
        if self.initial_distance_sq is not None:
            given = _checks.labelled("initial_distance_sq", self.initial_distance_sq)
            distances = {label: _checks.nonnegative(f"initial_distance_sq[{label!r}]", d) for label, d in given.items()}
            object.__setattr__(self, "initial_distance_sq", distances)
        if self.convex_components is not None and not isinstance(self.convex_components, (bool, np.bool_)):
            raise _checks.refuse("convex_components", "True, False or None", self.convex_components)
        if self.failure_probability is not None:
            probability = _checks.between("failure_probability", self.failure_probability, 0, 1, closed="()")
            object.__setattr__(self, "failure_probability", probability)

    @property
    def steps(self) -> int:
        """K = n * epochs, the component steps."""
        return self.n * self.epochs


def _no_conditions(constants: Constants, budget: Budget) -> list[str]:
    return []


def _no_step_sizes(constants: Constants, budget: Budget) -> dict[Label, float]:
    return {}


def _no_bound(constants: Constants, budget: Budget, step_sizes: StepSizes) -> float:
    return math.nan


@dataclass(frozen=True)
class Theorem:
    """A statement with its assumptions, step sizes and bound as functions of constants and a budget.

    Attributes:
        name: as the report prints it.
        source: author, year, number.
        statement: the guarantee in words and plain-text mathematics, with the metric that `bound` bounds.
        kind: what the number is: "exact", "upper bound", "lower bound", "measured conjecture", or "exponents only" for a
            statement whose constants are unknown.
        exponents: the powers with which the guaranteed accuracy in the average of ||grad f||^2 scales at the theorem's own
            step sizes once its leading term dominates, as in ``{"epochs": -0.5}``. Where `bound` bounds the average of
            sum_b eta_b ||grad_b f||^2, the accuracy is that bound divided by the least step size.
        needs: fields of `Constants` and of `Budget` that must be known.
        blocks: the labels that every per-block constant must cover; empty where any labels do.
        conditions: further assumptions that do not hold, in words; called only when nothing needed is unknown.
        rule: the step sizes; called only when nothing is unmet.
        value: the bound; called only when nothing is unmet.
    """

    name: str
    source: str
    statement: str
    kind: Kind
    exponents: Mapping[str, float] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    blocks: tuple[Label, ...] = ()
    conditions: Callable[[Constants, Budget], list[str]] = _no_conditions
    rule: Callable[[Constants, Budget], dict[Label, float]] = _no_step_sizes
    value: Callable[[Constants, Budget, StepSizes], float] = _no_bound

    def __post_init__(self) -> None:
        _checks.choice("kind", self.kind, KINDS)

    def assumptions(self, constants: Constants, budget: Budget) -> list[str]:
        """What stands between these constants and the theorem, in words; empty when it applies.

        Raises:
            ValueError: something else than constants and a budget.
        """
        _checks.instance("constants", constants, Constants, "Constants")
        _checks.instance("budget", budget, Budget, "a Budget")
        unmet = unknown(self.needs, self.blocks, constants.declared(), budget)
        return unmet or self.conditions(constants, budget)

    def step_sizes(self, constants: Constants, budget: Budget) -> dict[Label, float]:
        """Step sizes per component step that the theorem recommends, by block; empty when an assumption is unmet."""
        return {} if self.assumptions(constants, budget) else self.rule(constants, budget)

    def bound(self, constants: Constants, budget: Budget, step_sizes: StepSizes) -> float:
        """The promised number at these step sizes.

        An upper bound is inf, and any other kind nan, where an assumption is unmet; an upper bound is inf as well where the
        step sizes break its condition. A theorem with unknown constants has no number: nan.

        Raises:
            ValueError: step sizes for other blocks than the theorem's, or that are no nonnegative numbers.
        """
        if self.blocks or not isinstance(step_sizes, Mapping) or step_sizes:
            given = _checks.labelled("step_sizes", step_sizes)
            step_sizes = {label: _checks.nonnegative(f"step_sizes[{label!r}]", size) for label, size in given.items()}
        if self.blocks:
            _checks.same_labels("step_sizes", step_sizes, self.blocks, "the theorem")
        if self.assumptions(constants, budget):
            return math.inf if self.kind == "upper bound" else math.nan
        return self.value(constants, budget, step_sizes)


def unknown(needs: Iterable[str], blocks: Iterable[Label], constants: Constants, budget: Budget) -> list[str]:
    """Name every needed constant that is None, block by block where it is known for some blocks only.

    Example:
        >>> unknown(["smoothness"], ["x", "y"], Constants(smoothness={"y": 1.0}), Budget(n=4, epochs=1))
        ['smoothness of block x is unknown']
    """
    missing = []
    for name in needs:
        words = name.replace("_", " ")
        value = getattr(constants, name) if hasattr(constants, name) else getattr(budget, name)
        labels = tuple(blocks) or tuple(value or ()) if name in PER_BLOCK else ()
        if labels:
            known = value or {}
            missing += [f"{words} of block {label} is unknown" for label in labels if known.get(label) is None]
        elif value is None:
            missing.append(f"{words} is unknown")
    return missing


def pair_of(values: Mapping[Label, Any] | None) -> Pair:
    """The two blocks of a mapping as floats, zeroth-order block first; call it on known constants only."""
    assert values is not None  # `unknown` has been asked before
    return float(values["x"]), float(values["y"])


def pair(name: str, value: Any, *, positive: bool = False) -> Pair:
    """Check that a value is a pair (x, y) of nonnegative, or positive, finite numbers.

    Raises:
        ValueError: it is not.
    """
    rule = f"a pair (x, y) of {'positive' if positive else 'nonnegative'} finite numbers"
    try:
        x, y = value
        x, y = _checks.real(name, x, reach=math.inf), _checks.real(name, y, reach=math.inf)
    except (TypeError, ValueError):
        raise _checks.refuse(name, rule, value) from None
    if min(x, y) < 0 or (positive and min(x, y) == 0):
        raise _checks.refuse(name, rule, value)
    check = _checks.positive if positive else _checks.nonnegative
    return check(name, x), check(name, y)


def rank_of(constants: Constants, budget: Budget) -> float:
    """Effective rank r = tr S_x / L_x of the zeroth-order block, or its dimension where the trace is unknown."""
    trace = (constants.trace or {}).get("x")
    if trace is not None:
        return max(1.0, float(trace) / pair_of(constants.smoothness)[0])
    assert budget.dimension is not None  # `rank_is_known` has been asked before
    return float(budget.dimension)


def rank_is_known(constants: Constants, budget: Budget) -> list[str]:
    """The condition that `rank_of` needs, in words."""
    if (constants.trace or {}).get("x") is None and budget.dimension is None:
        return ["trace and dimension of block x are both unknown"]
    return []


def curved(constants: Constants) -> list[str]:
    """The condition of rules that divide by the smoothness of both blocks, in words."""
    pairs = zip(BLOCKS, pair_of(constants.smoothness), strict=True)
    return [f"smoothness of block {label} is not positive" for label, value in pairs if value <= 0]
