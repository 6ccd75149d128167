"""What grows with the adapter's dimension d_y? The theorems say: nothing.

No d_y stands in the step sizes that Theorems 1 and 2 allow, or in their bounds,

    (1/K) sum_k E sum_b C_b eta_b |grad_b f(z_k)|^2 <= (f(z_0) - f*)/K + N,

at fixed L_y, sigma_y^2 and initial gap. Measured on coupled quadratics with d_y over two decades and everything else fixed:
the largest stable eta_y, the averages of both theorems against their bounds, the stationary |grad_y f|^2, and the steps
until f - f* has fallen to a fifth. Every exponent in d_y is claimed to be 0, with the interval of the fit.

This is a statement about fixed constants. sigma_y^2 is the *total* dispersion: where every new coordinate brings noise of
its own and the dispersion per coordinate is what is fixed, sigma_y^2 = d_y s^2, and the floor grows like d_y: exponent 1.
The constant of the theorem hides this growth. A larger adapter may have another L_y, too; that is not measured here.

Refuted by: an exponent whose interval leaves [-0.05, 0.05] (for the floor at fixed noise per coordinate: [0.95, 1.05]), a
limit below 2/L_y, an average above its bound.

Minutes: quick 0.3, full 0.7.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import theory_lab as tl
from experiments import _rows
from theory_lab.claims import Verdict, claim
from theory_lab.measure import Measurement, family, mean, rate, stability
from theory_lab.orderings import random_reshuffling, with_replacement
from theory_lab.problems.quadratic import BlockQuadratic
from theory_lab.report import figures
from theory_lab.theory import stability_region
from theory_lab.theory import with_replacement as theorem_1
from theory_lab.theory import without_replacement as theorem_2

D_X = 4
KAPPA = D_X + 2
N = 8
COUPLING = 0.3
NOISE = 0.1  # sigma_x^2, and sigma_y^2 or, where it is fixed per coordinate, sigma_y^2 D_X/d_y
REACHED = 0.2  # of the initial gap, which is 1
TOGETHER = 8  # seeds whose mean gap is followed there
ORACLE = tl.Hybrid({"x": tl.TwoPoint(1e-4), "y": tl.FirstOrder()})
STEPS = {"with_replacement": (0.5 / KAPPA, 0.3), "random_reshuffling": (0.12 / KAPPA, 0.04)}  # (eta_x, eta_y)
ORDERINGS = {"with_replacement": with_replacement, "random_reshuffling": random_reshuffling}
SAME = 0.05  # of an exponent: what nobody would mind; over two decades it is a factor of 1.26


@dataclass(frozen=True)
class Settings:
    """The dimensions of the adapter and the effort for each.

    Attributes:
        dimensions: d_y.
        seeds: of every run.
        epochs: of N steps.
    """

    dimensions: tuple[int, ...]
    seeds: int
    epochs: int


QUICK = Settings(dimensions=(4, 40, 400), seeds=256, epochs=30)
FULL = Settings(dimensions=(4, 10, 25, 63, 160, 400), seeds=512, epochs=40)


def cells(settings: Settings) -> list[dict[str, Any]]:
    """A cell is one kind of run at one d_y."""
    kinds = ("limit", "with_replacement", "random_reshuffling", "each")
    effort = {"seeds": settings.seeds, "epochs": settings.epochs}
    return [{"what": what, "d_y": d_y, **effort} for d_y in settings.dimensions for what in kinds]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Rows (what, d_y, seed, value, low, high, samples, note, bound): a limit, or a number per seed (batch, for steps)."""
    rows = pd.DataFrame((_limit if cell["what"] == "limit" else _runs)(cell, key)).assign(d_y=cell["d_y"])
    columns = ["what", "d_y", "seed", "value", "low", "high", "samples", "note", "bound"]
    return rows.reindex(columns=columns).fillna({"note": "", "samples": 0}).astype({"samples": int})


def _problem(d_y: int, key: jax.Array, *, noise_x: float = 0.0, noise_y: float = 0.0) -> BlockQuadratic:
    """L_x = L_y = 1 two-sided, whatever d_y."""
    return tl.block_quadratic(
        {"x": D_X, "y": d_y}, n=N, smoothness=1.0, coupling=COUPLING, dispersion={"x": noise_x, "y": noise_y},
        key=jax.random.fold_in(key, 0),
    )  # fmt: skip


def _limit(cell: dict[str, Any], key: jax.Array) -> Iterator[dict[str, Any]]:
    """The largest stable eta_y beside a tenth of the largest eta_x of the box, without noise.

    With so small an eta_x few runs carry no mean: d_x is small, and nearer to its own limit tails are heavy.
    """
    eta_y = np.linspace(1.5, 3.5, 12)
    eta_x, _ = stability_region.hybrid_smoothness_box((1.0, 1.0), D_X)
    trace = tl.sweep(
        _problem(cell["d_y"], key), ORACLE, tl.hybrid_sgd, step_sizes={"x": np.full_like(eta_y, eta_x / 10), "y": eta_y},
        epochs=9, log_epochs=[4, 9], keys=jax.random.split(jax.random.fold_in(key, 1), cell["seeds"]),
    )  # fmt: skip
    limit = stability.limit(eta_y, trace.value[..., 0], trace.value[..., 1], steps=5 * N, confidence=0.995)
    yield {"what": "limit", **_rows.row(limit)}


def _runs(cell: dict[str, Any], key: jax.Array) -> Iterator[dict[str, Any]]:
    """Averages, floors and steps of noisy runs from one start of gap 1; the bound of the theorem on the average."""
    d_y, seeds, each = cell["d_y"], cell["seeds"], cell["what"] == "each"
    ordering = "with_replacement" if each else cell["what"]
    problem = _problem(d_y, key, noise_x=NOISE, noise_y=NOISE * d_y / D_X if each else NOISE)
    reshuffled = ordering == "random_reshuffling"
    eta_x, eta_y = STEPS[ordering]
    trace = tl.sweep(
        problem, ORACLE, tl.hybrid_sgd, step_sizes={"x": [eta_x], "y": [eta_y]}, ordering=ORDERINGS[ordering],
        epochs=cell["epochs"] * (2 if reshuffled else 1), resolution="epoch" if reshuffled else "step",
        params=_start(problem, jax.random.fold_in(key, 1)), keys=jax.random.split(jax.random.fold_in(key, 2), seeds),
    )  # fmt: skip
    norms = {b: trace.gradient_norm_sq[b][0] for b in ("x", "y")}
    metric = eta_x * norms["x"] + eta_y * norms["y"]
    average = trace.average(metric) if reshuffled else trace.average_over_steps(metric)
    floors = norms["y"][:, norms["y"].shape[1] // 2 :].mean(axis=1)
    if not each:
        bound = _bound(ordering, epochs=int(trace.epoch[-1]))
        yield from ({"what": ordering, "seed": i, "value": value, "bound": bound} for i, value in enumerate(average))
    if each or not reshuffled:
        yield from ({"what": "each" if each else "floor", "seed": i, "value": value} for i, value in enumerate(floors))
    if not each and not reshuffled:
        batches = trace.value[0].reshape(-1, TOGETHER, trace.value.shape[-1]).mean(axis=1)
        yield from ({"what": "steps", "seed": i, "value": _steps(gap)} for i, gap in enumerate(batches))


def _start(problem: BlockQuadratic, key: jax.Array) -> dict[str, jax.Array]:
    """At random, half of f in each block and nothing in the coupling between them, scaled to f = 1."""
    start = dict(problem.init(key))
    pull = jnp.asarray(problem.dense_hessian()[D_X:, :D_X]) @ start["x"]
    start["y"] -= pull * jnp.dot(pull, start["y"]) / jnp.dot(pull, pull)
    return {b: v / jnp.sqrt(2 * problem.value({**jax.tree.map(jnp.zeros_like, start), b: v})) for b, v in start.items()}


def _bound(ordering: str, *, epochs: int) -> float:
    """Theorem 1 or 2 on the average; d_y is not among its arguments."""
    known: Any = {
        "step_sizes": STEPS[ordering], "smoothness": (1.0, 1.0), "dispersion": (NOISE, NOISE), "initial_gap": 1.0,
        "rank": D_X,
    }  # fmt: skip
    if ordering == "with_replacement":
        return theorem_1.with_replacement_bound(steps=N * epochs, **known)
    return theorem_2.reshuffling_bound(n=N, epochs=epochs, **known)


def _steps(gaps: np.ndarray) -> float:
    """Steps until the gap has fallen to `REACHED`, its logarithm interpolated; nan if it never does."""
    i = int(np.argmax(gaps <= REACHED))
    if i == 0:
        return float("nan")
    return i - 1 + float(np.log(gaps[i - 1] / REACHED) / np.log(gaps[i - 1] / gaps[i]))


def judge(frame: pd.DataFrame) -> list[Verdict]:
    limits = frame[frame.what == "limit"].sort_values("d_y")
    shown = _rows.measurements(limits)
    factor = float(limits.d_y.max() / limits.d_y.min())
    rise = family.exponent("exponent in d_y", shown[0], shown[-1], factor)
    known = "at fixed L_y, sigma_y^2 and gap"
    nothing = [
        (f"the largest stable eta_y, {known}: exponent in d_y", "Theorem 5, box", rise),
        (f"the average of Theorem 1, {known}: exponent in d_y", "Theorem 1", _slope(frame, "with_replacement")),
        (f"the average of Theorem 2, {known}: exponent in d_y", "Theorem 2", _slope(frame, "random_reshuffling")),
        (f"the stationary |grad_y f|^2, {known}: exponent in d_y", "Theorem 1", _slope(frame, "floor")),
        (f"steps until a fifth of the gap is left, {known}: exponent in d_y", "Corollary 1b", _slope(frame, "steps")),
    ]
    box = claim("every eta_y up to 2/L_y is stable: the smallest limit", "theory_lab, Theorem 5, box", "at least", 2.0)
    hidden = claim(
        "at fixed noise per coordinate of y, sigma_y^2 = d_y s^2, the stationary |grad_y f|^2: exponent in d_y",
        "theory_lab, Theorem 1", "equals", 1.0, tolerance=SAME,
    )  # fmt: skip
    halves = claim(
        "the adapter's step sizes must shrink like 1/d_y, as the base's shrink like 1/d_x: the limit's exponent in d_y",
        "folklore", "equals", -1.0, tolerance=SAME, expected="fails",
        why="1/d_x is the price of two-point estimates; exact gradients do not pay it",
    )  # fmt: skip
    return [
        *(claim(name, f"theory_lab, {source}", "equals", 0.0, tolerance=SAME).check(m) for name, source, m in nothing),
        box.check(family.smallest("limit", shown)),
        *(_below(frame, what, number) for what, number in (("with_replacement", 1), ("random_reshuffling", 2))),
        hidden.check(_slope(frame, "each")),
        halves.check(rise),
    ]


def _below(frame: pd.DataFrame, what: str, number: int) -> Verdict:
    rows = frame[frame.what == what]
    table = rows.pivot(index="seed", columns="d_y", values="value")
    bounds = rows.groupby("d_y").bound.first().loc[table.columns]
    name = f"the average of Theorem {number} stays below its bound, which knows no d_y: largest average / bound"
    return claim(name, f"theory_lab, Theorem {number}", "at most", 1.0).check(
        rate.ratio(table.to_numpy(), bounds.to_numpy())
    )


def _slope(frame: pd.DataFrame, what: str) -> Measurement:
    """The exponent in d_y over all dimensions; every dimension has seeds of its own."""
    table = frame[frame.what == what].pivot(index="seed", columns="d_y", values="value")
    return rate.loglog_slope(table.columns.to_numpy(), table.to_numpy(), name="exponent in d_y")


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    """Everything over its value at the smallest adapter; the averages over their bounds."""
    figure, axes = figures.new_figure(1, 2, width=11, height=4.7, width_ratios=(1.5, 1))
    left, right = axes[0]
    looks = {
        "limit": ("largest stable $\\eta_y$", "#009E73", "P"), "with_replacement": ("average of Theorem 1", "#882255", ">"),
        "random_reshuffling": ("average of Theorem 2", "#0072B2", "^"), "floor": ("stationary ‖∇$_y$f‖²", "#332288", "D"),
        "steps": ("steps to a fifth of the gap", "#DDAA33", "v"),
        "each": ("stationary ‖∇$_y$f‖², noise fixed per coordinate", "#D55E00", "s"),
    }  # fmt: skip
    for what, (label, colour, marker) in looks.items():
        look = figures.Look(colour, marker, "-", label)
        points = _points(frame, what)
        first = points[0][1].value
        x, parts = [d for d, _ in points], np.array([[m.value, m.low, m.high] for _, m in points]) / first
        figures.band(left, x, *parts.T, like=look)
        if what in STEPS:
            bound = frame[frame.what == what].bound.iloc[0]
            figures.band(right, x, *(parts.T * first / bound), like=look)
    ends = np.array([frame.d_y.min(), frame.d_y.max()], dtype=float)
    figures.theory_line(left, ends, np.ones(2), label="exponent 0")
    figures.theory_line(left, ends, ends / ends[0], label="exponent 1", line=":")
    figures.theory_line(right, ends, np.ones(2), label="bound", line="--")
    left.set(xscale="log", yscale="log", ylabel="over its value at the smallest $d_y$", title="what grows with the adapter")
    right.set(xscale="log", ylim=(0, 1.15), ylabel="average / bound", title="the bounds know no $d_y$")
    for panel in (left, right):
        panel.set_xlabel("dimension of the adapter, $d_y$")
        figures.legend(panel, fontsize=8.5, loc="upper left" if panel is left else "lower left")
    figures.title_with_verdicts(figure, "What grows with the adapter's dimension, and what does not", verdicts)
    return figure


def _points(frame: pd.DataFrame, what: str) -> list[tuple[float, Measurement]]:
    groups = frame[frame.what == what].groupby("d_y")
    if what == "limit":
        return [(float(str(d)), _rows.measurement(rows.iloc[0])) for d, rows in groups]
    return [(float(str(d)), mean(what, rows.value.to_numpy())) for d, rows in groups]
