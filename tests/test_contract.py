"""The laws that every member of the zoo obeys. See cases.py for how to join."""

import math
from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import stats

import theory_lab as tl
from tests.cases import ORACLES, ORDERINGS, PROBLEMS
from theory_lab.blocks import size
from theory_lab.oracles import Cost, directions
from theory_lab.run.loop import groups

ROUNDINGS = 64 * np.finfo(np.float64).eps  # what rounding may change in a value of size 1: some dozens of operations
RARE = 1e-6  # the probability that a statistical test fails by chance, were its key not fixed

# ---------------------------------------------------------------------------------------------------------- problems

problems = pytest.mark.parametrize("name", PROBLEMS)


def declaring(field: str) -> pytest.MarkDecorator:
    """The problems that declare a constant; of the others its law says nothing."""
    return pytest.mark.parametrize(
        "name", [n for n, c in PROBLEMS.items() if getattr(c.problem().constants, field) is not None]
    )


def points(name: str) -> dict:
    """Leaves (14, d_b): four points near the optimum, four further off, four far; the optimum; a point that attains D."""
    problem, attains = PROBLEMS[name].problem(), PROBLEMS[name].attains
    rng = np.random.default_rng(5)
    scales = np.repeat([0.1, 1.0, 3.0, 0.0, 0.0], [4, 4, 4, 1, 1])
    near = lambda o: o + (scales[:, None] * rng.standard_normal((14, o.size))).reshape(14, *o.shape)
    z = jax.tree.map(near, dict(problem.optimum))
    return z if attains is None else {b: z[b].at[ATTAINING].set(o) for b, o in attains(problem).items()}


OPTIMUM, ATTAINING = 12, 13


def over_components(problem: tl.Problem, fn, params):
    return jax.vmap(lambda i: fn(lambda z: problem.component(z, i), params))(jnp.arange(problem.n))


def dense(tree: dict, axes: int) -> jax.Array:
    """All blocks as one vector, in the order of `ravel_pytree`, behind that many axes."""
    flat = lambda leaves: ravel_pytree(leaves)[0]
    return (jax.vmap(flat) if axes else flat)(tree)


def unflat(problem: tl.Problem, flat: np.ndarray) -> dict:
    """Parameters from vectors (P, d), leaves (P, *shape)."""
    return jax.vmap(ravel_pytree(dict(problem.optimum))[1])(jnp.asarray(flat))


@jax.jit
def component_values(problem: tl.Problem, params: dict) -> jax.Array:
    return jax.vmap(lambda z: over_components(problem, lambda f, z: f(z), z))(params)


@jax.jit
def look_at(problem: tl.Problem, params: dict) -> dict:
    """Everything about f and its components at many points, blocks concatenated in the order of the labels."""

    def at(z: dict) -> dict:
        flat, unravel = ravel_pytree(z)
        hessian = lambda f, z: jax.hessian(lambda v: f(unravel(v)))(flat)
        values, gradients = over_components(problem, lambda f, z: jax.value_and_grad(f)(z), z)
        return {
            "z": flat,
            "values": values,  # (n,)
            "gradients": dense(gradients, 1),  # (n, d)
            "hessians": over_components(problem, hessian, z),  # (n, d, d)
            "value": problem.value(z),
            "gradient": dense(problem.gradient(z), 0),
        }

    return jax.vmap(at)(params)


@cache
def looked(name: str) -> SimpleNamespace:
    problem = PROBLEMS[name].problem()
    seen = {key: np.asarray(a) for key, a in look_at(problem, points(name)).items()}
    ends = np.cumsum([0, *(size(problem.optimum[b]) for b in sorted(problem.optimum))])
    blocks = {b: slice(*ends[i : i + 2]) for i, b in enumerate(sorted(problem.optimum))}
    return SimpleNamespace(problem=problem, constants=problem.constants, blocks=blocks, **seen)


def per_coordinate(seen: SimpleNamespace, per_block: dict) -> np.ndarray:
    """The diagonal of diag(L_b I)."""
    return np.concatenate([np.full(s.stop - s.start, float(per_block[b])) for b, s in seen.blocks.items()])


@problems
def test_value_and_gradient_are_means_of_the_components(name):
    seen = looked(name)
    np.testing.assert_allclose(seen.value, seen.values.mean(axis=1), rtol=1e-10)
    size = np.abs(seen.gradients).max()
    np.testing.assert_allclose(seen.gradient, seen.gradients.mean(axis=1), rtol=1e-10, atol=ROUNDINGS * size)


@problems
def test_gradient_is_a_finite_difference(name):
    """Central differences with h and 2h: their difference is three times the truncation error of the first, to O(h^4)."""
    seen, h = looked(name), 1e-4
    d = seen.z.shape[1]
    steps = np.concatenate([k * h * np.eye(d) for k in (1, -1, 2, -2)])
    shifted = (seen.z[:12:4, None] + steps).reshape(-1, d)  # one point of every scale
    values = np.asarray(component_values(seen.problem, unflat(seen.problem, shifted))).reshape(3, 4, d, -1)
    fine, coarse = (values[:, 0] - values[:, 1]) / (2 * h), (values[:, 2] - values[:, 3]) / (4 * h)  # (3, d, n)
    tolerance = np.abs(coarse - fine) + ROUNDINGS * np.abs(values).max(axis=1) / h
    assert (np.abs(fine - seen.gradients[:12:4].swapaxes(1, 2)) <= tolerance).all()


@declaring("smoothness")
def test_descent_inequality_holds_two_sidedly_for_every_component(name):
    """|f_i(z') - f_i(z) - <grad f_i(z), z' - z>| <= |z' - z|_D^2 / 2 for all pairs of points."""
    seen = looked(name)
    step = seen.z[None] - seen.z[:, None]  # [z, z']
    linear = np.einsum("zid,zwd->zwi", seen.gradients, step)
    remainder = np.abs(seen.values[None] - seen.values[:, None] - linear)
    allowed = step**2 @ per_coordinate(seen, seen.constants.smoothness) / 2
    slack = ROUNDINGS * (np.abs(seen.values).max() + np.abs(linear))
    assert (remainder <= allowed[:, :, None] + slack).all()


def scaled(seen: SimpleNamespace, hessians: np.ndarray) -> np.ndarray:
    """D^{-1/2} H D^{-1/2}."""
    root = np.sqrt(per_coordinate(seen, seen.constants.smoothness))
    return hessians / (root[:, None] * root)


@declaring("smoothness")
def test_smoothness_bounds_every_component_hessian_and_is_attained(name):
    seen, attains = looked(name), PROBLEMS[name].attains
    assert np.linalg.norm(scaled(seen, seen.hessians), 2, axis=(-2, -1)).max() <= 1 + 1e-10
    if attains is not None:
        hessians = seen.hessians[ATTAINING]
        assert np.linalg.norm(scaled(seen, hessians), 2, axis=(-2, -1)).max() == pytest.approx(1, rel=1e-10)


@declaring("trace")
def test_trace_bounds_every_component_hessian(name):
    """-S <= M <= S gives |M|_* <= tr S for every diagonal block M, and |S_b| <= L_b gives tr S_b <= d_b L_b."""
    seen = looked(name)
    for b, s in seen.blocks.items():
        nuclear = np.linalg.norm(seen.hessians[..., s, s], "nuc", axis=(-2, -1)).max()
        trace, smoothness = float(seen.constants.trace[b]), float(seen.constants.smoothness[b])
        assert nuclear <= trace * (1 + 1e-10)
        assert trace <= smoothness * (s.stop - s.start) * (1 + 1e-10)


@declaring("growth")
def test_growth_bounds_the_hessian_by_the_gradient(name):
    seen = looked(name)
    for gradient, hessians in zip(seen.gradient, seen.hessians, strict=True):
        bound = {b: growth(float(np.linalg.norm(gradient))) for b, growth in seen.constants.growth.items()}
        diagonal = np.diag(per_coordinate(seen, bound))
        least = min(np.linalg.eigvalsh(diagonal + sign * h).min() for h in hessians for sign in (1, -1))
        assert least >= -ROUNDINGS * diagonal.max()


@problems
def test_optimum_is_stationary_and_minimal(name):
    seen = looked(name)
    best = float(seen.constants.optimal_value)
    assert np.linalg.norm(seen.gradient[OPTIMUM]) <= 1e-10 * (1 + np.abs(seen.gradients[OPTIMUM]).max())
    assert seen.value[OPTIMUM] == pytest.approx(best, rel=1e-10, abs=1e-12)
    assert (seen.value >= best - ROUNDINGS * (1 + abs(best))).all()


@declaring("dispersion")
def test_dispersion_bounds_the_spread_of_gradients(name):
    seen = looked(name)
    deviation = seen.gradients - seen.gradients.mean(axis=1, keepdims=True)
    for b, s in seen.blocks.items():
        measured = np.mean(np.sum(deviation[..., s] ** 2, axis=2), axis=1)
        declared = float(seen.constants.dispersion[b])
        assert (measured <= declared * (1 + 1e-10) + ROUNDINGS**2).all()
        if "dispersion" in PROBLEMS[name].exact:
            size = np.abs(seen.gradients[..., s]).max()
            np.testing.assert_allclose(measured, declared, rtol=1e-10, atol=ROUNDINGS * size)


@problems
def test_strong_convexity_and_pl_constants_hold_at_random_points(name):
    seen = looked(name)
    mean_hessians = seen.hessians.mean(axis=1)
    size = np.abs(mean_hessians).max()
    if seen.constants.strong_convexity is not None:
        least = np.linalg.eigvalsh(mean_hessians).min(axis=1)
        declared = float(seen.constants.strong_convexity)
        assert (least >= declared - ROUNDINGS * size).all()
        if "strong_convexity" in PROBLEMS[name].exact:
            np.testing.assert_allclose(least, declared, atol=ROUNDINGS * size)
    if seen.constants.pl is not None:
        gap = seen.value[:OPTIMUM] - float(seen.constants.optimal_value)
        squared = np.sum(seen.gradient[:OPTIMUM] ** 2, axis=1)
        assert (squared >= 2 * float(seen.constants.pl) * gap * (1 - 1e-10)).all()


@problems
def test_declared_constants_dominate_measured_ones(name):
    seen = looked(name)
    deviation = seen.gradients - seen.gradients.mean(axis=1, keepdims=True)
    measured = {"smoothness": {}, "trace": {}, "dispersion": {}}
    for b, s in seen.blocks.items():
        measured["smoothness"][b] = np.linalg.norm(seen.hessians[..., s, s], 2, axis=(-2, -1)).max()
        measured["trace"][b] = np.linalg.norm(seen.hessians[..., s, s], "nuc", axis=(-2, -1)).max()
        spread = np.mean(np.sum(deviation[..., s] ** 2, axis=2), axis=1).max()
        measured["dispersion"][b] = max(spread * (1 - 1e-10) - (ROUNDINGS * np.abs(seen.gradients).max()) ** 2, 0)
    measured["strong_convexity"] = np.linalg.eigvalsh(seen.hessians.mean(axis=1)).min() + ROUNDINGS * seen.hessians.max()
    measured["optimal_value"] = seen.value.min()
    assert seen.constants.dominates(tl.Constants(**measured))
    for field in ("smoothness", "trace", "dispersion"):
        declared = getattr(seen.constants, field)
        if declared is not None:
            more = {b: 1.001 * value + 1e-6 for b, value in declared.items()}
            assert not seen.constants.dominates(tl.Constants(**{field: more}))


@problems
def test_problem_is_a_pytree_that_survives_the_round_trip(name):
    problem = PROBLEMS[name].problem()
    leaves, structure = jax.tree.flatten(problem)
    again = jax.tree.unflatten(structure, leaves)
    assert type(again) is type(problem)
    assert again.n == problem.n
    assert again.constants.optimal_value == problem.constants.optimal_value
    assert jax.tree.structure(again) == structure
    assert all(isinstance(leaf, (jax.Array, float)) for leaf in leaves)
    assert repr(problem).startswith(f"{type(problem).__name__}(n={problem.n}, dimensions={{")


@problems
def test_jit_changes_nothing(name):
    seen, k = looked(name), 5
    z = jax.tree.map(lambda a: a[0], unflat(seen.problem, seen.z[k : k + 1]))
    assert float(seen.problem.value(z)) == pytest.approx(seen.value[k], rel=1e-10)


@problems
def test_float32_is_float32_throughout(name):
    problem = PROBLEMS[name].problem()
    single = problem.astype(jnp.float32)
    arrays = [leaf for leaf in jax.tree.leaves(single) if isinstance(leaf, jax.Array)]
    assert arrays
    assert all(leaf.dtype == jnp.float32 for leaf in arrays)
    start = jax.eval_shape(single.init, jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(start)} == {jnp.dtype("float32")}
    value, gradient = jax.eval_shape(jax.value_and_grad(single.component), start, jnp.int32(0))
    assert {value.dtype, *(leaf.dtype for leaf in jax.tree.leaves(gradient))} == {jnp.dtype("float32")}
    seen = looked(name)
    near = jax.tree.map(lambda a: a.astype(jnp.float32), unflat(problem, seen.z[:4]))
    size = 1 + np.abs(seen.values[:4]).max() + np.abs(seen.gradients[:4]).max() * np.abs(seen.z[:4]).max()
    atol = 64 * np.finfo(np.float32).eps * size
    np.testing.assert_allclose(component_values(single, near), seen.values[:4], rtol=0, atol=atol)


# ----------------------------------------------------------------------------------------------------------- oracles

oracles = pytest.mark.parametrize("name", ORACLES)
NESTED = {"x": {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array(0.7)}, "y": jnp.array([0.3, -1.0, 2.0])}
SLOPE = jax.tree.map(lambda a: jnp.cos(7 * a) + 0.5, NESTED)
DRAWS = 8192


def bowl(params, slope, curvature):
    """<slope, z> + curvature/2 (z_0^2 + 2 z_1^2 + ...) + curvature z_0 z_last: linear, or a coupled quadratic."""
    z, g = ravel_pytree(params)[0], ravel_pytree(slope)[0]
    return jnp.dot(g, z) + curvature * (jnp.dot(jnp.arange(1, z.size + 1, dtype=z.dtype), z**2) / 2 + z[0] * z[-1])


@jax.jit
def many_queries(oracle, params, curvature, key):
    """Queries of the bowl: gradients flat (DRAWS, d), values (DRAWS,), and what was drawn, leaves (DRAWS, ...)."""
    drawn = oracle.draw(key, params, DRAWS)
    query = lambda draw: oracle.estimate(lambda z: bowl(z, SLOPE, curvature), params, draw)
    estimates = jax.vmap(query, axis_size=DRAWS)(drawn)
    return jax.vmap(lambda g: ravel_pytree(g)[0])(estimates.gradient), estimates.value, drawn


@cache
def queried(name: str, curvature: float) -> tuple:
    return jax.tree.map(np.asarray, many_queries(ORACLES[name], NESTED, curvature, jax.random.key(0)))


def largest_score(samples: np.ndarray, expected: np.ndarray, rounding: float) -> float:
    """The largest of the columns' z-scores; a column without spread must agree to rounding."""
    error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
    gap = np.abs(samples.mean(axis=0) - expected)
    return float(np.max(np.maximum(gap - rounding, 0) / np.maximum(error, 1e-300)))


def quantile(tests: int) -> float:
    return float(stats.norm.isf(RARE / tests / 2))


def rounding_of(name: str, values: float) -> float:
    """What rounding of values may do to a difference quotient of the case's smallest radius."""
    return ROUNDINGS * values / 1e-3


@oracles
@pytest.mark.parametrize("curvature", [0.0, 1.0], ids=["linear", "quadratic"])
def test_oracle_is_unbiased_on_linear_and_quadratic_functions(name, curvature):
    samples, _, _ = queried(name, curvature)
    gradient = np.asarray(ravel_pytree(jax.grad(bowl)(NESTED, SLOPE, curvature))[0])
    assert largest_score(samples, gradient, rounding_of(name, 50)) < quantile(gradient.size)


SECOND_MOMENT = {  # E|ghat|^2 / |g|^2 with one direction in dimension d; with q, the excess over 1 falls as 1/q
    "gaussian": lambda d: d + 2,
    "rademacher": lambda d: d,
    "sphere": lambda d: d,
}


@oracles
def test_second_moment_on_linear_functions_is_that_of_the_law(name):
    oracle = ORACLES[name]
    samples, _, _ = queried(name, 0.0)
    for label, start, stop in (("x", 0, 5), ("y", 5, 8)) if isinstance(oracle, tl.Hybrid) else ((None, 0, 8),):
        member = oracle.members[label] if label else oracle
        g = np.asarray(ravel_pytree(SLOPE)[0])[start:stop]
        factor = 1.0
        if isinstance(member, tl.TwoPoint):
            factor += (SECOND_MOMENT[member.law](stop - start) - 1) / member.directions
        squares = np.sum(samples[:, start:stop] ** 2, axis=1, keepdims=True)
        rounding = rounding_of(name, 50) * np.abs(samples).max()
        assert largest_score(squares, factor * (g @ g), rounding) < quantile(1)


@pytest.mark.optimized
@oracles
def test_oracle_is_a_function_of_its_key_alone(name):
    gradients, _, drawn = queried(name, 0.0)
    again = many_queries(ORACLES[name], NESTED, 0.0, jax.random.key(0))[0]
    assert np.asarray(again).tobytes() == gradients.tobytes()
    elsewhere = jax.tree.map(lambda a: a + 1.0, NESTED)  # a linear function has the same slopes everywhere
    moved = many_queries(ORACLES[name], elsewhere, 0.0, jax.random.key(0))[0]
    np.testing.assert_allclose(moved, gradients, atol=rounding_of(name, 50) * np.abs(gradients).max())
    deterministic = not jax.tree.leaves(drawn)
    assert (gradients[0] == gradients[1]).all() == deterministic
    other = many_queries(ORACLES[name], NESTED, 0.0, jax.random.key(1))[0]
    assert (np.asarray(other[0]) == gradients[0]).all() == deterministic


@oracles
def test_estimate_reports_the_value(name):
    """Exactly where the clean value is evaluated; two-sided, the mean of r^2 v'Hv / 2 beside it, with |H| <= 9."""
    _, values, drawn = queried(name, 1.0)
    oracle, exact = ORACLES[name], float(bowl(NESTED, SLOPE, 1.0))
    members = list(oracle.members.values()) if isinstance(oracle, tl.Hybrid) else [oracle]
    if any(isinstance(m, tl.FirstOrder) or m.needs_value for m in members):
        np.testing.assert_allclose(values, exact, rtol=1e-10)
    else:
        longest = sum(np.square(leaf).reshape(DRAWS, -1).sum(axis=1) for leaf in jax.tree.leaves(drawn))
        radius = max(m.radius for m in members)
        assert (np.abs(values - exact) <= radius**2 * 9 / 2 * longest + ROUNDINGS * 50).all()


def counting(fn):
    """fn, and the numbers of its evaluations and reverse passes so far, counted on the host one by one."""
    counts = {"values": 0, "gradients": 0}

    def tick(what, params):
        """0, and one more of ``what`` for every point that is looked at."""

        def on_host(_):
            counts[what] += 1
            return np.float64(0)

        seen = ravel_pytree(params)[0][0]
        return jax.pure_callback(on_host, jax.ShapeDtypeStruct((), jnp.float64), seen, vmap_method="sequential")

    @jax.custom_vjp
    def counted(params):
        return fn(params) + tick("values", params)

    def backward(params, cotangent):
        once = cotangent + tick("gradients", params)
        return (jax.tree.map(lambda g: once * g, jax.grad(fn)(params)),)

    counted.defvjp(lambda params: (counted(params), params), backward)
    return counted, counts


@oracles
def test_declared_cost_is_the_counted_one(name):
    """Counted without compiling, from scratch and given the value; what is counted is what the compiled query returned."""
    oracle, exact = ORACLES[name], bowl(NESTED, SLOPE, 1.0)
    gradients, _, drawn = queried(name, 1.0)
    first = jax.tree.map(lambda a: jnp.asarray(a[0]), drawn)
    declared = oracle.cost(NESTED)
    for value, saved in ((None, 0), (exact, int(oracle.needs_value))):
        fn, counts = counting(lambda z: bowl(z, SLOPE, 1.0))
        estimate = oracle.estimate(fn, NESTED, first, value=value)
        assert jax.tree.structure(estimate.gradient) == jax.tree.structure(NESTED)
        atol = rounding_of(name, 50) * np.abs(gradients[0]).max()
        np.testing.assert_allclose(ravel_pytree(estimate.gradient)[0], gradients[0], atol=atol)
        assert Cost(**counts) == Cost(declared.values - saved, declared.gradients)


@oracles
def test_oracle_keeps_float32(name):
    single = jax.tree.map(lambda a: a.astype(jnp.float32), NESTED)
    slope = jax.tree.map(lambda a: a.astype(jnp.float32), SLOPE)
    estimate = jax.eval_shape(lambda o, k: o(lambda z: bowl(z, slope, 1.0), single, k), ORACLES[name], jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(estimate)} == {jnp.dtype("float32")}


@oracles
def test_oracle_keeps_the_precision_of_every_block(name):
    mixed = {"x": jax.tree.map(lambda a: a.astype(jnp.float32), NESTED["x"]), "y": NESTED["y"]}
    estimate = jax.eval_shape(lambda o, k: o(lambda z: bowl(z, SLOPE, 1.0), mixed, k), ORACLES[name], jax.random.key(0))
    assert jax.tree.map(lambda a: a.dtype, estimate.gradient) == jax.tree.map(lambda a: a.dtype, mixed)


@oracles
def test_oracle_is_a_pytree_whose_numbers_are_leaves(name):
    oracle = ORACLES[name]
    leaves, structure = jax.tree.flatten(oracle)
    again = jax.tree.unflatten(structure, leaves)
    assert repr(again) == repr(oracle)
    assert all(type(leaf) is float for leaf in leaves)


@pytest.mark.parametrize("law", ["rademacher", "sphere"])
@pytest.mark.parametrize("sided", [1, 2])
def test_in_one_dimension_unit_directions_give_the_exact_slope(law, sided):
    estimate = tl.TwoPoint(0.5, law=law, sided=sided)(lambda z: 3.0 * z[0], jnp.array([2.0]), jax.random.key(3))
    assert float(estimate.gradient[0]) == pytest.approx(3.0, rel=1e-10)


@pytest.mark.parametrize("law", directions.LAWS)
def test_directions_have_the_law_they_name(law):
    """Independent across leaves and draws: second moment I or I/d over the whole tree, and unit length on the sphere."""
    drawn = jax.jit(lambda key: directions.draw(key, NESTED, law, (DRAWS, 2)))(jax.random.key(2))
    flat = np.concatenate([np.asarray(leaf).reshape(DRAWS, 2, -1) for leaf in jax.tree.leaves(drawn)], axis=2)
    assert flat.shape == (DRAWS, 2, 8)
    squared = np.sum(flat**2, axis=2)
    if law == "rademacher":
        assert (np.abs(flat) == 1).all()
    if law == "sphere":
        np.testing.assert_allclose(squared, 1, rtol=1e-10)
    products = np.einsum("sqi,srj->sqirj", flat, flat).reshape(DRAWS, -1)
    expected = np.eye(16).ravel() / (8 if law == "sphere" else 1)
    assert largest_score(products, expected, ROUNDINGS) < quantile(expected.size)
    if law == "gaussian":
        assert stats.kstest(flat.ravel(), "norm").pvalue > RARE


TWINS = {"x": {"a": jnp.zeros(3), "b": jnp.zeros(3)}, "y": {"a": jnp.zeros(3), "b": jnp.zeros(3)}}


@pytest.mark.parametrize("law", directions.LAWS)
def test_blocks_and_leaves_of_the_same_shape_draw_independently(law):
    oracle = tl.Hybrid({"x": tl.TwoPoint(1.0, law=law), "y": tl.TwoPoint(1.0, law=law)})
    drawn = jax.jit(lambda key: oracle.draw(key, TWINS, DRAWS))(jax.random.key(9))
    flat = [np.asarray(leaf).ravel() for leaf in jax.tree.leaves(drawn)]
    assert len(flat) == 4
    for i in range(4):
        for j in range(i):
            assert stats.pearsonr(flat[i], flat[j]).pvalue > RARE


# --------------------------------------------------------------------------------------------------------- orderings

orderings = pytest.mark.parametrize("name", ORDERINGS)
MANY = 6000


@cache
def drawn_epochs(name: str, n: int, *, vary: str) -> np.ndarray:
    """Many epochs of n indices under one key, or one epoch under many keys."""
    ordering = ORDERINGS[name].ordering
    if vary == "epochs":
        return np.asarray(jax.jit(jax.vmap(lambda e: ordering(jax.random.key(4), e, n)))(jnp.arange(MANY)))
    return np.asarray(jax.jit(jax.vmap(lambda k: ordering(k, 3, n)))(jax.random.split(jax.random.key(4), MANY)))


def codes(indices: np.ndarray) -> np.ndarray:
    """One whole number per row."""
    return indices @ (indices.max() + 1) ** np.arange(indices.shape[1])


def is_uniform(outcomes: np.ndarray, possible: int) -> bool:
    _, counts = np.unique(outcomes, return_counts=True)
    counts = np.concatenate([counts, np.zeros(possible - counts.size)])
    return stats.chisquare(counts).pvalue > RARE


@orderings
@pytest.mark.parametrize("n", [1, 7, 100])
def test_ordering_gives_n_indices_and_permutes_where_it_says_so(name, n):
    case = ORDERINGS[name]
    indices = case.ordering(jax.random.key(0), 2, n)
    assert indices.shape == (n,)
    assert indices.dtype == jnp.int32
    assert ((indices >= 0) & (indices < n)).all()
    assert (sorted(indices.tolist()) == list(range(n))) or not case.permutes


@orderings
def test_ordering_is_a_pure_function_of_key_epoch_and_n(name):
    case, key = ORDERINGS[name], jax.random.key(8)
    eager = np.asarray(case.ordering(key, 5, 20))
    assert (np.asarray(case.ordering(key, jnp.int32(5), 20)) == eager).all()
    assert (np.asarray(jax.jit(case.ordering, static_argnums=2)(key, 5, 20)) == eager).all()
    batch = jax.vmap(case.ordering, in_axes=(0, None, None))(jax.random.split(key, 3), 5, 20)
    single = [case.ordering(k, 5, 20) for k in jax.random.split(key, 3)]
    assert (np.asarray(batch) == np.asarray(single)).all()
    assert (np.asarray(case.ordering(key, 6, 20)) == eager).all() == case.same_epochs
    assert (np.asarray(case.ordering(jax.random.key(9), 5, 20)) == eager).all() == case.same_keys


@orderings
@pytest.mark.parametrize("vary", ["epochs", "keys"])
def test_random_orderings_are_uniform(name, vary):
    case, n = ORDERINGS[name], 4
    indices = drawn_epochs(name, n, vary=vary)
    if case.same_keys or (vary == "epochs" and case.same_epochs):
        assert (indices == indices[0]).all()
        return
    assert is_uniform(codes(indices), math.factorial(n) if case.permutes else n**n)
    if vary == "epochs":  # neighbouring epochs are independent
        pairs = indices[:-1:2, 0] * n + indices[1::2, 0]
        assert is_uniform(pairs, n * n)


@pytest.mark.parametrize("n, batch_size", [(6, 1), (6, 3), (7, 2), (7, 3), (8, 5), (5, 5)])
def test_minibatches_average_to_the_whole(n, batch_size):
    """The mean over groups of the weighted sums over their members is the mean over components."""
    indices = np.random.default_rng(0).permutation(n)
    members, weights = groups(jnp.asarray(indices), batch_size)
    assert members.shape == weights.shape == (-(-n // batch_size), batch_size)
    total = np.zeros(n)
    np.add.at(total, np.asarray(members).ravel(), np.asarray(weights).ravel())
    np.testing.assert_allclose(total / len(members), 1 / n, rtol=1e-12)
    assert np.asarray(members).ravel()[:n].tolist() == indices.tolist()
