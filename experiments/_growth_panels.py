"""The panels of `growth_functions`."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments._clouds import FAMILIES
from theory_lab.report import figures

SHOWN = {  # their l, and colours
    "power 4": (lambda u: 3 * u ** (2 / 3), "#0072B2"),
    "exponential": (lambda u: 1 + u, "#009E73"),
    "x + 1/x": (lambda u: 2 * (1 + u) ** 1.5, "#DDAA33"),
    "x − log x": (lambda u: (1 + u) ** 2, "#D55E00"),
    "x − 2√x": (lambda u: (1 + u) ** 3 / 2, "#882255"),
}
LABELS = {"steep": "adapter, steep", "scale": "adapter, scale"}
RUNS = {"far": ("#009E73", "^", "from far out"), "fresh": ("#D55E00", "o", "from B = 0")}
KINDS = {
    "least steps": ("#D55E00", "s"),
    "steps ahead": ("#DDAA33", "v"),
    "L0 + L1 u^p": ("#332288", "D"),
    "inflated": ("#009E73", "o"),
}  # of envelopes
CLOUDS = {"cosh and exponential": "cosh, exp", "curve": "one curve", "adapter": "adapter", "logistic": "logistic"}


def named(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    return rows[rows["name"] == name]


def families(axes: Axes, pairs: pd.DataFrame) -> None:
    for name, (law, colour) in SHOWN.items():
        mine = named(pairs, name)
        figures.points(axes, mine.u, mine.value, like=figures.Look(colour, "o", "-", f"{name}: p = {FAMILIES[name][2]:.3g}"))
        u = np.geomspace(1e-2 if FAMILIES[name][3] == 0 else 100, 1e6, 60)
        figures.theory_line(axes, u, law(u), label="known l(u)")
    steep = named(pairs, "steep")
    figures.points(axes, steep.u, steep.value, like=figures.Look("#56B4E9", "D", "-", LABELS["steep"] + ": p = 2"))
    axes.set(xscale="log", yscale="log", xlim=(1e-2, 1e6), ylim=(1e-1, 1e13), title="curvature against gradient",
             xlabel="gradient norm |∇f|", ylabel="curvature ‖H‖")  # fmt: skip
    figures.legend(axes, fontsize=8.5, loc="upper left")


def powers(axes: Axes, rows: pd.DataFrame) -> None:
    rows = rows.iloc[::-1]
    at = np.arange(len(rows))
    axes.axvspan(-0.05, 0.05, color="#eeeeee", zorder=0)
    axes.axvline(0, color="black", linewidth=1.2)
    bars = [rows.value - rows.low, rows.high - rows.value]
    axes.errorbar(rows.value - rows.predicted, at, xerr=bars, fmt="o", color="#0072B2", markeredgecolor="white", zorder=4)
    axes.set_yticks(
        at,
        [f"{LABELS.get(name, name)}: {p:.3g}" for name, p in zip(rows["name"], rows.predicted, strict=True)],
        fontsize=8.5,
    )
    axes.set(xlim=(-0.08, 0.08), title="exponent of the envelope, and the known one", xlabel="p of the envelope − known p")


def further(axes: Axes, rows: pd.DataFrame) -> None:
    rows = rows[rows.pairs == rows.pairs.max()]
    clouds = [cloud for cloud in CLOUDS if cloud in set(rows["name"])]
    for k, name in enumerate(KINDS):
        colour, marker = KINDS[name]
        at = np.arange(len(clouds)) + 0.16 * (k - 1.5)
        mine = rows[rows.quantity == f"violations {name}"].set_index("name").loc[clouds]
        figures.points(axes, at, mine.value, mine.low, mine.high, like=figures.Look(colour, marker, "-", name))
        counted = rows[rows.quantity == f"needed {name}"].set_index("name").value.reindex(clouds, fill_value=1)
        for x, value in zip(at, counted, strict=True):
            figures.theory_line(axes, [x - 0.07, x + 0.07], [value, value], label="pairs needed, k")
    m = int(rows.pairs.iloc[0])
    axes.set_xticks(range(len(clouds)), [CLOUDS[cloud] for cloud in clouds])
    axes.set(
        yscale="log", ylim=(0.6, 8 * m), title=f"a further pair above the envelope of m = {m}", ylabel="(m + 1) × chance"
    )
    figures.legend(axes, loc="upper left", fontsize=8.5, ncols=2)


def training(axes: Axes, pairs: pd.DataFrame) -> None:
    for name, (colour, marker, words) in RUNS.items():
        mine = named(pairs, name)
        start = mine.iloc[0]
        few = mine[::2]
        figures.points(axes, few.u / start.u, few.value / start.value, like=figures.Look(colour, marker, "-", words))
        axes.plot(mine.u / start.u, mine.predicted / start.value, "--", color=colour, label="envelope of its first half")
    axes.set(title="matrix factorisation along training (right to left)", xlabel="gradient norm / at the start",
             ylabel="curvature of the adapter ‖H_yy‖ / at the start", ylim=(0, None))  # fmt: skip
    figures.legend(axes, fontsize=8.5)
