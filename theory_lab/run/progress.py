"""The progress bar: tqdm's where it is installed, and nothing, silently, where it is not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def bar(wanted: bool, total: int, unit: str) -> Iterator[Any]:
    """A bar of so many units while inside, with ``update(how_many)``; None if none is wanted or tqdm is not installed."""
    if not wanted:  # not even imported then: in a notebook without ipywidgets tqdm.auto warns
        yield None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        yield None
        return
    with tqdm(total=total, unit=unit, leave=False) as shown:
        yield shown
