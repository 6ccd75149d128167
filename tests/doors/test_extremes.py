"""The doors at their edges: numbers that no float holds or whose squares none holds, and things of another type."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import theory_lab as tl
from tests.doors.refusals import A_KEY, HYBRID, INF, KEY, KEYS, LABELS, NAN, PROBLEM, cases, check_refusal
from theory_lab import _checks, orderings
from theory_lab.measure import accuracy, family, oracles, rate, reach, smoothness, stability
from theory_lab.problems import hard
from theory_lab.report import figures
from theory_lab.theory import (
    averages,
    block_pairs,
    clean,
    dynamics,
    factorisation,
    first_order,
    groups,
    hard_instances,
    heterogeneous,
    level_sets,
    local,
    local_stability,
    modes,
    moment_bounds,
    published,
    reshuffling,
    separable,
    spectra,
    without_replacement,
)

HUGE, ONE_TOO_MANY = 10**400, 2**63
COUNTED, COMPONENTS = "a whole number below 2^63", "a whole number below 2^31"
SIZE = "within 1e-100..1e+100"
MOST = "at most 1e+100"
RAGGED = [[1.0], [1.0, 2.0]]
SIZES = {"x": 2, "y": 2}
PAIRS = block_pairs.block_pairs(curvature=(1, 1), dimension=2)
MODEL = local.local(np.eye(2), [1, 1], [True, False])
GROUPED = {"owners": [0], "zeroth": [True], "dimensions": [2]}
MOMENTS = dynamics.Moments(np.ones(1), np.ones((1, 1)))
STEP = heterogeneous.component_maps([[[1.0]]], [[0.0]], 1, (0.1, 0.0))
BLOCKS = {"smoothness": (1, 1), "dispersion": (1, 1), "rank": 8}
ONE = tl.Measurement("m", 1.0, 1.0, 1.0, 1)
ENTRIES = oracles.Entries("E g", np.ones(2), np.zeros(2), np.full(2, 2.0), 100)
POINT = {"x": jnp.ones(3), "y": jnp.ones(2)}
A_PAIR = "a function of a pair of step sizes"
OF_NORMS = "a function of the gradient's norm"
AVERAGED = {"n": 2, "epochs": 2, "dispersion": 1.0, "initial_gap": 1.0, "ordering": "with_replacement"}
CLEAN = {"step_size": 0.05, "smoothness": 1, "dispersion": 0, "initial_gap": 1, "n": 10, "epochs": 50}
FIRST = {"step_size": 0.1, "curvature": 1.0, "dispersion": 1.0, "initial_gap": 1.0, "steps": 4}
FREE = {"step_size": 1.0, "curvature": 1.0, "initial_gap": 2.0, "n": 3, "epochs": 4}


def quadratic(n=4, sizes=SIZES):
    return lambda: tl.block_quadratic(sizes, n=n)


def run(**options):
    given = {"epochs": 1, "key": KEY, **options}
    return lambda: tl.run(PROBLEM, tl.FirstOrder(), tl.hybrid_sgd({"x": 0.1, "y": 0.1}), **given)


def density():
    return smoothness.spectral_density(lambda z: jnp.sum(z["x"] ** 2), {"x": jnp.ones(3)}, key=KEY, iterations=2, starts=2)


LARGE = {
    "counts": [
        (lambda: tl.TwoPoint(1.0, HUGE), f"directions must be {COUNTED}, got {HUGE}"),
        (lambda: tl.TwoPoint(1.0, ONE_TOO_MANY), f"directions must be {COUNTED}, got {ONE_TOO_MANY}"),
        (lambda: moment_bounds.kappa(2.0, HUGE), f"directions must be {COUNTED}, got {HUGE}"),
        (
            lambda: averages.quadratic_average(0.1, curvature=1.0, **AVERAGED | {"n": HUGE}),
            f"n must be {COUNTED}, got {HUGE}",
        ),
        (lambda: tl.theory.Budget(n=HUGE, epochs=1), f"n must be {COUNTED}, got {HUGE}"),
        (quadratic(HUGE), f"n must be {COMPONENTS}, got {HUGE}"),
        (quadratic(2**31), f"n must be {COMPONENTS}, got {2**31}"),
        (quadratic(sizes={"x": HUGE}), f"dimensions['x'] must be {COMPONENTS}, got {HUGE}"),
        (lambda: tl.chain(2**31), f"length must be {COMPONENTS}, got {2**31}"),
        (lambda: tl.matrix_factorisation(2**31, 2, 1), f"rows must be {COMPONENTS}, got {2**31}"),
        (lambda: tl.geman_mcclure(SIZES, n=2**31), f"n must be {COMPONENTS}, got {2**31}"),
        (lambda: hard.two_type(SIZES, n=2**31), f"n must be {COMPONENTS}, got {2**31}"),
        (run(epochs=2**31), f"epochs must be {COMPONENTS}, got {2**31}"),
        (lambda: tl.incremental(KEY, 0, 2**31), f"n must be {COMPONENTS}, got {2**31}"),
    ],
    "sizes": [
        (lambda: tl.hybrid_sgd({"x": 1e308}), f"step_sizes['x'] must be {MOST}, got 1e+308"),
        (lambda: tl.theory.Budget(n=1, epochs=1, radius=1e308), f"radius must be {MOST}, got 1e+308"),
        (lambda: moment_bounds.remainder_bound(1e308, 2.0, 0.5), f"smoothness must be {MOST}, got 1e+308"),
        (lambda: moment_bounds.kappa(1e308), f"rank must be {MOST}, got 1e+308"),
        (lambda: moment_bounds.kappa(HUGE), f"rank must be in [1, inf), got {HUGE}"),
        (lambda: clean.first_order_clean_bound(**CLEAN | {"step_size": 1e308}), f"step_size must be {SIZE}, got 1e+308"),
        (lambda: factorisation.steep_instance(1e-320), f"a must be {SIZE}, got 1e-320"),
        (
            lambda: first_order.with_replacement_average(**FIRST | {"curvature": 1e-320}),
            f"curvature must be {SIZE}, got 1e-320",
        ),
        (lambda: published.noise_free_average(**FREE | {"curvature": 1e-320}), f"curvature must be {SIZE}, got 1e-320"),
        (lambda: hard_instances.one_sided_floor(0.1, 1e308, 1.0, 4), f"smoothness must be {MOST}, got 1e+308"),
        (
            lambda: without_replacement.reshuffling_parts(step_sizes=(1e308, 0.1), n=4, **BLOCKS),
            f"step_sizes must be {MOST}, got 1e+308",
        ),
        (
            lambda: block_pairs.block_pairs(curvature=(1e-320, 1), dimension=2),
            f"curvature must be {SIZE}, got 1e-320",
        ),
        (
            lambda: tl.cosine(SIZES, n=2, spread=1e308),
            "spread must be within 1.5e-154..1.3e+154, whose squares float64 holds, got 1e+308",
        ),
        (lambda: modes.steps_to(MODEL.modes([0.1, 0.1]), 1e-320), f"accuracy must be {SIZE}, got 1e-320"),
    ],
}

OTHERS = {
    "measurements": [
        (lambda: tl.measure.mean(None, [1.0, 2.0]), "name must be a text, got None"),
        (lambda: tl.measure.mean(3, [1.0, 2.0]), "name must be a text, got 3"),
        (lambda: tl.measure.mean("m", [1.0, 2.0], note=True), "note must be a text, got True"),
        (lambda: tl.measure.mean("m", [1.0, 2j]), "samples must be numbers, got [1.0, 2j]"),
        (lambda: tl.measure.mean("m", ["1", "2"]), "samples must be numbers, got ['1', '2']"),
        (lambda: tl.measure.mean("m", [HUGE, 1.0]), f"samples must be numbers, got {[HUGE, 1.0]}"),
        (lambda: tl.measure.exact(None, 1.0), "name must be a text, got None"),
        (lambda: tl.Measurement("m", 1.0, 1.0, 1.0, "x"), "samples must be a whole number of at least 0, got 'x'"),
        (lambda: tl.Measurement("m", 1.0, 1.0, 1.0, -1), "samples must be a whole number of at least 0, got -1"),
        (lambda: tl.Measurement("m", 1.0, 1.0, 1.0, 1, note=None), "note must be a text, got None"),
        (
            lambda: tl.Measurement("m", 1.0, 1.0, 1.0, 1, products=0.5),
            "products must be a whole number of at least 0, got 0.5",
        ),
        (lambda: ENTRIES.deviation("x"), "predicted must be an array of real numbers, got 'x'"),
        (lambda: ENTRIES.deviation(np.ones(3)), "predicted must be of a shape that broadcasts to (2,), got 'shape (3,)'"),
        (
            lambda: rate.loglog_slope([1, 2, 4], np.ones((2, 3)), paired=np.ones(3)),
            f"paired must be True or False, got {np.ones(3)!r}",
        ),
        (
            lambda: rate.quantile([1.0, 1j], 0.5),
            "samples must be a non-empty one-dimensional array without nan, got [1.0, 1j]",
        ),
        (
            lambda: reach.crossings([0, 1], [[1.0, 1j]], 1.0),
            "means must be of shape (rows, 2), nonnegative, got [[1.0, 1j]]",
        ),
        (
            lambda: stability.effective_seeds([-1.0, 1.0]),
            "values must be a non-empty array of nonnegative numbers, seeds along its first axis, got [-1.0, 1.0]",
        ),
        (
            lambda: family.largest("m", np.array(2.0)),
            "family must be a list of measurements (of type Measurement), got array(2.)",
        ),
        (
            lambda: accuracy.accuracy(KEYS),
            f"correct must be a non-empty one-dimensional array of booleans, got {KEYS!r}",
        ),
    ],
    "smoothness": [
        (lambda: density().average(None), "fn must be a function of an array of eigenvalues, got None"),
        (lambda: smoothness.isotonic([1.0], [1.0], ahead="x"), "ahead must be True or False, got 'x'"),
        (lambda: smoothness.isotonic([1.0], [1.0])("x"), "gradient_norm must be nonnegative numbers, got 'x'"),
        (lambda: smoothness.isotonic([1.0], [1.0])([NAN]), "gradient_norm must be nonnegative numbers, got [nan]"),
        (lambda: smoothness.Envelope(1.0, 1.0, ONE, ONE)(-1.0), "gradient_norm must be nonnegative numbers, got -1.0"),
        (
            lambda: smoothness.over(PROBLEM, RAGGED),
            f"indices must be a non-empty one-dimensional array of whole numbers from 0 to 3, got {RAGGED}",
        ),
        (
            lambda: oracles.moments(tl.FirstOrder(), lambda z: jnp.sum(z["x"] ** 2), POINT, KEY, matrix=np.ones(2)),
            f"matrix must be True or False, got {np.ones(2)!r}",
        ),
    ],
    "runs": [
        (lambda: tl.hybrid_sgd({"x": 0.1}).init(None), f"params must be {LABELS}, got None"),
        (run(log_epochs=RAGGED), f"log_epochs must be increasing whole numbers within 0..1, got {RAGGED}"),
        (lambda: tl.random_reshuffling(0, 0, 4), f"key must be {A_KEY}, got 0"),
        (lambda: tl.shuffle_once(KEY, 0, 0), "n must be a whole number of at least 1, got 0"),
        (lambda: tl.incremental(KEY, -1, 4), "epoch must be a whole number of at least 0, got -1"),
        (lambda: tl.with_replacement(KEY, 0.5, 4), "epoch must be a whole number of at least 0, got 0.5"),
        (lambda: tl.with_replacement(KEYS, 0, 4), "key must be a single key, got 'an array of keys of shape (3,)'"),
        (lambda: tl.Constants().dominates(None), "measured must be Constants, got None"),
        (lambda: tl.Constants().dominates(tl.Constants(), rtol=NAN), "rtol must be nonnegative and finite, got nan"),
        (lambda: tl.claim("a", "b", "at most", 1.0, why=None), "why must be a text, got None"),
        (lambda: hard.minimax([], n=8, slope=0.1, curvature=0.02), "label must be a non-empty text, got []"),
        (
            lambda: tl.theory.Budget(n=1, epochs=1, convex_components=np.ones(2)),
            f"convex_components must be True, False or None, got {np.ones(2)!r}",
        ),
        (
            lambda: tl.theory.Budget(n=1, epochs=1, convex_components=1),
            "convex_components must be True, False or None, got 1",
        ),
        (lambda: figures.new_figure(0), "rows must be a whole number of at least 1, got 0"),
        (lambda: figures.new_figure(columns="x"), "columns must be a whole number of at least 1, got 'x'"),
        (lambda: figures.new_figure(height=NAN), "height must be positive and finite, got nan"),
        (lambda: figures.new_figure(width=-1), "width must be positive and finite, got -1"),
    ],
    "theory": [
        (lambda: block_pairs.step_map(3, (0.1, 0.1)), "problem must be what block_pairs(...) returns, got 3"),
        (lambda: block_pairs.best_pair(3, (1, 1)), f"objective must be {A_PAIR}, got 3"),
        (lambda: block_pairs.best_pair(sum, (0, 1)), "limits must be a pair (x, y) of positive finite numbers, got (0, 1)"),
        (
            lambda: block_pairs.best_pair(lambda pair: -1.0, (1, 1)),
            "objective must be positive at every pair of step sizes, got -1.0",
        ),
        (lambda: block_pairs.best_scale(sum, (1, 1), 0), "ratio must be positive and finite, got 0"),
        (
            lambda: groups.grouped_blocks([1.0], [2], **GROUPED, horizon="x"),
            "horizon must be positive, or inf, got 'x'",
        ),
        (
            lambda: local.local(np.eye(2), [1, 1], [True, False], horizon=np.ones(2)),
            f"horizon must be positive, or inf, got {np.ones(2)!r}",
        ),
        (lambda: local_stability.stable(3, [0.1]), "model must be what local(...) returns, got 3"),
        (lambda: local_stability.noise_gain(3, [0.1]), "model must be what local(...) returns, got 3"),
        (
            lambda: local_stability.noise_gain(MODEL, [0.1]),
            "step_sizes must be a sequence of length 2, one per block, got [0.1]",
        ),
        (
            lambda: local_stability.ordered_growth(MODEL, [0.1, -0.1]),
            "step_sizes[1] must be nonnegative and finite, got -0.1",
        ),
        (
            lambda: local_stability.ordered_growth(MODEL, [0.1, 0.1], seed="x"),
            "seed must be a whole number of at least 0, got 'x'",
        ),
        (lambda: local_stability.calibrated(MODEL, [0.1, 0.0]), "limits[1] must be positive and finite, got 0.0"),
        (lambda: local_stability.boundary_scale(3, [0.1]), "test must be a function of step sizes, got 3"),
        (
            lambda: local_stability.boundary_scale(lambda etas: etas[0] < 3, [0.1], resolution=0),
            "resolution must be positive and finite, got 0",
        ),
        (lambda: modes.steps_to(3, 0.1), "modes must be what modes(...) of a local model returns, got 3"),
        (
            lambda: modes.steps_to(MODEL.modes([0.1, 0.1]), 0.1, end=3),
            "end must be what modes(...) of a local model returns, got 3",
        ),
        (lambda: modes.floor_of(3), "modes must be what modes(...) of a local model returns, got 3"),
        (lambda: heterogeneous.advance(STEP[0], None), "moments must be Moments(mean, second), got None"),
        (
            lambda: heterogeneous.epoch_map(STEP, "incremental", counts=RAGGED),
            f"counts must be one whole number per component (1), got {RAGGED}",
        ),
        (lambda: level_sets.grad_level_bound(3, 1.0), f"growth must be {OF_NORMS}, got 3"),
        (lambda: level_sets.li_grad_level_bound(None, 1.0), f"growth must be {OF_NORMS}, got None"),
        *(
            (
                lambda given=given: level_sets.trust_region(growth=given, initial_gap=1.0, failure_probability=0.5),
                f"growth must be a pair of functions of the gradient's norm, got {given!r}",
            )
            for given in (3, (sum,), (1.0, 2.0))
        ),
        (
            lambda: without_replacement.reshuffling_parts(step_sizes=(0.1, 0.1), n=4, parameters=3, **BLOCKS),
            "parameters must be FreeParameters or None, got 3",
        ),
        (
            lambda: reshuffling.inner_average_variance(0.1, 1.0, np.ones(2), 1.0, "random_reshuffling"),
            f"n must be a whole number of at least 1, got {np.ones(2)!r}",
        ),
        (
            lambda: separable.recursion(separable.groups([1.0], [3]), [1e308]),
            f"step_sizes must be {MOST}, got {np.float64(1e308)!r}",
        ),
        (lambda: averages.mean_power(2.5, 1, 1), "x must be in [0, 2], got 2.5"),
        (lambda: averages.mean_power(0.5, 0, 1), "power must be a whole number of at least 1, got 0"),
        (lambda: averages.mean_power(0.5, 1, HUGE), f"count must be {COUNTED}, got {HUGE}"),
        (lambda: separable.recursion(3, [0.1]), "given must be what groups(...) returns, got 3"),
        (lambda: separable.groups([1.0, 1.0], [3, 4], zeroth=RAGGED), "zeroth must be True or False, got [1.0]"),
        (lambda: spectra.step_size_limit(3), "spectrum must be a Spectrum, got 3"),
        (lambda: spectra.floor(3, 0.1, 1.0), "spectrum must be a Spectrum, got 3"),
        (
            lambda: spectra.averages(3, [0.1], initial_gap=1.0, dispersion=0.0, steps=2),
            "spectrum must be a Spectrum, got 3",
        ),
    ],
}


@pytest.mark.parametrize("call, message", cases(LARGE | OTHERS))
def test_bad_input_is_refused_by_name_rule_and_value(call, message):
    check_refusal(call, message)


def test_a_function_that_is_written_for_other_parameters_is_refused_with_what_it_says():
    other = lambda z: jnp.sum(z["z"])
    check_refusal(
        lambda: smoothness.trace(other, POINT, key=KEY),
        "fn must be a function that reads nothing but the blocks ['x', 'y'] of params, got KeyError('z')",
    )
    rule = re.escape("fn must be a function that works on params, of shape {'x': (3,), 'y': (2,)}, and args, got TypeError(")
    with pytest.raises(ValueError, match=f"^{rule}"):
        smoothness.trace(lambda z: jnp.sum(z["x"] * z["y"]), POINT, key=KEY)
    with pytest.raises(ValueError, match=f"^{rule}"):
        smoothness.trace(lambda z: jnp.sum(z["x"]), POINT, key=KEY, args=(1.0,))


@pytest.mark.parametrize("name", orderings.ORDERINGS)
def test_an_ordering_takes_whole_numbers_of_every_kind_and_traced_ones(name):
    ordering = orderings.ORDERINGS[name]
    for epoch in (2, np.int32(2), jnp.int32(2)):
        np.testing.assert_array_equal(ordering(KEY, epoch, np.int64(4)), ordering(KEY, 2, 4))
    traced = jax.jit(lambda key, epoch: ordering(key, epoch, 4))(KEY, 2)
    np.testing.assert_array_equal(traced, ordering(KEY, 2, 4))


def test_numbers_near_the_largest_float_have_an_infinite_interval():
    measured = tl.measure.mean("m", [1e308, -1e308])
    assert (measured.value, measured.low, measured.high) == (0.0, -INF, INF)


def test_what_hardly_moves_keeps_its_start():
    """1 - eta h is 1 in floating point; the mean of its powers is so to rounding."""
    assert published.noise_free_average(**FREE | {"step_size": 1e-320}) == 2 * 1.0 * 2.0
    assert first_order.with_replacement_average(**FIRST | {"step_size": 1e-30}) == pytest.approx(2.0, rel=1e-15)
    direct = np.mean(np.abs(1 - 1.5) ** (3 * np.arange(5)))
    assert averages.mean_power(1.5, 3, 5) == pytest.approx(direct, rel=1e-14)
    assert averages.mean_power(1.0, 2, 4) == 0.25


def test_counts_and_sizes_at_the_edge_are_welcome():
    assert _checks.count("n", 2**63 - 1) == 2**63 - 1
    assert _checks.positive("size", 1e100) == 1e100
    assert _checks.nonnegative("size", 1e-320) == 1e-320
    assert _checks.count_or_inf("horizon", INF) == INF
    assert tl.TwoPoint(1e308).radius == 1e308  # whether it is too large depends on the precision of the run
    check_refusal(
        lambda: tl.TwoPoint(1e308)(lambda z: jnp.sum(z), jnp.zeros(2), KEY),
        "radius must be within 2.2e-308..9.0e+307 for float64, got 1e+308",
    )


@pytest.mark.parametrize(
    "oracle", [tl.FirstOrder(), tl.TwoPoint(1e-3), tl.Hybrid({"x": tl.TwoPoint(1e-3), "y": tl.FirstOrder()})]
)
def test_an_oracle_takes_numbers_and_numpy_arrays_for_arrays(oracle):
    fn = lambda z: 3 * z["x"] + jnp.sum(z["y"])
    found = oracle(fn, {"x": 2.0, "y": np.broadcast_to(1.0, 2)}, KEY)
    again = oracle(fn, {"x": jnp.asarray(2.0), "y": jnp.ones(2)}, KEY)
    jax.tree.map(np.testing.assert_array_equal, found, again)


def test_steps_that_diverge_beyond_floats_average_to_inf_without_a_warning():
    found = spectra.averages(spectra.power_spectrum(0.0, 2), [1e3], initial_gap=1.0, dispersion=0.0, steps=200)
    assert found[0, 0] == 2.0
    assert np.isinf(found[0, -1])


def test_what_is_too_long_to_be_told_is_told_in_part():
    with pytest.raises(ValueError, match=r"^epochs must be a whole number below 2\^31, got int of 16610 bits$"):
        tl.run(PROBLEM, HYBRID, tl.hybrid_sgd({"x": 0.1, "y": 0.1}), epochs=10**5000, key=KEY)
    with pytest.raises(ValueError, match=r"got \[0, 1, .*\.\.\. \(478890 characters\)$") as refused:
        tl.claim(list(range(70000)), "a", "at most", 1.0)
    assert len(str(refused.value)) < 2100
