"""The judge of `table1_tasks` on fabricated frames: what it must pass and what it must not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments import _task_answers, _task_trials
from experiments import table1_tasks as table
from theory_lab.claims import Verdict

QUESTIONS = 128
TASKS = ("sentiment", "entailment", "plausible", "blank")


def answers(right: int) -> dict[str, Any]:
    """So many right answers in the first places: between two methods all that differs lies on one side."""
    return _task_answers.packed(np.arange(QUESTIONS) < right)


def rows(task: str, method: str, right: int, budgets: tuple[str, ...], *, dev: float = 0.7) -> list[dict[str, Any]]:
    return [
        {
            "task": task,
            "method": method,
            "budget": b,
            "seed": s,
            "base": 0.0,
            "peft": 0.1,
            "dev": dev,
            "dev_loss": 1.0,
            **answers(right),
        }
        for b in budgets
        for s in range(2)
    ]


def made(leads: dict[str, int], *, baseline: int = 64, lora: int = 70, hybrid: int = 100) -> pd.DataFrame:
    """A frame in which the hybrid leads its twins by so many answers per seed and task."""
    found = []
    for task in (*TASKS, table.KNOWLEDGE):
        for name, right in (("majority", 64), ("zero-shot", baseline)):
            found += rows(task, name, right, (table.EQUAL,), dev=np.nan)
    for task, lead in leads.items():
        found += [row for m in ("FO-FT", "ZO-FT") for row in rows(task, m, 90, (table.STEPS, table.FORWARDS))]
        for name in table.NAMES.values():
            found += rows(task, f"FO-{name}", 90, (table.STEPS, table.FORWARDS))
            found += rows(task, f"Hybrid-{name}", 90 + lead, (table.EQUAL,))
    found += rows(table.KNOWLEDGE, "FO-FT", 110, (table.STEPS,)) + rows(table.KNOWLEDGE, "FO-LoRA", lora, (table.STEPS,))
    found += rows(table.KNOWLEDGE, "Hybrid-LoRA", hybrid, (table.EQUAL,))
    return pd.DataFrame(found)


def verdict(frame: pd.DataFrame, words: str) -> Verdict:
    (found,) = (one for one in table.judge(frame) if words in one.claim)
    return found


def test_large_wins_everywhere_are_wins_and_significant() -> None:
    frame = made(dict.fromkeys(TASKS, 20))
    assert len(table.judge(frame)) == 10
    assert verdict(frame, "equal steps: of the comparisons").measured == 1.0
    assert verdict(frame, "equal steps: at least every second").outcome == "holds"
    assert verdict(frame, "every method learns to").outcome == "holds"


def test_small_wins_are_wins_and_not_significant() -> None:
    frame = made(dict.fromkeys(TASKS, 1))  # two questions of 256 for every pair
    assert verdict(frame, "equal forwards: of the comparisons").measured == 1.0
    assert verdict(frame, "equal forwards: at least every second").outcome == "fails"


def test_losses_everywhere_refute_the_counts_and_are_told() -> None:
    frame = made(dict.fromkeys(TASKS, -20))
    assert verdict(frame, "equal steps: of the comparisons").outcome == "fails"
    lost = verdict(frame, "equal steps: at least every second")
    assert lost.outcome == "undecided"
    assert "12 of 12 are significant losses" in lost.reason


def test_ties_are_left_aside() -> None:
    mixed = made({"sentiment": 5, "entailment": 0, "plausible": 0, "blank": -5})
    assert verdict(mixed, "equal steps: of the comparisons").measured == 0.5
    assert verdict(mixed, "equal steps: of the comparisons").samples == 6
    assert verdict(mixed, "equal steps: of the tasks").samples == 2
    assert verdict(made(dict.fromkeys(TASKS, 0)), "equal steps: of the tasks").outcome == "undecided"


def test_what_answers_no_better_than_the_majority_is_counted() -> None:
    poor = made({"sentiment": 10, "entailment": -26, "plausible": 10, "blank": 10})
    assert verdict(poor, "every method learns to").measured == pytest.approx(1 - 3 / 32)
    known = made({"sentiment": 10, "entailment": -26, "plausible": 10, "blank": 10}, baseline=90)
    assert verdict(known, "every method still does").measured == pytest.approx(1 - 3 / 32)
    assert not any("every method learns to" in one.claim for one in table.judge(known))


@pytest.mark.parametrize("lora, outcome", [(66, "holds"), (80, "undecided"), (95, "fails")])
def test_how_much_an_adapter_alone_learns_of_new_knowledge(lora: int, outcome: str) -> None:
    frame = made(dict.fromkeys(TASKS, 5), lora=lora)
    assert verdict(frame, "PEFT alone").outcome == outcome
    assert verdict(frame, "FO-FT learns").outcome == "holds"


def test_a_hybrid_that_knows_less_is_caught() -> None:
    assert verdict(made(dict.fromkeys(TASKS, 5), lora=90, hybrid=70), "Hybrid-LoRA learns more").outcome == "fails"


def test_the_trial_is_chosen_by_dev_alone_by_accuracy_then_by_loss() -> None:
    one = made(dict.fromkeys(TASKS, 5))
    start = {"task": "blank", "method": "FO-FT", "budget": table.STEPS, "seed": 0}
    tried = [(0.1, 0.6, 0.5, 128), (1.0, 0.8, 0.9, 128), (0.01, 0.8, 0.8, 40)]  # step size; accuracy, loss on dev; on test
    trials = pd.DataFrame(
        [{**start, "base": b, "peft": 0.0, "dev": dev, "dev_loss": loss, **answers(r)} for b, dev, loss, r in tried]
    )
    chosen = _task_answers.chosen(pd.concat([one[(one.method != "FO-FT") | (one.task != "blank")], trials]), table.BY)
    (row,) = chosen[(chosen.task == "blank") & (chosen.method == "FO-FT")].itertuples()
    assert row.base == 0.01


def test_answers_survive_packing() -> None:
    right = np.random.default_rng(0).random(53) < 0.6
    assert np.array_equal(_task_answers.unpacked(pd.DataFrame([_task_answers.packed(right)])), right)


def test_holm_rejects_step_by_step() -> None:
    assert _task_answers.holm([0.03, 0.01, 0.02, 0.005]).tolist() == [
        True,
        True,
        True,
        True,
    ]  # against 0.05, 0.0167, 0.025, 0.0125
    assert _task_answers.holm([0.04, 0.02]).tolist() == [True, True]
    assert _task_answers.holm([0.03, 0.001]).tolist() == [True, True]
    assert _task_answers.holm([0.06, 0.001, 0.04]).tolist() == [False, True, False]
    assert not _task_answers.holm([0.03, 0.03]).any()


def test_a_cell_per_group_and_one_for_every_repetition_of_the_new_knowledge() -> None:
    for settings in (table.QUICK, table.FULL):
        cells = table.cells(settings)
        assert [cell["part"] for cell in cells] == ["tasks"] * len(settings.groups) + ["knowledge"] * settings.facts
        assert [cell["turn"] for cell in cells if cell["part"] == "knowledge"] == list(range(settings.facts))


def test_budgets_of_forward_passes_are_equal() -> None:
    price = {"FO": 3, "Hybrid": 4, "ZO": 2}  # forward passes of a step, a backward pass being two
    assert len({price[kind] * epochs for kind, epochs in _task_trials.EPOCHS.items()}) == 1


def test_the_picture_has_a_panel_per_task() -> None:
    frame = made({"sentiment": 20, "entailment": 0, "plausible": -20, "blank": 1})
    figure = table.draw(frame, table.judge(frame))
    assert len(figure.axes) == frame.task.nunique()
    assert sum(text.get_text() == "*" for axes in figure.axes for text in axes.texts) == 12  # two tasks, adapters, budgets
    assert "(star: " in figure.get_suptitle()


def test_the_title_explains_no_star_that_is_not_drawn() -> None:
    frame = made(dict.fromkeys(TASKS, 0))
    assert "star" not in table.draw(frame, table.judge(frame)).get_suptitle()


def test_the_new_knowledge_may_be_left_out() -> None:
    assert [cell["part"] for cell in table.cells(replace(table.QUICK, facts=0))] == ["tasks"]
    frame = made(dict.fromkeys(TASKS, 20))
    without = table.judge(frame[frame.task != table.KNOWLEDGE])
    assert [v.claim for v in without] == [v.claim for v in table.judge(frame) if "new knowledge" not in v.claim]
