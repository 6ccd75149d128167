r"""What cross blocks take from step sizes that were chosen without them, by products with the whole Hessian.

Setting: K = P^1/2 H P^1/2 with P = diag(eta_b I). A grouped model knows the diagonal blocks K_bb; at u times the step sizes
K is u K, so one run of Lanczos says it for the whole ray.

The mean contracts if and only if u lambda_max(K) < 2. The upper end of lambda_max holds at a stated probability. Products in
few bits (TF32, half precision) need not be those of any symmetric matrix; their end is then some hundred times what Lanczos
finds, which says how rough they are and nothing of the matrix. There 1.5 times what was found stands for it, and nothing is
certified.

Noise. Of what two points put into block b with covariance I, so much feeds back, as second moment of the gradient in Z, all
the blocks that two points estimate (column sums of the gains between blocks bound their spectral radius):

    sum_m |[K (1 - K)^m]_Zb|_F^2 = E sum_gh c_g c_h W_gh k_g k_h / (k_g + k_h - k_g k_h),    c = V'v, W = V_Z V_Z',

with v normal in block b, V the eigenvectors of K as rows, V_Z their part there; of a first-order block's noise Z is the
block itself. Lanczos from some v puts its Ritz vectors in their place. Without cross blocks W = 1 and k is of K_bb; the
ratio of the two, from the same v, multiplies the noise of the block in its grouped model. Guarantee: the mean's at the
stated probability; the noise's a measured conjecture: exact without cross blocks, where the ratio is 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from theory_lab import _checks, blocks
from theory_lab._typing import Key, Label
from theory_lab.advise.seeing import Sight
from theory_lab.advise.spectra import ITERATIONS, STARTS, SpectralView
from theory_lab.measure.base import Measurement
from theory_lab.measure.smoothness import extreme_eigenvalues, finite_sums, lanczos
from theory_lab.measure.smoothness.curvature import Curvature, curvature
from theory_lab.problems.base import Problem
from theory_lab.theory.groups import GroupedBlocks

RESOLUTION = 1e-3
VAGUE = 1.5  # of what was found, the farthest outer end that is believed

Quadrature = tuple[np.ndarray, np.ndarray]  # Ritz values, (m,), and c_g c_h W_gh, (m, m)


@dataclass(frozen=True)
class Coupled:
    """One point of a large problem along a ray of step sizes, cross blocks included.

    Attributes:
        model: without them.
        step_sizes: per block, at u = 1.
        top: largest eigenvalue of K.
        whole, alone: per block, a quadrature for every start by the whole matrix, and one of all by that block alone.
        products: spent.
    """

    model: GroupedBlocks
    step_sizes: tuple[float, ...]
    top: Measurement
    whole: tuple[tuple[Quadrature, ...], ...]
    alone: tuple[tuple[Quadrature, ...], ...]
    products: int

    def at(self, u: float) -> GroupedBlocks:
        """The grouped model whose noise cross blocks have raised as they do at u times the step sizes."""
        fed = lambda quadratures: _fed_back(quadratures, u, self.model.horizon)
        ratios = (fed(w) / max(fed(a), 1e-300) for w, a in zip(self.whole, self.alone, strict=True))
        return replace(self.model, excess=tuple(ratios))

    @property
    def certified(self) -> bool:
        """Whether the outer end of the largest eigenvalue says something of the matrix."""
        return self.top.high <= VAGUE * self.top.value or self.top.value <= 0

    def stable(self, u: float) -> bool:
        """Whether u times the step sizes are stable."""
        top = self.top.high if self.certified else VAGUE * self.top.value
        return u * top < 2 and self.at(u).modes([u * eta for eta in self.step_sizes]).stable


def _fed_back(quadratures: Sequence[Quadrature], u: float, horizon: float) -> float:
    """What feeds back at u times the step sizes within the horizon, summed over the starts; without negative curvature."""
    total = 0.0
    for nodes, weights in quadratures:
        k = np.maximum(u * nodes, 1e-300)
        if k.max() >= 2:
            return float("inf")
        left = np.abs(1 - k)  # of what was there, after a step
        share = 1.0 if horizon == np.inf else 1 - np.multiply.outer(left, left) ** horizon
        total += float(np.sum(weights / (np.add.outer(1 / k, 1 / k) - 1) * share))
    return max(total, 0.0)


def coupled(
    problem: Problem, sight: Sight, step_sizes: Sequence[float], *, key: Key, probability: float
) -> tuple[Coupled, ...]:
    """Every point of a large problem of several blocks, with its cross blocks; nothing of one that has its matrices.

    Args:
        problem, sight: what was looked at.
        step_sizes: per block, positive.
        key: random starts.
        probability: that the upper ends of all points hold together.

    Raises:
        ValueError: a product with the whole Hessian that is not finite, though those with its blocks are.
    """
    if len(step_sizes) == 1 or not isinstance(sight.last, SpectralView):
        return ()
    views = [view for view in sight.views if isinstance(view, SpectralView)]
    each = 1 - (1 - probability) / len(views)
    return tuple(
        _coupled(problem, view, tuple(step_sizes), jax.random.fold_in(key, i), each) for i, view in enumerate(views)
    )


def _coupled(problem: Problem, view: SpectralView, etas: tuple[float, ...], key: Key, probability: float) -> Coupled:
    labels = view.settings.labels
    scaling = {label: 1 / eta for label, eta in zip(labels, etas, strict=True)}
    fn, args = finite_sums.mean(problem)
    whole = curvature(fn, view.params, scaling=scaling, args=args)
    _, top = extreme_eigenvalues(
        fn, view.params, key=key, scaling=scaling, iterations=2 * ITERATIONS, probability=probability, args=args
    )
    if not np.isfinite(top.high):
        raise _checks.refuse(f"the Hessian of the problem at {view.name}", "finite", top.high)
    found, alone = [], []
    for label, eta in zip(labels, etas, strict=True):
        block = view.blocks[label]
        assert block.starts is not None
        seen = view.settings.zeroth if label in view.settings.zeroth else (label,)
        found.append([_quadrature(whole, label, seen, start) for start in jax.random.split(block.starts, STARTS)])
        nodes, counts = block.density  # of the same starts, by this block alone
        alone.append(((eta * nodes, np.diag(counts * STARTS / counts.sum())),))
    spent = top.products + sum(used for runs in found for _, used in runs)
    return Coupled(view.model(), etas, top, tuple(tuple(q for q, _ in runs) for runs in found), tuple(alone), spent)


def _quadrature(hessian: Curvature, label: Label, seen: Sequence[Label], key: Key) -> tuple[Quadrature, int]:
    """From a normal start in a block: Ritz values and the weights of their pairs; none where a product is not finite."""
    sizes = {b: blocks.size(part) for b, part in hessian.free.items()}
    own = lanczos.normal(key, sizes[label], jnp.result_type(*jax.tree.leaves(hessian.params[label])))
    before = sum(size for b, size in sizes.items() if b < label)
    start = lanczos.lifted(own.astype(hessian.dtype), hessian.dimension, before)
    mask = jnp.asarray(np.repeat([float(b in seen) for b in sizes], list(sizes.values())), hessian.dtype)
    matrix = lanczos.tridiagonalise(hessian, ITERATIONS, start, keep=True)
    if matrix is None:
        return (np.zeros(1), np.zeros((1, 1))), 0
    assert matrix.rows is not None
    (values, vectors), m = matrix.ritz(), matrix.diagonal.size
    gram = np.asarray(_gram(matrix.rows, mask), dtype=np.float64)[:m, :m]
    return (values, (vectors.T @ gram @ vectors) * np.outer(vectors[0], vectors[0])), m


@jax.jit
def _gram(rows: jax.Array, mask: jax.Array) -> jax.Array:
    """Inner products of vectors in the coordinates where the mask is 1, (K, K)."""
    return (rows * mask) @ rows.T


def room(points: Sequence[Coupled], most: float) -> float:
    """How many times the step sizes of all may grow together, at most ``most``, before one of the points is unstable.

    Positive, since small enough step sizes are stable wherever the largest eigenvalue is finite.
    """
    test = lambda u: all(point.stable(u) for point in points)
    if test(most):
        return most
    low, high = 0.0, most
    while high - low > RESOLUTION * high:
        middle = (low + high) / 2
        low, high = (middle, high) if test(middle) else (low, middle)
    return low
