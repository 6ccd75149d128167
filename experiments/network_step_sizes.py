"""Are the step sizes that `advise` names for a network as good as the best of a grid, and its limits where training ends?

Five networks beyond the size where matrices fit, on which the hidden weights, the last layer or adapters move by two values
of the loss and the rest by gradients: of saturating and unbounded activations, more weights than rows and fewer, float32 and
float64, and a softmax with factorised weights. All are indefinite where training starts, so that no linear model holds for
ever: advice holds for a horizon, 4096 steps, and predicts no time. Runs of as many steps say what it is worth.

- Times: steps until the mean loss over seeds has come down to a target that each network has. Of a grid by factors 2 around
  the advised pair the three earliest on four seeds are run again on others, as many as there are where the best of them
  meets the advised pair: few seeds do not draw a pair's rare bad runs.
- Limits: the edge, the step size of one block, the other's as advised, from which training ends no lower than it began, in
  the mean over seeds; it lies between two neighbours of a grid by factors of the root of 2, and that is the interval, which
  does not tell of the chance in four seeds.

The networks were looked at while the horizon, the sample of components and the half of the stable region that is advised
were chosen: a development set, and a census.

Found. Limits: seven of ten lie within the factor. Where tanh is behind the block nothing breaks within eleven times the
limit, for it saturates (two cases); the softplus network bears nine times that of its first layer. Other random starts had
six and seven within; two layers of gelu broke at 0.4 and 0.6 of their limit there, and break at 1.2 of it here. Times: 0.9,
2.0 [1.8, 2.2], 1.8 [1.5, 2.2], 1.2 [0, 1.6] (the best does not always arrive) and, with adapters, 2.4 [2.2, 2.6] times those
of the best. The hidden layer that moves by gradients is fastest at 1.5 times its limit, the softplus network at eight times
the advised step size of its first layer; the offsets of the adapters, at a sixteenth of theirs, hardly move. Where the best
lies at an end of the grid, on the search's four seeds one twice as large is as fast within two per cent.

What would refute it: more than a tenth of the cases beyond a factor 2.

Quick: the second of them. Minutes: quick 0.2, full 1.1 (two cells at once, two cores of an Intel Xeon).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import theory_lab as tl
from experiments import _advice_panels, _networks
from experiments._brute_force import edge
from experiments._rows import row
from experiments._shares import share
from theory_lab.advise.seeing import LONG
from theory_lab.claims import Verdict
from theory_lab.measure import Measurement, exact, family, reach
from theory_lab.report import figures
from theory_lab.theory.base import Pair

AIM = "design aim: limits and times of networks within a factor 2 in 90% of the cases"
TWICE = 2.0
LABELS = ("x", "y")
WIDE = {"x": 2.0 ** np.arange(-3, 5), "y": 2.0 ** np.arange(-4, 4)}  # the grid, around what is advised
LINE = 2.0 ** (np.arange(-3, 8) / 2)  # of one step size, around its predicted limit
LOGGED = 32
CANDIDATES = 3  # of the grid, among which the best is chosen on as many seeds as it is then held to
OUTLASTS = "where activations saturate, or curvature falls along the way, runs outlast what is linear at two points"
HALF = "where no time is predicted half of the stable region is advised; behind tanh a block is fastest beyond it"


@dataclass(frozen=True)
class Settings:
    """How much of it.

    Attributes:
        networks: by their names.
        search: seeds of the grid and of the limits.
        runs: seeds on which the best of the grid is held against the advice.
    """

    networks: tuple[str, ...]
    search: int = 4
    runs: int = 48


QUICK = Settings(("tanh, last layer by two points",), runs=24)
FULL = Settings(tuple(_networks.NETWORKS))


def cells(settings: Settings) -> list[dict[str, Any]]:
    """A network each."""
    effort = {"search": settings.search, "runs": settings.runs, "confidence": family.confidence(len(settings.networks))}
    return [{"network": name, **effort} for name in settings.networks]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Best and advised steps and their ratio, the grid, and the edge along either step size."""
    return pd.DataFrame([{"case": cell["network"], **columns} for columns in _rows(cell, key)])


def _rows(cell: dict[str, Any], key: jax.Array) -> Iterator[dict[str, Any]]:
    network = _networks.NETWORKS[cell["network"]]
    problem = network.make()
    start_key, search_key, choice_key, runs_key, advice_key = jax.random.split(key, 5)
    start, per_epoch = problem.init(start_key), -(-problem.n // network.batch_size)
    advice = tl.advise(problem, key=advice_key, params=start, zeroth=("x",), batch_size=network.batch_size)
    advised = (advice.step_sizes["x"], advice.step_sizes["y"])
    limits = {label: advice.limits[label].value for label in LABELS}

    def losses(pairs: list[Pair], own: jax.Array, seeds: int) -> tuple[np.ndarray, np.ndarray]:
        """Where it was logged, (E,), and f there, (G, S, E)."""
        epochs = LONG // per_epoch
        trace = tl.sweep(
            problem, advice.oracle(), tl.hybrid_sgd, step_sizes=dict(zip(LABELS, np.array(pairs).T, strict=True)),
            epochs=epochs, keys=jax.random.split(own, seeds), params=start, batch_size=network.batch_size,
            log_epochs=np.unique(np.linspace(0, epochs, LOGGED + 1).astype(int)).tolist(),
        )  # fmt: skip
        return trace.epoch * per_epoch, np.where(np.isfinite(trace.value), np.asarray(trace.value, dtype=float), np.inf)

    grid = [(advised[0] * x, advised[1] * y) for x in WIDE["x"] for y in WIDE["y"]]
    lines = [(limits["x"] * f, advised[1]) for f in LINE] + [(advised[0], limits["y"] * f) for f in LINE]
    at, searched = losses(grid + lines, search_key, cell["search"])
    level = network.target * searched[0, 0, 0]
    times = reach.crossings(at, searched[: len(grid)].mean(axis=1), level)
    yield from (_row("map", exact("steps", each), pair) for pair, each in zip(grid, times, strict=True))
    met = [grid[i] for i in np.argsort(times, kind="stable")[:CANDIDATES]]
    again = losses(met, choice_key, cell["runs"])[1].mean(axis=1)
    best = met[int(np.argmin(reach.crossings(at, again, level)))]
    spare = [advised] * (CANDIDATES - 2)  # as many as there were candidates: the same program
    theirs, ours = losses([best, advised, *spare], runs_key, cell["runs"])[1][:2]
    compared = reach.compare(at, ours, theirs, level, confidence=cell["confidence"])
    ends = [label for i, label in enumerate(LABELS) if best[i] in (advised[i] * WIDE[label])[[0, -1]]]
    note = f"at an end of the grid in {', '.join(ends)}" if ends else ""
    yield {**_row("best", compared.below, best), "note": note or compared.below.note}
    yield _row("advised", compared.above, advised)
    yield _row("ratio", compared.ratio, advised, 1.0)
    works = searched[len(grid) :, :, -1].mean(axis=1) < searched[0, 0, 0]
    for label, part in zip(LABELS, np.split(works, 2), strict=True):
        yield _row("limit", edge(limits[label] * LINE, part, cell["search"]), advised, limits[label], label)


def _row(what: str, measured: Measurement, pair: Pair, predicted: float = np.nan, label: str = "") -> dict[str, Any]:
    at = {f"step_size_{name}": float(size) for name, size in zip(LABELS, pair, strict=True)}
    return {"what": what, "label": label, **row(measured), "predicted": float(predicted), **at}


def judge(frame: pd.DataFrame) -> list[Verdict]:
    """Shares of the networks within the factor."""
    of = _parts(frame)
    return [
        share(
            "networks: edge of training within the horizon / predicted limit, within a factor 2", of["limit"], AIM,
            factor=TWICE, expected="fails", why=OUTLASTS,
        ),
        share(
            "networks: steps to the target loss, advised / best of the grid, at most 2", of["ratio"], AIM,
            factor=TWICE, least=0.0, expected="fails", why=HALF,
        ),
    ]  # fmt: skip


def _parts(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows by what they are, empty texts as they were before the csv."""
    texts = {name: frame[name].astype(object).where(frame[name].notna(), "") for name in ("label", "note")}
    return {str(what): rows for what, rows in frame.assign(**texts).groupby("what", sort=False)}


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    """Limits, times, and the grid of one network."""
    figure, axes = figures.new_figure(1, 3, width=14.5, height=5.4, width_ratios=(1.0, 0.9, 1.1))
    of = _parts(frame)
    _advice_panels.limits(axes[0, 0], of, LINE, TWICE)
    _advice_panels.times(axes[0, 1], of["ratio"], TWICE)
    _advice_panels.grid(figure, axes[0, 2], of, LABELS)
    figures.title_with_verdicts(figure, "Step sizes for networks: advice against a grid", verdicts)
    return figure
