"""Exact second moments of SGD on quadratics that fall into groups of equal curvature: any dimension at no cost.

Setting: f_i(z) = sum_g (l_g/2) |z_g|^2 - b_i'z with sum b_i = 0, groups g of k_g coordinates and mean |b_ig|^2 = sigma_g^2;
components drawn with replacement; one step size eta_g per group. Two points estimate the gradient of the groups in Z, all of
which are perturbed at once: the x-block of a hybrid run, every group of a zeroth-order run, none of a first-order run. The
others have exact gradients of the component. With a and b the coefficients of the `CovarianceMap` for a trace and for a
diagonal entry, m_g = E|z_g|^2 follows

    m_g+ = (1 - eta_g l_g)^2 m_g + eta_g^2 sigma_g^2
           + [g in Z] eta_g^2 { b (l_g^2 m_g + sigma_g^2) + a k_g sum_{h in Z} (l_h^2 m_h + sigma_h^2) }.

Proof. The diagonal of the recursion in `dynamics` for a diagonal Hessian, summed over each group; off-diagonal entries feed
into no diagonal one. Guarantee of all functions: exact; the radius is 0 or the difference two-sided.

Reference: theory_lab, Theorem 5.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize

from theory_lab import _checks
from theory_lab.theory.moments import covariance_map

DOUBLINGS = 40  # steps beyond 2^40 are called never
NEVER = 2.0**60


class Groups(NamedTuple):
    """Groups of equal curvature; build it with `groups`, which validates. Arrays of shape (G,)."""

    curvatures: np.ndarray
    sizes: np.ndarray
    dispersions: np.ndarray
    zeroth: np.ndarray


class Recursion(NamedTuple):
    """m+ = matrix m + source for the second moments m of the groups."""

    matrix: np.ndarray
    source: np.ndarray


class Tuned(NamedTuple):
    """The step sizes, one per owner, that reach a gap in the fewest steps; the number is as in `steps_to_gap`."""

    step_sizes: np.ndarray
    steps: float


def groups(curvatures: Any, sizes: Sequence[int], *, dispersions: Any = 0.0, zeroth: Any = False) -> Groups:
    """Validated groups.

    Args:
        curvatures: l, shape (G,), nonnegative.
        sizes: k, G counts.
        dispersions: sigma^2 of every whole group, (G,) or one number for each, nonnegative.
        zeroth: whether two points estimate the group's gradient, (G,) or one for all.

    Raises:
        ValueError: arrays of different lengths, negative numbers, sizes that are no counts, a mask that is not boolean.
    """
    spectrum = _checks.array("curvatures", curvatures, ndim=1)
    if isinstance(sizes, str) or not np.iterable(sizes):
        raise _checks.refuse("sizes", f"one number per group, {spectrum.size}", sizes)
    counts = np.array([_checks.count("sizes", size) for size in sizes], dtype=np.float64)
    noise = _checks.array("dispersions", dispersions)
    several = isinstance(zeroth, (tuple, list)) or np.ndim(zeroth) == 1
    mask = np.array([_checks.flag("zeroth", z) for z in zeroth] if several else _checks.flag("zeroth", zeroth))
    for name, values in (("sizes", counts), ("dispersions", noise), ("zeroth", mask)):
        if values.shape != spectrum.shape and (values.ndim or name == "sizes"):
            raise _checks.refuse(name, f"one number per group, {spectrum.size}", values.tolist())
    for name, values in (("curvatures", spectrum), ("dispersions", noise)):
        if values.min() < 0:
            raise _checks.refuse(name, "nonnegative", values.tolist())
    return Groups(spectrum, counts, np.broadcast_to(noise, spectrum.shape), np.broadcast_to(mask, spectrum.shape))


def recursion(given: Groups, step_sizes: Any, *, directions: int = 1, law: str = "gaussian") -> Recursion:
    """One step of the second moments.

    Args:
        given: from `groups`.
        step_sizes: eta, (G,) nonnegative.
        directions, law: of the two-point estimator.

    Raises:
        ValueError: step sizes that are negative or of another number, an unknown law.

    Example:
        >>> step = recursion(groups([1.0], [8], dispersions=[1.0], zeroth=True), [0.05])
        >>> step.matrix.round(6).tolist(), step.source.round(6).tolist()  # 1 - 2 eta + 10 eta^2, 10 eta^2
        ([[0.925]], [0.025])
    """
    _checks.instance("given", given, Groups, "what groups(...) returns")
    eta = _checks.array("step_sizes", step_sizes, ndim=1)
    if eta.shape != given.curvatures.shape or eta.min() < 0:
        raise _checks.refuse("step_sizes", f"{given.curvatures.size} nonnegative numbers", step_sizes)
    for size in eta:
        _checks.nonnegative("step_sizes", size)
    curvatures, z = given.curvatures, given.zeroth.astype(np.float64)
    gain = covariance_map(law, int(np.sum(given.sizes[given.zeroth])) or 1, directions)
    diagonal, spread = z * (gain.direct - gain.diagonal), gain.trace * np.outer(z * given.sizes, z)
    matrix = np.diag((1 - eta * curvatures) ** 2) + (eta**2)[:, None] * (np.diag(diagonal) + spread) * curvatures**2
    source = eta**2 * ((1 + diagonal) * given.dispersions + spread @ given.dispersions)
    return Recursion(matrix, source)


def steps_to_gap(step: Recursion, curvatures: Any, start: Any, gap: float) -> float:
    """Steps until E f - f* = sum_g l_g m_g / 2 is at most ``gap``; inf if that never happens.

    Between two whole steps the logarithm of the gap is interpolated, so that beyond one step the result is continuous in the
    step sizes; whoever starts above the target needs one step at least. Setting: the expected gap falls until it is reached,
    as it does for every stable step size from far above the floor.

    Args:
        step: from `recursion`.
        curvatures: l, (G,), nonnegative.
        start: m at the start, (G,), nonnegative.
        gap: positive.

    Raises:
        ValueError: a gap that is not positive, curvatures or a start that are not G nonnegative numbers.

    Example:
        >>> step = recursion(groups([1.0], [1]), [0.5])  # the gap falls to a quarter in every step
        >>> round(steps_to_gap(step, [1.0], [1.0], 1 / 32), 9)
        2.0
        >>> steps_to_gap(recursion(groups([1.0], [1]), [1.0]), [1.0], [1.0], 1 / 32)  # on the minimiser after one step
        1.0
    """
    _checks.instance("step", step, Recursion, "what recursion(...) returns")
    target, size = _checks.positive("gap", gap, reach=1e300), step.source.size
    weights = _per_group("curvatures", curvatures, size) / 2
    point = np.append(_per_group("start", start, size), 1.0)
    power = np.eye(size + 1)
    power[:size, :size], power[:size, size] = step.matrix, step.source
    if weights @ point[:size] <= target:
        return 0.0
    powers = [power]
    while weights @ (powers[-1] @ point)[:size] > target:
        if len(powers) > DOUBLINGS or not np.isfinite(powers[-1]).all() or powers[-1].max() > 1e100:
            return math.inf
        powers.append(powers[-1] @ powers[-1])
    before = 0
    for doubling in reversed(range(len(powers))):
        moved = powers[doubling] @ point
        if weights @ moved[:size] > target:
            point, before = moved, before + 2**doubling
    high, low = float(weights @ point[:size]), float(weights @ (power @ point)[:size])
    return max(1.0, before + math.log(high / target) / math.log(high / max(low, 1e-300)))


def tuned(given: Groups, start: Any, gap: float, *, owners: Sequence[int] | None = None, directions: int = 1) -> Tuned:
    """The step sizes that reach a gap in the fewest steps, by a coarse grid and a simplex search; gaussian law.

    Where several reach it within the one step that is the least (see `steps_to_gap`), it is one of them.

    Args:
        given: from `groups`, positive curvatures.
        start: m at the start, (G,).
        gap: the target for E f - f*, positive.
        owners: which step size every group has, 0 or 1, each used if 1 is; None ties all groups to one.
        directions: q.

    Returns:
        The step sizes, one per owner, and the number of steps, inf if none reaches the gap.

    Raises:
        ValueError: what `steps_to_gap` refuses, curvatures of zero, owners unlike that.

    Example:
        >>> found = tuned(groups([1.0], [8], zeroth=True), [1.0], 1e-3)  # 1/(d+2), 1 - 1/(d+2) per step
        >>> round(float(found.step_sizes[0]), 3), round(found.steps / 10)
        (0.1, 6)
    """
    _checks.instance("given", given, Groups, "what groups(...) returns")
    if given.curvatures.min() <= 0:
        raise _checks.refuse("curvatures", "positive", given.curvatures.tolist())
    _per_group("start", start, given.curvatures.size)
    gap = _checks.positive("gap", gap, reach=1e300)
    owner = _owner(owners, given.curvatures.size)
    noisy = np.where(given.zeroth, 1 + np.sum(given.sizes[given.zeroth]), 1.0) * given.curvatures
    limits = np.array([2 / noisy[owner == one].max() for one in range(owner.max() + 1)])

    def steps(log_share: Any) -> float:
        sizes = (limits * np.exp(np.atleast_1d(log_share)))[owner]
        step = recursion(given, sizes, directions=directions)
        return min(steps_to_gap(step, given.curvatures, start, gap), NEVER)  # the searches want finite numbers

    axis = -np.log(2) * np.arange(1, 16, 1.0)
    grid = np.stack(np.meshgrid(*[axis] * limits.size, indexing="ij"), axis=-1).reshape(-1, limits.size)
    first = min(grid, key=steps)
    if steps(first) == NEVER:
        return Tuned(np.full(limits.size, math.nan), math.inf)
    if limits.size == 1:
        near = optimize.minimize_scalar(steps, bounds=(first[0] - 0.7, first[0] + 0.7), method="bounded")
        best = min((float(first[0]), float(near.x)), key=steps)  # the grid hits 1/l, where a run without noise ends at once
        return Tuned(limits * math.exp(best), steps(best))
    near = optimize.minimize(steps, first, method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-6})
    return Tuned(limits * np.exp(near.x), float(near.fun))


def _per_group(name: str, values: Any, size: int) -> np.ndarray:
    """The door for one nonnegative number per group."""
    found = _checks.array(name, values)
    if found.shape != (size,) or found.min() < 0:
        raise _checks.refuse(name, f"{size} nonnegative numbers, one per group", values)
    return found


def _owner(owners: Any, size: int) -> np.ndarray:
    """The door for the owners of the groups' step sizes."""
    if owners is None:
        return np.zeros(size, dtype=int)
    try:
        found = [_checks.count("owners", owner, least=0) for owner in owners]
    except (TypeError, ValueError):
        found = []
    if len(found) != size or set(found) not in ({0}, {0, 1}):
        raise _checks.refuse("owners", f"{size} of the numbers 0 and 1, one per group, 0 among them", owners)
    return np.array(found)
