"""Advice: measured constants meet theory, and step sizes come out, each with its reason."""

from theory_lab.advise.advising import advise
from theory_lab.advise.base import Advice, Reason

__all__ = ["Advice", "Reason", "advise"]
