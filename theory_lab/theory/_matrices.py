"""Checks of matrices that several theory modules share."""

from typing import Any

import numpy as np

from theory_lab import _checks


def symmetric(name: str, value: Any, *, dimension: int | None = None) -> np.ndarray:
    """A symmetric real matrix in float64, exactly symmetrised; an asymmetry of 1e-10 of the largest entry is rounding.

    Raises:
        ValueError: not a finite square matrix (of the given dimension, if one is given), or not symmetric.
    """
    size = "d" if dimension is None else str(dimension)
    rule = f"a symmetric matrix of shape ({size}, {size})"
    matrix = _checks.array(name, value, ndim=2)
    if matrix.shape[0] != matrix.shape[1] or (dimension is not None and matrix.shape[0] != dimension):
        raise ValueError(f"{name} must be {rule}, got an array of shape {matrix.shape}")
    asymmetry = float(np.abs(matrix - matrix.T).max())
    if asymmetry > 1e-10 * float(np.abs(matrix).max()):
        raise ValueError(f"{name} must be {rule}, got an asymmetry of {asymmetry:.3g}")
    return (matrix + matrix.T) / 2


def positive_semidefinite(name: str, value: Any, *, dimension: int | None = None) -> np.ndarray:
    """A symmetric matrix without negative eigenvalues, up to rounding.

    Raises:
        ValueError: not symmetric, or an eigenvalue below -1e-10 of the largest.
    """
    matrix = symmetric(name, value, dimension=dimension)
    eigenvalues = np.linalg.eigvalsh(matrix)
    if eigenvalues[0] < -1e-10 * max(float(eigenvalues[-1]), 0.0):
        raise ValueError(f"{name} must be positive semidefinite, got a matrix with the eigenvalue {eigenvalues[0]:.6g}")
    return matrix


def leading_block(zeroth_dimension: Any, dimension: int) -> int:
    """How many of the leading coordinates form the zeroth-order block: 0 to `dimension`.

    Raises:
        ValueError: not a whole number in that range.
    """
    size = _checks.count("zeroth_dimension", zeroth_dimension, least=0)
    if size > dimension:
        raise _checks.refuse("zeroth_dimension", f"at most the dimension {dimension} of the hessian", zeroth_dimension)
    return size
