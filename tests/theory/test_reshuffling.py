"""Stationary laws against all permutations in exact fractions, and against 60-digit arithmetic where floats cancel."""

import itertools
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest

from theory_lab.theory import reshuffling
from theory_lab.theory.reshuffling import (
    ORDERINGS,
    gradient_floor,
    incremental_fixed_point,
    inner_average_variance,
    reshuffling_ratio,
    reshuffling_ratio_limit,
    small_step_variance,
    stationary_variance,
    zeroth_order_ratio_limit,
    zeroth_order_variance,
)

TARGETS = {2: (1, -1), 3: (3, -1, -2), 4: (2, 1, 0, -3)}


def displacements(x: Fraction, order: tuple[int, ...], k: int) -> Fraction:
    """Where k steps z+ = (1 - x) z + x c take z = 0."""
    z = Fraction(0)
    for c in order[:k]:
        z = (1 - x) * z + x * c
    return z


def exact_variances(x: Fraction, targets: tuple[int, ...]) -> dict[str, Fraction]:
    """Stationary variances by definition: each order's displacement, and the epoch's contraction a^n."""
    n, a = len(targets), 1 - x
    orders = list(itertools.permutations(targets))
    spread = Fraction(sum(displacements(x, order, n) ** 2 for order in orders), len(orders))
    return {
        "with_replacement": x**2 * Fraction(sum(c * c for c in targets), n) / (1 - a**2),
        "random_reshuffling": spread / (1 - a ** (2 * n)),
        "shuffle_once": spread / (1 - a**n) ** 2,
        "incremental": Fraction(0),
    }


STEPS = [Fraction(x) for x in (1e-9, 1e-3, 0.3, 1.0, 1.3, 1.6, 1.999)]  # the floats themselves, exactly


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("x", STEPS, ids=float)
def test_variances_are_those_of_all_permutations(n, x):
    targets = TARGETS[n]
    variance = sum(c * c for c in targets) / n
    for name, expected in exact_variances(x, targets).items():
        assert stationary_variance(float(x) / 4, 4.0, n, variance, name) == pytest.approx(float(expected), rel=2e-13, abs=0)


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("x", STEPS, ids=float)
def test_inner_averages_are_those_of_all_permutations(n, x):
    targets, a = TARGETS[n], 1 - x
    orders = list(itertools.permutations(targets))
    variances = exact_variances(x, targets)
    reshuffled = shuffled = Fraction(0)
    for k in range(n):
        inner = [displacements(x, order, k) for order in orders]
        starts = [
            displacements(x, order, n) / (1 - a**n) for order in orders
        ]  # shuffled once, the start belongs to the order
        reshuffled += a ** (2 * k) * variances["random_reshuffling"] + Fraction(sum(z * z for z in inner), len(orders))
        shuffled += Fraction(sum((a**k * s + z) ** 2 for s, z in zip(starts, inner, strict=True)), len(orders))
    variance = sum(c * c for c in targets) / n
    expected = {
        "random_reshuffling": reshuffled / n,
        "shuffle_once": shuffled / n,
        "with_replacement": variances["with_replacement"],
    }
    for name, exact in expected.items():
        assert inner_average_variance(float(x), 1.0, n, variance, name) == pytest.approx(float(exact), rel=1e-12, abs=0)


def decimal_variances(x: Decimal, n: int) -> dict[str, Decimal]:
    """The closed forms in 60 digits."""
    a = 1 - x
    first, squares = (1 - a**n) / x, (1 - a ** (2 * n)) / (1 - a**2)
    spread = x**2 * n / (n - 1) * (squares - first**2 / n)
    return {
        "with_replacement": x / (2 - x),
        "random_reshuffling": spread / (1 - a ** (2 * n)),
        "shuffle_once": spread / (1 - a**n) ** 2,
    }


@pytest.mark.parametrize("n", [2, 3, 1000, 10**6])
@pytest.mark.parametrize("x", ["1e-9", "1e-6", "1e-3", "0.1", "0.6", "0.999999", "1.000001", "1.4", "1.999"])
def test_no_digits_are_lost(n, x):
    with localcontext() as context:
        context.prec = 60
        step = Decimal(float(x))  # the float itself, exactly
        expected = {name: float(value) for name, value in decimal_variances(step, n).items()}
        ratio = float(expected["random_reshuffling"] / expected["with_replacement"])
    for name, value in expected.items():
        assert stationary_variance(float(x), 1.0, n, 1.0, name) == pytest.approx(value, rel=1e-13, abs=0)
    assert reshuffling_ratio(float(x), 1.0, n) == pytest.approx(ratio, rel=1e-13, abs=0)


def test_golden_values():
    values = [
        stationary_variance(0.1, 1.0, 10, 1.0, name) for name in ("with_replacement", "random_reshuffling", "shuffle_once")
    ]
    assert values == [
        pytest.approx(0.052632, abs=5e-7),
        pytest.approx(4.820e-3, abs=5e-7),
        pytest.approx(9.981e-3, abs=5e-7),
    ]
    for eta, rr, so in ((0.02, 3.764e-5, 3.739e-4), (0.4, 0.1680, 0.1700)):
        assert stationary_variance(eta, 1.0, 10, 1.0, "random_reshuffling") == pytest.approx(rr, rel=2e-4, abs=0)
        assert stationary_variance(eta, 1.0, 10, 1.0, "shuffle_once") == pytest.approx(so, rel=3e-4, abs=0)
    ratios = {
        (2, 0.3): 0.0604,
        (2, 1.0): 1.0,
        (2, 1.3): 1.5505,
        (2, 1.6): 1.8824,
        (10, 0.3): 0.516,
        (10, 1.3): 1.051,
        (10, 1.6): 1.084,
    }
    for (n, x), ratio in ratios.items():
        assert reshuffling_ratio(x, 1.0, n) == pytest.approx(ratio, abs=5e-4)


@pytest.mark.parametrize("n", [2, 3, 10, 11, 1000])
def test_reshuffling_wins_exactly_up_to_one(n):
    for x in (1e-8, 0.5, 0.99):
        assert reshuffling_ratio(x, 1.0, n) < 1
    assert reshuffling_ratio(1.0, 1.0, n) == 1.0
    assert (
        stationary_variance(1.0, 1.0, n, 2.0, "shuffle_once")
        == stationary_variance(1.0, 1.0, n, 2.0, "with_replacement")
        == 2.0
    )
    for x in (1.01, 1.5, 1.99):
        assert reshuffling_ratio(x, 1.0, n) > 1
    edge = n / (n - 1) if n % 2 == 0 else (n + 1) / n
    assert reshuffling_ratio(2 - 1e-12, 1.0, n) == pytest.approx(edge, rel=1e-9, abs=0)


def test_the_ratio_converges_to_its_limit():
    for u in (1e-6, 0.1, 1.0, 10.0):
        limit = reshuffling_ratio_limit(u)
        errors = [abs(reshuffling_ratio(u / n, 1.0, n) / limit - 1) for n in (100, 1000)]
        assert errors[1] < 0.2 * errors[0] < 0.01
        assert limit <= min(1.0, u**2 / 12)
    assert reshuffling_ratio_limit(0.0) == 0.0
    assert reshuffling_ratio_limit(2.0) == pytest.approx(1 - np.tanh(1.0), rel=1e-14, abs=0)
    assert reshuffling_ratio_limit(1e-5) == pytest.approx(1e-10 / 12, rel=1e-10, abs=0)


@pytest.mark.parametrize("name", ORDERINGS)
def test_small_steps_obey_the_leading_terms(name):
    for n in (2, 64):
        x = 1e-7 / n
        exact = stationary_variance(x / 3, 3.0, n, 5.0, name)
        assert exact == pytest.approx(small_step_variance(x / 3, 3.0, n, 5.0, name), rel=1e-6, abs=0)
    slopes = {"with_replacement": (1, 0), "random_reshuffling": (3, 2), "shuffle_once": (2, 1)}
    if name in slopes:
        floor = lambda eta, n: stationary_variance(eta, 1.0, n, 1.0, name)
        assert np.log2(floor(2e-8, 1000) / floor(1e-8, 1000)) == pytest.approx(slopes[name][0], abs=1e-3)
        assert np.log2(floor(1e-8, 2000) / floor(1e-8, 1000)) == pytest.approx(slopes[name][1], abs=2e-3)


def test_inner_averages_have_exponents_of_their_own():
    average = lambda eta, n: inner_average_variance(eta, 1.0, n, 1.0, "random_reshuffling")
    assert average(1e-8, 1000) == pytest.approx(1e-16 * 1001 / 6, rel=1e-4, abs=0)
    assert np.log2(average(2e-8, 1000) / average(1e-8, 1000)) == pytest.approx(2, abs=1e-3)
    assert np.log2(average(1e-8, 2000) / average(1e-8, 1000)) == pytest.approx(1, abs=2e-3)


def test_one_component_has_no_order_and_no_variance():
    for name in ("random_reshuffling", "shuffle_once", "incremental"):
        assert stationary_variance(0.1, 1.0, 1, 1.0, name) == inner_average_variance(0.1, 1.0, 1, 1.0, name) == 0.0
    assert reshuffling_ratio(0.1, 1.0, 1) == 0.0


@pytest.mark.parametrize("x", STEPS, ids=float)
def test_the_incremental_fixed_point_returns_to_itself(x):
    targets = (4, -3, 0, 1, -2)
    a, n = 1 - x, len(targets)
    expected = displacements(x, targets, n) / (1 - a**n)
    assert incremental_fixed_point(float(x), 1.0, targets) == pytest.approx(float(expected), rel=1e-12, abs=0)
    both = incremental_fixed_point(float(x), 1.0, np.stack([targets, np.negative(targets)], axis=1))
    np.testing.assert_allclose(both, [float(expected), -float(expected)], rtol=1e-12)


def test_the_incremental_fixed_point_of_sorted_targets_is_a_quarter_of_the_epoch_step():
    for n, eta in ((100, 1e-6), (100, 1e-11)):
        targets = np.repeat([1.0, -1.0], n // 2)
        assert incremental_fixed_point(eta, 1.0, targets) == pytest.approx(-eta * n / 4, rel=1e-3, abs=0)
        assert incremental_fixed_point(eta, 1.0, targets + 7) - 7 == pytest.approx(-eta * n / 4, rel=1e-3, abs=1e-14)


def test_shuffling_once_is_the_average_of_the_fixed_points():
    targets = TARGETS[4]
    squares = [incremental_fixed_point(0.35, 1.0, order) ** 2 for order in itertools.permutations(targets)]
    assert stationary_variance(0.35, 1.0, 4, np.mean(np.square(targets)), "shuffle_once") == pytest.approx(
        np.mean(squares), rel=1e-12
    )


@pytest.mark.parametrize("name", ORDERINGS)
def test_variances_scale_with_the_function_and_the_targets(name):
    value = stationary_variance(0.02, 5.0, 12, 1.0, name)
    assert stationary_variance(0.002, 50.0, 12, 9.0, name) == pytest.approx(9 * value, rel=1e-13, abs=0)


def test_the_gradient_floor_sums_over_directions():
    h, sigma = [0.5, 2.0, 0.0], [1.0, 3.0, 9.0]
    for name in ORDERINGS:
        expected = sum(c**2 * stationary_variance(0.3, c, 7, s / c**2, name) for c, s in zip(h, sigma, strict=True) if c)
        assert gradient_floor(0.3, h, 7, sigma, name) == pytest.approx(expected, rel=1e-13, abs=1e-300)
    assert gradient_floor(0.3, [1.0, 1.0], 7, 2.0, "shuffle_once") == 2 * gradient_floor(
        0.3, [1.0], 7, [2.0], "shuffle_once"
    )


def zeroth_order_by_paths(x: float, targets: np.ndarray, name: str) -> float:
    """Stationary E|z|^2 of z+ = z - x vv'(z - c), signs in d = 2, from the recursion of (1, z, zz') along every order."""
    n, d = targets.shape
    signs = np.array([[1.0, 1.0], [1.0, -1.0]])  # v and -v act alike
    maps = []
    for c in targets:
        columns = []
        for unit in np.eye(1 + d + d * d):
            one, z, second = unit[0], unit[1 : 1 + d], unit[1 + d :].reshape(d, d)
            after_z, after = np.zeros(d), np.zeros((d, d))
            for v in signs:
                a, p = np.eye(d) - x * np.outer(v, v), x * np.outer(v, v) @ c
                after_z += (a @ z + one * p) / 2
                after += (a @ second @ a.T + np.outer(a @ z, p) + np.outer(p, a @ z) + one * np.outer(p, p)) / 2
            columns.append(np.concatenate(([one], after_z, after.ravel())))
        maps.append(np.stack(columns, axis=1))
    epochs = []
    for order in itertools.permutations(range(n)):
        product = np.eye(1 + d + d * d)
        for i in order:
            product = maps[i] @ product
        epochs.append(product)
    epochs = [np.mean(epochs, axis=0)] if name == "random_reshuffling" else epochs
    epochs = [np.mean(maps, axis=0)] if name == "with_replacement" else epochs
    totals = []
    for epoch in epochs:
        fixed = np.linalg.solve(np.eye(d + d * d) - epoch[1:, 1:], epoch[1:, 0])
        totals.append(np.trace(fixed[d:].reshape(d, d)))
    return float(np.mean(totals))


@pytest.mark.parametrize("name", ["with_replacement", "random_reshuffling", "shuffle_once"])
@pytest.mark.parametrize("x, n", [(0.01, 3), (0.3, 2), (0.3, 3), (0.9, 4)])
def test_the_zeroth_order_law_is_that_of_all_orders_and_directions(name, x, n):
    targets = np.random.default_rng(n).normal(size=(n, 2))
    targets -= targets.mean(axis=0)
    variance = np.mean(np.sum(targets**2, axis=1))
    expected = zeroth_order_by_paths(x, targets, name)
    computed = zeroth_order_variance(x / 2, 2.0, n, variance, name, dimension=2, law="rademacher")
    assert computed == pytest.approx(expected, rel=1e-10, abs=0)


def test_reshuffling_removes_only_the_sampling_share_of_the_zeroth_order_noise():
    """At eta (d+2) = 0.02 and n = 20 simulation gave .663, .862 and .948 for d = 1, 5 and 20."""
    for d, simulated in ((1, 0.663), (5, 0.862), (20, 0.948)):
        law = lambda eta, name, d=d: zeroth_order_variance(eta, 1.0, 20, 1.0, name, dimension=d)
        ratio = lambda eta, law=law: law(eta, "random_reshuffling") / law(eta, "with_replacement")
        assert ratio(0.02 / (d + 2)) == pytest.approx(simulated, abs=0.01)
        assert ratio(1e-8) == pytest.approx(zeroth_order_ratio_limit(d), rel=1e-5, abs=0)
        assert zeroth_order_ratio_limit(d) == pytest.approx((d + 1) / (d + 2), rel=1e-15, abs=0)
        assert law(2e-8, "random_reshuffling") / law(1e-8, "random_reshuffling") == pytest.approx(
            2, rel=1e-5
        )  # slope 1, not 3


def test_many_directions_bring_back_the_first_order_law():
    for name in ("random_reshuffling", "shuffle_once", "with_replacement"):
        many = zeroth_order_variance(0.2, 1.0, 6, 1.0, name, dimension=3, directions=10**9)
        assert many == pytest.approx(stationary_variance(0.2, 1.0, 6, 1.0, name), rel=1e-6, abs=0)
        assert zeroth_order_variance(0.2, 1.0, 6, 1.0, name, dimension=1, law="sphere") == pytest.approx(
            stationary_variance(0.2, 1.0, 6, 1.0, name), rel=1e-12
        )


DOMAIN = r"step_size \* curvature must be in \(0, 2\)"


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: stationary_variance(0.5, 4.0, 3, 1.0, "with_replacement"), DOMAIN + ", got 2.0"),
        (
            lambda: stationary_variance(-0.5, 1.0, 3, 1.0, "with_replacement"),
            "step_size must be positive and finite, got -0.5",
        ),
        (
            lambda: stationary_variance(0.5, 0.0, 3, 1.0, "with_replacement"),
            "curvature must be positive and finite, got 0.0",
        ),
        (
            lambda: stationary_variance(0.5, np.nan, 3, 1.0, "with_replacement"),
            "curvature must be positive and finite, got nan",
        ),
        (lambda: stationary_variance(0.5, 1.0, 0, 1.0, "with_replacement"), "n must be a whole number of at least 1, got 0"),
        (
            lambda: stationary_variance(0.5, 1.0, 3.0, 1.0, "with_replacement"),
            "n must be a whole number of at least 1, got 3.0",
        ),
        (
            lambda: stationary_variance(0.5, 1.0, 3, -1.0, "with_replacement"),
            "variance must be nonnegative and finite, got -1.0",
        ),
        (
            lambda: stationary_variance(0.5, 1.0, 3, 1.0, "reshuffling"),
            r"ordering must be one of .*'shuffle_once', 'incremental'",
        ),
        (lambda: inner_average_variance(0.5, 1.0, 3, 1.0, "RR"), "ordering must be one of"),
        (lambda: inner_average_variance(3.0, 1.0, 3, 1.0, "random_reshuffling"), DOMAIN),
        (
            lambda: incremental_fixed_point(0.5, 1.0, np.zeros((2, 2, 2))),
            r"targets must be of shape \(n,\) or \(n, d\), got \(2, 2, 2\)",
        ),
        (lambda: incremental_fixed_point(0.5, 1.0, []), "targets must be a non-empty array of finite real numbers"),
        (lambda: reshuffling_ratio(2.0, 1.0, 3), DOMAIN),
        (lambda: reshuffling_ratio_limit(-1.0), "epoch_product must be nonnegative and finite, got -1.0"),
        (lambda: small_step_variance(0.5, 1.0, 3, 1.0, "none"), "ordering must be one of"),
        (lambda: gradient_floor(0.5, [-1.0], 3, 1.0, "incremental"), "curvatures must be nonnegative, got"),
        (
            lambda: gradient_floor(0.5, [1.0, 1.0], 3, [1.0], "incremental"),
            r"dispersions must be nonnegative, a number or of shape \(2,\), got",
        ),
        (
            lambda: zeroth_order_variance(0.5, 1.0, 3, 1.0, "incremental", dimension=2),
            "ordering must be one of 'random_reshuffling', 'shuffle_once', ",
        ),
        (
            lambda: zeroth_order_variance(0.5, 1.0, 3, 1.0, "with_replacement", dimension=2),
            r"second-moment factor must be in \(0, 2\), got 2.0",
        ),
        (
            lambda: zeroth_order_variance(0.1, 1.0, 3, 1.0, "with_replacement", dimension=0),
            "dimension must be a whole number of at least 1, got 0",
        ),
        (lambda: zeroth_order_ratio_limit(3, law="none"), "law must be one of"),
    ],
)
def test_bad_input_is_refused_at_the_door(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_orderings_are_the_four_names():
    assert set(reshuffling.ORDERINGS) == {"random_reshuffling", "shuffle_once", "incremental", "with_replacement"}
