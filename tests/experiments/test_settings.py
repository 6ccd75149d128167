"""How the settings of an experiment are read from the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from experiments import _cells, _settings


@dataclass(frozen=True)
class Settings:
    name: str = "a"
    many: int = 1
    much: float = 1.0
    full: bool = True
    which: Literal["up", "down"] = "up"
    file: str | None = None
    ranks: tuple[int, ...] = (1,)
    words: tuple[str, ...] = ("a",)
    span: tuple[float, float] = (1.0, 2.0)
    groups: tuple[tuple[str, ...], ...] = (("a",),)
    kinds: tuple[tuple[Literal["up", "down"], int], ...] = (("up", 1),)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("name=b=c", "b=c"),
        ("name=none", "none"),
        ("many=7", 7),
        ("many=-7", -7),
        ("much=1e-3", 1e-3),
        ("full=false", False),
        ("full=True", True),
        ("which=down", "down"),
        ("file=none", None),
        ("file=here", "here"),
        ("ranks=1,8,64", (1, 8, 64)),
        ("ranks=[1, 8]", (1, 8)),
        ("words=tiny-opt,tiny-llama", ("tiny-opt", "tiny-llama")),
        ('words=["a,b"]', ("a,b",)),
        ("span=1,4.5", (1.0, 4.5)),
        ('groups=[["a", "b"], ["c"]]', (("a", "b"), ("c",))),
        ('kinds=[["down", 3]]', (("down", 3),)),
    ],
)
def test_values_are_of_the_type_of_their_field(text: str, value: Any) -> None:
    given = _settings.pairs([text])
    (field,) = given
    found = getattr(_settings.changed("alpha", Settings(), given), field)
    assert (found, type(found)) == (value, type(value))
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name=", "alpha: name must be a non-empty text, got ''"),
        (f"many={2**31}", f"alpha: many must be a whole number of a size below 2^31, got '{2**31}'"),
        (f"many=-{10**400}", f"alpha: many must be a whole number of a size below 2^31, got '-{10**400}'"),
        ("many=1.5", "alpha: many must be a whole number, got '1.5'"),
        ("much=big", "alpha: much must be a finite real number, got 'big'"),
        ("much=nan", "alpha: much must be a finite real number, got 'nan'"),
        ("much=-inf", "alpha: much must be a finite real number, got '-inf'"),
        ("full=1", "alpha: full must be true or false, got '1'"),
        ("which=dwn", "alpha: which must be one of 'up', 'down', got 'dwn' (did you mean 'down'?)"),
        ("ranks=", "alpha: ranks must be one or more values with commas between, each a whole number, got ''"),
        ("ranks=[]", "alpha: ranks must be one or more values with commas between, each a whole number, got '[]'"),
        ("ranks=1,b", "alpha: ranks[1] must be a whole number, got 'b'"),
        ("ranks=[1, true]", "alpha: ranks[1] must be a whole number, got 'true'"),
        ("ranks=[1,", "alpha: ranks must be one or more values with commas between, each a whole number, got '[1,'"),
        ("span=1", "alpha: span must be 2 values with commas between, got '1'"),
        ("groups=a,b", "alpha: groups must be a non-empty list of lists in JSON, got 'a,b'"),
        ('groups=["a"]', "alpha: groups[0] must be a list in JSON, got '[\"a\"]'"),
        ('groups=[["a", ""]]', "alpha: groups[0][1] must be a non-empty text, got ''"),
        ('kinds=[["left", 3]]', "alpha: kinds[0][0] must be one of 'up', 'down', got 'left'"),
        ("bases=a", "alpha: the field of --set must be one of 'name', "),
    ],
)
def test_what_is_not_of_its_type_is_refused_by_experiment_field_rule_and_value(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        _settings.changed("alpha", Settings(), _settings.pairs([text]))
    assert str(caught.value).startswith(message)


def test_nothing_given_changes_nothing() -> None:
    assert _settings.changed("alpha", None, {}) is None


def test_places_are_what_exists_and_has_a_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    given = _settings.pairs(["words=tiny,./big,not/there", "name=tiny"])
    found = _settings.changed("alpha", Settings(), given)
    assert found.words == ("tiny", str(tmp_path / "big"), "not/there")
    assert _settings.places(found, given) == {"big": str(tmp_path / "big")}


@pytest.mark.parametrize("folders", [("one/big", "two/big"), ("one/data",)])
def test_places_of_one_name_are_refused(tmp_path: Path, folders: tuple[str, ...]) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    given = {"words": ",".join(str(tmp_path / folder) for folder in folders)}
    with pytest.raises(ValueError, match="alpha: the places of --set must be files or folders of different names, none of"):
        _settings.changed("alpha", Settings(), given)


def test_a_place_within_another_keeps_its_own_name() -> None:
    cell = {"a": "/m/opt", "b": "/m/opt/two", "c": "/m/opt/file"}
    assert _cells.placeless(cell, (("opt", "/m/opt"), ("two", "/m/opt/two"))) == {
        "a": "<opt>",
        "b": "<two>",
        "c": "<opt>/file",
    }


def test_every_file_of_a_place_and_of_its_folders_counts(tmp_path: Path) -> None:
    found = []
    for file, content in (("a", "1"), ("sst2/a", "1"), ("sst2/a", "2"), (".git/a", "1"), ("sst2/.a", "1")):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(content)
        found.append(_cells.place_digest(tmp_path))
    assert len(set(found[:3])) == 3
    assert found[2] == found[3] == found[4]
