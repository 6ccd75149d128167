"""Robust regression with the Geman-McClure loss: bounded gradients, indefinite curvature, outliers."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from theory_lab import _checks, blocks
from theory_lab._trees import record
from theory_lab._typing import Array, Key, Label, Params
from theory_lab.constants import Constants
from theory_lab.problems.base import Problem, dimensions_of, generator, magnitude, normal_params, per_block, split

SLOPE = 3 * np.sqrt(3) / 16  # max |rho'|, attained at t = 1/sqrt 3
ACCURACY = 1e-12  # of the global minimum that branch and bound finds


def loss(t: np.ndarray) -> np.ndarray:
    """rho(t) = t^2 / (2 (1 + t^2)), with rho'' in [-1/4, 1]."""
    return t**2 / (2 * (1 + t**2))


@record(data=("features", "targets", "constants", "optimum"))
class GemanMcClure(Problem):
    """f_i(z) = rho(a_i'z - b_i); build it with `geman_mcclure`.

    Attributes:
        features: the rows a_i cut into blocks, {label: (n, d_b)}.
        targets: b, (n,).
    """

    n: int
    features: Mapping[Label, Array]
    targets: Array
    constants: Constants
    optimum: Params

    def init(self, key: Key) -> Params:
        return normal_params(key, {b: a.shape[1] for b, a in self.features.items()}, self.targets.dtype)

    def component(self, params: Params, index: Array) -> Array:
        row = {label: a[index] for label, a in self.features.items()}
        residual = blocks.inner(row, params) - self.targets[index]
        return residual**2 / (2 * (1 + residual**2))


def geman_mcclure(
    dimensions: Mapping[Label, int],
    *,
    n: int,
    smoothness: float | Mapping[Label, float] = 1.0,
    noise: float = 0.1,
    outliers: float = 0.1,
    key: Key | None = None,
) -> GemanMcClure:
    r"""Robust regression on an orthogonal design, whose global minimum is certified although f is not convex.

    .. math:: f_i(z) = \rho(a_i^\top z - b_i), \qquad \rho(t) = \frac{t^2}{2(1 + t^2)}, \qquad a_i = D^{1/2} u_{i \bmod d}

    with {u_k} an orthonormal basis turned across the blocks, D = diag(L_b I). Since -1/4 <= rho'' <= 1, exactly
    :math:`-D \le \nabla^2 f_i \le D`. Targets are a hidden linear model plus gaussian noise, a share of them far away.
    In the coordinates u_k'D^{1/2}z the sum falls into d functions of one variable; each is minimised globally by branch and
    bound, to 1e-12 in value.

    Args:
        dimensions: the size of every block; d is their sum.
        n: the number of observations, at least d.
        smoothness: L_b, for all blocks or each.
        noise: standard deviation of the inliers' noise, in units of the loss's scale 1.
        outliers: the share of outliers, in [0, 1).
        key: randomness of design, model, noise and outliers; None is key 0.

    Raises:
        ValueError: n below d, constants that are not positive, a share outside [0, 1).

    Example:
        >>> problem = geman_mcclure({"x": 3, "y": 2}, n=40)
        >>> bool(abs(problem.value(problem.optimum) - problem.constants.optimal_value) < 1e-6)
        True

    Reference:
        Geman, McClure: Statistical methods for tomographic image reconstruction, 1987 (the loss).
    """
    sizes = dimensions_of(dimensions)
    d = sum(sizes.values())
    n = _checks.count("n", n, least=d, bits=31)
    limit = per_block("smoothness", smoothness, sizes, magnitude)
    noise = magnitude("noise", noise, zero=True)
    outliers = _checks.between("outliers", outliers, 0, 1, closed="[)")
    rng = generator(key)
    basis, _ = np.linalg.qr(rng.standard_normal((d, d)))  # rows u_k
    root = np.concatenate([np.full(size, np.sqrt(limit[b])) for b, size in sizes.items()])
    design = np.arange(n) % d
    hidden = rng.standard_normal(d)
    targets = hidden[design] + noise * rng.standard_normal(n)
    spoiled = rng.permutation(n)[: int(outliers * n)]
    targets[spoiled] += rng.choice([-1.0, 1.0], spoiled.size) * rng.uniform(5, 10, spoiled.size)

    best = [_minimise(targets[design == k]) for k in range(d)]
    weights = np.array([np.sum(design == k) for k in range(d)])
    optimum = (basis.T @ np.array([w for w, _ in best])) / root
    power = dict(
        zip(sizes, np.split(np.mean((basis * root)[design] ** 2, axis=0), np.cumsum(list(sizes.values()))[:-1]), strict=True)
    )
    return GemanMcClure(
        n=n,
        features=split(jnp.asarray((basis * root)[design]), sizes),
        targets=jnp.asarray(targets),
        constants=Constants(
            smoothness=limit,
            trace={b: limit[b] * size for b, size in sizes.items()},
            optimal_value=float(np.dot(weights, [v for _, v in best]) / n),
            dispersion={b: float(SLOPE**2 * squares.sum()) for b, squares in power.items()},
        ),
        optimum=split(jnp.asarray(optimum), sizes),
    )


def _minimise(targets: np.ndarray) -> tuple[float, float]:
    """The global minimum of phi(w) = mean_j rho(w - targets_j) by branch and bound.

    A minimiser lies in the hull of the targets. On an interval with centre c and half-width r, phi'' >= -1/4 gives
    phi(w) >= phi(c) - |phi'(c)| r - r^2/8, and wherever all of phi'' is positive Newton's method finishes the interval.
    Intervals whose bound exceeds the best value are dropped, the others halved.

    Returns:
        The minimiser and the value, which exceeds the global minimum by at most `ACCURACY`.
    """

    def at(w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        t = w[:, None] - targets
        return (
            loss(t).mean(axis=1),
            (t / (1 + t**2) ** 2).mean(axis=1),
            ((1 - 3 * t**2) / (1 + t**2) ** 3).mean(axis=1),
        )

    low, high = float(targets.min()), float(targets.max())
    pieces = max(16, 4 * targets.size)
    radius = (high - low) / (2 * pieces)
    centres = low + radius * (2 * np.arange(pieces) + 1)
    where, best = low, float(at(np.array([low]))[0][0])
    while centres.size:
        value, slope, curvature = at(centres)
        polished = centres[np.argmin(value)]
        for _ in range(8):  # Newton from the best centre, guarded by the value
            _, s, c = at(np.array([polished]))
            step = float(np.clip(s[0] / max(c[0], 0.05), -radius, radius))
            polished = polished - step
        candidate = float(at(np.array([polished]))[0][0])
        if candidate < best:
            where, best = float(polished), candidate
        # |rho'''| <= 3, so phi'' >= curvature - 3 r on the whole interval
        steepness = np.clip(curvature - 3 * radius, -0.25, 0.0)
        convex = np.maximum(curvature - 3 * radius, 0.0)
        floor = value - np.abs(slope) * radius + steepness * radius**2 / 2
        tight = np.where(convex > 0, np.maximum(floor, value - slope**2 / (2 * np.maximum(convex, 1e-300))), floor)
        keep = centres[tight < best - ACCURACY]
        radius /= 2
        centres = np.concatenate([keep - radius, keep + radius])
    return where, best
