from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from pipeline.errors import StoreError
from pipeline.store import INDEX, Store, StoreWriter
from pipeline.types import Bands, Bounds, Classes, Window
from tests.imagery import noise

COUNTS = {"train": 7, "validation": 3, "test": 4}
SPLITS = [split for split, count in COUNTS.items() for _ in range(count)]
PIXELS = noise(14 * 6, 6, 3, "uint16").reshape(14, 6, 6, 3)
LABELS = np.arange(14) % 2


def _index() -> pa.Table:
    rows = len(SPLITS)
    columns: dict[str, Any] = {
        "id": [f"a:{row}:0" for row in range(rows)],
        "split": SPLITS,
        "label": LABELS,
        "source": ["a.tif"] * rows,
        "window_row": np.arange(rows) * 6,
        "window_col": np.zeros(rows, np.int64),
        "window_height": np.full(rows, 6),
        "window_width": np.full(rows, 6),
        "left": [0.0] * (rows - 1) + [None],
        "bottom": np.arange(rows) * -60.0,
        "right": np.full(rows, 60.0),
        "top": np.arange(rows) * -60.0 + 60,
        "crs": ["EPSG:32633"] * (rows - 1) + [None],
        "group": ["a.tif"] * rows,
        "purity": np.linspace(0.5, 1, rows),
    }
    return pa.table(columns)


def _write(root: Path) -> str:
    classes = Classes(("water", "trees"))
    bands = Bands(("red", "green", "nir"))
    with StoreWriter(root, bands, classes, 6, np.dtype(np.uint16)) as writer:
        start = 0
        for split, count in COUNTS.items():
            for row in range(start, start + count, 2):  # in more than one piece
                writer.append(split, PIXELS[row : min(row + 2, start + count)])
            start += count
        return writer.finish(_index(), np.array([1.0, 2, 3]), np.array([4.0, 5, 6]), 10.0)


@pytest.fixture(params=[512 * 2**20, 500])  # one shard a split, and two tiles a shard
def root(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("pipeline.packing.SHARD_BYTES", request.param)
    _write(tmp_path / "data" / "tiles")
    return tmp_path / "data" / "tiles"


def test_the_store_gives_back_what_went_in(root: Path) -> None:
    store = Store.open(root)
    assert (store.tile_size, store.dtype, store.resolution) == (6, np.dtype("uint16"), 10.0)
    assert store.bands.names == ("red", "green", "nir")
    assert store.mean.tolist() == [1, 2, 3]
    assert store.std.tolist() == [4, 5, 6]
    assert store.counts["train"] == {"water": 4, "trees": 3}
    assert tuple(store.index.columns) == INDEX
    for split in COUNTS:
        rows = store.split_range(split)
        assert len(rows) == store.count(split) == COUNTS[split]
        np.testing.assert_array_equal(store.labels(split), LABELS[rows.start : rows.stop])
        np.testing.assert_array_equal(store.pixels(split), PIXELS[rows.start : rows.stop])
        np.testing.assert_array_equal(np.concatenate(store.shards(split)), store.pixels(split))


def _rows() -> list[slice | NDArray[Any]]:
    return [
        slice(1, 6, 2),
        slice(0, 0),
        np.array([6, 0, 3, 3, -1]),
        np.array([True, False, False, True, False, True, False]),
    ]


@pytest.mark.parametrize("rows", _rows())
def test_rows_are_chosen_as_numpy_does(root: Path, rows: Any) -> None:
    np.testing.assert_array_equal(Store.open(root).pixels("train", rows), PIXELS[:7][rows])


def test_a_tile_knows_its_place(root: Path) -> None:
    store = Store.open(root)
    tile = store.tile(8)
    np.testing.assert_array_equal(tile.pixels, PIXELS[8])
    assert (tile.id, tile.label, tile.source, tile.group) == ("a:8:0", 0, "a.tif", "a.tif")
    assert tile.window == Window(48, 0, 6, 6)
    assert (tile.bounds, tile.crs) == (Bounds(0, -480, 60, -420), "EPSG:32633")
    assert tile.purity == pytest.approx(0.5 + 8 * 0.5 / 13)
    assert (store.tile(13).bounds, store.tile(13).crs) == (None, None)


def test_the_digest_is_of_pixels_labels_and_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _write(tmp_path / "a")
    assert _write(tmp_path / "b") == first == Store.open(tmp_path / "b").digest
    for name in ("index.parquet", "meta.json", "train-0.npy"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    changed = PIXELS.copy()
    changed[5, 1, 1, 1] += 1
    monkeypatch.setattr("tests.test_store.PIXELS", changed)
    assert _write(tmp_path / "c") != first


def test_an_error_while_writing_leaves_the_old_store_and_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "tiles"
    digest = _write(root)
    writer = StoreWriter(root, Bands(("red",)), Classes(("a", "b")), 6, np.dtype(np.uint8))

    def fail() -> None:
        with writer:
            writer.append("train", noise(12, 6, 1).reshape(2, 6, 6, 1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert Store.open(root).digest == digest
    assert list(tmp_path.glob("[!.]*")) == [root]


def test_a_new_store_replaces_the_old_and_what_a_killed_run_left(tmp_path: Path) -> None:
    root = tmp_path / "tiles"
    _write(root)
    (root / "train-9.npy").write_text("of an older run")
    (tmp_path / "tiles.partial").mkdir()
    (tmp_path / "tiles.partial" / "test-7.npy").write_text("of a killed run")
    _write(root)
    assert sorted(path.name for path in tmp_path.rglob("[!.]*") if path.is_file()) == [
        "index.parquet", "meta.json", "test-0.npy", "train-0.npy", "validation-0.npy",
    ]  # fmt: skip


def test_a_writer_that_was_killed_between_its_renames_costs_no_store(tmp_path: Path) -> None:
    root = tmp_path / "tiles"
    digest = _write(root)
    root.rename(tmp_path / "tiles.old")
    with StoreWriter(root, Bands(("red",)), Classes(("a", "b")), 6, np.dtype(np.uint8)):
        pass
    assert Store.open(root).digest == digest
    assert not (tmp_path / "tiles.old").exists()


def test_the_old_store_stands_until_the_new_one_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "tiles"
    digest = _write(root)
    seen = []
    rename = Path.rename

    def watched(path: Path, target: Path) -> Path:
        stores = [folder for folder in (root, tmp_path / "tiles.old") if folder.exists()]
        seen.append([Store.open(folder).digest for folder in stores])
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", watched)
    _write(root)
    assert seen == [[digest], [digest]]


def test_a_missing_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no .*meta\.json\. Run dvc repro"):
        Store.open(tmp_path)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _other_shape(path: Path) -> None:
    np.save(path, np.zeros((1, 6, 6, 3), np.uint16))


def _fewer_rows(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(1), path)


def _newer(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("train-0.npy", Path.unlink, r"no whole train-0\.npy"),
        ("test-0.npy", _cut, r"no whole test-0\.npy"),
        ("validation-0.npy", _other_shape, r"\(1, 6, 6, 3\) of uint16 in validation-0\.npy"),
        ("index.parquet", Path.unlink, r"no readable index\.parquet"),
        ("index.parquet", _cut, r"no readable index\.parquet"),
        ("index.parquet", _fewer_rows, r"13 rows in index\.parquet"),
        ("meta.json", _cut, r"no readable meta\.json"),
        ("meta.json", _newer, "format 1, got 99"),
        ("meta.json", lambda path: path.write_text('{"format": 1}'), r"no whole meta\.json"),
        ("meta.json", lambda path: path.write_text("[]"), r"no whole meta\.json"),
    ],
)
def test_a_torn_store_is_told(root: Path, name: str, damage: Any, message: str) -> None:
    if name == "meta.json" and damage is _cut:
        (root / name).write_text((root / name).read_text()[:-5])
    else:
        damage(root / name)
    with pytest.raises(StoreError, match=message):
        Store.open(root)
