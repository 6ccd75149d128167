"""Steps on large models: zeroth order without a second copy of what it moves.

    x+ = x - eta * (1/q) sum_j s_j v_j,   s_j = (f(x + mu v_j) - f(x)) / mu   or   (f(x + mu v_j) - f(x - mu v_j)) / (2 mu).

A direction v_j is never stored. To evaluate the loss, shifted arrays are made where they are used, a layer at a time
(`shift`); for the update the same numbers are drawn again, part by part, and added in place to the donated array. The
weights are written once a step, by the update; nothing is added to be subtracted again, so nothing drifts: a step of size
zero leaves every bit, in bfloat16 too.

These steps are the optax form, oracle and optimizer, with less memory: `FirstOrder`, `TwoPoint(..., stream="rows")` and
`Hybrid` draw the same directions of the same key and give the same iterates up to rounding.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from theory_lab import _checks
from theory_lab._typing import Array, Block, Key, Label, Params, Scalar
from theory_lab.models.sharding import Compiled
from theory_lab.models.shift import add, after, shift
from theory_lab.models.split import bare, is_split, like
from theory_lab.oracles.directions import Law, direction_key, leaf_key

Loss = Callable[[Params, Any], Array]  # (parameters, perhaps shifted; one batch) -> scalar
Order = Literal["simultaneous", "adapter_first"]
LAWS: tuple[Law, ...] = ("gaussian", "rademacher")
ORDERS: tuple[Order, ...] = ("simultaneous", "adapter_first")


class Differences(NamedTuple):
    """How a block's slopes are measured; the words of `TwoPoint`."""

    radius: float
    directions: int = 1
    law: Law = "gaussian"
    sided: int = 1


class Stepped(NamedTuple):
    """What a step returns: the new parameters, the new state of the first-order optimizer, the loss before the step."""

    params: Params
    state: optax.OptState
    value: Array


Step = Callable[..., Stepped]  # (params, state, batch, key, step_size) -> Stepped


def differences(radius: float, directions: int = 1, law: Law = "gaussian", sided: int = 1) -> Differences:
    """Finite differences for a step without a second copy.

    Args:
        radius: mu > 0, in units of the parameters.
        directions: q >= 1, evaluated one after the other.
        law: "gaussian" or "rademacher". (The sphere's norm would need the whole direction.)
        sided: 1 (forward difference) or 2 (central).

    Raises:
        ValueError: anything else.

    Example:
        >>> differences(1e-3, sided=2)
        Differences(radius=0.001, directions=1, law='gaussian', sided=2)
    """
    sided = _checks.sides("sided", sided)
    count = _checks.count("directions", directions, bits=20)
    return Differences(_checks.positive("radius", radius), count, _checks.choice("law", law, LAWS), sided)  # type: ignore[arg-type]


def zo_step(loss: Loss, how: Differences, *, label: Label = "base", donate: bool = True) -> Step:
    """A compiled step of one block by values of the loss alone; the other blocks stay.

    Args:
        loss: (params, batch) -> scalar. The arrays of the block come shifted: `mean_loss` and the functions beside it know,
            a loss of one's own calls `shift.whole` on what it is about to use.
        how: as `differences` makes.
        label: of the block that moves.
        donate: give the parameters' memory to the result, so that the update is in place; the ones given are then gone.

    Returns:
        ``step(params, state, batch, key, step_size)``; the state is passed through. The value is f before the step, or with
        two-sided differences the mean of what was seen, off by O(radius^2).

    Raises:
        ValueError: a loss that is no function, differences of another kind.

    Example:
        >>> from theory_lab.models.shift import whole
        >>> step = zo_step(lambda params, batch: jnp.sum(jnp.square(whole(params["base"]))), differences(1e-3))
        >>> new, _, value = step({"base": jnp.ones(3, jnp.float32)}, (), None, jax.random.key(0), 0.0)
        >>> float(value), new["base"].tolist()
        (3.0, [1.0, 1.0, 1.0])

    Reference:
        Malladi et al.: Fine-Tuning Language Models with Just Forward Passes, 2023 (the seed in place of the direction).
    """
    _check(loss, how)

    def step(params: Params, state: optax.OptState, batch: Any, key: Key, step_size: Scalar) -> Stepped:
        fn = lambda block, batch: loss({**params, label: block}, batch)
        value, slopes = _slopes(fn, params[label], batch, key, how, None)
        return Stepped({**params, label: _moved(params[label], key, slopes, step_size, how)}, state, value)

    return Compiled(step, donate=donate)


def hybrid_step(
    loss: Loss, how: Differences, optimizer: optax.GradientTransformation, *, zeroth: Label = "base", first: Label = "peft",
    order: Order = "simultaneous", donate: bool = True,
) -> Step:  # fmt: skip
    """A compiled step of two blocks: one by values of the loss, one by its gradient.

    Args:
        loss, how, donate: as in `zo_step`.
        optimizer: any optax transformation, for the first-order block alone; its state is ``optimizer.init(params[first])``.
        zeroth, first: the labels of the two blocks.
        order: "simultaneous" (both at the same point, the clean value shared) or "adapter_first" (the first-order block
            moves, then the other at the point reached, which with one-sided differences costs an evaluation more).

    Returns:
        ``step(params, state, batch, key, step_size)``, the step size being that of the zeroth-order block.

    Raises:
        ValueError: a loss that is no function, differences of another kind, the same label twice, an unknown order.

    Example:
        >>> from theory_lab.models.shift import whole
        >>> loss = lambda params, batch: jnp.sum((whole(params["base"]) - params["peft"]) ** 2)
        >>> step = hybrid_step(loss, differences(1e-3), optax.sgd(0.25))
        >>> begin = {"base": jnp.ones(2, jnp.float32), "peft": jnp.zeros(2, jnp.float32)}
        >>> new, _, value = step(begin, optax.sgd(0.25).init(begin["peft"]), None, jax.random.key(0), 0.0)
        >>> float(value), new["base"].tolist(), new["peft"].tolist()
        (2.0, [1.0, 1.0], [0.5, 0.5])

    Reference:
        Ma, Yu, Huang: New Hybrid Fine-Tuning Paradigm for LLMs, 2026, Algorithm 1.
    """
    _check(loss, how)
    _checks.choice("order", order, ORDERS)
    if zeroth == first:
        raise _checks.refuse("first", f"another block than {zeroth!r}", first)

    def step(params: Params, state: optax.OptState, batch: Any, key: Key, step_size: Scalar) -> Stepped:
        value, block, state = _descended(loss, optimizer, first, params, state, batch)
        moved = sum(leaf[(0,) * leaf.ndim].astype(jnp.float32) for leaf in jax.tree.leaves(block))
        now, these = after(moved, (key, batch))  # the backward pass and shifted layers never need memory at the same time
        at = block if order == "adapter_first" else params[first]
        fn = lambda block, batch: loss({**params, first: at, zeroth: block}, batch)
        _, slopes = _slopes(fn, params[zeroth], these, now, how, value if order == "simultaneous" else None)
        new = _moved(params[zeroth], key, slopes, step_size, how)
        return Stepped({**params, zeroth: new, first: block}, state, value)

    return Compiled(step, donate=donate)


def fo_step(loss: Loss, optimizer: optax.GradientTransformation, *, label: Label = "peft", donate: bool = True) -> Step:
    """A compiled first-order step of one block; the other blocks stay. The twin of `hybrid_step`.

    Args:
        loss, donate: as in `zo_step`.
        optimizer: any optax transformation; its state is ``optimizer.init(params[label])``.
        label: of the block that moves.

    Returns:
        ``step(params, state, batch, key, step_size)``; key and step size are not looked at.

    Raises:
        ValueError: a loss that is no function.

    Example:
        >>> step = fo_step(lambda params, batch: jnp.sum(params["peft"] ** 2), optax.sgd(0.25))
        >>> begin = {"peft": jnp.ones(2, jnp.float32)}
        >>> new, _, value = step(begin, optax.sgd(0.25).init(begin["peft"]), None, jax.random.key(0), 0.0)
        >>> float(value), new["peft"].tolist()
        (2.0, [0.5, 0.5])
    """
    _check(loss, None)

    def step(params: Params, state: optax.OptState, batch: Any, key: Key, step_size: Scalar) -> Stepped:
        value, block, state = _descended(loss, optimizer, label, params, state, batch)
        return Stepped({**params, label: block}, state, value)

    return Compiled(step, donate=donate)


def _descended(
    loss: Loss, optimizer: optax.GradientTransformation, label: Label, params: Params, state: optax.OptState, batch: Any
) -> tuple[Array, Block, optax.OptState]:
    block = bare(params[label])
    fn = lambda block: loss({**params, label: like(block, params[label])}, batch)
    value, gradient = jax.value_and_grad(fn)(block)
    updates, state = optimizer.update(gradient, state, block)
    return value, like(optax.apply_updates(block, updates), params[label]), state


def _slopes(
    fn: Callable[[Block, Any], Array], block: Block, batch: Any, key: Key, how: Differences, value: Array | None
) -> tuple[Array, Array]:
    """The value of fn and its slopes along the directions, (q,).

    One evaluation after the other: each waits for the value before it, so that no two need memory at the same time and
    nothing that two of them could share is kept for the second.
    """
    if how.sided == 1 and value is None:
        value = fn(block, batch)
    signs = jnp.array([1.0] if how.sided == 1 else [1.0, -1.0], jnp.float32)
    index, sign = (a.ravel() for a in jnp.meshgrid(jnp.arange(how.directions), signs, indexing="ij"))

    def at(before: Array, point: tuple[Array, Array]) -> tuple[Array, Array]:
        now, these = after(before, (key, batch))
        seen = fn(shift(block, direction_key(now, point[0]), point[1] * how.radius, how.law), these)
        return seen, seen

    start = jnp.zeros((), jax.eval_shape(fn, block, batch).dtype) if value is None else value
    if len(index) == 1:
        seen = at(start, (index[0], sign[0]))[1][None]
    else:
        _, seen = jax.lax.scan(at, start, (index, sign))
    seen = seen.reshape(how.directions, how.sided)
    if how.sided == 1:
        return start, (seen[:, 0] - start) / how.radius
    return jnp.mean(seen) if value is None else value, (seen[:, 0] - seen[:, 1]) / (2 * how.radius)


def _moved(block: Block, key: Key, slopes: Array, step_size: Scalar, how: Differences) -> Block:
    """block - step_size * mean_j slopes[j] v_j, in place."""
    scales = -step_size * slopes / how.directions
    leaves, structure = jax.tree.flatten(block, is_leaf=is_split)
    each = jax.vmap(lambda j: jax.vmap(partial(leaf_key, direction_key(key, j)))(jnp.arange(len(leaves))))
    keys = each(jnp.arange(how.directions))  # (q, leaves)
    moved = [add(leaf, keys[:, i], scales, how.law) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, moved)


def _check(loss: Any, how: Differences | None) -> None:
    if not callable(loss):
        raise _checks.refuse("loss", "a function of the parameters and one batch", loss)
    if how is not None:
        _checks.instance("how", how, Differences, "as differences(radius, ...) makes")
