"""Which test of stability a local model stands: the whole matrix of its second moments, or its modes."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from theory_lab._typing import Label
from theory_lab.advise.fastest import axis_limit
from theory_lab.advise.looking import DENSE
from theory_lab.advise.seeing import Sight
from theory_lab.theory.groups import GroupedBlocks
from theory_lab.theory.local import WORK, Local
from theory_lab.theory.local_stability import calibrated, stable, thinned

EXACT = 64  # dimensions up to which the whole matrix of second moments is carried where components differ


def is_whole(model: Local | GroupedBlocks) -> bool:
    """Whether the whole matrix of second moments is looked at, and not its modes alone; where they say all, they do."""
    if not isinstance(model, Local):
        return False
    return sum(model.sizes) <= (EXACT if model.deviations is not None else DENSE) and not plain(model)


def plain(model: Local) -> bool:
    """Whether blocks are not coupled and components share their Hessian: modes are exact then, unless signs are drawn."""
    off = model.hessian - np.diag(np.diag(model.hessian))
    uncoupled = np.abs(off).max(initial=0.0) <= 1e-9 * max(np.abs(model.hessian).max(), 1e-300)
    return model.deviations is None and bool(uncoupled) and model.law != "rademacher"


def sampled(model: Local) -> bool:
    """Whether the components' Hessians are too much work for all of them to be looked at."""
    if model.deviations is None:
        return False
    if not is_whole(model):
        return len(model.deviations) * len(model.hessian) ** 3 > WORK
    return model.ordering == "with_replacement" and thinned(model) > 1


def contracts(model: Local | GroupedBlocks, etas: Sequence[float]) -> bool:
    return stable(model, etas) if isinstance(model, Local) and is_whole(model) else model.modes(etas).stable


def calibrate(
    sight: Sight, still: Sequence[float], moving: Sequence[Label]
) -> tuple[list[Local | GroupedBlocks], Local | GroupedBlocks | None, Local | None]:
    """The models with their noise scaled to where the whole matrix loses stability, if every block has a limit.

    Those that limit, the way's, and the one of its end.
    """
    found: list[Local | GroupedBlocks] = []
    excess = None
    for model in sight.limiting:
        if isinstance(model, Local) and is_whole(model) and len(moving) == len(still):
            test = lambda etas, model=model: model.modes(etas).stable
            alone = [axis_limit(test, still, i, resolution=1e-2) for i in range(len(still))]
            if all(0 < limit < math.inf for limit in alone):
                model = calibrated(model, alone)
                excess = model.excess
        found.append(model)
    timing, end = sight.timing, sight.resting
    timing = replace(timing, excess=excess) if isinstance(timing, Local) else timing
    return found, timing, None if end is None else replace(end, excess=excess)
