"""Which pairs of step sizes are stable, the zeroth-order block's against the first-order block's, and what does coupling do?

Mean-square growth of hybrid descent on the coupled quadratic H = [[I, rho R], [rho R', I]], |R| = 1, with one gaussian
direction, is measured over a grid of step sizes, and three predictions are laid over it:

- the exact boundary (theory_lab, Theorem 5, stability): stable if and only if the modes k of P^1/2 H P^1/2 stay
  below 2 and the noise gain of the coupled operator below 1. Without coupling that is eta_x < 2/(d_x+2), eta_y < 2;
- the hybrid-smoothness box eta_x <= 2/(L_x(d_x+2)), eta_y <= 2/L_y with the two-sided constants L_x = L_y = 1 + rho, which
  no order of the components, no n and no coupling within the class can break;
- the published conditions read with constants 1, eta_x <= 1/(L_x n d_x), eta_y <= 1/(L_y n).

Measured: the growth per step of E[f - f*], the mean square in the norm of H. Every norm has the same stable region; in this
one the transient is least: by the exact recursion it shifts no limit by more than 0.2%. Both blocks have 50 dimensions: in
low dimension sample means of second moments are no evidence. The step sizes of a row share their seeds; rows do not. Along
lines of fixed eta_y, with more seeds, the crossing is located by interpolation, blind to the prediction; the intervals hold
together along all lines of a panel.

Refuted by: a limit off the boundary by more than 3%, a step outside that band with the wrong sign of growth, or second
moments that do not follow the exact recursion.

Minutes: quick 0.2, full 1.8.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import matplotlib
import matplotlib.patheffects as effects
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

import theory_lab as tl
from experiments import _rows
from theory_lab.claims import Verdict, claim
from theory_lab.measure import Measurement, exact, family, mean, stability
from theory_lab.problems.quadratic import BlockQuadratic
from theory_lab.report import figures
from theory_lab.theory import dynamics, published, stability_region

D = 50  # of each block
N = 8  # components; they share the Hessian, so only the published condition sees them
UNIT = 2 / (D + 2)  # the x-limit without coupling
REACH = (1.6, 2.2)  # of the map, in units of (UNIT, 1)
LINES = (0.2, 1.0, 1.6, 1.925)  # the eta_y at which limits are measured
RADIUS = 1e-3
ORACLE = tl.Hybrid({"x": tl.TwoPoint(RADIUS), "y": tl.FirstOrder()})
COLUMNS = ["what", "coupling", "step_size_x", "step_size_y", "value", "low", "high", "samples", "note", "predicted"]
COLOURS = LinearSegmentedColormap.from_list("growth", matplotlib.colormaps[figures.DIVERGING](np.linspace(0.16, 0.84, 128)))

# Agreement of a limit. What the prediction neglects is below 0.2% (transient, chord); 3% is what nobody would mind.
TOLERANCE = 0.03
STABILITY, COUPLED = "theory_lab, Theorem 5, stability", "theory_lab, coupled limits"


@dataclass(frozen=True)
class Settings:
    """The grid of the map and the effort per grid point.

    Attributes:
        couplings: rho, one panel each.
        grid: step sizes per axis.
        seeds: runs per grid point of the map.
        batches: of so many seeds each, along the lines on which limits are measured.
        epochs: of N steps; the growth is measured over the last three quarters.
    """

    couplings: tuple[float, ...]
    grid: int
    seeds: int
    batches: int
    epochs: int


QUICK = Settings(couplings=(0.0, 0.9), grid=18, seeds=32, batches=4, epochs=24)
FULL = Settings(couplings=(0.0, 0.5, 0.9), grid=40, seeds=64, batches=4, epochs=40)


def cells(settings: Settings) -> list[dict[str, Any]]:
    """A cell is a row of one panel (its growths and one second moment), a line (its limit), or the drawn boundary."""
    heights = REACH[1] * (np.arange(settings.grid) + 0.5) / settings.grid
    found: list[dict[str, Any]] = []
    for coupling in settings.couplings:
        panel = {"coupling": coupling, "grid": settings.grid, "seeds": settings.seeds, "epochs": settings.epochs}
        found += [{"what": "map", **panel, "step_size_y": float(height)} for height in heights]
        lines = [("limit", height) for height in LINES] + [("published", 1 / (N * (1 + coupling)))]
        found += [{"what": what, **panel, "step_size_y": y, "batches": settings.batches} for what, y in lines]
        found.append({"what": "boundary", "coupling": coupling})
    return found


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Rows (what, coupling, step_size_x, step_size_y, value, low, high, samples, note, predicted).

    `predicted` is the exact limit of eta_x at that eta_y, 0 where nothing is stable; `value` is a growth per step, a
    measured limit, or a second moment in units of the exact one.
    """
    problem = tl.block_quadratic({"x": D, "y": D}, n=N, coupling=cell["coupling"])
    parts = {"map": _map, "limit": _line, "published": _line, "boundary": _boundary}
    rows = pd.DataFrame(parts[cell["what"]](problem, cell, key)).assign(coupling=cell["coupling"])
    return rows.reindex(columns=COLUMNS).fillna({"note": "", "samples": 0}).astype({"samples": int})


def _map(problem: BlockQuadratic, cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """Growth along a row, and the second moment at its last step size below 0.8 of the limit."""
    eta_x, eta_y, before = _steps(cell), cell["step_size_y"], cell["epochs"] // 4
    trace = _trace(problem, cell, key)
    exact = _exact(problem, eta_y)
    mean_gap = trace.value.mean(axis=1)  # (G, 2)
    growth = np.log(mean_gap[:, 1] / mean_gap[:, 0]) / (N * (cell["epochs"] - before))
    at = {"step_size_y": eta_y, "samples": cell["seeds"], "predicted": exact}
    rows = [{"what": "growth", "step_size_x": x, "value": g, **at} for x, g in zip(eta_x, growth, strict=True)]
    if (calm := np.flatnonzero(eta_x <= 0.8 * exact)).size:
        i = int(calm[-1])
        model = dynamics.shared_quadratic(problem.dense_hessian(), D, (float(eta_x[i]), eta_y), radius=RADIUS)
        moments = dynamics.Moments(np.zeros(2 * D), np.eye(2 * D))  # of the starts, standard normal
        for _ in range(N * before):
            moments = dynamics.with_replacement_step(model, moments)
        assert trace.distance_sq is not None  # the optimum is known
        square = np.mean(trace.distance_sq["x"][i, :, 0] + trace.distance_sq["y"][i, :, 0])
        rows.append({"what": "moment", "step_size_x": eta_x[i], "value": square / np.trace(moments.second), **at})
    return rows


def _line(problem: BlockQuadratic, cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """The measured limit of eta_x; the batches of seeds reuse the program of the rows."""
    traces = [_trace(problem, cell, part) for part in jax.random.split(key, cell["batches"])]
    gap = np.concatenate([trace.value for trace in traces], axis=1)
    limit = stability.limit(
        _steps(cell), gap[..., 0], gap[..., 1], steps=N * (cell["epochs"] - cell["epochs"] // 4),
        confidence=1 - 0.01 / (len(LINES) + 1), resamples=10000, key=jax.random.fold_in(key, 0),
    )  # fmt: skip
    exact = _exact(problem, cell["step_size_y"])
    at = {"step_size_x": exact, "step_size_y": cell["step_size_y"], "predicted": exact}
    return [{"what": cell["what"], **_rows.row(limit), **at}]


def _boundary(problem: BlockQuadratic, cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """The exact boundary where it bends, beside the rows of the map."""
    del cell, key
    bends = [0.0, 0.01, 0.03, 1.93, 1.96, 1.98, 1.99, 1.996]
    ends = [(_exact(problem, y), y) for y in bends] + [(0.0, 2.0)]
    return [{"what": "boundary", "step_size_x": x, "step_size_y": y, "predicted": x} for x, y in ends]


def _steps(cell: dict[str, Any]) -> np.ndarray:
    """The grid of eta_x, (G,)."""
    return REACH[0] * UNIT * (np.arange(cell["grid"]) + 0.5) / cell["grid"]


def _trace(problem: BlockQuadratic, cell: dict[str, Any], key: jax.Array) -> tl.Trace:
    """All step sizes of a row, logged at one quarter and at the end."""
    eta_x = _steps(cell)
    return tl.sweep(
        problem, ORACLE, tl.hybrid_sgd, step_sizes={"x": eta_x, "y": np.full_like(eta_x, cell["step_size_y"])},
        epochs=cell["epochs"], keys=jax.random.split(key, cell["seeds"]), log_epochs=[cell["epochs"] // 4, cell["epochs"]],
    )  # fmt: skip


def _exact(problem: BlockQuadratic, eta_y: float) -> float:
    return stability_region.step_size_boundary(problem.dense_hessian(), D, (None, eta_y))


def judge(frame: pd.DataFrame) -> list[Verdict]:
    """Eleven claims; limits are compared in units of what is predicted for them."""
    lines = frame[frame.what == "limit"]
    verdicts = [_signs(frame)]
    for coupling, limits in lines.groupby("coupling"):
        name = f"coupling {coupling}: along every line the limit of eta_x is the exact boundary: measured / predicted"
        if coupling == 0:
            name = "no coupling: along every line the limit of eta_x is 2/(L_x(d_x+2)), the box's: measured / predicted"
        ratios = [_limit(limit, per=limit.predicted) for _, limit in limits.iterrows()]
        boundary = claim(name, COUPLED if coupling else STABILITY, "equals", 1.0, tolerance=TOLERANCE)
        verdicts.append(boundary.check(family.farthest("limit / exact limit", ratios, centre=1.0)))
    recursion = claim(
        "E|z|^2 at 0.8 of the limit follows the exact recursion: measured / predicted, mean over all rows",
        "theory_lab, Theorem 5", "equals", 1.0, tolerance=0.05,
    )  # fmt: skip
    # Rows are independent and the fourth moment exists at 0.8 of the limit: Student's interval over rows.
    verdicts.append(recursion.check(mean("E|z|^2 / exact", frame[frame.what == "moment"].value)))
    box = claim(
        "coupled: the hybrid-smoothness box is stable up to its edge: smallest limit of eta_x / side of the box",
        "theory_lab, Theorem 5, box", "at least", 1.0,
    )  # fmt: skip
    verdicts.append(box.check(family.smallest("limit / side", _in_units_of_the_box(lines))))
    for _, limit in frame[frame.what == "published"].iterrows():
        side, _ = published.published_box(smoothness=(1 + limit.coupling, 1 + limit.coupling), n=N, dimension=D)
        words = f"coupling {limit.coupling}" if limit.coupling else "no coupling"
        loose = claim(
            f"{words}: at the published eta_y the limit of eta_x is so many times the published 1/(L_x n d_x)",
            "theory_lab, conservativeness", "equals", limit.predicted / side, tolerance=TOLERANCE * limit.predicted / side,
        )  # fmt: skip
        verdicts.append(loose.check(_limit(limit, per=side)))
    strongest = lines[lines.coupling == lines.coupling.max()]
    middle, edge = (strongest.iloc[(strongest.step_size_y - y).abs().argmin()] for y in (1.0, 2.0))
    words = f"coupling {middle.coupling}"
    apart = claim(
        f"{words}: a limit for each block alone: limit of eta_x at eta_y = {edge.step_size_y} / at {middle.step_size_y}",
        "folklore", "equals", 1.0, tolerance=TOLERANCE, expected="fails",
        why="near its own limit the first-order block amplifies what the coupling feeds into it",
    )  # fmt: skip
    verdicts.append(apart.check(family.ratio("limit / limit", _limit(edge), _limit(middle))))
    shrinks = claim(
        f"{words}: coupling can only shrink the stable region: limit of eta_x at eta_y = {middle.step_size_y} / uncoupled",
        "folklore", "at most", 1.0, expected="fails",
        why="at moderate eta_y the exact steps in y take energy out of x, and its limit rises",
    )  # fmt: skip
    verdicts.append(shrinks.check(_limit(middle, per=UNIT)))
    return verdicts


def _signs(frame: pd.DataFrame) -> Verdict:
    """The share of grid points, outside the band of the tolerance, that lie on the side of the boundary they should.

    A census of the grid, not a sample: points of a row share their seeds, so a binomial interval would mean nothing.
    """
    growth = frame[frame.what == "growth"]
    clear = growth[(growth.step_size_x - growth.predicted).abs() > TOLERANCE * growth.predicted]
    right = (clear.value < 0) == (clear.step_size_x < clear.predicted)
    name = "the measured growth has the sign of the exact criterion: share of the grid points over 3% off the boundary"
    share = claim(name, STABILITY, "at least", 0.99)  # a growth near zero may have either sign by chance
    return share.check(replace(exact("share of grid points", right.mean()), samples=len(right)))


def _limit(row: pd.Series, *, per: float = 1.0) -> Measurement:
    return _rows.measurement(row, per=per, name=f"coupling {row.coupling}, eta_y = {row.step_size_y:.4g}")


def _in_units_of_the_box(lines: pd.DataFrame) -> Iterator[Measurement]:
    """The limits of eta_x over the box's side, on the coupled lines that cross the box."""
    for _, limit in lines[lines.coupling > 0].iterrows():
        x, y = stability_region.hybrid_smoothness_box((1 + limit.coupling, 1 + limit.coupling), D)
        if limit.step_size_y <= y:
            yield _limit(limit, per=x)


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    """One panel per coupling, one colour bar for all."""
    couplings = sorted(frame.coupling.unique())
    figure, axes = figures.new_figure(1, len(couplings), height=4.6, width=11, sharey=True)
    for panel, coupling in zip(axes[0], couplings, strict=True):
        mesh = _panel(panel, frame[frame.coupling == coupling], coupling)
    axes[0, 0].set_ylabel(r"first-order step size,  $\eta_y\,\Vert H_{yy}\Vert$")
    bar = figure.colorbar(mesh, ax=list(axes[0]), extend="max", pad=0.012, aspect=26)
    bar.set_label("measured growth, e-folds per 100 steps")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9)
    title = f"Where hybrid descent is mean-square stable ($d_x = d_y = {D}$, one Gaussian direction)"
    figures.title_with_verdicts(figure, title, verdicts)
    return figure


def _panel(axes: Axes, frame: pd.DataFrame, coupling: float) -> Any:
    """The map of one coupling, interpolated between grid points, and the boundaries, in units of the uncoupled limits."""
    table = frame[frame.what == "growth"].pivot(index="step_size_y", columns="step_size_x", values="value")
    norm = Normalize(-2.0, 2.0)  # without coupling -2 is the fastest decay; beyond eta_y = 2 growth is faster by far
    seen = np.clip(100 * table.to_numpy(), -2.5, 2.5)  # beyond the colours, so that few colours mix where growth jumps
    mesh = axes.imshow(
        seen, extent=(0, REACH[0], 0, REACH[1]), origin="lower", aspect="auto", interpolation="bilinear", norm=norm,
        cmap=COLOURS,
    )  # fmt: skip
    halo = [effects.withStroke(linewidth=3.4, foreground="white", alpha=0.75)]
    exact = frame[frame.what.isin(["growth", "boundary"]) & (frame.predicted > 0) | (frame.step_size_y == 2)]
    exact = exact.drop_duplicates("step_size_y").sort_values("step_size_y")
    axes.plot(
        exact.predicted / UNIT, exact.step_size_y, color="black", linewidth=1.8, path_effects=halo, label="exact boundary",
        zorder=4,
    )  # fmt: skip
    limits = frame[frame.what == "limit"]
    ends = [(limits.value - limits.low) / UNIT, (limits.high - limits.value) / UNIT]
    axes.errorbar(
        limits.value / UNIT, limits.step_size_y, xerr=ends, fmt="o", color="black", markerfacecolor="white", markersize=6,
        markeredgewidth=1.1, elinewidth=1.1, label=r"measured limit of $\eta_x$, 99% interval", zorder=5,
    )  # fmt: skip
    smooth = (1 + coupling, 1 + coupling)
    box = stability_region.hybrid_smoothness_box(smooth, D)
    conditions = published.published_box(smoothness=smooth, n=N, dimension=D)
    corners = np.array([[0, box[1]], [box[0] / UNIT, box[1]], [box[0] / UNIT, 0]]).T
    axes.plot(*corners, color="black", linestyle="--", linewidth=1.5, path_effects=halo, label="hybrid-smoothness box")
    axes.fill_between(
        [0, conditions[0] / UNIT], conditions[1], color="black", linewidth=0, label=f"published condition, n = {N}"
    )
    times = frame[frame.what == "published"].value.iloc[0] / conditions[0]
    axes.annotate(
        f"{times:.0f}× below\nthe limit", (conditions[0] / UNIT, conditions[1]), (0.13, 0.27),
        arrowprops={"arrowstyle": "-", "color": "black", "linewidth": 0.8}, fontsize=8.5, va="center", path_effects=halo,
    )  # fmt: skip
    axes.set(
        xlim=(0, REACH[0]), ylim=(0, REACH[1]), xlabel=r"zeroth-order step size,  $\eta_x\,\Vert H_{xx}\Vert\,(d_x+2)/2$"
    )
    axes.set_title(f"coupling {coupling:g}" if coupling else "no coupling: the box is the boundary")
    axes.grid(False)
    return mesh
