"""What experiments on language models are set up from: a base by name or folder, tasks generated or official."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import theory_lab as tl
from experiments import (
    _cells,
    figure1_smoothness,
    figure2_learning_rates,
    figure3_full_finetuning,
    figure4_convergence,
    table1_tasks,
    table3_adam,
    transformer_step_sizes,
)
from experiments import _fine_tuning as tuning
from experiments import _task_trials as trials
from theory_lab.finetune import bases

GENERATED = (("sentiment", "blank"), ("plausible",))


def copa(number: int) -> str:
    row = {"premise": "mira lost the key .", "choice1": "she was sad .", "choice2": "she was glad .", "question": "effect"}
    return json.dumps({**row, "label": number % 2}) + "\n"


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A folder with the official files of two tasks."""
    for name in ("sst2", "copa"):
        (tmp_path / name).mkdir()
    for name, rows in (("train", 12), ("dev", 6)):
        lines = "".join(f"the film was {('bad', 'good')[i % 2]} {i}\t{i % 2}\n" for i in range(rows))
        (tmp_path / "sst2" / f"{name}.tsv").write_text("sentence\tlabel\n" + lines)
    for name, rows in (("train", 12), ("val", 6)):
        (tmp_path / "copa" / f"{name}.jsonl").write_text("".join(map(copa, range(rows))))
    return str(tmp_path)


@pytest.mark.parametrize("task", ["sst2", "copa"])
def test_official_files_make_a_setting_with_a_base_from_a_folder(tmp_path: Path, data: str, task: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bases.PACKAGED / "tiny-opt", folder)
    found = tuning.setting(str(folder), task, tuning.ADAPTERS["prompt"], train=8, dev=4, test=6, data=data)
    assert found.task.sizes == {"train": 8, "dev": 4, "test": 6}
    assert found.problem.n == 8
    assert {one.id.partition(":")[0] for one in found.task.test} == {"dev.tsv" if task == "sst2" else "val.jsonl"}
    widths = {questions.options.tokens.shape[-1] for questions in found.questions.values()}
    assert len(widths) == 1
    assert widths <= set(tuning.WIDTHS)


def test_the_seed_draws_other_official_examples(data: str) -> None:
    first, same, other = (tuning.setting("tiny-opt", "sst2", train=4, dev=4, test=4, data=data, seed=s) for s in (0, 0, 1))
    assert first.task == same.task != other.task


def test_generated_tasks_do_not_look_at_the_data(data: str) -> None:
    one, other = (tuning.setting("tiny-opt", "blank", train=4, dev=4, test=4, data=d) for d in (data, None))
    assert one.task == other.task
    assert np.array_equal(one.questions["test"].options.tokens, other.questions["test"].options.tokens)


def test_tasks_are_those_of_the_folder_unless_some_of_them_are_named(data: str) -> None:
    assert tuning.tasks_of(GENERATED, None) == [["sentiment", "blank"], ["plausible"]]
    assert tuning.tasks_of(GENERATED, data) == [["sst2"], ["copa"]]
    assert tuning.tasks_of((("copa",),), data) == [["copa"]]


def test_a_folder_without_any_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="data must be a folder with one or more of the folders sst2, rte, wsc, wic, copa"):
        tuning.tasks_of(GENERATED, str(tmp_path))


@pytest.mark.parametrize("experiment", [figure3_full_finetuning, table1_tasks])
def test_cells_follow_the_data(experiment: object, data: str) -> None:
    settings = type(experiment.QUICK)(data=data)  # type: ignore[attr-defined]
    cells = [cell for cell in experiment.cells(settings) if "tasks" in cell]  # type: ignore[attr-defined]
    assert {cell["data"] for cell in cells} == {data}
    assert list(dict.fromkeys(task for cell in cells for task in cell["tasks"])) == ["sst2", "copa"]


def test_a_base_is_called_by_its_name_wherever_it_lies() -> None:
    assert (tuning.called("/models/opt-125m"), tuning.called("tiny-opt")) == ("opt-125m", "tiny-opt")


def test_repetitions_share_the_official_test_questions_out(data: str) -> None:
    hands = [
        tuning.setting("tiny-opt", "sst2", train=4, dev=4, test=99, data=data, seed=turn, deal=tuning.Deal(3, turn, 4)).task
        for turn in range(4)
    ]
    assert sorted(one.id for hand in hands for one in hand.test) == [f"dev.tsv:{line}" for line in range(2, 8)]
    assert [len(hand.test) for hand in hands] == [2, 2, 1, 1]
    assert hands[0].train != hands[1].train


@pytest.mark.parametrize(
    "experiment",
    [figure1_smoothness, figure2_learning_rates, figure4_convergence, table3_adam, transformer_step_sizes],
    ids=lambda one: one.__name__,
)
def test_official_data_reach_every_cell_and_change_no_other(experiment: object) -> None:
    quick, cells = experiment.QUICK, experiment.cells  # type: ignore[attr-defined]
    found = cells(replace(quick, data="/data"))
    assert {cell.pop("data") for cell in found} == {"/data"}
    assert found == cells(quick)


def test_stages_are_the_sweep_without_its_looks() -> None:
    """At rates at which losses fall; where they grow sixfold in an epoch, other sums of float32 are a thousandth apart."""
    rates = [{"base": 1e-5, "peft": 0.02}, {"base": 1e-4, "peft": 0.01}]
    own = tuning.setting("tiny-opt", "plausible", tuning.ADAPTERS["lora"], train=16, dev=4, test=6)
    key = jax.random.key(1)
    grid = {label: [rate[label] for rate in rates] for label in ("base", "peft")}
    trace = tl.sweep(
        own.problem, tuning.HYBRID, tl.hybrid_sgd, step_sizes=grid, epochs=3, keys=key[None], batch_size=8, log_epochs=[0, 1]
    )
    found = tuning.followed(own.problem, rates, key, epochs=(0, 1, 3))
    np.testing.assert_allclose(found.losses, trace.value[:, 0], rtol=1e-5)  # float32, other sums
    for one, other in zip(jax.tree.leaves(found.params), jax.tree.leaves(trace.params), strict=True):
        np.testing.assert_allclose(one, other[:, 0], atol=1e-4)
    options, models = own.questions["test"].options, [jax.tree.map(lambda a, at=g: a[at, 0], trace.params) for g in range(2)]
    flat = jax.tree.map(lambda a: a.reshape(-1, a.shape[-1]), options)
    expected = [own.problem.scores(one, flat).reshape(options.tokens.shape[:2]) for one in models]
    np.testing.assert_allclose(trials._values(own, found.params)["test"], expected, rtol=1e-4)


def test_what_has_left_the_finite_numbers_has_no_finite_loss() -> None:
    own = tuning.setting("tiny-opt", "plausible", tuning.ADAPTERS["lora"], train=16, dev=4, test=6)
    rates = [{"base": 0.0, "peft": 0.01}, {"base": 1e30, "peft": 0.0}]
    found = tuning.followed(own.problem, rates, jax.random.key(1), epochs=(0, 1, 3))
    assert np.isfinite(found.losses).tolist() == [[True, True, True], [True, False, False]]
    broken = jax.tree.map(lambda a: np.stack([a, np.inf * a]), own.problem.init(jax.random.key(0)))
    assert np.isfinite(tuning.losses(own.problem, broken, own.questions["dev"].right)).tolist() == [True, False]


def test_a_fitted_setting_says_the_same_of_shorter_texts() -> None:
    own = tuning.setting("tiny-opt", "sentiment", tuning.ADAPTERS["lora"], train=16, dev=12, test=6)
    fitted = own.fitted("train", "dev")
    assert set(fitted.questions) == {"train", "dev"}
    widths = {
        fitted.problem.sequences.tokens.shape[-1],
        *(one.options.tokens.shape[-1] for one in fitted.questions.values()),
    }
    longest = max(int(np.sum(own.questions[name].options.present, axis=-1).max()) for name in ("train", "dev"))
    assert widths == {-(-longest // 4) * 4}
    assert own.questions["dev"].options.tokens.shape[-1] == 32 > max(widths)
    one = jax.tree.map(lambda a: np.asarray(a)[None], own.problem.init(jax.random.key(0)))
    for name in ("train", "dev"):
        expected = -np.asarray(own.problem.scores(own.problem.init(jax.random.key(0)), own.questions[name].right)).mean()
        assert tuning.losses(fitted.problem, one, fitted.questions[name].right) == pytest.approx(expected, rel=1e-5)


def test_seeds_apart_share_a_task_out(data: str) -> None:
    """Each a cell of the key of the whole; together they ask every official test question once, of models trained on
    examples of their own."""
    settings = replace(table1_tasks.FULL, data=data, groups=(("sst2",),), facts=0, train=4, dev=4, test=99, seeds=4)
    (whole,), cells = (table1_tasks.cells(replace(settings, apart=apart)) for apart in (False, True))
    assert cells == [{**whole, "turn": seed} for seed in range(4)]
    assert {json.dumps(_cells.alike("experiments", "table1_tasks", cell)) for cell in cells} == {json.dumps(whole)}
    key = jax.random.key(7)
    hands = [trials.repetition(cell, "sst2", cell["turn"], key).task for cell in cells]
    assert hands == [trials.repetition(whole, "sst2", seed, key).task for seed in range(4)]
    assert sorted(one.id for hand in hands for one in hand.test) == [f"dev.tsv:{line}" for line in range(2, 8)]
    assert hands[0].train != hands[1].train


def test_scores_come_in_parts_of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    own = tuning.setting("tiny-opt", "plausible", train=8, dev=4, test=4)
    models = jax.tree.map(lambda a: np.stack([a, 0.9 * a]), own.problem.init(jax.random.key(0)))
    whole = tuning.scores(own.problem, models, own.problem.sequences)
    monkeypatch.setattr(tuning, "SCORED", 3)
    assert whole.shape == (2, 8)
    parts = tuning.scores(own.problem, models, own.problem.sequences)
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-5)  # differences of numbers near 10, in float32


def test_stages_from_a_given_point_with_another_optimizer_are_that_sweep() -> None:
    own = tuning.setting("tiny-opt", "plausible", tuning.ADAPTERS["lora"], train=16, dev=4, test=6).problem
    rates, key = [{"base": 1e-5, "peft": 0.001}, {"base": 0.0, "peft": 0.002}], jax.random.key(1)
    start = own.init(jax.random.key(2))
    how = {"make_optimizer": table3_adam.MAKERS["adam"], "params": start}
    found = tuning.followed(own, rates, key, epochs=(0, 2), room=3, **how)
    sizes = {label: [rate[label] for rate in rates] for label in ("base", "peft")}
    trace = tl.sweep(own, tuning.HYBRID, step_sizes=sizes, keys=key[None], epochs=2, batch_size=8, log_epochs=[0, 2], **how)
    np.testing.assert_allclose(found.losses, trace.value[:, 0], rtol=1e-5)  # float32, other sums
    assert (found.losses[:, 1] < found.losses[:, 0]).all()


@pytest.mark.parametrize("task", ["pronoun", "blank"])
def test_options_of_one_word_are_scored_by_one_reading_of_their_text(task: str) -> None:
    own = tuning.setting("tiny-opt", task, tuning.ADAPTERS["prompt"], train=4, dev=4, test=6)
    options = own.questions["test"].options
    assert tuning._one_word(options) == (task == "pronoun")
    models = jax.tree.map(lambda a: np.stack([a, 1.01 * a]), own.problem.init(jax.random.key(0)))
    flat = jax.tree.map(lambda a: a.reshape(-1, a.shape[-1]), options)
    expected = tuning.scores(own.problem, models, flat).reshape(2, *options.tokens.shape[:2])
    np.testing.assert_allclose(tuning.option_scores(own.problem, models, options), expected, rtol=1e-4)
