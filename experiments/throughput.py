"""How many steps per second does `sweep` make, beside a plain NumPy loop and beside what the machine could do at best?

Three contestants make the same hybrid step (one gaussian direction, one-sided, in a block of d/2; the gradient in the other)
on a dense coupled quadratic of dimension d with n components: `sweep`; a NumPy loop over trajectories and steps, written as
one would write it; and the floor, a compiled program that only draws the directions and makes the two matrix products of
a step, without components, orderings, optimizer or logging. All three are timed in turn within every repeat, warm; the
compilation is counted apart. Claims are about ratios within a repeat: at least 10 times the loop at d = 120, 50 times at
d = 10, at least 0.7 of the floor's speed, all with 256 trajectories; the loop is no measure where the floor itself is not
so much faster (at d = 120 it is 13.5 times as fast on an EPYC, 6.7 times on a Xeon, 2026-11-22). The second panel is how
the cost of a step grows with d, with the number of trajectories and with n: from the products, at most like d^2; with
trajectories and n, not at all, but for caches: an exponent of 0.1 is let pass. For trajectories the aim was 0, which JAX
0.10.2 meets (-0.17 from 1 to 1024 trajectories) and JAX 0.12.0 does not (0.02; on the same two cores, 2026-11-23): there
a step of one trajectory is as cheap as one of 64, and with 1024, whose states outgrow the cache, costs 1.24 times as much.

On a GPU (`--profile gpu`) the comparison is of 16384 trajectories, which fill it, in float64 and in float32, the loop still
being one of the processor beside it. One H100 80GB HBM3, 2026-11-22, nanoseconds per step and trajectory, medians of 15:

             sweep             floor             NumPy loop        sweep beside the loop, the floor
    d = 10   2.8 (float32 2.0)  1.5 (1.5)         25800 (27400)     9050 (13700) times, 0.53 (0.76)
    d = 120  13 (4.8)           6.8 (2.1)         32300 (32400)     2470 (6780) times, 0.51 (0.43)

A step there takes 30 us however few trajectories it is made for: up to 1024 they cost next to nothing more, nor does a
larger n. The floor's share of 0.7 at d = 120 is missed: what else a step does (components, optimizer, the state read and
written between kernels) takes as long as its products. Which of it, was not profiled.

A claim about time is about an idle machine: where other programs took more than a tenth of it, nothing is decided, and
the cells concerned are measured again by the next run.

Minutes: quick 0.3, full 1.7; on a GPU 1.5. Times are of this machine and this moment; they do not reproduce to the digit.
"""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import theory_lab as tl
from theory_lab.claims import Verdict, claim
from theory_lab.measure import mean, rate
from theory_lab.oracles.gaussian import normal
from theory_lab.problems.quadratic import BlockQuadratic
from theory_lab.report import figures

ALONE = True  # whatever the executor: it takes times
RADIUS, STEP_SIZES = 1e-3, {"x": 1e-3, "y": 1e-1}
BUSY = 0.1  # the share of the machine above which other programs spoil a time
BASE = {"d": 64, "trajectories": 64, "n": 64}


@dataclass(frozen=True)
class Settings:
    """Sizes of the duel and of the three growth curves.

    Attributes:
        repeats: how often everything is timed.
        duel_d: dimensions of the comparison.
        duel_trajectories: of the comparison.
        d, trajectories, n: the axes of the growth curves, each around `BASE`.
        dtypes: the precisions of the comparison, each measured by itself; the growth curves are of the first.
        steps: of a trajectory in a call; 0 stands for as many as take a processor a fixed time.
    """

    repeats: int
    duel_d: tuple[int, ...]
    duel_trajectories: int
    d: tuple[int, ...]
    trajectories: tuple[int, ...]
    n: tuple[int, ...]
    dtypes: tuple[Literal["float32", "float64"], ...]
    steps: int


DOUBLE: Any = ("float64",)
QUICK = Settings(9, (10, 120), 256, d=(1024,), trajectories=(1, 1024), n=(4, 1024), dtypes=DOUBLE, steps=0)
FULL = Settings(
    repeats=31,
    duel_d=(10, 32, 120, 360),
    duel_trajectories=256,
    d=(4, 16, 256, 1024, 4096),
    trajectories=(1, 4, 16, 256, 1024, 4096),
    n=(4, 16, 256, 1024, 4096),
    dtypes=DOUBLE,
    steps=0,
)
GPU = Settings(
    repeats=15,
    duel_d=(10, 120),
    duel_trajectories=16384,
    d=(1024,),
    trajectories=(1, 1024, 16384),
    n=(1024,),
    dtypes=("float64", "float32"),
    steps=1024,
)


def cells(settings: Settings) -> list[dict[str, Any]]:
    duel = {"what": "duel", "trajectories": settings.duel_trajectories, "n": 64, "repeats": settings.repeats, "budget": 0.15}
    sizes = [BASE] + [BASE | {axis: size} for axis in BASE for size in getattr(settings, axis)]
    growth = {"what": "growth", "repeats": 5, "budget": 0.05}
    pairs = [duel | {"d": d, "dtype": dtype} for dtype in settings.dtypes for d in settings.duel_d]
    pairs += [growth | size | {"dtype": settings.dtypes[0]} for size in sizes]
    return [cell | {"steps": settings.steps} for cell in pairs]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Seconds per step and trajectory of every contestant in every repeat."""
    with jax.enable_x64(cell["dtype"] == "float64"):
        return _timings(cell, key)


def _timings(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    d, trajectories, n = cell["d"], cell["trajectories"], cell["n"]
    problem = tl.block_quadratic({"x": d // 2, "y": d - d // 2}, n=n, coupling=0.5, dispersion=1.0, key=key)
    steps = cell["steps"] or _steps(d, trajectories, cell["budget"]) / trajectories
    epochs = max(1, round(steps / n))
    contestants: dict[str, tuple[Callable[[], Any], int]] = {
        "sweep": (partial(_sweep, problem, trajectories, epochs, key), epochs * n * trajectories)
    }
    if cell["what"] == "duel":
        starts = jnp.ones((trajectories, d))
        floor = jax.jit(partial(_floor, zeroth=d // 2, steps=epochs * n))
        contestants["floor"] = (
            lambda: jax.block_until_ready(floor(problem.hessian, starts, key)),
            epochs * n * trajectories,
        )
        contestants["numpy"] = (partial(_numpy_loop, problem, 2000), 2000)
    first_call = {name: _timed(go) for name, (go, _) in contestants.items()}
    machine = _Machine()
    rows = [
        {**cell, "contestant": name, "repeat": repeat, "seconds": _timed(go) / steps, "first_call": first_call[name]}
        for repeat in range(cell["repeats"])
        for name, (go, steps) in contestants.items()
    ]
    others, available = machine.others()
    frame = pd.DataFrame(rows).assign(others=others, available=available, device=jax.devices()[0].device_kind)
    frame.attrs["keep"] = others <= BUSY * available
    return frame


def _steps(d: int, trajectories: int, budget: float) -> int:
    """Steps of all trajectories together that take about `budget` seconds, beside which the call itself is nothing."""
    return max(trajectories, int(2e10 * budget / (800 + d * d)))


def _sweep(problem: BlockQuadratic, trajectories: int, epochs: int, key: jax.Array) -> None:
    oracle = tl.Hybrid({"x": tl.TwoPoint(RADIUS), "y": tl.FirstOrder()})
    keys = jax.random.split(key, trajectories)
    grid = {label: [size] for label, size in STEP_SIZES.items()}
    tl.sweep(problem, oracle, tl.hybrid_sgd, step_sizes=grid, epochs=epochs, keys=keys, log_epochs=[epochs])


def _floor(hessian: jax.Array, starts: jax.Array, key: jax.Array, *, zeroth: int, steps: int) -> jax.Array:
    """Nothing but directions, drawn at once, and two products a step; z moves so that no step can be skipped."""

    def step(z: jax.Array, v: jax.Array) -> tuple[jax.Array, None]:
        ahead = jnp.concatenate([z[:, :zeroth] + RADIUS * v, z[:, zeroth:]], axis=1)
        return z - STEP_SIZES["x"] * (z @ hessian + ahead @ hessian), None

    trajectories = starts.shape[0]
    together = max(1, 1024 // zeroth)  # steps whose directions are drawn at once, as in the loop

    def chunk(z: jax.Array, part: jax.Array) -> tuple[jax.Array, None]:
        flat = normal(jax.random.fold_in(key, part), together * trajectories * zeroth, starts.dtype)
        draws = jax.lax.optimization_barrier(flat).reshape(together, trajectories, zeroth)
        return jax.lax.scan(step, z, draws)

    return jax.lax.scan(chunk, starts, jnp.arange(-(-steps // together)))[0]


def _numpy_loop(problem: BlockQuadratic, steps: int) -> np.ndarray:
    """The hybrid step for one trajectory after another, in plain NumPy."""
    hessian, tilts = problem.dense_hessian(), np.asarray(problem.tilts)
    rng = np.random.default_rng(0)
    zeroth = problem.dimensions[0][1]
    z = np.ones(hessian.shape[0])
    for index in rng.permutation(np.arange(steps) % problem.n):
        tilt = tilts[index]
        product = hessian @ z
        value = z @ product / 2 - tilt @ z
        v = rng.standard_normal(zeroth)
        ahead = z.copy()
        ahead[:zeroth] += RADIUS * v
        slope = (ahead @ (hessian @ ahead) / 2 - tilt @ ahead - value) / RADIUS
        z[zeroth:] -= STEP_SIZES["y"] * (product - tilt)[zeroth:]
        z[:zeroth] -= STEP_SIZES["x"] * slope * v
    return z


class _Machine:
    """What other programs take of the processors, from /proc/stat; nothing where there is none."""

    def __init__(self) -> None:
        self.start = self._now()

    def others(self) -> tuple[float, float]:
        """Processor seconds since the start: neither idle nor ours, and all there were."""
        busy, ours, wall = (now - then for now, then in zip(self._now(), self.start, strict=True))
        return max(0.0, busy - ours), wall * (os.cpu_count() or 1)

    @staticmethod
    def _now() -> tuple[float, float, float]:
        busy = 0.0
        with contextlib.suppress(OSError):
            user, nice, system, _, _, interrupts, soft, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
            busy = (user + nice + system + interrupts + soft + steal) / os.sysconf("SC_CLK_TCK")
        return busy, time.process_time(), time.perf_counter()


def _timed(go: Callable[[], Any]) -> float:
    started = time.perf_counter()
    go()
    return time.perf_counter() - started


def judge(frame: pd.DataFrame) -> list[Verdict]:
    # Over all cells together: one cell alone is shorter than the clock ticks in which /proc/stat counts.
    frame = _by_precision(frame)
    spent = frame.drop_duplicates(["what", "dtype", *BASE])[["others", "available"]].sum()
    others = spent.others / spent.available
    busy = [f"an idle machine (other programs took {others:.0%} of it; run again)"] if others > BUSY else []
    verdicts = []
    for dtype, rows in frame.groupby("dtype", sort=False):
        before = f"{dtype}, " if frame.dtype.nunique() > 1 else ""
        verdicts += _ratios(rows[rows.what == "duel"], before, busy)
        if not (rows.what == "growth").any():
            continue
        for axis, most, why in (
            ("d", 2.0, "two products"),
            ("trajectories", 0.1, "batching"),
            ("n", 0.1, "one sort an epoch"),
        ):
            name = f"{before}the cost of a step grows with {axis} with an exponent of at most {most:g} ({why})"
            verdicts.append(claim(name, "design aim", "at most", most, unmet=busy).check(_exponent(rows, axis)))
    return verdicts


def _by_precision(frame: pd.DataFrame) -> pd.DataFrame:
    """With the column `dtype`, and the device, which tables of earlier days lack."""
    return pd.DataFrame({**{"dtype": "float64", "device": "cpu"}, **frame}, index=frame.index)


def _ratios(duel: pd.DataFrame, before: str, busy: list[str]) -> list[Verdict]:
    verdicts = []
    for d, wanted in ((10, 50.0), (120, 10.0)):
        seconds = duel[duel.d == d].pivot(index="repeat", columns="contestant", values="seconds")
        beyond = [f"a processor on which the floor itself is {wanted:g} times as fast as the loop"]
        if (seconds["numpy"] / seconds["floor"]).median() >= wanted:
            beyond = []
        for name, ratio, least in (
            (f"{before}d = {d}: steps per second, sweep / NumPy loop", seconds["numpy"] / seconds["sweep"], wanted),
            (f"{before}d = {d}: steps per second, sweep / floor", seconds["floor"] / seconds["sweep"], 0.7),
        ):
            measured = rate.quantile(ratio.to_numpy(), 0.5, name="median ratio over repeats")
            small = d == 10 and least == 0.7
            aim = claim(
                name, "design aim", "at least", least, unmet=[*busy, *(beyond if least == wanted else [])],
                expected="fails" if small else "holds",
                why="at d = 10 choosing components and updating cost as much as directions and products" if small else "",
            )  # fmt: skip
            verdicts.append(aim.check(measured))
    return verdicts


def _exponent(frame: pd.DataFrame, axis: str) -> tl.Measurement:
    """Slope of log seconds against log size over the axis, fitted in every repeat by itself."""
    table = _along(frame, axis).pivot(index="repeat", columns=axis, values="seconds")
    slopes = np.polyfit(np.log(table.columns.to_numpy(dtype=float)), np.log(table.to_numpy()).T, 1)[0]
    return mean(f"exponent in {axis}", slopes)


def _along(frame: pd.DataFrame, axis: str) -> pd.DataFrame:
    others = [name for name in BASE if name != axis]
    growth = frame[frame.what == "growth"]
    return growth[np.logical_and.reduce([growth[name] == BASE[name] for name in others])].sort_values([axis, "repeat"])


COLOURS = {"float64": figures.look("hybrid").colour, "float32": "#AA4499"}


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    figure, axes = figures.new_figure(1, 2)
    frame = _by_precision(frame)
    _draw_duel(axes[0][0], frame[frame.what == "duel"])
    _draw_growth(axes[0][1], frame[frame.what == "growth"])
    title = f"What a step costs (median and range over repeats), {frame.device.iloc[0]}"
    figures.title_with_verdicts(figure, title, verdicts)
    return figure


def _draw_duel(axes: Any, duel: pd.DataFrame) -> None:
    every = list(duel.dtype.unique())
    loop = duel[(duel.contestant == "numpy") & (duel.dtype == every[0])]
    _curve(axes, loop, "d", figures.Look("#777777", "o", "-", ""), "NumPy loop")
    for dtype in every:
        rows, of = duel[duel.dtype == dtype], f", {dtype}" if len(every) > 1 else ""
        _curve(axes, rows[rows.contestant == "sweep"], "d", figures.Look(COLOURS[dtype], "D", "-", ""), f"sweep{of}")
        floor = rows[rows.contestant == "floor"].groupby("d").seconds.median()
        line = "--" if dtype == every[0] else ":"
        figures.theory_line(axes, floor.index, 1e6 * floor, label=f"floor: directions and products alone{of}", line=line)
    axes.set(xscale="log", yscale="log", ylabel="µs per step and trajectory",
             xlabel=f"dimension d ({duel.trajectories.iloc[0]} trajectories, n = 64)")  # fmt: skip
    axes.set_ylim(top=20 * 10 ** len(every) * 2.5e4 * duel.seconds.max())  # room for the legend
    figures.legend(axes)


def _draw_growth(axes: Any, growth: pd.DataFrame) -> None:
    colour = figures.look("hybrid").colour
    for axis, marker, line in (("d", "D", "-"), ("trajectories", "^", "--"), ("n", "v", "-.")):
        _curve(axes, _along(growth, axis), axis, figures.Look(colour, marker, line, ""), f"against {axis}")
    along = _along(growth, "d")
    sizes = np.array(sorted(along.d.unique()))
    last = along.query("d == d.max()").seconds.median()
    figures.theory_line(axes, sizes, 1e6 * last * (sizes / sizes[-1]) ** 2, label="∝ d²", line=":")
    axes.set(xscale="log", yscale="log", xlabel="size of the axis (others 64)", title=growth.dtype.iloc[0],
             ylabel="µs per step and trajectory")  # fmt: skip
    axes.set_ylim(bottom=1e6 * growth.seconds.min() / 2, top=1e7 * growth.seconds.max())
    figures.legend(axes)


def _curve(axes: Any, frame: pd.DataFrame, axis: str, look: figures.Look, label: str) -> None:
    """Median microseconds at every size, and the range over repeats."""
    grouped = frame.groupby(axis).seconds
    median, least, most = (1e6 * column.to_numpy() for column in (grouped.median(), grouped.min(), grouped.max()))
    figures.band(axes, np.array(sorted(frame[axis].unique())), median, least, most, like=look, label=label)
