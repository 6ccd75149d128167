"""The judge of `confidence` on fabricated frames: what it must pass and what it must not."""

import numpy as np
import pandas as pd
import pytest

from experiments import _rows, confidence
from theory_lab.claims import Verdict
from theory_lab.measure import Measurement

HYBRIDS = [f"hybrid {name}, {how}" for name in ("quadratic", "cosine") for how in ("random reshuffling", "with replacement")]


def near(value: float, relative: float = 0.02) -> dict[str, object]:
    return _rows.row(Measurement("", value, value * (1 - relative), value * (1 + relative), 1000))


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = []
    for step_size in confidence.STEPS[1:]:
        at = {"case": "1-d, last iterate", "step_size": step_size}
        rows += [{"what": "share", **at, "delta": d, **near(d), "predicted": d} for d in confidence.RARE[:3]]
        rows.append({"what": "slope", **at, **near(0.5), "predicted": 0.5})
    rows.append({"what": "far", "case": "1-d, exact law", "step_size": 0.5, **near(0.7, 0.0), "predicted": 0.7})
    cases = [("1-d, average", a, 0.15 + a) for a in confidence.STEPS] + [(case, 0.01, 0.05) for case in HYBRIDS]
    for case, step_size, slope in cases:
        at = {"case": case, "step_size": step_size}
        for delta in confidence.DELTAS:
            share = _rows.row(Measurement("", 0.0, 0.0, 0.2 * delta, 1000))
            rows.append({"what": "share", **at, "delta": delta, **share, "predicted": delta})
            rows.append({"what": "quantile", **at, "delta": delta, **near(0.5 * delta**-slope)})
        rows.append({"what": "slope", **at, **near(slope)})
    rows.append({"what": "share", "case": "level set", "delta": 0.2, **near(0.001), "predicted": 0.2})
    return pd.DataFrame(rows).reindex(columns=confidence.COLUMNS)


def unexpected(frame: pd.DataFrame) -> set[str]:
    verdicts = confidence.judge(frame)
    assert all(isinstance(verdict, Verdict) for verdict in verdicts)
    return {verdict.claim.split(":")[0] for verdict in verdicts if verdict.outcome != verdict.expected}


def changed(frame: pd.DataFrame, where: pd.Series, factor: float) -> pd.DataFrame:
    wrong = frame.copy()
    wrong.loc[where, ["value", "low", "high"]] *= factor
    return wrong


def test_agreement_is_recognised(frame: pd.DataFrame) -> None:
    assert unexpected(frame) == set()
    assert len(confidence.judge(frame)) == 11


def test_each_statement_can_fail(frame: pd.DataFrame) -> None:
    share, slope, last = frame.what == "share", frame.what == "slope", frame.case == "1-d, last iterate"
    assert unexpected(changed(frame, share & last & (frame.delta == 0.01), 1.3)) == {"1-d last iterate"}
    assert unexpected(changed(frame, slope & last & (frame.step_size == 0.2), 1.3)) == {"1-d last iterate"}
    assert unexpected(changed(frame, frame.what == "far", 1.1)) == {"exact law, far out"}
    assert unexpected(changed(frame, slope & (frame.case == "1-d, average"), 0.2)) == {
        "1-d average at 90% of the mean-square limit"
    }
    assert unexpected(changed(frame, slope & (frame.case == HYBRIDS[0]), 20.0)) == {"tuned hybrid runs"}
    assert unexpected(changed(frame, frame.case == "level set", 300.0)) == {"cosh"}
    for case, name in ((HYBRIDS[0], "reshuffled"), (HYBRIDS[1], "with replacement"), ("1-d, average", "with replacement")):
        broken = frame.copy()
        broken.loc[share & (frame.case == case) & (frame.delta == 0.1), ["value", "low", "high"]] = [0.2, 0.15, 0.25]
        assert unexpected(broken) == {name}
    assert len(unexpected(changed(frame, (frame.what == "quantile") & (frame.case == HYBRIDS[0]), 30.0))) == 1


def test_a_slope_that_was_not_measured_is_undecided(frame: pd.DataFrame) -> None:
    lost = frame.copy()
    lost.loc[(lost.what == "slope") & (lost.case == HYBRIDS[2]), ["value", "low", "high"]] = np.nan
    verdicts = [v for v in confidence.judge(lost) if v.claim.startswith("tuned hybrid runs")]
    assert [v.outcome for v in verdicts] == ["undecided", "undecided"]
