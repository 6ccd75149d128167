"""The bias of random reshuffling on components that differ in curvature: to leading order, and exactly for two types."""

from typing import Any, NamedTuple

import numpy as np

from theory_lab import _checks
from theory_lab.theory import heterogeneous
from theory_lab.theory._matrices import symmetric


def reshuffling_bias(step_size: float, hessians: Any, gradients: Any) -> np.ndarray:
    """The bias of reshuffling's stationary mean when components differ in curvature, which no n removes.

        E z - z* = -(eta/2) Hbar^{-1} (1/n) sum_i H_i g_i,   g_i = grad f_i(z*),   Hbar = (1/n) sum H_i

    Setting: quadratic components, first or zeroth order. Guarantee: exact limit as eta n -> 0, with a relative error of
    order eta n. It is minus Hbar^{-1} times the gradient of (eta/4)(1/n) sum |grad f_i|^2, the implicit regulariser of
    Smith et al. 2021 (recalled, not re-read). The exact value is `heterogeneous.stationary_moments`.

    Proof. At z* an epoch moves by eta^2 E sum_{k<j} H_{pi_j} g_{pi_k} = (eta^2/2) sum_{i != j} H_j g_i = -(eta^2/2) sum_i
    H_i g_i since sum g_i = 0, against the restoring -eta n Hbar (z - z*).

    Args:
        step_size: eta.
        hessians: (n, d, d).
        gradients: g_i at the minimiser, (n, d), summing to zero.

    Returns:
        (d,) array.

    Raises:
        ValueError: shapes that do not fit, a singular mean, gradients that do not sum to zero.

    Example:
        >>> reshuffling_bias(0.1, [[[1.0]], [[3.0]]], [[1.0], [-1.0]]).round(12)
        array([0.025])
    """
    eta = _checks.positive("step_size", step_size)
    stack = _checks.array("hessians", hessians, ndim=3)
    h = np.stack([symmetric(f"hessians[{i}]", matrix) for i, matrix in enumerate(stack)])
    g = _checks.array("gradients", gradients, ndim=2)
    if g.shape != h.shape[:2]:
        raise ValueError(f"gradients must be an array of shape {h.shape[:2]}, got one of shape {g.shape}")
    if np.abs(g.mean(axis=0)).max() > 1e-8 * np.abs(g).max():
        raise _checks.refuse("gradients", "zero on average, as they are at the minimiser", g.mean(axis=0))
    mean = h.mean(axis=0)
    if np.linalg.cond(mean) > 1e14:
        raise ValueError("hessians must be nonsingular on average, got a singular mean")
    return -eta / 2 * np.linalg.solve(mean, np.einsum("nij,nj->i", h, g) / len(h))


class TwoTypeFloor(NamedTuple):
    """The two parts of E(z - z*)^2 under reshuffling."""

    bias_sq: float
    variance: float


def two_type_floor(step_size: float, curvature: float, spread: float, noise: float, n: int) -> TwoTypeFloor:
    """The floor of reshuffling on two types of components, curvatures h +- a with gradients +-s at z* = 0, in equal numbers.

        bias^2 = (eta a s / (2h))^2,   variance = eta^3 h n^2 s^2 / 24

    Setting: one dimension, n even. Guarantee: leading terms as eta n h -> 0 and n -> infinity. The simplest instance of
    both terms of the lower bound of Safran & Shamir 2020. The exact value is `two_type_moments`.

    Args:
        step_size: eta.
        curvature: h > 0.
        spread: a >= 0.
        noise: s >= 0.
        n: components.

    Raises:
        ValueError: a step size or curvature that is not positive, a negative spread or noise, no component.

    Example:
        >>> two_type_floor(0.001, 1.0, 0.5, 1.0, 160).bias_sq
        6.25e-08
    """
    eta, h = _checks.positive("step_size", step_size), _checks.positive("curvature", curvature)
    a, s, n = _checks.nonnegative("spread", spread), _checks.nonnegative("noise", noise), _checks.count("n", n)
    bias, spread_out = eta * a * s / (2 * h), eta * n * s
    return TwoTypeFloor(bias * bias, spread_out * spread_out * eta * h / 24)


def two_type_crossover(curvature: float, spread: float, n: int) -> float:
    """The step size at which the two parts of `two_type_floor` are equal: 6 a^2 / (n^2 h^3). Below it the bias rules.

    Raises:
        ValueError: a curvature that is not positive, a negative spread, no component.

    Example:
        >>> two_type_crossover(1.0, 0.5, 10)
        0.015
    """
    h, n = _checks.positive("curvature", curvature), _checks.count("n", n)
    return 6 * _checks.nonnegative("spread", spread) ** 2 / (n**2 * h**3)


class TwoTypeMoments(NamedTuple):
    """E(z - z*) and E(z - z*)^2 at epoch ends."""

    mean: float
    second: float


def two_type_moments(step_size: float, curvature: float, spread: float, noise: float, n: int) -> TwoTypeMoments:
    """The stationary moments of reshuffling on the two types of components of `two_type_floor`.

    Setting: one dimension, n even. Guarantee: exact, by the moments of an epoch's random affine map
    (`heterogeneous.stationary_moments` with counts (n/2, n/2)); the type of curvature h + a has gradient -s at z* = 0.

    Args:
        step_size: eta.
        curvature: h > 0.
        spread: a >= 0.
        noise: s >= 0.
        n: components, an even number.

    Raises:
        ValueError: an odd n, numbers out of range, a step size that is not stable.

    Example:
        >>> mean, second = two_type_moments(0.001, 1.0, 0.5, 1.0, 16)
        >>> round(mean / 0.00025, 3)  # over the leading bias, eta a s / (2h)
        0.998
    """
    h, a, s = (
        _checks.positive("curvature", curvature),
        _checks.nonnegative("spread", spread),
        _checks.nonnegative("noise", noise),
    )
    if _checks.count("n", n) % 2:
        raise _checks.refuse("n", "even", n)
    maps = heterogeneous.component_maps(
        [[[h + a]], [[h - a]]], [[s], [-s]], 0, (0.0, _checks.positive("step_size", step_size))
    )
    found = heterogeneous.stationary_moments(heterogeneous.epoch_map(maps, "random_reshuffling", counts=(n // 2, n // 2)))
    return TwoTypeMoments(float(found.mean[0]), float(found.second[0, 0]))
