"""Fine-tuning as a problem: its components by hand, its gradients by differences, the package's own loop on it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import theory_lab as tl
from tests.finetune.models import CONFIGS, QUESTIONS, problem
from theory_lab import models
from theory_lab.finetune.moving import moving
from theory_lab.finetune.problem import Batch, fine_tune
from theory_lab.finetune.scoring import answers

EPS = float(np.finfo(np.float32).eps)
ADAPTERS = {"none": None, "lora": models.lora(2), "prefix": models.prefix(3), "prompt": models.prompt(2)}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_component_is_the_mean_over_the_right_options_tokens(name, kind):
    one = problem(name, ADAPTERS[kind])
    params = one.init(jax.random.key(1))
    assert sorted(params) == (["base"] if kind == "none" else ["base", "peft"])
    right = QUESTIONS.right
    z = np.asarray(models.logits(one.config, params, right.tokens, right.present, one.adapter), np.float64)
    log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
    for i in range(one.n):
        places = np.flatnonzero(right.scored[i])
        assert len(places) == 1 + QUESTIONS.labels[i]  # " bad", " very great"
        by_hand = -np.mean([log_p[i, t - 1, right.tokens[i, t]] for t in places])
        assert float(one.component(params, jnp.int32(i))) == pytest.approx(by_hand, rel=100 * EPS)


def test_value_is_the_loss_of_all_examples_in_equal_parts():
    one = problem(adapter=models.lora(2))
    params = one.init(jax.random.key(1))
    batch = Batch(one.sequences, np.full(one.n, 1 / one.n, np.float32))
    assert float(one.loss(params, batch)) == pytest.approx(float(one.value(params)), rel=20 * EPS)
    assert float(one.loss(params, batch, last=2)) == pytest.approx(float(one.value(params)), rel=20 * EPS)  # " very great"


def test_value_and_gradient_in_parts_are_those_at_once(monkeypatch):
    """Two of five examples at a time, which leaves one over; of a base so small, all are evaluated at once."""
    one = problem(adapter=models.lora(2))
    part = moving(one, ["base", "peft"], jax.random.key(1))
    params = one.init(jax.random.key(1))
    whole = jax.value_and_grad(one.value)(params)
    assert one.at_once == part.at_once == one.n == 5
    width, layers = one.sequences.tokens.shape[-1], one.config.num_hidden_layers
    monkeypatch.setattr("theory_lab.finetune.problem.HELD", 2 * width * layers * one.config.hidden_size + 1)
    assert one.at_once == 2
    for each in (one, part):
        found = jax.value_and_grad(each.value)(params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=20 * EPS), found, whole)
    monkeypatch.setattr("theory_lab.finetune.problem.HELD", 1)
    assert one.at_once == 1


def test_a_gradient_in_parts_needs_the_memory_of_a_part(monkeypatch):
    """Of 64 times the examples, one at a time."""
    one = problem(adapter=models.lora(2))
    many = jax.tree.map(lambda a: np.tile(a, (64, 1)), one.sequences)
    large = dataclasses.replace(one, n=64 * one.n, sequences=many)
    params = one.init(jax.random.key(1))

    def held() -> int:
        compiled = jax.jit(lambda params: jax.grad(large.value)(params)).lower(params).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    whole = held()
    monkeypatch.setattr("theory_lab.finetune.problem.HELD", 1)
    assert held() < whole / 4


@pytest.mark.parametrize("label", ["base", "peft"])
def test_gradient_is_a_central_difference(label):
    """Along itself, where the slope is its norm. The softmax of attention is float32, whatever the parameters are."""
    one = problem(adapter=models.lora(2))
    params = one.init(jax.random.key(1))
    gradient = one.gradient(params)[label]
    norm, value, h = float(optax.tree.norm(gradient)), float(one.value(params)), 4e-4
    moved = lambda t: {**params, label: jax.tree.map(lambda a, g: a + t * g / norm, params[label], gradient)}
    slopes = [float(one.value(moved(t)) - one.value(moved(-t))) / (2 * t) for t in (h, h / 2)]
    extrapolated = (4 * slopes[1] - slopes[0]) / 3  # the error in h^2 is gone
    rounding = 10 * EPS * value / h
    assert extrapolated == pytest.approx(norm, rel=0, abs=5 / 3 * 2 * rounding)
    assert norm > 30 * rounding


@pytest.mark.parametrize("label", ["base", "peft"])
@pytest.mark.parametrize("kind", ["lora", "prefix", "prompt"])
def test_gradients_of_llama_are_central_differences_in_float64(kind, label):
    """Along a random direction, Llama having no kinks; with the error in h^2 removed, what is left of it shows at h / 2.

    Two heads share their keys; the adapter is random in all its parts, since at LoRA's start half of its gradient is 0.
    """
    config, wide = dataclasses.replace(CONFIGS["llama"], num_key_value_heads=1), jnp.float64
    normal = lambda key, tree, size: jax.tree.map(lambda a: size * jax.random.normal(key, a.shape, wide), tree)
    base = jax.tree.map(lambda a: a.astype(wide) * 5, models.init_base(jax.random.key(0), config, jnp.float32))
    one = fine_tune(config, base, QUESTIONS, ADAPTERS[kind])
    params = one.init(jax.random.key(1))
    params["peft"] = normal(jax.random.key(2), params["peft"], 0.3)
    value = float(one.value(params))
    gradient, v = one.gradient(params)[label], normal(jax.random.key(3), params[label], 1.0)
    v = jax.tree.map(lambda a: a / optax.tree.norm(v), v)
    along = jax.jit(lambda t: one.value({**params, label: jax.tree.map(lambda a, b: a + t * b, params[label], v)}))
    slope = lambda h: float(along(h) - along(-h)) / (2 * h)
    third = lambda h: (4 * slope(h / 2) - slope(h)) / 3
    h, expected = 1e-3, float(optax.tree.vdot(gradient, v))
    error = abs(third(h) - third(h / 2)) + 20 * float(np.finfo(np.float64).eps) * value / h
    assert third(h / 2) == pytest.approx(expected, rel=0, abs=error)
    assert abs(expected) > 1e4 * error


def test_checkpointed_gradients_are_the_same():
    plain, remat = problem(adapter=models.lora(2)), problem(adapter=models.lora(2), remat=True)
    params = plain.init(jax.random.key(1))
    for a, b in zip(jax.tree.leaves(plain.gradient(params)), jax.tree.leaves(remat.gradient(params)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=100 * EPS)


def test_the_loop_of_the_package_runs_it():
    one = problem(adapter=models.lora(2))
    oracle = tl.Hybrid({"base": tl.TwoPoint(1e-3), "peft": tl.FirstOrder()})
    optimizer = tl.hybrid_sgd({"base": 1e-6, "peft": optax.sgd(0.5)})
    trace = tl.run(one, oracle, optimizer, epochs=4, key=jax.random.key(0), batch_size=2)
    assert float(trace.value[-1]) < 0.8 * float(trace.value[0])


@pytest.mark.parametrize("kind", ADAPTERS)
def test_answers_are_those_of_the_logits(kind):
    one = problem(adapter=ADAPTERS[kind])
    params = one.init(jax.random.key(1))
    expected = answers(lambda t, p: models.logits(one.config, params, t, p, one.adapter), QUESTIONS)
    given = one.answers(params, QUESTIONS, batch_size=3)
    np.testing.assert_allclose(given.scores, expected.scores, rtol=100 * EPS)
    assert given.predicted.tolist() == expected.predicted.tolist()


def test_half_precision_computes_in_half_precision():
    one, half = problem(), problem(dtype="bfloat16")
    params = one.init(jax.random.key(1))
    a, b = (float(p.value(params)) for p in (one, half))
    assert a != b
    assert a == pytest.approx(b, rel=0.05)
