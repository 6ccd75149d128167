"""Oracles: gradient estimators that see nothing but a function."""

from theory_lab.oracles.base import Cost, Estimate, Oracle
from theory_lab.oracles.first_order import FirstOrder
from theory_lab.oracles.hybrid import Hybrid
from theory_lab.oracles.progress import Progress
from theory_lab.oracles.zeroth_order import TwoPoint

__all__ = ["Cost", "Estimate", "FirstOrder", "Hybrid", "Oracle", "Progress", "TwoPoint"]
