"""Epoch maps of components with their own Hessians against all orderings written out, and the laws they obey."""

import itertools

import numpy as np
import pytest

from theory_lab.theory import dynamics
from theory_lab.theory.heterogeneous import (
    advance,
    component_maps,
    epoch_map,
    growth,
    stationary_moments,
    step_size_limit,
    with_replacement_limit,
)
from theory_lab.theory.reshuffling import incremental_fixed_point, stationary_variance
from theory_lab.theory.reshuffling_bias import reshuffling_bias, two_type_crossover, two_type_floor, two_type_moments

PAULI = np.array([[[1.0, 0.0], [0.0, -1.0]], [[0.0, 1.0], [1.0, 0.0]]])


def indefinite_family(h: float, s: float) -> np.ndarray:
    """Four components with mean h I and mean square (h^2 + s^2) I that do not commute."""
    return h * np.eye(2) + s * np.concatenate([PAULI, -PAULI])


def random_components(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    h = rng.normal(size=(n, d, d))
    h = (h + h.transpose(0, 2, 1)) / 4 + np.eye(d)
    b = rng.normal(size=(n, d))
    return h, b - b.mean(axis=0)


def moments_of(z: np.ndarray) -> np.ndarray:
    return np.concatenate(([1.0], z, np.outer(z, z).ravel()))


@pytest.mark.parametrize(
    "law, p, q, sided", [("gaussian", 1, 1, 1), ("gaussian", 2, 1, 2), ("sphere", 2, 2, 1), ("rademacher", 2, 2, 1)]
)
def test_a_component_map_is_the_average_over_directions(law, p, q, sided, estimates):
    h, b = random_components(3, p + 1)
    maps = component_maps(h, b, p, (0.3, 0.5), directions=q, law=law, radius=0.6, sided=sided)
    z = np.array([0.7, -1.0, 0.4])[: p + 1]
    for i in range(3):
        value = lambda x, i=i: np.r_[x, z[p:]] @ h[i] @ np.r_[x, z[p:]] / 2 - b[i] @ np.r_[x, z[p:]]
        values, weights = estimates(value, z[:p], law=law, radius=0.6, directions=q, sided=sided)
        after = np.column_stack([z[:p] - 0.3 * values, np.tile(z[p:] - 0.5 * (h[i] @ z - b[i])[p:], (len(values), 1))])
        expected = np.concatenate(([1.0], weights @ after, np.einsum("m,mi,mj->ij", weights, after, after).ravel()))
        np.testing.assert_allclose(maps[i] @ moments_of(z), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("counts", [None, (1, 2, 1)])
def test_reshuffling_is_the_average_over_all_permutations(counts):
    h, b = random_components(3, 2)
    maps = component_maps(h, b, 1, (0.2, 0.4))
    pool = np.repeat(np.arange(3), counts or (1, 1, 1))
    products = []
    for order in itertools.permutations(pool):
        product = np.eye(7)
        for i in order:
            product = maps[i] @ product
        products.append(product)
    np.testing.assert_allclose(
        epoch_map(maps, "random_reshuffling", counts=counts), np.mean(products, axis=0), rtol=1e-12, atol=1e-14
    )
    np.testing.assert_allclose(epoch_map(maps, "incremental", counts=counts), products[0], rtol=1e-12, atol=1e-14)
    independent = np.linalg.matrix_power(maps[pool].mean(axis=0), len(pool))
    np.testing.assert_allclose(epoch_map(maps, "with_replacement", counts=counts), independent, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("n", [2, 5])
def test_shared_hessians_reduce_to_the_shared_recursion(n):
    _, b = random_components(n, 3)
    h = random_components(1, 3)[0][0]
    model = dynamics.shared_quadratic(h, 2, (0.1, 0.3), covariance=b.T @ b / n, directions=2, radius=0.4)
    maps = component_maps(np.broadcast_to(h, (n, 3, 3)), b, 2, (0.1, 0.3), directions=2, radius=0.4)
    for count, ordering in ((None, "with_replacement"), (n, "random_reshuffling")):
        stationary = stationary_moments(epoch_map(maps, ordering))
        np.testing.assert_allclose(stationary.second, dynamics.stationary_moment(model, n=count), rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(stationary.mean, 0, atol=1e-12)


def test_epochs_advance_the_moments_as_the_shared_recursion_does():
    _, b = random_components(4, 3)
    h = random_components(1, 3)[0][0]
    model = dynamics.shared_quadratic(h, 2, (0.1, 0.3), covariance=b.T @ b / 4)
    maps = component_maps(np.broadcast_to(h, (4, 3, 3)), b, 2, (0.1, 0.3))
    start = np.array([1.0, -2.0, 0.5])
    after = dynamics.Moments(start, np.outer(start, start))
    rows = dynamics.trajectory(model, start, epochs=3, n=4)
    for epoch in range(1, 4):
        after = advance(epoch_map(maps, "random_reshuffling"), after)
        np.testing.assert_allclose(after.mean, rows.mean[epoch], rtol=1e-11)
        np.testing.assert_allclose(after.second, rows.second[epoch], rtol=1e-11)


def test_incremental_settles_at_the_fixed_point():
    targets = np.array([1.0, -2.0, 0.5, 0.5])
    maps = component_maps(np.full((4, 1, 1), 0.7), 0.7 * targets[:, None], 0, (0.0, 0.3))
    stationary = stationary_moments(epoch_map(maps, "incremental"))
    fixed = incremental_fixed_point(0.3, 0.7, targets)
    assert stationary.mean[0] == pytest.approx(fixed, rel=1e-12, abs=0)
    assert stationary.second[0, 0] == pytest.approx(fixed**2, rel=1e-12, abs=0)


def test_two_types_at_n_160():
    """Exact mean 2.435e-4 (leading order 2.5e-4) and variance 1.072e-6 (1.067e-6) of h = 1 +- 0.5, b = +-1 at eta = 1e-3."""
    maps = component_maps([[[1.5]], [[0.5]]], [[1.0], [-1.0]], 0, (0.0, 1e-3))
    mean, second = stationary_moments(epoch_map(maps, "random_reshuffling", counts=(80, 80)))
    assert mean[0] == pytest.approx(2.435e-4, abs=5e-8)
    assert second[0, 0] - mean[0] ** 2 == pytest.approx(1.072e-6, abs=5e-10)
    leading = two_type_floor(1e-3, 1.0, 0.5, 1.0, 160)
    assert leading.bias_sq == pytest.approx(2.5e-4**2, rel=1e-12, abs=0)
    assert leading.variance == pytest.approx(1.067e-6, abs=5e-10)


@pytest.mark.parametrize("h", [1.0, 4.0])
def test_the_two_type_floor_is_the_leading_order_for_every_curvature(h):
    a, s, n, errors = 0.5 * h, 2.0, 40, []
    for eta in np.array([4e-3, 1e-3]) / h:
        mean, second = two_type_moments(eta, h, a, s, n)
        leading = two_type_floor(eta, h, a, s, n)
        errors.append([mean**2 / leading.bias_sq - 1, (second - mean**2) / leading.variance - (1 + 1 / n)])
    assert np.all(np.abs(errors[1]) < 0.05)
    assert np.all(np.abs(errors[1]) < 0.5 * np.abs(errors[0]) + 0.01)


def test_two_types_over_all_orders():
    """The fixed point of E z and E z^2 over all 4! orders of an epoch, each an affine map of z."""
    eta, h, a, s = 0.3, 1.2, 0.7, 1.5
    maps = []
    for order in itertools.permutations([(h + a, s), (h + a, s), (h - a, -s), (h - a, -s)]):
        slope, offset = 1.0, 0.0
        for curvature, tilt in order:
            slope, offset = (1 - eta * curvature) * slope, (1 - eta * curvature) * offset + eta * tilt
        maps.append((slope, offset))
    slopes, offsets = np.array(maps).T
    mean = offsets.mean() / (1 - slopes.mean())
    second = (2 * mean * (slopes * offsets).mean() + (offsets**2).mean()) / (1 - (slopes**2).mean())
    assert two_type_moments(eta, h, a, s, 4) == pytest.approx((mean, second), rel=1e-12, abs=0)
    with pytest.raises(ValueError, match="n must be even, got 3"):
        two_type_moments(eta, h, a, s, 3)


def test_the_crossover_equates_bias_and_variance():
    eta = two_type_crossover(2.0, 0.7, 30)
    floor = two_type_floor(eta, 2.0, 0.7, 1.3, 30)
    assert floor.bias_sq == pytest.approx(floor.variance, rel=1e-13, abs=0)
    assert two_type_floor(eta / 2, 2.0, 0.7, 1.3, 30).bias_sq > two_type_floor(eta / 2, 2.0, 0.7, 1.3, 30).variance


@pytest.mark.parametrize("p", [0, 2])
def test_the_bias_converges_to_its_leading_term(p):
    """Relative error proportional to eta, the same with a zeroth-order block."""
    h, b = random_components(6, 3)
    minimiser = np.linalg.solve(h.mean(axis=0), b.mean(axis=0))
    gradients = h @ minimiser - b
    errors = []
    for eta in (4e-3, 2e-3, 1e-3):
        maps = component_maps(h, b, p, (eta, eta))
        exact = stationary_moments(epoch_map(maps, "random_reshuffling")).mean - minimiser
        leading = reshuffling_bias(eta, h, gradients)
        errors.append(np.linalg.norm(exact - leading) / np.linalg.norm(leading))
    assert errors[2] < 0.02
    np.testing.assert_allclose(np.array(errors[:2]) / errors[1:], 2, rtol=0.05)


def test_the_bias_scales_and_is_linear_in_the_step():
    h, b = random_components(4, 2)
    bias = reshuffling_bias(0.1, h, b)
    np.testing.assert_allclose(reshuffling_bias(0.3, h, b), 3 * bias, rtol=1e-13)
    np.testing.assert_allclose(reshuffling_bias(0.01, 10 * h, 10 * b), bias, rtol=1e-13)
    np.testing.assert_allclose(reshuffling_bias(0.1, np.broadcast_to(h[0], h.shape), b), 0, atol=1e-15)


def test_growth_is_that_of_the_longest_product():
    h, b = random_components(3, 2)
    maps = component_maps(h, b, 0, (0.0, 0.4))
    product = np.eye(2)
    for i in range(3):
        product = (np.eye(2) - 0.4 * h[i]) @ product
    radius = np.abs(np.linalg.eigvals(product)).max()
    assert growth(epoch_map(maps, "incremental")) == pytest.approx(radius**2, rel=1e-12, abs=0)


def test_limits_of_commuting_indefinite_components():
    """Curvatures 0.02 +- 1: 0.04 with replacement; 1.3946 in any order without, whatever n."""
    pair = np.array([[[1.02]], [[-0.98]]])
    assert step_size_limit(pair, "with_replacement") == pytest.approx(with_replacement_limit(0.02, 1.0), rel=1e-9, abs=0)
    assert with_replacement_limit(0.02, 1.0) == pytest.approx(0.040, abs=5e-4)
    for m in (1, 4, 16):
        for ordering in ("random_reshuffling", "incremental"):
            assert step_size_limit(pair, ordering, counts=(m, m)) == pytest.approx(1.3946, abs=5e-5)


def test_the_limit_with_replacement_needs_no_commuting():
    h = indefinite_family(0.02, 1.0)
    assert step_size_limit(h, "with_replacement", counts=(3, 3, 3, 3)) == pytest.approx(
        with_replacement_limit(0.02, 1.0), rel=1e-9
    )


def test_limits_of_non_commuting_indefinite_components_fall_with_n():
    """1.5/sqrt(n) reshuffled and 3.5/n in sorted order, far above the limit with replacement."""
    h = indefinite_family(1e-4, 1.0)
    reshuffled = {4 * m: step_size_limit(h, "random_reshuffling", counts=(m,) * 4) for m in (1, 2, 3, 4)}
    for n, limit in reshuffled.items():
        assert limit * np.sqrt(n) == pytest.approx(1.5, rel=0.02, abs=0)
        assert limit > 1000 * with_replacement_limit(1e-4, 1.0)
    for n in (16, 64, 256):
        assert step_size_limit(h, "incremental", counts=(n // 4,) * 4) * n == pytest.approx(3.5, rel=0.01, abs=0)


def test_convex_components_are_limited_by_their_own_smoothness():
    """Rank-one components of norm 1 in general position: 2 with replacement or reshuffled, for every n."""
    for n in (2, 4, 6):
        angles = np.pi * np.arange(n) / n
        directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        h = directions[:, :, None] * directions[:, None, :]
        for ordering in ("with_replacement", "random_reshuffling"):
            assert step_size_limit(h, ordering) == pytest.approx(2.0, rel=1e-8, abs=0)
        assert step_size_limit(h, "incremental") >= 2.0 - 1e-8


def test_one_component_is_the_shared_limit():
    from theory_lab.theory import quadratic

    limit = step_size_limit([np.diag([3.0, 1.0])], "with_replacement", zeroth_dimension=2, directions=3)
    assert limit == pytest.approx(quadratic.step_size_limit([3.0, 1.0], directions=3), rel=1e-9, abs=0)
    ray = step_size_limit([np.diag([3.0, 1.0])], "random_reshuffling", zeroth_dimension=1, ray=(0.1, 2.0))
    assert ray == pytest.approx(1.0, rel=1e-9, abs=0)  # eta_y = 2 eta on curvature 1


def test_stationary_variance_of_equal_curvatures():
    targets = np.array([1.0, -1.0, 2.0, -2.0, 0.0])
    maps = component_maps(np.full((5, 1, 1), 2.0), 2.0 * targets[:, None], 0, (0.0, 0.15))
    for name in ("with_replacement", "random_reshuffling"):
        exact = stationary_moments(epoch_map(maps, name)).second[0, 0]
        assert stationary_variance(0.15, 2.0, 5, np.mean(targets**2), name) == pytest.approx(exact, rel=1e-11, abs=0)


MAPS = component_maps(np.ones((2, 1, 1)), np.zeros((2, 1)), 0, (0.0, 0.1))


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: component_maps(np.eye(2), np.zeros((2, 1)), 0, (0.1, 0.1)),
            "hessians must be a non-empty 3-dimensional array",
        ),
        (
            lambda: component_maps([[[1.0, 2.0], [0.0, 1.0]]], [[0.0, 0.0]], 0, (0.1, 0.1)),
            r"hessians\[0\] must be a symmetric matrix",
        ),
        (
            lambda: component_maps(np.ones((2, 1, 1)), np.zeros((3, 1)), 0, (0.1, 0.1)),
            r"linear_terms must be an array of shape \(2, 1\), got one of",
        ),
        (
            lambda: component_maps(np.ones((2, 1, 1)), np.zeros((2, 1)), 2, (0.1, 0.1)),
            "zeroth_dimension must be at most the dimension 1",
        ),
        (
            lambda: component_maps(np.ones((2, 1, 1)), np.zeros((2, 1)), 0, (0.1, -0.1)),
            r"step_sizes must be a pair \(x, y\)",
        ),
        (
            lambda: epoch_map(MAPS, "shuffle_once"),
            "ordering must be one of 'with_replacement', 'random_reshuffling', 'incremental'",
        ),
        (lambda: epoch_map(MAPS, "incremental", counts=(1,)), r"counts must be one whole number per component \(2\), got"),
        (lambda: epoch_map(MAPS, "incremental", counts=(1, 0)), "counts must be a whole number of at least 1, got 0"),
        (
            lambda: stationary_moments(epoch_map(component_maps(np.ones((1, 1, 1)), [[0.0]], 0, (0.0, 2.5)), "incremental")),
            "epoch must be a contraction",
        ),
        (
            lambda: advance(MAPS[0], dynamics.Moments(np.zeros(2), np.zeros((2, 2)))),
            r"moments must be of dimension 1, as the map is, got 'shapes \(2,\) and \(2, 2\)'",
        ),
        (lambda: growth(np.eye(4)), r"epoch must be a matrix from epoch_map, got 'shape \(4, 4\)'"),
        (
            lambda: step_size_limit([[[1.0]], [[-1.0]]], "incremental"),
            "the mean of hessians must be positive definite, with no eigenvalue below 1e-6",
        ),
        (lambda: step_size_limit([[[1.0]]], "cyclic"), "ordering must be one of"),
        (
            lambda: step_size_limit([[[1.0]]], "incremental", ray=(0.0, 1.0)),
            r"ray must be a pair \(x, y\) of positive finite numbers",
        ),
        (lambda: with_replacement_limit(0.0, 1.0), "mean_curvature must be positive and finite, got 0.0"),
        (lambda: with_replacement_limit(1.0, -1.0), "spread must be nonnegative and finite, got -1.0"),
        (
            lambda: reshuffling_bias(0.1, np.ones((2, 1, 1)), [[1.0], [0.0]]),
            "gradients must be zero on average, as they are at the minimiser",
        ),
        (
            lambda: reshuffling_bias(0.1, np.ones((2, 1, 1)), [[1.0]]),
            r"gradients must be an array of shape \(2, 1\), got one of shape \(1, 1\)",
        ),
        (lambda: reshuffling_bias(0.1, [[[1.0]], [[-1.0]]], [[1.0], [-1.0]]), "hessians must be nonsingular on average"),
        (lambda: reshuffling_bias(-0.1, np.ones((1, 1, 1)), [[0.0]]), "step_size must be positive and finite, got -0.1"),
        (lambda: two_type_floor(0.1, 1.0, -0.5, 1.0, 2), "spread must be nonnegative and finite, got -0.5"),
        (lambda: two_type_crossover(1.0, 0.5, 0), "n must be a whole number of at least 1, got 0"),
    ],
)
def test_bad_input_is_refused_at_the_door(call, message):
    with pytest.raises(ValueError, match=message):
        call()
