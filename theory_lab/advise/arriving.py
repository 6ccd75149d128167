r"""Whether a run arrives where its model says so: the problem's own gradient at the model's mean.

A model of the way knows curvature on the segment from the start to the look-ahead point. A run in which a block hardly moves
leaves that segment: it goes to where the other blocks have a minimum of their own. There the model's gradient of the block
that stays is

    (H_bb - H_bc H_cc^-1 H_cb) d_b,    d_b what is left of the way of b,

a difference that may be far smaller than its terms, so that curvature which changes a little makes all of it. So there the
mean of the model is looked at: z_t = z_0 - P^1/2 U (1 - (1 - k)^t) U'P^1/2 g / k. Second moments at the end of the predicted
time are the square of the accuracy, with the model's mean; with the problem's gradient g(z_t) for it they are

    accuracy^2 - |mean gradient of the model|^2 + |g(z_t)|^2.

Guarantee: nothing is found on a quadratic, where both gradients are one; elsewhere what noise adds to the mean's way is left
out.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from theory_lab.advise.fastest import ALIKE
from theory_lab.advise.looking import View, flat
from theory_lab.advise.seeing import Sight
from theory_lab.measure.smoothness.finite_sums import value_and_gradient
from theory_lab.problems.base import Problem
from theory_lab.theory.local import Local
from theory_lab.theory.modes import Modes

ARRIVED = 1.0  # time constants of a block's steepest direction: after fewer no direction of it has come to 1/e of its way


def misses(problem: Problem, sight: Sight, etas: Sequence[float], way: Modes, steps: float) -> bool:
    """Whether a block is still on its way after the predicted steps and the problem's gradient there is too large.

    Too large is (E||grad f||^2)^1/2 beyond the accuracy by more than the tenth by which times and accuracies are told apart.
    Large problems are not asked: their models have no cross blocks, so that a block that stays keeps its gradient there.

    Args:
        problem, sight: what was looked at.
        etas: per block, positive.
        way: the model's modes there.
        steps: predicted.
    """
    first, model = sight.views[0], sight.timing
    if not isinstance(first, View) or not isinstance(model, Local) or not 0 < steps < np.inf:
        return False
    tops = [sight.top(label) for label in sight.settings.labels]
    if not any(0 < eta * top * steps < ARRIVED for eta, top in zip(etas, tops, strict=True)):
        return False
    assert way.jacobian is not None
    left = (1 - way.k) ** np.ceil(steps)
    mean = float(np.sum((way.jacobian @ (left * way.start)) ** 2)) + way.rest
    found = float(np.sum(flat(_gradient(problem, first, _moved(model, etas, way, left))) ** 2))
    return not sight.accuracy**2 - mean + found <= ((1 + ALIKE) * sight.accuracy) ** 2


def _moved(model: Local, etas: Sequence[float], way: Modes, left: np.ndarray) -> np.ndarray:
    """The mean's way from the start, (d,), where so much is left of what every mode had to go."""
    assert way.jacobian is not None
    steps = np.repeat(etas, model.sizes) * (way.jacobian @ ((1 - left) * way.start / way.k))  # P^1/2 U = P J / k
    parts = np.split(steps, np.cumsum(model.sizes)[:-1])
    return -np.concatenate([basis @ part for basis, part in zip(model.bases, parts, strict=True)])


def _gradient(problem: Problem, first: View, moved: np.ndarray) -> dict[str, jax.Array]:
    """The gradient at the start and so much further."""
    start, unflatten = ravel_pytree(dict(first.params))
    return value_and_gradient(problem, unflatten((flat(first.params) + moved).astype(start.dtype)))[1]
