"""Rotary positions: queries and keys turned by angles that grow with their place in the text.

`Rope` says by which; it is read from `config.json` as transformers 5 writes it, and 4 before it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import jax.numpy as jnp

from theory_lab import _checks
from theory_lab._typing import Array

TRAINED = "original_max_position_embeddings"
ROPE_SETTINGS = {  # what each kind has in `config.json`, beside its base
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", TRAINED),
    "yarn": ("factor", "beta_fast", "beta_slow", "truncate", "attention_factor", TRAINED),
    "longrope": ("short_factor", "long_factor", "attention_factor", TRAINED),
}
ROPE_OPTIONAL = ("beta_fast", "beta_slow", "truncate")
Rotation = tuple[Array, Array]  # cosines and sines, (T, H/2) each


@dataclass(frozen=True)
class Rope:
    """Rotary positions: the base ``theta``, and how its frequencies are stretched for longer texts.

    Attributes:
        kind: "default"; "linear" (all frequencies / factor); "dynamic" (a larger base for texts beyond
            ``max_position_embeddings``, by their length); "llama3" and "yarn" (low frequencies / factor, high ones kept,
            between them by two rules); "longrope" (each frequency / its own factor, for short texts and for long ones).
        attention_factor: of queries and keys, of "yarn" and "longrope".
        factor and the rest: as in `config.json`.
    """

    theta: float = 10000.0
    kind: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float = 1.0
    short_factor: tuple[float, ...] = ()
    long_factor: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _checks.choice("rope kind", self.kind, ROPE_SETTINGS)
        for f in fields(self):
            if f.type is float:
                object.__setattr__(self, f.name, _checks.positive(f"rope {f.name}", getattr(self, f.name)))
        for name in ("short_factor", "long_factor"):
            given = _checks.array(f"rope {name}", getattr(self, name), ndim=1, nonempty=False).tolist()
            object.__setattr__(self, name, tuple(_checks.positive(f"rope {name}", one) for one in given))
        if self.kind == "yarn" and self.theta <= 1:
            raise _checks.refuse("rope theta", "above 1 where its kind is 'yarn'", self.theta)
        _checks.flag("rope truncate", self.truncate)
        _checks.count(f"rope {TRAINED}", self.original_max_position_embeddings)


def rotary(rope: Rope, size: int, context: int, past: int, count: int) -> Rotation:
    """Cosines and sines of the rotation at positions past, ..., past + count - 1, (count, H/2) each.

    Heads have H = ``size`` numbers and the model ``context`` positions. Positions are counted from the start of the row,
    padding included, as transformers does: attention sees their differences alone. Virtual tokens stand before all padding,
    so with a prefix or a prompt pad on the right.
    """
    theta = rope.theta
    if rope.kind == "dynamic":
        stretched = rope.factor * max(past + count, context) / context - (rope.factor - 1)
        theta = theta * stretched ** (size / (size - 2))
    frequencies = 1 / theta ** (jnp.arange(0, size, 2, dtype=jnp.float32) / size)  # (H/2,)
    if rope.kind == "linear":
        frequencies = frequencies / rope.factor
    if rope.kind == "llama3":
        turns = rope.original_max_position_embeddings * frequencies / (2 * jnp.pi)  # within the original context
        smooth = jnp.clip((turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0, 1)
        frequencies = (1 - smooth) * frequencies / rope.factor + smooth * frequencies
    if rope.kind == "yarn":
        low, high = _between(rope, size)
        ramp = jnp.clip((jnp.arange(size // 2) - low) / (high - low or 0.001), 0, 1)
        frequencies = ramp * frequencies / rope.factor + (1 - ramp) * frequencies
    if rope.kind == "longrope":
        long = past + count > rope.original_max_position_embeddings
        frequencies = frequencies / jnp.array(rope.long_factor if long else rope.short_factor, jnp.float32)
    angles = (past + jnp.arange(count, dtype=jnp.float32))[:, None] * frequencies
    return rope.attention_factor * jnp.cos(angles), rope.attention_factor * jnp.sin(angles)


def _between(rope: Rope, size: int) -> tuple[float, float]:
    """From which frequency to which yarn goes over: those that turn so many times within the original context."""
    once = rope.original_max_position_embeddings / (2 * math.pi)
    at = lambda turns: size * math.log(once / turns) / (2 * math.log(rope.theta))
    low, high = at(rope.beta_fast), at(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    return max(low, 0), min(high, size - 1)


def rotate(x: Array, rotation: Rotation) -> Array:
    """Turn the pairs (x_i, x_{i + H/2}) by their angles: (B, T, N, H) -> the same."""
    cos, sin = (a[:, None, :].astype(x.dtype) for a in rotation)  # (T, 1, H/2)
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def rope_from_json(stored: Mapping[str, Any]) -> Rope:
    """From ``rope_parameters`` (transformers 5) or from ``rope_theta`` and ``rope_scaling`` (4)."""
    new, old = stored.get("rope_parameters"), stored.get("rope_scaling")
    if new and old and new != old:  # versions of transformers differ in which of the two they read
        raise _checks.refuse("rope_scaling in config.json", f"left out beside rope_parameters {new}", old)
    told = new or old or {}
    if not isinstance(told, Mapping):
        raise _checks.refuse("the rope settings in config.json", "an object", told)
    if any(isinstance(value, Mapping) for value in told.values()):
        raise _checks.refuse("the rope settings in config.json", "the same for all layers", dict(told))
    turned = told.get("partial_rotary_factor", stored.get("partial_rotary_factor", 1.0))
    if turned != 1:
        raise _checks.refuse("partial_rotary_factor in config.json", "1", turned)
    kind = _checks.choice("rope_type in config.json", told.get("rope_type", told.get("type", "default")), ROPE_SETTINGS)
    settings = {name: told[name] for name in ROPE_SETTINGS[kind] if told.get(name) is not None}
    if TRAINED in ROPE_SETTINGS[kind]:
        settings |= _trained(kind, told, stored)
    for name in ROPE_SETTINGS[kind]:
        if name not in settings and name not in ROPE_OPTIONAL:
            raise _checks.refuse("the rope settings in config.json", f"complete for {kind!r}, with {name!r}", dict(told))
    return Rope(theta=told.get("rope_theta", stored.get("rope_theta", 10000.0)), kind=kind, **settings)


def rope_scaling(rope: Rope) -> dict[str, Any] | None:
    """The reverse of `rope_from_json`: the object that transformers (4 and 5) reads, beside ``rope_theta``.

    Example:
        >>> rope_scaling(Rope(kind="linear", factor=2.0))
        {'rope_type': 'linear', 'factor': 2.0}
    """
    settings = {name: getattr(rope, name) for name in ROPE_SETTINGS[rope.kind]}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
    return {"rope_type": rope.kind, **plain} if settings else None


def _trained(kind: str, told: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The length of texts in the first training, and what follows from it where the file does not say it.

    Of what contradicts the positions of the model, versions of transformers read one or the other: it is refused.
    """
    longest, outside = stored.get("max_position_embeddings") or 2048, stored.get(TRAINED)
    trained = _checks.count(f"{TRAINED} in config.json", told.get(TRAINED) or outside or longest, least=2)
    if outside not in (None, trained):
        raise _checks.refuse(f"{TRAINED} in config.json", f"{trained}, as in its rope settings", outside)
    if kind == "llama3":
        return {TRAINED: trained}
    ratio = _checks.count("max_position_embeddings", longest) / trained
    factor = _checks.positive("rope factor", told.get("factor") or ratio)
    if ratio not in (1, factor):
        rule = f"{ratio:g} beside {TRAINED} {trained} and max_position_embeddings {longest}"
        raise _checks.refuse("the rope factor in config.json", rule, factor)
    grown = math.log(max(factor, 1))
    if kind == "longrope":
        attention = math.sqrt(1 + grown / math.log(trained))
    else:
        scales = [_checks.nonnegative(f"rope {name}", told.get(name) or 0) for name in ("mscale", "mscale_all_dim")]
        above, below = scales if all(scales) else (1, 0)
        attention = (1 + 0.1 * above * grown) / (1 + 0.1 * below * grown)
    given = told.get("attention_factor")
    settings = {TRAINED: trained, "attention_factor": attention if given is None else given}
    return {**settings, "factor": factor} if kind == "yarn" else settings
