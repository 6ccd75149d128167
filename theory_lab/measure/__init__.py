"""Measurements: traces and functions in, a number with an interval out."""

from theory_lab.measure.base import Measurement, exact, mean

__all__ = ["Measurement", "exact", "mean"]
