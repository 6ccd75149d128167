r"""Growth functions from measurements: how curvature rises with the gradient.

Generalised hybrid smoothness asks for non-decreasing l_b with -diag(l_b(|grad f|) I) <= Hess f <= diag(l_b(|grad f|) I).
At points z_i one sees pairs (u_i, L_i), gradient norm and curvature; an envelope is a non-decreasing function above all of
them. Two are made here: the least one, a step function, and the tightest of the form

.. math:: l(u) = L_0 + L_1 u^p, \qquad L_0, L_1 \ge 0,

whose power says whether gradient descent with constant steps has a theory at all (p < 2). No set of points proves a growth
function: an envelope is what the points demand, and points held out say how well that generalises.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import pandas as pd
from scipy import optimize

from theory_lab import _checks, blocks
from theory_lab._typing import Key, Params
from theory_lab.measure import lanczos, rate
from theory_lab.measure._door import Objective, at_a_point
from theory_lab.measure.base import Measurement, unmeasured
from theory_lab.measure.curvature import curvature
from theory_lab.problems.base import generator

POWERS = np.linspace(0, 4, 81)  # candidates for p, refined around the best


@dataclass(frozen=True)
class Envelope:
    """A non-decreasing l(u) = offset + factor u^p above measured pairs.

    Attributes:
        offset, factor: L_0 and L_1.
        power: p with its interval; not a number where the pairs do not determine it (curvature that does not rise).
        coverage: the share of held-out pairs that lie below, with its exact binomial interval.
    """

    offset: float
    factor: float
    power: Measurement
    coverage: Measurement

    def __call__(self, gradient_norm: Any) -> np.ndarray:
        """l(u), of an array of any shape."""
        return self.offset + self.factor * np.asarray(gradient_norm, dtype=np.float64) ** self.power.value


def growth(
    fn: Objective,
    points: Sequence[Params],
    *,
    key: Key,
    iterations: int = 30,
    probability: float = 0.99,
    args: Sequence[Any] = (),
) -> pd.DataFrame:
    r"""Gradient norm and curvature at every point: what growth functions are drawn through.

    At a point, the norm of every diagonal block H_bb gives scales s_b, and the least multiple c with
    -c diag(s_b I) <= H <= c diag(s_b I) turns them into smoothness constants of the blocks together, L_b = c s_b. For
    positive semidefinite H, c is at most the number of blocks.

    Args:
        fn: a twice differentiable scalar function, fn(params, *args).
        points: where to look: a trajectory, or a cloud.
        key: random starts.
        iterations: products for every spectrum, at most: one for every block, and one.
        probability: that all outer ends hold, at each point.
        args: further arguments of fn, arrays.

    Returns:
        A row for every point: gradient_norm; block_b, the norm of H_bb; smoothness_b, L_b at its outer end. Curvature that
        is not finite is nan.

    Raises:
        ValueError: no points; otherwise as `smoothness.extreme_eigenvalues`.

    Example:
        >>> fn = lambda z: jax.numpy.sum(jax.numpy.cosh(z["x"]))  # l(u)^2 = 1 + u^2
        >>> rows = growth(fn, [{"x": jax.numpy.full(1, t)} for t in (0.0, 2.0)], key=jax.random.key(0))
        >>> [round(float(l**2 - u**2), 3) for u, l in zip(rows.gradient_norm, rows.block_x)]
        [1.0, 1.0]
    """
    if not isinstance(points, Sequence) or isinstance(points, str) or len(points) == 0:
        raise _checks.refuse("points", "a non-empty sequence of parameters", points)
    _checks.key("key", key)
    _checks.between("probability", probability, 0, 1, closed="()")
    return pd.DataFrame(
        [_row(fn, point, jax.random.fold_in(key, i), iterations, probability, args) for i, point in enumerate(points)]
    )


def _row(
    fn: Objective, params: Params, key: Key, iterations: int, probability: float, args: Sequence[Any]
) -> dict[str, float]:
    point, arrays = at_a_point(fn, params, args)
    labels = blocks.labels(point)
    each = 1 - (1 - probability) / (len(labels) + 1)
    norms, outer = {}, {}
    for i, label in enumerate(labels):
        found = lanczos.extremes(
            curvature(fn, point, block=label, args=arrays), jax.random.fold_in(key, i), iterations, each
        )
        if found is None:
            norms[label] = outer[label] = np.nan
            continue
        low, high, _ = found
        norms[label] = max(-low.value, high.value)
        outer[label] = max(-low.low, high.high)
    top = max(outer.values())
    multiple = np.nan
    if np.isfinite(list(outer.values())).all():
        scales = {label: max(s, 1e-6 * top) for label, s in outer.items()}
        found = (
            lanczos.extremes(curvature(fn, point, scaling=scales, args=arrays), key, iterations, each) if top > 0 else None
        )
        multiple = 0.0 if top == 0 else np.nan if found is None else max(-found[0].low, found[1].high)
        outer = scales if top > 0 else outer
    return {
        "gradient_norm": float(_gradient_norm(fn, point, arrays)),
        **{f"block_{label}": norms[label] for label in labels},
        **{f"smoothness_{label}": multiple * outer[label] for label in labels},
    }


@jax.jit(static_argnums=0)
def _gradient_norm(fn: Objective, point: Params, args: tuple[Any, ...]) -> Any:
    return blocks.norm_sq(jax.grad(fn)(point, *args)) ** 0.5


def isotonic(gradient_norms: Any, curvatures: Any) -> tuple[np.ndarray, np.ndarray]:
    """The least non-decreasing step function above all pairs: its jumps u and its values from there on, up to the next.

    Example:
        >>> u, values = isotonic([1.0, 3.0, 2.0], [1.0, 2.0, 5.0])
        >>> u.tolist(), values.tolist()
        ([1.0, 2.0], [1.0, 5.0])
    """
    u, y = _pairs(gradient_norms, curvatures, least=1)
    order = np.lexsort((-y, u))
    u, y = u[order], y[order]
    rises = np.concatenate([[True], y[1:] > np.maximum.accumulate(y)[:-1]])
    return u[rises], y[rises]


def envelope(
    gradient_norms: Any,
    curvatures: Any,
    *,
    confidence: float = 0.99,
    resamples: int = 200,
    key: Key | None = None,
) -> Envelope:
    r"""The tightest L_0 + L_1 u^p above all pairs, with an interval for p and a check on pairs held out.

    For a given p, the least sum of relative excesses (l(u_i) - L_i)/L_i is a linear programme in (L_0, L_1); p makes it
    least over [0, 4]. The interval of p is the percentile bootstrap over the points. The coverage is that of an envelope
    fitted to one random half, counted on the other.

    Args:
        gradient_norms: u_i >= 0, (P,) with P >= 8.
        curvatures: L_i > 0, (P,).
        confidence: of both intervals.
        resamples: of the bootstrap.
        key: of resampling and splitting; None is key 0.

    Returns:
        The envelope. Where L_1 comes out 0 no power is determined.

    Raises:
        ValueError: fewer than 8 pairs, negative gradient norms, curvatures that are not positive, a confidence outside
            (0, 1).

    Example:
        >>> u = np.geomspace(0.1, 100, 40)
        >>> found = envelope(u, 2 + 3 * u**1.5)
        >>> round(found.offset, 2), round(found.factor, 2), round(found.power.value, 2)
        (2.0, 3.0, 1.5)
    """
    u, y = _pairs(gradient_norms, curvatures, least=8)
    _checks.between("confidence", confidence, 0, 1, closed="()")
    _checks.count("resamples", resamples, least=2)
    rng = generator(key)
    offset, factor, power = _fit(u, y)
    halves = rng.permutation(u.size)
    first, second = halves[: u.size // 2], halves[u.size // 2 :]
    a, b, p = _fit(u[first], y[first])
    below = int(np.sum(y[second] <= (a + b * u[second] ** p) * (1 + 1e-9)))
    coverage = rate.proportion(below, second.size, confidence=confidence, name="held-out pairs below the envelope")
    if factor * u.max() ** power <= 1e-9 * y.max():
        return Envelope(offset, 0.0, unmeasured("p", u.size, "the curvature does not rise with the gradient"), coverage)
    drawn = []
    for _ in range(resamples):
        chosen = rng.integers(u.size, size=u.size)
        drawn.append(_fit(u[chosen], y[chosen])[2])
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Envelope(offset, factor, Measurement("p", power, float(low), float(high), u.size), coverage)


def _pairs(gradient_norms: Any, curvatures: Any, *, least: int) -> tuple[np.ndarray, np.ndarray]:
    u, y = _checks.array("gradient_norms", gradient_norms, ndim=1), _checks.array("curvatures", curvatures, ndim=1)
    if u.size != y.size:
        raise _checks.refuse("curvatures", f"as many as gradient_norms, {u.size}", y.size)
    _checks.count("the number of pairs", u.size, least=least)
    if u.min() < 0:
        raise _checks.refuse("gradient_norms", "nonnegative", float(u.min()))
    if y.min() <= 0:
        raise _checks.refuse("curvatures", "positive", float(y.min()))
    return u, y


def _fit(u: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """L_0, L_1 and p of the least relative excess."""
    values = [_programme(u, y, p)[0] for p in POWERS]
    best = int(np.argmin(values))
    low, high = POWERS[max(best - 1, 0)], POWERS[min(best + 1, POWERS.size - 1)]
    found = optimize.minimize_scalar(
        lambda p: _programme(u, y, p)[0], bounds=(low, high), method="bounded", options={"xatol": 1e-4}
    )
    power = float(found.x) if found.fun < values[best] else float(POWERS[best])
    _, offset, factor = _programme(u, y, power)
    return offset, factor, power


def _programme(u: np.ndarray, y: np.ndarray, p: float) -> tuple[float, float, float]:
    """min sum (L_0 + L_1 x)/y subject to L_0 + L_1 x >= y and both nonnegative, x = u^p.

    The feasible set is bounded below by the upper convex hull of the pairs (x, y), and an optimum of a linear programme in
    two unknowns lies at a vertex: at a line through two neighbours of that hull with nonnegative slope and offset, at the
    flat line, or at the steepest line through the origin.
    """
    x = u**p
    costs = np.array([np.sum(1 / y), np.sum(x / y)])
    lines = [(float(y.max()), 0.0)]
    if x.min() > 0:
        lines.append((0.0, float(np.max(y / x))))
    hull = _upper_hull(x, y)
    for (x0, y0), (x1, y1) in pairwise(hull):
        slope = (y1 - y0) / (x1 - x0)
        offset = y0 - slope * x0
        if slope >= 0 and offset >= 0:
            lines.append((offset, slope))
    totals = [float(costs @ line) for line in lines]
    best = int(np.argmin(totals))
    return totals[best], *lines[best]


def _upper_hull(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """The vertices of the upper convex hull, from left to right (Andrew's monotone chain)."""
    order = np.lexsort((-y, x))
    hull: list[tuple[float, float]] = []
    for px, py in zip(x[order].tolist(), y[order].tolist(), strict=True):
        if hull and px == hull[-1][0]:
            continue
        while len(hull) >= 2:
            (ax, ay), (bx, by) = hull[-2], hull[-1]
            if (by - ay) * (px - ax) > (py - ay) * (bx - ax):
                break
            hull.pop()
        hull.append((px, py))
    return hull
