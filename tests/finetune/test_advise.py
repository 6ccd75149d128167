"""Advice before fine-tuning: the problem that it sees, and the command's --advise."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory_lab import models
from theory_lab.advise import advise
from theory_lab.finetune import bases, language
from theory_lab.finetune.__main__ import main
from theory_lab.finetune.encoding import encode
from theory_lab.finetune.moving import moving
from theory_lab.finetune.problem import FineTune, fine_tune
from theory_lab.measure.smoothness.finite_sums import dense_hessian
from theory_lab.run.frames import from_csv
from theory_lab.run.loop import START

KEY = jax.random.key(0)
SHORT = ["--train", "12", "--dev", "4", "--test", "4", "--batch-size", "4", "--steps", "3"]


def small(dtype: str = "float32") -> tuple[models.OPTConfig, dict]:
    config = models.OPTConfig(
        len(language.tokenizer()), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16
    )
    return config, models.init_base(KEY, config, jnp.dtype(dtype))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of the generated language with 8 numbers per token."""
    where = tmp_path_factory.mktemp("model")
    models.save_pretrained(where, *small())
    return str(where)


def problem(dtype: str = "float32", side: str = "right") -> FineTune:
    config, base = small(dtype)
    task = language.task("sentiment", KEY, train=6, dev=2, test=2)
    return fine_tune(config, base, encode(task.train, language.tokenizer(), side=side), models.prompt(2))


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_moves_has_the_values_and_the_slopes_of_the_whole(side) -> None:
    """Although it leaves out what is padding in all of its examples."""
    whole = problem(side=side)
    start = whole.init(jax.random.fold_in(KEY, START))
    part = moving(whole, ["peft"], KEY, examples=4)
    assert part.n == 4
    assert set(part.init(jax.random.key(7))) == {"peft"}
    jax.tree.map(np.testing.assert_array_equal, part.init(jax.random.key(7))["peft"], start["peft"])
    assert part.whole.sequences.tokens.shape[1] == max(np.asarray(whole.sequences.present[:4]).sum(axis=1))
    expected = lambda peft: jnp.mean(jnp.stack([whole.component({**start, "peft": peft}, i) for i in range(4)]))
    value, slope = jax.value_and_grad(expected)(start["peft"])
    np.testing.assert_allclose(part.value({"peft": start["peft"]}), value, rtol=1e-5)
    found = part.gradient({"peft": start["peft"]})["peft"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), found, slope)


def test_curvature_is_seen_in_float32_whatever_the_model_is_stored_in() -> None:
    part = moving(problem("bfloat16"), ["base", "peft"], KEY)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(part.init(KEY))} == {"float32"}


PROMPT = ["--adapter", "prompt", "--virtual-tokens", "26"]
PREFIX = ["--adapter", "prefix", "--virtual-tokens", "2"]
ALONE = {"FO-PEFT": ("peft", PROMPT), "ZO-PEFT": ("peft", PREFIX), "FO-FT": ("base", []), "ZO-FT": ("base", [])}


@pytest.mark.parametrize("method", ALONE)
def test_the_run_takes_the_advised_step_sizes(method, folder, tmp_path, capsys) -> None:
    label, adapter = ALONE[method]
    how = ["--model", folder, "--method", method, *adapter, *SHORT]
    assert main([*how, "--advise", "--out", str(tmp_path / "advised")]) == 0
    told = capsys.readouterr().out
    assert f"step size of {label}: " in told
    assert "of its limit" in told
    assert f"limit of the step size of {label}: " in told
    assert "largest curvature" in told
    advice = json.loads((tmp_path / "advised" / "metrics.json").read_text())["advice"]
    rate, (limit, low, high) = advice["step_sizes"][label], advice["limits"][label]
    assert 0 < rate < limit
    assert low <= limit <= high
    assert main([*how, f"--learning-rate-{label}", repr(rate), "--out", str(tmp_path / "given")]) == 0
    frames = [from_csv((tmp_path / name / "history.csv").read_text()) for name in ("advised", "given")]
    assert frames[0].equals(frames[1])
    assert json.loads((tmp_path / "given" / "metrics.json").read_text())["advice"] is None


def test_both_blocks_of_the_hybrid_method_get_a_step_size(folder, capsys) -> None:
    how = ["--model", folder, "--adapter", "prompt", "--virtual-tokens", "26", "--advise", "--advise-examples", "4", *SHORT]
    assert main(how) == 0
    told = capsys.readouterr().out
    assert "step sizes from the curvature on 4 of 12 examples" in told
    assert "step size of base: " in told
    assert "step size of peft: " in told
    assert "trace" in told


def test_limits_of_a_first_order_block_are_those_of_its_hessian(folder) -> None:
    """Of one minibatch, the whole sum: 2/h of the largest curvature seen."""
    config, base = models.load_pretrained(folder)
    model = bases.base_model(folder, KEY)
    task = language.task("sentiment", KEY, train=4, dev=2, test=2)
    questions = encode(task.train, model.tokenizer, start=model.start, pad=model.pad)
    part = moving(fine_tune(config, base, questions, models.prompt(26)), ["peft"], KEY)
    told = advise(part, key=KEY, zeroth=(), batch_size=4, products=50)
    top = np.linalg.eigvalsh(dense_hessian(part.value, part.init(KEY)))[-1]
    assert told.limits["peft"].value <= 2 / top * (1 + 1e-3)
