"""The command line of fine-tuning."""

import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.finetune import released
from theory_lab import models
from theory_lab.finetune import bases
from theory_lab.finetune.__main__ import main, parser
from theory_lab.finetune.encoding import encode
from theory_lab.finetune.tasks import example
from theory_lab.run.frames import from_csv

SMALL = ["--train", "24", "--dev", "6", "--test", "10", "--batch-size", "6", "--steps", "4", "--every", "2"]


def without(given, others):
    """Options in pairs with their values, but those that others give."""
    return [word for i in range(0, len(given), 2) if given[i] not in others for word in given[i : i + 2]]


def test_help_names_what_there_is(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    told = capsys.readouterr().out
    assert all(name in told for name in ("Hybrid-PEFT", "new_knowledge", "winogrande", "random-llama", "--remat"))


def test_a_hybrid_run_writes_what_others_read(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["--model", "random-llama", "--task", "entailment", "--adapter", "prefix", "--out", str(out), *SMALL]) == 0
    printed = capsys.readouterr().out
    assert "majority: " in printed
    assert "zero-shot: " in printed
    assert "95% exact interval" in printed
    told = json.loads((out / "metrics.json").read_text())
    assert told["spent"] == {"step": 4, "forwards": 12, "backwards": 4, "tokens": told["spent"]["tokens"]}
    assert told["sizes"] == {"train": 24, "dev": 6, "test": 10}
    assert from_csv((out / "history.csv").read_text())["step"].tolist() == [0, 2, 4]
    before = (out / "history.csv").read_bytes()
    files = sorted(out.rglob("*"))
    for killed in ("base/model-00001-of-00002.safetensors", "adapter/adapter_config.json", "metrics.json", "checkpoints/x"):
        (out / killed).with_name(f".{(out / killed).name}.{'0' * 32}.tmp").write_text("half")
    assert main(["--model", "random-llama", "--task", "entailment", "--adapter", "prefix", "--out", str(out), *SMALL]) == 0
    assert sorted(out.rglob("*")) == files
    again = json.loads((out / "metrics.json").read_text())
    assert (again, (out / "history.csv").read_bytes()) == (told, before)  # the seconds too: nothing was computed again
    config, base = models.load_pretrained(out / "base")
    loaded = models.load_adapter(out / "adapter", config)
    assert loaded.adapter == models.prefix(10)
    best = models.tensorfile.read_header(out / "checkpoints" / "best.safetensors")
    kept = [best[f"best/{i}"].read() for i in range(len(best) - 2)]
    for ours, theirs in zip(kept, jax.tree.leaves({"base": base, "peft": loaded.peft}), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_was_not_the_better_for_training_is_told(tmp_path, capsys):
    wild = ["--method", "FO-PEFT", "--learning-rate-peft", "0", "--out", str(tmp_path)]
    assert main(["--model", "random-opt", *wild, *SMALL]) == 0
    assert "\nnote: no step was better on dev than the start: " in capsys.readouterr().out
    assert json.loads((tmp_path / "metrics.json").read_text())["remarks"][0].startswith("no step was better on dev")


def test_official_files_and_a_folder(tmp_path, capsys):
    model = bases.base_model("random-opt", jax.random.key(3))
    models.save_pretrained(tmp_path / "model", model.config, model.base)
    data = tmp_path / "data"
    data.mkdir()
    released.write(data, "rte")
    arguments = ["--model", str(tmp_path / "model"), "--task", "rte", "--data", str(data), "--dev", "1", "--train", "1"]
    assert main([*arguments, "--method", "FO-FT", "--optimizer", "adamw", "--steps", "1", "--batch-size", "1"]) == 0
    assert "FO-FT on rte" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--model", "gpt-5"], "^--model must be a folder or one of .*'random-opt', 'random-llama', got 'gpt-5'"),
        (["--model", "tests"], "^--model must be a folder with config.json, .* got 'tests' without config.json$"),
        (["--task", "sentiments"], "^--task must be one of .* got 'sentiments' .*'sentiment'"),
        (["--data", "."], "^--task must be one of 'sst2', .* with --data, .* got 'sentiment'"),
        (["--task", "sst3", "--data", "."], "^--task must be one of 'sst2', .* got 'sst3' .*'sst2'"),
        (["--task", "sst2", "--data", "/nowhere"], "^--data must be the folder with the .* files of sst2, got '/nowhere'"),
        (
            ["--task", "sst2", "--data", "."],
            "^--data must be a folder with train.tsv and dev.tsv, got '.' without train.tsv",
        ),
        (["--method", "ZO-FT", "--adapter", "lora"], "--adapter must be left out for ZO-FT, got 'lora'"),
        (["--method", "FO-PEFT", "--learning-rate-base", "1"], "--learning-rate-base must be left out for FO-PEFT, got 1.0"),
        (
            ["--method", "FO-PEFT", "--learning-rate-peft", "-1"],
            r"^--learning-rate-peft must be nonnegative and finite, got -1.0",
        ),
        (["--learning-rate-peft", "1e60"], r"^--learning-rate-peft must be at most 3.38953e\+38, got 1e\+60"),
        (["--steps", "3", "--epochs", "2"], "^--steps and --epochs must be given one without the other"),
        (["--task", "sst2"], "--data must be the folder with the official files of sst2, got None"),
        (["--length", "2"], "^--length must be at least 3"),
        (["--length", "129"], "^--length must be at most 128, the positions that the model has for text, got 129"),
        (["--adapter", "prompt", "--length", "120"], "^--length must be at most 118, the positions .* text, got 120"),
        (["--task", "SST2"], "^--task must be one of .* got 'SST2' .*'sst2'"),
        (["--batch-size", "0"], "--batch-size must be a whole number of at least 1, got 0"),
        (["--advise", "--learning-rate-peft", "1"], "--learning-rate-peft must be left out with --advise.* got 1.0"),
        (["--advise", "--optimizer", "adam"], "--optimizer must be sgd with --advise, whose limits are .* SGD, got 'adam'"),
        (["--advise", "--order", "adapter_first"], "--order must be simultaneous with --advise, .* got 'adapter_first'"),
        (["--advise", "--advise-examples", "0"], "--advise-examples must be a whole number of at least 1, got 0"),
        (
            ["--advise", "--batch-size", "32", "--train", "40"],
            "^--advise-examples must be at least --batch-size, 32, got 16",
        ),
        (["--shard", "full"], "--shard must be left out without --devices, got 'full'"),
        (["--devices", "1", "--advise"], "--devices must be left out with --advise, which looks at one, got 1"),
        (["--processes", "auto"], "--devices must be given with --processes, one for each at least, got None"),
        (
            ["--devices", "2", "--processes", "host,2,0"],
            "--processes must be auto, or HOST:PORT.* got 'host,2,0'",
        ),
        (
            ["--devices", "2", "--processes", "host:1,2,2"],
            "--processes must be auto, or HOST:PORT.* got 'host:1,2,2'",
        ),
        (["--devices", "2", "--processes", "auto"], "--processes auto: "),
        (["--devices", "1000"], r"^--devices must be at most \d+, as many as JAX sees, got 1000"),
        (["--steps", "0"], "^--steps must be a whole number of at least 1, got 0"),
        (["--epochs", "-1"], "^--epochs must be a whole number of at least 1, got -1"),
        (["--every", "0"], "^--every must be a whole number of at least 1, got 0"),
        (["--batch-size", "25"], "^--batch-size must be at most the number of examples, 24, got 25"),
        (["--out", __file__], "^--out must be a folder or free for one, got "),
        (["--out", ""], "^--out must be a folder or free for one, got ''$"),
        (["--out", f"{__file__}/out"], "^--out must be a folder or free for one, got "),
        (["--out", "/proc/none"], r"^--out must be where files can be written \(.+\), got '/proc/none'"),
        (["--radius", "0"], "^--radius must be positive and finite, got 0.0"),
        (["--radius", "1e-30"], r"^--radius must be at least \d.*e-\d+, half the spacing of float32 .* weights, got 1e-30"),
        (["--train", "0"], "^--train must be a whole number of at least 1, got 0"),
        (["--rank", "65"], "^--rank must be at most 64, the width of the model, beyond which no rank is low, got 65"),
        *(
            (["--" + name, str(2**31)], rf"^--{name} must be a whole number below 2\^\d\d, got {2**31}")
            for name in ("rank", "train", "test", "directions", "steps", "every")
        ),
        (["--rank", "0"], "^--rank must be a whole number of at least 1, got 0"),
        (["--method", "FO-PEFT", "--order", "adapter_first"], "^--order must be left out for FO-PEFT, got 'adapter_first'"),
        (["--seed", "-1"], "^--seed must be a whole number of at least 0, got -1"),
        (["--seed", str(2**32)], r"^--seed must be a whole number from 0 to 2\^32 - 1, got 4294967296"),
        (["--adapter", "prefix", "--virtual-tokens", "9999"], r"^--virtual-tokens must be at most \d+, two .* got 9999"),
        (["--adapter", "prefix", "--rank", "4"], "^--rank must be left out for prefix, got 4"),
        (["--virtual-tokens", "4"], "^--virtual-tokens must be left out for lora, got 4"),
        (["--method", "FO-FT", "--alpha", "4"], "^--alpha must be left out for FO-FT, got 4.0"),
        (["--method", "FO-PEFT", "--directions", "4"], "^--directions must be left out for FO-PEFT, got 4"),
        (["--method", "ZO-FT", "--optimizer", "adam"], "^--optimizer must be left out for ZO-FT, got 'adam'"),
        (["--advise-examples", "4"], "^--advise-examples must be left out without --advise, got 4"),
    ],
)
def test_bad_usage_is_told_in_one_line(arguments, message, capsys):
    assert main([*without(["--model", "random-opt", *SMALL[:8]], arguments), *arguments]) == 2
    told = capsys.readouterr().err
    assert re.search(message, told)
    assert told.count("\n") == 1


def test_an_option_that_is_given_twice_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--learning-rate-peft", "1", "--steps", "3", "--learning-rate-peft", "2"])
    assert capsys.readouterr().err.endswith("error: argument --learning-rate-peft: must be given once, got another, 2.0\n")


@pytest.mark.parametrize("arguments", [["--out", "/proc/none"], ["--task", "rte", "--data", "."], ["--radius", "nan"]])
def test_what_can_be_known_before_is_refused_before_anything_is_loaded(arguments, monkeypatch):
    monkeypatch.setattr(bases, "base_model", lambda *_, **__: pytest.fail("loaded"))
    assert main(arguments) == 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--seed", "1"], "^--seed must be 0, as in the run that '.*checkpoints' keeps \\(or another --out\\), got 1$"),
        (["--learning-rate-peft", "0.002"], "^--learning-rate-peft must be 0.001, as in .*, got 0.002$"),
        (["--optimizer", "adamw"], "^--optimizer must be 'adam', as in .*, got 'adamw'$"),
        (["--model", "random-llama"], "^--model must be 'random-opt', as in .*, got 'random-llama'$"),
    ],
)
def test_a_folder_of_other_options_is_refused_before_anything_is_loaded(adapted, arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(bases, "base_model", lambda *_, **__: pytest.fail("loaded"))
    assert main([*without(adapted, arguments), *arguments]) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("how", [lambda whole: whole[:-9], lambda whole: whole[:-9] + bytes(9), lambda whole: b""])
@pytest.mark.parametrize("name", ["checkpoint", "best"])
def test_a_damaged_checkpoint_is_refused_before_anything_is_loaded(adapted, tmp_path, name, how, monkeypatch, capsys):
    monkeypatch.setattr(bases, "base_model", lambda *_, **__: pytest.fail("loaded"))
    shutil.copytree(f"{adapted[adapted.index('--out') + 1]}/checkpoints", tmp_path / "checkpoints")
    path = tmp_path / "checkpoints" / f"{name}.safetensors"
    path.write_bytes(how(path.read_bytes()))
    assert main([*without(adapted, ["--out"]), "--out", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert re.search(r"^(file|tensor '.*' in) '.*/checkpoints/(checkpoint|best).safetensors' must be .*, got ", told.err)


def test_what_was_left_out_is_compared_by_its_effect(adapted, capsys):
    """Before anything is scored; the same run by other words goes on."""
    assert main([*adapted[:-2], "--epochs", "1"]) == 2
    told = capsys.readouterr()
    assert re.search("^steps must be 1, as in the run that '.*' keeps, got 4$", told.err.replace("--", ""))
    assert "zero-shot" not in told.out
    assert (
        main([*without(adapted, (more := ["--learning-rate-peft", "0.001", "--adapter", "lora", "--test", "3"])), *more])
        == 0
    )
    assert "spent: 1 step, 1 forward, 1 backward, " in capsys.readouterr().out


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("adapted"))
    run = [
        "--model",
        "random-opt",
        "--method",
        "FO-PEFT",
        "--optimizer",
        "adam",
        "--out",
        folder,
        *SMALL[:8],
        "--steps",
        "1",
    ]
    assert main(run) == 0
    return run


def test_texts_that_were_cut_are_told_and_words_that_are_not_known(tmp_path, capsys):
    released.write(tmp_path, "sst2")
    sizes = ["--train", "1", "--dev", "1", "--test", "1", "--steps", "1", "--batch-size", "1"]
    assert main(["--model", "random-opt", "--task", "sst2", "--data", str(tmp_path), *sizes, "--length", "6"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^train: 1 of 1 examples lost their beginning, to have 6 tokens$", told, re.MULTILINE)
    assert re.search(r"^train: \d of 12 tokens stand for words that random-opt does not know$", told, re.MULTILINE)


def test_usage_is_short(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--method", "FO"])
    usage, _, error = capsys.readouterr().err.partition("python -m theory_lab.finetune: error:")
    assert usage.count("\n") <= 2
    assert "'FO' (choose from" in error.replace('"', "'")


def test_every_option_has_a_line_of_help():
    assert all(action.help for action in parser()._actions)


def test_packaged_bases_are_found_as_soon_as_their_files_are_there(tmp_path, monkeypatch):
    monkeypatch.setattr(bases, "PACKAGED", tmp_path)
    assert bases.names() == ("random-opt", "random-llama")
    model = bases.base_model("random-opt", jax.random.key(3))
    models.save_pretrained(tmp_path / "tiny-opt", model.config, model.base)
    assert bases.names() == ("tiny-opt", "random-opt", "random-llama")
    found = bases.base_model("tiny-opt", jax.random.key(0), dtype="bfloat16")
    assert found.config == model.config
    assert jax.tree.leaves(found.base)[0].dtype == jnp.bfloat16
    assert found.tokenizer.encode("anna") == [found.tokenizer.words.index("anna")]


@pytest.mark.parametrize("vocabulary", [50, 500])
def test_a_model_of_another_language_needs_its_tokenizer(tmp_path, vocabulary):
    config = models.OPTConfig(vocabulary, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, ffn_dim=4)
    models.save_pretrained(tmp_path, config, models.init_base(jax.random.key(0), config))
    with pytest.raises(ValueError, match=r"must be with a tokenizer, or of the generated language's \d+ tokens, got"):
        bases.base_model(str(tmp_path), jax.random.key(0))


def test_a_folders_own_tokenizer_is_used(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    words = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "was": 4, "great": 5}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    config = models.OPTConfig(6, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, ffn_dim=4)
    models.save_pretrained(tmp_path, config, models.init_base(jax.random.key(0), config))
    found = bases.base_model(str(tmp_path), jax.random.key(0))
    one = encode([example("a", "was was", [" great", " bad"], 0)], found.tokenizer, start=found.start, pad=found.pad)
    assert one.options.tokens[0].tolist() == [[2, 4, 4, 5], [2, 4, 4, 3]]  # OPT opens with </s>


def test_a_base_that_was_trained_has_the_tokenizer_that_it_was_read_with(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    model, out = bases.base_model("random-opt", jax.random.key(3)), tmp_path / "out"
    models.save_pretrained(tmp_path / "model", model.config, model.base)
    words = {word: number for number, word in enumerate(reversed(model.tokenizer.words))}  # not the generated language's
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token=model.tokenizer.words[0]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "model" / "tokenizer.json"))
    (tmp_path / "model" / "tokenizer_config.json").write_text("{}")
    assert main(["--model", str(tmp_path / "model"), "--method", "ZO-FT", "--out", str(out), *SMALL]) == 0
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (out / "base" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()
    found = bases.base_model(str(out / "base"), jax.random.key(0))
    assert found.tokenizer.encode("anna").ids == [words["anna"]]
