"""The catalogue names what is there, once."""

import pytest

from experiments._conduct import documentation
from theory_lab.report.statements import name_in
from theory_lab.theory.catalogue import OTHERS, STATEMENTS, Statement


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda s: s.name)
def test_every_statement_is_documented_where_it_says(statement: Statement) -> None:
    text = documentation(statement.where)
    assert all(f"theory_lab.{name}\n\n" in text for name in statement.where)
    assert "None" not in text.split("\n\n")


def test_names_are_distinct_and_found_again() -> None:
    names = [statement.name for statement in STATEMENTS]
    assert len(set(names)) == len(names)
    assert [name_in(name, names) for name in names] == names
    assert not any(name.startswith(OTHERS) for name in names)


def test_what_is_recalled_says_so_where_it_is_written() -> None:
    for statement in STATEMENTS:
        if statement.standing == "recalled":
            text = documentation(statement.where).lower()
            assert "recalled" in text or "abstract" in text, statement.name
