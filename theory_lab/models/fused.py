"""Normals that are made where they are added, in one kernel: leaf + sum_j scales[j] v_j on a GPU.

Compiled from plain arrays, the words of a normal and its partner's go through memory, or are made twice. Here a program has
a part of one row: it makes the row's key, the words, the normals, and writes the sum over the leaf. The numbers are those of
`oracles.directions.rows`, to the rounding of logarithms and products.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from theory_lab._typing import Array, Key
from theory_lab.oracles.gaussian import polar
from theory_lab.oracles.words import pair, threefry

try:
    from jax.experimental.pallas import triton
except ImportError:  # JAX 0.11 announces that it will go: plain arrays then
    triton = None  # type: ignore[assignment]

LEAST, MOST = 64, 1024  # pairs of normals of one program, a power of two


def fits(leaf: Array, keys: Key) -> bool:
    """Whether rows are long enough, and even enough, for the kernel, and the keys Threefry's, whose rows' keys it makes."""
    threefry = jax.random.key_data(keys).shape[-1:] == (2,)
    return triton is not None and threefry and jnp.finfo(leaf.dtype).bits <= 32 and _share(leaf) >= LEAST


def add_normals(leaf: Array, keys: Key, scales: Array, offset: Array, *, interpret: bool = False) -> Array:
    """leaf + sum_j scales[j] v_j, in place if the leaf is donated; keeps the bits where that sum is 0.

    Args:
        leaf: (..., width) that `fits`.
        keys: of the gaussian directions, (q,).
        scales: (q,).
        offset: the row of the directions at which the leaf begins.
        interpret: run the kernel as plain arrays, where there is no GPU.

    Example:
        >>> from theory_lab.oracles import directions
        >>> keys, leaf = jax.random.key(0)[None], jnp.ones((2, 128), jnp.float32)
        >>> moved = add_normals(leaf, keys, jnp.array([0.5], jnp.float32), jnp.uint32(3), interpret=True)
        >>> v = directions.rows(keys[0], jnp.array([3, 4]), 128, "gaussian", jnp.dtype("float32"))
        >>> bool(jnp.allclose(moved, leaf + 0.5 * v, atol=1e-5))
        True
    """
    width, share = leaf.shape[-1], _share(leaf)
    count, parts = leaf.size // width, width // 2 // share
    words = jax.vmap(pair)(keys)  # (q, 2)
    table = leaf.reshape(count, 2, width // 2)
    here = pl.BlockSpec((1, 2, share), lambda i: (i // parts, 0, i % parts))
    whole = lambda a: pl.BlockSpec(a.shape, lambda i: (0,) * a.ndim)
    given = (words, scales.astype(jnp.float32), jnp.asarray(offset, jnp.uint32).reshape(1))
    made = pl.pallas_call(
        partial(_kernel, parts=parts),
        grid=(count * parts,),
        in_specs=[*(whole(a) for a in given), here],
        out_specs=here,
        out_shape=jax.ShapeDtypeStruct(table.shape, table.dtype),
        input_output_aliases={3: 0},
        interpret=interpret,
        compiler_params=None if interpret else triton.CompilerParams(num_warps=4, num_stages=1),
    )(*given, table)
    return made.reshape(leaf.shape)


def _kernel(words: Any, scales: Any, offset: Any, old: Any, new: Any, *, parts: int) -> None:
    """One program: ``share`` numbers of a row's first half and their partners of its second."""
    share = old.shape[-1]
    row, part = pl.program_id(0) // parts, pl.program_id(0) % parts
    index = offset[0] + row.astype(jnp.uint32)
    column = (part * share).astype(jnp.uint32) + jax.lax.iota(jnp.uint32, share)
    nothing = jnp.uint32(0)

    def along(j: Array | int, total: tuple[Array, Array]) -> tuple[Array, Array]:
        key = threefry((words[j, 0], words[j, 1]), (nothing, index))
        made = polar(*threefry(key, (jnp.zeros_like(column), column)))
        return total[0] + scales[j] * made[0], total[1] + scales[j] * made[1]

    zero = jnp.zeros(share, jnp.float32)
    total = jax.lax.fori_loop(0, len(scales), along, (zero, zero)) if scales.shape[0] > 1 else along(0, (zero, zero))
    for half in (0, 1):
        value = old[0, half, :]
        moved = (value.astype(jnp.float32) + total[half]).astype(value.dtype)
        new[0, half, :] = jnp.where(total[half] == 0, value, moved)


def _share(leaf: Array) -> int:
    """The largest power of two that divides half a row, up to `MOST`; 0 for odd rows and for numbers."""
    half, odd = divmod(leaf.shape[-1] if leaf.ndim else 1, 2)
    return 0 if odd or not half else min(half & -half, MOST)
