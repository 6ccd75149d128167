"""The judge of `figure4_convergence` on fabricated frames: curves whose ratios are known."""

import itertools

import numpy as np
import pandas as pd
import pytest

from experiments import figure4_convergence as figure4
from experiments.figure4_convergence import COST, PASSES, STEPS, TIME, ZEROTH

SECONDS = {"Hybrid-PEFT": 4.0, "FO-PEFT": 3.0, "FO-FT": 3.0, "ZO-FT": 2.0}
AT = [0, 4, 8, 16, 32]


def made(speeds: dict[str, float], seconds: dict[str, float] = SECONDS) -> pd.DataFrame:
    """Losses exp(-speed * steps / 32) at the best step sizes, a slower trial beside each, and times; 4 seeds that differ."""
    place = {"base": "tiny-opt", "task": "sentiment", "adapter": "lora"}
    rows = []
    for (name, speed), seed, worse in itertools.product(speeds.items(), range(4), (False, True)):
        at = {"method": name, "rate_base": ZEROTH[worse], "rate_peft": 0.0, "seed": seed}
        own = (0.3 if worse else 1.0) * speed * (1 + 0.02 * seed)
        for steps in AT:
            loss, dev = np.exp(-own * steps / 32), np.exp(-own)
            rows.append({"what": "runs", **place, **at, "steps": steps, "loss": loss, "dev": dev})
    for name, turn in itertools.product(seconds, range(9)):
        rows.append({"what": "times", **place, "method": name, "round": turn, "seconds": seconds[name] * (1 + turn / 100)})
    return pd.DataFrame(rows)


def ratio(frame: pd.DataFrame, other: str, way: str) -> pd.Series:
    found = figure4.ratios(frame)
    return found[(found.other == other) & (found.way == way)].iloc[0]


def outcome(frame: pd.DataFrame, other: str, way: str) -> str:
    (found,) = [v for v in figure4.judge(frame) if v.claim.startswith(f"{way} of Hybrid-PEFT / of {other} ")]
    return found.outcome


def test_ratios_are_those_of_the_speeds_times_the_cost_of_a_step() -> None:
    frame = made({"Hybrid-PEFT": 3.0, "FO-PEFT": 2.0, "FO-FT": 6.0, "ZO-FT": 1.0})
    for other, speed in {"FO-PEFT": 2.0, "FO-FT": 6.0, "ZO-FT": 1.0}.items():
        for way, factor in {STEPS: 1.0, PASSES: 4 / COST[other], TIME: 4 / SECONDS[other]}.items():
            row = ratio(frame, other, way)
            assert row.value == pytest.approx(speed / 3 * factor, rel=1e-9)
            assert row.low <= row.value * (1 + 1e-9)
            assert row.value <= row.high * (1 + 1e-9)
            assert outcome(frame, other, way) == ("holds" if speed / 3 * factor < 1 else "fails")


def test_the_trial_with_the_least_loss_on_dev_is_taken_whatever_its_training_loss() -> None:
    frame = made({"Hybrid-PEFT": 3.0, "FO-PEFT": 2.0, "FO-FT": 6.0, "ZO-FT": 1.0})
    worse = (frame.method == "Hybrid-PEFT") & (frame.rate_base == ZEROTH[1])
    frame.loc[worse, "dev"] = 0.0
    assert ratio(frame, "ZO-FT", STEPS).value == pytest.approx(1 / 0.9, rel=1e-9)
    frame.loc[worse & (frame.seed == 2), "dev"] = np.inf  # one run of it was lost
    assert ratio(frame, "ZO-FT", STEPS).value == pytest.approx(1 / 3, rel=1e-9)


def test_seeds_that_disagree_decide_nothing() -> None:
    frame = made({"Hybrid-PEFT": 1.0, "FO-PEFT": 1.0, "FO-FT": 1.0, "ZO-FT": 1.0})
    odd = (frame.method == "ZO-FT") & (frame.seed % 2 == 1) & (frame.steps > 0)
    frame.loc[odd, "loss"] = frame.loc[odd, "loss"] ** 4
    even = (frame.method == "ZO-FT") & (frame.seed % 2 == 0) & (frame.steps > 0)
    frame.loc[even, "loss"] = frame.loc[even, "loss"] ** 0.25
    assert outcome(frame, "ZO-FT", STEPS) == "undecided"


def test_a_method_all_of_whose_trials_diverged_is_not_compared() -> None:
    frame = made({"Hybrid-PEFT": 3.0, "FO-PEFT": 2.0, "FO-FT": 6.0, "ZO-FT": 1.0})
    frame.loc[(frame.method == "FO-FT") & (frame.steps >= 16), ["loss", "dev"]] = np.inf
    lost = [v for v in figure4.judge(frame) if "FO-FT" in v.claim]
    assert {v.outcome for v in lost} == {"undecided"}
    assert "a run diverged" in lost[0].reason


def test_times_that_follow_the_passes_contradict_what_is_expected_of_a_small_base() -> None:
    speeds = {"Hybrid-PEFT": 3.0, "FO-PEFT": 2.0, "FO-FT": 6.0, "ZO-FT": 1.0}
    priced = lambda frame: next(v for v in figure4.judge(frame) if "as passes" in v.claim)
    assert not priced(made(speeds)).as_expected
    assert priced(made(speeds, {**SECONDS, "Hybrid-PEFT": 7.0})).as_expected


def test_intervals_hold_together_and_those_of_seconds_allow_for_two_numbers() -> None:
    frame = made({"Hybrid-PEFT": 3.0, "FO-PEFT": 2.0, "FO-FT": 6.0, "ZO-FT": 1.0})
    uneven = (frame.method == "ZO-FT") & (frame.steps > 0)
    frame.loc[uneven, "loss"] = frame.loc[uneven, "loss"] ** (1 + 0.05 * frame.seed[uneven])
    both = pd.concat([frame, frame.assign(task="entailment")])
    width = lambda frame, way: (row := ratio(frame, "ZO-FT", way)).high / row.low
    assert width(frame, STEPS) == pytest.approx(width(frame, PASSES), rel=1e-12)
    assert 1 < width(frame, STEPS) < width(frame, TIME) < width(both, TIME)
    assert width(frame, STEPS) < width(both, STEPS)


def test_every_setting_must_agree() -> None:
    frame = made({"Hybrid-PEFT": 3.0, "FO-PEFT": 2.0, "FO-FT": 6.0, "ZO-FT": 1.0})
    other = made({"Hybrid-PEFT": 1.0, "FO-PEFT": 2.0, "FO-FT": 6.0, "ZO-FT": 2.0}).assign(task="entailment")
    assert outcome(pd.concat([frame, other]), "ZO-FT", STEPS) == "fails"
