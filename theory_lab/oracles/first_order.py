"""The exact gradient of one component, by reverse-mode differentiation."""

import jax

from theory_lab._trees import record
from theory_lab._typing import Array, Block, Component, Key
from theory_lab.oracles.base import Cost, Draw, Estimate, Oracle, scalar


@record()
class FirstOrder(Oracle):
    """The gradient of fn itself: one evaluation and one reverse pass, no randomness.

    Example:
        >>> import jax.numpy as jnp
        >>> FirstOrder()(lambda z: jnp.sum(z**2), jnp.array([1.0, 2.0]), jax.random.key(0)).gradient.tolist()
        [2.0, 4.0]
    """

    def draw(self, key: Key, params: Block, count: int) -> Draw:
        return ()

    def estimate(self, fn: Component, params: Block, draw: Draw, *, value: Array | None = None) -> Estimate:
        del draw, value  # the reverse pass needs its own forward pass, so a given value saves nothing
        return Estimate(*jax.value_and_grad(lambda point: scalar(fn(point)))(params))

    def cost(self, params: Block) -> Cost:
        return Cost(values=1, gradients=1)

    @property
    def needs_value(self) -> bool:
        return False
