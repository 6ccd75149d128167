"""The judge of `bound_tightness`: sound bounds pass, a broken or a surprisingly sharp one is found out."""

import jax
import numpy as np
import pandas as pd
import pytest

from experiments import _rows
from experiments import bound_tightness as bounds
from theory_lab.measure import Measurement


def row(bound: str, instance: str, x: float, ratio: float, *, error: float = 0.0) -> dict[str, object]:
    measured = Measurement("", ratio, (1 - error) * ratio, (1 + error) * ratio, 32)
    return {"part": "exact", "bound": bound, "instance": instance, "axis": "fraction", "x": x, **_rows.row(measured)}


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = [row(bound, "flat", 0.3, 1.5 if "3 (" in bound else 4.0) for bound in bounds.SOURCES]
    rows += [row("Theorem 2", "cosine", 0.3, 3.0, error=0.1), row("RR, first order", "minimax", 1.0, 8.0, error=0.01)]
    rows += [
        row("Theorem 1, gap at the end kept", "flat", 0.3, 1.0),
        row("Theorem 1, gap at the end kept", "coupled", 0.3, 2.0),
    ]
    rows += [row("Theorem 2, small steps", "flat", x, 1 + x) for x in (0.1, 0.01)]
    rows += [row("WR, classical, long runs", "flat", x, 2 - x) for x in (0.01, 0.5, 1.0)]
    return pd.DataFrame(rows)


def surprises(frame: pd.DataFrame) -> set[str]:
    return {verdict.claim for verdict in bounds.judge(frame) if verdict.outcome != verdict.expected}


def test_sound_bounds_meet_every_expectation(frame: pd.DataFrame) -> None:
    assert len(bounds.judge(frame)) == 26
    assert surprises(frame) == set()


@pytest.mark.parametrize("bound", bounds.SOURCES)
def test_a_bound_below_what_was_measured_is_found_out(frame: pd.DataFrame, bound: str) -> None:
    wrong = pd.concat([frame, pd.DataFrame([row(bound, "coupled", 0.9, 0.99, error=0.005)])], ignore_index=True)
    assert f"{bound}: bound / measured, all settings" in surprises(wrong)


def test_a_simulation_that_cannot_tell_is_undecided(frame: pd.DataFrame) -> None:
    wrong = pd.concat([frame, pd.DataFrame([row("Theorem 2", "cosine", 0.9, 1.01, error=0.05)])], ignore_index=True)
    outcomes = {verdict.claim: verdict.outcome for verdict in bounds.judge(wrong)}
    assert outcomes["Theorem 2: bound / measured, all settings"] == "undecided"


@pytest.mark.parametrize(
    ("bound", "factor", "words"),
    [
        ("Corollary 2a", 0.6, "Corollary 2a: looseness, all settings"),
        ("Theorem 1, gap at the end kept", 1 + 1e-6, "Theorem 1 is an identity"),
        ("Theorem 2, small steps", 1.1, "Theorem 2 where Hess = D"),
        ("WR, classical, long runs", 1.05, "WR, classical, long runs"),
        ("Theorem 3 (b)", 1.4, "Theorem 3 (b): bound / attained"),
        ("Theorem 3 (e)", 1.4, "Theorem 3 (e): bound / second"),
        ("RR, first order", 10.0, "RR, first order: bound / measured on the minimax"),
    ],
)
def test_another_looseness_is_found_out(frame: pd.DataFrame, bound: str, factor: float, words: str) -> None:
    wrong = frame.copy()
    wrong.loc[wrong.bound == bound, ["value", "low", "high"]] *= factor
    (surprise,) = surprises(wrong)
    assert surprise.startswith(words)


def test_the_identity_is_exact_on_a_flat_quadratic_and_not_on_a_coupled_one() -> None:
    for instance, identity in (("flat", True), ("coupled", False)):
        cell = {"part": "exact", "instance": instance, "axis": "base", "steps": 16, **bounds.BASE}
        case = bounds.Exact(cell, jax.random.key(0))
        ratio = bounds._identity(case, (0.01, 0.1))
        assert bool(np.isclose(ratio, 1, rtol=1e-5)) is identity  # single precision outside of the runner
