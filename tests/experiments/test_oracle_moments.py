"""The judge of the estimators' moments, on fabricated frames: what it must pass and what it must not."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import oracle_moments
from theory_lab.oracles.directions import LAWS


def row(function: str, quantity: str, value: float, **known: Any) -> dict[str, Any]:
    """A number known to 1%."""
    at = {"dimension": 8, "directions": 1, "sided": 1, "law": "gaussian", "variant": "", "radius": 2.0}
    unknown = {"exact": np.nan, "scale": np.nan, "bound": np.nan, "published": np.nan}
    half = 0.01 * abs(value) + 1e-6
    interval = {"value": value, "low": value - half, "high": value + half, "samples": 64}
    return {"function": function, "quantity": quantity, **at, **unknown, **interval, **known}


@pytest.fixture
def frame() -> pd.DataFrame:
    """Perfect agreement."""
    rows = []
    for law in LAWS:
        for variant in ("rotated", "axes") if law == "rademacher" else ("rotated",):
            for d in (2, 8):
                value = d * (0.5 if variant == "axes" else 1.0)
                bounds = {"bound": 3.0 * value, "published": 9.0 * value} if law == "gaussian" else {}
                at = {"law": law, "variant": variant, "dimension": d}
                rows.append(row("quadratic", "second moment", value, exact=value, **at, **bounds))
                rows.append(row("quadratic", "squared bias", 0.0, exact=0.0, scale=value, **at))
                rows.append(row("quadratic", "error of the matrix", 0.01, exact=0.0, scale=value, **at))
        for sided in (1, 2):
            for radius in oracle_moments.EXPONENTS:
                at = {"law": law, "radius": radius, "sided": sided}
                rows.append(row("exponential", "bias along the first axis", radius**2, exact=radius**2, **at))
                rows.append(row("exponential", "error of the bias", 0.01, exact=0.0, scale=radius**2, **at))
    rows.append(row("cosine", "second moment", 5.0, bound=6.0, published=20.0))
    rows += [row("cosine", quantity, 0.5, bound=1.0) for quantity in ("variance", "squared bias")]
    rows.append(row("worst case", "bias along the first axis", 0.55, bound=1.0))
    return pd.DataFrame(rows)


def test_agreement_is_recognised(frame: pd.DataFrame) -> None:
    verdicts = oracle_moments.judge(frame)
    assert [verdict.outcome for verdict in verdicts if not verdict.as_expected] == []
    assert "undecided" not in {verdict.outcome for verdict in verdicts}
    assert sum(verdict.expected == "fails" for verdict in verdicts) == 2


def where(frame: pd.DataFrame, **values: Any) -> pd.Series:
    return np.logical_and.reduce([frame[name] == value for name, value in values.items()])


@pytest.mark.parametrize(
    ("rows", "factor", "claims"),
    [
        (
            {"function": "quadratic", "quantity": "second moment", "law": "sphere"},
            1.3,
            ("sphere: E|ghat|^2", "farthest from 1 over the grid"),
        ),
        (
            {"quantity": "second moment", "law": "rademacher", "variant": "rotated", "dimension": 2},
            1.13,
            ("farthest from 1 over the grid",),
        ),
        ({"quantity": "error of the matrix", "law": "gaussian"}, 99, ("largest error of an entry",)),
        ({"function": "exponential", "quantity": "bias along the first axis"}, 0.8, ("averaged over law, radius and side",)),
        ({"quantity": "error of the bias", "law": "rademacher"}, 300, ("largest error of a coordinate",)),
        ({"function": "cosine", "quantity": "second moment"}, 1.3, ("E|ghat|^2 stays below its bound",)),
        ({"function": "cosine", "quantity": "variance"}, 2.1, ("the variance stays below",)),
        ({"function": "cosine", "quantity": "squared bias"}, 2.1, ("the squared bias stays below",)),
        ({"function": "worst case"}, 0.8, ("the bias bound cannot be halved",)),
    ],
)
def test_disagreement_fails_what_it_concerns(
    frame: pd.DataFrame, rows: dict[str, Any], factor: float, claims: tuple[str, ...]
) -> None:
    chosen = where(frame, **rows)
    assert chosen.any()
    frame.loc[chosen, ["value", "low", "high"]] *= factor
    failed = [verdict.claim for verdict in oracle_moments.judge(frame) if not verdict.as_expected]
    assert len(failed) == len(claims)
    assert all(any(words in name for name in failed) for words in claims)


def test_a_bias_on_quadratics_fails(frame: pd.DataFrame) -> None:
    chosen = where(frame, function="quadratic", quantity="squared bias", law="gaussian", dimension=8)
    frame.loc[chosen, ["value", "low", "high"]] = (0.8, 0.7, 0.9)
    assert [v.claim[:22] for v in oracle_moments.judge(frame) if not v.as_expected] == ["no bias on quadratics:"]


def test_folklore_would_be_believed_if_it_were_true(frame: pd.DataFrame) -> None:
    along = where(frame, law="rademacher", variant="axes", quantity="second moment")
    frame.loc[along, ["value", "low", "high", "exact"]] *= 2
    two = where(frame, function="exponential", quantity="bias along the first axis", sided=2)
    frame.loc[two, ["value", "low", "high", "exact"]] *= 0.3
    surprising = [verdict for verdict in oracle_moments.judge(frame) if not verdict.as_expected]
    assert [(verdict.outcome, verdict.expected) for verdict in surprising] == 2 * [("holds", "fails")]


def test_the_figure_is_drawn_from_the_frame(frame: pd.DataFrame) -> None:
    assert isinstance(oracle_moments.draw(frame, oracle_moments.judge(frame)), Figure)
