"""Advice for a network beyond the size where matrices fit: its curvature is indefinite, and its components differ."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory_lab as tl
from theory_lab.advise import advise
from theory_lab.advise.seeing import LONG

INPUTS, HIDDEN, EXAMPLES = 9, 20, 48


def perceptron(dtype):
    """One hidden layer of 200 weights and offsets, which two points estimate, and 21 of the last one."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((EXAMPLES, INPUTS))
    data = {"inputs": inputs, "targets": np.tanh(inputs[:, 0]) + inputs[:, 1] / 2 + 0.1 * rng.standard_normal(EXAMPLES)}
    start = {
        "x": {"w": rng.standard_normal((INPUTS, HIDDEN)) / 3, "b": np.zeros(HIDDEN)},
        "y": {"w": rng.standard_normal(HIDDEN) / np.sqrt(HIDDEN), "b": np.zeros(())},
    }

    def loss(params, example):
        hidden = jnp.tanh(example["inputs"] @ params["x"]["w"] + params["x"]["b"])
        return 0.5 * (hidden @ params["y"]["w"] + params["y"]["b"] - example["targets"]) ** 2

    cast = lambda tree: jax.tree.map(lambda a: jnp.asarray(a, dtype), tree)
    return tl.finite_sum(loss, cast(data), cast(start))


@pytest.fixture(scope="module")
def advised():
    """By width of the numbers and by sample of the components."""
    problems = {dtype: perceptron(dtype) for dtype in ("float32", "float64")}
    keys = {("float64", 1), ("float64", 2), ("float32", 1)}
    return {(dtype, i): advise(problems[dtype], key=jax.random.key(i)) for dtype, i in keys}


def test_neither_the_width_of_numbers_nor_the_sample_of_components_matters_much(advised):
    for label in "xy":
        found = [advice.step_sizes[label] for advice in advised.values()]
        assert max(found) < 1.6 * min(found)


def test_a_horizon_is_assumed_and_told(advised):
    advice = advised["float64", 1]
    (limit,) = [reason for reason in advice.reasons if reason.quantity == "limit of the step size of x"]
    assert limit.statement.startswith("measured conjecture")
    assert f"within {LONG} steps, as curvature is indefinite and no horizon was given" in limit.why
    assert "the horizon: within four times as many steps" in limit.changes
    assert math.isnan(advice.steps)
    (steps,) = [reason for reason in advice.reasons if reason.quantity == "steps"]
    assert "negative curvature" in steps.why


def test_for_ever_is_asked_for_by_name(advised):
    endless = advise(perceptron("float64"), key=jax.random.key(1), horizon=math.inf)
    assert endless.limits["x"].value < advised["float64", 1].limits["x"].value / 1.5
    assert "within" not in endless.limits["x"].note


def test_the_advised_pair_is_nearly_as_good_as_any_on_its_ray(advised):
    """The loss after some thousand steps, against the least over two octaves either side."""
    advice, problem = advised["float64", 1], perceptron("float64")
    times = 2.0 ** np.arange(-2, 3)
    trace = tl.sweep(
        problem, advice.oracle(), tl.hybrid_sgd, epochs=60, keys=jax.random.split(jax.random.key(7), 8), log_epochs=[0, 60],
        step_sizes={label: eta * times for label, eta in advice.step_sizes.items()},
    )  # fmt: skip
    ends = np.asarray(trace.value)[..., -1].mean(axis=1)
    assert ends[2] < 1.25 * ends.min()
    assert ends[2] < 0.2 * float(problem.value(problem.init(jax.random.key(0))))
