"""Tiles that excite a class or a filter most, beside the real ones that do, and their spectra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.figures.canvas import FAINT, INK, Stretch, beside, canvas, panel
from pipeline.types import Bands

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORDS, STEP = 1.5, 1.12  # inches before the first tile, units from row to row
FLAT = 4  # bands whose names stand beside each other
DREAMT, REAL = "#CC3311", "#4477AA"


@dataclass(frozen=True, slots=True)
class Row:
    """A dream beside the real tile that comes nearest to it."""

    heading: str  # in lines
    dream: NDArray[Any]  # (H, W, C)
    real: NDArray[Any]
    usual: NDArray[Any]  # (N, C) mean of each of the tiles that its spectrum is compared with


def dreams(
    rows: Sequence[Row], bands: Bands, stretch: Stretch, title: str, caption: str, real: str
) -> Figure:
    """A row a dream: it and a real tile, each in natural and in false colour, and its spectrum."""
    spectrum = max(1.6, 0.4 * len(bands))
    after = 4 * 1.06 + 0.75 + spectrum
    words, headings = beside([row.heading for row in rows], 7.5, WORDS)
    unit = min(1.1, (12.0 - words) / after)
    left = words / unit
    turned = max(len(name) for name in bands) * 0.055 if len(bands) > FLAT else 0.0
    figure, axes = canvas(
        left + after,
        STEP * len(rows) + 0.22 + turned / unit,
        unit,
        title,
        f"{caption} Natural colour: {_named(bands, bands.natural)}; false colour: "
        f"{_named(bands, bands.false_colour)}; stretched from percentile 2 to 98 of training. "
        "Spectra: mean of the dream (red squares, with its pixels from percentile 10 to 90) beside "
        "the tiles that it is compared with (blue, their means from percentile 10 to 90).",
    )
    heads = ("natural colour", "false colour", real, "false colour", "spectrum")
    places = [left + 1.06 * i + (0.15 if i > 1 else 0.0) for i in range(4)]
    for x, head in zip([*places, places[3] + 1.45 + spectrum / 2], heads, strict=True):
        axes.text(x + 0.5 * (head != "spectrum"), -0.03, head, ha="center", va="bottom",
                  fontsize=7.5, color=INK)  # fmt: skip
    for i, row in enumerate(rows):
        y = STEP * i + 0.03
        axes.text(left - 0.1, y + 0.5, headings[i], ha="right", va="center", fontsize=7.5,
                  color=INK)  # fmt: skip
        for x, tile, chosen in zip(
            places,
            (row.dream, row.dream, row.real, row.real),
            (bands.natural, bands.false_colour) * 2,
            strict=True,
        ):
            panel(axes, stretch.apply(tile)[..., list(chosen)], x, y, (1.0, 1.0))
        place = (places[3] + 1.45, y + 0.02, spectrum, 0.96)
        _spectrum(axes, place, row, bands, last=i == len(rows) - 1)
    return figure


def _named(bands: Bands, chosen: Sequence[int]) -> str:
    return ", ".join(bands.names[i] for i in chosen)


def _spectrum(
    axes: Axes, place: tuple[float, float, float, float], row: Row, bands: Bands, *, last: bool
) -> None:
    inset = axes.inset_axes(place, transform=axes.transData)
    x = np.arange(len(bands))
    low, high = np.percentile(row.usual, (10, 90), axis=0)
    inset.fill_between(x, low, high, color=REAL, alpha=0.25, linewidth=0)
    inset.plot(x, row.usual.mean(axis=0), color=REAL, marker="o", markersize=3, linewidth=1.2)
    flat = row.dream.reshape(-1, len(bands))
    inset.vlines(x, *np.percentile(flat, (10, 90), axis=0), color=DREAMT, linewidth=1)
    inset.plot(x, flat.mean(axis=0), color=DREAMT, marker="s", markersize=3, linewidth=1.2)
    inset.set_xlim(-0.4, len(bands) - 0.6)
    inset.set_xticks(x, list(bands) if last else [], fontsize=6.5,
                     rotation=0 if len(bands) <= FLAT else 60)  # fmt: skip
    inset.tick_params(labelsize=6.5, length=2, color=FAINT)
    inset.locator_params(axis="y", nbins=3)
    inset.spines[["top", "right"]].set_visible(False)
