"""Exact averages against the second-moment recursions run step by step."""

import decimal
import math
from fractions import Fraction

import numpy as np
import pytest

from theory_lab.theory import dynamics, first_order, published
from theory_lab.theory.averages import epochs_needed, least_average, mean_power, mean_power_gone, quadratic_average

RR, WR = "random_reshuffling", "with_replacement"


def by_recursion(step_size, *, curvature, dispersion, initial_gap, n, epochs, ordering, zeroth, d=4, directions=1):
    covariance = dispersion / d * np.eye(d)
    model = dynamics.shared_quadratic(
        curvature * np.eye(d), d if zeroth else 0, (step_size, step_size), covariance=covariance, directions=directions
    )
    start = np.sqrt(2 * initial_gap / (curvature * d)) * np.ones(d)
    m, rows = (n, epochs) if ordering == RR else (1, n * epochs)
    second = dynamics.trajectory(model, start, epochs=rows, n=m, ordering=ordering).second[:-1]
    return sum(part.mean() for part in dynamics.expected_gradient_norms_sq(model, second))


@pytest.mark.parametrize("ordering", [RR, WR])
@pytest.mark.parametrize("zeroth", [False, True])
@pytest.mark.parametrize(("n", "epochs", "step_size"), [(2, 1, 0.05), (5, 7, 0.002), (8, 3, 0.12)])
def test_average_is_that_of_the_recursion(ordering, zeroth, n, epochs, step_size):
    setting = {"curvature": 1.7, "dispersion": 3.0, "initial_gap": 2.0, "n": n, "epochs": epochs, "ordering": ordering}
    expected = by_recursion(step_size, zeroth=zeroth, directions=2, **setting)
    found = quadratic_average(step_size, dimension=4 if zeroth else None, directions=2, **setting)
    assert found == pytest.approx(expected, rel=1e-11)


def test_special_cases_are_the_laws_already_known():
    common = {"curvature": 2.0, "initial_gap": 3.0}
    noise_free = quadratic_average(0.01, dispersion=0.0, n=4, epochs=50, ordering=RR, **common)
    assert noise_free == pytest.approx(published.noise_free_average(step_size=0.01, n=4, epochs=50, **common), rel=1e-13)
    replaced = quadratic_average(0.01, dispersion=5.0, n=4, epochs=50, ordering=WR, **common)
    known = first_order.with_replacement_average(step_size=0.01, dispersion=5.0, steps=200, **common)
    assert replaced == pytest.approx(known, rel=1e-13)
    assert quadratic_average(0.5, dispersion=0.0, n=4, epochs=50, ordering=RR, **common) == pytest.approx(12 / 50)  # x = 1


@pytest.mark.parametrize(("dimension", "ordering"), [(None, RR), (None, WR), (6, RR)])
def test_no_step_size_does_better_than_the_best(dimension, ordering):
    setting = {"curvature": 2.0, "dispersion": 3.0, "initial_gap": 1.0, "n": 8, "epochs": 500, "ordering": ordering}
    step_size, least = least_average(dimension=dimension, **setting)
    others = [quadratic_average(eta, dimension=dimension, **setting) for eta in np.geomspace(1e-5, 0.12, 400)]
    assert least <= min(others) * (1 + 1e-9)
    assert least == pytest.approx(min(others), rel=2e-3)
    assert quadratic_average(step_size, dimension=dimension, **setting) == least


@pytest.mark.parametrize("x", [1e-300, 1e-17, 1e-12, 3e-7, 1e-3, 0.06, 0.4, 1.0, 1.999])
@pytest.mark.parametrize(("power", "count"), [(1, 1), (1, 2), (2, 2), (2, 7), (3, 40), (600, 1), (600, 3)])
def test_what_is_kept_and_what_is_gone_agree_with_fractions(x, power, count):
    kept = sum(abs(1 - Fraction(x)) ** (power * k) for k in range(count)) / count if x > 1e-17 else None
    if kept is None:  # too many digits: the leading order is exact to rounding
        assert mean_power_gone(x, power, count) == pytest.approx((count - 1) * power * x / 2, rel=1e-14, abs=0)
        return
    assert mean_power(x, power, count) == pytest.approx(float(kept), rel=1e-13)
    assert mean_power_gone(x, power, count) == pytest.approx(float(1 - kept), rel=1e-13, abs=0)


@pytest.mark.parametrize("x", [1e-18, 1e-15, 1e-12, 1e-9, 1e-7])
@pytest.mark.parametrize("count", [10**3, 10**6, 10**12])
def test_what_is_gone_after_many_steps_agrees_with_many_digits(x, count):
    with decimal.localcontext() as context:
        context.prec = 90
        each = (1 - decimal.Decimal(x)) ** 2
        gone = float(1 - (1 - each**count) / ((1 - each) * count))
    assert mean_power_gone(x, 2, count) == pytest.approx(gone, rel=1e-13, abs=0)


def test_the_noise_of_the_smallest_steps_is_not_lost():
    """At eta h = 1e-12 and K = 2: E f'(x_1)^2/2 is half of eta^2 h^2 sigma^2, beside a start of 0."""
    known = {"step_size": 1e-12, "curvature": 1.0, "dispersion": 3.0, "initial_gap": 0.0}
    assert first_order.with_replacement_average(steps=2, **known) == pytest.approx(1.5e-24, rel=1e-13, abs=0)
    assert quadratic_average(n=2, epochs=1, ordering=WR, **known) == pytest.approx(1.5e-24, rel=1e-13, abs=0)
    zeroth = quadratic_average(n=2, epochs=1, ordering=WR, dimension=4, **known)  # E||ghat||^2 = (d + 2) ||grad f_i||^2
    assert zeroth == pytest.approx(6 * 1.5e-24, rel=1e-11, abs=0)


def test_averages_scale_as_they_must():
    """f times c at step size over c: the average is c^2 as large."""
    setting = {"n": 8, "epochs": 500, "ordering": RR, "dimension": 6}
    plain = quadratic_average(0.02, curvature=1.0, dispersion=3.0, initial_gap=1.0, **setting)
    scaled = quadratic_average(0.02 / 5, curvature=5.0, dispersion=75.0, initial_gap=5.0, **setting)
    assert scaled == pytest.approx(25 * plain, rel=1e-12)


def test_exponents_of_the_best_step_on_long_runs():
    def slope(ordering, dimension):
        lasting = [
            least_average(
                curvature=1.0, dispersion=1.0, initial_gap=1.0, n=8, epochs=t, ordering=ordering, dimension=dimension
            )[1]
            for t in (10**8, 10**10)
        ]
        return math.log(lasting[1] / lasting[0]) / math.log(100)

    assert slope(WR, None) == pytest.approx(-1 / 2, abs=0.002)
    assert slope(RR, 6) == pytest.approx(-1 / 2, abs=0.002)
    assert slope(RR, None) == pytest.approx(-3 / 4, abs=0.004)


@pytest.mark.parametrize("needed", [1, 2, 3, 7, 8, 9, 1000])
def test_epochs_needed_is_the_first_that_suffices(needed):
    assert epochs_needed(lambda epochs: float(epochs < needed), 0.5) == needed


def test_doors():
    common = {"curvature": 1.0, "dispersion": 1.0, "initial_gap": 1.0, "n": 2, "epochs": 2}
    with pytest.raises(ValueError, match="ordering must be one of"):
        quadratic_average(0.1, ordering="incremental", **common)
    with pytest.raises(ValueError, match=r"second-moment factor must be in \(0, 2\), got 2"):
        quadratic_average(2.0, ordering=WR, **common)
    with pytest.raises(ValueError, match="epochs must be a whole number of at least 1, got 0"):
        least_average(ordering=WR, **{**common, "epochs": 0})
    with pytest.raises(ValueError, match=r"accuracy_sq must be reached within 64 epochs, got 0\.1"):
        epochs_needed(lambda epochs: 1.0, 0.1, most=64)
