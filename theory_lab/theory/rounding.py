"""Finite differences in floating point: the error as a function of the radius, its minimiser and its floor.

Setting: each evaluation of f carries an independent rounding error of root mean square sigma_f, and the estimate is
compared with the ideal one, (1/q) sum <g,v> v with the same directions. Truncation grows with the radius, rounding falls
with it:

    E||error||^2 = A mu^(2p) + B / mu^2,   p = 1 one-sided on a quadratic, p = 2 two-sided on a cubic,
    mu* = (B / (p A))^(1/(2p+2)),   floor ~ sigma_f^(1/2) one-sided, sigma_f^(2/3) two-sided.

One-sided: A mu^2 is the trace of `radius_covariance`, B = 2 w sigma_f^2 / q with w = d (gaussian, rademacher) or d^2
(sphere): a slope carries the difference of two errors, and sharing the clean value among q directions does not change the
sum, since E v = 0. Two-sided on a cubic part sum_i c_i x_i^3 / 6, w as above, B = w sigma_f^2 / (2q): one direction's error
is (mu^2/6) (sum c_i v_i^3) v with second moment mu^4 V and mean of length mu^2 m, so A = V/q + (1 - 1/q) m^2 with

    gaussian    V = 15 (d+6) |c|^2 / 36             m^2 = |c|^2 / 4
    sphere      V = 15 d |c|^2 / (36 (d+2)(d+4))    m^2 = |c|^2 / (4 (d+2)^2)
    rademacher  V = d |c|^2 / 36                    m^2 = |c|^2 / 36

Proof. Sixth and eighth moments: E v_i^6 |v|^2 = 105 + 15 (d-1) for the gaussian, 15/(d(d+2)(d+4)) = E u_i^6 on the sphere,
v_i^3 = v_i for signs; products of different coordinates are odd. E v_i^4 gives m.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from theory_lab import _checks
from theory_lab.theory.moments import LAWS, radius_covariance

PRECISIONS = ("float16", "float32", "float64")


@dataclass(frozen=True)
class RadiusLaw:
    """The error of a finite difference, E||error||^2 = truncation * mu^(2 sided) + rounding / mu^2.

    Build it with `one_sided_law` or `two_sided_law`.
    """

    truncation: float
    rounding: float
    sided: int

    def error(self, radius: float) -> float:
        """Root mean square error at this radius.

        Raises:
            ValueError: a radius that is not positive.
        """
        mu = _checks.positive("radius", radius)
        return float(np.sqrt(self.truncation * mu ** (2 * self.sided) + self.rounding / mu**2))

    @property
    def optimal_radius(self) -> float:
        """The radius with the least error: inf without truncation, 0 without rounding."""
        if self.truncation == 0:
            return float("inf")
        return float((self.rounding / (self.sided * self.truncation)) ** (1 / (2 * self.sided + 2)))

    @property
    def floor(self) -> float:
        """The least root mean square error, at `optimal_radius`; 0 if one of the two terms is absent."""
        if self.truncation == 0 or self.rounding == 0:
            return 0.0
        return self.error(self.optimal_radius)


def one_sided_law(hessian: Any, evaluation_error: float, *, directions: int = 1, law: str = "gaussian") -> RadiusLaw:
    """The error of one-sided differences on a quadratic.

    Setting: see above. Guarantee: exact for independent evaluation errors of mean zero; parameters themselves are not
    rounded.

    Args:
        hessian: (d, d) symmetric.
        evaluation_error: sigma_f, root mean square error of one evaluation, in units of f; see `rounding_error`.
        directions: q.
        law: "gaussian", "rademacher" or "sphere".

    Raises:
        ValueError: a Hessian that is not symmetric, a negative error, no direction, an unknown law.

    Example:
        >>> law = one_sided_law([[2.0]], 1e-8)
        >>> law.error(law.optimal_radius) == law.floor < law.error(1e-3)
        True
    """
    sigma = _checks.nonnegative("evaluation_error", evaluation_error)
    covariance = radius_covariance(hessian, 1.0, directions=directions, law=law)
    d = covariance.shape[0]
    return RadiusLaw(float(np.trace(covariance)), 2 * _weight(law, d) * sigma**2 / directions, 1)


def law_of_traces(
    trace: float,
    trace_of_square: float,
    dimension: int,
    evaluation_error: float,
    *,
    directions: int = 1,
    law: str = "gaussian",
) -> RadiusLaw:
    """`one_sided_law` from t = tr H and s = tr H^2, which Hessian-vector products estimate without the matrix.

        A = [(t^2 + 2 s) d + 4 t^2 + 8 s] / (4q) gaussian, times d/((d+2)(d+4)) on the sphere

    Setting: as there. Guarantee: exact for the gaussian law and the sphere; for signs A is that of the gaussian law, an
    upper bound.

    Args:
        trace, trace_of_square: t and s.
        dimension: d.
        evaluation_error: sigma_f, root mean square error of one evaluation, in units of f.
        directions: q.
        law: "gaussian", "rademacher" or "sphere".

    Raises:
        ValueError: numbers that are not finite, a negative s or error, no direction, an unknown law.

    Example:
        >>> law_of_traces(5.0, 13.0, 2, 1e-8).optimal_radius == one_sided_law([[2.0, 0.0], [0.0, 3.0]], 1e-8).optimal_radius
        True
    """
    t, s = _checks.real("trace", trace), _checks.nonnegative("trace_of_square", trace_of_square)
    sigma = _checks.nonnegative("evaluation_error", evaluation_error)
    d, q = _checks.count("dimension", dimension), _checks.count("directions", directions)
    _checks.choice("law", law, LAWS)
    scale = d / ((d + 2) * (d + 4)) if law == "sphere" else 1.0
    truncation = scale * ((t**2 + 2 * s) * d + 4 * t**2 + 8 * s) / (4 * q)
    return RadiusLaw(truncation, 2 * _weight(law, d) * sigma**2 / q, 1)


def two_sided_law(
    third_derivatives: Any, evaluation_error: float, *, directions: int = 1, law: str = "gaussian"
) -> RadiusLaw:
    """The error of two-sided differences on a quadratic plus sum_i c_i x_i^3 / 6.

    Setting: see above. Guarantee: exact for independent evaluation errors of mean zero; parameters themselves are not
    rounded.

    Args:
        third_derivatives: c, shape (d,): the third derivative along each coordinate.
        evaluation_error: sigma_f, root mean square error of one evaluation, in units of f.
        directions: q.
        law: "gaussian", "rademacher" or "sphere".

    Raises:
        ValueError: not a vector, a negative error, no direction, an unknown law.

    Example:
        >>> law = two_sided_law([1.0, -2.0], 1e-16)
        >>> 1e-6 < law.optimal_radius < 1e-4
        True
    """
    c = _checks.array("third_derivatives", third_derivatives, ndim=1)
    sigma = _checks.nonnegative("evaluation_error", evaluation_error)
    q = _checks.count("directions", directions)
    _checks.choice("law", law, LAWS)
    d, square = c.size, float(c @ c)
    if law == "gaussian":
        single, mean_sq = 15 * (d + 6) / 36, 1 / 4
    elif law == "sphere":
        single, mean_sq = 15 * d / (36 * (d + 2) * (d + 4)), 1 / (4 * (d + 2) ** 2)
    else:
        single, mean_sq = d / 36, 1 / 36
    truncation = square * (single / q + (1 - 1 / q) * mean_sq)
    return RadiusLaw(truncation, _weight(law, d) * sigma**2 / (2 * q), 2)


def rounding_error(value: float, precision: str = "float32") -> float:
    """Root mean square error of rounding a value to a precision: ulp(value) / sqrt(12).

    Setting: only the result is rounded, and its error is uniform over one spacing. Arithmetic that is itself done in the
    precision errs more (1.55 times, measured on a quadratic in float32).

    Args:
        value: a typical value of f.
        precision: "float16", "float32" or "float64".

    Raises:
        ValueError: not a finite number, or an unknown precision.

    Example:
        >>> rounding_error(4.2) == 2**-21 / 12**0.5
        True
    """
    number = _checks.real("value", value)
    _checks.choice("precision", precision, PRECISIONS)
    return float(np.spacing(np.dtype(precision).type(abs(number)))) / 12**0.5


def _weight(law: str, dimension: int) -> float:
    """E of the squared length of what multiplies a slope: v, or d u on the sphere."""
    return float(dimension**2 if law == "sphere" else dimension)
