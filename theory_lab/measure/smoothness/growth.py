r"""How curvature rises with the gradient: the pairs that growth functions are drawn through.

Generalised hybrid smoothness asks for non-decreasing l_b with -diag(l_b(|grad f|) I) <= Hess f <= diag(l_b(|grad f|) I).
At points z_i, of a trajectory or a cloud, one sees pairs (u_i, L_i), gradient norm and curvature; `envelopes` draws
functions above them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from theory_lab import _checks, blocks
from theory_lab._typing import Key, Params
from theory_lab.measure.smoothness import lanczos
from theory_lab.measure.smoothness._door import Objective, at_a_point, exactly
from theory_lab.measure.smoothness.curvature import Curvature

TOGETHER = 32  # points whose keys are made at a time
Keys = tuple[Key, list[Key]]  # of a point and of its blocks


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
        ValueError: no points, or points of different structure; otherwise as `smoothness.extreme_eigenvalues`.

    Example:
        >>> fn = lambda z: jax.numpy.sum(jax.numpy.cosh(z["x"]))  # l(u)^2 = 1 + u^2
        >>> rows = growth(fn, [{"x": jax.numpy.full(1, t)} for t in (0.0, 2.0)], key=jax.random.key(0))
        >>> [round(float(l**2 - u**2), 3) for u, l in zip(rows.gradient_norm, rows.block_x)]
        [1.0, 1.0]
    """
    if not isinstance(points, Sequence) or isinstance(points, str) or len(points) == 0:
        raise _checks.refuse("points", "a non-empty sequence of parameters", points)
    _checks.key("key", key)
    probability = _checks.between("probability", probability, 0, 1, closed="()")
    shapes = [jax.tree.map(np.shape, blocks.as_params("params", point)) for point in points]
    for i, found in enumerate(shapes):
        if found != shapes[0]:
            raise _checks.refuse(f"points[{i}]", f"of the labels and shapes of points[0], {shapes[0]}", found)
    every = _keys(key, len(points), len(shapes[0]))
    return pd.DataFrame(
        [_row(fn, point, own, iterations, probability, args) for point, own in zip(points, every, strict=True)]
    )


def _keys(key: Key, points: int, labels: int) -> Iterator[Keys]:
    """A key for every point, and for each of its blocks one folded from that."""
    for first in range(0, points, TOGETHER):
        some = iter(_folded(key, first, labels))  # one by one from a row: taking them out singly takes longer
        for _ in range(min(TOGETHER, points - first)):
            own, *of_blocks = (next(some) for _ in range(1 + labels))
            yield own, of_blocks


@jax.jit(static_argnums=2)
def _folded(key: Key, first: int, labels: int) -> Key:
    """The keys of `TOGETHER` points from the first, each followed by those of its blocks, in one row."""
    own = jax.vmap(lambda i: jax.random.fold_in(key, first + i))(jnp.arange(TOGETHER))
    of_blocks = jax.vmap(lambda one: jax.vmap(lambda i: jax.random.fold_in(one, i))(jnp.arange(labels)))(own)
    return jnp.concatenate([own[:, None], of_blocks], axis=1).ravel()


def _row(
    fn: Objective, params: Params, keys: Keys, iterations: int, probability: float, args: Sequence[Any]
) -> dict[str, float]:
    point, arrays = at_a_point(fn, params, args)
    whole = Curvature(fn, None, point, dict.fromkeys(point, 1.0), arrays)
    key, of_blocks = keys
    each = 1 - (1 - probability) / (len(point) + 1)
    norms, outer = {}, {}
    for label, own in zip(point, of_blocks, strict=True):
        found = lanczos.extremes(replace(whole, block=label), own, iterations, each)
        if found is None:
            norms[label] = outer[label] = np.nan
            continue
        low, high, _ = found
        norms[label] = max(0.0, -low.value, high.value)
        outer[label] = max(0.0, -low.low, high.high)
    top, finite = max(outer.values()), np.isfinite(list(outer.values())).all()
    multiple = 0.0 if finite and top == 0 else np.nan
    if finite and top > 0:
        outer = {label: max(s, 1e-6 * top) for label, s in outer.items()}
        scaled = replace(whole, scales={label: s**-0.5 for label, s in outer.items()})
        found = lanczos.extremes(scaled, key, iterations, each)
        multiple = np.nan if found is None else max(-found[0].low, found[1].high)
    return {
        "gradient_norm": float(_gradient_norm(fn, point, arrays)),
        **{f"block_{label}": norms[label] for label in point},
        **{f"smoothness_{label}": multiple * outer[label] for label in point},
    }


@jax.jit(static_argnums=0)
def _gradient_norm(fn: Objective, point: Params, args: tuple[Any, ...]) -> Any:
    return blocks.norm_sq(jax.grad(lambda at: exactly(fn, at, args))(point)) ** 0.5
