"""What a task is: examples with options, cut into train, dev and test."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax

from theory_lab import _checks
from theory_lab._typing import Key
from theory_lab.finetune.draws import Draws


@dataclass(frozen=True)
class Example:
    """A question and its options; build it with `example`, which validates.

    The text of option k is ``prompts[k] + options[k]``. What is scored, and trained on for the right option, is
    ``options[k]`` given ``prompts[k]``. Most tasks have one prompt for all options; where a blank is filled, the options
    stand in the prompts and what follows the blank is scored.

    Attributes:
        id: where it comes from, "train.jsonl:17" for line 17 of that file; unique within its task.
        prompts: K texts.
        options: K texts, K >= 2.
        label: which option is right, 0 <= label < K.
    """

    id: str
    prompts: tuple[str, ...]
    options: tuple[str, ...]
    label: int


@dataclass(frozen=True)
class Task:
    """A task cut into examples to train on, to choose by, and to report.

    Attributes:
        name: "sst2".
        scored: which text is scored, in words.
        train, dev, test: the examples.
    """

    name: str
    scored: str
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]

    @property
    def sizes(self) -> dict[str, int]:
        return {"train": len(self.train), "dev": len(self.dev), "test": len(self.test)}


@dataclass(frozen=True)
class Pools:
    """All labelled examples that a data set has, in the order of its files.

    Attributes:
        name, scored: as in `Task`.
        train: the official training examples, from which train and dev are drawn.
        validation: the official validation examples, from which test is drawn (official test files have no labels).
    """

    name: str
    scored: str
    train: tuple[Example, ...]
    validation: tuple[Example, ...]


def example(id: str, prompt: str | Sequence[str], options: Sequence[str], label: int) -> Example:
    """A validated `Example`; one prompt stands for all options.

    Raises:
        ValueError: fewer than two options, an empty text, prompts and options of different number, a label outside them.

    Example:
        >>> one = example("a", "A charming film. It was", [" terrible", " great"], 1)
        >>> one.prompts[one.label] + one.options[one.label]
        'A charming film. It was great'
    """
    options = _texts("options", options)
    if len(options) < 2:
        raise _checks.refuse("options", "at least two texts", options)
    prompts = (_checks.text("prompt", prompt),) * len(options) if isinstance(prompt, str) else _texts("prompt", prompt)
    if len(prompts) != len(options):
        raise _checks.refuse("prompt", f"one text, or one for each of the {len(options)} options", prompts)
    label = _checks.count("label", label, least=0)
    if label >= len(options):
        raise _checks.refuse("label", f"below the number of options, {len(options)}", label)
    return Example(_checks.text("id", id), prompts, options, label)


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _checks.refuse(name, "a sequence of texts", value)
    return tuple(_checks.text(f"{name}[{i}]", one) for i, one in enumerate(value))


def sample(pools: Pools, key: Key | None = None, *, train: int = 1000, dev: int = 100, test: int = 1000) -> Task:
    """Train, dev and test drawn without replacement, capped by the official sizes.

    Dev and train are disjoint parts of the official training examples; dev is served first, so that a small data set keeps
    one to choose by (COPA, 400: 100 and 300). Test is drawn from the official validation examples. The key decides which
    examples are drawn and their order, separately for the two files: another size of train leaves dev and test as they are.

    Args:
        pools: all examples.
        key: which sample; None is key 0.
        train, dev, test: how many are wanted; dev may be 0.

    Raises:
        ValueError: sizes that are not whole numbers, or a dev that leaves nothing to train on.

    Example:
        >>> all_of_them = tuple(example(str(i), "is it ?", ["yes", "no"], i % 2) for i in range(400))
        >>> sample(Pools("copa", "the option", all_of_them, all_of_them[:100])).sizes
        {'train': 300, 'dev': 100, 'test': 100}
    """
    _checks.instance("pools", pools, Pools, "Pools, as theory_lab.finetune.tasks.read makes")
    train, test = _checks.count("train", train), _checks.count("test", test)
    dev = _checks.count("dev", dev, least=0)
    if dev >= len(pools.train):
        raise _checks.refuse("dev", f"less than the {len(pools.train)} official training examples (default: 100)", dev)
    keys = jax.random.split(jax.random.key(0) if key is None else _checks.key("key", key))
    drawn = Draws(keys[0]).shuffled(pools.train)
    tested = Draws(keys[1]).shuffled(pools.validation)
    return Task(pools.name, pools.scored, tuple(drawn[dev : dev + train]), tuple(drawn[:dev]), tuple(tested[:test]))
