"""How fast quantiles rise as the probability of exceeding them falls: what "with probability 1 - delta" costs."""

from typing import Any

import numpy as np

from theory_lab import _checks
from theory_lab._typing import Key
from theory_lab.measure import _bootstrap
from theory_lab.measure.base import Measurement, few, join, unmeasured
from theory_lab.problems.base import generator

BEYOND = 10  # samples beyond the rarest quantile, below which its position is hardly known


def quantile_slope(
    samples: Any,
    exceedances: Any,
    *,
    confidence: float = 0.99,
    resamples: int = 4000,
    key: Key | None = None,
    name: str = "slope of the quantile in 1/delta",
) -> Measurement:
    r"""The slope of log q against log(1/delta), q the sample quantile that a share delta exceeds, over several delta.

    1/kappa for a tail P(X > t) ~ t^-kappa; 1 is what Markov's inequality would cost if it were attained everywhere; near
    0 for thin tails. The interval is the bootstrap's without drawing samples: of S samples drawn again, the order statistic
    of rank k is the original of rank ceil(S U), and the U of several ranks are uniform order statistics together: cumulated
    gamma variables over their total.

    Args:
        samples: (S,) positive independent values; infinite ones (diverged runs) are the largest.
        exceedances: (D,) shares delta in (0, 1), decreasing, D >= 2.
        confidence: coverage of the expanded percentile interval.
        resamples: bootstrap resamples, at least; more are drawn where the confidence asks for them.
        key: randomness of the bootstrap; None is key 0.

    Returns:
        The slope; noted where fewer than ten samples lie beyond the last quantile. Not a number where that quantile is
        infinite.

    Raises:
        ValueError: samples that are nan or not positive, exceedances that do not decrease within (0, 1).

    Example:
        >>> pareto = np.linspace(1e-4, 1, 10_000) ** -0.5  # P(X > t) = t^-2
        >>> round(quantile_slope(pareto, [0.1, 0.03, 0.01]).value, 2)
        0.5

    Reference:
        Efron: Bootstrap methods: another look at the jackknife, 1979 (its law of resampled order statistics).
    """
    rule = "a one-dimensional array of at least two positive numbers"
    try:
        given = np.asarray(samples)
        if given.dtype.kind not in "biuf":
            raise TypeError
    except (TypeError, ValueError):
        raise _checks.refuse("samples", rule, samples) from None
    if given.ndim != 1 or given.size < 2 or not (given > 0).all():
        raise _checks.refuse("samples", rule, samples if given.size <= 8 else f"an array of shape {given.shape}")
    values = np.sort(given.astype(np.float64))
    shares = _checks.array("exceedances", exceedances, ndim=1)
    if shares.size < 2 or (np.diff(shares) >= 0).any() or shares[0] >= 1 or shares[-1] <= 0:
        raise _checks.refuse("exceedances", "at least two decreasing numbers within (0, 1)", exceedances)
    confidence = _checks.between("confidence", confidence, 0, 1, closed="()")
    _checks.count("resamples", resamples, least=100, bits=24)
    s = values.size
    ranks = np.clip(np.ceil((1 - shares) * s - 1e-9), 1, s).astype(int)  # 1 ... S, increasing
    if np.isinf(values[ranks[-1] - 1]):
        return unmeasured(name, s, f"{int(np.isinf(values).sum())} of {s} samples are infinite")
    resamples = _bootstrap.enough(resamples, s, confidence)
    gaps = np.diff(np.concatenate([[0], ranks, [s + 1]]))
    spacings = generator(key).standard_gamma(gaps, size=(resamples, gaps.size))  # a gap of 0 is a spacing of 0
    uniforms = np.cumsum(spacings, axis=1)[:, :-1] / spacings.sum(axis=1, keepdims=True)
    redrawn = np.clip(np.ceil(s * uniforms).astype(int), 1, s)
    logs = np.log(values[np.concatenate([ranks[None], redrawn]) - 1])  # the data first, then the resamples
    centred = -np.log(shares) + np.log(shares).mean()
    with np.errstate(invalid="ignore"):
        slopes = logs @ centred / np.sum(centred**2)
    low, high = _bootstrap.interval(np.where(np.isnan(slopes[1:]), np.inf, slopes[1:]), s, confidence)
    rare = s - int(ranks[-1])
    note = "" if rare >= BEYOND else f"only {rare} samples beyond the {1 - shares[-1]:g} quantile"
    return Measurement(name, float(slopes[0]), low, high, s, join(note, few(s)))
