from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from pipeline import order as orders
from pipeline.errors import StoreError
from pipeline.feeding import MEBIBYTE, Resident, Streamed, choose, room
from pipeline.order import Order, shares
from pipeline.store import Store
from pipeline.types import Bands
from tests import little

CPU = torch.device("cpu")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with patch("pipeline.packing.SHARD_BYTES", 40 * 12 * 12 * 4):  # 40 tiles, so three shards
        return little.store(tmp_path / "tiles", counts=(97, 12, 31))


def small_windows() -> Any:
    """Windows of five tiles, three to a group, so that a few tiles make many of both."""
    return patch.multiple(orders, WINDOW_BYTES=5 * 12 * 12 * 4, GROUP_WINDOWS=3)


def many(epoch: int) -> Any:
    """Counts of 97 rows, some repeated and some left out, and whole groups of them too."""
    counts = np.random.default_rng(epoch).poisson(1, 97)
    counts[20:60] = 0
    counts[:2] = 20
    return counts


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("batch", [4, 40])  # within a group, and over several
@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("repeated", [False, True])
def test_streamed_tiles_are_the_resident_ones(
    store: Store, seed: int | None, batch: int, rank: int, repeated: bool
) -> None:
    resident = Resident(store.pixels("train"), store.labels("train"), CPU)
    streamed = Streamed(store, "train", CPU)
    assert (len(streamed), streamed.tile_bytes) == (len(resident), resident.tile_bytes)
    with small_windows():
        for epoch in range(2):
            counts = many(epoch) if repeated else None
            order = Order(len(resident), resident.tile_bytes, seed, epoch, counts)
            streamed.start(order)
            seen = 0
            for _, rows in shares(order, batch_size=batch, rank=rank, ranks=2):
                for one, other in zip(streamed.take(rows), resident.take(rows), strict=True):
                    assert torch.equal(one, other)
                seen += len(rows)
            assert seen == (order.length + (rank == 0)) // 2


def test_streaming_holds_few_groups(store: Store) -> None:
    streamed = Streamed(store, "train", CPU)
    with small_windows():
        order = Order(97, streamed.tile_bytes, 0)
        streamed.start(order)
        held = []
        for _, rows in shares(order, batch_size=4):
            streamed.take(rows)
            held.append(len(streamed._held))
    assert max(held) == 2


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_streaming_keeps_every_value_of_other_types(tmp_path: Path, dtype: Any) -> None:
    import pyarrow as pa

    from pipeline.packing import StoreWriter

    pixels = (np.arange(6 * 4 * 4 * 2).reshape(6, 4, 4, 2) + 40_000).astype(dtype)
    bands, classes = Bands(("a", "b")), little.CLASSES
    with StoreWriter(tmp_path / "tiles", bands, classes, 4, np.dtype(dtype)) as writer:
        writer.append("train", pixels)
        rows = [little._row("train", i, i % 3) for i in range(6)]
        writer.finish(pa.Table.from_pylist(rows), np.zeros(2), np.ones(2), None)
    streamed = Streamed(Store.open(tmp_path / "tiles"), "train", CPU)
    streamed.start(Order(6, streamed.tile_bytes, 0))
    rows_taken = Order(6, streamed.tile_bytes, 0).rows()
    taken, _ = streamed.take(rows_taken)
    expected = pixels[rows_taken].astype(np.float32).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(taken.numpy(), expected)


def test_a_shard_that_was_cut_short_meanwhile_is_told(store: Store) -> None:
    path = store.root / "train-1.npy"
    streamed = Streamed(store, "train", CPU)
    path.write_bytes(path.read_bytes()[:-100])
    streamed.start(Order(97, streamed.tile_bytes))
    with pytest.raises(StoreError, match=r"no whole train-1\.npy"):
        streamed.take(np.arange(97))


def test_the_smaller_of_need_and_room_decides() -> None:
    assert choose("auto", 10 * MEBIBYTE, 11 * MEBIBYTE, "memory") == (
        "resident", "10 MiB of tiles, 11 MiB of memory for them",
    )  # fmt: skip
    assert choose("auto", 12 * MEBIBYTE, 11 * MEBIBYTE, "memory")[0] == "streamed"
    assert choose("streamed", 1, 10, "memory") == ("streamed", "asked for")


def test_room_is_shared_by_the_processes_of_a_machine() -> None:
    assert room(CPU, 2, limit=100) == 50 * MEBIBYTE
    assert room(CPU, 4) == pytest.approx(room(CPU, 1) / 4, rel=0.2)
    assert room(CPU, 1) > MEBIBYTE
