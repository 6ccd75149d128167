"""Fine-tuning a base on a task of the generated language, as every experiment on language models sets it up.

The methods of the paper are step sizes of one oracle: values of the loss for the base, gradients for the adapter. A base
with step size 0 stays, so FO-PEFT is the hybrid method at eta_base = 0, step for step; full fine-tuning by gradients has
another oracle. What a step costs is told by the method, not by what these sweeps compute.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import theory_lab as tl
from theory_lab import _checks
from theory_lab._typing import Params
from theory_lab.finetune import bases, language
from theory_lab.finetune.encoding import Questions
from theory_lab.finetune.problem import FineTune, fine_tune
from theory_lab.finetune.tasks import READERS, Task, read, sample
from theory_lab.models import Adapter, lora, prefix, prompt
from theory_lab.run.trace import Trace

ADAPTERS: Mapping[str, Adapter] = {"lora": lora(8, 16), "prefix": prefix(5), "prompt": prompt(10)}
RADIUS = 1e-3
HYBRID = tl.Hybrid({"base": tl.TwoPoint(RADIUS), "peft": tl.FirstOrder()})
FIRST_ORDER = tl.FirstOrder()
TASK, BASE = 0, 1  # the streams of the seed
WIDTHS = (16, 32, 56)  # texts are padded to one of these lengths, so that few programs are compiled


class Setting(NamedTuple):
    """A base, a task, and the problem that they make."""

    model: bases.Base
    task: Task
    questions: dict[str, Questions]  # by split
    problem: FineTune

    def with_adapter(self, adapter: Adapter | None) -> "Setting":
        """The same base and examples with another adapter."""
        return self._replace(problem=fine_tune(self.model.config, self.model.base, self.questions["train"], adapter))


def setting(
    base: str, task: str, adapter: Adapter | None = None, *, train: int = 64, dev: int = 64, test: int = 128, seed: int = 0,
    data: str | None = None,
) -> Setting:  # fmt: skip
    """A base by its name or folder, so many examples of a task, encoded, and the problem with an adapter or without.

    A task is one of the generated language or, where a folder with data is given, an official one: its files lie there in a
    folder of its name.
    """
    key = jax.random.key(seed)
    model = bases.base_model(base, jax.random.fold_in(key, BASE), dtype="float32")
    stream = jax.random.fold_in(key, TASK)
    if data is not None and task in READERS:
        drawn = sample(read(task, str(Path(data, task))), stream, train=train, dev=dev, test=test)
    else:
        drawn = language.task(task, stream, train=train, dev=dev, test=test)
    return _of_task(model, drawn).with_adapter(adapter)


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
    width = next((width for width in WIDTHS if width >= longest), longest)
    return Setting(model, task, {name: _padded(each, width, model.pad) for name, each in encoded.items()}, None)  # type: ignore[arg-type]


def _padded(questions: Questions, width: int, pad: int) -> Questions:
    """Texts filled up on the right to a length; what is added is neither present nor scored."""
    more = [(0, 0), (0, 0), (0, width - questions.options.tokens.shape[-1])]
    filled = {"tokens": pad, "present": False, "scored": False}
    options = type(questions.options)(
        **{n: np.pad(getattr(questions.options, n), more, constant_values=v) for n, v in filled.items()}
    )
    return Questions(options, questions.labels, questions.truncated)


def fine_tuned(
    problem: FineTune, rates: Sequence[Mapping[str, float]], keys: jax.Array, *, epochs: int, batch_size: int = 8,
    oracle: tl.Oracle = HYBRID, log_epochs: Sequence[int] | None = None,
) -> Trace:  # fmt: skip
    """All pairs of step sizes (G) with all keys (S), in one compiled program; logged at the start and the end by default.

    Every look at the objective costs as much as n component gradients: log few.
    """
    labels = ("base",) if problem.adapter is None else ("base", "peft")
    grid = {label: [rate.get(label, 0.0) for rate in rates] for label in labels}
    looks = [0, epochs] if log_epochs is None else log_epochs
    return tl.sweep(
        problem, oracle, tl.hybrid_sgd, step_sizes=grid, keys=keys, epochs=epochs, batch_size=batch_size, log_epochs=looks
    )


def correct(problem: FineTune, params: Params, questions: Questions) -> np.ndarray:
    """Which questions are answered rightly by each cell of a sweep: parameters (G, S, ...) -> (G, S, questions).

    An answer with a score that is not finite is wrong.
    """
    return right(option_scores(problem, params, questions), questions)


def right(scores: np.ndarray, questions: Questions) -> np.ndarray:
    """Which questions have their highest score at the right option: (..., questions, options) -> (..., questions)."""
    return np.isfinite(scores).all(axis=-1) & (scores.argmax(axis=-1) == np.asarray(questions.labels))


def option_scores(problem: FineTune, params: Params, questions: Questions) -> np.ndarray:
    """Mean log-probabilities of all options by each cell of a sweep: (G, S, ...) -> (G, S, questions, options)."""
    return np.asarray(_option_scores(problem._bare(), params, questions.options))


@jax.jit
def _option_scores(problem: FineTune, params: Params, options: Any) -> jax.Array:
    """(G, S, questions, options), a cell of the sweep at a time."""
    shape = options.tokens.shape[:2]
    flat = jax.tree.map(lambda a: a.reshape(-1, a.shape[-1]), options)
    leading = jax.tree.leaves(params)[0].shape[:2]
    cells = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), params)
    scores = jax.lax.map(lambda one: problem.scores(one, flat), cells)
    return jnp.reshape(scores, (*leading, *shape))
