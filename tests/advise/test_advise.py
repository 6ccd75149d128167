"""Advice against exact theory on quadratics whose every number is known, and its behaviour on everything else."""

import math
import pickle
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import theory_lab as tl
from theory_lab.advise import Advice, advise
from theory_lab.measure import constants
from theory_lab.theory import catalogue, quadratic, stability_region

KEY = jax.random.key(0)
ONE_EACH = {"x": jnp.ones(1), "y": jnp.ones(1)}
SIZES = {"x": 6, "y": 4}


def steps_run(problem, advice, seeds=64, epochs=None):
    """Steps until the mean of ||grad f||^2 over seeds is at most the accuracy squared, interpolated between epochs."""
    epochs = epochs or int(3 * advice.steps / problem.n) + 3
    trace = tl.sweep(
        problem,
        advice.oracle(),
        tl.hybrid_sgd,
        step_sizes={b: jnp.array([eta]) for b, eta in advice.step_sizes.items()},
        ordering=getattr(tl, advice.ordering),
        epochs=epochs,
        keys=jax.random.split(jax.random.key(1), seeds),
        params=problem.init(KEY),
    )
    norms = sum(np.asarray(v) for v in trace.gradient_norm_sq.values()).mean(axis=(0, 1))
    hit = int(np.argmax(norms <= advice.accuracy**2))
    assert norms[hit] <= advice.accuracy**2, "never reached"
    return hit * problem.n


def test_limits_of_uncoupled_quadratics_are_exact():
    problem = tl.block_quadratic(SIZES, smoothness={"x": 1.0, "y": 4.0}, spectrum=("power", 1.0))
    advice = advise(problem, key=KEY)
    expected = quadratic.step_size_limit(np.linalg.eigvalsh(problem.dense_hessian()[:6, :6]))
    assert advice.limits["x"].value == pytest.approx(expected, rel=0.02)  # the resolution of the search
    assert advice.limits["y"].value == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("law", ["gaussian", "sphere", "rademacher"])
def test_limits_of_coupled_quadratics_are_exact(law):
    problem = tl.block_quadratic(SIZES, coupling=0.7, spectrum=("power", 0.5), rotated=True)
    advice = advise(problem, key=KEY, law=law)
    eta = advice.step_sizes
    for label, given in (("x", (None, eta["y"])), ("y", (eta["x"], None))):
        expected = stability_region.step_size_boundary(problem.dense_hessian(), 6, given, law=law)
        assert advice.limits[label].value == pytest.approx(expected, rel=0.03), label
    assert quadratic.is_stable(problem.dense_hessian(), 6, (eta["x"] / 0.91, eta["y"] / 0.91), law=law)


@pytest.mark.parametrize(
    "options",
    [
        {"smoothness": {"x": 1.0, "y": 4.0}, "spectrum": ("power", 0.5)},
        {"dispersion": 0.5},
        {"coupling": 0.6, "rotated": True, "dispersion": 0.05},
        {"components": "convex", "heterogeneity": 0.8, "coupling": 0.3, "dispersion": 0.05},
    ],
)
def test_predicted_steps_are_those_of_runs(options):
    """Within a factor of 1.5 and an epoch, the design aim."""
    problem = tl.block_quadratic(SIZES, n=4, **options)
    advice = advise(problem, key=KEY)
    measured = steps_run(problem, advice)
    assert advice.steps / 1.5 - problem.n <= measured <= 1.5 * advice.steps + problem.n


def test_predicted_steps_of_what_is_no_quadratic():
    problem = tl.separable(SIZES, tl.cosh(), n=4, dispersion=0.05)
    advice = advise(problem, key=KEY)
    measured = steps_run(problem, advice)
    assert advice.steps / 1.5 - 4 <= measured <= 1.5 * advice.steps + 4


def test_large_problems_are_advised_as_small_ones_are(monkeypatch):
    """Spectral densities against matrices, on one problem: the limits within a tenth, steps within a quarter."""
    problem = tl.block_quadratic({"x": 60, "y": 20}, n=4, smoothness={"x": 1.0, "y": 4.0}, dispersion=0.5)
    dense = advise(problem, key=KEY, accuracy=1.0)
    monkeypatch.setattr(sys.modules["theory_lab.advise.seeing"], "DENSE", 10)
    large = advise(problem, key=KEY, accuracy=1.0)
    for label in SIZES:
        assert large.limits[label].value == pytest.approx(dense.limits[label].value, rel=0.1)
        assert large.limits[label].low <= large.limits[label].value <= large.limits[label].high
    assert large.steps == pytest.approx(dense.steps, rel=0.25)


def test_a_loss_and_its_data_are_advised_as_the_problem_is():
    rng = np.random.default_rng(0)
    rows, targets = jnp.asarray(rng.standard_normal((12, 5))), jnp.asarray(rng.standard_normal(12))
    loss = lambda z, e: (e[0][:3] @ z["base"] + e[0][3:] @ z["peft"] - e[1]) ** 2 / 2
    params = {"base": jnp.zeros(3), "peft": jnp.zeros(2)}
    one = advise(loss, key=KEY, data=(rows, targets), params=params)
    other = advise(tl.finite_sum(loss, (rows, targets), params), key=KEY)
    assert one.step_sizes == other.step_sizes
    assert one.zeroth == ("base",)


def test_it_works_along_training():
    """From a later point fewer steps are left; the curvature of points passed limits the steps as well."""
    problem = tl.separable(SIZES, tl.cosh(), n=4)
    start = problem.init(KEY)
    near = jax.tree.map(lambda a: 0.3 * a, start)
    fresh, later = (advise(problem, key=KEY, params=p, accuracy=0.05) for p in (start, near))
    assert later.steps < fresh.steps
    both = advise(problem, key=KEY, params=near, points=[start], accuracy=0.05)
    assert both.limits["x"].value < later.limits["x"].value


def test_every_reason_rests_on_a_statement_or_a_measurement():
    names = {statement.name for statement in catalogue.STATEMENTS} | {"measured"}
    for ordering in ("random_reshuffling", "incremental"):
        advice = advise(tl.block_quadratic(SIZES, n=4, dispersion=1.0), key=KEY, ordering=ordering)
        assert {reason.statement for reason in advice.reasons} <= names
        told = {reason.quantity for reason in advice.reasons}
        assert {"step size of x", "limit of the step size of y", "steps", "radius", "directions", "ordering"} <= told
        assert len(advice.frame()) == len(advice.reasons)
        assert all(reason.quantity in str(advice) for reason in advice.reasons)


def test_guarantees_are_those_of_the_theorems():
    problem = tl.block_quadratic(SIZES, n=4, smoothness={"x": 2.0, "y": 5.0})
    advice = advise(problem, key=KEY)
    assert advice.guaranteed["theory_lab, Theorem 5, box"] == pytest.approx({"x": 2 / (2 * 8), "y": 2 / 5})
    assert advice.guaranteed["theory_lab, Proposition C"] == pytest.approx({"x": 1 / (2 * 15), "y": 1 / 5})
    assert advice.constants.smoothness == pytest.approx({"x": 2.0, "y": 5.0})
    assert problem.constants.dominates(advice.constants, rtol=1e-6)


def test_theorems_are_named_for_their_ordering_and_their_convexity():
    """Box and Proposition C want every component convex: with curvatures h - s and h + s the mean alone is."""
    curvatures = jnp.array([-0.98, 1.02])
    problem = tl.finite_sum(lambda p, h: h * (p["x"] @ p["x"] + p["y"] @ p["y"]) / 2, curvatures, ONE_EACH)
    convex = tl.finite_sum(lambda p, h: h * (p["x"] @ p["x"] + p["y"] @ p["y"]) / 2, curvatures + 1, ONE_EACH)
    named = lambda given, ordering: {
        name.removeprefix("theory_lab, ") for name in advise(given, key=KEY, ordering=ordering).guaranteed
    }
    assert named(problem, "with_replacement") == {"Theorem 1", "Corollary 1b"}
    assert named(problem, "random_reshuffling") == {"Corollary 2c"}
    assert named(problem, "incremental") == set()
    assert named(convex, "random_reshuffling") == {"Corollary 2c", "Theorem 5, box", "Proposition C"}
    assert named(convex, "incremental") == {"Theorem 5, box"}


def test_measured_constants_agree_with_those_of_measure():
    problem = tl.block_quadratic(SIZES, n=4, coupling=0.5, dispersion=1.0, components="indefinite", heterogeneity=0.5)
    start = problem.init(KEY)
    advice = advise(problem, key=KEY, accuracy=1e-6, params=start)
    seen = constants.constants_at(problem, [start, problem.optimum], key=KEY)
    assert problem.constants.dominates(advice.constants, rtol=1e-6)
    assert advice.constants.dispersion == pytest.approx(seen.dispersion, rel=1e-4)


def test_growing_curvature_lowers_the_share_of_the_limit():
    """cosh curves more beyond the start, a quadratic does not: there the fastest steps stand."""
    bent = advise(tl.separable(SIZES, tl.cosh(), n=2), key=KEY, accuracy=0.01)
    assert bent.step_sizes["x"] < 0.7 * bent.limits["x"].value
    assert "beyond the start" in str(bent)
    assert "beyond the start" not in str(advise(tl.block_quadratic(SIZES, n=2), key=KEY))


@pytest.mark.parametrize("zeroth", [(), ("x", "y"), ("y",)])
def test_any_blocks_may_be_zeroth_order(zeroth):
    advice = advise(tl.block_quadratic(SIZES, n=2), key=KEY, zeroth=zeroth)
    assert {b for b, o in advice.oracle().members.items() if isinstance(o, tl.TwoPoint)} == set(zeroth)
    for label, size in SIZES.items():
        assert advice.limits[label].value == pytest.approx(2 / (size + 2) if label in zeroth else 2, rel=0.02)


def test_three_blocks_have_three_step_sizes():
    problem = tl.block_quadratic({"a": 3, "b": 2, "c": 2}, smoothness={"a": 1.0, "b": 2.0, "c": 5.0}, n=2)
    advice = advise(problem, key=KEY, zeroth=("a",))
    assert [advice.limits[b].value for b in "abc"] == pytest.approx([2 / 5, 1, 2 / 5], rel=0.02)
    assert advice.optimizer().init(problem.init(KEY)) is not None


def test_directions_raise_the_limit():
    one, four = (advise(tl.block_quadratic(SIZES), key=KEY, directions=q) for q in (1, 4))
    assert one.limits["x"].value == pytest.approx(2 / 8, rel=0.02)
    assert four.limits["x"].value == pytest.approx(2 / (1 + 7 / 4), rel=0.02)
    assert four.cost.values == 5


def test_a_block_without_curvature_stands_still():
    loss = lambda z, e: jnp.sum((z["x"] - e) ** 2) + 0 * jnp.sum(z["y"])
    advice = advise(loss, key=KEY, data=jnp.ones((2, 3)), params={"x": jnp.zeros(3), "y": jnp.zeros(2)})
    assert advice.step_sizes["y"] == 0
    assert advice.limits["y"].value == math.inf
    assert advice.steps < math.inf
    assert "undecided" in str(advice)


def test_a_block_that_hardly_moves_is_told():
    problem = tl.block_quadratic({"x": 20, "y": 2}, n=10, dispersion=0.1)
    for away, told in ((0.0, True), (1.0, False)):
        start = {"x": problem.optimum["x"] + away, "y": problem.optimum["y"] + 5.0}
        advice = advise(problem, key=KEY, params=start)
        why = {reason.quantity: reason.why for reason in advice.reasons}
        still = "; in those steps it covers 0.045 of its way at most: the other blocks bring the gradient down"
        assert (still in why["step size of x"], "of its way at most" in why["step size of y"]) == (told, False)
    assert advice.step_sizes["x"] * advice.steps > 0.1  # curvature 1


def test_a_slope_without_end_is_never_flat():
    loss = lambda z, e: jnp.sum((z["x"] - e) ** 2) + jnp.sum(z["y"])
    advice = advise(loss, key=KEY, data=jnp.ones((2, 3)), params={"x": jnp.zeros(3), "y": jnp.zeros(2)}, accuracy=0.1)
    assert advice.steps == math.inf
    assert all(math.isfinite(eta) for eta in advice.step_sizes.values())


def test_a_saddle_without_a_minimum_has_no_time():
    loss = lambda z, e: jnp.sum((z["x"] - e) ** 2) - jnp.sum(z["y"] ** 2)
    advice = advise(loss, key=KEY, data=jnp.ones((2, 3)), params={"x": jnp.zeros(3), "y": jnp.ones(2)})
    assert math.isnan(advice.steps)
    assert advice.step_sizes["x"] > 0
    assert "only negative curvature was measured in this block, down to -2" in str(advice)
    assert "no curvature was measured" not in str(advice)


def test_points_whose_components_differ_limit_the_steps_though_the_mean_is_one():
    """f_i = |z|^2/2 + c_i sum z^3/6 with sum c_i = 0: component Hessians I + c_i diag(z) with the mean I everywhere."""
    cubes = jnp.array([-0.9, 0.9])
    loss = lambda z, c: sum(jnp.sum(v**2 / 2 + c * v**3 / 6) for v in z.values())
    start = {"x": jnp.zeros(3), "y": 0.01 * jnp.ones(2)}
    here, there = ({"x": v * jnp.ones(3), "y": v * jnp.ones(2)} for v in (0.5, 1.0))
    limit = lambda *points: (
        advise(loss, key=KEY, data=cubes, params=start, points=points, accuracy=1e-4, ordering="with_replacement")
        .limits["x"]
        .value
    )
    assert limit(there) < limit(here) < 0.99 * limit()
    assert limit(here, there) == pytest.approx(limit(there), rel=0.03)


def test_what_is_left_out_is_never_exact():
    """Flat mean, components that curve it apart; negative curvature; and whatever is simulated along orders."""
    flat = lambda z, c: jnp.sum(z["x"] ** 2) + c * z["y"][0] ** 2 + z["y"][1] ** 2
    start, options = {"x": jnp.ones(2), "y": jnp.ones(2)}, {"ordering": "with_replacement", "accuracy": 0.1}
    pushed = advise(flat, key=KEY, data=jnp.array([-1.0, 1.0]), params=start, **options)
    assert "no step size is stable" in str(pushed)
    saddle = advise(flat, key=KEY, data=jnp.array([-1.0, -1.0]), params=start, **options)
    assert "negative curvature left out" in saddle.limits["x"].note
    assert "within 4096 steps, as curvature is indefinite and no horizon was given" in saddle.limits["x"].note
    forever = advise(flat, key=KEY, data=jnp.array([-1.0, -1.0]), params=start, horizon=math.inf, **options)
    assert forever.limits["x"].note == "second moments, negative curvature left out"
    told = {reason.quantity: reason for reason in saddle.reasons}
    assert "within four times as many steps" in told["limit of the step size of x"].changes
    assert "negative curvature" in told["steps"].why
    bowl = advise(flat, key=KEY, data=jnp.array([1.0, 2.0]), params=start, **options)
    assert bowl.limits["x"].note == "exact"
    soon = advise(flat, key=KEY, data=jnp.array([1.0, 2.0]), params=start, horizon=100, **options)
    assert soon.limits["x"].note == "second moments, by what modes gather within 100 steps"
    ordered = advise(flat, key=KEY, data=jnp.array([1.0, 2.0]), params=start, accuracy=0.1)
    (reason,) = [r for r in ordered.reasons if r.quantity == "limit of the step size of x"]
    assert reason.statement.startswith("measured conjecture")
    for advice in (pushed, saddle, forever, soon):
        assert "exact" not in advice.limits["x"].note


def test_flat_everywhere_is_undecided():
    loss = lambda z, e: 0 * jnp.sum(z["x"]) + 0 * jnp.sum(z["y"]) + jnp.sum(e)
    advice = advise(loss, key=KEY, data=jnp.ones((2, 3)), params={"x": jnp.zeros(3), "y": jnp.ones(2)})
    assert set(advice.step_sizes.values()) == {0.0}


def test_a_start_at_the_solution_needs_no_step():
    problem = tl.block_quadratic(SIZES, n=2)
    advice = advise(problem, key=KEY, params=problem.optimum)
    assert advice.steps == 0
    assert advice.step_sizes["x"] > 0


def test_float32_problems_have_float32_radii():
    wide = tl.block_quadratic(SIZES, n=2)
    radii = [advise(problem, key=KEY).radius for problem in (wide, wide.astype(jnp.float32))]
    assert 1e-10 < radii[0] < 1e-6 < radii[1] < 1e-1


def test_the_same_key_gives_the_same_advice():
    problem = tl.block_quadratic(SIZES, n=4, dispersion=0.1)
    one, other = advise(problem, key=KEY), advise(problem, key=KEY)
    assert isinstance(one, Advice)
    assert str(one) == str(other)


def regression(n):
    """Least squares, as many columns in either block."""
    features = jax.random.normal(jax.random.key(0), (n, 4))
    loss = lambda z, e: (e[:2] @ z["x"] + e[2:] @ z["y"] - 1) ** 2
    return dict(problem=loss, data=features, params={"x": jnp.zeros(2), "y": jnp.zeros(2)}, key=jax.random.key(1))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_one_example_whose_hessian_is_of_rank_one(dtype):
    """Curvature that is rounding in float32 does not stand in the way of a limit."""
    given = regression(1)
    given = {**given, "data": given["data"].astype(dtype), "params": jax.tree.map(dtype, given["params"])}
    advice = advise(**given)
    top = 2 * float(jnp.sum(given["data"][0, :2] ** 2))
    assert 0 < advice.step_sizes["x"] < advice.limits["x"].value < 2 / top
    assert math.isfinite(advice.steps)


def test_a_limit_alone_is_that_of_the_block_without_the_others():
    """Components differ and are reshuffled; what the other block leaves of the gradient must not pass for a rise."""
    given = regression(40)
    (y,) = [r.why for r in advise(**given).reasons if r.quantity == "limit of the step size of y"]
    loss = lambda z, e: given["problem"]({"x": jnp.zeros(2), **z}, e)
    lone = advise(loss, data=given["data"], params={"y": jnp.zeros(2)}, zeroth=(), key=given["key"])
    told = float(y.rpartition("alone it would be ")[2])
    assert told == pytest.approx(lone.limits["y"].value, rel=0.05)  # twice the resolution of the search


def test_an_accuracy_beyond_the_horizon_is_told_so():
    """Limits hold within the horizon; steps that are predicted to need more of them are no promise."""
    problem = tl.block_quadratic({"x": 4, "y": 2}, n=3, dispersion=0.1)
    asked = {"key": KEY, "accuracy": 0.01}
    soon, later = advise(problem, horizon=7, **asked), advise(problem, horizon=10**9, **asked)
    assert 7 < soon.steps < math.inf
    for quantity in ("step size of x", "step size of y", "steps"):
        (why,) = (reason.why for reason in soon.reasons if reason.quantity == quantity)
        assert f"{soon.steps:.3g}: beyond the horizon of 7, within which it is not reached" in why
    assert not any("beyond the horizon" in reason.why for reason in later.reasons)


def test_the_curve_is_made_when_it_is_asked_for_and_travels():
    advice = advise(tl.block_quadratic(SIZES), key=KEY)
    assert "curve" not in vars(advice)
    there = pickle.loads(pickle.dumps(advice))
    pd.testing.assert_frame_equal(there.curve, advice.curve)
    assert advice.curve is advice.curve
    assert there.step_sizes == advice.step_sizes
    assert set(advice.curve.columns) == {"label", "step_size", "steps", "stable"}
