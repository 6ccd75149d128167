"""Do the two-point estimators have the mean and the second moment that the exact identities say?

On a quadratic h(z) = g'z + z'Hz/2, any H, the estimator of every law is unbiased. With q directions, t = tr H and s = tr H^2

    gaussian    E|ghat|^2 = ((d+q+1)/q) |g|^2 + (mu^2/4q) (d+4) (t^2 + 2s)
    sphere      E|ghat|^2 = ((d+q-1)/q) |g|^2 + (mu^2/4q) (d/(d+2)) (t^2 + 2s)
    rademacher  E|ghat|^2 = ((d+q-1)/q) |g|^2 + (mu^2/4q) d (t^2 + 2s - 2 sum H_ii^2)

one-sided; two-sided without the terms in mu. The matrix E ghat ghat' is known too (`theory.moments`) and measured up to
d = 64. H is indefinite with eigenvalues of size i^-1/2, once randomly rotated and once along the axes, which Rademacher's
law can tell apart. Radii are in units of 2|g|/(t^2 + 2s)^1/2, at which the radius adds to the gaussian E|ghat|^2 about what
the gradient gives. On exp(a'z) the smoothing bias is known, (exp(mu^2|a|^2/2) - 1) grad h for the gaussian law, one- and
two-sided alike; the estimator is linear in the function, so it is applied there to exp(a'z) less its linear part, whose
estimate is unbiased and would only add noise.

Bounds that need no more than a Lipschitz gradient (theory_lab, Theorem 3; gaussian law) are held against the quadratics, the
nonconvex cosine problem, and for the bias L <u,z> |z|/2. The bound of Nesterov & Spokoiny 2017 is held beside them.

What would refute it: an interval wholly outside the claimed band at some grid point, or wholly above a bound. All intervals
of the experiment hold together with 99%.

Minutes: quick 0.3, full 1.9.
"""

from collections.abc import Iterator
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
from experiments._rows import measurements, over, quotients, row
from theory_lab.claims import Verdict, claim
from theory_lab.measure import Measurement, exact, family
from theory_lab.measure.oracles import moments as measured_moments
from theory_lab.oracles.directions import LAWS
from theory_lab.report import figures
from theory_lab.theory import moment_bounds, moments

RELATIVE_RADII = (0.5, 2.0)  # on quadratics, in units of 2|g|/(t^2 + 2s)^1/2
EXPONENTS = (0.5, 1.0, 1.5)  # mu |a| on exp(a'z); on the sphere, where |v| = 1, mu |a| / sqrt(d)
COSINE_RADII = (0.1, 1.0, 3.0)
IDENTITIES = "theory_lab, exact moments of the two-point estimators"
LEMMA = "theory_lab, Theorem 3"
PUBLISHED = "Nesterov & Spokoiny 2017, Theorem 4.2"


@dataclass(frozen=True)
class Settings:
    """Where the moments are measured.

    Attributes:
        quadratics: (d, q, sided) of the quadratics.
        smoothed_dimension: d of exp(a'z).
        bounded: (d, q, sided) of the functions on which only bounds are known.
        numbers: random numbers spent on every estimator (fewer below d = 8).
    """

    quadratics: tuple[tuple[int, int, int], ...]
    smoothed_dimension: int
    bounded: tuple[tuple[int, int, int], ...]
    numbers: int


QUICK = Settings(((8, 1, 1), (64, 1, 1), (8, 4, 1), (8, 1, 2)), 8, ((8, 1, 1),), 3 * 2**20)
FULL = Settings(
    (*((d, 1, 1) for d in (2, 4, 8, 16, 32, 64, 128, 256)), *((8, q, 1) for q in (4, 16, 64)), (8, 1, 2), (128, 1, 2)),
    8,
    tuple((d, q, sided) for d in (2, 8, 32, 128) for q in (1, 4) for sided in (1, 2)),
    2**24,
)


def cells(settings: Settings) -> list[dict[str, Any]]:
    grid = [
        *(("quadratic", *at) for at in settings.quadratics),
        *(("exponential", settings.smoothed_dimension, 1, sided) for sided in (1, 2)),
        *(("cosine", *at) for at in settings.bounded),
        *(
            ("worst case", d, 1, 1) for d, *rest in settings.bounded if rest == [1, 1] and d <= 32
        ),  # beyond, 1/2 is too near to tell
    ]
    names = ("function", "dimension", "directions", "sided")
    level = family.confidence(24 * len(grid))  # 24: the most intervals that a cell has
    return [{**dict(zip(names, at, strict=True)), "numbers": settings.numbers, "confidence": level} for at in grid]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """The estimators on one function: a row for every law, variant of the function, radius and quantity."""
    functions = {"quadratic": _quadratic, "exponential": _exponential, "cosine": _cosine, "worst case": _worst_case}
    at = {name: cell[name] for name in ("dimension", "directions", "sided")}
    estimator: dict[str, Any] = {"directions": at["directions"], "sided": at["sided"]}
    samples = cell["numbers"] // (max(8, at["dimension"]) * at["directions"])
    see = partial(measured_moments, samples=samples, confidence=cell["confidence"])
    rows = functions[cell["function"]](at["dimension"], estimator, see, key)
    return pd.DataFrame([{"function": cell["function"], **at, **row} for row in rows])


def _quadratic(d: int, estimator: dict[str, Any], see: Any, key: jax.Array) -> Iterator[dict[str, Any]]:
    """All laws on an indefinite quadratic with L = 1 and |g| = 1, rotated and along the axes."""
    random_key, draw_key = jax.random.split(key)
    eigenvalues = np.where(np.arange(d) % 3 == 1, -1.0, 1.0) * np.arange(1.0, d + 1) ** -0.5
    gradient, *random = np.asarray(jax.random.normal(random_key, (d + 1, d)))
    turn, _ = np.linalg.qr(random)
    gradient = gradient / np.linalg.norm(gradient)
    unit = 2 / np.sqrt(eigenvalues.sum() ** 2 + 2 * np.sum(eigenvalues**2))
    for law in LAWS:
        for variant, basis in {"rotated": turn, "axes": np.eye(d)}.items():
            if variant == "axes" and law != "rademacher":
                continue
            hessian = (basis * eigenvalues) @ basis.T
            for relative in RELATIVE_RADII:
                radius, draw_key = relative * unit, jax.random.fold_in(draw_key, 0)
                seen = see(
                    tl.TwoPoint(radius, law=law, **estimator), _value, {"x": jnp.zeros(d)}, draw_key,
                    args=_parts(d, gradient=gradient, hessian=hessian),
                )  # fmt: skip
                known = {"law": law, "variant": variant, "radius": relative}
                predicted = moments.second_moment(gradient, hessian, radius, law=law, **estimator)
                bounds = _second_moment_bounds(1.0, d, radius, estimator) if law == "gaussian" else {}
                total = float(np.trace(predicted))
                yield _row("second moment", seen.second_moment["x"], **known, exact=total, **bounds)
                yield _row("squared bias", seen.bias_sq["x"], **known, exact=0.0, scale=total)
                if d <= 64:
                    error = seen.matrix["x"].deviation(predicted)
                    yield _row("error of the matrix", error, **known, exact=0.0, scale=float(np.abs(predicted).max()))


def _second_moment_bounds(gradient_sq: float, d: int, radius: float, estimator: dict[str, Any]) -> dict[str, float]:
    """For the gaussian law and L = 1; the published one is of one direction, one-sided."""
    bounds = {"bound": moment_bounds.second_moment_bound(gradient_sq, 1.0, d, radius, directions=estimator["directions"])}
    if estimator == {"directions": 1, "sided": 1}:
        bounds["published"] = moment_bounds.nesterov_spokoiny_bound(gradient_sq, 1.0, d, radius)
    return bounds


def _exponential(d: int, estimator: dict[str, Any], see: Any, key: jax.Array) -> Iterator[dict[str, Any]]:
    """All laws on exp(a'z) less its linear part, at 0."""
    slope = _slope(d)
    for law in LAWS:
        for exponent in EXPONENTS:
            radius = exponent * _width(law, d)
            seen = see(
                tl.TwoPoint(radius, law=law, **estimator), _value, {"x": jnp.zeros(d)}, key,
                args=_parts(d, slope=slope),
            )  # fmt: skip
            bias, mean = moments.exponential_bias(slope, radius, law=law), seen.mean["x"]
            known = {"law": law, "variant": "", "radius": exponent}
            first = Measurement("bias", mean.value[0], mean.low[0], mean.high[0], mean.samples)
            yield _row("bias along the first axis", first, **known, exact=float(bias[0]))
            yield _row("error of the bias", mean.deviation(bias), **known, exact=0.0, scale=float(np.abs(bias).max()))


def _slope(d: int) -> np.ndarray:
    """a, of unit norm; far from the directions in which the laws agree."""
    slope = 1 / np.arange(1.0, d + 1)
    return slope / np.linalg.norm(slope)


def _width(law: str, d: int) -> float:
    """What makes a radius on the sphere comparable, where |v| = 1."""
    return d**0.5 if law == "sphere" else 1.0


def _cosine(d: int, estimator: dict[str, Any], see: Any, key: jax.Array) -> Iterator[dict[str, Any]]:
    """The gaussian law on a nonconvex function with L = 1, at two points."""
    problem_key, point_key, draw_key = jax.random.split(key, 3)
    problem, q = tl.cosine({"x": d}, n=1, smoothness=1.0, key=problem_key), estimator["directions"]
    slope = jax.jit(problem.gradient)
    for i, point in enumerate(2 * np.asarray(jax.random.normal(point_key, (2, d)))):
        size = float(np.sum(np.square(slope({"x": point})["x"])))
        for radius in COSINE_RADII:
            seen = see(
                tl.TwoPoint(radius, **estimator), _component, {"x": point}, jax.random.fold_in(draw_key, i), args=(problem,)
            )
            second, along, bias = seen.second_moment["x"], seen.bias["x"], seen.bias_sq["x"]
            shift = 2 * np.sqrt(size)  # |E ghat|^2 = |g|^2 + 2 |g| <bias, g/|g|> + |bias|^2
            ends = (
                (second.value, along.value, bias.value),
                (second.low, along.high, bias.high),
                (second.high, along.low, bias.low),
            )
            value, low, high = (s - size - shift * b - c for s, b, c in ends)
            variance = Measurement("variance", value, low, high, second.samples)
            known = {"law": "gaussian", "variant": str(i), "radius": radius}
            yield _row("second moment", second, **known, **_second_moment_bounds(size, d, radius, estimator))
            yield _row("variance", variance, **known, bound=moment_bounds.variance_bound(size, 1.0, d, radius, directions=q))
            yield _row("squared bias", bias, **known, bound=moment_bounds.bias_bound(1.0, d, radius) ** 2)


def _worst_case(d: int, estimator: dict[str, Any], see: Any, key: jax.Array) -> Iterator[dict[str, Any]]:
    """The gaussian law on z_1 |z|/2 at 0, where |Hess| <= 1 and the bias is at least half of the bound."""
    seen = see(tl.TwoPoint(1.0, **estimator), _value, {"x": jnp.zeros(d)}, key, args=_parts(d, bend=1.0)).mean["x"]
    bias = Measurement("bias", seen.value[0], seen.low[0], seen.high[0], seen.samples)
    bound = moment_bounds.bias_bound(1.0, d, 1.0)
    yield _row("bias along the first axis", bias, law="gaussian", variant="", radius=1.0, bound=bound)


def _value(z: Any, gradient: jax.Array, hessian: jax.Array, slope: jax.Array, bend: jax.Array) -> jax.Array:
    """A quadratic, exp(a'z) less its linear part, and bend z_1 |z|/2; one function, so that they share programs."""
    x, along = z["x"], slope @ z["x"]
    square = x @ x
    size = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)  # no nan in its gradient
    return gradient @ x + x @ hessian @ x / 2 + jnp.expm1(along) - along + bend * x[0] * size / 2


def _parts(d: int, **given: Any) -> tuple[Any, ...]:
    """The arguments of `_value`, zero where they are not given."""
    absent = {"gradient": np.zeros(d), "hessian": np.zeros((d, d)), "slope": np.zeros(d), "bend": 0.0}
    return tuple((absent | given).values())


def _component(z: Any, problem: tl.Problem) -> jax.Array:
    return problem.component(z, jnp.array(0))


def _row(quantity: str, measured: Measurement, **known: Any) -> dict[str, Any]:
    """One measured number beside what is known of it; `scale` is what a deviation is compared with."""
    return {
        "quantity": quantity,
        **row(measured),
        **dict.fromkeys(("exact", "scale", "bound", "published"), np.nan),
        **known,
    }


def judge(frame: pd.DataFrame) -> list[Verdict]:
    return [*_judge_quadratics(frame), *_judge_smoothing(frame), *_judge_bounds(frame)]


def _held(
    name: str, relation: Any, predicted: float, measured: Measurement, source: str = IDENTITIES, **more: Any
) -> Verdict:
    return claim(name, source, relation, predicted, **more).check(measured)


def _judge_quadratics(frame: pd.DataFrame) -> list[Verdict]:
    """The identities neglect nothing; a band is what the quick profile can resolve."""
    of = {quantity: rows for quantity, rows in frame[frame.function == "quadratic"].groupby("quantity")}
    ratios = quotients(of["second moment"], "exact")
    averages = {law: family.average("measured/exact", measurements(ratios[ratios.law == law])) for law in LAWS}
    matrix, shares = (measurements(quotients(of[name], "scale")) for name in ("error of the matrix", "squared bias"))
    rows = of["second moment"]
    rows = rows[(rows.law == "rademacher") & (rows.sided == 1) & (rows.directions == 1)]
    rows = rows[rows.radius == max(RELATIVE_RADII)]
    along = over(rows[rows.variant == "axes"], rows[rows.variant == "rotated"], ["dimension"])
    return [
        *(
            _held(f"{law}: E|ghat|^2 / identity, averaged over d, q, radius and side", "equals", 1, found, tolerance=0.04)
            for law, found in averages.items()
        ),
        _held(
            "E ghat ghat': largest error of an entry, in units of the largest entry", "at most", 0.2,
            family.largest("error", matrix),
        ),
        _held(
            "no bias on quadratics: |E ghat - g|^2 in units of E|ghat|^2, at most", "at most", 0.002,
            family.largest("share", shares),
        ),
        _held(
            "E|ghat|^2 / identity, farthest from 1 over the grid", "equals", 1,
            family.farthest("measured/exact", measurements(ratios), centre=1.0), tolerance=0.1,
        ),
        _held(
            "rademacher: E|ghat|^2 does not depend on the axes (H along the axes / rotated, least over d)", "at least", 0.95,
            family.smallest("along the axes/rotated", along), "folklore: laws with E vv' = I are alike", expected="fails",
            why="v_i^2 = 1: along the axes the radius adds tr(H)^2 and nothing of 2 tr(H^2)",
        ),
    ]  # fmt: skip


def _judge_smoothing(frame: pd.DataFrame) -> list[Verdict]:
    rows = frame[frame.function == "exponential"]
    bias, errors = (rows[rows.quantity == name] for name in ("bias along the first axis", "error of the bias"))
    return [
        _held(
            "bias on exp(a'z) / exact, averaged over law, radius and side", "equals", 1,
            family.average("measured/exact", measurements(quotients(bias, "exact"))), tolerance=0.05,
        ),
        _held(
            "bias on exp(a'z): largest error of a coordinate, in units of the largest", "at most", 0.15,
            family.largest("error", measurements(quotients(errors, "scale"))),
        ),
        _held(
            "two-sided differences have at most half the bias of one-sided ones (largest ratio)", "at most", 0.5,
            family.largest("two-sided/one-sided", over(bias[bias.sided == 2], bias[bias.sided == 1], ["law", "radius"])),
            "folklore: two-sided differences remove the bias", expected="fails",
            why="f(z) v has mean zero, so both estimate the gradient of the same smoothed function",
        ),
    ]  # fmt: skip


def _judge_bounds(frame: pd.DataFrame) -> list[Verdict]:
    cosine, second = frame[frame.function == "cosine"], frame[frame.quantity == "second moment"]
    of = {quantity: rows for quantity, rows in cosine.groupby("quantity")}
    both, worst = second[second.published.notna()], frame[frame.function == "worst case"]
    return [
        *(
            _held(
                f"{words}: largest measured/bound", "at most", 1,
                family.largest("measured/bound", measurements(quotients(rows, column))), source,
            )
            for words, source, rows, column in (
                ("E|ghat|^2 stays below its bound", LEMMA, second, "bound"),
                ("the variance stays below its bound (cosine)", LEMMA, of["variance"], "bound"),
                ("the squared bias stays below its bound (cosine)", LEMMA, of["squared bias"], "bound"),
                ("E|ghat|^2 one-sided stays below the published bound", PUBLISHED, second, "published"),
            )
        ),
        _held(
            "one-sided, the published bound is never the smaller one: largest bound/published", "at most", 1,
            exact("bound/published", (both.bound / both.published).max()), LEMMA,
        ),
        _held(
            "the bias bound cannot be halved: L<u,z>|z|/2 attains (bias/bound, least over d)", "at least", 0.5,
            family.smallest("bias/bound", measurements(quotients(worst, "bound"))), LEMMA,
        ),
    ]  # fmt: skip


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    figure, axes = figures.new_figure(2, 2, height=8.0)
    _draw_ratios(axes[0, 0], frame)
    _draw_radius_terms(axes[0, 1], frame)
    _draw_smoothing(axes[1, 0], frame)
    _draw_bounds(axes[1, 1], frame)
    figures.title_with_verdicts(figure, "Moments of the two-point estimators, exact laws and bounds", verdicts)
    return figure


def _draw_ratios(axes: Axes, frame: pd.DataFrame) -> None:
    """Measured/exact over d; every law at the larger radius with its band, all other settings as dots behind."""
    rows = quotients(frame[(frame.function == "quadratic") & (frame.quantity == "second moment")], "exact")
    shown = (rows.radius == max(RELATIVE_RADII)) & (rows.sided == 1) & (rows.directions == 1) & (rows.variant == "rotated")
    for shift, law in zip((0.9, 1.0, 1.1), LAWS, strict=True):
        every, some = rows[rows.law == law], rows[shown & (rows.law == law)]
        axes.plot(every.dimension * shift, every.value, ".", color=figures.look(law).colour, alpha=0.5, markersize=3)
        figures.band(axes, some.dimension * shift, some.value, some.low, some.high, like=law)
    _over_dimensions(axes, rows.dimension)
    figures.theory_line(axes, axes.get_xlim(), [1, 1], label="exact")
    axes.set(ylabel="measured / exact", title="E|ĝ|² on indefinite quadratics")
    figures.legend(axes, ncols=2, fontsize=8)


def _draw_radius_terms(axes: Axes, frame: pd.DataFrame) -> None:
    """What the radius adds to E|ghat|^2, in units of what it adds for the gaussian law."""
    rows = frame[(frame.function == "quadratic") & (frame.quantity == "second moment") & (frame.directions == 1)]
    rows = rows[(rows.sided == 1) & (rows.radius == max(RELATIVE_RADII))]
    linear = [1 + moments.variance_factor(d, law=law) for d, law in zip(rows.dimension, rows.law, strict=True)]
    added = rows.assign(**{name: rows[name] - linear for name in ("value", "low", "high", "exact")})
    unit = added.dimension.map(added[added.law == "gaussian"].set_index("dimension").exact)
    added = quotients(added.assign(unit=unit, exact=added.exact / unit), "unit").sort_values("dimension")
    for (law, variant), part in added.groupby(["law", "variant"]):
        look = figures.look(law)
        if law == "rademacher":
            look = replace(look, marker="X" if variant == "rotated" else "D", label=f"{look.label}, H {variant}")
        figures.band(axes, part.dimension, part.value, part.low, part.high, like=look, line=False)
        figures.theory_line(axes, part.dimension, part.exact, label="exact")
    _over_dimensions(axes, added.dimension)
    axes.set(ylim=(0, 1.6), ylabel="added / added for the Gaussian law", title="What the radius adds to E|ĝ|²")
    figures.legend(axes, loc="upper left", ncols=2, fontsize=8)


def _draw_smoothing(axes: Axes, frame: pd.DataFrame) -> None:
    rows = frame[(frame.function == "exponential") & (frame.quantity == "bias along the first axis")].sort_values("radius")
    for law in LAWS:
        for sided, marker, shift in ((1, figures.look(law).marker, -0.01), (2, "d", 0.01)):
            part = rows[(rows.law == law) & (rows.sided == sided)]
            look = replace(
                figures.look(law), marker=marker, label=f"{figures.look(law).label}, {('one', 'two')[sided - 1]}-sided"
            )
            figures.band(axes, part.radius + shift, part.value, part.low, part.high, like=look, line=False)
        d, radii = int(part.dimension.iloc[0]), np.linspace(0.9 * rows.radius.min(), 1.05 * rows.radius.max(), 60)
        biases = [moments.exponential_bias(_slope(d), radius * _width(law, d), law=law)[0] for radius in radii]
        figures.theory_line(axes, radii, biases, label="exact")
    axes.set(yscale="log", xlabel="radius μ|a|  (sphere: μ|a|/√d)", ylabel="bias / |∇h(0)|, first axis")
    axes.set(title="Smoothing bias on exp(a'z)")
    figures.legend(axes, below=True, fontsize=8, ncols=2)


def _draw_bounds(axes: Axes, frame: pd.DataFrame) -> None:
    """The largest measured/bound over radius, side, q and point, at every dimension."""
    series = (
        ("quadratic", "second moment", "bound", "E|ĝ|², quadratic", figures.Look("#004488", "P", "-", "")),
        ("cosine", "second moment", "bound", "E|ĝ|², cosine", figures.Look("#4477AA", "o", "-", "")),
        ("cosine", "variance", "bound", "variance, cosine", figures.Look("#66CCEE", "s", "-", "")),
        ("cosine", "squared bias", "bound", "bias², cosine", figures.Look("#228833", "^", "-", "")),
        ("worst case", "bias along the first axis", "bound", "bias on z₁|z|/2", figures.Look("#EE6677", "D", "-", "")),
        ("quadratic", "second moment", "published", "E|ĝ|², quadratic, published", figures.Look("#7f7f7f", "v", ":", "")),
        ("cosine", "second moment", "published", "E|ĝ|², cosine, published", figures.Look("#7f7f7f", "<", ":", "")),
    )
    for function, quantity, column, label, look in series:
        rows = quotients(frame[(frame.function == function) & (frame.quantity == quantity)], column)
        worst = rows.loc[rows.groupby("dimension").value.idxmax()]
        figures.band(axes, worst.dimension, worst.value, worst.low, worst.high, like=look, label=label)
    _over_dimensions(axes, frame.dimension)
    figures.theory_line(axes, axes.get_xlim(), [1, 1], label="bound", line="--")
    axes.set(ylim=(0, 1.1), ylabel="measured / bound", title="Bounds for a Lipschitz gradient, worst setting")
    figures.legend(axes, below=True, ncols=2, fontsize=8)


def _over_dimensions(axes: Axes, dimensions: pd.Series) -> None:
    """A logarithmic axis with a tick at every other dimension that was measured."""
    ticks = np.unique(dimensions)
    axes.set(xscale="log", xlabel="dimension d", xlim=(ticks[0] / 1.4, ticks[-1] * 1.4))
    axes.set_xticks(ticks[:: 1 + (ticks.size > 6)], labels=[f"{d:d}" for d in ticks[:: 1 + (ticks.size > 6)]])
    axes.minorticks_off()
