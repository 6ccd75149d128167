"""The judge of adaptive step sizes, on fabricated frames: what it must pass and what it must not."""

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import adam_asymmetry
from experiments.adam_asymmetry import BATCHES, BOTH, ONE, _accuracy, _least, _speed

IN_X = {
    "accuracy": {"sgd": 1.0, "sign": 1.0, "normalised": 0.5, "adam": 1.0},
    "early": {"sgd": 1.0, "sign": 1.0, "normalised": 0.5, "adam": 0.64},
    "soon": {"sgd": 1.0, "sign": 0.0, "normalised": 0.0, "adam": 0.0},
    "budget": {"sgd": 1.0, "sign": 0.0, "normalised": -0.5, "adam": 0.5},
}


@pytest.fixture
def frame() -> pd.DataFrame:
    """Step sizes with the reasoned exponents, known to a percent."""
    wiggle = np.exp(0.01 * np.sin(np.arange(BATCHES)))
    problems = [(pair, d, 1.0, 1.0) for pair in BOTH for d in (16, 64)]
    problems += [(pair, 16, 16.0, 1.0) for pair in [*BOTH, *ONE]]
    problems += [(pair, 16, 1.0, l_y) for pair in ONE for l_y in (1.0, 16.0)]
    rows = []
    for (x, y), d, l_x, l_y in problems:
        at = {"x": x, "y": y, "d_x": d, "smooth_x": l_x, "smooth_y": l_y}
        for notion, exponents in IN_X.items():
            eta_x = (d + 2.0 if x == "sgd" else d) ** -exponents[x] / (l_x if x == "sgd" else 1)
            rows += [{**at, "block": "x", "notion": notion, "batch": i, "value": eta_x * w} for i, w in enumerate(wiggle)]
        eta_y = 0.1 / (l_y if y == "sgd" else 1)
        rows += [{**at, "block": "y", "notion": "speed", "batch": i, "value": eta_y} for i in range(BATCHES)]
    return pd.DataFrame(rows)


def changed(before: pd.DataFrame, after: pd.DataFrame) -> set[tuple[str, str]]:
    """The claims whose outcome differs, with the new outcome, by their beginnings."""
    old, new = ({v.claim: v.outcome for v in adam_asymmetry.judge(each)} for each in (before, after))
    return {(name[:26], outcome) for name, outcome in new.items() if old[name] != outcome}


def test_agreement_is_recognised(frame: pd.DataFrame) -> None:
    verdicts = adam_asymmetry.judge(frame)
    assert [verdict.outcome for verdict in verdicts].count("fails") == 2  # Adam that remembers its start, and its momentum
    assert all(verdict.as_expected and verdict.outcome != "undecided" for verdict in verdicts)
    assert {v.source for v in verdicts if "SGD" not in v.claim} == {adam_asymmetry.CONJECTURE}


def test_another_exponent_in_the_dimension_is_caught(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    rows = (wrong.x == "adam") & (wrong.notion == "budget") & (wrong.d_x == 64)
    wrong.loc[rows, "value"] *= 4.0 ** (-1 / 6)
    assert changed(frame, wrong) == {("Adam, best eta_x after 100", "holds")}
    wrong = frame.copy()
    wrong.loc[(wrong.x == "sign") & (wrong.notion == "budget") & (wrong.d_x == 64), "value"] *= 2.0
    assert changed(frame, wrong) == {("signs, best eta_x after 10", "fails")}


def test_an_adaptive_step_that_feels_the_curvature_is_caught(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    rows = (wrong.x == "sign") & (wrong.smooth_x == 16) & (wrong.block == "x")
    wrong.loc[rows, "value"] /= 4
    assert changed(frame, wrong) == {("Adam, signs, normalised in", "fails")}


def test_the_blocks_of_a_mixed_pair_are_told_apart(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    mixed = (wrong.x == "adam") & (wrong.y == "sgd")
    wrong.loc[mixed & (wrong.block == "y"), "value"] *= wrong.smooth_y  # as if Adam in x freed y, too
    assert changed(frame, wrong) == {("Adam in one block, SGD in ", "fails")}


def test_a_step_size_that_was_not_found_is_undecided(frame: pd.DataFrame) -> None:
    lost = frame.copy()
    lost.loc[(lost.x == "normalised") & (lost.notion == "accuracy") & (lost.d_x == 64), "value"] = np.nan
    assert changed(frame, lost) == {("normalised, largest eta_x ", "undecided")}


def test_the_step_sizes_are_found_between_the_grid_points() -> None:
    sizes, steps = 2.0 ** np.arange(-4, 4), np.arange(11.0)
    assert _least(sizes, np.exp(np.log(sizes / 0.6) ** 2)) == pytest.approx(0.6)
    assert math.isnan(_least(sizes, sizes))
    floors = np.tile((sizes / 5)[:, None] ** 2, (1, 11))  # 4% at 1
    assert _accuracy(sizes * 1.1, steps, floors * 1.1**2) == pytest.approx(1.0)
    assert math.isnan(_accuracy(sizes, steps, floors / 1e4))
    decays = np.exp(-steps * (1 - np.log(sizes / 0.6) ** 2 / 9)[:, None])
    assert _speed(sizes, steps, decays) == pytest.approx(0.6, rel=0.05)


def test_it_draws_and_its_cells_are_distinct(frame: pd.DataFrame) -> None:
    assert isinstance(adam_asymmetry.draw(frame, adam_asymmetry.judge(frame)), Figure)
    for settings in (adam_asymmetry.QUICK, adam_asymmetry.FULL):
        assert len({str(cell) for cell in adam_asymmetry.cells(settings)}) == len(adam_asymmetry.cells(settings))
