"""All methods on one task: their step sizes, their budgets, and what every trial answers.

- *One rule for all step sizes*: a block that moves by gradients has one grid, a block that moves by values of the loss
  another; of a method's trials the one of highest accuracy on dev is taken, of equal ones that of lowest loss there. The
  hybrid's grid is the product of both.
- *Equal budgets*, in steps and in forward passes, a backward pass counted as two: a step of Hybrid-PEFT costs 4, of FO-FT
  and FO-PEFT 3, of ZO-FT 2.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd

from experiments import _fine_tuning as tuning
from experiments import _task_answers as answers
from theory_lab.finetune.baselines import majority
from theory_lab.finetune.encoding import Questions

FIRST = (1e-2, 1e-1, 1.0)
ZEROTH = (1e-5, 3e-5, 1e-4)
EPOCHS = {"FO": 4, "Hybrid": 3, "ZO": 6}  # that cost twelve forward passes of all examples
EQUAL, STEPS, FORWARDS = "both", "steps", "forwards"
NAMES = {"lora": "LoRA", "prefix": "Prefix", "prompt": "Prompt"}
LEVEL = 0.05


def baselines(setting: tuning.Setting) -> Iterator[dict[str, Any]]:
    """Always the more frequent label, and the base as it is."""
    at = {"budget": EQUAL, "epochs": 0, "base": 0.0, "peft": 0.0, "loss": np.nan, "dev": np.nan, "dev_loss": np.nan}
    yield {"method": "majority", **at, **answers.packed(majority(setting.task.train, setting.task.test))}
    start = setting.problem.init(jax.random.key(0))
    yield {"method": "zero-shot", **at, **answers.packed(setting.problem.answers(start, setting.questions["test"]).correct)}


def hybrids(setting: tuning.Setting, cell: dict[str, Any], kind: str, key: jax.Array) -> Iterator[dict[str, Any]]:
    """Hybrid-PEFT; each call has as many step sizes as one of another method, so that an adapter is compiled once."""
    own, epochs = setting.with_adapter(tuning.ADAPTERS[kind]), EPOCHS["Hybrid"] * cell["rounds"]
    for base in cell["zeroth"]:
        yield from trial(own, f"Hybrid-{NAMES[kind]}", EQUAL, [(base, peft) for peft in cell["first"]], epochs, key)


def twins(setting: tuning.Setting, cell: dict[str, Any], kind: str, key: jax.Array) -> Iterator[dict[str, Any]]:
    """FO-PEFT, at equal steps and at equal forward passes."""
    own = setting.with_adapter(tuning.ADAPTERS[kind])
    for budget, epochs in budgets("FO"):
        rates = [(0.0, peft) for peft in cell["first"]]
        yield from trial(own, f"FO-{NAMES[kind]}", budget, rates, epochs * cell["rounds"], key)


def zeroth(setting: tuning.Setting, cell: dict[str, Any], key: jax.Array) -> Iterator[dict[str, Any]]:
    """ZO-FT: the base beside a LoRA that changes nothing as long as it stays at its start."""
    own = setting.with_adapter(tuning.ADAPTERS["lora"])
    for budget, epochs in budgets("ZO"):
        rates = [(base, 0.0) for base in cell["zeroth"]]
        yield from trial(own, "ZO-FT", budget, rates, epochs * cell["rounds"], key)


def first(setting: tuning.Setting, cell: dict[str, Any], key: jax.Array) -> Iterator[dict[str, Any]]:
    """FO-FT."""
    for budget, epochs in budgets("FO"):
        rates = [(base, 0.0) for base in cell["first"]]
        yield from trial(setting, "FO-FT", budget, rates, epochs * cell["rounds"], key)


def budgets(kind: str) -> tuple[tuple[str, int], tuple[str, int]]:
    """Epochs of a kind of method at both budgets."""
    return (STEPS, EPOCHS["Hybrid"]), (FORWARDS, EPOCHS[kind])


def trial(
    setting: tuning.Setting, method: str, budget: str, rates: list[tuple[float, float]], epochs: int, key: jax.Array
) -> Iterator[dict[str, Any]]:
    """Pairs of step sizes (base, adapter), fine-tuned together.

    One row per pair: method, budget, epochs, step sizes, the training loss, accuracy and loss on dev, and the answers to the
    test questions (`_task_answers.packed`).
    """
    oracle = tuning.FIRST_ORDER if method == "FO-FT" else tuning.HYBRID
    grid = [{"base": base, "peft": peft} for base, peft in rates]
    trace = tuning.fine_tuned(setting.problem, grid, key[None], epochs=epochs, oracle=oracle, log_epochs=[epochs])
    dev, test = setting.questions["dev"], setting.questions["test"]
    both = _joined(dev, test)
    scores = tuning.option_scores(setting.problem, trace.params, both)[:, 0]  # (G, questions, options)
    right = tuning.right(scores, both)
    of_the_right = scores[:, np.arange(len(dev)), dev.labels]
    for g, sizes in enumerate(grid):
        row = {"method": method, "budget": budget, "epochs": epochs, **sizes, "loss": float(trace.value[g, 0, -1])}
        found = {"dev": float(right[g, : len(dev)].mean()), "dev_loss": float(-of_the_right[g].mean())}
        yield {**row, **found, **answers.packed(right[g, len(dev) :])}


def _joined(first: Questions, second: Questions) -> Questions:
    """One after the other, so that both are answered by one program."""
    both = jax.tree.map(lambda a, b: np.concatenate([a, b]), first.options, second.options)
    return Questions(both, np.concatenate([first.labels, second.labels]), first.truncated + second.truncated)


def table(frame: pd.DataFrame, budget: str, by: Sequence[str]) -> dict[Any, np.ndarray]:
    """The answers of the chosen trials at one budget, by these columns, in the order of the questions."""
    found = answers.chosen(frame[frame.budget.isin([budget, EQUAL])], by)
    return {at: answers.unpacked(rows) for at, rows in found.groupby(list(by))}
