"""The Lightning trainer: batch norms of several ranks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from pytorch_lightning.loggers.logger import DummyLogger
from pytorch_lightning.plugins.layer_sync import TorchSyncBatchNorm

from pipeline.config import compose
from pipeline.network import Network, build
from pipeline.schema import TrainerSection
from pipeline.selection import freeze
from pipeline.tasks import trainer as trainers
from pipeline.tasks.trainer import own_statistics
from tests import little
from tests.test_train import TRAINER

LAYERS: dict[str, Any] = {**little.LAYERS, "relu1": {"_target_": "torch.nn.BatchNorm2d"}}


def network(layers: dict[str, Any] = LAYERS) -> Network:
    return build(layers, bands=little.BANDS, classes=little.CLASSES, tile_size=little.SIZE)


def trainer(device: str = "cpu", ranks: int = 2) -> Any:
    strategy = SimpleNamespace(root_device=torch.device(device))
    return SimpleNamespace(strategy=strategy, world_size=ranks)


def test_own_statistics_are_told_where_they_matter() -> None:
    told = own_statistics(network(), trainer())
    assert told is not None
    assert told.startswith("Batch norms of 2 processes take mean and deviation from their own")
    assert own_statistics(network(), trainer(ranks=1)) is None
    assert own_statistics(network(), trainer("cuda:0")) is None
    assert own_statistics(network(little.LAYERS), trainer()) is None
    frozen = network()
    freeze(frozen, ["relu1"])
    assert own_statistics(frozen, trainer()) is None


@pytest.mark.parametrize("gpu", [True, False])
def test_batch_norms_are_synchronized_on_gpus(monkeypatch: pytest.MonkeyPatch, gpu: bool) -> None:
    asked: dict[str, Any] = {}

    def make(**options: Any) -> Any:
        asked.update(options)
        return SimpleNamespace(is_global_zero=False, num_nodes=1, num_devices=1)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr("pytorch_lightning.Trainer", make)
    where = TrainerSection.model_validate({**TRAINER, "accelerator": "auto"})
    trainers.make(where, little.ENGINE, logger=DummyLogger(), callbacks=[])
    assert asked["sync_batchnorm"] is gpu


@pytest.mark.parametrize("model", ["vgg", "resnet", "googlenet", "densenet", "mobile"])
def test_synchronized_networks_keep_the_names_and_the_values_of_their_weights(model: str) -> None:
    layers = yaml.safe_load(compose([f"model={model}"]))["model"]["layers"]
    made = build(layers, bands=little.BANDS, classes=little.CLASSES, tile_size=28)
    before = {key: value.clone() for key, value in made.state_dict().items()}
    tiles = torch.rand(2, 4, 28, 28)
    expected = made.eval()(tiles)
    ways = TorchSyncBatchNorm()
    for turn, synchronized in ((ways.apply, True), (ways.revert, False)):
        turned = turn(made)
        kinds = {type(module) for module in turned.modules()}
        assert (torch.nn.SyncBatchNorm in kinds) is synchronized
        assert turned is made
        assert isinstance(turned, Network)
        after = turned.state_dict()
        assert list(after) == list(before)
        assert all(torch.equal(after[key], value) for key, value in before.items())
        torch.testing.assert_close(turned.eval()(tiles), expected)


def test_a_frozen_batch_norm_stays_so_when_it_is_synchronized() -> None:
    made = network()
    freeze(made, ["relu1"])
    turned = TorchSyncBatchNorm().apply(made).train()
    assert isinstance(turned.get_submodule("relu1"), torch.nn.SyncBatchNorm)
    assert not turned.get_submodule("relu1").training
