"""Experiments, their cells, and the computing of one cell wherever it is computed.

A cell's key is a pure function of the seed, the experiment and the cell, so adding a cell changes no other. Its name on disk
is made of everything that determines its rows: see `circumstances`.
"""

import ast
import concurrent.futures
import contextlib
import functools
import hashlib
import importlib
import json
import multiprocessing
import multiprocessing.connection
import os
import pkgutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

import theory_lab
from theory_lab import _checks
from theory_lab.report import record
from theory_lab.run.store import Cell, Store

PARTS = ("QUICK", "FULL", "cells", "compute", "judge", "draw")
SEEDS = 2**32


@dataclass(frozen=True)
class Piece:
    """One cell of one experiment, with all that another process needs to compute it."""

    package: str
    experiment: str
    cell: dict[str, Any]
    seed: int
    folder: str
    data: str | None


def names(package: str) -> list[str]:
    """The experiments of a package, in its `ORDER`, the others after them alphabetically."""
    home = importlib.import_module(package)
    found = sorted(module.name for module in pkgutil.iter_modules(home.__path__) if not module.name.startswith("_"))
    order = [name for name in getattr(home, "ORDER", ()) if name in found]
    return order + [name for name in found if name not in order]


def docstring(package: str, name: str) -> tuple[str, str]:
    """The question (the first paragraph of the docstring) and the rest, without importing the experiment."""
    home = importlib.import_module(package)
    source = (Path(next(iter(home.__path__))) / f"{name}.py").read_text(encoding="utf-8")
    try:
        text = ast.get_docstring(ast.parse(source)) or ""
    except SyntaxError:
        text = ""
    question, _, about = text.partition("\n\n")
    return " ".join(question.split()), about.strip()


def load(package: str, name: str) -> ModuleType:
    """Import an experiment.

    Raises:
        ValueError: it lacks a part of the contract.
    """
    module = importlib.import_module(f"{package}.{name}")
    missing = [part for part in PARTS if not hasattr(module, part)]
    if missing:
        raise ValueError(f"experiment {name!r} must define {', '.join(PARTS)}; it lacks {', '.join(missing)}")
    return module


def reads_data(package: str, name: str) -> bool:
    """Whether an experiment takes the user's data; True for one that cannot be loaded, which is reported when it runs."""
    try:
        return hasattr(load(package, name).QUICK, "data")
    except Exception:
        return True


def has_gpu_settings(package: str, name: str) -> bool:
    """Whether an experiment has something to compute on a GPU; False for one that cannot be loaded."""
    try:
        return hasattr(load(package, name), "GPU")
    except Exception:
        return False


def cells(module: ModuleType, settings: Any) -> list[dict[str, Any]]:
    """The cells of an experiment as JSON values.

    Raises:
        ValueError: there are none, two are equal, or one is not made of JSON values.
    """
    given = module.cells(settings)
    rule = "a non-empty list of distinct mappings of JSON values"
    try:
        texts = [json.dumps(cell, sort_keys=True, allow_nan=False) for cell in given]
    except (TypeError, ValueError):
        raise _checks.refuse("cells(settings)", rule, given) from None
    plain = [json.loads(text) for text in texts]
    if not texts or len(set(texts)) < len(texts) or not all(isinstance(cell, dict) for cell in plain):
        raise _checks.refuse("cells(settings)", rule, given)
    return plain


def cell_key(seed: int, experiment: str, cell: Mapping[str, Any]) -> jax.Array:
    """The key of a cell: `jax.random.key(seed)` with two words of a digest of experiment and cell folded in."""
    digest = hashlib.sha256(json.dumps([experiment, cell], sort_keys=True).encode()).digest()
    key = jax.random.key(seed)
    for word in (digest[:4], digest[4:8]):
        key = jax.random.fold_in(key, int.from_bytes(word, "big"))
    return key


def placeless(cell: Mapping[str, Any], data: str | None) -> dict[str, Any]:
    """The cell without the place where the user's data happen to lie: neither its key nor its rows depend on that."""
    text = json.dumps(cell, sort_keys=True)
    return json.loads(text.replace(json.dumps(data)[1:-1], "<data>") if data else text)


@functools.cache
def circumstances(package: str, experiment: str, data: str | None) -> dict[str, Any]:
    """What, beside the cell and its key, determines its rows: code, versions, device, precision, the user's data.

    The code is the whole library except its reports, the experiment itself, and the modules that experiments share, which
    begin with one underscore. Every process that computes answers for the code that it has imported itself.
    """
    home = Path(next(iter(importlib.import_module(package).__path__)))
    shared = [path for path in home.glob("_*.py") if not path.name.startswith("__")]
    return {
        "library": LIBRARY,
        "source": digest(home, [home / f"{experiment}.py", *shared]),
        "versions": record.versions(),
        "device": [jax.devices()[0].device_kind, record.processor(), os.environ.get("XLA_FLAGS", "")],
        "x64": jax.dtypes.canonicalize_dtype("float64") == "float64",
        "data": None if data is None else data_digest(Path(data)),
    }


def data_digest(path: Path) -> str:
    """One digest of the user's data: a file, or the files that lie directly in a folder."""
    if path.is_file():
        return digest(path.parent, [path])
    return digest(path, [inside for inside in path.iterdir() if inside.is_file()])


def digest(root: Path, paths: Iterable[Path]) -> str:
    """One digest of the names and the contents of files."""
    total = hashlib.sha256()
    for path in sorted(paths):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(json.dumps([path.relative_to(root).as_posix(), content]).encode())
    return total.hexdigest()


def _library() -> str:
    library = Path(next(iter(theory_lab.__path__)))
    return digest(library, [path for path in library.rglob("*.py") if path.relative_to(library).parts[0] != "report"])


LIBRARY = _library()  # taken as this process imports the library, whatever happens to the files later


def finish(piece: Piece) -> Cell:
    """The finished cell, from disk or computed now; runs in this process or in a worker."""
    jax.config.update("jax_enable_x64", True)
    cell = placeless(piece.cell, piece.data)
    key = cell_key(piece.seed, piece.experiment, cell)
    compute = load(piece.package, piece.experiment).compute
    determinants = {
        "experiment": piece.experiment,
        "cell": cell,
        "key": jax.random.key_data(key).tolist(),
        "prng": str(jax.random.key_impl(key)),
        **circumstances(piece.package, piece.experiment, piece.data),
    }
    return Store(piece.folder).fetch(determinants, lambda: compute(piece.cell, key))


class Serial(concurrent.futures.Executor):
    """Computes in this process, one after the other, each only when its turn comes."""

    def map(self, fn: Callable[..., Any], *iterables: Iterable[Any], **_: Any) -> Iterator[Any]:
        return map(fn, *iterables)


@contextlib.contextmanager
def workers(spec: str, pieces: int) -> Iterator[concurrent.futures.Executor]:
    """The executor that a SPEC names, for a number of pieces.

    Raises:
        ValueError: the SPEC is neither "serial" nor "process:N".
    """
    count = worker_count(spec)
    if count == 0:
        yield Serial()
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        min(count, pieces), mp_context=multiprocessing.get_context("spawn"), initializer=_become_worker
    )
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def worker_count(spec: str) -> int:
    """How many worker processes a SPEC asks for to compute cells; 0 for this process."""
    kind, count = _executor(spec)
    return count if kind == "process" else 0


def experiments_at_once(spec: str) -> int:
    """How many experiments a SPEC asks for at once, each in a process of its own; 0 for one after the other, here."""
    kind, count = _executor(spec)
    return count if kind == "experiments" else 0


def _executor(spec: str) -> tuple[str, int]:
    kind, _, count = spec.partition(":")
    if spec == "serial":
        return kind, 0
    if kind in ("process", "experiments") and count.isdigit() and int(count) > 0:
        return kind, int(count)
    raise _checks.refuse("executor", "'serial', 'process:N' or 'experiments:N' with N at least 1", spec)


def is_alone(package: str, name: str) -> bool:
    """Whether an experiment shares the machine with no other (``ALONE = True`` in its module, as where it takes times)."""
    try:
        return bool(getattr(load(package, name), "ALONE", False))
    except Exception:  # it will say so when its turn comes
        return False


def _become_worker() -> None:
    """Leave at once and in silence on Ctrl-C, and when the process that asked for the work is gone, however it went."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_after, args=(parent.sentinel,), daemon=True).start()


def _leave_after(sentinel: Any) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def settled(pieces: Sequence[Piece], spec: str, progress: Callable[[Iterator[Cell], int], Iterable[Cell]]) -> list[Cell]:
    """All pieces finished, in their order."""
    with workers(spec, len(pieces)) as executor:
        return list(progress(executor.map(finish, pieces), len(pieces)))
