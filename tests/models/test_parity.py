"""Against transformers: the same folder, the same logits. (Extra "parity"; skipped without it.)"""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.reference import check_same, reference, reference_logits, transformers
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
