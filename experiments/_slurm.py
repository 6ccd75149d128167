"""Jobs of a Slurm cluster as an executor. submitit makes and reads them; whether one is lost, Slurm's queue says.

submitit would ask Slurm's accounting, which not every cluster has, and it takes the signals of a job for its own ends: it
outlives a cancelled job until it is killed, and raises in the midst of a cell. Neither is done here.
"""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments._crews import OutOfTime, Unavailable
from theory_lab import _checks

SECONDS = 1.0  # between two looks for results
QUEUE = 15.0  # between two looks at Slurm's queue; a result may come so much later than the end of its job
MINUTES = 240  # that a job may take; submitit's own default is 5
WIDTH = 1000  # jobs of an array; Slurm's own default is at most 1001
REFUSALS = 20  # by Slurm, one after the other, of what it took before: it may be about to start again

# Of submitit's parameters those that every cluster has; another is Slurm's own, by its name there.
SHARED = ("name", "timeout_min", "mem_gb", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node", "stderr_to_stdout")
ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"}
OF_A_JOB = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_")  # variables that the jobs of a job must not inherit
OF_ALL = {"SLURM_CONF", "SLURM_JWT", "SUBMITIT_LOG_LEVEL"}


def value(text: str) -> Any:
    """A setting from its text: a whole number, a number, a truth or a text; an account 007 is a text.

    Example:
        >>> [value(text) for text in ("60", "1.5", "true", "007", "gpu:1")]
        [60, 1.5, True, '007', 'gpu:1']
    """
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            if str(kind(text)) == text:
                return kind(text)
    return text


class Slurm(Executor):
    """Jobs of a cluster, as many at a time as were asked for in an array.

    Args:
        submitit: the module.
        folder: where jobs, results and logs go, on a disk that the cluster's machines share. What is left there of this
            executor vanishes with it, unless jobs were lost: then their logs stay.
        settings: the parameters of `submitit.AutoExecutor`, Slurm's own with or without "slurm_" before them, and `cluster`:
            "slurm" (default), or "local" for processes here.

    Raises:
        RuntimeError, ValueError, NameError, TypeError, AssertionError: there is no such cluster or parameter, or a job would
            be of several tasks.
    """

    def __init__(self, submitit: ModuleType, folder: Path, settings: dict[str, Any]) -> None:
        self._submitit, self._folder = submitit, folder.absolute() / uuid.uuid4().hex
        cluster = settings.pop("cluster", "slurm")
        given: dict[str, Any] = {"timeout_min": MINUTES, "name": "theory_lab", "slurm_signal_delay_s": 0}
        for name, setting in settings.items():
            plain = name.removeprefix("slurm_").removeprefix("local_")
            if plain in ("nodes", "tasks_per_node", "ntasks_per_node") and setting != 1:
                raise _checks.refuse(name, "1: a cell is one task", setting)
            given[name if name in SHARED or name != plain else f"{cluster}_{name}"] = setting
        self._cluster = submitit.AutoExecutor(folder=self._folder, cluster=cluster)
        self._cluster.update_parameters(**given)
        self._queued = cluster == "slurm"
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._asked: list[tuple[Future[Any], Callable[..., Any], Any, Any]] = []
        self._jobs: dict[Future[Any], Any] = {}
        self._absent: dict[str, str] = {}  # jobs that had ended at the last look and left nothing, with how they had
        self._looked, self._patient, self._refused = 0.0, 0.0, 0
        self._took, self._lost = False, False
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self._closed.is_set():
            raise RuntimeError("jobs cannot be handed out after shutdown")
        future: Future[Any] = Future()
        with self._lock:
            self._asked.append((future, fn, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Jobs that are not done are cancelled."""
        self._closed.set()
        self._watcher.join()
        self._cancel()
        for future, *_ in self._asked:
            if not future.cancel():  # it was handed out once, and put back
                future.set_exception(BrokenExecutor("shut down before Slurm took the job"))
        if not self._lost:
            shutil.rmtree(self._folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                self._folder.parent.rmdir()  # unless others use it

    def _watch(self) -> None:
        while not self._closed.wait(SECONDS):
            try:
                self._hand_out()
                self._collect()
            except Exception as error:  # the cluster's own; whoever waits must hear of it
                self._cancel()
                lost, self._jobs = self._jobs, {}
                for future in lost:
                    future.set_exception(error)

    def _cancel(self) -> None:
        jobs = list(self._jobs.values())
        if self._queued and jobs:
            _asked("scancel", *(job.job_id for job in jobs))
        for job in [] if self._queued else jobs:
            job.cancel(check=False)

    def _hand_out(self) -> None:
        if time.monotonic() < self._patient:
            return
        with self._lock:
            asked, self._asked = self._asked[:WIDTH], self._asked[WIDTH:]
            asked = [one for one in asked if one[0].running() or one[0].set_running_or_notify_cancel()]
        if not asked:
            return
        try:
            with _outside_of_jobs(), contextlib.redirect_stderr(io.StringIO()), self._cluster.batch():
                jobs = [self._cluster.submit(in_job, fn, *args, **kwargs) for _, fn, args, kwargs in asked]
        except Exception as error:
            self._refused += 1
            if self._took and self._refused < REFUSALS:
                self._patient = time.monotonic() + QUEUE
                with self._lock:
                    self._asked = asked + self._asked
                return
            for future, *_ in asked:
                future.set_exception(Unavailable(f"slurm takes no job: {' '.join(str(error).split())}"))
            return
        self._refused, self._took = 0, True
        self._jobs.update(zip((future for future, *_ in asked), jobs, strict=True))

    def _collect(self) -> None:
        with contextlib.suppress(OSError):  # a network file system may show an old listing of a folder that does not change
            self._folder.chmod(self._folder.stat().st_mode)
        lost = self._gone()
        for future, job in list(self._jobs.items()):
            if job.paths.result_pickle.exists() if self._queued else job.done():
                del self._jobs[future]
                try:
                    error = job.exception()
                    result = job.result() if error is None else None
                except Exception as unread:  # a result that cannot be read is one that is lost
                    self._lost = True
                    future.set_exception(BrokenExecutor(f"job {job.job_id} left a result that cannot be read: {unread}"))
                    continue
                if error is None:
                    future.set_result(result)
                elif isinstance(error, self._submitit.core.utils.FailedJobError):
                    future.set_exception(error)
                else:
                    future.set_exception(self._end(job, ""))
            elif job.job_id in lost:
                del self._jobs[future]
                future.set_exception(self._end(job, lost[job.job_id]))

    def _gone(self) -> dict[str, str]:
        """Jobs that had ended at two looks at the queue and left no result before the second, with how they ended."""
        if not self._queued or not self._jobs or time.monotonic() < self._looked + QUEUE:
            return {}
        self._looked = time.monotonic()
        states = queue()
        if states is None:
            return {}
        ids = [job.job_id for job in self._jobs.values()]
        absent = {name: states.get(name, "") for name in ids if states.get(name, "FAILED") in ENDED}
        found, self._absent = {name: state for name, state in absent.items() if name in self._absent}, absent
        return found

    def _end(self, job: Any, state: str) -> BrokenExecutor:
        self._lost = True
        if state in ("TIMEOUT", "DEADLINE"):
            return OutOfTime(f"job {job.job_id} ran out of its time; slurm:timeout_min=MINUTES gives it more")
        log = job.paths.stderr
        where = f"see {log}" if log.exists() else f"nor a log in {log.parent}, which the machines of the cluster must see"
        return BrokenExecutor(f"job {job.job_id} left no result{state and f' ({state})'}, {where}")


def in_job(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Compute, and die of the signals that Slurm sends before it kills: a cell is kept whole or not at all."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # an early warning that the time is over
    return fn(*args, **kwargs)


def queue() -> dict[str, str] | None:
    """The states of this user's jobs, also of those that have ended of late, as far as Slurm knows; None if it is silent."""
    answer = _asked("squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i %T")
    if answer is None:
        return None
    return {job: state for job, state in map(str.split, answer.splitlines())}


def _asked(*command: str) -> str | None:
    """What a command of Slurm answers, None if it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None


@contextlib.contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Without the variables of the job in which this process may run, which are not those of the jobs that it makes."""
    mine = {name: text for name, text in os.environ.items() if name.startswith(OF_A_JOB) and name not in OF_ALL}
    for name in mine:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(mine)
