"""The tightest L_0 + L_1 u^p above pairs (u_i, y_i): linear programmes in two unknowns, for many powers at once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

POWERS = np.linspace(0, 4, 41)  # candidates for p
RESOLUTION = 1e-4  # of p, after zooming in on the best candidate
TOGETHER = 32  # samples that are fitted at a time


def needed(u: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs with more curvature than all of no larger gradient norm, in order: a function above them is above all."""
    order = np.lexsort((-y, u))
    u, y = u[order], y[order]
    rises = np.concatenate([[True], y[1:] > np.maximum.accumulate(y)[:-1]])
    return u[rises], y[rises]


def fit(samples: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[tuple[float, float, float]]:
    """L_0, L_1 and p of the least relative excess for every sample of pairs: the best candidate, zoomed in on."""
    return [found for i in range(0, len(samples), TOGETHER) for found in _fitted(samples[i : i + TOGETHER])]


def _fitted(samples: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[tuple[float, float, float]]:
    pairs, powers = _Pairs.of(samples), np.tile(POWERS, (len(samples), 1))
    at, found = np.arange(len(samples)), np.empty((len(samples), 4))
    while at.size:
        costs, offsets, factors = programmes(pairs.of_some(at), powers)
        rows, best = np.arange(at.size), np.argmin(costs, axis=1)
        found[at] = np.stack([each[rows, best] for each in (costs, offsets, factors, powers)], axis=1)
        low, high = powers[rows, np.maximum(best - 1, 0)], powers[rows, np.minimum(best + 1, powers.shape[1] - 1)]
        on = high - low > 2 * RESOLUTION
        at, powers = at[on], np.linspace(low[on], high[on], 13, axis=1)
    tops = [float(y.max()) for _, y in samples]
    flat = found[:, 0] >= np.array(tops) * (1 - 1e-9)  # no better than the flat line
    return [
        (top, 0.0, 0.0) if level else (float(offset), float(factor), float(power))
        for top, level, (_, offset, factor, power) in zip(tops, flat, found, strict=True)
    ]


class _Pairs(NamedTuple):
    """Samples of pairs side by side, filled up with what changes nothing.

    Attributes:
        u, weights: in units of the reach, (samples, P), and the weights of their mean, which are 1/y.
        jumps, values: of the pairs that are needed, (samples, J), and theirs, the last again at the reach, (samples, J + 1).
        reach: the largest u, (samples,).
    """

    u: np.ndarray
    weights: np.ndarray
    jumps: np.ndarray
    values: np.ndarray
    reach: np.ndarray

    @classmethod
    def of(cls, samples: Sequence[tuple[np.ndarray, np.ndarray]]) -> "_Pairs":
        reach = np.array([float(u.max()) or 1.0 for u, _ in samples])
        kept = [needed(u / r, y) for (u, y), r in zip(samples, reach, strict=True)]
        most, longest = max(u.size for u, _ in samples), max(jumps.size for jumps, _ in kept)
        u, weights = np.zeros((2, len(samples), most))
        jumps, values = np.empty((len(samples), longest)), np.empty((len(samples), longest + 1))
        for i, ((own, y), (places, heights)) in enumerate(zip(samples, kept, strict=True)):
            u[i, : own.size], weights[i, : own.size] = own / reach[i], 1 / y / np.sum(1 / y)
            jumps[i, : places.size], jumps[i, places.size :] = places, places[-1]
            values[i, : heights.size], values[i, heights.size :] = heights, heights[-1]
        return cls(u, weights, jumps, values, reach)

    def of_some(self, rows: np.ndarray) -> "_Pairs":
        return self if rows.size == len(self.u) else _Pairs(*(each[rows] for each in self))


def programmes(pairs: _Pairs, powers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""For every sample and p, min sum (L_0 + L_1 x)/y subject to L_0 + L_1 x >= y and both nonnegative, x = u^p.

    The sum is that of 1/y times the height of the line at the mean of x weighted with 1/y. So the optimal line is the one
    that carries the upper convex hull of the pairs above that mean; L_0 >= 0 joins the origin to the pairs, and L_1 >= 0 the
    largest y at the largest x. It is found as in quickhull: from a chord across the mean, the pair farthest above replaces
    the end on its side, until none lies above.

    Args:
        pairs: some samples.
        powers: of each, (samples, powers).

    Returns:
        The heights at the mean, L_0 and L_1, each (samples, powers).
    """
    mean = ((pairs.u[:, None] ** powers[..., None]) @ pairs.weights[..., None])[..., 0]  # in units of reach^p
    x = np.concatenate([pairs.jumps[:, None] ** powers[..., None], np.ones((*powers.shape, 1))], axis=-1)
    y = np.broadcast_to(pairs.values[:, None], x.shape)
    level = pairs.values[:, None] * (1 - 1e-12)  # beyond by more than rounding
    rows = np.arange(powers.size).reshape(powers.shape) * x.shape[-1]
    sample = np.arange(len(powers))[:, None]
    left, right = np.zeros((2, *powers.shape)), np.stack([np.ones(powers.shape), y[..., -1]])  # (x, y) each
    for _ in range(x.shape[-1] + 1):  # no pair becomes an end twice
        slope = (right[1] - left[1]) / (right[0] - left[0])
        above = x - left[0][..., None]
        above *= -slope[..., None]
        above += level
        above -= ((1 + 1e-15) * left[1])[..., None]
        farthest = np.argmax(above, axis=-1)
        moves = above.ravel()[rows + farthest] > 0
        if not moves.any():
            break
        new = np.stack([x.ravel()[rows + farthest], pairs.values[sample, farthest]])
        before = new[0] <= mean
        np.copyto(left, new, where=moves & before)
        np.copyto(right, new, where=moves & ~before)
    offset = np.maximum(left[1] - slope * left[0], 0.0)
    return offset + slope * mean, offset, slope / pairs.reach[:, None] ** powers
