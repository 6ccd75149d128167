"""Workers that others start and watch over: dask's, MPI's, Slurm's. Each needs an extra of its own."""

import contextlib
import importlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments._crews import Crew, Unavailable

SECONDS = 1.0  # between two looks at the jobs
MINUTES = 240  # that a job may take; submitit's own default is 5
WIDTH = 1000  # jobs of an array; Slurm's own default is at most 1001
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
    with client:
        executor = client.get_executor(pure=False)
        try:
            yield Crew(executor, lost=(distributed.scheduler.KilledWorker,), attempts=1, remote=True)
        finally:
            executor.shutdown(wait=False)


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
    submitit = needed("slurm")
    values = {name: int(value) if value.isdecimal() else value for name, _, value in named(settings)}
    try:
        executor = Slurm(submitit, folder / "slurm", values)
    except (RuntimeError, ValueError, NameError, TypeError) as error:
        raise Unavailable(
            f"slurm cannot be used with {settings or 'no settings'}: {' '.join(str(error).split())}"
        ) from error
    with left(Crew(executor, remote=True)) as found:
        yield found


def named(text: str) -> list[tuple[str, str, str]]:
    return [item.partition("=") for item in text.split(",")] if text else []


@contextlib.contextmanager
def left(crew: Crew) -> Iterator[Crew]:
    try:
        yield crew
    finally:
        crew.executor.shutdown()


class Slurm(Executor):
    """Jobs of a cluster.

    Args:
        submitit: the module.
        folder: where jobs, results and logs go, on a disk that the cluster's machines share.
        settings: the parameters of `submitit.AutoExecutor`, and `cluster`: "slurm" (default), or "local" for processes here.

    Raises:
        RuntimeError, ValueError, NameError, TypeError: there is no such cluster or parameter.
    """

    def __init__(self, submitit: ModuleType, folder: Path, settings: dict[str, Any]) -> None:
        self._submitit = submitit
        self._cluster = submitit.AutoExecutor(folder=folder.absolute(), cluster=settings.pop("cluster", "slurm"))
        self._cluster.update_parameters(**{"timeout_min": MINUTES, "name": "theory_lab", **settings})
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._asked: list[tuple[Future[Any], Callable[..., Any], Any, Any]] = []
        self._jobs: dict[Future[Any], Any] = {}
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            self._asked.append((future, fn, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Jobs that are not done are cancelled."""
        self._closed.set()
        self._watcher.join()
        for job in self._jobs.values():
            job.cancel(check=False)

    def _watch(self) -> None:
        while not self._closed.wait(SECONDS):
            try:
                self._hand_out()
                self._collect()
            except Exception as error:  # the cluster's own; whoever waits must hear of it
                lost, self._jobs = self._jobs, {}
                for future, job in lost.items():
                    job.cancel(check=False)
                    future.set_exception(error)

    def _hand_out(self) -> None:
        with self._lock:
            asked, self._asked = self._asked[:WIDTH], self._asked[WIDTH:]
            asked = [one for one in asked if one[0].set_running_or_notify_cancel()]
        if not asked:
            return
        try:
            with self._cluster.batch():
                jobs = [self._cluster.submit(fn, *args, **kwargs) for _, fn, args, kwargs in asked]
        except Exception as error:
            for future, *_ in asked:
                future.set_exception(error)
            return
        self._jobs.update(zip((future for future, *_ in asked), jobs, strict=True))

    def _collect(self) -> None:
        for future, job in list(self._jobs.items()):
            if not job.done():
                continue
            error = job.exception()
            result = job.result() if error is None else None
            del self._jobs[future]
            if error is None:
                future.set_result(result)
            elif isinstance(error, self._submitit.core.utils.FailedJobError):
                future.set_exception(error)
            else:  # no result: killed, or past its time
                future.set_exception(BrokenExecutor(f"job {job.job_id} left no result, see {job.paths.stderr}"))
