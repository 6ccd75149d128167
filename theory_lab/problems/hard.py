"""Hard instances: sums on which the rates of reshuffling cannot be improved, with every constant known.

Their laws, floors and tuned steps, are in `theory_lab.theory.hard_instances`.
"""

import math
from collections.abc import Mapping
from functools import partial

import jax.numpy as jnp
import numpy as np

from theory_lab import _checks
from theory_lab._trees import record
from theory_lab._typing import Array, Key, Label, Params
from theory_lab.constants import Constants
from theory_lab.problems.base import Problem, dimensions_of, generator, magnitude, normal_params, per_block, split
from theory_lab.problems.quadratic import BlockQuadratic


@record(data=("above", "below", "slope", "tilts", "start", "constants", "optimum"))
class OneSided(Problem):
    """f_i(z) = sum_j above_j max(z_j, 0)^2/2 + below_j min(z_j, 0)^2/2 - (slope_j + tilt_ij) z_j, with sum_i tilt_ij = 0.

    Build it with `one_sided` or `minimax`.

    Attributes:
        above, below: curvatures on the two sides of 0, (d,); coordinates in the sorted order of the labels.
        slope: (d,).
        tilts: (n, d).
        start: where runs start, or None for a normal draw.
    """

    dimensions: tuple[tuple[Label, int], ...]
    n: int
    above: Array
    below: Array
    slope: Array
    tilts: Array
    constants: Constants
    optimum: Params
    start: Params | None = None

    def init(self, key: Key) -> Params:
        if self.start is not None:
            return dict(self.start)
        return normal_params(key, dict(self.dimensions), self.tilts.dtype)

    def component(self, params: Params, index: Array) -> Array:
        z = jnp.concatenate([params[label] for label, _ in self.dimensions])  # (d,)
        bowl = self.above * jnp.maximum(z, 0) ** 2 + self.below * jnp.minimum(z, 0) ** 2
        return jnp.sum(bowl) / 2 - jnp.dot(self.slope + self.tilts[index], z)


def one_sided(
    dimensions: Mapping[Label, int],
    *,
    n: int,
    slope: float | Mapping[Label, float],
    smoothness: float | Mapping[Label, float] = 1.0,
    dispersion: float | Mapping[Label, float] = 1.0,
    key: Key | None = None,
) -> OneSided:
    r"""The one-sided quadratic: a convex sum on which reshuffling settles where ||grad f||^2 = slope^2.

    .. math:: f_i(z) = \sum_j \tfrac{L}{2} \max(z_j, 0)^2 - \tfrac{s}{\sqrt d} z_j + \tfrac{\sigma}{\sqrt d} e_{ij} z_j,
        \qquad e_{ij} = \pm 1,\ \sum_i e_{ij} = 0

    in every block. With a slope of c L eta sigma sqrt(n), c < 0.157, the noise inside an epoch holds the iterates on the
    flat side: the floor of ||grad f||^2 is s^2, of order eta^2 n, where quadratics have eta^3 n^2. The coordinates of a
    block are copies that share slope and noise evenly; each has its own signs.

    Args:
        dimensions: the size of every block.
        n: the number of components, even.
        slope: s_b > 0, for all blocks or each.
        smoothness: L_b, for all blocks or each.
        dispersion: sigma_b^2, exact everywhere, for all blocks or each.
        key: randomness of the signs; None is key 0.

    Raises:
        ValueError: whatever breaks one of the rules above, by name, rule and value.

    Example:
        >>> problem = one_sided({"y": 4}, n=8, slope=0.5)
        >>> problem.constants.dispersion, problem.constants.optimal_value
        ({'y': 1.0}, -0.125)
    """
    sizes, n = dimensions_of(dimensions), _even(n)
    limit = per_block("smoothness", smoothness, sizes, magnitude)
    slopes = per_block("slope", slope, sizes, magnitude)
    sigma = per_block("dispersion", dispersion, sizes, partial(magnitude, zero=True))
    above, down, noise = (
        np.concatenate([np.full(d, value(b, d)) for b, d in sizes.items()])
        for value in (lambda b, _: limit[b], lambda b, d: slopes[b] / math.sqrt(d), lambda b, d: math.sqrt(sigma[b] / d))
    )
    known = Constants(
        smoothness=limit,
        trace={b: limit[b] * d for b, d in sizes.items()},
        strong_convexity=0.0,
        optimal_value=-sum(slopes[b] ** 2 / (2 * limit[b]) for b in sizes),
        dispersion=sigma,
    )
    return OneSided(
        dimensions=tuple(sizes.items()),
        n=n,
        above=jnp.asarray(above),
        below=jnp.zeros(len(above)),
        slope=jnp.asarray(down),
        tilts=jnp.asarray(noise * _signs(n, len(above), key)),
        constants=known,
        optimum=split(jnp.asarray(down / above), sizes),
    )


def minimax(
    label: Label,
    *,
    n: int,
    slope: float,
    curvature: float,
    initial_gap: float = 1.0,
    smoothness: float = 1.0,
    dispersion: float = 1.0,
    copies: int = 1,
    key: Key | None = None,
) -> OneSided:
    r"""The one-sided quadratic beside a flat direction w of curvature kappa: small steps lose on w, large ones on u.

    .. math:: f_i(u, w) = f_i^{\text{one-sided}}(u) + \tfrac{\kappa}{2} w^2

    With slope and curvature from `theory_lab.theory.hard_instances.minimax`, no constant step size beats n^-1/3 T^-2/3,
    which the upper bound for reshuffling promises on every smooth sum. The run starts at u = 0 and
    kappa w^2/2 = initial_gap, so that f - f* is initial_gap + slope^2/(2L) there.

    Args:
        label: of the one block; its first coordinates are the copies of u, its last is w.
        n: the number of components, even.
        slope: s > 0.
        curvature: kappa, in (0, smoothness].
        initial_gap: what w contributes to f - f* at the start.
        smoothness: L.
        dispersion: sigma^2.
        copies: dimension of u.
        key: randomness of the signs; None is key 0.

    Raises:
        ValueError: whatever breaks one of the rules above, by name, rule and value.

    Example:
        >>> problem = minimax("y", n=8, slope=0.1, curvature=0.02)
        >>> start = problem.init(None)
        >>> round(float(problem.value(start) - problem.constants.optimal_value), 5)  # 1 + 0.1^2/2
        1.005
    """
    _checks.text("label", label)
    kappa = _checks.between("curvature", curvature, 0, magnitude("smoothness", smoothness), closed="(]")
    gap = _checks.nonnegative("initial_gap", initial_gap)
    rest = one_sided({label: copies}, n=n, slope=slope, smoothness=smoothness, dispersion=dispersion, key=key)
    known, zero = rest.constants, jnp.zeros(1)
    assert known.smoothness is not None
    return OneSided(
        dimensions=((label, rest.tilts.shape[1] + 1),),
        n=rest.n,
        above=jnp.append(rest.above, kappa),
        below=jnp.append(rest.below, kappa),
        slope=jnp.append(rest.slope, 0.0),
        tilts=jnp.pad(rest.tilts, ((0, 0), (0, 1))),
        constants=Constants(
            smoothness=known.smoothness,
            trace={label: smoothness * rest.tilts.shape[1] + kappa},
            strong_convexity=0.0,
            optimal_value=known.optimal_value,
            dispersion=known.dispersion,
        ),
        optimum={label: jnp.concatenate([rest.optimum[label], zero])},
        start={label: jnp.zeros(rest.tilts.shape[1] + 1).at[-1].set(math.sqrt(2 * gap / kappa))},
    )


def two_type(
    dimensions: Mapping[Label, int],
    *,
    n: int,
    curvature: float = 1.0,
    spread: float = 0.5,
    noise: float = 1.0,
    key: Key | None = None,
) -> BlockQuadratic:
    r"""Components of two types, whose curvature and slope go together: the simplest sum with a bias under reshuffling.

    .. math:: f_i(z) = \sum_j \tfrac{h + a e_{ij}}{2} z_j^2 - s e_{ij} z_j, \qquad e_{ij} = \pm 1,\ \sum_i e_{ij} = 0

    The minimiser is 0, and reshuffling settles at E z_j = eta a s/(2h), for every n, beside the variance of equal
    curvatures: both terms of the lower bound of Safran & Shamir 2020. See `theory_lab.theory.reshuffling_bias`.

    Args:
        dimensions: the size of every block; every coordinate has its own signs.
        n: the number of components, even.
        curvature: h > 0.
        spread: a >= 0; beyond h the components are indefinite.
        noise: s >= 0, in every coordinate.
        key: randomness of the signs; None is key 0.

    Raises:
        ValueError: whatever breaks one of the rules above, by name, rule and value.

    Example:
        >>> two_type({"y": 1}, n=4).constants.smoothness
        {'y': 1.5}
    """
    sizes, n = dimensions_of(dimensions), _even(n)
    h, a = magnitude("curvature", curvature), magnitude("spread", spread, zero=True)
    s, d = magnitude("noise", noise, zero=True), sum(sizes.values())
    signs = _signs(n, d, key)
    return BlockQuadratic(
        dimensions=tuple(sizes.items()),
        n=n,
        hessian=jnp.full(d, h),
        deviations=jnp.asarray(a * signs[:, :, None] * np.eye(d)),
        tilts=jnp.asarray(s * signs),
        constants=Constants(
            smoothness=dict.fromkeys(sizes, h + a),
            trace={b: (h + a) * size for b, size in sizes.items()},
            strong_convexity=h,
            pl=h,
            optimal_value=0.0,
            dispersion=None if a else {b: s**2 * size for b, size in sizes.items()},
        ),
        optimum=split(jnp.zeros(d), sizes),
    )


def _even(n: int) -> int:
    if _checks.count("n", n, least=2, bits=31) % 2:
        raise _checks.refuse("n", "even", n)
    return n


def _signs(n: int, d: int, key: Key | None) -> np.ndarray:
    """+1 and -1 in equal numbers down every column, in an order of its own, (n, d)."""
    return generator(key).permuted(np.tile(np.repeat([1.0, -1.0], n // 2)[:, None], (1, d)), axis=0)
