"""The door: every public entry point refuses bad input here, by name, rule and value.

A check raises ``ValueError("{name} must be {rule}, got {value!r}")`` and otherwise returns the value in the type
the caller computes with. Values that JAX is tracing have no value yet and pass unchecked: whoever traces a factory has
called it with concrete values before.
"""

import difflib
import math
import operator
import os
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

SHOWN = 2000  # characters of a value that a message shows
REACH = 1e100  # numbers of this size and their reciprocals have squares that float64 holds with room to spare


def refuse(name: str, rule: str, value: object) -> ValueError:
    """The error that every refusal raises; ``raise refuse("radius", "positive", -1.0)``."""
    return ValueError(f"{name} must be {rule}, got {shown(value)}")


def shown(value: object) -> str:
    """A value in a message: of a long one the beginning, of a whole number that Python does not write out its size."""
    try:
        told = repr(value)
    except ValueError:
        told = f"{type(value).__name__} of {value.bit_length()} bits" if isinstance(value, int) else type(value).__name__
    return told if len(told) <= SHOWN else f"{told[:SHOWN]}... ({len(told)} characters)"


def as_option(message: object, options: Mapping[str, str]) -> str:
    """A refusal as a command line tells it: the argument at its beginning by the option that gave it.

    Args:
        message: "radius must be positive, got 0.0", say.
        options: by the name of the argument: {"radius": "--radius"}.
    """
    told = str(message)
    for name in sorted(options, key=len, reverse=True):
        if told.startswith(f"{name} "):
            return options[name] + told.removeprefix(name)
    return told


def writable(name: str, folder: str | os.PathLike[str]) -> None:
    """A folder, or a place for one, where a file can be made: tried in the nearest folder that is there."""
    if folder == "":  # which Path takes for the folder that one is in
        raise refuse(name, "a folder or free for one", folder)
    path = Path(folder)
    nearest = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not nearest.is_dir():
        raise refuse(name, "a folder or free for one", str(folder))
    try:
        with tempfile.TemporaryDirectory(dir=nearest, prefix="."):
            pass
    except OSError as error:
        raise refuse(name, f"where files can be written ({error.strerror})", str(folder)) from None


def is_traced(value: object) -> bool:
    return isinstance(value, jax.core.Tracer)


def real(name: str, value: Any, rule: str = "a finite real number", *, reach: float = REACH) -> float:
    """A finite real scalar as a float, of size at most ``reach``; booleans, strings and NaN are refused."""
    result = number(name, value, rule)
    if not math.isfinite(result):
        raise refuse(name, rule, value)
    if abs(result) > reach:
        raise refuse(name, f"within -{reach:g}..{reach:g}", value)
    return result


def number(name: str, value: Any, rule: str = "a real number") -> float:
    """A real scalar as a float, inf and nan among them."""
    try:
        if isinstance(value, (bool, np.bool_, str, bytes)) or np.ndim(value) != 0 or np.iscomplexobj(value):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise refuse(name, rule, value) from None


def positive(name: str, value: Any, *, reach: float = REACH) -> float:
    rule = "positive and finite"
    if (result := real(name, value, rule, reach=math.inf)) <= 0:
        raise refuse(name, rule, value)
    if not 1 / reach <= result <= reach:
        raise refuse(name, f"within {1 / reach:g}..{reach:g}", value)
    return result


def nonnegative(name: str, value: Any, *, reach: float = REACH) -> float:
    rule = "nonnegative and finite"
    if (result := real(name, value, rule, reach=math.inf)) < 0:
        raise refuse(name, rule, value)
    if result > reach:
        raise refuse(name, f"at most {reach:g}", value)
    return result


def between(name: str, value: Any, low: float, high: float, *, closed: str = "[]") -> float:
    """A real in an interval; ``closed`` is one of "[]", "[)", "(]", "()"."""
    rule = f"in {closed[0]}{low:g}, {high:g}{closed[1]}"
    number = real(name, value, rule, reach=math.inf)
    above = number >= low if closed[0] == "[" else number > low
    below = number <= high if closed[1] == "]" else number < high
    if not (above and below):
        raise refuse(name, rule, value)
    if math.isinf(high) and number > REACH:
        raise refuse(name, f"at most {REACH:g}", value)
    return number


def count(name: str, value: Any, *, least: int = 1, bits: int | None = 63) -> int:
    """A whole number that is at least ``least`` and below 2^bits (None: however large); 3.0 is not one, nor is True."""
    try:
        if isinstance(value, bool) or getattr(value, "dtype", None) == np.bool_:
            raise TypeError
        whole = operator.index(value)
    except TypeError:
        whole = least - 1
    if whole < least:
        raise refuse(name, f"a whole number of at least {least}", value)
    if bits is not None and whole >> bits:
        raise refuse(name, f"a whole number below 2^{bits}", value)
    return whole


def count_or_inf(name: str, value: Any) -> float:
    """A positive number, of steps say, or inf for all of them."""
    return math.inf if number(name, value, "positive, or inf") == math.inf else positive(name, value)


def seed(name: str, value: Any) -> int:
    """A whole number that makes the same key in every mode of JAX."""
    if count(name, value, least=0, bits=None) >= 2**32:
        raise refuse(name, "a whole number from 0 to 2^32 - 1", value)
    return int(value)


def sides(name: str, value: Any) -> int:
    """How many sides a difference looks to: 1 or 2; True is not 1, and an array is neither."""
    try:
        good = not isinstance(value, (bool, np.bool_)) and np.ndim(value) == 0 and value in (1, 2)
    except (TypeError, ValueError):
        good = False
    if not good:
        raise refuse(name, "1 or 2", value)
    return int(value)


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise refuse(name, "True or False", value)
    return bool(value)


def text(name: str, value: Any, *, empty: bool = False) -> str:
    if not isinstance(value, str) or not (value or empty):
        raise refuse(name, "a text" if empty else "a non-empty text", value)
    return value


def function(name: str, value: Any, rule: str) -> None:
    """Something to be called; ``rule`` says in words of what."""
    if not callable(value):
        raise refuse(name, rule, value)


def instance(name: str, value: Any, kind: type | tuple[type, ...], rule: str) -> None:
    """An object of this library's own; ``rule`` says in words which."""
    if not isinstance(value, kind):
        raise refuse(name, rule, value)


def choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """One of a few words; a near miss is answered with the word that was probably meant."""
    words = tuple(choices)
    if not isinstance(value, str) or value not in words:
        meant = {word.lower(): word for word in words}
        near = difflib.get_close_matches(str(value).lower(), meant, n=1)
        hint = f" (did you mean {meant[near[0]]!r}?)" if near else ""
        raise ValueError(f"{name} must be one of {', '.join(map(repr, words))}, got {value!r}{hint}")
    return value


def dtype(name: str, value: Any, choices: Iterable[str]) -> str:
    """The name of one of a few types of numbers, given as a name or as NumPy and JAX have them."""
    if isinstance(value, (np.ndarray, jax.Array)):
        raise refuse(name, f"one of {', '.join(map(repr, choices))}", value)
    try:
        word = jax.numpy.dtype(value).name
    except (TypeError, ValueError):  # what NumPy raises depends on the kind of what is no type
        word = value
    return choice(name, word, choices)


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
    if hasattr(value, "toarray"):
        raise refuse(name, "a dense array (.toarray() makes one of a sparse matrix)", type(value).__name__)
    shape = "" if ndim is None else f"{ndim}-dimensional "
    rule = f"a {'non-empty ' if nonempty else ''}{shape}array of finite real numbers"
    result = numbers(name, value, rule)
    if (ndim is not None and result.ndim != ndim) or (nonempty and result.size == 0) or not np.isfinite(result).all():
        described = value if result.size <= 8 else f"an array of shape {result.shape}"
        if result.size > 8 and not np.isfinite(result).all():
            described += " with non-finite entries"
        raise ValueError(
            f"{name} must be {rule}, got {described!r}" if result.size <= 8 else f"{name} must be {rule}, got {described}"
        )
    return result


def numbers(name: str, value: Any, rule: str) -> np.ndarray:
    """An array of real numbers in float64, inf and nan among them; texts and complex numbers are none."""
    try:
        given = np.asarray(value)
        if given.dtype.kind in "cUSmM":
            raise TypeError
        return given.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise refuse(name, rule, value) from None


def key(name: str, value: Any, rule: str = "a single key") -> jax.Array:
    """One typed PRNG key."""
    if _typed(name, value).shape != ():
        raise refuse(name, rule, f"an array of keys of shape {value.shape}")
    return value


def keys(name: str, value: Any) -> jax.Array:
    """An array of typed PRNG keys, (S,)."""
    if _typed(name, value).ndim != 1 or value.size == 0:
        rule = "a non-empty one-dimensional array of keys, as jax.random.split makes"
        raise refuse(name, rule, f"an array of keys of shape {value.shape}")
    return value


def _typed(name: str, value: Any) -> jax.Array:
    if not (isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)):
        raise refuse(name, "a typed PRNG key, as jax.random.key(seed) makes", value)
    return value


def precision(name: str, dtype: Any) -> None:
    """A dtype that radii and small steps survive: float32 or float64, not their halves."""
    if dtype not in (np.float32, np.float64):
        raise refuse(name, "float32 or float64", str(dtype))


def finite(name: str, value: Any) -> None:
    """An array without nan and inf."""
    if not is_traced(value) and not np.isfinite(value).all():
        raise refuse(name, "finite", value if np.size(value) <= 8 else f"an array of shape {np.shape(value)}")


def update(name: str, optimizer: Any, params: Any) -> None:
    """An optimizer whose update needs gradients, state and parameters and no more, by numbers that their type holds.

    Only shapes are looked at.
    """
    try:
        with warnings.catch_warnings(record=True, action="always", category=RuntimeWarning) as told:
            jax.eval_shape(lambda like: optimizer.update(like, optimizer.init(like), like), params)
    except TypeError as error:
        if "missing" not in str(error):
            raise
        rule = "made of transformations whose update needs the gradients and the parameters alone"
        raise ValueError(f"{name} must be {rule}, got one that is {str(error).partition(' ')[2]}") from error
    if any("overflow encountered in cast" in str(one.message) for one in told):
        kinds = ", ".join(sorted({str(leaf.dtype) for leaf in jax.tree.leaves(params)}))
        raise refuse(name, f"of step sizes that are finite in {kinds}", optimizer)
