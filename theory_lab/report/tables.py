"""Verdicts as text: a line on the terminal, the summary below all lines, and the page of a folder in markdown."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from theory_lab.claims.base import Verdict
from theory_lab.report.record import Record, read_all, verdicts

SIGNS = {"equals": "=", "at most": "≤", "at least": "≥"}

_COLOURS = {"holds": "32", "fails": "31", "undecided": "33", "expected": "36", "unexpected": "1;31"}


def number(value: float) -> str:
    """Four significant digits, everywhere in the report."""
    return f"{value:.4g}"


def prediction(verdict: Verdict) -> str:
    """The predicted number with its relation, and with its tolerance where it has one.

    Example:
        >>> prediction(Verdict("c", "s", "equals", 1, 2, 2, 2, 8, "fails", "fails", 0.0, "", tolerance=0.05))
        '= 1 ± 0.05'
    """
    band = f" ± {number(verdict.tolerance)}" if verdict.tolerance else ""
    return f"{SIGNS[verdict.relation]} {number(verdict.predicted)}{band}"


def interval(verdict: Verdict) -> str:
    """The measured number with its interval; without one where it is exact.

    Example:
        >>> interval(Verdict("c", "s", "equals", 1, 2.0, 1.5, 2.5, 8, "fails", "holds", 0.0, ""))
        '2 [1.5, 2.5]'
    """
    if verdict.low == verdict.measured == verdict.high:
        return number(verdict.measured)
    return f"{number(verdict.measured)} [{number(verdict.low)}, {number(verdict.high)}]"


def outcome(verdict: Verdict) -> str:
    """The outcome in words, and how it stands to what was expected where that is not plain.

    Example:
        >>> outcome(Verdict("c", "s", "equals", 1, 2, 2, 2, 8, "fails", "fails", 0.0, ""))
        'fails (expected)'
    """
    if not verdict.as_expected:
        return f"{verdict.outcome} (unexpected)"
    return "fails (expected)" if verdict.outcome == "fails" else verdict.outcome


def power(value: float) -> str:
    """A power in percent; a dash where there is none, or none that means anything (see `Verdict`).

    Example:
        >>> power(0.042), power(99.0)
        ('4.2 %', '–')
    """
    return f"{100 * value:.3g} %" if value <= 1 else "–"


def tally(found: Iterable[Verdict]) -> str:
    """How many claims hold, fail, and are undecided, and against how many expectations.

    Example:
        >>> tally([Verdict("c", "s", "equals", 1, 2, 2, 2, 8, "fails", "fails", 0.0, "")])
        'holds 0 · fails 1 (1 expected) · undecided 0'
    """
    found = list(found)
    parts = []
    for name in ("holds", "fails", "undecided"):
        some = [v.as_expected for v in found if v.outcome == name]
        expected, surprises = sum(some), len(some) - sum(some)
        marks = [f"{expected} expected"] if expected and name == "fails" else []
        marks += [f"{surprises} unexpected"] if surprises else []
        parts.append(" ".join([name, str(len(some)), *([f"({', '.join(marks)})"] if marks else [])]))
    return " · ".join(parts)


def wants_colour(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Colour on a terminal; never with NO_COLOR set, always with FORCE_COLOR set (https://no-color.org)."""
    if environment.get("NO_COLOR"):
        return False
    return bool(environment.get("FORCE_COLOR")) or (stream.isatty() and environment.get("TERM") != "dumb")


def line(verdict: Verdict, *, colour: bool = False, width: int = 0) -> str:
    """One claim on one line of the terminal.

    Args:
        verdict: what came of it.
        colour: whether to colour the outcome.
        width: the room for the claim, in characters; longer ones take what they need.

    Example:
        >>> line(Verdict("a coin is fair", "folklore", "equals", 0.5, 0.52, 0.47, 0.57, 64, "holds", "holds", 0.2, ""))
        'holds      a coin is fair  predicted = 0.5  measured 0.52 [0.47, 0.57]'
    """
    word = verdict.outcome.ljust(9)
    if colour:
        kind = "unexpected" if not verdict.as_expected else "expected" if verdict.outcome == "fails" else verdict.outcome
        word = f"\x1b[{_COLOURS[kind]}m{word}\x1b[0m"
    note = outcome(verdict).removeprefix(verdict.outcome)
    predicted = f"predicted {prediction(verdict)}"
    return f"{word}  {' '.join(verdict.claim.split()).ljust(width)}  {predicted}  measured {interval(verdict)}{note}"


def summary(found: Mapping[str, Sequence[Verdict]]) -> str:
    """The counts over all experiments; then the undecided claims with what would decide them, then the surprises."""
    everything = [(name, verdict) for name, some in found.items() for verdict in some]
    undecided = [(name, v) for name, v in everything if v.outcome == "undecided"]
    surprises = [(name, v) for name, v in everything if not v.as_expected]
    lines = [tally(v for _, v in everything)]
    if undecided:
        lines += ["", "undecided:", *(f"  {name}: {v.claim}: {v.reason}" for name, v in undecided)]
    if surprises:
        lines += ["", "contrary to expectation:"]
        lines += [f"  {name}: {v.claim}: {v.outcome}, expected {v.expected}: {v.reason}" for name, v in surprises]
    return "\n".join(lines)


def gallery(folder: Path, order: Sequence[str] = ()) -> str:
    """The records of a folder as one markdown page, which code hosts show beside the files.

    Args:
        folder: where the results are; the page belongs into the same folder, as README.md.
        order: names of experiments that come first, in this order; the others follow alphabetically.
    """
    found = [(made, verdicts(made)) for made in read_all(folder, order)]
    parts = ["# Theory beside measurement", tally(verdict for _, some in found for verdict in some)]
    return "\n\n".join([*parts, *(_section(made, some) for made, some in found)]) + "\n"


def _section(made: Record, found: Sequence[Verdict]) -> str:
    """The question, the picture, where the numbers come from, the claims."""
    name, device = made["experiment"], made["device"]
    cpu = f"{device['cores']} cores, {device['processor'] or device['machine']}"
    machine = cpu if device["kind"] == "cpu" else device["kind"]
    run = markdown(f"{made['profile']} profile, {made['date'][:10]}, {machine}, JAX {made['versions']['jax']}")
    files = f"[numbers]({name}.csv), [record]({name}.json)"
    rows = ["| claim | source | predicted | measured | outcome |", "|---|---|---|---|---|", *map(_row, found)]
    parts = (f"## {name}", markdown(made["question"]), f"![{name}]({name}.png)", f"{run}: {files}; {tally(found)}.")
    return "\n\n".join((*parts, "\n".join(rows)))


def _row(verdict: Verdict) -> str:
    entries = (verdict.claim, verdict.source, prediction(verdict), interval(verdict), outcome(verdict))
    return f"| {' | '.join(map(markdown, entries))} |"


def refreshed(text: str, name: str, table: str) -> str:
    """The text with the table put between the two markers of that name; it agrees with its table when nothing changes.

    Raises:
        ValueError: the text does not have the two markers, once each and in order.

    Example:
        >>> print(refreshed("before <!-- table:begin --> old <!-- table:end --> after", "table", "| new |"))
        before <!-- table:begin -->
        | new |
        <!-- table:end --> after
    """
    begin, end = markers(name)
    before, first, rest = text.partition(begin)
    _, last, after = rest.partition(end)
    if not first or not last or begin in after or end in before + after:
        raise ValueError(f"the text must be marked with {begin} and then {end}, once each, got {text[:40]!r}")
    return f"{before}{begin}\n{table}\n{end}{after}"


def markers(name: str) -> tuple[str, str]:
    """The comments between which a generated table stands."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def markdown(text: str) -> str:
    """Text that a markdown table shows as it is."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for character in "\\|*_`[]$":
        text = text.replace(character, f"\\{character}")
    return text
