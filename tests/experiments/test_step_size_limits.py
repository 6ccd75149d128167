"""The judge of the step-size limits, on fabricated frames: what it must pass and what it must not."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import _rows, step_size_limits
from theory_lab.measure import Measurement, exact


def limit(family: str, series: str, x: float, predicted: float, *, error: float = 0.005) -> dict[str, object]:
    measured = Measurement("limit", predicted, (1 - error) * predicted, (1 + error) * predicted, 64)
    return {"family": family, "series": series, "x": x, "predicted": predicted, **_rows.row(measured)}


@pytest.fixture
def frame() -> pd.DataFrame:
    """Perfect agreement, every sampled limit known to 0.5%."""
    rows = [limit("dimension", f"L = {L:g}", d, 2 / (L * (d + 2))) for L in (0.01, 1, 100) for d in (50, 256)]
    rows += [limit("bounded rank", "", d, 0.09 * d**-0.1) for d in (64, 256)]
    rows += [limit("rank", "", r, 2 / (r + 1.5)) for r in (29, 71, 128)]
    rows += [limit("directions", "", q, 2 * q / (65 + q)) for q in (1, 8)]
    rows += [limit("law", law, 1, 2 / d) for law, d in (("gaussian", 52), ("rademacher", 50), ("sphere", 50))]
    for series, n in (("random_reshuffling", 2), ("random_reshuffling", 64), ("incremental", 64), ("with_replacement", 64)):
        rows += [limit("convex x", series, n, 1 / 52), limit("convex y", series, n, 1.0)]
    rows += [limit("first dimension", "", d, 1.99) for d in (1, 8, 64)]
    rows += [limit("operator", "", r, 2 / (r + 1), error=0.0) for r in (1.6, 4.5)]
    for n in (3, 6, 12, 24):
        for series, value in (("random_reshuffling", 1.5 * n**-0.52), ("incremental", 3.5 / n), ("with_replacement", 2e-3)):
            predicted = 2e-3 if series == "with_replacement" else np.nan
            row = {"family": "indefinite", "series": series, "x": float(n), "predicted": predicted}
            rows.append(row | _rows.row(exact("limit", value)))
    return pd.DataFrame(rows)[step_size_limits.COLUMNS]


def changed(before: pd.DataFrame, after: pd.DataFrame) -> dict[int, str]:
    """The places of the claims whose outcome differs, with the new outcome."""
    pairs = zip(step_size_limits.judge(before), step_size_limits.judge(after), strict=True)
    return {i: new.outcome for i, (old, new) in enumerate(pairs) if old.outcome != new.outcome}


def test_agreement_is_recognised(frame: pd.DataFrame) -> None:
    verdicts = step_size_limits.judge(frame)
    assert len(verdicts) == 16
    assert {verdict.outcome for verdict in verdicts} == {"holds", "fails"}
    assert all(verdict.as_expected for verdict in verdicts)


@pytest.mark.parametrize(
    ("family", "place"),
    [("dimension", 0), ("directions", 1), ("law", 2), ("operator", 4), ("convex y", 6), ("first dimension", 7)],
)
def test_a_family_off_its_prediction_is_caught(frame: pd.DataFrame, family: str, place: int) -> None:
    wrong = frame.copy()
    wrong.loc[wrong.family == family, ["value", "low", "high"]] *= 1.06
    assert changed(frame, wrong) == {place: "fails"}


def test_a_single_point_off_its_prediction_is_not_passed(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    wrong.loc[(wrong.family == "rank") & (wrong.x == 71), ["value", "low", "high"]] *= 0.9
    assert changed(frame, wrong) == {3: "fails"}


def test_a_limit_that_falls_with_n_as_published_would_surprise(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    convex = wrong.family == "convex x"
    for end in ("value", "low", "high"):
        wrong.loc[convex, end] *= 2 / wrong.x
    verdicts = step_size_limits.judge(wrong)
    assert verdicts[5].outcome != "holds"
    assert verdicts[13].outcome == "holds"
    assert not verdicts[13].as_expected


def test_the_exponents_of_the_orderings_are_told_apart(frame: pd.DataFrame) -> None:
    swapped = frame.copy()
    names = {"random_reshuffling": "incremental", "incremental": "random_reshuffling"}
    turning = swapped.family == "indefinite"
    swapped.loc[turning, "series"] = swapped.loc[turning, "series"].replace(names)
    assert changed(frame, swapped) == {9: "fails", 10: "fails", 12: "holds"}


def test_a_limit_that_was_not_found_is_undecided(frame: pd.DataFrame) -> None:
    lost = frame.copy()
    lost.loc[lost.family == "directions", ["value", "low", "high"]] = np.nan
    lost.loc[lost.family == "directions", "note"] = "heavy tail"
    assert changed(frame, lost) == {1: "undecided"}
    assert "heavy tail" in step_size_limits.judge(lost)[1].reason


def test_it_draws(frame: pd.DataFrame) -> None:
    figure = step_size_limits.draw(frame, step_size_limits.judge(frame))
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 6


def test_cells_are_distinct() -> None:
    for settings in (step_size_limits.QUICK, step_size_limits.FULL):
        cells = step_size_limits.cells(settings)
        assert len({str(cell) for cell in cells}) == len(cells)
