"""The judge of step sizes for transformers on fabricated frames, and the parts that need no model."""

import json
from types import SimpleNamespace

import jax
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import _cells, _shares, transformer_step_sizes
from experiments.transformer_step_sizes import largest

CASES = [f"{base} {adapter}" for base in ("opt", "llama") for adapter in ("lora", "prefix", "prompt")]


@pytest.fixture
def frame() -> pd.DataFrame:
    """All is as advised, to a few per cent."""
    rows = []
    for case in CASES:
        known = {"case": case, "samples": 6, "note": "", "label": "", "step_size_base": 1e-6, "step_size_peft": 0.05,
                 "down": 0.5, "seed": 0, "step": 0.0}  # fmt: skip
        spread = lambda value: {"value": value, "low": 0.96 * value, "high": 1.04 * value}
        for x in (1e-7, 1e-6):
            for y in (0.01, 0.1):
                value = np.inf if y > 0.05 else 1 / y
                at = {"step_size_base": x, "step_size_peft": y, "value": value, "low": value, "high": value}
                rows.append({**known, "what": "map", "predicted": np.nan, **at})
        for what, rate in (("best", 1 / 40), ("advised", 1 / 44)):
            for seed in range(4):
                for step in range(0, 97, 4):
                    at = {"step": step, "seed": seed, "value": 3 * np.exp(-(1 + 0.01 * seed) * rate * step)}
                    rows.append({**known, "what": what, "predicted": np.nan, "low": 0.0, "high": 0.0, **at})
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


def slower(frame: pd.DataFrame, factor: float) -> pd.DataFrame:
    """The advised pair takes so many times the steps."""
    other = frame.copy()
    chosen = other.what == "advised"
    other.loc[chosen, "value"] = 3 * (other.value[chosen] / 3) ** (1 / factor)
    return other


def test_each_claim_has_its_own_rows(frame: pd.DataFrame) -> None:
    changed = {f"limit of {label}": scaled(frame, "limit", label, 2.0) for label in ("base", "peft")}
    for name, other in {**changed, "time": slower(frame, 2.0)}.items():
        assert [key for key, outcome in outcomes(other).items() if outcome == "fails"] == [name]


def test_a_time_is_the_ratio_of_the_steps_to_the_level(frame: pd.DataFrame) -> None:
    found = transformer_step_sizes.times(frame)
    np.testing.assert_allclose(found.value, 1.1, rtol=1e-3)
    assert set(found.case) == set(CASES)


def test_a_limit_too_high_counts_as_one_too_low_and_a_time_too_short_does_not(frame: pd.DataFrame) -> None:
    assert outcomes(scaled(frame, "limit", "base", 0.25))["limit of base"] == "fails"
    assert outcomes(slower(frame, 0.25))["time"] == "holds"


def test_a_loss_never_reached_counts_against_the_advice_and_is_named(frame: pd.DataFrame) -> None:
    never = slower(frame, np.inf)
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
    lost = slower(scaled(scaled(frame, "limit", "peft", np.inf), "limit", "base", 0.0), np.inf)
    assert isinstance(transformer_step_sizes.draw(lost, transformer_step_sizes.judge(lost)), Figure)


def test_where_first_epochs_end_is_drawn_and_not_judged(frame: pd.DataFrame) -> None:
    early = frame[frame.what == "limit"].assign(what="early")
    early.loc[early.label == "peft", ["value", "low", "high"]] *= 8
    both = pd.concat([frame, early], ignore_index=True)
    assert outcomes(both) == outcomes(frame)
    legends = lambda rows: str([text.get_text() for text in drawn(rows).axes[0].get_legend().get_texts()])
    drawn = lambda rows: transformer_step_sizes.draw(rows, transformer_step_sizes.judge(rows))
    assert "first epoch" in legends(both)
    assert "first epoch" not in legends(frame)


def test_the_full_setting_has_every_adapter_on_both_architectures_and_both_parts_share_a_key() -> None:
    cells = transformer_step_sizes.cells(transformer_step_sizes.FULL)
    assert len({(cell["base"], cell["adapter"]) for cell in cells}) == len(cells) == 6
    alone = transformer_step_sizes.cells(transformer_step_sizes.QUICK)
    assert [part for cell in alone for part in cell["parts"]] == cells[0]["parts"]
    assert len(alone) == 2
    alike = lambda cell: json.dumps(_cells.alike("experiments", "transformer_step_sizes", cell), sort_keys=True)
    common = [alike(cell) for cell in cells + alone]
    assert len(set(common[:6])) == 6
    assert common[6] == common[7]


def test_a_limit_lies_between_the_largest_that_works_and_its_neighbour() -> None:
    sizes = np.array([1.0, 2.0, 4.0])
    found = largest(sizes, np.array([False, True, False]), 2)
    assert (found.low, found.high) == (2.0, 4.0)


def test_a_line_on_which_all_works_or_nothing_bounds_the_limit_on_one_side(frame: pd.DataFrame) -> None:
    sizes = np.array([1.0, 2.0])
    found = [largest(sizes, np.array([works, works]), 2) for works in (True, False)]
    assert [(one.low, one.high) for one in found] == [(2.0, np.inf), (0.0, 1.0)]
    for bound in found:
        far = frame.copy()
        for end in ("value", "low", "high"):
            far.loc[far.what == "limit", end] = getattr(bound, end) * far.predicted * np.where(bound.low, 4, 0.25)
        assert outcomes(far)["limit of peft"] == "fails"


@pytest.mark.parametrize("ends", [(2.0, 4.0), (0.0, 0.5)])
def test_an_interval_that_only_touches_the_factor_lies_outside(frame: pd.DataFrame, ends: tuple[float, float]) -> None:
    far = frame.copy()
    for end, ratio in zip(("low", "value", "high"), (ends[0], np.sqrt(np.prod(ends)), ends[1]), strict=True):
        far.loc[far.what == "limit", end] = ratio * far.predicted
    verdict = transformer_step_sizes.judge(far)[1]
    assert (verdict.outcome, verdict.high) == ("fails", 0.0)


def test_shares_name_what_lies_outside() -> None:
    rows = pd.DataFrame({"case": ["a", "b"], "label": ["", ""], "predicted": 1.0, "value": [1.0, 9.0], "low": [1.0, 9.0],
                         "high": [1.0, 9.0]})  # fmt: skip
    verdict = _shares.share("all", rows, "design aim: x")
    assert verdict.outcome == "fails"
    assert "outside: b (9)" in verdict.reason


def test_search_choice_and_comparison_have_seeds_of_their_own() -> None:
    cell = {"epochs": 16, "batch_size": 4, "down": 0.7, "choice": 4, "ends": 4, "runs": 8}
    key, pairs_run, seeds = jax.random.key(3), [], []

    def losses(pairs: list[dict[str, float]], keys: jax.Array) -> np.ndarray:
        pairs_run.append(len(pairs))
        seeds.append({tuple(jax.random.key_data(one).tolist()) for one in keys})
        return np.ones((len(pairs), len(keys), 10))  # nine looks and the early one

    rows = pd.DataFrame(transformer_step_sizes._grid(SimpleNamespace(n=8), losses, cell, key))
    columns, row = (len(transformer_step_sizes.GRID[label]) for label in ("base", "peft"))
    assert pairs_run == [row] * columns + [transformer_step_sizes.PAIRS, 1]
    search, choice, compared = set.union(*seeds[:columns]), *seeds[columns:]
    assert [len(search), len(choice), len(compared), len(search | choice | compared)] == [2, 4, 8, 14]
    shared = transformer_step_sizes._run_keys(cell, key)  # those of the advised pair
    assert compared == {tuple(jax.random.key_data(one).tolist()) for one in shared}
    assert rows[rows.what == "best"].seed.nunique() == 8
    assert len(rows[rows.what == "map"]) == row * columns
