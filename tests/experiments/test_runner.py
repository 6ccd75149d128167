"""The runner on throw-away experiments: what it writes, what it survives, and what it says."""

import io
import json
import sys
from collections.abc import Sequence

import pytest

from experiments import _executors
from experiments._conduct import with_progress
from tests.experiments.lab import Lab, one_line
from theory_lab.report import tables
from theory_lab.run.store import sha256

BEGIN, END = tables.markers("statements")

# What is written and said


def test_a_run_writes_csv_json_png_and_page_and_says_each_claim(lab: Lab) -> None:
    for name in ("alpha", "beta", "zeta"):
        lab.add(name)
    (lab.folder / "_shared.py").write_text("")
    code, out, err = lab.run()
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line for line in lines if line.startswith(("alpha", "beta", "zeta"))] == [
        "zeta: Does the mean of zeta come out?",
        "alpha: Does the mean of alpha come out?",
        "beta: Does the mean of beta come out?",
    ]
    assert sum(line.startswith("  holds      two is 2.0") for line in lines) == 3
    assert "holds 6 · fails 0 · undecided 3" in lines
    assert "  beta: assumed: assumptions not met: convexity" in lines
    assert lines[-1] == f"report: {lab.out / 'index.html'}"
    visible = {path.name for path in lab.out.iterdir() if not path.name.startswith(".")}
    assert visible == {"cells", "catalogue.csv", "index.html", "statements.html", "README.md"} | {
        f"{name}.{end}" for name in ("alpha", "beta", "zeta") for end in ("csv", "json", "png")
    }
    assert not [path for path in lab.out.rglob("*.tmp")]


def test_the_record_says_what_was_asked_found_and_with_what(lab: Lab) -> None:
    lab.add("alpha")
    lab.run("--seed", "5")
    made = lab.record("alpha")
    assert list(made) == sorted(made)
    assert (made["question"], made["about"]) == (
        "Does the mean of alpha come out?",
        "It tests `Theorem 0`. Quick: 0 minutes; full: 0 minutes.",
    )
    assert (made["experiment"], made["profile"], made["settings"], made["cells"]) == ("alpha", "quick", {"pieces": 3}, 3)
    assert (made["seeds"]["seed"], made["seeds"]["prng"]) == (5, "threefry2x32")
    assert made["csv_sha256"] == sha256(lab.csv("alpha"))
    assert set(made["wall_seconds"]) == {"compile", "run"}
    assert made["device"]["x64"] is True
    assert {"versions", "commit", "date"} <= set(made)
    assert [verdict["outcome"] for verdict in made["verdicts"]] == ["holds", "holds", "undecided"]


@pytest.mark.parametrize(
    ("number", "expected", "code"),
    [
        (2.0, "", 0),
        (3.0, "", 1),
        (3.0, ', expected="fails", why="two is not three"', 0),
        (2.0, ', expected="fails", why="a mistake"', 1),
    ],
)
def test_the_exit_code_is_zero_exactly_when_no_outcome_contradicts_its_expectation(
    lab: Lab, number: float, expected: str, code: int
) -> None:
    lab.add("alpha", number=number, expected=expected)
    found, out, _ = lab.run()
    assert found == code
    assert ("contrary to expectation:" in out) == (code == 1)


def test_colour_is_as_the_environment_says(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.add("alpha")
    assert "\x1b[" not in lab.run()[1]
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[32mholds" in lab.run()[1]


def test_progress_is_for_terminals_with_tqdm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(with_progress("alpha", iter([1, 2]), 2)) == [1, 2]
    assert capsys.readouterr() == ("", "")
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    pytest.importorskip("tqdm")
    assert list(with_progress("alpha", iter([1, 2]), 2)) == [1, 2]
    assert "alpha" in terminal.getvalue()
    monkeypatch.setitem(sys.modules, "tqdm", None)
    shown = terminal.getvalue()
    assert list(with_progress("alpha", iter([1, 2]), 2)) == [1, 2]
    assert terminal.getvalue() == shown


def test_list_names_the_experiments_even_broken_ones(lab: Lab) -> None:
    lab.add("alpha")
    (lab.folder / "beta.py").write_text("this is no Python")
    (lab.folder / "gamma.py").write_bytes(b"\xff")
    code, out, _ = lab.run("--list")
    assert code == 0
    alpha, beta, gamma = out.splitlines()
    assert alpha == "alpha  Does the mean of alpha come out?"
    assert beta == "beta   cannot be read: not Python, or without a docstring"
    assert gamma.startswith("gamma  cannot be read: ")
    assert not lab.out.exists()


def test_profiles_have_their_folders_and_full_refreshes_the_readme(lab: Lab) -> None:
    lab.add("alpha")
    lab.out = lab.home / "figures"
    (lab.home / "README.md").write_text(f"# Lab\n{BEGIN}\nold\n{END}\nrest\n")
    assert lab.run("--profile", "quick")[0] == 0
    assert (lab.home / "results" / "alpha.csv").is_file()
    assert "old" in (lab.home / "README.md").read_text()
    assert lab.run("--profile", "full")[0] == 0
    assert lab.record("alpha")["cells"] == 4
    text = (lab.home / "README.md").read_text()
    assert text.startswith(f"# Lab\n{BEGIN}\n| statement |")
    assert text.endswith(f"{END}\nrest\n")
    assert "| the mean \\| is small | Theorem 0 | ≤ 10 |" in (lab.out / "README.md").read_text()


# Redrawing


def test_redraw_judges_and_draws_from_the_csv_alone(lab: Lab) -> None:
    lab.add("alpha")
    lab.run()
    before = {end: (lab.out / f"alpha.{end}").read_bytes() for end in ("csv", "json", "png")}
    lab.computed()
    lab.add("alpha", number=3.0)
    code, out, _ = lab.run("--redraw")
    assert code == 1
    assert lab.computed() == []
    assert "two is 3.0" in out
    assert lab.csv("alpha") == before["csv"]
    assert (lab.out / "alpha.png").read_bytes() != before["png"]
    after, old = lab.record("alpha"), json.loads(before["json"])
    assert after["verdicts"][1]["outcome"] == "fails"
    assert set(after["rejudged"]) == {"commit", "date"}
    assert {name: after[name] for name in old if name != "verdicts"} == {
        name: old[name] for name in old if name != "verdicts"
    }


def test_redrawing_the_same_gives_the_same_figure(lab: Lab) -> None:
    lab.add("alpha")
    lab.run()
    before = (lab.out / "alpha.png").read_bytes()
    lab.run("--redraw")
    assert (lab.out / "alpha.png").read_bytes() == before


def test_redraw_refuses_what_is_not_there_and_what_was_altered(lab: Lab) -> None:
    lab.add("alpha")
    lab.add("beta")
    code, _, err = lab.run("--redraw", "alpha")
    assert code == 2
    assert one_line(err, starts=f"--redraw needs the csv and json of alpha in {lab.out}; run without --redraw first")
    lab.run("alpha")
    assert lab.run("--redraw")[0] == 0
    (lab.out / "alpha.csv").write_bytes(lab.csv("alpha") + b'9,9.0,"float64"\n')
    code, _, err = lab.run("--redraw")
    assert code == 1
    assert "alpha.csv must be the file that alpha.json is about, got another one" in err
    (lab.out / "alpha.json").write_text('{"experiment": ')
    code, _, err = lab.run("--redraw")
    assert code == 1
    assert "alpha.json must be the record of an experiment, got text that is not JSON" in err


# Bad usage and experiments that go wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["alhpa"], "experiment must be one of 'alpha', got 'alhpa' (did you mean 'alpha'?)"),
        (["--seed", "-1"], "--seed must be a whole number from 0 to 4294967295, got -1"),
        (["--executor", "threads"], f"--executor must be one of {_executors.RULE}, got 'threads'"),
        (["--executor", "process:0"], f"--executor must be one of {_executors.RULE}, got 'process:0'"),
        (["--out", ""], "--out must be a non-empty text, got ''"),
        (["--data", "nowhere"], "--data must be an existing file or folder, got 'nowhere'"),
        (["--data", "."], "--data must be left out where no experiment reads it, as in alpha, got '.'"),
        (["--redraw", "--seed", "0"], "--seed must be left out with --redraw, which computes nothing, got 0"),
        (["--redraw", "--data", "."], "--data must be left out with --redraw, which computes nothing, got '.'"),
        (
            ["--redraw", "--set", "pieces=1"],
            "--set must be left out with --redraw, which computes nothing, got ['pieces=1']",
        ),
        (["--set", "pieces"], "--set must be FIELD=VALUE, as in seeds=3, got 'pieces'"),
        (["--set", "=3"], "--set must be FIELD=VALUE, as in seeds=3, got '=3'"),
        (["--set", "pieces=1", "--set", "pieces=2"], "--set pieces must be given once, got ['1', '2']"),
        (["--set", "data=here"], "--set data must be given as --data PATH, got 'here'"),
        (["--set", "pieces=many"], "alpha: pieces must be a whole number, got 'many'"),
        (["--set", "pieces=2.5"], "alpha: pieces must be a whole number, got '2.5'"),
        (
            ["--set", "piece=1"],
            "alpha: the field of --set must be one of 'pieces', got 'piece' (did you mean 'pieces'?)",
        ),
        (
            ["--redraw", "--executor", "serial"],
            "--executor must be left out with --redraw, which computes nothing, got 'serial'",
        ),
    ],
)
def test_bad_usage_is_one_line_and_code_two(lab: Lab, arguments: Sequence[str], message: str) -> None:
    lab.add("alpha")
    code, _, err = lab.run(*arguments)
    assert code == 2
    assert err.strip() == message
    assert not lab.out.exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("this is no Python", "SyntaxError: invalid syntax"),
        ("import not_installed_anywhere", "ModuleNotFoundError: No module named 'not_installed_anywhere'"),
        (
            "QUICK = 1",
            "ValueError: experiment 'broken' must define QUICK, FULL, cells, compute, judge, draw; it lacks FULL, cells",
        ),
        (
            "QUICK = FULL = cells = compute = judge = draw = None",
            "ValueError: experiment 'broken' must open with a docstring that asks its question, got none",
        ),
        ("'Why?'\nQUICK = FULL = cells = compute = judge = draw = None", "TypeError: 'NoneType' object is not callable"),
    ],
)
def test_an_experiment_that_goes_wrong_is_one_line_and_a_log_and_the_others_go_on(
    lab: Lab, source: str, message: str
) -> None:
    lab.add("alpha")
    lab.add("zeta")
    (lab.folder / "broken.py").write_text(source)
    code, out, err = lab.run()
    assert code == 1
    assert one_line(err, starts=f"stopped with {message}")
    assert "Traceback" not in out
    assert (lab.out / "alpha.json").is_file()
    assert (lab.out / "zeta.json").is_file()
    assert f"  broken: {message}" in out
    log = (lab.out / "broken.log").read_text()
    assert "Traceback" in log


def test_a_failing_cell_keeps_the_finished_ones_and_the_log_goes_with_the_fault(lab: Lab) -> None:
    lab.add(
        "alpha",
        raising="if cell['index'] == 1 and not os.path.exists('cured'): raise FileNotFoundError('a cell\\nof two lines')",
    )
    code, _, err = lab.run()
    assert code == 1
    why = '1 of 3 cells: FileNotFoundError: a cell of two lines, in cell {"index": 1}'
    assert one_line(err, starts=f"stopped with {why} (see {lab.out / 'alpha.log'})")
    assert not (lab.out / "alpha.csv").exists()
    assert lab.computed() == [0, 1, 2]
    log = (lab.out / "alpha.log").read_text()
    assert 'cell {"index": 1}: FileNotFoundError: a cell of two lines' in log
    assert "Traceback (most recent call last):" in log
    (lab.home / "cured").touch()
    assert lab.run()[0] == 0
    assert lab.computed() == [1]
    assert not (lab.out / "alpha.log").exists()


@pytest.mark.parametrize(
    "given", ["[]", "[{'a': 1}, {'a': 1}]", "[{'a': float('nan')}]", "[{'a': object}]", "[1]", "[{'a': {1, 2}}]"]
)
def test_cells_that_are_not_distinct_json_are_refused(lab: Lab, given: str) -> None:
    lab.add("alpha")
    with (lab.folder / "alpha.py").open("a") as source:
        source.write(f"\n\ndef cells(settings):\n    return {given}\n")
    code, _, err = lab.run()
    assert code == 1
    assert "ValueError: cells(settings) must be a non-empty list of distinct mappings of JSON values, got [" in err


@pytest.mark.parametrize("given", ["[True]", "[]", "None"])
def test_judging_to_something_else_than_verdicts_is_refused(lab: Lab, given: str) -> None:
    lab.add("alpha")
    with (lab.folder / "alpha.py").open("a") as source:
        source.write(f"\n\ndef judge(frame):\n    return {given}\n")
    assert f"ValueError: judge(frame) must be a non-empty list of verdicts, got {given}" in lab.run()[2]


def test_a_cell_that_asks_not_to_be_kept_is_computed_again(lab: Lab) -> None:
    lab.add("alpha", pieces=2)
    with (lab.folder / "alpha.py").open("a") as source:
        source.write("""

steady = compute


def compute(cell, key):
    frame = steady(cell, key)
    frame.attrs["keep"] = cell["index"] == 0
    return frame
""")
    assert "2 cells; " in lab.run()[1]
    first = lab.csv("alpha")
    assert "2 cells, 1 of them kept from before" in lab.run()[1]
    assert (lab.computed(), lab.csv("alpha")) == ([0, 1, 1], first)
