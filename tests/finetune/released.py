"""Small files in the formats of the releases, made here."""

import json

ROWS = {
    "rte": [
        {"premise": "No rain fell in May.", "hypothesis": "Rain fell in May.", "label": "not_entailment", "idx": 0},
        {"premise": "Two cats slept.", "hypothesis": "Cats slept.", "label": "entailment", "idx": 1},
    ],
    "wsc": [
        {
            "text": "Ann thanked Sue because she had helped.",
            "target": {"span1_index": 2, "span1_text": "Sue", "span2_index": 4, "span2_text": "she"},
            "idx": 0,
            "label": True,
        },
        {
            "text": "Ann thanked Sue because she had helped.",
            "target": {"span1_index": 0, "span1_text": "Ann", "span2_index": 4, "span2_text": "she"},
            "idx": 1,
            "label": False,
        },
    ],
    "wic": [
        {
            "word": "bank", "sentence1": "A bank of sand.", "sentence2": "He robbed a bank.", "idx": 0, "label": False,
            "start1": 2, "start2": 12, "end1": 6, "end2": 16, "version": 1.1,
        },
        {
            "word": "run", "sentence1": "Run!", "sentence2": "They run.", "idx": 1, "label": True,
            "start1": 0, "start2": 5, "end1": 3, "end2": 8, "version": 1.1,
        },
    ],
    "copa": [
        {
            "premise": "The glass fell.", "choice1": "It broke.", "choice2": "It sang.",
            "question": "effect", "label": 0, "idx": 0,
        },
        {
            "premise": "My coat was wet. ", "choice1": "It was blue.", "choice2": "I'd walked in the rain.",
            "question": "cause", "label": 1, "idx": 1,
        },
    ],
    "winogrande": [
        {
            "qID": "A-1", "sentence": "Ann was taller than Sue so _ took the top shelf.",
            "option1": "Ann", "option2": "Sue", "answer": "1",
        },
        {
            "qID": "A-2", "sentence": "The ball broke the vase because of the weak _ .",
            "option1": "ball", "option2": "vase", "answer": "2",
        },
    ],
}  # fmt: skip
SST2 = [("a charming and often touching journey . ", "1"), ("dull « beyond » words ", "0"), ('a " quoted film', "1")]
FILES = {
    "sst2": ("train.tsv", "dev.tsv"),
    "winogrande": ("train_xl.jsonl", "dev.jsonl"),
    **{name: ("train.jsonl", "val.jsonl") for name in ("rte", "wsc", "wic", "copa")},
}


def text(name, rows=None):
    """The rows of a data set as the text of a file."""
    if name == "sst2":
        return "".join("\t".join(row) + "\n" for row in [("sentence", "label"), *(SST2 if rows is None else rows)])
    return "".join(json.dumps(row) + "\n" for row in (ROWS[name] if rows is None else rows))


def write(folder, name, train=None, validation=None):
    """A folder with the two files of a data set; either may be given as bytes."""
    for file, content in zip(FILES[name], (train, validation), strict=True):
        (folder / file).write_bytes(text(name).encode() if content is None else content)
    return folder
