"""LoRA: beside the weight W of some modules a product of two thin matrices, W + scaling * B A."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from theory_lab import _checks
from theory_lab._typing import Array, Block, Key, Params
from theory_lab.models.adapter import Adapter, parameter_dtype
from theory_lab.models.config import Config
from theory_lab.models.layout import layer_shapes, linear_modules
from theory_lab.models.shift import length


@dataclass(frozen=True)
class LoRA(Adapter):
    """LoRA in the same modules of every layer; build it with `lora`."""

    rank: int
    alpha: float
    targets: tuple[str, ...]
    rslora: bool

    @property
    def scaling(self) -> float:
        """alpha / r, or alpha / sqrt(r) if rank-stabilised."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def shapes(self, config: Config) -> Block:
        """{module: {"lora_A": (L, r, in), "lora_B": (L, out, r)}}."""
        layers, modules, linear = config.num_hidden_layers, layer_shapes(config), linear_modules(config)
        shapes = {}
        for name in self.targets:
            out, inside = modules[_checks.choice("targets", name, linear)]["weight"]
            shapes[name] = {"lora_A": (layers, self.rank, inside), "lora_B": (layers, out, self.rank)}
        return shapes

    def init(self, key: Key, config: Config, base: Block | None = None, *, dtype: Any = None) -> Block:
        """A Kaiming-uniform with a = sqrt(5), that is U(-1/sqrt(in), 1/sqrt(in)); B zero: nothing changes at first."""
        shapes, dtype = self.shapes(config), parameter_dtype(dtype, base)
        keys = jax.random.split(_checks.key("key", key), len(shapes))
        uniform = lambda k, shape: jax.random.uniform(k, shape, jnp.float32, -1, 1) / math.sqrt(shape[-1])
        return {
            name: {"lora_A": uniform(k, s["lora_A"]).astype(dtype), "lora_B": jnp.zeros(s["lora_B"], dtype)}
            for k, (name, s) in zip(keys, shapes.items(), strict=True)
        }

    def into_layers(self, layers: Block, peft: Block) -> Block:
        scaling = jnp.full(length(peft[self.targets[0]]["lora_A"]), self.scaling, jnp.float32)  # (L,), for the scan
        return {**layers, **{name: {**layers[name], **pair, "scaling": scaling} for name, pair in peft.items()}}

    def merge(self, params: Params) -> Block:
        """The base with the adapter added to its weights, W + scaling * B A in float32, rounded to the type of W.

        Example:
            >>> from theory_lab.models import OPTConfig, init_base
            >>> config = OPTConfig(vocab_size=9, hidden_size=4, num_hidden_layers=2, num_attention_heads=2, ffn_dim=8)
            >>> adapter, base = lora(rank=2), init_base(jax.random.key(0), config)
            >>> merged = adapter.merge({"base": base, "peft": adapter.init(jax.random.key(1), config)})
            >>> bool((merged["layers"]["q_proj"]["weight"] == base["layers"]["q_proj"]["weight"]).all())  # B is zero
            True
        """
        _checks.same_labels("params", _checks.labelled("params", params), ("base", "peft"), "a model with an adapter")
        layers = dict(params["base"]["layers"])
        for name, pair in params["peft"].items():
            layers[name] = {**layers[name], "weight": self._merged(layers[name]["weight"], pair)}
        return {**params["base"], "layers": layers}

    def _merged(self, weight: Array, pair: Block) -> Array:
        def one(layer: tuple[Array, Array, Array]) -> Array:
            w, a, b = (x.astype(jnp.float32) for x in layer)
            return (w + self.scaling * b @ a).astype(weight.dtype)

        return jax.lax.map(one, (weight, pair["lora_A"], pair["lora_B"]))


def lora(rank: int = 8, alpha: float = 16, targets: Iterable[str] = ("q_proj", "v_proj"), *, rslora: bool = False) -> LoRA:
    """Low-rank adaptation, y = W x + scaling * B A x with scaling = alpha / r.

    Args:
        rank: r.
        alpha: so that the scaling is alpha / r, or alpha / sqrt(r) with ``rslora``.
        targets: modules of a layer, by name: of "q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2" for OPT, of "q_proj",
            "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj" for Llama.
        rslora: rank-stabilised (Kalajdzievski 2023).

    Raises:
        ValueError: a rank below 1, an alpha that is not positive, no targets or the same twice; on a model, targets that it
            has not.

    Example:
        >>> lora(rank=4, alpha=16).scaling, lora(rank=4, alpha=16, rslora=True).scaling
        (4.0, 8.0)

    Reference:
        Hu et al.: LoRA: Low-Rank Adaptation of Large Language Models, 2021.
    """
    names = tuple(targets) if isinstance(targets, Iterable) and not isinstance(targets, str) else ()
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise _checks.refuse("targets", "names of modules, none of them twice", targets)
    scale, stable = _checks.positive("alpha", alpha), _checks.flag("rslora", rslora)
    return LoRA(_checks.count("rank", rank, bits=20), scale, tuple(sorted(names)), stable)
