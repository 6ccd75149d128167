r"""Does an adaptive optimizer weaken or strengthen the asymmetry of the two step sizes?

There is no theorem here. For SGD the ratio of the best step sizes is L_x (d_x+2) / L_y on isotropic blocks (exact). For
Adam, sign and normalised steps, in one block or in both, the exponents of the ratio eta_y/eta_x in L_x/L_y and in d_x are
measured, against this reasoning, made before the first run, for f = (L_x |x|^2 + L_y y'Sy)/2, |x_0| = |y_0| = 1:

- *Curvature.* Multiplying a block's gradient by a constant changes none of their steps: exponent 0 in L_x and in L_y, in
  the adaptive block. In a block of SGD it stays 1.
- *Signs.* E sign(v'g) sign(v_j) = (2/pi) asin(g_j/|g|): x walks at speed 2 eta/pi and is kicked by eta sqrt(d_x), so
  |x|' = -2 eta/pi + eta^2 d_x/(2|x|): it ends at pi eta d_x/4. *Normalised*: every step is a random unit vector, at
  speed eta sqrt(2/(pi d_x)); it ends at eta sqrt(pi d_x/8). *Adam*: a coordinate is divided by the root of a mean of
  |g|^2 over 1000 past steps; it ends near eta d_x/2.
- *Accuracy*: the largest eta_x that still ends at 4% of |x_0|^2 falls like 1/d_x for signs and Adam and like 1/sqrt(d_x)
  for normalised steps. For a given accuracy, then, adaptivity removes the curvature from the ratio and leaves the dimension.
- *Budget*: after a fixed number K of steps, far more than d_x, the best step is just large enough to arrive, eta_x ~ 1/K for
  signs: exponent 0 in d_x. Normalised steps slow down with d_x: eta_x ~ sqrt(d_x)/K. Adam with K = 1/(1 - beta_2): its step
  grows as the gradient falls, |x| ~ exp(-(eta K)^{3/2}), until noise stops it at eta^{3/2} K^{1/2} d_x ~ 1: eta_x falls
  like d_x^{-2/3}.

So adaptivity should weaken the asymmetry in every respect but one. The blocks do not interact, so that one sweep along a
diagonal of (eta_x, eta_y) shows the best of each, and eta_y cannot depend on d_x: the ratio's exponent in d_x is that of
1/eta_x. The error of y, whose gradients are exact, falls to zero: its step is the one that is first at 4%.

What was changed after looking: the target was first asked as the step that is *fastest* to 4%; its optimum lies at a wall
that the grid does not resolve, and there Adam had 0.76 [0.68, 0.85] (d_x = 16, 64) where 1 was expected. Asked as above,
Adam had 0.64 after 1000 steps, as many as it remembers: refuted, and kept below as a claim that fails. In a trial outside
this script it was 0.97 after 4000 steps, with momentum and without, where the end is eta d_x/2 to 6%; in between the step
swings (1.15 [1.08, 1.22] after 3200). So Adam is given 5000 steps here, chosen in this knowledge. The claims on
the curvature ask for the accuracy, too, since the looking; within Adam's memory, as they compare equal d_x.
For the budget Adam has 0.50 and not 2/3: the law of the mean with d_x + 2 for d_x gives 0.62, trials without momentum 0.58
(at d_x = 16 few runs carry the mean, so that few seeds leave it undecided).
The best step of SGD is read after 100 steps, because after 1000 a few runs carry its mean.

Refuted by: an exponent off by more than its tolerance (the walks above neglect fluctuations, momentum and bias corrections).

Minutes: quick 0.3, full 1.4.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

import theory_lab as tl
from theory_lab.claims import Verdict, claim
from theory_lab.measure import Measurement, family, mean
from theory_lab.report import figures

D_Y = 16
N = 4  # steps between two logged rows; all components are equal
REACHED = 0.04  # of |b_0|^2
BUDGET = 1000  # steps, as many as Adam remembers: 1/(1 - beta_2)
REST = 5000  # steps, after which Adam has forgotten its start
SOON = 100  # steps; SGD's best step is the same after any number, and after many a few runs carry the mean
LATE = 0.7  # of all steps; the accuracy is an average over what follows
BATCHES = 16
BELOW = 12  # of the step sizes lie below where the reasoning looks for them
ORACLE = tl.Hybrid({"x": tl.TwoPoint(1e-6, sided=2), "y": tl.FirstOrder()})
CONJECTURE, EXACT = "measured conjecture (no theorem)", "theory_lab, dimension exponent"
STEPS: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "adam": optax.adam,
    "sign": optax.sign_sgd,
    "normalised": lambda eta: optax.chain(optax.normalize_by_update_norm(), optax.scale(-eta)),
}
LOOKS = {
    "sgd": figures.Look("#332288", "D", "-", "SGD"),
    "adam": figures.Look("#D55E00", "s", "-", "Adam"),
    "sign": figures.Look("#009E73", "P", "-", "signs"),
    "normalised": figures.Look("#DDAA33", "v", "-", "normalised"),
}
Maker = Callable[[Any], optax.GradientTransformationExtraArgs]


def _maker(x: str, y: str) -> Maker:
    return lambda sizes: tl.hybrid_sgd({"x": STEPS[x](sizes["x"]), "y": STEPS[y](sizes["y"])})


BOTH = [(name, name) for name in STEPS]
ONE = [("adam", "sgd"), ("sgd", "adam")]
MAKERS = {pair: _maker(*pair) for pair in [*BOTH, *ONE]}  # made once: a new function would compile anew


@dataclass(frozen=True)
class Settings:
    """The dimensions of x, the factors of curvature, and the effort.

    Attributes:
        dimensions: d_x, at equal curvature; the first of them where curvature varies.
        curvatures: L_x, and L_y where one block is adaptive; 1 is always there.
        epochs: of N steps, at least BUDGET steps and 15 of the largest d_x;
            Adam in both blocks makes REST steps at equal curvature.
        grid: step sizes, three per factor of two.
        seeds: in `BATCHES` batches.
        mixed: whether to look also at Adam in one block with SGD in the other.
    """

    dimensions: tuple[int, ...]
    curvatures: tuple[float, ...]
    epochs: int
    grid: int
    seeds: int
    mixed: bool


QUICK = Settings(dimensions=(16, 64), curvatures=(16.0,), epochs=BUDGET // N, grid=20, seeds=80, mixed=False)
FULL = Settings(dimensions=(16, 32, 64, 128), curvatures=(4.0, 16.0), epochs=500, grid=20, seeds=112, mixed=True)


def cells(settings: Settings) -> list[dict[str, Any]]:
    """A cell is one pair of optimizers on one problem."""
    effort = {"grid": settings.grid, "seeds": settings.seeds}
    least = settings.dimensions[0]
    problems = [(pair, d, (1.0, 1.0)) for pair in BOTH for d in settings.dimensions]
    one = ONE if settings.mixed else []
    problems += [(pair, least, (1.0, 1.0)) for pair in one]
    problems += [(pair, least, (factor, 1.0)) for pair in [*BOTH, *one] for factor in settings.curvatures]
    problems += [(pair, least, (1.0, factor)) for pair in one for factor in settings.curvatures]
    return [
        {"pair": list(pair), "d_x": d, "smoothness": list(smooth), **effort, "epochs": epochs}
        for pair, d, smooth in problems
        for epochs in [REST // N if pair == ("adam", "adam") and smooth == (1.0, 1.0) else settings.epochs]
    ]


def _centres(pair: list[str], d_x: int, smoothness: list[float]) -> tuple[float, float]:
    """Where to look: the step sizes that the reasoning finds, up to factors."""
    l_x, l_y = smoothness
    in_x = {"sgd": 1 / (l_x * (d_x + 2)), "adam": 0.6 / d_x, **{name: _walk(d_x, name) for name in ("sign", "normalised")}}
    in_y = {"sgd": 1 / l_y, "adam": 0.1, "sign": 0.05, "normalised": 0.15}
    return in_x[pair[0]], in_y[pair[1]]


def _walk(d_x: int, name: str) -> float:
    """The eta_x whose walk ends at the accuracy, by the reasoning; for SGD the limit of stability."""
    goal = math.sqrt(REACHED)
    ends = {"sgd": 2 / (d_x + 2), "adam": goal * 2 / d_x, "sign": goal * 4 / (math.pi * d_x)}
    return {**ends, "normalised": goal * math.sqrt(8 / (math.pi * d_x))}[name]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Rows (x, y, d_x, smooth_x, smooth_y, block, notion, batch, value): step sizes, jackknifed."""
    pair, d_x, smoothness = cell["pair"], cell["d_x"], cell["smoothness"]
    problem = tl.block_quadratic(
        {"x": d_x, "y": D_Y}, n=N, smoothness=dict(zip("xy", smoothness, strict=True)),
        spectrum={"x": "flat", "y": ("power", 0.5)},
    )  # fmt: skip
    shares = 2.0 ** ((np.arange(cell["grid"]) - BELOW) / 3)
    centres = _centres(pair, d_x, smoothness)
    grid = {b: centre * shares for b, centre in zip("xy", centres, strict=True)}
    logged = sorted({*range(9), SOON // N, BUDGET // N, *np.geomspace(9, cell["epochs"], 60).round().astype(int).tolist()})
    trace = tl.sweep(
        problem, ORACLE, MAKERS[pair[0], pair[1]], step_sizes=grid, epochs=cell["epochs"], log_epochs=logged,
        params={b: np.full(d, 1 / math.sqrt(d)) for b, d in (("x", d_x), ("y", D_Y))},
        keys=jax.random.split(jax.random.fold_in(key, 0), cell["seeds"]),
    )  # fmt: skip
    assert trace.distance_sq is not None  # the optimum is known
    steps = N * trace.epoch
    rows = []
    for block, notions in (("x", ("budget", "soon", "accuracy", "early")), ("y", ("speed",))):
        distances = trace.distance_sq[block].reshape(cell["grid"], BATCHES, -1, steps.size).mean(axis=2)  # (G, B, E)
        together = {name: NOTIONS[name](grid[block], steps, distances.mean(axis=1)) for name in notions}
        for batch in range(BATCHES):  # jackknife: pseudo-values of the logarithm
            at = {"x": pair[0], "y": pair[1], "d_x": d_x, "smooth_x": smoothness[0], "smooth_y": smoothness[1]}
            others = np.delete(distances, batch, axis=1).mean(axis=1)
            for name in notions:
                value = together[name] * (together[name] / NOTIONS[name](grid[block], steps, others)) ** (BATCHES - 1)
                rows.append({**at, "block": block, "notion": name, "batch": batch, "value": value})
    return pd.DataFrame(rows)


def _budget(sizes: np.ndarray, steps: np.ndarray, distances: np.ndarray) -> float:
    """The step size of least squared distance after `BUDGET` steps; distances (G, E)."""
    return _least(sizes, distances[:, int(np.searchsorted(steps, BUDGET))])


def _soon(sizes: np.ndarray, steps: np.ndarray, distances: np.ndarray) -> float:
    """The step size of least squared distance after `SOON` steps."""
    return _least(sizes, distances[:, int(np.searchsorted(steps, SOON))])


def _accuracy(sizes: np.ndarray, steps: np.ndarray, distances: np.ndarray) -> float:
    """The step size above the best at which the late squared distance rises above `REACHED`, logarithms interpolated."""
    late = distances[:, steps >= LATE * steps[-1]].mean(axis=1)
    i = int(np.argmin(late))
    above = np.flatnonzero(late[i:] > REACHED)
    if late[i] > REACHED or above.size == 0:
        return math.nan
    i += int(above[0])
    share = math.log(REACHED / late[i - 1]) / math.log(late[i] / late[i - 1])
    return float(sizes[i - 1] * (sizes[i] / sizes[i - 1]) ** share)


def _early(sizes: np.ndarray, steps: np.ndarray, distances: np.ndarray) -> float:
    """The accuracy of the first `BUDGET` steps."""
    return _accuracy(sizes, steps[steps <= BUDGET], distances[:, steps <= BUDGET])


def _speed(sizes: np.ndarray, steps: np.ndarray, distances: np.ndarray) -> float:
    """The step size that is first at `REACHED`."""
    return _least(sizes, np.array([_time(steps, row) for row in distances]))


NOTIONS = {"budget": _budget, "soon": _soon, "accuracy": _accuracy, "early": _early, "speed": _speed}


def _time(steps: np.ndarray, distances: np.ndarray) -> float:
    """Steps until the squared distance is down to `REACHED`, its logarithm interpolated; inf if it never is."""
    below = np.flatnonzero(distances <= REACHED)
    if below.size == 0:
        return math.inf
    i = int(below[0])
    share = math.log(distances[i - 1] / REACHED) / math.log(distances[i - 1] / max(distances[i], 1e-300))
    return float(steps[i - 1] + share * (steps[i] - steps[i - 1]))


def _least(sizes: np.ndarray, costs: np.ndarray) -> float:
    """The step size of least cost, by the parabola through the logarithms around it; nan at an end of the grid."""
    i = int(np.argmin(costs))
    if i in (0, sizes.size - 1):
        return math.nan
    around = np.log(costs[i - 1 : i + 2])
    if not np.isfinite(around).all():
        return float(sizes[i])
    bend = around[0] - 2 * around[1] + around[2]
    shift = (around[0] - around[2]) / (2 * bend) if bend > 0 else 0.0
    return float(sizes[i] * (sizes[1] / sizes[0]) ** np.clip(shift, -0.5, 0.5))


def judge(frame: pd.DataFrame) -> list[Verdict]:
    d = np.sort(frame.d_x.unique())
    sgd = math.log((d[-1] + 2) / (d[0] + 2)) / math.log(d[-1] / d[0])  # of L_x (d_x+2)/L_y, between the ends
    # Neglected: d_x + 2 in the place of d_x, 0.06 between 16 and 64, where SGD has it, and terms of this order in the walks;
    # for Adam's accuracy also the 6% by which the end is off eta d_x/2 at either d_x, 0.09 of an exponent.
    expected = {
        "accuracy": {"sgd": (sgd, 0.1), "sign": (1.0, 0.1), "normalised": (0.5, 0.1), "adam": (1.0, 0.15)},
        "soon": {"sgd": (sgd, 0.1)},
        "budget": {"sign": (0.0, 0.1), "normalised": (-0.5, 0.1)},
    }
    words = {"accuracy": "largest eta_x that ends at 4% of |x_0|^2"}
    words |= {"soon": f"best eta_x after {SOON} steps", "budget": f"best eta_x after {BUDGET} steps"}
    verdicts = []
    for notion, exponents in expected.items():
        for name, (exponent, tolerance) in exponents.items():
            said = f"{LOOKS[name].label}, {words[notion]}: exponent of eta_y/eta_x in d_x"
            check = claim(said, EXACT if name == "sgd" else CONJECTURE, "equals", exponent, tolerance=tolerance)
            verdicts.append(check.check(_in_dimension(frame, name, notion)))
    remembers = claim(
        f"Adam, the same after {BUDGET} steps, as many as it remembers: exponent of eta_y/eta_x in d_x",
        CONJECTURE, "equals", 1.0, tolerance=0.15, expected="fails",
        why="its denominator still remembers the start, the more so the larger d_x, and eta d_x/2 is not yet reached",
    )  # fmt: skip
    verdicts.append(remembers.check(_in_dimension(frame, "adam", "early")))
    arrives = claim(  # neglected: d_x + 2 for d_x and the time until the gradient has fallen; the law of the mean has 0.62
        f"Adam, {words['budget']}: exponent of eta_y/eta_x in d_x",
        CONJECTURE, "equals", 2 / 3, tolerance=0.06, expected="fails",
        why="the reasoning leaves out momentum, whose 10 steps are what x needs at d_x = 16: without it trials had 0.58",
    )  # fmt: skip
    verdicts.append(arrives.check(_in_dimension(frame, "adam", "budget")))
    adaptive = [_in_curvature(frame, (name, name), "smooth_x") for name in STEPS if name != "sgd"]
    said = "Adam, signs, normalised in both blocks: L_x plays no role: exponent of eta_y/eta_x in L_x, the farthest from 0"
    free = claim(said, CONJECTURE, "equals", 0.0, tolerance=0.1)
    verdicts.append(free.check(family.farthest("exponent", adaptive, centre=0.0)))
    said = "SGD in both blocks: exponent of eta_y/eta_x in L_x"
    bound = claim(said, EXACT, "equals", 1.0, tolerance=0.1)
    verdicts.append(bound.check(_in_curvature(frame, ("sgd", "sgd"), "smooth_x")))
    return verdicts if (frame.x == frame.y).all() else [*verdicts, *_judge_mixed(frame)]


def _judge_mixed(frame: pd.DataFrame) -> list[Verdict]:
    """Adam in one block, SGD in the other: the curvature of which of the two blocks moves the ratio."""
    gone = [_in_curvature(frame, ("adam", "sgd"), "smooth_x"), _in_curvature(frame, ("sgd", "adam"), "smooth_y")]
    left = [_in_curvature(frame, ("adam", "sgd"), "smooth_y"), _in_curvature(frame, ("sgd", "adam"), "smooth_x")]
    said = "Adam in one block, SGD in the other: exponent of eta_y/eta_x in the curvature of {}"
    own = claim(said.format("Adam's block, the farthest from 0"), CONJECTURE, "equals", 0.0, tolerance=0.1)
    other = claim(said.format("SGD's block, in size, the farthest from 1"), CONJECTURE, "equals", 1.0, tolerance=0.1)
    return [
        own.check(family.farthest("exponent", gone, centre=0.0)),
        other.check(family.farthest("exponent", [_size(m) for m in left], centre=1.0)),
    ]


def _size(m: Measurement) -> Measurement:
    """The exponent without its sign."""
    return (
        m
        if m.value >= 0 or not math.isfinite(m.value)
        else Measurement(m.name, -m.value, -m.high, -m.low, m.samples, m.note)
    )


def _in_dimension(frame: pd.DataFrame, name: str, notion: str) -> Measurement:
    """The exponent of 1/eta_x in d_x between the smallest and the largest; eta_y cannot depend on it."""
    rows = frame[(frame.x == name) & (frame.y == name) & (frame.smooth_x == 1) & (frame.notion == notion)]
    return _exponent(rows, "d_x")


def _in_curvature(frame: pd.DataFrame, pair: tuple[str, str], column: str) -> Measurement:
    """The exponent of eta_y/eta_x in L_x or L_y, at the least d_x."""
    other = "smooth_y" if column == "smooth_x" else "smooth_x"
    rows = frame[(frame.x == pair[0]) & (frame.y == pair[1]) & (frame[other] == 1) & (frame.d_x == frame.d_x.min())]
    return _exponent(_ratios(rows, pair[0]), column)


def _ratios(rows: pd.DataFrame, in_x: str) -> pd.DataFrame:
    """The rows that make up eta_y/eta_x: x by its accuracy after BUDGET steps (SGD by its best step), y by the speed."""
    return rows[rows.notion.isin(["soon" if in_x == "sgd" else "early", "speed"])]


def _exponent(rows: pd.DataFrame, column: str) -> Measurement:
    least, largest = float(rows[column].min()), float(rows[column].max())
    ends = [_ratio(rows[rows[column] == end]) for end in (least, largest)]
    return family.exponent(f"exponent in {column}", ends[0], ends[1], largest / least)


def _ratio(rows: pd.DataFrame) -> Measurement:
    """eta_y/eta_x, or 1/eta_x without rows of y, over the batches; of confidence 99.5%, as an exponent wants it."""
    table = rows.pivot(index="batch", columns="block", values="value")
    return mean("step size ratio", ((table.y if "y" in table else 1.0) / table.x).to_numpy(), confidence=0.995)


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    """The step size of x along d_x, for an accuracy and for a budget, and the ratio along L_x."""
    figure, axes = figures.new_figure(1, 3, width=11.5, height=4.8)
    accuracy, budget, curvature = axes[0]
    both = frame[frame.x == frame.y]
    d = np.sort(frame.d_x.unique())
    early = figures.Look(LOOKS["adam"].colour, "o", ":", f"Adam after {BUDGET} steps")
    _line(accuracy, both[(both.x == "adam") & (both.notion == "early") & (both.smooth_x == 1)], "d_x", early)
    for name, look in LOOKS.items():
        rows = both[both.x == name]
        for panel, notion in ((accuracy, "accuracy"), (budget, "soon" if name == "sgd" else "budget")):
            _line(panel, rows[(rows.notion == notion) & (rows.smooth_x == 1)], "d_x", look)
        _line(curvature, _ratios(rows[rows.d_x == d[0]], name), "smooth_x", look)
        figures.theory_line(accuracy, d, [1 / _walk(n, name) for n in d], label="limit of stability, ends of the walks")
    figures.theory_line(budget, d, d + 2.0, label="SGD, exact")
    accuracy.set(xlabel="$d_x$", ylabel=r"$1/\eta_x$", title=r"largest step that ends at 4% of $|x_0|^2$")
    budget.set(xlabel="$d_x$", ylabel=r"$1/\eta_x$", title=f"best step after {BUDGET} steps (SGD: {SOON})")
    curvature.set(xlabel="$L_x$, at $L_y = 1$", ylabel=r"$\eta_y/\eta_x$", title=f"the ratio, $d_x = {d[0]}$")
    ticks = {accuracy: d, budget: d, curvature: np.sort(both.smooth_x.unique())}
    for panel, at in ticks.items():
        panel.set(xscale="log", yscale="log")
        low, high = panel.get_ylim()
        panel.set_ylim(low, high * (high / low) ** 0.55)  # room for the legend
        figures.legend(panel, fontsize=8, loc="upper left")
        panel.set_xticks(at, [f"{value:g}" for value in at])
        panel.xaxis.set_minor_locator(NullLocator())
    title = "The asymmetry of the two step sizes under adaptive optimizers (measured; no theorem)"
    figures.title_with_verdicts(figure, title, verdicts)
    return figure


def _line(axes: Axes, rows: pd.DataFrame, column: str, look: figures.Look) -> None:
    points = [(float(str(x)), _ratio(some)) for x, some in rows.groupby(column)]
    numbers = np.array([[m.value, m.low, m.high] for _, m in points])
    figures.band(axes, [x for x, _ in points], *numbers.T, like=look)
