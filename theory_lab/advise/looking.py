"""Looking at a problem at a point: its Hessian, and what its components add, up to a size where matrices still fit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from theory_lab import blocks
from theory_lab._typing import Label, Params, Scalar
from theory_lab.measure.smoothness import finite_sums
from theory_lab.problems.base import Problem
from theory_lab.theory.local import ROUNDING, Local, local

DENSE = 200  # dimensions up to which the Hessian is written out
HELD = 2**22  # numbers of component Hessians, or gradients, that are looked at
NEGATIVE = 1e-3  # share of the largest eigenvalue by which one may be negative and count as zero
SAME = 1e-6  # relative distance below which two Hessians are one


@dataclass(frozen=True)
class Settings:
    """What the method is, apart from its step sizes."""

    labels: tuple[Label, ...]
    sizes: tuple[int, ...]
    zeroth: tuple[Label, ...]
    directions: int
    law: str
    ordering: str
    batch_size: int
    components: int
    horizon: float = math.inf  # steps within which second moments must not grow
    asked: bool = True  # whether the horizon was asked for; if not, it gives way where curvature is indefinite

    def part(self, label: Label) -> slice:
        """The coordinates of a block."""
        ends = np.cumsum((0, *self.sizes))
        return slice(int(ends[self.labels.index(label)]), int(ends[self.labels.index(label) + 1]))

    @property
    def groups(self) -> int:
        """Minibatches per epoch."""
        return -(-self.components // self.batch_size)

    @property
    def share(self) -> float:
        """What minibatches leave of the variance of a component."""
        n, size = self.components, min(self.batch_size, self.components)
        if self.ordering == "with_replacement":
            return 1 / self.batch_size
        return (n - size) / (size * (n - 1)) if n > 1 else 0.0


@dataclass(frozen=True)
class View:
    """What is seen at one point.

    Attributes:
        name: "the start", "the look-ahead point", "point 3".
        hessian: (d, d).
        tilts: (m, d) component gradients less their mean.
        deviations: (m, d, d) component Hessians less their mean, None where they are one.
        looked: components whose Hessians were looked at, m or, where they are one, as many as say so.
        value: f.
        gradient: (d,).
    """

    name: str
    params: Params
    settings: Settings
    hessian: np.ndarray
    tilts: np.ndarray
    deviations: np.ndarray | None
    looked: int
    value: float
    gradient: np.ndarray

    @cached_property
    def eigenvalues(self) -> np.ndarray:
        return np.linalg.eigvalsh(self.hessian)

    @property
    def definite(self) -> bool:
        return definite(self.eigenvalues)

    @property
    def pushed(self) -> bool:
        """Whether components differ along directions that the local model leaves out, where the mean does not curve up."""
        if self.deviations is None:
            return False
        values, vectors = np.linalg.eigh(self.hessian)
        out = vectors[:, values <= ROUNDING * np.abs(values).max()]
        return bool(np.abs(self.deviations @ out).max(initial=0.0) > SAME * np.abs(self.hessian).max())

    def part(self, label: Label) -> np.ndarray:
        """The diagonal block of a label, without negative curvature."""
        inside = self.settings.part(label)
        return positive_part(self.hessian)[inside, inside]

    def top(self, label: Label) -> float:
        """The largest eigenvalue of a diagonal block; 0 where rounding cannot tell it from that."""
        value = float(np.linalg.eigvalsh(self.part(label))[-1])
        return value if value > 1e-12 * float(np.abs(self.hessian).max()) else 0.0

    def lowest(self, label: Label) -> float:
        """The smallest eigenvalue of a diagonal block."""
        inside = self.settings.part(label)
        return float(np.linalg.eigvalsh(self.hessian[inside, inside])[0])

    def traces(self, label: Label) -> tuple[float, float]:
        """tr H_bb and tr H_bb^2, of what is left without negative curvature."""
        block = self.part(label)
        return float(np.trace(block)), float(np.sum(block**2))

    def like(self, other: "View") -> bool:
        """Whether two views show one Hessian, and the same ones of the components."""
        if (self.deviations is None) != (other.deviations is None):
            return False
        near = lambda one, another: bool(np.abs(one - another).max() <= SAME * np.abs(self.hessian).max())
        apart = self.deviations is not None and other.deviations is not None
        return same(self.hessian, other.hessian) and (not apart or near(self.deviations, other.deviations))

    def model(self, **other: Any) -> Local:
        """The local model; negative curvature, which no step size makes contract, is left out."""
        settings, hessian = self.settings, positive_part(other.pop("hessian", self.hessian))
        return local(
            hessian,
            settings.sizes,
            [label in settings.zeroth for label in settings.labels],
            tilts=self.tilts,
            deviations=self.deviations,
            share=settings.share,
            n=settings.groups,
            ordering=settings.ordering,
            directions=settings.directions,
            law=settings.law,
            horizon=settings.horizon,
            **other,
        )


def same(hessian: np.ndarray, other: np.ndarray) -> bool:
    """Whether two Hessians are one to rounding."""
    return bool(np.abs(hessian - other).max() <= SAME * np.abs(hessian).max())


def definite(eigenvalues: np.ndarray) -> bool:
    """Whether none lies below -1e-3 of the largest absolute value."""
    return bool(eigenvalues.min() >= -NEGATIVE * np.abs(eigenvalues).max())


def positive_part(matrix: np.ndarray) -> np.ndarray:
    """A symmetric matrix without its negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return matrix if values[0] >= 0 else (vectors * np.maximum(values, 0)) @ vectors.T


def view(problem: Problem, params: Params, name: str, settings: Settings, seed: int = 0) -> View | None:
    """The view of a point; None where something there is not finite."""
    d = blocks.size(params)
    rng = np.random.default_rng(seed)
    few = sample(rng, problem.n, max(2, HELD // d**2))
    many = sample(rng, problem.n, max(2, HELD // d))
    fn, args = finite_sums.mean(problem)
    hessian = finite_sums.dense_hessian(fn, params, args=args)
    gradients = finite_sums.component_gradients(problem, params, many)
    value, slope = finite_sums.value_and_gradient(problem, params)
    gradient = flat(slope)
    each = finite_sums.component_hessians(problem, params, few) if problem.n > 1 else hessian[None]
    if not all(np.isfinite(part).all() for part in (hessian, gradients, gradient, each, value)):
        return None
    deviations, tilts = centred(each, problem.n), centred(gradients, problem.n)
    alike = np.abs(deviations).max() <= SAME * np.abs(hessian).max()
    return View(name, params, settings, hessian, tilts, None if alike else deviations, len(each), value, gradient)


def centred(parts: np.ndarray, n: int) -> np.ndarray:
    """m of n parts, drawn without replacement, less their mean, times (m (n - 1) / ((m - 1) n))^1/2.

    So their mean square is that of all n on average over the draws, and exactly where m = n.
    """
    m = len(parts)
    return (parts - parts.mean(axis=0)) * (np.sqrt(m / (m - 1) * (n - 1) / n) if m > 1 else 1.0)


def sample(rng: np.random.Generator, n: int, most: int) -> np.ndarray:
    """At most so many of n indices, all of them where they are no more."""
    return np.arange(n) if n <= most else np.sort(rng.choice(n, most, replace=False))


def flat(params: Params) -> np.ndarray:
    """Parameters as one float64 vector, in the order of the sorted labels."""
    return np.asarray(ravel_pytree(dict(params))[0], dtype=np.float64)


@jax.jit
def between(start: Params, end: Params, share: Scalar) -> Params:
    """A point of the segment from one to the other."""
    return jax.tree.map(lambda a, b: (a + share * (b - a)).astype(a.dtype), dict(start), dict(end))


def distinct(views: Sequence[Any]) -> list[Any]:
    """The views whose Hessians differ; spectral densities all count as different."""
    kept: list[Any] = []
    for one in views:
        if not any(isinstance(one, View) and one.like(other) for other in kept):
            kept.append(one)
    return kept


def middle(problem: Problem, start: View, end: View) -> np.ndarray:
    """The Hessian averaged over the segment between two views, by Simpson's rule."""
    fn, args = finite_sums.mean(problem)
    half = finite_sums.dense_hessian(fn, between(start.params, end.params, 0.5), args=args)
    return (start.hessian + 4 * half + end.hessian) / 6
