"""The judge of `block_ratio` on fabricated frames: what it must pass and what it must not."""

import numpy as np
import pandas as pd
import pytest

from experiments import _rows, block_ratio
from experiments.block_ratio import AROUND, AVERAGE, COUPLING, DIMENSIONS, LAST, RATIOS, SCALED, D
from theory_lab.measure import Measurement

POWERS = {LAST: 1.0, AVERAGE: 0.5, SCALED: 1.0}


def near(value: float, relative: float = 0.01) -> dict[str, object]:
    return _rows.row(Measurement("", value, value * (1 - relative), value * (1 + relative), 64))


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = []
    for regime, coupling in ((LAST, COUPLING), (AVERAGE, 0.0), (AVERAGE, COUPLING), (SCALED, 0.0)):
        ratios = RATIOS[LAST if regime == LAST else AVERAGE]
        points = [("curvature", a, D) for a in ratios] + [("dimension", 1.0, d) for d in DIMENSIONS]
        for series, a, d in points:
            at = {"regime": regime, "series": series, "coupling": coupling, "curvature": a, "dimension": d}
            rows.append({"what": "best", **at, "value": (a * (d + 2)) ** POWERS[regime]})
            rows.append({"what": "tied", **at, "value": 1.3})
            rows.append({"what": "steps", **at, "value": max(1.1, a / 3)})
            rows.append({"what": "bound", **at, "value": 0.95})
    for regime in (LAST, AVERAGE):
        for a in RATIOS[regime][::2]:
            at = {"regime": regime, "coupling": COUPLING, "curvature": a, "dimension": 16}
            for factor in AROUND:
                rows.append({"what": "run", "series": "around", **at, "factor": factor, **near(2.0), "predicted": 2.0})
            rows.append({"what": "run", "series": "tied", **at, "factor": 0.01, **near(60.0), "predicted": 60.0})
            rows.append({"what": "vertex", **at, **near(3 * a ** POWERS[regime]), "predicted": 3 * a ** POWERS[regime]})
    return pd.DataFrame(rows).reindex(columns=block_ratio.COLUMNS)


def unexpected(frame: pd.DataFrame) -> set[str]:
    return {v.claim for v in block_ratio.judge(frame) if v.outcome != v.expected}


def changed(frame: pd.DataFrame, where: pd.Series, factor: object) -> pd.DataFrame:
    wrong = frame.copy()
    for column in ("value", "low", "high"):
        wrong[column] = wrong[column].where(~where, wrong[column] * factor)
    return wrong


def test_agreement_is_recognised(frame: pd.DataFrame) -> None:
    assert unexpected(frame) == set()
    assert len(block_ratio.judge(frame)) == 19


def test_the_rule_of_thumb_with_noise_would_surprise(frame: pd.DataFrame) -> None:
    wrong = changed(frame, (frame.what == "best") & (frame.regime == AVERAGE), frame.curvature**0.5)
    found = unexpected(wrong)
    name = "exponent of the best eta_y/eta_x in L_x/L_y"
    assert found == {f"noise, average: {name}", f"noise, average, coupled: {name}"}


def test_equal_steps_without_noise_would_surprise(frame: pd.DataFrame) -> None:
    wrong = changed(frame, (frame.what == "best") & (frame.regime == LAST), 1 / (frame.curvature * (frame.dimension + 2)))
    assert {name.split(":")[0] for name in unexpected(wrong)} == {"no noise, last iterate"}
    assert len(unexpected(wrong)) == 2


@pytest.mark.parametrize("regime, words", [(LAST, "runs without noise"), (AVERAGE, "runs with noise")])
def test_runs_off_the_exact_values_are_caught(frame: pd.DataFrame, regime: str, words: str) -> None:
    run = (frame.what == "run") & (frame.regime == regime)
    one = changed(frame, run & (frame.factor == 2.0) & (frame.curvature == 1.0), 1.3)
    assert unexpected(one) == {f"{words}: measured / exact, all ratios"}
    vertices = changed(frame, (frame.what == "vertex") & (frame.regime == regime), frame.curvature**0.2)
    assert unexpected(vertices) == {f"{words}: exponent of the best eta_y/eta_x in L_x/L_y"}


def test_the_price_of_one_rate_is_judged(frame: pd.DataFrame) -> None:
    dear = changed(frame, (frame.what == "tied") & (frame.coupling == 0) & (frame.regime == AVERAGE), 1.2)
    assert unexpected(dear) == {"average with noise, equal gaps: one rate / two rates"}
    by_rank = changed(frame, (frame.what == "steps") & (frame.series == "dimension"), frame.dimension + 2.0)
    assert len(unexpected(by_rank)) == 2
    free = changed(frame, (frame.what == "run") & (frame.series == "tied") & (frame.regime == LAST), 0.05)
    assert any("is the exact quotient" in name for name in unexpected(free))
    cheap = changed(frame, (frame.what == "steps") & (frame.curvature > 50), 0.3)
    assert {name[:28] for name in unexpected(cheap)} == {"no noise, one rate for both:"}


def test_a_sharp_optimum_would_surprise(frame: pd.DataFrame) -> None:
    sharp = frame.copy()
    sharp.loc[(sharp.what == "run") & (sharp.factor == 2.0), ["value", "low", "high", "predicted"]] *= 1.3
    assert {name[:46] for name in unexpected(sharp)} == {"either regime, a ratio r within a factor 2 of t"[:46]}


def test_the_vertex_of_a_parabola_is_found() -> None:
    seeds = np.random.default_rng(0).lognormal(sigma=0.1, size=(640, 1))
    values = seeds * np.exp(0.2 * (np.log(AROUND) - np.log(1.2)) ** 2)
    found = block_ratio._measured_vertex(values, 5.0)
    assert (found.low, found.value, found.high) == pytest.approx((6.0, 6.0, 6.0))
