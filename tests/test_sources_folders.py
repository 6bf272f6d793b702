from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from pipeline.errors import BandError, ClassError, SourceError
from pipeline.schema import FoldersSource, TilesSection
from pipeline.sources.batch import Plan
from pipeline.sources.opening import look
from pipeline.sources.pool import read_part
from tests.imagery import noise, write_raster


def _source(root: Path, **changes: Any) -> FoldersSource:
    return FoldersSource(kind="folders", root=str(root), **({"bands": ["red", "nir"]} | changes))


def _read(plan: Plan, folder: Path) -> tuple[NDArray[Any], pa.Table, dict[str, int]]:
    """Pixels, facts and reasons of a whole plan."""
    parts = [read_part(task, folder / f"{i}.raw") for i, task in enumerate(plan.tasks)]
    facts = pa.concat_tables([part.facts for part in parts])
    raw = np.concatenate([np.fromfile(part.path, plan.dtype) for part in parts])
    size = facts["window_height"][0].as_py() if len(facts) else 1
    dropped = {reason: n for part in parts for reason, n in part.dropped.items()}
    return raw.reshape(-1, size, size, len(plan.bands)), facts, dropped


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "tiles"
    write_raster(root / "water" / "1.tif", noise(8, 8, 2, seed=1))
    write_raster(root / "trees" / "1.tif", noise(8, 8, 2, seed=2))
    write_raster(root / "trees" / "2.tif", noise(19, 17, 2, seed=3))
    (root / "trees" / "2.tif.aux.xml").write_text("<PAMDataset/>")
    (root / "trees" / ".hidden.tif").write_text("no raster")
    (root / "notes.txt").write_text("no class")
    return root


def test_classes_are_folders_and_large_files_are_cut(root: Path, tmp_path: Path) -> None:
    plan = look(_source(root), TilesSection(size=8))
    pixels, facts, dropped = _read(plan, tmp_path)
    assert plan.classes.names == ("trees", "water")
    assert plan.bands.names == ("red", "nir")
    assert facts["label"].to_pylist() == [0, 0, 0, 0, 0, 1]
    assert facts["group"].to_pylist() == ["trees/1.tif"] + ["trees/2.tif"] * 4 + ["water/1.tif"]
    assert facts["id"].to_pylist()[1:4] == ["trees/2:0:0", "trees/2:0:8", "trees/2:8:0"]
    assert dropped == {"beyond the edge": 5}
    np.testing.assert_array_equal(pixels[3], noise(19, 17, 2, seed=3)[8:16, 0:8])
    np.testing.assert_array_equal(pixels[5], noise(8, 8, 2, seed=1))


def test_bounds_are_those_of_the_window(root: Path, tmp_path: Path) -> None:
    _, facts, _ = _read(look(_source(root), TilesSection(size=8)), tmp_path)
    row = facts.slice(3, 1).to_pylist()[0]
    assert (row["window_row"], row["window_col"]) == (8, 0)
    assert [row[side] for side in ("left", "bottom", "right", "top")] == [
        500_000, 4_999_840, 500_080, 4_999_920,
    ]  # fmt: skip
    assert (row["crs"], row["resolution"]) == ("EPSG:32633", 10.0)


def test_chosen_classes_keep_their_order(root: Path) -> None:
    plan = look(_source(root, classes=["water", "trees"]), TilesSection(size=8))
    assert plan.classes.names == ("water", "trees")
    with pytest.raises(ClassError, match=r"none for road in .*, which has trees, water"):
        look(_source(root, classes=["water", "road"]), TilesSection(size=8))


def test_a_file_smaller_than_a_tile_is_counted(root: Path, tmp_path: Path) -> None:
    _, facts, dropped = _read(look(_source(root), TilesSection(size=12)), tmp_path)
    assert len(facts) == 1
    assert dropped == {"beyond the edge": 2 + 3}


def test_a_tile_with_nodata_anywhere_is_dropped(root: Path, tmp_path: Path) -> None:
    pixels = noise(19, 17, 2, seed=3)
    pixels[9, 1, 1] = 0
    write_raster(root / "trees" / "2.tif", pixels, nodata=0)
    _, facts, dropped = _read(look(_source(root), TilesSection(size=8)), tmp_path)
    assert dropped == {"beyond the edge": 5, "nodata": 1}
    assert "trees/2:8:0" not in facts["id"].to_pylist()


def test_files_of_one_name_get_ids_that_differ(root: Path, tmp_path: Path) -> None:
    write_raster(root / "trees" / "2.TIFF", noise(8, 8, 2))
    _, facts, _ = _read(look(_source(root), TilesSection(size=8)), tmp_path)
    assert len(set(facts["id"].to_pylist())) == len(facts) == 7


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (noise(8, 8, 2, "uint16"), r"type uint8 as in the first file, got uint16 in water/9\.tif"),
        (noise(8, 8, 3), r"2 bands red, nir, got 3 without descriptions in water/9\.tif"),
    ],
)
def test_files_that_differ_are_named(
    root: Path, tmp_path: Path, pixels: NDArray[Any], message: str
) -> None:
    write_raster(root / "water" / "9.tif", pixels)
    plan = look(_source(root), TilesSection(size=8))
    with pytest.raises((SourceError, BandError), match=message):
        _read(plan, tmp_path)


def test_a_broken_file_is_named(root: Path, tmp_path: Path) -> None:
    (root / "water" / "0.tif").write_bytes((root / "water" / "1.tif").read_bytes()[:150])
    plan = look(_source(root), TilesSection(size=8))
    with pytest.raises(SourceError, match=r"got water/0\.tif"):
        _read(plan, tmp_path)


def test_a_pattern_chooses_files(root: Path) -> None:
    assert look(_source(root, pattern="1.*"), TilesSection(size=8)).files == [
        "trees/1.tif",
        "water/1.tif",
    ]
    with pytest.raises(SourceError, match=r"class folder .*water, got no file that fits '2\.\*'"):
        look(_source(root, pattern="2.*"), TilesSection(size=8))


def test_a_root_without_classes_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"got no folder at .*nowhere"):
        look(_source(tmp_path / "nowhere"), TilesSection(size=8))
    with pytest.raises(SourceError, match="two classes or more, got 0"):
        look(_source(tmp_path), TilesSection(size=8))


@pytest.mark.data
@pytest.mark.parametrize(
    ("bands", "size", "tiles"),
    [
        ({"red": 4, "green": 3, "blue": 2, "nir": 8}, 28, 80),
        ({f"b{i}": i for i in range(1, 14)}, 28, 80),
        ({"red": 4, "green": 3, "blue": 2, "nir": 8}, 64, 20),
    ],
)
def test_eurosat(
    real_data: Path, tmp_path: Path, bands: dict[str, int], size: int, tiles: int
) -> None:
    plan = look(_source(real_data / "eurosat", bands=bands), TilesSection(size=size))
    pixels, facts, _ = _read(plan, tmp_path)
    assert pixels.shape == (10 * tiles, size, size, len(bands))
    assert np.bincount(facts["label"].to_numpy()).tolist() == [tiles] * 10


def test_without_labels_files_at_any_depth_are_taken(root: Path, tmp_path: Path) -> None:
    write_raster(root / "loose.tif", noise(8, 8, 2, seed=4))
    write_raster(root / "deep" / "er" / "9.tif", noise(8, 16, 2, seed=5))
    write_raster(root / ".hidden" / "1.tif", noise(8, 8, 2))
    plan = look(_source(root, labels="none", classes=["snow"]), TilesSection(size=8))
    _, facts, dropped = _read(plan, tmp_path)
    assert plan.classes.names == ()
    names = ["deep/er/9.tif", "loose.tif", "trees/1.tif", "trees/2.tif", "water/1.tif"]
    assert plan.files == names
    assert facts["label"].to_pylist() == [0] * 9  # two, one, one, four, one
    assert list(dict.fromkeys(facts["group"].to_pylist())) == names
    assert len(set(facts["id"].to_pylist())) == 9
    assert dropped == {"beyond the edge": 5}


def test_a_folder_of_nothing_but_tiles_needs_no_classes(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"rasters below .*, got no file that fits '\*'"):
        look(_source(tmp_path, labels="none"), TilesSection(size=8))
    write_raster(tmp_path / "a.tif", noise(8, 8, 2))
    assert look(_source(tmp_path, labels="none"), TilesSection(size=8)).files == ["a.tif"]
