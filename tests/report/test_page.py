import html.parser
import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from theory_lab.report.page import page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--allow-file-access-from-files", "--enable-logging=stderr"),
)
VOID = {"meta", "link", "img", "br", "input", "hr"}

# What a frame of a given width shows of the page, written into the title of the page around it.
PROBE = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe src="index.html" width="1280" height="900"></iframe><iframe src="index.html" width="390" height="844"></iframe>
<script>
addEventListener("load", () => {
  const seen = [...document.querySelectorAll("iframe")].map((frame) => {
    const view = frame.contentWindow, page = view.document;
    page.querySelectorAll("details").forEach((details) => { details.open = true; });
    const sortable = page.querySelector("table.sortable");
    const column = () => sortable ? [...sortable.tBodies[0].rows].map((row) => row.cells[4].dataset.value) : [];
    sortable?.tHead.rows[0].cells[4].querySelector("button").click();
    const ascending = column();
    sortable?.tHead.rows[0].cells[4].querySelector("button").click();
    return {
      width: view.innerWidth,
      scroll: Math.max(page.documentElement.scrollWidth, page.body.scrollWidth),
      images: [...page.images].map((image) => image.naturalWidth),
      shown: [...page.images].map((image) => image.getBoundingClientRect().width),
      pans: [...page.querySelectorAll(".pan")].filter((pan) => pan.scrollWidth > pan.clientWidth).length,
      background: view.getComputedStyle(page.body).backgroundColor,
      heading: page.querySelector("h1")?.getBoundingClientRect().height,
      ascending, descending: column(),
    };
  });
  document.title = JSON.stringify(seen);
});
</script>"""


class Outline(html.parser.HTMLParser):
    """The elements of a page: that they nest, their links, ids and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag: str, attribute: str) -> list[str]:
        return [found[attribute] or "" for name, found in self.elements if name == tag and attribute in found]


def dead_links(folder: Path, text: str) -> list[str]:
    """What the page points to and is not there, next to it or in it; anything on the network counts as dead."""
    outline = Outline(text)
    ids = {found["id"] for _, found in outline.elements if "id" in found}
    targets = {
        *outline.all("a", "href"),
        *outline.all("img", "src"),
        *outline.all("script", "src"),
        *outline.all("link", "href"),
    }
    return sorted(
        target
        for target in targets - {"data:,"}
        if not (unquote(target[1:]) in ids if target.startswith("#") else (folder / unquote(target)).is_file())
    )


def seen_in_chromium(folder: Path, text: str, profile: Path, *flags: str) -> tuple[list[dict], list[str]]:
    """What the probe found in frames of 1280 and 390 pixels, and everything that came on the console."""
    folder.joinpath("index.html").write_text(text)
    folder.joinpath("probe.html").write_text(PROBE)
    address = (folder / "probe.html").as_uri()
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "--window-size=1800,1000", *flags, "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    title = re.search("<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title, done.stderr
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return json.loads(title[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")), console


chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture
def folder(results: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(results, tmp_path / "results"))


def test_the_page_says_everything_without_scripts_and_network(results: Path) -> None:
    text = page(results, ["reshuffling_floor"])
    outline = Outline(text)
    assert dead_links(results, text) == []
    assert "http" not in re.sub("<style>.*?</style>", "", text, flags=re.DOTALL)
    for said in (
        "23 claims from 3 experiments: holds 19 · fails 2 (1 expected, 1 unexpected) · undecided 2.",
        "1 outcome contrary to expectation",
        "Do RR, SO, IG and WR stop where their exact laws say?",
        "Metric: the average over epoch starts, as in Theorem 2.",
        "0.2031 [0.1987, 0.2075]",
        "expected: the bound has no d_y",
        "diverged at epoch 12 <of> 40",
        "1b0f5e2a9c-dirty",
        "A processor with quite a long name",
        '"b": "Infinity"',
        "python -m experiments reshuffling_floor --profile full --seed 7",
        "the latest attempt to run it stopped with an error",
    ):
        assert said in outline.text, said
    headings = [found["id"] for tag, found in outline.elements if tag == "section" and "id" in found]
    assert headings == ["reshuffling_floor", "oracle_moments", "stability_map", "all-claims"]


def with_formulas(folder: Path) -> None:
    """An experiment whose docstring holds aligned formulas, wider than a telephone, and a list."""
    path = folder / "oracle_moments.json"
    made = json.loads(path.read_text(encoding="utf-8"))
    formula = "    gaussian    E|g|^2 <= " + "(d+q+1)|g|^2+" * 12 + "0\n    sphere      E|g|^2 = 0"
    made["about"] = f"In words,\n\n{formula}\n\n- one `thing`,\n  still one\n- another\n\nso much."
    path.write_text(json.dumps(made), encoding="utf-8")


def test_formulas_keep_their_columns_and_lists_their_items(folder: Path) -> None:
    with_formulas(folder)
    text = page(folder)
    assert '<pre tabindex="0">gaussian    E|g|^2 &lt;= (d' in text
    assert "0\nsphere      E|g|^2 = 0</pre>" in text
    assert "<ul><li>one <code>thing</code>, still one</li><li>another</li></ul><p>so much.</p>" in text


def test_text_cannot_become_markup(results: Path) -> None:
    outline = Outline(page(results))
    assert '<script>alert("x")</script> & a|pipe' in outline.text
    assert "Is x < y & y > z? <img src=x>" in outline.text
    assert [tag for tag, _ in outline.elements].count("script") == 1
    assert not [tag for tag, _ in outline.elements if tag == "b"]
    assert "x" not in outline.all("img", "src")


def test_every_figure_has_an_alternative_text_and_its_size(results: Path) -> None:
    images = [found for tag, found in Outline(page(results)).elements if tag == "img"]
    assert len(images) == 3
    assert all("Outcome: holds" in (image["alt"] or "") and image["width"] == "1260" for image in images)


def test_a_folder_without_results_still_has_a_page(tmp_path: Path) -> None:
    assert "No claims have been judged in this folder yet." in Outline(page(tmp_path)).text


def test_a_missing_figure_leaves_the_rest(folder: Path) -> None:
    for path in folder.glob("*.png"):
        path.write_bytes(b"\x89PNG truncated")
    text = page(folder)
    assert Outline(text).all("img", "src") == []
    assert dead_links(folder, text) == []


@chromium
def test_chromium_shows_the_page_whole_at_both_widths(folder: Path, tmp_path: Path) -> None:
    with_formulas(folder)
    frames, console = seen_in_chromium(folder, page(folder), tmp_path / "profile")
    assert console == []
    assert [frame["width"] for frame in frames] == [1280, 390]
    for frame in frames:
        assert frame["scroll"] <= frame["width"]
        assert len(frame["images"]) == 3
        assert min(frame["images"]) > 0
        assert min(frame["shown"]) >= 690  # on a telephone a figure keeps its size, and is moved within its frame
        assert frame["pans"] == (3 if frame["width"] == 390 else 0)
        ascending = [float(value) for value in frame["ascending"]]
        assert ascending == sorted(ascending)
        assert [float(value) for value in frame["descending"]] == sorted(ascending, reverse=True)


@chromium
def test_chromium_follows_the_preference_for_dark(folder: Path, tmp_path: Path) -> None:
    light, _ = seen_in_chromium(folder, page(folder), tmp_path / "light", "--blink-settings=preferredColorScheme=1")
    dark, console = seen_in_chromium(folder, page(folder), tmp_path / "dark", "--blink-settings=preferredColorScheme=0")
    brightness = [sum(map(int, re.findall(r"\d+", frames[0]["background"])[:3])) for frames in (light, dark)]
    assert brightness[0] > 600
    assert brightness[1] < 150
    assert console == []


@chromium
def test_the_checks_see_a_page_that_is_wrong(tmp_path: Path) -> None:
    """An error on the console, a wide element, a missing image and a dead link are all found."""
    wrong = (
        '<!doctype html><div style="width:1300px"><img src="no.png"><a href="no.csv">x</a></div><script>missing()</script>'
    )
    (tmp_path / "page").mkdir()
    frames, console = seen_in_chromium(tmp_path / "page", wrong, tmp_path / "profile")
    assert any("missing is not defined" in line for line in console)
    assert all(frame["scroll"] > frame["width"] for frame in frames)
    assert [frame["images"] for frame in frames] == [[0], [0]]
    assert dead_links(tmp_path / "page", wrong) == ["no.csv", "no.png"]
