"""Constants, measured at points: what could contradict a problem's declared ones."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks, blocks
from theory_lab._typing import Array, Key, Label, Params
from theory_lab.constants import Constants
from theory_lab.measure.smoothness import extreme_eigenvalues, finite_sums
from theory_lab.problems.base import Problem


def constants_at(
    problem: Problem, points: Sequence[Params], *, key: Key, components: int = 8, iterations: int = 40
) -> Constants:
    r"""The constants that a problem shows at a few points; that its declared constants dominate them is a test.

    Constants hold everywhere, points are few: every number here is a bound from the inside, and so are the Ritz values
    behind two of them. What is measured can refute what is declared, and never prove it.

    - smoothness: t L_b with the declared L_b and the largest :math:`t = \|D^{-1/2} \nabla^2 f_i D^{-1/2}\|` over points
      and sampled components. Blocks have no two-sided constants of their own, only together; so without declared ones
      there is nothing to measure, and the field is None.
    - strong_convexity: the lowest eigenvalue of the Hessian of f.
    - dispersion: :math:`\frac1n \sum_i |\nabla_b f_i - \nabla_b f|^2`, exactly, over all components.
    - pl: :math:`|\nabla f|^2 / (2 (f - f^*))` with the declared f*; None without it, or where no point lies above it.
    - optimal_value: the least value of f.

    What is not finite at a point is nan here, which contradicts every declaration.

    Args:
        problem: the problem.
        points: parameters at which to look.
        key: random starts and the sample of components.
        components: how many components to take the smoothness from, at most; drawn anew at every point.
        iterations: Hessian-vector products per spectrum.

    Raises:
        ValueError: no points, or points that are not parameters of the problem.

    Example:
        >>> from theory_lab.problems import block_quadratic
        >>> problem = block_quadratic({"x": 4, "y": 2}, n=3, coupling=0.5)
        >>> seen = constants_at(problem, [problem.init(jax.random.key(1))], key=jax.random.key(0))
        >>> problem.constants.dominates(seen, rtol=1e-5)
        True
    """
    if not isinstance(problem, Problem):
        raise _checks.refuse("problem", "a Problem", problem)
    if not isinstance(points, Sequence) or len(points) == 0:
        raise _checks.refuse("points", "a non-empty sequence of parameters", points)
    for point in points:
        blocks.check_params(point, jax.eval_shape(problem.init, jax.random.key(0)))
    _checks.key("key", key)
    components = min(_checks.count("components", components), problem.n)
    keys = jax.random.split(key, len(points))
    looks = [_look(problem, point, one, components, iterations) for point, one in zip(points, keys, strict=True)]
    declared, labels = problem.constants, blocks.labels(points[0])
    found = [] if declared.optimal_value is None else [look.pl(float(declared.optimal_value)) for look in looks]
    ratios = [ratio for ratio in found if ratio is not None]
    reach, smoothness = np.max([look.reach for look in looks]), declared.smoothness
    return Constants(
        smoothness=None if smoothness is None else {b: float(reach * smoothness[b]) for b in labels},
        strong_convexity=float(np.min([look.lowest for look in looks])),
        pl=float(np.min(ratios)) if ratios else None,
        optimal_value=float(np.min([look.value for look in looks])),
        dispersion={b: float(np.max([look.dispersion[b] for look in looks])) for b in labels},
    )


class _Look(NamedTuple):
    """What one point shows."""

    value: float
    norm_sq: float
    dispersion: dict[Label, float]
    lowest: float
    reach: float

    def pl(self, optimal_value: float) -> float | None:
        """The PL ratio; None where f is above its minimum by rounding only."""
        above = self.value - optimal_value
        return self.norm_sq / (2 * above) if above > 1e-6 * (abs(self.value) + abs(optimal_value)) else None


def _look(problem: Problem, point: Params, key: Key, components: int, iterations: int) -> _Look:
    start, choose, scaled = jax.random.split(key, 3)
    value, norm_sq, dispersion = jax.tree.map(float, _gradients(problem, point))
    fn, args = finite_sums.mean(problem)
    low, _ = extreme_eigenvalues(fn, point, key=start, iterations=iterations, args=args)
    ends = [0.0]
    if problem.constants.smoothness is not None:
        for index in jax.random.choice(choose, problem.n, (components,), replace=False):
            lowest, highest = extreme_eigenvalues(
                finite_sums.one,
                point,
                key=scaled,
                scaling=problem.constants.smoothness,
                iterations=iterations,
                args=(problem, index),
            )
            ends += [-lowest.high, highest.low]
    return _Look(value, norm_sq, dispersion, low.high, float(np.max(ends)))


@jax.jit
def _gradients(problem: Problem, point: Params) -> tuple[Array, Array, dict[Label, Array]]:
    """f, |grad f|^2, and the dispersion of the component gradients per block."""
    value, gradient = jax.value_and_grad(problem.value)(point)
    each = jax.vmap(jax.grad(problem.component), in_axes=(None, 0))(point, jnp.arange(problem.n))
    apart = jax.tree.map(lambda one, mean: one - mean, each, gradient)
    return value, blocks.norm_sq(gradient), {b: blocks.norm_sq(apart[b]) / problem.n for b in blocks.labels(point)}
