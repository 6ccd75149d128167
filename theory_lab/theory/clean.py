"""The hybrid bounds without free constants: Corollaries 1a, 2a and 2b, and Theorem H.

Each is Theorem 1 or 2 at one corner of its free constants, rounded up to numbers that can be remembered, under step-size
conditions that can be checked by eye; Theorem H has a proof of its own. The optimised bounds are never larger than their
corollaries. Words as in `theory_lab.theory._setting`; alpha_m = max(alpha_x, alpha_y).
"""

import math
from typing import Unpack

from theory_lab import _checks
from theory_lab.theory._setting import Blocks, setting
from theory_lab.theory.base import Pair, pair


def with_replacement_clean_bound(*, step_sizes: Pair, initial_gap: float, steps: int, **blocks: Unpack[Blocks]) -> float:
    """Corollary 1a on (1/K) sum_k E sum_b eta_b ||grad_b f(z_k)||^2, with replacement. *Upper bound*.

    At radius 0, if alpha_x <= 1/kappa and alpha_y <= 1,

        2 Delta/K + kappa eta_x alpha_x sigma_x^2 + eta_y alpha_y sigma_y^2;

    at a positive radius, if alpha_x <= 1/(4 kappa) and alpha_y <= 1 (c = 1, theta = 1/2),

        2 Delta/K + 2 kappa eta_x alpha_x sigma_x^2 + eta_y alpha_y sigma_y^2 + 2 eta_x mu^2 L_x^2 (r + alpha_x M).

    Args:
        step_sizes: (eta_x, eta_y) per component step.
        initial_gap: f(z_0) - f*.
        steps: K.
        **blocks: smoothness, dispersion, rank, directions, radius as in `with_replacement_bound`.

    Returns:
        The bound; inf where the step sizes exceed the condition.

    Raises:
        ValueError: a negative or non-finite argument, or a value that is not a pair.

    Example:
        >>> with_replacement_clean_bound(
        ...     step_sizes=(0.1, 1.0), initial_gap=1, steps=100, smoothness=(1, 1), dispersion=(0, 0), rank=8)
        0.02

    Reference:
        theory_lab, Corollary 1a.
    """
    given, (eta_x, eta_y) = setting(**blocks), pair("step_sizes", step_sizes)
    first = 2 * _checks.nonnegative("initial_gap", initial_gap) / _checks.count("steps", steps)
    alpha_x, alpha_y = eta_x * given.smoothness[0], eta_y * given.smoothness[1]
    exact, kappa = given.radius == 0, given.second_moment_factor
    if kappa * alpha_x > (1 if exact else 1 / 4) or alpha_y > 1:
        return math.inf
    noise_x = (1 if exact else 2) * kappa * eta_x * alpha_x * given.dispersion[0]
    for_radius = 2 * eta_x * (given.bias_sq + alpha_x * given.remainder_second_moment)
    return first + noise_x + eta_y * alpha_y * given.dispersion[1] + for_radius


def reshuffling_clean_bound(*, step_sizes: Pair, initial_gap: float, n: int, epochs: int, **blocks: Unpack[Blocks]) -> float:
    """Corollary 2a on (1/T) sum_t E sum_b eta_b ||grad_b f(z_t)||^2 over epoch starts, reshuffled. *Upper bound*.

    At radius 0, if alpha_m <= 1/(4n) and kappa' alpha_x <= 1/8,

        4 Delta/(nT) + 5 kappa' eta_x alpha_x sigma_x^2 + 2(n+1) alpha_m sum_b eta_b alpha_b sigma_b^2;

    at a positive radius, if alpha_m <= 1/(5n) and kappa' alpha_x <= 1/8, with 6.4 for 5, 2.2 for 2, and
    eta_x (17 beta^2 + 21 alpha_x m^2) more. The direction noise is of first order in eta_x: reshuffling does not help it.

    Args:
        step_sizes: (eta_x, eta_y) per component step.
        initial_gap: f(z_0) - f*.
        n, epochs: components per epoch, and T.
        **blocks: smoothness, dispersion, rank, directions, radius as in `reshuffling_bound`.

    Returns:
        The bound; inf where the step sizes exceed the condition.

    Raises:
        ValueError: a negative or non-finite argument, or a value that is not a pair.

    Example:
        >>> reshuffling_clean_bound(
        ...     step_sizes=(0.01, 0.05), initial_gap=1, n=4, epochs=50, smoothness=(1, 1), dispersion=(0, 0), rank=8)
        0.02

    Reference:
        theory_lab, Corollary 2a.
    """
    given, (eta_x, eta_y), n = setting(**blocks), pair("step_sizes", step_sizes), _checks.count("n", n)
    first = 4 * _checks.nonnegative("initial_gap", initial_gap) / (n * _checks.count("epochs", epochs))
    alpha_x, alpha_y = eta_x * given.smoothness[0], eta_y * given.smoothness[1]
    exact, largest = given.radius == 0, max(alpha_x, alpha_y)
    if n * largest > (1 / 4 if exact else 1 / 5) or given.variance_factor * alpha_x > 1 / 8:
        return math.inf
    by_directions = (5 if exact else 6.4) * given.variance_factor * eta_x * alpha_x * given.dispersion[0]
    by_order = eta_x * alpha_x * given.dispersion[0] + eta_y * alpha_y * given.dispersion[1]
    for_radius = eta_x * (17 * given.bias_sq + 21 * alpha_x * given.remainder_variance)
    return first + by_directions + (2 if exact else 2.2) * (n + 1) * largest * by_order + for_radius


def first_order_clean_bound(
    *, step_size: float, smoothness: float, dispersion: float, initial_gap: float, n: int, epochs: int
) -> float:
    """Corollary 2b: Theorem 2 without an x-block, on (1/T) sum_t E ||grad f(z_t)||^2 over epoch starts. *Upper bound*.

    If eta L <= 1/(2n): 2.5 Delta/(eta n T) + 0.5 L^2 eta^2 (n+1) sigma^2 (c1 = 1/2, tau = 1: C = 0.4).

    Args:
        step_size: eta > 0 per component step.
        smoothness: L of every component.
        dispersion: sigma^2 at epoch starts.
        initial_gap, n, epochs: as in `reshuffling_clean_bound`.

    Returns:
        The bound; inf where the step size exceeds the condition.

    Raises:
        ValueError: a negative or non-finite argument, or a step size that is not positive.

    Example:
        >>> first_order_clean_bound(step_size=0.05, smoothness=1, dispersion=0, initial_gap=1, n=10, epochs=50)
        0.1

    Reference:
        theory_lab, Corollary 2b; the shape of Mishchenko, Khaled & Richtarik 2020, Theorem 4 (recalled, not re-read).
    """
    eta, n = _checks.positive("step_size", step_size), _checks.count("n", n)
    alpha, gap = eta * _checks.nonnegative("smoothness", smoothness), _checks.nonnegative("initial_gap", initial_gap)
    noise, epochs = _checks.nonnegative("dispersion", dispersion), _checks.count("epochs", epochs)
    return 2.5 * gap / (eta * n * epochs) + 0.5 * alpha**2 * (n + 1) * noise if n * alpha <= 1 / 2 else math.inf


def theorem_h_bound(*, step_sizes: Pair, initial_gap: float, n: int, epochs: int, **blocks: Unpack[Blocks]) -> float:
    """Theorem H on (1/T) sum_t E sum_b eta_b ||grad_b f(z_t)||^2 over epoch starts: one direction, radius 0. *Upper bound*.

    With theta = n alpha_m <= 1/4 and omega = alpha_x (r + 1) <= 1/24,

        (10/3) [Delta/(nT) + 0.35 theta (n+1)/n sum_b eta_b alpha_b sigma_b^2 + 3.05 omega eta_x sigma_x^2].

    The x-step is limited by max(n, r), not by n d. L_x (r + 1) = tr S_x + ||S_x|| (the trace version); r = d if S_x = L_x I.

    Proof. xi_k = (v_k v_k' - I) grad_x f_{pi_k}(z_k) is a martingale difference, E||xi_k||_S^2 <= (r+1) ||grad_x
    f_{pi_k}||^2. Smoothness: E f+ <= f - (n/2)|g|_P^2 + (theta/2n) V + N for theta <= 1/2, V = sum_k E||z_k -
    z_0||_D^2 and N = omega eta_x [2n(||g_x||^2 + sigma_x^2) + 2 L_x V]. The drift obeys V <= 1.5 theta^2 V + n^2
    theta |g|_P^2 + (n(n+1)/2) sum_b eta_b alpha_b sigma_b^2 + 3nN; under the caps V <= 1.2 [...], and the coefficient
    of n|g|_P^2 stays above 1/2 - 0.70/16 - 3.05/24 > 0.3.

    Args:
        step_sizes: (eta_x, eta_y) per component step.
        initial_gap: f(z_0) - f*.
        n, epochs: components per epoch, and T.
        **blocks: smoothness, dispersion and rank as in `reshuffling_bound`; directions 1 and radius 0.

    Returns:
        The bound; inf where the step sizes exceed the condition.

    Raises:
        ValueError: a negative or non-finite argument, a value that is not a pair, several directions, or a positive radius.

    Example:
        >>> round(theorem_h_bound(
        ...     step_sizes=(0.004, 0.05), initial_gap=3, n=4, epochs=25, smoothness=(1, 1), dispersion=(0, 0), rank=8), 6)
        0.1

    Reference:
        theory_lab, Theorem H.
    """
    given, (eta_x, eta_y), n = setting(**blocks), pair("step_sizes", step_sizes), _checks.count("n", n)
    if given.directions != 1:
        raise _checks.refuse("directions", "1: Theorem H is stated for a single direction", given.directions)
    if given.radius != 0:
        raise _checks.refuse("radius", "0: Theorem H is stated for exact directional derivatives", given.radius)
    first = _checks.nonnegative("initial_gap", initial_gap) / (n * _checks.count("epochs", epochs))
    alpha_x, alpha_y = eta_x * given.smoothness[0], eta_y * given.smoothness[1]
    theta, omega = n * max(alpha_x, alpha_y), alpha_x * (given.rank + 1)
    if theta > 1 / 4 or omega > 1 / 24:
        return math.inf
    by_order = eta_x * alpha_x * given.dispersion[0] + eta_y * alpha_y * given.dispersion[1]
    return 10 / 3 * (first + 0.35 * theta * (n + 1) / n * by_order + 3.05 * omega * eta_x * given.dispersion[0])
