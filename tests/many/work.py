"""What several devices do: steps of a small model, its pieces, a sweep, a run of fine-tuning."""

import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import theory_lab as tl
from tests.finetune.models import QUESTIONS
from tests.finetune.models import problem as tuning
from theory_lab import devices, finetune, models
from theory_lab.models import likelihood, perturb
from theory_lab.models.shift import add, made, part, shift, slices, take, whole
from theory_lab.models.split import bare, rows_of, wrapped

LAYERS, WIDTH, VOCABULARY, TEXTS, TOKENS = 6, 32, 256, 4, 8
SIZES = {"vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 2}
CONFIGS = {
    "opt": models.OPTConfig(**SIZES, ffn_dim=64, max_position_embeddings=30),  # 32 rows
    "llama": models.LlamaConfig(**SIZES, intermediate_size=64, max_position_embeddings=32),
}
RADIUS, RATE, STEPS = 1e-2, 1e-4, 3
KINDS = {"ZO-FT": ("opt", None), "FO-FT": ("llama", None), "Hybrid-PEFT": ("opt", models.lora(2))}  # model and adapter
EPS = float(np.finfo(np.float32).eps)
HOW = perturb.differences(RADIUS, sided=2)


def cut_the_head(at: int = 32) -> int:
    """So that the head is larger than the part of it that is used at once; returns where it was cut before."""
    before, likelihood.VOCABULARY_PART = likelihood.VOCABULARY_PART, at
    return before


def parameters(kind: str) -> dict[str, Any]:
    name, adapter = KINDS[kind]
    base = jax.tree.map(lambda a: a * 5, models.init_base(jax.random.key(0), CONFIGS[name], jnp.float32))
    return (
        {"base": base} if adapter is None else {"base": base, "peft": adapter.init(jax.random.key(1), CONFIGS[name], base)}
    )


def step(kind: str) -> tuple[perturb.Step, optax.GradientTransformation]:
    """With momentum, so that the optimizer has a state as large as what it moves."""
    name, adapter = KINDS[kind]
    loss = lambda params, batch: models.mean_loss(CONFIGS[name], params, *batch, adapter)
    first = optax.sgd(10 * RATE, momentum=0.9)
    if kind == "ZO-FT":
        return perturb.zo_step(loss, perturb.differences(RADIUS, directions=2, sided=2)), optax.identity()
    if kind == "FO-FT":
        return perturb.fo_step(loss, first, label="base"), first
    return perturb.hybrid_step(loss, perturb.differences(RADIUS, law="rademacher"), first), first


def stepped(kind: str, count: int, shard: str, begin: dict[str, Any] | None = None) -> dict[str, Any]:
    """Some steps on so many devices: the parameters, the losses, and what the compiler says of one device."""
    mesh = devices.mesh(count)
    params = models.place(begin or parameters(kind), mesh, shard)
    laid = jax.tree.map(lambda a: a.sharding, params)
    take_step, optimizer = step(kind)
    state = optimizer.init(params["peft" if "peft" in params else "base"])
    tokens = np.random.default_rng(0).integers(3, VOCABULARY, (TEXTS, TOKENS))
    batch = devices.split((tokens, np.ones_like(tokens), np.ones_like(tokens)), mesh)
    key = jax.random.key(3)
    compiled = take_step.lower(params, state, batch, key, RATE).compile()
    found = {
        "bytes": compiled.memory_analysis().argument_size_in_bytes,
        "largest": largest(compiled.as_text()),
        "values": [],
    }
    for number in range(STEPS):
        params, state, value = take_step(params, state, batch, jax.random.fold_in(key, number), RATE)
        found["values"].append(float(value))
    found["stays"] = jax.tree.all(jax.tree.map(lambda a, where: a.sharding == where, params, laid))
    return {**found, "params": devices.fetch(params)}


def allowed() -> float:
    """By how much rounding may move a parameter in all steps.

    That of a loss near 10 in float32, magnified by 1/radius in a slope, times directions of up to 5.
    """
    return STEPS * RATE * 5 * 8 * EPS * 10 / RADIUS


def tolerances(kind: str, many: dict[str, Any], one: dict[str, Any]) -> dict[str, Any]:
    """By how much each leaf on many devices may be off from that on one; an adapter also by what a base that is off does."""
    found = jax.tree.map(lambda leaf: allowed() + 8 * EPS * float(np.abs(leaf).max()), one)
    if kind == "Hybrid-PEFT":
        off = max(np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (many["base"], one["base"])), strict=True))
        found["peft"] = jax.tree.map(lambda atol, by: atol + off * by, found["peft"], _response(one))
    return found


def _response(one: dict[str, Any]) -> dict[str, Any]:
    """By how much an adapter's leaves end elsewhere, per largest change of the base, which begins moved along its way."""
    begin, size = parameters("Hybrid-PEFT"), 100 * allowed()  # beside which rounding is small
    way = jax.tree.map(np.subtract, one["base"], begin["base"])
    scale = size / max(np.abs(leaf).max() for leaf in jax.tree.leaves(way))
    elsewhere = {**begin, "base": jax.tree.map(lambda a, b: a + scale * b, begin["base"], way)}
    other = stepped("Hybrid-PEFT", 1, "data", elsewhere)["params"]
    return jax.tree.map(lambda a, b: float(np.abs(a - b).max()) / size, other["peft"], one["peft"])


def largest(program: str) -> int:
    """The most numbers of any array in a compiled program, which is that of one device."""
    return max(math.prod(map(int, dims.split(","))) for dims in re.findall(r"\b[a-z]+\d+\[([\d,]+)\]", program))


def expected_bytes(kind: str, count: int) -> int:
    """Of the parameters and what the optimizer keeps, on one of so many devices that split them."""

    def one(path: tuple[Any, ...], leaf: jax.Array) -> int:
        matrix = path[0].key == "base" and leaf.ndim - any(part.key == "layers" for part in path) == 2
        return leaf.nbytes // (count if matrix else 1)

    params = parameters(kind)
    sizes = {label: sum(jax.tree.leaves(jax.tree_util.tree_map_with_path(one, {label: params[label]}))) for label in params}
    momentum = {"ZO-FT": 0, "FO-FT": sizes["base"], "Hybrid-PEFT": sizes.get("peft", 0)}[kind]
    return sum(sizes.values()) + momentum


def pieces(count: int) -> dict[str, np.ndarray]:
    """Everything that is made of shifted arrays, from arrays that are split (or, on one device, are not)."""
    mesh, key = devices.mesh(count), jax.random.key(5)
    arrays = {"stack": jnp.ones((3, 8, 5), jnp.float32), "table": jnp.ones((12, 6), jnp.bfloat16)}
    where = {name: jax.NamedSharding(mesh, rows_of(a.ndim)) for name, a in arrays.items()}
    arrays = {name: devices.put(a, where[name]) for name, a in arrays.items()}
    indices = jnp.array([[3, 11], [0, 3], [7, 8], [1, 1]])

    @jax.jit
    def all_of(arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
        arrays = {name: wrapped(a, where[name]) for name, a in arrays.items()}
        lazy = shift(arrays, key, 0.5)
        layers = jax.lax.scan(lambda _, layer: (None, bare(made(layer))), None, slices({"a": lazy["stack"]}))[1]["a"]
        keys = jax.random.split(key, 2)
        moved = {name: bare(add(a, keys, jnp.array([0.5, 2.0]), "gaussian")) for name, a in arrays.items()}
        one = {"layers": layers, "whole": whole(lazy["table"]), "taken": take(lazy["table"], indices)}
        two = {"part": part(lazy["table"], jnp.int32(5), 4), "odd part": part(lazy["table"], jnp.int32(1), 5)}
        plain = {"plain taken": take(arrays["table"], indices), "plain part": part(arrays["table"], jnp.int32(2), 5)}
        return {**one, **two, **plain, **{f"moved {name}": a for name, a in moved.items()}}

    return jax.tree.map(lambda a: np.asarray(a, np.float32), devices.fetch(all_of(arrays)))


def curved(count: int) -> dict[str, Any]:
    """A Hessian-vector product with all parameters of a model that is fully split, in float64."""
    on = models.place(jax.tree.map(lambda a: a.astype(float), parameters("FO-FT")), devices.mesh(count), "full")
    params, tokens = models.split_leaves(on), jnp.arange(TEXTS * TOKENS).reshape(TEXTS, TOKENS) % VOCABULARY
    slope = jax.grad(lambda params: models.mean_loss(CONFIGS["llama"], params, tokens, jnp.ones_like(tokens)))
    return devices.fetch(bare(jax.jit(lambda params: jax.jvp(slope, (params,), (params,))[1])(params)))


def swept(count: int | None, seeds: int = 5, **options: Any) -> tl.Trace:
    problem = tl.block_quadratic({"x": 8, "y": 4}, n=4, coupling=0.5, dispersion=1.0)
    oracle = tl.Hybrid({"x": tl.TwoPoint(1e-3), "y": tl.FirstOrder()})
    grid = {"x": [0.01, 0.02, 0.03], "y": [0.1, 0.2, 1e30]}  # the last one diverges
    keys = jax.random.split(jax.random.key(0), seeds)
    given = {"step_sizes": grid, "epochs": 6, "keys": keys, "devices": count} | options
    return tl.sweep(problem, oracle, tl.hybrid_sgd, **given)


def trained(count: int | None, shard: str = "data", **options: Any) -> finetune.Trained:
    """Three steps with batches of four of five examples, the dev questions of the same."""
    task = tuning("opt", models.lora(2))
    hybrid = finetune.method("Hybrid-PEFT", {"base": 1e-4, "peft": optax.adam(1e-2, eps=1e-3)}, differences=HOW)
    common = {"steps": 3, "batch_size": 4, "dev": QUESTIONS, "every": 2} | options
    return finetune.train(task, hybrid, key=jax.random.key(7), devices=count, shard=shard, **common)
