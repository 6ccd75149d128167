"""Pretrain a small base model: ``python -m theory_lab.finetune.pretrain --out DIR``.

AdamW with linear warm-up and a cosine decay of its rate, on packed blocks of tokens that are reshuffled every epoch; weights
and moments in float32, the computation in float32 or bfloat16. The same command, given again after a kill, goes on from the
last checkpoint and ends with the same bytes (on a CPU). What is left in the folder: config.json, model.safetensors and
tokenizer.json in Hugging Face's format, curve.csv with the held-out perplexity, README.md with the command.
"""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from theory_lab import _checks, devices
from theory_lab._options import Parser
from theory_lab._typing import Array, Block
from theory_lab.finetune import kept
from theory_lab.finetune.blocks import Blocks, blocks_of
from theory_lab.finetune.recipe import HELP, WORDS, Settings
from theory_lab.models import Config, init_base, mean_loss, save_pretrained, tensorfile
from theory_lab.orderings import random_reshuffling

COLUMNS = ("step", "tokens", "learning_rate", "train_loss", "held_out_loss", "held_out_perplexity")
WARM_UP = 1 / 20  # of all steps
LAST_RATE = 0.01  # of the peak
NORM = 1.0  # gradients are clipped to it
NAMES = {  # of arguments that are called otherwise in Python
    "out": "--out",
    "seconds": "--checkpoint-seconds",
    "paths": "--text",
    "text and tokenizer": "--text and --tokenizer",
}
Row = dict[str, float]


class State(NamedTuple):
    """What a step changes."""

    base: Block
    moments: Any


def pretrain(
    out: Any, settings: Settings, *, seconds: float = 60.0, report: Callable[[Row, int], None] | None = None
) -> None:
    """Pretrain a base, or go on with one, and write its folder.

    Args:
        out: the folder; made if it is not there.
        settings: what to make.
        seconds: between checkpoints, at least; they are written after whole groups of ``settings.every`` steps.
        report: called after every such group with the row of the curve and the number of steps in all.

    Raises:
        ValueError: settings of a model or batches for which there is no memory; a folder with a finished model, with a
            checkpoint of other settings, or with another run at work; too little text; a loss that is not finite.
    """
    _checks.instance("settings", settings, Settings, "Settings")
    seconds = _checks.nonnegative("seconds", seconds)
    if (there := devices.memory()) is not None and settings.least_memory > there:
        rule = f"of a model and batches that fit in the memory there is, {there:.3g} bytes"
        raise _checks.refuse("settings", rule, f"at least {settings.least_memory:.3g} bytes")
    where = tensorfile.new_folder(out)
    with kept.held("out", where):
        _pretrained(where, settings, seconds, report)


def _pretrained(where: Path, settings: Settings, seconds: float, report: Callable[[Row, int], None] | None) -> None:
    """In a folder that is held."""
    kept.sweep(where)
    checkpoint = where / kept.CHECKPOINT
    if not checkpoint.exists() and (where / "config.json").exists():
        raise _checks.refuse("out", "a folder without a finished model", str(where))
    run: dict[str, Any] = {"settings": asdict(settings)}
    found = kept.record_of(checkpoint) if checkpoint.exists() else {"step": 0, "rows": [], **run}
    _same_settings(found.get("settings", {}), settings)
    blocks = blocks_of(settings)
    run["blocks"] = kept.digest_all((blocks.train, blocks.held_out))
    if found.get("blocks", run["blocks"]) != run["blocks"]:
        raise _checks.refuse("text", "as it was for the checkpoint in this folder", settings.text)
    config = settings.config(blocks.vocabulary, blocks.end, blocks.pad)
    state = start(settings, config)
    if checkpoint.exists():
        state = jax.tree.map(jnp.asarray, kept.load(checkpoint, "state", state))
    rows, saved = found["rows"], time.monotonic()
    train, held_out = jnp.asarray(blocks.train), jnp.asarray(blocks.held_out)
    order = _order(settings, len(blocks.train))
    for first in range(found["step"], settings.steps, settings.every):
        last = min(first + settings.every, settings.steps)
        state, losses = advance(settings, config, state, train, order(first, last), held_out)
        rows.append(_row(settings, last, np.asarray(losses)))
        if time.monotonic() - saved >= seconds and last < settings.steps:
            kept.save(checkpoint, {"state": state}, {"step": last, "rows": rows, **run})
            saved = time.monotonic()
        if report is not None:
            report(rows[-1], settings.steps)
    _finish(where, settings, config, state.base, blocks, rows)


def schedule(settings: Settings) -> optax.Schedule:
    """The learning rate at a step: from 0 to its peak, then down a cosine."""
    warm_up = min(max(1, round(WARM_UP * settings.steps)), settings.steps - 1)
    peak = settings.learning_rate
    return optax.warmup_cosine_decay_schedule(0.0, peak, warm_up, settings.steps, end_value=LAST_RATE * peak)


def optimizer(settings: Settings) -> optax.GradientTransformation:
    """AdamW behind a clipped gradient; norms and biases do not decay."""
    matrices = lambda tree: jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key == "weight" and "norm" not in "/".join(str(part.key) for part in path), tree
    )
    adamw = optax.adamw(schedule(settings), b2=0.99, weight_decay=settings.weight_decay, mask=matrices)
    return optax.chain(optax.clip_by_global_norm(NORM), adamw)


def start(settings: Settings, config: Config) -> State:
    """A random base and moments of zero."""
    base = init_base(jax.random.fold_in(jax.random.key(settings.seed), 0), config)
    return State(base, optimizer(settings).init(base))


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def advance(
    settings: Settings, config: Config, state: State, train: Array, rows: Array, held_out: Array
) -> tuple[State, Array]:
    """Several steps in one program, then the held-out loss.

    Args:
        state: given away.
        train: (N, T) blocks; rows: (K, B), those of each of K steps; held_out: (M, B, T).

    Returns:
        The state, and (2,): the mean of the K training losses and the held-out loss.
    """
    rule = optimizer(settings)
    loss = lambda base, tokens: mean_loss(
        config, {"base": base}, tokens.astype(jnp.int32), jnp.ones(tokens.shape), dtype=settings.precision
    )

    def step(state: State, chosen: Array) -> tuple[State, Array]:
        value, gradient = jax.value_and_grad(loss)(state.base, train[chosen])
        updates, moments = rule.update(gradient, state.moments, state.base)
        return State(optax.apply_updates(state.base, updates), moments), value

    state, values = jax.lax.scan(step, state, rows)
    return state, jnp.stack([values.mean(), jax.lax.map(partial(loss, state.base), held_out).mean()])


def _order(settings: Settings, number: int) -> Callable[[int, int], np.ndarray]:
    """The blocks of the steps from first to last, (last - first, B), whole batches of reshuffled epochs."""
    key, size = jax.random.fold_in(jax.random.key(settings.seed), 1), settings.batch_size
    per_epoch = number // size
    seen: dict[int, np.ndarray] = {}

    def batch(step: int) -> np.ndarray:
        epoch, place = divmod(step, per_epoch)
        if epoch not in seen:
            seen.clear()
            seen[epoch] = np.asarray(random_reshuffling(key, epoch, number), np.int32)
        return seen[epoch][place * size : (place + 1) * size]

    return lambda first, last: np.stack([batch(step) for step in range(first, last)])


def _row(settings: Settings, step: int, losses: np.ndarray) -> Row:
    if not np.isfinite(losses).all():
        rule = f"small enough for a finite loss (it was not within step {step})"
        raise _checks.refuse("learning_rate", rule, settings.learning_rate)
    train, held_out = map(float, losses)
    tokens = step * settings.batch_size * settings.context
    rate = float(schedule(settings)(step - 1))
    return dict(zip(COLUMNS, (step, tokens, rate, train, held_out, math.exp(held_out)), strict=True))


def _same_settings(found: dict[str, Any], settings: Settings) -> None:
    for name, value in asdict(settings).items():
        if found.get(name) != value:
            raise _checks.refuse(name, f"{found.get(name)!r}, as in the checkpoint in this folder", value)


def _finish(where: Path, settings: Settings, config: Config, base: Block, blocks: Blocks, rows: list[Row]) -> None:
    """The folder, the checkpoint's removal last."""
    lines = [",".join(COLUMNS), *(",".join(f"{row[name]:.8g}" for name in COLUMNS) for row in rows)]
    tensorfile.write_bytes(where / "curve.csv", ["\n".join([*lines, ""]).encode()])
    tensorfile.write_bytes(where / "tokenizer.json", [blocks.tokenizer_json.encode()])
    count = sum(leaf.size for leaf in jax.tree.leaves(base))
    told = f"{count:,} parameters, held-out perplexity {rows[-1]['held_out_perplexity']:.4g} (curve.csv). Made by\n\n"
    tensorfile.write_bytes(where / "README.md", [f"{told}    {settings.command()}\n".encode()])
    save_pretrained(where, config, jax.tree.map(lambda a: np.asarray(a).astype(settings.stored), base))
    (where / kept.CHECKPOINT).unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code: 0; 2 for bad usage and for what cannot be written; 130 after Ctrl-C."""
    description = str(__doc__).split("\n\n")[1]
    usage = "%(prog)s --out DIR [--text PATH --tokenizer FILE] [OPTION ...]"
    parser = Parser(prog="python -m theory_lab.finetune.pretrain", usage=usage, description=description)
    parser.add_argument("--out", required=True, help="the folder to write; a run that was killed goes on there")
    for f in fields(Settings):
        kind = type(f.default) if isinstance(f.default, (int, float)) else str
        told = HELP[f.name] + " (default: %(default)s)"
        option = f"--{f.name.replace('_', '-')}"
        parser.add_argument(option, type=kind, default=f.default, choices=WORDS.get(f.name), help=told)
    told = "between checkpoints, at least (default: %(default)s)"
    parser.add_argument("--checkpoint-seconds", type=float, default=60.0, help=told)
    given = vars(parser.parse_args(arguments))
    began, out, seconds = time.monotonic(), given.pop("out"), given.pop("checkpoint_seconds")
    report = lambda row, steps: _print(row, steps, time.monotonic() - began)
    options = {**{name: f"--{name.replace('_', '-')}" for name in given}, **NAMES}
    try:
        _checks.writable("--out", out)
        pretrain(out, Settings(**given), seconds=seconds, report=report)
    except (ValueError, OSError, ImportError) as error:
        print(_checks.as_option(error, options), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\ninterrupted; {out} keeps the last checkpoint, and the same command goes on from there", file=sys.stderr)
        return 130
    return 0


def _print(row: Row, steps: int, elapsed: float) -> None:
    told = f"step {row['step']:.0f}/{steps}  loss {row['train_loss']:.4f}  perplexity {row['held_out_perplexity']:.4f}"
    print(f"{told}  {elapsed:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
