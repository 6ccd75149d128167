"""Tuned step sizes are the clean bounds at their best scale, with the rates and complexities that are stated."""

import math

import pytest

from theory_lab.theory.clean import (
    reshuffling_clean_bound,
    with_replacement_clean_bound,
)
from theory_lab.theory.moment_bounds import remainder_bound
from theory_lab.theory.tuned import (
    reshuffling_complexity,
    reshuffling_radius,
    reshuffling_tuned,
    with_replacement_complexity,
    with_replacement_tuned,
)

SHARES = {
    "shares": (0.8, 1.7),
    "smoothness": (1.5, 2.0),
    "dispersion": (0.7, 0.4),
    "rank": 6,
    "directions": 2,
    "initial_gap": 2.0,
}


@pytest.mark.parametrize("steps", [10, 1000, 100_000])
@pytest.mark.parametrize("radius", [0.0, 1e-3])
def test_tuned_steps_are_the_clean_bound_at_its_best_scale(steps, radius):
    tuned = with_replacement_tuned(steps=steps, radius=radius, **SHARES)
    given = {name: value for name, value in SHARES.items() if name != "shares"}

    def at(scale):
        etas = tuple(scale * eta for eta in tuned.step_sizes)
        clean = with_replacement_clean_bound(step_sizes=etas, steps=steps, radius=radius, **given)
        return clean / (etas[0] / SHARES["shares"][0])

    assert tuned.bound == pytest.approx(at(1.0), rel=1e-12)
    assert all(at(scale) >= tuned.bound for scale in (0.5, 0.9, 1.1, 2.0))
    assert tuned.step_sizes[1] / tuned.step_sizes[0] == pytest.approx(1.7 / 0.8)


def test_tuned_bound_falls_like_one_over_root_steps_and_ignores_nothing():
    bounds = [with_replacement_tuned(steps=k, **SHARES).bound for k in (10**8, 10**10)]
    assert math.log(bounds[0] / bounds[1]) / math.log(100) == pytest.approx(0.5, abs=1e-6)
    noiseless = SHARES | {"dispersion": (0.0, 0.0)}
    bounds = [with_replacement_tuned(steps=k, **noiseless).bound for k in (10**8, 10**10)]
    assert math.log(bounds[0] / bounds[1]) / math.log(100) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("dispersion", [(0.0, 0.0), (0.7, 0.4), (50.0, 0.0)])
def test_with_replacement_complexity_suffices(dispersion):
    given = SHARES | {"dispersion": dispersion}
    steps = math.ceil(with_replacement_complexity(accuracy=0.1, **given))
    assert with_replacement_tuned(steps=steps, **given).bound <= 0.1**2
    assert with_replacement_tuned(steps=steps // 5, **given).bound > 0.1**2  # and is not idle


def test_tuned_steps_are_the_clean_bound_near_its_best_scale():
    given = {"smoothness": (1.5, 2.0), "dispersion": (0.7, 0.4), "rank": 6, "directions": 2, "initial_gap": 2.0, "n": 8}
    for epochs, radius in ((10, 0.0), (1000, 0.0), (10**6, 1e-3)):
        tuned = reshuffling_tuned(shares=(0.8, 1.7), epochs=epochs, radius=radius, **given)
        clean = reshuffling_clean_bound(step_sizes=tuned.step_sizes, epochs=epochs, radius=radius, **given)
        assert tuned.bound == pytest.approx(clean / (tuned.step_sizes[0] / 0.8), rel=1e-12)
        s, lam, first = (0.8, 1.7), 1.7 * 2.0, 4 * 2.0 / (8 * epochs)
        v1 = 5 * 3.5 * 0.8**2 * 1.5 * 0.7
        v2 = 2 * 9 * lam * (s[0] ** 2 * 1.5 * 0.7 + s[1] ** 2 * 2.0 * 0.4)
        if radius == 0:
            quoted = 16 * 2.0 * max(lam, 2 * 3.5 * 0.8 * 1.5 / 8) / epochs + 2 * math.sqrt(first * v1)
            assert tuned.bound <= quoted + 2 * first ** (2 / 3) * v2 ** (1 / 3)


def test_tuned_rates():
    given = {"smoothness": (1.5, 2.0), "rank": 6, "initial_gap": 2.0, "n": 8, "shares": (1.0, 1.0)}
    for dispersion, slope in (((0.7, 0.4), 1 / 2), ((0.0, 0.4), 2 / 3), ((0.0, 0.0), 1.0)):
        ends = [reshuffling_tuned(dispersion=dispersion, epochs=t, **given).bound for t in (10**12, 10**14)]
        assert math.log(ends[0] / ends[1]) / math.log(100) == pytest.approx(slope, abs=2e-3)


@pytest.mark.parametrize("dispersion", [(0.0, 0.0), (0.7, 0.4), (0.0, 4.0)])
def test_reshuffling_complexity_suffices(dispersion):
    given = {"smoothness": (1.5, 2.0), "dispersion": dispersion, "rank": 6, "initial_gap": 2.0, "n": 8, "shares": (1.0, 1.0)}
    epochs = math.ceil(reshuffling_complexity(accuracy=0.1, **given) / 8)
    assert reshuffling_tuned(epochs=epochs, **given).bound <= 0.1**2
    assert reshuffling_tuned(epochs=epochs // 10, **given).bound > 0.1**2  # and is not idle


def test_radius_costs_what_it_says():
    radius = reshuffling_radius(accuracy=0.1, step_size=0.01, smoothness=1.5, rank=6, directions=2)
    given = {"step_sizes": (0.01, 0.0), "smoothness": (1.5, 1.0), "dispersion": (0, 0), "rank": 6, "directions": 2}
    with_radius = reshuffling_clean_bound(initial_gap=0.0, n=4, epochs=1, radius=radius, **given)
    assert with_radius / 0.01 == pytest.approx(0.1**2)
    assert remainder_bound(1.5, 6, radius, 2) > 0


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"shares must be a pair \(x, y\) of positive finite numbers"):
        with_replacement_tuned(steps=10, **(SHARES | {"shares": (1.0, 0.0)}))
    with pytest.raises(ValueError, match=r"smoothness must be a pair \(x, y\) of positive finite numbers"):
        with_replacement_tuned(steps=10, **(SHARES | {"smoothness": (1.0, 0.0)}))
    with pytest.raises(ValueError, match=r"radius must be 0: the complexity is stated for exact directional"):
        with_replacement_complexity(accuracy=0.1, radius=0.1, **SHARES)
    with pytest.raises(ValueError, match=r"accuracy must be positive and finite, got 0"):
        with_replacement_complexity(accuracy=0, **SHARES)
    with pytest.raises(ValueError, match=r"accuracy must be positive and finite, got -1"):
        reshuffling_complexity(accuracy=-1, n=3, **SHARES)
