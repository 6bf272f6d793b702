"""Classes of tiles from polygons, by the share of the tile's area that a class covers.

The rule is raster-vision's for chip classification (Azavea, class inference from intersection over
cell area): a class is a candidate where it covers enough of the tile, and a tie-break chooses among
candidates. Here polygons of a class are merged first, so that neighbours add up and overlaps don't.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from pipeline.errors import ClassError
from pipeline.sources.cutting import Judge, Judgement, pixel_window
from pipeline.sources.raster import Raster
from pipeline.windows import Grid, Patch

SUFFIXES = {".gpkg", ".geojson", ".json", ".shp", ".fgb", ".gml", ".kml"}


@dataclass(frozen=True)
class Polygons:
    """A layer of polygons with a column that names their class."""

    path: str
    name: str
    attribute: str
    values: tuple[int | str, ...]  # of each class
    ignore: tuple[int | str, ...]
    min_purity: float
    tie_break: Literal["largest", "first"]

    @contextmanager
    def opened(self, scene: Raster, grid: Grid, rows: range) -> Iterator[Judge]:
        """Read the polygons around some rows of tiles, into pixel coordinates of the scene."""
        # Brings geopandas along, which workers that read label rasters do without.
        from pipeline.sources.vector import read_polygons

        lines = range(rows.start * grid.stride, rows.stop * grid.stride + grid.size)
        shapes, values = read_polygons(self.path, self.name, self.attribute, scene, lines)
        labels = self._labels(values)
        shapes, labels = shapes[labels >= 0], labels[labels >= 0]
        tree = shapely.STRtree(shapes)

        def judge(patch: Patch) -> Judgement:
            top, left, height, width = pixel_window(grid, patch)
            box = (left, top, left + width, top + height)
            near = np.sort(tree.query(shapely.box(*box)))
            parts = shapely.clip_by_rect(shapes[near], *box)
            shares = _shares(parts, labels[near], len(self.values), grid, patch)
            return choose(shares, self.min_purity, self.tie_break)

        yield judge

    def _labels(self, column: NDArray[Any]) -> NDArray[np.int64]:
        """Label of each polygon; -1 where it is to be ignored or has no value."""
        table = {_key(value): label for label, value in enumerate(self.values)}
        table |= {_key(value): -1 for value in self.ignore}
        keys = [None if value is None or value != value else _key(value) for value in column]
        if wrong := sorted({str(key) for key in keys if key is not None and key not in table}):
            raise ClassError(
                f"Expected the values {', '.join(map(str, self.values))} in the column "
                f"{self.attribute}, got {', '.join(wrong[:8])} in {self.name}. Name them in "
                "source.classes or in source.ignore."
            )
        return np.array([-1 if key is None else table[key] for key in keys], np.int64)


def choose(
    shares: NDArray[np.float64], least: float, tie_break: Literal["largest", "first"]
) -> Judgement:
    """Class and share of each tile from the shares (rows, cols, K) of all classes.

    ``first`` takes the first class that covers ``least``, in the order of source.classes; where
    none does, as with ``largest``, the one that covers most.
    """
    label = shares.argmax(axis=-1)
    if tie_break == "first":
        enough = (shares >= least) & (shares > 0)
        label = np.where(enough.any(axis=-1), enough.argmax(axis=-1), label)
    share = np.take_along_axis(shares, label[..., None], axis=-1)[..., 0]
    return np.where(share > 0, label, -1), share


def _shares(
    shapes: NDArray[np.object_],
    labels: NDArray[np.int64],
    classes: int,
    grid: Grid,
    patch: Patch,
) -> NDArray[np.float64]:
    """Share (rows, cols, K) of each tile's area that each class covers."""
    shares = np.zeros((patch.rows * patch.cols, classes))
    lefts = np.tile((patch.col + np.arange(patch.cols)) * grid.stride, patch.rows)
    tops = np.repeat((patch.row + np.arange(patch.rows)) * grid.stride, patch.cols)
    tiles = shapely.box(lefts, tops, lefts + grid.size, tops + grid.size)
    for label in np.unique(labels):
        parts = shapely.get_parts(shapely.union_all(shapes[labels == label]))
        parts = parts[shapely.area(parts) > 0]
        shapely.prepare(parts)
        tree = shapely.STRtree(tiles)
        part, tile = tree.query(parts, predicate="intersects")
        inside = shapely.contains(parts[part], tiles[tile])
        areas = np.full(len(part), float(grid.size**2))
        cut = ~inside
        areas[cut] = shapely.area(shapely.intersection(parts[part[cut]], tiles[tile[cut]]))
        np.add.at(shares[:, label], tile, areas / grid.size**2)
    return np.minimum(shares, 1.0).reshape(patch.rows, patch.cols, classes)


def _key(value: Any) -> str:
    """Integers that a layer stores as reals, because some are missing, match all the same."""
    if isinstance(value, (int, float, np.integer, np.floating)):
        return f"{float(value):g}" if float(value) % 1 else str(int(value))
    return str(value).strip()
