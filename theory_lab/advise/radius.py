"""The radius of the two-point estimates: where smoothing and rounding together err least."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from theory_lab import blocks
from theory_lab._typing import Label, Params
from theory_lab.problems.base import Problem
from theory_lab.theory.rounding import RadiusLaw, law_of_traces, rounding_error

PROBES = 8


def radius_law(
    problem: Problem,
    params: Params,
    zeroth: Sequence[Label],
    traces: tuple[float, float],
    value: float,
    *,
    sided: int,
    directions: int,
    law: str,
    key: jax.Array,
) -> RadiusLaw:
    """The error of one two-point estimate as a function of the radius.

    Args:
        problem, params: where.
        zeroth: the blocks that are perturbed.
        traces: tr H and tr H^2 of these blocks.
        value: the level of f, whose rounding is what counts.
        sided, directions, law: of the estimator.
        key: of the directions along which third derivatives are taken.
    """
    precision = str(np.dtype(jnp.result_type(*jax.tree.leaves({b: params[b] for b in zeroth}))))
    error = rounding_error(value, precision)
    d = sum(blocks.size(params[label]) for label in zeroth)
    if sided == 1:
        return law_of_traces(traces[0], traces[1], d, error, directions=directions, law=law)
    truncation = third_derivative_sq(problem, params, zeroth, key)
    return RadiusLaw(truncation, (d**2 if law == "sphere" else d) * error**2 / (2 * directions), 2)


def third_derivative_sq(problem: Problem, params: Params, zeroth: Sequence[Label], key: jax.Array) -> float:
    """E (D^3 f[v, v, v]/6)^2 |v|^2 for gaussian v in the perturbed blocks, by a few of them: the smoothing at radius 1."""
    return float(np.mean(_thirds(problem, dict(params), tuple(zeroth), jax.random.split(key, PROBES))))


@partial(jax.jit, static_argnames="zeroth")
def _thirds(problem: Problem, params: Params, zeroth: tuple[Label, ...], keys: jax.Array) -> jax.Array:
    """A square for every key, in one program."""
    flat, unflatten = ravel_pytree({label: params[label] for label in zeroth})

    def along(one: jax.Array) -> jax.Array:
        v = jax.random.normal(one, flat.shape, flat.dtype)
        line = lambda t: problem.value({**params, **unflatten(flat + t * v)})
        third = jax.grad(jax.grad(jax.grad(line)))(jnp.zeros((), flat.dtype))
        return jnp.square(third / 6) * jnp.vdot(v, v)

    return jax.lax.map(along, keys)


def kept(law: RadiusLaw, size: float, precision: float, kind: str, dimension: int) -> float:
    """The optimal radius, kept between what the parameters' precision resolves and their own size.

    Args:
        law: from `radius_law`.
        size: root mean square of the parameters; below 1e-2 it says little of their scale, which is then taken for 1.
        precision: their machine epsilon.
        kind: the law of the directions; on the sphere a coordinate of a direction has size d^-1/2.
        dimension: d.
    """
    scale = (size if size > 1e-2 else 1.0) * (dimension**0.5 if kind == "sphere" else 1.0)
    return float(np.clip(law.optimal_radius, 4 * precision * scale, 0.1 * scale))
