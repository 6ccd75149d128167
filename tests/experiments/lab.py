"""Throw-away experiments for the tests of what runs them."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.__main__ import main

ROOT = Path(__file__).parents[2]

STEADY = '''"""Does the mean of {name}
come out?

It tests `Theorem 0`. Quick: 0 minutes; full: 0 minutes.
"""

import os
import time
from dataclasses import dataclass

import jax
import numpy as np
import pandas as pd

from theory_lab.claims import claim
from theory_lab.measure import exact, mean
from theory_lab.report import band, legend, new_figure, title_with_verdicts


@dataclass(frozen=True)
class Settings:
    pieces: int
    {field}


QUICK, FULL = Settings({pieces}), Settings({pieces} + 1)


def cells(settings):
    return [{{"index": i{cell}}} for i in range(settings.pieces)]


def compute(cell, key):
    with open(os.environ["FAKE_LOG"], "a") as log:
        log.write(f"{{cell['index']}} {{os.getpid()}}\\n")
    time.sleep({seconds})
    {raising}
    values = np.random.default_rng(np.asarray(jax.random.key_data(key))).normal(size=5)
    return pd.DataFrame({{"index": cell["index"], "value": values, "x64": str(jax.numpy.ones(1).dtype)}})


def judge(frame):
    assert set(frame["x64"]) == {{"float64"}}
    return [
        claim("the mean | is small", "Theorem 0", "at most", 10.0).check(mean("value", frame["value"])),
        claim("two is {number}", "arithmetic", "equals", {number}, tolerance=0.5{expected}).check(exact("two", 2.0)),
        claim("assumed", "Theorem 1", "at least", 1.0, unmet=["convexity"]).check(exact("two", 2.0)),
    ]


def draw(frame, verdicts):
    figure, axes = new_figure(height=2.0, width=3.0)
    means = frame.groupby("index")["value"].mean()
    band(axes[0, 0], means.index, means, like="hybrid")
    title_with_verdicts(figure, "{name}", verdicts)
    return figure
'''

Fake = Callable[..., None]


class Lab:
    """An empty package of experiments, an output folder, and the command line on them."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self.capsys = home, capsys
        self.package = f"fakes_{uuid.uuid4().hex}"
        self.folder = home / self.package
        self.folder.mkdir()
        (self.folder / "__init__.py").write_text('ORDER = ("zeta", "alpha", "absent")\n')
        self.out, self.log = home / "out", home / "log"
        monkeypatch.syspath_prepend(home)
        monkeypatch.setenv("FAKE_LOG", str(self.log))
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.chdir(home)

    def add(self, name: str, **changes: object) -> None:
        """One more experiment, found by its name alone."""
        defaults = {"pieces": 3, "number": 2.0, "expected": "", "seconds": 0, "raising": "", "field": "", "cell": ""}
        (self.folder / f"{name}.py").write_text(STEADY.format(name=name, **{**defaults, **changes}))

    def forget(self) -> None:
        """Import everything anew, as a new process would."""
        for name in [name for name in sys.modules if name.startswith(self.package)]:
            del sys.modules[name]

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        self.forget()
        out = () if "--out" in arguments or "--profile" in arguments else ("--out", str(self.out))
        code = main([*arguments, *out], package=self.package)
        return code, *self.capsys.readouterr()

    def start(self, *arguments: str, out: Path | None = None) -> subprocess.Popen[str]:
        """The same in a process of its own, which hears Ctrl-C even where the tests, in the background, do not."""
        hears = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        code = f"{hears}from experiments.__main__ import main; sys.exit(main(sys.argv[2:], package=sys.argv[1]))"
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{self.home}"}
        command = [sys.executable, "-c", code, self.package, *arguments, "--out", str(out or self.out)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, cwd=self.home, stdout=pipe, stderr=pipe, text=True)

    def computed(self) -> list[int]:
        """The cells whose computation has begun since the last call."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [int(line.split()[0]) for line in lines]

    def record(self, name: str) -> dict:
        return json.loads((self.out / f"{name}.json").read_text())

    def csv(self, name: str) -> bytes:
        return (self.out / f"{name}.csv").read_bytes()

    def kept(self, name: str) -> set[int]:
        return {
            json.loads(path.read_text())["determinants"]["cell"]["index"]
            for path in (self.out / "cells" / name).glob("[!.]*.json")
        }


def one_line(text: str, *, starts: str) -> bool:
    return text.strip().startswith(starts) and text.strip().count("\n") == 0 and "Traceback" not in text


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
