r"""What a few minibatches of components say of the whole Hessian.

Minibatches drawn uniformly give unbiased Hessians, E H_B = H, and through them intervals for the whole that never look at
the whole. The trace is linear and its minibatch estimates are averaged. The largest eigenvalue is convex:

.. math:: \langle v, H v\rangle \le \lambda_{\max}(H) \le \mathbb E\, \lambda_{\max}(H_B)

for every unit v, and for one that was chosen on another minibatch :math:`\langle v, H_B v\rangle` is unbiased. Both sides
are means of independent samples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from theory_lab import _checks, blocks
from theory_lab._typing import Array, Key, Label, Params, Scalar
from theory_lab.measure.base import Measurement, few, mean, unmeasured
from theory_lab.measure.smoothness import lanczos
from theory_lab.measure.smoothness.components import over
from theory_lab.measure.smoothness.curvature import Curvature, curvature, described
from theory_lab.problems.base import Problem

ENDS = ("lowest", "highest")
NOT_FINITE = "a Hessian-vector product is not finite"


def sampled_trace(
    problem: Problem,
    params: Params,
    *,
    key: Key,
    batch_size: int = 1,
    batches: int = 128,
    block: Label | None = None,
    scaling: Mapping[Label, Scalar] | None = None,
    chunk: int = 64,
    confidence: float = 0.99,
) -> Measurement:
    r"""The trace of the whole Hessian, or of a block, from minibatches: the mean of :math:`\langle v, H_B v\rangle`.

    B is drawn uniformly with replacement and v is a Rademacher vector, both anew for every sample, so that samples are
    independent and unbiased; Student's interval covers what the components that were not looked at may add. For rounding,
    as many machine epsilons of a sample as there are samples widen it on both sides.

    Args:
        problem, chunk: as in `components.over`.
        params, key, block, scaling: as in `smoothness.extreme_eigenvalues`.
        batch_size: |B|; every sample costs as many component products.
        batches: samples, at least two.
        confidence: coverage of the interval.

    Returns:
        The measurement; ``products`` counts component products.

    Raises:
        ValueError: as `components.over` and `smoothness.extreme_eigenvalues`; fewer than two batches, or batches of more
            components than there are.

    Example:
        >>> from theory_lab.problems import block_quadratic
        >>> problem = block_quadratic({"x": 4, "y": 2}, n=1000, smoothness={"x": 1.0, "y": 1.0})
        >>> found = sampled_trace(problem, problem.init(jax.random.key(1)), key=jax.random.key(0), batches=64)
        >>> found.products
        64

    Reference:
        Hutchinson: A stochastic estimator of the trace of the influence matrix, 1989.
    """
    confidence = _checks.between("confidence", confidence, 0, 1, closed="()")
    batches, batch_size = _checks.count("batches", batches, least=2, bits=20), _batch_size(problem, batch_size)
    hessian, name, one, other = _sampled(problem, params, key, batch_size, block, scaling, chunk)
    rows = _drawn(problem, batch_size, batches, one)
    samples = np.asarray(_probes(hessian, rows, other), dtype=np.float64)
    estimate = mean(f"trace of {name}", samples, confidence=confidence)
    if not np.isfinite(samples).all():
        return unmeasured(estimate.name, batches, NOT_FINITE)
    rounding = batches * hessian.precision * float(np.abs(samples).max())
    return replace(estimate, low=estimate.low - rounding, high=estimate.high + rounding, products=batch_size * batches)


def sampled_extremes(
    problem: Problem,
    params: Params,
    *,
    key: Key,
    batch_size: int = 1,
    batches: int = 33,
    block: Label | None = None,
    scaling: Mapping[Label, Scalar] | None = None,
    iterations: int = 40,
    chunk: int = 64,
    probability: float = 0.99,
) -> tuple[Measurement, Measurement]:
    r"""Both ends of the spectrum of the whole Hessian, or of a block, from minibatches.

    The first minibatch chooses unit vectors v; on the others, whose number is m, :math:`\langle v, H_B v\rangle` has a mean
    inside the spectrum and the outer ends of the Lanczos intervals have means beyond it (the module tells why). Student's
    limits of both means make the interval. It narrows with 1/sqrt(m) on the inner side and on the outer side only down to
    E lambda_max(H_B) - lambda_max(H), which is what larger minibatches are for.

    With theta_j the Ritz values and e_j the distances from there to the outer bounds, which hold all together, the limit for
    the mean of lambda_max(H_B) is that of the worst case of :math:`\lambda_j \in [\theta_j, \theta_j + e_j]`: their mean is
    at most that of the bounds, and their deviation at most the one of theta plus :math:`\|e\|/\sqrt{m - 1}`.

    Args:
        problem, chunk: as in `components.over`.
        params, key, block, scaling, iterations: as in `smoothness.extreme_eigenvalues`.
        batch_size: |B|; one product costs as many component products.
        batches: minibatches, at least three.
        probability: that both intervals hold: half of what it leaves is for the random starts, half for the minibatches.

    Returns:
        The lowest and the highest eigenvalue; ``products`` counts component products, of both together.

    Raises:
        ValueError: as `components.over` and `smoothness.extreme_eigenvalues`; fewer than three batches, or batches of more
            components than there are.

    Example:
        >>> from theory_lab.problems import block_quadratic
        >>> problem = block_quadratic({"x": 4, "y": 2}, n=1000, coupling=0.5)
        >>> point, key = problem.init(jax.random.key(1)), jax.random.key(0)
        >>> _, high = sampled_extremes(problem, point, key=key, batch_size=8, scaling=problem.constants.smoothness)
        >>> high.low <= 1 <= high.high  # D = diag(L_b I) is attained by this problem
        True
    """
    batches, batch_size = _checks.count("batches", batches, least=3, bits=20), _batch_size(problem, batch_size)
    _checks.count("iterations", iterations)
    probability = _checks.between("probability", probability, 0, 1, closed="()")
    hessian, name, one, other = _sampled(problem, params, key, batch_size, block, scaling, chunk)
    rows = _drawn(problem, batch_size, batches, one)
    each = 1 - (1 - probability) / (2 * (batches - 1))
    runs: list[tuple[Measurement, Measurement, lanczos.Tridiagonal]] = []
    for row, start in zip(rows, jax.random.split(other, batches), strict=True):
        found = lanczos.extremes(
            replace(hessian, args=(problem, row)), start, iterations, each, keep=True if not runs else None
        )
        if found is None:
            one_end, other_end = (unmeasured(f"{end} eigenvalue of {name}", batches, NOT_FINITE) for end in ENDS)
            return one_end, other_end
        runs.append(found)
    chosen = jnp.stack([runs[0][2].vector(0), runs[0][2].vector(-1)])
    quotients = np.asarray(_quotients(hessian, rows[1:], chosen), dtype=np.float64)
    spent = batch_size * (sum(run[1].products for run in runs) + quotients.size)
    t = float(stats.t.ppf(1 - (1 - probability) / 8, batches - 2))
    lowest = _mirrored(_limits(-quotients[:, 0], [_mirrored(run[0]) for run in runs[1:]], t))
    highest = _limits(quotients[:, 1], [run[1] for run in runs[1:]], t)
    described_ends = (
        replace(end, name=f"{which} eigenvalue of {name}", note=few(batches - 1), products=spent)
        for which, end in zip(ENDS, (lowest, highest), strict=True)
    )
    low, high = described_ends
    return low, high


def _mirrored(end: Measurement) -> Measurement:
    """The same of the negative operator."""
    return replace(end, value=-end.value, low=-end.high, high=-end.low)


def _limits(quotients: np.ndarray, bounds: Sequence[Measurement], t: float) -> Measurement:
    """Student's lower limit of the mean quotient, less rounding, and upper limit of the mean largest eigenvalue."""
    m = quotients.size
    inner, outer = np.array([bound.value for bound in bounds]), np.array([bound.high for bound in bounds])
    deviation = inner.std(ddof=1) + np.linalg.norm(outer - inner) / math.sqrt(m - 1)
    rounding = max(bound.value - bound.low for bound in bounds)
    low = float(quotients.mean() - t * quotients.std(ddof=1) / math.sqrt(m)) - rounding
    high = float(outer.mean() + t * deviation / math.sqrt(m))
    return Measurement("", float(quotients.mean()), low, max(low, high), m)


def _batch_size(problem: Any, batch_size: Any) -> int:
    _checks.instance("problem", problem, Problem, "a Problem")
    size = _checks.count("batch_size", batch_size)
    if size > problem.n:
        raise _checks.refuse("batch_size", f"at most the number of components, {problem.n}", batch_size)
    return size


def _sampled(
    problem: Any,
    params: Params,
    key: Key,
    batch_size: int,
    block: Label | None,
    scaling: Mapping[Label, Scalar] | None,
    chunk: int,
) -> tuple[Curvature, str, Key, Key]:
    """The Hessian of a minibatch, its name, and two keys; what is wrong is refused."""
    one, other = jax.random.split(_checks.key("key", key))
    fn, args = over(problem, np.zeros(batch_size, dtype=np.int32), chunk=chunk)
    blocks.check_params(params, jax.eval_shape(problem.init, one))
    hessian = curvature(fn, params, block=block, scaling=scaling, args=args)
    return hessian, f"{described(hessian, scaling)} by minibatches", one, other


def _drawn(problem: Problem, batch_size: int, batches: int, key: Key) -> Array:
    """Uniform indices, (batches, batch_size)."""
    return jax.random.randint(key, (batches, batch_size), 0, problem.n, jnp.int32)


@jax.jit
def _probes(hessian: Curvature, rows: Array, key: Key) -> Array:
    """<v, H_B v> for every row of indices, (batches,)."""

    def sample(inputs: tuple[Array, Key]) -> Array:
        row, own = inputs
        v = jax.random.rademacher(own, (hessian.dimension,), hessian.dtype)
        return jnp.vdot(v, replace(hessian, args=(hessian.args[0], row)).product(v))

    return jax.lax.map(sample, (rows, jax.random.split(key, rows.shape[0])))


@jax.jit
def _quotients(hessian: Curvature, rows: Array, vectors: Array) -> Array:
    """<v, H_B v> for every row of indices and vector, (batches, vectors)."""

    def sample(row: Array) -> Array:
        batch = replace(hessian, args=(hessian.args[0], row))
        return jax.lax.map(lambda v: jnp.vdot(v, batch.product(v)), vectors)

    return jax.lax.map(sample, rows)
