"""The bootstrap over seeds: what every interval for a function of seed-means is made of."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from scipy import stats

from theory_lab import _checks
from theory_lab._typing import Key
from theory_lab.problems.base import generator

CHUNK = 2**20  # resampled values held at a time: 8 MB, near which a processor is fastest
KEPT = 2**26  # draws of a key that are kept


def seeds(name: str, values: Any) -> np.ndarray:
    """The door for per-seed values (S, X), S >= 2 seeds at each of X points; non-finite values pass."""
    rule = "a two-dimensional array of real numbers, at least two seeds by one point"
    array = _checks.numbers(name, values, rule)
    if array.ndim != 2 or array.shape[0] < 2 or array.shape[1] < 1:
        raise _checks.refuse(name, rule, f"an array of shape {array.shape}")
    return array


def resampled_means(values: np.ndarray, *, resamples: int, paired: bool, key: Key | None) -> np.ndarray:
    """Means over seeds drawn with replacement: (S, X) -> (resamples, X).

    Args:
        values: per-seed values; inf for a run that diverged.
        resamples: how many.
        paired: whether row s is the same seed at every point; then whole rows are drawn and correlations between the
            points survive. Otherwise every column is drawn by itself.
        key: randomness of the resampling; None is key 0.
    """
    s = values.shape[0]
    if paired:
        return resampled(values, lambda means: means, resamples=resamples, key=key)
    rng, columns = generator(key), np.split(values, values.shape[1], axis=1)
    drawn = [[_means(counts / s, column) for counts in _draws(rng, resamples, s)] for column in columns]
    return np.concatenate([np.concatenate(parts) for parts in drawn], axis=1)


def resampled(
    values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], *, resamples: int, key: Key | None
) -> np.ndarray:
    """A statistic of paired means, (R, X) -> (R, ...), some resamples at a time, which stay near the processor.

    Args:
        values, resamples, key: as in `resampled_means`.
        statistic: row by row.
    """
    s = values.shape[0]
    draws = _kept(_words(key), resamples, s) if resamples * s <= KEPT else _draws(generator(key), resamples, s)
    return np.concatenate([statistic(_means(counts / s, values)) for counts in draws])


def _means(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weighted means in which an infinite value counts only where it is drawn."""
    infinite = np.isinf(values)
    some = infinite.any(axis=0)
    if not some.any():
        return weights @ values
    means = weights @ np.where(infinite, 0.0, values)
    means[:, some] = np.where(weights @ infinite[:, some] > 0, np.inf, means[:, some])
    return means


def _draws(rng: np.random.Generator, resamples: int, s: int) -> Iterator[np.ndarray]:
    """How often each seed is drawn, some resamples at a time: (R, S)."""
    most = CHUNK // s + 1
    for size in (min(most, resamples - done) for done in range(0, resamples, most)):
        cells = rng.integers(s, size=(size, s)) + s * np.arange(size)[:, None]
        yield np.bincount(cells.ravel(), minlength=size * s).reshape(size, s)


@lru_cache(maxsize=3)
def _kept(words: tuple[int, ...], resamples: int, s: int) -> tuple[np.ndarray, ...]:
    """The same of one key, drawn once for all intervals over as many seeds, in as few bytes as hold it."""
    drawn = _draws(np.random.default_rng(np.array(words, dtype=np.uint32)), resamples, s)
    return tuple(counts.astype(np.min_scalar_type(s)) for counts in drawn)


def _words(key: Key | None) -> tuple[int, ...]:
    """The words with which `generator` begins."""
    key = jax.random.key(0) if key is None else _checks.key("key", key)
    return tuple(np.asarray(jax.random.key_data(key)).ravel().tolist())


def interval(resampled: np.ndarray, size: int, confidence: float) -> tuple[float, float]:
    r"""The expanded percentile interval of resampled statistics, (R,).

    The plain percentile interval of a mean is :math:`\bar s \pm z \hat\sigma_S/\sqrt S`, too narrow at small S twice
    over: the normal quantile and the divisor S in :math:`\hat\sigma_S^2`. Taking the percentiles at
    :math:`\Phi(\pm\sqrt{S/(S-1)}\, t_{S-1})` makes it Student's interval where the statistic is a mean.

    Reference:
        Hesterberg: What teachers should know about the bootstrap, 2014, the expanded percentile interval.
    """
    rank = min(int(np.floor(_tail(size, confidence) * resampled.size)), (resampled.size - 1) // 2)  # the median at least
    if not rank:
        return -np.inf, np.inf
    ordered = np.partition(resampled, (rank, resampled.size - 1 - rank))
    return float(ordered[rank]), float(ordered[-1 - rank])


def enough(resamples: int, size: int, confidence: float) -> int:
    """At least ``resamples``, and as many as it takes to have five beyond either end of the interval, up to a million.

    Where a million do not reach that far, `interval` is infinite: so few seeds say nothing at that confidence.
    """
    return max(resamples, min(10**6, int(5 / max(_tail(size, confidence), 1e-9))))


def _tail(size: int, confidence: float) -> float:
    """The share of resampled statistics that the expanded interval leaves out at either end."""
    return float(stats.norm.cdf(np.sqrt(size / (size - 1)) * stats.t.ppf(0.5 - confidence / 2, size - 1)))
