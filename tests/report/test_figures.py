import subprocess
import sys
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from theory_lab.claims import Verdict
from theory_lab.report import band, house, legend, look, new_figure, theory_line, title_with_verdicts
from theory_lab.report.figures import LOOKS, log_log, log_x, png, points

GROUPS = (
    ("first_order", "zeroth_order", "hybrid"),
    ("random_reshuffling", "shuffle_once", "incremental", "with_replacement"),
    ("gaussian", "rademacher", "sphere"),
)
HOLDS = Verdict("c", "s", "at most", 1.0, 0.5, 0.4, 0.6, 64, "holds", "holds", 0.6, "within")

# Linear RGB as seen by people who lack one kind of cone: Viénot, Brettel and Mollon 1999 (protanopia, deuteranopia), and for
# tritanopia one half-plane of Brettel, Viénot and Mollon 1997.
VISION = {
    "usual": np.eye(3),
    "protanopia": np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
    "deuteranopia": np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
    "tritanopia": np.array([[1.01277, 0.13548, -0.14826], [-0.01243, 0.86812, 0.14431], [0.07589, 0.80500, 0.11911]]),
}


def lab(colour: str, vision: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of a colour as seen with a kind of vision."""
    srgb = np.array(to_rgb(colour))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(vision @ linear, 0, 1)
    xyz = (
        np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
        @ seen
    )
    t = xyz / np.array([0.95047, 1.0, 1.08883])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION.values(), ids=VISION.keys())
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group[0])
def test_looks_of_a_group_stay_apart_for_every_kind_of_colour_vision(group: tuple[str, ...], vision: np.ndarray) -> None:
    """A CIE76 distance of 2.3 is just noticeable side by side; thin lines apart want ten times that."""
    for one, other in combinations(group, 2):
        assert np.linalg.norm(lab(LOOKS[one].colour, vision) - lab(LOOKS[other].colour, vision)) > 10 * 2.3, (one, other)


def test_every_look_has_a_marker_of_its_own_and_a_colour_of_its_own_in_its_group() -> None:
    assert sorted(LOOKS) == sorted(name for group in GROUPS for name in group)
    assert len({each.marker for each in LOOKS.values()}) == len(LOOKS)
    for group in GROUPS:
        assert len({look(name).colour for name in group}) == len(group)


def test_an_unknown_look_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^name must be one of .*, got 'hybrit' \(did you mean 'hybrid'\?\)"):
        look("hybrit")
    with pytest.raises(ValueError, match=r"^ordering must be one of .*, got 'sorted'"):
        look("hybrid", "sorted")


def drawn() -> bytes:
    x = np.array([2.0, 1.0, 3.0])
    with house():
        figure, axes = new_figure(1, 2)
        band(axes[0, 0], x, x**2, x**2 - 0.5, x**2 + 0.5, like="hybrid")
        band(axes[0, 1], x, [1.0, np.inf, np.nan], like=look("hybrid", "incremental"), label="")
        theory_line(axes[0, 0], [1, 3], [1, 9])
        legend(axes[0, 0])
        title_with_verdicts(figure, "A title", [HOLDS])
    return png(figure)


def test_equal_figures_have_equal_bytes_whatever_the_users_settings_are() -> None:
    first = drawn()
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "savefig.dpi": 40}):
        assert drawn() == first
    assert first.startswith(b"\x89PNG")
    assert b"tIME" not in first
    assert b"Software" not in first


def test_drawing_changes_no_setting_and_needs_no_pyplot() -> None:
    before = dict(matplotlib.rcParams)
    drawn()
    with house():
        assert matplotlib.rcParams["axes.spines.top"] is False
    assert dict(matplotlib.rcParams) == before
    code = "import sys, theory_lab.report, theory_lab.report.page; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_band_is_sorted_coloured_and_broken_where_the_run_diverged() -> None:
    _, axes = new_figure()
    band(axes[0, 0], [3.0, 1.0, 2.0], [30.0, 10.0, np.inf], [29.0, 9.0, 19.0], [31.0, 11.0, np.inf], like="zeroth_order")
    line = axes[0, 0].lines[0]
    assert list(line.get_xdata()) == [1.0, 2.0, 3.0]
    np.testing.assert_array_equal(line.get_ydata(), [10.0, np.nan, 30.0])
    assert (line.get_color(), line.get_marker(), line.get_label()) == ("#D55E00", "s", "zeroth order")
    (interval,) = axes[0, 0].collections
    assert interval.get_facecolor()[0][:3] == pytest.approx(to_rgb("#D55E00"))


@pytest.mark.parametrize("arrays", [([1.0, 2.0], [1.0]), ([1.0], [1.0], [0.5]), ([[1.0]], [[1.0]])])
def test_a_band_of_unequal_arrays_is_refused(arrays: tuple[list[float], ...]) -> None:
    _, axes = new_figure()
    with pytest.raises(ValueError, match="x, value, low, high must be of one length, low and high together, got"):
        band(axes[0, 0], *arrays, like="hybrid")


def test_theory_is_a_black_line_and_the_verdict_stands_in_the_title() -> None:
    figure, axes = new_figure(2, 1, height=4.0)
    theory_line(axes[0, 0], [0, 1], [0, 1], line="--")
    theory_line(axes[0, 0], [0, 1], [0, 2], label="")
    band(axes[0, 0], [0.0, 1.0], [0.0, 1.0], like="hybrid")
    legend(axes[0, 0], below=True)
    title_with_verdicts(figure, "A title", [HOLDS, HOLDS])
    assert axes[0, 0].lines[0].get_color() == "black"
    assert [text.get_text() for text in axes[0, 0].get_legend().get_texts()] == ["hybrid", "theory"]
    assert figure.get_suptitle() == "A title\nholds 2 · fails 0 · undecided 0"
    assert tuple(figure.get_size_inches()) == (8.4, 4.0)


def test_points_have_bars_and_may_be_hollow() -> None:
    _, axes = new_figure()
    points(axes[0, 0], [1.0, 2.0], [10.0, 20.0], [9.0, 15.0], [12.0, np.inf], like="hybrid")
    points(axes[0, 0], 3.0, 5.0, like="hybrid", label="", hollow=True)
    (full, _, (bars,)), (hollow, _, none) = axes[0, 0].containers
    assert bars.get_segments()[0][:, 1].tolist() == [9.0, 12.0]
    assert full.get_markerfacecolor() == hollow.get_markeredgecolor() == LOOKS["hybrid"].colour
    assert (hollow.get_markerfacecolor(), hollow.get_xydata().tolist(), none) == ("white", [[3.0, 5.0]], ())
    assert [container.get_label() for container in axes[0, 0].containers] == ["hybrid", "_nolegend_"]
    with pytest.raises(ValueError, match="low and high together"):
        points(axes[0, 0], [1.0], [2.0], [1.0], like="hybrid")


def test_log_log_axes_are_marked_at_the_given_places_alone() -> None:
    figure, axes = new_figure()
    axes[0, 0].plot([3, 48], [1, 10])
    log_log(axes[0, 0], [48, 3, 12.0, 3])
    figure.draw_without_rendering()
    assert [label.get_text() for label in axes[0, 0].get_xticklabels(which="both") if label.get_text()] == ["3", "12", "48"]
    assert axes[0, 0].get_yscale() == "log"


def test_a_logarithmic_axis_of_less_than_a_decade_has_plain_numbers() -> None:
    figure, axes = new_figure()
    axes[0, 0].plot([0.15, 0.7], [1, 10])
    log_x(axes[0, 0])
    figure.draw_without_rendering()
    texts = [label.get_text() for label in axes[0, 0].get_xticklabels(which="both") if label.get_text()]
    assert {"0.2", "0.5"} <= set(texts)
    assert all(text.replace(".", "").isdigit() for text in texts)
