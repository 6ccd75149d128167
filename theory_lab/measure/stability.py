r"""Mean-square stability from samples: growth per step, and the step size at which it turns positive.

Second moments near the limit are carried by a few runs: fourth moments diverge before second ones, and in low dimension
sample means there are no evidence at all (d = 10, 5% above the limit, 200 steps: exact growth 32, mean of samples 102,
median 0.18). Measure with d >= 50 and few steps, or use the exact operator in `theory_lab.theory.quadratic`. Samples in
which fewer than sixteen seeds carry the mean get an infinite interval and say so.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from theory_lab import _checks
from theory_lab._typing import Key
from theory_lab.measure import _bootstrap
from theory_lab.measure.base import Measurement, few, join, unmeasured

CARRIERS = 16.0  # effective seeds below which an interval for a mean is not believed


def effective_seeds(values: Any) -> np.ndarray:
    r"""How many seeds carry a mean of nonnegative values, along axis 0: :math:`(\sum_s v_s)^2 / \sum_s v_s^2`, in [1, S].

    Raises:
        ValueError: what is no array of nonnegative numbers.

    Example:
        >>> float(effective_seeds([[1.0], [1.0], [1.0], [1.0]])[0]), round(float(effective_seeds([[1.0], [99.0]])[0]), 2)
        (4.0, 1.02)
    """
    rule = "a non-empty array of nonnegative numbers, seeds along its first axis"
    given = _checks.numbers("values", values, rule)
    if given.ndim == 0 or given.size == 0 or not (given >= 0).all():
        raise _checks.refuse("values", rule, values if given.size <= 8 else f"an array of shape {given.shape}")
    values = given
    scaled = values / np.maximum(values.max(axis=0), np.finfo(np.float64).tiny)  # no overflow in the squares
    return np.sum(scaled, axis=0) ** 2 / np.maximum(np.sum(scaled**2, axis=0), np.finfo(np.float64).tiny)


def growth(
    before: Any,
    after: Any,
    *,
    steps: int,
    confidence: float = 0.99,
    resamples: int = 4000,
    key: Key | None = None,
    name: str = "mean-square growth per step",
) -> Measurement:
    r"""The mean-square growth per step, :math:`g = \frac1k \log \frac{\mathbb E|z_{t+k}|^2}{\mathbb E|z_t|^2}`, from seeds.

    Negative: the second moment shrinks. The bootstrap redraws whole runs. Discard a transient before t: g is the top
    exponent of the second-moment operator only once its other modes have died.

    Args:
        before: (S,) squared distances to the optimum at step t, one per seed, as ``trace.total_distance_sq[0, :, row]`` of a
            sweep at its first step size, or the same of one block of ``trace.distance_sq``.
        after: (S,) the same runs, k steps later.
        steps: k.
        confidence: coverage of the expanded percentile interval.
        resamples: bootstrap resamples, at least; more are drawn where the confidence asks for them.
        key: randomness of the bootstrap; None is key 0.

    Returns:
        The growth, a logarithm per step. Where fewer than sixteen seeds carry a mean the interval is infinite, with a
        note.

    Raises:
        ValueError: shapes that differ, fewer than two seeds, negative values, steps < 1.

    Example:
        >>> start = np.linspace(0.5, 1.5, 64)
        >>> round(growth(start, 0.25 * start, steps=2).value, 6)  # log(1/4) / 2
        -0.693147
    """
    first, last = _distances("before", before, 1), _distances("after", after, 1)
    steps = _door(first, last, steps, confidence, resamples)
    size = first.shape[1]
    if not (np.isfinite(first).all() and np.isfinite(last).all()):
        diverged = int((~np.isfinite(last)).sum())
        return unmeasured(name, size, f"{diverged} of {size} runs diverged")
    means, growths = _growths(first, last, steps)
    point = growths(means.mean(axis=0)[None])[0]
    if not np.isfinite(point[0]):
        return unmeasured(name, size, "a mean squared distance is zero")
    carried = min(float(effective_seeds(side.T)[0]) for side in (first, last))
    if carried < CARRIERS:
        return Measurement(name, float(point[0]), -np.inf, np.inf, size, _heavy(carried, size))
    resampled = _bootstrap.resampled(means, growths, resamples=_bootstrap.enough(resamples, size, confidence), key=key)
    low, high = _bootstrap.interval(resampled[:, 0], size, confidence)
    return Measurement(name, float(point[0]), low, high, size, few(size))


def limit(
    step_sizes: Any,
    before: Any,
    after: Any,
    *,
    steps: int,
    confidence: float = 0.99,
    resamples: int = 4000,
    key: Key | None = None,
    name: str = "mean-square step size limit",
) -> Measurement:
    r"""The step size at which the mean-square growth turns from negative to positive, by interpolation.

    With growth g(eta) at every grid point as in `growth`, the limit is the zero of g(eta)/eta between the two neighbours
    at which the sign changes, by the chord. Dividing by eta moves no zero and removes the curvature: g(0) = 0, and where
    the second moment of an isotropic quadratic is multiplied by 1 - a eta + b eta^2, g/eta is straight up to O(g^2/eta).

    The bootstrap redraws seeds for all grid points together (the runs of a `sweep` share them); resamples whose crossing
    leaves the grid push the interval to infinity.

    Args:
        step_sizes: (G,) positive, increasing.
        before: (G, S) squared distances to the optimum at step t, as in ``trace.total_distance_sq[:, :, row]`` of a sweep.
        after: (G, S) the same runs, k steps later.
        steps: k.
        confidence, resamples, key: as in `growth`.

    Returns:
        The limit, in the units of the step sizes. Not finite, with a note, where the measured growth has no single upward
        crossing within the grid; an infinite interval where fewer than sixteen seeds carry it beside the crossing.

    Raises:
        ValueError: step sizes that do not increase, shapes that differ, fewer than two seeds, negative values, steps < 1.

    Example:
        >>> eta = np.linspace(0.2, 3.0, 15)  # gradient descent on z^2/2: |1 - eta| = 1 at eta = 2
        >>> before = np.ones((15, 32))
        >>> limit(eta, before, before * ((1 - eta) ** 8)[:, None], steps=4).value
        2.0
    """
    sizes = _checks.array("step_sizes", step_sizes, ndim=1)
    if sizes.size < 2 or sizes[0] <= 0 or (np.diff(sizes) <= 0).any():
        raise _checks.refuse("step_sizes", "at least two positive and increasing numbers", sizes.tolist())
    first, last = _distances("before", before, 2), _distances("after", after, 2)
    if first.shape[0] != sizes.size:
        raise _checks.refuse("before", f"of shape ({sizes.size}, seeds), a row for every step size", f"shape {first.shape}")
    steps = _door(first, last, steps, confidence, resamples)
    size = first.shape[1]
    both, growths = _growths(first, last, steps)
    point = growths(both.mean(axis=0)[None])[0]
    if np.isnan(point).any():
        return unmeasured(name, size, "a growth is not a number: runs were not finite at the start, or are exactly zero")
    if (point < 0).all():
        return unmeasured(name, size, f"no crossing: the mean square shrinks on the whole grid, up to {sizes[-1]:.4g}")
    if (point >= 0).all():
        return unmeasured(name, size, f"no crossing: the mean square grows on the whole grid, down to {sizes[0]:.4g}")
    signs = np.diff((point >= 0).astype(int))
    if np.count_nonzero(signs) > 1 or signs.min() < 0:
        return unmeasured(name, size, "the growth changes sign more than once, or downwards: more seeds would decide it")
    i = int(np.argmax(signs))
    if np.isinf(point[i + 1]):
        return unmeasured(name, size, f"the runs overflow at {sizes[i + 1]:.4g}, beside the crossing: take fewer steps")
    value = float(crossing(sizes, point[None])[0])
    carried = min(float(effective_seeds(side[i : i + 2].T).min()) for side in (first, last))
    if carried < CARRIERS:
        return Measurement(name, value, -np.inf, np.inf, size, _heavy(carried, size))
    crossings = _bootstrap.resampled(
        both,
        lambda means: crossing(sizes, growths(means)),
        resamples=_bootstrap.enough(resamples, size, confidence),
        key=key,
    )
    low, _ = _bootstrap.interval(np.where(np.isnan(crossings), -np.inf, crossings), size, confidence)
    _, high = _bootstrap.interval(np.where(np.isnan(crossings), np.inf, crossings), size, confidence)
    note = "" if np.isfinite(low) and np.isfinite(high) else "the crossing is too near the end of the grid"
    return Measurement(name, value, low, high, size, join(note, few(size)))


def crossing(step_sizes: np.ndarray, growths: np.ndarray) -> np.ndarray:
    """The zero of growth/step size by the chord, for rows of growths: (G,), (R, G) -> (R,).

    inf where all are negative, -inf where none is, nan where the sign changes more than once, downwards, or into
    overflow.

    Example:
        >>> grid = np.array([1.0, 2.0, 3.0])
        >>> crossing(grid, np.array([[-1.0, -1.0, 1.0], [-1.0, -1.0, -1.0], [-1.0, 1.0, -1.0]])).round(3)
        array([2.6, inf, nan])
    """
    positive = growths >= 0
    signs = np.diff(positive.astype(int), axis=1)
    single = (np.count_nonzero(signs, axis=1) == 1) & (signs.max(axis=1) == 1)
    i = np.argmax(signs, axis=1)
    rows = np.arange(growths.shape[0])
    slopes = growths / step_sizes
    left, right = slopes[rows, i], slopes[rows, i + 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        at = step_sizes[i] + (step_sizes[i + 1] - step_sizes[i]) * left / (left - right)
    at = np.where(single & np.isfinite(right), at, np.nan)
    return np.where(positive.all(axis=1), -np.inf, np.where((~positive).all(axis=1), np.inf, at))


def _distances(name: str, values: Any, ndim: int) -> np.ndarray:
    """The door for squared distances, (S,) or (G, S), as (G, S); infinite ones pass."""
    rule = f"a {ndim}-dimensional array of nonnegative numbers with at least two seeds"
    array = _checks.numbers(name, values, rule)
    if array.ndim != ndim or array.shape[-1] < 2 or np.isnan(array).any() or (array < 0).any():
        raise _checks.refuse(name, rule, values if array.size <= 8 else f"an array of shape {array.shape}")
    return array.reshape(-1, array.shape[-1])


def _door(first: np.ndarray, last: np.ndarray, steps: Any, confidence: Any, resamples: Any) -> int:
    if first.shape != last.shape:
        raise _checks.refuse("after", f"of the same shape as before, {first.shape}", last.shape)
    confidence = _checks.between("confidence", confidence, 0, 1, closed="()")
    _checks.count("resamples", resamples, least=100, bits=24)
    return _checks.count("steps", steps)


def _growths(first: np.ndarray, last: np.ndarray, steps: int) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """What is averaged over seeds, (S, 2G), and the growths of such means, (R, 2G) -> (R, G)."""
    g = first.shape[0]

    def growths(means: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (np.log(means[:, g:]) - np.log(means[:, :g])) / steps

    return np.concatenate([first, last]).T, growths


def _heavy(carried: float, size: int) -> str:
    return f"heavy tail: the mean is carried by {carried:.1f} of {size} seeds; more seeds, fewer steps or a larger dimension"
