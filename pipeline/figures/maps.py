"""What a network makes of a scene."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from pipeline.figures.canvas import INK, sheet
from pipeline.types import Classes


def class_map(
    picture: NDArray[Any],
    codes: NDArray[np.uint8],
    classes: Classes,
    title: str,
    reach: tuple[float, float] = (1.0, 1.0),
) -> Figure:
    """A scene (H, W, 3) from 0 to 1 beside its map (h, w) of class + 1; 0 is no data.

    ``reach`` is the height and width of the map over those of the scene: its last cells may stand
    over the edge.
    """
    tall, wide = picture.shape[:2]
    beside = wide <= 1.6 * tall
    rows = -(-len(classes) // 4)
    width = 11.0 if beside else 9.0
    panel = (width / 2 if beside else width) * tall / wide
    height = min(14.0, panel * (1 if beside else 2)) + (0.8 if beside else 1.1) + 0.22 * rows
    figure = sheet(width, height, title)
    grid = figure.subplots(1, 2) if beside else figure.subplots(2, 1)
    grid[0].imshow(picture)
    grid[0].set_title("natural colour, stretched from percentile 2 to 98", fontsize=9, color=INK)
    colours = [(1.0, 1.0, 1.0), *map(to_rgb, classes.colours)]
    grid[1].imshow(
        codes,
        cmap=ListedColormap(colours),
        vmin=0,
        vmax=len(classes),
        interpolation="nearest",
        extent=(0, wide * reach[1], tall * reach[0], 0),
    )
    grid[1].set_title("class map", fontsize=9, color=INK)
    for axes in grid:
        axes.set(xticks=[], yticks=[], xlim=(0, wide), ylim=(tall, 0))
    shares = np.bincount(codes.ravel(), minlength=len(classes) + 1)[1:] / max(1, (codes > 0).sum())
    figure.legend(
        handles=[
            Patch(color=colour, label=f"{name} {share:.1%}")
            for name, colour, share in zip(classes, classes.colours, shares, strict=True)
        ],
        loc="outside lower center",
        ncols=min(4, len(classes)),
        frameon=False,
        fontsize=9,
    )
    return figure
