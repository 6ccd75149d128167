"""Growth functions against the curvature they bound, and the coupling that the origin bears."""

import jax
import numpy as np
import pytest

import theory_lab as tl
from theory_lab.problems.generalized import _curvature_beside_sine

PROFILES = {
    "cosh": (tl.cosh(2.0, 0.7), True),
    "exponential": (tl.exponential(2.0, 0.7), False),
    "cubic": (tl.power(3.0), True),
    "quartic": (tl.power(4.0), True),
    "tenth": (tl.power(10.0), True),
}
T = np.concatenate([-np.logspace(1, -3, 200), np.logspace(-3, 1, 200)])


@pytest.mark.parametrize("name", PROFILES)
def test_growth_bounds_the_curvature_by_the_slope(name):
    """|phi''| <= l(|phi'|), with equality everywhere but on the flat side of the exponential."""
    profile, symmetric = PROFILES[name]
    slope = np.asarray(jax.vmap(jax.grad(profile))(T))
    curvature = np.asarray(jax.vmap(jax.grad(jax.grad(profile)))(T))
    bound = profile.growth(np.abs(slope))
    assert (curvature <= bound * (1 + 1e-9)).all()
    tight = slice(None) if symmetric else T > 0
    np.testing.assert_allclose(curvature[tight], bound[tight], rtol=1e-8)
    assert (np.diff(profile.growth(np.linspace(0, 50, 500))) >= 0).all()


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_vanish_with_their_slope_at_the_origin_alone(name):
    profile, _ = PROFILES[name]
    assert float(profile(0.0)) == 0.0
    assert float(jax.grad(profile)(0.0)) == 0.0
    assert (np.asarray(profile(T)) > 0).all()
    assert float(jax.grad(jax.grad(profile))(0.0)) == pytest.approx(0.0 if profile.kind == "power" else 2.0)


def test_growth_of_a_float_is_a_float_in_double_precision():
    problem = tl.separable({"x": 2, "y": 2}, {"x": tl.cosh(), "y": tl.exponential(0.3, 2.0)}, coupling=0.1)
    assert problem.constants.growth["y"](1.7) == 0.3 + 2.0 * (1.7 + 0.1) + 0.1
    assert type(problem.constants.growth["x"](1.7)) is float


@pytest.mark.parametrize(
    "profile", [tl.cosh(1.5, 2.0), tl.exponential(1.0, 0.5), tl.exponential(2.0, 3.0), tl.exponential(1.0, 1e-4)]
)
def test_the_coupling_limit_is_the_largest_that_the_origin_bears(profile):
    """The limit is inf 2 phi(t) / sin^2 t, from below: at it f >= 0 on a grid, 1% above it f < 0 somewhere."""
    limit = _curvature_beside_sine(profile)
    t = np.concatenate([-np.linspace(1e-4, 8, 4001), np.linspace(1e-4, 8, 4001)])
    infimum = (2 * np.asarray(profile(t)) / np.sin(t) ** 2).min()
    assert limit <= infimum * (1 + 1e-6)
    assert limit >= 0.99 * infimum
    values = np.asarray(profile(t))
    pairs = values[::9, None] + values[None, ::9]
    sines = np.sin(t[::9, None]) * np.sin(t[None, ::9])
    assert (pairs >= limit * sines).all()
    assert (pairs < 1.02 * infimum * sines).any()


def test_a_coupling_on_the_limit_is_accepted_and_keeps_the_minimum():
    problem = tl.separable({"x": 2, "y": 3}, tl.cosh(), coupling=1.0)
    near = {"x": np.full(2, 1e-2), "y": np.full(3, 1e-2)}
    assert float(problem.value(near)) > 0
    assert problem.constants.optimal_value == 0.0


def test_growth_stays_a_bound_beyond_the_reach_of_random_points():
    """On a line of one coupled pair: the Hessian's two eigenvalues against l_b at the gradient's norm."""
    problem = tl.separable({"x": 1, "y": 1}, {"x": tl.cosh(), "y": tl.exponential()}, coupling=0.5)
    grid = np.linspace(-4, 4, 81)
    x, y = (a.ravel() for a in np.meshgrid(grid, grid))
    norm = np.hypot(np.sinh(x) + 0.5 * np.cos(x) * np.sin(y), np.expm1(y) + 0.5 * np.sin(x) * np.cos(y))
    bend = 0.5 * np.sin(x) * np.sin(y)
    cross = 0.5 * np.cos(x) * np.cos(y)
    bounds = [np.array([problem.constants.growth[b](float(u)) for u in norm]) for b in ("x", "y")]
    for sign in (1, -1):
        a, c = bounds[0] + sign * (np.cosh(x) - bend), bounds[1] + sign * (np.exp(y) - bend)
        assert (a > 0).all()
        assert (a * c - cross**2 > 0).all()
