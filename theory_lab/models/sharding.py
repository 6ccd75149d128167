"""Where the parameters of a language model lie on a mesh of devices, and steps that leave them there.

    data    every device has all parameters and its share of every batch
    full    besides, every device has only its share of the base: 1/N of the rows of every matrix

Fully split, a step gathers a matrix where it is multiplied, within the scan over layers, and forgets it; the backward pass
gathers it again, and gradients come back split. No device ever holds more than a few matrices of one layer and a part of
the embeddings besides its share. What is small or does not divide stays whole: biases, norms, adapters, tables whose number
of rows N does not divide. XLA inserts what must be sent.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import optax
from jax.sharding import NamedSharding, PartitionSpec

from theory_lab import _checks, devices
from theory_lab._typing import Array, Key, Params, Scalar
from theory_lab.models import backend
from theory_lab.models.split import bare, rows_of, wrapped

Shard = Literal["data", "full"]
Places = tuple[NamedSharding, ...] | None
SHARDS: tuple[Shard, ...] = ("data", "full")


def place(params: Params, on: Any, shard: Shard = "data") -> Params:
    """A copy of a model's parameters on a mesh.

    Args:
        params: {"base": ...} or {"base": ..., "peft": ...}, in JAX or NumPy. From NumPy every device gets its share alone.
        on: a mesh as `theory_lab.devices.mesh` makes, or the number of devices.
        shard: "data" or "full", see above.

    Returns:
        The same tree. Every step of this room takes it, and returns it, as it lies; the batches belong there too, split by
        `theory_lab.devices.split`.

    Raises:
        ValueError: another word, devices that are not there.

    Example:
        >>> from theory_lab.models import OPTConfig, init_base
        >>> config = OPTConfig(vocab_size=9, hidden_size=4, num_hidden_layers=2, num_attention_heads=2, ffn_dim=8)
        >>> params = place({"base": init_base(jax.random.key(0), config)}, 1, "full")
        >>> tuple(params["base"]["layers"]["fc1"]["weight"].sharding.spec)
        (None, 'devices')

    Reference:
        Rajbhandari et al.: ZeRO: Memory Optimizations Toward Training Trillion Parameter Models, 2020 (stage 3).
    """
    mesh = devices.mesh(on)
    _checks.choice("shard", shard, SHARDS)
    _checks.labelled("params", params)

    def one(path: tuple[Any, ...], leaf: Array) -> Array:
        matrix = leaf.ndim == 2 + any(getattr(part, "key", None) == "layers" for part in path)
        split = shard == "full" and path[0].key == "base" and matrix and leaf.shape[-2] % mesh.size == 0
        return devices.put(leaf, NamedSharding(mesh, rows_of(leaf.ndim) if split else PartitionSpec()))

    return dict(jax.tree_util.tree_map_with_path(one, dict(params)))


class Compiled:
    """A step, compiled for where parameters and state lie; there lie its results too. Called like the step."""

    def __init__(self, step: Callable[..., Any], *, donate: bool) -> None:
        def there(params: Params, state: optax.OptState, batch: Any, key: Key, step_size: Scalar, places: Places) -> Any:
            if places is None:
                return step(params, state, batch, key, step_size)
            leaves, structure = jax.tree.flatten(params)
            params = jax.tree.unflatten(structure, [wrapped(a, place) for a, place in zip(leaves, places, strict=False)])
            new = step(params, state, batch, key, step_size)
            given, structure = jax.tree.flatten((bare(new.params), new.state))
            kept = [jax.lax.with_sharding_constraint(a, place) for a, place in zip(given, places, strict=True)]
            return new._make((*jax.tree.unflatten(structure, kept), new.value))

        # With donation a program of its own, which may have options; without, perhaps a part of another, which may not.
        own: dict[str, Any] = {"donate_argnums": (0, 1), "compiler_options": backend.compiler_options()} if donate else {}
        self._step = jax.jit(there, static_argnums=5, **own)

    def __call__(self, params: Params, state: optax.OptState, batch: Any, key: Key, step_size: Scalar) -> Any:
        with backend.where_lies(params):
            return self._step(params, state, batch, key, step_size, _places((params, state)))

    def lower(self, params: Params, state: optax.OptState, batch: Any, key: Key, step_size: Scalar) -> Any:
        """As of a function that `jax.jit` has compiled; shapes, with shardings or without, will do."""
        with backend.where_lies(params):
            return self._step.lower(params, state, batch, key, step_size, _places((params, state)))


def split_leaves(params: Params) -> Params:
    """Parameters for a compiled function of one's own: what lies split is marked, so that the model gathers it.

    Where an array lies is not to be seen within a compiled function, so mark before it is called. Without the marks it
    computes the same, and XLA chooses what is gathered when. The steps of this room need none. Gradients and
    Hessian-vector products (forward over reverse) come back marked alike.

    Args:
        params: as `place` returns them; anything that does not lie split stays as it is.

    Example:
        >>> import jax.numpy as jnp
        >>> from theory_lab.models import OPTConfig, init_base, mean_loss
        >>> config = OPTConfig(vocab_size=9, hidden_size=4, num_hidden_layers=2, num_attention_heads=2, ffn_dim=8)
        >>> params = place({"base": init_base(jax.random.key(0), config)}, 1, "full")
        >>> loss = jax.jit(lambda params, tokens: mean_loss(config, params, tokens, jnp.ones_like(tokens)))
        >>> bool(jnp.isfinite(loss(split_leaves(params), jnp.array([[1, 2, 3]]))))
        True
    """
    return jax.tree.map(lambda leaf: wrapped(leaf, getattr(leaf, "sharding", None)), params)


def _places(tree: Any) -> Places:
    """Where every array lies, if any lies on a mesh of several devices; else everything is left to JAX."""
    mesh = devices.mesh_of(tree)
    if mesh is None:
        return None
    whole = NamedSharding(mesh, PartitionSpec())
    found = (getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(tree))
    return tuple(where if isinstance(where, NamedSharding) else whole for where in found)
