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
            ValueError: a checkpoint of another run, or one that is damaged.
        """
        kept.sweep(self.folder)
        path = self.folder / kept.CHECKPOINT
        if not path.exists():
            return begin
        record = kept.record_of(path)
        for name, value in self.run.items():
            if record["run"].get(name) != value:
                raise _checks.refuse(f"{name} of the run in {str(self.folder)!r}", f"{value!r}, as now",
                                     record["run"].get(name))  # fmt: skip
        there = moving(self.method, begin.params)
        params = devices.put_like(kept.load(path, "params", there), there)
        optimizer = devices.put_like(kept.load(path, "optimizer", begin.optimizer), begin.optimizer)
        recorded: dict[str, Any] = {
            name: tuple(record[name]) if isinstance(record[name], list) else record[name] for name in RECORDED
        }
        return replace(begin, params={**begin.params, **params}, optimizer=optimizer, **recorded)

    def best(self, like: Params) -> Params:
        """The best parameters, the moving blocks as NumPy arrays."""
        return kept.load(self.folder / kept.BEST, "best", moving(self.method, like))
