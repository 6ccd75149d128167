r"""How many steps it takes to come down to a level in the mean over seeds, and how that compares between two methods."""

from typing import Any, NamedTuple

import numpy as np

from theory_lab import _checks
from theory_lab._typing import Key
from theory_lab.measure import _bootstrap
from theory_lab.measure.base import Measurement, few, join
from theory_lab.measure.stability import CARRIERS, effective_seeds


class Compared(NamedTuple):
    """The steps that two methods take to a level, and the ratio of the first to the second."""

    above: Measurement
    below: Measurement
    ratio: Measurement


def crossings(at: Any, means: Any, level: float) -> np.ndarray:
    """Where rows of positive numbers first come down to a level, (E,), (R, E) -> (R,); inf where they never do.

    Between two logged places the logarithm is interpolated, which is exact for geometric decay.

    Args:
        at: (E,) increasing places, such as steps.
        means: (R, E) nonnegative; inf for what has diverged.
        level: positive.

    Raises:
        ValueError: places that do not increase, rows of another length, negative or nan, a level that is not positive.

    Example:
        >>> crossings([0, 10, 20], [[4.0, 1.0, 0.25], [4.0, 2.0, 2.0]], 0.5).tolist()
        [15.0, inf]
    """
    places, level = _places(at), _checks.positive("level", level)
    rows = _rows("means", means, places.size)
    return _crossings(places, rows, level)


def steps(
    at: Any,
    squares: Any,
    level: float,
    *,
    confidence: float = 0.99,
    resamples: int = 4000,
    key: Key | None = None,
    name: str = "steps",
) -> Measurement:
    r"""The least step k with :math:`\mathbb E s_k \le` level, from runs of a nonnegative quantity s, as of ||grad f||^2.

    The mean over seeds, at the logged places and between them as in `crossings`; the interval redraws whole runs.

    Args:
        at: (E,) the places where the runs were logged, increasing.
        squares: (S, E) the quantity, a run per row; inf for a run that has diverged.
        level: what to come down to, positive.
        confidence: coverage of the expanded percentile interval.
        resamples: bootstrap resamples, at least; more are drawn where the confidence asks for them.
        key: randomness of the bootstrap; None is key 0.

    Returns:
        The steps; infinite, with a note, if the level is not reached. An infinite interval where fewer than sixteen seeds
        carry the mean beside the crossing.

    Raises:
        ValueError: as in `crossings`; fewer than two seeds.

    Example:
        >>> at = np.arange(0, 50, 5)
        >>> runs = np.linspace(0.9, 1.1, 32)[:, None] * 0.9**at
        >>> round(steps(at, runs, 0.9**12).value, 6)
        12.0
    """
    places, level = _places(at), _checks.positive("level", level)
    runs = _runs("squares", squares, places.size)
    point, resampled = _resampled(places, [runs], level, confidence, resamples, key)
    return _measured(name, point[0], resampled[:, 0], [runs], places, point, confidence)


def ratio(
    at: Any,
    above: Any,
    below: Any,
    level: float,
    *,
    confidence: float = 0.99,
    resamples: int = 4000,
    key: Key | None = None,
    name: str = "ratio of steps",
) -> Measurement:
    """The steps that one method takes to a level over those of another, both run on the same seeds.

    Args:
        at: (E,) as in `steps`.
        above, below: (S, E) the quantity along the runs of the one and the other; row s of both is seed s.
        level, confidence, resamples, key: as in `steps`.

    Returns:
        The ratio; infinite where ``above`` never reaches the level, with the ratio that it exceeds in the note, and not a
        number where ``below`` does not.

    Raises:
        ValueError: as in `steps`; runs of different shapes.

    Example:
        >>> at, seeds = np.arange(0, 50, 5), np.linspace(0.9, 1.1, 32)[:, None]
        >>> round(ratio(at, seeds * 0.9**at, seeds * 0.81**at, 0.1).value, 6)
        2.0
    """
    return compare(at, above, below, level, confidence=confidence, resamples=resamples, key=key, name=name).ratio


def compare(
    at: Any,
    above: Any,
    below: Any,
    level: float,
    *,
    confidence: float = 0.99,
    resamples: int = 4000,
    key: Key | None = None,
    name: str = "ratio of steps",
) -> Compared:
    """The steps of two methods on the same seeds, as `steps`, and their ratio, as `ratio`, from the same resampled seeds.

    Args:
        at, above, below, level, confidence, resamples, key: as in `ratio`.
        name: of the ratio.

    Raises:
        ValueError: as in `ratio`.

    Example:
        >>> at, seeds = np.arange(0, 50, 5), np.linspace(0.9, 1.1, 32)[:, None]
        >>> found = compare(at, seeds * 0.9**at, seeds * 0.81**at, 0.9**12)
        >>> [round(one.value, 6) for one in found]
        [12.0, 6.0, 2.0]
    """
    places, level = _places(at), _checks.positive("level", level)
    runs = [_runs("above", above, places.size), _runs("below", below, places.size)]
    if runs[0].shape != runs[1].shape:
        raise _checks.refuse("below", f"of the same shape as above, {runs[0].shape}", f"shape {runs[1].shape}")
    point, resampled = _resampled(places, runs, level, confidence, resamples, key)
    with np.errstate(invalid="ignore", divide="ignore"):
        value, ratios = point[0] / point[1], resampled[:, 0] / resampled[:, 1]
    one, other = (
        _measured("steps", point[i], resampled[:, i], runs[i : i + 1], places, point[i : i + 1], confidence) for i in (0, 1)
    )
    return Compared(one, other, _measured(name, float(value), ratios, runs, places, point, confidence))


def _crossings(places: np.ndarray, rows: np.ndarray, level: float) -> np.ndarray:
    down = rows <= level
    i = np.argmax(down, axis=1)
    reached, at_once = down.any(axis=1), down[:, 0]
    before = np.maximum(i - 1, 0)
    index = np.arange(len(rows))
    with np.errstate(divide="ignore", invalid="ignore"):
        high, low = np.log(rows[index, before]), np.log(rows[index, i])
        share = (high - np.log(level)) / (high - low)
    known = np.isfinite(high) & np.isfinite(low) & np.isfinite(share)
    share = np.where(known, share, 1.0)  # from infinity, or to zero: not before the later place
    between = places[before] + share * (places[i] - places[before])
    return np.where(at_once, places[0], np.where(reached, between, np.inf))


def _resampled(
    places: np.ndarray, runs: list[np.ndarray], level: float, confidence: float, resamples: int, key: Key | None
) -> tuple[np.ndarray, np.ndarray]:
    """The crossings of the data, (M,), and of resampled seeds, (R, M), for M methods on the same seeds."""
    confidence = _checks.between("confidence", confidence, 0, 1, closed="()")
    _checks.count("resamples", resamples, least=100, bits=24)
    resamples = _bootstrap.enough(resamples, len(runs[0]), confidence)
    spans = [_span(run, level) for run in runs]
    both = np.concatenate([run[:, span] for run, span in zip(runs, spans, strict=True)], axis=1)
    ends = np.cumsum([span.stop - span.start for span in spans])[:-1]

    def crossings(means: np.ndarray) -> np.ndarray:
        parts = np.split(means, ends, axis=1)
        return np.stack([_crossings(places[span], part, level) for span, part in zip(spans, parts, strict=True)], axis=1)

    return crossings(both.mean(axis=0)[None])[0], _bootstrap.resampled(both, crossings, resamples=resamples, key=key)


def _span(run: np.ndarray, level: float) -> slice:
    """The places between which the mean over any seeds comes down to a level: all of them above, to all of them below."""
    some, every = (run <= level).any(axis=0), (run <= level).all(axis=0)
    first = int(np.argmax(some)) if some.any() else run.shape[1] - 1
    last = int(np.argmax(every)) if every.any() else run.shape[1] - 1
    return slice(max(first - 1, 0), last + 1)


def _measured(
    name: str,
    value: float,
    resampled: np.ndarray,
    runs: list[np.ndarray],
    places: np.ndarray,
    point: np.ndarray,
    confidence: float,
) -> Measurement:
    size, end = len(runs[0]), places[-1]
    if not np.isfinite(point).all():
        lost = "" if len(runs) == 1 or np.isfinite(point[1]) else " by what it is compared with"
        least = f": a ratio above {end / point[1]:.3g}" if len(runs) == 2 and not lost else ""
        value = np.nan if lost else np.inf
        return Measurement(name, value, value, value, size, f"not reached in {end:g} steps{lost}{least}")
    carried = min(_carried(run, places, found) for run, found in zip(runs, point, strict=True))
    if carried < CARRIERS and size > CARRIERS:
        note = f"heavy tail: the mean is carried by {carried:.1f} of {size} seeds"
        return Measurement(name, float(value), -np.inf, np.inf, size, note)
    low, _ = _bootstrap.interval(np.where(np.isnan(resampled), -np.inf, resampled), size, confidence)
    _, high = _bootstrap.interval(np.where(np.isnan(resampled), np.inf, resampled), size, confidence)
    note = "" if np.isfinite(low) and np.isfinite(high) else f"not always reached in {end:g} steps"
    return Measurement(name, float(value), low, high, size, join(note, few(size)))


def _carried(run: np.ndarray, places: np.ndarray, found: float) -> float:
    """How many seeds carry the mean at the place after the crossing."""
    i = min(int(np.searchsorted(places, found)), places.size - 1)
    return float(effective_seeds(np.where(np.isfinite(run[:, i : i + 1]), run[:, i : i + 1], 1e300))[0])


def _places(at: Any) -> np.ndarray:
    places = _checks.array("at", at, ndim=1)
    if places.size < 2 or (np.diff(places) <= 0).any():
        raise _checks.refuse("at", "at least two increasing numbers", places.tolist())
    return places


def _rows(name: str, values: Any, size: int) -> np.ndarray:
    rule = f"of shape (rows, {size}), nonnegative"
    rows = _checks.numbers(name, values, rule)
    if rows.ndim != 2 or rows.shape[1] != size or np.isnan(rows).any() or (rows < 0).any():
        raise _checks.refuse(name, rule, values if rows.size <= 8 else f"an array of shape {rows.shape}")
    return rows


def _runs(name: str, values: Any, size: int) -> np.ndarray:
    runs = _rows(name, values, size)
    if len(runs) < 2:
        raise _checks.refuse(name, f"of shape (seeds, {size}), at least two seeds", f"shape {runs.shape}")
    return runs
