"""Steps to a level: exact on geometric decay, an interval that covers, and what is said of runs that never arrive."""

import math

import jax
import numpy as np
import pytest

from theory_lab.measure import reach

AT = np.arange(0, 201, 5)


def decaying(rng, seeds, rate, spread=0.3):
    """Runs exp(-rate t) times factors of mean 1."""
    return rng.lognormal(-(spread**2) / 2, spread, size=(seeds, 1)) * np.exp(-rate * AT)


def test_crossings_are_exact_on_geometric_decay_between_rows():
    rates = np.array([0.011, 0.02, 0.5])
    found = reach.crossings(AT, np.exp(-rates[:, None] * AT), 0.2)
    assert found == pytest.approx(np.log(5) / rates, rel=1e-12)


def test_crossings_at_the_ends_from_infinity_to_zero_and_never():
    rows = [[0.5, 0.1, 0.1], [4.0, 1.0, 1.0], [np.inf, 0.5, 0.1], [4.0, 0.0, 0.0], [4.0, 2.0, 1.5]]
    assert reach.crossings([0, 10, 20], rows, 1.0).tolist() == [0.0, 10.0, 10.0, 10.0, math.inf]


def test_the_first_crossing_counts_even_if_the_level_is_left_again():
    assert reach.crossings([0, 1, 2, 3], [[4.0, 1.0, 4.0, 1.0]], 1.0).tolist() == [1.0]


def test_steps_follow_the_mean_over_seeds_and_not_the_typical_run():
    runs = np.where(np.arange(64)[:, None] < 60, 1e-9, 16.0) * 0.9**AT
    assert reach.steps(AT, runs, 0.5).value == pytest.approx(np.log(0.5) / np.log(0.9), rel=1e-6)


def test_the_intervals_cover_as_often_as_they_say():
    rng, truth, hits = np.random.default_rng(0), math.log(10) / 0.02, []
    for repeat in range(300):
        key = jax.random.key(repeat)
        one, other = decaying(rng, 48, 0.02), decaying(rng, 48, 0.04)
        found = reach.steps(AT, one, 0.1, confidence=0.9, resamples=500, key=key)
        pair = reach.ratio(AT, one, other, 0.1, confidence=0.9, resamples=500, key=key)
        hits.append((found.low <= truth <= found.high, pair.low <= 2.0 <= pair.high))
    assert (np.mean(hits, axis=0) > 0.9 - 4 * math.sqrt(0.9 * 0.1 / 300)).all()


def test_shared_seeds_cancel_in_the_ratio():
    runs = decaying(np.random.default_rng(1), 64, 0.02, spread=1.0)
    same = reach.ratio(AT, runs, runs, 0.1)
    assert (same.value, same.low, same.high) == (1.0, 1.0, 1.0)


def test_a_comparison_is_both_times_and_their_ratio_of_the_same_resampled_seeds():
    rng, key = np.random.default_rng(2), jax.random.key(5)
    one, other = decaying(rng, 48, 0.02), decaying(rng, 48, 0.04)
    found = reach.compare(AT, one, other, 0.1, key=key)
    for measured, alone in zip(
        found, (reach.steps(AT, one, 0.1, key=key), reach.steps(AT, other, 0.1, key=key)), strict=False
    ):
        assert (measured.value, measured.low, measured.high) == pytest.approx(
            (alone.value, alone.low, alone.high), rel=1e-12
        )
    assert found.ratio == reach.ratio(AT, one, other, 0.1, key=key)
    lost = reach.compare(AT, one, np.ones_like(one), 0.1, key=key)
    assert lost.above.value == pytest.approx(found.above.value, rel=1e-12)
    assert lost.below.value == math.inf
    assert math.isnan(lost.ratio.value)


def test_runs_that_do_not_arrive_are_censored_and_say_so():
    slow, fast = np.full((32, AT.size), 1.0), np.ones((32, 1)) * 0.9**AT
    assert reach.steps(AT, slow, 0.1).value == math.inf
    assert reach.steps(AT, slow, 0.1).note == "not reached in 200 steps"
    found = reach.ratio(AT, slow, fast, 0.1)
    assert found.value == found.low == math.inf
    assert found.note == "not reached in 200 steps: a ratio above 9.15"
    lost = reach.ratio(AT, fast, slow, 0.1)
    assert math.isnan(lost.value)
    assert lost.note == "not reached in 200 steps by what it is compared with"


def test_one_diverged_run_is_enough_for_the_mean():
    runs = np.ones((64, 1)) * 0.9**AT
    runs[3, 2:] = np.inf
    assert reach.steps(AT, runs, 0.1).value == math.inf


def test_a_mean_that_few_seeds_carry_has_no_interval():
    runs = np.where(np.arange(64)[:, None] < 60, 1e-9, 16.0) * 0.9**AT
    found = reach.steps(AT, runs, 0.5)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.note == "heavy tail: the mean is carried by 4.0 of 64 seeds"


@pytest.mark.parametrize("level", [0.02, 0.3, 1.2, 1e-9])
def test_places_between_which_no_mean_can_come_down_are_left_out_without_changing_anything(level, monkeypatch):
    """Runs that rise and fall, lie apart and diverge; a level that few, all or none of them reach, or all at once."""
    rng = np.random.default_rng(0)
    above, below = (decaying(rng, 24, rate, 1.0) * rng.lognormal(0, 0.4, size=(24, AT.size)) for rate in (0.01, 0.03))
    above[0, 30:] = np.inf
    found = reach.compare(AT, above, below, level)
    monkeypatch.setattr(reach, "_span", lambda run, _: slice(0, run.shape[1]))
    whole = reach.compare(AT, above, below, level)
    for one, other in zip(found, whole, strict=True):
        assert (one.samples, one.note) == (other.samples, other.note)
        for name in ("value", "low", "high"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-10, nan_ok=True)
