"""Hard instances: the declared balance, and the floors that make them hard."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory_lab as tl
from theory_lab.problems import hard
from theory_lab.theory import hard_instances
from theory_lab.theory.reshuffling_bias import reshuffling_bias


def test_signs_are_balanced_in_every_coordinate_and_differ_between_them():
    problem = hard.one_sided({"x": 3, "y": 2}, n=8, slope=0.1, dispersion={"x": 3.0, "y": 8.0})
    tilts = np.asarray(problem.tilts)
    np.testing.assert_allclose(np.abs(tilts), np.tile([1.0, 1.0, 1.0, 2.0, 2.0], (8, 1)))
    np.testing.assert_allclose(tilts.sum(axis=0), 0)
    assert np.linalg.matrix_rank(tilts) > 2


def test_gradient_is_the_slope_on_the_flat_side():
    problem = hard.one_sided({"x": 3, "y": 2}, n=8, slope={"x": 0.1, "y": 0.7})
    gradient = problem.gradient({"x": -jnp.ones(3), "y": -jnp.ones(2)})
    assert {b: float(jnp.linalg.norm(g)) for b, g in gradient.items()} == pytest.approx({"x": 0.1, "y": 0.7})


def test_reshuffling_settles_on_the_flat_side():
    n, eta = 16, 0.0125
    slope = hard_instances.one_sided_slope(eta, 1.0, 1.0, n)
    problem = hard.one_sided({"y": 16}, n=n, slope=slope)
    trace = tl.sweep(
        problem, tl.FirstOrder(), tl.hybrid_sgd, step_sizes={"y": [eta, 2 * eta]}, epochs=120,
        keys=jax.random.split(jax.random.key(0), 8), params={"y": jnp.zeros(16)},
    )  # fmt: skip
    floors = trace.total_gradient_norm_sq[..., 60:].mean(axis=(1, 2))
    np.testing.assert_allclose(floors / slope**2, 1.0, atol=0.02)  # at the design step and beyond


def test_minimax_starts_at_its_gap():
    problem = hard.minimax("y", n=4, slope=0.3, curvature=0.05, initial_gap=2.0, smoothness=1.5, copies=3)
    gap = problem.value(problem.init(jax.random.key(0))) - problem.constants.optimal_value
    assert float(gap) == pytest.approx(2.0 + 0.3**2 / (2 * 1.5))


def test_two_types_have_the_bias_of_their_covariance():
    problem = hard.two_type({"y": 2}, n=6, curvature=2.0, spread=0.5, noise=3.0)
    hessians, gradients = problem.component_hessians(), -np.asarray(problem.tilts)
    np.testing.assert_allclose(hessians.mean(axis=0), 2 * np.eye(2))
    np.testing.assert_allclose(reshuffling_bias(0.01, hessians, gradients), 0.01 * 0.5 * 3.0 / (2 * 2.0) * np.ones(2))
