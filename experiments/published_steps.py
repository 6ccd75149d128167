"""Which numbers of epochs follow from the published step sizes, read both ways, and how loose are their conditions?

As transcribed by third parties, with unknown constants (1 here), the published theorem asks for

    eta_x <= min{1/(L_x n d_x), 1/(sqrt(T) n L_x)},   eta_y <= min{1/(L_y n), 1/(sqrt(T) n L_y)}

and promises an average of E||grad f||^2 below eps^2 after T ~ eps^-4/n epochs. For quadratics with one Hessian the average
is known exactly at every step size, hence the least T that reaches eps, at either reading of the cap and at the best
constant step. The second halves do not fit the first: at eta ~ 1/(sqrt(T) n L) the start alone costs Delta/(eta nT) =
Delta L/sqrt(T), so T = (Delta L)^2 eps^-4 for every n (theory_lab, epochs to eps). The cap 1/(sqrt(nT) L) gives eps^-4/n;
for a zeroth-order block with the factor (Delta + kappa' sigma^2/2)^2, where the best step pays 2 kappa' Delta sigma^2: d_x^2
in place of d_x. First order, reshuffled, the best step needs only eps^-8/3 on quadratics.

The condition 1/(L_x n d_x) is compared with exact limits of stability (n does not appear: factor n times d_x over the
effective rank, theory_lab, conservativeness), with Corollary 2a (max(n, d_x) in place of n d_x) and, by simulation of
convex components with a common minimiser, with 0.6 of the box of hybrid smoothness (theory_lab, Theorem 5, box), at all n.
The first two are laws beside laws: drawn, and tested with the code, but no claims.

What would refute this: exponents off by 0.05, a simulated run at T_eps whose average is 5% off eps^2, or a weighted distance
that grows inside the box.

Minutes: quick 0.2, full 0.5.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import theory_lab as tl
from experiments import _rows
from theory_lab.claims import Verdict, claim
from theory_lab.measure import Measurement, exact, mean, rate
from theory_lab.measure.family import confidence, farthest, largest
from theory_lab.report import figures
from theory_lab.theory import averages, published, quadratic, stability_region
from theory_lab.theory.base import Pair

RR = "random_reshuffling"
CAP, EPOCHS, BOX, BEST = "1/(√T n L)", "1/(√(nT) L)", "1/(n d L)", "best constant step"
READINGS = {CAP: "as transcribed", EPOCHS: "as the epochs suggest"}
# Noise over initial gap and curvature 1; the dimension is that of the zeroth-order block.
PROBLEMS: dict[str, dict[str, Any]] = {
    "noise-free": {"dispersion": 0.0, "dimension": None},
    "first order": {"dispersion": 1.0, "dimension": None},
    "zeroth order": {"dispersion": 1.0, "dimension": 8},
}
ACCURACIES = [0.02, 0.01, 0.005]
FINE = [3e-4, 1e-4, 3e-5]  # where eta n of the best first-order step is small
COMPONENTS = [4, 16, 64, 256]
DIMENSIONS = [64, 256, 1024, 4096]
POWERS = [0.0, 0.5, 1.0, 2.0]  # p of the spectra i^-p
SIZES, STEPS = {"x": 16, "y": 4}, 256  # of the convex sums
SHARE = 0.6  # of the box, where |z|^2 has a variance and Student's interval holds
INSIDE = f"{SHARE} of the box"


@dataclass(frozen=True)
class Settings:
    """Sample sizes and grids.

    Attributes:
        seeds: of every simulated run.
        check_n: components of the runs of T_eps epochs.
        convex_n: components of the convex sums.
    """

    seeds: int
    check_n: tuple[int, ...]
    convex_n: tuple[int, ...]


QUICK = Settings(seeds=256, check_n=(8,), convex_n=(4, 256))
FULL = Settings(seeds=512, check_n=(4, 16, 64), convex_n=(4, 16, 64, 256))


def cells(settings: Settings) -> list[dict[str, Any]]:
    checks = [{"part": "check", "n": n, "accuracy": 0.4, "seeds": settings.seeds} for n in settings.check_n]
    convex = [{"part": "convex", "n": n, "seeds": settings.seeds // 4} for n in settings.convex_n]
    return [{"part": "epochs"}, {"part": "limits"}, *checks, *convex]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Rows with part, problem, rule, n, d, accuracy, value (with low, high, samples where simulated) and predicted."""
    parts: dict[str, Any] = {"epochs": _epochs, "limits": _limits, "check": _check, "convex": _convex}
    return parts[cell["part"]](cell, key).assign(part=cell["part"])


def _step(rule: str, n: int, epochs: int, dimension: int | None) -> float:
    """The larger of the two published step sizes; constants are 1, and the box closes first where d is large."""
    box = published.published_box(smoothness=(1.0, 1.0), n=n, dimension=dimension or 1)[0]
    if rule == BOX:
        return box
    steps: Pair = published.published_step_sizes(
        smoothness=(1.0, 1.0), n=n, epochs=epochs, dimension=dimension or 1, reading=READINGS[rule]
    )
    return steps[0]


def _average(problem: dict[str, Any], rule: str, n: int, epochs: int) -> float:
    setting = {"curvature": 1.0, "initial_gap": 1.0, "n": n, "epochs": epochs, "ordering": RR, **problem}
    if rule == BEST:
        return averages.least_average(**setting)[1]
    return averages.quadratic_average(_step(rule, n, epochs, problem["dimension"]), **setting)


def _needed(problem: dict[str, Any], rule: str, n: int, accuracy: float) -> int:
    return averages.epochs_needed(lambda epochs: _average(problem, rule, n, epochs), accuracy**2)


def _epochs(_: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """T_eps by the exact law, over n at the second accuracy, over accuracies at the second n, over d of the x-block."""
    rows = []

    def add(axis: str, name: str, rule: str, n: int, accuracy: float, **other: Any) -> None:
        problem = PROBLEMS[name] | other
        point = {"problem": name, "rule": rule, "axis": axis, "n": n, "d": problem["dimension"], "accuracy": accuracy}
        rows.append(point | {"value": float(_needed(problem, rule, n, accuracy))})

    for name in PROBLEMS:
        for rule in (CAP, EPOCHS, BEST):
            for n in COMPONENTS:
                add("n", name, rule, n, ACCURACIES[1])
            best_gradients = rule == BEST and name == "first order"
            for accuracy in FINE if best_gradients else ACCURACIES:
                add("accuracy", name, rule, COMPONENTS[not best_gradients], accuracy)
    for n in COMPONENTS:
        add("n", "noise-free", BOX, n, ACCURACIES[1])
    for accuracy in ACCURACIES:
        add("accuracy", "noise-free", BOX, COMPONENTS[1], accuracy)
    for rule in (EPOCHS, BEST):
        for d in DIMENSIONS:
            add("d", "zeroth order", rule, 4, ACCURACIES[0], dimension=d)
    return pd.DataFrame(rows)


def _limits(_: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Step sizes that are stable, or that Corollary 2a admits, in units of the published 1/(L n d)."""
    rows = []
    for power in POWERS:
        for d in (100, 10_000):
            spectrum = np.arange(1.0, d + 1) ** -power
            limit, by_trace = quadratic.step_size_limit(spectrum), 2 / (spectrum.sum() + 2)
            common = {"rule": "exact limit", "problem": f"i^-{power:g}", "d": d, "n": 1000}
            rows.append({**common, "value": limit * 1000 * d, "predicted": by_trace * 1000 * d})
    for n in DIMENSIONS:
        for d in DIMENSIONS:
            admitted = min(1 / (4 * n), 1 / (8 * (d + 1)))  # Corollary 2a, one direction, radius 0, isotropic
            box = published.published_box(smoothness=(1.0, 1.0), n=n, dimension=d)[0]
            common = {"rule": "Corollary 2a", "problem": "isotropic", "n": n, "d": d}
            rows.append({**common, "value": admitted / box, "predicted": float(min(n, d))})
    return pd.DataFrame(rows)


def _check(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Simulated averages over T_eps epochs at the step size of either reading, in units of eps^2."""
    n, accuracy, d = cell["n"], cell["accuracy"], PROBLEMS["zeroth order"]["dimension"]
    rows = []
    problem = tl.block_quadratic({"x": d}, n=n, dispersion=1.0, key=jax.random.fold_in(key, 0))
    needed = {rule: _needed(PROBLEMS["zeroth order"], rule, n, accuracy) for rule in READINGS}
    trace = tl.sweep(
        problem,
        tl.Hybrid({"x": tl.TwoPoint(1e-4, sided=2)}),
        tl.hybrid_sgd,
        step_sizes={"x": [_step(rule, n, epochs, d) for rule, epochs in needed.items()]},
        epochs=max(needed.values()),
        keys=jax.random.split(jax.random.fold_in(key, 1), cell["seeds"]),
        params={"x": jnp.full(d, math.sqrt(2 / d))},
    )
    for (rule, epochs), values in zip(needed.items(), trace.total_gradient_norm_sq, strict=True):
        ratios = values[:, trace.epoch < epochs].mean(axis=1) / accuracy**2
        predicted = _average(PROBLEMS["zeroth order"], rule, n, epochs) / accuracy**2  # just below 1: T is whole
        point = {"problem": "zeroth order", "rule": rule, "n": n, "d": d, "accuracy": accuracy, "predicted": predicted}
        rows.append(point | _rows.row(mean("average / eps^2", ratios, confidence=confidence(6))))
    return pd.DataFrame(rows)


def _convex(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """The weighted distance to the minimiser, E||z - z*||^2 in the norm P^-1, over its start, in the box and as published.

    Convex components, coupled, with a common minimiser; `STEPS` steps whatever n.
    """
    n = cell["n"]
    problem = tl.block_quadratic(SIZES, n=n, smoothness=1.0, coupling=0.5, heterogeneity=0.9, key=jax.random.fold_in(key, 0))
    inside = [SHARE * side for side in stability_region.hybrid_smoothness_box((1.0, 1.0), SIZES["x"])]
    asked = published.published_box(smoothness=(1.0, 1.0), n=n, dimension=SIZES["x"])
    trace = tl.sweep(
        problem,
        tl.Hybrid({"x": tl.TwoPoint(1e-4, sided=2), "y": tl.FirstOrder()}),
        tl.hybrid_sgd,
        step_sizes={label: [inside[i], asked[i]] for i, label in enumerate(SIZES)},
        epochs=STEPS // n,
        keys=jax.random.split(jax.random.fold_in(key, 1), cell["seeds"]),
        params={label: jnp.ones(size) for label, size in SIZES.items()},
    )
    assert trace.distance_sq is not None
    hessian, start = problem.dense_hessian(), np.ones(sum(SIZES.values()))
    rows = []
    for i, (rule, steps) in enumerate(((INSIDE, inside), (BOX, asked))):
        root = np.repeat(np.sqrt(steps), list(SIZES.values()))
        modes, vectors = np.linalg.eigh(root[:, None] * hessian * root)  # of P^1/2 H P^1/2, H the mean Hessian
        parts = (vectors.T @ (start / root)) ** 2
        if rule == BOX:  # what descent along mean gradients leaves
            known = parts @ (1 - modes) ** (2 * STEPS) / parts.sum()
        else:  # E||z||^2 falls by 2 (1 - SHARE) z'Hz in the mean over components drawn with replacement
            known = (1 - 2 * (1 - SHARE) * modes[0]) ** STEPS
        weighted = sum(trace.distance_sq[label][i] / step for label, step in zip(SIZES, steps, strict=True))
        ratios = weighted / weighted[:, :1]
        whole = rate.ratio(ratios[:, 1:], np.ones(ratios.shape[1] - 1), confidence=confidence(2 * 5))
        last = mean("distance left", ratios[:, -1], confidence=confidence(2 * 5))
        point = {"problem": "convex", "n": n, "d": SIZES["x"], "predicted": known}
        rows += [
            point | {"rule": f"{rule}: left"} | _rows.row(last),
            point | {"rule": f"{rule}: largest"} | _rows.row(whole),
        ]
    return pd.DataFrame(rows)


def judge(frame: pd.DataFrame) -> list[Verdict]:
    return [
        *_judge_epochs(frame[frame.part == "epochs"]),
        *_judge_check(frame[frame.part == "check"]),
        *_judge_convex(frame[frame.part == "convex"]),
    ]


def _slope(frame: pd.DataFrame, problem: str, rule: str, axis: str) -> Measurement:
    """The exponent of T_eps in eps, n or d: a least-squares slope of exact values."""
    rows = frame[(frame.problem == problem) & (frame.rule == rule) & (frame.axis == axis)]
    return exact(f"exponent in {axis}", np.polyfit(np.log(rows[axis].astype(float)), np.log(rows.value), 1)[0])


def _judge_epochs(frame: pd.DataFrame) -> list[Verdict]:
    source, verdicts = "theory_lab, epochs to eps", []

    def exponent(problem: str, rule: str, axis: str, predicted: float, of: str = source, **others: Any) -> None:
        named = f"{problem}, eta = {rule}: exponent of T_eps in {'eps' if axis == 'accuracy' else axis}"
        if of == "published conditions":
            named += ", as published"
        made = claim(named, of, "equals", predicted, tolerance=0.05, **others)
        verdicts.append(made.check(_slope(frame, problem, rule, axis)))

    why = "the start alone costs Delta L/sqrt(T) at this step size, whatever n"
    for problem in ("noise-free", "first order"):
        exponent(problem, CAP, "n", 0.0)
        exponent(problem, CAP, "accuracy", -4.0)
        exponent(problem, EPOCHS, "n", -1.0)
        exponent(problem, EPOCHS, "accuracy", -4.0)
    exponent("noise-free", CAP, "n", -1.0, of="published conditions", expected="fails", why=why)
    exponent("zeroth order", EPOCHS, "n", -1.0)
    exponent("zeroth order", EPOCHS, "accuracy", -4.0)
    exponent(
        "zeroth order",
        CAP,
        "n",
        -1.0,
        of="published conditions",
        expected="fails",
        why="see the levels: (1 + kappa'/(2n))^2",
    )
    exponent("noise-free", BOX, "accuracy", -2.0)
    exponent("noise-free", BOX, "n", 0.0)
    exponent("zeroth order", BEST, "n", -1.0, of="theory_lab, Corollary 2c")
    exponent("zeroth order", BEST, "accuracy", -4.0, of="theory_lab, Corollary 2c")
    exponent("first order", BEST, "accuracy", -8 / 3, of="theory_lab, exact stationary laws")
    exponent("first order", BEST, "accuracy", -4.0, of="published conditions", expected="fails",
             why="reshuffled gradients without direction noise do better: eps^-3 in the worst case")  # fmt: skip
    exponent("zeroth order", BEST, "d", 1.0, of="theory_lab, dimension exponent")
    exponent("zeroth order", EPOCHS, "d", 1.0, of="theory_lab, dimension exponent", expected="fails",
             why="a cap that knows neither d nor sigma pays (1 + kappa' sigma^2/2)^2: d^2")  # fmt: skip
    return [*verdicts, *_judge_levels(frame)]


def _judge_levels(frame: pd.DataFrame) -> list[Verdict]:
    """T_eps itself. At these accuracies the leading terms are within 4%: eta n is small, and so is 1/T."""
    zeroth = frame[(frame.problem == "zeroth order") & (frame.axis == "n")]
    kappa = float(zeroth.d.iloc[0]) + 1
    levels = {
        (CAP, "(1 + kappa'/(2n))^2 eps^-4"): (1 + kappa / (2 * zeroth.n)) ** 2 * zeroth.accuracy**-4,
        (EPOCHS, "(1 + kappa'/2)^2 eps^-4/n"): (1 + kappa / 2) ** 2 * zeroth.accuracy**-4 / zeroth.n,
        (BEST, "2 kappa' eps^-4/n"): 2 * kappa * zeroth.accuracy**-4 / zeroth.n,
    }
    verdicts = []
    for (rule, words), predicted in levels.items():
        rows = zeroth.rule == rule
        ratios = [exact("T_eps", ratio) for ratio in (zeroth.value / predicted)[rows]]
        made = claim(
            f"zeroth order, eta = {rule}: T_eps / ({words})",
            "theory_lab, epochs to eps",
            "equals",
            1,
            tolerance=0.05,
        )
        verdicts.append(made.check(farthest("ratio", ratios, centre=1.0)))
    return verdicts


def _judge_check(frame: pd.DataFrame) -> list[Verdict]:
    ratios = _rows.measurements(_rows.quotients(frame, "predicted"))
    made = claim(
        "zeroth order, both readings: simulated average over T_eps epochs / exact",
        "theory_lab, Theorem 5", "equals", 1, tolerance=0.05,
    )  # fmt: skip
    return [made.check(farthest("ratio", ratios, centre=1.0))]


def _judge_convex(frame: pd.DataFrame) -> list[Verdict]:
    of = {rule: rows for rule, rows in frame.groupby("rule")}
    grown = _rows.measurements(of[f"{INSIDE}: largest"])
    left = _rows.measurements(_rows.quotients(of[f"{INSIDE}: left"], "predicted"))
    most = of[f"{BOX}: left"][of[f"{BOX}: left"].n == frame.n.max()]
    named, published_step = f"convex components, {INSIDE}, all n: weighted distance", f"eta = {BOX}, n = {frame.n.max()}"
    descent = claim(
        f"convex components, {published_step}: weighted distance left after {STEPS} steps / by mean gradients",
        "theory_lab, Theorem 5", "equals", 1, tolerance=0.02,
    )  # fmt: skip
    guaranteed = claim(
        f"{named} left after {STEPS} steps / what is guaranteed with replacement", "measured conjecture", "at most", 1
    )
    stays = claim(f"{named} / start, largest on the way", "theory_lab, Theorem 5, box", "at most", 1)
    # One epoch of steps eta: products of two steps are neglected, eta_x^2 (d + 1) and eta_y^2 = 1/n^2 each: 1/n together.
    return [
        stays.check(largest("largest", grown)),
        guaranteed.check(largest("left / guaranteed", left)),
        descent.check(
            farthest("left / by mean gradients", _rows.measurements(_rows.quotients(most, "predicted")), centre=1.0)
        ),
    ]


COLOURS = {
    CAP: figures.Look("#D55E00", "s", "-", f"η = {CAP}, as transcribed"),
    EPOCHS: figures.Look("#0072B2", "^", "-", f"η = {EPOCHS}"),
    BOX: figures.Look("#882255", ">", "-.", f"η = {BOX}"),
    BEST: figures.Look("#009E73", "o", "-", BEST),
}


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    figure, axes = figures.new_figure(2, 3, height=7.4, width=12)
    epochs = frame[frame.part == "epochs"]
    for panel, (problem, settings) in zip(axes[0], PROBLEMS.items(), strict=True):
        noise = f"d = {settings['dimension']}, " if settings["dimension"] else ""
        _draw_epochs(panel, epochs[(epochs.problem == problem) & (epochs.axis == "n")], "n", "components n")
        panel.set_title(f"{problem}: {noise}eps = {ACCURACIES[1]:g}")
        panel.set_xticks(COMPONENTS, [str(n) for n in COMPONENTS])
    _draw_epochs(
        axes[1, 0], epochs[(epochs.problem == "zeroth order") & (epochs.axis == "d")], "d", "dimension of the x-block"
    )
    axes[1, 0].set_title(f"zeroth order: n = 4, eps = {ACCURACIES[0]:g}")
    kappa, base = np.array(DIMENSIONS) + 1.0, ACCURACIES[0] ** -4 / 4
    for words, law, line in (("(1 + κ′/2)² ε⁻⁴/n", (1 + kappa / 2) ** 2, "-"), ("2κ′ ε⁻⁴/n", 2 * kappa, ":")):
        figures.theory_line(axes[1, 0], DIMENSIONS, law * base, label=words, line=line)
    lines = [pair for panel in (axes[0, 0], axes[1, 0]) for pair in zip(*panel.get_legend_handles_labels(), strict=True)]
    once = {label: handle for handle, label in lines}
    figure.legend(list(once.values()), list(once), loc="outside lower center", ncols=4, fontsize=8.5)
    _draw_limits(axes[1, 1], frame[(frame.part == "limits") & (frame.rule == "exact limit")])
    _draw_convex(axes[1, 2], frame[frame.part == "convex"])
    figures.title_with_verdicts(
        figure, "Epochs that the published step sizes need, and how loose their conditions are", verdicts
    )
    return figure


def _draw_epochs(axes: Axes, rows: pd.DataFrame, axis: str, label: str) -> None:
    for rule, look in COLOURS.items():
        curve = rows[rows.rule == rule].sort_values(axis)
        if len(curve):
            figures.band(axes, curve[axis], curve.value, like=look)
    if axis == "n":
        promised = rows.accuracy.iloc[0] ** -4 / np.array(COMPONENTS, dtype=float)
        figures.theory_line(axes, COMPONENTS, promised, label="published: eps⁻⁴/n", line="--")
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="epochs until the average is eps²")
    axes.minorticks_off()


def _draw_limits(axes: Axes, rows: pd.DataFrame) -> None:
    width = 0.38
    for i, (d, colour) in enumerate(((100, "#56B4E9"), (10_000, "#332288"))):
        chosen = rows[rows.d == d]
        axes.bar(np.arange(len(chosen)) + (i - 0.5) * width, chosen.value / chosen.n, width, color=colour, label=f"d = {d}")
        for j, (value, n) in enumerate(zip(chosen.value, chosen.n, strict=True)):
            text = f"{value / n:.0f}" if value / n > 2.5 else f"{value / n:.1f}"
            axes.annotate(text, (j + (i - 0.5) * width, value / n), ha="center", va="bottom", fontsize=8)
    axes.set_xticks(range(len(POWERS)), [f"i^−{power:g}" if power else "flat" for power in POWERS])
    axes.set(yscale="log", ylim=(1, 4e4), xlabel="eigenvalues", ylabel="exact limit × L d")
    axes.set_title("exact limit / published 1/(L n d), over n")
    figures.legend(axes, loc="upper left")


def _draw_convex(axes: Axes, rows: pd.DataFrame) -> None:
    for rule, colour, marker in ((INSIDE, "#009E73", "o"), (BOX, "#882255", ">")):
        left = rows[rows.rule == f"{rule}: left"].sort_values("n")
        look = figures.Look(colour, marker, "-", f"η: {rule}")
        figures.band(axes, left.n, left.value, left.low, left.high, like=look)
        words, line = ("guaranteed with replacement", "--") if rule == INSIDE else ("by mean gradients", "-")
        figures.theory_line(axes, left.n, left.predicted, label=words, line=line)
    axes.set(xscale="log", yscale="log", xlabel="components n", ylabel="‖z − z*‖² left, share of the start")
    axes.set_title(f"convex components, coupled, {STEPS} steps")
    figures.legend(axes, below=True, ncols=2, fontsize=8)
