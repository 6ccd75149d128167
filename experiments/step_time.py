"""How long does a step of each method take, and how much memory, beside the same step by PyTorch on the same machine?

Both sides run in turn on one machine, each model and batch in a process of its own: theory_lab, and PyTorch with
transformers and peft (sdpa attention, plain SGD, gradients set to None, MeZO's in-place perturbation). Random weights,
bfloat16 on a GPU and float32 on a processor, logits at all positions; medians of the steps after a warm-up, each waited
for, with the exact 99% interval; compilation is counted apart. Memory is the allocator's peak, for theory_lab also XLA's
analysis. The hybrid step is LoRA by gradients, the base by one difference, forward on either side; a zeroth-order step of
theory_lab is one-sided, two passes like MeZO's.

What a backward pass keeps of a layer: "products" all that costs a product to make again; "lean" what needs one of six
products again (queries, values, the stream between the halves, a bit of each number that was cut at 0); "half" without
queries and values; "nothing" the layer's input alone, as PyTorch's checkpointing.

What each change brought, OPT-1.3B, 16 texts of 256 tokens, one H100 80GB HBM3, 2026-11-22 (ms / GiB by XLA's analysis):

    change                                              forward     ZO-FT gaussian  FO-LoRA        Hybrid-LoRA
    before                                              28.0/2.77   79.6/2.77       86.7/3.38 (1)  138.5/3.38 (1)
    cuDNN's attention, no mask where nothing is padded  23.3/2.65   -               69.6/3.21 (1)  -
    a kernel for normals (139 to 344 G/s), 32 signs
      a word, shifted layers in one pass                -           57.3/2.65 (2)   -              -
    kept by name: "lean" in place of "nothing"          -           -               61.8/4.35      89.6/4.35 (3)
    products by cuBLAS alone: biases, residuals and
      relu as it writes; head's gradient in bfloat16    20.7/2.65   52.1/2.65 (4)   58.4/4.32      83.7/4.32 (3)

    (1) keeping "nothing". (2) rademacher 50.7. (3) rademacher; gaussian after the last change 90.9. (4) rademacher 45.3.

What came of it beside PyTorch stands in README, with its intervals in figures/gpu/step_time.csv. OPT-1.3B was measured again
on another such machine of that day, after steps had learned to lie on several devices: figures/gpu/opt-1.3b has the same
times of theory_lab within 2%, while PyTorch's moved by up to a fifth (FO-LoRA 62.5 ms in place of 54.6, Hybrid-LoRA 136 in
place of 113).
Met: all aims of memory, ZO-FT's of time (by rademacher). Missed: the times of FO-FT, FO-LoRA and Hybrid-LoRA.

Where FO-LoRA's 58.4 ms go (profile, ms): products of the forward pass 13.6 and of the head 4.9, of the backward pass 14.3
without LoRA's 3.1; attention 2.1 forward, made twice, and 3.1 backward; slices of the stacked weights and of what is kept,
copied for cuBLAS, 5.4; keys made again 1.1; relu forward and backward 2.3; launches 2.9; the rest, 6, norms, sums and
softmax. Unrolled over layers the copies go (54.4 ms), for 1.2 GiB more and four times the compilation: not taken. A
forward pass is 12.3 ms of products in the layers at 800 TFLOP/s: 45 ms for FO-LoRA and 60 for the hybrid step, which adds a
forward pass and 5 ms of directions, would leave next to nothing for all else.

On a processor (`--profile full`) a small OPT and a small Llama take the same steps on either side, on 16 texts of 64 tokens
and on one of 1024: gaussian directions, nothing computed again, as many threads as the process has cores. Without torch,
peft and transformers the peer is left out. The tiny model of the quick profile is about dispatch, without claims on its
speed.

Where FO-LoRA's time went there before what follows (opt-small, 16 x 64, float32, processor time on one core of a Xeon with
AMX, 2026-11-22): 348 ms, PyTorch 294. The head with its gradient took 108, with all logits kept 97; the layers with theirs
195, of which packing relu's signs 22, attention backward 35, both norms up to 25. On 1 x 1024 it was 552 and 379, while
forward passes (98 and 132; 121 and 157) and zeroth-order steps (296 and 482 on 1 x 1024) were the faster here. In bfloat16
FO-LoRA took 300, PyTorch 194 (forward 88 and 67): float32 in its place would be slower and larger. A step of
`theory_lab.finetune` makes logits where it is asked for some alone, and most of the head's time falls away.

What each change brought there afterwards (FO-FT and FO-LoRA, each alone as a patch, over the code before, in turn in one
process, medians of 10 steps, the last row of 12; processor time on one core, opt-small, JAX 0.10.2, 2026-11-23):

    change                                                    16 x 64          1 x 1024
    relu keeps a byte of each number, not packed bits         0.93, 0.91       -
    the loss makes its gradient as it is evaluated, from
      the logits of 256 tokens: 3 products, not 4 (LoRA 2)    0.83, 0.88       -
    a layer keeps what costs a product (`INSIDE`), norms
      and attention are made again                            0.90, 0.88       0.93, 0.88
    all three; temporaries from 133 to 91 MiB, 76 to 44       0.75, 0.73       0.78, 0.80

Temporaries are mapped afresh in every step: a tenth of the time was page faults, which glibc saves with huge pages
(GLIBC_TUNABLES=glibc.malloc.hugetlb=1: 449 ms for 494, not set here). Tried and left out, under 3%: the scan over layers
unrolled, norms alone made again, sums of attention kept. All logits kept (0.86, 0.96) needs 36 MiB more than before.

Both sides on two cores of the Xeon, otherwise idle, 2026-11-23, by `python -m experiments step_time --profile full`
(milliseconds here and by PyTorch 2.13; 16 x 64, then 1 x 1024; on one core, beside other work, the ratios were like these):

    step         opt-small                 llama-small
    forward       49  59      65  74        47  68      64  85
    ZO-FT        146 223     174 255       147 254     178 300
    FO-FT        195 170     285 215       216 191     295 227
    FO-LoRA      123 131     197 170       128 141     218 186
    prefix       123 130     196 195       124 144     207 209
    prompt       138 151     195 179       142 167     198 188
    Hybrid-LoRA  226 267     315 341       230 296     327 374

Slower remain all of FO-FT, and on the long text first-order steps of adapters, by up to 17%: expected after this run, not
before. Before the changes the first column's FO-FT took 282 and FO-LoRA 190 there.

Minutes: quick 0.3, full 4.7 beside PyTorch; on a GPU (`--profile gpu`) 5. Times are of this machine and this moment.
"""

import contextlib
import importlib.metadata
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import OLDER_EMITTERS
from experiments._shapes import FOR_CPU, cores
from theory_lab import _checks
from theory_lab.claims import Verdict, claim
from theory_lab.measure import Measurement, exact, family, rate
from theory_lab.report import figures, record

ALONE = True  # whatever the executor: it takes times
OURS, PEER = "theory_lab", "pytorch"
MODULES = {OURS: "experiments._steps", PEER: "experiments._steps_torch"}
PEER_PACKAGES = ("torch", "transformers", "peft")
GIB = 2**30


def _step(method: str, law: str = "", kept: str = "everything", adapter: str = "lora") -> dict[str, str]:
    return {"method": method, "law": law, "kept": kept, "adapter": adapter}


ZEROTH = [_step("ZO-FT", law) for law in ("gaussian", "rademacher")]
FIRST = [_step("FO-FT", kept="products"), _step("FO-PEFT", kept="lean"), _step("FO-PEFT", kept="nothing")]
HYBRID = [_step("Hybrid-PEFT", law, "lean") for law in ("gaussian", "rademacher")]
OTHERS = [
    _step(*step, "lean", kind) for kind in ("prefix", "prompt") for step in (("FO-PEFT", ""), ("Hybrid-PEFT", "gaussian"))
]
PROMPT = [_step("FO-PEFT", "", "nothing", "prompt"), _step("Hybrid-PEFT", "gaussian", "nothing", "prompt")]
HALF = [_step("FO-PEFT", kept="half"), _step("Hybrid-PEFT", "rademacher", "half")]
BY_TORCH = [_step(name) for name in ("forward", "ZO-FT", "FO-FT", "FO-PEFT", "Hybrid-PEFT")]
BY_TORCH += [_step("FO-PEFT", kept="nothing"), _step("Hybrid-PEFT", kept="nothing")]
ON_CPU = [_step("forward"), ZEROTH[0], _step("FO-FT"), _step("FO-PEFT"), _step("FO-PEFT", adapter="prefix")]
ON_CPU += [_step("FO-PEFT", adapter="prompt"), _step("Hybrid-PEFT", "gaussian")]
ON_CPU_BY_TORCH = [{**how, "law": ""} for how in ON_CPU]
LARGE_BY_TORCH = [BY_TORCH[0], BY_TORCH[1], BY_TORCH[5], BY_TORCH[6]]


OURS_OF: dict[str, list[dict[str, str]]] = {  # the steps of each model
    "opt-tiny": [_step("forward"), *ZEROTH, *FIRST, *HYBRID],
    **dict.fromkeys(FOR_CPU, ON_CPU),
    "opt-1.3b": [_step("forward"), *ZEROTH, *FIRST, *HYBRID, *OTHERS],
    "opt-6.7b": [_step("forward"), ZEROTH[1], *HALF],
    "llama-2-7b": PROMPT,
    "opt-30b": [_step("Hybrid-PEFT", "rademacher", "nothing")],
}
PEER_OF = {"opt-tiny": BY_TORCH, **dict.fromkeys(FOR_CPU, ON_CPU_BY_TORCH), "opt-1.3b": BY_TORCH, "opt-6.7b": LARGE_BY_TORCH}
FEW_OF = {OURS: [_step("forward"), ZEROTH[1], FIRST[1], HYBRID[1]], PEER: BY_TORCH[:2]}


@dataclass(frozen=True)
class Settings:
    """Which models, and on what.

    Attributes:
        models: names of `OURS_OF`; those of `PEER_OF` among them are measured on both sides.
        few: a few of the steps alone.
        batches: how many texts of how many tokens; every model sees each.
        precision: of weights and products.
        repeats: steps that are timed.
        seconds: after which a process is given up.
    """

    models: tuple[str, ...]
    few: bool
    batches: tuple[tuple[int, int], ...]
    precision: Literal["bfloat16", "float32"]
    repeats: int
    seconds: int


QUICK = Settings(("opt-tiny",), few=True, batches=((4, 64),), precision="bfloat16", repeats=12, seconds=120)
FULL = Settings(tuple(FOR_CPU), few=False, batches=((16, 64), (1, 1024)), precision="float32", repeats=8, seconds=240)
GPU = Settings(
    ("opt-1.3b", "opt-6.7b", "llama-2-7b", "opt-30b"), few=False, batches=((16, 256),), precision="bfloat16", repeats=12,
    seconds=150,
)  # fmt: skip
AIMS = {  # (model, method): milliseconds, GiB
    ("opt-1.3b", "ZO-FT"): (50, 3.1),
    ("opt-1.3b", "FO-FT"): (69, 9.4),
    ("opt-1.3b", "FO-PEFT"): (45, 4.4),
    ("opt-1.3b", "Hybrid-PEFT"): (60, 4.6),
    ("opt-6.7b", "Hybrid-PEFT"): (280, 15.6),
}
SLOWER = {("opt-1.3b", "FO-FT"): "slices and sums that PyTorch does not make: the profile in the docstring"}
SLOWER_ON_CPU = {("FO-FT", 64), ("FO-FT", 1024), ("FO-PEFT", 1024)}  # method, tokens of a text
SAME = ["texts", "tokens", "method", "adapter"]
MISSED = "products, slices and passes over activations: the profile in the docstring"


def cells(settings: Settings) -> list[dict[str, Any]]:
    """A cell is a model, a batch and a side, whose steps it runs. What the peer is made of determines its times too."""
    made = {OURS: "", PEER: ", ".join(f"{name} {found}" for name, found in _peer_versions().items())}
    for model in settings.models:
        _checks.choice("models", model, OURS_OF)
    for texts, tokens in settings.batches:
        _checks.count("batches: texts", texts)
        _checks.count("batches: tokens", tokens, least=2)
    shared = {"dtype": settings.precision, "repeats": settings.repeats, "seconds": settings.seconds}
    return [
        {"side": side, "model": model, "steps": FEW_OF[side] if settings.few else steps[model], "made": made[side],
         "texts": texts, "tokens": tokens, **shared}
        for model in settings.models
        for texts, tokens in settings.batches
        for side, steps in ((OURS, OURS_OF), (PEER, PEER_OF))
        if model in steps
    ]  # fmt: skip


def _peer_versions() -> dict[str, str]:
    """The versions of what PyTorch's side is made of; empty where it is not installed."""
    found = {}
    for name in PEER_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Medians with their intervals, from a process that has the device's memory to itself; the key is not looked at."""
    about = {name: cell[name] for name in ("side", "made", "model", "texts", "tokens")} | {"precision": cell["dtype"]}
    found, note = _measured(cell)
    rows = []
    for step in found["rows"]:
        times, _ = step.pop("milliseconds"), step.pop("temporaries", None)
        median = rate.quantile(times, 0.5)
        sizes = {"analysis": step.pop("analysis"), "allocated": step.pop("allocated")}
        sizes = {name: np.nan if size is None else size / GIB for name, size in sizes.items()}
        spread = {"value": median.value, "low": median.low, "high": median.high, "samples": len(times)}
        rows.append({**about, **step, **spread, **sizes, "device": _named_device(found["device"]), "note": ""})
    if note:
        empty = {"value": np.nan, "low": np.nan, "high": np.nan, "samples": 0, "analysis": np.nan, "allocated": np.nan}
        rows += [{**about, **step, "compile": np.nan, **empty, "device": "", "note": note} for step in cell["steps"]]
    frame = pd.DataFrame(rows)
    frame.attrs["keep"] = not note
    return frame


def _named_device(kind: str) -> str:
    """A processor by its name and how many of its cores both sides may use."""
    return f"{record.processor()}, cores: {cores()}" if kind == "cpu" else kind


def _measured(cell: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """What the process tells, or why there is nothing."""
    nothing: dict[str, Any] = {"rows": [], "device": ""}
    missing = [name for name in PEER_PACKAGES if name not in _peer_versions()] if cell["side"] == PEER else []
    if missing:
        return nothing, f"{', '.join(missing)} not installed"
    command = [sys.executable, "-m", MODULES[cell["side"]], json.dumps(cell)]
    room = {"XLA_PYTHON_CLIENT_PREALLOCATE": "true", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.93"}
    if OLDER_EMITTERS in (flags := os.environ.get("XLA_FLAGS", "")):  # users have the others
        room["XLA_FLAGS"] = flags.replace(OLDER_EMITTERS, OLDER_EMITTERS.replace("false", "true"))
    try:
        done = subprocess.run(
            command, env={**os.environ, **room}, stdout=subprocess.PIPE, text=True, timeout=cell["seconds"], check=False
        )
    except subprocess.TimeoutExpired:
        return nothing, f"not done after {cell['seconds']} s"
    if done.returncode:
        return nothing, f"the process stopped with exit code {done.returncode}"
    return json.loads(done.stdout.splitlines()[-1]), ""


def judge(frame: pd.DataFrame) -> list[Verdict]:
    ours = frame[frame.side == OURS]
    verdicts = []
    for (model, method), (milliseconds, gib) in AIMS.items():
        rows = ours[(ours.model == model) & (ours.method == method) & (ours.adapter == "lora")]
        if len(rows):
            verdicts += _against_aim(rows, f"{model} {method}", milliseconds, gib)
    for model, rows in ours.groupby("model", sort=False):
        twins = _peaks(rows)
        if twins is not None:
            name = f"{model}: peak of Hybrid-PEFT / of FO-PEFT by XLA's analysis, largest"
            unmet = ["a model whose activations outweigh a layer"] if "tiny" in str(model) else []
            same = claim(name, "design aim", "at most", 1.02, unmet=unmet)
            verdicts.append(same.check(exact("ratio", twins)))
        if model in FOR_CPU:
            both = frame[frame.model == model].groupby(SAME, sort=False)
            verdicts += [_like(group) for _, group in both if set(group.side) == {OURS, PEER}]
            continue
        for method in rows.method.unique():
            verdicts += _against_peer(frame, str(model), str(method))
    for model, most in (("opt-30b", 79), ("llama-2-7b", 17)):
        rows = ours[(ours.model == model) & (ours.method == "Hybrid-PEFT")]
        if len(rows):
            name = f"{model}: the hybrid step's peak, GiB of the allocator (one card has 80 GB)"
            fits = claim(name, "design aim", "at most", most, unmet=_notes(rows))
            verdicts.append(fits.check(exact("peak", float(rows.allocated.max()))))
    return verdicts


def _against_aim(rows: pd.DataFrame, name: str, milliseconds: float, gib: float) -> list[Verdict]:
    """The fastest of a method's ways against both aims; its memory is of the same program."""
    best = rows.sort_values("value").iloc[0]
    missed = {"FO-PEFT", "FO-FT", "Hybrid-PEFT"}
    late = name.split()[-1] in missed
    time = claim(f"{name}: milliseconds, median", "design aim", "at most", milliseconds, unmet=_notes(rows),
                 expected="fails" if late else "holds", why=MISSED if late else "")  # fmt: skip
    size = claim(f"{name}: GiB by XLA's analysis", "design aim", "at most", gib, unmet=_notes(rows))
    return [time.check(_median(best)), size.check(exact("peak", float(best.analysis)))]


def _against_peer(frame: pd.DataFrame, model: str, method: str) -> list[Verdict]:
    """The fastest way of either side, ours over theirs."""
    both = [frame[(frame.side == side) & (frame.model == model) & (frame.method == method) & (frame.adapter == "lora")]
            for side in (OURS, PEER)]  # fmt: skip
    if not len(both[1]):
        return []
    ours, peer = (rows.sort_values("value").iloc[0] for rows in both)
    tiny = "tiny" in model  # dispatch, not arithmetic
    why = "a tiny model is about dispatch" if tiny else SLOWER.get((model, method), "")
    source = "measured conjecture: no slower than PyTorch"
    unmet = [*_notes(both[0]), *_notes(both[1])] + (["a model large enough to be about speed"] if tiny else [])
    named = claim(f"{model} {method}: milliseconds, theory_lab / PyTorch", source, "at most", 1, unmet=unmet,
                  expected="fails" if why else "holds", why=why)  # fmt: skip
    return [named.check(family.ratio("ratio", _median(ours), _median(peer)) if not unmet else exact("ratio", np.nan))]


def _like(rows: pd.DataFrame) -> Verdict:
    """The same step of the same batch on either side, ours over theirs."""
    ours, peer = (rows[rows.side == side].iloc[0] for side in (OURS, PEER))
    unmet, late = _notes(rows), (ours.method, ours.tokens) in SLOWER_ON_CPU
    why = "the layers' backward pass: the profile in the docstring" if late else ""
    name = f"{ours.model} {_called(ours)}, {_batch(ours)}, {ours.precision}: milliseconds, theory_lab / PyTorch"
    named = claim(name, "measured conjecture: no slower than PyTorch", "at most", 1, unmet=unmet,
                  expected="fails" if why else "holds", why=why)  # fmt: skip
    return named.check(family.ratio("ratio", _median(ours), _median(peer)) if not unmet else exact("ratio", np.nan))


def _peaks(rows: pd.DataFrame) -> float | None:
    """The largest ratio of a hybrid step's peak to that of its twin that keeps the same."""
    peaks = rows.pivot_table(index=["kept", "adapter"], columns="method", values="analysis", aggfunc="max")
    if not {"FO-PEFT", "Hybrid-PEFT"} <= set(peaks):
        return None
    return float((peaks["Hybrid-PEFT"] / peaks["FO-PEFT"]).max())


def _median(row: pd.Series) -> Any:
    return Measurement("median", float(row.value), float(row.low), float(row.high), int(row.samples), "")


def _notes(rows: pd.DataFrame) -> list[str]:
    return sorted({str(note) for note in rows.note if isinstance(note, str) and note})


SHOWN = {
    OURS: replace(figures.look("hybrid"), label=OURS),
    PEER: figures.Look("#777777", "o", "-", "PyTorch"),
}


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    known = frame[frame.value.notna()].fillna({"law": "", "kept": "", "note": ""})
    known = known.sort_values(
        ["model", "texts", "tokens", "method", "adapter", "side"], key=_places, kind="stable"
    ).reset_index(drop=True)
    figure, axes = figures.new_figure(1, 2, width=12.5, height=2.5 + 0.24 * len(known), sharey=True)
    _draw_lines(axes[0][0], known, known.value, "ms per step (median, 99% interval)", aim=0)
    _draw_lines(
        axes[0][1],
        known,
        known.allocated.fillna(known.analysis),
        "GiB at the peak (allocator; on a processor, analysis)",
        aim=1,
    )
    devices = ", ".join(known.device.unique())
    precisions = known.precision.unique() if "precision" in known else ["bfloat16"]  # as rows of GPUs that were kept
    title = f"A step in {', '.join(precisions)}, {' or '.join(map(_batch, _each_batch(known)))}, {devices}"
    figures.title_with_verdicts(figure, title, verdicts)
    return figure


def _places(column: pd.Series) -> pd.Series:
    """Every word by where it first stands."""
    return column.map({word: place for place, word in enumerate(column.unique())})


def _draw_lines(axes: Axes, known: pd.DataFrame, values: pd.Series, label: str, *, aim: int) -> None:
    """A line for every row, a marker for its side, and the aims of its group."""
    for side, look in SHOWN.items():
        if (rows := known[known.side == side]).empty:
            continue
        spread = None if aim else np.array([rows.value - rows.low, rows.high - rows.value])
        axes.errorbar(
            values[rows.index],
            rows.index,
            xerr=spread,
            fmt=look.marker,
            color=look.colour,
            label=look.label if side == PEER else side,
        )
    for group, aims in AIMS.items():
        at = known.index[(known.model == group[0]) & (known.method == group[1]) & (known.adapter == "lora")]
        if len(at):
            figures.theory_line(axes, [aims[aim]] * 2, [at.min() - 0.4, at.max() + 0.4], label="aim")
    many = len(_each_batch(known)) > 1
    figures.log_x(axes)
    axes.set_xlabel(label)
    axes.set_yticks(known.index, [_named(row, many) for row in known.itertuples()], fontsize=8)
    axes.set_ylim(len(known) + 1.4, -0.8)
    figures.legend(axes, loc="lower right", ncols=3)


def _each_batch(frame: pd.DataFrame) -> list[Any]:
    return list(frame.drop_duplicates(["texts", "tokens"]).itertuples())


def _batch(row: Any) -> str:
    return f"{row.texts} {'text' if row.texts == 1 else 'texts'} of {row.tokens} tokens"


def _called(row: Any) -> str:
    return row.method.replace("PEFT", {"lora": "LoRA"}.get(row.adapter, row.adapter))


def _named(row: Any, many: bool) -> str:
    way = " ".join(word for word in (row.law, "" if row.kept == "everything" else row.kept) if word)
    batch = f"  {row.texts} x {row.tokens}" if many else ""
    return f"{row.model}{batch}  {row.method}{'' if row.adapter == 'lora' else f', {row.adapter}'}  {way}"
