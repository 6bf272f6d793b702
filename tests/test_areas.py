from __future__ import annotations

import numpy as np
import pytest

from pipeline.areas import Z, estimate

# Olofsson et al. (2014), table 8: rows are the map's classes, columns the true ones: deforestation,
# forest gain, stable forest, stable non-forest; and the pixels that the map gives each.
SAMPLE = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = np.array([200_000.0, 150_000.0, 3_200_000.0, 6_450_000.0])


def test_the_papers_worked_example() -> None:
    found = estimate(SAMPLE.T, PIXELS)
    assert round(float(found.accuracy.value), 3) == 0.947
    assert round(float(Z * found.accuracy.error), 3) == 0.018
    assert np.round(found.users.value, 2).tolist() == [0.88, 0.73, 0.93, 0.96]
    assert np.round(Z * found.users.error, 2).tolist() == [0.07, 0.10, 0.04, 0.02]
    assert np.round(found.producers.value, 2).tolist() == [0.75, 0.85, 0.93, 0.96]
    assert round(float(Z * found.producers.error[0]), 2) == 0.21
    assert round(float(found.area.value[0])) == 235_086
    assert round(float(Z * found.area.error[0])) == 68_418


def test_areas_add_up_to_what_was_mapped_in_any_unit() -> None:
    pixels, hectares = estimate(SAMPLE.T, PIXELS), estimate(SAMPLE.T, 0.09 * PIXELS)
    assert pixels.area.value.sum() == pytest.approx(PIXELS.sum())
    np.testing.assert_allclose(hectares.area.value, 0.09 * pixels.area.value)
    np.testing.assert_allclose(hectares.area.error, 0.09 * pixels.area.error)
    np.testing.assert_allclose(hectares.producers.error, pixels.producers.error)


def test_estimates_spread_over_samples_as_their_errors_say() -> None:
    """Of 2,000 samples drawn by class of the map, the deviation of the estimates is their error."""
    rng = np.random.default_rng(0)
    rows = SAMPLE / SAMPLE.sum(axis=1, keepdims=True)
    sizes = (300, 300, 660, 1300)  # the errors are for large samples
    drawn = []
    for _ in range(2000):
        sample = [rng.multinomial(n, shares) for n, shares in zip(sizes, rows, strict=True)]
        drawn.append(estimate(np.stack(sample, axis=1), PIXELS))
    truth = estimate(SAMPLE.T, PIXELS)
    for name in ("accuracy", "users", "producers", "area"):
        values = np.array([getattr(one, name).value for one in drawn])
        errors = np.sqrt(np.mean([getattr(one, name).error ** 2 for one in drawn], axis=0))
        np.testing.assert_allclose(values.std(axis=0), errors, rtol=0.07)
        np.testing.assert_allclose(values.mean(axis=0), getattr(truth, name).value, rtol=0.01)


def test_a_class_that_is_not_mapped_adds_nothing() -> None:
    counts = np.pad(SAMPLE.T, (0, 1))
    found = estimate(counts, np.r_[PIXELS, 0.0])
    assert found.area.value[4] == 0.0
    assert np.isnan(found.users.value[4])
    np.testing.assert_allclose(found.area.value[:4], estimate(SAMPLE.T, PIXELS).area.value)


def test_a_mapped_class_without_tiles_leaves_areas_unknown() -> None:
    counts = np.pad(SAMPLE.T, (0, 1))
    assert np.isnan(estimate(counts, np.r_[PIXELS, 1.0]).area.value).all()
