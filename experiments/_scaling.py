"""One workload on 1, 2, 4 devices in turn; as a program of its own it makes the devices it needs out of one processor."""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import theory_lab as tl
from theory_lab import devices, models

RADIUS, RATE, CHECKED = 1e-2, 1e-4, 3  # of the steps; so many of them are compared


def rows(cell: dict[str, Any], seed: list[int]) -> list[dict[str, Any]]:
    """Seconds of every repeat on every number of devices, all in turn, after two repeats that are not counted."""
    jax.config.update("jax_enable_x64", cell["what"] == "sweep")
    jax.config.update("jax_default_matmul_precision", "highest" if cell.get("compared") else None)  # not 10 bits
    key = jax.random.wrap_key_data(jnp.array(seed, jnp.uint32))
    workload = {"sweep": _sweep, "step": _steps}[cell["what"]]
    begun = {(count, shard): workload(cell, key, count, shard) for count, shard in map(tuple, cell["ways"])}
    with ThreadPoolExecutor() as together:  # the compiler is the longest part of this on GPUs
        compiled = together.map(lambda work: work.lowered and work.lowered.compile(), begun.values())
        prepared = {way: work.start(program) for (way, work), program in zip(begun.items(), compiled, strict=True)}
    told = {way: about for way, (_, about) in prepared.items()}
    apart = _apart(cell, {way: about.pop("iterates") for way, about in told.items()})
    for go, _ in prepared.values():
        go()
        go()
    found = []
    for repeat in range(cell["repeats"]):
        for way, (go, _) in prepared.items():
            started = time.perf_counter()
            go()
            seconds = time.perf_counter() - started
            place = {"count": way[0], "shard": way[1], "repeat": repeat}
            found.append({**place, "seconds": seconds, "apart": apart[way], **told[way]})
    kind, platform = jax.devices()[0].device_kind, jax.default_backend()
    return [{**row, "platform": platform, "device": kind, "there": jax.device_count()} for row in found]


class Work(NamedTuple):
    """What is to be compiled, if anything, and from it what is to be timed and what is told of it."""

    lowered: Any
    start: Callable[[Any], tuple[Callable[[], Any], dict[str, Any]]]


def _sweep(cell: dict[str, Any], key: jax.Array, count: int, shard: Any) -> Work:
    """A whole call of `sweep`: hybrid steps on a dense quadratic, the grid times the seeds."""
    d, points = cell["d"], cell["points"]
    problem = tl.block_quadratic({"x": d // 2, "y": d - d // 2}, n=cell["n"], coupling=0.5, dispersion=1.0, key=key)
    oracle = tl.Hybrid({"x": tl.TwoPoint(RADIUS), "y": tl.FirstOrder()})
    grid = {"x": np.linspace(0.1, 1, points) / d, "y": np.linspace(0.01, 0.1, points)}
    keys = jax.random.split(key, cell["seeds"])

    def go() -> tl.Trace:
        return tl.sweep(problem, oracle, tl.hybrid_sgd, step_sizes=grid, epochs=cell["epochs"], keys=keys, devices=count,
                        log_epochs=[cell["epochs"]])  # fmt: skip

    trajectories = cell["points"] * cell["seeds"]
    about = {"bytes": trajectories * d * 8 / count, "size": trajectories}
    return Work(None, lambda _: (go, {"iterates": [go().value], **about}))


def _steps(cell: dict[str, Any], key: jax.Array, count: int, shard: Any) -> Work:
    """Hybrid steps of a language model of OPT's shape, weights random, LoRA beside them."""
    config = models.OPTConfig(**cell["model"])
    mesh, adapter, dtype = devices.mesh(count), models.lora(8), jnp.dtype(cell["dtype"])
    base = _base(key, config, dtype)
    params = models.place({"base": base, "peft": adapter.init(key, config, base)}, mesh, shard)
    del base
    optimizer = optax.sgd(RATE)

    def loss(params: Any, tokens: jax.Array) -> jax.Array:
        return models.mean_loss(config, params, tokens, jnp.ones_like(tokens), adapter=adapter, remat=True)

    step: Any = models.hybrid_step(loss, models.differences(RADIUS), optimizer)
    texts = jax.random.randint(key, (cell["texts"], cell["tokens"]), 3, config.vocab_size)
    batch = devices.split(texts, mesh)
    now = {"params": params, "state": optimizer.init(params["peft"]), "number": 0}
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    lowered = step.lower(params, now["state"], batch, key, RATE)
    del params

    def start(compiled: Any) -> tuple[Callable[[], Any], dict[str, Any]]:
        def go() -> jax.Array:
            at = jax.random.fold_in(key, now["number"])
            now["params"], now["state"], value = compiled(now["params"], now["state"], batch, at, RATE)
            now["number"] += 1
            return jax.block_until_ready((value, now["params"]))[0]

        values = [float(go()) for _ in range(CHECKED)]
        kept = devices.fetch(now["params"]) if cell["compared"] else values
        arguments = compiled.memory_analysis().argument_size_in_bytes
        return go, {"iterates": jax.tree.leaves(kept), "bytes": arguments, "size": size}

    return Work(lowered, start)


@partial(jax.jit, static_argnums=(1, 2))
def _base(key: jax.Array, config: models.Config, dtype: Any) -> Any:
    return models.init_base(key, config, dtype)


def _apart(cell: dict[str, Any], iterates: dict[Any, list[Any]]) -> dict[Any, float]:
    """The largest distance to the first way, in units of what rounding allows.

    Of a sweep in float64: a value is known to 2^-52, a slope to that over the radius, and steps add up (a hundredfold for
    what is left out). Of steps in float32: a loss near 10 in a slope, times directions of up to 5; in a half precision
    there is no such bound, and the losses are told in units of a hundredth.
    """
    first = next(iter(iterates.values()))
    if cell["what"] == "sweep":
        unit = [100 * 2.0**-52 / RADIUS * cell["epochs"] * cell["n"] * np.abs(a) for a in first]
    elif cell["compared"]:
        slope = CHECKED * RATE * 5 * 8 * 2.0**-23 * 10 / RADIUS
        unit = [slope + 8 * 2.0**-23 * np.abs(a).max() for a in first]
    else:
        unit = [0.01 * abs(a) for a in first]
    far = lambda others: max(
        float(np.max(np.abs(np.asarray(a) - b) / u)) for a, b, u in zip(others, first, unit, strict=True)
    )
    return {way: far(found) for way, found in iterates.items()}


if __name__ == "__main__":
    print(json.dumps(rows(json.loads(sys.argv[1]), json.loads(sys.argv[2]))))
