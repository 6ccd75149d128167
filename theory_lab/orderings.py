"""Orderings: which component a step looks at.

An ordering is a pure function ``(key, epoch, n) -> (n,) int32 indices``. It knows nothing of the oracle, the step sizes or
the iterates, so resuming, mapping over seeds or splitting work across devices cannot change it, and runs that share a
key share their permutations. All refuse (ValueError) what is no single typed key, an epoch below 0 and an n below 1.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks
from theory_lab._typing import Array, Key, Scalar

Ordering = Callable[[Key, Scalar, int], Array]


def random_reshuffling(key: Key, epoch: Scalar, n: int) -> Array:
    """A fresh uniform permutation every epoch (RR).

    The stream of permutations depends on the key, the epoch, n, and whether JAX runs with 64-bit types: the same key gives
    other permutations in float32 mode than in float64 mode.

    Example:
        >>> sorted(random_reshuffling(jax.random.key(0), 3, 4).tolist())
        [0, 1, 2, 3]
    """
    n = _checked(key, epoch, n)
    if n == 1:
        return jnp.zeros(1, jnp.int32)
    key = jax.random.fold_in(key, epoch)
    if jax.dtypes.canonicalize_dtype(jnp.uint64) != jnp.uint64:  # 64-bit types are switched off
        return jax.random.permutation(key, jnp.arange(n, dtype=jnp.int32))
    # One sort of 64-bit words, random bits above and the index below, is several times faster than a sort of pairs. Two
    # words share their random bits, and so keep their order, with probability below n^3 / 2^64.
    mask = jnp.uint64((1 << (n - 1).bit_length()) - 1)
    words = jax.random.bits(key, (n,), jnp.uint64) & ~mask
    return (jnp.sort(words | jnp.arange(n, dtype=jnp.uint64)) & mask).astype(jnp.int32)


def shuffle_once(key: Key, epoch: Scalar, n: int) -> Array:
    """One uniform permutation, repeated in every epoch (SO)."""
    del epoch
    return random_reshuffling(key, 0, n)


def incremental(key: Key, epoch: Scalar, n: int) -> Array:
    """The given order 0, 1, ..., n-1 in every epoch (incremental gradient, IG)."""
    n = _checked(key, epoch, n)
    return jnp.arange(n, dtype=jnp.int32)


def with_replacement(key: Key, epoch: Scalar, n: int) -> Array:
    """n independent uniform draws (WR); an "epoch" is n steps."""
    n = _checked(key, epoch, n)
    return jax.random.randint(jax.random.fold_in(key, epoch), (n,), 0, n, dtype=jnp.int32)


def _checked(key: Key, epoch: Scalar, n: int) -> int:
    _checks.key("key", key)
    if not _checks.is_traced(epoch):
        _checks.count("epoch", epoch, least=0)
    return _checks.count("n", n, bits=31)


def check_ordering(ordering: Any, n: int) -> None:
    """The door for an ordering of one's own: a function of three arguments.

    Raises:
        ValueError: something else.
    """
    if not callable(ordering):
        raise _checks.refuse("ordering", ordering_rule(n), ordering)
    try:
        inspect.signature(ordering).bind(None, None, None)
    except TypeError as error:
        raise _checks.refuse("ordering", ordering_rule(n), f"a function with {error}") from None
    except ValueError:  # one that does not tell its arguments
        pass


def check_indices(given: Any, n: int) -> np.ndarray:
    """The indices that an ordering of one's own gives for an epoch, in NumPy.

    Raises:
        ValueError: they are not n whole numbers within 0..n - 1.

    Example:
        >>> check_indices([1, 0], 2).tolist()
        [1, 0]
    """
    try:
        indices = np.asarray(given)
    except (TypeError, ValueError):
        raise _checks.refuse("ordering", ordering_rule(n), given) from None
    if indices.shape != (n,) or indices.dtype.kind not in "iu":
        raise _checks.refuse("ordering", ordering_rule(n), f"{indices.dtype} of shape {indices.shape}")
    low, high = indices.min(), indices.max()
    if low < 0 or high >= n:
        raise _checks.refuse("ordering", f"a function whose indices lie within 0..{n - 1}", f"{low}..{high}")
    return indices


def ordering_rule(n: int) -> str:
    """What an ordering must be, in the words of a refusal."""
    return f"a function (key, epoch, n) -> ({n},) integer indices"


ORDERINGS: dict[str, Ordering] = {f.__name__: f for f in (random_reshuffling, shuffle_once, incremental, with_replacement)}
