"""Reviews: what they say is good or bad, plainly, by denial, or after a "but"."""

from collections.abc import Sequence

from theory_lab.finetune.draws import Draws
from theory_lab.finetune.language import words

Adjectives = tuple[Sequence[str], Sequence[str]]  # bad ones, good ones


def review(draws: Draws, good: bool, adjectives: Adjectives) -> str:
    """A review of one or two clauses, without its full stop.

    Three in five are plain, a fifth deny the opposite, the rest concede the opposite before they conclude. A classifier that
    sees words without their order is right about the plain ones, and guesses at the last.
    """
    ours, theirs = adjectives[good], adjectives[not good]
    kind, work = draws.below(10), draws.one(words.WORKS)
    if kind < 4:
        return _clause(draws, work, ours)
    if kind < 6:
        return words.BOTH.format(one=_clause(draws, work, ours), other=_clause(draws, work, ours))
    if kind < 8:
        return words.DENIAL.format(aspect=draws.one(words.ASPECTS), work=work, adj=draws.one(theirs))
    return words.YET.format(one=_clause(draws, work, theirs), other=_clause(draws, work, ours))


def _clause(draws: Draws, work: str, adjectives: Sequence[str]) -> str:
    adjective = draws.one(words.DEGREES) + draws.one(adjectives)
    return draws.one(words.CLAUSES).format(work=work, aspect=draws.one(words.ASPECTS), adj=adjective)
