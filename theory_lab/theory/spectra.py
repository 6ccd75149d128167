"""Zeroth-order SGD on quadratics of any dimension, up to those of language models: sums over spectra by quadrature.

Setting: f_i(x) = x'Hx/2 - b_i'x, sum b_i = 0, with replacement, q Gaussian directions at radius 0 (two-sided: any radius).
In H's eigenbasis, eigenvalues l_j, the mean squares s_j = E x_j^2 obey, with G = E||grad f||^2 = sum l_j^2 s_j,

    s_j+ = (1 - 2 eta l_j + (1 + 1/q) eta^2 l_j^2) s_j + eta^2 (G/q + k_j),

k_j the estimator's second moment at the minimiser. Where the start and the noise are spread evenly over the eigenbasis,
s_j is a function of l_j, and all sums over j are sums of a function of the eigenvalue. For a spectrum that is a smooth
function of the index, l_j = l(j), the first few hundred terms are kept and the others become nodes of Gauss quadrature in
log j: a `Spectrum` holds eigenvalues with real multiplicities, a few hundred for a billion coordinates.

Guarantee: exact up to quadrature, 1e-6 relative where l(j) is a power law from j = 512 on. Reference: theory_lab, Theorem 5,
stability; zeroth-order floor; dimension exponent.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize

from theory_lab import _checks
from theory_lab.theory.quadratic import increasing_root

HEAD, NODES = 512, 96  # terms kept as they are, and nodes for the rest


class Spectrum(NamedTuple):
    """Eigenvalues (M,), positive, with their multiplicities (M,), real and positive."""

    eigenvalues: np.ndarray
    counts: np.ndarray

    @property
    def dimension(self) -> float:
        return float(self.counts.sum())

    @property
    def trace(self) -> float:
        return float(self.counts @ self.eigenvalues)

    @property
    def rank(self) -> float:
        """Effective rank r = tr H/||H||."""
        return self.trace / float(self.eigenvalues.max())


def sampled(curvature: Callable[[np.ndarray], np.ndarray], dimension: int) -> Spectrum:
    """The spectrum l(1), ..., l(d) of a smooth positive function of the index.

    The sum over j > m = 512 is the integral from m + 1/2 to d + 1/2 (midpoint rule), by Gauss quadrature in log j.

    Args:
        curvature: l, of an array of indices, real ones included.
        dimension: d.

    Raises:
        ValueError: no dimension, a curvature that is no function, not positive, or not one number for every index.

    Example:
        >>> billion = sampled(lambda j: 1 / j, 10**9)
        >>> round(billion.trace - math.log(10**9), 6)  # Euler's constant
        0.577216
    """
    d = _checks.count("dimension", dimension)
    indices, counts = np.arange(1.0, min(d, HEAD) + 1), np.ones(min(d, HEAD))
    if d > HEAD:
        x, weights = np.polynomial.legendre.leggauss(NODES)
        low, high = math.log(HEAD + 0.5), math.log(d + 0.5)
        tail = np.exp(low + (high - low) * (x + 1) / 2)
        indices, counts = np.append(indices, tail), np.append(counts, weights * tail * (high - low) / 2)
    if not callable(curvature):
        raise _checks.refuse("curvature", "a function of an array of indices", curvature)
    rule = "positive and finite at every index"
    try:
        eigenvalues = np.asarray(curvature(indices), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise _checks.refuse("curvature", "a function of an array of indices", str(error)) from error
    if eigenvalues.shape != indices.shape:
        raise _checks.refuse("curvature", rule, f"shape {eigenvalues.shape} for indices of shape {indices.shape}")
    if not (np.isfinite(eigenvalues) & (eigenvalues > 0)).all():
        raise _checks.refuse("curvature", rule, float(eigenvalues.min()))
    return Spectrum(eigenvalues, counts)


def power_spectrum(decay: float, dimension: int) -> Spectrum:
    """j^-p for j = 1, ..., d; the largest eigenvalue is 1.

    Raises:
        ValueError: a negative decay, no dimension.

    Example:
        >>> round(power_spectrum(2.0, 10**9).rank, 4)  # zeta(2)
        1.6449
    """
    p = _checks.nonnegative("decay", decay)
    return sampled(lambda j: j**-p, dimension)


def plateau_spectrum(rank: float, dimension: int) -> Spectrum:
    """(1 + (j-1)/c)^-2 with the c that makes the effective rank r; the largest eigenvalue is 1, and r = d is flat.

    Raises:
        ValueError: a rank outside [1, d].

    Example:
        >>> round(plateau_spectrum(64.0, 10**9).rank, 9)
        64.0
    """
    d = _checks.count("dimension", dimension)
    r = _checks.between("rank", rank, 1, d)

    def made(log_c: float) -> Spectrum:
        return sampled(lambda j: (1 + (j - 1) * math.exp(-log_c)) ** -2.0, d)

    if made(60.0).rank <= r * (1 + 1e-12):
        return made(60.0)
    return made(float(optimize.brentq(lambda log_c: made(log_c).rank - r, -30.0, 60.0, xtol=1e-13)))


def step_size_limit(spectrum: Spectrum, *, directions: int = 1) -> float:
    """The mean-square step size limit: `quadratic.step_size_limit` of a spectrum with multiplicities, gaussian law. *Exact*.

    It lies between 2q/(tr + (q+1) l_max) and 2q/(tr (1 + (q+1)/d)): the trace sets it, the dimension hardly.

    Raises:
        ValueError: fewer than one direction.

    Example:
        >>> billion = power_spectrum(1.0, 1_300_000_000)  # trace 21.6
        >>> round(step_size_limit(billion), 3), round(2 / (billion.trace + 2), 3)
        (0.092, 0.085)

    Reference:
        theory_lab, Theorem 5, stability.
    """
    _check(spectrum)
    q = _checks.count("directions", directions)
    top = float(spectrum.eigenvalues.max())
    shares = spectrum.eigenvalues / top

    def excess(relative: float) -> float:
        return float(np.sum(spectrum.counts * relative * shares / (2 * q - (q + 1) * relative * shares))) - 1

    return increasing_root(excess, 2 * q / (spectrum.rank + q + 1), 2 * q / (q + 2)) / top


def floor(spectrum: Spectrum, step_size: float, dispersion: float, *, directions: int = 1) -> float:
    """The stationary E||grad f||^2 under noise of total variance sigma^2, spread evenly. *Exact*.

    `dynamics.zeroth_order_floor` of a spectrum with multiplicities; about eta tr(H) sigma^2/(2q) for small steps and many
    dimensions: the dimension cancels.

    Raises:
        ValueError: a step size at or beyond the limit, or a negative dispersion.

    Example:
        >>> flat = power_spectrum(0.0, 100)
        >>> round(floor(flat, 0.005, 2.0), 6)  # eta (d+2) sigma^2/(2 - eta (d+2))
        0.684564

    Reference:
        theory_lab, zeroth-order floor.
    """
    q, eta = _checks.count("directions", directions), _checks.positive("step_size", step_size)
    _check(spectrum)
    if eta >= step_size_limit(spectrum, directions=q):
        raise _checks.refuse("step_size", "below the stability limit (see step_size_limit)", step_size)
    x = eta * spectrum.eigenvalues
    phi = float(np.sum(spectrum.counts * x / (2 - (1 + 1 / q) * x)))
    return phi * _noise(spectrum, dispersion, q) / (1 - phi / q)


def averages(
    spectrum: Spectrum, step_sizes: Any, *, initial_gap: float, dispersion: float, steps: int, directions: int = 1
) -> np.ndarray:
    """(1/k) sum_{i<k} E||grad f(x_i)||^2 for k = 1, ..., K: Theorem 1's metric at every length of run. *Exact*.

    Args:
        spectrum: of H.
        step_sizes: eta, shape (G,), nonnegative; inf and nan come of steps that diverge.
        initial_gap: Delta; the start has the same x_j^2 = 2 Delta/tr H in every direction.
        dispersion: sigma^2, spread evenly.
        steps: K.
        directions: q.

    Returns:
        (G, K).

    Raises:
        ValueError: a negative or non-finite argument.

    Example:
        >>> averages(power_spectrum(0.0, 2), [0.1], initial_gap=1.0, dispersion=0.0, steps=2).round(3)
        array([[2.  , 1.84]])

    Reference:
        theory_lab, Theorem 5.
    """
    _check(spectrum)
    q, curvature = _checks.count("directions", directions), spectrum.eigenvalues
    eta = _checks.array("step_sizes", step_sizes, ndim=1)[:, None]
    if eta.min() < 0:
        raise _checks.refuse("step_sizes", "nonnegative", float(eta.min()))
    squares = np.full((eta.size, curvature.size), 2 * _checks.nonnegative("initial_gap", initial_gap) / spectrum.trace)
    noise = _noise(spectrum, dispersion, q)
    weights, gradients = spectrum.counts * curvature**2, np.empty((eta.size, _checks.count("steps", steps)))
    with np.errstate(over="ignore", invalid="ignore"):
        kept = 1 - 2 * eta * curvature + (1 + 1 / q) * (eta * curvature) ** 2
        for k in range(steps):
            gradients[:, k] = squares @ weights
            squares = kept * squares + eta**2 * (gradients[:, k, None] / q + noise)
        return np.cumsum(gradients, axis=1) / np.arange(1, steps + 1)


def _noise(spectrum: Spectrum, dispersion: float, q: int) -> float:
    """k_j, the same for all j: the diagonal of C + (tr(C) I + C)/q with C = (sigma^2/d) I."""
    per_coordinate = _checks.nonnegative("dispersion", dispersion) / spectrum.dimension
    return per_coordinate * (1 + (spectrum.dimension + 1) / q)


def _check(spectrum: object) -> None:
    _checks.instance("spectrum", spectrum, Spectrum, "a Spectrum")
