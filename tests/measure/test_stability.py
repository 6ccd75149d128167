"""Stability from samples: exact recursions recovered, and no opinion where a few runs carry the mean."""

import math

import jax
import numpy as np
import pytest

import theory_lab as tl
from theory_lab.claims import claim
from theory_lab.measure import stability

ETA = np.linspace(0.2, 3.0, 15)
ONES = np.ones((15, 32))


def gradient_descent(steps):
    """|z|^2 after some steps on z^2/2 from 1: the limit is 2."""
    return ONES * np.abs(1 - ETA)[:, None] ** (2 * steps)


def zeroth_order(d, etas, steps, size, seed):
    """|z|^2 of z <- z - eta v v'z on |z|^2/2, common directions for all eta; the limit is 2/(d + 2)."""
    rng = np.random.default_rng(seed)
    z = np.zeros((etas.size, size, d))
    z[:, :, 0] = 1.0
    for _ in range(steps):
        v = rng.standard_normal((size, d))
        z = z - (etas[:, None] * np.einsum("gsd,sd->gs", z, v))[:, :, None] * v
    return np.ones((etas.size, size)), np.sum(z**2, axis=2)


def test_growth_is_the_logarithm_per_step():
    before = np.random.default_rng(0).exponential(size=64) + 1
    measured = stability.growth(before, before * 1.1**6, steps=6)
    assert measured.value == pytest.approx(math.log(1.1), rel=1e-12)
    assert measured.high - measured.low < 1e-12  # the seeds differ, their growth does not


def test_growth_covers_the_exact_multiplier():
    d, steps, repeats, hits = 100, 20, 200, []
    eta = 1.2 * 2 / (d + 2)
    truth = math.log(1 - 2 * eta + (d + 2) * eta**2)
    for repeat in range(repeats):
        before, after = zeroth_order(d, np.array([eta]), steps, 64, repeat)
        measured = stability.growth(before[0], after[0], steps=steps, confidence=0.95, resamples=400)
        hits.append(measured.low <= truth <= measured.high)
    assert np.mean(hits) > 0.95 - 4 * math.sqrt(0.95 * 0.05 / repeats)


def test_the_limit_of_gradient_descent():
    measured = stability.limit(ETA, ONES, gradient_descent(3), steps=3)
    assert measured.value == measured.low == measured.high == pytest.approx(2.0, rel=1e-12)


def test_the_limit_between_grid_points_is_straight_in_growth_over_step_size():
    """The multiplier 1 - (4/(d+2)) (u - u^2), u = eta/eta*: on a coarse grid the chord errs by O(1/d), not O(spacing^2)."""
    d = 200
    u = np.array([0.3, 0.8, 1.7])
    after = (1 - 4 / (d + 2) * (u - u**2))[:, None] * np.ones((3, 32))
    assert stability.limit(u, np.ones((3, 32)), after, steps=1).value == pytest.approx(1.0, abs=2 / d)


def test_the_limit_of_zeroth_order_steps():
    d = 64
    star = 2 / (d + 2)
    etas = star * np.linspace(0.6, 1.4, 9)
    measured = stability.limit(etas, *zeroth_order(d, etas, 60, 128, 1), steps=60, confidence=0.9999)
    assert measured.low < star < measured.high
    assert measured.high - measured.low < 0.05 * star


def test_the_limit_of_a_sweep():
    d = 50
    problem = tl.block_quadratic({"x": d}, smoothness=3.0)
    star = 2 / (3.0 * (d + 2))
    trace = tl.sweep(
        problem, tl.TwoPoint(1e-4), tl.hybrid_sgd, step_sizes={"x": star * np.linspace(0.7, 1.3, 7)}, epochs=40,
        keys=jax.random.split(jax.random.key(0), 64), log_epochs=[0, 40],
    )  # fmt: skip
    distance = trace.distance_sq["x"]
    measured = stability.limit(trace.step_sizes["x"], distance[..., 0], distance[..., -1], steps=40, confidence=0.9999)
    assert measured.low < star < measured.high
    assert measured.high - measured.low < 0.1 * star


def test_heavy_tails_leave_no_opinion():
    """In low dimension near the limit a few runs carry the mean, and its bootstrap interval misses the truth."""
    d, steps = 10, 200
    etas = 2 / (d + 2) * np.linspace(0.6, 1.4, 9)
    before, after = zeroth_order(d, etas, steps, 256, 0)
    measured = stability.limit(etas, before, after, steps=steps)
    assert (measured.low, measured.high) == (-math.inf, math.inf)
    assert "heavy tail: the mean is carried by" in measured.note
    assert claim("c", "s", "equals", 1 / 6, tolerance=0.01).check(measured).outcome == "undecided"
    alone = stability.growth(before[5], after[5], steps=steps)
    assert (alone.low, alone.high) == (-math.inf, math.inf)


def test_effective_seeds():
    assert stability.effective_seeds(np.ones((40, 2))).tolist() == [40.0, 40.0]
    assert stability.effective_seeds(np.array([[0.0], [0.0], [1e200]])).tolist() == [1.0]
    rng = np.random.default_rng(0)
    assert stability.effective_seeds(rng.exponential(size=100_000)) / 100_000 == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    "after, note",
    [
        (gradient_descent(3) * 1e-9, "no crossing: the mean square shrinks on the whole grid, up to 3"),
        ((gradient_descent(3) + 1e-3) * 1e9, "no crossing: the mean square grows on the whole grid, down to 0.2"),
        (gradient_descent(3)[::-1], "the growth changes sign more than once, or downwards"),
        (np.where(ETA[:, None] > 1.9, np.inf, gradient_descent(3)), "the runs overflow at 2, beside the crossing"),
        (ONES * 0.0, "no crossing: the mean square shrinks"),
    ],
)
def test_no_limit_where_the_grid_shows_none(after, note):
    measured = stability.limit(ETA, ONES, after, steps=3)
    assert not math.isfinite(measured.value)
    assert note in measured.note
    assert claim("c", "s", "at most", 2.0).check(measured).outcome == "undecided"


def test_runs_that_overflow_far_beyond_the_limit_do_not_matter():
    after = gradient_descent(3)
    after[12:, ::5] = np.inf
    assert stability.limit(ETA, ONES, after, steps=3) == stability.limit(ETA, ONES, gradient_descent(3), steps=3)


def test_a_crossing_near_the_end_of_the_grid_has_no_end_there():
    rng = np.random.default_rng(0)
    eta = np.array([1.0, 2.0, 3.0])
    after = np.exp([[-1.0], [-0.5], [0.001]]) * rng.gamma(4.0, 0.25, (3, 64))
    after *= np.exp([-1.0, -0.5, 0.001])[:, None] / after.mean(axis=1, keepdims=True)
    measured = stability.limit(eta, np.ones((3, 64)), after, steps=1)
    assert 2.9 < measured.value < 3.0
    assert measured.high == math.inf
    assert "too near the end of the grid" in measured.note


def test_diverged_and_vanished_runs_have_no_growth():
    ones = np.ones(32)
    assert stability.growth(ones, np.where(np.arange(32) < 3, np.inf, 1.0), steps=1).note == "3 of 32 runs diverged"
    assert stability.growth(ones, 0 * ones, steps=1).note == "a mean squared distance is zero"
    assert "not finite at the start" in stability.limit(ETA, 0 * ONES, 0 * ONES, steps=1).note


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: stability.growth([1.0], [1.0], steps=1), "before must be a 1-dimensional array of nonnegative numbers"),
        (lambda: stability.growth([1.0, -1.0], [1.0, 1.0], steps=1), "before must be a 1-dimensional array of nonnegative"),
        (lambda: stability.growth([1.0, 1.0], ["a", "b"], steps=1), "after must be a 1-dimensional array of nonnegative"),
        (lambda: stability.growth([1.0, 1.0], [1.0] * 3, steps=1), r"after must be of the same shape as before, \(1, 2\)"),
        (lambda: stability.growth([1.0, 1.0], [1.0, 1.0], steps=0), "steps must be a whole number of at least 1, got 0"),
        (lambda: stability.growth([1.0, 1.0], [1.0, 1.0], steps=1, confidence=2), r"confidence must be in \(0, 1\)"),
        (lambda: stability.limit(ETA[::-1], ONES, ONES, steps=1), "step_sizes must be at least two positive and increasing"),
        (lambda: stability.limit(ETA[:3], ONES, ONES, steps=1), r"before must be of shape \(3, seeds\)"),
        (lambda: stability.limit(ETA, ONES, ONES, steps=1, resamples=5), "resamples must be a whole number of at least 100"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
