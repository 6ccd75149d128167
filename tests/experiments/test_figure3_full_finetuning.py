"""The judge of `figure3_full_finetuning` on fabricated frames: what it must pass and what it must not."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments import _task_answers
from experiments import figure3_full_finetuning as experiment
from experiments._task_trials import EQUAL, FORWARDS, NAMES, STEPS
from theory_lab.claims import Verdict

QUESTIONS = 128
TASKS = ("sentiment", "entailment", "plausible", "blank")
MODELS = ("one", "other")


def row(model: str, task: str, method: str, budget: str, seed: int, right: int, dev: float = 0.7) -> dict[str, Any]:
    """So many right answers in the first places: between two methods all that differs lies on one side."""
    packed = _task_answers.packed(np.arange(QUESTIONS) < right)
    at = {"model": model, "task": task, "method": method, "budget": budget, "seed": seed}
    return {**at, "base": 0.0, "peft": 0.1, "dev": dev, "dev_loss": 1.0, **packed}


def made(leads: dict[str, int], *, zeroth: int = 80) -> pd.DataFrame:
    """FO-FT answers 90, ZO-FT so many, the hybrid so many more than FO-FT, by task."""
    rights = {"majority": 64, "zero-shot": 70, "FO-FT": 90, "ZO-FT": zeroth}
    found = []
    for model in MODELS:
        for task, lead in leads.items():
            for seed in range(2):
                for method, right in rights.items():
                    budgets = (STEPS, FORWARDS) if method.endswith("FT") else (EQUAL,)
                    found += [row(model, task, method, budget, seed, right) for budget in budgets]
                for name in NAMES.values():
                    found.append(row(model, task, f"Hybrid-{name}", EQUAL, seed, 90 + lead))
    return pd.DataFrame(found)


def verdict(frame: pd.DataFrame, words: str) -> Verdict:
    (found,) = (one for one in experiment.judge(frame) if words in one.claim)
    return found


def test_large_wins_everywhere_are_wins_and_more_than_chance() -> None:
    frame = made(dict.fromkeys(TASKS, 20))
    assert len(experiment.judge(frame)) == 10
    assert verdict(frame, "equal steps: of the pairs and adapters").measured == 1.0
    assert verdict(frame, "equal steps: of the pairs and adapters").samples == 24
    assert verdict(frame, "equal forwards: of the pairs and adapters").outcome == "holds"
    assert verdict(frame, "equal steps: of the pairs, the adapter chosen on dev").samples == 8
    assert verdict(frame, "equal steps: at least every second win").outcome == "holds"
    for other in experiment.FULL_METHODS:
        assert verdict(frame, f"equal forwards: of the questions that one of Hybrid-PEFT and {other}").outcome == "holds"


def test_small_wins_are_wins_and_not_more_than_chance() -> None:
    frame = made(dict.fromkeys(TASKS, 1))  # two questions of 256 for every pair
    assert verdict(frame, "equal steps: of the pairs and adapters").measured == 1.0
    assert verdict(frame, "equal steps: at least every second win").outcome == "fails"
    pooled = verdict(frame, "equal steps: of the questions that one of Hybrid-PEFT and FO-FT")
    assert (pooled.outcome, pooled.samples) == ("holds", 16)  # together they show what no pair does


def test_both_must_be_beaten() -> None:
    frame = made(dict.fromkeys(TASKS, 20), zeroth=120)
    assert verdict(frame, "equal steps: of the pairs and adapters").measured == 0.0
    assert verdict(frame, "equal steps: of the pairs and adapters").outcome == "fails"
    assert verdict(frame, "equal steps: of the pairs, the adapter chosen on dev").outcome == "fails"
    assert verdict(frame, "equal steps: of the questions that one of Hybrid-PEFT and FO-FT").outcome == "holds"
    assert verdict(frame, "equal steps: of the questions that one of Hybrid-PEFT and ZO-FT").outcome == "fails"
    some = verdict(frame, "equal steps: at least every second win")
    assert some.outcome == "undecided"
    assert "no pair is won; 24 of 24 are significantly worse than one of the two" in some.reason


def test_a_win_is_more_than_chance_only_over_both() -> None:
    frame = made(dict.fromkeys(TASKS, 20), zeroth=109)
    assert verdict(frame, "equal steps: of the pairs and adapters").measured == 1.0
    assert verdict(frame, "equal steps: at least every second win").measured == 0.0


def test_ties_with_the_better_of_the_two_are_left_aside() -> None:
    mixed = made({"sentiment": 5, "entailment": 0, "plausible": 0, "blank": -5})
    share = verdict(mixed, "equal steps: of the pairs and adapters")
    assert (share.measured, share.samples) == (0.5, 12)
    assert verdict(made(dict.fromkeys(TASKS, 0)), "equal steps: of the pairs and adapters").outcome == "undecided"


def test_dev_chooses_the_adapter_of_every_seed_by_accuracy_then_by_loss() -> None:
    frame = made({"blank": 0})
    prompt = (frame.method == "Hybrid-Prompt") & (frame.seed == 1)
    frame.loc[prompt, "dev"] = 0.8
    frame.loc[prompt, "answers"] = _task_answers.packed(np.arange(QUESTIONS) < 100)["answers"]
    frame.loc[(frame.method == "Hybrid-LoRA") & (frame.seed == 0), "dev_loss"] = 0.5
    frame.loc[(frame.method == "Hybrid-Prefix"), "dev"] = 0.6
    chosen = experiment._chosen(frame, STEPS)
    assert chosen["one", "blank", experiment.CHOSEN].sum() == 90 + 100
    assert experiment.compared({**experiment.trials.table(frame, STEPS, experiment.BY), **chosen}, [experiment.CHOSEN]).lead[
        0
    ] == pytest.approx(10)


def test_budgets_are_judged_apart() -> None:
    frame = made(dict.fromkeys(TASKS, 20))
    frame.loc[(frame.method == "ZO-FT") & (frame.budget == FORWARDS), "answers"] = "f" * 32
    assert verdict(frame, "equal steps: of the pairs and adapters").measured == 1.0
    assert verdict(frame, "equal forwards: of the pairs and adapters").measured == 0.0


def test_a_cell_per_base_and_group() -> None:
    for settings in (experiment.QUICK, experiment.FULL):
        cells = experiment.cells(settings)
        assert len(cells) == len(settings.bases) * len(settings.groups)
        assert {cell["base"] for cell in cells} == set(settings.bases)
        assert sum(len(cell["tasks"]) for cell in cells) == len(settings.bases) * sum(map(len, settings.groups))


def test_the_picture_has_a_panel_per_base_and_task() -> None:
    frame = made({"sentiment": 20, "entailment": 0, "plausible": -20, "blank": 1})
    figure = experiment.draw(frame, experiment.judge(frame))
    assert len(figure.axes) == len(MODELS) * frame.task.nunique()
    stars = sum(text.get_text() == "*" for axes in figure.axes for text in axes.texts)
    assert stars == len(MODELS) * len(NAMES) * 2  # one task, two budgets
    assert "(star: " in figure.get_suptitle()
    even = made(dict.fromkeys(TASKS, 0))
    assert "star" not in experiment.draw(even, experiment.judge(even)).get_suptitle()
