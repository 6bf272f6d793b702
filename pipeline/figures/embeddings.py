"""Where tiles lie in the features of a network, and walks through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.figures.canvas import FAINT, INK, Stretch, beside, canvas, panel, sheet
from pipeline.types import Bands, Classes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MISTAKEN = "mistaken (in its true colour)"
WORDS = 1.5  # inches at the left of a row
CELLS = 18  # thumbnails along a side


@dataclass(frozen=True, slots=True)
class Panel:
    """Tiles laid out in a plane."""

    heading: str
    places: NDArray[Any]  # (N, 2)
    axes: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of the tiles that are laid out."""

    labels: NDArray[np.int64]  # (N,)
    named: NDArray[np.int64] | None  # (N,) class that the network names; None: it names none
    classes: Classes  # without any, tiles are of one colour


def layouts(panels: Sequence[Panel], told: Told, title: str, caption: str) -> Figure:
    """A panel a layout; tiles in the colours of their classes, mistakes in a black ring."""
    longest = max(map(len, (MISTAKEN, *told.classes.names)))
    across = int(5.3 * len(panels) / (0.35 + longest / 15))  # names in a line
    lines = -(-(len(told.classes) + 1) // across)
    height = 5.6 + 0.25 * lines
    figure = sheet(5.3 * len(panels), height, title + "\n" * lines, caption)
    for axes, shown in zip(np.ravel(figure.subplots(1, len(panels))), panels, strict=True):
        _layout(axes, shown, told)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc="upper left", bbox_to_anchor=(0.005, 1 - 0.32 / height),
            ncols=across, fontsize=8, frameon=False, markerscale=1.4, handletextpad=0.2,
            columnspacing=1.2,
        )  # fmt: skip
    return figure


def _layout(axes: Axes, shown: Panel, told: Told) -> None:
    x, y = shown.places.T
    wrong = np.zeros(len(x), bool) if told.named is None else told.named != told.labels
    if not len(told.classes):
        axes.scatter(x, y, s=9, color=FAINT, linewidth=0)
    for label, (name, colour) in enumerate(zip(told.classes, told.classes.colours, strict=True)):
        mine = told.labels == label
        right = mine & ~wrong
        axes.scatter(x[right], y[right], s=9, color=colour, linewidth=0, label=name, zorder=2)
        axes.scatter(
            x[mine & wrong], y[mine & wrong], s=34, color=colour, edgecolor="black",
            linewidth=1.2, zorder=3,
        )  # fmt: skip
    if wrong.any():
        axes.scatter([], [], s=34, color="white", edgecolor="black", linewidth=1.2,
                     label=MISTAKEN)  # fmt: skip
    axes.set_title(shown.heading, loc="left", fontsize=9, color=INK)
    axes.set_xlabel(shown.axes[0], fontsize=8, color=FAINT)
    axes.set_ylabel(shown.axes[1], fontsize=8, color=FAINT)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#cccccc")


def thumbnails(
    shown: Panel, pixels: NDArray[Any], colours: Sequence[str], bands: Bands, title: str
) -> Figure:
    """Tiles (N, H, W, C) where they lie: each cell has the tile that is nearest to its middle."""
    cells = np.clip((CELLS * _unit(shown.places)).astype(int), 0, CELLS - 1)
    middle = np.square(CELLS * _unit(shown.places) - cells - 0.5).sum(axis=1)
    names = ", ".join(bands.names[i] for i in bands.false_colour)
    looks = Stretch.of(pixels).apply(pixels)[..., list(bands.false_colour)]
    taken = {}
    for i in np.argsort(-middle):  # the nearest last, which stays
        taken[tuple(cells[i])] = int(i)
    figure, axes = canvas(
        CELLS,
        CELLS,
        0.55,
        title,
        f"{len(taken)} of {len(pixels)} tiles on a grid, framed in the colours of their classes. "
        f"Red, green, blue = {names}, stretched from percentile 2 to 98 over all.",
    )
    for (column, row), i in sorted(taken.items()):
        x, y = column, CELLS - 1 - row
        frame = np.full((1, 1, 3), _rgb(colours[i]))
        panel(axes, frame, x + 0.02, y + 0.02, (0.96, 0.96))
        panel(axes, looks[i], x + 0.08, y + 0.08, (0.84, 0.84))
    return figure


def _unit(places: NDArray[Any]) -> NDArray[np.float64]:
    low, high = places.min(axis=0), places.max(axis=0)
    return np.asarray((places - low) / np.where(high > low, high - low, 1), dtype=np.float64)


def _rgb(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def walks(
    tiles: NDArray[Any],
    headings: Sequence[str],
    columns: Sequence[str],
    ends: Sequence[NDArray[Any]] | None,
    bands: Bands,
    title: str,
    caption: str,
) -> Figure:
    """A row a walk, in false colour.

    Args:
        tiles: (walks, steps, H, W, C) raw values.
        headings: At the left of each row, in lines.
        columns: Over each step.
        ends: Real tiles (walks, H, W, C) to put at the left and at the right; None: none.
        bands: Names of the C bands.
        title: Over everything.
        caption: Below, before what is said of the colours.
    """
    chosen = list(bands.false_colour)
    stretch = Stretch.of(tiles if ends is None else np.concatenate(ends))
    count, top, gap = len(columns), 0.25, 0.0 if ends is None else 1.16
    words, headings = beside(headings, 7.5, WORDS)
    unit = min(1.0, (12.0 - words) / (1.06 * count + 2 * gap))
    left = words / unit
    figure, axes = canvas(
        left + 1.06 * count + 2 * gap,
        top + 1.06 * len(tiles),
        unit,
        title,
        f"{caption} Red, green, blue = {', '.join(bands.names[i] for i in chosen)}, stretched from "
        f"percentile 2 to 98 {'over all' if ends is None else 'of the real tiles'}.",
    )
    place: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 7.5, "color": INK}
    for i, name in enumerate(columns):
        axes.text(left + gap + 1.06 * i + 0.5, top - 0.06, name, **place)
    for row, (heading, walk) in enumerate(zip(headings, tiles, strict=True)):
        y = top + 1.06 * row
        axes.text(left - 0.1, y + 0.5, heading, ha="right", va="center", fontsize=7.5, color=INK)
        for i, image in enumerate(walk):
            panel(axes, stretch.apply(image)[..., chosen], left + gap + 1.06 * i, y, (1.0, 1.0))
        for end, x in zip(ends or (), (left, left + gap + 1.06 * count + 0.1), strict=False):
            panel(axes, stretch.apply(end[row])[..., chosen], x, y, (1.0, 1.0))
            if row == 0:
                axes.text(x + 0.5, top - 0.06, "real tile", **place)
    return figure
