"""The boundary of the stable region against `is_stable`, closed forms, the boxes, and the shape that is claimed for it."""

import itertools

import numpy as np
import pytest

from theory_lab.theory.moments import LAWS
from theory_lab.theory.quadratic import growth_factor, is_stable, noise_gain, step_size_limit
from theory_lab.theory.stability_region import (
    boundary_on_ray,
    hybrid_smoothness_box,
    rank_one_limit,
    step_size_boundary,
)


def coupled(d_x: int, d_y: int, rho: float) -> np.ndarray:
    h = np.eye(d_x + d_y)
    shared = min(d_x, d_y)
    h[np.arange(shared), d_x + np.arange(shared)] = h[d_x + np.arange(shared), np.arange(shared)] = rho
    return h


def random_hessian(rng: np.random.Generator, d: int) -> np.ndarray:
    factor = rng.normal(size=(d, d)) * np.exp(rng.normal(size=(d, 1)))
    return factor @ factor.T


@pytest.mark.parametrize("law, q", list(itertools.product(LAWS, (1, 4))))
def test_rays_leave_the_region_where_they_say(law, q):
    rng = np.random.default_rng(0)
    for _ in range(6):
        d = int(rng.integers(2, 7))
        p, h = int(rng.integers(0, d + 1)), random_hessian(rng, d)
        for angle in (0.05, 0.8, 1.5):
            edge = np.array(boundary_on_ray(h, p, (np.cos(angle), np.sin(angle)), directions=q, law=law))
            assert edge[1] / edge[0] == pytest.approx(np.tan(angle), rel=1e-12, abs=0)
            assert is_stable(h, p, tuple(edge * (1 - 1e-9)), directions=q, law=law)
            assert not is_stable(h, p, tuple(edge * (1 + 1e-9)), directions=q, law=law)


@pytest.mark.parametrize("law", LAWS)
def test_the_region_is_star_shaped(law):
    """The gain grows along every ray, until the mean itself diverges."""
    rng = np.random.default_rng(1)
    for _ in range(40):
        d = int(rng.integers(2, 6))
        p, h = int(rng.integers(1, d + 1)), random_hessian(rng, d)
        ray = rng.exponential(size=2)
        gains = np.array(
            [noise_gain(h, p, tuple(t * ray), law=law) for t in np.geomspace(1e-3, 3, 25) / np.linalg.norm(h, 2)]
        )
        finite = np.isfinite(gains)
        assert np.all(np.diff(gains[finite]) >= -1e-12 * gains[finite][1:] - 1e-15)
        assert np.all(np.diff(finite.astype(int)) <= 0)


def test_rays_in_special_directions():
    h = coupled(3, 2, 0.5)
    limit = step_size_limit(np.ones(3))
    assert boundary_on_ray(h, 3, (2.0, 0.0)) == (pytest.approx(limit, rel=1e-12, abs=0), 0.0)
    assert boundary_on_ray(h, 3, (0.0, 5.0)) == (0.0, pytest.approx(2.0, rel=1e-12, abs=0))
    assert boundary_on_ray(np.diag([1.0, -1.0]), 1, (1.0, 1.0)) == (0.0, 0.0)
    assert boundary_on_ray(np.zeros((2, 2)), 1, (1.0, 0.0)) == (np.inf, 0.0)


@pytest.mark.parametrize("law, q", list(itertools.product(LAWS, (1, 3))))
def test_either_step_size_has_a_largest_value(law, q):
    rng = np.random.default_rng(2)
    for _ in range(5):
        d = int(rng.integers(2, 7))
        p, h = int(rng.integers(1, d)), random_hessian(rng, d)
        eta_y = rng.uniform(0.1, 1.9) / np.linalg.norm(h[p:, p:], 2)
        eta_x = step_size_boundary(h, p, (None, eta_y), directions=q, law=law)
        assert is_stable(h, p, (eta_x * (1 - 1e-9), eta_y), directions=q, law=law)
        assert not is_stable(h, p, (eta_x * (1 + 1e-9), eta_y), directions=q, law=law)
        eta_x *= 0.9
        largest = step_size_boundary(h, p, (eta_x, None), directions=q, law=law)
        assert largest > eta_y * 0.999
        assert is_stable(h, p, (eta_x, largest * (1 - 1e-9)), directions=q, law=law)
        assert not is_stable(h, p, (eta_x, largest * (1 + 1e-9)), directions=q, law=law)


@pytest.mark.parametrize("law", LAWS)
def test_the_stable_values_of_one_step_size_form_an_interval(law):
    """Not proved; so it is tried: no gap in a scan of eta_x at fixed eta_y, nor of eta_y at fixed eta_x."""
    rng = np.random.default_rng(3)
    for _ in range(12):
        d = int(rng.integers(2, 6))
        p, h = int(rng.integers(1, d)), random_hessian(rng, d)
        top_x, top_y = np.linalg.norm(h[:p, :p], 2), np.linalg.norm(h[p:, p:], 2)
        fixed_x, fixed_y = rng.uniform(0, 0.9) / top_x, rng.uniform(0, 2) / top_y
        grid = np.linspace(0.01, 1.99, 34)
        along_x = [is_stable(h, p, (s / top_x, fixed_y), law=law) for s in grid]
        along_y = [is_stable(h, p, (fixed_x, s / top_y), law=law) for s in grid]
        assert np.sum(np.diff(np.array(along_x, dtype=int)) == 1) == 0
        assert np.sum(np.diff(np.array(along_y, dtype=int)) == 1) <= 1


def test_coupling_raises_the_limit_and_destroys_it_at_the_edge():
    """Isotropic blocks, 8 + 8 dimensions, every coordinate coupled by 0.9, relative to the uncoupled 2/(d_x + 2)."""
    h = coupled(8, 8, 0.9)
    ratios = [step_size_boundary(h, 8, (None, eta_y)) / 0.2 for eta_y in (1e-3, 0.1, 0.5, 1.0, 1.5, 1.9, 1.99)]
    assert ratios[0] == pytest.approx(1.0, abs=0.005)
    assert ratios[-1] == pytest.approx(0.06, abs=0.005)
    assert np.all(np.diff(ratios[:4]) > 0)
    assert np.all(np.diff(ratios[3:]) < 0)
    raised = 0.2 * 1.15  # above the limit at eta_y = 0: stable eta_y begin above zero
    largest = step_size_boundary(h, 8, (raised, None))
    assert not is_stable(h, 8, (raised, 1e-3))
    assert is_stable(h, 8, (raised, largest * 0.999))
    assert not is_stable(h, 8, (raised, largest * 1.001))


def test_how_much_coupling_raises_the_limit_depends_on_its_rank():
    """One coupled pair of coordinates gains 6% at eta_y L_y = 1, eight gain 55%."""
    single = np.eye(16)
    single[0, 8] = single[8, 0] = 0.9
    assert step_size_boundary(single, 8, (None, 1.0)) / 0.2 == pytest.approx(1.059, abs=5e-4)
    assert step_size_boundary(coupled(8, 8, 0.9), 8, (None, 1.0)) / 0.2 == pytest.approx(1.551, abs=5e-4)


def test_boundaries_in_special_cases():
    h = coupled(3, 2, 0.5)
    limit = step_size_limit(np.ones(3))
    assert step_size_boundary(h, 3, (None, 0.0)) == pytest.approx(limit, rel=1e-12, abs=0)
    assert step_size_boundary(h, 3, (0.0, None)) == pytest.approx(2.0, rel=1e-12, abs=0)
    assert step_size_boundary(h, 3, (None, 2.1)) == 0.0
    assert step_size_boundary(h, 3, (1.9, None)) == 0.0
    assert step_size_boundary(np.diag([1.0, -1.0]), 1, (None, 0.1)) == 0.0
    assert step_size_boundary(np.diag([1.0, -1.0]), 1, (None, 0.0)) == pytest.approx(2 / 3, rel=1e-12, abs=0)
    assert step_size_boundary(np.diag([0.0, 1.0]), 1, (None, 0.1)) == np.inf
    assert step_size_boundary(np.diag([0.0, 1.0]), 1, (None, 2.1)) == 0.0
    assert step_size_boundary(np.diag([1.0, 4.0]), 1, (0.5, None)) == pytest.approx(0.5, rel=1e-12, abs=0)
    assert step_size_boundary(np.diag([1.0, 4.0]), 0, (None, 0.1)) == np.inf


@pytest.mark.parametrize("q", [1, 5])
def test_rank_one_limit(q):
    rng = np.random.default_rng(4)
    k = rng.normal(size=5)
    size_x, size_y = np.sum(k[:3] ** 2), np.sum(k[3:] ** 2)
    for beta in (1e-3, 0.25, 1.0, 1.9):
        boundary = step_size_boundary(np.outer(k, k), 3, (None, beta / size_y), directions=q)
        assert boundary * size_x == pytest.approx(rank_one_limit(beta, directions=q), rel=1e-9, abs=0)
    if q == 1:
        betas = np.linspace(0, 2, 9)
        expected = ((1 - betas) + np.sqrt(1 + 4 * betas - 2 * betas**2)) / 3
        np.testing.assert_allclose([rank_one_limit(beta) for beta in betas], expected, rtol=1e-13, atol=1e-15)
        assert max(rank_one_limit(beta) for beta in np.linspace(0, 2, 2001)) == pytest.approx(0.71, abs=0.005)


@pytest.mark.parametrize("law, q", list(itertools.product(LAWS, (1, 4))))
def test_the_box_is_safe_for_every_problem_in_the_class(law, q):
    rng = np.random.default_rng(5)
    for _ in range(40):
        d = int(rng.integers(2, 7))
        p = int(rng.integers(1, d))
        smoothness = tuple(np.exp(rng.normal(size=2)))
        root = np.sqrt(np.where(np.arange(d) < p, *smoothness))
        basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
        h = root[:, None] * (basis * rng.uniform(0, 1, size=d) ** 0.2 @ basis.T) * root  # 0 <= h <= D
        box = hybrid_smoothness_box(smoothness, p, directions=q, law=law)
        assert growth_factor(h, p, box, directions=q, law=law) <= 1 + 1e-12


def test_the_box_is_tight_where_the_hessian_is_the_bound():
    box = hybrid_smoothness_box((2.0, 5.0), 6, directions=2)
    h = np.diag([2.0] * 6 + [5.0] * 3)
    assert box == (pytest.approx(step_size_limit(np.full(6, 2.0), directions=2)), 0.4)
    assert is_stable(h, 6, (box[0] * 0.9999, box[1] * 0.9999), directions=2)
    assert not is_stable(h, 6, (box[0] * 1.0001, box[1]), directions=2)


def test_the_boxes_in_numbers():
    assert hybrid_smoothness_box((1.0, 1.0), 18, law="sphere") == (pytest.approx(1 / 9), 2.0)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: boundary_on_ray(np.eye(2), 1, (0.0, 0.0)), r"ray must be not zero in both blocks, got \(0.0, 0.0\)"),
        (lambda: boundary_on_ray(np.eye(2), 1, (1.0, -1.0)), r"ray must be a pair \(x, y\) of nonnegative finite numbers"),
        (lambda: boundary_on_ray(np.eye(2), 3, (1.0, 1.0)), "zeroth_dimension must be at most the dimension 2"),
        (lambda: step_size_boundary(np.eye(2), 1, (0.1, 0.1)), "step_sizes must be a pair with exactly one None, got"),
        (lambda: step_size_boundary(np.eye(2), 1, (None, None)), "step_sizes must be a pair with exactly one None, got"),
        (lambda: step_size_boundary(np.eye(2), 1, None), "step_sizes must be a pair with exactly one None, got None"),
        (lambda: step_size_boundary(np.eye(2), 1, (None, -0.1)), "step_sizes must be nonnegative and finite, got -0.1"),
        (lambda: rank_one_limit(2.1), r"first_order_product must be in \[0, 2\], got 2.1"),
        (lambda: rank_one_limit(0.1, directions=0), "directions must be a whole number of at least 1, got 0"),
        (lambda: hybrid_smoothness_box((0.0, 1.0), 3), r"smoothness must be a pair \(x, y\) of positive finite numbers"),
        (lambda: hybrid_smoothness_box((1.0, 1.0), 0), "dimension must be a whole number of at least 1, got 0"),
    ],
)
def test_bad_input_is_refused_at_the_door(call, message):
    with pytest.raises(ValueError, match=message):
        call()
