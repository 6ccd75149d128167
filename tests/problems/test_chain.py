"""The chain: its zero-chain structure, its constants by sampling, and how slowly its oracle lets one advance."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

import theory_lab as tl
from theory_lab.oracles.progress import progress
from theory_lab.problems.chain import activation, response

T = 12
CHAIN = tl.chain(T)
GRADIENT = jax.jit(jax.vmap(lambda y: CHAIN.gradient({"y": y})["y"]))


def points(count: int) -> np.ndarray:
    """Points in all stages of progress, on the scale on which Psi and Phi bend."""
    rng = np.random.default_rng(0)
    reach = rng.integers(0, T + 1, count)[:, None]
    return rng.standard_normal((count, T)) * np.where(np.arange(T) < reach, rng.choice([0.5, 1.5, 4.0], (count, 1)), 0.2)


def test_value_by_the_definition():
    psi = lambda t: math.exp(1 - 1 / (2 * t - 1) ** 2) if t > 0.5 else 0.0
    phi = lambda t: math.sqrt(math.e) * integrate.quad(lambda s: math.exp(-s * s / 2), -40, t)[0]
    for y in points(5):
        by_hand = -psi(1.0) * phi(y[0])
        by_hand += sum(psi(-a) * phi(-b) - psi(a) * phi(b) for a, b in itertools.pairwise(y))
        assert float(CHAIN.value({"y": jnp.asarray(y)})) == pytest.approx(by_hand, rel=1e-8, abs=1e-8)


def test_gradient_is_a_finite_difference():
    y, h = points(20), 1e-5
    numeric = [
        (CHAIN.value({"y": jnp.asarray(p + h * e)}) - CHAIN.value({"y": jnp.asarray(p - h * e)})) / (2 * h)
        for p in y[:3]
        for e in np.eye(T)
    ]
    np.testing.assert_allclose(np.ravel(GRADIENT(jnp.asarray(y[:3]))), numeric, atol=152 * h + 1e-8)


def test_gradient_is_finite_where_psi_begins():
    t = jnp.array([0.5, 0.5 + 1e-12, 0.5 - 1e-12, 0.6])
    slopes = jax.vmap(jax.grad(activation))(t)
    assert jnp.isfinite(slopes).all()
    np.testing.assert_allclose(slopes[:3], 0, atol=1e-300)
    assert float(response(jnp.array(0.0))) == pytest.approx(math.sqrt(2 * math.pi * math.e) / 2)


def test_no_coordinate_beyond_the_next_is_visible():
    rng = np.random.default_rng(1)
    for reached in range(T - 1):
        y = np.where(np.arange(T) < reached, rng.standard_normal(T) * 2, 0.0)
        y[reached + 1 :] = 0.0
        seen = np.asarray(GRADIENT(jnp.asarray(y[None])))[0]
        assert not seen[reached + 1 :].any()


def test_constants_by_sampling():
    """The exact infimum, the gap of 12 T, the recalled smoothness 152 and the recalled bound 23 on every slope."""
    y = points(20000)
    values = np.asarray(jax.vmap(lambda p: CHAIN.value({"y": p}))(jnp.asarray(y)))
    least = CHAIN.constants.optimal_value
    assert least < values.min()
    assert float(CHAIN.value({"y": jnp.full(T, 1e3)})) == pytest.approx(least, rel=1e-5)
    assert float(CHAIN.value(CHAIN.init(jax.random.key(0)))) - least <= 12 * T
    slopes = np.asarray(GRADIENT(jnp.asarray(y)))
    assert np.abs(slopes).max() <= 23
    assert np.linalg.norm(slopes, axis=1)[np.abs(y[:, -1]) < 1].min() > 1
    hessians = np.asarray(jax.jit(jax.vmap(jax.hessian(lambda p: CHAIN.value({"y": p}))))(jnp.asarray(y[:4000])))
    curvature = np.abs(np.linalg.eigvalsh(hessians)).max()
    assert 40 < curvature <= CHAIN.constants.smoothness["y"]


def test_progress_counts_from_one_and_ignores_what_is_small():
    assert [int(progress(jnp.array(p))) for p in ([0.0, 0.2], [0.3, 0.2], [0.0, -0.3])] == [0, 1, 2]
    assert int(progress(jnp.array([0.5, 0.1]), 0.05)) == 2


def test_oracle_is_unbiased_and_exact_where_it_has_been():
    oracle, y = tl.Progress(0.2), jnp.zeros(T).at[:3].set(2.0)
    exact = CHAIN.gradient({"y": y})["y"]
    fn = lambda z: CHAIN.component(z, jnp.int32(0))
    draws = oracle.draw(jax.random.key(0), {"y": y}, 4000)
    seen = np.asarray(jax.vmap(lambda z: oracle.estimate(fn, {"y": y}, z).gradient["y"])(draws))
    assert (seen[:, :3] == np.asarray(exact)[:3]).all()
    assert set(np.unique(seen[:, 3])) == {0.0, float(seen[:, 3].min())}
    hidden = float(exact[3])
    spread = abs(hidden) * math.sqrt((1 - 0.2) / 0.2 / 4000)  # variance (1-p)/p of the hidden part
    assert abs(seen[:, 3].mean() - hidden) < 5 * spread
    assert seen[:, 3].var() == pytest.approx(hidden**2 * 0.8 / 0.2, rel=0.1)


def test_discovering_every_coordinate_takes_about_one_draw_in_p():
    """Gradient descent on the chain: never more discoveries than draws that show; without noise it arrives much sooner."""
    length, p, epochs = 5, 0.1, 60
    problem = tl.chain(length)
    trace = {}
    for probability in (1.0, p):
        keys = jax.random.split(jax.random.key(2), 64)
        made = tl.sweep(problem, tl.Progress(probability), tl.hybrid_sgd, step_sizes={"y": [0.2]}, epochs=epochs, keys=keys)
        trace[probability] = np.asarray(jax.vmap(progress)(jnp.asarray(made.params["y"][0])))
    assert trace[1.0].min() == length
    # After K steps at most Binomial(K, p) coordinates are known: mean 6, 99.99% of 64 runs' mean below 7.4.
    assert trace[p].mean() < length
    reached_by_chance = np.random.default_rng(0).binomial(epochs, p, 100000).clip(max=length).mean()
    assert trace[p].mean() <= reached_by_chance + 4 * trace[p].std() / 8
    assert trace[p].mean() > 1
