"""The doors of the problems: their factories, constants, precision and data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import theory_lab as tl
from tests.doors.refusals import A_KEY, INF, KEY, KEYS, LABELS, NAN, NUMBERS, PROBLEM, SIZES, cases, check_refusal
from theory_lab.problems import data, hard

ROWS = [[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]]
EXAMPLES = jnp.asarray(ROWS)
FLOAT32 = "within 1.1e-19..1.8e+19, whose squares float32 holds"
COLUMNS = {"x": [0], "y": [1]}


def quadratic(dimensions=SIZES, **options):
    return lambda: tl.block_quadratic(dimensions, **options)


def logistic(features=ROWS, labels=(0, 1, 1), columns=COLUMNS, l2=0.1):
    return lambda: tl.logistic(features, labels, columns=columns, l2=l2)


def loss(z, example):
    return jnp.sum(z["x"] * example)


def one_argument(z):
    return jnp.sum(z["x"])


def untraceable(z, e):
    return float(z["x"][0]) * e


def finite_sum(loss=loss, examples=EXAMPLES, params=None, **options):
    return lambda: tl.finite_sum(loss, examples, {"x": jnp.zeros(2)} if params is None else params, **options)


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
        (quadratic(key=KEYS), "key must be a single key, got 'an array of keys of shape (3,)'"),
        (quadratic(key=np.arange(3)), f"key must be {A_KEY}, got array([0, 1, 2])"),
        (quadratic(rotated="yes"), "rotated must be True or False, got 'yes'"),
        (
            quadratic(smoothness=1e300),
            "smoothness must be within 1.5e-154..1.3e+154, whose squares float64 holds, got 1e+300",
        ),
        (quadratic(n=np.array([3])), "n must be a whole number of at least 1, got array([3])"),
        (quadratic(n=np.float64(3)), "n must be a whole number of at least 1, got np.float64(3.0)"),
        (quadratic(n=np.bool_(True)), "n must be a whole number of at least 1, got np.True_"),
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
        (logistic(labels=[0, "a", 0]), "labels must be all numbers or all strings, got ['int', 'str']"),
        (logistic(labels=KEY), f"labels must be one per row of features (3), got {KEY!r}"),
        (logistic(labels=[[0], [1, 2], 3]), "labels must be one per row of features (3), got [[0], [1, 2], 3]"),
        (
            logistic(features=scipy.sparse.csr_array(ROWS)),
            "features must be a dense array (.toarray() makes one of a sparse matrix), got 'csr_array'",
        ),
        (
            logistic(columns={"x": slice("a"), "y": [1]}),
            "columns['x'] must be a slice or a non-empty list of column numbers, got slice(None, 'a', None)",
        ),
        (
            logistic(columns={"x": [[0], [0, 1]], "y": [1]}),
            "columns['x'] must be a slice or a non-empty list of column numbers, got [[0], [0, 1]]",
        ),
    ],
    "data": [
        (lambda: data.libsvm("no/such/file"), "path must be a readable LIBSVM-format file, got 'no/such/file'"),
        (lambda: data.libsvm("."), "path must be a readable LIBSVM-format file, got '.'"),
        (lambda: data.libsvm(3), "path must be a readable LIBSVM-format file, got '3'"),
    ],
    "hard": [
        (lambda: hard.one_sided({"y": 1}, n=3, slope=1.0), "n must be even, got 3"),
        (lambda: hard.one_sided({"y": 1}, n=2, slope=0.0), "slope must be positive and finite, got 0.0"),
        (lambda: hard.minimax("y", n=2, slope=1.0, curvature=2.0), "curvature must be in (0, 1], got 2.0"),
        (lambda: hard.two_type({"y": 1}, n=0), "n must be a whole number of at least 2, got 0"),
        (lambda: hard.two_type({"y": 1}, n=2, spread=-1.0), "spread must be nonnegative and finite, got -1.0"),
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
            "params must be one non-empty vector, whose coordinates have an order, got [(2, 2)]",
        ),
    ],
    "cosine": [
        (lambda: tl.cosine({"x": 0}, n=2), "dimensions['x'] must be a whole number of at least 1, got 0"),
        (lambda: tl.cosine(SIZES, n=-2), "n must be a whole number of at least 1, got -2"),
        (lambda: tl.cosine(SIZES, n=2, smoothness=-1.0), "smoothness must be positive and finite, got -1.0"),
        (lambda: tl.cosine(SIZES, n=2, spread=-0.5), "spread must be nonnegative and finite, got -0.5"),
        (lambda: tl.cosine(SIZES, n=2, key="0"), f"key must be {A_KEY}, got '0'"),
    ],
    "geman_mcclure": [
        (lambda: tl.geman_mcclure(SIZES, n=3), "n must be a whole number of at least 4, got 3"),
        (lambda: tl.geman_mcclure(SIZES, n=8, smoothness=0), "smoothness must be positive and finite, got 0"),
        (lambda: tl.geman_mcclure(SIZES, n=8, noise=-0.1), "noise must be nonnegative and finite, got -0.1"),
        (lambda: tl.geman_mcclure(SIZES, n=8, outliers=1.0), "outliers must be in [0, 1), got 1.0"),
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
        (
            finite_sum(loss=one_argument),
            f"loss must be a function of two arguments, parameters and one example, got {one_argument!r}",
        ),
        (finite_sum(loss=untraceable), f"loss must be a function that JAX can trace, got {untraceable!r}"),
        (
            finite_sum(loss=lambda z, e: e[2], examples=(np.ones((3, 2)), np.ones(3))),
            "loss must be a function that works on params and one example, of shape ((2,), ()), "
            "got IndexError('tuple index out of range')",
        ),
        (
            finite_sum(loss=lambda z, e: z.x.sum(), examples=np.ones((3, 2))),
            "loss must be a function that works on params and one example, of shape (2,), "
            """got AttributeError("'dict' object has no attribute 'x'")""",
        ),
        (finite_sum(examples=1.0), "examples must be arrays with one common leading axis of length at least 1, got [()]"),
        (
            finite_sum(examples=np.zeros((0, 2))),
            "examples must be arrays with one common leading axis of length at least 1, got [(0, 2)]",
        ),
        (
            finite_sum(examples=(np.zeros((50, 2)), np.zeros(60))),
            "examples must be arrays with one common leading axis of length at least 1, got [(50, 2), (60,)]",
        ),
        (
            finite_sum(examples={"t": np.array(["a"] * 60)}),
            "examples must be a pytree of arrays of numbers, got {'t': '<U1 of shape (60,)'}",
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
        (finite_sum(examples=np.array([[1.0, NAN]])), "examples must be finite, got Array([[ 1., nan]], dtype=float64)"),
        (finite_sum(examples=np.full((9, 2), INF)), "examples must be finite, got 'an array of shape (9, 2)'"),
        (
            finite_sum(params={"x": jnp.array([NAN, 0.0])}),
            "params['x'] must be finite, got Array([nan,  0.], dtype=float64)",
        ),
        (finite_sum(params={"x": "a"}), "params['x'] must be arrays of numbers, got 'a'"),
        (finite_sum(params={"x": jnp.zeros(2, jnp.bfloat16)}), "params['x'] must be float32 or float64, got 'bfloat16'"),
        (
            finite_sum(optimum={"x": jnp.array([INF, 0.0])}),
            "optimum['x'] must be finite, got Array([inf,  0.], dtype=float64)",
        ),
        (
            finite_sum(constants=tl.Constants(smoothness={"z": 1.0})),
            "constants.smoothness must have the labels of the parameters ['x'], got ['z']",
        ),
        (
            finite_sum(constants=tl.Constants(dispersion={"x": 1.0, "y": 1.0})),
            "constants.dispersion must have the labels of the parameters ['x'], got ['x', 'y']",
        ),
    ],
    "astype": [
        (lambda: PROBLEM.astype(jnp.int32), "dtype must be float32 or float64, got 'int32'"),
        (lambda: PROBLEM.astype("doubble"), "dtype must be float32 or float64, got 'doubble'"),
        (lambda: PROBLEM.astype(jnp.float16), "dtype must be float32 or float64, got 'float16'"),
        (lambda: PROBLEM.astype(jnp.bfloat16), "dtype must be float32 or float64, got 'bfloat16'"),
        (
            lambda: tl.block_quadratic(SIZES, smoothness=1e60).astype("float32"),
            "dtype must be wide enough for the numbers of the problem, got 'float32'",
        ),
        (
            lambda: tl.block_quadratic(SIZES, smoothness=1e-60).astype("float32"),
            "dtype must be wide enough for the numbers of the problem, got 'float32'",
        ),
    ],
    "constants": [
        (lambda: tl.Constants("a"), f"smoothness must be {LABELS}, got 'a'"),
        (lambda: tl.Constants({"x": "a"}), "smoothness['x'] must be a real number, got 'a'"),
        (lambda: tl.Constants(pl="a"), "pl must be a real number, got 'a'"),
        (lambda: tl.Constants(growth={"x": 1.0}), "growth['x'] must be a function of the gradient's norm, got 1.0"),
    ],
}


@pytest.mark.parametrize("call, message", cases(DOORS))
def test_bad_input_is_refused_by_name_rule_and_value(call, message):
    check_refusal(call, message)


def test_float64_is_refused_where_jax_cannot_hold_it():
    with (
        jax.enable_x64(False),
        pytest.raises(ValueError, match=r"^dtype must be at most float32 unless jax_enable_x64 is on, got 'float64'$"),
    ):
        PROBLEM.astype("float64")


IN_FLOAT32 = {
    "in float32": [
        (quadratic(smoothness=1e60), f"smoothness must be {FLOAT32}, got 1e+60"),
        (quadratic(smoothness={"x": 1.0, "y": 1e-60}), f"smoothness['y'] must be {FLOAT32}, got 1e-60"),
        (quadratic(spectrum=[1e60, 1.0]), f"the largest eigenvalue of spectrum must be {FLOAT32}, got {np.float64(1e60)!r}"),
        (quadratic(n=4, dispersion=1e60), f"dispersion must be {FLOAT32}, got 1e+60"),
        (logistic([[1.0, 0.0], [0.0, 1.0]] * 2, (0, 0, 1, 1), l2=1e-60), f"l2 must be {FLOAT32}, got 1e-60"),
        (lambda: tl.cosine(SIZES, n=2, smoothness=1e-60), f"smoothness must be {FLOAT32}, got 1e-60"),
        (lambda: tl.geman_mcclure(SIZES, n=8, smoothness=1e60), f"smoothness must be {FLOAT32}, got 1e+60"),
        (lambda: tl.cosh(a=1e-60), f"a must be {FLOAT32}, got 1e-60"),
    ]
}


@pytest.mark.parametrize("call, message", cases(IN_FLOAT32))
def test_what_float32_cannot_hold_is_refused_where_problems_are_built_in_it(call, message):
    with jax.enable_x64(False):
        check_refusal(call, message)
    call()  # in float64


def test_logistic_features_whose_curvature_float32_cannot_hold_are_refused():
    features = 1e11 * np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    with (
        jax.enable_x64(False),
        pytest.raises(ValueError, match=r"^the smoothness of columns\['x'\] must be within .*, got "),
    ):
        logistic(features=features, l2=1e15)()


@pytest.mark.parametrize("line", ["1 1:nan", "1 1:inf", "nan 1:2", "1 qid:3 1:2"])
def test_libsvm_lines_that_are_no_data_of_a_classifier_are_refused(line, tmp_path):
    path = tmp_path / "some.svm"
    path.write_text(f"0 1:1 2:3\n{line}\n")
    check_refusal(
        lambda: data.libsvm(path),
        f"path must be a LIBSVM-format file of finite numbers without query ids, got {str(path)!r}",
    )


def test_libsvm_counts_from_one_unless_a_zero_occurs(tmp_path):
    one, zero = tmp_path / "one.svm", tmp_path / "zero.svm"
    one.write_text("1 1:5 2:6\n0 2:7\n")
    zero.write_text("1 0:5 1:6\n0 1:7\n")
    for path in (one, zero):
        features, labels = data.libsvm(path)
        assert (features.tolist(), labels.tolist()) == ([[5.0, 6.0], [0.0, 7.0]], [1.0, 0.0])


@pytest.mark.parametrize("three", [3, np.int64(3), np.array(3), jnp.int32(3), np.uint8(3)])
def test_every_kind_of_whole_number_is_welcome(three):
    problem = tl.block_quadratic({"x": three}, n=three)
    assert (problem.n, type(problem.n), problem.optimum["x"].shape) == (3, int, (3,))


def test_examples_may_hold_whole_numbers_and_keys():
    examples = {"row": jnp.arange(3), "key": jax.random.split(jax.random.key(0), 3)}
    noisy = lambda z, example: z["x"][0] * example["row"] + jax.random.normal(example["key"])
    assert finite_sum(noisy, examples)().n == 3
