"""A sweep is many runs in one program, and what they do on average is known exactly."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import theory_lab as tl
from tests.cases import random_slopes
from theory_lab.run.loop import simulate

ORACLE = tl.Hybrid({"x": tl.TwoPoint(1e-3), "y": tl.FirstOrder()})
GRID = {"x": [0.05, 0.2], "y": [0.3, 0.1]}
KEYS = jax.random.split(jax.random.key(0), 3)


def problem(smoothness: float = 1.0) -> tl.Problem:
    return tl.block_quadratic({"x": 3, "y": 2}, n=4, smoothness=smoothness, coupling=0.4, dispersion=1.0)


def sweep(problem=None, oracle=ORACLE, make_optimizer=tl.hybrid_sgd, **options):
    given = {"step_sizes": GRID, "epochs": 3, "keys": KEYS, **options}
    return tl.sweep(default() if problem is None else problem, oracle, make_optimizer, **given)


def default() -> tl.Problem:
    return problem()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_every_cell_of_a_sweep_is_a_run(batch_size):
    trace = sweep(batch_size=batch_size)
    assert trace.value.shape == (2, 3, 4)
    assert trace.params["x"].shape == (2, 3, 3)
    assert trace.diverged_at.shape == (2, 3)
    assert {b: s.tolist() for b, s in trace.step_sizes.items()} == GRID
    for g in (0,) if batch_size == 1 else (1,):
        optimizer = tl.hybrid_sgd({b: s[g] for b, s in GRID.items()})
        for s in range(3):
            single = tl.run(default(), ORACLE, optimizer, epochs=3, key=KEYS[s], batch_size=batch_size)
            np.testing.assert_allclose(trace.value[g, s], single.value, rtol=1e-10)
            np.testing.assert_allclose(trace.params["x"][g, s], single.params["x"], rtol=1e-9)
            for b in ("x", "y"):
                np.testing.assert_allclose(trace.gradient_norm_sq[b][g, s], single.gradient_norm_sq[b], rtol=1e-9)


@pytest.mark.optimized
def test_one_compilation_for_grid_and_seeds_and_none_for_other_numbers():
    simulate.clear_cache()  # other tests in this process may have compiled the same, or fill the cache up to its bound
    options = {"resolution": "epoch", "ordering": tl.shuffle_once}
    first = sweep(**options)
    assert simulate._cache_size() == 1
    other = tl.Hybrid({"x": tl.TwoPoint(1e-2), "y": tl.FirstOrder()})
    sweep(problem(smoothness=3.0), **options)
    sweep(oracle=other, **options)
    sweep(step_sizes={"x": [0.01, 0.0], "y": [0.2, 0.5]}, **options)
    sweep(keys=jax.random.split(jax.random.key(1), 3), **options)
    sweep(epochs=9, log_epochs=[1, 5, 7], **options)  # as many rows
    sweep(params={"x": jnp.ones(3), "y": jnp.ones(2)}, **options)
    again = sweep(**options)
    assert simulate._cache_size() == 1
    assert again.value.tobytes() == first.value.tobytes()


def test_step_sizes_share_start_order_and_directions():
    """On linear components every step is the step size times something that the key alone decides."""
    trace = sweep(random_slopes({"x": 3, "y": 2}, 4), step_sizes={"x": [0.1, 0.2], "y": [1.0, 3.0]})
    for b, sizes in trace.step_sizes.items():
        moved = trace.params[b] / sizes[:, None, None]
        np.testing.assert_allclose(moved[0], moved[1], rtol=1e-8)
    assert (trace.params["x"][0, 0] != trace.params["x"][0, 1]).all()


def test_seeds_do_not_depend_on_their_neighbours():
    few = sweep(keys=KEYS[1:2])
    np.testing.assert_allclose(few.value[:, 0], sweep().value[:, 1], rtol=1e-10)


def test_one_diverged_run_leaves_the_others_alone():
    trace = sweep(step_sizes={"x": [0.05, 0.05, 0.05], "y": [0.3, 1e60, 0.3]}, epochs=4)
    assert np.isinf(trace.diverged_at).tolist() == [[True] * 3, [False] * 3, [True] * 3]
    assert np.isfinite(trace.value[[0, 2]]).all()
    np.testing.assert_allclose(trace.value[0], trace.value[2], rtol=1e-12)
    np.testing.assert_allclose(trace.value[0, :, :4], sweep().value[0], rtol=1e-10)
    assert trace.divergence.endswith("(3 of 9 runs)")
    average = trace.average(trace.value)
    assert np.isfinite(average).tolist() == [[True] * 3, [False] * 3, [True] * 3]


def test_a_sweep_is_a_tidy_frame_in_the_order_of_its_axes():
    trace = sweep()
    frame = trace.to_frame()
    assert len(frame) == 2 * 3 * 4
    row = frame[(frame["step_size_x"] == 0.2) & (frame["seed"] == 1) & (frame["epoch"] == 2)]
    assert row["value"].tolist() == [trace.value[1, 1, 2]]
    assert row["step_size_y"].tolist() == [0.1]
    assert row["values"].tolist() == [16.0]


def test_a_grid_is_the_product_of_its_axes():
    grid = tl.step_size_grid(y=[1.0, 2.0], x=[3.0, 4.0, 5.0])
    assert list(tl.step_size_grid({"y": [1.0, 2.0], "x": [3.0, 4.0, 5.0]})) == ["y", "x"]
    np.testing.assert_array_equal(tl.step_size_grid({"y": [1.0, 2.0], "x": [3.0, 4.0, 5.0]})["x"], grid["x"])
    assert list(zip(grid["y"], grid["x"], strict=True)) == list(itertools.product([1.0, 2.0], [3.0, 4.0, 5.0]))


# ------------------------------------------------------------------------------------------------- exact second moments

MOMENTS = tl.block_quadratic(
    {"x": 2, "y": 1}, n=3, coupling=0.6, heterogeneity=0.9, spectrum={"x": [1.0, 0.3], "y": [1.5]}, dispersion=0.5
)
START = {"x": jnp.array([1.0, -1.0]), "y": jnp.array([2.0])}
STEPS = {"x": [0.05, 0.15], "y": [0.4, 0.2]}
SEEDS, EPOCHS, RARE = 16384, 3, 1e-6


def nodes(law: str) -> list[tuple[np.ndarray, float, float]]:
    """Directions in the plane with their probabilities and the estimator's factor, exact for moments up to degree 7."""
    if law == "rademacher":
        return [(np.array(v), 0.25, 1.0) for v in itertools.product([-1.0, 1.0], repeat=2)]
    if law == "sphere":
        angles = 2 * np.pi * np.arange(8) / 8
        return [(np.array([np.cos(a), np.sin(a)]), 1 / 8, 2.0) for a in angles]
    points, weights = np.polynomial.hermite_e.hermegauss(4)
    weights = weights / weights.sum()
    pairs = itertools.product(range(4), repeat=2)
    return [(points[[i, j]], weights[i] * weights[j], 1.0) for i, j in pairs]


def after_step(mean, second, i, steps, oracle):
    """E z and E zz' after a hybrid step on component i, x by the oracle and y by its gradient."""
    h, b = MOMENTS.component_hessians()[i], np.asarray(MOMENTS.tilts)[i]
    gradient = h @ mean - b  # E g
    outer = h @ second @ h - np.outer(h @ mean, b) - np.outer(b, h @ mean) + np.outer(b, b)  # E gg'
    estimate = outer.copy()  # E of ghat ghat' for independent directions, then for the same one
    same_x, same_cross = np.zeros((2, 2)), np.zeros(2)
    for v, probability, factor in nodes(oracle.law):
        bend = oracle.radius / 2 * v @ h[:2, :2] @ v if oracle.sided == 1 else 0.0
        slope_sq = v @ outer[:2, :2] @ v + 2 * bend * v @ gradient[:2] + bend**2
        same_x += probability * factor**2 * slope_sq * np.outer(v, v)
        same_cross += probability * factor * (v @ outer[:2, 2] + bend * gradient[2]) * v
    q = oracle.directions
    estimate[:2, :2] = same_x / q + (1 - 1 / q) * outer[:2, :2]
    estimate[:2, 2] = estimate[2, :2] = same_cross
    mixed = (second @ h - np.outer(mean, b)) * steps  # E z (P g)'
    return mean - steps * gradient, second - mixed - mixed.T + steps[:, None] * estimate * steps


def averaged(states, weights=None):
    return tuple(np.average([s[k] for s in states], axis=0, weights=weights) for k in (0, 1))


def along(state, order, steps, oracle):
    for i in order:
        state = after_step(*state, i, steps, oracle)
    return state


def exact_path(ordering, steps, oracle):
    """(E z, E zz') at the epoch starts; both are linear in what they were before, so orders may be averaged."""
    z = np.array([1.0, -1.0, 2.0])
    state, permutations = (z, np.outer(z, z)), list(itertools.permutations(range(3)))
    path = [state]
    fixed = [state] * 6
    for _ in range(EPOCHS):
        if ordering is tl.shuffle_once:
            fixed = [along(s, p, steps, oracle) for s, p in zip(fixed, permutations, strict=True)]
            state = averaged(fixed)
        elif ordering is tl.random_reshuffling:
            state = averaged([along(state, p, steps, oracle) for p in permutations])
        elif ordering is tl.incremental:
            state = along(state, range(3), steps, oracle)
        else:
            for _ in range(3):
                state = averaged([after_step(*state, i, steps, oracle) for i in range(3)])
        path.append(state)
    return path


@pytest.mark.parametrize(
    "ordering, oracle",
    [
        (tl.random_reshuffling, tl.TwoPoint(0.5)),
        (tl.shuffle_once, tl.TwoPoint(0.5, directions=2, law="rademacher")),
        (tl.incremental, tl.TwoPoint(0.5, law="sphere")),
        (tl.with_replacement, tl.TwoPoint(0.5, directions=3, sided=2)),
    ],
    ids=["RR, gaussian", "SO, rademacher, 2 directions", "IG, sphere", "WR, gaussian, 3 directions, two-sided"],
)
def test_second_moments_follow_the_exact_recursion(ordering, oracle):
    hybrid = tl.Hybrid({"x": oracle, "y": tl.FirstOrder()})
    keys = jax.random.split(jax.random.key(11), SEEDS)
    trace = tl.sweep(
        MOMENTS, hybrid, tl.hybrid_sgd, step_sizes=STEPS, epochs=EPOCHS, keys=keys, ordering=ordering, params=START
    )
    hessian = MOMENTS.dense_hessian()
    bound = stats.norm.isf(RARE / (2 * 2 * EPOCHS * 5))
    for g in range(2):
        path = exact_path(ordering, np.repeat([STEPS["x"][g], STEPS["y"][g]], [2, 1]), oracle)
        for epoch in range(1, EPOCHS + 1):
            second = path[epoch][1]
            squared = hessian @ second @ hessian
            expected = {
                "value": (trace.value, np.trace(hessian @ second) / 2),
                "gradient x": (trace.gradient_norm_sq["x"], np.trace(squared[:2, :2])),
                "gradient y": (trace.gradient_norm_sq["y"], squared[2, 2]),
                "distance x": (trace.distance_sq["x"], np.trace(second[:2, :2])),
                "distance y": (trace.distance_sq["y"], second[2, 2]),
            }
            for name, (rows, prediction) in expected.items():
                samples = rows[g, :, epoch]
                score = (samples.mean() - prediction) / (samples.std(ddof=1) / math.sqrt(SEEDS))
                assert abs(score) < bound, (name, g, epoch, score)
        # and the mean itself, at the end
        for b, where in (("x", slice(0, 2)), ("y", slice(2, 3))):
            samples = trace.params[b][g]
            scores = (samples.mean(axis=0) - path[-1][0][where]) / (samples.std(axis=0, ddof=1) / math.sqrt(SEEDS))
            assert (np.abs(scores) < bound).all(), (b, g, scores)
