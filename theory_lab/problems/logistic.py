"""L2-regularised logistic regression on any data, its columns split into blocks, its optimum certified."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.special import expit

from theory_lab import _checks, blocks
from theory_lab._trees import record
from theory_lab._typing import Array, Key, Label, Params
from theory_lab.constants import Constants
from theory_lab.problems.base import Problem, magnitude, two_sided_scale

ACCURACY = 1e-12


@record(data=("features", "signs", "l2", "constants", "optimum"))
class Logistic(Problem):
    """f_i(z) = log(1 + exp(-s_i a_i'z)) + (l2/2)|z|^2; build it with `logistic`.

    Attributes:
        features: the rows a_i cut into blocks, {label: (n, d_b)}.
        signs: s_i = +-1, (n,).
        l2: the regularisation.
    """

    n: int
    features: Mapping[Label, Array]
    signs: Array
    l2: Array
    constants: Constants
    optimum: Params

    def init(self, key: Key) -> Params:
        del key
        return {label: jnp.zeros(a.shape[1], a.dtype) for label, a in self.features.items()}

    def component(self, params: Params, index: Array) -> Array:
        margin = self.signs[index] * blocks.inner({label: a[index] for label, a in self.features.items()}, params)
        penalty = sum(blocks.norm_sq(params[label]) for label in self.features)
        return jnp.logaddexp(0.0, -margin) + self.l2 / 2 * penalty

    def dense_hessian(self) -> np.ndarray:
        """The Hessian of f at the optimum, (d, d) in float64; coordinates in the sorted order of the labels."""
        rows, _, margins = self._at_optimum()
        weights = expit(margins) * expit(-margins) / self.n
        return rows.T @ (weights[:, None] * rows) + float(self.l2) * np.eye(rows.shape[1])

    def component_gradients(self) -> np.ndarray:
        """The gradient of every component at the optimum, (n, d) in float64."""
        rows, optimum, margins = self._at_optimum()
        return -(np.asarray(self.signs) * expit(-margins))[:, None] * rows + float(self.l2) * optimum

    def component_hessians(self) -> np.ndarray:
        """The Hessian of every component at the optimum, (n, d, d) in float64."""
        rows, _, margins = self._at_optimum()
        weighted = (expit(margins) * expit(-margins))[:, None] * rows
        return weighted[:, :, None] * rows[:, None, :] + float(self.l2) * np.eye(rows.shape[1])

    def _at_optimum(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The rows (n, d), the optimum (d,) and the margins s_i a_i'z (n,)."""
        rows = np.concatenate([np.asarray(self.features[b], np.float64) for b in sorted(self.features)], axis=1)
        optimum = np.concatenate([np.asarray(self.optimum[b], np.float64) for b in sorted(self.features)])
        return rows, optimum, np.asarray(self.signs, np.float64) * (rows @ optimum)


def logistic(
    features: Any,
    labels: Any,
    *,
    columns: Mapping[Label, Sequence[int] | slice],
    l2: float,
) -> Logistic:
    r"""Binary logistic regression as a finite sum over the rows of a data set.

    .. math:: f_i(z) = \log(1 + \exp(-s_i a_i^\top z)) + \tfrac{\lambda}{2} \|z\|^2

    The logistic loss has second derivative in (0, 1/4], so
    :math:`0 \le \nabla^2 f_i \le \frac14 a_i a_i^\top + \lambda I`; the declared L_b are the least constants, in proportion
    to the blocks' longest rows, with 1/4 a_i a_i' + lambda I <= D for every i. The minimiser is found by Newton's method in
    float64 until the gradient's norm is at most 1e-12 (relative to 1 + its norm at zero) and f(z) - f* <= |grad f|^2 /
    (2 lambda) certifies f* to 1e-12.

    Args:
        features: the matrix a, (n, d).
        labels: n labels with exactly two distinct values (0/1, -1/+1, 1/2, strings); the larger counts as +1.
        columns: which columns each block holds; together they are all d, each once. {"x": slice(0, 20), "y": slice(20, 30)}.
        l2: lambda > 0.

    Raises:
        ValueError: empty or non-finite data, labels that are not binary, columns that overlap or miss some, l2 <= 0.

    Example:
        >>> problem = logistic([[1.0, 2.0], [-1.0, 0.5], [0.3, -1.0]], [1, 0, 0], columns={"x": [0], "y": [1]}, l2=0.1)
        >>> bool(abs(problem.value(problem.optimum) - problem.constants.optimal_value) < 1e-6)
        True
    """
    matrix = _checks.array("features", features, ndim=2)
    n, d = matrix.shape
    signs = _signs(labels, n)
    l2 = magnitude("l2", l2)
    parts = {label: matrix[:, index] for label, index in _columns(columns, d).items()}
    with np.errstate(over="ignore", invalid="ignore"):  # of features too large for float64 the gradient tells
        optimum = _newton(matrix, signs, l2)
    loss_part = two_sided_scale(parts, 0.25)
    smoothness = {
        label: magnitude(f"the smoothness of columns[{label!r}]", value + l2) for label, value in loss_part.items()
    }
    spread = {label: float(np.mean(np.sum(rows**2, axis=1))) for label, rows in parts.items()}
    return Logistic(
        n=n,
        features={label: jnp.asarray(rows) for label, rows in parts.items()},
        signs=jnp.asarray(signs),
        l2=jnp.asarray(np.float64(l2)),
        constants=Constants(
            smoothness=smoothness,
            trace={label: smoothness[label] * rows.shape[1] for label, rows in parts.items()},
            strong_convexity=l2,
            pl=l2,
            optimal_value=_value(matrix, signs, l2, optimum),
            dispersion=spread,
        ),
        optimum={label: jnp.asarray(optimum[index]) for label, index in _columns(columns, d).items()},
    )


def _signs(labels: Any, n: int) -> np.ndarray:
    """+-1 in float64; the larger of the two labels is +1."""
    try:
        given = np.asarray(labels)
    except (TypeError, ValueError):
        raise _checks.refuse("labels", f"one per row of features ({n})", labels) from None
    if given.dtype.kind == "U" and given.shape == (n,) and not all(isinstance(label, str) for label in labels):
        raise _checks.refuse("labels", "all numbers or all strings", sorted({type(a).__name__ for a in labels}))
    if given.shape != (n,):
        raise ValueError(f"labels must be one per row of features ({n}), got an array of shape {given.shape}")
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        raise ValueError("labels must be finite, got non-finite entries")
    try:
        values = np.unique(given)
    except TypeError:
        raise _checks.refuse(
            "labels", "all numbers or all strings", sorted({type(a).__name__ for a in given.ravel()})
        ) from None
    if values.size != 2:
        raise _checks.refuse("labels", "binary (exactly two distinct values)", values[:6].tolist())
    return np.where(given == values[1], 1.0, -1.0)


def _columns(columns: Any, d: int) -> dict[Label, np.ndarray]:
    """Per block the column numbers, sorted by label; together a partition of range(d)."""
    chosen = {}
    for label, index in sorted(_checks.labelled("columns", columns).items()):
        try:
            picked = np.arange(d)[index] if isinstance(index, slice) else np.asarray(index)
        except (TypeError, ValueError):
            picked = np.empty(0)
        if picked.ndim != 1 or picked.size == 0 or picked.dtype.kind not in "iu":
            raise _checks.refuse(f"columns[{label!r}]", "a slice or a non-empty list of column numbers", index)
        chosen[label] = picked
    together = np.sort(np.concatenate(list(chosen.values())))
    if not np.array_equal(together, np.arange(d)):
        raise _checks.refuse("columns", f"a partition of the {d} columns of features, each in one block", columns)
    return chosen


def _value(matrix: np.ndarray, signs: np.ndarray, l2: float, z: np.ndarray) -> float:
    return float(np.mean(np.logaddexp(0.0, -signs * (matrix @ z))) + l2 / 2 * z @ z)


def _newton(matrix: np.ndarray, signs: np.ndarray, l2: float) -> np.ndarray:
    """The minimiser, by Newton's method with backtracking; quadratic convergence makes a few more steps cheap."""
    n, d = matrix.shape
    z = np.zeros(d)
    target = min(ACCURACY * (1 + np.linalg.norm(matrix.T @ signs) / (2 * n)), np.sqrt(2 * l2 * ACCURACY))
    for _ in range(200):
        margin = signs * (matrix @ z)
        gradient = matrix.T @ (-signs * expit(-margin)) / n + l2 * z
        if np.linalg.norm(gradient) <= target:
            return z
        weight = expit(margin) * expit(-margin) / n
        try:
            step = np.linalg.solve(matrix.T @ (weight[:, None] * matrix) + l2 * np.eye(d), gradient)
        except np.linalg.LinAlgError:
            raise _checks.refuse("l2", "large enough for the Hessian to be invertible in float64", l2) from None
        size, value = 1.0, _value(matrix, signs, l2, z)
        while size > 1e-4 and _value(matrix, signs, l2, z - size * step) > value - 0.25 * size * gradient @ step + 1e-15:
            size /= 2
        z = z - size * step
    raise ValueError(
        f"features must be scaled so that Newton's method reaches a gradient of {target:.1e} in 200 steps, "
        f"got {np.linalg.norm(gradient):.1e}; standardise the columns or raise l2"
    )
