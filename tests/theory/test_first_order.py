"""First-order bounds against all permutations of heterogeneous quadratics, exact averages and nonconvex runs."""

import itertools
import math

import numpy as np
import pytest

from tests.theory.exact import orthogonal
from theory_lab.constants import Constants
from theory_lab.theory import first_order, recalled
from theory_lab.theory.base import Budget
from theory_lab.theory.clean import first_order_clean_bound, with_replacement_clean_bound
from theory_lab.theory.reshuffling import stationary_variance

KNOWN = {"smoothness": 2.0, "dispersion": 0.9, "initial_gap": 1.3}


def random_quadratics(rng: np.random.Generator, n: int, d: int, low: float) -> tuple[np.ndarray, np.ndarray]:
    """f_i = z'H_i z/2 - b_i'z with eigenvalues of H_i in [low, 1], many of them at the ends."""
    spectra = rng.choice([low, 1.0], size=(n, d)) if rng.integers(2) else rng.uniform(low, 1.0, size=(n, d))
    frames = [orthogonal(rng, d) for _ in range(n)]
    hessians = np.array([q * s @ q.T for q, s in zip(frames, spectra, strict=True)])
    return hessians, rng.normal(size=(n, d)) * 10 ** rng.uniform(-1, 1)


def epoch_ends(hessians: np.ndarray, shifts: np.ndarray, z: np.ndarray, eta: float) -> np.ndarray:
    ends = []
    for permutation in itertools.permutations(range(len(shifts))):
        end = z
        for i in permutation:
            end = end - eta * (hessians[i] @ end - shifts[i])
        ends.append(end)
    return np.array(ends)


def test_one_epoch_descends_as_stated():
    """E f(z_n) <= f - (7/18) eta n |g|^2 + (2/9) eta^3 L^2 n(n+1) sigma^2, from the bound at one epoch."""
    rng, slacks = np.random.default_rng(41), []
    for _ in range(250):
        n, d = int(rng.integers(1, 5)), int(rng.integers(1, 5))
        hessians, shifts = random_quadratics(rng, n, d, -1.0)
        z, eta = rng.normal(size=d) * 10 ** rng.uniform(-1, 1), 10 ** rng.uniform(-2, 0) / (2 * n)
        gradients = hessians @ z - shifts
        g, mean_h, mean_b = gradients.mean(0), hessians.mean(0), shifts.mean(0)
        spread = float(((gradients - g) ** 2).sum(1).mean())
        ends = epoch_ends(hessians, shifts, z, eta)
        change = float(np.mean([e @ mean_h @ e / 2 - mean_b @ e for e in ends]) - (z @ mean_h @ z / 2 - mean_b @ z))
        rate = 7 / 18 * eta * n
        noise = rate * first_order.reshuffling_bound(
            step_size=eta, smoothness=1.0, dispersion=spread, initial_gap=0.0, n=n, epochs=1
        )
        promised = rate * float(g @ g)
        slacks.append((noise - promised - change) / (noise + promised + abs(change)))
    assert min(slacks) > 0


def cosines(rng: np.random.Generator, n: int, d: int) -> tuple[np.ndarray, float, float]:
    """f_i = sum_k 1 - cos(z_k - p_ik), L = 1: the phases, f* = sum_k 1 - |mean e^(-ip)|, sum_k (1 - |mean|^2) >= sigma^2."""
    phases = rng.uniform(-1.0, 1.0, size=(n, d))
    resultant = abs(np.exp(-1j * phases).mean(0))
    return phases, float((1 - resultant).sum()), float((1 - resultant**2).sum())


@pytest.mark.parametrize("n, load", [(4, 0.5), (4, 0.1), (32, 0.5), (32, 0.1)])
def test_a_nonconvex_run_stays_below(n, load):
    """sigma^2 here is a supremum: mean_i sin^2(z - p_i) - (mean sin)^2 is at most 1 - |mean e^(ip)|^2 at every z."""
    rng, d, seeds, epochs = np.random.default_rng(42), 6, 64, 60
    phases, least, spread = cosines(rng, n, d)
    z = np.tile(rng.uniform(-2.5, 2.5, size=d), (seeds, 1))
    gap = float((1 - np.cos(z[0] - phases)).sum(1).mean()) - least
    eta, averages = load / n, np.zeros(seeds)
    for _ in range(epochs):
        averages += (np.sin(z[:, None] - phases).mean(1) ** 2).sum(1) / epochs
        for i in rng.permuted(np.tile(np.arange(n), (seeds, 1)), axis=1).T:
            z = z - eta * np.sin(z - phases[i])
    bound = first_order.reshuffling_bound(
        step_size=eta, smoothness=1.0, dispersion=spread, initial_gap=gap, n=n, epochs=epochs
    )
    error = 4 * averages.std() / math.sqrt(seeds)
    assert averages.mean() + error < bound
    assert averages.mean() > 0.05 * bound


def test_pl_runs_stay_below():
    """Convex quadratics that share a Hessian, so PL with its least eigenvalue; exact over permutations."""
    rng = np.random.default_rng(43)
    hessian = np.diag([1.0, 0.3, 0.2])
    shifts = rng.normal(size=(4, 3))
    shifts -= shifts.mean(0)
    eta, gap, start = 0.5 / 4 / 1.0, None, rng.normal(size=3)
    mean, second = start, np.outer(start, start)
    contraction = np.eye(3) - eta * hessian
    for t in range(1, 6):
        powers = [np.linalg.matrix_power(contraction, 3 - k) for k in range(4)]
        kicks = [
            eta * sum(p @ shifts[i] for p, i in zip(powers, order, strict=True))
            for order in itertools.permutations(range(4))
        ]
        whole = np.linalg.matrix_power(contraction, 4)
        kick = np.mean(kicks, axis=0)
        second = whole @ second @ whole.T + np.mean([np.outer(k, k) for k in kicks], axis=0)
        second += np.outer(whole @ mean, kick) + np.outer(kick, whole @ mean)
        mean = whole @ mean + kick
        gap = float(np.trace(hessian @ second)) / 2
        bound = first_order.reshuffling_pl_bound(
            step_size=eta,
            smoothness=1.0,
            pl=0.2,
            dispersion=float((shifts**2).sum(1).mean()),
            initial_gap=float(start @ hessian @ start) / 2,
            n=4,
            epochs=t,
        )
        assert gap <= bound
    assert gap > 0.001 * bound


def test_pl_bound_solves_the_recursion_of_the_epoch():
    """E_{t+1} <= (1 - (7/9) mu eta n) E_t + c with the c of one epoch: the bound is its solution with the floor in full."""
    eta, n, mu, rate = 0.03, 7, 0.1, 7 / 18 * 0.03 * 7
    cost = rate * first_order.reshuffling_bound(
        step_size=eta, smoothness=2.0, dispersion=0.9, initial_gap=0.0, n=n, epochs=1
    )
    gap = 1.3
    for t in range(1, 1200):
        gap = (1 - 2 * mu * rate) * gap + cost
        bound = first_order.reshuffling_pl_bound(step_size=eta, pl=mu, n=n, epochs=t, **KNOWN)
        assert gap <= bound * (1 + 1e-12) <= gap + cost / (2 * mu * rate) + 1e-9
    assert gap == pytest.approx(bound, rel=1e-6)


def test_tuned_step_minimises_the_bound():
    for epochs, n in ((5, 4), (1000, 4), (10**6, 50)):
        tuned = first_order.reshuffling_tuned(n=n, epochs=epochs, **KNOWN)
        at = [
            first_order.reshuffling_bound(step_size=tuned.step_size * scale, n=n, epochs=epochs, **KNOWN)
            for scale in (1.0, 0.5, 0.9, 1.1, 2.0)
        ]
        assert at[0] == pytest.approx(tuned.bound, rel=1e-12)
        assert min(at) == at[0]


def test_tuned_rate_is_n_to_the_third_and_t_to_two_thirds():
    def bound(n, epochs):
        return first_order.reshuffling_tuned(n=n, epochs=epochs, **KNOWN).bound

    assert math.log(bound(50, 10**10) / bound(50, 10**8)) / math.log(100) == pytest.approx(-2 / 3, abs=1e-9)
    assert math.log(bound(10**5, 10**12) / bound(10**3, 10**12)) / math.log(100) == pytest.approx(-1 / 3, abs=1e-3)


def test_corollary_2b_is_a_little_sharper():
    for eta in (1e-4, 1e-3, 0.03):
        given = {"step_size": eta, "n": 7, "epochs": 20, **KNOWN}
        ratio = first_order_clean_bound(**given) / first_order.reshuffling_bound(**given)
        assert 0.87 < ratio < 1


def test_with_replacement_average_is_the_recursion():
    eta, h, noise, x = 0.3, 1.7, 0.6, 2.25
    second, total, steps = x**2, 0.0, 40
    for _ in range(steps):
        total += h**2 * second
        second = (1 - eta * h) ** 2 * second + eta**2 * noise
    exact = first_order.with_replacement_average(
        step_size=eta, curvature=h, dispersion=noise, initial_gap=h * x**2 / 2, steps=steps
    )
    assert exact == pytest.approx(total / steps, rel=1e-13)


@pytest.mark.parametrize("alpha", [1e-4, 0.1, 0.5, 1.0])
def test_the_bound_is_attained_up_to_two_minus_alpha(alpha):
    """For K -> infinity exact / bound = 1/(2 - eta h) in either term: 1/2 for small steps, 1 at the cap."""
    steps = 10**9
    for dispersion, gap in ((1.0, 0.0), (0.0, 1.0)):
        given = {"step_size": alpha, "dispersion": dispersion, "initial_gap": gap, "steps": steps}
        exact = first_order.with_replacement_average(curvature=1.0, **given)
        bound = first_order.with_replacement_bound(smoothness=1.0, **given)
        assert exact / bound == pytest.approx(1 / (2 - alpha), rel=1e-4)


def test_zeroth_order_version_is_corollary_1a_at_kappa():
    """An isotropic ZO block is first-order with eta -> (d+2) eta in the noise: 2 Delta/(eta K) + eta L (d+2) sigma^2."""
    eta, d = 0.01, 8
    zeroth = with_replacement_clean_bound(
        step_sizes=(eta, 0.0), smoothness=(1.5, 1.0), dispersion=(0.7, 0.0), initial_gap=2.0, steps=300, rank=d
    )
    assert zeroth / eta == pytest.approx(2 * 2.0 / (eta * 300) + eta * 1.5 * (d + 2) * 0.7)
    assert math.isinf(
        with_replacement_clean_bound(
            step_sizes=(1.01 / (1.5 * (d + 2)), 0.0),
            smoothness=(1.5, 1.0),
            dispersion=(0, 0),
            initial_gap=1,
            steps=1,
            rank=d,
        )
    )


def test_caps():
    given = {"n": 10, "epochs": 5, **KNOWN}
    assert first_order.reshuffling_bound(step_size=0.025, **given) < math.inf
    assert first_order.reshuffling_bound(step_size=0.0251, **given) == math.inf
    assert first_order.reshuffling_pl_bound(step_size=0.0251, pl=0.1, **given) == math.inf
    assert first_order.with_replacement_bound(step_size=0.51, steps=5, **KNOWN) == math.inf
    start = {"smoothness": 2.0, "optimal_dispersion": 1.0, "initial_distance_sq": 1.0, "n": 10, "epochs": 5}
    assert recalled.mishchenko_strongly_convex_bound(step_size=0.51, strong_convexity=1.0, **start) == math.inf
    assert recalled.mishchenko_small_step_bound(step_size=0.036, strong_convexity=1.0, **start) == math.inf
    assert recalled.mishchenko_convex_bound(step_size=0.036, **start) == math.inf


def test_recalled_bounds_hold_on_shared_curvature():
    """h = 1: the exact stationary law of a reshuffled run is far below each, and Theorem 1's floor is eta^2 n sigma*^2/2."""
    for eta in (0.01, 0.05):
        given = {
            "step_size": eta,
            "smoothness": 1.0,
            "optimal_dispersion": 1.0,
            "initial_distance_sq": 0.0,
            "n": 10,
            "epochs": 1,
        }
        first = recalled.mishchenko_strongly_convex_bound(strong_convexity=1.0, **given)
        second = recalled.mishchenko_small_step_bound(strong_convexity=1.0, **given)
        assert first == pytest.approx(eta**2 * 10 / 2)
        exact = stationary_variance(eta, 1.0, 10, 1.0, "shuffle_once")
        assert exact <= min(first, second)
        assert exact / first == pytest.approx((10 + 1) / (10 * 6), rel=eta)  # (n+1)/(6n), to first order in eta
        assert recalled.mishchenko_convex_bound(**given) == pytest.approx(eta**2 * 10 / 4)


def test_theorems_use_the_largest_smoothness_and_the_total_dispersion():
    constants = Constants(smoothness={"a": 2.0, "b": 0.5}, dispersion={"a": 0.5, "b": 0.4}, pl=0.1)
    budget = Budget(n=7, epochs=300, initial_gap=1.3)
    etas = first_order.RESHUFFLING.step_sizes(constants, budget)
    assert etas["a"] == etas["b"] == first_order.reshuffling_tuned(n=7, epochs=300, **KNOWN).step_size
    assert (
        first_order.RESHUFFLING.bound(constants, budget, etas)
        == first_order.reshuffling_tuned(n=7, epochs=300, **KNOWN).bound
        == pytest.approx(first_order.reshuffling_bound(step_size=etas["a"], n=7, epochs=300, **KNOWN))
    )
    eta = first_order.WITH_REPLACEMENT.step_sizes(constants, budget)
    given = {"step_size": eta["a"], "steps": 2100, **KNOWN}
    assert first_order.WITH_REPLACEMENT.bound(constants, budget, eta) == first_order.with_replacement_bound(**given)
    for theorem in (first_order.RESHUFFLING, first_order.RESHUFFLING_PL, first_order.WITH_REPLACEMENT):
        assert theorem.bound(constants, budget, theorem.step_sizes(constants, budget)) < math.inf
        assert theorem.bound(constants, budget, {"a": 0.01, "b": 0.02}) == math.inf
        assert theorem.bound(constants, budget, {"a": 3.0, "b": 3.0}) == math.inf
    assert first_order.RESHUFFLING_PL.assumptions(without_pl(constants), budget) == ["pl is unknown"]
    lopsided = Constants(smoothness={"a": 2.0}, dispersion={"a": 0.5, "b": 0.4})
    assert first_order.RESHUFFLING.assumptions(lopsided, budget) == [
        "smoothness and dispersion are known for different blocks"
    ]
    flat = Constants(smoothness={"a": 0.0}, dispersion={"a": 0.5})
    assert first_order.RESHUFFLING.assumptions(flat, budget) == ["smoothness is not positive"]


def without_pl(constants: Constants) -> Constants:
    return Constants(smoothness=constants.smoothness, dispersion=constants.dispersion)


def test_pl_theorem_falls_like_its_exponents_up_to_logarithms():
    constants = Constants(smoothness={"a": 2.0}, dispersion={"a": 0.9}, pl=0.1)

    def promise(epochs):
        budget = Budget(n=7, epochs=epochs, initial_gap=1.3)
        return first_order.RESHUFFLING_PL.bound(constants, budget, first_order.RESHUFFLING_PL.step_sizes(constants, budget))

    slope = math.log(promise(10**8) / promise(10**6)) / math.log(100)
    assert -2.0 < slope < -1.8


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: first_order.reshuffling_bound(step_size=0.0, n=1, epochs=1, **KNOWN),
            "step_size must be positive and finite",
        ),
        (
            lambda: first_order.reshuffling_tuned(n=1, epochs=1, **(KNOWN | {"smoothness": 0.0})),
            "smoothness must be positive",
        ),
        (
            lambda: first_order.reshuffling_pl_bound(step_size=0.1, pl=3.0, n=1, epochs=1, **KNOWN),
            "pl must be at most the smoothness 2, got 3.0",
        ),
        (
            lambda: first_order.with_replacement_average(step_size=2.0, curvature=1.0, dispersion=0, initial_gap=0, steps=1),
            r"step_size must be in \(0, 2\), got 2.0",
        ),
        (
            lambda: first_order.with_replacement_bound(step_size=0.1, steps=0, **KNOWN),
            "steps must be a whole number of at least 1, got 0",
        ),
        (
            lambda: first_order_clean_bound(step_size=-1.0, n=1, epochs=1, **KNOWN),
            "step_size must be positive and finite, got -1.0",
        ),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
