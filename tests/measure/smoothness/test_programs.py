"""What is computed once and what shares a program changes nothing in what is found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory_lab as tl
from theory_lab.advise import advise, spectra
from theory_lab.measure.smoothness import curvature, extreme_eigenvalues, finite_sums, lanczos
from theory_lab.problems import logistic

KEY = jax.random.key(0)
SIZES = {"x": 190, "y": 20}


def quartic(z, row):
    return jnp.sum(jnp.cosh(row[:190] * z["x"])) + jnp.sum(z["x"][:20] * z["y"]) ** 2 + jnp.sum(row[190:] * z["y"] ** 2)


def problem(n: int = 6, seed: int = 0) -> tl.Problem:
    rows = np.random.default_rng(seed).uniform(0.1, 1.0, (n, 210))
    return tl.finite_sum(quartic, jnp.asarray(rows), {b: 0.1 * jnp.ones(size) for b, size in SIZES.items()})


def at(block=None, made=None) -> curvature.Curvature:
    made = problem() if made is None else made
    fn, args = finite_sums.mean(made)
    return curvature.curvature(fn, made.init(KEY), block=block, scaling={"x": 2.0, "y": 0.5}, args=args)


@pytest.mark.parametrize("block", [None, "x", "y"])
def test_products_are_the_product_whether_or_not_they_remember(block, monkeypatch) -> None:
    hessian = at(block)
    vectors = jax.random.normal(KEY, (3, hessian.dimension))
    expected = np.stack([hessian.product(v) for v in vectors])
    found = {}
    for remembered in (curvature.REMEMBERED, 0):
        monkeypatch.setattr(curvature, "REMEMBERED", remembered)
        products = hessian.products()
        assert (products == hessian.product) == (remembered == 0)
        found[remembered] = np.stack([products(v) for v in vectors])
    for each in found.values():
        np.testing.assert_allclose(each, expected, rtol=1e-12, atol=1e-12)


def test_a_large_block_shares_the_program_of_the_whole_and_keeps_its_spectrum(monkeypatch) -> None:
    lanczos._krylov.clear_cache()
    runs = {block: lanczos.tridiagonalise(at(block), 12, KEY) for block in (None, "x")}
    assert lanczos._krylov._cache_size() == 1
    monkeypatch.setattr(lanczos, "NEARLY", 2.0)
    monkeypatch.setattr(lanczos, "LITTLE", 0)
    alone = lanczos.tridiagonalise(at("x"), 12, KEY)
    assert lanczos._krylov._cache_size() == 2
    assert runs["x"].basis.shape == alone.basis.shape == (12, 190)
    np.testing.assert_allclose(runs["x"].diagonal, alone.diagonal, rtol=1e-9)
    np.testing.assert_allclose(runs["x"].off, alone.off, rtol=1e-9)
    np.testing.assert_allclose(runs["x"].basis, alone.basis, atol=1e-7)
    assert abs(runs[None].values[-1] / alone.values[-1] - 1) > 1e-3


@pytest.mark.parametrize("iterations", [1, 4, 5, 6, 39, 40, 47])
def test_a_basis_is_orthonormal_at_any_length(iterations) -> None:
    run = lanczos.tridiagonalise(at(), iterations, KEY, keep=True)
    assert run.basis.shape == (iterations, 210)
    np.testing.assert_allclose(run.basis @ run.basis.T, np.eye(iterations), atol=1e-13)


def test_a_component_and_what_sets_it_apart_are_the_same_by_other_weights(monkeypatch) -> None:
    made = problem()
    point, found = made.init(KEY), {}
    for together in (finite_sums.TOGETHER, 0):
        monkeypatch.setattr(finite_sums, "TOGETHER", together)
        fn, args = finite_sums.component(made, 2)
        found[together] = (float(fn(point, *args)), *finite_sums.dispersions(made, point, range(6)).values())
    np.testing.assert_allclose(*found.values(), rtol=1e-12)
    assert found[0][0] == pytest.approx(float(made.component(point, 2)), rel=1e-12)
    _, gradient = finite_sums.apart(made, point, 2)
    own = jax.grad(lambda z: made.component(z, 2) - made.value(z))(point)
    for label in SIZES:
        np.testing.assert_allclose(gradient[label], own[label], atol=1e-12)


def test_value_and_gradient_are_those_of_the_problem() -> None:
    rows, signs = np.random.default_rng(0).standard_normal((7, 3)), np.array([1, -1, 1, 1, -1, 1, -1])
    made = logistic(rows, signs, columns={"x": [0, 2], "y": [1]}, l2=0.1)
    point = jax.tree.map(lambda a: a + 0.3, made.init(KEY))
    value, gradient = finite_sums.value_and_gradient(made, point)
    assert value == pytest.approx(float(made.value(point)), rel=1e-12)
    for label, part in made.gradient(point).items():
        np.testing.assert_allclose(gradient[label], part, atol=1e-12)


@pytest.mark.parametrize("little, cheap, programs", [(lanczos.LITTLE, 0, 1), (0, spectra.CHEAP, 1), (0, 0, 2)])
def test_advice_compiles_one_run_for_all_blocks_or_one_more_for_a_small_block_of_many(
    little, cheap, programs, monkeypatch
) -> None:
    """One more where products are dear, too. Whatever the data, and how components differ by as many."""
    monkeypatch.setattr(lanczos, "LITTLE", little)
    monkeypatch.setattr(spectra, "CHEAP", cheap)
    caches = lanczos._krylov, curvature.slope, spectra._spread
    for cache in caches:
        cache.clear_cache()
    for seed in range(2):
        advise(problem(n=40, seed=seed), key=KEY, products=50)
        assert [cache._cache_size() for cache in caches] == [programs + 1, 1, programs]  # and one run for components


def test_a_large_block_is_seen_though_another_one_has_no_second_derivative() -> None:
    """|x|^2 + sum c_j x_j^2 + sqrt(y) at y = 0: the program of the whole multiplies 0 with what is infinite there."""
    fn = lambda z: jnp.sum(jnp.arange(1.0, 31.0) * z["x"] ** 2) / 2 + jnp.sum(jnp.sqrt(z["y"]))
    point = {"x": jnp.ones(30), "y": jnp.zeros(1)}
    low, high = extreme_eigenvalues(fn, point, block="x", key=jax.random.key(0))
    assert (low.value, high.value) == pytest.approx((1.0, 30.0), rel=1e-8)
    for end in extreme_eigenvalues(fn, point, key=jax.random.key(0)):
        assert np.isnan(end.value)
