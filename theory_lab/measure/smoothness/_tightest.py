"""The tightest L_0 + L_1 u^p above pairs (u_i, y_i): linear programmes in two unknowns, for many powers at once."""

import numpy as np

POWERS = np.linspace(0, 4, 41)  # candidates for p
RESOLUTION = 1e-4  # of p, after zooming in on the best candidate


def needed(u: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs with more curvature than all of no larger gradient norm, in order: a function above them is above all."""
    order = np.lexsort((-y, u))
    u, y = u[order], y[order]
    rises = np.concatenate([[True], y[1:] > np.maximum.accumulate(y)[:-1]])
    return u[rises], y[rises]


def fit(u: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """L_0, L_1 and p of the least relative excess: the best candidate, zoomed in on."""
    powers = POWERS
    while True:
        costs, offsets, factors = programmes(u, y, powers)
        best = int(np.argmin(costs))
        low, high = float(powers[max(best - 1, 0)]), float(powers[min(best + 1, powers.size - 1)])
        if high - low <= 2 * RESOLUTION:
            break
        powers = np.linspace(low, high, 13)
    if costs[best] >= y.max() * (1 - 1e-9):  # no better than the flat line
        return float(y.max()), 0.0, 0.0
    return float(offsets[best]), float(factors[best]), float(powers[best])


def programmes(u: np.ndarray, y: np.ndarray, powers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""For every p, min sum (L_0 + L_1 x)/y subject to L_0 + L_1 x >= y and both nonnegative, x = u^p.

    The sum is that of 1/y times the height of the line at the mean of x weighted with 1/y. So the optimal line is the one
    that carries the upper convex hull of the pairs above that mean; L_0 >= 0 joins the origin to the pairs, and L_1 >= 0 the
    largest y at the largest x. It is found as in quickhull: from a chord across the mean, the pair farthest above replaces
    the end on its side, until none lies above.

    Returns:
        The heights at the mean, L_0 and L_1, each (powers,).
    """
    reach = float(u.max()) or 1.0
    mean = (u / reach) ** powers[:, None] @ (1 / y) / np.sum(1 / y)  # in units of reach^p
    jumps, values = needed(u / reach, y)
    x = np.concatenate([jumps ** powers[:, None], np.ones((powers.size, 1))], axis=1)  # (powers, pairs)
    y = np.append(values, values[-1])
    rows = np.arange(powers.size)
    left, right = np.zeros((2, powers.size)), np.stack([np.ones(powers.size), np.full(powers.size, y[-1])])  # (x, y) each
    for _ in range(y.size + 1):  # no pair becomes an end twice
        slope = (right[1] - left[1]) / (right[0] - left[0])
        line = left[1, :, None] + slope[:, None] * (x - left[0, :, None])
        above = y - line - 1e-12 * y - 1e-15 * left[1, :, None]  # by more than rounding
        farthest = np.argmax(above, axis=1)
        new = np.stack([x[rows, farthest], y[farthest]])
        moves = above[rows, farthest] > 0
        if not moves.any():
            break
        before = new[0] <= mean
        left, right = np.where(moves & before, new, left), np.where(moves & ~before, new, right)
    offset = np.maximum(left[1] - slope * left[0], 0.0)
    return offset + slope * mean, offset, slope / reach**powers
