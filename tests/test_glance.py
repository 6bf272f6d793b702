from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.bundle import Bundle, load, save
from pipeline.glance import GRID, SIDE, glance, windows
from pipeline.shift import Look
from pipeline.sources import raster
from pipeline.sources.raster import Reading
from tests import little
from tests.imagery import noise, write_raster

READING = Reading(little.BANDS.names, 0, False)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A network that remembers what its tiles looked like."""
    folder = tmp_path_factory.mktemp("glance")
    store, made = little.project(folder)
    look = Look.of(store.pixels("train"), store.bands).facts()
    network = made.network
    save(network, data_digest=store.digest, params={}, look=look, root=folder / "models")
    return load(folder / "models")


def _scene(folder: Path, factor: float, hole: bool = False) -> Path:
    pixels = little.tiles(np.arange(400) % 3, 5).reshape(20, 20, 12, 12, 4).swapaxes(1, 2)
    scene = pixels.reshape(240, 240, 4) * factor
    if hole:
        scene[:200] = 0
    return write_raster(folder / "scene.tif", scene.astype(np.float32), little.BANDS.names)


def test_a_scene_of_the_same_kind_is_passed_over(tmp_path: Path, bundle: Bundle) -> None:
    with raster.opened(_scene(tmp_path, 1.0)) as dataset:
        found = glance(dataset, [1, 2, 3, 4], bundle, READING)
    assert found is not None
    assert found.unlike == []


def test_a_scene_in_another_unit_is_told_whatever_its_empty_parts(
    tmp_path: Path, bundle: Bundle
) -> None:
    with raster.opened(_scene(tmp_path, 1e-4, hole=True)) as dataset:
        found = glance(dataset, [1, 2, 3, 4], bundle, READING)
    assert found is not None
    assert "about 10,000 times smaller" in found.unlike[0]


def test_nothing_to_compare_is_no_fault(tmp_path: Path, bundle: Bundle) -> None:
    path = write_raster(tmp_path / "empty.tif", np.zeros((50, 60, 4), np.uint8))
    with raster.opened(path) as dataset:
        assert glance(dataset, [1, 2, 3, 4], bundle, READING) is None
    old = Bundle(bundle.network, "", {}, {}, "")
    with raster.opened(_scene(tmp_path, 1.0)) as dataset:
        assert glance(dataset, [1, 2, 3, 4], old, READING) is None


def test_windows_reach_from_end_to_end(tmp_path: Path) -> None:
    pixels = noise(1000, 300, 2)
    path = write_raster(tmp_path / "a.tif", pixels)
    with raster.opened(path) as dataset:
        found, valid = windows(dataset, [1, 2], Reading(("a", "b"), None, False))
    assert found.shape == (GRID * 3, SIDE, SIDE, 2)
    np.testing.assert_array_equal(found[0], pixels[:SIDE, :SIDE])
    np.testing.assert_array_equal(found[-1], pixels[-SIDE:, -SIDE:])
    assert valid.all()
