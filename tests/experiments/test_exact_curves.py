"""The judge of `exact_curves` on frames that follow the recursions, and on frames that do not."""

from collections.abc import Callable

import jax
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments import exact_curves as curves
from theory_lab.claims import Verdict

COUNT = 96


@pytest.fixture(scope="module")
def obedient() -> pd.DataFrame:
    """Settings whose z values are the quantiles of the normal law, in random order."""
    rng = np.random.default_rng(0)
    level = (rng.permutation(COUNT) + 0.5) / COUNT
    averages = pd.DataFrame(
        {
            "setting": [f"{i % 16}-{i // 16}" for i in range(COUNT)], "quantity": "average", "exact": 1.0, "error": 0.005,
            "value": 1 + 0.005 * stats.norm.ppf(level), "p": (rng.permutation(COUNT) + 0.5) / COUNT, "samples": 1000,
            "components": np.where(np.arange(COUNT) % 2, "shared", "their own"),
        }
    )  # fmt: skip
    wrong = [averages.iloc[:12].assign(quantity=error, exact=1.2) for error in curves.ERRORS]
    return pd.concat([averages, *wrong], ignore_index=True)


def outcomes(frame: pd.DataFrame) -> dict[str, Verdict]:
    return {verdict.claim: verdict for verdict in curves.judge(frame)}


def test_exact_recursions_pass_and_wrong_ones_do_not(obedient: pd.DataFrame) -> None:
    verdicts = outcomes(obedient)
    assert len(verdicts) == 6 + len(curves.ERRORS)
    assert {name: v for name, v in verdicts.items() if v.outcome != v.expected} == {}


def changed(rows: str, **columns: Callable[[pd.Series], pd.Series]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def distort(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.copy()
        at = frame.quantity == rows
        for column, change in columns.items():
            frame.loc[at, column] = change(frame.loc[at, column])
        return frame

    return distort


SIGN, NORMAL = "no systematic sign", "standard normal"
DISTORTIONS = {
    "outside": (changed("average", p=lambda p: p.where(p > 0.06, 0.005)), {"whole curves"}),
    "far": (changed("average", p=lambda p: p.where(p > 0.006, 5e-5)), {"the largest |z|"}),
    "shifted": (changed("average", value=lambda v: v + 0.0075), {SIGN, NORMAL}),
    "scattered": (changed("average", value=lambda v: 1 + 2 * (v - 1)), {NORMAL}),
    "off": (changed("average", value=lambda v: v + 0.03), {SIGN, NORMAL, "one Hessian", "Hessians of their own"}),
}


@pytest.mark.parametrize("name", DISTORTIONS)
def test_every_claim_can_fail(obedient: pd.DataFrame, name: str) -> None:
    distort, failing = DISTORTIONS[name]
    verdicts = [verdict for verdict in curves.judge(distort(obedient)) if verdict.expected == "holds"]
    failed = {part for part in failing for v in verdicts if part in v.claim and v.outcome == "fails"}
    assert failed == failing
    assert sum(v.outcome == "fails" for v in verdicts) == len(failing)


def test_a_wrong_recursion_that_passes_is_a_surprise(obedient: pd.DataFrame) -> None:
    assert not all(v.as_expected for v in curves.judge(obedient.assign(exact=1.0)))


def test_runs_that_diverged_leave_the_ratio_undecided(obedient: pd.DataFrame) -> None:
    ends = ["value", "low", "high"]
    lost = obedient.reindex(columns=[*obedient.columns, "low", "high", "note"])
    lost.loc[1, ends] = np.nan
    verdicts = outcomes(lost)
    assert verdicts["components with one Hessian: average decrease / exact, mean over the settings"].outcome == "undecided"


def test_the_maximum_statistic_knows_the_correlations_of_the_curve() -> None:
    """Ten copies of one column are one number; ten independent columns are ten chances."""
    column = np.random.default_rng(1).standard_normal((4000, 1))
    copies = np.repeat(column, 10, axis=1)
    independent = np.random.default_rng(2).standard_normal((4000, 10))
    one, ten = (curves._maximum_p(samples, 2.5758, jax.random.key(0)) for samples in (copies, independent))
    assert one == pytest.approx(0.01, abs=0.003)  # four standard errors of 20000 resamples
    assert ten == pytest.approx(1 - 0.99**10, abs=0.01)


def test_a_setting_is_the_same_for_the_same_key_and_obeys_its_reach() -> None:
    first, again = (curves.random_case(0, jax.random.key(3)) for _ in range(2))
    assert first.step_sizes == again.step_sizes
    assert np.array_equal(first.start, again.start)
    assert first.curves().shape == (2, curves.EPOCHS + 1)
    assert (first.curves() > 0).all()
