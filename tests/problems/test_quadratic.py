"""Block quadratics: the families, and constants that are exact in numbers, not in words."""

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

import theory_lab as tl

COUPLED = {"coupling": 0.6, "spectrum": {"x": ("power", 1.0), "y": [3.0, 1.0]}}


def blocks(problem: tl.Problem) -> dict[str, slice]:
    ends = np.cumsum([0, *(size for _, size in problem.dimensions)])
    return {b: slice(*ends[i : i + 2]) for i, (b, _) in enumerate(problem.dimensions)}


def diagonal(problem: tl.Problem, per_block: dict) -> np.ndarray:
    return np.concatenate([np.full(s.stop - s.start, per_block[b]) for b, s in blocks(problem).items()])


def commutator(hessians: np.ndarray) -> float:
    """The largest |[H_i, H_j]| relative to |H|^2."""
    products = np.einsum("iab,jbc->ijac", hessians, hessians)
    return float(np.abs(products - products.swapaxes(0, 1)).max() / np.abs(products).max())


@pytest.mark.parametrize("n", [3, 4, 7])
def test_families_are_what_they_are_called(n):
    make = lambda components, **options: tl.block_quadratic(
        {"x": 3, "y": 2}, n=n, components=components, spectrum=("power", 1.0), **options
    ).component_hessians()
    convex = make("convex", heterogeneity=1.0, coupling=0.5)
    assert np.linalg.eigvalsh(convex).min() > -1e-12
    assert commutator(convex) > 0.01
    commuting = make("commuting", heterogeneity=4.0, rotated=True)
    assert commutator(commuting) < 1e-12
    assert np.linalg.eigvalsh(commuting).min() < -0.5 * np.linalg.eigvalsh(commuting).max()
    indefinite = make("indefinite", heterogeneity=4.0)
    assert commutator(indefinite) > 0.01
    assert np.linalg.eigvalsh(indefinite).min(axis=1).max() < 0
    for hessians in (convex, commuting, indefinite):
        assert np.abs(hessians - hessians[0]).max() > 0.1
        assert np.linalg.eigvalsh(hessians.mean(axis=0)).min() > 0


def test_indefinite_components_sum_to_nothing_beside_a_mean_as_small_as_one_likes():
    """The family of the step-size limits: mean curvature h beside reflections of size 1."""
    problem = tl.block_quadratic({"x": 2}, n=8, heterogeneity=1e4, components="indefinite", smoothness=1.0)
    hessians = problem.component_hessians()
    mean = hessians.mean(axis=0)
    np.testing.assert_allclose(mean, np.eye(2) / (1 + 1e4), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(np.linalg.eigvalsh(hessians - mean), np.tile([-1.0, 1.0], (8, 1)) / (1 + 1e-4), rtol=1e-10)


@hypothesis.settings(derandomize=True, max_examples=40, deadline=None)
@hypothesis.given(
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    n=st.integers(3, 6),
    scales=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)),
    scaled=st.booleans(),
    power=st.floats(0, 3),
    coupling=st.sampled_from([0.0, 0.3, 0.95]),
    heterogeneity=st.sampled_from([0.0, 0.2, 1.0, 5.0]),
    components=st.sampled_from(["convex", "commuting", "indefinite"]),
    rotated=st.booleans(),
    seed=st.integers(0, 3),
)
def test_declared_constants_are_exact(sizes, n, scales, scaled, power, coupling, heterogeneity, components, rotated, seed):
    hypothesis.assume(heterogeneity <= 1 or components != "convex")
    wanted = dict(zip("xy", scales, strict=True))
    problem = tl.block_quadratic(
        dict(zip("xy", sizes, strict=True)), n=n, smoothness=wanted if scaled else None, spectrum=("power", power),
        coupling=coupling, heterogeneity=heterogeneity, components=components, dispersion={"x": 2.0, "y": 0.0},
        rotated=rotated, key=jax.random.key(seed),
    )  # fmt: skip
    declared, parts = problem.constants, blocks(problem)
    hessians, mean = problem.component_hessians(), problem.dense_hessian()
    np.testing.assert_allclose(hessians.mean(axis=0), mean, rtol=0, atol=1e-10 * np.abs(hessians).max())
    # smoothness: the two-sided norm of the components in the geometry of D is 1
    root = np.sqrt(diagonal(problem, declared.smoothness))
    reach = np.linalg.norm(hessians / (root[:, None] * root), 2, axis=(1, 2)).max()
    assert reach == pytest.approx(1, rel=1e-10)
    if scaled:
        assert declared.smoothness == wanted
    # the spectra of the diagonal blocks are power laws, whatever else was done to them
    for s in parts.values():
        eigenvalues = np.linalg.eigvalsh(mean[s, s])[::-1]
        expected = eigenvalues[0] * np.arange(1.0, len(eigenvalues) + 1) ** -power
        np.testing.assert_allclose(eigenvalues, expected, rtol=1e-8)
    # strong convexity and PL: the least eigenvalue of the mean
    assert declared.strong_convexity == pytest.approx(np.linalg.eigvalsh(mean)[0], rel=1e-6)
    assert declared.pl == declared.strong_convexity
    # dispersion: exact, and not claimed where the Hessians differ
    tilts = np.asarray(problem.tilts)
    np.testing.assert_allclose(tilts.mean(axis=0), 0, atol=1e-14)
    spread = {b: np.mean(np.sum(tilts[:, s] ** 2, axis=1)) for b, s in parts.items()}
    assert spread == pytest.approx({"x": 2.0, "y": 0.0}, rel=1e-10)
    assert declared.dispersion == (None if heterogeneity else {"x": 2.0, "y": 0.0})
    # trace: some diag(S_b) with |S_b| <= L_b and tr S_b as declared dominates every component on both sides
    bounds = np.zeros_like(mean)
    for b, s in parts.items():
        block = mean[s, s]
        over = (1 + coupling) * (
            (1 + heterogeneity) * block
            if components == "convex"
            else block + heterogeneity * np.linalg.norm(block, 2) * np.eye(len(block))
        )
        if np.linalg.norm(over, 2) > declared.smoothness[b] * (1 + 1e-9):
            over = declared.smoothness[b] * np.eye(len(block))
        bounds[s, s] = over
        assert declared.trace[b] == pytest.approx(np.trace(over), rel=1e-8)
    least = min(np.linalg.eigvalsh(bounds + sign * h)[0] for h in hessians for sign in (1, -1))
    assert least >= -1e-10 * np.abs(hessians).max()


@pytest.mark.parametrize("coupling", [0.1, 0.6, 0.99])
def test_coupling_joins_the_blocks_as_strongly_as_it_says(coupling):
    """A^{-1/2} B C^{-1/2} has norm rho, and the top eigenvectors are the coupled pair."""
    problem = tl.block_quadratic({"x": 3, "y": 2}, **{**COUPLED, "coupling": coupling}, rotated=True)
    hessian = problem.dense_hessian()
    a, b, c = hessian[:3, :3], hessian[:3, 3:], hessian[3:, 3:]
    inverse_root = lambda m: np.linalg.inv(np.linalg.cholesky(m))
    assert np.linalg.norm(inverse_root(a) @ b @ inverse_root(c).T, 2) == pytest.approx(coupling, rel=1e-10)
    top = lambda m: np.linalg.eigh(m)[1][:, -1]
    assert abs(top(a) @ b @ top(c)) == pytest.approx(coupling * np.sqrt(1.0 * 3.0), rel=1e-10)


def test_rotation_changes_neither_spectrum_nor_constants_of_a_shared_hessian():
    plain, turned = (tl.block_quadratic({"x": 4, "y": 2}, spectrum=("power", 1.0), rotated=r) for r in (False, True))
    assert turned.constants.smoothness == pytest.approx(plain.constants.smoothness, rel=1e-12)
    assert turned.constants.trace == pytest.approx(plain.constants.trace, rel=1e-12)
    assert plain.hessian.ndim == 1
    assert np.abs(turned.dense_hessian()[0, 1]) > 1e-3


def test_the_key_decides_the_data():
    make = lambda key: np.asarray(tl.block_quadratic({"x": 3}, n=4, dispersion=1.0, rotated=True, key=key).tilts)
    assert (make(None) == make(jax.random.key(0))).all()
    assert (make(jax.random.key(1)) != make(jax.random.key(0))).all()


def test_an_uncoupled_problem_stores_its_diagonal_alone():
    problem = tl.block_quadratic({"x": 20000, "y": 5})
    assert problem.hessian.shape == (20005,)
    assert problem.deviations is None
