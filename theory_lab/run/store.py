"""Finished cells on disk, and the one way in which results are written.

A cell is the smallest independent piece of an experiment. Its file is named by a digest of everything that determines it,
so it never goes stale: whatever changes, changes the name. Every file is written whole or not at all (`theory_lab._files`),
whoever is killed and however many write.
"""

import contextlib
import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from theory_lab import _checks, _files
from theory_lab.run.clock import Stopwatch
from theory_lab.run.frames import from_csv, to_csv

try:
    import fcntl
except ImportError:  # not a POSIX system: two runs that publish different results in one folder may then interleave
    fcntl = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)

ABANDONED = 3600.0  # seconds after which a temporary file is taken for the remains of a killed process


class Unwritable(OSError):
    """A result could not be written; its message is one line for the user."""


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file whole or not at all; text as UTF-8.

    Raises:
        Unwritable: the disk is full or the folder does not let us; no partial file is left.
    """
    path = Path(path)
    with _one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _files.write(path, [content.encode() if isinstance(content, str) else content])


@dataclass(frozen=True)
class Cell:
    """A finished cell.

    Attributes:
        frame: its rows, as read back from text.
        compile, run: the seconds that computing it took, whenever that was.
        computed: whether it was computed just now (not found on disk).
        keep: whether it may be kept on disk.
    """

    frame: pd.DataFrame
    compile: float
    run: float
    computed: bool
    keep: bool = True


class Store:
    """The finished cells of an output folder, in `<folder>/cells/<experiment>/<digest>.json`.

    Any number of processes may use one folder; at worst they compute the same cell twice. Deleting `cells` is always safe.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.cells = self.folder / "cells"

    def prepare(self) -> None:
        """Make the folder, see that it can be written, and sweep out what killed processes left.

        Raises:
            Unwritable: the folder cannot be made or written; better now than after the computation.
        """
        write(self.cells / ".gitignore", "*\n")
        write(self.folder / ".writable", "")
        for remains in [self.folder / ".writable", *self._abandoned()]:
            with contextlib.suppress(OSError):
                remains.unlink()

    def fetch(self, determinants: Mapping[str, Any], compute: Callable[[], pd.DataFrame]) -> Cell:
        """The cell that `determinants` determine: from disk, or computed now and kept, unless it asks not to be.

        Args:
            determinants: everything that the rows depend on, as JSON values; "experiment" among them names the folder.
            compute: makes the rows (see `to_csv` for what a frame may hold); a frame with ``attrs["keep"]`` False is not
                kept, and computed again the next time.

        Raises:
            ValueError: "experiment" is no plain name, or the rows are not what a frame may hold.
            Unwritable: the finished cell could not be kept.
        """
        found = self.find(determinants)
        if found is None:
            found = computed(compute)
            self.keep(determinants, found)
        return found

    def find(self, determinants: Mapping[str, Any]) -> Cell | None:
        """The kept cell that `determinants` determine, if there is one.

        Raises:
            ValueError: as `fetch`.
        """
        path, known = self._place(determinants)
        return _kept(path, known)

    def keep(self, determinants: Mapping[str, Any], cell: Cell) -> None:
        """Keep a cell that was computed just now, here or elsewhere, unless it asks not to be.

        Raises:
            ValueError: as `fetch`.
            Unwritable: as `fetch`.
        """
        path, known = self._place(determinants)
        if not cell.keep:
            return
        csv = to_csv(cell.frame)
        seconds = {"compile": cell.compile, "run": cell.run}
        content = {"csv": csv, "csv_sha256": sha256(csv), "determinants": known, "seconds": seconds}
        write(path, json.dumps(content, sort_keys=True))

    def identity(self) -> str:
        """A random text that lies in the folder: who reads the same, on whatever machine, sees the same folder.

        Raises:
            Unwritable: there is none yet, and it cannot be written.
        """
        if not self.read_identity():
            write(self.cells / ".identity", uuid.uuid4().hex)
        return self.read_identity()

    def read_identity(self) -> str:
        """The same, without making it; empty where the folder is not to be seen."""
        try:
            return (self.cells / ".identity").read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""

    def _place(self, determinants: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
        known = json.loads(json.dumps(determinants, sort_keys=True))
        experiment = known.get("experiment")
        if not isinstance(experiment, str) or not experiment.isidentifier():
            raise _checks.refuse("the experiment of a cell", "a plain name", experiment)
        digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
        return self.cells / experiment / f"{digest}.json", known

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Hold the folder while several files that belong together are replaced."""
        with _one_line(self.cells / ".lock"):
            lock = open(self.cells / ".lock", "ab")  # noqa: SIM115
        with lock:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # some network file systems cannot lock
                    fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _abandoned(self) -> list[Path]:
        found = []
        folders = (self.folder, self.cells, *self.cells.glob("*/"))
        for path in (path for folder in folders for path in _files.remains(folder)):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED:
                    found.append(path)
        return found


def computed(compute: Callable[[], pd.DataFrame]) -> Cell:
    """A cell that nothing has kept: its rows as `fetch` would have read them back."""
    with Stopwatch() as watch:
        frame = compute()
    keep = bool(frame.attrs.get("keep", True)) if isinstance(frame, pd.DataFrame) else True
    return Cell(from_csv(to_csv(frame)), watch.compile, watch.run, computed=True, keep=keep)


def sha256(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def _kept(path: Path, determinants: Mapping[str, Any]) -> Cell | None:
    """What the file holds; None if there is none, or if it is not the whole and unaltered file that `fetch` wrote."""
    try:
        content = json.loads(path.read_bytes())
        if content["determinants"] != determinants or sha256(content["csv"]) != content["csv_sha256"]:
            raise ValueError("not what was written")
        seconds = content["seconds"]
        return Cell(from_csv(content["csv"]), float(seconds["compile"]), float(seconds["run"]), computed=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        _log.warning("the kept cell %s cannot be read (%s); computing it again", path, " ".join(str(error).split()))
        return None


@contextlib.contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except Unwritable:
        raise
    except OSError as error:
        raise Unwritable(f"cannot write {path}: {error.strerror or error}") from error
