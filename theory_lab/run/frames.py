r"""A frame as text, and back, without losing a bit or a type.

The csv says itself what everything is: text stands in quotes, truth values are True and False, whole numbers have neither
point nor exponent, and every other number is a float64 in the shortest form that reads back to the same bits (at most 17
significant digits; nan, inf and -inf by name). So `from_csv(to_csv(frame))` has the values and the types of `frame`, equal
frames have equal bytes, and any other reader of csv files can read it too.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from theory_lab import _checks

_ENTRY = re.compile(r'("(?:[^"]|"")*"|[^",\n]*)([,\n])')
_WHOLE = re.compile(r"[+-]?\d+")


def to_csv(frame: pd.DataFrame) -> str:
    r"""The text of a frame; a missing text is written as an empty one, a missing number as nan.

    Args:
        frame: at least one row; every column all text, all numbers or all truth values, its name free of commas, quotes and
            line ends. Numbers narrower than 64 bits are widened; the index is not written.

    Raises:
        ValueError: anything else.

    Example:
        >>> to_csv(pd.DataFrame({"law": ["sphere"], "n": [8], "radius": [0.1]}))
        'law,n,radius\n"sphere",8,0.1\n'
    """
    if not isinstance(frame, pd.DataFrame) or frame.empty:
        described = f"one of shape {frame.shape}" if isinstance(frame, pd.DataFrame) else frame
        raise _checks.refuse("frame", "a DataFrame with at least one row and one column", described)
    names = list(frame.columns)
    for name in names:
        if not isinstance(name, str) or not name or set(name) & set(',"\r\n'):
            raise _checks.refuse("a column's name", "text without commas, quotes and line ends", name)
    if len(set(names)) < len(names):
        raise _checks.refuse("the columns' names", "distinct", names)
    columns = [_written(name, frame[name]) for name in names]
    return "\n".join([",".join(names), *map(",".join, zip(*columns, strict=True)), ""])


def from_csv(text: str) -> pd.DataFrame:
    r"""The frame of a text that `to_csv` wrote: columns of bool, int64, float64 and text.

    Raises:
        ValueError: the text is cut off, its rows differ in length, or a column mixes text and numbers.

    Example:
        >>> from_csv('law,n,radius\n"sphere",8,0.1\n').dtypes.astype(str).tolist()
        ['str', 'int64', 'float64']
    """
    header, _, body = text.partition("\n")
    names = header.split(",")
    rows, row, position = [], list[str](), 0
    for entry in _ENTRY.finditer(body):
        if entry.start() != position:
            break
        position = entry.end()
        row.append(entry[1])
        if entry[2] == "\n":
            rows.append(row)
            row = []
    if position != len(body) or row or not rows or any(len(row) != len(names) for row in rows):
        raise ValueError(
            f"csv must be complete rows of {len(names)} entries, got {len(rows)} rows and then {body[position:][:40]!r}"
        )
    return pd.DataFrame({name: _read(name, column) for name, column in zip(names, zip(*rows, strict=True), strict=True)})


def _written(name: str, column: pd.Series) -> list[str]:
    column = column.infer_objects()
    missing = column.isna()
    whole, complete = types.is_integer_dtype(column), not missing.any()
    if types.is_bool_dtype(column) and complete:
        return [str(bool(value)) for value in column]
    if whole and complete and int(column.max()) < 2**63:
        return [str(int(value)) for value in column]
    if types.is_float_dtype(column) or (whole and not complete):
        return [repr(float(value)) for value in column.to_numpy(np.float64, na_value=np.nan)]
    text = ["" if gone else value for gone, value in zip(missing, column, strict=True)]
    if not missing.all() and all(isinstance(value, str) for value in text):
        return ['"{}"'.format(value.replace('"', '""')) for value in text]
    found = sorted({type(value).__name__ for value in column})
    raise ValueError(f"column {name!r} must be all text, all numbers or all truth values, got {', '.join(found)}")


def _read(name: str, entries: Sequence[str]) -> Any:
    if all(entry.startswith('"') for entry in entries):
        return [entry[1:-1].replace('""', '"') for entry in entries]
    if all(entry in ("True", "False") for entry in entries):
        return np.array([entry == "True" for entry in entries])
    try:
        if all(map(_WHOLE.fullmatch, entries)):
            return np.array([int(entry) for entry in entries], dtype=np.int64)
        return np.array([float(entry) for entry in entries], dtype=np.float64)
    except (ValueError, OverflowError):
        raise ValueError(f"column {name!r} of the csv must be all text, all numbers or all truth values") from None
