"""hybrid_sgd: one transformation per block."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import theory_lab as tl

PARAMS = {"x": {"w": jnp.ones((2, 2)), "b": jnp.zeros(2)}, "y": jnp.arange(3.0)}
GRADIENTS = jax.tree.map(lambda a: a + 1.0, PARAMS)


def steps(optimizer: optax.GradientTransformation, count: int) -> dict:
    """Parameters after some steps along the same gradient."""
    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(count):
        updates, state = optimizer.update(GRADIENTS, state, params)
        params = optax.apply_updates(params, updates)
    return params


def assert_trees_close(given: object, expected: object) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), given, expected)


def test_every_block_moves_by_its_own_step_size():
    moved = steps(tl.hybrid_sgd({"x": 0.1, "y": 2.0}), 1)
    assert_trees_close(moved["x"], jax.tree.map(lambda a, g: a - 0.1 * g, PARAMS["x"], GRADIENTS["x"]))
    assert_trees_close(moved["y"], PARAMS["y"] - 2.0 * GRADIENTS["y"])


def test_step_sizes_of_any_kind_keep_single_precision():
    params = {"y": jnp.ones(2, jnp.float32)}
    for size in (0.5, 1, np.float64(0.5), jnp.float32(0.5), lambda count: 0.5):
        optimizer = tl.hybrid_sgd({"y": size})
        assert optimizer.update(params, optimizer.init(params), params)[0]["y"].dtype == jnp.float32


def test_zero_freezes_a_block():
    moved = steps(tl.hybrid_sgd({"x": 0.0, "y": 1.0}), 3)
    assert_trees_close(moved["x"], PARAMS["x"])


@pytest.mark.parametrize(
    "transformation",
    [optax.sgd(0.5, momentum=0.9), optax.adam(1e-2), optax.chain(optax.clip(0.1), optax.scale(-1.0)), optax.set_to_zero()],
    ids=["momentum", "adam", "chain", "set_to_zero"],
)
def test_any_transformation_acts_on_its_block_as_if_alone(transformation):
    moved = steps(tl.hybrid_sgd({"x": 0.1, "y": transformation}), 4)
    params, state = PARAMS["y"], transformation.init(PARAMS["y"])
    for _ in range(4):
        updates, state = transformation.update(GRADIENTS["y"], state, params)
        params = optax.apply_updates(params, updates)
    assert_trees_close(moved["y"], params)
    assert_trees_close(moved["x"], jax.tree.map(lambda a, g: a - 0.4 * g, PARAMS["x"], GRADIENTS["x"]))


def test_a_schedule_counts_steps():
    schedule = optax.piecewise_constant_schedule(1.0, {2: 0.1})  # 1, 1, 0.1, 0.1, ...
    moved = steps(tl.hybrid_sgd({"x": 0.0, "y": schedule}), 4)
    assert_trees_close(moved["y"], PARAMS["y"] - 2.2 * GRADIENTS["y"])


def test_step_sizes_may_be_traced():
    @jax.jit
    def one_step(size):
        optimizer = tl.hybrid_sgd({"x": size, "y": 2 * size})
        return optimizer.update(GRADIENTS, optimizer.init(PARAMS), PARAMS)[0]

    assert_trees_close(one_step(0.5), {"x": jax.tree.map(lambda g: -0.5 * g, GRADIENTS["x"]), "y": -GRADIENTS["y"]})


def test_it_is_an_optax_transformation_that_swallows_extra_arguments():
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), tl.hybrid_sgd({"x": 1.0, "y": 1.0}))
    updates, _ = optimizer.update(GRADIENTS, optimizer.init(PARAMS), PARAMS, value=jnp.array(0.0), unknown=3)
    assert float(optax.tree.norm(updates)) == pytest.approx(1.0, rel=1e-12)


def test_our_oracle_serves_an_optax_loop_of_ones_own():
    problem = tl.block_quadratic({"x": 2, "y": 2}, n=1)
    oracle = tl.Hybrid({"x": tl.TwoPoint(1e-3, law="rademacher"), "y": tl.FirstOrder()})
    optimizer = tl.hybrid_sgd({"x": 0.2, "y": 0.5})
    params = problem.init(jax.random.key(1))
    state = optimizer.init(params)
    start = float(problem.value(params))

    @jax.jit
    def step(params, state, key):
        estimate = oracle(lambda z: problem.component(z, 0), params, key)
        updates, state = optimizer.update(estimate.gradient, state, params)
        return optax.apply_updates(params, updates), state

    for key in jax.random.split(jax.random.key(0), 30):
        params, state = step(params, state, key)
    # y contracts by 1/2 per step; E|x|^2 by 1 - 2 eta + d eta^2 = 0.68
    assert float(problem.value(params)) < 1e-2 * start
