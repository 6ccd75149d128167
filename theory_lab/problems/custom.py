"""Your own loss as a problem."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from theory_lab import _checks, blocks
from theory_lab._trees import record
from theory_lab._typing import Array, Key, Params
from theory_lab.constants import Constants
from theory_lab.problems.base import Problem

Loss = Callable[[Params, Any], Array]  # (parameters, one example) -> scalar


@record(data=("examples", "start", "constants", "optimum"))
class FiniteSum(Problem):
    """f_i(z) = loss(z, examples[i]); build it with `finite_sum`."""

    loss: Loss
    n: int
    examples: Any
    start: Params
    constants: Constants
    optimum: Params | None

    def init(self, key: Key) -> Params:
        del key
        return dict(self.start)

    def component(self, params: Params, index: Array) -> Array:
        return self.loss(params, jax.tree.map(lambda a: a[index], self.examples))


def finite_sum(
    loss: Loss, examples: Any, params: Params, *, constants: Constants | None = None, optimum: Params | None = None
) -> FiniteSum:
    r"""A problem from a loss, data and a starting point, :math:`f(z) = \frac1n\sum_i \mathrm{loss}(z, e_i)`.

    Args:
        loss: (parameters, one example) -> scalar, differentiable by JAX. Pass the same function object again and nothing is
            recompiled.
        examples: a pytree of arrays whose leading axes all have length n.
        params: the starting point, a dict from block labels to pytrees of floating-point arrays.
        constants: what you know of f; None, the default, says nothing.
        optimum: a minimiser, if you know one; distances to it are then logged.

    Raises:
        ValueError: a loss that is not scalar and floating, that does not take two arguments, that JAX cannot trace, that
            reads blocks which params do not have or is written for other shapes; examples that are not finite or have no
            common leading axis; parameters without labels or other than finite float32 or float64; an optimum or constants
            unlike the parameters.

    Example:
        >>> x, y = jnp.arange(6.0).reshape(3, 2), jnp.array([1.0, 2.0, 3.0])
        >>> loss = lambda z, example: (example[0] @ z["x"] + z["y"][0] - example[1]) ** 2
        >>> problem = finite_sum(loss, (x, y), {"x": jnp.zeros(2), "y": jnp.zeros(1)})
        >>> problem.n, round(float(problem.value(problem.init(jax.random.key(0)))), 4)
        (3, 4.6667)
    """
    if constants is not None and not isinstance(constants, Constants):
        raise _checks.refuse("constants", "Constants or None", constants)
    if not callable(loss):
        raise _checks.refuse("loss", "a function of parameters and one example", loss)
    try:
        examples = jax.tree.map(blocks.as_array, examples)
    except (TypeError, ValueError):  # text, and rows of different lengths
        shown = lambda leaf: f"{leaf.dtype} of shape {leaf.shape}" if hasattr(leaf, "dtype") else leaf
        raise _checks.refuse("examples", "a pytree of arrays of numbers", jax.tree.map(shown, examples)) from None
    lengths = sorted({leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves(examples)})
    if len(lengths) != 1 or lengths[0] == 0:
        shapes = [leaf.shape for leaf in jax.tree.leaves(examples)]
        raise _checks.refuse("examples", "arrays with one common leading axis of length at least 1", shapes)
    for leaf in jax.tree.leaves(examples):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):  # a key or a whole number is always one
            _checks.finite("examples", leaf)
    start = blocks.as_params("params", params)
    for name in ("smoothness", "trace", "growth", "dispersion") if constants is not None else ():
        if getattr(constants, name) is not None:
            _checks.same_labels(f"constants.{name}", getattr(constants, name), start)
    if optimum is not None:
        blocks.check_params(optimum, start, "optimum")
    try:
        inspect.signature(loss).bind(start, examples)
    except TypeError:
        raise _checks.refuse("loss", "a function of two arguments, parameters and one example", loss) from None
    except ValueError:  # a callable that does not tell its signature
        pass
    try:
        result = jax.eval_shape(loss, start, jax.tree.map(lambda a: a[0], examples))
    except jax.errors.JAXTypeError as error:  # float(...), an if on a number, a NumPy routine
        raise _checks.refuse("loss", "a function that JAX can trace", loss) from error
    except (TypeError, ValueError, IndexError, AttributeError) as error:  # written for other shapes, a whole batch say
        shapes = jax.tree.map(lambda a: a.shape[1:], examples)
        raise _checks.refuse("loss", f"a function that works on params and one example, of shape {shapes}", error) from error
    except KeyError as error:  # a block, or a part of an example, that is not there
        known = f"the blocks {list(start)} of params and the parts of one example"
        raise _checks.refuse("loss", f"a function that reads nothing but {known}", error) from error
    if getattr(result, "shape", None) != () or not jnp.issubdtype(result.dtype, jnp.floating):
        raise _checks.refuse("loss", "scalar and floating point", result)
    return FiniteSum(
        loss=loss,
        n=lengths[0],
        examples=examples,
        start=start,
        constants=Constants() if constants is None else constants.declared(),
        optimum=optimum,
    )
