import io
import math
from pathlib import Path

import pytest

from theory_lab.claims import Verdict
from theory_lab.report import tables

BEGIN, END = tables.markers("statements")

HOLDS = Verdict("a | b_c", "Theorem 1", "at most", 1.0, 0.5, 0.4, 0.6, 64, "holds", "holds", 0.6, "within")
FAILS = Verdict("false", "folklore", "equals", 1.0, 2.0, 2.0, 2.0, 1, "fails", "fails", 1.0, "outside; expected: known")
WRONG = Verdict("wrong", "folklore", "at least", 1.0, 0.5, 0.4, 0.6, 64, "fails", "holds", 0.0, "outside")
LUCKY = Verdict("lucky", "folklore", "at least", 1.0, 2.0, 1.9, 2.1, 64, "holds", "fails", 0.0, "within")
OPEN = Verdict(
    "open", "Theorem 2", "equals", 1.0, math.nan, math.nan, math.nan, 64, "undecided", "holds", math.nan, "more seeds"
)


def test_the_line_says_outcome_claim_prediction_and_measurement() -> None:
    assert tables.line(HOLDS, width=10) == "holds      a | b_c     predicted ≤ 1  measured 0.5 [0.4, 0.6]"
    assert tables.line(FAILS) == "fails      false  predicted = 1  measured 2 (expected)"
    assert tables.line(WRONG) == "fails      wrong  predicted ≥ 1  measured 0.5 [0.4, 0.6] (unexpected)"
    assert tables.line(OPEN) == "undecided  open  predicted = 1  measured nan [nan, nan]"


def test_only_the_outcome_is_coloured_and_a_surprise_differs_from_an_expected_failure() -> None:
    assert tables.line(HOLDS, colour=True).startswith("\x1b[32mholds    \x1b[0m  a")
    colours = [
        tables.line(verdict, colour=True)[: tables.line(verdict, colour=True).index("m")]
        for verdict in (HOLDS, FAILS, WRONG, OPEN)
    ]
    assert len(set(colours)) == 4
    assert tables.line(LUCKY, colour=True).startswith(colours[2])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "wanted"),
    [
        (Terminal(), {}, True),
        (io.StringIO(), {}, False),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (Terminal(), {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
    ],
)
def test_colour_is_for_terminals(stream: io.StringIO, environment: dict[str, str], wanted: bool) -> None:
    assert tables.wants_colour(stream, environment) is wanted


def test_the_tally_counts_and_marks_what_was_expected() -> None:
    assert tables.tally([]) == "holds 0 · fails 0 · undecided 0"
    assert tables.tally([HOLDS, LUCKY, FAILS, WRONG, OPEN]) == (
        "holds 2 (1 unexpected) · fails 2 (1 expected, 1 unexpected) · undecided 1"
    )
    assert tables.tally([WRONG]) == "holds 0 · fails 1 (1 unexpected) · undecided 0"


def test_the_summary_lists_what_is_undecided_and_what_surprises() -> None:
    lines = tables.summary({"one": [HOLDS, FAILS], "two": [OPEN, WRONG, LUCKY]}).splitlines()
    assert lines == [
        "holds 2 (1 unexpected) · fails 2 (1 expected, 1 unexpected) · undecided 1",
        "",
        "undecided:",
        "  two: open: more seeds",
        "",
        "contrary to expectation:",
        "  two: wrong: fails, expected holds: outside",
        "  two: lucky: holds, expected fails: within",
    ]
    assert tables.summary({"one": [HOLDS]}) == "holds 1 · fails 0 · undecided 0"


def test_the_gallery_has_a_section_per_record_and_a_row_per_claim_and_cannot_be_broken_by_text(results: Path) -> None:
    text = tables.gallery(results, ["reshuffling_floor"])
    sections = text.split("\n## ")
    assert sections[0].startswith("# Theory beside measurement\n\nholds ")
    assert sections[1].startswith("reshuffling_floor\n")
    assert "![reshuffling_floor](reshuffling_floor.png)" in sections[1]
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| claim ")]
    assert len(rows) == 6 + 16 + 1
    assert {line.replace("\\|", "").count("|") for line in rows} == {6}
    assert rows[0].startswith("| the floor of random reshuffling")
    assert "| ≤ 0.25 | 0.2031 \\[0.1987, 0.2075\\] | holds |" in rows[0]
    assert "fails (expected)" in rows[2]
    assert "&lt;script&gt;" in rows[-1]
    assert "a\\|pipe \\`tick\\`" in rows[-1]


def test_the_readme_is_refreshed_between_its_markers_and_nowhere_else() -> None:
    old = f"# Title\n{BEGIN}\nold\n{END}\nrest\n"
    new = tables.refreshed(old, "statements", "| new |")
    assert new == f"# Title\n{BEGIN}\n| new |\n{END}\nrest\n"
    assert tables.refreshed(new, "statements", "| new |") == new


@pytest.mark.parametrize(
    "text",
    ["no markers", BEGIN, END, f"{END} {BEGIN}", f"{BEGIN}{END}" * 2],
)
def test_a_readme_without_its_markers_is_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"^the text must be marked with <!-- statements:begin --> and then <!-- statements:end -->"
    ):
        tables.refreshed(text, "statements", "")
