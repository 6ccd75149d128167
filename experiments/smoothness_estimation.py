"""What do Hessian-vector products tell of a Hessian, and are the stated errors honest?

Estimates are held against exact constants over spectra, coupling, dimension, conditioning and precision, indefinite ones
included; errors against products spent. Lanczos from a random start whose overlap with both end vectors is at least q
promises three things: Ritz values no farther inside than the a-priori law; outer ends that hold with the stated
probability, at all numbers of products at once; and outer ends that are near (the law and its proof: `_spectra.outer`).
Three distinct eigenvalues and two products leave no slack: there an outer end fails as often as it may, and a small
residual certifies nothing.

Traces: the variance of Hutchinson's estimate is 2(|A|_F^2 - sum a_ii^2) over the probes. Hutch++ spends a third of the
products on what is large, so its error falls like m^-p on the spectrum j^-p, and like m^-1/2 on a flat one.

Refuted by: coverage below its level, an error beyond its law, an exponent off by 1/4. Minutes: quick 0.4, full 2.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import linalg

from experiments import _estimation_panels as panels
from experiments import _rows, _spectra
from experiments._estimation_rows import (
    FEW,
    LEVELS,
    MANY,
    POWERS,
    TRACED,
    D,
    keys,
    least_covered,
    margin,
    moments,
    share,
    spread,
    trace,
)
from theory_lab.claims import Verdict, claim
from theory_lab.measure import Measurement, family, rate
from theory_lab.measure.smoothness import lanczos
from theory_lab.report import figures

SKEWED = "1/j²"  # the spectrum of which one eigenvalue dominates most
PRODUCTS = (2, 3, 4, 6, 8, 12, 16, 24, 32)
LENGTH = 36  # runs until the ends are known are multiples of it
OUTER = (4, 8, 16)  # products after which outer ends are found
KINDS = ("isolated", "uniform", "log-uniform", "geometric")
COLUMNS = ["what", "case", "precision", "coupling", "size", "products", "probability", "value", "low", "high", "samples"]
COLUMNS += ["note", "predicted"]
OUTSIDE, INSIDE = "theory_lab, ends of a spectrum", "theory_lab, error of Lanczos"
TRACE, HUTCHPP = "theory_lab, trace by probes", "Meyer, Musco, Musco, Woodruff 2021"
QUADRATURE = "theory_lab, spectral density by quadrature"


@dataclass(frozen=True)
class Settings:
    """The effort.

    Attributes:
        couplings, starts: of every spectrum, in either precision.
        sharp: starts of the case without slack.
        traced, repeats: products of traces, and how often each is estimated.
        judged, trials: products of margins, and starts of each.
        dimensions: where products until 1% are counted.
        conditions: condition numbers where products until 10% of the lowest eigenvalue are counted.
        counted: starts there.
    """

    couplings: tuple[float, ...]
    starts: int
    sharp: int
    traced: tuple[int, ...]
    repeats: int
    judged: tuple[int, ...]
    trials: int
    dimensions: tuple[int, ...]
    conditions: tuple[int, ...]
    counted: int


QUICK = Settings((0.0, 0.9), 80, 1600, (12, 96), 200, (6, 24), 30, (100, 1000), (4, 64), 50)
FULL = Settings((0.0, 0.5, 0.9), 400, 8000, (12, 24, 48, 96), 2000, (6, 12, 24), 200, (100, 1000, 10**4), (4, 16, 64), 400)


def cells(settings: Settings) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for kind in KINDS:
        for coupling in settings.couplings:
            at = {"case": kind, "coupling": coupling, "starts": settings.starts}
            made += [{"what": "ends", **at, "precision": precision} for precision in ("float64", "float32")]
    made += [{"what": "sharp", "starts": settings.sharp}, {"what": "moments", "starts": settings.repeats}]
    for case in POWERS:
        at = {"what": "trace", "case": case, "repeats": settings.repeats}
        few = (6,) if case == SKEWED else ()  # products where Student's interval is at its worst
        made += [{**at, "products": m, "deflated": deflated} for m in (*few, *settings.traced) for deflated in (True, False)]
    made += [{"what": "margin", "products": k, "starts": settings.trials} for k in settings.judged]
    made += [{"what": "dimension", "size": d, "starts": settings.counted} for d in settings.dimensions]
    return made + [{"what": "condition", "size": c, "starts": settings.counted} for c in settings.conditions]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Rows with `COLUMNS`; `predicted` is the law where there is one."""
    parts = {
        "ends": _ends, "sharp": _sharp, "trace": trace, "moments": moments, "margin": margin, "dimension": _dimension,
        "condition": _condition,
    }  # fmt: skip
    defaults = {"case": "", "precision": "", "samples": 1, "note": ""}
    return pd.DataFrame([{**defaults, **row} for row in parts[cell["what"]](cell, key)]).reindex(columns=COLUMNS)


def _ends(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """Errors inside and outside in units of the width, their medians and 5% to 95%, and which promises were kept."""
    instance = _spectra.pairs(_spectra.listed(cell["case"], D), coupling=cell["coupling"], precision=cell["precision"])
    width, overlaps = instance.high - instance.low, [lanczos.least_overlap(D, p) for p in LEVELS]
    runs = list(_runs(instance, PRODUCTS[-1], key, cell["starts"]))
    inner = np.array([[_spectra.inner_errors(instance, run, k).max() / width for k in PRODUCTS] for run in runs])
    found = [[[_spectra.outer(run, k, q) for k in OUTER] for q in overlaps] for run in runs]
    beyond = np.array([[[min(instance.low - o.low, o.high - instance.high) for o in at] for at in of] for of in found])
    far = np.array([[max(instance.low - o.low, o.high - instance.high) / width for o in of[-1]] for of in found])
    laws = np.array([lanczos.relative_error(D, k, probability=LEVELS[0]) for k in PRODUCTS])
    slack = np.array([run.rounding / width for run in runs])
    at = {name: cell[name] for name in ("case", "precision", "coupling")} | {"size": D}
    rows = [
        {"what": "inner", **at, "products": k, **spread(errors), "predicted": law}
        for k, errors, law in zip(PRODUCTS, inner.T, laws, strict=True)
    ]
    for k, errors in zip(OUTER, far.T, strict=True):
        law = float(np.sinh(np.arccosh(1 / overlaps[-1]) / (2 * (k - 1))) ** 2)
        rows.append({"what": "outer", **at, "products": k, "probability": LEVELS[-1], **spread(errors), "predicted": law})
    within = (inner <= laws + slack[:, None]).all(axis=1)
    rows.append({"what": "within the law", **at, "probability": LEVELS[0], **share(within)})
    for i, p in enumerate(LEVELS):
        rows.append({"what": "covered", **at, "probability": p, **share(beyond[:, i].min(axis=1) >= 0)})
    return rows


def _runs(instance: _spectra.Instance, products: int, key: jax.Array, starts: int) -> Iterator[lanczos.Tridiagonal]:
    for start in keys(key, starts):
        if (run := lanczos.tridiagonalise(instance.hessian, products, start)) is not None:
            yield run


def _sharp(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """Eigenvalues 0 and 1, many times each, and 1.5 once; two products."""
    instance = _spectra.pairs(np.r_[np.resize([0.0, 1.0], TRACED - 1), 1.5])
    q = lanczos.least_overlap(TRACED, LEVELS[0])
    covered, folklore, residuals = [], [], []
    for run in _runs(instance, 2, key, cell["starts"]):
        values, vectors = linalg.eigh_tridiagonal(run.diagonal, run.off[:-1])
        residuals.append(run.off[-1] * abs(vectors[-1, -1]) / values[-1])
        folklore.append(values[-1] * (1 + residuals[-1]) >= instance.high)
        covered.append(_spectra.outer(run, 2, q).high >= instance.high)
    at = {"size": TRACED, "products": 2, "probability": LEVELS[0]}
    return [
        {"what": "sharp", **at, **share(np.array(covered)), "predicted": (1 + LEVELS[0]) / 2},
        {"what": "residual bound", **at, **share(np.array(folklore))},
        {"what": "residual", **at, **spread(np.array(residuals))},
    ]


def _dimension(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """Products until both Ritz values of the isolated ends are within 1% of the width."""
    return _counted(cell, key, _spectra.listed("isolated", cell["size"]), (0.01, 0.01), 0.01)


def _condition(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """Products until an isolated lowest eigenvalue is known to 10% of itself."""
    lowest, d = 1 / cell["size"], 1000
    values = lowest + (1 - lowest) * _spectra.apart(d, 0.101 * lowest / (1 - lowest), 0.0)
    return _counted(cell, key, values, (0.1 * lowest, np.inf), 0.1 * lowest / (1 - lowest))


def _counted(
    cell: dict[str, Any], key: jax.Array, values: np.ndarray, tolerances: tuple[float, float], error: float
) -> list[dict[str, Any]]:
    """The number that suffices for nine starts of ten, and the law's."""
    instance, law = _spectra.pairs(values), _spectra.promised(values.size, error, LEVELS[0])
    length = LENGTH * (law // LENGTH + 1)  # few lengths, few compilations
    runs = _runs(instance, length, key, cell["starts"])
    counts = np.array([_spectra.needed(instance, run, np.array(tolerances)) for run in runs])
    at = {"size": cell["size"], "probability": LEVELS[0], "predicted": law}
    found = rate.quantile(counts, LEVELS[0])
    return [{"what": cell["what"], **at, **_rows.row(found)}, {"what": "sufficed", **at, **share(counts <= law)}]


def judge(frame: pd.DataFrame) -> list[Verdict]:
    """Eleven claims; shares are pooled over spectra, couplings and precisions, with exact binomial intervals."""
    starts = "every spectrum, coupling and precision: share of starts"
    inner = claim(f"{starts} that keep to the a-priori law of probability 0.9 throughout", INSIDE, "at least", 0.9)
    missed = claim(f"{starts} that some outer end misses / stated risk, 0.1 and 0.01", OUTSIDE, "at most", 1)
    sharp = claim(
        "three eigenvalues, two products: no slack, the upper outer end of probability 0.9 holds with 0.95",
        OUTSIDE, "equals", 0.95, tolerance=0.03,
    )  # fmt: skip
    residual = claim(
        "the same: share of starts whose Ritz value + residual covers the largest eigenvalue",
        "folklore: a small residual certifies the largest eigenvalue", "at least", 0.9,
        expected="fails", why="it certifies that some eigenvalue is near, and the start nearly misses the largest",
    )  # fmt: skip
    cost = claim(
        "every dimension and condition number: share of starts for which the law's products suffice", INSIDE, "at least", 0.9
    )
    variance = claim("Hutchinson: mean square error / 2(|A|² - sum a_ii²)/m", TRACE, "equals", 1, tolerance=0.15)
    decay = claim(
        "Hutch++, spectra flat, 1/j, 1/j²: exponents of the error in products, less -1/2, -1, -2", HUTCHPP, "equals", 0,
        tolerance=0.25,
    )  # fmt: skip
    covers = "Hutch++ and Hutchinson, every spectrum: least share of 90% intervals that hold"
    enough = "design aim: 32 probes are enough for Student's interval to cover, to 0.05"
    many = claim(f"{covers}, {MANY} probes or more", enough, "at least", LEVELS[0] - 0.05)
    few = claim(
        f"{covers}, {FEW} probes or fewer", "folklore: Student's interval covers, whatever the samples",
        "at least", LEVELS[0] - 0.05,
        expected="fails", why="where one eigenvalue dominates, every probe is skewed like a square",
    )  # fmt: skip
    moments = claim(
        "two nodes a start: moments 1 to 4 less the Gauss rule's, of which three are the spectrum's",
        QUADRATURE, "equals", 0, tolerance=0.02,
    )  # fmt: skip
    judged = claim(
        "margins of probability 0.99: share neither wrong nor, beyond the laws' reach, undecided", OUTSIDE, "at least", 0.99
    )
    return [
        inner.check(_rows.pooled(frame[frame.what == "within the law"])),
        missed.check(family.largest("missed / risk", [_risk(frame, p) for p in LEVELS])),
        sharp.check(_measured(frame, "sharp")[0]),
        residual.check(_measured(frame, "residual bound")[0]),
        cost.check(_rows.pooled(frame[frame.what == "sufficed"])),
        variance.check(_variance(frame[frame.what == "Hutchinson"])),
        decay.check(family.farthest("exponent - theory", [_exponent(frame, case) for case in POWERS], centre=0)),
        many.check(least_covered(frame, few=False)),
        few.check(least_covered(frame, few=True)),
        moments.check(family.farthest("moment - rule", _differences(frame), centre=0)),
        judged.check(_rows.pooled(frame[frame.what == "judged rightly"])),
    ]


def _measured(frame: pd.DataFrame, what: str) -> list[Measurement]:
    return _rows.measurements(frame[frame.what == what])


def _risk(frame: pd.DataFrame, level: float) -> Measurement:
    """The share that misses in units of the stated risk."""
    held, risk = _rows.pooled(frame[(frame.what == "covered") & (frame.probability == level)]), 1 - level
    value, low, high = ((1 - end) / risk for end in (held.value, held.high, held.low))
    return Measurement(f"risk {risk:.2g}", value, low, high, held.samples)


def _variance(rows: pd.DataFrame) -> Measurement:
    """The average of independent quotients: half the widths of their intervals add in squares."""
    found = _rows.quotients(rows, "predicted")
    half = float(np.sqrt(np.sum((found.high - found.low) ** 2)) / 2 / len(found))
    value = float(found.value.mean())
    return Measurement("error / law", value, value - half, value + half, int(found.samples.sum()))


def _exponent(frame: pd.DataFrame, case: str) -> Measurement:
    """Half the exponent of the mean square from the fewest to the most products, less the theory's."""
    rows = frame[(frame.what == "Hutch++") & (frame.case == case) & (frame.products >= 12)].sort_values("products")
    first, last = rows.iloc[0], rows.iloc[-1]
    ends = (_rows.measurement(first), _rows.measurement(last))
    found = family.exponent(case, *ends, (last.products / first.products) ** 2)  # of the square, hence squared
    value, low, high = (end + POWERS[case] for end in (found.value, found.low, found.high))
    return Measurement(case, value, low, high, found.samples, found.note)


def _differences(frame: pd.DataFrame) -> list[Measurement]:
    rows = frame[frame.what == "moment"]
    return _rows.measurements(rows.assign(**{end: rows[end] - rows.predicted for end in _rows.ENDS}))


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    figure, axes = figures.new_figure(2, 3, width=12, height=7.6)
    panels.errors(axes[0, 0], frame)
    panels.outer_ends(axes[0, 1], frame)
    panels.counts(axes[0, 2], frame)
    panels.coverage(axes[1, 0], frame)
    panels.margins(axes[1, 1], frame)
    panels.traces(axes[1, 2], frame)
    figures.title_with_verdicts(figure, "What Hessian-vector products tell, and how far it can be trusted", verdicts)
    return figure
