"""What Theorems 1 and 2 know of the two blocks and of the two-point estimator.

Assumptions of both. For every component -D <= Hess f_i <= D with D = diag(S_x, L_y I), L_x = ||S_x||, and r =
tr(S_x)/L_x the effective rank (r = d for S_x = L_x I). The dispersion: (1/n) sum_i ||grad_b f_i - grad_b f||^2 <=
sigma_b^2. The x-block is seen through q Gaussian directions and finite differences of radius mu, one- or two-sided;
`moment_bounds` bounds what that costs in the norm ||w||_S^2 = w'S_x w/L_x, in which descent is measured.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Required, TypedDict

from theory_lab import _checks
from theory_lab.theory import moment_bounds
from theory_lab.theory.base import Pair, pair


class Blocks(TypedDict, total=False):
    """The arguments that the bounds of both theorems share; see `with_replacement_bound` for the words."""

    smoothness: Required[Pair]
    dispersion: Required[Pair]
    rank: Required[float]
    directions: int
    radius: float


@dataclass(frozen=True)
class Setting:
    """Checked constants of both blocks; `setting` builds it."""

    smoothness: Pair
    dispersion: Pair
    rank: float
    directions: int
    radius: float

    @cached_property
    def variance_factor(self) -> float:
        """kappa' = (r + 1)/q."""
        return moment_bounds.kappa_prime(self.rank, self.directions)

    @cached_property
    def second_moment_factor(self) -> float:
        """kappa = 1 + kappa'."""
        return moment_bounds.kappa(self.rank, self.directions)

    @cached_property
    def bias_sq(self) -> float:
        """beta^2 = mu^2 L_x^2 r."""
        return moment_bounds.bias_bound(self.smoothness[0], self.rank, self.radius) ** 2

    @cached_property
    def remainder_variance(self) -> float:
        """m^2 = mu^2 L_x^2 r(r+2)(r+4)/(4q)."""
        return moment_bounds.remainder_bound(self.smoothness[0], self.rank, self.radius, self.directions)

    @cached_property
    def remainder_second_moment(self) -> float:
        """mu^2 L_x^2 M = m^2 + (1 - 1/q) beta^2."""
        return (self.radius * self.smoothness[0]) ** 2 * moment_bounds.remainder_factor(self.rank, self.directions)


def setting(*, smoothness: Any, dispersion: Any, rank: float, directions: int = 1, radius: float = 0.0) -> Setting:
    """Check what every bound takes; smoothness and dispersion may be zero.

    Raises:
        ValueError: a value that is not a pair of nonnegative numbers, a rank below 1, no direction, or a negative radius.
    """
    return Setting(
        pair("smoothness", smoothness),
        pair("dispersion", dispersion),
        _checks.between("rank", rank, 1, float("inf"), closed="[)"),
        _checks.count("directions", directions),
        _checks.nonnegative("radius", radius),
    )


def guaranteed(total: float, coefficients: Pair, step_sizes: Pair, weights: Pair) -> float:
    """From sum_b C_b s_b <= total to sum_b w_b s_b <= total / min_b(C_b/w_b), over the blocks that move and are weighed.

    inf where a coefficient is not positive; a block that stands still needs none.
    """
    ratio = float("inf")
    for coefficient, step_size, weight in zip(coefficients, step_sizes, weights, strict=True):
        if step_size > 0 and coefficient <= 0:
            return float("inf")
        if step_size > 0 and weight > 0:
            ratio = min(ratio, coefficient / weight)
    return total / ratio
