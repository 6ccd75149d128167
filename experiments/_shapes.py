"""Shapes of published models, and small ones of the same make; how programs are compiled of which memory alone is asked;
how many cores there are."""

import os
from typing import Any

from experiments import OLDER_EMITTERS
from theory_lab.models import Config, LlamaConfig, OPTConfig

# Buffers are laid out before machine code is made, which here is never run and need not be fast; by the emitters of loops
# that users have, not by those that the other experiments are compiled with.
UNPOLISHED: dict[str, Any] = {"xla_backend_optimization_level": 0}
if OLDER_EMITTERS in os.environ.get("XLA_FLAGS", ""):
    UNPOLISHED["xla_cpu_use_fusion_emitters"] = True


def _opt(width: int, layers: int, heads: int) -> OPTConfig:
    sizes: dict[str, Any] = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    return OPTConfig(50272, **sizes, ffn_dim=4 * width, max_position_embeddings=2048)


def _llama(width: int, layers: int, heads: int, inner: int, groups: int | None = None) -> LlamaConfig:
    sizes: dict[str, Any] = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    sizes |= {"intermediate_size": inner, "num_key_value_heads": groups or heads}
    return LlamaConfig(32000, **sizes, max_position_embeddings=4096)


PUBLISHED: dict[str, Config] = {
    "opt-125m": _opt(768, 12, 12),
    "opt-1.3b": _opt(2048, 24, 32),
    "opt-6.7b": _opt(4096, 32, 32),
    "opt-30b": _opt(7168, 48, 56),
    "tinyllama-1.1b": _llama(2048, 22, 32, 5632, 4),
    "llama-2-7b": _llama(4096, 32, 32, 11008),
    "llama-2-13b": _llama(5120, 40, 40, 13824),
    "llama-2-70b": _llama(8192, 80, 64, 28672, 8),
}
SMALL: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 256}
TINY: dict[str, Config] = {"opt-tiny": OPTConfig(512, **SMALL, max_position_embeddings=128)}
MIDDLE: dict[str, Any] = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
}
FOR_CPU: dict[str, Config] = {  # 5.5 and 6.8 million parameters: a step is about arithmetic, and takes no second
    "opt-small": OPTConfig(8192, **MIDDLE, ffn_dim=1024),
    "llama-small": LlamaConfig(8192, **MIDDLE, num_key_value_heads=2, intermediate_size=680),
}


def config_of(name: str) -> Config:
    return {**PUBLISHED, **TINY, **FOR_CPU}[name]


def cores() -> int:
    """How many this process may use; XLA takes a thread for each."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
