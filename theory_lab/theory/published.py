"""The published step sizes and epochs of hybrid SGD: big-O only, so exponents only, and in two readings.

As transcribed from third parties (the full text was not available), with constants unknown:

    eta_x <= min{O(1/(L_x n d_x)), O(1/(sqrt(T) n L_x))},   eta_y <= min{O(1/(L_y n)), O(1/(sqrt(T) n L_y))},
    T >= O(eps^-2/delta + eps^-4/n)  =>  (1/T) sum_{t<T} E||grad f(z_t)||^2 <= eps^2 with probability 1 - delta.

The two halves disagree by a factor n. A bound like Delta/(eta nT) at eta ~ 1/(sqrt(T) n L) gives T ~ eps^-4 for every n, and
`noise_free_average` shows that noise-free least squares does no better. T ~ eps^-4/n needs eta ~ 1/(sqrt(nT) L). Each
reading is a theorem here; measurements say whose exponents hold.
"""

import math
from collections.abc import Callable

from theory_lab import _checks
from theory_lab._typing import Label
from theory_lab.constants import Constants
from theory_lab.theory.averages import mean_power
from theory_lab.theory.base import BLOCKS, Budget, Pair, Theorem, curved, pair, pair_of

SOURCE = "Ma, Yu, Huang 2026, as transcribed by third parties (constants unknown)"


def published_box(*, smoothness: Pair, n: int, dimension: int, constant: float = 1.0) -> Pair:
    """The step sizes that do not shrink with T: constant * (1/(L_x n d_x), 1/(L_y n)). *Exponents only*.

    Args:
        smoothness: (L_x, L_y), positive.
        n: components per epoch.
        dimension: d_x of the zeroth-order block.
        constant: what the O(.) hides; its true value is unknown.

    Returns:
        (eta_x, eta_y) per component step.

    Raises:
        ValueError: a smoothness or constant that is not positive, no component, or no dimension.

    Example:
        >>> published_box(smoothness=(1.0, 2.0), n=5, dimension=10)
        (0.02, 0.1)

    Reference:
        Ma, Yu, Huang 2026, arXiv 2604.09940, as transcribed by third parties.
    """
    (l_x, l_y), n = pair("smoothness", smoothness, positive=True), _checks.count("n", n)
    constant, dimension = _checks.positive("constant", constant), _checks.count("dimension", dimension)
    return constant / (l_x * n * dimension), constant / (l_y * n)


def published_step_sizes(
    *, smoothness: Pair, n: int, epochs: int, dimension: int, reading: str, constant: float = 1.0
) -> Pair:
    """`published_box`, capped by the term that shrinks with T. *Exponents only*.

    Args:
        smoothness, n, dimension, constant: as in `published_box`.
        epochs: T.
        reading: "as transcribed", cap 1/(sqrt(T) n L), or "as the epochs suggest", cap 1/(sqrt(nT) L).

    Returns:
        (eta_x, eta_y) per component step.

    Raises:
        ValueError: as `published_box`; an unknown reading.

    Example:
        >>> published_step_sizes(smoothness=(1.0, 1.0), n=4, epochs=100, dimension=2, reading="as transcribed")
        (0.025, 0.025)
        >>> published_step_sizes(smoothness=(1.0, 1.0), n=4, epochs=100, dimension=2, reading="as the epochs suggest")
        (0.05, 0.05)
    """
    box = published_box(smoothness=smoothness, n=n, dimension=dimension, constant=constant)
    _checks.choice("reading", reading, ("as transcribed", "as the epochs suggest"))
    steps = math.sqrt(_checks.count("epochs", epochs)) * (n if reading == "as transcribed" else math.sqrt(n))
    return min(box[0], constant / (steps * smoothness[0])), min(box[1], constant / (steps * smoothness[1]))


def noise_free_average(*, step_size: float, curvature: float, initial_gap: float, n: int, epochs: int) -> float:
    """(1/T) sum_{t<T} ||grad f(z_t)||^2 over epoch starts, if every component is h||z||^2/2. *Exact*.

    2 h Delta (1 - a^(2nT))/((1 - a^(2n)) T) with a = 1 - eta h, about Delta/(eta nT) for small eta nh and large eta nTh: at
    eta = 1/(sqrt(T) n h) it is h Delta/sqrt(T) whatever n, at eta = 1/(sqrt(nT) h) it is h Delta/sqrt(nT).

    Args:
        step_size: eta per component step, 0 < eta h < 2.
        curvature: h > 0.
        initial_gap: Delta = h ||z_0||^2/2.
        n, epochs: components per epoch, and T.

    Raises:
        ValueError: a negative or non-finite argument, or a step size outside (0, 2/h).

    Example:
        >>> noise_free_average(step_size=1.0, curvature=1.0, initial_gap=2.0, n=3, epochs=4)
        1.0
    """
    h, n, epochs = _checks.positive("curvature", curvature), _checks.count("n", n), _checks.count("epochs", epochs)
    eta = _checks.between("step_size", step_size, 0, 2 / h, closed="()")
    start = 2 * h * _checks.nonnegative("initial_gap", initial_gap)
    return start * mean_power(min(eta * h, 2.0), 2 * n, epochs)


def _conditions(constants: Constants, budget: Budget) -> list[str]:
    return curved(constants)


def _rule(reading: str) -> Callable[[Constants, Budget], dict[Label, float]]:
    def rule(constants: Constants, budget: Budget) -> dict[Label, float]:
        assert budget.dimension is not None  # needed
        step_sizes = published_step_sizes(
            smoothness=pair_of(constants.smoothness),
            n=budget.n,
            epochs=budget.epochs,
            dimension=budget.dimension,
            reading=reading,
        )
        return dict(zip(BLOCKS, step_sizes, strict=True))

    return rule


AS_TRANSCRIBED = Theorem(
    name="published rate, step sizes as transcribed",
    source=SOURCE,
    statement="(1/T) sum_{t<T} E||grad f(z_t)||^2 falls like T^-1/2 and does not depend on n, at "
    "eta_b <= O(1/(sqrt(T) n L_b)); unit constants stand in for the unknown ones",
    kind="exponents only",
    exponents={"epochs": -0.5, "n": 0.0},
    needs=("smoothness", "dimension"),
    blocks=BLOCKS,
    conditions=_conditions,
    rule=_rule("as transcribed"),
)

AS_THE_EPOCHS_SUGGEST = Theorem(
    name="published rate, step sizes as its number of epochs suggests",
    source=SOURCE,
    statement="(1/T) sum_{t<T} E||grad f(z_t)||^2 falls like (nT)^-1/2, as T >= O(eps^-4/n) asks, at "
    "eta_b <= O(1/(sqrt(nT) L_b)); unit constants stand in for the unknown ones",
    kind="exponents only",
    exponents={"epochs": -0.5, "n": -0.5},
    needs=("smoothness", "dimension"),
    blocks=BLOCKS,
    conditions=_conditions,
    rule=_rule("as the epochs suggest"),
)
