"""Random words by counter: Threefry blocks under many keys, with both words of every block used.

`jax.random.bits` folds the two words of a block into one. A direction needs as many bits as a large model has numbers, and
there the generator is what takes the time: here a block serves two normals, or 64 signs.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from theory_lab._typing import Array, Key

Words = tuple[Array, Array]  # the two words of every block, uint32

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def blocks(keys: Key, count: int) -> Words:
    """The blocks 0, ..., count - 1 under every key: keys (N,) -> two words, (N, count) each.

    A key of another generator than Threefry gives 64 bits of its own, which then are the key.

    Example:
        >>> first, second = blocks(jax.random.split(jax.random.key(0), 3), 5)
        >>> first.shape, bool((first == second).any())
        ((3, 5), False)

    Reference:
        Salmon et al.: Parallel random numbers: as easy as 1, 2, 3, 2011.
    """
    pairs, index = jax.vmap(pair)(keys), jnp.arange(count, dtype=jnp.uint32)
    key, counter = (pairs[:, :1], pairs[:, 1:]), (jnp.zeros_like(index), index)
    return threefry(key, counter) if jax.default_backend() == "gpu" else _rolled(key, counter)


def bits(key: Key, count: int) -> Array:
    """The words that `jax.random.bits(key, (count,), jnp.uint32)` draws, made faster on a processor.

    JAX computes the rounds there as a loop that writes all words five times; in plain arithmetic they stay in registers:
    456,000 words take 0.5 ms of one core in place of 3.6 (Xeon with AVX-512, JAX 0.10.2, 2026-11-23). Words of 64 bits, and
    short runs under many keys as in `blocks`, are faster as a loop.

    Example:
        >>> key = jax.random.key(0)
        >>> bool((bits(key, 3) == jax.random.bits(key, (3,), jnp.uint32)).all())
        True
    """
    counted = jax.config.jax_threefry_partitionable and count < 2**32  # type: ignore[attr-defined]  # a block for each word
    data = jax.random.key_data(key)
    if not counted or jax.default_backend() != "cpu" or data.shape != (2,):
        return jax.random.bits(key, (count,), jnp.uint32)
    index = jnp.arange(count, dtype=jnp.uint32)
    first, second = threefry((data[0], data[1]), (jnp.zeros_like(index), index))
    return jax.lax.optimization_barrier(first ^ second)  # once, however often they are read


def pair(key: Key) -> Array:
    """A key as the two words that Threefry is keyed with, (2,) uint32; of another generator 64 bits that it draws.

    Example:
        >>> pair(jax.random.key(7)).tolist()
        [0, 7]
    """
    data = jax.random.key_data(key)
    return data if data.shape == (2,) else jax.random.bits(key, (2,), jnp.uint32)


def threefry(key: Words, counter: Words) -> Words:
    """One block, in plain arithmetic that a kernel may contain: the one that `jax.random` computes.

    Twenty rounds; after every fourth a part of the key is added, the third being the parity of the others.

    Example:
        >>> zero = jnp.uint32(0)
        >>> [hex(int(word)) for word in threefry((zero, zero), (zero, zero))]  # the reference's first test
        ['0x6b200159', '0x99ba4efe']

    Reference:
        Salmon et al.: Parallel random numbers: as easy as 1, 2, 3, 2011.
    """
    schedule = _schedule(key)
    x, y = counter[0] + schedule[0], counter[1] + schedule[1]
    for group in range(5):
        x, y = _four_rounds(x, y, _ROTATIONS[group % 2])
        x, y = x + schedule[(group + 1) % 3], y + schedule[(group + 2) % 3] + jnp.uint32(group + 1)
    return x, y


def _rolled(key: Words, counter: Words) -> Words:
    """The same as a loop, whose body a processor's compiler makes vectors of."""

    def body(group: Array, now: tuple[Words, tuple[Array, ...], Words]) -> tuple[Words, tuple[Array, ...], Words]:
        (x, y), (first, second, third), (turns, others) = now
        x, y = _four_rounds(x, y, turns)
        x, y = x + second, y + third + (group + 1).astype(jnp.uint32)
        return (x, y), (second, third, first), (others, turns)

    schedule = _schedule(key)
    begin = (counter[0] + schedule[0], counter[1] + schedule[1])
    turns = tuple(jnp.array(some, jnp.uint32) for some in _ROTATIONS)
    return jax.lax.fori_loop(0, 5, body, (begin, schedule, turns))[0]


def _schedule(key: Words) -> tuple[Array, Array, Array]:
    return (*key, key[0] ^ key[1] ^ jnp.uint32(0x1BD11BDA))


def _four_rounds(x: Array, y: Array, turns: Sequence[int] | Array) -> Words:
    for i in range(4):
        turn = jnp.uint32(turns[i])
        x = x + y
        y = x ^ ((y << turn) | (y >> (jnp.uint32(32) - turn)))
    return x, y
