"""One direction: who may import whom, read off the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "theory_lab"
MODULES = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts): p for p in sorted(PACKAGE.rglob("*.py"))}

GROUND = {"_checks", "_files", "_options", "_trees", "_typing", "blocks", "constants", "devices"}
MAY_IMPORT = {  # room -> what it may import of the package, itself aside; a dotted name means that module alone
    "_checks": set(),
    "_files": set(),
    "_options": set(),
    "_trees": set(),
    "_typing": set(),
    "blocks": GROUND,
    "constants": GROUND,
    "devices": GROUND,
    "orderings": GROUND,
    "oracles": GROUND,
    "problems": GROUND,
    "theory": GROUND,
    "optimizer": GROUND,
    "models": GROUND | {"problems.base", "oracles.directions", "oracles.gaussian", "oracles.words"},
    "run": GROUND | {"orderings", "oracles.base", "problems.base"},
    "finetune": GROUND
    | {"orderings", "oracles.base", "oracles.directions", "problems.base", "models"}
    | {"run.loop", "run.clock", "run.progress", "run.frames", "run.store"},
    "measure": GROUND | {"problems.base", "oracles.base", "run.trace"},
    "claims": GROUND | {"theory", "measure"},
    "advise": GROUND | {"theory", "measure", "problems", "oracles", "optimizer"},
    "report": GROUND | {"claims.base", "advise.base"},
    "__main__": GROUND  # a command line stands above every room
    | {"advise", "problems", "orderings", "report", "theory"}
    | {"finetune", "models", "run.frames", "run.store", "measure.accuracy"},
}
ONLY = {"matplotlib": {"report"}, "sklearn": {"problems"}, "pandas": {"run", "measure", "report", "finetune", "advise"}}
NEVER_IN_THEORY = {"jax", "jaxlib", "optax", "pandas", "matplotlib", "sklearn"}


def room(module: str) -> str:
    if module.endswith(".__main__"):
        return "__main__"
    return module.split(".")[1] if "." in module else ""


def imports(tree: ast.Module) -> Iterator[str]:
    """Every module that is imported anywhere in a file, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if is_module(name) else node.module for name in named)


def is_module(name: str) -> bool:
    return name in MODULES or f"{name}.__init__" in MODULES


def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


modules = pytest.mark.parametrize("module", [name for name in MODULES if name != "theory_lab.__init__"])


@modules
def test_imports_go_one_way(module):
    here = room(module)
    assert here in MAY_IMPORT, "a new room needs its line in MAY_IMPORT"
    for name in imports(parsed(module)):
        if name.split(".")[0] != "theory_lab" or room(name) == here:
            continue
        inside = name.removeprefix("theory_lab.")
        allowed = {inside, room(name)} & MAY_IMPORT[here]
        assert allowed, f"{module} may not import {name}"


@modules
def test_outside_libraries_stay_in_their_rooms(module):
    here = room(module)
    for name in imports(parsed(module)):
        top = name.split(".")[0]
        assert here in ONLY.get(top, {here}), f"{module} may not import {top}"
        assert here != "theory" or top not in NEVER_IN_THEORY, f"{module} may not import {top}"
        assert top not in {"experiments", "tests"}, f"{module} may not import {top}"


def test_prediction_meets_measurement_in_claims_and_advise_only():
    for module in MODULES:
        if room(module) in {"claims", "advise", "__init__"}:
            continue
        met = {room(name) for name in imports(parsed(module)) if name.startswith("theory_lab.")}
        assert not {"theory", "measure"} <= met | {room(module)}, module
    assert {n for n in imports(parsed("theory_lab.claims.base")) if n.startswith("theory_lab")} <= {
        "theory_lab._checks",
        "theory_lab.measure.base",
    }


@modules
def test_importing_a_module_does_nothing_else(module):
    """No statement at the top of a module that is there for its effect, and no global configuration anywhere."""
    tree = parsed(module)
    for node in tree.body:
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"{module}:{node.lineno} runs on import"
        assert not isinstance(node, (ast.For, ast.While, ast.With, ast.Delete, ast.AugAssign)), f"{module}:{node.lineno}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            forbidden = (
                "config.update",
                "random.seed",
                "filterwarnings",
                "simplefilter",
                "matplotlib.use",
                "environ.setdefault",
            )
            assert not called.endswith(forbidden), f"{module}:{node.lineno} calls {called}"
            unseen = ("import_module", "__import__", "resolve_name")  # imports that the other tests do not see
            assert not called.endswith(unseen), f"{module}:{node.lineno} calls {called}"
        if isinstance(node, ast.Assign):
            assert not any("environ" in ast.unparse(target) for target in node.targets), f"{module}:{node.lineno}"


@modules
def test_a_number_that_was_checked_is_what_is_computed_with(module):
    """A check lets Fraction, Decimal and NumPy's scalars pass and returns a float; who drops that computes with them."""
    checks = {f"_checks.{name}" for name in ("real", "number", "positive", "nonnegative", "between", "count_or_inf")}
    for node in ast.walk(parsed(module)):
        parts = getattr(node.value, "elts", [node.value]) if isinstance(node, ast.Expr) else []
        for call in (part for part in parts if isinstance(part, ast.Call) and ast.unparse(part.func) in checks):
            told, given = ast.unparse(call.args[0]).strip("'"), ast.unparse(call.args[1]).removeprefix("self.")
            assert told != given, f"{module}:{call.lineno} drops {given}"


def test_importing_the_package_is_silent_and_leaves_jax_alone():
    program = """
import sys, jax
before = dict(jax.config.values)
import theory_lab
assert dict(jax.config.values) == before
heavy = {"matplotlib", "sklearn", "tqdm", "experiments"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
