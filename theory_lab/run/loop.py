"""The loop: problem, oracle and optimizer strung along an ordering.

One function, `simulate`, does it for a whole grid of step sizes and many seeds in one compiled program; `run` is its
single case and `sweep` its general one. The scan over logged rows and epochs is outside, the batch inside, so that one
step of all trajectories is a handful of large array operations: directions are drawn once per seed and shared by all step
sizes (common random numbers), and matrix-vector products become matrix-matrix products.

Random streams, all folded from the run's key: 0 orders the components, 1 feeds the oracle, 2 starts the parameters. The
permutations therefore depend on the key alone, not on oracle, optimizer or step sizes.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from theory_lab import blocks
from theory_lab._typing import Array, Key, Label, Params, Scalar
from theory_lab.oracles.base import Draw, Oracle
from theory_lab.orderings import Ordering
from theory_lab.problems.base import Problem

ORDER, ORACLE, START = range(3)

MakeOptimizer = Callable[[Mapping[Label, Scalar]], optax.GradientTransformation]
Resolution = Literal["epoch", "step"]
Carry = tuple[Params, optax.OptState]


class State(NamedTuple):
    """One trajectory between two epochs."""

    params: Params
    optimizer: optax.OptState
    diverged_at: Array  # the epoch at whose end the parameters were not finite; inf while they are


class Row(NamedTuple):
    """What is logged of one trajectory at one moment."""

    value: Array
    gradient_norm_sq: Mapping[Label, Array]
    distance_sq: Mapping[Label, Array] | None


def groups(indices: Array, batch_size: int) -> tuple[Array, Array]:
    """An epoch's indices in minibatches, and the weight of every member.

    Returns:
        Indices and weights, both (m, batch_size) with m = ceil(n / batch_size). A group's loss is the weighted *sum* over
        its members, the weights m/n being such that the mean over the groups is exactly f; a last group that is not full
        is padded with weight 0.
    """
    n = indices.shape[0]
    m = -(-n // batch_size)
    padded = jnp.pad(indices, (0, m * batch_size - n))
    weights = jnp.where(jnp.arange(m * batch_size) < n, m / n, 0.0)
    return padded.reshape(m, batch_size), weights.reshape(m, batch_size)


def draw_ahead(oracle: Oracle, params: Params) -> int:
    """For how many steps to draw at once: up to 1024 numbers, a rule of the problem's size alone.

    It decides which key makes which direction; were it to depend on the number of seeds, so would the directions.
    """
    one = jax.eval_shape(partial(oracle.draw, count=1), jax.random.key(0), params)
    return max(1, 1024 // max(1, sum(leaf.size for leaf in jax.tree.leaves(one))))


def scan_chunks(
    step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any, draw: Callable[[Any, int], Any], length: int
) -> tuple[Any, Any]:
    """Fold ``step(carry, (x, draw of its own)) -> (carry, y)``, with draws made for at most ``length`` steps at once.

    ``draw(number of the chunk, count)`` makes leaves (count, ...). A last chunk that is shorter is filled up with steps that
    leave everything as it is: so there is one program of a step, the dearest part of all to compile.
    """
    total = jax.tree.leaves(xs)[0].shape[0]
    chunks = -(-total // length)
    length = -(-total // chunks)  # as many chunks, but even
    rest = total % length

    def filled(a: Array, count: int) -> Array:
        return jnp.concatenate([a, jnp.broadcast_to(a[:1], (count - a.shape[0], *a.shape[1:]))])  # keys, too

    def drawn(number: Array) -> Any:
        if not rest:
            return draw(number, length)
        short = lambda: jax.tree.map(lambda a: filled(a, length), draw(number, rest))
        return jax.lax.cond(number < chunks - 1, lambda: draw(number, length), short)

    def guarded(carry: Any, inputs: tuple[Array, Any]) -> tuple[Any, Any]:
        there, x = inputs
        if not rest:
            return step(carry, x)
        nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(step, carry, x)[1])
        return jax.lax.cond(there, step, lambda carry, _: (carry, nothing), carry, x)

    def chunk(carry: Any, inputs: tuple[Array, Array, Any]) -> tuple[Any, Any]:
        number, there, part = inputs
        return jax.lax.scan(guarded, carry, (there, (part, drawn(number))))

    whole = lambda a: filled(a, chunks * length).reshape(chunks, length, *a.shape[1:])
    there = (jnp.arange(chunks * length) < total).reshape(chunks, length)
    carry, ys = jax.lax.scan(chunk, carry, (jnp.arange(chunks), there, jax.tree.map(whole, xs)))
    return carry, jax.tree.map(lambda a: a.reshape(chunks * length, *a.shape[2:])[:total], ys)


def start_params(problem: Problem, key: Key) -> Params:
    return problem.init(jax.random.fold_in(key, START))


def observe(problem: Problem, state: State) -> Row:
    """The exact values at the trajectory's point; inf once it has diverged."""
    value, gradient = jax.value_and_grad(problem.value)(state.params)
    norms = blocks.norms_sq(gradient)
    distances = None
    if problem.optimum is not None:
        distances = blocks.norms_sq(jax.tree.map(jnp.subtract, dict(state.params), dict(problem.optimum)))
    alive = jnp.isinf(state.diverged_at) & jnp.isfinite(value)
    return jax.tree.map(lambda a: jnp.where(alive & jnp.isfinite(a), a, jnp.inf), Row(value, norms, distances))


def one_step(
    problem: Problem, oracle: Oracle, optimizer: optax.GradientTransformation, carry: Carry, group: Array, weight: Array,
    draw: Draw,
) -> Carry:  # fmt: skip
    """One step of one trajectory on a minibatch: members and what each counts, both (batch_size,)."""

    def loss(at: Params) -> Array:
        if group.size == 1:
            return problem.component(at, group[0])
        each = jax.vmap(problem.component, in_axes=(None, 0))(at, group)
        return jnp.sum(each * weight.astype(jax.tree.leaves(at)[0].dtype))

    params, state = carry
    updates, state = optimizer.update(oracle.estimate(loss, params, draw).gradient, state, params)
    return optax.apply_updates(params, updates), state


def one_epoch(
    problem: Problem,
    oracle: Oracle,
    optimizer: optax.GradientTransformation,
    ordering: Ordering,
    batch_size: int,
    log_steps: bool,
    state: State,
    key: Key,
    epoch: Array,
    stepped: Callable[[Carry, Array, Array, Draw], Carry] | None = None,
) -> tuple[State, Row | None]:
    """One epoch of one trajectory; with ``log_steps`` also a row per step, taken before the step.

    ``stepped`` may make the steps in place of `one_step`, as where trajectories shall go one after another.
    """
    indices = ordering(jax.random.fold_in(key, ORDER), epoch, problem.n)
    members, weights = groups(indices, batch_size)
    oracle_key = jax.random.fold_in(jax.random.fold_in(key, ORACLE), epoch)
    stepped = partial(one_step, problem, oracle, optimizer) if stepped is None else stepped

    def step(carry: Carry, xs: tuple[tuple[Array, Array], Draw]) -> tuple[Carry, Row | None]:
        (group, weight), draw = xs
        row = observe(problem, State(*carry, state.diverged_at)) if log_steps else None
        return stepped(carry, group, weight, draw), row

    def draw(number: Array, count: int) -> Draw:
        return oracle.draw(jax.random.fold_in(oracle_key, number), state.params, count)

    start = (state.params, state.optimizer)
    ahead = draw_ahead(oracle, state.params)
    (params, optimizer_state), rows = scan_chunks(step, start, (members, weights), draw, ahead)
    finite = jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(params)]).all()
    alive = finite & jnp.isinf(state.diverged_at)
    kept = jax.tree.map(
        lambda new, old: jnp.where(alive, new, old), (params, optimizer_state), (state.params, state.optimizer)
    )
    diverged_at = jnp.where(alive, jnp.inf, jnp.minimum(state.diverged_at, epoch + 1))
    return State(kept[0], kept[1], diverged_at), rows


@partial(jax.jit, static_argnames=("make_optimizer", "ordering", "batch_size", "resolution", "report", "mesh"))
def simulate(
    problem: Problem,
    oracle: Oracle,
    step_sizes: Mapping[Label, Array],
    params: Params,
    keys: Key,
    schedule: Array,
    *,
    mesh: Mesh | None = None,
    **options: Any,
) -> tuple[State, Row]:
    """All trajectories of a sweep, in one program, as `trajectories` says.

    On a mesh with the axes "grid" and "seeds" every device computes its share of both and nothing is sent. How many
    trajectories a device has decides how its products are rounded, and nothing else: all that is random has a seed's key.
    """
    if mesh is None:
        return trajectories(problem, oracle, step_sizes, params, keys, schedule, **options)
    all_of, grid, seeds, both = (PartitionSpec(*axes) for axes in ((), ("grid",), ("seeds",), ("grid", "seeds")))
    share = jax.shard_map(
        lambda *given: trajectories(*given, **options), mesh=mesh,
        in_specs=(all_of, all_of, grid, seeds, seeds, all_of), out_specs=both, check_vma=False,
    )  # fmt: skip
    return share(problem, oracle, step_sizes, params, keys, schedule)


def trajectories(
    problem: Problem,
    oracle: Oracle,
    step_sizes: Mapping[Label, Array],
    params: Params,
    keys: Key,
    schedule: Array,
    *,
    make_optimizer: MakeOptimizer,
    ordering: Ordering,
    batch_size: int,
    resolution: Resolution,
    report: Callable[[Any], None] | None,
) -> tuple[State, Row]:
    """Grid times seeds, in one loop.

    Args:
        problem, oracle: pytrees; their numbers are traced, so another L or another radius does not compile anew.
        step_sizes: {label: (G,)}.
        params: starting points, leaves (S, *shape).
        keys: (S,).
        schedule: (E,) int32, the epochs after which to log, increasing; 0 is the start. For single steps 0, 1, ..., T.
        make_optimizer: from {label: scalar} to an optax transformation.
        ordering, batch_size, resolution: as in `sweep`.
        report: called on the host after every logged row, with the epoch.

    Returns:
        Final states with leaves (G, S, ...) and rows with leaves (G, S, E), or (G, S, T m + 1) for single steps.
    """
    log_steps = resolution == "step"
    advance = partial(one_epoch, problem, oracle)

    def over_batch(fn: Callable[..., Any], state_axes: int | None = 0) -> Callable[..., Any]:
        """Map fn(step_sizes, state, key, epoch) over grid points (outer) and seeds (inner)."""
        inner = jax.vmap(fn, in_axes=(None, 0, 0, None))
        return jax.vmap(inner, in_axes=(0, state_axes, None, None))

    def begin(sizes: Mapping[Label, Array], start: Params, key: Key, epoch: Array) -> State:
        del key, epoch
        return State(start, make_optimizer(sizes).init(start), jnp.array(jnp.inf))

    def epoch_of(sizes: Mapping[Label, Array], state: State, key: Key, epoch: Array) -> tuple[State, Row | None]:
        return advance(make_optimizer(sizes), ordering, batch_size, log_steps, state, key, epoch)

    def log(sizes: Mapping[Label, Array], state: State, key: Key, epoch: Array) -> Row:
        del sizes, key, epoch
        return observe(problem, state)

    def segment(states: State, ends: tuple[Array, Array]) -> tuple[State, Row]:
        """Run the epochs since the last row, then log; or run one epoch that logs its own steps."""
        first, last = ends
        if log_steps:
            states, row = over_batch(epoch_of)(step_sizes, states, keys, first)
        else:
            body = lambda epoch, s: over_batch(epoch_of)(step_sizes, s, keys, epoch)[0]
            states = jax.lax.fori_loop(first, last, body, states)
            row = over_batch(log)(step_sizes, states, keys, last)
        if report is not None:
            jax.debug.callback(report, last)
        return states, row

    states = over_batch(begin, state_axes=None)(step_sizes, params, keys, schedule[0])
    before = jnp.concatenate([jnp.zeros(1, schedule.dtype), schedule[:-1]])
    if not log_steps:
        states, rows = jax.lax.scan(segment, states, (before, schedule))
        return states, jax.tree.map(lambda a: jnp.moveaxis(a, 0, 2), rows)
    states, rows = jax.lax.scan(segment, states, (before[1:], schedule[1:]))
    rows = jax.tree.map(lambda a: jnp.moveaxis(a, 0, 2).reshape(*a.shape[1:3], -1), rows)
    end = over_batch(log)(step_sizes, states, keys, schedule[-1])
    return states, jax.tree.map(lambda a, b: jnp.append(a, b[..., None], axis=2), rows, end)
