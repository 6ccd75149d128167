"""Numbers that the doors let in, whose products no float holds: a bound is infinite then, and nothing raises its own way."""

import math

import pytest

from theory_lab.theory import clean, first_order, hard_instances, moment_bounds, recalled, reshuffling_bias

HUGE, TINY = 1e100, 1e-100


@pytest.mark.parametrize(
    "bound",
    [
        lambda: clean.first_order_clean_bound(step_size=HUGE, smoothness=HUGE, dispersion=0, initial_gap=1, n=10, epochs=10),
        lambda: first_order.reshuffling_bound(step_size=HUGE, smoothness=HUGE, dispersion=0, initial_gap=1, n=10, epochs=10),
        lambda: first_order.reshuffling_pl_bound(
            step_size=HUGE, smoothness=HUGE, pl=HUGE, dispersion=0, initial_gap=1, n=10, epochs=10
        ),
        lambda: hard_instances.one_sided_floor(HUGE, HUGE, 1.0, 10),
        lambda: moment_bounds.remainder_bound(HUGE, 1.0, HUGE),
        lambda: moment_bounds.second_moment_bound(0.0, HUGE, 1.0, HUGE),
        lambda: moment_bounds.variance_bound(0.0, HUGE, 1.0, HUGE),
        lambda: moment_bounds.central_remainder_bound(1.0, 10, HUGE),
        lambda: moment_bounds.nesterov_spokoiny_bound(0.0, HUGE, 10, HUGE),
        lambda: reshuffling_bias.two_type_floor(HUGE, 1.0, HUGE, 1.0, 10).bias_sq,
    ],
)
def test_a_bound_beyond_all_floats_is_infinite(bound) -> None:
    assert bound() == math.inf


def test_nothing_times_an_overflow_is_nothing() -> None:
    floor = reshuffling_bias.two_type_floor(HUGE, HUGE, HUGE, 0.0, 10)
    assert floor.bias_sq == floor.variance == 0
    assert moment_bounds.central_remainder_bound(0.0, 10, HUGE) == 0


def test_a_best_step_size_does_not_vanish_where_its_cube_does() -> None:
    tuned = first_order.reshuffling_tuned(smoothness=HUGE, dispersion=HUGE, initial_gap=TINY, n=10, epochs=10)
    first, quadratic = 18 / 7 * TINY / 100, 4 / 7 * HUGE * HUGE * 11 * HUGE
    assert tuned.step_size == pytest.approx(first ** (1 / 3) / (2 * quadratic) ** (1 / 3), rel=1e-12)
    assert tuned.bound == pytest.approx(1.5 * first / tuned.step_size, rel=1e-12)
    with pytest.raises(
        ValueError, match=r"^epochs must be enough for a flat direction below the smoothness 1e\+100, got 10"
    ):
        hard_instances.minimax(smoothness=HUGE, dispersion=HUGE, initial_gap=TINY, n=10, epochs=10)


@pytest.mark.parametrize("bound", [recalled.mishchenko_strongly_convex_bound, recalled.mishchenko_small_step_bound])
def test_no_convexity_above_the_smoothness(bound) -> None:
    common = {"step_size": 1.0, "optimal_dispersion": 0.0, "initial_distance_sq": 1.0, "n": 10, "epochs": 10}
    with pytest.raises(ValueError, match=r"^strong_convexity must be at most the smoothness 1e-100, got 1e\+100"):
        bound(smoothness=TINY, strong_convexity=HUGE, **common)
