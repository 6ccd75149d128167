"""The hybrid theorems under one roof: both bounds, and each result as a `Theorem` that reads constants and a budget.

Where each is stated and proved: Theorem 1 in `with_replacement`, Theorem 2 in `without_replacement`, Theorem H in `clean`,
Proposition C in `convex`; `tuned` chooses the step sizes. All average sum_b eta_b ||grad_b f||^2, except Proposition C.
"""

from theory_lab._typing import Label
from theory_lab.constants import Constants
from theory_lab.theory._setting import Blocks, setting
from theory_lab.theory.base import BLOCKS, Budget, Pair, StepSizes, Theorem, curved, pair_of, rank_is_known, rank_of
from theory_lab.theory.clean import theorem_h_bound
from theory_lab.theory.convex import convex_bound, convex_limits
from theory_lab.theory.tuned import Terms, best_scale, reshuffling_tuned, with_replacement_tuned
from theory_lab.theory.with_replacement import with_replacement_bound
from theory_lab.theory.without_replacement import reshuffling_bound

__all__ = ["PROPOSITION_C", "RESHUFFLING", "THEOREM_H", "WITH_REPLACEMENT", "reshuffling_bound", "with_replacement_bound"]


def _blocks(constants: Constants, budget: Budget) -> Blocks:
    return Blocks(
        smoothness=pair_of(constants.smoothness),
        dispersion=pair_of(constants.dispersion),
        rank=rank_of(constants, budget),
        directions=budget.directions,
        radius=float(budget.radius),
    )


def _gap(budget: Budget) -> float:
    assert budget.initial_gap is not None  # each theorem needs it
    return float(budget.initial_gap)


def _labelled(step_sizes: Pair) -> dict[Label, float]:
    return dict(zip(BLOCKS, step_sizes, strict=True))


def _conditions(constants: Constants, budget: Budget) -> list[str]:
    return curved(constants) + rank_is_known(constants, budget)


def _with_replacement_rule(constants: Constants, budget: Budget) -> dict[Label, float]:
    blocks = _blocks(constants, budget)
    kappa, (l_x, l_y) = setting(**blocks).second_moment_factor, blocks["smoothness"]
    shares = 1 / (kappa * l_x), 1 / l_y
    tuned = with_replacement_tuned(initial_gap=_gap(budget), steps=budget.steps, shares=shares, **blocks)
    return _labelled(tuned.step_sizes)


def _with_replacement_value(constants: Constants, budget: Budget, step_sizes: StepSizes) -> float:
    etas, blocks = pair_of(step_sizes), _blocks(constants, budget)
    return with_replacement_bound(step_sizes=etas, initial_gap=_gap(budget), steps=budget.steps, **blocks)


def _epoch_shares(n: int, blocks: Blocks) -> Pair:
    """The largest steps of Corollary 2a, block by block."""
    (l_x, l_y), factor = blocks["smoothness"], setting(**blocks).variance_factor
    return min(1 / (4 * n * l_x), 1 / (8 * factor * l_x)), 1 / (4 * n * l_y)


def _reshuffling_rule(constants: Constants, budget: Budget) -> dict[Label, float]:
    blocks = _blocks(constants, budget)
    shares = _epoch_shares(budget.n, blocks)
    tuned = reshuffling_tuned(initial_gap=_gap(budget), n=budget.n, epochs=budget.epochs, shares=shares, **blocks)
    return _labelled(tuned.step_sizes)


def _reshuffling_value(constants: Constants, budget: Budget, step_sizes: StepSizes) -> float:
    etas, blocks = pair_of(step_sizes), _blocks(constants, budget)
    return reshuffling_bound(step_sizes=etas, initial_gap=_gap(budget), n=budget.n, epochs=budget.epochs, **blocks)


def _exact_slopes(budget: Budget) -> list[str]:
    return ["the radius is not zero"] if budget.radius > 0 else []


def _theorem_h_conditions(constants: Constants, budget: Budget) -> list[str]:
    several = ["more than one direction is averaged"] if budget.directions > 1 else []
    return _conditions(constants, budget) + several + _exact_slopes(budget)


def _theorem_h_rule(constants: Constants, budget: Budget) -> dict[Label, float]:
    """The caps, scaled down to balance the three terms of the bound."""
    n, blocks = budget.n, _blocks(constants, budget)
    (l_x, l_y), (noise_x, noise_y), r = blocks["smoothness"], blocks["dispersion"], blocks["rank"]
    s_x, s_y = min(1 / (4 * n * l_x), 1 / (24 * l_x * (r + 1))), 1 / (4 * n * l_y)
    by_order = s_x**2 * l_x * noise_x + s_y**2 * l_y * noise_y
    terms = Terms(1.0, 3.05 * (r + 1) * s_x**2 * l_x * noise_x, 0.35 * (n + 1) * max(s_x * l_x, s_y * l_y) * by_order)
    gamma = best_scale(_gap(budget) / budget.steps, terms)
    return _labelled((gamma * s_x, gamma * s_y))


def _theorem_h_value(constants: Constants, budget: Budget, step_sizes: StepSizes) -> float:
    etas, blocks = pair_of(step_sizes), _blocks(constants, budget)
    return theorem_h_bound(step_sizes=etas, initial_gap=_gap(budget), n=budget.n, epochs=budget.epochs, **blocks)


def _convex_conditions(constants: Constants, budget: Budget) -> list[str]:
    convex = [] if budget.convex_components else ["a component is not convex"]
    return curved(constants) + convex + _exact_slopes(budget)


def _convex_rule(constants: Constants, budget: Budget) -> dict[Label, float]:
    """Half the limits (theta >= 1/2), scaled down to balance the three terms of the bound."""
    assert budget.dimension is not None  # needed
    (l_x, l_y), (noise_x, noise_y) = pair_of(constants.smoothness), pair_of(constants.dispersion)
    limits = convex_limits(smoothness=(l_x, l_y), dimension=budget.dimension, directions=budget.directions)
    (s_x, s_y), (x, y) = (limits[0] / 2, limits[1] / 2), pair_of(budget.initial_distance_sq)
    factor = (budget.dimension + 1) / budget.directions
    by_order = (budget.n + 1) / 6 * (s_x**2 * l_x * noise_x + s_y**2 * l_y * noise_y)
    gamma = best_scale((x / s_x + y / s_y) / budget.steps, Terms(1.0, 2 * factor * s_x * noise_x, by_order))
    return _labelled((gamma * s_x, gamma * s_y))


def _convex_value(constants: Constants, budget: Budget, step_sizes: StepSizes) -> float:
    assert budget.dimension is not None  # needed
    return convex_bound(
        step_sizes=pair_of(step_sizes),
        smoothness=pair_of(constants.smoothness),
        optimal_dispersion=pair_of(constants.dispersion),
        initial_distance_sq=pair_of(budget.initial_distance_sq),
        n=budget.n,
        epochs=budget.epochs,
        dimension=budget.dimension,
        directions=budget.directions,
    ).divergence


_TUNED = {"epochs": -0.5, "n": -0.5, "rank": 0.5, "directions": -0.5}

WITH_REPLACEMENT = Theorem(
    name="hybrid SGD with replacement",
    source="theory_lab, Theorem 1",
    statement="(1/K) sum_{k<K} E sum_b eta_b ||grad_b f(z_k)||^2 <= [Delta/K + N]/min_b C_b over all K = nT iterates, "
    "components drawn with replacement, any step sizes with C_b > 0",
    kind="upper bound",
    exponents=_TUNED,
    needs=("smoothness", "dispersion", "initial_gap"),
    blocks=BLOCKS,
    conditions=_conditions,
    rule=_with_replacement_rule,
    value=_with_replacement_value,
)

RESHUFFLING = Theorem(
    name="hybrid SGD with random reshuffling",
    source="theory_lab, Theorem 2",
    statement="(1/T) sum_{t<T} E sum_b eta_b ||grad_b f(z_t)||^2 <= [Delta/(nT) + N]/min_b C_b over epoch starts, "
    "n eta_b L_b <= 1 and C_b > 0; without direction noise the exponents are -2/3 in epochs and -1/3 in n",
    kind="upper bound",
    exponents=_TUNED,
    needs=("smoothness", "dispersion", "initial_gap"),
    blocks=BLOCKS,
    conditions=_conditions,
    rule=_reshuffling_rule,
    value=_reshuffling_value,
)

THEOREM_H = Theorem(
    name="hybrid SGD with random reshuffling, closed form",
    source="theory_lab, Theorem H",
    statement="(1/T) sum_{t<T} E sum_b eta_b ||grad_b f(z_t)||^2 <= (10/3)[Delta/(nT) + 0.35 theta (n+1)/n "
    "sum_b eta_b^2 L_b sigma_b^2 + 3.05 omega eta_x sigma_x^2] over epoch starts, theta = n max_b eta_b L_b <= 1/4, "
    "omega = eta_x L_x (r+1) <= 1/24",
    kind="upper bound",
    exponents={"epochs": -0.5, "n": -0.5, "rank": 0.5},
    needs=("smoothness", "dispersion", "initial_gap"),
    blocks=BLOCKS,
    conditions=_theorem_h_conditions,
    rule=_theorem_h_rule,
    value=_theorem_h_value,
)

PROPOSITION_C = Theorem(
    name="hybrid SGD with random reshuffling, convex components",
    source="theory_lab, Proposition C",
    statement="(1/(nT)) sum over all steps of E D_{pi_k}(z_k, z*) (Bregman divergence of the visited component) <= "
    "[||z_0 - z*||^2_{P^-1}/T + (n(n+1)/6) sum_b eta_b^2 L_b sigma_b^2 + 2n kappa' eta_x sigma_x^2]/(2 theta n), "
    "kappa' = (d+1)/q, theta = 1 - max(eta_x L_x (1 + 2 kappa'), eta_y L_y): no 1/n in the step sizes",
    kind="upper bound",
    exponents={"epochs": -0.5, "n": -0.5, "dimension": 0.5, "directions": -0.5},
    needs=("smoothness", "dispersion", "initial_distance_sq", "dimension", "convex_components"),
    blocks=BLOCKS,
    conditions=_convex_conditions,
    rule=_convex_rule,
    value=_convex_value,
)
