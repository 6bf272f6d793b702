from __future__ import annotations

from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.split import assign, beyond, blocks, in_folds, number, official, overlaps

FRACTIONS = (0.7, 0.15, 0.15)
SEEDS = st.integers(0, 2**32 - 1)


def _shares(split: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.bincount(split, minlength=3) / len(split)


@given(st.integers(1, 300), st.integers(1, 6), SEEDS)
def test_single_tiles_are_cut_at_the_fractions_of_each_class(
    tiles: int, classes: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).integers(0, classes, tiles)
    split = assign(np.arange(tiles), labels, FRACTIONS, seed)
    for label in np.unique(labels):
        counts = np.bincount(split[labels == label], minlength=3)
        wanted = np.array(FRACTIONS) * counts.sum()
        assert (np.abs(counts - wanted) < 2).all()
        assert counts.sum() < 3 or counts.min() > 0


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), SEEDS)
def test_units_stay_whole(units: int, classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    unit = number(random.integers(0, units, 200))
    labels = random.integers(0, classes, 200)
    split = assign(unit, labels, FRACTIONS, seed)
    assert set(split) <= {0, 1, 2}
    for value in np.unique(unit):
        assert len(set(split[unit == value])) == 1


def test_many_units_come_close_to_the_fractions_in_each_class() -> None:
    random = np.random.default_rng(0)
    unit = number(random.integers(0, 400, 20_000))
    labels = (unit + random.integers(0, 2, len(unit))) % 6  # a unit holds two classes of six
    split = assign(unit, labels, FRACTIONS, 1)
    for label in range(6):
        np.testing.assert_allclose(_shares(split[labels == label]), FRACTIONS, atol=0.02)


def test_three_units_of_a_rare_class_reach_all_splits() -> None:
    unit = np.repeat(np.arange(43), 10)
    labels = np.where(unit < 3, 1, 0)  # of 43 units, three hold the rare class
    for seed in range(20):
        split = assign(unit, labels, FRACTIONS, seed)
        assert set(split[labels == 1]) == {0, 1, 2}


def test_one_large_unit_goes_to_training() -> None:
    unit = np.r_[np.zeros(500, np.int64), np.repeat(np.arange(1, 26), 20)]
    split = assign(unit, np.zeros(1000, np.int64), FRACTIONS, 5)
    assert split[0] == 0
    np.testing.assert_allclose(_shares(split), FRACTIONS, atol=0.02)


def test_a_seed_decides_and_another_differs() -> None:
    labels = np.zeros(100, np.int64)
    units = np.arange(100)
    first = assign(units, labels, FRACTIONS, 1)
    np.testing.assert_array_equal(first, assign(units, labels, FRACTIONS, 1))
    assert (first != assign(units, labels, FRACTIONS, 2)).any()


@pytest.mark.parametrize("units", [np.arange(90), np.repeat(np.arange(30), 3)])
def test_a_split_without_a_share_gets_nothing(units: NDArray[np.int64]) -> None:
    split = assign(units, np.zeros(90, np.int64), (0.8, 0.0, 0.2), 0)
    assert np.bincount(split, minlength=3).tolist() == [72, 0, 18]


def test_405_000_tiles_take_less_than_two_seconds() -> None:
    labels = np.random.default_rng(0).integers(0, 6, 405_000)
    start = perf_counter()
    split = assign(np.arange(len(labels)), labels, FRACTIONS, 0)
    assert perf_counter() - start < 2
    np.testing.assert_allclose(_shares(split), FRACTIONS, atol=1e-4)


def test_official_keeps_the_test_tiles_and_cuts_validation_by_unit() -> None:
    given_split = np.repeat([0, 2], [80, 20])
    units = np.arange(100) // 4
    split = official(given_split, units, np.zeros(100, np.int64), (0.6, 0.2, 0.2), 3)
    assert (split[80:] == 2).all()
    assert np.bincount(split[:80]).tolist() == [60, 20]
    assert all(len(set(split[units == unit])) == 1 for unit in range(25))


def test_classes_are_cut_alike_in_whatever_order_units_are_numbered() -> None:
    labels = np.arange(90) % 3
    units = np.random.default_rng(0).permutation(90)
    split = assign(units, labels, FRACTIONS, 0)
    tables = [np.bincount(split[labels == label], minlength=3).tolist() for label in range(3)]
    assert tables == [tables[0]] * 3


@settings(deadline=None)
@given(st.integers(2, 7), st.sampled_from([30, 70, 210]), SEEDS)
def test_each_tile_is_the_test_of_one_fold_and_units_stay_whole(
    folds: int, groups: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, 210)
    units = np.arange(210) if groups == 210 else number(random.integers(0, groups, 210))
    splits = [in_folds(units, labels, (0.6, 0.2, 0.2), folds, k, seed) for k in range(folds)]
    tests = np.stack(splits) == 2
    assert (tests.sum(axis=0) == 1).all()
    for split in splits:
        assert set(split) == {0, 1, 2}
        assert all(len(set(split[units == unit])) == 1 for unit in np.unique(units))
        counts = np.bincount(split, minlength=3)
        assert 0.1 < counts[1] / (counts[0] + counts[1]) < 0.4  # a quarter is asked for
    assert (splits[0] == in_folds(units, labels, (0.6, 0.2, 0.2), folds, 0, seed)).all()
    assert (splits[0] != in_folds(units, labels, (0.6, 0.2, 0.2), folds, 0, seed + 1)).any()


def test_folds_hold_a_fair_share_of_each_class() -> None:
    random = np.random.default_rng(0)
    unit = number(random.integers(0, 400, 20_000))
    labels = (unit + random.integers(0, 2, len(unit))) % 6  # a unit holds two classes of six
    single = np.arange(len(unit))
    for units, off in ((unit, 0.03), (single, 1e-3)):
        for fold in range(5):
            split = in_folds(units, labels, (0.6, 0.2, 0.2), 5, fold, 1)
            for label in range(6):
                np.testing.assert_allclose(_shares(split[labels == label])[2], 0.2, atol=off)


@given(st.integers(1, 200), st.integers(1, 5), st.integers(1, 30), SEEDS)
def test_no_more_training_tiles_of_a_class_than_asked_for(
    tiles: int, classes: int, most: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    labels, split = random.integers(0, classes, tiles), random.integers(-1, 3, tiles)
    many = beyond(split, labels, most, seed)
    assert not many[split != 0].any()
    for label in range(classes):
        have = (split == 0) & (labels == label)
        assert (have & ~many).sum() == min(most, have.sum())
    # A smaller number keeps a part of what a larger one keeps.
    assert (many <= beyond(split, labels, max(1, most // 2), seed)).all()


def test_the_seed_chooses_the_few() -> None:
    labels, split = np.zeros(50, np.int64), np.zeros(50, np.int64)
    assert (beyond(split, labels, 5, 1) == beyond(split, labels, 5, 1)).all()
    assert (beyond(split, labels, 5, 1) != beyond(split, labels, 5, 2)).any()


def test_number_tells_rows_apart() -> None:
    keys = np.random.default_rng(0).integers(-3, 3, (200, 3))
    units = number(keys)
    assert set(units) == set(range(len(np.unique(keys, axis=0))))
    same = (keys[:, None] == keys[None]).all(axis=2)
    np.testing.assert_array_equal(units[:, None] == units[None], same)


def test_blocks_are_squares_of_ground_on_both_sides_of_zero() -> None:
    x, y = np.array([-1.0, 0.0, 9.9, 10.0]), np.array([0.0, 0.0, -0.1, 25.0])
    keys = blocks(x, y, np.array([7, 7, 7, 7]), np.full(4, 10.0))
    assert keys.tolist() == [[7, -1, 0], [7, 0, 0], [7, 0, -1], [7, 1, 2]]


@settings(deadline=None)
@given(st.integers(1, 40), SEEDS, st.booleans())
def test_overlaps_agree_with_comparing_all_pairs(tiles: int, seed: int, touching: bool) -> None:
    random = np.random.default_rng(seed)
    corner = random.integers(-60, 60, (tiles, 2)) * (5.0 if touching else 0.7)
    bounds = np.c_[corner, corner + random.choice([5.0, 10.0], (tiles, 1))]
    frame, split = random.integers(-1, 2, tiles), random.integers(-1, 3, tiles)
    got = {tuple(sorted(map(int, pair))) for pair in overlaps(bounds, frame, split)}
    want = set()
    for one in range(tiles):
        for other in range(one):
            shared = np.minimum(bounds[one, 2:], bounds[other, 2:]) - np.maximum(
                bounds[one, :2], bounds[other, :2]
            )
            apart = frame[one] != frame[other] or frame[one] < 0
            if not apart and split[one] != split[other] and min(split[[one, other]]) >= 0:
                want |= {(other, one)} if shared.min() > 0.05 else set()
    assert got == want
