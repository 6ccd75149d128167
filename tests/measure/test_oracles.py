"""Moments by Monte Carlo against exact identities, and intervals that cover as often as they say."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory_lab as tl
from theory_lab.measure import oracles
from theory_lab.measure.oracles import Entries, moments

KEY = jax.random.key(3)
SURE = 0.9999  # four standard errors, at fixed keys
HESSIAN = jnp.array([[1.0, -0.6, 0.3], [-0.6, -2.0, 0.9], [0.3, 0.9, 0.5]])
POINT = {"x": jnp.array([0.2, -0.5, 0.9])}
GRADIENT = np.asarray(HESSIAN @ POINT["x"])
D, RADIUS = 3, 0.7


def fn(z):
    return z["x"] @ HESSIAN @ z["x"] / 2


def within(measured, truth):
    return measured.low <= truth <= measured.high


def second_moment(law, q):
    """q directions add (single - |g|^2)/q to |g|^2 (estimators of a quadratic are unbiased)."""
    h, g = np.asarray(HESSIAN), GRADIENT @ GRADIENT
    tau, s2 = np.trace(h), np.sum(h**2)
    single = {
        "gaussian": (D + 2) * g + RADIUS**2 / 4 * (D + 4) * (tau**2 + 2 * s2),
        "rademacher": D * g + RADIUS**2 * D / 4 * (tau**2 + 2 * (s2 - np.sum(np.diag(h) ** 2))),
        "sphere": D * g + RADIUS**2 * D / (4 * (D + 2)) * (tau**2 + 2 * s2),
    }[law]
    return g + (single - g) / q


@pytest.mark.parametrize("law, q", [("gaussian", 1), ("gaussian", 3), ("rademacher", 1), ("sphere", 3)])
def test_two_point_moments_are_the_exact_ones(law, q):
    seen = moments(tl.TwoPoint(RADIUS, directions=q, law=law), fn, POINT, KEY, samples=2**16, confidence=SURE)
    second = seen.second_moment["x"]
    assert within(second, second_moment(law, q))
    assert second.high - second.low < 0.25 * second.value
    assert within(seen.bias["x"], 0.0)
    assert within(seen.bias_sq["x"], 0.0)
    assert seen.mean["x"].deviation(GRADIENT).low == 0.0
    assert np.trace(seen.matrix["x"].value) == pytest.approx(second.value, rel=1e-12)
    assert (second.samples, seen.samples, second.note) == (2**16, 2**16, "")


def test_the_second_moment_matrix_is_the_exact_one():
    h, g = np.asarray(HESSIAN), GRADIENT
    tau, s2 = np.trace(h), np.sum(h**2)
    exact = (g @ g) * np.eye(D) + 2 * np.outer(g, g)
    exact += RADIUS**2 / 4 * ((tau**2 + 2 * s2) * np.eye(D) + 4 * tau * h + 8 * h @ h)
    matrix = moments(tl.TwoPoint(RADIUS), fn, POINT, KEY, samples=2**16, confidence=SURE).matrix["x"]
    assert matrix.deviation(exact).low == 0.0
    assert matrix.deviation(exact).high < 0.2 * exact.max()
    assert matrix.deviation(exact + 2 * np.eye(D)).low > 1.0


def test_a_bias_is_found():
    """exp(a'x): the smoothed gradient is exactly exp(radius^2 |a|^2 / 2) times the gradient."""
    a = jnp.array([1.0, -0.5])
    seen = moments(tl.TwoPoint(0.8), lambda z: jnp.exp(a @ z["x"]), {"x": jnp.zeros(2)}, KEY, samples=2**16, confidence=SURE)
    bias = (math.exp(0.8**2 * 1.25 / 2) - 1) * math.sqrt(1.25)
    assert within(seen.bias["x"], bias)
    assert within(seen.bias_sq["x"], bias**2)
    assert seen.bias["x"].low > 0.8 * bias
    assert seen.bias_sq["x"].low > 0.6 * bias**2


def test_every_block_has_moments_of_its_own():
    point = {"x": jnp.array([1.0, 2.0]), "y": {"w": jnp.ones((2, 2)), "b": jnp.zeros(1)}}
    joint = lambda z: (
        jnp.sum(z["x"] ** 2) * jnp.sum(z["y"]["w"]) + jnp.sum(z["y"]["b"]) + z["x"][0] * jnp.sum(z["y"]["w"] ** 2)
    )
    hybrid = tl.Hybrid({"x": tl.TwoPoint(1e-4), "y": tl.FirstOrder()})
    seen = moments(hybrid, joint, point, KEY, samples=2**13, confidence=SURE)
    gradient = jax.grad(joint)(point)
    g = float(jnp.sum(gradient["x"] ** 2))
    assert within(seen.second_moment["x"], (2 + 2) * g)
    exact = np.concatenate([gradient["y"]["b"], gradient["y"]["w"].ravel()])  # leaves in the order of the tree
    np.testing.assert_allclose(seen.mean["y"].value, exact, rtol=1e-12)
    assert seen.second_moment["y"].value == pytest.approx(exact @ exact, rel=1e-12)
    assert abs(seen.bias_sq["y"].value) < 1e-20
    assert seen.matrix["y"].value.shape == (5, 5)


def test_the_squared_bias_interval_covers_as_often_as_it_says():
    """In one dimension and in many, without bias, with a little and with much of it, in round and in flat clouds."""
    rng, repeats = np.random.default_rng(0), 150
    for d, scales in ((1, 1.0), (3, np.array([1.0, 0.3, 0.1])), (40, 1.0), (400, 1.0)):
        for size in (0.0, 0.2, 2.0):
            shift = np.zeros(d)
            shift[0] = size
            rows = scales * rng.standard_normal((repeats, oracles.BATCHES, d)) + shift
            found = [oracles._squared_norm_of_mean("b", row, 0.9) for row in rows]
            covers = np.mean([within(m, size**2) for m in found])
            assert covers > 0.9 - 4 * math.sqrt(0.9 * 0.1 / repeats), (d, size)
            assert abs(np.mean([m.value for m in found]) - size**2) < 5 * np.std([m.value for m in found]) / math.sqrt(
                repeats
            )
            spread = math.sqrt(2 * np.sum((scales * np.ones(d)) ** 4) / 64**2 + 4 * size**2 / 64)
            assert np.mean([m.high - m.low for m in found]) < 2.5 * 2 * 1.65 * spread, (d, size)


def test_batches_in_chunks_are_the_same_estimator(monkeypatch):
    whole = moments(tl.TwoPoint(RADIUS), fn, POINT, KEY, samples=4096, confidence=SURE)
    monkeypatch.setattr(oracles, "HELD", 100)
    chunked = moments(tl.TwoPoint(RADIUS), fn, POINT, KEY, samples=4096, confidence=SURE)
    assert chunked.samples >= whole.samples
    assert within(chunked.second_moment["x"], second_moment("gaussian", 1))
    difference = abs(chunked.second_moment["x"].value - whole.second_moment["x"].value)
    assert 0 < difference < whole.second_moment["x"].high - whole.second_moment["x"].low


def test_another_radius_compiles_nothing():
    oracles._batches.clear_cache()
    moments(tl.TwoPoint(0.1), fn, POINT, KEY, samples=128)
    moments(tl.TwoPoint(0.2), fn, {"x": 2 * POINT["x"]}, jax.random.key(1), samples=128, confidence=0.5)
    assert oracles._batches._cache_size() == 1


def test_large_matrices_are_measured_only_when_asked(monkeypatch):
    monkeypatch.setattr(oracles, "SMALL", 2)
    assert moments(tl.TwoPoint(0.1), fn, POINT, KEY, samples=128).matrix == {}
    assert moments(tl.TwoPoint(0.1), fn, POINT, KEY, samples=128, matrix=True).matrix["x"].value.shape == (3, 3)


def test_estimates_that_are_not_finite_leave_no_opinion():
    cliff = lambda z: jnp.sum(jnp.where(z["x"] > 0.5, jnp.inf, z["x"]))
    seen = moments(tl.TwoPoint(1.0), cliff, {"x": jnp.zeros(2)}, KEY, samples=256)
    for measured in (seen.second_moment["x"], seen.bias["x"], seen.bias_sq["x"]):
        assert math.isnan(measured.value)
        assert "are not finite" in measured.note


def test_a_deviation_is_bounded_by_the_intervals():
    entries = Entries("e", np.array([0.0, 5.0]), np.array([-1.0, 4.0]), np.array([1.0, 6.0]), 10)
    for predicted, expected in (
        ([0.0, 5.0], (0.0, 0.0, 1.0)),
        ([0.0, 7.0], (2.0, 1.0, 3.0)),
        ([-3.0, 5.5], (3.0, 2.0, 4.0)),
    ):
        deviation = entries.deviation(predicted)
        assert (deviation.value, deviation.low, deviation.high) == expected


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: moments(fn, fn, POINT, KEY), "oracle must be an Oracle, got"),
        (lambda: moments(tl.FirstOrder(), fn, POINT["x"], KEY), "params must be a non-empty mapping from block labels"),
        (
            lambda: moments(tl.FirstOrder(), fn, {"x": jnp.arange(3)}, KEY),
            "params['x'] must be float32 or float64, got 'int64'",
        ),
        (
            lambda: moments(tl.FirstOrder(), lambda z: z["x"], POINT, KEY),
            "fn must be a function with a floating-point scalar",
        ),
        (lambda: moments(tl.FirstOrder(), fn, POINT, 0), "key must be a typed PRNG key"),
        (
            lambda: moments(tl.FirstOrder(), fn, POINT, KEY, samples=100),
            "samples must be a whole number of at least 128, got 100",
        ),
        (lambda: moments(tl.FirstOrder(), fn, POINT, KEY, confidence=0), "confidence must be in (0, 1), got 0"),
        (
            lambda: moments(tl.Hybrid({"x": tl.FirstOrder(), "y": tl.FirstOrder()}), fn, POINT, KEY),
            "the oracle's members must have the labels of the parameters ['x'], got ['x', 'y']",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
