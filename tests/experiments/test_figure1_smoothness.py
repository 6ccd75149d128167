"""The judge of `figure1_smoothness` on fabricated frames, and the blocks' norms that share one program."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments import _language_curvature, figure1_smoothness
from experiments.figure1_smoothness import FULL, QUICK
from theory_lab.measure import smoothness

EPOCHS = tuple(range(12))


@pytest.fixture
def frame() -> pd.DataFrame:
    """The base's curvature 4 times its gradient norm, the adapter's a fiftieth of that, and modules 32-fold apart."""
    rows: list[dict[str, object]] = []

    def add(what: str, block: str, value: float, **more: object) -> None:
        given = {"low": 0.99 * value, "high": 1.01 * value, **more}
        rows.append({"what": what, "block": block, "value": value, **given})

    for run in (0, 1):
        for epoch in EPOCHS:
            u = 8.0 / (1 + epoch)
            seen = {"run": run, "epoch": epoch, "gradient": u, "loss": u}
            for block, factor in (("base", 4.0), ("peft", 0.08)):
                add("curvature", block, factor * u, **seen)
                if run == 0:
                    add("smoothness", block, 2 * factor * u, **seen)
            if run == 1:
                add("held out", "both", 0.9, **seen)
    for block in ("base", "peft"):
        for what in ("growth", "power"):
            add(what, block, 1.0, low=0.9, high=1.1, offset=0.0, factor=4.0)
        add("rate", block, 0.1, factor=1.0)
    for i in range(6):
        add("module", f"layers/{i}", 2.0**i, parameters=10)
    made = pd.DataFrame(rows).assign(base="tiny-opt", task="entailment", adapter="lora", samples=1, note="")
    fresh = made[(made.what == "curvature") & (made.run == 0) & (made.epoch == 0)].assign(gradient=np.nan)
    others = [fresh.assign(adapter=adapter) for adapter in ("prefix", "prompt")]
    return pd.concat([made, *others], ignore_index=True).reindex(columns=figure1_smoothness.COLUMNS)


def failed(frame: pd.DataFrame) -> list[int]:
    """Which claims fail."""
    return [i for i, verdict in enumerate(figure1_smoothness.judge(frame)) if verdict.outcome == "fails"]


def times(frame: pd.DataFrame, here: pd.Series, factor: float) -> pd.DataFrame:
    return frame.assign(**{end: frame[end] * np.where(here, factor, 1.0) for end in ("value", "low", "high")})


def test_what_the_paper_says_is_recognised(frame: pd.DataFrame) -> None:
    assert [verdict.outcome for verdict in figure1_smoothness.judge(frame)] == ["holds"] * 9


@pytest.mark.parametrize(
    "what, block, factor, caught",
    [
        ("power", "base", 1.6, [0]),
        ("power", "peft", 0.5, [1]),
        ("held out", "both", 1.3, [7]),
        ("curvature", "peft", 8.0, [3, 4, 5]),
    ],
)
def test_what_is_off_is_caught(frame: pd.DataFrame, what: str, block: str, factor: float, caught: list[int]) -> None:
    here = (frame.what == what) & (frame.block == block)
    assert (
        failed(frame.assign(**{end: frame[end] * np.where(here, factor, 1.0) for end in ("value", "low", "high")})) == caught
    )


def test_constant_curvature_and_like_modules_are_caught(frame: pd.DataFrame) -> None:
    flat = frame.copy()
    for what, block in (("curvature", "base"), ("module", None)):
        here = (flat.what == what) & ((flat.block == block) | (block is None))
        flat.loc[here, ["value", "low", "high"]] = [50.0, 49.0, 51.0]
    assert failed(flat) == [2, 6]


def test_only_the_trained_adapter_has_grown(frame: pd.DataFrame) -> None:
    last = (frame.what == "curvature") & (frame.block == "peft") & (frame.epoch == max(EPOCHS)) & (frame.run == 0)
    assert failed(times(frame, last, 10.0)) == [5]


def test_steps_that_had_to_be_divided_are_caught(frame: pd.DataFrame) -> None:
    assert failed(frame.assign(factor=frame.factor.where(frame.what != "rate", 4.0))) == [8]


def test_a_run_that_diverged_leaves_its_claims_undecided(frame: pd.DataFrame) -> None:
    short = frame[~frame.what.isin(["power", "growth", "held out"])]
    verdicts = figure1_smoothness.judge(short)
    assert [i for i, verdict in enumerate(verdicts) if verdict.outcome == "undecided"] == [0, 1, 7]


def test_it_is_drawn_with_and_without_growth_functions(frame: pd.DataFrame) -> None:
    for given in (frame, frame[~frame.what.isin(["power", "growth", "held out"])]):
        assert isinstance(figure1_smoothness.draw(given, figure1_smoothness.judge(given)), Figure)


@pytest.mark.parametrize("settings, number", [(QUICK, 3), (FULL, 7)])
def test_every_base_and_task_has_its_modules_once(settings: figure1_smoothness.Settings, number: int) -> None:
    made = figure1_smoothness.cells(settings)
    places = [(cell["base"], cell["task"]) for cell in made if cell["modules"]]
    assert len(made) == number
    assert sorted(places) == sorted({(cell["base"], cell["task"]) for cell in made})


def test_the_power_fit_finds_a_power_law_and_says_when_it_is_not_one() -> None:
    u = np.geomspace(1, 30, 12)
    exact = figure1_smoothness._power(pd.DataFrame({"gradient": u, "value": 5 * u**1.5}))
    assert (exact["value"], exact["factor"]) == pytest.approx((1.5, 5.0))
    wavy = figure1_smoothness._power(pd.DataFrame({"gradient": u, "value": np.where(np.arange(12) % 2, 1.0, 9.0)}))
    assert wavy["low"] < 0 < wavy["high"]
    assert np.isnan(figure1_smoothness._power(pd.DataFrame({"gradient": u[:7], "value": u[:7]}))["value"])


def test_a_block_is_what_is_left_when_the_rest_has_shrunk() -> None:
    def fn(z: dict[str, jax.Array]) -> jax.Array:
        return 3 * jnp.sum(z["base"] ** 2) - 0.01 * jnp.sum(z["peft"] ** 2) + 40 * z["base"][0] * z["peft"][0]

    finer, point = smoothness.modules(fn, {"base": jnp.ones(6, jnp.float32), "peft": jnp.ones(4, jnp.float32)}, depth=1)
    where, key = _language_curvature.Where(finer, point, ()), jax.random.key(0)
    base, peft = (_language_curvature.norm(where, where.of(block), key, 10) for block in ("base", "peft"))
    assert base.low <= 6 <= base.high
    assert base.value == pytest.approx(6, rel=1e-5)
    assert peft.low <= 0.02 <= peft.high
    assert peft.value == pytest.approx(0.02, rel=1e-4)
    both = _language_curvature.together(where, {"base": 4.0, "peft": 9.0}, key, 10)
    exact = np.abs(np.linalg.eigvalsh([[6 / 4, 40 / 6], [40 / 6, -0.02 / 9]])).max()
    assert both.low <= exact <= both.high
    assert both.value == pytest.approx(exact, rel=1e-4)
    for block, trace in (("base", 36), ("peft", 0.08)):
        found = _language_curvature.absolute_trace(where, [block], key, 10, 64)
        assert found.low <= trace <= found.high < 1.5 * trace
    limits = _language_curvature.limits(where, key, iterations=10, starts=64)
    assert limits["base"].low <= 2 / (36 + 2 * 6) <= limits["base"].high
    assert [limits[kind].value for kind in ("peft", "rank one")] == pytest.approx([2 / 0.02, 2 / 18], rel=1e-4)
