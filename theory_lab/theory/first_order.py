"""First-order SGD, one step size for all blocks: reshuffled and with replacement, explicit constants.

Every f_i is L-smooth and (1/n) sum_i ||grad f_i - grad f||^2 <= sigma^2. Of block constants, L is the largest smoothness and
sigma^2 the sum of the dispersions. Reshuffled with eta L n <= 1/2, one epoch gives

    E f(z_{t+1}) <= f(z_t) - (7/18) eta n ||grad f(z_t)||^2 + (2/9) eta^3 L^2 n(n+1) sigma^2.

Proof. With g = grad f(z_t) and G the epoch's mean gradient, f(z_{t+1}) <= f - (eta n/2) ||g||^2 + (eta n/2) ||g - G||^2, and
||g - G||^2 <= (L^2/n) V, V = sum_k ||z_k - z_t||^2. Without replacement
E||sum_{j<k} grad f_{pi_j}(z_t)||^2 = k^2 ||g||^2 + sigma^2 k(n-k)/(n-1), so
V <= (8/9) eta^2 n^3 ||g||^2 + (4/9) eta^2 n(n+1) sigma^2.
"""

import math
from typing import NamedTuple

from theory_lab import _checks
from theory_lab._typing import Label
from theory_lab.constants import Constants
from theory_lab.theory.averages import mean_power, mean_power_gone
from theory_lab.theory.base import Budget, StepSizes, Theorem
from theory_lab.theory.tuned import Terms, best_scale


class TunedStep(NamedTuple):
    """A step size and the bound that it is chosen to minimise."""

    step_size: float
    bound: float


def reshuffling_bound(
    *, step_size: float, smoothness: float, dispersion: float, initial_gap: float, n: int, epochs: int
) -> float:
    """(18/7) Delta/(eta nT) + (4/7) eta^2 L^2 (n+1) sigma^2. *Upper bound* on (1/T) sum_t E||grad f(z_t)||^2, epoch starts.

    Args:
        step_size: eta > 0 per component step.
        smoothness: L of every component.
        dispersion: sigma^2.
        initial_gap: Delta = f(z_0) - f*.
        n, epochs: components per epoch, and T.

    Returns:
        The bound; inf where eta L n > 1/2.

    Raises:
        ValueError: a negative or non-finite argument, or a step size that is not positive.

    Example:
        >>> round(reshuffling_bound(step_size=0.05, smoothness=1, dispersion=0, initial_gap=7, n=10, epochs=36), 12)
        1.0

    Reference:
        theory_lab, first-order reshuffling; the rate of Nguyen et al. 2021 and of Mishchenko, Khaled & Richtarik 2020,
        Theorem 4 (both recalled, not re-read).
    """
    eta, n = _checks.positive("step_size", step_size), _checks.count("n", n)
    alpha, noise = eta * _checks.nonnegative("smoothness", smoothness), _checks.nonnegative("dispersion", dispersion)
    gap, epochs = _checks.nonnegative("initial_gap", initial_gap), _checks.count("epochs", epochs)
    if n * alpha > 1 / 2:
        return math.inf
    return 18 / 7 * gap / (eta * n * epochs) + 4 / 7 * alpha**2 * (n + 1) * noise


def reshuffling_tuned(*, smoothness: float, dispersion: float, initial_gap: float, n: int, epochs: int) -> TunedStep:
    """The step size that minimises `reshuffling_bound`: min(1/(2Ln), (A/(2B))^(1/3)) for A/eta + B eta^2. *Upper bound*.

    The bound falls like (L sigma Delta)^(2/3) n^(-1/3) T^(-2/3): T = O(L Delta/eps^2 + L sigma Delta/(sqrt n eps^3)).

    Args:
        smoothness: L > 0.
        dispersion, initial_gap, n, epochs: as in `reshuffling_bound`.

    Raises:
        ValueError: a negative or non-finite argument, or a smoothness that is not positive.

    Example:
        >>> reshuffling_tuned(smoothness=1, dispersion=0, initial_gap=1, n=10, epochs=36).step_size
        0.05
    """
    smooth, n = _checks.positive("smoothness", smoothness), _checks.count("n", n)
    first = 18 / 7 * _checks.nonnegative("initial_gap", initial_gap) / (n * _checks.count("epochs", epochs))
    quadratic = 4 / 7 * smooth**2 * (n + 1) * _checks.nonnegative("dispersion", dispersion)
    eta = best_scale(first, Terms(1 / (2 * smooth * n), quadratic=2 * quadratic))
    return TunedStep(eta, first / eta + quadratic * eta**2)


def reshuffling_pl_bound(
    *, step_size: float, smoothness: float, pl: float, dispersion: float, initial_gap: float, n: int, epochs: int
) -> float:
    """(1 - (7/9) mu eta n)^T Delta + (2/7) eta^2 L^2 (n+1) sigma^2/mu. *Upper bound* on E f(z_T) - f*, reshuffled.

    Args:
        step_size, smoothness, dispersion, initial_gap, n, epochs: as in `reshuffling_bound`.
        pl: mu > 0 with ||grad f||^2 >= 2 mu (f - f*).

    Returns:
        The bound; inf where eta L n > 1/2.

    Raises:
        ValueError: a negative or non-finite argument, a step size or PL constant that is not positive, or a PL constant
            above the smoothness.

    Example:
        >>> round(reshuffling_pl_bound(
        ...     step_size=0.05, smoothness=1, pl=0.9, dispersion=0, initial_gap=1, n=10, epochs=1), 12)
        0.65

    Reference:
        theory_lab, first-order reshuffling, PL version (same proof).
    """
    eta, n = _checks.positive("step_size", step_size), _checks.count("n", n)
    smooth, mu = _checks.nonnegative("smoothness", smoothness), _checks.positive("pl", pl)
    if mu > smooth:
        raise _checks.refuse("pl", f"at most the smoothness {smooth:g}", pl)
    gap, epochs = _checks.nonnegative("initial_gap", initial_gap), _checks.count("epochs", epochs)
    noise = _checks.nonnegative("dispersion", dispersion)
    if n * eta * smooth > 1 / 2:
        return math.inf
    return (1 - 7 / 9 * mu * eta * n) ** epochs * gap + 2 / 7 * (eta * smooth) ** 2 * (n + 1) * noise / mu


def with_replacement_bound(
    *, step_size: float, smoothness: float, dispersion: float, initial_gap: float, steps: int
) -> float:
    """2 Delta/(eta K) + L eta sigma^2. *Upper bound* on (1/K) sum_k E||grad f(z_k)||^2, with replacement.

    Args:
        step_size: eta > 0 per component step.
        smoothness: L.
        dispersion: sigma^2.
        initial_gap: Delta = f(z_0) - f*.
        steps: K.

    Returns:
        The bound; inf where eta L > 1.

    Raises:
        ValueError: a negative or non-finite argument, or a step size that is not positive.

    Example:
        >>> with_replacement_bound(step_size=0.5, smoothness=1, dispersion=0.5, initial_gap=1, steps=16)
        0.5

    Reference:
        Ghadimi & Lan 2013 (recalled, not re-read; the proof is one line of smoothness).
    """
    eta, steps = _checks.positive("step_size", step_size), _checks.count("steps", steps)
    alpha, noise = eta * _checks.nonnegative("smoothness", smoothness), _checks.nonnegative("dispersion", dispersion)
    bound = 2 * _checks.nonnegative("initial_gap", initial_gap) / (eta * steps) + alpha * noise
    return bound if alpha <= 1 else math.inf


def with_replacement_average(
    *, step_size: float, curvature: float, dispersion: float, initial_gap: float, steps: int
) -> float:
    """(1/K) sum_{k<K} E f'(x_k)^2 for f = h x^2/2 and independent additive gradient noise. *Exact*.

    With a = 1 - eta h, s = (1 - a^(2K))/((1 - a^2) K) and the stationary variance V = eta sigma^2/(h (2 - eta h)) it is
    h^2 [x_0^2 s + V (1 - s)], because E x_k^2 = a^(2k) x_0^2 + (1 - a^(2k)) V. For small eta both of its terms are half of
    `with_replacement_bound`: that rate is two-sided.

    Args:
        step_size: eta with 0 < eta h < 2.
        curvature: h > 0.
        dispersion: sigma^2, the variance of the gradient noise.
        initial_gap: Delta = h x_0^2/2.
        steps: K.

    Raises:
        ValueError: a negative or non-finite argument, or a step size outside (0, 2/h).

    Example:
        >>> with_replacement_average(step_size=1.0, curvature=1.0, dispersion=0.0, initial_gap=2.0, steps=4)
        1.0

    Reference:
        theory_lab, exact quadratic average.
    """
    h, steps = _checks.positive("curvature", curvature), _checks.count("steps", steps)
    eta = _checks.between("step_size", step_size, 0, 2 / h, closed="()")
    start = 2 * h * _checks.nonnegative("initial_gap", initial_gap)  # h^2 x_0^2
    stationary = h * eta * _checks.nonnegative("dispersion", dispersion) / (2 - eta * h)
    x = min(eta * h, 2.0)
    return start * mean_power(x, 2, steps) + stationary * mean_power_gone(x, 2, steps)


def _joint(constants: Constants, budget: Budget) -> dict[str, float]:
    """L and sigma^2 over all blocks, and the gap, once nothing is unknown."""
    assert constants.smoothness is not None  # needed
    assert constants.dispersion is not None  # needed
    assert budget.initial_gap is not None  # needed
    return {
        "smoothness": max(float(v) for v in constants.smoothness.values()),
        "dispersion": sum(float(v) for v in constants.dispersion.values()),
        "initial_gap": float(budget.initial_gap),
    }


def _conditions(constants: Constants, budget: Budget) -> list[str]:
    if (constants.smoothness or {}).keys() != (constants.dispersion or {}).keys():
        return ["smoothness and dispersion are known for different blocks"]
    return [] if _joint(constants, budget)["smoothness"] > 0 else ["smoothness is not positive"]


def _same(constants: Constants, step_size: float) -> dict[Label, float]:
    return dict.fromkeys(constants.smoothness or {}, step_size)


def _shared(step_sizes: StepSizes) -> float | None:
    """The one step size of all blocks; None where they differ, for then the theorems are silent."""
    values = {float(v) for v in step_sizes.values()}
    return values.pop() if len(values) == 1 else None


def _reshuffling_rule(constants: Constants, budget: Budget) -> dict[Label, float]:
    tuned = reshuffling_tuned(n=budget.n, epochs=budget.epochs, **_joint(constants, budget))
    return _same(constants, tuned.step_size)


def _reshuffling_value(constants: Constants, budget: Budget, step_sizes: StepSizes) -> float:
    eta, known = _shared(step_sizes), _joint(constants, budget)
    return reshuffling_bound(step_size=eta, n=budget.n, epochs=budget.epochs, **known) if eta else math.inf


def _pl_value(constants: Constants, budget: Budget, step_sizes: StepSizes) -> float:
    assert constants.pl is not None  # needed
    eta, known, pl = _shared(step_sizes), _joint(constants, budget), float(constants.pl)
    return reshuffling_pl_bound(step_size=eta, pl=pl, n=budget.n, epochs=budget.epochs, **known) if eta else math.inf


def _pl_rule(constants: Constants, budget: Budget) -> dict[Label, float]:
    """eta = min(1/(2Ln), log(e + T^2)/((7/9) mu n T)): the start dies like T^-2, the floor like (log T/T)^2."""
    assert constants.pl is not None  # needed
    mu, smooth = float(constants.pl), _joint(constants, budget)["smoothness"]
    fade = math.log(math.e + budget.epochs**2) / (7 / 9 * mu * budget.n * budget.epochs)
    return _same(constants, min(1 / (2 * smooth * budget.n), fade))


def _with_replacement_rule(constants: Constants, budget: Budget) -> dict[Label, float]:
    known = _joint(constants, budget)
    terms = Terms(1 / known["smoothness"], linear=known["smoothness"] * known["dispersion"])
    return _same(constants, best_scale(2 * known["initial_gap"] / budget.steps, terms))


def _with_replacement_value(constants: Constants, budget: Budget, step_sizes: StepSizes) -> float:
    eta, known = _shared(step_sizes), _joint(constants, budget)
    return with_replacement_bound(step_size=eta, steps=budget.steps, **known) if eta else math.inf


RESHUFFLING = Theorem(
    name="first-order SGD with random reshuffling",
    source="theory_lab, first-order reshuffling",
    statement="(1/T) sum_{t<T} E||grad f(z_t)||^2 <= (18/7) Delta/(eta nT) + (4/7) eta^2 L^2 (n+1) sigma^2 over epoch "
    "starts, one step size eta <= 1/(2Ln) for all blocks",
    kind="upper bound",
    exponents={"epochs": -2 / 3, "n": -1 / 3},
    needs=("smoothness", "dispersion", "initial_gap"),
    conditions=_conditions,
    rule=_reshuffling_rule,
    value=_reshuffling_value,
)

RESHUFFLING_PL = Theorem(
    name="first-order SGD with random reshuffling, PL",
    source="theory_lab, first-order reshuffling",
    statement="E f(z_T) - f* <= (1 - (7/9) mu eta n)^T Delta + (2/7) eta^2 L^2 (n+1) sigma^2/mu, one step size "
    "eta <= 1/(2Ln) for all blocks; exponents up to logarithms",
    kind="upper bound",
    exponents={"epochs": -2.0, "n": -1.0},
    needs=("smoothness", "dispersion", "initial_gap", "pl"),
    conditions=_conditions,
    rule=_pl_rule,
    value=_pl_value,
)

WITH_REPLACEMENT = Theorem(
    name="first-order SGD with replacement",
    source="Ghadimi & Lan 2013 (recalled, not re-read)",
    statement="(1/K) sum_{k<K} E||grad f(z_k)||^2 <= 2 Delta/(eta K) + L eta sigma^2 over all K = nT iterates, "
    "one step size eta <= 1/L for all blocks",
    kind="upper bound",
    exponents={"epochs": -0.5, "n": -0.5},
    needs=("smoothness", "dispersion", "initial_gap"),
    conditions=_conditions,
    rule=_with_replacement_rule,
    value=_with_replacement_value,
)
