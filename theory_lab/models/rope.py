"""Rotary positions: queries and keys turned by angles that grow with their place in the text."""

import jax.numpy as jnp

from theory_lab._typing import Array
from theory_lab.models.config import LlamaConfig

Rotation = tuple[Array, Array]  # cosines and sines, (T, H/2) each


def rotary(config: LlamaConfig, past: int, count: int) -> Rotation:
    """Cosines and sines of the rotation at positions past, ..., past + count - 1, (count, H/2) each.

    Positions are counted from the start of the row, padding included, as transformers does: attention sees their differences
    alone. Virtual tokens stand before all padding, so with a prefix or a prompt pad on the right.
    """
    rope, size = config.rope, config.head_dim
    theta, longest = rope.theta, max(past + count, config.max_position_embeddings)
    if rope.kind == "dynamic":
        stretched = rope.factor * longest / config.max_position_embeddings - (rope.factor - 1)
        theta = theta * stretched ** (size / (size - 2))
    frequencies = 1 / theta ** (jnp.arange(0, size, 2, dtype=jnp.float32) / size)  # (H/2,)
    if rope.kind == "linear":
        frequencies = frequencies / rope.factor
    if rope.kind == "llama3":
        turns = rope.original_max_position_embeddings * frequencies / (2 * jnp.pi)  # within the original context
        smooth = jnp.clip((turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0, 1)
        frequencies = (1 - smooth) * frequencies / rope.factor + smooth * frequencies
    angles = (past + jnp.arange(count, dtype=jnp.float32))[:, None] * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: Array, rotation: Rotation) -> Array:
    """Turn the pairs (x_i, x_{i + H/2}) by their angles: (B, T, N, H) -> the same."""
    cos, sin = (a[:, None, :].astype(x.dtype) for a in rotation)  # (T, 1, H/2)
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
