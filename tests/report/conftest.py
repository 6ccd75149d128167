"""A folder of results such as the runner leaves, with everything that a page must cope with."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest

from theory_lab.claims import Verdict, claim
from theory_lab.measure import Measurement, exact
from theory_lab.report import band, house, legend, new_figure, theory_line, title_with_verdicts
from theory_lab.report.figures import png
from theory_lab.report.record import dumps, record

ENVIRONMENT = {
    "commit": "1b0f5e2a9c-dirty",
    "date": "2026-11-21T12:00:00+00:00",
    "device": {"platform": "cpu", "kind": "cpu", "processor": "A processor with quite a long name @ 2.10GHz", "cores": 2},
    "versions": {"python": "3.11.2", "jax": "0.10.2"},
}


def floor_verdicts() -> list[Verdict]:
    floor = "the floor of random reshuffling stays below eta^3 n^2 sigma^2 L / 6"
    bound = claim(floor, "Theorem 2", "at most", 0.25)
    moment = "E|v|^4 = d(d + 2) for Gaussian v & d < 5"
    law = claim(moment, "Nesterov & Spokoiny 2017, Lemma 1", "equals", 15.0, tolerance=0.3)
    free = "the rate does not depend on d_y"
    false = claim(free, "as transcribed", "equals", 1.0, tolerance=0.05, expected="fails", why="the bound has no d_y")
    wrong = claim("a surprise: 2 + 2 is at least 5", "folklore", "at least", 5.0)
    unmet = claim("growth in the convex case", "Theorem 1", "equals", 2.0, tolerance=0.1, unmet=["f is convex"])
    return [
        bound.check(Measurement("floor", 0.2031, 0.1987, 0.2075, 64)),
        law.check(Measurement("moment", 15.1, 14.9, 15.3, 4096)),
        false.check(Measurement("slope", 1.31, 1.27, 1.35, 64)),
        wrong.check(exact("sum", 4.0)),
        unmet.check(exact("growth", 2.0)),
        bound.check(Measurement("floor", math.inf, math.nan, math.nan, 64, "diverged at epoch 12 <of> 40")),
    ]


def write_experiment(folder: Path, name: str, question: str, verdicts: list[Verdict]) -> None:
    """The csv, json and png of one experiment."""
    with house():
        figure, axes = new_figure(1, 2, sharey=True)
        x = np.logspace(-3, 0, 12)
        panels = {
            "epoch ends": ["random_reshuffling", "with_replacement", "shuffle_once"],
            "inner iterates": ["hybrid", "zeroth_order"],
        }
        for panel, (title, methods) in zip(axes[0], panels.items(), strict=True):
            for i, method in enumerate(methods):
                y = x ** (1.0 + 0.5 * i)
                band(panel, x, y, 0.8 * y, 1.25 * y, like=method)
                theory_line(panel, x, y, label="theory" if i == 0 else "")
            panel.set(xscale="log", yscale="log", xlabel="step size", title=title)
            legend(panel)
        axes[0, 0].set_ylabel("mean squared distance")
        title_with_verdicts(figure, "Floors of the orderings against the step size", verdicts)
        (folder / f"{name}.png").write_bytes(png(figure))
    csv = "step_size,value\n" + "".join(f"{a!r},{a * a!r}\n" for a in x.tolist())
    (folder / f"{name}.csv").write_text(csv)
    made = record(
        name,
        question,
        verdicts,
        about="Metric: the average over epoch starts, as in `Theorem 2`.\n\nQuick: 0.2 minutes; full: 3 minutes.",
        profile="full",
        settings={"step_sizes": x.tolist(), "epochs": 400, "law": "gaussian", "nested": {"a": [1, 2, {"b": math.inf}]}},
        seeds={"seed": 7, "prng": "threefry2x32"},
        cells=12,
        wall_seconds={"compile": 1.25, "run": 33.5},
        csv_sha256=hashlib.sha256(csv.encode()).hexdigest(),
        environment=ENVIRONMENT,
    )
    (folder / f"{name}.json").write_text(dumps(made))


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three experiments: one with every kind of verdict, one with many claims, one whose text wants to be markup."""
    folder = tmp_path_factory.mktemp("results")
    found = floor_verdicts()
    write_experiment(folder, "reshuffling_floor", "Do RR, SO, IG and WR stop where their exact laws say?", found)
    question = "Does every estimator have the bias and the second moment of the identities?"
    write_experiment(folder, "oracle_moments", question, 8 * found[:2])
    hostile = claim('<script>alert("x")</script> & a|pipe `tick` ' + "unbroken" * 12, "<b>bold</b>", "at most", 1.0)
    write_experiment(folder, "stability_map", "Is x < y & y > z?\n<img src=x>", [hostile.check(exact("one", 1.0))])
    (folder / "stability_map.log").write_text("Traceback")
    (folder / "unrelated.json").write_text("[1, 2]")
    (folder / "broken.json").write_text('{"experiment": "broken", "verdicts": [{"claim"')
    return folder
