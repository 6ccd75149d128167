"""Low-rank adapters: why no growth function bounds their curvature, and what does on a sublevel set.

Setting: f(W, A, B) = ||R||^2/2 + (lam/2)(||A||^2 + ||B||^2) with R = W + BA - W*, f* = 0. The Hessian's quadratic form is

    ||dW + dB A + B dA||^2 + 2 <R, dB dA> + lam (||dA||^2 + ||dB||^2).

A growth function would bound the curvature by some l(||grad f||). On scalars, a the entry of A and b that of B:

    lam = 0    W = W* - ab: grad f = 0 and l_max = 1 + a^2 + b^2, for every a and b. There is no l, not even l(0).
    lam > 0    W* = 1, W = 0, b = a/(a^2 + lam): R = -lam/(a^2 + lam), grad_b f = 0, ||grad f|| ~ lam a, l_max ~ a^2.
               So l(u) >= u^2/lam^2 asymptotically: exactly quadratic, where theorems need l(u)/u^2 -> 0.

Reference: theory_lab, no global growth function.
"""

import math
from typing import NamedTuple

import numpy as np

from theory_lab import _checks


class Instance(NamedTuple):
    """A point (w, a, b) of the scalar problem with target W* = 1, its gradient norm and its largest curvature."""

    w: float
    a: float
    b: float
    gradient: float
    curvature: float


def steep_instance(a: float, decay: float = 0.0) -> Instance:
    """The points of the module on which the curvature outgrows every admissible function of the gradient. *Exact*.

    Args:
        a: the entry of A, positive.
        decay: lam >= 0; at 0 the other factor is b = 1/a.

    Returns:
        The point, ||grad f|| there and the largest eigenvalue of the Hessian.

    Raises:
        ValueError: an a that is not positive, a negative decay.

    Example:
        >>> steep_instance(1e4).gradient, f"{steep_instance(1e4).curvature:.1e}"
        (0.0, '1.0e+08')
        >>> far = steep_instance(1e4, decay=0.1)
        >>> round(far.curvature / far.gradient**2, 4)  # lam^-2
        100.0
    """
    a, lam = _checks.positive("a", a), _checks.nonnegative("decay", decay)
    b = a / (a * a + lam)
    residual = -lam / (a * a + lam)  # 0 without decay: then w = 1 - ab = 0 as well
    gradient = math.hypot(residual, lam * a * (1 - 1 / (a * a + lam) ** 2))  # residual * b + lam * a
    hessian = [
        [1, b, a],
        [b, b * b + lam, residual + a * b],
        [a, residual + a * b, a * a + lam],
    ]
    return Instance(0.0, a, b, gradient, float(np.linalg.eigvalsh(hessian)[-1]))


def sublevel_smoothness(gap: float, decay: float) -> float:
    """A smoothness constant on {f - f* <= gap}, over all three matrices together, of any size and rank. *Upper bound*.

        1 + 2F/lam + 5 lam/4  if lam^2 <= 8F, else 1 + sqrt(2F) + lam;   never above 1 + 2F/lam + sqrt(2F) + lam.

    Proof. By the form of the module |H| <= 1 + ||A||^2 + ||B||^2 + ||R|| + lam, two-sidedly: ||dW + dB A + B dA||^2 <= (1 +
    ||A||^2 + ||B||^2)|dz|^2 and 2|<R, dB dA>| <= ||R||(||dA||^2 + ||dB||^2). On the set ||A||^2 + ||B||^2 <= (2F -
    ||R||^2)/lam; the largest value of 1 + (2F - r^2)/lam + r + lam over 0 <= r <= sqrt(2F) is at r = lam/2 or the end.

    Gradient descent with a constant step below 2 over this number for the gap of its start never leaves the set: along the
    step f only falls, so no point of the segment is the first outside.

    Args:
        gap: F >= 0.
        decay: lam > 0; without decay the sublevel sets contain the flat valley of the module, and there is no bound.

    Raises:
        ValueError: a negative gap, a decay that is not positive.

    Example:
        >>> sublevel_smoothness(2.0, 0.1)  # the coarser form gives 43.1
        41.125
    """
    gap, lam = _checks.nonnegative("gap", gap), _checks.positive("decay", decay)
    residual = min(lam / 2, math.sqrt(2 * gap))
    return 1 + (2 * gap - residual**2) / lam + residual + lam
