"""What scores without a language model: the majority, and a unigram classifier. Each gives (n,) booleans, right or wrong.

The third baseline, zero-shot, is `scoring.answers` with the base model.
"""

import re
from collections.abc import Sequence

import numpy as np
from scipy import optimize, sparse, special

from theory_lab import _checks
from theory_lab.finetune.tasks.base import Example

UNIGRAM = re.compile(r"\w+|[^\w\s]")


def majority(train: Sequence[Example], test: Sequence[Example]) -> np.ndarray:
    """Always the label that is most frequent in train, the smallest of equally frequent ones.

    Example:
        >>> from theory_lab.finetune.tasks import example
        >>> yes, no = (example("a", "is it ?", ["yes", "no"], label) for label in (0, 1))
        >>> majority([no, no, yes], [yes, no]).tolist()
        [False, True]
    """
    guess = int(np.argmax(np.bincount(_labels("train", train))))
    return _labels("test", test) == guess


def bag_of_words(train: Sequence[Example], test: Sequence[Example], *, l2: float = 1.0) -> np.ndarray:
    r"""A unigram classifier: what can be known from which words occur, without their order.

    The score of option k is linear in the words of its prompt, with weights of its own for every k, and in the words of
    prompt and option together, with weights shared by all options:

    .. math:: s_k = a_k^\top\,\mathrm{bag}(p_k) + b^\top\,\mathrm{bag}(p_k o_k), \qquad
        \min_{a, b} \sum_i \Bigl(\log\sum_k e^{s_{ik}} - s_{i y_i}\Bigr) + \tfrac{\lambda}{2}\bigl(|a|^2 + |b|^2\bigr)

    with bag(t) in {0, 1}^V telling which words of train occur in t. The first part sees labels such as yes and no, the
    second options that differ from example to example.

    Args:
        train, test: with the same number of options.
        l2: lambda > 0.

    Returns:
        Whether the classifier that is fitted on train is right, for each example of test.

    Raises:
        ValueError: no examples, numbers of options that differ, l2 <= 0.

    Example:
        >>> from theory_lab.finetune.tasks import example
        >>> film = lambda adjective, label: example("a", f"a {adjective} film", ["bad", "good"], label)
        >>> train = [film("dull", 0), film("silly", 0), film("fresh", 1), film("warm", 1)]
        >>> bag_of_words(train, [film("silly", 0), film("warm", 1)]).tolist()
        [True, True]
    """
    l2 = _checks.positive("l2", l2)
    labels, answers = _labels("train", train), _labels("test", test)
    sizes = {len(one.options) for one in (*train, *test)}
    if len(sizes) > 1:
        raise _checks.refuse("train and test", "of one number of options", f"numbers {sorted(sizes)}")
    (options,) = sizes
    words = sorted({word for one in train for k in range(options) for word in _bag(one.prompts[k] + one.options[k])})
    numbers = {word: number for number, word in enumerate(words)}
    features = _features(train, numbers, options)
    right = np.arange(len(train)) * options + labels

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = (features @ weights).reshape(-1, options)
        pull = special.softmax(scores, axis=1).ravel()
        pull[right] -= 1
        value = np.sum(special.logsumexp(scores, axis=1)) - np.sum(scores.ravel()[right])
        return value + l2 / 2 * weights @ weights, features.T @ pull + l2 * weights

    weights = optimize.minimize(loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B").x
    scores = (_features(test, numbers, options) @ weights).reshape(-1, options)
    return np.argmax(scores, axis=1) == answers


def _labels(name: str, examples: Sequence[Example]) -> np.ndarray:
    if not isinstance(examples, Sequence) or not examples or not all(isinstance(one, Example) for one in examples):
        raise _checks.refuse(name, "a non-empty sequence of Examples", examples)
    return np.array([one.label for one in examples])


def _bag(text: str) -> set[str]:
    return set(UNIGRAM.findall(text.lower()))


def _features(examples: Sequence[Example], numbers: dict[str, int], options: int) -> sparse.csr_array:
    """One row per example and option, (n K, (K + 1) V)."""
    rows: list[int] = []
    columns: list[int] = []
    for i, one in enumerate(examples):
        for k, (prompt, option) in enumerate(zip(one.prompts, one.options, strict=True)):
            for place, text in ((k, prompt), (options, prompt + option)):
                known = [numbers[word] for word in _bag(text) if word in numbers]
                columns.extend(place * len(numbers) + number for number in known)
                rows.extend([i * options + k] * len(known))
    shape = (len(examples) * options, (options + 1) * len(numbers))
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
