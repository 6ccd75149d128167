"""Prefix tuning: in every layer the keys and values of some virtual tokens, before those of the text."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from theory_lab import _checks
from theory_lab._typing import Array, Block, Key
from theory_lab.models.adapter import Adapter, parameter_dtype, real_tokens
from theory_lab.models.config import Config
from theory_lab.models.transformer import enter, through


@dataclass(frozen=True)
class Prefix(Adapter):
    """Keys and values before the text, in every layer; build it with `prefix`."""

    virtual_tokens: int

    def shapes(self, config: Config) -> Block:
        """{"key": (L, P, K, H), "value": (L, P, K, H)}."""
        shape = (config.num_hidden_layers, self.virtual_tokens, config.num_key_value_heads, config.head_dim)
        return {"key": shape, "value": shape}

    def init(self, key: Key, config: Config, base: Block | None = None, *, tokens: Any = None, dtype: Any = None) -> Block:
        """The keys and values of real tokens that stand alone at the start of a text; without a base, normal.

        With those of real tokens the model computes what it computes when they precede the text.

        Args:
            key: of what is random.
            config: the model.
            base: what computes the keys and values; without it, N(0, 0.02^2).
            tokens: whole numbers below V (repeated or cut to P); needs the base. None takes random ones.
            dtype: of the parameters; None is that of the base, or float32.
        """
        dtype, chosen = parameter_dtype(dtype, base), real_tokens(key, config, base, tokens, self.virtual_tokens)
        if base is None:
            normal = lambda k, name: (0.02 * jax.random.normal(k, self.shapes(config)[name])).astype(dtype)
            return {name: normal(k, name) for k, name in zip(jax.random.split(key), ("key", "value"), strict=True)}
        x, layers, seen, rotation = enter(config, {"base": base}, chosen[None], None, None, None)
        _, pairs = through(config, layers, x, seen, rotation, keep=True)  # (L, 1, P, K, H) each
        return {name: pair[:, 0].astype(dtype) for name, pair in zip(("key", "value"), pairs, strict=True)}

    def into_layers(self, layers: Block, peft: Block) -> Block:
        return {**layers, "prefix": peft}

    def into_sequence(self, x: Array, mask: Array, peft: Block) -> tuple[Array, Array]:
        return x, jnp.pad(mask, ((0, 0), (self.virtual_tokens, 0)), constant_values=1)


def prefix(virtual_tokens: int = 5) -> Prefix:
    """Prefix tuning with that many virtual tokens, without the reparameterising network.

    Raises:
        ValueError: fewer than one.

    Example:
        >>> from theory_lab.models import OPTConfig
        >>> prefix(5).shapes(OPTConfig())["key"]
        (12, 5, 12, 64)

    Reference:
        Li, Liang: Prefix-Tuning: Optimizing Continuous Prompts for Generation, 2021.
    """
    return Prefix(_checks.count("virtual_tokens", virtual_tokens, bits=20))
