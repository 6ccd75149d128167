"""Executors and their workers: handing out items, and what becomes of an item whose worker is lost.

Every `concurrent.futures.Executor` will do. What differs between them is said by `Crew`.
"""

import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass
from typing import Any


class Unavailable(OSError):
    """An executor cannot be had; its message is one line for the user."""


class OutOfTime(BrokenExecutor):
    """A worker was given too little time for its item; the next would be, too."""


@dataclass(frozen=True)
class Crew:
    """An executor, and what is to be known of its workers.

    Attributes:
        executor: any; it need not come from here.
        lost: the errors that say that the worker is gone, whatever it was computing.
        attempts: how often a cell is handed out, each time to a worker that is then lost, before it is given up.
        window: how many cells are handed out at a time; all of them by default.
        remote: whether handing out costs so much that cells that lie here finished are not handed out.
    """

    executor: Executor
    lost: tuple[type[BaseException], ...] = (BrokenExecutor,)
    attempts: int = 3
    window: int | None = None
    remote: bool = False


def each(crew: Crew, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """What a function makes of every item, with the item's number, as they come; `Lost` where no worker survived it.

    Raises:
        Exception: what the function or the executor raised, otherwise than by losing a worker.
    """
    waiting, tried = list(range(len(items)))[::-1], [0] * len(items)
    running: dict[Future[Any], int] = {}
    try:
        while waiting or running:
            while waiting and (crew.window is None or len(running) < crew.window):
                number = waiting.pop()
                tried[number] += 1
                running[crew.executor.submit(function, items[number])] = number
            for future in concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED).done:
                number = running.pop(future)
                try:
                    yield number, future.result()
                except concurrent.futures.CancelledError:
                    raise Unavailable("the executor has given its cells up: its scheduler is gone, or ended them") from None
                except crew.lost as error:
                    if tried[number] < crew.attempts and not isinstance(error, OutOfTime):
                        waiting.append(number)
                    else:
                        yield number, Lost(tried[number], " ".join(str(error).split()))
    finally:
        for future in running:
            future.cancel()


@dataclass(frozen=True)
class Lost:
    """An item that took every worker along: how often it was tried, and what was heard last."""

    times: int
    why: str

    def __str__(self) -> str:
        times = "once" if self.times == 1 else f"{self.times} times"
        return f"its worker was lost {times} (killed, out of memory, or cut off): {self.why}"


class Serial(Executor):
    """Computes in this process, as it is asked."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


HERE = Crew(Serial(), window=1)


class Processes(Executor):
    """Processes on this machine, of which each can be lost alone: a pool of one for each of so many threads."""

    def __init__(self, count: int) -> None:
        self._threads = concurrent.futures.ThreadPoolExecutor(count)
        self._mine, self._pools = threading.local(), list[concurrent.futures.ProcessPoolExecutor]()
        self._context = multiprocessing.get_context("spawn")
        self._stay, self._leash = self._context.Pipe(duplex=False)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._threads.submit(self._in_process, fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """With `cancel_futures` the workers leave at once, whatever they are doing: a cell is kept whole or not at all."""
        if cancel_futures:
            self._leash.close()
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        for pool in self._pools:
            pool.shutdown(wait)

    def _in_process(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._leash.closed:
            raise concurrent.futures.CancelledError
        if not hasattr(self._mine, "pool"):
            self._mine.pool = concurrent.futures.ProcessPoolExecutor(
                1, mp_context=self._context, initializer=_become_worker, initargs=(self._stay,)
            )
            self._pools.append(self._mine.pool)
        try:
            return self._mine.pool.submit(fn, *args, **kwargs).result()
        except BrokenExecutor:
            del self._mine.pool
            raise


def _become_worker(stay: multiprocessing.connection.Connection) -> None:
    """Leave at once and in silence on Ctrl-C, when told to, and when the process that asked for the work is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_leave_after, args=([parent.sentinel, stay],), daemon=True).start()


def _leave_after(ends: list[Any]) -> None:
    multiprocessing.connection.wait(ends)
    os._exit(1)


@contextlib.contextmanager
def processes(count: int) -> Iterator[Crew]:
    """So many processes on this machine."""
    executor = Processes(count)
    try:
        yield Crew(executor)
    except BaseException:
        executor.shutdown(cancel_futures=True)
        raise
    executor.shutdown()
