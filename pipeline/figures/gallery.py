"""Tiles side by side, each in natural and in false colour, with what there is to say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from pipeline.figures.canvas import FAINT, INK, Stretch, canvas, fitted, panel
from pipeline.types import Bands

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNIT = 0.72  # inches that a tile is wide
WIDE = 2 * 1.04 + 0.3  # of a tile in two looks, in units
LINE = 0.27  # height of a line of words
SIZE = 7  # of the letters, in points
SWATCH = 0.22  # width of a colour before a line, in units


@dataclass(frozen=True, slots=True)
class Line:
    """Words above a tile; a colour stands in front of a class."""

    text: str
    colour: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """A tile (H, W, C) and the lines above it."""

    pixels: NDArray[Any]
    lines: Sequence[Line]


@dataclass(frozen=True, slots=True)
class Row:
    """Tiles that belong together."""

    heading: str
    tiles: Sequence[Shown]


def gallery(rows: Sequence[Row], bands: Bands, title: str, caption: str = "") -> Figure:
    """Rows of tiles under their headings; all are stretched alike."""
    stretch = Stretch.of(np.concatenate([s.pixels[None] for row in rows for s in row.tiles]))
    most = max(len(row.tiles) for row in rows)
    lines = max(len(shown.lines) for row in rows for shown in row.tiles)
    heights = [LINE * (lines + 1.3 * bool(row.heading)) + 1.25 for row in rows]
    natural, false = (
        ", ".join(bands.names[i] for i in chosen) for chosen in (bands.natural, bands.false_colour)
    )
    figure, axes = canvas(
        WIDE * most - 0.3,
        sum(heights),
        UNIT,
        title,
        f"Each tile in natural colour ({natural}) and in false colour ({false} as red, green, "
        f"blue), stretched from percentile 2 to 98 over the tiles shown. {caption}".strip(),
    )
    top = 0.0
    for row, height in zip(rows, heights, strict=True):
        if row.heading:
            axes.text(0, top + LINE, row.heading, fontsize=9, color=INK, fontweight="bold")
        start = top + LINE * 1.3 * bool(row.heading)
        for column, shown in enumerate(row.tiles):
            _draw(axes, shown, WIDE * column, start, lines, stretch, bands)
        top += height
    return figure


def _draw(
    axes: Axes, shown: Shown, x: float, y: float, lines: int, stretch: Stretch, bands: Bands
) -> None:
    for i, line in enumerate(shown.lines, start=lines - len(shown.lines)):
        middle = y + LINE * (i + 0.55)
        indent = SWATCH if line.colour else 0.0
        if line.colour:
            axes.add_patch(Rectangle((x, middle - 0.08), 0.16, 0.16, color=line.colour))
        colour = INK if line.colour else FAINT
        text = fitted(line.text, UNIT * (WIDE - 0.15 - indent), SIZE)
        axes.text(x + indent, middle, text, fontsize=SIZE, color=colour, va="center")
    look = stretch.apply(shown.pixels)
    for i, chosen in enumerate((bands.natural, bands.false_colour)):
        panel(axes, look[..., list(chosen)], x + 1.04 * i, y + LINE * lines + 0.05, (1.0, 1.0))
