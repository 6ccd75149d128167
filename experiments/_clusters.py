"""Workers that others start and watch over: dask's, MPI's, Slurm's. Each needs an extra of its own."""

import contextlib
import importlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from experiments import _slurm
from experiments._crews import Crew, Unavailable
from experiments._dask import Dask
from theory_lab import _checks

EXTRAS = {"dask": "distributed", "slurm": "submitit", "mpi": "mpi4py.futures"}


def needed(kind: str) -> ModuleType:
    """The library of an executor.

    Raises:
        ValueError: it is not installed; the message names the extra.
    """
    os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")  # else importing submitit closes all handlers of `logging`
    try:
        return importlib.import_module(EXTRAS[kind])
    except ImportError as error:
        needs = f"{EXTRAS[kind].partition('.')[0]}, which is not installed here"
        raise ValueError(f"executor {kind} needs {needs}: pip install 'theory_lab[{kind}]' ({error})") from None


@contextlib.contextmanager
def dask(address: str, folder: Path) -> Iterator[Crew]:
    """Dask hands a cell out again by itself, as often as its scheduler allows."""
    distributed = needed("dask")
    try:
        client = distributed.Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise Unavailable(f"no dask scheduler answers at {address}: {error}") from error
    executor = Dask(client)
    try:
        yield Crew(executor, lost=(distributed.scheduler.KilledWorker,), attempts=1, remote=True)
    finally:
        executor.shutdown(cancel_futures=True)
        with _quiet("distributed.client"):  # of a scheduler that is gone the user has heard
            client.close()


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def mpi(count: str, folder: Path) -> Iterator[Crew]:
    """MPI ends all processes with the first that is lost; what was finished is kept for the next run."""
    futures = needed("mpi")
    try:
        executor = futures.MPIPoolExecutor(int(count) if count else None)
        executor.bootup()
    except RuntimeError as error:
        raise Unavailable(f"MPI cannot start: {' '.join(str(error).split())}") from error
    with left(Crew(executor, remote=True)) as found:
        yield found


@contextlib.contextmanager
def slurm(settings: str, folder: Path) -> Iterator[Crew]:
    """Every cell is a job; `jobs=N` among the settings keeps it to N jobs at a time."""
    submitit = needed("slurm")
    try:
        values = {name: _slurm.value(text) for name, _, text in named(settings)}
        window = values.pop("jobs", None)
        if window is not None and (type(window) is not int or window < 1):
            raise _checks.refuse("jobs", "a whole number, at least 1", window)
        executor = _slurm.Slurm(submitit, folder / "slurm", values)
    except (RuntimeError, ValueError, NameError, TypeError, AssertionError) as error:
        why = " ".join(str(error).split())
        raise Unavailable(f"slurm cannot be used with {settings or 'no settings'}: {why}") from error
    with left(Crew(executor, window=window, remote=True)) as found:
        yield found


def named(text: str) -> list[tuple[str, str, str]]:
    return [item.partition("=") for item in text.split(",")] if text else []


@contextlib.contextmanager
def left(crew: Crew) -> Iterator[Crew]:
    try:
        yield crew
    finally:
        crew.executor.shutdown()
