"""Growth functions where they are known, and envelopes against linear programming."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

import theory_lab as tl
import theory_lab.measure.growth as module
from theory_lab.measure import smoothness

KEY = jax.random.key(0)


def cloud(problem, scale: float, count: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    start = problem.init(KEY)
    for _ in range(count):
        size = scale * rng.uniform(0.02, 1)
        yield jax.tree.map(lambda a, s=size: jnp.asarray(s * rng.standard_normal(a.shape)), start)


@pytest.mark.parametrize(
    ("profile", "power"),
    [(tl.cosh(1.0, 1.5), 1.0), (tl.exponential(1.0, 1.0), 1.0), (tl.power(4.0), 2 / 3), (tl.power(3.0), 0.5)],
)
def test_the_power_of_a_known_family_in_one_dimension(profile, power):
    problem = tl.separable({"x": 1}, profile)
    points = [{"x": jnp.array([t])} for t in np.geomspace(0.05, 4.0, 60)]
    rows = smoothness.growth(problem.value, points, key=KEY)
    exact = [profile.growth(float(u)) for u in rows.gradient_norm]
    np.testing.assert_allclose(rows.block_x, exact, rtol=1e-6)
    found = module.envelope(rows.gradient_norm, rows.smoothness_x)
    # l of cosh is no L_0 + L_1 u^p: its power is 1 only far out, and these gradients end at 40.
    assert found.power.low - 0.12 <= power <= found.power.high + 0.12
    assert np.all(found(rows.gradient_norm) >= rows.smoothness_x * (1 - 1e-9))


def test_smoothness_of_the_blocks_together_dominates_and_single_blocks_do_not():
    problem = tl.block_quadratic({"x": 5, "y": 3}, coupling=0.8, smoothness={"x": 4.0, "y": 0.5})
    rows = smoothness.growth(problem.value, [problem.init(KEY)], key=KEY)
    scales = {"x": float(rows.smoothness_x[0]), "y": float(rows.smoothness_y[0])}
    assert smoothness.margin(problem.value, problem.init(KEY), scales, key=KEY).two_sided != "violated"
    single = {"x": float(rows.block_x[0]), "y": float(rows.block_y[0])}
    assert smoothness.margin(problem.value, problem.init(KEY), single, key=KEY).two_sided == "violated"
    assert scales["x"] <= 2 * single["x"] * (1 + 1e-6)


def test_matrix_factorisation_with_decay_grows_like_the_square():
    problem = tl.matrix_factorisation(1, 1, 1, decay=0.1, target=[[0.0]])
    points = []
    for a in np.geomspace(3, 300, 30):
        points.append({"x": jnp.zeros((1, 1)), "y": {"A": jnp.full((1, 1), a), "B": jnp.full((1, 1), a / (a**2 + 0.1))}})
    rows = smoothness.growth(problem.value, points, key=KEY)
    found = module.envelope(rows.gradient_norm, rows.block_y)
    assert found.power.value == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("seed", range(30))
def test_the_programme_is_that_of_a_general_solver(seed):
    rng = np.random.default_rng(seed)
    u, y = rng.exponential(size=12), rng.exponential(size=12) + 0.1
    p = float(rng.uniform(0.2, 3))
    x = u**p
    solved = optimize.linprog([np.sum(1 / y), np.sum(x / y)], A_ub=-np.stack([np.ones(12), x], axis=1), b_ub=-y)
    total, offset, factor = module._programme(u, y, p)
    assert total == pytest.approx(solved.fun, rel=1e-7)
    assert np.all(offset + factor * x >= y * (1 - 1e-9))


def test_curvature_that_does_not_rise_has_no_power():
    found = module.envelope(np.geomspace(0.1, 10, 20), np.full(20, 3.0))
    assert (found.offset, found.factor) == (3.0, 0.0)
    assert np.isnan(found.power.value)
    assert "does not rise" in found.power.note


def test_the_interval_covers_the_power_of_noisy_pairs_and_held_out_pairs_are_counted():
    covered = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        u = np.exp(rng.uniform(-2, 4, 120))
        y = (1 + 2 * u**1.3) * rng.uniform(0.5, 1, 120)
        found = module.envelope(u, y, key=jax.random.key(seed), confidence=0.95, resamples=60)
        covered += found.power.low <= 1.3 <= found.power.high
        assert found.coverage.value > 0.8
    assert covered >= 16


def test_the_isotonic_envelope_is_the_least():
    rng = np.random.default_rng(0)
    u, y = rng.exponential(size=50), rng.exponential(size=50)
    jumps, values = module.isotonic(u, y)
    assert np.all(np.diff(jumps) > 0)
    assert np.all(np.diff(values) > 0)
    at = values[np.searchsorted(jumps, u, side="right") - 1]
    np.testing.assert_allclose(at, [y[u <= one].max() for one in u])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: module.envelope([1.0] * 7, [1.0] * 7), "the number of pairs must be"),
        (lambda: module.envelope([1.0] * 8, [0.0] * 8), "curvatures must be positive"),
        (lambda: module.envelope([-1.0] * 8, [1.0] * 8), "gradient_norms must be nonnegative"),
        (lambda: module.envelope([1.0] * 8, [1.0] * 9), "curvatures must be as many"),
        (lambda: smoothness.growth(lambda z: 0.0, [], key=KEY), "points must be a non-empty sequence"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
