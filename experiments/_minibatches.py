"""Where hybrid descent on minibatches of a logistic regression, linearised at a point, loses mean-square stability.

With H_B = (1/|B|) sum w_i a_i a_i' + l I the Hessian of a minibatch, one gaussian direction for block x and P = diag(eta_b
I), the second moments X = E zz' obey, averaged over the directions,

    X+ = X - P H_B X - X H_B P + P (G + [G_xx + tr(G_xx) I in block x]) P,    G = H_B X H_B.

X is carried along random orders of the minibatches and averaged over them: exact but for the few orders.
"""

from dataclasses import dataclass
from functools import cached_property

import jax
import numpy as np
from scipy.special import expit

from theory_lab import orderings
from theory_lab.problems.logistic import Logistic
from theory_lab.theory.base import Pair

ORDERS, STEPS = 4, 384
HALVINGS, LEAST = 9, 1 / 64  # of the search for a limit, whose factor is then known to 64^(1/512), or 1%


@dataclass(frozen=True)
class Minibatches:
    """The rows' Hessians at a point, and orders to go through them.

    Attributes:
        rows: sqrt(w_i) a_i, (n, d), the columns of x first.
        l2: l.
        zeroth: size of block x.
        orders: indices of rows, (orders, steps, |B|).
    """

    rows: np.ndarray
    l2: float
    zeroth: int
    orders: np.ndarray

    @cached_property
    def hessians(self) -> np.ndarray:
        """H_B of every order and step, (steps, orders, d, d)."""
        steps = self.orders.swapaxes(0, 1)
        some = self.rows[steps]
        return some.swapaxes(2, 3) @ some / steps.shape[2] + self.l2 * np.eye(self.rows.shape[1])

    def growth(self, steps: Pair) -> float:
        """log of E|Hz|^2 at the end over that after a third of the steps, from z of covariance I; inf for an overflow."""
        d, p = self.rows.shape[1], self.zeroth
        eta = np.where(np.arange(d) < p, *steps)[:, None]
        whole = self.rows.T @ self.rows / len(self.rows) + self.l2 * np.eye(d)
        square, x, norms = whole @ whole, np.tile(np.eye(d), (len(self.orders), 1, 1)), []
        half = eta * eta.T / 2
        half[:p, :p] *= 2
        for h in self.hessians:
            hx = h @ x
            g = hx @ h
            trace = np.trace(g[:, :p, :p], axis1=1, axis2=2)
            g *= half
            g -= eta * hx
            x = x + (g + g.swapaxes(1, 2))  # symmetric to the bit, or rounding stays where X shrinks
            np.einsum("oii->oi", x)[:, :p] += steps[0] ** 2 * trace[:, None]
            norms.append(np.einsum("oij,ij->o", x, square).mean())
            if not norms[-1] < 1e200:
                return np.inf
        return float(np.log(norms[-1] / norms[len(norms) // 3 - 1]))

    def limit(self, steps: tuple[float | None, float | None], most: float) -> float:
        """The largest stable step size of the block whose step size is None, below ``most``; 0 if not even most/64 is."""
        low, high = LEAST * most, most
        grows = lambda tried: self.growth(tuple(tried if step is None else step for step in steps)) >= 0  # type: ignore[arg-type]
        if grows(low):
            return 0.0
        for _ in range(HALVINGS):
            middle = float(np.sqrt(low * high))
            low, high = (low, middle) if grows(middle) else (middle, high)
        return float(np.sqrt(low * high))


def minibatches(problem: Logistic, point: dict[str, np.ndarray], *, size: int, ordering: str) -> Minibatches:
    """The Hessians of the rows at a point with blocks x and y, and orders of their minibatches."""
    x, y = (np.asarray(problem.features[label], np.float64) for label in "xy")
    margins = x @ np.asarray(point["x"]) + y @ np.asarray(point["y"])
    rows = np.sqrt(expit(margins) * expit(-margins))[:, None] * np.concatenate([x, y], axis=1)
    groups = problem.n // size
    order = jax.jit(orderings.ORDERINGS[ordering], static_argnums=2)
    epochs = [
        np.stack([order(key, np.int32(epoch), problem.n) for epoch in range(-(-STEPS // groups))])[:, : groups * size]
        for key in jax.random.split(jax.random.key(0), ORDERS)
    ]
    orders = np.stack(epochs).reshape(ORDERS, -1, size)[:, :STEPS]
    return Minibatches(rows, float(problem.l2), x.shape[1], orders)
