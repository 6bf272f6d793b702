"""What speaks for a class: maps over tiles, shares of bands, and how far to believe them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipeline.figures.canvas import (
    AMOUNT,
    FAINT,
    INK,
    beside,
    canvas,
    panel,
    sheet,
    stacked,
    symmetric,
)
from pipeline.types import FALLBACK_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORDS = 1.65  # inches at the left of a row, if it needs no more
SIZE = 7.5  # points
TOP = 99.5  # percentile at which a map's colours end
MARKS = "osD^v*P"


def maps(
    views: Mapping[str, NDArray[Any]],
    columns: Mapping[str, NDArray[Any]],
    signed: Collection[str],
    headings: Sequence[str],
    title: str,
    caption: str,
) -> Figure:
    """A row a tile: the tile in some looks, then a map a column, each on a scale of its own.

    Args:
        views: Heading -> (N, H, W, 3), values from 0 to 1.
        columns: Heading -> (N, H, W).
        signed: Headings of columns that are centred on white; others begin dark.
        headings: At the left of each row, in lines.
        title: Over everything.
        caption: Below, before what is said of the colours.
    """
    words, headings = beside(headings, SIZE, WORDS)
    unit, left = _units(len(views) + len(columns), words)
    top = 0.25
    figure, axes = canvas(
        left + 1.06 * (len(views) + len(columns)) + 0.15,
        top + 1.06 * len(headings),
        unit,
        title,
        f"{caption} Red speaks for the class, blue against it, white is zero; from dark to yellow: "
        f"little to much. Each map has its own scale, up to percentile {TOP:g} of its magnitudes. "
        "Tiles are stretched from percentile 2 to 98 over all shown.",
    )
    for row, heading in enumerate(headings):
        y = top + 1.06 * row + 0.5
        axes.text(left - 0.1, y, heading, ha="right", va="center", fontsize=7.5, color=INK)
    for column, (name, images) in enumerate({**views, **columns}.items()):
        x = left + 1.06 * column + (0.15 if name in columns else 0.0)
        axes.text(
            x + 0.5,
            top - 0.08,
            name.replace(" ", "\n"),
            ha="center",
            va="bottom",
            fontsize=7.5,
            color=INK,
        )
        for row, image in enumerate(images):
            look = {} if name in views else _look(image, name in signed)
            panel(axes, image, x, top + 1.06 * row, (1.0, 1.0), **look)
    return figure


def _units(columns: int, words: float) -> tuple[float, float]:
    """Inches of a unit for so many columns of maps, and units for the words before them."""
    unit = min(1.1, max(12.0 - words, 0.62 * columns) / (1.06 * columns + 0.15))
    return unit, words / unit


def _look(image: NDArray[Any], signed: bool) -> dict[str, Any]:
    if signed:
        return symmetric(image, TOP)
    most = float(np.percentile(image, TOP)) or float(image.max()) or 1.0
    return {"cmap": AMOUNT, "vmin": 0.0, "vmax": most}


def by_band(
    views: Mapping[str, NDArray[Any]],
    maps: NDArray[Any],
    shares: NDArray[Any],
    bands: Sequence[str],
    headings: Sequence[str],
    title: str,
    caption: str,
) -> Figure:
    """A row a tile: the tile in some looks, then a map (N, H, W, C) band by band on one scale."""
    words, headings = beside(headings, SIZE, WORDS)
    unit, left = _units(len(views) + len(bands), words)
    over = [stacked(name, unit, SIZE) for name in bands]
    top = 0.16 * max(name.count("\n") for name in over) / unit
    figure, axes = canvas(
        left + 1.06 * (len(views) + len(bands)) + 0.15,
        top + 1.28 * len(headings),
        unit,
        title,
        f"{caption} Red speaks for the class, blue against it; the bands of a tile share a scale, "
        f"up to percentile {TOP:g} of their magnitudes. Over each map: the band's share of all "
        "magnitudes.",
    )
    for row, heading in enumerate(headings):
        y = top + 1.28 * row + 0.2
        axes.text(left - 0.1, y + 0.5, heading, ha="right", va="center", fontsize=SIZE, color=INK)
        look = symmetric(maps[row], TOP)
        for column, (name, images) in enumerate(views.items()):
            panel(axes, images[row], left + 1.06 * column, y, (1.0, 1.0))
            if row == 0:
                _over(axes, left + 1.06 * column, y, name.replace(" ", "\n"))
        for band, name in enumerate(over):
            x = left + 1.06 * (len(views) + band) + 0.15
            panel(axes, maps[row, ..., band], x, y, (1.0, 1.0), **look)
            share = f"{100 * shares[row, band]:.0f} %"
            _over(axes, x, y, f"{name}\n{share}" if row == 0 else share)
    return figure


def _over(axes: Axes, x: float, y: float, text: str) -> None:
    axes.text(x + 0.5, y - 0.05, text, ha="center", va="bottom", fontsize=7.5, color=INK)


@dataclass(frozen=True, slots=True)
class Spread:
    """A value of each class and band over tiles: the mean, and where four of five tiles lie."""

    heading: str
    mean: NDArray[Any]  # (K, C)
    low: NDArray[Any]
    high: NDArray[Any]

    @classmethod
    def of(cls, heading: str, values: NDArray[Any], labels: NDArray[Any], kept: Any) -> Spread:
        """Of values (N, C) of tiles with these labels (N,), for the classes kept."""
        mine = [values[labels == label] for label in kept]
        low, high = np.array([np.percentile(some, (10, 90), axis=0) for some in mine]).swapaxes(
            0, 1
        )
        return cls(heading, np.array([some.mean(axis=0) for some in mine]), low, high)


def bands(
    spreads: Sequence[Spread],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    caption: str,
) -> Figure:
    """Class by band: shares in per cent, as numbers on their colours."""
    across = len(columns) <= 6
    grid = (1, len(spreads)) if across else (len(spreads), 1)
    wide, high = max(3.9, 1.6 + 0.95 * len(columns)), 1.3 + 0.5 * len(rows)
    figure = sheet(
        max(6.0, grid[1] * wide),
        grid[0] * high + 1.1,
        title,
        f"{caption} Means in per cent; below each, where the middle four of five tiles lie.",
    )
    for axes, spread in zip(np.ravel(figure.subplots(*grid)), spreads, strict=True):
        _cells(axes, spread, rows, columns)
    return figure


def _cells(axes: Axes, spread: Spread, rows: Sequence[str], columns: Sequence[str]) -> None:
    lowest = float(spread.mean.min())
    most = float(np.abs(spread.mean).max()) or 1.0
    # Losses may be gains; then white is none.
    look: dict[str, Any] = (
        {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
        if lowest < 0
        else {"cmap": AMOUNT, "vmin": 0.0, "vmax": most}
    )
    drawn = axes.imshow(spread.mean, aspect="auto", **look)
    for row, column in np.ndindex(spread.mean.shape):
        red, green, blue, _ = drawn.to_rgba(spread.mean[row, column])
        dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
        colour = "white" if dark else INK
        place: dict[str, Any] = {"ha": "center", "va": "center", "color": colour}
        value, low, high = (
            _number(100 * float(part[row, column]))
            for part in (spread.mean, spread.low, spread.high)
        )
        axes.text(column, row - 0.12, value, fontsize=9, **place)
        axes.text(column, row + 0.27, f"{low} to {high}", fontsize=6, **place)
    axes.set_title(spread.heading, loc="left", fontsize=9, color=INK)
    axes.set_xticks(range(len(columns)), [stacked(name, 0.85, 8) for name in columns], fontsize=8)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _number(value: float) -> str:
    text = f"{value:.0f}"
    return "0" if text == "-0" else text.replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True, slots=True)
class Believed:
    """What the tests of a method found, as a figure shows it."""

    name: str
    shares: Sequence[float]  # of the layers drawn anew
    correlation: Sequence[float]
    areas: tuple[float, float]  # below the curve of deletion and of insertion
    score: float
    interval: tuple[float, float]


def trust(
    methods: Sequence[Believed], chance: Believed, limits: Sequence[float], title: str, caption: str
) -> Figure:
    """Left: how alike maps stay while the network forgets. Right: scores of removal."""
    figure = sheet(11.0, 2.4 + 0.5 * max(4, len(methods) + 1), title, caption)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    for axes in (left, right):
        axes.grid(color="#e4e4e4", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, color=FAINT)
    _forgetting(left, methods, limits)
    _scores(right, [*methods, chance])
    return figure


def _colour(index: int, count: int) -> str:
    return FALLBACK_COLOURS[index % len(FALLBACK_COLOURS)] if index < count else FAINT


def _forgetting(axes: Axes, methods: Sequence[Believed], limits: Sequence[float]) -> None:
    for limit in limits:
        axes.axhline(limit, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
    for i, method in enumerate(methods):
        axes.plot(
            [0, *(100 * share for share in method.shares)],
            [1, *method.correlation],
            color=_colour(i, len(methods)),
            marker=MARKS[i % len(MARKS)],
            markersize=5,
            linewidth=1.5,
            label=method.name,
            clip_on=False,
        )
    lowest = min(-0.2, *(min(method.correlation) for method in methods))
    ticks = [tick / 4 for tick in range(-4, 5) if tick / 4 >= lowest]
    axes.set(xlim=(0, 100), ylim=(lowest, 1.02), yticks=ticks)
    axes.set_xlabel("layers with random weights, from the head down, %", fontsize=8)
    axes.set_ylabel("rank correlation with the trained maps", fontsize=8)
    axes.legend(fontsize=7.5, frameon=False, loc="upper right")


def _scores(axes: Axes, methods: Sequence[Believed]) -> None:
    axes.axvline(0, color=FAINT, linewidth=1)
    for i, method in enumerate(methods):
        low, high = method.interval
        colour = _colour(i, len(methods) - 1)
        axes.plot([low, high], [i, i], color=colour, linewidth=2)
        axes.plot([method.score], [i], color=colour, marker=MARKS[i % len(MARKS)], markersize=6)
    labels = [
        f"{one.name}\ndeletion {one.areas[0]:.2f}, insertion {one.areas[1]:.2f}" for one in methods
    ]
    axes.set_yticks(range(len(methods)), labels, fontsize=7.5)
    axes.set_ylim(len(methods) - 0.4, -0.6)
    low, high = axes.get_xlim()
    axes.set_xticks([t for t in MaxNLocator(6).tick_values(low, high) if low <= t <= high])
    axes.set_xlim(low, high)
    axes.set_xlabel("insertion less deletion; 95 % interval over tiles", fontsize=8)
