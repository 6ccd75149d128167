"""The judge of `scaling` on fabricated frames: what it must pass and what it must not."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from experiments import _scaling, scaling
from experiments.scaling import ALL, COUNTS

STEP, SWEEP = (f"iterates of a {what}: distance to one device / what rounding allows, largest" for what in ("step", "sweep"))
MEMORY = "arguments of a step on a device, fully split over 4 / on one, largest"
SPEED = {work: f"{work}: efficiency on 4 devices, median" for work in scaling.AIMS}
LOSS = {"sweep": 0.05, "step, data": 0.05, "step, full": 0.1}  # of efficiency, for every device more


def made(platform: str = "gpu", **changed: Any) -> pd.DataFrame:
    """A large step, which is timed, a small one, which is compared, and a sweep."""
    rows = []
    ways = [(c, "data", "sweep", 10) for c in COUNTS]
    ways += [(*way, "step", size) for size in (100, 1000) for way in ALL]
    for count, shard, what, size in ways:
        work = "sweep" if what == "sweep" else f"step, {shard}"
        share = 1 / count + 0.01 if shard == "full" else 1
        for repeat in range(11):
            efficient = 1 - LOSS[work] * (count - 1) + 0.01 * (repeat % 3)
            seconds = 1 if count == 1 else (1 + 0.001 * repeat) / (count * efficient)
            about = {"what": what, "work": work, "count": count, "shard": shard, "repeat": repeat, "platform": platform}
            about |= {"compared": size < 1000, "apart": 0.1 if size < 1000 else 30.0, "dtype": "float32", "device": "made"}
            rows.append({**about, "seconds": seconds, "bytes": 4 * size * share, "size": size})
    return pd.DataFrame(rows).assign(**changed)


def unexpected(frame: pd.DataFrame) -> set[str]:
    return {v.claim for v in scaling.judge(frame) if v.outcome != v.expected}


def test_agreement_is_recognised() -> None:
    assert unexpected(made()) == set()
    assert {v.claim for v in scaling.judge(made())} == {STEP, SWEEP, MEMORY, *SPEED.values()}


def test_nothing_is_said_of_the_speed_of_forced_devices() -> None:
    frame = made("cpu")
    frame.seconds = 1.0
    assert {v.claim for v in scaling.judge(frame)} == {STEP, SWEEP, MEMORY}
    assert unexpected(frame) == set()


@pytest.mark.parametrize("what, caught", [("step", STEP), ("sweep", SWEEP)])
def test_iterates_that_depend_on_the_devices_are_caught(what: str, caught: str) -> None:
    frame = made()
    frame.loc[(frame.what == what) & (frame["count"] == 4) & frame.compared, "apart"] = 1.5
    assert unexpected(frame) == {caught}


def test_arguments_that_are_not_split_are_caught() -> None:
    frame = made()
    frame.loc[(frame.work == "step, full") & (frame["size"] == 100), "bytes"] *= 1.3
    assert unexpected(frame) == {MEMORY}


@pytest.mark.parametrize("work", list(SPEED))
def test_a_slow_way_is_caught_at_the_size_that_is_worth_it(work: str) -> None:
    frame = made()
    slow = (frame.work == work) & (frame["count"] == 4)
    frame.loc[slow & (frame["size"] == 100), "seconds"] *= 10
    assert unexpected(frame) == set()
    frame.loc[slow & (frame["size"] != 100), "seconds"] *= 1.5
    assert unexpected(frame) == {SPEED[work]}


def test_a_figure_is_drawn_of_either_profile() -> None:
    for platform in ("cpu", "gpu"):
        frame = made(platform)
        assert len(scaling.draw(frame, scaling.judge(frame)).axes) == 2


@pytest.mark.parametrize("settings", [scaling.QUICK, scaling.FULL, scaling.GPU])
def test_cells_are_distinct_and_compare_one_device_with_four(settings: scaling.Settings) -> None:
    cells = scaling.cells(settings)
    assert len({json.dumps(cell) for cell in cells}) == len(cells) == (3 if settings is scaling.GPU else 2)
    assert all(cell["ways"][0] == [1, "data"] and 4 in dict(cell["ways"]) for cell in cells)
    assert {cell["what"] for cell in cells if cell.get("compared", True)} == {"step", "sweep"}


def test_a_nudge_is_one_unit_in_the_last_place_of_every_number() -> None:
    params = {"a": jnp.linspace(-3, 3, 1000, dtype=jnp.float32), "b": jnp.ones((2, 3), jnp.bfloat16)}
    moved = _scaling._nudged(params, jax.random.key(0))
    for name, eps in (("a", 2.0**-23), ("b", 2.0**-7)):
        off = np.abs(np.asarray(moved[name], float) / np.asarray(params[name], float) - 1)
        assert off.min() >= eps / 4
        assert off.max() <= eps


def test_what_is_allowed_is_twice_the_farthest_of_the_nudged() -> None:
    start = [np.zeros(3), np.ones(2)]
    nudged = [[np.array([0, 1e-7, 0]), np.array([1, 1 - 3e-7])], [np.array([0, 0, -4e-7]), np.ones(2)]]
    assert _scaling._allowed(start, nudged) == pytest.approx([8e-7, 6e-7])
    assert _scaling._allowed([8.0, 4.0], []) == pytest.approx([0.08, 0.04])  # losses: a hundredth


def test_distances_are_in_units_of_what_the_first_way_allows() -> None:
    first = ([np.zeros(3), np.ones(2)], [1e-6, 1e-7])
    other = ([np.array([0, 0, 2e-7]), np.array([1, 1 + 3e-7])], [1.0, 1.0])
    assert _scaling._apart({"one": first, "four": other}) == pytest.approx({"one": 0, "four": 3})
