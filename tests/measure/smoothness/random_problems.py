"""Two hundred random quadratics of two or three blocks, of few shapes so that few programs serve them all."""

from dataclasses import dataclass
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from .functions import KINDS, spectrum, symmetric

SHAPES = ({"x": 6, "y": 4}, {"x": 20, "y": 10}, {"x": 30, "y": 20, "z": 10})
COUNT = 200


def quadratic(z, matrix):
    """z'Az/2 over all blocks."""
    flat = jnp.concatenate([z[label] for label in sorted(z)])
    return flat @ matrix @ flat / 2


@dataclass(frozen=True, eq=False)
class Case:
    """A matrix in the precision in which it is measured, and what dense linear algebra says of it in float64."""

    seed: int
    sizes: dict[str, int]
    matrix: np.ndarray

    @property
    def params(self):
        return {label: jnp.zeros(d, self.matrix.dtype) for label, d in self.sizes.items()}

    @property
    def given(self):
        """What every measurement takes: the function, the point, the key, the matrix."""
        return {"fn": quadratic, "params": self.params, "key": jax.random.key(self.seed), "args": (self.matrix,)}

    @property
    def d(self) -> int:
        return len(self.matrix)

    def rows(self, label: str) -> slice:
        before = sum(d for other, d in self.sizes.items() if other < label)
        return slice(before, before + self.sizes[label])

    def dense(self, block=None, scaling=None) -> np.ndarray:
        rows = slice(None) if block is None else self.rows(block)
        own = self.matrix.astype(np.float64)
        if scaling is not None:
            root = np.sqrt(np.concatenate([np.full(d, float(scaling[b])) for b, d in self.sizes.items()]))
            own = own / root[:, None] / root
        return own[rows, rows]

    def ends(self, block=None, scaling=None) -> tuple[float, float]:
        values = np.linalg.eigvalsh(self.dense(block, scaling))
        return float(values[0]), float(values[-1])

    def multiple(self, scales) -> float:
        low, high = self.ends(scaling=scales)
        return max(high, -low)


@cache
def case(seed: int) -> Case:
    """Spectra of every kind, in a random position; blocks of sizes up to a thousandfold apart, coupled at any strength."""
    rng = np.random.default_rng(seed)
    sizes = SHAPES[seed % 3]
    d = sum(sizes.values())
    own = symmetric(rng, spectrum(rng, KINDS[seed % len(KINDS)], d))
    coupling = rng.choice([0.0, 0.1, 1.0, 3.0])
    labels = np.repeat(np.arange(len(sizes)), list(sizes.values()))
    own = np.where(labels[:, None] == labels, own, coupling * own)
    root = 10 ** rng.uniform(-1.5, 1.5, len(sizes))[labels]
    matrix = (own * root[:, None] * root).astype(np.float64 if seed % 2 else np.float32)
    return Case(seed, sizes, (matrix + matrix.T) / 2)


def cases(shape: int | None = None):
    return [case(seed) for seed in range(COUNT) if shape is None or seed % 3 == shape]
