"""The loop of fine-tuning: the iterates of the package's own loop, resumed with the same bits, what it keeps and counts."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import theory_lab as tl
from tests.finetune.models import CONFIGS, QUESTIONS, base, problem
from theory_lab import models
from theory_lab.finetune import kept
from theory_lab.finetune.methods import METHODS, method
from theory_lab.finetune.problem import fine_tune
from theory_lab.finetune.train import refuse_other, train
from theory_lab.models import tensorfile
from theory_lab.models.perturb import differences

KEY, EPS, RADIUS = jax.random.key(5), float(np.finfo(np.float32).eps), 1e-2
ZEROTH, FIRST = tl.TwoPoint(RADIUS, stream="rows"), tl.FirstOrder()
HOW = differences(RADIUS)
PAIRS = {  # problem, method, and the same in the package's words
    "Hybrid-PEFT, LoRA": (
        ("opt", models.lora(2)),
        method("Hybrid-PEFT", {"base": 1e-4, "peft": optax.sgd(1e-3, momentum=0.9)}, differences=HOW),
        tl.Hybrid({"base": ZEROTH, "peft": FIRST}),
        {"base": 1e-4, "peft": optax.sgd(1e-3, momentum=0.9)},
    ),
    "Hybrid-PEFT, prefix, schedules": (
        ("llama", models.prefix(2)),
        method(
            "Hybrid-PEFT",
            {"base": optax.linear_schedule(1e-4, 5e-5, 5), "peft": optax.cosine_decay_schedule(1e-1, 6)},
            differences=HOW,
        ),
        tl.Hybrid({"base": ZEROTH, "peft": FIRST}),
        {"base": optax.linear_schedule(1e-4, 5e-5, 5), "peft": optax.cosine_decay_schedule(1e-1, 6)},
    ),
    "ZO-FT": (("opt", None), method("ZO-FT", {"base": 1e-4}, differences=HOW), tl.Hybrid({"base": ZEROTH}), {"base": 1e-4}),
    "FO-PEFT, prompt": (
        ("opt", models.prompt(2)),
        method("FO-PEFT", {"peft": 1e-1}),
        tl.Hybrid({"base": FIRST, "peft": FIRST}),
        {"base": 0.0, "peft": 1e-1},
    ),
}


def _nudged(params, key):
    """Every number up or down by one unit in its last place."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    off = [a * (1 + EPS * jax.random.rademacher(k, a.shape, a.dtype)) for a, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, [a.astype(b.dtype) for a, b in zip(off, leaves, strict=True)])


@pytest.mark.parametrize("name", PAIRS)
def test_the_fused_loop_and_the_packages_loop_give_the_same_iterates(name):
    """Two epochs of three batches, the last of one example alone.

    Rounding enters at each of six steps and grows along the run. How much is measured: the package's own loop from a start
    that is off by one unit in the last place of every number, three times, with random signs.
    """
    kind, how, oracle, step_sizes = PAIRS[name]
    one = problem(*kind)
    fused = train(one, how, key=KEY, epochs=2, batch_size=2)
    begin = one.init(jax.random.fold_in(KEY, 2))
    run = lambda start: (
        tl.run(
            one, oracle, tl.hybrid_sgd(step_sizes), params=start, epochs=2, key=KEY, batch_size=2, resolution="step"
        ).params
    )
    plain = run(begin)
    rounded = [run(_nudged(begin, jax.random.key(seed))) for seed in range(3)]
    for label in begin:
        apart = lambda other, label=label: max(
            float(jnp.abs(a - b).max())
            for a, b in zip(jax.tree.leaves(plain[label]), jax.tree.leaves(other[label]), strict=True)
        )
        allowed, moved = 2 * max(map(apart, rounded)), apart(begin)
        assert apart(fused.params) <= allowed
        assert (moved > 1000 * allowed) if label in how.moves else (moved == 0 == apart(fused.params))
    assert fused.history["step"].tolist() == [0, 3, 6]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_moves_its_blocks_and_no_other(name):
    one = problem(adapter=models.lora(2) if name.endswith("PEFT") else None)
    rates = {label: 1e-3 for label in METHODS[name] if label is not None}
    done = train(one, method(name, rates), key=KEY, steps=2, batch_size=2)
    begin = one.init(jax.random.fold_in(KEY, 2))
    for label in begin:
        same = all(
            jnp.array_equal(a, b) for a, b in zip(*(jax.tree.leaves(p[label]) for p in (done.params, begin)), strict=True)
        )
        assert same == (label not in rates)
    cost = method(name, rates).cost
    last = done.history.iloc[-1]
    assert (last["forwards"], last["backwards"]) == (2 * cost.values, 2 * cost.gradients)
    assert len(done.losses) == 2
    assert np.isfinite(done.losses).all()


def test_tokens_are_those_that_the_steps_saw():
    done = train(problem(), method("ZO-FT", {"base": 0.0}), key=KEY, epochs=2, batch_size=2)
    assert done.history["tokens"].tolist() == [0, QUESTIONS.right.present.sum(), 2 * QUESTIONS.right.present.sum()]


def test_the_best_on_dev_is_kept_and_what_it_answers():
    one = problem(adapter=models.lora(2))
    done = train(one, method("FO-PEFT", {"peft": optax.adam(3e-2)}), key=KEY, steps=24, batch_size=2, dev=QUESTIONS, every=3)
    table = done.history
    assert table["step"].tolist() == list(range(0, 25, 3))
    order = table.sort_values(["dev_accuracy", "dev_loss"], ascending=[False, True], kind="stable")
    assert done.best_step == order["step"].iloc[0] > 0
    answers = one.answers(done.best, QUESTIONS)
    assert answers.correct.mean() == table.set_index("step")["dev_accuracy"][done.best_step]
    assert answers.correct.mean() > table["dev_accuracy"][0]
    assert table["loss"].iloc[-1] == pytest.approx(done.losses[-3:].mean())


def test_what_diverges_is_recorded_and_stops():
    one = problem(adapter=models.lora(2))
    wild = method("Hybrid-PEFT", {"base": 1e30, "peft": 1e-3})
    done = train(one, wild, key=KEY, steps=20, batch_size=2, every=4)
    assert done.diverged_at == 1 + np.isfinite(done.losses).argmin() - 1 <= 3
    assert len(done.losses) == 4
    assert done.best_step == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(done.best))


def test_nonsense_that_keeps_the_loss_finite_is_told():
    """The final norm hides the size of what it divides by."""
    one, wild = problem(adapter=models.lora(2)), lambda rate: method("FO-PEFT", {"peft": rate})
    done = train(one, wild(1e30), key=KEY, steps=2, batch_size=2)
    assert done.diverged_at is None
    assert len(done.remarks) == 1
    assert re.match(r"peft ends with numbers as large as \d.*e\+\d\d, from at most 0\.\d+ at the start: ", done.remarks[0])
    assert train(one, wild(1e-3), key=KEY, steps=2, batch_size=2).remarks == ()


def test_no_step_better_than_the_start_is_told():
    still = train(problem(), method("FO-FT", {"base": 0.0}), key=KEY, steps=2, batch_size=2, dev=QUESTIONS)
    assert still.remarks == ("no step was better on dev than the start: the best parameters are those before training",)
    gone = train(problem(), method("FO-FT", {"base": 1e30}), key=KEY, steps=2, batch_size=2, dev=QUESTIONS)
    assert gone.diverged_at == 1
    assert gone.remarks == still.remarks


@pytest.mark.parametrize("rule", [optax.adam(1e60), optax.sgd(1e60, momentum=0.9)])
def test_an_optimizer_of_step_sizes_beyond_the_type_is_refused(rule):
    with pytest.raises(ValueError, match=r"^the optimizer must be of step sizes that are finite in float32, got "):
        train(problem(), method("FO-FT", {"base": rule}), key=KEY, steps=1, batch_size=2)


def test_without_dev_a_last_step_to_parameters_that_are_not_finite_is_told():
    """No later step has a loss that could tell."""
    wild = method("FO-FT", {"base": optax.chain(optax.scale(-1e30), optax.scale(1e30))})
    done = train(problem(), wild, key=KEY, steps=1, batch_size=2)
    assert np.isfinite(done.losses).all()
    assert (done.diverged_at, done.best_step) == (1, 0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(done.best))


def test_given_parameters_are_used_up_and_others_are_not():
    one = problem(adapter=models.lora(2))
    params = one.init(jax.random.key(8))
    done = train(
        one, method("ZO-PEFT", {"peft": 1e-3}), key=KEY, steps=1, params=jax.tree.map(jnp.copy, params), batch_size=2
    )
    again = train(one, method("ZO-PEFT", {"peft": 1e-3}), key=KEY, steps=1, params=params, batch_size=2)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(params["peft"]))
    for a, b in zip(jax.tree.leaves(done.params), jax.tree.leaves(again.params), strict=True):
        np.testing.assert_array_equal(a, b)


SETTING = {"steps": 7, "batch_size": 2, "dev": QUESTIONS, "every": 2}
KILLED = """
import os, signal, sys
import jax
jax.config.update("jax_enable_x64", True)
from pathlib import Path
from tests.finetune import test_train

replace, calls = os.replace, []
def fatal(*args):
    calls.append(args)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*args)
os.replace = fatal
test_train.resumable(Path(sys.argv[1]))
"""


def resumable(folder):
    one = problem(adapter=models.lora(2))
    hybrid = method("Hybrid-PEFT", {"base": 1e-5, "peft": optax.adam(1e-2)})
    return train(one, hybrid, key=KEY, folder=folder, **SETTING)


def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    """Killed by SIGKILL while it writes: the best parameters of step 4 are on disk, the checkpoint is that of step 2."""
    whole = resumable(tmp_path / "whole")
    at = 2 * 2 + 2 if whole.best_step >= 4 else 2 * 2
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), str(at)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list((tmp_path / "killed").glob(".*"))) == 1  # what it was writing
    again = resumable(tmp_path / "killed")
    np.testing.assert_array_equal(again.losses, whole.losses)
    assert again.history.equals(whole.history)
    assert not list((tmp_path / "killed").glob(".*"))
    assert (tmp_path / "killed/best.safetensors").read_bytes() == (tmp_path / "whole/best.safetensors").read_bytes()
    ours, theirs = (tensorfile.read_header(tmp_path / f"{name}/checkpoint.safetensors") for name in ("killed", "whole"))
    assert ours.keys() == theirs.keys()
    assert all(
        ours[name].read().tobytes() == theirs[name].read().tobytes() for name in ours.keys() - {kept.RECORD, kept.SUMS}
    )
    for a, b in zip(jax.tree.leaves((again.params, again.best)), jax.tree.leaves((whole.params, whole.best)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_finished_run_is_read_and_another_is_refused(tmp_path):
    one, zo = problem(), method("ZO-FT", {"base": 1e-5})
    done = train(one, zo, key=KEY, steps=2, batch_size=2, folder=tmp_path, every=2)
    again = train(one, zo, key=KEY, steps=2, batch_size=2, folder=tmp_path, every=2)
    assert again.seconds == done.seconds  # nothing was computed
    np.testing.assert_array_equal(again.losses, done.losses)
    with pytest.raises(ValueError, match=r"^batch_size must be 2, as in the run that '.*' keeps, got 3$"):
        train(one, zo, key=KEY, steps=2, batch_size=3, folder=tmp_path, every=2)
    with pytest.raises(ValueError, match=r"^method must be .ZO-FT\(base: 1e-05.* keeps, got .ZO-FT\(base: 2e-05"):
        train(one, method("ZO-FT", {"base": 2e-5}), key=KEY, steps=2, batch_size=2, folder=tmp_path, every=2)
    with pytest.raises(ValueError, match=r"^the model must be .*OPT.* keeps, got .*Llama"):
        train(problem("llama"), zo, key=KEY, steps=2, batch_size=2, folder=tmp_path, every=2)
    other = fine_tune(CONFIGS["opt"], base(seed=1), QUESTIONS)
    with pytest.raises(ValueError, match=r"^the fingerprint of the first parameters must be '\w+', as .* keeps, got '\w+'$"):
        train(other, zo, key=KEY, steps=2, batch_size=2, folder=tmp_path, every=2)


@pytest.mark.parametrize("rule", [optax.adam(2e-2), optax.adamw(1e-2), optax.adam(lambda step: 1e-2 / (1 + step))])
def test_another_optimizer_is_another_run(tmp_path, rule):
    """Its state has the same arrays, or its name is the same; its updates are others."""
    adam = lambda how: method("FO-PEFT", {"peft": how})
    one = problem(adapter=models.lora(2))
    train(one, adam(optax.adam(1e-2)), key=KEY, steps=1, batch_size=2, folder=tmp_path)
    arguments = {"key": KEY, "steps": 1, "batch_size": 2, "folder": tmp_path}
    refuse_other(one, adam(optax.adam(1e-2)), **arguments)
    for again in (refuse_other, train):
        with pytest.raises(ValueError, match=r"^the fingerprint of learning_rates must be '\w+', as .* keeps, got '\w+'$"):
            again(one, adam(rule), **arguments)


def test_an_ordering_of_ones_own(tmp_path):
    """In NumPy; a later epoch that goes wrong is told too, and another ordering of the same name is another run."""
    one, zo = problem(), method("ZO-FT", {"base": 1e-5})
    given = lambda key, epoch, n: np.arange(n)
    done = train(one, zo, key=KEY, epochs=2, batch_size=2, ordering=given, folder=tmp_path)
    known = train(one, zo, key=KEY, epochs=2, batch_size=2, ordering=tl.incremental)
    np.testing.assert_array_equal(done.losses, known.losses)
    other = lambda key, epoch, n: np.arange(n)[::-1]
    with pytest.raises(ValueError, match=r"^ordering must be '<lambda>, of first epoch \w+', as in .*, got '<lambda>, of "):
        train(one, zo, key=KEY, epochs=2, batch_size=2, ordering=other, folder=tmp_path)
    late = lambda key, epoch, n: np.arange(n) + epoch
    with pytest.raises(ValueError, match=r"^ordering must be a function whose indices lie within 0..4, got '1..5'$"):
        train(one, zo, key=KEY, epochs=2, batch_size=2, ordering=late)


def test_schedules_are_told_apart(tmp_path):
    one = problem()
    falling = lambda rate: method("ZO-FT", {"base": lambda step: rate / (1 + step)})
    train(one, falling(1e-5), key=KEY, steps=1, batch_size=2, folder=tmp_path)
    refuse_other(one, falling(1e-5), key=KEY, steps=1, batch_size=2, folder=tmp_path)
    with pytest.raises(ValueError, match=r"^the fingerprint of learning_rates must be "):
        refuse_other(one, falling(2e-5), key=KEY, steps=1, batch_size=2, folder=tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    resumable(folder)
    return folder


@pytest.mark.parametrize("name", [kept.CHECKPOINT, kept.BEST])
def test_a_flipped_bit_is_found_wherever_it_is(finished, tmp_path, name):
    """One in every tensor, the record and the checksums themselves, and some in the header."""
    for file in finished.iterdir():
        shutil.copy(file, tmp_path)
    path, whole = tmp_path / name, (finished / name).read_bytes()
    found = tensorfile.read_header(path)
    places = [tensor.begin + tensor.size // 2 for tensor in found.values()]
    places += range(whole.index(b'},"') + 2, whole.index(b"}}"), 7)
    assert _read_all(path) == _read_all(finished / name)
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=re.escape(str(path))):
            _read_all(path)
    damaged = bytearray(whole)
    damaged[places[0]] ^= 4
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="must be as it was written, got other bytes, by their checksum"):
        resumable(tmp_path)


def _read_all(path):
    kept.check(path)
    found = tensorfile.read_header(path)
    return kept.record_of(path), {name: found[name].read().tobytes() for name in found}


def test_best_parameters_of_an_older_step_are_refused(finished, tmp_path):
    for file in finished.iterdir():
        shutil.copy(file, tmp_path)
    assert kept.record_of(tmp_path / kept.CHECKPOINT)["best_step"] > 0
    kept.save(tmp_path / kept.BEST, {"best": {}}, {"step": 0})
    with pytest.raises(ValueError, match=r"must be the parameters of step \d or later, as checkpoint.* says, got .* step 0"):
        resumable(tmp_path)


def test_two_runs_in_one_folder(tmp_path):
    """The second is refused while the first is at work; in one process a run may hold what it holds."""
    script = (
        "import pathlib, sys; from theory_lab.finetune.kept import held\nwith held('folder', pathlib.Path(sys.argv[1])): 0"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    second = lambda: subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    with kept.held("folder", tmp_path), kept.held("folder", tmp_path):
        told = second().stderr
    assert f"folder must be a folder where no other run is writing now, got '{tmp_path}'" in told
    assert second().returncode == 0


@pytest.mark.parametrize("order", ["simultaneous", "adapter_first"])
@pytest.mark.parametrize("q, sided", [(1, 1), (3, 1), (1, 2), (2, 2)])
def test_costs_are_the_oracles(q, sided, order):
    how = differences(RADIUS, directions=q, sided=sided)
    params = {"base": jnp.zeros(3), "peft": jnp.zeros(2)}
    zeroth = tl.TwoPoint(RADIUS, directions=q, sided=sided)
    given = method("Hybrid-PEFT", {"base": 1.0, "peft": 1.0}, differences=how, order=order).cost
    expected = tl.Hybrid({"base": zeroth, "peft": FIRST}).cost(params)
    assert given == expected._replace(values=expected.values + (order == "adapter_first" and sided == 1))
    assert method("ZO-FT", {"base": 1.0}, differences=how).cost == tl.Hybrid({"base": zeroth}).cost({"base": jnp.zeros(3)})
