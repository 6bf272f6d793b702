from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from pipeline import mapping
from pipeline.bundle import Bundle
from pipeline.errors import BandError, BundleError, ConfigError, SourceError
from pipeline.mapping import Cells
from pipeline.schema import FoldersSource, PredictSection
from pipeline.stages import predict
from tests import little

SOURCE = FoldersSource(kind="folders", root="tiles", bands=list(little.BANDS))
TRANSFORM = rasterio.Affine(2.0, 0.0, 300_000, 0.0, -2.0, 4_500_000)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Bundle]:
    folder = tmp_path_factory.mktemp("predict")
    return folder, little.project(folder)[1]


@pytest.fixture
def here(made: tuple[Path, Bundle], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made[0])
    return made[0]


def pixels(height: int = 50, width: int = 64) -> NDArray[np.uint8]:
    """A scene (H, W, C): a third of each class from left to right."""
    scene = np.random.default_rng(4).integers(20, 120, (height, width, 4))
    label = np.arange(width) * 3 // width
    scene[:, np.arange(width), label + 1] += 50
    return scene.astype(np.uint8)


def write(
    path: Path, scene: NDArray[Any], names: tuple[str, ...] = tuple(little.BANDS), **profile: Any
) -> Path:
    height, width, count = scene.shape
    place = {"crs": "EPSG:32633", "transform": TRANSFORM} | profile
    with rasterio.open(
        path, "w", "GTiff", width, height, count, dtype=scene.dtype, **place
    ) as file:
        file.write(scene.transpose(2, 0, 1))
        for index, name in enumerate(names, start=1):
            file.set_band_description(index, name)
    return path


def section(path: Path, stride: int | None = None, name: str = "town") -> PredictSection:
    return PredictSection(scenes={name: str(path)}, stride=stride, batch_size=7)


def codes(name: str = "town") -> NDArray[np.uint8]:
    with rasterio.open(f"predictions/{name}.tif") as file:
        return np.asarray(file.read(1))


def by_hand(bundle: Bundle, scene: NDArray[Any], stride: int) -> NDArray[Any]:
    """Probabilities (rows, cols, K) of the window around each cell, one at a time."""
    size = bundle.tile_size
    cells = Cells(scene.shape[0], scene.shape[1], size, stride)
    windows = [scene[r : r + size, c : c + size] for r in cells.tops for c in cells.lefts]
    found = bundle.probabilities(np.stack(windows), batch_size=64)
    return found.reshape(cells.rows, cells.cols, -1)


@pytest.mark.parametrize(("stride", "strip"), [(None, 1), (5, 4000), (12, 2**26), (1, 2**14)])
def test_map_is_that_of_each_window_by_itself(
    made: tuple[Path, Bundle], here: Path, monkeypatch: pytest.MonkeyPatch, stride: int, strip: int
) -> None:
    monkeypatch.setattr(mapping.Cells.strips, "__defaults__", (strip,))
    scene = pixels(26, 33) if stride == 1 else pixels()
    predict.run(
        section(write(here / "town.tif", scene), stride),
        little.HEARD,
        SOURCE,
        little.ENGINE,
        little.UNTRACKED,
        "town",
    )
    expected = by_hand(made[1], scene, stride or 3)
    assert np.array_equal(codes(), expected.argmax(axis=2) + 1)
    with rasterio.open("predictions/town_confidence.tif") as file:
        np.testing.assert_allclose(file.read(1), 100 * expected.max(axis=2), atol=0.501)


def test_cells_that_the_network_is_not_sure_of_stay_without_a_class(
    made: tuple[Path, Bundle], here: Path
) -> None:
    scene = pixels()
    expected = by_hand(made[1], scene, 5)
    most = expected.max(axis=2)
    least = float(np.median(most))
    sure = section(write(here / "town.tif", scene), 5).model_copy(update={"min_confidence": least})
    predict.run(sure, little.HEARD, SOURCE, little.ENGINE, little.UNTRACKED)
    close = np.abs(most - least) < 1e-5  # one cell is the median itself
    wanted = np.where(most >= least, expected.argmax(axis=2) + 1, 0)
    np.testing.assert_array_equal(codes()[~close], wanted[~close])
    assert 0.4 < (codes() == 0).mean() < 0.6
    with rasterio.open("predictions/town_confidence.tif") as file:
        np.testing.assert_allclose(file.read(1), 100 * most, atol=0.501)


def test_map_stands_where_the_scene_stands_and_explains_itself(here: Path) -> None:
    predict.run(
        section(write(here / "town.tif", pixels()), 5),
        little.HEARD,
        SOURCE,
        little.ENGINE,
        little.UNTRACKED,
    )
    with rasterio.open("predictions/town.tif") as file:
        assert file.crs.to_epsg() == 32633
        assert (file.height, file.width) == (10, 13)
        assert tuple(file.transform)[:6] == (10.0, 0.0, 300_000.0, 0.0, -10.0, 4_500_000.0)
        assert file.dtypes == ("uint8",)
        assert file.nodata == 0
        assert file.compression.name == "deflate"
        assert file.profile["tiled"]
        assert file.descriptions == ("class",)
        assert file.tags(1) == {"class_1": "building", "class_2": "trees", "class_3": "water"}
        table = file.colormap(1)
    colours = ["#" + "".join(f"{v:02X}" for v in table[k][:3]) for k in (1, 2, 3)]
    assert colours == list(little.CLASSES.colours)
    assert Path("reports/maps/town.png").read_bytes().startswith(b"\x89PNG")
    assert not list(Path("predictions").glob(".*"))


def test_bands_are_found_by_name(here: Path) -> None:
    scene = pixels()
    predict.run(
        section(write(here / "town.tif", scene), 5),
        little.HEARD,
        SOURCE,
        little.ENGINE,
        little.UNTRACKED,
    )
    expected = codes()
    turned = write(here / "turned.tif", scene[..., ::-1], tuple(little.BANDS)[::-1])
    predict.run(section(turned, 5), little.HEARD, SOURCE, little.ENGINE, little.UNTRACKED)
    assert np.array_equal(codes(), expected)


def test_bands_without_names_are_where_the_source_says(here: Path) -> None:
    scene = pixels()
    predict.run(
        section(write(here / "town.tif", scene), 5),
        little.HEARD,
        SOURCE,
        little.ENGINE,
        little.UNTRACKED,
    )
    expected = codes()
    places = {"nir": 1, "red": 4, "green": 3, "blue": 2}
    source = SOURCE.model_copy(update={"bands": places})
    for names in ((), ("nir", "blue", "green", "red"), ("one", "two", "three", "four")):
        turned = write(here / "turned.tif", scene[..., ::-1], names)
        predict.run(section(turned, 5), little.HEARD, source, little.ENGINE, little.UNTRACKED)
        assert np.array_equal(codes(), expected), names
    named = write(here / "named.tif", scene)  # in an order of its own: its names are believed
    predict.run(section(named, 5), little.HEARD, source, little.ENGINE, little.UNTRACKED)
    assert np.array_equal(codes(), expected)


@pytest.mark.parametrize("declared", [True, False])
def test_no_data_is_left_out_and_does_not_reach_its_neighbours(
    made: tuple[Path, Bundle], here: Path, declared: bool
) -> None:
    scene = pixels()
    scene[20:30, 10:20] = 0
    scene[0, 63, 2] = 0
    path = write(here / "town.tif", scene, nodata=0 if declared else None)
    source = SOURCE.model_copy(update={"nodata": None if declared else 0.0})
    predict.run(section(path, 5), little.HEARD, source, little.ENGINE, little.UNTRACKED)
    empty = np.zeros((10, 13), bool)
    empty[4:6, 2:4] = empty[0, 12] = True
    assert np.array_equal(codes() == 0, empty)
    with rasterio.open("predictions/town_confidence.tif") as file:
        assert np.array_equal(file.read(1) == 255, empty)
    # Cells beside the gap see the training tiles' mean in its place.
    filled = scene.copy()
    filled[(scene == 0).any(axis=2)] = mapping.neutral(made[1], scene)
    expected = by_hand(made[1], filled, 5).argmax(axis=2) + 1
    assert np.array_equal(codes()[~empty], expected[~empty])


def test_near_infrared_marked_as_alpha_is_no_mask(here: Path) -> None:
    scene = pixels()
    scene[:20, :, 3] = 0
    path = write(here / "town.tif", scene, photometric="RGB", alpha="YES")
    predict.run(section(path, 5), little.HEARD, SOURCE, little.ENGINE, little.UNTRACKED)
    assert (codes() > 0).all()


def test_scene_without_a_place_on_earth_is_mapped(here: Path) -> None:
    path = here / "town.tif"
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write(path, pixels(), crs=None, transform=None)
    predict.run(section(path, 5), little.HEARD, SOURCE, little.ENGINE, little.UNTRACKED)
    assert (codes() > 0).all()


def test_all_scenes_are_mapped_unless_one_is_named(here: Path) -> None:
    path = str(write(here / "town.tif", pixels()))
    both = PredictSection(scenes={"a": path, "b": path}, stride=12, batch_size=64)
    predict.run(both, little.HEARD, SOURCE, little.ENGINE, little.UNTRACKED, "b")
    assert Path("predictions/b.tif").is_file()
    assert not Path("predictions/a.tif").exists()
    predict.run(both, little.HEARD, SOURCE, little.ENGINE, little.UNTRACKED)
    assert np.array_equal(codes("a"), codes("b"))
    assert Path("predictions/a.tif").read_bytes() == Path("predictions/b.tif").read_bytes()


def test_mistakes_are_named(here: Path) -> None:
    path = write(here / "town.tif", pixels())
    with pytest.raises(ConfigError, match=r"predict.scenes \(town\), got 'city'"):
        predict.run(section(path), little.HEARD, SOURCE, little.ENGINE, little.UNTRACKED, "city")
    with pytest.raises(ConfigError, match="tile size 12, got 13"):
        predict.run(section(path, 13), little.HEARD, SOURCE, little.ENGINE, little.UNTRACKED)
    with pytest.raises(SourceError, match=r"nowhere\.tif: .*[^.]\. Replace the file"):
        predict.run(
            section(here / "nowhere.tif"), little.HEARD, SOURCE, little.ENGINE, little.UNTRACKED
        )
    other = write(here / "other.tif", pixels(), ("red", "green", "blue", "swir"))
    with pytest.raises(BandError, match=r"called nir, got 0 .*other\.tif"):
        predict.run(section(other), little.HEARD, SOURCE, little.ENGINE, little.UNTRACKED)
    small = write(here / "small.tif", pixels(11, 40))
    with pytest.raises(
        SourceError, match=r"got 11 x 40 in .*small\.tif\. Leave it out of predict\.scenes"
    ):
        predict.run(section(small), little.HEARD, SOURCE, little.ENGINE, little.UNTRACKED)


@pytest.mark.data
def test_real_scene_of_sixteen_bits_is_mapped(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little.project(tmp_path)
    monkeypatch.chdir(tmp_path)
    path = real_data / "scenes" / "sentinel2-aquileia.tif"
    with rasterio.open(path) as file:
        scene, profile = file.read(range(1, 5)).transpose(1, 2, 0)[:300, :301], file.profile
    copy = write(tmp_path / "real.tif", scene, crs=profile["crs"], transform=profile["transform"])
    predict.run(section(copy), little.HEARD, SOURCE, little.ENGINE, little.UNTRACKED)
    found = codes()
    assert found.shape == (100, 101)
    with rasterio.open("predictions/town.tif") as file:
        assert file.crs == profile["crs"]
        assert file.bounds.left == pytest.approx(profile["transform"].c)


def test_an_autoencoder_maps_no_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    little.drawing_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    none = PredictSection(scenes={}, stride=None, batch_size=7)
    predict.run(none, little.HEARD, SOURCE, little.ENGINE, little.UNTRACKED)
    assert capsys.readouterr().out.startswith("An autoencoder maps no classes")
    with pytest.raises(
        BundleError, match=r"maps no classes: .*can't map town\. Train a classifier"
    ):
        predict.run(
            section(tmp_path / "town.tif"), little.HEARD, SOURCE, little.ENGINE, little.UNTRACKED
        )
