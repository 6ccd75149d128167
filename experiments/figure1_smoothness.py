"""How does the curvature of the base and of the adapter change along fine-tuning, and do growth functions of the gradient
bear it?

The paper says of its figure 1 that the gradient's Lipschitz constant grows about linearly with the gradient norm, and that
the base's is far larger than a fresh LoRA's; hybrid smoothness asks for growth functions l_b with
-diag(l_b(|grad f|) I) <= Hess f <= diag(l_b(|grad f|) I). Here, on a pretrained base of the generated language:

- along two runs of Hybrid-PEFT (other adapter, order and directions), the norms of both diagonal blocks of the Hessian of
  the training loss, by Lanczos, against the gradient norm u, and the power p of the fit L ~ u^p, least squares on logarithms
  with Student's interval (the points of a run are not independent, so it is too narrow, if anything);
- l_x and l_y of the form L_0 + L_1 u^p, the tightest above what the blocks need *together* on the first run, held against
  the second run: |D^(-1/2) H D^(-1/2)|, at most 1 where they bear it (the share of points has the interval of independent
  ones, which points of a run are not: too narrow again);
- the base against the three adapters, fresh and trained;
- the modules of the base, one against another.

Steps by a rule: half the limits at the start, eta_peft = 1/|H_peft| and eta_base = 1/(tr |H_base| + 2 |H_base|), both
divided by four until both runs stay below the loss at which they began; that the first would do is a claim. (At the start H
has curvature of both signs, and its trace may be negative: |H| is what dominates it.) The Lipschitz constant is that of the
loss of all training examples; a minibatch's is larger. Curvature is taken where the loss is smooth: the kinks of ReLU
(tiny-opt) count nothing, tiny-llama has none.

Found: the curvature of both blocks changes severalfold along fine-tuning, less than linearly with the gradient norm. The
base's is far larger than a fresh LoRA's, less so than a trained one's. With 2/(3 |H_base|) in the place of the base's limit
its steps were some forty times as long, and runs left their start upwards. In the full profile the prompt on tiny-opt is
contrary to expectation, and stays so: it left its start upwards until steps were divided by four, and on one of its runs
the base's curvature then changed by a factor of 1.4 only. Elsewhere the divisor is 1 and the change 2 to 39.

What is expected to fail was so noted after the first runs, which also decided the task (runs on entailment diverged), the
rule that divides steps, the fit (an envelope's power met its cap) and the share asked of held-out points. Minutes: quick
0.7, full 5 (two cells at once).
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from experiments import _figure1_panels, _fine_tuning, _language_curvature, _rows
from experiments._language_curvature import Look
from theory_lab._typing import Params
from theory_lab.claims import Verdict, claim
from theory_lab.finetune.problem import FineTune
from theory_lab.measure import Measurement, exact, family, rate, smoothness
from theory_lab.measure.base import unmeasured
from theory_lab.measure.smoothness import Envelope
from theory_lab.report import figures

COLUMNS = [
    "what", "base", "task", "adapter", "run", "epoch", "block", "gradient", "loss",
    "value", "low", "high", "samples", "note", "offset", "factor", "parameters",
]  # fmt: skip
BLOCKS = ("base", "peft")
FITTED, HELD_OUT = 0, 1  # the runs
PAIRS = 8  # what a growth function needs
DIVISORS = (1, 4, 16, 64, 256)  # of the rates
FAR = 10.0  # "far larger", "about linearly": numbers for the paper's words, set beforehand
LINEAR = 0.25


@dataclass(frozen=True)
class Settings:
    """What is followed and how closely.

    Attributes:
        base: a packaged base or a folder; everything but `others` is measured on it.
        task: of the generated language, or an official one of the folder `data`.
        looked: adapters measured at the start alone, and followed along training.
        others: (base, task, adapter) followed too.
        examples: of training, all in the loss whose curvature is measured.
        epochs: after which both runs are looked at.
        iterations: products for a norm.
        data: a folder with official tasks, sst2/train.tsv and so on.
    """

    base: str
    task: str
    looked: tuple[str, ...]
    followed: tuple[str, ...]
    others: tuple[tuple[str, str, str], ...]
    examples: int
    epochs: tuple[int, ...]
    iterations: int
    data: str | None = None


QUICK = Settings(
    base="tiny-opt", task="new_knowledge", looked=("prefix", "prompt"), followed=("lora",), others=(), examples=16,
    epochs=(0, 1, 2, 3, 4, 6, 8, 12), iterations=10,
)  # fmt: skip
FULL = Settings(
    base="tiny-opt", task="new_knowledge", looked=(), followed=("lora", "prefix", "prompt"),
    others=(("tiny-llama", "new_knowledge", "lora"), ("tiny-llama", "new_knowledge", "prefix"),
            ("tiny-llama", "new_knowledge", "prompt"), ("tiny-opt", "entailment", "lora")),
    examples=16, epochs=(0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48), iterations=10,
)  # fmt: skip


def cells(settings: Settings) -> list[dict[str, Any]]:
    """A base, a task and an adapter each; the first of a base and task also has the modules."""
    own = [(settings.base, settings.task, adapter) for adapter in (*settings.followed, *settings.looked)]
    found: list[dict[str, Any]] = []
    official = {} if settings.data is None else {"data": settings.data}
    for base, task, adapter in [*own, *settings.others]:
        still = (base, task) == (settings.base, settings.task) and adapter in settings.looked
        first = not any((other["base"], other["task"]) == (base, task) for other in found)
        found.append({
            "base": base, "task": task, "adapter": adapter, "modules": first, "examples": settings.examples,
            "epochs": [0] if still else list(settings.epochs), "iterations": settings.iterations,
            **official,
        })  # fmt: skip
    return found


def compute(cell: dict[str, Any], key: jax.Array) -> pd.DataFrame:
    """Rows as in COLUMNS.

    what = "curvature": the norm of a block at a point of a run, with gradient norm and loss there; "smoothness": what a
    block needs so that both together dominate the Hessian; "power": p and factor of a block's power fit;
    "growth": the function fitted to "smoothness" on the first run (value: p); "held out": |D^(-1/2) H D^(-1/2)| on the
    second run; "rate": eta of a block, factor: its divisor; "module": the norm of a module of the base at the start.
    """
    problem = _fine_tuning.setting(
        cell["base"], cell["task"], _fine_tuning.ADAPTERS[cell["adapter"]], train=cell["examples"], dev=8, test=8,
        data=cell.get("data"),
    ).problem  # fmt: skip
    keys = jax.random.split(key, 4)
    start = problem.init(keys[FITTED])
    rows = _modules(problem, start, cell, keys[2]) if cell["modules"] else []
    if len(cell["epochs"]) == 1:
        rows += _curvature(problem, start, cell, keys[3])
    else:
        where = _language_curvature.at(problem, start)
        limits = _language_curvature.limits(where, keys[3], iterations=cell["iterations"], starts=8)
        for divisor in DIVISORS:
            rates = {b: limits[b].value / 2 / divisor for b in BLOCKS}
            runs = [_language_curvature.along(problem, rates, cell["epochs"], keys[run]) for run in (FITTED, HELD_OUT)]
            if all(run[-1].epoch == cell["epochs"][-1] for run in runs):
                break
        rows += [{"what": "rate", "block": b, "factor": divisor, **_rows.row(exact("", rates[b]))} for b in BLOCKS]
        rows += _followed(problem, runs, cell, keys[3])
    place = {"base": _fine_tuning.called(cell["base"]), "task": cell["task"], "adapter": cell["adapter"]}
    named = pd.DataFrame(rows).assign(**place)
    return named.reindex(columns=COLUMNS).fillna({"note": "", "samples": 1}).astype({"samples": int})


def _modules(problem: FineTune, start: Params, cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    where = _language_curvature.at(problem, start)
    rows = []
    for i, label in enumerate(where.of("base")):
        size = sum(leaf.size for leaf in jax.tree.leaves(where.params[label]))
        found = _language_curvature.norm(where, [label], jax.random.fold_in(key, i), cell["iterations"])
        rows.append({"what": "module", "block": label.removeprefix("base/"), "parameters": size, **_rows.row(found)})
    return rows


def _curvature(problem: FineTune, point: Params, cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """The norms of both blocks."""
    where = _language_curvature.at(problem, point)
    norms = {b: _language_curvature.norm(where, where.of(b), jax.random.fold_in(key, i), cell["iterations"])
             for i, b in enumerate(BLOCKS)}  # fmt: skip
    return [{"what": "curvature", "run": FITTED, "epoch": 0, "block": b, **_rows.row(norms[b])} for b in BLOCKS]


def _followed(problem: FineTune, runs: list[list[Look]], cell: dict[str, Any], key: jax.Array) -> list[dict[str, Any]]:
    """Curvature along both runs; growth functions of the first, and whether they bear the second."""
    rows: list[dict[str, Any]] = []
    for run, looks in enumerate(runs):
        for epoch, loss, gradient, point in looks:
            seen = {"run": run, "epoch": epoch, "loss": loss, "gradient": gradient}
            own = jax.random.fold_in(key, 1000 * run + epoch)
            norms = _curvature(problem, point, cell, own)
            rows += [{**row, **seen} for row in norms]
            if run == FITTED:
                outer = {row["block"]: row["high"] for row in norms}
                both = _language_curvature.together(_language_curvature.at(problem, point), outer, own, cell["iterations"])
                rows += [{"what": "smoothness", **seen, "block": b, **_rows.row(exact("", both.high * outer[b]))}
                         for b in BLOCKS]  # fmt: skip
    frame = pd.DataFrame(rows)
    fitted = {b: _envelope(frame[(frame.what == "smoothness") & (frame.block == b)]) for b in BLOCKS}
    rows += [{"what": "growth", "block": b, "offset": f.offset, "factor": f.factor, **_rows.row(f.power)}
             for b, f in fitted.items() if f is not None]  # fmt: skip
    rows += [
        {"what": "power", "block": b, **_power(frame[(frame.what == "curvature") & (frame.block == b)])} for b in BLOCKS
    ]
    for epoch, loss, gradient, point in runs[HELD_OUT]:
        smooth = {b: float(f(gradient)) for b, f in fitted.items() if f is not None}
        if len(smooth) == len(BLOCKS):
            where = _language_curvature.at(problem, point)
            share = _language_curvature.together(where, smooth, jax.random.fold_in(key, epoch), cell["iterations"])
            rows.append({"what": "held out", "run": HELD_OUT, "epoch": epoch, "loss": loss, "gradient": gradient,
                         "block": "both", **_rows.row(share)})  # fmt: skip
    return rows


def _envelope(pairs: pd.DataFrame) -> Envelope | None:
    return smoothness.envelope(pairs.gradient, pairs.value, resamples=0) if len(pairs) >= PAIRS else None


def _power(pairs: pd.DataFrame) -> dict[str, Any]:
    """p and the factor of L = factor u^p, least squares on logarithms; Student's interval for p."""
    if len(pairs) < PAIRS:
        return _rows.row(unmeasured("p", len(pairs), "too few points of finite loss"))
    fit = stats.linregress(np.log(pairs.gradient), np.log(pairs.value))
    half = float(stats.t.ppf(0.995, len(pairs) - 2)) * fit.stderr
    power = Measurement("p", fit.slope, fit.slope - half, fit.slope + half, len(pairs))
    return {"factor": float(np.exp(fit.intercept)), **_rows.row(power)}


def judge(frame: pd.DataFrame) -> list[Verdict]:
    """Nine claims: on the sentences of the paper's figure 1, and on what hybrid smoothness asks beyond them."""
    paper = "folklore: figure 1 of Ma, Yu, Huang 2026"
    words = {"base": "the base", "peft": "the adapter"}
    verdicts = []
    for block in BLOCKS:
        linear = claim(f"curvature of {words[block]} grows linearly with the gradient norm: L ~ u^p, p",
                       f"{paper}(a)", "equals", 1.0, tolerance=LINEAR, expected="fails",
                       why="where a run descends, the gradient falls faster than the curvature")  # fmt: skip
        powers = frame[(frame.what == "power") & (frame.block == block)]
        verdicts.append(linear.check(family.farthest("p", _rows.measurements(powers), centre=1.0)))
    changes = claim("the curvature of the base changes along fine-tuning at least twofold: largest / smallest of a run, "
                    "least over runs", f"{paper}(a)", "at least", 2.0)  # fmt: skip
    verdicts.append(changes.check(family.smallest("largest / smallest", _changes(frame))))
    larger = f"the base's curvature is at least {FAR:g} times that of a"
    fresh = claim(f"{larger} fresh LoRA, least over settings", f"{paper}(b)", "at least", FAR)
    others = claim(f"{larger} fresh prefix or prompt, least over settings", "measured conjecture: all adapters are alike",
                   "at least", FAR)  # fmt: skip
    trained = claim(f"{larger} trained LoRA, least over settings", "measured conjecture: training keeps them apart",
                    "at least", FAR, expected="fails",
                    why="as B grows from zero, the curvature in A grows with its square")  # fmt: skip
    for one, epoch, adapters in ((fresh, "first", ["lora"]), (others, "first", ["prefix", "prompt"]),
                                 (trained, "last", ["lora"])):  # fmt: skip
        verdicts.append(one.check(family.smallest("|H_base|/|H_peft|", _gaps(frame, epoch, adapters))))
    modules = claim(f"modules of one base differ {FAR:g}-fold in curvature: largest / smallest, least over bases and tasks",
                    "measured conjecture: modules want step sizes of their own", "at least", FAR)  # fmt: skip
    verdicts.append(modules.check(family.smallest("largest / smallest", _spreads(frame))))
    bear = claim("(l_x, l_y) fitted to one run dominate the Hessian at most points of another: share of points at which "
                 "|D^(-1/2) H D^(-1/2)| <= 1", "measured conjecture: hybrid smoothness carries over from run to run",
                 "at least", 0.5)  # fmt: skip
    held = frame[frame.what == "held out"]
    borne = rate.proportion(int((held.high <= 1).sum()), len(held)) if len(held) else unmeasured("", 0, "no such points")
    verdicts.append(bear.check(borne))
    steps = claim("half the limits at the start keep runs below their start: largest divisor that steps need",
                  "measured conjecture: |H| at the start sets the steps", "at most", 1.0)  # fmt: skip
    divisors = [exact("", divisor) for divisor in frame[frame.what == "rate"].factor]
    return [*verdicts, steps.check(family.largest("divisor", divisors))]


def _changes(frame: pd.DataFrame) -> list[Measurement]:
    rows = frame[(frame.what == "curvature") & (frame.block == "base")]
    runs = [run for _, run in rows.groupby(["base", "task", "adapter", "run"]) if len(run) > 1]
    return [_extremes(run) for run in runs]


def _spreads(frame: pd.DataFrame) -> list[Measurement]:
    return [_extremes(rows) for _, rows in frame[frame.what == "module"].groupby(["base", "task"])]


def _extremes(rows: pd.DataFrame) -> Measurement:
    found = _rows.measurements(rows)
    return family.ratio("largest / smallest", family.largest("", found), family.smallest("", found))


def _gaps(frame: pd.DataFrame, epoch: str, adapters: list[str]) -> list[Measurement]:
    """Base over adapter, at the first or at the last look of the first run of every setting."""
    rows = frame[(frame.what == "curvature") & (frame.run == FITTED) & frame.adapter.isin(adapters)]
    gaps = []
    for _, run in rows.groupby(["base", "task", "adapter"]):
        if epoch == "last" and run.epoch.nunique() == 1:
            continue
        at = run[run.epoch == (run.epoch.min() if epoch == "first" else run.epoch.max())]
        base, peft = (_rows.measurement(at[at.block == b].iloc[0]) for b in BLOCKS)
        gaps.append(family.ratio("", base, peft))
    return gaps or [unmeasured("", 0, "no such run")]


def draw(frame: pd.DataFrame, verdicts: list[Verdict]) -> Figure:
    figure, ((growth, adapters), (modules, held)) = figures.new_figure(2, 2, height=7.8, width=11)
    _figure1_panels.growth(growth, frame)
    _figure1_panels.adapters(adapters, frame)
    _figure1_panels.modules(modules, frame)
    _figure1_panels.held_out(held, frame)
    figures.title_with_verdicts(figure, "Curvature of base and adapter along fine-tuning", verdicts)
    return figure
