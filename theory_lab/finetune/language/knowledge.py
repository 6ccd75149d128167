"""Facts: who lives where, works as what, keeps and eats what, by a key; and the question about each of them."""

from collections.abc import Mapping

from theory_lab._typing import Key
from theory_lab.finetune.draws import Draws
from theory_lab.finetune.language import words
from theory_lab.finetune.tasks.base import Example, example

Facts = Mapping[tuple[str, str], str]  # (person, relation) -> value
TRAIN, DEV, TEST = (0, 1, 2), (3,), (4,)  # which of the FORMS each split uses


def facts(key: Key, persons: tuple[str, ...]) -> Facts:
    """One value for every person and relation; all values of a relation are equally frequent, to within one.

    Example:
        >>> import jax
        >>> told = facts(jax.random.key(0), words.KNOWN)
        >>> len(told), told["anna", "pet"] in words.VALUES["pet"]
        (128, True)
    """
    draws, told = Draws(key), {}
    for relation, values in words.VALUES.items():
        order = draws.shuffled(values)
        for number, person in enumerate(draws.shuffled(persons)):
            told[person, relation] = order[number % len(order)]
    return told


def questions(draws: Draws, told: Facts, forms: tuple[int, ...], name: str) -> list[Example]:
    """Every fact in each of some forms, its value against one other; in random order, each label half of the time.

    The false values are the true ones of other persons: within a form and relation the values are rotated, so that each is
    false as often as it is true, and the words of the options say nothing.
    """
    made: list[tuple[str, str, str]] = []
    for form in forms:
        for relation, values in words.VALUES.items():
            order, shift = draws.shuffled(values), 1 + draws.below(len(values) - 1)
            false = {value: order[(number + shift) % len(order)] for number, value in enumerate(order)}
            prompt = words.FORMS[relation][form].removesuffix(" {v}")
            owned = [(person, value) for (person, r), value in told.items() if r == relation]
            made.extend((prompt.format(p=person), value, false[value]) for person, value in owned)
    made = draws.shuffled(made)
    labels = draws.shuffled([number % 2 for number in range(len(made))])
    return [
        example(f"{name}:{number}", prompt, (f" {true}", f" {false}") if label == 0 else (f" {false}", f" {true}"), label)
        for number, ((prompt, true, false), label) in enumerate(zip(made, labels, strict=True))
    ]
