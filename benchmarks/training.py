"""An epoch with Lightning and everything around it, against a bare PyTorch loop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytorch_lightning as pl
import torch
import yaml
from torch import nn

from benchmarks.paired import Ratio, compare
from pipeline.augment import Augment
from pipeline.bundle import as_input
from pipeline.config import compose
from pipeline.config import validate as checked
from pipeline.data import Chunks, PlainBatches, TrainingBatches
from pipeline.feeding import Resident
from pipeline.network import Network, build
from pipeline.optimization import optimizer
from pipeline.schema import Params
from pipeline.tasks import trainer as trainers
from pipeline.tasks.classifier import Classifier
from pipeline.types import Bands, Classes

TILES = {"vgg": 2_000, "lecture": 10_000}
BANDS = Bands(("red", "green", "blue", "nir"))
CLASSES = Classes(("building", "barren_land", "trees", "grassland", "road", "water"))


def measure() -> list[Ratio]:
    """Training throughput of the default model and of the lecture's."""
    return [
        compare(f"training {name}, augmentation {augment}, over a bare loop", *_ways(name, augment))
        for name, augment in (("vgg", "none"), ("lecture", "none"), ("vgg", "default"))
    ]


def _ways(name: str, augment: str) -> tuple[Callable[[], None], Callable[[], None]]:
    params = checked(yaml.safe_load(compose([f"model={name}", f"augment={augment}"])))
    rng = np.random.default_rng(0)
    tiles = Resident(
        rng.integers(0, 256, (TILES[name], 28, 28, 4), dtype=np.uint8),
        rng.integers(0, 6, TILES[name]),
        torch.device("cpu"),
    )
    return (lambda: _lightning(params, tiles)), (lambda: _bare(params, tiles))


def _network(params: Params) -> Network:
    return build(params.model.layers, bands=BANDS, classes=CLASSES, tile_size=28,
                 mean=[127.0] * 4, std=[74.0] * 4)  # fmt: skip


def _lightning(params: Params, tiles: Resident) -> None:
    assert params.loss.name == "cross_entropy"
    size, weights = params.train.batch_size, np.ones(len(CLASSES))
    batches = TrainingBatches(
        tiles,
        Augment(params.augment, [127.0] * 4, [74.0] * 4),
        weights,
        batch_size=size,
        seed=0,
        epoch=0,
    )
    task = Classifier(
        _network(params), weights=weights, loss=params.loss, optimizer=params.optimizer,
        schedule=params.schedule, epochs=1, epoch_steps=len(batches),
        average=params.train.average, clip=params.train.clip,
    )  # fmt: skip
    engine = params.engine.model_copy(update={"precision": "32"})
    logger = pl.loggers.logger.DummyLogger()
    lightning = trainers.make(params.trainer, engine, logger=logger, callbacks=[])
    lightning.fit(task, Chunks(batches), PlainBatches(_few(tiles), batch_size=size))


def _few(tiles: Resident) -> Resident:
    """A validation split too small to weigh in the time."""
    return Resident(tiles.pixels[:8].numpy(), tiles.labels[:8].numpy(), torch.device("cpu"))


def _bare(params: Params, tiles: Resident) -> None:
    network = _network(params).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    learner = optimizer(network, params.optimizer)
    assert params.loss.name == "cross_entropy"
    criterion = nn.CrossEntropyLoss(label_smoothing=params.loss.label_smoothing)
    order = torch.randperm(len(tiles))
    for rows in torch.split(order, params.train.batch_size):
        loss = criterion(network(as_input(tiles.pixels[rows])), tiles.labels[rows])
        learner.zero_grad()
        loss.backward()
        learner.step()
