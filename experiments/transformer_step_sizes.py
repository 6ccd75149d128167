"""Are the step sizes that `advise` names for a transformer as good as a grid's best, and its limits where training ends?

The method is Hybrid-PEFT: the base by two values of the loss, the adapter by its gradient, minibatches under random
reshuffling, for LoRA, prefix and prompt on two architectures. Advice is what `python -m theory_lab.finetune --advise` asks
for: from curvature where training starts, on the same examples, with the length of the run as its horizon.

- Times: steps until the mean loss over seeds is 0.7 of what it was. Of a grid that was fixed beforehand,
  eta_base by factors 8 and eta_peft by factors 2, the ten earliest pairs on two seeds run on those of the advised pair; best
  is the earliest there, which favours it. Starts and runs have keys of their own, whatever the seed.
- Limits: the largest step size of one block, the other's as advised, with which training ends lower than it began, in the
  mean over seeds; it and its neighbour on a grid by factors 2 are the interval.

Aims: limits within a factor 2, times within a factor 1.5. The six cases are all there are, a census and no sample.

Found so far, with LoRA and prefix on tiny-opt (the other four cases have not been run to the end): the base's limit is met;
with adapters at 8 times theirs, the end of the line, training still ends lower than it began; the advised pair takes 1.8 and
2.0 times the steps of the best, with intervals across 1.5.

Quick: one case. Minutes: quick 1, full 5 (two cells at once).
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
from experiments._rows import row
from experiments._shares import FACTOR, share
from theory_lab.claims import Verdict
from theory_lab.finetune.moving import moving
from theory_lab.measure import Measurement, exact, reach
from theory_lab.measure.base import unmeasured
from theory_lab.report import figures
from theory_lab.run.trace import Trace

AIM = "design aim: limits within a factor 2 and times within a factor 1.5"
LIMIT = 2.0
LABELS = ("base", "peft")
GRID = {"base": 1e-7 * 8.0 ** np.arange(6), "peft": 2.0 ** np.arange(-8, 2)}
LINE = 2.0 ** np.arange(-5, 4)  # step sizes in units of a predicted limit
LOOK_AHEAD = 50  # products
CONFIDENCE = 0.9  # of an interval from so few seeds
ADVICE, SEARCH, RUNS = range(3)
OUTLIVES = "beyond an adapter's mean-square limit training goes astray and may yet end lower than it began"
EXPECTED: dict[str, dict[str, Any]] = {"base": {}, "peft": {"expected": "fails", "why": OUTLIVES}}
LOOKS = {"base": "zeroth_order", "peft": "first_order"}


@dataclass(frozen=True)
class Settings:
    """How much of it.

    Attributes:
        bases: names or folders.
        adapters: kinds.
        task: of the generated language.
        train, batch_size: examples.
        epochs: of a run.
        down: share of the starting loss that is to be reached.
        runs: seeds of what is compared.
    """

    bases: tuple[str, ...]
    adapters: tuple[str, ...]
    task: str = "sentiment"
    train: int = 8
    batch_size: int = 4
    epochs: int = 24
    down: float = 0.7
    runs: int = 4


QUICK = Settings(("tiny-opt",), ("lora",))
FULL = Settings(("tiny-opt", "tiny-llama"), ("lora", "prefix", "prompt"))


def cells(settings: Settings) -> list[dict[str, Any]]:
    """A base with an adapter each: its advice, and its grid."""
    s = settings
    effort = {
        "task": s.task,
        "train": s.train,
        "batch_size": s.batch_size,
        "epochs": s.epochs,
        "down": s.down,
        "runs": s.runs,
    }
    return [
        {"base": base, "adapter": adapter, "part": part, **effort}
        for base in s.bases
        for adapter in s.adapters
        for part in ("advice", "grid")
    ]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """The rows of a part of a case; all runs of both parts and of all seeds begin at one point, where advice is taken."""
    adapter = _fine_tuning.ADAPTERS[cell["adapter"]]
    whole = _fine_tuning.setting(cell["base"], cell["task"], adapter, train=cell["train"], dev=2, test=2).problem
    problem = moving(whole, LABELS, jax.random.key(0))
    case = {"case": f"{cell['base'].removeprefix('tiny-')} {cell['adapter']}", "down": cell["down"]}
    part = _advice if cell["part"] == "advice" else _grid
    return pd.DataFrame([{**case, **columns} for columns in part(problem, cell, key)])


def _advice(problem: tl.Problem, cell: dict[str, Any], key: jax.Array) -> Iterator[dict[str, Any]]:
    """The advised pair in runs, and where training ends along both step sizes."""
    horizon = cell["epochs"] * -(-problem.n // cell["batch_size"])
    advice = tl.advise(
        problem, key=jax.random.fold_in(key, ADVICE), zeroth=("base",), batch_size=cell["batch_size"], products=LOOK_AHEAD,
        horizon=horizon,
    )  # fmt: skip
    advised = {label: float(advice.step_sizes[label]) for label in LABELS}
    limits = {label: advice.limits[label].value for label in LABELS}
    lines = [{**advised, label: limit * u} for label, limit in limits.items() if np.isfinite(limit) for u in LINE]
    trace = _swept(problem, [advised, *lines], cell, jax.random.split(jax.random.key(RUNS), cell["runs"]))
    yield from _runs("advised", trace.value[0], advised, _steps(trace, horizon))
    works = iter(np.split(_means(trace.value)[1:, -1] < trace.value[0, 0, 0], len(lines) // len(LINE)) if lines else ())
    for label, limit in limits.items():
        found = largest(limit * LINE, next(works), cell["runs"]) if np.isfinite(limit) else unmeasured("", 0, "no limit")
        yield _row("limit", found, advised, limit, label)


def _grid(problem: tl.Problem, cell: dict[str, Any], key: jax.Array) -> Iterator[dict[str, Any]]:
    """The steps of every pair of the grid, and the best one in runs."""
    horizon = cell["epochs"] * -(-problem.n // cell["batch_size"])
    rows = [[{"base": float(x), "peft": float(y)} for y in GRID["peft"]] for x in GRID["base"]]  # a program for a row
    searched = [_swept(problem, pairs, cell, jax.random.split(jax.random.fold_in(key, SEARCH))) for pairs in rows]
    at, level = _steps(searched[0], horizon), cell["down"] * float(searched[0].value[0, 0, 0])
    taken = np.stack([reach.crossings(at, _means(found.value), level) for found in searched])
    for pairs, steps in zip(rows, taken, strict=True):
        yield from (_row("map", exact("steps", each), pair) for pair, each in zip(pairs, steps, strict=True))
    pairs = [pair for row in rows for pair in row]
    first = [pairs[i] for i in np.argsort(taken, axis=None, kind="stable")[: len(rows[0])]]
    keys = jax.random.split(jax.random.key(RUNS), cell["runs"])
    again = [_swept(problem, first, cell, some) for some in (keys[: len(keys) // 2], keys[len(keys) // 2 :])]
    values = np.concatenate([found.value for found in again], axis=1)
    best = int(np.argmin(reach.crossings(at, _means(values), level)))
    yield from _runs("best", values[best], first[best], at)


def _swept(problem: tl.Problem, rates: list[dict[str, float]], cell: dict[str, Any], keys: jax.Array) -> Trace:
    grid = {label: [rate[label] for rate in rates] for label in LABELS}
    return tl.sweep(
        problem, _fine_tuning.HYBRID, tl.hybrid_sgd, step_sizes=grid, keys=keys, epochs=cell["epochs"],
        batch_size=cell["batch_size"], log_epochs=list(range(0, cell["epochs"] + 1, 2)),
    )  # fmt: skip


def _steps(trace: Trace, last: int) -> np.ndarray:
    return trace.epoch * last / trace.epoch[-1]


def _means(values: np.ndarray) -> np.ndarray:
    """The loss in the mean over seeds, (G, E); inf where it is no number."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.nan_to_num(values, nan=np.inf).mean(axis=1)


def _runs(what: str, values: np.ndarray, rates: dict[str, float], at: np.ndarray) -> Iterator[dict[str, Any]]:
    """The losses of one pair, (S, E), seed by seed."""
    for seed, losses in enumerate(np.nan_to_num(values, nan=np.inf)):
        for step, loss in zip(at, losses, strict=True):
            yield {**_row(what, exact("loss", loss), rates), "seed": seed, "step": step}


def _row(
    what: str, measured: Measurement, rates: dict[str, float], predicted: float = np.nan, label: str = ""
) -> dict[str, Any]:
    at = {f"step_size_{name}": float(rates[name]) for name in LABELS}
    return {"what": what, "label": label, **row(measured), "predicted": float(predicted), **at, "seed": 0, "step": 0.0}


def largest(sizes: np.ndarray, works: np.ndarray, seeds: int) -> Measurement:
    """Between the largest step size that works and the next one, which does not."""
    if works[-1]:
        return Measurement("limit", np.inf, float(sizes[-1]), np.inf, seeds, f"training works up to {sizes[-1]:.3g}")
    if not works.any():
        return Measurement("limit", 0.0, 0.0, float(sizes[0]), seeds, f"nothing works from {sizes[0]:.3g} on")
    last = int(np.flatnonzero(works)[-1])
    low, high = float(sizes[last]), float(sizes[last + 1])
    return Measurement("limit", float(np.sqrt(low * high)), low, high, seeds)


def judge(frame: pd.DataFrame) -> list[Verdict]:
    """Shares of cases within the factors."""
    limits = _parts(frame)["limit"]
    return [
        share("time: advised / best of the grid, at most 1.5", times(frame), AIM, least=0.0),
        *(
            share(
                f"limit of {label}: where training ends / predicted, within a factor 2",
                rows,
                AIM,
                factor=LIMIT,
                **EXPECTED[str(label)],
            )
            for label, rows in limits.groupby("label", sort=False)
        ),
    ]


def times(frame: pd.DataFrame) -> pd.DataFrame:
    """Steps to the loss, advised over best, by case; steps: of the advised."""
    of = _parts(frame)
    rows = []
    for case, runs in of["advised"].groupby("case", sort=False):
        pair = [
            one.pivot(index="seed", columns="step", values="value") for one in (runs, of["best"][of["best"].case == case])
        ]
        at, (advised, best) = pair[0].columns.to_numpy(), (one.to_numpy() for one in pair)
        level = float(runs.down.iloc[0]) * float(best[0, 0])
        found = reach.ratio(at, advised, best, level, confidence=CONFIDENCE)
        alone = reach.steps(at, advised, level, confidence=CONFIDENCE)
        rows.append({"case": case, "label": "", "predicted": 1.0, "steps": alone.value, **row(found)})
    return pd.DataFrame(rows)


def _parts(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows by what they are, empty texts as they were before the csv."""
    texts = {name: frame[name].astype(object).where(frame[name].notna(), "") for name in ("label", "note")}
    return {str(what): rows for what, rows in frame.assign(**texts).groupby("what", sort=False)}


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    """Limits, times, and the grid of one case."""
    figure, axes = figures.new_figure(1, 3, width=12.0, height=5.6, width_ratios=(1.0, 1.0, 1.15))
    of, taken = _parts(frame), times(frame)
    _draw_limits(axes[0, 0], of["limit"])
    _draw_times(axes[0, 1], taken)
    _draw_grid(axes[0, 2], of, float(taken.steps.iloc[0]))
    figures.title_with_verdicts(figure, "Step sizes for transformers: advice against a grid", verdicts)
    return figure


def _draw_limits(axes: Axes, rows: pd.DataFrame) -> None:
    """Where training ends over the predicted limit, a line per case and block."""
    cases = list(dict.fromkeys(rows.case))
    for j, (label, mine) in enumerate(rows.groupby("label", sort=False)):
        look = figures.look(LOOKS[str(label)])
        places = np.array([len(cases) - cases.index(case) for case in mine.case]) + 0.12 - 0.24 * j
        for place, one in zip(places, mine.itertuples(), strict=True):
            if not 0 < one.value < np.inf:
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


def _draw_grid(axes: Axes, of: dict[str, pd.DataFrame], steps: float) -> None:
    """Steps to the loss over eta_peft, a line per eta_base, of the first case; black: the predicted limit and the advice."""
    case = of["advised"].case.iloc[0]
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
    if np.isfinite(steps):
        name = f"advised, eta_base = {advised.step_size_base:.1e}"
        axes.plot(advised.step_size_peft, steps, marker="*", ms=13, ls="", color="black", label=name)
    axes.set(xscale="log", yscale="log", xlabel="eta_peft", ylabel="steps to the loss (none: not reached)")
    axes.set_title(f"The grid, {case}")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low))
    figures.legend(axes, loc="upper left", fontsize=7.5)
