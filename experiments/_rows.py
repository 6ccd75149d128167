"""Measurements as rows of a frame, with the columns value, low, high, samples and note, and back."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from theory_lab.measure import Measurement, family, rate

ENDS = ("value", "low", "high")


def row(measured: Measurement) -> dict[str, Any]:
    """The columns value, low, high, samples and note."""
    return {name: getattr(measured, name) for name in (*ENDS, "samples", "note")}


def measurement(columns: Mapping[str, Any] | pd.Series, *, per: float = 1.0, name: str = "") -> Measurement:
    """The measurement that a row holds, in units of ``per``; the columns samples and note may be missing."""
    value, low, high = (float(columns[end]) / per for end in ENDS)
    note = columns.get("note", "")
    return Measurement(name, value, low, high, int(columns.get("samples", 1)), "" if pd.isna(note) else str(note))


def measurements(rows: pd.DataFrame) -> list[Measurement]:
    """The measurements that the rows hold."""
    return [measurement(columns) for columns in rows.to_dict("records")]


def quotients(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """value, low and high in units of another, positive column; rows in which that is unknown are left out."""
    known = rows[rows[by].notna()]
    return known.assign(**{name: known[name] / known[by] for name in ENDS})


def over(above: pd.DataFrame, below: pd.DataFrame, by: list[str]) -> list[Measurement]:
    """Positive numbers over those in the rows with the same entries in the columns ``by``."""
    pairs = above.merge(below, on=by, suffixes=("", "_below"), validate="one_to_one").to_dict("records")
    belows = ({end: pair[f"{end}_below"] for end in (*ENDS, "samples")} for pair in pairs)
    return [family.ratio("", measurement(pair), measurement(other)) for pair, other in zip(pairs, belows, strict=True)]


def pooled(rows: pd.DataFrame, *, confidence: float = 0.99) -> Measurement:
    """One proportion of all shares in the column value, each of so many samples, with its exact binomial interval."""
    successes, trials = int((rows.value * rows.samples).round().sum()), int(rows.samples.sum())
    return rate.proportion(successes, trials, confidence=confidence)
