"""The bounds without free constants: implied by the theorems, their numbers exact at the corners; Theorem H by itself."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tests.theory.exact import random_epoch, slack, still_at_the_minimiser
from theory_lab.theory.clean import (
    first_order_clean_bound,
    reshuffling_clean_bound,
    theorem_h_bound,
    with_replacement_clean_bound,
)
from theory_lab.theory.with_replacement import with_replacement_bound
from theory_lab.theory.without_replacement import (
    CLEAN,
    FreeParameters,
    reshuffling_bound,
    shape,
)


def test_corollary_1a_is_implied():
    rng = np.random.default_rng(8)
    for _ in range(60):
        radius, q, r = (
            float(rng.choice([0.0, 10 ** rng.uniform(-3, 0)])),
            int(rng.integers(1, 6)),
            float(rng.integers(1, 30)),
        )
        kappa = 1 + (r + 1) / q
        setting = {
            "smoothness": (2.0, 0.5),
            "dispersion": tuple(10 ** rng.uniform(-2, 2, 2)),
            "initial_gap": 10 ** rng.uniform(-1, 1),
            "steps": 100,
            "rank": r,
            "directions": q,
            "radius": radius,
            "step_sizes": (rng.uniform(0.01, 1) / (2 * kappa * (4 if radius else 1)), rng.uniform(0.01, 1) * 2),
        }
        clean = with_replacement_clean_bound(**setting)
        assert clean < math.inf
        assert with_replacement_bound(**setting) <= clean * (1 + 1e-12)
    over = {"steps": 100, "initial_gap": 1, "smoothness": (1, 1), "dispersion": (1, 1), "rank": 3}
    assert with_replacement_clean_bound(step_sizes=(0.2 * (1 + 1e-9), 0.1), **over) == math.inf
    assert with_replacement_clean_bound(step_sizes=(0.1, 1 + 1e-9), **over) == math.inf
    assert with_replacement_clean_bound(step_sizes=(0.1, 0.1), radius=0.1, **over) == math.inf


def test_the_corners_quoted_for_the_clean_corollaries_are_exact():
    """Fractions at n -> infinity, where every quantity is largest: alpha_m n = 1/4 or 1/5, kappa' alpha_x = 1/8."""
    n, q, u = Fraction(10**12), Fraction(1, 4), Fraction(1, 8)
    first = shape((q, q), u, n, FreeParameters(q, q, Fraction(1), (Fraction(1), Fraction(1))))
    assert min(first.coefficients) >= Fraction(2941, 10000)
    assert first.k / q <= Fraction(2681, 1000)
    assert first.direct / u <= Fraction(12002, 10000)
    assert float(first.direct / u) == pytest.approx(1.2001, abs=5e-5)

    half, fifth, one = Fraction(1, 2), Fraction(1, 5), Fraction(1)
    p = FreeParameters(half, q, half, (one, one), q, q, q)
    second = shape((fifth, fifth), u, n, p)
    assert min(second.coefficients) >= Fraction(2573, 10000)
    assert second.k / fifth <= Fraction(3224, 1000)
    assert second.direct / u <= Fraction(15975, 10000)
    bias = second.w_x * (1 + 1 / p.rho) + second.y / second.theta * (1 + 1 / p.c1) * (1 + 1 / p.c3) * fifth * Fraction(1, 3)
    remainder = second.f * (1 + 1 / p.c) / 2 + second.y / second.theta * (1 + p.c1) * (1 + 1 / p.c) * half
    assert bias <= Fraction(4180, 1000)
    assert remainder <= Fraction(5112, 1000)

    # Hence the corollary's coefficients: those of N over the least C.
    least, other = min(first.coefficients), min(second.coefficients)
    assert 1 / least <= 4
    assert first.direct / u / least <= 5
    assert first.k / q / 6 / least <= 2
    assert 1 / other <= 4
    assert second.direct / u / other <= Fraction(64, 10)
    assert second.k / fifth / 6 / other <= Fraction(22, 10)
    assert bias / other <= 17
    assert remainder / other <= 21


def test_corollary_2a_is_implied():
    rng = np.random.default_rng(18)
    for _ in range(8):
        radius, q, r, n = (
            float(rng.choice([0.0, 0.01])),
            int(rng.integers(1, 6)),
            float(rng.integers(1, 30)),
            int(rng.integers(1, 60)),
        )
        limit = 1 / (4 * n) if radius == 0 else 1 / (5 * n)
        setting = {
            "smoothness": (2.0, 0.5),
            "dispersion": tuple(10 ** rng.uniform(-2, 2, 2)),
            "initial_gap": 10 ** rng.uniform(-1, 1),
            "n": n,
            "epochs": 100,
            "rank": r,
            "directions": q,
            "radius": radius,
            "step_sizes": (rng.uniform(0.1, 1) * min(limit, q / (8 * (r + 1))) / 2, rng.uniform(0.1, 1) * limit / 0.5),
        }
        clean = reshuffling_clean_bound(**setting)
        assert clean < math.inf
        assert reshuffling_bound(**setting) <= clean
        if radius == 0:
            assert reshuffling_bound(parameters=CLEAN, **setting) <= clean


def test_clean_conditions():
    given = {"initial_gap": 1, "n": 10, "epochs": 5, "smoothness": (1, 1), "dispersion": (1, 1), "rank": 3}
    assert reshuffling_clean_bound(step_sizes=(0.02, 0.025), **given) < math.inf
    assert reshuffling_clean_bound(step_sizes=(0.02, 0.0251), **given) == math.inf
    assert reshuffling_clean_bound(step_sizes=(0.02, 0.025), radius=0.1, **given) == math.inf
    assert reshuffling_clean_bound(step_sizes=(0.02, 0.02), radius=0.1, **given) < math.inf
    assert reshuffling_clean_bound(step_sizes=(0.02, 0.02), **(given | {"rank": 6})) == math.inf
    assert first_order_clean_bound(step_size=0.05, smoothness=1, dispersion=1, initial_gap=1, n=10, epochs=5) < math.inf
    assert first_order_clean_bound(step_size=0.051, smoothness=1, dispersion=1, initial_gap=1, n=10, epochs=5) == math.inf


def test_first_order_corollary_is_theorem_two_without_the_zeroth_order_block():
    """c1 = 1/2, tau = 1 at alpha n = 1/2: C = 0.4 and k a SV/n = 0.2 alpha^2 (n+1), in fractions."""
    n, half = Fraction(10**12), Fraction(1, 2)
    s = shape(
        (Fraction(0), half), Fraction(0), n, FreeParameters(half, Fraction(1), Fraction(1), (Fraction(1), Fraction(1)))
    )
    assert s.coefficients[1] >= Fraction(4, 10)
    assert s.drift[1] <= Fraction(2, 10) * (half / n) ** 2 * (n + 1) * (1 + Fraction(1, 10**6))
    for gap, noise in ((1.0, 0.0), (0.0, 1.0)):  # at the cap each term alone is rounded up, and by little
        many, p = 10**6, FreeParameters(0.5, 1.0, 1.0, (1.0, 1.0))
        at_cap = {"initial_gap": gap, "n": many, "epochs": 1}
        clean = first_order_clean_bound(step_size=0.5 / many, smoothness=1, dispersion=noise, **at_cap)
        bound = reshuffling_bound(
            step_sizes=(0.0, 0.5 / many), smoothness=(1, 1), dispersion=(0, noise), rank=1, parameters=p, **at_cap
        )
        assert bound * many / 0.5 <= clean * (1 + 1e-5) <= bound * many / 0.5 * 1.01
    given = {"initial_gap": 1.3, "n": 7, "epochs": 20}
    clean = first_order_clean_bound(step_size=0.03, smoothness=2, dispersion=0.9, **given)
    best = reshuffling_bound(step_sizes=(0.0, 0.03), smoothness=(5, 2), dispersion=(3, 0.9), rank=1, **given) / 0.03
    assert best <= clean


def test_theorem_h_holds_over_exact_epochs():
    rng, slacks = np.random.default_rng(20), []
    for _ in range(100):
        draft, z = random_epoch(rng)
        n, (l_x, l_y) = draft.n, draft.smoothness
        caps = min(1 / (4 * n), 1 / (24 * (draft.rank + 1))) / l_x, 1 / (4 * n * l_y)
        etas = caps[0] * rng.uniform(0.2, 1), caps[1] * rng.uniform(0.2, 1)
        instance = replace(draft, step_sizes=etas, directions=1)
        given = instance.known(z) | {"step_sizes": etas, "n": n}
        noise = 0.3 * n * theorem_h_bound(initial_gap=0.0, epochs=1, **given)
        slacks.append(slack(instance, z, instance.epoch(z, np.outer(z, z)), 0.3 * n * np.array(etas), noise))
    assert min(slacks) > 0


def test_a_seventh_of_theorem_h_is_caught():
    """Its direction noise is six times what small steps attain: 3.05 against 1/2 of omega eta_x sigma_x^2."""
    instance, z = still_at_the_minimiser(np.random.default_rng(21), 1e-4)
    given = instance.known(z) | {"step_sizes": instance.step_sizes, "n": 4}
    noise = 0.3 * 4 * theorem_h_bound(initial_gap=0.0, epochs=1, **given)
    rise = instance.value(*instance.epoch(z, np.outer(z, z))) - instance.value(z, np.outer(z, z))
    assert noise / 7 < rise < noise


def test_theorem_h_caps_and_comparison():
    given = {"initial_gap": 1, "n": 10, "epochs": 5, "smoothness": (1, 1), "dispersion": (1, 1), "rank": 3}
    assert theorem_h_bound(step_sizes=(1 / 96, 1 / 40), **given) < math.inf
    assert theorem_h_bound(step_sizes=(1 / 95, 1 / 40), **given) == math.inf
    assert theorem_h_bound(step_sizes=(1 / 96, 1 / 39), **given) == math.inf
    assert reshuffling_bound(step_sizes=(1 / 96, 1 / 40), **given) < theorem_h_bound(step_sizes=(1 / 96, 1 / 40), **given)
    with pytest.raises(ValueError, match=r"directions must be 1: Theorem H is stated for a single direction, got 2"):
        theorem_h_bound(step_sizes=(0.01, 0.01), directions=2, **given)
    with pytest.raises(ValueError, match=r"radius must be 0: Theorem H is stated for exact directional"):
        theorem_h_bound(step_sizes=(0.01, 0.01), radius=0.1, **given)
