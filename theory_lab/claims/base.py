"""A claim: what a theorem predicts, laid beside one measurement, and the verdict.

The claim looks at the measurement's *interval*. Wholly on the right side: holds. Wholly on the wrong side: fails.
Straddling, not finite, far from its own value, or outside the theorem's assumptions: undecided, with the reason and what
would decide it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from theory_lab import _checks
from theory_lab.measure.base import Measurement

Relation = Literal["equals", "at most", "at least"]
Outcome = Literal["holds", "fails", "undecided"]

RELATIONS = ("equals", "at most", "at least")
OUTCOMES = ("holds", "fails", "undecided")
ROUNDING = 1e-9  # relative; a value that lies so little beside an exact point is rounded, not inconsistent


@dataclass(frozen=True)
class Verdict:
    """A claim, a measurement and what came of it; the fields of one row of the report.

    Attributes:
        power: the smallest relative error of the prediction that this measurement would have exposed; nan when undecided.
            Above 1 the prediction could be off by more than itself, or a relative error of it has no meaning (the level
            that a p-value is held against): reports show none then.
        reason: why the outcome is what it is, and for "undecided" what would decide it.
    """

    claim: str
    source: str
    relation: Relation
    predicted: float
    measured: float
    low: float
    high: float
    samples: int
    outcome: Outcome
    expected: Outcome
    power: float
    reason: str
    tolerance: float = 0.0

    def __str__(self) -> str:
        sign = {"equals": "=", "at most": "<=", "at least": ">="}[self.relation]
        band = f" +- {self.tolerance:.4g}" if self.tolerance else ""
        return (
            f"{self.outcome}: {self.claim} ({self.source}): predicted {sign} {self.predicted:.4g}{band}, "
            f"measured {self.measured:.4g} [{self.low:.4g}, {self.high:.4g}]"
        )

    @property
    def as_expected(self) -> bool:
        """False only where the outcome contradicts the expectation; an undecided verdict contradicts nothing."""
        return self.outcome in ("undecided", self.expected)


@dataclass(frozen=True)
class Claim:
    """One statement that a measurement can settle; build it with `claim`, which validates.

    Attributes:
        name: the statement in words, as the report prints it.
        source: where it comes from.
        relation: how the measured number stands to the predicted one, if the statement is true.
        predicted: the theorem's number.
        tolerance: half-width of the band around `predicted` that still counts as agreement, in the units of `predicted`;
            only "equals" has one, and there it is positive: what the prediction neglects, or what nobody would mind.
        unmet: the theorem's assumptions that the instance violates, in words; a claim with any stays undecided.
        expected: "holds", or "fails" for a statement that is known to be wrong.
        why: the reason for an expected failure.
    """

    name: str
    source: str
    relation: Relation
    predicted: float
    tolerance: float = 0.0
    unmet: tuple[str, ...] = ()
    expected: Outcome = "holds"
    why: str = ""

    def check(self, measurement: Measurement) -> Verdict:
        """Judge one measurement.

        Raises:
            ValueError: something else than a measurement.
        """
        _checks.instance("measurement", measurement, Measurement, "a Measurement")
        outcome, reason = self._judge(measurement)
        if measurement.note and measurement.note not in reason:
            reason = f"{reason} ({measurement.note})"
        if outcome == "fails" and self.expected == "fails":
            reason = f"{reason}; expected: {self.why}"
        power = self._power(measurement) if outcome != "undecided" else math.nan
        return Verdict(
            self.name, self.source, self.relation, self.predicted, measurement.value, measurement.low, measurement.high,
            measurement.samples, outcome, self.expected, power, reason, self.tolerance,
        )  # fmt: skip

    def _judge(self, m: Measurement) -> tuple[Outcome, str]:
        if self.unmet:
            return "undecided", f"assumptions not met: {'; '.join(self.unmet)}"
        if not all(map(math.isfinite, (m.value, m.low, m.high))):
            return "undecided", m.note or "the measurement is not finite"
        if not math.isfinite(self.predicted):
            return "undecided", "the theorem gives no finite prediction here"
        beside = (m.high - m.low) + ROUNDING * max(abs(m.low), abs(m.high))  # a percentile interval need not hold the value
        if not m.low - beside <= m.value <= m.high + beside:
            interval = f"[{m.low:.4g}, {m.high:.4g}]"
            return "undecided", f"the value {m.value:.4g} lies farther outside its interval {interval} than that is wide"
        low, high = self._agreement()
        interval = f"[{m.low:.4g}, {m.high:.4g}]"
        if low <= m.low and m.high <= high:
            return "holds", f"the interval {interval} lies within what is claimed"
        if m.high < low or m.low > high:
            return "fails", f"the interval {interval} lies wholly outside what is claimed"
        if self.relation == "equals" and m.low < low and m.high > high:
            return "undecided", f"the interval {interval} is wider than the tolerance; more seeds would decide it"
        return "undecided", f"the interval {interval} straddles the edge of what is claimed; more seeds would decide it"

    def _agreement(self) -> tuple[float, float]:
        """The set of measured values that agree with the claim, as an interval."""
        if self.relation == "equals":
            return self.predicted - self.tolerance, self.predicted + self.tolerance
        return (-math.inf, self.predicted) if self.relation == "at most" else (self.predicted, math.inf)

    def _power(self, m: Measurement) -> float:
        r"""The smallest relative error e such that *any* prediction off by at least e would have failed here.

        "at most" b: a true bound below `low` would have failed, e = (b - low)/|b|; "at least" likewise.
        "equals" p: a prediction p' fails once p' - tolerance > high or p' + tolerance < low; e covers both signs.
        """
        if self.relation == "at most":
            error = self.predicted - m.low
        elif self.relation == "at least":
            error = m.high - self.predicted
        else:
            error = max(m.high + self.tolerance - self.predicted, self.predicted - m.low + self.tolerance)
        return max(error, 0.0) / abs(self.predicted) if self.predicted else math.inf


def claim(
    name: str,
    source: str,
    relation: Relation,
    predicted: float,
    *,
    tolerance: float = 0.0,
    unmet: tuple[str, ...] | list[str] = (),
    expected: Outcome = "holds",
    why: str = "",
) -> Claim:
    """A validated `Claim`; see there for the fields.

    Raises:
        ValueError: a name, source, assumption or reason that is not a text; a prediction that is not a number (inf and nan
            are numbers, and leave the claim undecided); an unknown relation or expectation; "equals" without a tolerance; a
            tolerance on a one-sided relation; an expected failure without a reason.

    Example:
        >>> from theory_lab.measure import Measurement
        >>> bound = claim("the average stays below Theorem 1", "Theorem 1", "at most", 2.0)
        >>> bound.check(Measurement("average", 1.0, 0.9, 1.1, 64)).outcome
        'holds'
        >>> bound.check(Measurement("average", 2.0, 1.9, 2.1, 64)).outcome
        'undecided'
    """
    _checks.text("name", name)
    _checks.text("source", source)
    _checks.choice("relation", relation, RELATIONS)
    _checks.choice("expected", expected, ("holds", "fails"))
    tolerance = _checks.nonnegative("tolerance", tolerance)
    if (relation == "equals") != (tolerance > 0):
        raise _checks.refuse("tolerance", "positive for 'equals' and zero otherwise", tolerance)
    _checks.text("why", why, empty=True)
    if expected == "fails" and not why:
        raise _checks.refuse("why", "a reason wherever the claim is expected to fail", why)
    if isinstance(unmet, str) or not isinstance(unmet, Sequence):
        raise _checks.refuse("unmet", "a sequence of statements, not one string", unmet)
    for statement in unmet:
        _checks.text("unmet", statement)
    return Claim(
        name, source, relation, _checks.number("predicted", predicted), float(tolerance), tuple(unmet), expected, why
    )
