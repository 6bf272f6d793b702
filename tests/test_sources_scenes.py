from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Transformer

from pipeline.errors import ClassError, ConfigError, SourceError
from pipeline.schema import ScenesSource, TilesSection
from pipeline.sources.opening import look
from pipeline.sources.pool import read_part
from tests.imagery import GROUND, UTM, noise, write_raster

CLASSES = {"water": 1, "trees": 2, "road": 7}


def _source(root: Path, **changes: Any) -> ScenesSource:
    given = {
        "kind": "scenes",
        "root": str(root),
        "bands": ["red", "nir"],
        "pattern": "*.tif",
        "labels": "{stem}.labels.tif",
        "classes": CLASSES,
        "min_purity": 0.5,
    }
    return ScenesSource(**(given | changes))


def _read(root: Path, tiles: TilesSection, **changes: Any) -> tuple[pa.Table, dict[str, int]]:
    """Facts and reasons of a whole source."""
    tasks = look(_source(root, **changes), tiles).tasks
    parts = [read_part(task, root / "part.raw") for task in tasks]
    dropped: dict[str, int] = {}
    for part in parts:
        for reason, count in part.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
    return pa.concat_tables([part.facts for part in parts]), dropped


def _majority(
    labels: NDArray[Any], size: int, stride: int, least: float
) -> dict[tuple[int, int], tuple[int, float]]:
    """Class and purity of each window that reaches ``least``, one window after the other."""
    found = {}
    for row in range(0, labels.shape[0] - size + 1, stride):
        for col in range(0, labels.shape[1] - size + 1, stride):
            window = labels[row : row + size, col : col + size]
            counts = [int((window == value).sum()) for value in CLASSES.values()]
            best = int(np.argmax(counts))
            if counts[best] and counts[best] >= least * size * size:
                found[row, col] = best, counts[best] / size**2
    return found


def _found(facts: pa.Table) -> dict[tuple[int, int], tuple[int, float]]:
    names = ("window_row", "window_col", "label", "purity")
    return {
        (r, c): (k, p) for r, c, k, p in zip(*(facts[n].to_pylist() for n in names), strict=True)
    }


def _patchwork(height: int, width: int, seed: int, values: tuple[int, ...]) -> NDArray[np.uint8]:
    """Labels in rectangles of a few pixels, so that windows are neither pure nor all mixed."""
    random = np.random.default_rng(seed)
    small = random.choice(np.array(values, np.uint8), (height // 5 + 1, width // 7 + 1))
    return small.repeat(5, axis=0).repeat(7, axis=1)[:height, :width]


@settings(deadline=None, max_examples=25)
@given(
    st.integers(8, 40), st.integers(8, 40), st.integers(2, 9), st.integers(1, 12),
    st.sampled_from([0.0, 0.5, 0.75, 1.0]), st.sampled_from(["uint8", "int16", "int32", "float32"]),
    st.integers(0, 999),
)  # fmt: skip
def test_labels_are_the_majority_of_each_window(
    tmp_path_factory: pytest.TempPathFactory,
    height: int, width: int, size: int, stride: int, least: float, kind: str, seed: int,
) -> None:  # fmt: skip
    root = tmp_path_factory.mktemp("scene")
    labels = _patchwork(height, width, seed, (0, 1, 2, 7, 9))  # 0 unlabelled, 9 ignored
    write_raster(root / "a.tif", noise(height, width, 2))
    write_raster(root / "a.labels.tif", labels.astype(kind), nodata=0)
    tiles = TilesSection(size=size, stride=stride)
    facts, dropped = _read(root, tiles, min_purity=least, ignore=[9])
    want = _majority(labels, size, stride, least)
    assert _found(facts) == want
    counted = sum(n for reason, n in dropped.items() if reason != "beyond the edge")
    assert counted + len(want) == (1 + (height - size) // stride) * (1 + (width - size) // stride)


def test_labels_in_another_crs_land_where_they_should(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", noise(60, 80, 2))
    there = Affine(0.0004, 0, 14.9985, 0, -0.0004, 45.155)  # about 31 x 44 m, around the scene
    labels = _patchwork(40, 40, 4, (1, 2, 7))
    write_raster(tmp_path / "a.labels.tif", labels, crs="EPSG:4326", transform=there)
    facts, _ = _read(tmp_path, TilesSection(size=10), min_purity=0.0)

    cols, rows = np.meshgrid(np.arange(80) + 0.5, np.arange(60) + 0.5)
    x, y = 500_000 + 10 * cols, 5_000_000 - 10 * rows
    longitude, latitude = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(x, y)
    col = np.floor((longitude - there.c) / there.a).astype(int)
    row = np.floor((latitude - there.f) / there.e).astype(int)
    inside = (row >= 0) & (row < 40) & (col >= 0) & (col < 40)
    want = _majority(np.where(inside, labels[row % 40, col % 40], 0), 10, 10, 0.0)
    found = _found(facts)
    assert found.keys() == want.keys()
    assert 20 < len(want) <= 48
    # The warp may be off by an eighth of a label pixel, which is half a pixel of the scene here.
    assert all(abs(found[at][1] - want[at][1]) < 0.06 for at in want)
    assert sum(found[at][0] != want[at][0] for at in want) <= 1


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32", "float32"])
def test_beyond_the_labels_is_unlabelled_even_where_zero_is_a_class(
    tmp_path: Path, kind: str
) -> None:
    write_raster(tmp_path / "a.tif", noise(20, 40, 2))
    half = np.zeros((4, 4), kind)  # 50 m pixels over the left half
    half[2:] = 1
    transform = Affine(50, 0, GROUND.c, 0, -50, GROUND.f)
    write_raster(tmp_path / "a.labels.tif", half, transform=transform)
    facts, dropped = _read(tmp_path, TilesSection(size=10), classes={"none": 0, "some": 1})
    assert {at: label for at, (label, _) in _found(facts).items()} == {
        (0, 0): 0, (0, 10): 0, (10, 0): 1, (10, 10): 1,
    }  # fmt: skip
    assert dropped == {"unlabelled": 4}


def test_unknown_label_values_are_named_with_their_file(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", noise(20, 20, 2))
    labels = np.ones((20, 20), np.uint8)
    labels[3, 3], labels[15, 4] = 9, 4
    write_raster(tmp_path / "a.labels.tif", labels)
    with pytest.raises(ClassError, match=r"values 1, 2, 7, got 4, 9 in a\.labels\.tif"):
        _read(tmp_path, TilesSection(size=10))


def test_labels_without_a_place_need_the_scenes_grid(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", noise(20, 20, 2))
    with pytest.warns(match="no geotransform"):
        write_raster(tmp_path / "a.labels.tif", np.ones((20, 20), np.uint8), crs=None)
    with pytest.raises(
        SourceError, match=r"another grid in a\.labels\.tif and no CRS in a\.labels"
    ):
        _read(tmp_path, TilesSection(size=10))
    with pytest.warns(match="no geotransform"):
        write_raster(tmp_path / "a.tif", noise(20, 20, 2), crs=None)
    facts, _ = _read(tmp_path, TilesSection(size=10))
    assert facts["label"].to_pylist() == [0] * 4
    assert facts["left"].null_count == 4
    assert set(facts["frame"].to_pylist()) == {"a.tif"}


def test_slabs_and_patches_give_what_the_whole_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = noise(300, 170, 2, "uint16")
    pixels[100:140, 60:90] = 0
    write_raster(tmp_path / "a.tif", pixels, nodata=0, tiled=True, blockxsize=32, blockysize=32)
    write_raster(tmp_path / "a.labels.tif", _patchwork(300, 170, 0, (1, 2, 7)))
    tiles = TilesSection(size=14, stride=9)
    facts, dropped = _read(tmp_path, tiles)
    whole = np.fromfile(tmp_path / "part.raw", np.uint16).reshape(-1, 14, 14, 2)
    for row, (top, left) in enumerate(_found(facts)):
        want = pixels[top : top + 14, left : left + 14]
        np.testing.assert_array_equal(whole[row], want)
    monkeypatch.setattr("pipeline.sources.scenes.SLAB_BYTES", 50_000)
    monkeypatch.setattr("pipeline.sources.cutting.BATCH_BYTES", 9_000)
    assert len(look(_source(tmp_path), tiles).tasks) > 3
    again, dropped_again = _read(tmp_path, tiles)
    assert set(again["id"].to_pylist()) == set(facts["id"].to_pylist())
    assert _found(again) == _found(facts)
    assert dropped_again == dropped
    assert dropped["nodata"] > 0


@pytest.mark.parametrize("name", ["a.tif", "a.labels.tif"])
def test_the_one_of_scene_and_labels_that_is_broken_is_named(tmp_path: Path, name: str) -> None:
    write_raster(tmp_path / "a.tif", noise(100, 100, 2))
    write_raster(tmp_path / "a.labels.tif", np.ones((100, 100), np.uint8))
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(SourceError, match=rf"got \S*/{name}: "):
        _read(tmp_path, TilesSection(size=10))


def test_a_scene_smaller_than_a_tile_is_counted(tmp_path: Path) -> None:
    for name, side in (("a", 20), ("b", 9)):
        write_raster(tmp_path / f"{name}.tif", noise(side, side, 2))
        write_raster(tmp_path / f"{name}.labels.tif", np.ones((side, side), np.uint8))
    facts, dropped = _read(tmp_path, TilesSection(size=10))
    assert len(facts) == 4
    assert dropped == {"beyond the edge": 1}


def test_a_scene_in_degrees_has_no_resolution_and_a_rotated_one_its_envelope(
    tmp_path: Path,
) -> None:
    turned = Affine(3, 4, 0, 4, -3, 0)
    write_raster(tmp_path / "a.tif", noise(10, 10, 2), transform=turned)
    write_raster(tmp_path / "a.labels.tif", np.ones((10, 10), np.uint8), transform=turned)
    facts, _ = _read(tmp_path, TilesSection(size=10))
    row = facts.to_pylist()[0]
    assert [row[side] for side in ("left", "bottom", "right", "top")] == [0, -30, 70, 40]
    assert row["resolution"] == 5.0
    degrees = Affine(0.001, 0, 15, 0, -0.001, 45)
    for name, pixels in (("a", noise(10, 10, 2)), ("a.labels", np.ones((10, 10), np.uint8))):
        write_raster(tmp_path / f"{name}.tif", pixels, crs="EPSG:4326", transform=degrees)
    facts, _ = _read(tmp_path, TilesSection(size=10))
    assert facts["resolution"].null_count == 1


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"pattern": "*.jp2"}, SourceError, r"no file that fits '\*\.jp2'"),
        (
            {"pattern": "a.tif", "labels": "{stem}.png"},
            SourceError,
            r"labels for a\.tif at .*a\.png, got no file",
        ),
        ({"classes": {"water": "w", "b": 2}}, ClassError, "whole numbers in source.classes.* 'w'"),
        ({"classes": {"a": 1, "b": 1}}, ClassError, r"differ, got 1 for a and b"),
        ({"ignore": [7]}, ClassError, r"differ, got 7 for road and source\.ignore"),
        (
            {"pattern": "a.tif", "labels": "a.geojson"},
            ConfigError,
            r"a\.geojson, got none\. Set source\.attribute",
        ),
    ],
)
def test_settings_that_do_not_fit_are_told(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    write_raster(tmp_path / "a.tif", noise(20, 20, 2))
    write_raster(tmp_path / "a.labels.tif", np.ones((20, 20), np.uint8))
    (tmp_path / "a.geojson").write_text("{}")
    with pytest.raises(SourceError, match=r"folder of scenes, got none at .*nowhere"):
        look(_source(tmp_path / "nowhere"), TilesSection(size=10))
    with pytest.raises(error, match=message):
        look(_source(tmp_path, **changes), TilesSection(size=10))


def test_scenes_without_labels_give_every_tile(tmp_path: Path) -> None:
    pixels = noise(20, 30, 2)
    pixels[0, 0] = 0
    write_raster(tmp_path / "a.tif", pixels, nodata=0)
    write_raster(tmp_path / "b.tif", noise(10, 10, 2))
    plan = look(_source(tmp_path, labels="none", min_purity=1.0), TilesSection(size=10))
    assert plan.classes.names == ()
    facts, dropped = _read(tmp_path, TilesSection(size=10), labels="none", classes=None)
    assert len(facts) == 2 * 3 - 1 + 1
    assert set(facts["label"].to_pylist()) == {0}
    assert dropped == {"nodata": 1}


def test_scenes_with_labels_need_classes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"source\.classes=.*source\.labels=none"):
        _source(tmp_path, classes=None)
