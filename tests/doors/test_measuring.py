"""The doors of what measures a function at a point: each of them refuses the same bad input in the same words."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.doors.refusals import A_KEY, INF, KEY, KEYS, LABELS, NAN, PROBLEM, cases, check_refusal
from theory_lab.measure import smoothness
from theory_lab.measure.smoothness import minibatches

POINT = {"x": jnp.ones(3), "y": jnp.ones(2)}
ONES = {"x": 1.0, "y": 1.0}


def bowl(z):
    return jnp.sum(z["x"] ** 2) + jnp.sum(z["y"] ** 2)


class Unhashable:
    __hash__ = None

    def __call__(self, z):
        return bowl(z)

    def __repr__(self):
        return "Unhashable()"


@dataclass
class Strange:
    """No pytree, and so no block."""


ALL = {
    "extreme_eigenvalues": smoothness.extreme_eigenvalues,
    "trace": smoothness.trace,
    "effective_rank": smoothness.effective_rank,
    "margin": functools.partial(smoothness.margin, smoothness=ONES),
    "frontier": functools.partial(smoothness.frontier, scales=[ONES]),
    "partner": functools.partial(smoothness.partner, given={"x": 1.0}, label="y"),
    "best_scales": functools.partial(smoothness.best_scales, weights=ONES),
    "cross_norm": functools.partial(smoothness.cross_norm, pair=("x", "y")),
    "spectral_density": smoothness.spectral_density,
    "growth": lambda fn, params, **options: smoothness.growth(fn, [params], **options),
    "heterogeneity": smoothness.heterogeneity,
}
BENDS = "twice differentiable, forward over reverse (a GPU's attention in half precision is not)"


def while_it_is_small(z):
    return jax.lax.while_loop(lambda x: x < 100, lambda x: 2 * x, jnp.sum(z["x"]))


SCALAR = "fn must be a function with a floating-point scalar value, got "
NUMBERS = "arrays of numbers"
BAD = {
    "fn": [
        (3, "fn must be a function of the parameters, got 3"),
        (Unhashable(), "fn must be hashable (a function or a lambda around it), got Unhashable()"),
        (lambda z: z["x"] * 2.5, f"{SCALAR}Array([2.5, 2.5, 2.5], dtype=float64)"),
        (lambda z: jnp.sum(z["x"] > 0), f"{SCALAR}Array(3, dtype=int64)"),
        (lambda z: jnp.sum(z["x"]) * 1j, f"{SCALAR}Array(0.+3.j, dtype=complex128)"),
        (lambda z: jnp.log(jnp.sum(z["x"]) - 5), "fn(params) must be finite, got nan"),
        (lambda z: 1 / (jnp.sum(z["x"]) - 3), "fn(params) must be finite, got inf"),
        (while_it_is_small, f"fn must be {BENDS}, got {while_it_is_small!r}"),
    ],
    "params": [
        ([1.0], f"params must be {LABELS}, got [1.0]"),
        ({}, f"params must be {LABELS}, got {{}}"),
        ({1: 1.0}, f"params must be {LABELS}, got {{1: 1.0}}"),
        ({**POINT, "x": jnp.arange(3)}, "params['x'] must be float32 or float64, got 'int64'"),
        ({**POINT, "x": jnp.ones(3, bool)}, "params['x'] must be float32 or float64, got 'bool'"),
        ({**POINT, "x": jnp.ones(3, complex)}, "params['x'] must be float32 or float64, got 'complex128'"),
        ({**POINT, "x": jnp.ones(3, jnp.float16)}, "params['x'] must be float32 or float64, got 'float16'"),
        ({**POINT, "y": {"a": jnp.ones(3, jnp.bfloat16)}}, "params['y']['a'] must be float32 or float64, got 'bfloat16'"),
        ({**POINT, "x": jnp.array([1.0, NAN])}, f"params['x'] must be finite, got {jnp.array([1.0, NAN])!r}"),
        ({**POINT, "x": [1.0, INF]}, "params['x'][1] must be finite, got Array(inf, dtype=float64)"),
        ({**POINT, "x": None}, "params['x'] must be of dimension at least 1, got None"),
        ({**POINT, "x": {}}, "params['x'] must be of dimension at least 1, got {}"),
        ({**POINT, "x": ["a"]}, f"params['x'] must be {NUMBERS}, got ['a']"),
        ({**POINT, "x": Strange()}, f"params['x'] must be {NUMBERS}, got Strange()"),
    ],
    "key": [
        (0, f"key must be {A_KEY}, got 0"),
        (KEYS, "key must be a single key, got 'an array of keys of shape (3,)'"),
    ],
    "args": [
        (3, "args must be a tuple of arrays, got 3"),
        (("a",), "args must be a tuple of arrays, got ('a',)"),
    ],
}
COUNTED = {"iterations": [0, 2.5, True], "probability": [0, 1, 95, NAN]}
RULES = {"iterations": "a whole number of at least 1", "probability": "in (0, 1)"}
WITHOUT = {"trace": {"iterations", "probability"}, "spectral_density": {"probability"}}


def asked(measure, **given):
    call = {"fn": bowl, "params": POINT, "key": KEY, **given}
    return lambda: measure(call.pop("fn"), call.pop("params"), **call)


EVERYWHERE = {
    f"{measure} {name}": [(asked(ALL[measure], **{name: value}), message) for value, message in some]
    for measure in ALL
    for name, some in BAD.items()
}
OPTIONS = {
    f"{measure} {name}": [
        (asked(ALL[measure], **{name: value}), f"{name} must be {RULES[name]}, got {value!r}") for value in values
    ]
    for measure in ALL
    for name, values in COUNTED.items()
    if name not in WITHOUT.get(measure, ())
}
MISMATCH = "must have the labels of the parameters ['x', 'y'], got"


OWN = {
    "labels": [
        (asked(smoothness.extreme_eigenvalues, block="z"), "block must be one of 'x', 'y', got 'z'"),
        (asked(smoothness.trace, block=3), "block must be one of 'x', 'y', got 3"),
        (asked(smoothness.effective_rank, scaling={"x": 1.0}), f"scaling {MISMATCH} ['x']"),
        (asked(smoothness.margin, smoothness={"x": 1.0}), f"smoothness {MISMATCH} ['x']"),
        (asked(smoothness.margin, smoothness={**ONES, "z": 1.0}), f"smoothness {MISMATCH} ['x', 'y', 'z']"),
        (asked(smoothness.margin, smoothness=1.0), f"smoothness must be {LABELS}, got 1.0"),
        (asked(smoothness.margin, smoothness=None), f"smoothness must be {LABELS}, got None"),
        (asked(smoothness.frontier, scales=[None]), f"scales[0] must be {LABELS}, got None"),
        (asked(smoothness.frontier, scales=[{"y": 1.0}]), f"scales[0] {MISMATCH} ['y']"),
        (asked(smoothness.best_scales, weights={"y": 1.0}), f"weights {MISMATCH} ['y']"),
        (asked(smoothness.best_scales, weights=2.0), f"weights must be {LABELS}, got 2.0"),
        (asked(smoothness.partner, given={"z": 1.0}, label="y"), f"given and label {MISMATCH} ['y', 'z']"),
        (asked(smoothness.cross_norm, pair=("x", "z")), "pair must be one of 'x', 'y', got 'z'"),
        (asked(smoothness.cross_norm, pair="xy"), "pair must be two different labels, got 'xy'"),
    ],
    "numbers": [
        (asked(smoothness.margin, smoothness={**ONES, "y": 0.0}), "smoothness['y'] must be positive and finite, got 0.0"),
        (asked(smoothness.margin, smoothness={**ONES, "y": NAN}), "smoothness['y'] must be positive and finite, got nan"),
        (asked(smoothness.frontier, scales=[{**ONES, "x": INF}]), "scales[0]['x'] must be positive and finite, got inf"),
        (
            lambda: minibatches.sampled_extremes(PROBLEM, PROBLEM.init(KEY), key=KEY, batch_size=5),
            "batch_size must be at most the number of components, 4, got 5",
        ),
        (
            lambda: minibatches.sampled_trace(PROBLEM, PROBLEM.init(KEY), key=KEY, batch_size=5),
            "batch_size must be at most the number of components, 4, got 5",
        ),
        (
            lambda: minibatches.sampled_extremes(PROBLEM, PROBLEM.init(KEY), key=KEY, batch_size=2**31),
            f"batch_size must be at most the number of components, 4, got {2**31}",
        ),
        (
            lambda: minibatches.sampled_trace(PROBLEM, PROBLEM.init(KEY), key=KEY, batches=2**31),
            f"batches must be a whole number below 2^20, got {2**31}",
        ),
        (
            lambda: minibatches.sampled_extremes(PROBLEM, PROBLEM.init(KEY), key=KEY, batches=2**31),
            f"batches must be a whole number below 2^20, got {2**31}",
        ),
        (asked(smoothness.spectral_density, starts=2**31), f"starts must be a whole number below 2^20, got {2**31}"),
        (asked(smoothness.frontier, scales=[]), "the number of scales must be a whole number of at least 1, got 0"),
        (asked(smoothness.frontier, scales=[ONES], two_sided=1), "two_sided must be True or False, got 1"),
        (asked(smoothness.best_scales, weights={**ONES, "x": -1.0}), "weights['x'] must be positive and finite, got -1.0"),
        (asked(smoothness.best_scales, weights=ONES, rounds=0), "rounds must be a whole number of at least 1, got 0"),
        (asked(smoothness.best_scales, weights=ONES, tolerance=0), "tolerance must be positive and finite, got 0"),
        (asked(smoothness.best_scales, weights=ONES, two_sided="no"), "two_sided must be True or False, got 'no'"),
        (asked(smoothness.partner, given={"x": INF}, label="y"), "given['x'] must be positive and finite, got inf"),
        (
            asked(smoothness.partner, given={"x": 1.0}, label="y", tolerance=-1),
            "tolerance must be positive and finite, got -1",
        ),
        (asked(smoothness.heterogeneity, products=0), "products must be a whole number of at least 1, got 0"),
        (asked(smoothness.effective_rank, products=0), "products must be a whole number of at least 1, got 0"),
        (
            lambda: smoothness.growth(bowl, POINT, key=KEY),
            f"points must be a non-empty sequence of parameters, got {POINT!r}",
        ),
        (
            lambda: smoothness.growth(bowl, [POINT, {"x": POINT["x"]}], key=KEY),
            "points[1] must be of the labels and shapes of points[0], {'x': (3,), 'y': (2,)}, got {'x': (3,)}",
        ),
    ],
}


@pytest.mark.parametrize("call, message", [*cases(EVERYWHERE), *cases(OPTIONS), *cases(OWN)])
def test_bad_input_is_refused_by_name_rule_and_value(call, message):
    check_refusal(call, message)


@pytest.mark.parametrize(
    "fn", [lambda z: float(z["x"][0]), lambda z: z["x"][0] if z["x"][0] > 0 else 0.0, lambda z: np.linalg.norm(z["x"])]
)
def test_what_jax_cannot_trace_is_refused(fn):
    with pytest.raises(ValueError, match=r"^fn must be a function that JAX can trace, got <function") as caught:
        smoothness.margin(fn, POINT, ONES, key=KEY)
    assert isinstance(caught.value.__cause__, jax.errors.JAXTypeError)
