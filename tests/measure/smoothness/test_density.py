"""Stochastic Lanczos quadrature against dense spectra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory_lab.measure import smoothness

KEY = jax.random.key(0)


def quadratic(z, matrix):
    return z["x"] @ matrix @ z["x"] / 2


def random_matrix(seed: int, d: int) -> np.ndarray:
    root = np.random.default_rng(seed).standard_normal((d, d))
    return (root + root.T) / 2


@pytest.mark.parametrize("power", [1, 2, 3, 5])
def test_moments_are_unbiased_up_to_twice_the_number_of_nodes(power):
    matrix = random_matrix(0, 20)
    found = smoothness.spectral_density(
        quadratic, {"x": jnp.zeros(20)}, key=KEY, iterations=3, starts=400, args=(jnp.asarray(matrix),)
    )
    exact = np.mean(np.linalg.eigvalsh(matrix) ** power)
    measured = found.average(lambda nodes: nodes**power, confidence=0.9999)
    assert measured.low <= exact <= measured.high
    assert found.products == 3 * 400


def test_a_full_krylov_space_gives_the_share_below_up_to_sampling():
    matrix = random_matrix(1, 12)
    found = smoothness.spectral_density(
        quadratic, {"x": jnp.zeros(12)}, key=KEY, iterations=12, starts=400, args=(jnp.asarray(matrix),)
    )
    share = found.below(0.0, confidence=0.9999)
    assert share.low <= np.mean(np.linalg.eigvalsh(matrix) <= 0) <= share.high
    for nodes, weights in zip(found.nodes, found.weights, strict=True):
        np.testing.assert_allclose(np.sort(nodes), np.linalg.eigvalsh(matrix), atol=1e-8)
        assert weights.sum() == pytest.approx(1)


def test_what_is_not_finite_has_no_density_and_one_start_is_refused():
    fn = lambda z: jnp.sum(jnp.abs(z["x"]) ** 1.5)
    found = smoothness.spectral_density(fn, {"x": jnp.zeros(3)}, key=KEY)
    assert found.nodes == ()
    share = found.below(0.0)
    assert np.isnan(share.value)
    assert share.note == found.note == "a Hessian-vector product is not finite"
    with pytest.raises(ValueError, match=r"^starts must be"):
        smoothness.spectral_density(quadratic, {"x": jnp.zeros(2)}, key=KEY, starts=1, args=(np.eye(2),))


def test_averages_are_as_wide_as_the_rounding_of_the_nodes_allows():
    made = smoothness.SpectralDensity((np.array([2.0]),) * 2, (np.array([1.0]),) * 2, 2, rounding=(0.1, 0.3))
    linear, share = made.average(lambda nodes: nodes), made.below(2.15)
    assert (linear.value, linear.low, linear.high) == (2.0, pytest.approx(1.8), pytest.approx(2.2))
    assert (share.value, share.low, share.high) == (1.0, 0.5, 1.5)  # one of two nodes may lie above
    beside = made.average(lambda nodes: np.sqrt(nodes - 2.0))  # not defined below
    assert beside.high == pytest.approx((0.1**0.5 + 0.3**0.5) / 2)
    found = smoothness.spectral_density(
        quadratic, {"x": jnp.zeros(20)}, key=KEY, starts=3, iterations=4, args=(jnp.asarray(random_matrix(0, 20)),)
    )
    assert len(found.rounding) == 3
    assert min(found.rounding) > 0
