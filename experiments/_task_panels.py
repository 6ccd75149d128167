"""The pictures of `table1_tasks` and `figure3_full_finetuning`: a panel per base and task, a line per method."""

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

At = tuple[str, str, str]  # base, task and method
Table = Mapping[At, np.ndarray]  # right or wrong


def figure(
    tables: Mapping[str, Table],
    tasks: Sequence[str],
    methods: Sequence[str],
    stars: Mapping[str, Sequence[At]],
    verdicts: list[Verdict],
    *,
    rows: Sequence[str],
    title: str,
    star: str,
) -> Figure:
    """Accuracies with exact 95% intervals.

    Args:
        tables: by budget, "steps" (filled) and "forwards" (hollow); "steps" holds the baselines too.
        tasks, methods, rows: the panels of a row, their lines, and the bases, in order.
        stars: by budget, what is marked.
        verdicts, title: for the title.
        star: what a star says; for the title where one is drawn.
    """
    height = (0.42 * len(methods) + 1.1) * len(rows) + 1.5
    found, axes = figures.new_figure(len(rows), len(tasks), width=11, height=height, sharey=True, sharex=True)
    for base, row in zip(rows, axes, strict=True):
        for task, panel in zip(tasks, row, strict=True):
            _panel(panel, base, task, tables, methods, stars)
        if len(rows) > 1:
            row[0].set_ylabel(base)
    for panel, task in zip(axes[0], tasks, strict=True):
        panel.set_title(task.replace("_", " "))
    for panel in axes[-1]:
        panel.set_xlabel("right answers")
    axes[0, 0].set_yticks(range(len(methods)), methods)
    axes[0, 0].set(ylim=(len(methods) - 0.4, -0.6), xlim=(0.25, 1.04))
    panels = [panel for row in axes for panel in row]
    entries = {label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    found.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=4, fontsize=9)
    drawn = any(panel.texts for panel in panels)
    figures.title_with_verdicts(found, f"{title} (star: {star})" if drawn else title, verdicts)
    return found


def _panel(
    axes: Axes, base: str, task: str, tables: Mapping[str, Table], methods: Sequence[str], stars: Mapping[str, Sequence[At]]
) -> None:
    for budget, table in tables.items():
        for place, method in enumerate(methods):
            at = (base, task, method)
            if at in table:
                _dot(axes, place + SHIFTS[budget], table[at], method, budget, at in stars[budget])
    for name, line in LINES.items():
        axes.axvline(tables["steps"][base, task, name].mean(), color=GREY, linestyle=line, linewidth=1.3, label=name)


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
