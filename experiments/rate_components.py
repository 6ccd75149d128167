"""Which powers of n and of T does the best constant step size reach, on benign and on hard sums?

The metric is the theorems': the average of E||grad f||^2 over the T epoch starts of reshuffled runs (RR), over all nT
iterates with replacement (WR); at every n and T with the step sizes that make it least. Exponents in T at fixed n, and in n
at a fixed number nT of steps:

- on quadratics with one Hessian, by the exact law (theory_lab, Theorem 5): -1/2 and 0 wherever directions or draws make
  noise of order eta (zeroth order, hybrid, WR), which Corollaries 1b and 2c promise: there the rates are two-sided. First
  order, reshuffled: -3/4 and +1/2, for the floor is eta^3 n^2 and not the eta^2 n of the upper bound (theory_lab,
  first-order reshuffling), whose exponents -2/3 and +1/3 no quadratic attains. Without noise -1 in T;
- on the minimax instance (theory_lab, hard instance for reshuffling), by simulation: -2/3 and +1/3, at s^2 and above, so
  that the upper bound is tight up to a constant in both exponents;
- on the one-sided quadratic, the same function for all T, by simulation: below the tuned bounds at every T. Reshuffled runs
  fell at least as fast (measured, no theorem); first-order WR falls slower over these T, below its bound: a bound limits
  levels, and slopes only in the limit;
- on components of two types: both terms 1/(nT)^2 and 1/(nT^3) of the lower bound of Safran & Shamir, by the exact law.

What would refute the theory: an exact exponent off by 0.02 (0.03 in n), a simulated one whose interval leaves 0.05 around
its power on the minimax instance, or a least average below s^2 there or above its upper bound.

Minutes: quick 0.3, full 0.7.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

import theory_lab as tl
from theory_lab.claims import Verdict, claim
from theory_lab.measure import Measurement, exact, mean, rate
from theory_lab.measure.family import confidence, farthest, largest, smallest
from theory_lab.problems import hard
from theory_lab.report import figures
from theory_lab.theory import averages, first_order, hard_instances, reshuffling_bias, tuned

RR, WR = "random_reshuffling", "with_replacement"
SHORT = {RR: "RR", WR: "WR"}
SIZES = {"first_order": {"y": 8}, "zeroth_order": {"x": 8}, "hybrid": {"x": 4, "y": 4}}
METHODS = tuple(SIZES)
CURVES = [(method, ordering) for method in METHODS for ordering in (RR, WR)]
POWERS = {curve: (-1 / 2, 0.0) for curve in CURVES} | {("first_order", RR): (-3 / 4, 1 / 2)}  # in T, and in n at fixed nT
PROMISED = {curve: -1 / 2 for curve in CURVES} | {("first_order", RR): -2 / 3}  # what the theorems promise in T
SOURCES = {WR: "theory_lab, Corollary 1b", RR: "theory_lab, Corollary 2c"}
BOUND = "theory_lab, first-order reshuffling"

# Exact laws cost nothing: far out the exponents have come within 0.01 of their limits.
LONG = [10**k for k in (6, 7, 8, 9)]  # T, at n = 8
MANY, STEPS = [16, 32, 64, 128, 256], 2**34  # n, and nT
N, BATCHES = 8, 32
GRID = [0.5**j for j in range(1, 11)]  # step sizes of the simulated runs in units of 1/L, of 1/(L (d + 2)) zeroth order
NOISE = 1e7  # sigma^2 on the minimax instance (Delta = L = 1): eta_0 n L is small, and T suffices for kappa <= L
MULTIPLES = [2.0**j for j in range(-2, 10)]  # of eta_0, among which the least average is sought


@dataclass(frozen=True)
class Settings:
    """Budgets and sample sizes.

    Attributes:
        epochs: T of the simulated curves, increasing.
        hard_epochs: T on the minimax instance of N components.
        hard_n: n on the minimax instance at fixed nT = hard_steps.
        hard_steps: nT there.
        seeds: of every simulated run, a multiple of BATCHES.
    """

    epochs: tuple[int, ...]
    hard_epochs: tuple[int, ...]
    hard_n: tuple[int, ...]
    hard_steps: int
    seeds: int


QUICK = Settings((32, 64, 128, 256, 512), (256, 512, 1024, 2048, 4096), (4, 16, 64), 16384, 64)
FULL = Settings((32, 64, 128, 256, 512, 1024), (256, 512, 1024, 2048, 4096, 8192), (4, 8, 16, 32, 64, 128), 32768, 128)


def cells(settings: Settings) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = [
        {"part": "runs", "problem": problem, "method": method, "ordering": ordering, "epochs": list(settings.epochs)}
        for problem in ("quadratic", "one-sided")
        for method, ordering in CURVES
    ]
    longest = max(settings.hard_epochs)
    minimax: list[dict[str, Any]] = [
        {"part": "minimax", "axis": "epochs", "n": N, "epochs": t, "run": longest} for t in settings.hard_epochs
    ]
    minimax += [
        {"part": "minimax", "axis": "n", "n": n, "epochs": settings.hard_steps // n, "run": settings.hard_steps // n}
        for n in settings.hard_n
    ]
    return [{"part": "exact"}, *({**cell, "seeds": settings.seeds} for cell in [*runs, *minimax])]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Rows with part, problem, method, ordering, axis, n, epochs, step, batch, value, and in theory: exact, bound."""
    parts = {"exact": lambda *_: _exact_curves(), "runs": _runs, "minimax": _minimax}
    return parts[cell["part"]](cell, key).assign(part=cell["part"])


def _exact_curves() -> pd.DataFrame:
    axes = {"epochs": [(N, epochs) for epochs in LONG], "n": [(n, STEPS // n) for n in MANY]}
    rows = [
        {"problem": problem, "method": method, "ordering": ordering, "axis": axis, "n": n, "epochs": epochs, "value": value}
        for axis, points in axes.items()
        for n, epochs in points
        for problem, method, ordering, value in _exact_point(n, epochs)
    ]
    return pd.DataFrame([*rows, *_two_types()])


def _exact_point(n: int, epochs: int) -> list[tuple[str, str, str, float]]:
    """The least exact averages at one n and T; hybrid steps are best in either block, and the blocks add up."""
    least = [("quadratic", *curve, sum(_least(*curve, n, epochs))) for curve in CURVES]
    noise_free = sum(_least("first_order", RR, n, epochs, dispersion=0.0))
    return [*least, ("without noise", "first_order", RR, noise_free)]


def _least(method: str, ordering: str, n: int, epochs: int, *, dispersion: float = 1.0) -> list[float]:
    return [
        averages.least_average(
            curvature=1.0, dispersion=dispersion, initial_gap=1.0, n=n, epochs=epochs, ordering=ordering,
            dimension=size if label == "x" else None,
        )[1]
        for label, size in SIZES[method].items()
    ]  # fmt: skip


def _two_types() -> list[dict[str, Any]]:
    """Squared bias and variance at eta = log(nT)/(nT), without the powers of log(nT) that they carry."""
    n, spread, rows = 20, 0.5, []
    for epochs in (2**k * 100 for k in range(5)):
        log = math.log(n * epochs)
        mean, second = reshuffling_bias.two_type_moments(log / (n * epochs), 1.0, spread, 1.0, n)
        parts = {"bias^2": mean**2 / log**2, "variance": (second - mean**2) / log**3}
        common = {"method": "first_order", "ordering": RR, "axis": "epochs", "n": n, "epochs": epochs}
        rows += [{"problem": f"two types, {name}", **common, "value": value} for name, value in parts.items()]
    return rows


def _runs(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Simulated averages at every T and step size of the grid; one problem shape, so that both problems share a program."""
    method, ordering, sizes = cell["method"], cell["ordering"], SIZES[cell["method"]]
    problem = hard.one_sided(sizes, n=N, slope=0.1, key=jax.random.fold_in(key, 0))
    if cell["problem"] == "quadratic":  # curved on both sides
        centre = {label: jnp.zeros(size) for label, size in sizes.items()}
        problem = dataclasses.replace(problem, below=problem.above, slope=0 * problem.slope, optimum=centre)
    steps = {label: np.array(GRID) / (size + 2 if label == "x" else 1) for label, size in sizes.items()}
    oracles = {"x": tl.TwoPoint(1e-5, sided=2), "y": tl.FirstOrder()}
    start = {label: jnp.full(size, math.sqrt(2 / size)) for label, size in sizes.items()}  # f = 1 in each curved block
    gap = float(problem.value(start) - problem.value(problem.optimum))
    trace = tl.sweep(
        problem,
        tl.Hybrid({label: oracles[label] for label in sizes}),
        tl.hybrid_sgd,
        step_sizes=steps,
        epochs=max(cell["epochs"]),
        keys=jax.random.split(jax.random.fold_in(key, 1), cell["seeds"]),
        ordering=tl.orderings.ORDERINGS[ordering],
        params=start,
        resolution="epoch" if ordering == RR else "step",
    )
    frames = []
    for epochs in cell["epochs"]:
        values = trace.total_gradient_norm_sq[..., trace.epoch < epochs].mean(axis=-1).reshape(len(GRID), BATCHES, -1)
        known = {"method": method, "ordering": ordering, "problem": cell["problem"], "axis": "epochs", "epochs": epochs}
        known["bound"] = _bound(method, ordering, gap, epochs)
        for index, batches in enumerate(values.mean(axis=-1)):
            chosen = {label: grid[index] for label, grid in steps.items()}
            law = _law(chosen, ordering, epochs) if cell["problem"] == "quadratic" else np.nan
            point = known | {"n": N, "step": GRID[index], "exact": law}
            frames.append(pd.DataFrame({**point, "batch": range(BATCHES), "value": batches}))
    return pd.concat(frames, ignore_index=True)


def _bound(method: str, ordering: str, gap: float, epochs: int) -> float:
    """The tuned bounds on the average of E||grad f||^2 at equal step sizes in both blocks."""
    if method == "first_order" and ordering == RR:
        tuned_step = first_order.reshuffling_tuned(smoothness=1.0, dispersion=1.0, initial_gap=gap, n=N, epochs=epochs)
        return tuned_step.bound
    dispersion = tuple(float(label in SIZES[method]) for label in ("x", "y"))
    blocks: Any = {"smoothness": (1.0, 1.0), "dispersion": dispersion, "rank": SIZES[method].get("x", 1)}
    if ordering == RR:
        return tuned.reshuffling_tuned(initial_gap=gap, n=N, epochs=epochs, shares=(1, 1), **blocks).bound
    return tuned.with_replacement_tuned(initial_gap=gap, steps=N * epochs, shares=(1, 1), **blocks).bound


def _law(steps: dict[str, float], ordering: str, epochs: int) -> float:
    return sum(
        averages.quadratic_average(
            step, curvature=1.0, dispersion=1.0, initial_gap=1.0, n=N, epochs=epochs, ordering=ordering,
            dimension=(4 if len(steps) == 2 else 8) if label == "x" else None,
        )
        for label, step in steps.items()
    )  # fmt: skip


def _minimax(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Simulated averages on the instance made for n and T, at multiples of its eta_0, and the tuned upper bound."""
    n, epochs = cell["n"], cell["epochs"]
    made = hard_instances.minimax(smoothness=1.0, dispersion=NOISE, initial_gap=1.0, n=n, epochs=epochs)
    problem = hard.minimax(
        "y", n=n, slope=made.slope, curvature=made.curvature, dispersion=NOISE, copies=3, key=jax.random.fold_in(key, 0)
    )
    trace = tl.sweep(
        problem,
        tl.FirstOrder(),
        tl.hybrid_sgd,
        step_sizes={"y": made.step_size * np.array(MULTIPLES)},
        epochs=cell["run"],  # longer than needed, so that all T share a program
        keys=jax.random.split(jax.random.fold_in(key, 1), cell["seeds"]),
    )
    gap = 1.0 + made.slope**2 / 2
    bound = first_order.reshuffling_tuned(smoothness=1.0, dispersion=NOISE, initial_gap=gap, n=n, epochs=epochs).bound
    values = trace.total_gradient_norm_sq[..., trace.epoch < epochs].mean(axis=-1).reshape(len(MULTIPLES), BATCHES, -1)
    point = {"problem": "minimax", "method": "first_order", "ordering": RR, "axis": cell["axis"], "n": n, "epochs": epochs}
    known = {"exact": made.average, "bound": bound}
    return pd.concat(
        [
            pd.DataFrame({**point, **known, "step": multiple, "batch": range(BATCHES), "value": batches})
            for multiple, batches in zip(MULTIPLES, values.mean(axis=-1), strict=True)
        ],
        ignore_index=True,
    )


def judge(frame: pd.DataFrame) -> list[Verdict]:
    return [
        *_judge_exact(frame[frame.part == "exact"]),
        *_judge_runs(frame),
        *_judge_minimax(frame[frame.part == "minimax"]),
    ]


def _judge_exact(frame: pd.DataFrame) -> list[Verdict]:
    quadratic = frame[frame.problem == "quadratic"]
    verdicts = []
    for method, ordering in CURVES:
        source = "theory_lab, exact stationary laws" if (method, ordering) == ("first_order", RR) else SOURCES[ordering]
        for axis, power in zip(("epochs", "n"), POWERS[method, ordering], strict=True):
            named = f"quadratic, {_words(method)}, {SHORT[ordering]}: exponent {_in(axis)}"
            found = claim(named, source, "equals", power, tolerance=0.02 if axis == "epochs" else 0.03)
            verdicts.append(found.check(exact(named, _slope_of(quadratic, method, ordering, axis))))
    rival = claim(
        "quadratic, first order, RR: exponent in T equals that of the bound", BOUND, "equals", -2 / 3, tolerance=0.02,
        expected="fails", why="with one Hessian the floor at epoch starts is eta^3 n^2, and larger steps pay",
    )  # fmt: skip
    verdicts.append(rival.check(exact("slope", _slope_of(quadratic, "first_order", RR, "epochs"))))
    for problem, power, source in (
        ("without noise", -1.0, "theory_lab, epochs to eps"),
        ("two types, bias^2", -2.0, "theory_lab, rates of reshuffling"),
        ("two types, variance", -3.0, "theory_lab, rates of reshuffling"),
    ):
        slope = exact("slope", _slope_of(frame[frame.problem == problem], "first_order", RR, "epochs"))
        verdicts.append(claim(f"{problem}, RR: exponent in T", source, "equals", power, tolerance=0.03).check(slope))
    return verdicts


def _judge_runs(frame: pd.DataFrame) -> list[Verdict]:
    runs = frame[frame.part == "runs"]
    quadratic, rough = runs[runs.problem == "quadratic"], runs[runs.problem == "one-sided"]
    curves = [rows for _, rows in quadratic.groupby(["method", "ordering"])]
    levels = [(rows.value / rows.exact).groupby(rows.batch).mean() for rows in curves]
    level = confidence(len(levels))
    law = claim(
        "quadratic: simulated / exact average, all curves",
        "theory_lab, Theorem 5",
        "equals",
        1,
        tolerance=0.05,
    )
    ratios = [mean("level", each.to_numpy(), confidence=level) for each in levels]
    verdicts = [law.check(farthest("the level farthest from 1", ratios, centre=1.0))]
    for ordering in (RR, WR):
        below = claim(
            f"one-sided quadratic, {SHORT[ordering]}, all methods: least average / tuned bound",
            SOURCES[ordering],
            "at most",
            1,
        )
        best = _at_best(rough[rough.ordering == ordering])
        verdicts.append(below.check(largest("largest ratio", _ratios(best, "bound"))))
    # A bound limits levels; no theorem says that slopes keep to its exponent at these T. Registered after the outcome.
    why = "where noise just reaches the kink averages fall more slowly, below the bound"
    for method, ordering in (*((method, RR) for method in METHODS), ("first_order", WR)):
        slope = _slope(rough[(rough.method == method) & (rough.ordering == ordering)], "epochs")
        falls = claim(
            f"one-sided quadratic, {_words(method)}, {SHORT[ordering]}: exponent in T is no larger than the bound's",
            "measured conjecture", "at most", PROMISED[method, ordering],
            expected="holds" if ordering == RR else "fails", why="" if ordering == RR else why,
        )  # fmt: skip
        verdicts.append(falls.check(slope))
    return verdicts


def _judge_minimax(frame: pd.DataFrame) -> list[Verdict]:
    source = "theory_lab, hard instance for reshuffling"
    in_t, in_n = (_slope(frame[frame.axis == axis], axis) for axis in ("epochs", "n"))
    best = _at_best(frame)
    above, below = (_ratios(best, column) for column in ("exact", "bound"))
    return [
        claim("minimax instance: exponent in T", source, "equals", -2 / 3, tolerance=0.05).check(in_t),
        claim("minimax instance: exponent in n at fixed nT", source, "equals", 1 / 3, tolerance=0.05).check(in_n),
        claim("minimax instance: least average / s^2", source, "at least", 1.0).check(smallest("smallest ratio", above)),
        claim("minimax instance: least average / bound", BOUND, "at most", 1.0).check(largest("largest ratio", below)),
        claim("minimax instance: least average / bound, tight up to a constant", BOUND, "at least", 0.02).check(
            smallest("smallest ratio", below)
        ),
    ]


def _slope_of(rows: pd.DataFrame, method: str, ordering: str, axis: str) -> float:
    """The least-squares slope of an exact curve."""
    curve = rows[(rows.method == method) & (rows.ordering == ordering) & (rows.axis == axis)]
    return float(np.polyfit(np.log(curve[axis].astype(float)), np.log(curve.value), 1)[0])


def _at_best(rows: pd.DataFrame) -> pd.DataFrame:
    """At every point of every curve the batches of the step size that did best."""
    point = ["problem", "method", "ordering", "axis", "n", "epochs"]
    means = rows.groupby([*point, "step"]).value.mean().reset_index()
    best = means.loc[means.groupby(point).value.idxmin(), [*point, "step"]]
    return rows.merge(best, on=[*point, "step"])


def _slope(rows: pd.DataFrame, axis: str) -> Measurement:
    """The slope of the least averages; the budgets of one run share its seeds, instances do not."""
    table = _at_best(rows).pivot(index="batch", columns=axis, values="value")
    return rate.loglog_slope(table.columns.to_numpy(), table.to_numpy(), paired=(rows.part == "runs").all())


def _ratios(rows: pd.DataFrame, per: str) -> list[Measurement]:
    groups = list(rows.groupby(["method", "axis", "n", "epochs"]))
    level = confidence(len(groups))
    return [mean(str(at), (group.value / group[per]).to_numpy(), confidence=level) for at, group in groups]


def _words(method: str) -> str:
    return method.replace("_", " ")


def _in(axis: str) -> str:
    return "in T" if axis == "epochs" else "in n at fixed nT"


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    figure, axes = figures.new_figure(2, 2, height=8.2, width=11)
    exact_rows = frame[(frame.part == "exact") & (frame.problem == "quadratic")]
    _draw_exact(axes[0, 0], exact_rows, "epochs", f"quadratic, exact law, n = {N}")
    _draw_exact(axes[0, 1], exact_rows, "n", "quadratic, exact law, nT = 2³⁴")
    _draw_minimax(axes[1, 0], frame[frame.part == "minimax"])
    _draw_one_sided(axes[1, 1], frame[(frame.part == "runs") & (frame.problem == "one-sided")])
    figures.title_with_verdicts(figure, "Powers of T and n that the best constant step size reaches", verdicts)
    return figure


def _draw_exact(axes: Axes, rows: pd.DataFrame, axis: str, title: str) -> None:
    """Curves that lie upon each other are told apart by markers of different sizes."""
    for size, (method, ordering) in zip((6, 6, 10, 6, 10, 6), CURVES, strict=True):
        curve = rows[(rows.method == method) & (rows.ordering == ordering) & (rows.axis == axis)]
        look, power = figures.look(method, ordering), POWERS[method, ordering][axis == "n"]
        axes.plot(
            curve[axis], curve.value, marker=look.marker, color=look.colour, linestyle=look.line, markersize=size,
            markerfacecolor="none", label=f"{_words(method)}, {SHORT[ordering]}: {_power(power)}",
        )  # fmt: skip
        last = curve.iloc[-1]
        figures.theory_line(
            axes, curve[axis], last.value * (curve[axis].astype(float) / last[axis]) ** power, label="predicted power"
        )
    _logarithmic(axes, "epochs T" if axis == "epochs" else "components n", title)
    if axis == "n":
        _ticks(axes, MANY)
    figures.legend(axes, fontsize=7.5, loc="lower left" if axis == "epochs" else "center right")


def _draw_minimax(axes: Axes, rows: pd.DataFrame) -> None:
    """Over T both scans are drawn: at n = N, and along nT = const, where n falls as T grows."""
    for axis, colour, marker, label in (
        ("epochs", "#56B4E9", "o", f"n = {N}: slope in T  {_found(rows, 'epochs')}"),
        ("n", "#0072B2", "^", f"nT fixed: slope in n  {_found(rows, 'n')}"),
    ):
        best = _at_best(rows[rows.axis == axis]).groupby("epochs").agg(
            value=("value", "mean"), error=("value", "sem"), exact=("exact", "first"), bound=("bound", "first")
        )  # fmt: skip
        look = figures.Look(colour, marker, "-", label)
        figures.band(axes, best.index, best.value, best.value - 2.6 * best.error, best.value + 2.6 * best.error, like=look)
        figures.theory_line(axes, best.index, best.exact, label="s², lower bound")
        figures.theory_line(axes, best.index, best.bound, label="upper bound, tuned", line="--")
    _logarithmic(axes, "epochs T", "minimax instance, first order, RR (simulated)")
    _ticks(axes, sorted(rows.epochs.unique()))
    figures.legend(axes, fontsize=8)


def _found(rows: pd.DataFrame, axis: str) -> str:
    slope = _slope(rows[rows.axis == axis], axis)
    return f"{slope.value:.3f} [{slope.low:.3f}, {slope.high:.3f}]"


def _draw_one_sided(axes: Axes, rows: pd.DataFrame) -> None:
    for method, ordering in CURVES:
        curve = rows[(rows.method == method) & (rows.ordering == ordering)]
        best = _at_best(curve).groupby("epochs").value.agg(["mean", "sem"])
        slope, promised = _slope(curve, "epochs").value, PROMISED[method, ordering]
        label = f"{_words(method)}, {SHORT[ordering]}: {slope:.2f}, bound {promised:.2f}"
        low, high = best["mean"] - 2.6 * best["sem"], best["mean"] + 2.6 * best["sem"]
        figures.band(axes, best.index, best["mean"], low, high, like=figures.look(method, ordering), label=label)
    _logarithmic(axes, "epochs T", f"one-sided quadratic, n = {N} (simulated)")
    _ticks(axes, sorted(rows.epochs.unique()))
    figures.legend(axes, fontsize=7.5, title="slope in T")


def _logarithmic(axes: Axes, label: str, title: str) -> None:
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="least average of E‖∇f‖²", title=title)
    axes.xaxis.set_minor_locator(NullLocator())


def _ticks(axes: Axes, values: Any) -> None:
    axes.set_xticks(values, [str(value) for value in values])


def _power(power: float) -> str:
    return {-1 / 2: "−1/2", -3 / 4: "−3/4", 1 / 2: "+1/2", 0.0: "0"}[power]
