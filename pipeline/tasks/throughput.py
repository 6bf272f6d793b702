"""How many tiles a second are trained on: beside the bar, in MLflow, and in a line at the end.

Not in ``curves.csv``, which is a function of the parameters and lies in git.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import (
    BatchesProcessedColumn,
    ProcessingSpeedColumn,
)

from pipeline.console import say
from pipeline.tasks.learner import Learner


class Throughput(pl.Callback):
    """Times training, without what is measured between epochs.

    Args:
        tiles: Of an epoch, on all ranks.
    """

    def __init__(self, tiles: int) -> None:
        self.tiles = tiles
        self.epochs = 0
        self.share = 1.0  # of the present epoch that is trained by this process
        self.trained = 0.0  # tiles
        self.seconds = 0.0  # that they took
        self.began = 0.0
        self.rate = 0.0  # tiles a second in this epoch so far

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to time; of an epoch that was broken off, the rest."""
        assert isinstance(pl_module, Learner)
        self.share = 1 - pl_module.done / pl_module.epoch_steps
        self.began = perf_counter()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Tell the bar how fast it goes."""
        done = (batch_idx + 1) / trainer.num_training_batches
        self.rate = done * self.share * self.tiles / (perf_counter() - self.began)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The epoch's training is over, once the device has done all it was given."""
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        seconds = perf_counter() - self.began
        self.epochs += 1
        self.seconds += seconds
        self.trained += self.share * self.tiles
        self.rate = self.share * self.tiles / seconds

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the epoch's rate."""
        pl_module.log("throughput", self.rate)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what came of it, once however many processes train."""
        if trainer.is_global_zero and self.epochs:
            say(
                f"Trained {self.epochs} {'epoch' if self.epochs == 1 else 'epochs'} of "
                f"{self.tiles:,} tiles in {self.seconds:.1f} s: "
                f"{self.trained / self.seconds:,.0f} tiles/s."
            )


class Bar(RichProgressBar):
    """A bar with tiles a second in place of what Lightning counts, which are chunks of steps."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """What stands beside the bar."""
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        rates = [one.rate for one in callbacks if isinstance(one, Throughput)]
        return {"tiles/s": f"{rates[0]:,.0f}"} if rates else {}

    def configure_columns(self, trainer: pl.Trainer) -> list[Any]:
        """Epoch, bar, time."""
        chunks = (BatchesProcessedColumn, ProcessingSpeedColumn)
        return [one for one in super().configure_columns(trainer) if not isinstance(one, chunks)]
