"""Shares of cases in which what is measured is, up to a factor, what was predicted."""

from typing import Any

import numpy as np
import pandas as pd

from experiments._rows import ENDS
from theory_lab.claims import Verdict, claim
from theory_lab.measure import Measurement

FACTOR, SHARE = 1.5, 0.9


def share(
    name: str,
    rows: pd.DataFrame,
    source: str,
    *,
    factor: float = FACTOR,
    least: float | None = None,
    expected: Any = "holds",
    why: str = "",
) -> Verdict:
    """The share of the rows whose value over what is predicted lies within ``least`` and the factor; the others by name.

    The cases are a census: the interval counts those that lie inside with all of their interval, and those that may. An
    interval that begins at the factor, or ends at the least, lies outside: it is open there, between step sizes tried.

    Args:
        name: what is compared.
        rows: with value, low, high, predicted, case and label.
        source: of the claim that nine tenths lie inside.
        factor: the largest quotient.
        least: the smallest; None is one over the factor.
        expected, why: of the claim.
    """
    least = 1 / factor if least is None else least
    value, low, high = (rows[end] / rows.predicted for end in ENDS)
    inside = value.between(least, factor)
    surely = inside & (low >= least) & (high <= factor)
    possibly = inside | value.isna() | ((low < factor) & (high > least))
    outside = [
        f"{one.case} {one.label}".strip() + f" ({_words(ratio)})"
        for one, ratio in zip(rows[~inside].itertuples(), value[~inside], strict=True)
    ]
    note = f"outside: {', '.join(outside)}" if outside else ""
    found = Measurement("share", inside.mean(), surely.mean(), possibly.mean(), len(rows), note)
    return claim(f"{name}: share of {len(rows)}", source, "at least", SHARE, expected=expected, why=why).check(found)


def _words(ratio: float) -> str:
    return "unknown" if np.isnan(ratio) else "never" if np.isinf(ratio) else f"{ratio:.3g}"
