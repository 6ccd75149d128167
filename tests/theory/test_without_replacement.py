"""Theorem 2 against exact epochs over all permutations and directions: true, sharp for small steps, false when halved."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tests.theory.exact import EPOCHS, Instance, random_epoch, random_instance, slack, still_at_the_minimiser
from theory_lab.theory.moment_bounds import remainder_bound
from theory_lab.theory.with_replacement import with_replacement_bound
from theory_lab.theory.without_replacement import (
    CLEAN,
    FreeParameters,
    reshuffling_bound,
    reshuffling_parts,
)


def random_parameters(rng: np.random.Generator) -> FreeParameters:
    positive = 10 ** rng.uniform(-1, 1, size=6)
    return FreeParameters(*positive[:3], tuple(rng.uniform(0.1, 1, 2)), *positive[3:])


def assembled(etas, smoothness, dispersion, squares, n, rank, directions, radius, p):
    """The right side of Theorem 2, f(z_t) apart, put together from the steps of its proof with their sums written out."""
    alpha, a, lam = np.multiply(etas, smoothness), n * np.multiply(etas, smoothness), n * max(np.multiply(etas, smoothness))
    factor, on_x = (rank + 1) / directions, np.array([1.0, 0.0])
    bias_sq, rest_sq = (radius * smoothness[0]) ** 2 * rank, remainder_bound(smoothness[0], rank, radius, directions)
    young, of_rest, of_bias = 1 + p.c, (1 + 1 / p.c if radius else 0), (1 + 1 / p.c3 if radius else 0)
    # (3) E||P Xi||^2 = fixed + per_z Z.
    start = squares[0] + dispersion[0]
    fixed = n * etas[0] * alpha[0] * (young * factor * (1 + p.c2) * start + of_rest * rest_sq)
    per_z = young * factor * (1 + 1 / p.c2) * alpha[0] ** 2
    # (4) Z <= drift + share Z, summed over k < n.
    drift = share = 0.0
    for k in range(n):
        visited = k * (n - k) / (n - 1) if n > 1 else 0.0
        sampled = np.dot(np.multiply(etas, alpha), k**2 * squares + visited * dispersion)
        drift += (1 + p.c1) * (sampled + k / n * fixed) + (1 + 1 / p.c1) * of_bias * etas[0] * alpha[0] * k**2 * bias_sq
        share += (1 + 1 / p.c1) * (1 + p.c3) * (lam / n) ** 2 * k
    share += (1 + p.c1) * per_z * (n - 1)  # E||N_k||^2 summed, each xi_j counted at most n - 1 times
    z = drift / (1 - share)
    # (1), (2)
    tau = np.array(p.tau)
    descent = np.dot((1 + (1 - a) * (1 - tau)) / 2 * etas, squares)
    w = (1 + on_x * p.omega + (1 - a) * (1 / tau - 1)) / 2
    middle = max(a * w * (1 + on_x * p.rho)) * z / n
    if radius:
        middle += n * etas[0] * w[0] * (1 + 1 / p.rho) * bias_sq
    return -n * descent + middle + (1 + a[0] / p.omega) / 2 * (fixed + per_z * z)


@pytest.mark.parametrize("radius", [0.0, 0.3])
def test_the_statement_is_what_its_proof_assembles(radius):
    rng = np.random.default_rng(22)
    for _ in range(100):
        n, q, rank = int(rng.integers(1, 9)), int(rng.integers(1, 4)), float(rng.integers(1, 9))
        smoothness, dispersion, squares = 10 ** rng.uniform(-1, 1, size=(3, 2))
        etas = rng.uniform(0.01, 0.2, 2) * np.array([min(1 / n, q / (rank + 1)), 1 / n]) / smoothness
        p = random_parameters(rng)
        p = p if radius else p._replace(c=0.0, c3=0.0, rho=0.0)
        given = {"smoothness": tuple(smoothness), "dispersion": tuple(dispersion), "rank": rank, "directions": q}
        parts = reshuffling_parts(step_sizes=tuple(etas), n=n, radius=radius, parameters=p, **given)
        if parts.theta > 0:
            stated = n * (parts.noise - np.dot(np.multiply(parts.coefficients, etas), squares))
            proved = assembled(etas, smoothness, dispersion, squares, n, rank, q, radius, p)
            assert stated == pytest.approx(proved, rel=1e-10)


def test_one_epoch_never_exceeds_the_bound():
    rng, slacks = np.random.default_rng(11), []
    while len(slacks) < 300:
        instance, z = random_epoch(rng, radius=float(rng.choice([0.0, 10 ** rng.uniform(-2, 0.5)])))
        parts = reshuffling_parts(
            step_sizes=instance.step_sizes, n=instance.n, parameters=random_parameters(rng), **instance.known(z)
        )
        if parts.holds:
            descent = instance.n * np.multiply(parts.coefficients, instance.step_sizes)
            end = instance.epoch(z, np.outer(z, z))
            slacks.append(slack(instance, z, end, descent, instance.n * parts.noise))
    assert min(slacks) > 0
    assert min(slacks) < 0.3


def best_slack(instance: Instance, z: np.ndarray, *, share: float = 1.0) -> float:
    """One epoch against the optimised bound; `share` multiplies its noise, 1/2 being a false theorem."""
    given = instance.known(z) | {"n": instance.n, "step_sizes": instance.step_sizes}
    noise = reshuffling_bound(initial_gap=0.0, epochs=1, **given)  # N / min C: no gap to work off
    start, end = instance.value(z, np.outer(z, z)), instance.value(*instance.epoch(z, np.outer(z, z)))
    return (share * instance.n * noise - (end - start)) / (end - start)


def test_it_is_attained_in_the_limit_of_small_steps_where_every_hessian_is_the_bound():
    slacks = [best_slack(*still_at_the_minimiser(np.random.default_rng(12), load)) for load in (0.1, 1e-2, 1e-3, 1e-4, 1e-6)]
    assert all(a > b > 0 for a, b in pairwise(slacks))
    assert slacks[-1] < 0.01


def test_half_the_noise_is_caught():
    instance, z = still_at_the_minimiser(np.random.default_rng(13), 1e-4)
    assert best_slack(instance, z, share=0.5) < -0.4


def test_more_descent_than_promised_is_caught():
    """Without noise, small steps lose eta ||g||^2 per step: a theorem with C = 1.1 is false, C from Theorem 2 is not."""
    rng = np.random.default_rng(14)
    instance, _ = still_at_the_minimiser(rng, 1e-4)
    instance, z = replace(instance, shifts=np.zeros((4, 6))), rng.normal(size=6)
    weak = FreeParameters(1.0, 1.0, 1e-2, (1e-2, 1e-2))
    parts = reshuffling_parts(step_sizes=instance.step_sizes, n=4, parameters=weak, **instance.known(z))
    descent, end = 4 * np.array(instance.step_sizes), instance.epoch(z, np.outer(z, z))
    assert min(parts.coefficients) > 0.98
    assert slack(instance, z, end, descent * parts.coefficients, 4 * parts.noise) > 0
    assert slack(instance, z, end, descent * 1.1, 4 * parts.noise) < -0.04


def kinked_epoch(x: float, components: np.ndarray, eta: float, radius: float) -> float:
    """E f after a reshuffled epoch of two components (s_i/2) x|x| + b_i x, by quadrature over both directions."""
    v = np.linspace(-8, 8, 701)
    density = np.exp(-(v**2) / 2) / math.sqrt(2 * math.pi) * (v[1] - v[0])

    def moved(s, b, x):
        ahead = x[..., None] + radius * v
        slope = (s / 2 * ahead * abs(ahead) + b * ahead - (s / 2 * x * abs(x) + b * x)[..., None]) / radius
        return x[..., None] - eta * slope * v

    (s, b), ends = components.mean(0), []
    for first, second in (components, components[::-1]):
        x2 = moved(*second, moved(*first, np.array(x)))
        ends.append(density @ (s / 2 * x2 * abs(x2) + b * x2) @ density)
    return float(np.mean(ends))


def test_bias_of_kinked_curvature_is_covered():
    rng, slacks = np.random.default_rng(15), []
    while len(slacks) < 30:
        components = np.stack([rng.choice([-1.0, 1.0], 2), rng.normal(size=2) * 10 ** rng.uniform(-1, 0.5)], 1)
        x, eta, radius = rng.normal(), 0.5 * 10 ** rng.uniform(-1.5, 0), 10 ** rng.uniform(-1, 0.7)
        gradients = components[:, 0] * abs(x) + components[:, 1]
        parts = reshuffling_parts(
            step_sizes=(eta, 0.0),
            n=2,
            parameters=random_parameters(rng),
            smoothness=(1.0, 0.0),
            dispersion=(gradients.var(), 0.0),
            rank=1,
            radius=radius,
        )
        if parts.holds:
            s, b = components.mean(0)
            change = kinked_epoch(x, components, eta, radius) - (s / 2 * x * abs(x) + b * x)
            promised = 2 * parts.coefficients[0] * eta * gradients.mean() ** 2
            slacks.append((2 * parts.noise - promised - change) / (2 * parts.noise + promised + abs(change)))
    assert min(slacks) > 0


def test_many_epochs_stay_below_the_bound():
    """Common Hessians keep the dispersion constant: the average over epoch starts, exactly, against the bound."""
    rng, ratios = np.random.default_rng(16), []
    for load in (1.0, 0.3, 0.05):
        shifts, factor = rng.normal(size=(3, 5)), 4 / 2
        common = random_instance(rng, n=1, zeroth=3, first=2, step_sizes=(1, 1), convex=True).hessians
        bound = np.concatenate([np.full(3, 1.0), np.full(2, 1.0)]) * np.linalg.norm(common[0], 2)
        etas = load * min(1 / 12, 1 / (8 * factor)) / bound[0], load / (12 * bound[0])
        instance = Instance(np.tile(common, (3, 1, 1)), shifts - shifts.mean(0), 3, bound, etas, directions=2)
        z = rng.normal(size=5)
        moments, total, epochs = (z, np.outer(z, z)), 0.0, 40
        for _ in range(epochs):
            total += float(np.dot(etas, instance.expected_squares(*moments)))
            moments = instance.epoch(*moments)
        given = instance.known(z) | {"step_sizes": etas, "n": 3, "epochs": epochs}
        ratios.append(reshuffling_bound(initial_gap=instance.value(z, np.outer(z, z)), **given) / (total / epochs))
    assert min(ratios) >= 1
    assert max(ratios) < 8


def test_optimised_parameters_beat_random_ones():
    rng = np.random.default_rng(17)
    for radius in (0.0, 0.05):
        best = reshuffling_bound(radius=radius, **EPOCHS)
        tried = [reshuffling_bound(radius=radius, parameters=random_parameters(rng), **EPOCHS) for _ in range(3000)]
        assert best <= min(tried)
        assert best > 0.5 * min(tried)


def test_one_component_is_sampling_with_replacement():
    """n = 1: both theorems describe the same run, and their optimised bounds at dispersion 0 nearly agree."""
    given = {"step_sizes": (0.02, 0.1), "smoothness": (1, 1), "dispersion": (0, 0), "initial_gap": 1, "rank": 6}
    one, two = with_replacement_bound(steps=100, **given), reshuffling_bound(n=1, epochs=100, **given)
    assert one <= two <= one * 1.001


@pytest.mark.parametrize("radius", [0.0, 0.05])
def test_rescaling_the_function_or_the_variables(radius):
    """f -> c f with eta -> eta/c multiplies the bound by c; x -> s x with eta, radius to match leaves it alone."""
    c, s, (eta_x, eta_y) = 3.7, 0.4, EPOCHS["step_sizes"]
    base = reshuffling_bound(radius=radius, **EPOCHS)
    scaled = EPOCHS | {
        "step_sizes": (eta_x / c, eta_y / c),
        "smoothness": (1.5 * c, 2.0 * c),
        "dispersion": (0.7 * c**2, 0.4 * c**2),
        "initial_gap": 2.0 * c,
    }
    assert reshuffling_bound(radius=radius, **scaled) == pytest.approx(c * base, rel=1e-5)
    stretched = EPOCHS | {
        "step_sizes": (eta_x / s**2, eta_y / s**2),
        "smoothness": (1.5 * s**2, 2.0 * s**2),
        "dispersion": (0.7 * s**2, 0.4 * s**2),
    }
    assert reshuffling_bound(radius=radius / s, **stretched) == pytest.approx(base, rel=1e-5)


@pytest.mark.parametrize("radius", [0.0, 0.05])
def test_monotone_in_what_should_hurt_or_help(radius):
    base = EPOCHS | {"radius": radius}

    def bounds(name, values):
        return [reshuffling_bound(**(base | {name: value})) for value in values]

    for name, values in (("rank", [1, 12]), ("initial_gap", [0.0, 5.0]), ("directions", [8, 1]), ("epochs", [99, 9])):
        found = bounds(name, values)
        assert found[0] < found[1], name
    longer = [reshuffling_bound(**(base | {"n": n, "epochs": 800 // n})) for n in (4, 8, 32)]  # the same steps in all
    assert all(a < b for a, b in pairwise(longer))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"step_sizes": (0.1, math.inf)}, r"step_sizes must be a pair \(x, y\) of nonnegative finite numbers"),
        ({"n": 0}, "n must be a whole number of at least 1, got 0"),
        ({"epochs": 2.5}, "epochs must be a whole number of at least 1, got 2.5"),
        ({"rank": 0}, r"rank must be in \[1, inf\), got 0"),
        ({"parameters": CLEAN._replace(c1=0.0)}, "c1 must be positive and finite, got 0.0"),
        ({"parameters": CLEAN._replace(tau=(1.0, 1.5))}, r"tau must be in \(0, 1\], got 1.5"),
        ({"parameters": CLEAN, "radius": 0.1}, "c must be positive and finite, got 0.0"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        reshuffling_bound(**(EPOCHS | change))
