"""The record of an experiment: one strict JSON file that says what was asked, found, and with what.

JSON knows no infinities. A non-finite number is written as the string "NaN", "Infinity" or "-Infinity", which both Python's
`float` and JavaScript's `Number` read back; every strict parser reads the file.
"""

import dataclasses
import importlib.metadata
import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from theory_lab.claims.base import Verdict

PACKAGES = ("jax", "jaxlib", "optax", "numpy", "scipy", "pandas", "matplotlib", "scikit-learn", "theory_lab")
CODE = ("theory_lab", "experiments", "pyproject.toml")  # what makes the numbers, within the repository
VERDICT_FIELDS = tuple(field.name for field in dataclasses.fields(Verdict))

Record = dict[str, Any]


def record(
    experiment: str,
    question: str,
    verdicts: Iterable[Verdict],
    *,
    about: str = "",
    profile: str,
    settings: Any,
    seeds: Mapping[str, Any],
    cells: int,
    wall_seconds: Mapping[str, float],
    csv_sha256: str,
    environment: Mapping[str, Any],
) -> Record:
    """Everything that NAME.json says.

    Args:
        experiment, question, about, profile: its name, what it asks, what else its docstring says, "quick" or "full".
        verdicts: one row each, with all the fields of `Verdict`.
        settings: the frozen settings (a dataclass or a mapping).
        seeds: the seed and how the keys of the cells follow from it.
        cells: how many pieces were computed.
        wall_seconds: {"compile": ..., "run": ...}, summed over the cells, whenever each was computed.
        csv_sha256: digest of the csv that all of this is about.
        environment: as `environment` makes it.

    Example:
        >>> from theory_lab.claims import claim
        >>> from theory_lab.measure import exact
        >>> verdict = claim("2 is at most 3", "arithmetic", "at most", 3.0).check(exact("two", 2.0))
        >>> made = record("demo", "Is 2 at most 3?", [verdict], profile="quick", settings={"n": 2}, seeds={"seed": 0},
        ...     cells=1, wall_seconds={"compile": 0.0, "run": 0.1}, csv_sha256="0" * 64, environment={"commit": "unknown"})
        >>> made["verdicts"][0]["outcome"]
        'holds'
    """
    return plain(
        {
            "experiment": experiment,
            "question": question,
            "about": about,
            "profile": profile,
            "settings": settings,
            "seeds": seeds,
            "cells": cells,
            "verdicts": list(verdicts),
            "wall_seconds": wall_seconds,
            "csv_sha256": csv_sha256,
            **environment,
        }
    )


def environment(root: Path) -> Record:
    """Where the numbers come from: versions, commit, device, date.

    Args:
        root: the folder that holds the code, the root of its repository if it is in one.
    """
    devices = jax.devices()
    return {
        "versions": versions(),
        "commit": commit(root),
        "device": {
            "platform": devices[0].platform,
            "kind": devices[0].device_kind,
            "count": len(devices),
            "machine": platform.machine(),
            "processor": processor(),
            "cores": os.cpu_count(),
            "x64": jax.dtypes.canonicalize_dtype("float64") == "float64",
        },
        "date": now(),
    }


def commit(root: Path) -> str:
    """The commit of the code, with "-dirty" if `CODE` differs from it.

    Results are not code: writing them leaves the commit clean. Outside a repository of its own (in a container, say) it is
    what the environment variable THEORY_LAB_COMMIT says, else "unknown".
    """
    head = _git(root, "rev-parse", "HEAD")
    if not head or _git(root, "rev-parse", "--show-prefix"):  # no repository, or a copy that lies inside of another
        return os.environ.get("THEORY_LAB_COMMIT", "unknown")
    changed = _git(root, "status", "--porcelain", "--untracked-files=all", "--", *CODE)
    return head if changed == "" else f"{head}-dirty"


def processor() -> str:
    """The processor's name, which `platform.processor` does not know on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or "unknown"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def plain(value: Any) -> Any:
    """The JSON form of settings, verdicts and numbers.

    Example:
        >>> plain({"radius": np.float64(0.1), "orders": (1, 2), "power": math.inf})
        {'radius': 0.1, 'orders': [1, 2], 'power': 'Infinity'}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return plain(np.asarray(value).tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def dumps(made: Mapping[str, Any]) -> str:
    """The text of a record: strict JSON, sorted keys, one line end at the end."""
    return json.dumps(plain(made), sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def read(path: Path) -> Record:
    """A record from its file.

    Raises:
        ValueError: the file is not a record.
    """
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name} must be the record of an experiment, got text that is not JSON: {error}") from error
    try:
        verdicts(made)
        texts = [made["question"], made["profile"], made["date"], made["device"]["kind"], made["versions"]["jax"]]
        is_record = made["experiment"] == path.stem and all(isinstance(text, str) for text in texts)
    except (KeyError, TypeError, ValueError):
        is_record = False
    if not is_record:
        raise ValueError(f"{path.name} must be the record of an experiment, got {str(made)[:60]!r}")
    return made


def read_all(folder: Path, order: Sequence[str] = ()) -> list[Record]:
    """The records of a folder, those named in `order` first, the others alphabetically; other JSON files are passed over."""
    records = {}
    for path in sorted(folder.glob("*.json")):
        try:
            records[path.stem] = read(path)
        except (OSError, ValueError):
            continue
    return [records.pop(name) for name in order if name in records] + list(records.values())


def verdicts(made: Mapping[str, Any]) -> list[Verdict]:
    """The verdicts of a record, as they were before they became JSON.

    Example:
        >>> verdicts({"verdicts": []})
        []
    """
    numbers = ("predicted", "measured", "low", "high", "power", "tolerance")
    found = []
    for row in made["verdicts"]:
        fields: Any = {name: float(row[name]) if name in numbers else row[name] for name in VERDICT_FIELDS}
        found.append(Verdict(**fields))
    return found


def versions() -> dict[str, str]:
    """Python and the packages whose versions can change a number."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments], cwd=folder, capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
