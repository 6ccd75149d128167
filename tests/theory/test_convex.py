"""Proposition C against exact epochs on convex quadratics; with the effective rank for the dimension it is false."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from tests.theory.exact import Instance, random_instance
from theory_lab.theory.convex import convex_bound, convex_limits


def epoch(instance: Instance, z: np.ndarray, minimiser: np.ndarray) -> tuple[float, float]:
    """E||z_n - z*||^2_{P^-1} and the sum of E D_{pi_k}(z_k, z*) of a reshuffled epoch."""
    distance, divergence = [], []
    for permutation in itertools.permutations(range(instance.n)):
        mean, second, total = z, np.outer(z, z), 0.0
        for i in permutation:
            centred = second - np.outer(mean, minimiser) - np.outer(minimiser, mean) + np.outer(minimiser, minimiser)
            total += float(np.trace(instance.hessians[i] @ centred)) / 2
            mean, second = instance.step(i, mean, second)
        centred = second - np.outer(mean, minimiser) - np.outer(minimiser, mean) + np.outer(minimiser, minimiser)
        distance.append(float((np.diag(centred) / instance.preconditioner).sum()))
        divergence.append(total)
    return float(np.mean(distance)), float(np.mean(divergence))


def convex_slack(instance: Instance, z: np.ndarray, *, dimension: int) -> float:
    """Right side minus left side of the epoch's inequality, relative to the right."""
    minimiser = np.linalg.solve(instance.hessians.mean(0), instance.shifts.mean(0))
    squares = (z - minimiser) ** 2
    bound = convex_bound(
        step_sizes=instance.step_sizes,
        smoothness=instance.smoothness,
        optimal_dispersion=tuple(instance.squared(instance.gradients(minimiser)).mean(0)),
        initial_distance_sq=(squares[: instance.zeroth].sum(), squares[instance.zeroth :].sum()),
        n=instance.n,
        epochs=1,
        dimension=dimension,
        directions=instance.directions,
    )
    distance, divergence = epoch(instance, z, minimiser)
    two_theta = bound.distance_sq / (bound.divergence * instance.n)
    return (bound.distance_sq - distance - two_theta * divergence) / bound.distance_sq


def test_exact_epochs_never_exceed_the_bound():
    rng, slacks = np.random.default_rng(31), []
    for _ in range(200):
        n, zeroth, first, q = (int(rng.integers(*ends)) for ends in ((1, 5), (1, 6), (1, 3), (1, 4)))
        draft = random_instance(
            rng,
            n=n,
            zeroth=zeroth,
            first=first,
            step_sizes=(1, 1),
            directions=q,
            convex=True,
            isotropic=bool(rng.integers(2)),
        )
        limits = convex_limits(smoothness=draft.smoothness, dimension=zeroth, directions=q)
        instance = replace(draft, step_sizes=tuple(np.array(limits) * 10 ** rng.uniform(-2, -0.01, 2)))
        slacks.append(convex_slack(instance, rng.normal(size=zeroth + first) * 10 ** rng.uniform(-1, 1), dimension=zeroth))
    assert min(slacks) > 0
    assert min(slacks) < 0.1


def test_the_cost_of_the_order_is_attained_by_small_steps():
    """From z* with every Hessian D and no noise in x, the sum of divergences tends to the right side: nothing to gain."""
    bound, shifts = np.ones(3), np.zeros((4, 3))
    shifts[:, 1:] = np.array([(1.0, 0.0), (-1.0, 0.5), (0.3, -0.5), (-0.3, 0.0)])
    slacks = [
        convex_slack(Instance(np.tile(np.eye(3), (4, 1, 1)), shifts, 1, bound, (eta, eta)), np.zeros(3), dimension=1)
        for eta in (1e-2, 1e-3, 1e-4)
    ]
    assert slacks[0] > slacks[1] > slacks[2] > 0
    assert slacks[2] < 0.01


def flat_but_for_one() -> Instance:
    """Curvature 1 in one of thirty directions, 0.001 in the others; gradients along the steep one: rank 1.03."""
    bound = np.array([1.0] + [1e-3] * 29 + [1.0])
    shifts = np.zeros((2, 31))
    shifts[:, 0] = 1.0, -1.0
    return Instance(np.tile(np.diag(bound), (2, 1, 1)), shifts, 30, bound, (0.9 / (1 + 2 * 31), 0.5))


def test_the_effective_rank_cannot_replace_the_dimension():
    instance = flat_but_for_one()
    assert convex_slack(instance, np.zeros(31), dimension=30) > 0
    assert round(instance.rank) == 1
    bold = replace(instance, step_sizes=(0.9 / (1 + 2 * 2), 0.5))
    assert convex_slack(bold, np.zeros(31), dimension=1) < -1


def test_without_gradients_at_the_optimum_the_distance_never_grows_whatever_n():
    """Common minimiser: the bound on the distance is the start, and the step sizes owe nothing to n."""
    rng = np.random.default_rng(32)
    for n in (1, 2, 4):
        draft = random_instance(rng, n=n, zeroth=3, first=2, step_sizes=(1, 1), convex=True, extreme=True)
        box = (
            2 / (draft.smoothness[0] * (3 + 2)),
            2 / draft.smoothness[1],
        )  # convex quadratics allow twice the limits and more
        instance, z = replace(draft, shifts=np.zeros((n, 5)), step_sizes=tuple(np.array(box) * 0.999)), rng.normal(size=5)
        start = float((z**2 / instance.preconditioner).sum())
        assert epoch(instance, z, np.zeros(5))[0] <= start
    far = [
        convex_bound(
            step_sizes=(0.04, 0.9),
            smoothness=(1, 1),
            optimal_dispersion=(0, 0),
            initial_distance_sq=(1, 1),
            n=n,
            epochs=9,
            dimension=9,
        ).distance_sq
        for n in (1, 1000)
    ]
    assert far[0] == far[1]


def test_limits_are_where_the_bound_ends():
    limits = convex_limits(smoothness=(1.5, 2.0), dimension=9, directions=3)
    given = {
        "smoothness": (1.5, 2.0),
        "optimal_dispersion": (1, 1),
        "initial_distance_sq": (1, 1),
        "n": 4,
        "epochs": 2,
        "dimension": 9,
        "directions": 3,
    }
    for block in (0, 1):
        etas = [1e-3, 1e-3]
        etas[block] = limits[block] * (1 - 1e-6)
        assert convex_bound(step_sizes=tuple(etas), **given).divergence < math.inf
        etas[block] = limits[block] * (1 + 1e-6)
        assert convex_bound(step_sizes=tuple(etas), **given) == (math.inf, math.inf)
    with pytest.raises(ValueError, match=r"step_sizes must be a pair \(x, y\) of positive finite numbers"):
        convex_bound(step_sizes=(0.0, 0.1), **given)
    with pytest.raises(ValueError, match=r"dimension must be a whole number of at least 1, got 1.5"):
        convex_bound(step_sizes=(0.1, 0.1), **(given | {"dimension": 1.5}))
