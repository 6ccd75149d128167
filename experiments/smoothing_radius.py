"""How small may the radius of a finite difference be before rounding takes over, and how good can the estimate get?

Every evaluation of f carries a rounding error of root mean square sigma_f. Against the estimate from exact slopes along the
same directions (`theory.rounding`; one gaussian direction, t = tr H, s = tr H^2, third derivatives c along the axes)

    one-sided, quadratic           E|error|^2 = (mu^2/4)(d+4)(t^2 + 2s) + 2 d sigma_f^2 / mu^2
    two-sided, quadratic + cubic   E|error|^2 = (15/36) mu^4 (d+6) |c|^2 + d sigma_f^2 / (2 mu^2)

so the best radius goes like sigma_f^(1/2) one-sided, sigma_f^(1/3) two-sided, and the floor, which is the error there, like
sigma_f^(1/2) and sigma_f^(2/3).

sigma_f is measured, not assumed: float32 arithmetic errs more than the rounding of its result, x + mu v is rounded too, and
what counts is the error of a difference of two evaluations (x + mu v and x - mu v are not rounded independently). It is the
root mean square error of such differences, over sqrt 2, at one small radius and on samples of its own; this one number then
predicts the error at every radius. It belongs to the order of summation as well as to f: with a plain sum, whose order the
compiler chooses anew in each program, two programs differed in it by up to 1.3 in float32; so f fixes its order here. In a
third series f is computed in float64 and its value rounded to multiples of 2^-b: sigma_f = 2^-b / sqrt 12 is known there.

What would refute it: an error more than a tenth off the law within two decades of the best radius; a best radius or floor
(from a fit of the law's two terms to the measured errors) that is not the predicted one; other exponents. Where mu v is
smaller than the spacing of floating-point numbers at x the law ends. The full profile adds q = 8 and the other two laws.
Signs move every coordinate by the same mu, so x + mu v is rounded by the same fraction in all of them and sigma_f jumps with
the last bits of mu, the error by up to a quarter; so their radii are powers of two, at which x + mu v is not rounded at all.

Minutes: quick 0.3, full 1.9.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import theory_lab as tl
from experiments._rows import measurements, over, quotients
from theory_lab.claims import Verdict, claim
from theory_lab.measure import Measurement, family, mean, rate
from theory_lab.oracles import directions as directions_of
from theory_lab.oracles.directions import Law
from theory_lab.report import figures
from theory_lab.theory import rounding

DIMENSION = 16  # a power of two, for the sum in `_function`
EIGENVALUES = np.arange(1.0, DIMENSION + 1, dtype=np.float32) ** np.float32(-0.5)  # exact in both precisions
CUBIC = np.where(np.arange(DIMENSION) % 2 == 0, 1.0, -1.0)
BATCHES = 64
PRECISIONS = ("float32", "float64")
BITS = tuple(range(16, 45, 4))  # b of the values rounded to multiples of 2^-b
DECADES = 2.0  # on either side of the best radius: where the law is claimed
BELOW = 4.5  # decades below it that are drawn
FITTED = ("best radius", "floor")
EXPONENTS = {1: (1 / 2, 1 / 2), 2: (1 / 3, 2 / 3)}  # of `FITTED` in sigma_f
SIDES = {1: "one-sided", 2: "two-sided"}
LAW = "theory_lab, law of the radius"
ROUNDED = "rounded"
PRECISION_WORDS = {"float32": "float32", "float64": "float64", ROUNDED: "rounded values"}
LOOKS = {
    "float32": figures.Look("#CC3311", "o", "-", "float32"),
    "float64": figures.Look("#0077BB", "s", "-", "float64"),
    ROUNDED: figures.Look("#7f7f7f", "^", "-", "values rounded to 2⁻ᵇ"),
}
SECOND = {"float32": "D", "float64": "P", ROUNDED: "v"}  # markers for two sides


@dataclass(frozen=True)
class Settings:
    """Which estimators, and how closely they are looked at.

    Attributes:
        estimators: pairs (law, q).
        per_decade: radii per decade.
        samples: estimates per radius.
    """

    estimators: tuple[tuple[Law, int], ...]
    per_decade: int
    samples: int


QUICK = Settings((("gaussian", 1),), 3, 2**16)
FULL = Settings((("gaussian", 1), ("gaussian", 8), ("rademacher", 1), ("sphere", 1)), 6, 2**18)


def cells(settings: Settings) -> list[dict[str, Any]]:
    grid = [(*one, s, precision) for one in settings.estimators for s in (1, 2) for precision in (*PRECISIONS, ROUNDED)]
    names = ("law", "directions", "sided", "precision")
    common = {"per_decade": settings.per_decade, "samples": settings.samples}
    level = family.confidence(len(grid) * int(2 * DECADES * settings.per_decade + 3))
    return [{**dict(zip(names, at, strict=True)), **common, "confidence": level} for at in grid]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """One estimator in one precision, or at every rounding: sigma_f, the curve, its best radius and its floor."""
    centre_key, noise_key, slope_key, *curve_keys = jax.random.split(key, 3 + len(BITS))
    centre = _centre(centre_key)
    rows, fits = [], []
    if cell["precision"] == ROUNDED:
        spacings = [2.0**-bits for bits in BITS]
        sigmas = [spacing / 12**0.5 for spacing in spacings]
    else:
        measured, by_result = _evaluation_error(cell, centre, noise_key)
        rows.append(_row("sigma_f", measured, predicted=by_result))
        spacings, sigmas = [0.0], [measured.value]
    for spacing, sigma, curve_key in zip(spacings, sigmas, curve_keys, strict=False):
        law = _law(cell, sigma)
        relative, squares = _curve(cell, law, centre, spacing, curve_key)
        fits.append(_fit(law, relative, squares))
        for r, at_radius in zip(relative, squares.T, strict=True):
            error = _root(mean("error", at_radius, confidence=cell["confidence"]))
            rows.append(_row("error", error, sigma=sigma, relative=r, predicted=law.error(r * law.optimal_radius)))
        for quantity, fitted, predicted in zip(FITTED, fits[-1].T, (law.optimal_radius, law.floor), strict=True):
            rows.append(
                _row(quantity, mean(quantity, fitted, confidence=cell["confidence"]), sigma=sigma, predicted=predicted)
            )
    if cell["precision"] == ROUNDED:
        for quantity, of_sigmas, exponent in zip(
            FITTED, np.stack(fits, axis=2).transpose(1, 0, 2), EXPONENTS[cell["sided"]], strict=True
        ):
            slope = rate.loglog_slope(sigmas, of_sigmas, confidence=cell["confidence"], key=slope_key)
            rows.append(_row(f"exponent of the {quantity}", slope, predicted=exponent))
    return pd.DataFrame(
        [{**{name: cell[name] for name in ("law", "directions", "sided", "precision")}, **row} for row in rows]
    )


def _centre(key: jax.Array) -> np.ndarray:
    """Points are drawn around here, well inside a binade, so that all of them round alike."""
    return 0.75 * np.asarray(jax.random.rademacher(key, (DIMENSION,), np.float64))


def _cubic(sided: int) -> np.ndarray:
    """The third derivatives: none where the law wants a quadratic."""
    return CUBIC * (sided == 2)


def _law(cell: dict[str, Any], sigma: float) -> rounding.RadiusLaw:
    estimator = {"law": cell["law"], "directions": cell["directions"]}
    if cell["sided"] == 1:
        return rounding.one_sided_law(np.diag(EIGENVALUES.astype(np.float64)), sigma, **estimator)
    return rounding.two_sided_law(CUBIC, sigma, **estimator)


def _function(z: jax.Array, cubic: jax.Array) -> jax.Array:
    """A quadratic and a cubic part in the precision of z, summed pairwise: a plain sum is made in the compiler's order."""
    square = z * z
    terms = EIGENVALUES.astype(z.dtype) * square / 2 + cubic.astype(z.dtype) * square * z / 6
    while terms.size > 1:
        terms = terms[: terms.size // 2] + terms[terms.size // 2 :]
    return terms[0]


def _gradient(z: jax.Array, cubic: jax.Array) -> jax.Array:
    return z * EIGENVALUES.astype(z.dtype) + cubic * z * z / 2


def _points(centre: jax.Array, key: jax.Array, dtype: Any, samples: int) -> jax.Array:
    """(samples, d) in a precision."""
    return (centre + 0.01 * jax.random.normal(key, (samples, DIMENSION))).astype(dtype)


def _evaluation_error(cell: dict[str, Any], centre: np.ndarray, key: jax.Array) -> tuple[Measurement, float]:
    """sigma_f from differences of evaluations at one small radius; and what it would be, were only results rounded."""
    dtype = np.dtype(cell["precision"])
    radius = float(_power_of_two(np.finfo(dtype).eps ** (2 / 3)))
    squares, values = _differences(
        centre, _cubic(cell["sided"]), dtype.type(radius), key, law=cell["law"], sided=cell["sided"], samples=cell["samples"]
    )
    variance = mean("sigma_f^2", np.asarray(squares).reshape(BATCHES, -1).mean(axis=1) / 2, confidence=cell["confidence"])
    by_result = [rounding.rounding_error(float(value), cell["precision"]) for value in values[:256]]
    return _root(variance), float(np.sqrt(np.mean(np.square(by_result))))


@partial(jax.jit, static_argnames=("law", "sided", "samples"))
def _differences(
    centre: jax.Array, cubic: jax.Array, radius: jax.Array, key: jax.Array, *, law: Law, sided: int, samples: int
) -> tuple[jax.Array, jax.Array]:
    """Squared errors of f(x + mu v) - f(x) or f(x + mu v) - f(x - mu v), and f(x), each (samples,).

    The exact difference is a polynomial in mu v, without cancellation in float64.
    """
    point_key, direction_key = jax.random.split(key)
    x = _points(centre, point_key, radius.dtype, samples)
    v = tl.TwoPoint(1.0, 1, law).draw(direction_key, x[0], samples)[:, 0]
    f = jax.vmap(lambda z: _function(z, cubic))
    seen = f(x + radius * v).astype(float) - (f(x) if sided == 1 else f(x - radius * v)).astype(float)
    x, step = x.astype(float), radius.astype(float) * v.astype(float)
    odd, even = (
        jnp.sum(_gradient(x, cubic) * step, axis=1) + jnp.sum(cubic * step**3, axis=1) / 6,
        jnp.sum(EIGENVALUES * step**2, axis=1) / 2,
    )
    exact = odd + even if sided == 1 else 2 * odd
    return (seen - exact) ** 2, f(x)


def _power_of_two(radius: Any) -> np.ndarray:
    """The nearest one, by ratio."""
    return 2.0 ** np.round(np.log2(radius))


def _curve(
    cell: dict[str, Any], law: rounding.RadiusLaw, centre: np.ndarray, spacing: float, key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """Radii relative to the best one, (R,), and batch means of |error|^2, (B, R)."""
    below = DECADES if cell["precision"] == ROUNDED else BELOW
    steps = np.arange(-round(below * cell["per_decade"]), round(DECADES * cell["per_decade"]) + 1)
    relative = 10.0 ** (steps / cell["per_decade"])
    if cell["law"] == "rademacher" and cell["precision"] != ROUNDED:
        relative = np.unique(_power_of_two(relative * law.optimal_radius)) / law.optimal_radius
    precision, samples = (
        ("float64", cell["samples"] // 2) if cell["precision"] == ROUNDED else (cell["precision"], cell["samples"])
    )
    radii = (relative * law.optimal_radius).astype(precision)
    squares = _squared_errors(
        centre, _cubic(cell["sided"]), radii, spacing, jax.random.split(key, BATCHES), law=cell["law"], sided=cell["sided"],
        directions=cell["directions"], samples=samples // (BATCHES * cell["directions"]), rounded=spacing > 0,
    )  # fmt: skip
    return relative, np.asarray(squares)


@partial(jax.jit, static_argnames=("law", "sided", "directions", "samples", "rounded"))
def _squared_errors(
    centre: jax.Array, cubic: jax.Array, radii: jax.Array, spacing: jax.Array, keys: jax.Array,
    *, law: Law, sided: int, directions: int, samples: int, rounded: bool,
) -> jax.Array:  # fmt: skip
    """Batch means of |ghat - c (1/q) sum <g,v> v|^2, (B, R): the oracle against exact slopes in float64."""

    def f(z: Any) -> jax.Array:
        value = _function(z, cubic)
        return jnp.round(value / spacing) * spacing if rounded else value

    def one(x: jax.Array, v: jax.Array) -> jax.Array:
        slopes = v.astype(float) @ _gradient(x.astype(float), cubic)
        ideal = directions_of.combine(directions_of.scale(x, law) * slopes, v.astype(float))
        error = lambda radius: tl.TwoPoint(radius, directions, law, sided).estimate(f, x, v).gradient.astype(float) - ideal
        return jax.vmap(lambda radius: jnp.sum(error(radius) ** 2))(radii)

    def batch(key: jax.Array) -> jax.Array:
        point_key, direction_key = jax.random.split(key)
        x = _points(centre, point_key, radii.dtype, samples)
        v = tl.TwoPoint(1.0, directions, law).draw(direction_key, x[0], samples)
        return jnp.mean(jax.vmap(one)(x, v), axis=0)

    return jax.lax.map(batch, keys)


def _fit(law: rounding.RadiusLaw, relative: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Best radius and floor of every batch, (B, 2): of the law's two terms, fitted within a decade of its best radius."""
    near = np.abs(np.log10(relative)) < 1.01
    p, radii = law.sided, relative[near] * law.optimal_radius
    expected = np.array([law.error(radius) ** 2 for radius in radii])
    terms = np.stack([law.truncation * radii ** (2 * p), law.rounding / radii**2], axis=1) / expected[:, None]
    (grows, falls), *_ = np.linalg.lstsq(terms, (squares[:, near] / expected).T, rcond=None)  # 1 and 1 if the law is right
    fitted = [rounding.RadiusLaw(law.truncation * a, law.rounding * b, p) for a, b in zip(grows, falls, strict=True)]
    return np.array([(one.optimal_radius, one.floor) for one in fitted])


def _root(squared: Measurement) -> Measurement:
    """The root mean square from a mean square."""
    value, low, high = np.sqrt(np.maximum([squared.value, squared.low, squared.high], 0))
    return Measurement(squared.name, float(value), float(low), float(high), squared.samples, squared.note)


def _row(quantity: str, measured: Measurement, **known: float) -> dict[str, Any]:
    interval = {name: getattr(measured, name) for name in ("value", "low", "high", "samples")}
    return {"quantity": quantity, "sigma": np.nan, "relative": np.nan, **interval, **known}


def judge(frame: pd.DataFrame) -> list[Verdict]:
    """Bands: rounding errors are not quite independent, sigma_f has an interval, and both enter at every radius."""
    of = {quantity: quotients(rows, "predicted") for quantity, rows in frame.groupby("quantity")}
    verdicts = []
    for sided, words in SIDES.items():
        errors = of["error"][(of["error"].sided == sided) & (np.abs(np.log10(of["error"].relative)) < DECADES + 0.01)]
        for precision, rows in errors.groupby("precision"):
            name = f"{words}, {PRECISION_WORDS[precision]}: error / law over four decades of radii, farthest from 1"
            farthest = family.farthest("error/law", measurements(rows), centre=1.0)
            verdicts.append(claim(name, LAW, "equals", 1.0, tolerance=0.1).check(farthest))
        for quantity in FITTED:
            rows = of[quantity][(of[quantity].sided == sided) & (of[quantity].precision != ROUNDED)]
            name = f"{words}, float32 and float64: {quantity} / predicted, averaged"
            verdicts.append(
                claim(name, LAW, "equals", 1.0, tolerance=0.04).check(
                    family.average("measured/predicted", measurements(rows))
                )
            )
            exponents = frame[(frame.quantity == f"exponent of the {quantity}") & (frame.sided == sided)]
            name = f"{words}: exponent of the {quantity} in sigma_f over eight decades"
            predicted = float(exponents.predicted.iloc[0])
            verdict = claim(name, LAW, "equals", predicted, tolerance=0.005).check(
                family.average("exponent", measurements(exponents))
            )
            verdicts.append(verdict)
    return [*verdicts, *_judge_folklore(frame, of)]


def _judge_folklore(frame: pd.DataFrame, of: dict[str, pd.DataFrame]) -> list[Verdict]:
    result = claim(
        "an evaluation errs by the rounding of its result: least sigma_f / (ulp/sqrt 12)", "folklore", "at most", 1.1,
        expected="fails", why="the arithmetic before the last rounding errs too, and so do rounded parameters",
    )  # fmt: skip
    errors = frame[(frame.quantity == "error") & (frame.precision != ROUNDED)]
    keys = ["law", "directions", "sided", "precision"]
    small, best = (errors[np.isclose(errors.relative, at)] for at in (10**-DECADES, 1.0))
    smaller = claim(
        "the smaller the radius, the better: least error at a hundredth of the best radius / error there", "folklore",
        "at most", 1.0, expected="fails", why="rounding errors are divided by the radius",
    )  # fmt: skip
    return [
        result.check(family.smallest("sigma_f/(ulp/sqrt 12)", measurements(of["sigma_f"]))),
        smaller.check(family.smallest("error/error", over(small, best, keys))),
    ]


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    """The first estimator's curves, measured/law below them, and how best radius and floor follow sigma_f."""
    figure, axes = figures.new_figure(2, 3, width=11.0, height=6.6)
    first = frame.iloc[0]
    frame = frame[(frame.law == first.law) & (frame.directions == first.directions)]
    for column, sided in enumerate(SIDES):
        _draw_curves(axes[0, column], frame[frame.sided == sided])
        _draw_ratios(axes[1, column], frame[frame.sided == sided])
        axes[0, column].set_title(f"{SIDES[sided]}: error against the radius")
        axes[1, column].set_title(f"{SIDES[sided]}: measured error / law")
    figures.legend(axes[0, 0], loc="lower right", fontsize=8)
    axes[0, 0].set_xlim(right=1e4)  # room for the legend
    for row, quantity, words in ((0, "floor", "rms error at the best radius"), (1, "best radius", "best radius μ")):
        _draw_against_sigma(axes[row, 2], frame[frame.quantity == quantity])
        axes[row, 2].set(title=f"{quantity} against the error of $f$", ylabel=words)
    figures.title_with_verdicts(figure, "Error of finite differences against the radius", verdicts)
    return figure


def _draw_curves(axes: Axes, frame: pd.DataFrame) -> None:
    for precision in PRECISIONS:
        rows = frame[(frame.quantity == "error") & (frame.precision == precision)]
        best = frame[(frame.quantity == "best radius") & (frame.precision == precision)].iloc[0]
        radii = rows.relative * best.predicted
        figures.band(axes, radii, rows.value, rows.low, rows.high, like=LOOKS[precision], line=False)
        figures.theory_line(axes, radii, rows.predicted, label="law")
        floor = frame[(frame.quantity == "floor") & (frame.precision == precision)].iloc[0].predicted
        axes.plot([best.predicted], [floor], "*", color="black", markersize=11, label="predicted best", zorder=5)
    axes.set(xscale="log", yscale="log", xlabel="radius μ", ylabel="rms error of the estimate")


def _draw_ratios(axes: Axes, frame: pd.DataFrame) -> None:
    rows = quotients(frame[frame.quantity == "error"], "predicted")
    axes.axvspan(10**-DECADES, 10**DECADES, color="0.5", alpha=0.08, linewidth=0)
    for precision in PRECISIONS[::-1]:
        part = rows[rows.precision == precision]
        figures.band(axes, part.relative, part.value, part.low, part.high, like=LOOKS[precision], line=False)
    figures.theory_line(axes, rows.relative.sort_values(), np.ones(len(rows)), label="law")
    axes.set(xscale="log", ylim=(0.8, 1.1), xlabel="radius / predicted best radius", ylabel="measured / law")
    axes.text(0.98, 0.04, "shaded: where the law is claimed", transform=axes.transAxes, ha="right", fontsize=8)


def _draw_against_sigma(axes: Axes, rows: pd.DataFrame) -> None:
    for sided, words in SIDES.items():
        for precision, look in LOOKS.items():
            part = rows[(rows.sided == sided) & (rows.precision == precision)].sort_values("sigma")
            look = replace(look, marker=look.marker if sided == 1 else SECOND[precision])
            figures.band(
                axes, part.sigma, part.value, part.low, part.high, like=look, label=f"{precision}, {words}", line=False
            )
        every = rows[rows.sided == sided].sort_values("sigma")
        figures.theory_line(axes, every.sigma, every.predicted, label="law")
    axes.set(xscale="log", yscale="log", xlabel=r"$\sigma_f$, rms error of one evaluation")
    axes.set_ylim(top=axes.get_ylim()[1] * 30)  # room for the legend
    figures.legend(axes, fontsize=7, loc="upper left", ncols=2)
