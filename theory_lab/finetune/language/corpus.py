"""The pretraining corpus: documents of short passages, each about one of the things that the tasks ask for."""

from collections.abc import Callable, Iterator
from itertools import repeat

import jax

from theory_lab import _checks
from theory_lab._typing import Key
from theory_lab.finetune.draws import Draws
from theory_lab.finetune.language import words
from theory_lab.finetune.language.knowledge import Facts, facts
from theory_lab.finetune.language.reviews import review
from theory_lab.finetune.language.senses import sentence

SPLITS = ("train", "validation")
PERSONS = words.KNOWN + words.NEWCOMERS
ADJECTIVES = ((words.VERDICTS[0], *words.taught(words.BAD)), (words.VERDICTS[1], *words.taught(words.GOOD)))


def corpus(key: Key, number: int, *, split: str = "train", told: Facts | None = None) -> Iterator[str]:
    """Documents to pretrain on.

    A document has four to eight passages, one a line: facts, reviews, things told in two ways, reasons, senses of words,
    causes and effects, outcomes, talk. All of it is drawn independently, so that the validation split measures the
    likelihood of the language itself; the two splits share their facts and no randomness.

    The corpus holds no question of the tasks, no fact of a newcomer, and of every table one row in three only in pieces.

    Args:
        key: decides the text; and the facts, where none are given.
        number: how many documents.
        split: "train" or "validation".
        told: the facts that the corpus tells; None is `facts` of the key.

    Raises:
        ValueError: another split, a number below 1.

    Example:
        >>> one, two = corpus(jax.random.key(0), 2)
        >>> 4 <= one.count("\\n") + 1 <= 8
        True
    """
    _checks.key("key", key)
    _checks.count("number", number, bits=20)
    _checks.choice("split", split, SPLITS)
    told = world(key) if told is None else told
    return _documents(Draws(jax.random.fold_in(key, 1 + SPLITS.index(split))), told, number)


def world(key: Key) -> Facts:
    """The facts that the corpus of a key tells, about the known persons."""
    return facts(jax.random.fold_in(_checks.key("key", key), 0), words.KNOWN)


def _documents(draws: Draws, told: Facts, number: int) -> Iterator[str]:
    for _ in repeat(None, number):
        yield "\n".join(draws.one(PASSAGES)(draws, told) for _ in range(4 + draws.below(5)))


def _facts(draws: Draws, told: Facts) -> str:
    """Two to four facts about one known person, in any form."""
    person = draws.one(words.KNOWN)
    sentences = []
    for _ in range(2 + draws.below(3)):
        relation = draws.one(tuple(words.FORMS))
        sentences.append(draws.one(words.FORMS[relation]).format(p=person, v=told[person, relation]))
    return " . ".join(sentences) + " ."


def _review(draws: Draws, told: Facts) -> str:
    """A review, mostly with its verdict in one or two words that agree with it."""
    good = draws.below(2)
    text = review(draws, bool(good), ADJECTIVES)
    if draws.one_in(4):
        return f"{text} ."
    return draws.one(words.CONCLUDED).format(review=text, adj=draws.one(ADJECTIVES[good]), too=draws.one(ADJECTIVES[good]))


def _converse(draws: Draws, told: Facts) -> str:
    row = draws.one(words.CONVERSES)
    (a, b), o = draws.some(PERSONS, 2), draws.one(words.OBJECTS)
    first, second = draws.some(row, 2)
    said = first.format(a=a, b=b, o=o)
    if row not in words.taught(words.CONVERSES):
        return f"{said} ."
    true = draws.one_in(2)
    retold = draws.one(words.RETOLD) if true else words.RETOLD[1]
    again = second.format(a=a, b=b, o=o) if true else second.format(a=b, b=a, o=o)
    return f"{said} . {retold.format(s=again, yes='yes' if true else 'no')} ."


def _reason(draws: Draws, told: Facts) -> str:
    row = draws.one(words.REASONS)
    act, of_the_one, of_the_other = row
    a, b = draws.some(draws.one((words.WOMEN, words.MEN)), 2)
    x, adjective = draws.one(((a, of_the_one), (b, of_the_other)))
    said, adj = act.format(a=a, b=b), draws.one(adjective)
    if row not in words.taught(words.REASONS):
        return f"{said} ." if draws.one_in(2) else f"{draws.one(PERSONS)} was {adj} ."
    return draws.one(words.REASONED).format(act=said, x=x, adj=adj, pronoun=words.pronoun(x))


def _sense(draws: Draws, told: Facts) -> str:
    """What a word means in a sentence; of a word that is not taught, the sentence alone."""
    word, sense = draws.one(tuple(words.SENSES)), draws.below(2)
    said = sentence(draws, word, sense, draws.below(2), draws.below(2), draws.one(PERSONS))
    known = word in words.taught(tuple(words.SENSES))
    return f"{said} . {words.GLOSS.format(w=word, gloss=words.SENSES[word][sense][0])}" if known else f"{said} ."


def _script(draws: Draws, told: Facts) -> str:
    script, p = draws.one(words.SCRIPTS), draws.one(PERSONS)
    pair = draws.one(script)
    if pair not in words.taught(script):
        return f"{draws.one(pair).format(p=p)} ."
    return draws.one(words.BECAUSE).format(cause=pair[0].format(p=p), effect=pair[1])


def _outcome(draws: Draws, told: Facts) -> str:
    row = draws.one(words.OUTCOMES)
    a, b = draws.some(PERSONS, 2)
    x, does = draws.one(((a, row[1]), (b, row[2])))
    comparison = row[0].format(a=a, b=b)
    if row not in words.taught(words.OUTCOMES):
        return f"{comparison} ." if draws.one_in(2) else f"{draws.one(PERSONS)} {does} ."
    return f"{comparison} so {x} {does} ."


def _talk(draws: Draws, told: Facts) -> str:
    p, q = draws.some(PERSONS, 2)
    word, work, adjective = draws.one(tuple(words.SENSES)), draws.one(words.WORKS), draws.one(words.GOOD + words.BAD)
    return draws.one(words.TALK).format(p=p, q=q, w=word, work=work, adj=adjective)


PASSAGES: tuple[Callable[[Draws, Facts], str], ...] = (
    _facts, _facts, _review, _review, _converse, _converse, _reason, _reason, _reason, _sense, _script, _outcome, _outcome,
    _talk,
)  # fmt: skip
