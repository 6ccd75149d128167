"""What a layer of the transformer computes: attention and what stands between, for OPT and for Llama.

Every product is `linear`, by which LoRA enters; a weight that is split over devices, or of another type than the
computation, is made where it is multiplied and made again by the backward pass. The arrays that this may keep are `named`
(`transformer.INSIDE`). Shapes as in `transformer`.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name as named

from theory_lab._typing import Array, Block
from theory_lab.models import backend
from theory_lab.models.causal import causal_attention
from theory_lab.models.config import Config, LlamaConfig, OPTConfig
from theory_lab.models.rope import Rotation, rotate
from theory_lab.models.split import gathered, is_split


def opt_layer(
    config: OPTConfig, p: Block, x: Array, seen: Array | None, rotation: None = None
) -> tuple[Array, tuple[Array, Array]]:
    """One layer of OPT; also the keys and values of its tokens, (B, T, K, H) each."""
    norm1, norm2 = p["self_attn_layer_norm"], p["final_layer_norm"]
    before, after = (layer_norm, _same) if config.do_layer_norm_before else (_same, layer_norm)
    h, pairs = attention(config, p, before(x, norm1), seen, rotation)
    x = named(after(x + linear(h, p["out_proj"]), norm1), "between")  # (B, T, D)
    activation = relu if config.activation_function == "relu" else partial(jax.nn.gelu, approximate=False)
    h = named(activation(linear(before(x, norm2), p["fc1"])), "inside")  # (B, T, F)
    return after(x + linear(h, p["fc2"]), norm2), pairs


def llama_layer(
    config: LlamaConfig, p: Block, x: Array, seen: Array | None, rotation: Rotation | None
) -> tuple[Array, tuple[Array, Array]]:
    """One layer of Llama; also the keys and values of its tokens, (B, T, K, H) each."""
    h, pairs = attention(config, p, rms_norm(x, p["input_layernorm"], config.rms_norm_eps), seen, rotation)
    x = named(x + linear(h, p["o_proj"]), "between")  # (B, T, D)
    h = rms_norm(x, p["post_attention_layernorm"], config.rms_norm_eps)
    h = jax.nn.silu(named(linear(h, p["gate_proj"]), "gate")) * named(linear(h, p["up_proj"]), "up")  # (B, T, F)
    return x + linear(h, p["down_proj"]), pairs


def attention(
    config: Config, p: Block, x: Array, seen: Array | None, rotation: Rotation | None
) -> tuple[Array, tuple[Array, Array]]:
    """Causal attention over the prefix, if the layer has one, and the tokens: (B, T, D) -> (B, T, N H)."""
    heads = lambda name, count: linear(x, p[name]).reshape(*x.shape[:2], count, config.head_dim)
    q = heads("q_proj", config.num_attention_heads)  # (B, T, N, H)
    k, v = (heads(name, config.num_key_value_heads) for name in ("k_proj", "v_proj"))  # (B, T, K, H)
    if rotation is not None:
        q, k = rotate(q, rotation), rotate(k, rotation)
    q, k, v = named(q, "query"), named(k, "key"), named(v, "value")
    pairs = (k, v)
    if "prefix" in p:
        k, v = (_precede(p["prefix"][name], a) for name, a in zip(("key", "value"), pairs, strict=True))  # (B, P+T, K, H)
    return _attended(q, k, v, seen, 1 / math.sqrt(config.head_dim)).reshape(*x.shape[:2], -1), pairs


def _attended(q: Array, k: Array, v: Array, seen: Array | None, scale: float) -> Array:
    """(B, T, N, H), (B, P+T, K, H) twice -> (B, T, N, H), in the way that the device is good at."""
    if backend.cpu():
        return causal_attention(q, k, v, seen, scale)
    way: Any = "cudnn" if seen is None and backend.fused_attention(q.dtype, q.shape[-1]) else None
    return jax.nn.dot_product_attention(q, k, v, mask=seen, is_causal=seen is None, scale=scale, implementation=way)


def linear(x: Array, p: Block) -> Array:
    """x W' + b, and beside it LoRA's scaling * x A' B' where the module has one: (..., in) -> (..., out)."""
    y = _times(x, p["weight"])
    if "bias" in p:
        y = y + p["bias"].astype(x.dtype)
    return y + _times(p["scaling"].astype(x.dtype) * _times(x, p["lora_A"]), p["lora_B"]) if "lora_A" in p else y


def _times(x: Array, w: Array) -> Array:
    """x W' in the type of x. Where W has another, or is split, the backward pass makes it again and keeps no copy of it."""
    product = lambda x, w: jnp.einsum("...i,oi->...o", x, gathered(w).astype(x.dtype))  # a transpose would need a copy of W
    same = w.dtype == x.dtype and not is_split(w)
    return product(x, w) if same else jax.checkpoint(product, prevent_cse=False)(x, w)


@jax.custom_jvp
def relu(x: Array) -> Array:
    """max(x, 0); a backward pass may keep "signs", a bit of each number, or on a processor, slow at packing, a byte."""
    return jnp.maximum(x, 0)


@relu.defjvp
def _relu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    if x.shape[-1] % 8 or backend.cpu():
        return relu(x), jnp.where(named(x > 0, "signs"), tangent, 0)
    places = jnp.arange(8, dtype=jnp.uint8)[:, None]
    apart = (x > 0).reshape(*x.shape[:-1], 8, -1)  # (..., 8, F/8)
    bits = named(sum(apart[..., i, :].astype(jnp.uint8) << i for i in range(8)), "signs")
    positive = ((bits[..., None, :] >> places) & 1).reshape(x.shape) != 0
    return relu(x), jnp.where(positive, tangent, 0)


def layer_norm(x: Array, p: Block) -> Array:
    y = x.astype(wide(x.dtype))
    centred = y - y.mean(axis=-1, keepdims=True)
    unit = centred * jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + 1e-5)
    return (unit * p["weight"] + p["bias"] if p else unit).astype(x.dtype)


def rms_norm(x: Array, p: Block, eps: float) -> Array:
    y = x.astype(wide(x.dtype))
    unit = y * jax.lax.rsqrt(jnp.square(y).mean(axis=-1, keepdims=True) + eps)
    return p["weight"].astype(x.dtype) * unit.astype(x.dtype)


def _precede(prefix: Array, tokens: Array) -> Array:
    """(P, K, H) before (B, T, K, H)."""
    return jnp.concatenate([jnp.broadcast_to(prefix.astype(tokens.dtype), (len(tokens), *prefix.shape)), tokens], axis=1)


def _same(x: Array, p: Block) -> Array:
    return x


def wide(dtype: Any) -> jnp.dtype:
    """The type of sums and exponentials: float32 at least."""
    return jnp.promote_types(dtype, jnp.float32)
