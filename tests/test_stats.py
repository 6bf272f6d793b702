from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stats import class_counts, mean_and_deviation, tile_moments

SHAPE = (7, 6, 5, 3)  # not square, so that no two axes can be taken for each other


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i8", "f4", "f8"])
def test_moments_are_those_of_all_pixels(kind: str) -> None:
    limits = np.iinfo(kind) if kind[0] in "iu" else None
    low, high = (max(limits.min, -40_000), min(limits.max, 70_000)) if limits else (-3, 3)
    pixels = np.random.default_rng(3).uniform(low, high, SHAPE).astype(kind)
    mean, std = mean_and_deviation(tile_moments(pixels), 30)
    np.testing.assert_allclose(mean, pixels.astype("f8").mean((0, 1, 2)), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(std, pixels.astype("f8").std((0, 1, 2)), rtol=1e-12)


def test_small_deviations_around_a_large_mean_survive() -> None:
    pixels = 1e9 + np.random.default_rng(0).normal(0, 1, SHAPE)
    _, std = mean_and_deviation(tile_moments(pixels), 30)
    np.testing.assert_allclose(std, pixels.std((0, 1, 2)), rtol=1e-6)


@pytest.mark.parametrize("value", [255, 65_535])
def test_the_largest_integers_have_no_deviation(value: int) -> None:
    kind = np.uint8 if value == 255 else np.uint16
    mean, std = mean_and_deviation(tile_moments(np.full((2, 300, 300, 1), value, kind)), 90_000)
    assert mean.tolist() == [value]
    assert std.tolist() == [0]


def test_large_and_small_steps_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (50, 8, 8, 4), np.uint8)
    whole = tile_moments(pixels)
    monkeypatch.setattr("pipeline.stats.STEP", 300)
    np.testing.assert_array_equal(tile_moments(pixels), whole)


@given(st.lists(st.integers(0, 4)))
def test_class_counts_include_classes_without_tiles(labels: list[int]) -> None:
    counts = class_counts(np.array(labels, np.int64), 5)
    assert counts.tolist() == [labels.count(label) for label in range(5)]
