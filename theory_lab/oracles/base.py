"""What an oracle is: a rule that looks at one function and estimates its gradient.

An oracle sees only ``fn``, the parameters and a key. Whatever calls it closes ``fn`` over the component (or the minibatch)
of the moment, so a two-block quadratic and a transformer need no different code.
"""

import abc
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks, blocks
from theory_lab._typing import Array, Block, Component, Key

Draw = Any  # the random part of a query: a pytree of arrays, empty for a deterministic oracle


class Estimate(NamedTuple):
    """What one query returns: the value of fn and an estimate of its gradient, a pytree like the parameters."""

    value: Array
    gradient: Block


class Cost(NamedTuple):
    """What one query costs, in evaluations of fn and in reverse passes through it."""

    values: int
    gradients: int


class Oracle(abc.ABC):
    """A gradient estimator; immutable, a pytree, random only through its key.

    A query has two halves: `draw` makes everything random, knowing only the shapes of the parameters, and `estimate` looks
    at the function. Calling the oracle does both; the loop draws for many steps at once, which is far cheaper.
    """

    @final
    def __call__(self, fn: Component, params: Block, key: Key) -> Estimate:
        """Estimate the gradient of fn at params.

        Args:
            fn: a scalar function of the parameters.
            params: the point; a pytree of float32 or float64 arrays.
            key: all randomness of the query, a single key.

        Raises:
            ValueError: a key, function or parameters unlike that; a function whose value is no scalar; labels or a precision
                that do not suit the oracle.

        Returns:
            The estimate. Its value is fn(params) wherever that is evaluated; an oracle that never evaluates it (two-sided)
            reports the mean of what it saw, off by O(radius^2).
        """
        _checks.key("key", key)
        if not callable(fn):
            raise _checks.refuse("fn", "a function of the parameters", fn)
        if not jax.tree.leaves(params):
            raise _checks.refuse("params", "a pytree with at least one array", params)
        for leaf in jax.tree.leaves(params):
            _checks.precision("params", leaf.dtype if isinstance(leaf, jax.Array) else np.asarray(leaf).dtype)
        params = jax.tree.map(blocks.as_array, params)
        return self.estimate(fn, params, jax.tree.map(lambda a: a[0], self.draw(key, params, 1)))

    @abc.abstractmethod
    def draw(self, key: Key, params: Block, count: int) -> Draw:
        """The random part of ``count`` queries at parameters of these shapes and dtypes, leaves (count, ...).

        The values of ``params`` are not looked at.
        """

    @abc.abstractmethod
    def estimate(self, fn: Component, params: Block, draw: Draw, *, value: Array | None = None) -> Estimate:
        """The rest of the query; ``value`` is fn(params), if the caller has it, and then saves an evaluation."""

    @abc.abstractmethod
    def cost(self, params: Block) -> Cost:
        """The cost of one query without a given value."""

    @property
    def needs_value(self) -> bool:
        """Whether `estimate` evaluates fn(params) unless it is given the value, and so saves one evaluation by it."""
        return True


def admitted(oracle: Any, params: Block) -> Cost:
    """The door for an oracle and the shapes and dtypes it is to query; returns the cost of one query.

    Drawing is where an oracle sees them first, and where its own numbers, concrete here, can be held against them.
    """
    if not isinstance(oracle, Oracle):
        raise _checks.refuse("oracle", "an Oracle", oracle)
    jax.eval_shape(lambda key, like: oracle.draw(key, like, 1), jax.random.key(0), params)
    return oracle.cost(params)


def scalar(value: Any) -> Array:
    """The value of a function whose gradient is wanted.

    Raises:
        ValueError: it is not a floating-point scalar.
    """
    if not isinstance(value, (jax.Array, np.ndarray, np.generic, float, int)):
        raise _checks.refuse("fn", "scalar and floating point", f"a function with values of type {type(value).__name__}")
    shape, kind = jnp.shape(value), jnp.result_type(value)
    if shape != () or not jnp.issubdtype(kind, jnp.floating):
        raise _checks.refuse("fn", "scalar and floating point", f"a function with values of shape {shape} and type {kind}")
    return jnp.asarray(value)
