"""Arrays that are shifted along a random direction when they are used, and not before.

`Shifted` stands for leaf + scale * v where v, the direction, is given by a key and never stored. A model asks for what it
needs: `whole` layers, one at a time inside `lax.scan`; the rows of an embedding that its tokens name; a part of a large
head. Plain arrays pass through all these functions as they are, so that one model serves both.

Directions are drawn by rows (`oracles.directions.rows`), so that what is used here and what updates the array later agree,
whatever parts either is made in: signs to the last bit, normals to the rounding of a logarithm. Nothing larger than a part
of an array is ever drawn at once. Where an array is split over devices (`split`), each draws for the rows that it has.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from theory_lab._trees import record
from theory_lab._typing import Array, Block, Key
from theory_lab.models import backend, fused
from theory_lab.models.split import Split, gathered, is_split, on_rows, rows_at, rows_from
from theory_lab.oracles import directions
from theory_lab.oracles.directions import Law

LEAST, MOST = 2**14, 2**22  # numbers drawn at once: an eighth of the array within these
MOST_ON_GPU = 2**26  # where they need no memory, but for the words that they are made of, and small parts are slow


@record(data=("value", "key", "offset", "scale"))
class Shifted:
    """value + scale * v; row i of the array is row ``offset + i`` of its direction v.

    Attributes:
        value: the array, or one slice of it along the first axis while a scan runs over it.
        key: of v.
        offset: at which row of the whole array ``value`` begins.
        scale: what v is multiplied with.
        law: of v, "gaussian" or "rademacher".
    """

    value: Array | Split
    key: Key
    offset: Array
    scale: Array
    law: Law


def is_shifted(leaf: Any) -> bool:
    return isinstance(leaf, Shifted)


def shift(block: Block, key: Key, scale: Array | float, law: Law = "gaussian") -> Block:
    """A block to be evaluated at block + scale * v, v the direction of this key.

    Example:
        >>> block, key = {"w": jnp.ones((2, 3), jnp.float32)}, jax.random.key(0)
        >>> v = directions.draw(key, block, "gaussian", (), "rows")
        >>> moved = shift(block, directions.direction_key(key, 0), 0.1)
        >>> bool(jnp.array_equal(whole(moved)["w"], 1 + jnp.float32(0.1) * v["w"]))
        True
    """
    leaves, structure = jax.tree.flatten(block, is_leaf=is_split)
    keys = jax.vmap(directions.leaf_key, (None, 0))(key, jnp.arange(len(leaves)))
    begin, scale = jnp.zeros((), jnp.uint32), jnp.asarray(scale, jnp.float32)
    lazy = [Shifted(leaf, keys[i], begin, scale, law) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, lazy)


def slices(layers: Block) -> Block:
    """Stacked arrays, shifted or not, ready for `lax.scan` over their first axis."""

    def ready(leaf: Any) -> Any:
        if not is_shifted(leaf):
            return leaf
        count, rows = leaf.value.shape[0], _rows(leaf.value) // leaf.value.shape[0] if leaf.value.ndim > 1 else 1
        every = lambda a: jnp.broadcast_to(a, (count,))
        offset = leaf.offset + jnp.arange(count, dtype=jnp.uint32) * jnp.uint32(rows)
        return Shifted(leaf.value, every(leaf.key), offset, every(leaf.scale), leaf.law)

    return jax.tree.map(ready, layers, is_leaf=is_shifted)


def whole(block: Block) -> Block:
    """The block with every shifted array made, in memory of its own, and every split one on all devices."""
    return jax.tree.map(gathered, made(block), is_leaf=is_split)


def made(block: Block) -> Block:
    """The same, but what is split stays so: a layer multiplies by parts of it that it gathers one by one.

    Example:
        >>> block, key = {"w": jnp.ones((2, 3), jnp.float32)}, jax.random.key(0)
        >>> bool(jnp.array_equal(made(shift(block, key, 0.1))["w"], whole(shift(block, key, 0.1))["w"]))
        True
    """

    def one(leaf: Any) -> Array | Split:
        if not is_shifted(leaf):
            return leaf
        copied = after(jax.random.key_data(leaf.key).ravel()[0], leaf.value)  # no copy before the key is known
        return add(copied, leaf.key[None], leaf.scale[None], leaf.law, leaf.offset)

    return jax.tree.map(one, block, is_leaf=_is_lazy)


def take(table: Array | Split | Shifted, indices: Array) -> Array:
    """The rows that the indices name: (V, E), (...) -> (..., E).

    Example:
        >>> moved = shift({"w": jnp.ones((5, 3), jnp.float32)}, jax.random.key(0), 0.1)["w"]
        >>> bool(jnp.allclose(take(moved, jnp.array([4, 1])), whole(moved)[jnp.array([4, 1])], atol=1e-6))
        True
    """
    value = table.value if isinstance(table, Shifted) else table
    found = rows_at(value, indices) if isinstance(value, Split) else value[indices]
    if not isinstance(table, Shifted):
        return found
    v = directions.rows(table.key, table.offset + indices.reshape(-1), found.shape[-1], table.law, _wide(found))
    return (found + table.scale.astype(v.dtype) * v.reshape(found.shape)).astype(found.dtype)


def part(table: Array | Split | Shifted, first: Array, count: int) -> Array:
    """Rows first, ..., first + count - 1 of a table: (V, E) -> (count, E).

    Example:
        >>> moved = shift({"w": jnp.ones((5, 3), jnp.float32)}, jax.random.key(0), 0.1)["w"]
        >>> bool(jnp.allclose(part(moved, jnp.int32(1), 3), whole(moved)[1:4], atol=1e-6))
        True
    """
    value = table.value if isinstance(table, Shifted) else table
    cut: Any = rows_from if isinstance(value, Split) else jax.lax.dynamic_slice_in_dim
    piece = cut(value, first, count)
    if not isinstance(table, Shifted):
        return gathered(piece)
    return whole(Shifted(piece, table.key, table.offset + first.astype(jnp.uint32), table.scale, table.law))


def length(table: Array | Split | Shifted) -> int:
    return int((table.value if isinstance(table, Shifted) else table).shape[0])


def add(leaf: Any, keys: Key, scales: Array, law: Law, offset: Array | int = 0) -> Any:
    """leaf + sum_j scales[j] v_j, part by part; in place if the leaf is donated and not used again.

    The sum is taken in float32 at least and rounded once. Where it is 0 the leaf keeps its bits, -0 among them.

    Args:
        leaf: any shape; its rows are counted over all axes but the last. Of a `Split` every device moves its own rows.
        keys: of the directions, (q,).
        scales: (q,).
        law: of the directions.
        offset: the row of the directions at which the leaf begins.

    Example:
        >>> leaf, keys = jnp.ones((2, 3), jnp.float32), jax.random.split(jax.random.key(0), 2)
        >>> v = [directions.rows(key, jnp.arange(2), 3, "rademacher", leaf.dtype) for key in keys]
        >>> moved = add(leaf, keys, jnp.array([0.5, 2.0]), "rademacher")
        >>> bool(jnp.array_equal(moved, leaf + 0.5 * v[0] + 2 * v[1]))
        True
    """
    if isinstance(leaf, Split):
        each = partial(_add_own, law=law, rows=leaf.shape[-2])
        return on_rows(each, leaf, keys, scales, jnp.asarray(offset, jnp.uint32))
    if law == "gaussian" and backend.one_with_kernels() and fused.fits(leaf, keys):
        return fused.add_normals(leaf, keys, scales, jnp.asarray(offset, jnp.uint32))
    width, count = leaf.shape[-1] if leaf.ndim else 1, _rows(leaf)
    table = leaf.reshape(count, width)
    most = MOST_ON_GPU if backend.gpu() else min(max(leaf.size // 8, LEAST), MOST)
    step = min(count, -(-most // width))

    def shifted(table: Array, first: Array, size: int, fresh: Array) -> Array:
        indices = jnp.asarray(offset, jnp.uint32) + (first + jnp.arange(size)).astype(jnp.uint32)
        kind = _wide(leaf)

        def along(j: Array, total: Array) -> Array:
            return total + scales[j].astype(kind) * directions.rows(keys[j], indices, width, law, kind)

        zero = jnp.zeros((size, width), kind)
        total = along(jnp.int32(0), zero) if len(keys) == 1 else jax.lax.fori_loop(0, len(keys), along, zero)
        old = jax.lax.dynamic_slice_in_dim(table, first, size)
        stays = (total == 0) | (first + jnp.arange(size) < fresh)[:, None]
        return jax.lax.dynamic_update_slice_in_dim(table, jnp.where(stays, old, (old + total).astype(leaf.dtype)), first, 0)

    def body(i: Array, table: Array) -> Array:
        first = jnp.minimum(i * step, count - step)  # the last part may reach back over rows that are done: they stay
        return shifted(table, first, step, i * step)

    parts = -(-count // step)
    table = body(jnp.int32(0), table) if parts == 1 else jax.lax.fori_loop(0, parts, body, table)
    return table.reshape(leaf.shape)


def _add_own(own: Array, first: Array, keys: Key, scales: Array, offset: Array, law: Law, rows: int) -> Array:
    """`add` on a device's rows, (R/N, C) or stacked (L, R/N, C), the first of them number ``first`` of every R."""
    if own.ndim == 2:
        return add(own, keys, scales, law, offset + first)

    def layer(i: Array, own: Array) -> Array:
        moved = add(own[i], keys, scales, law, offset + i.astype(jnp.uint32) * jnp.uint32(rows) + first)
        return jax.lax.dynamic_update_index_in_dim(own, moved, i, 0)

    return jax.lax.fori_loop(0, own.shape[0], layer, own)


def after(seen: Array, tree: Any) -> Any:
    """The same arrays and keys, not to be had before ``seen`` is; what is made of them is then not made, and kept, earlier.

    A barrier would say the same, but XLA drops barriers before it decides what is copied and how long it is kept. Here it
    must wait for a truth that it cannot foresee: of 32 bits at most 32 are set.
    """
    there = jax.lax.population_count(jax.lax.bitcast_convert_type(seen.astype(jnp.float32), jnp.uint32)) <= 32

    def later(a: Any) -> Any:
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(later(jax.random.key_data(a)), impl=jax.random.key_impl(a))
        return jnp.where(there, a, jnp.zeros_like(a))

    return jax.tree.map(later, tree)


def _is_lazy(leaf: Any) -> bool:
    return isinstance(leaf, (Shifted, Split))


def _rows(leaf: Any) -> int:
    return leaf.size // leaf.shape[-1] if leaf.ndim else 1


def _wide(leaf: Array) -> jnp.dtype:
    """The precision in which a shift is computed: float32 at least."""
    return jnp.promote_types(leaf.dtype, jnp.float32)
