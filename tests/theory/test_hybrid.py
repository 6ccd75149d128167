"""The hybrid theorems as objects: what they assume, recommend and promise."""

import math
from dataclasses import replace

import pytest

from theory_lab.constants import Constants
from theory_lab.theory.base import Budget
from theory_lab.theory.hybrid import PROPOSITION_C, RESHUFFLING, THEOREM_H, WITH_REPLACEMENT
from theory_lab.theory.with_replacement import with_replacement_bound

CONSTANTS = Constants(smoothness={"x": 1.5, "y": 2.0}, dispersion={"x": 0.7, "y": 0.4})


BUDGET = Budget(
    n=8, epochs=1000, dimension=6, initial_gap=2.0, initial_distance_sq={"x": 1.0, "y": 2.0}, convex_components=True
)


HYBRID = [WITH_REPLACEMENT, RESHUFFLING, THEOREM_H, PROPOSITION_C]


@pytest.mark.parametrize("theorem", HYBRID, ids=lambda t: t.source)
class TestTheorems:
    def test_recommended_steps_have_a_finite_bound(self, theorem):
        assert theorem.assumptions(CONSTANTS, BUDGET) == []
        etas = theorem.step_sizes(CONSTANTS, BUDGET)
        assert set(etas) == {"x", "y"}
        assert 0 < theorem.bound(CONSTANTS, BUDGET, etas) < math.inf

    def test_too_large_steps_have_none(self, theorem):
        assert theorem.bound(CONSTANTS, BUDGET, {"x": 10.0, "y": 10.0}) == math.inf

    def test_unknown_constants_are_named_and_buy_nothing(self, theorem):
        unknown = Constants(smoothness={"y": 2.0}, dispersion=None)
        unmet = theorem.assumptions(unknown, BUDGET)
        assert unmet[:3] == [
            "smoothness of block x is unknown",
            "dispersion of block x is unknown",
            "dispersion of block y is unknown",
        ]
        assert theorem.step_sizes(unknown, BUDGET) == {}
        assert theorem.bound(unknown, BUDGET, {"x": 1e-3, "y": 1e-3}) == math.inf

    def test_longer_runs_promise_more(self, theorem):
        def promise(epochs):
            budget = replace(BUDGET, epochs=epochs)
            etas = theorem.step_sizes(CONSTANTS, budget)
            scale = 1.0 if theorem is PROPOSITION_C else etas["x"]
            return theorem.bound(CONSTANTS, budget, etas) / scale

        far, further = promise(10**8), promise(10**10)
        assert math.log(further / far) / math.log(100) == pytest.approx(theorem.exponents["epochs"], abs=0.02)


def test_conditions_in_words():
    flat = Constants(smoothness={"x": 0.0, "y": 2.0}, dispersion={"x": 0.7, "y": 0.4})
    assert RESHUFFLING.assumptions(flat, BUDGET) == ["smoothness of block x is not positive"]
    blind = replace(BUDGET, dimension=None)
    assert WITH_REPLACEMENT.assumptions(CONSTANTS, blind) == ["trace and dimension of block x are both unknown"]
    traced = Constants(smoothness=CONSTANTS.smoothness, dispersion=CONSTANTS.dispersion, trace={"x": 3.0})
    assert WITH_REPLACEMENT.assumptions(traced, blind) == []
    rough = replace(BUDGET, directions=2, radius=0.1, convex_components=False)
    assert THEOREM_H.assumptions(CONSTANTS, rough) == ["more than one direction is averaged", "the radius is not zero"]
    assert PROPOSITION_C.assumptions(CONSTANTS, rough) == ["a component is not convex", "the radius is not zero"]
    untold = replace(BUDGET, convex_components=None, initial_distance_sq={"x": 1.0})
    assert PROPOSITION_C.assumptions(CONSTANTS, untold) == [
        "initial distance sq of block y is unknown",
        "convex components is unknown",
    ]


def test_the_trace_replaces_the_dimension():
    traced = Constants(smoothness=CONSTANTS.smoothness, dispersion=CONSTANTS.dispersion, trace={"x": 3.0, "y": 9.0})
    etas = {"x": 0.01, "y": 0.01}
    told = with_replacement_bound(
        step_sizes=(0.01, 0.01), smoothness=(1.5, 2.0), dispersion=(0.7, 0.4), initial_gap=2.0, steps=8000, rank=2
    )
    assert WITH_REPLACEMENT.bound(traced, BUDGET, etas) == told
    assert told < WITH_REPLACEMENT.bound(CONSTANTS, BUDGET, etas)
