from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ClassError, SourceError
from pipeline.schema import ScenesSource, TilesSection
from pipeline.sources.opening import look
from pipeline.sources.polygons import choose
from pipeline.sources.pool import read_part
from tests.imagery import GROUND, UTM, noise, write_raster

CLASSES = {"water": "w", "trees": "t"}
SUFFIXES = ["gpkg", "geojson", "shp"]


def _read(root: Path, size: int = 10, **changes: Any) -> tuple[pa.Table, dict[str, int]]:
    given = {
        "kind": "scenes",
        "root": str(root),
        "bands": ["red", "nir"],
        "pattern": "*.tif",
        "labels": "fields.gpkg",
        "classes": CLASSES,
        "attribute": "cover",
        "min_purity": 0.5,
    }
    tasks = look(ScenesSource(**(given | changes)), TilesSection(size=size)).tasks
    (part,) = [read_part(task, root / "part.raw") for task in tasks]
    return part.facts, dict(part.dropped)


def _write(
    path: Path, shapes: list[Any], cover: list[Any], crs: str | None = UTM, **options: Any
) -> None:
    geopandas.GeoDataFrame({"cover": cover}, geometry=shapes, crs=crs).to_file(path, **options)


def _ground(pixels: Any, transform: Affine = GROUND) -> Any:
    """A shape in (column, row) as a shape on the ground."""
    a, b, c, d, e, f = transform[:6]
    return shapely.transform(pixels, lambda at: at @ np.array([[a, d], [b, e]]) + [c, f])


def _labels(facts: pa.Table) -> dict[tuple[int, int], tuple[int, float]]:
    names = ("window_row", "window_col", "label", "purity")
    columns = (facts[name].to_pylist() for name in names)
    return {(r, c): (k, p) for r, c, k, p in zip(*columns, strict=True)}


def _blobs(count: int, seed: int, extent: int) -> list[Any]:
    """Circles of many corners, some overlapping, some reaching over the edge."""
    random = np.random.default_rng(seed)
    centres = shapely.points(random.uniform(0, extent, (count, 2)))
    return list(shapely.buffer(centres, random.uniform(2, extent / 3, count)))


@settings(deadline=None, max_examples=15)
@given(
    st.integers(0, 999), st.integers(1, 12), st.sampled_from([0.05, 0.5, 0.9]),
    st.sampled_from(["largest", "first"]), st.sampled_from(SUFFIXES),
    st.sampled_from([GROUND, Affine(6, 8, 5e5, 8, -6, 5e6)]),
)  # fmt: skip
def test_labels_follow_the_area_rule(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int, count: int, least: float, tie: str, suffix: str, transform: Affine,
) -> None:  # fmt: skip
    root = tmp_path_factory.mktemp("scene")
    write_raster(root / "a.tif", noise(40, 50, 2), transform=transform)
    blobs = _blobs(count, seed, 45)
    cover = list(np.random.default_rng(seed).choice(["w", "t"], count))
    # GeoJSON is in degrees by its standard, which the test of another CRS is for; here it says so.
    _write(root / f"fields.{suffix}", [_ground(blob, transform) for blob in blobs], cover)
    facts, dropped = _read(root, labels=f"fields.{suffix}", min_purity=least, tie_break=tie)
    want = {}
    for row in range(0, 40, 10):
        for col in range(0, 50, 10):
            tile = shapely.box(col, row, col + 10, row + 10)
            shares = [
                shapely.union_all([b for b, c in zip(blobs, cover, strict=True) if c == value])
                .intersection(tile)
                .area
                / 100
                for value in ("w", "t")
            ]
            label = int(np.argmax(shares))
            if tie == "first" and shares[0] >= least:
                label = 0
            if shares[label] >= least:
                want[row, col] = label, shares[label]
    found = _labels(facts)
    assert {at: label for at, (label, _) in found.items()} == {
        at: label for at, (label, _) in want.items()
    }
    for at, (_, share) in want.items():
        assert found[at][1] == pytest.approx(share, abs=1e-6)
    assert sum(dropped.values()) + len(found) == 20


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32632"])
def test_polygons_in_another_crs_land_where_they_should(
    tmp_path: Path, suffix: str, crs: str
) -> None:
    write_raster(tmp_path / "a.tif", noise(200, 200, 2))
    half = shapely.box(-500, -500, 93, 700)  # far beyond the scene: its edges bend on the way
    frame = geopandas.GeoDataFrame(
        {"cover": ["w"]}, geometry=[shapely.segmentize(_ground(half), 50)], crs=UTM
    )
    frame.to_crs(crs).to_file(tmp_path / f"fields.{suffix}")
    facts, _ = _read(tmp_path, labels=f"fields.{suffix}", min_purity=0.2)
    found = _labels(facts)
    assert len(found) == 20 * 10
    for (_, col), (_, share) in found.items():
        assert share == pytest.approx(0.3 if col == 90 else 1.0, abs=2e-3)


def test_neighbours_of_a_class_add_up_and_overlaps_do_not(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", noise(10, 20, 2))
    shapes = [shapely.box(0, 0, 4, 10), shapely.box(4, 0, 7, 10), shapely.box(10, 0, 14, 10),
              shapely.box(10, 0, 13, 10)]  # fmt: skip
    _write(tmp_path / "fields.gpkg", [_ground(shape) for shape in shapes], ["t"] * 4)
    facts, dropped = _read(tmp_path)
    assert facts["label"].to_pylist() == [1]
    assert facts["purity"].to_pylist() == pytest.approx([0.7])
    assert dropped == {"below min_purity": 1}


def test_a_polygon_that_crosses_itself_is_mended(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", noise(10, 10, 2))
    bow = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    _write(tmp_path / "fields.gpkg", [_ground(bow)], ["w"])
    facts, _ = _read(tmp_path, min_purity=0.4)
    assert facts["purity"].to_pylist() == pytest.approx([0.5])


def test_ignored_and_missing_values_label_nothing(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", noise(10, 30, 2))
    boxes = [_ground(shapely.box(col, 0, col + 10, 10)) for col in (0, 10, 20)]
    _write(tmp_path / "fields.gpkg", boxes, [3, None, 1])
    facts, dropped = _read(tmp_path, classes={"a": 1, "b": 2}, ignore=[3])
    assert _labels(facts) == {(0, 20): (0, 1.0)}
    assert dropped == {"unlabelled": 2}


def test_no_polygon_near_is_unlabelled(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", noise(10, 10, 2))
    _write(tmp_path / "fields.gpkg", [_ground(shapely.box(900, 900, 910, 910))], ["w"])
    facts, dropped = _read(tmp_path)
    assert len(facts) == 0
    assert dropped == {"unlabelled": 1}


def test_tie_break_first_needs_enough_of_the_tile() -> None:
    shares = np.array([[[0.3, 0.7], [0.1, 0.8], [0.0, 0.0], [0.05, 0.1]]])
    label, share = choose(shares, 0.2, "first")
    assert label.tolist() == [[0, 1, -1, 1]]
    assert share.tolist() == [[0.3, 0.8, 0.0, 0.1]]
    assert choose(shares, 0.2, "largest")[0].tolist() == [[1, 1, -1, 1]]


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", noise(10, 10, 2))
    box = _ground(shapely.box(0, 0, 10, 10))
    layer = tmp_path / "fields.gpkg"
    _write(layer, [box], ["x"])
    with pytest.raises(ClassError, match=r"values w, t in the column cover, got x in fields\.gpkg"):
        _read(tmp_path)
    with pytest.raises(SourceError, match=r"column kind, got 0 in fields\.gpkg, .* are cover"):
        _read(tmp_path, attribute="kind")
    _write(layer, [box], ["w"], layer="second")
    with pytest.raises(SourceError, match=r"one layer with a column cover, got 2"):
        _read(tmp_path)
    layer.unlink()
    _write(layer, [shapely.Point(500_010, 4_999_990)], ["w"])
    with pytest.raises(SourceError, match=r"Expected polygons, got points in fields\.gpkg"):
        _read(tmp_path)
    layer.write_text("no layer")
    with pytest.raises(SourceError, match=r"polygons that GDAL can read, got fields\.gpkg"):
        _read(tmp_path)


def test_polygons_without_a_crs_are_refused(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", noise(10, 10, 2))
    with pytest.warns(UserWarning, match="crs"):
        _write(tmp_path / "fields.shp", [_ground(shapely.box(0, 0, 9, 9))], ["w"], crs=None)
    with pytest.raises(SourceError, match=r"got none in fields\.shp"):
        _read(tmp_path, labels="fields.shp")
