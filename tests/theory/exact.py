"""Exact expectations of hybrid SGD on random quadratics: the referee of the bounds, written without them.

f_i(z) = z'H_i z/2 - b_i'z. One step is affine in z and quadratic in the Gaussian directions, so mean and second moment of z
follow from mean and second moment before; Wick's formula gives the estimator's covariance given the gradient.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

# A setting of the bounds on sampling with and without replacement.
STEPS = {
    "step_sizes": (0.02, 0.3),
    "smoothness": (1.5, 2.0),
    "dispersion": (0.7, 0.4),
    "initial_gap": 2.0,
    "steps": 400,
    "rank": 6,
}
EPOCHS = {
    "step_sizes": (0.004, 0.012),
    "smoothness": (1.5, 2.0),
    "dispersion": (0.7, 0.4),
    "initial_gap": 2.0,
    "n": 8,
    "epochs": 50,
    "rank": 6,
}


@dataclass(frozen=True)
class Instance:
    """n heterogeneous quadratics and one hybrid step on them."""

    hessians: np.ndarray  # (n, d, d)
    shifts: np.ndarray  # (n, d): b_i
    zeroth: int  # the first `zeroth` coordinates are the x-block
    bound: np.ndarray  # (d,): the diagonal of D, -D <= H_i <= D
    step_sizes: tuple[float, float]
    directions: int = 1
    radius: float = 0.0

    @property
    def n(self) -> int:
        return len(self.hessians)

    @property
    def smoothness(self) -> tuple[float, float]:
        return float(self.bound[: self.zeroth].max()), float(self.bound[self.zeroth :].max(initial=0.0))

    @property
    def rank(self) -> float:
        return float(self.bound[: self.zeroth].sum() / self.bound[: self.zeroth].max())

    @property
    def preconditioner(self) -> np.ndarray:
        d = self.hessians.shape[-1]
        return np.where(np.arange(d) < self.zeroth, *self.step_sizes)

    def value(self, mean: np.ndarray, second: np.ndarray) -> float:
        return float(np.trace(self.hessians.mean(0) @ second) / 2 - self.shifts.mean(0) @ mean)

    def gradients(self, z: np.ndarray) -> np.ndarray:
        return self.hessians @ z - self.shifts

    def squared(self, g: np.ndarray) -> np.ndarray:
        """(||g_x||^2, ||g_y||^2) along the last axis."""
        return np.stack([(g[..., : self.zeroth] ** 2).sum(-1), (g[..., self.zeroth :] ** 2).sum(-1)], axis=-1)

    def dispersion(self, z: np.ndarray) -> np.ndarray:
        g = self.gradients(z)
        return self.squared(g - g.mean(0)).mean(0)

    def known(self, z: np.ndarray) -> dict[str, Any]:
        """What a bound may know of the problem at z, under the bounds' argument names."""
        return {
            "smoothness": self.smoothness,
            "dispersion": tuple(self.dispersion(z)),
            "rank": self.rank,
            "directions": self.directions,
            "radius": self.radius,
        }

    def step(self, i: int, mean: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and second moment of z after a step on component i, one-sided differences."""
        h, b, p, x = self.hessians[i], self.shifts[i], self.preconditioner, slice(self.zeroth)
        a = np.eye(len(p)) - p[:, None] * h
        after = a @ mean + p * b
        moment = a @ second @ a.T
        moment += np.outer(a @ mean, p * b) + np.outer(p * b, a @ mean) + np.outer(p * b, p * b)
        gradient = (h @ second @ h - np.outer(h @ mean, b) - np.outer(b, h @ mean) + np.outer(b, b))[x, x]
        s, eye = h[x, x], np.eye(self.zeroth)
        t = np.trace(s)
        smoothing = self.radius**2 / 4 * ((t**2 + 2 * np.trace(s @ s)) * eye + 4 * t * s + 8 * s @ s)
        moment[x, x] += self.step_sizes[0] ** 2 / self.directions * (np.trace(gradient) * eye + gradient + smoothing)
        return after, moment

    def average_step(self, mean: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One step with a uniform component."""
        means, seconds = zip(*(self.step(i, mean, second) for i in range(self.n)), strict=True)
        return np.mean(means, axis=0), np.mean(seconds, axis=0)

    def epoch(self, mean: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A reshuffled epoch over all n! permutations; steps are affine in (mean, second), so averages may be fed back."""
        ends = []
        for permutation in itertools.permutations(range(self.n)):
            moments = mean, second
            for i in permutation:
                moments = self.step(i, *moments)
            ends.append(moments)
        means, seconds = zip(*ends, strict=True)
        return np.mean(means, axis=0), np.mean(seconds, axis=0)

    def expected_squares(self, mean: np.ndarray, second: np.ndarray) -> np.ndarray:
        """(E ||grad_x f||^2, E ||grad_y f||^2)."""
        h, b = self.hessians.mean(0), self.shifts.mean(0)
        gram = h @ second @ h - np.outer(h @ mean, b) - np.outer(b, h @ mean) + np.outer(b, b)
        diagonal = np.diag(gram)
        return np.array([diagonal[: self.zeroth].sum(), diagonal[self.zeroth :].sum()])


def slack(instance: Instance, z: np.ndarray, end: tuple[np.ndarray, np.ndarray], descent: np.ndarray, noise: float) -> float:
    """f(z) - sum_b descent_b ||grad_b f(z)||^2 + noise - E f(end), relative to its terms; negative if broken."""
    start, squares = instance.value(z, np.outer(z, z)), instance.squared(instance.gradients(z).mean(0))
    promised, change = float(np.dot(descent, squares)), instance.value(*end) - start
    return (noise - promised - change) / (abs(noise) + abs(promised) + abs(change))


def orthogonal(rng: np.random.Generator, d: int) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def random_instance(
    rng: np.random.Generator,
    *,
    n: int,
    zeroth: int,
    first: int,
    step_sizes: tuple[float, float],
    directions: int = 1,
    radius: float = 0.0,
    isotropic: bool = True,
    convex: bool = False,
    extreme: bool = False,
) -> Instance:
    """H_i = D^(1/2) Q_i diag(e_i) Q_i' D^(1/2): heterogeneous, coupled; |e_i| <= 1, >= 0 if convex, +-1 if extreme."""
    d, low = zeroth + first, 0.0 if convex else -1.0
    bound = np.concatenate([np.full(zeroth, 10 ** rng.uniform(-0.5, 0.5)), np.full(first, 10 ** rng.uniform(-0.5, 0.5))])
    if not isotropic:
        bound[1:zeroth] *= rng.uniform(0.0, 0.3, size=zeroth - 1)
    hessians = []
    for _ in range(n):
        e = rng.uniform(low, 1.0, size=d)
        rotated = np.sqrt(bound)[:, None] * orthogonal(rng, d)
        hessians.append(rotated * (np.where(e > (low + 1) / 2, 1.0, low) if extreme else e) @ rotated.T)
    shifts = rng.normal(size=(n, d)) * 10 ** rng.uniform(-1, 1)
    return Instance(np.array(hessians), shifts, zeroth, bound, step_sizes, directions, radius)


def random_epoch(rng: np.random.Generator, *, radius: float = 0.0, load: float = 1.0) -> tuple[Instance, np.ndarray]:
    """A random problem whose steps are within the conditions (n alpha <= 1) up to chance."""
    n, zeroth, first, q = int(rng.integers(1, 5)), int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(rng.integers(1, 4))
    draft = random_instance(
        rng,
        n=n,
        zeroth=zeroth,
        first=first,
        step_sizes=(1, 1),
        directions=q,
        radius=radius,
        isotropic=bool(rng.integers(2)),
        extreme=bool(rng.integers(2)),
    )
    (l_x, l_y), factor = draft.smoothness, (draft.rank + 1) / q
    etas = load * min(1 / n, 1.5 / factor) / l_x * 10 ** rng.uniform(-2, 0), load / (n * l_y) * 10 ** rng.uniform(-2, 0)
    return replace(draft, step_sizes=etas), rng.normal(size=zeroth + first) * 10 ** rng.uniform(-1, 1)


def still_at_the_minimiser(rng: np.random.Generator, load: float) -> tuple[Instance, np.ndarray]:
    """Every Hessian is D and the start is the minimiser: small steps make Theorem 2 nearly an equality."""
    bound = np.array([2.0, 2.0, 2.0, 2.0, 0.5, 0.5])
    shifts = rng.normal(size=(4, 6))
    etas = load / (4 * 5 * 2.0), load / (4 * 0.5)
    return Instance(np.tile(np.diag(bound), (4, 1, 1)), shifts - shifts.mean(0), 4, bound, etas), np.zeros(6)
