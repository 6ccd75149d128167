"""The worst, the average, the ratio and the exponent of many measurements."""

import numpy as np
import pytest

from theory_lab.claims import claim
from theory_lab.measure import Measurement, family
from theory_lab.measure.base import unmeasured


def some(value: float, half: float, note: str = "") -> Measurement:
    return Measurement("some", value, value - half, value + half, 64, note)


def test_farthest_reaches_around_all_that_contain_the_centre():
    around = family.farthest("all", [some(1.0, 0.125), some(0.875, 0.125), some(1.0, 0.25)], centre=1.0)
    assert (around.value, around.low, around.high, around.samples) == (0.875, 0.75, 1.25, 64)


@pytest.mark.parametrize("side", [-1, 1])
def test_farthest_is_the_number_whose_interval_misses_the_centre(side):
    numbers = [some(1.0, 0.25), some(1.0 + side * 0.5, 0.125)]
    out = family.farthest("all", numbers, centre=1.0)
    assert out.value == 1.0 + side * 0.5
    near, far = sorted([out.low - 1.0, out.high - 1.0], key=abs)
    assert (near * side, far * side) == (0.375, 0.625)
    equals = claim("one", "test", "equals", 1.0, tolerance=0.3)
    assert equals.check(out).outcome == "fails"
    assert equals.check(family.farthest("all", numbers[:1], centre=1.0)).outcome == "holds"


def test_extremes_take_the_extreme_ends():
    numbers = [some(1.0, 0.5), some(0.9, 0.1)]
    least, most = family.smallest("least", numbers), family.largest("most", numbers)
    assert (least.value, least.low, least.high) == (0.9, 0.5, 1.0)
    assert (most.value, most.low, most.high) == (1.0, 0.8, 1.5)


@pytest.mark.parametrize("of", [family.smallest, family.largest, family.average, lambda *a: family.farthest(*a, centre=1.0)])
def test_one_lost_number_loses_the_family_and_says_why(of):
    lost = of("all", [some(1.0, 0.1), unmeasured("floor", 8, "3 of 8 runs diverged")])
    assert np.isnan([lost.value, lost.low, lost.high]).all()
    assert lost.note == "1 of 2 not measured: floor: 3 of 8 runs diverged"
    assert lost.samples == 8
    assert of("none", []).note == "nothing was measured"


def test_the_average_lies_between_the_averages_of_the_ends():
    both = family.average("both", [some(1.0, 0.5), some(2.0, 0.25)])
    assert (both.value, both.low, both.high) == (1.5, 1.125, 1.875)


def test_ratio_and_exponent():
    halves = family.ratio("half", some(1.0, 0.1), some(2.0, 0.5))
    assert (halves.value, halves.low, halves.high) == pytest.approx((0.5, 0.9 / 2.5, 1.1 / 1.5))
    power = family.exponent("power", some(1.0, 0.0), some(8.0, 0.0), 2.0)
    assert (power.value, power.low, power.high) == (3.0, 3.0, 3.0)
    falling = family.exponent("power", some(1.0, 0.5), some(8.0, 1.0), 0.5)
    assert falling.low < falling.value == -3.0 < falling.high


def test_an_interval_that_reaches_zero_has_no_ratio_and_no_exponent():
    for lost in (
        family.ratio("ratio", some(1.0, 0.0), some(1.0, 2.0)),
        family.exponent("power", some(1.0, 0.0), some(1.0, 2.0), 2.0),
        family.exponent("power", some(1.0, 0.0), some(1.0, 1.0), 2.0),
    ):
        assert np.isnan(lost.value)
        assert "reaches zero" in lost.note


def test_simultaneous_confidence():
    assert family.confidence(1) == pytest.approx(0.99)
    assert family.confidence(50, overall=0.95) == pytest.approx(0.999)
    with pytest.raises(ValueError, match="size must be"):
        family.confidence(0)
