"""Modules are blocks under finer labels: the same matrix, every measurement unchanged."""

import re
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory_lab import blocks
from theory_lab.measure import smoothness
from theory_lab.measure.smoothness import lanczos
from theory_lab.measure.smoothness.modules import heterogeneity, modules

KEY = jax.random.key(0)


@jax.tree_util.register_dataclass
@dataclass
class Layer:
    attention: dict
    mlp: jax.Array


def layers(seed):
    r = np.random.default_rng(seed)
    return Layer({"q": jnp.asarray(r.normal(size=(3, 2, 2))), "k": jnp.asarray(r.normal(size=(3, 2)))}, jnp.ones((3, 4)))


POINT = {"x": jnp.array([0.5, -1.0]), "y": {"layers": layers(0), "head": jnp.array([1.0, 2.0, 3.0])}}


def network(z, scale=1.0):
    """Layers of unequal curvature, all coupled through the head."""
    own = z["y"]["layers"]
    depth = jnp.arange(1.0, 4.0)
    parts = [jnp.sum(jnp.sin(part.reshape(3, -1)), 1) for part in (own.attention["q"], own.attention["k"], own.mlp)]
    total = jnp.sum(depth * (parts[0] + 2 * parts[1] ** 2 + 3 * parts[2] ** 3))
    return scale * total * jnp.tanh(jnp.sum(z["y"]["head"])) + jnp.sum(z["x"] ** 4) * jnp.sum(z["y"]["head"] ** 2)


def dense(fn, params, labels):
    """The Hessian on the given blocks, in their order."""
    flat, unflatten = jax.flatten_util.ravel_pytree({label: params[label] for label in labels})
    return np.asarray(jax.hessian(lambda v: fn({**params, **unflatten(v)}))(flat))


def test_depth_one_leaves_the_blocks_and_deeper_paths_name_modules():
    for depth, expected in (
        (1, ["x", "y"]),
        (2, ["x", "y/head", "y/layers"]),
        (3, ["x", "y/head", "y/layers/attention", "y/layers/mlp"]),
        (9, ["x", "y/head", "y/layers/attention/k", "y/layers/attention/q", "y/layers/mlp"]),
        ({"x": 1, "y": 2}, ["x", "y/head", "y/layers"]),
    ):
        finer, where = modules(network, POINT, depth=depth)
        assert list(where) == expected
        assert float(finer(where)) == float(network(POINT))
        assert blocks.size(where) == blocks.size(POINT)
        jax.tree.map(np.testing.assert_array_equal, finer.restore(where), POINT)


def test_stacked_layers_are_told_apart():
    finer, where = modules(network, POINT, depth={"x": 1, "y": 4}, stacked=["y/layers"])
    assert list(where) == ["x", "y/head", *(f"y/layers/{i}/{part}" for i in range(3) for part in ("attention", "mlp"))]
    assert where["y/layers/1/attention"]["q"].shape == (2, 2)
    assert where["y/layers/1/mlp"].shape == (4,)
    jax.tree.map(np.testing.assert_array_equal, finer.restore(where), POINT)
    assert list(modules(network, POINT, depth=3, stacked=["y/layers/mlp"])[1]) == [
        "x", "y/head", "y/layers/attention", "y/layers/mlp",
    ]  # fmt: skip
    many = {"y": jnp.ones((11, 2))}
    assert list(modules(lambda z: jnp.sum(z["y"] ** 2), many, stacked=["y"])[1])[:2] == ["y/00", "y/01"]


def test_every_measurement_is_that_of_the_same_rows_of_the_hessian():
    finer, where = modules(network, POINT, depth={"x": 1, "y": 4}, stacked=["y/layers"])
    module = "y/layers/2/attention"
    own = dense(finer, where, [module])
    low, high = smoothness.extreme_eigenvalues(finer, where, key=KEY, block=module)
    assert (low.value, high.value) == pytest.approx(tuple(np.linalg.eigvalsh(own)[[0, -1]]), rel=1e-9)
    assert smoothness.trace(finer, where, key=KEY, block=module).value == pytest.approx(np.trace(own), rel=1e-9)
    pair = ("y/head", module)
    both = dense(finer, where, sorted(pair))
    norm = smoothness.cross_norm(finer, where, pair, key=KEY)
    assert norm.value == pytest.approx(np.linalg.norm(both[:3, 3:], 2), rel=1e-9)
    whole = smoothness.extreme_eigenvalues(finer, where, key=KEY)[1]
    assert whole.value == pytest.approx(smoothness.extreme_eigenvalues(network, POINT, key=KEY)[1].value, rel=1e-9)


def test_a_scale_for_every_module_beats_one_for_the_block():
    """Modules of very different curvature, and what one constant for all of them costs."""
    finer, where = modules(network, POINT, depth={"x": 1, "y": 4}, stacked=["y/layers"])
    sizes = {label: float(blocks.size(part)) for label, part in where.items()}
    best = smoothness.best_scales(finer, where, sizes, key=KEY, rounds=100)
    assert smoothness.margin(finer, where, best.smoothness, key=KEY).two_sided != "violated"
    coarse = smoothness.best_scales(network, POINT, {b: float(blocks.size(POINT[b])) for b in "xy"}, key=KEY)
    assert best.cost.value < 0.7 * coarse.cost.low


def test_the_table_agrees_with_dense_linear_algebra():
    finer, where = modules(network, POINT, depth={"x": 1, "y": 4}, stacked=["y/layers"])
    table = heterogeneity(finer, where, key=KEY)
    assert list(table.module) == list(where)
    for row in table.itertuples():
        own = dense(finer, where, [row.module])
        norm, trace = np.linalg.norm(own, 2), np.trace(own)
        assert row.parameters == len(own)
        for name, truth in (("norm", norm), ("trace", trace), ("rank", trace / norm)):
            low, high = getattr(row, f"{name}_low"), getattr(row, f"{name}_high")
            assert low - 1e-9 * abs(truth) <= truth <= high + 1e-9 * abs(truth)
            assert getattr(row, name) == pytest.approx(truth, rel=1e-8)
        assert len(own) < row.products <= 2 * len(own)


def test_no_curvature_has_no_rank_and_none_that_is_finite_nothing():
    fn = lambda z: jnp.sum(z["y"]["a"]) + jnp.sum(jnp.abs(z["y"]["b"]) ** 1.5)
    table = heterogeneity(*modules(fn, {"y": {"a": jnp.ones(2), "b": jnp.zeros(2)}}), key=KEY)
    assert table.norm.tolist()[0] == table.trace.tolist()[0] == 0.0
    assert np.isnan(table["rank"]).all()
    assert np.isnan([table.norm[1], table.trace[1]]).all()


def test_the_same_partition_again_compiles_nothing():
    lanczos._krylov.clear_cache()
    for scale in (1.0, 2.0):
        finer, where = modules(network, POINT)
        smoothness.extreme_eigenvalues(finer, where, key=KEY, args=(scale,))
        assert lanczos._krylov._cache_size() == 1


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: modules(3, POINT), "fn must be a function of the parameters, got 3"),
        (lambda: modules(network, POINT, depth=0), "depth must be a whole number of at least 1, got 0"),
        (
            lambda: modules(network, POINT, depth={"x": 1}),
            "depth must have the labels of the parameters ['x', 'y'], got ['x']",
        ),
        (
            lambda: modules(network, POINT, depth={"x": 1, "y": 0.5}),
            "depth['y'] must be a whole number of at least 1, got 0.5",
        ),
        (lambda: modules(network, POINT, stacked="y/layers"), "stacked must be a list of paths, got 'y/layers'"),
        (
            lambda: modules(network, POINT, stacked=["y/layer"]),
            "stacked must be paths of arrays with one common leading axis, each once, got 'y/layer'",
        ),
        (
            lambda: modules(network, POINT, stacked=["y/layers", "y/layers/mlp"]),
            "stacked must be paths of arrays with one common leading axis, each once, got 'y/layers/mlp'",
        ),
        (
            lambda: modules(lambda z: z["a"]["b"], {"a": {"b": jnp.ones(1)}, "a/b": jnp.ones(1)}),
            "params must be of paths that differ once their keys are joined by '/', got 'a/b'",
        ),
        (lambda: modules(network, {"x": jnp.arange(3)}), "params['x'] must be float32 or float64, got 'int64'"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        call()
