"""Curves of pretraining: ``python -m theory_lab.report.pretraining DIR [DIR ...] --out curves.png``.

Reads curve.csv of folders that `theory_lab.finetune.pretrain` has written and draws the held-out perplexity of each against
the tokens it has seen.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from theory_lab import _checks
from theory_lab._options import Parser
from theory_lab.report import figures

CURVE = "curve.csv"
NEEDED = ("step", "tokens", "held_out_perplexity")
COLOURS = ("#0077BB", "#EE7733", "#009988", "#AA4499", "#BBBBBB")
MARKERS = "osD^v"


def read(folder: Any) -> pd.DataFrame:
    """The curve in a folder, a row for every look at the held-out text.

    Raises:
        ValueError: no such file, columns that are missing, no rows.

    Example:
        >>> from theory_lab.finetune import bases
        >>> rows = read(bases.PACKAGED / "tiny-opt")
        >>> bool(rows.held_out_perplexity.iloc[-1] < rows.held_out_perplexity.iloc[0])
        True
    """
    file = Path(folder) / CURVE
    if not file.is_file():
        raise _checks.refuse("folder", f"one with a {CURVE}, as pretraining writes it", str(folder))
    frame = pd.read_csv(file)
    if missing := [name for name in NEEDED if name not in frame]:
        raise _checks.refuse(str(file), f"a table with the columns {', '.join(NEEDED)}", f"one without {', '.join(missing)}")
    if frame.empty:
        raise _checks.refuse(str(file), "a table with rows", "none")
    return frame


def draw(folders: Sequence[Any]) -> Figure:
    """Held-out perplexity against tokens seen, a line for each of at most five folders, its last value in the legend.

    Perplexities of different tokenizers or texts are not to be compared: they are per token.

    Raises:
        ValueError: no folder or more than five, whatever `read` refuses.

    Example:
        >>> from theory_lab.finetune import bases
        >>> len(draw([bases.PACKAGED / "tiny-opt", bases.PACKAGED / "tiny-llama"]).axes)
        1
    """
    if isinstance(folders, str) or not 0 < len(folders) <= len(COLOURS):
        raise _checks.refuse("folders", f"one to {len(COLOURS)} folders", folders)
    figure, axes = figures.new_figure(1, 1, width=7.4, height=4.2)
    place = axes[0][0]
    for folder, colour, marker in zip(folders, COLOURS, MARKERS, strict=False):
        rows = read(folder)
        name, last = Path(folder).resolve().name, rows.held_out_perplexity.iloc[-1]
        place.plot(
            rows.tokens, rows.held_out_perplexity, color=colour, marker=marker, markersize=3, label=f"{name}: {last:.1f}"
        )
    place.set(xscale="log", yscale="log", xlabel="tokens seen", ylabel="held-out perplexity, per token")
    place.set_title("Pretraining: held-out perplexity, and its last value")
    figures.legend(place)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    description = str(__doc__).split("\n\n")[1]
    parser = Parser(prog="python -m theory_lab.report.pretraining", description=description)
    parser.add_argument("folders", nargs="+", metavar="DIR", help="a folder with a curve.csv")
    parser.add_argument("--out", required=True, help="the PNG file to write")
    given = parser.parse_args(arguments)
    try:
        with figures.house():
            Path(given.out).write_bytes(figures.png(draw(given.folders)))
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
