"""The judge of `published_steps` on frames that obey the laws, and on frames that do not."""

from collections.abc import Callable

import jax
import numpy as np
import pandas as pd
import pytest

from experiments import _rows
from experiments import published_steps as steps
from theory_lab.claims import Verdict
from theory_lab.measure import Measurement

CAP, EPOCHS, BOX, BEST = steps.CAP, steps.EPOCHS, steps.BOX, steps.BEST
Law = Callable[[float, float, float], float]  # of eps, n and kappa' = d + 1
LAWS: dict[tuple[str, str], Law] = {
    ("noise-free", CAP): lambda eps, n, k: eps**-4,
    ("noise-free", EPOCHS): lambda eps, n, k: eps**-4 / n,
    ("noise-free", BOX): lambda eps, n, k: eps**-2,
    ("first order", CAP): lambda eps, n, k: eps**-4,
    ("first order", EPOCHS): lambda eps, n, k: eps**-4 / n,
    ("first order", BEST): lambda eps, n, k: eps ** (-8 / 3) * n ** (-1 / 3),
    ("zeroth order", CAP): lambda eps, n, k: (1 + k / (2 * n)) ** 2 * eps**-4,
    ("zeroth order", EPOCHS): lambda eps, n, k: (1 + k / 2) ** 2 * eps**-4 / n,
    ("zeroth order", BEST): lambda eps, n, k: 2 * k * eps**-4 / n,
}


def epochs_rows() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for (problem, rule), law in LAWS.items():
        zeroth = problem == "zeroth order"
        points = [("n", n, 8, 0.01) for n in steps.COMPONENTS] + [("accuracy", 16, 8, eps) for eps in steps.ACCURACIES]
        points += [("d", 4, d, 0.02) for d in steps.DIMENSIONS if zeroth and rule != CAP]
        for axis, n, d, eps in points:
            point = {"part": "epochs", "problem": problem, "rule": rule, "axis": axis, "n": n, "accuracy": eps}
            rows.append({**point, "d": float(d) if zeroth else np.nan, "value": law(eps, n, d + 1)})
    return rows


def simulated(part: str, rule: str, n: int, value: float, predicted: float) -> dict[str, object]:
    measured = Measurement("", value, 0.995 * value, 1.005 * value, 64)
    return {"part": part, "problem": part, "rule": rule, "n": n, "predicted": predicted, **_rows.row(measured)}


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = epochs_rows()
    rows += [simulated("check", rule, 4, 0.99, 0.99) for rule in steps.READINGS]
    for n in (4, 256):
        rows += [
            simulated("convex", f"{steps.INSIDE}: largest", n, 0.9, 0.01),
            simulated("convex", f"{steps.INSIDE}: left", n, 1e-4, 0.01),
            simulated("convex", f"{BOX}: left", n, 0.95, 0.95),
        ]
    return pd.DataFrame(rows)


def surprises(frame: pd.DataFrame) -> set[str]:
    return {verdict.claim for verdict in judged(frame) if verdict.outcome != verdict.expected}


def judged(frame: pd.DataFrame) -> list[Verdict]:
    return steps.judge(frame)


def test_the_laws_meet_every_expectation(frame: pd.DataFrame) -> None:
    assert len(judged(frame)) == 27
    assert surprises(frame) == set()
    assert sum(verdict.expected == "fails" for verdict in judged(frame)) == 4


def test_the_published_epochs_would_surprise_at_the_transcribed_step(frame: pd.DataFrame) -> None:
    """Were T = eps^-4/n true at eta ~ 1/(sqrt(T) n L), both the refutation and its opposite would turn."""
    chosen = (frame.problem == "noise-free") & (frame.rule == CAP) & (frame.axis == "n")
    wrong = frame.assign(value=frame.value.where(~chosen, frame.value / frame.n))
    named = f"noise-free, eta = {CAP}: exponent of T_eps in n"
    assert surprises(wrong) == {named, f"{named}, as published"}


def test_a_dimension_that_costs_nothing_would_surprise(frame: pd.DataFrame) -> None:
    chosen = (frame.rule == BEST) & (frame.axis == "d")
    wrong = frame.assign(value=frame.value.where(~chosen, frame.value / frame.d))
    assert surprises(wrong) == {f"zeroth order, eta = {BEST}: exponent of T_eps in d"}


@pytest.mark.parametrize(
    ("part", "rule", "factor", "words"),
    [
        ("check", CAP, 1.1, "simulated average"),
        ("convex", f"{steps.INSIDE}: largest", 1.2, "largest on the way"),
        ("convex", f"{steps.INSIDE}: left", 200.0, f"{steps.INSIDE}, all n: weighted distance left"),
        ("convex", f"{BOX}: left", 0.9, "n = 256: weighted distance left"),
    ],
)
def test_numbers_off_their_prediction_are_found_out(
    frame: pd.DataFrame, part: str, rule: str, factor: float, words: str
) -> None:
    wrong = frame.copy()
    wrong.loc[(wrong.part == part) & (wrong.rule == rule), ["value", "low", "high"]] *= factor
    (surprise,) = surprises(wrong)
    assert words in surprise


def test_how_loose_the_published_condition_is() -> None:
    """Exact limits in units of n times it, their bracket by the trace, and the steps of Corollary 2a over min(n, d)."""
    rows = steps.compute({"part": "limits"}, jax.random.key(0))
    limits, admitted = rows[rows.rule == "exact limit"], rows[rows.rule == "Corollary 2a"]
    wide = limits[limits.d == 10_000]
    np.testing.assert_allclose(wide.value / wide.n, [2.0, 101.0, 1967.0, 6110.0], rtol=0.005)
    assert ((limits.predicted / limits.value).between(0.82, 1 + 1e-9)).all()
    assert (admitted.value / admitted.predicted).between(1 / 8.2, 1 / 4).all()
