from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine

from pipeline.errors import PipelineError, SourceError, SplitError, StoreError
from pipeline.schema import (
    EngineSection,
    FoldersSource,
    SatSource,
    ScenesSource,
    SplitSection,
    TilesSection,
)
from pipeline.stages import ingest
from pipeline.store import Store, StoreWriter
from pipeline.types import Bands, Classes
from tests.imagery import noise, write_raster

BANDS = ["red", "nir"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, which stages run in."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def scenes(tmp_path: Path) -> ScenesSource:
    """Two scenes, 400 m apart, of fields in three classes; one has a hole without data."""
    root = tmp_path / "scenes"
    for place, name in enumerate(("east", "west")):
        pixels = noise(300, 240, 2, "uint16", seed=place)
        pixels[50:60, 70:75] = 0
        transform = Affine(10, 0, 500_000 + 2_800 * place, 0, -10, 5_000_000)
        fields = np.random.default_rng(place).integers(1, 4, (15, 12)).astype(np.uint8)
        labels = fields.repeat(20, axis=0).repeat(20, axis=1)
        write_raster(root / f"{name}.tif", pixels, ("red", "nir"), transform=transform, nodata=0)
        write_raster(root / f"{name}.labels.tif", labels, transform=transform)
    return ScenesSource(
        kind="scenes", root=str(root), bands=BANDS, pattern="????.tif",
        labels="{stem}.labels.tif", classes={"water": 1, "trees": 2, "road": 3}, min_purity=0.6,
    )  # fmt: skip


def _folders(root: Path, sides: dict[str, list[int]]) -> FoldersSource:
    for place, (name, extents) in enumerate(sides.items()):
        for number, side in enumerate(extents):
            where = Affine(10, 0, 10_000 * number, 0, -10, 10_000 * place)
            pixels = noise(side, side, 2, seed=1_000 * place + number)
            write_raster(root / name / f"{number}.tif", pixels, transform=where)
    return FoldersSource(kind="folders", root=str(root), bands=BANDS)


def _run(
    source: Any, size: int = 10, stride: int | None = None, workers: int = 1, **split: Any
) -> Store:
    fractions = {"method": "auto", "train": 0.6, "validation": 0.2, "test": 0.2, "seed": 1}
    engine = EngineSection(precision="32", threads=1, workers=workers)
    ingest.run(
        source, TilesSection(size=size, stride=stride), SplitSection(**(fractions | split)), engine
    )
    return Store.open()


def _report() -> dict[str, Any]:
    report: dict[str, Any] = json.loads(Path("reports/ingest.json").read_text())
    return report


def _digests() -> dict[str, str]:
    files = [*Path("data").rglob("*"), Path("reports/ingest.json")]
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()
    }


def _left() -> list[Path]:
    """What stands in data/ beside the lock, which stays."""
    return [path for path in Path("data").iterdir() if path.name != ".tiles.lock"]


def test_scenes_are_split_by_block_and_each_tile_is_accounted_for(
    scenes: ScenesSource, capsys: pytest.CaptureFixture[str]
) -> None:
    store = _run(scenes)
    report = _report()
    assert report["split"]["method"] == "block"
    assert report["kept"] == len(store.index) == sum(map(store.count, store.counts))
    assert report["kept"] + sum(report["dropped"].values()) == 2 * 30 * 24
    assert report["dropped"] == {"nodata": 2}
    assert report["tiles_of_files"] == {"east.tif": 719, "west.tif": 719}
    assert store.resolution == 10.0
    assert "split by block" in capsys.readouterr().out
    blocks = store.index.assign(
        column=(store.index["left"] + 50) // 1000, line=(store.index["top"] - 50) // 1000
    )
    assert blocks.groupby(["column", "line"])["split"].nunique().max() == 1


def test_the_store_holds_the_pixels_of_each_window(scenes: ScenesSource) -> None:
    store = _run(scenes, size=12)
    east, west = (noise(300, 240, 2, "uint16", seed=seed) for seed in (0, 1))
    for row in range(0, len(store.index), 37):
        tile = store.tile(row)
        top, left, height, width = tile.window
        scene = east if tile.source == "east.tif" else west
        np.testing.assert_array_equal(tile.pixels, scene[top : top + height, left : left + width])


def test_mean_and_deviation_are_of_the_training_split_alone(scenes: ScenesSource) -> None:
    store = _run(scenes)
    pixels = store.pixels("train").astype(float)
    np.testing.assert_allclose(store.mean, pixels.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(store.std, pixels.std((0, 1, 2)), rtol=1e-9)
    assert list(_report()["mean"].values()) == store.mean.tolist()


def test_workers_change_no_byte(scenes: ScenesSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.sources.scenes.SLAB_BYTES", 60_000)
    monkeypatch.setattr("pipeline.sources.pool.ALONE_BYTES", 0)
    _run(scenes, workers=1)
    alone = _digests()
    _run(scenes, workers=2)
    assert _digests() == alone
    assert not [name for name in alone if "part" in name]


def test_bands_that_no_file_names_are_taken_in_order_and_that_is_said(
    scenes: ScenesSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(scenes)
    assert "assumed" not in _report()
    assert "which band" not in capsys.readouterr().err
    bare = _folders(tmp_path / "bare", {"water": [10] * 6, "trees": [10] * 6})
    _run(bare)
    said = capsys.readouterr().err
    assert said.count("does not say which band is which") == 1
    assert "taken in order as red, nir" in said
    assert "source.bands={red: 1, nir: 2}" in _report()["assumed"]
    _run(bare.model_copy(update={"bands": {"red": 2, "nir": 1}}))
    assert "assumed" not in _report()


def test_two_at_once_is_told_and_costs_no_store(scenes: ScenesSource) -> None:
    digest = _run(scenes).digest
    bands, classes = Bands(("red",)), Classes(("a", "b"))
    with StoreWriter(Path("data/tiles"), bands, classes, 6, np.dtype(np.uint8)) as other:
        with pytest.raises(StoreError, match=r"write data/tiles alone, got another process"):
            _run(scenes)
        assert other.partial.is_dir()  # which the second one left alone
    assert Store.open().digest == digest
    assert _run(scenes).digest == digest


def test_tiles_that_overlap_across_blocks_are_dropped(scenes: ScenesSource) -> None:
    store = _run(scenes, stride=5)
    assert _report()["dropped"]["straddles two splits"] > 50
    bounds = store.index[["left", "bottom", "right", "top"]].to_numpy()
    split = store.index["split"].to_numpy()
    low, high = bounds[:, None], bounds[None]
    shared = (
        np.minimum(low[..., 2:], high[..., 2:]) > np.maximum(low[..., :2], high[..., :2])
    ).all(axis=2)
    assert not (shared & (split[:, None] != split[None])).any()


@pytest.mark.parametrize("method", ["random", "scene"])
def test_the_same_ground_in_two_splits_stops_the_stage(
    scenes: ScenesSource, tmp_path: Path, method: str
) -> None:
    root = Path(scenes.root)
    for name in ("copy.tif", "copy.labels.tif"):  # the same place under another name
        (root / name).write_bytes((root / name.replace("copy", "east")).read_bytes())
    with pytest.raises(SplitError, match=r"same place in .*split\.method=block"):
        _run(scenes, method=method, train=0.4, validation=0.3, test=0.3)
    assert not Path("data/tiles").exists()
    assert not _left()
    assert _run(scenes, method="block").count("test") > 0


def test_random_on_scenes_warns(scenes: ScenesSource, capsys: pytest.CaptureFixture[str]) -> None:
    _run(scenes, method="random")
    assert "neighbouring tiles" in capsys.readouterr().err


def test_large_files_in_folders_are_groups(tmp_path: Path) -> None:
    store = _run(_folders(tmp_path / "a", {"water": [25] * 8, "trees": [25] * 8}))
    assert _report()["split"]["method"] == "group"
    assert store.index.groupby("source")["split"].nunique().max() == 1
    assert store.counts["test"]["water"] % 4 == 0


def test_files_of_one_tile_are_split_at_random(tmp_path: Path) -> None:
    store = _run(_folders(tmp_path / "a", {"water": [10] * 10, "trees": [10] * 5}))
    assert _report()["split"]["method"] == "random"
    assert store.counts == {
        "train": {"trees": 3, "water": 6},
        "validation": {"trees": 1, "water": 2},
        "test": {"trees": 1, "water": 2},
    }


def test_a_class_missing_from_a_split_is_named(tmp_path: Path) -> None:
    source = _folders(tmp_path / "a", {"water": [25] * 6, "trees": [25] * 2})
    with pytest.raises(SplitError, match=r"missing: trees from (validation|test), with .*group"):
        _run(source)
    assert not Path("data/tiles").exists()
    assert _run(source, validation=0.0, train=0.5, test=0.5).counts["test"]["trees"] == 4


def test_a_store_without_labels_has_no_classes_and_counts_its_tiles(
    scenes: ScenesSource, capsys: pytest.CaptureFixture[str]
) -> None:
    source = scenes.model_copy(update={"labels": "none", "pattern": "????.tif"})
    store = _run(source)
    assert store.classes.names == ()
    assert _report()["dropped"] == {"nodata": 2}
    assert _report()["classes"] == []
    assert _report()["counts"] == store.counts
    assert list(store.counts) == ["train", "validation", "test"]
    assert [list(counts) for counts in store.counts.values()] == [["unlabelled"]] * 3
    assert sum(map(store.count, store.counts)) == 2 * 30 * 24 - 2
    assert not store.labels("test").any()
    assert store.names("test") == [""] * store.count("test")
    assert store.tile(3).label == 0
    assert "unlabelled" in capsys.readouterr().out


def test_few_labelled_tiles_are_chosen_by_the_seed_and_the_rest_is_counted(
    tmp_path: Path,
) -> None:
    source = _folders(tmp_path / "a", {"water": [10] * 30, "trees": [10] * 20})
    store = _run(source, train_per_class=4)
    assert store.counts["train"] == {"trees": 4, "water": 4}
    assert store.counts["test"] == {"trees": 4, "water": 6}
    assert _report()["dropped"] == {"beyond split.train_per_class": 12 - 4 + 18 - 4}
    ids = set(store.index["id"])
    few = _run(source, train_per_class=2)
    assert set(few.index["id"]) < ids
    pixels = few.pixels("train").astype(float)
    np.testing.assert_allclose(few.mean, pixels.mean((0, 1, 2)), rtol=1e-12)


def test_no_tile_at_all_says_why(tmp_path: Path) -> None:
    source = _folders(tmp_path / "a", {"water": [9], "trees": [8]})
    with pytest.raises(SourceError, match=r"got none: not kept: beyond the edge 2\. .*tiles\.size"):
        _run(source)


def test_a_broken_file_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sources.pool.ALONE_BYTES", 0)
    monkeypatch.setattr("pipeline.sources.folders.FILES_A_TASK", 2)
    source = _folders(tmp_path / "a", {"water": [10] * 4, "trees": [10] * 4})
    (tmp_path / "a" / "water" / "1.tif").write_bytes(b"II*\x00 torn")
    with pytest.raises(SourceError, match=r"got water/1\.tif"):
        _run(source, workers=2)
    assert not _left()


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"method": "official"}, "official split, got none"),
        ({"method": "block", "block_size": 30}, "as wide as a tile"),
    ],
)
def test_a_method_that_does_not_fit_is_told(
    scenes: ScenesSource, split: dict[str, Any], message: str
) -> None:
    with pytest.raises(PipelineError, match=message):
        _run(scenes, **split)


def test_scenes_without_a_place_are_split_by_blocks_of_pixels(tmp_path: Path) -> None:
    root = tmp_path / "plain"
    labels = np.random.default_rng(0).integers(1, 3, (20, 20)).astype(np.uint8)
    for name, pixels in (
        ("a", noise(200, 200, 2)),
        ("a.labels", labels.repeat(10, 0).repeat(10, 1)),
    ):
        with pytest.warns(match="no geotransform"):
            write_raster(root / f"{name}.tif", pixels, crs=None)
    source = ScenesSource(
        kind="scenes", root=str(root), bands=BANDS, pattern="a.tif", labels="{stem}.labels.tif",
        classes={"water": 1, "trees": 2}, min_purity=0.5,
    )  # fmt: skip
    index = _run(source, method="block", block_size=50).index
    assert index["left"].isna().all()
    assert (
        index.groupby([index["window_row"] // 50, index["window_col"] // 50])["split"]
        .nunique()
        .max()
        == 1
    )


@pytest.mark.data
def test_official_split_of_real_tiles(real_data: Path) -> None:
    path = str(real_data / "sat" / "eurosat-as-sat6.mat")
    source = SatSource(kind="sat", path=path, root=path, bands=["red", "green", "blue", "nir"])
    store = _run(source, size=28)
    assert _report()["split"]["method"] == "official"
    assert store.count("test") == 180
    assert store.index["id"][store.split_range("test").start] == "test-000000"
    assert store.count("validation") == 135


def _plant(source: FoldersSource, copies: int) -> None:
    """Make some files of one class those of the other, turned for every second."""
    root = Path(source.root)
    for number in range(copies):
        pixels = noise(20, 20, 2, seed=50 + number)
        for place, name in enumerate(("water", "trees")):
            where = Affine(10, 0, 10_000 * number, 0, -10, 10_000 * place)
            turned = np.rot90(pixels, place * (number % 2))
            write_raster(root / name / f"{number}.tif", turned, transform=where)


def test_copies_in_two_splits_stop_the_stage_or_are_dropped_and_counted(tmp_path: Path) -> None:
    source = _folders(tmp_path / "a", {"water": [20] * 20, "trees": [20] * 20})
    _plant(source, 12)
    with pytest.raises(
        SplitError, match=r"Expected each tile in one split, got \d+ .*turned.*=drop"
    ):
        _run(source, size=20)
    assert not Path("data/tiles").exists()
    store = _run(source, size=20, duplicates="drop")
    report = _report()
    dropped = report["dropped"]["copy of a tile in a later split"]
    assert report["leakage"]["copies"] == dropped > 0
    assert report["kept"] == len(store.index) == 40 - dropped
    rows = Path("reports/leakage.csv").read_text().splitlines()
    assert len(rows) == 1 + dropped
    with pytest.raises(SplitError):
        _run(source, size=20)  # the copies are still there


def test_excluded_tiles_are_left_out_and_the_others_stay_in_their_splits(
    scenes: ScenesSource, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _run(scenes).index.set_index("id")["split"]
    gone = [*before.index[::7], "nowhere:0:0"]
    after = _run(scenes.model_copy(update={"exclude": gone})).index.set_index("id")["split"]
    assert set(before.index) - set(after.index) == set(gone[:-1])
    assert (after == before[after.index]).all()
    assert _report()["dropped"]["in source.exclude"] == len(gone) - 1
    assert "1 of" in capsys.readouterr().err


def test_the_store_tells_how_the_pixels_of_each_split_are_spread(scenes: ScenesSource) -> None:
    store = _run(scenes)
    assert list(store.looks) == ["train", "validation", "test"]
    medians = {band: facts["quantiles"][3] for band, facts in store.looks["train"].items()}
    assert _report()["median"]["train"] == medians
    every = np.median(store.pixels("train").reshape(-1, 2).astype(float), axis=0)
    np.testing.assert_allclose(list(medians.values()), every, atol=2)


def test_neighbours_in_other_splits_are_counted(scenes: ScenesSource) -> None:
    store = _run(scenes)
    index = store.index
    sides = index[["left", "bottom", "right", "top"]].to_numpy()
    low, high = sides[:, None], sides[None]
    touch = (
        np.minimum(low[..., 2:], high[..., 2:]) >= np.maximum(low[..., :2], high[..., :2])
    ).all(axis=2)
    split = index["split"].to_numpy()
    expected = {
        later: {
            earlier: int(touch[np.ix_(split == later, split == earlier)].any(axis=1).sum())
            for earlier in ("train", "validation")[: 1 + (later == "test")]
        }
        for later in ("validation", "test")
    }
    assert _report()["leakage"]["beside"] == expected
    assert expected["test"]["train"] > 0
