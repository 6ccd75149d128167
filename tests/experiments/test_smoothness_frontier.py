"""The judge of `smoothness_frontier` on fabricated frames, and its cells at the smallest size."""

import jax
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import _rows, smoothness_frontier
from experiments.smoothness_frontier import COMPONENTS, FEW, PRODUCTS
from theory_lab.measure import Measurement, exact


def point(value: float, half: float = 0.0) -> dict[str, object]:
    return _rows.row(Measurement("", value, value * (1 - half), value * (1 + half), 1))


@pytest.fixture
def frame() -> pd.DataFrame:
    """The hyperbola (L_x - 1)(L_y - 1) = 0.64, measured to 1%, for all three Hessians."""
    xs, rows = np.geomspace(1.2, 8, 7), []
    pairs = [{"x": x, "y": 1 + 0.64 / (x - 1)} for x in xs]
    for case in ("convex", "indefinite 0", "Gram 0"):
        for pair in pairs:
            at = {"case": case, **pair}
            rows += [{"what": what, **at, **point(1.0)} for what in ("upper", "lower")]
            for sided in (1, 2):
                of = {**at, "sided": sided, "products": PRODUCTS}
                rows.append({"what": "point", **of, **point(1.0, 0.01), "predicted": 1.0})
                norm = 1.5 if case == "indefinite 0" and sided == 1 else 0.999
                rows += [{"what": "2-sided norm", **of, **point(norm)}, {"what": "1-sided norm", **of, **point(0.999)}]
            rows += [{"what": "outside", **at, **point(0.998)}, {"what": "inside", **at, **point(1.02)}]
            if case == "convex":
                rows.append({"what": "point", **at, "sided": 1, "products": FEW, **point(1.0, 0.3), "predicted": 1.0})
                rows.append({"what": "budget", **at, **point(pair["y"] * 1.01), "predicted": pair["y"]})
                steps = {"case": case, "x": 1 / pair["x"], "y": 1 / pair["y"]}
                rows += [{"what": "first order", **steps, **point(2.01)}, {"what": "box", **steps, **point(1.1)}]
                rows.append({"what": "stable", **steps, **point(1.0)})
    rows += [
        {"what": "corner", "case": "convex", "x": 1.0, "y": 1.0, **point(1.8)},
        {"what": "probed", "x": 1.5, "y": 1.5, **point(0.8)},
        {"what": "component", **point(COMPONENTS - 1.0, 0.01)},
    ]
    rows += [{"what": "blocks", "x": b, **_rows.row(exact("", value))} for b in (2, 3) for value in (0.7, 1.0)]
    return pd.DataFrame(rows).reindex(columns=smoothness_frontier.COLUMNS)


def unexpected(frame: pd.DataFrame) -> set[str]:
    return {v.claim[:20] for v in smoothness_frontier.judge(frame) if v.outcome != v.expected}


def scaled(frame: pd.DataFrame, here: pd.Series, factor: float) -> pd.DataFrame:
    return frame.assign(**{end: frame[end] * np.where(here, factor, 1.0) for end in _rows.ENDS})


def test_a_frontier_that_is_exact_is_recognised(frame: pd.DataFrame) -> None:
    assert unexpected(frame) == set()
    assert len(smoothness_frontier.judge(frame)) == 12


@pytest.mark.parametrize(
    "what, factor, caught",
    [
        ("budget", 1.1, "budgets for L_x: cer"),
        ("budget", 0.9, "budgets for L_x: cer"),
        ("component", 1 / 7, "8 components below D"),
        ("corner", 0.5, "L_b = norms of the d"),
        ("probed", 1.5, "a pair violated by a"),
        ("outside", 1.01, "certified pairs: lar"),
        ("inside", 0.97, "0.97 of the frontier"),
        ("blocks", 1.01, "semidefinite, scales"),
        ("blocks", 0.9, "semidefinite, scales"),
        ("first order", 1.1, "first order: stable "),
        ("box", 0.8, "hybrid: stable step "),
    ],
)
def test_numbers_that_are_off_are_caught(frame: pd.DataFrame, what: str, factor: float, caught: str) -> None:
    assert unexpected(scaled(frame, frame.what == what, factor)) == {caught[:20]}


@pytest.mark.parametrize("sided", [1, 2])
def test_one_multiple_off_the_frontier_is_caught(frame: pd.DataFrame, sided: int) -> None:
    here = (frame.what == "point") & (frame.sided == sided) & (frame["products"] == PRODUCTS)
    one = here & (frame.index == frame[here].index[3])
    assert unexpected(scaled(frame, one, 1.1)) == {"multiples along all "}


@pytest.mark.parametrize(
    "case, factor, caught", [("Gram 0", 1.1, "convex, Gram: norm i"), ("indefinite 0", 0.5, "indefinite: the same")]
)
def test_norms_on_the_other_side_are_told_apart(frame: pd.DataFrame, case: str, factor: float, caught: str) -> None:
    here = (frame.what == "2-sided norm") & (frame.sided == 1) & (frame.case == case)
    assert unexpected(scaled(frame, here, factor)) == {caught}


def test_it_draws(frame: pd.DataFrame) -> None:
    assert isinstance(smoothness_frontier.draw(frame, smoothness_frontier.judge(frame)), Figure)


def test_cells_are_distinct_and_every_kind_computes() -> None:
    cells = smoothness_frontier.cells(smoothness_frontier.QUICK)
    assert len({str(cell) for cell in cells}) == len(cells)
    small = {"points": 2, "ascents": 2, "instances": 2}
    one = {cell["what"]: {**cell, **{name: small[name] for name in small if name in cell}} for cell in cells}
    for cell in one.values():
        rows = smoothness_frontier.compute(cell, jax.random.key(0))
        assert list(rows.columns) == smoothness_frontier.COLUMNS
        assert np.isfinite(rows.value).all()
