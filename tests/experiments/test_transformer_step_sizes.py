"""The judge of step sizes for transformers on fabricated frames, and the parts that need no model."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import _shares, transformer_step_sizes
from experiments._brute_force import edge

CASES = [f"{base} {adapter}" for base in ("opt", "llama") for adapter in ("lora", "prefix", "prompt")]


@pytest.fixture
def frame() -> pd.DataFrame:
    """All is as advised, to a few per cent."""
    rows = []
    for case in CASES:
        known = {"case": case, "samples": 6, "note": "", "label": "", "step_size_base": 1e-6, "step_size_peft": 0.05}
        spread = lambda value: {"value": value, "low": 0.96 * value, "high": 1.04 * value}
        for x in (1e-7, 1e-6):
            for y in (0.01, 0.1):
                value = np.inf if y > 0.05 else 1 / y
                at = {"step_size_base": x, "step_size_peft": y, "value": value, "low": value, "high": value}
                rows.append({**known, "what": "map", "predicted": np.nan, **at})
        rows.append({**known, "what": "best", "predicted": np.nan, **spread(40.0)})
        rows.append({**known, "what": "advised", "predicted": np.nan, **spread(44.0)})
        rows.append({**known, "what": "ratio", "predicted": 1.0, **spread(1.1)})
        for label, limit in (("base", 1e-5), ("peft", 0.2)):
            rows.append({**known, "what": "limit", "label": label, "predicted": limit, **spread(1.4 * limit)})
    return pd.DataFrame(rows)


def outcomes(frame: pd.DataFrame) -> dict[str, str]:
    return {verdict.claim.split(":")[0]: verdict.outcome for verdict in transformer_step_sizes.judge(frame)}


def scaled(frame: pd.DataFrame, what: str, label: str, factor: float) -> pd.DataFrame:
    other = frame.copy()
    chosen = (other.what == what) & (other.label == label)
    assert chosen.any()
    other.loc[chosen, ["value", "low", "high"]] *= factor
    return other


def test_good_advice_is_recognised_also_from_the_csv(frame: pd.DataFrame, tmp_path) -> None:
    expected = dict.fromkeys(("time", "limit of base", "limit of peft"), "holds")
    assert outcomes(frame) == expected
    frame.to_csv(tmp_path / "frame.csv", index=False)
    assert outcomes(pd.read_csv(tmp_path / "frame.csv")) == expected


def test_each_claim_has_its_own_rows(frame: pd.DataFrame) -> None:
    for what, label, name in (("ratio", "", "time"), ("limit", "base", "limit of base"), ("limit", "peft", "limit of peft")):
        found = outcomes(scaled(frame, what, label, 2.0))
        assert [key for key, outcome in found.items() if outcome == "fails"] == [name]


def test_a_limit_too_high_counts_as_one_too_low_and_a_time_too_short_does_not(frame: pd.DataFrame) -> None:
    assert outcomes(scaled(frame, "limit", "base", 0.25))["limit of base"] == "fails"
    assert outcomes(scaled(frame, "ratio", "", 0.25))["time"] == "holds"


def test_a_loss_never_reached_counts_against_the_advice_and_is_named(frame: pd.DataFrame) -> None:
    never = scaled(frame, "ratio", "", np.inf)
    assert outcomes(never)["time"] == "fails"
    assert "llama prompt (never)" in transformer_step_sizes.judge(never)[0].reason


def test_limits_that_were_not_measured_leave_it_undecided(frame: pd.DataFrame) -> None:
    assert outcomes(scaled(frame, "limit", "peft", np.nan))["limit of peft"] == "undecided"


def test_an_interval_across_the_factor_leaves_it_undecided(frame: pd.DataFrame) -> None:
    wide = frame.copy()
    wide.loc[wide.what == "limit", "high"] *= 2
    assert outcomes(wide)["limit of base"] == "undecided"


def test_it_draws(frame: pd.DataFrame) -> None:
    assert isinstance(transformer_step_sizes.draw(frame, transformer_step_sizes.judge(frame)), Figure)
    lost = scaled(scaled(frame, "limit", "peft", np.nan), "ratio", "", np.inf)
    assert isinstance(transformer_step_sizes.draw(lost, transformer_step_sizes.judge(lost)), Figure)


def test_the_full_setting_has_every_adapter_on_both_architectures() -> None:
    cells = transformer_step_sizes.cells(transformer_step_sizes.FULL)
    assert len(cells) == 6
    assert len({(cell["base"], cell["adapter"]) for cell in cells}) == 6


def test_an_edge_lies_between_the_last_that_works_and_the_first_that_does_not() -> None:
    found = edge(np.array([1.0, 2.0, 4.0]), np.array([True, True, False]), 2)
    assert (found.low, found.high) == (2.0, 4.0)
    assert np.isnan(edge(np.array([1.0, 2.0]), np.array([True, True]), 2).value)


def test_shares_name_what_lies_outside() -> None:
    rows = pd.DataFrame({"case": ["a", "b"], "label": ["", ""], "predicted": 1.0, "value": [1.0, 9.0], "low": [1.0, 9.0],
                         "high": [1.0, 9.0]})  # fmt: skip
    verdict = _shares.share("all", rows, "design aim: x")
    assert verdict.outcome == "fails"
    assert "outside: b (9)" in verdict.reason
