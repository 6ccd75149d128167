"""Second moments of hybrid SGD near a minimiser, mode by mode: any blocks, components with Hessians and noise of their own.

Setting: f_i(z) = z'H_i z/2 - b_i'z with mean Hessian H >= 0 and any number of blocks with step sizes P = diag(eta_b I);
block b is seen exactly or through two points of its own. In the modes of K = P^1/2 H P^1/2 = U diag(k) U', with F_b the
b-rows of U, R_i = U'P^1/2 H_i P^1/2 U, and X = U'P^-1/2 E[zz'] P^-1/2 U, components drawn with replacement give

    X+ = (I - k) X (I - k) + E[(R_i - k) X (R_i - k)] + sum_b F_b' N_b(F_b E[R_i X R_i] F_b') F_b + noise,

of which the diagonal is kept: s = diag X follows s+ = T s + source with a nonnegative matrix T,

    T_gh = [g = h](1 - k_g)^2 + V_gh + sum_b {a_b |f_g|^2 t_h + b_b (k_h^2 (f_g'f_h)^2 + V_gh|b) - c_b ...},
    V_gh = E (R_i - k)_gh^2,   t_h = E |F_b R_i e_h|^2,   a, b, c of `moments`.

The mean is kept exactly, and with it what the start's coherence adds to ||grad f||^2. Guarantee: exact with replacement,
for gaussian and sphere directions, for blocks that are not coupled by the mean Hessian, if the components share it;
otherwise the entries of X off the diagonal are neglected, which the exact operators of `quadratic` and `heterogeneous`
keep. T is nonnegative, so stable means that (I - T) x = 1 has a positive solution. Reshuffling multiplies the components'
own noise in every mode by V_RR/V_WR of `reshuffling`; direction noise is left as it is.

Reference: theory_lab, Theorem 5.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from theory_lab import _checks
from theory_lab.theory._matrices import symmetric
from theory_lab.theory._orders import Orders, orders
from theory_lab.theory._per_block import per_block, shaped, symmetric_each
from theory_lab.theory.modes import FLAT, Modes, gathered, ordering_ratios
from theory_lab.theory.moments import LAWS, covariance_map
from theory_lab.theory.reshuffling import ORDERINGS

ROUNDING = 1e-12
WORK = 5 * 10**7  # components times d^3 that one recursion may cost; more components are sampled


@dataclass(frozen=True)
class Local:
    """A quadratic model with component noise; build it with `local`, which validates. Coordinates: each block's eigenbasis.

    Attributes:
        hessian: (d, d).
        sizes, zeroth: of the blocks, and whether two points estimate them.
        gradient: at the start, (d,).
        covariance: of the components' gradients, (d, d).
        deviations: components' H_i - H, (m, d, d); None where they share H.
        share: the factor that minibatches put before the variances.
        excess: what the noise in `modes` is multiplied with; see `calibrated`.
        bases: the blocks' eigenvectors.
        n: components, or minibatches, per epoch.
        rounding: variance that floating point adds to every coordinate of a two-point estimate, per block.
    """

    hessian: np.ndarray
    sizes: tuple[int, ...]
    zeroth: tuple[bool, ...]
    gradient: np.ndarray
    covariance: np.ndarray
    deviations: np.ndarray | None
    share: float
    bases: tuple[np.ndarray, ...]
    n: int
    ordering: str
    directions: int
    law: str
    rounding: tuple[float, ...]
    excess: Callable[[Sequence[float]], float] | None = None
    horizon: float = math.inf

    def modes(self, step_sizes: Sequence[float]) -> Modes:
        """The recursion at these step sizes, one per block, positive."""
        step_sizes = per_block("step_sizes", step_sizes, _checks.positive, len(self.sizes))
        p = np.repeat(step_sizes, self.sizes)
        root = np.sqrt(p)
        k, u = np.linalg.eigh(root[:, None] * self.hessian * root)
        keep = np.abs(k) > ROUNDING * max(np.abs(k).max(), 1e-300)
        definite = not (k[keep] < -1e-9 * np.abs(k).max()).any()
        keep &= k > FLAT
        k, u = k[keep], u[:, keep]
        noise = root[:, None] * self.covariance * root
        own = _forms(noise, u)
        apart = None if self.deviations is None else self._turned(root[:, None] * u)  # R_i - k, (i, m, m)
        matrix = np.diag((1 - k) ** 2)
        if apart is not None:
            matrix += self.share * _mean_square(apart)
        source = own * ordering_ratios(k, self.n, self.ordering)
        for block, start in enumerate(np.cumsum((0, *self.sizes[:-1]))):
            if not self.zeroth[block]:
                continue
            gain, part = (
                covariance_map(self.law, self.sizes[block], self.directions),
                slice(start, start + self.sizes[block]),
            )
            rows, inner = u[part], noise[part, part]
            share = np.sum(rows**2, axis=0)
            seen = k**2 * share
            matrix += gain.direct * (rows.T @ rows) ** 2 * k**2
            if apart is not None:
                inside = _inside(u, part, apart)
                seen = seen + self.share * np.einsum("igh,igh->h", apart, inside) / len(apart)  # E |F_b R e_h|^2
                matrix += gain.direct * self.share * _mean_square(inside)
            matrix += gain.trace * np.outer(share, seen)
            source += gain.trace * share * np.trace(inner) + gain.direct * _forms(inner, rows)
            source += step_sizes[block] * self.rounding[block] * share
            if gain.diagonal:
                turned = self.bases[block] @ rows
                matrix -= gain.diagonal * (turned**2).T @ (turned * k) ** 2
                source -= gain.diagonal * (turned**2).T @ np.diag(self.bases[block] @ inner @ self.bases[block].T)
        survival = np.diag((1 - k) ** 2)
        excess = 1.0 if self.excess is None else self.excess(step_sizes)
        matrix = survival + excess * (matrix - survival) * gathered(k, self.horizon)
        jacobian = (u / root[:, None]) * k
        start = u.T @ (root * self.gradient) / k
        weights = np.sum(jacobian**2, axis=0)
        rest = float(np.sum((self.gradient - jacobian @ start) ** 2))
        rest = rest if rest > 1e-20 * float(self.gradient @ self.gradient) else 0.0
        return Modes(k, np.maximum(matrix, 0), np.maximum(source, 0), start, weights, jacobian, rest, definite)

    def scaled(self, excess: Callable[[Sequence[float]], float]) -> "Local":
        """The model with that excess; what does not depend on it is not computed again."""
        other = replace(self, excess=excess)
        vars(other).update({name: value for name, value in vars(self).items() if name in ("orders", "lone")})
        return other

    @cached_property
    def lone(self) -> tuple["Local", ...]:
        """`alone` of every block."""
        return tuple(self.alone(block) for block in range(len(self.sizes)))

    def alone(self, block: int) -> "Local":
        """The model of one block, the others standing still."""
        part = slice(sum(self.sizes[:block]), sum(self.sizes[: block + 1]))
        return replace(
            self,
            hessian=self.hessian[part, part],
            sizes=self.sizes[block : block + 1],
            zeroth=self.zeroth[block : block + 1],
            gradient=self.gradient[part],
            covariance=self.covariance[part, part],
            deviations=None if self.deviations is None else self.deviations[:, part, part],
            bases=self.bases[block : block + 1],
            rounding=self.rounding[block : block + 1],
            excess=None,
        )

    @cached_property
    def orders(self) -> Orders:
        """Random orders of the components, the same for all step sizes."""
        return self.drawn(0)

    def drawn(self, seed: int) -> Orders:
        """Orders of a seed."""
        return orders(self.hessian, self.deviations, n=self.n, ordering=self.ordering, share=self.share, seed=seed)

    def _turned(self, turn: np.ndarray) -> np.ndarray:
        """turn' D_i turn of the deviations, of a sample of them where the work asks for it."""
        assert self.deviations is not None
        chosen = self.deviations[:: max(1, -(-len(self.deviations) * turn.size * len(turn) // WORK))]
        return np.matmul(turn.T, np.matmul(chosen, turn))


def _forms(matrix: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """c' M c of every column, (g,)."""
    return np.einsum("ag,ag->g", columns, matrix @ columns)


def _mean_square(parts: np.ndarray) -> np.ndarray:
    """The mean over i of squares, (g, h) of (i, g, h)."""
    return np.einsum("igh,igh->gh", parts, parts) / len(parts)


def _inside(u: np.ndarray, part: slice, apart: np.ndarray) -> np.ndarray:
    """F_b'F_b R_i for every i: of a large block by the others, as the columns of U are orthonormal and all F'F sum to I."""
    rows, others = u[part], np.delete(u, part, axis=0)
    if len(rows) <= len(others):
        return rows.T @ (rows @ apart)
    return apart - others.T @ (others @ apart) if len(others) else apart


def local(
    hessian: Any,
    sizes: Sequence[int],
    zeroth: Sequence[bool],
    *,
    gradient: Any = None,
    tilts: Any = None,
    deviations: Any = None,
    share: float = 1.0,
    n: int = 1,
    ordering: str = "with_replacement",
    directions: int = 1,
    law: str = "gaussian",
    rounding: Sequence[float] | None = None,
    horizon: float = math.inf,
) -> Local:
    """A validated `Local`.

    Args:
        hessian: mean Hessian, (d, d) symmetric, coordinates block by block.
        sizes: of the blocks; they add up to d.
        zeroth: of the blocks: whether two points estimate them.
        gradient: at the start, (d,); None is zero.
        tilts: (m, d) deviations of the components' gradients from their mean, whose mean square is the variance: those of a
            sample of m, from its own mean, times (m/(m - 1))^1/2; None is none.
        deviations: (m, d, d) deviations of the components' Hessians likewise; None is none.
        share: the factor that minibatches put before both variances, (n - B)/(B (n - 1)) without replacement.
        n: components, or minibatches, per epoch.
        ordering: "random_reshuffling", "shuffle_once", "incremental" or "with_replacement".
        directions, law: of the two-point estimators.
        horizon: steps within which second moments must not grow, as `modes.gathered` has it; infinitely many by default.
        rounding: variance of every coordinate of an estimate by floating point and radius, per block; None is zero.

    Raises:
        ValueError: what is not finite or not of these shapes, matrices that are not symmetric, an unknown law or ordering,
            negative variances.

    Example:
        >>> model = local(np.eye(8), [8], [True])  # d = 8: the limit is 2/(d + 2)
        >>> model.modes([0.199]).stable, model.modes([0.201]).stable
        (True, False)
    """
    matrix = symmetric("hessian", hessian)
    d = matrix.shape[0]
    counts = per_block("sizes", sizes, _checks.count)
    if sum(counts) != d:
        raise _checks.refuse("sizes", f"sizes of blocks that add up to the {d} coordinates of hessian", counts)
    two_points = per_block("zeroth", zeroth, _checks.flag, len(counts))
    floating = (0.0,) * len(counts)
    if rounding is not None:
        floating = per_block("rounding", rounding, _checks.nonnegative, len(counts))
    _checks.choice("ordering", ordering, ORDERINGS)
    factor = _checks.nonnegative("share", share)
    ends = np.cumsum((0, *counts))
    bases = tuple(np.linalg.eigh(matrix[a:b, a:b])[1] for a, b in itertools.pairwise(ends))
    turn = np.zeros((d, d))
    for a, b, basis in zip(ends, ends[1:], bases, strict=False):
        turn[a:b, a:b] = basis
    start = np.zeros(d) if gradient is None else shaped("gradient", gradient, (d,))
    each = np.zeros((1, d)) if tilts is None else shaped("tilts", tilts, ("m", d)) @ turn
    turned = None if deviations is None else turn.T @ symmetric_each("deviations", deviations, d) @ turn
    return Local(
        turn.T @ matrix @ turn,
        counts,
        two_points,
        turn.T @ start,
        each.T @ each * (factor / len(each)),
        turned,
        factor,
        bases,
        _checks.count("n", n),
        ordering,
        _checks.count("directions", directions),
        _checks.choice("law", law, LAWS),
        floating,
        horizon=_checks.count_or_inf("horizon", horizon),
    )
