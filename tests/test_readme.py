"""The README's examples run as they stand, and its tables are those that figures/ gives."""

import contextlib
import dataclasses
import io
import re
from pathlib import Path

import pytest

from experiments import ORDER
from tests import readme
from theory_lab.report import statements, tables
from theory_lab.report.record import read_all, verdicts
from theory_lab.run.frames import to_csv
from theory_lab.theory.catalogue import OTHERS, STATEMENTS

FIGURES = readme.README.parent / "figures"


@pytest.mark.parametrize("numbers", [(0, 1), (2,), (3,), (4,)])  # the second goes on with the first
def test_example_runs(numbers: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    printed, names = io.StringIO(), {}
    with contextlib.redirect_stdout(printed):
        for number in numbers:
            exec(compile(readme.blocks()[number], f"README example {number}", "exec"), names)
    if number == 1:
        assert printed.getvalue().startswith("holds: ")
        assert names["figure"].get_suptitle().endswith("holds 1 · fails 0 · undecided 0")
        assert (tmp_path / "report.png").read_bytes() == names["figures"].png(names["figure"])
    if number == 3:
        trace = names["trace"]
        assert trace.divergence == ""
        assert trace.value.max() <= 2 * trace.value[0]
    if number == 4:
        seen = re.fullmatch(r"zero-shot (\S+)\nfine-tuned (\S+)\n.*", printed.getvalue(), re.DOTALL)
        assert seen is not None
        assert float(seen[2]) - float(seen[1]) > 0.2


def test_every_python_block_is_tested() -> None:
    assert len(readme.blocks()) == 5


def test_gallery_is_that_of_the_figures() -> None:
    assert (FIGURES / "README.md").read_text(encoding="utf-8") == tables.gallery(FIGURES, ORDER)


def test_statements_table_is_that_of_the_figures() -> None:
    text = readme.README.read_text(encoding="utf-8")
    rows = statements.catalogue([dataclasses.asdict(s) for s in STATEMENTS], FIGURES, ORDER)
    assert text == tables.refreshed(text, "statements", statements.catalogue_table(rows, "figures"))
    assert to_csv(rows) == (FIGURES / "catalogue.csv").read_text(encoding="utf-8")


def test_every_claim_has_a_statement_or_is_no_theory() -> None:
    names = [statement.name for statement in STATEMENTS]
    for made in read_all(FIGURES):
        for verdict in verdicts(made):
            named = statements.name_in(verdict.source, names) or verdict.source.startswith(OTHERS)
            assert named, (made["experiment"], verdict.source)


def test_every_statement_is_confronted_or_says_why_not() -> None:
    rows = statements.catalogue([dataclasses.asdict(s) for s in STATEMENTS], FIGURES, ORDER)
    silent = rows[(rows.claims == 0) & (rows.untested == "")]
    assert list(silent.statement) == []


def test_every_figure_has_its_numbers_and_its_record() -> None:
    stems = {suffix: {path.stem for path in FIGURES.glob(f"*.{suffix}")} for suffix in ("png", "csv", "json")}
    assert stems["png"] == stems["csv"] - {"catalogue"} == stems["json"] == set(ORDER)
