"""Cells on dask's workers as an executor.

dask's own (`Client.get_executor`) is not used: a value that is given up, by us or by the scheduler, just while it is fetched
ends there in a traceback in the log and in a future that never is done.
"""

import concurrent.futures
import contextlib
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from typing import Any


class Dask(Executor):
    """What the workers of a scheduler compute.

    Args:
        client: a `distributed.Client`, connected, which is not asynchronous.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._open: dict[Future[Any], Any] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand one call out.

        Raises:
            Exception: from the future: what the call raised, dask's `KilledWorker`, or `CancelledError` where the scheduler
                has given the call up.
        """
        theirs, ours = self._client.submit(fn, *args, pure=False, **kwargs), Future[Any]()
        self._open[ours] = theirs
        self._client.loop.add_callback(self._follow, theirs, ours)
        return ours

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """With `cancel_futures` dask is told to give up what is not done, even what `Future.cancel` has let go of here."""
        following = dict(self._open)
        if cancel_futures and self._client.status == "running":
            with contextlib.suppress(OSError):  # the scheduler is gone, and they with it
                self._client.cancel(list(following.values()))
        if wait:
            concurrent.futures.wait(following)

    async def _follow(self, theirs: Any, ours: Future[Any]) -> None:
        try:
            value, error = await self._outcome(theirs)
        except Exception as failure:
            gone = isinstance(failure, OSError) or self._client.status != "running"
            value, error = None, CancelledError() if gone else failure
        if ours.set_running_or_notify_cancel():
            if error is None:
                ours.set_result(value)
            else:
                ours.set_exception(error)
        del self._open[ours]

    async def _outcome(self, theirs: Any) -> tuple[Any, BaseException | None]:
        """The value or the error of the call; what is raised is an error of fetching it."""
        error = await theirs.exception(asynchronous=True)
        if error is None and not theirs.cancelled():
            for value in await self._client.gather([theirs], errors="skip", asynchronous=True):
                return value, None
            error = await theirs.exception(asynchronous=True)  # the value was lost meanwhile, and with it a worker too many
        return None, error or CancelledError()
