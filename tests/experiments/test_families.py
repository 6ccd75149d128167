"""What is said of the worst of many numbers."""

import numpy as np
import pandas as pd
import pytest

from experiments import _families as families
from theory_lab.claims import claim


@pytest.fixture
def rows() -> pd.DataFrame:
    ends = {"value": [0.98, 1.0, 1.3], "low": [0.9, 0.99, 1.2], "high": [1.05, 1.01, 1.4]}
    return pd.DataFrame({**ends, "samples": [64, 32, 64], "unit": [2.0, 0.5, np.nan]})


def test_one_number_far_off_fails_the_claim_about_all(rows: pd.DataFrame) -> None:
    near_one = claim("all are near 1", "", "equals", 1.0, tolerance=0.15)
    worst = families.farthest("measured/exact", rows, centre=1.0)
    assert (worst.value, worst.low, worst.high, worst.samples) == (1.3, 1.2, 1.4, 32)
    assert near_one.check(worst).outcome == "fails"
    assert near_one.check(families.farthest("measured/exact", rows[:2], centre=1.0)).outcome == "holds"


def test_the_ends_of_the_family(rows: pd.DataFrame) -> None:
    largest, smallest = families.largest("largest", rows), families.smallest("smallest", rows)
    assert (largest.value, largest.low, largest.high) == (1.3, 1.2, 1.4)
    assert (smallest.value, smallest.low, smallest.high) == (0.98, 0.9, 1.01)


def test_quotients_leave_out_what_has_no_unit(rows: pd.DataFrame) -> None:
    quotients = families.quotients(rows, "unit")
    assert quotients[["value", "low", "high"]].to_numpy().tolist() == [[0.49, 0.45, 0.525], [2.0, 1.98, 2.02]]


def test_what_is_not_finite_decides_nothing(rows: pd.DataFrame) -> None:
    broken = rows.assign(high=[1.05, np.inf, 1.4], value=[0.98, np.nan, 1.3])
    for measured in (families.largest("", broken), families.smallest("", broken), families.average("", broken)):
        verdict = claim("anything", "", "at most", 9.0).check(measured)
        assert (verdict.outcome, verdict.reason) == ("undecided", "1 of 3 samples are not finite")


def test_the_average_lies_between_the_averages_of_the_ends(rows: pd.DataFrame) -> None:
    average = families.average("average", rows[:2])
    assert (average.value, average.low, average.high) == pytest.approx((0.99, 0.945, 1.03))


def test_intervals_that_hold_together() -> None:
    assert families.confidence(1) == pytest.approx(0.99)
    assert families.confidence(50, overall=0.95) == pytest.approx(0.999)
