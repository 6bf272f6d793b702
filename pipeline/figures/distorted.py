"""Tiles beside what augmentation makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.figures.canvas import FAINT, INK, Stretch, canvas, panel
from pipeline.types import Bands

SPREAD = 2.5  # deviations about the mean of the training tiles, from black to white
PITCH = 1.06  # from panel to panel


@dataclass(frozen=True, slots=True)
class Row:
    """A tile, and draws of what one distortion makes of it."""

    heading: str
    note: str  # below the heading
    tiles: NDArray[Any]  # (1 + draws, H, W, C), the tile itself first
    faint: bool = False  # the distortion is off


def stretch_of(mean: NDArray[np.float64], std: NDArray[np.float64]) -> Stretch:
    """One look for all tiles of a store, with room for what makes them brighter or darker."""
    low, high = mean - SPREAD * std, mean + SPREAD * std
    return Stretch(low, np.where(high > low, high, low + 1))


def rows_of_draws(
    rows: Sequence[Row], bands: Bands, stretch: Stretch, title: str, caption: str = ""
) -> Figure:
    """A row a distortion: the tile and the draws, each in natural and in false colour."""
    views = _views(bands)
    draws = max(len(row.tiles) for row in rows)
    left, top, unit = 3.3, 0.6, 0.62
    step = PITCH * len(views) + 0.2
    figure, axes = canvas(
        left + step * draws,
        top + PITCH * len(rows),
        unit,
        title,
        f"{' '.join(_told(name, bands, chosen) for name, chosen in views.items())} Every band is "
        f"stretched from {SPREAD:g} deviations below the mean of the training tiles, black, to "
        f"{SPREAD:g} above, white; beyond, the picture is cut, not the tile. {caption}".strip(),
    )
    for column in range(draws):
        x = left + step * column
        middle = x + PITCH * len(views) / 2
        axes.text(middle, 0.12, f"draw {column}" if column else "tile", ha="center", **_look(INK))
        for k, name in enumerate(views if len(views) > 1 else ()):
            axes.text(x + PITCH * k + 0.5, 0.5, name, ha="center", **_look(FAINT, 7))
    for k, row in enumerate(rows):
        y = top + PITCH * k
        ink = FAINT if row.faint else INK
        axes.text(left - 0.15, y + 0.48, row.heading, ha="right", va="bottom", **_look(ink, 9))
        axes.text(left - 0.15, y + 0.56, row.note, ha="right", va="top", **_look(FAINT, 7))
        for column, image in enumerate(stretch.apply(row.tiles)):
            for v, chosen in enumerate(views.values()):
                x = left + step * column + PITCH * v
                panel(axes, image[..., list(chosen)], x, y, (1.0, 1.0))
    return figure


def _views(bands: Bands) -> dict[str, tuple[int, int, int]]:
    """The ways to show a tile that differ."""
    views = {"natural": bands.natural, "false": bands.false_colour}
    return views if bands.natural != bands.false_colour else {"tile": bands.natural}


def _told(name: str, bands: Bands, chosen: Sequence[int]) -> str:
    names = [bands.names[i] for i in chosen]
    if len(set(names)) == 1:
        return f"{name.capitalize()}: {names[0]} in shades of grey."
    return f"{name.capitalize()}: {', '.join(names)} as red, green, blue."


def _look(colour: str, size: int = 8) -> dict[str, Any]:
    return {"color": colour, "fontsize": size}
