"""All methods on one task: their step sizes, their budgets, and what every trial answers.

- *One rule for all step sizes*: a block that moves by gradients has one grid, a block that moves by values of the loss
  another; of a method's trials the one of highest accuracy on dev is taken, of equal ones that of lowest loss there. The
  hybrid's grid is the product of both.
- *Equal budgets*, in steps and in forward passes, a backward pass counted as two: a step of Hybrid-PEFT costs 4, of FO-FT
  and FO-PEFT 3, of ZO-FT 2.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
import pandas as pd

from experiments import _fine_tuning as tuning
from experiments import _task_answers as answers
from theory_lab._typing import Params
from theory_lab.finetune.baselines import majority
from theory_lab.run.loop import State

Rows: TypeAlias = Iterator[dict[str, Any]]

FIRST = (1e-2, 1e-1, 1.0)
ZEROTH = (3e-5, 3e-4)
EPOCHS = {"FO": 4, "Hybrid": 3, "ZO": 6}  # that cost twelve forward passes of all examples
EQUAL, STEPS, FORWARDS = "both", "steps", "forwards"
NAMES = {"lora": "LoRA", "prefix": "Prefix", "prompt": "Prompt"}
LEVEL = 0.05
ASKED = ("dev", "test")


def repetition(
    cell: dict[str, Any], task: str, seed: int, key: jax.Array, examples: Mapping[str, int] | None = None
) -> tuning.Setting:
    """What one seed is trained on and asked: its own examples, and its hand of the official test questions.

    Args:
        examples: how many of each split; None is what the cell says.
    """
    sizes = {name: cell[name] for name in ("train", "dev", "test")} if examples is None else examples
    own, deal = tuning.seed_of(jax.random.fold_in(key, seed)), tuning.Deal(tuning.seed_of(key), seed, cell["seeds"])
    return tuning.setting(cell["base"], task, seed=own, data=cell.get("data"), deal=deal, **sizes)


def baselines(setting: tuning.Setting) -> Rows:
    """Always the more frequent label, and the base as it is."""
    at = {"budget": EQUAL, "epochs": 0, "base": 0.0, "peft": 0.0, "diverged": False, "dev": np.nan, "dev_loss": np.nan}
    yield {"method": "majority", **at, **answers.packed(majority(setting.task.train, setting.task.test))}
    start = setting.problem.init(jax.random.key(0))
    yield {"method": "zero-shot", **at, **answers.packed(setting.problem.answers(start, setting.questions["test"]).correct)}


def hybrids(setting: tuning.Setting, cell: dict[str, Any], kind: str, key: jax.Array) -> Rows:
    """Hybrid-PEFT; each call has as many step sizes as one of another method, so that an adapter is compiled once."""
    own, epochs = setting.with_adapter(tuning.ADAPTERS[kind]), EPOCHS["Hybrid"] * cell["rounds"]
    for base in cell["zeroth"]:
        yield from trial(own, f"Hybrid-{NAMES[kind]}", {EQUAL: epochs}, [(base, peft) for peft in cell["first"]], key)


def twins(setting: tuning.Setting, cell: dict[str, Any], kind: str, key: jax.Array) -> Rows:
    """FO-PEFT, at equal steps and at equal forward passes."""
    rates = [(0.0, peft) for peft in cell["first"]]
    own = setting.with_adapter(tuning.ADAPTERS[kind])
    yield from trial(own, f"FO-{NAMES[kind]}", budgets("FO", cell["rounds"]), rates, key)


def zeroth(setting: tuning.Setting, cell: dict[str, Any], key: jax.Array) -> Rows:
    """ZO-FT: the base beside a LoRA that changes nothing as long as it stays at its start."""
    rates = [(base, 0.0) for base in cell["zeroth"]]
    own = setting.with_adapter(tuning.ADAPTERS["lora"])
    yield from trial(own, "ZO-FT", budgets("ZO", cell["rounds"]), rates, key)


def first(setting: tuning.Setting, cell: dict[str, Any], key: jax.Array) -> Rows:
    """FO-FT."""
    yield from trial(setting, "FO-FT", budgets("FO", cell["rounds"]), [(base, 0.0) for base in cell["first"]], key)


def budgets(kind: str, rounds: int) -> dict[str, int]:
    """Epochs of a kind of method at both budgets."""
    return {STEPS: EPOCHS["Hybrid"] * rounds, FORWARDS: EPOCHS[kind] * rounds}


def trial(
    setting: tuning.Setting, method: str, budgets: Mapping[str, int], rates: list[tuple[float, float]], key: jax.Array
) -> Rows:
    """Pairs of step sizes (base, adapter), fine-tuned together; each budget goes on from the one before it.

    A row per budget and pair: method, budget, epochs, step sizes, whether the run left the finite numbers (it then stands
    where it last had them), accuracy and loss on dev, and the answers to the test questions (`_task_answers.packed`).
    """
    oracle = tuning.FIRST_ORDER if method == "FO-FT" else tuning.HYBRID
    grid = [{"base": base, "peft": peft} for base, peft in rates]
    stops = tuning.stages(setting.problem, grid, key, epochs=list(budgets.values()), oracle=oracle)
    for (budget, epochs), state in zip(budgets.items(), stops, strict=True):
        for sizes, found in zip(grid, _answered(setting, state), strict=True):
            yield {"method": method, "budget": budget, "epochs": epochs, **sizes, **found}


def _answered(setting: tuning.Setting, state: State) -> Rows:
    """What models (G, ...) answer."""
    values, dev = _values(setting, state.params), setting.questions["dev"]
    right = {name: tuning.right(values[name], setting.questions[name]) for name in ASKED}
    of_the_right = values["dev"][:, np.arange(len(dev)), dev.labels]
    for g, diverged in enumerate(np.isfinite(np.asarray(state.diverged_at))):
        found = {"dev": float(right["dev"][g].mean()), "dev_loss": float(-of_the_right[g].mean())}
        yield {"diverged": bool(diverged), **found, **answers.packed(right["test"][g])}


def _values(setting: tuning.Setting, params: Params) -> dict[str, np.ndarray]:
    """Scores of all options of dev and test by all models, (G, questions, options)."""
    asked = [jax.tree.map(np.asarray, setting.questions[name].options) for name in ASKED]
    every = jax.tree.map(lambda *some: np.concatenate(some), *asked)
    scores = tuning.option_scores(setting.problem, params, every)
    return dict(zip(ASKED, np.split(scores, [len(asked[0].tokens)], axis=1), strict=True))


def table(frame: pd.DataFrame, budget: str, by: Sequence[str]) -> dict[Any, np.ndarray]:
    """The answers of the chosen trials at one budget, by these columns, in the order of the questions."""
    found = answers.chosen(frame[frame.budget.isin([budget, EQUAL])], by)
    return {at: answers.unpacked(rows) for at, rows in found.groupby(list(by))}
