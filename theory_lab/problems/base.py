"""What a problem is: a finite sum over components with named blocks and declared constants."""

import abc
from typing import Any, Self, final

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks, blocks
from theory_lab._typing import Array, Key, Params
from theory_lab.constants import Constants


class Problem(abc.ABC):
    r"""A finite sum :math:`f(z) = \frac1n \sum_{i<n} f_i(z)` over parameters z with named blocks.

    A subclass is a `record` (an immutable pytree, so a sweep over its constants compiles once) that gives ``init`` and
    ``component``; value and gradient of the sum follow.

    Attributes:
        n: the number of components.
        constants: what is known of f.
        optimum: a minimiser, or None where none is known.
    """

    n: int
    constants: Constants
    optimum: Params | None

    @abc.abstractmethod
    def init(self, key: Key) -> Params:
        """A starting point, a dict from block labels."""

    @abc.abstractmethod
    def component(self, params: Params, index: Array) -> Array:
        """f_i(params) for one index, a scalar."""

    @property
    def at_once(self) -> int:
        """How many components `value` evaluates beside one another: all; fewer where they take much memory."""
        return self.n

    @final
    def value(self, params: Params) -> Array:
        """f(params), the mean of all components.

        Where not all are evaluated `at_once`, a gradient keeps the inside of so many and computes it again going back.
        """
        indices = jnp.arange(self.n, dtype=jnp.int32)
        if self.at_once >= self.n:
            return jnp.mean(jax.vmap(self.component, in_axes=(None, 0))(params, indices))
        one = jax.checkpoint(self.component)
        return jnp.mean(jax.lax.map(lambda index: one(params, index), indices, batch_size=self.at_once))

    @final
    def gradient(self, params: Params) -> Params:
        """The gradient of f at params."""
        return jax.grad(self.value)(params)

    @final
    def astype(self, dtype: Any) -> Self:
        """The same problem with every floating-point array in another precision.

        Raises:
            ValueError: another dtype than float32 and float64, float64 while JAX has it switched off, or float32 if a number
                of the problem leaves its range.
        """
        try:
            wanted = jnp.dtype(dtype)
        except TypeError:
            raise _checks.refuse("dtype", "float32 or float64", dtype) from None
        _checks.precision("dtype", wanted)
        if jax.dtypes.canonicalize_dtype(wanted) != wanted:
            raise _checks.refuse("dtype", "at most float32 unless jax_enable_x64 is on", str(wanted))
        converted = jax.tree.map(lambda a: a.astype(wanted) if _is_floating_array(a) else a, self)
        for before, after in zip(jax.tree.leaves(self), jax.tree.leaves(converted), strict=True):
            if _is_floating_array(after) and not _checks.is_traced(after) and _leaves_its_range(before, after):
                raise _checks.refuse("dtype", "wide enough for the numbers of the problem", str(wanted))
        return converted

    def __repr__(self) -> str:
        shapes = jax.eval_shape(self.init, jax.random.key(0))
        dimensions = ", ".join(f"{label}: {blocks.size(shapes[label])}" for label in blocks.labels(shapes))
        return f"{type(self).__name__}(n={self.n}, dimensions={{{dimensions}}})"


def _is_floating_array(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray)) and jnp.issubdtype(leaf.dtype, jnp.floating)


def _leaves_its_range(before: Any, after: Any) -> bool:
    """Whether a conversion makes an infinity, or makes an array all zero that was not."""
    return bool((jnp.isfinite(before) & ~jnp.isfinite(after)).any() or (jnp.any(before) and not jnp.any(after)))


def dimensions_of(dimensions: Any) -> dict[str, int]:
    """The door for ``dimensions``: a mapping from labels to whole numbers >= 1, in sorted order."""
    mapping = _checks.labelled("dimensions", dimensions)
    return {label: _checks.count(f"dimensions[{label!r}]", mapping[label], bits=31) for label in sorted(mapping)}


def per_block(name: str, value: Any, labels: Any, check: Any) -> dict[str, Any]:
    """The door for an argument that is one value for all blocks or a mapping with one value for each."""
    if isinstance(value, dict) or hasattr(value, "keys"):
        _checks.same_labels(name, value, labels, "dimensions")
        return {label: check(f"{name}[{label!r}]", value[label]) for label in sorted(labels)}
    return {label: check(name, value) for label in sorted(labels)}


def magnitude(name: str, value: Any, *, zero: bool = False) -> float:
    """The door for a constant that scales a problem: positive, or zero, with room for its square in JAX's precision."""
    number = (_checks.nonnegative if zero else _checks.positive)(name, value, reach=np.inf)
    kind = np.finfo(jnp.result_type(float))
    low, high = float(kind.tiny) ** 0.5, float(kind.max) ** 0.5
    if number and not low <= number <= high:
        raise _checks.refuse(name, f"within {low:.1e}..{high:.1e}, whose squares {kind.dtype} holds", value)
    return number


def split(vector: Array, dimensions: dict[str, int]) -> dict[str, Array]:
    """A vector (..., d), or the columns of a matrix, cut into blocks in sorted label order."""
    ends = np.cumsum([dimensions[label] for label in sorted(dimensions)])[:-1]
    return dict(zip(sorted(dimensions), jnp.split(vector, ends, axis=-1), strict=True))


def normal_params(key: Key, dimensions: dict[str, int], dtype: Any) -> dict[str, Array]:
    """Independent standard normal blocks."""
    keys = jax.random.split(key, len(dimensions))
    return {
        label: jax.random.normal(k, (dimensions[label],), dtype) for k, label in zip(keys, sorted(dimensions), strict=True)
    }


def generator(key: Key | None) -> np.random.Generator:
    """The NumPy generator with which a factory makes its data, seeded by a JAX key; without a key, by key 0.

    Factories compute in float64 whatever JAX is configured to, so that declared constants are exact.
    """
    key = jax.random.key(0) if key is None else _checks.key("key", key)
    return np.random.default_rng(np.asarray(jax.random.key_data(key), dtype=np.uint32).ravel())


def two_sided_scale(parts: dict[str, np.ndarray], curvature: float) -> dict[str, float]:
    r"""The least constants, equal up to the blocks' own sizes, with :math:`c\,a_i a_i^\top \le D` for every row a_i.

    For a rank-one matrix, c aa' <= diag(L_b I) iff c sum_b |a_b|^2 / L_b <= 1. With L_b = t max_i |a_ib|^2 the smallest t is
    c max_i sum_b |a_ib|^2 / max_j |a_jb|^2.

    Args:
        parts: per block the rows, (n, d_b).
        curvature: c.
    """
    squares = {label: np.sum(rows**2, axis=1) for label, rows in parts.items()}
    largest = {label: float(s.max()) for label, s in squares.items()}
    shares = [squares[label] / largest[label] for label in parts if largest[label] > 0]
    t = curvature * float(np.max(np.sum(shares, axis=0), initial=0.0)) if shares else 0.0
    return {label: t * largest[label] for label in parts}


def centred_tilts(rng: np.random.Generator, n: int, d: int, dispersion: float) -> np.ndarray:
    """n vectors with mean 0 and mean squared norm exactly ``dispersion``, (n, d)."""
    if dispersion == 0:
        return np.zeros((n, d))
    tilts = rng.standard_normal((n, d))
    tilts -= tilts.mean(axis=0)
    return tilts * np.sqrt(dispersion / np.mean(np.sum(tilts**2, axis=1)))
