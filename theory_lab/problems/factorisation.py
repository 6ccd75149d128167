"""Matrix factorisation: the smallest objective with the shape of low-rank adaptation, and no hybrid smoothness."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks
from theory_lab._trees import record
from theory_lab._typing import Array, Key, Params, Scalar
from theory_lab.constants import Constants
from theory_lab.problems.base import Problem, centred_tilts, generator, magnitude


@record(data=("targets", "decay", "constants", "optimum"))
class MatrixFactorisation(Problem):
    """f_i(W, A, B) = ||W + BA - W*_i||^2/2 + (decay/2)(||A||^2 + ||B||^2); build it with `matrix_factorisation`."""

    n: int
    rank: int
    targets: Array  # (n, rows, columns)
    decay: Scalar
    constants: Constants
    optimum: Params

    def init(self, key: Key) -> Params:
        """W = 0, B = 0 and A normal with variance 1/rank: an adapter begins by changing nothing."""
        _, rows, columns = self.targets.shape
        dtype = self.targets.dtype
        a = jax.random.normal(key, (self.rank, columns), dtype) / np.sqrt(self.rank).astype(dtype)
        return {"x": jnp.zeros((rows, columns), dtype), "y": {"A": a, "B": jnp.zeros((rows, self.rank), dtype)}}

    def component(self, params: Params, index: Array) -> Array:
        a, b = params["y"]["A"], params["y"]["B"]
        residual = params["x"] + b @ a - self.targets[index]
        return jnp.sum(residual**2) / 2 + self.decay / 2 * (jnp.sum(a**2) + jnp.sum(b**2))


def matrix_factorisation(
    rows: int,
    columns: int,
    rank: int,
    *,
    target: Any = None,
    decay: float = 0.0,
    n: int = 1,
    dispersion: float = 0.0,
    key: Key | None = None,
) -> MatrixFactorisation:
    r"""A base W that is trained beside a low-rank adapter BA, as in LoRA; blocks x = W and y = {A, B}.

    .. math:: f_i(W, A, B) = \tfrac12 \|W + BA - W^*_i\|^2 + \tfrac\lambda2 (\|A\|^2 + \|B\|^2)

    The minimum is at W = mean W*_i, A = B = 0. Declared is only what holds on the whole space: the minimum; the PL constant
    1 without decay, because ||grad f||^2 >= ||grad_W f||^2 = 2 (f - f*); no smoothness and **no growth function**, for there
    is none (`theory.factorisation` has the instances, and the smoothness on a sublevel set); no dispersion where the
    targets differ, because that of the adapter's gradient is ||B'D_i||^2 + ||D_i A'||^2 for deviations D_i, unbounded.

    Args:
        rows, columns: of W.
        rank: of the adapter, B (rows, rank), A (rank, columns).
        target: the mean of the W*_i, (rows, columns); None is standard normal.
        decay: lambda >= 0.
        n: the number of components.
        dispersion: the dispersion of the gradient of W, the mean of ||W*_i - W*||^2; positive needs n >= 2.
        key: randomness of the targets; None is key 0.

    Raises:
        ValueError: sizes that are not whole positive numbers, a target of another shape, a negative decay or dispersion, a
            positive dispersion of a single component.

    Example:
        >>> problem = matrix_factorisation(3, 2, 1, decay=0.1)
        >>> problem
        MatrixFactorisation(n=1, dimensions={x: 6, y: 5})
        >>> problem.constants.growth is None
        True

    Reference:
        Hu et al.: LoRA, 2021, for the parametrisation.
    """
    shape = (_checks.count("rows", rows, bits=31), _checks.count("columns", columns, bits=31))
    rank, n = _checks.count("rank", rank, bits=31), _checks.count("n", n, bits=31)
    decay = magnitude("decay", decay, zero=True)
    spread = magnitude("dispersion", dispersion, zero=True)
    if n == 1 and spread > 0:
        raise _checks.refuse("n", "at least 2 where dispersion is positive", n)
    rng = generator(key)
    centre = rng.standard_normal(shape) if target is None else _checks.array("target", target, ndim=2)
    if centre.shape != shape:
        raise _checks.refuse("target", f"of shape {shape}", f"shape {centre.shape}")
    targets = centre + centred_tilts(rng, n, shape[0] * shape[1], spread).reshape(n, *shape)
    return MatrixFactorisation(
        n=n,
        rank=rank,
        targets=jnp.asarray(targets),
        decay=decay,
        constants=Constants(
            pl=1.0 if decay == 0 else None,
            optimal_value=spread / 2,
            dispersion={"x": 0.0, "y": 0.0} if spread == 0 else None,
        ),
        optimum={"x": jnp.asarray(centre), "y": {"A": jnp.zeros((rank, shape[1])), "B": jnp.zeros((shape[0], rank))}},
    )
