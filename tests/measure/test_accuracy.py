"""Accuracies and paired tests on fabricated answers: SciPy's own tests, exact coverage, the duality of test and interval."""

import math

import numpy as np
import pytest
from scipy import stats

from theory_lab.claims import claim
from theory_lab.measure import accuracy


def answers(both, only_first, only_second, neither=3):
    """Two methods' answers with a given table."""
    first = [True] * (both + only_first) + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return np.array(first), np.array(second)


TABLES = [(5, 0, 6), (5, 9, 1), (40, 12, 12), (0, 1, 0), (7, 30, 10), (100, 3, 17)]


@pytest.mark.parametrize("both, b, c", TABLES)
def test_mcnemar_is_the_exact_binomial_test_of_the_discordant_pairs(both, b, c):
    measured = accuracy.mcnemar(*answers(both, b, c))
    assert measured.value == pytest.approx(stats.binomtest(b, b + c).pvalue, abs=1e-12)
    assert measured.low == measured.high == measured.value
    assert accuracy.mcnemar(*answers(both, c, b)).value == measured.value


def test_the_interval_of_wins_leaves_a_half_exactly_where_the_test_rejects():
    """Over every table of up to 30 discordant pairs and three levels, none of which a p-value hits exactly."""
    for level in (0.1, 0.05, 0.01):
        for m in range(1, 31):
            for b in range(m + 1):
                first, second = answers(1, b, m - b)
                rejected = accuracy.mcnemar(first, second).value < level
                measured = accuracy.wins(first, second, confidence=1 - level)
                assert rejected == (measured.low > 0.5 or measured.high < 0.5), (level, b, m)


@pytest.mark.parametrize("b, c, outcome", [(20, 2, "holds"), (2, 20, "fails"), (6, 5, "undecided"), (0, 0, "undecided")])
def test_wins_decide_a_claim(b, c, outcome):
    verdict = claim("first beats second", "folklore", "at least", 0.5).check(accuracy.wins(*answers(50, b, c)))
    assert verdict.outcome == outcome


def test_methods_that_are_right_on_the_same_examples_are_not_told_apart():
    first, second = answers(4, 0, 0)
    measured = accuracy.wins(first, second)
    assert math.isnan(measured.value)
    assert measured.note == "both are right on the same of the 7 examples"
    assert accuracy.mcnemar(first, second).value == 1.0


def test_accuracy_is_a_proportion_with_its_exact_interval():
    measured = accuracy.accuracy(np.arange(104) < 38, confidence=0.95)
    interval = stats.binomtest(38, 104).proportion_ci(0.95, method="exact")
    assert (measured.value, measured.samples) == (38 / 104, 104)
    assert (measured.low, measured.high) == pytest.approx((interval.low, interval.high), abs=1e-12)


@pytest.mark.parametrize("cells", [(0.5, 0.2, 0.1, 0.2), (0.9, 0.02, 0.02, 0.06), (0.1, 0.7, 0.1, 0.1)])
def test_the_difference_is_covered_at_least_as_often_as_said(cells):
    """Exact: the multinomial probability of all tables of n = 20 whose interval covers, of (both, b, c, neither)."""
    n, covered = 20, 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            first, second = answers(n - b - c, b, c, neither=0)
            measured = accuracy.difference(first, second, confidence=0.9)
            assert measured.value == pytest.approx(first.mean() - second.mean(), abs=1e-12)
            if measured.low <= cells[1] - cells[2] <= measured.high:
                covered += stats.multinomial.pmf([b, c, n - b - c], n, [cells[1], cells[2], cells[0] + cells[3]])
    assert covered >= 0.9


def test_the_difference_tells_methods_apart():
    first, second = answers(60, 30, 5)
    measured = accuracy.difference(first, second, confidence=0.95)
    assert measured.value == pytest.approx(25 / 98)
    assert 0 < measured.low < measured.value < measured.high < 0.5
