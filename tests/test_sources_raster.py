from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

from pipeline.errors import BandError, SourceError
from pipeline.sources.raster import (
    Reading,
    band_type,
    find_bands,
    invalid,
    look,
    opened,
    read,
)
from pipeline.types import Window
from tests.imagery import UTM, noise, write_raster

FOUR = ("red", "green", "blue", "nir")
RGBA = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)


def _bands(path: Path, bands: Any) -> list[int]:
    with opened(path) as raster:
        return find_bands(raster, bands, path.name)


def _invalid(path: Path, reading: Reading) -> NDArray[np.bool_] | None:
    with opened(path) as raster:
        indexes = find_bands(raster, reading.bands, path.name)
        window = Window(0, 0, raster.height, raster.width)
        return invalid(raster, indexes, read(raster, indexes, window), window, reading)


def test_bands_are_found_by_description_whatever_the_case_and_order(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(4, 4, 4), ("NIR", "Blue", "green", "RED"))
    assert _bands(path, FOUR) == [4, 3, 2, 1]
    assert _bands(path, ["nir"]) == [1]


def test_a_band_is_found_by_a_word_of_its_description(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(4, 4, 3), ("red B04", "nir B08", "nir narrow"))
    assert _bands(path, ["red", "B08"]) == [1, 2]
    with pytest.raises(BandError, match=r"one band called nir, got 2 .* in a\.tif"):
        _bands(path, ["nir"])


def test_bands_without_descriptions_are_taken_in_order_if_their_number_fits(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(4, 4, 4))
    assert _bands(path, FOUR) == [1, 2, 3, 4]
    with pytest.raises(BandError, match=r"got 4 without .* in a\.tif.*\{red: 1, nir: 2\}"):
        _bands(path, ["red", "nir"])


def test_a_missing_description_is_told_with_what_was_found(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(4, 4, 2), ("red", "swir"))
    with pytest.raises(BandError, match=r"called nir, got 0 among the bands red, swir"):
        _bands(path, ["red", "nir"])


def test_a_mapping_counts_from_one_and_knows_the_end(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(4, 4, 2), ("red", "nir"))
    assert _bands(path, {"nir": 1, "red": 2}) == [1, 2]
    with pytest.raises(BandError, match=r"band nir at index 3, got a raster of 2 bands"):
        _bands(path, {"nir": 3})


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 13])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_any_number_of_bands_is_read_channel_last(
    tmp_path: Path, bands: int, interleave: str
) -> None:
    pixels = noise(9, 7, bands, "uint16")
    path = write_raster(tmp_path / "a.tif", pixels, interleave=interleave)
    order = list(range(bands, 0, -1))
    with opened(path) as raster:
        got = read(raster, order, Window(2, 1, 5, 4))
    np.testing.assert_array_equal(got, pixels[2:7, 1:5, ::-1])


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_any_number_type_is_read_as_it_is(tmp_path: Path, kind: str) -> None:
    path = write_raster(tmp_path / "a.tif", noise(4, 4, 2, kind))
    with opened(path) as raster:
        assert band_type(raster, [1, 2], "a.tif") == np.dtype(kind)
        assert read(raster, [1, 2], Window(0, 0, 4, 4)).dtype == np.dtype(kind)
    assert _invalid(path, Reading(["a", "b"])) is None


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.ones((3, 3, 1), np.complex64))
    with opened(path) as raster, pytest.raises(SourceError, match=r"complex64 in a\.tif"):
        band_type(raster, [1], "a.tif")


def test_nodata_is_the_declared_value_in_any_chosen_band(tmp_path: Path) -> None:
    pixels = noise(4, 4, 3)
    pixels[1, 2, 1] = pixels[3, 3, 2] = 0
    path = write_raster(tmp_path / "a.tif", pixels, ("red", "green", "blue"), nodata=0)
    bad = _invalid(path, Reading(["red", "green"]))
    assert bad is not None
    assert np.argwhere(bad).tolist() == [[1, 2]]


def test_nodata_of_the_source_adds_to_the_declared_one(tmp_path: Path) -> None:
    pixels = noise(4, 4, 1)
    pixels[0, 0], pixels[2, 2] = 0, 255
    path = write_raster(tmp_path / "a.tif", pixels, nodata=0)
    bad = _invalid(path, Reading(["red"], nodata=255))
    assert bad is not None
    assert np.argwhere(bad).tolist() == [[0, 0], [2, 2]]


@pytest.mark.parametrize("nodata", [-9999, 0.5, 300, float("nan")])
def test_a_nodata_value_that_the_type_cannot_hold_marks_nothing(
    tmp_path: Path, nodata: float
) -> None:
    path = write_raster(tmp_path / "a.tif", noise(4, 4, 1))
    assert _invalid(path, Reading(["red"], nodata=nodata)) is None


def test_reals_that_are_not_finite_are_no_data(tmp_path: Path) -> None:
    pixels = noise(4, 4, 2, "float32")
    pixels[0, 1, 0], pixels[1, 1, 1], pixels[2, 2, 0] = np.nan, -np.inf, -9999
    path = write_raster(tmp_path / "a.tif", pixels, nodata=-9999)
    bad = _invalid(path, Reading(["a", "b"]))
    assert bad is not None
    assert np.argwhere(bad).tolist() == [[0, 1], [1, 1], [2, 2]]


@pytest.mark.parametrize("inside", ["YES", "NO"])
def test_a_mask_of_the_whole_file_is_honoured(tmp_path: Path, inside: str) -> None:
    path = write_raster(tmp_path / "a.tif", noise(4, 4, 4), FOUR)
    mask = np.full((4, 4), 255, np.uint8)
    mask[3, 1] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside), rasterio.open(path, "r+") as raster:
        raster.write_mask(mask)
    assert (tmp_path / "a.tif.msk").exists() == (inside == "NO")
    bad = _invalid(path, Reading(FOUR))
    assert bad is not None
    assert np.argwhere(bad).tolist() == [[3, 1]]


def test_a_fourth_band_called_alpha_is_near_infrared_unless_asked(tmp_path: Path) -> None:
    pixels = noise(4, 4, 4)
    pixels[1, 1, 3] = 0
    path = write_raster(tmp_path / "a.tif", pixels, alpha="YES", photometric="RGB")
    with opened(path) as raster:
        assert raster.colorinterp == RGBA
    assert _invalid(path, Reading(FOUR)) is None
    bad = _invalid(path, Reading(FOUR, alpha_mask=True))
    assert bad is not None
    assert np.argwhere(bad).tolist() == [[1, 1]]


@pytest.mark.parametrize("driver", ["PNG", "JPEG", "JP2OpenJPEG"])
def test_other_formats_and_no_place_on_the_ground(tmp_path: Path, driver: str) -> None:
    bands = 3 if driver == "JPEG" else 4
    options: dict[str, Any] = {"QUALITY": 100, "REVERSIBLE": "YES"} if "JP2" in driver else {}
    with rasterio.Env(GDAL_PAM_ENABLED="NO"):
        path = _flat(tmp_path / "a.img", bands, driver, options)
    facts = look(path)
    assert (facts.crs, facts.resolution, facts.count) == (None, None, bands)
    with opened(path) as raster:
        assert (read(raster, [2], Window(0, 0, 32, 32)) == 90).all()
    assert _invalid(path, Reading([f"b{i}" for i in range(bands)])) is None


def _flat(path: Path, bands: int, driver: str, options: dict[str, Any]) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        pixels = np.full((32, 32, bands), 90, np.uint8)
        return write_raster(path, pixels, crs=None, driver=driver, **options)


def test_facts_of_a_header(tmp_path: Path) -> None:
    facts = look(write_raster(tmp_path / "a.tif", noise(40, 30, 2, "int16"), tiled=False), "a")
    assert (facts.name, facts.height, facts.width, facts.count) == ("a", 40, 30, 2)
    assert (facts.crs, facts.resolution, facts.dtypes) == (UTM, 10.0, ("int16", "int16"))


def test_what_is_no_raster_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.tif"
    path.write_text("not a raster")
    with pytest.raises(SourceError, match=r"got notes\.tif: .*source\.pattern"):
        look(path, "notes.tif")


@pytest.mark.parametrize(
    ("driver", "options"),
    [("GTiff", {"compress": "deflate"}), ("GTiff", {}), ("PNG", {}), ("JPEG", {})],
)
def test_a_truncated_raster_is_named(tmp_path: Path, driver: str, options: dict[str, Any]) -> None:
    path = tmp_path / "a.img"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        write_raster(path, noise(200, 200, 3), crs=None, driver=driver, **options)
    path.write_bytes(path.read_bytes()[:20_000])
    with opened(path) as raster, pytest.raises(SourceError, match=r"got .*a\.img"):
        read(raster, [1], Window(0, 0, 200, 200))
