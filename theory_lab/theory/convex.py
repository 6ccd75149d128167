r"""Proposition C: hybrid SGD on convex components, reshuffled; the step sizes owe nothing to n.

0 <= Hess f_i <= diag(L_x I, L_y I), radius 0, z* a minimiser of f, sigma*_b^2 = (1/n) sum_i ||grad_b f_i(z*)||^2, d the
dimension of the x-block, kappa' = (d+1)/q, P = diag(eta_x I, eta_y I), theta = 1 - max(alpha_x (1 + 2 kappa'), alpha_y) > 0,
D_i the Bregman divergence of f_i. One epoch gives

    E||z_n - z*||^2_{P^-1} + 2 theta sum_k E D_{pi_k}(z_k, z*)
        <= ||z_0 - z*||^2_{P^-1} + (n(n+1)/6) sum_b eta_b alpha_b sigma*_b^2 + 2 n kappa' eta_x sigma*_x^2.

Proof. Compare z_k with z*_k = z* - P sum_{j<k} grad f_{pi_j}(z*). The three-point identity turns the inner product
into divergences; E||ghat - grad f_{pi_k}(z*)||_P^2 is at most 2(1 - theta) D_{pi_k}(z_k, z*) + 2 eta_x kappa'
||grad_x f_{pi_k}(z*)||^2 by co-coercivity; D_{pi_k}(z*_k, z*) <= ||z*_k - z*||_D^2/2, which sampling without
replacement bounds.

Distances are measured in P^-1, isotropic on the x-block, so E||ghat_x - E ghat_x||^2 = kappa' ||grad_x f_i||^2 with
the dimension in kappa': an effective rank of the curvature cannot replace it here, as it does in Theorems 1 and 2.

With a common minimiser (sigma* = 0) the distance never grows: n plays no role.
"""

import math
from typing import NamedTuple

from theory_lab import _checks
from theory_lab.theory.base import Pair, pair
from theory_lab.theory.moment_bounds import kappa_prime


class ConvexBound(NamedTuple):
    """What T epochs guarantee.

    Attributes:
        divergence: bounds (1/(nT)) sum over all steps of E D_{pi_k}(z_k, z*).
        distance_sq: bounds E||z_T - z*||^2_{P^-1} at the end.
    """

    divergence: float
    distance_sq: float


def convex_bound(
    *,
    step_sizes: Pair,
    smoothness: Pair,
    optimal_dispersion: Pair,
    initial_distance_sq: Pair,
    n: int,
    epochs: int,
    dimension: int,
    directions: int = 1,
) -> ConvexBound:
    """Proposition C over T reshuffled epochs. *Upper bound*.

    Args:
        step_sizes: (eta_x, eta_y) > 0 per component step.
        smoothness: (L_x, L_y) with Hess f_i <= diag(L_x I, L_y I) for every convex component.
        optimal_dispersion: (sigma*_x^2, sigma*_y^2), mean squared component gradients at z*.
        initial_distance_sq: (||x_0 - x*||^2, ||y_0 - y*||^2).
        n, epochs: components per epoch, and T.
        dimension: d of the x-block.
        directions: q, Gaussian, at radius 0.

    Returns:
        The two bounds; the divergence's is inf where theta <= 0, both are where theta < 0.

    Raises:
        ValueError: a negative or non-finite argument, a value that is not a pair, or a step size that is not positive.

    Example:
        >>> convex_bound(
        ...     step_sizes=(0.025, 0.5), smoothness=(1, 1), optimal_dispersion=(0, 0), initial_distance_sq=(0, 1),
        ...     n=10, epochs=10, dimension=9)
        ConvexBound(divergence=0.021052631578947368, distance_sq=2.0)

    Reference:
        theory_lab, Proposition C.
    """
    (eta_x, eta_y), n = pair("step_sizes", step_sizes, positive=True), _checks.count("n", n)
    (l_x, l_y), epochs = pair("smoothness", smoothness), _checks.count("epochs", epochs)
    sigma_x, sigma_y = pair("optimal_dispersion", optimal_dispersion)
    distance_x, distance_y = pair("initial_distance_sq", initial_distance_sq)
    factor = kappa_prime(_checks.count("dimension", dimension), directions)
    theta = 1 - max(eta_x * l_x * (1 + 2 * factor), eta_y * l_y)
    if theta < 0:
        return ConvexBound(math.inf, math.inf)
    by_order = n * (n + 1) / 6 * (eta_x**2 * l_x * sigma_x + eta_y**2 * l_y * sigma_y)
    by_directions = 2 * n * factor * eta_x * sigma_x
    total = distance_x / eta_x + distance_y / eta_y + epochs * (by_order + by_directions)
    return ConvexBound(total / (2 * theta * n * epochs) if theta > 0 else math.inf, total)


def convex_limits(*, smoothness: Pair, dimension: int, directions: int = 1) -> Pair:
    """Step sizes below which Proposition C holds: (1/(L_x (1 + 2 kappa')), 1/L_y), for every n.

    Raises:
        ValueError: a smoothness that is no pair of positive numbers, no dimension, no direction.

    Example:
        >>> convex_limits(smoothness=(1.0, 2.0), dimension=9)
        (0.047619047619047616, 0.5)
    """
    l_x, l_y = pair("smoothness", smoothness, positive=True)
    factor = kappa_prime(_checks.count("dimension", dimension), directions)
    return 1 / (l_x * (1 + 2 * factor)), 1 / l_y
