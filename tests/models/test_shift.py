"""A shifted array is the same numbers, whatever part of it is asked for and whatever parts it is made in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory_lab.models import shift
from theory_lab.oracles import directions

pytestmark = pytest.mark.optimized  # bits
KEY = jax.random.key(3)
ROUNDING = 4 * float(np.finfo(np.float32).eps)  # a logarithm's last bit depends on its place in a vector
BLOCK = {"a": (40, 7), "b": (3, 5, 6), "c": (4,), "d": ()}
LAWS = pytest.mark.parametrize("law", ["gaussian", "rademacher"])


def block(dtype=jnp.float32) -> dict:
    return {n: jax.random.normal(jax.random.key(i), s).astype(dtype) for i, (n, s) in enumerate(BLOCK.items())}


def drawn(law: str) -> dict:
    """The direction that the oracle's own function draws of KEY: the first of one."""
    v = directions.draw(KEY, block(), law, (1,), "rows")
    return jax.tree.map(lambda a: a[0], v)


def moved(law: str, scale: float = 0.25, dtype=jnp.float32) -> dict:
    return shift.shift(block(dtype), directions.direction_key(KEY, 0), scale, law)


@LAWS
def test_whole_is_the_block_plus_the_oracles_direction(law):
    expected = jax.tree.map(lambda p, v: p + 0.25 * v, block(), drawn(law))
    for name, made in shift.whole(moved(law)).items():
        np.testing.assert_array_equal(made, expected[name])


@LAWS
def test_rows_and_parts_and_slices_are_those_of_the_whole(law):
    lazy, whole = moved(law), shift.whole(moved(law))
    indices = jnp.array([[3, 39], [0, 3]])
    np.testing.assert_array_equal(shift.take(lazy["a"], indices), whole["a"][indices])
    np.testing.assert_array_equal(shift.part(lazy["a"], jnp.int32(11), 8), whole["a"][11:19])
    _, layers = jax.lax.scan(lambda c, p: (c, shift.whole(p)), 0, shift.slices({"b": lazy["b"]}))
    close = ROUNDING if law == "gaussian" else 0  # leaf + scale * v may be rounded once or twice; scaled signs are exact
    np.testing.assert_allclose(layers["b"], whole["b"], rtol=close, atol=close)


def test_the_parts_that_a_shift_is_made_in_do_not_matter(monkeypatch):
    whole = shift.whole(moved("gaussian"))
    monkeypatch.setattr(shift, "LEAST", 21)
    monkeypatch.setattr(shift, "MOST", 28)  # numbers: parts of 4 rows for 40 rows of 7, of 4 or 5 for 15 rows of 6
    for name, made in shift.whole(moved("gaussian")).items():
        np.testing.assert_allclose(made, whole[name], rtol=ROUNDING, atol=ROUNDING)


def test_plain_arrays_pass():
    table = block()["a"]
    assert shift.whole({"a": table})["a"] is table
    assert shift.slices({"a": table})["a"] is table
    np.testing.assert_array_equal(shift.take(table, jnp.array([1, 2])), table[1:3])
    assert shift.length(table) == shift.length(moved("gaussian")["a"]) == 40


def test_several_directions_add_up_and_are_rounded_once():
    leaf = block(jnp.bfloat16)["a"]
    keys = jnp.stack([jax.random.key(1), jax.random.key(2)])
    v = [directions.rows(k, jnp.arange(40), 7, "gaussian", jnp.float32) for k in keys]
    expected = (leaf + (0.5 * v[0] - 0.25 * v[1])).astype(jnp.bfloat16)
    found = shift.add(leaf, keys, jnp.array([0.5, -0.25]), "gaussian")
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, expected)


def test_a_shift_by_nothing_keeps_every_bit():
    leaf = jnp.array([[0.0, -0.0, 1.5, -(2.0**-130)]], jnp.bfloat16)
    for scale in (0.0, -0.0):
        found = shift.add(leaf, KEY[None], jnp.array([scale]), "gaussian")
        np.testing.assert_array_equal(np.asarray(found).view(np.uint16), np.asarray(leaf).view(np.uint16))
