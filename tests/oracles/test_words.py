"""Words by counter: Threefry as JAX computes it, either way, and the normals and signs that rows are made of."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from scipy import stats

from theory_lab.oracles import directions, words
from theory_lab.oracles.gaussian import polar

RARE = 1e-6
COUNT = 2**20


def test_blocks_are_those_of_jax():
    keys = jax.random.split(jax.random.key(5), 3)
    first, second = words.blocks(keys, 7)
    plain = words.threefry((jax.random.key_data(keys)[:, :1], jax.random.key_data(keys)[:, 1:]),
                           (jnp.zeros(7, jnp.uint32), jnp.arange(7, dtype=jnp.uint32)))  # fmt: skip
    for row, key in enumerate(keys):
        counters = jnp.concatenate([jnp.zeros(7, jnp.uint32), jnp.arange(7, dtype=jnp.uint32)])
        expected = threefry_2x32(jax.random.key_data(key), counters).reshape(2, 7)
        np.testing.assert_array_equal(jnp.stack([first[row], second[row]]), expected)
        np.testing.assert_array_equal(jnp.stack([plain[0][row], plain[1][row]]), expected)


def test_a_row_has_the_key_that_jax_folds_in():
    key, index = jax.random.key(2), 11
    data = jax.random.key_data(key)
    folded = words.threefry((data[0], data[1]), (jnp.uint32(0), jnp.uint32(index)))
    np.testing.assert_array_equal(jnp.stack(folded), jax.random.key_data(jax.random.fold_in(key, index)))


def test_other_generators_have_keys_too():
    keys = jax.random.split(jax.random.key(0, impl="rbg"), 2)
    first, second = words.blocks(keys, 64)
    assert len(set(np.asarray(first).ravel().tolist()) | set(np.asarray(second).ravel().tolist())) == 256


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    made = jax.jit(lambda key: directions.rows(key, jnp.arange(256), COUNT // 256, "gaussian", jnp.dtype("float32")))
    return np.asarray(made(jax.random.key(6)), np.float64)


def test_rows_are_normal_to_their_tails(sample):
    flat = sample.ravel()
    assert stats.kstest(flat, "norm").pvalue > RARE
    for moment, expected, variance in ((2, 1, 2), (4, 3, 96), (6, 15, 10170)):
        assert abs((np.mean(flat**moment) - expected) / math.sqrt(variance / COUNT)) < stats.norm.isf(RARE), moment
    for edge in (2.0, 3.0, 4.0):
        assert stats.binomtest(int(np.sum(np.abs(flat) > edge)), COUNT, 2 * stats.norm.sf(edge)).pvalue > RARE, edge


def test_the_halves_of_a_row_are_independent(sample):
    x, y = (half.ravel() for half in np.split(sample, 2, axis=1))
    for f in (lambda a: a, np.square, np.abs, lambda a: a**3):
        assert stats.pearsonr(f(x), f(y)).pvalue > RARE
    assert stats.pearsonr(sample[:-1].ravel(), sample[1:].ravel()).pvalue > RARE
    assert stats.kstest(np.arctan2(y, x) / (2 * np.pi) % 1, "uniform").pvalue > RARE


def test_polar_in_float32_is_the_transform_in_float64():
    rng = np.random.default_rng(0)
    ends = np.array([0, 1, 2**32 - 1, 2**31], np.uint64)
    radius, angle = (np.concatenate([rng.integers(0, 2**32, 4000, np.uint64), ends]) for _ in range(2))
    x, y = polar(jnp.asarray(radius, jnp.uint32), jnp.asarray(angle, jnp.uint32))
    size = np.sqrt(-2 * np.log((radius + 0.5) / 2**32))
    theta = (angle + 0.5) * (np.pi / 2**31) - np.pi / 4
    allowed = 8 * np.finfo(np.float32).eps * (1 + size + 1 / np.maximum(size, 1e-3))  # u is rounded before its logarithm
    assert (np.abs(np.asarray(x) - size * np.cos(theta)) <= allowed).all()
    assert (np.abs(np.asarray(y) - size * np.sin(theta)) <= allowed).all()


@pytest.mark.parametrize("width", [1, 5, 64, 70, 256])
def test_signs_are_fair_in_every_column(width):
    rows = 2**14
    v = np.asarray(directions.rows(jax.random.key(1), jnp.arange(rows), width, "rademacher", jnp.dtype("float32")))
    assert v.shape == (rows, width)
    assert set(np.unique(v)) == {-1.0, 1.0}
    assert np.abs(v.sum(axis=0)).max() / math.sqrt(rows) < stats.norm.isf(RARE / width)
    if width > 1:
        products = (v.T @ v)[np.triu_indices(width, 1)] / math.sqrt(rows)
        assert np.abs(products).max() < stats.norm.isf(RARE / len(products))
