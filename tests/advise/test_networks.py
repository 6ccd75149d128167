"""Advice for a network beyond the size where matrices fit: its curvature is indefinite, and its components differ."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory_lab as tl
from theory_lab.advise import advise, seeing
from theory_lab.advise.seeing import LONG
from theory_lab.measure.smoothness import lookahead
from theory_lab.problems import block_quadratic

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


def test_where_the_look_ahead_finds_nothing_lower_the_start_is_looked_at_once(advised):
    problem = perceptron("float64")
    start = problem.init(jax.random.key(0))
    with pytest.MonkeyPatch.context() as patch:
        stays = lambda *_: lookahead.Ahead(start, float(problem.value(start)), 1.0, False, 50, 2)
        patch.setattr(seeing, "_ahead", stays)
        found = advise(problem, key=jax.random.key(1))
    told = {reason.quantity: reason.why for reason in found.reasons}
    assert "as curvature is indefinite and no horizon was given; the start)" in told["limit of the step size of x"]
    assert "negative curvature, down to -" in told["limit of the step size of x"]
    assert "at the start, below which the look-ahead found nothing" in told["steps"]
    assert found.limits["x"].samples == 1
    twice = advised["float64", 1].spent
    assert found.spent["component products"] == twice["component products"] / 2
    assert found.spent["products"] < twice["products"]


def test_a_start_at_the_minimum_has_its_time_from_there():
    """Nothing there is taken for what is not finite."""
    problem = block_quadratic({"x": 250, "y": 2}, n=4, dispersion=1.0)
    found = advise(problem, key=jax.random.key(0), params=problem.optimum, accuracy=1e-2)
    assert math.isfinite(found.limits["x"].value)
    (steps,) = [reason.why for reason in found.reasons if reason.quantity == "steps"]
    assert "the Hessian at the start, below which the look-ahead found nothing" in steps


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
