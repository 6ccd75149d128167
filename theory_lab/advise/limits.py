"""Limits of step sizes as they are told: along one axis, with their interval, and how they were computed."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from theory_lab._typing import Label
from theory_lab.advise.contracting import contracts, is_whole, plain, sampled
from theory_lab.advise.fastest import axis_limit
from theory_lab.advise.looking import View
from theory_lab.advise.seeing import Sight
from theory_lab.advise.spectra import SpectralView
from theory_lab.measure.base import Measurement
from theory_lab.theory.groups import GroupedBlocks
from theory_lab.theory.local import Local
from theory_lab.theory.local_stability import stable
from theory_lab.theory.moments import variance_factor

ALONG = "second moments carried along orders"


def end_of_axis(test: Callable[[Sequence[float]], bool], etas: Sequence[float], block: int, near: float) -> float:
    """The limit of one block with the others as given, looked for from where it is expected."""
    return axis_limit(test, [near if i == block else eta for i, eta in enumerate(etas)], block, resolution=2e-2)


def _by_modes(models: Sequence[Local | GroupedBlocks], etas: Sequence[float], block: int) -> float:
    return axis_limit(lambda tried: all(model.modes(tried).stable for model in models), etas, block, resolution=1e-2)


def longer(sight: Sight, still: Sequence[float], moving: Sequence[Label]) -> dict[Label, float]:
    """What remains of every block's limit alone, mode by mode, within four times the horizon.

    Nothing without a horizon, and of no block of which no mode moves: no step size limits that one, now or later.
    """
    if math.isinf(sight.settings.horizon):
        return {}
    later = tuple(replace(model, horizon=4 * model.horizon) for model in sight.limiting)
    places = {label: sight.settings.labels.index(label) for label in moving}
    ends = {label: (_by_modes(sight.limiting, still, i), _by_modes(later, still, i)) for label, i in places.items()}
    return {label: then / now for label, (now, then) in ends.items() if 0 < now < math.inf}


def doubled(sight: Sight, still: Sequence[float], moving: Sequence[Label]) -> dict[Label, tuple[float, float]]:
    """Limits of zeroth-order blocks alone, mode by mode, with the directions as asked and with twice as many."""
    found = {}
    for i, label in enumerate(sight.settings.labels):
        if label in sight.settings.zeroth and label in moving:
            twice = tuple(replace(model, directions=2 * model.directions) for model in sight.limiting)
            found[label] = (_by_modes(sight.limiting, still, i), _by_modes(twice, still, i))
    return found


def limit_alone(models: Sequence[Local | GroupedBlocks], still: Sequence[float], block: int, near: float) -> float:
    """The limit of one block with the others standing still.

    Along orders it is that of a model of this block only: what the others leave of E||grad f||^2 would hide a rise.
    """
    carried = [isinstance(m, Local) and is_whole(m) and m.deviations is not None for m in models]
    lone = [m.lone[block] if isinstance(m, Local) and hides else m for m, hides in zip(models, carried, strict=True)]
    test = lambda etas: all(
        stable(model, [etas[block]]) if isinstance(model, Local) and hides else contracts(model, etas)
        for model, hides in zip(lone, carried, strict=True)
    )
    return end_of_axis(test, still, block, near)


def limit_of(sight: Sight, label: Label, value: float, together: float) -> Measurement:
    """A limit with its interval: a point from matrices, a bracket from spectral densities.

    ``together`` is the step size at the end of the ray on which all grow together; nan without such a ray.
    """
    name = f"mean-square limit of the step size of {label}"
    if not isinstance(sight.last, View):
        return _bracketed(name, value, sight, label, together)
    return Measurement(name, value, value, value, 1, note=method(sight))


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
    return Measurement(name, value, min(low, value), max(high, value), len(views), note=method(sight))


def endless(label: Label, negative: float) -> Measurement:
    name = f"mean-square limit of the step size of {label}"
    return Measurement(name, math.inf, math.inf, math.inf, 1, note=nothing(negative))


def nothing(negative: float) -> str:
    """Why no curvature limits the steps of a block, given its most negative one."""
    if negative < 0:
        return f"only negative curvature was measured in this block, down to {negative:.3g}: no step size makes it contract"
    return "no curvature was measured in this block"


def method(sight: Sight) -> str:
    """How the limits were computed, in words; exact only if nothing was left out."""
    views = [view for view in sight.views if isinstance(view, View)]
    lacks = []
    if math.isfinite(sight.settings.horizon):
        why = "" if sight.settings.asked else ", as curvature is indefinite and no horizon was given"
        lacks.append(f"by what modes gather within {sight.settings.horizon:.0f} steps{why}")
    if not views:
        crossed = ["with what cross blocks add at the advised step sizes"] if len(sight.settings.labels) > 1 else []
        return ", ".join(["spectral densities", *crossed, *lacks])
    models = [model for model in sight.limiting if isinstance(model, Local)]
    how = "exact"
    if not all(plain(model) or is_whole(model) for model in models):
        how = "second moments mode by mode"
    elif any(model.deviations is not None for model in models) and sight.settings.ordering != "with_replacement":
        how, lacks = ALONG, []  # whatever the horizon
    if any(view.looked < sight.settings.components for view in views) or any(map(sampled, models)):
        lacks.append("by a sample of the components")
    if not all(view.definite for view in views):
        lacks.append("negative curvature left out")
    if any(view.pushed for view in views):
        lacks.append(
            "without the directions in which components curve and their mean does not, where no step size is stable"
        )
    return ", ".join([how if how != "exact" or not lacks else "second moments", *lacks])
