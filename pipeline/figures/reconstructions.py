"""Tiles beside what a network draws again of them, and how far the two are apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipeline.figures.canvas import (
    AMOUNT,
    FAINT,
    INK,
    Stretch,
    bar,
    canvas,
    panel,
    sheet,
)
from pipeline.types import Bands

BINS = 40
LEAST = 1e-9  # a logarithm has no place for 0


def pairs(
    tiles: NDArray[Any],
    drawn: NDArray[Any],
    headings: Sequence[str],
    bands: Bands,
    deviation: NDArray[np.float64],
    title: str = "Tiles and their reconstructions",
) -> Figure:
    """A column a tile: the tile, its reconstruction, the error at each pixel.

    Args:
        tiles: (N, H, W, C) raw values.
        drawn: The same, from the network.
        headings: Over each column, in one line or two.
        bands: Names of the C bands.
        deviation: (C,) by which the network normalizes.
        title: Over everything.
    """
    chosen = list(bands.false_colour)
    stretch = Stretch.of(tiles)
    apart = (drawn.astype(np.float64) - tiles) / deviation
    error = np.sqrt(np.square(apart).mean(axis=-1))
    look = {"cmap": AMOUNT, "vmin": 0.0, "vmax": float(error.max(initial=0.0)) or 1.0}
    left, top, unit = 1.15, 0.35, 1.1
    figure, axes = canvas(
        left + 1.06 * len(tiles) + 0.6,
        top + 1.06 * 3,
        unit,
        title,
        f"Red, green, blue = {', '.join(bands.names[i] for i in chosen)}, stretched from "
        "percentile 2 to 98 over the tiles shown, the reconstructions alike. Error: root of the "
        "mean square over all bands, in deviations of the band.",
    )
    rows: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
        "tile": (stretch.apply(tiles)[..., chosen], {}),
        "drawn again": (stretch.apply(drawn)[..., chosen], {}),
        "error": (error, look),
    }
    for row, (name, (images, how)) in enumerate(rows.items()):
        y = top + 1.06 * row
        axes.text(left - 0.1, y + 0.5, name, ha="right", va="center", fontsize=8, color=INK)
        for col, image in enumerate(images):
            panel(axes, image, left + 1.06 * col, y, (1.0, 1.0), **how)
    for col, heading in enumerate(headings):
        place = left + 1.06 * col + 0.5
        axes.text(place, top - 0.07, heading, ha="center", va="bottom", fontsize=7, color=FAINT)
    bar(figure, axes, (left + 1.06 * len(tiles), top + 2.12, 0.12, 1.0), look)
    return figure


def histogram(errors: NDArray[np.float64], title: str) -> Figure:
    """How many tiles have which mean squared error (N,), with the median marked."""
    figure = sheet(
        8.0,
        4.0,
        title,
        "Mean squared error of a tile's normalized pixels: 0 is a perfect copy, 1 about what the "
        "mean of each band alone would give. A logarithmic axis.",
    )
    axes = figure.add_subplot()
    shown = np.maximum(errors, LEAST)
    middle = float(np.median(shown))
    low, high = float(shown.min()), float(shown.max())
    edges = np.geomspace(low, high if high > low else 1.1 * low, BINS + 1)
    axes.hist(shown, bins=edges.tolist(), color="#4477AA", edgecolor="white", linewidth=0.5)
    axes.axvline(middle, color="#CC3311", linewidth=1.5)
    axes.annotate(
        f"median {middle:.3g}",
        (middle, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(4, -12),
        textcoords="offset points",
        fontsize=8,
        color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
    )
    axes.set(xscale="log", xlabel="mean squared error", ylabel="tiles")
    axes.set_xticks(_ticks(*axes.get_xlim()), minor=False)
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    most = axes.get_ylim()[1]
    axes.set_yticks([n for n in MaxNLocator(6, integer=True).tick_values(0, most) if n <= most])
    axes.set_ylim(0, 1.15 * most)  # room for the words
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two errors: 1, 2 and 5 in each decade, of many decades 1 alone."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) < 7 else (1,)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return [tick for tick in ticks if low <= tick <= high] or [low, high]
