"""Small problems written in genes: a vector of standard normal numbers decides everything, discrete choices too.

A random instance is a random vector, and a search over instances is a search over vectors: nearby genes are nearby problems.
Genes sit in fixed places, whatever the sizes that they choose. Three families, each with exact expectations:

- `Quadratic`: block quadratics with Hessians of their own, -D <= H_i <= D, exact over all orders and directions;
- `Level`: a separable growing objective with a bounded coupling, at one point;
- `Smoothed`: a smooth or a kinked function of one to three variables, the estimator's expectations by quadrature.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations, product
from typing import Any, TypeVar

import numpy as np
from scipy.special import ndtr

import theory_lab as tl
from theory_lab.theory import heterogeneous

WR, RR = "with_replacement", "random_reshuffling"
GENES = 160  # enough for the largest quadratic
_D, _N = 4, 4  # most coordinates, most different components
_Choice = TypeVar("_Choice")


def choose(options: Sequence[_Choice], gene: float) -> _Choice:
    """One of the options, equally likely for a standard normal gene."""
    return options[min(int(ndtr(gene) * len(options)), len(options) - 1)]


def share(gene: float) -> float:
    """A factor in (0, 1): the edge itself, almost, for every second gene."""
    return float(min(1.0, np.exp(1.5 * gene))) * (1 - 1e-6)


@dataclass(frozen=True)
class Quadratic:
    """f_i(z) = z'H_i z/2 - b_i'z with sum b_i = 0, each component `copies` times in the sum, and a method on it.

    Attributes:
        hessians, tilts: H_i, (m, d, d), and b_i, (m, d).
        copies: of each component; n = m copies.
        bound: the diagonal of D, (d,).
        zeroth: size of the x-block, the leading coordinates.
        start: z_0, (d,).
        horizon: steps, or epochs.
        directions, radius, sided: of the gaussian estimate.
        step_sizes: (eta_x, eta_y).
    """

    hessians: np.ndarray
    tilts: np.ndarray
    copies: int
    bound: np.ndarray
    zeroth: int
    start: np.ndarray
    horizon: int
    directions: int
    radius: float
    sided: int
    step_sizes: tuple[float, float] = (0.0, 0.0)

    @property
    def n(self) -> int:
        return self.copies * len(self.hessians)

    @property
    def smoothness(self) -> tuple[float, float]:
        """(L_x, L_y); 1 for an empty block, which has no say in anything."""
        return float(self.bound[: self.zeroth].max(initial=0.0)) or 1.0, float(
            self.bound[self.zeroth :].max(initial=0.0)
        ) or 1.0

    @property
    def rank(self) -> float:
        return max(1.0, float(self.bound[: self.zeroth].sum()) / self.smoothness[0])

    @cached_property
    def mean_hessian(self) -> np.ndarray:
        return self.hessians.mean(axis=0)

    @property
    def initial_gap(self) -> float:
        """f(z_0) - f*, where the mean Hessian is positive semidefinite."""
        return float(self.start @ self.mean_hessian @ self.start) / 2

    @cached_property
    def maps(self) -> np.ndarray:
        """One step on each component, acting on (1, m, vec M)."""
        return heterogeneous.component_maps(
            self.hessians, self.tilts, self.zeroth, self.step_sizes, directions=self.directions, radius=self.radius,
            sided=self.sided,
        )  # fmt: skip

    def by_block(self, diagonals: np.ndarray) -> np.ndarray:
        """Sums over both blocks, (..., 2), of what is given per coordinate."""
        return np.stack([diagonals[..., : self.zeroth].sum(-1), diagonals[..., self.zeroth :].sum(-1)], axis=-1)

    def known(self, dispersion: Any) -> dict[str, Any]:
        """What the hybrid bounds may know, under their argument names."""
        return {
            "smoothness": self.smoothness, "dispersion": tuple(dispersion), "rank": self.rank, "directions": self.directions,
            "radius": self.radius,
        }  # fmt: skip


@dataclass(frozen=True)
class Path:
    """Exact expectations along a run.

    Attributes:
        value: E f - f(minimiser), (rows + 1,).
        gradients: E||grad_b f||^2 before each step (with replacement) or at each epoch start (reshuffled), (rows, 2).
        dispersion: (1/n) sum_i E||grad_b f_i - grad_b f||^2 there, (rows, 2).
    """

    value: np.ndarray
    gradients: np.ndarray
    dispersion: np.ndarray


def path(problem: Quadratic, ordering: str = RR, *, every_step: bool = False) -> Path:
    """The run from its fixed start, exactly; one row per epoch, or per step drawn with replacement."""
    counts = [problem.copies] * len(problem.hessians)
    epoch = problem.maps.mean(axis=0) if every_step else heterogeneous.epoch_map(problem.maps, ordering, counts=counts)
    d = problem.start.size
    state = np.concatenate(([1.0], problem.start, np.outer(problem.start, problem.start).ravel()))
    rows = [state]
    for _ in range(problem.horizon):
        rows.append(epoch @ rows[-1])
    means = np.stack(rows)[:, 1 : 1 + d]
    seconds = np.stack(rows)[:, 1 + d :].reshape(-1, d, d)
    mean_hessian = problem.mean_hessian
    value = np.einsum("ij,tij->t", mean_hessian, seconds) / 2
    gradients = np.einsum("ij,tjk,ki->ti", mean_hessian, seconds, mean_hessian)
    apart = problem.hessians - mean_hessian
    spread = np.einsum("nij,tjk,nki->ti", apart, seconds, apart) - 2 * np.einsum(
        "nij,tj,ni->ti", apart, means, problem.tilts
    )
    dispersion = spread / len(apart) + np.mean(problem.tilts**2, axis=0)
    return Path(value, problem.by_block(gradients[:-1]), np.maximum(problem.by_block(dispersion[:-1]), 0.0))


def divergences(problem: Quadratic) -> tuple[float, np.ndarray]:
    """One reshuffled epoch over all n! orders: sum_k E D_{pi_k}(z_k, z*), and the moment E z_n z_n'; each component once."""
    d, m = problem.start.size, len(problem.hessians)
    orders = np.array(list(permutations(range(m))))
    state = np.concatenate(([1.0], problem.start, np.outer(problem.start, problem.start).ravel()))
    states = np.tile(state, (len(orders), 1))
    total = 0.0
    for visited in orders.T:
        total += float(np.einsum("pi,pi->", problem.hessians[visited].reshape(-1, d * d), states[:, 1 + d :])) / 2
        states = np.einsum("pij,pj->pi", problem.maps[visited], states)
    return total / len(orders), states.mean(axis=0)[1 + d :].reshape(d, d)


def quadratic(
    genes: np.ndarray,
    *,
    first_order: bool = False,
    convex: float | None = None,
    shared: bool = False,
    copies: bool = True,
    exact: bool = False,
) -> Quadratic:
    """The quadratic that genes describe, its step sizes still zero.

    Args:
        genes: (GENES,).
        first_order: no x-block.
        convex: the least eigenvalue of D^-1/2 H_i D^-1/2; None lets it be negative.
        shared: one Hessian.
        copies: whether a component may stand in the sum several times.
        exact: one direction, at radius 0.
    """
    zeroth, d = choose((1, 2, 3), genes[0]), 0
    d = zeroth + choose((0, 1, 1, 2), genes[1])
    d = min(d, _D)
    m = choose(range(1, _N + 1), genes[2])
    log_bound, start, base_spectrum, base = _cut(genes[32:], (_D,), (_D,), (_D,), (_D, _D))
    spectra, frames, tilts = _cut(genes[32 + 28 :], (_N, _D), (_N, _D, _D), (_N, _D))
    bound = np.exp(0.7 * log_bound[:d])
    if genes[6] > 0 or first_order:
        bound[:zeroth] = bound[0]
    spread = 0.0 if shared else max(0.0, float(genes[7]))
    hessians = []
    for i in range(m):
        eigenvalues = 1.5 * (base_spectrum + spread * spectra[i])[:d]
        low = -1.0 if convex is None else convex
        eigenvalues = np.clip(eigenvalues + (1 + low) / 2, low, 1.0) if genes[13] < 1 else np.ones(d)
        frame = np.linalg.qr((base + spread * frames[i])[:d, :d])[0] if genes[8] < 1 else np.eye(d)
        rotated = np.sqrt(bound)[:, None] * frame
        hessian = rotated * eigenvalues @ rotated.T
        hessians.append((hessian + hessian.T) / 2)
    shifts = np.exp(1.5 * genes[10]) * tilts[:m, :d]
    radius = float(np.exp(genes[5] - 1.5)) if genes[5] > 0.5 and not exact and not first_order else 0.0
    return Quadratic(
        np.array(hessians), shifts - shifts.mean(axis=0), choose((1, 3), genes[3]) if copies and m == 2 else 1, bound,
        0 if first_order else zeroth, np.exp(genes[11]) * start[:d], choose((1, 2, 5, 20), genes[12]),
        1 if exact else choose((1, 1, 2, 3), genes[4]), radius, choose((1, 1, 2), genes[9]),
    )  # fmt: skip


def stepped(problem: Quadratic, caps: tuple[float, float], genes: np.ndarray) -> Quadratic:
    """The problem with step sizes at, or below, their caps."""
    return replace(problem, step_sizes=(caps[0] * share(genes[14]), caps[1] * share(genes[15])))


_PROFILES = {
    "cosh": (lambda t, a, b: a / b**2 * 2 * np.sinh(b * t / 2) ** 2, lambda t, a, b: a / b * np.sinh(b * t)),
    "exponential": (lambda t, a, b: a / b**2 * (np.expm1(b * t) - b * t), lambda t, a, b: a / b * np.expm1(b * t)),
    "power": (lambda t, a, b: np.abs(t) ** b / b, lambda t, a, b: np.sign(t) * np.abs(t) ** (b - 1)),
}


@dataclass(frozen=True)
class Level:
    """f(x, y) = sum_j phi(x_j) + sum_j psi(y_j) + c sin(x_1) sin(y_1) at one point, and its growth functions.

    Minimum 0 at 0: c is positive only where both profiles lie above c t^2/2.

    Attributes:
        kinds, scales: of phi and psi, each with (a, b).
        coupling: c.
        point: (x, y).
    """

    kinds: tuple[str, str]
    scales: tuple[tuple[float, float], tuple[float, float]]
    coupling: float
    point: tuple[np.ndarray, np.ndarray]

    @property
    def gap(self) -> float:
        parts = zip(self.kinds, self.scales, self.point, strict=True)
        return sum(float(_PROFILES[k][0](z, *s).sum()) for k, s, z in parts) + self.coupling * self._sine(np.sin, np.sin)

    @property
    def gradients(self) -> tuple[np.ndarray, np.ndarray]:
        x, y = (_PROFILES[k][1](z, *s) for k, s, z in zip(self.kinds, self.scales, self.point, strict=True))
        x[0] += self.coupling * self._sine(np.cos, np.sin)
        y[0] += self.coupling * self._sine(np.sin, np.cos)
        return x, y

    def growth(self, block: int, u: float) -> float:
        """l_b(u): that of the profile at u + c, plus c."""
        a, b = self.scales[block]
        profile = {"cosh": tl.cosh, "exponential": tl.exponential}.get(self.kinds[block])
        made = tl.power(b) if profile is None else profile(a, b)
        return float(made.growth(u + self.coupling)) + self.coupling

    def _sine(self, first: Any, second: Any) -> float:
        return float(first(self.point[0][0]) * second(self.point[1][0]))


def level(genes: np.ndarray) -> Level:
    """The point on a growing objective that genes describe."""
    kinds = tuple(choose(tuple(_PROFILES), gene) for gene in genes[:2])
    scales = []
    for kind, (first, second) in zip(kinds, genes[2:6].reshape(2, 2), strict=True):
        scales.append(
            (1.0, 2.0 + float(np.exp(second))) if kind == "power" else (float(np.exp(first)), float(np.exp(second)))
        )
    coupling = share(genes[6]) * min(scales[0][0], scales[1][0]) if kinds == ("cosh", "cosh") and genes[7] > 0 else 0.0
    sizes = choose((1, 2, 3), genes[8]), choose((1, 2, 3), genes[9])
    reach = np.exp(genes[10])
    x, y = (np.clip(reach * genes[at : at + size], -20, 20) for at, size in zip((12, 16), sizes, strict=True))
    return Level((kinds[0], kinds[1]), (scales[0], scales[1]), coupling, (x, y))


@dataclass(frozen=True)
class Smoothed:
    """The two-point estimate of a function h with -S <= Hess h <= S at one point, its expectations by quadrature.

    Attributes:
        bound: the diagonal of S, (d,).
        gradient: grad h there, (d,).
        mean: E ghat of one direction, (d,).
        second_moment: E||ghat||_S^2 of one direction.
        radius, directions: of the estimate.
    """

    bound: np.ndarray
    gradient: np.ndarray
    mean: np.ndarray
    second_moment: float
    radius: float
    directions: int

    def norm_sq(self, vector: np.ndarray) -> float:
        """||w||_S^2 = w'Sw / L."""
        return float(vector**2 @ self.bound / self.bound.max())


def smoothed(genes: np.ndarray) -> Smoothed:
    """Waves in one to three dimensions, or, in one, a function whose curvature jumps: the worst in the class are such."""
    d = choose((1, 1, 2, 3), genes[0])
    radius, sided = float(np.exp(genes[1] - 1)), choose((1, 1, 2), genes[2])
    bound = np.exp(0.7 * genes[8 : 8 + d])
    if genes[3] > 0:
        bound[:] = bound[0]
    if d == 1 and genes[4] > -0.5:
        kinks = np.sort(np.append(genes[20:23], 0.0)) * np.exp(genes[5])
        signs = np.clip(2 * genes[24:29], -1.0, 1.0) * bound[0]
        slope = float(genes[6]) * bound[0]

        def value(points: np.ndarray) -> np.ndarray:
            t = points[:, 0]
            jumps = np.diff(signs)
            bent = (signs[0] * t**2 + (np.maximum(t[:, None] - kinks, 0.0) ** 2 - np.maximum(-kinks, 0.0) ** 2) @ jumps) / 2
            return slope * t + bent

        gradient = np.array([slope + np.maximum(-kinks, 0.0) @ np.diff(signs)])
        nodes, weights = _piecewise(np.concatenate([kinks, -kinks]) / radius)
    else:
        frame = np.linalg.qr(genes[40:49].reshape(3, 3)[:d, :d])[0] * np.sqrt(bound)[:, None]
        heights, phases = np.clip(1.5 * genes[50 : 50 + d], -1, 1), 2 * genes[54 : 54 + d]
        # Faster waves than this would outrun the quadrature.
        pitch = float(min(np.exp(genes[5]), 2.5 / (radius * np.sqrt(bound.max()))))

        def value(points: np.ndarray) -> np.ndarray:
            angles = pitch * points @ frame
            return (np.cos(phases) - np.cos(angles - phases)) @ heights / pitch**2

        gradient = frame @ (heights * np.sin(-phases)) / pitch
        nodes, weights = _tensor(d)
    ahead, at = value(radius * nodes), value(np.zeros((1, d)))
    slopes = (ahead - at) / radius if sided == 1 else (ahead - value(-radius * nodes)) / (2 * radius)
    mean = (weights * slopes) @ nodes
    second = float((weights * slopes**2) @ (nodes**2 @ bound)) / float(bound.max())
    return Smoothed(bound, gradient, mean, second, radius, choose((1, 1, 2, 3), genes[7]))


def _piecewise(breaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (Q, 1) and weights of the standard normal law, exact to rounding for piecewise polynomials with these breaks."""
    ends = np.unique(np.concatenate([np.arange(-11.0, 12.0), breaks[np.abs(breaks) < 11]]))
    x, w = np.polynomial.legendre.leggauss(14)
    half = np.diff(ends)[:, None] / 2
    nodes = (half * x + (ends[:-1, None] + ends[1:, None]) / 2).ravel()
    return nodes[:, None], (half * w).ravel() * np.exp(-(nodes**2) / 2) / np.sqrt(2 * np.pi)


def _tensor(d: int) -> tuple[np.ndarray, np.ndarray]:
    """The Gauss-Hermite rule of the standard normal law, 30 nodes per axis."""
    x, w = np.polynomial.hermite_e.hermegauss(30)
    nodes = np.array(list(product(x, repeat=d)))
    weights = np.prod(np.array(list(product(w / np.sqrt(2 * np.pi), repeat=d))), axis=1)
    return nodes, weights


def _cut(genes: np.ndarray, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    parts, at = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        parts.append(genes[at : at + size].reshape(shape))
        at += size
    return parts
