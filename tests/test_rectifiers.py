from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.network import Network, build
from pipeline.tasks.rectifiers import Rectifiers
from tests import little
from tests.test_classifier import classifier, fit

LAYERS: dict[str, Any] = {
    "conv1": {"_target_": "torch.nn.Conv2d", "out_channels": 4, "kernel_size": 3},
    "relu1": {"_target_": "torch.nn.ReLU"},
    "inside": {
        "conv2": {"_target_": "torch.nn.Conv2d", "out_channels": 2, "kernel_size": 3},
        "relu2": {"_target_": "torch.nn.ReLU6"},
    },
    "leaky": {"_target_": "torch.nn.LeakyReLU"},
    "flatten": {"_target_": "torch.nn.Flatten"},
    "head": {"_target_": "torch.nn.Linear"},
}


def network(layers: dict[str, Any] = LAYERS) -> Network:
    made = build(layers, bands=little.BANDS, classes=little.CLASSES, tile_size=little.SIZE)
    return made.eval()


def hooks(made: nn.Module) -> int:
    return sum(len(layer._forward_hooks) for layer in made.modules())


def alone(values: Tensor) -> Tensor:
    return values


@torch.no_grad()
def test_channels_without_a_positive_value_for_any_tile_are_dead(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = network()
    conv1: Any = made.get_submodule("conv1")
    conv2: Any = made.get_submodule("inside.conv2")
    conv1.weight.zero_()
    conv1.weight[1, 0, 1, 1] = 1.0
    conv1.bias.copy_(torch.tensor([1.0, -100.0, -1.0, 0.0]))
    conv2.bias.fill_(-1e6)
    watch = Rectifiers()
    for bright, dead in ((0.0, 5), (99.0, 5), (101.0, 4)):
        watch.begin(made)
        for value in (bright, 0.0):  # one of two batches wakes the channel up
            with watch.watching(made):
                made(torch.full((3, 4, 12, 12), value))
        assert watch.measures(alone, tell=True) == {"dead_relus": pytest.approx(dead / 6)}
    told = capsys.readouterr().err
    assert told.count("warning: layer inside.relu2 died") == 1
    assert "relu1" not in told
    assert hooks(made) == 0


def test_no_hook_stays_behind_when_a_layer_raises() -> None:
    made, watch = network(), Rectifiers()

    def look() -> None:
        with watch.watching(made):
            assert hooks(made) == 2
            made(torch.zeros(1, 3, 12, 12))

    with pytest.raises(RuntimeError):
        look()
    assert hooks(made) == 0


def test_all_ranks_count() -> None:
    made, watch = network(), Rectifiers()
    watch.begin(made)  # and no tile for this rank
    assert watch.measures(alone, tell=False) == {"dead_relus": 1.0}
    assert watch.measures(lambda values: values + 1, tell=False) == {"dead_relus": 0.0}


def test_networks_without_relus_have_none_that_die() -> None:
    layers = {name: layer for name, layer in LAYERS.items() if name not in ("relu1", "inside")}
    made, watch = network(layers), Rectifiers()
    watch.begin(made)
    assert watch.measures(alone, tell=True) == {}


def test_training_tells_of_a_layer_that_died(capsys: pytest.CaptureFixture[str]) -> None:
    task = classifier(layers=LAYERS)
    task.network.get_parameter("conv1.bias").data.fill_(-1e6)
    found = fit(task, epochs=3).callback_metrics["dead_relus"].item()
    assert found >= 4 / 6
    assert capsys.readouterr().err.count("layer relu1 died") == 1
    assert hooks(task.network) == 0
