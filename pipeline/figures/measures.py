"""How well a network does: counts, and each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from pipeline import metrics
from pipeline.figures.canvas import FAINT, INK, sheet
from pipeline.types import Classes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def confusion(counts: metrics.Counts, classes: Classes, title: str) -> Figure:
    """Counts and row percentages; rows true, columns predicted."""
    side = 2.6 + 0.72 * len(classes)
    figure = sheet(
        side + 0.6,
        side,
        title,
        "Rows: true class. Columns: predicted class. Shade and percentage: share of the row.",
    )
    axes = figure.add_subplot()
    shares = np.nan_to_num(counts / np.maximum(metrics.support(counts), 1)[:, None])
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, col in np.ndindex(counts.shape):
        share = metrics.percent(int(counts[row, col]), int(counts[row].sum()))
        axes.text(
            col,
            row,
            f"{counts[row, col]:,}\n{share}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if shares[row, col] > 0.55 else INK if counts[row, col] else FAINT,
        )
    ticks = range(len(classes))
    axes.set_xticks(ticks, list(classes), rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, list(classes))
    axes.set(xlabel="predicted", ylabel="true")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    return figure


def per_class(counts: metrics.Counts, classes: Classes, title: str) -> Figure:
    """Recall as a bar in the class's colour, precision as a mark, F1 and support as text."""
    figure = sheet(
        8.0,
        1.9 + 0.42 * len(classes),
        title,
        "Bar: recall (producer's accuracy). Diamond: precision (user's accuracy), none "
        "where nothing was given the class. A class without tiles has no bar.",
    )
    axes, beside = figure.subplots(1, 2, sharey=True, width_ratios=(2.8, 1))
    places = np.arange(len(classes))
    recall, precision = metrics.recall(counts), metrics.precision(counts)
    tiles = metrics.support(counts)
    axes.barh(places, np.nan_to_num(recall), color=list(classes.colours), height=0.62)
    shown = ~np.isnan(precision)
    axes.plot(precision[shown], places[shown], "D", color="white", mec=INK, ms=6.5, clip_on=False)
    beside.set_axis_off()
    found = [metrics.percent(*pair) for pair in zip(counts.diagonal(), tiles, strict=True)]
    _column(beside, 0.28, "recall", found)
    f1 = [metrics.percent(0, 0) if np.isnan(v) else f"{v:.3f}" for v in metrics.f1(counts)]
    _column(beside, 0.62, "F1", f1)
    _column(beside, 1.0, "tiles", [f"{v:,}" for v in tiles])
    axes.set_yticks(places, list(classes))
    axes.set(xlim=(0, 1), ylim=(len(classes) - 0.4, -0.9))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0, pad=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _column(axes: Axes, x: float, heading: str, texts: list[str]) -> None:
    """Numbers beside the bars, flush right at ``x``."""
    axes.text(x, -0.75, heading, ha="right", va="center", fontsize=8, color=FAINT)
    for k, text in enumerate(texts):
        axes.text(x, k, text, ha="right", va="center", fontsize=9, color=INK)
