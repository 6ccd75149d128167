"""What the components of a finite sum do at a point: gradients, Hessians, the whole Hessian as a matrix."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from theory_lab import _checks, blocks
from theory_lab._typing import Array, Label, Params
from theory_lab.measure.smoothness._door import Objective
from theory_lab.measure.smoothness.curvature import Curvature, curvature, slope
from theory_lab.problems.base import Problem

HELD = 2**22  # numbers of component gradients or Hessians held at a time
TOGETHER = 32  # components up to which one of them is the sum of all with other weights, whose program there is already


def weighted(params: Params, problem: Problem, weights: Array) -> Array:
    """sum_i w_i f_i: the mean, a component, or what sets one apart from the mean, all by one compiled program."""
    each = jax.vmap(problem.component, in_axes=(None, 0))(params, jnp.arange(problem.n, dtype=jnp.int32))
    return jnp.sum(weights.astype(each.dtype) * each)


def one(params: Params, problem: Problem, index: Array) -> Array:
    """f_i, of a problem that is an argument: others of its kind share what is compiled."""
    return problem.component(params, index)


def mean(problem: Problem) -> tuple[Objective, tuple[Problem, Array]]:
    """f as fn and args of a measurement: the data are arguments, and other weights compile nothing anew.

    Example:
        >>> from theory_lab.problems import block_quadratic
        >>> fn, args = mean(block_quadratic({"x": 2}, n=3))
        >>> float(fn({"x": jnp.ones(2)}, *args))
        1.0
    """
    return weighted, (jax.tree.map(blocks.as_array, problem), jnp.asarray(np.full(problem.n, 1 / problem.n)))


def value_and_gradient(problem: Problem, params: Params) -> tuple[float, dict[Label, Any]]:
    """f and its gradient, finite or not; compiled once for a kind of problem.

    Example:
        >>> from theory_lab.problems import block_quadratic
        >>> value, gradient = value_and_gradient(block_quadratic({"x": 2}), {"x": jnp.ones(2)})
        >>> value, gradient["x"].tolist()
        (1.0, [1.0, 1.0])
    """
    fn, args = mean(problem)
    point = {label: jax.tree.map(blocks.as_array, params[label]) for label in blocks.labels(params)}
    value, gradient = slope(Curvature(fn, None, point, dict.fromkeys(point, 1.0), args))
    return float(value), _parts(point, gradient)


def component(problem: Problem, index: int) -> tuple[Objective, tuple[Any, ...]]:
    """f_i as fn and args of a measurement, in the program of `mean` where there are few components.

    Example:
        >>> from theory_lab.problems import finite_sum
        >>> sums = finite_sum(lambda z, c: c * jnp.sum(z["x"] ** 2), jnp.arange(3.0), {"x": jnp.ones(2)})
        >>> fn, args = component(sums, 2)
        >>> float(fn({"x": jnp.ones(2)}, *args))
        4.0
    """
    if problem.n > TOGETHER:
        return one, (jax.tree.map(blocks.as_array, problem), jnp.asarray(index))
    fn, (given, weights) = mean(problem)
    return fn, (given, jnp.zeros_like(weights).at[index].set(1))


def apart(problem: Problem, params: Params, index: int) -> tuple[tuple[Any, ...], dict[Label, Any]]:
    """The arguments that make f_i - f of the fn of `mean`, and the gradient of that.

    Example:
        >>> from theory_lab.problems import finite_sum
        >>> sums = finite_sum(lambda z, c: c * jnp.sum(z["x"] ** 2), jnp.arange(4.0), {"x": jnp.ones(2)})
        >>> args, gradient = apart(sums, {"x": jnp.ones(2)}, 2)
        >>> float(mean(sums)[0]({"x": jnp.ones(2)}, *args)), gradient["x"].tolist()
        (1.0, [1.0, 1.0])
    """
    fn, (given, weights) = mean(problem)
    args = given, jnp.zeros_like(weights).at[index].set(1) - weights
    point = {label: jax.tree.map(blocks.as_array, params[label]) for label in blocks.labels(params)}
    _, gradient = slope(Curvature(fn, None, point, dict.fromkeys(point, 1.0), args))
    return args, _parts(point, gradient)


@jax.jit
def _parts(like: Params, flat: Array) -> dict[Label, Any]:
    """A flat vector as a tree; one program, where slices would be compiled one by one."""
    return ravel_pytree(dict(like))[1](flat)


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
    return jax.lax.map(at.products(), jnp.eye(at.dimension, dtype=at.dtype))


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
    at = _of_one(problem, params, indices)
    found = np.asarray(_matrices(at, jnp.asarray(indices)), dtype=np.float64)
    return (found + found.transpose(0, 2, 1)) / 2


def _of_one(problem: Problem, params: Params, indices: Any) -> Curvature:
    """The Hessian of the first of some components; other indices take its last argument's place."""
    return curvature(one, params, args=(problem, jnp.asarray(np.asarray(indices)[0])))


@jax.jit
def _matrices(at: Curvature, indices: Array) -> Array:
    each = lambda index: _matrix(replace(at, args=(at.args[0], index)))
    return jax.lax.map(each, indices, batch_size=max(1, min(64, HELD // at.dimension**2)))


def component_gradients(problem: Problem, params: Params, indices: Any) -> np.ndarray:
    """The gradients of some components, (m, d) in float64; coordinates in the order of the sorted labels."""
    _checks.instance("problem", problem, Problem, "a Problem")
    at = _of_one(problem, params, indices)
    return np.asarray(_gradients(at, jnp.asarray(indices)), dtype=np.float64)


@jax.jit
def _gradients(at: Curvature, indices: Array) -> Array:
    each = lambda index: ravel_pytree(jax.grad(replace(at, args=(at.args[0], index)).value)(at.free))[0]
    return jax.lax.map(each, indices, batch_size=max(1, min(256, HELD // at.dimension)))


def dispersions(problem: Problem, params: Params, indices: Any) -> dict[Label, float]:
    """The mean of |grad_b f_i - grad_b f|^2 over some components, per block, one gradient held at a time.

    Raises:
        ValueError: no problem; as `smoothness.extreme_eigenvalues`.

    Example:
        >>> from theory_lab.problems import block_quadratic
        >>> problem = block_quadratic({"x": 2, "y": 1}, n=4, dispersion=1.0)
        >>> round(dispersions(problem, problem.init(jax.random.key(0)), range(4))["x"], 5)
        1.0
    """
    _checks.instance("problem", problem, Problem, "a Problem")
    if problem.n <= TOGETHER:
        each = [norms_sq(apart(problem, params, index)[1]) for index in np.asarray(indices)]
        return {label: float(np.mean([squares[label] for squares in each])) for label in blocks.labels(params)}
    at = _of_one(problem, params, indices)
    found = _dispersions(at, value_and_gradient(problem, params)[1], jnp.asarray(indices))
    return {label: float(value) for label, value in found.items()}


norms_sq = jax.jit(blocks.norms_sq)


@jax.jit
def _dispersions(at: Curvature, mean: Params, indices: Array) -> dict[Label, Array]:
    def add(total: dict[Label, Array], index: Array) -> tuple[dict[Label, Array], None]:
        own = jax.grad(replace(at, args=(at.args[0], index)).value)(at.free)
        apart = blocks.norms_sq(jax.tree.map(jnp.subtract, own, dict(mean)))
        return jax.tree.map(jnp.add, total, apart), None

    zero = {label: jnp.zeros_like(value) for label, value in blocks.norms_sq(at.free).items()}
    total, _ = jax.lax.scan(add, zero, indices)
    return {label: value / indices.shape[0] for label, value in total.items()}
