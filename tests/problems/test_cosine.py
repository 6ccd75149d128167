"""The cosine sum: minimum, two-sided smoothness and dispersion in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory_lab as tl
from tests.cases import in_phase


def test_minimum_is_the_least_value_of_every_coordinate():
    """f falls into functions of one variable w_k = u_k' D^{1/2} z; each is minimised on a fine grid."""
    problem = tl.cosine({"x": 2, "y": 2}, n=5, spread=2.0)
    grid = np.linspace(-np.pi, np.pi, 200001)
    phases = np.asarray(problem.phases)
    least = sum(np.mean(1 - np.cos(grid[:, None] - phases[:, k]), axis=1).min() for k in range(4))
    assert problem.constants.optimal_value == pytest.approx(least, abs=1e-9)
    assert problem.constants.optimal_value <= least


def test_both_sides_of_the_smoothness_are_attained():
    problem = tl.cosine({"x": 3, "y": 2}, n=4, smoothness={"x": 2.0, "y": 0.5}, spread=1.0)
    top = in_phase(problem)
    features = jnp.concatenate([problem.features[b] for b in ("x", "y")], axis=1)
    shift = jnp.linalg.solve(features, jnp.full(5, jnp.pi))
    bottom = {"x": top["x"] + shift[:3], "y": top["y"] + shift[3:]}
    for point, sign in ((top, 1), (bottom, -1)):
        hessian = jax.hessian(problem.component)(point, 0)
        for b, limit in problem.constants.smoothness.items():
            np.testing.assert_allclose(hessian[b][b], sign * limit * np.eye(len(hessian[b][b])), atol=1e-12)
        np.testing.assert_allclose(hessian["x"]["y"], 0, atol=1e-12)


def test_blocks_are_coupled():
    problem = tl.cosine({"x": 3, "y": 2}, n=4)
    hessian = jax.hessian(problem.value)(problem.init(jax.random.key(0)))
    assert np.abs(hessian["x"]["y"]).max() > 0.05


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_dispersion_is_the_largest_variance_along_the_line(spread):
    """In one dimension the declared bound is attained: compare with the largest variance of L^{1/2} sin on a grid."""
    problem = tl.cosine({"x": 1}, n=7, smoothness=3.0, spread=spread)
    grid = np.linspace(-np.pi, np.pi, 20001)
    variance = np.var(np.sin(grid[:, None] - np.asarray(problem.phases)[:, 0]), axis=1).max()
    assert problem.constants.dispersion["x"] == pytest.approx(3.0 * variance, rel=1e-6)


def test_without_spread_all_components_agree():
    problem = tl.cosine({"x": 2}, n=3, spread=0.0)
    z = problem.init(jax.random.key(1))
    values = [float(problem.component(z, i)) for i in range(3)]
    assert values[0] == values[1] == values[2]
    assert problem.constants.dispersion == {"x": 0.0}
    assert problem.constants.optimal_value == 0.0
