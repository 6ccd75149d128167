"""A program for four devices: `python -m tests.many.four FILE` writes what they found."""

import json
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax

from tests.many import work
from theory_lab import devices, finetune
from theory_lab.finetune.__main__ import main as command
from theory_lab.run import loop

STEPPED = {
    "ZO-FT": [(1, "data"), (2, "full"), (4, "full")],
    "FO-FT": [(1, "data"), (4, "full")],
    "Hybrid-PEFT": [(1, "data"), (2, "data"), (4, "full")],
}


def main(file: str) -> None:
    jax.config.update("jax_enable_x64", True)
    assert len(jax.devices()) == 4
    work.cut_the_head()
    found: dict[str, Any] = {
        "steps": {kind: {way: work.stepped(kind, *way) for way in ways} for kind, ways in STEPPED.items()}
    }
    found["pieces"] = {count: work.pieces(count) for count in (1, 4)}
    found["curved"] = {count: work.curved(count) for count in (1, 4)}
    found["sweeps"] = {count: _counted(count) for count in (None, 2, 4)}
    found["single steps"] = {count: work.swept(count, 8, resolution="step").value for count in (None, 4)}
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder, "run")
        found["trained"] = {
            "one": work.trained(None), "full": work.trained(4, "full", folder=where),
            "again": work.trained(4, "full", folder=where),
        }  # fmt: skip
        found["trained"] = {name: _fetched(done) for name, done in found["trained"].items()}
        found["refused"] = {
            "folder": _refusal(lambda: work.trained(2, "full", folder=where)),
            "batch": _refusal(lambda: work.trained(4, batch_size=3)),
            "split": _refusal(lambda: devices.split(jax.numpy.ones((6, 2)), devices.mesh(4), "texts")),
            "too many": _refusal(lambda: devices.mesh(5)),
            "trajectories": _refusal(lambda: work.swept(4, 1, step_sizes={"x": [0.1], "y": [0.1]})),
        }  # fmt: skip
        found["command"] = _commanded(Path(folder, "out"))
    Path(file).write_bytes(pickle.dumps(found))


def _counted(count: int | None) -> tuple[Any, int]:
    before = loop.simulate._cache_size()
    trace = work.swept(count)
    work.swept(count)
    return trace, loop.simulate._cache_size() - before


def _fetched(done: finetune.Trained) -> dict[str, Any]:
    split = [str(leaf.sharding.spec) for leaf in jax.tree.leaves(done.params["base"]) if hasattr(leaf.sharding, "spec")]
    return {"params": devices.fetch(done.params), "best": done.best, "losses": done.losses, "history": done.history,
            "specs": split}  # fmt: skip


def _commanded(out: Path) -> list[dict[str, Any]]:
    """What the command line writes, on one device and on four."""
    told = [
        "--model",
        "random-opt",
        "--task",
        "entailment",
        "--train",
        "8",
        "--dev",
        "4",
        "--test",
        "8",
        "--batch-size",
        "4",
    ]
    told += ["--steps", "2", "--learning-rate-base", "1e-4", "--radius", "1e-2", "--law", "rademacher"]
    for name, more in {"one": [], "four": ["--devices", "4", "--shard", "full"]}.items():
        assert command([*told, *more, "--out", str(out / name)]) == 0
    assert command([*told, "--devices", "3"]) == 2
    return [json.loads((out / name / "metrics.json").read_text()) for name in ("one", "four")]


def _refusal(attempt: Any) -> str:
    try:
        attempt()
    except ValueError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main(sys.argv[1])
