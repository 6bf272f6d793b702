from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.shift import BINS, Look, differences, sample
from pipeline.sources.sample import render

BANDS = ("red", "green", "blue", "nir")
Pixels = NDArray[np.float64]


@pytest.fixture(scope="module")
def scenes() -> tuple[Pixels, Pixels]:
    """Made-up scenes (N, H, W, 4) of one sensor: five to learn from, one more."""
    drawn = [render(np.random.default_rng(seed), 320, 1.0)[0] for seed in (1, 2, 3, 4, 5, 6)]
    stack = np.stack(drawn).astype(np.float64)
    return stack[:5], stack[5:]


def _told(training: Pixels, scene: Pixels) -> list[str]:
    seen = Look.of(training, BANDS)
    return differences(seen, Look.of(scene, BANDS), seen.outside(scene.reshape(-1, 4)))


def test_another_scene_of_the_same_sensor_is_passed_over(scenes: tuple[Pixels, Pixels]) -> None:
    assert _told(*scenes) == []


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (1.0, 1e-4, "about 10,000 times smaller.*reflectance as a fraction"),
        (1e-4, 1.0, "about 10,000 times larger.*reflectance times 10,000, where training had frac"),
        (1.0, 1 / 255, "about 255 times smaller.*values from 0 to 1, where training had 0 to 255"),
        (1 / 255, 1.0, "about 255 times larger.*values from 0 to 255"),
        (1.0, 16.0, "about 16 times larger.*12 bits"),
        (1.0, 1500.0, r"about 1,\d\d0 times larger.*another unit"),
    ],
)
def test_another_unit_is_named_and_nothing_else_is_said(
    scenes: tuple[Pixels, Pixels], before: float, after: float, words: str
) -> None:
    (told,) = _told(scenes[0] * before, scenes[1] * after)
    assert re.search(words, told), told


def test_noise_is_told_as_grain(scenes: tuple[Pixels, Pixels]) -> None:
    noise = np.random.default_rng(0).normal(0, 1, scenes[1].shape)
    told = _told(scenes[0], scenes[1] + noise * 0.8 * scenes[0].std((0, 1, 2)))
    assert any("times as much as in training: noise" in sentence for sentence in told)


def test_blur_is_told_as_its_lack(scenes: tuple[Pixels, Pixels]) -> None:
    wide = scenes[1][:, :80, :80].repeat(6, axis=1).repeat(6, axis=2)
    told = _told(scenes[0], wide)
    assert "a finer ground sample distance, resampling or blur" in told[-1]


def test_swapped_bands_are_told_with_the_order_that_fits(scenes: tuple[Pixels, Pixels]) -> None:
    told = _told(scenes[0][:1], scenes[1][..., [3, 0, 1, 2]])
    assert "in the order nir, red, green, blue: are they named rightly?" in told[0]


def test_the_offset_of_newer_sentinel_products_is_told(scenes: tuple[Pixels, Pixels]) -> None:
    told = _told(scenes[0] * 16, scenes[0][1:] * 16 + 1000)
    assert "about 1,000 higher in every band" in told[0]


def test_a_brighter_band_is_told_with_its_medians(scenes: tuple[Pixels, Pixels]) -> None:
    bright = scenes[1].copy()
    bright[..., 2] += 5 * scenes[0][..., 2].std()
    told = _told(scenes[0], bright)
    assert any("blue lies" in sentence and "deviations above" in sentence for sentence in told)
    assert any("have a value of blue that training hardly saw" in sentence for sentence in told)


def test_facts_come_back_and_are_of_valid_pixels_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 200, (3, 40, 40, 2)).astype(np.uint8)
    valid = np.ones((3, 40, 40), bool)
    valid[0] = False
    look = Look.of(pixels, ("a", "b"), valid)
    kept = pixels[1:].reshape(-1, 2)
    np.testing.assert_allclose(look.medians, np.median(kept, axis=0))
    np.testing.assert_allclose(look.deviation, kept.std(axis=0))
    steps = np.abs(np.diff(pixels[1:].astype(float), axis=2))
    np.testing.assert_allclose(look.grain, steps.mean(axis=(0, 1, 2)))
    assert look.counts.sum(axis=1).tolist() == [len(kept)] * 2
    again = Look.load(look.facts())
    assert again.bands == ("a", "b")
    np.testing.assert_allclose(again.quantiles, look.quantiles, rtol=1e-5)
    np.testing.assert_array_equal(again.counts, look.counts)


def test_bins_of_whole_numbers_hold_equally_many_of_them() -> None:
    every = np.arange(200, dtype=np.uint8).repeat(8).reshape(1, 40, 40, 1)  # each 8 times
    look = Look.of(every, ("a",))
    width = (look.edges[0, 1] - look.edges[0, 0]) / BINS
    assert width == np.round(width)
    inner = look.counts[0][look.counts[0] > 0][1:-1]
    assert set(inner) == {8 * width}


def test_a_constant_band_compares_without_a_fault() -> None:
    flat = np.full((1, 20, 20, 2), 7.0)
    seen = Look.of(flat, ("a", "b"))
    assert differences(seen, seen, seen.outside(flat.reshape(-1, 2))) == []


def test_samples_are_of_each_split_and_bounded() -> None:
    tiles = np.arange(6000, dtype=np.uint16)[:, None, None, None] * np.ones((30, 30, 1), np.uint16)
    split = np.arange(6000) % 2 * 2  # no validation tiles
    found = dict(sample(lambda rows: tiles[rows], split))
    assert list(found) == ["train", "test"]
    assert 0.4 * 2**20 < found["test"].size <= 2**20
    assert (found["test"][:, 0, 0, 0] % 2 == 1).all()
    large = dict(sample(lambda rows: np.zeros((len(rows), 300, 300, 1)), np.zeros(4, np.int64)))
    assert large["train"].shape == (4, 64, 64, 1)
