"""The one point of the frontier whose other constants are given."""

import math
from collections.abc import Sequence
from typing import Any

from theory_lab import _checks
from theory_lab._typing import Key, Label, Params
from theory_lab.measure.smoothness._door import Objective
from theory_lab.measure.smoothness.dominance import Scales, frontier

REACH = 36.0  # a factor of e^36: beyond, no finite scale dominates, within rounding


def partner(
    fn: Objective,
    params: Params,
    *,
    given: Scales,
    label: Label,
    key: Key,
    two_sided: bool = True,
    iterations: int = 60,
    probability: float = 0.99,
    tolerance: float = 1e-3,
    args: Sequence[Any] = (),
) -> float:
    r"""The least L of one block with which the given ones of all others dominate the Hessian at a point, certified.

    The step-size budget of the other blocks, L_b = 1/eta_b, is spent; this is what is left to pay. c decreases in every
    scale, so bisection on L finds where c({given, L}) passes 1.

    Args:
        given: {label: L_b} for all blocks but one.
        label: of that one.
        tolerance: relative, of the answer.
        fn, params, key, two_sided, iterations, args: as in `frontier`.
        probability: that the certificate of the answer holds. The answer is picked among many runs, so that each of them is
            held to what Bonferroni leaves it.

    Returns:
        L, or inf where no number does because the given ones alone do not dominate their own blocks; nan where a product is
        not finite.

    Raises:
        ValueError: labels that together are not those of the parameters; otherwise as `frontier`.

    Example:
        >>> import jax
        >>> fn = lambda z: (z["x"][0] + z["y"][0]) ** 2 / 2
        >>> point, key = {"x": jax.numpy.zeros(1), "y": jax.numpy.zeros(1)}, jax.random.key(0)
        >>> round(partner(fn, point, given={"x": 1.5}, label="y", key=key), 2)
        3.0
    """
    _checks.labelled("given", given)
    _checks.text("label", label)
    if label in given:
        raise _checks.refuse("given", f"without the label that is sought, {label!r}", dict(given))
    _checks.same_labels("given and label", {**given, label: 1.0}, _checks.labelled("params", params))
    tolerance = _checks.positive("tolerance", tolerance)

    start = math.log(max(float(_checks.positive(f"given[{b!r}]", s)) for b, s in given.items()))
    runs = 2 * math.ceil(REACH / 4) + 2 + max(math.ceil(math.log2(4 / tolerance)), 0)
    each = 1 - (1 - _checks.between("probability", probability, 0, 1, closed="()")) / runs

    def multiple(log_scale: float) -> float:
        scales = {**given, label: math.exp(log_scale)}
        (point,) = frontier(
            fn, params, [scales], key=key, two_sided=two_sided, iterations=iterations, probability=each, args=args
        )
        return point.multiple.high

    low, high = start - 1, start
    if math.isnan(multiple(high)):
        return math.nan
    while multiple(high) > 1:
        low, high = high, high + 4
        if high > start + REACH:
            return math.inf
    while multiple(low) <= 1:
        low, high = low - 4, low
        if low < start - REACH:
            return math.exp(high)
    while high - low > tolerance and low < (middle := (low + high) / 2) < high:  # to rounding at most
        low, high = (low, middle) if multiple(middle) <= 1 else (middle, high)
    return math.exp(high)
