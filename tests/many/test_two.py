"""Two processes with a device each, joined by `jax.distributed`: the numbers of one process, in both."""

import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.many import work

ROOT = Path(__file__).parents[2]
SECONDS = 240


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    asked = {**os.environ, "JAX_PLATFORMS": "cpu"}  # compiled as here
    command = [sys.executable, "-m", "tests.many.two", port]
    started = [
        subprocess.Popen(
            [*command, str(rank), str(folder / str(rank))], env=asked, cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    try:
        told = [process.communicate(timeout=SECONDS)[1] for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert [process.returncode for process in started] == [0, 0], told
    return [pickle.loads((folder / str(rank)).read_bytes()) for rank in range(2)]


@pytest.fixture(scope="module", autouse=True)
def one_head():
    """What is computed here is computed as there."""
    before = work.cut_the_head()
    yield
    work.cut_the_head(before)


def same(one, other, **tolerance):
    for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        np.testing.assert_allclose(a, b, **(tolerance or {"rtol": 0, "atol": 0}))


def test_both_processes_have_the_whole_result(found):
    for name in ("losses", "best", "params", "sweep", "step"):
        same(found[0][name], found[1][name])


def test_fine_tuning_in_two_processes_is_that_in_one(found):
    one = work.trained(None)
    assert any(found[0]["split"])  # no process could have made this alone
    np.testing.assert_allclose(found[0]["losses"], one.losses, atol=100 * work.EPS, rtol=0)  # of a loss near 10
    numbers = ["loss", "dev_accuracy", "dev_loss"]
    np.testing.assert_allclose(found[0]["history"][numbers], one.history[numbers], atol=100 * work.EPS, rtol=0)
    same(found[0]["again"], found[0]["params"])  # from the checkpoint that the first of them wrote


def test_the_command_joins_two_processes_of_which_the_first_speaks_and_writes(found):
    assert "written to" in found[0]["said"]
    assert found[1]["said"] == ""
    assert found[0]["out"]["spent"] == found[1]["out"]["spent"]
    assert found[0]["out"]["arguments"]["processes"].endswith(",2,0")


def test_a_step_of_two_processes_is_that_of_one(found):
    one = work.stepped("Hybrid-PEFT", 1, "data")["params"]
    tolerances = work.tolerances("Hybrid-PEFT", found[0]["step"], one)
    for new, old, atol in zip(*map(jax.tree.leaves, (found[0]["step"], one, tolerances)), strict=True):
        np.testing.assert_allclose(new, old, atol=atol, rtol=0)


def test_a_sweep_of_two_processes_is_that_of_one(found):
    trace = work.swept(None)
    np.testing.assert_allclose(found[0]["sweep"][0], trace.value, rtol=1e-10)
    np.testing.assert_array_equal(found[0]["sweep"][1], trace.diverged_at)


def test_a_process_without_a_device_is_refused(found):
    for one in found:
        assert one["refused"] == "devices must be so many that each of 2 processes has one of them, got 1"
