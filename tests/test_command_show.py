"""``python -m pipeline show`` and ``kernel``: what is printed, what is drawn, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import bundle as bundles
from pipeline import shift
from pipeline.__main__ import main
from pipeline.commands import kernel, show
from pipeline.errors import BandError, ConfigError
from pipeline.portrait import Portrait, band_values
from pipeline.store import Store
from pipeline.types import Bands, Bounds, Classes, Tile, Window
from tests import little
from tests.conftest import ROOT

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("show")
    little.project(folder)
    return folder


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


def _show(*words: Any, **more: Any) -> None:
    show.run(little.ENGINE, *words, **more)


def test_a_tile_is_told_and_drawn(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _show("test:4")
    said = capsys.readouterr().out
    for words in (
        "test:4, number 106 of the store", "test, row 4", "label    trees",
        "12 x 12 pixels, 4 bands, uint8, 1 m a pixel", "test.tif, rows 0 to 11, columns 48 to 59",
        "not georeferenced", "Wrote reports/show/test_4.png.",
    ):  # fmt: skip
        assert words in said
    store = Store.open()
    band = store.pixels("test", np.array([4]))[0][..., 3].astype(float)
    row = next(line for line in said.splitlines() if line.startswith("nir"))
    numbers = [float(word) for word in row.split()[1:5]]
    assert numbers == pytest.approx([band.min(), band.mean(), band.std(), band.max()], rel=1e-4)
    (shares,) = bundles.load().probabilities(store.pixels("test", np.array([4])), batch_size=1)
    best = int(shares.argmax())
    assert f"little says {store.classes.names[best]}, {shares[best]:.1%}" in said
    assert Path("reports/show/test_4.png").read_bytes().startswith(PNG)


def test_a_tile_s_place_is_told_where_there_is_one() -> None:
    tile = Tile(np.zeros((4, 4, 1), np.uint16), 0, "a", "s.tif", Window(8, 4, 4, 4),
                Bounds(402084, 5599888, 402088, 5599892), "EPSG:32633", "s", 0.75)  # fmt: skip
    told = dict(Portrait(tile, 3, "train", 3, "trees", "#117733", []).lines(2.5))
    assert told["place"] == "402084 to 402088, 5599888 to 5599892, EPSG:32633"
    assert told["source"] == "s.tif, rows 8 to 11, columns 4 to 7"
    assert told["purity"] == "75.0% of the tile is of its class"
    assert told["size"].endswith("uint16, 2.5 m a pixel")


def test_values_stand_beside_those_of_training(tmp_path: Path) -> None:
    store = little.store(tmp_path / "tiles")
    pixels = store.pixels("train").astype(np.uint8)
    one = band_values(store, pixels[0])
    assert [value.usual_low for value in one] == [None] * 4  # of an earlier version
    look = shift.Look.of(pixels, store.bands)
    store.looks["train"] = look.facts()
    for k, value in enumerate(band_values(store, pixels[0])):
        assert value.usual_mean == pytest.approx(pixels[..., k].mean())
        assert value.usual_deviation == pytest.approx(pixels[..., k].std())
        assert value.usual_low == pytest.approx(np.percentile(pixels[..., k], 0.1))
        assert value.usual_high == pytest.approx(np.percentile(pixels[..., k], 99.9))


def test_a_colour_picture_keeps_the_hue(tmp_path: Path) -> None:
    store = little.store(tmp_path / "tiles")
    train = store.pixels("train").astype(np.uint8)
    store.looks["train"] = shift.Look.of(train, store.bands).facts()
    low, high = show.usual(store)
    np.testing.assert_allclose(low, np.percentile(train, 1, axis=(0, 1, 2)))
    pixels = np.broadcast_to(low + [0.1, 0.2, 0.05, 0.4] * (high - low), (6, 6, 4))
    tile = Tile(pixels, 0, "a", "a.tif", Window(0, 0, 6, 6))
    colour = show.coloured(store, Portrait(tile, 0, "test", 0, "", "", []), (3, 0, 1))
    shown = colour.stretch.apply(tile.pixels)[0, 0, [3, 0, 1]]
    assert shown == pytest.approx([1.0, 0.25, 0.5])  # shares of the brightest of the three
    assert "to 40% of the range" in colour.how


def test_many_tiles_go_to_a_folder_and_one_to_a_file(here: Path, tmp_path: Path) -> None:
    _show("3-4", out=str(tmp_path / "some"), stretch="training")
    assert {path.name for path in (tmp_path / "some").iterdir()} == {"train_3.png", "train_4.png"}
    _show(label="water", worst=True, out=str(tmp_path / "one.png"))
    assert (tmp_path / "one.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({}, r"507, 500-505 or an id\), or --class and --worst, got neither"),
        ({"tile": "3", "label": "water"}, "got both"),
        ({"tile": "3", "worst": True}, "got both"),
        ({"tile": "3", "stretch": "all"}, "Expected tile or training in --stretch, got 'all'"),
        ({"tile": "3-4", "out": "a.png"}, r"a folder in --out for 2 tiles, got a\.png"),
        ({"tile": "3", "out": "a.jpg"}, r"a folder or a file \.png in --out, got a\.jpg"),
        ({"label": "sea"}, "building, trees, water, got 'sea'"),
    ],
)
def test_mistakes_of_show_are_named(here: Path, words: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        _show(**words)


def test_without_a_network_that_fits_a_tile_is_shown_and_none_is_the_worst(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    kinds = Bands(tuple(f"B{i}" for i in range(13))), Classes(("a/b", "c"))
    little.noise(tmp_path / "data" / "tiles", *kinds, 20, "uint16")
    _show("0")
    assert "network  none: Expected a trained network in models" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"network for --worst, got none: .*Train first"):
        _show(worst=True)


def test_an_autoencoder_tells_its_error_and_has_no_worst_of_a_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, bundle = little.drawing_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    _show("0", within="test")
    pixels = store.pixels("test", np.array([0])).astype(np.uint8)
    drawn = bundle.reconstructions(pixels, batch_size=1)
    error = float(np.square((drawn - pixels) / store.std).mean())
    assert f"squared error of {error:.3g}" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="got an autoencoder"):
        _show(label="water", worst=True)


def test_a_kernel_is_told_in_numbers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kernel.run("sobel_x", tile="2", within="test", band="red", at="1,5", padding="valid")
    said = capsys.readouterr().out.replace("\N{MINUS SIGN}", "-")
    band = Store.open().pixels("test", np.array([2]))[0][..., 0].astype(int)
    window = band[1:4, 5:8]
    total = int((window * np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])).sum())
    assert f"sum = {total}\n" in said
    assert (
        "sobel_x on red of test:2, padding valid, stride 1, dilation 1: 12 x 12 -> 10 x 10" in said
    )
    for row in window:
        assert " ".join(f"{value:>3}" for value in row) in said
    assert Path("reports/kernel/sobel_x.png").read_bytes().startswith(PNG)


def test_a_kernel_of_one_s_own_is_slid(here: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.png"
    kernel.run(matrix="[[1, 0, -1]]", stride=2, dilation=3, out=str(out))
    assert out.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("words", "error", "told"),
    [
        ({}, ConfigError, r"Expected a kernel \(identity, .*\) or --matrix, got neither"),
        ({"name": "sobel_x", "matrix": "[[1]]"}, ConfigError, "got both"),
        ({"name": "sobel"}, ConfigError, r"got 'sobel'\. Did you mean sobel_[xy]\?"),
        ({"matrix": "[[1, 2], [3]]"}, ConfigError, "rows of numbers"),
        ({"matrix": "[" + ",".join(["[1]"] * 13) + "]"}, ConfigError, "spans 13 x 1"),
        ({"name": "identity", "band": "swir"}, BandError, "got 'swir'"),
        ({"name": "identity", "tile": "0-1"}, ConfigError, "one tile in --tile, got 2"),
        ({"name": "identity", "tile": "x"}, ConfigError, "id of a tile"),
        ({"name": "identity", "padding": "full"}, ConfigError, "valid, same, zeros in --padding"),
        ({"name": "identity", "stride": 0}, ConfigError, "stride of 1 or more, got 0"),
        ({"name": "identity", "dilation": 6}, ConfigError, "at a dilation of 6"),
        ({"name": "identity", "at": "12,0"}, ConfigError, "0,0 to 11,11, in --at, got '12,0'"),
        ({"name": "identity", "at": "a"}, ConfigError, "in --at, got 'a'"),
        ({"name": "identity", "out": "a.txt"}, ConfigError, r"\.png in --out"),
    ],
)  # fmt: skip
def test_mistakes_of_kernel_are_named(
    here: Path, words: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        kernel.run(**words)


def test_both_are_commands(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    assert main(["show", "--class", "trees", "--split", "validation", "--out", "a.png"]) == 0
    assert main(["kernel", "--matrix", "[[0,1]]", "--tile", "test:1", "--out", "b.png"]) == 0
    said = capsys.readouterr().out
    assert "validation, row 1" in said
    assert "params.yaml differs" not in said  # it has no say in what a tile is
    assert main(["show", "999"]) == 1
    assert capsys.readouterr().err.startswith("error: Expected a tile of the store from 0 to 132")
