r"""Lanczos from a random start: what k products say about the ends of a spectrum, and what they cannot miss.

The inner side. A Ritz value, an eigenvalue of the operator compressed to the Krylov space, never lies outside the
spectrum.

The outer side. A small residual says that a Ritz value is close to *some* eigenvalue; it cannot exclude a larger one
that the start nearly misses. A random start can. Let u be a unit eigenvector of the top eigenvalue lambda, b the start,
and phi_0, phi_1, ... the Lanczos polynomials, orthonormal for the measure with weight <b, u_i>^2 at each eigenvalue.
For every p of degree k,

.. math:: p(\lambda)^2 \langle b, u\rangle^2 \le \int p^2, \quad\text{and the best p gives}\quad
    \langle b, u\rangle^2 \sum_{j=0}^{k} \varphi_j(\lambda)^2 \le 1 .

For b uniform on the sphere of R^d, <b, u>^2 has the law Beta(1/2, (d-1)/2), whatever u is. Let q^2 be its alpha/2
quantile. The sum increases beyond the top Ritz value and reaches 1/q^2 at the outer bound. Both ends hold together with
probability 1 - alpha, and for all k at once, since only b is random. Nothing sharper follows from the products and
<b, u>^2 >= q^2 alone: the quadrature with a node of weight q^2 at the bound has the same moments.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import linalg, stats

from theory_lab import _checks
from theory_lab._typing import Array, Key
from theory_lab.measure.base import Measurement
from theory_lab.measure.curvature import Curvature


class Tridiagonal(NamedTuple):
    """The operator compressed to its Krylov space, in float64.

    Attributes:
        diagonal: alpha_1 ... alpha_m.
        off: beta_1 ... beta_m; the last leads out of the Krylov space, 0 where that is the whole space.
        rounding: how far the matrix may be from the exact one of a symmetric operator nearby.
        basis: of the Krylov space, orthonormal rows (m, d); None where nobody asks for vectors.
    """

    diagonal: np.ndarray
    off: np.ndarray
    rounding: float
    basis: Array | None = None

    def vector(self, end: int) -> Array:
        """The unit Ritz vector of the smallest (end = 0) or largest (end = -1) Ritz value, (d,)."""
        assert self.basis is not None
        _, vectors = linalg.eigh_tridiagonal(self.diagonal, self.off[:-1])
        return jnp.asarray(vectors[:, end], self.basis.dtype) @ self.basis


def tridiagonalise(hessian: Curvature, iterations: int, key: Key) -> Tridiagonal | None:
    """At most that many products from a start uniform on the sphere; None where a product is not finite.

    Rounding is measured on the run itself. Row j of the coefficients holds A q_j on q_0 ... q_j, with exact products
    (0, ..., 0, beta_j, alpha_j). The norm of the difference tells how far the products are from symmetric; m machine
    epsilons are added for what is symmetric by chance.
    """
    *numbers, basis = _krylov(hessian, min(iterations, hessian.dimension), key)
    steps, coefficients, norms = map(np.asarray, numbers)
    m = int(steps)
    coefficients, norms = coefficients[:m, :m].astype(np.float64), norms[:m].astype(np.float64)
    if not (np.isfinite(coefficients).all() and np.isfinite(norms).all()):
        return None
    diagonal = np.diag(coefficients)
    exact = np.diag(diagonal) + np.diag(norms[:-1], -1)
    size = np.abs(diagonal).max() + 2 * norms.max()
    rounding = float(np.linalg.norm(coefficients - exact) + m * hessian.precision * size)
    closing = 0.0 if m == hessian.dimension else np.hypot(norms[-1], rounding)
    return Tridiagonal(diagonal, np.append(norms[:-1], closing), rounding, basis[:m])


def extremes(
    hessian: Curvature, key: Key, iterations: int, probability: float
) -> tuple[Measurement, Measurement, Tridiagonal] | None:
    """The smallest and the largest eigenvalue with their intervals, and the Krylov space that tells them.

    Returns:
        None where a product is not finite.

    Raises:
        ValueError: not a single key, iterations < 1, a probability outside (0, 1).
    """
    _checks.key("key", key)
    _checks.count("iterations", iterations)
    _checks.between("probability", probability, 0, 1, closed="()")
    matrix = tridiagonalise(hessian, iterations, key)
    if matrix is None:
        return None
    overlap, r, spent = least_overlap(hessian.dimension, probability), matrix.rounding, matrix.diagonal.size
    (lowest, below), (highest, above) = bottom(matrix, overlap), top(matrix, overlap)
    return (
        Measurement("lowest eigenvalue", lowest, below - r, lowest + r, 1, products=spent),
        Measurement("highest eigenvalue", highest, highest - r, above + r, 1, products=spent),
        matrix,
    )


def top(matrix: Tridiagonal, overlap: float) -> tuple[float, float]:
    """The largest Ritz value, and a bound on the largest eigenvalue, given the least overlap of start and eigenvector.

    Lanczos polynomials by their recurrence, beta_{j+1} phi_{j+1} = (x - alpha_{j+1}) phi_j - beta_j phi_{j-1};
    bisection finds where their squares add up to 1/overlap^2.

    The weight of the top Ritz value (of all that rounding cannot tell from it) is at least that of any eigenvalue beyond.
    Where it refutes the overlap or nearly so, the start is one of the unlucky few; half the overlap it leaves is taken
    then, rather than an empty interval.
    """
    diagonal, off = matrix.diagonal, matrix.off
    values, vectors = linalg.eigh_tridiagonal(diagonal, off[:-1])
    inside, step = float(values[-1]), float(off.max())
    if off[-1] == 0:
        return inside, inside
    weight = float(np.sum(vectors[0, values >= values[-1] - matrix.rounding] ** 2))
    most = 1 / min(overlap**2, max(weight, np.finfo(np.float64).tiny) / 4)

    def excluded(x: float) -> bool:
        before, now, back, total = 0.0, 1.0, 0.0, 1.0
        for alpha, beta in zip(diagonal, off, strict=True):
            before, now, back = now, ((x - alpha) * now - back * before) / beta, beta
            total += now * now
            if total > most:
                return True
        return False

    while not excluded(inside + step):
        step *= 2
    low, high = inside, inside + step
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if excluded(middle) else (middle, high)
    return inside, high


def bottom(matrix: Tridiagonal, overlap: float) -> tuple[float, float]:
    """`top` for the other end: the smallest Ritz value and the bound below it."""
    value, bound = top(matrix._replace(diagonal=-matrix.diagonal), overlap)
    return -value, -bound


def least_overlap(dimension: int, probability: float) -> float:
    """q: a start uniform on the sphere has |<b, u>| < q with probability (1 - probability)/2, whatever the unit vector u.

    Example:
        >>> round(least_overlap(2, 0.5), 4)  # an angle below 22.5 degrees off the orthogonal, sin(pi/8)
        0.3827
    """
    if dimension == 1:
        return 1.0
    return float(np.sqrt(stats.beta.ppf((1 - probability) / 2, 0.5, (dimension - 1) / 2)))


def relative_error(dimension: int, iterations: int, *, probability: float = 0.99) -> float:
    r"""How close k products bring both Ritz values to the ends of any spectrum, in units of its width: the a priori law.

    .. math:: \lambda_1 - \theta_1 \le \varepsilon (\lambda_1 - \lambda_d) \ \text{and}\
        \theta_k - \lambda_d \le \varepsilon (\lambda_1 - \lambda_d), \qquad
        \varepsilon = \tanh^2\!\Bigl(\frac{\operatorname{arsinh}(\sqrt{1-q^2}/q)}{2k-1}\Bigr)

    with the stated probability, q being the `least_overlap`.

    Proof. Put u = lambda_1 - eps (lambda_1 - lambda_d) and suppose theta_1 < u. Then int (u - x) p(x)^2 > 0 for every p
    of degree k - 1: (lambda_1 - u) p(lambda_1)^2 b_1^2 is less than (1 - b_1^2) max (u - x) p(x)^2 over [lambda_d, u].
    Map that interval to [-1, 1] and take for p the Chebyshev polynomial W of the fourth kind and degree k - 1, for which
    (1 - t) W(t)^2 = 1 - T(t) with T of the first kind and degree 2k - 1: at most 2 inside. lambda_1 goes to
    t = (1 + eps)/(1 - eps) = cosh(2 artanh sqrt eps), where T(t) - 1 = 2 sinh^2((2k - 1) artanh sqrt eps). So
    b_1^2 sinh^2((2k - 1) artanh sqrt eps) < 1 - b_1^2, that is |b_1| < q for this eps.

    As sqrt(d-1) |b_1|/sqrt(1 - b_1^2) is |Student's t|, an error above eps at one end has probability of at most about
    1.596 sqrt(d) exp(-(2k-1) sqrt eps); the published bound has 1.648.

    Args:
        dimension: d.
        iterations: k products; k >= d leaves no error.
        probability: that both inequalities hold.

    Returns:
        eps in [0, 1). An upper bound.

    Example:
        >>> round(relative_error(10**6, 60), 3), relative_error(60, 60)
        (0.011, 0.0)

    Reference:
        Kuczynski, Wozniakowski: Estimating the largest eigenvalue by the power and Lanczos algorithms with a random
        start, 1992, the probabilistic relative failure of the Lanczos algorithm (its constant recalled, not re-read).
    """
    dimension, iterations = _checks.count("dimension", dimension), _checks.count("iterations", iterations)
    q = least_overlap(dimension, _checks.between("probability", probability, 0, 1, closed="()"))
    if iterations >= dimension:
        return 0.0
    return float(np.tanh(np.arcsinh(np.sqrt(1 - q**2) / q) / (2 * iterations - 1)) ** 2)


@jax.jit(static_argnums=1)
def _krylov(hessian: Curvature, k: int, key: Key) -> tuple[Array, Array, Array, Array]:
    """At most k steps with full reorthogonalisation, done twice each; memory of k vectors.

    Returns:
        The number of steps; the coefficients of A q_j on q_0 ... q_j in row j, (k, k); the norms of what is left of it,
        (k,); the vectors q_j, (k, d).
    """
    d, dtype = hessian.dimension, hessian.dtype
    start = jax.random.normal(key, (d,), dtype)
    basis = jnp.zeros((k, d), dtype).at[0].set(start / jnp.linalg.norm(start))

    def step(carry: Any) -> Any:
        j, basis, coefficients, norms, _ = carry
        curved = hessian.product(basis[j])  # (d,)
        first = basis @ curved  # (k,); rows after j are still zero
        rest = curved - first @ basis
        second = basis @ rest
        rest = rest - second @ basis
        norm = jnp.linalg.norm(rest)
        basis = basis.at[j + 1].set(rest / jnp.where(norm > 0, norm, 1), mode="drop")
        leads_on = norm > 10 * jnp.finfo(dtype).eps * jnp.linalg.norm(curved)  # more than rounding, and a number
        return j + 1, basis, coefficients.at[j].set(first + second), norms.at[j].set(norm), leads_on

    going = lambda carry: (carry[0] < k) & carry[-1]
    carry = (jnp.zeros((), jnp.int32), basis, jnp.zeros((k, k), dtype), jnp.zeros(k, dtype), jnp.array(True))
    steps, basis, coefficients, norms, _ = jax.lax.while_loop(going, step, carry)
    return steps, coefficients, norms, basis
