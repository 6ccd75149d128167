"""Reports: verdicts in; lines, tables, figures and one page out."""

from theory_lab.report.figures import (
    DIVERGING,
    SEQUENTIAL,
    Look,
    band,
    house,
    legend,
    look,
    new_figure,
    theory_line,
    title_with_verdicts,
)

__all__ = [
    "DIVERGING",
    "SEQUENTIAL",
    "Look",
    "band",
    "house",
    "legend",
    "look",
    "new_figure",
    "theory_line",
    "title_with_verdicts",
]
