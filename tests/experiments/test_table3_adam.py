"""The judge of `table3_adam` on fabricated frames: what it must pass and what it must not."""

from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest

from experiments import _task_answers as answers
from experiments import table3_adam as table
from theory_lab.claims import Verdict
from theory_lab.measure import Measurement, exact

RANKS = (1, 4, 16, 64)
SEEDS = 4
START = {"sgd": 0.1, "adam": 0.02}  # best step sizes of the adapter at rank 1
QUESTIONS = 128


def trials(peft: float, base: float, exponent: float, right: dict[str, int]) -> list[dict[str, Any]]:
    """Losses that are parabolas in the logarithms around the best step sizes, and answers of both methods."""
    found: list[dict[str, Any]] = []
    for name in table.MAKERS:
        for rank in RANKS:
            for seed in range(SEEDS):
                shift = 1.05 ** (seed - 1.5)
                best = {"peft": START[name] * peft * rank**exponent * shift, "base": base * shift}
                at = {"what": "trial", "optimizer": name, "rank": rank, "seed": seed}
                for axis in ("alone", "peft", "base"):
                    varied = "base" if axis == "base" else "peft"
                    given = answers.packed(np.arange(QUESTIONS) < right["FO" if axis == "alone" else name])
                    for size in table.BASES if axis == "base" else table.RATES[name]:
                        steps = {"base": table.MIDDLE, "peft": best["peft"], varied: size}
                        off = np.log(size / best[varied])
                        found.append({**at, "axis": axis, "value": 1 + off**2, **steps, **given})
    return found


def made(
    *, peft: float = 1.0, exponent: float = -1.0, curvature: float = 1.0, moments: float = 2.0, hybrid: float = 1.0,
    right: dict[str, int] | None = None,
) -> pd.DataFrame:  # fmt: skip
    found = trials(peft, 1e-4, exponent, right or {"sgd": 100, "adam": 100, "FO": 100})
    for rank in RANKS:
        size = 6144.0 * rank
        found += [
            {"what": "curvature", "rank": rank, "value": 3.0 * rank**curvature},
            {"what": "adapter", "rank": rank, "value": size},
        ]
        for method, factor in (("FO-PEFT", 1.0), ("Hybrid-PEFT", hybrid)):
            for name, more in (("sgd", 0.0), ("adam", moments * size)):
                peak = factor * 4e6 + more
                found.append({"what": "memory", "rank": rank, "optimizer": name, "axis": method, "value": peak})
    return pd.DataFrame(found).fillna({"questions": 0, "answers": ""}).astype({"questions": int})


def verdict(frame: pd.DataFrame, words: str) -> Verdict:
    (found,) = (one for one in table.judge(frame) if words in one.claim)
    return found


def test_exponents_are_found_between_grid_points() -> None:
    frame = made()
    for words, exponent in (("SGD at equal scaling: best eta_peft:", -1), ("Adam at equal scaling: best eta_base", 0)):
        assert verdict(frame, words).measured == pytest.approx(exponent, abs=1e-6)
        assert verdict(frame, words).outcome == "holds"


def test_a_rate_that_ignores_the_rank_is_caught() -> None:
    frame = made(exponent=-0.5)
    assert verdict(frame, "SGD at equal scaling: best eta_peft:").outcome == "fails"
    assert verdict(frame, "Adam at equal scaling: best eta_peft/eta_base").outcome == "fails"
    assert verdict(frame, "SGD at equal scaling: best eta_base").outcome == "holds"


def test_a_best_rate_at_the_end_of_the_grid_decides_nothing() -> None:
    assert verdict(made(peft=1e3), "SGD at equal scaling: best eta_peft:").outcome == "undecided"


def test_curvature_that_does_not_grow_like_the_rank_is_caught() -> None:
    assert verdict(made(curvature=0.5), "curvature").outcome == "fails"
    assert verdict(made(), "curvature").outcome == "holds"


def test_which_optimizer_has_the_larger_ratio_is_seen() -> None:
    assert verdict(made(), "weakens").measured == pytest.approx(START["adam"] / START["sgd"])
    assert verdict(made(), "weakens").outcome == "holds"
    swapped = made().replace({"optimizer": {"sgd": "adam", "adam": "sgd"}})
    assert verdict(swapped, "weakens").outcome == "fails"


def test_accuracies_that_differ_are_seen() -> None:
    poor = made(right={"sgd": 120, "adam": 60, "FO": 100})
    assert verdict(poor, "as accurate with Adam").outcome == "fails"
    assert verdict(poor, "with SGD is at least").outcome == "holds"
    assert verdict(made(right={"sgd": 60, "adam": 60, "FO": 100}), "with SGD is at least").outcome == "fails"
    apart = verdict(made(right={"sgd": 127, "adam": 100, "FO": 100}), "in every second pair")
    assert (apart.outcome, apart.measured) == ("holds", 0.5)
    assert verdict(made(right={"sgd": 60, "adam": 60, "FO": 100}), "in every second pair").measured == 0.0


def test_memory_beyond_two_moments_or_beyond_the_twin_is_caught() -> None:
    assert verdict(made(), "two adapters").outcome == verdict(made(), "no more memory").outcome == "holds"
    assert verdict(made(moments=3.0), "two adapters").outcome == "fails"
    assert verdict(made(hybrid=1.2), "no more memory").outcome == "fails"
    alone = made()
    alone = alone[alone.axis != "FO-PEFT"]
    assert not any("no more memory" in one.claim for one in table.judge(alone))


def test_a_narrowed_adapter_is_a_lora_of_that_rank() -> None:
    start = {
        "base": {},
        "peft": {"q_proj": {"lora_A": jax.random.normal(jax.random.key(0), (2, 64, 5)), "lora_B": np.zeros((2, 5, 64))}},
    }
    kept = np.asarray(table._narrowed(start, 4)["peft"]["q_proj"]["lora_A"])
    assert np.array_equal(kept[:, :4], np.asarray(start["peft"]["q_proj"]["lora_A"])[:, :4])
    assert not kept[:, 4:].any()


def test_the_picture_has_four_panels() -> None:
    frame = made()
    assert len(table.draw(frame, table.judge(frame)).axes) == 4
    few = frame[(frame.what != "memory") | ((frame["rank"] == 64) & (frame.axis == "Hybrid-PEFT"))]
    memory = table.draw(few, table.judge(few)).axes[3]
    (line,) = (line for line in memory.lines if line.get_label() == "SGD + 2 adapters")
    assert len(set(line.get_xdata())) == 2  # of a single rank a dash, not a point without extent


def test_the_picture_has_one_labelled_line_of_theory_per_panel() -> None:
    frame = made()
    for panel in table.draw(frame, table.judge(frame)).axes[:2]:
        lines = [line for line in panel.lines if line.get_label() == "like 1/r"]
        assert len(lines) == 1
        assert np.ptp(lines[0].get_xdata() * lines[0].get_ydata()) == pytest.approx(0, abs=1e-12 * lines[0].get_ydata()[0])


def test_examples_start_and_curvature_have_keys_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []
    problem = SimpleNamespace(init=keys.append)

    def setting(cell: object, key: jax.Array) -> SimpleNamespace:
        keys.append(key)
        return SimpleNamespace(problem=problem)

    def extremes(*_: object, key: jax.Array, **__: object) -> tuple[Measurement, Measurement]:
        keys.append(key)
        return exact("low", 0.0), exact("high", 1.0)

    monkeypatch.setattr(table, "_setting", setting)
    monkeypatch.setattr(table, "_narrowed", lambda start, rank: start)
    monkeypatch.setattr(table.smoothness, "over", lambda problem: (None, ()))
    monkeypatch.setattr(table.smoothness, "extreme_eigenvalues", extremes)
    found = next(table._starts({"ranks": [1]}, jax.random.key(0)))
    assert found == {"what": "curvature", "rank": 1, "value": 1.0}
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == len(keys) == 3
