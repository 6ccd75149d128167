"""The slope of quantiles: known tails recovered, and an interval that covers as often as the brute-force bootstrap's."""

import math

import jax
import numpy as np
import pytest
from scipy import stats

from theory_lab.measure.tail import quantile_slope

DELTAS = [0.1, 0.05, 0.02, 0.01]
RNG = np.random.default_rng


@pytest.mark.parametrize("law", [stats.pareto(2.0), stats.expon(), stats.lognorm(0.3)])
def test_the_slope_is_that_of_the_quantile_function(law):
    levels = (np.arange(200_000) + 0.5) / 200_000
    expected = np.polyfit(-np.log(DELTAS), np.log(law.isf(DELTAS)), 1)[0]
    assert quantile_slope(law.ppf(levels), DELTAS).value == pytest.approx(expected, abs=1e-3)


def test_the_interval_covers_as_often_as_it_says():
    rng, hits = RNG(0), []
    for repeat in range(400):
        slope = quantile_slope(rng.uniform(size=2000) ** -0.5, DELTAS, confidence=0.95, resamples=1000,
                               key=jax.random.key(repeat))  # fmt: skip
        hits.append(slope.low <= 0.5 <= slope.high)
    assert np.mean(hits) > 0.95 - 4 * math.sqrt(0.95 * 0.05 / 400)


def test_the_interval_is_that_of_samples_drawn_again():
    rng = RNG(1)
    samples = rng.lognormal(size=1000)
    quick = quantile_slope(samples, DELTAS, confidence=0.9, resamples=20_000)
    ranks = np.ceil((1 - np.array(DELTAS)) * 1000 - 1e-9).astype(int) - 1
    drawn = np.sort(rng.choice(samples, (4000, 1000)), axis=1)[:, ranks]
    slopes = np.polyfit(-np.log(DELTAS), np.log(drawn).T, 1)[0]
    assert (quick.low, quick.high) == pytest.approx(np.quantile(slopes, [0.05, 0.95]), abs=0.02)


def test_diverged_runs_and_few_samples_are_noted():
    samples = np.concatenate([np.arange(1.0, 100.0), [np.inf]])
    assert math.isnan(quantile_slope(np.full(100, np.inf), [0.2, 0.1]).value)
    assert quantile_slope(samples, [0.2, 0.1]).note == ""
    assert quantile_slope(samples, [0.2, 0.05]).note == "only 5 samples beyond the 0.95 quantile"


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: quantile_slope([1.0, 0.0], [0.2, 0.1]), "samples must be a one-dimensional array of at least two positive"),
        (lambda: quantile_slope([1.0, math.nan], [0.2, 0.1]), "samples must be a one-dimensional array"),
        (lambda: quantile_slope([1.0, 2.0], [0.1, 0.2]), "exceedances must be at least two decreasing numbers within"),
        (lambda: quantile_slope([1.0, 2.0], [0.1]), "exceedances must be at least two decreasing"),
        (lambda: quantile_slope([1.0, 2.0], [0.2, 0.1], confidence=1.0), r"confidence must be in \(0, 1\)"),
        (lambda: quantile_slope([1.0, 2.0], [0.2, 0.1], resamples=5), "resamples must be a whole number of at least 100"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
