"""The bounds against exact moments, over the class for which they are stated, and where they are attained."""

import math

import numpy as np
import pytest

from theory_lab.theory import moment_bounds, moments


def in_class(rng: np.random.Generator, d: int) -> tuple[np.ndarray, np.ndarray, float]:
    """S >= 0 of random rank with norm L, and a Hessian with -S <= H <= S."""
    spectrum = np.sort(rng.exponential(size=d) ** rng.integers(1, 4))[::-1] + 1e-9
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    inner = np.linalg.qr(rng.normal(size=(d, d)))[0]
    root = basis * np.sqrt(spectrum) @ basis.T
    return root @ (inner * rng.uniform(-1, 1, size=d) @ inner.T) @ root, basis * spectrum @ basis.T, float(spectrum[0])


def test_no_quadratic_in_the_class_exceeds_the_bounds():
    rng = np.random.default_rng(0)
    for _ in range(300):
        d, q = int(rng.integers(1, 7)), int(rng.integers(1, 5))
        h, s, smoothness = in_class(rng, d)
        rank, radius = np.trace(s) / smoothness, rng.exponential() ** 2
        g = rng.normal(size=d) * rng.exponential()
        second = moments.second_moment(g, (h + h.T) / 2, radius, directions=q)
        arguments = (g @ g, smoothness, rank, radius)
        weighted = np.trace(s @ second) / smoothness
        assert weighted <= moment_bounds.second_moment_bound(*arguments, directions=q) * (1 + 1e-12)
        variance = weighted - g @ s @ g / smoothness
        assert variance <= moment_bounds.variance_bound(*arguments, directions=q) * (1 + 1e-12)


def test_in_the_euclidean_norm_the_effective_rank_is_not_enough():
    """E||<g,v> v||^2 = (d+2)||g||^2 whatever the Hessian: the bound by r + 2 holds in the S-norm only."""
    d, rank = 10, 2.0
    exact = moments.squared_norm(np.ones(d))
    assert exact > moment_bounds.second_moment_bound(d, 1.0, rank, 0.0)
    assert exact == pytest.approx(moment_bounds.second_moment_bound(d, 1.0, d, 0.0))


@pytest.mark.parametrize("d, q", [(1, 1), (5, 1), (5, 3)])
def test_isotropic_quadratics_attain_both_factors_and_the_remainder(d, q):
    g, smoothness, radius = np.linspace(1, 2, d), 2.5, 0.3
    variance = moments.squared_norm(g, smoothness * np.eye(d), radius, directions=q) - g @ g
    linear = moment_bounds.kappa_prime(d, q) * (g @ g)
    assert variance == pytest.approx(linear + moment_bounds.remainder_bound(smoothness, d, radius, q), rel=1e-12, abs=0)
    assert moment_bounds.kappa(d, q) == 1 + moments.variance_factor(d, directions=q) == 1 + moment_bounds.kappa_prime(d, q)


def test_the_remainder_factor_holds_the_remainder_and_the_squared_bias():
    for rank, q in ((1.0, 1), (7.5, 1), (7.5, 4)):
        m = moment_bounds.remainder_bound(2.0, rank, 0.1, q)
        beta = moment_bounds.bias_bound(2.0, rank, 0.1)
        assert moment_bounds.remainder_factor(rank, q) * 0.04 == pytest.approx(m + (1 - 1 / q) * beta**2, rel=1e-14, abs=0)


def test_the_best_young_constant_is_the_best():
    for bound in (moment_bounds.second_moment_bound, moment_bounds.variance_bound):
        best = bound(2.0, 1.5, 4.0, 0.3, directions=2)
        others = [bound(2.0, 1.5, 4.0, 0.3, directions=2, young=c) for c in np.geomspace(1e-3, 1e3, 20001)]
        assert best <= min(others) <= best * (1 + 1e-6)
        assert bound(0.0, 1.5, 4.0, 0.3) > 0 == bound(0.0, 1.5, 4.0, 0.0)


def test_the_bias_bound_is_sharp_up_to_two():
    """h = (L/2) <u,x> |x| has |Hess h| <= L and at 0 the bias (1 + 1/d)/2 mu L E|v|: the ratio runs from 1.25 to 2."""
    ratios = []
    for d in (1, 2, 10, 100, 10_000):
        mean_length = math.sqrt(2) * math.exp(math.lgamma((d + 1) / 2) - math.lgamma(d / 2))
        attained = (1 + 1 / d) / 2 * 0.3 * 2.0 * mean_length
        ratios.append(moment_bounds.bias_bound(2.0, d, 0.3) / attained)
    assert ratios[0] == pytest.approx(math.sqrt(math.pi / 2))
    assert ratios[-1] == pytest.approx(2.0, rel=1e-3, abs=0)
    assert np.all(np.diff(ratios) > 0)


def test_that_function_has_that_bias():
    """The bias just quoted, by polar coordinates in two dimensions: E ghat = (1/mu) E h(mu v) v."""
    angles = 2 * np.pi * np.arange(16) / 16
    third_moment = 3 * math.sqrt(math.pi / 2)  # E|v|^3 for d = 2
    mean = (
        0.3
        * (2.0 / 2)
        * third_moment
        * np.mean(np.cos(angles)[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1), axis=0)
    )
    assert mean[0] == pytest.approx((1 + 1 / 2) / 2 * 0.3 * 2.0 * math.sqrt(math.pi / 2), rel=1e-13, abs=0)
    assert np.linalg.norm(mean) <= moment_bounds.bias_bound(2.0, 2, 0.3)


def test_largest_radius_spends_the_accuracy_exactly():
    eps, smoothness, rank, alpha, q = 0.05, 3.0, 8.0, 0.02, 2
    mu = moment_bounds.largest_radius(eps, smoothness, rank, relative_step=alpha, directions=q)
    cost = 2 * (mu * smoothness) ** 2 * (rank + alpha * moment_bounds.remainder_factor(rank, q))
    assert cost == pytest.approx(eps**2, rel=1e-13, abs=0)
    assert moment_bounds.largest_radius(2 * eps, smoothness, rank, relative_step=alpha, directions=q) == pytest.approx(
        2 * mu
    )


def test_central_bounds_hold_on_cubics(estimates):
    c = np.array([1.0, -2.0, 0.5])  # Hess = diag(c x): Lipschitz with constant max|c|
    for radius in (0.1, 1.0):
        values, weights = estimates(lambda x: c @ x**3 / 6, np.zeros(3), law="gaussian", radius=radius, sided=2)
        bias = np.linalg.norm(weights @ values)
        assert bias == pytest.approx(radius**2 * np.linalg.norm(c) / 2, rel=1e-12, abs=0)
        assert bias <= moment_bounds.central_bias_bound(2.0, 3, radius)
        spread = weights @ np.sum((values - weights @ values) ** 2, axis=1)
        assert spread <= moment_bounds.central_remainder_bound(2.0, 3, radius)
        assert (
            moment_bounds.central_remainder_bound(2.0, 3, radius, 4)
            == moment_bounds.central_remainder_bound(2.0, 3, radius) / 4
        )


def test_nesterov_and_spokoiny_are_above_ours_and_above_the_truth():
    for d, share in ((1, 0.02), (100, 0.45)):
        curved = moments.squared_norm(np.zeros(d), np.eye(d), 1.0)
        assert curved / moment_bounds.nesterov_spokoiny_bound(0.0, 1.0, d, 1.0) == pytest.approx(share, rel=0.1, abs=0)
        for g2 in (0.0, 1.0, 100.0):
            ours = moment_bounds.second_moment_bound(g2, 1.0, d, 0.5, young=1.0)
            assert ours == pytest.approx(2 * (d + 2) * g2 + 0.125 * d * (d + 2) * (d + 4), rel=1e-14, abs=0)
            assert ours < moment_bounds.nesterov_spokoiny_bound(g2, 1.0, d, 0.5)
    one, two = (moment_bounds.nesterov_spokoiny_bound(0.0, 1.0, 4, 1.0, sided=sided) for sided in (1, 2))
    assert (one, two) == (500.0, 125.0)


@pytest.mark.parametrize("power, bound", [(1, moment_bounds.bias_bound), (2, moment_bounds.remainder_bound)])
def test_bounds_scale_with_function_and_radius(power, bound):
    assert bound(6.0, 5.0, 0.1) == pytest.approx(3**power * bound(2.0, 5.0, 0.1), rel=1e-13, abs=0)
    assert bound(2.0, 5.0, 0.3) == pytest.approx(3**power * bound(2.0, 5.0, 0.1), rel=1e-13, abs=0)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: moment_bounds.kappa(0.5), r"rank must be in \[1, inf\), got 0.5"),
        (lambda: moment_bounds.kappa_prime(2.0, 0), "directions must be a whole number of at least 1, got 0"),
        (lambda: moment_bounds.bias_bound(-1.0, 2.0, 0.1), "smoothness must be nonnegative and finite, got -1.0"),
        (lambda: moment_bounds.remainder_bound(1.0, np.nan, 0.1), r"rank must be in \[1, inf\), got nan"),
        (
            lambda: moment_bounds.second_moment_bound(-1.0, 1.0, 2.0, 0.1),
            "gradient_norm_sq must be nonnegative and finite, got -1.0",
        ),
        (lambda: moment_bounds.variance_bound(1.0, 1.0, 2.0, 0.1, young=0.0), "young must be positive and finite, got 0.0"),
        (
            lambda: moment_bounds.largest_radius(0.0, 1.0, 2.0, relative_step=0.1),
            "accuracy must be positive and finite, got 0.0",
        ),
        (
            lambda: moment_bounds.largest_radius(0.1, 1.0, 2.0, relative_step=-1),
            "relative_step must be nonnegative and finite, got -1",
        ),
        (
            lambda: moment_bounds.central_bias_bound(-1.0, 2, 0.1),
            "hessian_smoothness must be nonnegative and finite, got -1.0",
        ),
        (
            lambda: moment_bounds.central_remainder_bound(1.0, 2.5, 0.1),
            "dimension must be a whole number of at least 1, got 2.5",
        ),
        (lambda: moment_bounds.nesterov_spokoiny_bound(1.0, 1.0, 3, 0.1, sided=0), "sided must be 1 or 2, got 0"),
    ],
)
def test_bad_input_is_refused_at_the_door(call, message):
    with pytest.raises(ValueError, match=message):
        call()
