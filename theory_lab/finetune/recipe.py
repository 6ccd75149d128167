"""What decides which base `theory_lab.finetune.pretrain` makes."""

import math
import shlex
from dataclasses import dataclass, fields
from typing import Any

import jax

from theory_lab import _checks
from theory_lab.models import Config, LlamaConfig, OPTConfig
from theory_lab.models.layout import base_shapes

WORDS = {
    "architecture": ("opt", "llama"),
    "precision": ("float32", "bfloat16"),
    "stored": ("float16", "bfloat16", "float32"),
}
HELP = {
    "architecture": "learned positions and ReLU, or rotary positions and SwiGLU",
    "width": "of the residual stream",
    "layers": "how many",
    "heads": "of attention",
    "kv_heads": "heads of keys and values of a llama; 0: as heads",
    "inner": "width inside a layer",
    "context": "tokens of a block, and positions of the model",
    "steps": "of the optimizer",
    "batch_size": "blocks of a step",
    "learning_rate": "at its peak",
    "weight_decay": "of AdamW",
    "seed": "of the model, the order and the generated corpus",
    "documents": "of the generated corpus",
    "text": "a file or folder of .txt, .txt.gz, .txt.xz instead of the generated corpus",
    "tokenizer": "a tokenizer.json for the text (the extra 'lm' reads it)",
    "end": "the token of that tokenizer that stands between documents",
    "precision": "of the computation; weights stay in float32 until they are stored",
    "stored": "type of the numbers in model.safetensors",
    "every": "steps between rows of the curve, run as one program",
}


@dataclass(frozen=True)
class Settings:
    """All that decides which base is made; the names are those of the command's options.

    Raises:
        ValueError: a number out of its range, heads that do not divide the width, an architecture or a type that is not one.
    """

    architecture: str = "opt"
    width: int = 96
    layers: int = 4
    heads: int = 4
    kv_heads: int = 0  # of a llama; 0: as heads
    inner: int = 320
    context: int = 128
    steps: int = 2000
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    seed: int = 0
    documents: int = 20_000
    text: str | None = None
    tokenizer: str | None = None
    end: str = "</s>"
    precision: str = "float32"
    stored: str = "float16"
    every: int = 100

    def __post_init__(self) -> None:
        for name, words in WORDS.items():
            _checks.choice(name, getattr(self, name), words)
        for name in ("width", "layers", "heads", "inner", "batch_size", "documents", "every"):
            _checks.count(name, getattr(self, name), bits=20)
        _checks.count("steps", self.steps, bits=31)
        _checks.count("context", self.context, least=2, bits=20)
        _checks.count("kv_heads", self.kv_heads, least=0)
        _checks.seed("seed", self.seed)
        object.__setattr__(self, "learning_rate", _checks.positive("learning_rate", self.learning_rate))
        object.__setattr__(self, "weight_decay", _checks.nonnegative("weight_decay", self.weight_decay))
        if self.width % self.heads:
            raise _checks.refuse("heads", f"a divisor of the width, {self.width}", self.heads)
        if self.kv_heads and self.heads % self.kv_heads:
            raise _checks.refuse("kv_heads", f"a divisor of the heads, {self.heads}", self.kv_heads)
        if self.kv_heads and self.architecture == "opt":
            raise _checks.refuse("kv_heads", "0 for an opt, which has as many as heads", self.kv_heads)
        if (self.text is None) != (self.tokenizer is None):
            raise _checks.refuse("text and tokenizer", "given together, or neither", (self.text, self.tokenizer))
        if self.text is None and self.end != Settings.end:
            raise _checks.refuse("end", "left out without text, whose documents it would stand between", self.end)
        self.config(1, 0, 0)

    @property
    def least_memory(self) -> int:
        """Bytes that a step holds at the least: weights, gradient and two moments, and every layer's input for a batch."""
        shapes = jax.tree.leaves(base_shapes(self.config(1, 0, 0)), is_leaf=lambda node: isinstance(node, tuple))
        inputs = self.batch_size * self.context * self.width * self.layers
        return 16 * sum(map(math.prod, shapes)) + (4 if self.precision == "float32" else 2) * inputs

    def config(self, vocabulary: int, end: int, pad: int) -> Config:
        """The model, for a vocabulary and its token between documents, which opens texts too."""
        ids: dict[str, Any] = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": pad}
        sizes: dict[str, Any] = {
            "vocab_size": vocabulary,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "max_position_embeddings": self.context,
        }
        if self.architecture == "opt":
            return OPTConfig(**sizes, **ids, ffn_dim=self.inner)
        return LlamaConfig(**sizes, **ids, intermediate_size=self.inner, num_key_value_heads=self.kv_heads)

    def command(self) -> str:
        """The command that makes this base, its folder aside."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        options = [f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in given.items()]
        return " ".join(["python -m theory_lab.finetune.pretrain --out DIR", *options])
