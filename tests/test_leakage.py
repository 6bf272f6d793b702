"""Planted leaks: what is found of them, with bars for recall and precision."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from pipeline import leaks
from pipeline.divide import Division
from pipeline.errors import SplitError
from pipeline.leakage import Leaks, find
from pipeline.lookalikes import TEXTURE, Sketcher, texture
from pipeline.schema import SplitSection
from pipeline.sources.sample import render
from tests.imagery import noise

PLANTED = 100
SECTION = SplitSection(method="random", train=0.6, validation=0.2, test=0.2, seed=0)


def _find(tiles: NDArray[Any], split: NDArray[np.int64]) -> Leaks:
    wide = tiles.reshape(-1, tiles.shape[-1]).astype(float)
    return find(lambda rows: tiles[rows], split, tiles.shape[1], wide.mean(0), wide.std(0))


def _cut(scene: NDArray[Any], size: int) -> NDArray[Any]:
    rows, cols = scene.shape[0] // size, scene.shape[1] // size
    whole = scene[: rows * size, : cols * size]
    return whole.reshape(rows, size, cols, size, -1).swapaxes(1, 2).reshape(-1, size, size, 4)


@pytest.fixture(scope="module")
def made_up() -> NDArray[Any]:
    """Windows of 32 pixels of a scene of the sample: room to move tiles of 28 in."""
    return _cut(render(np.random.default_rng(3), 26 * 32, 1.0)[0], 32)


def _split(count: int, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).choice(3, count, p=(0.6, 0.2, 0.2))


def test_a_clean_sample_has_no_leak(made_up: NDArray[Any]) -> None:
    found = _find(made_up[:, :28, :28], _split(len(made_up)))
    assert len(found.first) == 0
    assert found.within == {"train": 0, "validation": 0, "test": 0}
    assert found.uniform == 0


def test_planted_copies_are_found_all_and_none_beside(made_up: NDArray[Any]) -> None:
    tiles, rng = made_up[:, :28, :28].copy(), np.random.default_rng(1)
    split = _split(len(tiles))
    train = rng.choice(np.flatnonzero(split == 0), PLANTED, replace=False)
    later = rng.choice(np.flatnonzero(split > 0), PLANTED, replace=False)
    for i, (one, other) in enumerate(zip(train, later, strict=True)):
        tiles[other] = np.rot90(tiles[one], i % 4) if i < 40 else tiles[one]
    found = _find(tiles, split)
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert pairs == set(zip(train.tolist(), later.tolist(), strict=True))  # recall, precision 1
    assert len(found.rows("turned")) == 30
    assert len(found.rows("near")) == 0


def _bars(windows: NDArray[Any], noise_in: float = 0.0) -> tuple[float, float]:
    """Recall and precision for 100 tiles moved by two pixels, among tiles with texture."""
    rng = np.random.default_rng(2)
    tiles, split = windows[:, :28, :28].copy(), _split(len(windows))
    wide = windows.reshape(-1, 4).astype(float)
    deviation = wide.std(0)
    known = texture(Sketcher(28, wide.mean(0), deviation).centre(tiles)) >= TEXTURE
    train = rng.choice(np.flatnonzero(known & (split == 0)), PLANTED, replace=False)
    later = rng.choice(np.flatnonzero(split > 0), PLANTED, replace=False)
    moves = rng.choice([(2, 0), (0, 2), (2, 2), (1, 2)], PLANTED)
    for one, other, (down, across) in zip(train, later, moves, strict=True):
        moved = windows[one, down : down + 28, across : across + 28]
        grain = rng.normal(0, 1, moved.shape) * noise_in * deviation
        tiles[other] = np.clip(np.rint(moved + grain), 0, np.iinfo(tiles.dtype).max)
    found = _find(tiles, split)
    planted = set(zip(train.tolist(), later.tolist(), strict=True))
    got = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    return len(got & planted) / PLANTED, len(got & planted) / max(1, len(got))


@pytest.mark.parametrize("noise_in", [0.0, 0.03])
def test_tiles_moved_by_two_pixels_are_found(made_up: NDArray[Any], noise_in: float) -> None:
    recall, precision = _bars(made_up, noise_in)
    assert recall >= 0.9
    assert precision >= 0.9


@pytest.mark.data
@pytest.mark.parametrize(
    "name", ["naip-virginia-1m.tif", "naip-dakota-5m.tif", "sentinel2-aquileia.tif"]
)
def test_tiles_moved_by_two_pixels_are_found_in_real_imagery(real_data: Path, name: str) -> None:
    with rasterio.open(real_data / "scenes" / name) as dataset:
        scene = dataset.read([1, 2, 3, 4]).transpose(1, 2, 0)
    recall, precision = _bars(_cut(scene, 32), 0.02)
    assert recall >= 0.9
    assert precision >= 0.9


def test_the_shift_says_where_the_later_tile_lies() -> None:
    scene = noise(60, 60, 4)
    tiles = np.stack([scene[5:33, 5:33], scene[6:34, 3:31], noise(28, 28, 4, seed=9)])
    for split in ([0, 2, 1], [2, 0, 1]):  # the query is the first, then the second
        found = _find(tiles, np.array(split))
        first, second = split.index(0), split.index(2)
        assert (found.first.tolist(), found.second.tolist()) == ([first], [second])
        # Tile 1 looks one row lower, so that what it shows stands one row higher than in tile 0.
        assert found.shift.tolist() == ([[-1, 2]] if second == 1 else [[1, -2]])


def test_uniform_tiles_and_those_without_texture_are_counted_apart() -> None:
    rng = np.random.default_rng(0)
    flat = np.full((4, 28, 28, 4), 30, np.uint8)
    calm = (40 + rng.integers(0, 2, (4, 28, 28, 4))).astype(np.uint8)
    rough = rng.integers(0, 255, (12, 28, 28, 4)).astype(np.uint8)
    tiles = np.concatenate([flat, calm, np.roll(calm, 1, axis=1), rough])
    found = _find(tiles, np.tile([0, 2], 12))
    assert len(found.first) == 0
    assert found.uniform == 2
    assert found.plain == {"train": 6, "validation": 0, "test": 6}


def test_tiles_without_a_split_are_not_looked_at() -> None:
    tile = noise(28, 28, 4)
    found = _find(np.stack([tile, tile, tile]), np.array([0, -1, 0]))
    assert len(found.first) == 0
    assert found.within["train"] == 1


@pytest.fixture
def leaked() -> tuple[Leaks, Division, list[str]]:
    scene = noise(80, 80, 4)
    tiles = np.stack(
        [scene[:28, :28], scene[40:68, 40:68], scene[:28, :28], scene[41:69, 40:68]]
        + [noise(28, 28, 4, seed=seed) for seed in (1, 2, 3)]
    )
    split = np.array([0, 0, 2, 2, 0, 1, 2])
    return _find(tiles, split), Division(split, "random", "so"), list("abcdefg")


def test_copies_stop_with_their_names_or_are_dropped_from_the_earlier_split(
    leaked: tuple[Leaks, Division, list[str]], tmp_path: Path
) -> None:
    found, division, ids = leaked
    with pytest.raises(SplitError, match=r"got 1 with.*: a \(train\) = c \(test\)\. .*=drop"):
        leaks.settle(found, division, ids, SECTION)
    kept = leaks.settle(found, division, ids, SECTION.model_copy(update={"duplicates": "drop"}))
    assert kept.split.tolist() == [-1, 0, 2, 2, 0, 1, 2]
    assert kept.dropped == {leaks.COPY: 1}
    both = SECTION.model_copy(update={"duplicates": "drop", "near_duplicates": "drop"})
    kept = leaks.settle(found, division, ids, both)
    assert kept.split.tolist() == [-1, -1, 2, 2, 0, 1, 2]
    assert kept.dropped == {leaks.COPY: 1, leaks.NEAR_COPY: 1}
    leaks.write(found, division.split, ids, tmp_path / "leakage.csv")
    with (tmp_path / "leakage.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["kind"], row["tile_id"], row["other_id"]) for row in rows] == [
        ("same", "a", "c"),
        ("near", "b", "d"),
    ]
    assert (rows[1]["rows_moved"], rows[1]["columns_moved"]) == ("-1", "0")


def test_a_split_of_copies_alone_is_told() -> None:
    tiles = np.stack([noise(28, 28, 4), noise(28, 28, 4, seed=1)])[[0, 1, 0, 1]]
    split = np.array([0, 0, 1, 2])
    section = SECTION.model_copy(update={"duplicates": "drop"})
    with pytest.raises(SplitError, match="tiles in train, got none but copies"):
        leaks.settle(_find(tiles, split), Division(split, "random", "so"), list("abcd"), section)
