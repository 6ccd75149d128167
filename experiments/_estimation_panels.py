"""The panels of `smoothness_estimation`."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments import _rows
from experiments._estimation_rows import FEW, MANY, least_covered
from theory_lab.report import figures
from theory_lab.report.figures import Look

LOOKS = {
    "isolated": Look("#0072B2", "o", "-", "isolated ends"),
    "uniform": Look("#009E73", "s", "-", "uniform on [-1, 1]"),
    "log-uniform": Look("#D55E00", "^", "-", "log-uniform, condition 1e4"),
    "geometric": Look("#882255", "D", "-", "0.5^j"),
}
HUTCHPP = {
    "flat": Look("#0072B2", "o", "-", "flat"),
    "1/j": Look("#882255", "D", "-", "1/j"),
    "1/j²": Look("#D55E00", "^", "-", "1/j²"),
}
SHADES = {"violated": "#D55E00", "undecided": "#d9d9d9", "certified": "#0072B2"}


def errors(axes: Axes, frame: pd.DataFrame) -> None:
    """Inner errors, the most strongly coupled of every spectrum, in both precisions."""
    rows = frame[(frame.what == "inner") & (frame.coupling == frame.coupling.max())]
    for kind, look in LOOKS.items():
        one = rows[(rows.case == kind) & (rows.precision == "float64")]
        figures.band(axes, one.products, one.value, one.low, one.high, like=look)
    single = rows[(rows.case == "geometric") & (rows.precision == "float32")]
    figures.points(axes, single.products, single.value, like=LOOKS["geometric"], hollow=True, label="0.5^j in float32")
    law = rows[rows.case == "isolated"].drop_duplicates("products")
    figures.theory_line(axes, law.products, law.predicted, label="a-priori law, 90%")
    axes.set(yscale="log", ylim=(1e-17, 3), xlabel="products", ylabel="error / width of the spectrum")
    axes.set_title("Ritz values: how far inside (bands: 90% of starts)")
    figures.legend(axes, loc="lower left", fontsize=8)


def outer_ends(axes: Axes, frame: pd.DataFrame) -> None:
    """Distances of the outer ends from the true ones, at 99%."""
    rows = frame[(frame.what == "outer") & (frame.precision == "float64") & (frame.coupling == frame.coupling.max())]
    for kind, look in LOOKS.items():
        one = rows[rows.case == kind]
        figures.band(axes, one.products, one.value, one.low, one.high, like=look)
    law = rows.drop_duplicates("products").sort_values("products")
    figures.theory_line(axes, law.products, law.predicted, label="its law, from the Ritz value", line="--")
    axes.set(yscale="log", xlabel="products", ylabel="distance / width of the spectrum")
    axes.set_title("outer ends, probability 0.99: how far outside")
    _room_below(axes)
    figures.legend(axes, loc="lower left", fontsize=8)


def counts(axes: Axes, frame: pd.DataFrame) -> None:
    """Products that suffice for nine starts of ten."""
    words = {"dimension": "ends to 1% of the width, over d", "condition": "lowest to 10% of itself, over condition"}
    for (what, label), look in zip(words.items(), (LOOKS["isolated"], LOOKS["log-uniform"]), strict=True):
        rows = frame[frame.what == what].sort_values("size")
        figures.band(axes, rows["size"], rows.value, rows.low, rows.high, like=look, label=label)
        figures.theory_line(axes, rows["size"], rows.predicted, label="the law")
    axes.set(xscale="log", yscale="log", ylim=(8, 150), xlabel="dimension d, or condition number", ylabel="products")
    axes.set_yticks([10, 20, 50, 100], ["10", "20", "50", "100"])
    axes.set_yticks([], minor=True)
    axes.set_title("products that suffice for 90% of starts")
    figures.legend(axes, loc="lower right", fontsize=8)


def coverage(axes: Axes, frame: pd.DataFrame) -> None:
    """Shares that hold, with their intervals, beside their levels; of traces the least over spectra."""
    rows = []
    for kind, look in LOOKS.items():
        for level in (0.9, 0.99):
            one = frame[(frame.what == "covered") & (frame.case == kind) & (frame.probability == level)]
            rows.append((f"{kind}, {level:g}", one, level, look))
    rows.append(("no slack (upper end), 0.9", frame[frame.what == "sharp"], 0.95, LOOKS["isolated"]))
    shares = [(name, _rows.pooled(one), level, look) for name, one, level, look in rows]
    for method, look in (("Hutch++", LOOKS["uniform"]), ("Hutchinson", LOOKS["log-uniform"])):
        for few, words in ((False, f"≥ {MANY}"), (True, f"≤ {FEW}")):
            least = least_covered(frame, few=few, methods=(method,))
            shares.append((f"{method}, {words} probes, 0.9", least, 0.9, look))
    for place, (_, found, level, look) in enumerate(shares):
        axes.errorbar(
            found.value, place, xerr=[[found.value - found.low], [found.high - found.value]], fmt=look.marker,
            color=look.colour, elinewidth=1.3, markeredgecolor="white", zorder=4,
        )  # fmt: skip
        axes.plot([level, level], [place - 0.36, place + 0.36], color="black", linewidth=1.6, zorder=3)
    axes.set_yticks(range(len(shares)), [name for name, *_ in shares], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(0.7, 1.005), xlabel="share that holds; black: stated")
    axes.set_title(f"coverage (of the residual bound: {_rows.pooled(frame[frame.what == 'residual bound']).value:.2g})")


def margins(axes: Axes, frame: pd.DataFrame) -> None:
    """How margins are judged: a bar for every true margin, a row of bars for every number of products."""
    rows = frame[frame.what.isin(list(SHADES))]
    numbers, true = sorted(rows.products.unique()), sorted(rows["size"].unique())
    for line, products in enumerate(numbers):
        bottom = np.full(len(true), 1.25 * line)
        for answer, shade in SHADES.items():
            one = rows[(rows.products == products) & (rows.what == answer)].sort_values("size")
            axes.bar(range(len(true)), one.value, bottom=bottom, color=shade, width=0.86, label=answer)
            bottom = bottom + one.value.to_numpy()
    axes.axvline(sum(margin < 0 for margin in true) - 0.5, ymax=0.88, color="black", linewidth=1.6)
    axes.set_xticks(range(len(true)), [f"{margin:g}" for margin in true], fontsize=7.5)
    axes.set_yticks([1.25 * line + 0.5 for line in range(len(numbers))], [f"{products:g}" for products in numbers])
    axes.set(xlabel="true margin 1 - λmax (left of the line: no domination)", ylabel="products")
    axes.set_ylim(0, 1.25 * len(numbers) + 0.15)
    axes.grid(False)
    axes.set_title("margins: the answers' shares")
    figures.legend(axes, loc="upper center", ncols=3, fontsize=8)


def traces(axes: Axes, frame: pd.DataFrame) -> None:
    """Root mean square errors of both methods, and Hutchinson's law."""
    for case, look in HUTCHPP.items():
        for name, hollow in (("Hutch++", False), ("Hutchinson", True)):
            rows = frame[(frame.what == name) & (frame.case == case)].sort_values("products")
            ends = [np.sqrt(rows[end]) for end in _rows.ENDS]
            if hollow:
                figures.points(axes, rows.products, *ends, like=look, hollow=True, label="")
            else:
                figures.band(axes, rows.products, *ends, like=look, label=f"Hutch++, {look.label}")
    law = frame[(frame.what == "Hutchinson") & (frame.case == "flat")].sort_values("products")
    figures.theory_line(axes, law.products, np.sqrt(law.predicted), label="Hutchinson, exact; hollow: measured")
    figures.log_log(axes, law.products)
    axes.set(xlabel="products", ylabel="root mean square error / |A|")
    axes.set_title("traces in 1024 dimensions")
    _room_below(axes)
    figures.legend(axes, loc="lower left", fontsize=8)


def _room_below(axes: Axes) -> None:
    """For a legend under the curves of a logarithmic axis: 0.7 of its decades more."""
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom * (bottom / top) ** 0.7, top)
