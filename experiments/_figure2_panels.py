"""The panels of `figure2_learning_rates`."""

from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from theory_lab.measure import Measurement
from theory_lab.report import figures
from theory_lab.report.figures import Look

LINES = {"base": Look("#882255", "s", "-", "base alone"), "peft": Look("#332288", "D", "-", "adapter alone")}


def curve(axes: Axes, rows: pd.DataFrame, like: Look) -> None:
    """Losses along the epochs, median and range over seeds."""
    runs = rows.assign(value=rows.value.fillna(np.inf).clip(upper=1e9)).groupby("epoch").value
    figures.band(axes, runs.median().index, runs.median(), runs.min(), runs.max(), like=like)


def lines(axes: Axes, rows: pd.DataFrame, predicted: Mapping[str, float], found: Mapping[str, Measurement]) -> None:
    """End over start against the step of one block in units of its predicted limit; the measured limits as bands."""
    for block, like in LINES.items():
        own, unit = rows[rows.kind == block], predicted[block]
        ratios = (own.value / own.low).fillna(np.inf).clip(upper=1e3).groupby(own[f"step_{block}"])
        figures.band(axes, ratios.median().index / unit, ratios.median(), ratios.min(), ratios.max(), like=like)
        if np.isfinite([found[block].low, found[block].high]).all():
            axes.axvspan(found[block].low / unit, found[block].high / unit, color=like.colour, alpha=0.13, lw=0)
    bound = predicted["rank one"] / predicted["base"]
    figures.theory_line(axes, [1, 1], [1e-2, 1e3], label="predicted limit")
    figures.theory_line(axes, [bound, bound], [1e-2, 1e3], label="base: 2/(3‖H‖)", line="--")
    axes.set(xscale="log", yscale="log", xlabel="step size / predicted limit", ylabel="end loss / start, median and range",
             ylim=(0.05, 500), title="one block alone; bands: its limit")  # fmt: skip
    figures.legend(axes, loc="upper left", fontsize=8)


def rates(
    figure: Figure, axes: Axes, rows: pd.DataFrame, predicted: Mapping[str, float], found: Mapping[str, Measurement]
) -> None:
    """The loss at the end over both rates; crosses where most runs diverged, limits predicted and measured."""
    cells = rows.assign(ratio=(rows.value / rows.low).fillna(np.inf)).groupby(["step_peft", "step_base"])
    table, gone = cells.ratio.median().unstack(), cells.gone.mean()
    colours = matplotlib.colormaps[figures.DIVERGING]
    mesh = axes.pcolormesh(
        table.columns, table.index, table.clip(0.1, 10), norm=LogNorm(0.1, 10), shading="nearest", cmap=colours
    )
    figure.colorbar(mesh, ax=axes, extend="both", label="end loss / start")
    crosses = gone[gone > 0.5].reset_index()
    axes.scatter(crosses.step_base, crosses.step_peft, marker="x", color="0.25", s=14, lw=0.9)
    axes.axvline(predicted["base"], color="black", lw=2)
    axes.axvline(predicted["rank one"], color="black", lw=1.4, ls="--")
    axes.axhline(predicted["peft"], color="black", lw=2)
    for block, span in (("base", axes.axvspan), ("peft", axes.axhspan)):
        if np.isfinite([found[block].low, found[block].high]).all():
            span(found[block].low, found[block].high, facecolor="none", edgecolor=LINES[block].colour, hatch="//", lw=0)
    axes.set(xscale="log", yscale="log", xlabel=r"$\eta_{base}$", ylabel=r"$\eta_{peft}$",
             title="×: diverged; black: predicted; hatched: limit")  # fmt: skip
