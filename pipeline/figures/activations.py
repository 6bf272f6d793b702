"""What filters answer to tiles: layer after layer, all of a layer, the strongest, by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from pipeline.figures.canvas import FAINT, INK, bar, canvas, look_of, panel
from pipeline.figures.filters import columns

STRETCHED = "Tiles are stretched, band by band, from percentile 2 to 98 over all that are shown."
OUTLINE = "#ffffff"  # of a patch, drawn on black so that it is seen on any tile


@dataclass(frozen=True, slots=True)
class Answers:
    """What some filters of a layer answer to a tile."""

    heading: str
    columns: Sequence[str]  # whose maps they are
    maps: NDArray[Any]  # (n, h, w), one a column


def activations(views: dict[str, NDArray[Any]], stages: Sequence[Answers], title: str) -> Figure:
    """A tile and what filters answer to it, stage by stage.

    Args:
        views: Heading -> (H, W, 3) picture of the tile, values from 0 to 1.
        stages: In the tile's order; columns are named where they change.
        title: Over everything.
    """
    letters = max(len(line) for stage in stages for line in stage.heading.split("\n"))
    left, most = max(2.15, 1.3 + 0.055 * letters), max(len(stage.columns) for stage in stages)
    named = [i for i, s in enumerate(stages) if not i or s.columns != stages[i - 1].columns]
    gaps = [0.25 if i in named else 0.0 for i in range(len(stages))]
    tops = [1.1 * i + sum(gaps[: i + 1]) for i in range(len(stages))]
    figure, axes = canvas(
        left + 1.1 * most + 0.6,
        max(tops[-1] + 1.1, 0.25 + 1.37 * len(views)),
        1.1,
        title,
        "Each row has its own scale, at its right: white is zero where a layer gives both signs, "
        "dark is zero where it gives none below. The tile is stretched from percentile 2 to 98 "
        "over all tiles shown."
        + (" Columns are named anew where they are other filters." if len(named) > 1 else ""),
    )
    for row, (heading, view) in enumerate(views.items()):
        panel(axes, view, 0.0, 0.25 + 1.37 * row, (1.1, 1.1))
        axes.text(0.0, 0.2 + 1.37 * row, heading, fontsize=8, color=INK)
    for i, (y, stage) in enumerate(zip(tops, stages, strict=True)):
        look = look_of(stage.maps)
        axes.text(left - 0.1, y + 0.5, stage.heading, ha="right", va="center", fontsize=8,
                  color=INK)  # fmt: skip
        for col, (name, image) in enumerate(zip(stage.columns, stage.maps, strict=True)):
            place = left + 1.1 * col
            panel(axes, image, place, y, (1.0, 1.0), **look)
            if i in named:
                axes.text(place + 0.5, y - 0.05, name, ha="center", fontsize=8, color=FAINT)
        bar(figure, axes, (left + 1.1 * most, y, 0.12, 1.0), look)
    return figure


def montage(
    views: dict[str, NDArray[Any]],
    maps: NDArray[Any],
    labels: Sequence[str],
    title: str,
    caption: str = "",
) -> Figure:
    """A tile, and all maps (F, h, w) of a layer on one scale.

    Args:
        views: Heading -> (H, W, 3) picture of the tile, values from 0 to 1.
        maps: In the order in which they are shown.
        labels: One a map.
        title: Over everything.
        caption: Below, after what the colours mean.
    """
    across = max(4, columns(len(maps), 1.06, 1.32))
    rows = -(-len(maps) // across)
    left = 1.9
    figure, axes = canvas(
        left + across * 1.06 + 0.7,
        max(rows * 1.32, 1.95 * len(views)) + 0.1,
        0.78,
        title,
        f"One scale for all maps, at the right. {caption} {STRETCHED}",
    )
    for row, (heading, view) in enumerate(views.items()):
        axes.text(0.0, 0.2 + 1.95 * row, heading, fontsize=8, color=INK)
        panel(axes, view, 0.0, 0.28 + 1.95 * row, (1.6, 1.6))
    look = look_of(maps)
    for i, (image, label) in enumerate(zip(maps, labels, strict=True)):
        x, y = left + (i % across) * 1.06, (i // across) * 1.32 + 0.28
        panel(axes, image, x, y, (1, 1), **look)
        axes.text(x + 0.5, y - 0.06, label, ha="center", fontsize=7.5, color=FAINT)
    bar(figure, axes, (left + across * 1.06 + 0.05, 0.28, 0.14, min(rows * 1.32 - 0.32, 3.6)), look)
    return figure


Box = tuple[int, int, int, int]  # first and last row, first and last column


@dataclass(frozen=True, slots=True)
class Spot:
    """A tile and the patch of it that made an answer."""

    views: Sequence[NDArray[Any]]  # (H, W, 3) pictures of the tile
    lines: Sequence[tuple[str, str]]  # above it, each with the colour of its class or ""
    patch: Box | None
    map: NDArray[Any] | None = None  # (h, w), shown beside the tile
    place: tuple[int, int] | None = None  # row and column of the answer in the map


def spots(
    rows: Sequence[tuple[str, Sequence[Spot]]], title: str, caption: str = "", across: int = 1
) -> Figure:
    """Rows of tiles under a heading each, the patch outlined that made the answer.

    Args:
        rows: Heading and its tiles.
        title: Over everything.
        caption: Below.
        across: Rows beside each other.
    """
    first = rows[0][1][0]
    parts = len(first.views) + (first.map is not None)
    wide, lines = parts * 1.04 + 0.3, len(first.lines)
    high = 0.2 * lines + 1.2
    left = 0.2 + 0.085 / 0.86 * max(len(heading) for heading, _ in rows)
    most = max(len(tiles) for _, tiles in rows)
    block = left + most * wide
    down = -(-len(rows) // across)
    figure, axes = canvas(
        across * block, down * high, 0.86, title, f"{caption} {STRETCHED}".strip()
    )
    for k, (heading, tiles) in enumerate(rows):
        x, y = (k % across) * block, (k // across) * high
        axes.text(x, y + 0.2 * lines + 0.55, heading, va="center", fontsize=8, color=INK)
        for i, spot in enumerate(tiles):
            _spot(axes, spot, x + left + i * wide, y)
    return figure


def _spot(axes: Axes, spot: Spot, x: float, y: float) -> None:
    for i, (text, colour) in enumerate(spot.lines):
        indent = 0.2 if colour else 0.0
        middle = y + 0.2 * i + 0.1
        if colour:
            axes.add_patch(Rectangle((x, middle - 0.06), 0.13, 0.13, color=colour))
        axes.text(x + indent, middle, text, va="center", fontsize=7, color=INK if colour else FAINT)
    top = y + 0.2 * len(spot.lines) + 0.05
    for i, view in enumerate(spot.views):
        panel(axes, view, x + 1.04 * i, top, (1, 1))
        if spot.patch is not None:
            _outline(axes, spot.patch, view.shape[:2], x + 1.04 * i, top)
    if spot.map is not None:
        place = x + 1.04 * len(spot.views)
        panel(axes, spot.map, place, top, (1, 1), **look_of(spot.map))
        if spot.place is not None:
            row, column = spot.place
            _outline(axes, (row, row, column, column), spot.map.shape, place, top)


def _outline(axes: Axes, box: Box, shape: tuple[int, ...], x: float, y: float) -> None:
    """A frame round pixels of a panel of 1 x 1 units, cut at its edges."""
    height, width = shape
    top, bottom = max(0, box[0]) / height, min(height, box[1] + 1) / height
    left, right = max(0, box[2]) / width, min(width, box[3] + 1) / width
    for colour, thick in (("#000000", 2.0), (OUTLINE, 0.9)):
        axes.add_patch(
            Rectangle((x + left, y + top), right - left, bottom - top, fill=False,
                      edgecolor=colour, linewidth=thick, zorder=4)
        )  # fmt: skip


def selectivity(
    means: NDArray[Any],
    index: NDArray[Any],
    labels: Sequence[str],
    classes: Sequence[tuple[str, str]],
    title: str,
    caption: str = "",
) -> Figure:
    """Mean answers (K, F) of filters to classes, and a bar (F,) of how selective each filter is.

    Args:
        means: Classes by filters, in the order in which they are shown.
        index: From 0 to 1.
        labels: One a filter.
        classes: Name and colour of each.
        title: Over everything.
        caption: Below, after what the colours mean.
    """
    most = means.max(axis=0)
    shares = means / np.where(most > 0, most, 1)
    count, rows = means.shape[1], len(classes)
    cell = max(0.17, min(0.34, 10.0 / count))
    left = (0.5 + 0.085 * max(len(name) for name, _ in classes)) / cell
    tall = 0.9 / cell
    foot = (0.15 + 0.085 * max(map(len, labels))) / cell
    figure, axes = canvas(
        left + count + 0.8 / cell,
        0.1 + rows + 0.3 / cell + tall + foot,
        cell,
        title,
        "Each column is a filter, its mean answers as shares of the largest of them. " + caption,
    )
    look = {"cmap": "viridis", "vmin": 0.0, "vmax": 1.0}
    panel(axes, shares, left, 0.1, (count, rows), **look)
    bar(figure, axes, (left + count + 0.15 / cell, 0.1, 0.12 / cell, rows), look)
    for row, (name, colour) in enumerate(classes):
        y = 0.1 + row + 0.5
        axes.text(left - 0.3 / cell, y, name, ha="right", va="center", fontsize=8, color=INK)
        axes.add_patch(Rectangle((left - 0.24 / cell, y - 0.07 / cell), 0.14 / cell, 0.14 / cell,
                                 color=colour))  # fmt: skip
    base = 0.1 + rows + 0.3 / cell + tall
    preferred = means.argmax(axis=0)
    for i, value in enumerate(index.tolist()):
        colour = classes[int(preferred[i])][1]
        axes.add_patch(Rectangle((left + i + 0.12, base - value * tall), 0.76, value * tall,
                                 color=colour))  # fmt: skip
        axes.text(left + i + 0.5, base + 0.06 / cell, labels[i], rotation=90, ha="center",
                  va="top", fontsize=7, color=FAINT)  # fmt: skip
    for value in (0.0, 0.5, 1.0):
        axes.plot([left, left + count], [base - value * tall] * 2, color="#cccccc", linewidth=0.6,
                  zorder=0)  # fmt: skip
        axes.text(left - 0.08 / cell, base - value * tall, f"{value:g}", ha="right", va="center",
                  fontsize=7, color=FAINT)  # fmt: skip
    axes.text(left - 0.35 / cell, base - tall / 2, "selectivity", ha="right", va="center",
              fontsize=8, color=INK)  # fmt: skip
    return figure
