r"""The Hessian as an operator: any function, any pytree of blocks, no matrix.

A product is one forward derivative of one reverse derivative, :math:`v \mapsto \partial_t \nabla f(z + t v)|_{t=0}`. It
costs about two gradients in time and a few in memory.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from theory_lab import _checks, blocks
from theory_lab._trees import record
from theory_lab._typing import Array, Label, Params, Scalar
from theory_lab.measure.smoothness._door import Objective, at_a_point, exactly

REMEMBERED = 5 * 10**7  # numbers that products at one point may remember of it together: 400 MB of float64
ROUNDINGS = 4  # machine epsilons that one product of one number may be off: both scales, three products, the unit vector


@record(data=("params", "scales", "args"))
class Curvature:
    r"""A Hessian at a point, or a diagonal block of it, perhaps in scaled coordinates; build it with `curvature`.

    .. math:: v \mapsto S H S v, \qquad S = \mathrm{diag}(s_b I)

    Function and block are static, all numbers are traced: what is jitted over a Curvature compiles once per function
    and shape.

    Attributes:
        fn: a scalar function, fn(params, *args).
        block: the label of the diagonal block; None for the whole Hessian.
        params: the point.
        scales: s_b by label.
        args: further arguments of fn.
        as_whole: whether Lanczos runs a large block, too, in the program of the whole.
    """

    fn: Objective
    block: Label | None
    params: Params
    scales: Mapping[Label, Scalar]
    args: tuple[Any, ...]
    as_whole: bool = False

    @property
    def free(self) -> dict[Label, Any]:
        """The blocks that are differentiated."""
        chosen = blocks.labels(self.params) if self.block is None else (self.block,)
        return {label: self.params[label] for label in chosen}

    @property
    def dimension(self) -> int:
        return blocks.size(self.free)

    @property
    def dtype(self) -> Any:
        return jnp.result_type(*jax.tree.leaves(self.free))

    @property
    def precision(self) -> float:
        """The largest machine epsilon among the blocks that are differentiated."""
        return max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(self.free))

    def value(self, free: Mapping[Label, Any]) -> Array:
        """fn where the blocks that are differentiated are these, its products of matrices in full precision."""
        return exactly(self.fn, {**self.params, **free}, self.args)

    def product(self, vector: Array) -> Array:
        """S H S times a flat vector, (d,), in the order of the sorted labels."""
        _, unflatten = ravel_pytree(self.free)
        _, curved = jax.jvp(jax.grad(self.value), (self.free,), (self._scaled(unflatten(vector)),))
        return ravel_pytree(self._scaled(curved))[0]

    def products(self) -> Callable[[Array], Array]:
        """`product` for many vectors in one program: what is the same for all of them is computed once.

        The derivative of the gradient remembers the intermediate results of both passes. Where they are more than
        `REMEMBERED` numbers together, every product computes them anew.
        """
        _, unflatten = ravel_pytree(self.free)
        _, push = jax.linearize(jax.grad(self.value), self.free)
        if sum(leaf.size for leaf in jax.tree.leaves(push)) > REMEMBERED:
            return self.product
        return lambda vector: ravel_pytree(self._scaled(push(self._scaled(unflatten(vector)))))[0]

    def unscaled(self, vector: Array) -> dict[Label, Any]:
        """S times a flat vector, as a tree: what a vector in scaled coordinates is in the parameters."""
        _, unflatten = ravel_pytree(self.free)
        return self._scaled(unflatten(vector))

    def _scaled(self, tree: dict[Label, Any]) -> dict[Label, Any]:
        times: Callable[[Scalar, Any], Any] = lambda s, part: jax.tree.map(lambda a: (s * a).astype(a.dtype), part)
        return {label: times(self.scales[label], part) for label, part in tree.items()}

    def __str__(self) -> str:
        return "the Hessian" if self.block is None else f"block {self.block!r} of the Hessian"


def curvature(
    fn: Objective,
    params: Params,
    *,
    block: Label | None = None,
    scaling: Mapping[Label, Scalar] | None = None,
    args: Sequence[Any] = (),
    named: str = "scaling",
) -> Curvature:
    r"""The Hessian of fn at params, a diagonal block of it, or either in scaled coordinates.

    Scaled means D^{-1/2} H D^{-1/2} with D = diag(L_b I), whose norm is at most 1 exactly if -D <= H <= D.

    Args:
        fn: a twice differentiable scalar function, fn(params, *args).
        params: the point, a dict of blocks of floating-point arrays.
        block: label of a diagonal block; None for the whole Hessian.
        scaling: {label: L_b > 0} with the labels of the parameters; None leaves the coordinates as they are.
        args: further arguments of fn, arrays. Pass data and component indices here, where they may change without
            compiling anew.
        named: what the caller calls its scaling, for what is refused.

    Raises:
        ValueError: labels that do not match, leaves that are not floating point, a value of fn that is not a finite
            scalar, a function without second derivatives in JAX, a scale that is not positive.

    Example:
        >>> hessian = curvature(lambda z: jnp.prod(z["x"]), {"x": jnp.array([2.0, 5.0])})
        >>> hessian.product(jnp.array([1.0, 0.0])).tolist()
        [0.0, 1.0]
    """
    point, arrays = at_a_point(fn, params, args)
    if block is not None:
        _checks.choice("block", block, point)
    scales = dict.fromkeys(point, 1.0)
    if scaling is not None:
        _checks.same_labels(named, _checks.labelled(named, scaling), point)
        scales = {label: _checks.positive(f"{named}[{label!r}]", scaling[label]) ** -0.5 for label in point}
    return Curvature(fn, block, point, scales, arrays)


def described(hessian: Curvature, scaling: Mapping[Label, Scalar] | None) -> str:
    """In words, for the name of a measurement."""
    return str(hessian) if scaling is None else f"{hessian} in scaled coordinates"


@jax.jit
def slope(at: Curvature) -> tuple[Array, Array]:
    """The value where a Hessian is, and the gradient by the coordinates that are differentiated, (d,), unscaled."""
    value, gradient = jax.value_and_grad(at.value)(at.free)
    return value, ravel_pytree(gradient)[0]
