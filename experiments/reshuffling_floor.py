"""Where does SGD with a constant step size settle under each ordering, and when does reshuffling help?

On quadratic components with one Hessian the stationary law is known exactly (theory_lab, exact stationary laws): at epoch
ends E||grad f||^2 is of order eta with replacement (WR), eta^3 n^2 reshuffled (RR), eta^2 n shuffled once (SO), and
eta^2 n^2 for a fixed order (IG, here the sorted one). The figure draws these laws through the measured points, together
with what hides the cube: averaging over all iterates instead of epoch ends (eta^2 n), components that differ in curvature
(a bias of order eta that no n removes), and zeroth-order directions (reshuffling does not touch their noise: RR/WR tends
to (d+1)/(d+2)). Beyond eta h = 1, RR loses to WR.

The curvature h and the dispersion of the gradients are 1. Runs start at the minimiser and are averaged once the start is
forgotten to a share below 1e-4 (all iterates: 1e-3). Slopes are fitted where eta n h <= 0.3: there the exact laws differ
from their leading powers by up to 0.03; the tolerance of a slope is 0.05. What would refute the laws: a floor 5% off the
exact one at any point (the intervals hold for all points together), or a slope off by 0.1.

Minutes: quick 0.3, full 1.4.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import theory_lab as tl
from theory_lab.claims import Verdict, claim
from theory_lab.measure import Measurement, exact, family, mean, rate
from theory_lab.problems.quadratic import BlockQuadratic
from theory_lab.report import figures
from theory_lab.theory import reshuffling as law
from theory_lab.theory.reshuffling_bias import two_type_crossover, two_type_moments

RR, SO, IG, WR = "random_reshuffling", "shuffle_once", "incremental", "with_replacement"
ENDS, INNER, MEAN = "epoch ends", "all iterates", "mean of z"
SOURCE, DIRECTIONS = "theory_lab, exact stationary laws", "theory_lab, zeroth-order reshuffling"

STEP_SIZES = [0.001 * 2**k for k in range(6)]
SPREAD = 0.5  # a: half of the components have curvature 1 + a, half 1 - a
ZEROTH_N = 16  # components of the zeroth-order runs
LOAD = 0.05  # eta h (d + 2) where zeroth-order floors are compared with their limit
BATCHES = 32  # groups of seeds whose averages are the samples behind every interval


@dataclass(frozen=True)
class Settings:
    """Grids and sample sizes.

    Attributes:
        n: components, for reshuffling at epoch ends.
        inner_n: components, for reshuffling over all iterates.
        fixed_n: components, for the other orderings.
        types_n: components of the two types, multiples of 4.
        crossing_n: components where eta h goes from below 1 to above.
        products: eta h there; as many as there are `STEP_SIZES` share a program with them.
        dimensions: of the zeroth-order block.
        loads: eta h (d + 2) there, which is unstable from 2 on; increasing, `LOAD` among them.
        seeds: trajectories per point, a multiple of 128; the parts take their fixed shares of it.
    """

    n: tuple[int, ...]
    inner_n: tuple[int, ...]
    fixed_n: tuple[int, ...]
    types_n: tuple[int, ...]
    crossing_n: int
    products: tuple[float, ...]
    dimensions: tuple[int, ...]
    loads: tuple[float, ...]
    seeds: int


QUICK = Settings(
    n=(16, 256),
    inner_n=(16, 64),
    fixed_n=(16,),
    types_n=(4,),
    crossing_n=16,
    products=(0.4, 0.7, 1.0, 1.3, 1.5, 1.7),
    dimensions=(2,),
    loads=(0.025, 0.05, 0.1),
    seeds=512,
)
FULL = Settings(
    n=(16, 32, 64, 128, 256),
    inner_n=(16, 32, 64, 128),
    fixed_n=(16, 64, 256),
    types_n=(4, 16, 32),
    crossing_n=4,
    products=(0.5, 0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 1.7),
    dimensions=(1, 2, 5, 20),
    loads=(0.0125, 0.025, 0.05, 0.1),
    seeds=1024,
)


def cells(settings: Settings) -> list[dict[str, Any]]:
    def cell(ordering: str, n: int, steps: int, seeds: int, **others: Any) -> dict[str, Any]:
        usual = {"part": "shared", "metric": ENDS, "d": 32, "step_sizes": STEP_SIZES}
        return usual | {"ordering": ordering, "n": n, "steps": steps, "seeds": seeds} | others

    s = settings.seeds
    made = [cell(RR, n, 20_000, s) for n in settings.n]
    made += [cell(WR, n, 20_000, s) for n in settings.fixed_n]
    made += [cell(SO, n, 10_000, 4 * s, d=16) for n in settings.fixed_n]
    made += [cell(IG, n, 25_000, 1) for n in settings.fixed_n]
    made += [cell(RR, n, 3_000, s // 8, metric=INNER) for n in settings.inner_n]
    made += [
        cell(ordering, settings.crossing_n, 9_000, s, part="crossing", step_sizes=settings.products) for ordering in (RR, WR)
    ]
    made += [cell(RR, n, 20_000, s * n // 4, part="two types", d=1) for n in settings.types_n]
    for d in settings.dimensions:
        step_sizes = [load / (d + 2) for load in settings.loads]
        shape = {"part": "zeroth order", "d": d, "step_sizes": step_sizes}
        made += [
            cell(ordering, ZEROTH_N, round(20 / step_sizes[0]), s * 20 // d // 128 * 32, **shape) for ordering in (RR, WR)
        ]
    return made


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """||grad f||^2 averaged over time and over the seeds of a batch, beside its exact stationary law."""
    problem = _problem(cell, jax.random.fold_in(key, 0))
    label = "x" if cell["part"] == "zeroth order" else "y"
    oracle = tl.TwoPoint(1.0, sided=2) if label == "x" else tl.FirstOrder()  # two-sided: exact on quadratics at any radius
    epochs = cell["steps"] // cell["n"]
    burn_in = epochs // 4
    rows = sorted({int(t) for t in np.linspace(burn_in, epochs, 400)})
    if cell["ordering"] in (SO, IG):
        rows = [epochs]  # given its order, a run converges to a point
    trace = tl.sweep(
        problem,
        oracle,
        tl.hybrid_sgd,
        step_sizes={label: cell["step_sizes"]},
        epochs=epochs,
        keys=jax.random.split(jax.random.fold_in(key, 1), cell["seeds"]),
        ordering=tl.orderings.ORDERINGS[cell["ordering"]],
        params={label: jnp.zeros(cell["d"])},
        **({"resolution": "step"} if cell["metric"] == INNER else {"log_epochs": rows}),
    )
    squares = trace.total_gradient_norm_sq[..., trace.epoch >= burn_in].mean(axis=-1)  # (G, S)
    frames = [_rows(cell, squares, problem)]
    if cell["part"] == "two types":
        frames.append(_rows(cell | {"metric": MEAN}, trace.params[label][..., 0], problem))
    return pd.concat(frames, ignore_index=True)


def _rows(cell: dict[str, Any], values: np.ndarray, problem: BlockQuadratic) -> pd.DataFrame:
    """Batch means of per-seed values (G, S), a row for each."""
    batches = values.reshape(len(values), min(BATCHES, cell["seeds"]), -1).mean(axis=-1)
    point = {name: cell[name] for name in ("part", "ordering", "metric", "n", "d")}
    frames = []
    for step_size, row in zip(cell["step_sizes"], batches, strict=True):
        known = {"step_size": step_size, "exact": _exact(cell, step_size, problem)}
        frames.append(pd.DataFrame({**point, **known, "batch": range(row.size), "value": row}))
    return pd.concat(frames, ignore_index=True)


def _problem(cell: dict[str, Any], key: jax.Array) -> BlockQuadratic:
    """Mean curvature 1 and, where the Hessians are shared, dispersion 1: the gradient of f is z itself."""
    n, d = cell["n"], cell["d"]
    if cell["part"] == "two types":
        problem = tl.block_quadratic({"y": d}, n=n, heterogeneity=SPREAD, components="commuting", key=key)
        assert problem.deviations is not None
        return dataclasses.replace(problem, tilts=problem.deviations[:, :, 0] / SPREAD)  # +-1, with curvature 1 +- a
    problem = tl.block_quadratic({"x" if cell["part"] == "zeroth order" else "y": d}, n=n, dispersion=1.0, key=key)
    sort = cell["ordering"] == IG
    return dataclasses.replace(problem, tilts=jnp.sort(problem.tilts, axis=0)) if sort else problem


def _exact(cell: dict[str, Any], step_size: float, problem: BlockQuadratic) -> float:
    n, ordering = cell["n"], cell["ordering"]
    if cell["part"] == "two types":
        moments = two_type_moments(step_size, 1.0, SPREAD, 1.0, n)
        return moments.mean if cell["metric"] == MEAN else moments.second
    if cell["part"] == "zeroth order":
        return law.zeroth_order_variance(step_size, 1.0, n, 1.0, ordering, dimension=cell["d"])
    if ordering == IG:
        return float(np.sum(law.incremental_fixed_point(step_size, 1.0, np.asarray(problem.tilts)) ** 2))
    variance = law.inner_average_variance if cell["metric"] == INNER else law.stationary_variance
    return variance(step_size, 1.0, n, 1.0, ordering)


def judge(frame: pd.DataFrame) -> list[Verdict]:
    shared, crossing, types, zeroth = (
        frame[frame.part == part] for part in ("shared", "crossing", "two types", "zeroth order")
    )
    reshuffled, fixed = shared[shared.ordering == RR], shared[shared.ordering == IG]
    ends, inner = reshuffled[reshuffled.metric == ENDS], reshuffled[reshuffled.metric == INNER]
    once, fewest = shared[shared.ordering == SO], shared.n.min()
    cube = _slope(ends[ends.n == fewest])
    folklore = claim(
        "RR at epoch ends: exponent of the floor in eta, folklore", "folklore", "equals", 2, tolerance=0.05,
        expected="fails", why="eta^2 is the floor of SO, of RR over all iterates, or of the bias from unequal curvatures",
    )  # fmt: skip
    return [
        _equals("RR: floors / exact law, at epoch ends and over all iterates", reshuffled),
        _equals("SO and WR: floors / exact law", shared[shared.ordering.isin([SO, WR])]),
        claim("sorted IG: fixed points, relative deviation from the exact ones", SOURCE, "at most", 1e-8).check(
            exact("largest relative deviation", (fixed.value / fixed.exact - 1).abs().max())
        ),
        _exponent("RR at epoch ends: exponent of the floor in eta", 3, cube),
        folklore.check(cube),
        _exponent("RR at epoch ends: exponent of the floor in n", 2, _between(ends)),
        _exponent("RR over all iterates: exponent of the floor in eta", 2, _slope(inner[inner.n == fewest])),
        _exponent("RR over all iterates: exponent of the floor in n + 1", 1, _between(inner, shift=1)),
        _exponent("SO: exponent of the floor in eta", 2, _slope(once[once.n == fewest])),
        _exponent("sorted IG: exponent of the floor in eta", 2, _exact_slope(fixed[fixed.n == fewest])),
        _equals("two types of curvature, RR: floors / exact law", types[types.metric == ENDS]),
        *_judge_bias(types),
        *_judge_crossing(crossing),
        _equals("zeroth order, RR and WR: floors / exact law", zeroth),
        *_judge_directions(zeroth),
    ]


POINT = ["ordering", "metric", "n", "d", "step_size"]


def _means(rows: pd.DataFrame, per: str = "exact") -> list[Measurement]:
    """The mean over batches at every point, in units of a column; the intervals hold together (Bonferroni)."""
    groups = list(rows.groupby(POINT))
    level = family.confidence(len(groups))
    return [mean(str(at), (group.value / group[per]).to_numpy(), confidence=level) for at, group in groups]


def _equals(name: str, rows: pd.DataFrame) -> Verdict:
    """5% is far less than what another constant or exponent would make."""
    found = family.farthest("the ratio farthest from 1", _means(rows), centre=1.0)
    return claim(name, SOURCE, "equals", 1.0, tolerance=0.05).check(found)


def _exponent(name: str, exponent: float, measured: Measurement, *, tolerance: float = 0.05) -> Verdict:
    return claim(name, SOURCE, "equals", exponent, tolerance=tolerance).check(measured)


def _slope(rows: pd.DataFrame, *, reach: float = 0.3) -> Measurement:
    """The log-log slope along the step sizes, which have their seeds in common."""
    table = rows[rows.n * rows.step_size <= reach].pivot(index="batch", columns="step_size", values="value")
    return rate.loglog_slope(table.columns.to_numpy(), table.to_numpy(), paired=True, name="slope in step_size")


def _between(rows: pd.DataFrame, *, shift: int = 0) -> Measurement:
    """The exponent in n + shift at the smallest step size, from the fewest components to the most within eta n h <= 0.3."""
    rows = rows[(rows.step_size == rows.step_size.min()) & (rows.n * rows.step_size <= 0.3)]
    few, many = rows.n.min(), rows.n.max()
    level = family.confidence(2)
    first, last = (mean(f"n = {n}", rows[rows.n == n].value.to_numpy(), confidence=level) for n in (few, many))
    return family.exponent("exponent in n", first, last, (many + shift) / (few + shift))


def _exact_slope(rows: pd.DataFrame) -> Measurement:
    rows = rows[rows.n * rows.step_size <= 0.3]
    return exact("slope in step_size", np.polyfit(np.log(rows.step_size), np.log(rows.value), 1)[0])


def _judge_bias(types: pd.DataFrame) -> list[Verdict]:
    """Far below the crossover the squared bias rules; at the smallest step size eta n <= 0.032 moves the mean by 0.5%."""
    source, fewest = "theory_lab, bias of reshuffling", int(types.n.min())
    few = types[(types.metric == ENDS) & (types.n == fewest)]
    slope = _slope(few, reach=fewest * two_type_crossover(1.0, SPREAD, fewest) / 16)
    means = types[(types.metric == MEAN) & (types.step_size == types.step_size.min())]
    ratios = _means(means.assign(leading=means.step_size * SPREAD / 2), "leading")
    exponent = claim(
        f"two types, n = {fewest}, eta << crossover: exponent of the floor in eta", source, "equals", 2, tolerance=0.05
    )
    bias = claim("two types: mean of z / (eta a/2), at every n", source, "equals", 1, tolerance=0.06)
    return [exponent.check(slope), bias.check(family.farthest("the ratio farthest from 1", ratios, centre=1.0))]


def _judge_crossing(crossing: pd.DataFrame) -> list[Verdict]:
    won = _quotients(crossing[crossing.step_size < 1], WR, RR)
    drawn = _quotients(crossing[crossing.step_size == 1], RR, WR)
    lost = _quotients(crossing[crossing.step_size > 1], RR, WR)
    return [
        claim("floor WR / RR where eta h < 1", SOURCE, "at least", 1.0).check(family.smallest("the smallest ratio", won)),
        claim("floor RR / WR where eta h = 1", SOURCE, "equals", 1.0, tolerance=0.02).check(
            family.farthest("the ratio", drawn, centre=1.0)
        ),
        claim("floor RR / WR where eta h > 1", SOURCE, "at least", 1.0).check(family.smallest("the smallest ratio", lost)),
    ]


def _judge_directions(zeroth: pd.DataFrame) -> list[Verdict]:
    """At this load the exact ratio is 2.1% above its limit for d = 1, less for larger d; the exact slope is 1.03."""
    d = int(zeroth.d.max())
    slope = _slope(zeroth[(zeroth.ordering == RR) & (zeroth.d == d)], reach=np.inf)
    limits = zeroth.d.map(lambda d: law.zeroth_order_ratio_limit(d))
    scaled = zeroth.assign(value=zeroth.value / np.where(zeroth.ordering == RR, limits, 1.0))
    quotients = _quotients(scaled[_at_load(scaled)], RR, WR)
    return [
        claim("zeroth order: floor RR / WR over (d+1)/(d+2)", DIRECTIONS, "equals", 1, tolerance=0.06).check(
            family.farthest("the quotient farthest from 1", quotients, centre=1.0)
        ),
        _exponent(f"zeroth order, d = {d}, RR: exponent of the floor in eta", 1, slope, tolerance=0.07),
    ]


def _at_load(rows: pd.DataFrame) -> np.ndarray:
    return np.isclose(rows.step_size * (rows.d + 2), LOAD)


def _quotients(rows: pd.DataFrame, above: str, below: str) -> list[Measurement]:
    """Floor under one ordering over floor under another, at every point; a batch is large enough to divide by its mean."""
    tables = {
        name: part.pivot(index="batch", columns=["n", "d", "step_size"], values="value")
        for name, part in rows.groupby("ordering")
    }
    quotients = tables[above] / tables[below]
    level = family.confidence(quotients.shape[1])
    return [mean(str(at), column.to_numpy(), confidence=level) for at, column in quotients.items()]


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    points = frame.groupby(["part", *POINT]).agg(value=("value", "mean"), error=("value", "sem"), exact=("exact", "first"))
    points = points.reset_index()
    shared = points[points.part == "shared"]
    figure, axes = figures.new_figure(2, 3, width=11.5, height=7)
    (in_eta, in_n, ratios), (types, crossing, directions) = axes
    fewest, least = int(shared.n.min()), float(shared.step_size.min())
    _draw_floors(in_eta, shared[shared.n == fewest], "step_size")
    in_eta.set(xlabel="step size η h", ylabel="E‖∇f‖² / σ²", title=f"one curvature, n = {fewest}", ylim=(2e-10, None))
    figures.legend(in_eta, loc="lower right", fontsize=7.5)
    _draw_floors(in_n, shared[shared.step_size == least], "n")
    sizes = sorted(shared.n.unique())
    in_n.set_xticks(sizes, [str(n) for n in sizes])
    in_n.minorticks_off()
    in_n.set(xlabel="components n", ylabel="E‖∇f‖² / σ²", title=f"one curvature, η h = {least:g}")
    _draw_ratios(ratios, points)
    _draw_types(types, points[(points.part == "two types") & (points.metric == ENDS)])
    around = points[points.part == "crossing"]
    _draw_crossing(crossing, _by_ordering(around, "step_size"), int(around.n.iloc[0]))
    zeroth = points[points.part == "zeroth order"]
    _draw_directions(directions, _by_ordering(zeroth[_at_load(zeroth)], "d"))
    figures.title_with_verdicts(figure, "Where SGD settles: measured floors on the exact laws", verdicts)
    return figure


def _by_ordering(points: pd.DataFrame, axis: str) -> pd.DataFrame:
    """RR / WR along an axis, with the standard error of a quotient of independent means."""
    above, below = (points[points.ordering == ordering].set_index(axis).sort_index() for ordering in (RR, WR))
    value = above.value / below.value
    return pd.DataFrame({"value": value, "error": value * np.hypot(above.error / above.value, below.error / below.value)})


LOOKS = {
    (WR, ENDS): (figures.look(WR), "with replacement, ∝ η"),
    (IG, ENDS): (figures.look(IG), "sorted incremental, ∝ η²n²"),
    (RR, INNER): (figures.Look("#0072B2", "o", ":", ""), "reshuffled, all iterates, ∝ η²n"),
    (SO, ENDS): (figures.look(SO), "shuffled once, ∝ η²n"),
    (RR, ENDS): (figures.look(RR), "reshuffled, epoch ends, ∝ η³n²"),
}


def _draw_floors(axes: Axes, points: pd.DataFrame, axis: str) -> None:
    for (ordering, metric), (look, label) in LOOKS.items():
        chosen = points[(points.ordering == ordering) & (points.metric == metric)].sort_values(axis)
        figures.theory_line(axes, chosen[axis], chosen.exact, label="exact law")
        _measured(axes, chosen[axis], chosen.value, chosen.error.fillna(0), look, label)
    axes.set(xscale="log", yscale="log")


def _measured(axes: Axes, x: Any, value: pd.Series, error: pd.Series, look: figures.Look, label: str) -> None:
    """Markers in front of 99% bands."""
    figures.band(axes, x, value, value - 2.6 * error, value + 2.6 * error, like=look, label=label, line=False)


def _draw_ratios(axes: Axes, points: pd.DataFrame) -> None:
    for (ordering, metric), (look, _) in LOOKS.items():
        chosen = points[(points.ordering == ordering) & (points.metric == metric)]
        axes.errorbar(
            chosen.exact, chosen.value / chosen.exact, 2.6 * chosen.error.fillna(0) / chosen.exact,
            fmt=look.marker, color=look.colour, elinewidth=0.8, markersize=3.5, alpha=0.8,
        )  # fmt: skip
    axes.axhspan(0.95, 1.05, color="#eeeeee", zorder=0)
    figures.theory_line(axes, [points.exact.min(), points.exact.max()], [1, 1])
    axes.set(xscale="log", xlabel="exact E‖∇f‖² / σ²", ylabel="measured / exact", ylim=(0.92, 1.08))
    axes.set_title("every point of all panels, 99% intervals")


def _draw_types(axes: Axes, points: pd.DataFrame) -> None:
    """A curve for every n; all of them run into the bias."""
    etas = np.geomspace(points.step_size.min(), points.step_size.max(), 25)
    for n, shade in zip(sorted(points.n.unique()), ("#88CCEE", "#0072B2", "#332288"), strict=False):
        chosen = points[points.n == n]
        figures.theory_line(
            axes, etas, [two_type_moments(eta, 1.0, SPREAD, 1.0, int(n)).second for eta in etas], label="exact law"
        )
        label = f"n = {n}, crossover at η h = {two_type_crossover(1.0, SPREAD, int(n)):.2g}"
        _measured(axes, chosen.step_size, chosen.value, chosen.error, figures.Look(shade, "^", "-", ""), label)
    figures.theory_line(axes, etas, (etas * SPREAD / 2) ** 2, label="bias alone, (η a/2)²", line=":")
    axes.set(xscale="log", yscale="log", xlabel="step size η h", ylabel="E‖∇f‖² / σ²", ylim=(2e-9, None))
    axes.set_title("reshuffled, curvatures h ± h/2")
    figures.legend(axes, loc="lower right", fontsize=7.5)


def _draw_crossing(axes: Axes, quotients: pd.DataFrame, measured: int) -> None:
    products = np.linspace(0.02, 1.95, 200)
    for n, line in ((measured, "-"), (64, ":")):
        curve = [law.reshuffling_ratio(eta, 1.0, n) for eta in products]
        figures.theory_line(axes, products, curve, label=f"exact law, n = {n}", line=line)
    axes.axvline(1, color="#bbbbbb", linewidth=0.8)
    axes.axhline(1, color="#bbbbbb", linewidth=0.8)
    _measured(axes, quotients.index, quotients.value, quotients.error, figures.look(RR), f"measured, n = {measured}")
    axes.set(xlabel="step size η h", ylabel="floor, RR / WR", title="reshuffling wins below η h = 1 only")
    figures.legend(axes, loc="lower right")


def _draw_directions(axes: Axes, quotients: pd.DataFrame) -> None:
    dimensions = np.arange(1, 2 * max(quotients.index) + 1)
    figures.theory_line(axes, dimensions, [_exact_quotient(int(d)) for d in dimensions], label="exact law")
    limit = [law.zeroth_order_ratio_limit(int(d)) for d in dimensions]
    figures.theory_line(axes, dimensions, limit, label="(d+1)/(d+2), its limit η → 0", line=":")
    style = figures.look("zeroth_order")
    axes.errorbar(
        quotients.index, quotients.value, 2.6 * quotients.error, fmt=style.marker, color=style.colour, capsize=3,
        label=f"measured, η h (d+2) = {LOAD:g}",
    )  # fmt: skip
    axes.set(xscale="log", xlabel="dimension d", ylabel="floor, RR / WR", title="one gaussian direction for a gradient")
    axes.set_xticks(quotients.index, [str(d) for d in quotients.index])
    axes.minorticks_off()
    figures.legend(axes, loc="lower right")


def _exact_quotient(d: int) -> float:
    above, below = (law.zeroth_order_variance(LOAD / (d + 2), 1.0, ZEROTH_N, 1.0, name, dimension=d) for name in (RR, WR))
    return above / below
