"""Step sizes tuned to the number of steps, and the number of steps that an accuracy costs: Corollaries 1b and 2c.

The two blocks share one scale gamma: eta_b = gamma s_b. The clean bounds of Corollaries 1a and 2a, divided by gamma, bound
the average of sum_b s_b ||grad_b f||^2 by

    A/gamma + V1 gamma + V2 gamma^2 + floor,   A = 2 Delta/K or 4 Delta/(nT),

and gamma is the least of the largest admissible scale, sqrt(A/V1) and (A/V2)^(1/3): each pair of terms is then balanced.

For the plain gradient norm, shares (1, 1), unequal steps gain little in the worst case: a best pair in Theorem 1 has equal
C_b eta_b. They are justified by block-wise accuracy. The dimension of the x-block multiplies L_x and L_x sigma_x^2 alone,
the dimension of the y-block appears nowhere.
"""

import math
from typing import NamedTuple, Unpack

from theory_lab import _checks
from theory_lab.theory._setting import Blocks, Setting, setting
from theory_lab.theory.base import Pair, pair


class TunedSteps(NamedTuple):
    """Step sizes (eta_x, eta_y) and what they guarantee of the average of sum_b shares_b ||grad_b f||^2."""

    step_sizes: Pair
    bound: float


class Terms(NamedTuple):
    """A/gamma + linear gamma + quadratic gamma^2 + floor for gamma up to `largest`."""

    largest: float
    linear: float = 0.0
    quadratic: float = 0.0
    floor: float = 0.0  # the bias of the finite differences, which no gamma removes


def best_scale(first: float, terms: Terms) -> float:
    """gamma = min(largest, sqrt(A/linear), (A/quadratic)^(1/3)) for A = `first`.

    Example:
        >>> best_scale(0.04, Terms(largest=1.0, linear=4.0))
        0.1
    """
    gamma = terms.largest
    if first > 0 and terms.linear > 0:
        gamma = min(gamma, math.sqrt(first / terms.linear))
    if first > 0 and terms.quadratic > 0:
        gamma = min(gamma, first ** (1 / 3) / terms.quadratic ** (1 / 3))
    return gamma


def with_replacement_tuned(*, initial_gap: float, steps: int, shares: Pair, **blocks: Unpack[Blocks]) -> TunedSteps:
    """Corollary 1b, with replacement. *Upper bound* on (1/K) sum_k E sum_b s_b ||grad_b f(z_k)||^2.

    With gamma <= g = min(1/(kappa L_x s_x), 1/(L_y s_y)) and V1 = kappa s_x^2 L_x sigma_x^2 + s_y^2 L_y sigma_y^2 the
    bound is at most 2 Delta/(g K) + 2 sqrt(2 Delta V1/K). A positive radius puts 4 kappa into g, doubles the first
    term of V1, adds 2 s_x^2 L_x mu^2 L_x^2 M to it and 2 s_x beta^2 to the bound.

    Args:
        initial_gap: f(z_0) - f*.
        steps: K.
        shares: (s_x, s_y) > 0; (1/(kappa L_x), 1/L_y) runs both blocks at the same fraction of their limits.
        **blocks: smoothness (positive), dispersion, rank, directions, radius as in `with_replacement_bound`.

    Raises:
        ValueError: a negative or non-finite argument, a value that is not a pair, a share or smoothness of 0.

    Example:
        >>> tuned = with_replacement_tuned(
        ...     initial_gap=1, steps=10_000, shares=(1, 1), smoothness=(1, 1), dispersion=(1, 1), rank=6)
        >>> round(tuned.step_sizes[0], 6), round(tuned.bound, 6)
        (0.004714, 0.084853)

    Reference:
        theory_lab, Corollary 1b.
    """
    given, shares = setting(**blocks), pair("shares", shares, positive=True)
    gap = _checks.nonnegative("initial_gap", initial_gap)
    return _tuned(2 * gap / _checks.count("steps", steps), _with_replacement(given, shares), shares)


def with_replacement_complexity(*, accuracy: float, initial_gap: float, shares: Pair, **blocks: Unpack[Blocks]) -> float:
    """Corollary 1b: steps K after which the tuned bound is at most accuracy^2, at radius 0. *Upper bound*.

    K = max{4 Delta/(g accuracy^2), 32 Delta V1/accuracy^4}.

    Args:
        accuracy: square root of the target for the average of sum_b s_b ||grad_b f||^2.
        initial_gap, shares, **blocks: as in `with_replacement_tuned`, at radius 0.

    Raises:
        ValueError: as `with_replacement_tuned`, and for a positive radius.

    Example:
        >>> round(with_replacement_complexity(
        ...     accuracy=0.1, initial_gap=1, shares=(1, 1), smoothness=(1, 1), dispersion=(0, 1), rank=6))
        320000

    Reference:
        theory_lab, Corollary 1b.
    """
    given, gap = _at_radius_zero(setting(**blocks)), _checks.nonnegative("initial_gap", initial_gap)
    target = _checks.positive("accuracy", accuracy) ** 2
    terms = _with_replacement(given, pair("shares", shares, positive=True))
    return max(4 * gap / (terms.largest * target), 32 * gap * terms.linear / target**2)


def reshuffling_tuned(*, initial_gap: float, n: int, epochs: int, shares: Pair, **blocks: Unpack[Blocks]) -> TunedSteps:
    """Corollary 2c, reshuffled. *Upper bound* on (1/T) sum_t E sum_b s_b ||grad_b f(z_t)||^2 over epoch starts.

    With lam = max_b s_b L_b, V1 = 5 kappa' s_x^2 L_x sigma_x^2, V2 = 2(n+1) lam sum_b s_b^2 L_b sigma_b^2 and
    gamma <= min(1/(4n lam), 1/(8 kappa' s_x L_x)), the bound is at most

        16 Delta max(lam, 2 kappa' s_x L_x/n)/T + 4 sqrt(Delta V1/(nT)) + 2 (4 Delta/(nT))^(2/3) V2^(1/3).

    A positive radius puts 5n for 4n, 6.4 for 5, 2.2 for 2, adds 21 s_x^2 L_x m^2 to V1 and 17 s_x beta^2 to the bound.

    Args:
        initial_gap: f(z_0) - f*.
        n, epochs: components per epoch, and T.
        shares: (s_x, s_y) > 0.
        **blocks: smoothness (positive), dispersion, rank, directions, radius as in `reshuffling_bound`.

    Raises:
        ValueError: a negative or non-finite argument, a value that is not a pair, a share or smoothness of 0.

    Example:
        >>> tuned = reshuffling_tuned(
        ...     initial_gap=1, n=10, epochs=1000, shares=(1, 1), smoothness=(1, 1), dispersion=(1, 1), rank=6)
        >>> round(tuned.step_sizes[0], 6), round(tuned.bound, 6)
        (0.003381, 0.237146)

    Reference:
        theory_lab, Corollary 2c.
    """
    given, shares, n = setting(**blocks), pair("shares", shares, positive=True), _checks.count("n", n)
    gap = _checks.nonnegative("initial_gap", initial_gap)
    return _tuned(4 * gap / (n * _checks.count("epochs", epochs)), _reshuffling(given, shares, n), shares)


def reshuffling_complexity(*, accuracy: float, initial_gap: float, n: int, shares: Pair, **blocks: Unpack[Blocks]) -> float:
    """Corollary 2c: component steps nT after which the tuned bound is at most accuracy^2, at radius 0. *Upper bound*.

    nT = max{48 Delta max(n lam, 2 kappa' s_x L_x)/accuracy^2, 144 Delta V1/accuracy^4, 58.8 Delta sqrt(V2)/accuracy^3}. The
    coefficient of accuracy^-4 is the direction noise, r/q L_x sigma_x^2: with sigma_x = 0 the rate is accuracy^-3 sqrt(n).

    Args:
        accuracy: square root of the target for the average of sum_b s_b ||grad_b f||^2.
        initial_gap, n, shares, **blocks: as in `reshuffling_tuned`, at radius 0.

    Raises:
        ValueError: as `reshuffling_tuned`, and for a positive radius.

    Example:
        >>> round(reshuffling_complexity(
        ...     accuracy=0.1, initial_gap=1, n=10, shares=(1, 1), smoothness=(1, 1), dispersion=(0, 0), rank=6))
        67200

    Reference:
        theory_lab, Corollary 2c.
    """
    given, gap = _at_radius_zero(setting(**blocks)), _checks.nonnegative("initial_gap", initial_gap)
    eps = _checks.positive("accuracy", accuracy)
    terms = _reshuffling(given, pair("shares", shares, positive=True), _checks.count("n", n))
    by_directions, by_order = 144 * gap * terms.linear / eps**4, 4 * 6**1.5 * gap * math.sqrt(terms.quadratic) / eps**3
    return max(12 * gap / (terms.largest * eps**2), by_directions, by_order)


def reshuffling_radius(*, accuracy: float, step_size: float, smoothness: float, rank: float, directions: int = 1) -> float:
    """The radius that costs accuracy^2 in Corollary 2a's bound on ||grad_x f||^2. *Upper bound* on what a radius costs.

    accuracy / (L_x sqrt(17 r + 21 alpha_x r(r+2)(r+4)/(4q))); `moment_bounds.largest_radius` is the same for Theorem 1.

    Args:
        accuracy: square root of the cost that is allowed.
        step_size, smoothness: eta_x and L_x.
        rank, directions: as in `reshuffling_bound`.

    Raises:
        ValueError: a value that is not positive, or a negative step size.

    Example:
        >>> reshuffling_radius(accuracy=0.1, step_size=0.0, smoothness=1.0, rank=17)
        0.0058823529411764705
    """
    unit = setting(smoothness=(1, 1), dispersion=(0, 0), rank=rank, directions=directions, radius=1.0)
    alpha = _checks.nonnegative("step_size", step_size) * _checks.positive("smoothness", smoothness)
    cost = 17 * unit.bias_sq + 21 * alpha * unit.remainder_variance
    return _checks.positive("accuracy", accuracy) / (smoothness * math.sqrt(cost))


def _at_radius_zero(given: Setting) -> Setting:
    if given.radius != 0:
        raise _checks.refuse("radius", "0: the complexity is stated for exact directional derivatives", given.radius)
    return given


def _with_replacement(given: Setting, shares: Pair) -> Terms:
    (s_x, s_y), (l_x, l_y) = shares, pair("smoothness", given.smoothness, positive=True)
    exact, kappa = given.radius == 0, given.second_moment_factor
    largest = min(1 / ((1 if exact else 4) * kappa * l_x * s_x), 1 / (l_y * s_y))
    linear = (1 if exact else 2) * kappa * s_x**2 * l_x * given.dispersion[0] + s_y**2 * l_y * given.dispersion[1]
    return Terms(largest, linear + 2 * s_x**2 * l_x * given.remainder_second_moment, 0.0, 2 * s_x * given.bias_sq)


def _reshuffling(given: Setting, shares: Pair, n: int) -> Terms:
    (s_x, s_y), (l_x, l_y) = shares, pair("smoothness", given.smoothness, positive=True)
    exact, factor, lam = given.radius == 0, given.variance_factor, max(s_x * l_x, s_y * l_y)
    largest = min(1 / ((4 if exact else 5) * n * lam), 1 / (8 * factor * s_x * l_x))
    linear = s_x**2 * l_x * ((5 if exact else 6.4) * factor * given.dispersion[0] + 21 * given.remainder_variance)
    by_order = s_x**2 * l_x * given.dispersion[0] + s_y**2 * l_y * given.dispersion[1]
    return Terms(largest, linear, (2 if exact else 2.2) * (n + 1) * lam * by_order, 17 * s_x * given.bias_sq)


def _tuned(first: float, terms: Terms, shares: Pair) -> TunedSteps:
    gamma = best_scale(first, terms)
    bound = first / gamma + terms.linear * gamma + terms.quadratic * gamma**2 + terms.floor
    return TunedSteps((gamma * shares[0], gamma * shares[1]), bound)
