"""A fine-tuning run on disk: one file that holds all that the rest of the run depends on, written whole or not at all."""

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from theory_lab import _checks, _files, devices
from theory_lab._typing import Block
from theory_lab.models import tensorfile

try:
    import fcntl
except ImportError:  # not a POSIX system: nobody notices a second run in one folder
    fcntl = None  # type: ignore[assignment]

CHECKPOINT, BEST, RECORD, SUMS = "checkpoint.safetensors", "best.safetensors", "record", "~crc32"
OPTIONS = "options.json"  # of a command line, beside its checkpoints
_HELD: set[Path] = set()  # folders, by this process


def save(path: Path, trees: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Write trees of arrays, by name, a record in JSON values and checksums; one array at a time is copied from the device.

    Of several processes the first one writes, and all go on when it has.
    """
    leaves = {f"{name}/{i}": leaf for name, tree in trees.items() for i, leaf in enumerate(jax.tree.leaves(tree))}
    text = np.frombuffer(json.dumps(record).encode(), np.uint8)
    described = {name: (np.dtype(leaf.dtype), tuple(np.shape(leaf))) for name, leaf in leaves.items()}
    described[RECORD] = (text.dtype, text.shape)
    described[SUMS] = (np.dtype("int64"), (len(described),))
    if jax.process_count() > 1:
        leaves = devices.fetch(leaves)
    sums: list[int] = []

    def read(name: str) -> np.ndarray:  # in the order of the names, the sums last
        if name == SUMS:
            return np.array(sums, np.int64)
        array = text if name == RECORD else np.asarray(leaves[name])
        sums.append(_sum(name, array))
        return array

    if jax.process_index() == 0:
        tensorfile.write(path, described, read)
    devices.wait()


def sweep(folder: Path) -> None:
    """Remove what runs that were killed while they wrote have left in a folder, each as large as what it was to become.

    Only who holds the folder (`held`) may: nobody else writes there.
    """
    for path in _files.remains(folder):
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def held(name: str, folder: Path) -> Iterator[None]:
    """Hold a folder while a run writes there; who is killed holds it no more. A process may hold one twice.

    Raises:
        ValueError: another process on this machine holds it.
    """
    path = folder.absolute()
    if fcntl is None or jax.process_index() != 0 or path in _HELD:
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot lock
            _lock(name, handle, folder)
        _HELD.add(path)
        yield
    finally:
        _HELD.discard(path)
        os.close(handle)


def _lock(name: str, handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _checks.refuse(name, "a folder where no other run is writing now", str(folder)) from None


def record_of(path: Path) -> dict[str, Any]:
    """The record of a file that `save` wrote.

    Raises:
        ValueError: another file, or one that is damaged there.
    """
    found = tensorfile.read_header(path)
    if RECORD not in found or SUMS not in found:
        raise _checks.refuse(f"file {str(path)!r}", "a checkpoint of fine-tuning", f"tensors {sorted(found)[:3]}")
    return dict(json.loads(_read(found, RECORD, path).tobytes()))


def load(path: Path, name: str, like: Block) -> Block:
    """One of the trees of a file, of the same structure, shapes and types as ``like``, in NumPy.

    Raises:
        ValueError: a tensor that is missing, of another type or shape, or damaged.
    """
    found = tensorfile.read_header(path)
    leaves, structure = jax.tree.flatten(like)
    read = []
    for i, leaf in enumerate(leaves):
        tensor = found.get(f"{name}/{i}")
        given = None if tensor is None else (tensor.dtype, tensor.shape)
        if given != (np.dtype(leaf.dtype), tuple(np.shape(leaf))):
            rule = f"of type {leaf.dtype} and shape {np.shape(leaf)}"
            raise _checks.refuse(f"tensor '{name}/{i}' in {str(path)!r}", rule, given)
        read.append(_read(found, f"{name}/{i}", path))
    return jax.tree.unflatten(structure, read)


def check(path: Path) -> None:
    """See that no tensor of a file is damaged, one in memory at a time.

    Raises:
        ValueError: one is.
    """
    found = tensorfile.read_header(path)
    for name in found.keys() - {SUMS}:
        _read(found, name, path)


def _read(found: Mapping[str, tensorfile.Tensor], name: str, path: Path) -> np.ndarray:
    """A tensor whose checksum is the one that was written."""
    array, sums = found[name].read(), found[SUMS].read() if SUMS in found else ()
    place = sorted(found).index(name)
    if place >= len(sums) or _sum(name, array) != sums[place]:
        why = "other bytes, by their checksum (a folder without its checkpoints begins anew)"
        raise ValueError(f"tensor {name!r} in {str(path)!r} must be as it was written, got {why}")
    return array


def _sum(name: str, array: np.ndarray) -> int:
    described = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode())
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, described)


def digest(tree: Any) -> str:
    """A short fingerprint of the first rows of all arrays, and of their shapes; nothing large is copied."""
    total = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        shape = np.shape(leaf)
        row = devices.fetch(leaf[(0,) * (len(shape) - 1)] if len(shape) > 1 else leaf)
        total.update(f"{row.dtype}{shape}".encode() + row.tobytes())
    return total.hexdigest()[:16]


def digest_all(tree: Any) -> str:
    """A short fingerprint of all numbers of all arrays."""
    total = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.asarray(leaf)
        total.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return total.hexdigest()[:16]
