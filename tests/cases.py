"""The zoo: a new problem, oracle or ordering joins by one line and inherits every law of test_contract.py."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

import theory_lab as tl
from theory_lab._trees import record
from theory_lab._typing import Array, Key, Params
from theory_lab.orderings import Ordering
from theory_lab.problems import hard

SIZES = {"x": 3, "y": 2}


@dataclass(frozen=True)
class ProblemCase:
    """A problem and what of its declaration is claimed to be exact.

    Attributes:
        make: builds it.
        attains: a point at which some component attains the declared smoothness; None where it is not claimed to be least.
        exact: which of "dispersion" and "strong_convexity" are attained at every point.
    """

    make: Callable[[], tl.Problem]
    attains: Callable[[tl.Problem], Params] | None = None
    exact: frozenset[str] = frozenset()

    @cache  # noqa: B019  (the cases live as long as the tests)
    def problem(self) -> tl.Problem:
        return self.make()


def anywhere(problem: tl.Problem) -> Params:
    return problem.init(jax.random.key(1))


def in_phase(problem: tl.Problem) -> Params:
    """Where all cosines of component 0 are 1: its Hessian is D."""
    return solve(problem.features, problem.phases[0])


def fitted(problem: tl.Problem) -> Params:
    """Where the residuals of the first d observations vanish."""
    d = sum(a.shape[1] for a in problem.features.values())
    return solve({b: a[:d] for b, a in problem.features.items()}, problem.targets[:d])


def solve(rows: Params, right: Array) -> Params:
    labels = sorted(rows)
    z = jnp.linalg.solve(jnp.concatenate([rows[b] for b in labels], axis=1), right)
    return dict(zip(labels, jnp.split(z, np.cumsum([rows[b].shape[1] for b in labels])[:-1]), strict=True))


@record(data=("slopes", "constants"))
class Slopes(tl.Problem):
    """f_i(z) = <c_i, z>: the smallest problem a user could write; along a run it shows which component was visited when."""

    n: int
    slopes: Params  # {label: (n, d_b)}
    constants: tl.Constants = tl.Constants()
    optimum: Params | None = None

    def init(self, key: Key) -> Params:
        return {b: jnp.zeros(c.shape[1], c.dtype) for b, c in self.slopes.items()}

    def component(self, params: Params, index: Array) -> Array:
        return sum(jnp.dot(c[index], params[b]) for b, c in self.slopes.items())


def random_slopes(sizes: dict[str, int], n: int) -> Slopes:
    return Slopes(n, {b: jax.random.normal(jax.random.key(i), (n, d)) for i, (b, d) in enumerate(sizes.items())})


def random_logistic(n: int = 9, l2: float = 0.1) -> tl.Problem:
    rng = np.random.default_rng(7)
    features = rng.standard_normal((n, 5)) * [1, 2, 3, 0.5, 1]
    return tl.logistic(features, rng.permutation(n) % 2, columns={"x": [0, 3, 4], "y": [2, 1]}, l2=l2)


def residual_sq(params: Params, example: tuple[Params, Array]) -> Array:
    row, target = example
    return (row["x"] @ params["x"] + row["y"] @ params["y"] - target) ** 2 / 2


def least_squares() -> tl.Problem:
    """A loss of one's own: unit rows, so that aa' <= I, and targets without noise."""
    rows = np.random.default_rng(3).standard_normal((6, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    hidden = np.arange(1.0, 6.0)
    examples = ({"x": rows[:, :3], "y": rows[:, 3:]}, rows @ hidden)
    known = tl.Constants(smoothness={"x": 1.0, "y": 1.0}, optimal_value=0.0)
    optimum = {"x": jnp.asarray(hidden[:3]), "y": jnp.asarray(hidden[3:])}
    start = {"x": jnp.zeros(3), "y": jnp.zeros(2)}
    return tl.finite_sum(residual_sq, examples, start, constants=known, optimum=optimum)


def quadratic(exact: str = "strong_convexity", sizes: dict[str, int] = SIZES, **options: object) -> ProblemCase:
    return ProblemCase(lambda: tl.block_quadratic(sizes, **options), anywhere, frozenset(exact.split()))


COUPLED = {"smoothness": {"x": 4.0, "y": 0.5}, "spectrum": {"x": ("power", 1.0), "y": [1.0, 0.3]}, "coupling": 0.6}

PROBLEMS = {
    "quadratic, flat": quadratic("strong_convexity dispersion", n=6, dispersion={"x": 1.0, "y": 4.0}),
    "quadratic, one block": quadratic("strong_convexity dispersion", {"y": 5}, n=6, dispersion=2.0, rotated=True),
    "quadratic, three blocks": quadratic(sizes={"a": 2, "b": 1, "c": 2}, smoothness={"a": 1.0, "b": 2.0, "c": 5.0}),
    "quadratic, coupled": quadratic("strong_convexity dispersion", n=6, dispersion=1.0, **COUPLED),
    "quadratic, coupled and rotated": quadratic("strong_convexity dispersion", n=6, dispersion=1.0, rotated=True, **COUPLED),
    "quadratic, semidefinite": quadratic("", n=6, spectrum={"x": [2.0, 1.0, 0.0], "y": "flat"}, dispersion=1.0),
    "quadratic, convex components": quadratic(n=6, components="convex", heterogeneity=0.9, dispersion=1.0, **COUPLED),
    "quadratic, commuting components": quadratic(n=6, components="commuting", heterogeneity=3.0, smoothness=2.0),
    "quadratic, indefinite components": quadratic(n=6, components="indefinite", heterogeneity=2.0, **COUPLED),
    "cosine": ProblemCase(lambda: tl.cosine(SIZES, n=6, smoothness={"x": 2.0, "y": 0.5}, spread=0.8), in_phase),
    "cosine, interpolating": ProblemCase(lambda: tl.cosine(SIZES, n=6, spread=0.0), in_phase, frozenset({"dispersion"})),
    "geman_mcclure": ProblemCase(lambda: tl.geman_mcclure(SIZES, n=12, smoothness={"x": 2.0, "y": 1.0}), fitted),
    "logistic": ProblemCase(random_logistic, lambda problem: problem.init(jax.random.key(0))),
    "finite_sum": ProblemCase(least_squares, anywhere),
    "cosh and exponential, coupled": ProblemCase(
        lambda: tl.separable(SIZES, {"x": tl.cosh(), "y": tl.exponential(2.0, 0.5)}, n=6, coupling=0.5, dispersion=1.0),
        exact=frozenset({"dispersion"}),
    ),
    "matrix factorisation": ProblemCase(lambda: tl.matrix_factorisation(3, 2, 2, n=6, dispersion=1.0)),
    "matrix factorisation, decay": ProblemCase(
        lambda: tl.matrix_factorisation(2, 3, 1, decay=0.3), exact=frozenset({"dispersion"})
    ),
    "one-sided": ProblemCase(
        lambda: hard.one_sided(SIZES, n=6, slope={"x": 0.5, "y": 2.0}, smoothness={"x": 2.0, "y": 0.5}),
        lambda problem: problem.optimum,
        frozenset({"dispersion"}),
    ),
    "minimax": ProblemCase(
        lambda: hard.minimax("y", n=6, slope=0.5, curvature=0.1, smoothness=2.0, copies=2),
        lambda problem: problem.optimum,
        frozenset({"dispersion"}),
    ),
    "two types": ProblemCase(lambda: hard.two_type(SIZES, n=6), anywhere, frozenset({"strong_convexity"})),
    "power": ProblemCase(lambda: tl.separable(SIZES, tl.power(4.0), n=6, dispersion=0.5), exact=frozenset({"dispersion"})),
}


def hybrid(**members: tl.Oracle) -> tl.Hybrid:
    return tl.Hybrid(members)


ORACLES = {
    "first order": tl.FirstOrder(),
    "gaussian": tl.TwoPoint(1e-3),
    "gaussian, 3 directions": tl.TwoPoint(1e-3, directions=3),
    "rademacher": tl.TwoPoint(0.5, law="rademacher"),
    "sphere": tl.TwoPoint(0.5, law="sphere"),
    "sphere, two-sided, 2 directions": tl.TwoPoint(1e-3, directions=2, law="sphere", sided=2),
    "gaussian by rows, 2 directions": tl.TwoPoint(1e-3, directions=2, stream="rows"),
    "sphere by rows": tl.TwoPoint(0.5, law="sphere", stream="rows"),
    "hybrid": hybrid(x=tl.TwoPoint(1e-3), y=tl.FirstOrder()),
    "hybrid, first order in both": hybrid(x=tl.FirstOrder(), y=tl.FirstOrder()),
    "hybrid, one- and two-sided": hybrid(x=tl.TwoPoint(1e-3, 2), y=tl.TwoPoint(1e-3, law="sphere", sided=2)),
    "hybrid, two-sided in both": hybrid(x=tl.TwoPoint(1e-3, sided=2), y=tl.TwoPoint(1e-3, law="rademacher", sided=2)),
    "hybrid, two-sided and first order": hybrid(x=tl.TwoPoint(1e-3, 3, sided=2), y=tl.FirstOrder()),
}


@dataclass(frozen=True)
class OrderingCase:
    """An ordering, whether an epoch is a permutation, and whether it is the same in every epoch and for every key."""

    ordering: Ordering
    permutes: bool
    same_epochs: bool = False
    same_keys: bool = False


ORDERINGS = {
    "random_reshuffling": OrderingCase(tl.random_reshuffling, permutes=True),
    "shuffle_once": OrderingCase(tl.shuffle_once, permutes=True, same_epochs=True),
    "incremental": OrderingCase(tl.incremental, permutes=True, same_epochs=True, same_keys=True),
    "with_replacement": OrderingCase(tl.with_replacement, permutes=False),
}
