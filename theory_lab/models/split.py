"""Arrays that are split over devices, and made whole where they are used, a matrix at a time.

`Split` stands for a matrix (..., R, C) of which each of N devices holds R/N rows. Outside of a compiled step it is an
ordinary array with a named sharding; inside it is `wrapped`, so that the model knows. `gathered` is the whole matrix on
all devices; its gradient comes back split, summed over the devices' examples. Rows of a table come from the device that has
them (`rows_at`). The directions of finite differences belong to rows, so each device draws those of its own (`on_rows`), and
what it draws depends on no split.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import linear_call
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from theory_lab._trees import record
from theory_lab._typing import Array
from theory_lab.devices import AXIS


@record(data=("value",))
class Split:
    """An array (..., R, C), R split over the devices of a mesh; inside a scan over stacked layers one of its slices."""

    value: Array
    mesh: Mesh

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def ndim(self) -> int:
        return self.value.ndim

    @property
    def size(self) -> int:
        return self.value.size

    @property
    def dtype(self) -> jnp.dtype:
        return self.value.dtype


def is_split(leaf: Any) -> bool:
    return isinstance(leaf, Split)


def rows_of(ndim: int) -> PartitionSpec:
    """How the last axis but one is split.

    Example:
        >>> tuple(rows_of(3))
        (None, 'devices')
    """
    return PartitionSpec(*[None] * (ndim - 2), AXIS)


def wrapped(leaf: Array, where: Any) -> Array | Split:
    """A `Split` of an array that lies there, if its rows do; else the array.

    Example:
        >>> wrapped(jnp.ones((2, 3)), None).shape  # it lies on one device
        (2, 3)
    """
    split = isinstance(where, NamedSharding) and where.mesh.size > 1 and leaf.ndim > 1 and where.spec == rows_of(leaf.ndim)
    return Split(leaf, where.mesh) if split else leaf


def bare(tree: Any) -> Any:
    """The arrays themselves."""
    return jax.tree.map(lambda leaf: leaf.value if is_split(leaf) else leaf, tree, is_leaf=is_split)


def like(tree: Any, other: Any) -> Any:
    """Bare arrays wrapped as those of another tree."""
    again = lambda old, leaf: Split(leaf, old.mesh) if is_split(old) else leaf
    return jax.tree.map(again, other, tree, is_leaf=is_split)


def gathered(leaf: Array | Split) -> Array:
    """The whole array on every device; its gradient comes back split, summed over the devices' examples."""
    if not isinstance(leaf, Split):
        return leaf
    placed = lambda a, spec: jax.lax.with_sharding_constraint(a, NamedSharding(leaf.mesh, spec))
    whole, back = lambda _, value: placed(value, PartitionSpec()), lambda _, slope: placed(slope, rows_of(slope.ndim))
    return linear_call(whole, back, (), leaf.value)


def on_rows(fn: Callable[..., Array], leaf: Split, *more: Any) -> Split:
    """``fn(its rows (R/N, C), the number of the first of them, *more)`` on every device, for a matrix (R, C)."""

    def local(value: Array, *more: Any) -> Array:
        return fn(value, jax.lax.axis_index(AXIS).astype(jnp.uint32) * jnp.uint32(value.shape[-2]), *more)

    specs = (rows_of(leaf.ndim), *[PartitionSpec()] * len(more))
    mapped = jax.shard_map(local, mesh=leaf.mesh, in_specs=specs, out_specs=rows_of(leaf.ndim), check_vma=False)
    return Split(mapped(leaf.value, *more), leaf.mesh)


def rows_at(table: Split, indices: Array) -> Array:
    """The rows that the indices name, (R, C), (B, ...) -> (B, ..., C), of which each device gets its share of B.

    Every device looks up what it has, zeros elsewhere; the sum of all is exact. Where N does not divide B, all get all.
    """
    share = indices.shape[0] % table.mesh.size == 0

    def local(rows: Array, indices: Array) -> Array:
        mine = indices - jax.lax.axis_index(AXIS) * rows.shape[0]
        here = (mine >= 0) & (mine < rows.shape[0])
        found = jnp.where(here[..., None], rows[jnp.clip(mine, 0, rows.shape[0] - 1)], 0)
        if share:
            return jax.lax.psum_scatter(found, AXIS, scatter_dimension=0, tiled=True)
        return jax.lax.psum(found, AXIS)

    out = PartitionSpec(AXIS) if share else PartitionSpec()
    specs = (rows_of(2), PartitionSpec())
    return jax.shard_map(local, mesh=table.mesh, in_specs=specs, out_specs=out)(table.value, indices)


def rows_from(table: Split, first: Array, count: int) -> Array | Split:
    """Rows first, ..., first + count - 1, split again where N divides their number."""
    found = rows_at(table, first + jnp.arange(count))
    return found if count % table.mesh.size else Split(found, table.mesh)
