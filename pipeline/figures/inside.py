"""What a network holds: filters, activations, and kernels made by hand to compare with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.figures.canvas import FAINT, INK, bar, canvas, look_of, panel, symmetric
from pipeline.types import Bands

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_FILTERS = 64  # shown in a montage
MOST_CHANNELS = 16


def _columns(count: int, width: float, height: float) -> int:
    """Columns of a grid of such panels about 1.7 times as wide as high."""
    return max(1, min(count, round(math.sqrt(1.7 * count * height / width))))


def _shown(count: int, most: int, what: str) -> str:
    return "" if count <= most else f" The first {most} of {count} {what} are shown."


def _slanted(axes: Axes, x: float, y: float, text: str) -> None:
    axes.text(x, y, text, fontsize=8, color=INK, rotation=45, rotation_mode="anchor", ha="left")


def filters_in_colour(weights: NDArray[Any], bands: Bands, layer: str) -> Figure:
    """Filters (F, C, kh, kw) that see the bands themselves, in near infrared, red and green."""
    chosen = list(bands.false_colour)
    shown = weights[:MOST_FILTERS, chosen].transpose(0, 2, 3, 1)
    columns = _columns(len(shown), 1.15, 1.4)
    names = ", ".join(bands.names[i] for i in chosen)
    figure, axes = canvas(
        columns * 1.15,
        -(-len(shown) // columns) * 1.4,
        0.62,
        f"Filters of {layer} in false colour",
        f"Red, green, blue = weights of {names}. Grey is zero, brighter positive, darker "
        "negative; each filter is scaled by its own largest weight of these bands."
        + _shown(len(weights), MOST_FILTERS, "filters"),
    )
    for i, image in enumerate(shown):
        x, y = (i % columns) * 1.15, (i // columns) * 1.4 + 0.3
        most = float(np.abs(image).max()) or 1.0
        panel(axes, 0.5 + image / (2 * most), x, y, (1, 1))
        axes.text(x + 0.5, y - 0.06, str(i), ha="center", fontsize=8, color=FAINT)
    return figure


def filters_by_channel(weights: NDArray[Any], channels: Sequence[str], layer: str) -> Figure:
    """Filters (F, C, kh, kw), each a strip of its C input channels, on one scale around zero."""
    shown = weights[:MOST_FILTERS, :MOST_CHANNELS]
    count, depth = shown.shape[:2]
    columns = _columns(count, depth + 0.9, 1.15)
    rows = -(-count // columns)
    width, height = columns * (depth + 0.9), rows * 1.15 + 0.9
    unit = min(0.6, 11.5 / width)
    figure, axes = canvas(
        width + 0.7 / unit,  # for the colour bar
        height,
        unit,
        f"Filters of {layer}, channel by channel",
        "White is zero, red positive, blue negative; one scale for all, so that faint filters "
        "look faint."
        + _shown(len(weights), MOST_FILTERS, "filters")
        + _shown(weights.shape[1], MOST_CHANNELS, "input channels"),
    )
    look = symmetric(shown)
    for i, strip in enumerate(shown):
        x, y = (i // rows) * (depth + 0.9) + 0.6, (i % rows) * 1.15 + 0.9
        axes.text(x - 0.12, y + 0.5, str(i), ha="right", va="center", fontsize=8, color=FAINT)
        for c, image in enumerate(strip):
            panel(axes, image, x + c, y, (0.96, 1.0), **look)
            if i % rows == 0:
                _slanted(axes, x + c + 0.35, y - 0.1, channels[c])
    bar(figure, axes, (width + 0.05 / unit, 0.9, 0.12 / unit, min(2.4 / unit, height - 1.05)), look)
    return figure


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


def kernels(
    tiles: Sequence[tuple[str, NDArray[Any]]],
    answers: dict[str, NDArray[Any]],
    masks: dict[str, NDArray[Any]],
    band: str,
) -> Figure:
    """A band of some tiles, and hand-made kernels run over it.

    Args:
        tiles: Heading and (H, W) raw values of the band, tile by tile.
        answers: Kernel's name -> (tiles, H, W).
        masks: Kernel's name -> its (kh, kw) weights.
        band: Name of the band.
    """
    left, top = 1.5, 1.2
    width = left + 1.06 * (1 + len(answers))
    figure, axes = canvas(
        width,
        top + 1.06 * len(tiles),
        min(1.2, 11.0 / width),
        f"Hand-made kernels on the band {band}",
        "Blurs and sharpening in the grey scale of the band, stretched from percentile 2 to 98 "
        "over these tiles; edges on a scale around zero (white) for each kernel, up to "
        "percentile 99.5.",
    )
    values = np.stack([image for _, image in tiles])
    low, high = np.percentile(values, (2, 98))
    grey = {"cmap": "gray", "vmin": low, "vmax": max(high, low + 1e-9)}
    axes.text(left + 0.5, 1.13, band, ha="center", fontsize=8, color=INK)
    for row, (name, image) in enumerate(tiles):
        y = top + 1.06 * row
        axes.text(left - 0.1, y + 0.5, name, ha="right", va="center", fontsize=8, color=INK)
        panel(axes, image, left, y, (1, 1), **grey)
    for col, (name, images) in enumerate(answers.items(), start=1):
        x = left + 1.06 * col
        _mask(axes, masks[name], x + 0.1, 0.05)
        axes.text(x + 0.5, 1.13, name.replace("_", " "), ha="center", fontsize=8, color=INK)
        edges = abs(float(masks[name].sum())) < 1e-6
        for row, image in enumerate(images):
            look = symmetric(images, 99.5) if edges else grey
            panel(axes, image, x, top + 1.06 * row, (1, 1), **look)
    return figure


def _mask(axes: Axes, weights: NDArray[Any], x: float, y: float) -> None:
    """A kernel as numbers on its colours, 0.8 units wide."""
    panel(axes, weights, x, y, (0.8, 0.8), **symmetric(1.4 * weights))
    rows, cols = weights.shape
    for row, col in np.ndindex(rows, cols):
        value = float(weights[row, col])
        strong = abs(value) > 0.9 * float(np.abs(weights).max())
        axes.text(
            x + 0.8 * (col + 0.5) / cols,
            y + 0.8 * (row + 0.5) / rows,
            _fraction(value),
            ha="center",
            va="center",
            fontsize=6,
            color="white" if strong else INK,
            zorder=3,
        )


def _fraction(value: float) -> str:
    return str(Fraction(value).limit_denominator(64)).replace("-", "\N{MINUS SIGN}")
