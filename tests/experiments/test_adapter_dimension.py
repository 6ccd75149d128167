"""The judge of the adapter's dimension, on fabricated frames: what it must pass and what it must not."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import _rows, adapter_dimension
from experiments.adapter_dimension import _bound, _steps
from theory_lab.measure import Measurement


@pytest.fixture
def frame() -> pd.DataFrame:
    """Perfect agreement, every number known to a few percent."""
    rng = np.random.default_rng(0)
    rows = []
    for d_y in (4, 40, 400):
        rows.append({"what": "limit", "d_y": d_y} | _rows.row(Measurement("limit", 2.4, 2.38, 2.42, 64)))
        for what, value in (
            ("with_replacement", 0.5),
            ("random_reshuffling", 0.5),
            ("floor", 1),
            ("steps", 30),
            ("each", d_y),
        ):
            for seed, noise in enumerate(rng.normal(1, 0.05, 64)):
                rows.append({"what": what, "d_y": d_y, "seed": seed, "value": value * noise, "bound": 1.0})
    return pd.DataFrame(rows)


def changed(before: pd.DataFrame, after: pd.DataFrame) -> set[tuple[str, str]]:
    """The claims whose outcome differs, with the new outcome, by their beginnings."""
    old, new = ({v.claim: v.outcome for v in adapter_dimension.judge(each)} for each in (before, after))
    return {(name[:20], outcome) for name, outcome in new.items() if old[name] != outcome}


def grown(frame: pd.DataFrame, what: str, exponent: float) -> pd.DataFrame:
    wrong = frame.copy()
    rows = wrong.what == what
    for column in ("value", "low", "high"):
        wrong.loc[rows, column] *= (wrong.d_y / 4) ** exponent
    return wrong


def test_agreement_is_recognised(frame: pd.DataFrame) -> None:
    verdicts = adapter_dimension.judge(frame)
    assert {verdict.outcome for verdict in verdicts} == {"holds", "fails"}
    assert [verdict.claim for verdict in verdicts if not verdict.as_expected] == []


@pytest.mark.parametrize(
    ("what", "begin"),
    [("floor", "the stationary |grad"), ("steps", "steps until a fifth "), ("each", "at fixed noise per c")],
)
def test_what_grows_is_caught(frame: pd.DataFrame, what: str, begin: str) -> None:
    assert changed(frame, grown(frame, what, 0.1)) == {(begin, "fails")}


def test_averages_that_grow_past_their_bounds_are_caught(frame: pd.DataFrame) -> None:
    assert changed(frame, grown(frame, "with_replacement", 0.2)) == {("the average of Theor", "fails")}


def test_limits_that_shrink_are_caught(frame: pd.DataFrame) -> None:
    found = changed(frame, grown(frame, "limit", -1.0))
    assert found == {("the largest stable e", "fails"), ("every eta_y up to 2/", "fails"), ("the adapter's step s", "holds")}


def test_a_limit_that_was_not_found_is_undecided(frame: pd.DataFrame) -> None:
    lost = frame.copy()
    lost.loc[lost.what == "limit", ["value", "low", "high"]] = np.nan
    assert {outcome for _, outcome in changed(frame, lost)} == {"undecided"}


def test_steps_interpolate_and_bounds_are_positive() -> None:
    assert _steps(np.array([1.0, 0.4, 0.1])) == pytest.approx(1.5)
    assert np.isnan(_steps(np.ones(3)))
    assert 0 < _bound("with_replacement", epochs=30) < 1


def test_it_draws_and_its_cells_are_distinct(frame: pd.DataFrame) -> None:
    assert isinstance(adapter_dimension.draw(frame, adapter_dimension.judge(frame)), Figure)
    cells = adapter_dimension.cells(adapter_dimension.QUICK)
    assert len({str(cell) for cell in cells}) == len(cells) == 12
