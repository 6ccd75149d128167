"""Smoothness, measured on any function and any tree of blocks, by Hessian-vector products.

`curvature` is the operator, `lanczos` and `recurrence` say what products tell of its ends. Upon them stand
`extremes`, `traces`, `density` and `cross` (one matrix), `dominance`, `partners` and `scales` (which diag(L_b I)
dominate it), `growth` and `envelopes` (how it rises with the gradient), `modules` (inside a block), `components`,
`minibatches` and `finite_sums` (finite sums), and `lookahead` (where training seems to lead).
"""

from theory_lab.measure.smoothness.components import over
from theory_lab.measure.smoothness.cross import cross_norm
from theory_lab.measure.smoothness.density import SpectralDensity, spectral_density
from theory_lab.measure.smoothness.dominance import FrontierPoint, Margin, frontier, margin
from theory_lab.measure.smoothness.envelopes import Envelope, Steps, envelope, inflated, isotonic, tightest
from theory_lab.measure.smoothness.extremes import extreme_eigenvalues
from theory_lab.measure.smoothness.growth import growth
from theory_lab.measure.smoothness.minibatches import sampled_extremes, sampled_trace
from theory_lab.measure.smoothness.modules import heterogeneity, modules
from theory_lab.measure.smoothness.partners import partner
from theory_lab.measure.smoothness.scales import Best, best_scales
from theory_lab.measure.smoothness.traces import effective_rank, trace

__all__ = [
    "Best",
    "Envelope",
    "FrontierPoint",
    "Margin",
    "SpectralDensity",
    "Steps",
    "best_scales",
    "cross_norm",
    "effective_rank",
    "envelope",
    "extreme_eigenvalues",
    "frontier",
    "growth",
    "heterogeneity",
    "inflated",
    "isotonic",
    "margin",
    "modules",
    "over",
    "partner",
    "sampled_extremes",
    "sampled_trace",
    "spectral_density",
    "tightest",
    "trace",
]
