"""The tasks of the generated language: six kinds, and knowledge that pretraining has or cannot have."""

from collections.abc import Callable

import jax

from theory_lab import _checks
from theory_lab._typing import Key
from theory_lab.finetune.draws import Draws
from theory_lab.finetune.language import knowledge, words
from theory_lab.finetune.language.corpus import PERSONS, world
from theory_lab.finetune.language.reviews import review
from theory_lab.finetune.language.senses import sentence
from theory_lab.finetune.tasks.base import Example, Task, example

Drawn = tuple[str | tuple[str, str], tuple[str, str]]  # prompt(s), options; the option numbered by the label is right
SIZES = {"train": 1000, "dev": 100, "test": 1000}
ALL_FACTS = {"train": 384, "dev": 128, "test": 128}
YES_NO = ("yes", "no")
THE_OPTION, AFTER_BLANK = "the option, given the prompt", "what follows the blank"


def task(
    name: str,
    key: Key,
    *,
    train: int | None = None,
    dev: int | None = None,
    test: int | None = None,
    corpus_key: Key | None = None,
) -> Task:
    """A task of the generated language.

    "sentiment", "entailment", "pronoun", "sense", "plausible" and "blank" ask what SST-2, RTE, WSC, WiC, COPA and
    WinoGrande ask. No question occurs twice, in one split or in two; each label is right half of the time; but for
    sentiment, the words of a question without their order tell nothing about its answer.

    "new_knowledge" asks for facts about newcomers, of whom the corpus tells none: they are drawn from this key. Training
    tells every fact in three forms, dev asks in a fourth and test in a fifth, which the corpus uses for other persons; so
    the test asks whether facts were learnt, not sentences. "old_knowledge" asks, in the same way, for the facts that the
    corpus tells. Both have 128 facts: 384, 128 and 128 questions.

    Args:
        name: one of `TASKS`.
        key: decides the questions, and new facts.
        train, dev, test: how many of each are wanted; None is 1000, 100 and 1000, of knowledge all.
        corpus_key: the key of the corpus, for "old_knowledge"; None is key 0.

    Raises:
        ValueError: another name, sizes that are not whole numbers or more than there are questions.

    Example:
        >>> one = task("blank", jax.random.key(0), train=2, dev=1, test=1).train[0]
        >>> one.options[0] == one.options[1], one.prompts[0] == one.prompts[1]
        (True, False)
    """
    _checks.choice("name", name, TASKS)
    standard = ALL_FACTS if name in KNOWLEDGE else SIZES
    given = {"train": train, "dev": dev, "test": test}
    wanted = {split: standard[split] if size is None else size for split, size in given.items()}
    if corpus_key is not None:
        _checks.key("corpus_key", corpus_key)
    sizes = {split: _checks.count(split, size, bits=20) for split, size in wanted.items()}
    draws = Draws(jax.random.fold_in(_checks.key("key", key), 1 + TASKS.index(name)))
    if name in KNOWLEDGE:
        old = world(jax.random.key(0) if corpus_key is None else _checks.key("corpus_key", corpus_key))
        told = old if name == "old_knowledge" else knowledge.facts(jax.random.fold_in(key, 0), words.NEWCOMERS)
        return _asked(name, told, draws, sizes)
    return _drawn(name, draws, sizes)


def _asked(name: str, told: knowledge.Facts, draws: Draws, sizes: dict[str, int]) -> Task:
    forms = {"train": knowledge.TRAIN, "dev": knowledge.DEV, "test": knowledge.TEST}
    splits = {split: knowledge.questions(draws, told, forms[split], split) for split in sizes}
    for split, size in sizes.items():
        if size > len(splits[split]):
            raise _checks.refuse(split, f"at most {len(splits[split])} for {name!r}", size)
    return Task(name, THE_OPTION, **{split: tuple(splits[split][:size]) for split, size in sizes.items()})


def _drawn(name: str, draws: Draws, sizes: dict[str, int]) -> Task:
    seen: set[frozenset[str]] = set()
    splits = {}
    for split, size in sizes.items():
        labels = draws.shuffled([number % 2 for number in range(size)])
        splits[split] = tuple(_new(name, draws, label, f"{split}:{i}", seen) for i, label in enumerate(labels))
    return Task(name, AFTER_BLANK if name == "blank" else THE_OPTION, **splits)


def _new(name: str, draws: Draws, label: int, number: str, seen: set[frozenset[str]]) -> Example:
    """A question not asked before, in whatever order of its options; a thousand vain tries say that none is left."""
    for _ in range(1000):
        one = example(number, *DRAWN[name](draws, label), label)
        texts = frozenset(prompt + option for prompt, option in zip(one.prompts, one.options, strict=True))
        if texts not in seen:
            seen.add(texts)
            return one
    raise _checks.refuse("train + dev + test", f"at most the questions that {name!r} has", f"more than {len(seen)}")


def _sentiment(draws: Draws, label: int) -> Drawn:
    text = review(draws, label == 1, (words.BAD, words.GOOD))
    return words.QUESTIONS["sentiment"].format(review=f"{text} ."), (f" {words.VERDICTS[0]}", f" {words.VERDICTS[1]}")


def _entailment(draws: Draws, label: int) -> Drawn:
    """The hypothesis tells the premise the other way round; where it is false, with the two persons exchanged."""
    first, second = draws.some(draws.one(words.CONVERSES), 2)
    (a, b), o = draws.some(PERSONS, 2), draws.one(words.OBJECTS)
    hypothesis = second.format(a=a, b=b, o=o) if label == 0 else second.format(a=b, b=a, o=o)
    return words.QUESTIONS["entailment"].format(premise=first.format(a=a, b=b, o=o), hypothesis=hypothesis), YES_NO


def _pronoun(draws: Draws, label: int) -> Drawn:
    act, of_the_one, of_the_other = draws.one(words.REASONS)
    a, b = draws.some(draws.one((words.WOMEN, words.MEN)), 2)
    meant, adjectives = draws.one(((a, of_the_one), (b, of_the_other)))
    other = b if meant == a else a
    pronoun = words.pronoun(a)
    text = f"{act.format(a=a, b=b)} because {pronoun} was {draws.one(adjectives)}"
    x = meant if label == 0 else other
    return words.QUESTIONS["pronoun"].format(text=text, pronoun=pronoun, x=x), YES_NO


def _sense(draws: Draws, label: int) -> Drawn:
    """Two sentences with all four things that are done with a word: the same words, whether its sense is the same or not."""
    word, sense = draws.one(tuple(words.SENSES)), draws.below(2)
    p, q = draws.some(PERSONS, 2)
    done, other = draws.below(2), draws.below(2)
    first = sentence(draws, word, sense, done, other, p)
    if label == 0:
        second = sentence(draws, word, sense, 1 - done, 1 - other, q)
    else:
        second = sentence(draws, word, 1 - sense, 1 - other, 1 - done, q)
    return words.QUESTIONS["sense"].format(w=word, first=first, second=second), YES_NO


def _plausible(draws: Draws, label: int) -> Drawn:
    """What happened, or why; the other choice is what another thing done to the same object leads to."""
    (cause, effect), (other_cause, other_effect) = draws.some(draws.one(words.SCRIPTS), 2)
    p = draws.one(PERSONS)
    premise, link, right, wrong = draws.one(
        ((cause, "so", effect, other_effect), (effect, "because", cause, other_cause)),
    )
    prompt = words.QUESTIONS["plausible"].format(premise=premise.format(p=p), link=link)
    return prompt, _placed(f" {right.format(p=p)} .", f" {wrong.format(p=p)} .", label)


def _blank(draws: Draws, label: int) -> Drawn:
    comparison, of_the_one, of_the_other = draws.one(words.OUTCOMES)
    a, b = draws.some(PERSONS, 2)
    right, wrong, does = draws.one(((a, b, of_the_one), (b, a, of_the_other)))
    prompt = lambda x: words.QUESTIONS["blank"].format(comparison=comparison.format(a=a, b=b), x=x)
    return _placed(prompt(right), prompt(wrong), label), (f" {does} .", f" {does} .")


def _placed(right: str, wrong: str, label: int) -> tuple[str, str]:
    return (right, wrong) if label == 0 else (wrong, right)


DRAWN: dict[str, Callable[[Draws, int], Drawn]] = {
    "sentiment": _sentiment,
    "entailment": _entailment,
    "pronoun": _pronoun,
    "sense": _sense,
    "plausible": _plausible,
    "blank": _blank,
}
KNOWLEDGE = ("new_knowledge", "old_knowledge")
TASKS = (*DRAWN, *KNOWLEDGE)
