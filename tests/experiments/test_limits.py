"""One number for many measurements, as the experiments on stability need it."""

import math

import pandas as pd
import pytest

from experiments import _limits
from theory_lab.claims import claim
from theory_lab.measure import Measurement


def some(value: float, half: float, note: str = "") -> Measurement:
    return Measurement("some", value, value - half, value + half, 8, note)


def test_a_row_keeps_a_measurement() -> None:
    row = pd.Series(_limits.row(some(2.0, 0.5, "few")))
    assert _limits.measurement(row, name="some") == some(2.0, 0.5, "few")
    assert _limits.measurement(row, per=2.0).high == 1.25


def test_the_farthest_reaches_around_all_while_all_contain_the_centre() -> None:
    around = _limits.farthest("all", [some(1.0, 0.125), some(0.875, 0.125), some(1.0, 0.25)], centre=1.0)
    assert (around.value, around.low, around.high, around.samples) == (0.875, 0.75, 1.25, 24)


@pytest.mark.parametrize("side", [-1, 1])
def test_the_farthest_lies_outside_as_soon_as_one_does(side: int) -> None:
    numbers = [some(1.0, 0.5), some(1 + side * 0.25, 0.125), some(1.0, 0.0625)]
    out = _limits.farthest("all", numbers, centre=1.0)
    assert (out.value, out.low, out.high) == (1 + side * 0.25, *sorted((1 + side * 0.125, 1 + side * 0.5)))
    assert claim("all agree", "", "equals", 1.0, tolerance=0.125).check(out).outcome == "undecided"
    assert claim("all agree", "", "equals", 1.0, tolerance=0.1).check(out).outcome == "fails"
    assert claim("all agree", "", "equals", 1.0, tolerance=0.5).check(out).outcome == "holds"


def test_the_smallest_lies_between_the_smallest_ends() -> None:
    least = _limits.smallest("least", [some(1.0, 0.5), some(0.9, 0.1)])
    assert (least.value, least.low, least.high) == (0.9, 0.5, 1.0)


def test_what_is_not_finite_spoils_the_whole_and_is_named() -> None:
    broken = Measurement("that one", math.nan, math.nan, math.nan, 8, "no crossing")
    for combined in (
        _limits.farthest("all", [some(1.0, 0.1), broken], centre=1.0),
        _limits.smallest("least", [some(1.0, 0.1), broken]),
    ):
        assert math.isnan(combined.value)
        assert combined.note == "1 of 2 not measured: that one: no crossing"


def test_ratios_and_exponents_take_the_ends_that_widen_them() -> None:
    halves = _limits.ratio("half", some(1.0, 0.1), some(2.0, 0.5))
    assert (halves.value, halves.low, halves.high) == (0.5, 0.9 / 2.5, 1.1 / 1.5)
    power = _limits.exponent("power", some(1.0, 0.0), some(8.0, 0.0), 2.0)
    assert (power.value, power.low, power.high) == (3.0, 3.0, 3.0)
    unknown = _limits.exponent("power", some(1.0, 0.0), some(1.0, 2.0), 2.0)  # the interval reaches below zero
    assert math.isnan(unknown.low)
