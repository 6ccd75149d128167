r"""The one point of the frontier that is cheapest at given prices.

Steps of size eta_b = 1/(w_b L_b) are, up to a constant, what theorems allow, with w_b = 1 for first order and r_b + 2 for
two points in a block of effective rank r_b. The initial distance then enters their bounds as :math:`\sum_b |z_b - z_b^*|^2 /
\eta_b = \sum_b w_b |z_b - z_b^*|^2 L_b`, and the curvature spent on a step is :math:`\frac12 \sum_b L_b E|s_b|^2`. Both are
linear in the L_b. So the best constants at a point are those of

.. math:: \min \sum_b w_b L_b \quad\text{subject to}\quad -\mathrm{diag}(L_b I) \le H \le \mathrm{diag}(L_b I),

which is convex. Every direction v gives a cut that all feasible constants respect, :math:`\sum_b |v_b|^2 L_b \ge |v'Hv|`,
and every point of the frontier is feasible; the least cost over the cuts and the least cost seen so far enclose the minimum.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from theory_lab import _checks, blocks
from theory_lab._typing import Array, Key, Label, Params
from theory_lab.measure.base import Measurement, unmeasured
from theory_lab.measure.smoothness import lanczos
from theory_lab.measure.smoothness._door import Objective, at_a_point
from theory_lab.measure.smoothness.curvature import Curvature, curvature
from theory_lab.measure.smoothness.dominance import Scales, frontier

CUTS = 4  # Ritz vectors taken from each end of a run


@dataclass(frozen=True)
class Best:
    """The constants of least cost that dominate a Hessian at a point.

    Attributes:
        smoothness: certified L_b; nan where nothing positive is certified.
        cost: sum_b w_b L_b of these, and below it what no constants can undercut (from the cuts, up to rounding).
        probability: of the certificate.
    """

    smoothness: Mapping[Label, float]
    cost: Measurement
    probability: float


def best_scales(
    fn: Objective,
    params: Params,
    weights: Scales,
    *,
    key: Key,
    two_sided: bool = True,
    iterations: int = 60,
    rounds: int = 40,
    tolerance: float = 1e-2,
    probability: float = 0.99,
    args: Sequence[Any] = (),
) -> Best:
    r"""The certified constants with the least weighted sum, for any number of blocks, by cutting planes.

    A round looks half-way between the cheapest constants that all cuts admit and the best frontier point so far: what lies
    inside becomes the new best, what lies outside gives new cuts. When the two costs are within the tolerance the scales
    are settled, and a last run with a start of its own certifies them.

    A concave cost, such as sum_b w_b log L_b for the product of the step sizes, is lowered by repeating this with its
    gradient at the last answer for weights.

    Args:
        fn, params, key, two_sided, args: as in `frontier`.
        weights: {label: w_b > 0}, what a unit of L_b costs: r_b + 2 for two points, 1 for first order; times the squared
            initial distance of the block where that is known.
        iterations: products for every run, at most; memory is as many vectors like the parameters.
        rounds: at most; besides there are a run for every block, one to begin with and one for the certificate.
        tolerance: relative gap of the two costs at which to stop.
        probability: that the certificate holds.

    Returns:
        The constants, and their cost with what bounds it from below.

    Raises:
        ValueError: weights that are not positive or have other labels than the parameters; otherwise as `frontier`.

    Example:
        >>> fn = lambda z: (z["x"][0] + z["y"][0]) ** 2 / 2  # L_y = 1 + 1/(L_x - 1)
        >>> point, key = {"x": jnp.zeros(1), "y": jnp.zeros(1)}, jax.random.key(0)
        >>> best = best_scales(fn, point, {"x": 4.0, "y": 1.0}, key=key, tolerance=1e-4)
        >>> round(best.smoothness["x"], 1), round(best.smoothness["y"], 1), round(best.cost.value, 2)  # (1 + sqrt(4))^2
        (1.5, 3.0, 9.0)

    Reference:
        Kelley: The cutting-plane method for solving convex programs, 1960; Ben-Ameur, Neto: Acceleration of cutting-plane
        and column generation algorithms, 2007, for looking half-way (recalled, not re-read).
    """
    point, arrays = at_a_point(fn, params, args)
    labels = blocks.labels(point)
    _checks.same_labels("weights", _checks.labelled("weights", weights), point)
    w = np.array([_checks.positive(f"weights[{label!r}]", weights[label]) for label in labels])
    _checks.flag("two_sided", two_sided)
    _checks.count("iterations", iterations)
    _checks.count("rounds", rounds)
    tolerance = _checks.positive("tolerance", tolerance)
    probability = _checks.between("probability", probability, 0, 1, closed="()")
    one, other = jax.random.split(_checks.key("key", key))

    def look(scales: np.ndarray, run: int, block: Label | None = None) -> _Look | None:
        hessian = curvature(fn, point, block=block, scaling=dict(zip(labels, scales.tolist(), strict=True)), args=arrays)
        return _look(hessian, two_sided, iterations, jax.random.fold_in(one, run))

    found = _settle(look, labels, w, rounds, tolerance)
    if found is None:
        note = "a Hessian-vector product is not finite"
        return Best(dict.fromkeys(labels, math.nan), unmeasured("cost", 1, note), probability)
    scales, low, products = found
    (last,) = frontier(
        fn,
        point,
        [dict(zip(labels, scales.tolist(), strict=True))],
        key=other,
        two_sided=two_sided,
        iterations=iterations,
        probability=probability,
        args=arrays,
    )
    products += last.multiple.products
    cost = float(sum(weights[label] * last.smoothness[label] for label in labels))
    if not math.isfinite(cost):
        note = last.multiple.note or "no positive curvature to dominate"
        return Best(last.smoothness, replace(unmeasured("cost", 1, note), products=products), probability)
    return Best(last.smoothness, Measurement("cost", cost, min(low, cost), cost, 1, products=products), probability)


class _Look(NamedTuple):
    """What a run from some scales tells: the least multiple of them, as far as it shows, and cuts.

    A cut is a row of shares, |v_b|^2 by block, with the curvature that they have to carry; the largest share is 1.
    """

    multiple: float
    shares: np.ndarray  # (C, blocks)
    demands: np.ndarray  # (C,)
    products: int


def _settle(
    look: Callable[..., _Look | None], labels: tuple[Label, ...], weights: np.ndarray, rounds: int, tolerance: float
) -> tuple[np.ndarray, float, int] | None:
    """Look until the costs meet: the best point of the frontier, the least cost that the cuts admit, products spent."""
    ones, looks = np.ones(len(labels)), []
    for run, label in enumerate(labels):
        seen = look(ones, run, label)
        if seen is None:
            return None
        looks.append(seen)
    norms = np.array([one.multiple for one in looks])
    query = np.maximum(norms, 1e-6 * norms.max()) if norms.max() > 0 else ones
    best, cost = ones, math.inf
    for run in range(rounds + 1):
        seen = look(query, len(labels) + run)
        if seen is None:
            return None
        looks.append(seen)
        if 0 < seen.multiple * float(weights @ query) < cost:
            best, cost = seen.multiple * query, seen.multiple * float(weights @ query)
        cheapest = _cheapest(looks, weights)
        low = float(weights @ cheapest)
        if cost - low <= tolerance * cost:
            break
        query = np.maximum((cheapest + best) / 2, 1e-9 * best)
    return best, low, sum(one.products for one in looks)


def _look(hessian: Curvature, two_sided: bool, iterations: int, key: Key) -> _Look | None:
    """A run in scaled coordinates; the Ritz vectors at its ends are cuts."""
    matrix = lanczos.tridiagonalise(hessian, iterations, key, keep=True)
    if matrix is None or matrix.basis is None:
        return None
    values, vectors = matrix.ritz()
    reach, m = np.abs(values) if two_sided else values, values.size
    ends = [i for i in range(m) if i < CUTS or i >= m - CUTS]  # as many at every look, for one compilation
    shares = np.zeros((len(ends), len(hessian.params)))
    columns = [i for i, label in enumerate(hessian.params) if label in hessian.free]
    shares[:, columns] = _shares(hessian, jnp.asarray(vectors[:, ends].T, matrix.basis.dtype), matrix.basis)
    largest, reach = shares.max(axis=1, keepdims=True), reach[ends]
    cuts = reach > matrix.rounding
    demands = (reach - matrix.rounding) / largest[:, 0]
    return _Look(max(float(reach.max()), 0.0), (shares / largest)[cuts], demands[cuts], m)


def _cheapest(looks: Sequence[_Look], weights: np.ndarray) -> np.ndarray:
    """The constants of least cost that all cuts admit."""
    shares, demands = (np.concatenate([one[i] for one in looks]) for i in (1, 2))
    if demands.size == 0:
        return np.zeros_like(weights)
    unit = demands.max()
    found = optimize.linprog(weights, A_ub=-shares, b_ub=-demands / unit, bounds=(0, None))
    return found.x * unit if found.success else np.zeros_like(weights)


@jax.jit
def _shares(hessian: Curvature, vectors: Array, basis: Array) -> Array:
    """|v_b|^2 for combinations of basis vectors, in the coordinates before scaling, (vectors, blocks)."""
    each = lambda row: jnp.stack(list(blocks.norms_sq(hessian.unscaled(row @ basis)).values()))
    return jax.lax.map(each, vectors)
