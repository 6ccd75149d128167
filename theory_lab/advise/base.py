"""Advice: step sizes and the rest of a run's settings, each with its reason."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import optax
import pandas as pd

from theory_lab._typing import Label
from theory_lab.constants import Constants
from theory_lab.measure.base import Measurement
from theory_lab.optimizer import hybrid_sgd
from theory_lab.oracles import FirstOrder, Hybrid, TwoPoint
from theory_lab.oracles.base import Cost
from theory_lab.oracles.directions import Law

Sided = Literal[1, 2]


@dataclass(frozen=True)
class Reason:
    """Why one quantity has its value.

    Attributes:
        quantity: what is advised or predicted, as in "step size of x".
        value: its value, a number or a word.
        statement: the name of the statement of `theory.catalogue` that it rests on, or "measured", or "measured
            conjecture: ...".
        why: the statement with this problem's numbers, in a sentence.
        changes: what would change the value.
    """

    quantity: str
    value: Any
    statement: str
    why: str
    changes: str = ""


@dataclass(frozen=True)
class Advice:
    """Step sizes per block, radius, directions and ordering, each with its reason; `advise` makes it.

    Attributes:
        step_sizes: per block, per component step.
        limits: per block the predicted mean-square limit of its step size, the others at their advised ones; the note says
            how it was computed. Where components differ and come without replacement it is a measured conjecture.
        steps: predicted component steps until (E||grad f||^2)^1/2 is at most the accuracy; inf if never, nan if unknown.
        accuracy: the target.
        radius, directions, law, sided: of the two-point estimates.
        ordering: by name.
        batch_size: components per step.
        cost: of one step, in evaluations and reverse passes of a minibatch's loss.
        spent: what advising has cost for the most part: Hessian-vector products, gradients of the sum, and products with
            components. What a few components' gradients, the radius and the guaranteed step sizes take is not counted.
        constants: measured: smoothness, trace and dispersion per block, strong convexity, the least value seen. Smoothness
            and trace of a large problem only where theorems ask for them: of a zeroth-order block beside a first-order one.
        zeroth: labels of the zeroth-order blocks.
        guaranteed: per theorem the step sizes that it would guarantee if the measured constants held everywhere.
        reasons: one for every quantity.
        along: what makes the curve; None once it is made and kept.
    """

    step_sizes: Mapping[Label, float]
    limits: Mapping[Label, Measurement]
    steps: float
    accuracy: float
    radius: float
    directions: int
    law: Law
    sided: int
    ordering: str
    batch_size: int
    cost: Cost
    spent: Mapping[str, int]
    constants: Constants
    zeroth: tuple[Label, ...]
    guaranteed: Mapping[str, Mapping[Label, float]]
    reasons: tuple[Reason, ...]
    along: Callable[[], pd.DataFrame] | None = field(repr=False, compare=False)

    @cached_property
    def curve(self) -> pd.DataFrame:
        """Predicted steps around every advised step size, the others as advised: label, step_size, steps, stable."""
        assert self.along is not None
        return self.along()

    def __getstate__(self) -> dict[str, Any]:
        """With the curve, and without the models that make it."""
        return {**vars(self), "curve": self.curve, "along": None}

    def oracle(self) -> Hybrid:
        """The oracle: two points for the zeroth-order blocks, gradients for the others.

        Example:
            >>> import jax
            >>> from theory_lab.advise import advise
            >>> from theory_lab.problems import block_quadratic
            >>> advice = advise(block_quadratic({"x": 4, "y": 2}, n=3), key=jax.random.key(0))
            >>> sorted(advice.oracle().members)
            ['x', 'y']
        """
        two = lambda: TwoPoint(self.radius, self.directions, self.law, self.sided)
        return Hybrid({label: two() if label in self.zeroth else FirstOrder() for label in self.step_sizes})

    def optimizer(self) -> optax.GradientTransformationExtraArgs:
        """Hybrid SGD at the advised step sizes."""
        return hybrid_sgd(dict(self.step_sizes))

    def frame(self) -> pd.DataFrame:
        """One row per reason: quantity, value, statement, why, changes."""
        return pd.DataFrame([vars(reason) for reason in self.reasons])

    def __str__(self) -> str:
        lines = []
        for reason in self.reasons:
            value = f"{reason.value:.4g}" if isinstance(reason.value, float) else str(reason.value)
            lines.append(f"{reason.quantity}: {value}")
            lines.append(f"    {reason.why} [{reason.statement}]")
            if reason.changes:
                lines.append(f"    Would change it: {reason.changes}")
        return "\n".join(lines)
