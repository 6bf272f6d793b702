"""Exact sums over the tiles of an epoch, and over all ranks."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor

TOGETHER = 64  # batches whose sums are made at once


class Sums:
    """Sums over tiles, exact over any slicing: here of the loss alone."""

    def __init__(self, device: torch.device) -> None:
        # Plain tensors: as buffers of the module, DDP would overwrite them with those of rank 0.
        self.loss = torch.zeros(2, dtype=torch.float64, device=device)
        self._losses: list[Tensor] = []
        self._weights: list[Tensor | float] = []

    def add(self, loss: Tensor, weight: Tensor | float, outputs: Tensor, labels: Tensor) -> None:
        """Take in a batch: its mean loss, the sum of its tiles' weights, and what came out."""
        # No number leaves the device here, so a GPU need not wait for the next batch; and the sums
        # of many batches at once cost as much as those of one.
        self._losses.append(loss.detach())
        self._weights.append(weight)
        if len(self._losses) == TOGETHER:
            self.settle()

    @torch.no_grad()
    def settle(self) -> None:
        """Sum up what was taken in."""
        if not self._losses:
            return
        losses, weights = torch.stack(self._losses).double(), self._stacked()
        self.loss += torch.stack([losses @ weights, weights.sum()])
        self._losses.clear()
        self._weights.clear()

    def state(self) -> dict[str, Tensor]:
        """What was taken in, for a training that goes on.

        Batches whose sums are not made yet stay so: a sum of floats hangs on what is added to what.
        """
        losses = torch.stack(self._losses) if self._losses else torch.empty(0)
        return {"loss": self.loss, "losses": losses, "weights": self._stacked()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from there."""
        device = self.loss.device
        self.loss = state["loss"].to(device)
        self._losses = [*state["losses"].to(device)]
        self._weights = [*state["weights"].to(device)]

    def _stacked(self) -> Tensor:
        """Weights (n,) of the batches whose sums are not made yet."""
        device = self.loss.device
        if not any(isinstance(weight, Tensor) for weight in self._weights):
            return torch.tensor(self._weights, dtype=torch.float64, device=device)
        return torch.stack(
            [torch.as_tensor(w, dtype=torch.float64, device=device) for w in self._weights]
        )

    def mean(self, trainer: pl.Trainer) -> float:
        """Mean loss over all ranks."""
        self.settle()
        total, weight = total_of(trainer, self.loss).tolist()
        return total / weight if weight else float("nan")

    def measures(self, trainer: pl.Trainer) -> dict[str, float]:
        """What else there is to measure, by name, over all ranks."""
        return {}


def total_of(trainer: pl.Trainer, values: Tensor) -> Tensor:
    """Sum of a tensor over all ranks."""
    total = trainer.strategy.reduce(values, reduce_op="sum")
    assert isinstance(total, Tensor)
    return total
