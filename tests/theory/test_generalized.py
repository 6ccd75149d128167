"""Level-set lemmas on functions with known growth, and the conditions of Theorem 4 one by one."""

import math

import numpy as np
import pytest
from scipy import optimize

from theory_lab.constants import Constants
from theory_lab.theory.base import Budget
from theory_lab.theory.generalized import (
    RESHUFFLING,
    WITH_REPLACEMENT,
    grad_level_bound,
    li_grad_level_bound,
    power_law,
    reshuffling_high_probability,
    trust_region,
    with_replacement_high_probability,
)
from theory_lab.theory.level_sets import PHI
from theory_lab.theory.without_replacement import CLEAN, reshuffling_parts, shape


def cosh_growth(a: float, b: float):
    """(a/b^2)(cosh bx - 1) has |f''| = sqrt(a^2 + b^2 f'^2) exactly."""
    return lambda u: math.hypot(a, b * u)


def cosh_gradient(a: float, b: float, gap: float) -> float:
    """sup |f'| on {f <= gap}, in closed form."""
    return a / b * math.sqrt((1 + b * b * gap / a) ** 2 - 1)


def cosh_pair_gradient(a, b, gap: float) -> float:
    """sup ||grad f|| on {f <= gap} for the separable sum of two: the gap is split between them."""
    best = optimize.minimize_scalar(
        lambda s: -np.hypot(cosh_gradient(a[0], b[0], s * gap), cosh_gradient(a[1], b[1], (1 - s) * gap)),
        bounds=(0, 1),
        method="bounded",
    )
    ends = cosh_gradient(a[0], b[0], gap), cosh_gradient(a[1], b[1], gap)
    return max(-best.fun, *ends)


@pytest.mark.parametrize("gap", [1e-6, 0.01, 1.0, 50.0, 1e4])
@pytest.mark.parametrize("a, b", [(1.0, 1.0), (0.3, 2.0)])
def test_gradient_bound_on_a_level_set_of_cosh(a, b, gap):
    exact, ours, li = (
        cosh_gradient(a, b, gap),
        grad_level_bound(cosh_growth(a, b), gap),
        li_grad_level_bound(cosh_growth(a, b), gap),
    )
    assert exact <= ours <= 2 * exact
    assert ours <= li <= 4 * exact * (1 + 1e-12)
    assert ours**2 == pytest.approx(2 * gap * cosh_growth(a, b)(ours), rel=1e-12)


def test_small_and_large_gaps_have_their_limits():
    """Quadratic regime: exact. Far out: twice the gradient; four times with the 2 inside l."""
    growth = cosh_growth(1.0, 1.0)
    assert grad_level_bound(growth, 1e-9) == pytest.approx(cosh_gradient(1, 1, 1e-9), rel=1e-6)
    assert grad_level_bound(growth, 1e6) / cosh_gradient(1, 1, 1e6) == pytest.approx(2, rel=1e-5)
    assert li_grad_level_bound(growth, 1e6) / cosh_gradient(1, 1, 1e6) == pytest.approx(4, rel=1e-5)


def test_without_the_factor_two_the_bound_is_false():
    """sup{w: w^2 <= F l(w)} would miss the gradients of the very function that l comes from."""
    assert grad_level_bound(cosh_growth(1.0, 1.0), 0.1 / 2) < cosh_gradient(1.0, 1.0, 0.1)


def test_block_lemma():
    """sum_b |grad_b f|^2/l_b(G) <= 2 (f - f*) on the level set, G its largest gradient."""
    rng, ratios = np.random.default_rng(51), []
    for _ in range(400):
        a, b = 10 ** rng.uniform(-1, 1, 2), 10 ** rng.uniform(-1, 1, 2)
        z = rng.normal(size=2) * 10 ** rng.uniform(-1.5, 0.5) / b
        gap = float((a / b**2 * (np.cosh(b * z) - 1)).sum())
        gradient, g = a / b * np.sinh(b * z), cosh_pair_gradient(a, b, gap)
        assert np.linalg.norm(gradient) <= g * (1 + 1e-6)
        bounds = [cosh_growth(*ab)(g) for ab in zip(a, b, strict=True)]
        ratios.append(float((gradient**2 / bounds).sum() / (2 * gap)))
    assert max(ratios) <= 1
    assert max(ratios) > 0.9


def test_trust_region_stays_in_the_larger_level_set():
    """f = two cosh + c sin x sin y, l_b(u) = l(u + c) + c. Whatever is within sqrt(2F) of f <= F has f <= 4F."""
    rng, ratios = np.random.default_rng(52), []
    a, b, c = np.array([1.0, 0.8]), np.array([1.0, 2.0]), 0.5
    growth = tuple((lambda u, a=a_, b=b_: math.hypot(a, b * (u + c)) + c) for a_, b_ in zip(a, b, strict=True))

    def value(z):
        return (a / b**2 * (np.cosh(b * z) - 1)).sum(-1) + c * np.sin(z[..., 0]) * np.sin(z[..., 1])

    for initial in (0.05, 0.5, 5.0):
        region = trust_region(growth=growth, initial_gap=initial, failure_probability=0.5)
        z = rng.uniform(-4, 4, size=(200_000, 2))
        inside = z[value(z) <= region.gap][:2000]
        metric = np.sqrt(np.array(region.smoothness) / PHI)  # D+
        angle = rng.uniform(0, 2 * np.pi, size=len(inside))
        moved = inside + math.sqrt(2 * region.gap) * np.stack([np.cos(angle), np.sin(angle)], 1) / metric
        ratios.append(value(moved).max() / (4 * region.gap))
        assert region.radius == pytest.approx(math.sqrt(2 * PHI * region.gap))
    assert max(ratios) <= 1
    assert max(ratios) > 0.2


@pytest.mark.parametrize("power", [0.0, 2 / 3, 1.0, 1.5])
def test_power_law_exponents(power):
    growth = lambda u: 1 + u**power
    low, high = (grad_level_bound(growth, gap) for gap in (1e12, 1e14))
    law = power_law(power)
    assert math.log(high / low) / math.log(100) == pytest.approx(law.gradient_in_gap, abs=5e-3)
    assert math.log(growth(high) / growth(low)) / math.log(100) == pytest.approx(law.smoothness_in_gap, abs=1e-2)
    assert law.smoothness_in_failure_probability == -law.smoothness_in_gap


def test_subquadratic_is_sharp():
    """l = (1+u)^2 with the 2 inside: finite below F = 1/8, infinite from there on; without it, from F = 1/2 on."""
    square = lambda u: (1 + u) ** 2
    assert li_grad_level_bound(square, 0.1249) < math.inf
    assert li_grad_level_bound(square, 0.1251) == math.inf
    assert grad_level_bound(square, 0.4999) < math.inf
    assert grad_level_bound(square, 0.5001) == math.inf
    assert grad_level_bound(lambda u: np.float64(u) ** 3, 1.0) == math.inf  # overflows on the way, silently
    assert grad_level_bound(lambda u: 1.0, 0.0) == 0.0


FLAT = (lambda u: 1.0, lambda u: 1.0)  # L' = phi
RR = {
    "growth": FLAT,
    "dispersion": (0.0, 0.0),
    "initial_gap": 1.0,
    "failure_probability": 0.1,
    "n": 10,
    "epochs": 20,
    "dimension": 9,
}
WR = {"growth": FLAT, "dispersion": (0.0, 0.0), "initial_gap": 1.0, "failure_probability": 0.1, "steps": 200, "dimension": 9}


def test_the_simple_sufficient_conditions_suffice():
    """n alpha_m <= 1/8, a e^a (1 + chi) <= 0.404 and kappa' alpha_x <= 1/72 imply the first four, at every n."""
    for n in (1, 2, 7, 1000):
        etas = min(1 / (8 * n), 1 / 720) / PHI, 1 / (8 * n) / PHI
        start = trust_region(growth=FLAT, initial_gap=1.0, failure_probability=0.1).radius / PHI
        for chi, within in ((0.0, True), (0.404 / (0.125 * math.exp(0.125)) - 1, True), (2.0, False)):
            result = reshuffling_high_probability(step_sizes=etas, worst_deviation=chi * start, **(RR | {"n": n}))
            held = {condition.words: condition.holds for condition in result.conditions}
            assert list(held.values()) == [True, True, within, True, True, True], (n, chi, result.conditions)


def test_each_condition_can_fail_alone():
    etas = 1e-3 / PHI, 1e-2 / PHI

    def failing(**change):
        return [
            i
            for i, c in enumerate(reshuffling_high_probability(**(RR | {"step_sizes": etas} | change)).conditions)
            if not c.holds
        ]

    assert failing() == []
    assert failing(step_sizes=(etas[0], 0.11 / PHI))[0] == 0
    assert failing(step_sizes=(0.09 / PHI, 0.01 / PHI)) == [1]
    assert failing(worst_deviation=1e3) == [2]
    assert failing(step_sizes=(3e-3 / PHI, etas[1])) == [3]
    assert failing(dispersion=(0.0, 10.0), worst_deviation=0.0, epochs=10**6) == [4]
    assert failing(radius=0.3, dispersion=(0.0, 0.0), epochs=1) == [5]


def test_worst_deviation_by_default_is_the_largest_that_the_dispersion_allows():
    given = RR | {"step_sizes": (1e-4, 1e-3), "dispersion": (0.1, 0.3)}
    explicit = reshuffling_high_probability(worst_deviation=math.sqrt(9 * 0.4 / PHI), **given)
    assert reshuffling_high_probability(**given).conditions[2] == explicit.conditions[2]


def test_excursion_constants_are_theorem_two_steps_three_and_four():
    """j and N_J from the shape of Theorem 2: E||P Xi||^2 <= n zeta(...) + ... with Z replaced by its bound."""
    etas, n = (1e-3 / PHI, 1e-2 / PHI), 10
    result = reshuffling_high_probability(step_sizes=etas, **(RR | {"dispersion": (0.3, 0.2)}))
    alpha, u = (1e-3, 1e-2), 1e-3 * 10
    s = shape((n * alpha[0], n * alpha[1]), u, n, CLEAN)
    per_z = 5 * u * alpha[0]  # (1 + 1/c2) u alpha_x, c2 = 1/4
    s1, s2, sv = 9 / 20, 9 * 19 / 600, 11 / 60
    p = [n * 1.25 / s.theta * (n * alpha[0] * s2 + s.zeta * s1), n * 1.25 / s.theta * n * alpha[1] * s2]
    q = [1.25 / s.theta * (n * alpha[0] * sv + n * s.zeta * s1), 1.25 / s.theta * n * alpha[1] * sv]
    j = [s.zeta + per_z * p[0], per_z * p[1]]
    worst = max(j[b] / result.coefficients[b] for b in (0, 1))
    a = n * alpha[1]
    assert result.conditions[3].left == pytest.approx(4.5 * PHI * math.exp(2 * a) * worst, rel=1e-12)
    noise_j = etas[0] * 0.3 * (s.zeta + per_z * q[0]) + etas[1] * 0.2 * per_z * q[1]
    noise = reshuffling_parts(
        step_sizes=etas, n=n, smoothness=(PHI, PHI), dispersion=(0.3, 0.2), rank=9, parameters=CLEAN
    ).noise
    assert result.conditions[4].left == pytest.approx(200 * (noise + 9 * math.exp(2 * a) * noise_j), rel=1e-12)


def test_bound_is_four_gaps_over_steps():
    result = reshuffling_high_probability(step_sizes=(1e-3 / PHI, 1e-2 / PHI), **RR)
    assert result.holds
    assert result.bound == pytest.approx(4 / 200 / min(result.coefficients))
    assert reshuffling_high_probability(step_sizes=(1.0, 1.0), **RR).bound == math.inf


def test_with_replacement_conditions():
    kappa = 11
    assert with_replacement_high_probability(step_sizes=(0.47 / kappa / PHI, 0.47 / PHI), **WR).holds
    assert not with_replacement_high_probability(step_sizes=(0.48 / kappa / PHI, 0.47 / PHI), **WR).holds
    assert not with_replacement_high_probability(step_sizes=(0.47 / kappa / PHI, 0.48 / PHI), **WR).holds
    given = WR | {"step_sizes": (1e-3, 1e-3)}
    noisy = with_replacement_high_probability(**(given | {"dispersion": (0.0, 1e6)}))
    assert [c.holds for c in noisy.conditions] == [True, False, True]
    far = with_replacement_high_probability(radius=3.0, **given)
    assert not far.conditions[2].holds
    near = with_replacement_high_probability(radius=1e-3, **given)
    assert near.holds
    assert near.bound == pytest.approx(4 / 200 / min(near.coefficients))


def test_steps_owe_the_dimension_to_variance_alone():
    """eta_x may be min(1/n, q/d), not 1/(n d): growing n at large d, or d at large n, does not shrink it."""
    constants = Constants(growth={"x": FLAT[0], "y": FLAT[1]}, dispersion={"x": 0.0, "y": 0.0})

    def recommended(n, dimension):
        budget = Budget(n=n, epochs=10, dimension=dimension, initial_gap=1.0, failure_probability=0.1)
        return RESHUFFLING.step_sizes(constants, budget)["x"]

    assert recommended(2, 10_000) == pytest.approx(recommended(4, 10_000), rel=1e-3)
    assert recommended(10_000, 2) == pytest.approx(recommended(10_000, 4), rel=1e-3)


@pytest.mark.parametrize("theorem", [RESHUFFLING, WITH_REPLACEMENT], ids=lambda t: t.name)
def test_theorems_recommend_the_largest_admissible_steps(theorem):
    constants = Constants(growth={"x": cosh_growth(1.0, 0.5), "y": cosh_growth(2.0, 0.1)}, dispersion={"x": 0.05, "y": 0.05})
    budget = Budget(n=4, epochs=50, dimension=5, initial_gap=1.0, failure_probability=0.2, radius=1e-4)
    assert theorem.assumptions(constants, budget) == []
    etas = theorem.step_sizes(constants, budget)
    assert 0 < theorem.bound(constants, budget, etas) < math.inf
    assert theorem.bound(constants, budget, {b: 1.001 * eta for b, eta in etas.items()}) == math.inf
    assert (
        theorem.step_sizes(
            constants, Budget(n=4, epochs=50, dimension=5, initial_gap=1.0, failure_probability=0.2, radius=10.0)
        )
        == {}
    )


def test_conditions_in_words():
    budget = Budget(n=4, epochs=50, dimension=5, initial_gap=1.0, failure_probability=0.2)
    wild = Constants(growth={"x": FLAT[0], "y": lambda u: 1 + u**2}, dispersion={"x": 0.0, "y": 0.0})
    assert RESHUFFLING.assumptions(wild, budget) == ["growth is not sub-quadratic at the gap 8 Delta/delta"]
    assert RESHUFFLING.bound(wild, budget, {"x": 1e-3, "y": 1e-3}) == math.inf
    flat = Constants(growth={"x": FLAT[0], "y": lambda u: 0.0}, dispersion={"x": 0.0, "y": 0.0})
    assert WITH_REPLACEMENT.assumptions(flat, budget) == ["growth of block y is not positive"]
    settled = Budget(n=4, epochs=50, dimension=5, initial_gap=0.0, failure_probability=0.2)
    assert WITH_REPLACEMENT.assumptions(flat, settled) == ["initial gap is not positive"]
    direct = reshuffling_high_probability(step_sizes=(1e-3, 1e-3), **(RR | {"growth": (FLAT[0], lambda u: 1 + u**2)}))
    assert [c.words for c in direct.conditions] == ["the growth functions are sub-quadratic at the gap 4F"]
    assert not direct.holds
    assert direct.bound == math.inf


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: grad_level_bound(FLAT[0], -1.0), "gap must be nonnegative and finite, got -1.0"),
        (lambda: power_law(2.0), r"power must be in \[0, 2\), got 2.0"),
        (
            lambda: trust_region(growth=FLAT, initial_gap=0.0, failure_probability=0.1),
            "initial_gap must be positive and finite, got 0.0",
        ),
        (
            lambda: trust_region(growth=FLAT, initial_gap=1.0, failure_probability=0.0),
            r"failure_probability must be in \(0, 1\), got 0.0",
        ),
        (
            lambda: reshuffling_high_probability(step_sizes=(1, 1), worst_deviation=-1.0, **RR),
            "worst_deviation must be nonnegative and finite, got -1.0",
        ),
        (
            lambda: with_replacement_high_probability(step_sizes=(1, 1), radius=1.0, c=0.0, **WR),
            "c must be positive and finite, got 0.0",
        ),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
