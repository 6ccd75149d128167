"""Bounds on the two-point estimator for smooth functions that need not be quadratic.

Setting: h has -S <= Hess h <= S with a fixed matrix S >= 0, L = ||S|| and effective rank r = tr(S)/L, which is the
dimension d for S = L I (only the Lipschitz gradient is used). v ~ N(0, I), q directions, radius mu, one-sided or two-sided:
without a Lipschitz Hessian two sides are not better, for the curvature may be +L on one side and -L on the other. Norm:
||w||_S^2 = w'Sw / L, the one in which descent is measured; it is the Euclidean norm for S = L I, and only then do the
bounds in ||.||_S hold in the Euclidean norm, since E||<g,v> v||^2 = (d+2) ||g||^2 whatever the rank.

Proof. The slope is s = <g,v> + rho with |rho| <= (mu/2) v'Sv. Wick: E||<g,v> v||_S^2 = (2 g'Sg + tr(S) |g|^2)/L <= (r+2)
|g|^2, and E (v'Sv)^3 = t1^3 + 6 t1 t2 + 8 t3 <= L^3 r(r+2)(r+4), t_k = tr S^k. Stein: E ghat = grad E h(x + mu v), so the
bias is at most mu sqrt(L) E sqrt(v'Sv) <= mu L sqrt(r). Averaging q directions divides variances, not the mean. Young (c)
joins the two parts.

All functions refuse (ValueError) negative numbers, a rank below 1, no dimension and no direction.

Reference: theory_lab, estimator lemma (Theorem 3).
"""

import math
from typing import Any

from theory_lab import _checks
from theory_lab.theory.moments import one_or_two


def kappa_prime(rank: float, directions: int = 1) -> float:
    """Variance factor kappa' = (r + 1)/q: E||ghat - g||_S^2 <= kappa' ||g||^2 at radius 0, an equality for S = L I.

    Example:
        >>> kappa_prime(7.0, directions=2)
        4.0
    """
    return (_rank(rank) + 1) / _checks.count("directions", directions)


def kappa(rank: float, directions: int = 1) -> float:
    """Second-moment factor kappa = 1 + kappa': E||ghat||_S^2 <= kappa ||g||^2 at radius 0, an equality for S = L I."""
    return 1 + kappa_prime(rank, directions)


def bias_bound(smoothness: float, rank: float, radius: float) -> float:
    """The bias ||E ghat - g|| is at most beta = mu L sqrt(r), in the Euclidean norm.

    Guarantee: upper bound. The sqrt(d) cannot be improved: h = (L/2) <u,x> |x| attains half of it in the limit of large d.

    Example:
        >>> bias_bound(2.0, 9.0, 0.5)
        3.0
    """
    return _checks.nonnegative("radius", radius) * _checks.nonnegative("smoothness", smoothness) * math.sqrt(_rank(rank))


def remainder_bound(smoothness: float, rank: float, radius: float, directions: int = 1) -> float:
    """The variance that the curvature adds is at most m^2 = mu^2 L^2 r(r+2)(r+4) / (4q) in ||.||_S.

    Guarantee: upper bound, attained one-sided by h = L|x|^2/2.

    Example:
        >>> remainder_bound(2.0, 2.0, 0.5)
        12.0
    """
    r, q = _rank(rank), _checks.count("directions", directions)
    scale = _checks.nonnegative("radius", radius) * _checks.nonnegative("smoothness", smoothness)
    return scale * scale * r * (r + 2) * (r + 4) / (4 * q)  # inf where that overflows


def remainder_factor(rank: float, directions: int = 1) -> float:
    """M = r(r+2)(r+4)/(4q) + (1 - 1/q) r: the second moment that the curvature adds is at most mu^2 L^2 M in ||.||_S."""
    r, q = _rank(rank), _checks.count("directions", directions)
    return r * (r + 2) * (r + 4) / (4 * q) + (1 - 1 / q) * r


def second_moment_bound(
    gradient_norm_sq: float,
    smoothness: float,
    rank: float,
    radius: float,
    *,
    directions: int = 1,
    young: float | None = None,
) -> float:
    """Bound on E||ghat||_S^2.

        (1 + c) kappa ||g||^2 + (1 + 1/c) mu^2 L^2 M,  at the best c:  (sqrt(kappa) ||g|| + mu L sqrt(M))^2

    Guarantee: upper bound, for every c > 0.

    Args:
        gradient_norm_sq: ||g||^2.
        smoothness: L.
        rank: r, at least 1; the dimension if nothing better is known.
        radius: mu.
        directions: q.
        young: c; None takes the best.

    Raises:
        ValueError: a negative number, a rank below 1, no direction, a c that is not positive.

    Example:
        >>> second_moment_bound(4.0, 1.0, 7.0, 0.0)
        36.0
    """
    scale = _checks.nonnegative("radius", radius) * _checks.nonnegative("smoothness", smoothness)
    remainder = scale * scale * remainder_factor(rank, directions)
    return _joined(gradient_norm_sq, kappa(rank, directions), remainder, young)


def variance_bound(
    gradient_norm_sq: float,
    smoothness: float,
    rank: float,
    radius: float,
    *,
    directions: int = 1,
    young: float | None = None,
) -> float:
    """Bound on E||ghat - E ghat||_S^2; arguments and errors as in `second_moment_bound`.

        (1 + c) kappa' ||g||^2 + (1 + 1/c) m^2,  at the best c:  (sqrt(kappa') ||g|| + m)^2

    Guarantee: upper bound, for every c > 0.

    Example:
        >>> variance_bound(4.0, 1.0, 3.0, 0.0, directions=4)
        4.0
    """
    remainder = remainder_bound(smoothness, rank, radius, directions)
    return _joined(gradient_norm_sq, kappa_prime(rank, directions), remainder, young)


def largest_radius(accuracy: float, smoothness: float, rank: float, *, relative_step: float, directions: int = 1) -> float:
    """The largest radius whose terms in Theorem 1 cost at most accuracy^2 in ||grad_x f||^2.

        mu = eps / (L sqrt(2 r + 2 alpha M)),  alpha = eta_x L_x

    Setting: Theorem 1 with c = 1, theta = 1/2 and C_x >= 1/2, for example alpha <= 1/(4 kappa). Guarantee: upper bound,
    worst case over the smoothness class; on quadratics the bias is zero and far larger radii do no harm.

    Args:
        accuracy: eps > 0, the tolerated gradient norm.
        smoothness: L_x > 0.
        rank: r.
        relative_step: alpha = eta_x L_x >= 0.
        directions: q.

    Example:
        >>> largest_radius(0.2, 1.0, 2.0, relative_step=0.0)
        0.1
    """
    eps, smooth = _checks.positive("accuracy", accuracy), _checks.positive("smoothness", smoothness)
    alpha = _checks.nonnegative("relative_step", relative_step)
    return eps / (smooth * math.sqrt(2 * _rank(rank) + 2 * alpha * remainder_factor(rank, directions)))


def central_bias_bound(hessian_smoothness: float, dimension: int, radius: float) -> float:
    """With a rho-Lipschitz Hessian the bias, one- or two-sided, is at most mu^2 rho d / 2.

    Guarantee: upper bound. Proof: |grad h(x + mu v) - g - mu Hv| <= mu^2 rho |v|^2 / 2 and E v = 0.

    Example:
        >>> round(central_bias_bound(2.0, 10, 0.1), 12)
        0.1
    """
    rho, d = _checks.nonnegative("hessian_smoothness", hessian_smoothness), _checks.count("dimension", dimension)
    return _checks.nonnegative("radius", radius) ** 2 * rho * d / 2


def central_remainder_bound(hessian_smoothness: float, dimension: int, radius: float, directions: int = 1) -> float:
    """With a rho-Lipschitz Hessian, two-sided: m^2 becomes mu^4 rho^2 d(d+2)(d+4)(d+6) / (36 q), in the Euclidean norm.

    Guarantee: upper bound. Proof: the slope's remainder is at most mu^2 rho |v|^3 / 6, and E|v|^8 = d(d+2)(d+4)(d+6).
    """
    rho, d = _checks.nonnegative("hessian_smoothness", hessian_smoothness), _checks.count("dimension", dimension)
    q, mu = _checks.count("directions", directions), _checks.nonnegative("radius", radius)
    scale = mu * mu * rho
    return scale * scale * d * (d + 2) * (d + 4) * (d + 6) / (36 * q)


def nesterov_spokoiny_bound(
    gradient_norm_sq: float, smoothness: float, dimension: int, radius: float, *, sided: int = 1
) -> float:
    """The published bound on E||ghat||^2 for one Gaussian direction.

        2 (d+4) ||g||^2 + (mu^2/2) L^2 (d+6)^3,  two-sided  2 (d+4) ||g||^2 + (mu^2/8) L^2 (d+6)^3

    Setting: L-Lipschitz gradient. Guarantee: upper bound; the two-sided constant is recalled, not re-read. One-sided,
    `second_moment_bound` with rank = d and young = 1 is smaller: 2 (d+2) ||g||^2 + (mu^2/2) L^2 d(d+2)(d+4).

    Args:
        gradient_norm_sq: ||g||^2.
        smoothness: L.
        dimension: d.
        radius: mu.
        sided: 1 or 2.

    Raises:
        ValueError: a negative number, no dimension, `sided` neither 1 nor 2.

    Reference: Nesterov & Spokoiny 2017, Theorem 4.2 (35).

    Example:
        >>> nesterov_spokoiny_bound(1.0, 1.0, 1, 0.0)
        10.0
    """
    d, mu = _checks.count("dimension", dimension), _checks.nonnegative("radius", radius)
    smooth, share = _checks.nonnegative("smoothness", smoothness), 1 / 2 if one_or_two(sided) == 1 else 1 / 8
    gradient, scale = _checks.nonnegative("gradient_norm_sq", gradient_norm_sq), mu * smooth
    return 2 * (d + 4) * gradient + share * scale * scale * (d + 6) ** 3


def _rank(rank: Any) -> float:
    return _checks.between("rank", rank, 1, math.inf, closed="[)")


def _joined(gradient_norm_sq: float, factor: float, remainder: float, young: float | None) -> float:
    """(1 + c) A + (1 + 1/c) B with A = factor ||g||^2 and B = remainder; (sqrt A + sqrt B)^2 at the best c."""
    linear = factor * _checks.nonnegative("gradient_norm_sq", gradient_norm_sq)
    if young is None:
        roots = math.sqrt(linear) + math.sqrt(remainder)
        return roots * roots
    c = _checks.positive("young", young)
    return (1 + c) * linear + (1 + 1 / c) * remainder
