"""Learned tokenizers: every text comes back, the command writes what pretraining reads, batches change nothing."""

import json

import pytest

from theory_lab.finetune import vocabulary
from theory_lab.finetune.pretrain import pretrain
from theory_lab.finetune.recipe import Settings
from theory_lab.finetune.text import documents, pack
from theory_lab.models.tokenizer import load_tokenizer

tokenizers = pytest.importorskip("tokenizers")
TEXT = "the cat sat on the mat .\nthe dog sat on the log .\n<|endoftext|>\nthe cat saw the dog .\n" * 30


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text(TEXT)
    return tmp_path / "corpus"


def test_every_text_comes_back_and_nothing_is_unknown(corpus):
    learned = tokenizers.Tokenizer.from_str(vocabulary.byte_pairs(corpus, 300))
    for text in ("the cat", "ein Löwe,  zwei\n\tLöwen", "日本 \x00\U0001f600", " "):
        ids = learned.encode(text, add_special_tokens=False).ids
        assert learned.decode(ids) == text
        assert learned.token_to_id("<unk>") not in ids
    assert len(learned.encode(" the cat").ids) == 2 < len(learned.encode(" zzz").ids)


def test_the_size_is_kept_and_special_tokens_have_the_ids_of_opt(corpus):
    learned = tokenizers.Tokenizer.from_str(vocabulary.byte_pairs(corpus, 270))
    assert learned.get_vocab_size() == 270
    assert [learned.id_to_token(number) for number in range(4)] == ["<s>", "<pad>", "</s>", "<unk>"]


def test_the_same_text_gives_the_same_file(corpus):
    assert vocabulary.byte_pairs(corpus, 290) == vocabulary.byte_pairs([corpus / "a.txt"], 290)


def test_documents_encoded_together_are_those_encoded_alone(corpus, monkeypatch):
    learned = tokenizers.Tokenizer.from_str(vocabulary.byte_pairs(corpus, 290))
    together = pack(documents(corpus), learned, 7, end=2)
    monkeypatch.setattr(tokenizers.Tokenizer, "encode_batch", None)
    assert together.tolist() == pack(documents(corpus), learned, 7, end=2).tolist()


def test_the_command_writes_what_pretraining_reads(corpus, tmp_path):
    out = tmp_path / "tokenizer.json"
    assert vocabulary.main(["--text", str(corpus), "--size", "280", "--out", str(out)]) == 0
    small = {"width": 8, "layers": 1, "heads": 2, "inner": 8, "context": 16, "batch_size": 4, "steps": 4, "every": 2}
    pretrain(tmp_path / "base", Settings(**small, text=str(corpus), tokenizer=str(out)))
    assert json.loads((tmp_path / "base" / "config.json").read_text())["vocab_size"] == 280
    assert load_tokenizer(tmp_path / "base").encode("the cat")[0] == 2


def test_the_command_names_what_is_wrong(corpus, tmp_path, capsys):
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n")
    for arguments, told in (
        (["--text", str(corpus), "--size", "12"], "--size must be a whole number of at least 260, got 12"),
        (["--text", str(corpus), "--size", str(2**31)], f"--size must be a whole number below 2^24, got {2**31}"),
        (["--text", str(tmp_path / "none"), "--size", "300"], "--text must be text files or folders, got"),
        (["--text", str(empty)], f"--text must be files with text in them, got ['{empty}']"),
        (["--text", str(corpus), "--out", str(tmp_path)], "--out must be a file, got"),
        (["--text", str(corpus), "--out", "/proc/none/t.json"], "--out must be where files can be written"),
    ):
        out = [] if "--out" in arguments else ["--out", str(tmp_path / "t.json")]
        assert vocabulary.main([*out, *arguments]) == 2
        assert capsys.readouterr().err.startswith(told)
        assert not (tmp_path / "t.json").exists()
