"""Training a network to tell the class of a tile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from pipeline import metrics
from pipeline.data import Batch
from pipeline.network import Network
from pipeline.tasks.learner import Learner
from pipeline.tasks.sums import Sums, total_of

if TYPE_CHECKING:
    from pipeline.schema import FocalSection, LossSection

TINY = torch.finfo(torch.float32).tiny  # in place of 0, by which nothing can be divided
MEASURES = {
    "accuracy": metrics.accuracy,
    "balanced_accuracy": metrics.balanced_accuracy,
    "macro_f1": metrics.macro_f1,
}


class Counts(Sums):
    """The loss, and the confusion counts."""

    def __init__(self, classes: int, device: torch.device) -> None:
        super().__init__(device)
        self.cells = torch.zeros(classes * classes, dtype=torch.int64, device=device)
        self.classes = classes
        self._outputs: list[Tensor] = []
        self._labels: list[Tensor] = []

    def add(self, loss: Tensor, weight: Tensor | float, outputs: Tensor, labels: Tensor) -> None:
        """Take in a batch: its mean loss, the sum of its tiles' weights, logits and labels."""
        self._outputs.append(outputs.detach())
        self._labels.append(labels)
        super().add(loss, weight, outputs, labels)

    def settle(self) -> None:
        """Sum up what was taken in."""
        super().settle()
        self._count()

    @torch.no_grad()
    def _count(self) -> None:
        if self._labels:
            cells = torch.cat(self._labels) * self.classes + torch.cat(self._outputs).argmax(dim=1)
            self.cells += torch.bincount(cells, minlength=self.classes**2)
            self._outputs.clear()
            self._labels.clear()

    def state(self) -> dict[str, Tensor]:
        """What was taken in, for a training that goes on."""
        self._count()
        return {**super().state(), "cells": self.cells}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from there."""
        super().load(state)
        self.cells = state["cells"].to(self.cells.device)

    def confusion(self, trainer: pl.Trainer) -> metrics.Counts:
        """Counts (K, K) over all ranks, rows true, columns predicted."""
        self.settle()
        counts: metrics.Counts = total_of(trainer, self.cells).cpu().numpy()
        return counts.reshape(self.classes, self.classes)

    def measures(self, trainer: pl.Trainer) -> dict[str, float]:
        """Those of ``MEASURES``."""
        counts = self.confusion(trainer)
        return {name: float(measure(counts)) for name, measure in MEASURES.items()}


class Classifier(Learner):
    """Cross-entropy or focal training of a network that gives logits.

    Args:
        network: Raw pixels to logits.
        weights: (K,) of each class in the loss.
        loss: Smoothing, and the focus.
        options: What every ``Learner`` takes.
    """

    def __init__(
        self,
        network: Network,
        *,
        weights: NDArray[np.float64],
        loss: LossSection | FocalSection,
        **options: Any,
    ) -> None:
        super().__init__(network, **options)
        self.smoothing = loss.label_smoothing
        self.gamma = loss.gamma if loss.name == "focal" else 0.0
        self.positive = bool((weights > 0).all())
        self.register_buffer("weights", torch.as_tensor(weights, dtype=torch.float32), False)
        # What all tiles weigh, if they weigh the same.
        self.each = float(weights[0]) if (weights == weights[0]).all() else None

    @property
    def guessing(self) -> float:
        """Loss of a network that gives all classes the same probability."""
        return math.log(len(self.network.classes))

    def sums(self) -> Counts:
        """Count loss and confusion."""
        return Counts(len(self.network.classes), self.device)

    def loss_of(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy or focal loss, a mean weighted by class."""
        if self.positive and not self.gamma and batch.mixture is None:
            return self._entropy(outputs, batch.labels, "mean")
        losses = self._losses(outputs, batch.labels)
        if batch.mixture is not None:
            others = self._losses(outputs, batch.mixture.labels)
            losses = torch.lerp(others, losses, batch.mixture.shares)
        return losses.sum() / self.weight_of(batch)

    def _losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Loss of each tile (n,), times the weight of its class.

        Focal loss (Lin et al. 2017) is (1 - p)^gamma x cross-entropy, with p of the true class.
        """
        losses = self._entropy(outputs, labels, "none")
        if not self.gamma:
            return losses
        told = log_softmax(outputs, dim=1).gather(1, labels[:, None])[:, 0]
        # At p = 1 a root, gamma below 1, has no slope.
        return losses * (-told.expm1()).clamp_min(TINY) ** self.gamma

    def _entropy(self, outputs: Tensor, labels: Tensor, reduction: str) -> Tensor:
        weights = self.get_buffer("weights") if self.each is None or reduction == "none" else None
        return cross_entropy(
            outputs, labels, weights, label_smoothing=self.smoothing, reduction=reduction
        )

    def weight_of(self, batch: Batch) -> Tensor | float:
        """Sum of the weights of the tiles' classes."""
        if self.each is not None:
            return self.each * batch.labels.shape[0]
        weights = self.get_buffer("weights")
        weight = weights[batch.labels]
        if batch.mixture is not None:
            weight = torch.lerp(weights[batch.mixture.labels], weight, batch.mixture.shares)
        return weight.sum().clamp_min(TINY)
