"""The panels of `network_step_sizes` and `transformer_step_sizes`: limits, times, and the grid of a case."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from theory_lab.report import figures

LOOKS = {"base": "zeroth_order", "peft": "first_order", "x": "zeroth_order", "y": "first_order"}
MOST = 10.0  # of an axis of times, in units of the best


def limits(axes: Axes, of: dict[str, pd.DataFrame], tried: np.ndarray, factor: float) -> None:
    """Where training ends over the predicted limit, a line per case and block; arrows where what was tried ends.

    Hollow: where the first epoch ends, if that is among the rows.
    """
    rows = of["limit"]
    cases = list(dict.fromkeys(rows.case))
    ends = tried[0] / 2, 2 * tried[-1]
    for what, shift, face in (("limit", 0.0, None), ("early", -0.1, "white")):
        for j, (label, mine) in enumerate(of[what].groupby("label", sort=False) if what in of else ()):
            look = figures.look(LOOKS[str(label)])
            for one in mine.itertuples():
                place = len(cases) - cases.index(one.case) + 0.16 - 0.24 * j + shift
                if np.isnan(one.value):
                    told: dict[str, Any] = {"fontsize": 7, "ha": "center", "va": "center", "color": look.colour}
                    axes.annotate("no limit predicted" if face is None else "", (1.0, place), **told)
                    continue
                low, high = np.clip([one.low / one.predicted, one.high / one.predicted], *ends)
                axes.plot([low, high], [place, place], color=look.colour, linewidth=1.5 if face is None else 0.8)
                shown = one.value / one.predicted if 0 < one.value < np.inf else low if one.value else high
                marker = look.marker if 0 < one.value < np.inf else ">" if one.value else "<"
                colours: dict[str, Any] = {"color": look.colour, "markeredgecolor": "white" if face is None else look.colour}
                axes.plot(shown, place, marker=marker, markerfacecolor=face or look.colour, **colours)
            if face is None:
                axes.plot([], [], marker=look.marker, color=look.colour, label=f"of eta_{label}")
    if "early" in of:
        axes.plot([], [], marker="o", color="0.4", markerfacecolor="white", label="where its first epoch ends")
    axes.plot([], [], marker=">", color="0.4", linestyle="none", label="beyond what was tried")
    axes.axvspan(1 / factor, factor, color="0.88", zorder=0, label=f"factor {factor:g}")
    axes.axvline(1.0, color="black", linewidth=1.2, label="predicted limit")
    axes.set_yticks(range(len(cases), 0, -1), cases, fontsize=8)
    axes.set(xscale="log", xlim=ends, ylim=(0.4, len(cases) + 0.6), xlabel="step size where training ends / predicted")
    axes.set_title("Limits")
    figures.legend(axes, below=True, fontsize=7.5, ncols=2)


def times(axes: Axes, rows: pd.DataFrame, factor: float) -> None:
    """A line per case, from top to bottom."""
    look, places = figures.look("hybrid"), np.arange(len(rows))[::-1]
    found = rows[["value", "high"]].to_numpy(dtype=float)
    top = 1.1 * float(found[np.isfinite(found)].clip(max=MOST).max(initial=2.0))
    for place, one in zip(places, rows.itertuples(), strict=True):
        if one.value <= top:
            axes.plot(np.clip([one.low, one.high], 0.02, top), [place, place], color=look.colour)
            axes.plot(one.value, place, marker=look.marker, color=look.colour, markeredgecolor="white")
        else:
            beyond = f"{one.value:.3g} >" if np.isfinite(one.value) else "never reached"
            words = "not measured" if np.isnan(one.value) else beyond
            axes.annotate(words, (top, place), ha="right", va="center", fontsize=8, color=look.colour)
    axes.axvline(1.0, color="black", linewidth=1.2, label="equal")
    axes.axvline(factor, color="black", linewidth=1.2, linestyle="--", label=f"the aim, {factor:g}")
    axes.set_yticks(places, rows.case, fontsize=8)
    axes.set(xlim=(0.0, top), ylim=(-0.6, len(rows) - 0.4), xlabel="steps to the loss, advised / best")
    axes.set_title("Times")
    axes.grid(axis="y", visible=False)
    figures.legend(axes, below=True, fontsize=7.5)


def grid(figure: Figure, axes: Axes, of: dict[str, pd.DataFrame], labels: tuple[str, str]) -> None:
    """Steps to the loss over both step sizes, of the first case; white: not reached."""
    along, up = (f"step_size_{label}" for label in labels)
    case = of["map"].case.iloc[0]
    mine = {what: rows[rows.case == case] for what, rows in of.items()}
    table = mine["map"].pivot(index=up, columns=along, values="value")
    steps = np.ma.masked_invalid(table.to_numpy())
    norm = LogNorm(steps.min(), steps.max()) if steps.count() else None
    mesh = axes.pcolormesh(_edges(table.columns), _edges(table.index), steps, norm=norm, cmap=figures.SEQUENTIAL)
    figure.colorbar(mesh, ax=axes, pad=0.02, aspect=30).set_label("steps to the loss, few seeds (white: not reached)")
    for what, marker, colour in (("best", "s", "white"), ("advised", "D", figures.look("hybrid").colour)):
        at = mine[what].iloc[0]
        axes.plot(
            at[along], at[up], marker, color=colour, markeredgecolor="black", markersize=8, zorder=5,
            linestyle="none", label="chosen as best" if what == "best" else what,
        )  # fmt: skip
    lines = dict(zip(labels, (axes.axvline, axes.axhline), strict=True))
    for one in mine["limit"][np.isfinite(mine["limit"].predicted)].itertuples():
        lines[one.label](one.predicted, color="black", linewidth=1.6, label="predicted limits")
    axes.set(xscale="log", yscale="log", xlabel=f"eta_{labels[0]}", ylabel=f"eta_{labels[1]}", title=f"The grid, {case}")
    axes.grid(False)
    figures.legend(axes, below=True, fontsize=7.5)


def _edges(sizes: pd.Index) -> np.ndarray:
    """Of the cells around step sizes in a geometric progression."""
    x = sizes.to_numpy()
    return np.append(x, x[-1] * x[1] / x[0]) * np.sqrt(x[0] / x[1])
