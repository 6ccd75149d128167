"""Language models: OPT and Llama with LoRA, prefix and prompt."""

from theory_lab.models.checkpoint import Pretrained, load_pretrained, save_pretrained
from theory_lab.models.config import Config, LlamaConfig, OPTConfig, Rope, config_from_json, config_to_json
from theory_lab.models.layout import base_shapes, init_base
from theory_lab.models.transformer import log_probs, logits, mean_loss

__all__ = [
    "Config",
    "LlamaConfig",
    "OPTConfig",
    "Pretrained",
    "Rope",
    "base_shapes",
    "config_from_json",
    "config_to_json",
    "init_base",
    "load_pretrained",
    "log_probs",
    "logits",
    "mean_loss",
    "save_pretrained",
]
