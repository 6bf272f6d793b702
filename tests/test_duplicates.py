from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.duplicates import among, copies, digests, kept, symmetries, uniform
from tests.imagery import noise


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "float64"])
def test_turns_and_mirrors_have_one_digest_and_other_tiles_another(kind: str) -> None:
    tile = noise(9, 9, 3, kind)
    variants = np.stack(symmetries(tile))
    assert len({variant.tobytes() for variant in variants}) == 8
    assert len(set(digests(variants))) == 1
    changed = np.repeat(tile[None], 5, axis=0)
    changed[np.arange(5), np.arange(5), 4, 1] += 1  # one value of each, none a mirror of another
    assert len(set(digests(changed))) == 5
    assert digests(tile[None])[0] not in digests(changed)


@given(st.integers(0, 2**32 - 1))
def test_groups_are_those_of_a_comparison_of_all_with_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    originals = rng.integers(0, 3, (6, 4, 4, 2), np.uint8)
    chosen = rng.integers(0, 6, 15)
    tiles = np.stack([symmetries(originals[i])[rng.integers(8)] for i in chosen])
    found = copies(digests(tiles), lambda rows: tiles[rows])
    expected = set()
    for i, tile in enumerate(tiles):
        same = [
            j for j, other in enumerate(tiles) if any((v == other).all() for v in symmetries(tile))
        ]
        if len(same) > 1:
            expected.add((i, *same))
    got = {
        (int(row), *sorted(found.rows[found.group == group]))
        for row, group in zip(found.rows, found.group, strict=True)
    }
    assert got == expected


def test_tiles_that_share_a_digest_but_no_pixels_are_no_copies() -> None:
    tiles = np.stack([noise(5, 5, 1, seed=seed) for seed in range(3)])
    assert len(copies(np.zeros(3, np.uint64), lambda rows: tiles[rows]).rows) == 0


def test_turned_tiles_and_uniform_ones_are_told_apart() -> None:
    tile, flat = noise(6, 6, 2), np.full((6, 6, 2), (7, 9), np.uint8)
    tiles = np.stack([tile, flat, tile, np.rot90(tile), flat])
    found = copies(digests(tiles), lambda rows: tiles[rows])
    assert sorted(found.rows) == [0, 1, 2, 3, 4]
    look = dict(zip(found.rows.tolist(), found.look.tolist(), strict=True))
    assert look[0] == look[2] != look[3]
    assert set(found.rows[found.uniform]) == {1, 4}


def test_tiles_are_known_again_from_what_a_bundle_keeps() -> None:
    tiles = np.stack([noise(8, 8, 3, seed=seed) for seed in range(400)])
    text = kept(digests(tiles[:200]))
    turned = np.stack([np.rot90(tile) for tile in tiles])
    for some in (tiles, turned, tiles.astype(np.uint16)):  # the values count, not their type
        assert among(digests(some), text).tolist() == [True] * 200 + [False] * 200
    assert len(text) == -(-200 * 5 // 3) * 4
    assert not among(digests(tiles), kept(digests(tiles[:0]))).any()


def test_uniform_tiles_have_one_value_a_band() -> None:
    tiles = np.zeros((3, 4, 4, 2), np.uint8)
    tiles[..., 1] = 9
    tiles[1, 3, 3, 1] = 8
    assert uniform(tiles).tolist() == [True, False, True]
