"""Which pairs (L_x, L_y) dominate a coupled Hessian, is the frontier found by products, and what is it worth in step sizes?

For H = [[A, B], [B', C]] the pairs with H <= diag(L_x I, L_y I) end at L_y = lambda_max(C + B'(L_x I - A)^-1 B) over
L_x > lambda_max(A) (theory_lab, frontier of hybrid smoothness); two-sided, where the curve of H or that of -H is higher.
`smoothness.frontier` finds points of it by Lanczos in scaled coordinates, each with its interval, certified together at 99%;
`smoothness.partner` finds L_y where a budget sets L_x. Hessians of 48 and 32 dimensions: convex, with unit blocks,
coupling 0.8 and frontier (L_x - 1)(L_y - 1) = 0.64; indefinite; Gram matrices. Exact numbers by dense linear algebra.

What does not certify: the diagonal blocks, random directions, one side alone where something is indefinite. What the
frontier is worth: steps 1/L_b are half of what first-order descent bears, at every point of it; and each of its points gives
hybrid descent a safe box of its own, 2/(L_x (d_x + 2)) by 2/L_y, whose union is more than the box of any one pair.

Refuted by: a multiple off by 5%, a violation found outside the frontier, none found a little inside, a box that leaves the
stable region. Minutes: quick 0.2, full 0.5.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments import _frontier_panels as panels
from experiments import _rows
from experiments._two_blocks import COUPLING, SIZES, ascent, hessian_of, multiple, quadratic, quotients, schur
from theory_lab.claims import Verdict, claim
from theory_lab.measure import Measurement, exact, family, smoothness
from theory_lab.report import figures
from theory_lab.theory import stability_region

BUDGETS = (1.25, 1.5, 2.0, 3.0)  # L_x over lambda_max(A)
PRODUCTS = 32
FEW = 8  # products of the points that show what little says
INSIDE = 0.97  # of the frontier: where a search must find a violation
PROBED = 10_000  # random directions
COMPONENTS = 8
COLUMNS = ["what", "case", "sided", "products", "x", "y", "value", "low", "high", "samples", "note", "predicted"]
FRONTIER, TWO_SIDED = "theory_lab, frontier of hybrid smoothness", "theory_lab, two-sided smoothness"
BOX = "theory_lab, Theorem 5, box"


@dataclass(frozen=True)
class Settings:
    """The effort.

    Attributes:
        draws: random Hessians of either kind.
        points: of every frontier.
        ascents: at every point that is searched.
        instances: random Hessians for every number of blocks.
    """

    draws: int
    points: int
    ascents: int
    instances: int


QUICK = Settings(draws=1, points=9, ascents=4, instances=8)
FULL = Settings(draws=6, points=17, ascents=20, instances=60)


def cells(settings: Settings) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for case in ("convex", *(f"{kind} {i}" for i in range(settings.draws) for kind in ("indefinite", "Gram"))):
        at = {"case": case, "points": settings.points}
        made.append({"what": "curve", "case": case})
        made += [{"what": "frontier", **at, "sided": sided, "products": PRODUCTS} for sided in (1, 2)]
        made.append({"what": "search", **at, "ascents": settings.ascents})
    made.append({"what": "frontier", "case": "convex", "points": settings.points, "sided": 1, "products": FEW})
    made += [{"what": what, "case": "convex", "points": settings.points} for what in ("budget", "corner", "steps")]
    made += [{"what": "blocks", "blocks": blocks, "instances": settings.instances} for blocks in (2, 3, 4)]
    return [*made, {"what": "component"}]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Rows with `COLUMNS`: x and y are a pair (L_x, L_y) or of step sizes, `predicted` is the exact number."""
    parts = {
        "curve": _curve, "frontier": _frontier, "search": _search, "budget": _budget, "corner": _corner, "steps": _steps,
        "blocks": _blocks, "component": _component,
    }  # fmt: skip
    defaults = {"case": cell.get("case", ""), "samples": 1, "note": ""}
    return pd.DataFrame([{**defaults, **row} for row in parts[cell["what"]](cell, key)]).reindex(columns=COLUMNS)


def _point() -> dict[str, jax.Array]:
    return {label: jnp.zeros(size) for label, size in SIZES.items()}


def _ratios(points: int, products: int) -> np.ndarray:
    """L_y/L_x; those of few products between the others."""
    ratios = np.geomspace(1 / 12, 12, points)
    return np.sqrt(ratios[1:] * ratios[:-1]) if products == FEW else ratios


def _found(cell: dict[str, Any], key: jax.Array, sided: int, products: int) -> list[smoothness.FrontierPoint]:
    scales = [{"x": 1.0, "y": float(t)} for t in _ratios(cell["points"], products)]
    return smoothness.frontier(
        quadratic, _point(), scales, key=key, two_sided=sided == 2, iterations=products, args=(hessian_of(cell["case"]),)
    )


def _curve(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """The exact curves of H and of -H."""
    del key
    matrix, xs = hessian_of(cell["case"]), 1 + np.geomspace(1e-3, 12, 120)
    made = []
    for what, signed in (("upper", matrix), ("lower", -matrix)):
        end = max(float(np.linalg.eigvalsh(signed[: SIZES["x"], : SIZES["x"]])[-1]), 0.05)
        made += [{"what": what, "x": end * x, "y": schur(signed, end * x), "value": 1.0} for x in xs]
    return made


def _frontier(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """Measured multiples c(s) of scales (1, t), beside the exact ones; (x, y) is the certified pair."""
    matrix, rows = hessian_of(cell["case"]), []
    for point in _found(cell, key, cell["sided"], cell["products"]):
        pair = (point.smoothness["x"], point.smoothness["y"])
        truth = multiple(matrix, (point.scales["x"], point.scales["y"]), cell["sided"])
        at = {"sided": cell["sided"], "products": cell["products"], "x": pair[0], "y": pair[1]}
        rows.append({"what": "point", **at, **_rows.row(point.multiple), "predicted": truth})
        for sided in (1, 2):  # what the certified pair does on either count
            rows.append({"what": f"{sided}-sided norm", **at, **_rows.row(exact("", multiple(matrix, pair, sided)))})
    return rows


def _search(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """The largest v'Hv/v'Dv that random directions and ascents from some find, at certified pairs and a little inside."""
    matrix, rng, rows = hessian_of(cell["case"]), np.random.default_rng(np.asarray(jax.random.key_data(key))), []
    for point in _found(cell, key, 1, PRODUCTS):
        at = {"x": point.smoothness["x"], "y": point.smoothness["y"]}
        diagonal = np.repeat([at["x"], at["y"]], list(SIZES.values()))
        best = max(
            quotients(matrix, diagonal, rng, PROBED).max(), *(ascent(matrix, diagonal, rng) for _ in range(cell["ascents"]))
        )
        truth = multiple(matrix, (at["x"], at["y"]))
        inside = best / (truth * INSIDE)  # at the pair INSIDE times the exact frontier's on the same ray
        rows += [
            {"what": "outside", **at, **_rows.row(exact("", best))},
            {"what": "inside", **at, **_rows.row(exact("", inside))},
        ]
    return rows


def _budget(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """What a budget for L_x leaves to pay: the partner L_y, certified."""
    matrix, rows = hessian_of(cell["case"]), []
    for i, given in enumerate(BUDGETS):
        found = smoothness.partner(
            quadratic, _point(), given={"x": given}, label="y", key=jax.random.fold_in(key, i), two_sided=False,
            iterations=PRODUCTS, args=(matrix,),
        )  # fmt: skip
        rows.append(
            {"what": "budget", "x": given, "y": found, **_rows.row(exact("", found)), "predicted": schur(matrix, given)}
        )
    return rows


def _corner(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """v'Hv/v'Dv at the corner of the diagonal blocks, along the margin's own direction; and what random directions see."""
    matrix, m = hessian_of(cell["case"]), SIZES["x"]
    corner = {"x": float(np.linalg.norm(matrix[:m, :m], 2)), "y": float(np.linalg.norm(matrix[m:, m:], 2))}
    found = smoothness.margin(quadratic, _point(), corner, key=key, iterations=PRODUCTS, args=(matrix,))
    assert found.direction is not None  # quadratics are finite
    v = np.concatenate([np.asarray(found.direction[label]) for label in sorted(SIZES)])
    quotient = v @ matrix @ v / (v @ (np.repeat(list(corner.values()), list(SIZES.values())) * v))
    pair = (1 + COUPLING) / 1.2  # of both blocks: violated by a fifth
    seen = quotients(
        matrix, np.full(v.size, pair), np.random.default_rng(np.asarray(jax.random.key_data(key))), PROBED
    ).max()
    truth = multiple(matrix, (corner["x"], corner["y"]))
    return [
        {"what": "corner", **corner, **_rows.row(exact("", quotient)), "predicted": truth, "note": found.one_sided},
        {"what": "probed", "x": pair, "y": pair, **_rows.row(exact("", seen)), "predicted": multiple(matrix, (pair, pair))},
    ]


def _steps(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """On the ray of every point's steps: the exact stable step in units of 1/L_b, and of the side of its box."""
    matrix, rows = hessian_of(cell["case"]), []
    for point in _found(cell, key, 1, PRODUCTS):
        pair = (point.smoothness["x"], point.smoothness["y"])
        first = (1 / pair[0], 1 / pair[1])
        moving = np.repeat(first, list(SIZES.values()))[:, None] * matrix  # of z+ = z - t P H z
        limit = 2 / np.linalg.eigvals(moving).real.max()
        box = stability_region.hybrid_smoothness_box(pair, SIZES["x"])
        edge = stability_region.boundary_on_ray(matrix, SIZES["x"], box)
        rows += [
            {"what": "first order", "x": first[0], "y": first[1], **_rows.row(exact("", limit)), "predicted": 2.0},
            {"what": "box", "x": box[0], "y": box[1], **_rows.row(exact("", edge[0] / box[0])), "predicted": 1.0},
        ]
    for angle in np.linspace(0, np.pi / 2, 61):
        ray = (np.cos(angle) / (SIZES["x"] + 2), np.sin(angle))
        x, y = stability_region.boundary_on_ray(matrix, SIZES["x"], (max(ray[0], 0.0), max(ray[1], 0.0)))
        rows.append({"what": "stable", "x": x, "y": y, "value": 1.0})
    return rows


def _blocks(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """The multiple that scales ||H_bb|| need, over the number of blocks, for random semidefinite Hessians of rank 1 to d."""
    rng, number = np.random.default_rng(np.asarray(jax.random.key_data(key))), cell["blocks"]
    sizes, rows = {f"block {i}": 6 + 3 * i for i in range(number)}, []
    d, edges = sum(sizes.values()), np.cumsum([0, *sizes.values()])
    for i in range(cell["instances"]):
        root = rng.standard_normal((d, (1, 2, 5, d)[i % 4]))
        matrix = root @ root.T
        norms = [float(np.linalg.norm(matrix[a:b, a:b], 2)) for a, b in pairwise(edges)]
        (point,) = smoothness.frontier(
            quadratic, {label: jnp.zeros(size) for label, size in sizes.items()}, [dict(zip(sizes, norms, strict=True))],
            key=jax.random.fold_in(key, i), iterations=d, args=(matrix,),
        )  # fmt: skip
        ratio = _rows.measurement(_rows.row(point.multiple), per=number)
        rows.append({"what": "blocks", "x": number, **_rows.row(ratio), "predicted": 1.0})
    return rows


def _component(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """n - 1 components H and one of -(n - 1) H: all below D, their mean zero, and that one far below -D."""
    del cell
    matrix, pair = -(COMPONENTS - 1) * hessian_of("convex"), {"x": 1 + COUPLING, "y": 1 + COUPLING}
    (point,) = smoothness.frontier(quadratic, _point(), [pair], key=key, iterations=PRODUCTS, args=(matrix,))
    return [{"what": "component", **pair, **_rows.row(point.multiple), "predicted": COMPONENTS - 1.0}]


def judge(frame: pd.DataFrame) -> list[Verdict]:
    """Twelve claims."""
    multiples = claim("multiples along all frontiers: measured / exact", FRONTIER, "equals", 1, tolerance=0.05)
    budgets = claim("budgets for L_x: certified L_y / the Schur form's", FRONTIER, "equals", 1, tolerance=0.05)
    both = claim("convex, Gram: norm in units of pairs D certified for H <= D alone", FRONTIER, "at most", 1)
    above = claim(
        "indefinite: the same", "folklore: bounding a Hessian above bounds it", "at most", 1,
        expected="fails", why="the frontier of -H lies higher where H is more negative than positive",
    )  # fmt: skip
    component = claim(
        f"{COMPONENTS} components below D with mean zero: norm of the worst in units of D", TWO_SIDED, "equals",
        COMPONENTS - 1, tolerance=0.05 * (COMPONENTS - 1),
    )  # fmt: skip
    corner = claim(
        "L_b = norms of the diagonal blocks: v'Hv/v'Dv along the direction found",
        "folklore: the diagonal blocks' norms certify", "at most", 1, expected="fails", why="the coupling adds 0.8",
    )  # fmt: skip
    probed = claim(
        f"a pair violated by a fifth: largest v'Hv/v'Dv of {PROBED} random directions",
        "folklore: random directions find a violation", "at least", 1,
        expected="fails", why="in many dimensions all of them see the average",
    )  # fmt: skip
    outside = claim("certified pairs: largest v'Hv/v'Dv by search", FRONTIER, "at most", 1)
    inside = claim(f"{INSIDE} of the frontier: least v'Hv/v'Dv by search", FRONTIER, "at least", 1)
    blocks = claim(
        "semidefinite, scales ||H_bb||: largest multiple / number of blocks, attained at rank one", FRONTIER, "equals", 1,
        tolerance=1e-6,
    )  # fmt: skip
    first = claim("first order: stable step / (1/L) along the frontier", FRONTIER, "equals", 2, tolerance=0.1)
    boxes = claim("hybrid: stable step / side of each frontier point's box", BOX, "at least", 1)
    points = frame[(frame.what == "point") & (frame["products"] == PRODUCTS)]
    upper = frame[(frame.what == "2-sided norm") & (frame.sided == 1)]
    indefinite = upper.case.str.startswith("indefinite")
    found = lambda what: _rows.measurements(frame[frame.what == what])
    return [
        multiples.check(family.farthest("measured / exact", _over_exact(points), centre=1)),
        budgets.check(family.farthest("certified / exact", _over_exact(frame[frame.what == "budget"]), centre=1)),
        both.check(family.largest("norm", _rows.measurements(upper[~indefinite]))),
        above.check(family.largest("norm", _rows.measurements(upper[indefinite]))),
        component.check(found("component")[0]),
        corner.check(found("corner")[0]),
        probed.check(found("probed")[0]),
        outside.check(family.largest("quotient", found("outside"))),
        inside.check(family.smallest("quotient", found("inside"))),
        blocks.check(family.largest("multiple / blocks", found("blocks"))),
        first.check(family.farthest("stable / (1/L)", found("first order"), centre=2)),
        boxes.check(family.smallest("stable / side", found("box"))),
    ]


def _over_exact(rows: pd.DataFrame) -> list[Measurement]:
    return _rows.measurements(_rows.quotients(rows, "predicted"))


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    figure, axes = figures.new_figure(1, 3, width=13, height=5.6)
    panels.convex(axes[0, 0], frame)
    panels.indefinite(axes[0, 1], frame)
    panels.step_sizes(axes[0, 2], frame, SIZES["x"] + 2)
    figures.title_with_verdicts(
        figure, "Which pairs $(L_x, L_y)$ dominate a Hessian, and the step sizes that they allow", verdicts
    )
    return figure
