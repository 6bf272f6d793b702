from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from pipeline.evidence import Evidence
from pipeline.measuring import Measurement
from pipeline.places import Places
from pipeline.resampling import Resampling
from tests import measured


@pytest.fixture(scope="module")
def whole() -> Evidence:
    return measured.evidence()


@pytest.fixture(scope="module")
def summary(whole: Evidence) -> dict[str, Any]:
    return Measurement.of(whole).summary()


def test_every_measure_equals_scikit_learn(whole: Evidence, summary: dict[str, Any]) -> None:
    actual, found = whole.actual, whole.predicted
    shares = whole.probabilities.astype(np.float64)
    exact = shares / shares.sum(axis=1, keepdims=True)  # it refuses float32's last digit
    one_hot = np.eye(4)[actual]
    expected = {
        "accuracy": reference.accuracy_score(actual, found),
        "balanced_accuracy": reference.balanced_accuracy_score(actual, found),
        "macro_f1": reference.f1_score(actual, found, average="macro"),
        "kappa": reference.cohen_kappa_score(actual, found),
        "matthews": reference.matthews_corrcoef(actual, found),
        "top2_accuracy": reference.top_k_accuracy_score(actual, shares, k=2),
        "nll": reference.log_loss(actual, exact),
        "brier": reference.brier_score_loss(actual, exact, scale_by_half=False),
        "macro_auc": reference.roc_auc_score(one_hot, shares, average="macro"),
        "macro_average_precision": reference.average_precision_score(one_hot, shares),
    }
    assert {name: summary[name] for name in expected} == {
        name: round(value, 6) for name, value in expected.items()
    }


def test_every_interval_holds_its_measure_and_says_what_was_resampled(
    summary: dict[str, Any],
) -> None:
    assert summary["interval"] == {"over": "groups", "places": 40, "draws": 2000, "level": 0.95}
    tables = [summary, *summary["per_class"].values()]
    intervals = [(t[k.removesuffix("_ci95")], t[k]) for t in tables for k in t if "_ci95" in k]
    assert len(intervals) == 12 + 4 * 5
    for value, (low, high) in intervals:
        assert low < value < high


@pytest.mark.parametrize("slices", [1, 2, 5])
@pytest.mark.parametrize("places", [40, 0])
def test_slices_in_any_order_give_the_same_file(slices: int, places: int) -> None:
    whole = measured.evidence(300, places)
    parts = [measured.part(whole, slice(i, None, slices)) for i in range(slices)]
    again = Measurement.of(Evidence.joined(parts[::-1])).summary()
    assert json.dumps(again) == json.dumps(Measurement.of(whole).summary())


def test_what_is_undefined_is_null() -> None:
    some = measured.evidence(60, 10, classes=3)
    none = np.flatnonzero(some.actual != 2)
    part = Evidence(
        tuple(some.ids[i] for i in none),
        some.actual[none],
        some.probabilities[none],
        Places("groups", some.places.names[none]),
        some.classes,
    )
    row = Measurement.of(part).summary()["per_class"]["class 2"]
    assert row == {
        "recall": None, "recall_ci95": None, "precision": 0.0, "precision_ci95": row[
            "precision_ci95"
        ], "f1": None, "f1_ci95": None, "auc": None, "auc_ci95": None,
        "average_precision": None, "average_precision_ci95": None, "support": 0,
    }  # fmt: skip


def test_a_network_without_a_fault_has_no_interval_of_zero_width() -> None:
    some = measured.evidence(100, 20)
    sure = np.eye(4, dtype=np.float32)[some.actual]
    perfect = Measurement.of(
        Evidence(some.ids, some.actual, sure, some.places, some.classes)
    ).summary()
    # Wilson's lower end of 20 of 20 places: 20 / (20 + 1.96^2).
    assert perfect["accuracy_ci95"] == [round(20 / (20 + 1.959964**2), 6), 1.0]
    assert perfect["kappa"] == 1.0
    assert perfect["kappa_ci95"] is None
    assert perfect["macro_auc_ci95"] is None


def test_draws_of_a_measure_are_its_values_on_the_resampled_tiles(whole: Evidence) -> None:
    again = Measurement(whole, Resampling.of(whole.places, draws=3))
    for draw in range(3):
        times = again.again.weights[draw][again.again.unit].astype(int)
        rows = np.repeat(np.arange(600), times)
        expected = reference.confusion_matrix(whole.actual[rows], whole.predicted[rows])
        np.testing.assert_array_equal(again.draws[draw], expected)
        for k in range(4):
            for name, score in (
                ("auc", reference.roc_auc_score),
                ("average_precision", reference.average_precision_score),
            ):
                exact = score(whole.actual[rows] == k, whole.probabilities[rows, k])
                ours = again._of_ladders[name][1][draw, k]
                assert ours == pytest.approx(exact, abs=5e-3), name  # rounded to 256 steps
