"""The transformer: from tokens to log-probabilities, for OPT and for Llama.

Pure functions over ``params = {"base": ..., "peft": ...}`` (`layout` says what is in the base, `adapter` what may be in the
adapter; without one, ``{"base": ...}`` is enough). Arrays may be shifted (`shift`): a layer is made whole where it is used.

Computation runs in the type of the embeddings unless another is asked for; norms, softmax, log-probabilities at least in
float32. Padding may stand on either side. Shapes: B texts, T tokens, P virtual tokens, D width, N heads, K heads of keys and
values, H width of a head, F width inside, V vocabulary, E width of an embedding.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks
from theory_lab._typing import Array, Block, Params
from theory_lab.models import backend
from theory_lab.models.adapter import Adapter
from theory_lab.models.config import Config, LlamaConfig, OPTConfig, check_config
from theory_lab.models.layers import layer_norm, linear, llama_layer, opt_layer, rms_norm, wide
from theory_lab.models.likelihood import log_p, scored, total_log_p
from theory_lab.models.rope import Rotation, rotary
from theory_lab.models.shift import made, slices, take, whole

Remat = bool | Sequence[str]
Entry = tuple[Array, Block, Array | None, Rotation | None]
KINDS = ("float32", "bfloat16", "float64")  # in which is computed; the last is for tests
LEAN = ("between", "query", "signs", "value")  # kept, an adapter's backward pass computes one product of six again
INSIDE = ("between", "gate", "inside", "key", "query", "signs", "up", "value")  # each costs a product to make again


def logits(config: Config, params: Params, tokens: Array, mask: Array | None = None, adapter: Adapter | None = None,
           *, dtype: Any = None, remat: Remat = False) -> Array:  # fmt: skip
    """The logits of the next token at every place, (B, T, V) float32.

    Args:
        config: the model.
        params: {"base": ...} or {"base": ..., "peft": ...}.
        tokens: (B, T) whole numbers.
        mask: (B, T), 1 at tokens and 0 at padding; None is all 1. What is returned at padding has no meaning.
        adapter: what ``params["peft"]`` is.
        dtype: of the computation, float32 or bfloat16; None is that of the embeddings.
        remat: recompute the inside of a layer in the backward pass instead of keeping it: nothing of it (False; but on a
            processor, which has that faster than memory, all but what costs a product of the layer), all (True), or all but
            the arrays with these names of `INSIDE`.

    Raises:
        ValueError: tokens or a mask of another shape or type, a text longer than the model has positions, an adapter without
            "peft" or the reverse, names that are not of `INSIDE`.

    Example:
        >>> from theory_lab.models import LlamaConfig, init_base
        >>> config = LlamaConfig(vocab_size=9, hidden_size=4, num_hidden_layers=2, num_attention_heads=2)
        >>> logits(config, {"base": init_base(jax.random.key(0), config)}, jnp.array([[1, 2, 3]])).shape
        (1, 3, 9)
    """
    h = hidden_states(config, params, tokens, mask, adapter, dtype=dtype, remat=remat)
    return scored(h, whole(head(config, params["base"])).astype(h.dtype))


def log_probs(config: Config, params: Params, tokens: Array, mask: Array | None = None, adapter: Adapter | None = None,
              *, dtype: Any = None, remat: Remat = False, last: int | None = None) -> Array:  # fmt: skip
    """log p(token t+1 | tokens up to t), (B, T-1) float32; arguments and errors as `logits`.

    With ``last``, of that many tokens at the end alone, (B, last): the head is not multiplied with what comes before.

    The logits are never held for the whole vocabulary: a part of the head after the other, as in an online softmax.

    In half precision, attention without padding is cuDNN's on an NVIDIA GPU from Ampere on, which has no second derivative:
    Hessian-vector products are for a computation in float32.

    Example:
        >>> from theory_lab.models import LlamaConfig, init_base
        >>> config = LlamaConfig(vocab_size=9, hidden_size=4, num_hidden_layers=2, num_attention_heads=2)
        >>> params, tokens = {"base": init_base(jax.random.key(0), config)}, jnp.array([[1, 2, 3]])
        >>> z = jax.nn.log_softmax(logits(config, params, tokens))
        >>> bool(jnp.allclose(log_probs(config, params, tokens)[0], jnp.array([z[0, 0, 2], z[0, 1, 3]]), atol=1e-5))
        True
    """
    h = hidden_states(config, params, tokens, mask, adapter, dtype=dtype, remat=remat)
    skipped = 0 if last is None else tokens.shape[1] - 1 - _last(last, tokens)
    h, targets, table = h[:, skipped:-1], tokens[:, skipped + 1 :], head(config, params["base"])
    return log_p(h, table, targets)


def _last(last: int, tokens: Array) -> int:
    count = _checks.count("last", last)
    if count >= tokens.shape[1]:
        raise _checks.refuse("last", f"at most {tokens.shape[1] - 1}, the tokens that are predicted", last)
    return count


def mean_loss(config: Config, params: Params, tokens: Array, weights: Array, mask: Array | None = None,
              adapter: Adapter | None = None, *, dtype: Any = None, remat: Remat = False) -> Array:  # fmt: skip
    """The weighted mean of -log p over the tokens to be learned, a scalar.

    Args:
        weights: (B, T), that of learning the token at its place; the first column is not looked at, as nothing predicts it.
        config, params, tokens, mask, adapter, dtype, remat: as in `logits`.

    Raises:
        ValueError: as `logits`; weights of another shape than the tokens.

    Example:
        >>> from theory_lab.models import LlamaConfig, init_base
        >>> config = LlamaConfig(vocab_size=9, hidden_size=4, num_hidden_layers=2, num_attention_heads=2)
        >>> params, tokens = {"base": init_base(jax.random.key(0), config)}, jnp.array([[1, 2, 3]])
        >>> last = mean_loss(config, params, tokens, jnp.array([[0, 0, 1]]))
        >>> bool(jnp.allclose(last, -log_probs(config, params, tokens)[0, -1]))
        True
    """
    _checks.instance("weights", weights, (jax.Array, np.ndarray), "an array of the tokens' shape")
    if weights.shape != np.shape(tokens):
        raise _checks.refuse("weights", f"of the tokens' shape {np.shape(tokens)}", weights.shape)
    h = hidden_states(config, params, tokens, mask, adapter, dtype=dtype, remat=remat)[:, :-1]
    weights = weights[:, 1:].astype(wide(h.dtype))
    return -total_log_p(h, head(config, params["base"]), tokens[:, 1:], weights) / jnp.sum(weights)


def hidden_states(config: Config, params: Params, tokens: Array, mask: Array | None = None, adapter: Adapter | None = None,
                  *, dtype: Any = None, remat: Remat = False) -> Array:  # fmt: skip
    """What the head sees, (B, T, E); arguments and errors as `logits`."""
    x, layers, seen, rotation = enter(config, params, tokens, mask, adapter, dtype)
    base = params["base"]
    x, _ = through(config, layers, x, seen, rotation, remat=remat)
    x = x[:, -tokens.shape[1] :]
    if isinstance(config, LlamaConfig):
        x = rms_norm(x, whole(base["norm"]), config.rms_norm_eps)
    elif "final_layer_norm" in base:
        x = layer_norm(x, whole(base["final_layer_norm"]))
    return linear(x, whole(base["project_out"])) if "project_out" in base else x


def enter(config: Config, params: Params, tokens: Array, mask: Array | None, adapter: Adapter | None, dtype: Any) -> Entry:
    """What the first layer gets: embeddings (B, T, D), the layers, who sees whom, the rotation."""
    every, mask = mask is None, _checked(config, params, tokens, mask, adapter, dtype)
    base = params["base"]
    x = take(base["embed_tokens"]["weight"], tokens)  # (B, T, E)
    x, layers = x.astype(dtype or x.dtype), base["layers"]
    if adapter is not None:  # a prompt lengthens both to P + T, a prefix the mask alone
        x, mask = adapter.into_sequence(x, mask, params["peft"])
        layers = adapter.into_layers(layers, params["peft"])
    _check_length(config, mask.shape[1])
    past = mask.shape[1] - x.shape[1]  # keys that come before the first query
    seen = _seen(None if every else mask, past, x.shape[1])
    if isinstance(config, LlamaConfig):
        return x, layers, seen, rotary(config.rope, config.head_dim, config.max_position_embeddings, past, x.shape[1])
    positions = (jnp.cumsum(mask, axis=1) * mask - 1)[:, past:] + 2  # (B, T) counted over tokens; padding has 1
    x = linear(x, whole(base["project_in"])) if "project_in" in base else x
    return x + take(base["embed_positions"]["weight"], positions).astype(x.dtype), layers, seen, None


def _seen(mask: Array | None, past: int, count: int) -> Array | None:
    """Who sees whom, (B or 1, 1, T, P+T); None where that is every token all before it and nothing else."""
    if mask is None and past == 0:
        return None
    causal = jnp.arange(past + count) <= past + jnp.arange(count)[:, None]  # (T, P+T)
    return causal[None, None] if mask is None else (causal & (mask[:, None, :] != 0))[:, None]


def through(config: Config, layers: Block, x: Array, seen: Array | None, rotation: Rotation | None,
            *, remat: Remat = False, keep: bool = False) -> tuple[Array, Any]:  # fmt: skip
    """All layers, (B, T, D) -> the same; with ``keep`` also the keys and values of every layer, (L, B, T, K, H) each."""
    layer: Any = opt_layer if isinstance(config, OPTConfig) else llama_layer

    def body(x: Array, p: Block) -> tuple[Array, Any]:
        x, pairs = layer(config, made(p), x, seen, rotation)  # here, and only here, a shifted layer is made
        return x, pairs if keep else None

    if remat or backend.cpu():
        rule = "True, False, or names of what is kept"
        _checks.instance("remat", remat, (bool, tuple, list, frozenset, set), rule)
        names = () if remat is True else remat or INSIDE
        kept = [_checks.choice("remat", name, INSIDE) for name in names]
        body = jax.checkpoint(body, policy=jax.checkpoint_policies.save_only_these_names(*kept), prevent_cse=False)
    return jax.lax.scan(body, x, slices(layers))


def head(config: Config, base: Block) -> Any:
    """The table of the output embeddings, (V, E), shifted if it is."""
    return base["embed_tokens" if config.tie_word_embeddings else "lm_head"]["weight"]


def _check_length(config: Config, count: int) -> None:
    """A Llama may read on, if its rotary positions stretch with the text."""
    grows = isinstance(config, LlamaConfig) and config.rope.kind == "dynamic"
    if count > config.max_position_embeddings and not grows:
        longest = config.max_position_embeddings
        raise _checks.refuse("tokens", f"at most {longest} long with virtual tokens, the positions of the model", count)


def _checked(
    config: Config, params: Params, tokens: Array, mask: Array | None, adapter: Adapter | None, dtype: Any
) -> Array:
    """The door of all that looks at tokens; returns the mask."""
    check_config(config)
    if not isinstance(params, Mapping) or "base" not in params:
        found = list(params) if isinstance(params, Mapping) else params
        raise _checks.refuse("params", "{'base': ...} or {'base': ..., 'peft': ...}", found)
    if dtype is not None:
        _checks.dtype("dtype", dtype, KINDS)
    for name, given in (("tokens", tokens), ("mask", tokens if mask is None else mask)):
        if not isinstance(given, (jax.Array, np.ndarray)):
            raise _checks.refuse(name, "an array of shape (B, T)", given)
    if tokens.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise _checks.refuse("tokens", "whole numbers of shape (B, T)", f"{tokens.dtype} of shape {tokens.shape}")
    if mask is not None and mask.shape != tokens.shape:
        raise _checks.refuse("mask", f"of the tokens' shape {tokens.shape}", mask.shape)
    if not (_checks.is_traced(tokens) or _checks.is_traced(mask)):
        read = np.asarray(tokens)[... if mask is None else np.asarray(mask) != 0]
        if (outside := read[(read < 0) | (read >= config.vocab_size)]).size:
            raise _checks.refuse("tokens", f"in the vocabulary, 0..{config.vocab_size - 1}", int(outside[0]))
    if adapter is not None and not isinstance(adapter, Adapter):
        raise _checks.refuse("adapter", "an Adapter, as lora(...), prefix(...) or prompt(...) makes, or None", adapter)
    if adapter is not None and "peft" not in params:
        raise _checks.refuse("params", "{'base': ..., 'peft': ...} with an adapter", sorted(params))
    if adapter is None and "peft" in params:
        raise _checks.refuse("params", "{'base': ...} without an adapter", sorted(params))
    return jnp.ones(tokens.shape, jnp.int32) if mask is None else jnp.asarray(mask, jnp.int32)
