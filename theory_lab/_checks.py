"""The door: every public entry point refuses bad input here, by name, rule and value.

A check raises ``ValueError("{name} must be {rule}, got {value!r}")`` and otherwise returns the value in the type
the caller computes with. Values that JAX is tracing have no value yet and pass unchecked: whoever traces a factory has
called it with concrete values before.
"""

import difflib
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np


def refuse(name: str, rule: str, value: object) -> ValueError:
    """The error that every refusal raises; ``raise refuse("radius", "positive", -1.0)``."""
    return ValueError(f"{name} must be {rule}, got {value!r}")


def is_traced(value: object) -> bool:
    return isinstance(value, jax.core.Tracer)


def real(name: str, value: Any, rule: str = "a finite real number") -> float:
    """A finite real scalar as a float; booleans, strings and NaN are refused."""
    result = number(name, value, rule)
    if not math.isfinite(result):
        raise refuse(name, rule, value)
    return result


def number(name: str, value: Any, rule: str = "a real number") -> float:
    """A real scalar as a float, inf and nan among them."""
    try:
        if isinstance(value, (bool, np.bool_, str, bytes)) or np.ndim(value) != 0 or np.iscomplexobj(value):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise refuse(name, rule, value) from None


def positive(name: str, value: Any) -> float:
    rule = "positive and finite"
    if real(name, value, rule) <= 0:
        raise refuse(name, rule, value)
    return float(value)


def nonnegative(name: str, value: Any) -> float:
    rule = "nonnegative and finite"
    if real(name, value, rule) < 0:
        raise refuse(name, rule, value)
    return float(value)


def between(name: str, value: Any, low: float, high: float, *, closed: str = "[]") -> float:
    """A real in an interval; ``closed`` is one of "[]", "[)", "(]", "()"."""
    rule = f"in {closed[0]}{low:g}, {high:g}{closed[1]}"
    number = real(name, value, rule)
    above = number >= low if closed[0] == "[" else number > low
    below = number <= high if closed[1] == "]" else number < high
    if not (above and below):
        raise refuse(name, rule, value)
    return number


def count(name: str, value: Any, *, least: int = 1) -> int:
    """A whole number that is at least ``least``; 3.0 is not one, nor is True."""
    rule = f"a whole number of at least {least}"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral) or value < least:
        raise refuse(name, rule, value)
    return int(value)


def choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """One of a few words; a near miss is answered with the word that was probably meant."""
    words = tuple(choices)
    if not isinstance(value, str) or value not in words:
        near = difflib.get_close_matches(str(value), words, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"{name} must be one of {', '.join(map(repr, words))}, got {value!r}{hint}")
    return value


def same_labels(name: str, given: Iterable[str], expected: Iterable[str], expected_name: str = "the parameters") -> None:
    """The labels of two mappings agree; the message prints both sides."""
    given, expected = sorted(given, key=str), sorted(expected, key=str)
    if given != expected:
        raise ValueError(f"{name} must have the labels of {expected_name} {expected}, got {given}")


def labelled(name: str, value: Any) -> Mapping[str, Any]:
    """A non-empty mapping from labels (non-empty strings)."""
    rule = "a non-empty mapping from block labels (strings)"
    if not isinstance(value, Mapping) or not value or not all(isinstance(k, str) and k for k in value):
        raise refuse(name, rule, value)
    return value


def array(name: str, value: Any, *, ndim: int | None = None, nonempty: bool = True) -> np.ndarray:
    """A finite real array in float64."""
    shape = "" if ndim is None else f"{ndim}-dimensional "
    rule = f"a {'non-empty ' if nonempty else ''}{shape}array of finite real numbers"
    try:
        given = np.asarray(value)
        if given.dtype.kind in "cUSmM":
            raise TypeError
        result = given.astype(np.float64)
    except (TypeError, ValueError):
        raise refuse(name, rule, value) from None
    if (ndim is not None and result.ndim != ndim) or (nonempty and result.size == 0) or not np.isfinite(result).all():
        described = value if result.size <= 8 else f"an array of shape {result.shape}"
        if result.size > 8 and not np.isfinite(result).all():
            described += " with non-finite entries"
        raise ValueError(
            f"{name} must be {rule}, got {described!r}" if result.size <= 8 else f"{name} must be {rule}, got {described}"
        )
    return result


def key(name: str, value: Any) -> jax.Array:
    """A typed PRNG key, or an array of them."""
    if not (isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)):
        raise refuse(name, "a typed PRNG key, as jax.random.key(seed) makes", value)
    return value
