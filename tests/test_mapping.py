from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError, SourceError
from pipeline.mapping import BLOCK, Cells, empty_cells

grids = st.tuples(st.integers(1, 16), st.integers(0, 60), st.integers(0, 60)).flatmap(
    lambda t: st.builds(
        Cells, st.just(t[0] + t[1]), st.just(t[0] + t[2]), st.just(t[0]), st.integers(1, t[0])
    )
)


@given(grids)
def test_each_pixel_is_in_one_cell_and_each_cell_in_its_window(cells: Cells) -> None:
    for extent, starts in ((cells.height, cells.tops), (cells.width, cells.lefts)):
        owners = np.arange(extent) // cells.stride
        assert owners.max() == len(starts) - 1
        assert (starts >= 0).all()
        assert (starts + cells.size <= extent).all()
        pixels = np.arange(extent)
        assert (starts[owners] <= pixels).all()
        assert (pixels < starts[owners] + cells.size).all()


@given(grids)
def test_windows_inside_are_centred_on_their_cells(cells: Cells) -> None:
    for extent, starts in ((cells.height, cells.tops), (cells.width, cells.lefts)):
        inside = (starts > 0) & (starts < extent - cells.size)
        cell = np.arange(len(starts)) * cells.stride + cells.stride / 2
        offset = starts + cells.size / 2 - cell
        assert (np.abs(offset[inside]) <= 0.5).all()


@given(grids, st.integers(1, 60), st.integers(0, 9000))
def test_strips_are_all_rows_in_order_within_memory(cells: Cells, wide: int, most: int) -> None:
    strips = list(cells.strips(wide, most))
    assert [row for strip in strips for row in strip] == list(range(cells.rows))
    for strip in strips:
        top, bottom = cells.span(strip)
        assert 0 <= top < bottom <= cells.height
        assert len(strip) == 1 or (bottom - top) * wide <= most


def test_no_strip_reaches_over_a_block_of_the_map() -> None:
    cells = Cells(3 * BLOCK, 8, 4, 1)
    strips = list(cells.strips(8))
    assert [strip.stop for strip in strips] == [BLOCK, 2 * BLOCK, 3 * BLOCK]


@given(grids, st.integers(0, 2**32 - 1), st.integers(0, 3000))
def test_cells_are_empty_where_one_of_their_own_pixels_is(
    cells: Cells, seed: int, most: int
) -> None:
    bad = np.random.default_rng(seed).random((cells.height, cells.width)) < 0.05
    for rows in cells.strips(cells.width, most):
        top, bottom = cells.span(rows)
        found = empty_cells(bad[top:bottom], cells, rows, top)
        for i, row in enumerate(rows):
            lines = bad[row * cells.stride : (row + 1) * cells.stride]
            expected = [
                lines[:, col * cells.stride : (col + 1) * cells.stride].any()
                for col in range(cells.cols)
            ]
            assert found[i].tolist() == expected
    assert not empty_cells(None, cells, range(0, 1), 0).any()


def test_scenes_smaller_than_a_tile_and_cells_larger_than_one_are_refused() -> None:
    with pytest.raises(SourceError, match=r"at least 28 x 28 pixels.* got 27 x 90"):
        Cells(27, 90, 28, 7)
    with pytest.raises(ConfigError, match="from 1 to the tile size 28, got 29"):
        Cells(90, 90, 28, 29)
