"""Geman-McClure: the certificate of the global minimum against brute force."""

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

import theory_lab as tl
from theory_lab.problems.robust import SLOPE, _minimise, loss

GRID = np.linspace(-1, 1, 40001)


def brute(targets: np.ndarray) -> float:
    """The least mean loss on a grid over the hull of the targets, refined once about its best points."""
    low, high = targets.min(), targets.max()
    grid = low + (GRID + 1) / 2 * (high - low)
    values = loss(grid[:, None] - targets).mean(axis=1)
    start = grid[np.argsort(values)[:5]]
    fine = (start[:, None] + GRID[::20] * (high - low) * 1e-4).ravel()
    return float(min(values.min(), loss(fine[:, None] - targets).mean(axis=1).min()))


@hypothesis.settings(derandomize=True, max_examples=30, deadline=None)
@hypothesis.given(st.sampled_from([2.0, 12.0, 300.0]), st.lists(st.floats(-1, 1), min_size=1, max_size=6))
def test_minimum_is_global(scale, targets):
    targets = scale * np.array(targets)
    where, value = _minimise(targets)
    assert value == pytest.approx(float(loss(where - targets).mean()), abs=1e-15)
    reference = brute(targets)
    assert value <= reference + 1e-12  # not beaten by the grid, to the certified accuracy
    assert value >= reference - 1e-7  # which is itself within |phi''| h^2 / 2 of the minimum


def test_the_best_of_many_nearly_equal_basins_wins_by_however_little():
    """Clusters of the same shape but for a thousandth; which basin the coarse grid favours differs from case to case."""
    rng = np.random.default_rng(0)
    cluster = np.array([-0.2, 0.0, 0.2])
    for _ in range(400):
        centres = rng.uniform(-100, 100, rng.integers(2, 5))
        targets = np.concatenate([(1 + 1e-3 * rng.random()) * cluster + c for c in centres])
        basins = (centres[:, None] + np.linspace(-0.5, 0.5, 1001)).ravel()
        reference = float(loss(basins[:, None] - targets).mean(axis=1).min())
        assert _minimise(targets)[1] <= reference + 1e-12


def test_two_equal_clusters_are_a_tie_that_is_settled():
    """Far apart, each cluster has a minimum of its own and neither is below the other."""
    targets = np.array([-10.0, -9.9, 9.9, 10.0])
    where, value = _minimise(targets)
    assert abs(abs(where) - 9.95) < 0.1
    assert value == pytest.approx(brute(targets), abs=1e-10)


def test_outliers_do_not_move_the_optimum():
    clean = tl.geman_mcclure({"x": 2, "y": 1}, n=60, noise=0.05, outliers=0.0)
    spoiled = tl.geman_mcclure({"x": 2, "y": 1}, n=60, noise=0.05, outliers=0.2)
    moved = max(float(abs(clean.optimum[b] - spoiled.optimum[b]).max()) for b in ("x", "y"))
    assert 0 < moved < 0.1
    changed = np.sum(np.asarray(clean.targets) != np.asarray(spoiled.targets))
    assert changed == 12


def test_f_is_not_convex_and_its_extreme_curvatures_and_slopes_are_as_declared():
    t = np.linspace(-5, 5, 200001)
    slope = t / (1 + t**2) ** 2
    bend = (1 - 3 * t**2) / (1 + t**2) ** 3
    assert np.abs(slope).max() == pytest.approx(SLOPE, rel=1e-8)
    assert (bend.min(), bend.max()) == pytest.approx((-0.25, 1.0), rel=1e-8)
    np.testing.assert_allclose(np.gradient(loss(t), t)[1:-1], slope[1:-1], atol=1e-8)


def test_every_observation_of_an_uneven_design_counts():
    """n need not be a multiple of d: coordinates seen more often weigh more."""
    problem = tl.geman_mcclure({"x": 3}, n=7)
    assert float(problem.value(problem.optimum)) == pytest.approx(problem.constants.optimal_value, rel=1e-12)
    start = problem.init(jax.random.key(0))
    assert problem.constants.optimal_value < float(problem.value(start))


def test_the_key_decides_the_data():
    make = lambda seed: np.asarray(tl.geman_mcclure({"x": 2}, n=6, key=jax.random.key(seed)).targets)
    assert (make(0) == make(0)).all()
    assert (make(0) != make(1)).all()
