"""Rows of text files, JSON lines or tab-separated: every bad row is found, and the first is named by file and line."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from theory_lab import _checks

T = TypeVar("T")
Row = Mapping[str, Any]
Parse = Callable[[Row, str], T]  # (the fields of a row, its id "train.jsonl:17") -> what is made of it
SHOWN = 5  # line numbers of bad rows that an error lists


def json_lines(path: Path, parse: Parse[T]) -> tuple[T, ...]:
    """What ``parse`` makes of the JSON objects of a file, one a line.

    Raises:
        ValueError: a bad row ("train.jsonl line 17: ..."), or a file without rows.
    """
    return _rows(path, ((number, line, _object) for number, line in _lines(path)), parse)


def tab_separated(path: Path, columns: tuple[str, ...], parse: Parse[T]) -> tuple[T, ...]:
    """What ``parse`` makes of the rows under a header of known columns. Quotation marks have no meaning.

    Raises:
        ValueError: another header, a bad row ("train.tsv line 17: ..."), or a file without rows.
    """
    lines = _lines(path)
    number, header = next(lines, (1, b""))
    if _fields(header) != columns:
        raise ValueError(f"{path} line {number}: {_checks.refuse('the header', _columns(columns), _shown(header))}")
    return _rows(path, ((number, line, lambda text: _cells(text, columns)) for number, line in lines), parse)


def field(row: Row, name: str) -> str:
    """A field that must be a text, without the white space around it."""
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise _checks.refuse(name, "a non-empty text", value)
    return value.strip()


def label(row: Row, name: str, labels: Mapping[Any, int]) -> int:
    """A field that must be one of a few values; its number. Values of another type (1 for true) are refused."""
    value = row.get(name)
    for known, number in labels.items():
        if type(value) is type(known) and value == known:
            return number
    raise _checks.refuse(name, " or ".join(json.dumps(known) for known in labels), value)


def one_folder(folder: Any, names: tuple[str, ...]) -> tuple[Path, ...]:
    """The files of these names in a folder, all of them there."""
    rule = f"a folder with {' and '.join(names)}"
    if not isinstance(folder, (str, os.PathLike)) or not Path(folder).is_dir():
        raise _checks.refuse("folder", rule, str(folder) if isinstance(folder, os.PathLike) else folder)
    paths = tuple(Path(folder) / name for name in names)
    if missing := [path.name for path in paths if not path.is_file()]:
        raise ValueError(f"{_checks.refuse('folder', rule, str(folder))} without {' and '.join(missing)}")
    return paths


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines that are not blank, without byte-order mark and line ends (\\n or \\r\\n, no other character)."""
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip(b" \r"):
            yield number, line.removesuffix(b"\r")


def _rows(path: Path, lines: Iterator[tuple[int, bytes, Callable[[str], Row]]], parse: Parse[T]) -> tuple[T, ...]:
    good: list[T] = []
    bad: list[tuple[int, ValueError]] = []
    for number, line, fields in lines:
        try:
            good.append(parse(fields(_text(line)), f"{path.name}:{number}"))
        except ValueError as error:
            bad.append((number, error))
    if bad:
        numbers = ", ".join(str(number) for number, _ in bad[:SHOWN]) + (", ..." if len(bad) > SHOWN else "")
        count = "" if len(bad) == 1 else f" ({len(bad)} bad rows of {len(bad) + len(good)}: lines {numbers})"
        raise ValueError(f"{path} line {bad[0][0]}: {bad[0][1]}{count}")
    if not good:
        raise ValueError(f"{path} must be a file with at least one row, got none")
    return tuple(good)


def _text(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise _checks.refuse("the row", "UTF-8 text", _shown(line)) from None


def _object(text: str) -> Row:
    try:
        row = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, _Pairs):
        raise _checks.refuse("the row", "a JSON object", _shown(text))
    return _unique(row)


class _Pairs(list[tuple[str, Any]]):
    """The fields of a JSON object as they stand in the file, repeated ones too."""


def _unique(value: Any) -> Any:
    """Objects, also inside, as mappings; which of two fields of one name is meant is not ours to guess."""
    if not isinstance(value, list):
        return value
    if not isinstance(value, _Pairs):
        return [_unique(one) for one in value]
    names = [name for name, _ in value]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise _checks.refuse("the row", "a JSON object whose fields have different names", repeated)
    return {name: _unique(one) for name, one in value}


def _cells(text: str, columns: tuple[str, ...]) -> Row:
    cells = text.split("\t")
    if len(cells) != len(columns):
        raise _checks.refuse("the row", _columns(columns), _shown(text))
    return dict(zip(columns, cells, strict=True))


def _fields(line: bytes) -> tuple[str, ...]:
    return tuple(line.decode("utf-8", "replace").split("\t"))


def _columns(columns: tuple[str, ...]) -> str:
    return f"{len(columns)} tab-separated fields ({', '.join(columns)})"


def _shown(line: str | bytes) -> str | bytes:
    """The first 60 characters of a line, for an error message."""
    dots = b"..." if isinstance(line, bytes) else "..."
    return line if len(line) <= 60 else line[:60] + dots  # type: ignore[operator]
