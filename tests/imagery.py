"""Small rasters and polygons that the tests of sources write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

UTM = "EPSG:32633"
GROUND = Affine(10, 0, 500_000, 0, -10, 5_000_000)  # 10 m pixels, north up


def write_raster(
    path: Path,
    pixels: NDArray[Any],
    names: tuple[str, ...] = (),
    crs: str | None = UTM,
    transform: Any = GROUND,
    **options: Any,
) -> Path:
    """Write (H, W, C) or (H, W) pixels; ``names`` are band descriptions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = pixels[..., None] if pixels.ndim == 2 else pixels
    height, width, count = bands.shape
    profile = {"driver": "GTiff", "crs": crs, "transform": transform if crs else None} | options
    with rasterio.open(
        path, "w", height=height, width=width, count=count, dtype=bands.dtype, **profile
    ) as raster:
        raster.write(np.moveaxis(bands, -1, 0))
        for index, name in enumerate(names, 1):
            raster.set_band_description(index, name)
    return path


def noise(height: int, width: int, bands: int, kind: str = "uint8", seed: int = 0) -> NDArray[Any]:
    """Pixels (H, W, C) from 1 to 250, so that 0 and 255 are free to mean something."""
    return np.random.default_rng(seed).integers(1, 251, (height, width, bands)).astype(kind)
