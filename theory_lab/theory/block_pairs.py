"""Two isotropic blocks, coupled coordinate by coordinate: the exact law of hybrid SGD in three numbers.

Setting: f_i(z) = (a ||x||^2 + 2b x'y + c ||y||^2)/2 - b_i'z with x and y of d dimensions each, sum b_i = 0, drawn with
replacement, mean |b_ix|^2 = sigma_x^2, mean |b_iy|^2 = sigma_y^2, mean b_ix'b_iy = 0, q Gaussian directions at radius 0
(two-sided: any radius). Let h = [[a, b], [b, c]], P = diag(eta_x, eta_y), C = diag(sigma_x^2, sigma_y^2) and T = [[E|x|^2,
E x'y], [E x'y, E|y|^2]]. Then, with G = h T h + C,

    T+ = (I - Ph) T (I - Ph)' + P C P + eta_x^2 ((d+1)/q) G_xx e_x e_x',

because the trace of tr(G) I + G, the covariance that the directions add, is (d+1) tr G. E f - f* = tr(hT)/2 and
E||grad f||^2 = tr(h T h). Being affine in three numbers, K steps are a power of a 4 x 4 matrix, and averages over steps
a sum of powers, both by doubling: whatever the dimension.

Guarantee: exact. Reference: theory_lab, Theorem 5.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import optimize

from theory_lab import _checks
from theory_lab.theory.base import Pair, pair

_GOLDEN = {"xatol": 1e-5}  # of logarithms


class BlockPairs(NamedTuple):
    """The problem; build it with `block_pairs`, which validates."""

    hessian: np.ndarray
    dimension: int
    dispersion: Pair
    directions: int


class BestPair(NamedTuple):
    """The least value, and the step sizes that give it."""

    step_sizes: Pair
    value: float

    @property
    def ratio(self) -> float:
        """eta_y/eta_x."""
        return self.step_sizes[1] / self.step_sizes[0]


def block_pairs(
    *, curvature: Pair, coupling: float = 0.0, dimension: int, dispersion: Pair = (0.0, 0.0), directions: int = 1
) -> BlockPairs:
    """h = [[a, b], [b, c]] with (a, c) = curvature and b = coupling sqrt(ac).

    Args:
        curvature: (a, c) > 0; two-sided hybrid smoothness holds with (1 + coupling) (a, c).
        coupling: in [0, 1).
        dimension: d of either block.
        dispersion: (sigma_x^2, sigma_y^2), totals of the blocks.
        directions: q.

    Raises:
        ValueError: a curvature that is not a positive pair, a coupling outside [0, 1), a negative dispersion.
    """
    a, c = pair("curvature", curvature, positive=True)
    b = _checks.between("coupling", coupling, 0, 1, closed="[)") * math.sqrt(a * c)
    return BlockPairs(
        np.array([[a, b], [b, c]]), _checks.count("dimension", dimension), pair("dispersion", dispersion),
        _checks.count("directions", directions),
    )  # fmt: skip


def step_map(problem: BlockPairs, step_sizes: Pair) -> np.ndarray:
    """One step as a 4 x 4 matrix on (E|x|^2, E x'y, E|y|^2, 1)."""
    _checks.instance("problem", problem, BlockPairs, "what block_pairs(...) returns")
    eta_x, eta_y = pair("step_sizes", step_sizes)
    h, p = problem.hessian, np.diag([eta_x, eta_y])
    noise, a = np.diag(problem.dispersion), np.eye(2) - p @ problem.hessian
    gain = eta_x**2 * (problem.dimension + 1) / problem.directions
    columns = []
    for basis in (_symmetric(1, 0, 0), _symmetric(0, 1, 0), _symmetric(0, 0, 1)):
        after = a @ basis @ a.T
        after[0, 0] += gain * (h @ basis @ h)[0, 0]
        columns.append([after[0, 0], after[0, 1], after[1, 1], 0.0])
    constant = p @ noise @ p
    constant[0, 0] += gain * noise[0, 0]
    return np.array([*columns, [constant[0, 0], constant[0, 1], constant[1, 1], 1.0]]).T


def last_gap(problem: BlockPairs, step_sizes: Pair, *, start: Pair, steps: int) -> float:
    """E f(z_K) - f* from a start with E|x|^2, E|y|^2 as given and E x'y = 0; inf where it overflows. *Exact*.

    Raises:
        ValueError: step sizes or a start that are no pairs of nonnegative numbers, a negative number of steps.

    Example:
        >>> problem = block_pairs(curvature=(1, 1), dimension=8)
        >>> round(last_gap(problem, (0.1, 1.0), start=(1.0, 1.0), steps=2), 9)  # (1 - 1/(d+2))^2/2
        0.405

    Reference:
        theory_lab, Theorem 5.
    """
    power, _ = _powers(step_map(problem, step_sizes), _checks.count("steps", steps, least=0))
    return _reduced(power, start, problem.hessian / 2)


def average_gradient(problem: BlockPairs, step_sizes: Pair, *, start: Pair, steps: int) -> float:
    """(1/K) sum_{k<K} E||grad f(z_k)||^2, Theorem 1's metric; inf where it overflows. *Exact*.

    Raises:
        ValueError: step sizes or a start that are no pairs of nonnegative numbers, fewer than one step.

    Example:
        >>> problem = block_pairs(curvature=(1, 1), dimension=8)
        >>> round(average_gradient(problem, (0.1, 1.0), start=(1.0, 1.0), steps=2), 9)  # (2 + 0.9)/2
        1.45

    Reference:
        theory_lab, Theorem 5.
    """
    steps = _checks.count("steps", steps)
    _, total = _powers(step_map(problem, step_sizes), steps)
    return _reduced(total, start, problem.hessian @ problem.hessian) / steps


def best_pair(objective: Callable[[Pair], float], limits: Pair) -> BestPair:
    """The least of a function of (eta_x, eta_y), over the ratio and, for each ratio, the scale.

    Args:
        objective: positive, inf where it diverges; for each ratio with one minimum over the scale.
        limits: a pair of the order of the largest useful step sizes; ratios within 1e4 of theirs are searched.

    Raises:
        ValueError: an objective that is no function or not positive, limits that are no pair of positive numbers.

    Example:
        >>> problem = block_pairs(curvature=(10, 1), dimension=8)
        >>> best = best_pair(lambda steps: last_gap(problem, steps, start=(0.1, 1), steps=20), (0.02, 2.0))
        >>> round(best.step_sizes[0], 4)  # 1/(L_x (d+2)); nearly all eta_y below 2/L_y do as well
        0.01
    """
    _checks.function("objective", objective, "a function of a pair of step sizes")
    limits = pair("limits", limits, positive=True)
    centre = math.log(limits[1] / limits[0])
    grid = centre + np.linspace(-math.log(1e4), math.log(1e4), 41)
    found = [best_scale(objective, limits, math.exp(log_ratio)).value for log_ratio in grid]
    i = int(np.argmin(found))
    bounds = grid[max(i - 1, 0)], grid[min(i + 1, grid.size - 1)]
    refined = optimize.minimize_scalar(
        lambda log_ratio: best_scale(objective, limits, math.exp(log_ratio)).value, bounds=bounds, method="bounded",
        options=_GOLDEN,
    )  # fmt: skip
    return best_scale(objective, limits, math.exp(float(refined.x)))


def best_scale(objective: Callable[[Pair], float], limits: Pair, ratio: float) -> BestPair:
    """The least of a function of (eta_x, eta_y) at a fixed eta_y/eta_x, below twice either limit; ratio 1 ties them."""
    _checks.function("objective", objective, "a function of a pair of step sizes")
    limits, ratio = pair("limits", limits, positive=True), _checks.positive("ratio", ratio)
    most = math.log(2 * min(limits[0], limits[1] / ratio))

    def logarithm(log_step: float) -> float:
        value = _checks.number("objective", objective((math.exp(log_step), ratio * math.exp(log_step))))
        if value <= 0:
            raise _checks.refuse("objective", "positive at every pair of step sizes", value)
        return math.log(value) if math.isfinite(value) else 1e6 + log_step - most  # above all finite ones, less so downwards

    grid = np.linspace(most - math.log(1e5), most, 30)
    i = int(np.argmin([logarithm(log_step) for log_step in grid]))
    bounds = grid[max(i - 1, 0)], grid[min(i + 1, grid.size - 1)]
    found = optimize.minimize_scalar(logarithm, bounds=bounds, method="bounded", options=_GOLDEN)
    step = math.exp(float(found.x))
    return BestPair((step, ratio * step), objective((step, ratio * step)))


def _symmetric(xx: float, xy: float, yy: float) -> np.ndarray:
    return np.array([[xx, xy], [xy, yy]], dtype=np.float64)


def _powers(step: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """S^K and the sum of S^k over k < K, by doubling."""
    power, total = np.eye(4), np.zeros((4, 4))
    with np.errstate(over="ignore", invalid="ignore"):
        for bit in bin(steps)[2:]:
            total, power = total + power @ total, power @ power
            if bit == "1":
                total, power = total + power, power @ step
    return power, total


def _reduced(matrix: np.ndarray, start: Pair, weights: np.ndarray) -> float:
    """tr(weights T) of the matrix applied to the start."""
    x_sq, y_sq = pair("start", start)
    with np.errstate(over="ignore", invalid="ignore"):
        xx, xy, yy, _ = matrix @ np.array([x_sq, 0.0, y_sq, 1.0])
        value = float(weights[0, 0] * xx + 2 * weights[0, 1] * xy + weights[1, 1] * yy)
    return value if math.isfinite(value) else math.inf
