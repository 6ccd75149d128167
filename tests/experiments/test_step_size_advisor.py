"""The judge of the step size advisor on fabricated frames, and its brute force on cases whose answer is known."""

import jax
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import theory_lab as tl
from experiments import _brute_force, _families, step_size_advisor
from experiments._brute_force import Bench
from experiments._families import Family
from experiments._minibatches import minibatches
from theory_lab import blocks
from theory_lab.theory import quadratic, stability_region

KEY = jax.random.key(0)
CASES = [step_size_advisor.EXAMPLE, *(f"family {i}" for i in range(8)), "data 1", "data 2"]
FRESH = ["fresh 1", "fresh 2"]  # held out


@pytest.fixture
def frame() -> pd.DataFrame:
    """All is as advised, to a few per cent."""
    rows = []
    for i, case in enumerate([*CASES, *FRESH]):
        known = {"case": case, "real": case.startswith("data"), "held_out": case in FRESH,
                 "samples": 128, "note": "", "label": "", "how": "",
                 "step_size_x": 0.01 * (1 + i), "step_size_y": 0.5}  # fmt: skip
        spread = lambda value: {"value": value, "low": 0.96 * value, "high": 1.04 * value}
        rows.append({**known, "what": "best", **spread(200.0), "predicted": 200.0})
        rows.append({**known, "what": "advised", **spread(220.0), "predicted": 210.0})
        rows.append({**known, "what": "ratio", **spread(1.1), "predicted": np.nan})
        for label in "xy":
            how = "operator" if i % 2 else "runs"
            rows.append({**known, "what": "limit", "label": label, "how": how, **spread(0.02), "predicted": 0.021})
            if i % 2:
                rows.append({**known, "what": "edge", "label": label, "how": "edge", **spread(0.2), "predicted": 0.021})
    at = {
        "case": CASES[0],
        "real": False,
        "held_out": False,
        "samples": 1,
        "note": "",
        "label": "",
        "how": "",
        "predicted": np.nan,
    }
    for x in (0.001, 0.01, 0.02):
        for y in (0.1, 0.5, 1.0):
            value = 1 / x if x < 0.02 else np.inf
            rows.append(
                {**at, "what": "map", "value": value, "low": value, "high": value, "step_size_x": x, "step_size_y": y}
            )
        ends = {"value": 0.02, "low": 0.02, "high": 0.02, "step_size_x": 0.02, "step_size_y": 50 * x}
        rows.append({**at, "what": "boundary", **ends})
    return pd.DataFrame(rows)


def outcomes(frame: pd.DataFrame) -> dict[str, str]:
    """By the beginnings of the claims; those on what was held out keep two words."""
    short = lambda claim: claim.replace("held-out families: ", "held-out ").split(":")[0]
    return {short(verdict.claim): verdict.outcome for verdict in step_size_advisor.judge(frame)}


def worse(frame: pd.DataFrame, what: str, cases: list[str], factor: float) -> pd.DataFrame:
    """The frame with what was measured in some cases multiplied."""
    other = frame.copy()
    chosen = (other.what == what) & other.case.isin(cases)
    assert chosen.any()
    other.loc[chosen, ["value", "low", "high"]] *= factor
    return other


def test_good_advice_is_recognised(frame: pd.DataFrame, tmp_path) -> None:
    each = ("time", "limits", "steps at the advised pair")
    expected = dict.fromkeys((*each, *(f"held-out {one}" for one in each), "real data"), "holds")
    assert outcomes(frame) == expected | {"training from the start breaks at the predicted limits": "fails"}
    assert all(verdict.as_expected for verdict in step_size_advisor.judge(frame))
    frame.to_csv(tmp_path / "frame.csv", index=False)
    assert outcomes(pd.read_csv(tmp_path / "frame.csv")) == outcomes(frame)


def test_one_slow_case_in_eleven_is_forgiven_and_named_and_two_are_not(frame: pd.DataFrame) -> None:
    one, two = (worse(frame, "ratio", CASES[1 : 1 + k], 2.0) for k in (1, 2))
    assert outcomes(one)["time"] == "holds"
    assert "outside: family 0 (2.2)" in step_size_advisor.judge(one)[0].reason
    assert outcomes(two)["time"] == "fails"


def test_a_faster_than_best_time_is_no_failure_and_a_loose_limit_is_one_on_either_side(frame: pd.DataFrame) -> None:
    assert outcomes(worse(frame, "ratio", CASES, 0.5))["time"] == "holds"
    for factor in (0.5, 2.0):
        assert outcomes(worse(frame, "limit", CASES, factor))["limits"] == "fails"
        assert outcomes(worse(frame, "advised", CASES, factor))["steps at the advised pair"] == "fails"


def test_wide_intervals_and_what_was_not_measured_leave_it_undecided(frame: pd.DataFrame) -> None:
    wide = frame.copy()
    wide.loc[wide.what == "ratio", "high"] = 1.6
    assert outcomes(wide)["time"] == "undecided"
    lost = frame.copy()
    lost.loc[lost.what == "limit", ["value", "low", "high"]] = np.nan
    assert outcomes(lost)["limits"] == "undecided"


def test_accuracy_never_reached_counts_against_the_advice(frame: pd.DataFrame) -> None:
    never = worse(frame, "ratio", CASES[1:4], np.inf)
    assert outcomes(never)["time"] == "fails"
    assert "family 0 (never)" in step_size_advisor.judge(never)[0].reason


def test_slow_advice_on_real_data_is_caught(frame: pd.DataFrame) -> None:
    assert outcomes(worse(frame, "ratio", ["data 2"], 2.0))["real data"] == "fails"


@pytest.mark.parametrize("what, claim", [("ratio", "time"), ("limit", "limits"), ("advised", "steps at the advised pair")])
def test_what_was_held_out_is_judged_apart(frame: pd.DataFrame, what: str, claim: str) -> None:
    after = outcomes(worse(frame, what, FRESH, 2.0))
    assert {name for name in after if after[name] != outcomes(frame)[name]} == {f"held-out {claim}"}
    assert {name for name in outcomes(frame[~frame.held_out]) if name.startswith("held-out")} == set()


def test_held_out_families_go_where_the_others_do_not() -> None:
    assert not set(_families.HELD_OUT) & set(_families.FAMILIES)
    assert set(_families.HELD_OUT) < set(step_size_advisor.FULL.cases)
    made = {name: _families.family(name, 0) for name in _families.HELD_OUT}
    sizes = {name: blocks.size(problem.init(KEY)) for name, (_, problem) in made.items()}
    assert max(sizes.values()) > 200
    assert 65 <= sizes["correlated noise"] <= 200
    tilts = np.asarray(made["correlated noise"][1].tilts)
    np.testing.assert_allclose(tilts.sum(axis=0), 0, atol=1e-12)
    along = tilts @ np.full(120, 120**-0.5)  # one direction of 120, of both blocks
    assert np.sum(along**2) > 0.25 * np.sum(tilts**2)


def test_it_draws(frame: pd.DataFrame) -> None:
    assert isinstance(step_size_advisor.draw(frame, step_size_advisor.judge(frame)), Figure)
    quick = frame[(frame.what != "edge") & ~frame.real]
    assert isinstance(step_size_advisor.draw(quick, step_size_advisor.judge(quick)), Figure)


@pytest.mark.parametrize("beyond", [np.inf, 0.0])
def test_edges_beyond_what_was_tried_are_counted_in_the_title(frame: pd.DataFrame, beyond: float) -> None:
    assert step_size_advisor.draw(frame, []).axes[0].get_title() == "Limits"
    far = frame.copy()
    edges = frame.index[frame.what == "edge"][:2]
    far.loc[edges, ["value", "low", "high"]] = (beyond, 0.3 if beyond else 0.0, np.inf if beyond else 0.01)
    assert step_size_advisor.draw(far, []).axes[0].get_title().startswith("Limits (2 beyond what was tried")


def test_an_unbounded_interval_is_drawn_from_side_to_side(frame: pd.DataFrame) -> None:
    heavy = frame.copy()
    heavy.loc[heavy.what == "ratio", ["low", "high"]] = (-np.inf, np.inf)
    axes = step_size_advisor.draw(heavy, []).axes[1]
    lines = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2][: (frame.what == "ratio").sum()]
    left, right = axes.get_xlim()
    assert all(low <= left and high >= right for low, high in lines)


def test_cells_are_distinct_and_read_data(tmp_path) -> None:
    (tmp_path / "mine.svm").write_text("1 1:0.5\n-1 1:0.2\n")
    settings = step_size_advisor.Settings(("coupled",), data=str(tmp_path))
    cells = step_size_advisor.cells(settings)
    assert [cell["case"] for cell in cells] == [str(tmp_path / "mine.svm"), "coupled", "coupled"]
    assert len({str(cell) for cell in cells}) == 3


def test_every_case_has_its_turn_and_is_told_in_its_place(frame: pd.DataFrame) -> None:
    cells = step_size_advisor.cells(step_size_advisor.FULL)
    assert sorted(_families.TURNS) == sorted(step_size_advisor.FULL.cases)
    assert [cell["case"] for cell in cells if cell["part"] == "case"] == list(_families.TURNS)
    names = dict(zip(CASES[1:4], step_size_advisor.FULL.cases, strict=False))
    named = frame.assign(case=frame.case.replace(names))
    turned = pd.concat([rows for _, rows in named.groupby("case")][::-1])
    told = step_size_advisor._clean(turned).case.drop_duplicates().tolist()
    assert told[: len(names)] == list(names.values())


def test_there_are_at_least_eight_families_and_two_data_sets() -> None:
    assert len(_families.FAMILIES) >= 8
    assert len(set(step_size_advisor.FULL.cases) - set(_families.FAMILIES) - set(_families.HELD_OUT)) == 2
    assert set(step_size_advisor.QUICK.cases) < set(_families.FAMILIES)


def bench(**options) -> Bench:
    family = Family(_families._quadratic(20, 4), 320, **options)
    return Bench(family, family.make(), KEY, search=4, runs=32, confidence=0.99)


def test_brute_force_finds_half_the_limit_where_that_is_the_fastest() -> None:
    found = bench().best()
    assert found.step_sizes[0] == pytest.approx(1 / 22, rel=0.3)  # E|x|^2 shrinks the most at half of 2/(L (d+2))
    assert found.note == ""
    table = bench().map({"x": np.array([0.1, 1.0, 1.9]) / 22, "y": np.array([0.5])})
    assert table[1] < min(table[0], table[2])


def test_a_pair_held_against_itself_is_as_fast_and_one_beyond_the_limit_never_arrives() -> None:
    at = bench()
    same = at.compare((1 / 22, 0.5), (1 / 22, 0.5), at.family.oracle(_brute_force.RADIUS))
    assert (same["ratio"].low, same["ratio"].high) == (1.0, 1.0)
    beyond = at.compare((1 / 22, 0.5), (3 / 22, 0.5), at.family.oracle(_brute_force.RADIUS))
    assert beyond["ratio"].value == np.inf


def test_limits_by_runs_and_by_the_operator_are_those_of_theory() -> None:
    family = Family(_families._quadratic(50, 4), 400)
    sampled = Bench(family, family.make(), KEY, 4, 64, 0.99).limits((1 / 52, 0.5))
    assert sampled["x"].value == pytest.approx(2 / 52, rel=0.06)
    assert sampled["y"].value == pytest.approx(2.0, rel=0.06)
    exact = Bench(Family(family.make, 400, limits="operator"), family.make(), KEY, 4, 64, 0.99).limits((1 / 52, 0.5))
    assert exact["x"].value == pytest.approx(quadratic.step_size_limit(np.ones(50)), rel=1e-6)


def test_the_accuracy_counts_every_leaf_of_a_block() -> None:
    family = Family(lambda: tl.matrix_factorisation(3, 4, 2), 400, accuracy=0.5)  # blocks of several matrices
    at = Bench(family, family.make(), KEY, 4, 32, 0.99)
    assert any(isinstance(part, dict) for part in at.start.values())
    gradient = jax.tree.leaves(jax.grad(at.problem.value)(at.start))
    assert at.accuracy == pytest.approx(0.5 * np.sqrt(sum(np.vdot(leaf, leaf) for leaf in gradient)), rel=1e-10)


def test_an_unstable_partner_leaves_the_limit_unmeasured() -> None:
    limits = bench().limits((1 / 22, 2.5))
    assert np.isnan(limits["x"].value)
    assert "nothing is stable" in limits["x"].note


def test_second_moments_along_orders_agree_with_theory_where_minibatches_are_everything() -> None:
    rng = np.random.default_rng(0)
    problem = tl.logistic(
        rng.standard_normal((40, 8)), np.sign(rng.standard_normal(40)), columns={"x": slice(0, 6), "y": slice(6, 8)}, l2=0.1
    )
    point = problem.init(KEY)
    h = _families.hessian(problem, point)
    whole = minibatches(problem, point, size=40, ordering="random_reshuffling")
    for line in ((None, 1.0), (0.1, None)):
        limit = stability_region.step_size_boundary(h, 6, line)
        assert whole.limit(line, 2 * limit) == pytest.approx(limit, rel=0.03)
    for steps in ((0.5, 1.0), (0.6, 1.0)):  # 256 steps where one mode is left, to 1e-12 of what it was
        assert whole.growth(steps) == pytest.approx(256 * np.log(quadratic.growth_factor(h, 6, steps)), rel=0.01)
    few = minibatches(problem, point, size=2, ordering="with_replacement")
    assert few.limit((None, 1.0), 2 * stability_region.step_size_boundary(h, 6, (None, 1.0))) < 0.8 * whole.limit(
        (None, 1.0), 2 * stability_region.step_size_boundary(h, 6, (None, 1.0))
    )


def test_a_small_gradient_far_out_is_no_success() -> None:
    at = bench()
    trace = at._sweep(_brute_force._grid([(1 / 22, 0.5)]), 1, 4)
    object.__setattr__(trace, "value", trace.value * np.where(np.arange(trace.epoch.size) > 5, 1e200, 1.0))
    assert np.isinf(at.crossings(trace)).all()


def test_one_case_from_advice_to_rows() -> None:
    cells = step_size_advisor.cells(step_size_advisor.Settings(("steep spectrum",), search=4, runs=32, map=3))
    rows = step_size_advisor.compute(cells[1], KEY)
    assert rows.what.tolist() == ["best", "advised", "ratio", "limit", "limit"]
    assert rows[rows.what == "ratio"].value.item() < 1.5
