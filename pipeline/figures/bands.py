"""How values are spread, band by band: of splits, or of a scene beside training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.figures.canvas import FAINT, INK, sheet
from pipeline.shift import HIGH, LOW, Look

COLOURS = ("#999999", "#0077BB", "#CC3311", "#009988")
COLUMNS = 4
HIDDEN = 4  # times as high as another is too high to share a scale


def spread(looks: Mapping[str, Look], title: str, caption: str = "") -> Figure:
    """A panel a band with a line for each of up to four sets; the first is filled."""
    bands = next(iter(looks.values())).bands
    columns = min(COLUMNS, len(bands))
    rows = -(-len(bands) // columns)
    figure = sheet(
        2.75 * columns + 0.4,
        2.2 * rows + 1.3,
        title,
        "Share of pixels by value, each set on its own scale where one would hide another; ends "
        "hold what lies beyond. Ticks below: the range of all but "
        f"two in a thousand pixels of {next(iter(looks))}. {caption}".strip(),
    )
    grid = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for i, (axes, band) in enumerate(zip(grid, bands, strict=False)):
        peaks = [float(_density(look, i).max()) for look in looks.values()]
        apart = max(peaks) > HIDDEN * min(peaks)
        for (name, look), colour in zip(looks.items(), COLOURS, strict=False):
            edges = np.linspace(look.edges[i, 0], look.edges[i, 1], look.counts.shape[1] + 1)
            share = _density(look, i)
            share /= share.max() if apart else 1.0
            first = name == next(iter(looks))
            axes.stairs(share, edges, color=colour, fill=first, alpha=0.5 if first else 1.0,
                        linewidth=1.3, label=name)  # fmt: skip
            if first:
                ends = look.quantiles[i, [LOW, HIGH]]
                axes.plot(ends, [0, 0], "|", color=INK, ms=9, clip_on=False)
        axes.set_title(band, fontsize=9, color=INK)
        low = min(float(look.quantiles[i, LOW]) for look in looks.values())
        high = max(float(look.quantiles[i, HIGH]) for look in looks.values())
        beyond = 0.06 * (high - low) + 1e-9
        axes.set(yticks=[], ylim=(0, None), xlim=(low - beyond, high + beyond))
        axes.tick_params(labelsize=7, color=FAINT, labelcolor=FAINT)
        axes.xaxis.get_major_locator().set_params(nbins=5)
        axes.spines[["top", "right", "left"]].set_visible(False)
    for axes in grid[len(bands) :]:
        axes.set_axis_off()
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=4, frameon=False, fontsize=8)
    return figure


def _density(look: Look, band: int) -> NDArray[np.float64]:
    """Share of pixels a unit of value, in each bin."""
    width = (look.edges[band, 1] - look.edges[band, 0]) / look.counts.shape[1]
    return np.asarray(look.counts[band] / max(1, look.counts[band].sum()) / width, np.float64)
