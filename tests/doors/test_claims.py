"""The doors of the other side: theorems and budgets, measurements, claims."""

import jax.numpy as jnp
import numpy as np
import pytest

import theory_lab as tl
from tests.doors.refusals import KEY, KEYS, LABELS, NAN, cases, check_refusal
from theory_lab.measure.smoothness import extreme_eigenvalues
from theory_lab.theory import Budget, dynamics
from theory_lab.theory.hybrid import RESHUFFLING
from theory_lab.theory.lower_bounds import TWO_POINT

BUDGET = Budget(n=4, epochs=2, initial_gap=1.0, dimension=2)
KNOWN = tl.Constants(smoothness={"x": 1.0, "y": 1.0}, dispersion={"x": 1.0, "y": 1.0})
MODEL = dynamics.shared_quadratic(np.eye(2), 1, (0.1, 0.1))
POINT = {"x": jnp.ones(2)}


def bowl(z):
    return jnp.sum(z["x"] ** 2)


def claim(relation="at most", predicted=1.0, **options):
    return lambda: tl.claim("a name", "a source", relation, predicted, **options)


DOORS = {
    "claims": [
        (
            claim("equal", tolerance=0.1),
            "relation must be one of 'equals', 'at most', 'at least', got 'equal' (did you mean 'equals'?)",
        ),
        (claim(predicted="1.0"), "predicted must be a real number, got '1.0'"),
        (claim(predicted=None), "predicted must be a real number, got None"),
        (claim("equals"), "tolerance must be positive for 'equals' and zero otherwise, got 0.0"),
        (claim("at most", tolerance=0.1), "tolerance must be positive for 'equals' and zero otherwise, got 0.1"),
        (claim("equals", tolerance=-0.1), "tolerance must be nonnegative and finite, got -0.1"),
        (claim("equals", tolerance=NAN), "tolerance must be nonnegative and finite, got nan"),
        (claim(expected="fail"), "expected must be one of 'holds', 'fails', got 'fail' (did you mean 'fails'?)"),
        (claim(expected="undecided"), "expected must be one of 'holds', 'fails', got 'undecided'"),
        (claim(expected="fails"), "why must be a reason wherever the claim is expected to fail, got ''"),
        (claim(unmet="not smooth"), "unmet must be a sequence of statements, not one string, got 'not smooth'"),
        (lambda: tl.claim(None, "a source", "at most", 1.0), "name must be a non-empty text, got None"),
        (lambda: tl.claim("a name", 3, "at most", 1.0), "source must be a non-empty text, got 3"),
        (claim(unmet=[3]), "unmet must be a non-empty text, got 3"),
        (claim(unmet=3), "unmet must be a sequence of statements, not one string, got 3"),
        (lambda: claim()().check(0.5), "measurement must be a Measurement, got 0.5"),
    ],
    "measurements": [
        (lambda: tl.measure.mean("m", [1.0]), "the number of samples must be a whole number of at least 2, got 1"),
        (lambda: tl.measure.mean("m", ["a", "b"]), "samples must be numbers, got ['a', 'b']"),
        (lambda: tl.measure.mean("m", [1.0, 2.0], confidence=1), "confidence must be in (0, 1), got 1"),
        (lambda: tl.measure.mean("m", [1.0, 2.0], confidence=95), "confidence must be in (0, 1), got 95"),
        (lambda: tl.measure.exact("m", "a"), "value must be a real number, got 'a'"),
        (lambda: tl.Measurement("m", 1.0, 2.0, 0.0, 4), "low must be at most high, 0.0, got 2.0"),
        (lambda: tl.Measurement("m", "1.0", 0.0, 2.0, 4), "value must be a real number, got '1.0'"),
        (
            lambda: extreme_eigenvalues(bowl, POINT, key=KEYS),
            "key must be a single key, got 'an array of keys of shape (3,)'",
        ),
        (lambda: extreme_eigenvalues(bowl, POINT, key=KEY, args=3), "args must be a tuple of arrays, got 3"),
        (lambda: extreme_eigenvalues(bowl, POINT, key=KEY, args=("a",)), "args must be a tuple of arrays, got ('a',)"),
        (
            lambda: extreme_eigenvalues(bowl, {"x": jnp.ones(2, jnp.float16)}, key=KEY),
            "params['x'] must be float32 or float64, got 'float16'",
        ),
    ],
    "theorems": [
        (lambda: Budget(n=1, epochs=1, initial_distance_sq=3), f"initial_distance_sq must be {LABELS}, got 3"),
        (lambda: RESHUFFLING.step_sizes(None, BUDGET), "constants must be Constants, got None"),
        (lambda: RESHUFFLING.step_sizes(KNOWN, 3), "budget must be a Budget, got 3"),
        (lambda: RESHUFFLING.bound(KNOWN, BUDGET, 0.1), f"step_sizes must be {LABELS}, got 0.1"),
        (lambda: RESHUFFLING.bound(KNOWN, BUDGET, None), f"step_sizes must be {LABELS}, got None"),
        (
            lambda: RESHUFFLING.bound(KNOWN, BUDGET, {"x": [0.1, 0.2], "y": 0.1}),
            "step_sizes['x'] must be nonnegative and finite, got [0.1, 0.2]",
        ),
        (lambda: TWO_POINT.bound(KNOWN, BUDGET, np.ones(2)), f"step_sizes must be {LABELS}, got array([1., 1.])"),
        (lambda: TWO_POINT.bound(KNOWN, BUDGET, None), f"step_sizes must be {LABELS}, got None"),
    ],
    "dynamics": [
        (lambda: dynamics.trajectory(None, [1.0], epochs=1), "model must be what shared_quadratic(...) returns, got None"),
        (lambda: dynamics.stationary_moment(3), "model must be what shared_quadratic(...) returns, got 3"),
        (lambda: dynamics.one_step_change(None, [1.0]), "model must be what shared_quadratic(...) returns, got None"),
        (
            lambda: dynamics.expected_gap(MODEL, np.eye(3)),
            "second must be an array of shape (..., 2, 2), got 'shape (3, 3)'",
        ),
        (lambda: dynamics.expected_gap(MODEL, 3.0), "second must be an array of shape (..., 2, 2), got 'shape ()'"),
        (
            lambda: dynamics.expected_gradient_norms_sq(MODEL, np.ones(2)),
            "second must be an array of shape (..., 2, 2), got 'shape (2,)'",
        ),
        (lambda: dynamics.with_replacement_step(MODEL, None), "moments must be Moments(mean, second), got None"),
        (
            lambda: dynamics.reshuffling_epoch(MODEL, dynamics.Moments(np.ones(2), np.ones(2)), 4),
            "second must be an array of shape (..., 2, 2), got 'shape (2,)'",
        ),
    ],
}


@pytest.mark.parametrize("call, message", cases(DOORS))
def test_bad_input_is_refused_by_name_rule_and_value(call, message):
    check_refusal(call, message)
