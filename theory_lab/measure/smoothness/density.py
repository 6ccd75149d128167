r"""The spectral density of a Hessian by stochastic Lanczos quadrature.

For a unit start b, the k Ritz values and the squares of the first components of their vectors are the Gauss quadrature of
the measure with weight <b, u_i>^2 at each eigenvalue: all polynomials up to degree 2k - 1 are integrated exactly. For b
uniform on the sphere that measure has the mean (1/d) sum_i delta_{lambda_i}, the spectral density. So the average over
starts is unbiased for every moment tr A^m / d up to m = 2k - 1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from scipy import linalg

from theory_lab import _checks
from theory_lab._typing import Array, Key, Label, Params, Scalar
from theory_lab.measure.base import Measurement, mean, unmeasured
from theory_lab.measure.smoothness import lanczos
from theory_lab.measure.smoothness._door import Objective
from theory_lab.measure.smoothness.curvature import Curvature, curvature


@dataclass(frozen=True)
class SpectralDensity:
    """Quadratures of the spectral density, one for every start.

    Attributes:
        nodes: Ritz values, a (k_s,) array for every start.
        weights: theirs; each sums to 1.
        products: Hessian-vector products spent.
        note: why there are none, where a product is not finite; every average is undecided then.
        rounding: how far the nodes of each start may lie from those of exact products.
    """

    nodes: tuple[np.ndarray, ...]
    weights: tuple[np.ndarray, ...]
    products: int
    note: str = ""
    rounding: tuple[float, ...] = ()

    def average(self, fn: Callable[[np.ndarray], np.ndarray], *, confidence: float = 0.99) -> Measurement:
        """(1/d) tr fn(A): Student's interval over the starts, unbiased for polynomials up to degree 2k - 1.

        It is widened by what fn changes where all nodes move by their rounding, up or down, on average over the starts. Of
        few starts whose averages are skewed it holds less often than it says, as the intervals of `trace` do.

        Raises:
            ValueError: what is no function, fewer than two starts, a confidence outside (0, 1).
        """
        _checks.function("fn", fn, "a function of an array of eigenvalues")
        if self.note:
            return unmeasured("average over the spectrum", 0, self.note)
        rounding = self.rounding or (0.0,) * len(self.nodes)
        at = lambda sign: [float(w @ fn(x + sign * r)) for x, w, r in zip(self.nodes, self.weights, rounding, strict=True)]
        values = at(0)
        found = mean("average over the spectrum", values, confidence=confidence)
        with np.errstate(all="ignore"):  # beside the spectrum a function need not be defined
            moved = np.fmax(*(np.abs(np.subtract(at(sign), values)) for sign in (-1, 1)))
        more = float(np.mean(np.where(np.isnan(moved), 0.0, moved)))
        return replace(found, low=found.low - more, high=found.high + more)

    def below(self, x: Scalar, *, confidence: float = 0.99) -> Measurement:
        """The share of eigenvalues up to x, smeared over the distance between neighbouring Ritz values.

        The interval is that of the smeared share: a step is no polynomial, and what the smearing moves is not in it.
        """
        return self.average(lambda nodes: np.asarray(nodes <= x, dtype=np.float64), confidence=confidence)


def spectral_density(
    fn: Objective,
    params: Params,
    *,
    key: Key,
    block: Label | None = None,
    scaling: Mapping[Label, Scalar] | None = None,
    iterations: int = 30,
    starts: int = 16,
    args: Sequence[Any] = (),
) -> SpectralDensity:
    r"""The spectral density of a Hessian, of a diagonal block, or of either in scaled coordinates.

    Args:
        fn, params, key, block, scaling, args: as in `smoothness.extreme_eigenvalues`.
        iterations: k, nodes for every start at most.
        starts: independent starts.

    Returns:
        The quadratures; none, and a note that says so, where a product is not finite.

    Raises:
        ValueError: as `smoothness.extreme_eigenvalues`; fewer than two starts.

    Example:
        >>> fn = lambda z: jax.numpy.sum(jax.numpy.arange(1.0, 4.0) * z["x"] ** 2) / 2  # eigenvalues 1, 2, 3
        >>> found = spectral_density(fn, {"x": jax.numpy.zeros(3)}, key=jax.random.key(0), starts=200)
        >>> mean = found.average(lambda nodes: nodes)
        >>> mean.low < 2 < mean.high
        True

    Reference:
        Golub, Meurant: Matrices, moments and quadrature, 1994 (recalled, not re-read); Ubaru, Chen, Saad: Fast estimation of
        tr f(A) via stochastic Lanczos quadrature, 2017 (recalled, not re-read).
    """
    hessian = curvature(fn, params, block=block, scaling=scaling, args=args)
    _checks.key("key", key)
    _checks.count("iterations", iterations)
    _checks.count("starts", starts, least=2, bits=20)
    return density_of(hessian, key, iterations, starts)


def density_of(hessian: Curvature, key: Key, iterations: int, starts: int) -> SpectralDensity:
    """`spectral_density` of an operator that there is."""
    nodes, weights, rounding, spent = [], [], [], 0
    each = np.asarray(jax.random.key_data(jax.random.split(key, starts)))  # taken apart by JAX they are a program each
    for words in each:
        start = jax.random.wrap_key_data(words, impl=jax.random.key_impl(key))
        matrix = lanczos.tridiagonalise(hessian, iterations, start)
        if matrix is None:
            return SpectralDensity((), (), spent, "a Hessian-vector product is not finite")
        values, vectors = linalg.eigh_tridiagonal(matrix.diagonal, matrix.off[:-1])
        nodes.append(values)
        weights.append(vectors[0] ** 2)
        rounding.append(matrix.rounding)
        spent += matrix.diagonal.size
    return SpectralDensity(tuple(nodes), tuple(weights), spent, rounding=tuple(rounding))


def weighted_density(
    hessian: Curvature, vector: Array, *, iterations: int = 20
) -> tuple[np.ndarray, np.ndarray, int] | None:
    r"""Where in a spectrum a vector lies: the Gauss quadrature of :math:`\sum_i \langle v, u_i\rangle^2 \delta_{\lambda_i}`.

    Args:
        hessian: from `curvature`.
        vector: v, (d,) in the order of the sorted labels.
        iterations: k, nodes and products at most.

    Returns:
        Nodes, weights that sum to |v|^2, and the products spent; nothing but no nodes for v = 0; None where a product is not
        finite.

    Example:
        >>> at = curvature(lambda z: jax.numpy.sum(jax.numpy.arange(1.0, 4.0) * z["x"] ** 2) / 2, {"x": jax.numpy.zeros(3)})
        >>> nodes, weights, _ = weighted_density(at, jax.numpy.array([1.0, 0.0, 2.0]))
        >>> nodes.round(5).tolist(), weights.round(5).tolist()
        ([1.0, 3.0], [1.0, 4.0])
    """
    size = float(jax.numpy.linalg.norm(vector))
    if size == 0:
        return np.zeros(0), np.zeros(0), 0
    matrix = lanczos.tridiagonalise(hessian, iterations, jax.numpy.asarray(vector, hessian.dtype), keep=True)
    if matrix is None or not np.isfinite(size):
        return None
    values, vectors = linalg.eigh_tridiagonal(matrix.diagonal, matrix.off[:-1])
    return values, size**2 * vectors[0] ** 2, matrix.diagonal.size
