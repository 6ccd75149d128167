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

This is with all vectors kept and reorthogonalised, k of them. Where they are more than `KEPT` numbers together, the
recurrence of three takes their place; `recurrence` has its bound, which does not need orthogonality.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import linalg

from theory_lab import _checks, blocks
from theory_lab._typing import Array, Key, Scalar
from theory_lab.measure.base import Measurement
from theory_lab.measure.smoothness import recurrence
from theory_lab.measure.smoothness.curvature import ROUNDINGS, Curvature
from theory_lab.measure.smoothness.overlap import least_overlap, relative_error

__all__ = [
    "Tridiagonal",
    "bottom",
    "extremes",
    "from_recurrence",
    "intervals",
    "keeps",
    "least_overlap",
    "lifted",
    "norm",
    "normal",
    "relative_error",
    "shared",
    "top",
    "tridiagonalise",
    "whole",
]
KEPT = 2 * 10**7  # numbers of a basis that is kept for reorthogonalisation: 160 MB of float64
LOOSE = 1e-12  # of the distance of an outer end from its Ritz value, by which it may lie too far out
ROOM = 40  # vectors that there is room for, so that runs of other lengths share a program
ROWS = 5  # vectors against which another one is made orthogonal at a time
NEARLY = 0.9  # of all coordinates: a block of so many is run as the whole, so that both share a program
LITTLE = 1024  # coordinates up to which every block is, since compiling takes longer than running
UNIT = 1.001  # a norm that is 1 up to the rounding of long single-precision sums


class Tridiagonal(NamedTuple):
    """The operator compressed to its Krylov space, in float64.

    Attributes:
        diagonal: alpha_1 ... alpha_m.
        off: beta_1 ... beta_m; the last leads out of the Krylov space, 0 where that is the whole space.
        rounding: how far the matrix may be from the exact one of a symmetric operator nearby.
        rows: a basis of the Krylov space, orthonormal, (m, d), and what there was room for below; None where it is not kept.
        disturbance: rho of `recurrence`, for vectors that are units without being orthogonal; None where they are both.
    """

    diagonal: np.ndarray
    off: np.ndarray
    rounding: float
    rows: Array | None = None
    disturbance: float | None = None

    @property
    def basis(self) -> Array | None:
        """Of the Krylov space, orthonormal rows (m, d)."""
        return None if self.rows is None else self.rows[: self.diagonal.size]

    @property
    def values(self) -> np.ndarray:
        """The Ritz values, increasing."""
        return linalg.eigvalsh_tridiagonal(self.diagonal, self.off[:-1])

    def ritz(self) -> tuple[np.ndarray, np.ndarray]:
        """The Ritz values, increasing, and their vectors' coordinates in the basis, a column for each."""
        return linalg.eigh_tridiagonal(self.diagonal, self.off[:-1])

    def vector(self, end: int) -> Array:
        """The unit Ritz vector of the smallest (end = 0) or largest (end = -1) Ritz value, (d,)."""
        assert self.rows is not None
        coefficients = np.zeros(len(self.rows))
        coefficients[: self.diagonal.size] = self.ritz()[1][:, end]
        return _sum(coefficients, self.rows)


def keeps(hessian: Curvature, iterations: int) -> bool:
    """Whether the basis is small enough to be kept and reorthogonalised against: at most `KEPT` numbers."""
    return min(iterations, hessian.dimension) * hessian.dimension <= KEPT


def tridiagonalise(hessian: Curvature, iterations: int, start: Array, *, keep: bool | None = None) -> Tridiagonal | None:
    """At most that many products from a start, a key for one uniform on the sphere; None where a product is not finite.

    A vector (d,) other than zero may stand for the key, if all vectors are kept: the Krylov space is then that vector's.

    Rounding is measured on the run itself. Row j of the coefficients holds A q_j on q_0 ... q_j, with exact products
    (0, ..., 0, beta_j, alpha_j). The norm of the difference tells how far the products are from symmetric; m machine
    epsilons, `ROUNDINGS` at least, are added for what is symmetric by chance.

    Args:
        hessian: the operator.
        iterations: products.
        start: a key, or a vector.
        keep: all vectors, for full reorthogonalisation; False for the recurrence of three. None keeps what is small.
    """
    k = min(iterations, hessian.dimension)
    if not (keeps(hessian, k) if keep is None else keep):
        return from_recurrence(hessian, recurrence.recur(hessian, k, start))
    if jax.dtypes.issubdtype(start.dtype, jax.dtypes.prng_key):
        start = normal(start, hessian.dimension, hessian.dtype)
    operator, inside = shared(hessian)
    found = _orthonormal(operator, inside, k, start)
    if found is None and operator is not hessian:  # 0 times what is not finite elsewhere says nothing of the block
        found = _orthonormal(hessian, slice(0, start.size), k, start)
    if found is None:
        return None
    coefficients, norms, rows = found
    m = norms.size
    diagonal = np.diag(coefficients)
    exact = np.diag(diagonal) + np.diag(norms[:-1], -1)
    size = np.abs(diagonal).max() + 2 * norms.max()
    rounding = float(np.linalg.norm(coefficients - exact) + max(m, ROUNDINGS) * hessian.precision * size)
    closing = 0.0 if m == hessian.dimension else np.hypot(norms[-1], rounding)
    return Tridiagonal(diagonal, np.append(norms[:-1], closing), rounding, rows)


def _orthonormal(operator: Curvature, inside: slice, k: int, start: Array) -> tuple[np.ndarray, np.ndarray, Array] | None:
    """`_krylov` from a start that lies in some coordinates of an operator: of as many steps as it took, if all is finite."""
    all_of = start.size == operator.dimension
    vector = start if all_of else lifted(start, operator.dimension, inside.start)
    *numbers, rows = _krylov(operator, _room(operator, k), k, vector)
    steps, coefficients, norms = jax.device_get(numbers)
    m = int(steps)
    coefficients, norms = coefficients[:m, :m].astype(np.float64), norms[:m].astype(np.float64)
    finite = np.isfinite(coefficients).all() and np.isfinite(norms).all()
    return (coefficients, norms, rows if all_of else rows[:m, inside]) if finite else None


def from_recurrence(hessian: Curvature, run: recurrence.Recurrence) -> Tridiagonal | None:
    """The same of a run without reorthogonalisation; what it shows of asymmetry beyond rounding disturbs every step."""
    m = int(run.steps)
    diagonal, off, skew = (np.asarray(part)[:m].astype(np.float64) for part in (run.diagonal, run.off, run.skew))
    if not (np.isfinite(diagonal).all() and np.isfinite(off).all()):
        return None
    unit = hessian.precision * (np.abs(diagonal).max() + 2 * off.max())
    rounding = float(np.linalg.norm(skew) + m * unit)
    disturbance = float(4 * unit / np.sqrt(hessian.dimension) + max(np.abs(skew).max() - 4 * unit, 0.0))
    return Tridiagonal(diagonal, np.append(off[:-1], np.hypot(off[-1], rounding)), rounding, disturbance=disturbance)


def extremes(
    hessian: Curvature, key: Key, iterations: int, probability: float, *, keep: bool | None = None
) -> tuple[Measurement, Measurement, Tridiagonal] | None:
    """The smallest and the largest eigenvalue with their intervals, and the Krylov space that tells them.

    Returns:
        None where a product is not finite.

    Raises:
        ValueError: not a single key, iterations < 1, a probability outside (0, 1).
    """
    _checks.key("key", key)
    _checks.count("iterations", iterations)
    probability = _checks.between("probability", probability, 0, 1, closed="()")
    matrix = tridiagonalise(hessian, iterations, key, keep=keep)
    return None if matrix is None else (*intervals(matrix, hessian.dimension, probability), matrix)


def intervals(matrix: Tridiagonal, dimension: int, probability: float) -> tuple[Measurement, Measurement]:
    """The smallest and the largest eigenvalue: Ritz values, and bounds that hold together with that probability."""
    overlap, r, spent = least_overlap(dimension, probability), matrix.rounding, matrix.diagonal.size
    (lowest, below), (highest, above) = bottom(matrix, overlap), top(matrix, overlap)
    return (
        Measurement("lowest eigenvalue", lowest, below - r, lowest + r, 1, products=spent),
        Measurement("highest eigenvalue", highest, highest - r, above + r, 1, products=spent),
    )


def norm(low: Measurement, high: Measurement) -> Measurement:
    """The spectral norm, max |lambda|, from both ends of a spectrum."""
    value = max(abs(low.value), abs(high.value))
    inside, outside = max(-low.high, high.low, 0.0), max(-low.low, high.high)
    return Measurement("norm", value, inside, outside, 1, products=high.products)


def top(matrix: Tridiagonal, overlap: float) -> tuple[float, float]:
    """The largest Ritz value, and a bound on the largest eigenvalue, given the least overlap of start and eigenvector.

    Lanczos polynomials by their recurrence, beta_{j+1} phi_{j+1} = (x - alpha_{j+1}) phi_j - beta_j phi_{j-1};
    bisection finds where their squares add up to 1/overlap^2, or where `recurrence` excludes x; of the last bracket the end
    that is excluded is the bound.

    The weight of the top Ritz value (of all that rounding cannot tell from it) is at least that of any eigenvalue beyond.
    Where it refutes the overlap or nearly so, the start is one of the unlucky few; half the overlap it leaves is taken
    then, rather than an empty interval.
    """
    off = matrix.off
    values, vectors = matrix.ritz()
    inside, step = float(values[-1]), float(off.max())
    if off[-1] == 0:
        return inside, inside
    weight = float(np.sum(vectors[0, values >= values[-1] - matrix.rounding] ** 2))
    least = float(min(overlap, max(weight, np.finfo(np.float64).eps ** 2) ** 0.5 / 2))  # less weight is rounding
    steps = list(zip(matrix.diagonal.tolist(), off.tolist(), strict=True))  # Python's numbers, several times faster
    rho = matrix.disturbance
    excluded = lambda x: _beyond_orthonormal(steps, x, least) if rho is None else _beyond_unit(steps, x, least, rho)
    while not excluded(inside + step):
        step *= 2
    low, high = inside, inside + step
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if excluded(middle) else (middle, high)
        if high - low <= LOOSE * (high - inside):
            break
    return inside, high


def _beyond_orthonormal(steps: list[tuple[float, float]], x: float, overlap: float) -> bool:
    """Whether the squares of the polynomials at x add up to more than 1/overlap^2, by their (alpha_j, beta_j)."""
    most = overlap**-2
    before, now, back, total = 0.0, 1.0, 0.0, 1.0
    for alpha, beta in steps:
        before, now, back = now, ((x - alpha) * now - back * before) / beta, beta
        total += now * now
        if total > most:
            return True
    return False


def _beyond_unit(steps: list[tuple[float, float]], x: float, overlap: float, disturbance: float) -> bool:
    """Whether some phi_j(x) (overlap - E_j(x)) is more than the norm of a vector that is a unit up to rounding."""
    before, now, back, total, lost = 0.0, 1.0, 0.0, 1.0, 0.0
    for alpha, beta in steps:
        before, now, back = now, ((x - alpha) * now - back * before) / beta, beta
        if now <= 0:
            return False  # not beyond all Ritz values
        lost += disturbance * total / beta / before / now
        total += now
        if now * (overlap - lost) > UNIT:
            return True
    return False


def bottom(matrix: Tridiagonal, overlap: float) -> tuple[float, float]:
    """`top` for the other end: the smallest Ritz value and the bound below it."""
    value, bound = top(matrix._replace(diagonal=-matrix.diagonal), overlap)
    return -value, -bound


def shared(hessian: Curvature) -> tuple[Curvature, slice]:
    """The operator that is run, and where in it the coordinates lie: `whole` of a block that is large, small or asks."""
    leaves = jax.tree.leaves(hessian.params)
    every, mixed = sum(leaf.size for leaf in leaves), len({leaf.dtype for leaf in leaves}) > 1
    alone = every > LITTLE and hessian.dimension < NEARLY * every and not hessian.as_whole
    return (hessian, slice(0, hessian.dimension)) if alone or mixed else whole(hessian)


def whole(hessian: Curvature) -> tuple[Curvature, slice]:
    """A block as the whole with scales 0 outside of it, and where in that its coordinates lie: one program for all."""
    if (label := hessian.block) is None:
        return hessian, slice(0, hessian.dimension)
    before = sum(blocks.size(part) for other, part in hessian.params.items() if other < label)
    scales = {other: scale if other == label else 0.0 for other, scale in hessian.scales.items()}
    return replace(hessian, block=None, scales=scales, as_whole=False), slice(before, before + hessian.dimension)


def _room(hessian: Curvature, k: int) -> int:
    """For how many vectors a run of k has room."""
    room = ROOM if k <= ROOM and ROOM * hessian.dimension <= KEPT else k
    return -(-room // ROWS) * ROWS


@jax.jit(static_argnums=(1, 2))
def normal(key: Key, size: int, dtype: Any) -> Array:
    """Independent standard normals, (size,)."""
    return jax.random.normal(key, (size,), dtype)


@jax.jit(static_argnums=(1, 2))
def lifted(part: Array, size: int, before: int) -> Array:
    """A vector with zeros before and behind it."""
    return jnp.pad(part, (before, size - before - part.size))


@jax.jit
def _sum(coefficients: Array, rows: Array) -> Array:
    return coefficients.astype(rows.dtype) @ rows


@jax.jit(static_argnums=1)
def _krylov(hessian: Curvature, room: int, k: Scalar, start: Array) -> tuple[Array, Array, Array, Array]:
    """At most k steps with full reorthogonalisation, done twice each; memory of K = ``room`` vectors, K >= k.

    Once, even after the last two vectors, does not do: where a product is rounding alone, of a spectrum that ends below it,
    nearly all of it lies in the basis, and what is left of that comes back as a second copy of the largest eigenvalue.

    Returns:
        The number of steps; the coefficients of A q_j on q_0 ... q_j in row j, (K, K); the norms of what is left of it,
        (K,); the vectors q_j, (K, d).
    """
    dtype, product = hessian.dtype, hessian.products()
    basis = jnp.zeros((room, hessian.dimension), dtype).at[0].set(start / jnp.linalg.norm(start))

    def step(carry: Any) -> Any:
        j, basis, coefficients, norms, _ = carry
        curved = product(basis[j])  # (d,)
        first, rest = _apart(basis, j + 1, curved)
        second, rest = _apart(basis, j + 1, rest)
        norm = recurrence.length(rest)
        basis = basis.at[j + 1].set(rest / jnp.where(norm > 0, norm, 1), mode="drop")
        leads_on = norm > 10 * jnp.finfo(dtype).eps * recurrence.length(curved)  # more than rounding, and a number
        return j + 1, basis, coefficients.at[j].set(first + second), norms.at[j].set(norm), leads_on

    going = lambda carry: (carry[0] < k) & carry[-1]
    empty = jnp.zeros((room, room), dtype)
    carry = (jnp.zeros((), jnp.int32), basis, empty, empty[0], jnp.array(True))
    steps, basis, coefficients, norms, _ = jax.lax.while_loop(going, step, carry)
    return steps, coefficients, norms, basis


def _apart(basis: Array, count: Scalar, vector: Array) -> tuple[Array, Array]:
    """What a vector has of the first ``count`` rows of a basis, (K,), and what is left of it; later rows are zero."""

    def some(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        held, rest = carry
        rows = jax.lax.dynamic_slice_in_dim(basis, i * ROWS, ROWS)
        parts = rows @ rest
        return jax.lax.dynamic_update_slice_in_dim(held, parts, i * ROWS, 0), rest - parts @ rows

    return jax.lax.fori_loop(0, (count + ROWS - 1) // ROWS, some, (jnp.zeros(len(basis), vector.dtype), vector))
