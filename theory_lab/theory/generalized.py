"""Generalised hybrid smoothness under one roof: level sets, Theorem 4, and it as `Theorem`s that read growth functions.

`level_sets` turns growth functions into a gradient bound and a trust region, `high_probability` states Theorem 4 and
judges its conditions one by one. The recommended step sizes are the largest at which every condition holds.
"""

import math
from collections.abc import Callable
from typing import Any

from theory_lab._typing import Label
from theory_lab.constants import Constants
from theory_lab.theory.base import BLOCKS, Budget, Pair, StepSizes, Theorem, pair_of
from theory_lab.theory.high_probability import (
    Condition,
    HighProbability,
    reshuffling_high_probability,
    with_replacement_high_probability,
)
from theory_lab.theory.level_sets import TrustRegion, grad_level_bound, li_grad_level_bound, power_law, trust_region
from theory_lab.theory.moment_bounds import kappa, kappa_prime

__all__ = [
    "RESHUFFLING",
    "WITH_REPLACEMENT",
    "Condition",
    "HighProbability",
    "TrustRegion",
    "grad_level_bound",
    "li_grad_level_bound",
    "power_law",
    "reshuffling_high_probability",
    "trust_region",
    "with_replacement_high_probability",
]

Judge = Callable[[Constants, Budget, StepSizes], HighProbability]


def _read(constants: Constants, budget: Budget) -> dict[str, Any]:
    """What both theorems take from constants and budget, once nothing is unknown."""
    assert constants.growth is not None  # needed
    return {
        "growth": (constants.growth["x"], constants.growth["y"]),
        "dispersion": pair_of(constants.dispersion),
        "initial_gap": budget.initial_gap,
        "failure_probability": budget.failure_probability,
        "dimension": budget.dimension,
        "directions": budget.directions,
        "radius": budget.radius,
    }


def _reshuffled(constants: Constants, budget: Budget, step_sizes: StepSizes) -> HighProbability:
    known = _read(constants, budget)
    return reshuffling_high_probability(step_sizes=pair_of(step_sizes), n=budget.n, epochs=budget.epochs, **known)


def _replaced(constants: Constants, budget: Budget, step_sizes: StepSizes) -> HighProbability:
    return with_replacement_high_probability(step_sizes=pair_of(step_sizes), steps=budget.steps, **_read(constants, budget))


def _region(constants: Constants, budget: Budget) -> TrustRegion:
    known = _read(constants, budget)
    return trust_region(**{name: known[name] for name in ("growth", "initial_gap", "failure_probability")})


def _conditions(constants: Constants, budget: Budget) -> list[str]:
    if budget.initial_gap == 0:
        return ["initial gap is not positive"]
    region = _region(constants, budget)
    if region.gradient == math.inf:
        return ["growth is not sub-quadratic at the gap 8 Delta/delta"]
    return [f"growth of block {b} is not positive" for b, l_b in zip(BLOCKS, region.smoothness, strict=True) if l_b <= 0]


def _largest(judge: Judge, shares: Callable[[Budget], Pair]) -> Callable[[Constants, Budget], dict[Label, float]]:
    """The rule: the largest common multiple of shares_b/L'_b at which every condition holds; none if none does."""

    def rule(constants: Constants, budget: Budget) -> dict[Label, float]:
        full = [share / l_b for share, l_b in zip(shares(budget), _region(constants, budget).smoothness, strict=True)]

        def at(exponent: float) -> dict[Label, float]:
            return dict(zip(BLOCKS, (2.0**exponent * eta for eta in full), strict=True))

        def holds(exponent: float) -> bool:
            return judge(constants, budget, at(exponent)).holds

        low, high = -80.0, 10.0
        if not holds(low):
            return {}
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if holds(middle) else (low, middle)
        return at(low)

    return rule


def _epoch_shares(budget: Budget) -> Pair:
    assert budget.dimension is not None  # needed
    largest = 1 / (8 * budget.n)
    return min(largest, 1 / (72 * kappa_prime(budget.dimension, budget.directions))), largest


def _step_shares(budget: Budget) -> Pair:
    assert budget.dimension is not None  # needed
    return 0.47 / kappa(budget.dimension, budget.directions), 0.47


_NEEDS = ("growth", "dispersion", "initial_gap", "dimension", "failure_probability")

RESHUFFLING = Theorem(
    name="hybrid SGD with random reshuffling, generalised smoothness",
    source="theory_lab, Theorem 4",
    statement="with probability at least 1 - delta all epoch starts stay in {f - f* <= 2 Delta/delta}, and on that event "
    "E (1/T) sum_{t<T} sum_b eta_b ||grad_b f(z_t)||^2 <= 4 Delta/(nT min_b C_b)",
    kind="upper bound",
    exponents={"epochs": -0.5, "n": -0.5, "dimension": 0.5, "directions": -0.5},
    needs=_NEEDS,
    blocks=BLOCKS,
    conditions=_conditions,
    rule=_largest(_reshuffled, _epoch_shares),
    value=lambda constants, budget, step_sizes: _reshuffled(constants, budget, step_sizes).bound,
)

WITH_REPLACEMENT = Theorem(
    name="hybrid SGD with replacement, generalised smoothness",
    source="theory_lab, Theorem 4",
    statement="with probability at least 1 - delta all iterates stay in {f - f* <= 2 Delta/delta}, and on that event "
    "E (1/K) sum_{k<K} sum_b eta_b ||grad_b f(z_k)||^2 <= 4 Delta/(K min_b C_b)",
    kind="upper bound",
    exponents={"epochs": -0.5, "n": -0.5, "dimension": 0.5, "directions": -0.5},
    needs=_NEEDS,
    blocks=BLOCKS,
    conditions=_conditions,
    rule=_largest(_replaced, _step_shares),
    value=lambda constants, budget, step_sizes: _replaced(constants, budget, step_sizes).bound,
)
