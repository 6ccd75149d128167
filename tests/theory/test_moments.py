"""The identities of the estimators against averages over all directions of an exact design."""

import itertools

import numpy as np
import pytest

from theory_lab.theory import moments

LAWS = moments.LAWS
GRADIENT = np.array([0.7, -1.3, 0.4])
HESSIAN = np.array([[1.0, -0.6, 0.3], [-0.6, -2.0, 0.9], [0.3, 0.9, 0.5]])  # indefinite


def quadratic(d: int):
    g, h = GRADIENT[:d], HESSIAN[:d, :d]
    return lambda x: 0.37 + g @ x + x @ h @ x / 2


CASES = [(law, d, q, sided) for law in LAWS for d, q in ((1, 1), (1, 3), (2, 1), (2, 2), (3, 1)) for sided in (1, 2)]


@pytest.mark.parametrize("law, d, q, sided", CASES)
def test_second_moment_is_the_average_over_all_directions(law, d, q, sided, estimates):
    x = np.array([0.2, -0.5, 0.1])[:d]
    values, weights = estimates(quadratic(d), x, law=law, radius=0.7, directions=q, sided=sided)
    gradient = GRADIENT[:d] + HESSIAN[:d, :d] @ x
    np.testing.assert_allclose(weights @ values, gradient, rtol=1e-12, atol=1e-13)
    expected = np.einsum("m,mi,mj->ij", weights, values, values)
    arguments = {"directions": q, "law": law, "sided": sided}
    computed = moments.second_moment(gradient, HESSIAN[:d, :d], 0.7, **arguments)
    np.testing.assert_allclose(computed, expected, rtol=1e-12, atol=1e-12)
    assert moments.squared_norm(gradient, HESSIAN[:d, :d], 0.7, **arguments) == pytest.approx(
        np.trace(expected), rel=1e-12, abs=0
    )


@pytest.mark.parametrize("law, d, q, sided", CASES)
def test_the_parts_add_up_to_the_covariance(law, d, q, sided, estimates):
    values, weights = estimates(quadratic(d), np.zeros(d), law=law, radius=0.3, directions=q, sided=sided)
    centred = values - GRADIENT[:d]
    linear = moments.covariance_map(law, d, q)(np.outer(GRADIENT[:d], GRADIENT[:d]))
    curved = moments.radius_covariance(HESSIAN[:d, :d], 0.3, directions=q, law=law, sided=sided)
    np.testing.assert_allclose(linear + curved, np.einsum("m,mi,mj->ij", weights, centred, centred), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("law", LAWS)
def test_the_covariance_map_averages_over_random_gradients(law, design):
    rng = np.random.default_rng(1)
    gradients = rng.normal(size=(5, 3))
    nodes, weights, factor = design(law, 3)
    single = factor * np.einsum("bi,mi,mj->bmj", gradients, nodes, nodes) - gradients[:, None]
    expected = np.einsum("m,bmi,bmj->ij", weights, single, single) / 5
    np.testing.assert_allclose(moments.covariance_map(law, 3)(gradients.T @ gradients / 5), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("law, d, q", [(law, d, q) for law in LAWS for d in (1, 2, 3) for q in (1, 2)])
def test_variance_factor(law, d, q, estimates):
    g = GRADIENT[:d]
    values, weights = estimates(lambda x: g @ x, np.zeros(d), law=law, radius=1.0, directions=q)
    expected = weights @ np.sum((values - g) ** 2, axis=1) / (g @ g)
    assert moments.variance_factor(d, directions=q, law=law) == pytest.approx(expected, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("d, q", [(1, 1), (7, 1), (1000, 16)])
def test_the_table_of_squared_norms(d, q):
    rng = np.random.default_rng(d)
    g, h = rng.normal(size=d), rng.normal(size=(d, d)) / d
    h = h + h.T
    t, s, diagonal, mu = np.trace(h), np.sum(h**2), np.sum(np.diag(h) ** 2), 0.4
    curved = {
        "gaussian": (d + 4) * (t**2 + 2 * s),
        "sphere": d / (d + 2) * (t**2 + 2 * s),
        "rademacher": d * (t**2 + 2 * s - 2 * diagonal),
    }
    linear = {"gaussian": (d + q + 1) / q, "sphere": (d + q - 1) / q, "rademacher": (d + q - 1) / q}
    for law in LAWS:
        expected = linear[law] * (g @ g) + mu**2 / (4 * q) * curved[law]
        assert moments.squared_norm(g, h, mu, directions=q, law=law) == pytest.approx(expected, rel=1e-10, abs=0)


def test_moments_scale_with_the_function_and_ignore_rotations_except_for_signs():
    rng = np.random.default_rng(2)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for law in LAWS:
        moment = moments.second_moment(GRADIENT, HESSIAN, 0.5, law=law)
        np.testing.assert_allclose(moments.second_moment(-3 * GRADIENT, -3 * HESSIAN, 0.5, law=law), 9 * moment, rtol=1e-13)
        turned = moments.second_moment(rotation @ GRADIENT, rotation @ HESSIAN @ rotation.T, 0.5, law=law)
        same = np.allclose(turned, rotation @ moment @ rotation.T, rtol=1e-12)
        assert same == (law != "rademacher")


def test_a_vanishing_radius_and_two_sides_leave_the_linear_part():
    linear = moments.second_moment(GRADIENT)
    np.testing.assert_array_equal(moments.second_moment(GRADIENT, HESSIAN, 0.0), linear)
    np.testing.assert_array_equal(moments.second_moment(GRADIENT, HESSIAN, 3.0, sided=2), linear)
    np.testing.assert_allclose(linear, GRADIENT @ GRADIENT * np.eye(3) + 2 * np.outer(GRADIENT, GRADIENT), rtol=1e-15)


def exponential_means(a, radius, law, sided) -> np.ndarray:
    """E ghat of exp(a'x) at 0, by enumeration or by quadratures fine enough for float64."""
    d = len(a)
    if law == "gaussian":
        points, weights = np.polynomial.hermite_e.hermegauss(40)
        nodes = np.array(list(itertools.product(points, repeat=d)))
        weights = np.array([np.prod(w) for w in itertools.product(weights / weights.sum(), repeat=d)])
    elif law == "rademacher":
        nodes = np.array(list(itertools.product([-1.0, 1.0], repeat=d)))
        weights = np.full(len(nodes), 1 / len(nodes))
    else:
        angles = 2 * np.pi * np.arange(64) / 64
        nodes, weights = np.stack([np.cos(angles), np.sin(angles)], axis=1), np.full(64, 1 / 64)
    forward, backward = np.exp(radius * nodes @ a), np.exp(-radius * nodes @ a)
    slopes = (forward - 1) / radius if sided == 1 else (forward - backward) / (2 * radius)
    return (d if law == "sphere" else 1) * (weights * slopes) @ nodes


@pytest.mark.parametrize("law, sided, radius", list(itertools.product(LAWS, (1, 2), (0.3, 1.5))))
def test_exponential_bias_is_the_same_for_one_and_two_sides(law, sided, radius):
    a = np.array([0.8, -0.5])
    expected = exponential_means(a, radius, law, sided) - a
    np.testing.assert_allclose(moments.exponential_bias(a, radius, law=law), expected, rtol=1e-11)


def test_exponential_bias_keeps_its_digits_at_tiny_radii():
    a, radius = np.array([3.0, 4.0, 0.0]), 1e-9
    leading = {"gaussian": a * 25 / 2, "sphere": a * 25 / 10, "rademacher": a * (25 / 2 - a**2 / 3)}
    for law in LAWS:
        np.testing.assert_allclose(moments.exponential_bias(a, radius, law=law), radius**2 * leading[law], rtol=1e-12)
        np.testing.assert_array_equal(moments.exponential_bias(a, 0.0, law=law), np.zeros(3))


def test_exponential_bias_on_the_sphere_in_closed_form_for_three_dimensions():
    t = 2.5  # the ball average of exp in three dimensions is 3 (t cosh t - sinh t)/t^3
    closed = 3 * (t * np.cosh(t) - np.sinh(t)) / t**3 - 1
    assert moments.exponential_bias([1.0, 0.0, 0.0], t, law="sphere")[0] == pytest.approx(closed, rel=1e-13, abs=0)


def test_an_overflowing_bias_is_infinite():
    assert np.isinf(moments.exponential_bias([1e3], 1.0)).all()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: moments.covariance_map("normal", 3), "law must be one of 'gaussian', 'rademacher', 'sphere', got 'normal'"),
        (lambda: moments.covariance_map("gauss", 3), r"did you mean 'gaussian'\?"),
        (lambda: moments.covariance_map("gaussian", -1), "dimension must be a whole number of at least 0, got -1"),
        (lambda: moments.covariance_map("gaussian", 3, 0), "directions must be a whole number of at least 1, got 0"),
        (lambda: moments.variance_factor(0), "dimension must be a whole number of at least 1, got 0"),
        (lambda: moments.radius_covariance([[1.0, 2.0]], 0.1), r"hessian must be a symmetric matrix of shape \(d, d\), got"),
        (lambda: moments.radius_covariance([[1.0, 2.0], [0.0, 1.0]], 0.1), "got an asymmetry of 2"),
        (lambda: moments.radius_covariance([[1.0]], -0.1), "radius must be nonnegative and finite, got -0.1"),
        (lambda: moments.radius_covariance([[1.0]], 0.1, sided=3), "sided must be 1 or 2, got 3"),
        (lambda: moments.radius_covariance([[1.0]], 0.1, sided=True), "sided must be 1 or 2, got True"),
        (lambda: moments.second_moment([]), "gradient must be a non-empty 1-dimensional array"),
        (lambda: moments.second_moment([1.0, np.nan]), "gradient must be a non-empty 1-dimensional array of finite"),
        (lambda: moments.second_moment([1.0], np.eye(2)), r"hessian must be a symmetric matrix of shape \(1, 1\)"),
        (lambda: moments.exponential_bias(1.0, 0.1), "direction must be a non-empty 1-dimensional array"),
        (lambda: moments.exponential_bias([1.0], np.inf), "radius must be nonnegative and finite, got inf"),
    ],
)
def test_bad_input_is_refused_at_the_door(call, message):
    with pytest.raises(ValueError, match=message):
        call()
