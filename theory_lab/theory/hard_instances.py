"""Laws of the hard instances `theory_lab.problems.hard`: what no constant step size beats.

The one-sided quadratic f_i(x) = (L/2) max(x, 0)^2 - s x + sigma e_i x, e_i = +-1 in equal numbers, with s = c L eta sigma
sqrt(n). Inside an epoch that starts at x the iterates are x plus a bridge of variance eta^2 sigma^2 k(n-k)/(n-1), so an
epoch moves x by -eta n [L avg_k E (x + B_k)_+ - s]. At x = 0 the average is L eta sigma sqrt(n) times

    avg_t E N(0, t(1-t))_+ = (pi/8)/sqrt(2 pi) = sqrt(pi/128) = 0.1567,

so for c below that the drift is negative at x = 0: the iterates settle at x < 0, where f'(x) = -s exactly. The floor of
E f'^2 at epoch ends is therefore s^2 = c^2 L^2 eta^2 n sigma^2, of the order of the upper bound (4/7) eta^2 L^2 (n+1)
sigma^2 (`first_order.reshuffling_bound`), while shared Hessians have eta^3 n^2. The argument leaves out how far x
scatters: its conclusion is a measured conjecture. For several copies all formulas hold with totals s^2 and sigma^2.
"""

import math
from typing import NamedTuple

from theory_lab import _checks

LARGEST_CONSTANT = math.sqrt(math.pi / 128)
CONSTANT = 0.08  # c: far enough below the largest for the iterates never to see the curved side at epoch ends


def one_sided_slope(step_size: float, smoothness: float, dispersion: float, n: int, *, constant: float = CONSTANT) -> float:
    """s = c L eta sigma sqrt(n): the steepest slope, up to the constant, that an epoch's noise hides.

    Args:
        step_size: eta, the least step size for which the floor is to be s^2; larger steps have the same floor.
        smoothness: L.
        dispersion: sigma^2.
        n: components.
        constant: c, in (0, 0.1566).

    Raises:
        ValueError: a negative or non-finite argument, a constant outside its range.

    Example:
        >>> round(one_sided_slope(0.01, 1.0, 1.0, 100), 12)
        0.008
    """
    c = _checks.between("constant", constant, 0, LARGEST_CONSTANT, closed="()")
    eta, smooth = _checks.nonnegative("step_size", step_size), _checks.nonnegative("smoothness", smoothness)
    return c * smooth * eta * math.sqrt(_checks.nonnegative("dispersion", dispersion) * _checks.count("n", n))


def one_sided_floor(step_size: float, smoothness: float, dispersion: float, n: int, *, constant: float = CONSTANT) -> float:
    """E||grad f||^2 at epoch ends of reshuffling on the one-sided quadratic with `one_sided_slope`: c^2 L^2 eta^2 n sigma^2.

    Guarantee: measured conjecture, see the module. For n = 16, 64, 256 what was measured is all of it at eta L n = 0.1, less
    by at most 0.2% at 0.3, and less by 3 to 6% at eta L n = 1. Arguments and errors as in `one_sided_slope`.

    Example:
        >>> round(one_sided_floor(0.01, 1.0, 1.0, 100), 12)
        6.4e-05
    """
    slope = one_sided_slope(step_size, smoothness, dispersion, n, constant=constant)
    return slope * slope  # inf where that overflows


class Minimax(NamedTuple):
    """The one-sided quadratic beside (kappa/2) w^2, made for n components and T epochs.

    Attributes:
        step_size: eta_0, at which the two parts lose the same.
        slope: s of the one-sided part.
        curvature: kappa of the flat direction.
        average: what no constant step size beats, s^2, up to the 6% of `one_sided_floor`.
    """

    step_size: float
    slope: float
    curvature: float
    average: float


def minimax(
    *, smoothness: float, dispersion: float, initial_gap: float, n: int, epochs: int, constant: float = CONSTANT
) -> Minimax:
    """The instance on which min over eta of (1/T) sum_t E||grad f(z_t)||^2 is of order n^-1/3 T^-2/3.

        eta_0 = (2 Delta/(e^2 c^2 L^2 sigma^2 n^2 T))^(1/3),   kappa = 1/(eta_0 n T),   s = c L eta_0 sigma sqrt(n)

    For eta <= eta_0 the w-part keeps kappa^2 w^2 >= e^-2 kappa^2 w_0^2 = 2 kappa Delta/e^2 = s^2 (up to 1/(nT)) in all T
    epochs; for eta >= eta_0 the u-part keeps s^2 by `one_sided_floor`. Setting: first order, reshuffled, constant steps,
    kappa <= L. Guarantee: lower bound, its second half a measured conjecture, to 0.2% for eta_0 L n <= 0.3 and to 6%
    at eta_0 L n = 1: read 0.94 of `average` there. It meets `first_order.reshuffling_tuned` up to a constant: n^-1/3
    T^-2/3 is what reshuffling can promise on smooth convex sums at constant steps.

    Args:
        smoothness: L.
        dispersion: sigma^2.
        initial_gap: Delta, of the w-part.
        n, epochs: components, and T.
        constant: c of `one_sided_slope`.

    Raises:
        ValueError: an argument that is not positive, too few steps for kappa <= L.

    Example:
        >>> short, long = (minimax(smoothness=1, dispersion=1, initial_gap=1, n=16, epochs=t) for t in (1000, 8000))
        >>> round(short.average / long.average, 9)  # 8^(2/3)
        4.0
    """
    smooth, sigma_sq = _checks.positive("smoothness", smoothness), _checks.positive("dispersion", dispersion)
    gap, n, epochs = _checks.positive("initial_gap", initial_gap), _checks.count("n", n), _checks.count("epochs", epochs)
    floor_per_step_sq = one_sided_floor(1.0, smooth, sigma_sq, n, constant=constant)  # c^2 L^2 sigma^2 n
    eta = (2 * gap / (math.e**2 * n * epochs)) ** (1 / 3) / floor_per_step_sq ** (1 / 3)  # the quotient could vanish
    curvature = 1 / (eta * n * epochs)
    if curvature > smooth:
        raise _checks.refuse("epochs", f"enough for a flat direction below the smoothness {smooth:g}", epochs)
    slope = one_sided_slope(eta, smooth, sigma_sq, n, constant=constant)
    return Minimax(eta, slope, curvature, slope**2)
