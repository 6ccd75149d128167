"""`python -m experiments [NAME ...]`: run experiments, judge their claims, draw their figures, write the report.

Exit code: 0 if no outcome contradicts its claim's expectation; 1 if one does or an experiment stopped with an error; 2 for
bad usage and for results that cannot be written; 130 after Ctrl-C.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from experiments import _cells, _executors, _settings
from experiments._conduct import Request, conduct, question
from theory_lab import _checks

OPTIONS = {name: f"--{name}" for name in ("seed", "data", "out", "profile", "executor")}
OUT = {"quick": "results", "full": "figures", "gpu": "figures/gpu"}


def main(arguments: Sequence[str] | None = None, *, package: str = "experiments") -> int:
    """The command line.

    Args:
        arguments: as the shell gives them; those of this process by default.
        package: the importable package whose modules are the experiments.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    jax.config.update("jax_enable_x64", True)
    _cells.forget()
    try:
        request = _request(arguments, package)
    except ValueError as error:
        print(_checks.as_option(error, OPTIONS), file=sys.stderr)
        return 2
    if request.listing:
        width = max(map(len, request.names), default=0)
        for name in request.names:
            print(f"{name.ljust(width)}  {question(package, name)}")
        return 0
    try:
        return conduct(request)
    except KeyboardInterrupt:
        print(f"\ninterrupted; finished cells are kept in {request.out / 'cells'} and not computed again", file=sys.stderr)
        return 130
    except OSError as error:
        print(error, file=sys.stderr)
        return 2


def _request(arguments: Sequence[str] | None, package: str) -> Request:
    """Parse and check the arguments.

    Raises:
        ValueError: an unknown experiment, a seed out of range, data that are not there or that no chosen experiment reads,
            a setting that a chosen experiment does not have or that is not of its type, an option that --redraw would
            ignore.
    """
    parser = argparse.ArgumentParser(prog="python -m experiments", description="Run experiments and judge their claims.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments to run; all by default")
    parser.add_argument(
        "--profile",
        choices=sorted(OUT, reverse=True),
        default="quick",
        help="how long to compute, or on a GPU (default: quick)",
    )
    parser.add_argument("--redraw", action="store_true", help="judge and draw anew from the csv files, without computing")
    parser.add_argument("--seed", type=int, help="the seed that all randomness follows from (default: 0)")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help=f"where results go (default: {OUT['quick']}/; {OUT['full']}/ for the full profile without --set)",
    )
    parser.add_argument("--data", metavar="PATH", help="a file or folder of yours, for the experiments that read one")
    parser.add_argument(
        "--set",
        metavar="FIELD=VALUE",
        action="append",
        dest="changes",
        help="another value of one of the settings, as in base=/models/opt-125m or ranks=1,8 (tuples of tuples: JSON)",
    )
    parser.add_argument(
        "--executor",
        metavar="SPEC",
        help="serial (default); process:N: N cells at once; experiments:N: N experiments at once; dask:ADDRESS, slurm, "
        "mpi: cells on other machines; MODULE:FACTORY: any other executor",
    )
    parser.add_argument("--list", action="store_true", dest="listing", help="name all experiments and their questions")
    given = parser.parse_args(arguments)

    for option, value in {**{n: getattr(given, n) for n in ("seed", "data", "executor")}, "--set": given.changes}.items():
        if given.redraw and value is not None:
            raise _checks.refuse(option, "left out with --redraw, which computes nothing", value)
    seed, executor = 0 if given.seed is None else given.seed, "serial" if given.executor is None else given.executor
    known = _cells.names(package)
    for name in given.names:
        _checks.choice("experiment", name, known)
    if not 0 <= seed < _cells.SEEDS:
        raise _checks.refuse("seed", f"a whole number from 0 to {_cells.SEEDS - 1}", seed)
    _executors.check(executor)
    data = None
    if given.data is not None:
        if not Path(given.data).exists():
            raise _checks.refuse("data", "an existing file or folder", given.data)
        data = str(Path(given.data).resolve())
    changes = _settings.pairs(given.changes or [])
    profile = "quick" if changes else given.profile
    out = Path(OUT[profile] if given.out is None else _checks.text("out", given.out))
    able = [name for name in known if given.profile != "gpu" or _cells.has_gpu_settings(package, name)]
    for name in given.names:
        if name not in able:
            raise _checks.refuse("profile", f"'quick' or 'full' for {name}, which has no settings for a GPU", given.profile)
    names = tuple(name for name in able if name in given.names or not given.names)
    if data is not None and not any(_cells.reads_data(package, name) for name in names):
        raise _checks.refuse("data", f"left out where no experiment reads it, as in {', '.join(names)}", given.data)
    for name in names if changes else ():
        if (settings := _cells.settings(package, name, given.profile)) is not None:
            _settings.changed(name, settings, changes)
    if given.redraw:
        drawn = tuple(name for name in names if (out / f"{name}.csv").is_file() and (out / f"{name}.json").is_file())
        missing = [name for name in names if name not in drawn]
        if missing and (given.names or not drawn):
            raise ValueError(f"--redraw needs the csv and json of {', '.join(missing)} in {out}; run without --redraw first")
        names = drawn
    readme = Path("README.md") if profile == "full" and given.out is None else None
    return Request(package, names, given.profile, given.redraw, seed, out, executor, data, changes, given.listing, readme)


if __name__ == "__main__":
    sys.exit(main())
