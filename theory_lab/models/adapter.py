"""What an adapter is: a few parameters, ``params["peft"]``, and two places where they enter the transformer."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks
from theory_lab._typing import Array, Block, Key
from theory_lab.models.config import Config


class Adapter(abc.ABC):
    """A parameter-efficient fine-tuning method with its settings; immutable and hashable, without the parameters.

    Attributes:
        virtual_tokens: how many keys it puts before those of the text.
    """

    virtual_tokens: int = 0

    @abc.abstractmethod
    def shapes(self, config: Config) -> Block:
        """The tree of the shapes of its parameters on this model; a ValueError if it does not fit."""

    @abc.abstractmethod
    def init(self, key: Key, config: Config, base: Block | None = None, *, dtype: Any = None) -> Block:
        """Its parameters at the start."""

    def into_layers(self, layers: Block, peft: Block) -> Block:
        """The stacked layers with what it adds to them."""
        return layers

    def into_sequence(self, x: Array, mask: Array, peft: Block) -> tuple[Array, Array]:
        """The embeddings (B, T, E) and the mask of all keys (B, T) with what it puts before them."""
        return x, mask


def parameter_dtype(dtype: Any, base: Block | None) -> jnp.dtype:
    """The type asked for, else that of the base, else float32."""
    return jnp.dtype(dtype or (jnp.float32 if base is None else jax.tree.leaves(base)[0].dtype))


def real_tokens(key: Key, config: Config, base: Block | None, tokens: Any, count: int) -> Array:
    """The tokens that virtual ones start from, (count,): the given ones again and again, or random ones."""
    _checks.key("key", key)
    if tokens is None:
        return jax.random.randint(key, (count,), 0, config.vocab_size)
    if base is None:
        raise _checks.refuse("base", "given with tokens, which have their embeddings there", base)
    given = np.asarray(tokens)
    if (
        given.ndim != 1
        or not given.size
        or given.dtype.kind not in "iu"
        or given.min() < 0
        or given.max() >= config.vocab_size
    ):
        raise _checks.refuse("tokens", f"a list of whole numbers in 0..{config.vocab_size - 1}", tokens)
    return jnp.asarray(np.resize(given, count))
