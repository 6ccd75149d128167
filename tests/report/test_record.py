import json
import math
import subprocess
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from theory_lab.claims import Verdict
from theory_lab.report import record

FIELDS = {
    *("claim", "source", "relation", "predicted", "measured", "low"),
    *("high", "samples", "outcome", "expected", "power", "reason", "tolerance"),
}


def strict(text: str) -> dict[str, object]:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


@dataclass(frozen=True)
class Settings:
    radii: tuple[float, ...] = (0.1, math.inf)
    law: str = "sphere"
    count: object = None


def made(verdicts: list[Verdict]) -> record.Record:
    return record.record(
        "demo", "A question?", verdicts, profile="quick", settings=Settings(count=np.int64(3)), seeds={"seed": 0}, cells=2,
        wall_seconds={"compile": 0.5, "run": math.nan}, csv_sha256="0" * 64, environment={"commit": "abc"},
    )  # fmt: skip


UNDECIDED = Verdict("c", "s", "at most", 1.0, math.inf, math.nan, -math.inf, 8, "undecided", "holds", math.nan, "why")


def test_a_record_is_strict_sorted_json_even_with_infinities() -> None:
    text = record.dumps(made([UNDECIDED]))
    read = strict(text)
    assert list(read) == sorted(read)
    assert text.endswith("}\n")
    assert read["settings"] == {"radii": [0.1, "Infinity"], "law": "sphere", "count": 3}
    assert read["wall_seconds"] == {"compile": 0.5, "run": "NaN"}
    (verdict,) = read["verdicts"]
    assert set(verdict) == FIELDS
    assert (verdict["measured"], verdict["low"], verdict["high"]) == ("Infinity", "NaN", "-Infinity")


def test_verdicts_come_back_as_they_were() -> None:
    exact = Verdict("ä | b", "s", "equals", 1 / 3, 0.1, 5e-324, 1.0, 8, "fails", "fails", 0.25, "why")
    again = record.verdicts(strict(record.dumps(made([exact, UNDECIDED]))))
    assert again[0] == exact
    assert repr(again[1]) == repr(UNDECIDED)


def test_plain_makes_json_of_arrays_sets_and_mappings() -> None:
    value = {"a": np.arange(3), "b": jnp.float32(0.5), "c": {2, 1}, 4: None, "d": Path("x"), "e": np.bool_(True)}
    assert record.plain(value) == {"a": [0, 1, 2], "b": 0.5, "c": [1, 2], "4": None, "d": "x", "e": True}


@pytest.mark.parametrize(
    "text",
    [
        *("[1, 2]", "{}", "3", '{"experiment": "other", "verdicts": []}', '{"experiment": "demo", "verdicts": [1]}'),
        '{"experiment": "demo", "verdicts": [], "question": "?", "profile": "quick"}',
        '{"experiment": "demo", "verdicts": [], "question": 3, "profile": "quick", "date": "", "device": {"kind": "cpu"}, '
        '"versions": {"jax": "0"}}',
    ],
)
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "demo.json").write_text(text)
    with pytest.raises(ValueError, match=r"^demo\.json must be the record of an experiment, got "):
        record.read(tmp_path / "demo.json")


def test_records_are_read_in_order_and_other_files_passed_over(results: Path) -> None:
    names = [each["experiment"] for each in record.read_all(results, ["stability_map", "absent", "oracle_moments"])]
    assert names == ["stability_map", "oracle_moments", "reshuffling_floor"]


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_outside_a_repository_the_environment_may_name_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEORY_LAB_COMMIT", "abc")
    assert record.commit(tmp_path) == "abc"


def test_the_commit_is_dirty_exactly_when_code_differs(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert record.commit(tmp_path) == "unknown"
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "a.py").write_text("1\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "README.md").write_text("a result is not code")
    assert record.commit(tmp_path) == head
    (tmp_path / "experiments" / "b.py").write_text("2\n")
    assert record.commit(tmp_path) == f"{head}-dirty"
    assert record.commit(tmp_path / "nowhere") == "unknown"


def test_the_environment_names_versions_device_and_date(tmp_path: Path) -> None:
    found = strict(record.dumps(record.environment(tmp_path)))
    assert found["commit"] == "unknown"
    assert {"python", "jax", "numpy", "scipy"} <= set(found["versions"])
    assert found["device"]["kind"]
    assert found["date"].endswith("+00:00")
