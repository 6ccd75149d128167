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

RADIUS, RATE = 1e-2, 1e-4
CHECKED, NUDGES = 3, 3  # steps that are compared; starts that are off by rounding


def rows(cell: dict[str, Any], seed: list[int]) -> list[dict[str, Any]]:
    """Seconds of every repeat on every number of devices, all in turn, after two repeats that are not counted."""
    jax.config.update("jax_enable_x64", cell["what"] == "sweep")
    jax.config.update("jax_default_matmul_precision", "highest" if cell.get("compared") else None)  # not 10 bits
    key = jax.random.wrap_key_data(jnp.array(seed, jnp.uint32))
    workload, told = {"sweep": _sweep, "step": _steps}[cell["what"]], _Told(cell["what"])
    begun = {(count, shard): workload(cell, key, count, shard) for count, shard in map(tuple, cell["ways"])}
    told("traced")
    with ThreadPoolExecutor() as together:  # the compiler is the longest part of this on GPUs
        compiled = list(together.map(lambda work: work.lowered and work.lowered.compile(), begun.values()))
    told("compiled")
    prepared = {way: work.start(program) for (way, work), program in zip(begun.items(), compiled, strict=True)}
    about = {way: dict(facts) for way, (_, facts) in prepared.items()}
    apart = _apart({way: facts.pop("iterates") for way, facts in about.items()})
    told(f"compared: {apart}")
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
            found.append({**place, "seconds": seconds, "apart": apart[way], **about[way]})
    told("timed")
    kind, platform = jax.devices()[0].device_kind, jax.default_backend()
    return [{**row, "platform": platform, "device": kind, "there": jax.device_count()} for row in found]


class _Told:
    """Says on the standard error how far a long cell has come."""

    def __init__(self, what: str) -> None:
        self.what, self.start = what, time.perf_counter()

    def __call__(self, done: str) -> None:
        print(f"{self.what}: {done}, {time.perf_counter() - self.start:.0f} s", file=sys.stderr, flush=True)


class Work(NamedTuple):
    """What is to be compiled, if anything, and from it what is to be timed and what is told of it.

    Told are "bytes", "size", and "iterates": what is compared with the first way's, and how far it may lie from it, of which
    the first way's counts.
    """

    lowered: Any
    start: Callable[[Any], tuple[Callable[[], Any], dict[str, Any]]]


def _sweep(cell: dict[str, Any], key: jax.Array, count: int, shard: Any) -> Work:
    """A whole call of `sweep`: hybrid steps on a dense quadratic, the grid times the seeds.

    In float64 a value is known to 2^-52, a slope to that over the radius, and steps add up; a hundredfold is allowed for
    what this leaves out, which is still 10^-9 of a value or less.
    """
    d, points = cell["d"], cell["points"]
    problem = tl.block_quadratic({"x": d // 2, "y": d - d // 2}, n=cell["n"], coupling=0.5, dispersion=1.0, key=key)
    oracle = tl.Hybrid({"x": tl.TwoPoint(RADIUS), "y": tl.FirstOrder()})
    grid = {"x": np.linspace(0.1, 1, points) / d, "y": np.linspace(0.01, 0.1, points)}
    keys = jax.random.split(key, cell["seeds"])

    def go() -> tl.Trace:
        return tl.sweep(problem, oracle, tl.hybrid_sgd, step_sizes=grid, epochs=cell["epochs"], keys=keys, devices=count,
                        log_epochs=[cell["epochs"]])  # fmt: skip

    def start(_: Any) -> tuple[Callable[[], Any], dict[str, Any]]:
        value = go().value
        allowed = 100 * 2.0**-52 / RADIUS * cell["epochs"] * cell["n"] * np.abs(value)
        trajectories = points * cell["seeds"]
        return go, {"iterates": ([value], [allowed]), "bytes": trajectories * d * 8 / count, "size": trajectories}

    return Work(None, start)


def _steps(cell: dict[str, Any], key: jax.Array, count: int, shard: Any) -> Work:
    """Hybrid steps of a language model of OPT's shape, weights random, LoRA beside them."""
    config = models.OPTConfig(**cell["model"])
    mesh, adapter, dtype = devices.mesh(count), models.lora(8), jnp.dtype(cell["dtype"])
    optimizer = optax.sgd(RATE)

    def loss(params: Any, tokens: jax.Array) -> jax.Array:
        return models.mean_loss(config, params, tokens, jnp.ones_like(tokens), adapter=adapter, remat=True)

    def begin(nudge: int = 0) -> dict[str, Any]:
        base = _base(key, config, dtype)
        params = {"base": base, "peft": adapter.init(key, config, base)}
        texts = jax.random.randint(key, (cell["texts"], cell["tokens"]), 3, config.vocab_size)
        if nudge:
            params, texts = _nudged(params, jax.random.key(nudge)), jax.random.permutation(jax.random.key(nudge), texts)
        lies = {"params": models.place(params, mesh, shard), "batch": devices.split(texts, mesh)}
        return {**lies, "state": optimizer.init(params["peft"]), "number": 0}

    step: Any = models.hybrid_step(loss, models.differences(RADIUS), optimizer)
    now = begin()
    size = sum(leaf.size for leaf in jax.tree.leaves(now["params"]))
    lowered = step.lower(now["params"], now["state"], now["batch"], key, RATE)

    def start(compiled: Any) -> tuple[Callable[[], Any], dict[str, Any]]:
        def go(now: dict[str, Any] = now) -> jax.Array:
            at = jax.random.fold_in(key, now["number"])
            now["params"], now["state"], value = compiled(now["params"], now["state"], now["batch"], at, RATE)
            now["number"] += 1
            return jax.block_until_ready((value, now["params"]))[0]

        def reached(now: dict[str, Any]) -> list[Any]:
            values = [float(go(now)) for _ in range(CHECKED)]
            return jax.tree.leaves(devices.fetch(now["params"])) if cell["compared"] else values

        first = reached(now)
        nudges = range(1, NUDGES + 1) if cell["compared"] and count == 1 else ()
        others = [reached(begin(nudge)) for nudge in nudges]
        arguments = compiled.memory_analysis().argument_size_in_bytes
        return go, {"iterates": (first, _allowed(first, others)), "bytes": arguments, "size": size}

    return Work(lowered, start)


def _allowed(iterates: list[Any], nudged: list[list[Any]]) -> list[Any]:
    """How far each array may lie from where one device takes it, by what rounding of the start alone does on that device.

    Twice the largest distance in the array, over starts that are off by one unit in the last place of every number, and
    batches with the same texts in another order, which adds up in another order, as a split batch does. Where nothing was
    nudged, losses: a hundredth.
    """
    if not nudged:
        return [0.01 * np.abs(a) for a in iterates]
    return [2 * max(float(np.abs(a - b).max()) for b in others) for a, *others in zip(iterates, *nudged, strict=True)]


def _nudged(params: Any, key: jax.Array) -> Any:
    """Every number up or down by one unit in its last place."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    signs = [jax.random.rademacher(k, a.shape, a.dtype) for a, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(
        structure, [jnp.nextafter(a, sign * jnp.inf) if jnp.size(a) else a for a, sign in zip(leaves, signs, strict=True)]
    )


@partial(jax.jit, static_argnums=(1, 2))
def _base(key: jax.Array, config: models.Config, dtype: Any) -> Any:
    return models.init_base(key, config, dtype)


def _apart(iterates: dict[Any, tuple[list[Any], list[Any]]]) -> dict[Any, float]:
    """The largest distance to the first way, in units of what is allowed."""
    first, allowed = next(iter(iterates.values()))
    far = lambda found: max(
        float(np.max(np.abs(np.asarray(a) - b) / unit)) for a, b, unit in zip(found, first, allowed, strict=True)
    )
    return {way: far(found) for way, (found, _) in iterates.items()}


if __name__ == "__main__":
    print(json.dumps(rows(json.loads(sys.argv[1]), json.loads(sys.argv[2]))))
