"""Random directions for finite differences, drawn in bulk and leaf by leaf.

Three laws, all with second moment proportional to the identity. ``radius`` is what a direction is multiplied with
before it is added to the parameters:

    gaussian    v ~ N(0, I)                           E vv' = I
    rademacher  v_i = +-1 independently               E vv' = I
    sphere      v uniform on the unit sphere S^{d-1}  E vv' = I/d
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp

from theory_lab import blocks
from theory_lab._typing import Array, Block, Key
from theory_lab.oracles.gaussian import normal

Law = Literal["gaussian", "rademacher", "sphere"]
LAWS: tuple[Law, ...] = ("gaussian", "rademacher", "sphere")


def draw(key: Key, like: Block, law: Law, shape: tuple[int, ...]) -> Block:
    """Independent directions, leaves ``(*shape, *leaf.shape)``.

    The leaves together are one vector: a direction on the sphere has unit norm over all of them. Numbers are made in one
    flat run, kept apart from the reshaping that follows: compilers vectorise long rows well and short ones badly.
    """
    leaves, structure = jax.tree.flatten(like)
    keys = [key] if len(leaves) == 1 else jax.random.split(key, len(leaves))
    count = math.prod(shape)
    drawn = []
    for k, leaf in zip(keys, leaves, strict=True):
        numbers = count * leaf.size
        signs = law == "rademacher"
        flat = jax.random.rademacher(k, (numbers,), leaf.dtype) if signs else normal(k, numbers, leaf.dtype)
        drawn.append(jax.lax.optimization_barrier(flat).reshape(*shape, *leaf.shape))
    if law == "sphere":
        # The sums apart from the root: fused with it, jaxlib 0.11.2 returns norms of 0 for thousands of directions on a CPU.
        sums = [jax.lax.optimization_barrier(jnp.sum(jnp.square(v.reshape(*shape, -1)), axis=-1)) for v in drawn]
        norm = jnp.sqrt(sum(sums))
        drawn = [
            v / norm.reshape(*shape, *[1] * leaf.ndim).astype(leaf.dtype) for v, leaf in zip(drawn, leaves, strict=True)
        ]
    return jax.tree.unflatten(structure, drawn)


def scale(like: Block, law: Law) -> int:
    """The factor c for which E c vv' = I: the dimension d on the sphere, else 1."""
    return blocks.size(like) if law == "sphere" else 1


def combine(slopes: Array, directions: Block) -> Block:
    """The mean over directions of slope times direction: slopes (q,), leaves (q, ...) -> leaves (...) of the same dtype."""
    return jax.tree.map(lambda v: jnp.tensordot(slopes.astype(v.dtype), v, axes=1) / slopes.shape[0], directions)
