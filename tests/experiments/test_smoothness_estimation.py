"""The judge of `smoothness_estimation` on fabricated frames, and its cells at the smallest size."""

import jax
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import _rows, smoothness_estimation
from experiments._estimation_rows import ANSWERS, MARGINS, MOMENTS, POWERS
from experiments.smoothness_estimation import KINDS, OUTER, PRODUCTS
from theory_lab.measure import Measurement, rate


def share(good: int, of: int) -> dict[str, object]:
    return _rows.row(rate.proportion(good, of))


def near(value: float, half: float = 0.02) -> dict[str, object]:
    return _rows.row(Measurement("", value, value * (1 - half), value * (1 + half), 500))


@pytest.fixture
def frame() -> pd.DataFrame:
    """Every promise kept, with the slack that is usual."""
    rows: list[dict[str, object]] = []
    for kind in KINDS:
        at = {"case": kind, "coupling": 0.9}
        rows += [
            {"what": "inner", **at, "precision": p, "products": k, **near(0.1 / k), "predicted": 1 / k}
            for k in PRODUCTS
            for p in ("float64", "float32")
        ]
        rows += [
            {"what": "outer", **at, "precision": "float64", "products": k, **near(1 / k), "predicted": 2 / k} for k in OUTER
        ]
        rows += [{"what": "covered", **at, "probability": p, **share(good, 500)} for p, good in ((0.9, 480), (0.99, 499))]
        rows.append({"what": "within the law", **at, "probability": 0.9, **share(490, 500)})
    rows += [{"what": "sharp", **share(1900, 2000)}, {"what": "residual bound", **share(0, 2000)}]
    for what, sizes in (("dimension", (100, 1000)), ("condition", (4, 64))):
        for size in sizes:
            rows += [{"what": what, "size": size, **near(20.0, 0.1), "predicted": 25.0}]
            rows += [{"what": "sufficed", "size": size, **share(97, 100)}]
    for case, power in POWERS.items():
        for m in (12, 96):
            at = {"case": case, "products": m}
            rows += [{"what": "Hutchinson", **at, **near(2 / m, 0.1), "predicted": 2 / m}]
            rows += [{"what": "Hutch++", **at, **near(m ** (-2 * power), 0.1)}]
            rows += [{"what": f"{name} covered", **at, **share(450, 500)} for name in ("Hutch++", "Hutchinson")]
    rows += [{"what": "moment", "case": str(i), **_rows.row(Measurement("", m, m - 0.005, m + 0.005, 500)), "predicted": m}
             for i, m in enumerate(MOMENTS)]  # fmt: skip
    for m in MARGINS:
        right = ANSWERS[2 if m > 0 else 0]
        rows += [{"what": one, "products": 24, "size": m, **share(60 if one == right else 0, 60)} for one in ANSWERS]
        rows.append({"what": "judged rightly", "products": 24, "size": m, **share(60, 60)})
    made = pd.DataFrame(rows).reindex(columns=smoothness_estimation.COLUMNS)
    few = made.what.str.endswith(" covered") & (made.case == "1/j²") & (made.products == 12)
    for column, value in share(1640, 2000).items():
        made.loc[few, column] = value
    return made


def unexpected(frame: pd.DataFrame) -> set[str]:
    """The beginnings of the claims that do not come out as expected."""
    return {v.claim[:24] for v in smoothness_estimation.judge(frame) if v.outcome != v.expected}


def changed(frame: pd.DataFrame, where: pd.Series, **columns: object) -> pd.DataFrame:
    wrong = frame.copy()
    for column, value in columns.items():
        wrong.loc[where, column] = value
    return wrong


def test_kept_promises_are_recognised(frame: pd.DataFrame) -> None:
    assert unexpected(frame) == set()
    assert len(smoothness_estimation.judge(frame)) == 11


@pytest.mark.parametrize(
    "what, good, caught",
    [
        ("within the law", 400, "every spectrum, couplin"),
        ("covered", 400, "every spectrum, couplin"),
        ("sharp", 1800, "three eigenvalues, two p"),
        ("sharp", 1990, "three eigenvalues, two p"),
        ("residual bound", 1990, "the same: share of start"),
        ("sufficed", 80, "every dimension and cond"),
        ("judged rightly", 55, "margins of probability 0"),
    ],
)
def test_shares_that_fall_short_are_caught(frame: pd.DataFrame, what: str, good: int, caught: str) -> None:
    samples = frame[frame.what == what].samples.iloc[0]
    wrong = changed(frame, frame.what == what, **share(good, int(samples)))
    assert {name[:23] for name in unexpected(wrong)} == {caught[:23]}


@pytest.mark.parametrize("method", ["Hutch++", "Hutchinson"])
@pytest.mark.parametrize("case", list(POWERS))
def test_both_methods_answer_for_every_spectrum_by_one_standard(frame: pd.DataFrame, method: str, case: str) -> None:
    here = (frame.what == f"{method} covered") & (frame.case == case)
    few = frame.what.str.endswith(" covered") & (frame.products == 12)
    judged = lambda frame: [v.outcome for v in smoothness_estimation.judge(frame) if "90% intervals" in v.claim]
    assert judged(changed(frame, here & (frame.products == 96), **share(380, 500))) == ["fails", "fails"]
    assert judged(changed(frame, few, **share(1900, 2000))) == ["holds", "holds"]
    assert judged(changed(changed(frame, few, **share(1900, 2000)), here & few, **share(1600, 2000))) == ["holds", "fails"]


def test_errors_beyond_their_law_are_caught(frame: pd.DataFrame) -> None:
    here = frame.what == "Hutchinson"
    columns = {end: frame[end] * np.where(here, 1.5, 1.0) for end in _rows.ENDS}
    assert unexpected(frame.assign(**columns)) == {"Hutchinson: mean square "}


@pytest.mark.parametrize("case", list(POWERS))
def test_an_exponent_that_is_off_is_caught(frame: pd.DataFrame, case: str) -> None:
    here = (frame.what == "Hutch++") & (frame.case == case) & (frame.products == 96)
    wrong = frame.assign(**{end: frame[end] * np.where(here, 8.0, 1.0) for end in _rows.ENDS})  # by 1/2
    assert unexpected(wrong) == {"Hutch++, spectra flat, 1"}


def test_a_biased_moment_is_caught(frame: pd.DataFrame) -> None:
    here = (frame.what == "moment") & (frame.case == "3")
    assert unexpected(changed(frame, here, value=0.2, low=0.19, high=0.21)) == {"two nodes a start: momen"}


def test_it_draws(frame: pd.DataFrame) -> None:
    assert isinstance(smoothness_estimation.draw(frame, smoothness_estimation.judge(frame)), Figure)


def test_the_share_of_the_residual_bound_is_told_as_it_is(frame: pd.DataFrame) -> None:
    told = lambda frame: smoothness_estimation.draw(frame, []).axes[3].get_title()
    assert told(frame).endswith("residual bound: 0)")
    assert told(changed(frame, frame.what == "residual bound", **share(500, 2000))).endswith("residual bound: 0.25)")


def test_cells_are_distinct_and_every_kind_computes() -> None:
    cells = smoothness_estimation.cells(smoothness_estimation.QUICK)
    assert len({str(cell) for cell in cells}) == len(cells)
    small = {"starts": 3, "repeats": 3, "size": 4, "products": 12}
    one = {cell["what"]: {**cell, **{name: small[name] for name in small if name in cell}} for cell in cells}
    for cell in one.values():
        rows = smoothness_estimation.compute(cell, jax.random.key(0))
        assert list(rows.columns) == smoothness_estimation.COLUMNS
        assert np.isfinite(rows.value).all()
