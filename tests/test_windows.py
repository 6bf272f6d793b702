from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.windows import Grid, beyond, count, cut, totals

SMALL = st.integers(1, 40)


@given(SMALL, SMALL, SMALL)
def test_count_and_beyond_agree_with_walking_along_the_axis(
    extent: int, size: int, stride: int
) -> None:
    inside, covered, over = 0, 0, 0
    for start in range(0, extent, stride):
        if start + size <= extent:
            inside, covered = inside + 1, start + size
        elif covered < extent:
            over, covered = over + 1, start + size
    assert (count(extent, size, stride), beyond(extent, size, stride)) == (inside, over)


@given(SMALL, SMALL, st.integers(1, 12), st.integers(1, 500), st.integers(1, 40), st.data())
def test_patches_cover_each_window_of_the_rows_once(
    height: int, width: int, size: int, most: int, deepest: int, data: st.DataObject
) -> None:
    grid = Grid(height, width, size, data.draw(st.integers(1, 2 * size)))
    first = data.draw(st.integers(0, grid.rows))
    last = data.draw(st.integers(first, grid.rows))
    seen = np.zeros((grid.rows, grid.cols), int)
    for patch in grid.patches(range(first, last), most, deepest):
        seen[patch.row : patch.row + patch.rows, patch.col : patch.col + patch.cols] += 1
        pixels = grid.span(patch.rows) * grid.span(patch.cols)
        assert pixels <= max(most, size * size)
        assert patch.rows == 1 or grid.span(patch.rows) <= deepest
    assert (seen[first:last] == 1).all()
    assert seen.sum() == (last - first) * grid.cols


@given(SMALL, SMALL, st.integers(1, 12), st.integers(1, 15))
def test_cut_gives_the_pixels_of_each_window(
    height: int, width: int, size: int, stride: int
) -> None:
    pixels = np.arange(height * width * 3).reshape(height, width, 3)
    tiles = cut(pixels, size, stride)
    grid = Grid(height, width, size, stride)
    assert tiles.shape == (grid.rows, grid.cols, size, size, 3)
    for row in range(grid.rows):
        for col in range(grid.cols):
            top, left = row * stride, col * stride
            want = pixels[top : top + size, left : left + size]
            np.testing.assert_array_equal(tiles[row, col], want)


@given(SMALL, SMALL, st.integers(1, 12), st.integers(1, 15), st.integers(0, 2**32 - 1))
def test_totals_count_the_true_pixels_of_each_window(
    height: int, width: int, size: int, stride: int, seed: int
) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    want = cut(mask, size, stride).sum(axis=(2, 3))
    np.testing.assert_array_equal(totals(mask, size, stride), want)


def test_totals_of_a_window_wider_than_a_byte_counts() -> None:
    assert totals(np.ones((300, 300), bool), 300, 300).tolist() == [[90_000]]


@pytest.mark.parametrize(("height", "width", "want"), [(64, 64, 5), (56, 56, 0), (20, 100, 4)])
def test_beyond_counts_what_does_not_fit(height: int, width: int, want: int) -> None:
    assert Grid(height, width, 28, 28).beyond == want
