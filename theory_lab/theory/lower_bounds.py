"""Lower bounds of others: what no method, or no schedule of this kind, can beat. Known from abstracts; constants unknown.

They carry exponents, not numbers: `bound` is nan and a claim built on it stays undecided.
"""

from theory_lab import _checks
from theory_lab.theory.base import Theorem

ORDERINGS = ("random_reshuffling", "shuffle_once", "incremental")

STOCHASTIC_FIRST_ORDER = Theorem(
    name="stochastic first-order methods, nonconvex",
    source="Arjevani et al. 2023 (abstract)",
    statement="every method needs Omega(eps^-4) stochastic gradients to find ||grad f|| <= eps on some smooth f with "
    "bounded variance: E||grad f||^2 falls no faster than K^-1/2 in K = nT steps",
    kind="lower bound",
    exponents={"epochs": -0.5, "n": -0.5},
)

TWO_POINT = Theorem(
    name="two-point zeroth-order methods, convex",
    source="Duchi, Jordan, Wainwright, Wibisono 2015 (abstract)",
    statement="with two function values a step, the convex minimax rate loses exactly a factor sqrt(d) to first-order "
    "methods, up to logarithms: E f - f* falls no faster than (d/K)^1/2",
    kind="lower bound",
    exponents={"epochs": -0.5, "n": -0.5, "dimension": 0.5},
)

RANDOM_RESHUFFLING = Theorem(
    name="random reshuffling, strongly convex, many epochs",
    source="Safran & Shamir 2020 (abstract)",
    statement="E f(z_T) - f* is Omega(1/(nT)^2 + 1/(nT^3)) after T reshuffled epochs on strongly convex quadratics; the "
    "first term leads once T > n",
    kind="lower bound",
    exponents={"epochs": -2.0, "n": -2.0},
)

RANDOM_RESHUFFLING_FEW_EPOCHS = Theorem(
    name="random reshuffling, strongly convex, fewer epochs than components",
    source="Safran & Shamir 2020 (abstract)",
    statement="E f(z_T) - f* is Omega(1/(nT)^2 + 1/(nT^3)) after T reshuffled epochs on strongly convex quadratics; the "
    "second term leads while T < n",
    kind="lower bound",
    exponents={"epochs": -3.0, "n": -1.0},
)

SHUFFLE_ONCE = Theorem(
    name="a single shuffle, strongly convex",
    source="Safran & Shamir 2020 (abstract)",
    statement="E f(z_T) - f* is Omega(1/(nT^2)) after T epochs in one random order, on strongly convex quadratics",
    kind="lower bound",
    exponents={"epochs": -2.0, "n": -1.0},
)

INCREMENTAL = Theorem(
    name="a fixed order, strongly convex",
    source="Safran & Shamir 2020 (abstract)",
    statement="f(z_T) - f* is Omega(1/T^2) after T epochs in the worst fixed order, on strongly convex quadratics",
    kind="lower bound",
    exponents={"epochs": -2.0, "n": 0.0},
)


def strongly_convex_shape(n: int, epochs: int, ordering: str) -> float:
    """Safran and Shamir's lower bound on E f(z_T) - f* up to its constant. *Lower bound*, exponents only.

    1/(nT)^2 + 1/(nT^3) for "random_reshuffling", 1/(nT^2) for "shuffle_once", 1/T^2 for "incremental".

    Args:
        n: components per epoch.
        epochs: T.
        ordering: by name.

    Raises:
        ValueError: a count below 1 or an unknown ordering.

    Example:
        >>> strongly_convex_shape(2, 2, "random_reshuffling")
        0.125

    Reference:
        Safran & Shamir 2020 (abstract).
    """
    n, epochs = _checks.count("n", n), _checks.count("epochs", epochs)
    _checks.choice("ordering", ordering, ORDERINGS)
    if ordering == "random_reshuffling":
        return 1 / (n * epochs) ** 2 + 1 / (n * epochs**3)
    return 1 / (n * epochs**2) if ordering == "shuffle_once" else 1 / epochs**2
