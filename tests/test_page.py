"""Parts of the page that no browser is needed for."""

from __future__ import annotations

import base64
import io
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline import evidence
from pipeline.evidence import Evidence
from pipeline.page import album as albums
from pipeline.page import arrays, charts, compose, grounds, holdings, measured
from pipeline.page.facts import Pace
from pipeline.places import Places
from pipeline.report import TEMPLATES, Inside, Section
from pipeline.store import Store, StoreWriter
from tests import little

SPREAD = {"low": np.zeros(4), "high": np.full(4, 255.0)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return little.store(tmp_path_factory.mktemp("store") / "tiles")


def heard(store: Store, wrong: int) -> Evidence:
    """Answers to the test tiles, of which the first so many are taken for the class behind."""
    actual = store.labels("test")
    shares = np.full((len(actual), 3), 0.1, np.float32)
    said = actual.copy()
    said[:wrong] = (said[:wrong] + 1) % 3
    sure = np.linspace(0.5, 0.9, len(actual), dtype=np.float32)
    shares[np.arange(len(actual)), said] = sure
    ids = tuple(store.index["id"].iloc[list(store.split_range("test"))])
    return Evidence(ids, actual, shares, Places.alone(ids), store.classes)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50))
def test_levels_lose_less_than_a_ten_thousandth_of_the_range(values: list[float]) -> None:
    given_ = np.array(values, np.float32)
    found, low, step = arrays.levels(given_)
    again = low + step * found.astype(np.float64)
    largest = max(float(np.abs(given_).max()), 1e-30)
    assert np.abs(again - given_).max() <= 2e-5 * largest


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "float32", "float64", "int64"])
def test_arrays_come_back_as_they_went(kind: str) -> None:
    values = np.arange(6).reshape(2, 3).astype(kind)
    told = arrays.packed(values)
    bytes_ = base64.b64decode(told["data"])
    again = np.frombuffer(bytes_, np.dtype(told["type"]).newbyteorder("<")).reshape(told["shape"])
    assert told["type"] in arrays.KINDS
    np.testing.assert_array_equal(again, values)


def test_maps_become_bytes_each_by_its_own_largest() -> None:
    maps = np.array([[[1.0, -2.0]], [[0.0, 0.0]], [[0.5, 0.25]]])
    assert arrays.signed_bytes(maps).tolist() == [[[64, -127]], [[0, 0]], [[127, 64]]]


def test_the_album_holds_all_wrong_tiles_and_some_right_ones_of_each_class(store: Store) -> None:
    said = heard(store, wrong=7)
    start = store.split_range("test").start
    album = albums.choose(store, [start + 20, start], said)
    assert album.rows[:2].tolist() == [start + 20, start]
    assert (album.wrong, album.shown_wrong) == (7, 7)
    assert len(set(album.rows.tolist())) == len(album.rows)
    right = album.told[said.hits[album.told]]
    # Six of each class, three of them the least sure, and the first that was named.
    assert set(np.bincount(said.actual[right])) <= {6, 7}
    assert {7, 8, 9} <= set(right.tolist())
    told = albums.tiles(store, album)
    assert [one["said"] == one["label"] for one in told] == said.hits[album.told].tolist()
    assert told[0]["id"] == "test:20"
    assert told[0]["window"] == [0, 12 * 20, 12, 12]


def test_the_album_is_bounded_and_takes_the_surest_of_each_pair_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(albums, "MOST", 3 * albums.RIGHT + 4)
    said = heard(store, wrong=12)
    album = albums.choose(store, [], said)
    assert len(album.rows) == 3 * albums.RIGHT + 4
    assert (album.wrong, album.shown_wrong) == (12, 4)
    wrong = album.told[~said.hits[album.told]]
    # Confidence grows with the number: 11, 10 and 9 lead their pairs of classes.
    assert wrong.tolist() == [11, 10, 9, 8]


def test_pixels_come_in_the_order_of_the_album(store: Store) -> None:
    rows = np.array([130, 3, 95, 4])
    pixels = albums.load(store, rows)
    for row, found in zip(rows, pixels, strict=True):
        np.testing.assert_array_equal(found, store.tile(int(row)).pixels)


def test_answers_to_other_tiles_are_not_taken(store: Store, tmp_path: Path) -> None:
    assert albums.measured(store, tmp_path) is None
    said = heard(store, wrong=2)
    evidence.write(said, tmp_path / "probabilities.parquet")
    found = albums.measured(store, tmp_path)
    assert found is not None
    assert found.ids == said.ids
    odd = Evidence(("x", *said.ids[1:]), said.actual, said.probabilities, said.places, said.classes)
    evidence.write(odd, tmp_path / "probabilities.parquet")
    assert albums.measured(store, tmp_path) is None


def scene(root: Path, size: int, across: int, only: list[int] | None = None) -> Store:
    """A scene of across x across tiles, each of one grey: 10, 20, 30 and so on."""
    places = only or list(range(across**2))
    pixels = np.stack([np.full((size, size, 4), 10 + 10 * k, np.uint8) for k in places])
    rows: list[dict[str, Any]] = []
    for i, k in enumerate(places):
        row, column = size * (k // across), size * (k % across)
        rows.append(
            {"id": f"t{i}", "split": "train", "label": 0, "source": "a.tif", "window_row": row,
             "window_col": column, "window_height": size, "window_width": size, "left": math.nan,
             "bottom": math.nan, "right": math.nan, "top": math.nan, "crs": None, "group": "",
             "purity": 1.0}
        )  # fmt: skip
    with StoreWriter(root, little.BANDS, little.CLASSES, size, np.dtype(np.uint8)) as writer:
        writer.append("train", pixels)
        for split in ("validation", "test"):
            writer.append(split, pixels[:0])
        writer.finish(pa.Table.from_pylist(rows), np.zeros(4), np.ones(4), 1.0)
    return Store.open(root)


def drawn(ground: grounds.Ground) -> NDArray[np.uint8]:
    from PIL import Image

    data = base64.b64decode(ground.picture.partition(",")[2])
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("side", [16, 40, 9])
def test_a_scene_is_put_together_from_its_tiles(
    tmp_path: Path, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grounds, "SIDE", side)
    store = scene(tmp_path / "tiles", 8, 5, only=[k for k in range(25) if k != 12])
    (found,) = grounds.grounds(store, [0, 3], SPREAD["low"], SPREAD["high"])
    assert (found.source, found.rows, found.columns) == ("a.tif", 40, 40)
    picture = drawn(found)
    assert max(picture.shape[:2]) <= side
    for k in range(25):  # the middle of each tile, as near as the lossy picture tells
        y, x = (int((8 * part + 4) / 40 * picture.shape[0]) for part in (k // 5, k % 5))
        expected = grounds.GROUND if k == 12 else 10 + 10 * k
        if side >= 16:
            assert abs(int(picture[y, x].mean()) - expected) < 26, k


def test_files_of_a_tile_each_have_no_picture(store: Store, tmp_path: Path) -> None:
    few = scene(tmp_path / "tiles", 8, 5, only=[0, 1, 2])
    assert grounds.grounds(few, [0], SPREAD["low"], SPREAD["high"]) == []


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4))
def test_ticks_are_round_and_few(low: float, span: float) -> None:
    found = charts.ticks(low, low + span)
    assert 1 <= len(found) <= 6
    assert all(low - 1e-6 * span <= value <= low + span + 1e-6 * span for value in found)
    steps = np.diff(found)
    assert np.allclose(steps, steps[:1], rtol=1e-6)


def test_curves_are_drawn_with_a_line_a_member(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    assert charts.curves(path) == []
    path.write_text(
        "member,epoch,train_loss,validation_accuracy\n0,1,2,0.5\n0,2,1,0.75\n1,1,3,0.25\n1,2,1,1\n"
    )
    loss, accuracy = charts.curves(path)
    assert (loss.heading, loss.lines) == ("Loss", (("training", "train"),))
    assert loss.svg.count('class="line train"') == 2
    assert "accuracy: from 50.0% to 75.0%; accuracy: from 25.0% to 100.0%" in accuracy.svg
    paths = re.findall('class="line validation" d="M([^"]*)"', accuracy.svg)
    ys = [[float(point.split()[1]) for point in path.split("L")] for path in paths]
    assert ys[0][0] > ys[0][1] > ys[1][1] >= charts.TOP  # upwards, and never above the plot
    assert ys[1][0] > ys[0][0]


def test_a_histogram_has_a_line_a_split() -> None:
    look = {"edges": [0, 64], "counts": [0, 1, 3, *([0] * 61)]}
    other = {"edges": [0, 128], "counts": [4, *([0] * 63)]}
    (found,) = charts.histograms({"train": {"red": look}, "test": {"red": other}, "validation": {}})
    assert found.heading == "red"
    assert [name for name, _ in found.lines] == ["train", "test"]
    assert found.svg.count('class="line') == 2
    assert charts.histograms({}) == []


def test_kinds_count_tiles_and_show_some_of_each(store: Store) -> None:
    found = holdings.kinds(store, SPREAD["low"], SPREAD["high"], each=4)
    assert [kind.counts for kind in found] == [
        {"train": 30, "validation": 4, "test": n} for n in (11, 10, 10)
    ]
    assert [kind.share for kind in found] == [1.0, 44 / 45, 44 / 45]
    assert {kind.size for kind in found} == {(4 * 13 - 1, 25)}
    data = base64.b64decode(found[1].sample.partition(",")[2])
    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        sheet = np.asarray(picture)
    first = store.pixels("train", np.array([1]))[0]
    np.testing.assert_array_equal(sheet[:12, :12], first[..., list(store.bands.natural)])
    np.testing.assert_array_equal(sheet[13:, :12], first[..., list(store.bands.false_colour)])


def test_what_was_left_out_is_told_with_its_share() -> None:
    ingest = {"kept": 60, "dropped": {"no data": 10, "below min_purity": 30, "copies": 0}}
    assert holdings.dropped(ingest) == [("below min_purity", 30, 0.3), ("no data", 10, 0.1)]
    assert holdings.dropped(None) == []


def test_the_pace_is_that_of_the_epochs() -> None:
    pace = Pace(1000, [500.0, 1000.0])
    assert pace.seconds == 3
    assert pace.sentence() == "3 s for 2 epochs, 667 tiles/s, validation left out"
    assert Pace(60_000, [100.0]).sentence().startswith("10.0 min for 1 epoch, 100")


def test_classes_are_ranked_by_recall_and_axes_begin_below() -> None:
    rows = {"water": {"recall": 0.9}, "trees": {"recall": None}, "building": {"recall": 0.5}}
    ranked = measured.ranked({"per_class": rows}, little.CLASSES)
    assert [name for name, _, _ in ranked] == ["building", "water", "trees"]
    assert measured.floor([0.97, 0.83, None]) == 0.8
    assert measured.floor([0.9]) == 0.8
    assert measured.floor([]) == 0


def test_sections_of_a_key_have_an_anchor_each() -> None:
    keys = ("filters", "pitfalls", "filters", "kernels", "filters")
    found = compose.anchored(Inside(None, [Section(key, key, "") for key in keys]))
    assert [name for name, _ in found] == ["filters", "filters-2", "kernels", "filters-3"]


def test_dvc_knows_every_template_of_the_page(root: Path) -> None:
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    named = {dep for dep in stages["visualize"]["deps"] if "templates" in dep}
    files = [TEMPLATES / "style.css.j2", *(TEMPLATES / "page").iterdir()]
    there = {path.relative_to(root).as_posix() for path in files}
    assert named == there
