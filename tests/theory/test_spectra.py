"""Spectra with multiplicities against the same laws on the eigenvalues one by one."""

import math

import numpy as np
import pytest
from scipy import special

from theory_lab.theory import dynamics, quadratic, spectra

DISPERSION = 3.0


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("directions", [1, 4])
def test_a_million_eigenvalues_by_quadrature_and_one_by_one(decay, directions):
    made, listed = spectra.power_spectrum(decay, 10**6), np.arange(1.0, 10**6 + 1) ** -decay
    assert made.eigenvalues.size == spectra.HEAD + spectra.NODES
    assert (made.dimension, made.trace) == pytest.approx((10**6, listed.sum()), rel=1e-7)
    limit = quadratic.step_size_limit(listed, directions=directions)
    assert spectra.step_size_limit(made, directions=directions) == pytest.approx(limit, rel=1e-7)
    noise = DISPERSION / 1e6 * (1 + (1e6 + 1) / directions)
    floor = dynamics.zeroth_order_floor(listed, limit / 2, noise, directions=directions).gradient_norm_sq
    assert spectra.floor(made, limit / 2, DISPERSION, directions=directions) == pytest.approx(floor, rel=1e-6)


def test_sums_of_a_billion_terms_are_zeta_functions():
    d = 1_300_000_000
    assert spectra.power_spectrum(1.0, d).trace == pytest.approx(special.digamma(d + 1.0) + np.euler_gamma, rel=1e-8)
    tail = special.zeta(1.5, 1) - special.zeta(1.5, d + 1.0)
    assert spectra.power_spectrum(1.5, d).trace == pytest.approx(tail, rel=1e-8)
    assert spectra.power_spectrum(0.5, d).trace == pytest.approx(2 * math.sqrt(d) + special.zeta(0.5), rel=1e-7)


@pytest.mark.parametrize("rank, dimension", [(64, 64), (64, 65), (64, 1000), (64, 10**9), (1, 50), (1.5, 10**6)])
def test_a_plateau_has_the_rank_asked_for(rank, dimension):
    made = spectra.plateau_spectrum(rank, dimension)
    assert (made.rank, made.dimension) == pytest.approx((rank, dimension), rel=1e-6)
    assert made.eigenvalues.max() == 1


@pytest.mark.parametrize("directions", [1, 3])
def test_averages_are_those_of_the_matrix_recursion(directions):
    made = spectra.plateau_spectrum(3.0, 6)
    covariance = DISPERSION / 6 * np.eye(6)
    model = dynamics.shared_quadratic(np.diag(made.eigenvalues), 6, (0.1, 0.0), covariance=covariance, directions=directions)
    start = np.full(6, math.sqrt(2 * 1.5 / 3.0))
    moments = dynamics.trajectory(model, start, epochs=20, ordering="with_replacement")
    norms, _ = dynamics.expected_gradient_norms_sq(model, moments.second[:-1])
    found = spectra.averages(made, [0.05, 0.1], initial_gap=1.5, dispersion=DISPERSION, steps=20, directions=directions)
    assert found[1] == pytest.approx(np.cumsum(norms) / np.arange(1, 21), rel=1e-12)
    long = spectra.averages(made, [0.1], initial_gap=0.0, dispersion=DISPERSION, steps=4000, directions=directions)
    level = spectra.floor(made, 0.1, DISPERSION, directions=directions)
    assert 2 * long[0, -1] - long[0, 1999] == pytest.approx(level, rel=1e-3)  # the average of the second half


def test_the_bracket_holds_at_every_rank_and_dimension():
    for dimension in (2, 100, 10**4, 10**9):
        for rank in np.geomspace(1, dimension, 7):
            made = spectra.plateau_spectrum(float(rank), dimension)
            for q in (1, 5):
                low, high = 2 * q / (made.trace + q + 1), 2 * q / (made.trace * (1 + (q + 1) / dimension))
                assert low * (1 - 1e-6) <= spectra.step_size_limit(made, directions=q) <= high * (1 + 1e-6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: spectra.sampled(lambda j: -j, 5), "curvature must be positive and finite at every index"),
        (lambda: spectra.sampled(lambda j: j, 0), "dimension must be a whole number of at least 1"),
        (lambda: spectra.power_spectrum(-1.0, 5), "decay must be nonnegative"),
        (lambda: spectra.plateau_spectrum(6.0, 5), r"rank must be in \[1, 5\]"),
        (lambda: spectra.floor(spectra.power_spectrum(0.0, 2), 0.5, 1.0), "step_size must be below the stability limit"),
        (
            lambda: spectra.averages(spectra.power_spectrum(0.0, 2), [-1.0], initial_gap=1.0, dispersion=0.0, steps=1),
            "step_sizes must be nonnegative",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
