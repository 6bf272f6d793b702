from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline import probes
from pipeline.errors import NetworkError
from pipeline.layers import GlobalAvgPool
from pipeline.network import build
from tests.test_network import BANDS, CLASSES, composed


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    block = OrderedDict(conv=nn.Conv2d(5, 3, 1), norm=nn.BatchNorm2d(3), act=nn.ReLU(inplace=True))
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(4, 5, 3),
        relu1=nn.ReLU(inplace=True),
        pool1=nn.MaxPool2d(2),
        block=nn.Sequential(block),
        flat=nn.Flatten(),
        head=nn.Linear(3 * 3 * 3, 2),
    )
    return nn.Sequential(layers)


def pixels() -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).integers(0, 900, (2, 8, 8, 4)).astype(np.uint16)


def test_convolutions_are_found_at_any_depth(network: nn.Sequential) -> None:
    assert probes.convolutions(network) == ["conv1", "block.conv"]
    assert probes.first_convolution(network) == "conv1"
    assert probes.first_convolution(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))) is None


def test_filters_are_a_copy_of_the_weights(network: nn.Sequential) -> None:
    found = probes.filters(network, "conv1")
    assert found.shape == (5, 4, 3, 3)
    before = found.copy()
    found[:] = 0
    np.testing.assert_array_equal(probes.filters(network, "conv1"), before)


@pytest.mark.parametrize(("layer", "got"), [("relu1", "a ReLU"), ("conv9", "no such layer")])
def test_other_layers_are_refused_with_those_that_fit(
    network: nn.Sequential, layer: str, got: str
) -> None:
    with pytest.raises(NetworkError, match=rf"{got}\. Known: conv1, block\.conv"):
        probes.filters(network, layer)


def chain(network: nn.Module, layer: str) -> list[str]:
    return [step.layer for step in probes.chain(network, layer)]


def test_chain_walks_the_layers_up_to_the_first_pooling(network: nn.Sequential) -> None:
    assert chain(network, "conv1") == ["conv1", "relu1", "pool1"]
    roles = [step.role for step in probes.chain(network, "conv1")]
    assert roles == ["convolution", "activation", "pooling"]
    # Without a pooling it ends before the next convolution, or where no map is left.
    assert chain(network, "block.conv") == ["block.conv", "block.act"]
    bare = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3), nn.ReLU())
    assert chain(bare, "0") == ["0"]
    gone = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Tanh(), GlobalAvgPool(), nn.ReLU(), nn.MaxPool2d(2))
    assert chain(gone, "0") == ["0", "1"]


@pytest.mark.parametrize(
    ("model", "layer", "expected"),
    [
        ("vgg", "conv1_1", ["conv1_1", "act1_1", "conv1_2", "act1_2", "pool1"]),
        ("vgg", "conv1_2", ["conv1_2", "act1_2", "pool1"]),
        ("resnet", "conv1", ["conv1", "act1"]),
        ("resnet", "block3a.conv2", ["block3a.conv2", "act3a"]),
        ("googlenet", "conv1", ["conv1", "act1", "pool1"]),
        # Beside a branch, and behind a fork, there are other maps.
        ("googlenet", "inception3a.one.conv", ["inception3a.one.conv", "inception3a.one.act"]),
        ("googlenet", "inception3b.one.conv",
         ["inception3b.one.conv", "inception3b.one.act", "pool3"]),
        ("googlenet", "conv2", ["conv2", "act2"]),
        ("densenet", "dense1.layer4.conv",
         ["dense1.layer4.conv", "transition1.act", "transition1.conv", "transition1.pool"]),
        ("mobile", "separable2.depthwise", ["separable2.depthwise"]),
        ("mobile", "separable2.pointwise", ["separable2.pointwise", "act2"]),
    ],
)  # fmt: skip
def test_chain_goes_the_way_of_the_maps_through_composites(
    model: str, layer: str, expected: list[str]
) -> None:
    made = build(composed(f"model={model}"), bands=BANDS, classes=CLASSES, tile_size=28)
    assert chain(made, layer) == expected


def test_activations_equal_the_layers_run_by_hand(network: nn.Sequential) -> None:
    network.eval()
    heard = probes.activations(network, pixels(), ["conv1", "relu1", "pool1"])
    x = torch.from_numpy(pixels().astype(np.float32)).permute(0, 3, 1, 2)
    convolved = network.get_submodule("conv1")(x).detach()
    np.testing.assert_array_equal(heard["conv1"], convolved.numpy())
    # The ReLU works in place: what the convolution put out must be kept from it.
    assert heard["conv1"].min() < 0
    np.testing.assert_array_equal(heard["relu1"], convolved.clamp(min=0).numpy())
    pooled = torch.nn.functional.max_pool2d(convolved.clamp(min=0), 2)
    np.testing.assert_array_equal(heard["pool1"], pooled.numpy())


def _hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in network.modules())


def test_no_hook_stays_and_the_mode_is_kept(network: nn.Sequential) -> None:
    network.train()
    before = network.get_submodule("block.norm").state_dict()["running_mean"].clone()
    probes.activations(network, pixels(), ["conv1", "block"])
    assert _hooks(network) == 0
    assert network.training
    after = network.get_submodule("block.norm").state_dict()["running_mean"]
    assert torch.equal(before, after)


def test_no_hook_stays_when_a_module_raises(network: nn.Sequential) -> None:
    network.train()
    too_large = np.zeros((1, 16, 16, 4), dtype=np.uint8)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        probes.activations(network, too_large, ["conv1", "pool1"])
    assert _hooks(network) == 0
    assert network.training
    with pytest.raises(NetworkError, match=r"got nowhere\. Known: conv1"):
        probes.activations(network, pixels(), ["conv1", "nowhere"])
    assert _hooks(network) == 0


def test_strongest_filters_come_first() -> None:
    weights = np.ones((4, 2, 3, 3), dtype=np.float32) * np.array([1, -5, 3, 3])[:, None, None, None]
    assert probes.strongest(weights.astype(np.float32), 3) == [1, 2, 3]
