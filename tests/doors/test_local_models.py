"""The doors of the local models that advice computes with."""

import numpy as np
import pytest

from tests.doors.refusals import INF, NAN, NUMBERS, cases, check_refusal
from theory_lab.theory import modes
from theory_lab.theory.groups import grouped_blocks
from theory_lab.theory.local import local

MODEL = local(np.eye(3), [2, 1], [True, False])
GROUPED = grouped_blocks([1.0, 2.0], [2, 1], [0, 1], [True, False], [2, 1])
ORDERINGS = "'random_reshuffling', 'shuffle_once', 'incremental', 'with_replacement'"
PAIR = "a sequence of length 2, one per block"
SLANTED = [[[0.0, 1.0], [0.0, 0.0]]]


def two(**options):
    """A model of two blocks of one coordinate each."""
    return lambda: local(np.eye(2), **{"sizes": [1, 1], "zeroth": [True, False], **options})


def grouped(**options):
    """Three groups in two blocks."""
    given = {"curvatures": [1.0, 2.0, 3.0], "counts": [2, 1, 1], "owners": [0, 0, 1], "zeroth": [True, False]}
    return lambda: grouped_blocks(**{**given, "dimensions": [3, 1], **options})


DOORS = {
    "hessian": [
        (lambda: local([[NAN]], [1], [True]), f"hessian must be a non-empty 2-dimensional {NUMBERS}, got [[nan]]"),
        (lambda: local([1.0], [1], [True]), f"hessian must be a non-empty 2-dimensional {NUMBERS}, got [1.0]"),
        (
            lambda: local(np.ones((2, 3)), [2], [True]),
            "hessian must be a symmetric matrix of shape (d, d), got an array of shape (2, 3)",
        ),
        (
            lambda: local([[1.0, 1.0], [0.0, 1.0]], [2], [True]),
            "hessian must be a symmetric matrix of shape (d, d), got an asymmetry of 1",
        ),
    ],
    "blocks": [
        (two(sizes=[1]), "sizes must be sizes of blocks that add up to the 2 coordinates of hessian, got (1,)"),
        (two(sizes=[3, -1]), "sizes[1] must be a whole number of at least 1, got -1"),
        (two(sizes=2), "sizes must be a non-empty sequence, one entry per block, got 2"),
        (two(sizes=[]), "sizes must be a non-empty sequence, one entry per block, got []"),
        (two(sizes={"x": 1, "y": 1}), "sizes must be a non-empty sequence, one entry per block, got {'x': 1, 'y': 1}"),
        (two(zeroth=[True]), f"zeroth must be {PAIR}, got [True]"),
        (two(zeroth=True), f"zeroth must be {PAIR}, got True"),
        (two(zeroth="xy"), f"zeroth must be {PAIR}, got 'xy'"),
        (two(zeroth=["x", "y"]), "zeroth[0] must be True or False, got 'x'"),
        (two(zeroth={False, True}), f"zeroth must be {PAIR}, got {{False, True}}"),
    ],
    "gradients": [
        (two(gradient=[1.0]), "gradient must be of shape (2,), got 'shape (1,)'"),
        (two(gradient=[[1.0, 1.0]]), f"gradient must be a non-empty 1-dimensional {NUMBERS}, got [[1.0, 1.0]]"),
        (two(gradient=[1.0, INF]), f"gradient must be a non-empty 1-dimensional {NUMBERS}, got [1.0, inf]"),
        (two(tilts=[[1.0], [-1.0]]), "tilts must be of shape (m, 2), got 'shape (2, 1)'"),
        (two(tilts=[1.0, 1.0]), f"tilts must be a non-empty 2-dimensional {NUMBERS}, got [1.0, 1.0]"),
        (two(tilts=[[1.0, NAN]]), f"tilts must be a non-empty 2-dimensional {NUMBERS}, got [[1.0, nan]]"),
    ],
    "deviations": [
        (two(deviations=[[0.0, 0.0]]), f"deviations must be a non-empty 3-dimensional {NUMBERS}, got [[0.0, 0.0]]"),
        (two(deviations=[[[]]]), f"deviations must be a non-empty 3-dimensional {NUMBERS}, got [[[]]]"),
        (two(deviations=np.zeros((1, 3, 3))), "deviations must be of shape (m, 2, 2), got 'shape (1, 3, 3)'"),
        (two(deviations=[[[NAN]]]), f"deviations must be a non-empty 3-dimensional {NUMBERS}, got [[[nan]]]"),
        (two(deviations=SLANTED), "deviations must be symmetric, each of them, got 'an asymmetry of 1'"),
    ],
    "rounding and effort": [
        (two(rounding=[0.0]), f"rounding must be {PAIR}, got [0.0]"),
        (two(rounding=[]), f"rounding must be {PAIR}, got []"),
        (two(rounding=0.0), f"rounding must be {PAIR}, got 0.0"),
        (two(rounding=np.zeros(3)), f"rounding must be {PAIR}, got array([0., 0., 0.])"),
        (two(rounding=[0.0, -1]), "rounding[1] must be nonnegative and finite, got -1"),
        (two(rounding=[NAN, 0.0]), "rounding[0] must be nonnegative and finite, got nan"),
        (two(share=-1), "share must be nonnegative and finite, got -1"),
        (two(n=0), "n must be a whole number of at least 1, got 0"),
        (two(directions=0), "directions must be a whole number of at least 1, got 0"),
        (two(ordering="any"), f"ordering must be one of {ORDERINGS}, got 'any'"),
        (two(law="any"), "law must be one of 'gaussian', 'rademacher', 'sphere', got 'any'"),
    ],
    "recursions": [
        (lambda: modes.steps_to(MODEL.modes([0.1, 0.1]), 0), "accuracy must be positive and finite, got 0"),
        (lambda: MODEL.modes([0.1]), f"step_sizes must be {PAIR}, got [0.1]"),
        (lambda: MODEL.modes(0.1), f"step_sizes must be {PAIR}, got 0.1"),
        (lambda: MODEL.modes({"x": 0.1, "y": 0.1}), f"step_sizes must be {PAIR}, got {{'x': 0.1, 'y': 0.1}}"),
        (lambda: MODEL.modes([0.1, 0.0]), "step_sizes[1] must be positive and finite, got 0.0"),
        (lambda: GROUPED.modes([0.1, 0.1, 0.1]), f"step_sizes must be {PAIR}, got [0.1, 0.1, 0.1]"),
        (lambda: GROUPED.modes([0.1, INF]), "step_sizes[1] must be positive and finite, got inf"),
    ],
    "groups": [
        (grouped(counts=[1.0]), "counts must be 3 nonnegative numbers, one per group, got [1.0]"),
        (grouped(counts=[-1.0, 1, 1]), "counts must be 3 nonnegative numbers, one per group, got [-1.0, 1, 1]"),
        (grouped(noise=[1.0]), "noise must be 3 nonnegative numbers, one per group, got [1.0]"),
        (grouped(gradient_sq=[1.0, 1.0]), "gradient_sq must be 3 nonnegative numbers, one per group, got [1.0, 1.0]"),
        (grouped(curvatures="a"), f"curvatures must be a non-empty 1-dimensional {NUMBERS}, got 'a'"),
        (
            grouped(curvatures=[1.0, NAN]),
            f"curvatures must be a non-empty 1-dimensional {NUMBERS}, got [1.0, nan]",
        ),
        (grouped(curvatures=[]), f"curvatures must be a non-empty 1-dimensional {NUMBERS}, got []"),
        (grouped(owners=[0, 0, 2]), "owners must be whole numbers from 0 to 1, the block of every group, got [0, 0, 2]"),
        (grouped(owners=[0, 0.5, 1]), "owners must be whole numbers from 0 to 1, the block of every group, got [0, 0.5, 1]"),
        (grouped(owners=[0, -1, 1]), "owners must be 3 nonnegative numbers, one per group, got [0, -1, 1]"),
        (grouped(owners=[0, 1]), "owners must be 3 nonnegative numbers, one per group, got [0, 1]"),
        (grouped(zeroth=[True]), f"zeroth must be {PAIR}, got [True]"),
        (grouped(zeroth=[1, 0]), "zeroth[0] must be True or False, got 1"),
        (grouped(dimensions=[3]), "owners must be whole numbers from 0 to 0, the block of every group, got [0, 0, 1]"),
        (grouped(dimensions=[3, 0]), "dimensions[1] must be a whole number of at least 1, got 0"),
        (grouped(dimensions=3), "dimensions must be a non-empty sequence, one entry per block, got 3"),
        (grouped(kappa=[0.0]), f"kappa must be {PAIR}, got [0.0]"),
        (grouped(kappa=np.zeros(3)), f"kappa must be {PAIR}, got array([0., 0., 0.])"),
        (grouped(kappa=[0.0, -1.0]), "kappa[1] must be nonnegative and finite, got -1.0"),
        (grouped(rounding=[0.0, 0.0, 0.0]), f"rounding must be {PAIR}, got [0.0, 0.0, 0.0]"),
        (grouped(rounding=[0.0, NAN]), "rounding[1] must be nonnegative and finite, got nan"),
        (grouped(ordering="any"), f"ordering must be one of {ORDERINGS}, got 'any'"),
        (grouped(share=NAN), "share must be nonnegative and finite, got nan"),
    ],
}


@pytest.mark.parametrize("call, message", cases(DOORS))
def test_refused_by_name_rule_and_value(call, message):
    check_refusal(call, message)


def test_arrays_are_taken_wherever_sequences_are():
    one = local(np.eye(2), np.array([1, 1]), np.array([True, False]), rounding=np.array([1e-3, 0.0]))
    other = local(np.eye(2), [1, 1], [True, False], rounding=[1e-3, 0.0])
    etas = np.array([0.1, 0.2])
    assert one.modes(etas).floor == other.modes(list(etas)).floor > 0
    few = {"curvatures": [1.0, 2.0], "counts": [2, 1], "owners": np.array([0, 1]), "zeroth": [True, False]}
    sizes, kappa = np.array([2, 1]), np.array([0.1, 0.1])
    whole = grouped_blocks(**few, dimensions=sizes, kappa=kappa, rounding=kappa)
    again = grouped_blocks(**few, dimensions=[2, 1], kappa=[0.1, 0.1], rounding=(0.1, 0.1))
    assert whole.modes(etas).floor == again.modes(etas).floor > 0
