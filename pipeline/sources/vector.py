"""Polygons of a vector layer, brought into the pixel coordinates of a scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyogrio
import pyproj
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError, FieldError, GeometryError

from pipeline.errors import SourceError
from pipeline.sources.raster import Raster

# Edges are divided before they are moved to another CRS, where a straight line is a curve.
EDGES = 64
Box = tuple[float, float, float, float]


def read_polygons(
    path: str, name: str, attribute: str, scene: Raster, lines: range
) -> tuple[NDArray[np.object_], NDArray[Any]]:
    """Valid polygons (P,) near some lines of a scene, as (column, row), and their attribute (P,).

    Only what lies near is read, so that a layer of a whole country costs no more than its index.
    """
    try:
        layer = _layer(path, name, attribute)
        info = pyogrio.read_info(path, layer=layer)
        move = _mover(scene, info["crs"], name)
        box = _around(scene, lines, move)
        _, _, blobs, fields = pyogrio.raw.read(
            path, layer=layer, columns=[attribute], force_2d=True, bbox=box
        )
    except (DataSourceError, DataLayerError, FieldError, GeometryError) as error:
        raise SourceError(
            f"Expected polygons that GDAL can read, got {name}: {error}. Mend source.labels."
        ) from error
    shapes = shapely.make_valid(shapely.from_wkb(blobs))
    _check(shapes, name)
    if move is not None:
        shapes = _bent(shapes, box, move)
    return _to_pixels(shapes, scene), fields[0]


def _layer(path: str, name: str, attribute: str) -> str:
    """Name of the one layer that has the attribute."""
    layers = [str(layer) for layer, geometry in pyogrio.list_layers(path) if geometry is not None]
    having = [
        layer for layer in layers if attribute in pyogrio.read_info(path, layer=layer)["fields"]
    ]
    if len(having) == 1:
        return having[0]
    columns = {field for layer in layers for field in pyogrio.read_info(path, layer)["fields"]}
    raise SourceError(
        f"Expected one layer with a column {attribute}, got {len(having)} in {name}, whose "
        f"columns are {', '.join(sorted(columns)) or 'none'}. Set source.attribute."
    )


def _mover(scene: Raster, crs: str | None, name: str) -> pyproj.Transformer | None:
    """Transformer from the layer's CRS to the scene's; None: they are the same, or both unknown."""
    if crs is None and scene.crs is None:
        return None
    if crs is None or scene.crs is None:
        without, other = (name, scene.name) if crs is None else (scene.name, name)
        raise SourceError(
            f"Expected a CRS in {scene.name} and in {name}, got none in {without}. Give it that "
            f"of {other}, or its own."
        )
    here, there = pyproj.CRS.from_user_input(crs), pyproj.CRS.from_user_input(scene.crs)
    return None if here == there else pyproj.Transformer.from_crs(here, there, always_xy=True)


def _around(scene: Raster, lines: range, move: pyproj.Transformer | None) -> Box:
    """Box in the layer's CRS around some lines of the scene, with a margin."""
    pixels = shapely.segmentize(
        shapely.box(0, lines.start, scene.width, max(lines.stop, lines.start + 1)),
        max(scene.width, len(lines), 1) / EDGES,
    )
    ground = shapely.transform(pixels, lambda points: _affine(points, scene))
    if move is not None:
        ground = shapely.transform(
            ground,
            lambda points: np.column_stack(
                move.transform(points[:, 0], points[:, 1], direction="INVERSE")
            ),
        )
    left, bottom, right, top = shapely.bounds(ground)
    margin = 0.05 * max(right - left, top - bottom)
    if not np.isfinite(margin):
        raise SourceError(
            f"Expected a place on the ground for {scene.name}, got none in the CRS of its labels. "
            "Mend the CRS of one of them."
        )
    return left - margin, bottom - margin, right + margin, top + margin


def _check(shapes: NDArray[np.object_], name: str) -> None:
    flat = shapely.get_dimensions(shapes[~shapely.is_missing(shapes) & ~shapely.is_empty(shapes)])
    if (flat < 2).any():
        raise SourceError(
            f"Expected polygons, got {('points', 'lines')[int(flat.min())]} in {name}. Draw "
            "around them, for example with a buffer."
        )


def _bent(shapes: NDArray[np.object_], box: Box, move: pyproj.Transformer) -> NDArray[np.object_]:
    """Move shapes to the scene's CRS, their edges in short steps."""
    step = max(box[2] - box[0], box[3] - box[1]) / EDGES
    shapes = shapely.segmentize(shapely.clip_by_rect(shapes, *box), step)
    return np.asarray(
        shapely.make_valid(
            shapely.transform(shapes, lambda points: np.column_stack(move.transform(*points.T)))
        )
    )


def _affine(points: NDArray[np.float64], scene: Raster) -> NDArray[np.float64]:
    a, b, c, d, e, f = scene.transform[:6]
    return np.asarray(points @ np.array([[a, d], [b, e]]) + [c, f])


def _to_pixels(shapes: NDArray[np.object_], scene: Raster) -> NDArray[np.object_]:
    a, b, c, d, e, f = scene.transform[:6]
    back = np.linalg.inv(np.array([[a, d], [b, e]]))
    return np.asarray(shapely.transform(shapes, lambda points: (points - [c, f]) @ back))
