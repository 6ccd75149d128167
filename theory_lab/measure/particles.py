r"""Mean-square growth near an optimum where second moments live on rare runs: particles that are drawn anew.

Where few effective dimensions carry the dynamics, sample means of |z - z*|^2 lie (see `theory_lab.measure.stability`).
Particles instead take one step, are drawn again in proportion to how much their |z - z*|^2 has grown, and are shrunk back to
the sphere around z* that they left: the mean growth per step converges to that of the second moment as particles and steps
grow. Finitely many particles miss the rarest growth, which puts limits up to a few per cent high.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from theory_lab import _checks
from theory_lab._typing import Array, Key, Label
from theory_lab.measure.base import Measurement, mean
from theory_lab.measure.stability import crossing
from theory_lab.oracles.base import Oracle
from theory_lab.problems.base import Problem


def growths(
    problem: Problem,
    oracle: Oracle,
    step_sizes: Mapping[Label, Any],
    keys: Key,
    *,
    distance: float,
    particles: int,
    steps: int,
    shape: Any = None,
) -> np.ndarray:
    """The logarithmic growth of E|z - z*|^2 per step of z - eta_b g_b, g the oracle's estimate of grad f, linearised at z*.

    Args:
        problem: with a known optimum z*, whose blocks are arrays.
        oracle: asked about f itself; a two-point oracle with a radius like ``distance``, for linearity.
        step_sizes: {label: (G,)} nonnegative, of one length.
        keys: (P,) keys, one for each independent population.
        distance: |z - z*|, so small that the dynamics is linear for all purposes.
        particles: of one population.
        steps: of each particle; the first quarter is not counted.
        shape: (d, k) S, not zero: particles start in the directions of S times a standard normal; None starts them
            isotropically. Directions that the dynamics forgets slowly save steps.

    Returns:
        (P, G), one growth for every population and step size.

    Raises:
        ValueError: a problem without a known optimum, or whose blocks are no arrays; step sizes of other labels, negative or
            of several lengths; counts below 2 or 4; a shape that is zero or of another dimension.
    """
    _checks.instance("problem", problem, Problem, "a Problem")
    _checks.instance("oracle", oracle, Oracle, "an Oracle")
    if problem.optimum is None:
        raise _checks.refuse("problem", "one whose optimum is known", problem)
    for label, block in problem.optimum.items():
        _checks.instance(f"problem.optimum[{label!r}]", block, (jax.Array, np.ndarray), "an array")
    _checks.same_labels("step_sizes", _checks.labelled("step_sizes", step_sizes), problem.optimum, "the problem")
    _checks.keys("keys", keys)
    particles = _checks.count("particles", particles, least=2, bits=24)
    steps = _checks.count("steps", steps, least=4, bits=31)
    given = {label: _checks.array(f"step_sizes[{label!r}]", step_sizes[label], ndim=1) for label in problem.optimum}
    for label, values in given.items():
        if values.min() < 0:
            raise _checks.refuse(f"step_sizes[{label!r}]", "nonnegative", values.tolist())
    if len({values.size for values in given.values()}) > 1:
        lengths = {label: values.size for label, values in given.items()}
        raise _checks.refuse("step_sizes", "of the same length in every block", lengths)
    sizes = {label: jnp.asarray(values) for label, values in given.items()}
    d = sum(block.size for block in problem.optimum.values())
    start = np.eye(d) if shape is None else _checks.array("shape", shape, ndim=2)
    if len(start) != d or not start.any():
        raise _checks.refuse("shape", f"of {d} rows and not zero", f"an array of shape {start.shape}")
    root = jnp.asarray(start)
    distance = _checks.positive("distance", distance)
    return np.asarray(_growths(problem, oracle, sizes, root, keys, jnp.asarray(distance), particles=particles, steps=steps))


@partial(jax.jit, static_argnames=("particles", "steps"))
def _growths(
    problem: Problem, oracle: Oracle, step_sizes: Mapping[Label, Array], shape: Array, keys: Key, distance: Array,
    *, particles: int, steps: int,
) -> Array:  # fmt: skip
    assert problem.optimum is not None
    optimum, unravel = ravel_pytree(dict(problem.optimum))

    def scaled(offsets: Array) -> Array:
        return distance * offsets / jnp.linalg.norm(offsets, axis=1, keepdims=True)

    def estimate(offset: Array, draw: Any) -> Array:
        return ravel_pytree(oracle.estimate(problem.value, unravel(optimum + offset), draw).gradient)[0]

    def population(key: Key, sizes: Mapping[Label, Array]) -> Array:
        rates = ravel_pytree({b: jnp.full_like(block, sizes[b]) for b, block in unravel(optimum).items()})[0]
        start_key, walk_key = jax.random.split(key)

        def step(offsets: Array, key: Key) -> tuple[Array, Array]:
            direction_key, choice_key = jax.random.split(key)
            draws = oracle.draw(direction_key, unravel(optimum), particles)
            moved = offsets - rates * jax.vmap(estimate)(offsets, draws)
            weights = jnp.sum(moved**2, axis=1) / distance**2
            places = (jnp.arange(particles) + jax.random.uniform(choice_key)) / particles  # systematic resampling
            total = jnp.cumsum(weights)
            chosen = jnp.minimum(jnp.searchsorted(total / total[-1], places), particles - 1)
            return scaled(moved[chosen]), jnp.log(jnp.mean(weights))

        start = scaled(jax.random.normal(start_key, (particles, shape.shape[1])) @ shape.T)
        _, logs = jax.lax.scan(step, start, jax.random.split(walk_key, steps))
        return jnp.mean(logs[steps // 4 :])

    return jax.lax.map(lambda key: jax.lax.map(lambda sizes: population(key, sizes), step_sizes), keys)


def limit(name: str, step_sizes: Any, growths: Any, *, confidence: float = 0.99) -> Measurement:
    """The step size at which the mean growth over the populations turns positive, by the chord (see `stability.crossing`).

    The samples are the jackknife's pseudo-values, one for each population, so the bias of the crossing of a mean is removed
    to first order.

    Args:
        name: what was measured.
        step_sizes: (G,) positive and increasing, G >= 2.
        growths: (P, G), P >= 2, as `growths` returns them.
        confidence: coverage of the interval.

    Raises:
        ValueError: step sizes or growths unlike that.

    Example:
        >>> noise = np.linspace(-0.01, 0.01, 32)[:, None]
        >>> measured = limit("limit", [1.0, 2.0, 3.0], np.array([-0.5, 0.0, 1.5]) + noise)
        >>> round(measured.value, 1), measured.low < 2 < measured.high
        (2.0, True)
    """
    sizes = _checks.array("step_sizes", step_sizes, ndim=1)
    if sizes.size < 2 or sizes[0] <= 0 or (np.diff(sizes) <= 0).any():
        raise _checks.refuse("step_sizes", "at least two positive and increasing numbers", sizes.tolist())
    rows = _checks.array("growths", growths, ndim=2)
    if len(rows) < 2 or rows.shape[1] != sizes.size:
        raise _checks.refuse("growths", f"of shape (populations, {sizes.size}), at least two", f"shape {rows.shape}")
    size, everything = len(rows), rows.mean(axis=0)
    without = (size * everything - rows) / (size - 1)
    with np.errstate(invalid="ignore"):  # where nothing crosses there is nothing to measure
        samples = size * crossing(sizes, everything[None]) - (size - 1) * crossing(sizes, without)
    return mean(name, samples, confidence=confidence)
