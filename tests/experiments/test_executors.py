"""Other executors than this process: the same bytes, whatever is killed, and one line about whatever cannot be."""

import concurrent.futures
import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments import _executors
from experiments._dask import Dask
from tests.experiments.lab import ROOT, Lab, finished, one_line, running, wait_for

DEADLY = "if cell['index'] == 1 and not os.path.exists('cured'): os.kill(os.getpid(), 9)"

CLUSTER = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


def needs(module: str) -> None:
    """Skip where a module is not installed, without importing it: submitit, imported, closes the handlers of `logging`."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


def serial(lab: Lab, name: str = "alpha") -> bytes:
    """What a run in this process gives, in a folder of its own."""
    assert lab.run("--out", str(lab.home / "serial"))[0] == 0
    lab.computed()
    return (lab.home / "serial" / f"{name}.csv").read_bytes()


def begun(lab: Lab) -> list[tuple[int, int]]:
    """The cells whose computation has begun, with the process that does it; one may be about to be written."""
    lines = lab.log.read_text().splitlines() if lab.log.exists() else []
    return [(int(cell), int(process)) for cell, process in map(str.split, lines)]


def kill_a_worker(lab: Lab) -> int:
    """Kill the process that computes the last cell begun, while it does; returns the cell."""
    wait_for(lambda: len(lab.kept("alpha")) >= 1 and begun(lab)[-1][0] not in lab.kept("alpha"))
    cell, process = begun(lab)[-1]
    os.kill(process, signal.SIGKILL)
    return cell


# Processes here


def test_a_killed_process_costs_its_cell_only(lab: Lab) -> None:
    lab.add("alpha", pieces=8, seconds=0.3)
    process = lab.start("--executor", "process:2")
    lost = kill_a_worker(lab)
    code, _, err = finished(process)
    assert (code, err) == (0, "")
    assert sorted(lab.computed()) == sorted([*range(8), lost])
    assert lab.csv("alpha") == serial(lab)


def test_a_cell_that_kills_every_worker_is_named_and_the_others_go_on(lab: Lab) -> None:
    lab.add("alpha", pieces=5, raising=DEADLY)
    code, _, err = finished(lab.start("--executor", "process:2"))
    assert code == 1
    starts = "stopped with 1 of 5 cells: its worker was lost 3 times (killed, out of memory, or cut off): "
    assert one_line(err, starts=starts)
    assert 'in cell {"index": 1} (see ' in err
    assert sorted(lab.computed()) == [0, 1, 1, 1, 2, 3, 4]
    (lab.home / "cured").touch()
    assert lab.run()[0] == 0
    assert lab.computed() == [1]


def test_an_experiment_whose_process_is_killed_stops_alone(lab: Lab) -> None:
    lab.add("alpha", raising=DEADLY)
    lab.add("beta")
    code, out, err = finished(lab.start("--executor", "experiments:2"))
    assert code == 1
    assert one_line(err, starts="stopped with its worker was lost 3 times")
    assert "  alpha: its worker was lost 3 times" in out
    assert (lab.out / "beta.json").is_file()
    assert not (lab.out / "alpha.json").exists()


def test_cells_that_raise_are_told_with_their_tracebacks_wherever_they_ran(lab: Lab) -> None:
    """An exception that does not survive the way between processes is no lost worker."""
    raising = (
        "\n    class Odd(Exception):\n        def __init__(self, a, b): super().__init__('odd', a)"
        "\n    if cell['index'] % 2: raise Odd(cell['index'], lambda: 0)"
    )
    lab.add("alpha", pieces=5, raising=raising)
    code, _, err = finished(lab.start("--executor", "process:2"))
    assert code == 1
    assert one_line(
        err, starts="stopped with 2 of 5 cells: Odd: ('odd', 1), in cell {\"index\": 1}; 1 others likewise (see "
    )
    log = (lab.out / "alpha.log").read_text()
    assert log.count("Traceback (most recent call last):") == 2
    assert 'cell {"index": 3}: Odd' in log
    assert lab.kept("alpha") == {0, 2, 4}


def test_ctrl_c_ends_the_processes_at_once_and_the_finished_cells_stay(lab: Lab) -> None:
    lab.add("alpha", pieces=6, seconds=0.5)
    with (lab.folder / "alpha.py").open("a") as source:
        source.write("\n\n_compute = compute\n\n\ndef compute(cell, key):\n")
        source.write("    rows = _compute(cell, key)\n    time.sleep(60 if cell['index'] >= 2 else 0)\n    return rows\n")
    process = lab.start("--executor", "process:2")
    wait_for(lambda: len(lab.kept("alpha")) == 2 and len(begun(lab)) == 4)
    workers = {worker for _, worker in begun(lab)}
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    code, _, err = finished(process)
    assert time.monotonic() - start < 20
    assert code == 130
    assert one_line(err, starts="interrupted; finished cells are kept")
    wait_for(lambda: not any(map(running, workers)))
    assert lab.kept("alpha") == {0, 1}


def test_an_experiment_that_takes_times_is_computed_here(lab: Lab) -> None:
    lab.add("alpha")
    with (lab.folder / "alpha.py").open("a") as source:
        source.write("\n\nALONE = True\n")
    assert lab.run("--executor", "process:2")[0] == 0
    assert {process for _, process in begun(lab)} == {os.getpid()}


# Any executor, and workers that do not have what the run has

FACTORY = """
import dataclasses
from concurrent.futures import Executor, Future, ThreadPoolExecutor


class Elsewhere(ThreadPoolExecutor):
    '''Workers of several threads on a machine where things are otherwise.'''

    def submit(self, fn, piece):
        return super().submit(fn, dataclasses.replace(piece, {change}))


not_an_executor = dict
"""


def elsewhere(lab: Lab, change: str) -> str:
    name = f"workers_{lab.package}_{abs(hash(change))}"
    (lab.home / f"{name}.py").write_text(FACTORY.replace("{change}", change))
    return f"{name}:Elsewhere"


def test_any_executor_will_do_and_one_cell_at_a_time_in_a_process(lab: Lab) -> None:
    lab.add("alpha", pieces=4, seconds=0.1)
    assert lab.run("--executor", "concurrent.futures:ThreadPoolExecutor")[0] == 0
    assert sorted(lab.computed()) == [0, 1, 2, 3]
    assert lab.csv("alpha") == serial(lab)


def test_a_worker_that_does_not_see_the_folder_sends_its_rows_and_writes_nothing(lab: Lab) -> None:
    lab.add("alpha")
    spec = elsewhere(lab, f"folder={str(lab.home / 'not shared')!r}")
    assert lab.run("--executor", spec)[0] == 0
    assert not (lab.home / "not shared").exists()
    assert lab.kept("alpha") == {0, 1, 2}
    assert sorted(lab.computed()) == [0, 1, 2]
    assert lab.run("--executor", spec)[0] == 0
    assert lab.computed() == []
    assert lab.csv("alpha") == serial(lab)


OTHER = """
import dataclasses
from concurrent.futures import ThreadPoolExecutor


class Elsewhere(ThreadPoolExecutor):
    def submit(self, fn, piece):
        def there(piece):
            done = fn(dataclasses.replace(piece, folder="not shared"))
            return dataclasses.replace(done, determinants={**done.determinants, "device": ["another"]})

        return super().submit(there, piece)
"""


def test_cells_of_workers_on_another_device_are_found_again(lab: Lab) -> None:
    lab.add("alpha")
    name = f"others_{lab.package}"
    (lab.home / f"{name}.py").write_text(OTHER)
    for computed in ([0, 1, 2], []):
        assert lab.run("--executor", f"{name}:Elsewhere")[0] == 0
        assert sorted(lab.computed()) == computed
        assert ["another"] in lab.record("alpha")["cells_computed_on"]
    assert lab.run()[0] == 0
    assert lab.computed() == [0, 1, 2]  # here, of which nothing was kept


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("code={**piece.code, 'library': 'old'}, commit='0ld'", "at commit 0ld, got theory_lab .*; different: library "),
        ("code={**piece.code, 'source': 'old'}", "different: source "),
        ("code={**piece.code, 'versions': {**piece.code['versions'], 'jax': '0.1'}}", "different: jax .*, not 0.1 "),
        ("places=(('data', '/no/such/data'),)", "must see the files of the run, cannot read /no/such/data"),
    ],
)
def test_a_worker_that_has_other_code_or_data_is_refused_with_both_named(lab: Lab, change: str, message: str) -> None:
    lab.add("alpha")
    code, _, err = lab.run("--executor", elsewhere(lab, change))
    assert code == 1
    assert one_line(err, starts=f"stopped with worker on {os.uname().nodename} must ")
    assert re.search(message, err)
    assert lab.computed() == []


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("builtins:dict", "executor builtins:dict must make a concurrent.futures.Executor, got {}"),
        ("builtins:open", "executor builtins:open cannot be made: TypeError: "),
    ],
)
def test_what_makes_no_executor_is_one_line_and_code_two(lab: Lab, spec: str, message: str) -> None:
    lab.add("alpha")
    code, _, err = lab.run("--executor", spec)
    assert code == 2
    assert one_line(err, starts=message)


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "process",
        "process:x",
        "dask",
        "dask:",
        "mpi:0",
        "mpi:",
        "slurm:partition",
        "slurm:",
        "slurm:jobs=1,jobs=2",
        "no.such:thing",
        "os:nothing",
        ":x",
    ],
)
def test_what_is_no_executor_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match=r"executor must be one of serial, process:N, .*, got "):
        _executors.check(spec)


@pytest.mark.parametrize(
    ("spec", "module", "extra"),
    [("dask:tcp://h:1", "distributed", "dask"), ("slurm", "submitit", "slurm"), ("mpi", "mpi4py.futures", "mpi")],
)
def test_what_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, spec: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    needs = rf"{module.partition('.')[0]}, which is not installed here: pip install 'theory_lab\[{extra}\]'"
    with pytest.raises(ValueError, match=f"executor {extra} needs {needs}"):
        _executors.check(spec)


# dask


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


# MPI


def test_mpi_gives_the_same_bytes(lab: Lab) -> None:
    launcher = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(launcher) if launcher.exists() else shutil.which("mpiexec")
    if mpiexec is None:
        pytest.skip("no MPI here")
    needs("mpi4py")
    lab.add("alpha", pieces=4)
    (lab.home / "start.py").write_text(
        "import sys\nfrom experiments.__main__ import main\n\n"
        "if __name__ == '__main__':\n    sys.exit(main(sys.argv[2:], package=sys.argv[1]))\n"
    )
    as_root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    on_few_cores = {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
    path = f"{ROOT}{os.pathsep}{lab.home}"
    command = [mpiexec, "-n", "3", sys.executable, "-m", "mpi4py.futures", "start.py", lab.package]
    done = subprocess.run(
        [*command, "--executor", "mpi", "--out", str(lab.out)],
        env={**os.environ, **as_root, **on_few_cores, "PYTHONPATH": path},
        cwd=lab.home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len({process for _, process in begun(lab)}) == 2
    assert sorted(lab.computed()) == [0, 1, 2, 3]
    assert lab.csv("alpha") == serial(lab)
