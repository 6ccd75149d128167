"""Random orders of components with Hessians of their own: what a run meets on its way, whatever its step sizes."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

LEAST = 240  # steps along an order, in three epochs at least
FEWEST, MOST, FLOPS = 4, 16, 2 * 10**8  # orders, as many as the work allows
KEPT = 2**24  # numbers of averaged Hessians that are kept: 128 MB


@dataclass(frozen=True)
class Orders:
    """Some orders, step by step.

    Attributes:
        mean: Hessian, (d, d).
        deviations: of components from it, (m, d, d).
        chosen: components of every step and order, (R, B) a step, B the size of a minibatch; the last may be smaller.
        length, epochs: steps of an epoch, and how many.
        redrawn: whether every epoch has orders of its own.
    """

    mean: np.ndarray
    deviations: np.ndarray
    chosen: tuple[np.ndarray, ...]
    length: int
    epochs: int
    redrawn: bool

    @property
    def steps(self) -> int:
        return self.epochs * self.length

    def hessians(self, step: int) -> np.ndarray:
        """H_i of every order, (R, d, d)."""
        at = step % len(self.chosen)
        return self._of(at) if self._averaged is None else self._averaged[at]

    def _of(self, step: int) -> np.ndarray:
        return self.mean + self.deviations[self.chosen[step]].mean(axis=1)

    @cached_property
    def _averaged(self) -> np.ndarray | None:
        """All of them, where minibatches are averaged and there is room; by one product of matrices."""
        (copies, size), (m, d, _) = self.chosen[0].shape, self.deviations.shape
        if size == 1 or len(self.chosen) * copies * d * d > KEPT:
            return None
        weights = np.zeros((len(self.chosen), copies, m))
        for of_step, chosen in zip(weights, self.chosen, strict=True):
            np.put_along_axis(of_step, chosen, 1 / chosen.shape[1], axis=1)
        averages = weights.reshape(-1, m) @ self.deviations.reshape(m, -1)
        averages += self.mean.ravel()
        return averages.reshape(-1, copies, d, d)


def orders(mean: np.ndarray, deviations: np.ndarray | None, *, n: int, ordering: str, share: float, seed: int = 0) -> Orders:
    """At least `LEAST` steps along some orders, three epochs at least; of longer epochs random orders see the beginning.

    Args:
        mean, deviations: of the components' Hessians, (d, d) and (m, d, d); None where they share one.
        n: minibatches in an epoch.
        ordering: "random_reshuffling", "shuffle_once" or "incremental".
        share: the variance of a minibatch in units of a component's, which the sample's minibatches are given, too.
        seed: of the orders.
    """
    d = len(mean)
    deviations = np.zeros((1, d, d)) if deviations is None else deviations
    m, fixed = len(deviations), ordering == "incremental"
    size = max(1, -(-m // n))
    length = -(-m // size) if fixed else min(-(-m // size), LEAST)
    epochs = 3 * max(1, -(-LEAST // (3 * length)))
    copies = 1 if fixed else min(max(FEWEST, FLOPS // (d**3 * epochs * length)), MOST)
    rng = np.random.default_rng(seed)
    drawn = np.stack([np.arange(m) if fixed else rng.permutation(m) for _ in range(copies)])
    redrawn = ordering == "random_reshuffling"
    chosen = []
    for _ in range(epochs):
        chosen += [drawn[:, place * size : (place + 1) * size] for place in range(length)]
        if not redrawn:
            break
        drawn = rng.permuted(drawn, axis=1)
    sampled = (m - size) / (size * (m - 1)) if m > size else 0.0  # share of the variance that groups of a sample keep
    scaled = deviations * (math.sqrt(share / sampled) if sampled > 0 else 1.0)
    return Orders(mean, scaled, tuple(chosen), length, epochs, redrawn)
