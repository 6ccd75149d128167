"""Envelopes: against linear programming, and what they promise of pairs they have not seen."""

import time

import jax
import numpy as np
import pytest
from scipy import optimize, stats

from theory_lab.measure.smoothness import _tightest, envelope, inflated, isotonic, tightest

U = np.geomspace(0.1, 10, 20)


def programmes(u, y, powers):
    return [each[0] for each in _tightest.programmes(_tightest._Pairs.of([(u, y)]), powers[None])]


def noisy(seed: int, size: int, power: float = 1.3):
    rng = np.random.default_rng(seed)
    u = np.exp(rng.uniform(-2, 4, size))
    return u, (1 + 2 * u**power) * rng.uniform(0.5, 1, size)


@pytest.mark.parametrize("seed", range(30))
def test_the_programmes_are_those_of_a_general_solver(seed):
    rng = np.random.default_rng(seed)
    u, y = rng.exponential(size=12), rng.exponential(size=12) + 0.1
    powers = np.append(rng.uniform(0.05, 3, 4), 0.0)
    heights, offsets, factors = programmes(u, y, powers)
    for i, p in enumerate(powers):
        x = u**p
        solved = optimize.linprog([np.sum(1 / y), np.sum(x / y)], A_ub=-np.stack([np.ones(12), x], axis=1), b_ub=-y)
        assert heights[i] * np.sum(1 / y) == pytest.approx(solved.fun, rel=1e-7)
        assert offsets[i] * np.sum(1 / y) + factors[i] * np.sum(x / y) == pytest.approx(solved.fun, rel=1e-7)
        assert np.all(offsets[i] + factors[i] * x >= y * (1 - 1e-9))


@pytest.mark.parametrize("seed", range(10))
def test_no_power_of_a_fine_grid_is_tighter(seed):
    u, y = noisy(seed, 40)
    ((offset, factor, power),) = _tightest.fit([(u, y)])
    excess = np.sum((offset + factor * u**power) / y)
    heights, _, _ = programmes(u, y, np.linspace(0, 4, 4001))
    assert excess <= heights.min() * np.sum(1 / y) * (1 + 1e-5)


def test_samples_of_any_sizes_are_fitted_together_as_they_are_alone():
    samples = [noisy(seed, size) for seed, size in enumerate([40, 3, 12, 1, 60] * 8)]  # more than are held at a time
    samples += [(np.zeros(8), np.arange(1.0, 9.0)), (U, 1e-3 * U**2)]
    alone = [_tightest.fit([one])[0] for one in samples]
    np.testing.assert_allclose(_tightest.fit(samples), alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("offset", "factor", "power"), [(2.0, 3.0, 1.5), (0.0, 1.0, 0.5), (5.0, 1e-3, 3.0)])
def test_an_exact_law_over_eight_decades_is_found(offset, factor, power):
    u = np.geomspace(1e-4, 1e4, 60)
    found = envelope(u, offset + factor * u**power)
    assert found.power.value == pytest.approx(power, abs=_tightest.RESOLUTION)
    assert found.power.low <= power <= found.power.high
    np.testing.assert_allclose(found(u), offset + factor * u**power, rtol=1e-2)
    assert np.all(found(u) >= (offset + factor * u**power) * (1 - 1e-9))


def test_one_gradient_norm_or_none_has_the_flat_envelope():
    for u in (np.zeros(8), np.full(8, 3.0)):
        found = envelope(u, np.arange(1.0, 9.0))
        assert (found.offset, found.factor) == (8.0, 0.0)
        assert found(np.array([0.0, 9.0])).tolist() == [8.0, 8.0]


def test_curvature_that_does_not_rise_has_no_power():
    found = envelope(U, np.full(20, 3.0))
    assert (found.offset, found.factor) == (3.0, 0.0)
    assert np.isnan(found.power.value)
    assert "does not rise" in found.power.note


def test_a_power_beyond_the_largest_has_no_upper_end():
    found = envelope(U, U**6)
    assert found.power.value == 4.0
    assert found.power.high == np.inf
    assert "no power up to 4" in found.power.note


def test_the_interval_covers_the_power_at_its_level():
    """100 intervals at 0.9; that fewer than 82 cover has a chance of 0.5% if each does with 0.9."""
    covered = 0
    for seed in range(100):
        u, y = noisy(seed, 60)
        found = envelope(u, y, key=jax.random.key(seed), confidence=0.9, resamples=30).power
        covered += found.low <= 1.3 <= found.high
    assert covered >= 82


def test_pairs_are_held_out_at_random_or_later():
    """Curvature that rises while gradients fall: neighbours are held, what comes later is not."""
    u = np.geomspace(10, 0.1, 60)
    y = 2 - u / 10
    assert envelope(u, y).coverage.value >= 0.9
    assert envelope(u, y, split="later").coverage.value == 0.0
    assert envelope(u[::-1], y[::-1], split="later").coverage.value == 1.0


def test_the_isotonic_envelope_is_the_least():
    rng = np.random.default_rng(0)
    u, y = rng.exponential(size=50), rng.exponential(size=50)
    steps = isotonic(u, y)
    assert np.all(np.diff(steps.jumps) > 0)
    assert np.all(np.diff(steps.values) > 0)
    np.testing.assert_allclose(steps(u), [y[u <= one].max() for one in u])


def test_looking_ahead_takes_the_value_at_the_next_pair():
    rng = np.random.default_rng(1)
    u, y = np.round(rng.exponential(size=50), 1), rng.exponential(size=50)  # with ties
    least, ahead = isotonic(u, y), isotonic(u, y, ahead=True)
    for at in np.append(rng.uniform(0, u.max(), 200), u):
        assert ahead(at) == least(u[u >= at].min())
    assert ahead(u.max() + 1) == y.max()


@pytest.mark.parametrize("ahead", [False, True])
def test_a_further_pair_lies_above_as_often_as_one_of_all_lies_above_the_others(ahead):
    """Exactly: the average over the pair that is left out is k/(m+1), which the steps tell without leaving any out."""
    rng = np.random.default_rng(2)
    u, y = rng.exponential(size=40), rng.exponential(size=40)
    above = sum(y[i] > isotonic(np.delete(u, i), np.delete(y, i), ahead=ahead)(u[i]) for i in range(40))
    y = y[np.argsort(u)]
    record = np.append(True, y[1:] > np.maximum.accumulate(y)[:-1])
    beyond_next = np.append(y[:-1] > y[1:], True)
    record[0] = beyond_next[0]
    assert above == np.sum(record & beyond_next if ahead else record)


def test_inflated_envelopes_keep_their_promise_exactly():
    """(1 - V)^m is uniform: V of an envelope times the largest of m ratios, here with a known law of the ratio."""
    shape = envelope(U, 1 + U)
    shares = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        u = rng.exponential(size=25)
        made = inflated(shape, u, shape(u) * rng.uniform(0, 1, 25))
        shares.append((made.offset / shape.offset) ** 25)  # the chance of a ratio below the factor, to the m
    assert stats.kstest(shares, "uniform").pvalue > 0.01
    assert made.coverage.value == 25 / 26
    assert made.coverage.low == pytest.approx(0.01 ** (1 / 25))
    assert made.power == shape.power


def test_a_hundred_points_take_less_than_a_second():
    u, y = noisy(0, 100)
    start = time.process_time()
    envelope(u, y, resamples=200)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: envelope([1.0] * 7, [1.0] * 7), "the number of pairs must be"),
        (lambda: envelope([1.0] * 8, [0.0] * 8), "curvatures must be positive"),
        (lambda: envelope([-1.0] * 8, [1.0] * 8), "gradient_norms must be nonnegative"),
        (lambda: envelope([1.0] * 8, [1.0] * 9), "curvatures must be as many"),
        (lambda: envelope(U, U, split="early"), "split must be one of"),
        (lambda: envelope(U, U, confidence=1.0), "confidence must be in"),
        (lambda: envelope(U, U, resamples=-1), "resamples must be a whole number of at least 0"),
        (lambda: tightest(U), "samples must be a sequence of"),
        (lambda: tightest([(U, U, U)]), "samples must be a sequence of"),
        (lambda: tightest([(U, U), (U, -U)]), "curvatures must be positive"),
        (lambda: isotonic([], []), "gradient_norms must be a non-empty"),
        (lambda: inflated(None, U, U), "shape must be an Envelope"),
        (lambda: inflated(envelope(U, U), [0.0], [1.0]), "shape must be positive at every gradient norm"),
        (lambda: inflated(envelope(U, U), U, U, confidence=0.0), "confidence must be in"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_without_resamples_the_power_is_the_same_and_nothing_is_said_of_its_error():
    u = np.geomspace(0.1, 100, 40)
    with_interval, without = (envelope(u, 2 + 3 * u**1.5, resamples=count).power for count in (20, 0))
    assert without.value == with_interval.value
    assert (without.low, without.high) == (-np.inf, np.inf)


def test_envelopes_side_by_side_are_those_of_single_samples():
    samples = [noisy(0, 20), (U, np.ones_like(U)), noisy(1, 30)]
    for found, (u, y) in zip(tightest(samples), samples, strict=True):
        alone = envelope(u, y, resamples=0)
        np.testing.assert_allclose([found.offset, found.factor], [alone.offset, alone.factor], rtol=1e-10)
        np.testing.assert_allclose(found.power.value, alone.power.value, rtol=1e-10)  # nan where it is flat
        assert np.isnan(found.coverage.value)
        assert found.coverage.note == "none were held out"
