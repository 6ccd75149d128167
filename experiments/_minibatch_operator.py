"""Mean-square stability of hybrid descent on minibatches of a logistic regression, linearised at a point: exact.

Minibatches are drawn afresh at every step. With H_i = w_i a_i a_i' + l I the Hessian of row i, H their mean, s the variance
that a minibatch keeps of a row and one gaussian direction in q for block x, the second moments of z obey

    X+ = X - PHX - XHP + P N P,   N = G + (1/q) (G_xx + tr G_xx I) in block x,   G = HXH + s E (H_i - H) X (H_i - H),

a linear map that keeps positive semidefinite matrices; stable means that its spectral radius is below 1.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigs
from scipy.special import expit

from theory_lab.problems.logistic import Logistic
from theory_lab.theory.base import Pair

HALVINGS = 24


@dataclass(frozen=True)
class Linearised:
    """The rows' Hessians at a point.

    Attributes:
        rows: sqrt(w_i) a_i, (n, d), the columns of x first.
        l2: l.
        zeroth: size of block x.
        share: s.
        directions: q.
    """

    rows: np.ndarray
    l2: float
    zeroth: int
    share: float
    directions: int

    @property
    def hessian(self) -> np.ndarray:
        return self.rows.T @ self.rows / len(self.rows) + self.l2 * np.eye(self.rows.shape[1])

    def radius(self, steps: Pair) -> float:
        """The spectral radius of one step on second moments."""
        d, p, q = self.rows.shape[1], self.zeroth, self.directions
        mean, eta = self.hessian, np.where(np.arange(d) < self.zeroth, *steps)
        curved = mean - self.l2 * np.eye(d)

        def step(flat: np.ndarray) -> np.ndarray:
            x = flat.reshape(d, d)
            x = (x + x.T) / 2
            through = np.einsum("ij,jk,ik->i", self.rows, x, self.rows, optimize=True)
            spread = (self.rows * through[:, None]).T @ self.rows / len(self.rows) - curved @ x @ curved
            noise = mean @ x @ mean + self.share * spread
            noise[:p, :p] += (noise[:p, :p] + np.trace(noise[:p, :p]) * np.eye(p)) / q
            drift = eta[:, None] * (mean @ x)
            return (x - drift - drift.T + eta[:, None] * noise * eta).ravel()

        operator = LinearOperator((d * d, d * d), matvec=step, dtype=float)
        return float(np.abs(eigs(operator, k=1, v0=np.eye(d).ravel(), tol=1e-6, return_eigenvectors=False)[0]))

    def limit(self, steps: tuple[float | None, float | None], most: float) -> float:
        """The largest stable step size below ``most`` of the block whose step size is None, by bisection."""
        low, high = 0.0, most
        for _ in range(HALVINGS):
            tried = (low + high) / 2 if low > 0 else high / 4
            x, y = (tried if step is None else step for step in steps)
            low, high = (tried, high) if self.radius((x, y)) < 1 else (low, tried)
            if high < 1e-6 * most or high - low < 1e-3 * low:
                break
        return (low + high) / 2


def linearised(problem: Logistic, point: dict[str, np.ndarray], *, share: float, directions: int) -> Linearised:
    """The Hessians of the rows at a point with blocks x and y."""
    x, y = (np.asarray(problem.features[label], np.float64) for label in "xy")
    margins = x @ np.asarray(point["x"]) + y @ np.asarray(point["y"])
    weights = expit(margins) * expit(-margins)
    rows = np.sqrt(weights)[:, None] * np.concatenate([x, y], axis=1)
    return Linearised(rows, float(problem.l2), x.shape[1], share, directions)
