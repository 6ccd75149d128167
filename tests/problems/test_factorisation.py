"""Matrix factorisation against its theory: the instances without a growth function, the bound on a sublevel set."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import theory_lab as tl
from theory_lab.theory.factorisation import steep_instance, sublevel_smoothness


def hessian(problem: tl.Problem, params: dict) -> np.ndarray:
    flat, unravel = ravel_pytree(params)
    return np.asarray(jax.hessian(lambda v: problem.value(unravel(v)))(flat))


def gradient(problem: tl.Problem, params: dict) -> np.ndarray:
    return np.asarray(ravel_pytree(problem.gradient(params))[0])


def test_value_and_hessian_form_by_hand():
    """||dW + dB A + B dA||^2 + 2<R, dB dA> + lam(||dA||^2 + ||dB||^2)."""
    problem = tl.matrix_factorisation(3, 4, 2, decay=0.2)
    rng = np.random.default_rng(0)
    w, a, b, dw, da, db = (rng.standard_normal(s) for s in ((3, 4), (2, 4), (3, 2)) * 2)
    residual = w + b @ a - np.asarray(problem.optimum["x"])
    at, step = (
        {"x": jnp.asarray(p), "y": {"A": jnp.asarray(q), "B": jnp.asarray(r)}} for p, q, r in ((w, a, b), (dw, da, db))
    )
    assert float(problem.value(at)) == pytest.approx(0.5 * (residual**2).sum() + 0.1 * ((a**2).sum() + (b**2).sum()))
    form = ((dw + db @ a + b @ da) ** 2).sum() + 2 * (residual * (db @ da)).sum() + 0.2 * ((da**2).sum() + (db**2).sum())
    direction = np.asarray(ravel_pytree(step)[0])
    assert direction @ hessian(problem, at) @ direction == pytest.approx(form, rel=1e-12)


def test_components_differ_by_exactly_the_declared_dispersion_in_w():
    problem = tl.matrix_factorisation(3, 2, 1, n=5, dispersion=2.0)
    at = problem.init(jax.random.key(1))
    full = problem.gradient(at)
    gaps = [jax.grad(problem.component)(at, i)["x"] - full["x"] for i in range(5)]
    assert np.mean([float((gap**2).sum()) for gap in gaps]) == pytest.approx(2.0)
    assert problem.constants.dispersion is None
    assert problem.constants.optimal_value == 1.0


def test_the_adapter_starts_by_changing_nothing():
    problem = tl.matrix_factorisation(3, 2, 2)
    start = problem.init(jax.random.key(0))
    assert not start["y"]["B"].any()
    assert start["y"]["A"].any()


@pytest.mark.parametrize("decay", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("a", [0.5, 3.0, 1e3])
def test_steep_instances_are_what_they_say(a, decay):
    problem = tl.matrix_factorisation(1, 1, 1, target=[[1.0]], decay=decay)
    instance = steep_instance(a, decay)
    at = {"x": jnp.full((1, 1), instance.w), "y": {"A": jnp.full((1, 1), a), "B": jnp.full((1, 1), instance.b)}}
    assert np.linalg.norm(gradient(problem, at)) == pytest.approx(instance.gradient, rel=1e-12, abs=1e-12 * a)
    assert np.linalg.eigvalsh(hessian(problem, at))[-1] == pytest.approx(instance.curvature, rel=1e-12)


def test_with_decay_the_curvature_is_quadratic_in_the_gradient():
    near, far = steep_instance(1e3, 0.5), steep_instance(1e5, 0.5)
    exponent = np.log(far.curvature / near.curvature) / np.log(far.gradient / near.gradient)
    assert exponent == pytest.approx(2.0, abs=1e-4)
    assert far.curvature / far.gradient**2 == pytest.approx(0.5**-2, rel=1e-6)


@pytest.mark.parametrize(("gap", "decay"), [(2.0, 0.1), (0.5, 1.0), (0.01, 2.0)])
def test_sublevel_bound_holds_two_sidedly_and_is_nearly_attained(gap, decay):
    """Points of the level itself, drawn at random and scaled onto it; scalars, where the worst lie, densely."""
    bound = sublevel_smoothness(gap, decay)
    assert bound <= 1 + 2 * gap / decay + np.sqrt(2 * gap) + decay + 1e-12
    matrix = tl.matrix_factorisation(3, 2, 2, decay=decay)
    rng = np.random.default_rng(1)
    for _ in range(50):
        a, b, r = (rng.standard_normal(s) for s in ((2, 2), (3, 2), (3, 2)))
        share = rng.uniform()
        scale = np.sqrt(2 * gap * share / (decay * ((a**2).sum() + (b**2).sum())))
        a, b, r = a * scale, b * scale, r * np.sqrt(2 * gap * (1 - share) / (r**2).sum())
        at = {"x": jnp.asarray(r - b @ a) + matrix.optimum["x"], "y": {"A": jnp.asarray(a), "B": jnp.asarray(b)}}
        assert float(matrix.value(at)) == pytest.approx(gap)
        assert np.abs(np.linalg.eigvalsh(hessian(matrix, at))).max() <= bound
    worst = 0.0
    for r in np.linspace(-1, 1, 41) * np.sqrt(2 * gap):
        for angle in np.linspace(0, np.pi, 41):
            a, b = np.sqrt((2 * gap - r * r) / decay) * np.array([np.cos(angle), np.sin(angle)])
            form = np.array([[1, b, a], [b, b * b + decay, r + a * b], [a, r + a * b, a * a + decay]])
            worst = max(worst, np.abs(np.linalg.eigvalsh(form)).max())
    assert 0.6 * bound <= worst <= bound


def test_sublevel_smoothness_refuses_what_it_cannot_bound():
    with pytest.raises(ValueError, match="decay must be positive and finite, got 0"):
        sublevel_smoothness(1.0, 0.0)
    with pytest.raises(ValueError, match="gap must be nonnegative and finite, got -1"):
        sublevel_smoothness(-1.0, 1.0)
    with pytest.raises(ValueError, match="a must be positive and finite, got 0"):
        steep_instance(0.0)
