"""The tail of zeroth-order SGD: a random factor at every step leaves a power law, and the power is the root of an equation.

Setting: f_i(x) = (L/2)||x||^2 - b_i'x in d dimensions, one Gaussian direction at radius 0 (two-sided: any radius), drawn
with replacement: x+ = (I - a vv')x + (eta vv')b_i with a = eta L. The first factor is random however small the noise, and
the length of (I - a vv')e, |e| = 1, has the same law for every e:

    ||(I - a vv')e||^2 = (1 - a v_1^2)^2 + a^2 v_1^2 w,   v_1 ~ N(0, 1),   w ~ chi^2_{d-1}.

So products of the factors shrink a vector by independent, identically distributed lengths, and the stationary law has a
regularly varying tail, P(||x|| > t) ~ t^-kappa, whose index kappa > 0 is the root of

    E ||(I - a vv')e||^kappa = 1,

and q_{1-delta}(||x||^2) ~ delta^(-2/kappa). The moment of order s is finite exactly for s < kappa. At the mean-square limit
a = 2/(d+2) the index is 2 and the quantiles rise like 1/delta, as fast as Markov's inequality allows; for small a it is
large and they hardly rise.

Reference: Kesten, "Random difference equations and renewal theory for products of random matrices", 1973; Goldie, "Implicit
renewal theory and tails of solutions of random equations", 1991 (both recalled, not re-read); theory_lab, Kesten law.
"""

import math
from typing import Any

import numpy as np
from scipy import integrate, linalg, optimize, special, stats

from theory_lab import _checks

_NODES = 160
_CELLS = 1000
_LEAST, _FARTHEST = 1e-4, 1e8  # the grid of `exceedance`
_LEAST_STEP = 1e-3  # below it a step is too short beside a cell of the grid
_REACH = 1e100  # step sizes whose squares float64 holds with room to spare
_TOO_THIN = 1e3  # an index beyond which the tail is no longer told from an exponential one


def kesten_index(step_size: float, dimension: int = 1) -> float:
    """kappa: the tail index of the stationary length ||x|| of zeroth-order SGD on an isotropic quadratic.

    Setting: see the module; the dimension is that of all of x. Guarantee: exact, by quadrature to about 1e-6.

    Args:
        step_size: a = eta L > 0, below the almost-sure limit.
        dimension: d.

    Returns:
        kappa; 2/kappa is the slope of log q_{1-delta}(||x||^2) in log(1/delta) as delta falls to 0.

    Raises:
        ValueError: a step size that is not positive, is so small that the index exceeds 1000, or is beyond the almost-sure
            limit, where there is no stationary law.

    Example:
        >>> round(kesten_index(2 / 3), 6), round(kesten_index(0.2, dimension=8), 6)  # the mean-square limits
        (2.0, 2.0)
        >>> round(2 / kesten_index(0.5), 3)
        0.689

    Reference:
        theory_lab, Kesten law.
    """
    a, d = _checks.positive("step_size", step_size, reach=math.inf), _checks.count("dimension", dimension)
    log_length, log_mass = _lengths(min(a, _REACH), d, 0.0)
    if a > _REACH or np.sum(np.exp(log_mass) * log_length) >= 0:
        raise _checks.refuse("step_size", "below the almost-sure limit, beyond which the runs diverge", step_size)
    above = 1.0
    while _log_moment(a, d, above) < 0:
        above *= 2
        if above > _TOO_THIN:
            raise _checks.refuse("step_size", f"large enough for an index below {_TOO_THIN:g}", step_size)
    return float(optimize.brentq(lambda order: _log_moment(a, d, order), 1e-6, above, xtol=1e-10))


def lyapunov_exponent(step_size: float, dimension: int = 1) -> float:
    """E log ||(I - a vv')e||: the rate at which log ||x_k|| grows in almost every run without noise.

    Setting: see the module. Guarantee: exact, by quadrature to about 1e-6.

    Args:
        step_size: a = eta L, in (0, 1e100].
        dimension: d, of all of x.

    Raises:
        ValueError: a step size outside (0, 1e100], a dimension below 1.

    Example:
        >>> lyapunov_exponent(0.5) < 0 < lyapunov_exponent(3.0)
        True

    Reference: theory_lab, almost-sure threshold; Furstenberg & Kesten 1960 (recalled, not re-read).
    """
    a, d = _checks.between("step_size", step_size, 0, _REACH, closed="(]"), _checks.count("dimension", dimension)

    def density(square: np.ndarray, freedom: int) -> np.ndarray:
        """Of the logarithm of a chi-square variable, at the logarithm of `square`."""
        return np.exp(stats.chi2.logpdf(square, freedom) + np.log(square))

    logs = np.arange(-90.0, 8.0, 0.05)  # of w: the trapezoidal rule is exact to rounding for what is smooth in log w
    w = np.exp(logs)
    mass = density(w, d - 1) * 0.05 if d > 1 else None

    def given(log_square: float) -> float:
        """log of the length given v_1^2, times its density."""
        square = math.exp(log_square)
        along = (1 - a * square) ** 2
        length = math.log(max(along, 1e-300)) if mass is None else float(mass @ np.log(along + a * a * square * w))
        return length / 2 * float(density(np.array(square), 1))

    kink = -math.log(a)  # where 1 - a v_1^2 vanishes
    ends = (-80.0, min(kink, 5.0)), (min(kink, 5.0), 6.5)
    return sum(integrate.quad(given, low, high, limit=400, epsabs=1e-9, epsrel=1e-9)[0] for low, high in ends if low < high)


def almost_sure_limit(dimension: int = 1) -> float:
    """The a = eta L below which almost every run without noise converges: where `lyapunov_exponent` changes sign.

    Between 2/(d+2) and this limit the mean of ||x_k||^2 grows while almost every run shrinks. Setting, guarantee: as there.

    Raises:
        ValueError: a dimension below 1.

    Example:
        >>> round(almost_sure_limit(2) / (2 / (2 + 2)), 2)
        1.87

    Reference: theory_lab, almost-sure threshold.
    """
    d = _checks.count("dimension", dimension)
    least = 2 / (d + 2)  # by Jensen's inequality the exponent is negative up to the mean-square limit
    return float(optimize.brentq(lambda a: lyapunov_exponent(a, d), least, 8 * least, xtol=1e-9))


def exceedance(step_size: float, levels: Any, *, steps: int) -> np.ndarray:
    """P(|x_k| > t): the law of the k-th iterate in one dimension, d = 1, with noise b_i = +-L in equal shares, from x_0 = 0.

    Setting: as in the module; x+ = c + (1 - a v^2)(x - c) with c = +-1 given x has a distribution in closed form, and
    |x| is a Markov chain by symmetry. It is put on cells of a logarithmic grid, 1e-4 to 1e8. Guarantee: exact up to the
    grid, within about a hundredth of the probability; at the least step size out to two standard deviations, and to a tenth
    at three.

    Args:
        step_size: a = eta L, in [1e-3, 1e100]: for smaller ones a step, sqrt(a) of |x|, is too short beside a cell.
        levels: t, shape (T,), in (1e-4, 1e8), in units of the spread of the components' minimisers.
        steps: k; some hundreds for the stationary law.

    Returns:
        (T,) probabilities.

    Raises:
        ValueError: a step size or a level outside its range, or a negative number of steps.

    Example:
        >>> round(float(exceedance(0.5, [2.0], steps=1)[0]), 2)  # v^2 > 4
        0.05

    Reference:
        theory_lab, Kesten law.
    """
    a, k = _checks.between("step_size", step_size, _LEAST_STEP, _REACH), _checks.count("steps", steps, least=0)
    wanted = _checks.array("levels", levels, ndim=1)
    if wanted.min() <= _LEAST or wanted.max() >= _FARTHEST:
        raise _checks.refuse("levels", f"in ({_LEAST:g}, {_FARTHEST:g})", levels)
    edges = np.concatenate([[0.0], np.geomspace(_LEAST, _FARTHEST, _CELLS), [np.inf]])
    centres = np.concatenate([[0.0], np.sqrt(edges[1:-2] * edges[2:-1]), [edges[-2]]])
    below = sum(_between(a, centres[:, None], c, -edges, edges) for c in (-1.0, 1.0)) / 2  # P(|x+| <= edge | |x| = centre)
    step = np.diff(below, axis=1)
    law = np.zeros(centres.size)
    law[0] = 1.0
    for _ in range(k):
        law = law @ step
    beyond = np.append(np.cumsum(law[::-1])[::-1], 0.0)[1:]  # at the upper edge of every cell
    with np.errstate(divide="ignore"):
        logs = np.log(np.maximum(beyond[:-1], np.finfo(np.float64).tiny))
    return np.exp(np.interp(np.log(wanted), np.log(edges[1:-1]), logs))


def _between(a: float, x: np.ndarray, c: float, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """P(low <= c + (1 - a v^2)(x - c) <= high) for a standard normal v."""
    away = x - c
    away = np.where(away == 0, np.finfo(np.float64).tiny, away)
    ends = [(x - end) / (a * away) for end in (low, high)]  # of v^2
    first, last = (special.erf(np.sqrt(np.maximum(end, 0.0) / 2)) for end in ends)
    return np.abs(first - last)


def _log_moment(a: float, d: int, order: float) -> float:
    """log E ||(I - a vv')e||^order; convex in the order and 0 at 0, so it has at most one root beyond."""
    log_length, log_mass = _lengths(a, d, order)
    return float(special.logsumexp(order * log_length + log_mass) - special.logsumexp(log_mass))  # exactly 0 at 0


def _lengths(a: float, d: int, order: float) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of the length and of the mass at quadrature nodes that serve moments up to this order."""
    reach = math.sqrt(2 * order) + 12  # v^(2 order) exp(-v^2/2) peaks at sqrt(2 order)
    kink = min(1 / math.sqrt(a), reach)  # at a v^2 = 1 the length is smallest: the panels meet there
    x, weights = special.roots_legendre(_NODES)
    panels = [(low, high) for low, high in ((0.0, kink), (kink, reach)) if high > low]
    v = np.concatenate([low + (high - low) * (x + 1) / 2 for low, high in panels])[:, None]
    log_normal = np.concatenate([np.log(weights * (high - low) / 2) for low, high in panels])[:, None] - v**2 / 2
    w, log_masses = _chi_square(d - 1)
    length_sq = (1 - a * v**2) ** 2 + a**2 * v**2 * w
    log_length = np.log(np.maximum(length_sq, np.finfo(np.float64).tiny)) / 2
    return log_length, log_normal + math.log(2 / math.pi) / 2 + log_masses


def _chi_square(freedom: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and log masses of Gauss quadrature for the chi-square law (Golub and Welsch); a point at 0 without freedom."""
    if freedom == 0:
        return np.zeros(1), np.zeros(1)
    i, shape = np.arange(48.0), freedom / 2 - 1
    nodes, vectors = linalg.eigh_tridiagonal(2 * i + shape + 1, np.sqrt(i[1:] * (i[1:] + shape)))
    return 2 * nodes, np.log(np.maximum(vectors[0] ** 2, np.finfo(np.float64).tiny))
