"""What the components of a finite sum do at a point: gradients, Hessians, the whole Hessian as a matrix."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from theory_lab import _checks, blocks
from theory_lab._typing import Array, Label, Params
from theory_lab.measure.smoothness._door import Objective
from theory_lab.measure.smoothness.curvature import Curvature, curvature
from theory_lab.problems.base import Problem

HELD = 2**22  # numbers of component gradients or Hessians held at a time


def dense_hessian(fn: Objective, params: Params, *, args: Sequence[Any] = ()) -> np.ndarray:
    """The Hessian as a symmetric (d, d) float64 matrix, by d products; coordinates in the order of the sorted labels.

    Raises:
        ValueError: as `smoothness.extreme_eigenvalues`.

    Example:
        >>> dense_hessian(lambda z: jnp.prod(z["x"]), {"x": jnp.array([2.0, 5.0])})
        array([[0., 1.],
               [1., 0.]])
    """
    matrix = np.asarray(_matrix(curvature(fn, params, args=args)), dtype=np.float64)
    return (matrix + matrix.T) / 2


@jax.jit
def _matrix(at: Curvature) -> Array:
    return jax.lax.map(at.product, jnp.eye(at.dimension, dtype=at.dtype))


def component_hessians(problem: Problem, params: Params, indices: Any) -> np.ndarray:
    """The Hessians of some components, (m, d, d) in float64, by d products each.

    Raises:
        ValueError: as `smoothness.extreme_eigenvalues`; no problem.

    Example:
        >>> from theory_lab.problems import block_quadratic
        >>> component_hessians(block_quadratic({"x": 2}, n=3), {"x": jnp.zeros(2)}, [0, 2]).tolist()
        [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]]
    """
    _checks.instance("problem", problem, Problem, "a Problem")
    at = curvature(problem.component, params, args=(jnp.asarray(indices)[0],))
    found = np.asarray(_matrices(at, jnp.asarray(indices)), dtype=np.float64)
    return (found + found.transpose(0, 2, 1)) / 2


@jax.jit
def _matrices(at: Curvature, indices: Array) -> Array:
    one = lambda index: _matrix(Curvature(at.fn, at.block, at.params, at.scales, (index,)))
    return jax.lax.map(one, indices, batch_size=max(1, min(64, HELD // at.dimension**2)))


def component_gradients(problem: Problem, params: Params, indices: Any) -> np.ndarray:
    """The gradients of some components, (m, d) in float64; coordinates in the order of the sorted labels."""
    _checks.instance("problem", problem, Problem, "a Problem")
    at = curvature(problem.component, params, args=(jnp.asarray(indices)[0],))
    return np.asarray(_gradients(at, jnp.asarray(indices)), dtype=np.float64)


@jax.jit
def _gradients(at: Curvature, indices: Array) -> Array:
    one = lambda index: ravel_pytree(jax.grad(lambda free: at.fn(free, index))(at.free))[0]
    return jax.lax.map(one, indices, batch_size=max(1, min(256, HELD // at.dimension)))


def dispersions(problem: Problem, params: Params, indices: Any) -> dict[Label, float]:
    """The mean of |grad_b f_i - grad_b f|^2 over some components, per block, one gradient held at a time.

    Example:
        >>> from theory_lab.problems import block_quadratic
        >>> problem = block_quadratic({"x": 2, "y": 1}, n=4, dispersion=1.0)
        >>> round(dispersions(problem, problem.init(jax.random.key(0)), range(4))["x"], 5)
        1.0
    """
    _checks.instance("problem", problem, Problem, "a Problem")
    at = curvature(problem.component, params, args=(jnp.asarray(indices)[0],))
    found = _dispersions(at, problem.gradient(params), jnp.asarray(indices))
    return {label: float(value) for label, value in found.items()}


@jax.jit
def _dispersions(at: Curvature, mean: Params, indices: Array) -> dict[Label, Array]:
    def add(total: dict[Label, Array], index: Array) -> tuple[dict[Label, Array], None]:
        own = jax.grad(lambda free: at.fn(free, index))(at.free)
        apart = blocks.norms_sq(jax.tree.map(jnp.subtract, own, dict(mean)))
        return jax.tree.map(jnp.add, total, apart), None

    zero = {label: jnp.zeros_like(value) for label, value in blocks.norms_sq(at.free).items()}
    total, _ = jax.lax.scan(add, zero, indices)
    return {label: value / indices.shape[0] for label, value in total.items()}
