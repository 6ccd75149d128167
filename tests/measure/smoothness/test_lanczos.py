"""The ends of a spectrum: certain from inside, at the stated probability from outside, and no wider than that."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from theory_lab.measure.smoothness import lanczos
from theory_lab.measure.smoothness.curvature import curvature
from theory_lab.measure.smoothness.lanczos import Tridiagonal

from .functions import KINDS, quadratic, spectrum, symmetric

D = 24


def tridiagonal(matrix, k, seed, dtype=jnp.float64):
    point = {"x": jnp.zeros(len(matrix), dtype)}
    return lanczos.tridiagonalise(curvature(quadratic, point, args=(jnp.asarray(matrix, dtype),)), k, jax.random.key(seed))


def ends(matrix, k, seed, probability, dtype=jnp.float64):
    """Ritz value and bound below, Ritz value and bound above, and the allowance for rounding."""
    t, overlap = tridiagonal(matrix, k, seed, dtype), lanczos.least_overlap(len(matrix), probability)
    return lanczos.bottom(t, overlap), lanczos.top(t, overlap), t.rounding


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("probability", [0.5, 0.9])
def test_few_products_cover_as_often_as_stated(kind, probability):
    """Four products in 24 dimensions, 150 starts; the inner ends never err."""
    rng, starts, misses = np.random.default_rng(1), 150, 0
    matrix = symmetric(rng, spectrum(rng, kind, D))
    low, high = np.linalg.eigvalsh(matrix)[[0, -1]]
    prior = lanczos.relative_error(D, 4, probability=probability)
    for seed in range(starts):
        (bottom, below), (top, above), rounding = ends(matrix, 4, seed, probability)
        assert low - rounding <= bottom <= top <= high + rounding
        misses += not (below - rounding <= low and high <= above + rounding)
        if prior < 0.5:  # the a priori law for both ends together, with the width eliminated
            reach = prior / (1 - 2 * prior) * (top - bottom)
            assert max(above - top, bottom - below) <= reach + rounding
    nominal = 1 - probability
    assert misses / starts <= nominal + 4 * math.sqrt(nominal * (1 - nominal) / starts)


@pytest.mark.parametrize("probability", [0.5, 0.8])
def test_the_bound_is_sharp(probability):
    """One product and a single eigenvalue apart from the rest: the bound fails exactly when the overlap is below q."""
    matrix, starts = np.diag(np.r_[1.0, np.zeros(D - 1)]), 600
    misses = sum(ends(matrix, 1, seed, probability)[1][1] < 1.0 for seed in range(starts))
    nominal = (1 - probability) / 2
    assert abs(misses / starts - nominal) < 4 * math.sqrt(nominal * (1 - nominal) / starts)


def test_the_overlap_has_the_law_of_a_coordinate_on_the_sphere():
    rng = np.random.default_rng(0)
    for d in (2, 5, 40):
        b = rng.standard_normal((20_000, d))
        first = np.abs(b[:, 0]) / np.linalg.norm(b, axis=1)
        missed = np.mean(first < lanczos.least_overlap(d, 0.8))
        assert abs(missed - 0.1) < 4 * math.sqrt(0.1 * 0.9 / 20_000)
    assert lanczos.least_overlap(1, 0.99) == 1.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_as_many_products_as_dimensions_are_exact_up_to_rounding(kind, dtype):
    rng = np.random.default_rng(2)
    matrix = symmetric(rng, spectrum(rng, kind, D)).astype(dtype)
    matrix = ((matrix + matrix.T) / 2).astype(np.float64)
    eigenvalues = np.linalg.eigvalsh(matrix)
    (bottom, below), (top, above), rounding = ends(matrix, D, 0, 0.99, dtype)
    size = np.abs(eigenvalues).max()
    assert abs(bottom - eigenvalues[0]) <= rounding
    assert abs(top - eigenvalues[-1]) <= rounding
    assert max(bottom - below, above - top, rounding) < 200 * float(jnp.finfo(dtype).eps) * size


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_a_krylov_space_that_closes_ends_the_run(value):
    (bottom, below), (top, above), rounding = ends(value * np.eye(D), 4, 0, 0.99)
    assert bottom == top == pytest.approx(value, rel=1e-14)
    assert above - below + rounding < 1e-11
    assert tridiagonal(value * np.eye(D), 4, 0).diagonal.size == 1


@pytest.mark.parametrize("k", [4, D])
def test_four_eigenvalues_take_four_products(k):
    """Also where rounding lets the run go on."""
    matrix = symmetric(np.random.default_rng(0), spectrum(None, "clusters", D))
    (bottom, below), (top, above), rounding = ends(matrix, k, 0, 0.99)
    assert (bottom, top) == pytest.approx((-3.0, 5.0), abs=1e-12)
    assert max(bottom - below, above - top, rounding) < 1e-11


def test_an_unlucky_start_gets_a_wider_interval_not_an_empty_one():
    """A top Ritz value of less weight than the overlap promises: q = 0.3 and weight 0.01, so that 0.05 is taken for q."""
    diagonal, off = np.array([0.0, 1.0]), np.array([0.1, 0.5])
    values, vectors = np.linalg.eigh(np.array([[0.0, 0.1], [0.1, 1.0]]))
    assert vectors[0, 1] ** 2 < 0.01
    value, bound = lanczos.top(Tridiagonal(diagonal, off, 0.0), 0.3)
    assert value == pytest.approx(values[1], rel=1e-14)
    assert bound == lanczos.top(Tridiagonal(diagonal, off, 0.0), abs(vectors[0, 1]) / 2)[1] > value


def test_the_bound_is_the_node_of_a_quadrature():
    """The tridiagonal matrix, extended to have the bound as an eigenvalue, gives it the weight q^2."""
    t, q = tridiagonal(symmetric(np.random.default_rng(4), np.linspace(-1, 1, D)), 4, 3), 0.05
    _, bound = lanczos.top(t, q)
    inverse = np.linalg.inv(bound * np.eye(4) - np.diag(t.diagonal) - np.diag(t.off[:-1], 1) - np.diag(t.off[:-1], -1))
    extended = np.zeros((5, 5))
    extended[:4, :4] = np.diag(t.diagonal) + np.diag(t.off[:-1], 1) + np.diag(t.off[:-1], -1)
    extended[3, 4] = extended[4, 3] = t.off[-1]
    extended[4, 4] = bound - t.off[-1] ** 2 * inverse[3, 3]
    nodes, vectors = np.linalg.eigh(extended)
    assert nodes[-1] == pytest.approx(bound, rel=1e-12)
    assert vectors[0, -1] ** 2 == pytest.approx(q**2, rel=1e-9)


@pytest.mark.parametrize("d, k", [(50, 10), (1000, 30), (10**6, 60)])
@pytest.mark.parametrize("probability", [0.9, 0.999])
def test_the_a_priori_law_is_within_the_published_bound(d, k, probability):
    """1.648 sqrt(d) exp(-(2k-1) sqrt eps), half of the failures at each end."""
    published = (math.log(1.648 * math.sqrt(d) * 2 / (1 - probability)) / (2 * k - 1)) ** 2
    ours = lanczos.relative_error(d, k, probability=probability)
    assert published / 2 < ours < published or published > 1


def test_the_a_priori_law_for_the_hardest_spectrum():
    """Few products leave Ritz values inside, by no more than the law says but in the same order."""
    k, probability, starts = 4, 0.5, 200
    nodes = np.cos(np.pi * (np.arange(D) + 0.5) / D)
    eps, width = lanczos.relative_error(D, k, probability=probability), nodes.max() - nodes.min()
    gaps = np.array([nodes.max() - ends(np.diag(nodes), k, seed, probability)[1][0] for seed in range(starts)]) / width
    assert np.mean(gaps > eps) <= 0.25 + 4 * math.sqrt(0.25 * 0.75 / starts)
    assert gaps.max() > eps / 10


def test_more_products_never_widen_the_bound():
    matrix = symmetric(np.random.default_rng(5), np.random.default_rng(6).standard_normal(D))
    t = tridiagonal(matrix, D, 0)
    bounds = [lanczos.top(Tridiagonal(t.diagonal[:k], t.off[:k], t.rounding), 0.01) for k in range(2, D)]
    assert all(later[0] >= sooner[0] - t.rounding for sooner, later in itertools.pairwise(bounds))
    assert all(later[1] <= sooner[1] + 1e-9 for sooner, later in itertools.pairwise(bounds))


def test_a_product_that_is_not_finite_is_reported():
    kink = lambda z: jnp.sum(jnp.abs(z["x"]) ** 1.5)
    assert lanczos.tridiagonalise(curvature(kink, {"x": jnp.zeros(3)}), 2, jax.random.key(0)) is None


def test_a_ritz_vector_without_weight_on_the_start_still_has_a_bound():
    """Where the Krylov space all but closes, what follows is rounding: weights underflow, and no polynomial would do."""
    diagonal, off = np.zeros(30), np.full(30, 1e-12)
    diagonal[-1] = 1.0
    value, bound = lanczos.top(Tridiagonal(diagonal, off, 1e-14), lanczos.least_overlap(100, 0.99))
    assert value == 1.0
    assert 1.0 <= bound < 1.1


def test_student_is_behind_the_constant():
    """1.596 = 4/sqrt(2 pi): the density of Student's t at 0, twice, and 1/sinh(m) ~ 2 exp(-m)."""
    assert 2 * 2 * stats.norm.pdf(0) == pytest.approx(1.596, abs=1e-3)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: lanczos.relative_error(0, 1), "dimension must be a whole number of at least 1, got 0"),
        (lambda: lanczos.relative_error(2, 0), "iterations must be a whole number of at least 1, got 0"),
        (lambda: lanczos.relative_error(2, 1, probability=1.0), r"probability must be in \(0, 1\), got 1.0"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_no_eigenvalue_comes_twice_where_products_are_rounding_alone(dtype):
    """Spectra that fall below the precision: what orthogonalising once lets through are second copies of the largest."""
    for seed in range(8):
        matrix = symmetric(np.random.default_rng(seed), 10.0 ** -np.arange(60.0))
        t = tridiagonal(matrix, 50, seed, dtype)
        off = t.off[: len(t.diagonal) - 1]
        ritz = np.linalg.eigvalsh(np.diag(t.diagonal) + np.diag(off, 1) + np.diag(off, -1))
        np.testing.assert_allclose(ritz[:-4:-1], [1, 0.1, 0.01], rtol=1e-3)
