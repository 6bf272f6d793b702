from __future__ import annotations

import numpy as np
import pytest

from pipeline.confident import noise, suspects, thresholds

# Three classes; thresholds are the means of what stands in the given class's column.
GIVEN = np.array([0, 0, 0, 1, 1, 2, 2])
SHARES = np.array(
    [
        [0.9, 0.1, 0.0],
        [0.7, 0.2, 0.1],
        [0.2, 0.8, 0.0],  # given 0, rather 1
        [0.1, 0.8, 0.1],
        [0.3, 0.6, 0.1],
        [0.1, 0.0, 0.9],
        [0.65, 0.3, 0.05],  # given 2, rather 0
    ]
)


def test_thresholds_are_the_mean_confidence_in_each_class() -> None:
    np.testing.assert_allclose(thresholds(SHARES, GIVEN), [0.6, 0.7, 0.475])
    assert np.isinf(thresholds(SHARES, np.zeros(7, np.int64))[1:]).all()


def test_suspects_are_those_off_the_diagonal_of_the_confident_joint() -> None:
    found = suspects(SHARES, GIVEN)
    # Counted: 0->0, 0->0, 0->1, 1->1, (row 4 reaches nothing), 2->2, 2->0.
    assert found.rows.tolist() == [2, 6]  # both by 0.6, in their order
    assert found.given.tolist() == [0, 2]
    assert found.suspected.tolist() == [1, 0]
    np.testing.assert_allclose(found.margin, [0.6, 0.6])
    # Of 3 labels 0 a third, of 2 labels 1 none, of 2 labels 2 a half are wrong: 2 of 7.
    assert found.share == pytest.approx(2 / 7)


def test_the_share_brings_rows_of_the_joint_to_the_counts_of_labels() -> None:
    joint = np.array([[3, 1], [0, 2]])  # 4 of 8 labels 0 reached a threshold
    assert noise(joint, np.array([0] * 8 + [1] * 2)) == pytest.approx(2 / 10)


def test_a_class_that_the_network_is_never_sure_of_is_spared() -> None:
    given = np.array([0, 0, 1, 1])
    shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.55, 0.45]])
    assert len(suspects(shares, given).rows) == 0  # the plain rule would doubt both labels 1
