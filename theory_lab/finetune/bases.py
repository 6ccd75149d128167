"""Base models by name or folder, with the tokenizer that goes with them.

Packaged bases lie in `bases/NAME/` beside this file: Hugging Face folders, pretrained on the generated language, each with
the command that made it (README.md) and its curve of held-out perplexity (curve.csv), as `theory_lab.finetune.pretrain`
writes them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from theory_lab import _checks
from theory_lab._typing import Block, Key
from theory_lab.finetune import language
from theory_lab.finetune.encoding import Questions, encode
from theory_lab.finetune.tasks.base import Example
from theory_lab.models import Config, LlamaConfig, OPTConfig, init_base, load_pretrained
from theory_lab.models.tokenizer import load_tokenizer

PACKAGED = Path(__file__).parent / "bases"
SHAPE: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128}
RANDOM = ("random-opt", "random-llama")


class Base(NamedTuple):
    """A base model and how text becomes its tokens."""

    name: str
    config: Config
    base: Block
    tokenizer: Any
    start: tuple[int, ...]  # the tokens that open a text
    pad: int

    def encode(self, examples: Sequence[Example], *, length: int | None = None) -> Questions:
        """`encode` with this base's tokenizer, opening tokens and padding.

        Args:
            examples: of a task's split.
            length: the most tokens of a text; None is as many as the model has positions. Virtual tokens need some of them.

        Raises:
            ValueError: as `encode`.
        """
        most = self.config.max_position_embeddings if length is None else length
        return encode(examples, self.tokenizer, length=most, start=self.start, pad=self.pad)


def names() -> tuple[str, ...]:
    """The packaged bases, and the small ones that are random."""
    packaged = sorted(folder.parent.name for folder in PACKAGED.glob("*/config.json"))
    return (*packaged, *RANDOM)


def base_model(model: str, key: Key, *, dtype: Any = None) -> Base:
    """A base model by name, or from a folder.

    Args:
        model: one of `names`, or a folder that transformers wrote, with its tokenizer (the extra "lm" reads it). A folder
            without one is taken for a model of the generated language.
        key: of the numbers of a random base.
        dtype: of the parameters; see `load_pretrained`.

    Raises:
        ValueError: neither a name nor a folder, whatever `load_pretrained` and `load_tokenizer` refuse, a folder without a
            tokenizer whose model has another vocabulary than the generated language.
        ImportError: a tokenizer, without the library tokenizers.

    Example:
        >>> import jax
        >>> base_model("random-llama", jax.random.key(0)).config.model_type
        'llama'
    """
    _checks.text("model", model)
    if model in RANDOM:
        config = _random_config(model)
        kind = jnp.float32 if dtype is None else _checks.dtype("dtype", dtype, ("float32", "bfloat16"))
        return _speaking(model, config, init_base(_checks.key("key", key), config, jnp.dtype(kind)))
    packaged = model in names()
    where = PACKAGED / model if packaged else Path(model)
    if not where.is_dir():
        raise _checks.refuse("model", f"a folder or one of {', '.join(map(repr, names()))}", model)
    if not (where / "config.json").is_file():
        rule = "a folder with config.json, the weights and their tokenizer, as transformers writes it"
        raise ValueError(f"{_checks.refuse('model', rule, model)} without config.json")
    loaded = load_pretrained(where, dtype=dtype)
    if packaged or not any((where / name).exists() for name in ("tokenizer.json", "vocab.json", "tokenizer.model")):
        return _speaking(model, *loaded)
    tokenizer = load_tokenizer(where)
    start = () if tokenizer.first is None else (tokenizer.first,)
    return Base(model, *loaded, tokenizer.pieces, start, tokenizer.pad)


def _random_config(model: str) -> Config:
    size = len(language.tokenizer())
    if model == "random-opt":
        return OPTConfig(size, **SHAPE, ffn_dim=256)
    return LlamaConfig(size, **SHAPE, intermediate_size=172)


def _speaking(model: str, config: Config, base: Block) -> Base:
    """A base whose tokens are those of the generated language."""
    tokenizer = language.tokenizer()
    if config.vocab_size != len(tokenizer):
        rule = f"with a tokenizer, or of the generated language's {len(tokenizer)} tokens"
        raise _checks.refuse(f"model {model!r}", rule, f"a vocabulary of {config.vocab_size}")
    return Base(model, config, base, tokenizer, tokenizer.start, tokenizer.pad)
