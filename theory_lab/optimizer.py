"""Hybrid SGD: one step size, or one optax transformation, per block."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import optax

from theory_lab import _checks
from theory_lab._typing import Label, Params, Scalar

StepSize: TypeAlias = Scalar | Callable[[Any], Any] | optax.GradientTransformation


def hybrid_sgd(step_sizes: Mapping[Label, StepSize]) -> optax.GradientTransformationExtraArgs:
    r"""SGD with a step size of its own for every block, :math:`z_b \leftarrow z_b - \eta_b\, \hat g_b`.

    It is `optax.partition` with the block labels as labels. Both blocks step from the same point. A transformation sees
    gradients, its state and the parameters; one that asks for more, as `optax.lbfgs` does for the function, is refused.

    Args:
        step_sizes: for every block a step size (per component step), an optax schedule, or any optax transformation, which
            then replaces plain SGD in that block. Zero freezes a block. Schedules count component steps, not epochs:
            n / batch_size of them make an epoch. They must be nonnegative; only their value at count 0 is checked.

    Returns:
        An optax transformation for parameter dicts with exactly these labels.

    Raises:
        ValueError: an empty mapping, a negative or non-finite step size, a schedule that starts with one; at ``init``,
            labels that differ from the parameters', and a transformation that needs more than it is given.

    Example:
        >>> import jax.numpy as jnp
        >>> params = {"x": jnp.ones(2), "y": jnp.ones(2)}
        >>> optimizer = hybrid_sgd({"x": 0.1, "y": optax.sgd(0.5, momentum=0.9)})
        >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
        >>> round(float(updates["x"][0]), 6), round(float(updates["y"][0]), 6)
        (-0.1, -0.5)

    Reference:
        Ma, Yu, Huang: New Hybrid Fine-Tuning Paradigm for LLMs, 2026, Algorithm 1.
    """
    _checks.labelled("step_sizes", step_sizes)
    inner = optax.partition(
        {label: _transformation(label, step_size) for label, step_size in step_sizes.items()},
        {label: label for label in step_sizes},
    )

    def init(params: Params) -> optax.OptState:
        _checks.same_labels("step_sizes", step_sizes, _checks.labelled("params", params))
        if any(isinstance(step_size, optax.GradientTransformation) for step_size in step_sizes.values()):
            _checks.update("step_sizes", inner, params)
        return inner.init(params)

    return optax.GradientTransformationExtraArgs(init, inner.update)


def _transformation(label: Label, step_size: StepSize) -> optax.GradientTransformation:
    if isinstance(step_size, optax.GradientTransformation):
        return step_size
    name = f"step_sizes[{label!r}]"
    if callable(step_size):
        rule = "a number, a schedule or a transformation (call the factory first)"
        try:
            first = step_size(0)
        except TypeError:
            raise _checks.refuse(name, rule, step_size) from None
        if isinstance(first, optax.GradientTransformation):
            raise _checks.refuse(name, rule, step_size)
        if not _checks.is_traced(first):
            _checks.nonnegative(f"{name} at step 0", first)
    elif not _checks.is_traced(step_size):
        step_size = _checks.nonnegative(name, step_size)  # a Python float: it does not widen float32 updates
    return optax.sgd(step_size)
