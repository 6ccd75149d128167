"""What a run of experiments does: compute, judge, draw, publish; one after the other, or some at once.

Apart from the command line, because a worker process cannot import the module that was started.
"""

import dataclasses
import functools
import importlib
import inspect
import pkgutil
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import jax
import pandas as pd

from experiments import _cells, _crews, _executors, _pieces, _settings
from theory_lab import _checks
from theory_lab.claims import Verdict
from theory_lab.report import figures, page, record, statements, tables
from theory_lab.run.frames import from_csv, to_csv
from theory_lab.run.store import Store, Unwritable, sha256, write
from theory_lab.theory.catalogue import STATEMENTS

T = TypeVar("T")
KEYS = "fold_in(fold_in(key(seed), a), b); a, b: the first two 32-bit words of sha256([experiment, cell less PAIRED fields])"


@dataclass(frozen=True)
class Request:
    """What the user wants, checked."""

    package: str
    names: tuple[str, ...]
    profile: str
    redraw: bool
    seed: int
    out: Path
    executor: str
    data: str | None
    changes: Mapping[str, str]  # settings by field, as texts
    listing: bool
    readme: Path | None


@dataclass(frozen=True)
class Outcome:
    """What came of one experiment: its verdicts and a line on what it took, or why it stopped."""

    verdicts: list[Verdict]
    note: str = ""
    stopped: str = ""


def conduct(request: Request) -> int:
    """Run the chosen experiments, then sum up; returns the exit code.

    Raises:
        Unwritable: a result could not be written.
        Unavailable: the executor cannot be had.
    """
    store = Store(request.out)
    store.prepare()
    environment = record.environment(Path(next(iter(importlib.import_module(request.package).__path__))).parent)
    colour = tables.wants_colour(sys.stdout)
    found: dict[str, list[Verdict]] = {}
    stopped: dict[str, str] = {}
    for name, outcome in _outcomes(request, environment):
        if outcome.stopped:
            stopped[name] = outcome.stopped
            print(f"  stopped with {outcome.stopped}", file=sys.stderr)
            continue
        found[name] = outcome.verdicts
        width = min(max((len(verdict.claim) for verdict in found[name]), default=0), 72)
        for verdict in found[name]:
            print(f"  {tables.line(verdict, colour=colour, width=width)}")
        print(f"  {outcome.note}", flush=True)
    _write_page(request, store)
    _refresh_readme(request, store)
    print(f"\n{tables.summary(found)}")
    if stopped:
        print("\n".join(["", "stopped with an error:", *(f"  {name}: {why}" for name, why in stopped.items())]))
    print(f"\nreport: {request.out / 'index.html'}")
    agreed = all(verdict.as_expected for some in found.values() for verdict in some)
    return 0 if agreed and not stopped else 1


def _outcomes(request: Request, environment: record.Record) -> Iterator[tuple[str, Outcome]]:
    """Every experiment with its outcome, in order; one after the other or some at once, those that must be alone last."""
    with _executors.crew(request.executor, request.out / "cells") as crew:
        together = request.names
        if _executors.experiments_at_once(request.executor):
            together = tuple(name for name in request.names if not _cells.is_alone(request.package, name))
            yield from _at_once(request, environment, together, crew)
            together = tuple(name for name in request.names if name not in together)
        for name in together:
            _announce(request, name)
            yield name, _outcome(request, environment, name, crew)


def _at_once(
    request: Request, environment: record.Record, names: tuple[str, ...], crew: _crews.Crew
) -> Iterator[tuple[str, Outcome]]:
    """Some experiments at once, each in a process of its own; told in order."""
    come: dict[int, Outcome] = {}
    turn = 0
    for number, outcome in _crews.each(crew, functools.partial(_outcome, request, environment), names):
        come[number] = Outcome([], stopped=str(outcome)) if isinstance(outcome, _crews.Lost) else outcome
        while turn in come:
            _announce(request, names[turn])
            yield names[turn], come[turn]
            turn += 1


def _announce(request: Request, name: str) -> None:
    print(f"{name}: {question(request.package, name)}", flush=True)


def question(package: str, name: str) -> str:
    """What an experiment asks, also where it is broken."""
    try:
        return _cells.docstring(package, name)[0] or "cannot be read: not Python, or without a docstring"
    except (OSError, ValueError) as error:
        return f"cannot be read: {error}"


def _outcome(request: Request, environment: record.Record, name: str, crew: _crews.Crew = _crews.HERE) -> Outcome:
    """Run one experiment; runs in this process or in a worker, then without a crew.

    Raises:
        Unwritable: a result could not be written.
    """
    jax.config.update("jax_enable_x64", True)
    store, log = Store(request.out), request.out / f"{name}.log"
    try:
        module = _cells.load(request.package, name)
        if not _cells.docstring(request.package, name)[0]:
            raise ValueError(f"experiment {name!r} must open with a docstring that asks its question, got none")
        if request.redraw:
            verdicts, note = _rejudged(request, store, environment, name, module)
        else:
            alone = _cells.is_alone(request.package, name)  # it takes times, of this machine
            verdicts, note = _computed(request, store, environment, name, module, _crews.HERE if alone else crew)
    except (Unwritable, _crews.Unavailable):
        raise
    except Exception as error:
        details = getattr(error, "details", None) or traceback.format_exc()
        write(log, f"{record.now()} {' '.join(sys.argv)}\n\n{details}")
        told = isinstance(error, (_pieces.Unfinished, _pieces.Stranger))  # in a sentence of ours
        why = " ".join(str(error).split())
        return Outcome([], stopped=f"{why if told else f'{type(error).__name__}: {why}'} (see {log})")
    finally:
        jax.clear_caches()  # another experiment has other programs; all of them together would fill the memory
    log.unlink(missing_ok=True)
    return Outcome(verdicts, note)


def _computed(
    request: Request,
    store: Store,
    environment: record.Record,
    name: str,
    module: ModuleType,
    crew: _crews.Crew,
) -> tuple[list[Verdict], str]:
    """Finish the cells of an experiment, judge, draw and publish; returns the verdicts and a line on what it took."""
    start = time.perf_counter()
    settings, places = _settled(request, name, module)
    pieces = _pieces.pieces(request.package, name, _cells.cells(module, settings), request.seed, store, places)
    done = _pieces.settled(pieces, crew, functools.partial(with_progress, name))
    finished = [one.cell for one in done]
    csv = to_csv(pd.concat([cell.frame for cell in finished], ignore_index=True))
    known = _cells.circumstances(request.package, name, places)
    question, about = _cells.docstring(request.package, name)
    seconds = {"compile": sum(cell.compile for cell in finished), "run": sum(cell.run for cell in finished)}
    made = record.record(
        name,
        question,
        [],
        about=about,
        profile=request.profile,
        settings=_cells.placeless(record.plain(settings), places),
        seeds={"seed": request.seed, "prng": str(jax.random.key_impl(jax.random.key(0))), "keys": KEYS},
        cells=len(finished),
        wall_seconds=seconds,
        csv_sha256=sha256(csv),
        environment={**environment, "places_sha256": known["places"], **_elsewhere(known["device"], done)},
    )
    verdicts = _publish(request, store, module, csv, made)
    kept = sum(not cell.computed for cell in finished)
    took = f"{time.perf_counter() - start:.1f} s"
    before = f", {kept} of them kept from before" if kept else ""
    compiling = sum(cell.compile for cell in finished if cell.computed)
    return verdicts, f"{len(finished)} cells{before}; {took}, {compiling:.1f} s of it compiling"


def _elsewhere(here: Any, done: Iterable[_pieces.Done]) -> dict[str, Any]:
    """The devices that cells were computed on, where it was not this one alone."""
    found = [here]
    for one in done:
        if one.determinants["device"] not in found:
            found.append(one.determinants["device"])
    return {"cells_computed_on": found} if found != [here] else {}


def _settled(request: Request, name: str, module: ModuleType) -> tuple[Any, _cells.Places]:
    """The settings of an experiment as the user wants them, and the files and folders that they name."""
    settings = _settings.changed(name, getattr(module, request.profile.upper()), request.changes)
    places = _settings.places(settings, request.changes)
    if request.data is not None and hasattr(settings, "data"):
        settings, places = dataclasses.replace(settings, data=request.data), {**places, "data": request.data}
    return settings, tuple(places.items())


def _rejudged(
    request: Request, store: Store, environment: record.Record, name: str, module: ModuleType
) -> tuple[list[Verdict], str]:
    """Judge and draw an experiment anew from its csv, and publish.

    Raises:
        ValueError: the csv is not the one that the record is about.
    """
    made = record.read(request.out / f"{name}.json")
    csv = (request.out / f"{name}.csv").read_bytes().decode()
    if sha256(csv) != made["csv_sha256"]:
        raise ValueError(f"{name}.csv must be the file that {name}.json is about, got another one (their sha256 differ)")
    question, about = _cells.docstring(request.package, name)
    again = {"commit": environment["commit"], "date": environment["date"]}
    verdicts = _publish(request, store, module, csv, {**made, "question": question, "about": about, "rejudged": again})
    return verdicts, "redrawn from the csv"


def _publish(request: Request, store: Store, module: ModuleType, csv: str, made: record.Record) -> list[Verdict]:
    """Judge and draw from the text of the csv alone, and replace the files of the experiment together."""
    name, frame = made["experiment"], from_csv(csv)
    verdicts = module.judge(frame)
    if not isinstance(verdicts, list) or not verdicts or not all(isinstance(one, Verdict) for one in verdicts):
        raise _checks.refuse("judge(frame)", "a non-empty list of verdicts", verdicts)
    with figures.house():
        image = figures.png(module.draw(frame, verdicts))
    text = record.dumps({**made, "verdicts": verdicts})
    with store.publishing():
        for suffix, content in (("csv", csv), ("png", image), ("json", text)):
            write(request.out / f"{name}.{suffix}", content)
    _write_page(request, store)
    return verdicts


def _write_page(request: Request, store: Store) -> None:
    """The pages of the folder, and the catalogue of statements with what the folder's verdicts say of them."""
    rows, texts = _catalogue(request), {statement.name: documentation(statement.where) for statement in STATEMENTS}
    with store.publishing():
        write(request.out / "catalogue.csv", to_csv(rows))
        write(request.out / "statements.html", statements.page_of(rows, texts))
        write(request.out / "index.html", page.page(request.out, _cells.names(request.package)))
        write(request.out / "README.md", tables.gallery(request.out, _cells.names(request.package)))


def documentation(where: Iterable[str]) -> str:
    """The docstrings of modules and functions of `theory_lab`, by their dotted names, one below the other."""
    resolved = ((name, pkgutil.resolve_name(f"theory_lab.{name}")) for name in where)
    return "\n\n".join(f"theory_lab.{name}\n\n{inspect.getdoc(found)}" for name, found in resolved)


def _catalogue(request: Request) -> pd.DataFrame:
    fields = [dataclasses.asdict(statement) for statement in STATEMENTS]
    return statements.catalogue(fields, request.out, _cells.names(request.package))


def _refresh_readme(request: Request, store: Store) -> None:
    """The table of statements in the README follows the published figures."""
    if request.readme is None or not request.readme.is_file():
        return
    table = statements.catalogue_table(_catalogue(request), request.out.name)
    with store.publishing():
        text = request.readme.read_text(encoding="utf-8")
        if tables.markers("statements")[0] in text:
            write(request.readme, tables.refreshed(text, "statements", table))


def with_progress(name: str, cells: Iterator[T], total: int) -> Iterable[T]:
    """A bar on a terminal where tqdm is installed, nothing elsewhere."""
    try:
        from tqdm import tqdm
    except ImportError:
        return cells
    tqdm.set_lock(threading.RLock())  # its own is shared between processes, and outlives one that is killed
    return tqdm(cells, total=total, desc=f"  {name}", unit="cell", leave=False, disable=None)
