"""The panels of `smoothness_frontier`."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from theory_lab.report import figures
from theory_lab.report.figures import Look

SHADE, FALSE = "#0072B2", "#D55E00"  # certified; what seems certified and is not
POINT = Look("#0072B2", "o", "-", "32 products")
FEW = Look("#56B4E9", "s", "-", "8 products, with interval")
UPPER = Look("#D55E00", "^", "-", "32 products, upper side")


def convex(axes: Axes, frame: pd.DataFrame) -> None:
    """The frontier of the convex Hessian, the box of its diagonal blocks, and budgets."""
    case, reach = frame[frame.case == "convex"], 4.2
    line = case[case.what == "upper"]
    corner = case[case.what == "corner"].iloc[0]
    x, y = _closed(line, reach)
    axes.fill_between(x, y, reach, color=SHADE, alpha=0.16, linewidth=0)
    axes.fill_between([corner.x, *x], corner.y, [reach, *np.minimum(y, reach)], color=FALSE, alpha=0.16, linewidth=0)
    axes.plot([corner.x, corner.x, reach], [reach, corner.y, corner.y], color=FALSE, linestyle="--", linewidth=1.3)
    figures.theory_line(axes, line.x, line.y, label="exact (Schur form)")
    for look, products in ((FEW, case["products"].min()), (POINT, case["products"].max())):
        _measured(axes, case[(case.what == "point") & (case.sided == 1) & (case["products"] == products)], look)
    axes.plot(corner.x, corner.y, "X", color=FALSE, markersize=9, markeredgecolor="white", zorder=5, clip_on=False)
    axes.annotate(
        f"norms of the diagonal blocks:\nviolated, v'Hv = {corner.value:.2f} v'Dv", (corner.x, corner.y), (1.25, 0.42),
        fontsize=8.5, color=FALSE, arrowprops={"arrowstyle": "-", "color": FALSE, "linewidth": 0.8},
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5}, zorder=5,
    )  # fmt: skip
    for i, (_, budget) in enumerate(case[case.what == "budget"].iterrows()):
        name = "partner of a budget for $L_x$" if i == 0 else "_nolegend_"
        axes.plot([budget.x, budget.x], [0, budget.y], color="#5a5a5a", linestyle=":", linewidth=1.1, zorder=1)
        axes.plot(budget.x, budget.y, "*", color="#DDAA33", markersize=10, markeredgecolor="white", zorder=6, label=name)
    _name(axes, "certified: H ≤ D")
    _finish(axes, reach, "convex, coupling 0.8")


def indefinite(axes: Axes, frame: pd.DataFrame) -> None:
    """Where the upper side alone and both sides differ."""
    case, reach = frame[frame.case == "indefinite 0"], 4.2
    curves = {what: _closed(case[case.what == what], reach) for what in ("upper", "lower")}
    grid = np.unique(np.concatenate([curve[0] for curve in curves.values()]))
    grid = grid[grid <= reach]
    high = {what: np.interp(grid, *curve, left=np.inf) for what, curve in curves.items()}
    both = np.maximum(high["upper"], high["lower"])
    axes.fill_between(grid, np.minimum(both, reach), reach, color=SHADE, alpha=0.16, linewidth=0)
    axes.fill_between(grid, np.minimum(high["upper"], reach), np.minimum(both, reach), color=FALSE, alpha=0.16, linewidth=0)
    figures.theory_line(axes, *curves["upper"], label="exact, H ≤ D", line="--")
    figures.theory_line(axes, *curves["lower"], label="exact, -D ≤ H", line=":")
    shown = both <= reach
    figures.theory_line(axes, grid[shown], both[shown], label="exact, both sides")
    points = case[(case.what == "point") & (case["products"] == case["products"].max())]
    _measured(axes, points[points.sided == 1], UPPER)
    _measured(axes, points[points.sided == 2], Look(POINT.colour, POINT.marker, "-", "32 products, both sides"))
    _name(axes, "certified: -D ≤ H ≤ D")
    _finish(axes, reach, "indefinite: from -1.6 in x, from -0.4 in y")


def step_sizes(axes: Axes, frame: pd.DataFrame, unit: float) -> None:
    """The stable region of hybrid descent, the boxes of all frontier points, and the box of one pair."""
    stable, boxes = (frame[frame.what == what] for what in ("stable", "box"))
    line = frame[(frame.case == "convex") & (frame.what == "upper")]
    x, y = np.r_[0.0, (1 / line.x)[::-1], 1.0], np.r_[1.0, (1 / line.y)[::-1], 0.0]
    axes.fill_between(x, 0, y, color=SHADE, alpha=0.16, linewidth=0, label="boxes of all points of the frontier")
    figures.theory_line(axes, stable.x * unit / 2, stable.y / 2, label="exact limit of stability")
    one = boxes.iloc[(boxes.x * unit / 2 - boxes.y / 2).abs().argmin()]
    corner = np.array([[0, one.y / 2], [one.x * unit / 2, one.y / 2], [one.x * unit / 2, 0]]).T
    axes.plot(*corner, color="black", linestyle="--", linewidth=1.2, label="box of one pair")
    figures.points(axes, boxes.x * unit / 2, boxes.y / 2, like=POINT, label="corners of the measured points' boxes")
    axes.set(
        xlim=(0, 1.4), ylim=(0, 1.35), xlabel=r"zeroth-order step size,  $\eta_x\Vert H_{xx}\Vert(d_x+2)/2$",
        ylabel=r"first-order step size,  $\eta_y\Vert H_{yy}\Vert/2$",
    )  # fmt: skip
    axes.set_title("convex: step sizes of hybrid descent")
    figures.legend(axes, loc="upper right", fontsize=8.5)


def _closed(line: pd.DataFrame, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """A curve that falls in x, from its asymptote to the end of the panel."""
    rows = line[np.isfinite(line.y)].sort_values("x")
    x, y = rows.x.to_numpy(), rows.y.to_numpy()
    return np.r_[x[0] * (1 - 1e-9), x, reach], np.r_[max(y[0], 10 * reach), y, np.interp(reach, x, y)]


def _measured(axes: Axes, points: pd.DataFrame, look: Look) -> None:
    """Points with their intervals, along the rays from the origin on which they lie."""
    x, y = points.x / points.high, points.y / points.high  # the scales
    for (_, row), s, t in zip(points.iterrows(), x, y, strict=True):
        axes.plot(
            [s * row.low, s * row.high], [t * row.low, t * row.high], color=look.colour, linewidth=4, alpha=0.45, zorder=3.5
        )
    axes.plot(
        x * points.value, y * points.value, look.marker, color=look.colour, markeredgecolor="white", markeredgewidth=0.6,
        label=look.label, zorder=4,
    )  # fmt: skip


def _name(axes: Axes, words: str) -> None:
    axes.text(0.97, 0.93, words, transform=axes.transAxes, ha="right", color=SHADE, fontsize=10, weight="bold")


def _finish(axes: Axes, reach: float, title: str) -> None:
    axes.set(xlim=(0, reach), ylim=(0, reach), xlabel=r"$L_x\,/\,\lambda_{\max}(H_{xx})$")
    axes.set(ylabel=r"$L_y\,/\,\lambda_{\max}(H_{yy})$", title=title)
    figures.legend(axes, below=True, fontsize=8.5, ncols=2)
