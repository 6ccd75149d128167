"""The judge of the smoothing radius, on fabricated frames: what it must pass and what it must not."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import smoothing_radius
from experiments.smoothing_radius import EXPONENTS, FITTED, PRECISIONS, ROUNDED


def row(quantity: str, predicted: float, *, times: float = 1.0, half: float = 0.005, **at: Any) -> dict[str, Any]:
    """A number that is `times` the predicted one, known to 0.5%."""
    value = times * predicted
    interval = {"value": value, "low": value * (1 - half), "high": value * (1 + half), "samples": 64}
    return {
        "law": "gaussian",
        "directions": 1,
        "quantity": quantity,
        "sigma": 1e-7,
        "relative": np.nan,
        **interval,
        "predicted": predicted,
        **at,
    }


@pytest.fixture
def frame() -> pd.DataFrame:
    """Perfect agreement; sigma_f is twice that of rounded results."""
    rows = []
    for law in ("gaussian", "rademacher"):
        for sided in (1, 2):
            for precision in (*PRECISIONS, ROUNDED):
                at = {"law": law, "sided": sided, "precision": precision}
                if precision != ROUNDED:
                    rows.append(row("sigma_f", 1e-8, times=2.0, **at))
                for relative in 10.0 ** np.arange(-3, 3):
                    rows.append(row("error", relative + 1 / relative, relative=relative, **at))
                rows += [row(quantity, 1e-3, **at) for quantity in FITTED]
                if precision == ROUNDED:
                    names = zip(FITTED, EXPONENTS[sided], strict=True)
                    rows += [row(f"exponent of the {name}", exponent, half=1e-3, **at) for name, exponent in names]
    return pd.DataFrame(rows)


def test_agreement_is_recognised(frame: pd.DataFrame) -> None:
    verdicts = smoothing_radius.judge(frame)
    assert all(verdict.as_expected and verdict.outcome != "undecided" for verdict in verdicts)
    assert sum(verdict.expected == "fails" for verdict in verdicts) == 2


@pytest.mark.parametrize(
    ("rows", "factor", "claim"),
    [
        (
            {"quantity": "error", "sided": 1, "precision": "float32", "relative": 0.1, "law": "gaussian"},
            1.2,
            "one-sided, float32: error / law",
        ),
        (
            {"quantity": "error", "sided": 2, "precision": ROUNDED, "relative": 10.0},
            0.8,
            "two-sided, rounded values: error / law",
        ),
        (
            {"quantity": "error", "sided": 2, "precision": "float64", "relative": 10.0, "law": "rademacher"},
            1.2,
            "two-sided, float64: error / law",
        ),
        ({"quantity": "best radius", "sided": 1}, 1.1, "one-sided, float32 and float64: best radius"),
        ({"quantity": "floor", "sided": 2}, 0.9, "two-sided, float32 and float64: floor"),
        ({"quantity": "exponent of the floor", "sided": 2}, 0.75, "two-sided: exponent of the floor"),
        ({"quantity": "exponent of the best radius", "sided": 1}, 0.67, "one-sided: exponent of the best radius"),
    ],
)
def test_disagreement_fails_what_it_concerns(frame: pd.DataFrame, rows: dict[str, Any], factor: float, claim: str) -> None:
    chosen = np.logical_and.reduce([frame[name] == value for name, value in rows.items()])
    assert chosen.any()
    frame.loc[chosen, ["value", "low", "high"]] *= factor
    failed = [verdict.claim for verdict in smoothing_radius.judge(frame) if not verdict.as_expected]
    assert len(failed) == 1
    assert claim in failed[0]


def test_beyond_two_decades_nothing_is_claimed(frame: pd.DataFrame) -> None:
    frame.loc[(frame.quantity == "error") & (frame.relative < 0.005), ["value", "low", "high"]] *= 0.1
    assert all(verdict.as_expected for verdict in smoothing_radius.judge(frame))


def test_folklore_would_be_believed_if_it_were_true(frame: pd.DataFrame) -> None:
    frame.loc[frame.quantity == "sigma_f", ["value", "low", "high"]] *= 0.5
    surprising = [verdict for verdict in smoothing_radius.judge(frame) if not verdict.as_expected]
    assert [(verdict.outcome, verdict.expected) for verdict in surprising] == [("holds", "fails")]


def test_the_figure_is_drawn_from_the_frame(frame: pd.DataFrame) -> None:
    assert isinstance(smoothing_radius.draw(frame, smoothing_radius.judge(frame)), Figure)
