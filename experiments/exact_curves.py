"""Do the exact second-moment recursions tell the whole trajectory, not only its end?

Random quadratics, coupled or not, whose components share the Hessian or not; a random law, number of directions, radius and
side of the two-point estimate in the x-block; with replacement, reshuffled or in fixed order; random step sizes. For each
such setting the exact curves at epoch starts (theory_lab, Theorem 5) of

    E f - f*   and   sum_b eta_b E||grad_b f||^2

are laid over the means of thousands of runs of the library's own loop from one common start.

Two numbers per setting. Chosen before any run: the average of the second curve over epochs 1..T, in units of the exact one,
with Student's interval. And the largest |z| along both curves. Their points are correlated, so its p-value comes from
gaussian vectors with the correlations of the sample: the maximum statistic, exact as the number of runs grows. Settings are
independent: one key each, and no step sizes share one.

Mean squares of multiplicative noise have heavy tails, and an error bar of a mean square needs fourth moments. All step sizes
are at most 0.4 of the mean-square limit of the gaussian law, the least of the three laws', on their ray; with d_x >= 4
fourth moments last beyond 0.6 of it. With thousands of runs a setting, a skewness of a few units then shifts z by a few
hundredths.

Refuted by: too many curves outside their simultaneous 99% band (exact binomial), one curve too far outside, z values that
do not look standard normal, or a mean ratio to the exact value off 1 by more than 1%. Recursions with one deliberate error
must not pass.

Minutes: quick 0.3, full 1.2.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

import theory_lab as tl
from experiments import _rows
from theory_lab.claims import Verdict, claim
from theory_lab.measure import Measurement, exact, family, mean
from theory_lab.oracles.directions import Law
from theory_lab.problems.quadratic import BlockQuadratic
from theory_lab.report import figures
from theory_lab.theory import dynamics, heterogeneous, stability_region
from theory_lab.theory.moments import CovarianceMap

WR, RR, IG = "with_replacement", "random_reshuffling", "incremental"
ORDERINGS = {WR: tl.with_replacement, RR: tl.random_reshuffling, IG: tl.incremental}
EPOCHS, N = 12, 6
SIZES = {True: {"x": 6, "y": 3}, False: {"x": 4, "y": 2}}  # shared Hessian or not: the exact map of the latter is d^2 wide
REACH = (0.1, 0.4)  # of the mean-square limit
RESAMPLES = 20000  # of the maximum statistic; they resolve a p-value of 5e-5
SOURCE = "theory_lab, Theorem 5"

# What is compiled: ordering, shared Hessian, law, directions, sides. The quick profile takes the first eight.
PROGRAMS: tuple[tuple[str, bool, Law, int, int], ...] = (
    (RR, True, "gaussian", 1, 1), (WR, True, "gaussian", 1, 2), (RR, True, "rademacher", 2, 1), (WR, True, "sphere", 1, 1),
    (WR, True, "gaussian", 4, 1), (RR, False, "gaussian", 1, 1), (WR, False, "sphere", 2, 2),
    (RR, False, "rademacher", 1, 2), (WR, True, "gaussian", 1, 1), (RR, True, "gaussian", 3, 2),
    (WR, True, "rademacher", 1, 1), (RR, True, "sphere", 3, 1), (IG, False, "gaussian", 2, 1),
    (WR, False, "gaussian", 1, 1), (RR, False, "sphere", 1, 1), (WR, False, "rademacher", 3, 1),
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """How much of PROGRAMS runs, and with how many random settings and seeds each."""

    programs: int
    repeats: int
    seeds: int


QUICK = Settings(programs=8, repeats=3, seeds=8192)
FULL = Settings(programs=16, repeats=8, seeds=16384)


def cells(settings: Settings) -> list[dict[str, Any]]:
    """A cell is one random setting."""
    return [
        {"program": i, "repeat": j, "seeds": settings.seeds}
        for i in range(settings.programs)
        for j in range(settings.repeats)
    ]


@dataclass(frozen=True)
class Case:
    """A random setting: the problem, the method on it, and the point from which every run starts."""

    problem: BlockQuadratic
    step_sizes: tuple[float, float]
    start: np.ndarray
    ordering: str
    law: Law
    directions: int
    sided: int
    radius: float

    @property
    def model(self) -> dynamics.SharedQuadratic:
        """The mean quadratic under the method; the recursion itself where all components share the Hessian."""
        tilts = np.asarray(self.problem.tilts)
        return dynamics.shared_quadratic(
            self.problem.dense_hessian(), dict(self.problem.dimensions)["x"], self.step_sizes,
            covariance=tilts.T @ tilts / N, directions=self.directions, law=self.law, radius=self.radius, sided=self.sided,
        )  # fmt: skip

    def second_moments(self) -> np.ndarray:
        """E zz' at epoch starts 0..T, (T + 1, d, d), exactly."""
        if self.problem.deviations is None:
            return dynamics.trajectory(self.model, self.start, epochs=EPOCHS, n=N, ordering=self.ordering).second
        maps = heterogeneous.component_maps(
            self.problem.component_hessians(), np.asarray(self.problem.tilts), self.model.zeroth_dimension, self.step_sizes,
            directions=self.directions, law=self.law, radius=self.radius, sided=self.sided,
        )  # fmt: skip
        epoch = heterogeneous.epoch_map(maps, self.ordering)
        rows = [dynamics.Moments(self.start, np.outer(self.start, self.start))]
        for _ in range(EPOCHS):
            rows.append(heterogeneous.advance(epoch, rows[-1]))
        return np.stack([row.second for row in rows])

    def curves(self) -> np.ndarray:
        """The two exact curves, (2, T + 1)."""
        return _curves(self.model, self.second_moments())


def _curves(model: dynamics.SharedQuadratic, second: np.ndarray) -> np.ndarray:
    decrease = np.tensordot(model.step_sizes, dynamics.expected_gradient_norms_sq(model, second), axes=1)
    return np.stack([dynamics.expected_gap(model, second), decrease])


class _WithoutDirect(dynamics.SharedQuadratic):
    """The gaussian estimate taken for one of covariance tr(G) I: E||ghat||^2 = (d+1)||g||^2, one short of the truth."""

    @property
    def covariance_map(self) -> CovarianceMap:
        return super().covariance_map._replace(direct=0.0)


def _one_short(case: Case) -> np.ndarray:
    model = _WithoutDirect(**vars(case.model))
    return _curves(model, dynamics.trajectory(model, case.start, epochs=EPOCHS, n=N, ordering=case.ordering).second)


# Recursions with one deliberate error: to which settings each applies, and its curves.
ERRORS: dict[str, tuple[Callable[[Case], bool], Callable[[Case], np.ndarray]]] = {
    "the law with replacement, of reshuffled runs": (
        lambda case: case.ordering == RR, lambda case: replace(case, ordering=WR).curves()
    ),
    "d_x + 1 in place of d_x + 2, gaussian": (
        lambda case: case.law == "gaussian" and case.directions == 1 and case.problem.deviations is None, _one_short
    ),
    "one direction in place of q": (
        lambda case: case.directions > 1, lambda case: replace(case, directions=1).curves()
    ),
    "radius 0 in place of the radius, one-sided": (
        lambda case: case.sided == 1, lambda case: replace(case, radius=0.0).curves()
    ),
}  # fmt: skip


def random_case(program: int, key: jax.Array) -> Case:
    """A setting of this program, the same for the same key."""
    ordering, shared, law, directions, sided = PROGRAMS[program]
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key), dtype=np.uint32).ravel())
    sizes = SIZES[shared]
    spectrum = {label: rng.uniform(0.2, 1.0, d) for label, d in sizes.items()}
    problem = tl.block_quadratic(
        sizes, n=N, spectrum=spectrum, coupling=rng.uniform(0.0, 0.8),
        dispersion={label: rng.uniform(0, 2) for label in sizes},
        heterogeneity=0.0 if shared else rng.uniform(0.1, 0.9), components=rng.choice(["convex", "indefinite"]),
        rotated=True, key=key,
    )  # fmt: skip
    ray = (1.0, float(10 ** rng.uniform(-0.5, 1.0)))
    if shared:
        limit, _ = stability_region.boundary_on_ray(problem.dense_hessian(), sizes["x"], ray)
    else:
        limit = heterogeneous.step_size_limit(problem.component_hessians(), ordering, zeroth_dimension=sizes["x"], ray=ray)
    step_size = limit * rng.uniform(*REACH)
    start = rng.uniform(0.5, 2.0) * rng.standard_normal(sum(sizes.values()))
    radius = float(10 ** rng.uniform(-1.0, 0.3))
    return Case(problem, (step_size, step_size * ray[1]), start, ordering, law, directions, sided, radius)


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Rows of one setting: its curves ("gap", "decrease"), the average decrease ("average"), and the same against ERRORS.

    `exact` is the prediction in the units of `value`; `p` is that of the maximum statistic over both curves. Averages are in
    units of the exact one.
    """
    of_case, of_runs, of_maximum = jax.random.split(key, 3)
    case = random_case(cell["program"], of_case)
    size = case.model.zeroth_dimension
    estimate = tl.TwoPoint(case.radius, case.directions, case.law, case.sided)
    trace = tl.sweep(
        case.problem, tl.Hybrid({"x": estimate, "y": tl.FirstOrder()}), tl.hybrid_sgd, epochs=EPOCHS,
        step_sizes={"x": case.step_sizes[:1], "y": case.step_sizes[1:]}, ordering=ORDERINGS[case.ordering],
        keys=jax.random.split(of_runs, cell["seeds"]), params={"x": case.start[:size], "y": case.start[size:]},
    )  # fmt: skip
    decrease = sum(eta * trace.gradient_norm_sq[label][0] for eta, label in zip(case.step_sizes, "xy", strict=True))
    runs = np.stack([trace.value[0], decrease])[..., 1:]  # (2, S, T): every run starts from the same point
    predicted = case.curves()[:, 1:]
    error = runs.std(axis=1, ddof=1) / np.sqrt(cell["seeds"])
    z = (runs.mean(axis=1) - predicted) / error
    about = {
        "law": case.law, "directions": case.directions, "sided": case.sided, "radius": case.radius,
        "step_size_x": case.step_sizes[0], "step_size_y": case.step_sizes[1],
    }  # fmt: skip
    rows: list[dict[str, Any]] = []
    for quantity, measured, curve, own in zip(("gap", "decrease"), runs.mean(axis=1), predicted, error, strict=True):
        rows += [
            {"quantity": quantity, "epoch": t + 1, "value": v, "exact": e, "error": s}
            for t, (v, e, s) in enumerate(zip(measured, curve, own, strict=True))
        ]
    metric = runs[1].mean(axis=1)
    average = _rows.row(mean("average decrease", metric / predicted[1].mean(), note=trace.divergence))
    average["error"] = metric.std(ddof=1) / np.sqrt(metric.size) / predicted[1].mean()
    p = _maximum_p(np.concatenate(list(runs), axis=1), float(np.abs(z).max()), of_maximum)
    rows.append({"quantity": "average", "exact": 1.0, "z": np.abs(z).max(), "p": p, **about, **average})
    rows += [
        {"quantity": wrong, "exact": float(curves(case)[1, 1:].mean() / predicted[1].mean()), **average}
        for wrong, (applies, curves) in ERRORS.items()
        if applies(case)
    ]
    return pd.DataFrame(rows).assign(
        setting=f"{cell['program']}-{cell['repeat']}",
        ordering=case.ordering,
        components="shared" if case.problem.deviations is None else "their own",
    )


def _maximum_p(samples: np.ndarray, observed: float, key: jax.Array) -> float:
    """P(max |G_k| >= observed) for a gaussian G with the correlations of the columns of (S, K) samples."""
    values, vectors = np.linalg.eigh(np.corrcoef(samples, rowvar=False))
    normal = np.asarray(jax.random.normal(key, (RESAMPLES, values.size)))
    largest = np.abs(normal * np.sqrt(np.clip(values, 0, None)) @ vectors.T).max(axis=1)
    return float((1 + np.sum(largest >= observed)) / (1 + RESAMPLES))


def judge(frame: pd.DataFrame) -> list[Verdict]:
    """Six claims on the exact recursions, one on each that is wrong."""
    averages = frame[frame.quantity == "average"]
    count, inside = len(averages), int((averages.p >= 0.01).sum())
    z = (averages.value - averages.exact) / averages.error

    def census(name: str, value: float) -> Measurement:
        return replace(exact(name, value), samples=count)

    # Where the recursions are exact these three p-values are uniform or larger: each claim errs once in a hundred times.
    few = claim(
        "whole curves lie inside their simultaneous 99% bands: exact binomial p-value of so few of them inside", SOURCE,
        "at least", 0.01,
    )  # fmt: skip
    verdicts = [few.check(census(f"{inside} of {count}", float(stats.binom(count, 0.99).cdf(inside))))]
    far = claim(
        "the largest |z| along any curve is no larger than chance makes it: p-value of the farthest curve among all", SOURCE,
        "at least", 0.01,
    )  # fmt: skip
    verdicts.append(far.check(census("Sidak", float(1 - (1 - averages.p.min()) ** count))))
    normal = claim(
        "z of the average decrease is standard normal over the settings: Kolmogorov-Smirnov p-value",
        SOURCE,
        "at least",
        0.01,
    )
    verdicts.append(normal.check(census("Kolmogorov-Smirnov", float(stats.kstest(z, "norm").pvalue))))
    # Under the recursions the mean z has variance 1/count; one standard error of one setting is what nobody would mind.
    sign = claim("no systematic sign: mean z of the average decrease", SOURCE, "equals", 0.0, tolerance=1.0)
    half = float(stats.norm.ppf(0.995) / np.sqrt(count))
    verdicts.append(sign.check(Measurement("mean z", float(z.mean()), z.mean() - half, z.mean() + half, count)))
    for components, rows in averages.groupby("components", sort=False):
        which = "one Hessian" if components == "shared" else "Hessians of their own"
        level = claim(
            f"components with {which}: average decrease / exact, mean over the settings",
            SOURCE,
            "equals",
            1.0,
            tolerance=0.01,
        )
        verdicts.append(level.check(_pooled(rows)))
    for wrong, rows in frame[frame.quantity.isin(ERRORS)].groupby("quantity", sort=False):
        level = claim(
            f"deliberately wrong ({wrong}): average decrease / predicted, mean over the settings", "design aim", "equals",
            1.0, tolerance=0.01, expected="fails", why="one term of the recursion is wrong on purpose",
        )  # fmt: skip
        verdicts.append(level.check(_pooled(rows)))
    return verdicts


def _pooled(rows: pd.DataFrame) -> Measurement:
    """The mean of value / exact over independent settings with known standard errors."""
    if not np.isfinite(rows.value).all():
        return family.average("value / exact", _rows.measurements(_rows.quotients(rows, "exact")))
    value = float((rows.value / rows.exact).mean())
    half = float(stats.norm.ppf(0.995) * np.sqrt(((rows.error / rows.exact) ** 2).sum()) / len(rows))
    return Measurement("value / exact", value, value - half, value + half, int(rows.samples.sum()))


SHOWN = (0, 1, 5)  # the programs of which a curve is drawn


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    """A few curves on their exact lines; all z values against the normal law; the recursions, right and wrong."""
    figure, axes = figures.new_figure(1, 3, height=4.9, width=11, width_ratios=(1.05, 1, 1.05))
    curves, quantiles, levels = axes[0]
    figure.set_layout_engine("constrained", w_pad=0.12)  # the labels of the second panel and the third
    for program, colour in zip(SHOWN, ("random_reshuffling", "with_replacement", "hybrid"), strict=True):
        rows = frame[(frame.setting == f"{program}-0") & (frame.quantity == "gap")]
        if rows.empty:
            continue
        scale, reach = rows.exact.iloc[0], stats.norm.ppf(0.995) * rows.error
        figures.theory_line(curves, rows.epoch, rows.exact / scale, label="exact")
        which = "one Hessian" if rows.components.iloc[0] == "shared" else "Hessians of their own"
        figures.band(
            curves, rows.epoch, rows.value / scale, (rows.value - reach) / scale, (rows.value + reach) / scale, like=colour,
            line=False, label=f"{figures.look(rows.ordering.iloc[0]).label},\n{which}",
        )  # fmt: skip
    curves.set(xlabel="epoch", ylabel=r"$\mathrm{E}\,f - f^*$, in units of that after one epoch", yscale="log")
    figures.legend(curves, below=True, ncols=2, fontsize=8)
    averages = frame[frame.quantity == "average"]
    z = np.sort((averages.value - averages.exact) / averages.error)
    ranks = np.arange(1, z.size + 1)
    low, high = (stats.norm.ppf(stats.beta(ranks, z.size + 1 - ranks).ppf(level)) for level in (0.005, 0.995))
    normal = stats.norm.ppf((ranks - 0.5) / z.size)
    quantiles.fill_between(normal, low, high, color="black", alpha=0.1, linewidth=0, label="99% of each order statistic")
    figures.theory_line(quantiles, normal, normal, label="standard normal")
    quantiles.plot(normal, z, "o", color=figures.look("hybrid").colour, markersize=4, label="average decrease")
    quantiles.set(xlabel="normal quantile", ylabel="z = (measured - exact) / standard error")
    figures.legend(quantiles, below=True, ncols=1, fontsize=8)
    groups = [
        (f"exact, {'one Hessian' if c == 'shared' else 'Hessians of their own'}", rows)
        for c, rows in averages.groupby("components")
    ]
    groups += list(frame[frame.quantity.isin(ERRORS)].groupby("quantity", sort=False))
    for i, (name, rows) in enumerate(groups):
        pooled = _pooled(rows)
        colour = figures.look("hybrid" if name.startswith("exact") else "zeroth_order").colour
        levels.errorbar(
            pooled.value,
            -i,
            xerr=[[pooled.value - pooled.low], [pooled.high - pooled.value]],
            fmt="o",
            color=colour,
            capsize=3,
            zorder=4,
        )
        words = name if name.startswith("exact") else f"wrong: {name}"
        white = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        levels.text(0.03, -i + 0.24, words, transform=levels.get_yaxis_transform(), fontsize=8.5, bbox=white, zorder=2)
    levels.axvline(1.0, color="black", linewidth=1.2, zorder=0)
    levels.set(xlabel="average decrease, measured / predicted", yticks=[], ylim=(0.6 - len(groups), 0.7))
    levels.grid(False, axis="y")
    title = f"Trajectories of {len(averages)} random settings beside the exact second-moment recursions"
    figures.title_with_verdicts(figure, title, verdicts)
    return figure
