"""Measurements: what an interval means, and what a measurement that came to nothing says."""

import math

import numpy as np
import pytest
from scipy import stats

from theory_lab.claims import claim
from theory_lab.measure import Measurement, exact, mean
from theory_lab.measure.base import unmeasured


def test_the_mean_has_students_interval():
    samples = np.array([1.0, 2.0, 4.0, 9.0])
    interval = stats.ttest_1samp(samples, 0.0).confidence_interval(0.95)
    measured = mean("a mean", samples, confidence=0.95)
    assert measured.value == 4.0
    assert (measured.low, measured.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    assert measured.samples == 4
    assert measured.note.startswith("fewer than 32 seeds")


def test_an_exact_number_is_its_own_interval():
    assert exact("two", 2) == Measurement("two", 2.0, 2.0, 2.0, 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_not_averaged(bad):
    measured = mean("a mean", [1.0, bad, 2.0])
    assert math.isnan(measured.value)
    assert measured.note == "1 of 3 samples are not finite"
    assert claim("c", "s", "at most", 5.0).check(measured).outcome == "undecided"


def test_a_claim_repeats_why_nothing_was_measured():
    verdict = claim("c", "s", "at most", 5.0).check(unmeasured("floor", 8, "diverged at epoch 12"))
    assert (verdict.outcome, verdict.reason) == ("undecided", "diverged at epoch 12")


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: mean("m", [1.0]), r"the number of samples must be a whole number of at least 2, got 1"),
        (lambda: mean("m", [1.0, 2.0], confidence=1.0), r"confidence must be in \(0, 1\), got 1.0"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
