"""Cross blocks above the size where matrices are written out, against dense linear algebra."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory_lab as tl
from theory_lab.advise import advise, coupling, guaranteeing, spectra
from theory_lab.advise.fastest import SAFE
from theory_lab.advise.looking import Settings
from theory_lab.advise.spectra import spectral_view
from theory_lab.measure.base import unmeasured
from theory_lab.measure.smoothness import finite_sums
from theory_lab.measure.smoothness.curvature import curvature
from theory_lab.problems import logistic
from theory_lab.theory import local, local_stability

KEY = jax.random.key(0)
SIZES = {"x": 150, "y": 60}


def coupled_quadratic(strength):
    """Decaying blocks whose directions are coupled in pairs, steepest with steepest: H_xy = s H_xx^1/2 [I 0]' H_yy^1/2."""
    x, y = (1 + np.arange(150.0)) ** -0.5, 3 * (1 + np.arange(60.0)) ** -1.0
    hessian = np.diag(np.concatenate([x, y]))
    pairs = np.arange(60)
    hessian[pairs, 150 + pairs] = hessian[150 + pairs, pairs] = strength * np.sqrt(x[:60] * y)
    matrix = jnp.asarray(hessian)
    flat = lambda z: jnp.concatenate([z["x"], z["y"]])
    loss = lambda z, e: flat(z) @ matrix @ flat(z) / 2 + 0 * e
    start = {b: jnp.ones(size) for b, size in SIZES.items()}
    return hessian, tl.finite_sum(loss, jnp.zeros(1), start)


def mean_limit(hessian, advice):
    """How many times the advised step sizes may grow together before the mean is lost."""
    p = np.repeat([advice.step_sizes["x"], advice.step_sizes["y"]], [150, 60]) ** 0.5
    return 2 / np.linalg.eigvalsh(p[:, None] * hessian * p)[-1]


def noise_limit(hessian, advice):
    """The same before second moments are lost, by the whole matrix of them."""
    model = local.local(hessian, [150, 60], [True, False])
    stable = lambda etas: local_stability.stable(model, etas)
    return local_stability.boundary_scale(stable, [advice.step_sizes["x"], advice.step_sizes["y"]], resolution=1e-3)


@pytest.mark.parametrize("strength", [0.0, 0.95])
def test_first_order_steps_stay_within_the_dense_limit_and_use_it(strength):
    """Below 1/0.9 the share would be overstepped; the certified upper end of 40 products costs a few per cent of it."""
    hessian, problem = coupled_quadratic(strength)
    advice = advise(problem, key=KEY, zeroth=())
    assert 1 / SAFE <= mean_limit(hessian, advice) < 1.1 / SAFE


def test_products_too_rough_for_an_outer_end_do_not_shrink_what_is_advised(monkeypatch):
    """As by a GPU's products of 10 bits, where the end lay some hundred times beyond what Lanczos found."""
    hessian, problem = coupled_quadratic(0.95)
    ends = coupling.extreme_eigenvalues
    rough = lambda *args, **kwargs: tuple(replace(end, high=500 * end.high) for end in ends(*args, **kwargs))
    monkeypatch.setattr(coupling, "extreme_eigenvalues", rough)
    advice = advise(problem, key=KEY, zeroth=())
    assert 1 / SAFE <= mean_limit(hessian, advice) < 1.1 * coupling.VAGUE / SAFE
    assert any("nothing certifies: products are too rough" in reason.why for reason in advice.reasons)


def test_no_component_is_looked_at_for_constants_that_no_theorem_asks_for(monkeypatch):
    """Without a zeroth-order block smoothness and traces stay unknown; the rest is what was measured anyway."""
    _, problem = coupled_quadratic(0.0)
    asked = []
    monkeypatch.setattr(guaranteeing, "_sampled_reach", lambda *_: asked.append(1) or 1.0)
    first = advise(problem, key=KEY, zeroth=())
    assert not asked
    assert first.constants.smoothness is None
    assert first.constants.trace is None
    assert first.guaranteed == {}
    assert set(first.constants.dispersion) == set(SIZES)
    hybrid = advise(problem, key=KEY)
    assert asked == [1]
    assert set(hybrid.constants.smoothness) == set(hybrid.constants.trace) == set(SIZES)


@pytest.mark.parametrize("strength", [0.0, 0.95])
def test_hybrid_steps_stay_within_the_dense_limits(strength):
    hessian, problem = coupled_quadratic(strength)
    advice = advise(problem, key=KEY)
    assert mean_limit(hessian, advice) >= 1 / SAFE
    assert noise_limit(hessian, advice) >= 1 / SAFE * 0.95  # four random starts tell a trace to some per cent
    for label in SIZES:
        assert advice.step_sizes[label] <= advice.limits[label].low <= advice.limits[label].value


@pytest.mark.parametrize("ray", [(1.0, 0.1), (1.0, 0.9), (0.3, 1.0)])
def test_the_ray_of_step_sizes_ends_where_second_moments_are_lost(ray):
    """Shares of what each block bears alone; four starts tell a trace of many eigenvalues to some per cent."""
    hessian, problem = coupled_quadratic(0.95)
    alone = 2 / (np.trace(hessian[:150, :150]) + 2), 2 / 3
    found, exact, top = ends_of_the_ray(problem, hessian, SIZES, ("x",), np.multiply(ray, alone).tolist())
    assert found / exact == pytest.approx(1, abs=0.1)
    assert found <= 2 / top


def test_two_blocks_of_two_points_each_hear_the_noise_of_the_other():
    """x and y alike, coupled by 0.95: noise that leaves a block through the coupling comes back from the other."""
    d = 105
    matrix = np.kron([[1.0, 0.95], [0.95, 1.0]], np.eye(d))
    whole, flat = jnp.asarray(matrix), lambda z: jnp.concatenate([z["x"], z["y"]])
    loss = lambda z, e: flat(z) @ whole @ flat(z) / 2 + 0 * e
    problem = tl.finite_sum(loss, jnp.zeros(1), {"x": jnp.ones(d), "y": jnp.ones(d)})
    found, exact, _ = ends_of_the_ray(problem, matrix, {"x": d, "y": d}, ("x", "y"), [1 / (d + 2)] * 2)
    assert found / exact == pytest.approx(1, abs=0.1)


def ends_of_the_ray(problem, hessian, sizes, zeroth, etas):
    """Where a ray ends by products and by the whole matrix of second moments, and the largest eigenvalue of K."""
    labels, counts = tuple(sizes), tuple(sizes.values())
    settings = Settings(labels, counts, zeroth, 1, "gaussian", "random_reshuffling", 1, 1)
    start = problem.init(KEY)
    view = spectral_view(problem, start, "the start", settings, gradient=problem.gradient(start), key=KEY, probability=0.99)
    points = coupling.coupled(problem, SimpleNamespace(views=(view,), last=view), etas, key=KEY, probability=0.99)
    model = local.local(hessian, counts, [label in zeroth for label in labels])
    exact = local_stability.boundary_scale(lambda e: local_stability.stable(model, e), etas, resolution=1e-3)
    return coupling.room(points, 64.0), exact, points[0].top.value


@pytest.mark.parametrize(
    "dtype, sizes", [("float32", {"x": 210}), ("float64", {"x": 150, "y": 60}), ("float32", {"x": 40, "y": 20})]
)
def test_more_parameters_than_rows_leave_flat_directions_that_limit_nothing(dtype, sizes):
    """Least squares from 30 rows, by the whole matrix of second moments; with noise of directions half of it is fastest."""
    d, rng = sum(sizes.values()), np.random.default_rng(0)
    features, targets = rng.standard_normal((30, d)) / 6, rng.standard_normal(30)
    flat = lambda z: jnp.concatenate([z[label] for label in sorted(sizes)])
    data = (jnp.asarray(features, dtype), jnp.asarray(targets, dtype))
    start = {label: jnp.zeros(size, dtype) for label, size in sizes.items()}
    problem = tl.finite_sum(lambda z, e: (e[0] @ flat(z) - e[1]) ** 2 / 2, data, start)
    advice = advise(problem, key=KEY, batch_size=30)
    model = local.local(features.T @ features / 30, list(sizes.values()), [label == "x" for label in sizes])
    etas = [advice.step_sizes[label] for label in sizes]
    found = local_stability.boundary_scale(lambda e: local_stability.noise_gain(model, e) < 1, etas, resolution=1e-3)
    assert 0.95 / SAFE <= found < 2.5
    assert np.isfinite(advice.steps)


def test_cross_blocks_that_are_not_finite_are_refused(monkeypatch):
    """Though the blocks themselves are: without a largest eigenvalue no step size is known to be stable."""
    lost = (unmeasured("lowest", 1, "not finite"), unmeasured("highest", 1, "not finite"))
    monkeypatch.setattr(coupling, "extreme_eigenvalues", lambda *_, **__: lost)
    with pytest.raises(ValueError, match=r"^the Hessian of the problem at the start must be finite, got nan"):
        advise(tl.block_quadratic({"x": 200, "y": 8}), key=KEY)


@pytest.mark.parametrize("block", ["x", "y"])
def test_how_components_differ_is_the_same_in_either_program(block: str, monkeypatch) -> None:
    rng, columns = np.random.default_rng(0), {"x": [0, 2, 3], "y": [1, 4]}
    problem = logistic(rng.normal(size=(6, 5)), np.sign(rng.normal(size=6)), columns=columns, l2=0.1)
    params = {"x": jnp.array([0.3, -0.2, 0.5]), "y": jnp.array([1.0, 0.4])}
    fn, args = finite_sums.mean(problem)
    at = curvature(fn, params, block=block, args=args)
    vectors = jax.random.normal(KEY, (3, at.dimension), at.dtype)
    indices = jnp.array([[0, 4], [5, 1], [2, 2]])
    few = spectra._differences(problem, at, vectors, indices)
    monkeypatch.setattr(finite_sums, "TOGETHER", 1)
    np.testing.assert_allclose(few, spectra._differences(problem, at, vectors, indices), rtol=1e-10)
    each = finite_sums.component_hessians(problem, params, range(6))
    inside = slice(0, 3) if block == "x" else slice(3, 5)
    apart = (each - each.mean(axis=0))[:, inside, inside]
    direct = [[np.sum((apart[i] @ v) ** 2) for i in some] for v, some in zip(np.asarray(vectors), indices, strict=True)]
    np.testing.assert_allclose(few, direct, rtol=1e-10)


@pytest.mark.parametrize("together", [32, 1])
def test_differences_of_a_block_do_not_ask_for_finite_curvature_in_another(together: int, monkeypatch) -> None:
    """|y|^(3/2) has no second derivative at 0; of the other block H_i - H = (i - 1) I."""
    loss = lambda z, i: i * jnp.sum(z["x"] ** 2) / 2 + jnp.sum(jnp.abs(z["y"]) ** 1.5)
    params = {"x": jnp.ones(3), "y": jnp.zeros(2)}
    problem = tl.finite_sum(loss, jnp.arange(3.0), params)
    fn, args = finite_sums.mean(problem)
    monkeypatch.setattr(finite_sums, "TOGETHER", together)
    found = spectra._differences(
        problem, curvature(fn, params, block="x", args=args), jnp.ones((1, 3)), jnp.array([[2, 1, 0]])
    )
    np.testing.assert_allclose(found, [[3.0, 0.0, 3.0]], rtol=1e-10, atol=1e-10)
