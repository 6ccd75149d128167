"""The judge of the stability map, on fabricated frames: what it must pass and what it must not."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import _rows, stability_map
from experiments.stability_map import LINES, UNIT, D, N
from theory_lab.claims import Verdict
from theory_lab.measure import Measurement


def boundary(coupling: float, eta_y: float) -> float:
    """A made-up boundary that bulges with the coupling and falls towards eta_y = 2."""
    return UNIT * (1 + 0.3 * coupling) * (1 - coupling * max(eta_y - 1.2, 0) ** 2) if eta_y < 2 else 0.0


@pytest.fixture
def frame() -> pd.DataFrame:
    """Perfect agreement, every limit known to 0.5%."""
    rows = []
    for coupling in (0.0, 0.9):
        for eta_y in np.linspace(0.05, 2.15, 15):
            exact = boundary(coupling, eta_y)
            at = {"coupling": coupling, "step_size_y": eta_y, "predicted": exact, "samples": 32}
            for eta_x in np.linspace(0.05, 1.55, 20) * UNIT:
                rows.append({**at, "what": "growth", "step_size_x": eta_x, "value": 0.1 * (eta_x - exact)})
            if exact > 0:
                rows.append({**at, "what": "moment", "step_size_x": 0.8 * exact, "value": 1 + 0.01 * np.sin(99 * eta_y)})
        lines = [("limit", eta_y) for eta_y in LINES] + [("published", 1 / (N * (1 + coupling)))]
        for what, eta_y in lines:
            exact = boundary(coupling, eta_y)
            limit = Measurement("limit", exact, 0.995 * exact, 1.005 * exact, 128)
            rows.append({"what": what, "coupling": coupling, "step_size_y": eta_y, "step_size_x": exact, "predicted": exact}
                        | _rows.row(limit))  # fmt: skip
        rows.append({"what": "boundary", "coupling": coupling, "step_size_x": 0.0, "step_size_y": 2.0, "predicted": 0.0})
    table = pd.DataFrame(rows).reindex(columns=stability_map.COLUMNS)
    return table.fillna({"note": "", "samples": 0}).astype({"samples": int})


def outcomes(frame: pd.DataFrame) -> dict[str, str]:
    return {verdict.claim: verdict.outcome for verdict in stability_map.judge(frame)}


def changed(before: pd.DataFrame, after: pd.DataFrame) -> set[tuple[str, str]]:
    """The claims whose outcome differs, with the new outcome, by their beginnings."""
    old = outcomes(before)
    return {(name[:22], outcome) for name, outcome in outcomes(after).items() if old[name] != outcome}


def test_agreement_is_recognised(frame: pd.DataFrame) -> None:
    verdicts = stability_map.judge(frame)
    assert all(isinstance(verdict, Verdict) for verdict in verdicts)
    assert {verdict.outcome for verdict in verdicts} == {"holds", "fails"}
    assert all(verdict.as_expected for verdict in verdicts)


def test_growth_of_the_wrong_sign_is_caught(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    growth = wrong.what == "growth"
    wrong.loc[growth, "value"] = 0.1 * (wrong.step_size_x - 1.2 * wrong.predicted)
    assert changed(frame, wrong) == {("the measured growth ha", "fails")}


def test_a_limit_off_the_boundary_is_caught(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    line = (wrong.what == "limit") & (wrong.coupling == 0.9) & (wrong.step_size_y == LINES[2])
    wrong.loc[line, ["value", "low", "high"]] *= 1.05
    assert changed(frame, wrong) == {("coupling 0.9: along ev", "fails")}  # one line is enough
    wrong.loc[line, ["low", "high"]] = wrong.loc[line, ["predicted"]].to_numpy() * [[0.99, 1.06]]
    assert changed(frame, wrong) == {("coupling 0.9: along ev", "undecided")}


def test_an_unstable_box_and_a_tight_published_condition_are_caught(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    lowest = (wrong.what == "limit") & (wrong.coupling == 0.9) & (wrong.step_size_y == LINES[0])
    wrong.loc[lowest, ["value", "low", "high"]] = [0.3 * UNIT, 0.29 * UNIT, 0.31 * UNIT]
    assert ("coupled: the hybrid-sm", "fails") in changed(frame, wrong)
    tight = frame.copy()
    tight.loc[tight.what == "published", ["value", "low", "high"]] = [1 / (N * D), 0.99 / (N * D), 1.01 / (N * D)]
    assert {outcome for _, outcome in changed(frame, tight)} == {"fails"}


def test_second_moments_off_the_recursion_are_caught(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    wrong.loc[wrong.what == "moment", "value"] *= 1.2
    assert changed(frame, wrong) == {("E|z|^2 at 0.8 of the l", "fails")}


def test_blocks_that_are_independent_would_surprise(frame: pd.DataFrame) -> None:
    flat = frame.copy()
    lines = flat.what == "limit"
    flat.loc[lines, "value"] = flat.loc[lines, "low"] = flat.loc[lines, "high"] = 0.999 * UNIT
    assert {verdict.claim[:32] for verdict in stability_map.judge(flat) if verdict.outcome == "holds"} >= {
        "coupling 0.9: a limit for each b",
        "coupling 0.9: coupling can only ",
    }


def test_a_limit_that_was_not_found_is_undecided(frame: pd.DataFrame) -> None:
    lost = frame.copy()
    line = (lost.what == "limit") & (lost.coupling == 0.0) & (lost.step_size_y == LINES[1])
    lost.loc[line, ["value", "low", "high"]] = np.nan
    lost.loc[line, "note"] = "no crossing"
    verdict = next(v for v in stability_map.judge(lost) if v.claim.startswith("no coupling: along"))
    assert verdict.outcome == "undecided"
    assert "no crossing" in verdict.reason


def test_it_draws(frame: pd.DataFrame) -> None:
    figure = stability_map.draw(frame, stability_map.judge(frame))
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 3  # two panels and the colour bar


def test_cells_do_not_depend_on_one_another() -> None:
    cells = stability_map.cells(stability_map.QUICK)
    assert len({str(cell) for cell in cells}) == len(cells) == 2 * (18 + len(LINES) + 2)
