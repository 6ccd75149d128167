"""The model of `local` for problems too large for matrices: blocks as groups of equal curvature, from spectral densities.

Setting: H without its cross blocks; block b has groups g of c_g coordinates with curvature l_g; starting gradient and noise
lie anywhere in the spectrum. Components differ by E (H_i - H)_bb^2 = kappa_b H_bb, spread over the block in proportion to
the curvature: so it is where H_i has rank one and rows in general position, and one number says how much. With k = eta l

    s_g+ = (1 - k_g)^2 s_g + (k_g c_g / sum c k) kappa eta sum_h k_h s_h + [two points] {b k_g^2 s_g + a c_g sum_h (k_h^2 +
           kappa eta k_h) s_h} + noise.

Groups that would not move in 2^44 steps are flat, and their gradient stays.
Guarantee: exact for gaussian and sphere directions where blocks are not coupled, components share H and the groups are the
spectrum; random signs make at most this noise.

Reference: theory_lab, Theorem 5.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from theory_lab import _checks
from theory_lab.theory._per_block import per_block
from theory_lab.theory.modes import FLAT, Modes, gathered, ordering_ratios
from theory_lab.theory.moments import LAWS, covariance_map
from theory_lab.theory.reshuffling import ORDERINGS

LEAST = 1e-9  # coordinates of a group that only carries starting gradient or noise


@dataclass(frozen=True)
class GroupedBlocks:
    """Blocks as groups; build it with `grouped_blocks`. Arrays are (G,) over all blocks' groups.

    Attributes:
        curvatures, counts: l and c.
        owners: the block of every group.
        gradient_sq: of the starting gradient.
        noise: of the components' gradients, E|g_i - g|^2 of every group.
        zeroth: per block, whether two points estimate it.
        dimensions: per block.
        kappa: per block.
        excess: per block, what its noise, from directions and from components that differ, is multiplied with.
        horizon: steps within which second moments must not grow, as `modes.gathered` has it.
    """

    curvatures: np.ndarray
    counts: np.ndarray
    owners: np.ndarray
    gradient_sq: np.ndarray
    noise: np.ndarray
    zeroth: tuple[bool, ...]
    dimensions: tuple[int, ...]
    kappa: tuple[float, ...]
    n: int
    ordering: str
    directions: int
    law: str
    rounding: tuple[float, ...]
    excess: tuple[float, ...] | None = None
    horizon: float = math.inf

    def modes(self, step_sizes: Sequence[float]) -> Modes:
        """The recursion at these step sizes, one per block, positive."""
        step_sizes = per_block("step_sizes", step_sizes, _checks.positive, len(self.dimensions))
        eta = np.asarray(step_sizes)[self.owners]
        k = eta * self.curvatures
        own = eta * self.noise * ordering_ratios(k, self.n, self.ordering)
        matrix, source = np.diag((1 - k) ** 2), own
        excess = self.excess or (1.0,) * len(self.zeroth)
        for block, two_points in enumerate(self.zeroth):
            mine = np.where(self.owners == block, 1.0, 0.0)
            extra = self.kappa[block] * step_sizes[block] * k * mine
            spread = k * self.counts * mine
            if extra.any():
                matrix = matrix + excess[block] * np.outer(spread / spread.sum(), extra)
            if two_points:
                gain = covariance_map(self.law, self.dimensions[block], self.directions)
                diagonal = gain.direct  # eigenvectors may lie anywhere: what signs save along axes is not counted
                noise = np.diag(diagonal * k**2 * mine) + gain.trace * np.outer(self.counts * mine, mine * k**2 + extra)
                matrix = matrix + excess[block] * noise
                total = float(np.sum(eta * self.noise * mine))
                source = source + mine * (diagonal * eta * self.noise + self.counts * gain.trace * total)
                source = source + mine * self.counts * step_sizes[block] * self.rounding[block]
        survival = np.diag((1 - k) ** 2)
        matrix = survival + (matrix - survival) * gathered(k, self.horizon)
        keep = k > FLAT
        rest = float(np.sum(self.gradient_sq[~keep]))
        start = np.sqrt(self.gradient_sq[keep] * eta[keep]) / k[keep]
        weights = k[keep] ** 2 / eta[keep]
        inside = np.ix_(keep, keep)
        return Modes(k[keep], np.maximum(matrix[inside], 0), np.maximum(source[keep], 0), start, weights, None, rest, True)


def grouped_blocks(
    curvatures: Any,
    counts: Any,
    owners: Sequence[int],
    zeroth: Sequence[bool],
    dimensions: Sequence[int],
    *,
    gradient_sq: Any = 0.0,
    noise: Any = 0.0,
    kappa: Sequence[float] | None = None,
    share: float = 1.0,
    n: int = 1,
    ordering: str = "with_replacement",
    directions: int = 1,
    law: str = "gaussian",
    rounding: Sequence[float] | None = None,
    horizon: float = math.inf,
) -> GroupedBlocks:
    """Validated `GroupedBlocks`; negative curvatures, which no step size makes contract, count as zero.

    Args:
        curvatures, counts: l and c, (G,); counts need not be whole, and may be zero.
        owners: the block of every group, (G,).
        zeroth, dimensions: per block.
        gradient_sq, noise: (G,) or one number for each, nonnegative.
        kappa, rounding: per block; None is zero.
        share, n, ordering, directions, law, horizon: as in `local.local`.

    Raises:
        ValueError: arrays of different lengths, negative numbers, groups of no block, an unknown law or ordering.

    Example:
        >>> model = grouped_blocks([1.0], [8], [0], [True], [8])  # d = 8: the limit is 2/(d + 2)
        >>> model.modes([0.199]).stable, model.modes([0.201]).stable
        (True, False)
    """
    spectrum = np.maximum(_checks.array("curvatures", curvatures, ndim=1), 0)
    sizes, energies, noises, blocks = (
        _per_group(name, value, spectrum.size)
        for name, value in (("counts", counts), ("gradient_sq", gradient_sq), ("noise", noise), ("owners", owners))
    )
    _checks.choice("ordering", ordering, ORDERINGS)
    factor = _checks.nonnegative("share", share)
    widths = per_block("dimensions", dimensions, _checks.count)
    if (blocks != np.round(blocks)).any() or blocks.max() >= len(widths):
        raise _checks.refuse("owners", f"whole numbers from 0 to {len(widths) - 1}, the block of every group", owners)
    none = (0.0,) * len(widths)
    numbers = lambda name, value: none if value is None else per_block(name, value, _checks.nonnegative, len(widths))
    return GroupedBlocks(
        spectrum,
        np.maximum(sizes, LEAST),
        blocks.astype(int),
        energies,
        noises * factor,
        per_block("zeroth", zeroth, _checks.flag, len(widths)),
        widths,
        tuple(factor * value for value in numbers("kappa", kappa)),
        _checks.count("n", n),
        ordering,
        _checks.count("directions", directions),
        _checks.choice("law", law, LAWS),
        numbers("rounding", rounding),
        horizon=_checks.count_or_inf("horizon", horizon),
    )


def _per_group(name: str, value: Any, size: int) -> np.ndarray:
    """The door for one nonnegative number per group, or one for all."""
    found = _checks.array(name, value)
    if found.shape not in ((), (size,)) or found.min() < 0:
        raise _checks.refuse(name, f"{size} nonnegative numbers, one per group", value if found.size < 9 else found.shape)
    return np.broadcast_to(found, (size,))
