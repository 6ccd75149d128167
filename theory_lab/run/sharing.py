"""The trajectories of a sweep, shared out among devices and brought home."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from theory_lab import _checks, devices
from theory_lab._typing import Array


def among(on: Mesh, grid: int, seeds: int) -> Mesh:
    """The same devices as a grid for G times S trajectories, with the axes "grid" and "seeds".

    Of all ways to factor their number the one that gives a device the fewest trajectories, among those the one that splits
    the grid least: the directions of a seed are drawn once for all of its grid points.

    Raises:
        ValueError: more devices than trajectories.

    Example:
        >>> dict(among(devices.mesh(1), grid=3, seeds=5).shape)
        {'grid': 1, 'seeds': 1}
    """
    if on.size > grid * seeds:
        raise _checks.refuse("devices", f"at most {grid * seeds}, the number of trajectories", on.size)
    ways = [(n, on.size // n) for n in range(1, on.size + 1) if on.size % n == 0]
    shape = min(ways, key=lambda way: (-(-grid // way[0]) * -(-seeds // way[1]), way[0]))
    return Mesh(on.devices.reshape(shape), ("grid", "seeds"), axis_types=(AxisType.Auto,) * 2)


def shared(
    mesh: Mesh, problem: Any, oracle: Any, step_sizes: Any, starts: Any, keys: Array, schedule: Array
) -> tuple[Any, ...]:
    """The arguments of `simulate` on a mesh: grid and seeds split, filled up with their last members where need be.

    Args:
        mesh: as `among` makes.
        problem, oracle, schedule: whole on every device.
        step_sizes: (G, ...) each.
        starts, keys: (S, ...) each.
    """

    def split(tree: Any, axis: str) -> Any:
        where, count = NamedSharding(mesh, PartitionSpec(axis)), mesh.shape[axis]
        filled = lambda a: jnp.concatenate([a, jnp.repeat(a[-1:], -len(a) % count, axis=0)])
        return jax.tree.map(lambda a: devices.put(filled(a), where), tree)

    problem, oracle, schedule = devices.everywhere((problem, oracle, schedule), mesh)
    return problem, oracle, split(step_sizes, "grid"), split(starts, "seeds"), split(keys, "seeds"), schedule


def fetched(points: int, seeds: int) -> Callable[[Array], np.ndarray]:
    """What brings an array (G, S, ...) home, without what has filled it up.

    Example:
        >>> fetched(2, 1)(jnp.zeros((3, 4))).shape
        (2, 1)
    """
    return lambda array: devices.fetch(array)[:points, :seeds]
