r"""Hybrid smoothness at a point: does diag(L_b I) dominate the Hessian, by how much, and which pairs do.

With D = diag(L_b I) and M = D^{-1/2} H D^{-1/2},

.. math:: H \le D \iff \lambda_{\max}(M) \le 1, \qquad -D \le H \le D \iff \|M\| \le 1,

because congruence with an invertible matrix keeps the order. So one Lanczos run in scaled coordinates decides it: the outer
end certifies at its stated probability, the Ritz vector is a counterexample that needs no probability, and between the two
nothing is decided. The diagonal blocks alone certify nothing: [[1, 1], [1, 1]] has both of them at 1 and an eigenvalue of 2.
The upper side alone says little of components: with H_i <= D and a semidefinite mean, one of n may have an eigenvalue of
-(n-1) L. Reshuffled epochs need both sides.

All pairs: for every direction s > 0 of scales the smallest multiple c of diag(s_b I) that dominates is the largest
eigenvalue (two-sided: the norm) in the coordinates scaled by s. The points c(s) s are the whole frontier, for any number of
blocks; for two blocks they are L_y = lambda_max(C + B'(L_x I - A)^{-1} B) over L_x > lambda_max(A) (Schur complement).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from theory_lab import _checks
from theory_lab._typing import Key, Label, Params, Scalar
from theory_lab.measure import lanczos
from theory_lab.measure._door import Objective
from theory_lab.measure.base import Measurement, unmeasured
from theory_lab.measure.curvature import curvature

Answer = Literal["certified", "violated", "undecided"]
Scales = Mapping[Label, Scalar]


@dataclass(frozen=True)
class Margin:
    """Whether D = diag(L_b I) dominates a Hessian, from the extreme eigenvalues of D^{-1/2} H D^{-1/2}.

    Attributes:
        above: 1 - lambda_max: by what share of D it may shrink before H <= D fails; negative where it fails.
        below: 1 + lambda_min: the same for -D <= H.
        direction: a vector v like the parameters, v'Dv = 1, with |v'Hv| largest as far as is known.
        curvature: v'Hv along it; beyond 1 in absolute value it refutes the domination by itself.
        probability: that the certificates of both sides hold.
    """

    above: Measurement
    below: Measurement
    direction: Params | None
    curvature: float
    probability: float

    @property
    def one_sided(self) -> Answer:
        """Whether H <= D."""
        return _answer(self.above)

    @property
    def two_sided(self) -> Answer:
        """Whether -D <= H <= D."""
        answers = {_answer(self.above), _answer(self.below)}
        return "violated" if "violated" in answers else "undecided" if "undecided" in answers else "certified"


@dataclass(frozen=True)
class FrontierPoint:
    """One point of the frontier: the least multiple of given scales that dominates.

    Attributes:
        scales: s_b.
        multiple: c(s), with its interval.
        smoothness: certified L_b = s_b times the upper end of c(s); nan where nothing positive is certified.
    """

    scales: Mapping[Label, float]
    multiple: Measurement
    smoothness: Mapping[Label, float]


def margin(
    fn: Objective,
    params: Params,
    smoothness: Scales,
    *,
    key: Key,
    iterations: int = 60,
    probability: float = 0.99,
    args: Sequence[Any] = (),
) -> Margin:
    r"""Is diag(L_b I) at least the Hessian at a point, is its negative at most, and by how much.

    Args:
        fn: a twice differentiable scalar function, fn(params, *args); one compilation per function object.
        params: the point, a dict of blocks of floating-point arrays.
        smoothness: {label: L_b > 0}.
        key: the random start.
        iterations: Hessian-vector products at most; memory is as many vectors like the parameters.
        probability: that the certificates of both sides hold, over the random start. A refutation is certain up to rounding.
        args: further arguments of fn, arrays.

    Returns:
        The margins of both sides and the worst direction.

    Raises:
        ValueError: as `smoothness.extreme_eigenvalues`.

    Example:
        >>> fn = lambda z: (z["x"][0] + z["y"][0]) ** 2 / 2  # its blocks have curvature 1 each, and it has 2
        >>> point, key = {"x": jax.numpy.zeros(1), "y": jax.numpy.zeros(1)}, jax.random.key(0)
        >>> margin(fn, point, {"x": 1.0, "y": 1.0}, key=key).one_sided
        'violated'
        >>> margin(fn, point, {"x": 3.0, "y": 2.0}, key=key).two_sided
        'certified'

    Reference: the module; Kuczynski & Wozniakowski 1992 for the certificate's probability.
    """
    hessian = curvature(fn, params, scaling=smoothness, args=args)
    found = lanczos.extremes(hessian, key, iterations, probability)
    if found is None:
        note = "a Hessian-vector product is not finite"
        return Margin(
            unmeasured("1 - lambda_max", 1, note), unmeasured("1 + lambda_min", 1, note), None, math.nan, probability
        )
    low, high, matrix = found
    above = Measurement("1 - lambda_max", 1 - high.value, 1 - high.high, 1 - high.low, 1, products=high.products)
    below = Measurement("1 + lambda_min", 1 + low.value, 1 + low.low, 1 + low.high, 1, products=low.products)
    end, value = (-1, high.value) if abs(high.value) >= abs(low.value) else (0, low.value)
    _, unflatten = ravel_pytree(hessian.free)
    scaled = unflatten(matrix.vector(end))
    times = lambda s, part: jax.tree.map(lambda a: (s * a).astype(a.dtype), part)
    direction = {label: times(hessian.scales[label], part) for label, part in scaled.items()}
    return Margin(above, below, direction, value, probability)


def frontier(
    fn: Objective,
    params: Params,
    scales: Sequence[Scales],
    *,
    key: Key,
    two_sided: bool = True,
    iterations: int = 60,
    probability: float = 0.99,
    args: Sequence[Any] = (),
) -> list[FrontierPoint]:
    r"""The frontier of all {L_b} whose diag(L_b I) dominates the Hessian at a point, along given directions of scales.

    .. math:: c(s) = \lambda_{\max}\bigl(S^{-1/2} H S^{-1/2}\bigr) \ \text{or}\ \|S^{-1/2} H S^{-1/2}\|, \qquad
        S = \mathrm{diag}(s_b I)

    Args:
        fn, params, args: as in `margin`.
        scales: directions {label: s_b > 0}; for two blocks {"x": 1, "y": t} over ratios t = L_y/L_x. Proportional ones give
            the same point.
        key: the random starts, one folded from it for every direction.
        two_sided: -S <= H/c <= S, which reshuffling needs; False for H/c <= S alone.
        iterations: products for every direction, at most.
        probability: that the certificates of *all* points hold together (Bonferroni).

    Returns:
        A point for every direction.

    Raises:
        ValueError: no scales, otherwise as `smoothness.extreme_eigenvalues`.

    Example:
        >>> fn = lambda z: (z["x"][0] + z["y"][0]) ** 2 / 2
        >>> point, key = {"x": jax.numpy.zeros(1), "y": jax.numpy.zeros(1)}, jax.random.key(0)
        >>> (one,) = frontier(fn, point, [{"x": 1.0, "y": 2.0}], key=key)  # L_y = 1 + 1/(L_x - 1) at L_x = 1.5
        >>> round(one.smoothness["x"], 3), round(one.smoothness["y"], 3)
        (1.5, 3.0)
    """
    directions = list(scales)
    _checks.count("the number of scales", len(directions))
    _checks.between("probability", probability, 0, 1, closed="()")
    _checks.flag("two_sided", two_sided)
    _checks.key("key", key)
    each = 1 - (1 - probability) / len(directions)
    points = []
    for i, direction in enumerate(directions):
        hessian = curvature(fn, params, scaling=direction, args=args)
        found = lanczos.extremes(hessian, jax.random.fold_in(key, i), iterations, each)
        own = {label: float(direction[label]) for label in hessian.params}
        if found is None:
            multiple = unmeasured("c(s)", 1, "a Hessian-vector product is not finite")
        else:
            low, high, _ = found
            multiple = _norm(low, high) if two_sided else Measurement(
                "c(s)", high.value, high.low, high.high, 1, products=high.products
            )  # fmt: skip
        certified = multiple.high if multiple.high > 0 else math.nan
        points.append(FrontierPoint(own, multiple, {label: s * certified for label, s in own.items()}))
    return points


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
        fn, params, key, two_sided, iterations, probability, args: as in `frontier`; the certificate is that of the last run.

    Returns:
        L, or inf where no number does because the given ones alone do not dominate their own blocks.

    Raises:
        ValueError: labels that together are not those of the parameters; otherwise as `frontier`.

    Example:
        >>> fn = lambda z: (z["x"][0] + z["y"][0]) ** 2 / 2
        >>> point, key = {"x": jax.numpy.zeros(1), "y": jax.numpy.zeros(1)}, jax.random.key(0)
        >>> round(partner(fn, point, given={"x": 1.5}, label="y", key=key), 2)
        3.0
    """
    _checks.labelled("given", given)
    _checks.text("label", label)
    if label in given:
        raise _checks.refuse("given", f"without the label that is sought, {label!r}", dict(given))
    _checks.positive("tolerance", tolerance)

    def dominates(log_scale: float) -> bool:
        scales = {**given, label: math.exp(log_scale)}
        (point,) = frontier(
            fn, params, [scales], key=key, two_sided=two_sided, iterations=iterations, probability=probability, args=args
        )
        return point.multiple.high <= 1

    start = math.log(max(float(s) for s in given.values()))
    low, high = start - 1, start
    reach = 36.0  # a factor of e^36: beyond, no finite scale does, within rounding
    while not dominates(high):
        low, high = high, high + 4
        if high > start + reach:
            return math.inf
    while dominates(low):
        low, high = low - 4, low
        if low < start - reach:
            return math.exp(high)
    while high - low > tolerance:
        middle = (low + high) / 2
        low, high = (low, middle) if dominates(middle) else (middle, high)
    return math.exp(high)


def _norm(low: Measurement, high: Measurement) -> Measurement:
    """max |lambda| from both ends."""
    value = max(abs(low.value), abs(high.value))
    inside, outside = max(-low.high, high.low, 0.0), max(-low.low, high.high)
    return Measurement("c(s)", value, inside, outside, 1, products=high.products)


def _answer(side: Measurement) -> Answer:
    if not np.isfinite([side.low, side.high]).all():
        return "undecided"
    return "certified" if side.low >= 0 else "violated" if side.high < 0 else "undecided"
