from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from pipeline.schema import SampleSection
from pipeline.sources.sample import BANDS, CLASSES, make_scene, places, render
from pipeline.sources.sample.canvas import Box, Canvas
from pipeline.sources.sample.noise import smooth_noise
from pipeline.sources.sample.render import Sun, _labels, _lit
from pipeline.sources.sample.spectra import (
    FIRST_WATER,
    GROUND,
    INDEX,
    label_table,
    reflectance_table,
    water_reflectance,
)
from pipeline.stages import sample

TILE = 28
RED, GREEN, BLUE, NIR = range(4)
Scenes = list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    """Three scenes of 25 by 25 tiles."""
    return [render(np.random.default_rng([5, i]), 25 * TILE, 1.0) for i in range(3)]


def pixels_of(scenes: Scenes, name: str) -> NDArray[np.float64]:
    """All pixels of a class; (n, 4)."""
    label = CLASSES.index(name) + 1
    return np.concatenate([pixels[labels == label] for pixels, labels in scenes]).astype(float)


def ndvi(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    return (pixels[:, NIR] - pixels[:, RED]) / np.maximum(pixels[:, NIR] + pixels[:, RED], 1.0)


def tiles_of(scenes: Scenes) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Statistics, class and block of every tile that one class covers by 60 %."""
    features, classes, blocks = [], [], []
    for number, (pixels, labels) in enumerate(scenes):
        side = labels.shape[0] // TILE
        for row, col in np.ndindex(side, side):
            window = np.s_[row * TILE : (row + 1) * TILE, col * TILE : (col + 1) * TILE]
            counts = np.bincount(labels[window].ravel(), minlength=7)
            if counts.max() >= 0.6 * TILE**2:
                tile = pixels[window].reshape(-1, 4)
                features.append(np.concatenate([tile.mean(0), tile.std(0)]))
                classes.append(int(counts.argmax()))
                blocks.append(number * 100 + row // 5 * 10 + col // 5)
    return np.array(features), np.array(classes), np.array(blocks)


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_scene(places(seed, 1, 128.0, tmp_path / folder)[0], 128, 1.0)
    a, b, c = (tmp_path / folder / "scenes" for folder in "abc")
    for name in ("scene_1.tif", "scene_1_labels.tif"):
        assert (a / name).read_bytes() == (b / name).read_bytes()
        assert (a / name).read_bytes() != (c / name).read_bytes()


def test_a_scene_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    few, many = places(3, 2, 500.0, tmp_path), places(3, 6, 500.0, tmp_path)
    assert few[1].seed.spawn_key == many[1].seed.spawn_key
    assert few[-1].seed.spawn_key == many[-1].seed.spawn_key  # the scene to map
    assert (few[1].left, few[1].top) == (many[1].left, many[1].top)


@pytest.mark.parametrize("extent", [128.0, 500.0, 501.0, 5040.0])
def test_no_scene_overlaps_another(tmp_path: Path, extent: float) -> None:
    everywhere = places(0, 9, extent, tmp_path)
    for a, b in combinations(everywhere, 2):
        assert max(abs(a.left - b.left), abs(a.top - b.top)) >= extent
    assert len({place.path for place in everywhere}) == 10


def test_stage_writes_georeferenced_tiled_scenes_with_named_bands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stale = Path("data/sample/scenes/scene_9.tif")
    stale.parent.mkdir(parents=True)
    stale.touch()
    sample.run(SampleSection(seed=4, scenes=1, size=300, resolution=0.5))
    found = sorted(str(path) for path in Path("data/sample").rglob("*.*"))
    assert found == [
        "data/sample/extra/unseen.tif",
        "data/sample/extra/unseen_labels.tif",
        "data/sample/scenes/scene_1.tif",
        "data/sample/scenes/scene_1_labels.tif",
    ]
    with rasterio.open(found[2]) as scene, rasterio.open(found[3]) as labels:
        assert scene.descriptions == BANDS == ("red", "green", "blue", "nir")
        assert scene.colorinterp[3] == ColorInterp.undefined
        assert scene.crs.is_projected
        assert scene.res == (0.5, 0.5)
        assert scene.bounds == labels.bounds
        assert scene.crs == labels.crs
        assert scene.bounds.right - scene.bounds.left == 150.0
        assert scene.block_shapes == [(256, 256)] * 4
        assert scene.compression.name == labels.compression.name == "deflate"
        assert scene.dtypes == ("uint8",) * 4
        assert scene.nodata is None
        assert labels.nodata == 0
        assert labels.count == 1
        assert 1 <= labels.read(1).min() <= labels.read(1).max() <= 6


def test_every_pixel_has_a_class_and_every_class_is_common(scenes: Scenes) -> None:
    counts = np.bincount(np.concatenate([labels.ravel() for _, labels in scenes]), minlength=7)
    assert counts[0] == 0
    assert counts.size == 7
    assert (counts[1:] / counts.sum() > 0.04).all()


def test_every_class_is_the_most_of_many_tiles(scenes: Scenes) -> None:
    _, classes, _ = tiles_of(scenes)
    assert classes.size > 0.6 * 3 * 25**2
    assert (np.bincount(classes, minlength=7)[1:] / classes.size > 0.04).all()


def test_plants_are_green_and_water_is_dark_in_the_near_infrared(scenes: Scenes) -> None:
    median = {name: np.median(pixels_of(scenes, name), axis=0) for name in CLASSES}
    assert np.median(ndvi(pixels_of(scenes, "trees"))) > 0.4
    for bare in ("building", "barren_land", "road"):
        assert abs(np.median(ndvi(pixels_of(scenes, bare)))) < 0.25
    assert median["water"][NIR] == min(values[NIR] for values in median.values())
    assert median["water"][NIR] < median["water"][GREEN]


def test_values_use_the_range_without_being_cut_off(scenes: Scenes) -> None:
    pixels = np.concatenate([pixels.reshape(-1, 4) for pixels, _ in scenes])
    assert (pixels == 255).mean() < 0.02
    assert (pixels == 0).mean() < 0.001
    assert (pixels.std(axis=0) > 20).all()


def test_grey_classes_share_their_spectra() -> None:
    grey = {"building": "roof_concrete", "road": "concrete", "barren_land": "gravel"}
    spectra = np.array([GROUND[INDEX[name]].reflectance for name in grey.values()])
    assert [GROUND[INDEX[name]].cover for name in grey.values()] == list(grey)
    assert np.ptp(spectra, axis=0).max() < 0.08


def test_sediment_brightens_water_from_blue_to_brown() -> None:
    clear, turbid = water_reflectance(np.array([1.0, 400.0]))
    assert (turbid > clear).all()
    assert clear[GREEN] > clear[NIR]
    assert turbid[RED] > turbid[BLUE]
    assert clear.max() < 0.1


def test_tables_agree_on_the_number_of_materials() -> None:
    table = reflectance_table(np.random.default_rng(0))
    assert table.shape == (4, label_table().size)
    assert 0.0 < table.min() < table.max() < 1.0
    assert set(label_table()) == set(range(1, 7))
    assert (label_table()[FIRST_WATER:] == 6).all()


def test_noise_has_its_deviation_and_scale() -> None:
    field = smooth_noise(np.random.default_rng(0), (600, 500), 10.0)
    assert field.shape == (600, 500)
    assert abs(field.mean()) < 0.1
    assert field.std() == pytest.approx(1.0, abs=0.1)
    near = np.corrcoef(field[:, 1:].ravel(), field[:, :-1].ravel())[0, 1]
    far = np.corrcoef(field[:, 40:].ravel(), field[:, :-40].ravel())[0, 1]
    assert near > 0.95
    assert abs(far) < 0.1


@pytest.mark.parametrize("angle", [0.0, 40.0, 90.0, 200.0, 300.0])
def test_a_tower_casts_a_shadow_of_its_height_over_the_tangent(angle: float) -> None:
    sun = Sun(float(np.cos(np.radians(angle))), float(np.sin(np.radians(angle))), 0.8)
    height = np.zeros((161, 161), dtype=np.float32)
    height[77:84, 77:84] = 12.0
    lit = _lit(height, sun, 0.5)
    reach = 12.0 / 0.8 / 0.5  # points
    for away, expected in ((0.8 * reach, 0.0), (1.3 * reach, 1.0), (-0.8 * reach, 1.0)):
        assert lit[80 - round(sun.row * away), 80 - round(sun.col * away)] == expected


def test_label_is_what_most_of_a_pixel_is() -> None:
    ground = Canvas.blank(2.0, 0.5)
    ground.material[:] = INDEX["broadleaf"]
    ground.material[0, :3] = INDEX["paint"]
    ground.material[1, 0] = INDEX["car"]  # another material of the same class
    ground.material[2:, 2:] = FIRST_WATER + 5
    assert _labels(ground).tolist() == [[5, 3], [3, 6]]


def test_strips_fill_a_box() -> None:
    strips = Box(0.0, 10.0, 5.0, 111.0).strips(17.0, 3.0)
    assert strips[0].left == 10.0
    assert strips[-1].right == pytest.approx(111.0)
    assert all(b.left - a.right == pytest.approx(3.0) for a, b in pairwise(strips))


def test_turned_sheet_draws_on_the_same_ground() -> None:
    canvas = Canvas.blank(20.0, 0.5)
    box = Box(2.0, 5.0, 4.0, 15.0)
    canvas.turned().fill(box.turned(), "rock")
    assert (canvas.material[canvas.cut(box)] == INDEX["rock"]).all()
    assert (canvas.material == INDEX["rock"]).sum() == 4 * 20


def test_statistics_of_bands_do_not_tell_the_classes_apart(scenes: Scenes) -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    selection = pytest.importorskip("sklearn.model_selection")
    features, classes, blocks = tiles_of(scenes)
    folds = selection.GroupKFold(4)
    guessed = selection.cross_val_predict(
        ensemble.RandomForestClassifier(100, random_state=0),
        features,
        classes,
        groups=blocks,
        cv=folds,
    )
    assert 0.5 < (guessed == classes).mean() < 0.90
    wrong = guessed != classes
    grey = [CLASSES.index(name) + 1 for name in ("building", "road", "barren_land")]
    both = np.isin(classes, grey) & np.isin(guessed, grey)
    assert both[wrong].mean() > 0.4
