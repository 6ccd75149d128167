"""Blocks: the top-level keys of a parameter dict.

``{"x": ..., "y": ...}`` on synthetic problems, ``{"base": ..., "peft": ...}`` on models. Whatever stands under a label is
one block: an array or any pytree of arrays. Everything that is said *per block* (step sizes, smoothness, norms) is a
mapping with the same keys.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks
from theory_lab._typing import Array, Block, Label, Params


def labels(params: Params) -> tuple[Label, ...]:
    """The labels in sorted order, the order in which pytrees, keys and matrices go through them.

    Example:
        >>> labels({"y": 0.0, "x": 0.0})
        ('x', 'y')
    """
    return tuple(sorted(params))


def size(block: Block) -> int:
    """How many numbers a block holds: its dimension d_b."""
    return sum(int(leaf.size) for leaf in jax.tree.leaves(block))


def norm_sq(block: Block) -> Array:
    """Squared Euclidean norm of a block, a scalar."""
    return sum((jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(block)), start=jnp.asarray(0.0))


def norms_sq(params: Params) -> dict[Label, Array]:
    """Squared Euclidean norm of every block."""
    return {label: norm_sq(params[label]) for label in labels(params)}


def as_array(value: object) -> Array:
    """A leaf as an array; a TypeError for what is no number, without the warning that JAX would let NumPy give."""
    return value if isinstance(value, jax.Array) else jnp.asarray(np.asarray(value))


def check_leaves(name: str, block: Block) -> None:
    """Refuse a block that holds no numbers, or numbers that are not finite float32 or float64; of shapes, their dtype."""
    if size(block) == 0:
        raise _checks.refuse(name, "of dimension at least 1", block)
    for path, leaf in jax.tree.leaves_with_path(block):
        called = name + jax.tree_util.keystr(path)
        _checks.precision(called, leaf.dtype)
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            _checks.finite(called, leaf)


def as_params(name: str, params: Params) -> dict[Label, Block]:
    """Parameters as arrays, in sorted order, refused by `check_leaves` unless every block is sound."""
    arrays = {}
    for label, block in sorted(_checks.labelled(name, params).items()):
        try:
            arrays[label] = jax.tree.map(as_array, block)
        except TypeError:
            raise _checks.refuse(f"{name}[{label!r}]", "arrays of numbers", block) from None
        check_leaves(f"{name}[{label!r}]", arrays[label])
    return arrays


def check_params(params: Params, like: Params, name: str = "params") -> None:
    """Refuse parameters whose blocks, shapes or precision differ from a problem's own ``init``, or that are not finite."""
    _checks.same_labels(name, _checks.labelled(name, params), like, "the problem")
    for label in labels(like):
        given, expected = (jax.tree.map(lambda a: jnp.shape(a), side[label]) for side in (params, like))
        if given != expected:
            raise ValueError(f"{name}[{label!r}] must be of shape {expected}, got {given}")
        for (path, leaf), own in zip(jax.tree.leaves_with_path(params[label]), jax.tree.leaves(like[label]), strict=True):
            called, kind = f"{name}[{label!r}]{jax.tree_util.keystr(path)}", np.asarray(leaf).dtype
            _checks.precision(called, kind)
            if jax.dtypes.canonicalize_dtype(kind) != own.dtype:
                raise _checks.refuse(called, f"of the problem's precision, {own.dtype}", str(kind))
            _checks.finite(called, leaf)


def inner(features: Mapping[Label, Array], params: Params) -> Array:
    """The sum over blocks of ``features[b] @ params[b]``: a linear model whose columns are split into blocks."""
    return sum((features[label] @ params[label] for label in labels(features)), start=jnp.asarray(0.0))
