r"""Theorem 1: hybrid SGD with replacement; explicit constants, any step sizes, no n and no dimension of the y-block.

Setting and words in `theory_lab.theory._setting`; alpha_b = eta_b L_b, kappa = 1 + (r+1)/q. For any c, theta > 0 (both 0 at
radius 0) let

    C_x = 1 - theta/2 - (1+c) kappa alpha_x/2,   C_y = 1 - alpha_y/2,
    N = (1/2)[(1+c) kappa eta_x alpha_x sigma_x^2 + eta_y alpha_y sigma_y^2]
        + eta_x mu^2 L_x^2 [r/(2 theta) + (alpha_x/2)(1+1/c) M].

For one step with a uniform, independent component, E[f(z+)|z] <= f(z) - sum_b C_b eta_b ||grad_b f(z)||^2 + N. Hence, where
both C_b > 0, (1/K) sum_{k<K} E sum_b C_b eta_b ||grad_b f(z_k)||^2 <= (f(z_0) - f*)/K + N.

Proof. Smoothness gives E f(z+) <= f - sum_b eta_b <g_b, E ghat_b> + (1/2) E ||P ghat||_D^2. The bias costs
-<g_x, E ghat_x> <= -(1 - theta/2) ||g_x||^2 + beta^2/(2 theta), the second moment costs what `moment_bounds` states, with
Young's constant c between slope and remainder; averaging over the component adds sigma_b^2 to ||g_b||^2.

At radius 0 with every Hess f_i = diag(L_x I, L_y I) each inequality is an equality: the theorem is then an identity, and
alpha_x < 2/kappa, alpha_y < 2 is exactly the mean-square stable region. The bound is about all K iterates of sampling with
replacement; averages over epoch starts of a reshuffled run can exceed it.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Unpack

import numpy as np
from scipy import optimize

from theory_lab import _checks
from theory_lab.theory._setting import Blocks, Setting, guaranteed, setting
from theory_lab.theory.base import Pair, pair
from theory_lab.theory.moment_bounds import kappa


class Parts(NamedTuple):
    """What one step guarantees: descent sum_b coefficients_b eta_b ||g_b||^2 up to `noise`, if it `holds`."""

    coefficients: Pair
    noise: float
    holds: bool


def with_replacement_parts(*, step_sizes: Pair, c: float = 0.0, theta: float = 0.0, **blocks: Unpack[Blocks]) -> Parts:
    """C_x, C_y and N of Theorem 1 for a choice of its free constants. *Upper bound* on one step's expected change of f.

    Args:
        step_sizes: (eta_x, eta_y) per component step, nonnegative.
        c, theta: Young's constants; positive where the radius is, ignored otherwise.
        **blocks: smoothness, dispersion, rank, directions, radius as in `with_replacement_bound`.

    Raises:
        ValueError: as `with_replacement_bound`; at a positive radius a c or theta that is not positive.

    Example:
        >>> with_replacement_parts(step_sizes=(0.1, 1.0), smoothness=(1, 1), dispersion=(1, 0), rank=8).coefficients
        (0.5, 0.5)
    """
    given, etas = setting(**blocks), pair("step_sizes", step_sizes)
    if given.radius > 0:
        c, theta = _checks.positive("c", c), _checks.positive("theta", theta)
        return parts_of(given, etas, c, theta)
    return parts_of(given, etas, 0.0, 0.0)


def parts_of(given: Setting, step_sizes: Pair, c: float, theta: float) -> Parts:
    """`with_replacement_parts` on checked arguments."""
    (eta_x, eta_y), kappa = step_sizes, given.second_moment_factor
    alpha_x, alpha_y = eta_x * given.smoothness[0], eta_y * given.smoothness[1]
    coefficients = 1 - theta / 2 - (1 + c) * kappa * alpha_x / 2, 1 - alpha_y / 2
    noise = (1 + c) * kappa * eta_x * alpha_x * given.dispersion[0] / 2 + eta_y * alpha_y * given.dispersion[1] / 2
    if given.radius > 0:
        noise += eta_x * (given.bias_sq / (2 * theta) + alpha_x / 2 * (1 + 1 / c) * given.remainder_second_moment)
    return Parts(coefficients, noise, min(coefficients) > 0)


def with_replacement_bound(
    *,
    step_sizes: Pair,
    smoothness: Pair,
    dispersion: Pair,
    initial_gap: float,
    steps: int,
    rank: float,
    directions: int = 1,
    radius: float = 0.0,
    weights: Pair = (1.0, 1.0),
    c: float | None = None,
    theta: float | None = None,
) -> float:
    """Bound (1/K) sum_{k<K} E sum_b w_b eta_b ||grad_b f(z_k)||^2 by Theorem 1. *Upper bound*.

    Where a radius makes c and theta matter they are optimised; every positive choice is valid, so the result is a bound
    whether or not the optimiser found the best one.

    Args:
        step_sizes: (eta_x, eta_y) per component step, nonnegative.
        smoothness: (L_x, L_y), two-sided and for every component.
        dispersion: (sigma_x^2, sigma_y^2) of the components' gradients.
        initial_gap: f(z_0) - f*.
        steps: K component steps.
        rank: effective rank r = tr S_x / ||S_x|| of the x-block's curvature bound; its dimension if nothing better is known.
        directions: q, Gaussian.
        radius: of the finite differences, one- or two-sided.
        weights: (w_x, w_y) >= 0 of the blocks in the average.
        c, theta: fix Young's constants instead of optimising them (both or neither).

    Returns:
        The bound; inf where the step sizes break the condition (kappa alpha_x < 2 and alpha_y < 2 at radius 0).

    Raises:
        ValueError: a negative or non-finite argument, a value that is not a pair, or only one of c and theta.

    Example:
        >>> common = dict(smoothness=(1, 1), dispersion=(0, 1), initial_gap=1, steps=100, rank=8)
        >>> round(with_replacement_bound(step_sizes=(0.1, 0.1), **common), 5)
        0.03
        >>> with_replacement_bound(step_sizes=(0.2, 0.1), **common)
        inf

    Reference:
        theory_lab, Theorem 1.
    """
    given = setting(smoothness=smoothness, dispersion=dispersion, rank=rank, directions=directions, radius=radius)
    etas, scales = pair("step_sizes", step_sizes), pair("weights", weights)
    first = _checks.nonnegative("initial_gap", initial_gap) / _checks.count("steps", steps)
    if (c is None) != (theta is None):
        raise _checks.refuse("c and theta", "given both or not at all", (c, theta))
    if c is not None and theta is not None:
        c, theta = _checks.positive("c", c), _checks.positive("theta", theta)

    def bound(c: float, theta: float) -> float:
        parts = parts_of(given, etas, c, theta)
        return guaranteed(first + parts.noise, parts.coefficients, etas, scales)

    if given.radius * given.smoothness[0] * etas[0] == 0:  # nothing depends on the radius
        given = replace(given, radius=0.0)
        return bound(0.0, 0.0)
    if c is not None and theta is not None:
        return bound(c, theta)
    return _least(bound, given.second_moment_factor * etas[0] * given.smoothness[0])


def _least(bound: Callable[[float, float], float], load: float) -> float:
    """Minimise over c, theta > 0 with theta/2 + (1+c) load/2 < 1, where load = kappa alpha_x.

    The numerator of the bound is convex in (c, theta), the denominator concave: every local minimum is global. The slack
    1 - load/2 is split in three shares: theta takes one, c another, C_x keeps the rest.
    """
    slack = 1 - load / 2
    if slack <= 0:
        return math.inf

    def at(logits: np.ndarray) -> float:
        shares = np.exp(np.append(np.clip(logits, -30, 30), 0.0))
        for_theta, for_c, _ = slack * shares / shares.sum()
        return bound(2 * float(for_c) / load, 2 * float(for_theta))

    starts = np.array([(-1.0, -1.0), (-6.0, -6.0)])
    if at(starts[0]) == math.inf:  # the y-block breaks its condition, which c and theta cannot mend
        return math.inf
    ends = [optimize.minimize(lambda t: math.log(max(at(t), 1e-300)), start, method="Nelder-Mead").x for start in starts]
    return min(map(at, ends))


def with_replacement_limits(*, smoothness: Pair, rank: float, directions: int = 1) -> Pair:
    """Step sizes below which Theorem 1 promises descent at radius 0: (2/(kappa L_x), 2/L_y).

    *Exact* as a mean-square stability limit when every Hess f_i = diag(L_x I, L_y I) and the rank is the dimension.

    Example:
        >>> with_replacement_limits(smoothness=(1.0, 4.0), rank=8)
        (0.2, 0.5)
    """
    l_x, l_y = pair("smoothness", smoothness, positive=True)
    return 2 / (kappa(rank, directions) * l_x), 2 / l_y
