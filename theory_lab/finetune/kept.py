"""A fine-tuning run on disk: one file that holds all that the rest of the run depends on, written whole or not at all."""

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from theory_lab import _checks, devices
from theory_lab._typing import Block
from theory_lab.models import tensorfile
from theory_lab.run.store import ABANDONED

CHECKPOINT, BEST, RECORD = "checkpoint.safetensors", "best.safetensors", "record"


def save(path: Path, trees: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Write trees of arrays, by name, and a record in JSON values; one array at a time is copied from the device.

    Of several processes the first one writes, and all go on when it has.
    """
    leaves = {f"{name}/{i}": leaf for name, tree in trees.items() for i, leaf in enumerate(jax.tree.leaves(tree))}
    text = np.frombuffer(json.dumps(record).encode(), np.uint8)
    described = {name: (np.dtype(leaf.dtype), tuple(np.shape(leaf))) for name, leaf in leaves.items()}
    described[RECORD] = (text.dtype, text.shape)
    if jax.process_count() > 1:
        leaves = devices.fetch(leaves)
    if jax.process_index() == 0:
        tensorfile.write(path, described, lambda name: text if name == RECORD else np.asarray(leaves[name]))
    devices.wait()


def sweep(folder: Path) -> None:
    """Remove what runs that were killed while they wrote have left in a folder, each as large as what it was to become."""
    for path in [*folder.glob(f".{CHECKPOINT}.*"), *folder.glob(f".{BEST}.*")]:
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()


def record_of(path: Path) -> dict[str, Any]:
    """The record of a file that `save` wrote."""
    found = tensorfile.read_header(path)
    if RECORD not in found:
        raise _checks.refuse(f"file {str(path)!r}", "a checkpoint of fine-tuning", f"tensors {sorted(found)[:3]}")
    return dict(json.loads(found[RECORD].read().tobytes()))


def load(path: Path, name: str, like: Block) -> Block:
    """One of the trees of a file, of the same structure, shapes and types as ``like``, in NumPy."""
    found = tensorfile.read_header(path)
    leaves, structure = jax.tree.flatten(like)
    read = []
    for i, leaf in enumerate(leaves):
        tensor = found.get(f"{name}/{i}")
        given = None if tensor is None else (tensor.dtype, tensor.shape)
        if tensor is None or given != (np.dtype(leaf.dtype), tuple(np.shape(leaf))):
            rule = f"of type {leaf.dtype} and shape {np.shape(leaf)}"
            raise _checks.refuse(f"tensor '{name}/{i}' in {str(path)!r}", rule, given)
        read.append(tensor.read())
    return jax.tree.unflatten(structure, read)


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
