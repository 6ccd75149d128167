"""Where `local` models lose mean-square stability, with the whole matrix of second moments.

With replacement. In the notation of `local`, with E_i = R_i - k, Y = X / (k_g + k_h - k_g k_h) entry by entry and
Phi(Y) = E E_i Y E_i, the noise gain is the spectral radius of

    X -> Phi(Y) + sum_b F_b' N_b(F_b (k Y k + Phi(Y)) F_b') F_b,

stable if and only if 0 < k < 2 and the gain is below 1 (the regular splitting of `quadratic`, whose operator this is for
Phi = 0). Guarantee: exact on the range of H, up to where the power iteration stops (at a relative change of 1e-4) and to the
sample of the components that its work allows. Flat directions of H are left out: where components push along them nothing
pulls back, and no step size is stable.

Without. X is carried through the components in a random order, the directions averaged exactly: X+ = A_i X A_i' +
sum_b eta_b^2 E_b N_b([H_i X H_i]_bb) E_b'. Unstable if E||grad f||^2 rises by half from the second to the last third of
some epochs, which what slow modes leave behind does not do. Guarantee: measured conjecture: the growth along one order
stands for that of the average over orders, and limits come out some per cent high.

Reference: theory_lab, Theorem 5.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from theory_lab.theory.local import ROUNDING, Local
from theory_lab.theory.moments import covariance_map

WORK = 10**8  # components times d^3 that one application may cost; more components are sampled
TOLERANCE, ROUNDS = 1e-4, 200
LEAST, STEPS, FLOPS = 240, 600, 2 * 10**8  # steps along one order: three epochs, as many as the work allows
RISE = math.log(1.5)
MEAN = 1.97  # eigenvalue of K beyond which the mean, which is lost at 2, decides
SIDE, ASIDE = 0.1, 1e-4  # shares of its limit at which a block stands aside


def noise_gain(model: Local, step_sizes: Sequence[float]) -> float:
    """How much second moment the noise feeds back per unit, with replacement: stable below 1, inf where the mean is not.

    Example:
        >>> from theory_lab.theory.local import local
        >>> round(noise_gain(local([[1.0]], [1], [True]), [0.5]), 6)
        0.666667
    """
    root = np.sqrt(np.repeat(np.asarray(step_sizes, dtype=np.float64), model.sizes))
    k, u = np.linalg.eigh(root[:, None] * model.hessian * root)
    keep = np.abs(k) > ROUNDING * max(np.abs(k).max(), 1e-300)
    if (k[keep] < -1e-9 * np.abs(k).max()).any() or k.max() >= 2:
        return math.inf
    k, u = k[k > ROUNDING * k.max()], u[:, k > ROUNDING * k.max()]
    if k.size == 0:
        return 0.0
    loss = np.add.outer(k, k) - np.multiply.outer(k, k)
    each = None
    if model.deviations is not None:
        chosen = model.deviations[:: max(1, -(-len(model.deviations) * k.size**3 // WORK))]
        each = np.matmul(u.T, np.matmul(root[:, None] * chosen * root, u))

    def feedback(x: np.ndarray) -> np.ndarray:
        y = x / loss
        spread = np.zeros_like(y)
        if each is not None:
            spread = model.share * np.einsum("iab,ibc->ac", np.matmul(each, y), each, optimize=True) / len(each)
        return spread + direction_noise(model, u, spread + k[:, None] * y * k)

    x = np.eye(k.size)
    gain = 0.0
    for _ in range(ROUNDS):
        after = feedback(x)
        before, gain = gain, float(np.trace(after) / np.trace(x))
        if gain == 0 or abs(gain - before) <= TOLERANCE * gain:
            break
        x = after / np.trace(after)
    return gain


def direction_noise(model: Local, u: np.ndarray, gradient: np.ndarray) -> np.ndarray:
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
    """The logarithm of what becomes of E||grad f||^2 from the second to the last third of some epochs along an order.

    Orders are drawn afresh for "random_reshuffling", once for "shuffle_once", and are as they stand for "incremental".

    Example:
        >>> from theory_lab.theory.local import local
        >>> model = local([[1.0]], [1], [True], n=2, ordering="random_reshuffling")
        >>> ordered_growth(model, [0.66]) < 0 < ordered_growth(model, [0.67])
        True
    """
    p = np.repeat(np.asarray(step_sizes, dtype=np.float64), model.sizes)
    deviations = np.zeros((1, p.size, p.size)) if model.deviations is None else model.deviations
    size = max(1, -(-len(deviations) // model.n))
    groups = -(-len(deviations) // size)
    most = max(STEPS, FLOPS // p.size**3)
    epochs = 3 * max(1, -(-LEAST // (3 * groups)))
    rng = np.random.default_rng(seed)
    order = np.arange(len(deviations))
    steps = min(most, epochs * groups)
    energy = model.hessian @ (p[:, None] * model.hessian)  # tr(P H X H) = <energy, X>
    ends = np.cumsum((0, *model.sizes))
    noisy = [
        (slice(ends[b], ends[b + 1]), model.bases[b], step_sizes[b] ** 2, covariance_map(model.law, d, model.directions))
        for b, (d, two_points) in enumerate(zip(model.sizes, model.zeroth, strict=True))
        if two_points
    ]
    logs, scale, x = np.empty(steps), 0.0, np.eye(p.size)
    for step in range(steps):
        place = step % groups
        if place == 0 and (model.ordering == "random_reshuffling" or (step == 0 and model.ordering == "shuffle_once")):
            order = rng.permutation(len(deviations))
        h = model.hessian + deviations[order[place * size : (place + 1) * size]].mean(axis=0)
        moved = h @ x
        gradient = moved @ h
        moved *= p[:, None]
        x = x - moved - moved.T + gradient * np.multiply.outer(p, p)
        for part, basis, square, gain in noisy:
            inner = gradient[part, part]
            x[part, part] += square * (gain(inner) if not gain.diagonal else basis.T @ gain(basis @ inner @ basis.T) @ basis)
        trace = float(np.trace(x))
        if not 0 < trace < math.inf:
            return -math.inf if trace == 0 else math.inf
        x = (x + x.T) / (2 * trace)  # without it the antisymmetric part of the rounding grows
        scale += math.log(trace)
        logs[step] = scale + math.log(max(float(np.vdot(energy, x)), 1e-300))
    third = steps // 3
    return _mean(logs[2 * third :]) - _mean(logs[third : 2 * third])


def stable(model: Local, step_sizes: Sequence[float]) -> bool:
    """Whether second moments contract: by the noise gain, or along an order where components differ and are reshuffled."""
    if model.deviations is None or model.ordering == "with_replacement":
        return noise_gain(model, step_sizes) < 1
    root = np.sqrt(np.repeat(np.asarray(step_sizes, dtype=np.float64), model.sizes))
    if np.linalg.eigvalsh(root[:, None] * model.hessian * root)[-1] >= 2:
        return False
    return ordered_growth(model, step_sizes) < RISE


def boundary_scale(
    test: Callable[[Sequence[float]], bool], step_sizes: Sequence[float], *, resolution: float = 0.02
) -> float:
    """Where the ray through these step sizes leaves a stable region that it meets in an interval from 0; inf beyond 2^40.

    Example:
        >>> round(boundary_scale(lambda etas: etas[0] < 3.0, [1.0], resolution=1e-3), 2)
        3.0
    """
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
    noise is divided by its gain there; between rays the factor is interpolated. More blocks have one ray, at equal shares.
    Where it is the mean that is lost, k near 2, the noise has no say and stays: its gain, which diverges there, would
    otherwise take the noise from a block that is far from its limit.

    Args:
        model: from `local`.
        limits: of every block alone, positive and finite.
    """
    blocks = len(limits)
    if blocks == 2:
        places = [-math.log(ASIDE), -math.log(SIDE), 0.0, math.log(SIDE), math.log(ASIDE)]  # of log(share of x / share of y)
        shares = [[min(1.0, math.exp(p)), min(1.0, math.exp(-p))] for p in places]
    else:
        places, shares = [0.0], [[1.0] * blocks]
    logs = []
    for share in shares:
        ray = [limit * part for limit, part in zip(limits, share, strict=True)]
        scale = boundary_scale(lambda etas: stable(model, etas), ray)
        gain = _mode_gain(model, [eta * scale for eta in ray]) if 0 < scale < math.inf else math.nan
        logs.append(-math.log(gain) if 0 < gain < math.inf else 0.0)

    def excess(etas: Sequence[float]) -> float:
        where = math.log(etas[0] / limits[0]) - math.log(etas[-1] / limits[-1])
        return math.exp(float(np.interp(where, places[::-1], logs[::-1])))

    return replace(model, excess=excess)


def _mode_gain(model: Local, step_sizes: Sequence[float]) -> float:
    """The noise gain of the mode-by-mode model; 1 where the mean decides."""
    modes = model.modes(step_sizes)
    if modes.k.max() > MEAN:
        return 1.0
    noise = modes.matrix - np.diag((1 - modes.k) ** 2)
    return float(np.abs(np.linalg.eigvals(noise / (1 - (1 - modes.k) ** 2))).max())


def _mean(logs: np.ndarray) -> float:
    """The logarithm of the mean of exponentials."""
    top = float(logs.max())
    return top + math.log(float(np.mean(np.exp(logs - top))))
