"""Local models against the exact recursions of `dynamics`, `quadratic`, `stability_region` and `heterogeneous`."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from theory_lab.advise.fastest import ALIKE, SAFE, SHARP, Fastest, axis_limit, centred, fastest
from theory_lab.theory import (
    dynamics,
    groups,
    heterogeneous,
    local,
    local_stability,
    modes,
    quadratic,
    reshuffling,
    stability_region,
)


def coupled(seed, d=8, least=0.05):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((d, d))
    return rng, a @ a.T / d + least * np.eye(d)


def uncoupled(seed, sizes=(5, 3)):
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal((d, d)) for d in sizes]
    hessian = np.zeros((sum(sizes),) * 2)
    hessian[: sizes[0], : sizes[0]], hessian[sizes[0] :, sizes[0] :] = (
        a @ a.T / len(a) + 0.1 * np.eye(len(a)) for a in parts
    )
    return rng, hessian


def boundary(test, ray):
    return local_stability.boundary_scale(test, ray, resolution=1e-4)


def exact_steps(hessian, size, etas, start, accuracy, covariance=None, law="gaussian"):
    model = dynamics.shared_quadratic(hessian, size, etas, covariance=covariance, law=law)
    moments, steps = dynamics.Moments(start, np.outer(start, start)), 0
    before = norm = math.inf
    while norm > accuracy**2:
        before, norm = norm, sum(dynamics.expected_gradient_norms_sq(model, moments.second))
        moments, steps = dynamics.with_replacement_step(model, moments), steps + 1
        assert steps < 10**5
    return steps - 2 + math.log(before / accuracy**2) / math.log(before / norm)


@pytest.mark.parametrize("law", ["gaussian", "sphere"])
def test_uncoupled_limits_are_those_of_the_secular_equation(law):
    _, hessian = uncoupled(0)
    model = local.local(hessian, [5, 3], [True, False], law=law)
    limit = axis_limit(lambda e: model.modes(e).stable, (0.1, 1e-6), 0)
    assert limit == pytest.approx(quadratic.step_size_limit(np.linalg.eigvalsh(hessian[:5, :5]), law=law), rel=2e-6)
    other = axis_limit(lambda e: model.modes(e).stable, (1e-6, 0.1), 1)
    assert other == pytest.approx(2 / np.linalg.eigvalsh(hessian[5:, 5:])[-1], rel=2e-6)


@pytest.mark.parametrize("law", ["gaussian", "sphere", "rademacher"])
@pytest.mark.parametrize("seed", range(3))
def test_noise_gain_is_that_of_the_exact_operator(seed, law):
    """The generic operator against the one of `quadratic`, on coupled Hessians; tolerance: that of its power iteration."""
    rng, hessian = coupled(seed)
    etas = tuple(rng.uniform(0.02, 0.2, 2))
    model = local.local(hessian, [5, 3], [True, False], law=law)
    expected = quadratic.noise_gain(hessian, 5, etas, law=law)
    assert local_stability.noise_gain(model, etas) == pytest.approx(expected, rel=2e-2 if expected > 1 else 5e-3)


@pytest.mark.parametrize("ray", [(0.01, 1.0), (0.2, 1.0), (1.0, 0.2)])
def test_calibration_puts_the_boundary_where_the_exact_one_is(ray):
    """On its own rays up to the resolution of the search, between them within a factor of 1.15."""
    _, hessian = coupled(1)
    model = local.local(hessian, [5, 3], [True, False])
    limits = [axis_limit(lambda e: model.modes(e).stable, (1e-6, 1e-6), i) for i in (0, 1)]
    scaled = local_stability.calibrated(model, limits)
    exact = stability_region.boundary_on_ray(hessian, 5, ray)
    scale = boundary(lambda e: scaled.modes(e).stable, exact)
    assert 1 / 1.15 < scale < 1.15


@pytest.mark.parametrize("seed", range(3))
def test_steps_of_uncoupled_blocks_are_exact(seed):
    rng, hessian = uncoupled(seed)
    size, start = 5, rng.standard_normal(8)
    etas, tilt = (0.04, 0.3), rng.standard_normal((6, 8))
    tilts = 0.02 * (tilt - tilt.mean(axis=0))
    gradient = hessian @ start
    model = local.local(hessian, [5, 3], [True, False], gradient=gradient, tilts=tilts)
    accuracy = 0.2 * np.linalg.norm(gradient)
    expected = exact_steps(hessian, size, etas, start, accuracy, covariance=tilts.T @ tilts / 6)
    assert modes.steps_to(model.modes(etas), accuracy) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_steps_of_coupled_blocks_are_close(seed):
    """What the entries off the diagonal do is neglected; advice may be off by a factor of 1.5, this by half of that."""
    rng, hessian = coupled(seed)
    start = rng.standard_normal(8)
    limits = stability_region.boundary_on_ray(hessian, 5, (0.1, 1.0))
    etas = (0.4 * limits[0], 0.4 * limits[1])
    gradient = hessian @ start
    model = local.local(hessian, [5, 3], [True, False], gradient=gradient)
    accuracy = 0.1 * np.linalg.norm(gradient)
    expected = exact_steps(hessian, 5, etas, start, accuracy)
    assert modes.steps_to(model.modes(etas), accuracy) == pytest.approx(expected, rel=0.25)


def test_floor_is_the_stationary_law():
    """First order: `gradient_floor` in every ordering with a variance. Uncoupled zeroth order: `stationary_moment`."""
    rng, hessian = uncoupled(3)
    tilts = rng.standard_normal((8, 8))
    tilts -= tilts.mean(axis=0)
    values, vectors = np.linalg.eigh(hessian)
    spread = np.mean((tilts @ vectors) ** 2, axis=0)
    for ordering in ("with_replacement", "random_reshuffling", "shuffle_once"):
        model = local.local(hessian, [5, 3], [False, False], tilts=tilts, n=8, ordering=ordering)
        expected = reshuffling.gradient_floor(0.1, values, 8, spread, ordering)
        assert model.modes((0.1, 0.1)).floor == pytest.approx(expected, rel=1e-9)
    mixed = local.local(hessian, [5, 3], [True, False], tilts=tilts)
    exact = dynamics.shared_quadratic(hessian, 5, (0.03, 0.1), covariance=tilts.T @ tilts / 8)
    expected = sum(dynamics.expected_gradient_norms_sq(exact, dynamics.stationary_moment(exact)))
    assert mixed.modes((0.03, 0.1)).floor == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("zeroth", [False, True])
@pytest.mark.parametrize("ordering", ["with_replacement", "random_reshuffling"])
@pytest.mark.parametrize("outlier", [1.0, 10.0])
def test_limits_with_component_hessians_are_those_of_the_epoch_map(zeroth, ordering, outlier):
    """Against the exact average over all orders of four components, one of which may be an outlier.

    Sixteen orders in each of sixty epochs: a few per cent of the slope of the growth, which is of order one.
    """
    rng = np.random.default_rng(5)
    parts = rng.standard_normal((4, 2, 2))
    hessians = np.stack([a @ a.T + 0.1 * np.eye(2) for a in parts])
    hessians[0] *= outlier
    expected = heterogeneous.step_size_limit(hessians, ordering, zeroth_dimension=2 if zeroth else 0)
    mean = hessians.mean(axis=0)
    model = local.local(mean, [2], [zeroth], deviations=hessians - mean, n=4, ordering=ordering)
    found = boundary(lambda e: local_stability.stable(model, e), [expected])
    assert found == pytest.approx(1, rel=2e-3 if ordering == "with_replacement" else 0.03)


def test_groups_are_the_dense_model_where_both_apply():
    rng, hessian = uncoupled(7)
    gradient, tilts = rng.standard_normal(8), rng.standard_normal((6, 8))
    tilts -= tilts.mean(axis=0)
    dense = local.local(hessian, [5, 3], [True, False], gradient=gradient, tilts=tilts, n=6, ordering="random_reshuffling")
    values = np.concatenate([np.linalg.eigvalsh(hessian[:5, :5]), np.linalg.eigvalsh(hessian[5:, 5:])])
    grouped = groups.grouped_blocks(
        values,
        1.0,
        [0] * 5 + [1] * 3,
        [True, False],
        [5, 3],
        gradient_sq=dense.gradient**2,
        noise=np.diag(dense.covariance),
        n=6,
        ordering="random_reshuffling",
    )
    for etas in ((0.02, 0.1), (0.05, 0.3)):
        one, other = dense.modes(etas), grouped.modes(etas)
        assert one.floor == pytest.approx(other.floor, rel=1e-9)
        accuracy = 1.5 * one.floor**0.5
        assert modes.steps_to(one, accuracy) == pytest.approx(modes.steps_to(other, accuracy), rel=1e-6)


def test_a_gradient_in_flat_directions_stays():
    model = local.local(np.diag([1.0, 0.0]), [2], [False], gradient=[1.0, 0.5])
    flat = model.modes([0.5])
    assert flat.floor == pytest.approx(0.25)
    assert modes.steps_to(flat, 0.4) == math.inf
    assert modes.steps_to(flat, 0.6) < math.inf


@pytest.mark.parametrize("tiny", [1e-13, 1e-17, 1e-300])
def test_groups_whose_curvature_is_rounding_are_flat(tiny):
    """(1 - k)^2 is 1 in floating point below 1e-16: such a group would make the recursion singular, not stable."""
    few = {"owners": [0, 0], "zeroth": [True], "dimensions": [16], "gradient_sq": [1.0, 0.25]}
    grouped = groups.grouped_blocks([1.0, tiny], [8, 8], **few).modes([0.1])
    assert grouped.stable
    assert grouped.floor == pytest.approx(0.25)  # the gradient there stays
    assert not groups.grouped_blocks([1.0, tiny], [8, 8], **few).modes([0.25]).stable
    dense = local.local(np.diag([1.0] * 8 + [tiny] * 8), [16], [True], gradient=[0.0] * 15 + [0.5])
    assert dense.modes([0.1]).stable
    assert dense.modes([0.1]).floor == pytest.approx(0.25)


@pytest.mark.parametrize("eta", [1e-6, 1e-9, 1e-20])
def test_short_steps_along_slight_curvature_are_stable(eta):
    """As of a block that all but stands still: k from eta to 1e-8 eta."""
    spectrum = np.geomspace(1e-8, 1.0, 9)
    assert local.local(np.diag(spectrum), [9], [True]).modes([eta]).stable
    assert groups.grouped_blocks(spectrum, 1.0, [0] * 9, [True], [9]).modes([eta]).stable


def test_negative_curvature_is_never_stable():
    model = local.local(np.diag([1.0, -0.1]), [2], [False], gradient=[1.0, 0.0])
    assert not model.modes([0.1]).stable
    assert local_stability.noise_gain(model, [0.1]) == math.inf


def test_fastest_finds_the_best_pair_of_a_grid():
    """Against a fine grid on a noisy coupled quadratic, inside the safe share of the stable region."""
    rng, hessian = coupled(2)
    tilts = 0.1 * rng.standard_normal((6, 8))
    model = local.local(hessian, [5, 3], [True, False], gradient=rng.standard_normal(8), tilts=tilts - tilts.mean(axis=0))
    steps = lambda e: modes.steps_to(model.modes(e), 0.3)
    stable = lambda e: model.modes(e).stable
    limits = [axis_limit(stable, (1e-6, 1e-6), i) for i in (0, 1)]
    found = fastest(steps, stable, limits)
    assert stable([eta / SAFE for eta in found.step_sizes])
    grid = [(limits[0] * 2.0**-i, limits[1] * 2.0**-j) for i in np.arange(0, 7, 0.25) for j in np.arange(0, 7, 0.25)]
    best = min(steps(e) for e in grid if stable([eta / SAFE for eta in e]))
    assert found.steps <= 1.03 * best


def plateaus(seed):
    """A noisy quadratic of a block that decides the time and one that hardly does, its times, and its fastest pair."""
    rng = np.random.default_rng(seed)
    tilts = 0.05 * rng.standard_normal((6, 8))
    model = local.local(np.eye(8), [5, 3], [True, False], gradient=rng.standard_normal(8), tilts=tilts - tilts.mean(axis=0))
    steps, stable = lambda e: modes.steps_to(model.modes(e), 0.3), lambda e: model.modes(e).stable
    return steps, stable, fastest(steps, stable, [axis_limit(stable, (1e-6, 1e-6), i) for i in (0, 1)])


@pytest.mark.parametrize("seed", range(3))
def test_the_middle_of_a_plateau_is_as_far_from_either_end_and_as_fast_up_to_a_tenth(seed):
    steps, stable, found = plateaus(seed)
    there = centred(steps, stable, found)
    assert there.steps == steps(there.step_sizes) <= (1 + ALIKE) * found.steps
    assert stable([eta / SAFE for eta in there.step_sizes])
    grid = 2.0 ** np.arange(-9, 9, 0.02)
    for block in range(2):
        line = [[eta * f if i == block else eta for i, eta in enumerate(found.step_sizes)] for f in grid]
        good = [stable([eta / SAFE for eta in e]) and steps(e) <= (1 + ALIKE) * found.steps for e in line]
        low, high = np.log2(grid[good][[0, -1]])
        moved = np.log2(there.step_sizes[block] / found.step_sizes[block])
        expected = (low + high) / 2 if high - low > SHARP else 0.0
        assert moved == pytest.approx(expected, abs=0.2)  # half the resolution of both ends, and a grid's
    assert high - low > 2  # of the block that hardly decides


def test_a_sharp_minimum_stays():
    """Or a cliff above a slope: of first-order steps the time falls like 1/eta up to where they are lost."""
    sharp = lambda e: 100 * (1 + abs(np.log2(e[0])) + abs(np.log2(e[1])))
    cliff = lambda e: 100 / min(e) if max(e) <= 1 else math.inf
    for steps in (sharp, cliff):
        assert centred(steps, lambda e: True, Fastest((1.0, 1.0), 100.0)) == Fastest((1.0, 1.0), 100.0)


def test_a_plateau_in_the_shape_of_a_corner_is_not_left():
    """Either block may go four octaves up alone; together they leave it, so they go less far."""
    corner = lambda e: 100.0 if min(e) >= 0.99 and max(e) <= 16 and e[0] * e[1] <= 8 else 200.0
    there = centred(corner, lambda e: True, Fastest((1.0, 1.0), 100.0))
    assert there.steps == 100
    assert min(there.step_sizes) > 1.5


def test_without_an_end_of_the_plateau_or_a_time_nothing_moves():
    idle = lambda e: 100.0 if e[0] < 8 else 200.0
    for steps, found in ((idle, 100.0), (lambda e: 0.0, 0.0), (lambda e: math.inf, math.inf)):
        assert centred(steps, lambda e: True, Fastest((1.0,), found)) == Fastest((1.0,), found)


def test_a_block_that_need_not_move_does_not_stand_still():
    """As fast up to 8 from nothing on: 8/32; not where it is above that already, nor without an upper end."""
    idle = lambda e: 100.0 if e[0] < 8 and e[1] < 1 else 200.0
    for low in (1e-12, 1e-3):
        there = centred(idle, lambda e: True, Fastest((low, 0.5), 100.0))
        assert there.step_sizes[0] == pytest.approx(8 / 32, rel=0.1)
        assert (there.step_sizes[1], there.steps) == (0.5, 100.0)
    assert centred(lambda e: 100.0, lambda e: True, Fastest((1e-12,), 100.0)) == Fastest((1e-12,), 100.0)


def test_nothing_reaches_what_lies_below_every_floor():
    model = local.local(np.eye(2), [2], [True], gradient=[1.0, 0.0], rounding=[1e-3])
    assert fastest(lambda e: modes.steps_to(model.modes(e), 1e-30), lambda e: model.modes(e).stable, [0.5]).steps == math.inf


def test_minibatches_divide_the_noise():
    rng, hessian = uncoupled(4)
    tilts = rng.standard_normal((6, 8))
    one = local.local(hessian, [5, 3], [True, False], tilts=tilts)
    half = local.local(hessian, [5, 3], [True, False], tilts=tilts, share=0.5)
    assert half.modes((0.01, 0.1)).floor == pytest.approx(one.modes((0.01, 0.1)).floor / 2)


def test_what_is_left_of_the_start_and_what_noise_makes_may_have_curvature_of_their_own():
    """With one curvature the sum is the recursion; with two of them the parts are carried apart, step by step."""
    rng, hessian = uncoupled(5)
    tilts, gradient, etas = rng.standard_normal((8, 8)), 9 * rng.standard_normal(8), (0.01, 0.1)
    model = lambda matrix, **given: local.local(matrix, [5, 3], [True, False], tilts=tilts, **given).modes(etas)
    one, same = model(hessian, gradient=gradient), model(hessian)
    accuracy = 1.2 * one.floor**0.5
    assert modes.steps_to(one, accuracy, end=same) == pytest.approx(modes.steps_to(one, accuracy), rel=1e-9)
    assert modes.floor_of(one, same) == pytest.approx(one.floor, rel=1e-12)
    end = model(3 * hessian)
    floor = modes.floor_of(one, end)
    assert floor == pytest.approx(end.floor, rel=1e-12)
    assert modes.steps_to(one, 0.99 * floor**0.5, end=end) == math.inf
    accuracy, left, made = 1.2 * floor**0.5, one.start**2, np.zeros(8)
    for steps in itertools.count():
        if one.gradient_norm_sq(left, (1 - one.k) ** steps) + end.weights @ made <= accuracy**2:
            break
        left, made = one.matrix @ left, end.matrix @ made + end.source
    assert steps - 1 < modes.steps_to(one, accuracy, end=end) <= steps


@pytest.mark.parametrize(("k", "n", "known"), [(1.5, 3, 1.0), (1.8, 5, 0.605), (0.3, 4, None)])
@pytest.mark.parametrize("ordering", ["random_reshuffling", "shuffle_once", "incremental"])
def test_ordering_ratios_by_all_orders(k, n, known, ordering):
    """s+ = (1 - k) s + g_i with zero-sum g, at the end of an epoch: every order written out, against drawing afresh."""
    noise = np.random.default_rng(n).standard_normal(n)
    noise -= noise.mean()
    weights = (1 - k) ** np.arange(n)[::-1]
    sums = np.array([weights @ noise[list(order)] for order in itertools.permutations(range(n))])
    last = (1 - k) ** n
    once = np.mean(sums**2) / (1 - last) ** 2  # the fixed point of its own order
    afresh = np.mean(sums**2) / (1 - last**2)
    drawn = np.mean(noise**2) / (1 - (1 - k) ** 2)
    found = modes.ordering_ratios(np.array([k]), n, ordering)[0]
    assert found == pytest.approx((afresh if ordering == "random_reshuffling" else once) / drawn, rel=1e-10)
    if known is not None and ordering == "shuffle_once":
        assert found == pytest.approx(known, abs=5e-4)


def test_signs_with_a_rotated_spectrum_are_averaged_exactly():
    """One step on second moments against all 2^3 directions, in the axes of the parameters and not of the Hessian."""
    rng, hessian = coupled(11, d=5)
    eta = (0.2, 0.3)
    model = local.local(hessian, [3, 2], [True, False], law="rademacher")
    turn = np.zeros((5, 5))
    turn[:3, :3], turn[3:, 3:] = model.bases
    a = rng.standard_normal((5, 5))
    x = a @ a.T
    expected = np.zeros((5, 5))
    for signs in itertools.product([-1.0, 1.0], repeat=3):
        look = np.zeros((5, 5))
        look[:3, :3], look[3:, 3:] = eta[0] * np.outer(signs, signs), eta[1] * np.eye(2)
        move = np.eye(5) - look @ hessian
        expected += move @ x @ move.T / 8
    found = local_stability._Step(model, eta)(model.hessian[None], (turn.T @ x @ turn)[None])[0]
    assert turn @ found @ turn.T == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("ray", [(0.1, 1.0), (1.0, 0.3)])
def test_coupled_blocks_with_deviations_are_those_of_the_whole_operator(ray):
    """The boundary of the noise gain against the spectral radius of the (d^2, d^2) matrix of X -> E (I - V H_i) X (...)'."""
    rng = np.random.default_rng(8)
    parts = rng.standard_normal((3, 5, 5))
    hessians = np.stack([a @ a.T / 5 + 0.1 * np.eye(5) for a in parts])
    mean = hessians.mean(axis=0)
    model = local.local(mean, [3, 2], [True, False], deviations=hessians - mean)

    def radius(etas):
        p, total = np.repeat(etas, [3, 2]), np.zeros((25, 25))
        inside = np.arange(5) < 3
        for h in hessians:
            move = np.eye(5) - p[:, None] * h
            rows = np.where(inside[:, None], p[:, None] * h, 0)  # gaussian: Cov = tr(G_xx) I + G_xx
            spread = np.outer(np.diag(inside * p**2).ravel(), (h @ np.diag(inside * 1.0) @ h).ravel())
            total += (np.kron(move, move) + np.kron(rows, rows) + spread) / 3
        return np.abs(np.linalg.eigvals(total)).max()

    found = boundary(lambda etas: local_stability.stable(model, etas), ray)
    exact = boundary(lambda etas: radius(etas) < 1, ray)
    assert found == pytest.approx(exact, rel=2e-3)


def test_along_orders_flat_directions_do_not_pass_for_a_rise():
    """What they keep of X leaves rounding in the gradient, long after it has contracted."""
    rows = np.array([[1.62, 2.03, -0.43, -0.08], [0.18, -0.97, -0.5, 0.49]])
    each = 2 * rows[:, :, None] * rows[:, None, :]  # two examples, four columns: the mean Hessian has two flat directions
    mean = each.mean(axis=0)
    model = local.local(mean, [2, 2], [True, False], deviations=each - mean, n=2, ordering="random_reshuffling")
    assert all(local_stability.stable(model, [0.013, y]) for y in np.linspace(0.4, 1.8, 15))
    assert not local_stability.stable(model, [0.013, 2.5 / 0.49])


def test_the_model_of_one_block_alone():
    rng = np.random.default_rng(0)
    each = np.array([a @ a.T for a in rng.standard_normal((6, 5, 5))])
    mean, tilts = each.mean(axis=0), rng.standard_normal((6, 5))
    whole = local.local(
        mean, [2, 3], [True, False], gradient=np.ones(5), tilts=tilts, deviations=each - mean, rounding=[0.1, 0.0]
    )
    given = {"gradient": np.ones(3), "tilts": tilts[:, 2:], "deviations": (each - mean)[:, 2:, 2:], "rounding": [0.0]}
    mine, lone = whole.alone(1).modes([0.05]), local.local(mean[2:, 2:], [3], [False], **given).modes([0.05])
    for name in ("k", "matrix", "source", "weights"):
        np.testing.assert_allclose(getattr(mine, name), getattr(lone, name), rtol=1e-10, atol=1e-14)


def test_within_a_horizon_flat_directions_feed_back_what_they_have_gathered():
    """A curved direction and two hundred nearly flat ones: for ever they decide, within a thousand steps they hardly do."""
    given = [1.0, 1e-6], [1, 200], [0, 0], [True], [201]
    forever = groups.grouped_blocks(*given, kappa=[1.0], gradient_sq=[1.0, 0.0])
    soon = groups.grouped_blocks(*given, kappa=[1.0], gradient_sq=[1.0, 0.0], horizon=1000)
    limit = lambda model: local_stability.boundary_scale(lambda etas: model.modes(etas).stable, [1.0])
    assert limit(soon) > 20 * limit(forever)

    def received(eta, steps):
        """The most noise that a mode receives in so many steps, per unit of second moment at the start."""
        found = forever.modes([eta])
        survival = (1 - found.k) ** 2
        second, total = np.ones_like(found.k), np.zeros_like(found.k)
        for _ in range(steps):
            noise = (found.matrix - np.diag(survival)) @ second
            second, total = survival * second + noise, total + noise
        return total

    def bound(eta, steps):
        """(I - G)^-1 of what the second moment at the start makes."""
        found = forever.modes([eta])
        survival = (1 - found.k) ** 2
        fed = (found.matrix - np.diag(survival)) * modes.gathered(found.k, steps) / (1 - survival)
        assert (np.abs(np.linalg.eigvals(fed)).max() < 1) == soon.modes([eta]).stable
        return np.linalg.solve(np.eye(fed.shape[0]) - fed, fed @ np.ones(fed.shape[0]))

    for share in (0.1, 0.5, 0.9, 0.99):
        assert (received(share * limit(soon), 1000) <= bound(share * limit(soon), 1000)).all()
    assert not (received(0.9 * limit(soon), 10**5) <= bound(0.9 * limit(soon), 1000)).all()


def test_within_a_horizon_modes_that_hardly_move_feed_back_as_runs_do():
    """Two points on z_i^2/2, i drawn anew at every step; no mode moves by a seventh within the horizon of K steps.

    At u times the limit a step feeds u^2/K of the second moment back, less what it contracts: by a factor 1 + u^2/K at most.
    A limit that left out modes with k < 1/K would be that of the mean, hundreds of times as high.
    """
    n, steps, runs = 50, 40, 2000
    model = groups.grouped_blocks([1 / n], [n], [0], [True], [n], kappa=[1 - 1 / n], horizon=steps)
    limit = local_stability.boundary_scale(lambda etas: model.modes(etas).stable, [1.0])
    assert limit / n * steps < 1 / 7
    assert limit < 2 * n / 500
    rng, every = np.random.default_rng(1), np.arange(runs)
    grown = []
    for share in (0.5, 1.0, 3.0):
        z = rng.standard_normal((runs, n))
        start = np.sum(z**2)
        for _ in range(steps):
            chosen, looks = rng.integers(n, size=runs), rng.standard_normal((runs, n))
            z -= share * limit * looks * (looks[every, chosen] * z[every, chosen])[:, None]
        grown.append(np.sum(z**2) / start)
    assert grown[0] < 1.3  # at most 1 + 1/160 per step
    assert 2 < grown[1] < math.e
    assert grown[2] > 100  # up to 1 + 9/40 per step


@pytest.mark.parametrize("horizon", [3, 100])
def test_the_noise_gain_within_a_horizon_is_that_of_the_modes_where_they_are_exact(horizon):
    _, hessian = uncoupled(0)
    model = local.local(hessian, [5, 3], [True, False], horizon=horizon)
    limit = boundary(lambda e: local_stability.noise_gain(model, e) < 1, (0.05, 1e-3))
    assert limit == pytest.approx(boundary(lambda e: model.modes(e).stable, (0.05, 1e-3)), rel=1e-3)
    assert limit > boundary(lambda e: replace(model, horizon=math.inf).modes(e).stable, (0.05, 1e-3)) * (1 + 1e-6)


@pytest.mark.parametrize("ordering", ["with_replacement", "random_reshuffling", "shuffle_once", "incremental"])
def test_a_model_without_modes_has_no_ratios_and_is_stable(ordering):
    model = local.local(np.zeros((2, 2)), [2], [True], tilts=np.ones((3, 2)), n=3, ordering=ordering)
    assert model.modes([0.1]).k.size == 0
    assert model.modes([0.1]).stable
