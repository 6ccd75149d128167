"""Lanczos in the memory of a few vectors: its bound without orthogonality, its witnesses, and what it takes at 10^6."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory_lab.measure import smoothness
from theory_lab.measure.smoothness import lanczos, recurrence
from theory_lab.measure.smoothness.curvature import curvature

from .functions import KINDS, quadratic, spectrum, symmetric

KEY = jax.random.key(0)
LARGE = 10**6


def hessian_of(matrix, dtype=jnp.float64):
    return curvature(quadratic, {"x": jnp.zeros(len(matrix), dtype)}, args=(jnp.asarray(matrix, dtype),))


def tilted(z, diagonal, direction):
    """(x'diag(a)x + <u, x>^2)/2: a million dimensions, and a top eigenvalue that one equation gives."""
    flat = jnp.concatenate([z["x"], z["y"]])
    return (jnp.vdot(diagonal, flat**2) + jnp.vdot(direction, flat) ** 2) / 2


def large(dtype):
    rng = np.random.default_rng(0)
    a, u = rng.uniform(0, 1, LARGE), 1.5e-3 * rng.standard_normal(LARGE)
    low, high = 1.0 + 1e-9, 10.0  # sum u^2/(lambda - a) = 1
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.sum(u * u / (middle - a)) > 1 else (low, middle)
    point = {"x": jnp.zeros(LARGE - 1000, dtype), "y": jnp.zeros(1000, dtype)}
    return point, (jnp.asarray(a, dtype), jnp.asarray(u, dtype)), high


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_margin_in_a_million_dimensions(dtype):
    """At most sixty products; certified a hundredth above the top eigenvalue, refuted by a vector a hundredth below it."""
    point, args, top = large(dtype)
    for factor, answer in ((1.01, "certified"), (0.99, "violated")):
        scales = {"x": top * factor, "y": top * factor}
        found = smoothness.margin(tilted, point, scales, key=KEY, args=args)
        assert found.two_sided == answer
        assert found.above.low <= 1 - 1 / factor <= found.above.high
        assert found.above.products <= 60
        if answer == "violated":
            v = np.concatenate([np.asarray(found.direction[b], np.float64) for b in "xy"])
            a, u = (np.asarray(part, np.float64) for part in args)
            assert top * factor * v @ v == pytest.approx(1, rel=1e-5)
            assert v @ (a * v) + (u @ v) ** 2 == pytest.approx(found.curvature, rel=1e-5)
            assert found.curvature > 1
        else:
            assert found.direction is None
            assert np.isnan(found.curvature)


@pytest.mark.optimized
def test_memory_is_a_few_vectors_and_not_one_for_every_product():
    point, args, top = large(jnp.float32)
    hessian = curvature(tilted, point, scaling={"x": top, "y": top}, args=args)
    assert not lanczos.keeps(hessian, 60)
    vectors = {}
    for k in (20, 60):
        analysis = recurrence.recur.lower(hessian, k, KEY, 1.0).compile().memory_analysis()
        vectors[k] = (analysis.temp_size_in_bytes + analysis.output_size_in_bytes) / (4 * LARGE)
    assert vectors[60] == pytest.approx(vectors[20], abs=0.01)
    assert vectors[60] < 10  # five of its own, two witnesses, and what a product takes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_it_keeps_its_word_when_orthogonality_is_gone(kind, dtype):
    """As many products as dimensions: Ritz values appear twice, and both ends still enclose the spectrum."""
    d = 60
    matrix = symmetric(np.random.default_rng(2), spectrum(np.random.default_rng(3), kind, d)).astype(dtype)
    lowest, highest = np.linalg.eigvalsh(((matrix + matrix.T) / 2).astype(np.float64))[[0, -1]]
    for seed in range(20):
        low, high, run = lanczos.extremes(hessian_of(matrix, dtype), jax.random.key(seed), d, 0.999, keep=False)
        assert low.low <= lowest <= low.high
        assert high.low <= highest <= high.high
        size = max(abs(lowest), abs(highest))
        assert high.high - high.low < (0.05 if kind in ("uniform", "indefinite", "positive") else 1e-2) * size
        assert run.basis is None


def test_orthogonality_is_gone():
    """What the test above relies on: an outlier is found twice."""
    matrix = symmetric(np.random.default_rng(2), np.r_[100.0, np.linspace(-1, 1, 59)])
    run = lanczos.tridiagonalise(hessian_of(matrix, jnp.float32), 60, KEY, keep=False)
    assert np.sum(run.values > 99) >= 2
    assert np.sum(lanczos.tridiagonalise(hessian_of(matrix, jnp.float32), 60, KEY, keep=True).values > 99) == 1


def test_both_recurrences_agree_while_orthogonality_lasts():
    matrix = symmetric(np.random.default_rng(2), np.linspace(-1, 1, 60))
    one, other = (lanczos.tridiagonalise(hessian_of(matrix), 8, KEY, keep=keep) for keep in (True, False))
    np.testing.assert_allclose(one.diagonal, other.diagonal, atol=1e-12)
    np.testing.assert_allclose(one.off, other.off, atol=1e-12)
    overlap = lanczos.least_overlap(60, 0.99)
    (_, sharp), (_, plain) = lanczos.top(one, overlap), lanczos.top(other, overlap)
    assert sharp < plain < sharp + 0.1


def test_a_step_that_is_disturbed_widens_the_bound_as_variation_of_constants_says():
    """The exact solution of the disturbed recurrence attains what is excluded at the disturbance, and no more."""
    rng = np.random.default_rng(5)
    alpha, beta, rho, q = rng.uniform(-1, 1, 6), rng.uniform(0.3, 0.5, 6), 1e-3, 0.05
    matrix = lanczos.Tridiagonal(alpha, beta, 0.0, disturbance=rho)
    _, bound = lanczos.top(matrix, q)
    _, calm = lanczos.top(matrix._replace(disturbance=0.0), q)
    assert bound > calm

    def largest(x):  # the components along u with every disturbance against growth
        c, reached = [0.0, q], 0.0
        for a, before, b in zip(alpha, [0.0, *beta[:-1]], beta, strict=True):
            c.append(((x - a) * c[-1] - before * c[-2] - rho) / b)
            reached = max(reached, c[-1])
        return reached

    assert largest(bound) == pytest.approx(lanczos.UNIT, rel=1e-6)


@pytest.mark.parametrize("side", [1, -1])
def test_the_first_direction_that_refutes_is_found_as_soon_as_there_is_one(side):
    matrix = side * symmetric(np.random.default_rng(2), np.r_[1.5, np.linspace(-0.9, 0.9, 59)])
    hessian = hessian_of(matrix)
    for k in range(1, 20):
        run = recurrence.recur(hessian, k, KEY, 1.0)
        values = lanczos.from_recurrence(hessian, run).values
        assert list(np.asarray(run.found)) == [values[0] < -1, values[-1] > 1]
        if run.found.any():
            v = np.asarray(run.witness[int(side > 0)])
            assert side * v @ matrix @ v > 1
            return
    raise AssertionError("an eigenvalue of 1.5 among those below 0.9 takes few products")


def test_curvature_that_is_not_finite_leaves_no_opinion(monkeypatch):
    monkeypatch.setattr(lanczos, "KEPT", 0)
    kink = lambda z: jnp.sum(jnp.abs(z["x"]) ** 1.5)
    found = smoothness.margin(kink, {"x": jnp.zeros(3)}, {"x": 1.0}, key=KEY)
    assert (found.two_sided, found.direction) == ("undecided", None)


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_no_curvature_and_curvature_that_is_met_exactly(monkeypatch, iterations):
    """H = 0 is certified under any D; H = D is at the edge, which rounding leaves undecided."""
    monkeypatch.setattr(lanczos, "KEPT", 0)
    flat, bowl = lambda z: jnp.sum(z["x"]), lambda z: jnp.sum(z["x"] ** 2) / 2
    found = smoothness.margin(flat, {"x": jnp.ones(5)}, {"x": 1e-3}, key=KEY, iterations=iterations)
    assert found.two_sided == "certified"
    assert found.above.value == found.below.value == 1.0
    found = smoothness.margin(bowl, {"x": jnp.ones(5)}, {"x": 1.0}, key=KEY, iterations=iterations)
    assert (found.two_sided, found.direction) == ("undecided", None)
