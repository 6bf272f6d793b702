from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline import mistakes
from pipeline.figures.canvas import fitted
from pipeline.figures.gallery import SIZE, Line, Row, Shown, gallery
from pipeline.mistakes import Measured
from tests import little


def _measured(actual: list[int], shares: list[list[float]], sources: str) -> Measured:
    return Measured(
        [f"t{i}" for i in range(len(actual))],
        list(sources),
        np.array(actual),
        np.array(shares, np.float32),
        lambda rows: little.tiles(np.zeros(len(rows), np.int64), 0),
    )


def test_pairs_are_the_commonest_mistakes_with_the_surest_tiles_first() -> None:
    measured = _measured(
        [0, 0, 0, 1, 2, 2],
        [[0.1, 0.6, 0.3], [0.3, 0.5, 0.2], [0.1, 0.9, 0], [0, 1, 0], [0.8, 0, 0.2], [0, 0, 1]],
        "aaaaaa",
    )
    found = mistakes.pairs(measured)
    assert [(p.actual, p.predicted, p.tiles) for p in found] == [(0, 1, 3), (2, 0, 1)]
    assert found[0].rows.tolist() == [2, 0, 1]  # margins 0.8, 0.5, 0.2
    (one,) = mistakes.pairs(measured, most=1, tiles=2)
    assert one.rows.tolist() == [2, 0]
    assert one.tiles == 3


def test_scenes_are_ranked_by_accuracy_and_small_ones_left_out() -> None:
    sure = np.eye(3).tolist()
    measured = _measured([0, 1, 2, 0, 1, 2, 0], [sure[k] for k in (0, 1, 2, 1, 1, 2, 2)], "aaabbbc")
    found, count = mistakes.scenes(measured, least=3)
    assert [scene.name for scene in found] == ["b", "a"]
    assert found[0].counts.tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert count == 2
    assert len(mistakes.scenes(measured, most=1, least=1)[0]) == 1


def test_tiles_of_a_store_are_found_by_their_ids_in_any_order(tmp_path: Path) -> None:
    store = little.store(tmp_path / "tiles")
    measured = Measured.of(
        store, "test", ["test:7", "test:2"], np.array([1, 2]), np.eye(3, dtype=np.float32)[[0, 1]]
    )
    assert measured.sources == ["test.tif", "test.tif"]
    expected = store.pixels("test")[[2, 7, 2]]
    np.testing.assert_array_equal(measured.pixels(np.array([1, 0, 1])), expected)


@pytest.mark.parametrize("right", [True, False])
def test_pictures_are_drawn_as_far_as_there_is_something_to_show(
    tmp_path: Path, right: bool
) -> None:
    actual = np.arange(60) % 3
    told = actual if right else (actual + (np.arange(60) % 4 == 0)) % 3
    shares = (0.1 + 0.7 * np.eye(3)[told]).tolist()
    measured = _measured(actual.tolist(), shares, "a" * 30 + "b" * 30)
    mistakes.draw(measured, little.BANDS, little.CLASSES, "60 test tiles", tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == ({"scenes.png"} if right else {"scenes.png", "errors.png"})


def test_no_words_of_a_gallery_lie_on_each_other() -> None:
    tile = little.tiles(np.zeros(1, np.int64), 0)[0]
    long = "predicted WIDE VEGETATION MAMMOTHS 100%"
    shown = Shown(tile, [Line("scene_with_a_long_name_1:1008:1008"), Line(long, "#112233")])
    figure = gallery([Row("One taken for another", [shown] * 4)] * 2, little.BANDS, "Title", "Why.")
    figure.canvas.draw()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    for i, one in enumerate(boxes):
        assert not [other for other in boxes[i + 1 :] if one.overlaps(other)]
    for image in axes.images:
        assert not [box for box in boxes if box.overlaps(image.get_window_extent())]


def test_lines_that_do_not_fit_lose_their_middle_and_keep_their_end() -> None:
    assert fitted("short", 2.0, SIZE) == "short"
    cut = fitted("predicted HerbaceousVegetation 44%", 1.2, SIZE)
    assert cut.startswith("predicted")
    assert "\u2026" in cut
    assert cut.endswith("44%")
    assert len(fitted("wwwwwwwwwwwwwwwwwwwwwww", 0.5, SIZE)) < len(
        fitted("iiiiiiiiiiiiiiiiiiiiiii", 0.5, SIZE)
    )
