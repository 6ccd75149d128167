r"""Theorem 2: hybrid SGD with random reshuffling; explicit constants for the average over epoch starts.

Setting and words in `theory_lab.theory._setting`; alpha_b = eta_b L_b, a_b = n alpha_b, a = max(a_x, a_y), kappa' = (r+1)/q,
u = alpha_x kappa', S1 = (n-1)/(2n), S2 = (n-1)(2n-1)/(6n^2), SV = (n+1)/(6n) (0 if n = 1). With eight free parameters
c, c1, c2, c3, omega, rho > 0 and tau_x, tau_y in (0, 1] (c = c3 = rho = 0 at radius 0) let

    F = 1 + a_x/omega,  zeta = (1+c)(1+c2) u,
    W_x = (1/2)[1 + omega + (1-a_x)(1/tau_x - 1)],  W_y = (1/2)[1 + (1-a_y)(1/tau_y - 1)],
    Y = max(a_x W_x (1+rho), a_y W_y) + (1/2) F (1+c)(1+1/c2) u a_x,
    Theta = 1 - (1+1/c1)(1+c3) a^2 S1 - (1+c1)(1+c)(1+1/c2) u a_x (1-1/n),  k = Y (1+c1)/Theta,
    C_x = (1/2)[1 + (1-a_x)(1-tau_x)] - k (a_x S2 + zeta S1) - (1/2) F zeta,
    C_y = (1/2)[1 + (1-a_y)(1-tau_y)] - k a_y S2,
    N = eta_x sigma_x^2 {(1/2) F zeta + k (a_x SV/n + zeta S1)} + eta_y sigma_y^2 k a_y SV/n
        + eta_x {W_x (1+1/rho) beta^2 + (1/2) F (1+1/c) alpha_x m^2
                 + (Y/Theta) [(1+c1)(1+1/c) alpha_x S1 m^2 + (1+1/c1)(1+1/c3) a_x S2 beta^2]}.

If a_b <= 1, Theta > 0 and C_b > 0, an epoch gives E[f(z_{t+1})|z_t] <= f(z_t) - n sum_b C_b eta_b ||grad_b f(z_t)||^2 + n N,
hence (1/T) sum_{t<T} E sum_b C_b eta_b ||grad_b f(z_t)||^2 <= (f(z_0) - f*)/(nT) + N over the epoch starts.

Proof, given z_0 = z_t, g = grad f(z_0). Write ghat_k = G_k + xi_k with E[xi_k | permutation, v_0..v_{k-1}] = 0,
delta_k = grad f_{pi_k}(z_k) - grad f_{pi_k}(z_0), Xi = sum xi_k, Gbar = (1/n) sum G_k, Z = sum_k E||z_k - z_0||_D^2.
(1) Smoothness of f over the epoch, with E<g, P Xi> = 0 and Young (omega) on <n P Gbar, P Xi>_D = n <P(Gbar - g), P Xi>_D:
    E f(z_n) <= f - (n/2) sum [1 + (1-a_b)(1-tau_b)] eta_b ||g_b||^2 + n sum W_b eta_b E||Gbar_b - g_b||^2
    + (F/2) E||P Xi||_D^2.
(2) An epoch visits every component once, Gbar - g = mean(delta_k + bias_k): the middle sum of (1) is at most
    (Z/n) max(a_x W_x (1+rho), a_y W_y) + n eta_x W_x (1+1/rho) beta^2.
(3) Martingale: E||P Xi||_D^2 is at most
    n zeta eta_x (||g_x||^2 + sigma_x^2) + (1+c)(1+1/c2) u alpha_x Z + (1+1/c) n eta_x alpha_x m^2.
(4) Drift: z_k - z_0 has three parts. First -P sum_{j<k} grad f_{pi_j}(z_0), drawn without replacement: the sum has second
    moment k^2 ||g_b||^2 + sigma_b^2 k(n-k)/(n-1). Then the martingale, uncorrelated with it; then the deltas and biases. Sum
    over k and solve for Z.
(5) Insert (4): the coefficient of Z in (1)-(3) is Y/n.
"""

import math
from typing import Any, NamedTuple, Unpack

import numpy as np
from scipy import optimize

from theory_lab import _checks
from theory_lab.theory._setting import Blocks, Setting, guaranteed, setting
from theory_lab.theory.base import Pair, pair


class FreeParameters(NamedTuple):
    """Young's constants of Theorem 2; every positive choice with tau in (0, 1]^2 that passes the conditions is valid."""

    c1: float
    c2: float
    omega: float
    tau: Pair
    c: float = 0.0
    c3: float = 0.0
    rho: float = 0.0


CLEAN = FreeParameters(c1=1 / 4, c2=1 / 4, omega=1.0, tau=(1.0, 1.0))
CLEAN_WITH_RADIUS = FreeParameters(c1=1 / 2, c2=1 / 4, omega=1 / 2, tau=(1.0, 1.0), c=1 / 4, c3=1 / 4, rho=1 / 4)


class Shape(NamedTuple):
    """The dimensionless quantities of Theorem 2, named as in the statement; `direct` and `drift` multiply sigma_b^2 in N."""

    coefficients: Pair  # (C_x, C_y)
    theta: float
    k: float
    y: float
    w_x: float
    f: float
    zeta: float
    direct: float  # F zeta/2 + k zeta S1: directions seen at the epoch's start gradients
    drift: Pair  # k a_b SV/n: components visited without replacement


class EpochParts(NamedTuple):
    """What one epoch guarantees per step: descent sum_b coefficients_b eta_b ||g_b||^2 up to `noise`, if it `holds`."""

    coefficients: Pair
    noise: float
    theta: float
    holds: bool


def shape(a: Any, u: Any, n: Any, p: FreeParameters) -> Shape:
    """Evaluate the statement; plain arithmetic, so exact on fractions as well as on floats.

    Args:
        a: (a_x, a_y) = n (alpha_x, alpha_y).
        u: alpha_x kappa'.
        n: components.
        p: free parameters.
    """
    (a_x, a_y), (tau_x, tau_y) = a, p.tau
    s1, s2, sv = (n - 1) / (2 * n), (n - 1) * (2 * n - 1) / (6 * n * n), (n + 1) / (6 * n) if n > 1 else 0
    f, zeta, both = 1 + a_x / p.omega, (1 + p.c) * (1 + p.c2) * u, (1 + p.c) * (1 + 1 / p.c2) * u * a_x
    w_x, w_y = (1 + p.omega + (1 - a_x) * (1 / tau_x - 1)) / 2, (1 + (1 - a_y) * (1 / tau_y - 1)) / 2
    y = max(a_x * w_x * (1 + p.rho), a_y * w_y) + f * both / 2
    theta = 1 - (1 + 1 / p.c1) * (1 + p.c3) * max(a_x, a_y) ** 2 * s1 - (1 + p.c1) * both * (1 - 1 / n)
    if theta <= 0:
        nothing = (-math.inf, -math.inf)
        return Shape(nothing, theta, math.inf, y, w_x, f, zeta, math.inf, (math.inf, math.inf))
    k = y * (1 + p.c1) / theta
    c_x = (1 + (1 - a_x) * (1 - tau_x)) / 2 - k * (a_x * s2 + zeta * s1) - f * zeta / 2
    c_y = (1 + (1 - a_y) * (1 - tau_y)) / 2 - k * a_y * s2
    return Shape((c_x, c_y), theta, k, y, w_x, f, zeta, f * zeta / 2 + k * zeta * s1, (k * a_x * sv / n, k * a_y * sv / n))


def reshuffling_parts(
    *, step_sizes: Pair, n: int, parameters: FreeParameters | None = None, **blocks: Unpack[Blocks]
) -> EpochParts:
    """C_x, C_y and N of Theorem 2 for a choice of its free parameters. *Upper bound* on one epoch's expected change of f.

    Args:
        step_sizes: (eta_x, eta_y) per component step, nonnegative.
        n: components per epoch.
        parameters: the free parameters; by default those of Corollary 2a (`CLEAN`, or `CLEAN_WITH_RADIUS`).
        **blocks: smoothness, dispersion, rank, directions, radius as in `reshuffling_bound`.

    Raises:
        ValueError: as `reshuffling_bound`.

    Example:
        >>> parts = reshuffling_parts(step_sizes=(0.01, 0.01), n=4, smoothness=(1, 1), dispersion=(1, 1), rank=8)
        >>> parts.holds, round(parts.coefficients[1], 4)
        (True, 0.4994)
    """
    given = setting(**blocks)
    chosen = checked(parameters, given) if parameters is not None else CLEAN if given.radius == 0 else CLEAN_WITH_RADIUS
    return parts_of(given, pair("step_sizes", step_sizes), _checks.count("n", n), chosen)


def checked(p: FreeParameters, given: Setting) -> FreeParameters:
    """Refuse free parameters outside their ranges; c, c3 and rho count at a positive radius only, and are 0 at radius 0."""
    _checks.instance("parameters", p, FreeParameters, "FreeParameters or None")
    found = p._asdict()
    for name in ("c1", "c2", "omega") + (("c", "c3", "rho") if given.radius > 0 else ()):
        found[name] = _checks.positive(name, found[name])
    found["tau"] = tuple(_checks.between("tau", tau, 0, 1, closed="(]") for tau in pair("tau", p.tau))
    p = FreeParameters(**found)
    return p if given.radius > 0 else p._replace(c=0.0, c3=0.0, rho=0.0)


def parts_of(given: Setting, step_sizes: Pair, n: int, p: FreeParameters) -> EpochParts:
    """`reshuffling_parts` on checked arguments."""
    alpha_x, alpha_y = step_sizes[0] * given.smoothness[0], step_sizes[1] * given.smoothness[1]
    a = n * alpha_x, n * alpha_y
    s = shape(a, alpha_x * given.variance_factor, n, p)
    if s.theta <= 0 or max(a) > 1:
        return EpochParts(s.coefficients, math.inf, s.theta, False)
    noise = step_sizes[0] * given.dispersion[0] * (s.direct + s.drift[0]) + step_sizes[1] * given.dispersion[1] * s.drift[1]
    if given.radius > 0:
        noise += step_sizes[0] * _cost_of_radius(given, s, alpha_x, a[0], n, p)
    return EpochParts(s.coefficients, noise, s.theta, min(s.coefficients) > 0)


def _cost_of_radius(given: Setting, s: Shape, alpha_x: float, a_x: float, n: int, p: FreeParameters) -> float:
    """The braces behind the last eta_x of N: what bias beta and remainder m add per step."""
    s1, s2 = (n - 1) / (2 * n), (n - 1) * (2 * n - 1) / (6 * n * n)
    bias, remainder = given.bias_sq, given.remainder_variance
    at_once = s.w_x * (1 + 1 / p.rho) * bias + s.f / 2 * (1 + 1 / p.c) * alpha_x * remainder
    by_drift = (1 + p.c1) * (1 + 1 / p.c) * alpha_x * s1 * remainder + (1 + 1 / p.c1) * (1 + 1 / p.c3) * a_x * s2 * bias
    return at_once + s.y / s.theta * by_drift


def reshuffling_bound(
    *,
    step_sizes: Pair,
    smoothness: Pair,
    dispersion: Pair,
    initial_gap: float,
    n: int,
    epochs: int,
    rank: float,
    directions: int = 1,
    radius: float = 0.0,
    weights: Pair = (1.0, 1.0),
    parameters: FreeParameters | None = None,
) -> float:
    """Bound (1/T) sum_{t<T} E sum_b w_b eta_b ||grad_b f(z_t)||^2 over epoch starts by Theorem 2. *Upper bound*.

    The free parameters are optimised unless given; every admissible choice is valid, so the result is a bound whether or not
    the optimiser found the best one.

    Args:
        step_sizes: (eta_x, eta_y) per component step, nonnegative.
        smoothness: (L_x, L_y), two-sided and for every component.
        dispersion: (sigma_x^2, sigma_y^2) of the components' gradients at epoch starts.
        initial_gap: f(z_0) - f*.
        n: components per epoch.
        epochs: T.
        rank: effective rank r = tr S_x / ||S_x|| of the x-block's curvature bound; its dimension if nothing better is known.
        directions: q, Gaussian.
        radius: of the finite differences, one- or two-sided.
        weights: (w_x, w_y) >= 0 of the blocks in the average.
        parameters: fix the free parameters instead of optimising them.

    Returns:
        The bound; inf where no admissible parameters were found (n alpha_b > 1, or kappa' alpha_x too large).

    Raises:
        ValueError: a negative or non-finite argument, a value that is not a pair, or a free parameter outside its range.

    Example:
        >>> common = dict(smoothness=(1, 1), dispersion=(0, 1), initial_gap=1, epochs=100, rank=8)
        >>> round(reshuffling_bound(step_sizes=(0.001, 0.001), n=4, **common), 4)
        0.0025
        >>> reshuffling_bound(step_sizes=(0.001, 0.3), n=4, **common)
        inf

    Reference:
        theory_lab, Theorem 2.
    """
    given = setting(smoothness=smoothness, dispersion=dispersion, rank=rank, directions=directions, radius=radius)
    etas, scales, n = pair("step_sizes", step_sizes), pair("weights", weights), _checks.count("n", n)
    first = _checks.nonnegative("initial_gap", initial_gap) / (n * _checks.count("epochs", epochs))
    chosen = checked(parameters, given) if parameters is not None else best_parameters(given, etas, n, first, scales)
    return bound_of(given, etas, n, chosen, first, scales)


def bound_of(given: Setting, step_sizes: Pair, n: int, p: FreeParameters, first: float, weights: Pair) -> float:
    """`reshuffling_bound` on checked arguments; `first` is what (f(z_0) - f*)/(nT) stands for."""
    parts = parts_of(given, step_sizes, n, p)
    if not parts.noise < math.inf:
        return math.inf
    return guaranteed(first + parts.noise, parts.coefficients, step_sizes, weights)


def best_parameters(given: Setting, step_sizes: Pair, n: int, first: float, weights: Pair) -> FreeParameters:
    """Free parameters that nearly minimise the bound; `first` is Delta/(nT).

    Nelder-Mead over logarithms (logits for tau), restarted once; a second start if the first finds nothing admissible. Where
    a point is not admissible the objective is how far it is from being so, above anything that an admissible one has.
    """
    if n * max(step_sizes[0] * given.smoothness[0], step_sizes[1] * given.smoothness[1]) > 1:
        return CLEAN if given.radius == 0 else CLEAN_WITH_RADIUS  # nothing is admissible

    def objective(t: np.ndarray) -> float:
        parts = parts_of(given, step_sizes, n, _from_free(t))
        if parts.theta <= 0:
            return 1e6 * (2 - parts.theta)
        if not parts.holds:
            return 1e6 * (1 + math.tanh(-min(parts.coefficients)))
        total = first + parts.noise
        return math.log(max(guaranteed(total, parts.coefficients, step_sizes, weights), 1e-300))

    options = {"adaptive": True, "maxfev": 4000, "xatol": 1e-4, "fatol": 1e-7}
    size = 5 if given.radius == 0 else 8
    for start in _STARTS:
        best = optimize.minimize(objective, start[:size], method="Nelder-Mead", options=options)
        best = optimize.minimize(objective, best.x, method="Nelder-Mead", options=options)
        if parts_of(given, step_sizes, n, _from_free(best.x)).holds:
            break
    return _from_free(best.x)


# Logarithms of (c1, c2, omega), logits of tau, logarithms of (c, c3, rho): near Corollary 2a, and for weak coupling.
_STARTS = ((-1.4, -1.4, 0.0, 5.0, 5.0, -1.4, -1.4, -1.4), (0.0, 0.0, -2.0, -2.0, -2.0, -2.0, -2.0, -2.0))


def _from_free(t: np.ndarray) -> FreeParameters:
    c1, c2, omega, odds_x, odds_y, *others = (float(v) for v in np.exp(np.clip(t, -30, 30)))
    tau = odds_x / (1 + odds_x), odds_y / (1 + odds_y)
    return FreeParameters(c1, c2, omega, tau, *(others or (0.0, 0.0, 0.0)))
