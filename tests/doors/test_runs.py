"""The doors of a run: oracles, optimizers, run, sweep and the trace."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import theory_lab as tl
from tests.doors.refusals import A_KEY, HYBRID, KEY, KEYS, LABELS, NAN, NUMBERS, PROBLEM, SIZES, cases, check_refusal
from theory_lab import devices
from theory_lab.problems import record

SCALAR = "fn must be scalar and floating point"
MORE = (
    "made of transformations whose update needs the gradients and the parameters alone, got one that is missing 3 required "
    "keyword-only arguments: 'value', 'grad', and 'value_fn'"
)
ROWS = "rows must be an array of numbers, one for each of the 2 logged rows along its last axis"
ORACLE_RULE = "FirstOrder(), TwoPoint(...) or another block oracle"
ORDERING_RULE = "ordering must be a function (key, epoch, n) -> (4,) integer indices"


def run(problem=PROBLEM, oracle=HYBRID, optimizer=None, **options):
    optimizer = tl.hybrid_sgd({"x": 0.1, "y": 0.1}) if optimizer is None else optimizer
    return lambda: tl.run(problem, oracle, optimizer, **{"epochs": 2, "key": KEY, **options})


def sweep(problem=PROBLEM, oracle=HYBRID, make_optimizer=tl.hybrid_sgd, **options):
    given = {"step_sizes": {"x": [0.1], "y": [0.1]}, "epochs": 2, "keys": KEYS, **options}
    return lambda: tl.sweep(problem, oracle, make_optimizer, **given)


def total(z):
    return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(z))


@record()
class Lost(tl.Problem):
    """A problem whose start is not a number."""

    n = 2
    constants = tl.Constants()
    optimum = None

    def init(self, key):
        return {"x": jnp.array([jnp.nan])}

    def component(self, params, index):
        return jnp.sum(params["x"])


TRACE = tl.Trace(np.arange(2.0), None, np.ones(2), {"x": np.ones(2)}, None, np.array(np.inf), {})

SOME_KEYS = "a non-empty one-dimensional array of keys, as jax.random.split makes"
DOORS = {
    "oracles": [
        (lambda: tl.TwoPoint(0), "radius must be positive and finite, got 0"),
        (lambda: tl.TwoPoint(-1e-3), "radius must be positive and finite, got -0.001"),
        (lambda: tl.TwoPoint(NAN), "radius must be positive and finite, got nan"),
        (lambda: tl.TwoPoint("1e-3"), "radius must be positive and finite, got '1e-3'"),
        (lambda: tl.TwoPoint(True), "radius must be positive and finite, got True"),
        (lambda: tl.TwoPoint([1e-3, 1e-2]), "radius must be positive and finite, got [0.001, 0.01]"),
        (lambda: tl.TwoPoint([1, [2]]), "radius must be positive and finite, got [1, [2]]"),
        (lambda: tl.TwoPoint(np.complex128(1)), "radius must be positive and finite, got np.complex128(1+0j)"),
        (lambda: tl.TwoPoint(10**309), f"radius must be positive and finite, got {10**309}"),
        (lambda: tl.TwoPoint(1e-3, directions=0), "directions must be a whole number of at least 1, got 0"),
        (lambda: tl.TwoPoint(1e-3, directions=1.5), "directions must be a whole number of at least 1, got 1.5"),
        (
            lambda: tl.TwoPoint(1e-3, law="gausian"),
            "law must be one of 'gaussian', 'rademacher', 'sphere', got 'gausian' (did you mean 'gaussian'?)",
        ),
        (lambda: tl.TwoPoint(1e-3, sided=3), "sided must be 1 or 2, got 3"),
        (lambda: tl.TwoPoint(1e-3, sided=True), "sided must be 1 or 2, got True"),
        (lambda: tl.TwoPoint(1e-3, sided=np.ones(2)), "sided must be 1 or 2, got array([1., 1.])"),
        (lambda: tl.Hybrid({}), f"members must be {LABELS}, got {{}}"),
        (lambda: tl.Hybrid([tl.FirstOrder()]), f"members must be {LABELS}, got [FirstOrder()]"),
        (lambda: tl.Hybrid({"x": 1e-3}), f"members['x'] must be {ORACLE_RULE}, got 0.001"),
        (lambda: tl.Hybrid({"x": tl.FirstOrder}), f"members['x'] must be {ORACLE_RULE}, got {tl.FirstOrder!r}"),
        (
            lambda: tl.Hybrid({"x": tl.Hybrid({"x": tl.FirstOrder()})}),
            f"members['x'] must be {ORACLE_RULE}, got Hybrid(members={{'x': FirstOrder()}})",
        ),
        (
            lambda: HYBRID(lambda z: 0.0, {"x": jnp.zeros(2)}, KEY),
            "the oracle's members must have the labels of the parameters ['x'], got ['x', 'y']",
        ),
        (lambda: tl.FirstOrder()(jnp.sum, jnp.zeros(2), 0), f"key must be {A_KEY}, got 0"),
        (
            lambda: tl.FirstOrder()(jnp.sum, jnp.zeros(2, int), KEY),
            "params must be float32 or float64, got 'int64'",
        ),
        (
            lambda: tl.TwoPoint(1e-3)(lambda z: 2 * z, jnp.zeros(3), KEY),
            "fn must be scalar and floating point, got 'a function with values of shape (3,) and type float64'",
        ),
        (lambda: HYBRID(lambda z: 0.0, jnp.zeros(1), KEY), f"params must be {LABELS}, got {jnp.zeros(1)!r}"),
        (
            lambda: HYBRID.cost({"x": 0.0, "z": 0.0}),
            "the oracle's members must have the labels of the parameters ['x', 'z'], got ['x', 'y']",
        ),
        (lambda: tl.FirstOrder()(total, {}, KEY), "params must be a pytree with at least one array, got {}"),
        (lambda: tl.TwoPoint(1e-3)(total, None, KEY), "params must be a pytree with at least one array, got None"),
        (
            lambda: tl.FirstOrder()(total, jnp.ones(2), KEYS),
            "key must be a single key, got 'an array of keys of shape (3,)'",
        ),
        (lambda: tl.FirstOrder()("f", jnp.ones(2), KEY), "fn must be a function of the parameters, got 'f'"),
        (lambda: tl.FirstOrder()(total, {"x": "a"}, KEY), "params must be float32 or float64, got '<U1'"),
        (
            lambda: tl.TwoPoint(1e-3)(total, jnp.ones(2, jnp.bfloat16), KEY),
            "params must be float32 or float64, got 'bfloat16'",
        ),
        (
            lambda: tl.FirstOrder()(lambda z: z, jnp.ones(2), KEY),
            f"{SCALAR}, got 'a function with values of shape (2,) and type float64'",
        ),
        (
            lambda: tl.FirstOrder()(lambda z: 3, jnp.ones(2), KEY),
            f"{SCALAR}, got 'a function with values of shape () and type int64'",
        ),
        (
            lambda: tl.FirstOrder()(lambda z: None, jnp.ones(2), KEY),
            f"{SCALAR}, got 'a function with values of type NoneType'",
        ),
        (
            lambda: tl.TwoPoint(1e-3)(lambda z: None, jnp.ones(2), KEY),
            f"{SCALAR}, got 'a function with values of type NoneType'",
        ),
        (
            lambda: HYBRID(lambda z: z["x"], {"x": jnp.ones(2), "y": jnp.ones(2)}, KEY),
            f"{SCALAR}, got 'a function with values of shape (2,) and type float64'",
        ),
        (
            lambda: tl.TwoPoint(1e-60)(total, jnp.ones(2, jnp.float32), KEY),
            "radius must be within 1.2e-38..1.7e+38 for float32, got 1e-60",
        ),
        (
            lambda: tl.TwoPoint(1e60)(total, jnp.ones(2, jnp.float32), KEY),
            "radius must be within 1.2e-38..1.7e+38 for float32, got 1e+60",
        ),
    ],
    "hybrid_sgd": [
        (lambda: tl.hybrid_sgd({}), f"step_sizes must be {LABELS}, got {{}}"),
        (lambda: tl.hybrid_sgd(0.1), f"step_sizes must be {LABELS}, got 0.1"),
        (lambda: tl.hybrid_sgd({"x": -0.1}), "step_sizes['x'] must be nonnegative and finite, got -0.1"),
        (lambda: tl.hybrid_sgd({"x": NAN}), "step_sizes['x'] must be nonnegative and finite, got nan"),
        (
            lambda: tl.hybrid_sgd({"x": optax.adam}),
            f"step_sizes['x'] must be a number, a schedule or a transformation (call the factory first), got {optax.adam!r}",
        ),
        (lambda: tl.hybrid_sgd({"x": "0.1"}), "step_sizes['x'] must be nonnegative and finite, got '0.1'"),
        (
            lambda: tl.hybrid_sgd({"x": 0.1}).init({"x": jnp.zeros(1), "y": jnp.zeros(1)}),
            "step_sizes must have the labels of the parameters ['x', 'y'], got ['x']",
        ),
        (
            lambda: tl.hybrid_sgd({"x": lambda count: -0.1}),
            "step_sizes['x'] at step 0 must be nonnegative and finite, got -0.1",
        ),
        (
            lambda: tl.hybrid_sgd({"x": lambda count: "a"}),
            "step_sizes['x'] at step 0 must be nonnegative and finite, got 'a'",
        ),
        (
            lambda: tl.hybrid_sgd({"x": optax.constant_schedule(NAN)}),
            "step_sizes['x'] at step 0 must be nonnegative and finite, got nan",
        ),
        (
            lambda: tl.hybrid_sgd({"x": dict}),
            f"step_sizes['x'] must be a number, a schedule or a transformation (call the factory first), got {dict!r}",
        ),
        (lambda: tl.hybrid_sgd({"x": optax.lbfgs()}).init({"x": jnp.zeros(1)}), f"step_sizes must be {MORE}"),
    ],
    "run": [
        (run(problem="quadratic"), "problem must be a Problem, got 'quadratic'"),
        (run(oracle=tl.FirstOrder), f"oracle must be an Oracle, got {tl.FirstOrder!r}"),
        (run(optimizer=0.1), "optimizer must be an optax transformation (init, update), got 0.1"),
        (
            run(ordering="random_reshuffling"),
            f"{ORDERING_RULE}, got 'random_reshuffling'",
        ),
        (run(ordering=np.arange(4)), f"{ORDERING_RULE}, got array([0, 1, 2, 3])"),
        (
            run(ordering=lambda key, epoch, n: jnp.arange(n - 1)),
            f"{ORDERING_RULE}, got 'int64 of shape (3,)'",
        ),
        (run(ordering=lambda key, epoch, n: [jnp.int32(0)] * n), f"{ORDERING_RULE}, got {[jnp.int32(0)] * 4!r}"),
        (
            run(ordering=lambda key, epoch: jnp.arange(4)),
            f"{ORDERING_RULE}, got 'a function with too many positional arguments'",
        ),
        (
            run(params={"x": jnp.zeros(2), "y": np.zeros(2, np.float32)}),
            "params['y'] must be of the problem's precision, float64, got 'float32'",
        ),
        (run(epochs=0), "epochs must be a whole number of at least 1, got 0"),
        (run(epochs=2.5), "epochs must be a whole number of at least 1, got 2.5"),
        (run(key=0), f"key must be {A_KEY}, got 0"),
        (run(key=KEYS), "key must be a single key (use sweep for many seeds), got 'an array of keys of shape (3,)'"),
        (run(batch_size=0), "batch_size must be a whole number of at least 1, got 0"),
        (run(batch_size=5), "batch_size must be at most the number of components, 4, got 5"),
        (run(log_epochs=[]), "log_epochs must be increasing whole numbers within 0..2, got []"),
        (run(log_epochs=[2, 1]), "log_epochs must be increasing whole numbers within 0..2, got [2, 1]"),
        (run(log_epochs=[1, 1]), "log_epochs must be increasing whole numbers within 0..2, got [1, 1]"),
        (run(log_epochs=[-1, 1]), "log_epochs must be increasing whole numbers within 0..2, got [-1, 1]"),
        (run(log_epochs=[0, 3]), "log_epochs must be increasing whole numbers within 0..2, got [0, 3]"),
        (run(log_epochs=[0.5]), "log_epochs must be increasing whole numbers within 0..2, got [0.5]"),
        (run(log_epochs=2), "log_epochs must be increasing whole numbers within 0..2, got 2"),
        (run(log_epochs=[1], resolution="step"), "log_epochs must be None where resolution is 'step', got [1]"),
        (run(resolution="steps"), "resolution must be one of 'epoch', 'step', got 'steps' (did you mean 'step'?)"),
        (run(params=[1.0]), f"params must be {LABELS}, got [1.0]"),
        (run(params={"x": jnp.zeros(2)}), "params must have the labels of the problem ['x', 'y'], got ['x']"),
        (run(params={"x": jnp.zeros(2), "y": jnp.zeros(3)}), "params['y'] must be of shape (2,), got (3,)"),
        (run(params={"x": jnp.zeros(2), "y": np.zeros(2, int)}), "params['y'] must be float32 or float64, got 'int64'"),
        (run(params={"x": jnp.zeros(2), "y": np.array(["a", "b"])}), "params['y'] must be float32 or float64, got '<U1'"),
        (
            run(optimizer=tl.hybrid_sgd({"x": 0.1})),
            "step_sizes must have the labels of the parameters ['x', 'y'], got ['x']",
        ),
        (
            run(oracle=tl.Hybrid({"x": tl.FirstOrder()})),
            "the oracle's members must have the labels of the parameters ['x', 'y'], got ['x']",
        ),
        (run(progress="maybe"), "progress must be True or False, got 'maybe'"),
        (run(params={"x": np.array([NAN, 0.0]), "y": np.zeros(2)}), "params['x'] must be finite, got array([nan,  0.])"),
        (
            run(params={"x": np.zeros(2, np.float16), "y": np.zeros(2)}),
            "params['x'] must be float32 or float64, got 'float16'",
        ),
        (
            run(problem=Lost(), oracle=tl.FirstOrder()),
            "problem.init(key)['x'] must be finite, got Array([[nan]], dtype=float64)",
        ),
        (run(oracle=tl.TwoPoint(5e-324)), "radius must be within 2.2e-308..9.0e+307 for float64, got 5e-324"),
        (run(optimizer=optax.lbfgs()), f"the optimizer must be {MORE}"),
    ],
    "sweep": [
        (sweep(step_sizes=[0.1]), f"step_sizes must be {LABELS}, got [0.1]"),
        (sweep(step_sizes={"x": [0.1]}), "step_sizes must have the labels of the problem ['x', 'y'], got ['x']"),
        (
            sweep(step_sizes={"x": [0.1], "y": [0.1, 0.2]}),
            "step_sizes must be of the same length in every block (see step_size_grid), got {'x': 1, 'y': 2}",
        ),
        (
            sweep(step_sizes={"x": [0.1], "y": [-0.1]}),
            "step_sizes['y'] must be a one-dimensional array of nonnegative numbers, got [-0.1]",
        ),
        (
            sweep(step_sizes={"x": [0.1], "y": [[0.1]]}),
            "step_sizes['y'] must be a one-dimensional array of nonnegative numbers, got [[0.1]]",
        ),
        (sweep(step_sizes={"x": [0.1], "y": []}), f"step_sizes['y'] must be a non-empty {NUMBERS}, got []"),
        (sweep(step_sizes={"x": [0.1], "y": [NAN]}), f"step_sizes['y'] must be a non-empty {NUMBERS}, got [nan]"),
        (sweep(keys=KEY), f"keys must be {SOME_KEYS}, got 'an array of keys of shape ()'"),
        (
            sweep(keys=KEYS[:0]),
            f"keys must be {SOME_KEYS}, got 'an array of keys of shape (0,)'",
        ),
        (sweep(keys=[0, 1]), f"keys must be {A_KEY}, got [0, 1]"),
        (
            sweep(make_optimizer=None),
            "make_optimizer must be a function from {label: step size} to an optax transformation, got None",
        ),
        (sweep(epochs=-1), "epochs must be a whole number of at least 1, got -1"),
        (
            lambda: devices.split({"a": np.float32(3)}, devices.mesh(1), "examples"),
            "examples must be an axis of every array, got np.float32(3.0)",
        ),
        (sweep(devices=0), "devices must be a whole number of at least 1, got 0"),
        (sweep(devices=10**6), f"devices must be at most {jax.device_count()}, as many as JAX sees, got 1000000"),
        (
            sweep(devices=jax.make_mesh((1,), ("batch",))),
            "devices must be a number, or a mesh with the one axis 'devices', got ('batch',)",
        ),
        (lambda: tl.step_size_grid(), f"axes must be {LABELS}, got {{}}"),
        (lambda: tl.step_size_grid([0.1]), f"axes must be {LABELS}, got [0.1]"),
        (
            lambda: tl.step_size_grid({"x": [0.1]}, y=[0.2]),
            "axes must be one mapping or keywords, not both, got ({'x': [0.1]}, {'y': [0.2]})",
        ),
        (lambda: tl.step_size_grid(x=[0.1, "a"]), f"axes['x'] must be a non-empty 1-dimensional {NUMBERS}, got [0.1, 'a']"),
        (lambda: tl.step_size_grid(x=0.1), f"axes['x'] must be a non-empty 1-dimensional {NUMBERS}, got 0.1"),
        (sweep(progress=1), "progress must be True or False, got 1"),
        (sweep(make_optimizer=lambda sizes: optax.lbfgs()), f"the optimizer must be {MORE}"),
    ],
    "trace": [
        (lambda: TRACE.average(np.ones(7)), f"{ROWS}, got 'shape (7,), type float64'"),
        (lambda: TRACE.average(KEY), f"{ROWS}, got 'shape (), type object'"),
        (lambda: TRACE.average([[1, 2], [3]]), f"{ROWS}, got 'shape (), type object'"),
        (lambda: TRACE.average(3.0), f"{ROWS}, got 'shape (), type float64'"),
        (lambda: TRACE.average(TRACE.gradient_norm_sq), f"{ROWS}, got 'shape (), type object'"),
        (lambda: TRACE.average(None), f"{ROWS}, got 'shape (), type object'"),
        (
            lambda: dataclasses.replace(TRACE, every_step=True).average_over_steps(np.ones(3)),
            f"{ROWS}, got 'shape (3,), type float64'",
        ),
    ],
}


@pytest.mark.parametrize("call, message", cases(DOORS))
def test_bad_input_is_refused_by_name_rule_and_value(call, message):
    check_refusal(call, message)


def test_a_near_miss_is_answered_with_the_word_that_was_meant():
    with pytest.raises(ValueError, match=re.escape("(did you mean 'rademacher'?)")):
        tl.TwoPoint(1e-3, law="Rademacher")


def test_what_jax_is_tracing_passes_unchecked():
    """Whoever traces a factory has called it with concrete values before."""
    radii = jnp.array([0.1, -0.1])
    slopes = jax.vmap(lambda r: tl.TwoPoint(r, law="rademacher")(lambda z: 3 * z[0], jnp.zeros(1), KEY).gradient[0])(radii)
    np.testing.assert_allclose(slopes, 3.0, rtol=1e-12)
    tl.hybrid_sgd({"x": optax.constant_schedule(0.1), "y": optax.adam(1e-3)})


@pytest.mark.parametrize("good", [1, 0.5, np.float32(0.5), np.int64(2), np.array(0.5), jnp.array(0.5)])
def test_every_kind_of_real_number_is_welcome(good):
    assert tl.TwoPoint(good).radius == float(good)
    assert type(tl.TwoPoint(good).radius) is float
    assert tl.block_quadratic(SIZES, smoothness=good).constants.smoothness == {"x": float(good), "y": float(good)}


def test_a_radius_is_held_against_the_precision_of_the_run():
    message = "radius must be within 1.2e-38..1.7e+38 for float32, got 1e-60"
    check_refusal(run(problem=PROBLEM.astype("float32"), oracle=tl.TwoPoint(1e-60)), message)
    point = {"x": jnp.zeros(2, jnp.float32)}
    check_refusal(lambda: tl.measure.oracles.moments(tl.TwoPoint(1e-60), total, point, KEY), message)


def test_schedules_count_component_steps():
    """Four components, two epochs: the schedule sees the counts 0, ..., 7, so a step of 0 from count 4 freezes epoch 2."""
    schedule = optax.piecewise_constant_schedule(0.1, {4: 0.0})
    trace = run(oracle=tl.FirstOrder(), optimizer=tl.hybrid_sgd({"x": schedule, "y": schedule}))()
    assert trace.value[0] > trace.value[1] == trace.value[2]


def test_a_transformation_of_gradients_state_and_parameters_is_welcome():
    optimizer = tl.hybrid_sgd(
        {"x": optax.chain(optax.clip(1.0), optax.adamw(1e-3)), "y": optax.masked(optax.sgd(0.1), True)}
    )
    optimizer.init({"x": jnp.ones(2), "y": jnp.ones(2)})
