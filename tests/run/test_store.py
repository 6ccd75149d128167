import concurrent.futures
import errno
import json
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pandas as pd
import pytest

from theory_lab.run.clock import Stopwatch
from theory_lab.run.frames import from_csv, to_csv
from theory_lab.run.store import ABANDONED, Store, Unwritable, write

FLOATS = [0.1, 1 / 3, 1.0, -0.0, 5e-324, 1.7976931348623157e308, math.pi, math.nan, math.inf, -math.inf, 2.0**53 + 2]
TRICKY = ["plain", "", "1", "True", "nan", 'say "hi"', "a,b", "two\nlines", "back\\slash", "über", " padded ", "\r"]
DETERMINANTS = {"experiment": "demo", "cell": {"d": 3}, "key": [1, 2]}


def frame(value: float = 0.1) -> pd.DataFrame:
    return pd.DataFrame({"d": [1, 2], "value": [value, math.nan], "law": ["sphere", "1"], "stable": [True, False]})


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return (
        a.dtype == b.dtype == np.float64
        and np.array_equal(np.isnan(a), np.isnan(b))
        and a[~np.isnan(a)].tobytes() == b[~np.isnan(b)].tobytes()
    )


@hypothesis.given(
    st.lists(
        st.tuples(st.floats(), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.text(st.characters(codec="utf-8"))),
        min_size=1,
    )
)
@hypothesis.settings(max_examples=60, deadline=None)
def test_a_frame_reads_back_bit_by_bit_with_its_types(rows: list[tuple[float, int, bool, str]]) -> None:
    given = pd.DataFrame(rows, columns=["number", "whole", "truth", "text"])
    text = to_csv(given)
    read = from_csv(text)
    assert same_bits(given["number"].to_numpy(), read["number"].to_numpy())
    assert read["whole"].dtype == np.int64
    assert read["whole"].tolist() == given["whole"].tolist()
    assert read["truth"].dtype == bool
    assert read["truth"].tolist() == given["truth"].tolist()
    assert read["text"].tolist() == given["text"].tolist()
    assert to_csv(read) == text


def test_values_that_look_like_something_else_keep_their_type() -> None:
    read = from_csv(to_csv(pd.DataFrame({"number": FLOATS, "text": TRICKY[: len(FLOATS)]})))
    assert same_bits(read["number"].to_numpy(), np.array(FLOATS))
    assert read["text"].tolist() == TRICKY[: len(FLOATS)]
    assert math.copysign(1, read["number"][3]) == -1
    assert from_csv(to_csv(pd.DataFrame({"a": [1.0, 2.0]})))["a"].dtype == np.float64
    assert from_csv(to_csv(pd.DataFrame({"a": ["1", "2"]})))["a"].tolist() == ["1", "2"]
    assert from_csv(to_csv(pd.DataFrame({"a": np.float32([0.1])})))["a"][0] == float(np.float32(0.1))
    assert from_csv(to_csv(pd.DataFrame({"a": [math.nan] * 2})))["a"].isna().all()


def test_missing_values_become_nan_or_empty_text() -> None:
    joined = pd.concat([pd.DataFrame({"a": [1], "t": ["x"]}), pd.DataFrame({"b": [2.0]})], ignore_index=True)
    read = from_csv(to_csv(joined))
    assert read["t"].tolist() == ["x", ""]
    assert read["a"].isna().tolist() == [False, True]


def test_other_readers_understand_the_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(to_csv(frame()), newline="")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "a.csv"), frame())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (pd.DataFrame(), "frame must be a DataFrame with at least one row and one column, got 'one of shape \\(0, 0\\)'"),
        ([1, 2], "frame must be a DataFrame .*, got \\[1, 2\\]"),
        (pd.DataFrame({"a,b": [1]}), "a column's name must be text without commas, quotes and line ends, got 'a,b'"),
        (pd.DataFrame({0: [1]}), "a column's name must be text .*, got 0"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "the columns' names must be distinct, got \\['a', 'a'\\]"),
        (pd.DataFrame({"a": [True, 2.0]}), "column 'a' must be all text, all numbers or all truth values, got bool, float"),
        (pd.DataFrame({"a": ["x", 2.0]}), "column 'a' must be all text, .*, got float, str"),
        (pd.DataFrame({"a": [True, None]}), "column 'a' must be all text, .*, got NoneType, bool"),
        (pd.DataFrame({"a": [None]}), "column 'a' must be all text, .*, got NoneType"),
        (pd.DataFrame({"a": [1j]}), "column 'a' must be all text, .*, got complex"),
        (pd.DataFrame({"a": pd.to_datetime(["2026-01-01"])}), "column 'a' must be all text, .*, got Timestamp"),
    ],
)
def test_what_a_frame_may_not_hold_is_refused(bad: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_csv(bad)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "csv must be complete rows of 1 entries, got 0 rows"),
        ("a,b\n", "csv must be complete rows of 2 entries, got 0 rows"),
        ("a,b\n1,2\n3", "csv must be complete rows of 2 entries, got 1 rows and then '3'"),
        ("a,b\n1,2\n3\n", "csv must be complete rows of 2 entries"),
        ('a\n"x', "csv must be complete rows of 1 entries"),
        ('a\n"x"y\n', "csv must be complete rows of 1 entries"),
        ('a\n"x"\n1\n', "column 'a' of the csv must be all text, all numbers or all truth values"),
        ("a\nx\n", "column 'a' of the csv must be all text, all numbers or all truth values"),
        ("a\n99999999999999999999\n", "column 'a' of the csv must be all text, all numbers or all truth values"),
    ],
)
def test_a_csv_that_is_not_whole_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_csv(text)


def counted(result: pd.DataFrame) -> tuple[Callable[[], pd.DataFrame], list[int]]:
    calls: list[int] = []

    def compute() -> pd.DataFrame:
        calls.append(1)
        return result

    return compute, calls


def test_a_finished_cell_is_not_computed_again_and_reads_the_same(tmp_path: Path) -> None:
    compute, calls = counted(frame())
    fresh = Store(tmp_path).fetch(DETERMINANTS, compute)
    kept = Store(tmp_path).fetch(dict(reversed(DETERMINANTS.items())), compute)
    assert (fresh.computed, kept.computed, len(calls)) == (True, False, 1)
    assert to_csv(fresh.frame) == to_csv(kept.frame) == to_csv(frame())
    pd.testing.assert_frame_equal(fresh.frame, kept.frame)
    assert (fresh.compile, fresh.run) == (kept.compile, kept.run)


@pytest.mark.parametrize("change", [{"cell": {"d": 4}}, {"key": [1, 3]}, {"experiment": "other"}, {"source": "edited"}])
def test_whatever_determines_a_cell_makes_another_cell(tmp_path: Path, change: dict[str, object]) -> None:
    compute, calls = counted(frame())
    Store(tmp_path).fetch(DETERMINANTS, compute)
    Store(tmp_path).fetch({**DETERMINANTS, **change}, compute)
    assert len(calls) == 2


def damages() -> dict[str, Callable[[Path], object]]:
    def halve(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def altered(path: Path) -> None:
        path.write_text(path.read_text().replace("0.1,", "0.2,"))

    def another(path: Path) -> None:
        content = json.loads(path.read_text())
        content["determinants"]["cell"] = {"d": 99}
        path.write_text(json.dumps(content))

    return {
        "truncated": halve,
        "empty": lambda path: path.write_bytes(b""),
        "no text": lambda path: path.write_bytes(os.urandom(200)),
        "another JSON": lambda path: path.write_text("[]"),
        "a number changed": altered,
        "of another cell": another,
    }


@pytest.mark.parametrize("damage", damages().values(), ids=damages().keys())
def test_a_damaged_cell_is_computed_again_with_a_note(
    tmp_path: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    compute, calls = counted(frame())
    Store(tmp_path).fetch(DETERMINANTS, compute)
    (path,) = (tmp_path / "cells" / "demo").glob("*.json")
    whole = json.loads(path.read_text())["csv"]
    damage(path)
    again = Store(tmp_path).fetch(DETERMINANTS, compute)
    assert again.computed
    assert len(calls) == 2
    assert json.loads(path.read_text())["csv"] == whole
    assert [record.getMessage().count("\n") for record in caplog.records] == [0]
    assert "computing it again" in caplog.text


@pytest.mark.parametrize("name", ["../outside", "a/b", "", None, "with space"])
def test_an_experiment_that_is_no_plain_name_is_refused(tmp_path: Path, name: object) -> None:
    with pytest.raises(ValueError, match="the experiment of a cell must be a plain name, got"):
        Store(tmp_path).fetch({"experiment": name}, frame)


def test_a_cell_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> pd.DataFrame:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Store(tmp_path).fetch(DETERMINANTS, fail)
    assert not list(tmp_path.rglob("*.json"))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_write_replaces_the_whole_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "a.txt", "ä" * 1000)
    write(tmp_path / "deep" / "a.txt", b"short")
    assert (tmp_path / "deep" / "a.txt").read_bytes() == b"short"
    assert files(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    write(tmp_path / "a.txt", "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(Unwritable, match=r"^cannot write .*a\.txt: No space left on device$"):
        write(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert files(tmp_path) == ["a.txt"]


def test_a_folder_that_cannot_be_made_is_one_line() -> None:
    with pytest.raises(Unwritable, match=r"^cannot write /dev/null/x/cells/\.gitignore: Not a directory$"):
        Store("/dev/null/x").prepare()


def test_prepare_sweeps_out_old_remains_and_only_those(tmp_path: Path) -> None:
    store = Store(tmp_path)
    compute, _ = counted(frame())
    store.fetch(DETERMINANTS, compute)
    old = [tmp_path / f".a.csv.{'0' * 32}.tmp", tmp_path / "cells" / "demo" / f".b.json.{'1' * 32}.tmp"]
    new, foreign = tmp_path / f".c.csv.{'2' * 32}.tmp", [tmp_path / "notes.tmp", tmp_path / ".notes.tmp"]
    for path in [*old, new, *foreign]:
        path.write_text("half")
    past = time.time() - ABANDONED - 60
    for path in [*old, *foreign]:
        os.utime(path, (past, past))
    store.prepare()
    assert [path.exists() for path in [*old, new, *foreign]] == [False, False, True, True, True]
    assert (tmp_path / "cells" / ".gitignore").read_text() == "*\n"
    assert not store.fetch(DETERMINANTS, compute).computed


def test_many_writers_and_readers_never_see_a_partial_file(tmp_path: Path) -> None:
    """Every read, at any moment, finds one writer's whole content."""
    path, contents = tmp_path / "a.txt", [character * 200_000 for character in "abcd"]
    write(path, contents[0])
    stop = threading.Event()

    def read() -> int:
        seen = 0
        while not stop.is_set():
            assert path.read_text() in contents
            seen += 1
        return seen

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for writer in [pool.submit(write, path, content) for content in contents * 5]:
            writer.result()
        stop.set()
        assert sum(reader.result() for reader in readers) > 0
    assert files(tmp_path) == ["a.txt"]


def test_publishing_is_exclusive(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.prepare()
    inside: list[int] = []

    def publish(number: int) -> None:
        with store.publishing():
            inside.append(number)
            time.sleep(0.01)
            assert inside.pop() == number
            assert not inside

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(publish, number) for number in range(8)]:
            done.result()


def test_the_stopwatch_tells_compiling_from_running() -> None:
    with Stopwatch() as compiling:
        jax.jit(lambda x: sum(x * i for i in range(40)))(1.0)
    with Stopwatch() as sleeping:
        time.sleep(0.02)
    assert compiling.compile > 0
    assert sleeping.compile == 0
    assert sleeping.run >= 0.02
