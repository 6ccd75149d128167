"""Workers of dask: a cluster of processes that can be killed, and the executor on a scheduler in this process."""

import concurrent.futures
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments._dask import Dask
from tests.experiments.lab import ROOT, Lab, finished, one_line, wait_for
from tests.experiments.test_executors import DEADLY, kill_a_worker, needs, serial

CLUSTER = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@contextlib.contextmanager
def dask_cluster(lab: Lab, path: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A scheduler and two worker processes, which import from `path`; the executor's name, and the scheduler's process."""
    needs("distributed")
    script = lab.home / "cluster.py"
    script.write_text(CLUSTER)
    pipe, environment, command = subprocess.PIPE, {**os.environ, "PYTHONPATH": path}, [sys.executable, str(script)]
    pipes = {"stdin": pipe, "stdout": pipe, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, cwd=lab.home, text=True, **pipes) as process:
        assert process.stdout is not None
        try:
            yield f"dask:{process.stdout.readline().strip()}", process
        finally:
            process.communicate(timeout=60)


def test_a_killed_worker_of_a_dask_cluster_costs_its_cell_only(lab: Lab) -> None:
    lab.add("alpha", pieces=8, seconds=0.3)
    with dask_cluster(lab, f"{ROOT}{os.pathsep}{lab.home}") as (spec, _):
        process = lab.start("--executor", spec)
        lost = kill_a_worker(lab)
        assert finished(process)[0] == 0
        assert sorted(lab.computed()) == sorted([*range(8), lost])
        assert lab.csv("alpha") == serial(lab)
        # A worker keeps the code that it started with, and says so.
        with (lab.folder / "alpha.py").open("a") as source:
            source.write("# another\n")
        code, _, err = finished(lab.start("--executor", spec))
        assert code == 1
        assert one_line(err, starts="stopped with worker on ")
        assert (
            "different: source (a worker keeps the code that it started with: bring it up to date, then restart it)" in err
        )
        assert lab.computed() == []


def test_a_cell_that_kills_every_worker_of_a_dask_cluster_is_named(lab: Lab) -> None:
    lab.add("alpha", pieces=4, raising=DEADLY)
    with dask_cluster(lab, f"{ROOT}{os.pathsep}{lab.home}") as (spec, _):
        code, _, err = finished(lab.start("--executor", spec))
    assert code == 1
    assert " of 4 cells: its worker was lost once" in err  # with it may go a cell whose rows had not been fetched
    assert "Traceback" not in err
    assert 'cell {"index": 1}: its worker was lost once' in (lab.out / "alpha.log").read_text()
    assert 1 not in lab.kept("alpha")


def test_dask_workers_without_the_code_say_what_they_need(lab: Lab) -> None:
    lab.add("alpha")
    with dask_cluster(lab, "") as (spec, _):
        code, _, err = finished(lab.start("--executor", spec))
    assert code == 1
    assert "the workers cannot take cells: " in err
    assert "No module named 'experiments'" in err
    assert "of this run, importable: start them in the repository, with PYTHONPATH=." in err


def test_a_dask_scheduler_that_is_killed_is_one_line_and_the_finished_cells_stay(lab: Lab) -> None:
    lab.add("alpha", pieces=12, seconds=0.3)
    with dask_cluster(lab, f"{ROOT}{os.pathsep}{lab.home}") as (spec, scheduler):
        process = lab.start("--executor", spec)
        wait_for(lambda: len(lab.kept("alpha")) >= 2)
        scheduler.kill()
        code, _, err = finished(process)
    assert code == 2
    assert one_line(err, starts="the executor has given its cells up: its scheduler is gone, or ended them")
    kept = lab.kept("alpha")
    assert len(kept) >= 2
    lab.computed()
    assert lab.run()[0] == 0
    assert sorted(lab.computed()) == sorted(set(range(12)) - kept)
    assert lab.csv("alpha") == serial(lab)


@pytest.fixture
def client() -> Iterator[Any]:
    """Of a scheduler with two workers, all in this process."""
    needs("distributed")
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None, silence_logs=50)
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client


def test_values_given_up_while_they_are_fetched_end_their_futures_in_silence(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        executor = Dask(client)
        futures = [executor.submit(time.sleep, 0.002 * (i % 5)) for i in range(20)]
        next(concurrent.futures.as_completed(futures))
        for future in futures:
            future.cancel()
        executor.shutdown(cancel_futures=True)
        assert not concurrent.futures.wait(futures, timeout=10).not_done
    ours = [r for r in caplog.records if r.name.startswith(("distributed.client", "tornado", "asyncio"))]
    assert [record.getMessage() for record in ours if record.levelname != "INFO"] == []


def test_what_a_call_returns_or_raises_on_a_dask_worker_is_its_future_s(client: Any) -> None:
    executor = Dask(client)
    returned, raised = executor.submit(len, "four"), executor.submit(Path("/no/such/file").read_text)
    assert returned.result(10) == 4
    assert isinstance(raised.exception(10), FileNotFoundError)
    executor.shutdown()


def test_a_dask_scheduler_that_does_not_answer_is_one_line(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("distributed")
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "1s")
    lab.add("alpha")
    code, _, err = finished(lab.start("--executor", "dask:tcp://127.0.0.1:9"))
    assert code == 2
    assert one_line(err, starts="no dask scheduler answers at tcp://127.0.0.1:9: ")
