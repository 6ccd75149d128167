"""The judge of the runs on real data, on fabricated frames, and the files of the user."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import logistic_real
from experiments._logistic import METHODS
from experiments.logistic_real import QUICK, RR, WR


def row(quantity: str, value: float, *, half: float = 0.01, **at: Any) -> dict[str, Any]:
    """A number known to 1%, or as closely as `half` says."""
    known = {"data": "breast cancer", "method": "zeroth_order", "ordering": "", "x": np.nan, "predicted": np.nan}
    interval = {"low": value - half * abs(value), "high": value + half * abs(value), "samples": 64}
    return {**known, "quantity": quantity, "value": value, **interval, **at}


@pytest.fixture
def frame() -> pd.DataFrame:
    """Perfect agreement on two data sets, the second without runs."""
    rows = []
    for name in ("breast cancer", "digits"):
        for method in ("zeroth_order", "hybrid"):
            at = {"data": name, "method": method}
            rows.append(row("limit", 1.5, predicted=1.5, **at))
            rows += [row("growth", x - 1, x=x, predicted=x - 1, **at) for x in logistic_real.RATIOS]
        for by, limit in {"trace, lower": 1.3, "trace, upper": 1.7, "dimension": 0.2, "declared constants": 1e-3}.items():
            rows.append(row(f"limit by {by}", limit, half=0.0, data=name))
        rows.append(row("certificate", 1e-25, half=0.0, data=name))
    floors = {"first_order": (1e-6, 1e-3), "zeroth_order": (0.9e-3, 1e-3), "hybrid": (0.8e-3, 1e-3)}
    for method in METHODS:
        for ordering, floor in zip((RR, WR), floors[method], strict=True):
            at = {"method": method, "ordering": ordering}
            rows.append(row("floor", floor, predicted=floor, **at))
            rows.append(row("average of squared gradients", 1.0, predicted=3.0, **at))
            rows += [row("training", 1 / (1 + epoch), x=epoch, **at) for epoch in (0, 1, 4)]
            rows.append(row("lowest value less f*", 1e-17, half=0.0, **at))
    return pd.DataFrame(rows)


def test_agreement_is_recognised(frame: pd.DataFrame) -> None:
    verdicts = logistic_real.judge(frame)
    assert all(verdict.as_expected and verdict.outcome != "undecided" for verdict in verdicts)
    assert sum(verdict.expected == "fails" for verdict in verdicts) == 2


@pytest.mark.parametrize(
    ("rows", "factor", "claims"),
    [
        ({"quantity": "certificate"}, 1e14, ("f(z*) - f* is certified",)),
        ({"quantity": "lowest value less f*", "method": "hybrid"}, -1e7, ("no run goes below",)),
        ({"quantity": "limit", "method": "hybrid", "data": "digits"}, 0.85, ("hybrid: step size limit",)),
        ({"quantity": "limit"}, 1.08, ("step size limits / predicted, averaged",)),
        ({"quantity": "limit by trace, lower", "data": "digits"}, 1.3, ("the trace bounds the limit below",)),
        ({"quantity": "limit by trace, upper", "data": "digits"}, 0.8, ("the trace bounds the limit above",)),
        ({"quantity": "floor"}, 1.2, ("floors / predicted, averaged",)),
        (
            {"quantity": "floor", "method": "zeroth_order", "ordering": "with_replacement"},
            0.7,
            ("floors / predicted, farthest from 1", "zeroth order: floor"),
        ),
        (
            {"quantity": "average of squared gradients", "ordering": "random_reshuffling"},
            3.2,
            ("random reshuffling: average",),
        ),
        ({"quantity": "average of squared gradients", "ordering": "with_replacement"}, 3.2, ("with replacement: average",)),
    ],
)
def test_disagreement_fails_what_it_concerns(
    frame: pd.DataFrame, rows: dict[str, Any], factor: float, claims: tuple[str, ...]
) -> None:
    chosen = np.logical_and.reduce([frame[name] == value for name, value in rows.items()])
    assert chosen.any()
    frame.loc[chosen, ["value", "low", "high"]] *= factor
    failed = [verdict.claim for verdict in logistic_real.judge(frame) if not verdict.as_expected]
    assert len(failed) == len(claims)
    assert all(any(words in name for name in failed) for words in claims)


def test_folklore_would_be_believed_if_it_were_true(frame: pd.DataFrame) -> None:
    frame.loc[frame.quantity == "limit by dimension", ["value", "low", "high"]] *= 5
    surprising = [verdict for verdict in logistic_real.judge(frame) if not verdict.as_expected]
    assert [(verdict.outcome, verdict.expected) for verdict in surprising] == [("holds", "fails")]


def test_the_figure_is_drawn_from_the_frame(frame: pd.DataFrame) -> None:
    assert isinstance(logistic_real.draw(frame, logistic_real.judge(frame)), Figure)


def test_a_folder_is_all_data_but_what_explains_it(tmp_path: Path) -> None:
    for name in ("b.xz", "a", "README.md", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    names = {Path(cell["data"]).name for cell in logistic_real.cells(logistic_real.replace(QUICK, data=str(tmp_path)))}
    assert names == {"breast cancer", "a", "b.xz"}
    alone = logistic_real.cells(logistic_real.replace(QUICK, data=str(tmp_path / "a")))
    assert {Path(cell["data"]).name for cell in alone} == {"breast cancer", "a"}
