"""How far a gradient can grow on a level set, when the curvature is bounded by a function of the gradient.

+-Hess f(z) <= l(||grad f(z)||) I with l nondecreasing and sub-quadratic; S_F = {f - f* <= F}. Walking from z in S_F along
-D^-1 grad f with D = diag(l_b(G)), G = sup ||grad f|| over S_F, f only falls, so the walk stays in S_F; its end shows

    sum_b ||grad_b f||^2 / l_b(G) <= 2 (f - f*) on S_F, hence G^2 <= 2 F l(G) with l = max_b l_b.

Proof. While z(s) = z - s D^-1 g is in S_F the Hessian there is at most D, so f(z(s)) <= f(z) - (s - s^2/2) ||g||^2 in the
norm of D^-1, which is below f(z) up to s = 1: z(s) does not reach the boundary. Take s = 1.

Lemma 4.2. With D+ = diag(l_b(Gbar(4F))), {z': ||z' - z||_{D+} <= sqrt(2F)} lies in S_4F for every z in S_F. Proof. The first
bound, on S_4F, gives ||g|| <= sqrt(2F) in the norm of D+^-1. As long as the segment to z + p stays in S_4F, f - f* <= F +
sqrt(2F) ||p|| + ||p||^2/2 = (sqrt F + ||p||/sqrt 2)^2 <= 4F, with equality at its end at most.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from theory_lab import _checks
from theory_lab.theory.base import Pair

PHI = (1 + math.sqrt(5)) / 2  # smoothness lost when a function is extended from a ball to the whole space

Growth = Callable[[Any], Any]  # u -> l(u)


def grad_level_bound(growth: Growth, gap: float) -> float:
    """sup{w : w^2 <= 2 gap l(w)}, which bounds ||grad f|| on {f - f* <= gap}. *Upper bound*.

    Every member of the set below w is below sqrt(2 gap l(w)), because l is nondecreasing: iterating that map from a
    huge number falls onto the supremum from above, and every iterate is a valid bound.

    Args:
        growth: l, nondecreasing and positive; with two blocks the larger of l_x and l_y.
        gap: F >= 0.

    Returns:
        The supremum to rounding; inf where l is not sub-quadratic enough for this gap (judged at 2^400).

    Raises:
        ValueError: a growth that is no function, a negative or non-finite gap.

    Example:
        >>> grad_level_bound(lambda u: 2.0, gap=1.0)
        2.0
        >>> grad_level_bound(lambda u: u**2, gap=1.0)
        inf

    Reference:
        theory_lab, Theorem 4 (Lemma 4.1); sharper than `li_grad_level_bound`.
    """
    _checks.function("growth", growth, "a function of the gradient's norm")
    gap = _checks.nonnegative("gap", gap)

    def image(w: float) -> float:
        with np.errstate(over="ignore"):
            return math.sqrt(2 * gap * float(growth(w)))

    w, below = 2.0**400, image(2.0**400)
    if below >= w:
        return math.inf
    for _ in range(100_000):  # linear convergence: slow only for l close to quadratic
        if below >= w * (1 - 1e-15):
            break
        w, below = below, image(below)
    return below


def li_grad_level_bound(growth: Growth, gap: float) -> float:
    """sup{u : u^2 <= 2 gap l(2u)}, from ||grad f||^2 <= 2 l(2 ||grad f||) (f - f*). *Upper bound*.

    Args:
        growth, gap: as in `grad_level_bound`.

    Example:
        >>> li_grad_level_bound(lambda u: (1 + u) ** 2, gap=0.125)  # l exactly quadratic: no bound from F = 1/8 on
        inf

    Reference:
        Li, Qian, Tian, Rakhlin, Jadbabaie 2023, key lemma (recalled, not re-read; re-proved as Lemma 4.1).
    """
    _checks.function("growth", growth, "a function of the gradient's norm")
    return grad_level_bound(lambda u: growth(2 * u), gap)


class PowerLaw(NamedTuple):
    """Exponents for l(u) ~ u^p: gradient bound and smoothness on {f - f* <= F} in F, and the smoothness in delta ~ 1/F."""

    gradient_in_gap: float
    smoothness_in_gap: float
    smoothness_in_failure_probability: float


def power_law(power: float) -> PowerLaw:
    """What l(u) ~ u^p hides in a "constant" L: G ~ F^(1/(2-p)), L = l(G) ~ F^(p/(2-p)), and F ~ 1/delta. *Exact* exponents.

    w^2 = 2F w^p gives w = (2F)^(1/(2-p)). A slope in delta can therefore be checked as an upper bound only.

    Args:
        power: p in [0, 2).

    Raises:
        ValueError: a power outside [0, 2).

    Example:
        >>> power_law(1.5).smoothness_in_gap
        3.0
    """
    power = _checks.between("power", power, 0, 2, closed="[)")
    return PowerLaw(1 / (2 - power), power / (2 - power), -power / (2 - power))


class TrustRegion(NamedTuple):
    """Where a run is expected to stay, and what is known of the components there."""

    gap: float  # F = 2 Delta/delta
    gradient: float  # Gbar(4F) bounds ||grad f|| on S_4F
    smoothness: Pair  # L'_b = phi l_b(Gbar(4F))
    radius: float  # rho' = sqrt(2 phi F), in the norm of diag(L'_b)


def trust_region(*, growth: tuple[Growth, Growth], initial_gap: float, failure_probability: float) -> TrustRegion:
    """The constants F, G, L'_b and rho' of Theorem 4.

    Args:
        growth: (l_x, l_y) as functions of ||grad f||. If the curvature is bounded in terms of ||grad f_i||, pass
            l_b(u + sup ||grad f_i - grad f||).
        initial_gap: Delta = f(z_0) - f* > 0.
        failure_probability: delta in (0, 1).

    Raises:
        ValueError: a growth that is no pair of functions, a gap that is not positive, or a probability outside (0, 1).

    Example:
        >>> region = trust_region(growth=(lambda u: 1.0, lambda u: 4.0), initial_gap=1.0, failure_probability=0.5)
        >>> region.gap, round(region.smoothness[1] / region.smoothness[0], 12)
        (4.0, 4.0)
    """
    if not isinstance(growth, Sequence) or len(growth) != 2 or not all(map(callable, growth)):
        raise _checks.refuse("growth", "a pair of functions of the gradient's norm", growth)
    gap = 2 * _checks.positive("initial_gap", initial_gap)
    gap /= _checks.between("failure_probability", failure_probability, 0, 1, closed="()")
    g = grad_level_bound(lambda u: max(float(growth[0](u)), float(growth[1](u))), 4 * gap)
    smoothness = (PHI * float(growth[0](g)), PHI * float(growth[1](g))) if g < math.inf else (math.inf, math.inf)
    return TrustRegion(gap, g, smoothness, math.sqrt(2 * PHI * gap))
