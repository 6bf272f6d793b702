"""The ground that a network learned from, as a bundle holds it, and tiles that lie on it."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SIDES = ["left", "bottom", "right", "top"]
GRID = 1000  # steps of a tile's side to which corners are rounded, so that neighbours meet
MOST = 200_000  # corners of all of it; a bundle has no room for more
LEAST = 0.01  # of a tile: what lies on known ground, and not beside it

Ground = Mapping[str, str]  # CRS -> polygons as text; empty where tiles have no place


def kept(index: pd.DataFrame) -> dict[str, str]:
    """The ground of tiles, by CRS; empty if it has too many corners."""
    import shapely

    found: dict[str, str] = {}
    corners = 0
    for crs, here in _placed(index).groupby("crs", sort=True):
        bounds = here[SIDES].to_numpy(np.float64)
        step = float((bounds[:, 2] - bounds[:, 0]).min()) / GRID
        whole = shapely.union_all(shapely.box(*bounds.T), grid_size=step)
        corners += shapely.get_num_coordinates(whole)
        packed = zlib.compress(shapely.to_wkb(whole, byte_order=1), 9)
        found[str(crs)] = b64encode(packed).decode()
    return found if corners <= MOST else {}


def shares(index: pd.DataFrame, ground: Ground) -> NDArray[np.float64]:
    """Share (N,) of each tile that lies on known ground; 0 where it has no place."""
    import shapely

    out = np.zeros(len(index))
    places = pd.Series(np.arange(len(index)), index=index.index)
    for text in ground.items():
        known = _polygons(text[1])
        for crs, here in _placed(index).groupby("crs"):
            boxes = _moved(here[SIDES].to_numpy(np.float64), str(crs), text[0])
            tree = shapely.STRtree(shapely.get_parts(known))
            tile, part = tree.query(boxes, predicate="intersects")
            common = shapely.area(shapely.intersection(boxes[tile], tree.geometries[part]))
            area = np.bincount(tile, common, minlength=len(boxes))
            out[places[here.index].to_numpy()] += area / shapely.area(boxes)
    return np.minimum(out, 1.0)


def _placed(index: pd.DataFrame) -> pd.DataFrame:
    return index[index["crs"].notna() & index["left"].notna()]


def _polygons(text: str) -> Any:
    import shapely

    return shapely.from_wkb(zlib.decompress(b64decode(text)))


def _moved(bounds: NDArray[np.float64], crs: str, other: str) -> NDArray[Any]:
    """Boxes (N, 4) of a CRS as polygons (N,) of another; their sides stay straight."""
    import shapely

    if crs == other:
        return np.asarray(shapely.box(*bounds.T))
    from rasterio.warp import transform

    rings = bounds[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)
    x, y = transform(crs, other, rings[:, 0], rings[:, 1])
    return np.asarray(shapely.polygons(np.stack([x, y], axis=1).reshape(-1, 4, 2)))
