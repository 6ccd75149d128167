"""Which block moves first: exact moments, stable regions and floors of four orders of updates on shared quadratics.

Setting: as in `dynamics` (shared Hessian H, gradients Hz - b_i, x the zeroth-order block or base, y the first-order block or
adapter). What differs is where a block's gradient is taken:

    simultaneous         both at the same point (Ma, Yu, Huang 2026): one half-step of both blocks;
    adapter_first        y moves, then x at the point reached, on the same component, by a fresh evaluation (as in LMAO);
    base_first           the same with x first;
    alternating_epochs   a pass of n steps of y alone, then a pass of n steps of x alone, each in an order of its own.

The first two are to one another as Jacobi's method to that of Gauss and Seidel. A half-step with the steps P of the blocks
that move, A = I - PH, takes M = E zz', K = E z b' (b of the component of the visit) and the mean m to

    M+ = A M A' + P C P + A K P + P K'A' + S(H M H - H K - K'H + C),   K+ = A K + P C,   m+ = A m,

S the direction noise of `dynamics`, present if x moves. K = 0 when a component is drawn independently. Under reshuffling
step k of a pass begins with K = -B_k, where B_{k+1} = B_k + T^k Q C/(n-1), B_0 = 0, and a whole visit takes z to T z + Q b +
noise. *Exact*; the proof is that of `dynamics`. The linear part is the same for both orderings, and so is the stable region.

Three facts (theory_lab, order of updates):
- adapter first and base first are stable together: the two visits are ST and TS, which have the same eigenvalues;
- with a positive definite H every order except the simultaneous one is stable in the box of `sequential_box`, whatever the
  coupling, n or the pattern of half-steps, because there every half-step lowers E f;
- per visit they cost an evaluation more than the simultaneous step if differences are one-sided (the clean value cannot be
  shared), and no more if they are two-sided (there is none to share).

The operator on second moments is written out, so H has at most 32 dimensions; `isotropic_pair` reduces any number of them
to two.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from theory_lab import _checks
from theory_lab.theory._matrices import positive_semidefinite
from theory_lab.theory.base import Pair, pair
from theory_lab.theory.dynamics import Moments, SharedQuadratic, check_model, check_moments
from theory_lab.theory.moments import CovarianceMap, one_or_two, variance_factor

ORDERS = ("simultaneous", "adapter_first", "base_first", "alternating_epochs")
_ORDERINGS = ("random_reshuffling", "with_replacement")
_LARGEST = 32  # dimensions up to which the operator on second moments is written out
_VISITS = {"simultaneous": ("xy",), "adapter_first": ("y", "x"), "base_first": ("x", "y")}


@dataclass(frozen=True)
class IsotropicPair(SharedQuadratic):
    """Two blocks of equal dimension, one coordinate standing for each; build it with `isotropic_pair`."""

    variance: float

    @property
    def covariance_map(self) -> CovarianceMap:
        return CovarianceMap(0.0, self.variance, 0.0)


def isotropic_pair(
    curvatures: Pair,
    coupling: float,
    dimension: int,
    step_sizes: Pair,
    *,
    covariance: Any = None,
    directions: int = 1,
    law: str = "gaussian",
    radius: float = 0.0,
    sided: int = 1,
) -> IsotropicPair:
    """H = [[h_x I, c R], [c R', h_y I]] with an orthogonal R and c = coupling sqrt(h_x h_y), as a model of two dimensions.

    H and the law of the method commute with (Q, R'QR) for every orthogonal Q (for signs: only in the trace), so averages
    over Q follow the same recursions, and E zz' averages to X kron I (after turning y by R). There the direction noise is
    the variance factor of `moments` times the x-entry of the gradient's moment: (d+1)/q for gaussian directions. Spectral
    radii are attained at such averages (Perron-Frobenius), so regions are those of the whole problem. *Exact*.

    Args:
        curvatures: (h_x, h_y), positive.
        coupling: in [0, 1).
        dimension: d of each block.
        step_sizes: (eta_x, eta_y).
        covariance: C per coordinate, (2, 2): [[tr C_xx, tr C_xy R'], [., tr C_yy]]/d. Moments that come out are per
            coordinate too: E f - f* of the whole is d tr(HX)/2.
        directions, law, radius, sided: as in `shared_quadratic`.

    Raises:
        ValueError: curvatures that are not positive, a coupling outside [0, 1), and what `shared_quadratic` refuses.

    Example:
        >>> limit = base_limit(isotropic_pair((1.0, 1.0), 0.5, 50, (0.0, 1.0)), "simultaneous")
        >>> round(limit * 52 / 2, 3)  # coupling raises it
        1.306
    """
    h = np.sqrt(pair("curvatures", curvatures, positive=True))
    coupling = _checks.between("coupling", coupling, 0, 1, closed="[)")
    d = _checks.count("dimension", dimension)
    hessian = np.outer(h, h) * np.array([[1, coupling], [coupling, 1]])
    noise = np.zeros((2, 2)) if covariance is None else positive_semidefinite("covariance", covariance, dimension=2)
    mu, sides = _checks.nonnegative("radius", radius), one_or_two(sided)
    variance = variance_factor(d, directions=directions, law=law)
    spread = {"gaussian": (d + 2) * (d + 4), "sphere": d, "rademacher": d * d}[law]  # R of `moments` for H_xx = h I
    extra = np.array([[(mu * hessian[0, 0]) ** 2 * spread / (4 * directions) if sides == 1 else 0.0]])
    return IsotropicPair(hessian, noise, 1, pair("step_sizes", step_sizes), directions, law, extra, variance)


def epoch(
    model: SharedQuadratic, moments: Moments, order: str, *, n: int = 1, ordering: str = "with_replacement"
) -> Moments:
    """The moments after n visits of every block. *Exact*.

    Args:
        model: from `shared_quadratic` or `isotropic_pair`.
        moments: of z - z* before.
        order: one of `ORDERS`; for "alternating_epochs" a pass over y and a pass over x.
        n: components per pass; with replacement it only counts visits.
        ordering: "with_replacement", or "random_reshuffling" for passes in a fresh uniform order.

    Raises:
        ValueError: an unknown order or ordering, n below 1, reshuffling of one component that is not f itself.

    Example:
        >>> from theory_lab.theory.dynamics import shared_quadratic
        >>> model = shared_quadratic([[1.0, 0.5], [0.5, 1.0]], 1, (0.0, 1.0))  # x stands still, y is exact: minimised
        >>> epoch(model, Moments(np.ones(2), np.ones((2, 2))), "adapter_first").mean
        array([ 1. , -0.5])
    """
    check_model(model)
    check_moments(model, moments)
    n = _checks.count("n", n)
    reshuffles = _checks.choice("ordering", ordering, _ORDERINGS) == "random_reshuffling"
    if reshuffles and n == 1 and model.covariance.any():
        raise _checks.refuse("n", "at least 2 where the components differ (covariance not zero)", n)
    for visit in _passes(order):
        moments = _pass(model, moments, visit, n, reshuffles)
    return moments


def growth_factor(model: SharedQuadratic, order: str, *, n: int = 1) -> float:
    """The factor by which second moments grow per visit in the long run: stable below 1. *Exact*.

    Args:
        model: as in `epoch`; its covariance does not matter.
        order: one of `ORDERS`.
        n: steps per pass, which matters for "alternating_epochs" alone; the factor is per visit of both blocks.

    Raises:
        ValueError: an unknown order, n below 1, more than 32 dimensions.

    Example:
        >>> model = isotropic_pair((1.0, 1.0), 0.9, 50, (0.15, 1.0))
        >>> growth_factor(model, "simultaneous") > 1, growth_factor(model, "adapter_first") < 1
        (True, True)
    """
    return _Operator(model).growth(model.step_sizes, order, _checks.count("n", n))


def base_limit(model: SharedQuadratic, order: str, *, n: int = 1) -> float:
    """The largest stable eta_x at the model's eta_y; 0 if there is none. *Exact* up to windows narrower than the grid.

    The growth is looked at on 256 step sizes up to six times the side of `sequential_box`, or farther if the last is stable;
    the last stable one is followed to its end. At eta_y = 1/h_y a visit with the adapter first minimises over y, x descends
    on the Schur complement, and the limit is 1/(1 - coupling^2) times the uncoupled one. Setting: H positive definite.

    Args, errors: as in `growth_factor`; a Hessian that is not positive definite, no zeroth-order block. The model's eta_x is
    not looked at.

    Example:
        >>> round(base_limit(isotropic_pair((2.0, 1.0), 0.0, 50, (0.0, 1.0)), "base_first") * 52, 9)  # 2/(h_x (d+2))
        1.0
    """
    operator, n = _Operator(model), _checks.count("n", n)
    eta_y, least = model.step_sizes[1], float(np.linalg.eigvalsh(model.hessian)[0])
    if least <= 0:
        raise _checks.refuse("hessian", "positive definite", f"the eigenvalue {least:.6g}")
    if model.zeroth_dimension == 0:
        raise _checks.refuse("zeroth_dimension", "at least 1", 0)
    excess = lambda eta: operator.growth((eta, eta_y), order, n) - 1
    ceiling = 6 * sequential_box(model)[0]
    while excess(ceiling) < 0:
        ceiling *= 4
    grid = np.linspace(0, ceiling, 257)[1:]
    stable = [i for i, eta in enumerate(grid) if excess(eta) < 0]
    if not stable:
        return 0.0
    return float(optimize.brentq(excess, grid[stable[-1]], grid[stable[-1] + 1], xtol=1e-300, rtol=1e-12))


def sequential_box(model: SharedQuadratic) -> Pair:
    """Step sizes below which no half-step of one block raises E f: every order but the simultaneous one is stable inside.

        eta_x < 2 / ((1 + b) |H_xx| + a tr H_xx),   eta_y < 2 / |H_yy|,   a, b of the `CovarianceMap`: 1/q for gaussian

    The diagonal blocks alone enter: coupling costs nothing, where the simultaneous step needs the two-sided constants of
    `hybrid_smoothness_box`. Setting: H positive definite. Guarantee: lower bound on the region; attained without coupling
    in y, and in x for equal eigenvalues. Proof: a half-step of x changes E f by -eta |g|^2 + (eta^2/2) tr(H_xx (gg' +
    N(gg'))) <= -eta |g|^2 (1 - (eta/2)((1 + b)|H_xx| + a tr H_xx)); one of y by -g'(eta - eta^2 H_yy/2)g. Falling at every
    half-step unless grad f = 0, E f is a Lyapunov function.

    Example:
        >>> sequential_box(isotropic_pair((1.0, 4.0), 0.9, 8, (0.0, 0.0)))
        (0.2, 0.5)
    """
    check_model(model)
    size, gain = model.zeroth_dimension, model.covariance_map
    x, y = model.hessian[:size, :size], model.hessian[size:, size:]
    top = lambda block: float(np.linalg.eigvalsh(block)[-1]) if block.size else 0.0
    sides = ((1 + gain.direct) * top(x) + gain.trace * float(np.trace(x)), top(y))
    return tuple(2 / side if side > 0 else np.inf for side in sides)  # type: ignore[return-value]


def stationary_moment(model: SharedQuadratic, order: str, *, n: int = 1, ordering: str = "with_replacement") -> np.ndarray:
    """The stationary E zz' after whole visits or passes (its mean is zero). *Exact*.

    Args, errors: as in `epoch`; also step sizes that are not stable.

    Example:
        >>> model = isotropic_pair((1.0, 1.0), 0.0, 4, (0.1, 0.1), covariance=np.eye(2))
        >>> np.diag(stationary_moment(model, "adapter_first")).round(4)  # uncoupled: 6 eta/(2 - 6 eta), eta/(2 - eta)
        array([0.4286, 0.0526])
    """
    operator, d = _Operator(model), model.hessian.shape[0]
    n = _checks.count("n", n)
    if operator.growth(model.step_sizes, order, n) >= 1:
        raise _checks.refuse("step_sizes", "mean-square stable (see growth_factor)", model.step_sizes)
    source = epoch(model, Moments(np.zeros(d), np.zeros((d, d))), order, n=n, ordering=ordering).second
    linear = operator.passes(model.step_sizes, order, n)
    second = np.linalg.solve(np.eye(d * d) - linear, source.ravel()).reshape(d, d)
    return (second + second.T) / 2


def evaluations(order: str, *, directions: int = 1, sided: int = 1) -> tuple[int, int]:
    """(values, gradients) per visit of both blocks, the forward of a reverse pass counted as a value. *Exact*.

    Raises:
        ValueError: an unknown order, no direction, `sided` neither 1 nor 2.

    Example:
        >>> evaluations("simultaneous"), evaluations("adapter_first"), evaluations("adapter_first", sided=2)
        ((2, 1), (3, 1), (3, 1))
    """
    _checks.choice("order", order, ORDERS)
    q = _checks.count("directions", directions)
    differences = q + 1 if one_or_two(sided) == 1 else 2 * q
    shared = 1 if order == "simultaneous" and sided == 1 else 0
    return 1 + differences - shared, 1


class _Operator:
    """The linear part on second moments, as matrices on vec M; the noise of the directions is written out once."""

    def __init__(self, model: SharedQuadratic) -> None:
        check_model(model)
        self.hessian, self.size = model.hessian, model.zeroth_dimension
        d = self.hessian.shape[0]
        if d > _LARGEST:
            raise _checks.refuse("hessian", f"of at most {_LARGEST} dimensions (see isotropic_pair)", f"{d} dimensions")
        self.noise = np.zeros((d * d, d * d))
        for column, unit in enumerate(np.eye(d * d)) if self.size else ():
            gradient = self.hessian @ unit.reshape(d, d) @ self.hessian
            fed = np.zeros((d, d))
            fed[: self.size, : self.size] = model.covariance_map(gradient[: self.size, : self.size])
            self.noise[:, column] = fed.ravel()

    def half(self, step_sizes: Pair, blocks: str) -> np.ndarray:
        a = np.eye(self.hessian.shape[0]) - _steps(self.hessian, self.size, step_sizes, blocks)[:, None] * self.hessian
        square = np.einsum("ik,jl->ijkl", a, a).reshape(self.noise.shape)
        return square + step_sizes[0] ** 2 * self.noise if "x" in blocks else square

    def passes(self, step_sizes: Pair, order: str, n: int) -> np.ndarray:
        product = np.eye(self.noise.shape[0])
        for visit in _passes(order):
            once = np.eye(self.noise.shape[0])
            for blocks in visit:
                once = self.half(step_sizes, blocks) @ once
            product = np.linalg.matrix_power(once, n) @ product
        return product

    def growth(self, step_sizes: Pair, order: str, n: int) -> float:
        count = n if order == "alternating_epochs" else 1  # the others repeat one visit
        return float(np.abs(np.linalg.eigvals(self.passes(step_sizes, order, count))).max()) ** (1 / count)


def _passes(order: str) -> tuple[tuple[str, ...], ...]:
    """The visits of an order, one for every pass over the components; a visit is a sequence of half-steps."""
    _checks.choice("order", order, ORDERS)
    return (("y",), ("x",)) if order == "alternating_epochs" else (_VISITS[order],)


def _steps(hessian: np.ndarray, size: int, step_sizes: Pair, blocks: str) -> np.ndarray:
    """Diagonal of P of a half-step: zero in a block that stands still."""
    in_x = np.arange(hessian.shape[0]) < size
    return np.where(in_x, step_sizes[0] * ("x" in blocks), step_sizes[1] * ("y" in blocks))


def _pass(model: SharedQuadratic, moments: Moments, visit: tuple[str, ...], n: int, reshuffles: bool) -> Moments:
    """n visits, with K = E z b' carried through the half-steps of each."""
    h, c, size = model.hessian, model.covariance, model.zeroth_dimension
    mean, second = moments
    before = np.zeros_like(h)  # B_k
    increment = _transfer(model, visit)[1] @ c / max(n - 1, 1)
    through = _transfer(model, visit)[0]
    for _ in range(n):
        cross = -before
        for blocks in visit:
            p = _steps(h, size, model.step_sizes, blocks)
            a = np.eye(h.shape[0]) - p[:, None] * h
            mixed = h @ cross
            gradient = h @ second @ h - mixed - mixed.T + c
            carried = a @ cross * p
            second = a @ second @ a.T + p[:, None] * c * p + carried + carried.T
            if "x" in blocks and size:
                block = gradient[:size, :size]
                second[:size, :size] += model.step_sizes[0] ** 2 * (model.covariance_map(block) + model.radius_covariance)
            cross = a @ cross + p[:, None] * c
            mean = a @ mean
        if reshuffles:
            before = before + increment
            increment = through @ increment
    return Moments(mean, second)


def _transfer(model: SharedQuadratic, visit: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """T and Q of a visit, z -> T z + Q b + noise."""
    d = model.hessian.shape[0]
    through, gain = np.eye(d), np.zeros((d, d))
    for blocks in visit:
        p = _steps(model.hessian, model.zeroth_dimension, model.step_sizes, blocks)
        a = np.eye(d) - p[:, None] * model.hessian
        through, gain = a @ through, a @ gain + np.diag(p)
    return through, gain
