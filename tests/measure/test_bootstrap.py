"""What every interval over seeds is made of."""

import jax
import numpy as np
import pytest

from theory_lab.measure import _bootstrap


@pytest.mark.parametrize("size", [5, 255, 256])
@pytest.mark.parametrize("seed", [None, 1])
def test_draws_that_are_kept_are_those_that_are_not(size, seed, monkeypatch) -> None:
    """In one byte a seed or in two; of several chunks, and whatever was drawn before."""
    values = np.random.default_rng(0).exponential(size=(size, 3))
    values[0, 0] = np.inf
    monkeypatch.setattr(_bootstrap, "CHUNK", 2**12)
    key = None if seed is None else jax.random.key(seed)
    kept = [_bootstrap.resampled_means(values, resamples=200, paired=True, key=key) for _ in range(2)]
    monkeypatch.setattr(_bootstrap, "KEPT", 0)
    anew = _bootstrap.resampled_means(values, resamples=200, paired=True, key=key)
    for found in kept:
        np.testing.assert_array_equal(found, anew)


def test_columns_that_are_not_paired_are_drawn_apart() -> None:
    values = np.repeat(np.arange(8.0)[:, None], 2, axis=1)
    paired, apart = (_bootstrap.resampled_means(values, resamples=100, paired=both, key=None) for both in (True, False))
    np.testing.assert_array_equal(paired[:, 0], paired[:, 1])
    np.testing.assert_array_equal(paired[:, 0], apart[:, 0])
    assert (apart[:, 0] != apart[:, 1]).any()


def test_a_statistic_of_some_resamples_at_a_time_is_that_of_all(monkeypatch) -> None:
    values = np.random.default_rng(0).exponential(size=(32, 4))
    values[:3, 1] = np.inf  # in some resamples, and in one column
    monkeypatch.setattr(_bootstrap, "CHUNK", 2**10)
    means = _bootstrap.resampled_means(values, resamples=200, paired=True, key=None)
    assert np.isinf(means[:, 1]).any()
    assert np.isfinite(np.delete(means, 1, axis=1)).all()
    found = _bootstrap.resampled(values, lambda some: some.max(axis=1), resamples=200, key=None)
    np.testing.assert_array_equal(found, means.max(axis=1))


@pytest.mark.parametrize("resamples", [100, 101])
def test_the_least_confidence_leaves_the_median(resamples) -> None:
    """Not its ends the wrong way round."""
    low, high = _bootstrap.interval(np.arange(float(resamples)), 20, 1e-60)
    assert low <= (resamples - 1) / 2 <= high
    assert high - low <= 1
