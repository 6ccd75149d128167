"""Plain text for pretraining: files and folders, cut into documents, packed into blocks of tokens."""

import gzip
import lzma
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from theory_lab import _checks
from theory_lab.finetune.tokens import codec

OPENERS = {".gz": gzip.open, ".xz": lzma.open}
SUFFIXES = (".txt", ".txt.gz", ".txt.xz")
MARK = "\ufeff"
TOGETHER = 64  # documents that are encoded at once
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def documents(paths: Paths, *, separator: str = "<|endoftext|>") -> Iterator[str]:
    """The documents of text files, one after another, without reading a file as a whole.

    A line that is the separator ends a document, as does the end of a file; a file without separators is one document.
    White space around a document is dropped, and documents of nothing else are.

    Args:
        paths: a file, a folder, or several of them. Of a folder, all files named .txt, .txt.gz or .txt.xz at any depth, in
            the order of their paths. Files are UTF-8, plain or compressed by gzip (.gz) or xz (.xz).
        separator: the line that ends a document.

    Raises:
        ValueError: a path that is not there, a folder without text (both at once); on the way a file that is not UTF-8 or
            whose compression is broken.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = pathlib.Path(folder, "a.txt").write_text("One.\\n<|endoftext|>\\nTwo,\\nthree.\\n")
        ...     list(documents(folder))
        ['One.', 'Two,\\nthree.']
    """
    _checks.text("separator", separator)
    given = [paths] if isinstance(paths, (str, os.PathLike)) or not isinstance(paths, Sequence) else list(paths)
    return _documents([file for path in given for file in _files(path)], separator)


def pack(texts: Iterable[str], tokenizer: Any, length: int, *, end: int | None = None) -> np.ndarray:
    """Documents as one stream of tokens, cut into blocks, (B, length) int32.

    Every document is followed by ``end``, the last one too; blocks run across documents. Up to length - 1 tokens at the end
    of the stream are left out.

    Args:
        texts: documents.
        tokenizer: as in `tokens.codec`; nothing but ``end`` is added to its tokens.
        length: tokens of a block.
        end: the token between documents; None is the tokenizer's own attribute ``end``.

    Raises:
        ValueError: no end, or fewer tokens than one block.

    Example:
        >>> from theory_lab.finetune.tokens import word_tokenizer
        >>> pack(["yes no", "no"], word_tokenizer(["yes", "no"]), 2).tolist()
        [[4, 5], [2, 5]]
    """
    coder = codec(tokenizer)
    _checks.count("length", length)
    end = _checks.count("end", getattr(tokenizer, "end", None) if end is None else end, least=0, bits=31)
    parts, waiting = [np.empty(0, np.int32)], iter(texts)
    while some := list(islice(waiting, TOGETHER)):
        parts += [np.array([*ids, end], np.int32) for ids in coder.many(some)]
    stream = np.concatenate(parts)
    if stream.size < length:
        raise _checks.refuse("texts", f"documents of at least {length} tokens together", f"{stream.size} tokens")
    return stream[: stream.size // length * length].reshape(-1, length)


def _files(path: Any) -> list[Path]:
    if isinstance(path, (str, os.PathLike)) and Path(path).is_file():
        return [Path(path)]
    if not isinstance(path, (str, os.PathLike)) or path == "" or not Path(path).is_dir():
        raise _checks.refuse("paths", "text files or folders", str(path) if isinstance(path, os.PathLike) else path)
    found = sorted(file for file in Path(path).rglob("*") if file.name.endswith(SUFFIXES) and file.is_file())
    if not found:
        raise _checks.refuse("paths", f"files, or folders with files named {', '.join(SUFFIXES)}", str(path))
    return found


def _documents(files: list[Path], separator: str) -> Iterator[str]:
    for file in files:
        lines: list[str] = []
        for line in _lines(file):
            if line != separator:
                lines.append(line)
                continue
            yield from _document(lines)
            lines = []
        yield from _document(lines)


def _document(lines: list[str]) -> list[str]:
    text = "\n".join(lines).strip()
    return [text] if text else []


def _lines(file: Path) -> Iterator[str]:
    opener: Any = OPENERS.get(file.suffix, open)
    try:
        with opener(file, "rb") as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    text = line.decode("utf-8")
                except UnicodeDecodeError:
                    raise _checks.refuse(f"{file} line {number}", "UTF-8 text", line[:60]) from None
                yield (text.removeprefix(MARK) if number == 1 else text).rstrip("\r\n")
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"paths must be readable text files, got {str(file)!r} ({error})") from error
