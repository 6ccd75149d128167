"""Many measurements, one claim: the worst, the average, the ratio and the exponent of measured numbers.

Where X numbers have intervals of confidence 1 - alpha/X each (`confidence`), all X hold together with confidence 1 - alpha,
and so does what is said of the worst of them, wherever in the family the worst is.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from theory_lab import _checks
from theory_lab.measure.base import Measurement, join, unmeasured


def confidence(size: int, *, overall: float = 0.99) -> float:
    """The confidence of each of ``size`` intervals that hold together (Bonferroni).

    Raises:
        ValueError: a size below 1, an overall confidence outside (0, 1).

    Example:
        >>> round(confidence(10), 4)
        0.999
    """
    _checks.count("size", size)
    overall = _checks.between("overall", overall, 0, 1, closed="()")
    return 1 - (1 - overall) / size


def largest(name: str, family: Iterable[Measurement]) -> Measurement:
    """The largest number: "at most 1" on measured / bound says that the bound holds everywhere.

    Example:
        >>> largest("measured / bound", [Measurement("", 0.2, 0.1, 0.3, 64), Measurement("", 0.9, 0.8, 1.1, 64)]).high
        1.1
    """
    return _extreme(name, _measurements("family", family), max)


def smallest(name: str, family: Iterable[Measurement]) -> Measurement:
    """The smallest number: "at least 1/2" on it is said of all of them."""
    return _extreme(name, _measurements("family", family), min)


def farthest(name: str, family: Iterable[Measurement], *, centre: float) -> Measurement:
    """The number farthest from ``centre``: "equals" on it says that each of them agrees.

    The largest deviation lies between the largest distance of an interval from the centre and the largest distance of an
    end. So the claim holds only if all intervals lie within its band, and fails as soon as one lies wholly outside. If all
    contain the centre, the interval reaches around all of them.

    Raises:
        ValueError: something else than measurements, a centre that is not finite.

    Example:
        >>> near, off = Measurement("", 1.01, 0.99, 1.03, 64), Measurement("", 0.98, 0.97, 0.99, 64)
        >>> worst = farthest("error", [near, off], centre=1.0)
        >>> round(worst.value, 3), round(worst.low, 3), round(worst.high, 3)
        (0.98, 0.97, 0.99)
    """
    found, centre = _measurements("family", family), _checks.real("centre", centre)
    if lost := _lost(name, found):
        return lost
    samples = min(m.samples for m in found)
    low, high = min(m.low for m in found), max(m.high for m in found)
    worst = max(found, key=lambda m: max(m.low - centre, centre - m.high))
    if worst.low <= centre <= worst.high:
        value = max((m.value for m in found), key=lambda value: abs(value - centre))
        return Measurement(name, value, low, high, samples)
    reach = max(high - centre, centre - low)
    if worst.low > centre:
        return Measurement(name, worst.value, worst.low, centre + reach, samples)
    return Measurement(name, worst.value, centre - reach, worst.high, samples)


def average(name: str, family: Iterable[Measurement]) -> Measurement:
    """The average: between the averages of the ends, whatever the numbers have in common."""
    found = _measurements("family", family)
    if lost := _lost(name, found):
        return lost
    value, low, high = np.mean([[m.value, m.low, m.high] for m in found], axis=0).tolist()
    return Measurement(name, value, low, high, min(m.samples for m in found))


def ratio(name: str, above: Measurement, below: Measurement) -> Measurement:
    """One positive number over another, each with an interval of confidence 1 - alpha/2; unmeasured where one reaches zero.

    Example:
        >>> ratio("gain", Measurement("", 2.0, 1.0, 3.0, 64), Measurement("", 1.0, 0.5, 2.0, 64)).high
        6.0
    """
    _measurements("above and below", [above, below])
    if lost := _lost(name, [above, below]):
        return lost
    samples, note = min(above.samples, below.samples), join(above.note, below.note)
    if above.low < 0 or below.low <= 0:
        return unmeasured(name, samples, join("an interval reaches zero", note))
    return Measurement(name, above.value / below.value, above.low / below.high, above.high / below.low, samples, note)


def exponent(name: str, first: Measurement, last: Measurement, factor: float) -> Measurement:
    """The exponent a in value ~ x^a between x and ``factor`` x, from two positive numbers of confidence 1 - alpha/2 each.

    Raises:
        ValueError: something else than measurements, a factor that is not positive and finite, or is 1.
    """
    if _checks.positive("factor", factor) == 1:
        raise _checks.refuse("factor", "other than 1", factor)
    _measurements("first and last", [first, last])
    rise = ratio(name, last, first)
    if not rise.value > 0 or not rise.low > 0:
        return unmeasured(name, rise.samples, rise.note or "an interval reaches zero")
    value, low, high = (math.log(end) / math.log(factor) for end in (rise.value, rise.low, rise.high))
    return Measurement(name, value, min(low, high), max(low, high), rise.samples, rise.note)


def _extreme(name: str, found: list[Measurement], pick: Callable[[Iterable[float]], float]) -> Measurement:
    if lost := _lost(name, found):
        return lost
    value, low, high = (pick(getattr(m, end) for m in found) for end in ("value", "low", "high"))
    return Measurement(name, value, low, high, min(m.samples for m in found))


def _measurements(name: str, family: Any) -> list[Measurement]:
    """The door for many measurements."""
    rule = "measurements (of type Measurement)"
    if isinstance(family, Measurement) or not isinstance(family, Iterable):
        raise _checks.refuse(name, f"a list of {rule}", family)
    try:
        found = list(family)
    except TypeError:  # an array without dimensions
        raise _checks.refuse(name, f"a list of {rule}", family) from None
    for one in found:
        _checks.instance(name, one, Measurement, rule)
    return found


def _lost(name: str, found: list[Measurement]) -> Measurement | None:
    """An unmeasured family, with the first reason, if it is empty or one of its numbers is not finite."""
    if not found:
        return unmeasured(name, 0, "nothing was measured")
    broken = [m for m in found if not np.isfinite([m.value, m.low, m.high]).all()]
    if not broken:
        return None
    why = ": ".join(text for text in (broken[0].name, broken[0].note) if text)
    return unmeasured(
        name, min(m.samples for m in found), f"{len(broken)} of {len(found)} not measured: {why or 'not finite'}"
    )
