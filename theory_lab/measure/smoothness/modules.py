r"""Modules inside a block: the same parameters under finer labels, so that every measurement of blocks is one of modules.

A module is what stands under a path: "y/layers/attention". `modules` returns a function of a dict of modules that has the
values of the given function of blocks. Its Hessian is the same matrix with other blocks drawn in; so extreme eigenvalues,
traces, ranks, cross norms, margins with a scale for every module and frontiers need no second implementation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd

from theory_lab import _checks, blocks
from theory_lab._typing import Array, Key, Label, Params
from theory_lab.measure.base import unmeasured
from theory_lab.measure.smoothness import lanczos
from theory_lab.measure.smoothness._door import Objective, at_a_point
from theory_lab.measure.smoothness.curvature import curvature
from theory_lab.measure.smoothness.traces import ratio, trace

Place = tuple[Label, str]  # the module, and the rest of the path inside it


@dataclass(frozen=True)
class Relabelled:
    """fn of a dict of modules; `modules` makes it. Two of the same function and partition are equal and compile once.

    Attributes:
        fn: the function of blocks.
        structure: that of its parameters.
        places: for every leaf where it is found; several for a stacked one, a place for each layer.
    """

    fn: Objective
    structure: Any
    places: tuple[tuple[Place, ...], ...]

    def __call__(self, params: Params, *args: Any) -> Array:
        """fn at the parameters that the modules make up."""
        return self.fn(self.restore(params), *args)

    def restore(self, params: Params) -> Params:
        """The parameters by blocks again."""
        leaves = []
        for places in self.places:
            parts = [params[module][rest] if rest else params[module] for module, rest in places]
            leaves.append(parts[0] if len(parts) == 1 else jnp.stack(parts))
        return jax.tree.unflatten(self.structure, leaves)


def modules(
    fn: Objective, params: Params, *, depth: int | Mapping[Label, int] = 2, stacked: Sequence[str] = ()
) -> tuple[Relabelled, dict[Label, Any]]:
    """A function of blocks as a function of modules, and the point in those.

    Args:
        fn: a function of the parameters, fn(params, *args).
        params: a dict of blocks of arrays.
        depth: how many keys of a path name a module, the block's label being the first: 1 leaves the blocks as they are. A
            mapping gives each block its own.
        stacked: paths of subtrees whose leaves are stacked layers, all with a leading axis of the same length: the layer
            becomes the next key of the path, "y/layers/03/attention".

    Returns:
        The function and its parameters: labels are paths joined by "/", and under each stands the array, or a dict of
        arrays by the rest of their paths.

    Raises:
        ValueError: parameters that are not finite arrays of float32 or float64, depths that are not whole numbers of at
            least 1 or not of the blocks, stacked paths with nothing below or no common leading axis, keys whose joined
            paths coincide.

    Example:
        >>> fn = lambda z: jnp.sum(z["y"]["a"] ** 2) + 5 * jnp.sum(z["y"]["b"] ** 2) + jnp.sum(z["x"])
        >>> point = {"x": jnp.ones(2), "y": {"a": jnp.ones(3), "b": jnp.ones(1)}}
        >>> finer, where = modules(fn, point)
        >>> sorted(where), float(finer(where)) == float(fn(point))
        (['x', 'y/a', 'y/b'], True)
        >>> from theory_lab.measure.smoothness import margin
        >>> scales = {"x": 1.0, "y/a": 2.1, "y/b": 10.1}
        >>> margin(finer, where, scales, key=jax.random.key(0)).two_sided
        'certified'
    """
    if not callable(fn):
        raise _checks.refuse("fn", "a function of the parameters", fn)
    point = blocks.as_params("params", params)
    depths = dict.fromkeys(point, depth) if not isinstance(depth, Mapping) else depth
    _checks.same_labels("depth", depths, point)
    for label, levels in depths.items():
        _checks.count(f"depth[{label!r}]" if isinstance(depth, Mapping) else "depth", levels)
    leaves, structure = jax.tree_util.tree_flatten_with_path(point)
    paths = [tuple(_word(entry) for entry in path) for path, _ in leaves]
    layers = _layers(paths, [leaf for _, leaf in leaves], stacked)
    found: dict[Label, Any] = {}
    places = []
    for path, (_, leaf) in zip(paths, leaves, strict=True):
        at, count = layers.get(path, (0, 0))
        names = [path] if not count else [(*path[:at], f"{i:0{len(str(count - 1))}d}", *path[at:]) for i in range(count)]
        own = tuple(("/".join(name[: depths[name[0]]]), "/".join(name[depths[name[0]] :])) for name in names)
        for i, place in enumerate(own):
            _put(found, place, leaf[i] if count else leaf)
        places.append(own)
    return Relabelled(fn, structure, tuple(places)), dict(sorted(found.items()))


def _put(found: dict[Label, Any], place: Place, part: Array) -> None:
    """An array where it belongs, which nothing else may be."""
    module, rest = place
    if module in found and (not rest or not isinstance(found[module], dict) or rest in found[module]):
        path = f"{module}/{rest}" if rest else module
        raise _checks.refuse("params", "of paths that differ once their keys are joined by '/'", path)
    if rest:
        found.setdefault(module, {})[rest] = part
    else:
        found[module] = part


def _word(entry: Any) -> str:
    """A key of a path: of a dict, an index, or the name of a field."""
    for name in ("key", "idx", "name"):
        if hasattr(entry, name):
            return str(getattr(entry, name))
    return str(entry)


def _layers(paths: Sequence[tuple[str, ...]], leaves: Sequence[Any], stacked: Any) -> dict[tuple[str, ...], tuple[int, int]]:
    """For every leaf that is stacked, at which place of its path the layer enters and how many there are."""
    if isinstance(stacked, str) or not isinstance(stacked, Sequence):
        raise _checks.refuse("stacked", "a list of paths", stacked)
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    for one in stacked:
        prefix = tuple(_checks.text("stacked", one).split("/"))
        below = [(path, leaf) for path, leaf in zip(paths, leaves, strict=True) if path[: len(prefix)] == prefix]
        lengths = {leaf.shape[0] if leaf.ndim else 0 for _, leaf in below}
        if len(lengths) != 1 or lengths == {0} or any(path in found for path, _ in below):
            raise _checks.refuse("stacked", "paths of arrays with one common leading axis, each once", one)
        found |= {path: (len(prefix), leaf.shape[0]) for path, leaf in below}
    return found


def heterogeneity(
    fn: Objective,
    params: Params,
    *,
    key: Key,
    iterations: int = 30,
    products: int = 48,
    probability: float = 0.99,
    args: Sequence[Any] = (),
) -> pd.DataFrame:
    r"""The curvature of every block, or of every module: ``heterogeneity(*modules(fn, params), key=key)``.

    .. math:: \|H_{mm}\|, \qquad \operatorname{tr} H_{mm}, \qquad r_m = \operatorname{tr} H_{mm} / \|H_{mm}\|

    Every row is compiled by itself, norm and trace, which is most of the time for many small modules.

    Args:
        fn: a twice differentiable scalar function, fn(params, *args).
        params: the point; its labels are the rows.
        key: the random starts and probes.
        iterations: products for a norm, at most.
        products: for a trace, at most.
        probability: that all intervals of the table hold together (Bonferroni).
        args: further arguments of fn, arrays.

    Returns:
        A row for every label: module; parameters, their number; norm, trace and rank (effective), each with its _low and
        _high; products spent. What is not finite is nan; so is the rank where there is no curvature.

    Raises:
        ValueError: as `smoothness.extreme_eigenvalues` and `smoothness.trace`.

    Example:
        >>> fn = lambda z: jnp.sum(z["y"]["a"] ** 2) + 5 * jnp.sum(z["y"]["b"] ** 2)
        >>> point = {"y": {"a": jnp.ones(3), "b": jnp.ones(1)}}
        >>> heterogeneity(*modules(fn, point), key=jax.random.key(0))[["module", "norm", "trace", "rank"]].round(3)
          module  norm  trace  rank
        0    y/a   2.0    6.0   3.0
        1    y/b  10.0   10.0   1.0
    """
    point, arrays = at_a_point(fn, params, args)
    _checks.key("key", key)
    probability = _checks.between("probability", probability, 0, 1, closed="()")
    each = 1 - (1 - probability) / (2 * len(point))
    rows = []
    for i, label in enumerate(blocks.labels(point)):
        one, other = jax.random.split(jax.random.fold_in(key, i))
        ends = lanczos.extremes(curvature(fn, point, block=label, args=arrays), one, iterations, each)
        size = unmeasured("norm", 1, "") if ends is None else lanczos.norm(ends[0], ends[1])
        total = trace(fn, point, key=other, block=label, products=products, confidence=each, args=arrays)
        rank = ratio("effective rank", total, size, blocks.size(point[label]))
        row = {"module": label, "parameters": blocks.size(point[label])}
        for name, measured in (("norm", size), ("trace", total), ("rank", rank)):
            row |= {name: measured.value, f"{name}_low": measured.low, f"{name}_high": measured.high}
        rows.append({**row, "products": size.products + total.products})
    return pd.DataFrame(rows)
