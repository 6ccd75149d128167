"""Traces and effective ranks of a Hessian or its blocks, by products."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks
from theory_lab._typing import Array, Key, Label, Params, Scalar
from theory_lab.measure.base import Measurement, exact, mean, unmeasured
from theory_lab.measure.smoothness import lanczos
from theory_lab.measure.smoothness._door import Objective
from theory_lab.measure.smoothness.curvature import ROUNDINGS, Curvature, curvature, described
from theory_lab.measure.smoothness.lanczos import norm


def trace(
    fn: Objective,
    params: Params,
    *,
    key: Key,
    block: Label | None = None,
    scaling: Mapping[Label, Scalar] | None = None,
    products: int = 96,
    deflation: int | None = None,
    confidence: float = 0.99,
    args: Sequence[Any] = (),
) -> Measurement:
    r"""The trace of a Hessian, of a diagonal block, or of either in scaled coordinates: Hutch++.

    .. math:: \operatorname{tr} A = \operatorname{tr} Q^\top A Q + \mathbb E\, v^\top P A P v, \qquad P = I - Q Q^\top

    with Q an orthonormal basis of A times r gaussian vectors, so that the large eigenvalues enter exactly, and v a
    Rademacher vector. Given Q the probes are independent and unbiased, whence Student's interval. r = 0 is Hutchinson's
    estimator, of variance 2(|A|_F^2 - sum a_ii^2)/m after m probes. Where few eigenvalues dominate what is sampled, a probe
    is skewed like a square, and the interval of a dozen of them holds less often than it says. For rounding, as many machine
    epsilons of what is added up as there are products, four at least, widen it on both sides.

    Args:
        fn, params, key, block, scaling, args: as in `smoothness.extreme_eigenvalues`.
        products: what may be spent, 2r and the probes; where the dimension does not exceed it, the diagonal is summed
            instead.
        deflation: r; None spends a third of the products on each of sketch, resolved part and probes, and leaves two probes.
        confidence: coverage of the interval.

    Returns:
        The measurement; samples counts the probes, of which a note asks for 32, ``products`` what was spent.

    Raises:
        ValueError: as `smoothness.extreme_eigenvalues`; products that leave fewer than two probes.

    Example:
        >>> fn = lambda z: jnp.sum(jnp.arange(1.0, 4.0) * z["x"] ** 2)
        >>> round(trace(fn, {"x": jnp.ones(3)}, key=jax.random.key(0)).value, 4)  # 2 + 4 + 6
        12.0

    Reference:
        Hutchinson: A stochastic estimator of the trace of the influence matrix, 1989.
        Meyer, Musco, Musco, Woodruff: Hutch++: optimal stochastic trace estimation, 2021 (recalled, not re-read).
    """
    hessian = curvature(fn, params, block=block, scaling=scaling, args=args)
    _checks.key("key", key)
    products = _checks.count("products", products)
    default = max(0, min(products // 3, (products - 2) // 2))
    r = default if deflation is None else _checks.count("deflation", deflation, least=0)
    confidence = _checks.between("confidence", confidence, 0, 1, closed="()")
    name = f"trace of {described(hessian, scaling)}"
    if hessian.dimension <= products:
        resolved, sampled = np.asarray(_diagonal(hessian), dtype=np.float64), np.zeros(2)
        estimate = exact(name, resolved.sum())
        products = hessian.dimension
    else:
        if products - 2 * r < 2:
            raise _checks.refuse("products", f"at least two more than twice the deflation, {r}", products)
        parts = _hutchpp(hessian, r, products - 2 * r, key)
        resolved, sampled = (np.asarray(part, dtype=np.float64) for part in parts)
        estimate = mean(name, resolved.sum() + sampled, confidence=confidence)
    if not (np.isfinite(resolved).all() and np.isfinite(sampled).all()):
        return unmeasured(name, estimate.samples, "a Hessian-vector product is not finite")
    rounding = max(products, ROUNDINGS) * hessian.precision * float(np.abs(resolved).sum() + np.abs(sampled).max())
    low, high = estimate.low - rounding, estimate.high + rounding
    return Measurement(name, estimate.value, low, high, estimate.samples, estimate.note, products)


def effective_rank(
    fn: Objective,
    params: Params,
    *,
    key: Key,
    block: Label | None = None,
    scaling: Mapping[Label, Scalar] | None = None,
    iterations: int = 40,
    products: int = 96,
    probability: float = 0.99,
    args: Sequence[Any] = (),
) -> Measurement:
    r"""How many directions share the curvature of a Hessian or of a block: trace over norm, with an interval from both.

    .. math:: r = \frac{\operatorname{tr} A}{\|A\|} \le d, \qquad r \ge 1 \ \text{for semidefinite } A \ne 0

    Zeroth-order steps in a block are shorter than first-order ones by a factor of order r + 2, not d + 2. Each of the two
    intervals misses with at most half of what the probability leaves; then every ratio of a trace and a norm inside them
    is in the interval, which is cut to [-d, d], where r lies always.

    Args:
        fn, params, key, block, scaling, iterations, args: as in `smoothness.extreme_eigenvalues`.
        products: what the trace may spend.
        probability: that the interval holds.

    Returns:
        r; its high end is at most d. Not a number, with a note, where there is no curvature at all.

    Raises:
        ValueError: as `smoothness.extreme_eigenvalues` and `trace`.

    Example:
        >>> fn = lambda z: jnp.sum(z["x"] ** 2 * jnp.array([2.0, 1.0, 1.0]))
        >>> round(effective_rank(fn, {"x": jnp.ones(3)}, key=jax.random.key(0)).value, 4)  # (4 + 2 + 2)/4
        2.0

    Reference:
        Vershynin: High-dimensional probability, 2018, 5.6 (the stable rank of a covariance); Malladi et al.: Fine-tuning
        language models with just forward passes, 2023 (recalled, not re-read).
    """
    hessian = curvature(fn, params, block=block, scaling=scaling, args=args)
    name = f"effective rank of {described(hessian, scaling)}"
    probability = _checks.between("probability", probability, 0, 1, closed="()")
    each = (1 + probability) / 2
    one, other = jax.random.split(_checks.key("key", key))
    total = trace(fn, params, key=one, block=block, scaling=scaling, products=products, confidence=each, args=args)
    ends = lanczos.extremes(hessian, other, iterations, each)
    size = unmeasured("norm", 1, "") if ends is None else norm(ends[0], ends[1])
    return ratio(name, total, size, hessian.dimension)


def ratio(name: str, total: Measurement, size: Measurement, d: int) -> Measurement:
    """Every ratio of a trace and a norm of dimension d within their intervals, as far as it lies in [-d, d]."""
    if not (math.isfinite(total.value) and math.isfinite(size.value)):
        return unmeasured(name, total.samples, "a Hessian-vector product is not finite")
    if size.value == 0:
        return unmeasured(name, total.samples, "no curvature")
    over = lambda t, n: math.copysign(math.inf, t) if n == 0 else t / n
    low = over(total.low, size.high if total.low >= 0 else size.low)
    high = over(total.high, size.low if total.high >= 0 else size.high)
    value, low, high = (min(max(r, -d), d) for r in (total.value / size.value, low, high))
    return Measurement(name, value, low, high, total.samples, total.note, total.products + size.products)


@jax.jit(static_argnums=(1, 2))
def _hutchpp(hessian: Curvature, r: int, probes: int, key: Key) -> tuple[Array, Array]:
    """The resolved part, a number for each of r directions, and the sampled part, one for each probe."""
    d, dtype = hessian.dimension, hessian.dtype
    sketch_key, probe_key = jax.random.split(key)
    product = hessian.products()
    sketch = jax.lax.map(product, jax.random.normal(sketch_key, (r, d), dtype))
    q, _ = jnp.linalg.qr(sketch.T)  # (d, r)

    def probe(one: Key) -> Array:
        v = jax.random.rademacher(one, (d,), dtype)
        v = v - q @ (q.T @ v)
        return jnp.vdot(v, product(v))

    resolved = jax.lax.map(lambda v: jnp.vdot(v, product(v)), q.T)
    return resolved, jax.lax.map(probe, jax.random.split(probe_key, probes))


@jax.jit
def _diagonal(hessian: Curvature) -> Array:
    """The diagonal, (d,), by d products."""
    product = hessian.products()
    unit = lambda i: jnp.zeros(hessian.dimension, hessian.dtype).at[i].set(1)
    return jax.lax.map(lambda i: product(unit(i))[i], jnp.arange(hessian.dimension))
