"""Advice on the command line: python -m theory_lab.advise FILE.py:NAME, or the name of a built-in problem.

NAME is a Problem, a function without arguments that returns one, or a tuple (loss, data, params) as `finite_sum` takes it.
Numbers are float32 unless JAX_ENABLE_X64=1 is set.
"""

import argparse
import inspect
import json
import math
import runpy
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from theory_lab import _checks
from theory_lab._options import Parser
from theory_lab.advise.advising import advise
from theory_lab.advise.base import Advice
from theory_lab.problems import block_quadratic, cosine, finite_sum, geman_mcclure, logistic, matrix_factorisation
from theory_lab.problems.base import Problem
from theory_lab.problems.data import breast_cancer, standardise
from theory_lab.report.advice import draw
from theory_lab.report.figures import png
from theory_lab.theory.moments import LAWS
from theory_lab.theory.reshuffling import ORDERINGS

SIZES = {"x": 40, "y": 10}


def real_data() -> Problem:
    """Logistic regression on scikit-learn's breast cancer data, half of the columns in either block."""
    features, targets = breast_cancer()
    columns = {"x": list(range(0, features.shape[1], 2)), "y": list(range(1, features.shape[1], 2))}
    return logistic(standardise(features), targets, columns=columns, l2=1e-2)


BUILT_IN: dict[str, Callable[[], Problem]] = {
    "quadratic": lambda: block_quadratic(SIZES, n=20, smoothness={"x": 1.0, "y": 4.0}, dispersion=1.0),
    "coupled": lambda: block_quadratic(SIZES, n=20, spectrum=("power", 1.0), coupling=0.7, rotated=True, dispersion=0.1),
    "cosine": lambda: cosine(SIZES, n=20),
    "robust": lambda: geman_mcclure(SIZES, n=200),
    "factorisation": lambda: matrix_factorisation(8, 6, 2, n=20, dispersion=0.1),
    "breast_cancer": real_data,
}


def named(name: str) -> Problem:
    """The problem of a command line.

    Raises:
        ValueError: a name that is neither built in nor FILE.py:NAME, no such file, one that stops with an error, or what is
            no problem there.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]()
    path, _, inside = name.rpartition(":")
    if not path.endswith(".py") or not inside:
        raise ValueError(f"PROBLEM must be FILE.py:NAME or one of {', '.join(BUILT_IN)}, got {name!r}")
    if not Path(path).is_file():
        raise ValueError(f"PROBLEM must be in a file that exists, got {path!r}")
    defined = _run(path, lambda: runpy.run_path(path))
    if inside not in defined:
        raise ValueError(f"PROBLEM must be a name that {path} defines, got {inside!r}")
    found = defined[inside]
    rule = "a Problem, a function without arguments that returns one, or (loss, data, params)"
    if isinstance(found, tuple) and len(found) == 3:
        return _run(path, lambda: finite_sum(*found))
    if callable(found) and not isinstance(found, Problem):
        try:
            inspect.signature(found).bind()
        except TypeError as error:
            raise ValueError(f"{inside} of {path} must be {rule}, got a function with {error}") from None
        found = _run(path, found)
    if not isinstance(found, Problem):
        raise ValueError(f"{inside} of {path} must be {rule}, got {type(found).__name__}")
    return found


def _run(path: str, call: Callable[[], Any]) -> Any:
    """What a user's file gives; an error of its own, however it stops, is told in a line."""
    try:
        return call()
    except (Exception, SystemExit) as error:
        told = isinstance(error, (ValueError, ImportError, OSError))  # as this library and the system tell them
        if told and not isinstance(error, ModuleNotFoundError):
            raise
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{path} must run without an error, got {what}{f', line {line}' if line else ''}") from error


def as_json(advice: Advice) -> str:
    """The advice as JSON: what is not finite is a word."""
    number = lambda v: v if not isinstance(v, float) or math.isfinite(v) else str(v)
    told = {
        "step_sizes": {label: number(v) for label, v in advice.step_sizes.items()},
        "limits": {
            label: {k: number(getattr(m, k)) for k in ("value", "low", "high")} for label, m in advice.limits.items()
        },
        **{k: number(getattr(advice, k)) for k in ("steps", "accuracy", "radius", "directions", "law", "sided")},
        **{k: getattr(advice, k) for k in ("ordering", "batch_size", "zeroth", "spent")},
        "cost": advice.cost._asdict(),
        "guaranteed": {name: dict(values) for name, values in advice.guaranteed.items()},
        "reasons": [{k: number(v) for k, v in vars(reason).items()} for reason in advice.reasons],
    }
    return json.dumps(told, indent=2, sort_keys=True, allow_nan=False) + "\n"


def steps(text: str) -> float:
    """A number of steps; inf is for ever."""
    return math.inf if text == "inf" else int(text)


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = Parser("python -m theory_lab.advise", description="Step sizes for a problem, each with its reason.")
    told = "FILE.py:NAME, a Problem, a function that returns one or a tuple (loss, data, params)"
    made.add_argument("problem", metavar="PROBLEM", help=f"{told}; or one of {', '.join(BUILT_IN)}")
    made.add_argument("--accuracy", type=float, help="target for (E||grad f||^2)^1/2; by default a tenth of the start's")
    made.add_argument("--zeroth", help="labels of the zeroth-order blocks, with commas between; 'none' is none")
    made.add_argument("--directions", type=int, default=1, help="random directions of an estimate (default: 1)")
    made.add_argument("--law", choices=LAWS, default="gaussian", help="of the directions (default: gaussian)")
    made.add_argument("--sided", type=int, choices=(1, 2), default=1, help="differences to one side or to both (default: 1)")
    made.add_argument(
        "--ordering", choices=ORDERINGS, default="random_reshuffling", help="of the components (default: random_reshuffling)"
    )
    made.add_argument("--batch-size", type=int, default=1, help="components per step (default: 1)")
    told = "steps that limits must hold for, as the length of training (default: for ever where curvature is definite)"
    made.add_argument("--horizon", type=steps, help=told)
    made.add_argument("--seed", type=int, default=0, help="of all randomness (default: 0)")
    made.add_argument("--figure", type=Path, help="write a PNG here: a name that ends in .png")
    made.add_argument("--json", type=Path, help="write the advice as JSON here")
    return made


def _writable(figure: Path | None, told: Path | None) -> None:
    """Refuse where nothing can be written, before anything is computed."""
    if figure is not None and figure.suffix.lower() != ".png":
        raise ValueError(f"--figure must be a name that ends in .png, got {str(figure)!r}")
    for option, path in (("--figure", figure), ("--json", told)):
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            raise ValueError(f"{option} must be a file in a folder that exists, got {str(path)!r}")
        if path is not None:
            _checks.writable(option, path.parent)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the advice; 2 and one line of what is wrong where there is none."""
    given = parser().parse_args(arguments)
    options: dict[str, Any] = {
        k: getattr(given, k) for k in ("accuracy", "directions", "law", "sided", "ordering", "batch_size", "horizon")
    }
    if given.zeroth is not None:
        options["zeroth"] = () if given.zeroth == "none" else tuple(given.zeroth.split(","))
    try:
        _checks.seed("--seed", given.seed)
        _writable(given.figure, given.json)
        advice = advise(named(given.problem), key=jax.random.key(given.seed), **options)
        if given.figure is not None:
            given.figure.write_bytes(png(draw(advice)))
        if given.json is not None:
            given.json.write_text(as_json(advice))
    except (ValueError, OSError, ImportError) as error:
        told = _checks.as_option(error, {name: f"--{name.replace('_', '-')}" for name in (*options, "zeroth")})
        told = told.replace("() for none", "'none' for none")  # as it is spelled here
        print(f"error: {told.splitlines()[0]}", file=sys.stderr)
        return 2
    print(advice)
    return 0


if __name__ == "__main__":
    sys.exit(main())
