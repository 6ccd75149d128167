"""A nonconvex sum of cosines with exact two-sided smoothness in coupled blocks and its minimum in closed form."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from theory_lab import _checks, blocks
from theory_lab._trees import record
from theory_lab._typing import Array, Key, Label, Params
from theory_lab.constants import Constants
from theory_lab.problems.base import Problem, dimensions_of, generator, magnitude, normal_params, per_block, split


@record(data=("features", "phases", "constants", "optimum"))
class Cosine(Problem):
    """f_i(z) = sum_k 1 - cos(w_k'z - phi_ik); build it with `cosine`.

    Attributes:
        features: the rows w_k cut into blocks, {label: (d, d_b)}.
        phases: phi, (n, d).
    """

    n: int
    features: Mapping[Label, Array]
    phases: Array
    constants: Constants
    optimum: Params

    def init(self, key: Key) -> Params:
        return normal_params(key, {b: w.shape[1] for b, w in self.features.items()}, self.phases.dtype)

    def component(self, params: Params, index: Array) -> Array:
        return jnp.sum(1 - jnp.cos(blocks.inner(self.features, params) - self.phases[index]))


def cosine(
    dimensions: Mapping[Label, int],
    *,
    n: int,
    smoothness: float | Mapping[Label, float] = 1.0,
    spread: float = 1.0,
    key: Key | None = None,
) -> Cosine:
    r"""A nonconvex finite sum that saturates its block smoothness, with coupled blocks and known minimum.

    .. math:: f_i(z) = \sum_{k<d} \bigl(1 - \cos(u_k^\top D^{1/2} z - \varphi_{ik})\bigr), \qquad D = \mathrm{diag}(L_b I)

    with {u_k} orthonormal, turned at random across the blocks. Exactly :math:`-D \le \nabla^2 f_i \le D`, both sides
    attained, and

    .. math:: f^* = \sum_k \Bigl(1 - \bigl|\tfrac1n \sum_i e^{-i\varphi_{ik}}\bigr|\Bigr).

    With m_1, m_2 the first two Fourier moments of the phases of k, the variance over i of sin(w - phi_ik) is at most
    (1 - |m_1|^2 + |m_2 - m_1^2|)/2 for every w; the declared dispersion is L_b times the sum of that over k.

    Args:
        dimensions: the size of every block.
        n: the number of components.
        smoothness: L_b, for all blocks or each.
        spread: standard deviation of the gaussian phases; 0 makes all components equal (interpolation).
        key: randomness of the phases and of the rotation; None is key 0.

    Raises:
        ValueError: dimensions, n or smoothness that are not positive, a negative spread.

    Example:
        >>> problem = cosine({"x": 3, "y": 2}, n=8)
        >>> bool(abs(problem.value(problem.optimum) - problem.constants.optimal_value) < 1e-5)
        True
    """
    sizes = dimensions_of(dimensions)
    n = _checks.count("n", n, bits=31)
    limit = per_block("smoothness", smoothness, sizes, magnitude)
    spread = magnitude("spread", spread, zero=True)
    rng = generator(key)
    d = sum(sizes.values())
    basis, _ = np.linalg.qr(rng.standard_normal((d, d)))  # rows u_k
    root = np.concatenate([np.full(size, np.sqrt(limit[b])) for b, size in sizes.items()])  # diagonal of D^{1/2}
    phases = spread * rng.standard_normal((n, d))
    first, second = np.exp(1j * phases).mean(axis=0), np.exp(2j * phases).mean(axis=0)
    variance = np.sum((1 - np.abs(first) ** 2 + np.abs(second - first**2)) / 2)
    optimum = (basis.T @ np.angle(first)) / root
    return Cosine(
        n=n,
        features=split(jnp.asarray(basis * root), sizes),
        phases=jnp.asarray(phases),
        constants=Constants(
            smoothness=limit,
            trace={b: limit[b] * size for b, size in sizes.items()},
            optimal_value=float(np.sum(1 - np.abs(first))),
            dispersion={b: float(limit[b] * variance) for b in sizes},
        ),
        optimum=split(jnp.asarray(optimum), sizes),
    )
