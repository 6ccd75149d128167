"""The doors of accuracies and paired tests."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from tests.doors.refusals import cases, check_refusal
from theory_lab.measure import accuracy

BOOLEANS = "a non-empty one-dimensional array of booleans"

DOORS = {
    "accuracy": [
        (lambda: accuracy.accuracy([]), f"correct must be {BOOLEANS}, got []"),
        (lambda: accuracy.accuracy([1, 0]), f"correct must be {BOOLEANS}, got [1, 0]"),
        (lambda: accuracy.accuracy(True), f"correct must be {BOOLEANS}, got True"),
        (lambda: accuracy.accuracy([[True], [True, False]]), f"correct must be {BOOLEANS}, got [[True], [True, False]]"),
        (lambda: accuracy.accuracy([True], confidence=1), "confidence must be in (0, 1), got 1"),
    ],
    "wins": [
        (lambda: accuracy.wins([True], [0]), f"second must be {BOOLEANS}, got [0]"),
        (lambda: accuracy.wins([1], [True]), f"first must be {BOOLEANS}, got [1]"),
        (
            lambda: accuracy.wins([True, False], [True]),
            "second must be answers to the same 2 examples as first, got '1 answers'",
        ),
        (lambda: accuracy.wins([True], [True], confidence=0), "confidence must be in (0, 1), got 0"),
    ],
    "mcnemar": [
        (
            lambda: accuracy.mcnemar([True], [True, False]),
            "second must be answers to the same 1 examples as first, got '2 answers'",
        ),
    ],
    "difference": [(lambda: accuracy.difference([True], [False], confidence=2), "confidence must be in (0, 1), got 2")],
}


@pytest.mark.parametrize("call, message", cases(DOORS))
def test_refusals(call, message):
    check_refusal(call, message)


@pytest.mark.parametrize("confidence", [Decimal("0.5"), Fraction(1, 2), np.float32(0.5), np.array(0.5)])
def test_a_confidence_may_be_any_number(confidence):
    assert accuracy.accuracy([True, False], confidence=confidence) == accuracy.accuracy([True, False], confidence=0.5)
