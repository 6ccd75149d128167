"""Random directions for finite differences, drawn in bulk and leaf by leaf.

Three laws, all with second moment proportional to the identity. ``radius`` is what a direction is multiplied with
before it is added to the parameters:

    gaussian    v ~ N(0, I)                           E vv' = I
    rademacher  v_i = +-1 independently               E vv' = I
    sphere      v uniform on the unit sphere S^{d-1}  E vv' = I/d
"""

from typing import Literal

import jax
import jax.numpy as jnp

from theory_lab import blocks
from theory_lab._typing import Array, Block, Key

Law = Literal["gaussian", "rademacher", "sphere"]
LAWS: tuple[Law, ...] = ("gaussian", "rademacher", "sphere")


def draw(key: Key, like: Block, law: Law, count: int) -> Block:
    """``count`` independent directions, stacked along a new leading axis of every leaf of ``like``.

    The leaves together are one vector: a direction on the sphere has unit norm over all of them.
    """
    leaves, structure = jax.tree.flatten(like)
    keys = [key] if len(leaves) == 1 else jax.random.split(key, len(leaves))
    sample = jax.random.rademacher if law == "rademacher" else jax.random.normal
    drawn = [sample(k, (count, *jnp.shape(leaf)), jnp.result_type(leaf)) for k, leaf in zip(keys, leaves, strict=True)]
    if law == "sphere":
        norm = jnp.sqrt(sum(jnp.sum(jnp.square(v.reshape(count, -1)), axis=1) for v in drawn))
        drawn = [v / norm.reshape(count, *[1] * (v.ndim - 1)) for v in drawn]
    return jax.tree.unflatten(structure, drawn)


def scale(like: Block, law: Law) -> int:
    """The factor c for which E c vv' = I: the dimension d on the sphere, else 1."""
    return blocks.size(like) if law == "sphere" else 1


def combine(slopes: Array, directions: Block) -> Block:
    """The mean over directions of slope times direction: slopes (q,), leaves (q, ...) -> leaves (...)."""
    return jax.tree.map(lambda v: jnp.tensordot(slopes, v, axes=1) / slopes.shape[0], directions)
