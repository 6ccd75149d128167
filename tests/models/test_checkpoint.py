"""Files: what is written is read, and what is wrong is told with the tensor's name and nothing loaded."""

import errno
import json
import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.zoo import CONFIGS, adapters, random_peft
from theory_lab import models
from theory_lab.models import tensorfile

NAME = "llama, grouped, linear"
CONFIG = CONFIGS[NAME]
LLAMA3 = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16}  # fmt: skip
TENSOR = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def saved(tmp_path) -> Path:
    models.save_pretrained(tmp_path, CONFIG, models.init_base(jax.random.key(0), CONFIG))
    return tmp_path


def read(path: Path) -> tuple[dict, bytes]:
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def write(path: Path, header: dict, data: bytes) -> None:
    raw = json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)


def rewrite(path: Path, change) -> None:
    """The file with its tensors, by name, changed."""
    header, data = read(path)
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        arrays[name] = np.frombuffer(data[begin:end], tensorfile.DTYPES[entry["dtype"]]).reshape(entry["shape"])
    change(arrays)
    tensorfile.write(path, {n: (a.dtype, a.shape) for n, a in arrays.items()}, arrays.__getitem__)


def refuses(call, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        call()


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_base_survives_its_folder(name, dtype, tmp_path):
    config = CONFIGS[name]
    base = models.init_base(jax.random.key(0), config, dtype)
    models.save_pretrained(tmp_path, config, base, largest=30_000)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    loaded = models.load_pretrained(tmp_path)
    assert loaded.config == config
    jax.tree.map(np.testing.assert_array_equal, loaded.base, base)
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded.base)} == {jnp.dtype(dtype)}
    models.save_pretrained(tmp_path, config, base)  # a single file replaces the shards and their index
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    jax.tree.map(np.testing.assert_array_equal, models.load_pretrained(tmp_path).base, base)


@pytest.mark.parametrize("kind", adapters(CONFIG))
def test_an_adapter_survives_its_folder(kind, tmp_path):
    adapter = adapters(CONFIG)[kind]
    peft = random_peft(adapter, CONFIG)
    models.save_adapter(tmp_path, CONFIG, adapter, peft)
    loaded = models.load_adapter(tmp_path, CONFIG)
    assert loaded.adapter == adapter
    jax.tree.map(np.testing.assert_array_equal, loaded.peft, peft)


def test_a_truncated_file_names_the_tensor_that_is_cut_off(saved):
    path = saved / "model.safetensors"
    whole = path.read_bytes()
    header, _ = read(path)
    last = max(header.items(), key=lambda item: item[1].get("data_offsets", [0, 0])[1])[0]
    path.write_bytes(whole[:-1])
    refuses(
        lambda: models.load_pretrained(saved), f"tensor {last!r} in {str(path)!r} must be complete, up to byte {len(whole)}"
    )
    path.write_bytes(whole + b"x")
    refuses(lambda: models.load_pretrained(saved), f"file {str(path)!r} must be at its end after the last tensor")
    for count in (0, 7, 8, 100):
        path.write_bytes(whole[:count])
        refuses(lambda: models.load_pretrained(saved), f"file {str(path)!r} must be a complete safetensors file, got")
    for header in (b"{{{{", b"[]", b"null", b"[" * 100_000):
        path.write_bytes(len(header).to_bytes(8, "little") + header + whole)
        refuses(lambda: models.load_pretrained(saved), f"file {str(path)!r} must be a safetensors file")


def test_tensors_that_are_missing_left_over_misshaped_mistyped_or_not_finite(saved):
    path = saved / "model.safetensors"
    whole, here = path.read_bytes(), f"tensor {TENSOR!r} in {str(path)!r} must be"

    def bad(change, message: str) -> None:
        path.write_bytes(whole)
        rewrite(path, change)
        refuses(lambda: models.load_pretrained(saved), message)

    bad(lambda a: a.pop(TENSOR), f"tensor {TENSOR!r} must be in folder {str(saved)!r}, got 'no such tensor'")
    bad(
        lambda a: a.update(more=a[TENSOR]),
        f"tensor 'more' in {str(path)!r} must be one of a llama model",
    )
    bad(lambda a: a.update({TENSOR: a[TENSOR].T}), f"{here} of shape (40, 32), got (32, 40)")
    bad(lambda a: a.update({TENSOR: a[TENSOR].astype(np.int32)}), f"{here} of floating-point numbers")
    bad(lambda a: a.update({TENSOR: np.where(a[TENSOR] > 0, np.nan, a[TENSOR])}), f"{here} finite")


def test_headers_that_contradict_themselves(saved):
    path = saved / "model.safetensors"
    header, data = read(path)

    def bad(change: dict, message: str) -> None:
        write(path, {**header, TENSOR: {**header[TENSOR], **change}}, data)
        refuses(lambda: models.load_pretrained(saved), f"tensor {TENSOR!r} in {str(path)!r} must be {message}")

    begin, end = header[TENSOR]["data_offsets"]
    bad({"dtype": "F8"}, "of a known type")
    bad({"dtype": ["F32"]}, "of a known type")
    bad({"dtype": "BF16"}, f"of {(end - begin) // 2} bytes, as BF16 of shape [40, 32], got '{end - begin} bytes'")
    bad({"shape": [-40, -32]}, "described by whole numbers")
    bad({"data_offsets": [begin + 4, end + 4]}, "where the one before it ends, at byte")
    write(path, {**header, TENSOR: 3}, data)
    refuses(lambda: models.load_pretrained(saved), f"tensor {TENSOR!r} in {str(path)!r} must be described by dtype")


def test_an_index_that_does_not_fit_its_shards(saved):
    models.save_pretrained(saved, CONFIG, models.init_base(jax.random.key(0), CONFIG), largest=30_000)
    index = saved / "model.safetensors.index.json"
    told = json.loads(index.read_text())
    file = told["weight_map"][TENSOR]

    def bad(weight_map: object, message: str) -> None:
        index.write_text(json.dumps({**told, "weight_map": weight_map}))
        refuses(lambda: models.load_pretrained(saved), message)

    bad({**told["weight_map"], "more": file}, f"tensor 'more' must be in {str(saved / file)!r}, as the index says")
    bad(
        {k: v for k, v in told["weight_map"].items() if k != TENSOR},
        f"tensor {TENSOR!r} in {str(saved / file)!r} must be where",
    )
    bad({**told["weight_map"], TENSOR: "../" + file}, f"file {str(index)!r} must be with a weight_map")
    index.write_text(json.dumps(told))
    (saved / file).unlink()
    refuses(lambda: models.load_pretrained(saved), f"file {str(saved / file)!r} must be there, got 'no file'")


def test_pickles_are_refused_with_the_way_out(saved):
    (saved / "model.safetensors").rename(saved / "pytorch_model.bin")
    with pytest.raises(
        ValueError, match=r"a pickle runs the code that is in it.*safe_serialization=True.*'pytorch_model.bin'"
    ):
        models.load_pretrained(saved)
    (saved / "pytorch_model.bin").unlink()
    refuses(lambda: models.load_pretrained(saved), f"folder {str(saved)!r} must be with model.safetensors or")
    adapter = models.lora()
    models.save_adapter(saved, CONFIG, adapter, random_peft(adapter, CONFIG))
    (saved / "adapter_model.safetensors").rename(saved / "adapter_model.bin")
    with pytest.raises(ValueError, match=r"a pickle runs the code that is in it.*'adapter_model.bin'"):
        models.load_adapter(saved, CONFIG)


def test_a_copy_of_tied_embeddings_is_taken_if_it_is_one(tmp_path):
    config = CONFIGS["opt"]
    models.save_pretrained(tmp_path, config, models.init_base(jax.random.key(0), config))
    path, name = tmp_path / "model.safetensors", "model.decoder.embed_tokens.weight"
    rewrite(path, lambda a: a.update({"lm_head.weight": a[name]}))
    models.load_pretrained(tmp_path)
    rewrite(path, lambda a: a.update({"lm_head.weight": a[name] + 1}))
    refuses(
        lambda: models.load_pretrained(tmp_path),
        f"tensor 'lm_head.weight' in {str(path)!r} must be equal to the embeddings it is tied to",
    )


def test_tensors_saved_without_the_head_and_in_half_precision(saved):
    before = models.load_pretrained(saved).base
    opt = CONFIGS["opt"]
    models.save_pretrained(saved, opt, models.init_base(jax.random.key(0), opt))
    expected = models.load_pretrained(saved).base

    def short(arrays: dict) -> None:
        for name in list(arrays):
            arrays[name.removeprefix("model.")] = arrays.pop(name).astype(np.float16)

    rewrite(saved / "model.safetensors", short)
    found = models.load_pretrained(saved).base
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2.0**-11, atol=2.0**-24), found, expected)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    assert jax.tree.structure(before) != jax.tree.structure(found)


def test_a_write_that_fails_leaves_the_old_file(saved, monkeypatch):
    path = saved / "model.safetensors"
    whole, names = path.read_bytes(), sorted(p.name for p in saved.iterdir())

    def fail(name: str) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tensorfile.write(path, {"a": (np.dtype("float32"), (2,))}, fail)
    assert path.read_bytes() == whole
    assert sorted(p.name for p in saved.iterdir()) == names


def test_the_library_of_the_format_agrees(saved):
    library = pytest.importorskip("safetensors.numpy")
    found = library.load_file(saved / "model.safetensors")
    ours = tensorfile.read_header(saved / "model.safetensors")
    assert found.keys() == ours.keys()
    for name, numbers in found.items():
        np.testing.assert_array_equal(ours[name].read(), numbers)
    library.save_file({"b": np.arange(3), "a": np.ones((2, 2), np.float16)}, saved / "other.safetensors", {"who": "library"})
    other = tensorfile.read_header(saved / "other.safetensors")
    np.testing.assert_array_equal(other["b"].read(), np.arange(3))
    np.testing.assert_array_equal(other["a"].read(), np.ones((2, 2)))


def test_adapter_files_that_do_not_fit(tmp_path):
    adapter = models.lora(rank=2)
    models.save_adapter(tmp_path, CONFIG, adapter, random_peft(adapter, CONFIG))
    settings, weights = tmp_path / "adapter_config.json", tmp_path / "adapter_model.safetensors"
    told, name = json.loads(settings.read_text()), "base_model.model.model.layers.2.self_attn.v_proj.lora_B.weight"

    def bad(change: dict, message: str) -> None:
        settings.write_text(json.dumps({**told, **change}))
        refuses(lambda: models.load_adapter(tmp_path, CONFIG), message)

    bad({"use_dora": True}, "use_dora in adapter_config.json must be False, the one that is built here, got True")
    bad({"init_lora_weights": "pissa"}, "init_lora_weights in adapter_config.json must be True, the one that is built here")
    bad({"some_new_method": {"a": 1}}, "some_new_method in adapter_config.json must be left out: it is not known here")
    bad({"rank_pattern": {"q_proj": 3}}, "rank_pattern in adapter_config.json must be {} or the same for all modules, got")
    bad({"alpha_pattern": {"layers.1.*": 3}}, "alpha_pattern in adapter_config.json must be {} or the same for all modules")
    bad({"alpha_pattern": [3]}, "alpha_pattern in adapter_config.json must be an object, got [3]")
    bad({"rank_pattern": {"(": 3}}, "rank_pattern in adapter_config.json must be made of regular expressions, got")
    bad({"exclude_modules": ["layers.1.self_attn.q_proj"]}, "target_modules in adapter_config.json must be the same modules")
    bad({"layers_to_transform": [0, 1]}, "layers_to_transform in adapter_config.json must be all 3 layers, or left out, got")
    bad({"layers_to_transform": [[0]]}, "layers_to_transform in adapter_config.json must be all 3 layers, or left out, got")
    bad({"layers_to_transform": 1}, "layers_to_transform in adapter_config.json must be all 3 layers, or left out, got 1")
    bad(
        {"peft_type": "IA3"},
        "peft_type in adapter_config.json must be one of 'LORA', 'PREFIX_TUNING', 'PROMPT_TUNING', got 'IA3'",
    )
    bad({"target_modules": ["lm_head"]}, "target_modules in adapter_config.json must be among those of the model's layers")
    bad(
        {"target_modules": ["layers.0.self_attn.q_proj"]},
        "target_modules in adapter_config.json must be the same modules in all",
    )
    bad({"target_modules": "*.q_proj"}, "target_modules in adapter_config.json must be made of regular expressions, got")
    bad({"target_modules": ["q_proj"]}, "tensor 'base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight' in")
    bad({"r": 3}, "tensor 'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight' in")
    settings.write_text(json.dumps({**told, "target_modules": r".*\.(q|v)_proj"}))
    assert models.load_adapter(tmp_path, CONFIG).adapter == adapter
    rewrite(weights, lambda a: a.pop(name))
    refuses(
        lambda: models.load_adapter(tmp_path, CONFIG), f"tensor {name!r} must be in {str(weights)!r}, got 'no such tensor'"
    )


def test_a_size_that_the_config_leaves_out_is_named_where_the_tensors_do_not_fit(saved):
    path = saved / "config.json"
    told = json.loads(path.read_text())
    del told["hidden_size"]
    path.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"of shape \(97, 4096\), got \(97, 32\); .* leaves out hidden_size \(then 4096\)"):
        models.load_pretrained(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"rope_parameters": ["linear"], "rope_scaling": None},
            "the rope settings in config.json must be an object, got ['linear']",
        ),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2.0}}, "rope_scaling": None},
            "the rope settings in config.json must be the same for all layers, got {'full_attention'",
        ),
        (
            {"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
            "rope_scaling in config.json must be left out beside rope_parameters {'rope_type': 'default'}, got",
        ),
        (
            {"rope_scaling": LLAMA3, "original_max_position_embeddings": 32},
            "original_max_position_embeddings in config.json must be 16, as in its rope settings, got 32",
        ),
        ({"quantization_config": {"bits": 4}}, "quantization_config in config.json must be left out, got {'bits': 4}"),
    ],
)
def test_configs_that_are_not_built_here(saved, change, message):
    path = saved / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    refuses(lambda: models.load_pretrained(saved), message)


def test_no_end_of_a_text_is_none():
    told = {"model_type": "llama", "eos_token_id": []}
    assert models.config_from_json(told).eos_token_id is None


def test_a_full_disk_is_told_with_the_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "model.safetensors"
    tensorfile.write_bytes(path, [b"old"])
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=rf"cannot write: {os.strerror(errno.ENOSPC)}: '{path}'"):
        tensorfile.write_bytes(path, [b"new"])
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


def test_numbers_beyond_the_type_are_refused_and_not_warned_of(saved):
    path = saved / "model.safetensors"
    rewrite(path, lambda a: a.update({TENSOR: np.full(a[TENSOR].shape, 1e300)}))
    refuses(lambda: models.load_pretrained(saved), f"tensor {TENSOR!r} in {str(path)!r} must be finite, got")


def test_more_layers_than_the_files_have_end_at_the_first_that_is_missing(saved):
    path = saved / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_hidden_layers": 10**12}))
    name = "model.layers.3.self_attn.q_proj.weight"
    refuses(lambda: models.load_pretrained(saved), f"tensor {name!r} must be in folder {str(saved)!r}, got 'no such tensor'")


def test_numbers_without_end_in_a_header_and_in_a_config(saved):
    path, header = saved / "model.safetensors", b'{"a": ' + b"9" * 5000 + b"}"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    refuses(lambda: models.load_pretrained(saved), f"file {str(path)!r} must be a safetensors file")
    (saved / "config.json").write_bytes(header)
    refuses(lambda: models.load_pretrained(saved), f"file {str(saved / 'config.json')!r} must be JSON")


def cut(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(path.read_bytes()[: rng.integers(path.stat().st_size)])


def change_a_byte(path: Path, rng: np.random.Generator) -> None:
    """Of the header: among the numbers themselves nobody could tell."""
    raw = bytearray(path.read_bytes())
    raw[rng.integers(8 + int.from_bytes(raw[:8], "little"))] ^= 1 << rng.integers(8)
    path.write_bytes(raw)


def slip(path: Path, rng: np.random.Generator) -> None:
    raw = path.read_bytes()
    place = int(rng.integers(len(raw)))
    path.write_bytes(raw[:place] + (b"0" + raw[place:] if rng.integers(2) else raw[place + 1 :]))


def lie(path: Path, rng: np.random.Generator) -> None:
    header, data = read(path)
    name = rng.choice([name for name in header if name != "__metadata__"])
    entry = header[name]
    for key, value in (("dtype", "F16"), ("shape", [*entry["shape"], 2]), ("data_offsets", [0, entry["data_offsets"][1]])):
        if rng.integers(2):
            entry[key] = value
    if rng.integers(2):
        header[f"{name}s"] = header.pop(name)
    write(path, header, data)


def spoil(path: Path, rng: np.random.Generator) -> None:
    def change(arrays: dict) -> None:
        name = rng.choice([*arrays])
        a = arrays.pop(name).copy()
        how = rng.integers(4)
        if how == 0:
            a.flat[rng.integers(a.size)] = rng.choice([np.nan, np.inf, -np.inf])
        elif how < 3:
            a = a[:-1] if how == 1 else a.astype(rng.choice(["int32", "bool"]))
        arrays.update({name: a} if how < 3 else {})

    rewrite(path, change)


@pytest.mark.parametrize("what", ["base", "shards", "adapter"])
@pytest.mark.parametrize("harm", [cut, change_a_byte, slip, lie, spoil])
def test_what_is_damaged_is_refused_with_its_file_or_loads_as_it_was(what, harm, tmp_path):
    """The last is for what says nothing: a space in a header, its metadata."""
    base, adapter = models.init_base(jax.random.key(0), CONFIG), models.lora(rank=2)
    if what == "adapter":
        models.save_adapter(tmp_path, CONFIG, adapter, random_peft(adapter, CONFIG))
        load = lambda: models.load_adapter(tmp_path, CONFIG)
    else:
        models.save_pretrained(tmp_path, CONFIG, base, largest=10**9 if what == "base" else 30_000)
        load = lambda: models.load_pretrained(tmp_path)
    expected, whole, told = load(), {path: path.read_bytes() for path in tmp_path.iterdir()}, []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        path = sorted(tmp_path.glob("*.safetensors"))[0 if what != "shards" else seed % 3]
        harm(path, rng)
        try:
            found = load()
        except ValueError as error:
            told.append(str(error))
        else:
            assert found[0] == expected[0]
            jax.tree.map(np.testing.assert_array_equal, found[1], expected[1])
        path.write_bytes(whole[path])
    assert len(told) > 6
    assert all(str(tmp_path) in message for message in told), told


def test_json_that_is_cut_off_is_refused_with_its_file(tmp_path):
    adapter = models.lora(rank=2)
    models.save_adapter(tmp_path, CONFIG, adapter, random_peft(adapter, CONFIG))
    models.save_pretrained(tmp_path, CONFIG, models.init_base(jax.random.key(0), CONFIG), largest=30_000)
    for path in tmp_path.glob("*.json"):
        load = (
            (lambda: models.load_adapter(tmp_path, CONFIG))
            if "adapter" in path.name
            else lambda: models.load_pretrained(tmp_path)
        )
        whole = path.read_bytes()
        for count in (0, 1, len(whole) // 2, len(whole) - 3):
            path.write_bytes(whole[:count])
            refuses(load, f"file {str(path)!r} must be JSON, got")
        path.write_text("[]")
        refuses(load, f"file {str(path)!r} must be a JSON object, got 'list'")
        path.write_bytes(whole)


def test_a_tensor_in_two_shards(saved):
    models.save_pretrained(saved, CONFIG, models.init_base(jax.random.key(0), CONFIG), largest=30_000)
    mapped = json.loads((saved / "model.safetensors.index.json").read_text())["weight_map"]
    other = saved / next(file for file in sorted(set(mapped.values())) if file != mapped[TENSOR])
    rewrite(other, lambda a: a.update({TENSOR: np.zeros((40, 32), np.float32)}))
    refuses(lambda: models.load_pretrained(saved), f"tensor {TENSOR!r} in {str(other)!r} must be where the index says, got")


def test_an_adapter_of_another_base(tmp_path):
    adapter, other = models.lora(rank=2), CONFIGS["llama, wide heads, biases"]
    models.save_adapter(tmp_path, CONFIG, adapter, random_peft(adapter, CONFIG))
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
    here = f"tensor {name!r} in {str(tmp_path / 'adapter_model.safetensors')!r}"
    refuses(lambda: models.load_adapter(tmp_path, other), f"{here} must be of shape (64, 2), got (32, 2)")
    wide = models.LlamaConfig(hidden_size=64, num_hidden_layers=3, num_attention_heads=4)
    for kind in (models.prefix(3), models.prompt(3)):
        models.save_adapter(tmp_path, CONFIG, kind, random_peft(kind, CONFIG))
        here = f"tensor 'prompt_embeddings' in {str(tmp_path / 'adapter_model.safetensors')!r} must be of shape (3, "
        refuses(lambda: models.load_adapter(tmp_path, wide), here)


def test_what_older_versions_leave_beside_the_tensors(tmp_path):
    config = CONFIGS["opt"]
    base = models.init_base(jax.random.key(0), config)
    models.save_pretrained(tmp_path, config, base)
    path = tmp_path / "model.safetensors"

    def older(arrays: dict) -> None:
        for name in list(arrays):
            arrays[name.removeprefix("model.")] = arrays.pop(name)
        arrays |= {"lm_head.weight": arrays["decoder.embed_tokens.weight"], "decoder.version": np.ones(1, np.float32)}

    rewrite(path, older)
    jax.tree.map(np.testing.assert_array_equal, models.load_pretrained(tmp_path).base, base)
    base = models.init_base(jax.random.key(0), CONFIG)
    models.save_pretrained(tmp_path, CONFIG, base)
    rewrite(path, lambda a: a.update({"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(4, np.float32)}))
    jax.tree.map(np.testing.assert_array_equal, models.load_pretrained(tmp_path).base, base)
