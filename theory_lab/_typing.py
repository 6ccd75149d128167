"""Names for the types that every module shares.

Shapes are single letters package-wide: n components, d dimension, S seeds, G grid points.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax

Array = jax.Array
Key = jax.Array  # a typed PRNG key: jax.random.key(seed)
Label = str  # the name of a block: a top-level key of the parameter dict
Block = Any  # what stands under a label: an array or any pytree of arrays
Params = Mapping[Label, Block]
Scalar = float | Array
Component = Callable[[Params], Array]  # a scalar function of the parameters
