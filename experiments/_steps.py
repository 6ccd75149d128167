"""The steps of `step_time` by theory_lab, in a process of their own: `python -m experiments._steps '{"model": ...}'`.

Weights are random, made in their own type on the device. All steps are compiled before there are any, so that what the
compiler tries out is not in the allocator's peak; they are run in the order of that peak, which only grows.
"""

import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments._fine_tuning import ADAPTERS
from experiments._shapes import config_of
from theory_lab._typing import Block
from theory_lab.finetune.methods import METHODS, method
from theory_lab.models import Config, base_shapes, mean_loss, perturb
from theory_lab.models.device import compiler_options
from theory_lab.models.shift import add
from theory_lab.models.transformer import LEAN

WARM = 3
KEPT: dict[str, bool | tuple[str, ...]] = {  # of a layer, for the backward pass
    "everything": False,
    "products": (*LEAN, "key", "gate", "up", "inside"),
    "lean": LEAN,
    "half": ("between", "signs"),
    "nothing": True,
}


def main(text: str) -> None:
    """Measure the steps of one model and print one JSON line of rows."""
    cell = json.loads(text)
    print("\n" + json.dumps({"device": jax.devices()[0].device_kind, "rows": measured(cell)}))


def measured(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for every step of the cell: milliseconds of each repeat, seconds of compilation, bytes."""
    config, dtype = config_of(cell["model"]), jnp.dtype(cell["dtype"])
    key = jax.random.key(0)
    like = jax.tree.map(lambda shape: jax.ShapeDtypeStruct(shape, dtype), base_shapes(config), is_leaf=_is_shape)
    tokens = jax.ShapeDtypeStruct((cell["texts"], cell["tokens"]), jnp.int32)
    lowered = [_lowered(config, how, like, tokens, key) for how in cell["steps"]]
    with ThreadPoolExecutor(8) as pool:
        compiled = list(pool.map(_compiled, lowered))
    base = random_base(key, config, dtype)
    texts = jax.random.randint(key, tokens.shape, 0, config.vocab_size)
    rows: dict[int, dict[str, Any]] = {}
    for number in sorted(range(len(compiled)), key=lambda i: compiled[i][2]):
        program, seconds, analysis, temporaries = compiled[number]
        how = cell["steps"][number]
        peft = ADAPTERS[how["adapter"]].init(key, config, dtype=dtype)
        times, base = _timed(program, how, base, peft, texts, key, cell["repeats"])
        sizes = {"analysis": analysis, "temporaries": temporaries, "allocated": _allocated()}
        rows[number] = {**how, "milliseconds": times, "compile": seconds, **sizes}
        print(
            f"{cell['model']} {how}: {statistics.median(times):.2f} ms, {analysis / 2**30:.2f} GiB",
            file=sys.stderr,
            flush=True,
        )
    return [rows[number] for number in range(len(compiled))]


def _lowered(config: Config, how: dict[str, Any], base: Block, tokens: Any, key: jax.Array) -> Any:
    remat, name, adapter = KEPT[how["kept"]], how["method"], ADAPTERS[how["adapter"]]
    with_adapter, dtype = name.endswith("PEFT"), jax.tree.leaves(base)[0].dtype
    peft = jax.eval_shape(lambda key: adapter.init(key, config, dtype=dtype), key)
    params = {"base": base, "peft": peft} if with_adapter else {"base": base}

    def loss(params: Any, batch: jax.Array) -> jax.Array:
        return mean_loss(config, params, batch, jnp.ones_like(batch), adapter=adapter if with_adapter else None, remat=remat)

    if name == "forward":
        return jax.jit(loss, compiler_options=compiler_options()).lower(params, tokens)
    moves = [label for label in METHODS[name] if label is not None]
    differences = perturb.differences(1e-3, law=how["law"]) if how["law"] else None
    chosen = method(name, dict.fromkeys(moves, 1e-6), differences=differences)
    state = jax.eval_shape(chosen.start, params)
    step: Any = chosen.step(loss)
    return step.lower(params, state, tokens, key, jnp.float32(0))


def _compiled(lowered: Any) -> tuple[Any, float, int, int]:
    """The program, the seconds it took, its peak by XLA's analysis, and what of that is temporary."""
    start = time.perf_counter()
    program = lowered.compile()
    found = program.memory_analysis()
    own, temporaries = found.output_size_in_bytes - found.alias_size_in_bytes, found.temp_size_in_bytes
    return program, time.perf_counter() - start, found.argument_size_in_bytes + own + temporaries, temporaries


def _timed(
    program: Any, how: dict[str, Any], base: Block, peft: Block, texts: jax.Array, key: jax.Array, repeats: int
) -> tuple[list[float], Block]:
    """Milliseconds of every step after the warm-up, each waited for, and the base after them all."""
    name, rate, times = how["method"], jnp.float32(1e-6), []
    params = {"base": base, "peft": peft} if name.endswith("PEFT") else {"base": base}
    state = () if name == "ZO-FT" else optax.sgd(1e-6).init(params["peft" if name.endswith("PEFT") else "base"])
    for _ in range(WARM + repeats):
        start = time.perf_counter()
        if name == "forward":
            jax.block_until_ready(program(params, texts))
        else:
            params = dict(jax.block_until_ready(program(params, state, texts, key, rate)).params)
        times.append(1e3 * (time.perf_counter() - start))
    return times[WARM:], params["base"]


def random_base(key: jax.Array, config: Config, dtype: Any) -> Block:
    """Weights N(0, 0.02^2), norms 1, biases 0, made in place: nothing as large as an array is held beside it."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(base_shapes(config), is_leaf=_is_shape)
    made = []
    for number, (path, shape) in enumerate(leaves):
        name = jax.tree_util.keystr(path)
        weight = "bias" not in name and "norm" not in name
        start = jnp.full(shape, "norm" in name and "weight" in name, dtype)
        fill = partial(add, scales=jnp.full(1, 0.02), law="gaussian")
        at = jax.random.fold_in(key, number)[None]
        made.append(jax.jit(fill, donate_argnums=0)(start, at) if weight else start)
    return jax.tree.unflatten(structure, made)


def _allocated() -> int | None:
    stats = jax.devices()[0].memory_stats()
    return None if stats is None else stats["peak_bytes_in_use"]


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, tuple)


if __name__ == "__main__":
    main(sys.argv[1])
