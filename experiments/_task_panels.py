"""The picture of `table1_tasks`: a panel per task, a line per method."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from theory_lab.claims import Verdict
from theory_lab.measure.accuracy import accuracy
from theory_lab.report import figures

LOOKS = {"FO": figures.look("first_order"), "ZO": figures.look("zeroth_order"), "Hybrid": figures.look("hybrid")}
SHIFTS = {"steps": -0.14, "forwards": 0.14}  # of the lines, by budget
LINES = {"majority": ":", "zero-shot": "--"}
GREY = "#5a5a5a"

Table = Mapping[tuple[str, str], np.ndarray]  # right or wrong, by task and method


def figure(
    tables: Mapping[str, Table],
    tasks: Sequence[str],
    methods: Sequence[str],
    stars: Mapping[str, Sequence[tuple[str, str]]],
    verdicts: list[Verdict],
) -> Figure:
    """Accuracies with exact 95% intervals.

    Args:
        tables: by budget, "steps" (filled) and "forwards" (hollow); "steps" holds the baselines too.
        tasks, methods: the panels and the lines, in order.
        stars: by budget, the pairs of task and method that differ from their twin by more than chance.
        verdicts: for the title.
    """
    found, axes = figures.new_figure(1, len(tasks), width=11, height=0.42 * len(methods) + 2.6, sharey=True)
    for panel, task in zip(axes[0], tasks, strict=True):
        for budget, table in tables.items():
            for place, method in enumerate(methods):
                if (task, method) in table:
                    star = (task, method) in stars[budget]
                    _dot(panel, place + SHIFTS[budget], table[task, method], method, budget, star)
        for name, line in LINES.items():
            panel.axvline(tables["steps"][task, name].mean(), color=GREY, linestyle=line, linewidth=1.3, label=name)
        panel.set(title=task.replace("_", " "), xlabel="share of right answers", xlim=(0.25, 1.04))
    axes[0, 0].set_yticks(range(len(methods)), methods)
    axes[0, 0].set(ylim=(len(methods) - 0.4, -0.6))
    entries = {label: handle for panel in axes[0] for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    found.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=4, fontsize=9)
    title = "Fine-tuning by task and method (star: unlike its first-order twin by more than chance)"
    figures.title_with_verdicts(found, title, verdicts)
    return found


def _dot(axes: Axes, place: float, right: np.ndarray, method: str, budget: str, star: bool) -> None:
    share, look = accuracy(right, confidence=0.95), LOOKS[method.partition("-")[0]]
    words = "equal steps" if budget == "steps" else "equal forward passes"
    axes.errorbar(
        [share.value], [place], xerr=[[share.value - share.low], [share.high - share.value]], fmt=look.marker,
        color=look.colour, elinewidth=1.1, markersize=5, label=f"{look.label}, {words}", zorder=4,
        markerfacecolor=look.colour if budget == "steps" else "white",
    )  # fmt: skip
    if star:
        axes.annotate(
            "*", (share.high, place), xytext=(5, -4), textcoords="offset points", fontsize=13, ha="center", va="center"
        )
