"""What theorems guarantee, from measured constants: step sizes that are safe, beside those that are fast."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from theory_lab._typing import Key, Label
from theory_lab.advise.looking import View
from theory_lab.advise.seeing import Sight
from theory_lab.advise.spectra import SpectralView
from theory_lab.constants import Constants
from theory_lab.measure import smoothness
from theory_lab.problems.base import Problem
from theory_lab.theory import convex, stability_region, tuned, with_replacement

FEW = 4  # components whose Hessians are bounded by products
RIDGE = 1e-9  # share of L_b below which an eigenvalue counts as that


def measured(problem: Problem, sight: Sight, key: Key) -> Constants:
    """The constants that the views show: bounds from the inside, as few points can give them.

    Smoothness is two-sided and of the components: L_b = t s_b with s_b the largest curvature of block b and t the largest
    norm of D^-1/2 H_i D^-1/2, D = diag(s_b I), over the components looked at, four at every view where matrices do not fit.
    Trace is that of c diag(S_b), S_b the diagonal blocks of the Hessian and c the least factor with which they dominate as D
    does, where c ||S_b|| <= L_b; it is d_b L_b where that fails, or where no matrices were looked at. Where they were not,
    and no theorem of `guaranteed` is about these blocks, both stay unknown: they would cost products with components.
    """
    labels = sight.settings.labels
    scales = {label: max(sight.top(label), 0.0) for label in labels}
    floor = 1e-12 * max(scales.values(), default=0.0) or 1e-300
    scales = {label: max(scale, floor) for label, scale in scales.items()}
    last = sight.last
    reach: float | None
    if isinstance(last, View):
        inside = {label: sight.settings.part(label) for label in labels}
        of = lambda view, label: float(np.mean(np.sum(view.tilts[:, inside[label]] ** 2, axis=1)))
        spread = {label: max(of(view, label) for view in sight.views if isinstance(view, View)) for label in labels}
        reach = max(_reach(view, scales) for view in sight.views if isinstance(view, View))
        lowest = float(last.eigenvalues[0])
    else:
        reach = None if _pair(sight) is None else _sampled_reach(problem, sight, scales, key)
        lowest = min(last.blocks[label].lowest.value for label in labels) if len(labels) == 1 else math.nan
        spectral = [view for view in sight.views if isinstance(view, SpectralView)]
        spread = {label: max(view.blocks[label].dispersion for view in spectral) for label in labels}
    levels = None if reach is None else {label: reach * scales[label] for label in labels}
    return Constants(
        smoothness=levels,
        trace=None if levels is None else _traces(sight, levels),
        strong_convexity=None if math.isnan(lowest) else lowest,
        optimal_value=min(view.value for view in sight.views),
        dispersion=spread,
    )


def _pair(sight: Sight) -> tuple[Label, Label] | None:
    """The zeroth-order and the first-order block, where there is one of each: theorems are about these."""
    zeroth = sight.settings.zeroth
    first = [label for label in sight.settings.labels if label not in zeroth]
    return (zeroth[0], first[0]) if len(zeroth) == len(first) == 1 else None


def _size(sight: Sight, label: Label) -> int:
    return sight.settings.sizes[sight.settings.labels.index(label)]


def _traces(sight: Sight, levels: Mapping[Label, float]) -> dict[Label, float]:
    """The trace of a matrix that dominates every component's block, per block: no more than d_b L_b."""
    found = {label: level * _size(sight, label) for label, level in levels.items()}
    last = sight.last
    if not isinstance(last, View) or min(levels.values()) <= 0:
        return found
    root = np.zeros_like(last.hessian)
    for label in levels:
        values, vectors = np.linalg.eigh(last.part(label))
        inside = sight.settings.part(label)
        root[inside, inside] = (vectors * np.maximum(values, RIDGE * levels[label]) ** -0.5) @ vectors.T
    factor = max(_norm(view, root) for view in sight.views if isinstance(view, View))
    for label, level in levels.items():
        values = np.maximum(np.linalg.eigvalsh(last.part(label)), RIDGE * level)
        if factor * values[-1] <= level * (1 + 1e-6):
            found[label] = min(found[label], factor * float(values.sum()))
    return found


def _reach(view: View, scales: Mapping[Label, float]) -> float:
    """The largest norm of a component's Hessian in scaled coordinates."""
    roots = [np.full(view.settings.sizes[i], scales[label] ** -0.5) for i, label in enumerate(view.settings.labels)]
    return _norm(view, np.diag(np.concatenate(roots)))


def _norm(view: View, root: np.ndarray) -> float:
    """The largest norm of root H_i root."""
    each = view.hessian[None] if view.deviations is None else view.hessian + view.deviations
    return max(float(np.abs(np.linalg.eigvalsh(root @ one @ root)).max()) for one in each)


def _sampled_reach(problem: Problem, sight: Sight, scales: Mapping[Label, float], key: Key) -> float:
    """The same from a few components at every view, by products; nan where none of them is finite."""
    ends = []
    for i, view in enumerate(sight.views):
        for j, index in enumerate(np.linspace(0, problem.n - 1, min(FEW, problem.n)).astype(int)):
            fn, args = smoothness.finite_sums.component(problem, int(index))
            low, high = smoothness.extreme_eigenvalues(
                fn,
                view.params,
                key=jax.random.fold_in(jax.random.fold_in(key, i), j),
                scaling=scales,
                iterations=20,
                args=args,
            )
            ends += [abs(low.value), abs(high.value)]
    return float(max((end for end in ends if np.isfinite(end)), default=math.nan))


def _convex(sight: Sight) -> bool:
    """Whether every component that was looked at is convex at every view; never known from products alone."""
    return all(isinstance(view, View) and _semidefinite(view) for view in sight.views)


def _semidefinite(view: View) -> bool:
    each = view.hessian[None] if view.deviations is None else view.hessian + view.deviations
    lowest = np.linalg.eigvalsh(each)[:, 0]
    return bool(lowest.min() >= -RIDGE * max(float(np.abs(view.hessian).max()), 1e-300))


def guaranteed(sight: Sight, constants: Constants, steps: float) -> dict[str, dict[Label, float]]:
    """Step sizes that theorems would guarantee if the measured constants held everywhere, by the statement's name.

    Only theorems of the ordering that is asked for; those about convex components only where all that were looked at are
    convex; one block of each kind. The radius is taken as 0.
    """
    settings = sight.settings
    names, q, n = _pair(sight), settings.directions, settings.groups
    if names is None:
        return {}
    assert constants.smoothness is not None
    assert constants.trace is not None
    assert constants.dispersion is not None
    pair = lambda values: (float(values[names[0]]), float(values[names[1]]))
    levels = pair(constants.smoothness)
    if not (min(levels) > 0 and np.isfinite(levels).all()):
        return {}
    d = _size(sight, names[0])
    rank = min(max(1.0, float(constants.trace[names[0]]) / levels[0]), d)
    gap = max(sight.value - float(constants.optimal_value or 0.0), 0.0) if constants.optimal_value is not None else 0.0
    given: dict[str, Any] = {"smoothness": levels, "dispersion": pair(constants.dispersion), "rank": rank, "directions": q}
    shares = (1 / levels[0], 1 / levels[1])
    epochs = int(min(max(1.0, steps / n), 1e12)) if math.isfinite(steps) else 1000
    found: dict[str, tuple[float, float]] = {}
    if settings.ordering == "with_replacement":
        found["theory_lab, Theorem 1"] = with_replacement.with_replacement_limits(smoothness=levels, rank=rank, directions=q)
        found["theory_lab, Corollary 1b"] = tuned.with_replacement_tuned(
            initial_gap=gap, steps=n * epochs, shares=shares, **given
        ).step_sizes
    if settings.ordering == "random_reshuffling":
        found["theory_lab, Corollary 2c"] = tuned.reshuffling_tuned(
            initial_gap=gap, n=n, epochs=epochs, shares=shares, **given
        ).step_sizes
    if _convex(sight):
        box = stability_region.hybrid_smoothness_box(levels, d, directions=q, law=settings.law)
        found["theory_lab, Theorem 5, box"] = box
        if settings.ordering == "random_reshuffling":
            found["theory_lab, Proposition C"] = convex.convex_limits(smoothness=levels, dimension=d, directions=q)
    return {name: dict(zip(names, values, strict=True)) for name, values in found.items()}
