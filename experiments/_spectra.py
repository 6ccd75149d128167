"""Functions whose Hessians have any size and known spectra: what the estimates of smoothness are held against.

Lanczos from a start uniform on the sphere sees eigenvalues alone, whatever the eigenvectors; so coupled pairs of
coordinates, which cost O(d) a product, are as hard as any matrix. Traces by random signs see the eigenvectors too: there
they are waves.
"""

import bisect
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import linalg

from theory_lab.measure.smoothness import lanczos
from theory_lab.measure.smoothness.curvature import Curvature, curvature

GAP = 0.0101  # by which the ends of "isolated" stand apart, just more than 1% of the width


class Instance(NamedTuple):
    """A Hessian, and the exact ends of its spectrum."""

    hessian: Curvature
    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low


def listed(kind: str, d: int) -> np.ndarray:
    """d eigenvalues; "isolated", the worst of them for Lanczos: two ends apart from the rest, which crowds towards them."""
    return {
        "isolated": lambda: apart(d, GAP, GAP),
        "uniform": lambda: np.linspace(-1, 1, d),
        "log-uniform": lambda: np.geomspace(1e-4, 1, d),
        "geometric": lambda: 0.5 ** np.arange(d),
    }[kind]()


def apart(d: int, below: float, above: float) -> np.ndarray:
    """0, 1, and between them the extrema of a Chebyshev polynomial on [below, 1 - above]."""
    waves = (1 - np.cos(np.pi * (np.arange(d - 2) + 0.5) / (d - 2))) / 2
    return np.r_[0.0, below + (1 - below - above) * waves, 1.0]


def coupled(z: dict[str, Any], a: Any, b: Any, c: Any) -> Any:
    """sum_j (a_j x_j^2 + 2 b_j x_j y_j + c_j y_j^2)/2: pairs of coordinates."""
    x, y = z["x"], z["y"]
    return jnp.sum(a * x**2 + 2 * b * x * y + c * y**2) / 2


def pairs(values: np.ndarray, *, coupling: float = 0.0, precision: str = "float64") -> Instance:
    """Neighbours of a list share a pair, coupled by b = coupling sqrt|ac|; the ends are exact for the rounded numbers."""
    a, c = values[::2].astype(precision), values[1::2].astype(precision)
    b = (coupling * np.sqrt(np.abs(a * c))).astype(precision)
    point = {label: jnp.zeros(a.size, precision) for label in "xy"}
    a64, b64, c64 = (part.astype(np.float64) for part in (a, b, c))
    middle, reach = (a64 + c64) / 2, np.hypot((a64 - c64) / 2, b64)
    instance = curvature(coupled, point, args=(jnp.asarray(a), jnp.asarray(b), jnp.asarray(c)))
    return Instance(instance, float((middle - reach).min()), float((middle + reach).max()))


class Outer(NamedTuple):
    """The outer ends after so many products, rounding included, and their larger distance from Ritz values over its law."""

    low: float
    high: float
    share: float


def outer(matrix: lanczos.Tridiagonal, products: int, overlap: float) -> Outer:
    """Both outer ends for a least overlap q, and

        outer end - theta_1 <= (theta_1 - theta_k) sinh^2(arcosh(1/q)/(2(k - 1))),

    the law, wherever the start does not refute the overlap. Proof. phi_0^2 + ... + phi_{k-1}^2 at x is the largest p(x)^2
    over int p^2 = 1, p of degree k - 1, and the Gauss rule at the Ritz values integrates p^2. The Chebyshev polynomial T of
    degree k - 1 is at most 1 on them, so that sum is at least T(x)^2, and T(cosh t) = cosh((k - 1) t).
    """
    products = min(products, matrix.diagonal.size)  # fewer where the Krylov space closes within rounding
    part = matrix._replace(diagonal=matrix.diagonal[:products], off=matrix.off[:products])
    (theta, above), (least, below) = lanczos.top(part, overlap), lanczos.bottom(part, overlap)
    law = (theta - least) * np.sinh(np.arccosh(1 / overlap) / (2 * (products - 1))) ** 2
    share = float(max(above - theta, least - below) / law)
    return Outer(below - matrix.rounding, above + matrix.rounding, share)


def inner_errors(instance: Instance, matrix: lanczos.Tridiagonal, products: int) -> np.ndarray:
    """By how much the extreme Ritz values after so many products lie inside the lower and the upper end."""
    ritz = linalg.eigvalsh_tridiagonal(matrix.diagonal[:products], matrix.off[: products - 1])
    return np.array([ritz[0] - instance.low, instance.high - ritz[-1]])


def needed(instance: Instance, matrix: lanczos.Tridiagonal, tolerances: np.ndarray) -> int:
    """The first number of products whose Ritz values are within tolerances of both ends; one beyond the run if none is."""
    enough = lambda products: bool((inner_errors(instance, matrix, products) <= tolerances).all())
    return bisect.bisect_left(range(1, matrix.diagonal.size + 1), True, key=enough) + 1


def promised(dimension: int, error: float, probability: float) -> int:
    """The number of products from which `lanczos.relative_error` is at most that."""
    law = lambda products: lanczos.relative_error(dimension, products, probability=probability) <= error
    return bisect.bisect_left(range(1, dimension + 1), True, key=law) + 1


def waves(z: dict[str, Any], values: Any) -> Any:
    """sum_j values_j w_j^2/2 with w the discrete Hartley transform of x, which is orthogonal."""
    spectrum = jnp.fft.fft(z["x"])
    return jnp.sum(values * (spectrum.real - spectrum.imag) ** 2) / (2 * z["x"].size)


def waves_diagonal(values: np.ndarray) -> np.ndarray:
    """The diagonal of the Hessian of `waves`: (1/d) sum_j values_j (1 + sin(4 pi i j/d))."""
    d = values.size
    turns = np.fft.fft(values)[2 * np.arange(d) % d]
    return (values.sum() - turns.imag) / d
