"""What must hold of the transformer whatever its numbers are."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.zoo import CONFIGS, T, adapters, random_peft, texts
from theory_lab import models
from theory_lab.models import backend, layers, likelihood
from theory_lab.models.causal import causal_attention
from theory_lab.models.layers import relu
from theory_lab.models.transformer import LEAN

configs = pytest.mark.parametrize("name", ["opt", "opt-350m", "llama, grouped, linear"])


def base_of(name: str, scale: float = 5.0) -> dict:
    return jax.tree.map(lambda a: a * scale, models.init_base(jax.random.key(2), CONFIGS[name]))


def near(found, expected, kept=slice(None)) -> None:
    """The same by two ways in float32: equal to 1e-4 of the largest number of the tree, as with transformers."""
    size = max(np.abs(np.asarray(leaf)[kept]).max() for leaf in jax.tree.leaves(expected))
    assert size > 0
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(a)[kept], np.asarray(b)[kept], atol=1e-4 * size, rtol=0)


@configs
def test_log_probs_are_those_of_the_logits_in_whatever_parts(name, monkeypatch):
    config, params, (tokens, mask) = CONFIGS[name], {"base": base_of(name)}, map(jnp.asarray, texts())
    logits = models.logits(config, params, tokens, mask)
    expected = jnp.take_along_axis(jax.nn.log_softmax(logits[:, :-1]), tokens[:, 1:, None], axis=-1)[..., 0]
    near(models.log_probs(config, params, tokens, mask), expected)
    gradient = jax.grad(lambda p: models.mean_loss(config, p, tokens, mask, mask))(params)
    monkeypatch.setattr(likelihood, "VOCABULARY_PART", 30)  # 97 = 3 * 30 + 7
    near(models.log_probs(config, params, tokens, mask), expected)
    near(models.log_probs(config, params, tokens, mask, last=3), expected[:, -3:])
    again = jax.grad(lambda p: models.mean_loss(config, p, tokens, mask, mask))(params)
    near(again, gradient)


@configs
def test_the_loss_is_the_weighted_mean(name):
    config, params, (tokens, mask) = CONFIGS[name], {"base": base_of(name)}, map(jnp.asarray, texts())
    weights = jnp.where(jnp.arange(T) % 3 == 0, 0.5, 2.0) * mask
    each = models.log_probs(config, params, tokens, mask)
    expected = -(each * weights[:, 1:]).sum() / weights[:, 1:].sum()
    assert float(models.mean_loss(config, params, tokens, weights, mask)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("part", [256, 9, 1])  # of 3 texts of 7 tokens: all of them, two parts and a half of 3, each alone
def test_a_loss_that_is_made_with_its_gradient_has_that_of_the_plain_one(part, monkeypatch):
    """To heads, table and weights, by value and by curvature along a direction; a token of weight 0 is left out."""
    monkeypatch.setattr(likelihood, "TOKENS_PART", part)
    rng = np.random.default_rng(0)
    h, table, weights = (jnp.asarray(rng.normal(size=shape)) for shape in ((3, 7, 5), (11, 5), (3, 7)))
    targets, weights = jnp.asarray(rng.integers(0, 11, (3, 7))), weights.at[1, 2].set(0.0)

    def plain(h, table, weights):
        each = jax.nn.log_softmax(h @ table.T)
        return jnp.sum(weights * jnp.take_along_axis(each, targets[..., None], axis=-1)[..., 0])

    def ours(h, table, weights):
        return likelihood.total_log_p(h, table, targets, weights)

    given, moved = (h, table, weights), (jnp.cos(h), jnp.cos(table), 0 * weights)
    for which in ((0,), (1,), (0, 1), (0, 1, 2)):
        slopes = [jax.value_and_grad(f, which) for f in (ours, plain)]
        along = [jax.jvp(slope, given, moved) for slope in slopes]
        each = [jax.vmap(slope, (0, None, None))(jnp.stack([h, -h]), table, weights) for slope in slopes]
        for one, other in (*zip(*map(jax.tree.leaves, along), strict=True), *zip(*map(jax.tree.leaves, each), strict=True)):
            there = one != 0 if one.shape[-2:] == weights.shape else jnp.full(one.shape, True)  # the weight 0 has no slope
            np.testing.assert_allclose(one, jnp.where(there, other, 0), rtol=1e-10, atol=1e-12)
            assert float(jnp.sum(~there)) <= 2


@pytest.mark.parametrize("name, kind", [
    ("opt", None), ("opt", "lora"), ("opt", "prefix"), ("opt", "prompt"), ("opt-350m", "prompt"),
    ("llama, grouped, linear", None), ("llama, grouped, linear", "lora"),
])  # fmt: skip
def test_the_side_of_the_padding_does_not_matter(name, kind):
    config, base = CONFIGS[name], base_of(name)
    adapter = adapters(config)[kind] if kind else None
    params = {"base": base, "peft": random_peft(adapter, config)} if kind else {"base": base}
    (right, right_mask), (left, left_mask) = texts("right"), texts("left")
    of = lambda tokens, mask: np.asarray(models.logits(config, params, jnp.asarray(tokens), jnp.asarray(mask), adapter))
    near(of(left, left_mask)[left_mask.astype(bool)], of(right, right_mask)[right_mask.astype(bool)])


@pytest.mark.optimized
@configs
def test_no_token_sees_the_next_one(name):
    config, params = CONFIGS[name], {"base": base_of(name)}
    tokens = texts()[0][:1]
    changed = tokens.copy()
    changed[0, 7] = (changed[0, 7] + 1) % 97
    a, b = (models.logits(config, params, jnp.asarray(t))[0] for t in (tokens, changed))
    np.testing.assert_array_equal(a[:7], b[:7])
    assert float(jnp.abs(a[7:] - b[7:]).max(axis=1).min()) > 1e-3


@configs
@pytest.mark.parametrize("targets", ["lora", "lora, stabilised, many targets"])
def test_a_fresh_lora_changes_nothing_and_a_merged_one_is_in_the_base(name, targets):
    config, base, (tokens, mask) = CONFIGS[name], base_of(name), map(jnp.asarray, texts())
    adapter = adapters(config)[targets]
    fresh = adapter.init(jax.random.key(0), config, base)
    plain = models.logits(config, {"base": base}, tokens, mask)
    near(models.logits(config, {"base": base, "peft": fresh}, tokens, mask, adapter), plain)
    with jax.disable_jit():  # operation by operation, where a compiler does not choose another order of the same sums
        exact = models.logits(config, {"base": base, "peft": fresh}, tokens, mask, adapter)
        np.testing.assert_array_equal(exact, models.logits(config, {"base": base}, tokens, mask))
    trained = {"base": base, "peft": random_peft(adapter, config)}
    adapted = models.logits(config, trained, tokens, mask, adapter)
    assert float(jnp.abs(adapted - plain).max()) > 0.1
    near(models.logits(config, {"base": adapter.merge(trained)}, tokens, mask), adapted)


def test_lora_starts_as_its_law_says():
    config = CONFIGS["opt"]
    adapter = models.lora(rank=64, targets=("fc1", "fc2"))
    start = adapter.init(jax.random.key(0), config)
    for pair, inside in ((start["fc1"], 32), (start["fc2"], 48)):
        assert not pair["lora_B"].any()
        size = pair["lora_A"].size
        assert float(jnp.abs(pair["lora_A"]).max()) <= inside**-0.5
        variance = float(jnp.mean(pair["lora_A"] ** 2))  # of U(-b, b): b^2/3, of its square 4 b^4/45
        assert variance == pytest.approx(1 / (3 * inside), abs=5 * (4 / 45 / size) ** 0.5 / inside)


@configs
@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_virtual_tokens_of_real_ones_stand_for_them(name, kind):
    """Started from real tokens, prefix and prompt give what the model gives after those tokens."""
    config, base, (tokens, _) = CONFIGS[name], base_of(name), map(jnp.asarray, texts())
    adapter, first = adapters(config)[kind], [5, 9]
    count = adapter.virtual_tokens  # 3 or 4, so that the given ones are repeated
    peft = adapter.init(jax.random.key(0), config, base, tokens=first)
    real = jnp.broadcast_to(jnp.asarray(np.resize(first, count)), (len(tokens), count))
    expected = models.logits(config, {"base": base}, jnp.concatenate([real, tokens], axis=1))[:, count:]
    near(models.logits(config, {"base": base, "peft": peft}, tokens, None, adapter), expected)
    again = adapter.init(jax.random.key(0), config, base)  # random tokens: some of the vocabulary
    assert jax.tree.map(jnp.shape, again) == jax.tree.map(jnp.shape, peft)


@configs
def test_recomputing_layers_changes_no_gradient(name):
    config, params, (tokens, mask) = CONFIGS[name], {"base": base_of(name)}, map(jnp.asarray, texts())
    loss = lambda params, remat: models.mean_loss(config, params, tokens, mask, mask, remat=remat)
    keeping = [jax.jit(jax.grad(partial(loss, remat=remat)))(params) for remat in (False, True, LEAN)]
    for again in keeping[1:]:
        near(again, keeping[0])


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("width", [24, 6])
def test_relu_has_the_derivatives_of_a_maximum(width, packed, monkeypatch):
    """Those of `jax.nn.relu`, 0 at 0, forward and backward, whether the signs are packed and fill whole bytes or not."""
    monkeypatch.setattr(backend, "cpu", lambda: not packed)
    x = jax.random.normal(jax.random.key(0), (3, width)).at[0, :2].set(0.0)
    t = jax.random.normal(jax.random.key(1), x.shape)
    for ours, theirs in zip(jax.jvp(relu, (x,), (t,)), jax.jvp(jax.nn.relu, (x,), (t,)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    square = lambda f: jax.grad(lambda x: jnp.sum(f(x) ** 2 * t))(x)
    np.testing.assert_array_equal(square(relu), square(jax.nn.relu))


@configs
def test_second_derivatives_are_those_of_the_plain_functions(name, monkeypatch):
    """Forward over reverse through the loss, the logits and the cut at 0, whose first derivatives have own rules."""
    config, base, (tokens, mask) = CONFIGS[name], base_of(name), map(jnp.asarray, texts())
    base = jax.tree.map(lambda a: a.astype(float), base)
    slope = jax.grad(lambda base: models.mean_loss(config, {"base": base}, tokens, mask, mask))
    product = lambda: jax.jvp(slope, (base,), (base,))[1]
    ours = product()
    monkeypatch.setattr(backend, "cpu", lambda: False)
    monkeypatch.setattr(layers, "_attended", causal_attention)  # the other's softmax is in float32
    elsewhere = product()
    monkeypatch.setattr(likelihood, "scored", lambda h, rows: jnp.einsum("bte,ve->btv", h, rows))
    monkeypatch.setattr(layers, "relu", jax.nn.relu)
    expected = product()
    size = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))  # biases of keys have 0 and rounding
    for one, two, other in zip(*map(jax.tree.leaves, (ours, elsewhere, expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12 * size)
        np.testing.assert_allclose(two, other, rtol=1e-10, atol=1e-12 * size)
    assert size > 0


@pytest.mark.parametrize("signs", [8, 1])
def test_an_adapters_backward_pass_keeps_what_is_named_and_nothing_else(signs, monkeypatch):
    """By the residuals of the scan over layers: the stream twice, queries, values, a bit of each number inside or a byte."""
    monkeypatch.setattr(backend, "cpu", lambda: signs == 1)
    config = CONFIGS["opt"]
    adapter = models.lora()
    params = {"base": base_of("opt"), "peft": adapter.init(jax.random.key(0), config)}
    tokens = jnp.ones((2, 8), jnp.int32)
    loss = lambda peft: models.mean_loss(config, {**params, "peft": peft}, tokens, tokens, None, adapter, remat=LEAN)
    scans = [e for e in jax.make_jaxpr(jax.grad(loss))(params["peft"]).eqns if e.primitive.name == "scan"]
    forward = next(e for e in scans if e.params["length"] == config.num_hidden_layers and not e.params["reverse"])
    stacked = [v.aval for v in forward.outvars if v.aval.shape[0] == config.num_hidden_layers]  # not the stream at its end
    kept = sum(a.size * a.dtype.itemsize for a in stacked)
    assert kept == config.num_hidden_layers * tokens.size * (4 * 4 * config.hidden_size + config.ffn_dim // signs)


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_survive_their_file(name):
    config = CONFIGS[name]
    assert models.config_from_json(models.config_to_json(config)) == config


def test_rope_settings_of_transformers_5():
    stored = models.config_to_json(CONFIGS["llama, grouped, linear"])
    stored["rope_parameters"] = {**stored.pop("rope_scaling"), "rope_theta": stored.pop("rope_theta")}
    assert models.config_from_json(stored) == CONFIGS["llama, grouped, linear"]
