"""The loop of fine-tuning: steps in place, along a reshuffling, looked at on dev now and then, resumable at any moment.

Same streams of random numbers as `theory_lab.run.loop`: the key's stream 0 orders the examples, stream 1 feeds the oracle,
stream 2 starts the adapter. So `theory_lab.run` with `Hybrid({"base": TwoPoint(radius, stream="rows"), "peft":
FirstOrder()})` on the same problem gives the same iterates up to rounding, with one more copy of the base. (It draws for
several steps at once where one step needs at most 512 numbers; there the directions differ.)
"""

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from theory_lab import _checks
from theory_lab import devices as meshes
from theory_lab._typing import Key, Params
from theory_lab.finetune import kept
from theory_lab.finetune.encoding import Questions
from theory_lab.finetune.looking import Look
from theory_lab.finetune.methods import Method, refuse_lost
from theory_lab.finetune.plan import Plan
from theory_lab.finetune.problem import FineTune
from theory_lab.finetune.remarks import largest, remarks
from theory_lab.finetune.resuming import Checkpoints, recorded
from theory_lab.finetune.state import State, beginning, moving
from theory_lab.models import tensorfile
from theory_lab.models.perturb import Step
from theory_lab.models.sharding import SHARDS, Shard
from theory_lab.orderings import Ordering, check_ordering, random_reshuffling
from theory_lab.run.clock import Stopwatch
from theory_lab.run.loop import START
from theory_lab.run.progress import bar


@dataclass(frozen=True)
class Trained:
    """What fine-tuning leaves.

    Attributes:
        params: at the end.
        best: those at the best look on dev, the highest accuracy and among equal ones the lowest loss, the start included;
            without dev those at the end, or at the last look before it diverged. The blocks that move are NumPy arrays.
        best_step: how many steps made them.
        losses: (steps,) of every batch before its step.
        history: one row per look, the first before training: step, epoch, loss (mean over the batches since the row before),
            dev_accuracy, dev_loss (mean of -log p of the right options), and what was spent on steps so far: forwards and
            backwards (passes of a batch through the model), tokens (of the batches, without padding).
        seconds: wall time of the steps, without compiling and without dev.
        diverged_at: the first step whose loss was not finite, or after which dev's was not, or without dev the parameters;
            None if there is none. There training stops.
        remarks: sentences to read: that no step was better on dev than the start, that numbers of a block that moved ended
            at an absurd size (over a thousand times 1 and the largest at the start), which a norm can hide from the loss.
    """

    params: Params
    best: Params
    best_step: int
    losses: np.ndarray
    history: pd.DataFrame
    seconds: float
    diverged_at: int | None
    remarks: tuple[str, ...] = ()


def train(
    problem: FineTune,
    method: Method,
    *,
    key: Key,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int = 8,
    ordering: Ordering = random_reshuffling,
    dev: Questions | None = None,
    every: int | None = None,
    folder: Any = None,
    params: Params | None = None,
    devices: Any = None,
    shard: Shard = "data",
    progress: bool = False,
) -> Trained:
    """Fine-tune a model.

    A step sees the weighted sum over a batch; the weights are such that an epoch's mean is f (1/B each where B divides n).

    Args:
        problem: as `fine_tune` makes, with an adapter exactly where the method moves one.
        method: as `methods.method` makes.
        key: all randomness of the run: order, directions, start of the adapter.
        steps, epochs: how long, one of the two.
        batch_size: B examples a step.
        ordering: of the examples in an epoch; of your own, ``(key, epoch, n) -> (n,) indices``, in NumPy too.
        dev: questions to choose the best parameters by.
        every: steps between two looks, at each of which a row is written, dev is asked and a checkpoint is made; None is
            once an epoch. The end is always looked at.
        folder: where checkpoints are kept. A run that is killed at any moment and started again with the same arguments goes
            on from the last one and ends with the same bits (on the same machine and versions). Refused are a folder with
            the checkpoint of another run (`refuse_other` says so sooner), one with a damaged file, and one where another
            run is writing. None keeps nothing on disk.
        params: where to start; their memory is used for the result, and they are gone. None starts from a copy of
            ``problem.init``: for a model of which there is no room for two copies, give ``problem.init(key)`` itself.
        devices: how many share the work, or a mesh of them (`theory_lab.devices.mesh`); None is the one that JAX takes
            first. The iterates are the same to rounding. Several processes (`jax.distributed`) all call this alike and get
            the same result; the first of them writes.
        shard: "data": every device has all parameters and B/N examples of a batch; "full": besides, its share of the base
            alone (`theory_lab.models.place`). Where the base is too large for one device, place it before `fine_tune`.
        progress: show a bar if tqdm is installed.

    Returns:
        `Trained`. Losses that are not finite are recorded and stop the run; they raise nothing.

    Raises:
        ValueError: a method whose blocks the problem has not, both or neither of steps and epochs, more examples in a batch
            than there are, a folder of another run, an optimizer that needs more than gradients and parameters, a radius
            that rounding swallows; an ordering whose indices are not n whole numbers within 0..n - 1 (of the first epoch
            before anything is computed, of a later one when it comes); devices that are not there or do not divide the
            batch, another word for shard.

    Example:
        >>> from theory_lab import finetune, models
        >>> model = finetune.base_model("random-opt", jax.random.key(0))
        >>> task = finetune.task("sentiment", jax.random.key(1), train=8, dev=2, test=2)
        >>> problem = finetune.fine_tune(model.config, model.base, model.encode(task.train), models.lora(rank=1))
        >>> twin = finetune.method("FO-PEFT", {"peft": 1e-2})
        >>> done = train(problem, twin, key=jax.random.key(2), steps=2, batch_size=4)
        >>> len(done.losses), done.history["step"].tolist(), done.diverged_at
        (2, [0, 2], None)
    """
    _checks.flag("progress", progress)
    plan, length, every = _planned(problem, method, key, steps, epochs, batch_size, ordering, dev, every, devices, shard)
    state = beginning(problem, method, key, params, plan.mesh, shard)
    refuse_lost(method, state.params)
    began = largest(moving(method, state.params))
    with ExitStack() as stack:
        checkpoints = None
        if folder is not None:
            where = tensorfile.new_folder(folder)
            stack.enter_context(kept.held("folder", where))
            run = _described(problem, method, plan, length, every, key, dev, shard, state.params)
            checkpoints = Checkpoints(where, run, method)
            state = checkpoints.resumed(state)
        look, step = Look(problem, method, plan.per_epoch, dev, checkpoints), method.step(plan.loss)
        shown = stack.enter_context(bar(progress, length, "step"))
        tick = (lambda count: None) if shown is None else shown.update
        tick(state.step)
        if not state.rows:
            state = look(state, 0)
        while state.step < length and state.diverged_at is None:
            before = state.step
            state = look(_advanced(step, method, plan, state, min(length, (before // every + 1) * every), tick), before)
        best = checkpoints.best(state.params) if checkpoints is not None else state.best or {}
    return Trained(
        state.params, {**state.params, **best}, state.best_step, np.asarray(state.losses), pd.DataFrame(list(state.rows)),
        state.seconds, state.diverged_at, remarks(state.rows, state.best_step, began, largest(moving(method, state.params))),
    )  # fmt: skip


def refuse_other(
    problem: FineTune,
    method: Method,
    *,
    key: Key,
    folder: Any,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int = 8,
    ordering: Ordering = random_reshuffling,
    dev: Questions | None = None,
    every: int | None = None,
    devices: Any = None,
    shard: Shard = "data",
) -> None:
    """Refuse a folder that keeps another run than these arguments of `train` make, before anything is computed.

    Raises:
        ValueError: the folder has the checkpoint of another run, with the argument that differs and both values; what
            `train` refuses.
    """
    plan, length, every = _planned(problem, method, key, steps, epochs, batch_size, ordering, dev, every, devices, shard)
    params = problem.init(jax.random.fold_in(key, START))
    recorded(Path(folder), _described(problem, method, plan, length, every, key, dev, shard, params))


def _planned(
    problem: FineTune, method: Method, key: Key, steps: int | None, epochs: int | None, batch_size: int, ordering: Ordering,
    dev: Questions | None, every: int | None, devices: Any, shard: Shard,
) -> tuple[Plan, int, int]:  # fmt: skip
    """The batches, how many, and how many between two looks."""
    length = _checked(problem, method, key, ordering, steps, epochs, batch_size, dev)
    mesh = None if devices is None else meshes.mesh(devices)
    _checks.choice("shard", shard, SHARDS)
    if mesh is not None and batch_size % mesh.size:
        raise _checks.refuse("batch_size", f"a multiple of {mesh.size}, the number of devices", batch_size)
    plan = Plan(problem, ordering, batch_size, key, mesh)
    every = plan.per_epoch if every is None else _checks.count("every", every)
    return plan, length if epochs is None else length * plan.per_epoch, every


def _described(
    problem: FineTune, method: Method, plan: Plan, length: int, every: int, key: Key, dev: Questions | None, shard: Shard,
    params: Params,
) -> dict[str, Any]:  # fmt: skip
    """All that decides a run, in JSON values; arrays by a fingerprint, functions by one of what they compute."""
    return {
        "method": method.described, "steps": length, "every": every, "batch_size": plan.batch_size,
        "ordering": plan.described(),
        "the data of key": jax.random.key_data(key).tolist(),
        "the model": repr((problem.config, problem.adapter, problem.dtype, problem.remat)),
        "devices, shard": None if plan.mesh is None else f"{plan.mesh.size}, {shard}",
        "the fingerprint of learning_rates": method.fingerprint(params, length),
        "the fingerprint of the first parameters": kept.digest(params),
        "the fingerprint of the problem's examples": kept.digest_all(problem.sequences),
        "the fingerprint of dev": kept.digest_all(dev),
    }  # fmt: skip


def _checked(
    problem: Any, method: Any, key: Any, ordering: Any, steps: Any, epochs: Any, batch_size: Any, dev: Any
) -> int:  # the number of steps or of epochs
    _checks.instance("problem", problem, FineTune, "a FineTune, as fine_tune makes")
    _checks.instance("method", method, Method, "a Method, as theory_lab.finetune.methods.method makes")
    blocks = ("base",) if problem.adapter is None else ("base", "peft")
    _checks.same_labels(f"the blocks of {method.name}", method.blocks, blocks, "the problem")
    _checks.key("key", key)
    check_ordering(ordering, problem.n)
    if (steps is None) == (epochs is None):
        raise _checks.refuse("steps and epochs", "given one without the other", (steps, epochs))
    if _checks.count("batch_size", batch_size) > problem.n:
        raise _checks.refuse("batch_size", f"at most the number of examples, {problem.n}", batch_size)
    if dev is not None:
        _checks.instance("dev", dev, Questions, "Questions, as encode makes, or None")
    return _checks.count("steps", steps) if epochs is None else _checks.count("epochs", epochs)


def _advanced(step: Step, method: Method, plan: Plan, state: State, end: int, tick: Callable[[int], Any]) -> State:
    """The steps up to ``end``; the losses are fetched together, so that the device need not wait for the host."""
    params, optimizer, tokens, values = state.params, state.optimizer, state.tokens, []
    with Stopwatch() as watch:
        for number in range(state.step, end):
            batch = plan.batch(number)
            params, optimizer, value = step(params, optimizer, plan.placed(batch), plan.key(number), method.rate(number))
            values.append(value)
            tokens += int(np.sum(batch.sequences.present[batch.weights > 0]))
            tick(1)
        losses = [float(value) for value in jax.device_get(values)]
    lost = [state.step + i for i, loss in enumerate(losses) if not math.isfinite(loss)]
    return replace(
        state, params=params, optimizer=optimizer, losses=(*state.losses, *losses), tokens=tokens,
        seconds=state.seconds + watch.run, diverged_at=lost[0] if lost else None,
    )  # fmt: skip
