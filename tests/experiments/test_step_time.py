"""The judge of `step_time` on fabricated frames, its processes, and the profile for a GPU."""

import numpy as np
import pandas as pd
import pytest

from experiments import _cells, _settings, step_time
from experiments.__main__ import main

COLUMNS = {"texts": 16, "tokens": 256, "samples": 12, "device": "a device", "compile": 1.0, "note": "", "adapter": "lora"}


def row(side: str, model: str, method: str, value: float, gib: float, kept: str = "lean", **more: object) -> dict:
    spread = {"value": float(value), "low": 0.99 * value, "high": 1.01 * value, "analysis": gib, "allocated": gib}
    return {"side": side, "model": model, "method": method, "law": "", "kept": kept, **spread, **COLUMNS, **more}


@pytest.fixture
def frame() -> pd.DataFrame:
    ours = [("ZO-FT", 45, 2.7), ("FO-FT", 81, 8.7), ("FO-PEFT", 58, 4.3), ("Hybrid-PEFT", 84, 4.3)]
    theirs = [("ZO-FT", 88, 4.4), ("FO-FT", 69, 9.4), ("FO-PEFT", 75, 10.1), ("Hybrid-PEFT", 113, 9.0)]
    rows = [row(step_time.OURS, "opt-1.3b", *one) for one in ours]
    return pd.DataFrame(rows + [row(step_time.PEER, "opt-1.3b", *one) for one in theirs])


def unexpected(frame: pd.DataFrame) -> set[str]:
    return {v.claim for v in step_time.judge(frame) if v.outcome != v.expected}


def changed(frame: pd.DataFrame, method: str, **factors: float) -> pd.DataFrame:
    wrong = frame.copy()
    at = (wrong.side == step_time.OURS) & (wrong.method == method)
    for name, factor in factors.items():
        wrong.loc[at, name] *= factor
    return wrong


def test_agreement_is_recognised(frame):
    assert unexpected(frame) == set()
    assert len(step_time.judge(frame)) == 8 + 1 + 4


def test_what_is_slow_or_large_is_caught(frame):
    slow = {"value": 2.2, "low": 2.2, "high": 2.2}
    assert unexpected(changed(frame, "ZO-FT", **slow)) == {
        "opt-1.3b ZO-FT: milliseconds, median", "opt-1.3b ZO-FT: milliseconds, theory_lab / PyTorch"
    }  # fmt: skip
    assert unexpected(changed(frame, "FO-FT", analysis=1.2)) == {"opt-1.3b FO-FT: GiB by XLA's analysis"}
    twin = "opt-1.3b: peak of Hybrid-PEFT / of FO-PEFT by XLA's analysis, largest"
    assert unexpected(changed(frame, "Hybrid-PEFT", analysis=1.05)) == {twin}


def test_an_aim_that_is_met_after_all_is_told(frame):
    fast = changed(frame, "FO-PEFT", value=0.5, low=0.5, high=0.5)
    assert unexpected(fast) == {"opt-1.3b FO-PEFT: milliseconds, median"}


def test_without_the_peer_nothing_is_decided_of_it(frame):
    alone = frame.copy()
    there = alone.side == step_time.PEER
    alone.loc[there, ["value", "low", "high", "analysis", "allocated"]] = np.nan
    alone.loc[there, "note"] = "torch not installed"
    compared = [v for v in step_time.judge(alone) if v.claim.endswith("PyTorch")]
    assert {v.outcome for v in compared} == {"undecided"}
    step_time.draw(alone, step_time.judge(alone))


@pytest.mark.parametrize(
    "command, note", [("import sys; sys.exit(3)", "exit code 3"), ("import time; time.sleep(60)", "1 s")]
)
def test_a_process_that_fails_costs_its_cell_only(monkeypatch, tmp_path, command, note):
    (tmp_path / "broken_steps.py").write_text(command)
    monkeypatch.setitem(step_time.MODULES, step_time.OURS, "broken_steps")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    cell = {**step_time.cells(step_time.QUICK)[0], "seconds": 1 if "sleep" in command else 60}
    found = step_time.compute(cell, None)
    assert note in found.note.iloc[0]
    assert found.value.isna().all()
    assert found.attrs["keep"] is False


def test_cells_are_a_side_of_a_model_and_know_what_the_peer_is_made_of(monkeypatch):
    monkeypatch.setattr(step_time, "_peer_versions", lambda: {"torch": "2.11.0", "peft": "0.19"})
    cells = step_time.cells(step_time.GPU)
    assert [(cell["model"], cell["side"]) for cell in cells] == [
        *((model, side) for model in ("opt-1.3b", "opt-6.7b") for side in (step_time.OURS, step_time.PEER)),
        *((model, step_time.OURS) for model in ("llama-2-7b", "opt-30b")),
    ]
    assert {cell["made"] for cell in cells if cell["side"] == step_time.PEER} == {"torch 2.11.0, peft 0.19"}
    few, every = (step_time.cells(settings)[0]["steps"] for settings in (step_time.QUICK, step_time.FULL))
    assert len(few) < len(every)


def test_on_a_processor_both_sides_do_the_same_steps_of_every_batch():
    cells = step_time.cells(step_time.FULL)
    for ours, peer in zip(cells[::2], cells[1::2], strict=True):
        assert (ours["side"], peer["side"]) == (step_time.OURS, step_time.PEER)
        for field in ("model", "texts", "tokens", "dtype", "repeats"):
            assert ours[field] == peer[field]
        for one, other in zip(ours["steps"], peer["steps"], strict=True):
            assert {**one, "law": ""} == other
    assert {(cell["texts"], cell["tokens"]) for cell in cells} == set(step_time.FULL.batches)


def test_on_a_processor_every_step_of_every_batch_is_compared():
    spread = {
        step_time.OURS: {"value": 9.0, "low": 8.9, "high": 9.1},
        step_time.PEER: {"value": 10.0, "low": 9.9, "high": 10.1},
    }
    rows = [
        {**COLUMNS, "side": side, "model": model, **how, **batch, **spread[side], "analysis": 1.0, "precision": "float32"}
        for side in (step_time.OURS, step_time.PEER)
        for model in ("opt-small", "llama-small")
        for batch in ({"texts": 16, "tokens": 64}, {"texts": 1, "tokens": 1024})
        for how in step_time.ON_CPU
    ]
    frame = pd.DataFrame(rows).assign(allocated=np.nan)
    verdicts = [v for v in step_time.judge(frame) if v.claim.endswith("PyTorch")]
    late = {" ".join(v.claim.split()[1:6]) for v in verdicts if v.expected == "fails"}
    long = {f"FO-{what}, 1 text of 1024" for what in ("FT", "LoRA", "prefix", "prompt")}
    assert late == {"FO-FT, 16 texts of 64", *long}
    assert len(verdicts) == len({v.claim for v in verdicts}) == len(rows) // 2
    assert "opt-small FO-LoRA, 1 text of 1024 tokens, float32: milliseconds, theory_lab / PyTorch" in {
        v.claim for v in verdicts
    }
    assert {v.outcome for v in verdicts} == {"holds"}
    slow = (frame.side == step_time.OURS) & (frame.method == "ZO-FT") & (frame.tokens == 1024)
    frame.loc[slow, ["value", "low", "high"]] *= 2
    assert {v.claim.split(",")[0] for v in step_time.judge(frame) if v.outcome == "fails"} == {
        "opt-small ZO-FT",
        "llama-small ZO-FT",
    }
    step_time.draw(frame, step_time.judge(frame))


def test_a_model_without_steps_is_refused():
    with pytest.raises(ValueError, match=r"models must be one of 'opt-tiny', .*, got 'gpt-2'"):
        step_time.cells(_settings.changed("step_time", step_time.GPU, {"models": "gpt-2"}))
    with pytest.raises(ValueError, match="batches: tokens must be a whole number of at least 2, got 1"):
        step_time.cells(_settings.changed("step_time", step_time.FULL, {"batches": "[[4, 1]]"}))


def test_only_experiments_with_settings_for_a_gpu_have_that_profile(capsys):
    assert _cells.has_gpu_settings("experiments", "step_time")
    assert not _cells.has_gpu_settings("experiments", "rate_epochs")
    assert main(["rate_epochs", "--profile", "gpu"]) == 2
    assert "profile must be 'quick' or 'full' for rate_epochs" in capsys.readouterr().err
