"""The chain: a function along which every method must discover the coordinates one after the other."""

import math

import jax
import jax.numpy as jnp

from theory_lab import _checks
from theory_lab._trees import record
from theory_lab._typing import Array, Key, Params
from theory_lab.constants import Constants
from theory_lab.problems.base import Problem


@record(data=("origin", "constants"))
class Chain(Problem):
    """F(y) = -Psi(1) Phi(y_1) + sum_{i>1} [Psi(-y_{i-1}) Phi(-y_i) - Psi(y_{i-1}) Phi(y_i)]; build it with `chain`."""

    n: int
    origin: Array  # (length,), zeros
    constants: Constants
    optimum: Params | None = None  # the infimum is approached at infinity only

    def init(self, key: Key) -> Params:
        """The origin, where nothing has been discovered."""
        del key
        return {"y": self.origin}

    def component(self, params: Params, index: Array) -> Array:
        del index
        _checks.same_labels("params", _checks.labelled("params", params), ["y"], "the problem")
        y = jnp.asarray(params["y"])
        if y.shape != self.origin.shape:
            raise _checks.refuse("params['y']", f"of shape {self.origin.shape}", y.shape)
        before = y[:-1]
        links = activation(-before) * response(-y[1:]) - activation(before) * response(y[1:])
        return jnp.sum(links) - response(y[0])  # Psi(1) = 1


def chain(length: int) -> Chain:
    r"""The hard instance behind the lower bound eps^-4 of stochastic first-order methods.

    .. math::
        F(y) = -\Psi(1)\Phi(y_1) + \sum_{i=2}^{T} [\Psi(-y_{i-1})\Phi(-y_i) - \Psi(y_{i-1})\Phi(y_i)], \quad
        \Psi(t) = e^{1 - (2t-1)^{-2}} 1\{t > \tfrac12\}, \quad \Phi(t) = \sqrt e \int_{-\infty}^t e^{-s^2/2} ds

    The gradient vanishes in the coordinates beyond the first one that is still at zero, and it is longer than 1 while the
    last coordinate is below 1. `Progress` is the noise that makes the next coordinate rarely visible.

    Exact, from sup Psi = e and sup Phi = sqrt(2 pi e): inf F = -sqrt(2 pi e)(1 + e (T-1)), approached at infinity, and
    F(0) = -sqrt(2 pi e)/2, so F(0) - inf F <= 12 T. The smoothness 152 is recalled, not re-read, and tested by sampling.

    Args:
        length: T, the dimension of the only block, y.

    Raises:
        ValueError: a length that is not a whole number of at least 1.

    Example:
        >>> problem = chain(4)
        >>> gradient = problem.gradient(problem.init(jax.random.key(0)))["y"]
        >>> [round(float(g), 4) for g in gradient]  # only the first coordinate is visible
        [-1.6487, 0.0, 0.0, 0.0]

    Reference:
        Arjevani, Carmon, Duchi, Foster, Srebro, Woodworth: Lower bounds for non-convex stochastic optimization, 2023; the
        function is that of Carmon, Duchi, Hinder, Sidford 2020 (recalled, not re-read).
    """
    length = _checks.count("length", length, bits=31)
    least = -math.sqrt(2 * math.pi * math.e) * (1 + math.e * (length - 1))
    known = Constants(smoothness={"y": 152.0}, optimal_value=least, dispersion={"y": 0.0})
    return Chain(n=1, origin=jnp.zeros(length), constants=known)


def activation(t: Array) -> Array:
    """Psi: zero up to 1/2 with all its derivatives, then rising to e."""
    on = t > 0.5
    inside = jnp.where(on, 2 * t - 1, 1.0)  # the other branch must stay finite under differentiation
    return jnp.where(on, jnp.exp(1 - 1 / inside**2), 0.0)


def response(t: Array) -> Array:
    """Phi: sqrt(2 pi e) times the normal distribution function."""
    return math.sqrt(2 * math.pi * math.e) * jax.scipy.stats.norm.cdf(t)
