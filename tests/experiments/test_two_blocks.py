"""Two-block Hessians, their exact frontier, and the search."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments._two_blocks import COUPLING, SIZES, ascent, hessian_of, multiple, quadratic, quotients, schur

M, D = SIZES["x"], sum(SIZES.values())
CASES = ("convex", "indefinite 0", "Gram 0")


@pytest.mark.parametrize("case", CASES)
def test_the_hessians_are_symmetric_with_diagonal_blocks_that_end_at_one(case: str) -> None:
    matrix = hessian_of(case)
    assert matrix.shape == (D, D)
    np.testing.assert_array_equal(matrix, matrix.T)
    for block in (matrix[:M, :M], matrix[M:, M:]):
        assert np.linalg.eigvalsh(block)[-1] == pytest.approx(1, rel=1e-10)
    low = np.linalg.eigvalsh(matrix)[0]
    assert low < -1.5 if case == "indefinite 0" else low > -1e-12


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("smooth_x", [1.05, 1.7, 6.0])
def test_pairs_of_the_schur_form_dominate_with_equality(case: str, smooth_x: float) -> None:
    matrix = hessian_of(case)
    assert multiple(matrix, (smooth_x, schur(matrix, smooth_x))) == pytest.approx(1, rel=1e-9)
    assert multiple(-matrix, (smooth_x, 1.0), sided=2) == multiple(matrix, (smooth_x, 1.0), sided=2)


def test_the_convex_frontier_is_a_hyperbola_and_ends_at_its_asymptote() -> None:
    matrix = hessian_of("convex")
    for smooth_x in (1.1, 1.8, 5.0):
        assert (smooth_x - 1) * (schur(matrix, smooth_x) - 1) == pytest.approx(COUPLING**2, rel=1e-9)
    assert schur(matrix, 0.99) == np.inf


def test_the_function_has_that_hessian() -> None:
    matrix, rng = hessian_of("indefinite 0"), np.random.default_rng(0)
    v = rng.standard_normal(D)
    point = {"x": jnp.asarray(v[:M]), "y": jnp.asarray(v[M:])}
    slope = jax.grad(quadratic)(point, matrix)
    np.testing.assert_allclose(np.concatenate([slope["x"], slope["y"]]), matrix @ v, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_an_ascent_reaches_the_largest_quotient_and_random_directions_do_not(case: str) -> None:
    matrix, rng = hessian_of(case), np.random.default_rng(1)
    diagonal = np.repeat([2.0, 0.5], [M, D - M])
    truth = multiple(matrix, (2.0, 0.5))
    found = max(ascent(matrix, diagonal, rng) for _ in range(3))
    assert truth * (1 - 1e-5) < found <= truth * (1 + 1e-12)
    assert quotients(matrix, diagonal, rng, 1000).max() < 0.9 * truth
