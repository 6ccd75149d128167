"""One static page for all results of a folder.

It needs no network, no server and no script: figures are images beside it, everything else is text in it. A script of a few
lines lets the table of claims be sorted where scripts run.
"""

import json
import math
import struct
import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from theory_lab.claims.base import Verdict
from theory_lab.report.record import Record, read_all, verdicts
from theory_lab.report.tables import interval, outcome, power, prediction, tally

_MARKS = {"holds": "✓", "fails": "✕", "undecided": "?"}
_LIMIT = 12  # claims that a section shows without being asked


def page(folder: Path, order: Sequence[str] = ()) -> str:
    """The text of `index.html` for a folder of NAME.json, NAME.csv and NAME.png.

    Args:
        folder: where the results are; the page belongs into the same folder.
        order: names of experiments that come first, in this order; the others follow alphabetically.
    """
    records = read_all(folder, order)
    found = {made["experiment"]: verdicts(made) for made in records}
    everything = [(name, verdict) for name, some in found.items() for verdict in some]
    contents = "".join(
        f'<li><a href="#{anchor(name)}">{words(name)}</a> <span class="quiet">{escape(tally(some))}</span></li>'
        for name, some in found.items()
    )
    sections = "".join(_section(folder, made, found[made["experiment"]]) for made in records)
    statements = ' · <a href="statements.html">statements</a>' if (folder / "statements.html").is_file() else ""
    header = f"""<p class="kicker">theory_lab{statements}</p>
<h1>Theory beside measurement</h1>
<p class="lead">{_lead(records, [verdict for _, verdict in everything])}</p>
{_bar([verdict for _, verdict in everything])}
<nav aria-label="Experiments"><ol>{contents}</ol></nav>"""
    main = f"{_attention(everything)}{sections}{_all_claims(everything)}"
    return document("theory_lab: theory beside measurement", header, main)


def document(title: str, header: str, main: str) -> str:
    """A whole page of this report around the HTML of its header and its body."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{_asset("page.css")}</style>
</head>
<body>
<header>
{header}
</header>
<main>
{main}
</main>
<footer><p>A claim of equality holds when the whole interval of the measurement lies within its tolerance, a claim of a bound
when the whole interval lies on the right side. It fails when the whole interval lies outside, and is undecided otherwise.
Power is the smallest relative error of the prediction that the measurement would have exposed; above
100 % none is shown.</p></footer>
<script>
{_asset("page.js")}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _lead(records: Sequence[Record], found: Sequence[Verdict]) -> str:
    surprises = sum(not verdict.as_expected for verdict in found)
    if not found:
        return "No claims have been judged in this folder yet."
    counted = f"{_counted(len(found), 'claim')} from {_counted(len(records), 'experiment')}: {escape(tally(found))}."
    if not surprises:
        return f"{counted} No outcome contradicts its expectation."
    return f"{counted} <strong>{_counted(surprises, 'outcome')} contrary to expectation.</strong>"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _bar(found: Sequence[Verdict]) -> str:
    """The outcomes as one thin bar."""
    kinds = [_kind(verdict) for verdict in found]
    parts = [(kind, kinds.count(kind)) for kind in ("holds", "expected", "undecided", "unexpected") if kind in kinds]
    inner = "".join(f'<span class="{kind}" style="flex-grow:{count}"></span>' for kind, count in parts)
    return f'<div class="bar" role="img" aria-label="{escape(tally(found))}">{inner}</div>' if found else ""


def _attention(everything: Sequence[tuple[str, Verdict]]) -> str:
    """What a reader should know before the figures: surprises, then undecided claims with what would decide them."""
    parts = []
    for title, some in (
        ("Contrary to expectation", [(name, v) for name, v in everything if not v.as_expected]),
        ("Undecided, and why", [(name, v) for name, v in everything if v.outcome == "undecided"]),
    ):
        items = "".join(
            f'<li>{_pill(v)} <a href="#{anchor(name)}">{words(name)}</a>: {escape(v.claim)}'
            f'<br><span class="quiet">{escape(v.reason)}</span></li>'
            for name, v in some
        )
        if some:
            shown = " open" if len(some) <= _LIMIT else ""
            parts.append(f"<details{shown}><summary>{title} ({len(some)})</summary><ul>{items}</ul></details>")
    return f'<section class="attention" aria-label="What needs attention">{"".join(parts)}</section>\n' if parts else ""


def _section(folder: Path, made: Record, found: Sequence[Verdict]) -> str:
    name = made["experiment"]
    shown = " open" if len(found) <= _LIMIT else ""
    rows = "".join(_detailed(verdict) for verdict in found)
    head = "".join(
        f'<th scope="col">{title}</th>' for title in ("claim", "predicted", "measured", "samples", "power", "outcome")
    )
    claims = f"""<details{shown}><summary>{_counted(len(found), "claim")}: {escape(tally(found))}</summary>
<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></details>"""
    return f"""<section id="{anchor(name)}">
<h2>{words(name)}</h2>
<p class="question">{_prose(made.get("question", ""))}</p>
{_figure(folder, made, found)}
{claims if found else ""}
<details><summary>Settings and environment</summary>{_facts(made)}</details>
<p class="links">{_links(folder, made)}</p>
</section>
"""


def _figure(folder: Path, made: Record, found: Sequence[Verdict]) -> str:
    name = made["experiment"]
    path = folder / f"{name}.png"
    size = _png_size(path)
    about = "".join(_paragraph(part) for part in str(made.get("about", "")).split("\n\n") if part.strip())
    caption = f"<figcaption>{about}</figcaption>" if about else ""
    if size is None:
        return f"<figure>{caption}</figure>" if caption else ""
    alt = escape(f"Figure of {name}. {' '.join(str(made.get('question', '')).split())} Outcome: {tally(found)}.")
    image = f'<img src="{quote(path.name)}" alt="{alt}" width="{size[0]}" height="{size[1]}">'
    panned = f'<div class="pan" tabindex="0" role="group" aria-label="Figure of {words(name)}">'
    return f'<figure>{panned}<a href="{quote(path.name)}">{image}</a></div>{caption}</figure>'


def _detailed(verdict: Verdict) -> str:
    """A verdict as a row of its experiment's table, with source and reason below the claim."""
    return (
        f'<tr><td>{escape(verdict.claim)}<br><span class="quiet">{escape(verdict.source)}</span>'
        f'<br><span class="quiet">{escape(verdict.reason)}</span></td>'
        f'<td data-label="predicted" class="number">{prediction(verdict)}</td>'
        f'<td data-label="measured" class="number">{interval(verdict)}</td>'
        f'<td data-label="samples" class="number">{verdict.samples}</td>'
        f'<td data-label="power" class="number">{power(verdict.power)}</td>'
        f'<td data-label="outcome">{_pill(verdict)}</td></tr>'
    )


def _all_claims(everything: Sequence[tuple[str, Verdict]]) -> str:
    """Every claim in one table; the raw numbers stand in data-value, for sorting."""
    if not everything:
        return ""
    rows = "".join(
        f'<tr><td data-label="experiment"><a href="#{anchor(name)}">{words(name)}</a></td>'
        f"<td>{escape(v.claim)}</td>"
        f'<td data-label="source">{escape(v.source)}</td>'
        f'<td data-label="predicted" {_sorted_by(v.predicted)}>{prediction(v)}</td>'
        f'<td data-label="measured" {_sorted_by(v.measured)}>{interval(v)}</td>'
        f'<td data-label="outcome">{_pill(v)}</td></tr>'
        for name, v in everything
    )
    titles = ("experiment", "claim", "source", "predicted", "measured", "outcome")
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    return f"""<section id="all-claims">
<h2>All claims</h2>
<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>
</section>"""


def _sorted_by(value: float) -> str:
    """The attributes of a number's entry; those without a value come last."""
    return f'class="number" data-value="{value if math.isfinite(value) else "Infinity"}"'


def _kind(verdict: Verdict) -> str:
    if not verdict.as_expected:
        return "unexpected"
    return "expected" if verdict.outcome == "fails" else verdict.outcome


def _pill(verdict: Verdict) -> str:
    mark = f'<span aria-hidden="true">{_MARKS[verdict.outcome]}</span>'
    return f'<span class="pill {_kind(verdict)}">{mark} {escape(outcome(verdict))}</span>'


def _facts(made: Record) -> str:
    """Settings, seeds, times, versions and device as a list of definitions."""
    parts = []
    for title in ("settings", "seeds", "wall_seconds", "device", "versions"):
        facts = made.get(title)
        if isinstance(facts, Mapping) and facts:
            rows = "".join(f"<dt>{escape(str(key))}</dt><dd>{escape(_value(value))}</dd>" for key, value in facts.items())
            parts.append(f"<div><h3>{words(title).capitalize()}</h3><dl>{rows}</dl></div>")
    rest = {key: made[key] for key in ("profile", "cells", "commit", "date", "rejudged", "csv_sha256") if key in made}
    rows = "".join(f"<dt>{words(key)}</dt><dd>{escape(_value(value))}</dd>" for key, value in rest.items())
    return f'<div class="facts"><div><h3>Run</h3><dl>{rows}</dl></div>{"".join(parts)}</div>'


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _links(folder: Path, made: Record) -> str:
    name = made["experiment"]
    links = []
    for suffix, what in (("csv", "numbers"), ("json", "record")):
        path = folder / f"{name}.{suffix}"
        if path.is_file():
            links.append(f'<a href="{quote(path.name)}">{what} ({suffix}, {_size(path.stat().st_size)})</a>')
    if (folder / f"{name}.log").is_file():
        links.append(f'<a href="{quote(name)}.log">the latest attempt to run it stopped with an error</a>')
    seeds = made.get("seeds")
    seed = f" --seed {seeds['seed']}" if isinstance(seeds, Mapping) and seeds.get("seed") else ""
    links.append(
        f"<code>python -m experiments {escape(name)} --profile {escape(str(made.get('profile', 'quick')))}{seed}</code>"
    )
    return " ".join(f"<span>{link}</span>" for link in links)


def _size(size: int) -> str:
    return f"{size} bytes" if size < 1000 else f"{size / 1000:.3g} kB" if size < 10**6 else f"{size / 10**6:.3g} MB"


def _png_size(path: Path) -> tuple[int, int] | None:
    """Width and height from the header of a PNG file; None if there is no such file."""
    try:
        with path.open("rb") as file:
            header = file.read(24)
    except OSError:
        return None
    if len(header) < 24 or not header.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    return struct.unpack(">II", header[16:24])


def anchor(name: str) -> str:
    return escape(quote(name))


def words(name: str) -> str:
    return escape(name.replace("_", " "))


def _paragraph(text: str) -> str:
    """A paragraph of a docstring: as it stands if it is indented (aligned formulas), a list if it is one, else flowing."""
    lines = [line for line in text.splitlines() if line.strip()]
    if all(line.startswith("    ") for line in lines):
        return f'<pre tabindex="0">{escape(textwrap.dedent(chr(10).join(lines)))}</pre>'
    if lines[0].startswith("- "):
        items = "\n".join(lines).removeprefix("- ").split("\n- ")
        return f"<ul>{''.join(f'<li>{_prose(item)}</li>' for item in items)}</ul>"
    return f"<p>{_prose(text)}</p>"


def _prose(text: str) -> str:
    """Text of a docstring: escaped, and what stands between backticks as code."""
    parts = escape(" ".join(str(text).split())).split("`")
    if len(parts) % 2 == 0:
        return "`".join(parts)
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
