"""What the runner keeps of throw-away experiments: what determines a cell, and what is left when a run is cut off."""

import errno
import os
import random
import signal
import time
from pathlib import Path

import jax
import pytest

from experiments import _cells
from tests.experiments.lab import Lab, finished, one_line, running, wait_for
from theory_lab.report import tables
from theory_lab.run.store import sha256

BEGIN, END = tables.markers("statements")

# Randomness and what determines a cell


def test_the_key_of_a_cell_depends_on_seed_experiment_and_cell_alone() -> None:
    def words(seed: int, experiment: str, cell: dict[str, object]) -> tuple[int, ...]:
        return tuple(jax.random.key_data(_cells.cell_key(seed, experiment, cell)).tolist())

    first = words(0, "alpha", {"d": 3, "law": "sphere"})
    assert first == words(0, "alpha", {"law": "sphere", "d": 3})
    others = [
        (1, "alpha", {"d": 3, "law": "sphere"}),
        (0, "beta", {"d": 3, "law": "sphere"}),
        (0, "alpha", {"d": 4, "law": "sphere"}),
    ]
    assert len({first, *(words(*other) for other in others)}) == 4


def test_cells_that_differ_in_paired_fields_alone_share_a_key_and_are_kept_apart(lab: Lab) -> None:
    lab.add("alpha", pieces=2)
    lab.run()
    assert len(set(values(lab))) == 10
    lab.computed()
    with (lab.folder / "alpha.py").open("a") as source:
        source.write("\nPAIRED = ('index',)\n")
    lab.run()
    assert lab.computed() == [0, 1]
    assert values(lab)[:5] == values(lab)[5:]
    assert lab.kept("alpha") == {0, 1}


def values(lab: Lab) -> list[str]:
    """The random numbers of all cells, one after the other."""
    return [line.split(",")[1] for line in lab.csv("alpha").decode().splitlines()[1:]]


def test_adding_a_cell_changes_no_other_and_computes_only_itself(lab: Lab) -> None:
    lab.add("alpha", pieces=3)
    lab.run()
    before = lab.csv("alpha")
    assert lab.computed() == [0, 1, 2]
    lab.run()
    assert lab.computed() == []
    assert lab.csv("alpha") == before
    lab.run("--profile", "full", "--out", str(lab.out))
    assert lab.computed() == [3]
    assert lab.csv("alpha").startswith(before)


def test_another_seed_or_another_source_computes_anew_and_a_comment_elsewhere_does_not(lab: Lab) -> None:
    lab.add("alpha")
    lab.add("beta")
    lab.run()
    first = lab.csv("alpha")
    lab.computed()
    lab.run("alpha", "--seed", "1")
    assert lab.computed() == [0, 1, 2]
    assert lab.csv("alpha") != first
    with (lab.folder / "beta.py").open("a") as source:
        source.write("# another\n")
    lab.run("--seed", "0")
    assert lab.computed() == [0, 1, 2]
    assert lab.csv("alpha") == first
    (lab.folder / "_shared.py").write_text("")
    lab.run("alpha")
    assert lab.computed() == [0, 1, 2]


def test_the_library_counts_and_its_reports_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name, content in (("a.py", "1"), ("report/page.py", "1"), ("report/page.py", "2"), ("a.py", "2"), ("run/b.py", "1")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
        monkeypatch.setattr(_cells.theory_lab, "__path__", [str(tmp_path)])
        found.append(_cells._library())
    assert found[0] == found[1] == found[2]
    assert len(set(found)) == 3


def test_the_users_data_count_by_content_not_by_place(lab: Lab) -> None:
    lab.add("alpha", field="data: str | None = None", cell=', "file": f"{settings.data}/a.txt"')
    bytes_of = {}
    for place, content in (("here", "1 1:2"), ("there", "1 1:2"), ("elsewhere", "1 1:3")):
        (lab.home / place).mkdir()
        (lab.home / place / "a.txt").write_text(content)
        assert lab.run("--data", place)[0] == 0
        bytes_of[place] = (lab.csv("alpha"), len(lab.computed()))
        assert str(lab.home) not in (lab.out / "alpha.json").read_text()
    assert [count for _, count in bytes_of.values()] == [3, 0, 3]
    assert len({csv for csv, _ in bytes_of.values()}) == 1  # the fake does not read it, so the keys alone decide


# Settings from the command line


def test_a_setting_can_be_given_and_the_record_tells_it(lab: Lab) -> None:
    lab.add("alpha")
    assert lab.run("alpha", "--set", "pieces=5")[0] == 0
    assert lab.computed() == [0, 1, 2, 3, 4]
    assert lab.record("alpha")["settings"] == {"pieces": 5}
    assert lab.record("alpha")["places_sha256"] == {}
    before = lab.csv("alpha")
    lab.run("alpha", "--set", "pieces=3")
    assert lab.computed() == []
    assert before.startswith(lab.csv("alpha"))


def test_what_a_setting_says_decides_the_keys_of_the_cells(lab: Lab) -> None:
    lab.add("alpha", pieces=1, field='base: str = "tiny"', cell=', "base": settings.base')
    found = []
    for base in ("tiny", "small", "tiny"):
        lab.run("alpha", "--set", f"base={base}")
        found.append((lab.csv("alpha"), len(lab.computed())))
    assert [count for _, count in found] == [1, 1, 0]
    assert found[0][0] == found[2][0] != found[1][0]


def test_a_folder_that_a_setting_names_counts_by_name_and_content_not_by_place(lab: Lab) -> None:
    lab.add("alpha", pieces=1, field='base: str = "tiny"', cell=', "base": settings.base')
    found = []
    for place, content in (("here/big", "1"), ("there/big", "1"), ("elsewhere/big", "2"), ("here/bigger", "1")):
        (lab.home / place).mkdir(parents=True)
        (lab.home / place / "weights").write_text(content)
        assert lab.run("alpha", "--set", f"base={place}")[0] == 0
        found.append((lab.csv("alpha"), len(lab.computed()), lab.record("alpha")["places_sha256"]))
        assert lab.record("alpha")["settings"]["base"] == f"<{Path(place).name}>"
        assert str(lab.home) not in (lab.out / "alpha.json").read_text()
    assert [count for _, count, _ in found] == [1, 0, 1, 1]
    assert found[0][0] == found[2][0] != found[3][0]  # the fake does not read it, so the keys alone decide
    assert found[0][2] == found[1][2] != found[2][2]


def test_other_settings_do_not_replace_the_published_figures(lab: Lab) -> None:
    lab.add("alpha")
    (lab.home / "README.md").write_text(f"# Lab\n{BEGIN}\nold\n{END}\nrest\n")
    assert lab.run("--profile", "full", "--set", "pieces=2")[0] == 0
    assert (lab.home / "results" / "alpha.csv").is_file()
    assert not (lab.home / "figures").exists()
    assert "old" in (lab.home / "README.md").read_text()


def test_a_broken_experiment_says_so_in_its_turn_also_where_settings_are_given(lab: Lab) -> None:
    lab.add("alpha")
    (lab.folder / "broken.py").write_text("this is no Python")
    code, _, err = lab.run("--set", "pieces=1")
    assert code == 1
    assert one_line(err, starts="stopped with SyntaxError")


# Trouble with the disk, with other runs, and with being killed


def test_a_folder_that_cannot_be_written_is_one_line_before_anything_is_computed(lab: Lab) -> None:
    lab.add("alpha")
    code, out, err = lab.run("--out", "/dev/null/x")
    assert code == 2
    assert one_line(err, starts="cannot write /dev/null/x/cells/.gitignore: Not a directory")
    assert out == ""
    assert lab.computed() == []


@pytest.mark.parametrize("what", ["cells/alpha", "alpha.csv", "alpha.png", "alpha.json", "index.html", "alpha.log"])
def test_a_full_disk_is_one_line_wherever_it_strikes(lab: Lab, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    lab.add("alpha", raising="raise ZeroDivisionError" if what == "alpha.log" else "")
    rename = os.replace

    def full(source: Path, target: Path) -> None:
        if what in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        code, _, err = lab.run()
    assert code == 2
    assert one_line(err, starts=f"cannot write {lab.out / what}")
    assert "No space left on device" in err
    assert not list(lab.out.rglob("*.tmp"))
    assert lab.run()[0] == (1 if what == "alpha.log" else 0)


def test_a_run_killed_at_any_moment_resumes_and_ends_with_the_same_bytes(lab: Lab) -> None:
    """Killed three times, at random moments; each next run computes none of the cells that were finished."""
    lab.add("alpha", pieces=30, seconds=0.03)
    lab.run("--out", str(lab.home / "undisturbed"))
    lab.computed()
    kept: set[int] = set()
    for _ in range(3):
        process = lab.start()
        wait_for(lab.log.exists)
        time.sleep(random.uniform(0, 0.3))
        process.kill()
        finished(process)
        begun = set(lab.computed())
        assert not begun & kept
        assert kept <= lab.kept("alpha") <= kept | begun
        kept = lab.kept("alpha")
    code, out, _ = lab.run()
    assert code == 0
    assert set(lab.computed()) == set(range(30)) - kept
    assert f"30 cells, {len(kept)} of them kept from before" in out
    for end in ("csv", "png"):
        assert (lab.out / f"alpha.{end}").read_bytes() == (lab.home / "undisturbed" / f"alpha.{end}").read_bytes()


def test_two_runs_in_one_folder_at_once_do_no_harm(lab: Lab) -> None:
    lab.add("alpha", pieces=12, seconds=0.03)
    lab.run("--out", str(lab.home / "alone"))
    lab.computed()
    other = lab.start()
    wait_for(lab.log.exists)
    assert lab.run()[0] == 0
    assert finished(other)[0] == 0
    assert len(lab.computed()) >= 12
    assert lab.kept("alpha") == set(range(12))
    assert lab.record("alpha")["csv_sha256"] == sha256(lab.csv("alpha"))
    assert not list(lab.out.rglob("*.tmp"))
    assert lab.csv("alpha") == (lab.home / "alone" / "alpha.csv").read_bytes()


def test_ctrl_c_is_one_line_and_the_finished_cells_stay(lab: Lab) -> None:
    lab.add("alpha", pieces=30, seconds=0.1)
    process = lab.start()
    wait_for(lambda: len(lab.kept("alpha")) >= 2)
    process.send_signal(signal.SIGINT)
    code, _, err = finished(process)
    assert code == 130
    assert one_line(err, starts=f"interrupted; finished cells are kept in {lab.out / 'cells'} and not computed again")
    assert len(lab.kept("alpha")) >= 2


def test_worker_processes_leave_with_a_killed_parent_and_give_the_same_bytes(lab: Lab) -> None:
    lab.add("alpha", pieces=8, seconds=0.1)
    process = lab.start("--executor", "process:1")
    wait_for(lambda: len(lab.kept("alpha")) >= 1)
    workers = {int(line.split()[1]) for line in lab.log.read_text().splitlines()}
    assert process.pid not in workers
    process.kill()
    finished(process)
    wait_for(lambda: not any(map(running, workers)))
    lab.computed()
    kept = lab.kept("alpha")
    assert len(kept) < 8
    assert lab.run("--executor", "process:2")[0] == 0
    assert set(lab.computed()) == set(range(8)) - kept
    parallel = lab.csv("alpha")
    lab.out = lab.home / "serial"
    assert lab.run()[0] == 0
    assert lab.csv("alpha") == parallel


def test_experiments_at_once_give_the_same_bytes_and_tell_what_stopped(lab: Lab) -> None:
    for name in ("alpha", "beta", "zeta"):
        lab.add(name, pieces=2, seconds=0.1)
    with (lab.folder / "beta.py").open("a") as source:
        source.write("\n\nALONE = True\n")
    (lab.folder / "broken.py").write_text("this is no Python")
    code, out, err = lab.run("--executor", "experiments:2")
    assert code == 1
    assert "stopped with SyntaxError" in err
    assert [line.partition(":")[0] for line in out.splitlines() if "Does the mean" in line] == ["zeta", "alpha", "beta"]
    computed = [line.split() for line in lab.log.read_text().splitlines()]
    home = {int(pid) for piece, pid in computed[-2:]}
    assert home == {os.getpid()}  # beta, alone and here, after the others
    assert len({pid for _, pid in computed}) >= 2
    parallel = {name: lab.csv(name) for name in ("alpha", "beta", "zeta")}
    lab.out = lab.home / "serial"
    lab.run()
    assert {name: lab.csv(name) for name in parallel} == parallel
