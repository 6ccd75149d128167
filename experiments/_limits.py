"""The ways in which `step_size_limits` measures a limit: rows of what was found and what is predicted for it."""

from typing import Any

import jax
import numpy as np

import theory_lab as tl
from experiments import _rows
from theory_lab.measure import Measurement, exact, stability
from theory_lab.theory import heterogeneous, quadratic, stability_region

GRID = 16  # step sizes per limit
RADIUS = 1e-5  # one-sided; the floor that it makes stays below every mean square measured here
D = 50  # of the zeroth-order block where its dimension is not the question
PLATEAU = 32  # eigenvalues (1 + i/32)^-p: steep spectra that still spread over enough dimensions to be sampled
ORDERINGS = ("random_reshuffling", "incremental", "with_replacement")
HYBRID = tl.Hybrid({"x": tl.TwoPoint(RADIUS), "y": tl.FirstOrder()})
CONFIDENCE = 1 - 0.01 / 12  # of one interval; no claim is about more than twelve
MEAN, SPREAD = 1e-3, 1.0  # h and s of the indefinite components


def spectrum(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """The limit of a zeroth-order block alone."""
    eigenvalues = np.zeros(cell["length"])
    eigenvalues[: cell["d"]] = cell["smoothness"] * (1 + np.arange(cell["d"]) / PLATEAU) ** -cell["decay"]
    q, law = cell["directions"], cell["law"]
    predicted = quadratic.step_size_limit(eigenvalues, directions=q, law=law)
    problem = tl.block_quadratic({"x": cell["length"]}, spectrum={"x": eigenvalues})
    oracle = tl.Hybrid({"x": tl.TwoPoint(RADIUS, directions=q, law=law)})
    grid, steps = predicted * np.geomspace(0.7, 1.45, GRID), cell["steps"]
    trace = tl.sweep(
        problem, oracle, tl.hybrid_sgd, step_sizes={"x": grid}, epochs=steps, log_epochs=[steps // 4, steps],
        keys=jax.random.split(key, cell["seeds"]), params=_start(problem),
    )  # fmt: skip
    rank = eigenvalues.sum() / cell["smoothness"]
    x = {"dimension": cell["d"], "bounded rank": cell["d"], "rank": rank, "directions": q, "law": q}[cell["family"]]
    series = {"dimension": f"L = {cell['smoothness']:g}", "law": law}.get(cell["family"], "")
    return [_row(cell["family"], series, x, predicted, _limit(grid, trace.value, steps - steps // 4, key))]


def convex(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """The limits of both blocks, uncoupled, with components that are twice a projection each: L_x = L_y = 2."""
    problem = tl.block_quadratic({"x": D, "y": 2}, n=cell["n"], heterogeneity=1.0)
    predicted = dict(zip("xy", stability_region.hybrid_smoothness_box((2.0, 2.0), D), strict=True))
    # Below its limit the y-block hardly moves in some directions, above it explodes: a kink, which asks for a fine grid.
    grid = {"x": predicted["x"] * np.geomspace(0.75, 1.35, 8), "y": predicted["y"] * np.linspace(0.965, 1.035, 8)}
    epochs = cell["steps"] // cell["n"]
    trace = tl.sweep(
        problem, HYBRID, tl.hybrid_sgd, step_sizes=grid, epochs=epochs, log_epochs=[0, epochs],
        keys=jax.random.split(key, cell["seeds"]), ordering=tl.orderings.ORDERINGS[cell["ordering"]], params=_start(problem),
    )  # fmt: skip
    assert trace.distance_sq is not None  # the optimum is known
    limits = {label: _limit(grid[label], trace.distance_sq[label], epochs * cell["n"], key) for label in "xy"}
    return [_row(f"convex {label}", cell["ordering"], cell["n"], predicted[label], limits[label]) for label in "xy"]


def first_dimension(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """The limit of eta_y for a first-order block of d dimensions, coupled to a zeroth-order block at half its limit."""
    d, length, steps = cell["d"], cell["length"], cell["steps"]
    problem = tl.block_quadratic(
        {"x": D, "y": length}, coupling=0.5, spectrum={"x": "flat", "y": np.r_[np.ones(d), np.zeros(length - d)]}
    )
    active, eta_x = problem.dense_hessian()[: D + d, : D + d], 1 / (D + 2)
    predicted = stability_region.step_size_boundary(active, D, (eta_x, None))
    # Below its limit the y-block waits for x, above it explodes: again a kink.
    grid = predicted * np.linspace(0.9, 1.1, GRID)
    trace = tl.sweep(
        problem, HYBRID, tl.hybrid_sgd, step_sizes={"x": np.full(GRID, eta_x), "y": grid}, epochs=steps,
        log_epochs=[steps // 4, steps], keys=jax.random.split(key, cell["seeds"]), params=_start(problem),
    )  # fmt: skip
    return [_row("first dimension", "", d, predicted, _limit(grid, trace.value, steps - steps // 4, key))]


def operator(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """A spectrum i^-p of few effective dimensions: where the spectral radius of the exact operator crosses 1."""
    del key
    eigenvalues = np.arange(1.0, D + 1) ** -cell["decay"]
    predicted = quadratic.step_size_limit(eigenvalues)
    grid = predicted * np.linspace(0.96, 1.04, 8)
    growth = [np.log(quadratic.growth_factor(np.diag(eigenvalues), D, (eta, 0.0))) for eta in grid]
    limit = exact("crossing", float(stability.crossing(grid, np.array([growth]))[0]))
    return [_row("operator", f"p = {cell['decay']:g}", eigenvalues.sum(), predicted, limit)]


def indefinite(cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """Curvatures h +- s in directions 120 degrees apart, copies of three components: exact over all orderings.

    The closed form is a prediction with replacement; of the others only the exponents are predicted.
    """
    del key
    angles, counts = 2 * np.pi * np.arange(3) / 3, [cell["copies"]] * 3
    mirrors = np.array([[[np.cos(a), np.sin(a)], [np.sin(a), -np.cos(a)]] for a in angles])
    closed = {"with_replacement": heterogeneous.with_replacement_limit(MEAN, SPREAD)}
    limits = {
        name: heterogeneous.step_size_limit(MEAN * np.eye(2) + SPREAD * mirrors, name, counts=counts) for name in ORDERINGS
    }
    return [
        _row("indefinite", name, sum(counts), closed.get(name, np.nan), exact("limit", limit))
        for name, limit in limits.items()
    ]


def _start(problem: tl.Problem) -> dict[str, np.ndarray]:
    """All ones: starts that are drawn would have to be compiled for every shape."""
    assert problem.optimum is not None
    return {label: np.ones(block.shape) for label, block in problem.optimum.items()}


def _limit(grid: np.ndarray, logged: np.ndarray, steps: int, key: jax.Array) -> Measurement:
    """The limit from a quantity logged twice, (G, S, 2)."""
    return stability.limit(
        grid, logged[..., 0], logged[..., 1], steps=steps, confidence=CONFIDENCE, resamples=20000,
        key=jax.random.fold_in(key, 1),
    )  # fmt: skip


def _row(family: str, series: str, x: float, predicted: float, limit: Measurement) -> dict[str, Any]:
    return {"family": family, "series": series, "x": float(x), "predicted": predicted, **_rows.row(limit)}
