"""A generated language, so that everything runs with nothing downloaded: its words, its corpus, its tasks.

Small English: 64 persons, who lives where and does what, things that happen to them, words with two senses, reviews. What is
told is decided by a key; the words are always the same, so that one tokenizer serves all keys.
"""

import re
from collections.abc import Iterator
from typing import Any

from theory_lab.finetune.language import words
from theory_lab.finetune.language.corpus import corpus, world
from theory_lab.finetune.language.questions import TASKS, task
from theory_lab.finetune.tokens import WORD, WordTokenizer, word_tokenizer

HOLE = re.compile(r"\{\w+\}")

__all__ = ["TASKS", "corpus", "task", "tokenizer", "world"]


def tokenizer() -> WordTokenizer:
    r"""The language's tokenizer: every word of its tables, in alphabetical order, at most 512 tokens in all.

    Example:
        >>> ours = tokenizer()
        >>> ours.decode(ours.encode("Mira lives in arden .\n"))
        'mira lives in arden .\n'
    """
    tables = [value for name, value in vars(words).items() if name.isupper()]
    found = {word for text in _texts(tables) for word in WORD.findall(HOLE.sub(" ", text))}
    return word_tokenizer(sorted((found | set(words.SENSES)) - {"\n"}))


def _texts(value: Any) -> Iterator[str]:
    """Every text in nested tables, their keys aside."""
    if isinstance(value, str):
        yield value
    else:
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)
