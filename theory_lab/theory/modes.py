"""A recursion of second moments in modes: is it stable, where does it end, and when does it reach an accuracy.

Setting: s+ = T s + source with a nonnegative T, s the second moments in the modes of `local` or the groups of `groups`. Such
a recursion is stable if and only if (I - T) x = 1 has a positive solution: for a spectral radius below 1 it is the sum of
T^m 1, and a positive x with (I - T) x > 0 bounds the radius. Guarantee: `Modes.stable` exact for the
given T; `steps_to` exact for the recursion where it falls; `ordering_ratios` exact for the stationary ends of first-order
epochs, a model elsewhere.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from theory_lab import _checks
from theory_lab.theory.reshuffling import reshuffling_ratios

DOUBLINGS = 44  # steps beyond 2^44 are called never
FLAT = 2.0**-DOUBLINGS  # eta times curvature of a mode that never moves, then; below it (1 - k)^2 is 1 in floating point


def gathered(k: np.ndarray, horizon: float) -> np.ndarray:
    """What modes feed back of steady noise within K steps, as a share of what they do in the long run: 1 - (1 - k)^(2K).

    With N the noise that second moments feed back, w these shares and G = N diag(w / (1 - (1 - k)^2)), noise that comes to a
    into the modes over all of K steps makes them receive at most (I - G)^-1 a in that time, if the spectral radius of G is
    below 1: a unit received at one step makes (1 - k)^(2t) N of noise t + 1 steps later, and over what is left of the K
    steps these sum to no more than G. So T = diag((1 - k)^2) + N diag(w) is stable where growth within K steps is bounded
    so, and T of infinitely many steps is that of the recursion itself. Guarantee: upper bound of the recursion's growth
    where T is stable; that it grows within K steps where T is not is a measured conjecture, unless K is infinite.

    Example:
        >>> gathered(np.array([0.5, 0.001]), 100).round(2).tolist()
        [1.0, 0.18]
    """
    if horizon == math.inf:
        return np.ones_like(k)
    with np.errstate(divide="ignore"):  # nothing is left of a mode with k = 1; k > 2 is unstable whatever it gathers
        return -np.expm1(2 * horizon * np.log(np.minimum(np.abs(1 - k), 1.0)))


class Modes(NamedTuple):
    """The recursion s+ = matrix s + source at given step sizes, and how ||grad f||^2 is read off it.

    Attributes:
        k: eigenvalues of K, (m,).
        matrix, source: (m, m) and (m,).
        start: the mean of z - z* in the modes, (m,) or (m, r): r independent parts whose energies add.
        weights: E||grad f||^2 = weights's, (m,).
        jacobian: the gradient of a mean of modes, (d, m); None where energies say all.
        rest: ||grad f||^2 that no mode carries: it stays.
        definite: whether no mode has negative curvature.
    """

    k: np.ndarray
    matrix: np.ndarray
    source: np.ndarray
    start: np.ndarray
    weights: np.ndarray
    jacobian: np.ndarray | None
    rest: float
    definite: bool

    @property
    def stable(self) -> bool:
        """Whether second moments stay bounded: 0 <= k < 2 and the noise gain below 1."""
        return self._solved() is not None

    @property
    def floor(self) -> float:
        """The stationary E||grad f||^2; inf where it is not stable."""
        solved = self._solved()
        return math.inf if solved is None else float(self.weights @ solved) + self.rest

    def _solved(self) -> np.ndarray | None:
        """The stationary s, if there is one."""
        if not self.definite:
            return None
        if self.k.size == 0:
            return np.zeros(0)
        if self.k.max() >= 2:
            return None
        right = np.stack([np.ones_like(self.k), self.source], axis=1)
        try:
            found = np.linalg.solve(np.eye(self.k.size) - self.matrix, right)
        except np.linalg.LinAlgError:
            return None
        return found[:, 1] if np.isfinite(found).all() and found[:, 0].min() > 0 else None

    def gradient_norm_sq(self, second: np.ndarray, factors: np.ndarray) -> float:
        """E||grad f||^2 for second moments s, the mean having shrunk by these factors."""
        total = float(self.weights @ second) + self.rest
        if self.jacobian is None:
            return total
        mean = factors * self.start
        return total + max(
            float(np.sum((self.jacobian @ mean) ** 2) - self.weights @ mean**2), -float(self.weights @ mean**2)
        )


def floor_of(modes: Modes, end: Modes | None = None) -> float:
    """The stationary E||grad f||^2 of a way that ends where curvature is another: `end` says it, and the way what stays.

    Args:
        modes, end: as in `steps_to`.

    Raises:
        ValueError: modes of another kind.

    Example:
        >>> from theory_lab.theory.local import local
        >>> way, end = (local([[h]], [1], [False], tilts=[[1.0]]).modes([0.5]) for h in (1.0, 2.0))
        >>> round(floor_of(way), 9), round(floor_of(way, end), 9)  # eta h / (2 - eta h)
        (0.333333333, 1.0)
    """
    _both(modes, end)
    if end is None:
        return modes.floor
    return end.floor + modes.rest if modes.stable else math.inf


def steps_to(modes: Modes, accuracy: float, *, end: Modes | None = None) -> float:
    """Steps until (E||grad f||^2)^1/2 is at most an accuracy; inf if that never happens, between whole steps interpolated.

    Whoever starts above it needs one step at least. Of s_m = T^m s_0 + sum_{j < m} T^j source the first is what is left of
    the start and the second what noise has made; where curvature changes on the way, `end` has the T and the source of the
    second, with the weights by which it is read.

    Setting: it falls until it is reached. Cost: some dozens of products of (m, m) matrices.

    Args:
        modes: from `Local.modes` or `GroupedBlocks.modes`; of the way, where ``end`` is given.
        accuracy: positive.
        end: likewise, of a model without a gradient, at whose minimiser the way ends; None is the same model.

    Raises:
        ValueError: modes of another kind, an accuracy that is not positive.

    Example:
        >>> from theory_lab.theory.local import local
        >>> model = local([[1.0]], [1], [True], gradient=[1.0])
        >>> round(steps_to(model.modes([1 / 3]), 0.1), 3)  # (1 - eta)^2 + 2 eta^2 = 2/3 per step
        11.358
    """
    _both(modes, end)
    target = _checks.positive("accuracy", accuracy) ** 2
    energy = modes.start**2 if modes.start.ndim == 1 else np.sum(modes.start**2, axis=1)
    if modes.gradient_norm_sq(energy, np.ones_like(modes.k)) <= target:
        return 0.0
    if floor_of(modes, end) > target:
        return math.inf
    factors = 1 - modes.k
    shrink = lambda steps: np.abs(factors) ** steps * np.where((factors < 0) & (steps % 2 == 1), -1.0, 1.0)
    if end is None:
        points, power = [np.append(energy, 1.0)], [_affine(modes.matrix, modes.source)]
    else:
        points, power = [energy, np.append(np.zeros(end.k.size), 1.0)], [modes.matrix, _affine(end.matrix, end.source)]

    def value(points: Sequence[np.ndarray], steps: int) -> float:
        made = 0.0 if end is None else float(end.weights @ points[1][:-1])
        return modes.gradient_norm_sq(points[0][: modes.k.size], shrink(steps)) + made

    move = lambda power, points: [matrix @ point for matrix, point in zip(power, points, strict=True)]
    powers = [power]
    while value(move(powers[-1], points), 2 ** (len(powers) - 1)) > target:
        if len(powers) > DOUBLINGS:
            return math.inf
        powers.append([matrix @ matrix for matrix in powers[-1]])
    done = 0
    for doubling in reversed(range(len(powers) - 1)):
        moved = move(powers[doubling], points)
        if value(moved, done + 2**doubling) > target:
            points, done = moved, done + 2**doubling
    high, low = value(points, done), value(move(power, points), done + 1)
    return max(1.0, done + math.log(high / target) / math.log(high / max(low, 1e-300))) if low < high else done + 1.0


def _both(modes: Modes, end: Modes | None) -> None:
    """The door for a way and its end."""
    _checks.instance("modes", modes, Modes, "what modes(...) of a local model returns")
    if end is not None:
        _checks.instance("end", end, Modes, "what modes(...) of a local model returns")


def _affine(matrix: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The matrix by which (s, 1) becomes (T s + source, 1)."""
    return np.block([[matrix, source[:, None]], [np.zeros((1, source.size)), np.ones((1, 1))]])


def ordering_ratios(k: np.ndarray, n: int, ordering: str) -> np.ndarray:
    """V/V_WR of every mode: what an ordering leaves of the components' own noise; a fixed order counts as shuffled once."""
    if ordering == "with_replacement":
        return np.ones_like(k)
    if n == 1 or k.size == 0:
        return np.zeros_like(k)
    below = np.minimum(k, 1.999)
    ratios = reshuffling_ratios(np.maximum(below, 0), n)
    if ordering == "random_reshuffling":
        return ratios
    last = (1 - below) ** n
    lost = np.where(below < 1, -np.expm1(n * np.log1p(-np.minimum(below, 1 - 1e-12))), 1 - last)  # 1 - last
    return ratios * (1 + last) / np.maximum(lost, 1e-300)
