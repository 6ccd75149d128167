"""Attention in blocks of queries is attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory_lab.models import causal
from theory_lab.models.causal import causal_attention

SIZES = {  # B, T, P, N, K, H
    "one block": (2, 9, 0, 4, 4, 6),
    "blocks, the last one short": (1, 21, 0, 4, 2, 4),
    "after a past": (2, 17, 3, 2, 1, 6),
}
sizes = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(causal, "BLOCK", 8)


def given(size, dtype):
    """Queries, keys and values, and who sees whom: texts padded on either side, behind the past."""
    batch, count, past, heads, groups, width = size
    rng = np.random.default_rng(0)
    q, k, v = (
        jnp.asarray(rng.normal(size=(batch, t, n, width)), dtype)
        for t, n in ((count, heads), (past + count, groups), (past + count, groups))
    )
    mask = np.ones((batch, past + count), bool)
    mask[0, past : past + 2], mask[-1, -3:] = False, False
    order = np.arange(past + count) <= past + np.arange(count)[:, None]
    return q, k, v, jnp.asarray(order & mask[:, None, :])[:, None]


def plain(q, k, v, seen):
    """Every score at once, in the precision of the arguments."""
    k, v = (jnp.repeat(a, q.shape[2] // a.shape[2], axis=2) for a in (k, v))
    seen = jnp.tril(jnp.ones((q.shape[1], k.shape[1]), bool)) if seen is None else seen
    weights = jax.nn.softmax(jnp.where(seen, 0.3 * jnp.einsum("btnh,bsnh->bnts", q, k), -1e300))
    return jnp.einsum("bnts,bsnh->btnh", weights, v)


@sizes
@pytest.mark.parametrize("masked", [True, False])
def test_values_and_gradients(size, masked):
    q, k, v, seen = given(size, jnp.float64)
    if not masked:
        seen = None if size[2] == 0 else jnp.tril(jnp.ones((1, 1, size[1], size[1] + size[2]), bool), size[2])
    someone = jnp.ones((1, 1, size[1]), bool) if seen is None else seen.any(axis=-1)  # the others' values mean nothing
    value = lambda way: lambda *a: jnp.sum(jnp.where(someone[:, 0, :, None, None], way(*a), 0) ** 2)
    ours, theirs = value(lambda *a: causal_attention(*a, seen, 0.3)), value(lambda *a: plain(*a, seen))
    found, expected = (jax.value_and_grad(f, (0, 1, 2))(q, k, v) for f in (ours, theirs))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_curvature_along_a_direction():
    q, k, v, _ = given(SIZES["blocks, the last one short"], jnp.float64)
    slope = lambda way: lambda q: jax.grad(lambda q: jnp.sum(way(q, k, v) ** 2))(q)
    along = lambda way: jax.jvp(slope(way), (q,), (jnp.cos(q),))[1]
    found, expected = along(lambda *a: causal_attention(*a, None, 0.3)), along(lambda *a: plain(*a, None))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


def test_who_sees_nobody_gets_finite_numbers():
    q, k, v, seen = given(SIZES["blocks, the last one short"], jnp.float32)
    assert not seen[0, 0, 0].any()
    value, gradient = jax.value_and_grad(lambda q: jnp.sum(causal_attention(q, k, v, seen, 0.3) ** 2))(q)
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()


def test_half_precision_is_summed_in_float32():
    """Within some roundings to 2^-8 of what float64 makes of the same numbers."""
    q, k, v, _ = given(SIZES["blocks, the last one short"], jnp.bfloat16)
    found = causal_attention(q, k, v, None, 0.3)
    assert found.dtype == jnp.bfloat16
    expected = causal_attention(*(a.astype(jnp.float64) for a in (q, k, v)), None, 0.3)
    np.testing.assert_allclose(found.astype(jnp.float64), expected, atol=4 * 2.0**-8 * float(jnp.abs(v).max()))


@pytest.mark.parametrize("count", [1, 8, 9, 64, 65, 200])
def test_no_more_pieces_of_program_than_allowed(count):
    q = jnp.ones((1, count, 2, 4), jnp.float32)
    program = str(jax.make_jaxpr(lambda q: causal_attention(q, q, q, None, 1.0))(q))
    assert program.count("dot_general") == 2 * min(-(-count // 8), causal.MOST)
