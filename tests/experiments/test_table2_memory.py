"""The judge of `table2_memory` on fabricated frames, and one cell on a model that is small enough to compile here."""

import itertools
import json
import math
import subprocess

import jax
import pandas as pd
import pytest

from experiments import table2_memory
from experiments._shapes import TINY
from experiments.table2_memory import BATCH, FEW, FORWARD
from theory_lab import models

PEAK, TWIN = "peak of Hybrid-PEFT / of FO-PEFT, farthest from 1", "temporaries of Hybrid-PEFT / of FO-PEFT, largest"
LAW = "temporaries of Hybrid-PEFT / max(FO-PEFT, forward pass + one layer), largest, few tokens too"
TREND = "excess of Hybrid's temporaries over FO-PEFT's, LoRA: share at the largest / at the smallest model"
ZEROTH, LAYER = "peak of ZO-FT / of a forward pass, largest", "temporaries of ZO-FT / (forward pass + one layer), largest"
WHOLE, SHORT = "peak of FO-FT / the weights, smallest", "one text of 8 tokens: peak of Hybrid-PEFT / of FO-PEFT, largest"
MODELS = {("a", "opt"): 10**6, ("b", "opt"): 10**9, ("c", "llama"): 10**8}


@pytest.fixture
def frame() -> pd.DataFrame:
    """Activations of a fifth of the weights, layers of a tenth; with few tokens the layer is all there is."""
    rows = []
    kinds = ("none", "lora", "prefix", "prompt")
    for ((base, architecture), size), adapter, batch in itertools.product(MODELS.items(), kinds, (BATCH, FEW)):
        if batch == FEW and adapter != "lora":
            continue
        weights, kept = 4 * size, 1.0 if batch == BATCH else 0.01
        about = {"base": base, "adapter": adapter, "texts": batch[0], "tokens": batch[1], "architecture": architecture}
        about |= {"parameters": size, "weights": weights, "layer": weights // 20}
        forward, twin = 0.03 * weights, 0.2 * weights * kept
        hybrid = max(twin * (1 + 100 / size**0.5 / 10), forward + 0.045 * weights)
        temporaries = {FORWARD: forward, "FO-PEFT": twin, "Hybrid-PEFT": hybrid}
        if adapter == "none":
            temporaries = {FORWARD: forward, "FO-FT": 1.5 * weights, "ZO-FT": 1.1 * forward}
        rows += [{**about, "method": name, "temporaries": t, "peak": t + weights} for name, t in temporaries.items()]
    return pd.DataFrame(rows)


def unexpected(frame: pd.DataFrame) -> set[str]:
    return {v.claim for v in table2_memory.judge(frame) if v.outcome != v.expected}


def changed(frame: pd.DataFrame, where: pd.Series, factor: float) -> pd.DataFrame:
    wrong = frame.copy()
    wrong.loc[where, "temporaries"] = wrong.temporaries * factor
    wrong["peak"] = wrong.weights + wrong.temporaries
    return wrong


def test_agreement_is_recognised(frame: pd.DataFrame) -> None:
    assert unexpected(frame) == {SHORT}  # a layer of a twentieth and a forward pass: 7% more than the weights
    assert len(table2_memory.judge(frame)) == 8
    assert unexpected(frame[frame.texts == BATCH[0]]) == set()


def test_a_hybrid_step_that_needs_more_is_caught(frame: pd.DataFrame) -> None:
    of = (frame.method == "Hybrid-PEFT") & (frame.texts == BATCH[0])
    assert unexpected(changed(frame, of, 1.2)) == {TWIN, LAW, SHORT}  # the peak is mostly weights
    assert unexpected(changed(frame, of, 1.6)) == {PEAK, TWIN, LAW, SHORT}
    assert unexpected(changed(frame, of & (frame.base == "c"), 1.6)) == {PEAK, TWIN, LAW, SHORT}  # one model is enough
    assert unexpected(changed(frame, of & (frame.base == "b"), 1.04)) == {TREND, SHORT}


def test_a_hybrid_step_that_needs_less_contradicts_equality_alone(frame: pd.DataFrame) -> None:
    lean = changed(frame, (frame.method == "Hybrid-PEFT") & (frame.adapter == "prompt"), 0.5)
    assert unexpected(lean) == {PEAK, SHORT}


@pytest.mark.parametrize(
    "name, factor, caught",
    [("ZO-FT", 3.0, {LAYER}), ("ZO-FT", 6.0, {LAYER, ZEROTH}), ("FO-FT", 0.5, {WHOLE})],
)
def test_full_fine_tuning_out_of_line_is_caught(frame: pd.DataFrame, name: str, factor: float, caught: set[str]) -> None:
    assert unexpected(changed(frame, frame.method == name, factor)) == {*caught, SHORT}


def test_a_cell_measures_the_steps_of_a_model_in_a_folder(tmp_path) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 64}
    config = models.OPTConfig(vocab_size=50, **sizes, max_position_embeddings=32)
    (tmp_path / "config.json").write_text(json.dumps(models.config_to_json(config)))
    cell = {"base": str(tmp_path), "adapter": "prompt", "texts": 2, "tokens": 4}
    found = table2_memory.compute(cell, jax.random.key(0)).set_index("method")
    assert list(found.index) == [FORWARD, "FO-PEFT", "Hybrid-PEFT"]
    shapes = jax.tree.leaves(models.base_shapes(config), is_leaf=lambda s: isinstance(s, tuple))
    assert found.parameters.iloc[0] == sum(math.prod(shape) for shape in shapes)
    beside = found.peak - found.temporaries - found.weights  # the prompt, the batch, the key and the loss
    assert beside.between(4 * 10 * 32, 4 * 10 * 32 + 500).all()
    assert found.temporaries[FORWARD] < found.temporaries["FO-PEFT"] <= found.temporaries["Hybrid-PEFT"]


ALLOCATOR = "peak of the allocator / by XLA's analysis, farthest from 1"
BY_ALLOCATOR = "peak of the allocator: Hybrid-PEFT / FO-PEFT, largest"


def test_what_was_run_is_judged_by_the_allocator_too(frame: pd.DataFrame) -> None:
    ran = frame[frame.texts == BATCH[0]].assign(allocated=frame.peak, device="a device")
    assert unexpected(ran) == set()
    ran.loc[ran.method == "Hybrid-PEFT", "allocated"] = 1.04 * ran.peak
    assert unexpected(ran) == {BY_ALLOCATOR}
    ran.loc[(ran.base == "c") & (ran.adapter == "lora"), "allocated"] = 1.1 * ran.peak
    assert ALLOCATOR in unexpected(ran)
    uncounted = table2_memory.judge(ran.assign(allocated=math.nan))
    assert {v.outcome for v in uncounted if "allocator" in v.claim} == {"undecided"}
    assert len(table2_memory.draw(ran, table2_memory.judge(ran)).axes) == 2


def test_on_a_gpu_a_cell_is_a_model_and_all_its_steps_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = table2_memory.cells(table2_memory.GPU)
    assert [(cell["base"], cell["adapter"]) for cell in cells] == [(base, "all") for base in table2_memory.GPU.bases]

    def ran(command: list[str], **options: object) -> object:
        steps = json.loads(command[-1])["steps"]
        rows = [{**step, "temporaries": 10, "analysis": 30, "allocated": 31} for step in steps]
        return subprocess.CompletedProcess(command, 0, "words\n" + json.dumps({"device": "made", "rows": rows}))

    monkeypatch.setattr(subprocess, "run", ran)
    found = table2_memory.compute(cells[0], jax.random.key(0))
    methods = found.groupby("adapter").method.agg(set).to_dict()
    with_adapter = {kind: {FORWARD, "FO-PEFT", "Hybrid-PEFT"} for kind in ("lora", "prefix", "prompt")}
    assert methods == {"none": {FORWARD, "FO-FT", "ZO-FT"}, **with_adapter}
    assert (found.weights == 2 * found.parameters).all()
    assert (found.allocated == 31).all()


def test_every_model_has_the_number_of_parameters_in_its_name() -> None:
    for name, told in {"opt-125m": 0.125, "opt-1.3b": 1.3, "opt-6.7b": 6.7, "opt-30b": 30, "tinyllama-1.1b": 1.1,
                       "llama-2-7b": 6.74, "llama-2-13b": 13.0, "llama-2-70b": 69.0}.items():  # fmt: skip
        leaves = jax.tree.leaves(models.base_shapes(table2_memory.shape_of(name)), is_leaf=lambda s: isinstance(s, tuple))
        total = sum(math.prod(shape) for shape in leaves)
        assert total / 1e9 == pytest.approx(told, rel=0.02)


def test_cells_are_distinct_and_name_models_that_exist() -> None:
    for settings in (table2_memory.QUICK, table2_memory.FULL):
        cells = table2_memory.cells(settings)
        assert len({json.dumps(cell) for cell in cells}) == len(cells)
        assert {table2_memory.shape_of(cell["base"]).model_type for cell in cells} == {"opt", "llama"}


@pytest.mark.optimized
@pytest.mark.parametrize("name", ["FO-PEFT", "Hybrid-PEFT"])
def test_buffers_do_not_depend_on_how_machine_code_is_made(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config, adapter = TINY["opt-tiny"], models.lora(2)
    cell, key = {"texts": 2, "tokens": 8}, jax.random.key(0)
    unpolished = table2_memory._step_bytes(config, adapter, name, cell, key)
    monkeypatch.setattr(table2_memory, "UNPOLISHED", {})
    assert table2_memory._step_bytes(config, adapter, name, cell, key) == unpolished
