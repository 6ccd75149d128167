"""A run's checkpoints on disk: written at every look, read where a run that was killed goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from theory_lab import _checks, devices
from theory_lab._typing import Params
from theory_lab.finetune import kept
from theory_lab.finetune.methods import Method
from theory_lab.finetune.state import State, moving

RECORDED = ("losses", "rows", "tokens", "seconds", "best_step", "diverged_at")


@dataclass(frozen=True)
class Checkpoints:
    """Two files in a folder, each written whole or not at all: where the run stands, and the best parameters.

    Attributes:
        folder: where they lie.
        run: the arguments of the run in JSON values, by which another run is told apart.
        method: says which blocks move; only those are written.
    """

    folder: Path
    run: Mapping[str, Any]
    method: Method

    def save(self, state: State, *, better: bool) -> None:
        """Where the run stands; before it, if they are new, the best parameters: killed in between, they are found again."""
        params = moving(self.method, state.params)
        if better:
            kept.save(self.folder / kept.BEST, {"best": params}, {"step": state.best_step})
        record = {"run": self.run, **{name: getattr(state, name) for name in RECORDED}}
        kept.save(self.folder / kept.CHECKPOINT, {"params": params, "optimizer": state.optimizer}, record)

    def resumed(self, begin: State) -> State:
        """Where the run stands: at its checkpoint, or at its beginning.

        Raises:
            ValueError: a checkpoint of another run, or a file that is damaged.
        """
        kept.sweep(self.folder)
        record = recorded(self.folder, self.run)
        if record is None:
            return begin
        path, best = self.folder / kept.CHECKPOINT, self.folder / kept.BEST
        kept.check(best)
        if (step := kept.record_of(best).get("step", -1)) < record["best_step"]:
            rule = f"the parameters of step {record['best_step']} or later, as {path.name} says"
            raise _checks.refuse(f"file {str(best)!r}", rule, f"those of step {step}")
        there = moving(self.method, begin.params)
        params = devices.put_like(kept.load(path, "params", there), there)
        optimizer = devices.put_like(kept.load(path, "optimizer", begin.optimizer), begin.optimizer)
        given: dict[str, Any] = {
            name: tuple(record[name]) if isinstance(record[name], list) else record[name] for name in RECORDED
        }
        return replace(begin, params={**begin.params, **params}, optimizer=optimizer, **given)

    def best(self, like: Params) -> Params:
        """The best parameters, the moving blocks as NumPy arrays."""
        return kept.load(self.folder / kept.BEST, "best", moving(self.method, like))


def refuse_damaged(folder: Path) -> None:
    """Read the checkpoint in a folder and the best parameters beside it, if there is one, and see that neither is damaged.

    Raises:
        ValueError: one is, or is not there.
    """
    if (path := folder / kept.CHECKPOINT).exists():
        kept.record_of(path)
        kept.check(path)
        kept.check(folder / kept.BEST)


def recorded(folder: Path, run: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of the checkpoint in a folder, of this run; None where there is none.

    Raises:
        ValueError: it is of another run, or damaged.
    """
    path = folder / kept.CHECKPOINT
    if not path.exists():
        return None
    record = kept.record_of(path)
    if "run" not in record:
        raise _checks.refuse(f"file {str(path)!r}", "the checkpoint of a run of train", "another one")
    for name, value in run.items():
        was = record["run"].get(name)
        if was != value:
            raise _checks.refuse(name, f"{was!r}, as in the run that {str(folder)!r} keeps", value)
    return record
