"""How much memory does a step of each method need, and does the hybrid step need more than its first-order twin?

The paper's Table 2 finds the same peak for Hybrid-PEFT as for FO-PEFT (46 GB both for Llama-2-7b on SST-2 with a prompt).
Here every compiled step of `theory_lab.finetune.train` is asked for XLA's own memory analysis: nothing is run and no weights
are needed, so models from 0.5 million to 70 billion parameters are measured by their shapes alone,

    peak = arguments + outputs - what outputs share with arguments + temporaries,    arguments = weights, adapter, batch.

Predicted: no direction is held, a shifted layer is made where it is used, and the backward pass is over before that, so

    temporaries of ZO-FT <= forward pass + one layer,    of Hybrid-PEFT <= max(FO-PEFT, forward pass + one layer).

Hybrid equals its twin wherever the activations that a backward pass keeps outweigh one layer; few tokens on a large model
are the hard case, measured apart. Batches are 16 texts of 64 tokens unless told otherwise, steps plain SGD, adapters LoRA of
rank 8 in two modules, a prefix of 5 and a prompt of 10 tokens, no gradient checkpointing (but that a processor makes norms
and attention again), float32.

What is analysed is the program for the processor that runs this, whose buffers are the same from run to run; another backend
fuses otherwise and may need some more or less. (Its field for the peak counts arguments alone, hence the sum above.)

On a GPU (`--profile gpu`) every step is run besides, in bfloat16, with random weights, those that need least first: the
allocator's peak only grows, so that each of these is the step's own; base, adapter, batch and all. Measured on one H100 80GB
HBM3, 2026-11-22, for OPT-125M and OPT-1.3B: the hybrid step's peak is at most 1.001 of its twin's for all three adapters, by
the allocator (4.02, 4.16, 4.13 GiB at 1.3B: LoRA, prefix, prompt) as by the analysis, which agree within 0.2%.

Refuted by: a hybrid step whose peak is more than 5% off its twin's, or zeroth-order fine-tuning above 1.15 forward passes.

Minutes: quick 0.5, full 2.5, on a GPU 1.6.
"""

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments._fine_tuning import ADAPTERS
from experiments._shapes import PUBLISHED, TINY, UNPOLISHED
from theory_lab.claims import Verdict, claim
from theory_lab.finetune import bases
from theory_lab.finetune.methods import METHODS, method
from theory_lab.measure import Measurement, exact, family
from theory_lab.models import Adapter, Config, config_from_json, init_base, mean_loss
from theory_lab.models.layout import layer_shapes
from theory_lab.report import figures

BATCH = (16, 64)  # texts and tokens of the comparison
FEW = (1, 8)  # the hard case
FORWARD = "forward"


@dataclass(frozen=True)
class Settings:
    """Which models.

    Attributes:
        bases: names of `PUBLISHED`, packaged bases, or folders with a config.json; all methods and adapters.
        further: the same, LoRA alone, for the trend with size.
        few: the same, LoRA alone, with one short text, and one of the usual length.
        run: besides, every step is run, in bfloat16, for the allocator's peak; of published bases alone.
    """

    bases: tuple[str, ...]
    further: tuple[str, ...]
    few: tuple[str, ...]
    run: bool = False


QUICK = Settings(bases=("llama-2-7b",), further=("tiny-opt", "opt-1.3b"), few=())
GPU = Settings(bases=("opt-125m", "opt-1.3b"), further=(), few=(), run=True)
FULL = Settings(
    bases=("tiny-opt", "opt-125m", "opt-1.3b", "opt-6.7b", "tiny-llama", "tinyllama-1.1b", "llama-2-7b", "llama-2-13b"),
    further=("opt-30b", "llama-2-70b"),
    few=("opt-1.3b", "llama-2-7b"),
)


def cells(settings: Settings) -> list[dict[str, Any]]:
    """A cell is a model and an adapter; without one, the methods that move the base alone."""
    if settings.run:
        return [{"base": base, "adapter": "all", "texts": BATCH[0], "tokens": BATCH[1]} for base in settings.bases]
    every = [(base, kind, BATCH) for base in settings.bases for kind in ("none", *ADAPTERS)]
    every += [(base, "lora", BATCH) for base in settings.further]
    every += [(base, "lora", batch) for base in settings.few for batch in (FEW, (1, BATCH[1]))]
    return [{"base": base, "adapter": kind, "texts": texts, "tokens": tokens} for base, kind, (texts, tokens) in every]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Bytes of every method's step; the key is not looked at, as nothing is run, or with random weights."""
    if cell["adapter"] == "all":
        return _ran(cell)
    config, adapter = shape_of(cell["base"]), ADAPTERS.get(cell["adapter"])
    names = ("FO-FT", "ZO-FT") if adapter is None else ("FO-PEFT", "Hybrid-PEFT")
    about = {**cell, "base": Path(cell["base"]).name, **_sizes(config, 4)}
    measured = {name: _step_bytes(config, adapter, name, cell, key) for name in (FORWARD, *names)}
    return pd.DataFrame([{**about, "method": name, **found} for name, found in measured.items()])


def _sizes(config: Config, itemsize: int) -> dict[str, Any]:
    base = _leaves(jax.eval_shape(partial(init_base, config=config), jax.random.key(0)))
    layer = itemsize * sum(math.prod(shape) for arrays in layer_shapes(config).values() for shape in arrays.values())
    return {"architecture": config.model_type, "parameters": base, "weights": itemsize * base, "layer": layer}


def _ran(cell: dict[str, Any]) -> pd.DataFrame:
    """All methods and adapters of one model in bfloat16, run in a process that has the device's memory to itself.

    The forward pass is of the base alone, and stands beside every adapter.
    """
    steps = [{"method": name, "law": law, "kept": "everything", "adapter": "lora"}
             for name, law in ((FORWARD, ""), ("FO-FT", ""), ("ZO-FT", "gaussian"))]  # fmt: skip
    steps += [{"method": name, "law": law, "kept": "everything", "adapter": kind}
              for kind in ADAPTERS for name, law in (("FO-PEFT", ""), ("Hybrid-PEFT", "gaussian"))]  # fmt: skip
    asked = {"model": cell["base"], "dtype": "bfloat16", "steps": steps, "repeats": 2, **_batch(cell)}
    room = {"XLA_PYTHON_CLIENT_PREALLOCATE": "true", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.93"}
    command = [sys.executable, "-m", "experiments._steps", json.dumps(asked)]
    done = subprocess.run(command, env={**os.environ, **room}, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    about = {"base": cell["base"], **_batch(cell), **_sizes(shape_of(cell["base"]), 2), "device": found["device"]}
    rows = []
    for row in found["rows"]:
        beside = ("none", *ADAPTERS) if row["method"] == FORWARD else (row["adapter"],)
        kinds = beside if row["method"].endswith("PEFT") or row["method"] == FORWARD else ("none",)
        sizes = {"temporaries": row["temporaries"], "peak": row["analysis"], "allocated": row["allocated"] or math.nan}
        rows += [{**about, "adapter": kind, "method": row["method"], **sizes} for kind in kinds]
    return pd.DataFrame(rows)


def _batch(cell: dict[str, Any]) -> dict[str, int]:
    return {"texts": cell["texts"], "tokens": cell["tokens"]}


def shape_of(base: str) -> Config:
    """The configuration of a published model, of a packaged base, or of the model in a folder."""
    if base in (known := {**PUBLISHED, **TINY}):
        return known[base]
    folder = bases.PACKAGED / base if base in bases.names() else Path(base)
    return config_from_json(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def _step_bytes(config: Config, adapter: Adapter | None, name: str, cell: dict[str, Any], key: jax.Array) -> dict[str, int]:
    """XLA's analysis of one compiled step, or of the loss alone."""
    params = {"base": jax.eval_shape(partial(init_base, config=config), key)}
    if adapter is not None:
        params["peft"] = jax.eval_shape(lambda key: adapter.init(key, config), key)
    tokens = jax.ShapeDtypeStruct((cell["texts"], cell["tokens"]), jnp.int32)

    def loss(params: Any, tokens: jax.Array) -> jax.Array:
        return mean_loss(config, params, tokens, jnp.ones_like(tokens), adapter=adapter)

    if name == FORWARD:
        return _bytes(jax.jit(loss).lower(params, tokens))
    moving = [label for label in METHODS[name] if label is not None]
    how = method(name, dict.fromkeys(moving, 1e-3))
    state = jax.eval_shape(how.start, params)
    step: Any = how.step(loss)  # a compiled function
    return _bytes(step.lower(params, state, tokens, key, jnp.float32(0)))


def _bytes(lowered: Any) -> dict[str, int]:
    found = lowered.compile(UNPOLISHED).memory_analysis()
    own = found.output_size_in_bytes - found.alias_size_in_bytes
    temporaries = found.temp_size_in_bytes
    return {"temporaries": temporaries, "peak": found.argument_size_in_bytes + own + temporaries}


def _leaves(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def judge(frame: pd.DataFrame) -> list[Verdict]:
    usual = frame[(frame.texts == BATCH[0]) & (frame.tokens == BATCH[1])]
    peaks, temporaries = _pairs(usual, "peak"), _pairs(usual, "temporaries")
    full, every = usual[usual.adapter == "none"], _pairs(frame, "temporaries")
    zo, forward, fo = (full[full.method == name].set_index("base") for name in ("ZO-FT", FORWARD, "FO-FT"))
    design = "design aim"
    same = claim("peak of Hybrid-PEFT / of FO-PEFT, farthest from 1", "folklore: the paper's Table 2", "equals", 1,
                 tolerance=0.05)  # fmt: skip
    twin = claim("temporaries of Hybrid-PEFT / of FO-PEFT, largest", design, "at most", 1.05)
    near = claim("peak of ZO-FT / of a forward pass, largest", design, "at most", 1.15)
    layer = claim("temporaries of ZO-FT / (forward pass + one layer), largest", design, "at most", 1.15)
    law = claim("temporaries of Hybrid-PEFT / max(FO-PEFT, forward pass + one layer), largest, few tokens too", design,
                "at most", 1.05)  # fmt: skip
    trend = claim("excess of Hybrid's temporaries over FO-PEFT's, LoRA: share at the largest / at the smallest model",
                  "measured conjecture: the ratio nears 1 with size", "at most", 1)  # fmt: skip
    whole = claim("peak of FO-FT / the weights, smallest", "folklore: weights, their gradient, activations", "at least", 2)
    verdicts = [
        same.check(family.farthest("ratio", _exact(peaks.hybrid / peaks.twin), centre=1.0)),
        twin.check(family.largest("ratio", _exact(temporaries.hybrid / temporaries.twin))),
        near.check(family.largest("ratio", _exact(zo.peak / forward.peak))),
        layer.check(family.largest("ratio", _exact(zo.temporaries / (forward.temporaries + forward.layer)))),
        law.check(family.largest("ratio", _exact(every.hybrid / every.predicted))),
        trend.check(_trend(temporaries)),
        whole.check(family.smallest("ratio", _exact(fo.peak / fo.weights))),
    ]
    if "allocated" in frame:
        verdicts += _by_allocator(usual)
    few = every[(every.texts == FEW[0]) & (every.tokens == FEW[1])]
    if len(few):
        short = claim("one text of 8 tokens: peak of Hybrid-PEFT / of FO-PEFT, largest", design, "at most", 1.05)
        peaks = _pairs(frame, "peak").loc[few.index]
        verdicts.append(short.check(family.largest("ratio", _exact(peaks.hybrid / peaks.twin))))
    return verdicts


def _by_allocator(frame: pd.DataFrame) -> list[Verdict]:
    """What was run: whether the allocator's peak is that of the analysis, and the hybrid step's that of its twin."""
    unmet = [] if frame.allocated.notna().all() else ["an allocator that counts"]
    told = claim("peak of the allocator / by XLA's analysis, farthest from 1", "design aim", "equals", 1, tolerance=0.05,
                 unmet=unmet)  # fmt: skip
    twin = claim("peak of the allocator: Hybrid-PEFT / FO-PEFT, largest", "design aim", "at most", 1.02, unmet=unmet)
    ran = _pairs(frame, "allocated")
    return [
        told.check(family.farthest("ratio", _exact(frame.allocated / frame.peak), centre=1.0)),
        twin.check(family.largest("ratio", _exact(ran.hybrid / ran.twin))),
    ]


def _pairs(frame: pd.DataFrame, what: str) -> pd.DataFrame:
    """The hybrid step beside its twin and what is predicted for it, a row for every model, adapter and batch."""
    with_adapter = frame[frame.adapter != "none"]
    place = ["base", "architecture", "adapter", "texts", "tokens", "parameters", "layer"]
    wide = with_adapter.pivot(index=place, columns="method", values=what).reset_index()
    wide = wide.rename(columns={"Hybrid-PEFT": "hybrid", "FO-PEFT": "twin"})
    return wide.assign(predicted=np.maximum(wide.twin, wide[FORWARD] + wide.layer))


def _exact(ratios: pd.Series) -> list[Measurement]:
    return [exact("ratio", float(ratio)) for ratio in ratios]


def _trend(pairs: pd.DataFrame) -> Measurement:
    """Over the OPT models: what the hybrid step needs beyond its twin as a share, largest model over smallest."""
    rows = pairs[(pairs.adapter == "lora") & (pairs.architecture == "opt")].sort_values("parameters")
    share = (rows.hybrid / rows.twin - 1).clip(lower=0).to_numpy()
    if not share.any():
        return exact("excess", 0.0)  # no excess at either end
    return exact("excess", share[-1] / share[0] if share[0] > 0 else math.inf)


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    figure, axes = figures.new_figure(1, 2, width=11.5, height=5.2, width_ratios=[1, 1.15])
    _draw_peaks(axes[0][0], frame)
    _draw_trend(axes[0][1], frame)
    where = f", {frame.device.iloc[0]}" if "device" in frame else ""
    title = f"Memory of a step by XLA's analysis: Hybrid-PEFT beside its FO-PEFT twin{where}"
    figures.title_with_verdicts(figure, title, verdicts)
    return figure


SHOWN = {"FO-FT": "first_order", "FO-PEFT": "first_order", "Hybrid-PEFT": "hybrid", "ZO-FT": "zeroth_order"}


def _draw_peaks(axes: Axes, frame: pd.DataFrame) -> None:
    """Peaks in units of the weights, a column of markers for every model that was measured with all methods."""
    usual = frame[(frame.texts == BATCH[0]) & (frame.tokens == BATCH[1])]
    known = usual[usual.method == "FO-FT"].sort_values(["architecture", "parameters"]).base.tolist()
    for number, base in enumerate(known):
        rows = usual[usual.base == base]
        for place, (name, kind) in enumerate(SHOWN.items()):
            part = rows[rows.method == name]
            values = (part.peak / part.weights).to_numpy()
            at = np.full(values.size, number + 0.2 * place - 0.3)
            label = name if number == 0 else ""
            figures.points(axes, at, values, like=figures.look(kind), label=label, hollow=name == "FO-FT")
    figures.theory_line(axes, [-0.5, len(known) - 0.5], [1, 1], label="the weights alone", line="--")
    axes.set(
        yscale="log",
        ylabel=f"peak / weights ({'bfloat16' if 'device' in frame else 'float32'})",
        title=f"{BATCH[0]} texts of {BATCH[1]} tokens, three adapters",
    )
    axes.set_xticks(range(len(known)), known, rotation=25, ha="right")
    axes.set_ylim(top=2 * (usual.peak / usual.weights).max())  # room for the legend
    figures.legend(axes, ncols=2)


def _draw_trend(axes: Axes, frame: pd.DataFrame) -> None:
    """Ratios of temporaries, LoRA, against the number of parameters."""
    pairs = _pairs(frame[frame.adapter == "lora"], "temporaries")
    usual, few = (pairs[(pairs.texts == texts) & (pairs.tokens == tokens)] for texts, tokens in (BATCH, FEW))
    looks = {"opt": figures.look("hybrid"), "llama": figures.Look("#AA4499", "h", "-.", "")}
    for architecture, rows in usual.groupby("architecture", sort=False):
        label = f"Hybrid / FO-PEFT, {'OPT' if architecture == 'opt' else 'Llama'}"
        figures.band(axes, rows.parameters, rows.hybrid / rows.twin, like=looks[str(architecture)], label=label)
    if len(few):
        look = figures.Look(looks["opt"].colour, "*", "-", "")
        figures.points(axes, few.parameters, few.hybrid / few.twin, like=look, label="one text of 8 tokens", hollow=True)
        for number, (_, row) in enumerate(few.iterrows()):
            reach = np.array([0.7, 1.4]) * row.parameters
            label = "" if number else "predicted there"
            figures.theory_line(axes, reach, np.full(2, row.predicted / row.twin), label=label, line="--")
    full = frame[frame.adapter == "none"].pivot(index="parameters", columns="method", values="temporaries")
    ratios = full["ZO-FT"] / full[FORWARD]
    figures.points(axes, full.index, ratios, like="zeroth_order", label="ZO-FT / forward pass")
    usual = usual.sort_values("parameters")
    figures.theory_line(axes, usual.parameters, usual.predicted / usual.twin, label="predicted for Hybrid")
    figures.theory_line(axes, usual.parameters, np.full(len(usual), 1.05), label="5% above the twin", line=":")
    axes.set(
        xscale="log", xlabel="parameters of the base", ylabel="ratio of temporaries", title="by size of the model, LoRA"
    )
    top = max(ratios.max(), (pairs.hybrid / pairs.twin).max(), 1.06)
    axes.set_ylim(top=1 + 1.7 * (top - 1))  # room for the legend
    figures.legend(axes, ncols=2)
