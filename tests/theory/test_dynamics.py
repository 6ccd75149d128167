"""Moment recursions against every path: all orders of the components times all directions of an exact design."""

import itertools

import numpy as np
import pytest

from theory_lab.theory import reshuffling
from theory_lab.theory.dynamics import (
    Moments,
    expected_gap,
    expected_gradient_norms_sq,
    one_step_change,
    reshuffling_epoch,
    shared_quadratic,
    stationary_moment,
    trajectory,
    with_replacement_step,
    within_epoch,
    zeroth_order_floor,
)
from theory_lab.theory.moments import LAWS, covariance_map, radius_covariance, second_moment, variance_factor
from theory_lab.theory.quadratic import step_size_limit

HESSIAN = np.array([[1.0, -0.4, 0.5], [-0.4, 0.6, 0.2], [0.5, 0.2, 0.9]])


def components(n: int, d: int) -> np.ndarray:
    b = np.random.default_rng(n).normal(size=(n, d))
    return b - b.mean(axis=0)


def all_paths(h, b, start, steps, orders, design, law, q, radius, sided) -> Moments:
    """E z and E zz' after the given orders of components, averaged over all directions of the x-block."""
    nodes, weights, factor = design
    p = nodes.shape[1]
    chosen = np.array(list(itertools.product(range(len(nodes)), repeat=q)))
    v, odds = nodes[chosen], weights[chosen].prod(axis=1)  # (m, q, p), (m,)
    mean, second = np.zeros(len(h)), np.zeros_like(h)
    for order in orders:
        z, w = start[None], np.ones(1)
        for i in order:
            value = lambda s, i=i: np.einsum("...i,ij,...j->...", s, h, s) / 2 - s @ b[i]
            moved = np.broadcast_to(z[:, None, None], (len(z), *v.shape[:2], len(h))).copy()
            behind = moved.copy()
            moved[..., :p] += radius * v
            behind[..., :p] -= radius * v
            if sided == 1:
                slope = (value(moved) - value(z)[:, None, None]) / radius
            else:
                slope = (value(moved) - value(behind)) / (2 * radius)
            estimate = np.broadcast_to((z @ h - b[i])[:, None], (len(z), len(v), len(h))).copy()
            estimate[..., :p] = factor * np.einsum("abq,bqp->abp", slope, v) / q
            z = (z[:, None] - steps * estimate).reshape(-1, len(h))
            w = np.multiply.outer(w, odds).ravel()
        mean += w @ z / len(orders)
        second += np.einsum("m,mi,mj->ij", w, z, z) / len(orders)
    return Moments(mean, second)


PATHS = [
    ("gaussian", 1, 1),
    ("gaussian", 2, 1),
    ("sphere", 2, 1),
    ("rademacher", 2, 1),
    ("rademacher", 2, 2),
    ("rademacher", 1, 2),
]


@pytest.mark.parametrize("law, p, q, sided", [(*case, sided) for case in PATHS for sided in (1, 2)])
def test_recursions_are_the_average_of_all_paths(law, p, q, sided, design):
    d = p + 1
    h, steps = HESSIAN[:d, :d], np.r_[np.full(p, 0.3), 0.5]
    start = np.array([0.7, -1.0, 0.4])[:d]
    n = 2 if p == 2 and law != "rademacher" else 3
    if q == 2 and p == 2:
        n = 2
    b = components(n, d)
    model = shared_quadratic(h, p, (0.3, 0.5), covariance=b.T @ b / n, directions=q, law=law, radius=0.6, sided=sided)
    arguments = (h, b, start, steps)
    rest = (design(law, p), law, q, 0.6, sided)
    expected = all_paths(*arguments, list(itertools.permutations(range(n))), *rest)
    computed = reshuffling_epoch(model, Moments(start, np.outer(start, start)), n)
    np.testing.assert_allclose(computed.mean, expected.mean, rtol=1e-11)
    np.testing.assert_allclose(computed.second, expected.second, rtol=1e-10, atol=1e-12)
    expected = all_paths(*arguments, list(itertools.product(range(n), repeat=2)), *rest)
    computed = Moments(start, np.outer(start, start))
    for _ in range(2):
        computed = with_replacement_step(model, computed)
    np.testing.assert_allclose(computed.mean, expected.mean, rtol=1e-11)
    np.testing.assert_allclose(computed.second, expected.second, rtol=1e-10, atol=1e-12)


def coupled_model(q: int = 1, law: str = "gaussian", radius: float = 0.0, step_sizes=(0.05, 0.3)):
    rng = np.random.default_rng(7)
    factor, noise = rng.normal(size=(5, 5)), rng.normal(size=(5, 3))
    h = factor @ factor.T / 5 + 0.2 * np.eye(5)
    return shared_quadratic(h, 3, step_sizes, covariance=noise @ noise.T, directions=q, law=law, radius=radius)


@pytest.mark.parametrize("ordering", ["with_replacement", "random_reshuffling"])
def test_a_trajectory_lists_epoch_starts(ordering):
    model, start = coupled_model(), np.arange(5.0)
    rows = trajectory(model, start, epochs=3, n=4, ordering=ordering)
    assert rows.mean.shape == (4, 5)
    np.testing.assert_array_equal(rows.second[0], np.outer(start, start))
    row = Moments(rows.mean[1], rows.second[1])
    if ordering == "random_reshuffling":
        row = reshuffling_epoch(model, row, 4)
    else:
        for _ in range(4):
            row = with_replacement_step(model, row)
    np.testing.assert_allclose(rows.second[2], row.second, rtol=1e-14)
    np.testing.assert_allclose(rows.mean[2], np.linalg.matrix_power(model.contraction, 8) @ start, rtol=1e-12)


@pytest.mark.parametrize(
    "law, q, radius", [("gaussian", 1, 0.0), ("gaussian", 3, 0.5), ("sphere", 1, 0.5), ("rademacher", 2, 0.5)]
)
@pytest.mark.parametrize("n", [None, 2, 16])
def test_the_stationary_law_is_a_fixed_point(n, law, q, radius):
    model = coupled_model(q, law, radius)
    second = stationary_moment(model, n=n)
    law_ = Moments(np.zeros(5), second)
    after = with_replacement_step(model, law_) if n is None else reshuffling_epoch(model, law_, n)
    np.testing.assert_allclose(after.second, second, rtol=1e-11, atol=1e-13)
    assert np.linalg.eigvalsh(second)[0] > 0


def test_runs_reach_the_stationary_law():
    model = coupled_model(step_sizes=(0.2, 0.6))
    for n, ordering in ((None, "with_replacement"), (8, "random_reshuffling")):
        last = trajectory(model, np.ones(5), epochs=80, n=n or 8, ordering=ordering).second[-1]
        np.testing.assert_allclose(last, stationary_moment(model, n=n), rtol=1e-9)


@pytest.mark.parametrize("n", [2, 7, 40])
def test_without_a_zeroth_order_block_it_is_the_closed_form(n):
    h, dispersion = np.array([0.3, 1.0, 2.2]), np.array([2.0, 0.5, 1.0])
    model = shared_quadratic(np.diag(h), 0, (0.0, 0.4), covariance=np.diag(dispersion))
    for count, name in ((None, "with_replacement"), (n, "random_reshuffling")):
        expected = [reshuffling.stationary_variance(0.4, h[j], n, dispersion[j] / h[j] ** 2, name) for j in range(3)]
        np.testing.assert_allclose(stationary_moment(model, n=count), np.diag(expected), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("law, q", list(itertools.product(LAWS, (1, 3))))
@pytest.mark.parametrize("n", [2, 9])
def test_isotropic_zeroth_order_blocks_have_the_closed_form(n, law, q):
    d, h, eta = 4, 1.7, 0.05
    dispersion = np.array([2.0, 0.5, 1.0, 0.0])
    model = shared_quadratic(h * np.eye(d), d, (eta, 0.0), covariance=np.diag(dispersion), directions=q, law=law)
    for count, name in ((None, "with_replacement"), (n, "random_reshuffling")):
        closed = reshuffling.zeroth_order_variance(
            eta, h, n, dispersion.sum() / h**2, name, dimension=d, directions=q, law=law
        )
        assert np.trace(stationary_moment(model, n=count)) == pytest.approx(closed, rel=1e-10, abs=0)


@pytest.mark.parametrize("law, q", list(itertools.product(LAWS, (1, 3))))
def test_the_floor_of_a_pure_zeroth_order_block(law, q):
    spectrum, covariance = np.array([3.0, 1.0, 0.5, 0.1]), np.diag([1.0, 0.2, 0.0, 2.0])
    radius, eta = 0.4, 0.3 * step_size_limit([3.0, 1.0, 0.5, 0.1], directions=q, law=law)
    model = shared_quadratic(np.diag(spectrum), 4, (eta, 0.0), covariance=covariance, directions=q, law=law, radius=radius)
    noise = (
        covariance
        + covariance_map(law, 4, q)(covariance)
        + radius_covariance(np.diag(spectrum), radius, directions=q, law=law)
    )
    floor = zeroth_order_floor(spectrum, eta, np.diag(noise), directions=q, law=law)
    second = stationary_moment(model)
    np.testing.assert_allclose(np.diag(second), floor.second_moment, rtol=1e-10)
    assert expected_gradient_norms_sq(model, second)[0] == pytest.approx(floor.gradient_norm_sq, rel=1e-10, abs=0)


def test_floors_in_the_limit_of_small_steps():
    spectrum = np.array([3.0, 1.0, 0.5, 0.1])
    t, s2, s3 = (np.sum(spectrum**k) for k in (1, 2, 3))
    mu, eta = 0.2, 1e-7
    noise = np.diag(second_moment(np.zeros(4), np.diag(spectrum), mu))
    leading = eta * mu**2 / 8 * (t**3 + 6 * t * s2 + 8 * s3)
    assert zeroth_order_floor(spectrum, eta, noise).gradient_norm_sq == pytest.approx(leading, rel=1e-5, abs=0)


@pytest.mark.parametrize("d, ratio", [(10, 13.2), (100, 113.2), (1000, 1113)])
def test_isotropic_floors_are_first_order_floors_with_a_larger_step(d, ratio):
    eta, noise = 0.2 / (d + 2), 1.0
    zeroth = zeroth_order_floor(np.ones(d), eta, (1 + variance_factor(d)) * noise / d).gradient_norm_sq
    assert zeroth == pytest.approx(eta * (d + 2) * noise / (2 - (d + 2) * eta), rel=1e-11, abs=0)
    first = d * reshuffling.stationary_variance(eta, 1.0, 1, noise / d, "with_replacement")
    assert zeroth / first == pytest.approx(ratio, rel=2e-3, abs=0)


@pytest.mark.parametrize("law, p, q, sided", [(*case, sided) for case in PATHS for sided in (1, 2)])
def test_one_step_change_is_the_average_over_directions(law, p, q, sided, design):
    d = p + 1
    h = HESSIAN[:d, :d] - 0.8 * np.eye(d)  # indefinite
    z = np.array([0.7, -1.0, 0.4])[:d]
    model = shared_quadratic(h, p, (0.3, 0.5), directions=q, law=law, radius=0.6, sided=sided)
    after = all_paths(h, np.zeros((1, d)), z, np.r_[np.full(p, 0.3), 0.5], [(0,)], design(law, p), law, q, 0.6, sided)
    expected = expected_gap(model, after.second) - z @ h @ z / 2
    assert one_step_change(model, h @ z) == pytest.approx(expected, rel=1e-11, abs=1e-13)


def test_one_step_change_as_published_for_one_gaussian_direction():
    h, g, (x, y), mu = HESSIAN, np.array([0.3, -1.0, 0.8]), (0.3, 0.5), 0.6
    a, b, c = h[:2, :2], h[:2, 2:], h[2:, 2:]
    t, s2, s3 = (np.trace(np.linalg.matrix_power(a, k)) for k in (1, 2, 3))
    gx, gy = g[:2], g[2:]
    expected = -x * gx @ gx - y * gy @ gy + x**2 / 2 * (t * gx @ gx + 2 * gx @ a @ gx) + x * y * gx @ b @ gy
    expected += y**2 / 2 * gy @ c @ gy + x**2 * mu**2 / 8 * (t**3 + 6 * t * s2 + 8 * s3)
    assert one_step_change(shared_quadratic(h, 2, (x, y), radius=mu), g) == pytest.approx(expected, rel=1e-13, abs=0)


@pytest.mark.parametrize(
    "law, q, radius", [("gaussian", 1, 0.0), ("gaussian", 3, 0.4), ("sphere", 2, 0.0), ("rademacher", 1, 0.0)]
)
def test_theorem_one_is_an_identity_where_the_hessian_is_its_bound(law, q, radius):
    """(1/K) sum E sum_b C_b eta_b |g_b|^2 = (f_0 - E f_K)/K + N with H = diag(L_x I, L_y I): no slack anywhere."""
    smooth, (x, y), d, steps = (1.5, 4.0), (0.08, 0.2), 4, 25
    h = np.diag([smooth[0]] * d + [smooth[1]] * 2)
    noise = np.diag([0.5, 1.0, 0.0, 0.2, 0.7, 0.1])
    model = shared_quadratic(h, d, (x, y), covariance=noise, directions=q, law=law, radius=radius)
    rows = trajectory(model, np.linspace(-1, 2, d + 2), epochs=steps, ordering="with_replacement")
    kappa = 1 + variance_factor(d, directions=q, law=law)
    coefficients = (1 - kappa * x * smooth[0] / 2, 1 - y * smooth[1] / 2)
    norms = expected_gradient_norms_sq(model, rows.second[:-1])
    average = np.mean(coefficients[0] * x * norms[0] + coefficients[1] * y * norms[1])
    gaps = expected_gap(model, rows.second)
    constant = (kappa * x**2 * smooth[0] * np.trace(noise[:d, :d]) + y**2 * smooth[1] * np.trace(noise[d:, d:])) / 2
    constant += x**2 * smooth[0] / 2 * radius**2 * smooth[0] ** 2 * d * (d + 2) * (d + 4) / (4 * q)
    assert average == pytest.approx((gaps[0] - gaps[-1]) / steps + constant, rel=1e-12, abs=0)


def test_expectations_of_a_point_are_its_values():
    model, z = coupled_model(), np.linspace(-1, 1, 5)
    second = np.stack([np.outer(z, z), 4 * np.outer(z, z)])
    g = model.hessian @ z
    np.testing.assert_allclose(expected_gap(model, second), [z @ g / 2, 2 * z @ g], rtol=1e-13)
    x, y = expected_gradient_norms_sq(model, second)
    np.testing.assert_allclose(x, [g[:3] @ g[:3], 4 * g[:3] @ g[:3]], rtol=1e-13)
    np.testing.assert_allclose(y, [g[3:] @ g[3:], 4 * g[3:] @ g[3:]], rtol=1e-13)


def test_the_iterates_of_a_multiple_of_the_function_are_the_same():
    model = coupled_model(radius=0.3)
    ten = shared_quadratic(10 * model.hessian, 3, (0.005, 0.03), covariance=100 * model.covariance, radius=0.3)
    for n in (None, 5):
        np.testing.assert_allclose(stationary_moment(ten, n=n), stationary_moment(model, n=n), rtol=1e-9)


def test_reshuffling_does_not_help_against_direction_noise():
    """32 components, 20 zeroth-order dimensions: the x-block keeps kappa'/kappa of the floor, the y-block almost nothing."""
    model = shared_quadratic(np.eye(21), 20, (1e-4, 1e-3), covariance=np.eye(21))
    ratio = np.diag(stationary_moment(model, n=32)) / np.diag(stationary_moment(model))
    np.testing.assert_allclose(ratio[:20], 21 / 22, atol=0.005)
    assert ratio[20] < 5e-3


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: shared_quadratic([[1.0, 2.0], [0.0, 1.0]], 1, (0.1, 0.1)), "hessian must be a symmetric matrix"),
        (
            lambda: shared_quadratic(np.eye(2), 1, (0.1, 0.1), covariance=np.eye(3)),
            r"covariance must be a symmetric matrix of shape \(2, 2\)",
        ),
        (
            lambda: shared_quadratic(np.eye(2), 1, (0.1, 0.1), covariance=-np.eye(2)),
            "covariance must be positive semidefinite, got a matrix with",
        ),
        (lambda: shared_quadratic(np.eye(2), 1, (0.1, 0.1), radius=-1.0), "radius must be nonnegative and finite, got -1.0"),
        (lambda: shared_quadratic(np.eye(2), 0, (0.1, 0.1), sided=3), "sided must be 1 or 2, got 3"),
        (lambda: shared_quadratic(np.eye(2), 1, (0.1, 0.1), law="uniform"), "law must be one of"),
        (
            lambda: reshuffling_epoch(coupled_model(), Moments(np.zeros(5), np.zeros((5, 5))), 1),
            "n must be at least 2 where the components differ",
        ),
        (lambda: trajectory(coupled_model(), np.zeros(4), epochs=1), "start must be of the hessian's dimension 5, got 4"),
        (lambda: trajectory(coupled_model(), np.zeros(5), epochs=-1), "epochs must be a whole number of at least 0, got -1"),
        (
            lambda: trajectory(coupled_model(), np.zeros(5), epochs=1, n=2, ordering="shuffle_once"),
            "ordering must be one of 'random_reshuffling'",
        ),
        (
            lambda: stationary_moment(coupled_model(step_sizes=(9.0, 0.1))),
            r"step_sizes must be mean-square stable \(see is_stable\), got",
        ),
        (
            lambda: stationary_moment(shared_quadratic(np.diag([1.0, 0.0]), 1, (0.1, 0.1))),
            "hessian must be positive definite",
        ),
        (lambda: stationary_moment(coupled_model(step_sizes=(0.0, 0.1))), "and the step sizes positive"),
        (lambda: one_step_change(coupled_model(), [1.0]), "gradient must be of the hessian's dimension 5, got 1"),
        (lambda: zeroth_order_floor([1.0, 0.0], 0.1, 1.0), "eigenvalues must be positive, got 0.0"),
        (lambda: zeroth_order_floor([1.0, 2.0], 0.1, [1.0]), r"noise must be nonnegative, a number or of shape \(2,\), got"),
        (lambda: zeroth_order_floor([1.0, 2.0], 0.1, -1.0), "noise must be nonnegative"),
        (lambda: zeroth_order_floor([1.0, 1.0], 0.5, 1.0), "step_size must be below the stability limit"),
    ],
)
def test_bad_input_is_refused_at_the_door(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_moments_within_an_epoch_are_those_of_all_orders():
    n, steps = 4, (0.1, 0.3)
    b = components(n, 3)
    model = shared_quadratic(HESSIAN, 0, steps, covariance=b.T @ b / n)
    start = np.array([1.0, -0.5, 2.0])
    found = within_epoch(model, Moments(start, np.outer(start, start)), n)
    paths = []
    for order in itertools.permutations(range(n)):
        z = [start]
        for i in order:
            z.append(z[-1] - steps[1] * (HESSIAN @ z[-1] - b[i]))
        paths.append(z)
    assert found.mean == pytest.approx(np.mean(paths, axis=0), rel=1e-12)
    assert found.second == pytest.approx(np.einsum("okd,oke->kde", paths, paths) / len(paths), rel=1e-12)


def test_moments_within_a_stationary_epoch_have_the_known_average():
    n, eta, h, sigma_sq = 8, 0.1, 1.5, 3.0
    model = shared_quadratic([[h]], 0, (0.0, eta), covariance=[[sigma_sq]])
    second = within_epoch(model, Moments(np.zeros(1), stationary_moment(model, n=n)), n).second
    known = reshuffling.inner_average_variance(eta, h, n, sigma_sq / h**2, "random_reshuffling")
    assert second[:-1].mean() == pytest.approx(known, rel=1e-10)
    assert second[-1] == pytest.approx(second[0], rel=1e-10)
