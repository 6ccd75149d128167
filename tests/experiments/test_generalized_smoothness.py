"""The judge of generalised smoothness on fabricated frames: what it must pass and what it must not."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import _rows
from experiments import generalized_smoothness as experiment
from experiments.generalized_smoothness import DECAY, GAPS, PROFILES, RULES
from theory_lab.claims import Verdict
from theory_lab.measure import exact, rate


def number(what: str, quantity: str, value: float, **others: object) -> dict[str, object]:
    return {"what": what, "name": "", "quantity": quantity, **_rows.row(exact(quantity, value)), **others}


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = []
    for name in PROFILES:
        for gap in GAPS:
            at = {"name": name, "gap": gap}
            for quantity in ("gradient", "curvature"):
                value = gap ** experiment._predicted(quantity, name)
                rows.append(number("limit", quantity, value, bound=2 * value, **at))
            rows.append(number("limit", "limit", 2.0, bound=2.0, **at))
            rows += [number("limit", quantity, 3.0, **at) for quantity in ("limit / Li", "limit / Lemma 4.1")]
    for rule, runs in zip(RULES, (10, 20, 96), strict=True):
        for name in ("cosh", "exponential"):
            at = {"what": "rule", "name": name, "quantity": rule, "place": "far", "gap": 20.0}
            rows.append({**at, **_rows.row(rate.proportion(runs, 96))})
    for name in ("RR", "WR"):
        rows.append({"what": "theorem", "name": name, "quantity": "stays", **_rows.row(rate.proportion(128, 128))})
        rows.append(number("theorem", "average", 0.1, bound=1.0))
    rows += [number("lemmas", quantity, 0.9) for quantity in ("growth", "Lemma 4.1", "Lemma 4.2")]
    for a in (1.0, 1e2, 1e3, 1e4):
        rows.append(number("adapter", "flat", a**2, gradient=0.0, gap=a))
        rows.append(number("adapter", "steep", a**2, gradient=DECAY * a, gap=a))
        rows.append(number("adapter", "sublevel", 0.9, gap=a, bound=1.0))
    return pd.DataFrame(rows)


def unexpected(frame: pd.DataFrame) -> set[str]:
    return {verdict.claim[:24] for verdict in experiment.judge(frame) if not verdict.as_expected}


def test_agreement_is_recognised(frame: pd.DataFrame) -> None:
    verdicts = experiment.judge(frame)
    assert all(isinstance(verdict, Verdict) for verdict in verdicts)
    assert {verdict.outcome for verdict in verdicts} == {"holds", "fails"}
    assert unexpected(frame) == set()
    assert len(verdicts) == 19


WRONG = [
    ("limit", "limit", 1.5, {"the largest step that ke"}),
    ("limit", "limit / Li", 0.1, {"1/l(2G(F)) keeps descent"}),
    ("limit", "limit / Lemma 4.1", 0.1, {"2/l(Gbar(F)) keeps desce"}),
    ("limit", "gradient", 3.0, {"Gbar(F) bounds the gradi"}),
    ("theorem", "average", 20.0, {"average of sum eta_b |gr"}),
    ("lemmas", "growth", 2.0, {"coupled cosh/exponential"}),
    ("lemmas", "Lemma 4.1", 2.0, {"sum |grad_b f|^2/l_b(G) "}),
    ("lemmas", "Lemma 4.2", 2.0, {"the trust region of S_F "}),
    ("adapter", "sublevel", 2.0, {"on {f - f* <= F} l_max <"}),
    ("adapter", "steep", 2.0, {"with decay l_max ~ |grad"}),
]


@pytest.mark.parametrize(("what", "quantity", "factor", "caught"), WRONG)
def test_a_wrong_number_is_caught(frame: pd.DataFrame, what: str, quantity: str, factor: float, caught: set[str]) -> None:
    chosen = (frame.what == what) & (frame.quantity == quantity)
    wrong = frame.copy()
    wrong.loc[chosen, ["value", "low", "high"]] *= factor
    assert unexpected(wrong) == caught


def test_one_objective_with_another_exponent_is_caught(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    one = (wrong.quantity == "curvature") & (wrong.name == "power 4")
    wrong.loc[one, "value"] *= wrong.gap**0.2
    assert unexpected(wrong) == {"constant L ~ F^(rho/(2-r"}


def test_runs_that_leave_are_caught(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    for quantity, what in (("level set", "constants taken at the l"), ("stays", "runs at Theorem 4's step")):
        one = wrong[wrong.quantity == quantity].index[0]
        wrong.loc[one, ["value", "low", "high"]] = [0.5, 0.4, 0.6]
        assert what in unexpected(wrong)


def test_a_growth_function_for_adapters_would_surprise(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    wrong.loc[wrong.quantity == "flat", ["value", "low", "high"]] = 1.0
    wrong.loc[wrong.quantity == "steep", "gradient"] = wrong.gap**1.5
    assert {name[:20] for name in unexpected(wrong)} == {"matrix factorisation", "with decay l_max ~ |"}


def test_cells_are_distinct_and_it_draws(frame: pd.DataFrame) -> None:
    made = experiment.cells(experiment.QUICK)
    assert len({str(cell) for cell in made}) == len(made)
    figure = experiment.draw(frame, experiment.judge(frame))
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 4


@pytest.mark.parametrize("name", PROFILES)
def test_the_ends_of_a_level_set_are_on_the_level(name: str) -> None:
    profile = PROFILES[name][0]
    for gap in (0.5, 50.0):
        ends = experiment._ends(profile, gap)
        np.testing.assert_allclose([float(profile(np.float64(t))) for t in ends], gap, rtol=1e-9)
        assert ends[0] < 0 < ends[1]
