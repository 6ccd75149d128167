"""Sums over components: in chunks, of chosen ones, and from minibatches with intervals for the whole."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import theory_lab as tl
from tests.cases import PROBLEMS
from theory_lab.measure import smoothness
from theory_lab.measure.smoothness import lanczos
from theory_lab.measure.smoothness.components import over
from theory_lab.measure.smoothness.minibatches import sampled_extremes, sampled_trace

KEY = jax.random.key(0)
N, SIZES = 40, {"x": 8, "y": 4}


def loss(z, example):
    """A component: logistic, with a coupling of the blocks by the features."""
    a, b, scale = example
    return jnp.logaddexp(0.0, a @ z["x"] + b @ z["y"]) + scale * jnp.sum(z["x"] ** 2) * z["y"][0] ** 2


def problem(seed: int):
    rng = np.random.default_rng(seed)
    examples = (rng.standard_normal((N, 8)), rng.standard_normal((N, 4)), 0.02 * rng.exponential(size=N))
    return tl.finite_sum(loss, examples, {"x": jnp.full(8, 0.3), "y": jnp.full(4, -0.5)})


PROBLEM = problem(0)
POINT = PROBLEM.init(KEY)


@jax.jit
def hessians(point):
    """Of all components, (n, d, d)."""
    flat, unflatten = jax.flatten_util.ravel_pytree(point)
    return jax.vmap(lambda i: jax.hessian(lambda v: PROBLEM.component(unflatten(v), i))(flat))(jnp.arange(N))


ALL = np.asarray(hessians(POINT))


@pytest.mark.parametrize("chunk", [1, 7, 40, 64])
@pytest.mark.parametrize("indices", [None, [3], [5, 5, 5, 0, 39], list(range(0, 40, 3))])
def test_the_value_and_the_products_are_those_of_the_mean_of_the_chosen(chunk, indices):
    """Whatever the chunk: also where the last one is not full, and where an index is chosen more than once."""
    fn, args = over(PROBLEM, indices, chunk=chunk)
    own = ALL.mean(0) if indices is None else ALL[indices].mean(0)
    low, high = smoothness.extreme_eigenvalues(fn, POINT, key=KEY, args=args)
    assert (low.value, high.value) == pytest.approx(tuple(np.linalg.eigvalsh(own)[[0, -1]]), rel=1e-9)
    values = [float(PROBLEM.component(POINT, jnp.int32(i))) for i in (range(N) if indices is None else indices)]
    assert float(fn(POINT, *args)) == pytest.approx(np.mean(values), rel=1e-12)


@pytest.mark.parametrize("name", sorted(PROBLEMS))
def test_every_problem_of_the_zoo_can_be_summed_in_chunks(name):
    made = PROBLEMS[name].problem()
    point = made.init(KEY)
    fn, args = over(made, chunk=2)
    assert float(fn(point, *args)) == pytest.approx(float(made.value(point)), rel=1e-9)


@pytest.mark.optimized
def test_memory_is_that_of_a_chunk():
    """A component that holds 10^5 numbers: eight at a time, however many there are."""
    wide = lambda z, e: jnp.sum(jnp.sin(z["x"][:, None] * e))
    taken = {}
    for n in (16, 64):
        made = tl.finite_sum(wide, jnp.ones((n, 1000)), {"x": jnp.ones(100)})
        fn, args = over(made, chunk=8)
        product = jax.jit(lambda point, v, args, fn=fn: jax.jvp(lambda p: jax.grad(fn)(p, *args), (point,), (v,))[1])
        analysis = product.lower(made.init(KEY), made.init(KEY), args).compile().memory_analysis()
        taken[n] = analysis.temp_size_in_bytes
    assert taken[64] < 1.05 * taken[16] < 8 * 8 * 100_000 * 6


def test_other_data_and_other_indices_compile_nothing():
    lanczos._krylov.clear_cache()
    for made, indices in ((PROBLEM, [1, 2, 3]), (PROBLEM, [4, 5, 6]), (problem(1), [7, 8, 9])):
        fn, args = over(made, indices, chunk=2)
        smoothness.extreme_eigenvalues(fn, POINT, key=KEY, args=args)
        assert lanczos._krylov._cache_size() == 1


def honest(covered, level):
    return sum(covered) >= stats.binom.ppf(1e-3, len(covered), level)


def test_the_trace_from_minibatches_covers_as_often_as_it_says():
    truth, covered, narrow = np.trace(ALL.mean(0)), [], []
    for seed in range(200):
        found = sampled_trace(PROBLEM, POINT, key=jax.random.key(seed), batch_size=4, batches=32, confidence=0.9)
        covered.append(found.low <= truth <= found.high)
        narrow.append(abs(found.value - truth) <= (found.high - found.low) / 4)
    assert honest(covered, 0.9)
    assert not honest(narrow, 0.9)
    assert (found.products, found.samples) == (4 * 32, 32)
    block = sampled_trace(PROBLEM, POINT, key=KEY, batch_size=4, batches=400, block="y", scaling={"x": 2.0, "y": 4.0})
    assert block.low <= np.trace(ALL.mean(0)[8:, 8:]) / 4 <= block.high
    assert block.high - block.low < 0.5 * block.value


def in_single(tree):
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), tree)


def test_samples_that_are_all_alike_are_trusted_as_far_as_single_precision():
    for seed, curvature in enumerate(np.random.default_rng(0).uniform(0.1, 1.0, size=8).astype(np.float32)):
        same = {"x": float(curvature), "y": float(curvature)}
        problem = in_single(tl.block_quadratic({"x": 401, "y": 100}, n=5, smoothness=same))
        point = in_single(problem.init(KEY))
        found = sampled_trace(problem, point, key=jax.random.key(seed), batches=8)
        assert found.low < 501 * float(curvature) < found.high
        assert found.high - found.low < 1e-5 * found.value


def test_the_ends_from_minibatches_enclose_those_of_the_whole_as_often_as_they_say():
    """The inner side by fresh quotients, the outer by convexity; without the fresh ones it would err."""
    lowest, highest = np.linalg.eigvalsh(ALL.mean(0))[[0, -1]]
    covered, stale = [], []
    for seed in range(60):
        low, high = sampled_extremes(
            PROBLEM, POINT, key=jax.random.key(seed), batch_size=2, batches=9, iterations=12, probability=0.8
        )
        covered.append(low.low <= lowest <= low.high and high.low <= highest <= high.high)
        rows = np.random.default_rng(seed).integers(N, size=(8, 2))
        own = [np.linalg.eigvalsh(ALL[row].mean(0))[-1] for row in rows]
        stale.append(np.mean(own) - stats.t.ppf(0.95, 7) * np.std(own, ddof=1) / np.sqrt(8) <= highest)
    assert honest(covered, 0.8)
    assert not honest(stale, 0.95)
    assert 2 * 9 < high.products <= 2 * (9 * 12 + 2 * 8)
    assert high.samples == 8
    assert "fewer than 32" in high.note


def test_larger_minibatches_narrow_it():
    widths = {}
    for batch_size in (2, 32):
        low, high = sampled_extremes(PROBLEM, POINT, key=KEY, batch_size=batch_size, batches=33, iterations=12)
        widths[batch_size] = (high.high - high.low) + (low.high - low.low)
    assert widths[32] < 0.5 * widths[2]


def test_what_is_not_finite_has_no_opinion():
    kink = tl.finite_sum(lambda z, e: e * jnp.sum(jnp.abs(z["x"]) ** 1.5), jnp.ones(4), {"x": jnp.zeros(3)})
    found = (
        sampled_trace(kink, kink.init(KEY), key=KEY, batches=4),
        *sampled_extremes(kink, kink.init(KEY), key=KEY, batches=4),
    )
    for measured in found:
        assert np.isnan(measured.value)
        assert measured.note == "a Hessian-vector product is not finite"


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: over(loss), "problem must be a Problem, got <function loss"),
        (lambda: over(PROBLEM, chunk=0), "chunk must be a whole number of at least 1, got 0"),
        *(
            (
                lambda indices=indices: over(PROBLEM, indices),
                f"indices must be a non-empty one-dimensional array of whole numbers from 0 to 39, got {indices!r}",
            )
            for indices in ([], 3, [0.5], [-1], [40], [[1, 2]], [True], "ab")
        ),
        (lambda: sampled_trace(3, POINT, key=KEY), "problem must be a Problem, got 3"),
        (lambda: sampled_trace(PROBLEM, POINT, key=0), "key must be a typed PRNG key"),
        (lambda: sampled_trace(PROBLEM, POINT, key=KEY, batches=1), "batches must be a whole number of at least 2, got 1"),
        (
            lambda: sampled_trace(PROBLEM, POINT, key=KEY, batch_size=0),
            "batch_size must be a whole number of at least 1, got 0",
        ),
        (lambda: sampled_trace(PROBLEM, POINT, key=KEY, confidence=1.0), "confidence must be in (0, 1), got 1.0"),
        (lambda: sampled_trace(PROBLEM, {"x": POINT["x"]}, key=KEY), "params must have the labels of the problem"),
        (
            lambda: sampled_extremes(PROBLEM, POINT, key=KEY, batches=2),
            "batches must be a whole number of at least 3, got 2",
        ),
        (
            lambda: sampled_extremes(PROBLEM, POINT, key=KEY, iterations=0),
            "iterations must be a whole number of at least 1, got 0",
        ),
        (lambda: sampled_extremes(PROBLEM, POINT, key=KEY, probability=0.0), "probability must be in (0, 1), got 0.0"),
        (lambda: sampled_extremes(PROBLEM, POINT, key=KEY, block="z"), "block must be one of 'x', 'y', got 'z'"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        call()
