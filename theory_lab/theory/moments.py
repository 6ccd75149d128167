"""Exact first and second moments of the two-point gradient estimators on quadratics.

Setting: h(x + s) = h(x) + g's + s'Hs/2 with any symmetric H, and q independent directions v. With slopes

    one-sided  s(v) = [h(x + mu v) - h(x)] / mu             = g'v + (mu/2) v'Hv,
    two-sided  s(v) = [h(x + mu v) - h(x - mu v)] / (2 mu)  = g'v,

the estimator is ghat = (1/q) sum s(v) v for v ~ N(0, I) ("gaussian") and for independent signs ("rademacher"), and
ghat = (d/q) sum s(u) u for u uniform on the unit sphere ("sphere"). Radius 0 stands for the limit mu -> 0, s(v) = g'v.

All three laws are even and have E vv' = I (the sphere after v = sqrt(d) u), so E ghat = g, and the term that mixes g with H
is odd and vanishes. What is left are fourth and sixth moments of v:

    Cov ghat = (1/q) [a tr(G) I + b G - c diag(G) + R],   G = gg'  (or E gg', if g is random and independent of v),

    law         a      b       c   R / (mu^2/4), one-sided; R = 0 two-sided
    gaussian    1      1       0   (t^2 + 2 s) I + 4 t H + 8 H^2                        t = tr H, s = tr H^2
    sphere      k      2k - 1  0   the same times d / ((d+2)(d+4))                      k = d/(d+2)
    rademacher  1      1       2   (t^2 + 2 tr O^2) I + 4 t O + 8 (O^2 - diag(O^2))     O = H - diag(H)

Proof. Gaussian: Wick's formula, E (v'Hv)^2 vv' = (t^2 + 2s) I + 4tH + 8H^2 and E (g'v)^2 vv' = |g|^2 I + 2gg'. Sphere: a
moment of degree 2m of u is the Gaussian one over d(d+2)...(d+2m-2). Rademacher: v_i^2 = 1, so v'Hv = t + v'Ov; of the
pairings of the Gaussian only those without a repeated index survive, and in (v'Ov)^2 v_a v_b, a != b, eight terms O_ac O_cb
do.
"""

from typing import Any, NamedTuple

import numpy as np

from theory_lab import _checks
from theory_lab.theory._matrices import symmetric

LAWS = ("gaussian", "rademacher", "sphere")


class CovarianceMap(NamedTuple):
    """The part of Cov ghat that is linear in G: trace * tr(G) I + direct * G - diagonal * diag(G), already divided by q.

    The one place from which every exact law of zeroth-order dynamics takes its coefficients.
    """

    trace: float
    direct: float
    diagonal: float

    def __call__(self, moment: np.ndarray) -> np.ndarray:
        """Apply the map to G of shape (d, d)."""
        scaled = self.direct * moment
        scaled[np.diag_indices_from(scaled)] += self.trace * np.trace(moment) - self.diagonal * np.diag(moment)
        return scaled


def covariance_map(law: str, dimension: int, directions: int = 1) -> CovarianceMap:
    """The covariance of the estimator as a function of the gradient's second moment; see the table above.

    Setting: any quadratic, two-sided or radius 0 (else `radius_covariance` adds to it). Guarantee: exact.

    Args:
        law: "gaussian", "rademacher" or "sphere".
        dimension: d of the perturbed block; 0 is an empty block.
        directions: q, averaged per estimate.

    Raises:
        ValueError: an unknown law, a negative dimension, fewer than one direction.

    Example:
        >>> covariance_map("gaussian", 4, directions=2)
        CovarianceMap(trace=0.5, direct=0.5, diagonal=0.0)
    """
    _checks.choice("law", law, LAWS)
    d = _checks.count("dimension", dimension, least=0)
    q = _checks.count("directions", directions)
    if law == "sphere":
        return CovarianceMap(d / (d + 2) / q, (d - 2) / (d + 2) / q, 0.0)
    return CovarianceMap(1 / q, 1 / q, (2.0 if law == "rademacher" else 0.0) / q)


def variance_factor(dimension: int, *, directions: int = 1, law: str = "gaussian") -> float:
    """The factor V in E||ghat - g||^2 = V ||g||^2 at radius 0, the same for every g.

        V = (d+1)/q for the gaussian law, (d-1)/q for the sphere and for signs.

    Setting: any quadratic, two-sided or radius 0. Guarantee: exact; E||ghat||^2 = (1 + V) ||g||^2.

    Raises:
        ValueError: no dimension, fewer than one direction, an unknown law.

    Example:
        >>> variance_factor(8), variance_factor(8, law="sphere"), variance_factor(8, directions=3)
        (9.0, 7.0, 3.0)
    """
    d = _checks.count("dimension", dimension)
    gain = covariance_map(law, d, directions)
    return d * gain.trace + gain.direct - gain.diagonal


def radius_covariance(
    hessian: Any, radius: float, *, directions: int = 1, law: str = "gaussian", sided: int = 1
) -> np.ndarray:
    """What a finite radius adds to the covariance of the estimator: R/q of the table above, independent of the gradient.

    Setting: any quadratic. Guarantee: exact; zero for two-sided differences.

    Args:
        hessian: (d, d) symmetric Hessian of the perturbed block.
        radius: mu of the finite differences; 0 gives zero.
        directions: q.
        law: "gaussian", "rademacher" or "sphere".
        sided: 1 or 2.

    Returns:
        (d, d) symmetric matrix.

    Raises:
        ValueError: see `covariance_map`; a Hessian that is not symmetric, a negative radius, `sided` neither 1 nor 2.

    Example:
        >>> radius_covariance([[2.0]], 0.1)
        array([[0.15]])
    """
    h = symmetric("hessian", hessian)
    mu = _checks.nonnegative("radius", radius)
    _checks.choice("law", law, LAWS)
    q = _checks.count("directions", directions)
    d = h.shape[0]
    if one_or_two(sided) == 2 or mu == 0:
        return np.zeros((d, d))
    trace = np.trace(h)
    if law == "rademacher":
        h = h - np.diag(np.diag(h))
    square = h @ h
    identity = (trace**2 + 2 * np.trace(square)) * np.eye(d)
    if law == "rademacher":
        square = square - np.diag(np.diag(square))
    scale = d / ((d + 2) * (d + 4)) if law == "sphere" else 1.0
    return (mu**2 / (4 * q)) * scale * (identity + 4 * trace * h + 8 * square)


def second_moment(
    gradient: Any, hessian: Any = None, radius: float = 0.0, *, directions: int = 1, law: str = "gaussian", sided: int = 1
) -> np.ndarray:
    """The matrix E ghat ghat' of the two-point estimator.

        E ghat ghat' = gg' + (1/q) [a |g|^2 I + b gg' - c diag(gg') + R]

    Setting: a quadratic with this gradient and Hessian. Guarantee: exact.

    Args:
        gradient: (d,) gradient at the point; E ghat equals it.
        hessian: (d, d) symmetric, any sign; None is zero.
        radius: mu; 0 is the limit.
        directions: q.
        law: "gaussian", "rademacher" or "sphere".
        sided: 1 or 2.

    Returns:
        (d, d) symmetric matrix.

    Raises:
        ValueError: see `radius_covariance`; shapes that do not fit.

    Example:
        >>> second_moment([1.0, 0.0])
        array([[3., 0.],
               [0., 1.]])
    """
    g = _checks.array("gradient", gradient, ndim=1)
    d = g.size
    h = np.zeros((d, d)) if hessian is None else symmetric("hessian", hessian, dimension=d)
    gain = covariance_map(law, d, directions)
    outer = np.outer(g, g)
    return outer + gain(outer) + radius_covariance(h, radius, directions=directions, law=law, sided=sided)


def squared_norm(
    gradient: Any, hessian: Any = None, radius: float = 0.0, *, directions: int = 1, law: str = "gaussian", sided: int = 1
) -> float:
    """The scalar E||ghat||^2 of the two-point estimator; arguments as in `second_moment`, of which it is the trace.

        gaussian    ((d+q+1)/q) |g|^2 + (mu^2/(4q)) (d+4) (t^2 + 2s)
        sphere      ((d+q-1)/q) |g|^2 + (mu^2/(4q)) (d/(d+2)) (t^2 + 2s)
        rademacher  ((d+q-1)/q) |g|^2 + (mu^2/(4q)) d (t^2 + 2s - 2 sum H_ii^2)

    Setting: any quadratic, one-sided; the terms in mu are zero for two-sided differences. Guarantee: exact.

    Example:
        >>> squared_norm([1.0, 2.0], [[1.0, 0.0], [0.0, 3.0]], 0.1, law="rademacher")
        10.08
    """
    return float(np.trace(second_moment(gradient, hessian, radius, directions=directions, law=law, sided=sided)))


def exponential_bias(direction: Any, radius: float, *, law: str = "gaussian") -> np.ndarray:
    """The bias of the estimator on f(x) = exp(a'x), relative to the value: (E ghat - grad f(x)) / f(x), one- or two-sided.

        gaussian    a (exp(t^2/2) - 1)                                       t = mu ||a||
        sphere      a (0F1(; d/2 + 1; t^2/4) - 1)
        rademacher  a_i ((sinh t_i / t_i) prod_{j != i} cosh t_j - 1)        t_i = mu a_i

    Setting: not quadratic; E ghat is the gradient of a smoothed f, the same for one- and two-sided differences, since f(x)
    v has mean zero: one-sided differences have no extra bias, only extra variance. Guarantee: exact, any number of
    directions.

    Proof. gaussian: f_mu(x) = E f(x + mu v) = f(x) exp(t^2/2). sphere: f_mu averages over the ball of radius mu. rademacher:
    E[exp(mu a'v) v_i] = sinh(t_i) prod_{j != i} cosh(t_j). With 0F1 all are one series: cosh t = 0F1(; 1/2; t^2/4) and
    sinh(t)/t = 0F1(; 3/2; t^2/4), summed without the leading 1, so small radii lose no digits.

    Args:
        direction: a, shape (d,).
        radius: mu.
        law: "gaussian", "rademacher" or "sphere".

    Returns:
        (d,) array; inf where it overflows.

    Raises:
        ValueError: not a vector, a negative radius, an unknown law.

    Example:
        >>> exponential_bias([3.0, 4.0], 0.01).round(6)
        array([0.003752, 0.005003])
    """
    a = _checks.array("direction", direction, ndim=1)
    mu = _checks.nonnegative("radius", radius)
    _checks.choice("law", law, LAWS)
    with np.errstate(over="ignore"):
        z = (mu * a) ** 2 / 4
        if law == "gaussian":
            return a * np.expm1(2 * z.sum())
        if law == "sphere":
            return a * _bessel_series(a.size / 2 + 1, z.sum())
        cosh = np.log1p(_bessel_series(0.5, z))
        return a * np.expm1(np.log1p(_bessel_series(1.5, z)) + cosh.sum() - cosh)


def _bessel_series(b: float, z: Any) -> np.ndarray:
    """0F1(; b; z) - 1 for z >= 0 as sum_{k>=1} z^k / ((b)_k k!): positive terms, no cancellation."""
    term = np.asarray(z, dtype=np.float64) / b
    total = term.copy()
    k = 1
    while np.any(term > 1e-17 * total) and np.all(np.isfinite(total)):
        term = term * z / ((b + k) * (k + 1))
        total = total + term
        k += 1
    return total


def one_or_two(sided: Any) -> int:
    """The number of sides of a finite difference.

    Raises:
        ValueError: neither 1 nor 2.
    """
    return _checks.sides("sided", sided)
