"""A glance at a scene before it is mapped: is it like what the network was trained on?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.bundle import Bundle
from pipeline.shift import Look, differences
from pipeline.sources import raster
from pipeline.sources.raster import Reading
from pipeline.types import Window

GRID = 6  # windows a side that are looked at
SIDE = 128  # pixels


@dataclass(frozen=True)
class Glance:
    """What was seen of a scene, and in what it is unlike the training tiles."""

    seen: Look  # of training
    found: Look
    unlike: list[str]


def glance(dataset: Any, indexes: list[int], bundle: Bundle, reading: Reading) -> Glance | None:
    """Compare an open raster; None where the bundle tells nothing or the scene holds no data."""
    if not bundle.look:
        return None
    pixels, valid = windows(dataset, indexes, reading)
    if not valid.any():
        return None
    seen = Look.load(bundle.look)
    found = Look.of(pixels, seen.bands, valid)
    outside = seen.outside(pixels[valid].astype(np.float64))
    return Glance(seen, found, differences(seen, found, outside))


def windows(
    dataset: Any, indexes: list[int], reading: Reading
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Windows (N, h, w, C) spread over a raster at its full resolution, and where they hold data.

    Full, as a raster read at a smaller size would hide its grain.
    """
    height, width = min(SIDE, dataset.height), min(SIDE, dataset.width)
    pixels, valid = [], []
    for row in _starts(dataset.height, height):
        for col in _starts(dataset.width, width):
            window = Window(row, col, height, width)
            some = raster.read(dataset, indexes, window)
            bad = raster.invalid(dataset, indexes, some, window, reading)
            pixels.append(some)
            valid.append(np.ones((height, width), bool) if bad is None else ~bad)
    return np.stack(pixels), np.stack(valid)


def _starts(extent: int, side: int) -> list[int]:
    """Where windows begin, evenly from end to end, none over another unless all fill the side."""
    count = min(GRID, -(-extent // side))
    return [round(start) for start in np.linspace(0, extent - side, count)]
