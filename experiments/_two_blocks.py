"""Two-block Hessians, the exact frontier of what dominates them, and a search for what violates it."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy import optimize

import theory_lab as tl

SIZES = {"x": 48, "y": 32}
COUPLING = 0.8  # of the convex one


def quadratic(z: dict[str, Any], matrix: Any) -> Any:
    """z'Hz/2, the blocks in sorted order."""
    flat = jnp.concatenate([z[label] for label in sorted(z)])
    return flat @ matrix @ flat / 2


def hessian_of(case: str) -> np.ndarray:
    """The Hessian of a case, the same in every run: "convex", or "indefinite" or "Gram" and the number of a random draw.

    The largest eigenvalues of the diagonal blocks are 1.
    """
    name, *draw = case.split()
    if name == "convex":
        return tl.block_quadratic(SIZES, coupling=COUPLING, rotated=True).dense_hessian()
    rng = np.random.default_rng(int(draw[0]))
    return _indefinite(rng) if name == "indefinite" else _gram(rng)


def _indefinite(rng: np.random.Generator) -> np.ndarray:
    """Far below zero in x, less so in y, and coupled."""
    turns = [np.linalg.qr(rng.standard_normal((size, size)))[0] for size in SIZES.values()]
    ends = [np.linspace(-1.6, 1, SIZES["x"]), np.linspace(-0.4, 1, SIZES["y"])]
    a, c = ((turn * values) @ turn.T for turn, values in zip(turns, ends, strict=True))
    b = rng.standard_normal((SIZES["x"], SIZES["y"]))
    b *= 0.7 / np.linalg.norm(b, 2)
    matrix = np.block([[a, b], [b.T, c]])
    return (matrix + matrix.T) / 2


def _gram(rng: np.random.Generator) -> np.ndarray:
    """Semidefinite, with a spectrum that decays."""
    m, d = SIZES["x"], sum(SIZES.values())
    root = rng.standard_normal((d, d)) * np.arange(1, d + 1) ** -0.7
    matrix = root @ root.T
    norms = np.linalg.norm(matrix[:m, :m], 2), np.linalg.norm(matrix[m:, m:], 2)
    scale = np.repeat(norms, [m, d - m]) ** -0.5
    matrix = scale[:, None] * matrix * scale
    return (matrix + matrix.T) / 2


def schur(matrix: np.ndarray, smooth_x: float) -> float:
    """L_y = lambda_max(C + B'(L_x I - A)^-1 B), inf where L_x does not dominate A."""
    m = SIZES["x"]
    a, b, c = matrix[:m, :m], matrix[:m, m:], matrix[m:, m:]
    if smooth_x <= np.linalg.eigvalsh(a)[-1]:
        return float("inf")
    return float(np.linalg.eigvalsh(c + b.T @ np.linalg.solve(smooth_x * np.eye(m) - a, b))[-1])


def multiple(matrix: np.ndarray, pair: tuple[float, float], sided: int = 1) -> float:
    """lambda_max (two-sided: the norm) of D^-1/2 H D^-1/2, D = diag(L_x I, L_y I)."""
    root = np.repeat(np.sqrt(pair), [SIZES["x"], SIZES["y"]])
    values = np.linalg.eigvalsh(matrix / root[:, None] / root)
    return float(values[-1] if sided == 1 else np.abs(values).max())


def quotients(matrix: np.ndarray, diagonal: np.ndarray, rng: np.random.Generator, number: int) -> np.ndarray:
    """v'Hv/v'Dv of random directions, (number,)."""
    v = rng.standard_normal((number, diagonal.size))
    return np.sum((v @ matrix) * v, axis=1) / np.sum(diagonal * v * v, axis=1)


def ascent(matrix: np.ndarray, diagonal: np.ndarray, rng: np.random.Generator) -> float:
    """The end of one ascent of v'Hv/v'Dv from a random direction, by a general-purpose optimizer."""

    def negative(v: np.ndarray) -> tuple[float, np.ndarray]:
        above, below = matrix @ v, diagonal * v
        quotient = (v @ above) / (v @ below)
        return -quotient, -2 * (above - quotient * below) / (v @ below)

    start = rng.standard_normal(diagonal.size)
    return -float(
        optimize.minimize(negative, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000, "gtol": 1e-9}).fun
    )
