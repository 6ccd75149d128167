"""Checks of what a local model is told of every block, or of every component."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from theory_lab import _checks

T = TypeVar("T")


def per_block(name: str, values: Any, check: Callable[[str, Any], T], blocks: int | None = None) -> tuple[T, ...]:
    """One value for every block, in the blocks' order, each as ``check`` wants it.

    Raises:
        ValueError: not a sequence (mappings, sets and texts are none), not one value per block, or a value that is refused.
    """
    rule = "a non-empty sequence, one entry per block" if blocks is None else f"a sequence of length {blocks}, one per block"
    try:
        found = () if isinstance(values, (str, bytes, Mapping, set, frozenset)) else tuple(values)
    except TypeError:  # not iterable, or an array of no dimension
        found = ()
    if not found or (blocks is not None and len(found) != blocks):
        raise _checks.refuse(name, rule, values)
    return tuple(check(f"{name}[{i}]", value) for i, value in enumerate(found))


def shaped(name: str, value: Any, shape: tuple[int | str, ...]) -> np.ndarray:
    """A finite real array of this shape; a letter in place of a length leaves it open.

    Raises:
        ValueError: not finite and real, or of another shape.
    """
    found = _checks.array(name, value, ndim=len(shape))
    if any(isinstance(want, int) and want != length for want, length in zip(shape, found.shape, strict=True)):
        words = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise _checks.refuse(name, f"of shape ({words})", f"shape {found.shape}")
    return found


def symmetric_each(name: str, value: Any, dimension: int) -> np.ndarray:
    """A stack of symmetric matrices, (m, d, d), up to rounding as `symmetric` allows it.

    Raises:
        ValueError: not finite, of another shape, or not symmetric.
    """
    stack = shaped(name, value, ("m", dimension, dimension))
    asymmetry = float(np.abs(stack - stack.transpose(0, 2, 1)).max())
    if asymmetry > 1e-10 * float(np.abs(stack).max()):
        raise _checks.refuse(name, "symmetric, each of them", f"an asymmetry of {asymmetry:.3g}")
    return stack
