"""The curvature of a language model, block by block and module by module, from one compiled program.

A diagonal block of the Hessian is what is left of the whole in coordinates in which everything else has shrunk: with
s = 1 on the block and s = 1e-8 elsewhere, S H S differs from that block by 1e-8 of the coupling. The scales are numbers, so
that blocks, modules, the blocks together and the margin of growth functions share one compilation.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import theory_lab as tl
from experiments import _fine_tuning
from theory_lab._typing import Params
from theory_lab.finetune.problem import FineTune
from theory_lab.measure import Measurement, smoothness
from theory_lab.measure.base import unmeasured
from theory_lab.measure.smoothness.modules import Relabelled

AWAY = 1e16  # the scale L of what is left out; its coordinates shrink by L^(-1/2)
DEPTH = {"base": 3, "peft": 1}  # modules of the base: base/layers/fc1, base/embed_tokens/weight, ...


class Where(NamedTuple):
    """The loss of all examples as a function of modules, and a point."""

    fn: Relabelled
    params: Params
    args: tuple[Any, ...]

    def of(self, block: str) -> list[str]:
        """The labels of the modules in a block."""
        return [label for label in self.params if label.split("/")[0] == block]


def at(problem: FineTune, params: Params) -> Where:
    """The point in the modules of the base and the adapter as one."""
    fn, args = smoothness.over(problem)
    finer, point = smoothness.modules(fn, params, depth=DEPTH)
    return Where(finer, point, args)


def scales(where: Where, labels: Iterable[str]) -> dict[str, float]:
    """1 on some modules and `AWAY` on all others."""
    return {**dict.fromkeys(where.params, AWAY), **dict.fromkeys(labels, 1.0)}


def norm(where: Where, labels: Iterable[str], key: jax.Array, iterations: int) -> Measurement:
    """The spectral norm of the diagonal block that some modules make up."""
    return _norm(where, scales(where, labels), key, iterations)


def together(where: Where, smooth: Mapping[str, float], key: jax.Array, iterations: int) -> Measurement:
    """||D^(-1/2) H D^(-1/2)|| with D = diag(L_b I), L_b by block: at most 1 exactly if -D <= H <= D."""
    return _norm(where, {label: smooth[label.split("/")[0]] for label in where.params}, key, iterations)


def _norm(where: Where, scaling: Mapping[str, float], key: jax.Array, iterations: int) -> Measurement:
    low, high = smoothness.extreme_eigenvalues(
        where.fn, where.params, key=key, scaling=scaling, iterations=iterations, args=where.args
    )
    value = max(-low.value, high.value)
    return Measurement("norm", value, max(-low.high, high.low), max(-low.low, high.high), 1, high.note, high.products)


def absolute_trace(where: Where, labels: Iterable[str], key: jax.Array, iterations: int, starts: int) -> Measurement:
    """tr |A| of the diagonal block A that some modules make up: what tr S is for the least S with -S <= A <= S."""
    density = smoothness.spectral_density(
        where.fn, where.params, key=key, scaling=scales(where, labels), iterations=iterations, starts=starts, args=where.args
    )
    if density.note:
        return unmeasured("tr |H|", starts, density.note)
    share, d = density.average(np.abs), sum(leaf.size for leaf in jax.tree.leaves(where.params))
    return Measurement(
        "tr |H|", d * share.value, d * max(share.low, 0.0), d * share.high, starts, share.note, density.products
    )


def limits(where: Where, key: jax.Array, *, iterations: int, starts: int) -> dict[str, Measurement]:
    """What Theorem 1 allows a quadratic of this curvature, block by block: 2/(tr |H_base| + 2 |H_base|) and 2/|H_peft|.

    "rank one" is 2/(3 |H_base|), the most that the base's norm allows: no trace of |H| is smaller than the norm.
    """
    base, peft = (norm(where, where.of(block), key, iterations) for block in ("base", "peft"))
    trace = absolute_trace(where, where.of("base"), key, iterations, starts)
    value, low, high = (2 / (total + 2 * size) for total, size in (
        (trace.value, base.value), (trace.high, base.high), (trace.low, base.low)))  # fmt: skip
    inverse = lambda size, c: Measurement("limit", c / size.value, c / size.high, c / size.low, 1)
    least = Measurement("limit", value, low, high, starts, trace.note)
    return {"base": least, "peft": inverse(peft, 2.0), "rank one": inverse(base, 2 / 3)}


class Look(NamedTuple):
    """A point of a run."""

    epoch: int
    loss: float
    gradient: float  # the norm of that of all examples
    params: Params


def along(problem: FineTune, rates: Mapping[str, float], epochs: Sequence[int], key: jax.Array) -> list[Look]:
    """A run of the hybrid method where it is looked at, as long as it is not above its start; one epoch at a time."""
    params = problem.init(key)
    found: list[Look] = []
    for epoch in range(max(epochs) + 1):
        trace = tl.sweep(
            problem, _fine_tuning.HYBRID, tl.hybrid_sgd, step_sizes={b: [rate] for b, rate in rates.items()}, epochs=1,
            batch_size=8, keys=jax.random.fold_in(key, epoch)[None], params=params,
        )  # fmt: skip
        loss = float(trace.value[0, 0, 0])
        if found and not loss <= found[0].loss:
            break
        if epoch in epochs:
            gradient = np.sqrt(sum(norms[0, 0, 0] for norms in trace.gradient_norm_sq.values()))
            found.append(Look(epoch, loss, float(gradient), params))
        params = jax.tree.map(lambda a: a[0, 0], trace.params)
    return found
