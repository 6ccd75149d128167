"""The README's examples run as they stand, and its claims table is the one that figures/ gives."""

import contextlib
import io

import pytest

from tests import readme


@pytest.mark.parametrize("number", range(3))
def test_example_runs(number: int) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(readme.blocks()[number], f"README example {number}", "exec"), {})
    if number == 0:
        assert "outcome='holds'" in printed.getvalue()
    if number == 2:
        assert "zeroth-order block" in printed.getvalue()


def test_every_python_block_is_tested() -> None:
    assert len(readme.blocks()) == 3
