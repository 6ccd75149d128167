"""Tokenizers from a folder's files; small ones, trained here."""

import json
import re
import sys

import pytest

from tests.models.zoo import CONFIGS
from theory_lab import models

tokenizers = pytest.importorskip("tokenizers", reason="the extra 'lm' is not installed")

TEXTS = ["the cat sat on the mat", "a hat, a bat; the rat!", "über naïve façades", "  two  spaces\nand a line"]
WORDS = ["<s>", "<pad>", "</s>", "<unk>"]


@pytest.fixture
def opt(tmp_path):
    """vocab.json and merges.txt as of OPT: ids 0..3 special."""
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(TEXTS * 4, vocab_size=300, min_frequency=1, special_tokens=WORDS)
    trained.save_model(str(tmp_path))
    stored = {**models.config_to_json(CONFIGS["opt"]), "vocab_size": 300}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    return tmp_path


def test_opt_puts_its_end_of_text_first_and_every_text_survives(opt):
    tokenizer = models.load_tokenizer(opt)
    assert (tokenizer.first, tokenizer.end, tokenizer.pad) == (2, 2, 1)
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert ids[0] == 2
        assert ids[1:] == tokenizer.encode(text, special=False)
        assert tokenizer.decode(ids) == text
    assert len(tokenizer.encode("the cat", special=False)) < len("the cat")
    assert tokenizer.encode("a</s>", special=False)[-1] == 2
    assert tokenizer.size >= 260


def test_settings_of_the_tokenizer_go_before_those_of_the_model(opt):
    settings = opt / "tokenizer_config.json"
    settings.write_text(json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True}))
    tokenizer = models.load_tokenizer(opt)
    assert (tokenizer.first, tokenizer.end, tokenizer.pad) == (0, 2, 1)
    settings.write_text(json.dumps({"add_bos_token": False}))
    assert models.load_tokenizer(opt).first is None


def test_an_older_file_goes_before_settings_without_added_tokens(opt):
    (opt / "special_tokens_map.json").write_text(json.dumps({"eos_token": "<unk>", "pad_token": "<pad>"}))
    settings = opt / "tokenizer_config.json"
    settings.write_text(json.dumps({"eos_token": "<s>"}))
    assert (models.load_tokenizer(opt).end, models.load_tokenizer(opt).pad) == (3, 1)
    settings.write_text(json.dumps({"eos_token": "<s>", "added_tokens_decoder": {}}))
    assert (models.load_tokenizer(opt).end, models.load_tokenizer(opt).pad) == (0, 1)


def test_a_single_file_with_a_rule_of_its_own(opt):
    pieces = models.load_tokenizer(opt).pieces
    pieces.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    pieces.save(str(opt / "tokenizer.json"))
    (opt / "vocab.json").unlink()
    (opt / "config.json").write_text(json.dumps({"model_type": "llama", "bos_token_id": 0, "eos_token_id": [2, 3]}))
    tokenizer = models.load_tokenizer(opt)
    assert (tokenizer.first, tokenizer.end, tokenizer.pad) == (0, 2, 2)
    ids = tokenizer.encode(TEXTS[0])
    assert ids.count(0) == 1
    assert tokenizer.decode(ids) == TEXTS[0]


def test_texts_are_neither_cut_nor_filled_up_by_the_file(opt):
    tokenizer = models.load_tokenizer(opt)
    tokenizer.pieces.enable_truncation(3)
    tokenizer.pieces.enable_padding(length=30)
    tokenizer.pieces.save(str(opt / "tokenizer.json"))
    again = models.load_tokenizer(opt)
    for text in TEXTS:
        assert again.decode(again.encode(text)) == text


def test_tokens_that_were_added(opt):
    size = models.load_tokenizer(opt).size
    (opt / "added_tokens.json").write_text(json.dumps({"<b>": size + 1, "<a>": size}))
    entry = {"content": "</s>", "special": True, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    settings = {"bos_token": "</s>", "tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": {"2": entry}}
    (opt / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = models.load_tokenizer(opt)
    assert tokenizer.first is None  # by default that class puts none
    assert tokenizer.encode("</s><b><a>") == [2, size + 1, size]
    (opt / "added_tokens.json").write_text(json.dumps({"<a>": size + 7}))
    message = f"vocab.json in {str(opt)!r} must be a tokenizer, got \"token '<a>', to be number {size + 7}, is {size}\""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        models.load_tokenizer(opt)


def test_folders_without_a_tokenizer(opt):
    (opt / "config.json").write_text(json.dumps({"model_type": "opt", "bos_token_id": 300_000}))
    with pytest.raises(ValueError, match=r"^bos_token_id must be in the vocabulary, 0\.\.\d+, got 300000"):
        models.load_tokenizer(opt)
    (opt / "merges.txt").unlink()
    (opt / "tokenizer.model").touch()
    message = f"folder {str(opt)!r} must be with tokenizer.json, or with vocab.json and merges.txt (transformers makes it of"
    with pytest.raises(ValueError, match=re.escape(message)):
        models.load_tokenizer(opt)
    (opt / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=f"^tokenizer.json in {re.escape(repr(str(opt)))} must be a tokenizer, got"):
        models.load_tokenizer(opt)


def test_merges_of_what_is_not_in_the_vocabulary(tmp_path):
    """On which the library panics."""
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\na a\n")
    with pytest.raises(ValueError, match=f"^vocab.json in {re.escape(repr(str(tmp_path)))} must be a tokenizer, got"):
        models.load_tokenizer(tmp_path)


def test_without_the_library_the_extra_is_named(opt, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"extra 'lm': pip install 'theory_lab\[lm\]'"):
        models.load_tokenizer(opt)


def test_padding():
    tokens, mask = models.padded([[5, 6, 7], [8]], 1, side="left", length=4)
    assert tokens.tolist() == [[1, 5, 6, 7], [1, 1, 1, 8]]
    assert mask.tolist() == [[0, 1, 1, 1], [0, 0, 0, 1]]
