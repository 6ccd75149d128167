"""The panels of `figure1_smoothness`."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from theory_lab.report import figures
from theory_lab.report.figures import Look

BLOCKS = {"base": Look("#882255", "s", "-", "base"), "peft": Look("#332288", "D", "-", "adapter")}
ADAPTERS = {"lora": Look("#332288", "D", "-", "LoRA"), "prefix": Look("#D55E00", "P", "-", "prefix"),
            "prompt": Look("#009E73", "^", "-", "prompt")}  # fmt: skip


def _gradient_norms(axes: Axes) -> None:
    figures.log_x(axes)
    axes.set_xlabel("gradient norm u")


def growth(axes: Axes, frame: pd.DataFrame) -> None:
    """Both blocks along the runs of the first setting, and their power fits."""
    rows = frame[(frame.what == "curvature") & frame.gradient.notna()]
    first = rows.iloc[0]
    own = frame[(frame.base == first.base) & (frame.task == first.task) & (frame.adapter == first.adapter)]
    along = own[own.what == "curvature"]
    for block, like in BLOCKS.items():
        seen = along[along.block == block]
        figures.points(axes, seen.gradient, seen.value, seen.low, seen.high, like=like)
        for _, fit in own[(own.what == "power") & (own.block == block) & own.factor.notna()].iterrows():
            u = np.geomspace(seen.gradient.min(), seen.gradient.max(), 60)
            middle = np.exp(np.log(seen.gradient).mean())
            level = fit.factor * middle**fit.value
            bounds = np.array([[(v / middle) ** fit[end] for v in u] for end in ("low", "high")]) * level
            words = f"u^{fit.value:.2g}, p in [{fit.low:.2g}, {fit.high:.2g}]"
            axes.plot(u, level * (u / middle) ** fit.value, color=like.colour, lw=1.2, ls="--", label=words)
            axes.fill_between(u, bounds.min(axis=0), bounds.max(axis=0), color=like.colour, alpha=0.12, lw=0)
    base = along[along.block == "base"].sort_values("gradient")
    u = np.array([base.gradient.min(), base.gradient.max()])
    figures.theory_line(axes, u, base.value.iloc[-1] * u / u[1], label="linear: the paper's sentence", line=":")
    axes.set(yscale="log", ylabel="‖H‖ of the block",
             title=f"along fine-tuning ({first.base}, {first.adapter})")  # fmt: skip
    _gradient_norms(axes)
    axes.set_ylim(along.value.min() / 30, 2 * along.value.max())
    figures.legend(axes, loc="lower left", ncols=2, fontsize=7.5)


def adapters(axes: Axes, frame: pd.DataFrame) -> None:
    """Base and adapter of every setting, fresh (hollow) and at the end of the first run (full)."""
    rows = frame[(frame.what == "curvature") & (frame.run == 0)]
    names = []
    for i, (name, run) in enumerate(rows.groupby(["base", "task", "adapter"], sort=False)):
        names.append(f"{name[2]}\n{name[0].removeprefix('tiny-')}, {name[1]}")
        for block, like in BLOCKS.items():
            own = run[run.block == block].sort_values("epoch")
            for j, (which, hollow) in enumerate(((0, True), (-1, False))):
                if j == 1 and len(own) == 1:
                    continue
                at = own.iloc[which]
                words = f"{like.label}, {'trained' if j else 'fresh'}"
                figures.points(
                    axes, i + 0.16 * (2 * j - 1), at.value, at.low, at.high, like=like, label=words, hollow=hollow
                )
    axes.set_xticks(range(len(names)), names, fontsize=7 if len(names) > 3 else 8.5, rotation=20, ha="right")
    axes.set(yscale="log", ylabel="‖H‖ of the block", title="base against adapter", xlim=(-0.6, len(names) - 0.4))
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.35)
    figures.legend(axes, loc="upper center", ncols=2, fontsize=7.5)


def modules(axes: Axes, frame: pd.DataFrame) -> None:
    """The norm of every module of the first base, with its interval."""
    rows = frame[frame.what == "module"]
    rows = rows[(rows.base == rows.base.iloc[0]) & (rows.task == rows.task.iloc[0])].sort_values("value")
    spans = [rows.value - rows.low, rows.high - rows.value]
    axes.barh(range(len(rows)), rows.value, xerr=spans, color=BLOCKS["base"].colour, alpha=0.75, ecolor="0.3")
    names = [name.removesuffix("/weight") for name in rows.block]
    axes.set_yticks(range(len(rows)), names, fontsize=7.5)
    axes.set(xscale="log", xlabel=r"$\Vert H_{mm}\Vert$ of the module", title=f"modules of {rows.base.iloc[0]}")
    axes.set_xlim(rows.value.min() / 2, None)


def held_out(axes: Axes, frame: pd.DataFrame) -> None:
    """|D^(-1/2) H D^(-1/2)| with the functions of the first run, along the second."""
    rows = frame[frame.what == "held out"]
    marks = "oPsXvD<>^"
    for i, (name, run) in enumerate(rows.groupby(["base", "task", "adapter"], sort=False)):
        colour = ADAPTERS[name[2]].colour
        like = Look(colour, marks[i % len(marks)], "-", f"{name[2]}, {name[0].removeprefix('tiny-')}, {name[1]}")
        figures.points(axes, run.gradient, run.value, run.low, run.high, like=like)
    ends = np.array([rows.gradient.min(), rows.gradient.max()]) if len(rows) else np.array([0.1, 1.0])
    figures.theory_line(axes, ends, np.ones(2), label="hybrid smoothness: at most 1", line="--")
    axes.set(ylabel=r"$\Vert D^{-1/2} H D^{-1/2}\Vert$", ylim=(0, None),
             title=r"$(l_x, l_y)$ of one run, on another")  # fmt: skip
    _gradient_norms(axes)
    low, high = axes.get_ylim()
    axes.set_ylim(low, 1.35 * high)
    figures.legend(axes, loc="upper left", fontsize=7.5)
