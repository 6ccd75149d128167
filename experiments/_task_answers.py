"""Answers to test questions as columns of a frame; the trial that dev chooses; many comparisons at one level."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from theory_lab.measure import Measurement, rate
from theory_lab.measure.base import unmeasured


def packed(right: np.ndarray) -> dict[str, Any]:
    """The columns test (share of right answers), questions, and answers: one bit each, 1 if right, as hexadecimal digits."""
    return {"test": float(np.mean(right)), "questions": len(right), "answers": np.packbits(right).tobytes().hex()}


def unpacked(rows: pd.DataFrame) -> np.ndarray:
    """The answers in rows of several seeds, one after the other."""
    bits = (np.frombuffer(bytes.fromhex(answers), np.uint8) for answers in rows.answers)
    parts = [np.unpackbits(each)[:number] for each, number in zip(bits, rows.questions, strict=True)]
    return np.concatenate(parts).astype(bool)


def chosen(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Of rows alike in these columns, budget and seed that of highest accuracy on dev, of equal ones that of lowest loss."""
    ordered = frame.sort_values(["dev", "dev_loss"], ascending=[False, True], kind="stable")
    return ordered.groupby([*by, "budget", "seed"], as_index=False, sort=True).head(1).sort_values("seed", kind="stable")


def share_won(leads: pd.Series, what: str, level: float = 0.05) -> Measurement:
    """Of the comparisons won by either side, the share with a lead above 0; its interval treats them as independent."""
    won, lost = int((leads > 0).sum()), int((leads < 0).sum())
    if won + lost == 0:
        return unmeasured("share won", 0, f"all {what} are ties")
    return rate.proportion(won, won + lost, confidence=1 - level)


def holm(values: list[float], level: float = 0.05) -> np.ndarray:
    """Which hypotheses are rejected, at one level for all: the k-th smallest p of m is held against level/(m-k+1)."""
    found = np.asarray(values, dtype=float)
    order, rejected = np.argsort(found, kind="stable"), np.zeros(found.size, bool)
    passed = found[order] <= level / (found.size - np.arange(found.size))
    rejected[order[: int(np.argmin(np.append(passed, False)))]] = True
    return rejected
