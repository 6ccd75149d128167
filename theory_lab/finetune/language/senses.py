"""Sentences in which a word has one of its two senses, told from the other by nothing but where the words stand."""

from theory_lab.finetune.draws import Draws
from theory_lab.finetune.language import words


def sentence(draws: Draws, word: str, sense: int, done: int, other: int, person: str) -> str:
    """Two things that a person does: one with the word in this sense, one that would fit its other sense, with a "thing".

    A sentence of the one sense and one of the other are made of the same words.

    Args:
        word, sense: a key of `words.SENSES`, and 0 or 1.
        done, other: which of the two things of this sense, and of the other one.
    """
    ours = words.SENSES[word][sense][1][done].format(w=word)
    theirs = words.SENSES[word][1 - sense][1][other].format(w=words.OTHER)
    first, second = draws.some((ours, theirs), 2)
    return f"{person} {words.BOTH.format(one=first, other=second)}"
