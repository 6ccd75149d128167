"""The doors of the tools: families of measurements, particles, tails, spectra, groups, orders of updates, the chain."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory_lab as tl
from tests.doors.refusals import INF, KEY, KEYS, LABELS, NAN, NUMBERS, PROBLEM, cases, check_refusal
from theory_lab.measure import family, particles, reach
from theory_lab.measure.tail import quantile_slope
from theory_lab.oracles.progress import Progress
from theory_lab.problems.chain import chain
from theory_lab.theory import averages, dynamics, kesten, separable, spectra, update_order

ONE = tl.Measurement("m", 1.0, 0.9, 1.1, 64)
LAW = {"curvature": 1.0, "dispersion": 1.0, "initial_gap": 1.0, "n": 2, "epochs": 2, "ordering": "with_replacement"}
GROUPS = separable.groups([1.0, 2.0], [3, 4])
STEP = separable.recursion(GROUPS, [0.1, 0.1])
MODEL = dynamics.shared_quadratic(np.eye(2), 1, (0.1, 0.1))
SIZES = {"x": [0.1, 0.2], "y": [0.1, 0.2]}
CHAIN = chain(4)
NESTED = replace(PROBLEM, optimum={"x": {"inner": jnp.zeros(2)}, "y": jnp.zeros(2)})
MEASURED = "measurements (of type Measurement)"
PER_GROUP = "2 nonnegative numbers, one per group"
OWNERS = "2 of the numbers 0 and 1, one per group, 0 among them"
SAMPLES = "a one-dimensional array of at least two positive numbers"
INCREASING = "at least two positive and increasing numbers"


def growths(problem=PROBLEM, oracle=None, step_sizes=None, **options):
    given = {"distance": 1e-5, "particles": 4, "steps": 4, **options}
    oracle = tl.FirstOrder() if oracle is None else oracle
    return lambda: particles.growths(problem, oracle, SIZES if step_sizes is None else step_sizes, KEYS, **given)


DOORS = {
    "family": [
        (lambda: family.largest("m", [ONE, 3.0]), f"family must be {MEASURED}, got 3.0"),
        (lambda: family.smallest("m", 3.0), f"family must be a list of {MEASURED}, got 3.0"),
        (lambda: family.average("m", ONE), f"family must be a list of {MEASURED}, got {ONE!r}"),
        (lambda: family.ratio("m", ONE, 2.0), f"above and below must be {MEASURED}, got 2.0"),
        (lambda: family.exponent("m", None, ONE, 2.0), f"first and last must be {MEASURED}, got None"),
        (lambda: family.exponent("m", ONE, ONE, 1), "factor must be other than 1, got 1"),
        (lambda: family.exponent("m", ONE, ONE, 0.0), "factor must be positive and finite, got 0.0"),
        (lambda: family.exponent("m", ONE, ONE, -2.0), "factor must be positive and finite, got -2.0"),
        (lambda: family.exponent("m", ONE, ONE, NAN), "factor must be positive and finite, got nan"),
        (lambda: family.exponent("m", ONE, ONE, INF), "factor must be positive and finite, got inf"),
        (lambda: family.farthest("m", [ONE], centre=NAN), "centre must be a finite real number, got nan"),
        (lambda: family.farthest("m", [ONE], centre=INF), "centre must be a finite real number, got inf"),
    ],
    "particles": [
        (growths(problem=3), "problem must be a Problem, got 3"),
        (growths(particles=2**31), f"particles must be a whole number below 2^24, got {2**31}"),
        (growths(steps=2**31), f"steps must be a whole number below 2^31, got {2**31}"),
        (growths(oracle=3), "oracle must be an Oracle, got 3"),
        (growths(step_sizes=0.1), f"step_sizes must be {LABELS}, got 0.1"),
        (growths(step_sizes={"x": 0.1, "y": 0.1}), f"step_sizes['x'] must be a non-empty 1-dimensional {NUMBERS}, got 0.1"),
        (growths(step_sizes={"x": [], "y": []}), f"step_sizes['x'] must be a non-empty 1-dimensional {NUMBERS}, got []"),
        (
            growths(step_sizes={"x": [0.1], "y": [NAN]}),
            f"step_sizes['y'] must be a non-empty 1-dimensional {NUMBERS}, got [nan]",
        ),
        (growths(step_sizes={"x": [0.1], "y": [-0.1]}), "step_sizes['y'] must be nonnegative, got [-0.1]"),
        (
            growths(step_sizes={"x": [0.1], "y": [0.1, 0.2]}),
            "step_sizes must be of the same length in every block, got {'x': 1, 'y': 2}",
        ),
        (growths(shape=np.zeros((4, 2))), "shape must be of 4 rows and not zero, got 'an array of shape (4, 2)'"),
        (growths(shape=np.ones((3, 2))), "shape must be of 4 rows and not zero, got 'an array of shape (3, 2)'"),
        (growths(shape=1.0), f"shape must be a non-empty 2-dimensional {NUMBERS}, got 1.0"),
        (growths(problem=NESTED), "problem.optimum['x'] must be an array, got {'inner': Array([0., 0.], dtype=float64)}"),
        (lambda: particles.limit("m", [2.0, 1.0], np.ones((4, 2))), f"step_sizes must be {INCREASING}, got [2.0, 1.0]"),
        (lambda: particles.limit("m", [1.0], np.ones((4, 1))), f"step_sizes must be {INCREASING}, got [1.0]"),
        (
            lambda: particles.limit("m", [1.0, 2.0], np.ones((4, 3))),
            "growths must be of shape (populations, 2), at least two, got 'shape (4, 3)'",
        ),
        (
            lambda: particles.limit("m", [1.0, 2.0], np.ones((1, 2))),
            "growths must be of shape (populations, 2), at least two, got 'shape (1, 2)'",
        ),
    ],
    "reach": [
        (lambda: reach.crossings([0, 0], [[1.0, 1.0]], 1.0), "at must be at least two increasing numbers, got [0.0, 0.0]"),
        (lambda: reach.crossings([0], [[1.0]], 1.0), "at must be at least two increasing numbers, got [0.0]"),
        (lambda: reach.crossings([0, 1], [[1.0, 1.0]], 0), "level must be positive and finite, got 0"),
        (lambda: reach.crossings([0, 1], [1.0, 1.0], 1.0), "means must be of shape (rows, 2), nonnegative, got [1.0, 1.0]"),
        (
            lambda: reach.crossings([0, 1], [[1.0, NAN]], 1.0),
            "means must be of shape (rows, 2), nonnegative, got [[1.0, nan]]",
        ),
        (
            lambda: reach.crossings([0, 1], [["a", 1.0]], 1.0),
            "means must be of shape (rows, 2), nonnegative, got [['a', 1.0]]",
        ),
        (
            lambda: reach.steps([0, 1], [[-1.0, 1.0]], 1.0),
            "squares must be of shape (rows, 2), nonnegative, got [[-1.0, 1.0]]",
        ),
        (
            lambda: reach.steps([0, 1], [[1.0, 1.0]], 1.0),
            "squares must be of shape (seeds, 2), at least two seeds, got 'shape (1, 2)'",
        ),
        (lambda: reach.steps([0, 1], np.ones((2, 2)), 1.0, confidence=1), "confidence must be in (0, 1), got 1"),
        (
            lambda: reach.ratio([0, 1], np.ones((2, 2)), np.ones((3, 2)), 1.0),
            "below must be of the same shape as above, (2, 2), got 'shape (3, 2)'",
        ),
    ],
    "tail": [
        (lambda: quantile_slope(["a", "b"], [0.2, 0.1]), f"samples must be {SAMPLES}, got ['a', 'b']"),
        (
            lambda: quantile_slope(np.arange(1.0, 99.0), [0.2, 0.1], resamples=2**31),
            f"resamples must be a whole number below 2^24, got {2**31}",
        ),
        (lambda: quantile_slope("ab", [0.2, 0.1]), f"samples must be {SAMPLES}, got 'ab'"),
        (lambda: quantile_slope([1j, 2.0], [0.2, 0.1]), f"samples must be {SAMPLES}, got [1j, 2.0]"),
        (lambda: quantile_slope([[1.0], [1.0, 2.0]], [0.2, 0.1]), f"samples must be {SAMPLES}, got [[1.0], [1.0, 2.0]]"),
        (lambda: quantile_slope([1.0, NAN], [0.2, 0.1]), f"samples must be {SAMPLES}, got [1.0, nan]"),
    ],
    "averages": [
        (lambda: averages.epochs_needed(lambda epochs: NAN, 0.1), "average(1) must be a real number, got nan"),
        (lambda: averages.epochs_needed(lambda epochs: "1", 0.1), "average(1) must be a real number, got '1'"),
        (lambda: averages.epochs_needed(3, 0.5), "average must be a function of the number of epochs, got 3"),
        (
            lambda: averages.epochs_needed(lambda epochs: 1 / epochs, 0.5, most="a"),
            "most must be a whole number of at least 1, got 'a'",
        ),
        (
            lambda: averages.quadratic_average(0.1, law="normal", **LAW),
            "law must be one of 'gaussian', 'rademacher', 'sphere', got 'normal'",
        ),
        (
            lambda: averages.quadratic_average(0.1, directions=0, **LAW),
            "directions must be a whole number of at least 1, got 0",
        ),
    ],
    "spectra": [
        (lambda: spectra.sampled(3, 10), "curvature must be a function of an array of indices, got 3"),
        (
            lambda: spectra.sampled(lambda j: 1.0, 10),
            "curvature must be positive and finite at every index, got 'shape () for indices of shape (10,)'",
        ),
        (
            lambda: spectra.sampled(lambda j: j[:3], 10),
            "curvature must be positive and finite at every index, got 'shape (3,) for indices of shape (10,)'",
        ),
        (
            lambda: spectra.sampled(lambda j: "a", 10),
            "curvature must be a function of an array of indices, got \"could not convert string to float: 'a'\"",
        ),
        (lambda: spectra.sampled(lambda j: -j, 3), "curvature must be positive and finite at every index, got -3.0"),
    ],
    "separable": [
        (lambda: separable.groups([1.0], 3), "sizes must be one number per group, 1, got 3"),
        (lambda: separable.groups([1.0], [3], zeroth="no"), "zeroth must be True or False, got 'no'"),
        (lambda: separable.groups([1.0], [3], zeroth=[2]), "zeroth must be True or False, got 2"),
        (lambda: separable.groups([1.0, 2.0], [3, 4], zeroth=[True]), "zeroth must be one number per group, 2, got [True]"),
        (lambda: separable.steps_to_gap(3, [1.0], [1.0], 0.1), "step must be what recursion(...) returns, got 3"),
        (
            lambda: separable.steps_to_gap(STEP, [1.0, 2.0], [1.0, NAN], 0.1),
            f"start must be a non-empty {NUMBERS}, got [1.0, nan]",
        ),
        (lambda: separable.steps_to_gap(STEP, [1.0, 2.0], [1.0], 0.1), f"start must be {PER_GROUP}, got [1.0]"),
        (lambda: separable.steps_to_gap(STEP, [1.0, 2.0], [1.0, -1.0], 0.1), f"start must be {PER_GROUP}, got [1.0, -1.0]"),
        (lambda: separable.steps_to_gap(STEP, [1.0], [1.0, 1.0], 0.1), f"curvatures must be {PER_GROUP}, got [1.0]"),
        (lambda: separable.tuned(3, [1.0], 0.1), "given must be what groups(...) returns, got 3"),
        (lambda: separable.tuned(GROUPS, [1.0], 0.1), f"start must be {PER_GROUP}, got [1.0]"),
        (
            lambda: separable.tuned(separable.groups([0.0, 1.0], [3, 4]), [1.0, 1.0], 0.1),
            "curvatures must be positive, got [0.0, 1.0]",
        ),
        *(
            (
                lambda own=owners: separable.tuned(GROUPS, [1, 1], 0.1, owners=own),
                f"owners must be {OWNERS}, got {owners}",
            )
            for owners in ([1, 1], [0, 2], [0], [0, -1], [0.0, 1.0], 3)
        ),
    ],
    "update order": [
        (
            lambda: update_order.epoch(MODEL, None, "base_first"),
            "moments must be Moments(mean, second), got None",
        ),
        (
            lambda: update_order.epoch(MODEL, dynamics.Moments(np.zeros(2), np.eye(3)), "base_first"),
            "second must be an array of shape (..., 2, 2), got 'shape (3, 3)'",
        ),
        (
            lambda: update_order.epoch(MODEL, dynamics.Moments(np.zeros(3), np.eye(2)), "base_first"),
            "mean must be an array of shape (..., 2), got 'shape (3,)'",
        ),
        *(
            (call, f"model must be what shared_quadratic(...) returns, got {got}")
            for call, got in (
                (lambda: update_order.epoch(3, None, "base_first"), 3),
                (lambda: update_order.growth_factor(None, "base_first"), None),
                (lambda: update_order.sequential_box(3), 3),
                (lambda: update_order.base_limit(3, "base_first"), 3),
                (lambda: update_order.stationary_moment(3, "base_first"), 3),
            )
        ),
    ],
    "kesten": [
        (lambda: kesten.lyapunov_exponent(1e300), "step_size must be in (0, 1e+100], got 1e+300"),
        (lambda: kesten.exceedance(1e-4, [1.0], steps=1), "step_size must be in [0.001, 1e+100], got 0.0001"),
        (lambda: kesten.exceedance(0.1, [1e-5, 1.0], steps=1), "levels must be in (0.0001, 1e+08), got [1e-05, 1.0]"),
    ],
    "chain and progress": [
        (lambda: CHAIN.gradient({"x": jnp.ones(4)}), "params must have the labels of the problem ['y'], got ['x']"),
        (lambda: CHAIN.value({"y": jnp.ones(3)}), "params['y'] must be of shape (4,), got (3,)"),
        (lambda: CHAIN.value(jnp.ones(4)), f"params must be {LABELS}, got {jnp.ones(4)!r}"),
        (
            lambda: Progress(0.5)(jnp.sum, jnp.zeros(0), KEY),
            "params must be one non-empty vector, whose coordinates have an order, got [(0,)]",
        ),
    ],
    "trace": [
        (
            lambda: tl.run(CHAIN, tl.FirstOrder(), tl.hybrid_sgd({"y": 0.1}), epochs=1, key=KEY).total_distance_sq,
            "the problem of the trace must be one whose optimum is known, got None",
        ),
    ],
}


@pytest.mark.parametrize("call, message", cases(DOORS))
def test_bad_input_is_refused_by_name_rule_and_value(call, message):
    check_refusal(call, message)


def test_what_is_right_at_the_edge_is_welcome():
    assert averages.epochs_needed(lambda epochs: INF if epochs < 3 else 0.0, 0.1) == 3
    assert separable.tuned(GROUPS, [1.0, 1.0], 0.1, owners=np.array([1, 0])).step_sizes.shape == (2,)
    assert separable.groups([1.0, 2.0], [3, 4], zeroth=np.array([True, False])).zeroth.tolist() == [True, False]
    assert family.exponent("m", ONE, ONE, 0.5).value == 0
    gradient = jax.vmap(CHAIN.gradient)({"y": jnp.zeros((3, 4))})["y"]
    assert gradient.shape == (3, 4)


def test_the_total_distance_is_the_sum_over_blocks():
    trace = tl.run(PROBLEM, tl.FirstOrder(), tl.hybrid_sgd({"x": 0.1, "y": 0.1}), epochs=2, key=KEY)
    np.testing.assert_array_equal(trace.total_distance_sq, trace.distance_sq["x"] + trace.distance_sq["y"])
