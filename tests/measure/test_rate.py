"""Rates on fabricated samples: exact laws recovered, intervals that cover as often as they say, notes where they cannot."""

import math

import jax
import numpy as np
import pytest
from scipy import stats

from theory_lab.claims import claim
from theory_lab.measure import rate

X = 2.0 ** np.arange(7)  # 1 ... 64
RNG = np.random.default_rng


def seeds(law, size=32):
    """Seeds that scatter by a tenth around a law, the mean over seeds being exactly the law."""
    return np.linspace(0.9, 1.1, size)[:, None] * law


def covered(hits, confidence, repeats):
    """The observed coverage less the nominal one, in standard errors."""
    return (np.mean(hits) - confidence) / math.sqrt(confidence * (1 - confidence) / repeats)


@pytest.mark.parametrize("exponent", [-0.5, -2.0, 0.0, 3.0])
def test_a_power_law_has_its_exponent(exponent):
    slope = rate.loglog_slope(X, seeds(7.0 * X**exponent))
    assert slope.value == pytest.approx(exponent, abs=1e-12)
    assert slope.low < exponent < slope.high
    assert (slope.samples, slope.note) == (32, "")


@pytest.mark.parametrize("law", ["averaged metric", "last iterate in one dimension"])
def test_the_slope_interval_covers_as_often_as_it_says(law):
    """At S = 32; an averaged metric is close to chi-square with 100 degrees of freedom, |x|^2 in d = 1 has one."""
    freedom = 100 if law == "averaged metric" else 1
    rng, repeats = RNG(freedom), 300
    hits, widths = [], []
    for repeat in range(repeats):
        samples = rng.chisquare(freedom, (32, X.size)) / freedom * X**-0.5
        slope = rate.loglog_slope(X, samples, confidence=0.95, resamples=1000, key=jax.random.key(repeat))
        hits.append(slope.low <= -0.5 <= slope.high)
        widths.append(slope.high - slope.low)
    assert abs(covered(hits, 0.95, repeats)) < 4
    deviation = math.sqrt(2 / freedom / 32 / np.sum((np.log(X) - np.log(X).mean()) ** 2))  # of the fitted slope
    assert np.mean(widths) == pytest.approx(2 * 2.04 * deviation, rel=0.1)


def test_paired_seeds_are_redrawn_together():
    """What moves all points of a seed alike moves no slope; the unpaired bootstrap cannot know that."""
    samples = RNG(0).exponential(size=(32, 1)) * X**-0.5
    paired, unpaired = rate.loglog_slope(X, samples, paired=True), rate.loglog_slope(X, samples)
    assert paired.high - paired.low < 1e-12
    assert unpaired.high - unpaired.low > 0.1


@pytest.mark.parametrize("share, bent", [(0.08, -0.484), (0.24, -0.457), (0.80, -0.383)])
def test_a_floor_bends_the_slope_and_is_taken_out(share, bent):
    floor = share * X[-1] ** -0.5
    samples = seeds(X**-0.5) + floor
    assert rate.loglog_slope(X, samples).value == pytest.approx(bent, abs=5e-4)
    assert rate.loglog_slope(X, samples, floor=floor).value == pytest.approx(-0.5, abs=1e-12)


def test_points_near_the_floor_are_cut():
    samples = seeds(X**-0.5) + 0.1  # five floors are reached up to x = 4
    cut = rate.loglog_slope(X, samples, floor=0.1, floor_rule="cut")
    short = rate.loglog_slope(X[:3], samples[:, :3])
    assert (cut.value, cut.low, cut.high) == pytest.approx((short.value, short.low, short.high), rel=1e-12)
    assert -0.5 < cut.value < rate.loglog_slope(X, samples).value
    assert "only 3 points" in cut.note


@pytest.mark.parametrize(
    "call, note",
    [
        (lambda: rate.loglog_slope(X, seeds(X) * np.where(X > 32, np.inf, 1)), "32 of 224 samples are not finite"),
        (lambda: rate.loglog_slope(X, seeds(X), floor=2.0), "does not stand clear of the floor"),
        (lambda: rate.loglog_slope(X, -seeds(X)), "a mean is not positive"),
        (lambda: rate.loglog_slope(X, seeds(X), floor=10.0, floor_rule="cut"), "fewer than three points"),
    ],
)
def test_no_slope_where_there_is_none(call, note):
    measured = call()
    assert math.isnan(measured.value)
    assert note in measured.note
    assert claim("c", "s", "at most", -0.5).check(measured).outcome == "undecided"


def test_a_short_grid_and_few_seeds_are_noted():
    note = rate.loglog_slope(X[:3], seeds(X[:3], size=8)).note
    assert "only 3 points over 0.6 decades" in note
    assert "fewer than 32 seeds" in note


def test_the_bootstrap_is_a_function_of_its_key():
    samples = RNG(0).exponential(size=(32, X.size))
    same = [rate.loglog_slope(X, samples, key=jax.random.key(k)) for k in (1, 1, 2)]
    assert same[0] == same[1]
    assert same[0] != same[2]


def test_the_largest_ratio_is_covered_together():
    """Eight equal ratios are the worst case for the lower end, a single large one for the upper."""
    rng, repeats = RNG(3), 600
    for truth in (np.ones(8), np.r_[1.0, np.full(7, 0.1)]):
        too_low, too_high = [], []
        for _ in range(repeats):
            measured = rate.ratio(rng.chisquare(100, (32, 8)) / 100 * truth, np.ones(8), confidence=0.9)
            too_low.append(measured.low > 1.0)
            too_high.append(measured.high < 1.0)
        assert covered(too_low, 0.05, repeats) < 4
        assert covered(too_high, 0.05, repeats) < 4
    assert covered(too_high, 0.05, repeats) > -4  # and no wider than needed where one ratio alone matters


@pytest.mark.parametrize("reached, outcome", [(0.5, "holds"), (0.99, "undecided"), (1.5, "fails")])
def test_a_bound_that_is_broken_anywhere_fails(reached, outcome):
    bounds = 3.0 * X**-0.5
    share = np.full(X.size, 0.2)
    share[4] = reached
    measured = rate.ratio(seeds(bounds * share), bounds)
    assert measured.value == pytest.approx(reached, rel=1e-12)
    assert "grid point 4" in measured.note
    assert claim("never crossed", "Theorem 1", "at most", 1.0).check(measured).outcome == outcome


def test_a_floor_is_averaged_over_time_and_covered_over_seeds():
    """Autoregressive rows: the time average has 1/(1 - a) times the error of independent rows, and the interval knows."""
    rng, repeats, hits = RNG(5), 400, []
    for _ in range(repeats):
        rows = np.zeros((32, 60))
        shocks = rng.standard_normal((32, 60))
        for t in range(1, 60):
            rows[:, t] = 0.9 * rows[:, t - 1] + shocks[:, t]
        measured = rate.floor(2.0 + rows, burn_in=20, confidence=0.95)
        hits.append(measured.low <= 2.0 <= measured.high)
    assert abs(covered(hits, 0.95, repeats)) < 4


def test_a_floor_that_still_moves_says_so():
    rows = RNG(0).standard_normal((64, 40)) + np.linspace(4.0, 0.0, 40)
    assert "still moving: the second half differs from the first by -2" in rate.floor(rows).note
    assert rate.floor(RNG(0).standard_normal((64, 40))).note == ""
    assert rate.floor(rows[:8]).note.startswith("fewer than 32 seeds: the interval may be too narrow; still moving: ")
    outlier = np.where(np.arange(64)[:, None] == 0, 1e3, RNG(0).standard_normal((64, 40)))
    assert "heavy tail" in rate.floor(outlier).note
    assert rate.floor(np.where(np.arange(40) < 30, np.inf, rows), burn_in=5).note == "64 of 64 samples are not finite"


@pytest.mark.parametrize("delta, seeds_needed", [(0.2, 14), (0.1, 29), (0.05, 59), (0.01, 299)])
def test_seeds_without_a_failure_that_certify_a_probability(delta, seeds_needed):
    upper = lambda trials: rate.proportion(0, trials, confidence=0.9).high  # one-sided 95%
    assert upper(seeds_needed) <= delta < upper(seeds_needed - 1)


@pytest.mark.parametrize("successes, trials", [(0, 5), (3, 20), (20, 20), (77, 200)])
def test_the_proportion_is_clopper_pearson(successes, trials):
    measured = rate.proportion(successes, trials, confidence=0.95)
    interval = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    assert (measured.low, measured.high) == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert measured.value == successes / trials


@pytest.mark.parametrize("level, low, high", [(0.9, 881, 919), (0.95, 936, 964), (0.99, 983, 997)])
def test_quantiles_lie_between_order_statistics(level, low, high):
    measured = rate.quantile(RNG(0).permutation(np.arange(1.0, 1001.0)), level, confidence=0.95)
    assert (measured.low, measured.value, measured.high) == (low, 1000 * level, high)
    covers = stats.binom(1000, level).cdf(high - 1) - stats.binom(1000, level).cdf(low - 1)
    assert covers >= 0.95


def test_diverged_runs_are_the_largest_samples():
    measured = rate.quantile(np.r_[np.arange(95.0), np.full(5, np.inf)], 0.5)
    assert math.isfinite(measured.high)
    assert rate.quantile(np.r_[np.arange(5.0), np.full(95, np.inf)], 0.5).value == math.inf
    few = rate.quantile(np.arange(10.0), 0.99)
    assert (few.high, few.note) == (math.inf, "10 samples are too few to bound the 0.99 quantile")


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: rate.loglog_slope([1.0, 2.0], seeds(X[:2])), "x must be at least three grid points"),
        (lambda: rate.loglog_slope([1.0, 2.0, 2.0], seeds(X[:3])), "x must be positive and distinct"),
        (lambda: rate.loglog_slope([0.0, 1.0, 2.0], seeds(X[:3])), "x must be positive and distinct"),
        (lambda: rate.loglog_slope(X, seeds(X[:3])), r"samples must be of shape \(seeds, 7\)"),
        (lambda: rate.loglog_slope(X, X), "samples must be a two-dimensional array of real numbers, at least two seeds"),
        (lambda: rate.loglog_slope(X, "abc"), "samples must be a two-dimensional array"),
        (lambda: rate.loglog_slope(X, seeds(X), floor=-1.0), "floor must be nonnegative and finite, got -1.0"),
        (
            lambda: rate.loglog_slope(X, seeds(X), floor_rule="cutt"),
            r"floor_rule must be one of .* \(did you mean 'cut'\?\)",
        ),
        (lambda: rate.loglog_slope(X, seeds(X), confidence=0.0), r"confidence must be in \(0, 1\), got 0.0"),
        (lambda: rate.loglog_slope(X, seeds(X), resamples=10), "resamples must be a whole number of at least 100"),
        (lambda: rate.loglog_slope(X, seeds(X), key=3), "key must be a typed PRNG key"),
        (lambda: rate.ratio(seeds(X), X[:3]), r"samples must be of shape \(seeds, 3\)"),
        (lambda: rate.ratio(seeds(X), -X), "bounds must be positive"),
        (lambda: rate.floor(seeds(X), burn_in=7), "burn_in must be smaller than the number of rows, 7, got 7"),
        (lambda: rate.proportion(3, 2), "successes must be at most the number of trials, 2, got 3"),
        (lambda: rate.proportion(0, 0), "trials must be a whole number of at least 1, got 0"),
        (lambda: rate.quantile([1.0, math.nan], 0.5), "samples must be a non-empty one-dimensional array without nan"),
        (lambda: rate.quantile("abc", 0.5), "samples must be a non-empty one-dimensional array without nan, got 'abc'"),
        (lambda: rate.quantile(1.0, 0.5), "samples must be a non-empty one-dimensional array without nan, got 1.0"),
        (lambda: rate.quantile([1.0], 1.0), r"level must be in \(0, 1\), got 1.0"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
