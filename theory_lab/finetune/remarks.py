"""What came of a run that its user should be told in words: numbers that no loss shows."""

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from theory_lab._typing import Array, Label, Params

ABSURD = 1e3  # numbers so many times as large as 1, and as the largest of the start, are told


@jax.jit
def largest(params: Params) -> dict[Label, Array]:
    """The largest size of a number in every block.

    Example:
        >>> float(largest({"base": [jnp.ones(2), jnp.array([-3.0])]})["base"])
        3.0
    """
    most = lambda block: jnp.max(jnp.array([jnp.max(jnp.abs(leaf), initial=0.0) for leaf in jax.tree.leaves(block)]))
    return {label: most(block) for label, block in params.items()}


def remarks(
    rows: Sequence[Mapping[str, float]], best_step: int, began: Mapping[Label, Array], ended: Mapping[Label, Array]
) -> tuple[str, ...]:
    """Sentences on a run that was not the better for training, or that left numbers of absurd size.

    A norm in every layer can keep the loss of such parameters finite.

    Args:
        rows: the history, whose dev_loss is nan where there is no dev.
        best_step: of the best look.
        began, ended: `largest` of the blocks that move, at the start and at the end.

    Example:
        >>> remarks([{"dev_loss": math.nan}] * 2, 1, {"peft": 0.5}, {"peft": 1e30})
        ('peft ends with numbers as large as 1e+30, from at most 0.5 at the start: its learning rate is too large',)
    """
    told = []
    if len(rows) > 1 and best_step == 0 and not math.isnan(rows[0]["dev_loss"]):
        told.append("no step was better on dev than the start: the best parameters are those before training")
    for label in began:
        first, last = float(began[label]), float(ended[label])
        if math.isfinite(last) and last > ABSURD * max(1.0, first):
            size = f"{label} ends with numbers as large as {last:.3g}, from at most {first:.3g} at the start"
            told.append(f"{size}: its learning rate is too large")
    return tuple(told)
