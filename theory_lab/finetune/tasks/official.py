"""SST-2, RTE, WSC, WiC, COPA and WinoGrande from their official files, with the prompts of MeZO and ZO-Bench.

Each reader turns a folder into `Pools`. The files are those of the releases: SST-2 of GLUE (train.tsv, dev.tsv), RTE, WSC,
WiC and COPA of SuperGLUE (train.jsonl, val.jsonl), WinoGrande 1.1 (train_xl.jsonl or a smaller one, dev.jsonl). Nothing is
downloaded.

Reference:
    Malladi et al.: Fine-tuning language models with just forward passes, 2023 (prompts); Zhang et al.: Revisiting
    zeroth-order optimization for memory-efficient LLM fine-tuning, 2024. Both recalled, not re-read.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from theory_lab import _checks
from theory_lab.finetune.tasks import files
from theory_lab.finetune.tasks.base import Example, Pools, example
from theory_lab.finetune.tasks.files import Row, field, label

Folder = str | os.PathLike[str]
YES_NO = ("Yes", "No")
TRUTH = {True: 0, False: 1, "true": 0, "false": 1}  # some copies of SuperGLUE write labels as strings
THE_OPTION = "the option, given the prompt"
WINOGRANDE_SIZES = ("xl", "l", "m", "s", "xs")
AFTER_BLANK, FROM_BLANK = "what follows the blank", "the option and what follows the blank"


def sst2(folder: Folder) -> Pools:
    """Sentiment of film reviews: ``{sentence} It was {terrible|great}``."""
    train, dev = files.one_folder(folder, ("train.tsv", "dev.tsv"))
    columns = ("sentence", "label")
    return Pools("sst2", THE_OPTION, *(files.tab_separated(path, columns, _sst2) for path in (train, dev)))


def rte(folder: Folder) -> Pools:
    """Entailment: premise, then ``Does this mean that "{hypothesis}" is true? Yes or No?``."""
    return _superglue("rte", folder, _rte)


def wsc(folder: Folder) -> Pools:
    """Pronoun resolution: text, then ``... does the pronoun "{span2}" refer to {span1}? Yes or No?``."""
    return _superglue("wsc", folder, _wsc)


def wic(folder: Folder) -> Pools:
    """Word sense: ``Does the word "{word}" have the same meaning in these two sentences? Yes, No?``, then both."""
    return _superglue("wic", folder, _wic)


def copa(folder: Folder) -> Pools:
    """Plausible alternative: the premise without its stop, ``because`` or ``so``, then one of two choices."""
    return _superglue("copa", folder, _copa)


def winogrande(folder: Folder, *, size: str | None = None, scored: str = AFTER_BLANK) -> Pools:
    """Fill-in: one of two options in the blank of a sentence.

    Partial scoring (Trinh and Le 2018) compares the text after the blank, the same for both options, given each option in
    its place; it does not ask which option is the likelier word by itself. Scoring from the blank on asks both.

    Args:
        folder: with train_{size}.jsonl and dev.jsonl.
        size: "xl", "l", "m", "s" or "xs"; None is the largest in the folder.
        scored: "what follows the blank" or "the option and what follows the blank".

    Raises:
        ValueError: a file that is missing, a bad row by file and line, another size or scoring.
    """
    _checks.choice("scored", scored, (AFTER_BLANK, FROM_BLANK))
    if size is None:
        there = [s for s in WINOGRANDE_SIZES if isinstance(folder, (str, os.PathLike)) and _training(folder, s).is_file()]
        size = there[0] if there else WINOGRANDE_SIZES[0]
    _checks.choice("size", size, WINOGRANDE_SIZES)
    parse = lambda row, id: _winogrande(row, id, scored)
    paths = files.one_folder(folder, (f"train_{size}.jsonl", "dev.jsonl"))
    return Pools("winogrande", scored, *(files.json_lines(path, parse) for path in paths))


def _training(folder: Folder, size: str) -> Path:
    return Path(folder) / f"train_{size}.jsonl"


def _superglue(name: str, folder: Folder, parse: Callable[[Row, str], Example]) -> Pools:
    paths = files.one_folder(folder, ("train.jsonl", "val.jsonl"))
    return Pools(name, THE_OPTION, *(files.json_lines(path, parse) for path in paths))


def _sst2(row: Row, id: str) -> Example:
    answer = label(row, "label", {"0": 0, "1": 1})
    return example(id, f"{field(row, 'sentence')} It was", (" terrible", " great"), answer)


def _rte(row: Row, id: str) -> Example:
    answer = label(row, "label", {"entailment": 0, "not_entailment": 1})
    question = f'Does this mean that "{field(row, "hypothesis")}" is true? Yes or No?'
    return example(id, f"{field(row, 'premise')}\n{question}\n", YES_NO, answer)


def _wsc(row: Row, id: str) -> Example:
    target: Any = row.get("target")
    if not isinstance(target, dict):
        raise _checks.refuse("target", "a JSON object with span1_text and span2_text", target)
    pronoun, noun = field(target, "span2_text"), field(target, "span1_text")
    question = f'In the previous sentence, does the pronoun "{pronoun}" refer to {noun}? Yes or No?'
    return example(id, f"{field(row, 'text')}\n{question}\n", YES_NO, label(row, "label", TRUTH))


def _wic(row: Row, id: str) -> Example:
    question = f'Does the word "{field(row, "word")}" have the same meaning in these two sentences? Yes, No?'
    prompt = f"{question}\n{field(row, 'sentence1')}\n{field(row, 'sentence2')}\n"
    return example(id, prompt, YES_NO, label(row, "label", TRUTH))


def _copa(row: Row, id: str) -> Example:
    link = ("because", "so")[label(row, "question", {"cause": 0, "effect": 1})]
    prompt = f"{field(row, 'premise').removesuffix('.')} {link}"
    choices = [f" {_continued(field(row, name))}" for name in ("choice1", "choice2")]
    return example(id, prompt, choices, label(row, "label", {0: 0, 1: 1}))


def _continued(sentence: str) -> str:
    """A sentence in the middle of another: its first letter is small, unless its first word is "I"."""
    return sentence if re.match(r"I\b", sentence) else sentence[0].lower() + sentence[1:]


def _winogrande(row: Row, id: str, scored: str) -> Example:
    sentence, fillings = field(row, "sentence"), [field(row, "option1"), field(row, "option2")]
    before, _, after = (part.strip() for part in sentence.partition("_"))
    if sentence.count("_") != 1 or not before or not after:
        raise _checks.refuse("sentence", "a text with one blank, _, between two words", sentence)
    answer = label(row, "answer", {"1": 0, "2": 1})
    if scored == FROM_BLANK:
        return example(id, before, [f" {filling} {after}" for filling in fillings], answer)
    return example(id, [f"{before} {filling}" for filling in fillings], (f" {after}",) * 2, answer)
