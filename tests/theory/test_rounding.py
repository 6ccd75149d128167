"""The error of finite differences against enumeration of directions and of rounding errors, and against real float32."""

import itertools

import numpy as np
import pytest
from scipy import optimize

from theory_lab.theory import moments, rounding

HESSIAN = np.array([[1.0, -0.6], [-0.6, -2.0]])
THIRD = np.array([1.5, -0.7])


def enumerated_error(value, ideal, law, q, sided, radius, sigma, design) -> float:
    """E||ghat - (1/q) sum <g,v> v||^2 over all directions and all rounding errors +-sigma of the 1 + q or 2q evaluations."""
    nodes, weights, factor = design(law, 2)
    evaluations = 1 + q if sided == 1 else 2 * q
    errors = sigma * np.array(list(itertools.product([-1.0, 1.0], repeat=evaluations)))
    total = 0.0
    for chosen in itertools.product(range(len(nodes)), repeat=q):
        v = nodes[list(chosen)]
        if sided == 1:
            clean = np.array([value(radius * u) - value(np.zeros(2)) for u in v])
            slopes = (clean + errors[:, 1:] - errors[:, :1]) / radius
        else:
            clean = np.array([value(radius * u) - value(-radius * u) for u in v])
            slopes = (clean + errors[:, :q] - errors[:, q:]) / (2 * radius)
        error = factor * (slopes - v @ ideal) @ v / q
        total += np.prod(weights[list(chosen)]) * np.mean(np.sum(error**2, axis=1))
    return total


@pytest.mark.parametrize("law, q", list(itertools.product(moments.LAWS, (1, 2))))
def test_one_sided_error_on_a_quadratic(law, q, design):
    g = np.array([0.4, -1.1])
    expected = enumerated_error(lambda x: 3 + g @ x + x @ HESSIAN @ x / 2, g, law, q, 1, 0.3, 0.05, design)
    assert rounding.one_sided_law(HESSIAN, 0.05, directions=q, law=law).error(0.3) ** 2 == pytest.approx(
        expected, rel=1e-11, abs=0
    )


@pytest.mark.parametrize("law, q", list(itertools.product(moments.LAWS, (1, 2))))
def test_two_sided_error_on_a_cubic(law, q, design):
    g = np.array([0.4, -1.1])
    value = lambda x: 3 + g @ x + x @ HESSIAN @ x / 2 + THIRD @ x**3 / 6
    expected = enumerated_error(value, g, law, q, 2, 0.8, 0.05, design)
    assert rounding.two_sided_law(THIRD, 0.05, directions=q, law=law).error(0.8) ** 2 == pytest.approx(
        expected, rel=1e-11, abs=0
    )


@pytest.mark.parametrize("law", [rounding.one_sided_law(HESSIAN, 1e-7), rounding.two_sided_law(THIRD, 1e-7)])
def test_the_optimal_radius_is_the_minimum(law):
    found = optimize.minimize_scalar(
        lambda log: np.log(law.error(np.exp(log))), bounds=(-14, 0), method="bounded", options={"xatol": 1e-9}
    )
    assert law.optimal_radius == pytest.approx(np.exp(found.x), rel=1e-5, abs=0)
    assert law.floor == pytest.approx(np.exp(found.fun), rel=1e-12, abs=0)


def test_the_formulas_as_published_for_one_gaussian_direction():
    rng = np.random.default_rng(0)
    d, sigma, mu = 20, 1e-7, 1e-4
    h, c = np.diag(rng.uniform(-1, 2, size=d)), rng.normal(size=d)
    curved = np.trace(h) ** 2 + 2 * np.sum(h**2)
    one, two = rounding.one_sided_law(h, sigma), rounding.two_sided_law(c, sigma)
    assert one.error(mu) ** 2 == pytest.approx(mu**2 / 4 * (d + 4) * curved + 2 * d * sigma**2 / mu**2, rel=1e-12, abs=0)
    assert one.optimal_radius == pytest.approx((8 * sigma**2 * d / ((d + 4) * curved)) ** 0.25, rel=1e-12, abs=0)
    assert one.floor == pytest.approx((2**0.5 * sigma * (d * (d + 4) * curved) ** 0.5) ** 0.5, rel=1e-12, abs=0)
    assert two.error(mu) ** 2 == pytest.approx(
        mu**4 / 36 * 15 * (d + 6) * (c @ c) + d * sigma**2 / (2 * mu**2), rel=1e-12, abs=0
    )
    assert two.optimal_radius == pytest.approx((9 * sigma**2 * d / (15 * (d + 6) * (c @ c))) ** (1 / 6), rel=1e-12, abs=0)


def test_floors_scale_as_one_half_and_two_thirds_of_the_precision():
    for make, power in (
        (lambda s: rounding.one_sided_law(HESSIAN, s), 1 / 2),
        (lambda s: rounding.two_sided_law(THIRD, s), 2 / 3),
    ):
        assert make(1e-9).floor / make(1e-6).floor == pytest.approx(1e-3**power, rel=1e-10, abs=0)
        scaled = make(1e-6 * 64).optimal_radius / make(1e-6).optimal_radius
        assert scaled == pytest.approx(64 ** (1 - power), rel=1e-10, abs=0)  # mu* ~ eps^(1/2), eps^(1/3)


def test_a_function_and_its_multiple_have_the_same_best_radius():
    one, ten = rounding.one_sided_law(HESSIAN, 1e-7), rounding.one_sided_law(10 * HESSIAN, 1e-6)
    assert ten.optimal_radius == pytest.approx(one.optimal_radius, rel=1e-13, abs=0)
    assert ten.floor == pytest.approx(10 * one.floor, rel=1e-13, abs=0)


def test_absent_terms_have_no_floor():
    exact, flat = rounding.one_sided_law(HESSIAN, 0.0), rounding.one_sided_law(np.zeros((2, 2)), 1e-7)
    assert (exact.optimal_radius, exact.floor) == (0.0, 0.0)
    assert (flat.optimal_radius, flat.floor) == (np.inf, 0.0)


@pytest.mark.parametrize("sided", [1, 2])
def test_the_u_curve_of_real_float32(sided):
    """Values rounded to float32, two decades around the optimum: within four standard errors and 3% for a varying ulp."""
    rng = np.random.default_rng(3)
    d, samples = 20, 20_000
    g, h, c = rng.normal(size=d) / d, rng.uniform(0.2, 1.0, size=d), rng.normal(size=d)
    sigma = rounding.rounding_error(4.2)
    law = rounding.one_sided_law(np.diag(h), sigma) if sided == 1 else rounding.two_sided_law(c, sigma)

    def rounded(x: np.ndarray) -> np.ndarray:
        value = 4.2 + x @ g + x**2 @ h / 2 + (x**3 @ c / 6 if sided == 2 else 0)
        return value.astype(np.float32).astype(np.float64)

    for radius in law.optimal_radius * np.array([0.1, 1.0, 10.0]):
        v = rng.normal(size=(samples, d))
        if sided == 1:
            base = 4.2 + rng.uniform(-1, 1, size=samples) * 1e-3  # moves the clean value across its own rounding cell
            clean = (v * radius) @ g + (v * radius) ** 2 @ h / 2
            slopes = ((base + clean).astype(np.float32).astype(np.float64) - base.astype(np.float32)) / radius
        else:
            slopes = (rounded(radius * v) - rounded(-radius * v)) / (2 * radius)
        errors = np.sum(((slopes - v @ g)[:, None] * v) ** 2, axis=1)
        band = 4 * errors.std() / np.sqrt(samples) + 0.03 * errors.mean()
        assert abs(errors.mean() - law.error(radius) ** 2) < band


@pytest.mark.parametrize("precision, bits", [("float16", 10), ("float32", 23), ("float64", 52)])
def test_rounding_error_is_the_spacing_over_root_twelve(precision, bits):
    assert rounding.rounding_error(5.0, precision) == pytest.approx(2.0 ** (2 - bits) / 12**0.5, rel=1e-15, abs=0)
    assert rounding.rounding_error(-5.0, precision) == rounding.rounding_error(5.0, precision)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: rounding.one_sided_law([1.0], 1e-7), "hessian must be a non-empty 2-dimensional array"),
        (lambda: rounding.one_sided_law([[1.0]], -1e-7), "evaluation_error must be nonnegative and finite, got -1e-07"),
        (lambda: rounding.two_sided_law([[1.0]], 1e-7), "third_derivatives must be a non-empty 1-dimensional array"),
        (
            lambda: rounding.two_sided_law([1.0], 1e-7, directions=0),
            "directions must be a whole number of at least 1, got 0",
        ),
        (lambda: rounding.two_sided_law([1.0], 1e-7, law="cauchy"), "law must be one of"),
        (
            lambda: rounding.rounding_error(1.0, "bfloat16"),
            "precision must be one of 'float16', 'float32', 'float64', got 'bfloat16'",
        ),
        (lambda: rounding.rounding_error(np.nan), "value must be a finite real number, got nan"),
        (lambda: rounding.one_sided_law([[1.0]], 1e-7).error(0.0), "radius must be positive and finite, got 0.0"),
    ],
)
def test_bad_input_is_refused_at_the_door(call, message):
    with pytest.raises(ValueError, match=message):
        call()
