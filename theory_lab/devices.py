"""Many devices: one mesh with one axis, and arrays that lie on it.

A mesh is the first N devices of all processes (`jax.distributed` makes those of other machines visible). An array on it is
either the same on every device or split along its first axis; parameters of language models can be split along other axes
too (`theory_lab.models.sharding`). Every process holds the same numbers before they are put on the mesh: they follow from
keys and files, so nothing has to be sent.
"""

import os
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from theory_lab import _checks

AXIS = "devices"
Tree = TypeVar("Tree")


def mesh(devices: Any) -> Mesh:
    """The first so many devices in a row, as a mesh with the one axis "devices".

    Args:
        devices: how many, of all processes together; or a mesh with one axis, which is returned.

    Raises:
        ValueError: fewer than one, more than there are, so few that a process has none of them; a mesh with more axes.

    Example:
        >>> mesh(1).axis_names, mesh(1).size
        (('devices',), 1)
    """
    if isinstance(devices, Mesh):
        if devices.axis_names != (AXIS,):
            raise _checks.refuse("devices", f"a number, or a mesh with the one axis {AXIS!r}", devices.axis_names)
        return devices
    count, there = _checks.count("devices", devices), jax.devices()
    if count > len(there):
        raise _checks.refuse("devices", f"at most {len(there)}, as many as JAX sees", count)
    chosen = there[:count]
    if len({device.process_index for device in chosen}) < jax.process_count():
        raise _checks.refuse("devices", f"so many that each of {jax.process_count()} processes has one of them", count)
    return Mesh(np.array(chosen), (AXIS,), axis_types=(AxisType.Auto,))


def everywhere(tree: Tree, on: Mesh) -> Tree:
    """The same arrays, whole on every device.

    Example:
        >>> a = everywhere({"a": np.ones(2)}, mesh(1))["a"]
        >>> a.is_fully_replicated, a.sharding.mesh.axis_names
        (True, ('devices',))
    """
    return jax.tree.map(lambda a: put(a, NamedSharding(on, PartitionSpec())), tree)


def split(tree: Tree, on: Mesh, name: str = "the first axis") -> Tree:
    """Arrays split along their first axis.

    Raises:
        ValueError: a first axis, called ``name`` in the message, that the devices do not divide; an array without axes.

    Example:
        >>> tuple(split(np.ones((4, 2)), mesh(1)).sharding.spec)
        ('devices',)
    """
    for leaf in jax.tree.leaves(tree):
        if np.ndim(leaf) == 0:
            raise _checks.refuse(name, "an axis of every array", leaf)
        if np.shape(leaf)[0] % on.size:
            raise _checks.refuse(name, f"a multiple of {on.size}, the number of devices", np.shape(leaf)[0])
    return jax.tree.map(lambda a: put(a, NamedSharding(on, PartitionSpec(AXIS))), tree)


def put(array: Any, where: jax.sharding.Sharding) -> Any:
    """A copy of an array or of keys, which every process has whole, there; the old one may be given away afterwards.

    Args:
        array: in JAX or NumPy; Python's own numbers, which are of no type and lie nowhere, are returned.
        where: on all devices of a mesh.

    Example:
        >>> there = NamedSharding(mesh(1), PartitionSpec())
        >>> put(np.arange(3), there).sharding == there, put(2.0, there)
        (True, 2.0)
    """
    if isinstance(array, jax.Array) and jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(put(jax.random.key_data(array), where), impl=jax.random.key_impl(array))
    if isinstance(array, (bool, int, float)):  # of no type of its own, and wherever it is needed
        return array
    if jax.process_count() == 1:
        shared = isinstance(array, jax.Array) and (where.is_fully_replicated or array.sharding == where)
        return jax.device_put(jnp.copy(array) if shared else array, where)  # which else may give out the very same memory
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        return jax.device_put(array, where)
    whole = np.asarray(array)
    return jax.make_array_from_callback(whole.shape, where, lambda part: whole[part])


def put_like(tree: Tree, like: Tree) -> Tree:
    """Copies of arrays, those whose counterpart lies on a mesh where it lies.

    Example:
        >>> put_like({"a": np.ones(2)}, {"a": jnp.zeros(2)})["a"].tolist()
        [1.0, 1.0]
    """

    def one(array: Any, other: Any) -> Any:
        there = mesh_of(other)
        return jnp.array(array, copy=True) if there is None else put(array, other.sharding)

    return jax.tree.map(one, tree, like)


def mesh_of(tree: Any) -> Mesh | None:
    """The mesh of several devices on which the first such array of a tree lies; None if there is none.

    Example:
        >>> mesh_of(split(np.ones(4), mesh(1))) is None
        True
    """
    for leaf in jax.tree.leaves(tree):
        where = getattr(leaf, "sharding", None)
        if isinstance(where, NamedSharding) and where.mesh.size > 1:
            return where.mesh if isinstance(where.mesh, Mesh) else None
    return None


def memory() -> int | None:
    """The bytes of the device that JAX takes first, of the whole machine where that is a CPU; None where nobody says.

    Example:
        >>> memory() is None or memory() > 2**20
        True
    """
    told = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if told is not None:
        return int(told)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return None


def wait() -> None:
    """Until all processes are here; with one, nothing.

    Example:
        >>> wait()
    """
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("theory_lab")


def fetch(tree: Any) -> Any:
    """The arrays in NumPy, copied, whole in every process: the parts that other processes hold are sent to all.

    Example:
        >>> fetch(split(np.ones(2), mesh(1)))
        array([1., 1.])
    """

    def one(array: Any) -> np.ndarray:
        if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
            array = multihost_utils.process_allgather(array, tiled=True)
        return np.array(array)

    return jax.tree.map(one, tree)
