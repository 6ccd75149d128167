"""A trace: what a run leaves behind."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from theory_lab._typing import Label, Params


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
        step_sizes: {label: (G,)} the grid of a sweep, None for a single run.
    """

    epoch: np.ndarray
    cost: Costs
    value: np.ndarray
    gradient_norm_sq: Mapping[Label, np.ndarray]
    distance_sq: Mapping[Label, np.ndarray] | None
    diverged_at: np.ndarray
    params: Params
    step_sizes: Mapping[Label, np.ndarray] | None = None

    @property
    def total_gradient_norm_sq(self) -> np.ndarray:
        """||grad f||^2, the sum over blocks, (..., E)."""
        return np.sum([norm for norm in self.gradient_norm_sq.values()], axis=0)

    def average(self, rows: np.ndarray) -> np.ndarray:
        """The theorem's metric: the mean of a logged quantity over the starts of all epochs, without the end of the last.

        Args:
            rows: (..., E), any logged quantity of this trace.

        Returns:
            (...), one number per run; inf where a run diverged.
        """
        return np.mean(rows[..., self.epoch < self.epoch[-1]], axis=-1) if self.epoch.size > 1 else rows[..., 0]

    def to_frame(self) -> pd.DataFrame:
        """Tidy rows: one per grid point, seed and logged epoch."""
        shape = self.value.shape
        labels = sorted(self.gradient_norm_sq)
        index = np.indices(shape).reshape(len(shape), -1)
        columns: dict[str, np.ndarray] = {}
        if len(shape) == 3:
            assert self.step_sizes is not None
            columns |= {f"step_size_{b}": self.step_sizes[b][index[0]] for b in sorted(self.step_sizes)}
            columns |= {"seed": index[1]}
        columns["epoch"] = self.epoch[index[-1]]
        columns["values"], columns["gradients"] = self.cost.values[index[-1]], self.cost.gradients[index[-1]]
        columns["value"] = self.value.ravel()
        columns |= {f"gradient_norm_sq_{b}": self.gradient_norm_sq[b].ravel() for b in labels}
        if self.distance_sq is not None:
            columns |= {f"distance_sq_{b}": self.distance_sq[b].ravel() for b in labels}
        return pd.DataFrame(columns)
