"""The best epoch is kept, whatever becomes of files."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.tasks.classifier import Classifier
from pipeline.tasks.keeping import Best
from tests.test_classifier import classifier

NAN = math.nan


def seen(measure: str, epochs: list[tuple[float, float]], zero: bool = True) -> Best:
    """After epochs of such accuracies and losses; every weight of each is its number."""
    best, task = Best(measure), classifier()
    for epoch, found in enumerate(epochs):
        fill(task, epoch + 1)
        told = dict(zip(("validation_accuracy", "validation_loss"), found, strict=True))
        metrics = {key: torch.tensor(value, dtype=torch.float64) for key, value in told.items()}
        trainer: Any = SimpleNamespace(
            callback_metrics=metrics, current_epoch=epoch, is_global_zero=zero
        )
        best.on_validation_end(trainer, task)
    return best


def fill(task: Classifier, value: float) -> None:
    with torch.no_grad():
        for parameter in task.network.parameters():
            parameter.fill_(value)


@pytest.mark.parametrize(
    ("measure", "epochs", "expected"),
    [
        ("validation_accuracy", [(0.5, 1.0), (0.9, 2.0), (0.8, 0.5)], 2),
        ("validation_loss", [(0.5, 1.0), (0.9, 2.0), (0.8, 0.5), (0.9, 0.6)], 3),
        ("validation_accuracy", [(0.9, 2.0), (0.9, 1.0), (0.9, 1.5)], 2),  # a tie
        ("validation_loss", [(0.5, NAN), (0.5, 3.0), (0.5, NAN)], 2),
    ],
)
def test_the_best_epoch_s_weights_stay(
    measure: str, epochs: list[tuple[float, float]], expected: int
) -> None:
    best = seen(measure, epochs)
    accuracy, loss = epochs[expected - 1]
    assert (best.epoch, best.accuracy) == (expected, accuracy)
    score = accuracy if measure == "validation_accuracy" else loss
    assert best.score == score
    assert set(best.weights["conv1.bias"].tolist()) == {expected}


def test_an_epoch_without_a_number_is_not_kept() -> None:
    best = seen("validation_loss", [(0.5, NAN)])
    assert (best.epoch, best.weights) == (0, {})


def test_what_is_kept_goes_on_with_the_training() -> None:
    before, after = seen("validation_loss", [(0.5, 0.7), (0.6, 0.8)]), Best("validation_loss")
    after.load_state_dict(before.state_dict())
    assert (after.epoch, after.score, after.accuracy) == (1, 0.7, 0.5)
    assert set(after.weights["head.bias"].tolist()) == {1}


def test_other_ranks_keep_no_weights() -> None:
    best = seen("validation_loss", [(0.5, 0.7)], zero=False)
    assert (best.epoch, best.weights) == (1, {})
