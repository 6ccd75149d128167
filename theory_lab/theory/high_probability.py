r"""Theorem 4: hybrid SGD where the curvature is bounded by a function of the gradient, with high probability.

Assumption, for every component and point: +-Hess f_i(z) <= diag(l_x(u) I, l_y(u) I), u = ||grad f(z)||; l_x, l_y
nondecreasing, l = max(l_x, l_y) sub-quadratic. Both signs are needed: a convex mean permits one component as low as
-(n-1) L.

Trust region. With S_F = {f - f* <= F} and Gbar(F) = sup{w: w^2 <= 2F l(w)} (see `level_sets`), D+ =
diag(l_b(Gbar(4F))) bounds every component within ||z' - z||_{D+} <= sqrt(2F) of a point of S_F. There f_i extends to
the whole space with smoothness phi D+, phi = (1+sqrt 5)/2 (Wells; Le Gruyer; Azagra & Mudarra: cited, not re-proved).
Theorems 1 and 2 hold for the extension with L'_b = phi l_b(Gbar(4F)) and r = d. A run leaves the region, of radius
rho' = sqrt(2 phi F) in the norm of diag(L'_b), only if its summed noise does; Kolmogorov's inequality and the energy
budget make that unlikely, without logarithms.

With F = 2 Delta/delta: where every condition holds, the iterates at epoch starts (with replacement: all iterates)
stay in S_F with probability at least 1 - delta, and on that event the average of sum_b C_b eta_b ||grad_b f||^2 is at
most 4 Delta/steps. The conditions ask for eta_x L'_x of order min(1/n, q/d), not 1/(n d); their constants are far
from tight.

Proof, reshuffled. While z_t is in S_F run the same randomness on the extensions: Theorem 2 applies to that epoch, and both
runs agree off X_t = {an iterate or query point leaves the region}. With a = max_b n alpha_b and N_k the noise summed over k
steps, Gronwall gives ||z_k - z_t|| <= e^a (a s_0 + max_k ||N_k||), s_0 = ||g||_* + zeta + beta/sqrt(L'_x), zeta the
`worst_deviation`; so by the conditions on drift and reach X_t needs e^a max ||N_k|| > rho'/2, of probability at most
4 e^(2a) J_t/rho'^2 (Kolmogorov), J_t = E||P Xi||^2 <= n (sum_b j_b eta_b ||g_b||^2 + N_J), or a direction longer than
allowed, V_t, sum P(V_t) <= delta/10. Let Y = f - f*, in the last epoch along the extension, where Y >= -(phi/2) M^2, M the
distance from z_t and E[M^2 1_X] <= 9 e^(2a) J_t + (9/16) rho'^2 P(V_t) (Doob). Up to the first exit, tau, Theorem 2 summed
gives A + E Y_tau^+ <= Delta + nT N + 4.5 phi e^(2a) E sum J_t + 1.473 F sum P(V_t), A = E sum_{t<tau} n sum_b C_b eta_b
||g_b||^2. The J-part absorbs A/2; hence A <= 4 Delta, and P(exit) <= E Y_tau^+/F + sum P(X_t) <= delta. With replacement
the same holds with epochs of one step, J_k <= 2 [sum_b (1 - C_b) eta_b ||g_b||^2 + N] and Chebyshev's inequality.
"""

import math
from typing import NamedTuple

from theory_lab import _checks
from theory_lab.theory._setting import Setting, guaranteed, setting
from theory_lab.theory.base import Pair, pair
from theory_lab.theory.level_sets import PHI, Growth, TrustRegion, trust_region
from theory_lab.theory.with_replacement import parts_of as step_parts
from theory_lab.theory.without_replacement import CLEAN, CLEAN_WITH_RADIUS, FreeParameters, Shape, checked, shape
from theory_lab.theory.without_replacement import parts_of as epoch_parts


class Condition(NamedTuple):
    """One condition of a theorem: it holds when left <= right."""

    words: str
    left: float
    right: float

    @property
    def holds(self) -> bool:
        return self.left <= self.right


class HighProbability(NamedTuple):
    """The conditions one by one, and the bound that they buy: inf unless all hold."""

    conditions: tuple[Condition, ...]
    coefficients: Pair
    bound: float

    @property
    def holds(self) -> bool:
        return all(condition.holds for condition in self.conditions)


def reshuffling_high_probability(
    *,
    step_sizes: Pair,
    growth: tuple[Growth, Growth],
    dispersion: Pair,
    initial_gap: float,
    failure_probability: float,
    n: int,
    epochs: int,
    dimension: int,
    directions: int = 1,
    radius: float = 0.0,
    worst_deviation: float | None = None,
    weights: Pair = (1.0, 1.0),
    parameters: FreeParameters | None = None,
) -> HighProbability:
    """Theorem 4 for T reshuffled epochs. *Upper bound* on E[1_good (1/T) sum_t sum_b w_b eta_b ||grad_b f(z_t)||^2].

    At radius 0 the first three conditions hold if n alpha_m <= 1/8, (n alpha_m) e^(n alpha_m) (1 + chi) <= 0.404 and
    kappa' alpha_x <= 1/72, with alpha_b = eta_b L'_b and chi = phi worst_deviation/rho'.

    Args:
        step_sizes: (eta_x, eta_y) per component step, nonnegative.
        growth, initial_gap, failure_probability: as in `trust_region`.
        dispersion: (sigma_x^2, sigma_y^2) over the level set S_F.
        n, epochs: components per epoch, and T.
        dimension: d of the x-block.
        directions, radius: of the Gaussian two-point estimator.
        worst_deviation: sup over S_F of max_i ||grad f_i - grad f|| in the norm of diag(1/L'_b); by default its
            largest value that the dispersion allows, sqrt((n-1) sum_b sigma_b^2/L'_b).
        weights: of the blocks in the average.
        parameters: free parameters of Theorem 2; by default those of Corollary 2a.

    Returns:
        The conditions one by one; C_b; 4 Delta/(nT) / min_b(C_b/w_b), or inf unless all conditions hold.

    Raises:
        ValueError: a negative or non-finite argument, a value that is not a pair, a gap that is not positive, or a
            probability outside (0, 1).

    Example:
        >>> flat = (lambda u: 1.0, lambda u: 1.0)
        >>> result = reshuffling_high_probability(
        ...     step_sizes=(0.01, 0.005), growth=flat, dispersion=(0, 0), initial_gap=1, failure_probability=0.1,
        ...     n=10, epochs=20, dimension=9)
        >>> [condition.words for condition in result.conditions if not condition.holds]
        ['the descent pays for the noise displacement']

    Reference:
        theory_lab, Theorem 4.
    """
    region = trust_region(growth=growth, initial_gap=initial_gap, failure_probability=failure_probability)
    etas, scales, n = pair("step_sizes", step_sizes), pair("weights", weights), _checks.count("n", n)
    epochs, spread = _checks.count("epochs", epochs), pair("dispersion", dispersion)
    if region.gradient == math.inf:
        return _not_subquadratic(region)
    given = setting(smoothness=region.smoothness, dispersion=spread, rank=dimension, directions=directions, radius=radius)
    p = checked(parameters, given) if parameters is not None else CLEAN if given.radius == 0 else CLEAN_WITH_RADIUS
    if worst_deviation is None:
        worst_deviation = math.sqrt((n - 1) * sum(s / l_b for s, l_b in zip(spread, region.smoothness, strict=True)))
    worst_deviation = _checks.nonnegative("worst_deviation", worst_deviation)

    alphas = etas[0] * region.smoothness[0], etas[1] * region.smoothness[1]
    a = n * max(alphas)
    parts = epoch_parts(given, etas, n, p)
    size = Condition("Theorem 2 asks for n eta_b L'_b <= 1", a, 1.0)
    positive = Condition("Theorem 2 asks for Theta and C_b to be positive", 0.0, min(parts.theta, *parts.coefficients))
    if not (size.holds and parts.holds):
        return HighProbability((size, positive), parts.coefficients, math.inf)
    s = shape((n * alphas[0], n * alphas[1]), alphas[0] * given.variance_factor, n, p)
    excursion, noise = _excursion(given, s, etas, n, p)
    start = region.radius / PHI + worst_deviation + math.sqrt(given.bias_sq / region.smoothness[0])
    worst = max(j / c for j, c in zip(excursion, parts.coefficients, strict=True))
    energy = n * epochs * (parts.noise + 9 * math.exp(2 * a) * noise)
    conditions = (
        size,
        positive,
        Condition("the drift of an epoch stays within a quarter of the region", a * math.exp(a) * start, region.radius / 4),
        Condition("the descent pays for the noise displacement", 4.5 * PHI * math.exp(2 * a) * worst, 0.5),
        Condition("the noise of the whole run stays within the initial gap", energy, initial_gap / 2),
        _reach(given, region, n * epochs, failure_probability, 10.0, 4.0),
    )
    return _judged(conditions, parts.coefficients, 4 * initial_gap / (n * epochs), etas, scales)


def _excursion(given: Setting, s: Shape, step_sizes: Pair, n: int, p: FreeParameters) -> tuple[Pair, float]:
    """(j_x, j_y) and N_J: an epoch's noise moves P Xi by E||P Xi||^2 <= n [sum_b j_b eta_b ||g_b||^2 + N_J]."""
    s1, s2, sv = (n - 1) / (2 * n), (n - 1) * (2 * n - 1) / (6 * n * n), (n + 1) / (6 * n) if n > 1 else 0.0
    alpha_x, alpha_y = step_sizes[0] * given.smoothness[0], step_sizes[1] * given.smoothness[1]
    a_x, a_y, (noise_x, noise_y) = n * alpha_x, n * alpha_y, given.dispersion
    h = (1 + p.c) * (1 + 1 / p.c2) * alpha_x * given.variance_factor * a_x * (1 + p.c1) / s.theta
    excursion = s.zeta + h * (a_x * s2 + s.zeta * s1), h * a_y * s2
    noise = step_sizes[0] * noise_x * (s.zeta + h * (a_x * sv / n + s.zeta * s1))
    noise += step_sizes[1] * noise_y * h * a_y * sv / n
    if given.radius > 0:
        bias, remainder = given.bias_sq, (1 + 1 / p.c) * alpha_x * given.remainder_variance
        drift = (1 + p.c1) * s1 * remainder + (1 + 1 / p.c1) * (1 + 1 / p.c3) * a_x * s2 * bias
        noise += step_sizes[0] * (remainder + h / (1 + p.c1) * drift)
    return excursion, noise


def with_replacement_high_probability(
    *,
    step_sizes: Pair,
    growth: tuple[Growth, Growth],
    dispersion: Pair,
    initial_gap: float,
    failure_probability: float,
    steps: int,
    dimension: int,
    directions: int = 1,
    radius: float = 0.0,
    weights: Pair = (1.0, 1.0),
    c: float = 0.25,
    theta: float = 0.2,
) -> HighProbability:
    """Theorem 4 for K steps with replacement. *Upper bound* on E[1_good (1/K) sum_k sum_b w_b eta_b ||grad_b f(z_k)||^2].

    At radius 0 the first condition is kappa alpha_x <= 0.47 and alpha_y <= 0.47, with alpha_b = eta_b L'_b: no n at all.

    Args:
        step_sizes: (eta_x, eta_y) per component step, nonnegative.
        growth, initial_gap, failure_probability: as in `trust_region`.
        dispersion: (sigma_x^2, sigma_y^2) over the level set S_F.
        steps: K.
        dimension: d of the x-block.
        directions, radius: of the Gaussian two-point estimator.
        weights: of the blocks in the average.
        c, theta: Young's constants of Theorem 1; used at a positive radius only.

    Returns:
        The conditions one by one; C_b; 4 Delta/K / min_b(C_b/w_b), or inf unless all conditions hold.

    Raises:
        ValueError: as `reshuffling_high_probability`.

    Example:
        >>> flat = (lambda u: 1.0, lambda u: 1.0)
        >>> result = with_replacement_high_probability(
        ...     step_sizes=(0.01, 0.1), growth=flat, dispersion=(0, 0), initial_gap=1, failure_probability=0.1,
        ...     steps=100, dimension=9)
        >>> result.holds, round(result.bound, 4)
        (True, 0.0439)

    Reference:
        theory_lab, Theorem 4.
    """
    region = trust_region(growth=growth, initial_gap=initial_gap, failure_probability=failure_probability)
    etas, scales, steps = pair("step_sizes", step_sizes), pair("weights", weights), _checks.count("steps", steps)
    spread = pair("dispersion", dispersion)
    if region.gradient == math.inf:
        return _not_subquadratic(region)
    given = setting(smoothness=region.smoothness, dispersion=spread, rank=dimension, directions=directions, radius=radius)
    if given.radius > 0:
        c, theta = _checks.positive("c", c), _checks.positive("theta", theta)
    parts = step_parts(given, etas, *((c, theta) if given.radius > 0 else (0.0, 0.0)))
    conditions = (
        Condition("C_b is at least phi/(phi + 1/2)", PHI / (PHI + 0.5), min(parts.coefficients)),
        Condition("the noise of the whole run stays within the initial gap", 3.3 * steps * parts.noise, initial_gap / 2),
        _reach(given, region, steps, failure_probability, 15.0, 1.0),
    )
    return _judged(conditions, parts.coefficients, 4 * initial_gap / steps, etas, scales)


def _reach(given: Setting, region: TrustRegion, steps: int, delta: float, union: float, share: float) -> Condition:
    """Every query point of the run stays near: a Gaussian direction is rarely longer than sqrt d + sqrt(2 log(1/p))."""
    longest = math.sqrt(given.rank) + math.sqrt(2 * math.log(union * steps * given.directions / delta))
    reach = given.radius * math.sqrt(region.smoothness[0]) * longest
    return Condition("every finite difference stays within the region", reach, region.radius / share)


def _not_subquadratic(region: TrustRegion) -> HighProbability:
    endless = Condition("the growth functions are sub-quadratic at the gap 4F", region.gradient, math.nan)
    return HighProbability((endless,), (math.nan, math.nan), math.inf)


def _judged(
    conditions: tuple[Condition, ...], coefficients: Pair, total: float, step_sizes: Pair, weights: Pair
) -> HighProbability:
    holds = all(condition.holds for condition in conditions)
    return HighProbability(
        conditions, coefficients, guaranteed(total, coefficients, step_sizes, weights) if holds else math.inf
    )
