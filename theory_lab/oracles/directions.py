"""Random directions for finite differences, drawn in bulk and leaf by leaf.

Three laws, all with second moment proportional to the identity. ``radius`` is what a direction is multiplied with
before it is added to the parameters:

    gaussian    v ~ N(0, I)                           E vv' = I
    rademacher  v_i = +-1 independently               E vv' = I
    sphere      v uniform on the unit sphere S^{d-1}  E vv' = I/d
"""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import blocks
from theory_lab._typing import Array, Block, Key
from theory_lab.oracles.gaussian import normal, polar
from theory_lab.oracles.words import blocks as words_of

Law = Literal["gaussian", "rademacher", "sphere"]
LAWS: tuple[Law, ...] = ("gaussian", "rademacher", "sphere")
Stream = Literal["bulk", "rows"]
STREAMS: tuple[Stream, ...] = ("bulk", "rows")


def draw(key: Key, like: Block, law: Law, shape: tuple[int, ...], stream: Stream = "bulk") -> Block:
    """Independent directions, leaves ``(*shape, *leaf.shape)``.

    The leaves together are one vector: a direction on the sphere has unit norm over all of them. In bulk, numbers are made
    in one flat run, kept apart from the reshaping that follows: compilers vectorise long rows well and short ones badly.
    As rows, every row of every leaf has a key of its own, by `direction_key`, `leaf_key` and `rows`.
    """
    leaves, structure = jax.tree.flatten(like)
    keys = [key] if len(leaves) == 1 else jax.random.split(key, len(leaves))
    count = math.prod(shape)
    flat = _by_rows(key, leaves, law, count) if stream == "rows" else _in_bulk(keys, leaves, law, count)
    drawn = [jax.lax.optimization_barrier(v).reshape(*shape, *leaf.shape) for v, leaf in zip(flat, leaves, strict=True)]
    if law == "sphere":
        # The sums apart from the root: fused with it, jaxlib 0.11.2 returns norms of 0 for thousands of directions on a CPU.
        sums = [jax.lax.optimization_barrier(jnp.sum(jnp.square(v.reshape(*shape, -1)), axis=-1)) for v in drawn]
        norm = jnp.sqrt(sum(sums))
        drawn = [
            v / norm.reshape(*shape, *[1] * leaf.ndim).astype(leaf.dtype) for v, leaf in zip(drawn, leaves, strict=True)
        ]
    return jax.tree.unflatten(structure, drawn)


def _by_rows(key: Key, leaves: list[Array], law: Law, count: int) -> list[Array]:
    """So many directions, leaf by leaf, every row by a key of its own."""
    flat = []
    for i, leaf in enumerate(leaves):
        width = leaf.shape[-1] if leaf.ndim else 1
        every = jax.vmap(lambda j, i=i: leaf_key(direction_key(key, j), i))(jnp.arange(count))
        one = lambda k, n=leaf.size // width, w=width, t=leaf.dtype: rows(k, jnp.arange(n), w, law, t)
        flat.append(jax.vmap(one)(every))
    return flat


def _in_bulk(keys: Any, leaves: list[Array], law: Law, count: int) -> list[Array]:
    """So many directions, leaf by leaf; leaves of one size by one piece of program, which is what compiling them costs."""
    alike: dict[tuple[int, Any], list[int]] = {}
    for i, leaf in enumerate(leaves):
        alike.setdefault((leaf.size, leaf.dtype), []).append(i)
    flat: dict[int, Array] = {}
    for (size, dtype), places in alike.items():
        one = lambda k, n=count * size, t=dtype: numbers(k, n, law, t)
        if len(places) == 1:
            flat[places[0]] = one(keys[places[0]])
        else:
            flat |= zip(places, jax.vmap(one)(keys[np.array(places)]), strict=True)
    return [flat[i] for i in range(len(leaves))]


def numbers(key: Key, count: int, law: Law, dtype: jnp.dtype) -> Array:
    """A flat run of independent numbers, (count,): signs for rademacher, else standard normals."""
    return jax.random.rademacher(key, (count,), dtype) if law == "rademacher" else normal(key, count, dtype)


def direction_key(key: Key, index: int | Array) -> Key:
    """The key of one of several directions, drawn by rows."""
    return jax.random.fold_in(key, index)


def leaf_key(key: Key, leaf: int | Array) -> Key:
    """The key of a leaf within a direction: by its place in the block, in the order of `jax.tree.leaves`."""
    return jax.random.fold_in(key, leaf)


def rows(key: Key, indices: Array, width: int, law: Law, dtype: jnp.dtype) -> Array:
    """Some rows of a leaf's direction, (N, width): row i has the key ``fold_in(key, i)``, whichever others are drawn.

    The rows of a leaf (..., width) are counted over all axes but the last. So any part of a direction can be made again from
    its key alone: one layer, or the embeddings of a few tokens. A row's words are `words.blocks`: a block makes 64 signs, or
    two normals, of which the second belongs to the second half of the row. Below float64 they are drawn in float32.
    """
    keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(indices)
    if law == "rademacher":
        return _signs(keys, width).astype(dtype)
    if dtype == jnp.float64:
        return jax.vmap(lambda k: normal(k, width, dtype))(keys)
    words = jax.lax.optimization_barrier(words_of(keys, -(-width // 2)))  # once, and not for either half again
    halves = jax.lax.optimization_barrier(polar(*words))
    return jnp.concatenate(halves, axis=1)[:, :width].astype(dtype)


def _signs(keys: Key, width: int) -> Array:
    """Rows of -1 and 1, (N, width): the bits of a row's words, from the lowest of each."""
    words = jnp.concatenate(words_of(keys, -(-width // 64)), axis=1)[:, : -(-width // 32)]  # (N, W)
    words = jax.lax.optimization_barrier(words)  # 32 numbers are made of one: it must not be made 32 times
    bits = (words[:, :, None] >> jnp.arange(32, dtype=jnp.uint32)) & 1  # (N, W, 32)
    return 1 - 2 * bits.reshape(len(words), -1)[:, :width].astype(jnp.int32)


def scale(like: Block, law: Law) -> int:
    """The factor c for which E c vv' = I: the dimension d on the sphere, else 1."""
    return blocks.size(like) if law == "sphere" else 1


def combine(slopes: Array, directions: Block) -> Block:
    """The mean over directions of slope times direction: slopes (q,), leaves (q, ...) -> leaves (...) of the same dtype."""
    return jax.tree.map(lambda v: jnp.tensordot(slopes.astype(v.dtype), v, axes=1) / slopes.shape[0], directions)
