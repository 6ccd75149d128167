"""Best step sizes in a table of trials, and how they change with the rank."""

import numpy as np
import pandas as pd

from theory_lab.measure import Measurement, mean
from theory_lab.measure.base import unmeasured


def _best(rows: pd.DataFrame, axis: str) -> float:
    """The step size of least loss, between grid points by a parabola; nan at an end of the grid."""
    rows = rows[rows.axis == axis].sort_values(axis)
    sizes, losses = np.log(rows[axis].to_numpy()), rows.value.to_numpy()
    i = int(np.argmin(losses))
    if i in (0, losses.size - 1):
        return np.nan
    before, at, after = losses[i - 1 : i + 2]
    bend = before - 2 * at + after
    shift = (before - after) / (2 * bend) if np.isfinite(bend) and bend > 0 else 0.0
    return float(np.exp(sizes[i] + shift * (sizes[1] - sizes[0])))


def bests(frame: pd.DataFrame) -> pd.DataFrame:
    """Best step sizes and their ratio, by optimizer, rank and seed."""
    by = ["optimizer", "rank", "seed"]
    trials = frame[frame.what == "trial"].groupby(by)
    found = [(*at, _best(rows, "peft"), _best(rows, "base")) for at, rows in trials]
    return pd.DataFrame(found, columns=[*by, "peft", "base"]).eval("ratio = peft / base")


def exponent(found: pd.DataFrame, name: str, column: str) -> Measurement:
    """In the rank: the mean over seeds of the slope of the logarithm."""
    by_rank = found[found.optimizer == name].pivot(index="seed", columns="rank", values=column)
    if by_rank.isna().to_numpy().any():
        lost = int(by_rank.isna().to_numpy().sum())
        return unmeasured("exponent", len(by_rank), f"{lost} of {by_rank.size} best step sizes lie at an end of the grid")
    slopes = np.polyfit(np.log(by_rank.columns.to_numpy(float)), np.log(by_rank.to_numpy().T), 1)[0]
    return mean("exponent", slopes, confidence=0.95)


def geometric(found: pd.DataFrame, column: str, confidence: float) -> Measurement:
    """The geometric mean over seeds."""
    if found[column].isna().any():
        return unmeasured(column, len(found), "a best step size lies at an end of the grid")
    logs = mean(column, np.log(found[column]), confidence=confidence)
    value, low, high = np.exp([logs.value, logs.low, logs.high]).tolist()
    return Measurement(column, value, low, high, logs.samples, logs.note)
