"""The house style of the figures: theory is a black line, a method has one colour and one marker, an interval is a band.

No pyplot and no lasting change of matplotlib's settings: `house` holds them for the length of a `with` block, and the runner
draws inside one. A figure drawn twice from the same numbers has the same bytes.
"""

import contextlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from theory_lab import _checks
from theory_lab.claims.base import Verdict
from theory_lab.report.tables import tally

INK = "#1a1a1a"
SEQUENTIAL, DIVERGING = "cividis", "PuOr_r"  # colour maps that survive colour-blindness and a grey printer
WIDTH, DPI = 8.4, 150  # inches and dots per inch: 1260 pixels, twice what a README shows

_STYLE: Any = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so every machine draws the same letters
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8a8a8a",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "xtick.color": "#5a5a5a",
    "ytick.color": "#5a5a5a",
    "legend.facecolor": "white",
    "legend.edgecolor": "none",
    "legend.framealpha": 0.75,
    "legend.fontsize": 9,
    "legend.handlelength": 2.2,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "image.cmap": SEQUENTIAL,
    "figure.facecolor": "white",
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "svg.hashsalt": "theory_lab",
}


@dataclass(frozen=True)
class Look:
    """How something is drawn, everywhere: colour, marker, line style, and its name in the legend."""

    colour: str
    marker: str
    line: str
    label: str


# Colours of Okabe and Ito 2008 and of Tol 2021, chosen so that within each group any two stay far apart for every kind of
# colour vision; the ten markers all differ.
LOOKS = {
    "first_order": Look("#56B4E9", "o", "-", "first order"),
    "zeroth_order": Look("#D55E00", "s", "-", "zeroth order"),
    "hybrid": Look("#332288", "D", "-", "hybrid"),
    "random_reshuffling": Look("#0072B2", "^", "-", "random reshuffling"),
    "shuffle_once": Look("#DDAA33", "v", "-.", "shuffle once"),
    "incremental": Look("#EE6677", "<", ":", "incremental"),
    "with_replacement": Look("#882255", ">", "--", "with replacement"),
    "gaussian": Look("#009E73", "P", "-", "Gaussian"),
    "rademacher": Look("#999933", "X", "--", "Rademacher"),
    "sphere": Look("#AA4499", "h", "-.", "sphere"),
}


def look(name: str, ordering: str | None = None) -> Look:
    """How a method, an ordering or a law is drawn.

    Args:
        name: one of `LOOKS`.
        ordering: for a method under an ordering: the method's colour and marker, the ordering's line.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> look("hybrid", "with_replacement")
        Look(colour='#332288', marker='D', line='--', label='hybrid, with replacement')
    """
    own = LOOKS[_checks.choice("name", name, LOOKS)]
    if ordering is None:
        return own
    other = LOOKS[_checks.choice("ordering", ordering, LOOKS)]
    return Look(own.colour, own.marker, other.line, f"{own.label}, {other.label}")


@contextlib.contextmanager
def house() -> Iterator[None]:
    """The house style inside the `with` block; matplotlib's settings are as before afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's matplotlibrc says
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(
    rows: int = 1, columns: int = 1, *, height: float | None = None, width: float = WIDTH, **subplots: Any
) -> tuple[Figure, np.ndarray]:
    """An empty figure without pyplot, and its axes in an array of shape (rows, columns).

    Args:
        rows, columns: of the grid of axes.
        height, width: inches; the height follows from the grid if not given.
        **subplots: as `Figure.subplots` takes them (sharex, sharey, width_ratios, ...).

    Raises:
        ValueError: rows or columns below 1, a size that is not positive.

    Example:
        >>> figure, axes = new_figure(1, 2, sharey=True)
        >>> axes.shape
        (1, 2)
    """
    _checks.count("rows", rows)
    _checks.count("columns", columns)
    width = _checks.positive("width", width)
    if height is not None:
        height = _checks.positive("height", height)
    with house():
        size = (width, 0.75 + rows * {1: 4.1, 2: 3.4}.get(columns, 2.7) if height is None else height)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        return figure, figure.subplots(rows, columns, squeeze=False, **subplots)


def band(
    axes: Axes,
    x: Any,
    value: Any,
    low: Any = None,
    high: Any = None,
    *,
    like: str | Look,
    label: str | None = None,
    line: bool = True,
) -> None:
    """A method's measured numbers: markers on a line, in front of the band of their intervals.

    Points that are not finite (diverged runs) are left out and interrupt the line.

    Args:
        axes: where to draw.
        x, value: shape (P,), in any order.
        low, high: the ends of the intervals, shape (P,); both or neither.
        like: whose colour and marker: a name for `look`, or a `Look`.
        label: for the legend, if it is not that of the look; "" for none.
        line: whether to join the markers.

    Raises:
        ValueError: an unknown look, or arrays of different lengths.
    """
    style, columns = _series(like, x, value, low, high)
    x, value, *ends = np.stack(columns)[:, np.argsort(columns[0], kind="stable")]
    if ends:
        fine = np.isfinite(ends).all(axis=0)
        axes.fill_between(x, ends[0], ends[1], where=fine, color=style.colour, alpha=0.18, linewidth=0, zorder=2)
    shown, name = np.where(np.isfinite(value), value, np.nan), style.label if label is None else label or "_nolegend_"
    common: dict[str, Any] = {
        "color": style.colour,
        "marker": style.marker,
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
    }
    axes.plot(x, shown, linestyle=style.line if line else "none", label=name, zorder=2.2, **common)
    axes.plot(x, shown, linestyle="none", label="_nolegend_", zorder=4, **common)  # the theory passes below the markers


def points(
    axes: Axes,
    x: Any,
    value: Any,
    low: Any = None,
    high: Any = None,
    *,
    like: str | Look,
    label: str | None = None,
    hollow: bool = False,
) -> None:
    """Measured numbers that no band should join: markers with error bars.

    Args:
        axes: where to draw.
        x, value: shape (P,), or numbers.
        low, high: the ends of the intervals; both or neither. An end that is not finite is left out.
        like: whose colour and marker: a name for `look`, or a `Look`.
        label: for the legend, if it is not that of the look; "" for none.
        hollow: markers without filling, for a second kind of the same method.

    Raises:
        ValueError: an unknown look, or arrays of different lengths.
    """
    style, (places, centres, *ends) = _series(
        like, *(each if each is None else np.atleast_1d(each) for each in (x, value, low, high))
    )
    bars = [np.where(np.isfinite(end), np.abs(end - centres), np.nan) for end in ends] or None
    axes.errorbar(
        places, centres, bars, fmt=style.marker, color=style.colour, elinewidth=1.2, zorder=4,
        label=style.label if label is None else label or "_nolegend_",
        markerfacecolor="white" if hollow else style.colour, markeredgecolor=style.colour if hollow else "white",
        markeredgewidth=1.2 if hollow else 0.6,
    )  # fmt: skip


def _series(like: str | Look, *given: Any) -> tuple[Look, list[np.ndarray]]:
    """A look, and x, value and perhaps low and high as arrays of one length."""
    columns = [np.asarray(each, dtype=np.float64) for each in given if each is not None]
    shapes = [column.shape for column in columns]
    if len(columns) == 3 or len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise _checks.refuse("x, value, low, high", "of one length, low and high together", shapes)
    return look(like) if isinstance(like, str) else like, columns


def theory_line(axes: Axes, x: Any, y: Any, *, label: str = "theory", line: str = "-") -> None:
    """What a theorem says: a black line without markers, in front of all lines and behind all markers.

    Args:
        axes: where to draw.
        x, y: shape (P,), in the order of the line.
        label: for the legend; "" for none.
        line: "-" for an equality, "--" for a bound; others where one axes holds several theorems.
    """
    axes.plot(x, y, color="black", linestyle=line, linewidth=1.2, label=label or "_nolegend_", zorder=3)


def log_log(axes: Axes, ticks: Iterable[float]) -> None:
    """Logarithmic axes, the horizontal one marked at these places alone."""
    axes.set(xscale="log", yscale="log")
    places = sorted(set(ticks))
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.set_xticks([], minor=True)


def log_x(axes: Axes) -> None:
    """A logarithmic horizontal axis with plain numbers, 1, 2 and 5 of every decade, also over less than one."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def title_with_verdicts(figure: Figure, title: str, verdicts: Iterable[Verdict]) -> None:
    """The title of the figure, what it shows in words, and under it what came of its claims."""
    figure.suptitle(f"{title}\n{tally(verdicts)}", x=0.012, ha="left", fontsize=11, linespacing=1.5)


def legend(axes: Axes, *, below: bool = False, **options: Any) -> None:
    """The legend, every label once and the theory last: inside the axes, or below them where the data need the room."""
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(reversed(labels), reversed(handles), strict=True))
    names = sorted(dict.fromkeys(labels), key=lambda name: getattr(once[name], "get_color", str)() == "black")
    place: dict[str, Any] = {"loc": "best"}
    if below:
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16), "ncols": min(len(names), 4)}
    if names:
        with house():
            axes.legend([once[name] for name in names], names, **{**place, **options})


def png(figure: Figure) -> bytes:
    """The figure as a PNG file without a date or a version in it: equal figures have equal bytes."""
    with house():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()
