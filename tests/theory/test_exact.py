"""The referee is refereed: Gauss-Hermite quadrature is exact for the polynomials of low degree that a step consists of."""

import itertools

import numpy as np
import pytest

from tests.theory.exact import random_instance


@pytest.mark.parametrize("zeroth, directions", [(1, 1), (2, 1), (1, 3), (2, 2)])
def test_moments_of_a_step(zeroth, directions):
    rng = np.random.default_rng(zeroth + 10 * directions)
    instance = random_instance(rng, n=1, zeroth=zeroth, first=2, step_sizes=(0.3, 0.2), directions=directions, radius=0.7)
    z, x = rng.normal(size=zeroth + 2), slice(zeroth)
    gradient, curvature = instance.gradients(z)[0], instance.hessians[0][x, x]
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)
    mean, second = np.zeros(zeroth + 2), np.zeros((zeroth + 2, zeroth + 2))
    for picked in itertools.product(range(4), repeat=zeroth * directions):
        v = nodes[list(picked)].reshape(directions, zeroth)
        probability = np.prod(weights[list(picked)] / weights.sum())
        slope = v @ gradient[x] + 0.35 * np.einsum("qi,ij,qj->q", v, curvature, v)
        estimate = np.concatenate([slope @ v / directions, gradient[zeroth:]])
        end = z - instance.preconditioner * estimate
        mean, second = mean + probability * end, second + probability * np.outer(end, end)
    exact = instance.step(0, z, np.outer(z, z))
    np.testing.assert_allclose(exact[0], mean, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(exact[1], second, rtol=1e-11, atol=1e-12)


def test_the_curvature_is_bounded_as_declared():
    rng = np.random.default_rng(3)
    for isotropic, convex in itertools.product((True, False), repeat=2):
        instance = random_instance(
            rng, n=5, zeroth=3, first=2, step_sizes=(1, 1), isotropic=isotropic, convex=convex, extreme=True
        )
        scale = 1 / np.sqrt(instance.bound)
        spectra = np.linalg.eigvalsh(scale[:, None] * instance.hessians * scale)
        assert spectra.max() <= 1 + 1e-12
        assert spectra.min() >= -1e-12 if convex else spectra.min() >= -1 - 1e-12
