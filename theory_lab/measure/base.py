"""A measurement: one number with an interval, and how the interval is made.

Every reducer in this folder returns a `Measurement`; a `Claim` judges nothing else.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from theory_lab import _checks

ENOUGH = 32  # seeds from which intervals for averaged metrics have honest coverage


@dataclass(frozen=True)
class Measurement:
    """A measured number with its confidence interval.

    Attributes:
        name: what was measured, in words.
        value: the point estimate.
        low, high: the ends of the interval; equal to `value` where the measurement is exact, infinite where the samples
            say nothing about how far off `value` is.
        samples: how many independent samples stand behind it (seeds, not steps).
        note: what to know before believing it ("diverged at epoch 12", "fewer than 32 seeds"); a claim repeats it where
            the measurement is not finite.
        products: Hessian-vector products spent, shared by all numbers that one call measures. One of a sum over components
            costs a product with each of their Hessians, about two of their gradients; what is measured by minibatches
            counts those.

    Raises:
        ValueError: a name or note that is no text, what is no number, samples or products that are no whole numbers, or a
            finite interval whose low end lies above its high end.
    """

    name: str
    value: float
    low: float
    high: float
    samples: int
    note: str = ""
    products: int = 0

    def __post_init__(self) -> None:
        for name in ("name", "note"):
            _checks.text(name, getattr(self, name), empty=True)
        for name in ("samples", "products"):
            _checks.count(name, getattr(self, name), least=0)
        for name in ("value", "low", "high"):
            object.__setattr__(self, name, _checks.number(name, getattr(self, name)))
        if math.isfinite(self.low) and math.isfinite(self.high) and self.low > self.high:
            raise _checks.refuse("low", f"at most high, {self.high}", self.low)


def exact(name: str, value: float) -> Measurement:
    """A number computed without sampling: its interval is a point.

    Raises:
        ValueError: a name that is no text, a value that is no real number; inf and nan are.

    Example:
        >>> exact("largest eigenvalue", 2.0).low
        2.0
    """
    number = _checks.number("value", value)
    return Measurement(name, number, number, number, 1)


def unmeasured(name: str, samples: int, note: str) -> Measurement:
    """A measurement that came to nothing, and why; every claim on it is undecided.

    Example:
        >>> unmeasured("floor", 8, "3 of 8 runs diverged").value
        nan
    """
    return Measurement(name, np.nan, np.nan, np.nan, samples, note)


def mean(name: str, samples: Sequence[float] | np.ndarray, *, confidence: float = 0.99, note: str = "") -> Measurement:
    r"""Sample mean with Student's interval :math:`\bar s \pm t_{S-1} \hat\sigma / \sqrt S`.

    Args:
        name: what was measured.
        samples: shape (S,), S >= 2 independent values; a non-finite one makes the whole measurement non-finite.
        confidence: coverage of the two-sided interval.
        note: what is known of the samples beforehand, as `Trace.divergence` tells it.

    Returns:
        The measurement; its interval is honest for S >= 32 unless the samples are heavy-tailed. A note says so where there
        are fewer, or where one sample alone makes up more than half of the variance.

    Raises:
        ValueError: a name or note that is no text, samples that are no numbers or fewer than two, or a confidence outside
            (0, 1).

    Example:
        >>> m = mean("a coin", [0.0, 1.0, 1.0, 0.0], confidence=0.95)
        >>> round(m.value, 3), round(m.low, 3), round(m.high, 3)
        (0.5, -0.419, 1.419)
    """
    _checks.text("name", name, empty=True)
    _checks.text("note", note, empty=True)
    values = _checks.numbers("samples", samples, "numbers").ravel()
    _checks.count("the number of samples", values.size, least=2)
    confidence = _checks.between("confidence", confidence, 0, 1, closed="()")
    if not np.isfinite(values).all():
        return unmeasured(name, values.size, note or not_finite(values))
    centre = float(values.mean())
    with np.errstate(over="ignore", invalid="ignore"):  # of values near the largest float
        squares, deviation = (values - centre) ** 2, values.std(ddof=1)
    if values.size >= ENOUGH and squares.max() > squares.sum() / 2:
        note = join(note, "heavy tail: one sample makes up more than half of the variance")
    half = float(_student(float(confidence), values.size - 1) * deviation / np.sqrt(values.size))
    return Measurement(name, centre, centre - half, centre + half, values.size, join(note, few(values.size)))


@lru_cache(maxsize=256)
def _student(confidence: float, freedom: int) -> float:
    """The half width of Student's interval in standard errors; SciPy takes longer for it than a mean takes for the rest."""
    return float(stats.t.ppf(0.5 + confidence / 2, freedom))


def not_finite(values: np.ndarray) -> str:
    """The note for samples that cannot be averaged: how many of them are not finite."""
    return f"{int((~np.isfinite(values)).sum())} of {values.size} samples are not finite"


def few(size: int) -> str:
    """The note for fewer seeds than honest coverage asks for; empty if there are enough."""
    return "" if size >= ENOUGH else f"fewer than {ENOUGH} seeds: the interval may be too narrow"


def join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
