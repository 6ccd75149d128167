"""The judge of `reshuffling_floor` on frames that obey the exact laws, and on frames that do not."""

from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pytest

from experiments import reshuffling_floor as floor
from theory_lab.claims import Verdict

RR, WR, SO = floor.RR, floor.WR, floor.SO


@pytest.fixture(scope="module")
def obedient() -> pd.DataFrame:
    """Batches of quick cells, and of a few more, that scatter by 1% around the exact laws."""
    rng = np.random.default_rng(0)
    frames = []
    for cell in floor.cells(replace(floor.QUICK, types_n=(4, 16), dimensions=(2, 10))):
        problem = floor._problem(cell, jax.random.key(0))
        for metric in (floor.ENDS, floor.MEAN) if cell["part"] == "two types" else (cell["metric"],):
            at = cell | {"metric": metric}
            exact = [floor._exact(at, step_size, problem) for step_size in cell["step_sizes"]]
            scatter = np.ones((1, 1)) if cell["ordering"] == floor.IG else 1 + 0.01 * rng.standard_normal((1, floor.BATCHES))
            frames.append(floor._rows(at, np.array(exact)[:, None] * scatter, problem))
    return pd.concat(frames, ignore_index=True)


def outcomes(frame: pd.DataFrame) -> dict[str, Verdict]:
    return {verdict.claim: verdict for verdict in floor.judge(frame)}


def test_the_exact_laws_meet_every_expectation(obedient: pd.DataFrame) -> None:
    verdicts = outcomes(obedient)
    assert len(verdicts) == 19
    assert {name for name, verdict in verdicts.items() if verdict.outcome != verdict.expected} == set()


def reshuffled(frame: pd.DataFrame, metric: str = floor.ENDS, part: str = "shared") -> pd.Series:
    return (frame.part == part) & (frame.ordering == RR) & (frame.metric == metric)


DISTORTIONS: dict[str, tuple[Callable[[pd.DataFrame], pd.Series], Callable[[pd.DataFrame], pd.Series], set[str]]] = {
    "RR at epoch ends obeys eta^2": (
        reshuffled,
        lambda f: f.value * 0.008 / f.step_size,
        {
            "RR: floors / exact law, at epoch ends and over all iterates",
            "RR at epoch ends: exponent of the floor in eta",
            "RR at epoch ends: exponent of the floor in eta, folklore",
        },
    ),
    "RR at epoch ends grows like n": (
        reshuffled,
        lambda f: f.value * 16 / f.n,
        {
            "RR: floors / exact law, at epoch ends and over all iterates",
            "RR at epoch ends: exponent of the floor in n",
        },
    ),
    "inner iterates do not differ from epoch ends": (
        lambda f: reshuffled(f, floor.INNER),
        lambda f: f.value * f.step_size * f.n,
        {
            "RR: floors / exact law, at epoch ends and over all iterates",
            "RR over all iterates: exponent of the floor in eta",
            "RR over all iterates: exponent of the floor in n + 1",
        },
    ),
    "shuffling once is no better than WR": (
        lambda f: f.ordering == SO,
        lambda f: f.value / f.step_size,
        {"SO and WR: floors / exact law", "SO: exponent of the floor in eta"},
    ),
    "a fixed order is off in the tenth digit of its fixed point": (
        lambda f: f.ordering == floor.IG,
        lambda f: f.value * (1 + 1e-7),
        {"sorted IG: fixed points, relative deviation from the exact ones"},
    ),
    "the bias shrinks with n": (
        lambda f: reshuffled(f, floor.MEAN, "two types"),
        lambda f: f.value * 4 / f.n,
        {"two types: mean of z / (eta a/2), at every n"},
    ),
    "RR wins everywhere": (
        lambda f: reshuffled(f, part="crossing"),
        lambda f: f.value * 0.5,
        {"floor RR / WR where eta h = 1", "floor RR / WR where eta h > 1"},
    ),
    "RR loses everywhere": (
        lambda f: reshuffled(f, part="crossing"),
        lambda f: f.value * 3,
        {"floor WR / RR where eta h < 1", "floor RR / WR where eta h = 1"},
    ),
    "reshuffling removes direction noise": (
        lambda f: reshuffled(f, part="zeroth order"),
        lambda f: f.value * f.step_size,
        {
            "zeroth order, RR and WR: floors / exact law",
            "zeroth order: floor RR / WR over (d+1)/(d+2)",
            "zeroth order, d = 10, RR: exponent of the floor in eta",
        },
    ),
}


@pytest.mark.parametrize("what", DISTORTIONS)
def test_another_law_is_found_out(obedient: pd.DataFrame, what: str) -> None:
    where, distorted, caught = DISTORTIONS[what]
    frame = obedient.assign(value=obedient.value.where(~where(obedient), distorted(obedient)))
    verdicts = outcomes(frame)
    assert {name for name, verdict in verdicts.items() if not verdict.as_expected} == caught
