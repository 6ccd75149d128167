"""Smoothness, measured: extreme eigenvalues and traces of a Hessian or its blocks, and what dominates it, by products."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks
from theory_lab._typing import Array, Key, Label, Params, Scalar
from theory_lab.measure import lanczos
from theory_lab.measure._door import Objective
from theory_lab.measure.base import Measurement, exact, mean, unmeasured
from theory_lab.measure.cross import cross_norm
from theory_lab.measure.curvature import Curvature, curvature
from theory_lab.measure.density import SpectralDensity, spectral_density
from theory_lab.measure.dominance import FrontierPoint, Margin, frontier, margin, partner
from theory_lab.measure.growth import Envelope, envelope, growth, isotonic

__all__ = [
    "Envelope",
    "FrontierPoint",
    "Margin",
    "SpectralDensity",
    "cross_norm",
    "envelope",
    "extreme_eigenvalues",
    "frontier",
    "growth",
    "isotonic",
    "margin",
    "partner",
    "spectral_density",
    "trace",
]
ENDS = ("lowest eigenvalue", "highest eigenvalue")


def extreme_eigenvalues(
    fn: Objective,
    params: Params,
    *,
    key: Key,
    block: Label | None = None,
    scaling: Mapping[Label, Scalar] | None = None,
    iterations: int = 40,
    probability: float = 0.99,
    args: Sequence[Any] = (),
) -> tuple[Measurement, Measurement]:
    r"""Both ends of the spectrum of a Hessian, of a diagonal block, or of either in scaled coordinates, by Lanczos.

    .. math:: \theta \le \lambda_{\max}(A) \le x, \qquad
        A \in \{H,\ H_{bb},\ D^{-1/2} H D^{-1/2}\},\quad D = \mathrm{diag}(L_b I)

    The inner ends are Ritz values and certain. The outer ends hold, both together, with the stated probability over the
    random start; why, and that they cannot be sharper, is told in `theory_lab.measure.lanczos`. An interval is a point,
    up to rounding, once k reaches the dimension or the Krylov space closes. Rounding is estimated from the run and
    added on both sides.

    About (log d + 12) / (4 sqrt(eps)) products bring both ends to within eps times the width of any spectrum at the
    default probability (`lanczos.relative_error`); most spectra take far fewer.

    Args:
        fn: a twice differentiable scalar function, fn(params, *args); one compilation per function object.
        params: the point, a dict of blocks of floating-point arrays.
        key: the random start.
        block: label of a diagonal block; None for the whole Hessian.
        scaling: {label: L_b > 0} for D^{-1/2} H D^{-1/2}, with the labels of the parameters; None for H.
        iterations: k, Hessian-vector products at most; memory is k vectors like the parameters.
        probability: that both outer ends hold.
        args: further arguments of fn, arrays, which may change without compiling anew.

    Returns:
        The lowest and the highest eigenvalue. Their values are the Ritz values; ``products`` is what both have cost
        together. Not a number, with a note, where a product is not finite.

    Raises:
        ValueError: labels that do not match, leaves that are not floating point, a value of fn that is not a finite
            scalar, a scale that is not positive, iterations < 1, a probability outside (0, 1).

    Example:
        >>> fn = lambda z: 3 * jnp.sum(z["x"] ** 2) - jnp.sum(z["y"] ** 2) + 4 * z["x"][0] * z["y"][0]
        >>> point, key = {"x": jnp.ones(3), "y": jnp.ones(2)}, jax.random.key(0)
        >>> low, high = extreme_eigenvalues(fn, point, key=key)  # of [[6, 4], [4, -2]]: 2 -+ sqrt(32)
        >>> round(low.value, 4), round(high.value, 4), high.low <= 2 + 32**0.5 <= high.high
        (-3.6569, 7.6569, True)
        >>> _, high = extreme_eigenvalues(fn, point, key=key, block="x", scaling={"x": 12.0, "y": 1.0})
        >>> round(high.value, 4)
        0.5

    Reference:
        Kuczynski, Wozniakowski: Estimating the largest eigenvalue by the power and Lanczos algorithms with a random
        start, 1992. Bounds after the run, from the last Lanczos polynomial: van Dorsselaer, Hochstenbach, van der
        Vorst: Computing probabilistic bounds for extreme eigenvalues of symmetric matrices with the Lanczos method,
        1999 (recalled, not re-read); here all polynomials are used.
    """
    hessian = curvature(fn, params, block=block, scaling=scaling, args=args)
    of = _described(hessian, scaling)
    found = lanczos.extremes(hessian, key, iterations, probability)
    if found is None:
        low, high = (unmeasured(f"{end} of {of}", 1, "a Hessian-vector product is not finite") for end in ENDS)
        return low, high
    low, high, _ = found
    return replace(low, name=f"{low.name} of {of}"), replace(high, name=f"{high.name} of {of}")


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
    estimator.

    Args:
        fn, params, key, block, scaling, args: as in `extreme_eigenvalues`.
        products: what may be spent, 2r and the probes; where the dimension does not exceed it, the diagonal is summed
            instead.
        deflation: r; None spends a third of the products on each of sketch, resolved part and probes.
        confidence: coverage of the interval.

    Returns:
        The measurement; samples counts the probes, ``products`` what was spent.

    Raises:
        ValueError: as in `extreme_eigenvalues`; products that leave fewer than two probes.

    Example:
        >>> fn = lambda z: jnp.sum(jnp.arange(1.0, 4.0) * z["x"] ** 2)
        >>> round(trace(fn, {"x": jnp.ones(3)}, key=jax.random.key(0)).value, 4)  # 2 + 4 + 6
        12.0

    Reference:
        Hutchinson: A stochastic estimator of the trace of the influence matrix, 1989.
        Meyer, Musco, Musco, Woodruff: Hutch++: optimal stochastic trace estimation, 2021.
    """
    hessian = curvature(fn, params, block=block, scaling=scaling, args=args)
    _checks.key("key", key)
    products = _checks.count("products", products)
    r = products // 3 if deflation is None else _checks.count("deflation", deflation, least=0)
    _checks.between("confidence", confidence, 0, 1, closed="()")
    name = f"trace of {_described(hessian, scaling)}"
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
    rounding = hessian.precision * float(np.abs(resolved).sum() + np.abs(sampled).max())
    low, high = estimate.low - rounding, estimate.high + rounding
    return Measurement(name, estimate.value, low, high, estimate.samples, products=products)


@jax.jit(static_argnums=(1, 2))
def _hutchpp(hessian: Curvature, r: int, probes: int, key: Key) -> tuple[Array, Array]:
    """The resolved part, a number for each of r directions, and the sampled part, one for each probe."""
    d, dtype = hessian.dimension, hessian.dtype
    sketch_key, probe_key = jax.random.split(key)
    sketch = jax.lax.map(hessian.product, jax.random.normal(sketch_key, (r, d), dtype))
    q, _ = jnp.linalg.qr(sketch.T)  # (d, r)

    def probe(one: Key) -> Array:
        v = jax.random.rademacher(one, (d,), dtype)
        v = v - q @ (q.T @ v)
        return jnp.vdot(v, hessian.product(v))

    resolved = jax.lax.map(lambda v: jnp.vdot(v, hessian.product(v)), q.T)
    return resolved, jax.lax.map(probe, jax.random.split(probe_key, probes))


@jax.jit
def _diagonal(hessian: Curvature) -> Array:
    """The diagonal, (d,), by d products."""
    unit = lambda i: jnp.zeros(hessian.dimension, hessian.dtype).at[i].set(1)
    return jax.lax.map(lambda i: hessian.product(unit(i))[i], jnp.arange(hessian.dimension))


def _described(hessian: Curvature, scaling: Any) -> str:
    return str(hessian) if scaling is None else f"{hessian} in scaled coordinates"
