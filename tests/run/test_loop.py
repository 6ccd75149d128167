"""One run against the same mathematics written out step by step."""

import sys
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import theory_lab as tl
from tests.cases import Slopes
from theory_lab.run.loop import ORACLE, scan_chunks, simulate

KEY = jax.random.key(3)
PROBLEM = tl.block_quadratic(
    {"x": 2, "y": 1}, n=5, coupling=0.5, heterogeneity=0.8, spectrum={"x": [1.0, 0.4], "y": [2.0]}, dispersion=1.0
)
HESSIANS, TILTS, HESSIAN = PROBLEM.component_hessians(), np.asarray(PROBLEM.tilts), PROBLEM.dense_hessian()
SIZES = {"x": 0.3, "y": 0.1}
SGD = tl.hybrid_sgd(SIZES)  # one object, so that runs share their compilation
START = {"x": jnp.array([1.0, -2.0]), "y": jnp.array([0.5])}


HYBRID = tl.Hybrid({"x": tl.TwoPoint(1e-3), "y": tl.FirstOrder()})


def run(optimizer=None, oracle=None, problem=PROBLEM, **options):
    given = {"epochs": 3, "key": KEY, "params": START, **options}
    return tl.run(problem, tl.FirstOrder() if oracle is None else oracle, optimizer or SGD, **given)


def by_hand(epochs: int, batch_size: int = 1) -> list[np.ndarray]:
    """The points after every step of incremental gradient descent with SIZES."""
    n = len(TILTS)
    batches = [range(i, min(i + batch_size, n)) for i in range(0, n, batch_size)]
    z, path = np.array([1.0, -2.0, 0.5]), []
    for _ in range(epochs):
        for batch in batches:
            path.append(z)
            gradient = sum(HESSIANS[i] @ z - TILTS[i] for i in batch) * len(batches) / n
            z = z - np.array([0.3, 0.3, 0.1]) * gradient
    return [*path, z]


def assert_rows(trace: tl.Trace, points: np.ndarray) -> None:
    gradients = points @ HESSIAN
    np.testing.assert_allclose(trace.value, np.sum(points * gradients, axis=1) / 2, rtol=1e-10)
    np.testing.assert_allclose(trace.gradient_norm_sq["x"], np.sum(gradients[:, :2] ** 2, axis=1), rtol=1e-10)
    np.testing.assert_allclose(trace.gradient_norm_sq["y"], gradients[:, 2] ** 2, rtol=1e-10)
    np.testing.assert_allclose(trace.distance_sq["x"], np.sum(points[:, :2] ** 2, axis=1), rtol=1e-10)
    np.testing.assert_allclose(trace.distance_sq["y"], points[:, 2] ** 2, rtol=1e-10)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_epoch_rows_are_exact_values_along_the_path(batch_size):
    trace = run(ordering=tl.incremental, batch_size=batch_size)
    m = -(-5 // batch_size)
    points = np.array(by_hand(3, batch_size))[::m]
    assert_rows(trace, points)
    np.testing.assert_allclose(trace.params["x"], points[-1, :2], rtol=1e-10)
    np.testing.assert_allclose(trace.params["y"], points[-1, 2:], rtol=1e-10)
    assert trace.epoch.tolist() == [0, 1, 2, 3]
    assert trace.cost.values.tolist() == trace.cost.gradients.tolist() == [0, 5, 10, 15]
    assert trace.diverged_at == np.inf
    np.testing.assert_allclose(trace.average(trace.value), trace.value[:3].mean(), rtol=1e-12)
    assert trace.divergence == ""
    with pytest.raises(ValueError, match=r"^the trace must be logged with resolution='step', got one row per logged epoch$"):
        trace.average_over_steps(trace.value)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_step_rows_stand_before_every_step_and_at_the_end(batch_size):
    trace = run(ordering=tl.incremental, batch_size=batch_size, resolution="step")
    assert_rows(trace, np.array(by_hand(3, batch_size)))
    starts = range(0, 5, batch_size)  # the last group of an epoch may be smaller
    assert trace.cost.values.tolist() == [*(5 * t + k for t in range(3) for k in starts), 15]
    np.testing.assert_allclose(trace.epoch, trace.cost.values / 5, rtol=1e-12)
    np.testing.assert_allclose(trace.average_over_steps(trace.value), trace.value[:-1].mean(), rtol=1e-12)
    np.testing.assert_allclose(trace.average(trace.value), trace.value[: -1 : len(starts)].mean(), rtol=1e-12)


@pytest.mark.parametrize("chosen", [[0, 3], [2, 3], [2], [0], [1, 4]])  # all of two or three rows: two programs
def test_chosen_epochs_are_rows_of_the_whole_trace(chosen):
    whole, trace = run(epochs=4), run(epochs=4, log_epochs=chosen)
    rows = chosen if chosen[-1] == 4 else [*chosen, 4]  # the end is always logged
    assert trace.epoch.tolist() == rows
    np.testing.assert_allclose(trace.value, whole.value[rows], rtol=1e-12)
    np.testing.assert_allclose(trace.distance_sq["y"], whole.distance_sq["y"][rows], rtol=1e-12)
    assert trace.cost.values.tolist() == whole.cost.values[rows].tolist()
    if rows != [0, 1, 2, 3, 4]:
        with pytest.raises(ValueError, match=r"^the trace must be logged at the start of every epoch, got \d of 4$"):
            trace.average(trace.value)


OPTIMIZERS = {
    "schedule and momentum": tl.hybrid_sgd({"x": optax.linear_schedule(0.3, 0.0, 10), "y": optax.sgd(0.1, momentum=0.9)}),
    "adam, and noise with a key in its state": optax.chain(
        optax.clip_by_global_norm(5.0),
        tl.hybrid_sgd(
            {"x": optax.adam(0.1), "y": optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(5)), optax.sgd(0.1))}
        ),
    ),
}


@pytest.mark.optimized  # a schedule is of float32, and its rounding is the compiler's
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optax_transformation_runs_as_in_a_loop_of_ones_own(name):
    optimizer = OPTIMIZERS[name]
    trace = run(optimizer, ordering=tl.incremental)

    @jax.jit
    def step(params, state, index):
        gradient = jax.grad(PROBLEM.component)(params, index)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    params, state, values = START, optimizer.init(START), []
    for k in range(15):
        if k % 5 == 0:
            values.append(float(PROBLEM.value(params)))
        params, state = step(params, state, k % 5)
    np.testing.assert_allclose(trace.value[:3], values, rtol=1e-10)
    np.testing.assert_allclose(trace.params["x"], params["x"], rtol=1e-10)


VISITS = Slopes(4, {"x": jnp.ones((4, 2)), "y": jnp.arange(1.0, 5.0)[:, None]})
UNIT, QUARTER = tl.hybrid_sgd({"x": 0.0, "y": 1.0}), tl.hybrid_sgd({"x": 0.0, "y": 0.25})


def visited(oracle, optimizer=UNIT, size=1.0, key=KEY, batch_size=1) -> np.ndarray:
    """Which components a run looked at, 1 to 4: f falls in every step by size times the visited slope times the mean one."""
    options = {"epochs": 3, "key": key, "resolution": "step", "batch_size": batch_size}
    fall = -np.diff(tl.run(VISITS, oracle, optimizer, **options).value)
    return (fall / (size * 2.5)).reshape(3, -1)


def test_the_order_depends_on_the_key_alone():
    first = visited(tl.FirstOrder())
    assert (np.sort(np.rint(first), axis=1) == [1, 2, 3, 4]).all()
    np.testing.assert_allclose(first, np.rint(first), atol=1e-9)
    assert (np.rint(visited(tl.FirstOrder(), key=jax.random.key(4))) != np.rint(first)).any()
    exact = tl.TwoPoint(1.0, law="rademacher", sided=2)  # the exact slope in one dimension
    oracle = tl.Hybrid({"x": tl.TwoPoint(0.1, directions=3), "y": exact})
    np.testing.assert_allclose(visited(oracle, QUARTER, 0.25), first, atol=1e-9)
    pairs = visited(tl.FirstOrder(), batch_size=2)  # a group's loss is the mean of its two members
    np.testing.assert_allclose(pairs, first.reshape(3, 2, 2).mean(axis=2), atol=1e-9)


@pytest.mark.optimized
def test_same_key_same_bytes_and_one_compilation():
    simulate.clear_cache()  # others may have compiled the same in this process, or fill the cache up to its bound
    first = run(oracle=HYBRID, epochs=2)
    again, other = run(oracle=HYBRID, epochs=2), run(oracle=HYBRID, epochs=2, key=jax.random.key(4))
    assert simulate._cache_size() == 1
    assert first.value.tobytes() == again.value.tobytes()
    assert first.params["x"].tobytes() == again.params["x"].tobytes()
    assert (first.value[1:] != other.value[1:]).all()


def test_start_is_drawn_from_the_key_whatever_runs():
    drawn = [run(params=None, epochs=2, oracle=oracle).distance_sq["x"][0] for oracle in (tl.FirstOrder(), HYBRID)]
    assert drawn[0] == drawn[1] > 0
    assert run(params=None, epochs=2, key=jax.random.key(4)).distance_sq["x"][0] != drawn[0]


@pytest.mark.parametrize(
    "oracle, values, gradients",
    [
        (tl.FirstOrder(), 5, 5),
        (tl.TwoPoint(1e-3, directions=3), 20, 0),
        (HYBRID, 10, 5),
    ],
    ids=["first order", "zeroth order", "hybrid"],
)
def test_costs_count_component_evaluations_per_epoch(oracle, values, gradients):
    trace = run(oracle=oracle, epochs=2)
    assert trace.cost.values.tolist() == [0, values, 2 * values]
    assert trace.cost.gradients.tolist() == [0, gradients, 2 * gradients]


def test_divergence_is_recorded_and_frozen():
    """z grows by 1e30 per step, four steps per epoch: f overflows in epoch 2, z itself in epoch 3."""
    problem = tl.block_quadratic({"y": 1}, n=4)
    with_steps = tl.hybrid_sgd({"y": 1e30})
    trace = tl.run(problem, tl.FirstOrder(), with_steps, epochs=6, key=KEY, params={"y": jnp.ones(1)})
    np.testing.assert_allclose(trace.value[:2], [0.5, 0.5e240], rtol=1e-10)
    assert np.isinf(trace.value[2:]).all()
    assert np.isinf(trace.gradient_norm_sq["y"][2:]).all()
    assert np.isinf(trace.distance_sq["y"][2:]).all()
    assert trace.diverged_at == 3
    np.testing.assert_allclose(trace.params["y"], [1e240], rtol=1e-10)
    assert trace.average(trace.value) == np.inf
    assert trace.divergence == "diverged at epoch 3 (1 of 1 runs)"
    fine = tl.run(problem, tl.FirstOrder(), with_steps, epochs=6, key=KEY, params={"y": jnp.ones(1)}, resolution="step")
    assert np.isfinite(fine.value).tolist() == [True] * 6 + [False] * 19
    assert fine.diverged_at == 3


def test_what_has_diverged_stays_so():
    """Some epochs of draws with replacement overflow and some do not; after the first that does, none counts."""
    problem = Slopes(2, {"y": jnp.array([[0.0], [1e308]])})  # two visits of component 1 in an epoch are one too many
    visits = np.array([np.sum(tl.with_replacement(jax.random.fold_in(KEY, 0), epoch, 2)) for epoch in range(40)])
    first = int(np.argmax(np.cumsum(visits) >= 2))
    assert (visits[first + 1 :] == 0).any(), "an epoch that would have been harmless"
    options = {"ordering": tl.with_replacement, "params": {"y": jnp.zeros(1)}, "key": KEY}
    trace = tl.run(problem, tl.FirstOrder(), tl.hybrid_sgd({"y": 1.0}), epochs=40, **options)
    assert trace.diverged_at == first + 1
    assert np.isinf(trace.value[first + 1 :]).all()
    assert trace.params["y"][0] in (0.0, -1e308)


def test_no_direction_is_drawn_twice():
    """Directions are drawn for several steps at once; five steps make three such chunks, the last of them short."""
    same = Slopes(5, {"x": jnp.ones((5, 400))})
    trace = tl.run(same, tl.TwoPoint(1.0), tl.hybrid_sgd({"x": 1e-3}), epochs=2, key=KEY, resolution="step")
    falls = -np.diff(trace.value)  # step size times <c, v>^2
    assert len(set(np.round(falls, 9))) == 10


@pytest.mark.parametrize("resolution", ["epoch", "step"])
def test_a_short_last_chunk_takes_its_own_steps_and_no_more(resolution):
    """Five steps in chunks of two, two and one: linear descent along every direction that they draw, and nothing after."""
    oracle, start = tl.TwoPoint(1.0), {"x": jnp.zeros(400)}
    trace = tl.run(
        Slopes(5, {"x": jnp.ones((5, 400))}), oracle, tl.hybrid_sgd({"x": 1e-3}), epochs=1, key=KEY, params=start,
        resolution=resolution,
    )  # fmt: skip
    own = jax.random.fold_in(jax.random.fold_in(KEY, ORACLE), 0)
    counts = enumerate((2, 2, 1))
    drawn = np.concatenate([oracle.draw(jax.random.fold_in(own, i), start, count)["x"][:, 0] for i, count in counts])
    path = -1e-3 * np.cumsum(drawn.sum(axis=1, keepdims=True) * drawn, axis=0)
    np.testing.assert_allclose(trace.params["x"], path[-1], rtol=1e-9, atol=1e-12)
    if resolution == "step":
        np.testing.assert_allclose(trace.value, [0.0, *path.sum(axis=1)], rtol=1e-9, atol=1e-12)


def test_a_start_at_which_the_value_overflows_is_recorded_not_raised():
    trace = run(params={"x": jnp.full(2, 1e300), "y": jnp.zeros(1)})
    assert np.isinf(trace.value).all()


def test_blocks_may_be_nested_and_scalar():
    x, y = jnp.arange(6.0).reshape(3, 2) / 6, jnp.array([1.0, 2.0, 3.0])

    def loss(z, example):
        row, target = example
        return (row @ z["x"]["w"] + z["x"]["b"] + z["y"] - target) ** 2 / 2

    problem = tl.finite_sum(loss, (x, y), {"x": {"w": jnp.zeros(2), "b": 0.0}, "y": 0.0})
    oracle = tl.Hybrid({"x": tl.TwoPoint(1e-4, law="sphere"), "y": tl.FirstOrder()})
    trace = tl.run(problem, oracle, tl.hybrid_sgd({"x": 0.05, "y": 0.2}), epochs=5, key=KEY)
    assert trace.value[-1] < trace.value[0] / 4
    assert trace.distance_sq is None
    assert jax.tree.map(np.shape, trace.params) == {"x": {"w": (2,), "b": ()}, "y": ()}


def test_single_precision_stays_single():
    single, grid = PROBLEM.astype("float32"), {b: [s] for b, s in SIZES.items()}
    trace = run(problem=single, oracle=HYBRID, epochs=2, params=None)
    swept = tl.sweep(single, HYBRID, tl.hybrid_sgd, step_sizes=grid, epochs=2, keys=KEY[None])
    for rows in (trace, swept):
        assert {rows.value.dtype, rows.params["x"].dtype, rows.gradient_norm_sq["y"].dtype} == {np.dtype("float32")}
    np.testing.assert_allclose(swept.value[0, 0], trace.value, rtol=64 * np.finfo(np.float32).eps)


def test_everything_runs_with_64_bit_types_switched_off():
    """JAX's default; no warning is left behind, and reshuffling still permutes."""
    with jax.enable_x64(False):
        assert sorted(tl.random_reshuffling(KEY, 1, 50).tolist()) == list(range(50))
        problem = tl.block_quadratic({"x": 2, "y": 1}, n=5, coupling=0.5, dispersion=0.1)
        trace = tl.sweep(
            problem, HYBRID, tl.hybrid_sgd, step_sizes={"x": [0.1], "y": [0.2]}, epochs=10, keys=KEY[None], batch_size=2
        )
    assert trace.value.dtype == np.float32
    assert trace.value[0, 0, -1] < trace.value[0, 0, 0]


@pytest.mark.optimized
def test_progress_changes_nothing_and_is_silent_without_tqdm(capsys, monkeypatch):
    plain = run()
    shown = run(progress=True)
    captured = capsys.readouterr()
    assert "epoch" in captured.err
    assert captured.out == ""
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    silent = run(progress=True)
    assert capsys.readouterr() == ("", "")
    assert plain.value.tobytes() == shown.value.tobytes() == silent.value.tobytes()


def test_without_a_bar_tqdm_is_left_alone(monkeypatch):
    """In a notebook without ipywidgets the import alone warns."""

    class Watched(ModuleType):
        def __getattr__(self, name):
            raise AssertionError(f"{name} was asked for")

    monkeypatch.setitem(sys.modules, "tqdm.auto", Watched("tqdm.auto"))
    run()
    with pytest.raises(AssertionError, match="was asked for"):
        run(progress=True)


def test_a_trace_is_a_tidy_frame():
    trace = run()
    frame = trace.to_frame()
    per_block = ["gradient_norm_sq_x", "gradient_norm_sq_y", "distance_sq_x", "distance_sq_y"]
    assert list(frame) == ["diverged_at", "epoch", "values", "gradients", "value", *per_block]
    assert len(frame) == 4
    np.testing.assert_array_equal(frame["value"], trace.value)
    np.testing.assert_allclose(trace.total_gradient_norm_sq, frame["gradient_norm_sq_x"] + frame["gradient_norm_sq_y"])


@pytest.mark.parametrize("total", [5, 6])
def test_steps_see_what_was_drawn_for_their_chunk_be_it_keys(total):
    """Five steps in chunks of three leave a shorter one at the end."""
    draw = lambda number, count: jax.random.split(jax.random.fold_in(KEY, number), count)
    step = lambda carry, inputs: (carry + inputs[0], jax.random.uniform(inputs[1]))
    carry, seen = scan_chunks(step, 0, jnp.arange(total), draw, 3)
    assert int(carry) == sum(range(total))
    keys = [key for number in range(2) for key in draw(number, min(3, total - 3 * number))]
    np.testing.assert_array_equal(seen, [jax.random.uniform(key) for key in keys])
