"""Theorems 1 and 2 where the dispersion grows with the gap: sigma_b^2 = A_b (f - f*) + B_b (Corollary 1c).

The noise of either theorem is linear in the dispersion, so a step (an epoch) multiplies the expected gap by at most 1 + rate
and adds the noise at dispersion B: E Delta_{k+1} <= (1 + rate) Delta_k - S_k + N_B. Weights (1 + rate)^-(k+1) telescope it:

    (1/W) sum_{k<K} (1+rate)^-(k+1) E S_k <= Delta_0/W + N_B,   W = sum_{k<K} (1+rate)^-(k+1).

W is at least K/e while rate K <= 1. Components with lower bounds f_i* always satisfy A_b = 2 L_b,
B_b = 2 L_b (f* - mean f_i*).
"""

import math
from dataclasses import replace
from typing import NamedTuple, Unpack

from theory_lab import _checks
from theory_lab.theory._setting import Blocks, Setting, guaranteed, setting
from theory_lab.theory.base import Pair, pair
from theory_lab.theory.with_replacement import parts_of as step_parts
from theory_lab.theory.without_replacement import FreeParameters, best_parameters, bound_of, checked
from theory_lab.theory.without_replacement import parts_of as epoch_parts


class GrowingNoiseBound(NamedTuple):
    """A bound on the average with weights proportional to (1 + rate)^-k, and that rate (per step, or per epoch)."""

    bound: float
    rate: float


def discounted(rate: float, terms: int) -> float:
    """W = sum_{k < terms} (1 + rate)^-(k+1), which is the number of terms at rate 0.

    Raises:
        ValueError: a negative rate, fewer than one term.

    Example:
        >>> discounted(0.0, 10), round(discounted(1.0, 3), 3)
        (10.0, 0.875)
    """
    rate, terms = _checks.nonnegative("rate", rate), _checks.count("terms", terms)
    return -math.expm1(-terms * math.log1p(rate)) / rate if rate > 0 else float(terms)


def with_replacement_growing_bound(
    *,
    step_sizes: Pair,
    dispersion_slope: Pair,
    initial_gap: float,
    steps: int,
    weights: Pair = (1.0, 1.0),
    c: float = 1.0,
    theta: float = 0.5,
    **blocks: Unpack[Blocks],
) -> GrowingNoiseBound:
    """Corollary 1c, with replacement. *Upper bound* on the discounted average of sum_b w_b eta_b ||grad_b f(z_k)||^2.

    Args:
        step_sizes, initial_gap, steps, weights: as in `with_replacement_bound`.
        dispersion_slope: (A_x, A_y).
        c, theta: Young's constants; used at a positive radius only.
        **blocks: smoothness, dispersion (here B), rank, directions, radius as in `with_replacement_bound`.

    Returns:
        The bound and the rate per step.

    Raises:
        ValueError: a negative or non-finite argument, or a value that is not a pair.

    Example:
        >>> common = dict(step_sizes=(0.0, 0.1), initial_gap=1, steps=100, smoothness=(1, 1), dispersion=(0, 0), rank=8)
        >>> growing = with_replacement_growing_bound(dispersion_slope=(0, 2), **common)
        >>> round(growing.bound, 4), round(growing.rate, 4)
        (0.0167, 0.01)

    Reference:
        theory_lab, Corollary 1c.
    """
    given, etas = setting(**blocks), pair("step_sizes", step_sizes)
    gap, steps = _checks.nonnegative("initial_gap", initial_gap), _checks.count("steps", steps)
    if given.radius > 0:
        c, theta = _checks.positive("c", c), _checks.positive("theta", theta)
    else:
        c = theta = 0.0
    parts = step_parts(given, etas, c, theta)
    rate = step_parts(_slopes(given, dispersion_slope), etas, c, theta).noise
    total = gap / discounted(rate, steps) + parts.noise
    return GrowingNoiseBound(guaranteed(total, parts.coefficients, etas, pair("weights", weights)), rate)


def reshuffling_growing_bound(
    *,
    step_sizes: Pair,
    dispersion_slope: Pair,
    initial_gap: float,
    n: int,
    epochs: int,
    weights: Pair = (1.0, 1.0),
    parameters: FreeParameters | None = None,
    **blocks: Unpack[Blocks],
) -> GrowingNoiseBound:
    """Theorem 2 with growing dispersion. *Upper bound* on the discounted average of sum_b w_b eta_b ||grad_b f(z_t)||^2.

    Args:
        step_sizes, initial_gap, n, epochs, weights: as in `reshuffling_bound`.
        dispersion_slope: (A_x, A_y).
        parameters: free parameters of Theorem 2; by default those that are best for dispersion B alone.
        **blocks: smoothness, dispersion (here B), rank, directions, radius as in `reshuffling_bound`.

    Returns:
        The bound and the rate per epoch; both inf where the parameters are not admissible.

    Raises:
        ValueError: a negative or non-finite argument, a value that is not a pair, or a free parameter outside its range.

    Example:
        >>> growing = reshuffling_growing_bound(
        ...     step_sizes=(0.0, 0.02), dispersion_slope=(0, 2), initial_gap=1, n=5, epochs=100,
        ...     smoothness=(1, 1), dispersion=(0, 0), rank=8)
        >>> growing.rate < 0.02 * 0.1
        True

    Reference:
        theory_lab, Theorem 2 with the weights of Corollary 1c.
    """
    given, etas, n = setting(**blocks), pair("step_sizes", step_sizes), _checks.count("n", n)
    gap, epochs = _checks.nonnegative("initial_gap", initial_gap), _checks.count("epochs", epochs)
    scales = pair("weights", weights)
    p = checked(parameters, given) if parameters is not None else best_parameters(given, etas, n, gap / (n * epochs), scales)
    if not epoch_parts(given, etas, n, p).holds:
        return GrowingNoiseBound(math.inf, math.inf)
    rate = n * epoch_parts(_slopes(given, dispersion_slope), etas, n, p).noise
    first = gap / (n * discounted(rate, epochs))
    return GrowingNoiseBound(bound_of(given, etas, n, p, first, scales), rate)


def _slopes(given: Setting, dispersion_slope: Pair) -> Setting:
    """The setting whose noise is the coefficient of f - f* in N."""
    return replace(given, dispersion=pair("dispersion_slope", dispersion_slope), radius=0.0)
