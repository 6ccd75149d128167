"""The judge of step sizes for networks on fabricated frames, what the networks are, and their keys."""

from types import SimpleNamespace

import jax
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import theory_lab as tl
from experiments import _brute_force, _networks, network_step_sizes
from theory_lab import blocks
from theory_lab.measure import smoothness

KEY = jax.random.key(0)
CASES = [f"network {i}" for i in range(5)]


@pytest.fixture
def frame() -> pd.DataFrame:
    """All is as advised, to a few per cent."""
    rows = []
    for i, case in enumerate(CASES):
        known = {"case": case, "samples": 48, "note": "", "label": "", "step_size_x": 0.01 * (1 + i), "step_size_y": 0.5}
        spread = lambda value: {"value": value, "low": 0.96 * value, "high": 1.04 * value}
        for what, steps in (("best", 200.0), ("advised", 220.0)):
            rows.append({**known, "what": what, **spread(steps), "predicted": np.nan})
        rows.append({**known, "what": "ratio", **spread(1.1), "predicted": 1.0})
        for label in "xy":
            rows.append({**known, "what": "limit", "label": label, **spread(0.02), "predicted": 0.021})
        for x in (0.001, 0.01, 0.02):
            for y in (0.1, 0.5, 1.0):
                at = {"step_size_x": x, "step_size_y": y, "predicted": np.nan}
                rows.append(
                    {**known, **at, "what": "map", **dict.fromkeys(("value", "low", "high"), 1 / x if x < 0.02 else np.inf)}
                )
    return pd.DataFrame(rows)


def outcomes(frame: pd.DataFrame) -> dict[str, str]:
    short = {"edge of training": "limits", "steps to the target loss": "times"}
    found = {verdict.claim.removeprefix("networks: "): verdict.outcome for verdict in network_step_sizes.judge(frame)}
    return {name: outcome for claim, outcome in found.items() for start, name in short.items() if claim.startswith(start)}


def worse(frame: pd.DataFrame, what: str, cases: list[str], factor: float) -> pd.DataFrame:
    """The frame with what was measured in some cases multiplied."""
    other = frame.copy()
    chosen = (other.what == what) & other.case.isin(cases)
    assert chosen.any()
    other.loc[chosen, ["value", "low", "high"]] *= factor
    return other


def test_good_advice_is_recognised_also_from_the_csv(frame: pd.DataFrame, tmp_path) -> None:
    expected = {"limits": "holds", "times": "holds"}
    assert outcomes(frame) == expected
    frame.to_csv(tmp_path / "frame.csv", index=False)
    assert outcomes(pd.read_csv(tmp_path / "frame.csv")) == expected


@pytest.mark.parametrize("what, claim", [("limit", "limits"), ("ratio", "times")])
def test_each_claim_has_its_own_rows_and_a_factor_two(frame: pd.DataFrame, what: str, claim: str) -> None:
    assert outcomes(worse(frame, what, CASES, 1.7)) == outcomes(frame)
    assert [name for name, outcome in outcomes(worse(frame, what, CASES, 2.5)).items() if outcome == "fails"] == [claim]


def test_a_faster_than_best_time_is_no_failure_and_a_loose_limit_is_one_on_either_side(frame: pd.DataFrame) -> None:
    assert outcomes(worse(frame, "ratio", CASES, 0.3))["times"] == "holds"
    assert outcomes(worse(frame, "limit", CASES, 0.3))["limits"] == "fails"


def test_what_lies_beyond_all_that_was_tried_is_outside_where_that_went_beyond_the_factor(frame: pd.DataFrame) -> None:
    tried = 0.021 * network_step_sizes.LINE
    for works, low, high in ((True, tried[-1], np.inf), (False, 0.0, tried[0])):
        found = _brute_force.edge(tried, np.full(len(tried), works), 4)
        assert (found.low, found.high) == (low, high)
        other = frame.copy()
        other.loc[(other.what == "limit") & other.case.isin(CASES[:2]), ["value", "low", "high"]] = found.value, low, high
        assert outcomes(other)["limits"] == "fails"


def test_an_edge_lies_between_what_works_and_the_first_that_does_not() -> None:
    found = _brute_force.edge(np.array([1.0, 2.0, 4.0, 8.0]), np.array([True, True, False, True]), 4)
    assert (found.low, found.high) == (2.0, 4.0)
    assert found.value == pytest.approx(8**0.5)


def test_it_draws(frame: pd.DataFrame) -> None:
    assert isinstance(network_step_sizes.draw(frame, network_step_sizes.judge(frame)), Figure)
    beyond = worse(worse(frame, "limit", CASES[:1], np.inf), "ratio", CASES[1:2], np.inf)
    assert isinstance(network_step_sizes.draw(beyond, network_step_sizes.judge(beyond)), Figure)


def test_an_unbounded_time_is_drawn_from_side_to_side(frame: pd.DataFrame) -> None:
    heavy = frame.copy()
    heavy.loc[heavy.what == "ratio", ["low", "high"]] = (-np.inf, np.inf)
    axes = network_step_sizes.draw(heavy, []).axes[1]
    drawn = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2][: len(CASES)]
    assert [np.ptp(ends) for ends in drawn] == pytest.approx([axes.get_xlim()[1]] * len(CASES), rel=0.05)


def test_networks_are_beyond_matrices_and_bend_both_ways() -> None:
    assert set(network_step_sizes.QUICK.networks) < set(network_step_sizes.FULL.networks) == set(_networks.NETWORKS)
    for network in _networks.NETWORKS.values():
        problem = network.make()
        start = problem.init(KEY)
        assert blocks.size(start) > 200
        low, high = smoothness.extreme_eigenvalues(problem.value, start, key=KEY)
        assert low.value < -1e-3 * high.value


class Asked(Exception):
    """The advice need not be computed."""


def test_start_and_advice_have_keys_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []

    def advise(problem: object, *, key: jax.Array, **_: object) -> None:
        keys.append(key)
        raise Asked

    monkeypatch.setitem(_networks.NETWORKS, "none", _networks.Network(lambda: SimpleNamespace(n=4, init=keys.append), 0.5))
    monkeypatch.setattr(tl, "advise", advise)
    (cell,) = network_step_sizes.cells(network_step_sizes.Settings(("none",)))
    with pytest.raises(Asked):
        network_step_sizes.compute(cell, KEY)
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == len(keys) == 2


def test_one_network_from_advice_to_rows() -> None:
    (cell,) = network_step_sizes.cells(network_step_sizes.Settings(("adapters",), search=2, runs=4))
    rows = network_step_sizes.compute(cell, KEY)
    assert rows.what.tolist() == ["map"] * 64 + ["best", "advised", "ratio", "limit", "limit"]
    at = rows[rows.what == "best"][["step_size_x", "step_size_y"]].to_numpy()
    grid = rows[rows.what == "map"]
    met = grid.nsmallest(network_step_sizes.CANDIDATES, "value")[["step_size_x", "step_size_y"]].to_numpy()
    assert at[0].tolist() in met.tolist()
