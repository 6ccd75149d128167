"""Prompt tuning: the embeddings of some virtual tokens before those of the text."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from theory_lab import _checks
from theory_lab._typing import Array, Block, Key
from theory_lab.models.adapter import Adapter, parameter_dtype, real_tokens
from theory_lab.models.config import Config
from theory_lab.models.shift import whole


@dataclass(frozen=True)
class Prompt(Adapter):
    """Virtual tokens before the text; build it with `prompt`."""

    virtual_tokens: int

    def shapes(self, config: Config) -> Block:
        """{"prompt_embeddings": (P, E)}."""
        return {"prompt_embeddings": (self.virtual_tokens, config.embedding_size)}

    def init(self, key: Key, config: Config, base: Block | None = None, *, tokens: Any = None, dtype: Any = None) -> Block:
        """The embeddings of real tokens: of those given (repeated or cut to P), else of random ones; without a base, normal.

        Args:
            key: of what is random.
            config: the model.
            base: where real tokens have their embeddings; without it, N(0, 0.02^2).
            tokens: whole numbers below V; needs the base.
            dtype: of the parameters; None is that of the base, or float32.
        """
        dtype, chosen = parameter_dtype(dtype, base), real_tokens(key, config, base, tokens, self.virtual_tokens)
        if base is None:
            return {
                "prompt_embeddings": (0.02 * jax.random.normal(key, self.shapes(config)["prompt_embeddings"])).astype(dtype)
            }
        return {"prompt_embeddings": base["embed_tokens"]["weight"][chosen].astype(dtype)}

    def into_sequence(self, x: Array, mask: Array, peft: Block) -> tuple[Array, Array]:
        virtual = whole(peft["prompt_embeddings"]).astype(x.dtype)  # (P, E)
        x = jnp.concatenate([jnp.broadcast_to(virtual, (len(x), *virtual.shape)), x], axis=1)  # (B, P+T, E)
        return x, jnp.pad(mask, ((0, 0), (self.virtual_tokens, 0)), constant_values=1)


def prompt(virtual_tokens: int = 10) -> Prompt:
    """Prompt tuning with that many virtual tokens.

    Raises:
        ValueError: fewer than one.

    Example:
        >>> from theory_lab.models import OPTConfig
        >>> prompt(5).shapes(OPTConfig())
        {'prompt_embeddings': (5, 768)}

    Reference:
        Lester, Al-Rfou, Constant: The Power of Scale for Parameter-Efficient Prompt Tuning, 2021.
    """
    return Prompt(_checks.count("virtual_tokens", virtual_tokens, bits=20))
