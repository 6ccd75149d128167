"""Bounds of others on first-order SGD with reshuffling, stated from memory: recalled, not re-read.

Check them against the source before quoting them; nothing else in this package rests on them.
"""

import math

from theory_lab import _checks


def mishchenko_strongly_convex_bound(
    *,
    step_size: float,
    smoothness: float,
    strong_convexity: float,
    optimal_dispersion: float,
    initial_distance_sq: float,
    n: int,
    epochs: int,
) -> float:
    """(1 - eta mu)^(nT) ||z_0 - z*||^2 + eta^2 L n sigma*^2/(2 mu). *Upper bound* on E||z_T - z*||^2; recalled, not re-read.

    Every f_i mu-strongly convex and L-smooth, eta <= 1/L; reshuffled or shuffled once. The source bounds the shuffling
    variance between eta mu n sigma*^2/8 and eta L n sigma*^2/4; the upper end stands here.

    Args:
        step_size, smoothness: eta and L.
        strong_convexity: mu > 0.
        optimal_dispersion: sigma*^2 = (1/n) sum_i ||grad f_i(z*)||^2.
        initial_distance_sq: ||z_0 - z*||^2.
        n, epochs: components per epoch, and T.

    Returns:
        The bound; inf where eta L > 1.

    Raises:
        ValueError: a negative or non-finite argument, a step size or strong convexity that is not positive, or a strong
            convexity above the smoothness.

    Example:
        >>> common = dict(smoothness=1, strong_convexity=1, optimal_dispersion=2, initial_distance_sq=1, n=4, epochs=1)
        >>> mishchenko_strongly_convex_bound(step_size=0.5, **common)
        1.0625

    Reference:
        Mishchenko, Khaled & Richtarik 2020, Theorem 1 (recalled, not re-read).
    """
    eta, smooth, mu, noise, distance = _strongly_convex(
        step_size, smoothness, strong_convexity, optimal_dispersion, initial_distance_sq
    )
    n, epochs = _checks.count("n", n), _checks.count("epochs", epochs)
    if eta * smooth > 1:
        return math.inf
    return (1 - eta * mu) ** (n * epochs) * distance + eta**2 * smooth * n * noise / (2 * mu)


def mishchenko_small_step_bound(
    *,
    step_size: float,
    smoothness: float,
    strong_convexity: float,
    optimal_dispersion: float,
    initial_distance_sq: float,
    n: int,
    epochs: int,
) -> float:
    """(1 - eta mu n/2)^T ||z_0 - z*||^2 + eta^2 (L/mu) n sigma*^2. *Upper bound* on E||z_T - z*||^2; recalled, not re-read.

    The mean mu-strongly convex, every f_i convex and L-smooth, eta <= 1/(sqrt 2 L n).

    Args:
        step_size, smoothness, strong_convexity, optimal_dispersion, initial_distance_sq, n, epochs: as in
            `mishchenko_strongly_convex_bound`.

    Returns:
        The bound; inf where eta > 1/(sqrt 2 L n).

    Raises:
        ValueError: as `mishchenko_strongly_convex_bound`.

    Example:
        >>> common = dict(smoothness=1, strong_convexity=1, optimal_dispersion=2, initial_distance_sq=1, n=4, epochs=1)
        >>> mishchenko_small_step_bound(step_size=0.125, **common)
        0.875

    Reference:
        Mishchenko, Khaled & Richtarik 2020, Theorem 2 (recalled, not re-read).
    """
    eta, smooth, mu, noise, distance = _strongly_convex(
        step_size, smoothness, strong_convexity, optimal_dispersion, initial_distance_sq
    )
    n, epochs = _checks.count("n", n), _checks.count("epochs", epochs)
    if math.sqrt(2) * eta * smooth * n > 1:
        return math.inf
    return (1 - eta * mu * n / 2) ** epochs * distance + eta**2 * smooth / mu * n * noise


def mishchenko_convex_bound(
    *, step_size: float, smoothness: float, optimal_dispersion: float, initial_distance_sq: float, n: int, epochs: int
) -> float:
    """||z_0 - z*||^2/(2 eta nT) + eta^2 L n sigma*^2/4. *Upper bound* on E f(mean epoch end) - f*; recalled, not re-read.

    Every f_i convex and L-smooth, eta <= 1/(sqrt 2 L n).

    Args:
        step_size, smoothness, optimal_dispersion, initial_distance_sq, n, epochs: as in `mishchenko_strongly_convex_bound`.

    Returns:
        The bound; inf where eta > 1/(sqrt 2 L n).

    Raises:
        ValueError: a negative or non-finite argument, or a step size that is not positive.

    Example:
        >>> common = dict(smoothness=1, optimal_dispersion=2, initial_distance_sq=1, n=4, epochs=1)
        >>> mishchenko_convex_bound(step_size=0.125, **common)
        1.03125

    Reference:
        Mishchenko, Khaled & Richtarik 2020, Theorem 3 (recalled, not re-read).
    """
    eta, smooth = _checks.positive("step_size", step_size), _checks.nonnegative("smoothness", smoothness)
    noise, n = _checks.nonnegative("optimal_dispersion", optimal_dispersion), _checks.count("n", n)
    first = _checks.nonnegative("initial_distance_sq", initial_distance_sq) / (2 * eta * n * _checks.count("epochs", epochs))
    return first + eta**2 * smooth * n * noise / 4 if math.sqrt(2) * eta * smooth * n <= 1 else math.inf


def _strongly_convex(
    step_size: float, smoothness: float, strong_convexity: float, optimal_dispersion: float, initial_distance_sq: float
) -> tuple[float, float, float, float, float]:
    """The arguments that the strongly convex bounds share, checked, in this order."""
    eta, smooth = _checks.positive("step_size", step_size), _checks.nonnegative("smoothness", smoothness)
    mu = _checks.positive("strong_convexity", strong_convexity)
    if mu > smooth:
        raise _checks.refuse("strong_convexity", f"at most the smoothness {smooth:g}", strong_convexity)
    noise = _checks.nonnegative("optimal_dispersion", optimal_dispersion)
    return eta, smooth, mu, noise, _checks.nonnegative("initial_distance_sq", initial_distance_sq)
