"""Functions of known spectra against dense linear algebra, and what a run of Lanczos is asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import _spectra
from theory_lab.measure.smoothness import lanczos

KEY = jax.random.key(0)
KINDS = ("isolated", "uniform", "log-uniform", "geometric")


def dense(hessian) -> np.ndarray:
    return np.asarray(jax.vmap(hessian.product)(jnp.eye(hessian.dimension, dtype=hessian.dtype)), dtype=np.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coupling", [0.0, 0.9])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_the_ends_are_those_of_the_dense_matrix(kind: str, coupling: float, precision: str) -> None:
    instance = _spectra.pairs(_spectra.listed(kind, 20), coupling=coupling, precision=precision)
    values = np.linalg.eigvalsh(dense(instance.hessian))
    assert instance.hessian.dtype == precision
    assert (instance.low, instance.high) == pytest.approx((values[0], values[-1]), rel=1e-10, abs=1e-14)


def test_isolated_ends_stand_apart_by_the_gap() -> None:
    values = _spectra.listed("isolated", 50)
    assert values[[0, -1]].tolist() == [0.0, 1.0]
    assert _spectra.GAP < values[1] < 2 * _spectra.GAP
    assert 1 - 2 * _spectra.GAP < values[-2] < 1 - _spectra.GAP


def test_waves_have_the_listed_eigenvalues_and_a_known_diagonal() -> None:
    values = np.random.default_rng(0).standard_normal(16)
    matrix = np.asarray(jax.hessian(lambda x: _spectra.waves({"x": x}, values))(jnp.zeros(16)))
    np.testing.assert_allclose(np.linalg.eigvalsh(matrix), np.sort(values), atol=1e-13)
    np.testing.assert_allclose(np.diag(matrix), _spectra.waves_diagonal(values), atol=1e-13)


def test_the_first_products_of_a_long_run_are_a_short_run() -> None:
    instance, q = _spectra.pairs(_spectra.listed("uniform", 40), coupling=0.5), lanczos.least_overlap(40, 0.9)
    long, short = (lanczos.tridiagonalise(instance.hessian, k, KEY) for k in (20, 8))
    assert long is not None
    assert short is not None
    cut, whole = _spectra.outer(long, 8, q), _spectra.outer(short, 8, q)
    assert cut[:2] == pytest.approx(whole[:2], rel=1e-8)
    low, high, _ = lanczos.extremes(instance.hessian, KEY, 8, 0.9)
    assert (low.low, high.high) == pytest.approx(whole[:2], rel=1e-12)
    assert _spectra.inner_errors(instance, long, 8) == pytest.approx(
        [low.value - instance.low, instance.high - high.value], abs=1e-12
    )


@pytest.mark.parametrize("kind", KINDS)
def test_outer_ends_keep_to_their_law_until_they_are_lost_in_rounding(kind: str) -> None:
    instance, q = _spectra.pairs(_spectra.listed(kind, 100)), lanczos.least_overlap(100, 0.99)
    for seed in range(10):
        run = lanczos.tridiagonalise(instance.hessian, 12, jax.random.key(seed))
        assert run is not None
        assert all(0 < _spectra.outer(run, k, q).share <= 1 for k in (2, 3, 6, 12))


def test_needed_and_promised_products_are_the_first() -> None:
    instance = _spectra.pairs(_spectra.listed("isolated", 60))
    run = lanczos.tridiagonalise(instance.hessian, 40, KEY)
    assert run is not None
    found = _spectra.needed(instance, run, np.array([0.01, 0.01]))
    assert (_spectra.inner_errors(instance, run, found) <= 0.01).all()
    assert (_spectra.inner_errors(instance, run, found - 1) > 0.01).any()
    assert _spectra.needed(instance, run, np.array([-1.0, -1.0])) == 41
    law = _spectra.promised(60, 0.01, 0.9)
    assert lanczos.relative_error(60, law, probability=0.9) <= 0.01 < lanczos.relative_error(60, law - 1, probability=0.9)
