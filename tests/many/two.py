"""One of two processes: `python -m tests.many.two PORT RANK FILE` writes what the two of them found."""

import pickle
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tests.many import work
from theory_lab import devices, models


def main(port: str, rank: str, file: str) -> None:
    jax.config.update("jax_enable_x64", True)
    work.cut_the_head()
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(rank))
    assert (jax.process_count(), jax.local_device_count(), jax.device_count()) == (2, 1, 2)
    folder = Path(file).parent / "run"  # both name the same one
    done = work.trained(2, "full", folder=folder)
    found: dict[str, Any] = {"losses": done.losses, "best": done.best, "history": done.history}
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
