"""Which pairs of learning rates, one for the base and one for the adapter, fine-tune, and does curvature say so beforehand?

The paper says of its figure 2 that a large rate for both blocks diverges, a small one for both is slow, and a small one for
the base with a large one for the adapter is stable and fast. Here Hybrid-LoRA fine-tunes a pretrained base of the generated
language on facts that it cannot know, and the limits are predicted from the Hessian of the training loss at the start:

- eta_base < 2/(tr |H_base| + 2 |H_base|): Theorem 1 with L_x r = tr |H|; the dimension does not enter. (At the start H has
  curvature of both signs, and its trace may be negative: |H| is what dominates it.)
- eta_peft < 2/|H_peft|.

Diverged is what ends above the loss at which it began, or not finite. The limit of a block is where, with the other block
still, runs first fail to descend: a loss more than 1% above the one at the look before, since a step along a random
direction on a minibatch may raise the loss of all examples a little at any step size. (Adapters beyond their limit seldom
diverge, they land on a worse plateau.) It is the median over seeds, on a grid with steps of sqrt(2), with the exact interval
of a median widened by the grid. The three pairs of the curves are an eighth of the predicted limits, by rule: tied-large has
the adapter's rate for both blocks, tied-small the base's. A Hessian of one curved direction would have the base's limit at
2/(3 |H_base|).

Found: the base bears several times what tr |H| allows, and less than what |H| alone would; the adapter a fifth of what its
curvature at the start allows where it bears least, [0.13, 0.57], since training raises it. What is expected to fail was so
noted after the first runs; they also moved the base's grid, twice, and what counts as failing to descend.

Minutes: quick 0.6, full 2.5 to 3.5 (two cells at once).
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments import _figure2_panels, _fine_tuning, _language_curvature, _rows
from theory_lab.claims import Verdict, claim
from theory_lab.finetune.problem import FineTune
from theory_lab.measure import Measurement, exact, family, rate
from theory_lab.measure.base import unmeasured
from theory_lab.report import figures
from theory_lab.report.figures import Look

COLUMNS = ["what", "base", "kind", "step_base", "step_peft", "seed", "epoch",
           "value", "low", "high", "rise", "samples", "note"]  # fmt: skip
BLOCKS = ("base", "peft")
SHARE = 1 / 8  # of the predicted limits, for the curves
SAFE = 1 / 4  # of both limits, on the map
FACTORS = 2.0 ** np.arange(-4, 2.51, 0.5)  # along a line, of 2/|H_peft| and of the geometric mean of the base's two bounds
SEEDS = 2  # of one sweep
RISE = 1.01  # from look to look, in which a run fails to descend
KINDS = {
    "tied-large": Look("#D55E00", "s", "-", "tied, large"),
    "tied-small": Look("#56B4E9", "o", "-", "tied, small"),
    "asymmetric": Look("#332288", "D", "-", "asymmetric"),
}
TOGETHER = 2 * len(FACTORS) + len(KINDS)  # pairs of rates in one sweep


@dataclass(frozen=True)
class Settings:
    """What is run.

    Attributes:
        base, task, adapter: the setting; `others` are bases whose limits and curves are measured too.
        examples: of training.
        looks: epochs at which losses are logged, the last of them the end.
        batches: of SEEDS seeds each, for limits and curves.
        grid: rates of the map, base and adapter, from `span` of 2/|H_b| downwards.
        iterations, starts: products for a norm, and how many times as many for the trace.
        data: a folder with official tasks, sst2/train.tsv and so on, of which `task` is then one.
    """

    base: str
    others: tuple[str, ...]
    task: str
    adapter: str
    examples: int
    looks: tuple[int, ...]
    batches: int
    grid: tuple[int, int]
    span: tuple[float, float]
    iterations: int
    starts: int
    data: str | None = None


QUICK = Settings(base="tiny-opt", others=(), task="new_knowledge", adapter="lora", examples=16, looks=(0, 1, 2, 4, 6),
                 batches=4, grid=(10, 6), span=(1.0, 4.0), iterations=10, starts=8)  # fmt: skip
FULL = replace(QUICK, others=("tiny-llama",), looks=(0, 1, 2, 4, 8, 12, 16), batches=6, grid=(14, 12), starts=32)


def cells(settings: Settings) -> list[dict[str, Any]]:
    """Limits and curves of every base, and the map of the first."""
    common = {"task": settings.task, "adapter": settings.adapter, "examples": settings.examples,
              "looks": list(settings.looks), "iterations": settings.iterations}  # fmt: skip
    if settings.data is not None:
        common["data"] = settings.data
    limits = {**common, "what": "limits", "batches": settings.batches, "starts": settings.starts}
    grid = {"what": "map", "base": settings.base, "grid": list(settings.grid), "span": list(settings.span)}
    return [{**limits, "base": base} for base in (settings.base, *settings.others)] + [{**common, **grid}]


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Rows as in COLUMNS.

    what = "predicted": the limit of a block (kind); "line": the loss at the end of a run in which one block alone moves
    (kind), low: at its start, rise: the largest loss over the one at the look before; "curve": the loss of a kind of rates
    along the epochs; "map": as "line", of both blocks.
    """
    adapter = _fine_tuning.ADAPTERS[cell["adapter"]]
    examples = {"train": cell["examples"], "dev": 8, "test": 8}
    setting = _fine_tuning.setting(cell["base"], cell["task"], adapter, data=cell.get("data"), **examples)
    problem = setting.fitted("train").problem
    rows = (_map if cell["what"] == "map" else _limits)(problem, cell, key)
    frame = pd.DataFrame(rows).assign(base=_fine_tuning.called(cell["base"]))
    return frame.reindex(columns=COLUMNS).fillna({"note": "", "samples": 1}).astype({"samples": int})


def _limits(problem: FineTune, cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    own = jax.random.fold_in(key, 0)
    where = _language_curvature.at(problem, problem.init(own))
    limits = _language_curvature.limits(where, own, iterations=cell["iterations"], starts=cell["starts"])
    rows = [{"what": "predicted", "kind": kind, **_rows.row(limit)} for kind, limit in limits.items()]
    base, peft = (limits[block].value for block in BLOCKS)
    large, small = SHARE * peft, SHARE * base
    kinds = {"tied-large": (large, large), "tied-small": (small, small), "asymmetric": (small, large)}
    middle = float(np.sqrt(base * limits["rank one"].value))
    pairs = [("line", "base", f * middle, 0.0) for f in FACTORS] + [("line", "peft", 0.0, f * peft) for f in FACTORS]
    pairs += [("curve", kind, *rates) for kind, rates in kinds.items()]
    for batch in range(cell["batches"]):
        rows += _runs(problem, pairs, cell, jax.random.fold_in(key, 1 + batch), SEEDS * batch)
    return rows


def _map(problem: FineTune, cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """A grid of steps of two, downwards from a multiple of 2/|H_b|; as many at a time as `_limits` has, for one program."""
    where = _language_curvature.at(problem, problem.init(jax.random.fold_in(key, 0)))
    tops = [span * 2 / _language_curvature.norm(where, where.of(block), key, cell["iterations"]).value
            for block, span in zip(BLOCKS, cell["span"], strict=True)]  # fmt: skip
    base, peft = (top * 2.0 ** -np.arange(size)[::-1] for top, size in zip(tops, cell["grid"], strict=True))
    pairs = [("map", "both", float(x), float(eta)) for eta in peft for x in base]
    rows = []
    for first in range(0, len(pairs), TOGETHER):
        some = pairs[first : first + TOGETHER]
        filled = some + some[-1:] * (TOGETHER - len(some))
        rows += _runs(problem, filled, cell, jax.random.fold_in(key, 1), 0)[: SEEDS * len(some)]
    return rows


def _runs(
    problem: FineTune, pairs: list[tuple[str, str, float, float]], cell: dict[str, Any], key: jax.Array, first: int
) -> list[dict[str, Any]]:
    """All pairs of rates with the same SEEDS seeds."""
    rates = [{"base": base, "peft": peft} for _, _, base, peft in pairs]
    looks = cell["looks"]
    found = [_fine_tuning.followed(problem, rates, own, epochs=looks).losses for own in jax.random.split(key, SEEDS)]
    rows = []
    for i, (what, kind, base, peft) in enumerate(pairs):
        for seed, curves in enumerate(found):
            losses = curves[i]
            rise = np.max(losses[1:] / losses[:-1]) if np.isfinite(losses).all() else np.inf
            own = {"what": what, "kind": kind, "step_base": base, "step_peft": peft, "seed": first + seed, "rise": rise}
            shown = range(len(looks)) if what == "curve" else [-1]
            rows += [{**own, "epoch": looks[k], "value": losses[k], "low": losses[0]} for k in shown]
    return rows


def judge(frame: pd.DataFrame) -> list[Verdict]:
    """Three sentences of the paper, six claims on predicted limits and on what the base's steps bring."""
    paper = "folklore: figure 2 of Ma, Yu, Huang 2026"
    large, small, both = (_ends(frame, kind) for kind in KINDS)
    diverges = claim("the adapter's rate for both blocks diverges: least share of runs, over bases", paper, "at least", 0.5)
    stays = claim("the asymmetric pair does not diverge: least share of runs, over bases", paper, "at least", 0.5)
    faster = claim("asymmetric rates end lower than the base's rate for both: loss / loss, median, largest over bases",
                   paper, "at most", 1.0)  # fmt: skip
    helps = claim("the base's steps lower the loss: asymmetric / the same with the base still, median, largest over bases",
                  "measured conjecture: hybrid beats first-order PEFT", "at most", 1.0)  # fmt: skip
    still = frame[(frame.what == "line") & (frame.kind == "peft")]
    still = still[np.isclose(still.step_peft, still.base.map(both.groupby("base").step_peft.first()))]
    verdicts = [
        diverges.check(_shares(large, above=True)),
        stays.check(_shares(both, above=False)),
        faster.check(_medians(both, small)),
        helps.check(_medians(both, still)),
    ]
    found = {block: {base: limit(frame, base, block) for base in _bases(frame)} for block in BLOCKS}
    least = claim("the limit of eta_base alone is at least 2/(tr |H| + 2 |H|), least over bases: measured / predicted",
                  "measured conjecture: |H| at the start sets the steps", "at least", 1.0)  # fmt: skip
    most = claim("the limit of eta_base alone is at most 2/(3 |H|), what one curved direction bears, largest over bases: "
                 "measured / predicted", "folklore: the base's curvature has more than one direction",
                 "at most", 1.0)  # fmt: skip
    for side, kind, pick in ((least, "base", family.smallest), (most, "rank one", family.largest)):
        over = [family.ratio("", m, _limit(frame, base, kind)) for base, m in found["base"].items()]
        verdicts.append(side.check(pick("measured / predicted", over)))
    for block, formula, why in (
        ("base", "2/(tr |H| + 2 |H|)", "curvatures of both signs, which tr |H| adds up, cancel in the loss"),
        ("peft", "2/|H|", "training raises the adapter's curvature"),
    ):
        within = claim(f"the limit of eta_{block} alone is {formula} at the start within a factor of 2: log2 of measured / "
                       "predicted, farthest over bases", "design aim: predicted limits within a factor of 2", "equals", 0.0,
                       tolerance=1.0, expected="fails", why=why)  # fmt: skip
        over = [_log2(measured, _limit(frame, base, block)) for base, measured in found[block].items()]
        verdicts.append(within.check(family.farthest("log2(measured / predicted)", over, centre=0.0)))
    safe = claim(f"pairs of at most {SAFE:g} of both predicted limits do not diverge: share of the runs on the map",
                 "design aim: predicted limits are safe with a margin", "at least", 0.95)  # fmt: skip
    return [*verdicts, safe.check(_census(frame))]


def _bases(frame: pd.DataFrame) -> list[str]:
    return list(frame[frame.what == "predicted"].base.unique())


def _limit(frame: pd.DataFrame, base: str, block: str) -> Measurement:
    """What is predicted."""
    return _rows.measurement(frame[(frame.what == "predicted") & (frame.base == base) & (frame.kind == block)].iloc[0])


def _diverged(rows: pd.DataFrame) -> pd.Series:
    return ~(rows.value <= rows.low)


def limit(frame: pd.DataFrame, base: str, block: str) -> Measurement:
    """Where runs first fail to descend, the other block still: the median over seeds, its interval widened by the grid."""
    lines = frame[(frame.what == "line") & (frame.base == base) & (frame.kind == block)]
    lasts, firsts = [], []
    for _, run in lines.groupby("seed"):
        steps, gone = (column.to_numpy() for _, column in run.assign(gone=~(run.rise <= RISE)).sort_values(f"step_{block}")[
            [f"step_{block}", "gone"]].items())  # fmt: skip
        at = int(np.argmax(gone)) if gone.any() else len(steps)
        lasts.append(steps[at - 1] if at else 0.0)
        firsts.append(steps[at] if at < len(steps) else np.inf)
    if not lasts:
        return unmeasured("limit", 0, "no runs")
    low, high = (rate.quantile(edges, 0.5) for edges in (lasts, firsts))
    note = "" if np.isfinite([low.low, high.high]).all() and low.low > 0 else "beyond the grid, or too few seeds"
    return Measurement("limit", float(np.sqrt(low.value * high.value)), low.low, high.high, len(lasts), note)


def _log2(measured: Measurement, predicted: Measurement) -> Measurement:
    if not (np.isfinite([measured.low, measured.high, predicted.high]).all() and measured.low > 0):
        return unmeasured("", measured.samples, measured.note or "a limit is not finite")
    over = family.ratio("", measured, predicted)
    value, low, high = (float(np.log2(end)) for end in (over.value, over.low, over.high))
    return Measurement("", value, low, high, over.samples)


def _ends(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    rows = frame[(frame.what == "curve") & (frame.kind == kind)]
    return rows[rows.epoch == rows.epoch.max()]


def _shares(rows: pd.DataFrame, *, above: bool) -> Measurement:
    gone = [(_diverged(runs) == above) for _, runs in rows.groupby("base")]
    return family.smallest("share", [rate.proportion(int(one.sum()), len(one)) for one in gone])


def _medians(above: pd.DataFrame, below: pd.DataFrame) -> Measurement:
    """The largest over bases of the median over seeds of loss / loss; a run that is not finite counts as infinite."""
    pairs = above.merge(below, on=["base", "seed"], suffixes=("", "_below"))
    return family.largest("loss / loss", [rate.quantile((own.value / own.value_below).fillna(np.inf), 0.5)
                                          for _, own in pairs.groupby("base")])  # fmt: skip


def _census(frame: pd.DataFrame) -> Measurement:
    rows = frame[frame.what == "map"]
    base, peft = (_limit(frame, rows.base.iloc[0], block).value for block in BLOCKS)
    inside = rows[(rows.step_base <= SAFE * base) & (rows.step_peft <= SAFE * peft)]
    return replace(exact("share of runs", (~_diverged(inside)).mean()), samples=len(inside))


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    """The curves, the lines along which limits are measured, and the map."""
    figure, ((curves, lines, both),) = figures.new_figure(1, 3, width=12.2, height=4.9)
    base = _bases(frame)[0]
    own = frame[frame.base == base]
    predicted = {kind: _limit(frame, base, kind).value for kind in ("base", "peft", "rank one")}
    found = {block: limit(frame, base, block) for block in BLOCKS}
    for kind, like in KINDS.items():
        _figure2_panels.curve(curves, own[(own.what == "curve") & (own.kind == kind)], like)
    curves.set(
        yscale="log", xlabel="epoch", ylabel="training loss, median and range", title=f"three pairs of rates ({base})"
    )
    curves.set_ylim(own[own.what == "curve"].value.min() / 3, 30 * own[own.what == "curve"].low.max())
    figures.legend(curves, loc="lower left", fontsize=8)
    _figure2_panels.lines(lines, own[own.what == "line"], predicted, found)
    rows = frame[frame.what == "map"]
    _figure2_panels.rates(figure, both, rows.assign(gone=_diverged(rows)), predicted, found)
    figures.title_with_verdicts(
        figure, "Learning rates of base and adapter, and the limits that curvature predicts", verdicts
    )
    return figure
