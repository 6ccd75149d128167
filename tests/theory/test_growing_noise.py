"""Dispersion that grows with the gap: exact discounted averages on components that share a minimiser."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.theory.exact import EPOCHS, STEPS, random_instance
from theory_lab.theory.growing_noise import discounted, reshuffling_growing_bound, with_replacement_growing_bound
from theory_lab.theory.with_replacement import with_replacement_bound
from theory_lab.theory.without_replacement import (
    CLEAN,
    reshuffling_bound,
    reshuffling_parts,
)


def test_steps_on_components_that_share_a_minimiser():
    """Convex f_i with f_i* = f* = 0 have dispersion at most 2 L_b (f - f*): the exact discounted average stays below."""
    rng, ratios = np.random.default_rng(9), []
    for _ in range(15):
        draft = random_instance(rng, n=3, zeroth=3, first=2, step_sizes=(1, 1), directions=2, convex=True, extreme=True)
        (l_x, l_y), kappa = draft.smoothness, 1 + 4 / 2
        etas = rng.uniform(0.05, 0.6) / (kappa * l_x), rng.uniform(0.05, 0.6) / l_y
        instance = replace(draft, shifts=np.zeros((3, 5)), step_sizes=etas)
        z = rng.normal(size=5)
        growing = with_replacement_growing_bound(
            step_sizes=etas,
            dispersion_slope=(2 * l_x, 2 * l_y),
            initial_gap=instance.value(z, np.outer(z, z)),
            steps=25,
            smoothness=(l_x, l_y),
            dispersion=(0, 0),
            rank=3,
            directions=2,
        )
        moments, total = (z, np.outer(z, z)), 0.0
        for k in range(25):
            total += (1 + growing.rate) ** -(k + 1) * float(np.dot(etas, instance.expected_squares(*moments)))
            moments = instance.average_step(*moments)
        ratios.append(total / discounted(growing.rate, 25) / growing.bound)
    assert max(ratios) <= 1
    assert max(ratios) > 0.2


def test_growing_noise_without_growth_is_theorem_one():
    given = {name: value for name, value in STEPS.items() if name not in ("step_sizes", "initial_gap", "steps")}
    growing = with_replacement_growing_bound(
        step_sizes=(0.02, 0.3), initial_gap=2.0, steps=400, dispersion_slope=(0.0, 0.0), **given
    )
    assert growing.rate == 0
    assert growing.bound == pytest.approx(with_replacement_bound(**STEPS), rel=1e-14)
    with_radius = with_replacement_growing_bound(
        step_sizes=(0.02, 0.3),
        initial_gap=2.0,
        steps=400,
        dispersion_slope=(0.0, 0.0),
        radius=0.1,
        c=0.3,
        theta=0.2,
        **given,
    )
    assert with_radius.bound == pytest.approx(with_replacement_bound(radius=0.1, c=0.3, theta=0.2, **STEPS), rel=1e-14)


def test_epochs_on_components_that_share_a_minimiser():
    rng, ratios = np.random.default_rng(19), []
    for _ in range(5):
        draft = random_instance(rng, n=3, zeroth=2, first=2, step_sizes=(1, 1), directions=2, convex=True, extreme=True)
        l_x, l_y = draft.smoothness
        etas = rng.uniform(0.3, 1) / (12 * l_x), rng.uniform(0.3, 1) / (12 * l_y)
        instance, z = replace(draft, shifts=np.zeros((3, 4)), step_sizes=etas), rng.normal(size=4)
        growing = reshuffling_growing_bound(
            step_sizes=etas,
            dispersion_slope=(2 * l_x, 2 * l_y),
            initial_gap=instance.value(z, np.outer(z, z)),
            n=3,
            epochs=12,
            smoothness=(l_x, l_y),
            dispersion=(0, 0),
            rank=2,
            directions=2,
            parameters=CLEAN,
        )
        moments, total = (z, np.outer(z, z)), 0.0
        for t in range(12):
            total += (1 + growing.rate) ** -(t + 1) * float(np.dot(etas, instance.expected_squares(*moments)))
            moments = instance.epoch(*moments)
        ratios.append(total / discounted(growing.rate, 12) / growing.bound)
    assert max(ratios) <= 1
    assert max(ratios) > 0.03


def test_the_rate_is_an_epoch_s_noise_per_unit_of_gap():
    given = {name: value for name, value in EPOCHS.items() if name not in ("initial_gap", "epochs", "dispersion")}
    growing = reshuffling_growing_bound(dispersion_slope=(0.3, 0.2), parameters=CLEAN, **EPOCHS)
    assert growing.rate == pytest.approx(8 * reshuffling_parts(dispersion=(0.3, 0.2), parameters=CLEAN, **given).noise)


def test_growing_noise_without_growth_is_theorem_two():
    given = EPOCHS | {"radius": 0.05}
    growing = reshuffling_growing_bound(dispersion_slope=(0, 0), **given)
    assert growing.rate == 0
    assert growing.bound == pytest.approx(reshuffling_bound(**given), rel=1e-12)
    assert reshuffling_growing_bound(dispersion_slope=(0, 0), **(given | {"step_sizes": (1.0, 1.0)})).bound == math.inf
