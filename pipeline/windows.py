"""Grids of square windows over a raster: pure integers and views, nothing is read or copied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


class Patch(NamedTuple):
    """A rectangle of a grid, counted in windows, not in pixels."""

    row: int
    col: int
    rows: int
    cols: int


def count(extent: int, size: int, stride: int) -> int:
    """Windows that fit along one axis."""
    return 0 if extent < size else (extent - size) // stride + 1


def beyond(extent: int, size: int, stride: int) -> int:
    """Windows that the rest of an axis asks for, but that reach over the edge."""
    wanted = ceil(max(extent - size, 0) / stride) + 1  # enough to cover the last pixel
    inside = ceil(extent / stride)  # a window starts inside the raster
    return min(wanted, inside) - count(extent, size, stride)


@dataclass(frozen=True, slots=True)
class Grid:
    """All windows that fit into a raster of (height, width) pixels, ``stride`` apart."""

    height: int
    width: int
    size: int
    stride: int

    @property
    def rows(self) -> int:
        """Windows from top to bottom."""
        return count(self.height, self.size, self.stride)

    @property
    def cols(self) -> int:
        """Windows from left to right."""
        return count(self.width, self.size, self.stride)

    @property
    def beyond(self) -> int:
        """Windows that begin inside the raster and reach over its edge."""
        down = self.rows + beyond(self.height, self.size, self.stride)
        across = self.cols + beyond(self.width, self.size, self.stride)
        return down * across - self.rows * self.cols

    def span(self, windows: int) -> int:
        """Pixels from the start of the first to the end of the last of so many windows."""
        return (windows - 1) * self.stride + self.size

    def patches(self, rows: range, most: int, deepest: int) -> Iterator[Patch]:
        """Cut some rows of windows into patches of ``most`` pixels and ``deepest`` pixel rows.

        A patch holds at least one window, however small the limits are, and rows stay whole for
        as long as they can, because that is how rasters are stored.
        """
        if not self.cols:
            return
        across = min(self.cols, max(1, count(most // self.size, self.size, self.stride)))
        deep = min(deepest, most // self.span(across))
        down = max(1, count(deep, self.size, self.stride)) if across == self.cols else 1
        for row in range(rows.start, rows.stop, down):
            for col in range(0, self.cols, across):
                yield Patch(row, col, min(down, rows.stop - row), min(across, self.cols - col))


def cut(pixels: NDArray[Scalar], size: int, stride: int) -> NDArray[Scalar]:
    """View (height, width, ...) pixels as (rows, cols, size, size, ...) windows; read-only."""
    height, width = pixels.shape[:2]
    down, across = pixels.strides[:2]
    return as_strided(
        pixels,
        (count(height, size, stride), count(width, size, stride), size, size, *pixels.shape[2:]),
        (down * stride, across * stride, down, across, *pixels.strides[2:]),
        writeable=False,
    )


def totals(pixels: NDArray[np.bool_], size: int, stride: int) -> NDArray[np.int64]:
    """Count the true pixels of each window of a (height, width) mask: (rows, cols)."""
    down = count(pixels.shape[0], size, stride)
    # The narrowest type that holds the sum of a column: its additions fill a vector register.
    narrow = np.min_scalar_type(size)
    columns = np.empty((down, pixels.shape[1]), narrow)
    for row in range(down):  # whole lines of the mask are added at once
        lines = pixels[row * stride : row * stride + size].view(np.uint8)
        np.add.reduce(lines, axis=0, dtype=narrow, out=columns[row])
    running = np.zeros((down, pixels.shape[1] + 1), np.int64)
    np.cumsum(columns, axis=1, out=running[:, 1:])
    starts = np.arange(count(pixels.shape[1], size, stride)) * stride
    return np.asarray(running[:, starts + size] - running[:, starts])
