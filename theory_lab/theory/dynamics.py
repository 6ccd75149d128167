"""Exact first and second moments of hybrid SGD on quadratics whose components share the Hessian.

Setting: f_i(z) = z'Hz/2 - b_i'z with sum b_i = 0 (z* = 0) and C = (1/n) sum b_i b_i'; the step is z+ = z - P ghat of the
component drawn, ghat_x the two-point estimate (q directions, any law, any radius) and ghat_y exact. Let A = I - PH, let
G = E gg' be the moment of a component's gradient g = Hz - b, N the `CovarianceMap`, R/q the `radius_covariance` of H_xx.
The covariance that the directions add is

    S(G) = eta_x^2 E_x [N(G_xx) + R/q] E_x',   E_x the embedding of the x-block,

and the moments m = E z, M = E zz' follow

    with replacement    m+ = A m,   M+ = A M A' + P C P + S(HMH + C);
    reshuffling, k < n  M_{k+1} = A M_k A' + P C P - A B_k P - P B_k' A' + S(H M_k H + H B_k + B_k' H + C),
                        B_{k+1} = B_k + A^k P C / (n-1),  B_0 = 0,   and m_n = A^n m.

Proof. The estimator is unbiased on quadratics. Drawing without replacement gives E b_{pi_j} b_{pi_k}' = -C/(n-1), j != k,
so E z_k b_{pi_k}' = -B_k; the direction noise is uncorrelated with b. Everything is affine in (m, M). Both have the linear
part of `quadratic`.

Guarantee of all functions: exact. Cost O(d^3) per step. Reference: theory_lab, Theorem 5.

Example:
    Reshuffling lowers the noise of the first-order block, not that of the zeroth-order block.

    >>> model = shared_quadratic(np.eye(2), 1, (0.1, 0.1), covariance=np.eye(2))
    >>> ratio = np.diag(stationary_moment(model, n=8)) / np.diag(stationary_moment(model))
    >>> ratio.round(2)
    array([0.76, 0.06])
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg

from theory_lab import _checks
from theory_lab.theory._matrices import leading_block, positive_semidefinite, symmetric
from theory_lab.theory.base import Pair, pair
from theory_lab.theory.moments import CovarianceMap, covariance_map, one_or_two, radius_covariance
from theory_lab.theory.quadratic import is_stable


@dataclass(frozen=True)
class SharedQuadratic:
    """A quadratic with shared Hessian and the hybrid method on it; build it with `shared_quadratic`, which validates.

    Attributes:
        hessian: H, (d, d).
        covariance: C, (d, d): covariance of the components' gradients; its blocks' traces are sigma_x^2 and sigma_y^2.
        zeroth_dimension: size of the x-block, the leading coordinates.
        step_sizes: (eta_x, eta_y).
        directions, law: of the two-point estimator.
        radius_covariance: R/q, (d_x, d_x).
    """

    hessian: np.ndarray
    covariance: np.ndarray
    zeroth_dimension: int
    step_sizes: Pair
    directions: int
    law: str
    radius_covariance: np.ndarray

    @property
    def steps(self) -> np.ndarray:
        """Diagonal of P, (d,)."""
        return np.where(np.arange(self.hessian.shape[0]) < self.zeroth_dimension, *self.step_sizes)

    @property
    def contraction(self) -> np.ndarray:
        """A = I - PH, (d, d): one step of the mean."""
        return np.eye(self.hessian.shape[0]) - self.steps[:, None] * self.hessian

    @property
    def covariance_map(self) -> CovarianceMap:
        return covariance_map(self.law, self.zeroth_dimension, self.directions)


class Moments(NamedTuple):
    """First and second moments of z - z*: mean (..., d) and second (..., d, d)."""

    mean: np.ndarray
    second: np.ndarray


def shared_quadratic(
    hessian: Any,
    zeroth_dimension: int,
    step_sizes: Pair,
    *,
    covariance: Any = None,
    directions: int = 1,
    law: str = "gaussian",
    radius: float = 0.0,
    sided: int = 1,
) -> SharedQuadratic:
    """A validated `SharedQuadratic`.

    Args:
        hessian: H, (d, d) symmetric, any sign.
        zeroth_dimension: size of the x-block, 0 to d.
        step_sizes: (eta_x, eta_y), nonnegative, per component step.
        covariance: C, (d, d) positive semidefinite; None is zero. For a function-value error sigma_f in every evaluation see
            `rounding`; it is not part of C.
        directions: q.
        law: "gaussian", "rademacher" or "sphere".
        radius: mu; 0 is the limit.
        sided: 1 or 2; two-sided differences are exact on quadratics.

    Raises:
        ValueError: matrices that are not symmetric, a covariance that is not positive semidefinite or of another dimension,
            and what `radius_covariance` refuses.
    """
    matrix = symmetric("hessian", hessian)
    d = matrix.shape[0]
    size = leading_block(zeroth_dimension, d)
    covariance = np.zeros((d, d)) if covariance is None else positive_semidefinite("covariance", covariance, dimension=d)
    covariance_map(law, size, directions)
    mu, sides = _checks.nonnegative("radius", radius), one_or_two(sided)
    block = matrix[:size, :size]
    extra = radius_covariance(block, mu, directions=directions, law=law, sided=sides) if size else block
    return SharedQuadratic(matrix, covariance, size, pair("step_sizes", step_sizes), directions, law, extra)


def with_replacement_step(model: SharedQuadratic, moments: Moments) -> Moments:
    """The moments after one step on a component drawn independently."""
    check_moments(model, moments)
    h, a, p = model.hessian, model.contraction, model.steps
    noise = _direction_noise(model, h @ moments.second @ h + model.covariance)
    second = a @ moments.second @ a.T + p[:, None] * model.covariance * p + noise
    return Moments(a @ moments.mean, second)


def reshuffling_epoch(model: SharedQuadratic, moments: Moments, n: int) -> Moments:
    """The moments after one epoch over n components in a fresh uniform order.

    Raises:
        ValueError: n below 1, a covariance that is not zero although n = 1, or moments of another dimension.
    """
    *_, last = _epoch_steps(model, moments, n)
    return last


def within_epoch(model: SharedQuadratic, moments: Moments, n: int) -> Moments:
    """The moments before each of the n steps of a reshuffled epoch, and after the last.

    Args:
        model: from `shared_quadratic`.
        moments: at the start of the epoch, whose order is drawn afresh.
        n: components per epoch.

    Returns:
        Moments with mean (n + 1, d) and second (n + 1, d, d).

    Raises:
        ValueError: as `reshuffling_epoch`.

    Example:
        >>> model = shared_quadratic([[1.0]], 0, (0.0, 0.1), covariance=[[1.0]])
        >>> within_epoch(model, Moments(np.zeros(1), np.zeros((1, 1))), 2).second.ravel().round(4)
        array([0.    , 0.01  , 0.0001])
    """
    rows = list(_epoch_steps(model, moments, n))
    return Moments(np.stack([row.mean for row in rows]), np.stack([row.second for row in rows]))


def _epoch_steps(model: SharedQuadratic, moments: Moments, n: int) -> Iterator[Moments]:
    """The moments at the start of a reshuffled epoch and after each of its steps."""
    check_moments(model, moments)
    n = _population(model, n)
    h, a, p, c = model.hessian, model.contraction, model.steps, model.covariance
    mean, second = moments
    correlation = np.zeros_like(h)
    increment = p[:, None] * c / max(n - 1, 1)
    yield moments
    for _ in range(n):
        gradient = h @ second @ h + c + h @ correlation + (h @ correlation).T
        cross = a @ correlation * p
        second = a @ second @ a.T + p[:, None] * c * p - cross - cross.T + _direction_noise(model, gradient)
        correlation = correlation + increment
        increment = a @ increment
        mean = a @ mean
        yield Moments(mean, second)


def trajectory(
    model: SharedQuadratic, start: Any, *, epochs: int, n: int = 1, ordering: str = "random_reshuffling"
) -> Moments:
    """The moments at epoch starts 0, 1, ..., epochs, from a fixed start.

    Args:
        model: from `shared_quadratic`.
        start: z_0 - z*, shape (d,).
        epochs: passes of n steps each.
        n: components per epoch; with replacement it only spaces the rows, so n = 1 logs every step.
        ordering: "random_reshuffling" or "with_replacement".

    Returns:
        Moments with mean (epochs + 1, d) and second (epochs + 1, d, d).

    Raises:
        ValueError: a start of another dimension, negative epochs, an n or ordering that `reshuffling_epoch` refuses.

    Example:
        >>> model = shared_quadratic([[1.0]], 1, (0.1, 0.0))
        >>> trajectory(model, [1.0], epochs=2, ordering="with_replacement").second.ravel().round(4)
        array([1.    , 0.83  , 0.6889])
    """
    check_model(model)
    z = _checks.array("start", start, ndim=1)
    if z.size != model.hessian.shape[0]:
        raise _checks.refuse("start", f"of the hessian's dimension {model.hessian.shape[0]}", z.size)
    epochs, n = _checks.count("epochs", epochs, least=0), _checks.count("n", n)
    reshuffles = _reshuffles(ordering)
    rows = [Moments(z, np.outer(z, z))]
    for _ in range(epochs):
        row = rows[-1]
        if reshuffles:
            row = reshuffling_epoch(model, row, n)
        else:
            for _ in range(n):
                row = with_replacement_step(model, row)
        rows.append(row)
    return Moments(np.stack([row.mean for row in rows]), np.stack([row.second for row in rows]))


def stationary_moment(model: SharedQuadratic, *, n: int | None = None) -> np.ndarray:
    """The stationary E zz' (its mean is zero): with replacement if n is None, else at epoch starts of reshuffling.

    Solves M = L^m(M) + W, with m = 1 or n steps and W the moments that one such piece makes from zero, by conjugate
    gradients: in the modes of P^1/2 H P^1/2 (see `quadratic`), scaled by (k_i k_j)^1/2, the linear part L is self-adjoint
    with spectrum in (-1, 1).

    Args:
        model: from `shared_quadratic`, with a positive definite Hessian and positive step sizes inside the stable region.
        n: components per epoch under reshuffling; None is with replacement.

    Returns:
        (d, d) symmetric matrix.

    Raises:
        ValueError: step sizes that are not stable, or a Hessian and step sizes that leave a direction where it is.
    """
    check_model(model)
    d = model.hessian.shape[0]
    if not is_stable(model.hessian, model.zeroth_dimension, model.step_sizes, directions=model.directions, law=model.law):
        raise _checks.refuse("step_sizes", "mean-square stable (see is_stable)", model.step_sizes)
    root = np.sqrt(model.steps)
    k, vectors = np.linalg.eigh(root[:, None] * model.hessian * root)
    if k[0] <= 1e-13 * k[-1]:
        raise ValueError("hessian must be positive definite, and the step sizes positive, for a stationary law to exist")
    steps = 1 if n is None else _population(model, n)
    origin = Moments(np.zeros(d), np.zeros((d, d)))
    source = (with_replacement_step(model, origin) if n is None else reshuffling_epoch(model, origin, steps)).second
    weights = np.sqrt(np.multiply.outer(k, k))
    basis = root[:, None] * vectors
    rows, gain = vectors[: model.zeroth_dimension], model.covariance_map
    survival = np.multiply.outer(1 - k, 1 - k)

    def remainder(vector: np.ndarray) -> np.ndarray:
        before = vector.reshape(d, d)
        after = before
        for _ in range(steps):
            after = survival * after + weights * (rows.T @ gain(rows @ (weights * after) @ rows.T) @ rows)
        return (before - after).ravel()

    dual = vectors / root[:, None]
    right = weights * (dual.T @ source @ dual)
    scale = float(np.abs(right).max()) or 1.0
    operator = LinearOperator((d * d, d * d), matvec=remainder, dtype=np.float64)
    solution, _ = cg(operator, right.ravel() / scale, rtol=1e-13, maxiter=10 * d * d + 100)
    second = basis @ (scale * solution.reshape(d, d) / weights) @ basis.T
    return (second + second.T) / 2


def expected_gap(model: SharedQuadratic, second: np.ndarray) -> np.ndarray:
    """E f(z) - f* = tr(HM)/2, for second moments (..., d, d)."""
    return np.einsum("ij,...ij->...", model.hessian, _second(model, second)) / 2


def expected_gradient_norms_sq(model: SharedQuadratic, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(E||grad_x f||^2, E||grad_y f||^2) of the full gradient Hz, for second moments (..., d, d)."""
    squares = np.einsum("ij,...jk,ki->...i", model.hessian, _second(model, second), model.hessian)
    return squares[..., : model.zeroth_dimension].sum(-1), squares[..., model.zeroth_dimension :].sum(-1)


def one_step_change(model: SharedQuadratic, gradient: Any) -> float:
    """E f(z+) - f(z) of one step on f itself (no component noise) from a point with this gradient, any sign of H.

        -eta_x |g_x|^2 - eta_y |g_y|^2 + g'PHPg/2 + (eta_x^2/2) tr(H_xx [N(g_x g_x') + R/q])

    For one gaussian direction the last term is (eta_x^2/2)(t |g_x|^2 + g_x'H_xx g_x) + (eta_x^2 mu^2/8)(t^3 + 6 t s2 + 8
    s3), t = tr H_xx and s_j = tr H_xx^j. Proof. f is its second-order expansion, and E ghat = g.

    Args:
        model: from `shared_quadratic`.
        gradient: g, shape (d,).

    Raises:
        ValueError: a gradient of another dimension.

    Example:
        >>> round(one_step_change(shared_quadratic([[1.0]], 1, (0.1, 0.0)), [1.0]), 12)  # -eta + 3 eta^2 / 2
        -0.085
    """
    check_model(model)
    g = _checks.array("gradient", gradient, ndim=1)
    if g.size != model.hessian.shape[0]:
        raise _checks.refuse("gradient", f"of the hessian's dimension {model.hessian.shape[0]}", g.size)
    step = model.steps * g
    noise = _direction_noise(model, np.outer(g, g))
    return float(-(g @ step) + step @ model.hessian @ step / 2 + np.sum(model.hessian * noise) / 2)


class Floor(NamedTuple):
    """The stationary law of a pure zeroth-order block in H's eigenbasis."""

    gradient_norm_sq: float
    second_moment: np.ndarray


def zeroth_order_floor(
    eigenvalues: Any, step_size: float, noise: Any, *, directions: int = 1, law: str = "gaussian"
) -> Floor:
    """The stationary floor of pure zeroth-order SGD with replacement, in closed form.

        phi_j = eta l_j / (2 - A eta l_j),   E|grad f|^2 = sum phi_j kappa_j / (1 - (a/q) sum phi_j),
        s_j = eta ((a/q) E|grad f|^2 + kappa_j) / (l_j (2 - A eta l_j)),   A, a as in `step_size_limit`

    Setting: no first-order block; kappa_j is the diagonal, in H's eigenbasis, of what the estimator's second moment is at
    the minimiser: `second_moment` there for a radius, C + N(C) for gradient noise of covariance C (tr C + 2 C_jj for one
    gaussian direction), 2 sigma_f^2/(q mu^2) for one-sided differences of values with error sigma_f. For the rademacher law
    H is diagonal. Guarantee: exact. Proof. s_j = (1 - 2 eta l_j + A eta^2 l_j^2) s_j + eta^2 ((a/q) E|grad f|^2 + kappa_j)
    gives s_j; the sum of l_j^2 s_j is E|grad f|^2.

    Args:
        eigenvalues: l, shape (d,), positive.
        step_size: eta, below `step_size_limit`.
        noise: kappa, shape (d,) or a number, nonnegative.
        directions: q.
        law: "gaussian", "rademacher" or "sphere".

    Returns:
        E||grad f||^2 and the diagonal (d,) of E xx' in H's eigenbasis.

    Raises:
        ValueError: eigenvalues or noise of the wrong sign or shape, a step size at or beyond the limit.

    Example:
        >>> floor = zeroth_order_floor([1.0, 1.0], 0.1, 4.0)  # noise of variance 2: (d+2)/d times 2
        >>> round(floor.gradient_norm_sq, 6)
        0.5
    """
    spectrum = _checks.array("eigenvalues", eigenvalues, ndim=1)
    if spectrum.min() <= 0:
        raise _checks.refuse("eigenvalues", "positive", float(spectrum.min()))
    kappa = np.asarray(_checks.array("noise", noise))
    if kappa.shape not in ((), spectrum.shape) or kappa.min() < 0:
        raise _checks.refuse("noise", f"nonnegative, a number or of shape {spectrum.shape}", noise)
    eta = _checks.positive("step_size", step_size)
    gain = covariance_map(law, spectrum.size, directions)
    margin = 2 - (1 + gain.direct - gain.diagonal) * eta * spectrum
    phi = eta * spectrum / margin
    fed_back = gain.trace * float(phi.sum())
    if margin.min() <= 0 or fed_back >= 1:
        raise _checks.refuse("step_size", "below the stability limit (see step_size_limit)", step_size)
    gradient = float(np.sum(phi * kappa)) / (1 - fed_back)
    return Floor(gradient, eta * (gain.trace * gradient + kappa) / (spectrum * margin))


def check_model(model: object) -> None:
    """The door for models."""
    _checks.instance("model", model, SharedQuadratic, "what shared_quadratic(...) returns")


def _second(model: SharedQuadratic, second: Any) -> np.ndarray:
    """The door for second moments, (..., d, d)."""
    check_model(model)
    d, shape = model.hessian.shape[0], np.shape(second)
    if shape[-2:] != (d, d):
        raise _checks.refuse("second", f"an array of shape (..., {d}, {d})", f"shape {shape}")
    return np.asarray(second)


def check_moments(model: SharedQuadratic, moments: object) -> None:
    """The door for moments of a model's dimension."""
    _checks.instance("moments", moments, Moments, "Moments(mean, second)")
    assert isinstance(moments, Moments)
    _second(model, moments.second)
    d, shape = model.hessian.shape[0], np.shape(moments.mean)
    if shape[-1:] != (d,):
        raise _checks.refuse("mean", f"an array of shape (..., {d})", f"shape {shape}")


def _direction_noise(model: SharedQuadratic, gradient_moment: np.ndarray) -> np.ndarray:
    """S(G): what the directions add to the second moment of one step, given E gg'."""
    size, eta = model.zeroth_dimension, model.step_sizes[0]
    noise = np.zeros_like(gradient_moment)
    if size:
        block = gradient_moment[:size, :size]
        noise[:size, :size] = eta**2 * (model.covariance_map(block) + model.radius_covariance)
    return noise


def _population(model: SharedQuadratic, n: int) -> int:
    n = _checks.count("n", n)
    if n == 1 and model.covariance.any():
        raise _checks.refuse("n", "at least 2 where the components differ (covariance not zero)", n)
    return n


def _reshuffles(ordering: str) -> bool:
    return _checks.choice("ordering", ordering, ("random_reshuffling", "with_replacement")) == "random_reshuffling"
