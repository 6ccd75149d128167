"""What `config.json` of a Hugging Face folder says about a model, in that file's own words.

The two classes are immutable and hashable, so that they can be static arguments of a compiled function. Settings that the
transformer here does not have are refused by name; settings that change nothing without dropout (its probability, say)
are ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

from theory_lab import _checks
from theory_lab.models.rope import Rope, rope_from_json, rope_scaling

ACTIVATIONS = ("relu", "gelu")
IDS = ("pad_token_id", "bos_token_id", "eos_token_id")


@dataclass(frozen=True)
class OPTConfig:
    """OPT: learned positions, LayerNorm, ReLU, tied head (Zhang et al. 2022); with GELU, Galactica.

    ``do_layer_norm_before=False`` with ``word_embed_proj_dim < hidden_size`` is opt-350m: normalised after every residual,
    no final norm, a narrower embedding that is projected in and out. Without ``layer_norm_elementwise_affine`` norms have no
    parameters.

    Raises:
        ValueError: sizes that are not whole numbers of at least 1, heads that do not divide the width, another activation.
    """

    vocab_size: int = 50272
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    ffn_dim: int = 3072
    max_position_embeddings: int = 2048
    word_embed_proj_dim: int = 0  # 0: as hidden_size
    do_layer_norm_before: bool = True
    final_layer_norm: bool = True  # only where do_layer_norm_before
    enable_bias: bool = True
    layer_norm_elementwise_affine: bool = True
    activation_function: str = "relu"
    tie_word_embeddings: bool = True
    pad_token_id: int | None = 1
    bos_token_id: int | None = 2
    eos_token_id: int | None = 2

    model_type = "opt"
    prefix = "model.decoder."  # of the names of tensors

    def __post_init__(self) -> None:
        _checks.count("word_embed_proj_dim", self.word_embed_proj_dim, least=0)
        _checks.flag("final_layer_norm", self.final_layer_norm)
        object.__setattr__(self, "word_embed_proj_dim", self.word_embed_proj_dim or self.hidden_size)
        object.__setattr__(self, "final_layer_norm", self.final_layer_norm and self.do_layer_norm_before)
        _check_numbers(self)
        _checks.choice("activation_function", self.activation_function, ACTIVATIONS)
        _check_divides("num_attention_heads", self.num_attention_heads, "hidden_size", self.hidden_size)

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def num_key_value_heads(self) -> int:
        return self.num_attention_heads

    @property
    def embedding_size(self) -> int:
        return self.word_embed_proj_dim


@dataclass(frozen=True)
class LlamaConfig:
    """Llama: rotary positions, RMSNorm, SwiGLU, grouped-query attention, head untied or tied (Touvron et al. 2023).

    Raises:
        ValueError: sizes that are not whole numbers of at least 1, heads that do not divide the width or one another.
    """

    vocab_size: int = 32000
    hidden_size: int = 4096
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 0  # 0: as num_attention_heads
    head_dim: int = 0  # 0: hidden_size / num_attention_heads
    intermediate_size: int = 11008
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope: Rope = field(default_factory=Rope)
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    pad_token_id: int | None = None
    bos_token_id: int | None = 1
    eos_token_id: int | None = 2

    model_type = "llama"
    prefix = "model."

    def __post_init__(self) -> None:
        for name in ("num_key_value_heads", "head_dim"):
            _checks.count(name, getattr(self, name), least=0)
        object.__setattr__(self, "num_key_value_heads", self.num_key_value_heads or self.num_attention_heads)
        if not self.head_dim:
            _check_divides("num_attention_heads", self.num_attention_heads, "hidden_size", self.hidden_size)
            object.__setattr__(self, "head_dim", self.hidden_size // self.num_attention_heads)
        _check_numbers(self)
        _checks.instance("rope", self.rope, Rope, "a Rope")
        object.__setattr__(self, "rms_norm_eps", _checks.positive("rms_norm_eps", self.rms_norm_eps))
        _check_divides("num_key_value_heads", self.num_key_value_heads, "num_attention_heads", self.num_attention_heads)
        if self.head_dim % 2:
            raise _checks.refuse("head_dim", "even, for rotary positions", self.head_dim)
        if self.rope.kind == "dynamic" and self.head_dim == 2:  # the one frequency is 1 for every base
            raise _checks.refuse("head_dim", "above 2 where the rope's kind is 'dynamic'", self.head_dim)
        for name in ("short_factor", "long_factor") if self.rope.kind == "longrope" else ():
            if len(getattr(self.rope, name)) != self.head_dim // 2:
                raise _checks.refuse(f"rope {name}", f"{self.head_dim // 2} numbers, head_dim / 2", getattr(self.rope, name))
        ratio = self.max_position_embeddings / self.rope.original_max_position_embeddings
        if self.rope.kind == "yarn" and ratio not in (1, self.rope.factor):  # of which versions of transformers read either
            rule = f"{ratio:g}, max_position_embeddings / original_max_position_embeddings"
            raise _checks.refuse("rope factor", rule, self.rope.factor)

    @property
    def embedding_size(self) -> int:
        return self.hidden_size


Config: TypeAlias = OPTConfig | LlamaConfig
_KINDS: dict[str, type[OPTConfig] | type[LlamaConfig]] = {"opt": OPTConfig, "llama": LlamaConfig}
_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "ffn_dim", "intermediate_size")


def config_from_json(stored: Mapping[str, Any]) -> Config:
    """The model that a `config.json` describes.

    Args:
        stored: the file's object. What it leaves out has the value that transformers gives it.

    Raises:
        ValueError: another model type, a setting that this transformer does not have, sizes that do not fit.

    Example:
        >>> config_from_json({"model_type": "opt", "hidden_size": 64, "num_attention_heads": 4}).head_dim
        16
    """
    kind = _checks.choice("model_type in config.json", stored.get("model_type"), _KINDS)
    if kind == "llama" and stored.get("hidden_act", "silu") not in ("silu", "swish"):  # two names of one function
        raise _checks.refuse("hidden_act in config.json", "'silu', the one that is built here", stored["hidden_act"])
    if stored.get("quantization_config"):
        raise _checks.refuse("quantization_config in config.json", "left out", stored["quantization_config"])
    cls = _KINDS[kind]
    given = {f.name: stored[f.name] for f in fields(cls) if stored.get(f.name) is not None}
    given |= {name: stored[name] for name in IDS if name in stored}
    if isinstance(given.get("eos_token_id"), (list, tuple)):  # several ends of a text: the first is what we write
        given["eos_token_id"] = next(iter(given["eos_token_id"]), None)
    if cls is OPTConfig:
        return OPTConfig(**given, final_layer_norm=not stored.get("_remove_final_layer_norm", False))
    return LlamaConfig(**given, rope=rope_from_json(stored))


def sizes_left_out(stored: Mapping[str, Any]) -> dict[str, int]:
    """The sizes that a `config.json` leaves to transformers' defaults, which are those of the first models of their kind.

    Example:
        >>> sizes_left_out({"model_type": "llama", "num_attention_heads": 4})["hidden_size"]
        4096
    """
    config = config_from_json(stored)
    return {f.name: getattr(config, f.name) for f in fields(config) if f.name in _SIZES and stored.get(f.name) is None}


def config_to_json(config: Config) -> dict[str, Any]:
    """The object that transformers (4 and 5) reads as this model.

    Example:
        >>> config_from_json(config_to_json(LlamaConfig())) == LlamaConfig()
        True
    """
    named = {f.name: getattr(config, f.name) for f in fields(config) if f.name not in ("rope", "final_layer_norm")}
    named["model_type"] = config.model_type
    if isinstance(config, OPTConfig):
        removed = config.do_layer_norm_before and not config.final_layer_norm
        return {**named, "architectures": ["OPTForCausalLM"], "_remove_final_layer_norm": removed}
    named |= {"hidden_act": "silu", "rope_theta": config.rope.theta, "rope_scaling": rope_scaling(config.rope)}
    return {**named, "architectures": ["LlamaForCausalLM"]}


def check_config(config: Any) -> None:
    """The door for a model's config."""
    _checks.instance("config", config, (OPTConfig, LlamaConfig), "an OPTConfig or a LlamaConfig")


def _check_numbers(config: Config) -> None:
    for f in fields(config):
        value = getattr(config, f.name)
        if f.name in IDS:
            if value is not None:
                _checks.count(f.name, value, least=-1)  # -1: none, in some files
        elif f.type is int:
            _checks.count(f.name, value)
        elif f.type is bool:
            _checks.flag(f.name, value)


def _check_divides(name: str, divisor: int, of_name: str, of: int) -> None:
    if _checks.count(of_name, of) % _checks.count(name, divisor):
        raise _checks.refuse(name, f"a divisor of {of_name} {of}", divisor)
