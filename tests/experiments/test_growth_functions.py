"""The judge of growth functions on fabricated frames: what it must pass and what it must not."""

import jax
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import _clouds, _growth_panels, _rows
from experiments import growth_functions as experiment
from experiments._clouds import FAMILIES
from experiments.growth_functions import ALPHA, CLOUDS, ENVELOPES
from theory_lab.measure import Measurement, exact, rate, smoothness


def number(what: str, quantity: str, measured: Measurement | float, **others: object) -> dict[str, object]:
    measured = measured if isinstance(measured, Measurement) else exact("", measured)
    return {"what": what, "name": "", "quantity": quantity, **_rows.row(measured), **others}


def around(value: float, half: float, samples: int = 64) -> Measurement:
    return Measurement("", value, value - half, value + half, samples)


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = []
    for name, (*_, power, _) in FAMILIES.items():
        if power:
            rows.append(number("family", "p", around(power, 0.005), name=name, predicted=power))
        else:
            rows.append(number("family", "rising part", 0.0, name=name))
        rows += [number("family", "pair", u**power, name=name, u=u) for u in (1.0, 10.0, 100.0)]
    for name, power in (("steep", 2.0), ("scale", 2 / 3)):
        rows.append(number("adapter", "p", around(power, 0.005), name=name, predicted=power))
    rows.append(number("adapter", "pair", 1e4, name="steep", u=10.0))
    rows.append(number("adapter", "exponent of L0", around(2.0, 0.001, 10), name="valley", predicted=2.0))
    for cloud in CLOUDS:
        at = {"name": cloud, "pairs": 20}
        for name, k in zip(ENVELOPES, (9.0, 6.0, 2.6, 1.0), strict=True):
            rows.append(number("further", f"violations {name}", around(k, 0.03 * k), **at))
            rows += [number("further", f"needed {name}", around(k, 0.03 * k), **at)] if name != "inflated" else []
        rows.append(number("further", "promise", rate.proportion(100, 1000), predicted=ALPHA, **at))
    rows += [number("interval", "covers", rate.proportion(390, 400), name=name) for name in ("power 4", "exponential")]
    for name, sign, power, gap, excess in (("fresh", -1.0, np.nan, -0.95, 1.06), ("far", 0.95, 1.31, -0.4, 1.02)):
        at = {"name": name}
        rows.append(number("training", "rank correlation", around(sign, 0.01), **at))
        rows.append(number("training", "p", around(power, 0.05), **at))
        rows.append(number("training", "later - random", around(gap, 0.1), **at))
        rows.append(number("training", "excess", around(excess, 0.01), **at))
        rows += [number("training", "pair", 2 - u, u=u, predicted=2.0, **at) for u in (1.0, 0.5, 0.2)]
    return pd.DataFrame(rows).reindex(columns=experiment.COLUMNS)


def unexpected(frame: pd.DataFrame) -> set[str]:
    return {verdict.claim[:20] for verdict in experiment.judge(frame) if not verdict.as_expected}


def test_agreement_is_recognised(frame: pd.DataFrame) -> None:
    verdicts = experiment.judge(frame)
    assert [verdict.outcome for verdict in verdicts].count("fails") == 4
    assert {verdict.outcome for verdict in verdicts} == {"holds", "fails"}
    assert unexpected(frame) == set()
    assert len(verdicts) == 13


WRONG = [
    ("family", "p", "power 4", 1.2, {"nine families, p fro"}),
    ("family", "p", "x + 1/x", 1.4, {"nine families, p fro", "p < 2, p >= 2 or no "}),
    ("adapter", "p", "steep", 0.9, {"p < 2, p >= 2 or no ", "matrix factorisation"}),
    ("adapter", "p", "scale", 1.5, {"matrix factorisation"}),
    ("further", "violations least steps", "curve", 2.0, {"m+1 times the chance"}),
    ("further", "needed L0 + L1 u^p", "adapter", 0.5, {"m+1 times the chance"}),
    ("further", "promise", "", 2.0, {"inflated envelopes b"}),
    ("interval", "covers", "exponential", 0.8, {"intervals of p at le"}),
    ("training", "rank correlation", "fresh", -1.0, {"from B = 0: rank cor"}),
    ("training", "p", "far", 0.77, {"from far out: p alon"}),
    ("training", "later - random", "", 0.01, {"random halves of a r"}),
    ("training", "excess", "", 0.9, {"curvature in a run's"}),
    ("adapter", "exponent of L0", "valley", 0.5, {"without decay there "}),
]


@pytest.mark.parametrize(("what", "quantity", "name", "factor", "caught"), WRONG)
def test_a_wrong_number_is_caught(
    frame: pd.DataFrame, what: str, quantity: str, name: str, factor: float, caught: set[str]
) -> None:
    chosen = (frame.what == what) & (frame.quantity == quantity) & (frame["name"].str.contains(name, regex=False))
    wrong = frame.copy()
    ends = wrong.loc[chosen, ["value", "low", "high"]] * factor
    wrong.loc[chosen, ["value", "low", "high"]] = np.sort(ends, axis=1)[:, [1, 0, 2]]
    assert unexpected(wrong) == caught


def test_an_envelope_that_needs_more_pairs_than_parameters_is_caught(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    for quantity in ("violations", "needed"):
        wrong.loc[(wrong.quantity == f"{quantity} L0 + L1 u^p") & (wrong["name"] == "curve"), ["value", "low", "high"]] *= (
            1.5
        )
    assert unexpected(wrong) == {"L0 + L1 u^p has thre"}


def test_an_exponent_of_the_floor_that_is_not_known_is_undecided(frame: pd.DataFrame) -> None:
    wide = frame.copy()
    wide.loc[wide.quantity == "exponent of L0", ["low", "high"]] = (1.9, 2.1)
    assert {v.outcome for v in experiment.judge(wide) if v.claim.startswith("without decay")} == {"undecided"}


def test_bounded_curvature_that_rises_is_caught(frame: pd.DataFrame) -> None:
    wrong = frame.copy()
    wrong.loc[wrong.quantity == "rising part", "value"] = 0.5
    assert unexpected(wrong) == {"p < 2, p >= 2 or no "}


def test_the_figure_is_drawn(frame: pd.DataFrame) -> None:
    assert isinstance(experiment.draw(frame, experiment.judge(frame)), Figure)


def test_pools_are_what_products_measure() -> None:
    problem, key = _clouds.objective("adapter"), jax.random.key(3)
    u, curvature = map(np.asarray, _clouds.pool(problem, key, 6))
    rows = smoothness.growth(
        problem.value, [_clouds.cloud_point(problem, part) for part in jax.random.split(key, 6)], key=key
    )
    np.testing.assert_allclose(u, rows.gradient_norm, rtol=1e-10)
    np.testing.assert_allclose(curvature, rows.block_y, rtol=1e-10)


def test_every_family_has_a_curvature_below_its_known_law() -> None:
    for name, (law, _) in _growth_panels.SHOWN.items():
        profile, places, _, beyond = FAMILIES[name]
        u = np.abs(np.asarray(jax.vmap(jax.grad(profile))(places)))
        bends = np.asarray(jax.vmap(jax.grad(jax.grad(profile)))(places))
        assert np.all(bends <= law(u) * (1 + 1e-9))
        far = u >= max(beyond, 1)
        assert np.any(bends[far] >= 0.98 * law(u[far]))


def test_points_and_looks_at_them_have_keys_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the keys that are folded out of them: a part of a split is the key with its number folded in."""
    drawn, looked = [], []
    monkeypatch.setattr(_clouds, "cloud_point", lambda problem, key: drawn.append(key))
    monkeypatch.setattr(smoothness, "growth", lambda fn, points, *, key, **_: looked.append(key))
    monkeypatch.setattr(experiment, "_fitted", lambda *_: [])
    list(experiment._families({}, jax.random.key(0)))
    data = lambda keys: {tuple(jax.random.key_data(key).tolist()) for key in keys}
    assert len(drawn) == 80
    starts = [jax.random.fold_in(key, i) for key in looked[:1] for i in range(81)]  # what growth makes of its key
    assert len(data(looked)) == 1
    assert not data(drawn) & (data(starts) | data(looked))
