"""Rasters into labelled tiles, some whole rows of blocks at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import rasterio
from numpy.typing import NDArray

from pipeline.errors import SourceError
from pipeline.sources.batch import BATCH_BYTES, TileBatch, table
from pipeline.sources.raster import (
    Raster,
    Reading,
    band_type,
    facts,
    find_bands,
    invalid,
    read,
)
from pipeline.sources.raster import opened as opened_raster
from pipeline.types import Window
from pipeline.windows import Grid, Patch, cut, totals

NODATA = "nodata"
EDGE = "beyond the edge"
UNLABELLED = "unlabelled"
IMPURE = "below min_purity"

# Lines read at a time where blocks are lower than that: fewer calls, for a few megabytes.
LINES = 256

# (rows, cols) labels, -1 for none, and the share of each tile that its class covers.
Judgement = tuple[NDArray[np.int64], NDArray[np.float64]]
Judge = Callable[[Patch], Judgement]


class Labels(Protocol):
    """What tells the class of a raster's tiles; holds nothing open until it is asked to."""

    @property
    def min_purity(self) -> float:
        """Share of a tile that its class must cover."""

    def opened(self, scene: Raster, grid: Grid, rows: range) -> AbstractContextManager[Judge]:
        """Open what is needed to judge the patches of some rows of a scene's tiles."""


@dataclass(frozen=True)
class Piece:
    """Some rows of tiles of one file."""

    path: str
    name: str  # relative to the source's root
    stem: str  # begins the ids of its tiles
    labels: Labels
    cost: int  # bytes to read, about
    rows: range | None = None  # None: all


@dataclass(frozen=True)
class RasterTask:
    """Pieces of rasters that one worker cuts into tiles."""

    pieces: tuple[Piece, ...]
    reading: Reading
    dtype: str
    size: int
    stride: int

    @property
    def cost(self) -> int:
        """Bytes to read, about."""
        return sum(piece.cost for piece in self.pieces)

    def read(self) -> Iterator[TileBatch]:
        """Cut one piece after the other."""
        for piece in self.pieces:
            with opened_raster(piece.path, piece.name) as dataset:
                yield from self._cut(dataset, piece)

    def _cut(self, dataset: Any, piece: Piece) -> Iterator[TileBatch]:
        scene = facts(dataset, piece.path, piece.name)
        indexes = find_bands(dataset, self.reading.bands, piece.name)
        kind = band_type(dataset, indexes, piece.name)
        if kind != np.dtype(self.dtype):
            raise SourceError(
                f"Expected numbers of type {self.dtype} as in the first file, got {kind} in "
                f"{piece.name}. Convert one of them with gdal_translate -ot."
            )
        grid = Grid(scene.height, scene.width, self.size, self.stride)
        rows = range(grid.rows) if piece.rows is None else piece.rows
        if rows.start == 0 and grid.beyond:
            yield self._nothing(Counter({EDGE: grid.beyond}), len(indexes))
        most = BATCH_BYTES // (len(indexes) * kind.itemsize)
        deepest = max(scene.block[0], self.size, LINES)
        cache = scene.cache_bytes(deepest)
        with rasterio.Env(GDAL_CACHEMAX=cache), piece.labels.opened(scene, grid, rows) as judge:
            for patch in grid.patches(rows, most, deepest):
                yield self._tiles(dataset, scene, piece, indexes, grid, patch, judge)

    def _nothing(self, dropped: Counter[str], bands: int) -> TileBatch:
        empty = np.empty((0, self.size, self.size, bands), self.dtype)
        return TileBatch(empty, table({}, 0), dropped)

    def _tiles(
        self,
        dataset: Any,
        scene: Raster,
        piece: Piece,
        indexes: list[int],
        grid: Grid,
        patch: Patch,
        judge: Judge,
    ) -> TileBatch:
        window = pixel_window(grid, patch)
        pixels = read(dataset, indexes, window)
        bad = invalid(dataset, indexes, pixels, window, self.reading)
        labels, purity = judge(patch)
        whole = True if bad is None else totals(bad, self.size, self.stride) == 0
        known = labels >= 0
        pure = purity >= piece.labels.min_purity
        keep = whole & known & pure
        dropped = Counter(
            {
                NODATA: labels.size - int(np.sum(np.broadcast_to(whole, labels.shape))),
                UNLABELLED: int(np.sum(whole & ~known)),
                IMPURE: int(np.sum(whole & known & ~pure)),
            }
        )
        tiles = cut(pixels, self.size, self.stride)[keep]
        rows, cols = (found + start for found, start in zip(np.nonzero(keep), patch, strict=False))
        columns = place(scene, rows * self.stride, cols * self.stride, self.size, piece.stem)
        columns |= {"label": labels[keep], "purity": purity[keep], "group": piece.name}
        return TileBatch(tiles, table(columns, len(tiles)), +dropped)


def pixel_window(grid: Grid, patch: Patch) -> Window:
    """Pixels that a patch of windows spans."""
    top, left = patch.row * grid.stride, patch.col * grid.stride
    return Window(top, left, grid.span(patch.rows), grid.span(patch.cols))


def place(
    scene: Raster, rows: NDArray[np.int64], cols: NDArray[np.int64], size: int, stem: str
) -> dict[str, Any]:
    """Columns that tell where tiles lie; bounds are the envelope where a raster is rotated."""
    parts = [pa.array(part).cast(pa.string()) for part in (rows, cols)]
    columns: dict[str, Any] = {
        "id": pc.binary_join_element_wise(pa.scalar(stem), *parts, ":"),
        "source": scene.name,
        "window_row": rows,
        "window_col": cols,
        "window_height": size,
        "window_width": size,
        "frame": scene.crs or scene.name,
        "crs": scene.crs,
        "resolution": scene.resolution,
    }
    if scene.crs:
        x, y = corners(scene, rows, cols, size)
        columns |= {"left": x.min(0), "right": x.max(0), "bottom": y.min(0), "top": y.max(0)}
    return columns


def corners(
    scene: Raster, rows: NDArray[np.int64], cols: NDArray[np.int64], size: int
) -> NDArray[np.float64]:
    """Ground coordinates of each tile's corners: (x or y, corner, tile)."""
    down = np.stack([rows, rows, rows + size, rows + size])
    across = np.stack([cols, cols + size, cols, cols + size])
    a, b, c, d, e, f = scene.transform[:6]
    return np.stack([a * across + b * down + c, d * across + e * down + f])


@dataclass(frozen=True)
class OneLabel:
    """The whole file shows one class, as in a class folder, or has no labels: 0 then."""

    label: int
    min_purity: float = 0.0

    def opened(self, scene: Raster, grid: Grid, rows: range) -> AbstractContextManager[Judge]:
        """Judge all tiles alike."""
        return nullcontext(self._judge)

    def _judge(self, patch: Patch) -> Judgement:
        shape = (patch.rows, patch.cols)
        return np.full(shape, self.label, np.int64), np.ones(shape)


def stems(names: list[str]) -> list[str]:
    """Names without their suffixes, unless that makes two of them alike."""
    short = [str(PurePosixPath(name).with_suffix("")) for name in names]
    return short if len(set(short)) == len(short) else list(names)
