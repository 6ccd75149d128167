r"""Sums over components, whole or sampled: what one product costs, and what a few minibatches say of the whole.

A Hessian-vector product of :math:`f_B = \frac{1}{|B|} \sum_{i \in B} f_i` is |B| products of component Hessians, each of
about two component gradients. `over` makes f_B a function that every measurement takes, and evaluates it a chunk at a time;
so ``measured.products * len(indices)`` is the cost in component products.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks
from theory_lab._typing import Array, Params
from theory_lab.problems.base import Problem


@dataclass(frozen=True)
class Average:
    """(params, problem, indices) -> the mean of these components, ``chunk`` of them at a time; `over` makes it.

    Chunks are evaluated one after the other and anew for the derivatives (rematerialisation), so that memory is that of
    one of them at any number of indices. Problem and indices are arguments: other data compile nothing anew.
    """

    chunk: int

    def __call__(self, params: Params, problem: Problem, indices: Array) -> Array:
        count = indices.shape[0]
        chunks = -(-count // self.chunk)
        if chunks == 1:
            return jnp.mean(jax.vmap(problem.component, in_axes=(None, 0))(params, indices))
        padded = jnp.resize(indices, (chunks, self.chunk))  # what is over repeats the first ones and is not counted
        counted = jnp.arange(padded.size).reshape(padded.shape) < count

        @jax.checkpoint
        def part(inputs: tuple[Array, Array]) -> Array:
            own, among = inputs
            return jnp.sum(jax.vmap(problem.component, in_axes=(None, 0))(params, own), where=among)

        return jnp.sum(jax.lax.map(part, (padded, counted))) / count


def over(problem: Problem, indices: Any = None, *, chunk: int = 64) -> tuple[Average, tuple[Problem, Array]]:
    r"""The mean of chosen components of a problem as fn and args of a measurement, :math:`\frac{1}{|B|} \sum_{i \in B} f_i`.

    Args:
        problem: the finite sum, a pytree as all of this library are.
        indices: which components, whole numbers below n; repeated ones count as often. None takes all.
        chunk: how many are evaluated at a time; memory is that of so many, however many there are.

    Returns:
        fn and args. One of their Hessian-vector products costs as many component products as there are indices.

    Raises:
        ValueError: not a problem, indices that are none, a chunk below 1.

    Example:
        >>> from theory_lab.measure.smoothness import trace
        >>> from theory_lab.problems import block_quadratic
        >>> problem = block_quadratic({"x": 4, "y": 2}, n=100, coupling=0.5)
        >>> point, key = problem.init(jax.random.key(1)), jax.random.key(0)
        >>> fn, args = over(problem, chunk=8)
        >>> found = trace(fn, point, key=key, args=args)
        >>> found.products, found.products * problem.n  # of the mean, and of its components
        (6, 600)
    """
    _checks.instance("problem", problem, Problem, "a Problem")
    chunk = _checks.count("chunk", chunk)
    rule = f"a non-empty one-dimensional array of whole numbers from 0 to {problem.n - 1}"
    try:
        chosen = np.arange(problem.n) if indices is None else np.asarray(indices)
    except (TypeError, ValueError):
        chosen = np.empty(0)
    if (
        chosen.ndim != 1
        or chosen.size == 0
        or chosen.dtype.kind not in "iu"
        or chosen.min() < 0
        or chosen.max() >= problem.n
    ):
        raise _checks.refuse("indices", rule, indices)
    return Average(min(chunk, chosen.size)), (problem, jnp.asarray(chosen, jnp.int32))
