"""The progress oracle: an unbiased gradient that rarely shows a coordinate that has not been reached yet."""

import jax
import jax.numpy as jnp

from theory_lab import _checks
from theory_lab._trees import record
from theory_lab._typing import Array, Block, Component, Key, Scalar
from theory_lab.oracles.base import Cost, Draw, Estimate, Oracle, scalar


@record(data=("probability", "threshold"))
class Progress(Oracle):
    r"""The exact gradient, its coordinates beyond the progress of the point multiplied by z/p.

    .. math::
        \hat g_i = \nabla_i f(x) \cdot \begin{cases} 1 & i \le \mathrm{prog}(x) \\ z/p & i > \mathrm{prog}(x) \end{cases},
        \quad z \sim \mathrm{Bernoulli}(p), \quad \mathrm{prog}(x) = \max\{i : |x_i| > \theta\}

    with one z for all hidden coordinates. Unbiased; the variance is (1-p)/p times the squared norm of the hidden part. On
    `problems.chain` only one hidden coordinate has a gradient, so one more is discovered with probability at most p a step:
    T coordinates take about T/p steps, whatever the method.

    Args:
        probability: p in (0, 1].
        threshold: theta, from which a coordinate counts as reached (1/4 in the reference; recalled, not re-read).

    Raises:
        ValueError: a probability outside (0, 1], a negative threshold; when called, parameters that are not one vector.

    Example:
        >>> fn = lambda x: jnp.sum(x)
        >>> Progress(0.5)(fn, jnp.array([1.0, 0.0]), jax.random.key(0)).gradient.tolist()[0]  # reached: exact
        1.0

    Reference:
        Arjevani, Carmon, Duchi, Foster, Srebro, Woodworth: Lower bounds for non-convex stochastic optimization, 2023.
    """

    probability: Scalar
    threshold: Scalar = 0.25

    def __init__(self, probability: Scalar, threshold: Scalar = 0.25) -> None:
        if not _checks.is_traced(probability):
            probability = _checks.between("probability", probability, 0, 1, closed="(]")
        if not _checks.is_traced(threshold):
            threshold = _checks.nonnegative("threshold", threshold)
        object.__setattr__(self, "probability", probability)
        object.__setattr__(self, "threshold", threshold)

    def draw(self, key: Key, params: Block, count: int) -> Draw:
        leaf = _vector(params)
        return jax.random.bernoulli(key, self.probability, (count,)).astype(leaf.dtype)

    def estimate(self, fn: Component, params: Block, draw: Draw, *, value: Array | None = None) -> Estimate:
        del value
        point = _vector(params)
        value, gradient = jax.value_and_grad(lambda at: scalar(fn(at)))(params)
        hidden = jnp.arange(1, point.size + 1) > progress(point, self.threshold)
        factor = (draw / self.probability).astype(point.dtype)
        return Estimate(value, jax.tree.map(lambda g: jnp.where(hidden, factor * g, g), gradient))

    def cost(self, params: Block) -> Cost:
        return Cost(values=1, gradients=1)

    @property
    def needs_value(self) -> bool:
        return False


def progress(point: Array, threshold: Scalar = 0.25) -> Array:
    """The largest i (from 1) with |x_i| > threshold; 0 if there is none.

    Example:
        >>> int(progress(jnp.array([1.0, 0.1, -0.5, 0.0])))
        3
    """
    return jnp.max(jnp.where(jnp.abs(point) > threshold, jnp.arange(1, point.size + 1), 0))


def _vector(params: Block) -> Array:
    leaves = jax.tree.leaves(params)
    if len(leaves) != 1 or jnp.ndim(leaves[0]) != 1 or not jnp.size(leaves[0]):
        raise _checks.refuse(
            "params", "one non-empty vector, whose coordinates have an order", [jnp.shape(leaf) for leaf in leaves]
        )
    return leaves[0]
