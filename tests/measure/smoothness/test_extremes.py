"""Extreme eigenvalues and traces against dense linear algebra: blocks, scaled coordinates, and the price."""

import math
import re
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory_lab as tl
from theory_lab.claims import claim
from theory_lab.measure.smoothness import extreme_eigenvalues, lanczos, trace
from theory_lab.measure.smoothness.curvature import curvature

from .functions import KINDS, POINT, coupled, quadratic, spectrum, symmetric
from .test_curvature import ROOT, ROWS, SCALING, dense

KEY = jax.random.key(0)
D = 40


def within(measured, truth):
    return measured.low <= truth <= measured.high


@pytest.mark.parametrize("block", [None, "x", "y"])
@pytest.mark.parametrize("scaling", [None, SCALING])
def test_both_ends_of_any_block_in_any_scale(block, scaling):
    expected = dense() if scaling is None else dense() / ROOT[:, None] / ROOT[None, :]
    eigenvalues = np.linalg.eigvalsh(expected[ROWS[block], ROWS[block]])
    low, high = extreme_eigenvalues(coupled, POINT, key=KEY, block=block, scaling=scaling)
    assert within(low, eigenvalues[0])
    assert within(high, eigenvalues[-1])
    assert high.high - high.low < 1e-11 * np.abs(eigenvalues).max()  # exact: as many products as dimensions
    assert low.products == high.products == len(eigenvalues)
    assert ("block" in low.name, "scaled" in low.name) == (block is not None, scaling is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_random_problems(kind):
    """Indefinite, positive, clustered: thirty of each with ten products in forty dimensions, none missed at 0.9999."""
    rng = np.random.default_rng(7)
    for seed in range(30):
        matrix = symmetric(rng, spectrum(rng, kind, D))
        low, high = extreme_eigenvalues(
            quadratic, {"x": jnp.zeros(D)}, key=jax.random.key(seed), iterations=10, probability=0.9999, args=(matrix,)
        )
        eigenvalues = np.linalg.eigvalsh(matrix)
        assert within(low, eigenvalues[0])
        assert within(high, eigenvalues[-1])
        assert high.products <= 10


def test_the_declared_smoothness_is_the_norm_in_scaled_coordinates():
    """Diagonal blocks alone do not certify: each is below L_b / 1.5, and the coupled whole attains D."""
    problem = tl.block_quadratic({"x": 6, "y": 4}, smoothness={"x": 9.0, "y": 2.0}, coupling=0.5, rotated=True)
    point, declared = problem.init(KEY), problem.constants.smoothness
    _, whole = extreme_eigenvalues(problem.value, point, key=KEY, scaling=declared)
    _, block = extreme_eigenvalues(problem.value, point, key=KEY, block="x", scaling=declared)
    assert whole.value == pytest.approx(1.0, rel=1e-12)
    assert block.value == pytest.approx(1 / 1.5, rel=1e-12)
    verdict = claim("-D <= H <= D", "Definition 1", "at most", 1 + 1e-12).check(whole)
    assert verdict.outcome == "holds"


def test_single_precision_says_how_far_it_can_be_trusted():
    rng, d = np.random.default_rng(1), 24
    matrix = symmetric(rng, spectrum(rng, "indefinite", d)).astype(np.float32)
    eigenvalues = np.linalg.eigvalsh(((matrix + matrix.T) / 2).astype(np.float64))
    low, high = extreme_eigenvalues(quadratic, {"x": jnp.zeros(d, jnp.float32)}, key=KEY, iterations=d, args=(matrix,))
    assert within(low, eigenvalues[0])
    assert within(high, eigenvalues[-1])
    assert 1e-8 < high.high - high.low < 1e-3


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_curvature_whose_square_is_out_of_range_is_measured(keep, size):
    """The square of a norm of 1e-30 is 0 in single precision, and that of 1e30 is infinite."""
    rng, d = np.random.default_rng(1), 24
    matrix = (size * symmetric(rng, spectrum(rng, "indefinite", d))).astype(np.float32)
    eigenvalues = np.linalg.eigvalsh(((matrix + matrix.T) / 2).astype(np.float64))
    hessian = curvature(quadratic, {"x": jnp.zeros(d, jnp.float32)}, args=(matrix,))
    low, high, _ = lanczos.extremes(hessian, KEY, 16, 0.99, keep=keep)
    assert within(low, eigenvalues[0])
    assert within(high, eigenvalues[-1])
    assert low.products == 16


def test_one_compilation_serves_all_data_scales_and_keys():
    rng = np.random.default_rng(2)
    lanczos._krylov.clear_cache()
    for seed in range(3):
        matrix, scaling = symmetric(rng, spectrum(rng, "indefinite", D)), {"x": 1.0 + seed}
        point = {"x": jnp.full(D, float(seed))}
        extreme_eigenvalues(quadratic, point, key=jax.random.key(seed), scaling=scaling, iterations=10, args=(matrix,))
        assert lanczos._krylov._cache_size() == 1


def test_curvature_that_is_not_finite_leaves_no_opinion():
    kink = lambda z: jnp.sum(jnp.abs(z["x"]) ** 1.5)
    for measured in (*extreme_eigenvalues(kink, {"x": jnp.zeros(3)}, key=KEY), trace(kink, {"x": jnp.zeros(3)}, key=KEY)):
        assert math.isnan(measured.value)
        assert measured.note == "a Hessian-vector product is not finite"
        assert claim("c", "s", "at most", 1.0).check(measured).outcome == "undecided"


def test_no_curvature_is_exactly_none():
    flat = lambda z: jnp.sum(z["x"])
    low, high = extreme_eigenvalues(flat, {"x": jnp.ones(3)}, key=KEY)
    assert (low.low, low.high, high.low, high.high) == (0.0, 0.0, 0.0, 0.0)
    assert trace(flat, {"x": jnp.ones(3)}, key=KEY).value == 0.0


@pytest.mark.parametrize("block", [None, "x", "y"])
def test_the_trace_is_summed_where_that_is_cheapest(block):
    expected = np.trace(dense()[ROWS[block], ROWS[block]])
    measured = trace(coupled, POINT, key=KEY, block=block)
    assert measured.value == pytest.approx(expected, rel=1e-12)
    assert measured.high - measured.low < 1e-12 * abs(expected) * 10
    assert measured.products == len(dense()[ROWS[block]])
    scaled = trace(coupled, POINT, key=KEY, block="x", scaling=SCALING).value
    assert scaled == pytest.approx(np.trace(dense()[:3, :3]) / SCALING["x"], rel=1e-12)


@pytest.mark.parametrize("kind, deflation", [("indefinite", None), ("power law", None), ("power law", 0)])
def test_the_trace_interval_covers_as_often_as_it_says(kind, deflation):
    rng, repeats, hits = np.random.default_rng(3), 200, 0
    matrix = symmetric(rng, spectrum(rng, kind, D))
    for seed in range(repeats):
        measured = trace(
            quadratic,
            {"x": jnp.zeros(D)},
            key=jax.random.key(seed),
            products=36,
            deflation=deflation,
            confidence=0.9,
            args=(matrix,),
        )
        hits += within(measured, np.trace(matrix))
    assert measured.samples == (12 if deflation is None else 36)
    assert measured.products == 36
    assert abs(hits / repeats - 0.9) < 4 * math.sqrt(0.9 * 0.1 / repeats)


@pytest.mark.parametrize("products, probes", [(2, 2), (3, 3), (4, 2), (5, 3), (9, 3)])
def test_two_probes_are_left_of_however_few_products(products, probes):
    matrix = symmetric(np.random.default_rng(4), np.arange(1.0, D + 1))
    found = trace(quadratic, {"x": jnp.zeros(D)}, key=KEY, products=products, args=(matrix,))
    assert (found.samples, found.products) == (probes, products)
    assert within(found, np.trace(matrix))


def test_a_resolved_trace_is_trusted_as_far_as_single_precision():
    rng = np.random.default_rng(3)
    rows = [rng.standard_normal((1, D)).astype(np.float32) for _ in range(40)]
    fn = lambda z, row: jnp.sum((row @ z["x"]) ** 2) / 2
    for seed, row in enumerate(rows):  # rank one: the sketch finds all of it, and the probes nothing
        found = trace(fn, {"x": jnp.zeros(D, jnp.float32)}, key=jax.random.key(seed), products=36, args=(row,))
        truth = float(np.sum(row.astype(float) ** 2))
        assert within(found, truth)
        assert found.high - found.low < 1e-4 * truth


def test_deflation_takes_the_large_eigenvalues_out_of_the_noise():
    rng = np.random.default_rng(4)
    matrix = symmetric(rng, np.arange(1.0, D + 1) ** -3)
    plain, deflated = (
        trace(quadratic, {"x": jnp.zeros(D)}, key=KEY, products=36, deflation=r, args=(matrix,)) for r in (0, 12)
    )
    assert deflated.high - deflated.low < (plain.high - plain.low) / 30


@pytest.mark.parametrize("measure", [extreme_eigenvalues, trace])
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"fn": lambda z: z["x"]}, "fn must be a function with a floating-point scalar value"),
        ({"fn": lambda z: jnp.log(z["x"][0] - 5)}, "fn(params) must be finite, got nan"),
        ({"params": {"x": jnp.arange(3)}}, "params['x'] must be float32 or float64"),
        ({"block": "y"}, "block must be one of 'x', got 'y'"),
        ({"scaling": {"y": 1.0}}, "scaling must have the labels of the parameters ['x'], got ['y']"),
        ({"scaling": {"x": -1.0}}, "scaling['x'] must be positive and finite, got -1.0"),
        ({"key": 0}, "key must be a typed PRNG key"),
    ],
)
def test_refusals_of_both(measure, arguments, message):
    fine = {"fn": lambda z: jnp.sum(z["x"] ** 2.0), "params": {"x": jnp.ones(3)}, "key": KEY}
    given = {**fine, **arguments}
    with pytest.raises(ValueError, match=re.escape(message)):
        measure(given.pop("fn"), given.pop("params"), **given)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: extreme_eigenvalues(coupled, POINT, key=KEY, iterations=0),
            "iterations must be a whole number of at least 1",
        ),
        (lambda: extreme_eigenvalues(coupled, POINT, key=KEY, probability=1.0), "probability must be in (0, 1), got 1.0"),
        (
            lambda: trace(coupled, POINT, key=KEY, products=1),
            "products must be at least two more than twice the deflation, 0, got 1",
        ),
        (lambda: trace(coupled, POINT, key=KEY, products=0), "products must be a whole number of at least 1, got 0"),
        (lambda: trace(coupled, POINT, key=KEY, confidence=1.0), "confidence must be in (0, 1), got 1.0"),
        (lambda: trace(coupled, POINT, key=KEY, deflation=-1), "deflation must be a whole number of at least 0, got -1"),
        (
            lambda: trace(coupled, POINT, key=KEY, products=8, deflation=4),
            "products must be at least two more than twice the deflation, 4, got 8",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_single_number_in_scaled_coordinates_lies_within_its_rounding(precision):
    """h/L of a block of one coordinate is no sample: 200 random pairs, against fractions."""
    rng, point = np.random.default_rng(3), {"x": jnp.zeros(1, precision)}
    for seed in range(200):
        scale, entry = float(10 ** rng.uniform(-3, 3)), np.full((1, 1), rng.normal(), precision)
        truth = Fraction(float(entry[0, 0])) / Fraction(scale)
        given = {"key": jax.random.key(seed), "scaling": {"x": scale}, "args": (entry,)}
        assert all(within(end, truth) for end in extreme_eigenvalues(quadratic, point, **given))
        assert within(trace(quadratic, point, **given), truth)
