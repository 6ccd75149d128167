"""Against transformers: the same folder, the same ids and the same texts. (Extra "parity"; skipped without it.)"""

import json

import pytest

from tests.models.reference import transformers
from theory_lab import models

tokenizers = pytest.importorskip("tokenizers", reason="the extra 'lm' is not installed")

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]

CORPUS = ["the cat sat on the mat", "a hat, a bat; the rat!", "über naïve façades", "  two  spaces\nand a line"] * 4
TEXTS = [*CORPUS[:4], "", " ", " the", "the ", "it's 12345 o'clock", "日本 🙂", "<s> the</s>cat<pad><extra> x", "\t\n\n  a"]
WORDS = ["<s>", "<pad>", "</s>", "<unk>"]


def byte_level(folder) -> None:
    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(CORPUS, vocab_size=300, min_frequency=1, special_tokens=WORDS)
    trained.save_model(str(folder))


def opt(folder, **settings) -> object:
    """vocab.json and merges.txt, and the settings that facebook/opt-125m has."""
    byte_level(folder)
    named = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>", "add_bos_token": True}
    told = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, **named, **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    (folder / "config.json").write_text(json.dumps({"model_type": "opt", "bos_token_id": 2, "vocab_size": 300}))
    return transformers.AutoTokenizer.from_pretrained(folder)


def byte_fallback(folder, **settings) -> object:
    """Of Llama 2: words begin with a mark, bytes stand for unknown letters."""
    model = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    model.train_from_iterator(
        CORPUS, tokenizers.trainers.BpeTrainer(vocab_size=330, special_tokens=pieces, show_progress=False)
    )
    stored = json.loads(model.to_str())["model"]
    merges = [tuple(merge) for merge in stored["merges"]]
    made = transformers.LlamaTokenizer(vocab=stored["vocab"], merges=merges, add_bos_token=True, **settings)
    return saved(made, folder)


def llama_2(folder) -> object:
    """The same as versions 4 wrote it: a normalizer in the place of a pre-tokenizer, and a rule for the first token."""
    byte_fallback(folder)
    stored = json.loads((folder / "tokenizer.json").read_text())
    prepend = {"type": "Prepend", "prepend": "▁"}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    stored |= {"pre_tokenizer": None, "normalizer": {"type": "Sequence", "normalizers": [prepend, replace]}}
    (folder / "tokenizer.json").write_text(json.dumps(stored))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    return transformers.AutoTokenizer.from_pretrained(folder)


def llama_3(folder, *, first: bool = True) -> object:
    """Byte level after a split by a pattern; the first token, where there is one, by a rule of the file; tokens added."""
    byte_level(folder)
    model = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    split = tokenizers.pre_tokenizers.Split(
        tokenizers.Regex(r"'s|\\p{N}{1,3}| ?\\p{L}+|\\s+|[^\\s\\p{L}\\p{N}]+"), "isolated"
    )
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    model.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([split, level])
    model.decoder = tokenizers.decoders.ByteLevel()
    model.add_special_tokens(WORDS)
    if first:
        model.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    model.enable_truncation(4)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=model, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    made.add_tokens(["<extra>"])
    return saved(made, folder)


def saved(made: object, folder) -> object:
    made.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "bos_token_id": 1 if len(made) > 320 else 0}))
    return transformers.AutoTokenizer.from_pretrained(folder)


KINDS = {
    "opt": opt,
    "opt, no first": lambda folder: opt(folder, add_bos_token=False),
    "llama, byte fallback": byte_fallback,
    "llama, as of version 4": llama_2,
    "llama, byte level": llama_3,
    "llama, byte level, no first": lambda folder: llama_3(folder, first=False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_texts_are_those_of_transformers(kind, tmp_path):
    theirs, ours = KINDS[kind](tmp_path), models.load_tokenizer(tmp_path)
    for text in TEXTS:
        ids = theirs(text)["input_ids"]
        assert ours.encode(text) == ids, text
        assert ours.encode(text, special=False) == theirs(text, add_special_tokens=False)["input_ids"], text
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False), text
    assert (ours.first, ours.end) == (theirs("")["input_ids"][0] if theirs("")["input_ids"] else None, theirs.eos_token_id)
    assert ours.size == len(theirs)


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("settings, older", [("</s>", "<pad>"), (None, "</s>"), ("</s>", None), ("", "</s>"), ("<s>", "")])
def test_of_two_files_the_one_that_transformers_believes(settings, older, added, tmp_path):
    """ "" is a file that says nothing of it."""
    pieces = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({w: i for i, w in enumerate(["a", *WORDS])}, unk_token="<unk>")
    )
    pieces.save(str(tmp_path / "tokenizer.json"))
    entry = {"content": "<s>", "special": True, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    known = {"tokenizer_class": "PreTrainedTokenizerFast"} | ({"added_tokens_decoder": {"1": entry}} if added else {})
    said = lambda word: {} if word == "" else {"eos_token": word}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(known | said(settings)))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(said(older)))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    if added and settings == "":  # they have none then; here the older file may still say it
        assert theirs.eos_token_id is None
        assert models.load_tokenizer(tmp_path).end == pieces.token_to_id(older)
    else:
        assert models.load_tokenizer(tmp_path).end == theirs.eos_token_id
