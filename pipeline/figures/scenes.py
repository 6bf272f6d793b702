"""Confusion scene by scene: small multiples of one matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from pipeline import metrics
from pipeline.figures.canvas import FAINT, INK, sheet
from pipeline.types import Classes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pipeline.mistakes import Scene

COLUMNS = 4
NUMBERED = 10  # classes up to which cells have numbers
LETTERS = 30


def multiples(scenes: Sequence[Scene], count: int, classes: Classes, what: str) -> Figure:
    """A matrix a scene, the scenes with the lowest accuracy first; ``count`` is of all scenes."""
    columns = min(COLUMNS, len(scenes))
    rows = -(-len(scenes) // columns)
    side = max(2.4, 0.34 * len(classes))
    figure = sheet(
        columns * side + 1.4,
        rows * (side + 0.45) + 1.7,
        f"Confusion scene by scene, {what}",
        "Rows: true class. Columns: predicted class. Shade: share of the row. "
        + ("" if count == len(scenes) else f"The {len(scenes)} weakest of {count} scenes. ")
        + "In each heading the accuracy and the number of tiles.",
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    for i, axes in enumerate(grid.ravel()):
        if i >= len(scenes):
            axes.set_axis_off()
            continue
        _matrix(axes, scenes[i], classes)
        below = i + columns >= len(scenes)
        names = list(classes) if below else [""] * len(classes)
        axes.set_xticks(range(len(classes)), names, rotation=90, fontsize=7)
        names = list(classes) if i % columns == 0 else [""] * len(classes)
        axes.set_yticks(range(len(classes)), names, fontsize=7)
    return figure


def _matrix(axes: Axes, scene: Scene, classes: Classes) -> None:
    counts = scene.counts
    shares = np.nan_to_num(counts / np.maximum(metrics.support(counts), 1)[:, None])
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    right, total = int(counts.trace()), int(counts.sum())
    name = scene.name if len(scene.name) <= LETTERS else "\u2026" + scene.name[1 - LETTERS :]
    heading = f"{name}\n{metrics.percent(right, total)} of {total:,}"
    axes.set_title(heading, fontsize=8, color=INK)
    if len(classes) <= NUMBERED:
        for row, col in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, col] > 0.55 else INK
            axes.text(col, row, f"{counts[row, col]:,}", ha="center", va="center", fontsize=6,
                      color=colour)  # fmt: skip
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_color(FAINT)
    axes.spines[:].set_linewidth(0.5)
