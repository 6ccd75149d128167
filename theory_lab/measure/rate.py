"""Rates: slopes of scaling laws, ratios to bounds, floors, proportions and quantiles, each with its interval."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from scipy import stats

from theory_lab import _checks
from theory_lab._typing import Key
from theory_lab.measure import _bootstrap
from theory_lab.measure.base import Measurement, few, join, mean, not_finite, unmeasured

FloorRule = Literal["subtract", "cut"]
CLEAR = 5.0  # a floor below a fifth of a value bends the slope there by little; see `loglog_slope`


def loglog_slope(
    x: Any,
    samples: Any,
    *,
    floor: float = 0.0,
    floor_rule: FloorRule = "subtract",
    paired: bool = False,
    confidence: float = 0.99,
    resamples: int = 4000,
    key: Key | None = None,
    name: str = "log-log slope",
) -> Measurement:
    r"""The slope of log(seed-mean) against log x, with a bootstrap interval over seeds.

    .. math:: \hat b = \frac{\sum_j (\log x_j - \overline{\log x}) \log \bar y_j}{\sum_j (\log x_j - \overline{\log x})^2},
        \qquad \bar y_j = \tfrac1S \sum_s y_{sj} - \varphi

    A law y = A x^b + phi bends towards slope 0 where the floor phi is no longer small. A known floor is subtracted, or
    ("cut") the points are dropped at which it makes up more than a fifth of the mean.

    The seeds are redrawn at every x by themselves, since runs of different x usually have their own; ``paired`` redraws
    one set of seeds for all x, right where row s is the same seed everywhere (grid points of one `sweep`).

    Args:
        x: (X,) positive, distinct, X >= 3; advised: 5 or more over 1.5 decades, less is noted.
        samples: (S, X) values of the metric; S >= 32 advised, less is noted.
        floor: phi >= 0, in the units of the samples; 0 for none.
        floor_rule: "subtract" or "cut".
        paired: whether the rows are seeds shared by all x.
        confidence: coverage of the expanded percentile interval.
        resamples: bootstrap resamples, at least; more are drawn where the confidence asks for them.
        key: randomness of the bootstrap; None is key 0.

    Returns:
        The slope, negative for a decay. Not a number, with a note, where a sample is not finite or a mean not above the
        floor.

    Raises:
        ValueError: fewer than three points, x that are not positive and distinct, samples of another shape.

    Example:
        >>> x = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
        >>> seeds = np.linspace(0.9, 1.1, 32)[:, None]
        >>> slope = loglog_slope(x, seeds * x**-0.5)
        >>> round(slope.value, 6), slope.low < -0.5 < slope.high
        (-0.5, True)
    """
    x = _checks.array("x", x, ndim=1)
    if x.size < 3:
        raise _checks.refuse("x", "at least three grid points", x.tolist())
    if (x <= 0).any() or np.unique(x).size < x.size:
        raise _checks.refuse("x", "positive and distinct", x.tolist())
    values = _bootstrap.seeds("samples", samples)
    if values.shape[1] != x.size:
        raise _checks.refuse("samples", f"of shape (seeds, {x.size}), a column for every x", f"shape {values.shape}")
    floor = _checks.nonnegative("floor", floor)
    _checks.flag("paired", paired)
    _checks.choice("floor_rule", floor_rule, ("subtract", "cut"))
    confidence = _checks.between("confidence", confidence, 0, 1, closed="()")
    _checks.count("resamples", resamples, least=100, bits=24)
    if not np.isfinite(values).all():
        return unmeasured(name, values.shape[0], not_finite(values))

    if floor_rule == "cut" and floor > 0:
        kept = values.mean(axis=0) >= CLEAR * floor
        x, values, floor = x[kept], values[:, kept], 0.0
        if x.size < 3:
            return unmeasured(name, values.shape[0], f"fewer than three points stand {CLEAR:g} times above the floor")
    resamples = _bootstrap.enough(resamples, values.shape[0], confidence)
    means = _bootstrap.resampled_means(values, resamples=resamples, paired=paired, key=key)
    means = np.concatenate([values.mean(axis=0)[None], means]) - floor  # the data first, then the resamples
    if (means <= 0).any():
        note = "a mean does not stand clear of the floor" if floor else "a mean is not positive"
        return unmeasured(name, values.shape[0], note)
    centred = np.log(x) - np.log(x).mean()
    slopes = np.log(means) @ centred / np.sum(centred**2)
    low, high = _bootstrap.interval(slopes[1:], values.shape[0], confidence)
    decades = float(np.log10(x.max() / x.min()))
    reach = "" if x.size >= 5 and decades >= 1.5 else f"only {x.size} points over {decades:.2g} decades"
    return Measurement(name, float(slopes[0]), low, high, values.shape[0], join(reach, few(values.shape[0])))


def ratio(
    samples: Any, bounds: Any, *, confidence: float = 0.99, name: str = "largest ratio of measured to bound"
) -> Measurement:
    r"""How close a metric comes to its bound over a whole grid: :math:`\max_j \bar y_j / B_j`, with a simultaneous interval.

    From Student limits l_j, u_j of the single ratios r_j, the ends are max_j l_j and max_j u_j. The lower end errs only
    if some l_j > r_j, so each of the X lower limits is taken at level alpha/(2X): Bonferroni, which is also the first
    step of Holm's procedure, the only one that concerns a maximum. The upper end errs only if u_j < r_j at the one j
    that attains the maximum: level alpha/2 without correction.

    "at most 1" on this number is the claim that the bound holds; it fails when the bound is broken somewhere on the grid.

    Args:
        samples: (S, X) values of the metric, S seeds at X grid points.
        bounds: (X,) the bound at each of them, positive.
        confidence: coverage of the interval for the maximum.

    Returns:
        The measurement; the note names the grid point that comes closest.

    Raises:
        ValueError: bounds that are not positive, samples of another shape.

    Example:
        >>> samples = np.linspace(0.9, 1.1, 40)[:, None] * np.array([1.0, 4.0])
        >>> round(ratio(samples, [2.0, 5.0]).value, 6)
        0.8
    """
    values = _bootstrap.seeds("samples", samples)
    bounds = _checks.array("bounds", bounds, ndim=1)
    if (bounds <= 0).any():
        raise _checks.refuse("bounds", "positive", bounds.tolist())
    s, points = values.shape
    if points != bounds.size:
        rule = f"of shape (seeds, {bounds.size}), a column for every bound"
        raise _checks.refuse("samples", rule, f"shape {values.shape}")
    confidence = _checks.between("confidence", confidence, 0, 1, closed="()")
    if not np.isfinite(values).all():
        return unmeasured(name, s, not_finite(values))
    ratios = values / bounds
    centre, error = ratios.mean(axis=0), ratios.std(axis=0, ddof=1) / np.sqrt(s)
    alpha = 1 - confidence
    low = np.max(centre - stats.t.isf(alpha / (2 * points), s - 1) * error)
    high = np.max(centre + stats.t.isf(alpha / 2, s - 1) * error)
    note = join(f"closest at grid point {int(np.argmax(centre))}", few(s))
    return Measurement(name, float(centre.max()), float(low), float(high), s, note)


def floor(rows: Any, *, burn_in: int = 0, confidence: float = 0.99, name: str = "stationary floor") -> Measurement:
    """The stationary level of a logged quantity: its time average per seed after the burn-in, averaged over seeds.

    Rows of one run are correlated in time, runs of different seeds are not: the interval is Student's over the S time
    averages, so it needs no estimate of the correlation. A burn-in of 5/(step size x n x least curvature) epochs leaves
    e^-5 of the start. A level that still moves is noted: the two halves of what was averaged differ by more than four
    standard errors.

    Args:
        rows: (S, E), a logged quantity, one run per row.
        burn_in: rows to discard.
        confidence: coverage of the interval.

    Raises:
        ValueError: rows that are not (S, E), a burn-in that leaves none.

    Example:
        >>> rows = np.random.default_rng(0).exponential(size=(64, 100)) + 10 * 0.5 ** np.arange(100)
        >>> level = floor(rows, burn_in=20)
        >>> level.low < 1.0 < level.high
        True
    """
    values = _bootstrap.seeds("rows", rows)
    burn_in = _checks.count("burn_in", burn_in, least=0)
    if burn_in >= values.shape[1]:
        raise _checks.refuse("burn_in", f"smaller than the number of rows, {values.shape[1]}", burn_in)
    kept = values[:, burn_in:]
    measured = mean(name, kept.mean(axis=1), confidence=confidence)
    half = kept.shape[1] // 2
    if half == 0 or not np.isfinite(measured.value):
        return measured
    drift = kept[:, -half:].mean(axis=1) - kept[:, :half].mean(axis=1)
    error = drift.std(ddof=1) / np.sqrt(drift.size)
    moves = abs(drift.mean()) > 4 * error and error > 0
    note = f"still moving: the second half differs from the first by {drift.mean():.3g}" if moves else ""
    return replace(measured, note=join(measured.note, note))


def proportion(successes: int, trials: int, *, confidence: float = 0.99, name: str = "proportion") -> Measurement:
    """A proportion with the exact (Clopper-Pearson) binomial interval; conservative, also at 0 and at all.

    Raises:
        ValueError: no trial, more successes than trials, a confidence outside (0, 1).

    Example:
        >>> none = proportion(0, 59, confidence=0.90)  # upper limit at one-sided 95%
        >>> round(none.high, 4)
        0.0495

    Reference:
        Clopper, Pearson: The use of confidence or fiducial limits illustrated in the case of the binomial, 1934.
    """
    trials = _checks.count("trials", trials)
    successes = _checks.count("successes", successes, least=0)
    if successes > trials:
        raise _checks.refuse("successes", f"at most the number of trials, {trials}", successes)
    confidence = _checks.between("confidence", confidence, 0, 1, closed="()")
    tail = (1 - confidence) / 2
    low = stats.beta.ppf(tail, successes, trials - successes + 1) if successes > 0 else 0.0
    high = stats.beta.isf(tail, successes + 1, trials - successes) if successes < trials else 1.0
    return Measurement(name, successes / trials, float(low), float(high), trials)


def quantile(samples: Any, level: float, *, confidence: float = 0.99, name: str = "quantile") -> Measurement:
    r"""A quantile of a distribution, between two order statistics; exact for every continuous distribution.

    The number of samples below the quantile is binomial(S, level), so :math:`X_{(l)}, X_{(u)}` with
    P(Bin < l) <= alpha/2 and P(Bin >= u) <= alpha/2 cover it. Infinite samples (diverged runs) count as the largest.

    Args:
        samples: (S,) independent values, not nan.
        level: in (0, 1); 0.9 for the value that nine in ten stay below.
        confidence: coverage, at least.

    Returns:
        The measurement. An end is infinite, with a note, where S is too small for an order statistic to bound it.

    Raises:
        ValueError: samples that are nan, no numbers or not one-dimensional, a level outside (0, 1).

    Example:
        >>> median = quantile(np.arange(1.0, 102.0), 0.5, confidence=0.95)
        >>> median.value, median.low, median.high
        (51.0, 41.0, 61.0)
    """
    rule = "a non-empty one-dimensional array without nan"
    values = _checks.numbers("samples", samples, rule)
    if values.ndim != 1 or values.size == 0 or np.isnan(values).any():
        raise _checks.refuse("samples", rule, samples)
    values = np.sort(values)
    level = _checks.between("level", level, 0, 1, closed="()")
    confidence = _checks.between("confidence", confidence, 0, 1, closed="()")
    s, tail = values.size, (1 - confidence) / 2
    below = stats.binom(s, level)
    lower = int(below.ppf(tail))  # the largest l with P(Bin <= l - 1) < tail
    upper = int(below.isf(tail)) + 1  # the smallest u with P(Bin >= u) <= tail
    ordered = np.concatenate([[-np.inf], values, [np.inf]])  # X_(0) ... X_(S+1)
    low, high = float(ordered[lower]), float(ordered[min(upper, s + 1)])
    note = "" if lower >= 1 and upper <= s else f"{s} samples are too few to bound the {level:g} quantile"
    return Measurement(name, float(ordered[max(1, int(np.ceil(level * s - 1e-9)))]), low, high, s, note)
