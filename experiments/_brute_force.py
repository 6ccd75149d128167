"""What `step_size_advisor` holds advice against: the best step sizes of a grid, and where step sizes cease to work."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

import theory_lab as tl
from experiments import _families
from experiments._families import Family
from experiments._minibatches import Minibatches, minibatches
from theory_lab import blocks
from theory_lab.measure import Measurement, exact, reach, stability
from theory_lab.measure.base import unmeasured
from theory_lab.measure.smoothness import finite_sums
from theory_lab.problems.logistic import Logistic
from theory_lab.theory import stability_region
from theory_lab.theory.base import Pair

RADIUS = 1e-5
OCTAVES = 2.0 ** np.arange(-5, 6)  # the first grid
QUARTERS = 2.0 ** (np.arange(-5, 6) / 4)  # the second, around the best of the first
LINE = np.geomspace(0.3, 1.5, 16)  # step sizes around a limit, in units of that of the mean Hessian
EDGE = 2.0 ** (np.arange(13) / 2.25)  # step sizes above the best, up to 40 times, among which training breaks
FAR = 1e6  # from the optimum of a quadratic: noise that does not scale with the distance is nothing there
LOGGED = 40
CANDIDATES = 3  # of the grid, among which the best is chosen on as many seeds as it is then held to
ADVICE, SEARCH, REFINE, VALIDATE, EVALUATE, LIMITS, EDGES = range(7)


@dataclass(frozen=True)
class Found:
    """The best of the grid.

    Attributes:
        step_sizes: (eta_x, eta_y).
        steps: on the seeds on which it was chosen.
        note: whether it lies at an end of the grid, where one further inside would be slower by over 3%.
    """

    step_sizes: Pair
    steps: float
    note: str


@dataclass(frozen=True)
class Bench:
    """A family under brute force.

    Attributes:
        family, problem: what is run.
        key: of all runs; the search, the comparison and the limits have seeds of their own.
        search, runs: seeds per grid point of the search, and of everything else.
        confidence: of every interval.
    """

    family: Family
    problem: tl.Problem
    key: jax.Array
    search: int
    runs: int
    confidence: float

    @cached_property
    def start(self) -> Any:
        """Where all runs begin, and where advice is taken."""
        return self.problem.init(jax.random.key(0))

    @cached_property
    def accuracy(self) -> float:
        """Of (E|grad f|^2)^(1/2)."""
        _, gradient = finite_sums.value_and_gradient(self.problem, self.start)  # in the program that advice has, too
        return self.family.accuracy * float(np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradient))))

    @property
    def zeroth(self) -> int:
        return blocks.size(self.start["x"])

    @property
    def per_epoch(self) -> int:
        return -(-self.problem.n // self.family.batch_size)

    @property
    def epochs(self) -> int:
        return -(-self.family.steps // self.per_epoch)

    @cached_property
    def hessian(self) -> np.ndarray:
        return _families.hessian(self.problem, self.start)

    def advice(self) -> Any:
        return tl.advise(
            self.problem,
            key=self._key(ADVICE),
            accuracy=self.accuracy,
            params=self.start,
            zeroth=("x",),
            **self.family.method,
        )

    def best(self) -> Found:
        """The step sizes of two grids, the second around the best of the first, that reach the accuracy the earliest.

        With few seeds the earliest may be one whose rare bad runs were not drawn. So the earliest pairs of several eta_x
        are run again, on other and more seeds, and the best there is chosen.
        """
        h, d, q = self.hessian, self.zeroth, self.family.directions
        x, y = np.abs(np.linalg.eigvalsh(h[:d, :d])), np.abs(np.linalg.eigvalsh(h[d:, d:]))
        centre = (q / (x.sum() + (q + 1) * x.max()), 0.25 / y.max())
        epochs = self.epochs
        for stream, factors, search in ((SEARCH, OCTAVES, self._earliest), (REFINE, QUARTERS, self._all)):
            grid = tl.step_size_grid(x=centre[0] * factors, y=centre[1] * factors)
            steps = search(grid, stream, epochs)
            at = int(np.argmin(steps))
            centre = (float(grid["x"][at]), float(grid["y"][at]))
            epochs = self._enough(steps[at])
        table = steps.reshape(len(QUARTERS), -1)
        inner = {"x": table[1:-1], "y": table[:, 1:-1]}
        ends = [label for label, steps_inside in inner.items() if steps_inside.min() > 1.03 * steps[at]]
        rows = np.argsort(table.min(axis=1), kind="stable")[:CANDIDATES]
        chosen = rows * len(QUARTERS) + table[rows].argmin(axis=1)
        first = {label: sizes[chosen] for label, sizes in grid.items()}
        again = self.crossings(self._sweep(first, VALIDATE, self.runs, epochs=epochs))
        at = int(np.argmin(again))
        note = f"at an end of the grid in {', '.join(ends)}" if ends else ""
        return Found((float(first["x"][at]), float(first["y"][at])), float(again[at]), note)

    def _all(self, grid: dict[str, np.ndarray], stream: int, epochs: int) -> np.ndarray:
        """The steps to the accuracy over a grid, (G,)."""
        return self.crossings(self._sweep(grid, stream, self.search, epochs=epochs))

    def _earliest(self, grid: dict[str, np.ndarray], stream: int, epochs: int) -> np.ndarray:
        """The same, by half of the epochs if any pair arrives in them: then inf for those that do not.

        It looks where all of the epochs would be looked at, and logs others besides: with as many rows it is one program.
        """
        every, half = _places(epochs, LOGGED), max(LOGGED, -(-epochs // 2))
        if half < epochs:
            inside = every[every <= half]
            spare = np.setdiff1d(np.arange(half + 1), inside)
            log = np.union1d(inside, spare[len(inside) - len(every) :])
            trace = self._sweep(grid, stream, self.search, epochs=half, log=log)
            steps = self.crossings(trace, np.isin(log, inside))
            if np.isfinite(steps).any():
                return steps
        return self._all(grid, stream, epochs)

    def _enough(self, steps: float) -> int:
        """Epochs for what may be twice as slow as the best so far; enough of them to log."""
        return self.epochs if steps == np.inf else min(self.epochs, max(LOGGED, int(2 * steps / self.per_epoch)))

    def compare(self, best: Pair, advised: Pair, oracle: tl.Oracle) -> dict[str, Measurement]:
        """Steps of the best and of the advised, each with its own radius, and their ratio, on the same fresh seeds."""
        pairs = ((best, None), (advised, oracle))  # as many copies as there were candidates: the same program
        traces = [self._sweep(_grid([pair] * CANDIDATES), EVALUATE, self.runs, by) for pair, by in pairs]
        at, level, runs = self.at(traces[0]), self.accuracy**2, [self.squares(trace)[0] for trace in traces]
        ours, theirs, ratio = reach.compare(at, runs[1], runs[0], level, confidence=self.confidence)
        return {"best": theirs, "advised": ours, "ratio": ratio}

    def limits(self, advised: Pair) -> dict[str, Measurement]:
        """The mean-square limit of each block's step size, the other's as advised."""
        lines: list[tuple[float | None, float | None]] = [(None, advised[1]), (advised[0], None)]
        points = [self.start]
        if self.family.limits == "operator" and not isinstance(self.problem, Logistic):  # it is most curved at its start, 0
            points.append(self.problem.optimum)
        units = [min(self._boundary(point, line) for point in points) for line in lines]
        if self.family.limits == "operator":
            return {label: exact("limit", unit) for label, unit in zip("xy", units, strict=True)}
        if not min(units) > 0 or not np.isfinite(units).all():
            return dict.fromkeys(
                "xy", unmeasured("limit", 0, "at the advised step size of the other block nothing is stable")
            )
        return self._limits_by_runs((units[0], units[1]), advised)

    def _boundary(self, point: Any, line: tuple[float | None, float | None]) -> float:
        """The limit of what is linearised at a point; of minibatches of a logistic regression with their spread."""
        matrix = _families.hessian(self.problem, point)
        directions, law = self.family.directions, self.family.law
        unit = stability_region.step_size_boundary(matrix, self.zeroth, line, directions=directions, law=law)
        if not isinstance(self.problem, Logistic):
            return unit
        return self._minibatches.limit(line, 2 * unit)  # the order of the minibatches can also help

    @cached_property
    def _minibatches(self) -> Minibatches:
        assert isinstance(self.problem, Logistic)
        return minibatches(self.problem, self.start, size=self.family.batch_size, ordering=self.family.ordering)

    def _limits_by_runs(self, units: Pair, advised: Pair) -> dict[str, Measurement]:
        """By the growth of E f between two times; for y early ones, because runs beyond its limit explode."""
        g, far = len(LINE), jax.tree.map(lambda a: FAR * np.ones(a.shape), self.start)
        more = 4 if self.family.directions > 1 else 2 if self.problem.n > 1 else 1  # runs, against heavy tails
        steps = max(64, 192 // self.family.directions)
        places = _places(-(-steps // self.per_epoch), 12)
        limits = {}
        for i, (label, times) in enumerate({"x": (steps // 4, steps), "y": (16, 48)}.items()):
            first, last = places[np.searchsorted(places * self.per_epoch, times)]
            line = {name: sizes[i * g : (i + 1) * g] for name, sizes in _lines(units, LINE, advised).items()}
            trace = self._sweep(
                line, LIMITS, self.runs * more, self.family.oracle(1.0), epochs=int(last),
                params=far, log=np.array([first, last]),
            )  # fmt: skip
            limits[label] = stability.limit(
                units[i] * LINE, trace.value[..., 0], trace.value[..., 1], steps=int(last - first) * self.per_epoch,
                confidence=self.confidence,
            )  # fmt: skip
        return limits

    def edges(self, best: Pair, advised: Pair) -> dict[str, Measurement]:
        """The step size of each block from which training from the start ends no lower than it began, in the mean.

        The other's is as advised. Between two neighbours of a grid, above the best of the grid: that is the interval.
        """
        trace = self._sweep(_lines(best, EDGE, advised), EDGES, self.runs // 4, log=_places(self.epochs, 4))
        with np.errstate(over="ignore"):
            works = trace.value[..., -2:].mean(axis=(1, 2)) < trace.value[0, 0, 0]
        return {
            label: edge(best[i] * EDGE, works[i * len(EDGE) : (i + 1) * len(EDGE)], self.runs // 4)
            for i, label in enumerate("xy")
        }

    def map(self, axes: dict[str, np.ndarray]) -> np.ndarray:
        """The steps to the accuracy over a product of step sizes, the last label varying fastest."""
        return self.crossings(self._sweep(tl.step_size_grid(**axes), SEARCH, self.search))

    def at(self, trace: tl.Trace) -> np.ndarray:
        """Component steps at the logged rows."""
        return trace.epoch * self.per_epoch

    def squares(self, trace: tl.Trace) -> np.ndarray:
        """|grad f|^2, (G, S, E); inf where the mean of f lies above its start: a small gradient far out is no success."""
        with np.errstate(over="ignore"):  # what leaves the numbers is as good as infinite
            mean = trace.value.mean(axis=1)
        higher = mean > mean[:, :1] * (1 + 1e-9)
        return np.where(higher[:, None], np.inf, trace.total_gradient_norm_sq)

    def crossings(self, trace: tl.Trace, rows: Any = slice(None)) -> np.ndarray:
        """The steps to the accuracy, (G,), by some of the logged rows."""
        with np.errstate(over="ignore"):
            means = self.squares(trace).mean(axis=1)
        return reach.crossings(self.at(trace)[rows], means[:, rows], self.accuracy**2)

    def _sweep(
        self, grid: dict[str, np.ndarray], stream: int, seeds: int, oracle: tl.Oracle | None = None, *,
        epochs: int | None = None, params: Any = None, log: np.ndarray | None = None,
    ) -> tl.Trace:  # fmt: skip
        epochs = self.epochs if epochs is None else epochs
        oracle = self.family.oracle(RADIUS) if oracle is None else oracle
        return tl.sweep(
            self.problem, oracle, tl.hybrid_sgd, step_sizes=grid, epochs=epochs,
            log_epochs=(_places(epochs, LOGGED) if log is None else log).tolist(),
            keys=jax.random.split(self._key(stream), seeds), ordering=tl.orderings.ORDERINGS[self.family.ordering],
            params=self.start if params is None else params, batch_size=self.family.batch_size,
        )  # fmt: skip

    def _key(self, stream: int) -> jax.Array:
        return jax.random.fold_in(self.key, stream)


def _places(epochs: int, rows: int) -> np.ndarray:
    """So many epochs after the start at which to log, evenly spaced; fewer where there are not as many."""
    return np.unique(np.linspace(0, epochs, rows + 1).astype(int))


def _grid(pairs: Sequence[Pair]) -> dict[str, np.ndarray]:
    return dict(zip("xy", np.array(pairs).T, strict=True))


def _lines(units: Pair, factors: np.ndarray, other: Pair) -> dict[str, np.ndarray]:
    """Step sizes of x in units of its own with y at ``other``, then the reverse."""
    along_x, along_y = [(units[0] * f, other[1]) for f in factors], [(other[0], units[1] * f) for f in factors]
    return _grid([*along_x, *along_y])


def edge(grid: np.ndarray, works: np.ndarray, seeds: int) -> Measurement:
    """Between the last step size that works and the first that does not; 0 or inf beyond what was tried."""
    if works.all():
        return Measurement("edge", np.inf, float(grid[-1]), np.inf, seeds, f"up to {grid[-1]:.3g} everything works")
    if not works[0]:
        return Measurement("edge", 0.0, 0.0, float(grid[0]), seeds, f"{grid[0]:.3g} does not work")
    first = int(np.argmin(works))
    low, high = float(grid[first - 1]), float(grid[first])
    return Measurement("edge", float(np.sqrt(low * high)), low, high, seeds)
