"""The judge of the orders of updates on fabricated frames: what it must pass and what it must not."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import _rows
from experiments import update_order as experiment
from experiments.update_order import DRAWN, FLOORS, LINES, ORDERS, UNIT
from theory_lab.claims import Verdict
from theory_lab.measure import Measurement

RHO = 0.9


def limit(order: str, eta_y: float) -> float:
    """A made-up region with the features that are claimed."""
    bulge = 1 - abs(eta_y - 1)
    first = 1 + (1 / (1 - RHO**2) - 1) * bulge
    return UNIT * {"simultaneous": first / 1.5, "alternating_epochs": 1.1 + 0.1 * bulge}.get(order, first)


@pytest.fixture
def frame() -> pd.DataFrame:
    """Perfect agreement; limits known to 2%, floors to 4%."""
    rows = []
    for order in ORDERS:
        for y in LINES:
            exact = limit(order, y)
            seen = Measurement("limit", exact, 0.98 * exact, 1.02 * exact, 160)
            rows.append({"what": "limit", "order": order, "step_size_y": y, **_rows.row(seen), "predicted": exact})
        for setting in FLOORS:
            exact = {"calm": 1.0, "bold": 3.0 if order == "simultaneous" else 2.0}[setting]
            seen = Measurement("floor", exact, 0.98 * exact, 1.02 * exact, 80)
            rows.append({"what": "floor", "order": order, "setting": setting, **_rows.row(seen), "predicted": exact})
        for y in DRAWN:
            exact = limit(order, y)
            seen = Measurement("limit", exact, exact, exact, 1)
            rows.append({"what": "region", "order": order, "step_size_y": y, "predicted": exact, **_rows.row(seen)})
    return pd.DataFrame(rows).assign(coupling=RHO)


def unexpected(frame: pd.DataFrame) -> set[str]:
    return {verdict.claim[:30] for verdict in experiment.judge(frame) if not verdict.as_expected}


def test_agreement_is_recognised(frame: pd.DataFrame) -> None:
    verdicts = experiment.judge(frame)
    assert all(isinstance(verdict, Verdict) for verdict in verdicts)
    assert {verdict.outcome for verdict in verdicts} == {"holds", "fails"}
    assert unexpected(frame) == set()
    assert len(verdicts) == 14


def test_one_limit_off_the_operator_is_caught(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    one = (wrong.what == "limit") & (wrong.order == "base_first") & (wrong.step_size_y == LINES[2])
    wrong.loc[one, ["value", "low", "high"]] *= 1.2
    assert unexpected(wrong) == {"base first: every limit of eta", "adapter first and base first a"}


def test_a_box_that_does_not_hold_is_caught(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    one = (wrong.what == "limit") & (wrong.order == "alternating_epochs") & (wrong.step_size_y == LINES[0])
    wrong.loc[one, ["value", "low", "high"]] = [0.9 * UNIT, 0.88 * UNIT, 0.92 * UNIT]
    assert "sequential orders are stable u" in unexpected(wrong)


def test_orders_without_effect_are_caught(frame: pd.DataFrame) -> None:
    """Were all orders the simultaneous method, the Schur complement, the folklore and the gains would show it."""
    same = frame.copy()
    columns = ["value", "low", "high"]
    at_once = same[(same.what == "limit") & (same.order == "simultaneous")][columns].to_numpy()
    for order in ORDERS:
        same.loc[(same.what == "limit") & (same.order == order), columns] = at_once
    found = {verdict.claim: verdict for verdict in experiment.judge(same)}
    schur = next(v for name, v in found.items() if "1/(1 - rho^2)" in name)
    irrelevant = next(v for name, v in found.items() if "does not move the limit" in name)
    assert schur.outcome == "fails"
    assert irrelevant.outcome != "fails"


def test_floors_off_the_stationary_law_are_caught(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    wrong.loc[wrong.what == "floor", ["value", "low", "high"]] *= 1.3
    assert unexpected(wrong) == {"every floor, all orders, calm ", "floors on average, all orders,"}


def test_a_limit_that_was_not_found_is_undecided(frame: pd.DataFrame) -> None:
    lost = frame.copy()
    one = (lost.what == "limit") & (lost.order == "simultaneous") & (lost.step_size_y == LINES[0])
    lost.loc[one, ["value", "low", "high"]] = np.nan
    lost.loc[one, "note"] = "no crossing"
    verdict = next(v for v in experiment.judge(lost) if v.claim.startswith("simultaneous: every limit"))
    assert verdict.outcome == "undecided"
    assert "no crossing" in verdict.reason


def test_schedules_visit_every_component_in_both_blocks() -> None:
    for order in ORDERS:
        slots, moves = experiment._schedule(order)
        for block in (0, 1):
            visited = slots[moves[:, block] == 1] % experiment.N
            assert sorted(visited) == list(range(experiment.N))
        together = (moves.sum(axis=1) == 2).any()
        assert together == (order == "simultaneous")


def test_cells_are_distinct_and_it_draws(frame: pd.DataFrame) -> None:
    made = experiment.cells(experiment.QUICK)
    assert len({str(cell) for cell in made}) == len(made)
    two = pd.concat([frame, frame.assign(coupling=0.5)], ignore_index=True)
    figure = experiment.draw(two, experiment.judge(two))
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 3
