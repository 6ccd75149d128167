"""One figure for a piece of advice: what each step size costs in steps, and where it stops being stable."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from theory_lab import _checks
from theory_lab._typing import Label
from theory_lab.advise.base import Advice
from theory_lab.report.figures import WIDTH, legend, look, new_figure

UNSTABLE = "#EE6677"
GUARANTEED = "#8a8a8a"


def draw(advice: Advice) -> Figure:
    """Predicted steps to the accuracy against every block's step size, the others as advised.

    A panel for every block: the prediction is a black line, a marker is what is advised, the shaded side is unstable, and
    grey lines are what theorems guarantee.

    Args:
        advice: from `advise`.

    Raises:
        ValueError: something else than advice.

    Example:
        >>> import jax
        >>> from theory_lab.advise import advise
        >>> from theory_lab.problems import block_quadratic
        >>> figure = draw(advise(block_quadratic({"x": 4, "y": 2}, n=3), key=jax.random.key(0)))
        >>> len(figure.axes)
        2
    """
    _checks.instance("advice", advice, Advice, "Advice, as advise(...) returns it")
    labels = tuple(advice.step_sizes)
    figure, axes = new_figure(1, len(labels), height=3.4, width=max(WIDTH, 3.6 * len(labels)), sharey=True)
    for place, label in zip(axes[0], labels, strict=True):
        _panel(place, advice, label)
    axes[0, 0].set_ylabel("component steps to the accuracy")
    legend(axes[0, 0])
    told = f"{advice.steps:.3g} steps predicted" if np.isfinite(advice.steps) else "no time predicted"
    title = f"Advised step sizes: {told} to $\\|\\nabla f\\|$ = {advice.accuracy:.3g}"
    figure.suptitle(title, x=0.012, ha="left", fontsize=11)
    return figure


def _panel(axes: Axes, advice: Advice, label: Label) -> None:
    """One block's step size."""
    eta, limit = advice.step_sizes[label], advice.limits[label].value
    kind = "two points" if label in advice.zeroth else "gradient"
    axes.set_xlabel(f"step size of {label} ({kind})")
    drawn = np.isfinite(advice.curve.steps) & (advice.curve.steps > 0) & advice.curve.stable.astype(bool)
    rows = advice.curve[(advice.curve.label == label) & drawn]
    if eta == 0:
        axes.text(0.5, 0.5, "no curvature measured", transform=axes.transAxes, ha="center")
        return
    axes.set(xscale="log", yscale="log")
    axes.plot(rows.step_size, rows.steps, color="black", linewidth=1.2, label="predicted", zorder=3)
    if np.isfinite(limit) and limit > 0:
        axes.axvspan(limit, max(2 * limit, 2.2 * eta), color=UNSTABLE, alpha=0.15, linewidth=0, label="unstable")
    low = min([eta / 64, *(values[label] for values in advice.guaranteed.values() if values.get(label, 0) > 0)])
    for i, values in enumerate(advice.guaranteed.values()):
        if values.get(label, 0.0) > 0:
            axes.axvline(values[label], color=GUARANTEED, linewidth=0.8, linestyle=":", label="" if i else "guaranteed")
    style = look("hybrid")
    if np.isfinite(advice.steps) and advice.steps > 0:
        axes.plot([eta], [advice.steps], style.marker, color=style.colour, label="advised", zorder=4)
    else:
        axes.axvline(eta, color=style.colour, linewidth=1.6, label="advised", zorder=4)
    axes.set_xlim(low / 1.3, max(1.6 * limit, 2.2 * eta) if np.isfinite(limit) else 2.2 * eta)
