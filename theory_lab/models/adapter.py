"""What an adapter is: a few parameters, ``params["peft"]``, and two places where they enter the transformer."""

import abc
from typing import Any

from theory_lab._typing import Array, Block, Key
from theory_lab.models.config import Config


class Adapter(abc.ABC):
    """A parameter-efficient fine-tuning method with its settings; immutable and hashable, without the parameters."""

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
