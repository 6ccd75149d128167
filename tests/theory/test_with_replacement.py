"""Theorem 1 against exact expectations: true everywhere, an identity where every Hessian is D, false when halved."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tests.theory.exact import STEPS, Instance, random_instance, slack
from theory_lab.theory.with_replacement import with_replacement_bound, with_replacement_limits, with_replacement_parts


def step_slack(instance: Instance, z: np.ndarray, *, c: float, theta: float, share: float = 1.0) -> float:
    """How far one exact step stays below Theorem 1; `share` multiplies the theorem's cost, 1/2 being a false theorem."""
    parts = with_replacement_parts(step_sizes=instance.step_sizes, c=c, theta=theta, **instance.known(z))
    coefficients = 1 - share * (1 - np.array(parts.coefficients))
    end = instance.average_step(z, np.outer(z, z))
    return slack(instance, z, end, coefficients * instance.step_sizes, share * parts.noise)


def equal_to_bound(rng: np.random.Generator, *, radius: float = 0.0) -> Instance:
    """Every Hessian is D: Theorem 1's sharp instance."""
    bound = np.array([2.0, 2.0, 2.0, 2.0, 0.5, 0.5])
    hessians, shifts = np.tile(np.diag(bound), (3, 1, 1)), rng.normal(size=(3, 6))
    return Instance(hessians, shifts, 4, bound, (0.07, 1.3), directions=2, radius=radius)


def test_one_step_never_exceeds_the_bound():
    rng, slacks = np.random.default_rng(1), []
    for _ in range(500):
        radius = float(rng.choice([0.0, 10 ** rng.uniform(-2, 0.5)]))
        instance = random_instance(
            rng,
            n=int(rng.integers(1, 5)),
            zeroth=int(rng.integers(1, 5)),
            first=int(rng.integers(0, 4)),
            step_sizes=(10 ** rng.uniform(-3, 1), 10 ** rng.uniform(-3, 1)),
            directions=int(rng.integers(1, 4)),
            radius=radius,
            isotropic=bool(rng.integers(2)),
            extreme=bool(rng.integers(2)),
        )
        z = rng.normal(size=len(instance.bound)) * 10 ** rng.uniform(-1, 1)
        slacks.append(step_slack(instance, z, c=10 ** rng.uniform(-2, 2), theta=10 ** rng.uniform(-2, 1)))
    assert min(slacks) >= -1e-12
    assert np.median(slacks) < 0.9  # the instances come near the bound: the check has teeth


def test_it_is_an_identity_where_every_hessian_is_the_bound():
    rng = np.random.default_rng(2)
    instance = equal_to_bound(rng)
    assert abs(step_slack(instance, rng.normal(size=6), c=1.0, theta=0.5)) < 1e-13


def test_half_the_bound_is_caught():
    rng = np.random.default_rng(3)
    instance = equal_to_bound(rng)
    assert step_slack(instance, rng.normal(size=6), c=1.0, theta=0.5, share=0.5) < -0.01


def test_a_smaller_direction_factor_is_caught():
    rng = np.random.default_rng(4)
    instance, z = equal_to_bound(rng), rng.normal(size=6)
    told = with_replacement_parts(step_sizes=instance.step_sizes, **(instance.known(z) | {"rank": instance.rank - 1}))
    end = instance.average_step(z, np.outer(z, z))
    assert slack(instance, z, end, np.multiply(told.coefficients, instance.step_sizes), told.noise) < -1e-3


def kinked_step(x: float, y: float, components: np.ndarray, etas: tuple[float, float], radius: float) -> float:
    """E f(z+) for f_i = (s_i/2) x|x| + b_i x + c_i x y + (t_i/2) y^2, by quadrature over the one direction."""
    v = np.linspace(-9, 9, 20001)
    density = np.exp(-(v**2) / 2) / math.sqrt(2 * math.pi) * (v[1] - v[0])

    def value(s, b, c, t, x, y):
        return s / 2 * x * abs(x) + b * x + c * x * y + t / 2 * y**2

    mean = components.mean(0)
    ends = []
    for s, b, c, t in components:
        slope = (value(s, b, c, t, x + radius * v, y) - value(s, b, c, t, x, y)) / radius
        ends.append(np.sum(density * value(*mean, x - etas[0] * slope * v, y - etas[1] * (c * x + t * y))))
    return float(np.mean(ends))


def test_bias_of_kinked_curvature_is_covered():
    """x|x| has curvature of both signs and a biased estimate, which no quadratic has; |f''| <= 1, with coupling 2."""
    rng, slacks = np.random.default_rng(5), []
    for _ in range(150):
        components = np.stack(
            [rng.choice([-1.0, 1.0], 3), rng.normal(size=3), rng.uniform(-1, 1, 3), rng.uniform(-1, 1, 3)], 1
        )
        components[rng.random() < 0.5] = components[0]
        x, y = rng.normal(size=2) * 10 ** rng.uniform(-2, 0.5)
        etas, radius = (10 ** rng.uniform(-2, 0.3), 10 ** rng.uniform(-2, 0.3)), 10 ** rng.uniform(-1.5, 0.7)
        gradients = np.array([[s * abs(x) + b + c * y, c * x + t * y] for s, b, c, t in components])
        mean = gradients.mean(0)
        parts = with_replacement_parts(
            step_sizes=etas,
            smoothness=(2.0, 2.0),
            dispersion=tuple(((gradients - mean) ** 2).mean(0)),
            rank=1,
            radius=radius,
            c=10 ** rng.uniform(-1, 1),
            theta=10 ** rng.uniform(-1, 0.5),
        )
        s, b, c, t = components.mean(0)
        start = s / 2 * x * abs(x) + b * x + c * x * y + t / 2 * y**2
        promised = np.sum(np.multiply(parts.coefficients, etas) * mean**2)
        change = kinked_step(x, y, components, etas, radius) - start
        slacks.append((parts.noise - promised - change) / (parts.noise + abs(promised) + abs(change)))
    assert min(slacks) > -1e-6  # the quadrature's own error


def test_a_theorem_that_forgets_the_bias_is_caught():
    """At a kink, against a small slope, the estimate points the wrong way: E ghat = b + 0.8 mu."""
    radius, eta = 1.0, 0.01
    component = np.array([[1.0, -0.4, 0.0, 0.0]])
    change = kinked_step(0.0, 0.0, component, (eta, 0.0), radius)
    assert change > 0
    parts = {
        told: with_replacement_parts(
            step_sizes=(eta, 0.0), smoothness=(1.0, 0.0), dispersion=(0, 0), rank=1, radius=told, c=1.0, theta=1.0
        )
        for told in (radius, radius / 10)
    }
    promise = {told: part.noise - part.coefficients[0] * eta * 0.4**2 for told, part in parts.items()}
    assert promise[radius / 10] < change < promise[radius]


def test_optimised_constants_beat_every_choice():
    rng = np.random.default_rng(6)
    for _ in range(8):
        radius = 10 ** rng.uniform(-3, 0)
        setting = STEPS | {"radius": radius, "directions": int(rng.integers(1, 4))}
        setting["step_sizes"] = (10 ** rng.uniform(-3, -1), 10 ** rng.uniform(-3, 0))
        best = with_replacement_bound(**setting)
        tried = [
            with_replacement_bound(c=c, theta=t, **setting) for c in np.logspace(-3, 2, 25) for t in np.logspace(-4, 0.3, 25)
        ]
        assert best <= min(tried) * (1 + 1e-6)
        assert best >= min(tried) * 0.8  # and is no smaller than a grid can explain


def test_small_radius_approaches_radius_zero():
    exact = with_replacement_bound(**STEPS)
    near = with_replacement_bound(radius=1e-9, **STEPS)
    assert exact <= near <= exact * (1 + 1e-4)


def test_the_whole_run_stays_below_and_meets_it_when_sharp():
    """T steps exactly; with every Hessian equal to D the weighted average equals (Delta - E Delta_K)/K + N."""
    rng = np.random.default_rng(7)
    instance = replace(equal_to_bound(rng), shifts=np.array([[1.0] * 6, [-1.0] * 6, [0.0] * 6]))
    z = rng.normal(size=6)
    parts = with_replacement_parts(step_sizes=instance.step_sizes, **instance.known(z))
    moments, total, steps = (z, np.outer(z, z)), 0.0, 60
    for _ in range(steps):
        total += float(np.dot(np.multiply(parts.coefficients, instance.step_sizes), instance.expected_squares(*moments)))
        moments = instance.average_step(*moments)
    fallen = instance.value(z, np.outer(z, z)) - instance.value(*moments)
    assert total / steps == pytest.approx(fallen / steps + parts.noise, rel=1e-11)


def test_limits_are_where_the_bound_turns_infinite():
    limits = with_replacement_limits(smoothness=(1.5, 2.0), rank=6)
    for block in (0, 1):
        etas = [1e-3, 1e-3]
        etas[block] = limits[block] * (1 - 1e-9)
        assert with_replacement_bound(**(STEPS | {"step_sizes": tuple(etas)})) < math.inf
        etas[block] = limits[block] * (1 + 1e-9)
        assert with_replacement_bound(**(STEPS | {"step_sizes": tuple(etas)})) == math.inf


@pytest.mark.parametrize("radius", [0.0, 0.05])
def test_rescaling_the_function_or_the_variables(radius):
    """f -> c f with eta -> eta/c multiplies the bound by c; x -> s x with eta, radius to match leaves it alone."""
    base = STEPS | {"radius": radius, "step_sizes": (0.02, 0.2)}
    c, s = 3.7, 0.4
    scaled = base | {
        "step_sizes": (0.02 / c, 0.2 / c),
        "smoothness": (1.5 * c, 2.0 * c),
        "dispersion": (0.7 * c**2, 0.4 * c**2),
        "initial_gap": 2.0 * c,
    }
    assert with_replacement_bound(**scaled) == pytest.approx(c * with_replacement_bound(**base), rel=1e-6)
    stretched = base | {
        "step_sizes": (0.02 / s**2, 0.2 / s**2),
        "smoothness": (1.5 * s**2, 2.0 * s**2),
        "dispersion": (0.7 * s**2, 0.4 * s**2),
        "radius": radius / s,
    }
    assert with_replacement_bound(**stretched) == pytest.approx(with_replacement_bound(**base), rel=1e-6)


@pytest.mark.parametrize("radius", [0.0, 0.05])
def test_monotone_in_what_should_hurt_or_help(radius):
    base = STEPS | {"radius": radius}

    def bounds(name, values):
        return [with_replacement_bound(**(base | {name: value})) for value in values]

    for name, values in (
        ("rank", [1, 2, 6, 20]),
        ("initial_gap", [0.0, 1.0, 5.0]),
        ("directions", [16, 4, 2, 1]),
        ("steps", [900, 9]),
    ):
        found = bounds(name, values)
        assert all(a <= b * (1 + 1e-7) for a, b in pairwise(found)), name
        assert found[0] < found[-1]


def test_weights_pick_a_block():
    both = with_replacement_bound(**STEPS)
    only_x, only_y = (with_replacement_bound(weights=w, **STEPS) for w in ((1.0, 0.0), (0.0, 1.0)))
    assert max(only_x, only_y) == both
    assert with_replacement_bound(weights=(2.0, 2.0), **STEPS) == pytest.approx(2 * both)


def test_degenerate_cases_are_quiet():
    """No warning, no exception: a broken y-condition at a radius, no weights, nothing to work off."""
    assert with_replacement_bound(**(STEPS | {"step_sizes": (0.01, 1.5), "radius": 0.1})) == math.inf
    assert with_replacement_bound(**(STEPS | {"weights": (0.0, 0.0), "radius": 0.1})) == 0.0
    assert with_replacement_bound(**(STEPS | {"step_sizes": (0.0, 0.0)})) == 0.0
    nothing = STEPS | {"initial_gap": 0.0, "dispersion": (0.0, 0.0)}
    assert with_replacement_bound(**nothing) == 0.0
    assert with_replacement_bound(**(nothing | {"radius": 1e-200})) == pytest.approx(0.0, abs=1e-290)
    assert with_replacement_bound(**(STEPS | {"smoothness": (0.0, 0.0), "radius": 9.0})) == pytest.approx(2.0 / 400)


def test_a_block_that_stands_still_costs_nothing():
    first_order = with_replacement_bound(**(STEPS | {"step_sizes": (0.0, 0.3), "radius": 10.0}))
    assert first_order == pytest.approx((2.0 / 400 + 0.3 * 0.6 * 0.4 / 2) / 0.7)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"step_sizes": (0.1,)}, r"step_sizes must be a pair \(x, y\) of nonnegative finite numbers, got \(0.1,\)"),
        ({"step_sizes": (0.1, -1.0)}, r"step_sizes must be a pair \(x, y\) of nonnegative finite numbers"),
        ({"step_sizes": 0.1}, r"step_sizes must be a pair \(x, y\) of nonnegative finite numbers, got 0.1"),
        ({"smoothness": (1.0, math.nan)}, r"smoothness must be a pair \(x, y\) of nonnegative finite numbers"),
        ({"dispersion": (1.0, "a")}, r"dispersion must be a pair \(x, y\) of nonnegative finite numbers"),
        ({"initial_gap": -1.0}, "initial_gap must be nonnegative and finite, got -1.0"),
        ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ({"rank": 0.5}, r"rank must be in \[1, inf\), got 0.5"),
        ({"directions": 0}, "directions must be a whole number of at least 1, got 0"),
        ({"radius": -1e-3}, "radius must be nonnegative and finite, got -0.001"),
        ({"weights": (1.0, -1.0)}, r"weights must be a pair \(x, y\) of nonnegative finite numbers"),
        ({"c": 1.0}, r"c and theta must be given both or not at all, got \(1.0, None\)"),
        ({"c": 1.0, "theta": 0.0}, "theta must be positive and finite, got 0.0"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        with_replacement_bound(**(STEPS | change))


def test_parts_need_their_constants_at_a_radius():
    with pytest.raises(ValueError, match=r"theta must be positive and finite, got 0"):
        with_replacement_parts(step_sizes=(1, 1), smoothness=(1, 1), dispersion=(1, 1), rank=1, radius=1.0, c=1.0)
