"""Logistic regression on real data near its optimum: what the experiment on it measures and predicts from."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import theory_lab as tl
from theory_lab.problems import data
from theory_lab.problems.logistic import Logistic
from theory_lab.theory import dynamics, hybrid, quadratic, reshuffling_bias, stability_region
from theory_lab.theory.base import Budget, Pair

L2 = 1e-2
MINIBATCHES = 32  # N, in an epoch
RADIUS = 1e-4
METHODS = ("first_order", "zeroth_order", "hybrid")
BUNDLED: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "breast cancer": data.breast_cancer,
    "digits": data.digits,
}


def files(place: str) -> list[str]:
    """The user's file, or the files that lie directly in his folder, except what explains them."""
    if not place or Path(place).is_file():
        return [place] if place else []
    inside = sorted(path for path in Path(place).iterdir() if path.is_file())
    return [str(path) for path in inside if not path.name.startswith(".") and path.suffix.lower() not in (".md", ".txt")]


def oracle(method: str, *, radius: float = RADIUS, sided: int = 1) -> tl.Oracle:
    two_point = tl.TwoPoint(radius, sided=sided)
    if method == "hybrid":
        return tl.Hybrid({"x": two_point, "y": tl.FirstOrder()})
    return two_point if method == "zeroth_order" else tl.FirstOrder()


@dataclass(frozen=True)
class Local:
    """A problem and its derivatives at the optimum.

    Attributes:
        problem: as built.
        hessian: H, (d, d).
        gradients: of the rows, (n, d).
        zeroth: size of block x.
    """

    problem: Logistic
    hessian: np.ndarray
    gradients: np.ndarray
    zeroth: int

    @property
    def eigenvalues(self) -> np.ndarray:
        return np.linalg.eigvalsh(self.hessian)

    @property
    def optimal_value(self) -> float:
        """f*, certified."""
        return float(self.problem.constants.optimal_value or 0.0)

    @property
    def certificate(self) -> float:
        """|grad f(z*)|^2 / (2 l2), at least f(z*) - f*."""
        gradient = self.gradients.mean(axis=0)
        return float(gradient @ gradient) / (2 * L2)

    @property
    def constants(self) -> tl.Constants:
        """The declared ones, the dispersion that of minibatches."""
        declared, size = self.problem.constants, self.problem.n // MINIBATCHES
        return replace(declared, dispersion={b: value / size for b, value in (declared.dispersion or {}).items()})

    @property
    def joint(self) -> tuple[float, float]:
        """Smoothness and dispersion of both blocks taken as one."""
        smoothness, dispersion = self.constants.smoothness or {}, self.constants.dispersion or {}
        return max(float(value) for value in smoothness.values()), sum(float(value) for value in dispersion.values())

    def perturbed(self, method: str) -> int:
        """How many leading coordinates are seen through directions."""
        return {"first_order": 0, "hybrid": self.zeroth, "zeroth_order": len(self.hessian)}[method]

    def limits(self, method: str) -> Pair:
        """The predicted limits of (eta_x, eta_y); hybrid: that of eta_x with eta_y at half of its own alone."""
        if method == "first_order":
            return (2 / float(self.eigenvalues[-1]),) * 2
        if method == "zeroth_order":
            return (quadratic.step_size_limit(self.eigenvalues),) * 2
        half = 1 / float(np.linalg.eigvalsh(self.hessian[self.zeroth :, self.zeroth :])[-1])
        return stability_region.step_size_boundary(self.hessian, self.zeroth, (None, half)), half

    def other_limits(self) -> dict[str, float]:
        """What would be predicted for the limit of zeroth order from less than the spectrum."""
        values = self.eigenvalues
        d, top, trace = len(values), float(values[-1]), float(values.sum())
        return {
            "trace, lower": 2 / (trace + 2 * top),
            "trace, upper": 2 / (trace * (1 + 2 / d)),
            "dimension": stability_region.hybrid_smoothness_box((top, top), d)[0],
            "declared constants": stability_region.hybrid_smoothness_box((self.joint[0],) * 2, d)[0],
        }

    def slow_shape(self, method: str) -> np.ndarray:
        """S such that offsets of covariance SS' have little to forget: x like H^-1, y where it rests for this x."""
        p = self.perturbed(method)
        root = np.linalg.cholesky(np.linalg.inv(self.hessian)[:p, :p])
        return np.concatenate([root, -np.linalg.solve(self.hessian[p:, p:], self.hessian[p:, :p] @ root)])

    def floor(self, method: str, ordering: str, steps: Pair, epochs: int) -> np.ndarray:
        """The predicted E f - f* at epoch starts of runs from z*, (epochs + 1,)."""
        n, size, perturbed = self.problem.n, self.problem.n // MINIBATCHES, self.perturbed(method)
        without = (n - size) / (n - 1) if ordering == "random_reshuffling" else 1.0  # rows of a minibatch differ
        model = dynamics.shared_quadratic(
            self.hessian, perturbed, steps, radius=RADIUS if perturbed else 0.0,
            covariance=without / size * self.gradients.T @ self.gradients / n,
        )  # fmt: skip
        origin = np.zeros(len(self.hessian))
        moments = dynamics.trajectory(model, origin, epochs=epochs, n=MINIBATCHES, ordering=ordering)
        gap = dynamics.expected_gap(model, moments.second)
        if method == "first_order" and ordering == "random_reshuffling":
            hessians = self.problem.component_hessians()
            bias = reshuffling_bias.reshuffling_bias(steps[0] * (MINIBATCHES - 1) / (n - 1), hessians, self.gradients)
            epoch_map = np.linalg.matrix_power(model.contraction, MINIBATCHES)
            for t in range(1, epochs + 1):
                origin = bias + epoch_map @ (origin - bias)
                gap[t] += origin @ self.hessian @ origin / 2
        return gap

    def bounded(self, method: str, ordering: str, epochs: int) -> tuple[dict[str, float], float]:
        """Step sizes of a theorem from 0 and its bound, from declared constants: Theorem 2, and with replacement Theorem 1.

        First order is the theorem without block x, zeroth order without block y.
        """
        gap, d = float(np.log(2)) - self.optimal_value, len(self.hessian)
        if method == "hybrid":
            budget = Budget(n=MINIBATCHES, epochs=epochs, radius=RADIUS, dimension=self.zeroth, initial_gap=gap)
            theorem = hybrid.RESHUFFLING if ordering == "random_reshuffling" else hybrid.WITH_REPLACEMENT
            chosen = theorem.step_sizes(self.constants, budget)
            return dict(chosen), theorem.bound(self.constants, budget, chosen)
        top, noise = self.joint
        step = 1 / (4 * MINIBATCHES * top)
        blocks: dict[str, Any] = {"step_sizes": (0, step), "dispersion": (0, noise)}
        if method == "zeroth_order":
            step = min(step, 1 / (8 * (d + 1) * top))
            blocks = {"step_sizes": (step, 0), "dispersion": (noise, 0), "radius": RADIUS}
        bound = hybrid.reshuffling_bound(
            initial_gap=gap, n=MINIBATCHES, epochs=epochs, smoothness=(top, top), rank=float(d), **blocks
        )
        return {"x": step, "y": step}, bound


@lru_cache(maxsize=8)
def local(name: str, rows: int) -> Local:
    """A bundled data set or a LIBSVM file; evenly spaced rows where there are more than ``rows``."""
    features, labels = BUNDLED[name]() if name in BUNDLED else data.libsvm(name)
    n = min(len(features), rows) // MINIBATCHES * MINIBATCHES
    chosen = np.arange(n) * len(features) // n
    d = features.shape[1]
    columns = {"x": slice(0, d // 2), "y": slice(d // 2, d)}
    problem = tl.logistic(features[chosen], labels[chosen], columns=columns, l2=L2)
    return Local(problem, problem.dense_hessian(), problem.component_gradients(), d // 2)
