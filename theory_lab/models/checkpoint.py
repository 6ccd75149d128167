"""Base models as folders in Hugging Face's format: `config.json` and safetensors, one file or several with an index.

Nothing is half-loaded: names, shapes and types of all tensors are checked before the first number is read, and what is read
is refused unless it is finite. Pickled weights are never opened: unpickling runs whatever code the file contains.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks
from theory_lab._typing import Block
from theory_lab.models import tensorfile
from theory_lab.models.config import Config, check_config, config_from_json, config_to_json, sizes_left_out
from theory_lab.models.layout import base_shapes, tensors
from theory_lab.models.tensorfile import Tensor

HEAD = "lm_head.weight"
FOLLOWING = ("rotary_emb.inv_freq", "decoder.version")  # of older versions; config.json says as much
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOATS = ("float32", "bfloat16", "float16", "float64")
PARAMETER_TYPES = ("float32", "bfloat16")


class Pretrained(NamedTuple):
    """A base model and what describes it."""

    config: Config
    base: Block


def load_pretrained(path: Any, *, dtype: Any = None) -> Pretrained:
    """The base model in a folder that transformers (or `save_pretrained`) wrote.

    Args:
        path: the folder, with `config.json` and `model.safetensors` or its shards.
        dtype: of the parameters, float32 or bfloat16; None keeps these as stored and makes float32 of all else.

    Raises:
        ValueError: a folder or file that is not there; weights in pickle files alone; a model that is not built here; a
            tensor that is cut off, missing, left over, of another shape, not of floating-point numbers, or not finite.

    Example:
        >>> import tempfile
        >>> from theory_lab.models import LlamaConfig, init_base
        >>> config = LlamaConfig(vocab_size=9, hidden_size=4, num_hidden_layers=2, num_attention_heads=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_pretrained(folder, config, init_base(jax.random.key(0), config))
        ...     load_pretrained(folder).config == config
        True
    """
    where = tensorfile.folder(path)
    kind = None if dtype is None else jnp.dtype(_checks.dtype("dtype", dtype, PARAMETER_TYPES))
    stored = tensorfile.read_json(where / "config.json")
    config, present = config_from_json(stored), _tensors_in(where)
    try:
        found = _matched(config, present, where)
    except ValueError as error:
        if left_out := ", ".join(f"{name} (then {size})" for name, size in sizes_left_out(stored).items()):
            raise ValueError(f"{error}; config.json leaves out {left_out}, as transformers has it") from None
        raise
    base: Block = jax.tree.map(lambda shape: None, base_shapes(config), is_leaf=lambda s: isinstance(s, tuple))
    stacked: dict[tuple[str, ...], list[tuple[str, Tensor]]] = {}
    for name, array, _, _ in tensors(config):
        stacked.setdefault(array, []).append((name, found[name]))
    for array, members in stacked.items():
        target = base
        for step in array[:-1]:
            target = target[step]
        target[array[-1]] = _stack(members, kind, layered=array[0] == "layers")
    return Pretrained(config, base)


def save_pretrained(path: Any, config: Config, base: Block, *, largest: int = 5_000_000_000) -> None:
    """Write a base model as transformers reads it; the index and `config.json` come last.

    Args:
        path: the folder; made if it is not there. What was in it under the same names is replaced, file by file.
        config, base: the model.
        largest: bytes of a shard; a model that is smaller is a single file.

    Raises:
        ValueError: a path that is a file, a base unlike its config.
    """
    check_config(config)
    check_base("base", config, base)
    _checks.count("largest", largest)
    where = tensorfile.new_folder(path)
    places = {name: (array, layer, shape) for name, array, layer, shape in tensors(config)}

    def leaf(name: str) -> Any:
        target = base
        for step in places[name][0]:
            target = target[step]
        return target

    def read(name: str) -> np.ndarray:
        layer = places[name][1]
        return np.asarray(leaf(name) if layer is None else leaf(name)[layer])

    described = {name: (np.dtype(leaf(name).dtype), shape) for name, (_, _, shape) in places.items()}
    shards = list(_shards(described, largest))
    names = (
        [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))] if len(shards) > 1 else [SINGLE]
    )
    for file, shard in zip(names, shards, strict=True):
        tensorfile.write(where / file, {name: described[name] for name in shard}, read)
    if len(shards) > 1:
        total = sum(_size(entry) for entry in described.values())
        weight_map = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
        tensorfile.write_json(where / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
    for stale in {SINGLE, INDEX, *(p.name for p in where.glob("model-*-of-*.safetensors"))} - {
        *names,
        INDEX if len(shards) > 1 else "",
    }:
        (where / stale).unlink(missing_ok=True)
    word = leaf("lm_head.weight" if "lm_head.weight" in places else config.prefix + "embed_tokens.weight").dtype.name
    tensorfile.write_json(where / "config.json", {**config_to_json(config), "torch_dtype": word})


def check_base(name: str, config: Config, base: Block) -> None:
    """Refuse parameters whose tree or shapes are not those of the model; the message names the first array that differs."""
    shape_of = lambda tree: {
        "/".join(str(getattr(k, "key", k)) for k in path): tuple(leaf) if isinstance(leaf, tuple) else np.shape(leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda s: isinstance(s, tuple))[0]
    }
    given, wanted = shape_of(base), shape_of(base_shapes(config))
    for key in sorted(given.keys() | wanted.keys()):
        if given.get(key) != wanted.get(key):
            raise _checks.refuse(
                f"{name}[{key!r}]", f"of shape {wanted[key]}" if key in wanted else "left out", given.get(key, "nothing")
            )


def refuse_pickle(where: Path, wanted: str, pickled: tuple[str, ...]) -> None:
    """The refusal of a folder whose weights are pickled, with the reason and the way out."""
    for name in pickled:
        if (where / name).exists():
            rule = (
                f"in {wanted}: a pickle runs the code that is in it. Where you trust its origin, convert it once with "
                "transformers or peft, model.save_pretrained(folder, safe_serialization=True)"
            )
            raise _checks.refuse(f"weights in {str(where)!r}", rule, name)


def check_float(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """The door for a tensor that becomes a parameter."""
    here = f"tensor {name!r} in {str(tensor.file)!r}"
    if tensor.shape != shape:
        raise _checks.refuse(here, f"of shape {shape}", tensor.shape)
    if tensor.dtype.name not in FLOATS:
        raise _checks.refuse(here, f"of floating-point numbers ({', '.join(FLOATS)})", tensor.dtype.name)


def read_finite(name: str, tensor: Tensor, dtype: np.dtype) -> np.ndarray:
    """The numbers of a tensor in another type, refused unless they are finite in it."""
    with np.errstate(over="ignore"):
        numbers = tensor.read().astype(dtype)
    if not np.isfinite(numbers.astype(np.float32)).all():
        raise _checks.refuse(f"tensor {name!r} in {str(tensor.file)!r}", "finite", f"numbers that are not, in {dtype.name}")
    return numbers


def parameter_type(stored: np.dtype) -> np.dtype:
    """float32 and bfloat16 stay; the others become float32."""
    return stored if stored.name in PARAMETER_TYPES else np.dtype("float32")


def _tensors_in(where: Path) -> dict[str, Tensor]:
    """Every tensor of a folder; shards that contradict their index are refused."""
    if (where / SINGLE).exists():
        return tensorfile.read_header(where / SINGLE)
    if not (where / INDEX).exists():
        refuse_pickle(where, SINGLE, ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "pytorch_model.pt"))
        raise _checks.refuse(f"folder {str(where)!r}", f"with {SINGLE} or {INDEX}", sorted(p.name for p in where.iterdir()))
    mapped = tensorfile.read_json(where / INDEX).get("weight_map")
    if not isinstance(mapped, Mapping) or not all(isinstance(f, str) and f == Path(f).name for f in mapped.values()):
        raise _checks.refuse(f"file {str(where / INDEX)!r}", "with a weight_map from tensors to files beside it", mapped)
    found: dict[str, Tensor] = {}
    for file in sorted(set(mapped.values())):
        for name, tensor in tensorfile.read_header(where / file).items():
            if mapped.get(name) != file:
                raise _checks.refuse(f"tensor {name!r} in {str(where / file)!r}", "where the index says", mapped.get(name))
            found[name] = tensor
    for name, file in mapped.items():
        if name not in found:
            raise _checks.refuse(f"tensor {name!r}", f"in {str(where / file)!r}, as the index says", "no such tensor")
    return found


def _matched(config: Config, found: Mapping[str, Tensor], where: Path) -> dict[str, Tensor]:
    """The tensors of the model by their full names, all of them and no more."""
    short = not any(name.startswith("model.") for name in found)  # saved without the head
    full = {f"model.{name}" if short and name != HEAD else name: tensor for name, tensor in found.items()}
    wanted = {}
    for name, _, _, shape in tensors(config):  # as many as the file says: none is kept before it is found
        if name not in full:
            raise _checks.refuse(f"tensor {name!r}", f"in folder {str(where)!r}", "no such tensor")
        check_float(name, full[name], shape)
        wanted[name] = full[name]
    for name in sorted(full.keys() - wanted.keys()):
        here = f"tensor {name!r} in {str(full[name].file)!r}"
        if name == HEAD:  # a copy of the embeddings, which some versions write
            embeddings = full[config.prefix + "embed_tokens.weight"]
            check_float(name, full[name], embeddings.shape)
            if not np.array_equal(full[name].read(), embeddings.read()):
                raise _checks.refuse(here, "equal to the embeddings it is tied to", "other numbers")
        elif not name.endswith(FOLLOWING):
            raise _checks.refuse(here, f"one of a {config.model_type} model of this config.json", "one more")
    return wanted


def _stack(members: list[tuple[str, Tensor]], dtype: np.dtype | None, *, layered: bool) -> jax.Array:
    dtype = np.dtype(dtype or np.result_type(*(parameter_type(t.dtype) for _, t in members)))
    if not layered:
        return jnp.asarray(read_finite(*members[0], dtype))
    numbers = np.empty((len(members), *members[0][1].shape), dtype)
    for layer, (name, tensor) in enumerate(members):
        numbers[layer] = read_finite(name, tensor, dtype)
    return jnp.asarray(numbers)


def _size(entry: tuple[np.dtype, tuple[int, ...]]) -> int:
    return int(np.prod(entry[1])) * entry[0].itemsize


def _shards(described: Mapping[str, tuple[np.dtype, tuple[int, ...]]], largest: int) -> Iterator[list[str]]:
    """The names, in order, in groups of at most that many bytes, or of one tensor."""
    shard: list[str] = []
    filled = 0
    for name, entry in described.items():
        if shard and filled + _size(entry) > largest:
            yield shard
            shard, filled = [], 0
        shard.append(name)
        filled += _size(entry)
    yield shard
