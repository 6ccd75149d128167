"""Laws of the hard instances: the drift they rest on by quadrature, their scaling, and the bound that they meet."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from theory_lab.theory import first_order
from theory_lab.theory.hard_instances import CONSTANT, LARGEST_CONSTANT, minimax, one_sided_floor, one_sided_slope


def test_largest_constant_is_the_mean_penetration_of_a_bridge():
    positive_part = lambda t: math.sqrt(t * (1 - t)) * stats.norm.pdf(0)  # E N(0, v)_+ = sqrt(v) phi(0)
    assert integrate.quad(positive_part, 0, 1)[0] == pytest.approx(LARGEST_CONSTANT, rel=1e-7)


def test_drift_at_the_kink_pushes_back_to_the_flat_side():
    """Over all orders of +-1 (n = 10) the curved side weighs more than the slope, at every x >= 0."""
    n, eta = 10, 0.01
    slope = one_sided_slope(eta, 1.0, 1.0, n)
    orders = np.array([s for s in itertools.product([1.0, -1.0], repeat=n) if sum(s) == 0])
    bridges = eta * np.cumsum(np.pad(orders, ((0, 0), (1, 0))), axis=1)[:, :-1]
    for x in (0.0, 0.3 * eta, eta):
        assert np.maximum(x + bridges, 0).mean() > slope


@pytest.mark.parametrize(("n", "product", "least"), [(16, 0.1, 1.0), (16, 0.3, 0.998), (64, 0.3, 0.998), (64, 1.0, 0.94)])
def test_iterates_keep_the_share_of_the_floor_that_is_told(n, product, least):
    """The mean of f'^2 at epoch ends over the floor, once the runs have settled, within four standard errors."""
    rng, eta, runs = np.random.default_rng(0), product / n, 1000
    slope, x, squares = one_sided_slope(eta, 1.0, 1.0, n), np.zeros(1000), []
    signs = np.tile(np.repeat([1.0, -1.0], n // 2)[:, None], (1, runs))
    for epoch in range(int(60 / product) + 60):
        for tilt in rng.permuted(signs, axis=0):
            x = x - eta * (np.maximum(x, 0) - slope + tilt)
        if epoch >= 60 / product:
            squares.append((np.maximum(x, 0) - slope) ** 2)
    shares = np.mean(squares, axis=0) / one_sided_floor(eta, 1.0, 1.0, n)
    error = 4 * shares.std() / math.sqrt(runs) + 1e-12
    assert least - error < shares.mean() < 1 + error
    assert product < 1 or shares.mean() + error < 0.97


def test_floor_is_a_fixed_share_of_the_upper_bounds_noise():
    for n, eta in ((16, 0.01), (256, 0.001)):
        noise = first_order.reshuffling_bound(step_size=eta, smoothness=1.0, dispersion=2.0, initial_gap=0.0, n=n, epochs=1)
        ratio = one_sided_floor(eta, 1.0, 2.0, n) / noise
        assert ratio == pytest.approx(CONSTANT**2 * 7 / 4 * n / (n + 1), rel=1e-12)


def test_minimax_instance_balances_its_parts_below_the_upper_bound():
    for n, epochs in ((8, 500), (64, 200_000)):
        found = minimax(smoothness=1.0, dispersion=3.0, initial_gap=2.0, n=n, epochs=epochs)
        assert found.average == pytest.approx(2 * found.curvature * 2.0 / math.e**2, rel=1e-12)
        assert found.average == pytest.approx(one_sided_floor(found.step_size, 1.0, 3.0, n), rel=1e-12)
        assert found.curvature * found.step_size * n * epochs == pytest.approx(1, rel=1e-12)
        bound = first_order.reshuffling_tuned(smoothness=1.0, dispersion=3.0, initial_gap=2.0, n=n, epochs=epochs).bound
        assert 0.02 < found.average / bound < 0.04  # the constants of the two rates


def test_exponents_of_the_minimax_average():
    at = lambda n, epochs: minimax(smoothness=1.0, dispersion=1.0, initial_gap=1.0, n=n, epochs=epochs).average
    assert math.log2(at(16, 8000) / at(16, 4000)) == pytest.approx(-2 / 3, rel=1e-12)
    assert math.log2(at(32, 4000) / at(16, 4000)) == pytest.approx(-1 / 3, rel=1e-12)


def test_doors():
    with pytest.raises(ValueError, match=r"constant must be in \(0, 0.156"):
        one_sided_slope(0.1, 1.0, 1.0, 4, constant=0.2)
    with pytest.raises(ValueError, match="epochs must be enough for a flat direction below the smoothness 1, got 1"):
        minimax(smoothness=1.0, dispersion=100.0, initial_gap=1e-6, n=2, epochs=1)
