"""What the experiments on stability share: measurements as rows of a frame, and one number for many of them."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from theory_lab.measure import Measurement
from theory_lab.measure.base import unmeasured


def row(measured: Measurement) -> dict[str, Any]:
    """The columns value, low, high, samples and note."""
    return {name: getattr(measured, name) for name in ("value", "low", "high", "samples", "note")}


def measurement(columns: Mapping[str, Any] | pd.Series, *, per: float = 1.0, name: str = "") -> Measurement:
    """The measurement that a row holds, in units of `per`."""
    value, low, high = (float(columns[end]) / per for end in ("value", "low", "high"))
    return Measurement(name, value, low, high, int(columns["samples"]), str(columns["note"]))


def farthest(name: str, measured: Iterable[Measurement], *, centre: float) -> Measurement:
    """The number among several that is farthest from `centre`: "equals" on it says that each of them agrees.

    With intervals of confidence 1 - alpha/m, the largest deviation lies between the largest distance of an interval from the
    centre and the largest distance of an end. So the claim holds only if all intervals lie within its band, and fails as
    soon as one lies wholly outside. If all contain the centre, the interval reaches around all of them.
    """
    found = list(measured)
    samples = sum(m.samples for m in found)
    if broken := [m for m in found if not np.isfinite([m.value, m.low, m.high]).all()]:
        return unmeasured(name, samples, f"{len(broken)} of {len(found)} not measured: {broken[0].name}: {broken[0].note}")
    low, high = min(m.low for m in found), max(m.high for m in found)
    worst = max(found, key=lambda m: max(m.low - centre, centre - m.high))
    if worst.low <= centre <= worst.high:
        value = max((m.value for m in found), key=lambda value: abs(value - centre))
        return Measurement(name, value, low, high, samples)
    reach = max(high - centre, centre - low)
    if worst.low > centre:
        return Measurement(name, worst.value, worst.low, centre + reach, samples)
    return Measurement(name, worst.value, centre - reach, worst.high, samples)


def smallest(name: str, measured: Iterable[Measurement]) -> Measurement:
    """The smallest of several numbers, from intervals of confidence 1 - alpha/m: between the smallest ends."""
    found = list(measured)
    if not np.isfinite([[m.value, m.low, m.high] for m in found]).all():
        return farthest(name, found, centre=0.0)  # says which and why
    value, low, high = (min(getattr(m, end) for m in found) for end in ("value", "low", "high"))
    return Measurement(name, value, low, high, sum(m.samples for m in found))


def ratio(name: str, above: Measurement, below: Measurement) -> Measurement:
    """One positive number over another, each with an interval of confidence 1 - alpha/2."""
    samples, note = above.samples + below.samples, above.note or below.note
    return Measurement(name, above.value / below.value, above.low / below.high, above.high / below.low, samples, note)


def exponent(name: str, first: Measurement, last: Measurement, factor: float) -> Measurement:
    """The exponent a in value ~ x^a from two positive numbers whose x differ by a factor; each at confidence 1 - alpha/2."""
    rise = ratio(name, last, first)
    value, low, high = (
        math.log(end) / math.log(factor) if end > 0 else math.nan for end in (rise.value, rise.low, rise.high)
    )
    return Measurement(name, value, low, high, rise.samples, rise.note)
