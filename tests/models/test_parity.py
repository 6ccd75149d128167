"""Against transformers: the same folder, the same logits. (Extra "parity"; skipped without it.)"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.reference import check_same, reference, reference_logits, torch, transformers
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
