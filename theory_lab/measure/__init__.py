"""Measurements: traces and functions in, a number with an interval out."""

from theory_lab.measure import (
    accuracy,
    constants,
    family,
    oracles,
    particles,
    rate,
    reach,
    smoothness,
    stability,
    tail,
)
from theory_lab.measure.base import Measurement, exact, mean

__all__ = [
    "Measurement",
    "accuracy",
    "constants",
    "exact",
    "family",
    "mean",
    "oracles",
    "particles",
    "rate",
    "reach",
    "smoothness",
    "stability",
    "tail",
]
