"""A trace: what a run leaves behind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from theory_lab import _checks
from theory_lab._typing import Label, Params

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Costs:
    """What had been spent when a row was logged, in component evaluations and component gradients, each (E,)."""

    values: np.ndarray
    gradients: np.ndarray


@dataclass(frozen=True)
class Trace:
    """The logged rows of one run, or of a grid of runs; NumPy arrays with the row axis E last.

    A sweep puts the axes (G, S), grid point and seed, in front. Values and norms are those of f itself, evaluated exactly by
    the loop and never by the oracle. A run that leaves the finite numbers is frozen where it was last finite at the start of
    an epoch; its rows from there on are inf.

    Attributes:
        epoch: (E,) epochs completed when the row was logged; a fraction within an epoch.
        cost: what had been spent by then.
        value: (..., E) f.
        gradient_norm_sq: {label: (..., E)} the squared norm of every block of grad f.
        distance_sq: {label: (..., E)} the squared distance of every block to the problem's optimum; None if that is unknown.
        diverged_at: (...) the epoch at whose end the run was no longer finite; inf for a run that stayed finite.
        params: the last finite parameters, leaves (..., *shape).
        every_step: whether the rows are all iterates (resolution "step"), not only epochs.
        step_sizes: {label: (G,)} the grid of a sweep, None for a single run.
    """

    epoch: np.ndarray
    cost: Costs
    value: np.ndarray
    gradient_norm_sq: Mapping[Label, np.ndarray]
    distance_sq: Mapping[Label, np.ndarray] | None
    diverged_at: np.ndarray
    params: Params
    every_step: bool = False
    step_sizes: Mapping[Label, np.ndarray] | None = None

    @property
    def total_gradient_norm_sq(self) -> np.ndarray:
        """||grad f||^2, the sum over blocks, (..., E)."""
        return np.sum([norm for norm in self.gradient_norm_sq.values()], axis=0)

    @property
    def total_distance_sq(self) -> np.ndarray:
        """||z - z*||^2, the sum over blocks, (..., E).

        Raises:
            ValueError: the problem's optimum was not known.
        """
        if self.distance_sq is None:
            raise _checks.refuse("the problem of the trace", "one whose optimum is known", None)
        return np.sum([distance for distance in self.distance_sq.values()], axis=0)

    @property
    def divergence(self) -> str:
        """The note of a measurement on runs that diverged: how many, and when the first; empty if all stayed finite."""
        gone = np.isfinite(self.diverged_at)
        if not gone.any():
            return ""
        return f"diverged at epoch {self.diverged_at[gone].min():g} ({gone.sum()} of {gone.size} runs)"

    def average(self, rows: np.ndarray) -> np.ndarray:
        """The metric of the reshuffling theorems: the mean of a logged quantity over the starts of epochs 0, ..., T-1.

        Args:
            rows: (..., E), any logged quantity of this trace.

        Returns:
            (...), one number per run; inf where a run diverged.

        Raises:
            ValueError: the start of some epoch was not logged, or rows of another shape.
        """
        starts = (self.epoch == np.rint(self.epoch)) & (self.epoch < self.epoch[-1])
        if starts.sum() != self.epoch[-1]:
            raise ValueError(
                f"the trace must be logged at the start of every epoch, got {starts.sum()} of {self.epoch[-1]:g}"
            )
        return np.mean(self._logged(rows)[..., starts], axis=-1)

    def average_over_steps(self, rows: np.ndarray) -> np.ndarray:
        """The metric of the with-replacement theorems: the mean of a logged quantity over all iterates before a step.

        Args:
            rows: (..., E), any logged quantity of this trace, which was logged with resolution "step".

        Raises:
            ValueError: only epochs were logged, and an epoch has more than one step; rows of another shape.
        """
        before = self.epoch < self.epoch[-1]
        if not self.every_step:
            raise ValueError("the trace must be logged with resolution='step', got one row per logged epoch")
        return np.mean(self._logged(rows)[..., before], axis=-1)

    def _logged(self, rows: np.ndarray) -> np.ndarray:
        try:
            array = np.asarray(rows)
        except (TypeError, ValueError):  # keys, rows of different lengths
            array = np.empty((), object)
        if array.ndim == 0 or array.shape[-1] != self.epoch.size or array.dtype.kind not in "fiu":
            rule = f"an array of numbers, one for each of the {self.epoch.size} logged rows along its last axis"
            raise _checks.refuse("rows", rule, f"shape {array.shape}, type {array.dtype}")
        return array

    def to_frame(self) -> "pd.DataFrame":
        """Tidy rows: one per grid point, seed and logged epoch."""
        import pandas as pd  # here, because it takes longer to import than all of the package

        shape = self.value.shape
        labels = sorted(self.gradient_norm_sq)
        index = np.indices(shape).reshape(len(shape), -1)
        columns: dict[str, np.ndarray] = {}
        if len(shape) == 3:
            assert self.step_sizes is not None
            columns |= {f"step_size_{b}": self.step_sizes[b][index[0]] for b in sorted(self.step_sizes)}
            columns |= {"seed": index[1]}
        columns["diverged_at"] = np.broadcast_to(self.diverged_at[..., None], shape).ravel()
        columns["epoch"] = self.epoch[index[-1]]
        columns["values"], columns["gradients"] = self.cost.values[index[-1]], self.cost.gradients[index[-1]]
        columns["value"] = self.value.ravel()
        columns |= {f"gradient_norm_sq_{b}": self.gradient_norm_sq[b].ravel() for b in labels}
        if self.distance_sq is not None:
            columns |= {f"distance_sq_{b}": self.distance_sq[b].ravel() for b in labels}
        return pd.DataFrame(columns)
