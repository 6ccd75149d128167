"""The judge of `effective_rank` on fabricated frames: what it must pass and what it must not."""

import numpy as np
import pandas as pd
import pytest

from experiments import _rows, effective_rank
from experiments.effective_rank import MODEL, RANK, WIDE
from theory_lab.measure import Measurement

SEVEN = "exact law, no measurement, rank 64, d = 256 to 1.3e9"


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = []
    points = [("dimension", d, RANK) for d in (64, 256, 10**4, MODEL)] + [("rank", WIDE, r) for r in (8.0, 32.0, 128.0)]
    for series, d, r in points:
        at = {"series": series, "dimension": d, "rank": r}
        laws = {"limit": 2 / (r + 2) * (1 if d == RANK else 1.003), "floor": 0.01 * r, "evaluations": 10 * (r + 2)}
        rows += [{"what": what, **at, "value": value} for what, value in laws.items()]
    for p in np.linspace(0, 2, 17):
        r = MODEL ** max(1 - p, 0.0) + 20 * p
        at = {"series": "power", "dimension": MODEL, "rank": r, "step_size": p}
        rows.append({"what": "model", **at, "value": 2 / (r + 2) * (1.001 if 2 < r < 1000 else 1)})
    for series, d, r in points[:2]:
        measured = _rows.row(Measurement("", 100.0, 95.0, 105.0, 64))
        at = {"series": series, "dimension": d, "rank": r, "predicted": 100.0}
        rows += [{"what": f"measured {what}", **at, **measured} for what in ("floor", "evaluations")]
    return pd.DataFrame(rows).reindex(columns=effective_rank.COLUMNS)


def unexpected(frame: pd.DataFrame) -> set[str]:
    return {v.claim for v in effective_rank.judge(frame) if v.outcome != v.expected}


def changed(frame: pd.DataFrame, where: pd.Series, factor: object) -> pd.DataFrame:
    wrong = frame.copy()
    for column in ("value", "low", "high"):
        wrong.loc[where, column] = wrong[column] * factor
    return wrong


def test_agreement_is_recognised(frame: pd.DataFrame) -> None:
    assert unexpected(frame) == set()
    assert len(effective_rank.judge(frame)) == 10


def test_limits_like_one_over_the_dimension_are_caught(frame: pd.DataFrame) -> None:
    shrinking = changed(frame, (frame.what == "limit") & (frame.series == "dimension"), RANK / frame.dimension)
    assert unexpected(shrinking) == {f"{SEVEN}: exponent of the limit in d"}


@pytest.mark.parametrize(
    "what, factor, caught",
    [
        ("measured floor", 1.2, {"runs from the minimiser: late floor / exact"}),
        ("measured evaluations", 0.7, {"runs: evaluations to eps / exact"}),
    ],
)  # fmt: skip
def test_laws_off_by_a_factor_are_caught(frame: pd.DataFrame, what: str, factor: float, caught: set[str]) -> None:
    assert unexpected(changed(frame, frame.what == what, factor)) == caught


@pytest.mark.parametrize("what", ["floor", "evaluations"])
def test_costs_that_grow_with_the_dimension_or_the_square_of_the_rank_are_caught(frame: pd.DataFrame, what: str) -> None:
    by_dimension = changed(frame, (frame.what == what) & (frame.series == "dimension"), frame.dimension**0.3)
    assert any("d = 256" in name for name in unexpected(by_dimension))
    by_rank = changed(frame, (frame.what == what) & (frame.series == "rank"), frame["rank"])
    assert all("rank 8 to 128" in name for name in unexpected(by_rank))
    assert len(unexpected(by_rank)) == 1


def test_runs_that_never_reach_the_target_leave_the_claim_undecided(frame: pd.DataFrame) -> None:
    lost = frame.copy()
    lost.loc[lost.what == "measured evaluations", "high"] = np.nan
    assert unexpected(lost) == {"runs: evaluations to eps / exact"}
