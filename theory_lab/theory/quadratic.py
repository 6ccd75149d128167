"""Mean-square stability of hybrid zeroth/first-order gradient descent on quadratics: when do the steps contract?

Setting: f(z) = z'Hz/2, z = (x, y), x the leading coordinates; z+ = z - P ghat, P = diag(eta_x I, eta_y I), where ghat_x is
the two-point estimate of grad_x f (radius 0, or any radius two-sided) and ghat_y is exact. Gradient noise and a finite
radius only add a constant to the second moment: they move the floor, not the stability. With components that share H the
answer is the same for every ordering; components with Hessians of their own are in `heterogeneous`.

In the modes of K = P^1/2 H P^1/2 = U diag(k) U', with F the x-rows of U and N the `CovarianceMap`, the second moment
X = U'P^-1/2 E[zz'] P^-1/2 U follows

    X+ = (I - k) X (I - k) + F' N(F k X k F') F.

Modes with k = 0 feed nothing back: they are dropped, and what is said here is about w = P^1/2 grad f(z), the gradient of
the blocks that move. *Stable* means that E||w||^2 vanishes geometrically from every start. So along the kernel of H the
iterates may stay where they are, and a block with step size 0 is held fixed and drops out.

Criterion. Stable if and only if 0 < k < 2 for all modes and the noise gain is below 1: the spectral radius of the map

    X -> F' N(F k X k F') F / (k_i + k_j - k_i k_j),   divided entry by entry.

Proof: the recursion is L = T + M with maps T and M that keep the cone of positive semidefinite matrices; I - T is the
entrywise product with k_i + k_j - k_i k_j, and its inverse, the sum of T^m, keeps the cone too. So I - L = (I - T) - M is a
regular splitting: rho(L) < 1 iff rho((I - T)^-1 M) < 1 (Krein-Rutman). With s_ij^2 = k_i k_j / (k_i + k_j - k_i k_j) the
gain is the largest eigenvalue of the self-adjoint X -> s o F'N(F (s o X) F')F, which Lanczos finds in a few dozen matrix
products.

Reference: theory_lab, Theorem 5. The secular equation for one Gaussian direction was found independently by Song, Zhang,
Li, He, Muehlebach & Oh, "Zeroth-Order Optimization at the Edge of Stability", arXiv 2604.14669 (abstract read).
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from scipy import optimize
from scipy.sparse.linalg import LinearOperator, eigs, eigsh

from theory_lab import _checks
from theory_lab.theory._matrices import leading_block, symmetric
from theory_lab.theory.base import Pair, pair
from theory_lab.theory.moments import CovarianceMap, covariance_map

_DENSE = 5  # modes up to which an operator on matrices is written out instead of iterated on
ROUNDING = 1e-13  # relative size below which an eigenvalue is rounding


def step_size_limit(eigenvalues: Any, *, directions: int = 1, law: str = "gaussian") -> float:
    """The step size at which pure zeroth-order descent loses mean-square stability; the root of the secular equation

        sum_j (a/q) eta l_j / (2 - A eta l_j) = 1,   A = 1 + (b - c)/q,   below 2 / (A l_max),

    with a, b, c of `moments`: sum eta l / (2q - (q+1) eta l) = 1 for the gaussian law, eta = 2 / tr H for one direction of
    signs.

    Setting: f = x'Hx/2, no first-order block; for the rademacher law H is diagonal in the coordinates whose signs are drawn
    (the law is not rotation invariant: else use `is_stable`). Stable below the limit, unstable above. Guarantee: exact.

    Proof. The diagonal of E xx' in H's eigenbasis obeys s_i+ = (1 - 2 eta l_i + A eta^2 l_i^2) s_i + (a/q) eta^2 sum_j
    l_j^2 s_j, a nonnegative matrix, and bounds the rest by Cauchy-Schwarz; I minus it is diag(eta l_i (2 - A eta l_i))
    minus rank one, an M-matrix iff the diagonal is positive and the sum below 1.

    Args:
        eigenvalues: spectrum of H, shape (d,), nonnegative. Zeros put no limit; they count in d, on which the sphere
            depends.
        directions: q.
        law: "gaussian", "rademacher" or "sphere".

    Returns:
        The limit; inf if all eigenvalues are zero.

    Raises:
        ValueError: no eigenvalue, a negative one, fewer than one direction, an unknown law.

    Example:
        >>> [round(step_size_limit([3.0, 1.0, 0.5, 0.1], law=law), 8) for law in ("gaussian", "sphere", "rademacher")]
        [0.20542453, 0.30813679, 0.43478261]
    """
    spectrum = _checks.array("eigenvalues", eigenvalues, ndim=1)
    if spectrum.min() < 0:
        raise _checks.refuse("eigenvalues", "nonnegative", float(spectrum.min()))
    gain = covariance_map(law, spectrum.size, directions)
    top = float(spectrum.max())
    if top == 0:
        return math.inf
    shares = spectrum[spectrum > 0] / top
    own = 1 + gain.direct - gain.diagonal
    low, high = 2 / (own + gain.trace * float(shares.sum())), 2 / (own + gain.trace)

    def excess(relative: float) -> float:
        return gain.trace * float(np.sum(relative * shares / (2 - own * relative * shares))) - 1

    return increasing_root(excess, low, high) / top


def is_stable(hessian: Any, zeroth_dimension: int, step_sizes: Pair, *, directions: int = 1, law: str = "gaussian") -> bool:
    """Whether the hybrid method is mean-square stable: E||grad_b f||^2 -> 0 geometrically in every block that moves.

    Setting and criterion: see the module. Guarantee: exact, up to rounding: eigenvalues of P^1/2 H P^1/2 below 1e-13 of the
    largest count as zero. A negative eigenvalue of H between blocks that move is never stable.

    Args:
        hessian: (d, d) symmetric.
        zeroth_dimension: the first this many coordinates are the zeroth-order block; 0 (all exact) to d (none).
        step_sizes: (eta_x, eta_y), nonnegative; a block with step size 0 is held fixed (nothing moves at (0, 0): stable).
        directions: q.
        law: "gaussian", "rademacher" or "sphere".

    Raises:
        ValueError: a Hessian that is not symmetric, more zeroth-order coordinates than coordinates, negative step sizes,
            fewer than one direction, an unknown law.

    Example:
        >>> hessian = [[1.0, 0.5], [0.5, 1.0]]
        >>> is_stable(hessian, 1, (0.6, 0.5)), is_stable(hessian, 1, (0.9, 0.5))
        (True, False)
    """
    return noise_gain(hessian, zeroth_dimension, step_sizes, directions=directions, law=law) < 1


def noise_gain(
    hessian: Any, zeroth_dimension: int, step_sizes: Pair, *, directions: int = 1, law: str = "gaussian"
) -> float:
    """How much second moment the direction noise feeds back per unit: stable below 1, inf where the mean does not contract.

    Setting, arguments and errors as in `is_stable`. Guarantee: exact.

    Example:
        >>> round(noise_gain([[1.0]], 1, (0.5, 0.0)), 12)
        0.666666666667
    """
    k, rows, gain = _door(hessian, zeroth_dimension, step_sizes, directions, law)
    if k.size and (k.min() < 0 or k.max() >= 2):
        return math.inf
    return _gain(k, rows, gain, _loss(k))


def noise_gain_bracket(hessian: Any, zeroth_dimension: int, step_sizes: Pair, *, directions: int = 1) -> Pair:
    """Two-sided bounds (S0/q, 2 S0/q) on the noise gain of the gaussian law, without an eigenvalue problem on matrices.

        S0 = sum_ij (F'F)_ij^2 k_i k_j / (k_i + k_j - k_i k_j)

    Guarantee: lower and upper bound; (inf, inf) where the mean does not contract. Proof: tr(G) I <= N(G) <= 2 tr(G) I, and
    with tr(G) I for N the gain has rank one. Setting, arguments and errors as in `is_stable`.

    Example:
        >>> noise_gain_bracket([[1.0]], 1, (1.0, 0.0))
        (1.0, 2.0)
    """
    k, rows, _ = _door(hessian, zeroth_dimension, step_sizes, directions, "gaussian")
    if k.size and (k.min() < 0 or k.max() >= 2):
        return math.inf, math.inf
    low = float(np.sum((rows.T @ rows) ** 2 * np.multiply.outer(k, k) / _loss(k))) / directions
    return low, 2 * low


def growth_factor(
    hessian: Any, zeroth_dimension: int, step_sizes: Pair, *, directions: int = 1, law: str = "gaussian"
) -> float:
    """The factor by which E||grad f||^2 of the moving blocks grows per step in the long run: a spectral radius.

    Below 1 exactly where `is_stable`, which resolves the boundary more sharply. Setting, arguments and errors as in
    `is_stable`; 0 if nothing moves. Guarantee: exact, to 1e-12; for an indefinite H too. It is the r above
    max (1 - k)^2 at which the noise gain with r - (1 - k_i)(1 - k_j) in the denominator is 1, or max (1 - k)^2 if none is.

    Example:
        >>> round(growth_factor([[1.0]], 1, (0.1, 0.0)), 12)  # (1 - eta)^2 + 2 eta^2
        0.83
    """
    k, rows, gain = _door(hessian, zeroth_dimension, step_sizes, directions, law)
    if k.size == 0:
        return 0.0
    survival = np.multiply.outer(1 - k, 1 - k)
    slowest = float(survival.max())
    gaps = slowest - survival

    def excess(log_margin: float) -> float:
        return 1 - _gain(k, rows, gain, math.exp(log_margin) + gaps)

    low, high = math.log(1e-13 * max(slowest, 1.0)), 0.0
    if excess(low) >= 0:
        return slowest
    while excess(high) < 0:
        high += 1
    return slowest + math.exp(increasing_root(excess, low, high))


def _door(
    hessian: Any, zeroth_dimension: int, step_sizes: Any, directions: int, law: str
) -> tuple[np.ndarray, np.ndarray, CovarianceMap]:
    """Check the arguments; the nonzero eigenvalues k (m,) of P^1/2 H P^1/2, the x-rows F (p, m) of their vectors, and N."""
    matrix = symmetric("hessian", hessian)
    size = leading_block(zeroth_dimension, matrix.shape[0])
    eta_x, eta_y = pair("step_sizes", step_sizes)
    gain = covariance_map(law, size, directions)
    root = np.sqrt(np.where(np.arange(matrix.shape[0]) < size, eta_x, eta_y))
    k, vectors = np.linalg.eigh(root[:, None] * matrix * root)
    moving = np.abs(k) > ROUNDING * np.abs(k).max()
    rows = vectors[:size, moving] if eta_x > 0 else np.zeros((0, int(moving.sum())))
    return k[moving], rows, gain


def _loss(k: np.ndarray) -> np.ndarray:
    """k_i + k_j - k_i k_j = 1 - (1 - k_i)(1 - k_j): what the mean step takes from the second moment."""
    return np.add.outer(k, k) - np.multiply.outer(k, k)


def _gain(k: np.ndarray, rows: np.ndarray, gain: CovarianceMap, loss: np.ndarray) -> float:
    """Spectral radius of X -> F'N(F k X k F')F / loss for a positive loss; self-adjoint once scaled if k has one sign."""
    if rows.size == 0:
        return 0.0
    products = np.multiply.outer(k, k)
    definite = bool(products.min() > 0)
    left, right = (np.sqrt(products / loss),) * 2 if definite else (1 / loss, products)

    def feedback(matrix: np.ndarray) -> np.ndarray:
        return left * (rows.T @ gain(rows @ (right * matrix) @ rows.T) @ rows)

    return _largest_eigenvalue(feedback, left * (rows.T @ rows), self_adjoint=definite)


def _largest_eigenvalue(apply: Callable[[np.ndarray], np.ndarray], start: np.ndarray, *, self_adjoint: bool) -> float:
    """Spectral radius of a map that keeps a cone of symmetric matrices with `start` inside: its largest eigenvalue."""
    m = start.shape[0]

    def flat(vector: np.ndarray) -> np.ndarray:
        matrix = vector.reshape(m, m)
        return apply((matrix + matrix.T) / 2).ravel()

    if m <= _DENSE:
        dense = np.stack([flat(unit) for unit in np.eye(m * m)], axis=1)
        return float(np.linalg.eigvalsh(dense)[-1] if self_adjoint else np.linalg.eigvals(dense).real.max())
    if not flat(start).any():
        return 0.0  # such a map is zero, which Arnoldi's method refuses
    operator = LinearOperator((m * m, m * m), matvec=flat, dtype=np.float64)
    if self_adjoint:
        return float(eigsh(operator, k=1, which="LA", v0=start.ravel(), return_eigenvectors=False)[0])
    return float(eigs(operator, k=1, which="LR", v0=start.ravel(), return_eigenvectors=False)[0].real)


def increasing_root(function: Callable[[float], float], low: float, high: float) -> float:
    """The root of an increasing function on [low, high], to a few units in the last place; an end if rounding hides it."""
    function = cache(function)  # both ends are asked for twice
    if function(low) >= 0:
        return low
    if function(high) <= 0:
        return high
    return float(optimize.brentq(function, low, high, xtol=1e-300, rtol=4 * np.finfo(float).eps, maxiter=1000))
