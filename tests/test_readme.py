"""The README's examples run as they stand, and its claims table is the one that figures/ gives."""

import contextlib
import io
from pathlib import Path

import pytest

from experiments import ORDER
from tests import readme
from theory_lab.report import tables


@pytest.mark.parametrize("number", range(3))
def test_example_runs(number: int) -> None:
    printed, names = io.StringIO(), {}
    with contextlib.redirect_stdout(printed):
        exec(compile(readme.blocks()[number], f"README example {number}", "exec"), names)
    if number == 0:
        assert printed.getvalue().startswith("holds: ")
    if number == 2:
        trace = names["trace"]
        assert trace.divergence == ""
        assert trace.value.max() <= 2 * trace.value[0]


def test_every_python_block_is_tested() -> None:
    assert len(readme.blocks()) == 3


def test_claims_table_is_that_of_the_figures() -> None:
    text = readme.README.read_text(encoding="utf-8")
    assert text == tables.refreshed(text, tables.claims_table(readme.README.parent / "figures", ORDER))


def test_every_figure_has_its_numbers_and_its_record() -> None:
    folder = Path(readme.README.parent / "figures")
    stems = {suffix: {path.stem for path in folder.glob(f"*.{suffix}")} for suffix in ("png", "csv", "json")}
    assert stems["png"] == stems["csv"] == stems["json"] == set(ORDER)
