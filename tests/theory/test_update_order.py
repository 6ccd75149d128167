"""Orders of updates against every path of small instances, against the known simultaneous operator, and their box."""

import itertools
import math

import numpy as np
import pytest

from theory_lab.oracles import FirstOrder, Hybrid, TwoPoint
from theory_lab.theory import dynamics, quadratic
from theory_lab.theory.dynamics import Moments, shared_quadratic
from theory_lab.theory.stability_region import step_size_boundary
from theory_lab.theory.update_order import (
    ORDERS,
    base_limit,
    epoch,
    evaluations,
    growth_factor,
    isotropic_pair,
    sequential_box,
    stationary_moment,
)

HESSIAN = np.array([[1.0, -0.4, 0.5], [-0.4, 0.6, 0.2], [0.5, 0.2, 0.9]])
STEPS = (0.3, 0.7)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(4)  # exact for moments of a normal up to order 7
SEQUENTIAL = ORDERS[1:]


def tilts(n: int) -> np.ndarray:
    b = np.random.default_rng(n).normal(size=(n, 3))
    return b - b.mean(axis=0)


def schedules(order: str, n: int, ordering: str) -> list[list[tuple[int, str]]]:
    """Every sequence of half-steps (component, blocks that move) of one epoch, all equally likely."""
    if ordering == "random_reshuffling":
        passes = list(itertools.permutations(range(n)))
    else:
        passes = list(itertools.product(range(n), repeat=n))
    halves = {"simultaneous": ["xy"], "adapter_first": ["y", "x"], "base_first": ["x", "y"]}
    if order == "alternating_epochs":
        return [[(i, "y") for i in first] + [(i, "x") for i in second] for first in passes for second in passes]
    return [[(i, blocks) for i in visits for blocks in halves[order]] for visits in passes]


def enumerated(order: str, n: int, ordering: str, start: np.ndarray, radius: float) -> Moments:
    """E z and E zz' after an epoch; x is the first coordinate, estimated from values along all quadrature nodes."""
    b, mean, second = tilts(n), np.zeros(3), np.zeros((3, 3))
    found = schedules(order, n, ordering)
    for schedule in found:
        z, w = start[None], np.ones(1)
        for i, blocks in schedule:
            value = lambda s, i=i: np.einsum("...i,ij,...j->...", s, HESSIAN, s) / 2 - s @ b[i]
            gradient = z @ HESSIAN - b[i]
            if blocks == "y":
                z = z - np.array([0, STEPS[1], STEPS[1]]) * gradient
                continue
            ahead = z[:, None] + radius * NODES[:, None] * np.eye(3)[0]
            slope = (value(ahead) - value(z)[:, None]) / radius
            estimate = np.repeat(gradient[:, None], len(NODES), axis=1)
            estimate[..., 0] = slope * NODES
            moving = np.array([STEPS[0], *(STEPS[1:] * 2 if "y" in blocks else (0.0, 0.0))])
            z = (z[:, None] - moving * estimate).reshape(-1, 3)
            w = np.multiply.outer(w, WEIGHTS / WEIGHTS.sum()).ravel()
        mean += w @ z / len(found)
        second += np.einsum("m,mi,mj->ij", w, z, z) / len(found)
    return Moments(mean, second)


@pytest.mark.parametrize("ordering", ["random_reshuffling", "with_replacement"])
@pytest.mark.parametrize("order", ORDERS)
def test_moments_agree_with_every_path(order, ordering):
    n = 3 if order != "alternating_epochs" else 2 + (ordering == "random_reshuffling")
    start, radius = np.array([0.8, -1.0, 0.5]), 0.4
    b = tilts(n)
    model = shared_quadratic(HESSIAN, 1, STEPS, covariance=b.T @ b / n, radius=radius)
    exact = epoch(model, Moments(start, np.outer(start, start)), order, n=n, ordering=ordering)
    seen = enumerated(order, n, ordering, start, radius)
    np.testing.assert_allclose(exact.mean, seen.mean, atol=1e-12)
    np.testing.assert_allclose(exact.second, seen.second, atol=1e-12)


@pytest.mark.parametrize("ordering", ["random_reshuffling", "with_replacement"])
def test_simultaneous_is_the_method_of_dynamics(ordering):
    model = shared_quadratic(HESSIAN, 2, (0.15, 0.6), covariance=np.diag([1.0, 0.3, 2.0]), radius=0.2, directions=2)
    start = Moments(np.ones(3), np.ones((3, 3)))
    known = dynamics.trajectory(model, np.ones(3), epochs=1, n=4, ordering=ordering)
    after = epoch(model, start, "simultaneous", n=4, ordering=ordering)
    np.testing.assert_allclose(after.second, known.second[1], rtol=1e-12)
    growth = quadratic.growth_factor(HESSIAN, 2, (0.15, 0.6), directions=2)
    assert growth_factor(model, "simultaneous") == pytest.approx(growth, rel=1e-10)
    n = None if ordering == "with_replacement" else 4
    stationary = stationary_moment(model, "simultaneous", n=n or 1, ordering=ordering)
    np.testing.assert_allclose(stationary, dynamics.stationary_moment(model, n=n), rtol=1e-8)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("law", ["gaussian", "sphere", "rademacher"])
def test_two_dimensions_stand_for_all(order, law):
    """Moments of E zz' averaged over rotations, the stationary trace and the growth of a rotated problem of 3 + 3."""
    d, coupling, h = 3, 0.7, (1.5, 0.5)
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(d, d)))
    across = coupling * math.sqrt(h[0] * h[1]) * turn
    hessian = np.block([[h[0] * np.eye(d), across], [across.T, h[1] * np.eye(d)]])
    root = np.random.default_rng(3).normal(size=(2 * d, 2 * d)) / 2
    covariance = root @ root.T
    options = {"law": law, "radius": 0.3, "directions": 2}
    full = shared_quadratic(hessian, d, (0.2, 1.1), covariance=covariance, **options)
    crossed = np.trace(covariance[:d, d:] @ turn.T)
    reduced = [[np.trace(covariance[:d, :d]), crossed], [crossed, np.trace(covariance[d:, d:])]]
    pair = isotropic_pair(h, coupling, d, (0.2, 1.1), covariance=np.array(reduced) / d, **options)
    np.testing.assert_allclose(pair.radius_covariance * np.eye(d), full.radius_covariance, rtol=1e-12, atol=1e-15)
    assert growth_factor(pair, order, n=3) == pytest.approx(growth_factor(full, order, n=3), rel=1e-9)
    if law == "rademacher":
        return  # diag(G) does not commute with rotations: only the traces of covariances that are multiples of I agree
    for ordering in ("with_replacement", "random_reshuffling"):
        second = stationary_moment(full, order, n=3, ordering=ordering)
        small = stationary_moment(pair, order, n=3, ordering=ordering)
        assert np.trace(second[:d, :d]) == pytest.approx(d * small[0, 0], rel=1e-9)
        assert np.trace(second[:d, d:] @ turn.T) == pytest.approx(d * small[0, 1], rel=1e-9)
        assert np.trace(hessian @ second) == pytest.approx(d * np.trace(pair.hessian @ small), rel=1e-9)


@pytest.mark.parametrize("order", ORDERS)
def test_stationary_moments_stay_and_attract(order):
    model = shared_quadratic(HESSIAN, 1, STEPS, covariance=np.diag([1.0, 0.5, 0.25]))
    fixed = stationary_moment(model, order, n=4, ordering="random_reshuffling")
    again = epoch(model, Moments(np.zeros(3), fixed), order, n=4, ordering="random_reshuffling").second
    np.testing.assert_allclose(again, fixed, rtol=1e-10)
    moments = Moments(np.zeros(3), np.eye(3))
    for _ in range(200):
        moments = epoch(model, moments, order, n=4, ordering="random_reshuffling")
    assert np.abs(moments.second - fixed).max() < 1e-6


def test_adapter_first_and_base_first_are_stable_together():
    rng = np.random.default_rng(4)
    for _ in range(20):
        root = rng.normal(size=(4, 4))
        model = shared_quadratic(root @ root.T, 2, tuple(rng.uniform(0, 1, 2)))
        assert growth_factor(model, "adapter_first") == pytest.approx(growth_factor(model, "base_first"), rel=1e-8)


def test_in_the_box_every_sequential_order_is_stable_and_the_simultaneous_one_is_not():
    rng, broken = np.random.default_rng(5), 0
    for _ in range(60):
        root = rng.normal(size=(5, 5)) * rng.uniform(0.1, 2, 5)
        model = shared_quadratic(root @ root.T, int(rng.integers(1, 5)), (0.0, 0.0), directions=int(rng.integers(1, 4)))
        edge = sequential_box(model)
        steps = tuple(float(side * rng.uniform(0.6, 0.999)) for side in edge)
        model = shared_quadratic(model.hessian, model.zeroth_dimension, steps, directions=model.directions)
        assert all(growth_factor(model, order, n=3) < 1 for order in SEQUENTIAL)
        broken += growth_factor(model, "simultaneous") >= 1
    assert broken > 30


def test_box_is_attained_without_coupling():
    for q in (1, 4):
        model = isotropic_pair((2.0, 0.5), 0.0, 20, (0.0, 1.0), directions=q)
        side = sequential_box(model)[0]
        assert side == pytest.approx(2 * q / (2.0 * (20 + q + 1)))
        assert all(base_limit(model, order, n=4) == pytest.approx(side, rel=1e-9) for order in ORDERS)


@pytest.mark.parametrize("coupling", [0.3, 0.9, 0.99])
def test_limits_against_the_schur_complement_and_the_known_region(coupling):
    d = 6
    model = isotropic_pair((2.0, 0.5), coupling, d, (0.0, 2.0))  # eta_y = 1/h_y: y is minimised over
    assert base_limit(model, "adapter_first") == pytest.approx(2 / (2.0 * (1 - coupling**2) * (d + 2)), rel=1e-9)
    across = coupling * np.eye(d)
    hessian = np.block([[2.0 * np.eye(d), across], [across, 0.5 * np.eye(d)]])
    known = step_size_boundary(hessian, d, (None, 2.0))
    assert base_limit(model, "simultaneous") == pytest.approx(known, rel=1e-9)
    assert base_limit(isotropic_pair((2.0, 0.5), coupling, d, (0.0, 4.5)), "simultaneous") == 0


def test_limits_scale_with_the_curvature():
    for order in ORDERS:
        one = base_limit(isotropic_pair((1.0, 1.0), 0.8, 10, (0.0, 1.3)), order, n=5)
        ten = base_limit(isotropic_pair((10.0, 10.0), 0.8, 10, (0.0, 0.13)), order, n=5)
        assert ten == pytest.approx(one / 10, rel=1e-8)


def test_long_passes_lose_what_coupling_gave():
    """The longer a pass over x alone, the nearer its limit to that of x alone."""
    limits = [
        base_limit(isotropic_pair((1.0, 1.0), 0.9, 50, (0.0, 1.0)), "alternating_epochs", n=n) for n in (1, 8, 64, 512)
    ]
    assert limits == sorted(limits, reverse=True)
    assert limits[0] == pytest.approx(base_limit(isotropic_pair((1.0, 1.0), 0.9, 50, (0.0, 1.0)), "adapter_first"))
    assert 2 / 52 < limits[-1] < 1.1 * 2 / 52


@pytest.mark.parametrize("sided", [1, 2])
@pytest.mark.parametrize("directions", [1, 3])
def test_evaluations_are_those_of_the_oracles(sided, directions):
    two_point = TwoPoint(1e-3, directions, sided=sided)
    point = {"x": np.zeros(2), "y": np.zeros(1)}
    both = Hybrid({"x": two_point, "y": FirstOrder()}).cost(point)
    assert evaluations("simultaneous", directions=directions, sided=sided) == (both.values, both.gradients)
    apart = [two_point.cost(point["x"]), FirstOrder().cost(point["y"])]
    for order in SEQUENTIAL:
        expected = (sum(cost.values for cost in apart), sum(cost.gradients for cost in apart))
        assert evaluations(order, directions=directions, sided=sided) == expected


def test_doors():
    model = shared_quadratic(HESSIAN, 1, STEPS, covariance=np.eye(3))
    start = Moments(np.zeros(3), np.zeros((3, 3)))
    refusals = [
        (lambda: epoch(model, start, "adapter"), "order must be one of"),
        (lambda: epoch(model, start, "base_first", ordering="incremental"), "ordering must be one of"),
        (lambda: epoch(model, start, "base_first", ordering="random_reshuffling"), "n must be at least 2"),
        (lambda: growth_factor(model, "base_first", n=0), "n must be a whole number of at least 1"),
        (lambda: growth_factor(shared_quadratic(np.eye(40), 1, STEPS), "base_first"), "hessian must be of at most 32"),
        (lambda: base_limit(shared_quadratic(np.diag([1.0, -1.0]), 1, STEPS), "base_first"), "hessian must be positive def"),
        (lambda: base_limit(shared_quadratic(np.eye(2), 0, STEPS), "base_first"), "zeroth_dimension must be at least 1"),
        (
            lambda: stationary_moment(shared_quadratic(HESSIAN, 1, (0.3, 5.0)), "base_first"),
            "step_sizes must be mean-square",
        ),
        (lambda: isotropic_pair((0.0, 1.0), 0.5, 3, STEPS), "curvatures must be"),
        (lambda: isotropic_pair((1.0, 1.0), 1.0, 3, STEPS), "coupling must be in"),
        (lambda: isotropic_pair((1.0, 1.0), 0.5, 0, STEPS), "dimension must be a whole number"),
        (lambda: evaluations("sideways"), "order must be one of"),
        (lambda: evaluations("simultaneous", sided=3), "sided must be 1 or 2"),
    ]
    for call, message in refusals:
        with pytest.raises(ValueError, match=message):
            call()


def base_limits(order: str, dimension: int, eta_y: np.ndarray) -> np.ndarray:
    return np.array([base_limit(isotropic_pair((1, 1), 0.9, dimension, (0.0, y)), order, n=8) for y in eta_y])


def test_the_adapter_first_region_contains_the_simultaneous_one_and_alternating_epochs_do_not():
    eta_y = np.linspace(0.1, 1.9, 10)
    at_once = base_limits("simultaneous", 200, eta_y)
    assert (base_limits("adapter_first", 200, eta_y) >= at_once * (1 - 1e-9)).all()
    assert 0.8 < (base_limits("alternating_epochs", 200, eta_y) / at_once).min() < 0.82  # a pass over x alone feels no y


def test_the_gain_in_area_vanishes_with_the_dimension():
    eta_y = np.linspace(0.05, 1.95, 20)
    areas = {d: [base_limits(order, d, eta_y).sum() for order in ORDERS[:2]] for d in (20, 20000)}
    assert areas[20][1] / areas[20][0] == pytest.approx(1.9, abs=0.03)
    assert areas[20000][1] / areas[20000][0] == pytest.approx(1.0, abs=0.01)
