"""The picture of `table3_adam`: rates, their ratio, accuracy and memory against the rank."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from theory_lab.claims import Verdict
from theory_lab.measure import Measurement
from theory_lab.report import figures

LOOKS = {
    "sgd": figures.Look("#332288", "D", "-", "SGD"),
    "adam": figures.Look("#D55E00", "s", "-", "Adam"),
}
TITLES = {"peft": "best step size of the adapter", "ratio": "best eta_peft / eta_base"}
KINDS = {"Hybrid": "hybrid", "FO": "FO-LoRA"}

ByRank = Sequence[tuple[int, Measurement]]


def figure(
    steps: Mapping[str, Mapping[str, ByRank]],
    shares: Mapping[tuple[str, int, str], Measurement],
    memory: pd.DataFrame,
    verdicts: list[Verdict],
) -> Figure:
    """Four panels.

    Args:
        steps: best step sizes and ratios, by column and optimizer.
        shares: accuracies, by optimizer, rank and method.
        memory: the rows "memory" and "adapter".
        verdicts: for the title.
    """
    found, axes = figures.new_figure(1, 4, width=13, height=4.9)
    for panel, (column, by_optimizer) in zip(axes[0], steps.items(), strict=False):
        _steps(panel, by_optimizer, TITLES[column])
    _accuracy(axes[0, 2], shares)
    _memory(axes[0, 3], memory)
    for panel in axes[0]:
        panel.set_xlabel("rank r")
        figures.legend(panel, below=True, ncols=2, fontsize=8)
    title = "Hybrid-LoRA with SGD or Adam on the adapter, by rank (scaling 2, 95% intervals)"
    figures.title_with_verdicts(found, title, verdicts)
    return found


def _steps(axes: Axes, by_optimizer: Mapping[str, ByRank], title: str) -> None:
    for name, found in by_optimizer.items():
        ranks = np.array([rank for rank, _ in found], float)
        value, low, high = np.array([[m.value, m.low, m.high] for _, m in found]).T
        figures.points(axes, ranks, value, low, high, like=LOOKS[name])
    figures.log_log(axes, ranks)
    known = [(rank, m.value) for found in by_optimizer.values() for rank, m in found if np.isfinite(m.value)]
    if known:
        level = np.exp(
            np.mean([np.log(rank * value) for rank, value in known])
        )  # amid both optimizers: the slope is claimed
        figures.theory_line(axes, ranks, level / ranks, label="like 1/r")
        values = [value for _, value in known]
        axes.set_ylim(min(values) / 10, max(values) * 10)
    axes.set_title(title)


def _accuracy(axes: Axes, shares: Mapping[tuple[str, int, str], Measurement]) -> None:
    places = {("sgd", "Hybrid"): 0.82, ("sgd", "FO"): 0.94, ("adam", "Hybrid"): 1.07, ("adam", "FO"): 1.22}
    for (name, kind), place in places.items():
        found = [(rank, share) for (n, rank, k), share in shares.items() if (n, k) == (name, kind)]
        value, low, high = np.array([[share.value, share.low, share.high] for _, share in found]).T
        label = f"{LOOKS[name].label}, {KINDS[kind]}"
        ranks = [rank * place for rank, _ in found]
        figures.points(axes, ranks, value, low, high, like=LOOKS[name], label=label, hollow=kind == "FO")
    figures.log_log(axes, {rank for _, rank, _ in shares})
    axes.set(yscale="linear", title="share of right answers")


def _memory(axes: Axes, rows: pd.DataFrame) -> None:
    size = rows[rows.what == "adapter"].set_index("rank").value / 1e6
    peaks = rows[rows.what == "memory"].groupby(["optimizer", "axis"])
    for (name, method), some in peaks:
        kind = method.partition("-")[0]
        place = some["rank"] * (1.15 if kind == "FO" else 1.0)
        label = f"{LOOKS[name].label}, {KINDS[kind]}"
        figures.points(axes, place, some.value / 1e6, like=LOOKS[name], label=label, hollow=kind == "FO")
    plain = peaks.get_group(("sgd", "Hybrid-PEFT")).set_index("rank").value / 1e6
    expected = plain + 2 * size[plain.index]
    ranks = expected.index if len(expected) > 1 else expected.index[0] * np.array([0.5, 2.0])  # of a single one a dash
    values = np.broadcast_to(expected, len(ranks))
    figures.theory_line(axes, ranks, values, label="SGD + 2 adapters")
    figures.log_log(axes, set(size.index))
    axes.set(yscale="linear", title="peak of a step, MB")
