"""Training a network to give its tile again, through whatever bottleneck it has."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import mse_loss

from pipeline.data import Batch
from pipeline.tasks.learner import Learner


class Reconstructor(Learner):
    """Squared-error training: the target is the tile as the network's Normalize leaves it.

    The error is the mean over pixels and bands, in which every tile weighs the same; labels are
    not looked at. Of an augmented tile the augmented pixels are the target.
    """

    def loss_of(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean squared error of normalized pixels."""
        mean, deviation = self.network.band_statistics
        return mse_loss(outputs, (batch.pixels - mean) / deviation)

    def weight_of(self, batch: Batch) -> float:
        """Tiles of the batch."""
        return float(batch.pixels.shape[0])
