"""The doors to the loop: `run` for one trajectory, `sweep` for a grid of step sizes and many seeds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from theory_lab import _checks, blocks
from theory_lab._typing import Key, Label, Params
from theory_lab.devices import mesh as mesh_of
from theory_lab.oracles.base import Oracle, admitted
from theory_lab.orderings import ORDERINGS, Ordering, check_indices, check_ordering, ordering_rule, random_reshuffling
from theory_lab.problems.base import Problem
from theory_lab.run.loop import MakeOptimizer, Resolution, simulate, start_params
from theory_lab.run.progress import bar
from theory_lab.run.sharing import among, fetched, shared
from theory_lab.run.trace import Costs, Trace


def run(
    problem: Problem,
    oracle: Oracle,
    optimizer: optax.GradientTransformation,
    *,
    epochs: int,
    key: Key,
    ordering: Ordering = random_reshuffling,
    params: Params | None = None,
    batch_size: int = 1,
    log_epochs: Sequence[int] | None = None,
    resolution: Resolution = "epoch",
    progress: bool = False,
) -> Trace:
    """Run one trajectory and log the exact value and gradient norms along it.

    At every step the ordering names a component (or a minibatch of them), the oracle estimates its gradient, the optimizer
    turns the estimate into an update. All blocks step at once, from the same point.

    Args:
        problem: what to minimise.
        oracle: how to estimate a component's gradient.
        optimizer: an optax transformation for the problem's parameters, e.g. ``hybrid_sgd({"x": 1e-3, "y": 1e-1})``. A new
            transformation object compiles anew; `sweep` does not.
        epochs: T >= 1 passes of n component evaluations each.
        key: all randomness; the same key gives the same permutations under every oracle, optimizer and step size (other ones
            where JAX's 64-bit types are switched off).
        ordering: random_reshuffling, shuffle_once, incremental, with_replacement, or your own (key, epoch, n) -> indices.
        params: the starting point, finite; None starts from the problem's ``init``.
        batch_size: components per step. If it does not divide n, the last group of an epoch is smaller; every group's loss
            is weighted so that the mean over groups is exactly f.
        log_epochs: the epochs to log, increasing, within 0..epochs, to which the last is added; None logs all of
            0, 1, ..., epochs.
        resolution: "epoch", or "step" to log before every single step and at the end (then without log_epochs).
        progress: show a progress bar if tqdm is installed.

    Returns:
        The trace. Values that leave the finite numbers are recorded there, never raised.

    Raises:
        ValueError: whatever breaks one of the rules above, by name, rule and value.

    Example:
        >>> import theory_lab as tl
        >>> problem = tl.block_quadratic({"x": 8, "y": 4}, n=4)
        >>> oracle = tl.Hybrid({"x": tl.TwoPoint(1e-3), "y": tl.FirstOrder()})
        >>> trace = run(problem, oracle, tl.hybrid_sgd({"x": 0.05, "y": 0.5}), epochs=20, key=jax.random.key(0))
        >>> bool(trace.value[-1] < trace.value[0] / 10), int(trace.cost.values[-1])
        (True, 160)
    """
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise _checks.refuse("optimizer", "an optax transformation (init, update)", optimizer)
    _checks.key("key", key, "a single key (use sweep for many seeds)")
    trace = _simulated(
        problem, oracle, _Constant(optimizer), {}, epochs=epochs, keys=key[None], ordering=ordering, params=params,
        batch_size=batch_size, log_epochs=log_epochs, resolution=resolution, progress=progress,
    )  # fmt: skip
    first: Callable[[Any], Any] = lambda tree: jax.tree.map(lambda a: a[0, 0], tree)
    return Trace(
        trace.epoch, trace.cost, first(trace.value), first(trace.gradient_norm_sq), first(trace.distance_sq),
        first(trace.diverged_at), first(trace.params), every_step=trace.every_step,
    )  # fmt: skip


def sweep(
    problem: Problem,
    oracle: Oracle,
    make_optimizer: MakeOptimizer,
    *,
    step_sizes: Mapping[Label, Any],
    epochs: int,
    keys: Key,
    ordering: Ordering = random_reshuffling,
    params: Params | None = None,
    batch_size: int = 1,
    log_epochs: Sequence[int] | None = None,
    resolution: Resolution = "epoch",
    devices: Any = None,
    progress: bool = False,
) -> Trace:
    """Run a grid of step sizes times many seeds, compiled once and batched.

    All grid points of a seed share its starting point, permutations and directions (common random numbers), so differences
    between step sizes are paired.

    Args:
        problem, oracle, ordering, epochs, params, batch_size, log_epochs, resolution, progress: as in `run`; ``params`` is
            one starting point for all seeds, None draws one for each.
        make_optimizer: from {label: step size} to an optax transformation; `hybrid_sgd` is one. Pass the same function
            object again and nothing is recompiled.
        step_sizes: {label: (G,)}, the G grid points, nonnegative; `step_size_grid` makes a product of axes.
        keys: (S,) keys, ``jax.random.split(key, S)``.
        devices: how many share the G S trajectories, or a mesh of them (`theory_lab.devices.mesh`); None is the one that
            JAX takes first. Each gets as many, seeds rather than grid points; where they do not divide, some are computed
            twice. The numbers are the same to rounding. Several processes (`jax.distributed`) all call this alike and get
            the whole trace.

    Returns:
        A trace with leading axes (G, S).

    Raises:
        ValueError: as in `run`; step sizes of different lengths; devices that are not there, or more than trajectories.

    Example:
        >>> import theory_lab as tl
        >>> problem = tl.block_quadratic({"y": 4}, n=4, dispersion=1.0)
        >>> keys = jax.random.split(jax.random.key(0), 8)
        >>> trace = sweep(problem, tl.FirstOrder(), tl.hybrid_sgd, step_sizes={"y": [0.1, 0.5, 2.5]}, epochs=30, keys=keys)
        >>> trace.value.shape, trace.value[:, :, -1].mean(axis=1).argmin()
        ((3, 8, 31), np.int64(0))
    """
    grid = _grid(step_sizes)
    _checks.keys("keys", keys)
    _check_maker(make_optimizer, {label: float(sizes[0]) for label, sizes in grid.items()})
    points = len(next(iter(grid.values())))
    mesh = None if devices is None else among(mesh_of(devices), points, keys.shape[0])
    trace = _simulated(
        problem, oracle, make_optimizer, grid, epochs=epochs, keys=keys, ordering=ordering, params=params,
        batch_size=batch_size, log_epochs=log_epochs, resolution=resolution, progress=progress, mesh=mesh,
    )  # fmt: skip
    return Trace(**{**vars(trace), "step_sizes": grid})


def step_size_grid(
    by_label: Mapping[Label, Sequence[float] | np.ndarray] | None = None, /, **axes: Sequence[float] | np.ndarray
) -> dict[Label, np.ndarray]:
    """The product of one axis per block, flattened; the last label varies fastest.

    Args:
        by_label: the axes as one mapping, instead of by keywords.
        axes: by keywords.

    Raises:
        ValueError: axes in both ways, no axis, or one that is empty or has a number that is negative or not finite.

    Example:
        >>> {label: sizes.tolist() for label, sizes in step_size_grid(x=[1.0, 2.0], y=[3.0, 4.0]).items()}
        {'x': [1.0, 1.0, 2.0, 2.0], 'y': [3.0, 4.0, 3.0, 4.0]}
    """
    if by_label is not None and axes:
        raise _checks.refuse("axes", "one mapping or keywords, not both", (by_label, axes))
    axes = dict(_checks.labelled("axes", axes if by_label is None else by_label))
    values = [_checks.array(f"axes[{label!r}]", axis, ndim=1) for label, axis in axes.items()]
    for label, axis in zip(axes, values, strict=True):
        if (axis < 0).any():
            raise _checks.refuse(f"axes[{label!r}]", "nonnegative numbers", axes[label])
    return {label: grid.ravel() for label, grid in zip(axes, np.meshgrid(*values, indexing="ij"), strict=True)}


def _simulated(
    problem: Problem,
    oracle: Oracle,
    make_optimizer: MakeOptimizer,
    grid: Mapping[Label, np.ndarray],
    *,
    epochs: int,
    keys: Key,
    ordering: Ordering,
    params: Params | None,
    batch_size: int,
    log_epochs: Sequence[int] | None,
    resolution: Resolution,
    progress: bool,
    mesh: Mesh | None = None,
) -> Trace:
    """Check, simulate, and bring home as NumPy arrays."""
    if not isinstance(problem, Problem):
        raise _checks.refuse("problem", "a Problem", problem)
    if jax.tree_util.all_leaves([problem]):
        raise _checks.refuse(
            "problem", "a pytree: decorate its class with theory_lab.problems.record", type(problem).__name__
        )
    _checks.instance("oracle", oracle, Oracle, "an Oracle")
    _check_ordering(ordering, problem.n)
    epochs = _checks.count("epochs", epochs, bits=31)
    batch_size = _checks.count("batch_size", batch_size)
    if batch_size > problem.n:
        raise _checks.refuse("batch_size", f"at most the number of components, {problem.n}", batch_size)
    _checks.choice("resolution", resolution, ("epoch", "step"))
    _checks.flag("progress", progress)
    schedule = _schedule(log_epochs, epochs, resolution)
    like = jax.eval_shape(problem.init, jax.random.key(0))
    cost = admitted(oracle, like)
    if grid:
        _checks.same_labels("step_sizes", grid, like, "the problem")
    if params is None:
        starts = _starts(problem, keys)
        for label, block in starts.items():
            blocks.check_leaves(f"problem.init(key)[{label!r}]", block)
    else:
        blocks.check_params(params, like)
        repeated = lambda a: jnp.asarray(np.broadcast_to(jnp.asarray(a), (keys.shape[0], *jnp.shape(a))))  # compiles nothing
        starts = jax.tree.map(repeated, dict(params))

    precision = jnp.result_type(*jax.tree.leaves(starts))
    for label, one in grid.items():
        if one.max() > (most := float(jnp.finfo(precision).max)):
            raise _checks.refuse(f"step_sizes[{label!r}]", f"at most {most:g}, the largest {precision}", float(one.max()))
    sizes = {label: float(sizes[0]) for label, sizes in grid.items()}
    _checks.update("the optimizer", make_optimizer(sizes), like)
    traced = {label: jnp.asarray(sizes, precision) for label, sizes in grid.items()} or {"": jnp.zeros(1)}
    logged = jnp.asarray(schedule, dtype=jnp.int32)
    given = (problem, oracle, traced, starts, keys, logged)
    with _progress(progress, schedule) as report:
        states, rows = simulate(
            *(given if mesh is None else shared(mesh, *given)), make_optimizer=make_optimizer, ordering=ordering,
            batch_size=batch_size, resolution=resolution, report=report, mesh=mesh,
        )  # fmt: skip
        rows, final, diverged_at = jax.tree.map(fetched(len(traced[next(iter(traced))]), keys.shape[0]),
                                                (rows, states.params, states.diverged_at))  # fmt: skip
    epoch = schedule.astype(np.float64)
    if resolution == "step":
        m = (rows.value.shape[-1] - 1) // epochs
        seen = np.minimum(np.arange(m) * batch_size, problem.n) / problem.n  # the last group of an epoch may be smaller
        epoch = np.append(epoch[:-1, None] + seen, epochs)
    spent = np.rint(epoch * problem.n)
    costs = Costs(spent * cost.values, spent * cost.gradients)
    return Trace(
        epoch,
        costs,
        rows.value,
        rows.gradient_norm_sq,
        rows.distance_sq,
        diverged_at,
        final,
        every_step=resolution == "step",
    )


@jax.jit
def _starts(problem: Problem, keys: Key) -> Params:
    """A starting point for every seed; one program, where single operations would be compiled one by one."""
    return jax.vmap(lambda key: start_params(problem, key))(keys)


def _check_maker(make_optimizer: Any, step_sizes: Mapping[Label, float]) -> None:
    rule = "a function from {label: step size} to an optax transformation"
    try:
        made = make_optimizer(step_sizes)
    except (TypeError, AttributeError) as error:
        raise _checks.refuse("make_optimizer", rule, make_optimizer) from error
    if not (hasattr(made, "init") and hasattr(made, "update")):
        raise _checks.refuse("make_optimizer", rule, make_optimizer)


def _check_ordering(ordering: Any, n: int) -> None:
    if any(ordering is known for known in ORDERINGS.values()):
        return
    check_ordering(ordering, n)
    given = jax.jit(ordering, static_argnums=2)(jax.random.key(0), jnp.int32(0), n)  # one program, not ten
    if not isinstance(given, jax.Array):
        raise _checks.refuse("ordering", ordering_rule(n), given)
    check_indices(given, n)


class _Constant:
    """A make_optimizer that ignores its step sizes; equal for the same optimizer object, which then compiles once."""

    def __init__(self, optimizer: optax.GradientTransformation) -> None:
        self.optimizer = optimizer

    def __call__(self, step_sizes: Mapping[Label, Any]) -> optax.GradientTransformation:
        return self.optimizer

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Constant) and self.optimizer is other.optimizer

    def __hash__(self) -> int:
        return id(self.optimizer)


def _grid(step_sizes: Any) -> dict[Label, np.ndarray]:
    grid = {}
    for label, sizes in _checks.labelled("step_sizes", step_sizes).items():
        grid[label] = np.atleast_1d(_checks.array(f"step_sizes[{label!r}]", sizes))
        if grid[label].ndim != 1 or (grid[label] < 0).any():
            raise _checks.refuse(f"step_sizes[{label!r}]", "a one-dimensional array of nonnegative numbers", sizes)
    lengths = {label: sizes.size for label, sizes in grid.items()}
    if len(set(lengths.values())) != 1:
        raise _checks.refuse("step_sizes", "of the same length in every block (see step_size_grid)", lengths)
    return grid


def _schedule(log_epochs: Sequence[int] | None, epochs: int, resolution: Resolution) -> np.ndarray:
    """The epochs to log, ending with ``epochs``, which every run reaches."""
    if log_epochs is None:
        return np.arange(epochs + 1)
    if resolution == "step":
        raise _checks.refuse("log_epochs", "None where resolution is 'step'", log_epochs)
    rule = f"increasing whole numbers within 0..{epochs}"
    try:
        chosen = np.asarray(log_epochs)
    except (TypeError, ValueError):
        raise _checks.refuse("log_epochs", rule, log_epochs) from None
    if chosen.ndim != 1 or chosen.size == 0 or chosen.dtype.kind not in "iu":
        raise _checks.refuse("log_epochs", rule, log_epochs)
    if (np.diff(chosen) <= 0).any() or chosen[0] < 0 or chosen[-1] > epochs:
        raise _checks.refuse("log_epochs", rule, log_epochs)
    return chosen if chosen[-1] == epochs else np.append(chosen, epochs)


_bars: list[Any] = []  # the bars now on the screen, the innermost last


def _report(epoch: Any) -> None:
    """Move the innermost bar; one function for all runs, so that a bar never compiles anything anew."""
    if _bars:
        _bars[-1].update(max(0, int(epoch) - _bars[-1].n))


@contextmanager
def _progress(wanted: bool, schedule: np.ndarray) -> Iterator[Callable[[Any], None] | None]:
    """What the compiled loop reports to: a bar if one is wanted and tqdm is installed."""
    with bar(wanted, int(schedule[-1]), "epoch") as shown:
        if shown is None:
            yield None
            return
        _bars.append(shown)
        try:
            yield _report
            jax.effects_barrier()
        finally:
            _bars.remove(shown)
