"""Are the step sizes that `advise` names for a transformer as good as a grid's best, and its limits where training ends?

The method is Hybrid-PEFT: the base by two values of the loss, the adapter by its gradient, minibatches of 8 under random
reshuffling, for LoRA, prefix and prompt on two architectures. Advice is taken where training starts, from the same examples.

- Times: steps until the mean loss over seeds is half of what it was. Best is the pair of a grid fixed beforehand,
  eta_base by factors 8 and eta_peft by factors 2; it is chosen on other seeds than those on which it meets the advised pair.
- Limits: the step size of one block, the other's as advised, from which training ends no lower than it began, in the mean;
  between two neighbours of a grid by factors 2, which is the interval. The prediction is local and in mean square: where
  curvature falls along the way training outlives it, and in so few steps what grows slowly is not seen.

Aims: limits within a factor 2, times within a factor 1.5. The six cases are all there are, a census and no sample.

Quick: one case. Minutes: quick 2, full 12 on one core; advice is two thirds of it, most of that compiling.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import theory_lab as tl
from experiments import _fine_tuning
from experiments._brute_force import edge
from experiments._rows import row
from experiments._shares import FACTOR, share
from theory_lab.claims import Verdict
from theory_lab.finetune.moving import moving
from theory_lab.finetune.problem import FineTune
from theory_lab.measure import Measurement, exact, reach
from theory_lab.report import figures
from theory_lab.run.trace import Trace

AIM = "design aim: limits within a factor 2 and times within a factor 1.5"
LIMIT = 2.0
LABELS = ("base", "peft")
GRID = {"base": 1e-7 * 8.0 ** np.arange(5), "peft": 2.0 ** np.arange(-8, 0)}
LINE = 2.0 ** np.arange(-5, 5)  # step sizes in units of a predicted limit
LOOK_AHEAD = 50  # products
ADVICE, SEARCH, EVALUATE, EDGES = range(4)
LOOKS = {"base": "zeroth_order", "peft": "first_order"}


@dataclass(frozen=True)
class Settings:
    """How much of it.

    Attributes:
        bases: names or folders.
        adapters: kinds.
        task: of the generated language.
        train: examples.
        epochs: of a run.
        down: share of the starting loss that is to be reached.
        search, runs: seeds of a point of a grid, and of what is compared.
    """

    bases: tuple[str, ...]
    adapters: tuple[str, ...]
    task: str = "sentiment"
    train: int = 16
    epochs: int = 24
    down: float = 0.5
    search: int = 1
    runs: int = 6


QUICK = Settings(("tiny-opt",), ("prompt",), epochs=16)
FULL = Settings(("tiny-opt", "tiny-llama"), ("lora", "prefix", "prompt"))


def cells(settings: Settings) -> list[dict[str, Any]]:
    """A base with an adapter each."""
    s = settings
    effort = {"task": s.task, "train": s.train, "epochs": s.epochs, "down": s.down, "search": s.search, "runs": s.runs}
    return [{"base": base, "adapter": adapter, **effort} for base in s.bases for adapter in s.adapters]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Advice, the grid, the comparison and the edges of one case."""
    adapter = _fine_tuning.ADAPTERS[cell["adapter"]]
    problem = _fine_tuning.setting(cell["base"], cell["task"], adapter, train=cell["train"], dev=2, test=2).problem
    case = f"{cell['base'].removeprefix('tiny-')} {cell['adapter']}"
    return pd.DataFrame([{"case": case, **columns} for columns in _case(problem, cell, key)])


def _case(problem: FineTune, cell: dict[str, Any], key: jax.Array) -> Iterator[dict[str, Any]]:
    """The rows of a case; all runs of all seeds begin at one point, where advice is taken."""
    keys = [jax.random.split(jax.random.fold_in(key, i), n) for i, n in enumerate((1, cell["search"], cell["runs"], 2))]
    part = moving(problem, LABELS, key)
    advice = tl.advise(part, key=keys[ADVICE][0], zeroth=("base",), batch_size=8, products=LOOK_AHEAD)
    advised = {label: float(advice.step_sizes[label]) for label in LABELS}
    sweep = lambda rates, stream: _swept(part, rates, keys[stream], cell["epochs"])
    pairs = [{"base": x, "peft": y} for x in GRID["base"] for y in GRID["peft"]]
    found = sweep(pairs, SEARCH)
    level = cell["down"] * float(found.value[0, 0, 0])
    steps = _crossings(found, level, problem.n)
    for pair, taken in zip(pairs, steps, strict=True):
        yield _row("map", exact("steps", taken), pair)
    best = pairs[int(np.argmin(steps))]
    met = sweep([best, advised], EVALUATE)
    at, (first, second) = _steps(met, problem.n), np.nan_to_num(met.value, nan=np.inf)
    yield _row("best", reach.steps(at, first, level), best)
    yield _row("advised", reach.steps(at, second, level), advised, advice.steps)
    yield _row("ratio", reach.ratio(at, second, first, level), advised, 1.0)
    lines = [{**advised, label: advice.limits[label].value * u} for label in LABELS for u in LINE]
    held = sweep(lines, EDGES)
    works = (held.value[..., -1].mean(axis=1) < held.value[0, 0, 0]).reshape(len(LABELS), -1)
    for label, each in zip(LABELS, works, strict=True):
        limit = advice.limits[label].value
        yield _row("limit", edge(limit * LINE, each, 2), advised, limit, label)


def _swept(problem: tl.Problem, rates: list[dict[str, float]], keys: jax.Array, epochs: int) -> Trace:
    grid = {label: [rate[label] for rate in rates] for label in LABELS}
    return tl.sweep(
        problem, _fine_tuning.HYBRID, tl.hybrid_sgd, step_sizes=grid, keys=keys, epochs=epochs, batch_size=8,
        log_epochs=list(range(0, epochs + 1, 2)),
    )  # fmt: skip


def _steps(trace: Trace, n: int) -> np.ndarray:
    return trace.epoch * -(-n // 8)


def _crossings(trace: Trace, level: float, n: int) -> np.ndarray:
    """Steps until the mean over seeds is down at the level; inf where what is not a number comes first, or never."""
    with np.errstate(over="ignore", invalid="ignore"):
        means = np.nan_to_num(trace.value, nan=np.inf).mean(axis=1)
    return reach.crossings(_steps(trace, n), means, level)


def _row(
    what: str, measured: Measurement, rates: dict[str, float], predicted: float = np.nan, label: str = ""
) -> dict[str, Any]:
    at = {f"step_size_{name}": float(rates[name]) for name in LABELS}
    return {"what": what, "label": label, **row(measured), "predicted": float(predicted), **at}


def judge(frame: pd.DataFrame) -> list[Verdict]:
    """Shares of cases within the factors."""
    of = _parts(frame)
    return [
        share("time: advised / best of the grid, at most 1.5", of["ratio"], AIM, least=0.0),
        *(
            share(f"limit of {label}: where training ends / predicted, within a factor 2", rows, AIM, factor=LIMIT)
            for label, rows in of["limit"].groupby("label", sort=False)
        ),
    ]


def _parts(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows by what they are, empty texts as they were before the csv."""
    texts = {name: frame[name].astype(object).where(frame[name].notna(), "") for name in ("label", "note")}
    return {str(what): rows for what, rows in frame.assign(**texts).groupby("what", sort=False)}


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    """Limits, times, and the grid of one case."""
    figure, axes = figures.new_figure(1, 3, width=12.0, height=5.6, width_ratios=(1.0, 1.0, 1.15))
    of = _parts(frame)
    _draw_limits(axes[0, 0], of["limit"])
    _draw_times(axes[0, 1], of["ratio"])
    _draw_grid(axes[0, 2], of)
    figures.title_with_verdicts(figure, "Step sizes for transformers: advice against a grid", verdicts)
    return figure


def _draw_limits(axes: Axes, rows: pd.DataFrame) -> None:
    """Where training ends over the predicted limit, a line per case and block."""
    cases = list(dict.fromkeys(rows.case))
    for j, (label, mine) in enumerate(rows.groupby("label", sort=False)):
        look = figures.look(LOOKS[str(label)])
        places = np.array([len(cases) - cases.index(case) for case in mine.case]) + 0.12 - 0.24 * j
        for place, one in zip(places, mine.itertuples(), strict=True):
            if not np.isfinite(one.value):
                axes.annotate(str(one.note)[:44], (0.032, place), fontsize=6.5, va="center", color=look.colour)
                continue
            axes.plot([one.low / one.predicted, one.high / one.predicted], [place, place], color=look.colour)
            axes.plot(one.value / one.predicted, place, marker=look.marker, color=look.colour, markeredgecolor="white")
        axes.plot([], [], marker=look.marker, color=look.colour, label=f"eta_{label}")
    axes.axvspan(1 / LIMIT, LIMIT, color="0.88", zorder=0, label="factor 2")
    axes.axvline(1.0, color="black", linewidth=1.2, label="predicted limit")
    axes.set_yticks(range(len(cases), 0, -1), cases, fontsize=8)
    axes.set(xscale="log", xlim=(LINE[0], 2 * LINE[-1]), ylim=(0.4, len(cases) + 1.6))
    axes.set(xlabel="step size where training ends / predicted", title="Limits")
    figures.legend(axes, loc="upper left", fontsize=7.5, ncols=2)


def _draw_times(axes: Axes, rows: pd.DataFrame) -> None:
    """A line per case, from top to bottom."""
    look, places = figures.look("hybrid"), np.arange(len(rows))[::-1]
    top = 1.15 * max(2.0, float(rows.value[np.isfinite(rows.value)].to_numpy().max(initial=2.0)))
    for place, one in zip(places, rows.itertuples(), strict=True):
        if np.isfinite(one.value):
            ends = np.clip([one.low, one.high] if np.isfinite(one.low) else [one.value] * 2, 0.02, top)
            axes.plot(ends, [place, place], color=look.colour)
            axes.plot(one.value, place, marker=look.marker, color=look.colour, markeredgecolor="white")
        else:
            words = "never reached" if np.isinf(one.value) else "not measured"
            axes.annotate(words, (top, place), ha="right", va="center", fontsize=8, color=look.colour)
    axes.axvline(1.0, color="black", linewidth=1.2)
    axes.axvline(FACTOR, color="black", linewidth=1.2, linestyle="--")
    axes.set_yticks(places, rows.case, fontsize=8)
    axes.set(xlim=(0.0, top), xlabel="steps to the loss, advised / best of the grid", title="Times (dashed: the aim, 1.5)")
    axes.grid(axis="y", visible=False)


def _draw_grid(axes: Axes, of: dict[str, pd.DataFrame]) -> None:
    """Steps to the loss over eta_peft, a line per eta_base, of the first case; black: the predicted limit and the advice."""
    case = of["map"].case.iloc[0]
    shown, advised = of["map"][of["map"].case == case], of["advised"][of["advised"].case == case].iloc[0]
    sizes = list(dict.fromkeys(shown.step_size_base))
    for i, size in enumerate(sizes):
        rows = shown[shown.step_size_base == size]
        shade = figures.look("zeroth_order").colour
        alpha = 0.3 + 0.7 * i / max(1, len(sizes) - 1)
        axes.plot(
            rows.step_size_peft, rows.value, marker="o", ms=4, color=shade, alpha=alpha, label=f"eta_base = {size:.1e}"
        )
    limit = of["limit"][(of["limit"].case == case) & (of["limit"].label == "peft")].predicted.iloc[0]
    axes.axvline(limit, color="black", linewidth=1.2, label="predicted limit of eta_peft")
    if np.isfinite(advised.value):
        name = f"advised, eta_base = {advised.step_size_base:.1e}"
        axes.plot(advised.step_size_peft, advised.value, marker="*", ms=13, ls="", color="black", label=name)
    axes.set(xscale="log", yscale="log", xlabel="eta_peft", ylabel="steps to the loss (none: not reached)")
    axes.set_title(f"The grid, {case}")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * 30)
    figures.legend(axes, loc="upper left", fontsize=7.5)
