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
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks
from theory_lab._typing import Array, Key, Label, Params, Scalar
from theory_lab.measure.base import Measurement, unmeasured
from theory_lab.measure.smoothness import lanczos, recurrence
from theory_lab.measure.smoothness._door import Objective
from theory_lab.measure.smoothness.curvature import Curvature, curvature

Answer = Literal["certified", "violated", "undecided"]
Scales = Mapping[Label, Scalar]


@dataclass(frozen=True)
class Margin:
    """Whether D = diag(L_b I) dominates a Hessian, from the extreme eigenvalues of D^{-1/2} H D^{-1/2}.

    Attributes:
        above: 1 - lambda_max: by what share of D it may shrink before H <= D fails; negative where it fails.
        below: 1 + lambda_min: the same for -D <= H.
        direction: a vector v like the parameters, v'Dv = 1, with |v'Hv| largest as far as is known. In dimensions where the
            Krylov basis is not kept it is the first one found that refutes, and None where none does.
        curvature: v'Hv along it; beyond 1 in absolute value it refutes the domination by itself.
        probability: that the certificates of both sides hold, on the condition that `margin` states.
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

    def __str__(self) -> str:
        """Both answers, and the intervals they rest on, in four lines."""
        words = {
            "certified": f"certified at probability {self.probability:g}",
            "violated": "violated",
            "undecided": "undecided",
        }
        sides = (("1 - lambda_max", self.above), ("1 + lambda_min", self.below))
        lines = [f"H <= D: {words[self.one_sided]}", f"-D <= H <= D: {words[self.two_sided]}"]
        lines += [
            f"{name}: {m.value:.6g} in [{m.low:.6g}, {m.high:.6g}]" + (f" ({m.note})" if m.note else "") for name, m in sides
        ]
        return "\n".join(lines)


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
        iterations: k, Hessian-vector products at most. Memory is k vectors like the parameters where those are no more than
            `lanczos.KEPT` numbers, and beyond that five, whatever k (`smoothness.recurrence`), besides what a
            product takes: about four.
        probability: that the certificates of both sides hold, over the random start, and where vectors are not kept, on
            condition that rounding prefers no eigenvector (`smoothness.recurrence`). A refutation is certain up to rounding.
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
        >>> print(margin(fn, point, {"x": 3.0, "y": 2.0}, key=key))
        H <= D: certified at probability 0.99
        -D <= H <= D: certified at probability 0.99
        1 - lambda_max: 0.166667 in [0.166667, 0.166667]
        1 + lambda_min: 1 in [1, 1]

    Reference: the module; Kuczynski & Wozniakowski 1992 for the certificate's probability.
    """
    _checks.labelled("smoothness", smoothness)
    hessian = curvature(fn, params, scaling=smoothness, args=args, named="smoothness")
    _checks.key("key", key)
    _checks.count("iterations", iterations)
    probability = _checks.between("probability", probability, 0, 1, closed="()")
    found = (_worst if lanczos.keeps(hessian, iterations) else _first)(hessian, key, iterations)
    if found is None:
        note = "a Hessian-vector product is not finite"
        return Margin(
            unmeasured("1 - lambda_max", 1, note), unmeasured("1 + lambda_min", 1, note), None, math.nan, probability
        )
    matrix, vector, value, spent = found
    low, high = lanczos.intervals(matrix, hessian.dimension, probability)
    above = Measurement("1 - lambda_max", 1 - high.value, 1 - high.high, 1 - high.low, 1, products=spent)
    below = Measurement("1 + lambda_min", 1 + low.value, 1 + low.low, 1 + low.high, 1, products=spent)
    return Margin(above, below, None if vector is None else hessian.unscaled(vector), value, probability)


Found = tuple[lanczos.Tridiagonal, Array | None, float, int]  # the run, a direction, its curvature, products


def _worst(hessian: Curvature, key: Key, iterations: int) -> Found | None:
    """With the basis kept: the Ritz vector of the larger end."""
    matrix = lanczos.tridiagonalise(hessian, iterations, key, keep=True)
    if matrix is None:
        return None
    low, high = matrix.values[0], matrix.values[-1]
    end, value = (-1, high) if abs(high) >= abs(low) else (0, low)
    return matrix, matrix.vector(end), float(value), matrix.diagonal.size


def _first(hessian: Curvature, key: Key, iterations: int) -> Found | None:
    """Without it: the first direction that refutes, if one does, and a product of its own to see that."""
    k = min(max(iterations - 1, 1), hessian.dimension)
    run = recurrence.recur(hessian, k, key, 1 + 4 * k * hessian.precision)
    matrix = lanczos.from_recurrence(hessian, run)
    if matrix is None:
        return None
    reach = np.where(np.asarray(run.found), [-matrix.values[0], matrix.values[-1]], -np.inf)
    if iterations == 1 or not np.isfinite(reach).any():
        return matrix, None, math.nan, matrix.diagonal.size
    vector = run.witness[int(np.argmax(reach))]
    value = float(_quotient(hessian, vector))
    return matrix, *((vector, value) if abs(value) > 1 else (None, math.nan)), matrix.diagonal.size + 1


@jax.jit
def _quotient(hessian: Curvature, vector: Array) -> Array:
    return jnp.vdot(vector, hessian.product(vector))


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
    if isinstance(scales, (str, Mapping)) or not np.iterable(scales):
        raise _checks.refuse("scales", "a sequence of directions {label: s_b > 0}, such as [{'x': 1, 'y': 2}]", scales)
    directions = list(scales)
    _checks.count("the number of scales", len(directions))
    probability = _checks.between("probability", probability, 0, 1, closed="()")
    _checks.flag("two_sided", two_sided)
    _checks.key("key", key)
    each = 1 - (1 - probability) / len(directions)
    points = []
    for i, direction in enumerate(directions):
        _checks.labelled(f"scales[{i}]", direction)
        hessian = curvature(fn, params, scaling=direction, args=args, named=f"scales[{i}]")
        found = lanczos.extremes(hessian, jax.random.fold_in(key, i), iterations, each)
        own = {label: float(direction[label]) for label in hessian.params}
        if found is None:
            multiple = unmeasured("c(s)", 1, "a Hessian-vector product is not finite")
        else:
            low, high, _ = found
            multiple = replace(lanczos.norm(low, high), name="c(s)") if two_sided else Measurement(
                "c(s)", high.value, high.low, high.high, 1, products=high.products
            )  # fmt: skip
        certified = multiple.high if multiple.high > 0 else math.nan
        if multiple.high <= 0:
            what = "is zero" if two_sided else "is nowhere curved upwards"
            multiple = replace(multiple, note=f"the Hessian {what}: all positive scales dominate it, and none is the least")
        points.append(FrontierPoint(own, multiple, {label: s * certified for label, s in own.items()}))
    return points


def _answer(side: Measurement) -> Answer:
    if not np.isfinite([side.low, side.high]).all():
        return "undecided"
    return "certified" if side.low >= 0 else "violated" if side.high < 0 else "undecided"
