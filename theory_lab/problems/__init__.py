"""Problems: finite sums with named blocks and exactly known constants."""

from theory_lab._trees import record
from theory_lab.problems import data, hard
from theory_lab.problems.base import Problem
from theory_lab.problems.chain import chain
from theory_lab.problems.cosine import cosine
from theory_lab.problems.custom import finite_sum
from theory_lab.problems.factorisation import matrix_factorisation
from theory_lab.problems.generalized import cosh, exponential, power, separable
from theory_lab.problems.logistic import logistic
from theory_lab.problems.quadratic import block_quadratic
from theory_lab.problems.robust import geman_mcclure

__all__ = [
    "Problem",
    "block_quadratic",
    "chain",
    "cosh",
    "cosine",
    "data",
    "exponential",
    "finite_sum",
    "geman_mcclure",
    "hard",
    "logistic",
    "matrix_factorisation",
    "power",
    "record",
    "separable",
]
