"""Three numbers against the full second-moment recursion, and the best step sizes against theory and brute force."""

import math

import numpy as np
import pytest

from theory_lab.theory import averages, block_pairs, dynamics
from theory_lab.theory.block_pairs import BlockPairs

D, STEPS = 3, 25
ETAS, CURVATURE, DISPERSION = (0.03, 0.4), (4.0, 1.5), (2.0, 0.7)


def problem(**changes: object) -> BlockPairs:
    return block_pairs.block_pairs(**{"curvature": CURVATURE, "coupling": 0.6, "dimension": D, "dispersion": DISPERSION,
                                      "directions": 2, **changes})  # type: ignore[arg-type]  # fmt: skip


def test_it_is_the_full_recursion_from_any_start_and_noise_with_these_traces():
    pairs = problem()
    rng = np.random.default_rng(0)
    x, y, b_x, b_y = rng.standard_normal((4, D))
    y, b_y = y - x * (x @ y) / (x @ x), b_y - b_x * (b_x @ b_y) / (b_x @ b_x)
    b = np.concatenate([b_x * math.sqrt(DISPERSION[0] / (b_x @ b_x)), b_y * math.sqrt(DISPERSION[1] / (b_y @ b_y))])
    model = dynamics.shared_quadratic(np.kron(pairs.hessian, np.eye(D)), D, ETAS, covariance=np.outer(b, b), directions=2)
    moments = dynamics.trajectory(model, np.concatenate([x, y]), epochs=STEPS, ordering="with_replacement")
    start = (x @ x, y @ y)
    gap = dynamics.expected_gap(model, moments.second[-1])
    assert block_pairs.last_gap(pairs, ETAS, start=start, steps=STEPS) == pytest.approx(gap, rel=1e-10)
    norms = np.sum(dynamics.expected_gradient_norms_sq(model, moments.second[:-1]), axis=0).mean()
    assert block_pairs.average_gradient(pairs, ETAS, start=start, steps=STEPS) == pytest.approx(norms, rel=1e-10)


def test_uncoupled_blocks_are_averaged_one_by_one():
    pairs = problem(coupling=0.0, directions=1)
    start = (2 * 0.5 / CURVATURE[0], 2 * 0.3 / CURVATURE[1])
    common = {"n": 40, "epochs": 1, "ordering": "with_replacement"}
    expected = averages.quadratic_average(
        ETAS[0], curvature=CURVATURE[0], dispersion=DISPERSION[0], initial_gap=0.5, dimension=D, **common
    ) + averages.quadratic_average(ETAS[1], curvature=CURVATURE[1], dispersion=DISPERSION[1], initial_gap=0.3, **common)
    assert block_pairs.average_gradient(pairs, ETAS, start=start, steps=40) == pytest.approx(expected, rel=1e-10)


def test_the_best_pair_is_the_least_of_a_grid_and_tied_steps_do_worse():
    pairs = problem(dispersion=(1.0, 1.0))
    value = lambda etas: block_pairs.average_gradient(pairs, etas, start=(1.0, 1.0), steps=300)
    best = block_pairs.best_pair(value, (0.1, 1.0))
    around = [(best.step_sizes[0] * u, best.step_sizes[1] * v) for u in (0.97, 1, 1.03) for v in (0.97, 1, 1.03)]
    assert min(map(value, around)) >= best.value * (1 - 1e-7)
    tied = block_pairs.best_scale(value, (0.1, 1.0), 1.0)
    assert tied.step_sizes[0] == tied.step_sizes[1]
    assert tied.value > best.value


def test_without_noise_the_x_block_may_be_rescaled():
    """x -> c x turns a into a/c^2, b into b/c and eta_x into c^2 eta_x: values of f do not change."""
    one, other = problem(dispersion=(0, 0)), problem(dispersion=(0, 0), curvature=(40.0, 1.5))
    found = block_pairs.last_gap(one, ETAS, start=(1.0, 2.0), steps=9)
    assert block_pairs.last_gap(other, (0.003, 0.4), start=(0.1, 2.0), steps=9) == pytest.approx(found, rel=1e-12)


def test_the_best_scale_is_found_where_most_scales_diverge():
    pairs = problem(dispersion=(1.0, 1.0))
    value = lambda etas: block_pairs.average_gradient(pairs, etas, start=(1.0, 1.0), steps=10**5)
    near, far = (block_pairs.best_scale(value, limits, 1.0) for limits in ((0.02, 0.02), (2.0, 2.0)))
    assert value((0.4, 0.4)) == math.inf  # a tenth of the largest that the second search tries
    assert far.value == pytest.approx(near.value, rel=1e-6)


def test_what_diverges_is_infinite():
    assert block_pairs.last_gap(problem(), (10.0, 10.0), start=(1.0, 1.0), steps=10**4) == math.inf


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: problem(curvature=(1.0, 0.0)), "curvature must be a pair"),
        (lambda: problem(coupling=1.0), r"coupling must be in \[0, 1\)"),
        (lambda: problem(dimension=0), "dimension must be a whole number of at least 1"),
        (lambda: problem(dispersion=(-1.0, 0.0)), "dispersion must be a pair"),
        (lambda: block_pairs.average_gradient(problem(), ETAS, start=(1.0, 1.0), steps=0), "steps must be a whole number"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
