"""Looking at a problem at a point by products alone: spectral densities of its blocks, for parameters of any size."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from theory_lab import blocks
from theory_lab._typing import Key, Label, Params
from theory_lab.advise.looking import Settings, definite, sample
from theory_lab.measure.base import Measurement
from theory_lab.measure.smoothness import density, finite_sums, lanczos
from theory_lab.measure.smoothness.curvature import Curvature, curvature
from theory_lab.problems.base import Problem
from theory_lab.theory.groups import GroupedBlocks, grouped_blocks

ITERATIONS, STARTS = 20, 4  # of a spectral density
SEEN = 4  # components whose gradients are placed in the spectrum
VECTORS, COMPARED = 8, 16  # random vectors, and for each as many components, whose products say how Hessians differ
CHEAP = 2**22  # components times dimensions up to which products with the whole Hessian are
FEW = 512  # components from which the dispersion is taken

Apart = tuple[tuple[Any, ...], Params]  # the arguments that make f_i - f of f, and its gradient


@dataclass(frozen=True)
class BlockSpectrum:
    """One block: eigenvalues with counts, starting gradient and noise with where they lie; negative ones count as zero.

    Attributes:
        top, lowest: both ends of the spectrum, as they are.
        density, gradient, noise: nodes and weights.
        dispersion: of the components' gradients.
        kappa: tr E (H_i - H)_bb^2 over the trace of the positive part of H_bb; 0 where that is 0.
        products: spent.
        starts: the key of the density's random starts.
    """

    top: Measurement
    lowest: Measurement
    density: tuple[np.ndarray, np.ndarray]
    gradient: tuple[np.ndarray, np.ndarray]
    noise: tuple[np.ndarray, np.ndarray]
    dispersion: float
    kappa: float
    products: int
    starts: Key | None = None


@dataclass(frozen=True)
class SpectralView:
    """What is seen at one point of a large problem."""

    name: str
    params: Params
    settings: Settings
    blocks: dict[Label, BlockSpectrum]
    value: float

    @property
    def definite(self) -> bool:
        """Whether every block is."""
        return all(definite(np.array([b.lowest.value, b.top.value])) for b in self.blocks.values())

    @property
    def products(self) -> int:
        return sum(b.products for b in self.blocks.values())

    def top(self, label: Label) -> float:
        """The largest eigenvalue of a diagonal block; 0 where rounding cannot tell it from that."""
        top = self.blocks[label].top
        return top.value if top.low > 0 else 0.0

    def lowest(self, label: Label) -> float:
        return self.blocks[label].lowest.value

    def traces(self, label: Label) -> tuple[float, float]:
        """tr H_bb and tr H_bb^2, of what is left without negative curvature."""
        nodes, counts = self.blocks[label].density
        return float(nodes @ counts), float(nodes**2 @ counts)

    def model(self, *, rounding: Any = None) -> GroupedBlocks:
        """The grouped model; what cross blocks add is `coupling`'s."""
        settings = self.settings
        parts: list[tuple[np.ndarray, ...]] = []
        for owner, label in enumerate(settings.labels):
            b = self.blocks[label]
            for kind, (nodes, weights) in enumerate((b.density, b.gradient, b.noise)):
                row = np.zeros((5, nodes.size))
                row[0], row[1] = nodes, owner
                row[2 + kind] = weights
                parts.append(tuple(row))
        curvatures, owners, counts, gradient_sq, noise = (np.concatenate(column) for column in zip(*parts, strict=True))
        return grouped_blocks(
            curvatures,
            counts,
            owners.astype(int).tolist(),
            [label in settings.zeroth for label in settings.labels],
            settings.sizes,
            gradient_sq=gradient_sq,
            noise=noise,
            kappa=[self.blocks[label].kappa for label in settings.labels],
            share=settings.share,
            n=settings.groups,
            ordering=settings.ordering,
            directions=settings.directions,
            law=settings.law,
            rounding=rounding,
            horizon=settings.horizon,
        )


def spectral_view(
    problem: Problem, params: Params, name: str, settings: Settings, *, gradient: Params, key: Key, probability: float
) -> SpectralView | None:
    """The view of a point; None where something there is not finite.

    Args:
        problem, params, name: which point.
        gradient: of the start, whose place in this point's spectrum is asked for.
        key: random starts, and the sample of components.
        probability: that the outer ends of the blocks' spectra hold together.
    """
    labels = blocks.labels(params)
    each = 1 - (1 - probability) / len(labels)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key), dtype=np.uint32).ravel())
    indices = sample(rng, problem.n, FEW)
    spread = finite_sums.dispersions(problem, params, indices)
    chosen = sample(rng, problem.n, SEEN if problem.n > 1 else 0)
    apart = [finite_sums.apart(problem, params, index) for index in chosen]
    found = {}
    for i, label in enumerate(labels):
        at = hessian_of(problem, params, label)
        one = _block(problem, at, gradient, spread[label], apart, jax.random.fold_in(key, i), each)
        if one is None:
            return None
        found[label] = one
    value, _ = finite_sums.value_and_gradient(problem, params)
    return SpectralView(name, params, settings, found, value) if np.isfinite(value) else None


def hessian_of(problem: Problem, params: Params, label: Label) -> Curvature:
    """A block's Hessian; where products are cheap, in the program of the whole: another compiles longer than it runs."""
    fn, args = finite_sums.mean(problem)
    block = curvature(fn, params, block=label, args=args)
    return replace(block, as_whole=problem.n * blocks.size(params) <= CHEAP)


def _block(
    problem: Problem,
    at: Curvature,
    gradient: Params,
    dispersion: float,
    apart: Sequence[Apart],
    key: Key,
    probability: float,
) -> BlockSpectrum | None:
    label = str(at.block)
    starts = jax.random.split(key, STARTS + 2)
    ends = lanczos.extremes(at, starts[0], 2 * ITERATIONS, probability)
    if ends is None or not np.isfinite(dispersion):
        return None
    lowest, top, _ = ends
    spent = top.products
    whole = density.density_of(at, starts[1], ITERATIONS, STARTS)
    towards = density.weighted_density(at, ravel_pytree(gradient[label])[0], iterations=ITERATIONS)
    if whole.note or towards is None:
        return None
    spent += whole.products + towards[2]
    nodes = np.concatenate(whole.nodes)
    counts = np.concatenate(whole.weights) * at.dimension / len(whole.nodes)
    curved = float(np.maximum(nodes, 0) @ counts)
    places, spread, used = _noise(problem, at, apart, starts[2])
    kappa = spread / curved if curved > 0 and np.isfinite(spread) else 0.0
    size = float(places[1].sum())
    placed = (places[0], places[1] * (dispersion / size)) if size > 0 else (np.zeros(0), np.zeros(0))
    clean = lambda pair: (np.maximum(pair[0], 0), np.maximum(pair[1], 0))
    return BlockSpectrum(
        top, lowest, clean((nodes, counts)), clean(towards[:2]), clean(placed), dispersion, kappa, spent + used, starts[1]
    )


def _noise(
    problem: Problem, at: Curvature, apart: Sequence[Apart], key: Key
) -> tuple[tuple[np.ndarray, np.ndarray], float, int]:
    """Where some components' gradients less the mean lie in a block's spectrum; tr E (H_i - H)_bb^2; products."""
    nodes, weights, spent = [np.zeros(0)], [np.zeros(0)], 0
    for _, gradient in apart:
        found = density.weighted_density(at, ravel_pytree(gradient[str(at.block)])[0], iterations=ITERATIONS // 2)
        if found is not None:
            nodes.append(found[0])
            weights.append(found[1])
            spent += found[2]
    places = np.concatenate(nodes), np.concatenate(weights)
    if problem.n == 1:
        return places, 0.0, spent
    one, other = jax.random.split(key)
    vectors = jax.random.rademacher(one, (VECTORS, at.dimension), at.dtype)
    some = lambda each: jax.random.permutation(each, problem.n)[:COMPARED]
    indices = jax.vmap(some)(jax.random.split(other, VECTORS))
    return places, float(jnp.mean(_differences(problem, at, vectors, indices))), spent + VECTORS


def _differences(problem: Problem, at: Curvature, vectors: jax.Array, indices: jax.Array) -> np.ndarray:
    """|(H_i - H) v|^2 for every vector of a block, (V, d), and its components, (V, m)."""
    operator, inside = lanczos.whole(at) if problem.n <= finite_sums.TOGETHER else lanczos.shared(at)
    found = _spreads(problem, operator, inside, vectors, indices)
    if operator is not at and not np.isfinite(found).all():  # as in `lanczos.tridiagonalise`
        found = _spreads(problem, at, slice(0, at.dimension), vectors, indices)
    return found


def _spreads(problem: Problem, operator: Curvature, inside: slice, vectors: jax.Array, indices: jax.Array) -> np.ndarray:
    """The same by an operator in which the block's coordinates lie inside."""
    own = replace(operator, fn=finite_sums.one, args=(operator.args[0], jnp.int32(0)))
    lifted = jnp.pad(vectors, ((0, 0), (inside.start, operator.dimension - inside.stop)))
    if problem.n <= finite_sums.TOGETHER:
        return np.asarray(_spread_of_few(own, lifted, jnp.arange(problem.n), indices))
    return np.asarray(_spread(own, operator, lifted, indices))


@jax.jit
def _spread(own: Curvature, at: Curvature, vectors: jax.Array, indices: jax.Array) -> jax.Array:
    """The same with H v by the mean, and components one after another."""

    def squares(inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
        v, some = inputs
        mean = at.product(v)
        return jax.lax.map(lambda i: jnp.sum(jnp.square(replace(own, args=(own.args[0], i)).product(v) - mean)), some)

    return jax.lax.map(squares, (vectors, indices))


@jax.jit
def _spread_of_few(own: Curvature, vectors: jax.Array, every: jax.Array, indices: jax.Array) -> jax.Array:
    """The same with H v gathered in the same loop, before the differences: one product to compile, where that is dear."""
    n, m = every.size, indices.shape[1]
    shares = jnp.where(jnp.arange(n + m) < n, 1 / n, 0.0).astype(vectors.dtype)

    def squares(inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
        v, some = inputs

        def step(mean: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            index, share = inputs
            curved = replace(own, args=(own.args[0], index)).product(v)
            mean = mean + share * curved
            return mean, jnp.sum(jnp.square(curved - mean))

        order = jnp.concatenate([every, some]).astype(jnp.int32)
        return jax.lax.scan(step, jnp.zeros_like(v), (order, shares))[1][n:]

    return jax.lax.map(squares, (vectors, indices))
