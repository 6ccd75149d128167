"""A theorem reads constants and a budget, names what is unknown, and promises nothing beyond its assumptions."""

import math

import numpy as np
import pytest

from theory_lab.constants import Constants
from theory_lab.theory import first_order, generalized, hybrid, lower_bounds, published
from theory_lab.theory.base import KINDS, Budget, Theorem, pair, rank_of, unknown

THEOREMS = [
    value
    for module in (first_order, generalized, hybrid, lower_bounds, published)
    for value in vars(module).values()
    if isinstance(value, Theorem)
]


def bound_of(kind: str) -> Theorem:
    return Theorem(
        "toy",
        "nobody",
        "f <= L Delta",
        kind,
        needs=("smoothness", "initial_gap"),
        blocks=("x", "y"),
        conditions=lambda constants, budget: ["n is odd"] if budget.n % 2 else [],
        rule=lambda constants, budget: {"x": 1.0, "y": 2.0},
        value=lambda constants, budget, step_sizes: step_sizes["x"] * constants.smoothness["x"] * budget.initial_gap,
    )


KNOWN = Constants(smoothness={"x": 3.0, "y": 1.0})


def test_step_sizes_must_name_the_theorem_s_blocks():
    with pytest.raises(ValueError, match=r"step_sizes must have the labels of the theorem \['x', 'y'\], got \['x'\]"):
        bound_of("upper bound").bound(KNOWN, Budget(n=4, epochs=2, initial_gap=0.5), {"x": 1.0})


def test_a_theorem_that_applies():
    theorem, budget = bound_of("upper bound"), Budget(n=4, epochs=2, initial_gap=0.5)
    assert theorem.assumptions(KNOWN, budget) == []
    assert theorem.step_sizes(KNOWN, budget) == {"x": 1.0, "y": 2.0}
    assert theorem.bound(KNOWN, budget, {"x": 2.0, "y": 2.0}) == 3.0


@pytest.mark.parametrize("kind, nothing", [("upper bound", math.inf), ("lower bound", math.nan), ("exact", math.nan)])
def test_an_unmet_assumption_buys_nothing(kind, nothing):
    theorem, budget = bound_of(kind), Budget(n=3, epochs=2, initial_gap=0.5)
    assert theorem.assumptions(KNOWN, budget) == ["n is odd"]
    assert theorem.step_sizes(KNOWN, budget) == {}
    np.testing.assert_equal(theorem.bound(KNOWN, budget, {"x": 1.0, "y": 1.0}), nothing)


def test_unknown_is_never_zero():
    theorem, budget = bound_of("upper bound"), Budget(n=4, epochs=2)
    half = Constants(smoothness={"x": None, "y": 1.0})
    assert theorem.assumptions(Constants(), budget) == [
        "smoothness of block x is unknown",
        "smoothness of block y is unknown",
        "initial gap is unknown",
    ]
    assert theorem.assumptions(half, budget) == ["smoothness of block x is unknown", "initial gap is unknown"]
    assert theorem.bound(half, budget, {"x": 0.0, "y": 0.0}) == math.inf
    assert unknown(["dispersion"], [], Constants(), budget) == ["dispersion is unknown"]
    assert unknown(["dispersion"], [], Constants(dispersion={"base": 1.0, "peft": None}), budget) == [
        "dispersion of block peft is unknown"
    ]
    assert unknown(["pl", "optimal_value"], [], Constants(pl=0.0), budget) == ["optimal value is unknown"]


def test_rank_comes_from_the_trace_and_then_from_the_dimension():
    budget = Budget(n=1, epochs=1, dimension=12)
    assert rank_of(KNOWN, budget) == 12
    assert rank_of(Constants(smoothness=KNOWN.smoothness, trace={"x": 7.5}), budget) == 2.5
    assert rank_of(Constants(smoothness=KNOWN.smoothness, trace={"x": 1.5}), budget) == 1.0  # L_x may be declared too large


@pytest.mark.parametrize(
    "change, message",
    [
        ({"n": 0}, "n must be a whole number of at least 1, got 0"),
        ({"epochs": 1.0}, "epochs must be a whole number of at least 1, got 1.0"),
        ({"directions": 0}, "directions must be a whole number of at least 1, got 0"),
        ({"radius": -0.1}, "radius must be nonnegative and finite, got -0.1"),
        ({"dimension": 0}, "dimension must be a whole number of at least 1, got 0"),
        ({"initial_gap": math.nan}, "initial_gap must be nonnegative and finite, got nan"),
        ({"initial_distance_sq": {"x": -1.0}}, r"initial_distance_sq\['x'\] must be nonnegative and finite, got -1.0"),
        ({"failure_probability": 1.0}, r"failure_probability must be in \(0, 1\), got 1.0"),
    ],
)
def test_a_bad_budget_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Budget(**({"n": 2, "epochs": 3} | change))


def test_other_doors_refuse():
    with pytest.raises(ValueError, match=r"kind must be one of 'exact', .*did you mean 'upper bound'"):
        bound_of("upper bond")
    with pytest.raises(ValueError, match=r"shares must be a pair \(x, y\) of positive finite numbers, got \(0, 1\)"):
        pair("shares", (0, 1), positive=True)
    assert Budget(n=4, epochs=5).steps == 20


@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda t: t.name)
def test_every_theorem_is_well_formed(theorem):
    """All are silent, in words, about an objective of which nothing is known."""
    budget = Budget(n=4, epochs=2)
    assert theorem.kind in KINDS
    assert theorem.name
    assert theorem.source
    assert theorem.statement
    assert all(isinstance(power, float) for power in theorem.exponents.values())
    silent = theorem.assumptions(Constants(), budget)
    assert all(words.endswith(" is unknown") for words in silent)
    assert bool(silent) == bool(theorem.needs)
    assert not math.isfinite(theorem.bound(Constants(), budget, {"x": 0.1, "y": 0.1}))


def test_there_are_theorems():
    assert len({theorem.name for theorem in THEOREMS}) == len(THEOREMS) == 17
