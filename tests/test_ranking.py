from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as reference

from pipeline import ranking
from pipeline.places import Places
from pipeline.ranking import Ladder, Ranked
from pipeline.resampling import Resampling


@pytest.fixture(params=[2, 7, 10**9], ids=lambda levels: f"{levels} levels")
def scored(request: pytest.FixtureRequest) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores with many ties, some, and none."""
    rng = np.random.default_rng(0)
    positive = rng.random(500) < 0.3
    return np.floor((rng.normal(size=500) + positive) * request.param), positive


def test_areas_and_curves_equal_scikit_learn(
    scored: tuple[NDArray[np.float64], NDArray[np.bool_]],
) -> None:
    score, positive = scored
    ladder = Ladder.of(score, positive)
    area = reference.roc_auc_score(positive, score)
    assert ranking.auc(ladder) == pytest.approx(area, rel=0, abs=1e-9)
    expected = reference.average_precision_score(positive, score)
    assert ranking.average_precision(ladder) == pytest.approx(expected, rel=0, abs=1e-9)
    false, true, _ = reference.roc_curve(positive, score, drop_intermediate=False)
    np.testing.assert_allclose(ranking.rates(ladder), (false, true), atol=1e-12)
    precision, recall, _ = reference.precision_recall_curve(positive, score)
    ours = ranking.precisions(ladder)
    np.testing.assert_allclose(ours, (recall[-2::-1], precision[-2::-1]), atol=1e-12)


def test_auc_by_hand_counts_equal_scores_half() -> None:
    # Pairs: 3 > 1, 3 > 2, 2 > 1 and 2 = 2.
    ladder = Ladder.of(np.array([3, 2, 2, 1]), np.array([True, True, False, False]))
    assert ranking.auc(ladder) == (3 + 0.5) / 4


def test_aurc_by_hand() -> None:
    # Risks from the surest down: 0/1, 1/2, 1/3; the last two tiles are equally sure.
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.6])
    hits = np.array([True, False, True, True, False])
    expected = (0 / 1 + 1 / 2 + 1 / 3 + 2 * 2 / 5) / 5
    assert ranking.aurc(Ladder.of(confidence, hits)) == pytest.approx(expected)


def test_one_kind_alone_has_no_area() -> None:
    score = np.array([0.1, 0.2])
    assert np.isnan(ranking.auc(Ladder.of(score, np.array([True, True]))))
    none = Ladder.of(score, np.array([False, False]))
    assert np.isnan(ranking.auc(none))
    assert np.isnan(ranking.average_precision(none))


def test_draws_of_few_levels_are_exact() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(300) < 0.4
    score = np.round(rng.normal(size=300) + positive, 1)
    places = Places("groups", np.array([f"g{i % 30}" for i in range(300)], object))
    again = Resampling.of(places, draws=4)
    point, draws = Ranked.of(score, positive, again).measured(ranking.auc)
    assert point == pytest.approx(reference.roc_auc_score(positive, score))
    for weights, drawn in zip(again.weights, draws, strict=True):
        times = weights[again.unit]
        exact = reference.roc_auc_score(positive, score, sample_weight=times)
        assert drawn == pytest.approx(exact)
