"""Choosing: the fastest step sizes inside the stable region of every local model, and the limits of each."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from theory_lab._typing import Key, Label
from theory_lab.advise.coupling import coupled, room
from theory_lab.advise.fastest import SAFE, axis_limit, fastest
from theory_lab.advise.looking import DENSE, View
from theory_lab.advise.seeing import Sight
from theory_lab.advise.spectra import SpectralView
from theory_lab.measure.base import Measurement
from theory_lab.problems.base import Problem
from theory_lab.theory.groups import GroupedBlocks
from theory_lab.theory.local import WORK, Local
from theory_lab.theory.local_stability import boundary_scale, calibrated, stable, thinned
from theory_lab.theory.modes import steps_to
from theory_lab.theory.moments import variance_factor

EXACT = 64  # dimensions up to which the whole matrix of second moments is carried where components differ
TINY = 1e-9  # of the scale of a step size: as good as standing still
FALLBACK = 0.25  # of the limits where no time can be predicted
ALONG = "second moments carried along orders"
CURVE = np.geomspace(1 / 64, 2, 29)  # multiples of an advised step size at which steps are predicted for the figure


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        step_sizes: per block.
        limits: per block, the others at their advised step sizes.
        alone: per block, the others standing still.
        doubled: per zeroth-order block, its limit alone with the directions as asked and with twice as many.
        steps: predicted; inf if the accuracy is out of reach, nan if unknown.
        floor: stationary (E||grad f||^2)^1/2 at the step sizes.
        method: how the limits were computed, in words.
        together: how many times all step sizes may grow together, cross blocks included; nan where matrices say it.
        products: spent on that.
        curve: predicted steps against each block's step size.
    """

    step_sizes: dict[Label, float]
    limits: dict[Label, Measurement]
    alone: dict[Label, float]
    doubled: dict[Label, tuple[float, float]]
    steps: float
    floor: float
    method: str
    together: float
    products: int
    curve: pd.DataFrame


def choose(problem: Problem, sight: Sight, *, key: Key, probability: float) -> Choice:
    """The advised step sizes and what is predicted of them.

    Args:
        problem, sight: what was looked at.
        key, probability: of the cross blocks of a large problem, as in `coupling.coupled`.
    """
    labels = sight.settings.labels
    scales = {label: 2 / sight.top(label) if sight.top(label) > 0 else math.inf for label in labels}
    moving = [label for label in labels if scales[label] < math.inf]
    some = min((scales[label] for label in moving), default=1.0)
    still = [TINY * (scales[label] if label in moving else some) for label in labels]

    def full(etas: Sequence[float]) -> list[float]:
        given = dict(zip(moving, etas, strict=True))
        return [given.get(label, rest) for label, rest in zip(labels, still, strict=True)]

    limiting, timing = _calibrated(sight, still, moving)
    roughly = lambda etas: all(model.modes(full(etas)).stable for model in limiting)
    exactly = lambda etas: all(_stable(model, full(etas)) for model in limiting)

    def steps(etas: Sequence[float]) -> float:
        return math.nan if timing is None else steps_to(timing.modes(full(etas)), sight.accuracy)

    at_rest = [still[labels.index(label)] for label in moving]
    alone = {label: axis_limit(roughly, at_rest, i, resolution=1e-3) for i, label in enumerate(moving)}
    share = SAFE / sight.beyond
    best, predicted = [alone[label] * FALLBACK / sight.beyond for label in moving], math.nan
    if moving and timing is not None:
        found = fastest(steps, roughly, [alone[label] for label in moving], share=share)
        predicted = found.steps
        best = list(found.step_sizes) if found.steps < math.inf else best
    if moving and not exactly([eta / share for eta in best]):
        inside = share * boundary_scale(exactly, best)
        best = [eta * min(inside, 1.0) for eta in best]
        predicted = steps(best)
    crossed = coupled(problem, sight, full(best), key=key, probability=probability) if moving else ()
    together = math.nan
    if crossed:
        together = room(crossed, 1 / share)
        scale = min(1.0, together * share)
        limiting, together = [point.at(scale) for point in crossed], together / scale
        best = [eta * scale for eta in best]
        predicted = predicted if scale == 1 else steps(best)
    etas = {label: best[moving.index(label)] if label in moving else 0.0 for label in labels}
    limits = {label: _endless(label, sight.negative(label)) for label in labels}
    floor = math.sqrt(timing.modes(full(best)).floor) if moving and timing is not None else math.nan
    rows = [
        {"label": label, "step_size": best[i] * times, "steps": steps(tried), "stable": roughly(tried)}
        for i, label in enumerate(moving)
        for times in CURVE
        for tried in [[eta * times if i == j else eta for j, eta in enumerate(best)]]
    ]
    curve = pd.DataFrame(rows, columns=["label", "step_size", "steps", "stable"])
    for i, label in enumerate(moving):
        limits[label] = _limit(sight, label, _axis(exactly, best, i, alone[label]), together * best[i])
    apart = {label: _apart(limiting, full(at_rest), labels.index(label), alone[label]) for label in moving}
    whole = {label: apart.get(label, math.inf) for label in labels}
    return Choice(
        etas,
        limits,
        whole,
        _doubled(sight, still, moving),
        predicted,
        floor,
        _method(sight),
        together,
        sum(point.products for point in crossed),
        curve,
    )


def _doubled(sight: Sight, still: Sequence[float], moving: Sequence[Label]) -> dict[Label, tuple[float, float]]:
    """Limits of zeroth-order blocks alone, mode by mode, with the directions as asked and with twice as many."""
    found = {}
    for i, label in enumerate(sight.settings.labels):
        if label in sight.settings.zeroth and label in moving:
            twice = tuple(replace(model, directions=2 * model.directions) for model in sight.limiting)
            found[label] = (_by_modes(sight.limiting, still, i), _by_modes(twice, still, i))
    return found


def _by_modes(models: Sequence[Local | GroupedBlocks], etas: Sequence[float], block: int) -> float:
    return axis_limit(lambda tried: all(model.modes(tried).stable for model in models), etas, block, resolution=1e-2)


def _axis(test: Callable[[Sequence[float]], bool], etas: Sequence[float], block: int, near: float) -> float:
    """The limit of one block with the others as given, looked for from where it is expected."""
    return axis_limit(test, [near if i == block else eta for i, eta in enumerate(etas)], block, resolution=2e-2)


def _apart(models: Sequence[Local | GroupedBlocks], still: Sequence[float], block: int, near: float) -> float:
    """The limit of one block with the others standing still.

    Along orders it is that of a model of this block only: what the others leave of E||grad f||^2 would hide a rise.
    """
    along = [isinstance(m, Local) and _whole(m) and m.deviations is not None for m in models]
    lone = [m.alone(block) if isinstance(m, Local) and hides else m for m, hides in zip(models, along, strict=True)]
    test = lambda etas: all(
        stable(model, [etas[block]]) if isinstance(model, Local) and hides else _stable(model, etas)
        for model, hides in zip(lone, along, strict=True)
    )
    return _axis(test, still, block, near)


def _whole(model: Local | GroupedBlocks) -> bool:
    """Whether the whole matrix of second moments is looked at, and not its modes alone; where they say all, they do."""
    if not isinstance(model, Local):
        return False
    return sum(model.sizes) <= (EXACT if model.deviations is not None else DENSE) and not plain(model)


def plain(model: Local) -> bool:
    """Whether blocks are not coupled and components share their Hessian: modes are exact then, unless signs are drawn."""
    off = model.hessian - np.diag(np.diag(model.hessian))
    uncoupled = np.abs(off).max(initial=0.0) <= 1e-9 * max(np.abs(model.hessian).max(), 1e-300)
    return model.deviations is None and bool(uncoupled) and model.law != "rademacher"


def _sampled(model: Local) -> bool:
    """Whether the components' Hessians are too much work for all of them to be looked at."""
    if model.deviations is None:
        return False
    if not _whole(model):
        return len(model.deviations) * len(model.hessian) ** 3 > WORK
    return model.ordering == "with_replacement" and thinned(model) > 1


def _stable(model: Local | GroupedBlocks, etas: Sequence[float]) -> bool:
    return stable(model, etas) if isinstance(model, Local) and _whole(model) else model.modes(etas).stable


def _calibrated(
    sight: Sight, still: Sequence[float], moving: Sequence[Label]
) -> tuple[list[Local | GroupedBlocks], Local | GroupedBlocks | None]:
    """The models with their noise scaled to where the whole matrix loses stability, if every block has a limit."""
    found: list[Local | GroupedBlocks] = []
    excess = None
    for model in sight.limiting:
        if isinstance(model, Local) and _whole(model) and len(moving) == len(still):
            test = lambda etas, model=model: model.modes(etas).stable
            alone = [axis_limit(test, still, i, resolution=1e-2) for i in range(len(still))]
            if all(0 < limit < math.inf for limit in alone):
                model = calibrated(model, alone)
                excess = model.excess
        found.append(model)
    timing = sight.timing
    return found, replace(timing, excess=excess) if isinstance(timing, Local) else timing


def _method(sight: Sight) -> str:
    """How the limits were computed, in words; exact only if nothing was left out."""
    views = [view for view in sight.views if isinstance(view, View)]
    lacks = []
    if math.isfinite(sight.settings.horizon):
        lacks.append(f"without modes that contract by less than a factor e in {sight.settings.horizon:.0f} steps")
    if not views:
        crossed = ["with what cross blocks add at the advised step sizes"] if len(sight.settings.labels) > 1 else []
        return ", ".join(["spectral densities", *crossed, *lacks])
    models = [model for model in sight.limiting if isinstance(model, Local)]
    how = "exact"
    if not all(plain(model) or _whole(model) for model in models):
        how = "second moments mode by mode"
    elif any(model.deviations is not None for model in models) and sight.settings.ordering != "with_replacement":
        how = ALONG
    if any(view.looked < sight.settings.components for view in views) or any(map(_sampled, models)):
        lacks.append("by a sample of the components")
    if not all(view.definite for view in views):
        lacks.append("negative curvature left out")
    if any(view.pushed for view in views):
        lacks.append("left out where the mean does not curve but components do: there no step size is stable")
    return ", ".join([how if how != "exact" or not lacks else "second moments", *lacks])


def _limit(sight: Sight, label: Label, value: float, together: float) -> Measurement:
    """A limit with its interval: a point from matrices, a bracket from spectral densities.

    ``together`` is the step size at the end of the ray on which all grow together; nan without such a ray.
    """
    name = f"mean-square limit of the step size of {label}"
    if not isinstance(sight.last, View):
        return _bracketed(name, value, sight, label, together)
    return Measurement(name, value, value, value, 1, note=_method(sight))


def _bracketed(name: str, value: float, sight: Sight, label: Label, together: float) -> Measurement:
    """A limit from spectral densities, between two ends.

    The upper end is 2/L_b, by the certified inside of the largest curvature. The lower end is certified for a block alone
    whose components share their curvature; 0 where they differ. With others it is where the ray of all advised step sizes
    ends, which certifies nothing of the noise. Of the mean, a stable region that holds a point holds what is smaller; of
    second moments nearly: a coupled block that slows down may cost another some per cent of its limit.
    """
    views = [view for view in sight.views if isinstance(view, SpectralView)]
    settings = sight.settings
    size = settings.sizes[settings.labels.index(label)]
    factor = variance_factor(size, directions=settings.directions, law=settings.law) if label in settings.zeroth else 0.0
    low = 2 / (max(view.blocks[label].top.high for view in views) * (1 + factor))
    if len(settings.labels) > 1:
        low = together
    elif any(view.blocks[label].kappa > 0 for view in views):
        low = 0.0
    high = 2 / max(view.blocks[label].top.low for view in views)
    return Measurement(name, value, min(low, value), max(high, value), len(views), note=_method(sight))


def _endless(label: Label, negative: float) -> Measurement:
    name = f"mean-square limit of the step size of {label}"
    return Measurement(name, math.inf, math.inf, math.inf, 1, note=nothing(negative))


def nothing(negative: float) -> str:
    """Why no curvature limits the steps of a block, given its most negative one."""
    if negative < 0:
        return f"only negative curvature was measured in this block, down to {negative:.3g}: no step size makes it contract"
    return "no curvature was measured in this block"
