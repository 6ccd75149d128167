"""Pretraining: the loss falls, a killed run ends with the same bytes, the folder is read by others, packaged bases."""

import csv
import math
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory_lab.finetune import bases, kept, language
from theory_lab.finetune.blocks import blocks_of
from theory_lab.finetune.encoding import encode
from theory_lab.finetune.pretrain import main, pretrain, schedule
from theory_lab.finetune.problem import fine_tune
from theory_lab.finetune.recipe import Settings
from theory_lab.models import load_pretrained, mean_loss, tensorfile

SMALL = {"width": 16, "layers": 2, "heads": 2, "inner": 24, "context": 32, "batch_size": 8, "documents": 200, "every": 4}
SETTINGS = Settings(**SMALL, steps=12, learning_rate=1e-2)
FILES = ["README.md", "config.json", "curve.csv", "model.safetensors", "tokenizer.json"]


class Killed(Exception):
    pass


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def rows_of(folder):
    with open(folder / "curve.csv", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    pretrain(folder, SETTINGS)
    return folder


def test_the_folder_has_the_model_its_tokenizer_and_a_curve_that_falls(made):
    assert sorted(contents(made)) == FILES
    rows = rows_of(made)
    assert [row["step"] for row in rows] == [4, 8, 12]
    assert rows[-1]["held_out_loss"] < rows[0]["held_out_loss"] < math.log(len(language.tokenizer()))
    assert rows[-1]["held_out_perplexity"] == pytest.approx(math.exp(rows[-1]["held_out_loss"]), rel=1e-6)
    assert (made / "tokenizer.json").read_text() == language.tokenizer().to_json()
    assert SETTINGS.command() in (made / "README.md").read_text()


def test_the_stored_model_has_the_perplexity_of_the_curve(made):
    config, base = load_pretrained(made)
    assert base["embed_tokens"]["weight"].dtype == jnp.float32
    held_out = blocks_of(SETTINGS).held_out.reshape(-1, SETTINGS.context)
    loss = mean_loss(config, {"base": base}, jnp.asarray(held_out), jnp.ones(held_out.shape))
    assert float(loss) == pytest.approx(rows_of(made)[-1]["held_out_loss"], rel=1e-3)  # numbers are rounded to float16


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(made, tmp_path):
    def kill(row, steps):
        if row["step"] == 8:
            raise Killed

    with pytest.raises(Killed):
        pretrain(tmp_path, SETTINGS, seconds=0, report=kill)
    assert sorted(contents(tmp_path)) == [kept.CHECKPOINT]
    seen = []
    pretrain(tmp_path, SETTINGS, seconds=0, report=lambda row, steps: seen.append(row["step"]))
    assert seen == [12]
    assert contents(tmp_path) == contents(made)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    def kill(row, steps):
        raise Killed

    with pytest.raises(Killed):
        pretrain(tmp_path, SETTINGS, seconds=0, report=kill)
    with pytest.raises(ValueError, match=r"^steps must be 12, as in the checkpoint in this folder, got 16$"):
        pretrain(tmp_path, Settings(**SMALL, steps=16, learning_rate=1e-2))


def test_a_damaged_checkpoint_and_a_changed_text_are_refused(tmp_path):
    def kill(row, steps):
        raise Killed

    with pytest.raises(Killed):
        pretrain(tmp_path, SETTINGS, seconds=0, report=kill)
    path = tmp_path / kept.CHECKPOINT
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[tensorfile.read_header(path)["state/3"].begin] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"^tensor 'state/3' in .* must be as it was written, got other bytes"):
        pretrain(tmp_path, SETTINGS)
    record = kept.record_of(path)
    kept.save(path, {"state": []}, {**record, "blocks": "of another text"})
    with pytest.raises(ValueError, match=r"^text must be as it was for the checkpoint in this folder, got None$"):
        pretrain(tmp_path, SETTINGS)
    kept.save(path, {"state": []}, {"another": "record"})
    with pytest.raises(ValueError, match=r"^architecture must be None, as in the checkpoint in this folder, got 'opt'$"):
        pretrain(tmp_path, SETTINGS)


def test_a_finished_folder_is_not_overwritten(made):
    with pytest.raises(ValueError, match=r"^out must be a folder without a finished model, got "):
        pretrain(made, SETTINGS)


def test_a_loss_that_is_not_finite_ends_the_run_and_writes_no_model(tmp_path):
    with pytest.raises(ValueError, match=r"^learning_rate must be small enough for a finite loss .*, got 1e\+30$"):
        pretrain(tmp_path, Settings(**SMALL, steps=8, learning_rate=1e30, weight_decay=1.0))
    assert contents(tmp_path) == {}


def test_a_llama_in_bfloat16_from_text_files_by_the_command(tmp_path, capsys):
    pytest.importorskip("tokenizers")
    (tmp_path / "a.txt").write_text("\n<|endoftext|>\n".join(language.corpus(jax.random.key(3), 100)))
    (tmp_path / "tokenizer.json").write_text(language.tokenizer().to_json())
    out = tmp_path / "out"
    options = {**SMALL, "architecture": "llama", "kv_heads": 1, "steps": 8, "precision": "bfloat16", "stored": "bfloat16",
               "learning_rate": 1e-2, "text": tmp_path / "a.txt", "tokenizer": tmp_path / "tokenizer.json"}  # fmt: skip
    main([f"--out={out}", *(f"--{name.replace('_', '-')}={value}" for name, value in options.items())])
    assert capsys.readouterr().out.startswith("step 4/8  loss ")
    config, base = load_pretrained(out)
    assert (config.model_type, config.num_key_value_heads, config.bos_token_id, config.pad_token_id) == ("llama", 1, 2, 1)
    assert base["layers"]["k_proj"]["weight"].dtype == jnp.bfloat16
    rows = rows_of(out)
    assert rows[-1]["held_out_loss"] < rows[0]["held_out_loss"]


def test_blocks_open_as_texts_do_and_hold_out_what_is_not_trained_on():
    blocks = blocks_of(SETTINGS)
    assert (blocks.train[:, 0] == blocks.end).all()
    assert (blocks.held_out[..., 0] == blocks.end).all()
    trained = {row.tobytes() for row in blocks.train}
    assert not any(row.tobytes() in trained for row in blocks.held_out.reshape(-1, SETTINGS.context))
    assert not np.array_equal(blocks.train, blocks_of(Settings(**SMALL, seed=1)).train)


@pytest.mark.parametrize("steps", [1, 2, 100])
def test_the_rate_warms_up_to_its_peak_and_comes_down(steps):
    rates = [float(schedule(Settings(**SMALL, steps=steps, learning_rate=0.5))(i)) for i in range(steps + 1)]
    assert max(rates) == pytest.approx(0.5, rel=1e-6)
    assert rates[-1] == pytest.approx(0.005, rel=1e-4)
    assert rates[0] == (0.0 if steps > 1 else pytest.approx(0.5))


def test_the_command_refuses_in_one_line(tmp_path, capsys):
    for arguments, told in (
        (["--width=15"], "--heads must be a divisor of the width, 15, got 4"),
        (["--learning-rate=-1"], "--learning-rate must be positive and finite, got -1.0"),
        (["--text=a.txt"], "--text and --tokenizer must be given together, or neither, got ('a.txt', None)"),
        (["--text=a.txt", "--tokenizer=none.json"], "--tokenizer must be a tokenizer.json, got 'none.json'"),
        (["--checkpoint-seconds=-1"], "--checkpoint-seconds must be nonnegative and finite, got -1.0"),
        (["--out="], "--out must be a folder or free for one, got ''"),
        (["--out=/proc/none"], "--out must be where files can be written (No such file or directory), got '/proc/none'"),
        ([f"--out={__file__}"], f"--out must be a folder or free for one, got {__file__!r}"),
    ):
        assert main([*(() if arguments[0].startswith("--out") else (f"--out={tmp_path}",)), *arguments]) == 2
        assert capsys.readouterr().err == f"{told}\n"


def test_a_pretrained_folder_is_a_packaged_base_by_its_name(made, tmp_path, monkeypatch):
    monkeypatch.setattr(bases, "PACKAGED", tmp_path)
    for name in ("tiny-opt", "tiny-llama"):
        shutil.copytree(made, tmp_path / name)
    assert bases.names()[:2] == ("tiny-llama", "tiny-opt")
    with pytest.raises(ValueError, match=r"^model must be a folder or one of 'tiny-llama', 'tiny-opt', 'random-opt'"):
        bases.base_model("opt", jax.random.key(0))
    found = bases.base_model("tiny-opt", jax.random.key(0), dtype=jnp.float32)
    assert found.config == load_pretrained(made).config
    assert jax.tree.all(jax.tree.map(np.array_equal, found.base, load_pretrained(made).base))


@pytest.mark.parametrize("name", ["tiny-opt", "tiny-llama"])
def test_the_bases_that_ship_are_small_and_know_what_the_corpus_says(name):
    assert sum(file.stat().st_size for file in (bases.PACKAGED / name).iterdir()) < 1e6
    model = bases.base_model(name, jax.random.key(0), dtype=jnp.float32)
    questions = encode(language.task("old_knowledge", jax.random.key(7)).test[:100], model.tokenizer)
    problem = fine_tune(model.config, model.base, questions)
    assert problem.answers({"base": model.base}, questions).correct.mean() >= 0.9


def test_a_tokenizer_is_read_whole_and_has_the_end_that_is_asked_for(tmp_path):
    pytest.importorskip("tokenizers")
    file, broken = tmp_path / "tokenizer.json", tmp_path / "broken.json"
    file.write_text(language.tokenizer().to_json())
    with pytest.raises(ValueError, match=r"^end must be a token of '.*tokenizer.json', got '<end>'$"):
        blocks_of(Settings(text="a.txt", tokenizer=str(file), end="<end>"))
    for written in (file.read_bytes()[:-9], b"\xff\xfe"):
        broken.write_bytes(written)
        with pytest.raises(ValueError, match=r"^tokenizer must be a tokenizer.json, got .*broken.json \(.+\).$"):
            blocks_of(Settings(text="a.txt", tokenizer=str(broken)))
