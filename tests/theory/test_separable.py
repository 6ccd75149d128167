"""Second moments by groups, against the dense recursion and closed forms."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from theory_lab.theory import dynamics, quadratic, separable


def dense(zeroth_first: bool, law: str, directions: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The groups' second moments after some steps: by groups, and from the dense recursion."""
    sizes, curvatures, noise, eta = [3, 2, 2], [1.0, 0.4, 2.0], [0.7, 0.3, 0.5], [0.06, 0.06, 0.2]
    zeroth = [True, True, False] if zeroth_first else [False, False, False]
    given = separable.groups(curvatures, sizes, dispersions=noise, zeroth=zeroth)
    step = separable.recursion(given, eta, directions=directions, law=law)
    m = np.array([1.0, 2.0, 3.0])
    start = np.diag(np.repeat(m / sizes, sizes))
    covariance = np.diag(np.repeat(np.array(noise) / sizes, sizes))
    model = dynamics.shared_quadratic(
        np.diag(np.repeat(curvatures, sizes)), 5 if zeroth_first else 0, (0.06, 0.2) if zeroth_first else (0.0, 0.2),
        covariance=covariance, directions=directions, law=law,
    )  # fmt: skip
    if not zeroth_first:
        step = separable.recursion(given, [0.2] * 3)
    moments = dynamics.Moments(np.zeros(7), start)
    for _ in range(steps):
        m = step.matrix @ m + step.source
        moments = dynamics.with_replacement_step(model, moments)
    return m, np.add.reduceat(np.diag(moments.second), [0, 3, 5])


@pytest.mark.parametrize(("law", "directions"), [("gaussian", 1), ("gaussian", 3), ("sphere", 1), ("rademacher", 2)])
@pytest.mark.parametrize("zeroth_first", [True, False])
def test_groups_follow_the_dense_recursion(law: str, directions: int, zeroth_first: bool) -> None:
    np.testing.assert_allclose(*dense(zeroth_first, law, directions, 7), rtol=1e-12)


def test_the_spectral_radius_is_the_growth_factor() -> None:
    given = separable.groups([1.0, 0.5], [4, 3], zeroth=True)
    step = separable.recursion(given, [0.1, 0.1])
    spectrum = np.repeat([1.0, 0.5], [4, 3])
    radius = float(np.abs(np.linalg.eigvals(step.matrix)).max())
    assert radius == pytest.approx(quadratic.growth_factor(np.diag(spectrum), 7, (0.1, 0.0)), rel=1e-9)


def test_steps_to_a_gap_agree_with_walking() -> None:
    given = separable.groups([1.0, 0.5], [6, 2], dispersions=[0.01, 0.0], zeroth=[True, False])
    step = separable.recursion(given, [0.05, 0.3])
    m, weights, walked = np.array([1.0, 1.0]), np.array([0.5, 0.25]), 0
    while weights @ m > 0.02:
        m, walked = step.matrix @ m + step.source, walked + 1
    assert walked - 1 < separable.steps_to_gap(step, [1.0, 0.5], [1.0, 1.0], 0.02) <= walked
    assert separable.steps_to_gap(step, [1.0, 0.5], [1.0, 1.0], 1.0) == 0
    assert separable.steps_to_gap(step, [1.0, 0.5], [1.0, 1.0], 1e-9) == math.inf  # below the floor


def test_tuned_steps_are_the_closed_form_and_no_neighbour_is_better() -> None:
    for d in (3, 300):
        found = separable.tuned(separable.groups([2.0], [d], zeroth=True), [1.0], 1e-4)
        assert found.step_sizes[0] == pytest.approx(1 / (2 * (d + 2)), rel=2e-2)
        assert found.steps == pytest.approx(math.log(1e-4) / math.log(1 - 1 / (d + 2)), rel=2e-2)
    given = separable.groups([1.0, 1.0], [20, 5], dispersions=0.5, zeroth=[True, False])
    found = separable.tuned(given, [1.0, 1.0], 0.05, owners=[0, 1])
    for factor in ([1.1, 1.0], [1.0, 1.1], [0.9, 1.0], [1.0, 0.9]):
        step = separable.recursion(given, found.step_sizes * factor)
        assert separable.steps_to_gap(step, [1.0, 1.0], [1.0, 1.0], 0.05) >= found.steps


def test_whoever_starts_above_the_gap_needs_a_step() -> None:
    """Without noise eta = 1/l lands on the minimiser, however near or far the gap."""
    given = separable.groups([2.0], [3])
    for gap in (2.0, 1e-200):
        assert separable.steps_to_gap(separable.recursion(given, [0.5]), [2.0], [3.0], gap) == 1
        found = separable.tuned(given, [3.0], gap)
        assert found.steps == 1
    reached = separable.recursion(given, found.step_sizes)
    assert (reached.matrix * 3.0).item() <= 1e-200


def test_no_step_size_may_reach_the_gap() -> None:
    frozen = separable.groups([1.0, 1.0], [4, 4], dispersions=[0.0, 1.0])
    step = separable.recursion(frozen, [0.0, 0.1])
    assert separable.steps_to_gap(step, [1.0, 1.0], [1.0, 1.0], 0.4) == math.inf  # x keeps half of the gap


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: separable.groups([1.0, 2.0], [3]), "sizes must be one number per group"),
        (lambda: separable.groups([-1.0], [3]), "curvatures must be nonnegative"),
        (lambda: separable.groups([1.0], [3], dispersions=[-1.0]), "dispersions must be nonnegative"),
        (lambda: separable.recursion(separable.groups([1.0], [3]), [-0.1]), "step_sizes must be 1 nonnegative numbers"),
        (lambda: separable.steps_to_gap(separable.Recursion(np.eye(1), np.zeros(1)), [1.0], [1.0], 0.0), "gap must be"),
    ],
)  # fmt: skip
def test_refusals(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
