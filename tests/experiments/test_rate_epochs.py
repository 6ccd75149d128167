"""The judge of `rate_epochs` on frames that obey the theorems, and on frames that do not."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from experiments import rate_epochs as rates
from theory_lab.claims import Verdict
from theory_lab.theory import first_order

RR, WR = rates.RR, rates.WR
EPOCHS = np.array(rates.FULL.epochs)


def curve(
    problem: str, method: str, ordering: str, exponent: float, level: float, *, factor: float = 1.0, scale: float = 1.0
) -> pd.DataFrame:
    """Batches that scatter by 1% around A T^exponent, at a given level of their bound.

    A is such that the longest first-order runs attain half of the classical bound, times the scale.
    """
    rng = np.random.default_rng([len(problem), len(method), len(ordering)])
    frames = []
    for epochs in EPOCHS.tolist():
        step_size = float(np.sqrt(2 / (rates.N * epochs * rates.NOISE["first_order"])))
        classical = first_order.with_replacement_bound(
            step_size=step_size,
            smoothness=1.0,
            dispersion=rates.NOISE["first_order"],
            initial_gap=1.0,
            steps=rates.N * epochs,
        )
        exact = scale * classical / 2 * (epochs / EPOCHS[-1]) ** (exponent + 0.5)
        known = {
            "problem": problem, "method": method, "ordering": ordering, "steps": rates.TUNED, "epochs": epochs,
            "factor": factor, "step_size": factor * step_size,
            "theorem": "Theorem 2" if ordering == RR and problem != "quiet" else "Theorem 1",
            "bound": exact / level, "exact": exact if problem in rates.QUADRATICS else np.nan,
        }  # fmt: skip
        batches = exact * (1 + 0.01 * rng.standard_normal(rates.BATCHES))
        frames.append(pd.DataFrame({**known, "batch": range(rates.BATCHES), "value": batches}))
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def obedient() -> pd.DataFrame:
    curves = [curve("quadratic", method, WR, -0.5, 0.97) for method in rates.METHODS]
    curves += [curve("quadratic", method, RR, -0.5, 0.8) for method in rates.METHODS]
    curves += [curve("noisy", "first_order", RR, -2 / 3, 0.5)]
    curves += [curve("noisy", "first_order", RR, -3 / 4, 0.4, factor=2.0, scale=0.5)]
    curves += [curve("quiet", "first_order", RR, -0.9, 2.0)]
    curves += [curve("cosine", "hybrid", ordering, -0.5, 0.7) for ordering in (RR, WR)]
    return pd.concat(curves, ignore_index=True)


def outcomes(frame: pd.DataFrame) -> dict[str, Verdict]:
    return {verdict.claim: verdict for verdict in rates.judge(frame)}


def test_the_theorems_meet_every_expectation(obedient: pd.DataFrame) -> None:
    verdicts = outcomes(obedient)
    assert len(verdicts) == 14
    assert {name: v for name, v in verdicts.items() if v.outcome != v.expected} == {}


LEVEL = "quadratics: average / exact average, every curve"
ATTAINED = "Theorem 1 is attained: average / bound, quadratic, longest runs"
DISTORTIONS: dict[str, tuple[dict[str, object], Callable[[pd.DataFrame], pd.Series], set[str]]] = {
    "a run with replacement crosses its bound": (
        {"problem": "cosine", "ordering": WR},
        lambda f: f.value * 1.6,
        {"Theorem 1, all runs with replacement: average / bound"},
    ),
    "a reshuffled run crosses its bound": (
        {"problem": "cosine", "ordering": RR},
        lambda f: f.value * 1.6,
        {"Theorem 2, all reshuffled runs: average / bound"},
    ),
    "zeroth-order runs are slower than T^-1/2": (
        {"problem": "quadratic", "method": "zeroth_order", "ordering": WR},
        lambda f: f.value * (f.epochs / EPOCHS[-1]) ** 0.2,
        {LEVEL, "quadratic, zeroth order, WR: exponent in T"},
    ),
    "the best step keeps the recommended exponent": (
        {"problem": "noisy", "factor": 2.0},
        lambda f: f.value * (f.epochs / EPOCHS[-1]) ** (1 / 12),
        {
            LEVEL,
            "noisy quadratic at the best step, first order, RR: exponent in T",
            "noisy quadratic at the best step, as in the bound, first order, RR: exponent in T",
        },
    ),
    "first-order runs are twice as good as the exact average": (
        {"problem": "quadratic", "method": "first_order", "ordering": WR},
        lambda f: f.value / 2,
        {LEVEL, ATTAINED, "quadratic, first order, WR: average / classical bound, longest runs"},
    ),
    "Theorem 1 covers epoch starts": (
        {"problem": "quiet"},
        lambda f: f.value / 4,
        {LEVEL, "Theorem 1 at the epoch starts of a reshuffled run: average / bound"},
    ),
}


@pytest.mark.parametrize("what", DISTORTIONS)
def test_anything_else_is_found_out(obedient: pd.DataFrame, what: str) -> None:
    chosen, distorted, caught = DISTORTIONS[what]
    where = np.logical_and.reduce([obedient[name] == value for name, value in chosen.items()])
    verdicts = outcomes(obedient.assign(value=obedient.value.where(~where, distorted(obedient))))
    assert {name for name, verdict in verdicts.items() if not verdict.as_expected} == caught


def test_a_diverged_run_leaves_its_claims_undecided(obedient: pd.DataFrame) -> None:
    frame = obedient.assign(value=obedient.value.where(obedient.problem != "cosine", np.inf))
    undecided = {name for name, verdict in outcomes(frame).items() if verdict.outcome == "undecided"}
    assert undecided == {
        "Theorem 1, all runs with replacement: average / bound",
        "Theorem 2, all reshuffled runs: average / bound",
    }
