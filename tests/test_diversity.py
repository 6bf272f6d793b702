from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline import diversity
from pipeline.diversity import Pair


def right(*rows: str) -> np.ndarray:
    return np.array([[letter == "1" for letter in row] for row in rows])


def test_pairs_of_a_worked_example() -> None:
    # Members 0 and 1: both right on 4 tiles, 0 alone on 2, 1 alone on 1, both wrong on 3.
    one, two, opposite = "1111110000", "1111001000", "0000001111"
    first, second, third = diversity.pairs(right(one, two, opposite))
    assert first == Pair(0, 1, 0.3, (4 * 3 - 2 * 1) / (4 * 3 + 2 * 1))
    # 0 and 2 are never right together, and never wrong together.
    assert second == Pair(0, 2, 1.0, -1.0)
    # 1 and 2: both on 1 tile, 1 alone on 4, 2 alone on 3, neither on 2.
    assert third == Pair(1, 2, 0.7, (1 * 2 - 4 * 3) / (1 * 2 + 4 * 3))


def test_independent_members_have_a_q_of_0() -> None:
    assert diversity.yule(4, 4, 1, 1) == 0.0
    assert diversity.yule(3, 0, 0, 2) == 1.0


def test_members_that_are_always_right_have_no_q() -> None:
    assert math.isnan(diversity.yule(10, 0, 0, 0))
    assert math.isnan(diversity.yule(8, 2, 0, 0))


def test_better_members_can_disagree_less() -> None:
    # Errors of 0.1 and 0.2 lie apart at most: on 0.3 of the tiles one is right and one wrong.
    assert diversity.most_disagreement(np.array([0.9, 0.8])) == pytest.approx(0.3)
    # Of 0.6 and 0.7 at least 0.3 coincide; 1 - 0.3 are left.
    assert diversity.most_disagreement(np.array([0.4, 0.3])) == pytest.approx(0.7)
    assert diversity.most_disagreement(np.array([1.0, 1.0, 1.0])) == 0.0


def test_no_pair_disagrees_more_than_it_can() -> None:
    random = np.random.default_rng(0)
    for share in (0.2, 0.5, 0.9):
        hits = random.random((2, 50)) < share
        (pair,) = diversity.pairs(hits)
        assert pair.disagreement <= diversity.most_disagreement(hits.mean(axis=1)) + 1e-12


def test_a_soft_vote_gains_the_ambiguity() -> None:
    random = np.random.default_rng(3)
    members = random.dirichlet([0.5, 0.5, 0.5], size=(4, 25))
    actual = random.integers(3, size=25)
    mean = np.mean([diversity.brier(one, actual) for one in members])
    soft = diversity.brier(members.mean(axis=0), actual)
    assert soft == pytest.approx(mean - diversity.ambiguity(members))


def test_brier_and_ambiguity_of_a_worked_example() -> None:
    members = np.array([[[1.0, 0.0]], [[0.5, 0.5]]])
    assert diversity.brier(members[1], np.array([0])) == 0.5**2 + 0.5**2
    # The mean is (0.75, 0.25), 0.25 from either member in each class.
    assert diversity.ambiguity(members) == 2 * 0.25**2
