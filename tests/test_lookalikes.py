from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.lookalikes import (
    OFFSETS,
    SHIFT,
    Index,
    Sketcher,
    correlations,
    detail,
    texture,
)
from tests.imagery import noise

SIZE = 24


def _sketcher(size: int = SIZE, bands: int = 3) -> Sketcher:
    return Sketcher(size, np.full(bands, 120.0), np.full(bands, 70.0))


def _moved(down: int, across: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two cuts of one scene, the second moved: query[y + down, x + across] is other[y, x]."""
    scene = noise(40, 40, 3, seed=3)
    return scene[8 - down :, 8 - across :][:SIZE, :SIZE], scene[8:, 8:][:SIZE, :SIZE]


@pytest.mark.parametrize("move", range(len(OFFSETS)))
def test_a_moved_copy_is_found_at_its_move_with_full_correlation(move: int) -> None:
    query, other = _moved(*OFFSETS[move])
    sketcher = _sketcher()
    index = Index(sketcher.sketches(sketcher.centre(np.stack([noise(SIZE, SIZE, 3), other]))))
    centre = sketcher.centre(query[None])
    _, moves, places = index.candidates(sketcher.sketches(centre, moved=True))
    assert (move, 1) in set(zip(moves.tolist(), places.tolist(), strict=True))
    both = [detail(sketcher.centre(tile[None])) for tile in (query, other)]
    assert correlations(both[0], both[1], np.array([move]))[0] > 0.98  # 1 but for the cuts


def test_detail_is_what_a_mean_of_five_by_five_leaves() -> None:
    centre = _sketcher().centre(noise(SIZE, SIZE, 3, seed=1)[None])
    y, x = 9, 14
    left = centre[0, y, x] - centre[0, y - 2 : y + 3, x - 2 : x + 3].mean(axis=(0, 1))
    rest = centre[0, 2:-2, 2:-2] - _boxes(centre[0])
    most = 2 * np.median(np.abs(rest), axis=(0, 1))
    np.testing.assert_allclose(
        detail(centre)[0, y - 2, x - 2], np.clip(left / most, -1, 1), atol=1e-4
    )
    np.testing.assert_allclose(texture(centre), np.sqrt((rest**2).mean()), rtol=1e-4)


def _boxes(tile: NDArray[np.float32]) -> NDArray[np.float32]:
    views = np.lib.stride_tricks.sliding_window_view(tile, (5, 5), axis=(0, 1))
    return np.asarray(views.mean(axis=(-1, -2)))


def test_other_tiles_of_noise_are_no_candidates() -> None:
    tiles = np.stack([noise(SIZE, SIZE, 3, seed=seed) for seed in range(300)])
    sketcher = _sketcher()
    centre = sketcher.centre(tiles)
    query, _, other = Index(sketcher.sketches(centre)).candidates(
        sketcher.sketches(centre, moved=True)
    )
    assert set(zip(query.tolist(), other.tolist(), strict=True)) == {(i, i) for i in range(300)}


def test_large_tiles_are_looked_at_in_their_middle_and_tiny_ones_not_at_all() -> None:
    assert _sketcher(200).centre(noise(200, 200, 3)[None]).shape == (1, 64, 64, 3)
    assert not _sketcher(10).able
    assert _sketcher(12, bands=4).able
    assert SHIFT == 2
