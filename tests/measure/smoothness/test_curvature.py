"""Products against the dense Hessian, and what a point has to be."""

import math
import re
from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jax.flatten_util import ravel_pytree

from theory_lab.measure.smoothness.curvature import curvature, slope

from .functions import POINT, SIZES, coupled, quadratic


@cache
def dense():
    flat, unflatten = ravel_pytree(POINT)
    return np.asarray(jax.jit(jax.hessian(lambda v: coupled(unflatten(v))))(flat))


@jax.jit
def columns(hessian):
    return jax.vmap(hessian.product)(jnp.eye(hessian.dimension)).T


ROWS = {None: slice(0, 9), "x": slice(0, 3), "y": slice(3, 9)}
SCALING = {"x": 4.0, "y": 0.25}
ROOT = np.sqrt(np.concatenate([np.full(SIZES[b], SCALING[b]) for b in SIZES]))


@pytest.mark.parametrize("block", [None, "x", "y"])
@pytest.mark.parametrize("scaling", [None, SCALING])
def test_products_are_those_of_the_dense_hessian(block, scaling):
    hessian = curvature(coupled, POINT, block=block, scaling=scaling)
    expected = dense() if scaling is None else dense() / ROOT[:, None] / ROOT[None, :]
    expected = expected[ROWS[block], ROWS[block]]
    np.testing.assert_allclose(columns(hessian), expected, rtol=1e-12, atol=1e-12)
    assert hessian.dimension == len(expected)


def test_precision_is_that_of_the_blocks_that_move():
    mixed = {"x": jnp.ones(2, jnp.float32), "y": jnp.ones(2, jnp.float64)}
    fn = lambda z: jnp.sum(z["x"]) * jnp.sum(z["y"] ** 2)
    assert curvature(fn, mixed, block="y").precision == np.finfo(np.float64).eps
    assert curvature(fn, mixed).precision == np.finfo(np.float32).eps
    assert curvature(fn, mixed, block="x").product(jnp.ones(2, jnp.float32)).dtype == jnp.float32


def test_other_data_at_another_point_compile_nothing():
    product = jax.jit(lambda hessian, v: hessian.product(v))
    for scale in (1.0, 2.0, 3.0):
        hessian = curvature(quadratic, {"x": scale * jnp.ones(2)}, scaling={"x": scale}, args=(scale * jnp.eye(2),))
        np.testing.assert_allclose(product(hessian, jnp.ones(2)), jnp.ones(2))
    assert product._cache_size() == 1


INTEGERS = {"x": jnp.arange(3)}


@dataclass
class Unhashable:
    scale: float = 1.0

    def __call__(self, z):
        return self.scale * jnp.sum(z["x"])


def network(params):
    """Two layers, the second a loop, so that products lie inside other programs."""
    wide = jnp.tanh(params["x"] @ jnp.ones((3, 2)))
    layer = jax.checkpoint(lambda state, matrix: (jnp.tanh(matrix @ state), None))
    return jnp.sum(jax.lax.scan(layer, wide, params["y"]["w"][None])[0] ** 2)


def precisions(jaxpr):
    """What every product of matrices in a program asks for, forward and backward."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.params["precision"]
        for inner in jaxprs_in_params(equation.params):
            yield from precisions(inner)


@pytest.mark.parametrize("told, found", [(None, "HIGHEST"), ("float32", "HIGHEST"), ("bfloat16", "DEFAULT")])
def test_products_are_as_precise_as_their_type_unless_jax_is_told_otherwise(told, found):
    """A GPU would take single-precision products in 10 bits, and outer bounds of the spectrum would say nothing."""
    with jax.default_matmul_precision(told):
        programs = [
            jax.make_jaxpr(curvature(network, POINT).product)(jnp.ones(9)),
            jax.make_jaxpr(slope)(curvature(network, POINT)),
        ]
    asked = [str(one) for program in programs for one in precisions(program.jaxpr)]
    assert len(asked) > 10
    assert all(one == f"(Precision.{found}, Precision.{found})" for one in asked), set(asked)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: curvature(3, POINT), "fn must be a function of the parameters, got 3"),
        (lambda: curvature(Unhashable(), POINT), "fn must be hashable (a function or a lambda around it), got Unhashable"),
        (lambda: curvature(coupled, [1.0]), "params must be a non-empty mapping from block labels"),
        (lambda: curvature(jnp.sum, {"x": jnp.zeros(0)}), "params['x'] must be of dimension at least 1"),
        (
            lambda: curvature(lambda z: jnp.sum(z["x"] * 1.0), INTEGERS),
            "params['x'] must be float32 or float64, got 'int64'",
        ),
        (lambda: curvature(coupled, POINT, block="z"), "block must be one of 'x', 'y', got 'z'"),
        (lambda: curvature(coupled, POINT, scaling={"x": 1.0}), "scaling must have the labels of the parameters ['x', 'y']"),
        (lambda: curvature(coupled, POINT, scaling={"x": 1.0, "y": 0.0}), "scaling['y'] must be positive and finite, got 0"),
        (lambda: curvature(lambda z: z["x"], POINT), "fn must be a function with a floating-point scalar value"),
        (
            lambda: curvature(lambda z: jnp.sum(z["x"] > 0), POINT),
            "fn must be a function with a floating-point scalar value",
        ),
        (lambda: curvature(lambda z: (0.0, 1.0), POINT), "fn must be a function with a floating-point scalar value"),
        (lambda: curvature(lambda z: jnp.log(z["x"][1]), POINT), "fn(params) must be finite, got nan"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_a_value_that_overflows_is_refused():
    with pytest.raises(ValueError, match=r"fn\(params\) must be finite, got inf"):
        curvature(lambda z: jnp.sum(z["x"]) * math.inf, {"x": jnp.ones(2)})
