"""Where `local` models lose mean-square stability, with the whole matrix of second moments.

With replacement. In the notation of `local`, with E_i = R_i - k, Y = X / (k_g + k_h - k_g k_h) entry by entry and
Phi(Y) = E E_i Y E_i, the noise gain is the spectral radius of

    X -> Phi(Y) + sum_b F_b' N_b(F_b (k Y k + Phi(Y)) F_b') F_b,

stable if and only if 0 < k < 2 and the gain is below 1 (the regular splitting of `quadratic`, whose operator this is for
Phi = 0). Guarantee: exact on the range of H, up to where the power iteration stops (at a relative change of 1e-4) and to the
sample of the components that its work allows. Flat directions of H are left out: where components push along them nothing
pulls back, and no step size is stable.

Without. X is carried through the components in random orders, the directions averaged exactly: X+ = A_i X A_i' +
sum_b eta_b^2 E_b N_b([H_i X H_i]_bb) E_b', and its mean over orders taken after every epoch. Unstable if E||grad f||^2 rises
from the second to the last third of some epochs. Guarantee: measured conjecture: a few orders stand for all, and what slow
modes leave behind may hide a slow rise. With four components it agrees with the average over all orders within one per cent;
with rare large components, as in data with outliers, different draws of the orders differ by some ten per cent.

Reference: theory_lab, Theorem 5.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from theory_lab import _checks
from theory_lab.theory._per_block import per_block
from theory_lab.theory.local import ROUNDING, Local
from theory_lab.theory.modes import FLAT
from theory_lab.theory.moments import covariance_map

WORK = 10**8  # components times d^3 that one application may cost; more components are sampled
TOLERANCE, ROUNDS = 1e-4, 200
GONE = 1e-24  # of its largest possible value: a squared gradient that is rounding
MEAN = 1.97  # eigenvalue of K beyond which the mean, which is lost at 2, decides
SIDE, ASIDE = 0.1, 1e-4  # shares of its limit at which a block stands aside


def thinned(model: Local) -> int:
    """Every how many-th component the noise gain looks at, for its work: 1 is all."""
    return 1 if model.deviations is None else max(1, -(-len(model.deviations) * len(model.hessian) ** 3 // WORK))


def noise_gain(model: Local, step_sizes: Sequence[float]) -> float:
    """How much second moment the noise feeds back per unit, with replacement: stable below 1, inf where the mean is not.

    Example:
        >>> from theory_lab.theory.local import local
        >>> round(noise_gain(local([[1.0]], [1], [True]), [0.5]), 6)
        0.666667
    """
    root = np.sqrt(_spread(model, step_sizes))
    k, u = np.linalg.eigh(root[:, None] * model.hessian * root)
    keep = np.abs(k) > ROUNDING * max(np.abs(k).max(), 1e-300)
    if (k[keep] < -1e-9 * np.abs(k).max()).any() or k.max() >= 2:
        return math.inf
    moves = k > max(ROUNDING * k.max(), FLAT)
    k, u = k[moves], u[:, moves]
    if k.size == 0:
        return 0.0
    loss = np.add.outer(k, k) - np.multiply.outer(k, k)
    if model.horizon < math.inf:  # the entries (g, h) gather 1 - (1 - k_g)^K (1 - k_h)^K, as modes do
        left = np.minimum(np.abs(1 - k), 1.0)
        loss /= 1 - np.multiply.outer(left, left) ** model.horizon
    each = None
    if model.deviations is not None:
        chosen = model.deviations[:: thinned(model)]
        each = np.matmul(u.T, np.matmul(root[:, None] * chosen * root, u))

    def feedback(x: np.ndarray) -> np.ndarray:
        y = x / loss
        spread = np.zeros_like(y)
        if each is not None:
            spread = model.share * np.einsum("iab,ibc->ac", np.matmul(each, y), each, optimize=True) / len(each)
        return spread + _direction_noise(model, u, spread + k[:, None] * y * k)

    x = np.eye(k.size)
    gain = 0.0
    for _ in range(ROUNDS):
        after = feedback(x)
        before, gain = gain, float(np.trace(after) / np.trace(x))
        if gain == 0 or abs(gain - before) <= TOLERANCE * gain:
            break
        x = after / np.trace(after)
    return gain


def _direction_noise(model: Local, u: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """sum_b F_b' N_b(F_b G F_b') F_b for the rows F_b of u, (d, m)."""
    total = np.zeros_like(gradient)
    ends = np.cumsum((0, *model.sizes))
    for block, two_points in enumerate(model.zeroth):
        if two_points:
            rows = model.bases[block] @ u[ends[block] : ends[block + 1]]
            gain = covariance_map(model.law, model.sizes[block], model.directions)
            total += rows.T @ gain(rows @ gradient @ rows.T) @ rows
    return total


def ordered_growth(model: Local, step_sizes: Sequence[float], *, seed: int = 0) -> float:
    """The logarithm of what becomes of E||grad f||^2 from the second to the last third of some epochs, over random orders.

    Orders are drawn afresh for "random_reshuffling", where every epoch starts from the mean of the last; once for
    "shuffle_once", where every order has moments of its own; and are as they stand for "incremental". Of epochs longer than
    `_orders.LEAST` steps random orders go through the beginning.

    Example:
        >>> from theory_lab.theory.local import local
        >>> model = local([[1.0]], [1], [True], n=2, ordering="random_reshuffling")
        >>> ordered_growth(model, [0.66]) < 0 < ordered_growth(model, [0.67])
        True
    """
    _checks.seed("seed", seed)
    step, orders = _Step(model, step_sizes), model.orders if seed == 0 else model.drawn(seed)
    energy = model.hessian @ (step.p[:, None] * model.hessian)  # tr(P H X H) = <energy, X>
    reach = float(np.linalg.norm(energy, 2))  # the most that <energy, X> can be at trace 1
    logs, scale = [], 0.0
    x = np.broadcast_to(np.eye(len(energy)), orders.hessians(0).shape)
    for place in range(orders.steps):
        if place > 0 and place % orders.length == 0 and orders.redrawn:
            x = np.broadcast_to(x.mean(axis=0), x.shape)
        x = step(orders.hessians(place), x)
        trace = float(np.trace(x, axis1=1, axis2=2).mean())
        if not 0 < trace < math.inf:
            return -math.inf if trace == 0 else math.inf
        x /= trace
        scale += math.log(trace)
        square = float(np.vdot(energy, x.mean(axis=0)))
        if square <= GONE * reach:
            return -math.inf  # what flat directions keep of X leaves rounding, whose rise says nothing
        logs.append(scale + math.log(square))
    third = len(logs) // 3
    return _mean(np.array(logs[2 * third :])) - _mean(np.array(logs[third : 2 * third]))


def _spread(model: Local, step_sizes: Sequence[float]) -> np.ndarray:
    """The step size of every coordinate, (d,).

    Raises:
        ValueError: something else than a model from `local`, not one nonnegative step size per block.
    """
    _checks.instance("model", model, Local, "what local(...) returns")
    finite = partial(_checks.nonnegative, reach=math.inf)
    return np.repeat(per_block("step_sizes", step_sizes, finite, len(model.sizes)), model.sizes)


class _Step:
    """X+ = A X A' + sum_b eta_b^2 E_b N_b([HXH]_bb) E_b' for every order at once, of symmetric X, (R, d, d).

    With C = pp' + sum_b eta_b^2 b_b [in block b] the sum of X, of Q + Q' with Q = (C/2) HXH - P H X entry by entry, and of
    what N_b adds besides.
    """

    def __init__(self, model: Local, step_sizes: Sequence[float]) -> None:
        self.p = _spread(model, step_sizes)
        self.half = np.multiply.outer(self.p, self.p) / 2
        self.others = []  # of every block that two points estimate: where it lies, and what its noise adds
        ends = np.cumsum((0, *model.sizes))
        for b, (d, two_points) in enumerate(zip(model.sizes, model.zeroth, strict=True)):
            if two_points:
                part, square = slice(ends[b], ends[b + 1]), step_sizes[b] ** 2
                gain = covariance_map(model.law, d, model.directions)
                self.half[part, part] += square * gain.direct / 2
                self.others.append((part, square * gain.trace, square * gain.diagonal, model.bases[b]))

    def __call__(self, hessians: np.ndarray, x: np.ndarray) -> np.ndarray:
        moved = hessians @ x
        gradient = moved @ hessians
        moved *= self.p[:, None]
        change = self.half * gradient
        change -= moved
        after = change + change.swapaxes(1, 2)  # without it the antisymmetric part of the rounding grows
        after += x
        diagonal = np.einsum("rii->ri", after)  # a view
        for part, trace, along, basis in self.others:
            inner = gradient[:, part, part]
            diagonal[:, part] += trace * np.trace(inner, axis1=1, axis2=2)[:, None]
            if along:  # the axes of the parameters, which the basis leads to
                axes = np.einsum("rab,ab->ra", basis @ inner, basis)
                after[:, part, part] -= along * np.matmul(basis.T * axes[:, None], basis)
        return after


def stable(model: Local, step_sizes: Sequence[float]) -> bool:
    """Whether second moments contract: by the noise gain, or along orders where components differ and are reshuffled."""
    _checks.instance("model", model, Local, "what local(...) returns")
    if model.deviations is None or model.ordering == "with_replacement":
        return noise_gain(model, step_sizes) < 1
    return ordered_growth(model, step_sizes) < 0


def boundary_scale(
    test: Callable[[Sequence[float]], bool], step_sizes: Sequence[float], *, resolution: float = 0.02
) -> float:
    """Where the ray through these step sizes leaves a stable region that it meets in an interval from 0; inf beyond 2^40.

    Example:
        >>> round(boundary_scale(lambda etas: etas[0] < 3.0, [1.0], resolution=1e-3), 2)
        3.0
    """
    _checks.function("test", test, "a function of step sizes")
    resolution = _checks.positive("resolution", resolution)
    step_sizes = per_block("step_sizes", step_sizes, partial(_checks.nonnegative, reach=math.inf))
    at = lambda log: test([eta * 2.0**log for eta in step_sizes])
    low = 0.0
    stride = 0.5
    inside = at(low)
    while at(low + (stride if inside else -stride)) == inside:
        low += stride if inside else -stride
        stride *= 1.5
        if abs(low) > 40:
            return math.inf if inside else 0.0
    low, high = (low, low + stride) if inside else (low - stride, low)
    while high - low > resolution:
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle) else (low, middle)
    return 2.0 ** ((low + high) / 2)


def calibrated(model: Local, limits: Sequence[float]) -> Local:
    """The model with its mode-by-mode noise scaled so that it loses stability where the whole matrix does.

    Along some rays, on which two blocks have different shares of their limits, `boundary_scale` finds the boundary, and the
    noise is divided by its gain there; between rays the factor is interpolated. Where one block stands aside it is the
    factor of the other's own model: what the block at rest keeps of E||grad f||^2 would say more than the other's growth.
    More blocks have one ray, at equal shares. Where it is the mean that is lost, k near 2, the noise has no say and stays:
    its gain, which diverges there, would otherwise take the noise from a block that is far from its limit.

    Args:
        model: from `local`.
        limits: of every block alone, positive and finite.

    Example:
        >>> from theory_lab.theory.local import local
        >>> coupled = np.eye(3) + 0.4 * np.array([[0, 0, 1], [0, 0, 1], [1, 1, 0]])
        >>> model = local(coupled, [2, 1], [True, True])  # two coordinates and one, by two points each
        >>> end = boundary_scale(lambda etas: noise_gain(model, etas) < 1, [0.1, 0.1], resolution=1e-3)
        >>> modes = calibrated(model, [0.1, 0.1]).modes
        >>> modes([0.097 * end] * 2).stable, modes([0.103 * end] * 2).stable
        (True, False)
    """
    _checks.instance("model", model, Local, "what local(...) returns")
    limits = per_block("limits", limits, partial(_checks.positive, reach=math.inf), len(model.sizes))
    blocks = len(limits)
    if blocks == 2:
        places = [math.log(ASIDE), math.log(SIDE), 0.0, -math.log(SIDE), -math.log(ASIDE)]  # of log(share of x / share of y)
        rays = [[limit * min(1.0, math.exp(s * p)) for limit, s in zip(limits, (1, -1), strict=True)] for p in places[1:-1]]
        ends = [_excess(model.lone[i], limits[i : i + 1]) for i in (1, 0)]
        logs = [ends[0], *(_excess(model, ray) for ray in rays), ends[1]]
    else:
        places, logs = [0.0], [_excess(model, limits)]

    def excess(etas: Sequence[float]) -> float:
        where = math.log(etas[0] / limits[0]) - math.log(etas[-1] / limits[-1])
        return math.exp(float(np.interp(where, places, logs)))

    return model.scaled(excess)


def _excess(model: Local, ray: Sequence[float]) -> float:
    """The logarithm of the factor with which the mode-by-mode noise loses stability on a ray where the whole matrix does."""
    scale = boundary_scale(lambda etas: stable(model, etas), ray)
    gain = _mode_gain(model, [eta * scale for eta in ray]) if 0 < scale < math.inf else math.nan
    return -math.log(gain) if 0 < gain < math.inf else 0.0


def _mode_gain(model: Local, step_sizes: Sequence[float]) -> float:
    """The noise gain of the mode-by-mode model; 1 where the mean decides, and where no mode moves within the horizon."""
    modes = model.modes(step_sizes)
    if modes.k.size == 0 or modes.k.max() > MEAN:
        return 1.0
    noise = modes.matrix - np.diag((1 - modes.k) ** 2)
    return float(np.abs(np.linalg.eigvals(noise / (1 - (1 - modes.k) ** 2))).max())


def _mean(logs: np.ndarray) -> float:
    """The logarithm of the mean of exponentials."""
    top = float(logs.max())
    return top + math.log(float(np.mean(np.exp(logs - top))))
