"""What `--executor SPEC` may be."""

import contextlib
import pkgutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path

from experiments import _clusters
from experiments._crews import HERE, Crew, Unavailable, processes
from theory_lab import _checks

MOST = 1024  # processes that a SPEC may ask for
RULE = (
    "serial, process:N, experiments:N, dask:ADDRESS, slurm or slurm:NAME=VALUE,..., mpi or mpi:N (N from 1 to 1024), "
    "or the MODULE:FACTORY of another executor"
)


def check(spec: str) -> None:
    """See that a SPEC is one, and that what it needs is installed.

    Raises:
        ValueError: it is not, or something is not installed; the message names the extra.
    """
    kind, rest = parsed(spec)
    if kind in _clusters.EXTRAS:
        _clusters.needed(kind)
    elif kind == "factory":
        _factory(rest)


def parsed(spec: str) -> tuple[str, str]:
    """The kind of a SPEC and the rest of it.

    Raises:
        ValueError: it is none.
    """
    kind, colon, rest = spec.partition(":")
    if kind in ("process", "experiments", "mpi") and colon:
        good = rest.isdecimal() and len(rest) < 9 and 0 < int(rest) <= MOST
    elif kind in ("serial", "mpi", "slurm") and not colon:
        good = True
    elif kind in ("process", "experiments", "serial", "dask"):
        good = kind == "dask" and bool(rest)
    elif kind == "slurm":
        given = _clusters.named(rest)
        good = all(name.isidentifier() and equals and value for name, equals, value in given)
        good = good and bool(given) and len({name for name, _, _ in given}) == len(given)
    else:
        good, kind, rest = bool(colon and kind and rest), "factory", spec
    if not good:
        raise _checks.refuse("executor", f"one of {RULE}", spec)
    return kind, rest


def experiments_at_once(spec: str) -> int:
    """How many experiments a SPEC asks for at once, each in a process of its own; 0 for one after the other."""
    kind, count = parsed(spec)
    return int(count) if kind == "experiments" else 0


@contextlib.contextmanager
def crew(spec: str, folder: Path) -> Iterator[Crew]:
    """The workers that a SPEC names, until the block is left; then none of them computes any more.

    Args:
        spec: as `check` accepts it.
        folder: where files may be left that have to do with handing out.

    Raises:
        Unavailable: they cannot be had: nobody answers at that address, this is no such cluster.
    """
    kind, rest = parsed(spec)
    if kind in ("process", "experiments"):
        opened: contextlib.AbstractContextManager[Crew] = processes(int(rest))
    elif kind == "serial":
        opened = contextlib.nullcontext(HERE)
    elif kind == "factory":
        opened = _clusters.left(Crew(_made(rest), remote=True))
    else:
        opened = {"dask": _clusters.dask, "mpi": _clusters.mpi, "slurm": _clusters.slurm}[kind](rest, folder)
    with opened as found:
        yield found


def _made(name: str) -> Executor:
    try:
        executor = _factory(name)()
    except Exception as error:
        raise Unavailable(f"executor {name} cannot be made: {type(error).__name__}: {error}") from error
    if not isinstance(executor, Executor):
        raise Unavailable(f"executor {name} must make a concurrent.futures.Executor, got {executor!r}")
    return executor


def _factory(name: str) -> Callable[[], Executor]:
    try:
        made = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError):
        made = None
    if not callable(made):
        raise _checks.refuse("executor", f"one of {RULE}", name)
    return made
