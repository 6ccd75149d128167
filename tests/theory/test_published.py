"""The published step sizes in both readings, and why they cannot both be meant."""

import math

import pytest

from theory_lab.constants import Constants
from theory_lab.theory.base import Budget
from theory_lab.theory.lower_bounds import RANDOM_RESHUFFLING, RANDOM_RESHUFFLING_FEW_EPOCHS, strongly_convex_shape
from theory_lab.theory.published import (
    AS_THE_EPOCHS_SUGGEST,
    AS_TRANSCRIBED,
    noise_free_average,
    published_box,
    published_step_sizes,
)

CONSTANTS = Constants(smoothness={"x": 2.0, "y": 1.0})


def epochs_for(accuracy: float, step_size, n: int) -> int:
    """The first T with a noise-free average at most accuracy^2, when the step size is chosen for T; by bisection."""
    low, high = 1, 10**9
    while high - low > 1:
        middle = (low + high) // 2
        average = noise_free_average(step_size=step_size(n, middle), curvature=1.0, initial_gap=1.0, n=n, epochs=middle)
        low, high = (low, middle) if average <= accuracy**2 else (middle, high)
    return high


def test_noise_free_average_is_gradient_descent():
    eta, h, n, epochs, z, total = 0.07, 1.3, 5, 11, 2.0, 0.0
    for _ in range(epochs):
        total += (h * z) ** 2
        for _ in range(n):
            z -= eta * h * z
    exact = noise_free_average(step_size=eta, curvature=h, initial_gap=h * 2.0**2 / 2, n=n, epochs=epochs)
    assert exact == pytest.approx(total / epochs, rel=1e-13)


def test_the_readings_differ_by_a_power_of_n():
    """As transcribed, eps^-4 epochs for every n; as its number of epochs suggests, eps^-4/n."""
    transcribed = [epochs_for(0.02, lambda n, t: 1 / (math.sqrt(t) * n), n) for n in (1, 10, 100, 1000)]
    assert all(t == pytest.approx(6.25e6, rel=1e-3) for t in transcribed)
    suggested = [epochs_for(0.005, lambda n, t: 1 / math.sqrt(n * t), n) for n in (10, 100)]
    assert math.log10(suggested[1] / suggested[0]) == pytest.approx(-1.0, abs=0.005)
    finer = epochs_for(0.01, lambda n, t: 1 / (math.sqrt(t) * n), 10)
    assert math.log2(finer / transcribed[1]) == pytest.approx(4.0, abs=0.01)


@pytest.mark.parametrize("theorem, power", [(AS_TRANSCRIBED, 0.0), (AS_THE_EPOCHS_SUGGEST, -0.5)])
def test_exponents_follow_from_the_step_sizes(theorem, power):
    """At the theorem's own steps the noise-free average scales with the exponents that the theorem states."""

    def average(n, epochs):
        etas = theorem.step_sizes(CONSTANTS, Budget(n=n, epochs=epochs, dimension=3))
        return noise_free_average(step_size=etas["y"], curvature=1.0, initial_gap=1.0, n=n, epochs=epochs)

    assert theorem.exponents == {"epochs": -0.5, "n": power}
    in_epochs = math.log(average(16, 10**10) / average(16, 10**8)) / math.log(100)
    in_n = math.log(average(1600, 10**10) / average(16, 10**10)) / math.log(100)
    assert in_epochs == pytest.approx(-0.5, abs=0.01)
    assert in_n == pytest.approx(power, abs=0.01)


def test_the_box_caps_both_readings():
    assert published_box(smoothness=(2.0, 1.0), n=4, dimension=5, constant=3.0) == pytest.approx((3 / 40, 3 / 4))
    for reading in ("as transcribed", "as the epochs suggest"):
        given = {"smoothness": (2.0, 1.0), "n": 4, "dimension": 5, "reading": reading}
        assert published_step_sizes(epochs=1, **given) == published_box(smoothness=(2.0, 1.0), n=4, dimension=5)
        late = published_step_sizes(epochs=10**6, **given)
        assert late[1] / late[0] == pytest.approx(2.0)  # the dimension has dropped out


def test_exponents_only_have_no_number():
    for theorem in (AS_TRANSCRIBED, AS_THE_EPOCHS_SUGGEST, RANDOM_RESHUFFLING):
        assert math.isnan(theorem.bound(CONSTANTS, Budget(n=4, epochs=9, dimension=3), {"x": 0.1, "y": 0.1}))
    flat = Constants(smoothness={"x": 2.0, "y": 0.0})
    assert AS_TRANSCRIBED.assumptions(flat, Budget(n=4, epochs=9, dimension=3)) == ["smoothness of block y is not positive"]
    assert AS_TRANSCRIBED.assumptions(CONSTANTS, Budget(n=4, epochs=9)) == ["dimension is unknown"]


def test_lower_bound_shapes_have_their_exponents():
    """The two terms of the reshuffling bound cross at T = n."""
    for theorem, n, epochs in ((RANDOM_RESHUFFLING, 10, 10**6), (RANDOM_RESHUFFLING_FEW_EPOCHS, 10**8, 100)):
        at = strongly_convex_shape(n, epochs, "random_reshuffling")
        assert math.log2(strongly_convex_shape(n, 2 * epochs, "random_reshuffling") / at) == pytest.approx(
            theorem.exponents["epochs"], abs=1e-3
        )
        assert math.log2(strongly_convex_shape(2 * n, epochs, "random_reshuffling") / at) == pytest.approx(
            theorem.exponents["n"], abs=1e-3
        )
    assert strongly_convex_shape(4, 10, "shuffle_once") == 1 / 400
    assert strongly_convex_shape(4, 10, "incremental") == 1 / 100


def test_bad_arguments_are_refused():
    with pytest.raises(
        ValueError, match=r"reading must be one of 'as transcribed', 'as the epochs suggest', got 'as printed'"
    ):
        published_step_sizes(smoothness=(1, 1), n=1, epochs=1, dimension=1, reading="as printed")
    with pytest.raises(ValueError, match=r"smoothness must be a pair \(x, y\) of positive finite numbers"):
        published_box(smoothness=(1, 0), n=1, dimension=1)
    with pytest.raises(ValueError, match=r"dimension must be a whole number of at least 1, got 0"):
        published_box(smoothness=(1, 1), n=1, dimension=0)
    with pytest.raises(ValueError, match=r"constant must be positive and finite, got 0"):
        published_box(smoothness=(1, 1), n=1, dimension=1, constant=0)
    with pytest.raises(ValueError, match=r"step_size must be in \(0, 2\), got 2.0"):
        noise_free_average(step_size=2.0, curvature=1.0, initial_gap=1.0, n=1, epochs=1)
    with pytest.raises(ValueError, match=r"ordering must be one of .*, got 'with_replacement'"):
        strongly_convex_shape(1, 1, "with_replacement")
