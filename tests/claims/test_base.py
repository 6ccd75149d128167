"""Claims on fabricated measurements: all outcomes for all relations, and what power means."""

import dataclasses
import math

import hypothesis
import hypothesis.strategies as st
import pytest

from theory_lab.claims import claim
from theory_lab.measure import Measurement

TINY = 1e-9


def measured(low: float, high: float, value: float | None = None, note: str = "") -> Measurement:
    return Measurement("m", (low + high) / 2 if value is None else value, low, high, 64, note)


def stated(relation: str, predicted: float = 2.0, **options):
    tolerance = 0.5 if relation == "equals" else 0.0
    return claim("a statement", "Theorem 1", relation, predicted, **{"tolerance": tolerance, **options})


@pytest.mark.parametrize(
    "relation, low, high, outcome",
    [
        ("at most", 1.0, 1.5, "holds"),
        ("at most", 1.0, 2.0, "holds"),
        ("at most", -9.0, -8.0, "holds"),  # a bound that is beaten is not broken
        ("at most", 1.9, 2.1, "undecided"),
        ("at most", 2.0, 2.1, "undecided"),
        ("at most", 2.1, 2.2, "fails"),
        ("at least", 2.5, 3.0, "holds"),
        ("at least", 2.0, 3.0, "holds"),
        ("at least", 1.9, 2.1, "undecided"),
        ("at least", 1.0, 2.0, "undecided"),
        ("at least", 1.0, 1.9, "fails"),
        ("equals", 1.9, 2.1, "holds"),
        ("equals", 1.5, 2.5, "holds"),
        ("equals", 1.4, 2.1, "undecided"),  # over the lower edge
        ("equals", 2.4, 2.6, "undecided"),  # over the upper edge
        ("equals", 1.0, 3.0, "undecided"),  # wider than the tolerance
        ("equals", 1.0, 1.4, "fails"),
        ("equals", 2.6, 3.0, "fails"),
    ],
)
def test_the_interval_decides(relation, low, high, outcome):
    verdict = stated(relation).check(measured(low, high))
    assert verdict.outcome == outcome
    assert verdict.reason
    assert ("more seeds would decide it" in verdict.reason) == (outcome == "undecided")
    assert math.isnan(verdict.power) == (outcome == "undecided")


def test_what_the_measurement_notes_is_repeated():
    verdict = stated("at most").check(measured(1.0, 1.5, note="3 of 64 runs left out"))
    assert verdict.reason.endswith("is claimed (3 of 64 runs left out)")


@pytest.mark.parametrize("value", [0.6, 1.9])
def test_the_point_estimate_plays_no_part(value):
    """Percentile intervals need not contain it."""
    inside = stated("at most").check(measured(1.0, 1.5))
    outside = stated("at most").check(measured(1.0, 1.5, value=value))
    assert (inside.outcome, inside.power) == (outside.outcome, outside.power)


@pytest.mark.parametrize("low, high, value", [(1.0, 1.5, 9.0), (1.0, 1.5, 0.4), (1.0, 1.0, 1.1)])
def test_an_interval_far_from_its_own_value_decides_nothing(low, high, value):
    verdict = stated("at most").check(measured(low, high, value=value))
    reason = f"the value {value:g} lies farther outside its interval [{low:g}, {high:g}] than that is wide"
    assert (verdict.outcome, verdict.reason) == ("undecided", reason)


def test_rounding_beside_a_point_is_no_contradiction():
    assert stated("at most").check(measured(1.0, 1.0, value=1.0 + 1e-12)).outcome == "holds"


@pytest.mark.parametrize("relation", ["at most", "at least", "equals"])
def test_an_exact_measurement_is_a_point(relation):
    assert stated(relation).check(measured(2.0, 2.0)).outcome == "holds"


def perturbed(relation: str, predicted: float, tolerance: float, error: float):
    return claim("off", "-", relation, predicted + error * abs(predicted), tolerance=tolerance)


@hypothesis.settings(derandomize=True, max_examples=100, deadline=None)
@hypothesis.given(
    relation=st.sampled_from(["at most", "at least", "equals"]),
    predicted=st.floats(-10, 10).filter(lambda p: abs(p) > 1e-3),
    low=st.floats(-20, 20),
    width=st.floats(0, 5),
    tolerance=st.floats(0.01, 5),
)
def test_power_is_the_smallest_relative_error_that_would_have_failed(relation, predicted, low, width, tolerance):
    tolerance = tolerance if relation == "equals" else 0.0
    measurement = measured(low, low + width)
    verdict = claim("s", "-", relation, predicted, tolerance=tolerance).check(measurement)
    if verdict.outcome == "undecided":
        assert math.isnan(verdict.power)
        return
    signs = {"at most": [-1], "at least": [1], "equals": [-1, 1]}[relation]  # the ways in which such a claim can be wrong
    slack = TINY * (1 + (abs(low) + width + tolerance) / abs(predicted))
    beyond = [perturbed(relation, predicted, tolerance, sign * (verdict.power + slack)) for sign in signs]
    assert all(c.check(measurement).outcome == "fails" for c in beyond)
    if verdict.power > slack:
        short = [perturbed(relation, predicted, tolerance, sign * (verdict.power - slack)) for sign in signs]
        assert any(c.check(measurement).outcome != "fails" for c in short)


def test_power_against_zero_is_infinite():
    assert stated("at most", 0.0).check(measured(-1.0, -0.5)).power == math.inf


@pytest.mark.parametrize("relation", ["at most", "at least", "equals"])
def test_unmet_assumptions_leave_a_claim_undecided_whatever_was_measured(relation):
    verdict = stated(relation, unmet=["f is not convex", "n is not 1"]).check(measured(1.9, 2.0))
    assert verdict.outcome == "undecided"
    assert verdict.reason == "assumptions not met: f is not convex; n is not 1"
    assert verdict.as_expected


@pytest.mark.parametrize("relation", ["at most", "at least", "equals"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["value", "low", "high"])
def test_what_is_not_finite_is_undecided_and_says_why(relation, bad, where):
    broken = dataclasses.replace(measured(1.9, 2.1), **{where: bad})
    verdict = stated(relation).check(broken)
    assert (verdict.outcome, verdict.reason) == ("undecided", "the measurement is not finite")
    noted = dataclasses.replace(broken, note="diverged at epoch 12")
    assert stated(relation).check(noted).reason == "diverged at epoch 12"


@pytest.mark.parametrize("predicted", [math.nan, math.inf, -math.inf])
def test_a_theorem_without_a_finite_number_decides_nothing(predicted):
    verdict = stated("at most", predicted).check(measured(1.0, 1.5))
    assert (verdict.outcome, verdict.reason) == ("undecided", "the theorem gives no finite prediction here")


@pytest.mark.parametrize(
    "expected, low, high, as_expected",
    [
        ("holds", 1.0, 1.5, True),
        ("holds", 1.9, 2.1, True),  # undecided contradicts nothing
        ("holds", 2.5, 3.0, False),
        ("fails", 2.5, 3.0, True),
        ("fails", 1.9, 2.1, True),
        ("fails", 1.0, 1.5, False),
    ],
)
def test_expectation_is_contradicted_by_the_opposite_outcome_alone(expected, low, high, as_expected):
    verdict = stated("at most", expected=expected, why="it is known to be wrong").check(measured(low, high))
    assert verdict.as_expected == as_expected
    assert verdict.expected == expected


def test_an_expected_failure_carries_its_reason():
    verdict = stated("at most", expected="fails", why="the cap is too small").check(measured(2.5, 3.0))
    assert verdict.reason.endswith("; expected: the cap is too small")


def test_verdict_repeats_claim_and_measurement():
    verdict = stated("at least", 3.0).check(Measurement("slope", 4.0, 3.5, 4.5, 17))
    seen = dataclasses.asdict(verdict)
    assert seen == {
        "claim": "a statement",
        "source": "Theorem 1",
        "relation": "at least",
        "predicted": 3.0,
        "measured": 4.0,
        "low": 3.5,
        "high": 4.5,
        "samples": 17,
        "outcome": "holds",
        "expected": "holds",
        "power": 0.5,
        "reason": "the interval [3.5, 4.5] lies within what is claimed",
        "tolerance": 0.0,
    }
