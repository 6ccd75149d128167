"""Particles that are drawn anew: exact growth recovered where sample means would lie."""

import jax
import numpy as np
import pytest

import theory_lab as tl
from theory_lab.measure import mean, particles
from theory_lab.theory import quadratic

RATIOS = (0.9, 1.0, 1.1)


@pytest.fixture(scope="module")
def measured():
    """A spectrum of effective rank 6.7, as real data have it, and beside it 4 dimensions that are seen by gradients."""
    problem = tl.block_quadratic({"x": 16, "y": 4}, spectrum=("power", 0.5))
    limit = quadratic.step_size_limit(np.arange(1.0, 17) ** -0.5)
    steps = {"x": limit * np.array(RATIOS), "y": np.full(3, 1.0)}
    oracle = tl.Hybrid({"x": tl.TwoPoint(1e-5, sided=2), "y": tl.FirstOrder()})
    keys = jax.random.split(jax.random.key(0), 32)
    return problem, steps, particles.growths(problem, oracle, steps, keys, distance=1e-5, particles=64, steps=64)


def test_growth_is_that_of_the_exact_operator(measured):
    problem, steps, found = measured
    for i in range(len(RATIOS)):
        exact = np.log(quadratic.growth_factor(problem.dense_hessian(), 16, (steps["x"][i], steps["y"][i])))
        interval = mean("growth", found[:, i], confidence=0.999)
        slack = 0.1 * abs(exact) + 0.002  # the rarest growth is missed
        assert interval.low - slack < exact < interval.high + slack


def test_the_limit_is_where_it_crosses(measured):
    _, steps, found = measured
    limit = particles.limit("limit", steps["x"], found, confidence=0.999)
    assert limit.samples == 32
    assert limit.high - limit.low < 0.1 * steps["x"][1]
    assert limit.low < 1.03 * steps["x"][1]
    assert limit.high > steps["x"][1]


def test_the_limit_is_nan_where_nothing_crosses():
    assert not np.isfinite(particles.limit("limit", [1.0, 2.0], -np.ones((4, 2))).value)


def test_what_cannot_be_measured_is_refused():
    problem, key = tl.block_quadratic({"x": 2}), jax.random.split(jax.random.key(0), 2)
    oracle, few = tl.TwoPoint(1e-3), {"distance": 1e-5, "particles": 4, "steps": 8}
    with pytest.raises(ValueError, match="step_sizes must"):
        particles.growths(problem, oracle, {"y": [1.0]}, key, **few)
    with pytest.raises(ValueError, match="steps must"):
        particles.growths(problem, oracle, {"x": [1.0]}, key, **{**few, "steps": 3})
    with pytest.raises(ValueError, match="distance must be positive"):
        particles.growths(problem, oracle, {"x": [1.0]}, key, **{**few, "distance": 0.0})
