"""What every measurement of a function at a point refuses."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks, blocks
from theory_lab._typing import Array, Label, Params

Objective = Callable[..., Array]  # fn(params, *args) -> scalar
FULL = "highest"  # precision of matrix products


def exactly(fn: Objective, params: Params, args: Sequence[Any]) -> Array:
    """fn(params, *args) with products of matrices as precise as their type, where JAX was not told otherwise.

    Accelerators multiply single-precision matrices in fewer bits by default, 10 on an NVIDIA GPU (TF32). Training bears
    that; a Hessian-vector product need not be that of any symmetric matrix then, and outer bounds of its spectrum say
    nothing.
    """
    told = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    with jax.default_matmul_precision(told or FULL):
        return fn(params, *args)


def at_a_point(
    fn: Any, params: Any, args: Sequence[Any], *, curved: bool = True
) -> tuple[dict[Label, Any], tuple[Any, ...]]:
    """The blocks in sorted order and the further arguments of fn, as arrays, where fn has a finite scalar value.

    And, where curvature is measured, a derivative forward over reverse as far as tracing shows.
    """
    if not callable(fn):
        raise _checks.refuse("fn", "a function of the parameters", fn)
    try:
        hash(fn)  # what is compiled is kept by function object
    except TypeError:
        raise _checks.refuse("fn", "hashable (a function or a lambda around it)", fn) from None
    point = blocks.as_params("params", params)
    if not isinstance(args, (tuple, list)):
        raise _checks.refuse("args", "a tuple of arrays", args)
    try:
        arrays = tuple(jax.tree.map(blocks.as_array, one) for one in args)
    except (TypeError, ValueError):  # text, and rows of different lengths
        raise _checks.refuse("args", "a tuple of arrays", args) from None
    try:
        value = _value(fn, point, arrays, curved)
    except _FlatError as error:
        rule = "twice differentiable, forward over reverse (a GPU's attention in half precision is not)"
        raise _checks.refuse("fn", rule, fn) from error
    except jax.errors.JAXTypeError as error:  # float(...), an if on a number, a NumPy routine
        raise _checks.refuse("fn", "a function that JAX can trace", fn) from error
    except (TypeError, ValueError, IndexError, AttributeError) as error:  # written for other shapes, other arguments
        rule = f"a function that works on params, of shape {jax.tree.map(jnp.shape, point)}, and args"
        raise _checks.refuse("fn", rule, error) from error
    except KeyError as error:  # a block that is not there
        raise _checks.refuse("fn", f"a function that reads nothing but the blocks {list(point)} of params", error) from error
    if not isinstance(value, jax.Array) or value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
        raise _checks.refuse("fn", "a function with a floating-point scalar value", value)
    if not np.isfinite(value):
        raise _checks.refuse("fn(params)", "finite", float(value))
    return point, arrays


class _FlatError(Exception):
    """What has a value and no product with its Hessian."""


@jax.jit(static_argnums=(0, 3))
def _value(fn: Objective, params: Params, args: tuple[Any, ...], curved: bool) -> Any:
    """fn at a point; where curvature is asked for, its derivatives are traced as often as it is compiled, once."""
    value = exactly(fn, params, args)
    if curved and isinstance(value, jax.Array) and value.shape == () and jnp.issubdtype(value.dtype, jnp.floating):
        slope = jax.grad(lambda point: exactly(fn, point, args))
        try:
            jax.eval_shape(lambda point: jax.jvp(slope, (point,), (point,))[1], params)
        except (TypeError, ValueError, NotImplementedError) as error:  # a primitive without derivatives, a while loop
            raise _FlatError from error
    return value
