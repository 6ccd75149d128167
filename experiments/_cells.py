"""Experiments, their cells, and all that determines what a cell holds.

A cell's key is a pure function of the seed, the experiment and the cell, so adding a cell changes no other; cells that shall
share what they draw say so by `alike`. Its name on disk
is made of everything that determines its rows: see `circumstances`.
"""

import ast
import functools
import hashlib
import importlib
import json
import os
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

import theory_lab
from theory_lab import _checks
from theory_lab.report import record

Places = tuple[tuple[str, str], ...]  # files and folders of the user: by which name they are known, and where they lie
PARTS = ("QUICK", "FULL", "cells", "compute", "judge", "draw")
SEEDS = 2**32


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


def settings(package: str, name: str, profile: str) -> Any:
    """The settings of an experiment; None for one that cannot be loaded, which is reported when it runs."""
    try:
        module = load(package, name)
    except Exception:
        return None
    return getattr(module, profile.upper(), None)


def reads_data(package: str, name: str) -> bool:
    """Whether an experiment takes the user's data; True for one that cannot be loaded."""
    found = settings(package, name, "quick")
    return found is None or hasattr(found, "data")


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


def alike(package: str, name: str, cell: Mapping[str, Any]) -> dict[str, Any]:
    """The cell without the fields that its experiment calls `PAIRED`: cells that are alike but for those have one key."""
    paired = getattr(load(package, name), "PAIRED", ())
    return {field: value for field, value in cell.items() if field not in paired}


def placeless(cell: Mapping[str, Any], places: Places) -> dict[str, Any]:
    """The cell with the names of the user's files and folders instead of where they happen to lie.

    Neither its key nor its rows depend on that.
    """
    text = json.dumps(cell, sort_keys=True)
    for name, place in sorted(places, key=lambda one: len(one[1]), reverse=True):  # one may lie in another
        text = text.replace(json.dumps(place)[1:-1], json.dumps(f"<{name}>")[1:-1])
    return json.loads(text)


@functools.cache
def circumstances(package: str, experiment: str, places: Places) -> dict[str, Any]:
    """What, beside the cell and its key, determines its rows: code, versions, device, precision, the user's files.

    The code is the whole library except its reports, the experiment itself, and the modules that experiments share, which
    begin with one underscore. Every process that computes answers for the code that it has imported itself: it reads each
    file once, whatever happens to it later.
    """
    home = Path(next(iter(importlib.import_module(package).__path__)))
    shared = [path for path in home.glob("_*.py") if not path.name.startswith("__")]
    return {
        "library": LIBRARY,
        "source": digest(home, [home / f"{experiment}.py", *shared], content_once),
        "versions": record.versions(),
        "device": [jax.devices()[0].device_kind, record.processor(), os.environ.get("XLA_FLAGS", "")],
        "x64": jax.dtypes.canonicalize_dtype("float64") == "float64",
        "places": {name: place_digest(Path(place)) for name, place in places},
    }


def place_digest(path: Path) -> str:
    """One digest of a file, or of the files that lie in a folder or in one of its folders; hidden ones aside."""
    if path.is_file():
        return digest(path.parent, [path])
    return digest(path, [file for pattern in ("[!.]*", "[!.]*/[!.]*") for file in path.glob(pattern) if file.is_file()])


def content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


content_once = functools.cache(content)


def digest(root: Path, paths: Iterable[Path], content: Callable[[Path], str] = content) -> str:
    """One digest of the names and the contents of files."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(json.dumps([path.relative_to(root).as_posix(), content(path)]).encode())
    return total.hexdigest()


def _library() -> str:
    library = Path(next(iter(theory_lab.__path__)))
    return digest(library, [path for path in library.rglob("*.py") if path.relative_to(library).parts[0] != "report"])


LIBRARY = _library()  # taken as this process imports the library, whatever happens to the files later


@functools.cache
def commit(package: str) -> str:
    """The commit of the experiments' code, which names it for people; what counts are the digests."""
    return record.commit(Path(next(iter(importlib.import_module(package).__path__))).parent)


def code(package: str, experiment: str, places: Places) -> dict[str, Any]:
    """What a worker must have as this process has it: the circumstances less the device."""
    return {name: value for name, value in circumstances(package, experiment, places).items() if name != "device"}


def forget() -> None:
    """Look at all files anew, as a new process would."""
    for remembered in (circumstances, commit, content_once):
        remembered.cache_clear()


def is_alone(package: str, name: str) -> bool:
    """Whether an experiment shares the machine with no other (``ALONE = True`` in its module, as where it takes times)."""
    try:
        return bool(getattr(load(package, name), "ALONE", False))
    except Exception:  # it will say so when its turn comes
        return False
