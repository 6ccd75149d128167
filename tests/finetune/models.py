"""A tiny model and a few questions to fine-tune it on."""

import jax
import jax.numpy as jnp

from theory_lab import models
from theory_lab.finetune.encoding import encode
from theory_lab.finetune.problem import fine_tune
from theory_lab.finetune.tasks import example
from theory_lab.finetune.tokens import word_tokenizer

TOKENIZER = word_tokenizer(["it", "was", "great", "bad", "dull", "fresh", "very", "film"])
PROMPTS = ["a dull film it was", "a fresh film it was", "very dull it was", "it was very fresh it was", "dull dull it was"]
QUESTIONS = encode(
    [example(f"{i}", text, [" bad", " very great"], int("fresh" in text)) for i, text in enumerate(PROMPTS)], TOKENIZER
)
SIZES = {"vocab_size": len(TOKENIZER), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
         "max_position_embeddings": 32}  # fmt: skip
CONFIGS = {
    "opt": models.OPTConfig(**SIZES, ffn_dim=24),
    "llama": models.LlamaConfig(**SIZES, intermediate_size=24),
}


def base(name: str = "opt", seed: int = 0):
    """Random, five times as large as at a start, so that the parts of the model matter."""
    return jax.tree.map(lambda a: a * 5, models.init_base(jax.random.key(seed), CONFIGS[name], jnp.float32))


def problem(name: str = "opt", adapter=None, **options):
    return fine_tune(CONFIGS[name], base(name), QUESTIONS, adapter, **options)
