"""The tail index against dense quadrature, closed forms of even moments, and direct sampling."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from theory_lab.theory import kesten
from theory_lab.theory.kesten import exceedance, kesten_index
from theory_lab.theory.moments import variance_factor


@pytest.mark.parametrize("step_size, slope", [(0.6, 0.8689), (0.5, 0.6887), (0.35, 0.4496), (0.2, 0.2409)])
def test_one_dimension_by_adaptive_quadrature(step_size, slope):
    kappa = kesten_index(step_size)
    assert 2 / kappa == pytest.approx(slope, abs=1e-4)
    density = lambda v: abs(1 - step_size * v**2) ** kappa * stats.norm.pdf(v)
    panels = (0.0, 1 / math.sqrt(step_size), 8.0, 40.0)
    moment = sum(integrate.quad(density, *ends, limit=200)[0] for ends in itertools.pairwise(panels))
    assert 2 * moment == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("dimension", [1, 2, 8, 100])
def test_the_index_is_two_at_the_mean_square_limit(dimension):
    limit = 2 / (1 + variance_factor(dimension))
    assert kesten_index(limit, dimension) == pytest.approx(2.0, abs=1e-6)
    assert kesten_index(0.9 * limit, dimension) > 2 > kesten_index(1.0001 * limit, dimension)


@pytest.mark.parametrize("dimension, share", [(1, 0.575), (2, 0.667), (5, 0.823), (10, 0.922)])
def test_the_index_is_four_where_the_fourth_moment_diverges(dimension, share):
    """The limits of fourth moments over those of second moments, to the three digits of the exact theory's table."""
    at = lambda s: kesten_index(s * 2 / (dimension + 2), dimension)
    assert at(share + 1e-3) < 4 < at(share - 1e-3)


def test_sampled_lengths_have_moment_one_at_the_index():
    v = np.random.default_rng(0).standard_normal((400_000, 3))
    a = 0.3
    kappa = kesten_index(a, 3)
    length_sq = 1 - 2 * a * v[:, 0] ** 2 + a**2 * v[:, 0] ** 2 * np.sum(v**2, axis=1)
    moments = length_sq ** (kappa / 2)
    assert abs(moments.mean() - 1) < 4 * moments.std() / math.sqrt(moments.size)


def test_the_law_of_the_iterate_is_that_of_samples():
    rng = np.random.default_rng(0)
    x = np.zeros(400_000)
    for _ in range(30):
        v_sq = rng.standard_normal(x.size) ** 2
        x = x - 0.5 * v_sq * (x - rng.choice([-1.0, 1.0], x.size))
    levels = [0.5, 1.0, 2.0, 5.0, 20.0]
    shares = exceedance(0.5, levels, steps=30)
    sampled = np.mean(np.abs(x)[:, None] > levels, axis=0)
    assert (np.abs(sampled - shares) < 4 * np.sqrt(shares / x.size) + 0.004 * shares).all()


def test_the_law_at_the_least_step_size_is_that_of_samples():
    """Out to two standard deviations within a hundredth, at three within a tenth, beside four standard errors."""
    rng, a, steps = np.random.default_rng(0), 1e-3, 400
    x = np.zeros(100_000)
    for _ in range(steps):
        x += a * rng.standard_normal(x.size) ** 2 * (rng.choice([-1.0, 1.0], x.size) - x)
    levels = np.array([0.3, 1.0, 2.0, 3.0]) * math.sqrt(3 * a / (2 - 3 * a) * (1 - (1 - 2 * a + 3 * a**2) ** steps))
    shares = exceedance(a, levels, steps=steps)
    sampled = np.mean(np.abs(x)[:, None] > levels, axis=0)
    grid = np.array([0.01, 0.01, 0.01, 0.1]) * shares
    assert (np.abs(sampled - shares) < 4 * np.sqrt(shares / x.size) + grid).all()


@pytest.mark.parametrize("step_size", [0.35, 0.6])
def test_far_out_the_law_is_a_power(step_size):
    far = np.array([1e3, 1e4])
    first, last = np.log(exceedance(step_size, far, steps=2000))
    assert (first - last) / math.log(10) == pytest.approx(kesten_index(step_size), rel=0.02)


def test_one_step_from_the_minimiser_is_known():
    """x_1 = a v^2 c with c = +-1: exceeds t where v^2 > t/a."""
    assert exceedance(0.5, [0.25, 1.0], steps=1) == pytest.approx(stats.chi2(1).sf([0.5, 2.0]), rel=0.01)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: kesten_index(0.0), "step_size must be positive"),
        (lambda: kesten_index(2.5), "step_size must be below the almost-sure limit"),
        (lambda: kesten_index(1e-4), "step_size must be large enough for an index below 1000"),
        (lambda: exceedance(0.1, [0.0], steps=1), r"levels must be in \(0.0001, 1e\+08\)"),
        (lambda: exceedance(0.1, [1e8], steps=1), r"levels must be in \(0.0001, 1e\+08\)"),
        (lambda: exceedance(9e-4, [1.0], steps=1), r"step_size must be in \[0.001, 1e\+100\]"),
        (lambda: kesten.lyapunov_exponent(1e300), r"step_size must be in \(0, 1e\+100\]"),
        (lambda: kesten_index(1e300), "step_size must be below the almost-sure limit"),
        (lambda: exceedance(0.1, [1.0], steps=-1), "steps must be a whole number of at least 0"),
        (lambda: kesten_index(0.1, 0), "dimension must be a whole number of at least 1"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("d", "ratio"), [(1, 3.632), (2, 1.874), (5, 1.23), (10, 1.08), (50, 1.005)])
def test_almost_every_run_converges_beyond_the_mean_square_limit(d, ratio):
    limit = kesten.almost_sure_limit(d)
    assert limit / (2 / (d + 2)) == pytest.approx(ratio, abs=0.005)
    assert abs(kesten.lyapunov_exponent(limit, d)) < 1e-6


@pytest.mark.parametrize(("a", "d"), [(0.5, 1), (2.0, 1), (0.4, 3), (0.1, 12)])
def test_the_lyapunov_exponent_is_the_mean_logarithm_of_a_step(a, d):
    v = np.random.default_rng(0).standard_normal((400_000, d))
    steps = np.eye(d)[0] - a * v * v[:, :1]
    logs = np.log(np.linalg.norm(steps, axis=1))
    assert kesten.lyapunov_exponent(a, d) == pytest.approx(logs.mean(), abs=5 * logs.std() / np.sqrt(logs.size))


def test_the_index_vanishes_where_the_exponent_does():
    limit = kesten.almost_sure_limit(3)
    assert kesten.kesten_index(0.99 * limit, 3) < 0.2
