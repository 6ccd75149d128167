r"""Look-ahead: a point near the solution, found by a few matrix-free Newton steps within a trust region.

Curvature and noise where training starts may differ from those where it ends. With exact gradients and Hessian-vector
products the end can be looked at first: each step minimises the local quadratic model within a ball by conjugate gradients,
which stop at the ball and at directions of negative curvature (Steihaug).

Reference: Steihaug: The conjugate gradient method and trust regions in large scale optimization, 1983 (recalled, not
re-read).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from theory_lab import _checks
from theory_lab._typing import Array, Params
from theory_lab.measure.smoothness._door import Objective
from theory_lab.measure.smoothness.curvature import Curvature, curvature, slope


@dataclass(frozen=True)
class Ahead:
    """Where the look-ahead ended.

    Attributes:
        params: the point.
        value: f there.
        gradient_norm: ||grad f|| there.
        reached: whether that is at most the accuracy asked for.
        products, gradients: Hessian-vector products and gradients spent.
        steps: Newton steps that lowered f; 0 where the point is the start.
    """

    params: Params
    value: float
    gradient_norm: float
    reached: bool
    products: int
    gradients: int
    steps: int = 0


def look_ahead(
    fn: Objective, params: Params, *, accuracy: float, iterations: int = 40, products: int = 60, args: Sequence[Any] = ()
) -> Ahead:
    """Newton steps by conjugate gradients within a trust region, until the gradient is small.

    Args:
        fn: a twice differentiable scalar function, fn(params, *args).
        params: where to start.
        accuracy: of ||grad f||.
        iterations: Newton steps, at most.
        products: Hessian-vector products per Newton step, at most. Memory is a few vectors like the parameters.
        args: further arguments of fn.

    Returns:
        The last point that lowered f; what is not finite ends the search there.

    Raises:
        ValueError: as `smoothness.extreme_eigenvalues`; an accuracy that is not positive, counts below 1.

    Example:
        >>> fn = lambda z: jnp.sum(jnp.cosh(z["x"] - jnp.arange(3.0)))
        >>> found = look_ahead(fn, {"x": jnp.zeros(3)}, accuracy=1e-3)
        >>> found.reached, bool(jnp.allclose(found.params["x"], jnp.arange(3.0), atol=1e-3))
        (True, True)
    """
    here = curvature(fn, params, args=args)
    accuracy = _checks.positive("accuracy", accuracy)
    _checks.count("iterations", iterations)
    _checks.count("products", products)
    value, gradient = slope(here)
    radius, spent, gradients, steps = float("inf"), 0, 1, 0
    norm = float(jnp.linalg.norm(gradient))
    for _ in range(iterations):
        if not norm > accuracy:
            break
        step, fall, used = _newton(here, gradient, jnp.asarray(radius, gradient.dtype), products)
        spent += int(used)
        length, fall = float(jnp.linalg.norm(step)), float(fall)
        there = Curvature(fn, None, _moved(here.params, step), here.scales, here.args)
        ahead, steepness = slope(there)
        gradients += 1
        gain = float(value - ahead)
        noise = 4 * here.precision * (abs(float(value)) + 1e-300)
        if not np.isfinite(float(ahead)) or not gain >= 0.1 * fall - noise:
            radius = length / 4
            if not radius > 0 or not np.isfinite(radius) or fall <= noise:
                break
            continue
        following = float(jnp.linalg.norm(steepness))
        if fall <= noise and not following < 0.5 * norm:
            break
        here, value, gradient, norm, steps = there, ahead, steepness, following, steps + 1
        radius = max(radius, 4 * length) if gain >= 0.75 * fall and np.isfinite(radius) else radius
    return Ahead(here.params, float(value), norm, bool(norm <= accuracy), spent, gradients, steps)


@jax.jit
def _moved(params: Params, step: Array) -> Params:
    flat, unflatten = ravel_pytree(params)
    return unflatten(flat + step)


@jax.jit(static_argnums=3)
def _newton(at: Curvature, gradient: Array, radius: Array, products: int) -> tuple[Array, Array, Array]:
    """The step, how much the quadratic model falls along it, and the products spent."""
    size = jnp.linalg.norm(gradient)
    enough = size * jnp.minimum(0.1, jnp.sqrt(size / jnp.maximum(size, 1)))

    product = at.products()

    def to_the_edge(step: Array, towards: Array) -> Array:
        a, b, c = jnp.vdot(towards, towards), jnp.vdot(step, towards), jnp.vdot(step, step) - radius**2
        return jnp.where(a > 0, (-b + jnp.sqrt(jnp.maximum(b * b - a * c, 0))) / a, 0)

    def body(carry: Any) -> Any:
        j, step, bent, residual, towards, _ = carry
        curved = product(towards)
        bend, square = jnp.vdot(towards, curved), jnp.vdot(residual, residual)
        alpha = square / jnp.where(bend > 0, bend, 1)
        out = (bend <= 0) | (jnp.linalg.norm(step + alpha * towards) >= radius)
        unit = jnp.where(j == 0, 1 / size, 0)  # negative curvature at once and no ball yet: a unit step
        far = jnp.where(out, jnp.where(jnp.isfinite(radius), to_the_edge(step, towards), unit), alpha)
        rest = residual - alpha * curved
        beta = jnp.vdot(rest, rest) / square
        done = out | (jnp.linalg.norm(rest) <= enough)
        ahead = jnp.where(out, residual, rest), rest + beta * towards, done
        return j + 1, step + far * towards, bent + far * curved, *ahead

    zero = jnp.zeros_like(gradient)
    start = (jnp.zeros((), jnp.int32), zero, zero, -gradient, -gradient, jnp.array(False))
    j, step, bent, *_ = jax.lax.while_loop(lambda c: (c[0] < products) & ~c[-1], body, start)
    return step, -(jnp.vdot(gradient, step) + jnp.vdot(step, bent) / 2), j
