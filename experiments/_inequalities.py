"""The inequalities that are proved here, each as a test of one instance, and theorems that are broken on purpose.

A test takes genes (`_instances`), makes an instance of them and returns measured / bound: above 1 the inequality is broken.
Only a condition of the statement excludes an instance, and is named; a bound that is not a number or negative breaks it.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from experiments import _instances
from experiments._instances import RR, WR, Quadratic, share
from theory_lab.theory import clean, convex, first_order, growing_noise, level_sets, moment_bounds, stability_region, tuned
from theory_lab.theory.with_replacement import with_replacement_bound, with_replacement_parts
from theory_lab.theory.without_replacement import (
    CLEAN,
    CLEAN_WITH_RADIUS,
    FreeParameters,
    reshuffling_bound,
    reshuffling_parts,
)


class Found(NamedTuple):
    """An instance, measured / bound there, and the condition of the statement, if any, that the instance does not meet."""

    problem: Any
    ratio: float
    unmet: str = ""


def _none(problem: Any, unmet: str) -> Found:
    """The statement promises nothing here."""
    return Found(problem, np.nan, unmet)


def over(measured: float, bound: float) -> float:
    """measured / bound; inf where the bound is no number or negative, or 0 and exceeded.

    Example:
        >>> over(1.0, 2.0), over(1.0, -2.0), over(1.0, 0.0), over(0.0, 0.0), over(1.0, np.nan)
        (0.5, inf, inf, 0.0, inf)
    """
    if np.isnan(measured) or np.isnan(bound) or bound < 0 or (bound == 0 and measured > 0):
        return np.inf
    return float(measured / bound) if bound > 0 else 0.0


FAR = 1e90  # beyond which no bound takes an argument, or soon

Statement = Callable[[np.ndarray], Found]  # genes to an instance and what came of it


def _compared(
    problem: Quadratic, bound: Callable[[float], float], measured: float, change: float, scale: float = 1.0
) -> Found:
    """measured <= bound(gap), affine in the gap, at the gap -change; what is negative moves to the other side.

    A change below rounding of f(z_0), which is of size `scale`, is allowed for.
    """
    below = bound(max(-change, 0.0) + 1e-13 * scale)
    risen = bound(change) - bound(0.0) if change > 0 else 0.0
    return Found(problem, over(measured + risen, below))


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
        return _none(problem, "a rank to drop")
    c, theta = (float(np.exp(genes[16])), 2 * share(genes[17] - 1)) if problem.radius else (0.0, 0.0)
    kappa = moment_bounds.kappa(problem.rank, problem.directions)
    # A thousandth below the limits: at the limits C_b = 1 - 1 is all rounding.
    caps = _caps(problem, 0.999 * 2 * (1 - theta / 2) / ((1 + c) * kappa), 0.999 * 2)
    problem = _instances.stepped(problem, caps, genes)
    way = _instances.path(problem, ordering, every_step=ordering == WR)
    if (
        max(np.abs(way.value).max(), way.dispersion.max()) > FAR
    ):  # only an order that is not the theorem's takes so many steps
        return _none(problem, f"a run within {FAR:g}")
    known = _blocks(problem, way, rank=rank)
    known["dispersion"] = tuple(noise * s for s in known["dispersion"])
    young: dict[str, Any] = {"c": c, "theta": theta} if problem.radius else {}
    coefficients = with_replacement_parts(step_sizes=problem.step_sizes, **young, **known).coefficients
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
    if reshuffled:
        best = tuned.reshuffling_tuned(initial_gap=gap, n=problem.n, epochs=problem.horizon, shares=shares, **known)
    else:
        best = tuned.with_replacement_tuned(initial_gap=gap, steps=problem.horizon, shares=shares, **known)
    problem = replace(problem, step_sizes=best.step_sizes)
    way = _instances.path(problem, every_step=not reshuffled)
    return Found(problem, over(_weighed(way.gradients, shares), best.bound))


def corollary_1c(genes: np.ndarray) -> Found:
    """Strongly convex components: A_b = 2 L_b, B_b = 2 L_b (f* - mean f_i*); C_b >= 1/2 (c = 1, theta = 1/2)."""
    problem = _instances.quadratic(genes, convex=0.05)
    kappa = moment_bounds.kappa(problem.rank, problem.directions)
    problem = _instances.stepped(problem, _caps(problem, (0.25 if problem.radius else 1.0) / kappa, 1.0), genes)
    minima = [-b @ np.linalg.solve(h, b) / 2 for h, b in zip(problem.hessians, problem.tilts, strict=True)]
    slopes = 2 * problem.smoothness[0], 2 * problem.smoothness[1]
    best = growing_noise.with_replacement_growing_bound(
        step_sizes=problem.step_sizes, dispersion_slope=slopes, initial_gap=problem.initial_gap, steps=problem.horizon,
        **problem.known([slope * -np.mean(minima) for slope in slopes]),
    )  # fmt: skip
    way = _instances.path(problem, every_step=True)
    weights = (1 + best.rate) ** -np.arange(1.0, problem.horizon + 1)
    average = float(weights @ way.gradients @ problem.step_sizes) / growing_noise.discounted(best.rate, problem.horizon)
    return Found(problem, over(average, best.bound))


def theorem_2(genes: np.ndarray, *, rank: bool = True, ordering: str = RR) -> Found:
    """Free parameters around those of Corollary 2a; broken without its rank, or on epochs drawn with replacement.

    What is broken is looked for where it matters most: from the minimiser on, where the bound is all noise.
    """
    problem = _instances.quadratic(genes)
    if not rank or ordering == WR:
        problem = replace(problem, start=0 * problem.start)
    if not rank and problem.rank == 1:
        return _none(problem, "a rank to drop")
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
    if parts.theta <= 0 or min(parts.coefficients) <= 0:
        return _none(problem, "theta > 0 and C_b > 0")

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
    return Found(problem, over(way.value[-1], bound))


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
    total, second = _instances.divergences(problem)
    distance = float(problem.by_block(np.diag(second)) @ (1 / eta_x, 1 / eta_y))
    per_divergence = bound.distance_sq / (bound.divergence * problem.n)  # 2 theta
    allowed = bound.distance_sq
    if not directions:
        allowed -= 2 * problem.n * moment_bounds.kappa_prime(problem.zeroth, problem.directions) * eta_x * spread[0]
    return Found(problem, over(distance + per_divergence * total, allowed))


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
        return _none(problem, "a point that is no minimiser")

    def growth(u: float) -> float:
        return max(problem.growth(0, u), problem.growth(1, u))

    largest = level_sets.grad_level_bound(growth, gap)
    if largest == np.inf:
        return _none(problem, "growth below quadratic for this gap")
    blockwise = sum(over(norm, problem.growth(b, largest) * constant * gap) for b, norm in enumerate(norms))
    classical = over(size**2, constant * growth(2 * size) * gap)
    return Found(problem, max(over(size, largest), blockwise, classical))


def bias(genes: np.ndarray, *, constant: float = 1.0) -> Found:
    """Theorem 3 (b), broken with a part of its constant."""
    problem = _instances.smoothed(genes)
    smooth = float(problem.bound.max())
    bound = moment_bounds.bias_bound(smooth, problem.bound.sum() / smooth, problem.radius)
    return Found(problem, over(float(np.linalg.norm(problem.mean - problem.gradient)), constant * bound))


def second_moments(genes: np.ndarray, *, rank: bool = True) -> Found:
    """Theorem 3 (e), second moment and variance, whichever is nearer to breaking; broken without the rank."""
    problem = _instances.smoothed(genes)
    if not rank and problem.bound.size == 1:
        return _none(problem, "a rank to drop")
    smooth, q = float(problem.bound.max()), problem.directions
    r = problem.bound.sum() / smooth if rank else 1.0
    known = (float(problem.gradient @ problem.gradient), smooth, r, problem.radius)
    mean = problem.norm_sq(problem.mean)
    variance = (problem.second_moment - mean) / q
    found = (
        over(variance + mean, moment_bounds.second_moment_bound(*known, directions=q)),
        over(variance, moment_bounds.variance_bound(*known, directions=q)),
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
