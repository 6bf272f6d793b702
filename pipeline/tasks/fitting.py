"""One training: from what was asked for to the weights of the best epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray

from pipeline.console import say, warn
from pipeline.data import TileData
from pipeline.errors import TrainingError
from pipeline.network import Network, build
from pipeline.optimization import class_weights
from pipeline.order import steps
from pipeline.selection import factors, freeze
from pipeline.stopping import Stopped, Stopper
from pipeline.tasks import trainer as trainers
from pipeline.tasks.classifier import Classifier
from pipeline.tasks.curves import Curves
from pipeline.tasks.divergence import remedy
from pipeline.tasks.keeping import Best
from pipeline.tasks.learner import Learner
from pipeline.tasks.reconstructor import Reconstructor
from pipeline.tasks.resuming import Resumable, going_on
from pipeline.tasks.throughput import Throughput
from pipeline.transfer import transfer
from pipeline.whitening import whiten

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from pipeline.schema import (
        AugmentSection,
        DataSection,
        EngineSection,
        InitSection,
        Loss,
        ModelSection,
        Optimizer,
        Schedule,
        TrackingSection,
        TrainerSection,
        TrainSection,
    )
    from pipeline.store import Store

# The sections that decide what comes out; the others say where it happens.
DECIDING = ("model", "init", "augment", "optimizer", "schedule", "loss", "train")
LOST = 10  # times the loss of guessing: what learned anything is far below


@dataclass(frozen=True)
class Plan:
    """What a training was asked for: the sections of params.yaml that it takes."""

    model: ModelSection
    init: InitSection
    augment: AugmentSection
    optimizer: Optimizer
    schedule: Schedule
    loss: Loss
    train: TrainSection
    trainer: TrainerSection
    engine: EngineSection
    data: DataSection
    tracking: TrackingSection

    def params(self) -> dict[str, Any]:
        """The deciding sections, as they go into a bundle."""
        return {name: getattr(self, name).model_dump(mode="json") for name in DECIDING}


class Learning(NamedTuple):
    """A network that is about to learn."""

    network: Network
    weights: NDArray[np.float64]  # (K,) of each class in the loss
    taken: dict[str, Any] | None  # from a donor: ``Transfer.facts``
    lines: list[str]  # what to tell of it


class Kept(NamedTuple):
    """A network with the weights of its best epoch."""

    network: Network
    epoch: int  # from 1
    measure: str  # that it was the best by
    score: float
    accuracy: float  # on the validation tiles; nan where there are no classes

    def sentence(self) -> str:
        """What to tell of it, without a full stop."""
        return f"Kept epoch {self.epoch}, {self.measure} {self.score:.4f}"


def prepare(plan: Plan, store: Store, donor: Network | None) -> Learning:
    """Build the network of a plan, take over what the donor has, and freeze what is to stay.

    Raises:
        PipelineError: Something that was asked for does not fit the network or the tiles.
    """
    weights = class_weights(plan.loss, store.classes, store.counts["train"])
    network = build(
        plan.model.layers,
        bands=store.bands,
        classes=store.classes,
        tile_size=store.tile_size,
        mean=store.mean.tolist(),
        std=store.std.tolist(),
        init=plan.init,
        task=plan.model.task,
        seed=plan.train.seed,
    )
    whiten(network, store)
    taken, lines = None, []
    if donor is not None:
        moved = transfer(network, donor, plan.train.init_bands)
        taken, lines = moved.facts(), moved.lines()
    if frozen := freeze(network, plan.train.freeze):
        lines.append(f"Frozen: {', '.join(frozen)}.")
        if donor is None:
            lines.append("They stay as they were drawn: train.init_from names no donor.")
    dict(factors(network, plan.optimizer.factors or {}))  # tells of a misspelt layer in time
    return Learning(network, weights, taken, lines)


class Fitting:
    """A training that is ready to begin, or to go on.

    Args:
        plan: What was asked for.
        learning: The network.
        store: The tiles.
        folder: Of the checkpoints, which is there.
        stopper: Ends the training early.
        curves: Where the table of the epochs goes.
        logger: Takes the numbers of each epoch.
        callbacks: Lightning's, beside our own.
    """

    def __init__(
        self,
        plan: Plan,
        learning: Learning,
        store: Store,
        folder: Path,
        *,
        stopper: Stopper,
        curves: Path,
        logger: Logger,
        callbacks: Sequence[pl.Callback] = (),
    ) -> None:
        measure = f"validation_{plan.train.monitor}"
        self.folder, self.stopper = folder, stopper
        self.best = Best(measure)
        self.trainer = trainers.make(
            plan.trainer,
            plan.engine,
            logger=logger,
            callbacks=[
                trainers.Interruptible(stopper),
                Throughput(store.count("train")),
                Curves(curves),
                self.best,
                Resumable(folder, stopper),
                *callbacks,
                *trainers.early_stopping(measure, plan.train.patience),
            ],
        )
        self.tiles = TileData(
            store,
            train=plan.train,
            augment=plan.augment,
            weights=learning.weights,
            feed=plan.data,
        )
        told = trainers.own_statistics(learning.network, self.trainer)
        if told and self.trainer.is_global_zero:
            say(told)
        batch_size = plan.train.batch_size * plan.train.accumulate
        epoch_steps = steps(store.count("train"), batch_size, self.trainer.world_size)
        epochs = max(plan.train.epochs, math.ceil(plan.train.min_steps / epoch_steps))
        self.trainer.fit_loop.max_epochs = epochs
        self.task = task_of(plan, learning, epochs, epoch_steps)
        self.tiles.done = lambda: self.task.done
        if self.trainer.world_size == 1:  # several must stop after the same step
            self.task.asked_to_stop = stopper.asked
        device = self.trainer.strategy.root_device
        trainers.compile_network(learning.network, plan.engine, device)

    def run(self) -> Kept | None:
        """Train; the best epoch's network on rank zero, None on the others."""
        with going_on(self.folder, self.trainer) as begun:
            try:
                # Our own file, of a process of ours, and whole: what it unpickles is what we wrote.
                self.trainer.fit(
                    self.task, datamodule=self.tiles, ckpt_path=begun, weights_only=False
                )
            except SystemExit as stop:  # what Lightning makes of Ctrl-C
                raise (self.stopper.reason or Stopped()) from stop
            finally:
                self.stopper.polite = False
            self.stopper.check()
        return self._kept() if self.trainer.is_global_zero else None

    def _kept(self) -> Kept:
        best = self.best
        if not best.epoch:
            raise TrainingError(
                f"Expected an epoch with a number for {best.measure}, got nan in each; set "
                "train.monitor to another measure."
            )
        if best.loss > LOST * self.task.guessing:
            warn(
                f"the epoch that is kept has a validation loss of {best.loss:.3g}, where guessing "
                f"has {self.task.guessing:.3g}: training diverged. "
                f"{remedy(self.task.optimizer.lr, self.task.clip)}"
            )
        self.task.final.load_state_dict(best.weights)
        return Kept(self.task.final, best.epoch, best.measure, best.score, best.accuracy)


def task_of(plan: Plan, learning: Learning, epochs: int, epoch_steps: int) -> Learner:
    """What the network is to learn."""
    options = task_options(plan, epochs, epoch_steps)
    if plan.loss.name == "squared_error":
        return Reconstructor(learning.network, **options)
    return Classifier(learning.network, weights=learning.weights, loss=plan.loss, **options)


def task_options(plan: Plan, epochs: int, epoch_steps: int) -> dict[str, Any]:
    """What every task takes beside the network."""
    return {
        "optimizer": plan.optimizer,
        "schedule": plan.schedule,
        "epochs": epochs,
        "epoch_steps": epoch_steps,
        "seed": plan.train.seed,
        "average": plan.train.average,
        "swa": plan.train.swa,
        "accumulate": plan.train.accumulate,
        "clip": plan.train.clip,
    }
