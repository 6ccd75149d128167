"""Wall time, with the compiling kept apart from the running."""

import time
from types import TracebackType
from typing import Any

import jax.monitoring


class Stopwatch:
    """Seconds spent inside a `with` block: JAX tracing, lowering and compiling, and everything else.

    JAX announces the end and the duration of each step of a compilation. The steps nest (a function traced inside another),
    so it is the union of their time spans that counts, not the sum of their durations.

    Attributes:
        compile: seconds of tracing, lowering and compiling.
        run: the other seconds.

    Example:
        >>> import jax
        >>> with Stopwatch() as watch:
        ...     _ = jax.jit(lambda x: x + 1)(1.0)
        >>> 0 < watch.compile and 0 < watch.run
        True
    """

    compile: float = 0.0
    run: float = 0.0

    def __enter__(self) -> "Stopwatch":
        self._spans: list[tuple[float, float]] = []
        jax.monitoring.register_event_duration_secs_listener(self._heard)
        self._start = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        total = time.perf_counter() - self._start
        jax.monitoring.unregister_event_duration_listener(self._heard)
        self.compile = covered(self._spans)
        self.run = max(total - self.compile, 0.0)

    def _heard(self, event: str, duration_secs: float, **_: Any) -> None:
        if event.startswith("/jax/core/compile/"):
            end = time.perf_counter()
            self._spans.append((max(end - duration_secs, self._start), end))


def covered(spans: list[tuple[float, float]]) -> float:
    """The length of the union of intervals.

    Example:
        >>> covered([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0)])
        4.0
    """
    length, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        length += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return length
