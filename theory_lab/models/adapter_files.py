"""Adapters as folders in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from theory_lab import _checks
from theory_lab._typing import Block
from theory_lab.models import tensorfile
from theory_lab.models.adapter import Adapter
from theory_lab.models.checkpoint import PARAMETER_TYPES, check_float, parameter_type, read_finite, refuse_pickle
from theory_lab.models.config import Config, check_config
from theory_lab.models.layout import linear_modules, module_name
from theory_lab.models.lora import LoRA, lora
from theory_lab.models.prefix import Prefix, prefix
from theory_lab.models.prompt import Prompt, prompt

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
VIRTUAL = "prompt_embeddings"  # the one tensor of a prefix or a prompt
PREFIX_OF_NAMES = "base_model.model."
KINDS = {"LORA": LoRA, "PREFIX_TUNING": Prefix, "PROMPT_TUNING": Prompt}
_PLAIN = {  # settings of LoRA that change what it computes, and the values with which they do not
    "bias": ("none",), "use_dora": (False,), "lora_bias": (False,), "use_qalora": (False,),
    "modules_to_save": (None, []), "layer_replication": (None, []), "target_parameters": (None, []),
    "trainable_token_indices": (None, []), "alora_invocation_tokens": (None, []), "megatron_config": (None,),
    "init_lora_weights": (True, False, None, "gaussian", "orthogonal", "eva"),  # the others change the base as well
}  # fmt: skip
_OTHER = {  # settings of LoRA that are read, that change nothing once it is trained, or nothing on these models
    "peft_type", "task_type", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "auto_mapping", "r",
    "lora_alpha", "use_rslora", "target_modules", "exclude_modules", "layers_to_transform", "rank_pattern",
    "alpha_pattern", "fan_in_fan_out", "lora_dropout", "layers_pattern", "loftq_config", "eva_config",
    "corda_config", "lora_ga_config", "velora_config", "qalora_group_size", "megatron_core", "runtime_config",
    "ensure_weight_tying",
}  # fmt: skip


class LoadedAdapter(NamedTuple):
    """An adapter and its parameters, ``params["peft"]``."""

    adapter: Adapter
    peft: Block


def save_adapter(path: Any, config: Config, adapter: Adapter, peft: Block, *, base_name: str | None = None) -> None:
    """Write an adapter so that `peft.PeftModel.from_pretrained(model, path)` reads it.

    Args:
        path: the folder; made if it is not there.
        config: the model it belongs to.
        adapter, peft: the adapter and its parameters.
        base_name: what the base is called, a name or a folder, for `base_model_name_or_path`.

    Raises:
        ValueError: parameters that are not the adapter's on this model, a path that is a file, a name that is no text.
    """
    check_config(config)
    _checks.instance("adapter", adapter, (LoRA, Prefix, Prompt), "a LoRA, Prefix or Prompt")
    if base_name is not None:
        _checks.text("base_name", base_name)
    given, wanted = _shapes_of(peft), _shapes_of(adapter.shapes(config))
    if given != wanted:
        raise _checks.refuse("peft", f"of shapes {wanted}", given)
    where = tensorfile.new_folder(path)
    found = _tensors_of(config, adapter, peft)
    tensorfile.write(where / WEIGHTS, {name: (np.dtype(a.dtype), a.shape) for name, a in found.items()}, found.__getitem__)
    common = {"task_type": "CAUSAL_LM", "base_model_name_or_path": base_name, "inference_mode": True}
    tensorfile.write_json(where / CONFIG, {**common, **_described(config, adapter)})


def load_adapter(path: Any, config: Config, *, dtype: Any = None) -> LoadedAdapter:
    """The adapter in a folder that peft (or `save_adapter`) wrote.

    Args:
        path: the folder.
        config: the model it belongs to.
        dtype: of the parameters, float32 or bfloat16; None keeps these as stored and makes float32 of all else.

    Raises:
        ValueError: a folder or file that is not there; weights in a pickle file; a method or setting that is not built here;
            a tensor that is cut off, missing, left over, of another shape, not of floating-point numbers, or not finite.

    Example:
        >>> import tempfile
        >>> import jax
        >>> from theory_lab.models import OPTConfig
        >>> config, adapter = OPTConfig(num_hidden_layers=2), lora(rank=4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_adapter(folder, config, adapter, adapter.init(jax.random.key(0), config))
        ...     load_adapter(folder, config).adapter == adapter
        True
    """
    where = tensorfile.folder(path)
    check_config(config)
    if dtype is not None:
        _checks.dtype("dtype", dtype, PARAMETER_TYPES)
    stored = tensorfile.read_json(where / CONFIG)
    kind = _checks.choice(f"peft_type in {CONFIG}", stored.get("peft_type"), KINDS)
    if not (where / WEIGHTS).exists():
        refuse_pickle(where, WEIGHTS, ("adapter_model.bin", "adapter_model.pt"))
    found = tensorfile.read_header(where / WEIGHTS)
    adapter = _lora_of(config, stored) if kind == "LORA" else _virtual_of(kind, config, stored)
    wanted = {name: shape for name, shape in _names(config, adapter).items()}
    for name, shape in wanted.items():
        if name not in found:
            raise _checks.refuse(f"tensor {name!r}", f"in {str(where / WEIGHTS)!r}", "no such tensor")
        check_float(name, found[name], shape)
    for name in sorted(found.keys() - wanted.keys()):
        raise _checks.refuse(f"tensor {name!r} in {str(where / WEIGHTS)!r}", f"one of this {kind} adapter", "one more")
    given = None if dtype is None else np.dtype(dtype)
    numbers = {name: read_finite(name, tensor, given or parameter_type(tensor.dtype)) for name, tensor in found.items()}
    return LoadedAdapter(adapter, _parameters(config, adapter, numbers))


def _names(config: Config, adapter: Adapter) -> dict[str, tuple[int, ...]]:
    """The tensors of an adapter's file and their shapes."""
    if not isinstance(adapter, LoRA):
        width = config.embedding_size if isinstance(adapter, Prompt) else 2 * config.num_hidden_layers * _token_dim(config)
        return {VIRTUAL: (adapter.virtual_tokens, width)}
    return {
        _tensor_name(config, module, layer, which): shape[1:]
        for module, pair in adapter.shapes(config).items()
        for which, shape in pair.items()
        for layer in range(config.num_hidden_layers)
    }


def _tensors_of(config: Config, adapter: Adapter, peft: Block) -> dict[str, np.ndarray]:
    if isinstance(adapter, Prompt):
        return {VIRTUAL: np.asarray(peft[VIRTUAL])}
    if isinstance(adapter, Prefix):
        pairs = jnp.stack([peft["key"], peft["value"]], axis=1)  # (L, 2, P, K, H)
        return {VIRTUAL: np.asarray(jnp.moveaxis(pairs, 2, 0).reshape(adapter.virtual_tokens, -1))}  # (P, L 2 K H)
    return {
        _tensor_name(config, module, layer, which): np.asarray(array[layer])
        for module, pair in peft.items()
        for which, array in pair.items()
        for layer in range(config.num_hidden_layers)
    }


def _parameters(config: Config, adapter: Adapter, numbers: Mapping[str, np.ndarray]) -> Block:
    """The reverse of `_tensors_of`."""
    if isinstance(adapter, Prompt):
        return {VIRTUAL: jnp.asarray(numbers[VIRTUAL])}
    layers = range(config.num_hidden_layers)
    if isinstance(adapter, Prefix):
        shape = (adapter.virtual_tokens, len(layers), 2, config.num_key_value_heads, config.head_dim)
        pairs = np.moveaxis(numbers[VIRTUAL].reshape(shape), 0, 2)  # (L, 2, P, K, H)
        return {"key": jnp.asarray(pairs[:, 0]), "value": jnp.asarray(pairs[:, 1])}
    stack = lambda module, which: np.stack([numbers[_tensor_name(config, module, i, which)] for i in layers])
    return {m: {w: jnp.asarray(stack(m, w)) for w in pair} for m, pair in adapter.shapes(config).items()}


def _described(config: Config, adapter: Adapter) -> dict[str, Any]:
    """`adapter_config.json`."""
    if isinstance(adapter, LoRA):
        fixed = {"lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False, "init_lora_weights": True}
        own = {
            "r": adapter.rank,
            "lora_alpha": adapter.alpha,
            "use_rslora": adapter.rslora,
            "target_modules": list(adapter.targets),
        }
        return {"peft_type": "LORA", **fixed, **own}
    virtual = {
        "num_layers": config.num_hidden_layers,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": adapter.virtual_tokens,
    }
    if isinstance(adapter, Prompt):
        own = {
            "token_dim": config.embedding_size,
            "num_attention_heads": config.num_attention_heads,
            "prompt_tuning_init": "RANDOM",
        }
        return {"peft_type": "PROMPT_TUNING", **virtual, **own}
    heads = {"token_dim": _token_dim(config), "num_attention_heads": config.num_key_value_heads}
    return {
        "peft_type": "PREFIX_TUNING",
        **virtual,
        **heads,
        "encoder_hidden_size": _token_dim(config),
        "prefix_projection": False,
    }


def _lora_of(config: Config, stored: Mapping[str, Any]) -> LoRA:
    for name, plain in _PLAIN.items():
        if name in stored and stored[name] not in plain:
            raise _checks.refuse(f"{name} in {CONFIG}", f"{plain[0]!r}, the one that is built here", stored[name])
    for name in sorted(stored.keys() - _PLAIN.keys() - _OTHER):
        if stored[name]:  # of a later version of peft, and in use
            raise _checks.refuse(f"{name} in {CONFIG}", "left out: it is not known here", stored[name])
    every = range(config.num_hidden_layers)
    chosen = stored.get("layers_to_transform")
    if chosen not in (None, []) and any(layer not in (chosen if isinstance(chosen, list) else [chosen]) for layer in every):
        raise _checks.refuse(f"layers_to_transform in {CONFIG}", f"all {len(every)} layers, or left out", chosen)
    told, left_out = stored.get("target_modules"), stored.get("exclude_modules")
    targets: dict[str, list[str]] = {}
    for module in linear_modules(config):
        names = [module_name(config, module, layer) for layer in every]
        meant = [name for name in names if _targeted(told, name) and not _named("exclude_modules", left_out, name)]
        if meant and meant != names:
            raise _checks.refuse(f"target_modules in {CONFIG}", "the same modules in all layers", told)
        targets |= {module: names} if meant else {}
    if not targets:
        rule = f"among those of the model's layers, {linear_modules(config)}"
        raise _checks.refuse(f"target_modules in {CONFIG}", rule, told)
    names = [name for each in targets.values() for name in each]
    rank = _common("rank_pattern", stored, names, stored.get("r", 8))
    alpha = _common("alpha_pattern", stored, names, stored.get("lora_alpha", 8))
    return lora(rank, alpha, targets, rslora=stored.get("use_rslora", False))


def _targeted(told: Any, name: str) -> bool:
    return told == "all-linear" or _named("target_modules", told, name)


def _named(setting: str, told: Any, name: str) -> bool:
    """Whether peft means this module: a pattern for the full name, or a list of names or ends of names."""
    if isinstance(told, str):
        return _fits(setting, told, name)
    return isinstance(told, (list, tuple)) and any(name == end or name.endswith(f".{end}") for end in told)


def _common(setting: str, stored: Mapping[str, Any], names: list[str], default: Any) -> Any:
    """The one number that the patterns of a setting, for ends of names, give to all these modules."""
    patterns = stored.get(setting) or {}
    if not isinstance(patterns, Mapping):
        raise _checks.refuse(f"{setting} in {CONFIG}", "an object", patterns)
    given = lambda name: next((n for key, n in patterns.items() if _fits(setting, rf"(.*\.)?({key})$", name)), default)
    numbers = [given(name) for name in names]
    if any(number != numbers[0] for number in numbers):
        raise _checks.refuse(f"{setting} in {CONFIG}", "{} or the same for all modules", patterns)
    return numbers[0]


def _fits(setting: str, pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error:
        raise _checks.refuse(f"{setting} in {CONFIG}", "made of regular expressions", pattern) from None


def _virtual_of(kind: str, config: Config, stored: Mapping[str, Any]) -> Prefix | Prompt:
    if stored.get("num_transformer_submodules") not in (None, 1):
        raise _checks.refuse(f"num_transformer_submodules in {CONFIG}", "1", stored["num_transformer_submodules"])
    count = _checks.count(f"num_virtual_tokens in {CONFIG}", stored.get("num_virtual_tokens"))
    return prefix(count) if kind == "PREFIX_TUNING" else prompt(count)


def _tensor_name(config: Config, module: str, layer: int, which: str) -> str:
    return f"{PREFIX_OF_NAMES}{module_name(config, module, layer)}.{which}.weight"


def _token_dim(config: Config) -> int:
    return config.num_key_value_heads * config.head_dim


def _shapes_of(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _shapes_of(tree[name]) for name in sorted(tree)}
    return tree if isinstance(tree, tuple) else jnp.shape(tree)
