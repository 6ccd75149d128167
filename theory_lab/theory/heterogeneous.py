"""Exact moments of hybrid SGD on quadratic components with Hessians of their own, for every ordering.

Setting: f_i(z) = z'H_i z/2 - b_i'z, any symmetric H_i; a step on component i is z+ = z - P ghat, ghat_x two-point, ghat_y
exact. With A_i = I - P H_i, the moments m = E z and M = E zz' follow

    m+ = A_i m + P b_i,   M+ = A_i M A_i' + A_i m b_i'P + P b_i m'A_i' + P b_i b_i'P + S_i,

where S_i is the direction noise for the gradient moment H_i M H_i - H_i m b_i' - b_i m'H_i + b_i b_i'. That is one linear
map T_i on the vector (1, m, vec M). An epoch is

    with replacement    the average of the T_i, to the power n for an epoch;
    reshuffling         the average of T_{pi_n} ... T_{pi_1} over all orderings, by the recursion over multisets c
                        E(c) = sum_i (c_i/|c|) T_i E(c - e_i): the last step is of type i with probability c_i/|c|;
    incremental         T_n ... T_1.

The recursion visits prod (c_i + 1) multisets instead of n! orderings: two types with 80 copies each are no harder than 12
different components.

Guarantee of all functions: exact. Shuffling once has no epoch map: its order is part of the state.

Example:
    Two components with curvatures 1 and 3 and gradients 1 and -1 at the minimiser: the mean moves towards the steeper one.

    >>> maps = component_maps([[[1.0]], [[3.0]]], [[-1.0], [1.0]], 0, (0.0, 0.1))
    >>> float(stationary_moments(epoch_map(maps, "random_reshuffling")).mean[0].round(4))
    0.027
"""

import itertools
import math
from typing import Any

import numpy as np
from scipy import optimize

from theory_lab import _checks
from theory_lab.theory._matrices import leading_block, symmetric
from theory_lab.theory.base import Pair, pair
from theory_lab.theory.dynamics import Moments
from theory_lab.theory.moments import covariance_map, radius_covariance

ORDERINGS = ("with_replacement", "random_reshuffling", "incremental")


def component_maps(
    hessians: Any,
    linear_terms: Any,
    zeroth_dimension: int,
    step_sizes: Pair,
    *,
    directions: int = 1,
    law: str = "gaussian",
    radius: float = 0.0,
    sided: int = 1,
) -> np.ndarray:
    """One step on each component, as a matrix acting on (1, m, vec M).

    Args:
        hessians: (n, d, d), each symmetric.
        linear_terms: b, (n, d).
        zeroth_dimension: size of the x-block, the leading coordinates.
        step_sizes: (eta_x, eta_y), nonnegative.
        directions: q.
        law: "gaussian", "rademacher" or "sphere".
        radius: mu.
        sided: 1 or 2.

    Returns:
        (n, D, D) with D = 1 + d + d^2.

    Raises:
        ValueError: shapes that do not fit, Hessians that are not symmetric, and what `radius_covariance` refuses.
    """
    stack = _checks.array("hessians", hessians, ndim=3)
    h = np.stack([symmetric(f"hessians[{i}]", matrix) for i, matrix in enumerate(stack)])
    n, d = h.shape[:2]
    b = _checks.array("linear_terms", linear_terms, ndim=2)
    if b.shape != (n, d):
        raise ValueError(f"linear_terms must be an array of shape ({n}, {d}), got one of shape {b.shape}")
    size = leading_block(zeroth_dimension, d)
    eta_x, eta_y = pair("step_sizes", step_sizes)
    gain = covariance_map(law, size, directions)
    p = np.where(np.arange(d) < size, eta_x, eta_y)
    maps = np.empty((n, 1 + d + d * d, 1 + d + d * d))
    for i in range(n):
        block = h[i, :size, :size]
        extra = radius_covariance(block, radius, directions=directions, law=law, sided=sided) if size else block
        for column, unit in enumerate(np.eye(1 + d + d * d)):
            one, mean, second = unit[0], unit[1 : 1 + d], unit[1 + d :].reshape(d, d)
            target = one * np.outer(b[i], b[i])
            mixed = h[i] @ np.outer(mean, b[i])
            gradient = h[i] @ second @ h[i] - mixed - mixed.T + target
            after = second - p[:, None] * (h[i] @ second - np.outer(b[i], mean))
            after -= (second @ h[i] - np.outer(mean, b[i])) * p
            after += p[:, None] * gradient * p
            after[:size, :size] += eta_x**2 * (gain(gradient[:size, :size]) + one * extra)
            moved = mean - p * (h[i] @ mean - one * b[i])
            maps[i, :, column] = np.concatenate(([one], moved, after.ravel()))
    return maps


def epoch_map(maps: Any, ordering: str, *, counts: Any = None) -> np.ndarray:
    """The moments after one epoch, as one matrix acting on (1, m, vec M).

    Args:
        maps: (n, D, D) from `component_maps`.
        ordering: "with_replacement", "random_reshuffling" or "incremental" (the components as they stand, copies in a row).
        counts: how many copies of each component the sum holds, shape (n,); None is one each.

    Returns:
        (D, D).

    Raises:
        ValueError: an unknown ordering, or counts that are not one whole positive number per component.
    """
    stack = _checks.array("maps", maps, ndim=3)
    _checks.choice("ordering", ordering, ORDERINGS)
    copies = _copies(counts, len(stack))
    if ordering == "with_replacement":
        return np.linalg.matrix_power(np.average(stack, axis=0, weights=copies), sum(copies))
    if ordering == "incremental":
        return _product(stack, copies)
    return _average_over_orderings(stack, copies)


def advance(epoch: Any, moments: Moments) -> Moments:
    """The moments after one epoch, of a map from `epoch_map`, or after one step, of one from `component_maps`.

    Args:
        epoch: (D, D).
        moments: mean (d,) and second moment (d, d) before.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> step = component_maps([[[1.0]]], [[0.0]], 1, (0.1, 0.0))[0]
        >>> advance(step, Moments(np.ones(1), np.ones((1, 1)))).second.round(6)
        array([[0.83]])
    """
    matrix, d = _epoch(epoch)
    _checks.instance("moments", moments, Moments, "Moments(mean, second)")
    mean, second = _checks.array("the mean", moments[0], ndim=1), _checks.array("the second moment", moments[1], ndim=2)
    if mean.shape != (d,) or second.shape != (d, d):
        raise _checks.refuse("moments", f"of dimension {d}, as the map is", f"shapes {mean.shape} and {second.shape}")
    after = matrix @ np.concatenate(([1.0], mean, second.ravel()))
    return Moments(after[1 : 1 + d], after[1 + d :].reshape(d, d))


def stationary_moments(epoch: Any) -> Moments:
    """The stationary moments at epoch starts, of a map from `epoch_map`.

    Raises:
        ValueError: a map that does not contract.
    """
    matrix, d = _epoch(epoch)
    if growth(matrix) >= 1:
        raise _checks.refuse("epoch", "a contraction of second moments", f"a growth of {growth(matrix):.6g} per epoch")
    fixed = np.linalg.solve(np.eye(d + d * d) - matrix[1:, 1:], matrix[1:, 0])
    return Moments(fixed[:d], fixed[d:].reshape(d, d))


def growth(epoch: Any) -> float:
    """The factor by which second moments grow per epoch in the long run, apart from their sources: a spectral radius."""
    matrix, d = _epoch(epoch)
    return float(np.abs(np.linalg.eigvals(matrix[1 + d :, 1 + d :])).max())


def step_size_limit(
    hessians: Any,
    ordering: str,
    *,
    zeroth_dimension: int = 0,
    ray: Pair = (1.0, 1.0),
    counts: Any = None,
    directions: int = 1,
    law: str = "gaussian",
) -> float:
    """The step size at which second moments stop contracting per epoch; step_sizes = eta * ray.

    Setting: the mean of the Hessians is positive definite, so small steps contract under every ordering. The growth is
    followed upwards on a geometric grid of ratio 1.1 until it reaches 1, and the crossing is then located to 1e-10; an
    unstable window narrower than the grid would be missed. Guarantee: exact up to that.

    Args:
        hessians: (n, d, d), each symmetric, any sign.
        ordering: "with_replacement", "random_reshuffling" or "incremental".
        zeroth_dimension: size of the x-block; 0 is all first order.
        ray: (r_x, r_y), the ratio of the two step sizes.
        counts: copies of each component; None is one each.
        directions: q.
        law: "gaussian", "rademacher" or "sphere".

    Raises:
        ValueError: a mean that is not positive definite, or so nearly singular that the growth of safe steps rounds to 1;
            and what `component_maps` and `epoch_map` refuse.

    Example:
        >>> round(step_size_limit([[[1.02]], [[-0.98]]], "random_reshuffling"), 4)  # curvatures 0.02 +- 1
        1.3946
    """
    stack = _checks.array("hessians", hessians, ndim=3)
    n, d = stack.shape[:2]
    copies = _copies(counts, n)
    average = symmetric("the mean of hessians", np.average(stack, axis=0, weights=copies))
    lowest = float(np.linalg.eigvalsh(average)[0])
    largest = max(float(np.abs(np.linalg.eigvalsh(symmetric("hessians", matrix))).max()) for matrix in stack)
    if lowest < 1e-6 * largest:
        rule = f"positive definite, with no eigenvalue below 1e-6 of the largest component's {largest:.6g}"
        raise ValueError(f"the mean of hessians must be {rule}, got the eigenvalue {lowest:.6g}")
    ray = pair("ray", ray, positive=True)
    _checks.choice("ordering", ordering, ORDERINGS)

    def steps(eta: float) -> np.ndarray:
        """The maps of second moments alone, which are closed where b = 0; less the identity."""
        scaled = (eta * ray[0], eta * ray[1])
        maps = component_maps(stack, np.zeros((n, d)), zeroth_dimension, scaled, directions=directions, law=law)
        return maps[:, 1 + d :, 1 + d :] - np.eye(d * d)

    unit = 1 / (largest * max(ray))
    square = (steps(2 * unit) - 2 * steps(unit)) / 2  # the maps are quadratic in eta
    linear = steps(unit) - square

    def excess(eta: float) -> float:
        maps = np.eye(d * d) + (eta / unit) * linear + (eta / unit) ** 2 * square
        if ordering == "with_replacement":
            return _radius(np.average(maps, axis=0, weights=copies)) - 1
        return _radius(_product(maps, copies) if ordering == "incremental" else _average_over_orderings(maps, copies)) - 1

    low = 0.1 * lowest * unit / (largest * (d + 2))
    while excess(low) >= 0:
        low /= 10
    high = low * 1.1
    while excess(high) < 0:
        low, high = high, high * 1.1
    return float(optimize.brentq(excess, low, high, xtol=1e-300, rtol=1e-10))


def with_replacement_limit(mean_curvature: float, spread: float) -> float:
    """The first-order step-size limit with replacement, 2h / (h^2 + s^2).

    Setting: (1/n) sum H_i = h I and (1/n) sum H_i^2 = (h^2 + s^2) I, commuting or not, any sign. Guarantee: exact.
    Proof: E||(I - eta H_i) z||^2 = (1 - 2 eta h + eta^2 (h^2 + s^2)) ||z||^2.

    Args:
        mean_curvature: h > 0.
        spread: s >= 0.

    Raises:
        ValueError: a mean curvature that is not positive, a negative spread.

    Example:
        >>> round(with_replacement_limit(0.02, 1.0), 6)
        0.039984
    """
    h, s = _checks.positive("mean_curvature", mean_curvature), _checks.nonnegative("spread", spread)
    return 2 * h / (h**2 + s**2)


def _average_over_orderings(maps: np.ndarray, copies: tuple[int, ...]) -> np.ndarray:
    """E(c) by layers of |c|: only two layers are kept."""
    layer = {(0,) * len(copies): np.eye(maps.shape[1])}
    for total in range(1, sum(copies) + 1):
        ahead: dict[tuple[int, ...], np.ndarray] = {}
        for used, product in layer.items():
            for i, (taken, available) in enumerate(itertools.zip_longest(used, copies)):
                if taken < available:
                    multiset = (*used[:i], taken + 1, *used[i + 1 :])
                    term = ((taken + 1) / total) * (maps[i] @ product)
                    ahead[multiset] = ahead[multiset] + term if multiset in ahead else term
        layer = ahead
    return layer[copies]


def _product(maps: np.ndarray, copies: tuple[int, ...]) -> np.ndarray:
    product = np.eye(maps.shape[1])
    for component, count in zip(maps, copies, strict=True):
        product = np.linalg.matrix_power(component, count) @ product
    return product


def _copies(counts: Any, n: int) -> tuple[int, ...]:
    if counts is None:
        return (1,) * n
    rule = f"one whole number per component ({n})"
    if _checks.numbers("counts", counts, rule).shape != (n,):
        raise _checks.refuse("counts", rule, counts)
    return tuple(_checks.count("counts", int(c) if isinstance(c, np.integer) else c) for c in counts)


def _epoch(epoch: Any) -> tuple[np.ndarray, int]:
    matrix = _checks.array("epoch", epoch, ndim=2)
    d = (math.isqrt(4 * matrix.shape[0] - 3) - 1) // 2
    if matrix.shape != (1 + d + d * d,) * 2:
        raise _checks.refuse("epoch", "a matrix from epoch_map", f"shape {matrix.shape}")
    return matrix, d


def _radius(matrix: np.ndarray) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max())
