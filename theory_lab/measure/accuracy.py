"""Accuracy of answers to one test set, and of two methods on the same one: exact intervals, McNemar's exact test.

Answers are arrays of booleans, one per test example: whether the method was right. Two methods are compared on the examples
that only one of them gets right; where both are right or both wrong, nothing is learnt about which is better.
"""

from typing import Any

import numpy as np
from scipy import stats

from theory_lab import _checks
from theory_lab.measure.base import Measurement, exact, unmeasured
from theory_lab.measure.rate import proportion


def accuracy(correct: Any, *, confidence: float = 0.99, name: str = "accuracy") -> Measurement:
    """The share of right answers with its exact binomial interval.

    Args:
        correct: (n,) booleans, one per test example.
        confidence: coverage, at least; over test examples, not over training seeds.

    Raises:
        ValueError: what is not a non-empty array of booleans.

    Example:
        >>> measured = accuracy([True, True, True, False])
        >>> measured.value, measured.samples
        (0.75, 4)
    """
    answers = _answers("correct", correct)
    return proportion(int(answers.sum()), answers.size, confidence=confidence, name=name)


def wins(first: Any, second: Any, *, confidence: float = 0.99, name: str = "share of wins") -> Measurement:
    r"""Of the examples that exactly one of two methods gets right, the share that the first gets right.

    If neither method is better, the b examples that only the first gets right are binomial(b + c, 1/2) given their number
    b + c. The exact interval at confidence 1 - alpha lies above 1/2 exactly where the first method is the better one by
    McNemar's exact two-sided test at level alpha, so that

        claim("first beats second", source, "at least", 0.5).check(wins(first, second, confidence=0.95))

    holds, fails or stays undecided as the test at level 0.05 says.

    Args:
        first, second: (n,) booleans on the same test examples.
        confidence: 1 - alpha.

    Returns:
        The share; not a number, with a note, where the methods are right on the same examples.

    Raises:
        ValueError: answers of different lengths.

    Example:
        >>> a, b = [True] * 9 + [False], [False] * 9 + [True]
        >>> wins(a, b).value
        0.9

    Reference:
        McNemar: Note on the sampling error of the difference between correlated proportions, 1947.
    """
    only_first, only_second, n = _discordant(first, second)
    confidence = _checks.between("confidence", confidence, 0, 1, closed="()")
    if only_first + only_second == 0:
        return unmeasured(name, 0, f"both are right on the same of the {n} examples")
    return proportion(only_first, only_first + only_second, confidence=confidence, name=name)


def mcnemar(first: Any, second: Any, *, name: str = "McNemar's exact p-value") -> Measurement:
    r"""The two-sided p-value of the hypothesis that two methods are equally accurate.

    .. math:: p = \min\bigl(1,\; 2\,\mathbb{P}[\mathrm{Bin}(b + c, \tfrac12) \le \min(b, c)]\bigr)

    Args:
        first, second: (n,) booleans on the same test examples.

    Returns:
        p, computed and not sampled: its interval is a point. It is 1 where the methods are right on the same examples.

    Raises:
        ValueError: answers of different lengths.

    Example:
        >>> mcnemar([True] * 6, [False] * 6).value
        0.03125
    """
    only_first, only_second, _ = _discordant(first, second)
    tail = stats.binom.cdf(min(only_first, only_second), only_first + only_second, 0.5)
    return exact(name, min(1.0, 2 * float(tail)))


def difference(first: Any, second: Any, *, confidence: float = 0.99, name: str = "difference in accuracy") -> Measurement:
    r"""The accuracy of the first method less that of the second, (b - c)/n, on the same test examples.

    Exact intervals for the two shares b/n and c/n, each at 1 - alpha/2, give one for their difference: it covers at least
    as often as it says, whatever the dependence. `wins` is the more powerful test of the sign.

    Args:
        first, second: (n,) booleans on the same test examples.
        confidence: coverage, at least.

    Raises:
        ValueError: answers of different lengths.

    Example:
        >>> difference([True, True], [True, False]).value
        0.5
    """
    only_first, only_second, n = _discordant(first, second)
    each = 1 - (1 - _checks.between("confidence", confidence, 0, 1, closed="()")) / 2
    b, c = proportion(only_first, n, confidence=each), proportion(only_second, n, confidence=each)
    return Measurement(name, (only_first - only_second) / n, b.low - c.high, b.high - c.low, n)


def _discordant(first: Any, second: Any) -> tuple[int, int, int]:
    """How many examples only the first gets right, how many only the second, and how many there are."""
    a, b = _answers("first", first), _answers("second", second)
    if a.size != b.size:
        raise _checks.refuse("second", f"answers to the same {a.size} examples as first", f"{b.size} answers")
    return int((a & ~b).sum()), int((b & ~a).sum()), a.size


def _answers(name: str, value: Any) -> np.ndarray:
    try:
        answers = np.asarray(value)
    except (TypeError, ValueError):
        answers = np.empty(0)
    if answers.dtype != np.bool_ or answers.ndim != 1 or answers.size == 0:
        raise _checks.refuse(name, "a non-empty one-dimensional array of booleans", value)
    return answers
