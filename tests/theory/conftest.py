"""Referees that several theory tests share: finite sets of directions that average polynomials as the laws do."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

Design = tuple[np.ndarray, np.ndarray, float]


def _design(law: str, d: int) -> Design:
    """Nodes (m, d), probabilities (m,) and the factor of the estimator, ghat = factor * slope * node; exact to degree 9."""
    if law == "rademacher":
        nodes = np.array(list(itertools.product([-1.0, 1.0], repeat=d)))
        return nodes, np.full(len(nodes), 1 / len(nodes)), 1.0
    if law == "gaussian":
        points, weights = np.polynomial.hermite_e.hermegauss(5)
        nodes = np.array(list(itertools.product(points, repeat=d)))
        probabilities = np.array([np.prod(w) for w in itertools.product(weights / weights.sum(), repeat=d)])
        return nodes, probabilities, 1.0
    angles = np.arange(10) * (2 * np.pi / 10)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if d == 1:
        return np.array([[-1.0], [1.0]]), np.array([0.5, 0.5]), 1.0
    if d == 2:
        return circle, np.full(10, 0.1), 2.0
    heights, weights = np.polynomial.legendre.leggauss(5)
    nodes = np.array([[*(np.sqrt(1 - h * h) * c), h] for h in heights for c in circle])
    return nodes, np.repeat(weights / 20, 10), 3.0


@pytest.fixture(scope="session")
def design() -> Callable[[str, int], Design]:
    return _design


@pytest.fixture(scope="session")
def estimates() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """All values of the two-point estimator of a function at a point, with their probabilities."""

    def enumerate_estimates(value, x, *, law, radius, directions=1, sided=1) -> tuple[np.ndarray, np.ndarray]:
        nodes, probabilities, factor = _design(law, len(x))
        if sided == 1:
            slopes = np.array([(value(x + radius * v) - value(x)) / radius for v in nodes])
        else:
            slopes = np.array([(value(x + radius * v) - value(x - radius * v)) / (2 * radius) for v in nodes])
        single = factor * slopes[:, None] * nodes
        chosen = np.array(list(itertools.product(range(len(nodes)), repeat=directions)))
        return single[chosen].mean(axis=1), probabilities[chosen].prod(axis=1)

    return enumerate_estimates
