"""`python -m experiments [NAME ...]`: run experiments, judge their claims, draw their figures, write the report.

Exit code: 0 if no outcome contradicts its claim's expectation; 1 if one does or an experiment stopped with an error; 2 for
bad usage and for results that cannot be written; 130 after Ctrl-C.
"""

import argparse
import dataclasses
import functools
import importlib
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import jax
import pandas as pd

from experiments import _cells
from theory_lab import _checks
from theory_lab.claims import Verdict
from theory_lab.report import figures, page, record, statements, tables
from theory_lab.run.frames import from_csv, to_csv
from theory_lab.run.store import Cell, Store, Unwritable, sha256, write
from theory_lab.theory.catalogue import STATEMENTS

KEYS = "fold_in(fold_in(key(seed), a), b); a, b: the first two 32-bit words of sha256([experiment, cell])"
OUT = {"quick": "results", "full": "figures"}


def main(arguments: Sequence[str] | None = None, *, package: str = "experiments") -> int:
    """The command line.

    Args:
        arguments: as the shell gives them; those of this process by default.
        package: the importable package whose modules are the experiments.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    jax.config.update("jax_enable_x64", True)
    _cells.circumstances.cache_clear()
    try:
        request = _request(arguments, package)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if request.listing:
        width = max(map(len, request.names), default=0)
        for name in request.names:
            print(f"{name.ljust(width)}  {_cells.docstring(package, name)[0]}")
        return 0
    try:
        return _conduct(request)
    except KeyboardInterrupt:
        print(f"\ninterrupted; finished cells are kept in {request.out / 'cells'} and not computed again", file=sys.stderr)
        return 130
    except OSError as error:
        print(error, file=sys.stderr)
        return 2


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
    listing: bool
    readme: Path | None


def _request(arguments: Sequence[str] | None, package: str) -> Request:
    """Parse and check the arguments.

    Raises:
        ValueError: an unknown experiment, a seed out of range, data that are not there or that no chosen experiment reads,
            an option that --redraw would ignore.
    """
    parser = argparse.ArgumentParser(prog="python -m experiments", description="Run experiments and judge their claims.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments to run; all by default")
    parser.add_argument(
        "--profile", choices=sorted(OUT, reverse=True), default="quick", help="how long to compute (default: quick)"
    )
    parser.add_argument("--redraw", action="store_true", help="judge and draw anew from the csv files, without computing")
    parser.add_argument("--seed", type=int, help="the seed that all randomness follows from (default: 0)")
    parser.add_argument(
        "--out", metavar="DIR", help=f"where results go (default: {OUT['quick']}/ or {OUT['full']}/, by profile)"
    )
    parser.add_argument(
        "--data", metavar="PATH", help="a LIBSVM file, or a folder of them, for the experiments that read one"
    )
    parser.add_argument(
        "--executor",
        metavar="SPEC",
        help="serial (default); process:N: N cells at once; experiments:N: N experiments at once",
    )
    parser.add_argument("--list", action="store_true", dest="listing", help="name all experiments and their questions")
    given = parser.parse_args(arguments)

    for option in ("seed", "data", "executor"):
        if given.redraw and getattr(given, option) is not None:
            raise _checks.refuse(option, "left out with --redraw, which computes nothing", getattr(given, option))
    seed, executor = 0 if given.seed is None else given.seed, "serial" if given.executor is None else given.executor
    known = _cells.names(package)
    for name in given.names:
        _checks.choice("experiment", name, known)
    if not 0 <= seed < _cells.SEEDS:
        raise _checks.refuse("seed", f"a whole number from 0 to {_cells.SEEDS - 1}", seed)
    _cells.worker_count(executor)
    data = None
    if given.data is not None:
        if not Path(given.data).exists():
            raise _checks.refuse("data", "an existing file or folder", given.data)
        data = str(Path(given.data).resolve())
    out = Path(given.out or OUT[given.profile])
    names = tuple(name for name in known if name in given.names or not given.names)
    if data is not None and not any(_cells.reads_data(package, name) for name in names):
        raise _checks.refuse("data", f"left out where no experiment reads it, as in {', '.join(names)}", given.data)
    if given.redraw:
        drawn = tuple(name for name in names if (out / f"{name}.csv").is_file() and (out / f"{name}.json").is_file())
        missing = [name for name in names if name not in drawn]
        if missing and (given.names or not drawn):
            raise ValueError(f"--redraw needs the csv and json of {', '.join(missing)} in {out}; run without --redraw first")
        names = drawn
    readme = Path("README.md") if given.profile == "full" and given.out is None else None
    return Request(package, names, given.profile, given.redraw, seed, out, executor, data, given.listing, readme)


@dataclass(frozen=True)
class Outcome:
    """What came of one experiment: its verdicts and a line on what it took, or why it stopped."""

    verdicts: list[Verdict]
    note: str = ""
    stopped: str = ""


def _conduct(request: Request) -> int:
    """Run the chosen experiments, then sum up; returns the exit code.

    Raises:
        Unwritable: a result could not be written.
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
    together, alone = request.names, ()
    if at_once := _cells.experiments_at_once(request.executor):
        alone = tuple(name for name in request.names if _cells.is_alone(request.package, name))
        together = tuple(name for name in request.names if name not in alone)
        serial = dataclasses.replace(request, executor="serial")
        with _cells.workers(f"process:{at_once}", len(together)) as pool:
            for name, outcome in zip(
                together, pool.map(functools.partial(_outcome, serial, environment), together), strict=True
            ):
                _announce(request, name)
                yield name, outcome
        together, request = alone, serial
    for name in together:
        _announce(request, name)
        yield name, _outcome(request, environment, name)


def _announce(request: Request, name: str) -> None:
    print(f"{name}: {_cells.docstring(request.package, name)[0]}", flush=True)


def _outcome(request: Request, environment: record.Record, name: str) -> Outcome:
    """Run one experiment; runs in this process or in a worker.

    Raises:
        Unwritable: a result could not be written.
    """
    jax.config.update("jax_enable_x64", True)
    store, log = Store(request.out), request.out / f"{name}.log"
    try:
        module = _cells.load(request.package, name)
        step = _rejudged if request.redraw else _computed
        verdicts, note = step(request, store, environment, name, module)
    except Unwritable:
        raise
    except Exception as error:
        write(log, f"{record.now()} {' '.join(sys.argv)}\n\n{traceback.format_exc()}")
        return Outcome([], stopped=f"{type(error).__name__}: {' '.join(str(error).split())} (see {log})")
    log.unlink(missing_ok=True)
    return Outcome(verdicts, note)


def _computed(
    request: Request, store: Store, environment: record.Record, name: str, module: ModuleType
) -> tuple[list[Verdict], str]:
    """Finish the cells of an experiment, judge, draw and publish; returns the verdicts and a line on what it took."""
    start = time.perf_counter()
    settings = module.FULL if request.profile == "full" else module.QUICK
    data = request.data if hasattr(settings, "data") else None
    if data is not None:
        settings = dataclasses.replace(settings, data=data)
    pieces = [
        _cells.Piece(request.package, name, cell, request.seed, str(request.out), data)
        for cell in _cells.cells(module, settings)
    ]
    finished = _cells.settled(pieces, request.executor, functools.partial(_with_progress, name))
    csv = to_csv(pd.concat([cell.frame for cell in finished], ignore_index=True))
    question, about = _cells.docstring(request.package, name)
    seconds = {"compile": sum(cell.compile for cell in finished), "run": sum(cell.run for cell in finished)}
    made = record.record(
        name,
        question,
        [],
        about=about,
        profile=request.profile,
        settings=_cells.placeless(record.plain(settings), data),
        seeds={"seed": request.seed, "prng": str(jax.random.key_impl(jax.random.key(0))), "keys": KEYS},
        cells=len(finished),
        wall_seconds=seconds,
        csv_sha256=sha256(csv),
        environment={**environment, "data_sha256": _cells.circumstances(request.package, name, data)["data"]},
    )
    verdicts = _publish(request, store, module, csv, made)
    kept = sum(not cell.computed for cell in finished)
    took = f"{time.perf_counter() - start:.1f} s"
    known = f", {kept} of them kept from before" if kept else ""
    compiling = sum(cell.compile for cell in finished if cell.computed)
    return verdicts, f"{len(finished)} cells{known}; {took}, {compiling:.1f} s of it compiling"


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
    rows = _catalogue(request)
    with store.publishing():
        write(request.out / "catalogue.csv", to_csv(rows))
        write(request.out / "statements.html", statements.page_of(rows, {s.name: s.documentation() for s in STATEMENTS}))
        write(request.out / "index.html", page.page(request.out, _cells.names(request.package)))


def _catalogue(request: Request) -> pd.DataFrame:
    fields = [dataclasses.asdict(statement) for statement in STATEMENTS]
    return statements.catalogue(fields, request.out, _cells.names(request.package))


def _refresh_readme(request: Request, store: Store) -> None:
    """The tables of claims and of statements in the README follow the published figures."""
    if request.readme is None or not request.readme.is_file():
        return
    made = {
        "claims": tables.claims_table(request.out, _cells.names(request.package)),
        "statements": statements.catalogue_table(_catalogue(request), request.out.name),
    }
    with store.publishing():
        text = request.readme.read_text(encoding="utf-8")
        for name, table in made.items():
            if tables.markers(name)[0] in text:
                text = tables.refreshed(text, name, table)
        write(request.readme, text)


def _with_progress(name: str, cells: Iterator[Cell], total: int) -> Iterable[Cell]:
    """A bar on a terminal where tqdm is installed, nothing elsewhere."""
    try:
        from tqdm import tqdm
    except ImportError:
        return cells
    return tqdm(cells, total=total, desc=f"  {name}", unit="cell", leave=False, disable=None)


if __name__ == "__main__":
    sys.exit(main())
