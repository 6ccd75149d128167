r"""Growth functions above measured pairs: the least one, the tightest power law, and what either says of points unseen.

An envelope of pairs (u_i, L_i), gradient norm and curvature, is a non-decreasing function above all of them. Two are made
here: the least one, a step function (`isotonic`), and the tightest of the form

.. math:: l(u) = L_0 + L_1 u^p, \qquad L_0, L_1 \ge 0,

whose power says whether gradient descent with constant steps has a theory at all (p < 2). No set of points proves a growth
function: an envelope is what the points demand.

Of a further point it says this. Let m + 1 pairs be exchangeable, as independent ones are. The last lies above the envelope
of the others with the probability with which any of them does, so

.. math:: E V_m = \frac{E\,k_{m+1}}{m + 1},

with V the chance of a further pair to lie above, and k the number of pairs that lie above the envelope of all others. For an
envelope of one free factor k <= 1. If the pairs are independent and of one distribution, whichever it is, besides P(V > eps)
<= (1 - eps)^m (`inflated`); exchangeable ones, which may share what was drawn before them, have the mean alone. The points
of a trajectory are not even exchangeable, and none of this holds for them.

Reference:
    Campi, Garatti: The exact feasibility of randomized solutions of uncertain convex programs, 2008, for k parameters of a
    convex programme (recalled, not re-read). Vovk, Gammerman, Shafer: Algorithmic learning in a random world, 2005.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from theory_lab import _checks
from theory_lab._typing import Key
from theory_lab.measure import rate
from theory_lab.measure.base import Measurement, unmeasured
from theory_lab.measure.smoothness import _tightest
from theory_lab.problems.base import generator

Split = Literal["random", "later"]
HELD = "held-out pairs below the envelope"


@dataclass(frozen=True)
class Envelope:
    """A non-decreasing l(u) = offset + factor u^p above measured pairs.

    Attributes:
        offset, factor: L_0 and L_1.
        power: p with its interval; not a number where the pairs do not determine it (curvature that does not rise).
        coverage: the share of other pairs that lie below, with its interval: of pairs held out, counted, or of further
            pairs, as `inflated` promises.
    """

    offset: float
    factor: float
    power: Measurement
    coverage: Measurement

    def __call__(self, gradient_norm: Any) -> np.ndarray:
        """l(u), of an array of any shape."""
        u = _norms(gradient_norm)
        return self.offset + (self.factor * u**self.power.value if self.factor > 0 else 0 * u)


class Steps(NamedTuple):
    """A non-decreasing step function.

    Attributes:
        jumps: where it jumps, increasing, (J,).
        values: from there on, up to the next, (J,); the first holds below its jump too.
    """

    jumps: np.ndarray
    values: np.ndarray

    def __call__(self, gradient_norm: Any) -> np.ndarray:
        """Its value, of an array of any shape."""
        at = np.searchsorted(self.jumps, _norms(gradient_norm), side="right") - 1
        return self.values[np.maximum(at, 0)]


def _norms(value: Any) -> np.ndarray:
    """The door for gradient norms at which an envelope is asked for; infinite ones pass."""
    rule = "nonnegative numbers"
    found = _checks.numbers("gradient_norm", value, rule)
    if not (found >= 0).all():
        raise _checks.refuse("gradient_norm", rule, value if found.size <= 8 else f"an array of shape {found.shape}")
    return found


def isotonic(gradient_norms: Any, curvatures: Any, *, ahead: bool = False) -> Steps:
    """A non-decreasing step function above all pairs: the least one, or one that looks ahead.

    The least one holds nothing between pairs of an increasing curve: there a further pair lies above the value of its
    left neighbour. The one that looks ahead takes at every u the value at the next pair. Between the pairs it covers all
    of an increasing curve, and it is the larger of the two everywhere.

    Args:
        gradient_norms: u_i >= 0, (P,).
        curvatures: L_i > 0, (P,).
        ahead: which of the two.

    Raises:
        ValueError: as `envelope`, from one pair on.

    Example:
        >>> u, values = isotonic([1.0, 3.0, 2.0], [1.0, 2.0, 5.0])
        >>> u.tolist(), values.tolist()
        ([1.0, 2.0], [1.0, 5.0])
        >>> isotonic([1.0, 3.0, 2.0], [1.0, 2.0, 5.0], ahead=True)([0.5, 1.0, 1.1]).tolist()
        [1.0, 1.0, 5.0]
    """
    u, y = _pairs(gradient_norms, curvatures, least=1)
    _checks.flag("ahead", ahead)
    jumps, values = _tightest.needed(u, y)
    if ahead and jumps.size > 1:
        seen = np.unique(u)
        before = seen[np.searchsorted(seen, jumps[1:]) - 1]
        jumps = np.append(jumps[0], np.nextafter(before, np.inf))
    return Steps(jumps, values)


def envelope(
    gradient_norms: Any,
    curvatures: Any,
    *,
    split: Split = "random",
    confidence: float = 0.99,
    resamples: int = 200,
    key: Key | None = None,
) -> Envelope:
    r"""The tightest L_0 + L_1 u^p above all pairs, with an interval for p and a check on pairs held out.

    For a given p, the least sum of relative excesses (l(u_i) - L_i)/L_i is a linear programme in (L_0, L_1); p makes it
    least over [0, 4]. The coverage is that of an envelope fitted to one half, counted on the other.

    The interval of p is :math:`\hat p \pm q`, with q the quantile of :math:`|p^* - \hat p|` over envelopes of halves drawn
    without replacement. Were p a smooth function of the pairs, halves would deviate from all of them as these do from the
    truth (the delete-half jackknife). An envelope hangs on its highest few pairs, of which a half has lost one more often
    than not: then q is larger than it need be. Percentiles of the bootstrap cover too little, about 87% for 95%.

    Args:
        gradient_norms: u_i >= 0, (P,) with P >= 8.
        curvatures: L_i > 0, (P,).
        split: how pairs are held out. "random" halves say how an envelope generalises to points of the same kind; where
            points come in the order of a run, neighbours are alike and lie on both sides. "later" fits to the first half,
            in the order given, and counts on the second.
        confidence: of both intervals.
        resamples: halves for the interval of p, at least; more are drawn where the confidence asks for them. 0 takes no
            interval: its ends are then infinite.
        key: of the halves; None is key 0.

    Returns:
        The envelope. Where L_1 comes out 0 no power is determined. The interval of p ends at infinity, with a note, where
        the best p is 4, the largest that is tried.

    Raises:
        ValueError: fewer than 8 pairs, negative gradient norms, curvatures that are not positive, an unknown split, a
            confidence outside (0, 1).

    Example:
        >>> u = np.geomspace(0.1, 100, 40)
        >>> found = envelope(u, 2 + 3 * u**1.5)
        >>> round(found.offset, 2), round(found.factor, 2), round(found.power.value, 2)
        (2.0, 3.0, 1.5)

    Reference:
        Shao, Wu: A general theory for jackknife variance estimation, 1989, for halves (recalled, not re-read).
    """
    u, y = _pairs(gradient_norms, curvatures, least=8)
    _checks.choice("split", split, ("random", "later"))
    confidence = _checks.between("confidence", confidence, 0, 1, closed="()")
    _checks.count("resamples", resamples, least=0, bits=24)
    rng = generator(key)
    half = u.size // 2
    order = rng.permutation(u.size) if split == "random" else np.arange(u.size)
    early, held = order[:half], order[half:]
    (offset, factor, power), whole = _tightest.fit([(u[early], y[early]), (u, y)])
    below = int(np.sum(y[held] <= (offset + factor * u[held] ** power) * (1 + 1e-9)))
    coverage = rate.proportion(below, held.size, confidence=confidence, name=HELD)
    offset, factor, power = whole
    if factor == 0:
        return Envelope(offset, 0.0, _power_alone(None, u.size), coverage)
    if resamples == 0:
        return Envelope(offset, factor, _power_alone(power, u.size), coverage)
    drawn = max(resamples, int(np.ceil(confidence / (1 - confidence))))
    halves = (rng.permutation(u.size)[:half] for _ in range(drawn))
    away = np.sort([abs(p - power) for _, _, p in _tightest.fit([(u[chosen], y[chosen]) for chosen in halves])])
    reach = float(away[int(np.ceil(confidence * (drawn + 1))) - 1]) + _tightest.RESOLUTION
    capped = power >= _tightest.POWERS[-1] - _tightest.RESOLUTION
    note, high = (f"no power up to {_tightest.POWERS[-1]:g} is enough", np.inf) if capped else ("", power + reach)
    return Envelope(offset, factor, Measurement("p", power, max(power - reach, 0.0), high, u.size, note), coverage)


def tightest(samples: Sequence[tuple[Any, Any]]) -> list[Envelope]:
    """The power laws of `envelope` above many samples of pairs, side by side: no intervals, and no pairs held out.

    Args:
        samples: gradient norms and curvatures of each, as `envelope` takes them; sizes may differ.

    Raises:
        ValueError: no sequence of pairs of arrays; as `envelope`.

    Example:
        >>> u = np.geomspace(0.1, 100, 40)
        >>> [round(found.power.value, 2) for found in tightest([(u, 2 + 3 * u**p) for p in (0.5, 1.5)])]
        [0.5, 1.5]
    """
    if not isinstance(samples, Sequence) or not all(isinstance(one, Sequence) and len(one) == 2 for one in samples):
        raise _checks.refuse("samples", "a sequence of (gradient norms, curvatures)", type(samples).__name__)
    pairs = [_pairs(*one, least=8) for one in samples]
    return [
        Envelope(offset, factor, _power_alone(power if factor else None, u.size), unmeasured(HELD, 0, "none were held out"))
        for (u, _), (offset, factor, power) in zip(pairs, _tightest.fit(pairs), strict=True)
    ]


def _power_alone(power: float | None, size: int) -> Measurement:
    """p without an interval; None where the envelope is flat."""
    if power is None:
        return unmeasured("p", size, "the curvature does not rise with the gradient")
    return Measurement("p", power, -np.inf, np.inf, size, "no interval was taken")


def inflated(shape: Envelope, gradient_norms: Any, curvatures: Any, *, confidence: float = 0.99) -> Envelope:
    r"""An envelope times the least factor that puts it above further pairs, and what it then promises.

    .. math:: c = \max_{i \le m} L_i / l(u_i), \qquad P(V > \varepsilon) \le (1 - \varepsilon)^m

    Proof. V > eps means that L/l(u) stays below its upper eps-quantile for all m independent pairs. Equality where it is
    continuous.

    So the coverage is at least alpha^(1/m) with probability 1 - alpha over the m pairs, whatever their distribution and
    however the shape was found, as long as they and the ones to come are independent, of one distribution, and were not used
    for it. For pairs that are only exchangeable the mean, m/(m+1), holds, and the lower end does not.

    Args:
        shape: an envelope of other pairs.
        gradient_norms, curvatures: the m pairs, (m,) with m >= 1.
        confidence: 1 - alpha.

    Returns:
        c l(u), with the coverage m/(m+1) (its mean) between alpha^(1/m) and 1.

    Raises:
        ValueError: something else than an envelope, and as `envelope`; an envelope that is 0 at one of the u_i.

    Example:
        >>> u = np.geomspace(0.1, 100, 80)
        >>> even = envelope(u[::2], 2 + 3 * u[::2])
        >>> safe = inflated(even, u[1::2], 1.1 * (2 + 3 * u[1::2]), confidence=0.9)
        >>> round(safe.offset, 2), round(safe.factor, 2), round(safe.coverage.low, 3)
        (2.2, 3.3, 0.944)
    """
    _checks.instance("shape", shape, Envelope, "an Envelope")
    u, y = _pairs(gradient_norms, curvatures, least=1)
    confidence = _checks.between("confidence", confidence, 0, 1, closed="()")
    heights = shape(u)
    if heights.min() <= 0:
        raise _checks.refuse("shape", "positive at every gradient norm", float(heights.min()))
    c = float(np.max(y / heights))
    m = u.size
    coverage = Measurement("further pairs below the envelope", m / (m + 1), (1 - confidence) ** (1 / m), 1.0, m)
    return replace(shape, offset=c * shape.offset, factor=c * shape.factor, coverage=coverage)


def _pairs(gradient_norms: Any, curvatures: Any, *, least: int) -> tuple[np.ndarray, np.ndarray]:
    u, y = _checks.array("gradient_norms", gradient_norms, ndim=1), _checks.array("curvatures", curvatures, ndim=1)
    if u.size != y.size:
        raise _checks.refuse("curvatures", f"as many as gradient_norms, {u.size}", y.size)
    _checks.count("the number of pairs", u.size, least=least)
    if u.min() < 0:
        raise _checks.refuse("gradient_norms", "nonnegative", float(u.min()))
    if y.min() <= 0:
        raise _checks.refuse("curvatures", "positive", float(y.min()))
    return u, y
