"""Train the network: ``models/``, ``reports/train/curves.csv`` and a run in MLflow."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import bundle, donor
from pipeline.bundle import Bundle
from pipeline.console import say
from pipeline.data import TileData
from pipeline.network import Network, build
from pipeline.optimization import class_weights
from pipeline.order import steps
from pipeline.selection import factors, freeze
from pipeline.store import Store
from pipeline.tasks import trainer as trainers
from pipeline.tasks.classifier import Classifier
from pipeline.tasks.curves import Curves
from pipeline.tasks.learner import Learner
from pipeline.tasks.reconstructor import Reconstructor
from pipeline.tasks.resuming import Resumable, forget_oldest, last_whole
from pipeline.tracking import Dataset, start
from pipeline.tracking.place import rank_zero
from pipeline.transfer import transfer

if TYPE_CHECKING:
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

MODELS = Path("models")
CURVES = Path("reports/train/curves.csv")
CHECKPOINTS = Path(".checkpoints")  # not an output: DVC removes those before it runs a stage


def run(
    model: ModelSection,
    init: InitSection,
    augment: AugmentSection,
    optimizer: Optimizer,
    schedule: Schedule,
    loss: Loss,
    train: TrainSection,
    trainer: TrainerSection,
    engine: EngineSection,
    data: DataSection,
    tracking: TrackingSection,
    overrides: Sequence[str] = (),
    composed: Mapping[str, Any] | None = None,
) -> None:
    """Train on the store's tiles and keep the weights of the best epoch.

    ``overrides`` and ``composed``, all of params.yaml, are for the record of the run alone.
    """
    store = Store.open()
    sections = {
        "model": model,
        "init": init,
        "augment": augment,
        "optimizer": optimizer,
        "schedule": schedule,
        "loss": loss,
        "train": train,
    }
    params = {name: section.model_dump(mode="json") for name, section in sections.items()}
    weights = class_weights(loss, store.classes, store.counts["train"])
    network = build(
        model.layers,
        bands=store.bands,
        classes=store.classes,
        tile_size=store.tile_size,
        mean=store.mean.tolist(),
        std=store.std.tolist(),
        init=init,
        task=model.task,
        seed=train.seed,
    )
    if train.init_from is not None:
        params["donor"] = start_from(train.init_from, network, train, tracking)
    if frozen := freeze(network, train.freeze):
        _tell([f"Frozen: {', '.join(frozen)}."])
        if train.init_from is None:
            _tell(["They stay as they were drawn: train.init_from names no donor."])
    dict(factors(network, optimizer.factors or {}))  # a misspelt layer is told before a run opens
    folder = CHECKPOINTS / _key(params, store.digest)
    keeper = trainers.BestCheckpoint(folder, f"validation_{train.monitor}")
    with start(
        tracking,
        params=composed or params,
        overrides=overrides,
        data=_facts(store),
        training=folder.name,
        again=folder.is_dir(),
    ) as record:
        folder.mkdir(parents=True, exist_ok=True)
        if "donor" in params:
            record.tag("donor", params["donor"]["digest"])
        lightning = trainers.make(
            trainer,
            engine,
            logger=record.lightning_logger(),
            callbacks=[
                Curves(CURVES),
                keeper,
                Resumable(folder),
                *trainers.early_stopping(f"validation_{train.monitor}", train.patience),
            ],
        )
        epoch_steps = steps(store.count("train"), train.batch_size, lightning.world_size)
        epochs = max(train.epochs, math.ceil(train.min_steps / epoch_steps))
        lightning.fit_loop.max_epochs = epochs
        task = _task(
            network,
            loss,
            weights,
            optimizer=optimizer,
            schedule=schedule,
            epochs=epochs,
            epoch_steps=epoch_steps,
            seed=train.seed,
            average=train.average,
            clip=train.clip,
        )
        tiles = TileData(store, train=train, augment=augment, weights=weights, feed=data)
        try:
            # Our own file, of a process of ours, and whole: what it unpickles is what we wrote.
            begun = last_whole(folder, lightning)
            lightning.fit(task, datamodule=tiles, ckpt_path=begun, weights_only=False)
        except SystemExit as stop:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from stop
        if not lightning.is_global_zero:
            return
        kept = _keep(task, keeper, params, store.digest)
        record.tag("model_digest", kept.digest)
        record.artifact(MODELS, "model")
        record.artifact(CURVES, "train")
    shutil.rmtree(folder, ignore_errors=True)
    forget_oldest(CHECKPOINTS)


def _task(network: Network, loss: Loss, weights: NDArray[np.float64], **options: Any) -> Learner:
    """What the network is to learn."""
    if loss.name == "squared_error":
        return Reconstructor(network, **options)
    return Classifier(network, weights=weights, loss=loss, **options)


def start_from(
    address: str, network: Network, train: TrainSection, tracking: TrackingSection
) -> dict[str, Any]:
    """Take over what a donor has; what came of it, for the record."""
    giver = donor.load(address, tracking)
    moved = transfer(network, giver.network, train.init_bands)
    _tell([f"Donor {address} ({giver.digest[:12]}):", *moved.lines()])
    return {"digest": giver.digest, **moved.facts()}


def _tell(lines: Sequence[str]) -> None:
    """Print lines, once however many processes train."""
    for line in lines if rank_zero() else ():
        say(line)


def _keep(
    task: Learner, keeper: trainers.BestCheckpoint, params: dict[str, Any], data_digest: str
) -> Bundle:
    """Write the bundle with the weights of the best epoch."""
    assert keeper.best_model_score is not None, "an epoch or more was trained and measured"
    best = torch.load(keeper.best_model_path, map_location="cpu", weights_only=True)
    task.load_state_dict(best["state_dict"])
    kept = bundle.save(task.final, data_digest=data_digest, params=params, root=MODELS)
    say(
        f"Kept epoch {best['epoch'] + 1}, {keeper.monitor} {float(keeper.best_model_score):.4f}, "
        f"in {MODELS}/ ({kept.digest[:12]})."
    )
    return kept


def _key(params: dict[str, Any], data_digest: str) -> str:
    """What a training is known by: its parameters and its data."""
    text = json.dumps([params, data_digest], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _facts(store: Store) -> Dataset:
    return Dataset(
        name="tiles",
        digest=store.digest,
        counts=store.counts,
        bands=store.bands.names,
        tile_size=store.tile_size,
        dtype=str(store.dtype),
        source=str(store.root),
    )
