"""theory_lab: check convergence theory against measurement.

problem -> oracle -> optimizer -> run -> measure -> claim -> report; constants -> theorem -> prediction.
"""

from typing import TYPE_CHECKING, Any

from theory_lab import claims, constants, measure, orderings, problems, theory
from theory_lab.advise import Advice, advise
from theory_lab.claims import Claim, Verdict, claim
from theory_lab.constants import Constants
from theory_lab.measure import Measurement
from theory_lab.optimizer import hybrid_sgd
from theory_lab.oracles import FirstOrder, Hybrid, Oracle, Progress, TwoPoint
from theory_lab.orderings import incremental, random_reshuffling, shuffle_once, with_replacement
from theory_lab.problems import (
    Problem,
    block_quadratic,
    chain,
    cosh,
    cosine,
    exponential,
    finite_sum,
    geman_mcclure,
    logistic,
    matrix_factorisation,
    power,
    separable,
)
from theory_lab.run import Trace, run, step_size_grid, sweep

if TYPE_CHECKING:
    from theory_lab import finetune, models

__version__ = "0.1.0"

__all__ = [
    "Advice",
    "Claim",
    "Constants",
    "FirstOrder",
    "Hybrid",
    "Measurement",
    "Oracle",
    "Problem",
    "Progress",
    "Trace",
    "TwoPoint",
    "Verdict",
    "advise",
    "block_quadratic",
    "chain",
    "claim",
    "claims",
    "constants",
    "cosh",
    "cosine",
    "exponential",
    "finetune",
    "finite_sum",
    "geman_mcclure",
    "hybrid_sgd",
    "incremental",
    "logistic",
    "matrix_factorisation",
    "measure",
    "models",
    "orderings",
    "power",
    "problems",
    "random_reshuffling",
    "run",
    "separable",
    "shuffle_once",
    "step_size_grid",
    "sweep",
    "theory",
    "with_replacement",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """The rooms of language models, imported when they are first asked for."""
        if name == "finetune":
            import theory_lab.finetune as room
        elif name == "models":
            import theory_lab.models as room
        else:
            raise AttributeError(f"module 'theory_lab' has no attribute {name!r}")
        return room
