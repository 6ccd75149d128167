"""Many grid points, one claim: the worst of a family of measured numbers.

The numbers come as columns value, low and high, from intervals of confidence 1 - alpha/X that hold together for the X rows
of the family. What is said of the worst of them then holds with confidence 1 - alpha, wherever on the grid the worst is.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from experiments import _limits
from theory_lab.measure import Measurement
from theory_lab.measure.base import not_finite, unmeasured


def confidence(size: int, *, overall: float = 0.99) -> float:
    """The confidence of each of ``size`` intervals that hold together (Bonferroni)."""
    return 1 - (1 - overall) / size


def quotients(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """value, low and high in units of another, positive column; rows in which that is unknown are left out."""
    known = rows[rows[by].notna()]
    return known.assign(**{name: known[name] / known[by] for name in ("value", "low", "high")})


def largest(name: str, rows: pd.DataFrame) -> Measurement:
    """The largest number: "at most 1" on measured / bound says that the bound holds everywhere.

    Example:
        >>> rows = pd.DataFrame({"value": [0.2, 0.9], "low": [0.1, 0.8], "high": [0.3, 1.1], "samples": 64})
        >>> largest("measured / bound", rows).high
        1.1
    """
    return _worst(name, rows, *(rows[end].to_numpy() for end in ("value", "low", "high")))


def smallest(name: str, rows: pd.DataFrame) -> Measurement:
    """The smallest number: "at least 1/2" on it is said of all rows."""
    value, low, high = (-rows[end].to_numpy() for end in ("value", "high", "low"))
    worst = _worst(name, rows, value, low, high)
    return Measurement(name, -worst.value, -worst.high, -worst.low, worst.samples, worst.note)


def farthest(name: str, rows: pd.DataFrame, *, centre: float) -> Measurement:
    """The number farthest from the centre: "equals" on it says that all rows agree, as `_limits.farthest` explains.

    Example:
        >>> rows = pd.DataFrame({"value": [0.98, 1.01], "low": [0.97, 0.99], "high": [0.99, 1.03], "samples": 64})
        >>> worst = farthest("error", rows, centre=1.0)
        >>> round(worst.value, 3), round(worst.low, 3), round(worst.high, 3)
        (0.98, 0.97, 0.99)
    """
    columns = zip(*(rows[end] for end in ("value", "low", "high", "samples")), strict=True)
    found = [Measurement(name, float(v), float(low), float(high), int(size)) for v, low, high, size in columns]
    return replace(_limits.farthest(name, found, centre=centre), samples=int(rows.samples.min()))


def average(name: str, rows: pd.DataFrame) -> Measurement:
    """The average: between the averages of the ends, whatever the rows have in common."""
    if not np.isfinite(rows[["value", "low", "high"]]).all(axis=None):
        return unmeasured(name, int(rows.samples.min()), not_finite(rows.value.to_numpy()))
    value, low, high = (float(rows[end].mean()) for end in ("value", "low", "high"))
    return Measurement(name, value, low, high, int(rows.samples.min()))


def _worst(name: str, rows: Any, value: np.ndarray, low: np.ndarray, high: np.ndarray) -> Measurement:
    size = int(rows.samples.min())
    if not np.isfinite([value, low, high]).all():
        return unmeasured(name, size, not_finite(value))
    return Measurement(name, float(value.max()), float(low.max()), float(high.max()), size)
