"""Is there a counterexample to any of the inequalities?

Every inequality that is proved here is confronted with instances built to break it: small problems, random at first, then
evolved, the discrete choices too, so that measured / bound grows. Expectations are exact: block quadratics with Hessians of
their own by the moment recursions over all orders of up to six components (for Proposition C order by order), functions of
one to three variables by quadrature. What is measured is put into the sharp form of the statement, with f(z_0) - E f(z_T)
in place of f(z_0) - f* wherever the statement is a sum over its steps, and with the dispersion that the run meets in place
of its supremum: both imply the published form.

The same hunt goes after theorems that are broken on purpose: a constant halved, the dimension dropped, a bound for one order
of visits applied to another. There it must find a counterexample; elsewhere it must not.

Refuted by: one instance with measured / bound above 1 beyond rounding. Its seed rebuilds it: `instance(statement, seed)`.

Minutes: quick 0.3, full 2.0.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments import _instances
from experiments._instances import RR, WR, Quadratic, share
from theory_lab.claims import Verdict, claim
from theory_lab.measure import exact
from theory_lab.measure.base import unmeasured
from theory_lab.report import figures
from theory_lab.theory import clean, convex, first_order, growing_noise, level_sets, moment_bounds, stability_region, tuned
from theory_lab.theory.with_replacement import with_replacement_bound, with_replacement_parts
from theory_lab.theory.without_replacement import (
    CLEAN,
    CLEAN_WITH_RADIUS,
    FreeParameters,
    reshuffling_bound,
    reshuffling_parts,
)

# One hunt: islands that do not meet; on each, random instances, of which the best are parents of generations of mutants.
ISLANDS, FIRST, PARENTS, CHILDREN, GENERATIONS = 4, 24, 4, 8, 12
ROUNDING = 1e-9  # relative; what sums of a few thousand float64 products may be off, with room


class Found(NamedTuple):
    """An instance and measured / bound there; nan where the statement promises nothing."""

    problem: Any
    ratio: float


Statement = Callable[[np.ndarray], Found]  # genes to an instance and what came of it


def _compared(
    problem: Quadratic, bound: Callable[[float], float], measured: float, change: float, scale: float = 1.0
) -> Found:
    """measured <= bound(gap), affine in the gap, at the gap -change; what is negative moves to the other side.

    A change below rounding of f(z_0), which is of size `scale`, is allowed for.
    """
    below = bound(max(-change, 0.0) + 1e-13 * scale)
    if not 0 < below < np.inf:
        return Found(problem, np.nan)
    risen = bound(change) - bound(0.0) if change > 0 else 0.0
    return Found(problem, (measured + risen) / below)


def _weighed(squares: np.ndarray, weights: Any) -> float:
    """The average over the rows of sum_b w_b E||grad_b f||^2."""
    return float(squares.mean(axis=0) @ np.asarray(weights))


def _caps(problem: Quadratic, x: float, y: float) -> tuple[float, float]:
    """Step sizes alpha_x and alpha_y in units of 1/L_b."""
    return x / problem.smoothness[0], y / problem.smoothness[1]


def _blocks(problem: Quadratic, way: _instances.Path, *, rank: bool = True) -> dict[str, Any]:
    known = problem.known(way.dispersion.mean(axis=0))
    return known if rank else {**known, "rank": 1.0}


def theorem_1(genes: np.ndarray, *, rank: bool = True, noise: float = 1.0, ordering: str = WR) -> Found:
    """Any step sizes with C_b > 0; broken without its rank, with a part of its noise, or on reshuffled epoch starts."""
    problem = _instances.quadratic(genes)
    if not rank and problem.rank == 1:
        return Found(problem, np.nan)  # there is nothing to drop
    c, theta = (float(np.exp(genes[16])), 2 * share(genes[17] - 1)) if problem.radius else (0.0, 0.0)
    kappa = moment_bounds.kappa(problem.rank, problem.directions)
    # A thousandth below the limits: at the limits C_b = 1 - 1 is all rounding.
    caps = _caps(problem, 0.999 * 2 * (1 - theta / 2) / ((1 + c) * kappa), 0.999 * 2)
    problem = _instances.stepped(problem, caps, genes)
    way = _instances.path(problem, ordering, every_step=ordering == WR)
    known = _blocks(problem, way, rank=rank)
    known["dispersion"] = tuple(noise * s for s in known["dispersion"])
    young: dict[str, Any] = {"c": c, "theta": theta} if problem.radius else {}
    coefficients = with_replacement_parts(step_sizes=problem.step_sizes, **young, **known).coefficients
    if min(coefficients) <= 0:
        return Found(problem, np.nan)
    steps = problem.horizon * (1 if ordering == WR else problem.n)

    def bound(gap: float) -> float:
        return with_replacement_bound(
            step_sizes=problem.step_sizes, initial_gap=gap, steps=steps, weights=coefficients, **young, **known
        )

    measured = _weighed(way.gradients, np.multiply(coefficients, problem.step_sizes))
    return _compared(problem, bound, measured, way.value[-1] - way.value[0], abs(way.value[0]))


def corollary_1a(genes: np.ndarray) -> Found:
    problem = _instances.quadratic(genes)
    kappa = moment_bounds.kappa(problem.rank, problem.directions)
    problem = _instances.stepped(problem, _caps(problem, (0.25 if problem.radius else 1.0) / kappa, 1.0), genes)
    way = _instances.path(problem, every_step=True)
    known = {"step_sizes": problem.step_sizes, "steps": problem.horizon, **_blocks(problem, way)}
    measured, change = _weighed(way.gradients, problem.step_sizes), way.value[-1] - way.value[0]
    return _compared(
        problem,
        lambda gap: clean.with_replacement_clean_bound(initial_gap=gap, **known),
        measured,
        change,
        abs(way.value[0]),
    )


def _tuned(genes: np.ndarray, reshuffled: bool) -> Found:
    """Corollaries 1b and 2c on shared convex Hessians: the dispersion is known before the steps are chosen."""
    problem = _instances.quadratic(genes, convex=0.0, shared=True)
    shares = float(np.exp(genes[16])), float(np.exp(genes[17]))
    known = problem.known(problem.by_block(np.mean(problem.tilts**2, axis=0)))
    gap = problem.initial_gap
    if gap == 0:
        return Found(problem, np.nan)
    if reshuffled:
        best = tuned.reshuffling_tuned(initial_gap=gap, n=problem.n, epochs=problem.horizon, shares=shares, **known)
    else:
        best = tuned.with_replacement_tuned(initial_gap=gap, steps=problem.horizon, shares=shares, **known)
    problem = replace(problem, step_sizes=best.step_sizes)
    way = _instances.path(problem, every_step=not reshuffled)
    return Found(problem, _weighed(way.gradients, shares) / best.bound)


def corollary_1c(genes: np.ndarray) -> Found:
    """Strongly convex components: A_b = 2 L_b, B_b = 2 L_b (f* - mean f_i*)."""
    problem = _instances.quadratic(genes, convex=0.05)
    kappa = moment_bounds.kappa(problem.rank, problem.directions)
    problem = _instances.stepped(problem, _caps(problem, 1 / kappa, 1.0), genes)
    minima = [-b @ np.linalg.solve(h, b) / 2 for h, b in zip(problem.hessians, problem.tilts, strict=True)]
    slopes = 2 * problem.smoothness[0], 2 * problem.smoothness[1]
    best = growing_noise.with_replacement_growing_bound(
        step_sizes=problem.step_sizes, dispersion_slope=slopes, initial_gap=problem.initial_gap, steps=problem.horizon,
        **problem.known([slope * -np.mean(minima) for slope in slopes]),
    )  # fmt: skip
    way = _instances.path(problem, every_step=True)
    weights = (1 + best.rate) ** -np.arange(1.0, problem.horizon + 1)
    average = float(weights @ way.gradients @ problem.step_sizes) / growing_noise.discounted(best.rate, problem.horizon)
    return Found(problem, average / best.bound if best.bound > 0 else np.nan)


def theorem_2(genes: np.ndarray, *, rank: bool = True, ordering: str = RR) -> Found:
    """Free parameters around those of Corollary 2a; broken without its rank, or on epochs drawn with replacement.

    What is broken is looked for where it matters most: from the minimiser on, where the bound is all noise.
    """
    problem = _instances.quadratic(genes)
    if not rank or ordering == WR:
        problem = replace(problem, start=0 * problem.start)
    if not rank and problem.rank == 1:
        return Found(problem, np.nan)
    base = CLEAN_WITH_RADIUS if problem.radius else CLEAN
    c1, c2, omega, c, c3, rho = (
        float(value * np.exp(gene)) for value, gene in zip(base[:3] + base[4:], genes[16:22], strict=True)
    )
    free = FreeParameters(c1, c2, omega, (share(genes[22]), share(genes[23])), c, c3, rho)
    factor, largest = moment_bounds.kappa_prime(problem.rank, problem.directions), 0.7 / problem.n
    problem = _instances.stepped(problem, _caps(problem, min(largest, 0.4 / factor), largest), genes - 0.5)
    way = _instances.path(problem, ordering)
    known = _blocks(problem, way, rank=rank)
    parts = reshuffling_parts(step_sizes=problem.step_sizes, n=problem.n, parameters=free, **known)
    if not parts.holds:
        return Found(problem, np.nan)

    def bound(gap: float) -> float:
        return reshuffling_bound(
            step_sizes=problem.step_sizes, initial_gap=gap, n=problem.n, epochs=problem.horizon, weights=parts.coefficients,
            parameters=free, **known,
        )  # fmt: skip

    measured = _weighed(way.gradients, np.multiply(parts.coefficients, problem.step_sizes))
    return _compared(problem, bound, measured, way.value[-1] - way.value[0], abs(way.value[0]))


def _closed(
    genes: np.ndarray, bound: Callable[..., float], caps: Callable[[Quadratic], tuple[float, float]], one: bool
) -> Found:
    """A bound for reshuffled epochs without free constants."""
    problem = _instances.quadratic(genes, exact=one)
    problem = _instances.stepped(problem, _caps(problem, *caps(problem)), genes)
    way = _instances.path(problem)
    known = {"step_sizes": problem.step_sizes, "n": problem.n, "epochs": problem.horizon, **_blocks(problem, way)}
    measured, change = _weighed(way.gradients, problem.step_sizes), way.value[-1] - way.value[0]
    return _compared(problem, lambda gap: bound(initial_gap=gap, **known), measured, change, abs(way.value[0]))


def corollary_2a(genes: np.ndarray) -> Found:
    def caps(problem: Quadratic) -> tuple[float, float]:
        by_order = 1 / ((5 if problem.radius else 4) * problem.n)
        return min(by_order, 1 / (8 * moment_bounds.kappa_prime(problem.rank, problem.directions))), by_order

    return _closed(genes, clean.reshuffling_clean_bound, caps, False)


def theorem_h(genes: np.ndarray) -> Found:
    def caps(problem: Quadratic) -> tuple[float, float]:
        return min(1 / (4 * problem.n), 1 / (24 * (problem.rank + 1))), 1 / (4 * problem.n)

    return _closed(genes, clean.theorem_h_bound, caps, True)


def _first_order(genes: np.ndarray, bound: Callable[..., float], ordering: str = RR) -> Found:
    """One step size for all coordinates, at most 1/(2nL)."""
    problem = _instances.quadratic(genes, first_order=True)
    eta = share(genes[14]) / (2 * problem.n * problem.smoothness[1])
    problem = replace(problem, step_sizes=(eta, eta))
    way = _instances.path(problem, ordering)
    known = {
        "step_size": eta, "smoothness": problem.smoothness[1], "dispersion": float(way.dispersion.mean(axis=0).sum()),
        "n": problem.n, "epochs": problem.horizon,
    }  # fmt: skip
    measured, change = _weighed(way.gradients, (1.0, 1.0)), way.value[-1] - way.value[0]
    return _compared(problem, lambda gap: bound(initial_gap=gap, **known), measured, change, abs(way.value[0]))


def polyak(genes: np.ndarray) -> Found:
    """The PL version, on f with a positive definite Hessian, shared: the dispersion is constant."""
    problem = _instances.quadratic(genes, first_order=True, convex=0.02, shared=True)
    eta = share(genes[14]) / (2 * problem.n * problem.smoothness[1])
    problem = replace(problem, step_sizes=(eta, eta))
    way = _instances.path(problem)
    bound = first_order.reshuffling_pl_bound(
        step_size=eta, smoothness=problem.smoothness[1], pl=float(np.linalg.eigvalsh(problem.mean_hessian)[0]) * (1 - 1e-12),
        dispersion=float(way.dispersion[0].sum()), initial_gap=problem.initial_gap, n=problem.n, epochs=problem.horizon,
    )  # fmt: skip
    return Found(problem, way.value[-1] / bound if bound > 0 else np.nan)


def proposition_c(genes: np.ndarray, *, directions: bool = True) -> Found:
    """One epoch over all orders; broken without the noise of the directions at the minimiser."""
    problem = replace(_instances.quadratic(genes, convex=0.0, copies=False), radius=0.0, horizon=1)
    limits = convex.convex_limits(smoothness=problem.smoothness, dimension=problem.zeroth, directions=problem.directions)
    problem = _instances.stepped(problem, limits, genes)
    spread = problem.by_block(np.mean(problem.tilts**2, axis=0))
    eta_x, eta_y = problem.step_sizes
    bound = convex.convex_bound(
        step_sizes=problem.step_sizes, smoothness=problem.smoothness, optimal_dispersion=tuple(spread),
        initial_distance_sq=tuple(problem.by_block(problem.start**2)), n=problem.n, epochs=1, dimension=problem.zeroth,
        directions=problem.directions,
    )  # fmt: skip
    if not np.isfinite(bound.divergence):
        return Found(problem, np.nan)
    total, second = _instances.divergences(problem)
    distance = float(problem.by_block(np.diag(second)) @ (1 / eta_x, 1 / eta_y))
    per_divergence = bound.distance_sq / (bound.divergence * problem.n)  # 2 theta
    allowed = bound.distance_sq
    if not directions:
        allowed -= 2 * problem.n * moment_bounds.kappa_prime(problem.zeroth, problem.directions) * eta_x * spread[0]
    return Found(problem, (distance + per_divergence * total) / allowed)


def box(genes: np.ndarray, *, factor: float = 1.0) -> Found:
    """A common minimiser: no component's step increases E||z - z*||^2 in the norm P^-1; broken on a larger box."""
    problem = replace(_instances.quadratic(genes, convex=0.0), radius=0.0)
    x, y = stability_region.hybrid_smoothness_box(problem.smoothness, problem.zeroth, directions=problem.directions)
    problem = replace(_instances.stepped(problem, (factor * x, factor * y), genes), tilts=0 * problem.tilts)
    d, weights = problem.start.size, 1 / np.where(np.arange(problem.start.size) < problem.zeroth, *problem.step_sizes)
    state = np.concatenate(([1.0], problem.start, np.outer(problem.start, problem.start).ravel()))
    after = (problem.maps @ state)[:, 1 + d :].reshape(-1, d, d)
    return Found(problem, float((np.einsum("nii,i->n", after, weights) / (problem.start**2 @ weights)).max()))


def lemma_41(genes: np.ndarray, *, constant: float = 2.0) -> Found:
    """The level set's gradient bound, the blockwise lemma and the classical one, whichever is nearest to breaking."""
    problem = _instances.level(genes)
    gap, (x, y) = problem.gap, problem.gradients
    norms = np.array([x @ x, y @ y])
    size = float(np.sqrt(norms.sum()))
    if gap <= 0:
        return Found(problem, np.nan)

    def growth(u: float) -> float:
        return max(problem.growth(0, u), problem.growth(1, u))

    largest = level_sets.grad_level_bound(growth, gap)
    if not np.isfinite(largest) or growth(largest) == 0:
        return Found(problem, np.nan)
    blockwise = sum(norm / problem.growth(b, largest) for b, norm in enumerate(norms)) / (constant * gap)
    classical = size**2 / (constant * growth(2 * size) * gap)
    return Found(problem, max(size / largest, blockwise, classical))


def bias(genes: np.ndarray, *, constant: float = 1.0) -> Found:
    """Theorem 3 (b), broken with a part of its constant."""
    problem = _instances.smoothed(genes)
    smooth = float(problem.bound.max())
    bound = moment_bounds.bias_bound(smooth, problem.bound.sum() / smooth, problem.radius)
    return Found(problem, float(np.linalg.norm(problem.mean - problem.gradient)) / (constant * bound))


def second_moments(genes: np.ndarray, *, rank: bool = True) -> Found:
    """Theorem 3 (e), second moment and variance, whichever is nearer to breaking; broken without the rank."""
    problem = _instances.smoothed(genes)
    if not rank and problem.bound.size == 1:
        return Found(problem, np.nan)
    smooth, q = float(problem.bound.max()), problem.directions
    r = problem.bound.sum() / smooth if rank else 1.0
    known = (float(problem.gradient @ problem.gradient), smooth, r, problem.radius)
    mean = problem.norm_sq(problem.mean)
    variance = (problem.second_moment - mean) / q
    found = (
        (variance + mean) / moment_bounds.second_moment_bound(*known, directions=q),
        variance / moment_bounds.variance_bound(*known, directions=q),
    )
    return Found(problem, max(found))


STATEMENTS: dict[str, Statement] = {
    "Theorem 1": theorem_1,
    "Corollary 1a": corollary_1a,
    "Corollary 1b": partial(_tuned, reshuffled=False),
    "Corollary 1c": corollary_1c,
    "Theorem 2": theorem_2,
    "Corollary 2a": corollary_2a,
    "Corollary 2b": partial(_first_order, bound=clean.first_order_clean_bound),
    "Corollary 2c": partial(_tuned, reshuffled=True),
    "Proposition C": proposition_c,
    "first-order reshuffling": partial(_first_order, bound=first_order.reshuffling_bound),
    "first-order reshuffling, PL": polyak,
    "Theorem H": theorem_h,
    "Theorem 5, box": box,
    "Lemma 4.1": lemma_41,
    "Theorem 3 (b)": bias,
    "Theorem 3 (e)": second_moments,
}
BROKEN: dict[str, Statement] = {
    "Theorem 1, half its noise": partial(theorem_1, noise=0.5),
    "Theorem 1, d_x dropped": partial(theorem_1, rank=False),
    "Theorem 1 on reshuffled epoch starts": partial(theorem_1, ordering=RR),
    "Theorem 2, d_x dropped": partial(theorem_2, rank=False),
    "Theorem 2 with replacement": partial(theorem_2, ordering=WR),
    "first-order reshuffling with replacement": partial(_first_order, bound=first_order.reshuffling_bound, ordering=WR),
    "Proposition C, direction noise dropped": partial(proposition_c, directions=False),
    "Theorem 5, box, 1.1 times as large": partial(box, factor=1.1),
    "Lemma 4.1, constant halved": partial(lemma_41, constant=1.0),
    "Theorem 3 (b), constant halved": partial(bias, constant=0.5),
    "Theorem 3 (e), d_x dropped": partial(second_moments, rank=False),
}

# The statement that a variant belongs to.
SOURCES = {
    "Theorem 3 (b)": "Theorem 3",
    "Theorem 3 (e)": "Theorem 3",
    "first-order reshuffling, PL": "first-order reshuffling",
}
COLOURS = (figures.look("hybrid").colour, figures.look("zeroth_order").colour)  # proved, broken on purpose
REACH = (0.01, 30.0)  # of the figure; a triangle at the edge stands for what lies beyond


def hunt(statement: str, seed: int) -> tuple[Found, list[np.ndarray]]:
    """The instance with the largest measured / bound, and all ratios seen, generation by generation; the seed decides all.

    Evolution with truncation selection: the parents live on, a child is a parent of which some genes are moved. Several
    islands, for the instances at which an inequality is an equality lie in many places, of which few lie on a way upwards.
    """
    test = {**STATEMENTS, **BROKEN}[statement]
    rng = np.random.default_rng(seed)
    seen: list[list[float]] = [[] for _ in range(GENERATIONS + 1)]
    champions = []
    for _ in range(ISLANDS):
        population: list[tuple[float, np.ndarray]] = []
        born = list(rng.standard_normal((FIRST, _instances.GENES)))
        for generation in range(GENERATIONS + 1):
            judged = [(_ratio(test, genes), genes) for genes in born]
            seen[generation] += [ratio for ratio, _ in judged]
            population = sorted(population + judged, key=lambda one: -one[0])[:PARENTS]
            born = [_mutant(population[rng.integers(PARENTS)][1], 0.9**generation, rng) for _ in range(CHILDREN)]
        champions.append(population[0])
    return test(max(champions, key=lambda one: one[0])[1]), [np.array(ratios) for ratios in seen]


def _mutant(genes: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """Few genes moved, or many."""
    moved = rng.random(genes.size) < rng.choice([0.05, 0.2, 0.6])
    return genes + size * moved * rng.standard_normal(genes.size)


def _ratio(test: Statement, genes: np.ndarray) -> float:
    """measured / bound; -1 where nothing is promised, so that the hunt leaves."""
    ratio = test(genes).ratio
    return -1.0 if np.isnan(ratio) else float(ratio)


def instance(statement: str, seed: int) -> Any:
    """The worst instance that the hunt of this seed found, rebuilt.

    Example:
        >>> instance("Theorem 3 (b)", 7).radius > 0
        True
    """
    return hunt(statement, seed)[0].problem


@dataclass(frozen=True)
class Settings:
    """How many hunts per statement; a hunt sees 480 instances."""

    hunts: int
    hunts_of_broken: int


QUICK = Settings(hunts=1, hunts_of_broken=1)
FULL = Settings(hunts=10, hunts_of_broken=2)


def cells(settings: Settings) -> list[dict[str, Any]]:
    """A cell is one hunt."""
    found = [{"statement": statement, "hunt": i} for statement in STATEMENTS for i in range(settings.hunts)]
    return found + [{"statement": statement, "hunt": i} for statement in BROKEN for i in range(settings.hunts_of_broken)]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """One row per generation: statement, seed, how many instances, how many to which it promises something, their ratios."""
    seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
    _, seen = hunt(cell["statement"], seed)
    rows = []
    for generation, ratios in enumerate(seen):
        valid = ratios[ratios >= 0]
        quantiles = np.quantile(valid, [0.1, 0.5, 0.9, 1.0]) if valid.size else np.full(4, np.nan)
        rows.append(
            {"generation": generation, "instances": ratios.size, "valid": valid.size}
            | dict(zip(("low", "median", "high", "worst"), quantiles, strict=True))
        )
    return pd.DataFrame(rows).assign(statement=cell["statement"], seed=seed)


def judge(frame: pd.DataFrame) -> list[Verdict]:
    """One claim per inequality, and one per inequality that is broken on purpose."""
    verdicts = []
    for statement in (*STATEMENTS, *BROKEN):
        rows = frame[(frame.statement == statement) & (frame.valid > 0)]
        measured = unmeasured("measured / bound", 0, "no instance met the assumptions")
        if not rows.empty:
            worst = rows.loc[rows.worst.idxmax()]
            measured = exact("measured / bound", float(worst.worst))
            measured = replace(measured, samples=int(rows.valid.sum()), note=f"the worst from seed {int(worst.seed)}")
        if statement in STATEMENTS:
            words, source = (
                f"{statement}: no counterexample: largest measured / bound",
                f"theory_lab, {SOURCES.get(statement, statement)}",
            )
            verdict = claim(words, source, "at most", 1 + ROUNDING).check(measured)
        else:
            words = f"deliberately broken ({statement}): largest measured / bound"
            verdict = claim(
                words, "design aim", "at most", 1.0, expected="fails", why="the hunt finds out what is wrong on purpose"
            ).check(measured)
        verdicts.append(verdict)
    return verdicts


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    """Measured / bound of random instances and the worst found, every inequality a line; 1 is the bound."""
    names = [name for name in (*STATEMENTS, *BROKEN) if (frame[frame.statement == name].valid > 0).any()]
    figure, axes = figures.new_figure(height=0.29 * len(names) + 1.6, width=10)
    panel = axes[0, 0]
    for i, name in enumerate(names):
        rows = frame[(frame.statement == name) & (frame.valid > 0)]
        first, colour = rows[rows.generation == rows.generation.min()], COLOURS[name in BROKEN]
        panel.plot([first.low.median(), first.high.median()], [-i, -i], color=colour, linewidth=5, alpha=0.3)
        panel.plot(first["median"].median(), -i, "|", color=colour, markersize=9, markeredgewidth=1.6)
        worst = rows.worst.max()
        marker = ">" if worst > REACH[1] else "X" if name in BROKEN else "D"
        panel.plot(min(worst, REACH[1]), -i, marker, color=colour, markeredgecolor="white", markersize=8, clip_on=False)
    panel.axvline(1.0, color="black", linewidth=1.2)
    panel.axhline(0.5 - sum(name in STATEMENTS for name in names), color="#8a8a8a", linewidth=0.8, linestyle=":")
    total = int(frame[frame.statement.isin(list(STATEMENTS))].valid.sum())
    panel.set(xscale="log", xlim=REACH, ylim=(0.7 - len(names), 0.7), xlabel="measured / bound (exact expectations)")
    panel.set_yticks([-i for i in range(len(names))], [f"broken: {name}" if name in BROKEN else name for name in names])
    panel.tick_params(axis="y", labelsize=8.5)
    handles = [
        Line2D([], [], color=COLOURS[0], linewidth=5, alpha=0.3, label="random instances, 10% to 90%, and their median"),
        Line2D([], [], color=COLOURS[0], marker="D", linestyle="none", label="the worst that evolution found"),
        Line2D([], [], color=COLOURS[1], marker="X", linestyle="none", label="the same for theorems broken on purpose"),
        Line2D([], [], color="black", linewidth=1.2, label="the bound"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8.5)
    title = f"Hunting counterexamples: {total} instances of {len(STATEMENTS)} inequalities"
    figures.title_with_verdicts(figure, title, verdicts)
    return figure
