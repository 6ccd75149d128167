"""Small models of every kind that is built here, and texts with padding on either side."""

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab._typing import Block
from theory_lab.models import Adapter, Config, LlamaConfig, OPTConfig, Rope, lora, prefix, prompt

V, T, PAD = 97, 12, 1
OPT = {"vocab_size": V, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "ffn_dim": 48}
LLAMA = {**OPT, "intermediate_size": 40, "max_position_embeddings": 64}
LLAMA.pop("ffn_dim")
LLAMA3 = Rope(500.0, "llama3", 4.0, 1.0, 4.0, 16)
YARN = Rope(500.0, "yarn", 4.0, original_max_position_embeddings=16, beta_fast=2.0, beta_slow=0.5, attention_factor=1.2)
LONG = Rope(kind="longrope", short_factor=(1, 1.5, 2, 3), long_factor=(2, 3, 4, 6), original_max_position_embeddings=8,
            attention_factor=1.1)  # fmt: skip

CONFIGS = {
    "opt": OPTConfig(**OPT, max_position_embeddings=64),
    "opt-350m": OPTConfig(**OPT, max_position_embeddings=64, word_embed_proj_dim=16, do_layer_norm_before=False),
    "opt, no biases": OPTConfig(**OPT, max_position_embeddings=64, enable_bias=False),
    "opt, no final norm": OPTConfig(**OPT, max_position_embeddings=64, final_layer_norm=False),
    "opt, untied, gelu, plain norms": OPTConfig(
        **OPT,
        max_position_embeddings=64,
        word_embed_proj_dim=16,
        tie_word_embeddings=False,
        activation_function="gelu",
        layer_norm_elementwise_affine=False,
    ),
    "llama": LlamaConfig(**LLAMA),
    "llama, grouped, linear": LlamaConfig(**LLAMA, num_key_value_heads=2, rope=Rope(kind="linear", factor=3.0)),
    "llama, one head of keys, llama3, tied": LlamaConfig(
        **LLAMA, num_key_value_heads=1, rope=LLAMA3, tie_word_embeddings=True
    ),
    "llama, wide heads, biases": LlamaConfig(**LLAMA, head_dim=16, attention_bias=True, mlp_bias=True),
    "llama, dynamic": LlamaConfig(**{**LLAMA, "max_position_embeddings": 8}, rope=Rope(kind="dynamic", factor=2.0)),
    "llama, yarn": LlamaConfig(**LLAMA, rope=YARN),
    "llama, longrope": LlamaConfig(**LLAMA, rope=LONG),
}


def texts(side: str = "right", seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four texts of 12, 9, 5 and 2 tokens and their mask, (4, 12) each, padded on that side."""
    rng = np.random.default_rng(seed)
    tokens, mask = np.full((4, T), PAD), np.zeros((4, T), int)
    for row, count in enumerate((12, 9, 5, 2)):
        place = slice(0, count) if side == "right" else slice(T - count, T)
        tokens[row, place] = rng.integers(3, V, count)
        mask[row, place] = 1
    return tokens, mask


LINEAR = {"opt": ("q_proj", "v_proj", "out_proj", "fc1", "fc2"), "llama": ("k_proj", "o_proj", "gate_proj", "down_proj")}


def adapters(config: Config) -> dict[str, Adapter]:
    """Every kind of adapter on that model."""
    return {
        "lora": lora(rank=3, alpha=7.0),
        "lora, stabilised, many targets": lora(rank=2, alpha=5.0, targets=LINEAR[config.model_type], rslora=True),
        "prefix": prefix(3),
        "prompt": prompt(4),
    }


def random_peft(adapter: Adapter, config: Config, seed: int = 0) -> Block:
    """All its parameters random, B too."""
    rng = np.random.default_rng(seed)
    fill = lambda shape: jnp.asarray(rng.normal(0, 0.3, shape), jnp.float32)
    return jax.tree.map(fill, adapter.shapes(config), is_leaf=lambda s: isinstance(s, tuple))
