"""The loop of fine-tuning: steps in place, along a reshuffling, looked at on dev now and then, resumable at any moment.

Same streams of random numbers as `theory_lab.run.loop`: the key's stream 0 orders the examples, stream 1 feeds the oracle,
stream 2 starts the adapter. So `theory_lab.run` with `Hybrid({"base": TwoPoint(radius, stream="rows"), "peft":
FirstOrder()})` on the same problem gives the same iterates up to rounding, with one more copy of the base. (It draws for
several steps at once where one step needs at most 512 numbers; there the directions differ.)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd

from theory_lab import _checks
from theory_lab._typing import Key, Params
from theory_lab.finetune import kept
from theory_lab.finetune.encoding import Questions
from theory_lab.finetune.methods import Method
from theory_lab.finetune.plan import Plan
from theory_lab.finetune.problem import FineTune
from theory_lab.models import tensorfile
from theory_lab.models.perturb import Step
from theory_lab.orderings import Ordering, random_reshuffling
from theory_lab.run.clock import Stopwatch
from theory_lab.run.loop import START
from theory_lab.run.progress import bar


@dataclass(frozen=True)
class Trained:
    """What fine-tuning leaves.

    Attributes:
        params: at the end.
        best: those at the best look on dev, the highest accuracy and among equal ones the lowest loss, the start included;
            without dev those at the end. The blocks that move are NumPy arrays.
        best_step: how many steps made them.
        losses: (steps,) of every batch before its step.
        history: one row per look, the first before training: step, epoch, loss (mean over the batches since the row before),
            dev_accuracy, dev_loss (mean of -log p of the right options), and what was spent on steps so far: forwards and
            backwards (passes of a batch through the model), tokens (of the batches, without padding).
        seconds: wall time of the steps, without compiling and without dev.
        diverged_at: the first step whose loss was not finite, or after which dev's was not; None if there is none. There
            training stops.
    """

    params: Params
    best: Params
    best_step: int
    losses: np.ndarray
    history: pd.DataFrame
    seconds: float
    diverged_at: int | None


@dataclass(frozen=True)
class _State:
    """Between two steps; all but the arrays is JSON."""

    params: Params
    optimizer: optax.OptState
    losses: tuple[float, ...] = ()
    rows: tuple[Mapping[str, float], ...] = ()
    tokens: int = 0
    seconds: float = 0.0
    best_step: int = 0
    diverged_at: int | None = None

    @property
    def step(self) -> int:
        return len(self.losses)


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
        ordering: of the examples in an epoch.
        dev: questions to choose the best parameters by.
        every: steps between two looks, at each of which a row is written, dev is asked and a checkpoint is made; None is
            once an epoch. The end is always looked at.
        folder: where checkpoints are kept. A run that is killed at any moment and started again with the same arguments goes
            on from the last one and ends with the same bits (on the same machine and versions); a folder with the
            checkpoint of another run is refused. None keeps nothing on disk.
        params: where to start; their memory is used for the result, and they are gone. None starts from a copy of
            ``problem.init``: for a model of which there is no room for two copies, give ``problem.init(key)`` itself.
        progress: show a bar if tqdm is installed.

    Returns:
        `Trained`. Losses that are not finite are recorded and stop the run; they raise nothing.

    Raises:
        ValueError: a method whose blocks the problem has not, both or neither of steps and epochs, more examples in a batch
            than there are, a folder of another run, an optimizer that needs more than gradients and parameters.
    """
    length = _checked(problem, method, key, steps, epochs, batch_size, dev)
    _checks.flag("progress", progress)
    plan = Plan(problem, ordering, batch_size, key)
    every = plan.per_epoch if every is None else _checks.count("every", every)
    length = length if epochs is None else length * plan.per_epoch
    begin = _begin(problem, method, key, params)
    where = None if folder is None else tensorfile.new_folder(folder)
    told = {
        "method": method.described, "steps": length, "every": every, "batch_size": batch_size,
        "ordering": getattr(ordering, "__name__", type(ordering).__name__), "key": jax.random.key_data(key).tolist(),
        "model": repr((problem.config, problem.adapter, problem.dtype, problem.remat)), "start": kept.digest(begin.params),
        "examples": kept.digest_all(problem.sequences), "dev": kept.digest_all(dev),
    }  # fmt: skip
    state, best = _resumed(where, told, method, begin)
    step = method.step(problem.loss)
    with bar(progress, length, "step") as shown:
        if shown is not None:
            shown.update(state.step)
        if not state.rows:
            state, best = _looked(problem, method, plan, state, best, dev, where, told, 0)
        while state.step < length and state.diverged_at is None:
            before = state.step
            state = _advanced(step, method, plan, state, min(length, (before // every + 1) * every), shown)
            state, best = _looked(problem, method, plan, state, best, dev, where, told, before)
    if best is None:  # it is on disk
        best = kept.load(where / kept.BEST, "best", _moving(method, state.params))  # type: ignore[operator]
    history = pd.DataFrame(list(state.rows))
    losses = np.asarray(state.losses)
    return Trained(
        state.params, {**state.params, **best}, state.best_step, losses, history, state.seconds, state.diverged_at
    )


def _checked(
    problem: Any, method: Any, key: Any, steps: Any, epochs: Any, batch_size: Any, dev: Any
) -> int:  # the number of steps or of epochs
    _checks.instance("problem", problem, FineTune, "a FineTune, as fine_tune makes")
    _checks.instance("method", method, Method, "a Method, as theory_lab.finetune.methods.method makes")
    blocks = ("base",) if problem.adapter is None else ("base", "peft")
    _checks.same_labels(f"the blocks of {method.name}", method.blocks, blocks, "the problem")
    _checks.key("key", key)
    if (steps is None) == (epochs is None):
        raise _checks.refuse("steps and epochs", "given one without the other", (steps, epochs))
    if _checks.count("batch_size", batch_size) > problem.n:
        raise _checks.refuse("batch_size", f"at most the number of examples, {problem.n}", batch_size)
    if dev is not None:
        _checks.instance("dev", dev, Questions, "Questions, as encode makes, or None")
    return _checks.count("steps", steps) if epochs is None else _checks.count("epochs", epochs)


def _begin(problem: FineTune, method: Method, key: Key, params: Params | None) -> _State:
    own = lambda: problem.init(jax.random.fold_in(key, START))
    if params is None:
        params = jax.tree.map(jnp.copy, own())
    else:
        like = jax.eval_shape(own)
        _checks.same_labels("params", _checks.labelled("params", params), like, "the problem")
        describe = lambda block: jax.tree.map(lambda a: (jnp.shape(a), str(a.dtype)), block)
        for label in like:
            if describe(params[label]) != describe(like[label]):
                raise _checks.refuse(f"params[{label!r}]", "of the problem's shapes and types", describe(params[label]))
    if method.moves.first is not None:
        _checks.update("the optimizer", method.optimizer, params[method.moves.first])
    return _State(dict(params), method.start(params))


def _moving(method: Method, params: Params) -> Params:
    return {label: params[label] for label in method.moves if label is not None}


def _advanced(step: Step, method: Method, plan: Plan, state: _State, end: int, shown: Any) -> _State:
    """The steps up to ``end``; the losses are fetched together, so that the device need not wait for the host."""
    params, optimizer, tokens, values = state.params, state.optimizer, state.tokens, []
    with Stopwatch() as watch:
        for number in range(state.step, end):
            batch = plan.batch(number)
            params, optimizer, value = step(params, optimizer, batch, plan.key(number), method.rate(number))
            values.append(value)
            tokens += int(np.sum(batch.sequences.present[batch.weights > 0]))
            if shown is not None:
                shown.update(1)
        losses = [float(value) for value in jax.device_get(values)]
    lost = [state.step + i for i, loss in enumerate(losses) if not math.isfinite(loss)]
    return replace(
        state, params=params, optimizer=optimizer, losses=(*state.losses, *losses), tokens=tokens,
        seconds=state.seconds + watch.run, diverged_at=lost[0] if lost else None,
    )  # fmt: skip


def _looked(
    problem: FineTune, method: Method, plan: Plan, state: _State, best: Params | None, dev: Questions | None,
    where: Path | None, told: Mapping[str, Any], before: int,
) -> tuple[_State, Params | None]:  # fmt: skip
    """A row for these parameters, the best ones kept, a checkpoint; the best is None where it is on disk."""
    accuracy = loss = math.nan
    if dev is not None:
        answers = problem.answers(state.params, dev)
        accuracy = float(np.mean(answers.correct))
        loss = float(-np.mean(answers.scores[np.arange(len(dev)), dev.labels]))
    since = state.losses[before:]
    row = {
        "step": state.step, "epoch": state.step / plan.per_epoch, "loss": float(np.mean(since)) if since else math.nan,
        "dev_accuracy": accuracy, "dev_loss": loss, "forwards": state.step * method.cost.values,
        "backwards": state.step * method.cost.gradients, "tokens": state.tokens,
    }  # fmt: skip
    diverged = state.diverged_at
    if diverged is None and dev is not None and not math.isfinite(loss):
        diverged = state.step
    better = not state.rows or (diverged is None and (dev is None or _better(row, state)))
    state = replace(state, rows=(*state.rows, row), diverged_at=diverged)
    if better:
        state = replace(state, best_step=state.step)
        best = _moving(method, state.params)
        best = jax.tree.map(np.array, best) if where is None else best  # a copy: the next step takes the memory
    if where is not None:
        if better:
            kept.save(where / kept.BEST, {"best": best}, {"step": state.best_step})
        trees = {"params": _moving(method, state.params), "optimizer": state.optimizer}
        names = ("losses", "rows", "tokens", "seconds", "best_step", "diverged_at")
        kept.save(where / kept.CHECKPOINT, trees, {"run": told, **{name: getattr(state, name) for name in names}})
    return state, best if where is None else None


def _better(row: Mapping[str, float], state: _State) -> bool:
    """Than the best row so far."""
    best = next(old for old in state.rows if old["step"] == state.best_step)
    return (row["dev_accuracy"], -row["dev_loss"]) > (best["dev_accuracy"], -best["dev_loss"])


def _resumed(where: Path | None, told: Mapping[str, Any], method: Method, begin: _State) -> tuple[_State, Params | None]:
    """Where the run stands: at its checkpoint, or at its beginning."""
    if where is None or not (where / kept.CHECKPOINT).exists():
        return begin, None
    path = where / kept.CHECKPOINT
    record = kept.record_of(path)
    for name, value in told.items():
        if record["run"].get(name) != value:
            raise _checks.refuse(f"{name} of the run in {str(where)!r}", f"{value!r}, as now", record["run"].get(name))
    params = {**begin.params, **_on_device(kept.load(path, "params", _moving(method, begin.params)))}
    record = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items() if name != "run"}
    return _State(params, _on_device(kept.load(path, "optimizer", begin.optimizer)), **record), None


def _on_device(tree: Any) -> Any:
    return jax.tree.map(lambda a: jnp.array(a, copy=True), tree)
