"""What all tasks share: optimizer, schedule, averaged weights, and exact sums over ranks."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from pipeline import optimization
from pipeline.augment import entropy
from pipeline.data import Batch
from pipeline.errors import TrainingError
from pipeline.network import Network

if TYPE_CHECKING:
    from pipeline.schema import Optimizer, Schedule


class Average:
    """A running average of all weights and buffers of a network.

    Polyak averaging with an exponential window; in the first steps the window is as long as what
    there is to average, after the usual rule min(keep, (1 + n) / (10 + n)).
    """

    def __init__(self, network: nn.Module, keep: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.keep = keep
        self.updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network's present state."""
        self.updates += 1
        keep = min(self.keep, (1 + self.updates) / (10 + self.updates))
        mine, theirs = self.network.state_dict().values(), network.state_dict().values()
        for old, new in zip(mine, theirs, strict=True):
            if old.is_floating_point():
                old.lerp_(new, 1 - keep)
            else:
                old.copy_(new)  # counters have no average


class Sums:
    """Sums over tiles, exact over any slicing: here of the loss alone."""

    def __init__(self, device: torch.device) -> None:
        # Plain tensors: as buffers of the module, DDP would overwrite them with those of rank 0.
        self.loss = torch.zeros(2, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, loss: Tensor, weight: Tensor, outputs: Tensor, labels: Tensor) -> None:
        """Take in a batch: its mean loss, the sum of its tiles' weights, and what came out."""
        # No number leaves the device here, so a GPU need not wait for the next batch.
        self.loss += torch.stack([loss.detach().double() * weight, weight.double()])

    def mean(self, trainer: pl.Trainer) -> float:
        """Mean loss over all ranks."""
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


class Learner(pl.LightningModule):
    """Training with exact validation measures at the end of each epoch.

    A task says what the loss of a batch is, what each tile weighs in it, and what is summed.

    Args:
        network: From raw pixels.
        optimizer: Which, and how fast.
        schedule: The learning rate over time.
        epochs: Length of the training.
        epoch_steps: Steps of an epoch.
        seed: Of what layers draw, such as dropout.
        average: Share of the running average of weights kept a step; 0 for none.
    """

    def __init__(
        self,
        network: Network,
        *,
        optimizer: Optimizer,
        schedule: Schedule,
        epochs: int,
        epoch_steps: int,
        seed: int = 0,
        average: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.schedule = schedule
        self.total_steps = epochs * epoch_steps
        self.epoch_steps = epoch_steps
        self.seed = seed
        self.average = Average(network, average) if average else None
        self.averaged = self.average.network if self.average else None

    def loss_of(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean loss of a batch."""
        raise NotImplementedError

    def weight_of(self, batch: Batch) -> Tensor:
        """Weight of a batch in the mean over all tiles."""
        raise NotImplementedError

    def sums(self) -> Sums:
        """An empty sheet to count on."""
        return Sums(self.device)

    @property
    def final(self) -> Network:
        """The network to measure and to keep: the averaged one if there is one."""
        network = self.averaged or self.network
        assert isinstance(network, Network)
        return network

    def configure_optimizers(self) -> Any:
        """The optimizer, its rate set anew before every step."""
        optimizer = optimization.optimizer(self.network, self.optimizer)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _rate(self, step: int) -> float:
        return optimization.rate(
            self.schedule, step, total=self.total_steps, epoch_steps=self.epoch_steps
        )

    def on_train_epoch_start(self) -> None:
        """Begin to count; what layers draw depends on seed, epoch and rank alone."""
        torch.manual_seed(entropy(self.seed, self.current_epoch, self.global_rank))
        self.training_sums = self.sums()

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of a rank's part, so weighed that the mean over ranks is the global mean."""
        outputs = self.network(batch.pixels).float()
        loss = self.loss_of(outputs, batch)
        self.training_sums.add(loss, self.weight_of(batch), outputs, batch.labels)
        return loss * batch.share

    def on_train_batch_end(self, *_: Any) -> None:
        """Average the weights of this step in."""
        if self.average is not None:
            self.average.update(self.network)

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self.validation_sums = self.sums()

    def validation_step(self, batch: Batch, _: int) -> None:
        """Count in float32, whatever the training's precision."""
        with torch.autocast(self.device.type, enabled=False):
            outputs = self.final(batch.pixels)
        loss = self.loss_of(outputs, batch)
        self.validation_sums.add(loss, self.weight_of(batch), outputs, batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Measures over all ranks, the same on each; the epoch's training is over by now, too."""
        trained = self.training_sums.mean(self.trainer)
        if not math.isfinite(trained):
            raise TrainingError(
                f"Expected a finite training loss, got {trained} in epoch "
                f"{self.current_epoch + 1}; lower optimizer.lr, now {self.optimizer.lr:g}."
            )
        found = self.validation_sums.measures(self.trainer)
        values = {f"validation_{name}": value for name, value in found.items()}
        loss = self.validation_sums.mean(self.trainer)
        values |= {"train_loss": trained, "validation_loss": loss}
        done = self.trainer.global_step
        values["learning_rate"] = self.optimizer.lr * self._rate(done - 1)
        # float64 would be cut to float32 on the way; the measures keep their digits.
        self.log_dict(
            {key: torch.tensor(value, dtype=torch.float64) for key, value in values.items()}
        )
