from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from pipeline import assessment, breakdown
from pipeline.figures import (
    activations,
    canvas,
    evaluation,
    filters,
    kernels,
    maps,
    measures,
    reconstructions,
)  # fmt: skip
from pipeline.figures.portrait import Colour, portrait
from pipeline.kernels import KERNELS, Slid, Slide
from pipeline.measuring import Measurement
from pipeline.portrait import BandValues, Portrait
from pipeline.types import Bands, Classes, Tile, Window
from tests import measured
from tests.words import overflow, texts_of

LONG = Classes(("HerbaceousVegetation", "PermanentCrop", *(f"Class number {i}" for i in range(8))))
BANDS = {n: Bands(tuple(f"B{i:02d}" for i in range(n))) for n in (1, 2, 4, 13)}


def _rng() -> np.random.Generator:
    return np.random.default_rng(5)


def _counts(classes: int) -> NDArray[np.int64]:
    return _rng().integers(0, 12_000, (classes, classes))


def _weights(filters: int, channels: int, side: int = 3) -> NDArray[np.float32]:
    return _rng().normal(0, 0.1, (filters, channels, side, side)).astype(np.float32)


def _activations(filters: int) -> Figure:
    view = _rng().random((12, 12, 3))
    after = _rng().normal(size=(filters, 10, 10))
    own = [f"filter {i}" for i in range(filters)]
    stages = [
        activations.Answers("convolution\nblock2.conv1", own, after),
        activations.Answers("activation\nblock2.relu1", own, after.clip(0)),
        activations.Answers("convolution\nblock2.branch.reduce.conv2", ["filter 127"], after[:1]),
    ]
    views = {"natural colour": view, "false colour": view}
    return activations.activations(views, stages, "HerbaceousVegetation: a/b.tif")


def _kernels(tiles: int) -> Figure:
    values = _rng().integers(0, 9000, (tiles, 12, 12)).astype(np.uint16)
    answers = {
        name: np.stack([Slide().apply(value, kernel) for value in values])
        for name, kernel in KERNELS.items()
    }
    return kernels.over_tiles(
        [("HerbaceousVegetation", v) for v in values], answers, KERNELS, "nir"
    )


def _slid(kernel: tuple[int, int], slide: Slide) -> Figure:
    rng = _rng()
    band = rng.integers(0, 60_000, (28, 28)).astype(np.uint16)
    slid = Slid.peak("matrix", rng.normal(size=kernel).astype(np.float32), band, slide)
    return kernels.sliding(slid, "matrix on nir of a/b.tif")


def _in_colour(count: int, bands: int) -> Figure:
    own = BANDS[bands]
    return filters.in_colour(
        _weights(count, bands), [f"{i}† ≈−{i + 1}" for i in range(count)], own,  # noqa: RUF001
        own.false_colour, "Filters of conv1",
    )  # fmt: skip


def _strips(
    draw: Callable[..., Figure], count: int, depth: int, side: int = 3, marked: bool = False
) -> Figure:
    names = BANDS[depth].names if depth in BANDS else [str(i) for i in range(depth)]
    labels = [f"{i}† ≈{i + 1}" if marked else str(i) for i in range(count)]
    return draw(_weights(count, depth, side), labels, names, "Filters of conv1", "Sorted.")


def _spots(rows: int, each: int, mapped: bool) -> Figure:
    view = _rng().random((12, 12, 3))
    lines = [("HerbaceousVegetation", "#CC3311"), ("test 1234: 12.3", "")]
    spot = activations.Spot([view, view], lines, (-2, 3, 8, 14), view[..., 0] if mapped else None,
                            (2, 3))  # fmt: skip
    return activations.spots([(f"filter {i}", [spot] * each) for i in range(rows)], "Tiles",
                             across=1 if each > 1 else 2)  # fmt: skip


def _selective(count: int, classes: int) -> Figure:
    pairs = list(zip(LONG.names, LONG.colours, strict=True))[:classes]
    index = _rng().random(count)
    return activations.selectivity(
        _rng().random((classes, count)), index, [str(i) for i in range(count)], pairs, "Classes"
    )


def _portrait(bands: int, classes: int) -> Figure:
    tile = Tile(
        _rng().integers(0, 65535, (28, 28, bands)).astype(np.uint16), 0,
        "a/very/long/path/" * 12 + "t.tif", "a.tif", Window(0, 0, 28, 28),
    )  # fmt: skip
    values = [BandValues(name, 0.123, 12345.6789, 1234.5, 65535, 1e4, 1e3, 0, None)
              for name in BANDS[bands]]  # fmt: skip
    of = Portrait(tile, 3, "test", 3, LONG.names[0], LONG.colours[0], values)
    shares = list(zip(LONG.names, LONG.colours, np.geomspace(1, 1e-9, 10).tolist(), strict=True))
    lines = [("tile", tile.id), ("label", of.label), ("network", "none: " + "words " * 60)]
    stretch = canvas.Stretch.of(tile.pixels)
    colours = {
        name: Colour(BANDS[bands].natural, stretch, "in words")
        for name in ("natural colour", "false colour")
    }
    return portrait(of, BANDS[bands], stretch, "percentiles.", colours, shares[:classes], lines)


def _drawn(tiles: int, bands: int) -> Figure:
    pixels = _rng().integers(0, 9000, (tiles, 12, 12, bands)).astype(np.uint16)
    headings = ["HerbaceousVegetation\n0.0123"] * tiles
    drawn = pixels.astype(np.float32) + 100
    return reconstructions.pairs(pixels, drawn, headings, BANDS[bands], np.full(bands, 200.0))


def _scores(classes: int, places: int, temperature: float) -> dict[str, Figure]:
    """All figures of an evaluation."""
    some = measured.evidence(400, places, classes)
    whole = Measurement.of(replace(some, classes=Classes(LONG.names[:classes])))
    raw = assessment.calibrated(whole.evidence, temperature)
    summary = whole.summary() | raw | {"reject": {"threshold": 0.9}}
    groups = dict(zip(some.ids, (f"a/long/path/{n}.tif" for n in some.places.names), strict=True))
    rows = breakdown.rows(whole, groups if places else {})
    figures = evaluation.figures_of(whole, summary, rows, "validation")
    return {f"{name} of {classes}": figure for name, figure in figures}


FIGURES: dict[str, Figure] = {
    **_scores(10, 60, 0.4),
    **_scores(2, 0, 1.0),
    "confusion of ten": measures.confusion(_counts(10), LONG, "Confusion, 1,234 test tiles"),
    "confusion of two": measures.confusion(_counts(2), Classes(("a", "b")), "Confusion"),
    "bars of ten": measures.per_class(_counts(10), LONG, "Each class, 1,234 test tiles"),
    "one band": _in_colour(6, 1),
    "thirteen bands": _in_colour(64, 13),
    "one channel": _strips(filters.by_channel, 6, 1, 5),
    "thirteen channels": _strips(filters.by_channel, 64, 13, marked=True),
    "one by one": _strips(filters.by_channel, 3, 4, 1),
    "many": _strips(filters.by_channel, 64, 64),
    "response of one": _strips(filters.response, 1, 1),
    "response to bands": _strips(filters.response, 16, 13, marked=True),
    "response of many": _strips(filters.response, 64, 64),
    "montage of one": activations.montage(
        {"in colour": _rng().random((9, 9, 3))}, _rng().random((1, 5, 5)), ["0"], "Maps"
    ),
    "montage of many": activations.montage(
        dict.fromkeys(("natural colour", "false colour"), _rng().random((9, 9, 3))),
        _rng().normal(size=(64, 5, 5)),
        [str(i) for i in range(64)],
        "Maps",
    ),
    "exciting": _spots(6, 5, False),
    "one excites": _spots(1, 1, False),
    "strongest": _spots(3, 1, True),
    "selectivity of many": _selective(64, 10),
    "selectivity of one": _selective(1, 2),
    "a window": _slid((3, 3), Slide()),
    "a wide window": _slid((2, 7), Slide("valid", 3, 2)),
    "a large window": _slid((13, 13), Slide("zeros")),
    "a point": _slid((1, 1), Slide("zeros", 5)),
    "tile of one band": _portrait(1, 0),
    "tile of thirteen bands": _portrait(13, 10),
    "activations of one": _activations(1),
    "activations of eight": _activations(8),
    "kernels of one": _kernels(1),
    "kernels of ten": _kernels(10),
    "one tile drawn again": _drawn(1, 1),
    "eight tiles drawn again": _drawn(8, 13),
    "errors": reconstructions.histogram(np.geomspace(1e-5, 3.0, 500), "Errors of 500 test tiles"),
    "one error": reconstructions.histogram(np.array([0.0]), "Errors of 1 test tiles"),
    "wide map": maps.class_map(
        _rng().random((20, 60, 3)), _rng().integers(0, 11, (5, 15)).astype(np.uint8), LONG, "Map"
    ),
    "square map": maps.class_map(
        _rng().random((40, 40, 3)), np.zeros((5, 5), np.uint8), LONG, "Map", (1.1, 1.0)
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_cut_off(name: str) -> None:
    assert overflow(FIGURES[name]) == []


def test_files_repeat_and_hold_no_time(tmp_path: Path) -> None:
    first = canvas.save(_activations(2), tmp_path / "a" / "first.png")
    second = canvas.save(_activations(2), tmp_path / "second.png")
    content = first.read_bytes()
    assert content == second.read_bytes()
    assert b"tEXt" not in content
    assert b"tIME" not in content


def test_confusion_shows_counts_and_shares_of_the_row() -> None:
    texts = texts_of(measures.confusion(np.array([[3, 1], [0, 0]]), Classes(("a", "b")), "t"))
    assert "3\n75.0%" in texts
    assert "1\n25.0%" in texts
    assert texts.count("0\n\N{EN DASH}") == 2


def test_confusion_is_readable_on_every_shade() -> None:
    figure = measures.confusion(np.array([[95, 5], [50, 50]]), Classes(("a", "b")), "t")
    cells = {t.get_text(): t.get_color() for t in figure.axes[0].texts}
    assert cells["95\n95.0%"] == "white"
    assert cells["5\n5.0%"] == canvas.INK


def test_bars_have_the_colours_of_their_classes() -> None:
    classes = Classes(("trees", "water"))
    figure = measures.per_class(np.array([[3, 1], [0, 4]]), classes, "t")
    bars: list[Any] = list(figure.axes[0].patches)
    assert [bar.get_width() for bar in bars] == [0.75, 1.0]
    assert [to_hex(bar.get_facecolor()).upper() for bar in bars] == list(classes.colours)


def test_curves_have_the_colours_and_the_areas_of_their_classes() -> None:
    for name in ("roc of 10", "precision_recall of 10"):
        axes = FIGURES[name].axes[0]
        lines = [line for line in axes.lines if ": " in str(line.get_label())]
        assert [to_hex(line.get_color()) for line in lines] == [c.lower() for c in LONG.colours]
        (legend,) = FIGURES[name].legends
        assert [text.get_text() for text in legend.get_texts()] == [
            str(line.get_label()) for line in lines
        ]


def test_only_the_worst_groups_are_drawn() -> None:
    axes = FIGURES["groups of 10"].axes[0]
    assert len(axes.get_yticklabels()) == 25
    assert any(
        "The worst 25 of 60" in " ".join(t.split()) for t in texts_of(FIGURES["groups of 10"])
    )
    assert "groups of 2" not in FIGURES


def test_stretch_maps_percentiles_2_and_98_to_black_and_white() -> None:
    values = np.arange(101)[:, None] * np.array([1, 100])
    shown = canvas.Stretch.of(values).apply(values)
    np.testing.assert_allclose(
        shown[[0, 2, 50, 98, 100]], [[0, 0]] * 2 + [[0.5, 0.5]] + [[1, 1]] * 2
    )


def test_stretch_of_a_constant_or_an_empty_picture_is_finite() -> None:
    flat = np.full((4, 4, 3), 7, dtype=np.uint8)
    assert not canvas.Stretch.of(flat).apply(flat).any()
    nothing = canvas.Stretch.of(flat, np.zeros((4, 4), bool)).apply(flat)
    assert np.isfinite(nothing).all()


def test_stretch_ignores_what_holds_no_data() -> None:
    pixels = np.array([[[5.0], [10.0], [-9999.0]]])
    stretch = canvas.Stretch.of(pixels, np.array([[True, True, False]]))
    assert stretch.low[0] > 5
    assert stretch.high[0] < 10


def test_signed_values_are_white_at_zero_and_others_start_there() -> None:
    assert canvas.look_of(np.array([-3.0, 1.0])) == {"cmap": canvas.SIGNED, "vmin": -3, "vmax": 3}
    assert canvas.look_of(np.array([0.5, 2.0])) == {"cmap": canvas.AMOUNT, "vmin": 0, "vmax": 2}
    assert canvas.look_of(np.zeros(3))["vmax"] == 1.0


def test_false_colour_filters_show_their_weights() -> None:
    weights = np.zeros((1, 4, 1, 1), dtype=np.float32)
    weights[0, :, 0, 0] = (0.5, -1.0, 9.0, 0.0)  # red, green, blue, nir; blue is not shown
    bands = Bands(("red", "green", "blue", "nir"))
    figure = filters.in_colour(weights, ["0"], bands, bands.false_colour, "conv1")
    shown: Any = figure.axes[0].images[0].get_array()
    assert shown.tolist() == [[[0.5, 0.75, 0.0]]]


def test_map_is_drawn_in_class_colours_where_it_stands() -> None:
    codes = np.array([[1, 2], [0, 2]], np.uint8)
    classes = Classes(("trees", "water"))
    figure = maps.class_map(np.zeros((10, 10, 3)), codes, classes, "t", (1.2, 1.2))
    image = figure.axes[1].images[0]
    painted: Any = image.cmap(image.norm(np.array([0, 1, 2])))
    drawn = [to_hex(colour).upper() for colour in painted]
    assert drawn == ["#FFFFFF", *classes.colours]
    assert list(image.get_extent()) == [0, 12, 12, 0]
    assert figure.axes[1].get_xlim() == (0, 10)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["trees 33.3%", "water 66.7%"]


def test_reconstructions_are_shown_in_the_stretch_of_their_tiles() -> None:
    pixels = np.array([0, 100] * 72, np.uint8).reshape(1, 12, 12, 1)
    drawn = np.full((1, 12, 12, 1), 50, np.float32)
    figure = reconstructions.pairs(pixels, drawn, ["a"], BANDS[1], np.array([25.0]))
    tile, again, error = [np.asarray(image.get_array()) for image in figure.axes[0].images]
    assert set(tile.ravel()) == {0.0, 1.0}
    assert set(again.ravel()) == {0.5}
    assert (error == 2.0).all()  # each pixel off by 50, two deviations


def test_the_histogram_counts_every_tile_and_marks_the_median() -> None:
    figure = reconstructions.histogram(np.array([0.1, 0.2, 0.2, 0.4, 0.8]), "t")
    bars = [patch.get_height() for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert sum(bars) == 5
    assert "median 0.2" in texts_of(figure)
