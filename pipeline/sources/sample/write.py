"""Scenes as GeoTIFF: pixels and labels side by side, each at a place of its own."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from pipeline.sources.sample.render import render
from pipeline.sources.sample.spectra import BANDS, CLASSES

EPSG = 32633  # UTM 33 north, metres
EASTING, NORTHING = 400_000.0, 5_600_000.0  # upper left corner of the first scene
IN_A_ROW = 4  # scenes side by side, before the next row of scenes

# A tile of 256 is a multiple of 16, as TIFF asks; predictor 2 codes differences of neighbours.
PROFILE = {
    "driver": "GTiff", "dtype": "uint8", "tiled": True, "blockxsize": 256, "blockysize": 256,
    "compress": "deflate", "predictor": 2,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """A scene to be made: its seed, its upper left corner and its file."""

    seed: np.random.SeedSequence
    left: float
    top: float
    path: Path

    @property
    def labels(self) -> Path:
        """The label raster beside the scene."""
        return self.path.with_name(f"{self.path.stem}_labels.tif")


def places(seed: int, scenes: int, extent: float, root: Path) -> list[Place]:
    """``scenes`` scenes to learn from and, last, one more to map; none overlaps another.

    Args:
        seed: Of everything in all scenes; a scene does not depend on how many there are.
        scenes: Number of scenes to learn from.
        extent: Metres from edge to edge of a scene.
        root: Folder of ``scenes/`` and ``extra/``.
    """
    pitch = 1000.0 * ceil((extent + 500.0) / 1000.0)
    extra, *seeds = np.random.SeedSequence(seed).spawn(scenes + 1)
    names = [root / "scenes" / f"scene_{i + 1}.tif" for i in range(scenes)]
    return [
        Place(own, EASTING + pitch * (i % IN_A_ROW), NORTHING - pitch * (i // IN_A_ROW), path)
        for i, (own, path) in enumerate(
            zip([*seeds, extra], [*names, root / "extra" / "unseen.tif"], strict=True)
        )
    ]


def make_scene(place: Place, size: int, resolution: float) -> None:
    """Render a scene of ``size`` pixels a side and write it with its labels."""
    pixels, labels = render(np.random.default_rng(place.seed), size, resolution)
    profile: dict[str, Any] = {
        **PROFILE,
        "height": size,
        "width": size,
        "crs": CRS.from_epsg(EPSG),
        "transform": Affine(resolution, 0.0, place.left, 0.0, -resolution, place.top),
    }
    place.path.parent.mkdir(parents=True, exist_ok=True)
    _write_pixels(place.path, pixels, profile)
    _write_labels(place.labels, labels, profile)


def _write_pixels(path: Path, pixels: NDArray[np.uint8], profile: dict[str, Any]) -> None:
    # Without alpha=NO, GDAL takes a fourth band for transparency.
    with rasterio.open(path, "w", count=4, photometric="RGB", alpha="NO", **profile) as file:
        file.write(pixels.transpose(2, 0, 1))
        file.descriptions = BANDS
        rgb = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        file.colorinterp = (*rgb, ColorInterp.undefined)


def _write_labels(path: Path, labels: NDArray[np.uint8], profile: dict[str, Any]) -> None:
    with rasterio.open(path, "w", count=1, nodata=0, **profile) as file:
        file.write(labels, 1)
        file.descriptions = ("land_cover",)
        file.update_tags(**{name: str(i + 1) for i, name in enumerate(CLASSES)})
