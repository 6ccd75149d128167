"""The head: log-probabilities over a vocabulary whose logits are never all held, and their sum with its gradient.

    log p(y | h) = z_y - log sum_v exp z_v,   z = W h
    f = sum_i w_i log p(y_i | h_i):   df/dz_i = w_i (e_{y_i} - p_i),   df/dh_i = W' df/dz_i,   df/dW = sum_i df/dz_i h_i'

A backward pass through the log-probabilities makes the logits again. Where it is known what each of them weighs, the
gradient of the sum is made with its value, from the logits of some tokens at a time: three products of the head's size in
place of four, two of three where the head is not trained. Shapes as in `transformer`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from theory_lab._typing import Array
from theory_lab.models import backend
from theory_lab.models.layers import wide
from theory_lab.models.shift import length, part

VOCABULARY_PART = 2048  # rows of the head that are used at once
TOKENS_PART = 256  # tokens whose logits, over the whole vocabulary, are held at once for a gradient


def log_p(h: Array, table: Any, targets: Array) -> Array:
    """log p(targets | h): (B, T, E), (V, E) perhaps shifted or split, (B, T) -> (B, T), float32 at least.

    The logits are never held for the whole vocabulary: a part of the head after the other, as in an online softmax.
    """
    size = min(length(table), VOCABULARY_PART)

    def body(carry: tuple[Array, Array, Array], start: Array) -> tuple[tuple[Array, Array, Array], None]:
        top, total, chosen = carry  # (B, T) each: running maximum, sum of exponentials, the target's logit
        first = jnp.minimum(start, length(table) - size)
        rows = part(table, first, size).astype(h.dtype)  # (size, E)
        z = scored(h, rows)  # (B, T, size)
        ids = first + jnp.arange(size)
        z = jnp.where(ids >= start, z, -jnp.inf)  # the last part may reach back over rows that were seen
        here = jnp.take_along_axis(z, jnp.clip(targets - first, 0, size - 1)[..., None], axis=-1)[..., 0]
        chosen = jnp.where((targets >= start) & (targets < first + size), here, chosen)
        new_top = jnp.maximum(top, jax.lax.stop_gradient(z.max(axis=-1)))
        total = total * jnp.exp(top - new_top) + jnp.exp(z - new_top[..., None]).sum(axis=-1)
        return (new_top, total, chosen), None

    like = jnp.zeros(targets.shape, wide(h.dtype))
    starts = jnp.arange(0, length(table), size)
    begin = (jnp.full_like(like, -jnp.inf), like, like)
    if len(starts) == 1:
        (top, total, chosen), _ = body(begin, starts[0])
    else:
        (top, total, chosen), _ = jax.lax.scan(jax.checkpoint(body), begin, starts)
    return chosen - top - jnp.log(total)


def total_log_p(h: Array, table: Any, targets: Array, weights: Array) -> Array:
    """sum_i w_i log p(y_i | h_i), a scalar; arguments as of `log_p`, weights (B, T), those of 0 leave out their tokens.

    On a processor the gradient is made with the value, where the head is an array; else as `log_p` makes it.
    """
    way = _with_gradient if backend.cpu() and isinstance(table, jax.Array) else _total
    return way(h, table, targets, weights)


def _total(h: Array, table: Any, targets: Array, weights: Array) -> Array:
    return jnp.sum(_counted(log_p(h, table, targets), weights) * weights)


def _counted(each: Array, weights: Array) -> Array:
    return jnp.where(weights == 0, 0, each)


_with_gradient = jax.custom_jvp(_total)


@partial(_with_gradient.defjvp, symbolic_zeros=True)
def _with_gradient_jvp(primals: tuple[Array, Array, Array, Array], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    (h, table, targets, weights), (from_h, from_table, _, from_weights) = primals, tangents
    rows, kind, trained = table.astype(h.dtype), wide(h.dtype), not isinstance(from_table, SymbolicZero)
    batch, count = targets.shape
    parts = -(-count // max(1, TOKENS_PART // batch))
    size = -(-count // parts)

    def cut(a: Array) -> Array:
        """(B, T, ...) -> (parts, B, size, ...), with zeros behind."""
        padded = jnp.pad(a, [(0, 0), (0, parts * size - count)] + [(0, 0)] * (a.ndim - 2))
        return jnp.moveaxis(padded.reshape(batch, parts, size, *a.shape[2:]), 1, 0)

    def joined(a: Array) -> Array:
        return jnp.moveaxis(a, 0, 1).reshape(batch, parts * size, *a.shape[3:])[:, :count]

    def body(slope: Array, given: tuple[Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        h, targets, weights = given
        z = scored(h, rows)  # (B, t, V)
        top = jax.lax.stop_gradient(z.max(axis=-1, keepdims=True))
        powers = jnp.exp(z - top)
        total = powers.sum(axis=-1, keepdims=True)
        each = (jnp.take_along_axis(z, targets[..., None], axis=-1) - top - jnp.log(total))[..., 0]
        shares = weights[..., None] / total * powers
        here = jnp.arange(len(rows)) == targets[..., None]
        pull = jnp.where(here, weights[..., None] - shares, -shares).astype(h.dtype)  # (B, t, V), df/dz
        if trained:
            slope = slope + jnp.einsum("btv,bte->ve", pull, h, preferred_element_type=kind)
        return slope, (each, jnp.einsum("btv,ve->bte", pull, rows))

    begin = jnp.zeros(table.shape if trained else (), kind)
    slope, (each, pulls) = jax.lax.scan(body, begin, (cut(h), cut(targets), cut(weights)))
    each = _counted(joined(each), weights)
    pairs = ((joined(pulls), from_h), (slope, from_table), (each, from_weights))
    moved = [jnp.sum(g.astype(kind) * t) for g, t in pairs if not isinstance(t, SymbolicZero)]
    return jnp.sum(each * weights), sum(moved, jnp.zeros((), kind))


@jax.custom_jvp
def scored(h: Array, rows: Array) -> Array:
    """Logits, (B, T, E) by (V, E) -> (B, T, V) in float32 at least; what comes back through them is in the type of h."""
    return jnp.einsum("bte,ve->btv", h, rows, preferred_element_type=wide(h.dtype))


@partial(scored.defjvp, symbolic_zeros=True)
def _scored_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (h, rows), (from_h, from_rows) = primals, tangents
    product, is_zero = partial(jnp.einsum, "bte,ve->btv"), lambda t: isinstance(t, SymbolicZero)
    moved = [product(from_h, rows)] if not is_zero(from_h) else []
    moved += [product(h, from_rows)] if not is_zero(from_rows) else []
    z = scored(h, rows)
    return z, sum((one.astype(z.dtype) for one in moved), jnp.zeros_like(z))
