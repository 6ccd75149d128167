"""The cells of `smoothness_estimation` on traces, spectral moments and margins, as rows."""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import _rows, _spectra
from theory_lab.measure import Measurement, family, mean, rate, smoothness
from theory_lab.measure.smoothness import lanczos

LEVELS = (0.9, 0.99)  # stated probabilities
D, TRACED = 200, 1024  # dimensions: where it does not vary, and of traces
POWERS = {"flat": 0.5, "1/j": 1.0, "1/j²": 2.0}  # spectra, and the powers of the products at which Hutch++ errs
MARGINS = (-0.5, -0.2, -0.1, -0.05, -0.02, 0.02, 0.05, 0.1, 0.2, 0.5)
ANSWERS = ("violated", "undecided", "certified")
TOGETHER = 100  # keys that are made at a time
FEW, MANY = 12, 32  # probes, at most and at least, of Student's intervals that are judged
MOMENTS = (0.0, 1 / 3, 0.0, 1 / 9)  # of the two-node Gauss rule for the uniform density on [-1, 1]


def keys(key: jax.Array, count: int) -> Iterator[jax.Array]:
    """So many keys folded from one, some at a time: what is compiled for one number of them serves every other."""
    made = itertools.chain.from_iterable(_folded(key, first) for first in range(0, count, TOGETHER))
    return itertools.islice(made, count)


@jax.jit
def _folded(key: jax.Array, first: int) -> jax.Array:
    return jax.vmap(lambda i: jax.random.fold_in(key, first + i))(jnp.arange(TOGETHER))


def probes(what: str, products: float) -> float:
    """How many of the products, multiples of three, sample a trace: a third of Hutch++'s, all of Hutchinson's."""
    return products / 3 if what.startswith("Hutch++") else products


def least_covered(frame: pd.DataFrame, *, few: bool, methods: tuple[str, ...] = ("Hutch++", "Hutchinson")) -> Measurement:
    """The least share of intervals that hold over methods and spectra, with few probes or with many."""
    rows = frame[frame.what.isin([f"{method} covered" for method in methods])]
    counts = np.array([probes(*row) for row in zip(rows.what, rows.products, strict=True)])
    return family.smallest("share", _rows.measurements(rows[counts <= FEW if few else counts >= MANY]))


def share(good: np.ndarray) -> dict[str, Any]:
    return _rows.row(rate.proportion(int(good.sum()), good.size))


def spread(errors: np.ndarray) -> dict[str, Any]:
    """The median over starts, from 5% to 95% of them."""
    low, value, high = np.quantile(errors, (0.05, 0.5, 0.95))
    return {"value": value, "low": low, "high": high, "samples": errors.size}


def trace(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """Squared errors, and how often 90% intervals hold."""
    power = 0.0 if cell["case"] == "flat" else POWERS[cell["case"]]
    values = np.arange(1.0, TRACED + 1) ** -power * np.resize([1, -1 if power == 0 else 1], TRACED)
    point, args, m = {"x": jnp.zeros(TRACED)}, (jnp.asarray(values),), cell["products"]
    repeats = round(cell["repeats"] * np.sqrt(96 / m))  # few products err by more, and cost less
    found = [
        smoothness.trace(
            _spectra.waves, point, key=one, products=m, deflation=None if cell["deflated"] else 0, confidence=LEVELS[0],
            args=args,
        )
        for one in keys(key, repeats)
    ]  # fmt: skip
    truth, frobenius = values.sum(), float(np.sum(values**2))
    square = mean("", [(estimate.value - truth) ** 2 / frobenius for estimate in found], confidence=0.999)
    covered = np.array([estimate.low <= truth <= estimate.high for estimate in found])
    plain = 2 * (1 - float(np.sum(_spectra.waves_diagonal(values) ** 2)) / frobenius) / m  # of Hutchinson
    name = "Hutch++" if cell["deflated"] else "Hutchinson"
    at = {"case": cell["case"], "size": TRACED, "products": m, "predicted": plain}
    return [
        {"what": name, **at, **_rows.row(square)},
        {"what": f"{name} covered", **at, "probability": LEVELS[0], **share(covered)},
    ]


def moments(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """Moments 1 to 4 of the uniform density on [-1, 1] from two nodes a start."""
    hessian = _spectra.pairs(_spectra.listed("uniform", TRACED)).hessian
    density = smoothness.spectral_density(
        hessian.fn, hessian.params, key=key, iterations=2, starts=cell["starts"], args=hessian.args
    )
    assert not density.note  # quadratics are finite
    found = [density.average(partial(_power, p), confidence=0.999) for p in (1, 2, 3, 4)]
    return [
        {"what": "moment", "case": str(p + 1), "products": 2, **_rows.row(m), "predicted": MOMENTS[p]}
        for p, m in enumerate(found)
    ]


def _power(p: int, nodes: np.ndarray) -> np.ndarray:
    return nodes**p


def margin(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """How margins are judged, and whether rightly: no wrong answer, and none missing beyond the reach of both laws."""
    instance, k = _spectra.pairs(_spectra.listed("isolated", D)), cell["products"]
    hessian, rows = instance.hessian, []
    late = np.sinh(np.arccosh(1 / lanczos.least_overlap(D, LEVELS[1])) / (2 * (k - 1))) ** 2
    early = lanczos.relative_error(D, k, probability=LEVELS[1])
    for i, true in enumerate(MARGINS):
        scale = instance.high / (1 - true)  # of D = scale I; the spectrum of D^-1/2 H D^-1/2 has width 1 - true
        found = [
            smoothness.margin(
                hessian.fn, hessian.params, {"x": scale, "y": scale}, key=one, iterations=k, probability=LEVELS[1],
                args=hessian.args,
            ).one_sided
            for one in keys(jax.random.fold_in(key, i), cell["starts"])
        ]  # fmt: skip
        right = "certified" if true > 0 else "violated"
        due = true >= late * (1 - true) if true > 0 else -true >= early * (1 - true)
        good = np.array([one == right or (one == "undecided" and not due) for one in found])
        at = {"products": k, "size": true, "predicted": float(due)}
        rows += [{"what": one, **at, **share(np.array([f == one for f in found]))} for one in ANSWERS]
        rows.append({"what": "judged rightly", **at, **share(good)})
    return rows
