from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as reference

from pipeline import metrics
from pipeline.errors import ClassError
from pipeline.types import Classes

CLASSES = Classes(("trees", "grassland", "water"))
# Worked by hand below: 20 tiles, 14 found.
HAND = np.array([[8, 1, 1], [2, 3, 0], [1, 1, 3]])


@pytest.fixture(scope="module")
def labels() -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(3)
    actual = rng.integers(0, 7, 900)
    predicted = np.where(rng.random(900) < 0.7, actual, rng.integers(0, 7, 900))
    return actual, predicted


def test_confusion_has_true_rows_and_predicted_columns() -> None:
    counts = metrics.confusion(np.array([0, 0, 2, 2]), np.array([0, 1, 2, 0]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 1]]
    assert counts.dtype == np.int64


@pytest.mark.parametrize("bad", [[0, 3], [-1, 0]])
def test_confusion_refuses_labels_out_of_range(bad: list[int]) -> None:
    with pytest.raises(ClassError, match="from 0 to 2"):
        metrics.confusion(np.array(bad), np.array([0, 0]), 3)
    with pytest.raises(ClassError, match="from 0 to 2"):
        metrics.confusion(np.array([0, 0]), np.array(bad), 3)


def test_confusion_refuses_lengths_that_differ() -> None:
    with pytest.raises(ClassError, match=r"\(3,\) for \(2,\)"):
        metrics.confusion(np.array([0, 1]), np.array([0, 1, 1]), 3)


def test_measures_equal_scikit_learn(labels: tuple[NDArray[Any], NDArray[Any]]) -> None:
    actual, predicted = labels
    counts = metrics.confusion(actual, predicted, 7)
    assert np.array_equal(counts, reference.confusion_matrix(actual, predicted))
    assert metrics.accuracy(counts) == pytest.approx(reference.accuracy_score(actual, predicted))
    assert metrics.kappa(counts) == pytest.approx(reference.cohen_kappa_score(actual, predicted))
    balanced = reference.balanced_accuracy_score(actual, predicted)
    assert metrics.balanced_accuracy(counts) == pytest.approx(balanced)
    macro = reference.f1_score(actual, predicted, average="macro")
    assert metrics.macro_f1(counts) == pytest.approx(macro)
    table = reference.precision_recall_fscore_support(actual, predicted)
    ours = (metrics.precision, metrics.recall, metrics.f1, metrics.support)
    for mine, theirs in zip(ours, table, strict=True):
        np.testing.assert_allclose(mine(counts), theirs)


def test_measures_by_hand() -> None:
    assert metrics.accuracy(HAND) == 14 / 20
    assert metrics.recall(HAND).tolist() == [0.8, 0.6, 0.6]
    assert metrics.precision(HAND) == pytest.approx([8 / 11, 3 / 5, 3 / 4])
    assert metrics.f1(HAND) == pytest.approx([16 / 21, 6 / 10, 6 / 9])
    chance = (11 * 10 + 5 * 5 + 4 * 5) / 400
    assert metrics.kappa(HAND) == pytest.approx((0.7 - chance) / (1 - chance))


def test_class_without_tiles_is_left_out_of_the_means_and_null_in_the_file() -> None:
    counts = np.array([[4, 0, 1], [0, 5, 0], [0, 0, 0]])
    assert metrics.balanced_accuracy(counts) == pytest.approx((0.8 + 1.0) / 2)
    assert metrics.macro_f1(counts) == pytest.approx((8 / 9 + 1.0) / 2)
    water = metrics.summarize(counts, CLASSES)["per_class"]["water"]
    assert water == {"recall": None, "precision": 0.0, "f1": None, "support": 0}


def test_class_never_predicted_has_no_precision_but_an_f1_of_zero() -> None:
    trees = metrics.summarize(np.array([[0, 5, 0], [0, 5, 0], [0, 0, 5]]), CLASSES)
    assert trees["per_class"]["trees"] == {"recall": 0, "precision": None, "f1": 0, "support": 5}


def test_kappa_is_undefined_when_chance_agrees_everywhere() -> None:
    assert math.isnan(metrics.kappa(np.array([[5, 0], [0, 0]])))
    assert metrics.kappa(np.array([[25, 25], [25, 25]])) == 0.0
    assert metrics.kappa(np.array([[0, 5], [5, 0]])) == -1.0


def test_wilson_interval_by_hand() -> None:
    # Agresti & Coull (1998) remark that at 0 of n the interval ends at z^2 / (n + z^2).
    assert metrics.wilson(0, 10, z=2.0) == pytest.approx([0.0, 4 / 14])
    assert metrics.wilson(81, 100) == pytest.approx([0.7222, 0.8749], abs=1e-4)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=100, deadline=None)
def test_wilson_interval_holds_its_proportion(pair: tuple[int, int]) -> None:
    hits, total = pair
    low, high = metrics.wilson(hits, total)
    assert 0.0 <= low <= hits / total <= high <= 1.0


def test_nll_equals_scikit_learn_and_survives_underflow() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 200)
    actual = rng.integers(0, 4, 200)
    expected = reference.log_loss(actual, probabilities, labels=range(4))
    assert metrics.nll(probabilities, actual) == pytest.approx(expected)
    lost = metrics.nll(np.array([[1.0, 0.0]], dtype=np.float32), np.array([1]))
    assert 87 < lost < 88


def test_ece_by_hand() -> None:
    # Two tiles at 0.9, one right: a gap of 0.4; two at 0.6, both right: a gap of 0.4.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert metrics.ece(probabilities, np.array([0, 1, 0, 0]), bins=10) == pytest.approx(0.4)
    # In one bin the gaps cancel: mean confidence 0.75, accuracy 0.75.
    assert metrics.ece(probabilities, np.array([0, 1, 0, 0]), bins=1) == pytest.approx(0.0)


def test_ece_bins_are_closed_at_their_upper_end() -> None:
    # 0.5 falls in (0, 0.5] and 0.75 in (0.5, 1]: gaps 0.5 and -0.75, which one bin would cancel.
    probabilities = np.array([[0.5, 0.5], [0.75, 0.25]])
    assert metrics.ece(probabilities, np.array([0, 1]), bins=2) == pytest.approx(1.25 / 2)


def test_summary_adds_up_over_slices(labels: tuple[NDArray[Any], NDArray[Any]]) -> None:
    actual, predicted = labels
    parts = [metrics.confusion(actual[i::3], predicted[i::3], 7) for i in range(3)]
    classes = Classes(tuple("abcdefg"))
    whole = metrics.summarize(metrics.confusion(actual, predicted, 7), classes)
    assert metrics.summarize(parts[0] + parts[1] + parts[2], classes) == whole
    assert whole["n"] == 900
    assert whole["accuracy_ci95"][0] < whole["accuracy"] < whole["accuracy_ci95"][1]


def test_weakest_names_class_and_confusion() -> None:
    found = metrics.weakest(HAND, CLASSES)
    assert found == metrics.Weakest("grassland", 0.6, 5, "trees", 2)
    assert found.sentence() == (
        "Weakest class: grassland (60.0% of its 5 tiles found), "
        "most often mistaken for trees (2 tiles)."
    )


def test_weakest_prefers_more_tiles_and_skips_empty_classes() -> None:
    assert metrics.weakest(np.array([[1, 1, 0], [0, 0, 0], [2, 0, 2]]), CLASSES).name == "water"


def test_weakest_of_a_perfect_network_is_mistaken_for_nothing() -> None:
    found = metrics.weakest(np.diag([3, 4, 5]), CLASSES)
    assert (found.mistaken_for, found.count) == (None, 0)
    assert "No class" in found.sentence()
    with pytest.raises(ClassError, match="none"):
        metrics.weakest(np.zeros((3, 3), dtype=np.int64), CLASSES)


def test_percent_says_all_and_none_only_of_all_and_none() -> None:
    shown = [metrics.percent(k, 10_000) for k in (0, 1, 5, 5000, 9994, 9999, 10_000)]
    assert shown == ["0.0%", "<0.1%", "0.1%", "50.0%", "99.9%", ">99.9%", "100.0%"]
    assert metrics.percent(0, 0) == "\N{EN DASH}"
