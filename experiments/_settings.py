"""Settings from the command line: ``--set FIELD=VALUE``, the value read by the type of the field.

Texts stand as they are, numbers and true or false as usual, tuples with commas (``ranks=1,8,64``) and tuples of tuples in
JSON (``groups=[["sentiment","blank"]]``); ``none`` where a field may be None. A text with a slash that names an existing
file or folder is a *place*: a model, say. What is computed is known by its name and its content, wherever it lies.
"""

import dataclasses
import json
import math
import os
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from theory_lab import _checks

LARGEST = 2**31
WORDS = {int: "a whole number", float: "a finite real number", bool: "true or false", str: "a non-empty text"}


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """The value of every field, as texts.

    Raises:
        ValueError: what is not FIELD=VALUE, a field given twice, the data, which have an option of their own.

    Example:
        >>> pairs(["base=/models/opt-125m", "seeds=3"])
        {'base': '/models/opt-125m', 'seeds': '3'}
    """
    found: dict[str, str] = {}
    for text in texts:
        field, equals, value = text.partition("=")
        if not equals or not field.isidentifier():
            raise _checks.refuse("--set", "FIELD=VALUE, as in seeds=3", text)
        if field == "data":
            raise _checks.refuse("--set data", "given as --data PATH", value)
        if field in found:
            raise _checks.refuse(f"--set {field}", "given once", [found[field], value])
        found[field] = value
    return found


def changed(experiment: str, settings: Any, given: Mapping[str, str]) -> Any:
    """The settings of an experiment with some fields replaced.

    Args:
        experiment: its name, for messages.
        settings: a dataclass.
        given: as `pairs` gives.

    Raises:
        ValueError: a field that the experiment does not have, a value that is not of its type, two places of one name.

    Example:
        >>> from experiments.figure4_convergence import QUICK
        >>> changed("figure4_convergence", QUICK, {"settings": '[["blank", "prompt"]]', "seeds": "5"}).settings
        (('blank', 'prompt'),)
    """
    if not given:
        return settings
    hints = typing.get_type_hints(type(settings))
    fields = [field.name for field in dataclasses.fields(settings)]
    for field in given:
        _checks.choice(f"{experiment}: the field of --set", field, fields)
    values = {field: _read(f"{experiment}: {field}", text, hints[field]) for field, text in given.items()}
    by_name = {"data": ""}  # which have an option of their own
    for place in _places(list(values.values())):
        other = by_name.setdefault(Path(place).name, place)
        if other != place:
            rule = "files or folders of different names, none of them 'data'"
            raise _checks.refuse(f"{experiment}: the places of --set", rule, sorted(filter(None, [other, place])))
    return dataclasses.replace(settings, **values)


def places(settings: Any, given: Mapping[str, str]) -> dict[str, str]:
    """The files and folders among the given settings, by name."""
    return {Path(place).name: place for place in _places([getattr(settings, field) for field in given])}


def _places(values: Any) -> Iterator[str]:
    if isinstance(values, str):
        if os.sep in values and Path(values).exists():
            yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _places(value)


def _read(name: str, text: str, kind: Any) -> Any:
    """A value of a type from its text."""
    options = typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        return None if text == "none" else _read(name, text, next(one for one in options if one is not type(None)))
    if typing.get_origin(kind) is not tuple:
        return _scalar(name, text, kind)
    flat = not any(typing.get_origin(one) is tuple for one in options)
    if flat and not text.startswith("["):
        return _tuple(name, text.split(",") if text else [], kind, text)
    try:
        return _value(name, json.loads(text), kind, text)
    except (json.JSONDecodeError, RecursionError):
        raise _checks.refuse(name, _rule(kind), text) from None


def _value(name: str, value: Any, kind: Any, text: str) -> Any:
    """A value of a type from a JSON value."""
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise _checks.refuse(name, "a list in JSON", text)
        return _tuple(name, value, kind, text)
    return _scalar(name, value if isinstance(value, str) else json.dumps(value), kind)


def _tuple(name: str, values: list[Any], kind: Any, text: str) -> tuple[Any, ...]:
    kinds = typing.get_args(kind)
    repeated = len(kinds) == 2 and kinds[1] is Ellipsis
    if not values or not (repeated or len(values) == len(kinds)):
        raise _checks.refuse(name, _rule(kind), text)
    each = [kinds[0]] * len(values) if repeated else kinds
    return tuple(_value(f"{name}[{i}]", value, one, text) for i, (value, one) in enumerate(zip(values, each, strict=True)))


def _scalar(name: str, text: str, kind: Any) -> Any:
    if typing.get_origin(kind) is typing.Literal:
        return _checks.choice(name, text, typing.get_args(kind))
    if kind not in WORDS:
        raise _checks.refuse(name, "left as it is: it cannot be given as a text", text)
    if kind is str:
        _checks.text(name, text)
        return str(Path(text).resolve()) if os.sep in text and Path(text).exists() else text
    try:
        value = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise _checks.refuse(name, _rule(kind), text) from None
    if kind is int and abs(value) >= LARGEST:
        raise _checks.refuse(name, "a whole number of a size below 2^31", text)
    if not math.isfinite(value):
        raise _checks.refuse(name, _rule(kind), text)
    return value


def _rule(kind: Any) -> str:
    """What a text must be, in words."""
    if typing.get_origin(kind) is not tuple:
        return WORDS.get(kind, "a text")
    inside = typing.get_args(kind)
    if any(typing.get_origin(one) is tuple for one in inside):
        return "a non-empty list of lists in JSON"
    if len(inside) == 2 and inside[1] is Ellipsis:
        return f"one or more values with commas between, each {WORDS.get(inside[0], 'a text')}"
    return f"{len(inside)} values with commas between"
