"""Fine-tuning a base on a task of the generated language, as every experiment on language models sets it up.

The methods of the paper are step sizes of one oracle: values of the loss for the base, gradients for the adapter. A base
with step size 0 stays, so FO-PEFT is the hybrid method at eta_base = 0, step for step; full fine-tuning by gradients has
another oracle. What a step costs is told by the method, not by what these sweeps compute.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import theory_lab as tl
from theory_lab import _checks
from theory_lab._typing import Params
from theory_lab.finetune import bases, language
from theory_lab.finetune.draws import Draws
from theory_lab.finetune.encoding import Questions, Sequences
from theory_lab.finetune.problem import FineTune, fine_tune
from theory_lab.finetune.tasks import READERS, Task, read, sample
from theory_lab.models import Adapter, lora, prefix, prompt
from theory_lab.run import loop

ADAPTERS: Mapping[str, Adapter] = {"lora": lora(8, 16), "prefix": prefix(5), "prompt": prompt(10)}
RADIUS = 1e-3
HYBRID = tl.Hybrid({"base": tl.TwoPoint(RADIUS), "peft": tl.FirstOrder()})
FIRST_ORDER = tl.FirstOrder()
TASK, BASE = 0, 1  # the streams of the seed
WIDTHS = (10, 14, 32, 56, 72, 96, 112, 160)  # texts are padded to one of these lengths, so that few programs are compiled
SCORED = 128  # sequences that are scored at a time, by one program whatever the number of questions


class Deal(NamedTuple):
    """Which of the official test questions a repetition gets, so that none is asked twice: the turn-th of so many hands."""

    seed: int  # of the shuffling, the same for all repetitions
    turn: int
    hands: int


class Setting(NamedTuple):
    """A base, a task, and the problem that they make."""

    model: bases.Base
    task: Task
    questions: dict[str, Questions]  # by split
    problem: FineTune

    def with_adapter(self, adapter: Adapter | None) -> "Setting":
        """The same base and examples with another adapter."""
        return self._replace(problem=fine_tune(self.model.config, self.model.base, self.questions["train"], adapter))

    def fitted(self, *splits: str) -> "Setting":
        """Of these splits alone, in texts filled up to what they need: for programs that no other task shares.

        Lengths are multiples of 4, so that other draws of the same task seldom compile anew.
        """
        used = [np.flatnonzero(self.questions[name].options.present.any(axis=(0, 1)))[-1] + 1 for name in splits]
        cut = np.s_[..., : -(-max(used) // 4) * 4]
        kept = {name: replace(self.questions[name], options=self.questions[name].options[cut]) for name in splits}
        return self._replace(questions=kept).with_adapter(self.problem.adapter)


def setting(
    base: str, task: str, adapter: Adapter | None = None, *, train: int = 64, dev: int = 64, test: int = 128, seed: int = 0,
    data: str | None = None, deal: Deal | None = None,
) -> Setting:  # fmt: skip
    """A base by its name or folder, so many examples of a task, encoded, and the problem with an adapter or without.

    A task is one of the generated language or, where a folder with data is given, an official one: its files lie there in a
    folder of its name. Test questions of an official task are drawn from few; with a deal, repetitions share them out.
    """
    key = jax.random.key(seed)
    model = bases.base_model(base, jax.random.fold_in(key, BASE), dtype="float32")
    stream = jax.random.fold_in(key, TASK)
    if data is not None and task in READERS:
        pools = read(task, str(Path(data, task)))
        drawn = sample(pools, stream, train=train, dev=dev, test=test)
        if deal is not None:
            shuffled = Draws(jax.random.key(deal.seed)).shuffled(pools.validation)
            drawn = replace(drawn, test=tuple(shuffled[deal.turn :: deal.hands][:test]))
    else:
        drawn = language.task(task, stream, train=train, dev=dev, test=test)
    return _of_task(model, drawn).with_adapter(adapter)


def seed_of(key: jax.Array) -> int:
    """A whole number that a key decides, for what takes a seed."""
    return int(jax.random.randint(key, (), 0, 2**31 - 1))


def tasks_of(groups: Sequence[Sequence[str]], data: str | None) -> list[list[str]]:
    """Groups of tasks; where a folder with data is given, the official ones: those named, or else all that it has.

    Raises:
        ValueError: a folder that has none of them.

    Example:
        >>> tasks_of((("plausible", "blank"),), None)
        [['plausible', 'blank']]
    """
    if data is None or all(task in READERS for group in groups for task in group):
        return [list(group) for group in groups]
    if found := [[name] for name in READERS if Path(data, name).is_dir()]:
        return found
    raise _checks.refuse("data", f"a folder with one or more of the folders {', '.join(READERS)}", data)


def called(base: str) -> str:
    """What rows and pictures call a base: its name, or its folder's without the place where that lies."""
    return Path(base).name


def _of_task(model: bases.Base, task: Task) -> Setting:
    splits = {"train": task.train, "dev": task.dev, "test": task.test}
    room = model.config.max_position_embeddings - max(adapter.virtual_tokens for adapter in ADAPTERS.values())
    encoded = {name: model.encode(examples, length=room) for name, examples in splits.items()}
    longest = max(questions.options.tokens.shape[-1] for questions in encoded.values())
    width = next((width for width in (*WIDTHS, room) if width >= longest), longest)
    return Setting(model, task, {name: _padded(each, width, model.pad) for name, each in encoded.items()}, None)  # type: ignore[arg-type]


def _padded(questions: Questions, width: int, pad: int) -> Questions:
    """Texts filled up on the right to a length; what is added is neither present nor scored."""
    more = [(0, 0), (0, 0), (0, width - questions.options.tokens.shape[-1])]
    filled = {"tokens": pad, "present": False, "scored": False}
    options = type(questions.options)(
        **{n: np.pad(getattr(questions.options, n), more, constant_values=v) for n, v in filled.items()}
    )
    return Questions(options, questions.labels, questions.truncated)


class Followed(NamedTuple):
    """Trajectories of G pairs of step sizes and one key, and what was seen of them.

    Attributes:
        losses: on all training examples, (G, E); inf from where a run has left the finite numbers.
        params: at the end, (G, ...), or as many as there is room for.
    """

    losses: np.ndarray
    params: Params


def followed(
    problem: FineTune, rates: Sequence[Mapping[str, float]], key: jax.Array, *, epochs: Sequence[int], **how: Any
) -> Followed:
    """All pairs of step sizes with one key, by one compiled program; the loss after so many epochs, without its gradient.

    Args:
        how: as in `stages`.
    """
    seen = []
    for state in stages(problem, rates, key, epochs=epochs, **how):
        stands = np.isinf(np.asarray(state.diverged_at))
        seen.append(np.where(stands, losses(problem, state.params, problem.sequences), np.inf)[: len(rates)])
    return Followed(np.stack(seen, axis=1), state.params)


def losses(problem: FineTune, params: Params, sequences: Sequences) -> np.ndarray:
    """The mean loss on some sequences of each of G models, (G, ...) -> (G,); inf where it is not finite.

    As many sequences at a time as the problem has, so that one program serves all splits.
    """
    found = -scores(problem, params, sequences, most=problem.n).mean(axis=1, dtype=np.float64)
    return np.where(np.isfinite(found), found, np.inf)


def _grid(problem: FineTune, rates: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    labels = ("base",) if problem.adapter is None else ("base", "peft")
    return {label: [rate.get(label, 0.0) for rate in rates] for label in labels}


def stages(
    problem: FineTune, rates: Sequence[Mapping[str, float]], key: jax.Array, *, epochs: Sequence[int], batch_size: int = 8,
    oracle: tl.Oracle = HYBRID, make_optimizer: loop.MakeOptimizer = tl.hybrid_sgd, params: Params | None = None,
    room: int = 1,
) -> Iterator[loop.State]:  # fmt: skip
    """The trajectories of `theory_lab.sweep` with one key after so many epochs each time, parameters (G, ...), and no look
    at the objective, which would take all examples' gradients at once.

    Args:
        epochs: increasing, each of them a stop; 0 is the start.
        params: where all start; None is the start that the key draws.
        room: for so many trajectories, at least: fewer share a program. Parameters beyond G are those of the start.
    """
    spare = [0.0] * (room - len(rates))
    sizes = {label: jnp.asarray(grid + spare, jnp.float32) for label, grid in _grid(problem, rates).items()}
    state, before = _begun(problem, sizes, key, params, make_optimizer=make_optimizer), 0
    for last in epochs:
        at = (jnp.int32(len(rates)), key, jnp.int32(before), jnp.int32(last))
        state = _advanced(problem, oracle, sizes, state, *at, batch_size=batch_size, make_optimizer=make_optimizer)
        yield state
        before = last


@partial(jax.jit, static_argnames="make_optimizer")
def _begun(
    problem: FineTune, sizes: Mapping[str, jax.Array], key: jax.Array, params: Params | None, *,
    make_optimizer: loop.MakeOptimizer,
) -> loop.State:  # fmt: skip
    start = loop.start_params(problem, key) if params is None else params

    def begin(own: Mapping[str, jax.Array]) -> loop.State:
        return loop.State(start, make_optimizer(own).init(start), jnp.array(jnp.inf))

    return jax.vmap(begin)(sizes)


@partial(jax.jit, static_argnames=("batch_size", "make_optimizer"), donate_argnames="state")
def _advanced(
    problem: FineTune, oracle: tl.Oracle, sizes: Mapping[str, jax.Array], state: loop.State, count: jax.Array,
    key: jax.Array, first: jax.Array, last: jax.Array, *, batch_size: int, make_optimizer: loop.MakeOptimizer,
) -> loop.State:  # fmt: skip
    """From one epoch to another, the first ``count`` step sizes in one loop; they share order and directions."""

    turn = _in_turn(make_optimizer)

    def one(own: Mapping[str, jax.Array], state: loop.State, epoch: jax.Array) -> loop.State:
        how = make_optimizer(own), tl.random_reshuffling, batch_size, False
        return loop.one_epoch(problem, oracle, *how, state, key, epoch, partial(turn, count, problem, oracle, own))[0]

    every = jax.vmap(one, in_axes=(0, 0, None))
    return jax.lax.fori_loop(first, last, lambda epoch, state: every(sizes, state, epoch), state)


def _in_turn(make_optimizer: loop.MakeOptimizer) -> Callable[..., loop.Carry]:
    """`loop.one_step`, where there are many one after another, the first ``count`` of them; the others stay.

    Each has weights of its own, which batched products of matrices would fetch anew for every layer: eleven take 1.6 times
    as long. Directions are drawn once for all.
    """

    @jax.custom_batching.custom_vmap
    def step(
        count: jax.Array, problem: FineTune, oracle: tl.Oracle, own: Mapping[str, jax.Array], carry: loop.Carry, *drawn: Any
    ) -> loop.Carry:
        return loop.one_step(problem, oracle, make_optimizer(own), carry, *drawn)

    @step.def_vmap
    def _(size: int, batched: Any, count: jax.Array, problem: Any, oracle: Any, own: Any, carry: Any, *drawn: Any) -> Any:
        def body(i: jax.Array, every: loop.Carry) -> loop.Carry:
            one, sizes = jax.tree.map(lambda leaf: leaf[i], (every, own))
            moved = loop.one_step(problem, oracle, make_optimizer(sizes), one, *drawn)
            return jax.tree.map(lambda leaf, new: leaf.at[i].set(new), every, moved)

        each = lambda leaf, many: leaf if many else jnp.broadcast_to(leaf, (size, *leaf.shape))
        every = jax.lax.fori_loop(0, count, body, jax.tree.map(each, carry, batched[4]))
        return every, jax.tree.map(lambda _: True, every)

    return step


def right(scores: np.ndarray, questions: Questions) -> np.ndarray:
    """Which questions have their highest score at the right option: (..., questions, options) -> (..., questions)."""
    return np.isfinite(scores).all(axis=-1) & (scores.argmax(axis=-1) == np.asarray(questions.labels))


def scores(problem: FineTune, params: Params, sequences: Sequences, *, most: int = SCORED) -> np.ndarray:
    """Mean log-probabilities of sequences by each of G models, (G, ...) and (N, T) -> (G, N), some sequences at a time."""
    count, size = len(sequences.tokens), min(most, SCORED)
    found = []
    for first in range(0, count, size):
        taken = np.arange(first, first + size).clip(max=count - 1)
        found.append(_scored(problem.bare(), params, jax.tree.map(lambda a, at=taken: np.asarray(a)[at], sequences)))
    return np.concatenate([np.asarray(part) for part in found], axis=1)[:, :count]


@jax.jit
def _scored(problem: FineTune, params: Params, sequences: Sequences) -> jax.Array:
    return jax.lax.map(lambda one: problem.scores(one, sequences), params)


def option_scores(problem: FineTune, params: Params, options: Sequences) -> np.ndarray:
    """The scores of all options by each of G models, (G, ...) and (n, K, T) -> (G, n, K).

    Where the options of a question are one word each in one place, its text is read once for all of them.
    """
    number, asked, width = options.tokens.shape
    options = jax.tree.map(np.asarray, options)
    if not _one_word(options):
        flat = jax.tree.map(lambda a: a.reshape(-1, width), options)
        return scores(problem, params, flat).reshape(-1, number, asked)
    words = options.tokens[options.scored].reshape(number, asked)
    size = -(-number // -(-number // SCORED))  # parts of one size, but even
    found = []
    for first in range(0, number, size):
        taken = np.arange(first, first + size).clip(max=number - 1)
        texts = jax.tree.map(lambda a, at=taken: a[at, 0], options)
        found.append(np.asarray(_worded(problem.bare(), params, texts, words[taken])))
    return np.concatenate(found, axis=1)[:, :number]


def _one_word(options: Sequences) -> bool:
    """Whether the options of every question differ in one scored word at most, the last of the text."""
    same = lambda a: bool((a == a[:, :1]).all())
    after = np.cumsum(options.scored, axis=-1) > options.scored
    one = bool((options.scored.sum(axis=-1) == 1).all() and not (after & options.present).any())
    return one and all(map(same, (options.scored, options.present, np.where(options.scored, 0, options.tokens))))


@jax.jit
def _worded(problem: FineTune, params: Params, texts: Sequences, words: jax.Array) -> jax.Array:
    return jax.lax.map(lambda one: problem.words(one, texts, words), params)
