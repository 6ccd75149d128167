"""Bad input at every public door is answered by name, rule and value: "{name} must be {rule}, got {value!r}"."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import theory_lab as tl
from theory_lab.problems import data, hard

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 3)
NAN, INF = math.nan, math.inf
SIZES = {"x": 2, "y": 2}
ROWS = [[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]]
EXAMPLES = jnp.asarray(ROWS)
COLUMNS = {"x": [0], "y": [1]}

PROBLEM = tl.block_quadratic(SIZES, n=4)
HYBRID = tl.Hybrid({"x": tl.TwoPoint(1e-3), "y": tl.FirstOrder()})


def quadratic(dimensions=SIZES, **options):
    return lambda: tl.block_quadratic(dimensions, **options)


def logistic(features=ROWS, labels=(0, 1, 1), columns=COLUMNS, l2=0.1):
    return lambda: tl.logistic(features, labels, columns=columns, l2=l2)


def run(problem=PROBLEM, oracle=HYBRID, optimizer=None, **options):
    optimizer = tl.hybrid_sgd({"x": 0.1, "y": 0.1}) if optimizer is None else optimizer
    return lambda: tl.run(problem, oracle, optimizer, **{"epochs": 2, "key": KEY, **options})


def sweep(problem=PROBLEM, oracle=HYBRID, make_optimizer=tl.hybrid_sgd, **options):
    given = {"step_sizes": {"x": [0.1], "y": [0.1]}, "epochs": 2, "keys": KEYS, **options}
    return lambda: tl.sweep(problem, oracle, make_optimizer, **given)


def claim(relation="at most", predicted=1.0, **options):
    return lambda: tl.claim("a name", "a source", relation, predicted, **options)


def loss(z, example):
    return jnp.sum(z["x"] * example)


def finite_sum(loss=loss, examples=EXAMPLES, params=None, **options):
    return lambda: tl.finite_sum(loss, examples, {"x": jnp.zeros(2)} if params is None else params, **options)


LABELS = "a non-empty mapping from block labels (strings)"
A_KEY = "a typed PRNG key, as jax.random.key(seed) makes"
ORACLE_RULE = "FirstOrder(), TwoPoint(...) or another block oracle"
ORDERING_RULE = "ordering must be a function (key, epoch, n) -> (4,) integer indices"
NUMBERS = "array of finite real numbers"

DOORS = {
    "block_quadratic": [
        (quadratic({}), f"dimensions must be {LABELS}, got {{}}"),
        (quadratic([2, 2]), f"dimensions must be {LABELS}, got [2, 2]"),
        (quadratic({1: 2}), f"dimensions must be {LABELS}, got {{1: 2}}"),
        (quadratic({"": 2}), f"dimensions must be {LABELS}, got {{'': 2}}"),
        (quadratic({"x": 0}), "dimensions['x'] must be a whole number of at least 1, got 0"),
        (quadratic({"x": -3}), "dimensions['x'] must be a whole number of at least 1, got -3"),
        (quadratic({"x": 2.0}), "dimensions['x'] must be a whole number of at least 1, got 2.0"),
        (quadratic({"x": True}), "dimensions['x'] must be a whole number of at least 1, got True"),
        (quadratic(n=0), "n must be a whole number of at least 1, got 0"),
        (quadratic(n="4"), "n must be a whole number of at least 1, got '4'"),
        (quadratic(smoothness=0.0), "smoothness must be positive and finite, got 0.0"),
        (quadratic(smoothness=-1.0), "smoothness must be positive and finite, got -1.0"),
        (quadratic(smoothness=NAN), "smoothness must be positive and finite, got nan"),
        (quadratic(smoothness=1j), "smoothness must be positive and finite, got 1j"),
        (quadratic(smoothness={"x": 1.0, "y": INF}), "smoothness['y'] must be positive and finite, got inf"),
        (quadratic(smoothness={"x": 1.0}), "smoothness must have the labels of dimensions ['x', 'y'], got ['x']"),
        (quadratic(smoothness={"x": 1.0, 3: 1.0}), "smoothness must have the labels of dimensions ['x', 'y'], got [3, 'x']"),
        (quadratic(coupling=1), "coupling must be in [0, 1), got 1"),
        (quadratic(coupling=-0.1), "coupling must be in [0, 1), got -0.1"),
        (quadratic({"x": 2}, coupling=0.5), "coupling must be 0 unless there are exactly two blocks (here ['x']), got 0.5"),
        (quadratic(spectrum="flatt"), "spectrum must be one of 'flat', got 'flatt' (did you mean 'flat'?)"),
        (quadratic(spectrum=("law", 1.0)), "spectrum[0] must be one of 'power', got 'law'"),
        (quadratic(spectrum=("power", -1.0)), "spectrum[1], the exponent, must be nonnegative and finite, got -1.0"),
        (quadratic(spectrum=["a", "b"]), f"spectrum must be a non-empty 1-dimensional {NUMBERS}, got ['a', 'b']"),
        (quadratic(spectrum=[1.0, NAN]), f"spectrum must be a non-empty 1-dimensional {NUMBERS}, got [1.0, nan]"),
        (quadratic(spectrum=[[1.0], [1.0]]), f"spectrum must be a non-empty 1-dimensional {NUMBERS}, got [[1.0], [1.0]]"),
        (
            quadratic(spectrum=[1.0, -1.0]),
            "spectrum must be 'flat', ('power', p) or nonnegative eigenvalues, not all zero, got [1.0, -1.0]",
        ),
        (
            quadratic(spectrum=[0.0, 0.0]),
            "spectrum must be 'flat', ('power', p) or nonnegative eigenvalues, not all zero, got [0.0, 0.0]",
        ),
        (quadratic(spectrum=[1.0]), "spectrum['x'] must be 2 eigenvalues, one per dimension, got [1.0]"),
        (quadratic(n=4, heterogeneity=-1.0), "heterogeneity must be nonnegative and finite, got -1.0"),
        (quadratic(n=4, heterogeneity=1.5), "heterogeneity must be at most 1 for convex components, got 1.5"),
        (quadratic(heterogeneity=0.5), "n must be at least 2 where heterogeneity or dispersion is positive, got 1"),
        (
            quadratic(n=2, heterogeneity=0.5, components="indefinite"),
            "n must be at least 3 for indefinite components (two reflections with sum 0 commute), got 2",
        ),
        (
            quadratic(n=4, components="commute"),
            "components must be one of 'convex', 'commuting', 'indefinite', got 'commute' (did you mean 'commuting'?)",
        ),
        (quadratic(dispersion=1.0), "n must be at least 2 where heterogeneity or dispersion is positive, got 1"),
        (quadratic(n=4, dispersion={"x": -1.0, "y": 0.0}), "dispersion['x'] must be nonnegative and finite, got -1.0"),
        (quadratic(key=0), f"key must be {A_KEY}, got 0"),
        (quadratic(key=np.zeros(2, np.uint32)), f"key must be {A_KEY}, got array([0, 0], dtype=uint32)"),
    ],
    "logistic": [
        (logistic(features=[]), f"features must be a non-empty 2-dimensional {NUMBERS}, got []"),
        (
            logistic(features=np.zeros((0, 3))),
            f"features must be a non-empty 2-dimensional {NUMBERS}, got {np.zeros((0, 3))!r}",
        ),
        (logistic(features=[1.0, 2.0]), f"features must be a non-empty 2-dimensional {NUMBERS}, got [1.0, 2.0]"),
        (
            logistic(features=[[1.0], [1.0, 2.0]]),
            f"features must be a non-empty 2-dimensional {NUMBERS}, got [[1.0], [1.0, 2.0]]",
        ),
        (
            logistic(features=np.full((3, 3), NAN)),
            f"features must be a non-empty 2-dimensional {NUMBERS}, got an array of shape (3, 3) with non-finite entries",
        ),
        (logistic(labels=[0, 1]), "labels must be one per row of features (3), got an array of shape (2,)"),
        (logistic(labels=[1, 1, 1]), "labels must be binary (exactly two distinct values), got [1]"),
        (logistic(labels=["a", "b", "c"]), "labels must be binary (exactly two distinct values), got ['a', 'b', 'c']"),
        (logistic(labels=[0.0, NAN, 1.0]), "labels must be finite, got non-finite entries"),
        (logistic(labels=[None, "a", "b"]), "labels must be all numbers or all strings, got ['NoneType', 'str']"),
        (logistic(columns={}), f"columns must be {LABELS}, got {{}}"),
        (logistic(columns={"x": []}), "columns['x'] must be a slice or a non-empty list of column numbers, got []"),
        (
            logistic(columns={"x": [0.0], "y": [1.0]}),
            "columns['x'] must be a slice or a non-empty list of column numbers, got [0.0]",
        ),
        (logistic(columns={"x": 0, "y": 1}), "columns['x'] must be a slice or a non-empty list of column numbers, got 0"),
        (
            logistic(columns={"x": [0, 1], "y": [1]}),
            "columns must be a partition of the 2 columns of features, each in one block, got {'x': [0, 1], 'y': [1]}",
        ),
        (
            logistic(columns={"x": [0]}),
            "columns must be a partition of the 2 columns of features, each in one block, got {'x': [0]}",
        ),
        (logistic(l2=0.0), "l2 must be positive and finite, got 0.0"),
    ],
    "data": [
        (lambda: data.libsvm("no/such/file"), "path must be a readable LIBSVM-format file, got 'no/such/file'"),
        (lambda: data.libsvm("."), "path must be a readable LIBSVM-format file, got '.'"),
        (lambda: data.libsvm(3), "path must be a readable LIBSVM-format file, got '3'"),
    ],
    "cosine": [
        (lambda: tl.cosine({"x": 0}, n=2), "dimensions['x'] must be a whole number of at least 1, got 0"),
        (lambda: tl.cosine(SIZES, n=-2), "n must be a whole number of at least 1, got -2"),
        (lambda: tl.cosine(SIZES, n=2, smoothness=-1.0), "smoothness must be positive and finite, got -1.0"),
        (lambda: tl.cosine(SIZES, n=2, spread=-0.5), "spread must be nonnegative and finite, got -0.5"),
        (lambda: tl.cosine(SIZES, n=2, key="0"), f"key must be {A_KEY}, got '0'"),
    ],
    "hard": [
        (lambda: hard.one_sided({"y": 1}, n=3, slope=1.0), "n must be even, got 3"),
        (lambda: hard.one_sided({"y": 1}, n=2, slope=0.0), "slope must be positive and finite, got 0.0"),
        (lambda: hard.minimax("y", n=2, slope=1.0, curvature=2.0), "curvature must be in (0, 1], got 2.0"),
        (lambda: hard.two_type({"y": 1}, n=0), "n must be a whole number of at least 2, got 0"),
        (lambda: hard.two_type({"y": 1}, n=2, spread=-1.0), "spread must be nonnegative and finite, got -1.0"),
    ],
    "geman_mcclure": [
        (lambda: tl.geman_mcclure(SIZES, n=3), "n must be a whole number of at least 4, got 3"),
        (lambda: tl.geman_mcclure(SIZES, n=8, smoothness=0), "smoothness must be positive and finite, got 0"),
        (lambda: tl.geman_mcclure(SIZES, n=8, noise=-0.1), "noise must be nonnegative and finite, got -0.1"),
        (lambda: tl.geman_mcclure(SIZES, n=8, outliers=1.0), "outliers must be in [0, 1), got 1.0"),
    ],
    "matrix_factorisation": [
        (lambda: tl.matrix_factorisation(0, 2, 1), "rows must be a whole number of at least 1, got 0"),
        (lambda: tl.matrix_factorisation(2, 2.0, 1), "columns must be a whole number of at least 1, got 2.0"),
        (lambda: tl.matrix_factorisation(2, 2, -1), "rank must be a whole number of at least 1, got -1"),
        (lambda: tl.matrix_factorisation(2, 2, 1, decay=-0.1), "decay must be nonnegative and finite, got -0.1"),
        (lambda: tl.matrix_factorisation(2, 2, 1, n=0), "n must be a whole number of at least 1, got 0"),
        (
            lambda: tl.matrix_factorisation(2, 2, 1, dispersion=1.0),
            "n must be at least 2 where dispersion is positive, got 1",
        ),
        (
            lambda: tl.matrix_factorisation(1, 1, 1, target=1.0),
            f"target must be a non-empty 2-dimensional {NUMBERS}, got 1.0",
        ),
        (lambda: tl.matrix_factorisation(2, 1, 1, target=[[1.0]]), "target must be of shape (2, 1), got 'shape (1, 1)'"),
        (lambda: tl.matrix_factorisation(2, 2, 1, key=0), f"key must be {A_KEY}, got 0"),
    ],
    "chain and its oracle": [
        (lambda: tl.chain(0), "length must be a whole number of at least 1, got 0"),
        (lambda: tl.Progress(0.0), "probability must be in (0, 1], got 0.0"),
        (lambda: tl.Progress(1.5), "probability must be in (0, 1], got 1.5"),
        (lambda: tl.Progress(0.5, threshold=-1.0), "threshold must be nonnegative and finite, got -1.0"),
        (
            lambda: tl.Progress(0.5)(lambda z: z.sum(), jnp.ones((2, 2)), KEY),
            "params must be one vector, whose coordinates have an order, got [(2, 2)]",
        ),
    ],
    "separable": [
        (lambda: tl.cosh(a=0.0), "a must be positive and finite, got 0.0"),
        (lambda: tl.cosh(b=NAN), "b must be positive and finite, got nan"),
        (lambda: tl.exponential(a=-1), "a must be positive and finite, got -1"),
        (lambda: tl.exponential(b=0), "b must be positive and finite, got 0"),
        (lambda: tl.power(2), "p must be greater than 2 (2 is a quadratic, less has no bounded curvature), got 2"),
        (lambda: tl.separable({}, tl.cosh()), f"dimensions must be {LABELS}, got {{}}"),
        (
            lambda: tl.separable(SIZES, "cosh"),
            "profiles must be a profile: cosh(...), exponential(...) or power(...), got 'cosh'",
        ),
        (
            lambda: tl.separable(SIZES, {"x": tl.cosh()}),
            "profiles must have the labels of dimensions ['x', 'y'], got ['x']",
        ),
        (
            lambda: tl.separable(SIZES, tl.cosh(), coupling=1.5),
            "coupling must be at most 1, up to which the minimum is known to stay at the origin, got 1.5",
        ),
        (
            lambda: tl.separable({"x": 2}, tl.cosh(), coupling=0.5),
            "coupling must be 0 unless there are exactly two blocks (here ['x']), got 0.5",
        ),
        (lambda: tl.separable(SIZES, tl.cosh(), dispersion=1.0), "n must be at least 2 where dispersion is positive, got 1"),
    ],
    "finite_sum": [
        (finite_sum(loss="mse"), "loss must be a function of parameters and one example, got 'mse'"),
        (finite_sum(examples=1.0), "examples must be arrays with one common leading axis of length at least 1, got [0]"),
        (
            finite_sum(examples=np.zeros((0, 2))),
            "examples must be arrays with one common leading axis of length at least 1, got [0]",
        ),
        (finite_sum(examples=("a", "b")), "examples must be a pytree of arrays of numbers, got ('a', 'b')"),
        (
            finite_sum(optimum={"y": jnp.zeros(2)}),
            "optimum must have the labels of the problem ['x'], got ['y']",
        ),
        (finite_sum(optimum={"x": jnp.zeros(3)}), "optimum['x'] must be of shape (2,), got (3,)"),
        (
            finite_sum(params={"x": jnp.zeros(0)}),
            "params['x'] must be of dimension at least 1, got Array([], shape=(0,), dtype=float64)",
        ),
        (finite_sum(constants={"smoothness": 1.0}), "constants must be Constants or None, got {'smoothness': 1.0}"),
        (
            finite_sum(constants=tl.Constants(smoothness={"x": -1.0})),
            "smoothness['x'] must be nonnegative and finite, got -1.0",
        ),
        (
            finite_sum(constants=tl.Constants(dispersion={"x": NAN})),
            "dispersion['x'] must be nonnegative and finite, got nan",
        ),
        (finite_sum(constants=tl.Constants(pl=-0.1)), "pl must be nonnegative and finite, got -0.1"),
        (finite_sum(constants=tl.Constants(optimal_value=INF)), "optimal_value must be a finite real number, got inf"),
        (lambda: tl.Constants(smoothness=1.0), f"smoothness must be {LABELS}, got 1.0"),
        (lambda: tl.Constants(growth={}), f"growth must be {LABELS}, got {{}}"),
        (finite_sum(params={}), f"params must be {LABELS}, got {{}}"),
        (finite_sum(params={"x": jnp.zeros(2, int)}), "params['x'] must be float32 or float64, got 'int64'"),
        (
            finite_sum(loss=lambda z, e: z["x"] * e),
            "loss must be scalar and floating point, got ShapeDtypeStruct(shape=(2,), dtype=float64)",
        ),
    ],
    "astype": [
        (lambda: PROBLEM.astype(jnp.int32), "dtype must be float32 or float64, got 'int32'"),
        (lambda: PROBLEM.astype("doubble"), "dtype must be float32 or float64, got 'doubble'"),
    ],
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
    ],
    "run": [
        (run(problem="quadratic"), "problem must be a Problem, got 'quadratic'"),
        (run(oracle=tl.FirstOrder), f"oracle must be an Oracle, got {tl.FirstOrder!r}"),
        (run(optimizer=0.1), "optimizer must be an optax transformation (init, update), got 0.1"),
        (
            run(ordering="random_reshuffling"),
            f"{ORDERING_RULE}, got 'random_reshuffling'",
        ),
        (
            run(ordering=lambda key, epoch, n: jnp.arange(n - 1)),
            f"{ORDERING_RULE}, got ShapeDtypeStruct(shape=(3,), dtype=int64)",
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
        (sweep(keys=KEY), f"keys must be a non-empty one-dimensional array of keys, as jax.random.split makes, got {KEY!r}"),
        (
            sweep(keys=KEYS[:0]),
            f"keys must be a non-empty one-dimensional array of keys, as jax.random.split makes, got {KEYS[:0]!r}",
        ),
        (sweep(keys=[0, 1]), f"keys must be {A_KEY}, got [0, 1]"),
        (
            sweep(make_optimizer=None),
            "make_optimizer must be a function from {label: step size} to an optax transformation, got None",
        ),
        (sweep(epochs=-1), "epochs must be a whole number of at least 1, got -1"),
        (lambda: tl.step_size_grid(), f"axes must be {LABELS}, got {{}}"),
        (lambda: tl.step_size_grid(x=[0.1, "a"]), f"axes['x'] must be a non-empty 1-dimensional {NUMBERS}, got [0.1, 'a']"),
        (lambda: tl.step_size_grid(x=0.1), f"axes['x'] must be a non-empty 1-dimensional {NUMBERS}, got 0.1"),
    ],
    "claims": [
        (
            claim("equal", tolerance=0.1),
            "relation must be one of 'equals', 'at most', 'at least', got 'equal' (did you mean 'equals'?)",
        ),
        (claim(predicted="1.0"), "predicted must be a real number, got '1.0'"),
        (claim(predicted=None), "predicted must be a real number, got None"),
        (claim("equals"), "tolerance must be positive for 'equals' and zero otherwise, got 0.0"),
        (claim("at most", tolerance=0.1), "tolerance must be positive for 'equals' and zero otherwise, got 0.1"),
        (claim("equals", tolerance=-0.1), "tolerance must be nonnegative and finite, got -0.1"),
        (claim("equals", tolerance=NAN), "tolerance must be nonnegative and finite, got nan"),
        (claim(expected="fail"), "expected must be one of 'holds', 'fails', got 'fail' (did you mean 'fails'?)"),
        (claim(expected="undecided"), "expected must be one of 'holds', 'fails', got 'undecided'"),
        (claim(expected="fails"), "why must be a reason wherever the claim is expected to fail, got ''"),
        (claim(unmet="not smooth"), "unmet must be a sequence of statements, not one string, got 'not smooth'"),
    ],
    "measurements": [
        (lambda: tl.measure.mean("m", [1.0]), "the number of samples must be a whole number of at least 2, got 1"),
        (lambda: tl.measure.mean("m", ["a", "b"]), "samples must be numbers, got ['a', 'b']"),
        (lambda: tl.measure.mean("m", [1.0, 2.0], confidence=1), "confidence must be in (0, 1), got 1"),
        (lambda: tl.measure.mean("m", [1.0, 2.0], confidence=95), "confidence must be in (0, 1), got 95"),
    ],
}

CASES = [
    pytest.param(call, message, id=f"{door}-{i}") for door, cases in DOORS.items() for i, (call, message) in enumerate(cases)
]


@pytest.mark.parametrize("call, message", CASES)
def test_bad_input_is_refused_by_name_rule_and_value(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}($|\n)"):  # JAX may add a line on tracebacks
        call()
    assert re.match(r".+ must (be|have) .+, got .+", message, re.DOTALL)


def test_float64_is_refused_where_jax_cannot_hold_it():
    with (
        jax.enable_x64(False),
        pytest.raises(ValueError, match=r"^dtype must be at most float32 unless jax_enable_x64 is on, got 'float64'$"),
    ):
        PROBLEM.astype("float64")


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
