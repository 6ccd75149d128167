"""The two-point estimate: a gradient from function values along random directions."""

import math

import jax
import jax.numpy as jnp

from theory_lab import _checks
from theory_lab._trees import record
from theory_lab._typing import Array, Block, Component, Key, Scalar
from theory_lab.oracles import directions
from theory_lab.oracles.base import Cost, Draw, Estimate, Oracle, scalar
from theory_lab.oracles.directions import LAWS, STREAMS, Law, Stream


@record(data=("radius",))
class TwoPoint(Oracle):
    r"""Zeroth-order two-point estimator, averaged over independent directions.

    .. math::
        \hat g = \frac1q \sum_{j \le q} s_j v_j, \qquad
        s_j = \frac{f(x + \mu v_j) - f(x)}{\mu} \ \text{(one-sided)}, \quad
        s_j = \frac{f(x + \mu v_j) - f(x - \mu v_j)}{2\mu} \ \text{(two-sided)}

    with :math:`v_j` gaussian or Rademacher; on the sphere the sum carries the factor d,
    :math:`\hat g = \frac dq \sum_j s_j u_j` with |u_j| = 1. For gaussian and sphere :math:`\mathbb E \hat g = \nabla f_\mu`,
    the gradient of f smoothed with radius mu (over the ball for the sphere); on quadratics, for all three laws, it is
    :math:`\nabla f` itself.

    Args:
        radius: mu > 0, in units of the parameters.
        directions: q >= 1.
        law: "gaussian", "rademacher" or "sphere".
        sided: 1 (forward difference, q + 1 evaluations) or 2 (central difference, 2q evaluations).
        stream: how a key makes directions: "bulk", the fastest, or "rows", a key for every row of every array, by which a
            large model draws any part of a direction again (`models.perturb`).

    Raises:
        ValueError: a radius that is not positive, directions < 1, an unknown law or stream, sided not 1 or 2; at a query, a
            radius that underflows or overflows in the parameters' precision.

    Example:
        >>> fn = lambda z: jnp.dot(jnp.array([3.0, 4.0]), z)
        >>> TwoPoint(1e-2, directions=2).cost(jnp.zeros(2))
        Cost(values=3, gradients=0)
        >>> estimate = TwoPoint(1.0, law="sphere")(fn, jnp.zeros(2), jax.random.key(0))
        >>> float(estimate.value)
        0.0

    Reference:
        Nesterov, Spokoiny: Random gradient-free minimization of convex functions, 2017, equations (22) and (30).
    """

    radius: Scalar
    directions: int = 1
    law: Law = "gaussian"
    sided: int = 1
    stream: Stream = "bulk"

    def __init__(
        self, radius: Scalar, directions: int = 1, law: Law = "gaussian", sided: int = 1, stream: Stream = "bulk"
    ) -> None:
        if not _checks.is_traced(radius):
            # A Python float: it does not widen float32 parameters. Whether it is too large is for their precision to say.
            radius = _checks.positive("radius", radius, reach=math.inf)
        object.__setattr__(self, "radius", radius)
        object.__setattr__(self, "directions", _checks.count("directions", directions))
        object.__setattr__(self, "law", _checks.choice("law", law, LAWS))
        object.__setattr__(self, "sided", _checks.sides("sided", sided))
        object.__setattr__(self, "stream", _checks.choice("stream", stream, STREAMS))

    def draw(self, key: Key, params: Block, count: int) -> Draw:
        for leaf in jax.tree.leaves(params) if not _checks.is_traced(self.radius) else ():
            kind = jnp.finfo(jnp.result_type(leaf))
            low, high = float(kind.tiny), float(kind.max) / 2
            if not low <= self.radius <= high:
                raise _checks.refuse("radius", f"within {low:.1e}..{high:.1e} for {kind.dtype}", self.radius)
        return directions.draw(key, params, self.law, (count, self.directions), self.stream)  # leaves (count, q, ...)

    def estimate(self, fn: Component, params: Block, draw: Draw, *, value: Array | None = None) -> Estimate:
        ahead = self._values(fn, params, draw, self.radius)  # (q,)
        if self.sided == 1:
            value = scalar(fn(params)) if value is None else value
            slopes = (ahead - value) / self.radius
        else:
            behind = self._values(fn, params, draw, -self.radius)
            value = jnp.mean(ahead + behind) / 2 if value is None else value
            slopes = (ahead - behind) / (2 * self.radius)
        return Estimate(value, directions.combine(directions.scale(params, self.law) * slopes, draw))

    def _values(self, fn: Component, params: Block, draw: Block, radius: Scalar) -> Array:
        """fn at params + radius v_j for every direction, (q,)."""
        return jax.vmap(lambda v: scalar(fn(jax.tree.map(lambda p, w: p + radius * w, params, v))))(draw)

    def cost(self, params: Block) -> Cost:
        return Cost(values=self.directions + 1 if self.sided == 1 else 2 * self.directions, gradients=0)

    @property
    def needs_value(self) -> bool:
        return self.sided == 1
