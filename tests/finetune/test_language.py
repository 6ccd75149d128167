"""The generated language: deterministic, balanced, closed, and hard where it should be for whoever sees no order."""

import hashlib
import re
from collections import Counter

import jax
import numpy as np
import pytest

from theory_lab.finetune import baselines, language
from theory_lab.finetune.draws import Draws
from theory_lab.finetune.language import knowledge, questions, words
from theory_lab.finetune.tokens import WORD
from theory_lab.measure import accuracy

KEY = jax.random.key(0)
TOKENIZER = language.tokenizer()
CORPUS = list(language.corpus(KEY, 3000))
TASKS = {name: language.task(name, KEY) for name in language.TASKS}

every_task = pytest.mark.parametrize("name", language.TASKS)


def everything(task):
    return (*task.train, *task.dev, *task.test)


def texts(one):
    return [prompt + option for prompt, option in zip(one.prompts, one.options, strict=True)]


def digest(lines):
    return hashlib.sha256("\0".join(lines).encode()).hexdigest()[:16]


def test_the_vocabulary_is_small_and_has_every_word():
    assert len(TOKENIZER) <= 512
    seen = {word for text in CORPUS for word in WORD.findall(text)}
    seen |= {
        word for task in TASKS.values() for one in everything(task) for text in texts(one) for word in WORD.findall(text)
    }
    assert seen == set(TOKENIZER.words[4:])


def test_the_corpus_has_every_word_so_that_all_are_trained():
    counts = Counter(word for text in CORPUS for word in WORD.findall(text))
    assert set(counts) == set(TOKENIZER.words[4:])


@every_task
def test_texts_come_back_from_their_tokens(name):
    for one in everything(TASKS[name])[:100]:
        for text in texts(one):
            assert TOKENIZER.decode(TOKENIZER.encode(text)) == text
    for text in CORPUS[:100]:
        assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_the_same_key_gives_the_same_texts_everywhere():
    """Hashes of the first texts, which another platform or another version of NumPy or JAX must reproduce."""
    assert digest(CORPUS[:200]) == "d1ead19e31aef417"
    asked = [text for task in TASKS.values() for one in task.test[:50] for text in (*texts(one), str(one.label))]
    assert digest(asked) == "981280f439dc746c"


def test_keys_and_splits_of_the_corpus_are_independent():
    other = list(language.corpus(jax.random.key(1), 3000))
    validation = list(language.corpus(KEY, 3000, split="validation"))
    assert not set(CORPUS) & (set(other) | set(validation))
    assert list(language.corpus(KEY, 100)) == CORPUS[:100]
    assert language.world(KEY) != language.world(jax.random.key(1))


def test_the_corpus_tells_its_facts_and_no_others():
    told, found = language.world(KEY), {}
    for relation, forms in words.FORMS.items():
        for form in forms:
            pattern = re.compile(r"\b" + re.escape(form).replace(r"\{p\}", r"(\w+)").replace(r"\{v\}", r"(\w+)") + r" \.")
            for text in CORPUS:
                for person, value in pattern.findall(text):
                    if value in words.VALUES[relation]:
                        found.setdefault((person, relation), set()).add(value)
    assert found == {fact: {value} for fact, value in told.items()}
    assert {person for person, _ in found} == set(words.KNOWN)
    spoken = Counter(word for text in CORPUS for word in WORD.findall(text))
    assert min(spoken[person] for person in words.NEWCOMERS) > 100  # newcomers are no strangers to the model


def test_the_corpus_holds_no_question_of_the_tasks():
    together = "\n".join(CORPUS)
    for opening in ("does this mean that", "in the previous sentence ,", 'does the word "', "yes or no ?", "yes , no ?"):
        assert opening not in together


def test_what_is_not_taught_is_told_in_pieces_only():
    together = "\n".join(CORPUS)
    for script in words.SCRIPTS:
        for cause, effect in script:
            linked = re.search(cause.format(p=r"\w+") + " so " + effect, together) is not None
            assert linked == ((cause, effect) in words.taught(script))
            assert re.search(cause.format(p=r"\w+"), together)
            assert effect in together
    for word, senses in words.SENSES.items():
        explained = words.GLOSS.format(w=word, gloss=senses[0][0]) in together
        assert explained == (word in words.taught(tuple(words.SENSES)))
    for row in words.OUTCOMES:
        linked = re.search(row[0].format(a=r"\w+", b=r"\w+") + r" so \w+ " + row[1], together) is not None
        assert linked == (row in words.taught(words.OUTCOMES))


@every_task
def test_labels_are_balanced_in_every_split(name):
    task = TASKS[name]
    for split in (task.train, task.dev, task.test):
        assert np.bincount([one.label for one in split], minlength=2).tolist() == [len(split) / 2, len(split) / 2]
    assert baselines.majority(task.train, task.test).mean() == 0.5


@every_task
def test_no_question_occurs_twice(name):
    asked = [frozenset(texts(one)) for one in everything(TASKS[name])]
    assert len(set(asked)) == len(asked)
    ids = [one.id for one in everything(TASKS[name])]
    assert len(set(ids)) == len(ids)


@every_task
def test_tasks_are_functions_of_their_key(name):
    sizes = {"train": 20, "dev": 4, "test": 10}
    same = [language.task(name, jax.random.key(k), **sizes) for k in (3, 3, 4)]
    assert same[0] == same[1] != same[2]
    assert same[0].sizes == sizes


@pytest.mark.parametrize("name", ["entailment", "pronoun", "sense"])
def test_the_same_words_are_asked_with_either_answer(name):
    """Drawn with the same choices, the question whose answer is yes and the one whose answer is no have the same words."""
    for seed in range(200):
        yes, no = (questions.DRAWN[name](Draws(jax.random.key(seed)), label) for label in (0, 1))
        assert yes[0] != no[0]
        assert set(yes[0].split()) == set(no[0].split())
        assert yes[1] == no[1]


def unigram(name):
    """Pooled over the keys, so that tasks of knowledge, with 128 questions, say as much."""
    keys = range(6) if name in questions.KNOWLEDGE else range(2)
    tasks = [language.task(name, jax.random.key(10 + k)) for k in keys]
    return accuracy.accuracy(np.concatenate([baselines.bag_of_words(task.train, task.test) for task in tasks]))


@pytest.mark.parametrize("name", [name for name in language.TASKS if name != "sentiment"])
def test_words_without_order_leave_the_answer_open(name):
    measured = unigram(name)
    assert 0.4 < measured.low < measured.high < 0.6


def test_words_without_order_tell_much_of_sentiment_but_not_all():
    measured = unigram("sentiment")
    assert 0.6 < measured.low < measured.high < 0.85


def test_facts_are_spread_evenly_over_values():
    for persons in (words.KNOWN, words.NEWCOMERS):
        told = knowledge.facts(jax.random.key(5), persons)
        for relation, values in words.VALUES.items():
            counts = Counter(value for (_, r), value in told.items() if r == relation)
            assert set(counts.values()) == {len(persons) // len(values)}
            assert set(counts) == set(values)


@pytest.mark.parametrize("name", questions.KNOWLEDGE)
def test_knowledge_asks_in_other_forms_than_it_tells(name):
    task, told = TASKS[name], {}
    for split, forms in ((task.train, knowledge.TRAIN), (task.dev, knowledge.DEV), (task.test, knowledge.TEST)):
        facts = Counter()
        for one in split:
            text, false = texts(one)[one.label], texts(one)[1 - one.label]
            (person,) = [word for word in WORD.findall(text) if word in questions.PERSONS]
            (relation,) = [r for r, values in words.VALUES.items() if text.split()[-1] in values]
            value = text.split()[-1]
            assert text in [words.FORMS[relation][form].format(p=person, v=value) for form in forms]
            assert false.split()[-1] in words.VALUES[relation]
            assert told.setdefault((person, relation), value) == value != false.split()[-1]
            facts[person, relation] += 1
        assert set(facts.values()) == {len(forms)}
        assert len(facts) == 128
    old = language.world(KEY)
    assert told == old if name == "old_knowledge" else not told.keys() & old.keys()


def test_a_false_value_is_as_often_true():
    for one_split in (TASKS["new_knowledge"].train, TASKS["new_knowledge"].test):
        true = Counter(one.options[one.label] for one in one_split)
        false = Counter(one.options[1 - one.label] for one in one_split)
        assert true == false


def test_new_facts_are_new_for_every_key():
    first, second = (language.task("new_knowledge", jax.random.key(k)) for k in (1, 2))
    answers = [{one.prompts[0]: one.options[one.label] for one in task.test} for task in (first, second)]
    assert answers[0].keys() == answers[1].keys()
    agreeing = np.mean([answers[0][prompt] == answers[1][prompt] for prompt in answers[0]])
    assert agreeing < 0.3  # chance agrees in 1/16 or 1/8


def test_sentiment_is_decided_by_the_last_clause():
    for one in TASKS["sentiment"].train:
        last = re.split(r" but ", one.prompts[0])[-1]
        found = [word for word in last.split() if word in words.GOOD + words.BAD]
        good = {word in words.GOOD for word in found}
        assert good == {(one.label == 1) != (" not " in last)}


def test_a_task_that_is_too_large_is_refused():
    message = r"^train \+ dev \+ test must be at most the questions that 'plausible' has, got 'more than \d+'$"
    with pytest.raises(ValueError, match=message):
        language.task("plausible", KEY, train=20_000)


def test_draws_are_uniform_and_independent_of_the_block_size():
    draws = Draws(KEY)
    counts = Counter(tuple(draws.some("abc", 2)) for _ in range(12_000))
    assert len(counts) == 6
    assert sum((count - 2000) ** 2 / 2000 for count in counts.values()) < 20.5  # chi-square(5) at 0.999
    assert [Draws(KEY).below(1000) for _ in range(3)] == [Draws(KEY).below(1000)] * 3
    assert sorted(Draws(KEY).shuffled(range(50))) == list(range(50))
