"""Is there a counterexample to any of the inequalities?

Every inequality that is proved here is confronted with instances built to break it: small problems, random at first, then
evolved, the discrete choices too, so that measured / bound grows. Expectations are exact: block quadratics with Hessians of
their own by the moment recursions over all orders of up to six components (for Proposition C order by order), functions of
one to three variables by quadrature. What is measured is put into the sharp form of the statement, with f(z_0) - E f(z_T)
in place of f(z_0) - f* wherever the statement is a sum over its steps, and with the dispersion that the run meets in place
of its supremum: both imply the published form.

The same hunt goes after theorems that are broken on purpose: a constant halved, the dimension dropped, a bound for one order
of visits applied to another. There it must find a counterexample; elsewhere it must not.

Refuted by: one instance with measured / bound above 1 beyond rounding, or where the bound is no number, negative, or 0 and
exceeded, unless a condition of the statement excludes the instance. Its seed rebuilds it: `instance(statement, seed)`.

Minutes: quick 0.3, full 2.0.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments import _instances
from experiments._inequalities import BROKEN, SOURCES, STATEMENTS, Found, Statement
from theory_lab.claims import Verdict, claim
from theory_lab.measure import exact
from theory_lab.measure.base import unmeasured
from theory_lab.report import figures

# One hunt: islands that do not meet; on each, random instances, of which the best are parents of generations of mutants.
ISLANDS, FIRST, PARENTS, CHILDREN, GENERATIONS = 4, 24, 4, 8, 12
UNBOUNDED = float(np.finfo(float).max)  # an excess without bound, as a number that a claim can be held against
ROUNDING = 1e-9  # relative; what sums of a few thousand float64 products may be off, with room
COLOURS = (figures.look("hybrid").colour, figures.look("zeroth_order").colour)  # proved, broken on purpose
REACH = (0.01, 30.0)  # of the figure; a triangle at the edge stands for what lies beyond


def hunt(statement: str, seed: int) -> tuple[Found, list[np.ndarray]]:
    """The instance with the largest measured / bound, and all ratios seen, generation by generation; the seed decides all.

    Evolution with truncation selection: the parents live on, a child is a parent of which some genes are moved. Several
    islands, for the instances at which an inequality is an equality lie in many places, of which few lie on a way upwards.
    """
    test = {**STATEMENTS, **BROKEN}[statement]
    rng = np.random.default_rng(seed)
    seen: list[list[float]] = [[] for _ in range(GENERATIONS + 1)]
    champions = []
    for _ in range(ISLANDS):
        population: list[tuple[float, np.ndarray]] = []
        born = list(rng.standard_normal((FIRST, _instances.GENES)))
        for generation in range(GENERATIONS + 1):
            judged = [(_ratio(test, genes), genes) for genes in born]
            seen[generation] += [ratio for ratio, _ in judged]
            population = sorted(population + judged, key=lambda one: -one[0])[:PARENTS]
            born = [_mutant(population[rng.integers(PARENTS)][1], 0.9**generation, rng) for _ in range(CHILDREN)]
        champions.append(population[0])
    return test(max(champions, key=lambda one: one[0])[1]), [np.array(ratios) for ratios in seen]


def _mutant(genes: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """Few genes moved, or many."""
    moved = rng.random(genes.size) < rng.choice([0.05, 0.2, 0.6])
    return genes + size * moved * rng.standard_normal(genes.size)


def _ratio(test: Statement, genes: np.ndarray) -> float:
    """measured / bound; -inf where nothing is promised, so that the hunt leaves; no number breaks any bound."""
    found = test(genes)
    if found.unmet:
        return -np.inf
    return np.inf if np.isnan(found.ratio) else float(found.ratio)


def instance(statement: str, seed: int) -> Any:
    """The worst instance that the hunt of this seed found, rebuilt.

    Example:
        >>> instance("Theorem 3 (b)", 7).radius > 0
        True
    """
    return hunt(statement, seed)[0].problem


@dataclass(frozen=True)
class Settings:
    """How many hunts per statement; a hunt sees 480 instances."""

    hunts: int
    hunts_of_broken: int


QUICK = Settings(hunts=1, hunts_of_broken=1)
FULL = Settings(hunts=10, hunts_of_broken=2)


def cells(settings: Settings) -> list[dict[str, Any]]:
    """A cell is one hunt."""
    found = [{"statement": statement, "hunt": i} for statement in STATEMENTS for i in range(settings.hunts)]
    return found + [{"statement": statement, "hunt": i} for statement in BROKEN for i in range(settings.hunts_of_broken)]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """One row per generation: statement, seed, how many instances, how many to which it promises something, their ratios."""
    seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
    _, seen = hunt(cell["statement"], seed)
    rows = []
    for generation, ratios in enumerate(seen):
        valid = ratios[ratios > -np.inf].clip(max=UNBOUNDED)
        quantiles = np.quantile(valid, [0.1, 0.5, 0.9, 1.0]) if valid.size else np.full(4, np.nan)
        rows.append(
            {"generation": generation, "instances": ratios.size, "valid": valid.size}
            | dict(zip(("low", "median", "high", "worst"), quantiles, strict=True))
        )
    return pd.DataFrame(rows).assign(statement=cell["statement"], seed=seed)


def judge(frame: pd.DataFrame) -> list[Verdict]:
    """One claim per inequality, and one per inequality that is broken on purpose."""
    verdicts = []
    for statement in (*STATEMENTS, *BROKEN):
        rows = frame[(frame.statement == statement) & (frame.valid > 0)]
        measured = unmeasured("measured / bound", 0, "no instance met the assumptions")
        if not rows.empty:
            worst = rows.loc[rows.worst.idxmax()]
            measured = exact("measured / bound", float(worst.worst))
            measured = replace(measured, samples=int(rows.valid.sum()), note=f"the worst from seed {int(worst.seed)}")
        if statement in STATEMENTS:
            words, source = (
                f"{statement}: no counterexample: largest measured / bound",
                f"theory_lab, {SOURCES.get(statement, statement)}",
            )
            verdict = claim(words, source, "at most", 1 + ROUNDING).check(measured)
        else:
            words = f"deliberately broken ({statement}): largest measured / bound"
            verdict = claim(
                words, "design aim", "at most", 1.0, expected="fails", why="the hunt finds out what is wrong on purpose"
            ).check(measured)
        verdicts.append(verdict)
    return verdicts


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    """Measured / bound of random instances and the worst found, every inequality a line; 1 is the bound."""
    names = [name for name in (*STATEMENTS, *BROKEN) if (frame[frame.statement == name].valid > 0).any()]
    figure, axes = figures.new_figure(height=0.29 * len(names) + 1.6, width=10)
    panel = axes[0, 0]
    for i, name in enumerate(names):
        rows = frame[(frame.statement == name) & (frame.valid > 0)]
        first, colour = rows[rows.generation == rows.generation.min()], COLOURS[name in BROKEN]
        low, middle, high = (min(first[of].median(), 10 * REACH[1]) for of in ("low", "median", "high"))
        panel.plot([low, high], [-i, -i], color=colour, linewidth=5, alpha=0.3)
        panel.plot(middle, -i, "|", color=colour, markersize=9, markeredgewidth=1.6)
        worst = rows.worst.max()
        marker = ">" if worst > REACH[1] else "X" if name in BROKEN else "D"
        panel.plot(min(worst, REACH[1]), -i, marker, color=colour, markeredgecolor="white", markersize=8, clip_on=False)
    panel.axvline(1.0, color="black", linewidth=1.2)
    panel.axhline(0.5 - sum(name in STATEMENTS for name in names), color="#8a8a8a", linewidth=0.8, linestyle=":")
    total = int(frame[frame.statement.isin(list(STATEMENTS))].valid.sum())
    panel.set(xscale="log", xlim=REACH, ylim=(0.7 - len(names), 0.7), xlabel="measured / bound (exact expectations)")
    panel.set_yticks([-i for i in range(len(names))], [f"broken: {name}" if name in BROKEN else name for name in names])
    panel.tick_params(axis="y", labelsize=8.5)
    handles = [
        Line2D([], [], color=COLOURS[0], linewidth=5, alpha=0.3, label="random instances, 10% to 90%, and their median"),
        Line2D([], [], color=COLOURS[0], marker="D", linestyle="none", label="the worst that evolution found"),
        Line2D([], [], color=COLOURS[1], marker="X", linestyle="none", label="the same for theorems broken on purpose"),
        Line2D([], [], color="black", linewidth=1.2, label="the bound"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8.5)
    title = f"Hunting counterexamples: {total} instances of {len(STATEMENTS)} inequalities"
    figures.title_with_verdicts(figure, title, verdicts)
    return figure
