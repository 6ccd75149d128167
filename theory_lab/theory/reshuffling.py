"""Exact stationary laws of SGD on quadratics under the four orderings, first order and with a zeroth-order estimator.

Setting: f_i(z) = (h/2) |z - c_i|^2 with sum c_i = 0 (z* = 0) and sc^2 = (1/n) sum |c_i|^2; z+ = z - eta h (z - c_i), with
x = eta h in (0, 2) and a = 1 - x. In several dimensions a variance is E|z|^2. The gradients' dispersion is h^2 sc^2 and
E|grad f|^2 is h^2 times the variance. At epoch ends

    with replacement    V_WR = x sc^2 / (2 - x),
    reshuffling         V_RR = x^2 sc^2 n/(n-1) [sum_{k<n} a^2k - (sum_{k<n} a^k)^2 / n] / (1 - a^2n),
    shuffle once        V_SO = V_RR (1 + a^n) / (1 - a^n), over the draw of the order; given the order the law is a point,
    incremental         a point, `incremental_fixed_point`: variance 0, an offset of order eta n h that depends on the order.

Proof. z+ = a^n z + x sum_k a^{n-1-k} c_{pi_k} over an epoch, and Var sum w_k c_{pi_k} = sc^2 n/(n-1) sum (w_k - mean w)^2
for a uniform permutation. Stationarity divides by 1 - a^2n for a fresh permutation and by (1 - a^n)^2 for the same one.

Numerically, with t = -log|a|/2 the ratio V_RR/V_WR is n/(n-1) [1 - tanh(nt)/(n tanh t)] for x < 1; with
psi(t) = 1 - tanh(t)/t that is n/(n-1) (psi(nt) - psi(t))/(1 - psi(t)), which loses no digits at small x. For x > 1, where
a^n alternates, it is n/(n-1) [1 - tanh(t) tanh(nt)^(+-1)/n], + for even n. The ratio is at most 1 exactly for x <= 1:
beyond, reshuffling is worse than drawing with replacement.
"""

import math
from typing import Any

import numpy as np

from theory_lab import _checks
from theory_lab.theory.moments import variance_factor

ORDERINGS = ("random_reshuffling", "shuffle_once", "incremental", "with_replacement")


def stationary_variance(step_size: float, curvature: float, n: int, variance: float, ordering: str) -> float:
    """The stationary variance of the iterate at epoch ends; see the module for the setting and the four laws.

    Guarantee: exact, to a few units in the last place for every eta h in (0, 2), however small.

    Args:
        step_size: eta > 0, per component step.
        curvature: h > 0, with eta h < 2.
        n: components; one component has no variance under any order but "with_replacement", which does not ask for n.
        variance: sc^2, mean of |c_i - z*|^2: the dispersion of the gradients over h^2.
        ordering: "random_reshuffling", "shuffle_once", "incremental" or "with_replacement".

    Returns:
        E|z - E z|^2. For "incremental" it is 0: the law is a point, which is not z* (`incremental_fixed_point`).

    Raises:
        ValueError: eta h outside (0, 2), n below 1, a negative variance, an unknown ordering.

    Example:
        >>> [round(stationary_variance(0.1, 1.0, 10, 1.0, name), 6) for name in ("with_replacement", "random_reshuffling")]
        [0.052632, 0.00482]
    """
    x, n, spread = _door(step_size, curvature, n, variance)
    _checks.choice("ordering", ordering, ORDERINGS)
    independent = x * spread / (2 - x)
    if ordering == "with_replacement":
        return independent
    if ordering == "incremental" or n == 1:
        return 0.0
    reshuffled = independent * _ratio(x, n)
    return reshuffled * _persistence(x, n) if ordering == "shuffle_once" else reshuffled


def inner_average_variance(step_size: float, curvature: float, n: int, variance: float, ordering: str) -> float:
    """The stationary variance averaged over the iterates z_0, ..., z_{n-1} inside an epoch.

        Var z_k = a^2k V_RR + x^2 sc^2 n/(n-1) [sum_{j<k} a^2j - (sum_{j<k} a^j)^2 / n]   under reshuffling;

    the same at every k with replacement and shuffling once, where a rotated order is as likely as any. To first order in
    eta n h the average is eta^2 sigma^2 (n+1)/6 under reshuffling: eta^2 n, where epoch ends have eta^3 n^2. Guarantee:
    exact.

    Arguments, errors and the meaning of "incremental" as in `stationary_variance`. Cost: O(n).

    Example:
        >>> round(inner_average_variance(1e-3, 1.0, 10, 1.0, "random_reshuffling") / (1e-6 * 11 / 6), 2)
        1.0
    """
    _checks.choice("ordering", ordering, ORDERINGS)
    if ordering != "random_reshuffling" or _checks.count("n", n) == 1:
        return stationary_variance(step_size, curvature, n, variance, ordering)
    x, n, _ = _door(step_size, curvature, n, variance)
    return float(_inner_variances(x, n, variance).mean())


def incremental_fixed_point(step_size: float, curvature: float, targets: Any) -> np.ndarray:
    """Where incremental gradient settles at epoch ends, for components visited in the order given.

        z = mean(c) + x sum_k a^{n-1-k} (c_k - mean(c)) / (1 - a^n)

    Setting: see the module, the targets need not be centred. Guarantee: exact. For small eta n h the offset is of order eta
    n h: a quarter of it times |c| for two targets +-c sorted.

    Args:
        step_size: eta.
        curvature: h.
        targets: c in the order of the visits, shape (n,) or (n, d).

    Returns:
        The fixed point, shape () or (d,).

    Raises:
        ValueError: eta h outside (0, 2), targets of another shape.

    Example:
        >>> incremental_fixed_point(0.1, 1.0, [1.0, -1.0]).round(6).item()
        -0.052632
    """
    x, _, _ = _door(step_size, curvature, 1, 0.0)
    c = _checks.array("targets", targets)
    if c.ndim not in (1, 2):
        raise _checks.refuse("targets", "of shape (n,) or (n, d)", c.shape)
    centre = c.mean(axis=0)
    lost = _lost(x, np.arange(len(c) + 1))  # 1 - a^k, k = 0..n
    # sum_k a^{n-1-k} (c_k - centre) = -sum_k (1 - a^{n-1-k}) (c_k - centre): the part that does not cancel.
    return np.asarray(centre - x * np.tensordot(lost[-2::-1], c - centre, 1) / lost[-1])


def reshuffling_ratio(step_size: float, curvature: float, n: int) -> float:
    """V_RR / V_WR at epoch ends: at most 1 if and only if eta h <= 1, with equality at eta h = 1. Guarantee: exact.

        n/(n-1) [1 - (1 + a)(1 - a^n) / (n (1 - a)(1 + a^n))]

    Raises:
        ValueError: eta h outside (0, 2), n below 1 (0 for n = 1).

    Example:
        >>> [round(reshuffling_ratio(eta, 1.0, 2), 4) for eta in (0.3, 1.0, 1.3)]
        [0.0604, 1.0, 1.5505]
    """
    x, n, _ = _door(step_size, curvature, n, 0.0)
    return _ratio(x, n) if n > 1 else 0.0


def reshuffling_ratios(products: Any, n: int) -> np.ndarray:
    """`reshuffling_ratio` of many products eta h in [0, 2) at once, (m,); 0 at 0, its limit there. Guarantee: exact.

    Raises:
        ValueError: products outside [0, 2) or of another shape, n below 1.

    Example:
        >>> reshuffling_ratios([0.0, 0.3, 1.0, 1.3], 2).round(4).tolist()
        [0.0, 0.0604, 1.0, 1.5505]
    """
    found, n = _checks.array("products", products, ndim=1), _checks.count("n", n)
    if found.size and not (found.min() >= 0 and found.max() < 2):
        raise _checks.refuse("products", "in [0, 2)", products)
    return np.where(found > 0, _ratios(np.where(found > 0, found, 1.0), n), 0.0) if n > 1 else np.zeros_like(found)


def reshuffling_ratio_limit(epoch_product: float) -> float:
    """The limit of V_RR / V_WR for n -> infinity at fixed u = eta n h: 1 - tanh(u/2)/(u/2), about u^2/12 for small u.

    Guarantee: exact limit; it is at most min(1, u^2/12).

    Raises:
        ValueError: a negative or non-finite product.

    Example:
        >>> round(reshuffling_ratio_limit(1.0), 6)
        0.075766
    """
    return _psi(_checks.nonnegative("epoch_product", epoch_product) / 2)


def small_step_variance(step_size: float, curvature: float, n: int, variance: float, ordering: str) -> float:
    """The leading term of `stationary_variance` as eta n h -> 0; arguments and errors as there.

        with replacement x sc^2/2, reshuffling x^3 n(n+1) sc^2/24, shuffle once x^2 (n+1) sc^2/12, incremental 0

    Guarantee: exact limit, with a relative error of order eta n h.

    Example:
        >>> round(small_step_variance(0.01, 1.0, 23, 1.0, "random_reshuffling"), 12)
        2.3e-05
    """
    x, n, spread = _door(step_size, curvature, n, variance)
    _checks.choice("ordering", ordering, ORDERINGS)
    if ordering == "with_replacement":
        return x * spread / 2
    if ordering == "incremental" or n == 1:
        return 0.0
    return x**3 * n * (n + 1) * spread / 24 if ordering == "random_reshuffling" else x**2 * (n + 1) * spread / 12


def gradient_floor(step_size: float, curvatures: Any, n: int, dispersions: Any, ordering: str) -> float:
    """The stationary E||grad f||^2 of components that share a Hessian: the sum over its eigendirections, first order.

        sum_j h_j^2 V(eta, h_j, n, sigma_j^2 / h_j^2)

    Setting: f_i(z) = z'Hz/2 - b_i'z, sum b_i = 0. Guarantee: exact.

    Args:
        step_size: eta, with eta h_j < 2.
        curvatures: h, shape (d,), nonnegative; a zero has no gradient and adds nothing.
        n: components.
        dispersions: sigma_j^2 = (1/n) sum_i b_ij^2 in the eigenbasis, shape (d,) or a number.
        ordering: one of the four names; "incremental" counts its variance, 0.

    Raises:
        ValueError: see `stationary_variance`; shapes that do not fit, a negative entry.

    Example:
        >>> round(gradient_floor(0.1, [1.0, 2.0], 10, 1.0, "with_replacement"), 6)
        0.163743
    """
    h, sigma = _checks.array("curvatures", curvatures, ndim=1), _checks.array("dispersions", dispersions)
    if h.min() < 0:
        raise _checks.refuse("curvatures", "nonnegative", curvatures)
    if sigma.shape not in ((), h.shape) or sigma.min() < 0:
        raise _checks.refuse("dispersions", f"nonnegative, a number or of shape {h.shape}", dispersions)
    unit = [stationary_variance(step_size, curvature, n, 1.0, ordering) if curvature else 0.0 for curvature in h]
    return float(np.sum(unit * sigma))


def zeroth_order_variance(
    step_size: float,
    curvature: float,
    n: int,
    variance: float,
    ordering: str,
    *,
    dimension: int,
    directions: int = 1,
    law: str = "gaussian",
) -> float:
    """The stationary E|z|^2 at epoch ends of zeroth-order SGD on an isotropic quadratic.

        V + x K Q / (2 - x (1 + K)),   K = `variance_factor` ((d+1)/q gaussian),   V the first-order law,
        Q = sum_k r^{n-1-k} w_k (1 - r)/(1 - r^n),  r = 1 - 2x + (1 + K) x^2,  w_k = E|m_k - c_{pi_k}|^2,

    m_k being the first-order path with the same order. With replacement the sum is x (1 + K) sc^2 / (2 - x (1 + K)).
    Reshuffling removes only the sampling share: RR/WR -> K/(1 + K) as eta -> 0, (d+1)/(d+2) for one gaussian direction.

    Setting: the module's, d dimensions, two-sided differences or radius 0. Guarantee: exact.

    Proof. Given the order, z = m + e with e+ = (I - xG) e - x (G - I)(m - c), where G = (1/q) sum vv' has mean I: E e = 0,
    E|(G - I)w|^2 = K |w|^2 and E|(I - xG)e|^2 = r |e|^2. Under reshuffling E m_k'c_{pi_k} = -sc^2 (1 - a^k)/(n-1), for the
    targets seen before correlate with the next by -1/(n-1); shuffled once, the last visit to the same target adds to it.

    Args:
        step_size: eta, with eta h (1 + K) < 2.
        curvature: h, the Hessian is h I.
        n: components.
        variance: sc^2 = (1/n) sum |c_i|^2, summed over the dimensions.
        ordering: "random_reshuffling", "shuffle_once" or "with_replacement".
        dimension: d.
        directions: q.
        law: "gaussian", "rademacher" or "sphere".

    Raises:
        ValueError: a step size beyond stability, "incremental" (its path is not a function of the variance), and what
            `stationary_variance` refuses.

    Example:
        >>> arguments = {"step_size": 1e-4, "curvature": 1.0, "n": 20, "variance": 1.0, "dimension": 5}
        >>> reshuffled = zeroth_order_variance(**arguments, ordering="random_reshuffling")
        >>> round(reshuffled / zeroth_order_variance(**arguments, ordering="with_replacement"), 3)  # 6/7
        0.857
    """
    x, n, spread = _door(step_size, curvature, n, variance)
    _checks.choice("ordering", ordering, ("random_reshuffling", "shuffle_once", "with_replacement"))
    factor = variance_factor(dimension, directions=directions, law=law)
    _checks.between("step_size * curvature * second-moment factor", x * (1 + factor), 0, 2, closed="()")
    margin = 2 - x * (1 + factor)
    if ordering == "with_replacement":
        return x * (1 + factor) * spread / margin
    if n == 1:
        return 0.0
    first_order = stationary_variance(step_size, curvature, n, variance, ordering)
    lost = _lost(x, np.arange(n))  # 1 - a^k
    if ordering == "shuffle_once":
        whole = float(_lost(x, np.array(n)))
        met = spread * (x * (1 - lost[-1]) - lost[-1] / (n - 1)) / whole
        return first_order + x * factor * (first_order + spread - 2 * met) / margin
    misfit = _inner_variances(x, n, spread) + spread * (1 + 2 * lost / (n - 1))
    decay = x * margin  # 1 - r
    weights = np.exp(np.log1p(-decay) * np.arange(n - 1, -1, -1)) if decay < 1 else (1 - decay) ** np.arange(n - 1, -1, -1)
    mean_misfit = float(weights @ misfit / weights.sum())
    return first_order + x * factor * mean_misfit / margin


def zeroth_order_ratio_limit(dimension: int, *, directions: int = 1, law: str = "gaussian") -> float:
    """The limit of RR/WR of `zeroth_order_variance` as eta -> 0: K/(1 + K), which is (d+1)/(d+2) for one gaussian direction.

    Guarantee: exact limit.

    Example:
        >>> zeroth_order_ratio_limit(6)
        0.875
    """
    factor = variance_factor(dimension, directions=directions, law=law)
    return factor / (1 + factor)


def _door(step_size: Any, curvature: Any, n: Any, variance: Any) -> tuple[float, int, float]:
    """Check what every law takes; the product x = eta h in (0, 2), n and the variance."""
    x = _checks.positive("step_size", step_size) * _checks.positive("curvature", curvature)
    _checks.between("step_size * curvature", x, 0, 2, closed="()")
    return x, _checks.count("n", n), _checks.nonnegative("variance", variance)


def _lost(x: float, powers: np.ndarray) -> np.ndarray:
    """1 - (1 - x)^k without cancellation at small x."""
    return -np.expm1(powers * math.log1p(-x)) if x < 1 else 1 - (1 - x) ** powers


def _ratio(x: float, n: int) -> float:
    """V_RR / V_WR for n > 1."""
    return float(_ratios(np.array([x]), n)[0])


def _ratios(x: np.ndarray, n: int) -> np.ndarray:
    """The same of many x in (0, 2)."""
    with np.errstate(divide="ignore", invalid="ignore"):  # at x = 1, where it is 1
        t = -np.log1p(np.where(x < 1, -x, x - 2)) / 2
        one, all_of = np.tanh(t), np.tanh(n * t)
        beyond = one * (all_of if n % 2 == 0 else 1 / all_of) / n
        below = all_of / (n * one)
        ratios = n / (n - 1) * (1 - np.where(x > 1, beyond, below))
    small = (x < 1) & (n * t < 1)
    if small.any():
        inner, outer = _psis(t[small]), _psis(n * t[small])
        ratios[small] = n / (n - 1) * (outer - inner) / (1 - inner)
    return np.where(x == 1, 1.0, ratios)


def _persistence(x: float, n: int) -> float:
    """V_SO / V_RR = (1 + a^n) / (1 - a^n)."""
    if x == 1:
        return 1.0
    tail = math.tanh(-n * math.log1p(-x if x < 1 else x - 2) / 2)
    return tail if x > 1 and n % 2 else 1 / tail


def _psi(t: float) -> float:
    """1 - tanh(t)/t."""
    return 1 - math.tanh(t) / t if t >= 1 else float(_psis(np.array(t)))


def _psis(t: np.ndarray) -> np.ndarray:
    """The same of many t below 1, from the continued fraction tanh t = t/(1 + t^2/(3 + t^2/(5 + ...)))."""
    square, fraction = t * t, np.zeros_like(t)
    for odd in range(25, 1, -2):
        fraction = square / (odd + fraction)
    return fraction / (1 + fraction)


def _inner_variances(x: float, n: int, spread: float) -> np.ndarray:
    """Var z_k for k = 0..n-1 under reshuffling, n > 1, shape (n,)."""
    powers = (1 - x) ** np.arange(n - 1)
    sums, squares = (np.concatenate(([0.0], np.cumsum(terms))) for terms in (powers, powers**2))
    start = x * spread / (2 - x) * _ratio(x, n)
    return (1 - x) ** (2 * np.arange(n)) * start + x**2 * spread * n / (n - 1) * (squares - sums**2 / n)
