"""Which arrays a model has: their shapes, and what they are called in a checkpoint.

A base model is a nested dict {module: {"weight": ..., "bias": ...}}. The modules of a layer stand under "layers", all
layers stacked along the first axis of every array, so that `lax.scan` runs over them:

    {"embed_tokens": {"weight": (V, E)}, ..., "layers": {"q_proj": {"weight": (L, out, in), "bias": (L, out)}, ...}}

Weights have the orientation of the checkpoints, (out, in), and modules their names, so that loading is reading.
"""

import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from theory_lab import _checks
from theory_lab._typing import Block, Key
from theory_lab.models.config import Config, LlamaConfig, OPTConfig

Shapes = dict[str, dict[str, tuple[int, ...]]]

ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj", "o_proj")
GATED = ("gate_proj", "up_proj", "down_proj")


def layer_shapes(config: Config) -> Shapes:
    """The arrays of one layer."""
    width, queries = config.hidden_size, config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    attention = {"q_proj": (queries, width), "k_proj": (keys, width), "v_proj": (keys, width)}
    if isinstance(config, OPTConfig):
        inner = {"out_proj": (width, queries), "fc1": (config.ffn_dim, width), "fc2": (width, config.ffn_dim)}
        modules = {name: _linear(shape, config.enable_bias) for name, shape in {**attention, **inner}.items()}
        return modules | {name: _norm(config) for name in ("self_attn_layer_norm", "final_layer_norm")}
    attention["o_proj"] = (width, queries)
    hidden = config.intermediate_size
    gated = {"gate_proj": (hidden, width), "up_proj": (hidden, width), "down_proj": (width, hidden)}
    modules = {name: _linear(shape, config.attention_bias) for name, shape in attention.items()}
    modules |= {name: _linear(shape, config.mlp_bias) for name, shape in gated.items()}
    return modules | {name: {"weight": (width,)} for name in ("input_layernorm", "post_attention_layernorm")}


def outer_shapes(config: Config) -> Shapes:
    """The arrays outside the layers."""
    vocabulary, width, embedding = config.vocab_size, config.hidden_size, config.embedding_size
    shapes: Shapes = {"embed_tokens": {"weight": (vocabulary, embedding)}}
    if not config.tie_word_embeddings:
        shapes["lm_head"] = {"weight": (vocabulary, embedding)}
    if isinstance(config, LlamaConfig):
        return {**shapes, "norm": {"weight": (width,)}}
    shapes["embed_positions"] = {"weight": (config.max_position_embeddings + 2, width)}
    if embedding != width:
        shapes |= {"project_in": {"weight": (width, embedding)}, "project_out": {"weight": (embedding, width)}}
    if config.final_layer_norm:
        shapes["final_layer_norm"] = _norm(config)
    return shapes


def base_shapes(config: Config) -> Block:
    """The whole base model, as a tree of shapes.

    Example:
        >>> config = OPTConfig(vocab_size=9, hidden_size=4, num_hidden_layers=3, num_attention_heads=2, ffn_dim=8)
        >>> base_shapes(config)["layers"]["fc1"]
        {'weight': (3, 8, 4), 'bias': (3, 8)}
    """
    layers = config.num_hidden_layers
    stacked = {m: {k: (layers, *shape) for k, shape in arrays.items()} for m, arrays in layer_shapes(config).items()}
    return {**outer_shapes(config), "layers": stacked}


def tensors(config: Config) -> Iterator[tuple[str, tuple[str, ...], int | None, tuple[int, ...]]]:
    """Every tensor of a checkpoint: its name, the path of its array, its layer in that array or None, and its shape."""
    for module, arrays in outer_shapes(config).items():
        for kind, shape in arrays.items():
            stem = module if module == "lm_head" else config.prefix + module
            yield f"{stem}.{kind}", (module, kind), None, shape
    for layer in range(config.num_hidden_layers):
        for module, arrays in layer_shapes(config).items():
            for kind, shape in arrays.items():
                yield f"{module_name(config, module, layer)}.{kind}", ("layers", module, kind), layer, shape


def module_name(config: Config, module: str, layer: int) -> str:
    """The full name of a layer's module, as "model.decoder.layers.0.self_attn.q_proj"."""
    inside = "self_attn." if module in ATTENTION else "mlp." if module in GATED else ""
    return f"{config.prefix}layers.{layer}.{inside}{module}"


def linear_modules(config: Config) -> list[str]:
    """The modules of a layer that multiply by a matrix.

    Example:
        >>> linear_modules(OPTConfig())
        ['q_proj', 'k_proj', 'v_proj', 'out_proj', 'fc1', 'fc2']
    """
    return [name for name, arrays in layer_shapes(config).items() if len(arrays.get("weight", ())) == 2]


def _norm(config: OPTConfig) -> dict[str, tuple[int, ...]]:
    return {name: (config.hidden_size,) for name in ("weight", "bias") if config.layer_norm_elementwise_affine}


def _linear(shape: tuple[int, ...], biased: bool) -> dict[str, tuple[int, ...]]:
    return {"weight": shape, "bias": shape[:1]} if biased else {"weight": shape}


def init_base(key: Key, config: Config, dtype: jnp.dtype | type = jnp.float32) -> Block:
    """A random base model: weights N(0, 0.02^2), the last one of either residual branch / sqrt(2 L), norms 1, biases 0.

    Args:
        key: a single key.
        config: the model.
        dtype: of the arrays.

    Example:
        >>> config = LlamaConfig(vocab_size=9, hidden_size=4, num_hidden_layers=2, num_attention_heads=2)
        >>> init_base(jax.random.key(0), config)["layers"]["down_proj"]["weight"].shape
        (2, 4, 11008)
    """
    _checks.key("key", key)
    _checks.instance("config", config, (OPTConfig, LlamaConfig), "an OPTConfig or a LlamaConfig")
    dtype = jnp.dtype(_checks.dtype("dtype", dtype, ("float32", "bfloat16", "float16", "float64")))
    shapes, structure = jax.tree_util.tree_flatten_with_path(base_shapes(config), is_leaf=lambda s: isinstance(s, tuple))

    def leaf(k: Key, path: tuple[jax.tree_util.DictKey, ...], shape: tuple[int, ...]) -> jax.Array:
        module, kind = path[-2].key, path[-1].key
        if kind == "bias":
            return jnp.zeros(shape, dtype)
        if "norm" in module:
            return jnp.ones(shape, dtype)
        last = module in ("out_proj", "o_proj", "fc2", "down_proj")
        return (0.02 / math.sqrt(2 * config.num_hidden_layers if last else 1) * jax.random.normal(k, shape)).astype(dtype)

    keys = jax.random.split(key, len(shapes))
    return jax.tree.unflatten(structure, [leaf(k, path, shape) for k, (path, shape) in zip(keys, shapes, strict=True)])
