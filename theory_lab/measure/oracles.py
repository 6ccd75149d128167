"""What an oracle does at one point: its mean, its bias and its second moment, by Monte Carlo with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, special, stats

from theory_lab import _checks, blocks
from theory_lab._typing import Array, Key, Label, Params
from theory_lab.measure.base import Measurement, mean, not_finite, unmeasured
from theory_lab.measure.smoothness._door import Objective, at_a_point
from theory_lab.oracles.base import Oracle, admitted

BATCHES = 64  # independent batches, from whose means all intervals are made
HELD = 2**22  # numbers held at a time for the directions of one chunk of a batch
SMALL = 64  # the largest block whose full second-moment matrix is measured unasked


@dataclass(frozen=True)
class Entries:
    """An array of measured numbers whose intervals hold all together (Bonferroni over the entries).

    Attributes:
        name: what was measured.
        value, low, high: arrays of one shape.
        samples: how many independent samples stand behind each.
    """

    name: str
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    samples: int

    def deviation(self, predicted: Any) -> Measurement:
        """The largest absolute deviation of the true entries from predicted ones, with the interval that follows for it.

        Each true entry lies in its interval, so its deviation lies between the distances from the prediction to the
        nearest and the farthest point of that interval. "at most tolerance" on it is the claim that the whole array is
        as predicted.

        Args:
            predicted: an array that broadcasts to the entries.

        Raises:
            ValueError: what is no array of real numbers, or of another shape.

        Example:
            >>> measured = Entries("E g", np.array([1.0, 2.0]), np.array([0.9, 1.8]), np.array([1.1, 2.2]), 100)
            >>> deviation = measured.deviation([1.0, 2.5])
            >>> round(deviation.value, 6), round(deviation.low, 6), round(deviation.high, 6)
            (0.5, 0.3, 0.7)
        """
        prediction = _checks.numbers("predicted", predicted, "an array of real numbers")
        try:
            prediction = np.broadcast_to(prediction, self.value.shape)
        except ValueError:
            rule = f"of a shape that broadcasts to {self.value.shape}"
            raise _checks.refuse("predicted", rule, f"shape {prediction.shape}") from None
        off = np.abs(self.value - prediction)
        nearest = np.maximum(np.maximum(self.low - prediction, prediction - self.high), 0)
        farthest = np.maximum(np.abs(self.low - prediction), np.abs(self.high - prediction))
        name = f"largest deviation of {self.name}"
        return Measurement(name, float(off.max()), float(nearest.max()), float(farthest.max()), self.samples)


@dataclass(frozen=True)
class Moments:
    r"""The first two moments of an oracle's estimate at a point, per block of the parameters.

    Attributes:
        bias: :math:`\langle \mathbb E \hat g_b - \nabla_b f, \nabla_b f\rangle / |\nabla_b f|`, the bias along the
            gradient.
        bias_sq: :math:`|\mathbb E \hat g_b - \nabla_b f|^2`, estimated without bias; may come out negative.
        second_moment: :math:`\mathbb E |\hat g_b|^2`.
        mean: :math:`\mathbb E \hat g_b`, every coordinate, (d_b,).
        matrix: :math:`\mathbb E \hat g_b \hat g_b^\top`, (d_b, d_b); only of blocks for which it was asked.
        samples: estimates drawn.
    """

    bias: Mapping[Label, Measurement]
    bias_sq: Mapping[Label, Measurement]
    second_moment: Mapping[Label, Measurement]
    mean: Mapping[Label, Entries]
    matrix: Mapping[Label, Entries]
    samples: int


class _Batch(NamedTuple):
    """Means over one batch; of the deviation from the exact gradient, not of the estimate, so that little cancels."""

    deviation: dict[Label, Array]  # (d_b,)
    norm_sq: dict[Label, Array]  # ()
    matrix: dict[Label, Array]  # (d_b, d_b)


def moments(
    oracle: Oracle,
    fn: Objective,
    params: Params,
    key: Key,
    samples: int = 2**16,
    *,
    matrix: bool | None = None,
    confidence: float = 0.99,
    args: Sequence[Any] = (),
) -> Moments:
    r"""The moments of an oracle at a point.

    The samples are drawn in B = 64 batches, each in chunks small enough to hold their directions in memory. All
    intervals are made from the batch means m_1, ..., m_B of the deviations from the exact gradient, nearly normal
    whatever one estimate is: Student's for linear quantities; for the squared bias, around the unbiased

    .. math:: \frac{1}{B(B-1)} \sum_{i \ne j} \langle m_i, m_j \rangle, \qquad \mathbb E\, m_i = \mathbb E \hat g - \nabla f,

    the limits of a noncentral chi-square law.

    Args:
        oracle: what to measure; compiled once per structure, so another radius costs no compilation.
        fn: a scalar function, fn(params, *args); compiled once per function object.
        params: the point, a dict of blocks; float64 parameters are measured in float64.
        key: randomness of the samples.
        samples: estimates to draw at least; rounded up to full chunks.
        matrix: whether to measure the full second-moment matrices, memory 64 d_b^2; None does it for blocks of at most
            64.
        confidence: coverage of every interval; of all entries of an array together.
        args: further arguments of fn, arrays, which may change without compiling anew.

    Returns:
        The moments; not numbers, with a note, where estimates are not finite.

    Raises:
        ValueError: something that is not an oracle, labels that do not match the oracle's, leaves that are not floating
            point, a value of fn that is not a finite scalar, fewer than 128 samples.

    Example:
        >>> from theory_lab.oracles import TwoPoint
        >>> fn = lambda z: jnp.sum(jnp.array([3.0, 4.0]) * z["x"])
        >>> seen = moments(TwoPoint(0.1), fn, {"x": jnp.zeros(2)}, jax.random.key(0), samples=4096)
        >>> m = seen.second_moment["x"]
        >>> m.low < (2 + 2) * 25 < m.high  # E|g|^2 = (d + 2) |grad f|^2 on linear functions
        True
    """
    _checks.instance("oracle", oracle, Oracle, "an Oracle")
    point, arrays = at_a_point(fn, params, args, curved=False)
    cost = admitted(oracle, point)
    _checks.key("key", key)
    samples = _checks.count("samples", samples, least=2 * BATCHES)
    if matrix is not None:
        _checks.flag("matrix", matrix)
    confidence = _checks.between("confidence", confidence, 0, 1, closed="()")

    width = sum(blocks.size(part) for part in point.values()) * max(1, sum(cost))
    chunks = -(-samples * width // (BATCHES * HELD))
    size = -(-samples // (BATCHES * chunks))
    full = tuple(label for label in point if (blocks.size(point[label]) <= SMALL if matrix is None else matrix))
    exact, batches = _batches(fn, size, chunks, full, oracle, point, jax.random.split(key, BATCHES), arrays)
    gradient, seen = jax.tree.map(lambda a: np.asarray(a, dtype=np.float64), (exact, batches))

    total = BATCHES * chunks * size
    bias, bias_sq, second, means = {}, {}, {}, {}
    for label, g in gradient.items():
        deviation, of = seen.deviation[label], f"the estimate of block {label!r}"
        norm = float(np.linalg.norm(g))
        with np.errstate(invalid="ignore", over="ignore"):
            along = deviation @ (g / norm) if norm > 0 else np.zeros(BATCHES)
        bias[label] = _counted(mean(f"bias along the gradient of {of}", along, confidence=confidence), total)
        bias_sq[label] = _counted(_squared_norm_of_mean(f"squared bias of {of}", deviation, confidence), total)
        second[label] = _counted(mean(f"second moment of {of}", seen.norm_sq[label], confidence=confidence), total)
        means[label] = _entries(f"the mean of {of}", g + deviation, total, confidence)
    matrices = {
        label: _entries(f"the second-moment matrix of block {label!r}", seen.matrix[label], total, confidence)
        for label in full
    }
    return Moments(bias, bias_sq, second, means, matrices, total)


@jax.jit(static_argnums=(0, 1, 2, 3))
def _batches(
    fn: Objective,
    size: int,
    chunks: int,
    full: tuple[Label, ...],
    oracle: Oracle,
    params: Params,
    keys: Key,
    args: Any,
) -> tuple[dict[Label, Array], _Batch]:
    """The exact gradient, flat per block, and the means of every batch, one batch after the other: leaves (B, ...)."""
    objective = lambda z: fn(z, *args)
    flat = lambda block: jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(block)])
    exact = {label: flat(part) for label, part in jax.grad(objective)(params).items()}

    def chunk(key: Key) -> _Batch:
        estimates = jax.vmap(lambda k: oracle(objective, params, k).gradient)(jax.random.split(key, size))
        drawn = {label: jax.vmap(flat)(estimates[label]) for label in params}  # (size, d_b)
        return _Batch(
            {label: jnp.mean(g - exact[label], axis=0) for label, g in drawn.items()},
            {label: jnp.mean(jnp.sum(g**2, axis=1)) for label, g in drawn.items()},
            {label: drawn[label].T @ drawn[label] / size for label in full},
        )

    def batch(key: Key) -> _Batch:
        empty = jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), jax.eval_shape(chunk, key))
        add = lambda total, k: (jax.tree.map(jnp.add, total, chunk(k)), None)
        total, _ = jax.lax.scan(add, empty, jax.random.split(key, chunks))
        return jax.tree.map(lambda a: a / chunks, total)

    return exact, jax.lax.map(batch, keys)


def _squared_norm_of_mean(name: str, rows: np.ndarray, confidence: float) -> Measurement:
    r"""b^2 = |E m|^2 from independent, nearly normal rows m_i, (B, d): |mean|^2 less its noise.

    Let C be the covariance of the mean: |mean|^2 has expectation b^2 + tr C and variance 2 tr C^2 + 4 u'Cu b^2, u being
    the direction of E m. These are the moments of l times a noncentral chi-square variable with tr C / l degrees of
    freedom and noncentrality b^2 / l if l = tr C^2 / tr C = u'Cu, as for isotropic C. The larger of the two is taken
    for l, which widens the interval for b^2 that inverts this law; its tails are moved to those of Student's t, for the
    estimated C. So for d = 1 it is Student's interval, squared, and for large d it is as narrow as |mean|^2 fluctuates,
    not as wide as tr C.
    """
    if not np.isfinite(rows).all():
        return unmeasured(name, rows.shape[0], not_finite(rows))
    count, d = rows.shape
    n = count - 1
    tail = float(stats.norm.sf(stats.t.isf((1 - confidence) / 2, n)))
    centre = rows.mean(axis=0)
    found, apart = float(centre @ centre), (rows - centre) / np.sqrt(count * n)  # C = apart' apart
    noise = float(np.sum(apart**2))  # tr C
    value = found - noise
    if noise == 0:
        return Measurement(name, value, value, value, count)
    square = (np.sum((apart @ apart.T) ** 2) - noise**2 / n) * n**2 / ((n - 1) * (n + 2))  # tr C^2, unbiased if normal
    unit = max(square / noise, noise / d, float(np.sum((apart @ centre) ** 2)) / found)
    if max(value, noise) > 1000 * unit:  # normal by then
        half = float(stats.norm.isf(tail) * np.sqrt(4 * max(value, 0) * unit + 2 * noise * unit))
        return Measurement(name, value, value - half, value + half, count)
    below = lambda b_sq: float(special.chndtr(found / unit, noise / unit, b_sq / unit))  # the law of |mean|^2
    beyond = found + 100 * (unit + np.sqrt(found * unit))
    limit = lambda level: optimize.brentq(lambda b_sq: below(b_sq) - level, 0, beyond) if below(0.0) > level else 0.0
    return Measurement(name, value, min(limit(1 - tail), value), max(limit(tail), value), count)


def _entries(name: str, rows: np.ndarray, samples: int, confidence: float) -> Entries:
    """Student intervals from batch means, (B, ...), simultaneous over the entries."""
    count = rows.shape[0]
    with np.errstate(invalid="ignore", over="ignore"):
        centre, spread = rows.mean(axis=0), rows.std(axis=0, ddof=1)
    half = stats.t.isf((1 - confidence) / (2 * centre.size), count - 1) * spread / np.sqrt(count)
    return Entries(name, centre, centre - half, centre + half, samples)


def _counted(measurement: Measurement, samples: int) -> Measurement:
    m = measurement
    return Measurement(m.name, m.value, m.low, m.high, samples, m.note)
