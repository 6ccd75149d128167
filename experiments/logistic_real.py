"""Do step size limits, floors and bounds hold on logistic regression with real data, predicted from measured constants?

The columns are halved into a zeroth-order block x and a first-order block y. *First order* takes gradients of both, *zeroth
order* one gaussian direction for both together, *hybrid* one for x and the gradient of y. From the exact Hessian H and the
covariance of the rows' gradients at the certified optimum z* follow, without a fit,

- the mean-square limit of the step size of the dynamics linearised at z* (theory_lab, Theorem 5; zeroth order: sum_i eta
  l_i / (2 - 2 eta l_i) = 1). The trace alone brackets it, 2/(tr H + 2 |H|) <= eta* <= 2/(tr H (1 + 2/d)); the dimension,
  2/(|H| (d+2)), misses it by the ratio of dimension to effective rank.
- the floor E f - f* of small step sizes with minibatches, reshuffled or with replacement (exact for components that share H;
  under reshuffling first order also has the bias of unequal curvatures, -(eta/2) (N-1)/(n-1) H^-1 mean H_i g_i for n rows in
  N random minibatches). Neglected: the spread of H_i and third derivatives, relative errors of the order of the step size.
- the bounds of Theorems 1 and 2, from declared constants, at their own step sizes.

The limit is measured on the loss itself. Second moments near it live on rare runs (the effective rank is 3 to 9), so sample
means would lie; instead particles around z* take steps of the method, are drawn again in proportion to how much their
|z - z*|^2 has grown, and are shrunk back: the mean growth per step converges to that of the second moment. The limit is
where it crosses 1, by interpolation.

What would refute it: a limit off by more than a twentieth, a floor by more than a fifth, a bound crossed, a run below f*.

Data: breast cancer and digits (scikit-learn), and LIBSVM files where --data names one or a folder of them, as they stand,
evenly spaced rows where there are more than the settings take.

Quick: breast cancer alone, first order and hybrid.

Minutes: quick 0.2, full 2.4.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import theory_lab as tl
from experiments._logistic import BUNDLED, METHODS, MINIBATCHES, Local, files, local, oracle
from experiments._rows import measurements, quotients, row
from theory_lab.claims import Verdict, claim
from theory_lab.measure import Measurement, exact, family, mean, particles
from theory_lab.report import figures
from theory_lab.theory import quadratic

LOCAL = 1e-5  # distance from z* at which the dynamics is linear for all purposes
FLOOR_SHARES = {"first_order": 0.0015, "zeroth_order": 0.005, "hybrid": 0.005}  # step sizes, as shares of the limits
TRAINING_SHARE = 0.02  # step sizes of training
RATIOS = (0.9, 1.0, 1.1)  # step sizes around the predicted limit
RR, WR = "random_reshuffling", "with_replacement"
STABILITY = "theory_lab, Theorem 5, stability"
RECURSION = "theory_lab, Theorem 5"
MINIMUM = "theory_lab, certified minimum"


@dataclass(frozen=True)
class Settings:
    """How much of it.

    Attributes:
        rows: of each data set, at most.
        limits: (data set, method) whose limits are measured.
        runs: (data set, method) whose floors, bounds and training are measured.
        every_step: data sets on which Theorem 1 is measured; it averages over all iterates.
        populations, particles, steps: of the measured limits; the first quarter of the steps is not counted.
        seeds, epochs: of the runs.
        data: a LIBSVM file or a folder of them; hybrid alone is run on these.
    """

    rows: int
    limits: tuple[tuple[str, str], ...]
    runs: tuple[tuple[str, str], ...]
    every_step: tuple[str, ...]
    populations: int
    particles: int
    steps: int
    seeds: int
    epochs: int
    data: str = ""


CANCER = "breast cancer"
QUICK = Settings(
    256, ((CANCER, "zeroth_order"),), ((CANCER, "first_order"), (CANCER, "hybrid")), (),
    populations=32, particles=32, steps=48, seeds=256, epochs=48,
)  # fmt: skip
FULL = Settings(
    4096,
    limits=tuple((name, method) for name in BUNDLED for method in METHODS[1:]),
    runs=tuple((name, method) for name in BUNDLED for method in METHODS),
    every_step=tuple(BUNDLED),
    populations=32, particles=48, steps=80, seeds=256, epochs=64,
)  # fmt: skip


def cells(settings: Settings) -> list[dict[str, Any]]:
    s, own = settings, files(settings.data)
    size = {"populations": s.populations, "particles": s.particles, "steps": s.steps}
    limits = [*s.limits, *((path, method) for path in own for method in METHODS[1:])]
    grid: list[dict[str, Any]] = [
        {"part": "limit", "data": name, "rows": s.rows, "method": method, **size} for name, method in limits
    ]
    for name, method in [*s.runs, *((path, "hybrid") for path in own)]:
        seeds = s.seeds * (2 if method == "first_order" else 1)  # its floors are compared the most closely
        at = {"part": "runs", "data": name, "rows": s.rows, "seeds": seeds, "epochs": s.epochs, "method": method}
        grid += [{**at, "ordering": ordering} for ordering in (RR, WR)]
    for name in [*s.every_step, *own]:
        at = {"part": "steps", "data": name, "rows": s.rows, "seeds": 32, "epochs": 16, "method": "hybrid"}
        grid.append({**at, "ordering": WR})
    return [{**cell, "confidence": family.confidence(len(grid))} for cell in grid]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """One data set: the limit of a method; or its floor, its bound and its training under an ordering."""
    parts = {"limit": _limit, "runs": _runs, "steps": _every_step}
    known = {"data": Path(cell["data"]).name, "method": cell["method"], "ordering": cell.get("ordering", "")}
    rows = parts[cell["part"]](local(cell["data"], cell["rows"]), cell, key)
    return pd.DataFrame([{**known, **columns} for columns in rows])


def _row(quantity: str, measured: Measurement, predicted: float = np.nan, x: float = np.nan) -> dict[str, Any]:
    return {"quantity": quantity, "x": float(x), **row(measured), "predicted": float(predicted)}


def _limit(at: Local, cell: dict[str, Any], key: jax.Array) -> Iterator[dict[str, Any]]:
    """The growth per step around the predicted limit and where it crosses 1; and the limits that others would predict."""
    method, level = cell["method"], cell["confidence"]
    eta_x, eta_y = at.limits(method)
    tried = eta_x * np.array(RATIOS)
    rates = {"x": tried, "y": np.full(len(RATIOS), eta_y) if method == "hybrid" else tried}
    growths = particles.growths(
        at.problem, oracle(method, radius=LOCAL, sided=2), rates, jax.random.split(key, cell["populations"]),
        distance=LOCAL, particles=cell["particles"], steps=cell["steps"], shape=at.slow_shape(method),
    )  # fmt: skip
    for ratio, x, y, logs in zip(RATIOS, rates["x"], rates["y"], growths.T, strict=True):
        predicted = np.log(quadratic.growth_factor(at.hessian, at.perturbed(method), (x, y)))
        yield _row("growth", mean("log growth", logs, confidence=level), predicted, ratio)
    yield _row("limit", particles.limit("limit", tried, growths, confidence=level), eta_x)
    if method == "zeroth_order":
        for name, other in at.other_limits().items():
            yield _row(f"limit by {name}", exact(name, other))
        yield _row("certificate", exact("f(z*) - f* at most", at.certificate))


def _runs(at: Local, cell: dict[str, Any], key: jax.Array) -> Iterator[dict[str, Any]]:
    """Floor, bound and training of a method under an ordering; three sweeps, one compilation."""
    method, ordering, level, epochs = cell["method"], cell["ordering"], cell["confidence"], cell["epochs"]
    sweep, origin = _sweep(at, cell, key), jax.tree.map(jnp.zeros_like, at.problem.optimum)
    small, large = (np.multiply(share, at.limits(method)) for share in (FLOOR_SHARES[method], TRAINING_SHARE))

    trace = sweep(step_sizes=dict(zip("xy", small, strict=True)), params=at.problem.optimum)
    late = trace.epoch >= epochs // 2
    floor = mean("floor", (trace.value[0][:, late] - at.optimal_value).mean(axis=1), confidence=level)
    yield _row("floor", floor, at.floor(method, ordering, (small[0], small[1]), epochs)[late].mean())
    lowest = trace.value.min()

    if ordering == RR:
        steps, bound = at.bounded(method, ordering, epochs)
        trace = sweep(step_sizes=steps, params=origin)
        yield _row("average of squared gradients", _average(trace, steps, level), bound)
        lowest = min(lowest, trace.value.min())

    trace = sweep(step_sizes=dict(zip("xy", large, strict=True)), params=origin)
    for epoch, gaps in zip(trace.epoch, (trace.value[0] - at.optimal_value).T, strict=True):
        if epoch in (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, epochs):
            yield _row("training", mean("gap", gaps, confidence=level), x=epoch)
    yield _row("lowest value less f*", exact("gap", min(lowest, trace.value.min()) - at.optimal_value))


def _every_step(at: Local, cell: dict[str, Any], key: jax.Array) -> Iterator[dict[str, Any]]:
    """The hybrid method with replacement at its theorem's step sizes; all iterates are logged."""
    steps, bound = at.bounded(cell["method"], cell["ordering"], cell["epochs"])
    origin = jax.tree.map(jnp.zeros_like, at.problem.optimum)
    trace = _sweep(at, cell, key)(step_sizes=steps, params=origin, resolution="step")
    yield _row("average of squared gradients", _average(trace, steps, cell["confidence"]), bound)


def _sweep(at: Local, cell: dict[str, Any], key: jax.Array) -> Any:
    return partial(
        tl.sweep, at.problem, oracle(cell["method"]), tl.hybrid_sgd, epochs=cell["epochs"],
        ordering=tl.orderings.ORDERINGS[cell["ordering"]], keys=jax.random.split(key, cell["seeds"]),
        batch_size=at.problem.n // MINIBATCHES,
    )  # fmt: skip


def _average(trace: tl.Trace, steps: dict[str, float], level: float) -> Measurement:
    """sum_b eta_b |grad_b f|^2, averaged over the epoch starts, or over all iterates where they were logged."""
    average = trace.average_over_steps if trace.every_step else trace.average
    total = sum(eta * average(trace.gradient_norm_sq[b])[0] for b, eta in steps.items())
    return mean("average", total, confidence=level)


def judge(frame: pd.DataFrame) -> list[Verdict]:
    """Bands: a finite ensemble misses the rarest growth, which puts the measured limits of the hybrid method a few per cent
    high; a floor neglects what is of the order of the step size.
    """
    of = {quantity: rows for quantity, rows in frame.groupby("quantity")}
    lowest = claim("no run goes below the certified minimum: least f - f*", MINIMUM, "at least", -1e-12)
    certified = claim("f(z*) - f* is certified, largest over data", MINIMUM, "at most", 1e-12)
    return [
        certified.check(family.largest("|grad f(z*)|^2/(2 l2)", measurements(of["certificate"]))),
        lowest.check(family.smallest("f - f*", measurements(of["lowest value less f*"]))),
        *_judge_limits(of),
        *_judge_floors(of["floor"]),
        *_judge_bounds(of["average of squared gradients"]),
    ]


def _judge_limits(of: dict[str, pd.DataFrame]) -> list[Verdict]:
    ratios = quotients(of["limit"], "predicted")
    verdicts = []
    for method, rows in ratios.groupby("method", sort=False):
        name = f"{figures.look(str(method)).label}: step size limit / predicted, farthest from 1"
        found = family.farthest("measured/predicted", measurements(rows), centre=1.0)
        verdicts.append(claim(name, STABILITY, "equals", 1.0, tolerance=0.1).check(found))
    average = claim("step size limits / predicted, averaged over data and methods", STABILITY, "equals", 1.0, tolerance=0.05)
    below = claim("the trace bounds the limit below: least measured / (2/(tr H + 2|H|))", STABILITY, "at least", 1.0)
    above = claim("the trace bounds the limit above: largest measured / (2/(tr H (1 + 2/d)))", STABILITY, "at most", 1.0)
    folklore = claim(
        "the limit is 2/(|H|(d+2)), within a factor of 2: least measured / that", "folklore: eta ~ 1/(L d)", "at most", 2.0,
        expected="fails", why="the effective rank of real data is far below the dimension",
    )  # fmt: skip
    lower, upper, dimension = (_in_units(of, name) for name in ("trace, lower", "trace, upper", "dimension"))
    return [
        *verdicts,
        average.check(family.average("measured/predicted", measurements(ratios))),
        below.check(family.smallest("measured/lower", lower)),
        above.check(family.largest("measured/upper", upper)),
        folklore.check(family.smallest("measured/by dimension", dimension)),
    ]


def _in_units(of: dict[str, pd.DataFrame], name: str) -> list[Measurement]:
    """The measured limits of zeroth order in units of another prediction, data set by data set."""
    measured = of["limit"][of["limit"].method == "zeroth_order"].set_index("data")
    return measurements(quotients(measured.assign(unit=of[f"limit by {name}"].set_index("data").value), "unit"))


def _judge_floors(floors: pd.DataFrame) -> list[Verdict]:
    ratios, gains = measurements(quotients(floors, "predicted")), _gains(floors)
    average = claim("floors / predicted, averaged over all", RECURSION, "equals", 1.0, tolerance=0.12)
    worst = claim("floors / predicted, farthest from 1", RECURSION, "equals", 1.0, tolerance=0.25)
    verdicts = [
        average.check(family.average("measured/predicted", ratios)),
        worst.check(family.farthest("measured/predicted", ratios, centre=1.0)),
    ]
    for _, gain in gains[gains.data == floors.data.iloc[0]].iterrows():
        name = f"{figures.look(gain.method).label}: floor with reshuffling / with replacement, {gain['data']}"
        statement = claim(name, RECURSION, "equals", gain.predicted, tolerance=0.25 * gain.predicted)
        verdicts += [statement.check(measured) for measured in measurements(gain.to_frame().T)]
    folklore = claim(
        "reshuffling at least halves every floor: largest floor RR/WR", "folklore: reshuffling beats replacement", "at most",
        0.5, expected="fails", why="the noise of the directions is most of it where there are any, and is not reshuffled",
    )  # fmt: skip
    return [*verdicts, folklore.check(family.largest("RR/WR", measurements(gains)))]


def _gains(floors: pd.DataFrame) -> pd.DataFrame:
    """The floor with reshuffling over that with replacement, a row per data set and method."""
    rr, wr = (floors[floors.ordering == ordering].set_index(["data", "method"]) for ordering in (RR, WR))
    ends = {"value": rr.value / wr.value, "low": rr.low / wr.high, "high": rr.high / wr.low}
    table = pd.DataFrame({**ends, "predicted": rr.predicted / wr.predicted, "samples": rr.samples})
    return table.reindex(rr.index).reset_index()


def _judge_bounds(averages: pd.DataFrame) -> list[Verdict]:
    words = "average of sum eta_b |grad_b f|^2 at the theorem's step sizes, largest measured/bound"
    sources = {RR: "theory_lab, Theorem 2", WR: "theory_lab, Theorem 1"}
    return [
        claim(f"{figures.look(str(ordering)).label}: {words}", sources[str(ordering)], "at most", 1.0).check(
            family.largest("measured/bound", measurements(rows))
        )
        for ordering, rows in quotients(averages, "predicted").groupby("ordering", sort=False)
    ]


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    """Colours are methods, markers data sets; hollow is with replacement."""
    figure, axes = figures.new_figure(2, 3, width=11.0, height=7.4)
    of = {quantity: rows for quantity, rows in frame.groupby("quantity", sort=False)}
    names = list(frame.data.unique())
    _draw_limits(axes[0, 0], of)
    _draw_growths(axes[0, 1], of["growth"], names)
    _draw_training(axes[0, 2], of["training"])
    _draw_by_method(axes[1, 0], quotients(of["floor"], "predicted"), names, theory="predicted")
    axes[1, 0].set(ylabel="measured / predicted", title="Floors E f − f* at small steps", ylim=(0.7, 1.6))
    _draw_by_method(axes[1, 1], _gains(of["floor"]).assign(ordering=""), names)
    axes[1, 1].set(yscale="log", ylabel="floor RR / WR", title="What reshuffling is worth", ylim=(1e-4, 200))
    averages = quotients(of["average of squared gradients"], "predicted")
    _draw_by_method(axes[1, 2], averages, names, theory="bound", line="--")
    axes[1, 2].set(yscale="log", ylabel="measured / bound", title="Bounds from declared constants", ylim=(1e-3, 100))
    figures.title_with_verdicts(
        figure, "Logistic regression on real data: limits, floors and bounds from measured constants", verdicts
    )
    return figure


def _look(method: str, name: str, names: list[str]) -> figures.Look:
    return replace(figures.look(method), marker="osD^vP<>"[names.index(name) % 8])


def _draw_limits(axes: Axes, of: dict[str, pd.DataFrame]) -> None:
    """The limits of zeroth order in every data set, and what would be predicted for them."""
    rows = of["limit"][of["limit"].method == "zeroth_order"]
    other = {name.removeprefix("limit by "): part.set_index("data").value for name, part in of.items() if " by " in name}
    for i, at in enumerate(rows.itertuples()):
        ends = [i - 0.3, i + 0.3]
        figures.points(axes, i, at.value, at.low, at.high, like="zeroth_order", label="measured")
        figures.theory_line(axes, ends, 2 * [at.predicted], label="spectrum: exact")
        lower, upper = other["trace, lower"][at.data], other["trace, upper"][at.data]
        axes.fill_between(ends, lower, upper, color="0.5", alpha=0.35, linewidth=0, label="trace: bracket")
        figures.theory_line(axes, ends, 2 * [other["dimension"][at.data]], label="dimension: 2/(|H|(d+2))", line="--")
        figures.theory_line(axes, ends, 2 * [other["declared constants"][at.data]], label="declared constants", line=":")
    axes.set(yscale="log", ylabel="step size", title="Limit of zeroth order", xlim=(-0.6, len(rows) - 0.4))
    axes.set_ylim(top=1e3 * float(rows.value.max()))
    axes.set_xticks(range(len(rows)), labels=rows.data)
    figures.legend(axes, loc="upper left", fontsize=7.5)


def _draw_growths(axes: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    for (name, method), part in rows.groupby(["data", "method"], sort=False):
        label = f"{figures.look(str(method)).label}, {name}"
        like = _look(str(method), str(name), names)
        figures.band(axes, part.x, part.value, part.low, part.high, like=like, label=label, line=False)
        figures.theory_line(axes, part.x, part.predicted)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.1 * (high - low) * rows.groupby(["data", "method"]).ngroups)
    axes.set(xlabel="step size / predicted limit", ylabel="log growth of E|z − z*|² per step", title="Growth at the limit")
    figures.legend(axes, loc="upper left", fontsize=7.5)


def _draw_training(axes: Axes, rows: pd.DataFrame) -> None:
    name = rows.data.iloc[0]
    for (method, ordering), part in rows[rows.data == name].groupby(["method", "ordering"], sort=False):
        like = figures.look(str(method), str(ordering))
        label = figures.look(str(method)).label if ordering == RR else ""
        figures.band(axes, part.x + 1, part.value, part.low, part.high, like=like, label=label)
    for ordering in (RR, WR):
        axes.plot([], [], color="0.4", linestyle=figures.look(ordering).line, label=figures.look(ordering).label)
    axes.set(xscale="log", yscale="log", xlabel="1 + epoch", ylabel="f − f* at 2% of the limits", title=f"Training, {name}")
    figures.legend(axes, loc="lower left", fontsize=7.5)


def _draw_by_method(axes: Axes, rows: pd.DataFrame, names: list[str], *, theory: str = "", line: str = "-") -> None:
    """Points over the methods, data sets and orderings side by side; what is predicted is 1, or else stands at each."""
    shown = [method for method in METHODS if method in set(rows.method)]
    for at in rows.itertuples():
        place = names.index(at.data) - (len(names) - 1) / 2 + 0.2 * ((at.ordering == WR) - (at.ordering == RR))
        x, look = shown.index(at.method) + 0.7 * place / len(names), _look(at.method, at.data, names)
        figures.points(axes, x, at.value, at.low, at.high, like=look, label="", hollow=at.ordering == WR)
        if not theory:
            figures.theory_line(axes, [x - 0.1, x + 0.1], 2 * [at.predicted], label="predicted")
    ends = [-0.6, len(shown) - 0.4]
    if theory:
        figures.theory_line(axes, ends, [1, 1], label=theory, line=line)
    for name in names if len(names) > 1 else ():
        axes.plot([], [], color="0.4", marker=_look("hybrid", name, names).marker, linestyle="none", label=name)
    for ordering, fill in ((RR, "0.4"), (WR, "white")):
        if ordering in set(rows.ordering):
            label = f"{figures.look(ordering).label} ({'filled' if ordering == RR else 'hollow'})"
            axes.plot([], [], marker="o", linestyle="none", color="0.4", markerfacecolor=fill, label=label)
    axes.set_xlim(*ends)
    axes.set_xticks(range(len(shown)), labels=[figures.look(method).label for method in shown])
    figures.legend(axes, loc="upper left", fontsize=7.5)
