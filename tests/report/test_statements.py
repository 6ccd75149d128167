"""Statements and the verdicts on them, joined by name."""

import math
from pathlib import Path

import pandas as pd

from theory_lab.claims import Verdict
from theory_lab.report import record, statements
from theory_lab.run.store import sha256

FIELDS = {"kind": "exact", "standing": "proved", "where": ["theory.moments"], "untested": "", "says": "a | b"}
KNOWN = [
    {"name": "Theorem 5", **FIELDS},
    {"name": "Theorem 5, box", **FIELDS},
    {"name": "alone", **FIELDS, "untested": "why"},
    {"name": "waiting", **FIELDS},
]


def verdict(source: str, outcome: str, power: float) -> Verdict:
    return Verdict("claim", source, "equals", 1.0, 1.0, 0.9, 1.1, 64, outcome, "holds", power, "")


def results(folder: Path) -> pd.DataFrame:
    found = [
        verdict("Theorem 5", "holds", 0.2),
        verdict("Theorem 5, box", "undecided", 0.1),
        verdict("folklore", "holds", 0.1),
    ]
    found.append(verdict("Theorem 5, stability", "holds", 0.05))
    found.append(verdict("Theorem 5, stability", "fails", 0.01))
    made = record.record(
        "demo", "?", found, profile="full", settings={}, seeds={"seed": 0}, cells=1, wall_seconds={}, csv_sha256=sha256(""),
        environment={"date": "2026-11-22T00:00:00+00:00", "device": {"kind": "cpu"}, "versions": {"jax": "0.10.2"}},
    )  # fmt: skip
    (folder / "demo.json").write_text(record.dumps(made))
    return statements.catalogue(KNOWN, folder)


def test_a_verdict_belongs_to_the_longest_name_that_its_source_begins_with(tmp_path: Path) -> None:
    rows = results(tmp_path).set_index("statement")
    assert list(rows.claims) == [3, 1, 0, 0]
    assert list(rows.experiments) == ["demo", "demo", "", ""]
    assert rows.outcome["Theorem 5"].startswith("holds 2 ")
    assert "undecided 1" in rows.outcome["Theorem 5, box"]
    assert rows.power["Theorem 5"] == 0.05  # of those that hold
    assert math.isnan(rows.power["Theorem 5, box"])
    assert math.isnan(rows.power["alone"])
    assert rows.untested["alone"] == "why"


def test_the_table_says_why_nothing_confronts_a_statement(tmp_path: Path) -> None:
    lines = statements.catalogue_table(results(tmp_path), "figures").splitlines()
    assert len(lines) == 2 + 4
    assert "[demo](figures/demo.png)" in lines[2]
    assert lines[2].endswith("| 5 % |")
    assert lines[3].endswith("| – |")
    assert "not confronted: why" in lines[4]
    assert "not confronted: not yet" in lines[5]
    assert r"a \| b" in lines[2]


def test_the_page_has_every_statement_and_its_documentation(tmp_path: Path) -> None:
    rows = results(tmp_path)
    text = statements.page_of(rows, {name: f"<proof of {name}>" for name in rows.statement})
    assert text.count("<section") == 4
    assert "&lt;proof of Theorem 5, box&gt;" in text
    assert '<a href="index.html#demo">demo</a>' in text
