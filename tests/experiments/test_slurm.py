"""Jobs of Slurm: of a stand-in for its commands, and of submitit's own on this machine."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from experiments import _slurm
from tests.experiments import fake_slurm
from tests.experiments.lab import ROOT, Lab, finished, one_line, running, wait_for
from tests.experiments.test_executors import begun, needs, serial

ONCE = "\n    if cell['index'] == 1 and not os.path.exists('once'):\n        open('once', 'w').close()\n        "
CANCELLED = ONCE + "os.system('scancel ' + os.path.basename(os.environ['JOB_STATE'])); time.sleep(60)"
TOO_LONG = "open(os.environ['JOB_STATE'], 'w').write('TIMEOUT'); os.kill(os.getpid(), 9)"


@pytest.fixture
def cluster(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Slurm that answers at once; yields the folder of its jobs. The run itself is in one of them."""
    needs("submitit")
    home = fake_slurm.install(lab.home / "commands")
    monkeypatch.setenv("FAKE_SLURM", str(home / "jobs"))
    monkeypatch.setenv("PATH", f"{home}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{lab.home}")
    for name, text in {"SLURM_JOB_ID": "70", "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "7"}.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(_slurm, "SECONDS", 0.1)
    monkeypatch.setattr(_slurm, "QUEUE", 0.5)
    return home / "jobs"


def test_a_cancelled_job_costs_its_cell_only_and_its_log_stays(lab: Lab, cluster: Path) -> None:
    lab.add("alpha", pieces=2, raising=CANCELLED)
    code, _, err = lab.run("--executor", "slurm:partition=any")
    assert (code, err) == (0, "")
    assert sorted(lab.computed()) == [0, 1, 1]
    assert sum(path.read_text() == "CANCELLED" for path in cluster.iterdir()) == 1
    assert lab.csv("alpha") == serial(lab)
    assert [path.name for path in (lab.out / "cells" / "slurm").rglob("1_1_*.err")] == ["1_1_0_log.err"]


def test_jobs_that_are_not_lost_leave_nothing(lab: Lab, cluster: Path) -> None:
    lab.add("alpha", pieces=1)
    before = {path.name for path in lab.home.iterdir()}
    assert lab.run("--executor", "slurm:jobs=1")[0] == 0
    assert not (lab.out / "cells" / "slurm").exists()
    assert {path.name for path in lab.home.iterdir()} - before <= {"out", "log"}
    assert not (cluster / "2").exists()
    assert os.environ["SLURM_JOB_ID"] == "70"


def test_a_job_that_runs_out_of_time_is_not_handed_out_again(lab: Lab, cluster: Path) -> None:
    lab.add("alpha", pieces=1, raising=TOO_LONG)
    code, _, err = lab.run("--executor", "slurm")
    assert code == 1
    assert one_line(
        err, starts="stopped with 1 of 1 cells: its worker was lost once (killed, out of memory, or cut off): job 1 "
    )
    assert "job 1 ran out of its time; slurm:timeout_min=MINUTES gives it more, in cell " in err
    assert lab.computed() == [0]


def test_jobs_without_a_log_ask_whether_the_cluster_sees_the_folder(lab: Lab, cluster: Path) -> None:
    lab.add("alpha", pieces=1)
    code, _, err = lab.run("--executor", "slurm:slurm_partition=blind")
    assert code == 1
    says = (
        "stopped with 1 of 1 cells: its worker was lost 3 times (killed, out of memory, or cut off): job 3 left no result "
    )
    assert one_line(err, starts=f"{says}(FAILED), nor a log in {lab.out / 'cells' / 'slurm'}")
    assert ", which the machines of the cluster must see, in cell " in err


def test_what_slurm_refuses_is_one_line(lab: Lab, cluster: Path) -> None:
    lab.add("alpha")
    code, _, err = lab.run("--executor", "slurm:partition=nosuch")
    assert code == 2
    assert one_line(err, starts="slurm takes no job: sbatch: error: invalid partition specified: nosuch")
    assert not (lab.out / "cells" / "slurm").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("no_such=1", "Unknown argument 'no_such' for executor 'slurm' "),
        ("timeout_min=x", 'Parameter "timeout_min" expected type '),
        ("cluster=nowhere", "AutoExecutor doesn't know any executor named nowhere"),
        ("jobs=0", "jobs must be a whole number, at least 1, got 0"),
        ("slurm_nodes=2", "slurm_nodes must be 1: a cell is one task, got 2"),
    ],
)
def test_settings_that_cannot_be_are_one_line(lab: Lab, cluster: Path, settings: str, message: str) -> None:
    lab.add("alpha")
    code, _, err = lab.run("--executor", f"slurm:{settings}")
    assert code == 2
    assert one_line(err, starts=f"slurm cannot be used with {settings}: {message}")


@pytest.mark.parametrize(("away", "code", "times"), [("..", 0, 2), ("....", 2, 1)])
def test_a_slurm_that_took_jobs_is_waited_for_if_it_goes_away(
    lab: Lab, cluster: Path, monkeypatch: pytest.MonkeyPatch, away: str, code: int, times: int
) -> None:
    """A cell is lost, and so often Slurm does not take its job."""
    monkeypatch.setattr(_slurm, "REFUSALS", 3)
    lost = CANCELLED.replace("== 1", "== 0").replace(
        "os.system", f"open({str(cluster / 'away')!r}, 'w').write('{away}'); os.system"
    )
    lab.add("alpha", pieces=1, raising=lost)
    found, _, err = lab.run("--executor", "slurm")
    assert found == code
    assert (
        err == ""
        if code == 0
        else one_line(err, starts="slurm takes no job: sbatch: error: Unable to contact slurm controller")
    )
    assert lab.computed() == [0] * times


def test_ctrl_c_cancels_the_jobs(lab: Lab, cluster: Path) -> None:
    lab.add("alpha", pieces=2, seconds=60)
    process = lab.start("--executor", "slurm")
    wait_for(lambda: len(begun(lab)) == 2)
    process.send_signal(signal.SIGINT)
    code, _, err = finished(process)
    assert code == 130
    assert one_line(err, starts="interrupted; finished cells are kept")
    wait_for(lambda: not any(running(worker) for _, worker in begun(lab)))
    assert not (lab.out / "cells" / "slurm").exists()


# submitit's jobs on this machine


def test_a_killed_job_costs_its_cell_only(lab: Lab) -> None:
    needs("submitit")
    lab.add("alpha", pieces=2, seconds=1.0)
    process = lab.start("--executor", "slurm:cluster=local,timeout_min=5")
    wait_for(lambda: len(begun(lab)) >= 1)
    lost, worker = begun(lab)[0]
    os.kill(worker, signal.SIGKILL)
    code, _, err = finished(process)
    assert (code, err) == (0, "")
    assert sorted(lab.computed()) == sorted([*range(2), lost])
    assert lab.csv("alpha") == serial(lab)


def test_slurm_where_there_is_none_is_one_line(lab: Lab) -> None:
    needs("submitit")
    if shutil.which("srun"):
        pytest.skip("there is a Slurm here")
    lab.add("alpha")
    code, _, err = lab.run("--executor", "slurm")
    assert code == 2
    assert one_line(err, starts="slurm cannot be used with no settings: ")
