"""Random choices in plain Python from a JAX key: the same everywhere."""

from collections.abc import Sequence
from typing import TypeVar

import jax
import numpy as np

from theory_lab import _checks
from theory_lab._typing import Key

T = TypeVar("T")
BLOCK = 4096


class Draws:
    """A stream of choices, determined by a key alone.

    It reads the raw 64-bit words of PCG64, a stream that NumPy promises to keep between versions and platforms (it does not
    for the methods of its Generator). A word modulo n is uniform up to n / 2^64.

    Example:
        >>> draws = Draws(jax.random.key(0))
        >>> sorted(draws.shuffled("abc"))
        ['a', 'b', 'c']
    """

    def __init__(self, key: Key) -> None:
        seed = np.asarray(jax.random.key_data(_checks.key("key", key)), dtype=np.uint32).ravel()
        self._bits = np.random.PCG64(seed.tolist())
        self._words: list[int] = []

    def below(self, n: int) -> int:
        """One of 0, ..., n - 1."""
        if not self._words:
            self._words = np.asarray(self._bits.random_raw(BLOCK)).tolist()
        return self._words.pop() % n

    def one(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def one_in(self, n: int) -> bool:
        """True once in n times."""
        return self.below(n) == 0

    def some(self, items: Sequence[T], k: int) -> list[T]:
        """k distinct items in random order."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(k)]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        return self.some(items, len(items))
