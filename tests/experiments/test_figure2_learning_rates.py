"""The judge of `figure2_learning_rates` on fabricated frames."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import figure2_learning_rates
from experiments.figure2_learning_rates import FACTORS, FULL, QUICK, SHARE

LIMITS = {"base": 1e-3, "peft": 1e-1}
SMALL, LARGE = SHARE * LIMITS["base"], SHARE * LIMITS["peft"]
START = 8.0


def loss(base: float, peft: float, seed: int) -> float:
    """Infinite beyond either limit, else the lower the larger the steps are; no two seeds alike."""
    if base > LIMITS["base"] or peft > LIMITS["peft"]:
        return float("inf")
    return START * float(np.exp(-10 * peft - 100 * base)) * (1 - 0.001 * seed)


@pytest.fixture
def frame() -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for block, value in LIMITS.items():
        rows.append({"what": "predicted", "kind": block, "value": value, "low": 0.95 * value, "high": 1.05 * value})
    rows.append({"what": "predicted", "kind": "rank one", "value": 4e-3, "low": 3.9e-3, "high": 4.1e-3})
    pairs = [("line", "base", 1.01 * f * LIMITS["base"], 0.0) for f in FACTORS]
    pairs += [("line", "peft", 0.0, f * LIMITS["peft"]) for f in FACTORS]
    pairs += [("map", "both", x * LIMITS["base"], y * LIMITS["peft"]) for x in (0.01, 0.1, 1.4) for y in (0.1, 0.2, 1.4)]
    kinds = {"tied-large": (LARGE, LARGE), "tied-small": (SMALL, SMALL), "asymmetric": (SMALL, LARGE)}
    pairs += [("curve", kind, *rates) for kind, rates in kinds.items()]
    for what, kind, base, peft in pairs:
        for seed in range(8):
            own = {"what": what, "kind": kind, "step_base": base, "step_peft": peft, "seed": seed, "low": START}
            own["rise"] = loss(base, peft, seed) / START
            for epoch in (0, 3, 6) if what == "curve" else (6,):
                rows.append({**own, "epoch": epoch, "value": START if epoch == 0 else loss(base, peft, seed)})
    made = pd.DataFrame(rows).assign(base="tiny-opt", samples=8, note="")
    return made.reindex(columns=figure2_learning_rates.COLUMNS)


def failed(frame: pd.DataFrame) -> list[int]:
    return [i for i, verdict in enumerate(figure2_learning_rates.judge(frame)) if verdict.outcome == "fails"]


def test_what_the_paper_says_is_recognised(frame: pd.DataFrame) -> None:
    assert [verdict.outcome for verdict in figure2_learning_rates.judge(frame)] == [
        "holds",
        "holds",
        "holds",
        "holds",
        "undecided",
        "holds",
        "holds",
        "holds",
        "holds",
    ]


@pytest.mark.parametrize(
    "kind, value, caught",
    [("tied-large", 1.0, [0]), ("asymmetric", np.inf, [1]), ("asymmetric", np.nan, [1]), ("tied-small", 0.1, [2])],
)
def test_curves_that_do_otherwise_are_caught(frame: pd.DataFrame, kind: str, value: float, caught: list[int]) -> None:
    here = (frame.what == "curve") & (frame.kind == kind) & (frame.epoch == 6)
    assert failed(frame.assign(value=frame.value.mask(here, value))) == caught


def test_a_base_that_does_not_help_is_caught(frame: pd.DataFrame) -> None:
    still = (frame.what == "line") & (frame.kind == "peft")
    assert failed(frame.assign(value=frame.value.mask(still, 0.9 * frame.value))) == [3]


@pytest.mark.parametrize("block, caught", [("base", [6]), ("peft", [7])])
@pytest.mark.parametrize("factor", [1 / 6, 6.0])
def test_a_limit_elsewhere_is_caught(frame: pd.DataFrame, block: str, caught: list[int], factor: float) -> None:
    """Runs diverge at the same steps, but the prediction is another."""
    here = (frame.what == "predicted") & (frame.kind == block)
    wrong = frame.assign(**{end: frame[end] * np.where(here, factor, 1.0) for end in ("value", "low", "high")})
    assert set(caught) <= set(failed(wrong))
    assert (8 in failed(wrong)) == (factor > 1)  # too large a limit takes in what diverges
    assert (4 in failed(wrong)) == (block == "base" and factor > 1)


def test_a_base_that_bears_more_than_one_direction_would_is_caught(frame: pd.DataFrame) -> None:
    here = frame.kind == "rank one"
    wrong = frame.assign(**{end: frame[end] * np.where(here, 1 / 10, 1.0) for end in ("value", "low", "high")})
    assert failed(wrong) == [5]


def test_the_limit_is_the_median_of_the_seeds_between_steps_of_the_grid(frame: pd.DataFrame) -> None:
    found = figure2_learning_rates.limit(frame, "tiny-opt", "base")
    assert found.low < LIMITS["base"] < found.high
    assert found.high / found.low == pytest.approx(np.sqrt(2))
    late = (frame.what == "line") & (frame.kind == "base") & (frame.seed < 3)
    assert figure2_learning_rates.limit(frame.assign(rise=frame.rise.mask(late, 0.9)), "tiny-opt", "base").high == np.inf
    few = figure2_learning_rates.limit(frame[~late], "tiny-opt", "base")
    assert not np.isfinite([few.low, few.high]).any()  # five seeds bound no median at 99%


def test_a_limit_beyond_the_grid_is_left_undecided(frame: pd.DataFrame) -> None:
    calm = frame.assign(rise=frame.rise.mask((frame.what == "line") & (frame.kind == "peft"), 0.9))
    assert figure2_learning_rates.judge(calm)[7].outcome == "undecided"


def test_it_is_drawn_also_where_nothing_diverges(frame: pd.DataFrame) -> None:
    calm = frame.assign(rise=0.9, value=np.where(np.isfinite(frame.value), frame.value, 1.0))
    for given in (frame, calm):
        assert isinstance(figure2_learning_rates.draw(given, figure2_learning_rates.judge(given)), Figure)


@pytest.mark.parametrize("settings, number", [(QUICK, 2), (FULL, 3)])
def test_limits_of_every_base_and_a_map_of_the_first(settings: figure2_learning_rates.Settings, number: int) -> None:
    made = figure2_learning_rates.cells(settings)
    assert [cell["what"] for cell in made] == ["limits"] * (number - 1) + ["map"]
    assert made[-1]["base"] == made[0]["base"] == settings.base
