"""What the door tests share: bad calls with the message that answers each, by name, rule and value."""

import math
import re
from collections.abc import Callable
from typing import Any

import jax
import pytest

import theory_lab as tl

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 3)
NAN, INF = math.nan, math.inf
SIZES = {"x": 2, "y": 2}
PROBLEM = tl.block_quadratic(SIZES, n=4)
HYBRID = tl.Hybrid({"x": tl.TwoPoint(1e-3), "y": tl.FirstOrder()})

LABELS = "a non-empty mapping from block labels (strings)"
A_KEY = "a typed PRNG key, as jax.random.key(seed) makes"
NUMBERS = "array of finite real numbers"

Call = Callable[[], Any]


def cases(doors: dict[str, list[tuple[Call, str]]]) -> list[Any]:
    return [
        pytest.param(call, text, id=f"{door}-{i}") for door, some in doors.items() for i, (call, text) in enumerate(some)
    ]


def check_refusal(call: Call, message: str) -> None:
    """The message in full: "{name} must be {rule}, got {value!r}"."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}($|\n)"):  # JAX may add a line on tracebacks
        call()
    assert re.match(r".+ must (be|have) .+, got .+", message, re.DOTALL)
