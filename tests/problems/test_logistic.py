"""Logistic regression: a certified optimum, on whatever labels and columns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import optimize
from scipy.special import expit

import theory_lab as tl


def data(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, d)) * rng.exponential(size=d)
    return features, np.where(rng.random(n) < expit(features @ rng.standard_normal(d)), "spam", "ham")


@pytest.mark.parametrize("n, d, l2", [(40, 5, 0.1), (8, 12, 1e-3), (200, 4, 1e-6), (3, 1, 10.0)])
def test_optimum_is_the_one_scipy_finds(n, d, l2):
    features, labels = data(n, d, seed=n)
    labels[:2] = ["spam", "ham"]
    cut = (d + 1) // 2
    columns = {"x": slice(0, cut), "y": slice(cut, d)} if d > 1 else {"x": slice(0, 1)}
    problem = tl.logistic(features, labels, columns=columns, l2=l2)
    signs = np.where(labels == "spam", 1.0, -1.0)  # the larger of the two labels is +1

    def value(z):
        margin = signs * (features @ z)
        gradient = -features.T @ (signs * expit(-margin)) / n + l2 * z
        return np.logaddexp(0, -margin).mean() + l2 / 2 * z @ z, gradient

    found = optimize.minimize(value, np.zeros(d), jac=True, method="BFGS", options={"gtol": 1e-9})
    ours = np.concatenate([np.asarray(problem.optimum[b]) for b in columns])
    assert np.linalg.norm(value(ours)[1]) <= 1e-12 * (1 + np.linalg.norm(value(np.zeros(d))[1]))
    assert problem.constants.optimal_value <= found.fun * (1 + 1e-14)
    assert problem.constants.optimal_value == pytest.approx(value(ours)[0], rel=1e-14)
    gap = np.linalg.norm(found.jac) ** 2 / (2 * l2)  # the certificate, for scipy's point
    assert found.fun - problem.constants.optimal_value <= gap + 1e-15


@pytest.mark.parametrize("pair", [(0, 1), (-1, 1), (1, 2), (False, True), ("a", "b"), (0.5, 7.25)])
def test_any_two_labels_mean_the_same(pair):
    features, labels = data(20, 3)
    make = lambda given: tl.logistic(features, given, columns={"x": [0, 1], "y": [2]}, l2=0.1)
    renamed = make(np.where(labels == "spam", pair[1], pair[0]))
    assert renamed.constants.optimal_value == make(labels).constants.optimal_value


def test_columns_may_be_dealt_out_in_any_way():
    features, labels = data(20, 4)
    whole = tl.logistic(features, labels, columns={"all": slice(None)}, l2=0.1)
    dealt = tl.logistic(features, labels, columns={"y": (3, 0), "x": range(1, 3)}, l2=0.1)
    np.testing.assert_allclose(dealt.optimum["y"], np.asarray(whole.optimum["all"])[[3, 0]], rtol=1e-12)
    np.testing.assert_array_equal(dealt.features["x"], features[:, 1:3])
    assert dealt.constants.optimal_value == whole.constants.optimal_value


def test_declared_smoothness_is_the_least_of_its_proportions():
    """D - (aa'/4 + l2 I) is singular for some row: a hair less would not dominate it."""
    features, labels = data(15, 5)
    problem = tl.logistic(features, labels, columns={"x": [0, 1, 2], "y": [3, 4]}, l2=0.05)
    limit = np.repeat([problem.constants.smoothness["x"], problem.constants.smoothness["y"]], [3, 2])
    least = [np.linalg.eigvalsh(np.diag(limit) - np.outer(a, a) / 4 - 0.05 * np.eye(5))[0] for a in features]
    assert min(least) == pytest.approx(0, abs=1e-12 * limit.max())
    longest = [np.max(np.sum(np.asarray(problem.features[b]) ** 2, axis=1)) for b in ("x", "y")]
    ratio = (problem.constants.smoothness["x"] - 0.05) / (problem.constants.smoothness["y"] - 0.05)
    assert ratio == pytest.approx(longest[0] / longest[1], rel=1e-12)


def test_a_column_of_zeros_is_harmless():
    features, labels = data(10, 3)
    features[:, 2] = 0
    problem = tl.logistic(features, labels, columns={"x": [0, 1], "y": [2]}, l2=0.1)
    assert np.asarray(problem.optimum["y"]).tolist() == [0.0]


@pytest.mark.parametrize("scale", [1e100, 1e200])
def test_an_optimum_that_float64_cannot_certify_is_refused(scale):
    features, labels = data(10, 3)
    rule = r"scaled so that Newton's method reaches a gradient of \S+ in 200 steps, got \S+; standardise .* or raise l2"
    with pytest.raises(ValueError, match=f"^features must be {rule}$"):
        tl.logistic(features * scale, labels, columns={"x": [0, 1, 2]}, l2=1.0)


def test_a_singular_hessian_is_refused():
    features, labels = data(10, 1)
    with pytest.raises(
        ValueError, match=r"^l2 must be large enough for the Hessian to be invertible in float64, got 1e-150$"
    ):
        tl.logistic(np.repeat(features, 3, axis=1), labels, columns={"x": [0, 1, 2]}, l2=1e-150)


def test_local_derivatives_are_those_of_the_components():
    features, labels = data(12, 5)
    problem = tl.logistic(features, labels, columns={"y": [4, 0], "x": [1, 3, 2]}, l2=0.05)
    optimum, unravel = ravel_pytree(problem.optimum)
    component = lambda z, i: problem.component(unravel(z), i)
    indices = jnp.arange(problem.n)
    gradients = jax.jit(jax.vmap(jax.grad(component), in_axes=(None, 0)))(optimum, indices)
    hessians = jax.jit(jax.vmap(jax.hessian(component), in_axes=(None, 0)))(optimum, indices)
    np.testing.assert_allclose(problem.component_gradients(), gradients, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(problem.component_hessians(), hessians, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(problem.dense_hessian(), hessians.mean(axis=0), rtol=1e-9, atol=1e-12)
