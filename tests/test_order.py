from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import order as orders
from pipeline.order import Order, shares, steps


@settings(max_examples=100, deadline=None)
@given(
    tiles=st.integers(1, 3000),
    tile_bytes=st.sampled_from([1, 7, 50, 400]),
    seed=st.none() | st.integers(0, 9),
)
def test_groups_hold_each_tile_once(tiles: int, tile_bytes: int, seed: int | None) -> None:
    with patch.object(orders, "WINDOW_BYTES", 300), patch.object(orders, "GROUP_WINDOWS", 4):
        made = Order(tiles, tile_bytes, seed)
        seen = []
        for windows, rows in zip(made.windows(), made.groups(), strict=True):
            read = np.concatenate([np.arange(part.start, part.stop) for part in windows])
            assert sorted(rows.tolist()) == sorted(read.tolist())
            assert len(windows) <= 4
            assert max(map(len, windows)) * tile_bytes <= max(300, tile_bytes)
            seen.append(rows)
        assert sorted(np.concatenate(seen).tolist()) == list(range(tiles))
        assert np.array_equal(made.rows(), np.concatenate(seen))


def test_without_a_seed_tiles_keep_their_order() -> None:
    assert Order(1000, 2**14).rows().tolist() == list(range(1000))


def test_a_small_split_is_shuffled_through_and_through() -> None:
    rows = Order(1000, 3136, seed=0).rows()
    assert abs(np.corrcoef(rows, np.arange(1000))[0, 1]) < 0.1
    assert len(list(Order(1000, 3136, seed=0).groups())) == 1


def test_a_group_of_a_large_split_comes_from_all_over_it() -> None:
    tiles = 100_000  # 299 windows, 5 groups
    order = Order(tiles, 3136, seed=0)
    assert len(next(order.windows())) == orders.GROUP_WINDOWS
    first = next(order.groups())
    thirds = np.bincount(first * 3 // tiles, minlength=3) / len(first)
    assert thirds == pytest.approx([1 / 3] * 3, abs=0.2)
    assert (np.diff(first) == 1).mean() < 0.01


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(0, 4) | st.just(0), min_size=1, max_size=400),
    seed=st.none() | st.integers(0, 9),
    ranks=st.integers(1, 4),
)
def test_each_row_comes_as_often_as_it_counts(
    counts: list[int], seed: int | None, ranks: int
) -> None:
    wanted = np.asarray(counts)
    with patch.multiple(orders, WINDOW_BYTES=30, GROUP_WINDOWS=4):
        made = Order(len(counts), 10, seed, counts=wanted)
        for windows, rows in zip(made.windows(), made.groups(), strict=True):
            assert set(rows.tolist()) <= {row for part in windows for row in part}
            assert all(wanted[part.start : part.stop].any() for part in windows)
        assert np.bincount(made.rows(), minlength=len(counts)).tolist() == counts
        if made.length < ranks:
            return
        parts = [list(shares(made, batch_size=5, rank=r, ranks=ranks)) for r in range(ranks)]
    assert {len(part) for part in parts} == {steps(sum(counts), 5, ranks)}
    for step in zip(*parts, strict=True):
        taken = np.concatenate([rows for _, rows in step])
        assert sorted(taken.tolist()) == sorted(step[0][0].tolist())
    batches = np.concatenate([batch for batch, _ in parts[0]])
    assert np.bincount(batches, minlength=len(counts)).tolist() == counts


def test_counts_of_one_change_nothing() -> None:
    ones = np.ones(100_000, np.int64)
    assert np.array_equal(
        Order(100_000, 3136, 3, 1, ones).rows(), Order(100_000, 3136, 3, 1).rows()
    )
