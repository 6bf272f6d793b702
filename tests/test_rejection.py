from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.rejection import Coverage

CONFIDENCE = np.array([0.6, 0.9, 0.8, 0.8, 0.5])
HITS = np.array([True, True, True, False, False])


def test_curve_by_hand_takes_equal_confidences_together() -> None:
    curve = Coverage.of(CONFIDENCE, HITS)
    assert curve.threshold.tolist() == [0.9, 0.8, 0.6, 0.5]
    assert curve.coverage.tolist() == [0.2, 0.6, 0.8, 1.0]
    assert curve.accuracy == pytest.approx([1, 2 / 3, 3 / 4, 3 / 5])


def test_the_threshold_leaves_out_fewest_tiles() -> None:
    curve = Coverage.of(CONFIDENCE, HITS)
    assert curve.reaching(0.7) == 0.6  # the accuracy falls below on the way, and comes back
    assert curve.reaching(0.99) == 0.9
    assert curve.reaching(0.1) == 0.5
    assert Coverage.of(CONFIDENCE, ~HITS).reaching(0.9) is None


def test_what_a_threshold_gives_on_other_tiles() -> None:
    curve = Coverage.of(CONFIDENCE, HITS)
    assert curve.at(0.7) == pytest.approx((0.6, 2 / 3))
    assert curve.at(0.0) == (1.0, 0.6)
    coverage, accuracy = curve.at(0.95)
    assert coverage == 0.0
    assert math.isnan(accuracy)


def test_no_tiles_have_no_curve() -> None:
    curve = Coverage.of(np.zeros(0), np.zeros(0, bool))
    assert curve.reaching(0.5) is None
    assert curve.at(0.5)[0] == 0.0
