"""Pairs of gradient norm and curvature where growth functions are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import theory_lab as tl
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
    found = smoothness.envelope(rows.gradient_norm, rows.smoothness_x)
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
    found = smoothness.envelope(rows.gradient_norm, rows.block_y)
    assert found.power.value == pytest.approx(2.0, abs=0.1)


def test_no_curvature_is_zero_and_not_minus_zero():
    rows = smoothness.growth(lambda z: jnp.sum(z["x"]) + jnp.sum(z["y"]), [{"x": jnp.ones(2), "y": jnp.ones(3)}], key=KEY)
    found = rows[["block_x", "block_y", "smoothness_x", "smoothness_y"]].to_numpy()
    assert (found == 0).all()
    assert not np.signbit(found).any()


def test_no_points_are_refused():
    with pytest.raises(ValueError, match=r"^points must be a non-empty sequence"):
        smoothness.growth(lambda z: 0.0, [], key=KEY)


def test_a_point_has_the_same_numbers_whichever_others_are_looked_at():
    problem = tl.block_quadratic({"x": 40, "y": 3}, coupling=0.5)
    points = [problem.init(jax.random.key(i)) for i in range(35)]  # more than have their keys made together
    rows = smoothness.growth(problem.value, points, key=KEY, iterations=4)
    pd.testing.assert_frame_equal(rows[:3], smoothness.growth(problem.value, points[:3], key=KEY, iterations=4))
    own = jax.random.fold_in(KEY, 34)
    for i, label in enumerate("xy"):
        key = jax.random.fold_in(own, i)
        low, high = smoothness.extreme_eigenvalues(problem.value, points[34], block=label, key=key, iterations=4)
        assert rows[f"block_{label}"].iloc[34] == max(-low.value, high.value)
