"""The exact average of E||grad f||^2 along runs on an isotropic quadratic, at any step size and at the best one.

Setting: f_i(z) = (h/2)|z|^2 - b_i'z with sum b_i = 0 in d dimensions, gap Delta = (h/2)|z_0|^2 and dispersion sigma^2 =
(1/n) sum |b_i|^2. With x = eta h, K = 0 for exact gradients and K = `variance_factor` ((d+1)/q, gaussian) for two-point
estimates (radius 0, or two-sided), the second moment contracts by r = (1-x)^2 + K x^2 per step and

    E|z_k|^2 = r^k |z_0|^2 + (1 - r^k) V     after k steps with replacement, after k = nt steps at epoch starts,

V the stationary variance of `reshuffling`. Reshuffled runs obey it at epoch starts because what an epoch adds to the second
moment does not depend on where it starts. Averaged over k = 0, m, 2m, ..., m = 1 or n steps apart, J points,

    h^2 [s |z_0|^2 + (1 - s) V],   s = (1 - r^(mJ))/((1 - r^m) J).

Guarantee: exact.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy import optimize

from theory_lab import _checks
from theory_lab.theory import reshuffling
from theory_lab.theory.moments import variance_factor


def quadratic_average(
    step_size: float,
    *,
    curvature: float,
    dispersion: float,
    initial_gap: float,
    n: int,
    epochs: int,
    ordering: str,
    dimension: int | None = None,
    directions: int = 1,
    law: str = "gaussian",
) -> float:
    """The theorem's metric: over the T epoch starts under reshuffling, over all nT iterates with replacement. *Exact*.

    Args:
        step_size: eta, inside mean-square stability.
        curvature: h.
        dispersion: sigma^2, summed over the dimensions.
        initial_gap: Delta.
        n, epochs: components, and T; a single component has no dispersion, whatever is said of it under reshuffling.
        ordering: "random_reshuffling" or "with_replacement".
        dimension: d, if the gradient is estimated from two points; None for exact gradients.
        directions: q.
        law: "gaussian", "rademacher" or "sphere".

    Raises:
        ValueError: a negative or non-finite argument, an unstable step size.

    Example:
        >>> setting = {"curvature": 1.0, "dispersion": 0.0, "initial_gap": 2.0, "n": 2, "epochs": 4}
        >>> quadratic_average(1.0, ordering="with_replacement", **setting)  # the first of eight gradients alone
        0.5
    """
    _checks.choice("ordering", ordering, ("random_reshuffling", "with_replacement"))
    variance_factor(1 if dimension is None else dimension, directions=directions, law=law)  # refused even if not used
    h, sigma_sq = _checks.positive("curvature", curvature), _checks.nonnegative("dispersion", dispersion)
    n, epochs = _checks.count("n", n), _checks.count("epochs", epochs)
    gap, x = _checks.nonnegative("initial_gap", initial_gap), _checks.positive("step_size", step_size) * h
    gain = 0.0 if dimension is None else variance_factor(dimension, directions=directions, law=law)
    _checks.between("step_size * curvature * second-moment factor", x * (1 + gain), 0, 2, closed="()")
    if dimension is None:
        floor = h**2 * reshuffling.stationary_variance(step_size, h, n, sigma_sq / h**2, ordering)
    else:
        floor = h**2 * reshuffling.zeroth_order_variance(
            step_size, h, n, sigma_sq / h**2, ordering, dimension=dimension, directions=directions, law=law
        )
    apart, points = (n, epochs) if ordering == "random_reshuffling" else (1, n * epochs)
    kept, gone = _shares(x * (2 - x * (1 + gain)), apart, points)
    return 2 * h * gap * kept + gone * floor


def least_average(
    *,
    curvature: float,
    dispersion: float,
    initial_gap: float,
    n: int,
    epochs: int,
    ordering: str,
    dimension: int | None = None,
    directions: int = 1,
    law: str = "gaussian",
) -> tuple[float, float]:
    """The constant step size at which `quadratic_average` is least, and its value there. *Exact*, to 1e-6 in the step.

    Arguments and errors as in `quadratic_average`. The least is sought on a logarithmic grid of 20 points a decade from
    1e-3/(h nT) to the limit of stability, and refined next to the best of them.

    Example:
        >>> step, value = least_average(
        ...     curvature=1.0, dispersion=1.0, initial_gap=1.0, n=10, epochs=10**7, ordering="with_replacement")
        >>> round(value * 1e4 / 2**0.5, 3)  # sqrt(2 h Delta sigma^2/K)
        1.0
    """
    gain = 0.0 if dimension is None else variance_factor(dimension, directions=directions, law=law)
    limit = 2 / (_checks.positive("curvature", curvature) * (1 + gain)) * (1 - 1e-9)

    def average(log_step: float) -> float:
        return quadratic_average(
            math.exp(log_step), curvature=curvature, dispersion=dispersion, initial_gap=initial_gap, n=n, epochs=epochs,
            ordering=ordering, dimension=dimension, directions=directions, law=law,
        )  # fmt: skip

    ends = math.log(1e-3 * limit / (_checks.count("n", n) * _checks.count("epochs", epochs))), math.log(limit)
    grid = np.linspace(*ends, max(3, math.ceil(20 * (ends[1] - ends[0]) / math.log(10))))
    best = int(np.argmin([average(log_step) for log_step in grid]))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = optimize.minimize_scalar(average, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return math.exp(float(found.x)), float(found.fun)


def mean_power(x: float, power: int, count: int) -> float:
    """(1/K) sum_{k<K} |1 - x|^(pk) for x in [0, 2], p = power and K = count; accurate also where x is next to nothing.

    Raises:
        ValueError: an x outside [0, 2], a power or a count below 1.

    Example:
        >>> mean_power(0.5, 1, 2), mean_power(1e-320, 2, 100)
        (0.75, 1.0)
    """
    return _mean_power(x, power, count)[0]


def mean_power_gone(x: float, power: int, count: int) -> float:
    """1 - `mean_power`, as accurate where x is next to nothing: there (K - 1) p x/2 at leading order. Errors as there.

    Example:
        >>> mean_power_gone(0.5, 1, 2), mean_power_gone(2.0**-60, 2, 4) * 2**60
        (0.25, 3.0)
    """
    return _mean_power(x, power, count)[1]


def _mean_power(x: float, power: int, count: int) -> tuple[float, float]:
    x, power, count = _checks.between("x", x, 0, 2), _checks.count("power", power, bits=64), _checks.count("count", count)
    return _shares(min(x, 2 - x), power, count)


def epochs_needed(average: Callable[[int], float], accuracy_sq: float, *, most: int = 10**15) -> int:
    """The least T at which an average is at most accuracy_sq, for an average that falls with T (steps tuned to T included).

    Args:
        average: from T >= 1 to the average over a run of T epochs; inf says that the run diverges, nan is refused.
        accuracy_sq: eps^2.
        most: the largest T to try.

    Raises:
        ValueError: an accuracy that is not positive, or that is not reached within `most` epochs; an average that is no
            function, or no number at some T.

    Example:
        >>> epochs_needed(lambda epochs: 3 / epochs, 0.1)
        30
    """
    target, most = _checks.positive("accuracy_sq", accuracy_sq), _checks.count("most", most)
    if not callable(average):
        raise _checks.refuse("average", "a function of the number of epochs", average)

    def reached(epochs: int) -> bool:
        found = _checks.number(f"average({epochs})", average(epochs))
        if math.isnan(found):
            raise _checks.refuse(f"average({epochs})", "a real number", found)
        return found <= target

    low, high = 0, 1
    while not reached(high):
        low, high = high, 2 * high
        if high > most:
            raise _checks.refuse("accuracy_sq", f"reached within {most} epochs", accuracy_sq)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _shares(lost: float, apart: int, points: int) -> tuple[float, float]:
    """s = (1 - r^(mJ))/((1 - r^m) J) for r = 1 - lost >= 0, and 1 - s, without cancellation; 1 and 0 where nothing is lost.

    With b = m log r it is s = e(Jb)/e(b), e(u) = expm1(u)/u, and 1 - s = (e(b) - e(Jb))/e(b), of which 1 cancels.
    """
    if lost >= 1:
        return 1 / points, 1 - 1 / points
    rate = apart * math.log1p(-lost)
    if rate == 0 or points == 1:
        return 1.0, 0.0
    kept = math.expm1(points * rate) / (points * math.expm1(rate))
    if kept < 0.9:
        return kept, 1 - kept
    return kept, (_above(rate) - _above(points * rate)) * (rate / math.expm1(rate))


def _above(u: float) -> float:
    """expm1(u)/u - 1 for |u| <= 1/2, by its series u/2 + u^2/6 + ...; what is left out is below rounding."""
    term, total = u / 2, 0.0
    for k in range(3, 18):
        total += term
        term *= u / k
    return total
