"""Measurements: traces and functions in, a number with an interval out."""

from theory_lab.measure import (
    accuracy,
    constants,
    curvature,
    family,
    finite_sums,
    lanczos,
    lookahead,
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
    "curvature",
    "exact",
    "family",
    "finite_sums",
    "lanczos",
    "lookahead",
    "mean",
    "oracles",
    "particles",
    "rate",
    "reach",
    "smoothness",
    "stability",
    "tail",
]
