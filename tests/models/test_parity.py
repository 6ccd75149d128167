"""Against transformers: the same folder, the same logits. (Extra "parity"; skipped without it.)"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.reference import check_same, filled, reference, reference_logits, torch, transformers
from tests.models.zoo import CONFIGS, texts
from theory_lab import models

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]

configs = pytest.mark.parametrize("name", CONFIGS)
sides = pytest.mark.parametrize("side", ["right", "left"])


@configs
@sides
def test_a_folder_of_transformers_gives_its_logits(name, side, tmp_path):
    config = CONFIGS[name]
    theirs = reference(config)
    theirs.save_pretrained(tmp_path)
    loaded, base = models.load_pretrained(tmp_path)
    assert loaded == config
    tokens, mask = texts(side)
    ours = models.logits(config, {"base": base}, jnp.asarray(tokens), jnp.asarray(mask))
    check_same(ours, reference_logits(theirs, tokens, mask), mask)


@configs
def test_transformers_loads_what_we_save(name, tmp_path):
    config, (tokens, mask) = CONFIGS[name], texts()
    first, second = tmp_path / "first", tmp_path / "second"
    reference(config, seed=1).save_pretrained(first)
    _, base = models.load_pretrained(first)
    models.save_pretrained(second, config, base, largest=20_000)  # in shards
    theirs = transformers.AutoModelForCausalLM.from_pretrained(second)
    ours = models.logits(config, {"base": base}, jnp.asarray(tokens), jnp.asarray(mask))
    check_same(ours, reference_logits(theirs, tokens, mask), mask)


def test_shards_of_transformers(tmp_path):
    config, (tokens, mask) = CONFIGS["llama"], texts()
    theirs = reference(config)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    _, base = models.load_pretrained(tmp_path)
    check_same(models.logits(config, {"base": base}, jnp.asarray(tokens), jnp.asarray(mask)),
               reference_logits(theirs, tokens, mask), mask)  # fmt: skip


def test_what_a_config_leaves_out_is_as_transformers_has_it():
    for config, theirs in (
        (models.LlamaConfig(), transformers.LlamaConfig()),
        (models.OPTConfig(), transformers.OPTConfig()),
    ):
        for field in dataclasses.fields(config):
            if field.name not in ("rope", "final_layer_norm"):
                assert getattr(config, field.name) == getattr(theirs, field.name), field.name
    assert models.config_from_json(transformers.LlamaConfig().to_dict()) == models.LlamaConfig()
    assert models.config_from_json(transformers.OPTConfig().to_dict()) == models.OPTConfig()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16"])
def test_random_llamas_in_shards_of_any_precision(seed, stored, tmp_path):
    rng = np.random.default_rng(seed)
    config = models.LlamaConfig(
        vocab_size=97,
        hidden_size=int(rng.choice([24, 36, 40])),
        num_hidden_layers=int(rng.integers(1, 4)),
        num_attention_heads=4,
        num_key_value_heads=int(rng.choice([1, 2, 4])),
        head_dim=int(rng.choice([4, 6, 16])),
        intermediate_size=int(rng.integers(5, 50)),
        max_position_embeddings=64,
        rms_norm_eps=float(rng.choice([1e-6, 1e-3])),
        rope=models.Rope(theta=float(rng.choice([100.0, 5e5]))),
        tie_word_embeddings=bool(rng.integers(2)),
        attention_bias=bool(rng.integers(2)),
        mlp_bias=bool(rng.integers(2)),
    )
    reference(config, seed).to(getattr(torch, stored)).save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    loaded, base = models.load_pretrained(tmp_path)
    assert loaded == config
    assert {leaf.dtype.name for leaf in jax.tree.leaves(base)} == {"bfloat16" if stored == "bfloat16" else "float32"}
    base = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), base)
    tokens, mask = texts()
    ours = models.logits(config, {"base": base}, jnp.asarray(tokens), jnp.asarray(mask))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    check_same(ours, reference_logits(theirs, tokens, mask), mask)


def drawn_rope(rng: np.random.Generator, kind: str, heads: int) -> dict:
    """Settings of that kind for heads of that width, as a `config.json` may have them."""
    pick, maybe = lambda *of: of[rng.integers(len(of))], lambda **given: given if rng.integers(2) else {}
    several = lambda: rng.uniform(1, 9, heads // 2).tolist()
    settings = {
        "default": lambda: {},
        "linear": lambda: {"factor": pick(1.5, 4)},
        "dynamic": lambda: {"factor": pick(1.5, 4)},
        "llama3": lambda: {
            "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": pick(2.0, 4.0),
            "original_max_position_embeddings": 16,
        },
        "yarn": lambda: {
            "factor": 4.0, **maybe(original_max_position_embeddings=16), **maybe(beta_fast=4, beta_slow=pick(0.5, 2)),
            **maybe(truncate=False), **pick({}, {"attention_factor": 1.3}, {"mscale": 0.7, "mscale_all_dim": 0.4}),
        },
        "longrope": lambda: {
            "short_factor": several(), "long_factor": several(), "original_max_position_embeddings": pick(8, 32),
            **maybe(attention_factor=1.3),
        },
    }  # fmt: skip
    return {"rope_type": kind, "rope_theta": pick(100.0, 5e5), **settings[kind]()}


def of_version_4(folder, name: str) -> None:
    """Its `config.json` as older versions wrote it, which knew "type" before "rope_type"."""
    stored = json.loads((folder / "config.json").read_text())
    told = stored.pop("rope_parameters")
    scaling = {name: told.pop("rope_type"), **{k: v for k, v in told.items() if k != "rope_theta"}}
    stored |= {"rope_theta": told["rope_theta"], "rope_scaling": None if scaling[name] == "default" else scaling}
    (folder / "config.json").write_text(json.dumps(stored))


def compare(folder, theirs) -> None:
    """Both read the folder and compute the same, with padding on either side."""
    config, base = models.load_pretrained(folder, dtype=jnp.float32)
    ours = jax.jit(lambda tokens, mask: models.logits(config, {"base": base}, tokens, mask))
    for side in ("right", "left"):
        tokens, mask = texts(side)
        check_same(ours(jnp.asarray(tokens), jnp.asarray(mask)), reference_logits(theirs, tokens, mask), mask)


@pytest.mark.parametrize("version", ["5", "rope_type", "type"])
@pytest.mark.parametrize("kind", ["default", "linear", "dynamic", "llama3", "yarn", "longrope"])
def test_random_llamas_of_either_version(kind, version, tmp_path):
    for seed in range(2):
        rng = np.random.default_rng([seed, *kind.encode(), *version.encode()])
        heads = int(rng.choice([4, 8, 10]))
        made = transformers.LlamaConfig(
            vocab_size=97,
            hidden_size=int(rng.choice([32, 40])),
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=int(rng.choice([1, 2, 4])),
            head_dim=heads,
            intermediate_size=int(rng.integers(5, 50)),
            max_position_embeddings=8 if kind == "dynamic" else 64,
            rms_norm_eps=float(rng.choice([1e-6, 1e-3])),
            hidden_act=str(rng.choice(["silu", "swish"])),
            rope_parameters=drawn_rope(rng, kind, heads),
            tie_word_embeddings=bool(rng.integers(2)),
            attention_bias=bool(rng.integers(2)),
            mlp_bias=bool(rng.integers(2)),
        )
        theirs = filled(transformers.LlamaForCausalLM(made), seed)
        inner = made.tie_word_embeddings and rng.integers(2)  # tensors without "model."
        (theirs.model if inner else theirs).save_pretrained(tmp_path, max_shard_size=str(rng.choice(["10KB", "1GB"])))
        if version != "5":
            of_version_4(tmp_path, version)
        again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
        compare(tmp_path, again)
        for file in tmp_path.iterdir():
            file.unlink()


@pytest.mark.parametrize("seed", range(8))
def test_random_opts(seed, tmp_path):
    rng = np.random.default_rng(seed)
    made = transformers.OPTConfig(
        vocab_size=97,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=int(rng.choice([1, 4])),
        ffn_dim=int(rng.integers(5, 50)),
        max_position_embeddings=64,
        word_embed_proj_dim=int(rng.choice([16, 32])),
        do_layer_norm_before=bool(rng.integers(2)),
        _remove_final_layer_norm=bool(rng.integers(2)),
        enable_bias=bool(rng.integers(2)),
        layer_norm_elementwise_affine=bool(rng.integers(2)),
        activation_function=str(rng.choice(["relu", "gelu"])),
        tie_word_embeddings=bool(rng.integers(2)),
        dropout=0.0,
    )
    theirs = filled(transformers.OPTForCausalLM(made), seed)
    stored = getattr(torch, str(rng.choice(["float32", "bfloat16", "float16"])))
    inner = made.tie_word_embeddings and rng.integers(2)
    (theirs.model if inner else theirs).to(stored).save_pretrained(tmp_path, max_shard_size=str(rng.choice(["10KB", "1GB"])))
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    compare(tmp_path, again)
    second = tmp_path / "second"
    models.save_pretrained(second, *models.load_pretrained(tmp_path, dtype=jnp.float32))
    compare(tmp_path, transformers.AutoModelForCausalLM.from_pretrained(second).eval())


@pytest.mark.parametrize("name", ["opt", "llama"])
def test_bfloat16_stays_near(name, tmp_path):
    """Half-precision weights and computation: logits within some dozens of roundings of 2^-8 of their size."""
    config, (tokens, mask) = CONFIGS[name], texts()
    theirs = reference(config)
    theirs.save_pretrained(tmp_path)
    _, base = models.load_pretrained(tmp_path, dtype=jnp.bfloat16)
    ours = models.logits(config, {"base": base}, jnp.asarray(tokens), jnp.asarray(mask))
    assert ours.dtype == jnp.float32
    expected, kept = reference_logits(theirs, tokens, mask), mask.astype(bool)
    error = np.sqrt(np.mean((np.asarray(ours)[kept] - expected[kept]) ** 2))
    assert 0 < error < 8 * 2.0**-8 * np.sqrt(np.mean(expected[kept] ** 2))
