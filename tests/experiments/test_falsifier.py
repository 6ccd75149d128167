"""The hunt of `falsifier` finds what is broken on purpose, its expectations are right, and its judge can be contradicted."""

import itertools
from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import integrate, stats

from experiments import _inequalities, _instances, falsifier
from experiments._instances import GENES, RR, WR, Level, Quadratic
from tests.theory.exact import Instance
from theory_lab.theory import clean


@pytest.mark.parametrize("statement", falsifier.BROKEN)
def test_a_broken_theorem_is_found_out(statement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the effort of two full hunts, one island at a time; most need one."""
    monkeypatch.setattr(falsifier, "ISLANDS", 1)
    assert any(falsifier.hunt(statement, seed)[0].ratio > 1.001 for seed in range(8))


def test_the_seed_rebuilds_the_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number in the frame and the instance that it belongs to, to the last bit."""
    monkeypatch.setattr(falsifier, "ISLANDS", 1)
    frame = falsifier.compute({"statement": "Theorem 3 (b)", "hunt": 0}, jax.random.key(5))
    seed = int(frame.seed.iloc[0])
    found, seen = falsifier.hunt("Theorem 3 (b)", seed)
    again = falsifier.instance("Theorem 3 (b)", seed)
    assert frame.worst.max() == found.ratio == max(float(ratios.max()) for ratios in seen)
    assert np.array_equal(again.mean, found.problem.mean)
    assert again.radius == found.problem.radius
    effort = falsifier.ISLANDS * (falsifier.FIRST + falsifier.GENERATIONS * falsifier.CHILDREN)
    assert frame.instances.sum() == effort


@pytest.mark.parametrize("wrong", [np.nan, -1.0, 0.0])
def test_a_bound_that_promises_the_impossible_is_a_counterexample(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """No number, negative, or nothing at all where something is measured: not an instance without a promise."""
    monkeypatch.setattr(falsifier, "ISLANDS", 1)
    monkeypatch.setattr(clean, "theorem_h_bound", lambda **_: wrong)
    rows = falsifier.compute({"statement": "Theorem H", "hunt": 0}, jax.random.key(0))
    assert (rows.valid == rows.instances).all()
    verdicts = falsifier.judge(pd.concat([frame().query("statement != 'Theorem H'"), rows.assign(statement="Theorem H")]))
    (failed,) = [v for v in verdicts if not v.as_expected]
    assert (failed.source, failed.outcome) == ("theory_lab, Theorem H", "fails")
    assert isinstance(falsifier.draw(rows, verdicts), Figure)


@pytest.mark.parametrize("statement", falsifier.STATEMENTS)
def test_an_instance_is_excluded_by_a_condition_of_the_statement_alone(statement: str) -> None:
    """Step sizes are within the conditions; the free parameters of Theorem 2 need not be."""
    rng = np.random.default_rng(1)
    found = [falsifier.STATEMENTS[statement](rng.standard_normal(GENES)) for _ in range(40)]
    unmet = {one.unmet for one in found} - {""}
    assert unmet <= ({"theta > 0 and C_b > 0"} if statement == "Theorem 2" else set())
    ratios = np.array([one.ratio for one in found if not one.unmet])
    assert ratios.size >= 10
    assert ((ratios >= 0) & (ratios <= 1 + falsifier.ROUNDING)).all()
    assert (ratios > 0).mean() > 0.8  # what is infinite is no bound, and few functions are constant


def test_a_run_beyond_the_numbers_that_bounds_take_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_inequalities, "FAR", 1e-9)
    assert falsifier.BROKEN["Theorem 1 on reshuffled epoch starts"](genes(0)).unmet == "a run within 1e-09"


def genes(seed: int, **fixed: float) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal(GENES)
    for name, value in fixed.items():
        drawn[int(name[1:])] = value
    return drawn


def moving(seed: int, **fixed: float) -> Quadratic:
    problem = _instances.quadratic(genes(seed, **fixed))
    return replace(problem, step_sizes=(0.2 / problem.smoothness[0], 0.4 / problem.smoothness[1]), horizon=2)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ordering", [RR, WR])
def test_paths_agree_with_enumeration(seed: int, ordering: str) -> None:
    """The recursions over multisets against every permutation and every draw, by code that knows neither."""
    problem = moving(seed, _2=0.9, _3=-1.0, _5=0.8, _9=-1.0)
    assert problem.radius > 0
    assert problem.n == 4
    steps = problem.step_sizes
    brute = Instance(
        problem.hessians, problem.tilts, problem.zeroth, problem.bound, steps, problem.directions, problem.radius
    )
    moments = problem.start, np.outer(problem.start, problem.start)
    way = _instances.path(problem, ordering, every_step=ordering == WR)
    assert way.dispersion[0] == pytest.approx(brute.dispersion(problem.start), rel=1e-9, abs=1e-12)
    for row in range(problem.horizon):
        assert way.value[row] == pytest.approx(brute.value(*moments), rel=1e-9)
        assert way.gradients[row] == pytest.approx(brute.expected_squares(*moments), rel=1e-9)
        moments = brute.epoch(*moments) if ordering == RR else brute.average_step(*moments)
    assert way.value[-1] == pytest.approx(brute.value(*moments), rel=1e-9)


def test_copies_are_components_of_their_own() -> None:
    problem = moving(1, _2=-0.3, _3=1.0)
    assert problem.copies == 3
    apart = replace(
        problem, copies=1, hessians=np.repeat(problem.hessians, 3, axis=0), tilts=np.repeat(problem.tilts, 3, axis=0)
    )
    assert problem.n == apart.n == 6
    assert _instances.path(problem).value == pytest.approx(_instances.path(apart).value, rel=1e-9)


def test_curvatures_stay_within_their_bound() -> None:
    for seed in range(50):
        problem = _instances.quadratic(genes(seed))
        scaled = problem.hessians / np.sqrt(np.outer(problem.bound, problem.bound))
        assert np.abs(np.linalg.eigvalsh(scaled)).max() <= 1 + 1e-12
        assert np.abs(problem.tilts.sum(axis=0)).max() <= 1e-12 * max(1.0, np.abs(problem.tilts).max())
        assert np.linalg.eigvalsh(_instances.quadratic(genes(seed), convex=0.0).hessians).min() >= -1e-12


def test_divergences_agree_with_single_orders() -> None:
    problem = replace(_instances.quadratic(genes(3, _2=0.4), convex=0.0, copies=False), radius=0.0)
    problem = replace(problem, step_sizes=(0.05, 0.3))
    brute = Instance(problem.hessians, problem.tilts, problem.zeroth, problem.bound, problem.step_sizes, problem.directions)
    total, orders = 0.0, list(itertools.permutations(range(problem.n)))
    for order in orders:
        moments = problem.start, np.outer(problem.start, problem.start)
        for i in order:
            total += float(np.trace(problem.hessians[i] @ moments[1])) / 2
            moments = brute.step(i, *moments)
    found, second = _instances.divergences(problem)
    assert found == pytest.approx(total / len(orders), rel=1e-9)
    assert second == pytest.approx(
        brute.epoch(problem.start, np.outer(problem.start, problem.start))[1], rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize("seed", range(6))
def test_waves_are_smoothed_in_closed_form(seed: int) -> None:
    """E grad h(x + mu v) of cosines damps every wave by exp(-(mu pitch a)^2 / 2)."""
    drawn = genes(seed, _0=0.3 if seed % 2 else 1.5)
    made = _instances.smoothed(drawn)
    d = made.bound.size
    assert d >= 2
    frame = np.linalg.qr(drawn[40:49].reshape(3, 3)[:d, :d])[0] * np.sqrt(made.bound)[:, None]
    pitch = min(np.exp(drawn[5]), 1.5 / (made.radius * np.sqrt(made.bound.max())))
    waves = np.clip(1.5 * drawn[50 : 50 + d], -1, 1) * np.sin(-2 * drawn[54 : 54 + d]) / pitch
    damping = np.exp(-((made.radius * pitch) ** 2) * np.sum(frame**2, axis=0) / 2)
    assert made.gradient == pytest.approx(frame @ waves, rel=1e-12)
    assert made.mean == pytest.approx(frame @ (damping * waves), rel=1e-9, abs=1e-10)


def test_kinks_are_integrated_exactly() -> None:
    """h = (L/2) x|x|, the worst bias in one dimension: mu L E|v|."""
    drawn = genes(0, _0=-2.0, _1=0.0, _2=-1.0, _4=1.0, _5=0.0, _6=0.0, _8=0.0)
    drawn[20:23], drawn[24:29] = (5.0, 6.0, 7.0), (-1.0, 1.0, 1.0, 1.0, 1.0)
    made = _instances.smoothed(drawn)
    assert made.gradient == pytest.approx([0.0], abs=1e-12)
    assert made.mean == pytest.approx([np.exp(-1.0) * np.sqrt(2 / np.pi)], rel=1e-12)
    square = integrate.quad(lambda v: (made.radius * v * abs(v) / 2 * v) ** 2 * stats.norm.pdf(v), 0, 12, epsabs=1e-13)[0]
    assert made.second_moment == pytest.approx(2 * square, rel=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_levels_know_their_gradient_and_their_curvature(seed: int) -> None:
    """The first coordinates of both blocks, finite differences; the bound is two-sided and joint."""
    made = _instances.level(genes(seed, _0=-1.0, _1=-1.0, _6=0.0, _7=1.0, _10=-0.5))
    assert made.coupling > 0

    def at(s: float, t: float) -> Level:
        x, y = (np.concatenate(([block[0] + by], block[1:])) for block, by in zip(made.point, (s, t), strict=True))
        return replace(made, point=(x, y))

    h = 1e-5
    x, y = made.gradients
    assert (at(h, 0).gap - at(-h, 0).gap) / (2 * h) == pytest.approx(x[0], rel=1e-5, abs=1e-8)
    assert (at(0, h).gap - at(0, -h).gap) / (2 * h) == pytest.approx(y[0], rel=1e-5, abs=1e-8)
    ends = [[(b[0] - a[0]) / (2 * h) for b, a in zip(at(*s).gradients, at(*t).gradients, strict=True)]
            for s, t in (((h, 0), (-h, 0)), ((0, h), (0, -h)))]  # fmt: skip
    size = float(np.sqrt(x @ x + y @ y))
    margin = np.diag([made.growth(0, size), made.growth(1, size)])
    for sign in (1, -1):
        assert np.linalg.eigvalsh(margin - sign * np.array(ends)).min() >= -1e-6


def frame(**changes: float) -> pd.DataFrame:
    """One generation per statement: 0.9 of what is proved, twice what is broken."""
    rows = [(name, changes.get(name.replace(" ", "_"), 2.0 if name in falsifier.BROKEN else 0.9))
            for name in (*falsifier.STATEMENTS, *falsifier.BROKEN)]  # fmt: skip
    return pd.DataFrame(
        [
            {"statement": name, "seed": 3, "generation": 0, "instances": 10, "valid": 9, "worst": worst}
            for name, worst in rows
        ]
    )


def test_what_is_proved_and_what_is_broken_meet_their_expectations() -> None:
    verdicts = falsifier.judge(frame())
    assert len(verdicts) == len(falsifier.STATEMENTS) + len(falsifier.BROKEN)
    assert all(v.outcome == v.expected for v in verdicts)
    assert {v.source.removeprefix("theory_lab, ") for v in verdicts} >= {"Theorem 3", "first-order reshuffling"}


def test_one_counterexample_is_enough() -> None:
    failed = [v for v in falsifier.judge(frame(Theorem_H=1 + 1e-8)) if not v.as_expected]
    assert [v.source for v in failed] == ["theory_lab, Theorem H"]
    assert "seed 3" in failed[0].reason
    assert all(v.as_expected for v in falsifier.judge(frame(Theorem_H=1 + 1e-10)))


def test_a_hunt_that_misses_what_is_broken_is_a_surprise() -> None:
    made = frame(**{"Lemma_4.1,_constant_halved": 0.99})
    assert [v.claim for v in falsifier.judge(made) if not v.as_expected] == [
        "deliberately broken (Lemma 4.1, constant halved): largest measured / bound"
    ]


def test_no_admissible_instance_decides_nothing() -> None:
    made = frame()
    made.loc[made.statement == "Theorem 2", ["valid", "worst"]] = (0, np.nan)
    (undecided,) = [v for v in falsifier.judge(made) if v.outcome == "undecided"]
    assert "Theorem 2" in undecided.claim
