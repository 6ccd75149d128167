"""The judge of `throughput` on fabricated times: what it must pass and what it must not, in one precision and in two."""

import json

import jax
import numpy as np
import pandas as pd
import pytest

from experiments import throughput
from experiments.throughput import BASE

SPEED = {"sweep": 1.0, "floor": 0.8, "numpy": 60.0}  # microseconds of a step


def made(*dtypes: str) -> pd.DataFrame:
    """As fast as the floor nearly, at d = 10 half as fast, growth of the first precision: a step that costs d."""
    rows = []
    for dtype in dtypes:
        about = {"dtype": dtype, "first_call": 1.0, "others": 0.0, "available": 10.0, "device": "made"}
        for d in (10, 120):
            for repeat in range(15):
                wobble = 1 + 0.01 * (repeat % 3)
                for name, cost in SPEED.items():
                    slow = 2 if name == "sweep" and d == 10 else 1
                    size = {"what": "duel", "d": d, "trajectories": 256, "n": 64, "contestant": name, "repeat": repeat}
                    rows.append({**about, **size, "seconds": 1e-6 * cost * d * (slow if name == "sweep" else 1) * wobble})
        for size in (
            () if dtype != dtypes[0] else (BASE, BASE | {"d": 1024}, BASE | {"trajectories": 1024}, BASE | {"n": 1024})
        ):
            for repeat in range(5):
                seconds = 1e-6 * (1 + 0.01 * repeat) * size["d"] / size["trajectories"] ** 0.5
                growth = {"what": "growth", "contestant": "sweep", "repeat": repeat, "seconds": seconds}
                rows.append({**about, **size, **growth})
    frame = pd.DataFrame(rows)
    frame.loc[(frame.contestant == "numpy") & (frame.d == 10), "seconds"] *= 3
    return frame


def outcomes(frame: pd.DataFrame) -> dict[str, str]:
    return {v.claim: v.outcome for v in throughput.judge(frame)}


def unexpected(frame: pd.DataFrame) -> set[str]:
    return {v.claim for v in throughput.judge(frame) if v.outcome != v.expected}


def test_agreement_is_recognised() -> None:
    frame = made("float64")
    assert unexpected(frame) == set()
    assert len(throughput.judge(frame)) == 7
    assert outcomes(frame.drop(columns=["dtype", "device"])) == outcomes(frame)  # tables of earlier days
    assert len(throughput.draw(frame, throughput.judge(frame)).axes) == 2


def test_the_loop_is_no_measure_where_the_floor_is_no_faster() -> None:
    frame = made("float64")
    frame.loc[(frame.contestant == "numpy") & (frame.d == 120), "seconds"] /= 8  # 9.4 times the floor's
    name = "d = 120: steps per second, sweep / NumPy loop"
    assert outcomes(frame)[name] == "undecided"
    frame.loc[(frame.contestant == "floor") & (frame.d == 120), "seconds"] /= 2
    assert outcomes(frame)[name] == "fails"


def test_each_precision_is_judged_by_itself() -> None:
    frame = made("float64", "float32")
    assert unexpected(frame) == set()
    assert len(throughput.judge(frame)) == 7 + 4
    slow = (frame.dtype == "float32") & (frame.contestant == "sweep") & (frame.what == "duel")
    frame.loc[slow, "seconds"] *= 7
    assert unexpected(frame) == {
        "float32, d = 10: steps per second, sweep / NumPy loop",
        "float32, d = 120: steps per second, sweep / NumPy loop",
        "float32, d = 120: steps per second, sweep / floor",
    }
    assert len(throughput.draw(frame, throughput.judge(frame)).axes) == 2


@pytest.mark.parametrize(
    "axis, power, caught",
    [("d", 1.5, "exponent of at most 2"), ("n", 0.5, "grows with n"), ("trajectories", 1.0, "grows with trajectories")],
)
def test_a_cost_that_grows_too_fast_is_caught(axis: str, power: float, caught: str) -> None:
    frame = made("float64")
    growth = frame.what == "growth"
    frame.loc[growth, "seconds"] *= frame[axis].astype(float) ** power
    assert len(unexpected(frame)) == 1
    assert caught in unexpected(frame).pop()


def test_on_a_busy_machine_nothing_is_decided() -> None:
    assert set(outcomes(made("float64").assign(others=2.0)).values()) == {"undecided"}


def test_cells_are_distinct_and_the_gpu_has_both_precisions() -> None:
    for settings in (throughput.QUICK, throughput.FULL, throughput.GPU):
        cells = throughput.cells(settings)
        assert len({json.dumps(cell) for cell in cells}) == len(cells)
        assert {10, 120} <= {cell["d"] for cell in cells if cell["what"] == "duel"}
    compared = {(cell["dtype"], cell["what"]) for cell in throughput.cells(throughput.GPU)}
    assert compared == {("float64", "duel"), ("float32", "duel"), ("float64", "growth")}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_cell_is_measured_in_its_precision(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    seen = []
    monkeypatch.setattr(throughput, "_sweep", lambda problem, *_: seen.append(problem.tilts.dtype))
    cell = {"what": "growth", **BASE, "d": 4, "n": 4, "repeats": 2, "budget": 0.0, "dtype": dtype, "steps": 4}
    found = throughput.compute(cell, jax.random.key(0))
    assert set(map(str, seen)) == {dtype}
    assert len(found) == 2
    assert np.isfinite(found.seconds).all()
