"""The judge of the hybrid gain, on fabricated frames: what it must pass and what it must not."""

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import hybrid_gain
from experiments.hybrid_gain import BASE, TENTH, _crossing

COLUMNS = ["what", "along", "method", "d_x", "d_y", "target", "batch", "value", "predicted"]


def steps(method: str, d_x: int, d_y: int) -> float:
    """Made-up numbers of steps that follow the dimensions exactly."""
    return {"zeroth_order": d_x + d_y + 2.0, "hybrid": d_x + 2.0, "first_order": 2.0, "frozen": 1.0}[method]


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = []
    wiggle = 0.01 * np.sin(np.arange(16))
    for method, shapes in (
        ("hybrid", [(16, 16), (16, 128)]),
        ("zeroth_order", [(16, 16), (16, 128)]),
        ("first_order", [(16, 16)]),
    ):
        for d_x, d_y in shapes:
            exact = steps(method, d_x, d_y)
            at = {"what": "run", "method": method, "d_x": d_x, "d_y": d_y, "predicted": exact}
            rows += [{**at, "batch": i, "value": exact * (1 + w)} for i, w in enumerate(wiggle)]
    for along in ("d_x", "d_y", "both", "quiet"):
        for d in (160, 1600, 16000):
            shape = {"d_x": (d, BASE), "d_y": (BASE, d), "both": (d, d), "quiet": (160, d // 100)}[along]
            for method in ("hybrid", "zeroth_order", "first_order")[: 2 if along == "quiet" else 3]:
                at = {"what": "curve", "along": along, "method": method, "d_x": shape[0], "d_y": shape[1]}
                rows.append({**at, "value": steps(method, *shape)})
    for target in (0.05, 0.12, 0.2):
        for method in ("hybrid", "zeroth_order", "first_order", "frozen"):
            value = math.inf if method == "frozen" and target < TENTH else steps(method, 160, 16)
            rows.append(
                {
                    "what": "curve",
                    "along": "target",
                    "method": method,
                    "d_x": 160,
                    "d_y": 16,
                    "target": target,
                    "value": value,
                }
            )
    rows += [
        {"what": "floor", "method": "frozen", "batch": i, "value": 0.2 + w, "predicted": 0.2 + w}
        for i, w in enumerate(wiggle)
    ]
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def changed(before: pd.DataFrame, after: pd.DataFrame) -> set[tuple[str, str]]:
    """The claims whose outcome differs, with the new outcome, by their beginnings."""
    old, new = ({v.claim: v.outcome for v in hybrid_gain.judge(each)} for each in (before, after))
    return {(name[:24], outcome) for name, outcome in new.items() if old[name] != outcome}


def test_agreement_is_recognised(frame: pd.DataFrame) -> None:
    verdicts = hybrid_gain.judge(frame)
    assert {verdict.outcome for verdict in verdicts} == {"holds", "fails"}
    assert [verdict.claim for verdict in verdicts if not verdict.as_expected] == []


def test_steps_off_the_recursion_are_caught(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    wrong.loc[(wrong.what == "run") & (wrong.method == "hybrid") & (wrong.d_y == 128), "value"] *= 1.3
    assert changed(frame, wrong) == {("steps to eps at tuned st", "fails"), ("the cost ratio c* of a b", "fails")}


def test_a_hybrid_that_pays_for_the_adapter_is_caught(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    grows = (wrong.what == "curve") & (wrong.along == "d_y") & (wrong.method == "hybrid")
    wrong.loc[grows, "value"] *= (wrong.d_y / 160) ** 0.2
    assert changed(frame, wrong) == {("steps to eps, hybrid: ex", "fails")}


def test_a_cheap_adapter_would_surprise(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    wrong.loc[(wrong.along == "quiet") & (wrong.method == "hybrid"), "value"] /= 3
    assert changed(frame, wrong) == {("without noise, the gap a", "fails"), ("an adapter of a tenth of", "holds")}


def test_a_frozen_run_off_its_floor_is_caught(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    wrong.loc[wrong.index[wrong.what == "floor"][:1], "value"] *= 1.05
    assert changed(frame, wrong) == {("with x frozen, gradients", "fails")}


def test_runs_that_never_cross_are_undecided(frame: pd.DataFrame) -> None:
    lost = frame.copy()
    lost.loc[(lost.what == "run") & (lost.method == "first_order"), "value"] = np.nan
    assert changed(frame, lost) == {("steps to eps at tuned st", "undecided")}


def test_crossings_interpolate_the_logarithm() -> None:
    epochs, gaps = np.arange(4.0), hybrid_gain.TARGET * 2.0 ** np.array([3, 1, -1, -2])
    assert _crossing(epochs, gaps) == pytest.approx(1.5)
    assert math.isnan(_crossing(epochs, 8 * gaps))
    assert math.isnan(_crossing(epochs, gaps / 16))


def test_it_draws_and_its_cells_are_distinct(frame: pd.DataFrame) -> None:
    assert isinstance(hybrid_gain.draw(frame, hybrid_gain.judge(frame)), Figure)
    for settings in (hybrid_gain.QUICK, hybrid_gain.FULL):
        assert len({str(cell) for cell in hybrid_gain.cells(settings)}) == len(hybrid_gain.cells(settings))
