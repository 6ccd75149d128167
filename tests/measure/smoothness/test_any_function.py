"""Functions and parameters as people bring them: kinks, methods, partials, dataclasses, mixed precision, no curvature."""

import functools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory_lab.measure import smoothness
from theory_lab.measure.smoothness import envelope

KEY = jax.random.key(0)
POINT = {"x": jnp.array([0.5, -1.0, 0.0]), "y": jnp.array([2.0, 3.0])}
ONES = {"x": 1.0, "y": 1.0}


def test_a_kink_adds_no_curvature_and_what_is_smooth_beside_it_is_measured():
    """relu and abs have second derivatives of zero wherever JAX gives any; the documentation says so."""
    fn = lambda z: jnp.sum(jax.nn.relu(z["x"])) + jnp.sum(jnp.abs(z["x"])) + 2 * jnp.sum(z["y"] ** 2)
    low, high = smoothness.extreme_eigenvalues(fn, POINT, key=KEY)
    assert (low.value, high.value) == pytest.approx((0.0, 4.0), abs=1e-12)
    assert smoothness.trace(fn, POINT, key=KEY).value == pytest.approx(8.0)
    assert "kink" in smoothness.extreme_eigenvalues.__doc__


def test_python_side_effects_happen_while_tracing_and_not_per_product():
    calls = []

    def fn(z):
        calls.append(1)
        return jnp.sum(z["x"] ** 2) + jnp.prod(z["y"])

    for seed in range(3):
        low, high = smoothness.extreme_eigenvalues(fn, POINT, key=jax.random.key(seed))
        assert (low.value, high.value) == pytest.approx((-1.0, 2.0))
    assert len(calls) < 5  # of some twelve products and three values


class Model:
    """A loss as a method, with numbers of its own."""

    def __init__(self, scale):
        self.scale = scale

    def loss(self, z, shift=0.0):
        return self.scale * jnp.sum((z["x"] - shift) ** 2) + jnp.sum(z["y"] ** 4)


def test_methods_and_partials():
    _, high = smoothness.extreme_eigenvalues(Model(3.0).loss, POINT, key=KEY, block="x")
    assert high.value == pytest.approx(6.0)
    _, high = smoothness.extreme_eigenvalues(functools.partial(Model(5.0).loss, shift=1.0), POINT, key=KEY, block="x")
    assert high.value == pytest.approx(10.0)
    _, high = smoothness.extreme_eigenvalues(jax.jit(Model(7.0).loss), POINT, key=KEY, block="x")
    assert high.value == pytest.approx(14.0)


@jax.tree_util.register_dataclass
@dataclass
class Layer:
    weight: jax.Array
    bias: tuple


def test_blocks_may_be_any_registered_tree():
    point = {"x": [jnp.ones(2), {"a": 1.5}], "y": Layer(jnp.ones((2, 2)), (jnp.zeros(2), np.float64(2.0)))}

    def fn(z):
        first, second = z["x"][0], z["x"][1]["a"]
        weight, (bias, last) = z["y"].weight, z["y"].bias
        return jnp.sum(first**2) * second**2 + jnp.sum(weight**3) + jnp.exp(last) + jnp.sum(bias)

    flat, unflatten = jax.flatten_util.ravel_pytree(point)
    dense = np.linalg.eigvalsh(jax.hessian(lambda v: fn(unflatten(v)))(flat))
    low, high = smoothness.extreme_eigenvalues(fn, point, key=KEY)
    assert (low.value, high.value) == pytest.approx((dense[0], dense[-1]), rel=1e-9)
    found = smoothness.margin(fn, point, {"x": 1.0, "y": 1.0}, key=KEY)
    assert jax.tree.structure(found.direction) == jax.tree.structure(point)
    v = jax.flatten_util.ravel_pytree(found.direction)[0]
    assert v @ jax.hessian(lambda w: fn(unflatten(w)))(flat) @ v == pytest.approx(found.curvature, rel=1e-9)


def test_mixed_precision_is_trusted_as_far_as_its_coarsest_part():
    point = {"x": jnp.ones(3, jnp.float32), "y": jnp.ones(2, jnp.float64)}
    fn = lambda z: (
        jnp.sum(z["x"].astype(jnp.float64) ** 2 * jnp.array([1.0, 2.0, 3.0])) + jnp.sum(z["x"]) * jnp.sum(z["y"] ** 2)
    )
    flat, unflatten = jax.flatten_util.ravel_pytree(jax.tree.map(lambda a: a.astype(jnp.float64), point))
    dense = np.linalg.eigvalsh(jax.hessian(lambda v: fn(unflatten(v)))(flat))
    low, high = smoothness.extreme_eigenvalues(fn, point, key=KEY)
    assert low.low <= dense[0] <= low.high
    assert high.low <= dense[-1] <= high.high
    assert 1e-7 < high.high - high.low < 1e-3
    direction = smoothness.margin(fn, point, ONES, key=KEY).direction
    assert (direction["x"].dtype, direction["y"].dtype) == (jnp.float32, jnp.float64)


def flat(z):
    """No curvature anywhere."""
    return jnp.sum(z["x"]) - 2 * jnp.sum(z["y"])


def test_no_curvature():
    found = smoothness.margin(flat, POINT, ONES, key=KEY)
    assert (found.two_sided, found.above.value, found.below.value) == ("certified", 1.0, 1.0)
    (point,) = smoothness.frontier(flat, POINT, [ONES], key=KEY)
    assert (point.multiple.low, point.multiple.high) == (0.0, 0.0)
    assert math.isnan(point.smoothness["x"])
    assert smoothness.partner(flat, POINT, given={"x": 1.0}, label="y", key=KEY) < 1e-12
    for deflation in (0, 1):
        total = smoothness.trace(flat, POINT, key=KEY, products=4, deflation=deflation)
        assert (total.low, total.value, total.high) == (0.0, 0.0, 0.0)
    norm = smoothness.cross_norm(flat, POINT, ("x", "y"), key=KEY)
    assert (norm.low, norm.value, norm.high) == (0.0, 0.0, 0.0)
    rank = smoothness.effective_rank(flat, POINT, key=KEY)
    assert (math.isnan(rank.value), rank.note) == (True, "no curvature")
    density = smoothness.spectral_density(flat, POINT, key=KEY, starts=2)
    assert all(np.all(nodes == 0) for nodes in density.nodes)
    rows = smoothness.growth(flat, [POINT, POINT], key=KEY)
    assert rows[["block_x", "block_y", "smoothness_x", "smoothness_y"]].to_numpy().tolist() == [[0.0] * 4] * 2
    with pytest.raises(ValueError, match=r"^curvatures must be positive, got 0\.0"):
        envelope(np.ones(8), np.zeros(8))


def test_a_block_without_curvature_is_no_obstacle():
    fn = lambda z: jnp.sum(z["x"] ** 2) / 2 + jnp.sum(z["y"])
    assert smoothness.margin(fn, POINT, {"x": 1.1, "y": 1e-6}, key=KEY).two_sided == "certified"
    best = smoothness.best_scales(fn, POINT, ONES, key=KEY)
    assert best.smoothness["x"] == pytest.approx(1.0, rel=0.02)
    assert best.smoothness["y"] < 0.02
    rows = smoothness.growth(fn, [POINT], key=KEY)
    assert (rows.block_x[0], rows.block_y[0]) == (pytest.approx(1.0), 0.0)


def test_a_hessian_that_is_met_exactly_is_left_undecided_by_rounding():
    """D - H = 0: no arithmetic of finite precision tells it from either side."""
    fn = lambda z: jnp.sum(z["x"] ** 2) / 2 + jnp.sum(z["y"] ** 2) / 2
    found = smoothness.margin(fn, POINT, ONES, key=KEY)
    assert (found.one_sided, found.two_sided) == ("undecided", "undecided")
    assert found.above.low < 0 <= found.above.high
    assert smoothness.margin(fn, POINT, {"x": 1 + 1e-9, "y": 1 + 1e-9}, key=KEY).two_sided == "certified"
    assert smoothness.margin(fn, POINT, {"x": 1 - 1e-9, "y": 1 - 1e-9}, key=KEY).two_sided == "violated"
