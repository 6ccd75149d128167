"""Curves of pretraining: what is drawn is what the folder says; what is not a curve is refused by its path."""

import numpy as np
import pytest

from theory_lab.finetune import bases
from theory_lab.report import pretraining

FOLDER = bases.PACKAGED / "tiny-opt"


def test_the_lines_are_the_curves():
    (axes,) = pretraining.draw([FOLDER, bases.PACKAGED / "tiny-llama"]).axes
    rows = pretraining.read(FOLDER)
    assert np.array_equal(axes.lines[0].get_xydata(), rows[["tokens", "held_out_perplexity"]].to_numpy())
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert told[0] == f"tiny-opt: {rows.held_out_perplexity.iloc[-1]:.1f}"
    assert len(told) == len(axes.lines) == 2


def test_the_command_writes_a_picture(tmp_path, capsys):
    pretraining.main([str(FOLDER), "--out", str(tmp_path / "curves.png")])
    assert (tmp_path / "curves.png").read_bytes()[1:4] == b"PNG"
    with pytest.raises(SystemExit):
        pretraining.main([str(tmp_path), "--out", str(tmp_path / "none.png")])
    assert "folder must be one with a curve.csv, as pretraining writes it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("step,tokens\n1,2\n", "one without held_out_perplexity"),
        ("step,tokens,held_out_perplexity\n", "a table with rows, got"),
    ],
)
def test_a_broken_curve_is_refused_by_its_path(tmp_path, content, told):
    (tmp_path / "curve.csv").write_text(content)
    with pytest.raises(ValueError, match=rf"curve.csv must be .*{told}"):
        pretraining.read(tmp_path)


@pytest.mark.parametrize("folders", [[], [FOLDER] * 6, str(FOLDER)])
def test_folders_are_one_to_five(folders):
    with pytest.raises(ValueError, match=r"^folders must be one to 5 folders, got"):
        pretraining.draw(folders)
