"""How do the largest stable step sizes of the two blocks depend on dimension, smoothness, components, directions and rank?

Predicted for the zeroth-order block (theory_lab, Theorem 5): eta_x is mean-square stable exactly up to the root of

    sum_i eta l_i / (2q - (q+1) eta l_i) = 1,   for equal eigenvalues 2q / (L_x (d_x+q+1))   (gaussian law, q directions),

so the trace of the Hessian sets it, not the dimension; for one direction on the sphere or of signs it is 2 / (L_x d_x). It
does not see n: with components 0 <= H_i <= diag(L_x I, L_y I) every order is stable up to 2/(L_x(d_x+2)) and 2/L_y, and
both are attained for H_i = L_b times a projection. For the first-order block d_y does not matter. Only indefinite
components that do not commute make n matter: for curvatures h +- s in rotating directions the limit of eta_y is 2h/(h^2 +
s^2) with replacement, and falls like n^-1/2 under reshuffling and like 1/n when like components come in a row (two measured
conjectures). The published conditions, limits like 1/(n d_x) and 1/n, are therefore registered as descriptions that fail.

Measured: step sizes on a grid around the prediction; the limit is where the growth of E[f - f*] crosses zero, by
interpolation, blind to the prediction, with a bootstrap over seeds. In this norm the transient shifts no limit here by more
than 0.2% (exact recursion). Dimensions below a padded length are padded with flat directions, which f does not see. Where
sample means lie (few effective dimensions, products of indefinite components) the spectral radius of the exact second-moment
operator takes their place, for reshuffling the average over all orderings: those points are hollow in the figure and carry
no sampling error.

Refuted by: a measured limit more than 3% off its prediction, or an exponent outside its band.

Minutes: quick 0.2, full 1.4.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import _limits, _rows
from experiments._limits import MEAN, ORDERINGS, PLATEAU, SPREAD, D
from theory_lab.claims import Claim, Verdict, claim
from theory_lab.measure import Measurement, exact, family
from theory_lab.report import figures

SMOOTHNESS = (0.01, 1.0, 100.0)  # L_x of the isotropic family
COLUMNS = ["family", "series", "x", "value", "low", "high", "samples", "note", "predicted"]

# Agreement of a limit. What the prediction neglects is below 0.3% (transient, chord); 3% is what nobody would mind.
TOLERANCE = 0.03

STABILITY = "theory_lab, Theorem 5, stability"
BOX, TURNING = "theory_lab, Theorem 5, box", "theory_lab, indefinite components"
PUBLISHED = "published conditions"  # eta_x <= O(1/(L_x n d_x)) and eta_y <= O(1/(L_y n)), read as a description
INSET = {"gaussian": "Gauss", "rademacher": "signs", "sphere": "sphere"}
LAWS = {
    "gaussian": "2/(L_x(d_x+2)) gaussian",
    "rademacher": "2/(L_x d_x) for signs",
    "sphere": "2/(L_x d_x) on the sphere",
}


@dataclass(frozen=True)
class Settings:
    """What is swept.

    Attributes:
        padded: length of the padded zeroth-order block.
        dimensions: d_x of the isotropic family, each with every L_x, at most `padded`.
        decays: p of the spectra (1 + i/32)^-p, in `padded` dimensions.
        cut: dimensions to which the spectrum with p = 2 is cut: bounded rank.
        directions: q, in 64 dimensions.
        laws: of one direction, beside the gaussian.
        components: n of the convex family under reshuffling.
        orderings: of the convex family, with the last n, beside reshuffling.
        first_dimensions: d_y, increasing.
        copies: of each of three indefinite components; n is three times that.
        seeds, steps: per grid point.
    """

    padded: int
    dimensions: tuple[int, ...]
    decays: tuple[float, ...]
    cut: tuple[int, ...]
    directions: tuple[int, ...]
    laws: tuple[str, ...]
    components: tuple[int, ...]
    orderings: tuple[str, ...]
    first_dimensions: tuple[int, ...]
    copies: tuple[int, ...]
    seeds: int
    steps: int


QUICK = Settings(
    padded=256, dimensions=(50, 256), decays=(0.5, 1.0, 2.0), cut=(64, 256), directions=(8,), laws=("rademacher",),
    components=(2, 64), orderings=(), first_dimensions=(1, 8, 64), copies=(1, 2, 4, 8), seeds=64, steps=192,
)  # fmt: skip
FULL = Settings(
    padded=512, dimensions=(50, 100, 200, 512), decays=(0.25, 0.5, 1.0, 1.5, 2.0), cut=(64, 128, 256, 512),
    directions=(2, 8, 32, 128), laws=("rademacher", "sphere"), components=(2, 8, 32, 128),
    orderings=("incremental", "with_replacement"), first_dimensions=(1, 4, 16, 64), copies=(1, 2, 4, 8, 16, 32),
    seeds=128, steps=256,
)  # fmt: skip


def cells(settings: Settings) -> list[dict[str, Any]]:
    """A cell is one limit (or two, of both blocks at once, or three, of all orderings)."""
    s, effort = settings, {"seeds": settings.seeds, "steps": settings.steps}
    padded = {"length": s.padded, "smoothness": 1.0, "decay": 0.0, "directions": 1, "law": "gaussian", **effort}
    # Many directions move far in one step: more runs of fewer steps, against heavy tails.
    short = {**padded, "length": 64, "d": 64, "seeds": 4 * s.seeds}
    spectra = [
        *({"family": "dimension", **padded, "d": d, "smoothness": L} for L in SMOOTHNESS for d in s.dimensions),
        *({"family": "bounded rank", **padded, "d": d, "decay": 2.0} for d in s.cut),
        *({"family": "rank", **padded, "d": s.padded, "decay": p} for p in s.decays),
        {"family": "directions", **padded, "d": 64},
        *({"family": "directions", **short, "directions": q, "steps": max(12, s.steps // q)} for q in s.directions),
        {"family": "law", **padded, "d": D, "law": "gaussian"},
        *({"family": "law", **padded, "length": D, "d": D, "law": law} for law in s.laws),
    ]
    orders = [("random_reshuffling", n) for n in s.components]
    orders += [(name, s.components[-1]) for name in s.orderings]
    return [
        *({"part": "spectrum", **cell} for cell in spectra),
        # The component drawn makes noise of its own: four times the runs times steps for the same interval.
        *({"part": "convex", "ordering": name, "n": n, "seeds": 2 * s.seeds, "steps": 2 * s.steps} for name, n in orders),
        # At least one flat direction in each: problems of one structure share a program.
        *({"part": "first_dimension", "d": d, "length": s.first_dimensions[-1] + 1, **effort} for d in s.first_dimensions),
        *({"part": "operator", "decay": p} for p in (1.0, 2.0)),
        *({"part": "indefinite", "copies": c} for c in s.copies),
    ]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Rows (family, series, x, value, low, high, samples, note, predicted): a limit and what it is measured against."""
    return pd.DataFrame(getattr(_limits, cell["part"])(cell, key))[COLUMNS]


def judge(frame: pd.DataFrame) -> list[Verdict]:
    """Sixteen claims; limits are compared in units of what is predicted for them."""
    families = dict(list(frame.groupby("family")))
    convex, turning = families["convex x"], families["indefinite"]
    orders = ", ".join(name.replace("_", " ") for name in convex.series.unique())
    which = f"n = {convex.x.min():g} to {convex.x.max():g}, {orders}"
    spectra = f"spectra of effective rank {families['rank'].x.min():.0f} to {families['rank'].x.max():.0f}"
    laws = " and ".join(LAWS[law] for law in families["law"].series.unique())
    named = [
        ("eta_x = 2/(L_x(d_x+2)) for equal eigenvalues, over d_x and L_x", ["dimension"], TOLERANCE, STABILITY),
        ("eta_x = 2q/(L_x(d_x+q+1)) over the number of directions q", ["directions"], TOLERANCE, STABILITY),
        (f"eta_x = {laws}", ["law"], TOLERANCE, STABILITY),
        (f"eta_x solves the secular equation, over {spectra}", ["rank", "bounded rank"], TOLERANCE, STABILITY),
        ("eta_x solves the secular equation for i^-1 and i^-2: exact operator, no samples", ["operator"], 0.01, STABILITY),
        (f"eta_x = 2/(L_x(d_x+2)) for convex components, {which}", ["convex x"], 0.05, BOX),
        (f"eta_y = 2/L_y for convex components, {which}", ["convex y"], TOLERANCE, BOX),
        ("eta_y of a coupled block is on the exact boundary, over d_y", ["first dimension"], TOLERANCE, STABILITY),
        ("indefinite, not commuting, with replacement: eta_y = 2h/(h^2+s^2), exact operator", ["indefinite"], 1e-3, TURNING),
    ]  # fmt: skip
    verdicts = []
    for name, members, tolerance, source in named:
        rows = pd.concat([families[member] for member in members])
        rows = rows[rows.predicted.notna()]
        ratios = [_rows.measurement(row, per=row.predicted, name=f"{row.family}, {row.x:g}") for _, row in rows.iterrows()]
        statement = claim(f"{name}: measured / predicted", source, "equals", 1.0, tolerance=tolerance)
        verdicts.append(statement.check(family.farthest("limit / predicted", ratios, centre=1.0)))
    reshuffled, sorted_types = (_decay(turning[turning.series == name]) for name in ("random_reshuffling", "incremental"))
    rank = families["rank"].sort_values("x").iloc[0]
    isotropic = families["dimension"].query("series == 'L = 1'").sort_values("x").iloc[-1]  # of the same dimension
    return [
        *verdicts,
        _exponent("eta_y against n, indefinite, reshuffled (all orderings)", -0.5, 0.1, TURNING).check(reshuffled),
        _exponent("eta_y against n, indefinite, like components in a row", -1.0, 0.1, TURNING).check(sorted_types),
        _exponent("eta_y against d_y", 0.0, 0.02, PUBLISHED).check(_trend(families["first dimension"])),
        _exponent("eta_y against n, indefinite, reshuffled (all orderings)", -1.0, 0.1, PUBLISHED,
                  why="over random orders the first-order noise of an epoch cancels").check(reshuffled),
        _exponent("eta_x against n, convex components, reshuffled", -1.0, 0.1, PUBLISHED,
                  why="convex components contract one by one, whatever their number").check(
                      _trend(convex[convex.series == "random_reshuffling"])),
        _exponent("eta_x against d_x at bounded effective rank", -1.0, 0.1, PUBLISHED,
                  why="the trace of the Hessian sets the limit, not the dimension").check(_trend(families["bounded rank"])),
        claim(
            f"spectrum of effective rank {rank.x:.0f}: the limit of eta_x is that of equal eigenvalues: ratio of the two",
            "folklore: d_x sets the step size", "equals", 1.0, tolerance=TOLERANCE, expected="fails",
            why="the trace of the Hessian sets the limit, not the dimension",
        ).check(family.ratio("limit / limit", _rows.measurement(rank), _rows.measurement(isotropic))),
    ]  # fmt: skip


def _exponent(what: str, predicted: float, tolerance: float, source: str, *, why: str = "") -> Claim:
    """A claim on the exponent in "limit of eta ~ x^exponent", expected to fail where a reason is given."""
    return claim(
        f"exponent of the limit of {what}", source, "equals", predicted, tolerance=tolerance,
        expected="fails" if why else "holds", why=why,
    )  # fmt: skip


def _trend(rows: pd.DataFrame) -> Measurement:
    """The exponent between the smallest and the largest x of a family."""
    ends = rows.sort_values("x").iloc[[0, -1]]
    first, last = (_rows.measurement(row) for _, row in ends.iterrows())
    return family.exponent("exponent", first, last, float(ends.x.iloc[1] / ends.x.iloc[0]))


def _decay(rows: pd.DataFrame) -> Measurement:
    """The least-squares exponent of exact limits, without the smallest n, where the asymptotics are not to be expected."""
    kept = rows[rows.x > rows.x.min()]
    return exact("exponent", float(np.polyfit(np.log(kept.x), np.log(kept.value), 1)[0]))


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    """Six panels: eta_x against d_x, q and rank; both against n for convex components; eta_y against d_y and n."""
    figure, axes = figures.new_figure(2, 3, width=11, height=7.6)
    families = {str(name): rows.sort_values("x") for name, rows in frame.groupby("family")}
    panels = (
        _against_dimension, _against_directions, _against_rank,
        _against_components, _against_first_dimension, _indefinite_components,
    )  # fmt: skip
    for panel, draw_panel in zip(axes.flat, panels, strict=True):
        draw_panel(panel, families)
    figures.title_with_verdicts(figure, "Largest stable step sizes of the two blocks, measured and predicted", verdicts)
    return figure


def _points(
    axes: Axes, rows: pd.DataFrame, like: str, label: str = "", *, per: float = 1.0, aside: float = 1.0, hollow: bool = False
) -> None:
    """Measured limits times `per` with their intervals, at x times `aside`; hollow ones are exact."""
    ends = (per * rows[end] for end in _rows.ENDS)
    figures.points(axes, aside * rows.x, *ends, like=like, label=label, hollow=hollow)


def _orderings(axes: Axes, rows: pd.DataFrame, *, labelled: bool = True, per: float = 1.0, hollow: bool = False) -> None:
    """The limits under all orderings that were measured, side by side."""
    for aside, name in zip((1.0, 1.12, 0.9), ORDERINGS, strict=True):
        if len(part := rows[rows.series == name]):
            label = figures.look(name).label if labelled else ""
            _points(axes, part, name, label, per=per, aside=1.0 if hollow else aside, hollow=hollow)


def _against_dimension(axes: Axes, families: dict[str, pd.DataFrame]) -> None:
    rows, cut = families["dimension"], families["bounded rank"]
    d = np.geomspace(rows.x.min(), rows.x.max(), 50)
    for series in rows.series.unique():
        smoothness = float(series.removeprefix("L = "))
        figures.theory_line(axes, d, 2 / (smoothness * (d + 2)), label="exact")
        axes.annotate(f"$L_x = {smoothness:g}$", (d[0], 2 / (smoothness * (d[0] + 2))), (3, -16), textcoords="offset points")
    figures.theory_line(axes, cut.x, cut.predicted, label="")
    _points(axes, rows, "zeroth_order", "equal eigenvalues")
    _points(axes, cut, "sphere", "$(1+i/32)^{-2}$: bounded rank, $L_x = 1$")
    figures.log_log(axes, rows.x)
    axes.set(xlabel="$d_x$", ylabel=r"limit of $\eta_x$", title="zeroth-order block: dimension")
    axes.set_ylim(top=500 * rows.value.max())
    figures.legend(axes, loc="upper right")


def _against_directions(axes: Axes, families: dict[str, pd.DataFrame]) -> None:
    """The number of directions, and in the empty corner the law of one."""
    rows, laws = families["directions"], families["law"]
    q = np.geomspace(1, 160, 50)
    figures.theory_line(axes, q, 2 * q / (64 + q + 1), label="exact, $2q/(d_x+q+1)$")
    _points(axes, rows, "gaussian", "Gaussian, $d_x = 64$")
    figures.log_log(axes, [1, 2, 8, 32, 128])
    axes.set(xlabel="directions $q$", ylabel=r"limit of $\eta_x L_x$", ylim=(0.004, 10))
    axes.set_title("number and law of directions")
    figures.legend(axes, loc="upper left")
    inset = axes.inset_axes((0.5, 0.09, 0.48, 0.25))
    for i, law in enumerate(laws.series):
        row = laws[laws.series == law]
        figures.theory_line(inset, [i - 0.35, i + 0.35], 2 * [D * row.predicted.iloc[0] / 2])
        _points(inset, row.assign(x=float(i)), law, per=D / 2)
    inset.set_xticks(range(len(laws)), [INSET[law] for law in laws.series], fontsize=7.5)
    inset.set(xlim=(-0.6, len(laws) - 0.4), ylim=(0.93, 1.03))
    inset.tick_params(axis="y", labelsize=7.5)
    inset.set_title(rf"$\eta_x L_x d_x/2$ at $q = 1$, $d_x = {D}$", fontsize=8)


def _against_rank(axes: Axes, families: dict[str, pd.DataFrame]) -> None:
    isotropic = families["dimension"].query("series == 'L = 1'").tail(1)
    sampled, operated = pd.concat([families["rank"], isotropic]), families["operator"]
    both = pd.concat([operated, sampled]).sort_values("x")
    d, r = float(isotropic.x.iloc[0]), np.geomspace(both.x.min(), both.x.max(), 50)
    axes.fill_between(r, 2 / (r + 2), 2 / r, color="black", alpha=0.1, linewidth=0, label="bracket from the trace")
    figures.theory_line(axes, both.x, both.predicted, label="exact (secular equation)")
    figures.theory_line(axes, r, np.full_like(r, 2 / (d + 2)), label=f"from $d_x = {d:g}$ alone", line=":")
    _points(axes, sampled, "zeroth_order", f"$(1+i/{PLATEAU})^{{-p}}$, $d_x = {d:g}$")
    _points(axes, operated, "zeroth_order", f"$i^{{-1}}$, $i^{{-2}}$, $d_x = {D}$: operator", hollow=True)
    figures.log_log(axes, [2, 5, 10, 20, 50, 100, 200, 500])
    axes.set(xlabel="effective rank, tr $H_{xx}/L_x$", title="effective rank")
    axes.set(ylabel=r"limit of $\eta_x L_x$", xlim=(both.x.min() / 1.3, both.x.max() * 1.3), ylim=(5e-5, 2))
    figures.legend(axes, loc="lower left", fontsize=8.5)


def _against_components(axes: Axes, families: dict[str, pd.DataFrame]) -> None:
    n = np.array([families["convex x"].x.min(), families["convex x"].x.max()])
    for label, limit, published in (("y", 2.0, 1 / n), ("x", 2 / (D + 2), 1 / (n * D))):
        figures.theory_line(axes, n, [limit, limit], label="exact, $2$ and $2/(d_x+2)$")
        figures.theory_line(axes, n, published, label="published, $1/n$ and $1/(n d_x)$", line="--")
        axes.annotate(rf"$\eta_{label}$", (n[0], limit), (0, 6), textcoords="offset points")
        _orderings(axes, families[f"convex {label}"], labelled=label == "x", per=2.0)
    figures.log_log(axes, families["convex x"].x)
    axes.set(xlabel="components $n$", ylabel=r"limit of $\eta_b L_b$", ylim=(1e-7, 10))
    axes.set_title(f"both blocks: convex components, $d_x = {D}$")
    figures.legend(axes, loc="lower left", fontsize=8.5)


def _against_first_dimension(axes: Axes, families: dict[str, pd.DataFrame]) -> None:
    rows = families["first dimension"]
    figures.theory_line(axes, rows.x, rows.predicted, label="exact boundary")
    _points(axes, rows, "hybrid", r"coupling 0.5, $\eta_x$ at half its limit")
    figures.log_log(axes, rows.x)
    axes.set(
        xlabel="$d_y$",
        ylabel=r"limit of $\eta_y\,\Vert H_{yy}\Vert$",
        yscale="linear",
        ylim=(0, 2.5),
        title="first-order block: dimension",
    )
    figures.legend(axes, loc="lower left")


def _indefinite_components(axes: Axes, families: dict[str, pd.DataFrame]) -> None:
    rows, per = families["indefinite"], MEAN + SPREAD
    n = np.array([rows.x.min(), rows.x.max()])
    figures.theory_line(axes, n, np.full(2, per * rows.predicted.max()), label="exact, $2hL_y/(h^2+s^2)$")
    for name, power in (("random_reshuffling", -0.5), ("incremental", -1.0)):
        last = rows[rows.series == name].iloc[-1]
        label = "through the last: $n^{-1/2}$, $n^{-1}$"
        figures.theory_line(axes, n, per * last.value * (n / last.x) ** power, label=label, line=":")
    figures.theory_line(axes, n, 1 / n, label="published, $1/n$", line="--")
    _orderings(axes, rows, hollow=True, per=per)
    figures.log_log(axes, rows.x)
    axes.set(xlabel="components $n$", ylabel=r"limit of $\eta_y L_y$", ylim=(5e-7, 3))
    axes.set_title("first-order block: indefinite components")
    figures.legend(axes, loc="lower left", fontsize=8.5)
