"""Draft."""

from typing import Any

import jax
import numpy as np
import pandas as pd

from experiments import _families
from experiments._brute_force import Bench
from experiments._rows import row


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    family, problem = _families.family(cell["case"], cell["rows"])
    import time
    t=[time.time()]
    bench = Bench(family, problem, key, cell["search"], cell["runs"], cell["confidence"])
    advice = bench.advice(); t.append(time.time())
    advised = (float(advice.step_sizes["x"]), float(advice.step_sizes["y"]))
    best = bench.best(); t.append(time.time())
    rows=[]
    for what, m in bench.compare(best.step_sizes, advised, advice.oracle()).items():
        pair = best.step_sizes if what == "best" else advised
        rows.append({"what": what, "label": "", **row(m), "predicted": {"best": best.steps, "advised": advice.steps, "ratio": 1}[what], "ex": pair[0], "ey": pair[1]})
        if what=="best" and best.note: rows[-1]["note"] += " "+best.note
    t.append(time.time())
    if family.limits:
        for b, m in bench.limits(advised).items():
            rows.append({"what": "limit", "label": b, **row(m), "predicted": advice.limits[b].value, "ex": advised[0], "ey": advised[1]})
    t.append(time.time())
    from theory_lab.problems.quadratic import BlockQuadratic
    if not isinstance(problem, BlockQuadratic):
        for b, m in bench.edges(best.step_sizes, advised).items():
            rows.append({"what": "edge", "label": b, **row(m), "predicted": advice.limits[b].value, "ex": advised[0], "ey": advised[1]})
    t.append(time.time())
    print("   times advise/search/eval/limits/edges", np.diff(t).round(2))
    return pd.DataFrame([{"case": cell["case"], **r} for r in rows])
