"""The safetensors format, read and written with NumPy alone: a header in JSON, then the numbers of every tensor.

    8 bytes: N, little-endian | N bytes: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...} | data

The header is checked against the file before a number is read, so that whatever is wrong is told with the tensor's name.

Reference:
    https://github.com/huggingface/safetensors (its README defines the format).
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from theory_lab import _checks, _files

DTYPES = {
    "F64": np.dtype("float64"), "F32": np.dtype("float32"), "F16": np.dtype("float16"), "BF16": np.dtype(jnp.bfloat16),
    "I64": np.dtype("int64"), "I32": np.dtype("int32"), "I16": np.dtype("int16"), "I8": np.dtype("int8"),
    "U8": np.dtype("uint8"), "BOOL": np.dtype("bool"),
}  # fmt: skip
WORDS = {dtype: word for word, dtype in DTYPES.items()}
LONGEST_HEADER = 100_000_000  # bytes, the format's own limit


class Tensor(NamedTuple):
    """Where a tensor lies."""

    file: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int  # bytes from the start of the file

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> np.ndarray:
        """Its numbers, a copy."""
        with open(self.file, "rb") as stream:
            stream.seek(self.begin)
            data = stream.read(self.size)
        return np.frombuffer(data, self.dtype).reshape(self.shape)


def read_header(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file, its place checked; no number is read.

    Raises:
        ValueError: no such file; a header that is cut off or not in this format; a tensor of an unknown type, whose shape
            does not fit its bytes, that overlaps another, or that lies beyond the end of the file.
    """
    name = f"file {str(path)!r}"
    if not path.is_file():
        raise _checks.refuse(name, "there", "no file")
    total = path.stat().st_size
    with open(path, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if total < 8 or not 2 <= length <= min(total - 8, LONGEST_HEADER):
            raise _checks.refuse(name, "a complete safetensors file", f"{total} bytes with a header of {length}")
        raw = stream.read(length)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise _checks.refuse(name, "a safetensors file", "a header that is not a JSON object")
    header.pop("__metadata__", None)
    found = {key: _tensor(path, 8 + length, key, entry) for key, entry in header.items()}
    reached = 8 + length
    for key, tensor in sorted(found.items(), key=lambda item: (item[1].begin, item[1].size)):
        here = f"tensor {key!r} in {str(path)!r}"
        if tensor.begin != reached:
            raise _checks.refuse(here, f"where the one before it ends, at byte {reached}", tensor.begin)
        reached += tensor.size
        if reached > total:
            raise _checks.refuse(here, f"complete, up to byte {reached}", f"a file of {total} bytes")
    if reached != total:
        raise _checks.refuse(name, f"at its end after the last tensor, at byte {reached}", f"a file of {total} bytes")
    return found


def _tensor(path: Path, start: int, key: str, entry: Any) -> Tensor:
    name = f"tensor {key!r} in {str(path)!r}"
    try:
        word, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise _checks.refuse(name, "described by dtype, shape and data_offsets", entry) from None
    if not isinstance(word, str) or word not in DTYPES:
        raise _checks.refuse(name, f"of a known type ({', '.join(DTYPES)})", word)
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in (*shape, begin, end)):
        raise _checks.refuse(name, "described by whole numbers", entry)
    tensor = Tensor(path, DTYPES[word], shape, start + begin)
    if tensor.size != end - begin:
        raise _checks.refuse(name, f"of {tensor.size} bytes, as {word} of shape {list(shape)}", f"{end - begin} bytes")
    return tensor


def write(path: Path, tensors: Mapping[str, tuple[np.dtype, tuple[int, ...]]], read: Callable[[str], np.ndarray]) -> None:
    """Write tensors to a file, one in memory at a time; the file appears complete or not at all.

    Args:
        path: of the file.
        tensors: type and shape of each, by name.
        read: gives the numbers of one.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # what transformers asks for
    reached = 0
    names = sorted(tensors)
    for name in names:
        dtype, shape = tensors[name]
        size = math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": WORDS[dtype], "shape": list(shape), "data_offsets": [reached, reached + size]}
        reached += size
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)

    def pieces() -> Iterable[bytes]:
        yield len(raw).to_bytes(8, "little")
        yield raw
        for name in names:
            yield np.ascontiguousarray(read(name)).tobytes()

    write_bytes(path, pieces())


def write_bytes(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file: whoever opens it sees the old bytes or the new, never half.

    Raises:
        OSError: the disk is full or the folder does not let us; the error names the file, and nothing is left of it.
    """
    try:
        _files.write(path, pieces)
    except OSError as error:
        raise type(error)(error.errno, f"cannot write: {error.strerror}", str(path)) from error


def write_json(path: Path, value: Any) -> None:
    write_bytes(path, [json.dumps(value, indent=2, sort_keys=True).encode(), b"\n"])


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; a ValueError that names the file for anything else."""
    name = f"file {str(path)!r}"
    if not path.is_file():
        raise _checks.refuse(name, "there", "no file")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _checks.refuse(name, "JSON", str(error)) from None
    if not isinstance(value, dict):
        raise _checks.refuse(name, "a JSON object", type(value).__name__)
    return value


def folder(path: Any) -> Path:
    """The door for a folder that is read."""
    if not isinstance(path, (str, os.PathLike)) or path == "" or not Path(path).is_dir():
        raise _checks.refuse("path", "a folder", path)
    return Path(path)


def new_folder(path: Any) -> Path:
    """The door for a folder that is written; it is made if it is not there."""
    if not isinstance(path, (str, os.PathLike)) or path == "" or (Path(path).exists() and not Path(path).is_dir()):
        raise _checks.refuse("path", "a folder or free for one", path)
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except ValueError:  # a byte of zero, half a character
        raise _checks.refuse("path", "a name that a folder can have", path) from None
    return Path(path)
