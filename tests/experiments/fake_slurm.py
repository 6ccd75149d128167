"""A stand-in for Slurm's commands: jobs are process groups here, and a folder says what became of them.

Two partitions are odd: Slurm does not know "nosuch", and no machine of "blind" sees the folder of the run. As many times as
the file `away` of that folder has letters no job is taken.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "squeue", "scancel", "srun")


def install(home: Path) -> Path:
    """Put the commands into a folder, for PATH; returns it. The jobs' states are in its folder `jobs`."""
    (home / "jobs").mkdir(parents=True)
    for name in COMMANDS:
        path = home / name
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(__file__)} {name} "$@"\n')
        path.chmod(0o755)
    return home


def sbatch(jobs: Path, script: str) -> str:
    text = Path(script).read_text()
    if "--partition=nosuch" in text:
        sys.exit("sbatch: error: invalid partition specified: nosuch")
    away = jobs / "away"
    if away.exists() and (left := away.read_text()):
        away.write_text(left[1:])
        sys.exit("sbatch: error: Unable to contact slurm controller")
    job = str(len(list(jobs.glob("*"))) + 1)
    last = re.search(r"--array=0-(\d+)", text)
    for task in range(int(last[1]) + 1) if last else [None]:
        name = job if task is None else f"{job}_{task}"
        array = {} if task is None else {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": str(task)}
        environment = {**os.environ, **array, "SLURM_JOB_ID": job, "SLURM_PROCID": "0", "JOB_STATE": str(jobs / name)}
        (jobs / name).write_text("RUNNING")
        if "--partition=blind" in text:
            (jobs / name).write_text("FAILED")
            continue
        ends = f'bash {shlex.quote(script)} || test "$(cat $JOB_STATE)" != RUNNING || echo FAILED > $JOB_STATE'
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(
            ["bash", "-c", ends], env=environment, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
        )
        (jobs / f"{name}.group").write_text(str(process.pid))
    return f"Submitted batch job {job}"


def srun(jobs: Path, *arguments: str) -> None:
    values = [*arguments]
    while values[0].startswith("--"):
        option = values.pop(0)
        if option in ("--output", "--error"):
            job = os.environ["SLURM_JOB_ID"]
            path = values.pop(0).replace("%A", job).replace("%j", job).replace("%t", "0")
            path = path.replace("%a", os.environ.get("SLURM_ARRAY_TASK_ID", ""))
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1 if option == "--output" else 2)
    os.execvp(values[0], values)


def squeue(jobs: Path, *_: str) -> str:
    return "\n".join(f"{path.name} {path.read_text().strip()}" for path in jobs.glob("[0-9]*") if not path.suffix)


def scancel(jobs: Path, *names: str) -> None:
    for name in names:
        (jobs / name).write_text("CANCELLED")
        os.killpg(int((jobs / f"{name}.group").read_text()), signal.SIGTERM)


if __name__ == "__main__":
    print(globals()[sys.argv[1]](Path(os.environ["FAKE_SLURM"]), *sys.argv[2:]) or "")
