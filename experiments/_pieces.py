"""The computing of cells, wherever they are computed.

A cell is handed out with all that another process, here or elsewhere, needs to compute it, and with what that process must
have in common with the run. It comes back as rows or as the text of what went wrong, and lies in the results' folder once
it is finished: written there by the worker, or, where the worker does not see the folder, by the run.
"""

import json
import platform
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from experiments import _cells
from experiments._cells import Places
from experiments._crews import Crew, Lost, each
from theory_lab.run.store import Cell, Store, Unwritable, computed, write

DEVICES = ".devices"  # in a folder of cells: those of workers elsewhere that have computed some of them


@dataclass(frozen=True)
class Piece:
    """One cell of one experiment, with all that another process, here or elsewhere, needs to compute it.

    Attributes:
        folder, identity: the results' folder, absolute, and what `Store.identity` says of it.
        code, commit: what the worker must have too, and its name.
    """

    package: str
    experiment: str
    cell: dict[str, Any]
    seed: int
    folder: str
    identity: str
    places: Places
    code: dict[str, Any]
    commit: str


@dataclass(frozen=True)
class Done:
    """A finished cell, what determines it, and whether it lies in the folder of the run already."""

    cell: Cell
    determinants: dict[str, Any]
    kept: bool


@dataclass(frozen=True)
class Failed:
    """A cell that did not come out, in texts alone, which every process can read whatever was raised.

    Attributes:
        cell: the cell as JSON values.
        error: one line.
        trace: the traceback, and where it was raised.
        ends: "stranger" or "unwritable" if the run ends with it, "" if the other cells go on.
    """

    cell: dict[str, Any]
    error: str
    trace: str
    ends: str = ""


class Stranger(Exception):
    """A worker that does not have the code or the data of the run."""


class Unfinished(Exception):
    """Some cells did not come out; the others are kept.

    Attributes:
        details: each such cell with its traceback.
    """

    def __init__(self, failed: list[Failed], total: int) -> None:
        first = failed[0]
        others = f"; {len(failed) - 1} others likewise" if len(failed) > 1 else ""
        super().__init__(f"{len(failed)} of {total} cells: {first.error}, in cell {json.dumps(first.cell)}{others}")
        self.details = "\n".join(f"cell {json.dumps(one.cell)}: {one.error}\n{one.trace}" for one in failed)


def pieces(
    package: str, experiment: str, cells: Iterable[dict[str, Any]], seed: int, store: Store, places: Places
) -> list[Piece]:
    """The cells of an experiment, ready to be handed out."""
    code, commit = _cells.code(package, experiment, places), _cells.commit(package)
    place = (str(store.folder.absolute()), store.identity())
    return [Piece(package, experiment, cell, seed, *place, places, code, commit) for cell in cells]


def settled(pieces: list[Piece], crew: Crew, progress: Callable[[Iterator[Done], int], Iterable[Done]]) -> list[Done]:
    """All pieces finished, in their order, whatever the order in which they came.

    Raises:
        Unfinished: some did not come out, after all the others did.
        Stranger, Unwritable: at the first cell that says so.
        RuntimeError: the workers cannot take cells at all.
    """
    found: dict[int, Done] = {}
    if crew.remote and pieces:
        others = _devices(pieces[0])
        here = ((number, kept(piece, others)) for number, piece in enumerate(pieces))
        found = {number: done for number, done in here if done is not None}
    out = [number for number in range(len(pieces)) if number not in found]
    failed: dict[int, Failed] = {}

    def come() -> Iterator[Done]:
        yield from found.copy().values()
        for place, result in _handed_out(crew, [pieces[number] for number in out]):
            number = out[place]
            if isinstance(result, Failed):
                failed[number] = result
                continue
            if not result.kept:
                Store(pieces[number].folder).keep(result.determinants, result.cell)
            found[number] = result
            yield result

    for _ in progress(come(), len(pieces)):
        pass
    _remember_devices(pieces, found.values())
    if failed:
        raise Unfinished([failed[number] for number in sorted(failed)], len(pieces))
    return [found[number] for number in range(len(pieces))]


def _handed_out(crew: Crew, pieces: list[Piece]) -> Iterator[tuple[int, Done | Failed]]:
    results = each(crew, finish, pieces)
    while True:
        try:
            number, result = next(results)
        except StopIteration:
            return
        except OSError:
            raise
        except Exception as error:  # `finish` raises nothing
            causes: list[BaseException] = [error]
            while (cause := causes[-1].__cause__) is not None and len(causes) < 9:
                causes.append(cause)
            why = ", because of ".join(f"{type(one).__name__}: {' '.join(str(one).split())}" for one in causes)
            raise RuntimeError(
                f"the workers cannot take cells: {why} (they, and dask's scheduler, need the theory_lab and the experiments "
                "of this run, importable: start them in the repository, with PYTHONPATH=.)"
            ) from error
        if isinstance(result, Lost):
            result = Failed(pieces[number].cell, str(result), "")
        if isinstance(result, Failed) and result.ends:
            raise {"stranger": Stranger, "unwritable": Unwritable}[result.ends](result.error)
        yield number, result


def finish(piece: Piece) -> Done | Failed:
    """The finished cell, from disk or computed now; runs in this process or in a worker, one cell at a time.

    Whatever goes wrong comes back as a text: an exception of a cell need not survive the way between processes.
    """
    with _TURN:
        jax.config.update("jax_enable_x64", True)
        _forget_other_programs(piece.experiment)
        try:
            return _finished(piece)
        except (Exception, SystemExit) as error:
            ends = "stranger" if isinstance(error, Stranger) else "unwritable" if isinstance(error, Unwritable) else ""
            line = str(error) if ends else f"{type(error).__name__}: {' '.join(str(error).split())}"
            return Failed(piece.cell, line, f"on {platform.node()}\n{traceback.format_exc()}", ends)


def kept(piece: Piece, others: Iterable[Any] = ()) -> Done | None:
    """The cell if it lies on disk, computed on a device like this process's or on one of these others."""
    mine = _determinants(piece)
    for determinants in (mine, *({**mine, "device": other} for other in others)):
        cell = Store(piece.folder).find(determinants)
        if cell is not None:
            return Done(cell, determinants, kept=True)
    return None


def _devices(piece: Piece) -> list[Any]:
    """Of workers that have computed cells of this folder, on whatever machine; a run that resumes finds theirs again."""
    try:
        found = json.loads((Store(piece.folder).cells / DEVICES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


def _remember_devices(pieces: list[Piece], done: Iterable[Done]) -> None:
    if not pieces:
        return
    known, here = _devices(pieces[0]), _determinants(pieces[0])["device"]
    new = [one.determinants["device"] for one in done if one.determinants["device"] not in [here, *known]]
    if new:
        distinct = [device for number, device in enumerate(new) if device not in new[:number]]
        write(Store(pieces[0].folder).cells / DEVICES, json.dumps([*known, *distinct]))


def _finished(piece: Piece) -> Done:
    _agree(piece)
    compute = _cells.load(piece.package, piece.experiment).compute
    determinants, store = _determinants(piece), Store(piece.folder)
    key = _key(piece)
    if store.read_identity() != piece.identity:  # another machine, which does not see the folder: whoever asked will keep it
        return Done(computed(lambda: compute(piece.cell, key)), determinants, kept=False)
    return Done(store.fetch(determinants, lambda: compute(piece.cell, key)), determinants, kept=True)


def _determinants(piece: Piece) -> dict[str, Any]:
    key = _key(piece)
    return {
        "experiment": piece.experiment,
        "cell": _cells.placeless(piece.cell, piece.places),
        "key": jax.random.key_data(key).tolist(),
        "prng": str(jax.random.key_impl(key)),
        **_cells.circumstances(piece.package, piece.experiment, piece.places),
    }


def _key(piece: Piece) -> jax.Array:
    cell = _cells.placeless(piece.cell, piece.places)
    return _cells.cell_key(piece.seed, piece.experiment, _cells.alike(piece.package, piece.experiment, cell))


def _agree(piece: Piece) -> None:
    """See that this process has what the run has.

    Raises:
        Stranger: it has other code, other versions or other files of the user; the message names both.
    """
    host = platform.node()
    for _, place in piece.places:
        if not Path(place).exists():
            raise Stranger(f"worker on {host} must see the files of the run, cannot read {place}")
    try:
        mine = _cells.code(piece.package, piece.experiment, piece.places)
    except OSError as error:
        raise Stranger(f"worker on {host} must see the files of the run, cannot read {error.filename}") from error
    if mine == piece.code:
        return
    was, now = piece.code["versions"], mine["versions"]
    what = [name for name in piece.code if mine[name] != piece.code[name] and name != "versions"]
    what += [f"{name} {now.get(name)}, not {was[name]}" for name in was if now.get(name) != was[name]]
    raise Stranger(
        f"worker on {host} must have the code and data of the run, theory_lab {was['theory_lab']} at commit {piece.commit}, "
        f"got theory_lab {now['theory_lab']} at commit {_cells.commit(piece.package)}; different: {'; '.join(what)} "
        "(a worker keeps the code that it started with: bring it up to date, then restart it)"
    )


def _forget_other_programs(experiment: str) -> None:
    """Another experiment has other compiled programs; all of them together would fill a worker's memory."""
    if _last and _last[0] != experiment:
        jax.clear_caches()
    _last[:] = [experiment]


_TURN = threading.Lock()  # workers of several threads would mix their cells' times, and XLA uses all cores anyway
_last: list[str] = []
