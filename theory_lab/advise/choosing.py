"""Choosing: the fastest step sizes inside the stable region of every local model, and the limits of each.

Of step sizes whose predicted times the model cannot tell apart, the middle (see `fastest.centred`), if the model has cross
blocks. One without does not see what a block does for the others, which more of it does sooner: there the fastest stands,
looked for from the same share of all limits.

The start's gradient comes all the way to the end; what noise makes arises where the run is when it arrives, and where it
rests. So where curvature changes on the way the first is by the Hessian averaged over the way, and the second by that or by
the one at the end, whichever has the larger floor. Of robust losses the end is the most curved, and its floor binds: by the
average alone README's example had step sizes at which E||grad f||^2 rested at 1.17 of the accuracy's square. Of logistic
ones the end is the least curved, and its floor would let larger steps through; but a run slows down there, too, and on two
of them it arrived later by these.

Step sizes at which a block is still on its way when the gradient shall be small, and the problem's own gradient where the
model then has its mean is too large, are taken for ones that never arrive (see `arriving`).

Where no time is predicted, half of the way to the end of the stable region, on the ray on which all blocks have the same
share of their limits. Second moments of the mode that sets a limit change by the factor 1 - 2 eta h + (1 + a) (eta h)^2 per
step, a the noise that it feeds back: 1 at the limit, 2 / (h (1 + a)), and least at half of it, whatever a is. What other
modes would like better is not known there.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from theory_lab._typing import Key, Label
from theory_lab.advise.arriving import misses
from theory_lab.advise.contracting import calibrate, contracts
from theory_lab.advise.coupling import coupled, room
from theory_lab.advise.fastest import SAFE, axis_limit, centred, fastest
from theory_lab.advise.limits import doubled, end_of_axis, endless, limit_alone, limit_of, longer, method
from theory_lab.advise.seeing import Sight
from theory_lab.measure.base import Measurement
from theory_lab.problems.base import Problem
from theory_lab.theory.local import Local
from theory_lab.theory.local_stability import boundary_scale
from theory_lab.theory.modes import Modes, floor_of, steps_to

TINY = 1e-9  # of the scale of a step size: as good as standing still
ROUGH = ", which nothing certifies: products are too rough"
HALF = 0.5  # of the stable region where no time can be predicted
CURVE = np.geomspace(1 / 64, 2, 29)  # multiples of an advised step size at which steps are predicted for the figure


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        step_sizes: per block.
        limits: per block, the others at their advised step sizes.
        alone: per block, the others standing still.
        doubled: per zeroth-order block, its limit alone with the directions as asked and with twice as many.
        longer: per block that has one, what remains of its limit alone within four times the horizon.
        steps: predicted; inf if the accuracy is out of reach, nan if unknown.
        missed: whether they are unknown because where the model arrives the problem's gradient is too large.
        floor: stationary (E||grad f||^2)^1/2 at the step sizes.
        method: how the limits were computed, in words.
        together: how many times all step sizes may grow together, cross blocks included; nan where matrices say it.
        products: spent on that.
        curve: makes predicted steps against each block's step size, which few look at.
    """

    step_sizes: dict[Label, float]
    limits: dict[Label, Measurement]
    alone: dict[Label, float]
    doubled: dict[Label, tuple[float, float]]
    longer: dict[Label, float]
    steps: float
    missed: bool
    floor: float
    method: str
    together: float
    products: int
    curve: Callable[[], pd.DataFrame]


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

    limiting, timing, resting = calibrate(sight, still, moving)
    roughly = lambda etas: all(model.modes(full(etas)).stable for model in limiting)
    exactly = lambda etas: all(contracts(model, full(etas)) for model in limiting)

    def at_end(etas: Sequence[float], way: Modes) -> Modes | None:
        end = None if resting is None else resting.modes(full(etas))
        return end if floor_of(way, end) > way.floor else None

    missed: list[float] = []  # times of the model at step sizes where the problem does not arrive

    def steps(etas: Sequence[float]) -> float:
        if timing is None:
            return math.nan
        way = timing.modes(full(etas))
        found = steps_to(way, sight.accuracy, end=at_end(etas, way))
        if not misses(problem, sight, full(etas), way, found):
            return found
        missed.append(found)
        return math.inf

    at_rest = [still[labels.index(label)] for label in moving]
    alone = {label: axis_limit(roughly, at_rest, i, resolution=1e-3) for i, label in enumerate(moving)}
    share = SAFE / sight.beyond
    best, predicted = [0.0 for _ in moving], math.nan
    if moving and timing is not None:
        found = fastest(steps, roughly, [alone[label] for label in moving], share=share)
        if isinstance(timing, Local):
            found = centred(steps, roughly, found, share=share)
        best, predicted = list(found.step_sizes), found.steps
    if not predicted < math.inf:
        share = HALF / sight.beyond
        best = [alone[label] * share for label in moving]
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
    unknown = math.isinf(predicted) and bool(missed)
    predicted = math.nan if unknown else predicted
    etas = {label: best[moving.index(label)] if label in moving else 0.0 for label in labels}
    limits = {label: endless(label, sight.negative(label)) for label in labels}
    floor = math.nan
    if moving and timing is not None:
        way = timing.modes(full(best))
        floor = math.sqrt(floor_of(way, at_end(best, way)))

    def curve() -> pd.DataFrame:
        rows = [
            {"label": label, "step_size": best[i] * times, "steps": steps(tried), "stable": roughly(tried)}
            for i, label in enumerate(moving)
            for times in CURVE
            for tried in [[eta * times if i == j else eta for j, eta in enumerate(best)]]
        ]
        return pd.DataFrame(rows, columns=["label", "step_size", "steps", "stable"])

    for i, label in enumerate(moving):
        limits[label] = limit_of(sight, label, end_of_axis(exactly, best, i, alone[label]), together * best[i])
    apart = {label: limit_alone(limiting, full(at_rest), labels.index(label), alone[label]) for label in moving}
    whole = {label: apart.get(label, math.inf) for label in labels}
    return Choice(
        etas,
        limits,
        whole,
        doubled(sight, still, moving),
        longer(sight, still, moving),
        predicted,
        unknown,
        floor,
        method(sight) + ("" if all(point.certified for point in crossed) else ROUGH),
        together,
        sum(point.products for point in crossed),
        curve,
    )
