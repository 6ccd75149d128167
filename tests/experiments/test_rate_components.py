"""The judge of `rate_components` on frames that obey the theory, and on frames that do not."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from experiments import rate_components as rates
from theory_lab.claims import Verdict

RR, WR = rates.RR, rates.WR
EPOCHS = np.array(rates.QUICK.epochs)


def power_law(x: list[int] | np.ndarray, exponent: float) -> np.ndarray:
    return np.asarray(x, dtype=np.float64) ** exponent


def exact_rows() -> list[pd.DataFrame]:
    frames = []
    for (method, ordering), powers in rates.POWERS.items():
        common = {"part": "exact", "problem": "quadratic", "method": method, "ordering": ordering}
        frames += [
            pd.DataFrame({**common, "axis": axis, axis: x, "value": power_law(x, power)})
            for axis, x, power in zip(("epochs", "n"), (rates.LONG, rates.MANY), powers, strict=True)
        ]
    others = {"without noise": -1.0, "two types, bias^2": -2.0, "two types, variance": -3.0}
    common = {"part": "exact", "method": "first_order", "ordering": RR, "axis": "epochs"}
    return frames + [
        pd.DataFrame({**common, "problem": problem, "epochs": rates.LONG, "value": power_law(rates.LONG, power)})
        for problem, power in others.items()
    ]


def batches(value: float, seed: int) -> np.ndarray:
    return value * (1 + 0.01 * np.random.default_rng(seed).standard_normal(rates.BATCHES))


def runs(problem: str, method: str, ordering: str, exponent: float) -> pd.DataFrame:
    """Two step sizes, of which the first is the better one."""
    common = {"part": "runs", "problem": problem, "method": method, "ordering": ordering, "axis": "epochs", "n": rates.N}
    frames = []
    for epochs in EPOCHS:
        value = float(epochs) ** exponent
        for step, factor in ((0.5, 1.0), (0.25, 2.0)):
            point = {"epochs": epochs, "step": step, "exact": factor * value, "bound": 3 * value}
            frames.append(
                pd.DataFrame(
                    {**common, **point, "batch": range(rates.BATCHES), "value": batches(factor * value, int(epochs))}
                )
            )
    return pd.concat(frames)


def minimax(axis: str) -> list[pd.DataFrame]:
    at = (
        [(rates.N, t) for t in rates.QUICK.hard_epochs]
        if axis == "epochs"
        else [(n, 16384 // n) for n in rates.QUICK.hard_n]
    )
    frames = []
    for n, epochs in at:
        floor = n ** (-1 / 3) * epochs ** (-2 / 3)
        point = {"axis": axis, "n": n, "epochs": epochs, "step": 8.0, "exact": floor, "bound": 40 * floor}
        common = {"part": "minimax", "problem": "minimax", "method": "first_order", "ordering": RR}
        frames.append(pd.DataFrame({**common, **point, "batch": range(rates.BATCHES), "value": batches(1.1 * floor, n)}))
    return frames


@pytest.fixture(scope="module")
def obedient() -> pd.DataFrame:
    frames = [*exact_rows(), *minimax("epochs"), *minimax("n")]
    for method, ordering in rates.CURVES:
        frames.append(runs("quadratic", method, ordering, rates.PROMISED[method, ordering]))
        slow = (method, ordering) == ("first_order", WR)
        frames.append(runs("one-sided", method, ordering, -0.43 if slow else -0.75))
    return pd.concat(frames, ignore_index=True)


def outcomes(frame: pd.DataFrame) -> dict[str, Verdict]:
    return {verdict.claim: verdict for verdict in rates.judge(frame)}


def surprises(frame: pd.DataFrame) -> set[str]:
    return {name for name, verdict in outcomes(frame).items() if verdict.outcome != verdict.expected}


def test_the_theory_meets_every_expectation(obedient: pd.DataFrame) -> None:
    assert len(outcomes(obedient)) == 28
    assert surprises(obedient) == set()


def bent(frame: pd.DataFrame, chosen: Mapping[str, object], axis: str, exponent: float, factor: float = 1.0) -> pd.DataFrame:
    where = np.logical_and.reduce([frame[name] == value for name, value in chosen.items()])
    along = frame[axis].astype(float) / frame.loc[where, axis].astype(float).min()
    return frame.assign(value=frame.value.where(~where, frame.value * factor * along**exponent))


def test_an_exact_curve_with_the_exponent_of_the_bound_is_found_out(obedient: pd.DataFrame) -> None:
    chosen = {"part": "exact", "problem": "quadratic", "method": "first_order", "ordering": RR, "axis": "epochs"}
    assert surprises(bent(obedient, chosen, "epochs", 0.08)) == {
        "quadratic, first order, RR: exponent in T",
        "quadratic, first order, RR: exponent in T equals that of the bound",
    }


def test_reshuffled_directions_that_gain_from_fewer_components_are_found_out(obedient: pd.DataFrame) -> None:
    chosen = {"part": "exact", "problem": "quadratic", "method": "hybrid", "ordering": RR, "axis": "n"}
    assert surprises(bent(obedient, chosen, "n", 0.5)) == {"quadratic, hybrid, RR: exponent in n at fixed nT"}


def test_a_minimax_instance_that_is_not_minimax_is_found_out(obedient: pd.DataFrame) -> None:
    faster = bent(obedient, {"part": "minimax", "axis": "epochs"}, "epochs", -1 / 12)
    assert "minimax instance: exponent in T" in surprises(faster)
    assert "minimax instance: least average / s^2" in surprises(faster)
    assert surprises(bent(obedient, {"part": "minimax"}, "epochs", 0.0, factor=50.0)) == {
        "minimax instance: least average / bound"
    }


def test_a_slower_run_and_a_broken_bound_are_found_out(obedient: pd.DataFrame) -> None:
    chosen = {"problem": "one-sided", "method": "zeroth_order", "ordering": RR}
    assert surprises(bent(obedient, chosen, "epochs", 0.3)) == {
        "one-sided quadratic, zeroth order, RR: exponent in T is no larger than the bound's"
    }
    assert surprises(bent(obedient, chosen, "epochs", 0.0, factor=4.0)) == {
        "one-sided quadratic, RR, all methods: least average / tuned bound"
    }


def test_simulations_off_the_exact_law_are_found_out(obedient: pd.DataFrame) -> None:
    chosen = {"problem": "quadratic", "part": "runs", "method": "hybrid", "ordering": WR}
    assert surprises(bent(obedient, chosen, "epochs", 0.0, factor=1.1)) == {
        "quadratic: simulated / exact average, all curves"
    }
