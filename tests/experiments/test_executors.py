"""Other executors than this process: the same bytes, whatever is killed, and one line about whatever cannot be."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import _executors
from tests.experiments.lab import ROOT, Lab, finished, one_line, running, wait_for

DEADLY = "if cell['index'] == 1 and not os.path.exists('cured'): os.kill(os.getpid(), 9)"


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
