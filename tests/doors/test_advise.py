"""The doors of advice and of what it measures and computes with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory_lab as tl
from tests.doors.refusals import A_KEY, INF, KEY, LABELS, NAN, PROBLEM, cases, check_refusal
from theory_lab.advise import advise
from theory_lab.measure.smoothness import finite_sums, lookahead
from theory_lab.report.advice import draw
from theory_lab.theory import rounding

START = PROBLEM.init(KEY)
DATA = jnp.ones((3, 2))


def square(z, e):
    return jnp.sum((z["x"] - e) ** 2)


def made(loss=square, data=DATA, params=None, **options):
    return lambda: advise(loss, key=KEY, data=data, params={"x": jnp.zeros(2)} if params is None else params, **options)


def asked(**options):
    return lambda: advise(PROBLEM, **{"key": KEY, **options})


DOORS = {
    "advise": [
        (lambda: advise(3, key=KEY), "problem must be a Problem, or a loss(params, example) -> scalar, got 3"),
        (lambda: advise(PROBLEM, key=3), f"key must be {A_KEY}, got 3"),
        (asked(data=DATA), "data must be None where problem is a Problem, which has its own, got 'ArrayImpl'"),
        (lambda: advise(square, key=KEY, data=DATA), "params must be given where problem is a loss, got None"),
        (lambda: advise(square, key=KEY, params=START), "data must be given where problem is a loss, got None"),
        (asked(accuracy=0), "accuracy must be positive and finite, got 0"),
        (asked(accuracy=NAN), "accuracy must be positive and finite, got nan"),
        (asked(zeroth=("z",)), "zeroth must be one of 'x', 'y', got 'z'"),
        (asked(zeroth=("x", "x")), "zeroth must be labels that differ, got ('x', 'x')"),
        (
            made(loss=lambda z, e: jnp.sum(z["x"]) + z["w"]),
            "loss must be a function that reads nothing but the blocks ['x'] of params and the parts of one example, "
            "got KeyError('w')",
        ),
        (asked(zeroth=3), "zeroth must be some of the labels ('x', 'y'), or () for none, got 3"),
        (
            made(params={"w": jnp.zeros(2)}, loss=lambda z, e: jnp.sum(z["w"] - e)),
            "zeroth must be some of the labels ('w',), or () for none, where no block is called 'x' or 'base', got None",
        ),
        (asked(directions=0), "directions must be a whole number of at least 1, got 0"),
        (asked(law="normal"), "law must be one of 'gaussian', 'rademacher', 'sphere', got 'normal'"),
        (asked(sided=3), "sided must be 1 or 2, got 3"),
        (asked(sided=np.array([1])), "sided must be 1 or 2, got array([1])"),
        (
            asked(ordering="random"),
            "ordering must be one of 'random_reshuffling', 'shuffle_once', 'incremental', 'with_replacement', got 'random'",
        ),
        (asked(batch_size=0), "batch_size must be a whole number of at least 1, got 0"),
        (made(batch_size=4), "batch_size must be at most the number of components, 3, got 4"),
        (asked(products=0), "products must be a whole number of at least 1, got 0"),
        (asked(horizon=0), "horizon must be a whole number of at least 1, got 0"),
        (asked(probability=1), "probability must be in (0, 1), got 1"),
        (asked(points=3), "points must be a sequence of parameters, got 3"),
        (asked(points=[3]), f"points[0] must be {LABELS}, got 3"),
        (asked(params={"x": jnp.zeros(2)}), "params must have the labels of the problem ['x', 'y'], got ['x']"),
        (made(params={"x": np.zeros(2, int)}), "params['x'] must be float32 or float64, got 'int64'"),
        (
            made(loss=lambda z, e: z["x"] - e),
            "loss must be scalar and floating point, got ShapeDtypeStruct(shape=(2,), dtype=float64)",
        ),
        (made(loss=lambda z, e: jnp.sum(z["x"]) / 0), "the value of the problem at params must be finite, got nan"),
        (made(loss=lambda z, e: jnp.sum(jnp.sqrt(z["x"]))), "the gradient of the problem at params must be finite, got inf"),
        (
            made(loss=lambda z, e: jnp.sum(jnp.abs(z["x"]) ** 1.5), points=[{"x": jnp.ones(2)}]),
            "the Hessian of the problem at params must be finite, got nan",
        ),
    ],
    "figure": [(lambda: draw(3), "advice must be Advice, as advise(...) returns it, got 3")],
    "look-ahead": [
        (lambda: lookahead.look_ahead(PROBLEM.value, START, accuracy=-1), "accuracy must be positive and finite, got -1"),
        (
            lambda: lookahead.look_ahead(PROBLEM.value, START, accuracy=1, iterations=0),
            "iterations must be a whole number of at least 1, got 0",
        ),
        (
            lambda: lookahead.look_ahead(PROBLEM.value, START, accuracy=1, products=0),
            "products must be a whole number of at least 1, got 0",
        ),
    ],
    "components": [
        (lambda: finite_sums.component_hessians(3, START, [0]), "problem must be a Problem, got 3"),
        (lambda: finite_sums.component_gradients(3, START, [0]), "problem must be a Problem, got 3"),
        (lambda: finite_sums.dispersions(3, START, [0]), "problem must be a Problem, got 3"),
    ],
    "law of traces": [
        (lambda: rounding.law_of_traces(INF, 1.0, 2, 0.0), "trace must be a finite real number, got inf"),
        (lambda: rounding.law_of_traces(1.0, -1.0, 2, 0.0), "trace_of_square must be nonnegative and finite, got -1.0"),
        (lambda: rounding.law_of_traces(1.0, 1.0, 0, 0.0), "dimension must be a whole number of at least 1, got 0"),
        (lambda: rounding.law_of_traces(1.0, 1.0, 2, -1.0), "evaluation_error must be nonnegative and finite, got -1.0"),
    ],
}


@pytest.mark.parametrize("call, message", cases(DOORS))
def test_refused_by_name_rule_and_value(call, message):
    check_refusal(call, message)


def test_it_is_exported():
    assert tl.advise is advise
    assert jax.tree.leaves(tl.Advice) == [tl.Advice]
