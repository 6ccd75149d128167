"""One of two processes: `python -m tests.many.two PORT RANK FILE` writes what the two of them found."""

import io
import json
import pickle
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tests.many import work
from theory_lab import devices, models
from theory_lab.finetune.__main__ import main as command

COMMAND = ["--model", "random-opt", "--task", "entailment", "--train", "8", "--dev", "4", "--test", "8", "--batch-size", "4"]
COMMAND += ["--steps", "2", "--method", "ZO-FT", "--radius", "1e-2", "--devices", "2", "--shard", "full"]


def main(port: str, rank: str, file: str) -> None:
    jax.config.update("jax_enable_x64", True)
    work.cut_the_head()
    out = Path(file).parent / "out"
    said = io.StringIO()
    with redirect_stdout(said):
        assert command([*COMMAND, "--processes", f"127.0.0.1:{port},2,{rank}", "--out", str(out)]) == 0
    assert (jax.process_count(), jax.local_device_count(), jax.device_count()) == (2, 1, 2)
    folder = Path(file).parent / "run"  # both name the same one
    done = work.trained(2, "full", folder=folder)
    found: dict[str, Any] = {
        "said": said.getvalue(),
        "out": json.loads((out / "metrics.json").read_text()),
        "losses": done.losses,
        "best": done.best,
        "history": done.history,
    }
    found["split"] = [not leaf.is_fully_replicated for leaf in jax.tree.leaves(done.params["base"]["layers"])]
    found["params"] = devices.fetch(done.params)
    found["again"] = devices.fetch(work.trained(2, "full", folder=folder).params)
    trace = work.swept(2)
    found["sweep"] = (trace.value, trace.diverged_at)
    found["step"] = work.stepped("Hybrid-PEFT", 2, "data")["params"]
    try:
        models.place({"base": {"weight": jnp.ones((4, 4))}}, 1)
    except ValueError as error:
        found["refused"] = str(error)
    Path(file).write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
