from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import baselines
from tests import little


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_features_are_numpy_s_statistics(dtype: type[np.generic]) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 250, (5, 9, 9, 4)).astype(dtype)
    found = baselines.features(pixels).reshape(5, 4, 7)
    flat = pixels.reshape(5, 81, 4).astype(np.float64)
    np.testing.assert_allclose(found[..., 0], flat.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found[..., 1], flat.std(axis=1), rtol=1e-6)
    expected = np.quantile(flat, baselines.QUANTILES, axis=1)
    np.testing.assert_allclose(found[..., 2:], np.moveaxis(expected, 0, 2), rtol=1e-6)


def test_columns_are_named_band_by_band() -> None:
    names = baselines.feature_names(little.BANDS)
    assert names[:4] == ["red mean", "red deviation", "red q05", "red q25"]
    assert len(names) == baselines.features(little.tiles(np.array([0]), 0)).shape[1] == 28


def _answers(seed: int = 0, threads: int | None = 1) -> dict[str, NDArray[np.int64]]:
    labels = np.arange(90) % 3
    train, test = (baselines.features(little.tiles(labels, seed)) for seed in (0, 1))
    found = baselines.predictions(train, labels, test, trees=20, seed=seed, threads=threads)
    return dict(found)


def test_statistics_tell_classes_that_differ_in_their_means() -> None:
    labels = np.arange(90) % 3
    shares = {name: (found == labels).mean() for name, found in _answers().items()}
    assert list(shares) == list(baselines.NAMES)
    assert shares["majority"] == 1 / 3
    assert min(shares["logistic_regression"], shares["random_forest"]) > 0.9


def test_the_same_however_many_threads() -> None:
    one, two = _answers(threads=1), _answers(threads=2)
    assert all((one[name] == two[name]).all() for name in one)


def test_where_a_pixel_lies_is_not_seen() -> None:
    pixels = little.tiles(np.arange(6) % 3, 0)
    order = np.random.default_rng(0).permutation(little.SIZE**2)
    flat = pixels.reshape(6, -1, 4)[:, order].reshape(pixels.shape)
    assert (baselines.features(flat) == baselines.features(pixels)).all()


@pytest.mark.parametrize("labels", [np.zeros(9, np.int64), np.repeat([0, 2], [5, 4])])
def test_a_class_that_training_lacks_is_given_to_nothing(labels: NDArray[np.int64]) -> None:
    train, test = (baselines.features(little.tiles(np.arange(9) % 3, seed)) for seed in (0, 1))
    for name, found in baselines.predictions(train, labels, test, trees=5, seed=0, threads=1):
        assert set(found) <= set(labels), name
        assert found.dtype == np.int64


def test_a_draw_of_tiles_is_seeded_sorted_and_no_larger_than_asked_for() -> None:
    labels = np.zeros(50, np.int64)
    rows = baselines.chosen(labels, 20, 3)
    assert len(set(rows)) == 20
    assert (np.diff(rows) > 0).all()
    assert (rows == baselines.chosen(labels, 20, 3)).all()
    assert (rows != baselines.chosen(labels, 20, 4)).any()
    for most in (50, None):
        assert (baselines.chosen(labels, most, 0) == np.arange(50)).all()
