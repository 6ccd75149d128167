"""The command line: a problem's name in; text, a figure and JSON out; one line for what is wrong."""

import json
import re

import pytest

from theory_lab.advise.__main__ import main, parser

FILE = """
import jax.numpy as jnp
import theory_lab as tl
problem = tl.block_quadratic({"base": 3, "peft": 2}, n=2)
made = lambda: problem
loss = (lambda z, e: jnp.sum((z["x"] - e) ** 2), jnp.ones((2, 3)), {"x": jnp.zeros(3)})
number = 3
other = tl.block_quadratic({"a": 3, "b": 2}, n=2)
batch = (lambda z, e: jnp.mean((e @ z["x"]) ** 2), jnp.ones((2, 3)), {"x": jnp.zeros(4)})
bare = lambda z, e: jnp.sum(z["x"] - e)
"""


BROKEN = {
    "import theory_lab\nimport nosuch\n": "ModuleNotFoundError: No module named 'nosuch', line 2",
    "def problem(:": "SyntaxError: invalid syntax (mine.py, line 1), line 1",
    "\n1 / 0": "ZeroDivisionError: division by zero, line 2",
    "import sys\nsys.exit(3)": "SystemExit: 3, line 2",
    "def problem():\n    raise KeyError('y')": "KeyError: 'y', line 2",
    "def loss(z, e):\n    assert False, 'no'\nimport numpy\nproblem = loss, numpy.ones(1), {'x': numpy.ones(1)}": (
        "AssertionError: no, line 2"
    ),
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize("name", ["problem", "made", "loss"])
def test_a_file_is_advised_on(file, name, capsys, tmp_path):
    figure, told = tmp_path / "out.png", tmp_path / "out.json"
    assert main([f"{file}:{name}", "--figure", str(figure), "--json", str(told), "--directions", "2"]) == 0
    assert "step size of" in capsys.readouterr().out
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert json.loads(told.read_text())["directions"] == 2


def test_what_is_not_finite_is_a_word_in_json(tmp_path):
    path, told = tmp_path / "flat.py", tmp_path / "out.json"
    path.write_text(
        "import jax.numpy as jnp\nflat = (lambda z, e: 0 * jnp.sum(z['x']) + e, jnp.ones(2), {'x': jnp.zeros(3)})\n"
    )
    assert main([f"{path}:flat", "--json", str(told)]) == 0
    assert json.loads(told.read_text())["limits"]["x"]["value"] == "inf"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nothing"], "error: PROBLEM must be FILE.py:NAME or one of quadratic, coupled"),
        (["missing.py:problem"], "error: PROBLEM must be in a file that exists, got 'missing.py'"),
        (
            ["{}:number"],
            "error: number of {} must be a Problem, a function without arguments that returns one, or (loss, data, params), "
            "got int",
        ),
        (
            ["{}:bare"],
            "error: bare of {} must be a Problem, a function without arguments that returns one, or (loss, data, params), "
            "got a function with missing a required argument: 'z'",
        ),
        (["{}:batch"], "error: loss must be a function that works on params and one example, of shape (3,), got TypeError("),
        (["{}:absent"], "error: PROBLEM must be a name that {} defines, got 'absent'"),
        (
            ["{}:problem", "--zeroth", "bas"],
            "error: --zeroth must be one of 'base', 'peft', got 'bas' (did you mean 'base'?)",
        ),
        (
            ["{}:other"],
            "error: --zeroth must be some of the labels ('a', 'b'), or 'none' for none, where no block is called 'x' or "
            "'base', got None",
        ),
        (["{}:problem", "--accuracy", "-1"], "error: --accuracy must be positive and finite, got -1.0"),
        (["{}:problem", "--seed", str(2**64)], f"error: --seed must be a whole number from 0 to 2^32 - 1, got {2**64}"),
        (
            ["{}:problem", "--figure", "/no/such/folder/a.png"],
            "error: --figure must be a file in a folder that exists, got '/no/such/folder/a.png'",
        ),
        (["{}:problem", "--json", "/no/such/a"], "error: --json must be a file in a folder that exists, got '/no/such/a'"),
        (["{}:problem", "--json", "/proc/a"], "error: --json must be where files can be written"),
        (["{}:problem", "--figure", "a.pdf"], "error: --figure must be a name that ends in .png, got 'a.pdf'"),
        (["{}:problem", "--horizon", "0"], "error: --horizon must be a whole number of at least 1, got 0"),
    ],
)
def test_errors_are_one_line(file, arguments, message, capsys):
    assert main([argument.format(file) for argument in arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith(message.format(file))
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    "option, value, known",
    [("--law", "normal", "rademacher"), ("--ordering", "random", "shuffle_once"), ("--sided", "3", "choose from 1, 2")],
)
def test_what_can_be_chosen_is_told(file, option, value, known, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([f"{file}:problem", option, value])
    told = capsys.readouterr().err
    assert f"argument {option}: invalid choice: " in told
    assert known in told


@pytest.mark.parametrize("arguments", [("--seed", "1", "--seed", "2"), ("--seed=1", "--see=1")])
def test_an_option_that_is_given_twice_is_refused(file, arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([f"{file}:problem", *arguments])
    told = capsys.readouterr().err
    assert re.search(r"error: argument --seed: must be given once, got another, [12]$", told.strip())
    assert [parser().parse_args(["quadratic", "--seed", "1"]).seed for _ in range(2)] == [1, 1]


def test_nothing_is_computed_where_nothing_can_be_written(file, monkeypatch):
    monkeypatch.setitem(main.__globals__, "advise", lambda *_, **__: pytest.fail("advised"))
    assert main([f"{file}:problem", "--json", "/no/such/folder/a.json"]) == 2


def test_every_option_is_explained(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert all(action.help for action in parser()._actions)


@pytest.mark.parametrize("text", BROKEN)
def test_a_file_that_stops_with_an_error_is_told_in_a_line(tmp_path, capsys, text):
    path = tmp_path / "mine with spaces ü.py"
    path.write_text(text)
    assert main([f"{path}:problem"]) == 2
    said = capsys.readouterr().err
    assert said == f"error: {path} must run without an error, got {BROKEN[text].replace('mine.py', path.name)}\n"
