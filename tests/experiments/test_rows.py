"""Measurements as rows of a frame and back."""

import pandas as pd

from experiments import _rows
from theory_lab.measure import Measurement, rate


def some(value: float, half: float, note: str = "") -> Measurement:
    return Measurement("some", value, value - half, value + half, 64, note)


def test_a_measurement_survives_its_row():
    row = pd.Series(_rows.row(some(2.0, 0.5, "few")))
    assert _rows.measurement(row, name="some") == some(2.0, 0.5, "few")
    assert _rows.measurement(row, per=2.0).high == 1.25


def test_a_note_that_was_read_back_empty_is_empty():
    frame = pd.DataFrame([_rows.row(some(2.0, 0.5)) | {"note": float("nan")}])
    assert [found.note for found in _rows.measurements(frame)] == [""]


def test_quotients_leave_out_what_has_no_unit():
    frame = pd.DataFrame([_rows.row(some(2.0, 0.5)) | {"unit": unit} for unit in (2.0, float("nan"))])
    found = _rows.quotients(frame, "unit")
    assert found[["value", "low", "high"]].to_numpy().tolist() == [[1.0, 0.75, 1.25]]


def test_over_pairs_rows_by_what_they_have_in_common():
    above, below = (
        pd.DataFrame([_rows.row(some(value * d, 1.0)) | {"d": d} for d in order])
        for value, order in ((6.0, (2, 1)), (3.0, (1, 2)))
    )
    assert [(found.value, found.low, found.high) for found in _rows.over(above, below, ["d"])] == [
        (2.0, 11 / 7, 13 / 5),
        (2.0, 5 / 4, 7 / 2),
    ]


def test_pooled_shares_are_one_proportion():
    frame = pd.DataFrame({"value": [0.9, 1 / 3], "samples": [10, 30]})
    found = _rows.pooled(frame)
    assert (found.value, found.samples) == (19 / 40, 40)
    assert found == rate.proportion(19, 40)
