"""A class for each cell of a scene: windows centred on the cells, read in strips.

A cell is a square of ``stride`` pixels. Its class is that of the window of the network's tile size
around its centre; at the edges windows are pushed back into the scene, so that every cell has one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.bundle import Bundle
from pipeline.errors import ConfigError, SourceError
from pipeline.layers import Normalize
from pipeline.sources import raster
from pipeline.sources.raster import Reading
from pipeline.trained import check_finite
from pipeline.types import Window

STRIP_BYTES = 64 * 2**20  # of pixels held at once, if one row of windows is not more by itself
BLOCK = 256  # side of a block of the map in cells


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a scene of (height, width) pixels."""

    height: int
    width: int
    size: int  # of a window
    stride: int  # of a cell
    name: str = "the scene"  # for messages

    def __post_init__(self) -> None:
        if min(self.height, self.width) < self.size:
            raise SourceError(
                f"Expected a scene of at least {self.size} x {self.size} pixels, the tile size of "
                f"the network, got {self.height} x {self.width} in {self.name}. Leave it out of "
                "predict.scenes."
            )
        if not 1 <= self.stride <= self.size:
            raise ConfigError(
                f"Expected predict.stride from 1 to the tile size {self.size}, got {self.stride}."
            )

    @property
    def rows(self) -> int:
        """Cells from top to bottom; the last may reach over the edge."""
        return -(-self.height // self.stride)

    @property
    def cols(self) -> int:
        """Cells from left to right."""
        return -(-self.width // self.stride)

    @property
    def tops(self) -> NDArray[np.int64]:
        """First pixel row of the window of each row of cells."""
        return self._starts(self.rows, self.height)

    @property
    def lefts(self) -> NDArray[np.int64]:
        """First pixel column of the window of each column of cells."""
        return self._starts(self.cols, self.width)

    def _starts(self, cells: int, extent: int) -> NDArray[np.int64]:
        centred = np.arange(cells) * self.stride - (self.size - self.stride) // 2
        return np.clip(centred, 0, extent - self.size)

    def span(self, rows: range) -> tuple[int, int]:
        """First pixel row, and the one after the last, that some rows of cells look at."""
        tops = self.tops
        return int(tops[rows.start]), int(tops[rows.stop - 1]) + self.size

    def strips(self, row_bytes: int, most: int = STRIP_BYTES) -> Iterator[range]:
        """Rows of cells that are read at once; none reaches over a block of the map."""
        lines = most // max(1, row_bytes)
        rows = max(1, (lines - self.size) // self.stride + 1)
        for block in range(0, self.rows, BLOCK):
            end = min(block + BLOCK, self.rows)
            for start in range(block, end, rows):
                yield range(start, min(start + rows, end))


@dataclass(frozen=True, slots=True)
class Strip:
    """Some rows of the map."""

    rows: range
    codes: NDArray[np.uint8]  # (rows, cols), class + 1; 0: no data, or too little confidence
    confidence: NDArray[np.uint8]  # percent; 255: no data


def classify(
    dataset: Any,
    indexes: list[int],
    bundle: Bundle,
    cells: Cells,
    reading: Reading,
    batch: int,
    least: float = 0.0,
) -> Iterator[Strip]:
    """Strips of the map of an open raster, from the top; memory holds one strip of pixels.

    Cells that the network is less sure of than ``least`` stay without a class.
    """
    itemsize = np.dtype(dataset.dtypes[indexes[0] - 1]).itemsize
    for rows in cells.strips(cells.width * len(indexes) * itemsize):
        top, bottom = cells.span(rows)
        window = Window(top, 0, bottom - top, cells.width)
        pixels = raster.read(dataset, indexes, window)
        bad = raster.invalid(dataset, indexes, pixels, window, reading)
        if bad is not None:
            pixels[bad] = neutral(bundle, pixels)
        empty = empty_cells(bad, cells, rows, top)
        yield _strip(pixels, empty, bundle, cells, rows, batch, least)


def neutral(bundle: Bundle, pixels: NDArray[Any]) -> NDArray[Any]:
    """What stands in for no data (C,): the training tiles' mean, which the network sees as 0."""
    layers = [m for m in bundle.network.modules() if isinstance(m, Normalize)]
    mean = layers[0].mean.cpu().numpy() if layers else np.zeros(pixels.shape[-1])
    return mean.round().astype(pixels.dtype) if pixels.dtype.kind in "iu" else mean


def empty_cells(
    bad: NDArray[np.bool_] | None, cells: Cells, rows: range, top: int
) -> NDArray[np.bool_]:
    """Cells (rows, cols) with a pixel of no data in the cell itself.

    Args:
        bad: (height, width) of the strip's pixels that hold no data; None: all hold some.
        cells: All cells of the scene.
        rows: Rows of cells of the strip.
        top: First pixel row of the strip.
    """
    out = np.zeros((len(rows), cells.cols), bool)
    if bad is None:
        return out
    lines = bad[rows.start * cells.stride - top : rows.stop * cells.stride - top]
    down = np.arange(0, len(rows)) * cells.stride
    across = np.arange(0, cells.cols) * cells.stride
    gathered = np.logical_or.reduceat(lines, down, axis=0)
    return np.asarray(np.logical_or.reduceat(gathered, across, axis=1))


def _strip(
    pixels: NDArray[Any],
    empty: NDArray[np.bool_],
    bundle: Bundle,
    cells: Cells,
    rows: range,
    batch: int,
    least: float,
) -> Strip:
    codes = np.zeros(empty.shape, np.uint8)
    confidence = np.full(empty.shape, 255, np.uint8)
    views = np.lib.stride_tricks.sliding_window_view(pixels, (cells.size, cells.size), axis=(0, 1))
    down, across = np.nonzero(~empty)
    tops, lefts = cells.tops[rows.start : rows.stop], cells.lefts
    first = int(tops[0])
    for start in range(0, len(down), batch):
        i, j = down[start : start + batch], across[start : start + batch]
        tiles = views[tops[i] - first, lefts[j]].transpose(0, 2, 3, 1)  # (N, C, H, W) before
        shares = bundle.probabilities(tiles, batch_size=batch)
        check_finite(shares)
        most = shares.max(axis=1)
        codes[i, j] = np.where(most >= least, shares.argmax(axis=1) + 1, 0)
        confidence[i, j] = np.rint(100 * most)
    return Strip(rows, codes, confidence)
