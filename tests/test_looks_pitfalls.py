from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import ground, leaks
from pipeline.duplicates import kept
from pipeline.leakage import find
from pipeline.looks import pitfalls
from pipeline.shift import Look
from pipeline.split import SPLITS
from pipeline.store import Store, StoreWriter
from tests import little


def _again(made: Store, root: Path, pixels: dict[str, NDArray[Any]], index: pd.DataFrame) -> Store:
    """A store with other pixels and another index."""
    with StoreWriter(root, made.bands, made.classes, made.tile_size, made.dtype) as writer:
        for split, tiles in pixels.items():
            writer.append(split, tiles)
        looks = {split: Look.of(tiles, made.bands).facts() for split, tiles in pixels.items()}
        rows = pa.Table.from_pandas(index.drop(columns=["shard", "row"]))
        writer.finish(rows, made.mean, made.std, 1.0, looks)
    return Store.open(root)


def _leaked(root: Path) -> Store:
    """A store of which a test tile is a training tile moved by a pixel, and another its copy."""
    made = little.store(root)
    pixels = {split: made.pixels(split) for split in SPLITS}
    pixels["test"][3, 1:] = pixels["train"][8, :-1]
    pixels["test"][5] = pixels["train"][2]
    return _again(made, root, pixels, made.index)


def test_ground_of_training_is_known_again(tmp_path: Path) -> None:
    made = little.store(tmp_path / "tiles")
    index = made.index.copy()
    left = 100.0 * np.arange(len(index))  # apart, but two test tiles: by a half, and by a hair
    test = made.split_range("test").start
    left[test : test + 2] = left[:2] + np.array([6, 11.999])
    index["left"], index["right"], index["bottom"], index["top"] = left, left + 12, 0.0, 12.0
    index["crs"] = "EPSG:32633"
    store = _again(made, tmp_path / "placed", {s: made.pixels(s) for s in SPLITS}, index)
    (told,) = leaks.again(store, "test")
    assert told.startswith("1 of 31 test tiles share ground with tiles that the network was")
    assert leaks.again(store, "validation") == []
    seen = ground.kept(index[index["split"] == "train"])
    assert leaks.known(store, "test", None, "", seen) == [told]
    assert leaks.known(store, "validation", None, "", seen) == []


def test_what_a_store_holds_again_is_told_and_shown(tmp_path: Path) -> None:
    store = _leaked(tmp_path / "tiles")
    told = leaks.again(store, "test")
    assert len(told) == 2
    assert told[0].startswith("1 of 31 test tiles are copies of training tiles")
    assert told[1].startswith("1 of 31 test tiles are near copies of training tiles")
    assert leaks.again(store, "validation") == []
    assert leaks.again(store, "train") == []
    split = np.repeat(np.arange(3), [store.count(name) for name in SPLITS])
    found = find(store.at, split, store.tile_size, store.mean, store.std)
    leaks.write(found, split, store.index["id"].tolist(), tmp_path / "leakage.csv")
    pictures = pitfalls.pictures(store, tmp_path / "out", tmp_path / "leakage.csv")
    assert [picture.path.name for picture in pictures] == ["bands.png", "near_copies.png"]
    for picture in pictures:
        assert picture.path.read_bytes().startswith(b"\x89PNG")


def test_tiles_of_training_are_known_again_in_another_store(tmp_path: Path) -> None:
    text = kept(little.store(tmp_path / "tiles").digests("train"))
    other = _leaked(tmp_path / "other")  # its test tile 5 is a training tile
    (told,) = leaks.known(other, "test", None, text, {})
    assert told.startswith("1 of 31 test tiles are tiles that the network was trained on")
    assert leaks.known(other, "validation", None, text, {}) == []
    assert leaks.known(other, "test", (3, 2, 1, 0), text, {}) == []  # what the network would see
    assert leaks.known(other, "test", None, "", {}) == []  # a bundle of an earlier version
    assert leaks.known(other, "train", (0, 1, 2, 3), text, {})[0].startswith("90 of 90 train tiles")


def test_a_clean_store_of_an_earlier_version_has_nothing_to_show(tmp_path: Path) -> None:
    store = little.store(tmp_path / "tiles")
    assert leaks.again(store, "test") == []
    assert pitfalls.pictures(store, tmp_path / "out", tmp_path / "leakage.csv") == []
