"""Runs: the loop, its doors, and the trace they leave."""

from theory_lab.run.sweep import run, step_size_grid, sweep
from theory_lab.run.trace import Costs, Trace

__all__ = ["Costs", "Trace", "run", "step_size_grid", "sweep"]
