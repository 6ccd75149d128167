"""Blocks, constants and records: the ground that everything stands on."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory_lab as tl
from theory_lab import blocks
from theory_lab._trees import record

NESTED = {"y": jnp.arange(3.0), "x": {"w": jnp.ones((2, 2)), "b": jnp.array(2.0)}}


def test_a_refusal_names_the_leaf_of_a_block():
    like = {"x": {"w": jnp.ones(2), "b": jnp.ones(1)}}
    for leaf, rule in ((jnp.full(1, jnp.nan), "finite, got "), (jnp.ones(1, int), "float32 or float64, got 'int64'")):
        given, message = {"x": {"w": jnp.ones(2), "b": leaf}}, re.escape(f"params['x']['b'] must be {rule}")
        with pytest.raises(ValueError, match=message):
            blocks.as_params("params", given)
        with pytest.raises(ValueError, match=message):
            blocks.check_params(given, like)
    short = {"x": {"w": jnp.ones(2), "b": jnp.ones(1, jnp.float32)}}
    with pytest.raises(ValueError, match=re.escape("params['x']['b'] must be of the problem's precision, float64, got")):
        blocks.check_params(short, like)


def test_blocks_are_counted_and_measured_leaf_by_leaf():
    assert blocks.labels(NESTED) == ("x", "y")
    assert (blocks.size(NESTED["x"]), blocks.size(NESTED["y"]), blocks.size({})) == (5, 3, 0)
    assert {b: float(v) for b, v in blocks.norms_sq(NESTED).items()} == {"x": 8.0, "y": 5.0}
    assert float(blocks.norm_sq({})) == 0.0


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_sums_over_blocks_keep_their_precision(dtype):
    features = {"x": jnp.ones((4, 2), dtype), "y": jnp.ones((4, 3), dtype)}
    params = {"y": jnp.ones(3, dtype), "x": jnp.full(2, 2.0, dtype)}
    assert blocks.inner(features, params).dtype == dtype
    assert blocks.norm_sq(params).dtype == dtype
    assert blocks.inner(features, params).tolist() == [7.0] * 4


UPPER = ["smoothness", "trace", "dispersion"]
LOWER = ["strong_convexity", "pl", "optimal_value"]


def constants(field: str, value: float) -> tl.Constants:
    return tl.Constants(**{field: {"x": value, "y": 1.0} if field in UPPER else value})


@pytest.mark.parametrize("field", UPPER + LOWER)
def test_declared_constants_dominate_what_does_not_contradict_them(field):
    sign = 1 if field in UPPER else -1
    declared = constants(field, 2.0)
    assert declared.dominates(constants(field, 2.0))
    assert declared.dominates(constants(field, 2.0 - sign))
    assert declared.dominates(constants(field, 2.0 + sign * 1e-10))
    assert not declared.dominates(constants(field, 2.0 + sign * 1e-6))
    assert declared.dominates(constants(field, 2.0 + sign * 1e-6), rtol=1e-5)
    assert not declared.dominates(constants(field, np.nan)), "nan is no confirmation"


def test_what_is_unknown_is_not_compared_and_is_not_zero():
    assert tl.Constants().dominates(constants("smoothness", 9.0))
    assert constants("smoothness", 0.0).dominates(tl.Constants())
    assert constants("pl", 1.0).dominates(constants("smoothness", 9.0))
    assert tl.Constants(smoothness={"x": 1.0}).dominates(tl.Constants(smoothness={"y": 9.0}))
    partly = tl.Constants(smoothness={"x": None, "y": 1.0})
    assert partly.dominates(tl.Constants(smoothness={"x": 9.0, "y": 1.0}))
    assert tl.Constants(smoothness={"x": 9.0, "y": 1.0}).dominates(partly)
    assert not partly.dominates(tl.Constants(smoothness={"x": 9.0, "y": 2.0}))
    assert tl.Constants().strong_convexity is None


def test_constants_are_leaves_and_growth_functions_cross_into_compiled_code():
    known = tl.Constants(smoothness={"x": 1.0}, growth={"x": lambda u: 1 + u}, optimal_value=0.0)
    doubled = jax.jit(lambda c: c.growth["x"](c.smoothness["x"]) + c.optimal_value)
    assert float(doubled(known)) == 2.0
    again = jax.tree.map(lambda a: a, known)
    assert again.growth["x"](3.0) == 4.0


def test_a_record_is_frozen_and_rebuilt_without_its_constructor():
    @record(data=("a",))
    class Checked:
        a: object
        b: int = 3

        def __init__(self, a: float, b: int = 3) -> None:
            if a < 0:
                raise ValueError("a must be nonnegative")
            object.__setattr__(self, "a", a)
            object.__setattr__(self, "b", b)

    made = Checked(2.0)
    with pytest.raises(AttributeError):
        made.a = 3.0
    assert jax.tree.leaves(made) == [2.0]
    assert jax.tree.map(lambda a: -a, made).a == -2.0  # what JAX makes of it is not checked
    assert jax.tree.structure(made) != jax.tree.structure(Checked(2.0, b=4))
    assert [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(made)] == [".a"]
    with pytest.raises(ValueError, match="nonnegative"):
        Checked(-1.0)
