"""The normals that directions are made of: the transform to the last bits, and the law by its sample."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from theory_lab.oracles.gaussian import circle, normal

RARE = 1e-6
COUNT = 2**20


def test_cosine_and_sine_of_every_quadrant():
    """Against NumPy at random angles and at the ends of the quadrants, where the polynomials are stretched most."""
    rng = np.random.default_rng(0)
    ends = np.arange(5) * 2**30
    k = np.unique(np.clip(np.concatenate([rng.integers(0, 2**32, 4000), ends, ends - 1, ends + 1]), 0, 2**32 - 1))
    cos, sin = circle(jnp.asarray(k, jnp.uint64))
    theta = (k + 0.5) * (np.pi / 2**31) - np.pi / 4
    np.testing.assert_allclose(cos, np.cos(theta), rtol=0, atol=4 * np.finfo(float).eps)
    np.testing.assert_allclose(sin, np.sin(theta), rtol=0, atol=4 * np.finfo(float).eps)
    np.testing.assert_allclose(np.asarray(cos) ** 2 + np.asarray(sin) ** 2, 1, rtol=4 * np.finfo(float).eps)


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    return np.asarray(jax.jit(lambda key: normal(key, COUNT, jnp.dtype("float64")))(jax.random.key(6)))


def test_the_sample_is_normal_to_its_tails(sample):
    assert stats.kstest(sample, "norm").pvalue > RARE
    for moment, expected, variance in ((2, 1, 2), (4, 3, 96), (6, 15, 10170)):  # variance of x^2k: (4k-1)!! - ((2k-1)!!)^2
        score = (np.mean(sample**moment) - expected) / math.sqrt(variance / COUNT)
        assert abs(score) < stats.norm.isf(RARE), moment
    for edge in (2.0, 3.0, 4.0):
        beyond = int(np.sum(np.abs(sample) > edge))
        probability = 2 * stats.norm.sf(edge)
        assert stats.binomtest(beyond, COUNT, probability).pvalue > RARE, edge
    assert np.abs(sample).max() < 8.6  # 53 bits reach sqrt(2 log 2^53)


def test_the_two_halves_that_share_their_radii_are_independent(sample):
    x, y = sample[: COUNT // 2], sample[COUNT // 2 :]
    for f in (lambda a: a, np.square, np.abs, lambda a: a**3, lambda a: (np.abs(a) > 1.5).astype(float)):
        assert stats.pearsonr(f(x), f(y)).pvalue > RARE
    assert stats.pearsonr(x, np.square(y)).pvalue > RARE
    assert stats.kstest((x + y) / math.sqrt(2), "norm").pvalue > RARE
    assert stats.kstest((x - y) / math.sqrt(2), "norm").pvalue > RARE
    assert stats.kstest(np.arctan2(y, x) / (2 * np.pi) % 1, "uniform").pvalue > RARE


def test_neighbours_are_uncorrelated(sample):
    for lag in (1, 2, 3, 64):
        assert stats.pearsonr(sample[:-lag], sample[lag:]).pvalue > RARE
        assert stats.pearsonr(np.square(sample[:-lag]), np.square(sample[lag:])).pvalue > RARE


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_any_count_and_precision(count, dtype):
    made = normal(jax.random.key(0), count, jnp.dtype(dtype))
    assert (made.shape, made.dtype) == ((count,), jnp.dtype(dtype))
    assert len(set(made.tolist())) == count


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("count", [1, 7, 1000])
def test_in_float32_they_are_those_of_jax(count, impl):
    keys = jax.random.split(jax.random.key(3, impl=impl), 2)
    expected = jax.vmap(lambda key: jax.random.normal(key, (count,), jnp.float32))(keys)
    made = jax.vmap(lambda key: normal(key, count, jnp.dtype("float32")))(keys)
    np.testing.assert_array_equal(made, expected)
