"""Steps without a second copy: the iterates of the optax form, the bits of the weights, the memory."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import theory_lab as tl
from tests.models.zoo import CONFIGS, adapters, random_peft, texts
from theory_lab import models
from theory_lab.models import perturb
from theory_lab.models.layout import layer_shapes
from theory_lab.models.shift import shift, whole

RADIUS, STEP, EPS = 1e-2, 1e-4, float(np.finfo(np.float32).eps)
WAYS = {
    "gaussian": {},
    "rademacher, two-sided": {"law": "rademacher", "sided": 2},
    "three gaussians": {"directions": 3},
    "two gaussians, two-sided": {"directions": 2, "sided": 2},
}
ways = pytest.mark.parametrize("way", WAYS)


def start(name: str, kind: str | None, dtype=jnp.float32) -> tuple:
    """Configuration, adapter, parameters and a batch."""
    config = CONFIGS[name]
    base = jax.tree.map(lambda a: a * 5, models.init_base(jax.random.key(0), config, dtype))
    adapter = None if kind is None else adapters(config)[kind]
    params = {"base": base} if kind is None else {"base": base, "peft": random_peft(adapter, config)}
    tokens, mask = (jnp.asarray(a) for a in texts())
    loss = lambda params, batch: models.mean_loss(config, params, batch[0], batch[1], batch[1], adapter)
    return loss, params, (tokens, mask)


def close(fused: dict, plain: dict, begin: dict, steps: int) -> None:
    """Equal but for rounding: of two losses, of logits of up to 13, magnified by 1/radius in a slope, times directions of up
    to 5."""
    allowed = steps * STEP * 5 * 2 * 8 * EPS * 13 / RADIUS
    for new, old, first in zip(jax.tree.leaves(fused), jax.tree.leaves(plain), jax.tree.leaves(begin), strict=True):
        np.testing.assert_allclose(new, old, atol=allowed + 8 * EPS * float(jnp.abs(old).max()), rtol=0)
        assert float(jnp.abs(new - first).max()) > 20 * allowed  # they moved by far more


@ways
def test_zeroth_order_steps_are_those_of_oracle_and_optimizer(way):
    loss, begin, batch = start("opt" if way == "gaussian" else "llama", None)
    oracle, optimizer = tl.TwoPoint(RADIUS, stream="rows", **WAYS[way]), optax.sgd(STEP)
    fused_step = perturb.zo_step(loss, perturb.differences(RADIUS, **WAYS[way]), donate=False)
    fused, plain, state = begin, begin, optimizer.init(begin)

    @jax.jit
    def step(params, state, key):
        estimate = tl.Hybrid({"base": oracle})(lambda p: loss(p, batch), params, key)
        updates, state = optimizer.update(estimate.gradient, state, params)
        return optax.apply_updates(params, updates), state, estimate.value

    for i in range(3):
        key = jax.random.fold_in(jax.random.key(9), i)
        fused, _, value = fused_step(fused, (), batch, key, STEP)
        plain, state, expected = step(plain, state, key)
        assert float(value) == pytest.approx(float(expected), rel=1e-5)
    close(fused, plain, begin, 3)


@pytest.mark.parametrize("name, kind", [("opt-350m", "lora"), ("llama, grouped, linear", "prefix"), ("llama", "prompt")])
def test_hybrid_steps_are_those_of_oracle_and_optimizer(name, kind):
    loss, begin, batch = start(name, kind)
    oracle = tl.Hybrid({"base": tl.TwoPoint(RADIUS, stream="rows"), "peft": tl.FirstOrder()})
    inner = optax.sgd(1e-2, momentum=0.9)
    optimizer = tl.hybrid_sgd({"base": STEP, "peft": inner})
    fused_step = perturb.hybrid_step(loss, perturb.differences(RADIUS), inner, donate=False)
    fused, state = begin, inner.init(begin["peft"])
    plain, plain_state = begin, optimizer.init(begin)

    @jax.jit
    def step(params, state, key):
        estimate = oracle(lambda p: loss(p, batch), params, key)
        updates, state = optimizer.update(estimate.gradient, state, params)
        return optax.apply_updates(params, updates), state, estimate.value

    for i in range(3):
        key = jax.random.fold_in(jax.random.key(9), i)
        fused, state, value = fused_step(fused, state, batch, key, STEP)
        plain, plain_state, expected = step(plain, plain_state, key)
        assert float(value) == pytest.approx(float(expected), rel=1e-5)
    close(fused["base"], plain["base"], begin["base"], 3)
    for new, old in zip(jax.tree.leaves(fused["peft"]), jax.tree.leaves(plain["peft"]), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-5 * float(jnp.abs(old).max()))


def test_adapter_first_is_a_first_order_step_and_then_a_zeroth_order_step():
    loss, begin, batch = start("llama", "lora")
    how, optimizer, key = perturb.differences(RADIUS), optax.sgd(1e-2), jax.random.key(4)
    state = optimizer.init(begin["peft"])
    both, _, value = perturb.hybrid_step(loss, how, optimizer, order="adapter_first", donate=False)(
        begin, state, batch, key, STEP
    )
    first, _, expected = perturb.fo_step(loss, optimizer, donate=False)(begin, state, batch, key, STEP)
    then, _, _ = perturb.zo_step(loss, how, donate=False)(first, (), batch, key, STEP)
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    close(both["base"], then["base"], begin["base"], 1)
    for new, old, at in zip(*(jax.tree.leaves(tree["peft"]) for tree in (both, then, begin)), strict=True):
        moved = float(jnp.abs(old - at).max())
        assert moved > 0.01
        # gradients of two programs, summed over a thousand terms: 1,000 EPS of the largest
        np.testing.assert_allclose(new, old, atol=1000 * EPS * moved + EPS * float(jnp.abs(old).max()), rtol=0)
    simultaneous, _, _ = perturb.hybrid_step(loss, how, optimizer, donate=False)(begin, state, batch, key, STEP)
    with pytest.raises(AssertionError):
        close(both["base"], simultaneous["base"], begin["base"], 1)


@pytest.mark.parametrize("name, kind", [("opt-350m", "lora"), ("llama", "prefix"), ("opt", "prompt")])
def test_a_model_uses_shifted_arrays_as_the_sums_they_stand_for(name, kind):
    loss, params, batch = start(name, kind)
    moved = {block: shift(params[block], jax.random.key(i), 0.05) for i, block in enumerate(("base", "peft"))}
    found, expected = jax.jit(loss)(moved, batch), loss(whole(moved), batch)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    assert abs(float(loss(params, batch)) - float(expected)) > 1e-3


def test_an_adapter_may_be_the_zeroth_order_block():
    loss, begin, batch = start("llama", "lora")
    step = perturb.zo_step(loss, perturb.differences(1e-3, sided=2, directions=8), label="peft", donate=False)
    new, _, _ = step(begin, (), batch, jax.random.key(0), 3e-3)
    for a, b in zip(jax.tree.leaves(new["base"]), jax.tree.leaves(begin["base"]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert loss(new, batch) < loss(begin, batch)


@pytest.mark.optimized
def test_a_thousand_steps_of_size_zero_leave_every_bit():
    loss, begin, batch = start("opt", "lora", jnp.bfloat16)
    begin["base"]["layers"]["fc1"]["bias"] = begin["base"]["layers"]["fc1"]["bias"].at[0, :3].set(-0.0)
    bits = lambda tree: [np.asarray(leaf).view(np.uint16) for leaf in jax.tree.leaves(tree["base"])]
    before = [b.copy() for b in bits(begin)]
    step = perturb.hybrid_step(loss, perturb.differences(1e-2), optax.sgd(0.0), donate=False)

    @jax.jit
    def cycles(params):
        def one(carry, i):
            params, seen = carry
            new, _, value = step(
                params, (optax.EmptyState(), optax.EmptyState()), batch, jax.random.fold_in(jax.random.key(1), i), 0.0
            )
            return (new, jnp.maximum(seen, jnp.abs(value))), None

        return jax.lax.scan(one, (params, 0.0), jnp.arange(1000))[0]

    after, largest = cycles(begin)
    assert float(largest) > 1
    for a, b in zip(bits(after), before, strict=True):
        np.testing.assert_array_equal(a, b)


def memory(step, *arguments) -> int:
    """XLA's own analysis: bytes of temporaries."""
    return step.lower(*arguments).compile().memory_analysis().temp_size_in_bytes


class Sized:
    """A model of 8 layers and a batch of 16 texts of 64 tokens, by shapes alone: activations and layers both matter."""

    def __init__(self, kind: str):
        common = {"vocab_size": 2048, "hidden_size": 256, "num_hidden_layers": 8, "num_attention_heads": 4}
        llama = models.LlamaConfig(**common, num_key_value_heads=2, intermediate_size=512, max_position_embeddings=128)
        opt = models.OPTConfig(**common, ffn_dim=1024, max_position_embeddings=128)
        self.config, self.adapter = {"opt": opt, "llama": llama}[kind], models.lora()
        shaped = partial(jax.eval_shape)
        base = shaped(lambda key: models.init_base(key, self.config), jax.random.key(0))
        peft = shaped(lambda key: self.adapter.init(key, self.config), jax.random.key(0))
        self.base, self.both = {"base": base}, {"base": base, "peft": peft}
        self.batch = jax.ShapeDtypeStruct((16, 64), jnp.int32)
        self.rest = (self.batch, jax.random.key(0), jnp.float32(0))
        self.layer = sum(4 * math.prod(s) for m in layer_shapes(self.config).values() for s in m.values())

    def loss(self, params, batch, **options):
        adapter = self.adapter if "peft" in params else None
        return models.mean_loss(self.config, params, batch, jnp.ones_like(batch), adapter=adapter, **options)


@pytest.mark.optimized
@pytest.mark.parametrize("kind", ["opt", "llama"])
def test_memory_of_a_zeroth_order_step(kind):
    """Temporaries at most 1.15 times those of a forward pass and one layer; the update is in place."""
    sized = Sized(kind)
    forward = memory(jax.jit(sized.loss), sized.base, sized.batch)
    for options in ({}, {"sided": 2, "directions": 2, "law": "rademacher"}):
        step = perturb.zo_step(sized.loss, perturb.differences(1e-3, **options))
        assert memory(step, sized.base, (), *sized.rest) <= 1.15 * (forward + sized.layer)


@pytest.mark.optimized
@pytest.mark.parametrize("kind, remat", [("opt", False), ("opt", True), ("llama", False)])
def test_memory_of_a_hybrid_step(kind, remat):
    """Temporaries at most 1.05 times those of the first-order step of the adapter."""
    sized, optimizer = Sized(kind), optax.adam(1e-3)
    state = jax.eval_shape(optimizer.init, sized.both["peft"])
    loss = partial(sized.loss, remat=remat)
    twin = memory(perturb.fo_step(loss, optimizer), sized.both, state, *sized.rest)
    step = perturb.hybrid_step(loss, perturb.differences(1e-3), optimizer)
    assert memory(step, sized.both, state, *sized.rest) <= 1.05 * twin


@pytest.mark.parametrize("kind", ["opt", "llama"])
def test_the_backward_pass_keeps_no_cast_copy_of_the_base(kind):
    """Float32 parameters, half-precision computation: of the eight layers' copies that casting could leave, at most one.

    On two short texts, so that it is layers that need memory and not activations, which conversion costs some too."""
    sized, optimizer = Sized(kind), optax.sgd(1e-3)
    state, batch = jax.eval_shape(optimizer.init, sized.both["peft"]), jax.ShapeDtypeStruct((2, 16), jnp.int32)
    arguments = (sized.both, state, batch, *sized.rest[1:])
    wide, half = (memory(perturb.fo_step(partial(sized.loss, dtype=t), optimizer), *arguments) for t in (None, jnp.bfloat16))
    assert half <= wide + sized.layer
