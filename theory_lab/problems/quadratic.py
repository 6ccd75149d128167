"""Quadratics whose every constant is known exactly: the objects on which theory is exact."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from theory_lab import _checks
from theory_lab._trees import record
from theory_lab._typing import Array, Key, Label, Params
from theory_lab.constants import Constants
from theory_lab.problems.base import Problem, centred_tilts, dimensions_of, generator, magnitude, normal_params, per_block

Components = Literal["convex", "commuting", "indefinite"]
Spectrum = Any  # "flat", ("power", p) or an array of eigenvalues
COMPONENTS: tuple[Components, ...] = ("convex", "commuting", "indefinite")


@record(data=("hessian", "deviations", "tilts", "constants", "optimum"))
class BlockQuadratic(Problem):
    """f_i(z) = 1/2 z'(H + E_i) z - b_i'z with sum E_i = 0 and sum b_i = 0; build it with `block_quadratic`.

    Attributes:
        hessian: H, shape (d,) if diagonal, else (d, d); coordinates in the sorted order of the labels.
        deviations: E_i, shape (n, d, d), or None where all components share H.
        tilts: b_i, shape (n, d).
    """

    dimensions: tuple[tuple[Label, int], ...]
    n: int
    hessian: Array
    deviations: Array | None
    tilts: Array
    constants: Constants
    optimum: Params

    def init(self, key: Key) -> Params:
        return normal_params(key, dict(self.dimensions), self.tilts.dtype)

    def component(self, params: Params, index: Array) -> Array:
        z = jnp.concatenate([params[label] for label, _ in self.dimensions])  # (d,)
        value = _half_form(self.hessian, z) - jnp.dot(self.tilts[index], z)
        return value if self.deviations is None else value + _half_form(self.deviations[index], z)

    def dense_hessian(self) -> np.ndarray:
        """H as a (d, d) float64 array, for the theory functions."""
        hessian = np.asarray(self.hessian, dtype=np.float64)
        return np.diag(hessian) if hessian.ndim == 1 else hessian

    def component_hessians(self) -> np.ndarray:
        """H + E_i for every component, (n, d, d) in float64."""
        shared = np.broadcast_to(self.dense_hessian(), (self.n, *self.dense_hessian().shape))
        return shared if self.deviations is None else shared + np.asarray(self.deviations, dtype=np.float64)


@jax.custom_jvp
def _half_form(matrix: Array, z: Array) -> Array:
    """z'Mz / 2 for a symmetric M, (d, d) or its diagonal (d,).

    Its derivative rule reuses Mz, so that value and gradient together cost one product instead of the three that
    differentiating z'(Mz) would take. Higher derivatives follow from differentiating the rule.
    """
    return jnp.dot(z, _product(matrix, z)) / 2


def _product(matrix: Array, z: Array) -> Array:
    """Mz = z'M; written so, a batch of z needs no transposes."""
    return z * matrix if matrix.ndim == 1 else z @ matrix


@partial(_half_form.defjvp, symbolic_zeros=True)
def _half_form_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (matrix, z), (matrix_dot, z_dot) = primals, tangents
    product = _product(matrix, z)
    value = jnp.dot(z, product) / 2
    tangent = jnp.zeros_like(value)
    if not isinstance(z_dot, SymbolicZero):
        tangent = tangent + jnp.dot(z_dot, product)
    if not isinstance(matrix_dot, SymbolicZero):
        tangent = tangent + jnp.dot(z, _product(matrix_dot, z)) / 2
    return value, tangent


def block_quadratic(
    dimensions: Mapping[Label, int],
    *,
    n: int = 1,
    smoothness: float | Mapping[Label, float] | None = None,
    spectrum: Spectrum | Mapping[Label, Spectrum] = "flat",
    coupling: float = 0.0,
    heterogeneity: float = 0.0,
    components: Components = "convex",
    dispersion: float | Mapping[Label, float] = 0.0,
    rotated: bool = False,
    key: Key | None = None,
) -> BlockQuadratic:
    r"""A finite sum of quadratics with exactly known smoothness, dispersion, minimiser and minimum.

    .. math:: f_i(z) = \tfrac12 z^\top (H + E_i) z - b_i^\top z, \qquad \sum_i E_i = 0,\ \sum_i b_i = 0

    so that the minimiser is 0 and f* = 0. With two blocks and coupling rho,

    .. math:: H = \begin{pmatrix} A & \rho A^{1/2} R C^{1/2} \\ \cdot & C \end{pmatrix}, \qquad \|R\| = 1,

    the top singular pair of R sitting on the top eigenvectors of A and C: then D = (1 + rho) diag(|A| I, |C| I) dominates H,
    and the norm of D^{-1/2} H D^{-1/2} is exactly 1. Deviations from the mean Hessian are

    - "convex": E_i = h H^{1/2} Q_i H^{1/2}; every component stays convex for h <= 1;
    - "commuting": E_i = h q_i D with q_i = +-1 (indefinite components; they commute if coupling is 0);
    - "indefinite": E_i = h D^{1/2} Q_i D^{1/2} (indefinite, not commuting),

    where Q_i are reflections in coordinate planes with angles spread evenly over the circle and sum Q_i = 0. The declared
    smoothness is the exact two-sided constant of the *components*.

    Args:
        dimensions: the size of every block, e.g. {"x": 100, "y": 10}.
        n: the number of components.
        smoothness: L_b, for all blocks or each. The whole problem is scaled so that it is exact. None: the spectra are
            taken literally and L_b follows from them (1 for a flat uncoupled block).
        spectrum: of H_bb, for all blocks or each: "flat" (all 1), ("power", p) (i^-p), or its d_b nonnegative eigenvalues.
        coupling: rho in [0, 1); needs exactly two blocks if positive.
        heterogeneity: h >= 0; positive needs n >= 2 (n >= 3 for "indefinite", h <= 1 for "convex").
        components: how the component Hessians deviate from their mean, see above.
        dispersion: sigma_b^2 = (1/n) sum_i |b_ib|^2, exact everywhere if the Hessians are shared; positive needs n >= 2.
        rotated: turn every block by a random rotation, so that H_bb is not diagonal. Its spectrum does not change, nor do
            the declared smoothness and trace where all components share H.
        key: randomness of tilts, rotations and the coupling matrix; None is key 0.

    Returns:
        The problem; arrays in JAX's default precision.

    Raises:
        ValueError: whatever breaks one of the rules above, by name, rule and value.

    Example:
        >>> problem = block_quadratic({"x": 3, "y": 2}, smoothness={"x": 4.0, "y": 1.0}, coupling=0.5)
        >>> problem.constants.smoothness
        {'x': 4.0, 'y': 1.0}
        >>> float(jnp.round(problem.value({"x": jnp.zeros(3), "y": jnp.zeros(2)}), 6))
        0.0
    """
    sizes = dimensions_of(dimensions)
    n = _checks.count("n", n, bits=31)
    coupling = _checks.between("coupling", coupling, 0, 1, closed="[)")
    if coupling > 0 and len(sizes) != 2:
        raise _checks.refuse("coupling", f"0 unless there are exactly two blocks (here {sorted(sizes)})", coupling)
    heterogeneity = magnitude("heterogeneity", heterogeneity, zero=True)
    _checks.choice("components", components, COMPONENTS)
    if heterogeneity > 1 and components == "convex":
        raise _checks.refuse("heterogeneity", "at most 1 for convex components", heterogeneity)
    sigma = per_block("dispersion", dispersion, sizes, partial(magnitude, zero=True))
    if n == 1 and (heterogeneity > 0 or any(sigma.values())):
        raise _checks.refuse("n", "at least 2 where heterogeneity or dispersion is positive", n)
    if heterogeneity > 0 and components == "indefinite" and n == 2:
        raise _checks.refuse("n", "at least 3 for indefinite components (two reflections with sum 0 commute)", n)
    spectra = _spectra(spectrum, sizes)
    wanted = None if smoothness is None else per_block("smoothness", smoothness, sizes, magnitude)

    _checks.flag("rotated", rotated)
    rng = generator(key)
    if wanted is not None:
        spectra = {b: s * (wanted[b] / s.max()) for b, s in spectra.items()}
    rotations = {b: _rotation(rng, d) if rotated else None for b, d in sizes.items()}
    hessian = _mean_hessian(spectra, coupling, rotations, rng)
    # The diagonal of D, not yet scaled.
    top = np.concatenate([np.full(d, (1 + coupling) * spectra[b].max()) for b, d in sizes.items()])
    deviations = _deviations(n, heterogeneity, components, hessian, top) if heterogeneity else None
    reach = _reach(hessian, deviations, top)  # the exact two-sided norm of the components in the geometry of D
    exact = {b: (1 + coupling) * float(s.max()) * reach for b, s in spectra.items()}
    scale = 1.0 if wanted is None else next(wanted[b] / exact[b] for b in exact)
    limit = {b: exact[b] * scale if wanted is None else wanted[b] for b in exact}
    trace = {b: limit[b] * d for b, d in sizes.items()}
    if reach >= (1 + heterogeneity) * (1 - 1e-12):  # then `_dominating` bounds H + E_i by matrices of norm L_b
        trace = {b: scale * (1 + coupling) * _dominating(s, heterogeneity, components) for b, s in spectra.items()}
    least, least_positive = _least_curvatures(hessian)
    return BlockQuadratic(
        dimensions=tuple(sizes.items()),
        n=n,
        hessian=jnp.asarray(scale * hessian),
        deviations=None if deviations is None else jnp.asarray(scale * deviations),
        tilts=jnp.asarray(np.concatenate([centred_tilts(rng, n, d, sigma[b]) for b, d in sizes.items()], axis=1)),
        constants=Constants(
            smoothness=limit,
            trace=trace,
            strong_convexity=scale * least,
            pl=None if least_positive is None else scale * least_positive,
            optimal_value=0.0,
            dispersion=sigma if deviations is None else None,
        ),
        optimum={b: jnp.zeros(d) for b, d in sizes.items()},
    )


def _spectra(spectrum: Any, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Per block the eigenvalues of H_bb, descending."""

    def one(name: str, value: Any) -> Any:
        if isinstance(value, str):
            _checks.choice(name, value, ("flat",))
            return lambda d: np.ones(d)
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
            _checks.choice(f"{name}[0]", value[0], ("power",))
            exponent = _checks.nonnegative(f"{name}[1], the exponent,", value[1])
            return lambda d: np.arange(1.0, d + 1) ** -exponent
        eigenvalues = np.sort(_checks.array(name, value, ndim=1))[::-1]
        if eigenvalues[-1] < 0 or eigenvalues[0] == 0:
            raise _checks.refuse(name, "'flat', ('power', p) or nonnegative eigenvalues, not all zero", value)
        magnitude(f"the largest eigenvalue of {name}", eigenvalues[0])
        return lambda d: eigenvalues

    made = {}
    for label, make in per_block("spectrum", spectrum, sizes, one).items():
        made[label] = make(sizes[label])
        if made[label].size != sizes[label]:
            raise _checks.refuse(
                f"spectrum[{label!r}]", f"{sizes[label]} eigenvalues, one per dimension", made[label].tolist()
            )
    return made


def _rotation(rng: np.random.Generator, d: int) -> np.ndarray:
    """A rotation uniform under the Haar measure."""
    q, r = np.linalg.qr(rng.standard_normal((d, d)))
    return q * np.sign(np.diag(r))


def _mean_hessian(
    spectra: dict[str, np.ndarray], coupling: float, rotations: dict[str, np.ndarray | None], rng: np.random.Generator
) -> np.ndarray:
    """H, (d, d), or its diagonal (d,) where nothing couples the coordinates."""
    diagonal = np.concatenate(list(spectra.values()))
    if coupling == 0 and all(r is None for r in rotations.values()):
        return diagonal
    hessian = np.diag(diagonal)
    if coupling > 0:
        a, c = spectra.values()
        contraction = rng.standard_normal((a.size, c.size))  # R: first row and column carry the top singular pair
        contraction[0], contraction[:, 0] = 0.0, 0.0
        contraction /= max(float(np.linalg.norm(contraction, 2)), 1e-300)
        contraction[0, 0] = 1.0
        cross = coupling * np.sqrt(a)[:, None] * contraction * np.sqrt(c)[None, :]
        hessian[: a.size, a.size :], hessian[a.size :, : a.size] = cross, cross.T
    turn, start = np.eye(diagonal.size), 0
    for rotation, s in zip(rotations.values(), spectra.values(), strict=True):
        if rotation is not None:
            turn[start : start + s.size, start : start + s.size] = rotation
        start += s.size
    hessian = turn @ hessian @ turn.T
    return (hessian + hessian.T) / 2


def _root(hessian: np.ndarray) -> np.ndarray:
    """A matrix M with MM' = H."""
    if hessian.ndim == 1:
        return np.diag(np.sqrt(hessian))
    values, vectors = np.linalg.eigh(hessian)
    return vectors * np.sqrt(np.clip(values, 0, None))


def _least_curvatures(hessian: np.ndarray) -> tuple[float, float | None]:
    """The least eigenvalue of H, and the least positive one if that can be told.

    A diagonal is exact. Of a dense matrix, eigenvalues below 1e-12 of the largest cannot be told from zero: then 0 is
    still a lower bound, and the least positive one is unknown.
    """
    if hessian.ndim == 1:
        return float(hessian.min()), float(hessian[hessian > 0].min())
    eigenvalues = np.linalg.eigvalsh(hessian)
    resolved = eigenvalues[0] > 1e-12 * eigenvalues[-1]
    return (float(eigenvalues[0]), float(eigenvalues[0])) if resolved else (0.0, None)


def _deviations(n: int, heterogeneity: float, components: Components, hessian: np.ndarray, top: np.ndarray) -> np.ndarray:
    """E_i, (n, d, d), with sum 0."""
    d = top.size
    if components == "commuting":
        signs = np.array([1.0, -1.0] * (n // 2) + [0.0] * (n % 2))
        return heterogeneity * signs[:, None, None] * np.diag(top)
    frame = np.diag(np.sqrt(top)) if components == "indefinite" else _root(hessian)
    angles = 2 * np.pi * np.arange(n) / n
    reflections = np.zeros((n, d, d))
    for j in range(0, d - 1, 2):  # a reflection in every coordinate plane (j, j + 1), phases differing between planes
        phase = angles + j
        reflections[:, j, j], reflections[:, j + 1, j + 1] = np.cos(phase), -np.cos(phase)
        reflections[:, j, j + 1] = reflections[:, j + 1, j] = np.sin(phase)
    if d % 2:
        reflections[:, -1, -1] = np.cos(angles)
    return heterogeneity * frame @ reflections @ frame.T


def _dominating(spectrum: np.ndarray, heterogeneity: float, components: Components) -> float:
    """tr S_b / (1 + rho), where diag(S_b) dominates every H + E_i on both sides.

    H <= (1 + rho) diag(A, C). Convex components have 0 <= H + E_i <= (1 + h) H, so S_b = (1 + rho)(1 + h) A; the others have
    -hD <= E_i <= hD, so S_b = (1 + rho)(A + h |A| I). Either way |S_b| = (1 + rho)(1 + h)|A|.
    """
    if components == "convex":
        return (1 + heterogeneity) * float(spectrum.sum())
    return float(spectrum.sum() + heterogeneity * spectrum.max() * spectrum.size)


def _reach(hessian: np.ndarray, deviations: np.ndarray | None, top: np.ndarray) -> float:
    """max_i of the spectral norm of D^{-1/2} (H + E_i) D^{-1/2}."""
    if deviations is None:
        return 1.0  # exact by construction, without rounding
    mean = np.diag(hessian) if hessian.ndim == 1 else hessian
    scaled = (mean + deviations) / np.sqrt(top[:, None] * top[None, :])
    return float(np.abs(np.linalg.eigvalsh(scaled)).max())
