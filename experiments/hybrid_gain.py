"""Where does it pay to give the adapter exact gradients and the base two-point estimates, and where does it not?

Evaluations and gradients until E f - f* <= eps are counted, at step sizes tuned for that target, for first order (all by
gradients), zeroth order (everything by one two-point difference), hybrid (x by two points, y by gradients) and first order
on y alone (the base frozen). A gradient costs c evaluations: cost = values + c gradients, as `oracle.cost` counts them.

The ground is f = |z|^2/2 with noise of fixed total dispersion in each block, drawn with replacement, a tenth of the gap or
half of it in x. There the exact second-moment recursion (theory_lab, Theorem 5) knows every method in any dimension:

- zeroth-order steps grow like d_x + d_y, hybrid steps like d_x and not at all with d_y, first-order steps with neither;
- hybrid beats zeroth order exactly where c < c* = 2 (K_zeroth/K_hybrid - 1). Without noise K is the dimension plus 2 times
  a logarithm, and c* = 2 d_y/(d_x+2): an adapter of a few coordinates saves nothing in this currency, whatever a
  backward pass costs. Hybrid never beats first order in it either: what it saves there is memory;
- with x frozen no target below min_y f(x_0, y) - f* is ever reached: x_0'(A - B C^-1 B')x_0/2 for blocks A, B, C of H.

Measured: the number of steps after which the mean of f - f* over the seeds crosses eps, by interpolation, in runs at the
tuned step sizes, and from it c*; a jackknife over batches of seeds gives the interval.

Refuted by: a measured number of steps off the recursion's by more than 5%, a break-even ratio off by more than 10%, another
exponent, or a frozen run that ends below or above the Schur complement.

Minutes: quick 0.3, full 0.7.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

import theory_lab as tl
from theory_lab.claims import Verdict, claim
from theory_lab.measure import Measurement, exact, family, mean
from theory_lab.oracles.base import Cost
from theory_lab.orderings import with_replacement
from theory_lab.report import figures
from theory_lab.theory import separable

N = {"first_order": 2, "zeroth_order": 8, "hybrid": 8}  # components, logged once per N steps; drawn with replacement
NOISE = 0.5  # sigma_b^2 of each block, in total
TARGET = 0.05  # eps, of a gap of 1 at the start
HALF, TENTH = 0.5, 0.1  # the share of the gap that lies in x
RADIUS = 1e-4
BASE = 16  # the dimension that is held while the other grows
RATIO = 2.0  # c, in the figure: a backward pass costs about two forward passes
ORACLES = {
    "first_order": tl.FirstOrder(),
    "zeroth_order": tl.TwoPoint(RADIUS),
    "hybrid": tl.Hybrid({"x": tl.TwoPoint(RADIUS), "y": tl.FirstOrder()}),
    "frozen": tl.FirstOrder(),  # of y alone
}
FROZEN = figures.Look("#DDAA33", "v", "-", "first order on y, x frozen")
LAW, EPOCHS = "Theorem 5 (the exact second-moment recursions)", "dimension exponent"


@dataclass(frozen=True)
class Settings:
    """The runs; the exact curves are the same in both profiles.

    Attributes:
        shapes: (d_x, d_y) of the runs; the last without zeroth order.
        batches: of seeds, for the jackknife.
        numbers: coordinates x steps x seeds of a batch; between 12 and 4096 seeds.
        starts: of the frozen runs.
    """

    shapes: tuple[tuple[int, int], ...]
    batches: int
    numbers: int
    starts: int


QUICK = Settings(shapes=((BASE, BASE), (4 * BASE, BASE), (BASE, 4 * BASE)), batches=16, numbers=4_000_000, starts=32)
FULL = Settings(
    shapes=((BASE, BASE), (8 * BASE, BASE), (BASE, 8 * BASE), (BASE, 32 * BASE)), batches=32, numbers=8_000_000, starts=128
)
DIMENSIONS = tuple(int(d) for d in np.unique(np.geomspace(BASE, 100 * BASE, 9).round()))
ADAPTERS = tuple(int(d) for d in np.unique(np.geomspace(2, 20 * BASE, 9).round()))  # beside a base of 10 BASE
TARGETS = tuple(float(eps) for eps in np.geomspace(0.012, 0.22, 11))  # all methods need more than a step


def cells(settings: Settings) -> list[dict[str, Any]]:
    """A cell is a method on a shape, the frozen runs, or one exact curve."""
    batch = {"batches": settings.batches, "numbers": settings.numbers}
    methods = [
        ("first_order", settings.shapes[:1]), ("zeroth_order", settings.shapes[:-1]), ("hybrid", settings.shapes)
    ]  # fmt: skip
    found: list[dict[str, Any]] = [
        {"what": "run", "method": method, "shape": list(shape), **batch} for method, shapes in methods for shape in shapes
    ]
    found.append({"what": "floor", "starts": settings.starts})
    return found + [{"what": "curve", "along": along} for along in ("d_x", "d_y", "both", "target", "quiet")]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Rows (what, along, method, d_x, d_y, target, batch, value, predicted): steps, or floors over the initial gap."""
    parts = {"run": _run, "floor": _floor, "curve": _curve}
    columns = ["what", "along", "method", "d_x", "d_y", "target", "batch", "value", "predicted"]
    return pd.DataFrame(parts[cell["what"]](cell, key)).reindex(columns=columns)


def _tuned(method: str, shape: tuple[int, int], *, target: float, share: float, noise: float) -> separable.Tuned:
    """Step sizes and steps, exact: one step size where one estimator serves both blocks, else one for each."""
    start = np.array([2 * share, 2 * (1 - share)])  # |x|^2 and |y|^2 at curvature 1
    if method == "frozen":  # the gap in x stays
        given = separable.groups([1.0], shape[1:], dispersions=noise)
        left = target - share
        return separable.tuned(given, start[1:], left) if left > 0 else separable.Tuned(np.full(1, np.nan), math.inf)
    zeroth = {"first_order": [False, False], "zeroth_order": [True, True], "hybrid": [True, False]}[method]
    given = separable.groups([1.0, 1.0], shape, dispersions=noise, zeroth=zeroth)
    return separable.tuned(given, start, target, owners=[0, 1] if method == "hybrid" else [0, 0])


def _run(cell: dict[str, Any], key: jax.Array) -> Iterator[dict[str, Any]]:
    """The number of steps to the target, as jackknife pseudo-values over batches of seeds, beside the recursion's."""
    method, (d_x, d_y) = cell["method"], cell["shape"]
    best = _tuned(method, (d_x, d_y), target=TARGET, share=HALF, noise=NOISE)
    n, problem_key = N[method], jax.random.fold_in(key, 0)
    problem = tl.block_quadratic({"x": d_x, "y": d_y}, n=n, dispersion=NOISE, key=problem_key)
    seeds = int(np.clip(cell["numbers"] / (best.steps * (d_x + d_y)), 12, 4096))
    last = math.ceil(1.35 * best.steps / n) + 2
    trace = tl.sweep(
        problem, ORACLES[method], tl.hybrid_sgd, step_sizes={"x": best.step_sizes[:1], "y": best.step_sizes[-1:]},
        epochs=last, log_epochs=sorted({max(1, round(last * share)) for share in np.linspace(0.2, 1, 33)}),
        params={b: np.full(d, math.sqrt(1 / d)) for b, d in (("x", d_x), ("y", d_y))}, ordering=with_replacement,
        keys=jax.random.split(jax.random.fold_in(key, 1), cell["batches"] * seeds),
    )  # fmt: skip
    gaps = trace.value[0].reshape(cell["batches"], seeds, -1).mean(axis=1)
    at = {"what": "run", "method": method, "d_x": d_x, "d_y": d_y, "target": TARGET, "predicted": best.steps}
    together, size = n * _crossing(trace.epoch, gaps.mean(axis=0)), len(gaps)
    for batch in range(size):
        others = n * _crossing(trace.epoch, np.delete(gaps, batch, axis=0).mean(axis=0))
        yield {**at, "batch": batch, "value": size * together - (size - 1) * others}


def _crossing(epochs: np.ndarray, gaps: np.ndarray) -> float:
    """The first time at which the gaps cross the target, their logarithm interpolated; nan if they do not."""
    below = np.flatnonzero(gaps <= TARGET)
    if below.size == 0 or below[0] == 0:
        return math.nan
    i = int(below[0])
    share = math.log(gaps[i - 1] / TARGET) / math.log(gaps[i - 1] / gaps[i])
    return float(epochs[i - 1] + share * (epochs[i] - epochs[i - 1]))


def _floor(cell: dict[str, Any], key: jax.Array) -> Iterator[dict[str, Any]]:
    """Where gradient descent on y alone ends, over the gap at the start, on coupled blocks."""
    problem = tl.block_quadratic({"x": BASE, "y": BASE}, coupling=0.8, spectrum=("power", 0.5), key=key)
    hessian, limit = problem.dense_hessian(), problem.constants.smoothness
    assert limit is not None
    trace = tl.sweep(
        problem, tl.FirstOrder(), tl.hybrid_sgd, step_sizes={"x": [0.0], "y": [1 / limit["y"]]}, epochs=50,
        log_epochs=[0, 50], keys=jax.random.split(jax.random.fold_in(key, 1), cell["starts"]),
    )  # fmt: skip
    a, b, c = hessian[:BASE, :BASE], hessian[:BASE, BASE:], hessian[BASE:, BASE:]
    schur = a - b @ np.linalg.solve(c, b.T)
    for seed, (x, gap) in enumerate(zip(trace.params["x"][0], trace.value[0], strict=True)):
        at = {"what": "floor", "method": "frozen", "d_x": BASE, "d_y": BASE, "batch": seed}
        yield {**at, "value": gap[1] / gap[0], "predicted": x @ schur @ x / 2 / gap[0]}


def _curve(cell: dict[str, Any], key: jax.Array) -> Iterator[dict[str, Any]]:
    """Exact numbers of steps along one axis."""
    del key
    along = cell["along"]
    shapes = {
        "d_x": [(d, BASE) for d in DIMENSIONS], "d_y": [(BASE, d) for d in DIMENSIONS],
        "both": [(d, d) for d in DIMENSIONS[::8]],  # its ends
        "target": [(10 * BASE, BASE)] * len(TARGETS), "quiet": [(10 * BASE, d) for d in ADAPTERS],
    }[along]  # fmt: skip
    setting = {"quiet": {"share": 1.0, "noise": 0.0}, "target": {"share": TENTH, "noise": NOISE}}
    for i, shape in enumerate(shapes):
        target = {"target": TARGETS[i % len(TARGETS)], "quiet": 1e-6}.get(along, TARGET)
        for method in ORACLES:
            if (method == "frozen") > (along == "target") or (along == "quiet" and method == "first_order"):
                continue
            found = _tuned(method, shape, target=target, **setting.get(along, {"share": HALF, "noise": NOISE}))
            at = {"what": "curve", "along": along, "method": method, "d_x": shape[0], "d_y": shape[1], "target": target}
            yield {**at, "batch": 0, "value": found.steps, "predicted": found.steps}


def _price(method: str, ratio: float) -> float:
    """The cost of a step in evaluations, a gradient costing ``ratio`` of them."""
    blocks = {"y": np.zeros(2)} if method == "frozen" else {"x": np.zeros(2), "y": np.zeros(2)}
    cost: Cost = ORACLES[method].cost(blocks)
    return cost.values + ratio * cost.gradients


def _break_even(zeroth: float, hybrid: float) -> float:
    """c* at which both cost the same: K_zeroth values = K_hybrid (values + c gradients)."""
    return (zeroth * _price("zeroth_order", 0) / hybrid - _price("hybrid", 0)) / (_price("hybrid", 1) - _price("hybrid", 0))


def judge(frame: pd.DataFrame) -> list[Verdict]:
    curve, runs, floor = (frame[frame.what == what] for what in ("curve", "run", "floor"))
    points = list(runs.groupby(["method", "d_x", "d_y"]))
    level = family.confidence(len(points))
    ratios = [mean(str(at), (rows.value / rows.predicted).to_numpy(), confidence=level) for at, rows in points]
    steps = claim(
        "steps to eps at tuned step sizes follow the exact recursion, all methods and shapes: measured / predicted",
        f"theory_lab, {LAW}", "equals", 1.0, tolerance=0.05,  # the nonlinear crossing, the radius: below 1%
    ).check(family.farthest("steps / exact", ratios, centre=1.0))  # fmt: skip
    wide = list(_measured_break_even(runs))
    even = claim(
        "the cost ratio c* of a backward pass up to which hybrid beats zeroth order: measured / predicted, all shapes",
        f"theory_lab, {LAW}", "equals", 1.0, tolerance=0.1,
    ).check(family.farthest("c* / exact c*", wide, centre=1.0))  # fmt: skip
    quiet = curve[curve.along == "quiet"].pivot(index=["d_x", "d_y"], columns="method", values="value").reset_index()
    ratio = _ratio_of_dimensions(quiet)
    closed = claim(
        "without noise, the gap all in x, c* = 2 d_y/(d_x+2): exact recursion / closed form, d_y over two decades",
        f"theory_lab, {EPOCHS}", "equals", 1.0, tolerance=0.05,  # the logarithm of 1 - 1/(d+2), the search
    ).check(family.farthest("c* / closed form", [exact("", value) for value in ratio], centre=1.0))  # fmt: skip
    small = quiet[quiet.d_y <= quiet.d_x / 10]
    saves = claim(
        f"an adapter of a tenth of the base's dimension makes hybrid cheaper than zeroth order at c = {RATIO:g}, no noise: "
        "cost / cost",
        "folklore", "at most", 1.0, expected="fails",
        why="the adapter's coordinates are a tenth of what zeroth order pays for, a backward pass doubles every step",
    ).check(family.smallest("cost / cost", [exact("", value) for value in _costs(small)]))  # fmt: skip
    return [
        steps,
        *_exponents(curve),
        even,
        closed,
        saves,
        *_first_order(curve),
        *_frozen(curve, floor),
    ]


def _exponents(curve: pd.DataFrame) -> Iterator[Verdict]:
    """Between the ends of two decades; the targets are finite, so that the exact exponents are off by up to 0.05."""
    expected = [
        ("both", "zeroth_order", 1.0, "d = d_x + d_y", EPOCHS),
        ("d_y", "zeroth_order", 1.0, f"d = d_y + {BASE}", EPOCHS),
        ("d_x", "hybrid", 1.0, "d_x", EPOCHS),
        ("d_y", "hybrid", 0.0, "d_y", "Corollary 1b"),
        ("both", "first_order", 0.0, "d = d_x + d_y", "Corollary 1b"),
    ]
    for along, method, exponent, axis, source in expected:
        rows = curve[(curve.along == along) & (curve.method == method)]
        ends = rows.iloc[[0, -1]]
        size = {"hybrid": ends[along] if along != "both" else ends.d_x}.get(method, ends.d_x + ends.d_y)
        rise = math.log(ends.value.iloc[1] / ends.value.iloc[0]) / math.log(size.iloc[1] / size.iloc[0])
        name = f"steps to eps, {figures.look(method).label}: exponent in {axis} over two decades, exact recursion"
        yield claim(name, f"theory_lab, {source}", "equals", exponent, tolerance=0.05).check(exact("exponent", rise))


def _measured_break_even(runs: pd.DataFrame) -> Iterator[Measurement]:
    shapes = list(runs[runs.method == "zeroth_order"].groupby(["d_x", "d_y"]))
    level = family.confidence(2 * len(shapes))
    for (d_x, d_y), zeroth in shapes:
        hybrid = runs[(runs.method == "hybrid") & (runs.d_x == d_x) & (runs.d_y == d_y)]
        both = [mean("steps", rows.value.to_numpy(), confidence=level) for rows in (zeroth, hybrid)]
        quotient = family.ratio(f"d_x = {d_x}, d_y = {d_y}", *both)
        predicted = _break_even(zeroth.predicted.iloc[0], hybrid.predicted.iloc[0])
        value, low, high = (_break_even(end, 1.0) / predicted for end in (quotient.value, quotient.low, quotient.high))
        yield Measurement(quotient.name, value, low, high, quotient.samples, quotient.note)


def _ratio_of_dimensions(quiet: pd.DataFrame) -> np.ndarray:
    found = [_break_even(zeroth, hybrid) for zeroth, hybrid in zip(quiet.zeroth_order, quiet.hybrid, strict=True)]
    return np.array(found) / (2 * quiet.d_y / (quiet.d_x + 2)).to_numpy()


def _costs(rows: pd.DataFrame) -> np.ndarray:
    """The cost of hybrid over that of zeroth order."""
    return (rows.hybrid * _price("hybrid", RATIO) / (rows.zeroth_order * _price("zeroth_order", RATIO))).to_numpy()


def _first_order(curve: pd.DataFrame) -> Iterator[Verdict]:
    """At c = 0 first order takes one evaluation a step and hybrid two, and hybrid needs no fewer steps."""
    rows = curve[curve.along != "quiet"]
    table = rows.pivot(index=["along", "d_x", "d_y", "target"], columns="method", values="value")
    dearest = [exact("", value) for value in table.first_order / table.hybrid]
    yield claim(
        f"first order never takes more steps than hybrid, all shapes and targets up to {TARGETS[-1]:g}, so hybrid saves no "
        "evaluations on it at any c: steps / steps",
        "design aim", "at most", 1.0,
    ).check(family.largest("steps / steps", dearest))  # fmt: skip


def _frozen(curve: pd.DataFrame, floor: pd.DataFrame) -> Iterator[Verdict]:
    ratios = (floor.value / floor.predicted).to_numpy()
    yield claim(
        "with x frozen, gradients on y end at the exact min over y of coupled blocks: measured / exact, all starts",
        "design aim", "equals", 1.0, tolerance=0.01,
    ).check(family.farthest("floor / exact", [exact("", value) for value in ratios], centre=1.0))  # fmt: skip
    rows = curve[curve.along == "target"].pivot(index="target", columns="method", values="value")
    far = rows[rows.index >= 2 * TENTH]
    costs = far.frozen * _price("frozen", 0) / (far.hybrid * _price("hybrid", 0))
    yield claim(
        "at targets of twice that floor and more, training y alone is cheaper than hybrid: cost / cost at c = 0, largest",
        f"theory_lab, {LAW}", "at most", 1.0,
    ).check(family.largest("cost / cost", [exact("", value) for value in costs]))  # fmt: skip


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    """Cost along d_x, d_y and eps; and the break-even ratio."""
    figure, axes = figures.new_figure(2, 2, width=11, height=8.4)
    curve, runs = frame[frame.what == "curve"], frame[frame.what == "run"]
    cost = f"cost to reach eps: values + {RATIO:g} gradients"
    for panel, along in ((axes[0, 0], "d_x"), (axes[0, 1], "d_y")):
        other = "d_y" if along == "d_x" else "d_x"
        _methods(panel, curve[curve.along == along], along, runs[runs[other] == BASE])
        panel.set(
            xlabel=f"${along}$", ylabel=cost, title=f"growing {'base' if along == 'd_x' else 'adapter'}, ${other} = {BASE}$"
        )
    _methods(axes[1, 0], curve[curve.along == "target"], "target", runs[:0])
    axes[1, 0].set_xlim(0.01, 0.27)
    axes[1, 0].axvspan(0.01, TENTH, color=FROZEN.colour, alpha=0.12, linewidth=0)
    axes[1, 0].annotate("x frozen\nnever gets here", (0.0125, 0.05), xycoords=("data", "axes fraction"), fontsize=8.5)
    axes[1, 0].set(xlabel="target eps, of the initial gap (a tenth of it in x)", ylabel=cost)
    axes[1, 0].set_title(f"a nearer target, $d_x = {10 * BASE}$, $d_y = {BASE}$")
    _draw_break_even(axes[1, 1], curve, runs)
    for panel in axes.flat:
        panel.set(xscale="log", yscale="log")
        panel.xaxis.set_minor_formatter(NullFormatter())
        if panel in axes[1]:
            figures.legend(panel, fontsize=8, below=True, ncols=2)
        else:
            figures.legend(panel, fontsize=8, loc="upper left")
    figures.title_with_verdicts(figure, "What gradients on the adapter alone save, counted in evaluations", verdicts)
    return figure


def _methods(axes: Axes, curve: pd.DataFrame, along: str, runs: pd.DataFrame) -> None:
    for method, rows in curve.groupby("method"):
        like = FROZEN if method == "frozen" else figures.look(str(method))
        price = _price(str(method), RATIO)
        fine = rows[np.isfinite(rows.value)]
        axes.plot(fine[along], price * fine.value, color=like.colour, linewidth=5, alpha=0.25, solid_capstyle="butt")
        figures.theory_line(axes, fine[along], price * fine.value, label="exact recursion, tuned step sizes")
        seen = runs[runs.method == method].groupby(along).value.mean()
        marks = seen if len(seen) else fine.set_index(along).value.iloc[::2]
        figures.band(axes, marks.index, price * marks, like=like, line=False, label=like.label)


def _draw_break_even(axes: Axes, curve: pd.DataFrame, runs: pd.DataFrame) -> None:
    quiet = curve[curve.along == "quiet"].pivot(index=["d_x", "d_y"], columns="method", values="value").reset_index()
    noisy = curve[curve.along.isin(["d_x", "d_y"])].drop_duplicates(["d_x", "d_y", "method"])
    noisy = noisy.pivot(index=["d_x", "d_y"], columns="method", values="value").reset_index()
    for rows, line, name in ((quiet, "-", "no noise: $2 d_y/(d_x+2)$"), (noisy, "--", "noise of equal size in both blocks")):
        rows = rows.assign(at=rows.d_y / rows.d_x).sort_values("at")
        even = [_break_even(z, h) for z, h in zip(rows.zeroth_order, rows.hybrid, strict=True)]
        figures.theory_line(axes, rows["at"], even, label=name, line=line)
        if line == "-":
            axes.fill_between(rows["at"], 1e-3, even, color=figures.look("hybrid").colour, alpha=0.12, linewidth=0)
    means = (
        runs.groupby(["d_x", "d_y", "method"]).value.mean().unstack().dropna(subset=["hybrid", "zeroth_order"]).reset_index()
    )
    measured = [_break_even(z, h) for z, h in zip(means.zeroth_order, means.hybrid, strict=True)]
    figures.band(axes, means.d_y / means.d_x, measured, like="hybrid", line=False, label="measured, with noise")
    axes.axhline(RATIO, color="#8a8a8a", linewidth=0.9, linestyle=":")
    axes.annotate("a backward pass of two evaluations", (2.2, 0.5 * RATIO), fontsize=7.5, color="#5a5a5a")
    axes.annotate("hybrid pays", (0.25, 0.03), fontsize=9.5, color=figures.look("hybrid").colour)
    axes.annotate("zeroth order pays", (0.011, 20), fontsize=9.5, color=figures.look("zeroth_order").colour)
    axes.set(xlabel="$d_y/d_x$", ylabel="break-even cost ratio c*", title="up to which c hybrid beats zeroth order")
    axes.set_ylim(0.01, 300)
