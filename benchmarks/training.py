"""An epoch on tiles in the device's memory, over a bare PyTorch loop.

Ours is Lightning with the measures of the epoch and the running average of weights; network, batch,
optimizer and tiles are the same, all in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import pytorch_lightning as pl
import torch
import yaml
from torch import nn

from benchmarks.paired import Bar, LeftOut, Ratio, Row, compare
from pipeline.augment import Augment
from pipeline.bundle import as_input
from pipeline.config import compose
from pipeline.config import validate as checked
from pipeline.data import Batch, Batches, Chunks, PlainBatches, TrainingBatches
from pipeline.feeding import Resident, Tiles
from pipeline.network import Network, build
from pipeline.optimization import optimizer
from pipeline.schema import Params
from pipeline.tasks import trainer as trainers
from pipeline.tasks.classifier import Classifier
from pipeline.types import Bands, Classes

CPU = torch.device("cpu")
TILES = {"vgg": 5_000, "lecture": 20_000}  # what a fit takes to begin hardly counts in so many
SAT6 = 324_000  # tiles of SAT-6's training split, for a GPU
BANDS = Bands(("red", "green", "blue", "nir"))
CLASSES = Classes(("building", "barren_land", "trees", "grassland", "road", "water"))
NO_GPU = "torch finds no CUDA device here"
WAYS = (("vgg", "none"), ("lecture", "none"), ("vgg", "default"))


def measure() -> Iterator[Row]:
    """Training throughput of the default model and of the lecture's."""
    for name, augment in WAYS:
        bar = Bar(0.95 if augment == "none" else 0.85)
        yield _measure(name, augment, made_up(TILES[name], CPU), bar)
    for name, augment in WAYS:
        said, bar = f"{_said(name, augment)}, {SAT6:,} tiles on a GPU", Bar(0.9)
        if torch.cuda.is_available():
            yield _measure(name, augment, made_up(SAT6, torch.device("cuda")), bar, said)
        else:
            yield LeftOut(said, bar, NO_GPU)


def _said(name: str, augment: str) -> str:
    return f"training {name}, augmentation {augment}, over a bare loop"


def _measure(name: str, augment: str, tiles: Resident, bar: Bar, said: str | None = None) -> Ratio:
    options = params(name, augment)
    return compare(
        said or _said(name, augment),
        lambda: lightning(options, tiles),
        lambda: bare(options, tiles),
        bar,
        tiles=(len(tiles), len(tiles)),
    )


def params(name: str, augment: str = "none") -> Params:
    """What is composed for a model, in float32."""
    where = ["engine.precision=32", f"model={name}", f"augment={augment}"]
    return checked(yaml.safe_load(compose(where)))


def made_up(count: int, device: torch.device) -> Resident:
    """Tiles of noise on a device."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 28, 28, len(BANDS)), dtype=np.uint8)
    return Resident(pixels, rng.integers(0, len(CLASSES), count), device)


def network(params: Params) -> Network:
    """The network for such tiles."""
    return build(params.model.layers, bands=BANDS, classes=CLASSES, tile_size=28,
                 mean=[127.0] * 4, std=[74.0] * 4)  # fmt: skip


class Beginning:
    """The first batches of an epoch."""

    def __init__(self, batches: Batches, count: int) -> None:
        self.batches = batches
        self.count = count

    def __len__(self) -> int:
        return min(self.count, len(self.batches))

    def __iter__(self) -> Iterator[Batch]:
        return self.after(0)

    def after(self, done: int) -> Iterator[Batch]:
        """The same without so many at the beginning."""
        return islice(self.batches.after(done), self.count - done)


def lightning(params: Params, tiles: Tiles, steps: int | None = None) -> None:
    """Train for an epoch, or for its first steps, as the stage does."""
    size, weights = params.train.batch_size, np.ones(len(CLASSES))
    augment = Augment(params.augment, [127.0] * 4, [74.0] * 4)
    batches: Batches = TrainingBatches(tiles, augment, weights, batch_size=size, seed=0, epoch=0)
    if steps is not None:
        batches = Beginning(batches, steps)
    few = PlainBatches(made_up(8, tiles.device), batch_size=size)  # too few to weigh in the time
    trainer(params, tiles.device).fit(task(params, len(batches)), Chunks(batches), few)


def task(params: Params, epoch_steps: int, epochs: int = 1) -> Classifier:
    """What a network learns, as in the stage."""
    assert params.loss.name == "cross_entropy"
    return Classifier(
        network(params), weights=np.ones(len(CLASSES)), loss=params.loss,
        optimizer=params.optimizer, schedule=params.schedule, epochs=epochs,
        epoch_steps=epoch_steps, average=params.train.average, clip=params.train.clip,
    )  # fmt: skip


def trainer(
    params: Params, device: torch.device, callbacks: Iterable[pl.Callback] = ()
) -> pl.Trainer:
    """Lightning's trainer on a device."""
    kind = "gpu" if device.type == "cuda" else "cpu"
    where = params.trainer.model_copy(update={"accelerator": kind, "devices": 1})
    logger = pl.loggers.logger.DummyLogger()
    return trainers.make(where, params.engine, logger=logger, callbacks=[*callbacks])


def bare(params: Params, tiles: Resident) -> None:
    """The same without anything around it."""
    device = tiles.device
    model = network(params).to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    learner, criterion = optimizer(model, params.optimizer), loss(params)
    labels = tiles.labels.long()
    order = torch.randperm(len(tiles), device=device)
    for rows in torch.split(order, params.train.batch_size):
        loss_of_batch = criterion(model(as_input(tiles.pixels[rows])), labels[rows])
        learner.zero_grad()
        loss_of_batch.backward()
        learner.step()
    if device.type == "cuda":
        torch.cuda.synchronize()


def loss(params: Params) -> nn.CrossEntropyLoss:
    """The loss as plain PyTorch has it."""
    assert params.loss.name == "cross_entropy"
    return nn.CrossEntropyLoss(label_smoothing=params.loss.label_smoothing)
