"""Language models: OPT and Llama with LoRA, prefix and prompt."""

from theory_lab.models.adapter import Adapter
from theory_lab.models.adapter_files import LoadedAdapter, load_adapter, save_adapter
from theory_lab.models.checkpoint import Pretrained, load_pretrained, save_pretrained
from theory_lab.models.config import Config, LlamaConfig, OPTConfig, config_from_json, config_to_json
from theory_lab.models.layout import base_shapes, init_base, module_name
from theory_lab.models.lora import LoRA, lora
from theory_lab.models.perturb import Differences, Stepped, differences, fo_step, hybrid_step, zo_step
from theory_lab.models.prefix import Prefix, prefix
from theory_lab.models.prompt import Prompt, prompt
from theory_lab.models.rope import Rope
from theory_lab.models.sharding import SHARDS, place, split_leaves
from theory_lab.models.tokenizer import Tokenizer, copy_tokenizer, load_tokenizer, padded
from theory_lab.models.transformer import log_probs, logits, mean_loss

__all__ = [
    "SHARDS",
    "Adapter",
    "Config",
    "Differences",
    "LlamaConfig",
    "LoRA",
    "LoadedAdapter",
    "OPTConfig",
    "Prefix",
    "Pretrained",
    "Prompt",
    "Rope",
    "Stepped",
    "Tokenizer",
    "base_shapes",
    "config_from_json",
    "config_to_json",
    "copy_tokenizer",
    "differences",
    "fo_step",
    "hybrid_step",
    "init_base",
    "load_adapter",
    "load_pretrained",
    "load_tokenizer",
    "log_probs",
    "logits",
    "lora",
    "mean_loss",
    "module_name",
    "padded",
    "place",
    "prefix",
    "prompt",
    "save_adapter",
    "save_pretrained",
    "split_leaves",
    "zo_step",
]
