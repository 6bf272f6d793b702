"""The loss over the learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.figures.canvas import FAINT, INK, sheet

# Paul Tol's "bright" scheme, without the blue of the curve.
COLOURS = ("#EE6677", "#228833", "#CCBB44", "#AA3377")
STYLES: tuple[Any, ...] = ("-", "-.", "--", ":")


def losses_by_rate(
    rates: NDArray[np.float64],
    losses: NDArray[np.float64],
    smooth: NDArray[np.float64],
    marks: Mapping[str, float],
    title: str,
) -> Figure:
    """Losses (n,) and their smooth curve over a logarithmic axis of rates, some of them marked."""
    figure = sheet(
        9.0,
        4.4,
        title,
        "Each dot is a step of training, at a rate a little higher than the step before; the line "
        "is their mean in a moving window. What lies far above the first losses is not shown.",
    )
    axes = figure.add_subplot()
    axes.plot(rates, losses, ".", color="#BBBBBB", markersize=4)
    axes.plot(rates, smooth, color="#4477AA", linewidth=2)
    for (name, rate), colour, style in zip(marks.items(), COLOURS, STYLES, strict=False):
        label = f"{name}: {rate:.2g}"
        axes.axvline(rate, color=colour, linestyle=style, linewidth=1.5, label=label)
    low, first = float(smooth.min()), float(smooth[0])
    room = first - low or 1.0
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    axes.set(xlim=(rates[0], rates[-1]), ylim=(low - 0.25 * room, first + 0.6 * room))
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=FAINT, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    return figure
