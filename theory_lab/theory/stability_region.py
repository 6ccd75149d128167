"""Where the stable region of `quadratic` ends: its boundary, closed forms, and boxes that lie inside it.

The stable region is star-shaped. Proof: on the ray t (eta_x, eta_y) the modes of P^1/2 H P^1/2 stay and their eigenvalues
are k = t k0. The weights of the noise gain are s_ij^2 = 1/(a_i + a_j) with a = 1/k - 1/2 > 0, and their derivative,
t ds_ij^2/dt = 1/(a_i + a_j) + 1/(a_i + a_j)^2, is a positive semidefinite (Cauchy) matrix. By Schur's product theorem the
operator of the gain grows with t in the order of the cone, and with it the gain.

Reference: theory_lab, Theorem 5.
"""

import math
from functools import cache
from typing import Any

import numpy as np

from theory_lab import _checks
from theory_lab.theory._matrices import leading_block, symmetric
from theory_lab.theory.base import Pair, pair
from theory_lab.theory.moments import variance_factor
from theory_lab.theory.quadratic import ROUNDING, increasing_root, noise_gain


def boundary_on_ray(hessian: Any, zeroth_dimension: int, ray: Pair, *, directions: int = 1, law: str = "gaussian") -> Pair:
    """Where a ray from the origin leaves the stable region: t (ray_x, ray_y), stable for smaller t and unstable for larger.

    Setting: as in `is_stable`; unique because the region is star-shaped (see the module), so a sweep over directions draws
    the whole boundary. Guarantee: exact, to about 1e-12.

    Args:
        hessian: (d, d) symmetric.
        zeroth_dimension: size of the zeroth-order block.
        ray: (r_x, r_y), nonnegative and not both zero; only the ratio matters.
        directions: q.
        law: "gaussian", "rademacher" or "sphere".

    Returns:
        The pair of step sizes; (0, 0) if H is indefinite on the moving blocks, infinite where nothing limits it.

    Raises:
        ValueError: as in `is_stable`; a ray of length zero.

    Example:
        >>> tuple(round(eta, 9) for eta in boundary_on_ray([[1.0, 0.0], [0.0, 1.0]], 1, (1.0, 1.0)))
        (0.666666667, 0.666666667)
    """
    ray = pair("ray", ray)
    if max(ray) == 0:
        raise _checks.refuse("ray", "not zero in both blocks", ray)
    matrix = symmetric("hessian", hessian)
    root = np.sqrt(np.where(np.arange(matrix.shape[0]) < leading_block(zeroth_dimension, matrix.shape[0]), *ray))
    k = np.linalg.eigvalsh(root[:, None] * matrix * root)
    if k[0] < -ROUNDING * np.abs(k).max():
        return 0.0, 0.0
    if k[-1] <= 0:
        return tuple(math.inf if r else 0.0 for r in ray)  # type: ignore[return-value]
    last = 2 / float(k[-1])

    def excess(scale: float) -> float:
        steps = (scale * ray[0], scale * ray[1])
        return _bounded(noise_gain(matrix, zeroth_dimension, steps, directions=directions, law=law) - 1)

    scale = increasing_root(excess, 0.0, last)
    return scale * ray[0], scale * ray[1]


def step_size_boundary(
    hessian: Any,
    zeroth_dimension: int,
    step_sizes: tuple[float | None, float | None],
    *,
    directions: int = 1,
    law: str = "gaussian",
) -> float:
    """The largest stable step size of one block, given the other's.

    Setting: as in `is_stable`, H positive semidefinite. Coupling can raise the x-limit above its value at eta_y = 0, so the
    stable eta_y of a given eta_x may begin above 0; the upper end is returned. Guarantee: exact, to about 1e-12, if the
    stable set is an interval (so in every problem tried; measured, not proved) no narrower than 1/64 of (0, 2/l_max).

    Args:
        hessian: (d, d) symmetric.
        zeroth_dimension: size of the zeroth-order block.
        step_sizes: (eta_x, eta_y), one of them None: the one asked for.
        directions: q.
        law: "gaussian", "rademacher" or "sphere".

    Returns:
        The limit; 0 if no step size is stable, inf if all are.

    Raises:
        ValueError: as in `is_stable`; none or both of the step sizes are None.

    Example:
        >>> round(step_size_boundary([[1.0, 0.0], [0.0, 4.0]], 1, (None, 0.4)), 9)
        0.666666667
    """
    rule = "a pair with exactly one None"
    try:
        given = [step for step in step_sizes if step is not None]
        asked = [i for i, step in enumerate(step_sizes) if step is None]
    except TypeError:
        raise _checks.refuse("step_sizes", rule, step_sizes) from None
    if len(given) != 1 or len(asked) != 1:
        raise _checks.refuse("step_sizes", rule, step_sizes)
    other = _checks.nonnegative("step_sizes", given[0])
    matrix = symmetric("hessian", hessian)
    size = leading_block(zeroth_dimension, matrix.shape[0])
    block = matrix[:size, :size] if asked[0] == 0 else matrix[size:, size:]
    top = float(np.linalg.eigvalsh(block)[-1]) if block.size else 0.0
    largest = float(np.abs(matrix).max())
    moving = block if other == 0 else matrix
    if moving.size and np.linalg.eigvalsh(moving)[0] < -ROUNDING * largest:
        return 0.0

    @cache
    def excess(step: float) -> float:
        steps = (step, other) if asked[0] == 0 else (other, step)
        return _bounded(noise_gain(matrix, size, steps, directions=directions, law=law) - 1)

    if top <= ROUNDING * largest:
        return math.inf if excess(0.0) < 0 else 0.0
    ceiling = 2 / top
    if excess(0.0) < 0:
        return increasing_root(excess, 0.0, ceiling)
    grid = np.linspace(0.0, ceiling, 65)[1:-1]
    best = min(grid, key=excess)
    return increasing_root(excess, float(best), ceiling) if excess(float(best)) < 0 else 0.0


def rank_one_limit(first_order_product: float, *, directions: int = 1) -> float:
    """The limit of alpha = eta_x |k_x|^2 on f = (k'z)^2/2, given beta = eta_y |k_y|^2; gaussian law.

        alpha* = [(1 - beta) + sqrt((1 - beta)^2 + m beta (2 - beta))] / m,   m = 1 + 2/q

    Setting: rank-one Hessian, fully coupled blocks; at q = 1 the root is sqrt(1 + 4 beta - 2 beta^2). Guarantee: exact.
    Proof: w = k'z is multiplied by 1 - beta - alpha xi with E xi = 1, E xi^2 = m.

    Args:
        first_order_product: beta in [0, 2].
        directions: q.

    Raises:
        ValueError: beta outside [0, 2], fewer than one direction.

    Example:
        >>> round(rank_one_limit(0.0), 9), rank_one_limit(2.0)
        (0.666666667, 0.0)
    """
    beta = _checks.between("first_order_product", first_order_product, 0, 2)
    m = 1 + 2 / _checks.count("directions", directions)
    return ((1 - beta) + math.sqrt((1 - beta) ** 2 + m * beta * (2 - beta))) / m


def hybrid_smoothness_box(smoothness: Pair, dimension: int, *, directions: int = 1, law: str = "gaussian") -> Pair:
    """Step sizes that are safe for every problem in the class, in any order, coupled or not, whatever n.

        eta_x <= 2 / (L_x kappa),  eta_y <= 2 / L_y,   kappa = (d+q+1)/q gaussian, (d+q-1)/q sphere and signs

    Setting: components with a common minimiser and 0 <= H_i <= diag(L_x I, L_y I). Guarantee: upper bound: within the
    (closed) box E||z - z*||^2 in the norm P^-1 never increases. Attained for H_xx = L_x I without coupling, and in the
    pure-y direction. Proof: E||(I - P Gam H)z||^2 = z'(P^-1 - 2H + HQH)z with Q = diag(eta_x kappa I, eta_y I), and HQH <=
    2H iff Q^1/2 H Q^1/2 <= 2.

    Args:
        smoothness: (L_x, L_y), positive.
        dimension: d of the zeroth-order block.
        directions: q.
        law: "gaussian", "rademacher" or "sphere".

    Example:
        >>> hybrid_smoothness_box((1.0, 4.0), 8)
        (0.2, 0.5)
    """
    smooth_x, smooth_y = pair("smoothness", smoothness, positive=True)
    return 2 / (smooth_x * (1 + variance_factor(dimension, directions=directions, law=law))), 2 / smooth_y


def _bounded(excess: float) -> float:
    """Map [-1, inf] onto [-1, 1] monotonically, 0 to 0: root finders want finite values."""
    return 1.0 if excess == math.inf else excess / (2 + excess)
