"""The cases of `step_size_advisor`: problems of every kind, a method on each, and how far down it should come."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Literal

import jax
import jax.flatten_util
import numpy as np

import theory_lab as tl
from experiments import _logistic
from theory_lab.problems.quadratic import BlockQuadratic

RR, WR = "random_reshuffling", "with_replacement"
PLATEAU = (1 + np.arange(64) / 32) ** -1.0  # decays, but spreads over enough dimensions to be sampled
SLOW = np.geomspace(1.0, 0.03, 8)
RANDOM = "random quadratic "


@dataclass(frozen=True)
class Family:
    """A problem, a method, and what is asked of both.

    Attributes:
        make: the problem.
        steps: component steps, a minibatch counting as one, after which a run is given up.
        accuracy: of (E|grad f|^2)^(1/2), in units of |grad f| at the start.
        limits: how the limits are measured: by "runs", by the exact "operator" on second moments, linearised at the start
            and at the optimum, or not at all ("") because a Hessian there is indefinite.
        directions, law, sided, ordering, batch_size: of the method.
    """

    make: Callable[[], tl.Problem]
    steps: int
    accuracy: float = 0.1
    limits: Literal["runs", "operator", ""] = "runs"
    directions: int = 1
    law: Literal["gaussian", "rademacher", "sphere"] = "gaussian"
    sided: int = 1
    ordering: str = RR
    batch_size: int = 1

    def oracle(self, radius: float) -> tl.Oracle:
        two_point = tl.TwoPoint(radius, directions=self.directions, law=self.law, sided=self.sided)
        return tl.Hybrid({"x": two_point, "y": tl.FirstOrder()})

    @property
    def method(self) -> dict[str, Any]:
        """The method, as `advise` is told of it."""
        return {name: getattr(self, name) for name in ("directions", "law", "sided", "ordering", "batch_size")}


def _quadratic(*dimensions: int, **options: Any) -> Callable[[], BlockQuadratic]:
    return partial(tl.block_quadratic, dict(zip("xy", dimensions, strict=True)), **options)


def _regression() -> tl.Problem:
    """Normal features; labels from a hidden normal model with noise."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((128, 56))
    scores = features @ rng.standard_normal(56) / np.sqrt(56) + rng.standard_normal(128)
    return tl.logistic(features, np.sign(scores), columns={"x": slice(0, 50), "y": slice(50, 56)}, l2=1e-2)


def _correlated() -> BlockQuadratic:
    """Over half of the tilts' variance lies along one direction of both blocks: noise that no block has alone."""
    problem = tl.block_quadratic({"x": 110, "y": 10}, n=16, dispersion=1.0, coupling=0.4, rotated=True)
    along = np.ones((120, 120)) / np.sqrt(120)
    constants = replace(problem.constants, dispersion=None)
    return replace(problem, tilts=problem.tilts @ (np.eye(120) + along) / 2, constants=constants)


def _related_features() -> tl.Problem:
    """Logistic regression on 80 features of which neighbours are correlated by 0.8."""
    rng = np.random.default_rng(1)
    steps = np.arange(80)
    mixed = np.linalg.cholesky(0.8 ** np.abs(steps[:, None] - steps))
    features = rng.standard_normal((256, 80)) @ mixed.T
    scores = features @ rng.standard_normal(80) / np.sqrt(80) + rng.standard_normal(256)
    return tl.logistic(features, np.sign(scores), columns={"x": slice(0, 70), "y": slice(70, 80)}, l2=1e-2)


# Many have the same sizes, so that what is compiled for one serves the others.
FAMILIES = {
    "uncoupled": Family(_quadratic(64, 8), 1000),
    "unequal blocks": Family(_quadratic(64, 8, smoothness={"x": 0.1, "y": 10.0}), 1000, 0.003),
    "decaying spectrum": Family(_quadratic(64, 8, spectrum={"x": PLATEAU, "y": "flat"}), 1000),
    "steep spectrum": Family(_quadratic(64, 8, spectrum=("power", 1.0)), 500, limits="operator"),
    "coupled": Family(_quadratic(64, 8, coupling=0.8, spectrum={"x": "flat", "y": ("power", 1.0)}), 1000),
    "random signs": Family(_quadratic(64, 8, coupling=0.5, rotated=True), 1000, law="rademacher"),
    "sphere, two-sided": Family(_quadratic(64, 8), 1000, law="sphere", sided=2),
    "many directions": Family(_quadratic(64, 8), 160, directions=8),
    "first order decides": Family(
        _quadratic(64, 8, spectrum={"x": "flat", "y": SLOW}, smoothness={"x": 0.1, "y": 1.0}), 200, 0.03, directions=8
    ),
    "large first-order block": Family(_quadratic(50, 200, spectrum={"x": "flat", "y": ("power", 1.0)}), 800),
    "noise, reshuffled": Family(_quadratic(64, 8, n=16, dispersion=1.0), 1600),
    "noise, with replacement": Family(_quadratic(64, 8, n=16, dispersion=1.0), 1600, ordering=WR),
    "convex components": Family(_quadratic(50, 8, n=6, heterogeneity=1.0, coupling=0.5), 1200),
    "indefinite components": Family(_quadratic(50, 8, n=6, heterogeneity=0.15, components="indefinite"), 900),
    "cosh": Family(
        partial(tl.separable, {"x": 50, "y": 8}, {"x": tl.cosh(1, 1), "y": tl.cosh(1, 2)}, coupling=0.5), 500,
        limits="operator",
    ),
    "power": Family(partial(tl.separable, {"x": 50, "y": 8}, tl.power(4)), 300, limits="operator"),
    "robust": Family(partial(tl.geman_mcclure, {"x": 50, "y": 6}, n=112), 8 * 400, 0.5, limits="", batch_size=14),
    "logistic": Family(_regression, 4 * 150, 0.5, limits="operator", batch_size=32),
    "factorisation": Family(partial(tl.matrix_factorisation, 8, 8, 2), 400, limits=""),
}  # fmt: skip

# Named before advice was ever taken on them, and left as they are whatever comes of it.
HELD_OUT = {
    "208 dimensions, coupled": Family(_quadratic(200, 8, coupling=0.5), 700, 0.5),
    "signs, steep, coupled": Family(
        _quadratic(60, 12, coupling=0.7, spectrum=("power", 0.5), rotated=True), 700, 0.3, "operator", law="rademacher"
    ),
    "correlated noise": Family(_correlated, 1600, 0.3),
    "sphere, four directions": Family(
        _quadratic(100, 20, n=8, dispersion=0.5, coupling=0.6), 400, 0.3, directions=4, law="sphere"
    ),
    "related features": Family(_related_features, 8 * 60, 0.5, "operator", batch_size=32),
}  # fmt: skip


# The turns in which all cases are computed: long ones first, and beside each some that share programs, in a row. So two
# processes compile little twice, and end together.
TURNS = (
    "digits",
    "uncoupled", "unequal blocks", "decaying spectrum", "steep spectrum", "sphere, two-sided",
    "coupled", "random signs",
    "breast cancer",
    "many directions", "first order decides",
    "related features", "logistic",
    "convex components", "robust", "indefinite components", "sphere, four directions",
    "noise, reshuffled", "noise, with replacement", "correlated noise",
    "208 dimensions, coupled", "large first-order block",
    "cosh", "power", "factorisation", "signs, steep, coupled",
)  # fmt: skip


def turn(case: str) -> int:
    """When a case is computed; the user's data come first."""
    return TURNS.index(case) if case in TURNS else -1


@lru_cache(maxsize=4)
def family(name: str, rows: int) -> tuple[Family, tl.Problem]:
    """A family, a bundled data set or a LIBSVM file, by name, and its problem."""
    if name in FAMILIES or name in HELD_OUT:
        chosen = {**FAMILIES, **HELD_OUT}[name]
        return chosen, chosen.make()
    problem = _logistic.local(name, rows).problem
    size = problem.n // _logistic.MINIBATCHES
    chosen = Family(lambda: problem, 40 * _logistic.MINIBATCHES, limits="operator", batch_size=size)
    return chosen, problem


def hessian(problem: tl.Problem, params: Any) -> np.ndarray:
    """Of f at a point, (d, d), coordinates in the sorted order of the labels."""
    if isinstance(problem, BlockQuadratic):
        return problem.dense_hessian()
    return np.asarray(_hessian(problem, params))


@jax.jit
def _hessian(problem: tl.Problem, params: Any) -> jax.Array:
    flat, unflatten = jax.flatten_util.ravel_pytree(params)
    return jax.hessian(lambda z: problem.value(unflatten(z)))(flat)
