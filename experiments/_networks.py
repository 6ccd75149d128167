"""The networks of `network_step_sizes`: a zeroth-order block x of hidden weights, the last layer or adapters, and y.

Each is beyond the size where matrices fit.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import theory_lab as tl

Activation = Callable[[jax.Array], jax.Array]


def teacher(n: int, d: int) -> dict[str, np.ndarray]:
    """Normal inputs; targets of a hidden network of three units, with noise."""
    rng = np.random.default_rng(0)
    inputs, hidden = rng.standard_normal((n, d)), rng.standard_normal((d, 3)) / np.sqrt(d)
    return {"inputs": inputs, "targets": np.tanh(inputs @ hidden) @ np.ones(3) + 0.1 * rng.standard_normal(n)}


def perceptron(
    widths: tuple[int, ...],
    n: int,
    activation: Activation = jnp.tanh,
    *,
    swapped: bool = False,
    dtype: Any = float,
) -> tl.Problem:
    """Squared loss; x is all but the last layer, y the last, or the reverse."""
    hidden, last = ("y", "x") if swapped else ("x", "y")

    def loss(params: Any, example: Any) -> jax.Array:
        h = example["inputs"]
        for layer in params[hidden]:
            h = activation(h @ layer["w"] + layer["b"])
        return 0.5 * (h @ params[last]["w"] + params[last]["b"] - example["targets"]) ** 2

    rng = np.random.default_rng(100)
    layers = [{"w": rng.standard_normal((a, b)) / np.sqrt(a), "b": np.zeros(b)} for a, b in itertools.pairwise(widths)]
    head = {"w": rng.standard_normal(widths[-1]) / np.sqrt(widths[-1]), "b": np.zeros(())}
    cast = lambda tree: jax.tree.map(lambda a: jnp.asarray(a, dtype), tree)
    return tl.finite_sum(loss, cast(teacher(n, widths[0])), cast({hidden: layers, last: head}))


def adapters(d: int, classes: int, rank: int, n: int) -> tl.Problem:
    """Softmax regression whose weights are frozen ones plus a product of two factors (x); y are offsets and a scale."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((n, d))
    frozen = rng.standard_normal((d, classes)) / np.sqrt(d)
    shift = rng.standard_normal((d, rank)) @ rng.standard_normal((rank, classes)) / np.sqrt(d)
    logits = inputs @ (frozen + shift)
    labels = np.array([rng.choice(classes, p=p) for p in np.asarray(jax.nn.softmax(2 * logits, axis=1))])

    def loss(params: Any, example: Any) -> jax.Array:
        weights = jnp.asarray(frozen, params["y"].dtype) + params["x"]["down"] @ params["x"]["up"]
        scores = example["inputs"] @ weights + params["y"]
        return jax.nn.logsumexp(scores) - scores[example["labels"]]

    start = {
        "x": {"down": rng.standard_normal((d, rank)) / np.sqrt(d), "up": 0.1 * rng.standard_normal((rank, classes))},
        "y": np.zeros(classes),
    }
    data = {"inputs": jnp.asarray(inputs), "labels": jnp.asarray(labels)}
    return tl.finite_sum(loss, data, jax.tree.map(jnp.asarray, start))


@dataclass(frozen=True)
class Network:
    """A network, and what is asked of it.

    Attributes:
        make: the problem, with blocks x and y.
        target: the mean loss that counts as trained, in units of that at the start.
        batch_size: components per step.
    """

    make: Callable[[], tl.Problem]
    target: float
    batch_size: int = 1


NETWORKS = {
    "tanh, 301 weights, 64 rows": Network(partial(perceptron, (10, 25), 64), 0.045),
    "tanh, last layer by two points": Network(partial(perceptron, (10, 25), 64, swapped=True, dtype="float32"), 0.0075),
    "softplus, 449 weights, 64 rows": Network(partial(perceptron, (12, 32), 64, jax.nn.softplus), 0.03, 4),
    "gelu, two layers, 1024 rows": Network(partial(perceptron, (8, 12, 12), 1024, jax.nn.gelu, dtype="float32"), 0.11, 16),
    "adapters": Network(partial(adapters, 60, 5, 4, 256), 0.8, 8),
}
