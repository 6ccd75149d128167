"""Functions whose Hessians are known densely, for the tests of products, spectra and traces."""

import jax.numpy as jnp
import numpy as np


def quadratic(z, matrix):
    """z'Az/2 on one block; the matrix is an argument, so that all tests of one size share a compilation."""
    return z["x"] @ matrix @ z["x"] / 2


def coupled(z):
    """Not quadratic, not convex, every block coupled to every other; the second block is a tree."""
    x, w, b = z["x"], z["y"]["w"], z["y"]["b"]
    return jnp.sum(jnp.sin(x) * jnp.sum(w @ w.T)) + jnp.prod(b) * jnp.sum(x**3) + jnp.sum(jnp.cosh(w)) - jnp.sum(b**4)


POINT = {
    "x": jnp.array([0.3, -1.2, 0.7]),
    "y": {"w": jnp.array([[0.5, -0.2], [0.1, 0.9]]), "b": jnp.array([1.1, -0.4])},
}
SIZES = {"x": 3, "y": 6}


def symmetric(rng, eigenvalues):
    """A symmetric matrix with given eigenvalues in a random position."""
    q, _ = np.linalg.qr(rng.standard_normal((len(eigenvalues), len(eigenvalues))))
    matrix = (q * np.asarray(eigenvalues)) @ q.T
    return (matrix + matrix.T) / 2


def spectrum(rng, kind, d):
    """Spectra that are easy, hard and degenerate for Krylov methods."""
    return {
        "indefinite": lambda: rng.standard_normal(d),
        "positive": lambda: rng.exponential(size=d),
        "outlier": lambda: np.r_[10.0, rng.uniform(-1, 1, d - 1)],
        "power law": lambda: np.arange(1.0, d + 1) ** -1.5,
        "uniform": lambda: np.linspace(-1, 1, d),
        "clusters": lambda: np.resize([1.0, 2.0, -3.0, 5.0], d),
    }[kind]()


KINDS = ("indefinite", "positive", "outlier", "power law", "uniform", "clusters")
