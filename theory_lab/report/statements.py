"""The statements of a theory beside the verdicts on them: one table, and one page that documents each.

A statement arrives as plain text fields; it and a verdict belong together where the verdict's source begins with the
statement's name (with the longest such name).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from theory_lab.claims.base import Verdict
from theory_lab.report import page
from theory_lab.report.record import read_all, verdicts
from theory_lab.report.tables import markdown, power, tally

COLUMNS = ("statement", "says", "kind", "standing", "experiments", "claims", "outcome", "power", "untested", "where")


def catalogue(statements: Sequence[Mapping[str, Any]], folder: Path, order: Sequence[str] = ()) -> pd.DataFrame:
    """One row per statement with what the experiments of a folder say of it.

    Args:
        statements: mappings with name, says, kind, standing, where (names of modules and functions) and untested.
        folder: where the records are.
        order: names of experiments that come first.

    Returns:
        The columns `COLUMNS`: experiments by name, the number of claims, their outcomes counted, and the power of the
        sharpest claim that holds (nan where none does).
    """
    names = [str(statement["name"]) for statement in statements]
    found: dict[str, list[tuple[str, Verdict]]] = {name: [] for name in names}
    for made in read_all(folder, order):
        for verdict in verdicts(made):
            if (name := name_in(verdict.source, names)) is not None:
                found[name].append((made["experiment"], verdict))
    rows = []
    for statement in statements:
        some = found[str(statement["name"])]
        powers = [v.power for _, v in some if v.outcome == "holds" and math.isfinite(v.power)]
        rows.append({
            "statement": statement["name"],
            "says": statement["says"],
            "kind": statement["kind"],
            "standing": statement["standing"],
            "experiments": " ".join(dict.fromkeys(name for name, _ in some)),
            "claims": len(some),
            "outcome": tally(verdict for _, verdict in some) if some else "",
            "power": min(powers, default=math.nan),
            "untested": "" if some else statement["untested"],
            "where": " ".join(statement["where"]),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def name_in(source: str, names: Iterable[str]) -> str | None:
    """The longest of some names with which a source begins.

    Example:
        >>> name_in("the law, Theorem 5, stability", ["the law", "the law, Theorem 5"])
        'the law, Theorem 5'
        >>> name_in("folklore", ["the law"]) is None
        True
    """
    return max((name for name in names if source.startswith(name)), key=len, default=None)


def catalogue_table(rows: pd.DataFrame, folder: str) -> str:
    """The catalogue as a markdown table; figures are in the folder."""
    lines = ["| statement | kind | standing | experiments | outcome | sharpest power |", "|---|---|---|---|---|---|"]
    for row in rows.to_dict("records"):
        experiments = ", ".join(f"[{name}]({folder}/{name}.png)" for name in row["experiments"].split())
        about = f"**{markdown(row['statement'])}**: {markdown(row['says'])}"
        sharpest = power(row["power"]) if row["claims"] else ""
        outcome = markdown(row["outcome"] or f"not confronted: {row['untested'] or 'not yet'}")
        lines.append(f"| {about} | {row['kind']} | {row['standing']} | {experiments} | {outcome} | {sharpest} |")
    return "\n".join(lines)


def page_of(rows: pd.DataFrame, documentation: Mapping[str, str]) -> str:
    """A static page: every statement with its documentation, and the way to the experiments that confront it.

    Args:
        rows: as `catalogue` makes them.
        documentation: by the statement's name, plain text.
    """
    contents = "".join(
        f'<li><a href="#{_anchor(name)}">{_title(name)}</a> <span class="quiet">{escape(outcome)}</span></li>'
        for name, outcome in zip(rows.statement, rows.outcome, strict=True)
    )
    sections = "".join(_section(row, documentation[row["statement"]]) for row in rows.to_dict("records"))
    header = f"""<p class="kicker"><a href="index.html">theory_lab</a></p>
<h1>Statements</h1>
<p class="lead">{len(rows)} statements: what each says, how it stands, where it is written down, and what confronts it.</p>
<nav aria-label="Statements"><ol>{contents}</ol></nav>"""
    return page.document("theory_lab: statements", header, sections)


def _section(row: Mapping[str, Any], documentation: str) -> str:
    experiments = ", ".join(
        f'<a href="index.html#{page.anchor(name)}">{page.words(name)}</a>' for name in row["experiments"].split()
    )
    if experiments:
        confronted = f"{experiments}: {escape(row['outcome'])}; sharpest power {power(row['power'])}"
    else:
        confronted = f"no experiment here: {escape(row['untested'] or 'not yet')}"
    return f"""<section id="{_anchor(row["statement"])}">
<h2>{_title(row["statement"])}</h2>
<p class="question">{escape(row["says"])}</p>
<div class="facts single"><div><dl><dt>kind</dt><dd>{escape(row["kind"])}</dd>
<dt>standing</dt><dd>{escape(row["standing"])}</dd><dt>confronted by</dt><dd>{confronted}</dd></dl></div></div>
<details><summary>Statement, assumptions and proof</summary>
<pre class="documentation">{escape(documentation)}</pre></details>
</section>
"""


def _title(name: str) -> str:
    return escape(name.removeprefix("theory_lab, "))


def _anchor(name: str) -> str:
    return escape("".join(c if c.isalnum() else "-" for c in name))
