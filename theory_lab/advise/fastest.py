"""The step sizes that reach an accuracy in the fewest steps of a local model, and where its stable region ends.

Setting: `steps(etas)` and `stable(etas)` of one step size per block, as `local` gives them. Along each axis the stable set
is taken for an interval. All searches go by factors, since step sizes span decades.

A model of the way to a minimum knows its times only so well, and between step sizes whose times it cannot tell apart the
least means nothing: it may lie at either edge of a plateau, next to where time begins to rise. `centred` takes the middle.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

SMALL, LARGE = 1e-30, 1e30
SAFE = 0.9  # of the stable region along every ray: what lies beyond gains little and forgives nothing

ALIKE = 0.1  # by which predicted times must differ to tell step sizes apart: limits differ as much between draws of orders
FARTHEST = 2.0**10  # from the fastest step size: a plateau that goes on has no end to keep away from
SHARP = 1.0  # in powers of two: a minimum, and no plateau, if it is no longer
FINE = 0.125  # of the ends of a plateau, in powers of two


class Fastest(NamedTuple):
    """Step sizes, one per block, and the steps they need; inf where none was found."""

    step_sizes: tuple[float, ...]
    steps: float


def axis_limit(
    stable: Callable[[Sequence[float]], bool], step_sizes: Sequence[float], block: int, *, resolution: float = 1e-6
) -> float:
    """The upper end of the stable step sizes of one block, the others held: inf if nothing limits it, 0 if none is stable.

    It is looked for from the block's given step size. Guarantee: exact to the relative resolution where the stable set is an
    interval that holds this one or smaller ones.

    Example:
        >>> round(axis_limit(lambda e: e[0] + e[1] < 1, (0.1, 0.25), 0), 5)
        0.75
    """
    at = lambda eta: stable([eta if i == block else other for i, other in enumerate(step_sizes)])
    given = step_sizes[block]
    if at(given):
        first = 1.5 * given
        doublings = _failing(lambda j: at(first * 2.0**j), int(math.log2(LARGE / first)))
        if doublings is None:
            return math.inf
        low, high = (first * 2.0 ** (doublings - 1) if doublings else given), first * 2.0**doublings
    else:
        first = given / 1.5
        halvings = _failing(lambda j: not at(first * 2.0**-j), int(math.log2(first / SMALL)))
        if halvings is None:
            return 0.0
        low, high = first * 2.0**-halvings, (first * 2.0 ** (1 - halvings) if halvings else given)
    while high / low > 1 + resolution:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if at(middle) else (low, middle)
    return low


def _failing(holds: Callable[[int], bool], most: int) -> int | None:
    """The first of 0..most at which something does not hold that holds up to some number; None if it always does.

    Example:
        >>> _failing(lambda j: j < 29, 100), _failing(lambda j: True, 100)
        (29, None)
    """
    low, high = -1, 0
    while high <= most and holds(high):
        low, high = high, min(2 * high + 1, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return None if high > most else high


def fastest(
    steps: Callable[[Sequence[float]], float],
    stable: Callable[[Sequence[float]], bool],
    limits: Sequence[float],
    *,
    share: float = SAFE,
    resolution: float = 0.1,
) -> Fastest:
    """Minimise the steps over the step sizes, by a compass search in their logarithms, inside a share of the stable region.

    The search starts where all blocks run at the same share of their limits: the faster of the largest two of 1/2, 1/16,
    1/128, ... that reach the accuracy at all. Setting: few local minima. Guarantee: a local minimum up to the resolution.

    Args:
        steps: etas -> steps, inf where the accuracy is never reached.
        stable: etas -> whether the second moments contract.
        limits: of each block alone, positive; where nothing limits one, any scale for it.
        share: of the stable region along every ray.
        resolution: last step of the search, in powers of two.

    Example:
        >>> found = fastest(lambda e: 1 / e[0] + e[0], lambda e: True, [64.0])
        >>> round(found.step_sizes[0], 1), round(found.steps, 2)
        (1.0, 2.0)
    """
    scale = np.log2(np.asarray(limits, dtype=np.float64))
    seen: dict[tuple[float, ...], float] = {}

    def cost(point: np.ndarray) -> float:
        key = tuple(np.round(point, 9))
        if key not in seen:
            etas = 2.0**point
            seen[key] = steps(list(etas)) if stable(list(etas / share)) else math.inf
        return seen[key]

    starts = [scale - 1.0 - halvings for halvings in range(0, 45, 3)]
    reached = [start for start in starts if cost(start) < math.inf][:2]
    if not reached:
        return Fastest(tuple(map(float, 2.0 ** starts[-1])), math.inf)
    best = min(reached, key=cost)
    moves = _moves(len(scale))
    stride = 3.0
    while stride >= resolution:
        ahead = min((best + stride * move for move in moves), key=cost)
        if cost(ahead) < cost(best) * (1 - 1e-9):
            best = ahead
        else:
            stride /= 2
    return Fastest(tuple(map(float, 2.0**best)), float(cost(best)))


def centred(
    steps: Callable[[Sequence[float]], float],
    stable: Callable[[Sequence[float]], bool],
    found: Fastest,
    *,
    share: float = SAFE,
    alike: float = ALIKE,
) -> Fastest:
    """The middle of the plateau around the fastest step sizes: where the time is the fewest up to a share ``alike``.

    Along the axis of every block the plateau is an interval [a, b]; sqrt(ab) is the factor sqrt(b/a) away from either end:
    an error of that much in either end leaves it on the plateau, and no other point stands more. All blocks go there
    together, or, where that leaves the plateau, a half, a quarter, ... of the way. A step size stays at a minimum as sharp
    as [a, 2a], and where an end of its plateau lies beyond a factor 1024; but of a block that need not move, whose plateau
    has no lower end, the model says nothing for standing still: it goes up to b/32, the middle of the longest that counts.
    Guarantee: stable at 1/``share``, and at most 1 + ``alike`` times the fewest steps of the model.

    Args:
        steps, stable, share: as in `fastest`.
        found: what `fastest` found.
        alike: nonnegative.

    Example:
        >>> plateau = lambda e: 100.0 if 0.25 <= e[0] <= 16 else 99.0 if 0.2 < e[0] < 0.25 else 200.0
        >>> there = centred(plateau, lambda e: True, Fastest((0.22,), 99.0))
        >>> 1.5 < there.step_sizes[0] < 2, there.steps  # sqrt(0.2 * 16) = 1.8
        (True, 100.0)
    """
    if not 0 < found.steps < math.inf:
        return found
    best = np.log2(np.asarray(found.step_sizes, dtype=np.float64))

    def time(point: np.ndarray) -> float:
        etas = 2.0**point
        return steps(list(etas)) if stable(list(etas / share)) else math.inf

    near = lambda point: time(point) <= (1 + alike) * found.steps
    units = np.eye(best.size)
    way = np.array([_to_middle(_end(near, best, unit, LARGE), _end(near, best, -unit, FARTHEST)) for unit in units])
    while np.abs(way).max() > FINE / 2:
        if (there := time(best + way)) <= (1 + alike) * found.steps:
            return Fastest(tuple(map(float, 2.0 ** (best + way))), there)
        way = way / 2
    return found


def _to_middle(up: float, down: float) -> float:
    """The way, in powers of two, from a point with these ways to the ends of its plateau."""
    longest = math.log2(FARTHEST)
    if up == math.inf:
        return 0.0
    if down == math.inf:
        return max(up - longest / 2, 0.0)
    return (up - down) / 2 if up <= longest and up + down > SHARP else 0.0


def _end(near: Callable[[np.ndarray], bool], best: np.ndarray, move: np.ndarray, farthest: float) -> float:
    """How far a plateau goes this way, in powers of two; inf where it has no end within a factor."""
    low, high = 0.0, 0.5
    while near(best + high * move):
        low, high = high, 2 * high
        if 2.0**low >= farthest:
            return math.inf
    while high - low > FINE:
        middle = (low + high) / 2
        low, high = (middle, high) if near(best + middle * move) else (low, middle)
    return low


def _moves(blocks: int) -> list[np.ndarray]:
    """Along every axis, along all together, and one against another."""
    units = list(np.eye(blocks))
    joint = [np.ones(blocks)] if blocks > 1 else []
    against = [units[i] - units[j] for i in range(blocks) for j in range(i)] if blocks < 4 else []
    return [sign * move for move in units + joint + against for sign in (1.0, -1.0)]
