"""Figures of attributions, dreams, embeddings and walks, of few bands and of many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.figures import attributions, canvas, dreams, embeddings
from pipeline.figures.attributions import Believed, Spread
from pipeline.figures.dreams import Row
from pipeline.figures.embeddings import Panel, Told
from pipeline.types import Bands, Classes
from tests.words import overflow, overlaps, texts_of

LONG = Classes(("HerbaceousVegetation", "PermanentCrop", *(f"Class number {i}" for i in range(8))))
SHORT = tuple(f"B{i:02d}" for i in range(10))
BANDS = {n: Bands(SHORT[:n]) for n in (1, 4)}
BANDS[13] = Bands((*SHORT, "nir_narrow", "water_vapour", "swir_short_wave_2200"))
HEADING = "annual crop, irrigated and rainfed\ntaken for PermanentCrop\nprobability 0.12"
METHODS = ("Saliency", "Integrated gradients", "Occlusion", "Grad-CAM", "Guided back-propagation")


def _rng() -> np.random.Generator:
    return np.random.default_rng(5)


def _tiles(count: int, bands: int) -> NDArray[Any]:
    return _rng().integers(0, 60_000, (count, 12, 12, bands)).astype(np.uint16)


def _maps(count: int) -> Figure:
    views = dict.fromkeys(("natural colour", "false colour"), _rng().random((count, 9, 9, 3)))
    columns = {name: _rng().normal(size=(count, 9, 9)) for name in METHODS}
    return attributions.maps(views, columns, METHODS[1:3], [HEADING] * count, "Title", "Words.")


def _by_band(count: int, bands: int) -> Figure:
    views = dict.fromkeys(("natural colour", "false colour"), _rng().random((count, 9, 9, 3)))
    maps = _rng().normal(size=(count, 9, 9, bands))
    shares = np.full((count, bands), 1 / bands)
    names = BANDS[bands].names
    return attributions.by_band(views, maps, shares, names, [HEADING] * count, "Title", "Words.")


def _shares(classes: int, bands: int) -> Figure:
    values = _rng().normal(size=(60, bands))
    labels = np.arange(60) % classes
    spreads = [
        Spread.of("Share of what speaks for or against the class", np.abs(values), labels,
                  range(classes)),
        Spread.of("Probability lost without the band", values, labels, range(classes)),
    ]  # fmt: skip
    return attributions.bands(spreads, LONG.names[:classes], BANDS[bands].names, "Title", "Words.")


def _trust(count: int) -> Figure:
    names = [name for name in METHODS[:count]]
    found = [Believed(name, (0.3, 1.0), (0.5, -0.4), (0.3, 0.5), 0.2, (0.1, 0.3)) for name in names]
    chance = Believed("Random order", (1.0,), (0.0,), (0.4, 0.4), 0.0, (np.nan, np.nan))
    return attributions.trust(found, chance, (0.5, 0.25), "Title", "Words of a caption.")


def _dreams(count: int, bands: int) -> Figure:
    tiles = _tiles(2, bands)
    row = Row(HEADING, tiles[0], tiles[1], tiles.mean(axis=(1, 2)))
    stretch = canvas.Stretch.of(tiles)
    return dreams.dreams([row] * count, BANDS[bands], stretch, "Title", "Words.", "most of real")


def _layouts(panels: int, classes: int) -> Figure:
    one = Panel("t-SNE, trustworthiness 0.98", _rng().normal(size=(50, 2)), ("97 %", "1 %"))
    known = Classes(LONG.names[:classes])
    labels = np.arange(50) % max(1, classes)
    told = Told(labels, np.roll(labels, 1) if classes else None, known)
    return embeddings.layouts([one] * panels, told, "Title", "Words of a caption.")


def _thumbnails(count: int, bands: int) -> Figure:
    one = Panel("t-SNE", _rng().normal(size=(count, 2)), ("", ""))
    colours = [LONG.colours[i % 10] for i in range(count)]
    return embeddings.thumbnails(one, _tiles(count, bands), colours, BANDS[bands], "Title")


def _walks(count: int, bands: int, ends: bool) -> Figure:
    tiles = np.stack([_tiles(5, bands)] * count)
    headings = [HEADING] * count
    columns = [f"{i} %" for i in range(5)]
    real = (tiles[:, 0], tiles[:, -1]) if ends else None
    return embeddings.walks(tiles, headings, columns, real, BANDS[bands], "Title", "Words.")


FIGURES: dict[str, Figure] = {
    "maps of one": _maps(1),
    "maps of six": _maps(6),
    "one band": _by_band(1, 1),
    "thirteen bands": _by_band(3, 13),
    "shares of one band": _shares(2, 1),
    "shares of four": _shares(6, 4),
    "shares of thirteen": _shares(10, 13),
    "one method": _trust(1),
    "all methods": _trust(5),
    "dream of one band": _dreams(1, 1),
    "dreams of thirteen": _dreams(3, 13),
    "layout of one": _layouts(1, 10),
    "layouts of three": _layouts(3, 2),
    "layout without classes": _layouts(2, 0),
    "thumbnails": _thumbnails(40, 4),
    "one thumbnail": _thumbnails(1, 1),
    "walks": _walks(3, 4, True),
    "directions": _walks(1, 13, False),
}


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_cut_off(name: str) -> None:
    assert overflow(FIGURES[name]) == []
    assert overlaps(FIGURES[name]) == []


def test_a_title_that_is_too_wide_has_two_lines_before_it_loses_letters() -> None:
    title = "What each input channel weighs in the filters of inception3a.five.conv"
    short, _ = canvas.canvas(4, 1, 1.0, title, "")
    assert title in [text.replace("\n", " ") for text in texts_of(short)]
    assert overflow(short) == []
    longer, _ = canvas.canvas(4, 1, 1.0, "word " * 60, "")
    assert any("\N{HORIZONTAL ELLIPSIS}" in text for text in texts_of(longer))
    assert overflow(longer) == []


def test_shares_are_means_with_the_middle_of_the_tiles_below() -> None:
    values = np.linspace(-0.5, 0.5, 11)[:, None]
    spread = Spread.of("lost", values, np.zeros(11, np.int64), [0])
    texts = texts_of(attributions.bands([spread], ["a"], ["nir"], "t", "c"))
    assert "0" in texts
    assert "\N{MINUS SIGN}40 to 40" in texts


def test_mistakes_are_marked_in_the_legend() -> None:
    assert any("mistaken" in text for text in texts_of(_layouts(1, 3)))
    assert not any("mistaken" in text for text in texts_of(_layouts(1, 0)))


def test_each_cell_has_the_tile_nearest_its_middle() -> None:
    far, near = [0.01, 0.01], [0.5 / embeddings.CELLS, 0.5 / embeddings.CELLS]
    places = np.array([far, near, [1.0, 1.0], [0.0, 0.0]])
    tiles = np.stack([np.full((2, 2, 1), value) for value in (10, 20, 30, 40)])
    figure = embeddings.thumbnails(
        Panel("", places, ("", "")), tiles, ["#000000"] * 4, BANDS[1], "t"
    )
    shown = sorted(
        float(np.asarray(image.get_array())[0, 0, 0]) for image in figure.axes[0].images[1::2]
    )
    stretch = canvas.Stretch.of(tiles)
    expected = [float(stretch.apply(tile)[0, 0, 0]) for tile in tiles[[1, 2]]]
    assert shown == pytest.approx(expected)
