"""Where growth functions are looked at: families of one variable with a known exponent, clouds of points, runs."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import theory_lab as tl

DECAY = 0.1  # of adapters

# In one variable: the profile, the points, p (0 where curvature is bounded), and from which gradient norm on it holds.
FAMILIES: dict[str, tuple[Callable[[Any], Any], np.ndarray, float, float]] = {
    "power 3": (tl.power(3.0), np.geomspace(1e-2, 1e3, 80), 1 / 2, 0),
    "power 4": (tl.power(4.0), np.geomspace(1e-2, 1e2, 80), 2 / 3, 0),
    "power 10": (tl.power(10.0), np.geomspace(0.3, 5, 80), 8 / 9, 0),
    "exponential": (tl.exponential(), np.linspace(-3, 13, 80), 1, 0),
    "cosh": (tl.cosh(), np.linspace(0.01, 14, 120), 1, 100),
    "x⁴/4 + x²/2": (lambda t: t**4 / 4 + t**2 / 2, np.geomspace(0.1, 100, 120), 2 / 3, 100),
    "x + 1/x": (lambda t: t + 1 / t, np.geomspace(1e-3, 1, 120), 3 / 2, 100),
    "x − log x": (lambda t: t - jnp.log(t), np.geomspace(1e-6, 1, 120), 2, 100),
    "x − 2√x": (lambda t: t - 2 * jnp.sqrt(t), np.geomspace(1e-12, 1, 120), 3, 100),
    "log cosh x": (lambda t: jnp.logaddexp(t, -t), np.linspace(-5, 5, 81), 0, 0),
    "1 − cos x": (lambda t: 1 - jnp.cos(t), np.linspace(-5, 5, 81), 0, 0),
    "x²/(1 + x²)": (lambda t: t**2 / (1 + t**2), np.linspace(-5, 5, 81), 0, 0),
}


def in_one_variable(z: Any, which: Any) -> jax.Array:
    """The family of that number."""
    return jax.lax.switch(which, [profile for profile, *_ in FAMILIES.values()], z["y"][0])


_FACTORISATION = tl.matrix_factorisation(4, 4, 2)


def adapter(z: Any, decay: Any, target: Any) -> jax.Array:
    """Matrix factorisation, 4 x 4 and rank 2, of any decay and target: one function, compiled once."""
    return replace(_FACTORISATION, decay=decay, targets=target[None]).value(z)


def adapted(a: Any, b: Any, w: Any = 0.0) -> dict[str, Any]:
    """A point of it."""
    return {"x": jnp.zeros((4, 4)) + w, "y": {"A": jnp.asarray(a), "B": jnp.asarray(b)}}


def objective(name: str) -> tl.Problem:
    """Of "cosh and exponential", "adapter", "logistic" and "curve"."""
    if name == "cosh and exponential":
        return tl.separable({"x": 2, "y": 2}, {"x": tl.cosh(), "y": tl.exponential(2.0, 0.5)}, coupling=0.5)
    if name == "adapter":
        return tl.matrix_factorisation(2, 2, 1, target=np.eye(2), decay=DECAY)
    if name == "logistic":
        labels, data = _data(40, 4)
        return tl.logistic(data, labels, columns={"x": [0, 1], "y": [2, 3]}, l2=0.1)
    return tl.separable({"y": 1}, tl.cosh())


def _data(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and rows that half explain them."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((n, d))
    return (data.sum(axis=1) + rng.standard_normal(n) > 0).astype(int), data


def cloud_point(problem: tl.Problem, key: jax.Array) -> Any:
    """A point with normal entries, times a factor that is log-uniform over [0.1, 3]."""
    flat, unravel = ravel_pytree(problem.optimum)
    scale, entries = jax.random.split(key)
    factor = jnp.exp(jax.random.uniform(scale, minval=np.log(0.1), maxval=np.log(3)))
    return unravel(factor * jax.random.normal(entries, flat.shape))


@partial(jax.jit, static_argnames="count")
def pool(problem: tl.Problem, key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Gradient norm and norm of H_yy at the points of a cloud, from dense Hessians."""

    def pair(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        z = cloud_point(problem, key)
        flat, unravel = ravel_pytree(z["y"])
        hessian = jax.hessian(lambda y: problem.value({**z, "y": unravel(y)}))(flat)
        gradient = ravel_pytree(jax.grad(problem.value)(z))[0]
        return jnp.linalg.norm(gradient), jnp.abs(jnp.linalg.eigvalsh(hessian)).max()

    return jax.vmap(pair)(jax.random.split(key, count))


@jax.jit
def descent(start: Any, step_sizes: dict[str, float], stride: int, target: Any) -> Any:
    """Sixty points of a run of gradient descent on `adapter` without decay, every so many steps, stacked."""

    def step(_: int, z: Any) -> Any:
        gradient = jax.grad(adapter)(z, 0.0, target)
        return {
            label: jax.tree.map(lambda a, g, e=eta: a - e * g, z[label], gradient[label])
            for label, eta in step_sizes.items()
        }

    return jax.lax.scan(lambda z, _: (jax.lax.fori_loop(0, stride, step, z), z), start, None, length=60)[1]
