"""Constants at points: what is declared is not refuted, what is declared wrongly is."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory_lab as tl
from theory_lab.measure.constants import constants_at

KEY = jax.random.key(0)


@cache
def cosine():
    return tl.cosine({"x": 4, "y": 2}, n=5, smoothness={"x": 3.0, "y": 0.5})


@cache
def indefinite():
    return tl.block_quadratic(
        {"x": 4, "y": 2}, n=5, smoothness={"x": 3.0, "y": 0.5}, coupling=0.5, heterogeneity=2.0, components="indefinite"
    )


def points(make):
    return [make().init(jax.random.key(10 + i)) for i in range(2)]


@cache
def seen_at_points(make):
    return constants_at(make(), points(make), key=KEY)


@pytest.mark.parametrize("make", [cosine, indefinite])
def test_declared_constants_are_not_refuted(make):
    assert make().constants.dominates(seen_at_points(make), rtol=1e-9)


@pytest.mark.parametrize("name, share", [("smoothness", 0.9), ("dispersion", 0.1)])
def test_constants_that_are_declared_too_small_are_refuted(name, share):
    small = {label: share * value for label, value in getattr(cosine().constants, name).items()}
    assert not tl.Constants(**{name: small}).dominates(seen_at_points(cosine))


def test_quadratics_show_their_constants_exactly():
    problem, seen = indefinite(), seen_at_points(indefinite)
    assert seen.smoothness == pytest.approx(problem.constants.smoothness, rel=1e-9)
    assert seen.strong_convexity == pytest.approx(np.linalg.eigvalsh(problem.dense_hessian())[0], rel=1e-9)


def test_dispersion_value_and_pl_are_those_of_the_points():
    problem, seen = cosine(), seen_at_points(cosine)
    each = jax.jit(jax.vmap(jax.value_and_grad(problem.component), in_axes=(None, 0)))
    looks = [each(point, jnp.arange(problem.n)) for point in points(cosine)]
    for label in ("x", "y"):
        spread = [float(np.var(gradients[label], axis=0).sum()) for _, gradients in looks]
        assert seen.dispersion[label] == pytest.approx(max(spread), rel=1e-12)
    values = [float(np.mean(component)) for component, _ in looks]
    norms = [sum(float(np.sum(np.mean(g, axis=0) ** 2)) for g in gradients.values()) for _, gradients in looks]
    gaps = [value - problem.constants.optimal_value for value in values]
    assert seen.optimal_value == pytest.approx(min(values), rel=1e-12)
    assert seen.pl == pytest.approx(min(norm / (2 * gap) for norm, gap in zip(norms, gaps, strict=True)), rel=1e-12)


def test_what_cannot_be_measured_is_unknown():
    seen = constants_at(indefinite(), [indefinite().optimum], key=KEY)  # where f - f* = 0
    assert seen.pl is None
    assert seen.trace is None
    assert seen.growth is None


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: constants_at(3, [], key=KEY), "problem must be a Problem, got 3"),
        (lambda: constants_at(cosine(), [], key=KEY), "points must be a non-empty sequence of parameters"),
        (lambda: constants_at(cosine(), [{"x": jnp.zeros(4)}], key=KEY), "params must have the labels of the problem"),
        (lambda: constants_at(cosine(), points(cosine), key=1), "key must be a typed PRNG key"),
        (lambda: constants_at(cosine(), points(cosine), key=KEY, components=0), "components must be a whole number"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
