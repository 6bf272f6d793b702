from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from pipeline import paired
from pipeline.errors import ClassError
from pipeline.paired import Difference, Paired

Labels = NDArray[np.int64]
COUNTS = st.integers(0, 60)


def _labels(seed: int, tiles: int = 120, classes: int = 4) -> tuple[Labels, Labels, Labels]:
    random = np.random.default_rng(seed)
    actual = random.integers(0, classes, tiles)
    wrong = random.integers(0, classes, (2, tiles))
    kept = random.random((2, tiles)) < [[0.8], [0.6]]
    first, second = np.where(kept, actual, wrong)
    return actual, first, second


@given(COUNTS, COUNTS)
def test_mcnemar_is_the_binomial_test(wins: int, losses: int) -> None:
    exact, mid = paired.mcnemar_p(wins, losses)
    total = wins + losses
    assert exact == pytest.approx(binomtest(wins, total).pvalue if total else 1.0)
    assert mid <= exact
    # From the definition: what is further out, and half of what is as far.
    chances = np.array([math.comb(total, k) / 2**total for k in range(total + 1)])
    out = np.abs(2 * np.arange(total + 1) - total)
    expected = chances[out > abs(wins - losses)].sum()
    expected += chances[out == abs(wins - losses)].sum() / 2
    assert mid == pytest.approx(expected if total else 1.0)


def test_mcnemar_of_a_worked_example() -> None:
    """Fagerland et al. 2013, table 1: 1 and 7 discordant pairs of 21."""
    exact, mid = paired.mcnemar_p(1, 7)
    assert exact == pytest.approx(0.0703, abs=5e-5)
    assert mid == pytest.approx(0.0391, abs=5e-5)


@given(st.lists(st.integers(-1, 1), min_size=1, max_size=paired.ALL_FLIPS))
def test_units_of_one_tile_make_it_mcnemar_s_test(won: list[int]) -> None:
    expected = paired.mcnemar_p(won.count(1), won.count(-1)).mid
    assert paired.flip_p(np.array(won, float)) == pytest.approx(expected)


def test_all_signs_are_looked_at_where_units_are_few_and_drawn_where_many() -> None:
    few = np.array([5.0, 3, 4, -1, 2])
    sums = [abs(np.dot(signs, few)) for signs in itertools.product((-1, 1), repeat=5)]
    expected = np.mean(np.array(sums) > 13) + np.mean(np.array(sums) == 13) / 2
    assert paired.flip_p(few) == expected
    many = np.r_[np.ones(40), -np.ones(20)]
    assert paired.flip_p(many) == pytest.approx(paired.mcnemar_p(40, 20).mid, abs=0.004)


def test_tiles_of_a_place_that_fare_alike_are_no_evidence() -> None:
    """60 tiles won and 20 lost would be clear; in four places of 20 tiles they are nothing."""
    actual = np.zeros(80, np.int64)
    first, second = np.repeat([0, 0, 0, 1], 20), np.repeat([1, 1, 1, 0], 20)
    alone = paired.compare(actual, first, second)
    places = paired.compare(actual, first, second, np.repeat(np.arange(4), 20))
    assert alone.p < 1e-5
    assert paired.differs(alone, alone.p)
    assert places.units == 4
    assert places.p > 0.3
    assert not places.accuracy.is_clear
    assert places.mcnemar == alone.mcnemar


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([None, 7, 30]))
def test_swapping_the_two_swaps_the_signs(seed: int, places: int | None) -> None:
    actual, first, second = _labels(seed)
    units = None if places is None else np.arange(120) % places
    one = paired.compare(actual, first, second, units, resamples=200)
    other = paired.compare(actual, second, first, units, resamples=200)
    for ours, theirs in ((one.accuracy, other.accuracy), (one.macro_f1, other.macro_f1)):
        assert ours.value == -theirs.value
        assert ours.low == pytest.approx(-theirs.high, abs=1e-12)
        assert ours.high == pytest.approx(-theirs.low, abs=1e-12)
    assert one.p == other.p
    assert (one.first_alone, one.both) == (other.second_alone, other.both)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_values_are_those_of_scikit_learn(seed: int) -> None:
    actual, first, second = _labels(seed)
    found = paired.compare(actual, first, second, resamples=50)
    labels = np.unique(actual)
    expected = [
        f1_score(actual, answer, labels=labels, average="macro") for answer in (first, second)
    ]
    assert found.macro_f1.value == pytest.approx(expected[0] - expected[1], abs=1e-12)
    assert found.accuracy.value == pytest.approx(
        (first == actual).mean() - (second == actual).mean(), abs=1e-12
    )
    assert found.both + found.first_alone + found.second_alone + found.neither == found.tiles == 120


def test_units_of_one_tile_give_the_interval_of_tiles_alone() -> None:
    actual, first, second = _labels(3)
    alone = paired.compare(actual, first, second)
    named = paired.compare(actual, first, second, np.random.default_rng(0).permutation(120))
    assert named == alone
    # Against tiles drawn one by one.
    random = np.random.default_rng(1)
    won = (first == actual).astype(int) - (second == actual)
    means = won[random.integers(0, 120, (4000, 120))].mean(axis=1)
    expected = np.quantile(means, paired.levels(120))
    np.testing.assert_allclose(alone.accuracy[1:], expected, atol=0.012)


@pytest.mark.parametrize(("places", "each"), [(10, 30), (80, 1)])
def test_the_interval_holds_the_truth_as_often_as_it_says(places: int, each: int) -> None:
    """Places differ in how much better the first is, by 0.1 in the mean."""
    random = np.random.default_rng(0)
    units = np.repeat(np.arange(places), each)
    actual = np.zeros(len(units), np.int64)
    held = 0
    for _ in range(300):
        chance = np.clip(random.normal(0.8, 0.1, places), 0, 1)[units]
        first = (random.random(len(units)) > chance).astype(np.int64)
        second = (random.random(len(units)) > chance - 0.1).astype(np.int64)
        found = paired.compare(actual, first, second, units, resamples=400).accuracy
        held += found.low <= 0.1 <= found.high
    assert 0.91 <= held / 300 <= 0.99


@pytest.mark.parametrize("units", [None, 8, 60])
def test_two_that_are_alike_seldom_differ(units: int | None) -> None:
    random = np.random.default_rng(5)
    found = 0
    for _ in range(300):
        actual = np.zeros(240, np.int64)
        hard = np.repeat(random.random(units or 240), 240 // (units or 240))
        answers = (random.random((2, 240)) < 0.4 * hard).astype(np.int64)
        codes = None if units is None else np.arange(240) // (240 // units)
        pair = paired.compare(actual, answers[0], answers[1], codes, resamples=200)
        found += paired.differs(pair, pair.p)
    assert found / 300 <= 0.075


def test_holm_by_hand() -> None:
    assert paired.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert paired.holm([0.9, 0.8]) == [1.0, 1.0]
    assert paired.holm([]) == []


def _pair(difference: Difference, p: float) -> Paired:
    other, mcnemar = Difference(0.0, 0.0, 0.0), paired.McNemar(p, p)
    return Paired(100, 100, 0, 0, 0, 0, difference, other, mcnemar, p)


@pytest.mark.parametrize(
    ("difference", "p", "sentence"),
    [
        (
            Difference(0.069, 0.051, 0.087), 0.0001,
            "vgg is better than mlp by 6.9 points of accuracy, "
            "95 % interval 5.1 to 8.7, p < 0.001.",
        ),
        (
            Difference(-0.069, -0.087, -0.051), 0.03,
            "mlp is better than vgg by 6.9 points of accuracy, "
            "95 % interval 5.1 to 8.7, p = 0.030.",
        ),
        (
            Difference(0.01, -0.004, 0.02), 0.2,
            "No difference beyond chance between vgg and mlp: +1.0 points of accuracy, "
            "95 % interval -0.4 to 2.0, p = 0.20.",
        ),
        (
            Difference(0.2, math.nan, math.nan), 0.5,
            "No difference beyond chance between vgg and mlp: +20.0 points of accuracy, p = 0.50.",
        ),
        (
            Difference(0.01, 0.001, 0.02), 0.06,
            "No difference beyond chance between vgg and mlp: +1.0 points of accuracy, "
            "95 % interval 0.1 to 2.0, p = 0.060.",
        ),
    ],
)  # fmt: skip
def test_a_verdict_says_who_is_better_and_by_how_much(
    difference: Difference, p: float, sentence: str
) -> None:
    assert paired.verdict("vgg", "mlp", _pair(difference, p), p) == sentence


def test_one_place_alone_says_nothing() -> None:
    found = paired.compare(*_labels(0), np.zeros(120, np.int64))
    assert math.isnan(found.accuracy.low)
    assert found.p == 0.5


def test_answers_that_agree_everywhere_are_no_difference() -> None:
    actual, first, _ = _labels(1)
    found = paired.compare(actual, first, first)
    assert found.accuracy == (0.0, 0.0, 0.0)
    assert found.p == 1.0


@pytest.mark.parametrize("lengths", [(3, 3, 2), (0, 0, 0)])
def test_answers_of_other_tiles_are_refused(lengths: tuple[int, ...]) -> None:
    arrays: list[Any] = [np.zeros(length, np.int64) for length in lengths]
    with pytest.raises(ClassError, match="two predictions of each"):
        paired.compare(*arrays)


def test_so_few_places_that_nothing_could_be_clear_are_told() -> None:
    actual = np.zeros(80, np.int64)
    found = paired.compare(actual, actual, actual + 1, np.repeat(np.arange(4), 20))
    told = "4 places are too few to tell between a and b: +100.0 points of accuracy, 95 %"
    assert paired.verdict("a", "b", found, found.p).startswith(told)
    found = paired.compare(actual, actual, actual + 1, np.repeat(np.arange(5), 16))
    assert paired.verdict("a", "b", found, found.p).startswith("a is better than b by 100.0")
