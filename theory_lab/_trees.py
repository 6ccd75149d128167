"""Immutable records that are also JAX pytrees.

`record` turns a class into a frozen dataclass whose *data* fields are leaves (traced, differentiated, mapped over) and
whose other fields are static (compared and hashed by `jit`). JAX rebuilds such an object with tracers and placeholders
inside, without calling ``__init__``; a hand-written ``__init__`` may therefore validate.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import TypeVar, dataclass_transform

import jax

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(*, data: tuple[str, ...] = ()) -> Callable[[type[T]], type[T]]:
    """Class decorator; ``data`` names the fields that are leaves, all others are static."""

    def register(cls: type[T]) -> type[T]:
        cls = dataclass(frozen=True, eq=False, repr=cls.__repr__ is object.__repr__)(cls)
        names = tuple(f.name for f in fields(cls))  # type: ignore[arg-type]
        static = tuple(name for name in names if name not in data)

        def flatten(obj: T) -> tuple[list[tuple[jax.tree_util.GetAttrKey, object]], tuple[object, ...]]:
            leaves = [(jax.tree_util.GetAttrKey(name), getattr(obj, name)) for name in data]
            return leaves, tuple(getattr(obj, name) for name in static)

        def unflatten(meta: tuple[object, ...], children: Iterable[object]) -> T:
            obj = object.__new__(cls)
            for name, value in zip((*static, *data), (*meta, *children), strict=True):
                object.__setattr__(obj, name, value)
            return obj

        jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)
        return cls

    return register
