"""Cutting a scene into labelled tiles in one process, over merely reading it whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from affine import Affine

from benchmarks.paired import Bar, Row, compare
from pipeline.schema import ScenesSource, TilesSection
from pipeline.sources.opening import look
from pipeline.sources.pool import read_all

SIDE = 5600  # pixels of the scene: 125 MB of four bands
BLOCK = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}


def measure() -> Iterator[Row]:
    """Reading a scene with its labels into tiles, in one process, over ``dataset.read()``."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        _write(root)
        source = ScenesSource(
            kind="scenes", root=folder, bands={"red": 1, "green": 2, "blue": 3, "nir": 4},
            pattern="scene.tif", labels="{stem}_labels.tif",
            classes={"low": 1, "high": 2}, min_purity=0.5,
        )  # fmt: skip

        def ours() -> None:
            for part in read_all(look(source, TilesSection(size=28)), root, 1):
                part.path.unlink()

        def whole() -> None:
            with rasterio.open(root / "scene.tif") as dataset:
                dataset.read()

        said = "ingest, one process, over dataset.read() of the scene"
        yield compare(said, ours, whole, Bar(0.5))


def _write(root: Path) -> None:
    rng = np.random.default_rng(0)
    slow = np.kron(rng.integers(0, 200, (SIDE // 56, SIDE // 56)), np.ones((56, 56)))
    pixels = (slow + rng.integers(0, 16, (4, SIDE, SIDE))).astype(np.uint8)
    place = Affine(1, 0, 500_000, 0, -1, 5_000_000)
    profile = BLOCK | {"driver": "GTiff", "height": SIDE, "width": SIDE, "dtype": "uint8",
                       "crs": "EPSG:32633", "transform": place}  # fmt: skip
    with rasterio.open(root / "scene.tif", "w", count=4, **profile) as out:
        out.write(pixels)
    with rasterio.open(root / "scene_labels.tif", "w", count=1, **profile) as out:
        out.write((1 + (slow > 100)).astype(np.uint8), 1)
