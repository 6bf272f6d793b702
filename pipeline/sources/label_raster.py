"""Classes of tiles from a label raster, on the scene's grid or warped to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from pipeline.errors import ClassError, SourceError
from pipeline.sources.cutting import Judge, Judgement, pixel_window
from pipeline.sources.raster import Raster, Reading, facts, invalid, opened, read
from pipeline.windows import Grid, Patch, totals

# A type that holds every label and one value more, for "no label here".
WIDER = {"uint8": "int16", "int8": "int16", "uint16": "int32", "int16": "int32"}
ANY = Reading(())


@dataclass(frozen=True)
class LabelRaster:
    """Majority class, and the share of the tile that it covers.

    Pixels without a label, and those with a value to ignore, belong to no class: they lower the
    purity of whatever class has the rest.
    """

    path: str
    name: str
    values: tuple[int, ...]  # of each class
    ignore: tuple[int, ...]
    min_purity: float

    @contextmanager
    def opened(self, scene: Raster, grid: Grid, rows: range) -> Iterator[Judge]:
        """Open the labels as a raster on the scene's grid."""
        with ExitStack() as stack:
            labels = stack.enter_context(opened(self.path, self.name))
            _check(labels, self.name)
            there = facts(labels, self.path, self.name)
            if not _same_grid(there, scene):
                labels = stack.enter_context(_warped(labels, there, scene))

            def judge(patch: Patch) -> Judgement:
                counts = self._count(labels, grid, patch)
                most = counts.max(axis=0)
                return np.where(most > 0, counts.argmax(axis=0), -1), most / grid.size**2

            yield judge

    def _count(self, labels: Any, grid: Grid, patch: Patch) -> NDArray[np.int64]:
        """Pixels (K, rows, cols) of each class in each window; any unknown value is refused."""
        window = pixel_window(grid, patch)
        pixels = read(labels, [1], window)
        unlabelled = invalid(labels, [1], pixels, window, ANY)
        values = pixels[..., 0]
        counts = np.zeros((len(self.values), patch.rows, patch.cols), np.int64)
        seen = 0 if unlabelled is None else np.count_nonzero(unlabelled)
        for label, value in enumerate(self.values + self.ignore):
            here = values == value
            if unlabelled is not None:
                here &= ~unlabelled
            found = np.count_nonzero(here)
            seen += found
            if found and label < len(self.values):
                counts[label] = totals(here, grid.size, grid.stride)
        if seen < values.size:
            self._refuse(values if unlabelled is None else values[~unlabelled])
        return counts

    def _refuse(self, values: NDArray[Any]) -> None:
        unknown = np.setdiff1d(values, self.values + self.ignore)
        wrong = ", ".join(f"{value:g}" for value in unknown[:8])
        raise ClassError(
            f"Expected the label values {', '.join(map(str, self.values))}, got {wrong} in "
            f"{self.name}. Name them in source.classes or in source.ignore."
        )


def _check(labels: Any, name: str) -> None:
    if labels.count != 1:
        raise SourceError(
            f"Expected a label raster of one band, got {labels.count} bands in {name}. Extract "
            "the band with gdal_translate -b."
        )


def _same_grid(there: Raster, scene: Raster) -> bool:
    shape = (there.height, there.width) == (scene.height, scene.width)
    if not shape or there.crs != scene.crs:
        return False
    # Off by a thousandth of a pixel at the far corner: the same grid, written by another program.
    far = np.array([scene.width, scene.height, 1.0])
    here, other = (np.array(raster.transform).reshape(3, 3) for raster in (scene, there))
    apart = np.abs((np.linalg.inv(here) @ other - np.eye(3)) * far).sum(axis=1)
    return scene.crs is None or bool(apart.max() < 1e-3)


def _warped(labels: Any, there: Raster, scene: Raster) -> WarpedVRT:
    if there.crs is None or scene.crs is None:
        without = there.name if there.crs is None else scene.name
        raise SourceError(
            f"Expected labels on the grid of {scene.name}, or a CRS by which to find it, got "
            f"another grid in {there.name} and no CRS in {without}. Set it with gdal_edit -a_srs."
        )
    kind = WIDER.get(there.dtypes[0], "float64")
    nowhere = np.iinfo(kind).min if kind.startswith("int") else np.finfo(kind).min
    return WarpedVRT(
        labels,
        crs=scene.crs,
        transform=scene.transform,
        height=scene.height,
        width=scene.width,
        resampling=Resampling.nearest,
        dtype=kind,
        nodata=float(nowhere),
    )


def whole_numbers(values: Sequence[int | str], what: str) -> tuple[int, ...]:
    """Label values as the integers that a raster holds."""
    wrong = [value for value in values if not isinstance(value, int)]
    if wrong:
        raise ClassError(
            f"Expected whole numbers in {what} for a label raster, got {wrong[0]!r}. Give the "
            "value that the raster holds, or polygons in source.labels."
        )
    return tuple(int(value) for value in values)
